/*
 * Where a node's inode is on disk, and descriptors to get there: bounded in number, opened again when
 * they were closed, and never through a symlink or out of the layer.
 */
#ifndef PLY_UNION_PLACE_H
#define PLY_UNION_PLACE_H

#include "union/node.h"

/* Free with ply_place_put. name is empty when fd is the inode itself. */
struct ply_place {
	struct ply_fd *dir; /* held, or NULL when fd is somebody else's */
	int fd;
	const char *name;
	struct ply_layer *layer;
};

/*
 * A descriptor of directory dir in a layer that has it: open for reading where permitted, else O_PATH.
 * Put it with ply_fd_put. No lock is needed; node locks may be held.
 */
int ply_dir_open(struct ply_union *u, struct ply_node *dir, unsigned layer, struct ply_fd **out);

/*
 * The path of a directory in a lower layer that has it, from the layer's root; "" is the root. The caller
 * frees it.
 */
int ply_dir_path(struct ply_union *u, struct ply_node *dir, unsigned layer, char **out);

/* The node's inode: the upper one when there is one. node->lock is held, and keeps the name valid. */
int ply_place_of(struct ply_union *u, struct ply_node *node, struct ply_place *place);
/* The lower inode of a file in state LOWER; as before, but whether it still has a name or not. */
int ply_place_in_lower(struct ply_union *u, struct ply_node *node, struct ply_place *place);
/* How many names the union has of a file, those too that nobody has looked up; or -errno. node->lock is held. */
int ply_links_left(struct ply_union *u, struct ply_node *node);
void ply_place_put(struct ply_union *u, struct ply_place *place);

/* The name by which the upper has the node, or NULL. node->lock is held. */
struct ply_name *ply_upper_name(struct ply_union *u, struct ply_node *node);
/* The one that leads to its lower inode, or NULL; the same lock. */
struct ply_name *ply_lower_name(struct ply_union *u, struct ply_node *node);

/* Opens a file by such a path of any length, for reading. */
int ply_open_path(int root, const char *path);

#endif
