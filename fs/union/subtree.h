/*
 * Bringing up all that a directory holds, where it cannot be moved otherwise.
 */
#ifndef PLY_UNION_SUBTREE_H
#define PLY_UNION_SUBTREE_H

#include "union/node.h"

/*
 * Brings up the directory and all below it; it and the directories in it are opaque afterwards, so the lower
 * layers count no more for them (dir->alone). The tree shows the same all the time, and after an error or a
 * crash: what was brought up so far stays up. No lock is held.
 */
int ply_copyup_tree(struct ply_union *u, struct ply_node *dir);

#endif
