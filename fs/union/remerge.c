/*
 * A directory takes part in the new layer when a lookup of its name, made now, would say so: therefore it is looked up again,
 * by the same code, from the root downwards, each in a parent that is already what it will be. Most are not asked
 * for, as it can be seen that nothing would come of it. Files stay what they are, since all layers are above the new one;
 * but for those whose data was found below, or not at all.
 */
#include "union/remerge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/room.h"
#include "base/sys.h"
#include "layer/marks.h"
#include "union/listing.h"
#include "union/lowerdata.h"
#include "union/place.h"
#include "union/redirect.h"
#include "union/resolve.h"
#include "union/settle.h"

/* ---- directories, those further up first ---- */

struct order {
	struct ply_node *node;
	unsigned depth;
};

struct orders {
	struct order *v;
	size_t n, size;
	uint32_t *depths; /* by slot, of all directories that were met; 0: not yet, or the root */
};

/* Each directory on the way gets its depth as well, so that none is climbed over twice. */
static unsigned depth_of(struct ply_union *u, struct ply_node *node, uint32_t *depths)
{
	struct ply_node *at = node;
	unsigned above = 0, depth;

	for (; at != u->root && at->names && !depths[at->slot]; at = at->names->parent)
		above++;
	depth = above + depths[at->slot];
	at = node;
	for (unsigned i = 0; i < above; i++) {
		depths[at->slot] = depth - i;
		at = at->names->parent;
	}
	return depth;
}

static int add_order(struct ply_union *u, struct ply_node *node, void *arg)
{
	struct orders *o = arg;
	int err;

	if (!ply_node_is_dir(node) || node == u->root || !ply_node_has_name(u, node))
		return 0;
	err = ply_make_room(&o->v, &o->size, o->n, sizeof(*o->v));
	if (!err)
		o->v[o->n++] = (struct order){ node, depth_of(u, node, o->depths) };
	return err;
}

/* Those in one directory stand together: its descriptors are at hand. */
static int by_depth(const void *a, const void *b)
{
	const struct order *x = a, *y = b;
	const struct ply_node *p = x->node->names->parent, *q = y->node->names->parent;

	if (x->depth != y->depth)
		return x->depth < y->depth ? -1 : 1;
	return p == q ? 0 : p < q ? -1 : 1;
}

static int order_dirs(struct ply_union *u, struct orders *o)
{
	int err;

	*o = (struct orders){ .depths = calloc((size_t)u->nchunks * PLY_CHUNK, sizeof(uint32_t)) };
	if (!o->depths)
		return -ENOMEM;
	err = ply_node_each(u, add_order, o);
	if (!err && o->n)
		qsort(o->v, o->n, sizeof(*o->v), by_depth);
	free(o->depths);
	return err;
}

/* ---- one directory ---- */

static int has_new(const struct ply_remerge *r, const struct ply_dir *d)
{
	int n = ply_dir_nlowers(d);

	return n && d->lowers[n - 1].layer == r->layer;
}

/* Does the parent's part in the new layer have something of that name? */
static int is_there(struct ply_union *u, const struct ply_remerge *r, const struct ply_name *name)
{
	struct statx stx;
	struct ply_fd *fd;
	int err;

	if (!has_new(r, name->parent->dir))
		return 0;
	err = ply_dir_open(u, name->parent, r->layer, &fd);
	if (err)
		return err;
	err = ply_layer_is_hole(&u->layers[r->layer], fd->fd, name->text)
		      ? -ENOENT
		      : sys_statx(fd->fd, name->text, STATX_TYPE, &stx);
	ply_fd_put(u->fds, fd);
	return err == -ENOENT ? 0 : err ? err : S_ISDIR(stx.stx_mode);
}

