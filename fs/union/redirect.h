/*
 * Redirects: a directory that was moved says in a mark where its parts in the layers below are, by a name
 * in the same directory or by a path from the root. Here they are followed, remembered and made up; rename.c
 * writes them. What a mark says holds for the layers below the one it stands in, until one of those redirects
 * again.
 */
#ifndef PLY_UNION_REDIRECT_H
#define PLY_UNION_REDIRECT_H

#include "union/node.h"

/* ---- following ---- */

/* The search for what one thing goes on with, from layer to layer. */
struct ply_trail;

/* Something found in a lower layer. path is from the layer's root, never empty. */
struct ply_spot {
	unsigned layer;
	const char *path;
	struct statx stx;
};

/*
 * Looks in the layers below layer (PLY_UPPER: in all lowers) for what dir has there by a name or, when where
 * begins with a slash, for what is at that path. NULL without memory. dir must stay until the end.
 */
struct ply_trail *ply_trail_start(struct ply_union *u, struct ply_node *dir, unsigned layer,
				  const char *where);
/*
 * The next layer's: 1 and *spot, whose path is valid until the next call; 0 when there is nothing more. What
 * hides the rest ends the search, redirects on the way and at the end turn it: a directory is followed by
 * what it merges with, a metadata-only file by what it has its data from, any other file by nothing.
 * -EINVAL when a mark makes no sense, or errors of the file system. No lock is needed, node locks may be held.
 */
int ply_trail_next(struct ply_trail *t, struct ply_spot *spot);
/* NULL is allowed. */
void ply_trail_end(struct ply_trail *t);

/*
 * The data of a metadata-only file (it has the mark "metacopy"), which a layer has as name of dir: where it
 * is below, *spot with a path that the caller frees. Its size is for the caller to compare.
 * -ENODATA when there is none, -EPERM when redirects are not to be followed and there is one.
 */
int ply_redirect_data(struct ply_union *u, struct ply_node *dir, const char *name, unsigned layer,
		      struct ply_spot *spot);

/* ---- remembering ---- */

/* The path of dir's part in a layer, or NULL: it is at dir's name. The tree lock is held, or dir is no node yet. */
const char *ply_moved_path(const struct ply_dir *dir, unsigned layer);
/* Adds where a directory's part in a layer is; layers come topmost first. -ENOMEM. */
int ply_moved_add(struct ply_moved **moved, unsigned layer, const char *path);
/* A copy of it; NULL of NULL. -ENOMEM. */
int ply_moved_copy(const struct ply_moved *moved, struct ply_moved **out);
/* Sets what the upper directory says. -ENOMEM. */
int ply_moved_set_redirect(struct ply_moved **moved, const char *redirect);
/* NULL is allowed. */
void ply_moved_free(struct ply_moved *moved);

/* ---- moving ---- */

/*
 * What is to be remembered of a directory that is about to leave its name: all its lower parts, by path. With the
 * redirect that it has. -ENOMEM.
 */
int ply_moved_make(struct ply_union *u, struct ply_node *node, struct ply_moved **out);
/* Takes its place in the node, before the name changes. */
void ply_moved_install(struct ply_union *u, struct ply_node *node, struct ply_moved *moved);

/*
 * The path by which the lower layers, seen without the upper, have something by a name of dir: what a redirect has
 * to say of it, whichever of them has it. It does not change while dir is renamed. -ENAMETOOLONG.
 */
int ply_redirect_path(struct ply_union *u, struct ply_node *dir, const char *name,
		      char redirect[PLY_REDIRECT_MAX + 1]);
/*
 * The redirect that a merged directory needs in its upper part before it is moved to newdir: 1 and the value
 * in redirect, 0 when it has one that will do; -ENAMETOOLONG. rename_lock is held.
 */
int ply_redirect_needed(struct ply_union *u, struct ply_node *node, const struct ply_node *newdir,
			char redirect[PLY_REDIRECT_MAX + 1]);

#endif
