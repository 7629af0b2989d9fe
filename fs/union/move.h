/* A rename under way, and its move on the disk. */
#ifndef PLY_UNION_MOVE_H
#define PLY_UNION_MOVE_H

#include "union/node.h"

/* One end: a name in a directory, and what has it. */
struct ply_rename_end {
	struct ply_node *dir;
	const char *name;
	struct ply_node *node; /* a reference; NULL: nothing has the target's name */
	struct ply_name *record;
	struct ply_fd *fd;	 /* the upper directory */
	int covers;		 /* a lower layer shows the name */
	struct ply_moved *moved; /* directories: what is remembered after the move */
};

struct ply_renaming {
	struct ply_union *u;
	struct ply_rename_end from, to;
	unsigned flags;
	uint64_t to_version; /* of the target's directory, when the name was looked for */
	int moves_dir;
	int copies; /* no redirects: all content of directories that move is brought up */
	struct ply_name *new_from, *new_to; /* records for after the move */
	struct ply_work_name litter;
	int has_litter;
};

/*
 * Moves the name in the upper, leaves a whiteout where it was if one is needed, and takes off whatever hid the new one. The
 * locks of a rename are held, all that moves is up. -errno: nothing has moved, but what may stay: an empty target may have become opaque.
 */
int ply_move(struct ply_renaming *r);

#endif