/* Its last part may say that it goes on elsewhere; until now there was nothing below for that to mean. */
static int leads_elsewhere(struct ply_union *u, const struct ply_dir *d,
			   const struct ply_name *name)
{
	char redirect[PLY_REDIRECT_MAX + 1];
	struct ply_fd *fd;
	unsigned last;
	int below;

	if (d->moved || !d->nlowers || u->redirect_dir == PLY_REDIRECT_NOFOLLOW)
		return d->moved != NULL;
	last = d->lowers[d->nlowers - 1].layer;
	below = ply_dir_open(u, name->parent, last, &fd);
	if (!below) {
		below = ply_mark_below(&u->layers[last], fd->fd, name->text, redirect);
		ply_fd_put(u->fds, fd);
	}
	/* Layers may change, with timeout. */
	if (below == -ENOENT || below == -ENOTDIR)
		return 0;
	return below < 0 ? below : below == PLY_BELOW_ELSEWHERE;
}

/* Its path in the new layer, when it takes part in it: 1 and *path, malloc'd; NULL: at its name in its parent's part. */
static int ask(struct ply_union *u, const struct ply_remerge *r, const struct ply_name *name,
	       char **path)
{
	const struct ply_hint all = { 0 };
	struct ply_answer found;
	const char *at;
	int err = ply_resolve(u, name->parent, name->text, &all, &found), takes_part;

	*path = NULL;
	if (err)
		return err == -ENOENT ? 0 : err;
	takes_part = found.dir && has_new(r, found.dir);
	at = takes_part ? ply_moved_path(found.dir, r->layer) : NULL;
	if (at) {
		*path = strdup(at);
		if (!*path)
			takes_part = -ENOMEM;
	}
	ply_answer_free(&found);
	return takes_part;
}

/* The same path in words, where other parts have paths: the last of them would hold for the new one, too. */
static int spell_path(struct ply_union *u, const struct ply_remerge *r, const struct ply_name *name,
		      char **path)
{
	char *parent;
	int err = ply_dir_path(u, name->parent, r->layer, &parent);

	if (err)
		return err;
	if (asprintf(path, "%s%s%s", parent, *parent ? "/" : "", name->text) < 0)
		*path = NULL;
	free(parent);
	return *path ? 0 : -ENOMEM;
}

/* The directory as it will be. path: of ask. */
static struct ply_dir *longer(const struct ply_dir *d, unsigned layer, const char *path)
{
	size_t size = sizeof(*d) + d->nlowers * sizeof(d->lowers[0]);
	struct ply_dir *dir = calloc(1, size + sizeof(d->lowers[0]));

	if (!dir)
		return NULL;
	memcpy(dir, d, size);
	dir->lowers[dir->nlowers++].layer = (uint16_t)layer;
	dir->version++;
	dir->listing = NULL;
	dir->newer = dir->older = NULL;
	dir->listing_bytes = 0;
	if (ply_moved_copy(d->moved, &dir->moved) ||
	    (path && ply_moved_add(&dir->moved, layer, path))) {
		ply_dir_free(dir);
		return NULL;
	}
	return dir;
}

static int change(struct ply_remerge *r, struct ply_node *node, const char *path)
{
	struct ply_dir *dir;
	int err = ply_make_room(&r->dirs, &r->dirs_size, r->ndirs, sizeof(*r->dirs));

	if (err)
		return err;
	dir = longer(node->dir, r->layer, path);
	if (!dir)
		return -ENOMEM;
	r->dirs[r->ndirs++] = (struct ply_remerged_dir){ node, node->dir, node->layer };
	node->dir = dir;
	if (node->layer == PLY_UPPER)
		node->layer = (uint16_t)r->layer;
	return 0;
}

static int consider(struct ply_union *u, struct ply_remerge *r, struct ply_node *node)
{
	const struct ply_name *name = node->names;
	const struct ply_dir *d = node->dir;
	char *path;
	int takes_part = 0;

	/* All of it is up: it shows nothing of lower layers. */
	if (d->nlowers && !ply_dir_nlowers(d))
		return 0;
	takes_part = is_there(u, r, name);
	if (!takes_part)
		takes_part = leads_elsewhere(u, d, name);
	if (takes_part > 0)
		takes_part = ask(u, r, name, &path);
	if (takes_part > 0) {
		int err = !path && d->moved && d->moved->nruns ? spell_path(u, r, name, &path) : 0;

		takes_part = err ? err : change(r, node, path);
		free(path);
	}
	if (takes_part < 0)
		r->at = name->text;
	return takes_part < 0 ? takes_part : 0;
}

