/*
 * plydiff runs the same random operations on several systems in lock-step and compares all that a
 * program can see: a union mount under test, the kernel's overlayfs over the same lower layers, and a
 * plain directory that holds the merged tree. This header is the manual of its parts:
 *
 *   util   text, random numbers, quoting        gen    layers from a seed, and their merge (merge)
 *   copy   objects with all their attributes    tree   a whole tree, collected and compared
 *   look   one object before and after a step   guard  the process that ends hangs and leftovers
 *   links  lower files with several names
 *   mount  the systems                          steps  operations as lines of text
 *   ops_*  the table of operations              run    a sequence; shrink: the shortest that fails
 */
#ifndef PLYDIFF_H
#define PLYDIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define PD_COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum {
	PD_SLOTS = 6,	      /* descriptors that stay open across steps, per system */
	PD_NUMBERS = 4,	      /* numeric parameters of a step */
	PD_MAX_LAYERS = 500,  /* what the kernel's overlayfs takes */
	PD_PATH_LIMIT = 3000, /* longest path a step uses; trees may go deeper */
	PD_PROC_PATH = 4400,
	PD_MAX_REFUSALS = 3,
	PD_SYSTEMS = 3,
};

/* ---- util: text that grows, random numbers, quoting ---- */

struct pd_text {
	char *s; /* always terminated once something was added; NULL before */
	size_t len, cap;
};

