/*
 * Finding names: which layers have one, what hides what, and the node that stands for it.
 */
#ifndef PLY_UNION_LOOKUP_H
#define PLY_UNION_LOOKUP_H

#include "union/listing.h"
#include "union/node.h"

/*
 * The node of a name with one more reference and, when attr is not NULL, its attributes. -ENOENT when the
 * union has none. Takes dir->lock.
 */
int ply_find(struct ply_union *u, struct ply_node *dir, const char *name, struct ply_node **out,
	     struct statx *attr);

/*
 * Makes the node of something just made in the upper, and its name. One reference. dir->lock is held.
 * place: whether the name is where the node is reached from now on.
 */
int ply_attach_new(struct ply_union *u, struct ply_node *dir, const char *name,
		   const struct statx *stx, struct ply_node **out);

/* 1 when the union shows the name, 0 when not. dir->lock is held. */
int ply_name_shows(struct ply_union *u, struct ply_node *dir, const char *name);

/* The merged listing of dir, built when there is none. dir->lock is held. -ENOMEM and errors of reading. */
int ply_listing_get(struct ply_union *u, struct ply_node *dir, struct ply_listing **out);

/* 1 when the union shows no entry in dir, 0 when it does. dir->lock is held. */
int ply_dir_is_empty(struct ply_union *u, struct ply_node *dir);

/* After a change: the entry appears in or goes from dir's listing. dir->lock is held. */
void ply_dir_shows(struct ply_union *u, struct ply_node *dir, const char *name, mode_t mode);
void ply_dir_hides(struct ply_union *u, struct ply_node *dir, const char *name);

/* What the kernel calls the attributes of a node, made of those of its inode. node->lock is held. */
void ply_attr_fix(struct ply_union *u, struct ply_node *node, struct statx *attr);

/* Names that a user may neither see nor make. */
int ply_name_is_reserved(const char *name);

/* A directory's part in a lower layer that may change could not be opened, as it is not there any more: it is empty. */
static inline int ply_part_is_gone(const struct ply_union *u, int index, int err)
{
	return u->lowers_change && index >= 0 && (err == -ENOENT || err == -ENOTDIR);
}

/* 1: the directory has xattr whiteouts in this layer, 0: none; or -errno. index: of dir->lowers, or -1: the upper. */
int ply_dir_announces(struct ply_union *u, struct ply_node *dir, int index, int fd);

#endif
