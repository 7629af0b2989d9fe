/* Finding and opening the data of files that are metadata only. */
#include "union/lowerdata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "layer/marks.h"
#include "union/data.h"
#include "union/origin.h"
#include "union/place.h"
#include "union/redirect.h"

#define BLOCK 512

/*
 * Whether the mark has to be asked for, or -errno. An inode without data has blocks all the same where its xattrs have some, as many
 * as a small file's data; a crash may leave any size in one of the upper.
 */
static int may_be_marked(struct ply_union *u, struct ply_node *dir, unsigned layer, int fd,
			 const struct statx *stx)
{
	if (!S_ISREG(stx->stx_mode))
		return 0;
	if (stx->stx_blocks * BLOCK < stx->stx_size)
		return 1;
	if (layer == PLY_UPPER)
		return ply_origin_is_impure(u, dir, fd);
	/* There is nothing below the last one for a mark to mean. */
	return layer + 1 < u->nall;
}

int ply_lowerdata_is_marked(struct ply_union *u, struct ply_node *dir, int index, int fd,
			    const char *name, const struct statx *stx)
{
	unsigned layer = index < 0 ? PLY_UPPER : dir->dir->lowers[index].layer;
	int may_be = may_be_marked(u, dir, layer, fd, stx);

	if (may_be <= 0)
		return may_be;
	return ply_mark_metacopy(&u->layers[layer], fd, name, u->filled.boot);
}

static struct ply_lowerdata *new_data(unsigned layer, const char *path, const struct statx *file)
{
	size_t len = strlen(path);
	struct ply_lowerdata *data = malloc(sizeof(*data) + len + 1);

	if (!data)
		return NULL;
	*data = (struct ply_lowerdata){ .layer = (uint16_t)layer };
	if (file) {
		data->size = file->stx_size;
		data->blocks = file->stx_blocks;
	}
	memcpy(data->path, path, len + 1);
	return data;
}

int ply_lowerdata_find(struct ply_union *u, struct ply_node *dir, int index, const char *name,
		       struct ply_lowerdata **out)
{
	unsigned layer = index < 0 ? PLY_UPPER : dir->dir->lowers[index].layer;
	struct ply_spot spot;
	int err = ply_redirect_data(u, dir, name, layer, &spot);

	if (err == -ENODATA || err == -EPERM || err == -EINVAL) {
		ply_error("the data of '%s' in %s is in no layer below", name,
			  u->layers[layer].path);
		*out = new_data(0, "", NULL);
	} else if (err) {
		return err;
	} else {
		*out = new_data(spot.layer, spot.path, &spot.stx);
		free((char *)spot.path);
	}
	if (!*out)
		return -ENOMEM;
	(*out)->was_found = 1;
	return 0;
}

int ply_lowerdata_of_name(struct ply_union *u, struct ply_node *dir, unsigned layer,
			  const char *name, const struct statx *lower, struct ply_lowerdata **out)
{
	char *parent, *path;
	int err = ply_dir_path(u, dir, layer, &parent);

	if (err)
		return err;
	if (asprintf(&path, "%s%s%s", parent, *parent ? "/" : "", name) < 0)
		path = NULL;
	free(parent);
	*out = path ? new_data(layer, path, lower) : NULL;
	free(path);
	return *out ? 0 : -ENOMEM;
}

int ply_lowerdata_of_lower(struct ply_union *u, struct ply_node *node, const struct statx *lower,
			   struct ply_lowerdata **out)
{
	struct ply_name *name;

	if (node->lowerdata) {
		*out = new_data(node->lowerdata->layer, node->lowerdata->path, lower);
		return *out ? 0 : -ENOMEM;
	}
	name = ply_lower_name(u, node);
	return name ? ply_lowerdata_of_name(u, name->parent, node->layer, name->text, lower, out)
		    : -ESTALE;
}

int ply_lowerdata_open(struct ply_union *u, const struct ply_lowerdata *data)
{
	int fd;

	if (!data->layer)
		return -EIO;
	do
		fd = ply_open_path(u->layers[data->layer].root, data->path);
	while ((fd == -EMFILE || fd == -ENFILE) && ply_fdcache_shrink(u->fds));
	return fd;
}

void ply_lowerdata_attr(const struct ply_lowerdata *data, struct statx *attr)
{
	if (!data->layer)
		return;
	attr->stx_size = data->size;
	attr->stx_blocks = data->blocks;
}

/* What is to be said of where the data is: that the mark says so far, or what it says of another name. */
static int path_to_data(struct ply_union *u, struct ply_node *node, const struct ply_place *place,
			char to[PLY_REDIRECT_MAX + 1])
{
	char redirect[PLY_REDIRECT_MAX + 1];
	const struct ply_name *name;
	int below = PLY_BELOW_SAME;

	if (node->lowerdata->was_found)
		below = ply_mark_below(place->layer, place->fd, place->name, redirect);
	if (below < 0)
		return below;
	pthread_mutex_lock(&u->tree);
	name = ply_name_live_locked(node);
	pthread_mutex_unlock(&u->tree);
	/* Without a name it is not to get another one either. */
	if (!name)
		return -ENOENT;
	return ply_redirect_path(u, name->parent,
				 below == PLY_BELOW_ELSEWHERE ? redirect : name->text, to);
}

int ply_lowerdata_pin(struct ply_union *u, struct ply_node *node)
{
	struct ply_lowerdata *data = node->lowerdata;
	char to[PLY_REDIRECT_MAX + 1];
	struct ply_place place;
	int err;

	PLY_ASSERT_LOCKED(&node->lock);
	if (!data || data->pinned)
		return 0;
	err = ply_place_of(u, node, &place);
	if (err)
		return err;
	err = path_to_data(u, node, &place, to);
	if (!err)
		err = ply_upper_set_mark(&u->upper, place.fd, place.name, PLY_MARK_REDIRECT, to,
					 strlen(to));
	ply_place_put(u, &place);
	data->pinned = !err;
	return err;
}