static int try_dirs(struct ply_union *u, struct ply_remerge *r)
{
	struct orders o;
	int err = order_dirs(u, &o);

	if (!err)
		err = change(r, u->root, NULL);
	for (size_t i = 0; i < o.n && !err; i++)
		err = consider(u, r, o.v[i].node);
	free(o.v);
	return err;
}

/* ---- data of metadata-only files ---- */

/* Data-only layers count one more. */
static int count_on(struct ply_union *u, struct ply_node *node, void *arg)
{
	const struct ply_remerge *r = arg;

	(void)u;
	if (!ply_node_is_dir(node) && node->lowerdata && node->lowerdata->layer >= r->layer)
		node->lowerdata->layer++;
	return 0;
}

static int count_back(struct ply_union *u, struct ply_node *node, void *arg)
{
	const struct ply_remerge *r = arg;

	(void)u;
	if (!ply_node_is_dir(node) && node->lowerdata && node->lowerdata->layer > r->layer)
		node->lowerdata->layer--;
	return 0;
}

/* The name of a lookup that would find the file's inode where it is, and as which of its parent's parts: 0 when there is none. */
static const struct ply_name *name_to_ask(const struct ply_node *node, int *index)
{
	unsigned layer = ply_node_in_upper(node) ? PLY_UPPER : node->layer;

	for (const struct ply_name *name = node->names; name; name = name->next) {
		const struct ply_dir *d = name->parent->dir;

		if (name->dead || (layer == PLY_UPPER ? !name->in_upper : name->elsewhere))
			continue;
		*index = -1;
		if (layer != PLY_UPPER)
			while (++*index < d->nlowers && d->lowers[*index].layer != layer)
				;
		if (*index < d->nlowers)
			return name;
	}
	return NULL;
}

/* May the data be elsewhere than was thought so far? */
static int may_change(const struct ply_union *u, const struct ply_remerge *r,
		      const struct ply_node *node)
{
	unsigned layer;

	if (!S_ISREG(ply_node_type(node)) || ply_node_has_data(node))
		return 0;
	if (!node->lowerdata)
		/* In what was the last of all layers small files were not asked for the mark: it would have meant nothing. */
		return u->nall == u->nlayers && node->layer + 1u == r->layer;
	layer = node->lowerdata->layer;
	return !layer || layer > r->layer;
}

static int is_marked(struct ply_union *u, const struct ply_name *name, unsigned layer)
{
	struct ply_fd *fd;
	int err = ply_dir_open(u, name->parent, layer, &fd);

	if (err)
		return err;
	err = ply_mark_metacopy(&u->layers[layer], fd->fd, name->text, u->filled.boot);
	ply_fd_put(u->fds, fd);
	return err;
}

static int find_data_of(struct ply_union *u, struct ply_remerge *r, struct ply_node *node,
			const struct ply_name *name, int index)
{
	struct ply_lowerdata *data;
	int err = ply_make_room(&r->files, &r->files_size, r->nfiles, sizeof(*r->files));

	if (!err)
		err = ply_lowerdata_find(u, name->parent, index, name->text, &data);
	if (err)
		return err;
	if (node->lowerdata && data->layer != r->layer)
		free(data);
	else
		r->files[r->nfiles++] = (struct ply_remerged_file){ node, data };
	return 0;
}

/* What was below the new layer, or nowhere, is in it now if it has the path. */
static int find_data(struct ply_union *u, struct ply_node *node, void *arg)
{
	struct ply_remerge *r = arg;
	const struct ply_name *name;
	int index, marked = 1;

	if (!may_change(u, r, node))
		return 0;
	name = name_to_ask(node, &index);
	if (!name)
		return 0;
	if (!node->lowerdata)
		marked = is_marked(u, name, node->layer);
	if (marked > 0)
		marked = find_data_of(u, r, node, name, index);
	/* Layers may change, with timeout. */
	if (marked == -ENOENT)
		return 0;
	if (marked < 0)
		r->at = name->text;
	return marked;
}

