/*
 * Bringing up all that a directory holds, where it cannot be moved otherwise.
 */
#ifndef PLY_UNION_SUBTREE_H
#define PLY_UNION_SUBTREE_H

#include "union/node.h"

/*
 * Brings up the directory and all below it; it and the directories in it are opaque afterwards, so the lower
 * layers count no more for them (dir->hidden). The tree shows the same all the time, and after an error or a
 * crash: what was brought up so far stays up. No lock is held.
 */
int ply_copyup_tree(struct ply_union *u, struct ply_node *dir);

/*
 * Gives every file of the upper all its names there, in the whole union; what is not up stays below. What others do
 * meanwhile may need it again.
 */
int ply_link_names_up(struct ply_union *u);

/* Brings up what each moved directory of the upper (one with the mark redirect) has below, so that the mark counts no more. */
int ply_copyup_moved(struct ply_union *u);
/* Is the directory one that merges with what is elsewhere below? The tree lock is held, or nobody else is here. */
int ply_is_moved(const struct ply_node *dir);

#endif
