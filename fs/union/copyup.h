/*
 * Copy-up: bringing what a lower layer has into the upper, before it is changed.
 */
#ifndef PLY_UNION_COPYUP_H
#define PLY_UNION_COPYUP_H

#include "union/node.h"
#include "union/place.h"

#define PLY_WHOLE_FILE ((off_t)-1)
#define PLY_NO_DATA ((off_t)-2)

#define PLY_LONG_COPY (128 * 1024) /* bytes from where on a copy may be long */

/*
 * Brings a node and its parents up, when it is not yet; waits when another thread is at it. Of a regular
 * file no more than limit bytes are copied: what a truncation is about to drop need not be; with PLY_NO_DATA none,
 * where a mark can say so. No lock is held.
 * -EROFS without an upper; errors of the file system, after which nothing has changed.
 */
int ply_copyup(struct ply_union *u, struct ply_node *node, off_t limit);
/* Writes to a file that somebody else's clock has dated: it brings no times of its own. */
struct ply_patch {
	const void *buf;
	size_t size;
	off_t off;
};
/*
 * The same of a whole regular file; if it was not up yet, the copy has the patch before anybody sees it, with the times of
 * the lower file, and nothing is copied that the patch covers. 1 when it was made so; 0: it is still to be written.
 */
int ply_copyup_patched(struct ply_union *u, struct ply_node *node, const struct ply_patch *patch);
/* The same without data, for an inode that is about to get another name, by which its data must be found. */
int ply_copyup_to_move(struct ply_union *u, struct ply_node *node);

/* A directory's times, to be put back by sys_utimens after what its users are not to see. 0 or -errno. */
struct ply_dir_times {
	struct timespec ts[2];
};
int ply_dir_times(int dirfd, struct ply_dir_times *t);

/* Calls the hook for what may take long. */
void ply_before_long(struct ply_union *u);

#endif
