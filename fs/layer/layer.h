/*
 * A layer: one directory tree of the stack, its root descriptor, and what was learned about the file
 * system it lies on. A lower layer is never written. The upper is one that also has a work directory.
 * Everything returns 0 or -errno. A layer's learned fields are atomics; the rest never changes.
 */
#ifndef PLY_LAYER_LAYER_H
#define PLY_LAYER_LAYER_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum ply_layer_lack {
	PLY_LACKS_XATTR = 1 << 0, /* no extended attributes at all */
	PLY_LACKS_ACL = 1 << 1,
	PLY_LACKS_HANDLE = 1 << 2,	/* name_to_handle_at */
	PLY_LACKS_OPEN_HANDLE = 1 << 3, /* open_by_handle_at, or the privilege for it */
	PLY_LACKS_CLONE = 1 << 4,	/* FICLONE from a lower into this upper */
	PLY_LACKS_COPY_RANGE = 1 << 5,
	PLY_LACKS_EXCHANGE = 1 << 6, /* RENAME_EXCHANGE */
	PLY_LACKS_RENAME_WHITEOUT = 1 << 7,
	PLY_LACKS_ORIGIN = 1 << 8,   /* the origin mark cannot be written */
	PLY_LACKS_METACOPY = 1 << 9, /* nor the mark metacopy */
	/* Of an upper, found by the probes of its opening and told to the user. */
	PLY_LACKS_MARKS = 1 << 10, /* no space of attributes in which marks could be written */
	PLY_LACKS_USER_XATTR = 1 << 11,
	PLY_LACKS_DEVICE = 1 << 12,  /* whiteouts cannot be devices */
	PLY_LACKS_TMPFILE = 1 << 13, /* O_TMPFILE */
};

struct ply_layer {
	char *path;  /* absolute, without symlinks, where it can be told */
	int root;    /* directory descriptor; a lower's is O_PATH */
	unsigned fs; /* which of the stack's file systems: small numbers, given by the union */
	dev_t dev;
	uint8_t uuid[16]; /* of the file system, zeros where unknown */
	int knows_uuid;	  /* zeros are what it has */
	int is_upper;
	int is_private;	  /* what is mounted later does not show in it */
	int is_lax;	  /* an owner that this process may not give stays another */
	uint8_t override; /* enum ply_override_kind: where owners and modes are */
	/* The mountpoint lies in this layer and cannot be kept out: its directory's numbers and its name. */
	struct ply_layer_hole {
		dev_t dev;
		ino_t dir_ino;
		char name[256];
		int present;
	} hole;
	_Atomic unsigned lacks; /* of enum ply_layer_lack */
	_Atomic unsigned
		spaces; /* of an upper: a bit for each name space that marks were seen in */
};

/*
 * Opens the directory at path as a layer; through a private copy of its mounts where permitted, so that
 * what is mounted later does not show. LOWER layers are opened read-only, without atime.
 */
enum ply_layer_kind {
	PLY_LAYER_LOWER,
	PLY_LAYER_LOWER_IN_PLACE, /* without such a copy, which would hold all that is mounted in it now */
	PLY_LAYER_UPPER,
};
int ply_layer_open(struct ply_layer *layer, const char *path, enum ply_layer_kind kind);
void ply_layer_close(struct ply_layer *layer);

/* Do both tell of one inode? */
static inline int ply_same_inode(const struct statx *a, const struct statx *b)
{
	return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
	       a->stx_dev_minor == b->stx_dev_minor;
}

static inline int ply_layer_lacks(const struct ply_layer *layer, unsigned what)
{
	return (atomic_load_explicit(&layer->lacks, memory_order_relaxed) & what) != 0;
}

static inline void ply_layer_set_lack(struct ply_layer *layer, unsigned what)
{
	atomic_fetch_or_explicit(&layer->lacks, what, memory_order_relaxed);
}

/* Is name in dirfd the mountpoint itself, which must be passed over? */
int ply_layer_is_hole(const struct ply_layer *layer, int dirfd, const char *name);

/*
 * One entry of a raw listing, "." and ".." left out. type is a DT_ value, may be DT_UNKNOWN.
 * Not 0 ends the listing, which then returns it.
 */
typedef int (*ply_list_fn)(void *arg, const char *name, unsigned char type, uint64_t ino);
/* Reads the directory from its beginning; dirfd's offset is used: one listing of a descriptor at a time. */
int ply_layer_list(int dirfd, ply_list_fn fn, void *arg);
/* A portion of it, from *pos on (0: the beginning), which is moved on: 1 when there may be more, else 0. */
int ply_layer_list_some(int dirfd, off_t *pos, ply_list_fn fn, void *arg);

/*
 * Is the directory fd, or one above it, that one? 1, 0 or -errno. Directories above need not be readable, only to be
 * passed through.
 */
int ply_layer_is_below(int fd, const struct statx *top);

/* A path to a descriptor beneath dirfd, following no symlink and leaving for no other tree. */
int ply_layer_open_dir(int dirfd, const char *path);
/* The same for a regular file, to be read. */
int ply_layer_open_file(int dirfd, const char *path);

/*
 * Gives the owner a right (S_IRUSR, S_IWUSR) that the mode does not have, until sys_chmod puts *old back.
 * -EACCES when it has the right already, which is then not what is missing, or cannot be given it.
 */
int ply_layer_lend(int dirfd, const char *name, mode_t right, mode_t *old);

/*
 * Opens a file of the upper although its mode forbids it: for a plain user's own files of mode 0 and the
 * like. The mode is as before afterwards.
 */
int ply_layer_open_upper(int dirfd, const char *name, int flags);
/*
 * Adds u+rwx to a directory of the upper that refused an access, and says in *old what to put back with
 * ply_layer_lock_dir. -EACCES when that was not it.
 */
int ply_layer_unlock_dir(int dirfd, mode_t *old);
void ply_layer_lock_dir(int dirfd, mode_t old);
/*
 * A new directory, as if what it lies in had no default ACL and no set-gid bit, which it would hand on to all that
 * is made in it. Its mode is u=rwx.
 */
int ply_layer_disinherit(int dirfd);
/*
 * As sys_rename, also for a plain user's own directories that their mode forbids to move: changing a parent
 * is writing to the directory.
 */
int ply_layer_rename(int dirfd, const char *name, int newdirfd, const char *newname,
		     unsigned flags);

#endif
