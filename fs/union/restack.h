/*
 * The nodes in memory when a layer comes into the stack between the upper and the lowers: the upper's own
 * directory, as it was. No other call is running.
 */
#ifndef PLY_UNION_RESTACK_H
#define PLY_UNION_RESTACK_H

#include "union/node.h"

/* What the change will need, made before there is no way back. */
struct ply_restack {
	struct ply_dir **dirs; /* with one lower more, in the order of ply_node_each */
	size_t ndirs, size, next;
};

/* Is there a name of the file that only a lower layer has? The tree lock is held, or nobody else is here. */
int ply_has_lower_name(const struct ply_node *node);

/*
 * Readies the nodes. -EAGAIN: a file of the upper has a name that only a lower layer has or that nobody has looked up, or a mark. Nothing has changed
 * for anybody, whatever it returns.
 */
int ply_restack_prepare(struct ply_union *u, struct ply_restack *r);
/* Does it: u->layers has the new layer by now, at index 1. Cannot fail. */
void ply_restack_do(struct ply_union *u, struct ply_restack *r);
/* After it, or instead of it. */
void ply_restack_free(struct ply_restack *r);

#endif
