/*
 * What the layers say of a name: which have it, and what hides what. Nothing here makes a node, nor needs a lock: an answer
 * holds as long as the directory's version does.
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
struct ply_answer {
	struct statx stx;
	unsigned layer;	     /* topmost that has it */
	int in_upper;	     /* a directory or a file in the upper */
	struct ply_dir *dir; /* directories: to be given to the node, or freed */
	struct statx below;  /* of the directory's topmost lower part */
	struct ply_lowerdata
		*data; /* files without data of their own: to be given to the node, or freed */
};

/* -ENOENT when no layer shows the name; errors of the file system. */
int ply_resolve(struct ply_union *u, struct ply_node *dir, const char *name,
		const struct ply_hint *hint, struct ply_answer *f);
void ply_answer_free(struct ply_answer *f);
/* Adds a layer to a found directory. room: for so many lowers, when it is the first. -ENOMEM. */
int ply_answer_add(struct ply_answer *f, unsigned layer, const struct statx *stx, unsigned room);

/* What one layer says of a name. */
enum ply_says {
	PLY_SAYS_NOTHING,
	PLY_SAYS_THERE,
	PLY_SAYS_WHITEOUT,
	PLY_SAYS_THERE_ALONE, /* there, and a .wh. mark hides what is below */
};
/*
 * index: of dir->lowers, -1 the upper; fd: the directory in that layer. more: layers below may have the name. -errno on
 * trouble.
 */
int ply_ask_layer(struct ply_union *u, struct ply_node *dir, int index, int more, int fd,
		  const char *name, struct statx *stx);
/* The layer of an index of dir->lowers, or of -1. */
int ply_layer_index(const struct ply_dir *d, int index);
/* 1 when the lower layers alone would show the name, 0 when not. dir->lock is held. */
int ply_lower_shows(struct ply_union *u, struct ply_node *dir, const char *name);

#endif
