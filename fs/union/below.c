/* Finding and opening the data of files that are metadata only. */
#include "union/below.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "layer/marks.h"
#include "union/data.h"
#include "union/origin.h"
#include "union/place.h"

#define BLOCK 512

int ply_below_is_marked(struct ply_union *u, struct ply_node *dir, int index, int fd,
			const char *name, const struct statx *stx)
{
	unsigned layer = index < 0 ? PLY_UPPER : dir->dir->lowers[index].layer;

	if (!S_ISREG(stx->stx_mode) || !stx->stx_size)
		return 0;
	if (stx->stx_blocks * BLOCK >= stx->stx_size &&
	    (index >= 0 || !ply_origin_is_impure(u, dir, fd)))
		return 0;
	return ply_mark_is_set(&u->layers[layer], fd, name, PLY_MARK_METACOPY);
}

static struct ply_below *new_below(unsigned layer, const char *path, const struct statx *data)
{
	size_t len = strlen(path);
	struct ply_below *below = malloc(sizeof(*below) + len + 1);

	if (!below)
		return NULL;
	*below = (struct ply_below){ .layer = (uint16_t)layer };
	if (data) {
		below->size = data->stx_size;
		below->blocks = data->stx_blocks;
	}
	memcpy(below->path, path, len + 1);
	return below;
}

/* A search for data, from a layer down. */
struct search {
	struct ply_union *u;
	struct statx stx;
	struct ply_mark_redirect to; /* of the inode met last */
	struct ply_below *found;
};

/* Has the inode data of its own? 1, or 0 when it is only metadata as well: then where to look next is in s->to. */
static int has_data(struct search *s, unsigned layer, int fd, const char *name)
{
	int marked = ply_mark_is_set(&s->u->layers[layer], fd, name, PLY_MARK_METACOPY);

	if (marked <= 0)
		return marked < 0 ? marked : 1;
	return ply_mark_get_redirect(&s->u->layers[layer], fd, name, &s->to);
}

/* What one layer has by a name: 1 when the search has ended, with data or without. */
static int look_at(struct search *s, unsigned layer, int fd, const char *name, const char *path)
{
	int err = sys_statx(fd, name, STATX_BASIC_STATS, &s->stx);

	if (err == -ENOENT || err == -ENOTDIR)
		return 0;
	if (err)
		return err;
	if (!S_ISREG(s->stx.stx_mode))
		return 1;
	err = has_data(s, layer, fd, name);
	if (err <= 0)
		return err;
	s->found = new_below(layer, path, &s->stx);
	return s->found ? 1 : -ENOMEM;
}

/* By a path from the root of each layer below. */
static int search_path(struct search *s, unsigned layer)
{
	int end = 0;

	while (!end && ++layer < s->u->nlayers) {
		const char *path = s->to.text + 1, *slash = strrchr(path, '/');
		char dir[sizeof(s->to.text)];
		int fd = s->u->layers[layer].root;

		snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
		if (slash)
			fd = ply_layer_open_dir(s->u->layers[layer].root, dir);
		if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
			continue;
		if (fd < 0)
			return fd;
		end = look_at(s, layer, fd, slash ? slash + 1 : path, path);
		if (slash)
			sys_close(fd);
	}
	return end;
}

/* By a name in the layers that the directory has below: until one says by a path where to look. */
static int search_beside(struct search *s, struct ply_node *dir, int index, const char *name)
{
	for (int i = index + 1; i < dir->dir->nlowers; i++) {
		unsigned layer = dir->dir->lowers[i].layer;
		const char *text = s->to.text[0] ? s->to.text : name;
		struct ply_fd *fd;
		char *path;
		int end = ply_dir_open(s->u, dir, layer, &fd);

		if (end)
			return end;
		end = ply_lower_path(s->u, dir, layer, text, &path);
		if (!end) {
			end = look_at(s, layer, fd->fd, text, path);
			free(path);
		}
		ply_fd_put(s->u->fds, fd);
		if (!end && s->to.text[0] == '/')
			return search_path(s, layer);
		if (end)
			return end;
	}
	return 0;
}

int ply_below_find(struct ply_union *u, struct ply_node *dir, int index, int fd, const char *name,
		   struct ply_below **out)
{
	unsigned layer = index < 0 ? PLY_UPPER : dir->dir->lowers[index].layer;
	struct search s = { .u = u };
	int err = ply_mark_get_redirect(&u->layers[layer], fd, name, &s.to);

	if (!err && s.to.text[0] == '/')
		err = search_path(&s, layer);
	else if (!err)
		err = search_beside(&s, dir, index, name);
	if (err < 0 && err != -EINVAL)
		return err;
	if (!s.found) {
		ply_error("the data of '%s' in %s is in no layer below", name, u->layers[layer].path);
		s.found = new_below(0, "", NULL);
	}
	*out = s.found;
	return s.found ? 0 : -ENOMEM;
}

int ply_below_of_name(struct ply_union *u, struct ply_node *dir, unsigned layer, const char *name,
		      const struct statx *lower, struct ply_below **out)
{
	char *path;
	int err = ply_lower_path(u, dir, layer, name, &path);

	if (err)
		return err;
	*out = new_below(layer, path, lower);
	free(path);
	return *out ? 0 : -ENOMEM;
}

int ply_below_of_lower(struct ply_union *u, struct ply_node *node, const struct statx *lower,
		       struct ply_below **out)
{
	struct ply_name *name;

	if (node->below) {
		*out = new_below(node->below->layer, node->below->path, lower);
		return *out ? 0 : -ENOMEM;
	}
	name = ply_lower_name(u, node);
	return name ? ply_below_of_name(u, name->parent, node->layer, name->text, lower, out)
		    : -ESTALE;
}

int ply_below_open(struct ply_union *u, const struct ply_below *below)
{
	int fd;

	if (!below->layer)
		return -EIO;
	do
		fd = ply_open_path(u->layers[below->layer].root, below->path);
	while ((fd == -EMFILE || fd == -ENFILE) && ply_fdcache_shrink(u->fds));
	return fd;
}

void ply_below_attr(const struct ply_below *below, struct statx *attr)
{
	if (!below->layer)
		return;
	attr->stx_size = below->size;
	attr->stx_blocks = below->blocks;
}

int ply_below_pin(struct ply_union *u, struct ply_node *node)
{
	struct ply_below *below = node->below;
	struct ply_mark_redirect to;
	struct ply_place place;
	int n, err;

	PLY_ASSERT_LOCKED(&node->lock);
	if (!below || below->pinned || !below->layer)
		return 0;
	n = snprintf(to.text, sizeof(to.text), "/%s", below->path);
	if ((size_t)n >= sizeof(to.text))
		return -ENAMETOOLONG;
	err = ply_place_of(u, node, &place);
	if (err)
		return err;
	err = ply_upper_set_mark(&u->upper, place.fd, place.name, PLY_MARK_REDIRECT, to.text,
				 (size_t)n);
	ply_place_put(u, &place);
	below->pinned = !err;
	return err;
}
