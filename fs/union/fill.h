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
 * What a fill has taken off, and not given back yet, as it is to be seen: attributes. node->lock is held, and the node has
 * ->lowerdata.
 */
void ply_fill_attr(struct ply_union *u, struct ply_node *node, struct statx *stx);
/* ... and security.capability, as ply_getxattr. -ENODATA: what the file has itself counts. */
ssize_t ply_fill_caps(struct ply_union *u, struct ply_node *node, void *value, size_t size);

/*
 * If a fill did not come to its end, that of an earlier server or because of an error: gives the file back what the mark
 * "kept" has of it. If that fails it is tried again before anything is set. No lock is held.
 */
void ply_fill_recover(struct ply_union *u, struct ply_node *node);

/*
 * Before times, mode, owner or capabilities are set: keeps away the writes that would give back others, gives back what one
 * could not so far, and takes node->lock. With an error no lock is held.
 */
int ply_fill_lock(struct ply_union *u, struct ply_node *node);
void ply_fill_unlock(struct ply_union *u, struct ply_node *node);

#endif
