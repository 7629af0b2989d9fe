/*
 * The union: what each file system operation means in a stack of layers.
 *
 * This header is the library's manual. It knows no FUSE: the server in wire/, the tools and the tests are
 * its callers. Every function returns 0 (or a count where it says so) or a negative errno value, and may be
 * called from any number of threads. Names are single components, never empty, never holding a slash.
 * A node that a caller passes in must be one it holds a lookup of (ply_lookup and the functions that
 * fill a ply_entry give one, ply_forget takes them back); the root is always held.
 */
#ifndef PLY_UNION_UNION_H
#define PLY_UNION_UNION_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

struct ply_union;
struct ply_node;

#define PLY_ROOT_ID 1

/* How whiteouts are written; AUTO probes the upper: 0:0 device, else xattr, else .wh. file. */
enum ply_whiteout_form {
	PLY_WHITEOUT_AUTO,
	PLY_WHITEOUT_CHAR,
	PLY_WHITEOUT_XATTR,
	PLY_WHITEOUT_AUFS,
};

/* In which name space marks are written; AUTO: trusted where it may be written, else user, else none. */
enum ply_xattr_space {
	PLY_SPACE_AUTO,
	PLY_SPACE_TRUSTED,
	PLY_SPACE_USER,
	PLY_SPACE_NONE,
};

/*
 * Directories that have content in lower layers: how they are renamed, and whether redirect marks are followed. AUTO
 * writes the mark where all its readers follow it, in the trusted space, and elsewhere copies.
 */
enum ply_redirect_dir {
	PLY_REDIRECT_AUTO,
	PLY_REDIRECT_ON,
	PLY_REDIRECT_COPY,     /* brings up all that is below */
	PLY_REDIRECT_OFF,      /* -EXDEV */
	PLY_REDIRECT_FOLLOW,   /* the same */
	PLY_REDIRECT_NOFOLLOW, /* and a directory with a mark merges with nothing */
};

/* Where owners, modes and the types of devices are in the upper. What it began with it continues with. */
enum ply_owner_place {
	PLY_OWNERS_IN_INODE,
	PLY_OWNERS_IN_SECURITY, /* an attribute "security.fuseoverlayfs.override_stat" */
	PLY_OWNERS_IN_USER,	/* an attribute "user.containers.override_stat" */
};

/* Is what is written brought to the disk? */
enum ply_sync {
	PLY_SYNC_NOT, /* fsync and copy-up sync nothing */
	PLY_SYNC,
	PLY_SYNC_VOLATILE, /* nor then, and a mark says so to later mounts */
};

struct ply_union_config {
	const char *const *lowers; /* paths, topmost first; borrowed during ply_union_open only */
	size_t nlowers;
	/*
	 * The last ndata of them are data-only: their names are in no directory, and only metadata-only files of the others,
	 * by a path, have data in them.
	 */
	size_t ndata;
	const char *upper; /* NULL: a read-only union */
	const char *work;  /* needed with an upper; on the same file system */
	const char *
		mountpoint; /* NULL, or where the union will be mounted: skipped when met inside a layer */
	enum ply_whiteout_form whiteout;
	enum ply_xattr_space space;
	enum ply_redirect_dir redirect_dir;
	enum ply_owner_place owners;
	int lax_owners; /* an owner that this process may not give is no error, and stays another */
	unsigned max_fds;	  /* budget of cached descriptors; 0: from RLIMIT_NOFILE */
	size_t max_listing_bytes; /* budget of cached directory listings; 0: 64 MiB */
	int no_index;		  /* hard links of lower files part when they are forgotten */
	enum ply_sync sync;
	/*
	 * Files whose data was not changed stay metadata only in the upper, as the kernel's metacopy=on. Else their
	 * data is brought up in the background and when the union is closed.
	 */
	int metacopy;
	/*
	 * Lower layers may change while the union is open: names in them are asked for each time they are looked up, and
	 * listings are made anew when they are older than keep_ms. The callers' answers may then be kept for that long.
	 */
	int lowers_change;
	unsigned keep_ms;
	/* Called before an operation that may take long, from the thread that runs it, with no lock held. */
	void (*before_long)(void *arg);
	void *before_long_arg;
};

