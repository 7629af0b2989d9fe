/*
 * The way from META_UP to DATA_UP, see copyup.c.
 */
#ifndef PLY_UNION_FILL_H
#define PLY_UNION_FILL_H

#include "union/node.h"

/*
 * Brings up the data of a node in state META_UP, as ply_copyup with that limit; the caller has set node->copying, so that
 * nobody else does. Readers are not held up, nor is anybody else but who wants to set the file's times, mode, owner or capabilities. After an error
 * the node is META_UP as before, its data below.
 */
int ply_fill(struct ply_union *u, struct ply_node *node, off_t limit);

/*
 * If a fill did not come to its end, that of an earlier server or because of an error: gives the file back what the mark
 * "kept" has of it, and puts that into *stx, which may be NULL. The keep lock of the file's node is held, or nobody else
 * knows it yet. 0 or -errno, with which it is to be tried again.
 */
int ply_fill_recover(struct ply_union *u, struct ply_lowerdata *data, int dirfd, const char *name,
		     struct statx *stx);

/* What a fill that is under way has taken off, as it is to be seen: attributes. node->lock is held. */
void ply_fill_attr(const struct ply_lowerdata *data, struct statx *stx);
/* ... and security.capability, as ply_getxattr. -ENODATA: what the file has itself counts. */
ssize_t ply_fill_caps(const struct ply_lowerdata *data, void *value, size_t size);

/*
 * Before times, mode, owner or capabilities are set: keeps away the writes that would give back others, gives back what one
 * could not so far, and takes node->lock. With an error no lock is held.
 */
int ply_fill_lock(struct ply_union *u, struct ply_node *node);
void ply_fill_unlock(struct ply_union *u, struct ply_node *node);

#endif
