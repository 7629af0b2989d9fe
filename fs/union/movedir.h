/*
 * What renaming a directory takes beside the rename itself: marks before it, memory after it.
 */
#ifndef PLY_UNION_MOVEDIR_H
#define PLY_UNION_MOVEDIR_H

#include "union/node.h"

/* Does a directory show content of lower layers? */
static inline int ply_is_merged(const struct ply_node *node)
{
	return ply_node_is_dir(node) && ply_dir_nlowers(node->dir) > 0;
}

/* Are merged directories renamed at all? */
int ply_moves_merged(const struct ply_union *u);
/* Must all that is in one be brought up before? */
int ply_moves_by_copying(const struct ply_union *u);

/* A directory that is about to be renamed, with an upper part. */
struct ply_moving {
	struct ply_node *node;
	int fd; /* the upper directory that it is in */
	const char *name;
	const struct ply_node *newdir;
	int covers; /* a lower layer shows something where it comes to stand */
};

/*
 * Writes what must be true before the rename: the redirect of a merged directory; else, where needed, that it
 * merges with nothing. Until the rename the marks change nothing, and may stay if it fails. *moved is what is to be
 * remembered after it (ply_moved_install), or NULL. -EXDEV or -EOPNOTSUPP when a redirect cannot be written:
 * it is refused, or must be brought up. Locks: those of a rename.
 */
int ply_moving_prepare(struct ply_union *u, const struct ply_moving *m, struct ply_moved **moved);

/*
 * Puts an empty, opaque directory like it in the place of one that shows nothing but is full of marks, so that a rename
 * can replace it. That goes into the work directory as *taken, for ply_work_remove. -EOPNOTSUPP where this
 * cannot be done in one step. Both locks are held.
 */
int ply_moving_clear_target(struct ply_union *u, struct ply_node *node, int fd, const char *name,
			    struct ply_work_name *taken);

#endif
