/*
 * The writable layer: its work directory, where every new thing is built before one rename publishes it,
 * and the writing of marks. What the file system cannot do is found out when the upper is opened.
 * Everything returns 0 or -errno. Thread-safe; who may touch which name is the caller's business.
 */
#ifndef PLY_LAYER_UPPER_H
#define PLY_LAYER_UPPER_H

#include <pthread.h>

#include "layer/format.h"
#include "layer/layer.h"
#include "layer/marks.h"

enum ply_whiteout_kind {
	PLY_KIND_CHAR,
	PLY_KIND_XATTR,
	PLY_KIND_AUFS,
};

struct ply_upper {
	struct ply_layer *layer;
	char *work_path;   /* of the directory that the user named, absolute where it can be told */
	int work_root;	   /* that directory: holds the lock */
	int work;	   /* "work" below it */
	_Atomic int index; /* the index directory, or -1 while there is none */
	_Atomic int counts; /* the same of that of removed names */
	const char *space;  /* prefix of the marks written, or NULL: no xattrs */
	enum ply_whiteout_kind kind;
	int is_volatile; /* the mark of that stays in the work directory */
	int owner_only;	 /* no privilege over modes: see ply_layer_open_upper */
	_Atomic unsigned long long next_name;
	pthread_mutex_t whiteout_lock; /* making the shared whiteout anew */
	_Atomic int has_whiteout;
};

/* Are marks written in the trusted space, which takes them on files of every type? */
static inline int ply_upper_is_trusted(const struct ply_upper *up)
{
	return up->space && !strcmp(up->space, PLY_SPACE_TRUSTED_PREFIX);
}

/* A name in the work directory. */
struct ply_work_name {
	char text[24];
};

struct ply_upper_config {
	const char *work_path;
	const char *space;   /* a prefix, "" for none, or NULL: try */
	int kind;	     /* an enum ply_whiteout_kind, or -1: try */
	int is_volatile;     /* nothing will be synced: a mark is left that says so */
	const uint8_t *boot; /* 16 bytes: the id of this boot, zeros where unknown */
};

/*
 * Takes the locks (-EBUSY when somebody has one), makes and empties the work directory, probes. -EUCLEAN: a volatile mount
 * was there, see incompat.h.
 * layer is an open upper layer and stays the caller's. *what is the step that failed, for a message.
 */
int ply_upper_open(struct ply_upper *up, struct ply_layer *layer,
		   const struct ply_upper_config *cfg, const char **what);
void ply_upper_close(struct ply_upper *up);

struct ply_work_name ply_work_new_name(struct ply_upper *up);
/* Removes a file, or a directory with all that is in it, from the work directory. */
int ply_work_remove(struct ply_upper *up, const char *name);

/*
 * Before a whiteout comes into a directory by other means than these: readers look for those of the xattr
 * form only where the directory announces them.
 */
int ply_upper_announce(struct ply_upper *up, int dirfd);
/* Whiteouts that there are belong to a layer from now on: the next is a link of another inode. */
void ply_upper_leave_whiteouts(struct ply_upper *up);
/* Makes a whiteout where no upper entry is. */
int ply_upper_whiteout(struct ply_upper *up, int dirfd, const char *name);
/* Replaces an upper non-directory by a whiteout in one step. */
int ply_upper_whiteout_over(struct ply_upper *up, int dirfd, const char *name);
/*
 * Puts a whiteout in the place of an upper directory, which goes into the work directory
 * under *taken and is removed by ply_work_remove later.
 */
int ply_upper_whiteout_swap(struct ply_upper *up, int dirfd, const char *name,
			    struct ply_work_name *taken);
/* After something took name's place: takes a .wh. mark for it away, where that form is in use. */
void ply_upper_clear_aufs(struct ply_upper *up, int dirfd, const char *name);

/* Hides from now on what lower layers have in directory name of dirfd. */
int ply_upper_set_opaque(struct ply_upper *up, int dirfd, const char *name);
/* Any other mark, in the writing space; where another is read first, not there any more. -EOPNOTSUPP where there is no space. */
int ply_upper_set_mark(struct ply_upper *up, int dirfd, const char *name, const char *mark,
		       const void *value, size_t size);
/* Takes one away, from other spaces too; none is no error. */
int ply_upper_remove_mark(struct ply_upper *up, int dirfd, const char *name, const char *mark);
/* The mark metacopy, and then, if there may be one, its redirect: a mark without it would be taken for another file's. */
int ply_upper_remove_metacopy(struct ply_upper *up, int dirfd, const char *name, int may_redirect);
/* Opens a directory beside the work directory that is there: its descriptor, which stays up's in *slot, or -errno. */
int ply_upper_open_beside(struct ply_upper *up, const char *name, _Atomic int *slot);
/* Removes all whiteouts and .wh. files from an upper directory that shows no entry; others stay. */
int ply_upper_clear_marks(struct ply_upper *up, int dirfd);
/* Removes the whiteouts from an upper directory that is opaque, and stays so. */
int ply_upper_clear_whiteouts(struct ply_upper *up, int dirfd);

#endif