/* A sentence for a person, set by ply_union_open when it fails: names the path and the reason. */
struct ply_why {
	char text[4608];
};

/*
 * Opens the stack, takes the lock on upper and work, empties the work directory.
 * -EBUSY when another plyfs holds upper or work; -EUCLEAN after a volatile mount which the machine has not outlived. On failure *why tells the reason in a sentence.
 */
int ply_union_open(const struct ply_union_config *cfg, struct ply_union **up, struct ply_why *why);
/*
 * No other call may be running, the settler is stopped. Settles all files, which may take as long as copying their data
 * and waiting for the disk; removes what the work directory still holds. NULL is allowed.
 */
void ply_union_close(struct ply_union *u);

/*
 * Settling: data that is still in lower layers only is brought up, what is in the upper is synced, and marks that say
 * otherwise are taken off, for files that were brought up at least age seconds ago. The settler is a thread that does so
 * every few seconds as long as there is something to do. 0 or the first error; what failed is tried again later.
 */
int ply_settle(struct ply_union *u, unsigned age);
int ply_settler_start(struct ply_union *u);
void ply_settler_stop(struct ply_union *u);

/*
 * Settles what there is now, for about so many seconds: *left files are left, a call is to be made again. With ALL_DATA
 * also the data of files that are to stay metadata only (metacopy) comes up. Errors as of ply_settle.
 */
enum ply_flush_what {
	PLY_FLUSH_MARKS,
	PLY_FLUSH_ALL_DATA,
};
int ply_flush(struct ply_union *u, unsigned budget, enum ply_flush_what what, uint64_t *left);

/*
 * Makes the upper a lower layer, the topmost, at the path layer (absolute; nothing may be there, or an empty
 * directory), and goes on with a fresh upper where the old one was: one exchange of two names, whatever the upper
 * holds. Nodes stay what they are to callers, with their numbers; what is unlinked goes on, too.
 * No other call may be running. *why says in a sentence what failed, after which nothing has changed.
 * how: as with ply_rotate_prepare. -EAGAIN: what that does, and for a layer ALONE a flush of all data, is to be
 * done (again); -EROFS without an upper; -EBUSY, -EEXIST, -EXDEV, -EOPNOTSUPP (no RENAME_EXCHANGE) and others of
 * the file system.
 */
enum ply_rotate_how {
	PLY_ROTATE_AS_IS, /* directories that were moved may need the layers below */
	PLY_ROTATE_ALONE, /* the layer has everything itself */
};
int ply_rotate(struct ply_union *u, const char *layer, enum ply_rotate_how how,
	       struct ply_why *why);
/*
 * Other calls may be running: gives files of the upper all their names there, which a layer cannot find through an
 * index of hard links, reading the whole union when there are such. ALONE: brings up what directories that were moved
 * have below.
 */
int ply_rotate_prepare(struct ply_union *u, enum ply_rotate_how how);

/*
 * Puts one more lower layer below all that directories are merged of, above data-only ones. The union shows afterwards what one
 * that was opened with it would, but for inode numbers: all that were shown stay. Nodes stay what they are to callers.
 * First the layer is opened, which may take its time, while others use the union but no other call changes its layers. own_dev:
 * the device number that the union is mounted as, whose files cannot be a layer. -EEXIST: it is a layer already, -EINVAL: it lies in the
 * upper or the work directory, -ELOOP: in the mount; *why says so.
 */
struct ply_addition;
int ply_add_open(struct ply_union *u, const char *path, dev_t own_dev, struct ply_addition **out,
		 struct ply_why *why);
/*
 * Does it; no other call may be running. *why says in a sentence what failed, after which nothing has changed. -EAGAIN: the
 * settler is at work, try again; -E2BIG, and others of the file system.
 */
