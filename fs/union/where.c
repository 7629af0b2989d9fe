/* Where a name of the union comes from. It asks what the nodes know, so it tells what is shown and not what would be. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "union/lookup.h"
#include "union/lowerdata.h"
#include "union/place.h"
#include "union/resolve.h"

/* A name on the way, with a reference of each node. The root has no parent. */
struct step {
	struct ply_node *dir, *node;
	char name[PLY_NAME_MAX + 1];
};

static int set_path(struct ply_where *out, const char *dir, const char *name)
{
	int n = snprintf(out->path, sizeof(out->path), "%s%s%s", dir, *dir && *name ? "/" : "",
			 name);

	return n < (int)sizeof(out->path) ? 0 : -ENAMETOOLONG;
}

static int tell_place(struct ply_union *u, struct ply_node *dir, unsigned layer, const char *name,
		      struct ply_where *out)
{
	char *path;
	int err = ply_dir_path(u, dir, layer, &path);

	if (err)
		return err;
	out->layer = layer;
	err = set_path(out, path, name);
	free(path);
	return err;
}

static int tell_dir(struct ply_union *u, struct ply_node *node, unsigned part,
		    struct ply_where *out)
{
	const struct ply_dir *d = node->dir;
	unsigned in_upper = atomic_load(&d->in_upper);

	out->state = in_upper ? PLY_WHERE_UPPER : PLY_WHERE_LOWER;
	out->nparts = in_upper + (unsigned)ply_dir_nlowers(d);
	if (part >= out->nparts)
		return -ERANGE;
	return tell_place(u, node, (unsigned)ply_layer_index(d, (int)(part - in_upper)), "", out);
}

/* By the name that was asked for, if it is there by that; else by another one. node->lock is held. */
static int tell_inode(struct ply_union *u, const struct step *s, struct ply_where *out)
{
	struct ply_name *name = ply_name_of(u, s->node, s->dir, s->name);
	unsigned layer = ply_node_in_upper(s->node) ? PLY_UPPER : s->node->layer;

	out->kind = PLY_WHERE_INODE;
	if (layer == PLY_UPPER && name && !name->in_upper)
		name = ply_upper_name(u, s->node);
	if (layer != PLY_UPPER && name && name->elsewhere)
		name = ply_lower_name(u, s->node);
	/* Removed since. */
	if (!name || name->parent == u->work_node)
		return -ENOENT;
	if (name->parent != u->index_node)
		return tell_place(u, name->parent, layer, name->text, out);
	out->kind = PLY_WHERE_INDEX;
	out->layer = layer;
	return set_path(out, "", name->text);
}

static int tell_data(const struct ply_lowerdata *data, struct ply_where *out)
{
	out->kind = data->layer ? PLY_WHERE_DATA : PLY_WHERE_NO_DATA;
	out->layer = data->layer;
	return set_path(out, data->path, "");
}

static int tell_file_locked(struct ply_union *u, const struct step *s, unsigned part,
			    struct ply_where *out)
{
	static const enum ply_where_state states[] = {
		[PLY_STATE_LOWER] = PLY_WHERE_LOWER,
		[PLY_STATE_META_UP] = PLY_WHERE_META_UP,
		[PLY_STATE_DATA_UP] = PLY_WHERE_MARKED,
		[PLY_STATE_UPPER] = PLY_WHERE_UPPER,
	};
	const struct ply_node *node = s->node;
	int is_elsewhere = node->lowerdata && !ply_node_has_data(node);

	out->state = states[atomic_load(&node->state)];
	out->nparts = is_elsewhere ? 2 : 1;
	if (part >= out->nparts)
		return -ERANGE;
	return part ? tell_data(node->lowerdata, out) : tell_inode(u, s, out);
}

static int tell(struct ply_union *u, const struct step *s, unsigned part, struct ply_where *out)
{
	struct statx attr;
	int err = ply_getattr(u, s->node, &attr);

	if (err)
		return err;
	out->ino = attr.stx_ino;
	out->mode = attr.stx_mode;
	out->kind = PLY_WHERE_INODE;
	if (ply_node_is_dir(s->node))
		return tell_dir(u, s->node, part, out);
	pthread_mutex_lock(&s->node->lock);
	err = tell_file_locked(u, s, part, out);
	pthread_mutex_unlock(&s->node->lock);
	return err;
}

/* The name is not shown: is that a whiteout's doing? */
static void tell_hidden(struct ply_union *u, const struct step *s, struct ply_where *out)
{
	struct ply_dir *d = s->dir->dir;
	int says = PLY_SAYS_NOTHING;

	for (int i = atomic_load(&d->in_upper) ? -1 : 0; i < ply_dir_nlowers(d) && !says; i++) {
		unsigned layer = (unsigned)ply_layer_index(d, i);
		struct statx stx;
		struct ply_fd *fd;

		if (ply_dir_open(u, s->dir, layer, &fd))
			return;
		says = ply_ask_layer(u, s->dir, i, 1, fd->fd, s->name, &stx);
		ply_fd_put(u->fds, fd);
		if (says == PLY_SAYS_WHITEOUT && !tell_place(u, s->dir, layer, s->name, out))
			out->kind = PLY_WHERE_WHITEOUT;
	}
}

static void leave(struct ply_union *u, struct ply_node *node)
{
	if (node)
		ply_node_unref(u, node);
}

static int go_to(struct ply_union *u, struct step *s, const char *name, size_t len)
{
	if (!len || (len == 1 && *name == '.'))
		return 0;
	if (len == 2 && !memcmp(name, "..", 2))
		return -EXDEV;
	if (len > PLY_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(s->name, name, len);
	s->name[len] = '\0';
	leave(u, s->dir);
	s->dir = s->node;
	s->node = NULL;
	return ply_find(u, s->dir, s->name, &s->node, NULL);
}

int ply_where(struct ply_union *u, const char *path, unsigned part, struct ply_where *out)
{
	struct step s = { .node = ply_root(u) };
	int err = 0;

	*out = (struct ply_where){ .kind = PLY_WHERE_NOTHING };
	ply_node_ref(u, s.node);
	while (*path && !err) {
		size_t len = strcspn(path, "/");

		err = go_to(u, &s, path, len);
		path += len + (path[len] == '/');
	}
	if (!err)
		err = tell(u, &s, part, out);
	else if (err == -ENOENT)
		tell_hidden(u, &s, out);
	leave(u, s.node);
	leave(u, s.dir);
	return err;
}