/* ---- what appears ---- */

static int add_news(struct ply_remerge *r, uint64_t id, const char *name)
{
	size_t size = sizeof(id) + strlen(name) + 1;

	if (r->news_size - r->news_used < size) {
		size_t more = 2 * r->news_size + size + PLY_NAME_MAX;
		char *grown = realloc(r->news, more);

		if (!grown)
			return -ENOMEM;
		r->news = grown;
		r->news_size = more;
	}
	memcpy(r->news + r->news_used, &id, sizeof(id));
	strcpy(r->news + r->news_used + sizeof(id), name);
	r->news_used += size;
	return 0;
}

struct naming {
	struct ply_union *u;
	struct ply_remerge *r;
	struct ply_node *node;
	uint64_t id;
};

/* Somebody may know of the name that it is not there. One that has a node is, and stays. */
static int add_name(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	const struct naming *n = arg;
	struct ply_node *node = ply_tree_find(n->u, n->node, name);

	(void)type;
	(void)ino;
	if (!node)
		return ply_is_aufs_name(name) ? 0 : add_news(n->r, n->id, name);
	ply_node_unref(n->u, node);
	return 0;
}

static uint64_t id_of(const struct ply_union *u, const struct ply_node *node)
{
	return node == u->root ? PLY_ROOT_ID : ply_node_id(node);
}

static int tell_dir(struct ply_union *u, struct ply_remerge *r, struct ply_node *node)
{
	struct naming n = { u, r, node, id_of(u, node) };
	struct ply_fd *fd;
	int err = ply_dir_open(u, node, r->layer, &fd);

	if (!err) {
		err = ply_layer_list(fd->fd, add_name, &n);
		ply_fd_put(u->fds, fd);
	}
	/* After its names: see wire/ctl.c. */
	if (!err)
		err = add_news(r, n.id, "");
	if (err && node != u->root)
		r->at = node->names->text;
	return err == -EBADF ? -EACCES : err;
}

static int gather_news(struct ply_union *u, struct ply_remerge *r)
{
	int err = 0;

	for (size_t i = 0; i < r->ndirs && !err; i++)
		err = tell_dir(u, r, r->dirs[i].node);
	for (size_t i = 0; i < r->nfiles && !err; i++)
		err = add_news(r, id_of(u, r->files[i].node), "");
	return err;
}

/* ---- all of it ---- */

int ply_remerge_try(struct ply_union *u, struct ply_remerge *r)
{
	int err;

	ply_node_each(u, count_on, r);
	err = try_dirs(u, r);
	if (!err)
		err = ply_node_each(u, find_data, r);
	return err ? err : gather_news(u, r);
}

void ply_remerge_undo(struct ply_union *u, struct ply_remerge *r)
{
	/* Some are of the new layer. */
	ply_fdcache_clear(u->fds);
	for (size_t i = 0; i < r->ndirs; i++) {
		struct ply_remerged_dir *was = &r->dirs[i];
		struct ply_dir *dir = was->node->dir;

		was->node->dir = was->dir;
		was->node->layer = was->layer;
		ply_dir_free(dir);
	}
	for (size_t i = 0; i < r->nfiles; i++)
		free(r->files[i].data);
	ply_node_each(u, count_back, r);
	r->ndirs = r->nfiles = 0;
}

void ply_remerge_keep(struct ply_union *u, struct ply_remerge *r)
{
	r->nmerged = (unsigned)r->ndirs;
	for (size_t i = 0; i < r->ndirs; i++) {
		ply_listing_drop(u, r->dirs[i].dir);
		ply_dir_free(r->dirs[i].dir);
	}
	for (size_t i = 0; i < r->nfiles; i++)
		ply_settle_replace(u, r->files[i].node, r->files[i].data);
	/* Descriptors of data that is not theirs any more. */
	if (r->nfiles)
		ply_fdcache_clear(u->fds);
	r->ndirs = r->nfiles = 0;
}

void ply_remerge_free(struct ply_remerge *r)
{
	free(r->dirs);
	free(r->files);
	free(r->news);
}
