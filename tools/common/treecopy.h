/*
 * Copying what a layer has, name by name, as it stands on disk: data, hard links, owners, modes, times, attributes. What
 * becomes of marks is the caller's choice. For the functions of a walk with a mirror.
 */
#ifndef PLY_TOOLS_TREECOPY_H
#define PLY_TOOLS_TREECOPY_H

#include "layer/copy.h"
#include "links.h"
#include "walk.h"

struct ply_tree_copy {
	struct ply_layer *from, *to;
	struct ply_links *links;
	struct ply_copied *done;
	/* As in layer/copy.h, with arg. */
	int (*takes_mark)(void *arg, const char *attr);
	int (*cannot_keep)(void *arg, const char *attr, int err);
	void *arg;
	const char *trouble; /* the reason in words of an error, or NULL */
};

/* All but directories. Device whiteouts become names of one inode, whatever they were. 0 or -errno. */
int ply_tree_copy_file(struct ply_tree_copy *c, const struct ply_walk_entry *e);
/* A directory's, when all is in it; the root's, too. */
int ply_tree_copy_attrs(struct ply_tree_copy *c, int fd, const char *name, const struct statx *stx,
			int to, const char *to_name);

#endif