int ply_add(struct ply_union *u, struct ply_addition *add, struct ply_why *why);
/* After it: the layer's number in the stack, and in how many directories that callers know of it takes part. */
struct ply_added {
	unsigned layer, dirs;
};
struct ply_added ply_added(const struct ply_addition *add);
/*
 * What is new: ids of directories, with names in them that were not shown, as they are on disk, and may be now; and after
 * these with the name "", when its list and attributes, or the data of a file, may be others than before.
 */
typedef void (*ply_new_fn)(void *arg, uint64_t id, const char *name);
void ply_add_each_new(const struct ply_addition *add, ply_new_fn fn, void *arg);
/* NULL is allowed. */
void ply_add_free(struct ply_addition *add);

/* The root node; needs no lookup and no forget. */
struct ply_node *ply_root(struct ply_union *u);
/* The node of an id given out in a ply_entry; NULL when it is not (or no longer) one. */
struct ply_node *ply_node_by_id(struct ply_union *u, uint64_t id);
int ply_union_readonly(const struct ply_union *u);
/* An upper whose owners are in an attribute has no access control lists. */
int ply_union_has_acls(const struct ply_union *u);
/* Logs a line for each thing that the file systems below lack, and says what it costs; mostly there is none. */
void ply_union_tell_lacks(const struct ply_union *u);