void pd_add(struct pd_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds n bytes as a quoted string: printable ASCII as is, all else as \xNN. */
void pd_add_quoted(struct pd_text *t, const void *bytes, size_t n);
/* Adds n bytes of file content as runs of equal bytes, "61*4096 00*100", then a hash. */
void pd_add_runs(struct pd_text *t, const void *bytes, size_t n);
void pd_clear(struct pd_text *t); /* empties, keeps the memory */
void pd_free(struct pd_text *t);
/* The text, never NULL. */
const char *pd_str(const struct pd_text *t);

/* Content that arrives in pieces: runs of equal bytes and a hash. */
struct pd_runs {
	struct pd_text *out;
	uint64_t hash, count, total;
	unsigned shown;
	uint8_t byte;
};
void pd_runs_start(struct pd_runs *r, struct pd_text *out);
void pd_runs_feed(struct pd_runs *r, const void *bytes, size_t n);
void pd_runs_end(struct pd_runs *r);

/* Reads a quoted string at *p, moves *p behind it. NULL when malformed; the caller frees. */
char *pd_unquote(const char **p);

struct pd_rng {
	uint64_t state;
};
uint64_t pd_random(struct pd_rng *r);
unsigned pd_below(struct pd_rng *r, unsigned n); /* 0..n-1 */
bool pd_chance(struct pd_rng *r, unsigned percent);
uint64_t pd_mix(uint64_t a, uint64_t b); /* a seed made of two numbers */

const char *pd_errno_name(int err); /* "ENOENT", or the number */
char *pd_format(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
void *pd_alloc(size_t n)
	__attribute__((returns_nonnull)); /* zeroed; out of memory ends the program */
void *pd_grow(void *old, size_t n) __attribute__((returns_nonnull));
char *pd_copy_string(const char *s) __attribute__((returns_nonnull));
/* The directory part of a path: "." for a plain name. The caller frees. */
char *pd_parent(const char *path);
double pd_now(void); /* seconds, monotonic */
void pd_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- copy: objects with everything that belongs to them ---- */

enum pd_copy_flags {
	PD_COPY_RAW =
		1, /* the marks of a layer too: trusted.overlay.*; without it they are left out */
	PD_COPY_NO_XATTRS = 2,
};

/* Names of multiply linked files that were copied: inode of the source -> name of the copy. */
struct pd_links {
	struct pd_link {
		uint64_t ino;
		char *path;
	} * item;
	size_t count;
};
void pd_links_free(struct pd_links *links);

/* All functions return 0 or -errno. Names are relative to the descriptors and never followed. */
int pd_copy_object(int sdir, const char *sname, int ddir, const char *dname, unsigned flags);
int pd_copy_attrs(int sdir, const char *sname, int ddir, const char *dname, unsigned flags);
int pd_copy_tree(int sdir, const char *sname, int ddir, const char *dname, unsigned flags);
int pd_remove_tree(int dir, const char *name);
/* The names in a directory, sorted, without "." and ".."; the caller frees with pd_names_free. */
struct pd_names {
	char **name;
	size_t count;
};
int pd_list(int dirfd, struct pd_names *names);
void pd_names_free(struct pd_names *names);
/* "/proc/self/fd/N/NAME": a path for the calls that know no *at form. */
void pd_proc_path(char out[PD_PROC_PATH], int dir, const char *name);

/* ---- gen, merge: the layers ---- */

struct pd_tree;

struct pd_gen_options {
	uint64_t seed;
	int lowers;	 /* 0: as the seed says */
	bool hard_links; /* lower layers hold files with several names */
	bool stray_marks; /* whiteouts that cover nothing: the kernel lists those, so it is no judge */
	bool aufs_marks;  /* .wh.NAME and .wh..wh..opq in lower layers; the kernel is no judge */
	bool xattr_marks; /* zero-size files with overlay.whiteout */
};

/* A stack of layers on disk: DIR/low/0 (top) ... DIR/low/N-1, DIR/first (the upper before anything ran). */
struct pd_stack {
	char *dir;
	int lowers;
	struct pd_gen_options options;
	struct pd_tree *print; /* the lower layers as they were made */
};

/* Makes the layers, and the merged tree in DIR/model; dies when the file system cannot hold them. */
void pd_stack_make(struct pd_stack *stack, const char *dir, const struct pd_gen_options *options);
void pd_stack_free(struct pd_stack *stack);
/* A random mtime: the past, before 1970, the far future, with nanoseconds; never near the clock. */
struct timespec pd_pick_time(struct pd_rng *rng);
/* Values of system.posix_acl_* and security.capability; return the length (at most 64). */
size_t pd_make_acl(uint8_t out[64], uint64_t seed);
size_t pd_make_capability(uint8_t out[64], uint64_t seed);
/* A name from the small pool that layers and operations share. */
const char *pd_pool_name(struct pd_rng *rng);
/* Where a mark may stand, and what a user must never see. */
bool pd_is_whiteout(int dir, const char *name, const struct stat *st);
bool pd_is_opaque(int dirfd);
/* Puts one layer on top of the merged tree. */
int pd_merge_layer(int layer, int merged);
void pd_stack_describe(const struct pd_stack *stack, struct pd_text *out);

/* ---- tree: a whole tree ---- */

struct pd_ent {
	char *path;
	struct statx st;
	uint64_t identity; /* inode and generation where the file system tells, else 0 */
	uint64_t d_ino;
	uint8_t d_type;
	char *text; /* content: runs of bytes, link target or empty */
	char *xattrs;
	size_t group; /* index of the first entry with the same inode */
};

struct pd_tree {
	struct pd_ent *ent; /* sorted by path */
	size_t count;
	double started, ended;
	char *error; /* what could not be read, or NULL */
};

enum pd_tree_flags {
	PD_TREE_IDENTITY = 1, /* fill identity (for a plain directory) */
};

void pd_tree_collect(struct pd_tree *tree, int rootfd, unsigned flags);
void pd_tree_free(struct pd_tree *tree);

enum pd_differ_flags {
	PD_DIFFER_SELF =
		1, /* the same system at two moments: inode numbers and exact times count */
	PD_DIFFER_LAYER = 2,	 /* the same layer at two moments: everything but atime counts */
	PD_DIFFER_NO_BLOCKS = 4, /* holes may have been filled */
};

struct pd_sys;
/*
 * Adds a line "label path: want, got" per difference (at most 12) that is not declared as known for sys (NULL:
 * nothing is); returns their number.
 */
size_t pd_tree_differ(const struct pd_tree *want, const struct pd_tree *got, unsigned flags,
		      const struct pd_sys *sys, struct pd_text *out);
/* What must hold within one tree: d_ino, d_type, one device, unique numbers. */
size_t pd_tree_check_self(const struct pd_tree *got, const struct pd_sys *sys, struct pd_text *out);

/* Inode numbers seen so far, by the identity of the plain object. */
struct pd_inos {
	struct pd_ino {
		uint64_t identity, ino;
	} * item;
	size_t count, cap;
};
/* Adds a line for each object whose number changed; learns the new ones. */
size_t pd_inos_check(struct pd_inos *inos, const struct pd_tree *plain, const struct pd_tree *got,
		     const struct pd_sys *sys, struct pd_text *out);
void pd_inos_forget(struct pd_inos *inos);

/* ---- mount: the systems ---- */

enum pd_kind { PD_PLAIN, PD_OVERLAY, PD_PROGRAM };

/* One system: where its tree is seen, and what it is made of. */
struct pd_sys {
	enum pd_kind kind;
	bool tested;	     /* the one under test; the others are judges */
	unsigned former;     /* uppers that became layers: UPPER.1, the lowest, ... */
	bool hard_links;     /* lower layers may have files with several names */
	bool probing;	     /* asked only whether it refuses too: nothing may be done by hand */
	const char *name;    /* "plain", "overlay", or the last part of the program's path */
	const char *program; /* of PD_PROGRAM */
	const char *options; /* more mount options, or NULL */
	char *root;	     /* the mount point, or the plain directory */
	char *upper, *work;  /* NULL for PD_PLAIN */
	int rootfd;	     /* -1 while unmounted */
	pid_t server;	     /* 0 if none */
	int fd[PD_SLOTS];    /* -1 where closed */
	struct pd_inos inos;
};

/* 0, or -1 and a sentence in why. A system that is no mount only opens its root. */
int pd_sys_mount(struct pd_sys *sys, const struct pd_stack *stack, struct pd_text *why);
/* Also waits until the server has ended, and reports an end that is not clean. */
int pd_sys_unmount(struct pd_sys *sys, struct pd_text *why);
void pd_sys_close_slots(struct pd_sys *sys);
/* Whether the server still runs; else how it ended. */
bool pd_sys_alive(struct pd_sys *sys, struct pd_text *how);
/* Ends a mount by force, whatever state it is in. */
void pd_sys_abort(struct pd_sys *sys);
/* Of an unmounted system: the upper goes on as the topmost lower layer, under a fresh one. */
void pd_sys_stack(struct pd_sys *sys);
/* A read-only kernel mount of the stack with the system's upper as the topmost lower layer. */
int pd_reader_mount(const struct pd_sys *sys, const struct pd_stack *stack, const char *options,
		    const char *where, struct pd_text *why);

/* ---- guard: a process that watches this one ---- */

/*
 * Starts the guard for everything below dir. When the heart does not beat for limit seconds it aborts the
 * FUSE connections below dir, so that the hanging call returns; when this process dies it aborts,
 * unmounts and removes all of dir.
 */
void pd_guard_start(const char *dir, int limit);
void pd_guard_keep(void); /* the directory is to be left */
void pd_guard_beat(void);
bool pd_guard_fired(void); /* a hang was ended since the last call */
pid_t pd_guard_pid(void);
void pd_guard_stop(
	void); /* after the last mount is gone; removes the directory unless it is kept */
/* Aborts the FUSE connections mounted below dir; nothing below it hangs any more. */
void pd_abort_mounts(const char *dir);
/* The same, and unmounts everything there. */
void pd_clean_mounts(const char *dir);

/* ---- look: one object, before and after a step ---- */

struct pd_look {
	struct statx st;
	int err; /* of statx; the rest is then void */
	struct pd_text xattrs;
};

enum pd_look_flags { PD_LOOK_XATTRS = 1 };

/* The path is relative to the working directory. The look must be zeroed before its first use. */
void pd_look(struct pd_look *look, const char *path, unsigned flags);
void pd_look_free(struct pd_look *look);
/* All xattrs of an object (links are not followed), sorted, on one line that the caller frees. */
char *pd_xattr_line(const char *path);
/* Whether a time was taken from the clock while this process ran. */
bool pd_is_clock(struct statx_timestamp t);

/* ---- steps: operations as lines of text ---- */

struct pd_op;

/* One operation with all its parameters; a line of text and back without loss. */
struct pd_step {
	const struct pd_op *op;
	char *p, *q, *s; /* two paths and a name (of an xattr, a link target); NULL if unused */
	long long n[PD_NUMBERS]; /* named by op->keys */
	int as;			 /* whose credentials: see pd_become */
	int mask;		 /* umask */
	int look;		 /* 0: look at nothing, 1: after the step, 2: before and after */
};

void pd_step_print(const struct pd_step *step, struct pd_text *out);
/* 0, or -1 when the line is no step. */
int pd_step_parse(struct pd_step *step, const char *line);
void pd_step_free(struct pd_step *step);
struct pd_step pd_step_dup(const struct pd_step *step);

struct pd_steps {
	struct pd_step *step;
	size_t count;
};
void pd_steps_free(struct pd_steps *steps);
void pd_steps_add(struct pd_steps *steps, struct pd_step step); /* takes the step */

/* What a generator of steps has at hand: the names that exist now, by class. */
enum pd_class { PD_DIRS, PD_FILES, PD_SYMLINKS, PD_SPECIALS, PD_CLASSES };

struct pd_maker {
	struct pd_rng rng;
	struct pd_names have[PD_CLASSES];
	size_t total;
};

void pd_maker_learn(struct pd_maker *m, int rootfd);
void pd_maker_free(struct pd_maker *m);
/* A path: of that class with 80 %, else anything. The caller (the step) owns it. */
char *pd_pick(struct pd_maker *m, enum pd_class class);
char *pd_pick_any(struct pd_maker *m);
/* A path that need not exist, in a directory that mostly does. */
char *pd_pick_new(struct pd_maker *m);
mode_t pd_pick_mode(struct pd_maker *m);
long long pd_pick_offset(struct pd_maker *m);
long long pd_pick_length(struct pd_maker *m);
int pd_pick_slot(struct pd_maker *m);
/* A new random step. */
struct pd_step pd_step_make(struct pd_maker *m);

/* ---- ops ---- */

/* What a step did on one system: lines "label=value" in the order of the calls. */
struct pd_outcome {
	struct pd_text notes;
	int err;			    /* the first error told, 0 if none */
	struct pd_look before[4], after[4]; /* p, its parent, q, its parent */
	struct pd_text listing[2];	    /* the parents' names */
	struct timespec started;	    /* by the wall clock */
};

/* Tells the result of a call, rc < 0 meaning errno; returns rc. */
long pd_tell(struct pd_outcome *o, const char *label, long rc);
/* The same for calls that return a descriptor, whose number says nothing. */
int pd_tell_fd(struct pd_outcome *o, const char *label, int fd);
/* A value, compared as text. */
void pd_note(struct pd_outcome *o, const char *label, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void pd_note_data(struct pd_outcome *o, const char *label, const void *bytes, ssize_t n);
/* fstat: type, mode, owner, size, links, rdev, and mtime unless it is the clock's. */
void pd_note_stat(struct pd_outcome *o, const char *label, int fd);
/* Something that must hold within one system, whatever the numbers are: told as yes or no. */
void pd_note_holds(struct pd_outcome *o, const char *label, int holds);

enum pd_op_flags {
	PD_OP_META = 1,		/* belongs to the run itself: check, remount, ... */
	PD_OP_RENAMES_DIRS = 2, /* EXDEV for a directory is a refusal */
	PD_OP_UNLINKS = 4,	/* may remove the names p and q */
	PD_OP_EMPTIES = 8,	/* may remove names below the directory p */
};

struct pd_op {
	const char *name;
	unsigned weight;
	const char *
		keys; /* names of the numbers, separated by blanks; "mode" prints as octal, "open" by name */
	void (*make)(struct pd_maker *m, struct pd_step *s);
	void (*run)(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o);
	unsigned flags;
	/* Errors by which the tested system may refuse: the step is then done on nobody. */
	int refusals[PD_MAX_REFUSALS];
};
/* An operation that needs one path of a class. */
#define PD_MAKE_PICK(name, class)                                                                  \
	static void name(struct pd_maker *m, struct pd_step *s)                                    \
	{                                                                                          \
		s->p = pd_pick(m, class);                                                          \
	}

extern const struct pd_op pd_ops_open[], pd_ops_data[], pd_ops_space[], pd_ops_name[],
	pd_ops_rename[], pd_ops_attr[], pd_ops_xattr[], pd_ops_dir[], pd_ops_slot[], pd_ops_work[],
	pd_ops_odd[], pd_ops_meta[]; /* each ends with a nameless entry */

const struct pd_op *pd_op_find(const char *name);
const struct pd_op *pd_op_pick(struct pd_rng *rng);
size_t pd_op_count(void);
void pd_ops_list(void);

/* open(2) as all operations do it: never blocking, never inherited. */
int pd_truncate(const char *path, off_t size);
int pd_ftruncate(int fd, off_t size);
int pd_open(const char *path, int flags, mode_t mode);
/* Takes the credentials of a step, 0 being root; root keeps the way back. */
void pd_become(int as);
/* Bytes for a write: a different value for each step and page, so that runs show where they came from. */
void pd_fill(uint8_t *buf, size_t n, long long seed);

/* ---- run ---- */

struct pd_options {
	const char *mounter, *mount_options, *overlay_options, *reader_options;
	const char *base; /* where the directories are made */
	bool exdev;	  /* directories with lower content may answer EXDEV to rename */
	bool judge;	  /* run the kernel's overlayfs beside */
	bool reader;	  /* read the result with the kernel's overlayfs */
	bool swap;	  /* change uppers with the kernel's overlayfs at some remounts */
	bool stack;	  /* at others an upper becomes a layer */
	bool keep, verbose;
	unsigned check_every;
	const char
		*pause_before; /* name of an operation, so that all times are old when it begins */
	const char *tolerate[32]; /* patterns "op:label" given by the user */
	size_t tolerated;
};
extern struct pd_options pd_opt;

/* The first thing that went wrong. */
struct pd_failure {
	bool failed;
	size_t at;	      /* index of the step */
	char *kind;	      /* "op:label of the first difference": what shrinking must keep */
	struct pd_text story; /* for people */
};
void pd_failure_free(struct pd_failure *f);
/* Records the first failure: label is what differs, the story may be NULL. */
void pd_fail(struct pd_failure *f, const char *op, const char *label, const char *story);

/*
 * Runs steps on fresh systems over the stack. With a maker, steps beyond those given are made until there are
 * `count`, and added to steps.
 */
void pd_run(const struct pd_stack *stack, struct pd_steps *steps, struct pd_maker *maker,
	    size_t count, struct pd_failure *failure);

/*
 * Compares what a step did on the plain directory and on sys. On a difference that is not declared as known: false, and the
 * failure says all.
 */
bool pd_outcomes_agree(const struct pd_step *step, const struct pd_outcome *plain,
		       const struct pd_outcome *got, const struct pd_sys *sys,
		       struct pd_failure *failure);
void pd_outcome_free(struct pd_outcome *o);
/* Brings up the files with several names of which the step may remove one: see links.c. */
void pd_links_bring_up(const struct pd_step *step);
/* Removes the files with several names, as plain has them: a layer does not keep what only an index holds together. */
void pd_links_remove(const struct pd_tree *plain, int rootfd);
/* Runs a step on one system, with the looks it asks for. */
void pd_step_run(struct pd_sys *sys, const struct pd_step *step, struct pd_outcome *o);

/* Whether this difference is declared as known for this system. */
bool pd_tolerated(const struct pd_sys *sys, const char *op, const char *label, const char *want,
		  const char *got);

/* Removes from steps what the failure does not need, within the given seconds. */
void pd_shrink(const struct pd_stack *stack, struct pd_steps *steps, struct pd_failure *failure,
	       double seconds);

extern volatile int pd_interrupted; /* set by SIGINT and SIGTERM */

#endif
