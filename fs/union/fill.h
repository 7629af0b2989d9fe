/*
 * The way from META_UP to DATA_UP, see copyup.c.
 */
#ifndef PLY_UNION_FILL_H
#define PLY_UNION_FILL_H

#include "union/node.h"

/*
 * Brings up the data of a node in state META_UP, as ply_copyup with that limit; the caller has set node->copying, so that
 * nobody else does. Readers are not held up, nor is anybody else but who wants to set the file's times. After an error
 * the node is META_UP as before, its data below.
 */
int ply_fill(struct ply_union *u, struct ply_node *node, off_t limit);

/*
 * Of a metadata-only file that a lookup found: gives it the times back that the fill of an earlier server, which did not
 * come to its end, had kept for it; and puts them into *stx. Nobody else knows the file yet.
 */
void ply_fill_recover(struct ply_union *u, int dirfd, const char *name, struct statx *stx);

#endif