/* Identity of a caller, for what it makes. umask counts only where the parent has no default ACL. */
struct ply_cred {
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/* A name's node and attributes. Holds one lookup of the node. id stays valid until it is forgotten. */
struct ply_entry {
	struct ply_node *node;
	uint64_t id;
	struct statx attr;
};

/*
 * -ENOENT when no layer shows the name, -ENAMETOOLONG beyond 255 bytes, -ENOTDIR when dir is none.
 * A caller may keep every answer for ever, the negative one too: only calls to this library change it, unless
 * lowers_change is set.
 */
int ply_lookup(struct ply_union *u, struct ply_node *dir, const char *name, struct ply_entry *out);
/* Gives n lookups back. With the last one the node and all it holds are freed. */
void ply_forget(struct ply_union *u, struct ply_node *node, uint64_t n);

/* attr: stx_ino is the union's number, stx_dev means nothing; birth time in stx_btime when STATX_BTIME is set. */
int ply_getattr(struct ply_union *u, struct ply_node *node, struct statx *attr);

enum ply_set_flags {
	PLY_SET_MODE = 1 << 0,
	PLY_SET_UID = 1 << 1,
	PLY_SET_GID = 1 << 2,
	PLY_SET_SIZE = 1 << 3,
	PLY_SET_ATIME = 1 << 4,
	PLY_SET_MTIME = 1 << 5,
	PLY_SET_ATIME_NOW = 1 << 6,
	PLY_SET_MTIME_NOW = 1 << 7,
	/* Drop set-uid, set-gid of an executable group, security.capability. */
	PLY_SET_KILL_PRIV = 1 << 8,
	/* With it: set-gid without group execution falls as well. */
	PLY_SET_KILL_SGID = 1 << 9,
	/* With a size: the times move, also if it is what the file has. */
	PLY_SET_SIZE_TIMES = 1 << 10,
};

struct ply_setattr {
	unsigned valid; /* of enum ply_set_flags; 0 changes nothing and answers the attributes */
	mode_t mode;	/* permission bits with set-id and sticky */
	uid_t uid;
	gid_t gid;
	off_t size;
	struct timespec atime, mtime;
};

int ply_setattr(struct ply_union *u, struct ply_node *node, const struct ply_setattr *set,
		struct statx *attr);

/* The link's target without a terminating NUL: its length, at most size. -EINVAL when it is no symlink. */
ssize_t ply_readlink(struct ply_union *u, struct ply_node *node, char *buf, size_t size);

/* What to make: the type in mode says regular file, directory, fifo, socket, device or (with target) symlink. */
struct ply_make {
	mode_t mode;	    /* raw, before the umask */
	dev_t rdev;	    /* devices; 0:0 character devices are whiteouts: -EPERM */
	const char *target; /* symlinks */
	struct ply_cred cred;
};

/* Makes a file of any type. -EEXIST when the name is there. */
int ply_create(struct ply_union *u, struct ply_node *dir, const char *name,
	       const struct ply_make *how, struct ply_entry *out);
/* A regular file without a name in dir's file system; ply_link can give it one. */
int ply_tmpfile(struct ply_union *u, struct ply_node *dir, const struct ply_make *how,
		struct ply_entry *out);
/* out is filled for the node itself: one more lookup of it. */
int ply_link(struct ply_union *u, struct ply_node *node, struct ply_node *dir, const char *name,
	     struct ply_entry *out);
int ply_unlink(struct ply_union *u, struct ply_node *dir, const char *name);
int ply_rmdir(struct ply_union *u, struct ply_node *dir, const char *name);
/*
 * flags as of renameat2(2): 0, RENAME_NOREPLACE, RENAME_EXCHANGE; others, RENAME_WHITEOUT too, are -EINVAL.
 * -EXDEV for a directory that has content in a lower layer, where redirect_dir is OFF or the like, or ON and
 * the mark cannot be written.
 */
int ply_rename(struct ply_union *u, struct ply_node *dir, const char *name, struct ply_node *newdir,
	       const char *newname, unsigned flags);

/* Bytes read, fewer than size only at the end of the file. */
ssize_t ply_read(struct ply_union *u, struct ply_node *node, void *buf, size_t size, off_t off);

enum ply_write_flags {
	PLY_WRITE_KILL_PRIV = 1 << 0, /* as PLY_SET_KILL_PRIV, before the data is written */
	/* Whoever asks keeps the times, and sets them when they change: they stay as they are. */
	PLY_WRITE_KEEP_TIMES = 1 << 1,
	PLY_WRITE_WHOLE = 1 << 2, /* out of a cache that takes no notice of how much was written */
	PLY_WRITE_BACK = PLY_WRITE_KEEP_TIMES | PLY_WRITE_WHOLE,
};

/*
 * Bytes written: size, or fewer when the file system is full, which with WHOLE is an error. Copies a lower file up
 * first.
 */
ssize_t ply_write(struct ply_union *u, struct ply_node *node, const void *buf, size_t size,
		  off_t off, unsigned flags);
/* mode as of fallocate(2). flags of enum ply_write_flags. */
int ply_fallocate(struct ply_union *u, struct ply_node *node, int mode, off_t off, off_t len,
		  unsigned flags);
/* whence: SEEK_DATA or SEEK_HOLE. The offset, or -ENXIO beyond the end. */
off_t ply_lseek(struct ply_union *u, struct ply_node *node, off_t off, int whence);
/* Bytes copied, may be fewer than len. flags of enum ply_write_flags. */
ssize_t ply_copy_range(struct ply_union *u, struct ply_node *from, off_t from_off,
		       struct ply_node *to, off_t to_off, size_t len, unsigned flags);
/* Files and directories. datasync: as fdatasync(2). */
enum ply_sync_kind {
	PLY_SYNC_ALL,
	PLY_SYNC_DATA,
};
int ply_fsync(struct ply_union *u, struct ply_node *node, enum ply_sync_kind kind);

/*
 * One entry of a listing. cookie continues the listing behind it. node is NULL for "." and ".." and for a
 * directory whose marks make no sense, which a lookup refuses (of attr only the number and the type are set),
 * else the entry holds one lookup. Returns 1 when it took the entry, 0 when there is no more room (its lookup
 * is then taken back here).
 */
typedef int (*ply_fill_fn)(void *arg, const char *name, const struct ply_entry *entry,
			   uint64_t cookie);

/*
 * Lists dir from cookie on (0: the beginning) until the end or until fill has no room. The order is that
 * of the names' hashes, so a cookie stays valid while the directory changes and after a restart: an entry
 * that exists all the time is seen once, whatever happens to others.
 */
int ply_readdir(struct ply_union *u, struct ply_node *dir, uint64_t cookie, ply_fill_fn fill,
		void *arg);

/* Values and lists: the length; with size 0 only that; -ERANGE when size is too small; -ENODATA when absent. */
ssize_t ply_getxattr(struct ply_union *u, struct ply_node *node, const char *name, void *value,
		     size_t size);
ssize_t ply_listxattr(struct ply_union *u, struct ply_node *node, char *list, size_t size);
/* flags: 0, XATTR_CREATE, XATTR_REPLACE; with PLY_XATTR_KILL_SGID the set-gid bit falls too. */
#define PLY_XATTR_KILL_SGID (1 << 8)
int ply_setxattr(struct ply_union *u, struct ply_node *node, const char *name, const void *value,
		 size_t size, int flags);
int ply_removexattr(struct ply_union *u, struct ply_node *node, const char *name);

/* Of the upper, else of the topmost lower; names may have 255 bytes. */
int ply_statfs(struct ply_union *u, struct ply_node *node, struct statvfs *out);

/*
 * A layer of the stack: the upper is 0, lowers follow, topmost first, and then the data-only ones. Its path in out, of
 * PATH_MAX bytes; empty for the upper of a read-only union. 1 for a data-only layer, 0 for others, -ENOENT beyond the last.
 */
int ply_layer_path(struct ply_union *u, unsigned index, char *out);
/* The path of the work directory, in out of PATH_MAX bytes: 1 when its index of hard links is in use; -ENOENT without an upper. */
int ply_work_path(struct ply_union *u, char *out);

/*
 * Where something comes from: a file has its inode in one layer, and its data there or in another one; a directory has parts in
 * all those that it is merged of, topmost first.
 */
enum ply_where_kind {
	PLY_WHERE_INODE,
	PLY_WHERE_INDEX,    /* the same, in the upper's index of hard links: path is of the index */
	PLY_WHERE_DATA,	    /* of a metadata-only file */
	PLY_WHERE_NO_DATA,  /* it has none: no layer does */
	PLY_WHERE_WHITEOUT, /* with -ENOENT: what hides the name */
	PLY_WHERE_NOTHING,
};
enum ply_where_state {
	PLY_WHERE_LOWER,
	PLY_WHERE_META_UP, /* the upper has its inode, the data is below */
	PLY_WHERE_MARKED, /* the data is in the upper, too, with a mark that it is not yet safe there */
	PLY_WHERE_UPPER,
};
struct ply_where {
	uint64_t ino; /* as the union shows it */
	mode_t mode;
	enum ply_where_state state;
	unsigned nparts;
	/* Of the part that was asked for: */
	enum ply_where_kind kind;
	unsigned layer;
	char path[4096]; /* in the layer; empty for its root */
};
/*
 * Part number part of what path, in names as they are on disk, leads to from the root; empty for the root. No symlink is
 * followed. -ENOENT; -ERANGE beyond the last part; -EXDEV for "..", -ENAMETOOLONG when the path in the layer is.
 */
int ply_where(struct ply_union *u, const char *path, unsigned part, struct ply_where *out);

struct ply_union_stats {
	uint64_t nodes;	     /* in memory */
	uint64_t names;	     /* of these nodes */
	uint64_t node_bytes; /* nodes and names together */
	uint64_t listings;   /* cached directory listings */
	uint64_t listing_bytes;
	uint64_t fds;	       /* cached descriptors */
	uint64_t unsettled;    /* files with marks that are to be taken off */
	uint64_t copyups;      /* files and directories brought up so far */
	uint64_t copyup_bytes; /* of file data */
	unsigned layers;       /* with the upper and the data-only ones */
	int metacopy, sync;    /* as configured */
};
void ply_union_stats(struct ply_union *u, struct ply_union_stats *out);

#endif
