/*
 * Asking the layers for a name: which have it, what hides what, and where marks lead. Nothing in memory changes, and no lock
 * is needed: whether the answer still counts is the caller's to know.
 */
#ifndef PLY_UNION_RESOLVE_H
#define PLY_UNION_RESOLVE_H

#include "union/node.h"

/* Which layers to ask: all, or those that a listing names. */
struct ply_hint {
	int known;
	int upper;
	uint64_t mask;
	int rest; /* with the last bit of mask: from which of those on */
};

/* What was found: a file in one layer, or a directory in several. */
struct ply_resolved {
	struct statx stx;
	unsigned layer;		    /* topmost that has it */
	int in_upper;		    /* a directory or a file in the upper */
	struct ply_dir *dir;	    /* directories: to be given to the node, or freed */
	struct statx below;	    /* of the directory's topmost lower part */
	struct ply_lowerdata *data; /* files without data of their own: the same */
};

/* 0, -ENOENT, or of the file system. What is found is the caller's, to be given to a node or freed; nothing on failure. */
int ply_resolve(struct ply_union *u, struct ply_node *dir, const char *name,
		const struct ply_hint *hint, struct ply_resolved *f);
/* One more layer of a directory, which has room for so many lower ones if this is the first. -ENOMEM. */
int ply_resolved_add_layer(struct ply_resolved *f, unsigned layer, const struct statx *stx,
			   unsigned room);
void ply_resolved_free(struct ply_resolved *f);

/* 1 when the lower layers alone would show the name, 0 when not. dir->lock is held. */
int ply_lower_shows(struct ply_union *u, struct ply_node *dir, const char *name);

#endif
