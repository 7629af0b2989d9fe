/*
 * Where an upper file came from: the kernel's origin mark keeps the inode number over a copy-up and a
 * remount. An upper file without one, or whose origin cannot be found again, shows its own number.
 */
#ifndef PLY_UNION_ORIGIN_H
#define PLY_UNION_ORIGIN_H

#include <errno.h>

#include "union/node.h"

/* An error that does not just say that there is no such inode or handle, or none to be had. */
static inline int ply_is_trouble(int err)
{
	return err == -EIO || err == -ENOMEM || err == -EMFILE || err == -ENFILE;
}

/* Sets the number that the union shows for a file found under name: node->ino and has_origin. 0 or -errno. */
int ply_origin_set_ino(struct ply_union *u, struct ply_node *dir, const char *name,
		       struct ply_node *node, const struct statx *stx);
/*
 * Writes the mark of the lower file at lower on what is built at fd/name. 1 when it was written: the
 * directory it goes to must be made impure; 0 where handles or marks are not to be had; or -errno.
 */
struct ply_place;
int ply_origin_write(struct ply_union *u, const struct ply_place *lower, int fd, const char *name,
		     struct ply_fh *fh);
/* Does the upper directory of dir, open as fd, say that it holds such entries? Or -errno. */
int ply_origin_is_impure(struct ply_union *u, struct ply_node *dir, int fd);
/* Marks the upper directory of dir as one with such entries. dir->lock is held. 0 or -errno. */
int ply_origin_make_impure(struct ply_union *u, struct ply_node *dir, int fd);

#endif
