/*
 * Lookup. The layers are asked (union/resolve.c) without a lock; the answer counts only if the directory's version has not
 * moved meanwhile, else it is found again. The node is attached under the directory's lock.
 */
#include "union/lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layer/marks.h"
#include "union/fill.h"
#include "union/index.h"
#include "union/linkcount.h"
#include "union/lowerdata.h"
#include "union/origin.h"
#include "union/resolve.h"
#include "union/settle.h"

#define PROBES_MAX 4	  /* lookups in a merged directory before it is listed */
#define TRIES_MAX 3	  /* of a lookup without the lock */
#define LAYERS_TO_PROBE 8 /* with more layers it is listed at once */

int ply_name_is_reserved(const char *name)
{
	return ply_is_aufs_name(name);
}

/*
 * What is known beforehand. dir->lock is held. A directory of one layer is simply asked; a merged one is
 * listed when it was asked a few times. -ENOENT when a listing says that there is no such name.
 */
static int get_hint(struct ply_union *u, struct ply_node *dir, const char *name,
		    struct ply_hint *hint)
{
	struct ply_dir *d = dir->dir;
	struct ply_listing *l = d->listing;
	int layers = ply_dir_nlowers(d) + atomic_load(&d->in_upper);
	struct ply_item *item;

	PLY_ASSERT_LOCKED(&dir->lock);
	*hint = (struct ply_hint){ 0 };
	/* What a listing says may be out of date. */
	if (u->lowers_change)
		return 0;
	if (!l && layers > 1 && (++d->probes > PROBES_MAX || layers > LAYERS_TO_PROBE)) {
		/* Without the right or the memory to list it, it is asked all the same. */
		if (ply_listing_get(u, dir, &l))
			l = NULL;
	}
	if (!l)
		return 0;
	item = ply_listing_find(l, name);
	if (!item || !(item->flags & PLY_ITEM_VISIBLE))
		return -ENOENT;
	hint->known = 1;
	hint->upper = (item->flags & PLY_ITEM_UPPER) != 0;
	hint->mask = item->mask;
	hint->rest = item->rest;
	return 0;
}

void ply_attr_fix(struct ply_union *u, struct ply_node *node, struct statx *attr)
{
	attr->stx_ino = node->ino;
	if (ply_node_is_dir(node)) {
		/* The number of subdirectories of a merged one is not known; 1 says so, as everywhere. */
		if (ply_dir_nlowers(node->dir) + atomic_load(&node->dir->in_upper) > 1)
			attr->stx_nlink = 1;
		if (!ply_node_has_name(u, node))
			attr->stx_nlink = 0;
		return;
	}
	attr->stx_nlink = (uint32_t)((int)attr->stx_nlink + node->extra_links);
	if (node->lowerdata && !ply_node_has_data(node)) {
		ply_lowerdata_attr(node->lowerdata, attr);
		ply_fill_attr(u, node, attr);
	}
}

/* From when on others find it by another name, they wait until it knows how many names it has. */
static struct ply_node *add_linked(struct ply_union *u, struct ply_node *dir, const char *name,
				   const struct ply_answer *f, struct ply_node *node)
{
	struct ply_node *used;

	pthread_mutex_lock(&node->lock);
	used = ply_inode_add(u, node, f->layer, &f->stx);
	if (used == node && !f->in_upper)
		ply_linkcount_load(u, node, dir, name);
	pthread_mutex_unlock(&node->lock);
	return used;
}

/* Fills a new node from what was found; in *used the one to use instead if another lookup was faster. 0 or -errno. */
static int describe(struct ply_union *u, struct ply_node *dir, const char *name,
		    struct ply_answer *f, struct ply_node *node, struct ply_node **used)
{
	int err;

	*used = node;
	if (f->dir && f->dir->nlowers) {
		node->layer = f->dir->lowers[0].layer;
		/* That of the topmost lower part, so that a copy-up changes nothing. */
		node->ino = ply_ino_map(u, &f->below);
		return 0;
	}
	node->layer = f->dir ? PLY_UPPER : (uint16_t)f->layer;
	if (!f->dir) {
		if (f->in_upper)
			atomic_init(&node->state, ply_lowerdata_state(f->data));
		node->lowerdata = f->data;
		f->data = NULL;
	}
	err = ply_origin_set_ino(u, dir, name, node, &f->stx);
	if (!err && !f->dir && f->stx.stx_nlink > 1)
		*used = add_linked(u, dir, name, f, node);
	return err;
}

/* What a crash left, or the kernel. */
static void settle_later(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(&node->lock);
	ply_settle_add(u, node);
	pthread_mutex_unlock(&node->lock);
}

/* A new node of what was found, or the one that another lookup has made meanwhile. f->dir is taken over. */
static int make_node(struct ply_union *u, struct ply_node *dir, const char *name,
		     struct ply_answer *f, struct ply_node **out)
{
	struct ply_node *node = ply_node_new(u, f->stx.stx_mode, f->dir);
	int err;

	if (!node) {
		ply_answer_free(f);
		return -ENOMEM;
	}
	err = describe(u, dir, name, f, node, out);
	if (err || *out != node)
		ply_node_unref(u, node);
	if (!err && *out == node && node->lowerdata && f->in_upper)
		settle_later(u, node);
	return err;
}

/* The node by another name of the same file, in *out, or NULL. */
static int find_linked(struct ply_union *u, struct ply_node *dir, const char *name,
		       struct ply_answer *f, struct ply_node **out)
{
	const struct ply_index_lower lower = { dir, name, f->layer, &f->stx };

	*out = NULL;
	/* An upper file may have lost its other names since its node was made. */
	if (!f->dir && (f->in_upper || f->stx.stx_nlink > 1))
		*out = ply_inode_find(u, f->layer, &f->stx);
	if (*out || f->dir || f->in_upper || f->stx.stx_nlink < 2)
		return 0;
	return ply_index_find(u, &lower, &f->data, out);
}

/* How node has the name by which it was found. */
static int how_named(const struct ply_node *node, const struct ply_answer *f)
{
	if (f->in_upper)
		return PLY_NAME_UPPER;
	return !f->dir && f->layer != node->layer ? PLY_NAME_ELSEWHERE : 0;
}

/* The node of what was found: new, or of another name of the same file. dir->lock is held. */
static int attach(struct ply_union *u, struct ply_node *dir, const char *name, struct ply_answer *f,
		  struct ply_node **out)
{
	struct ply_node *node;
	int err = find_linked(u, dir, name, f, &node);

	if (!err && !node)
		err = make_node(u, dir, name, f, &node);
	free(f->data);
	f->data = NULL;
	if (err)
		return err;
	err = ply_name_add(u, node, dir, name, how_named(node, f), NULL);
	if (err) {
		ply_node_unref(u, node);
		return err;
	}
	*out = node;
	return 0;
}

/* The attributes of a node that is already known. */
static int known_attr(struct ply_union *u, struct ply_node *node, struct statx *attr)
{
	return attr ? ply_getattr(u, node, attr) : 0;
}

/*
 * The attributes as they were found, unless another name's inode is the node's by now, or something may have been brought up
 * to it meanwhile.
 */
static int found_attr(struct ply_union *u, struct ply_node *node, const struct ply_answer *f,
		      struct statx *attr)
{
	if (!attr)
		return 0;
	pthread_mutex_lock(&node->lock);
	if (ply_node_in_upper(node) == f->in_upper && !(f->in_upper && node->lowerdata)) {
		*attr = f->stx;
		ply_attr_fix(u, node, attr);
		pthread_mutex_unlock(&node->lock);
		return 0;
	}
	pthread_mutex_unlock(&node->lock);
	return ply_getattr(u, node, attr);
}

/* What the layers said becomes a node, unless another lookup was faster. dir->lock is held. */
static int settle_locked(struct ply_union *u, struct ply_node *dir, const char *name,
			 struct ply_answer *f, struct ply_node **out)
{
	*out = ply_tree_find(u, dir, name);
	if (!*out)
		return attach(u, dir, name, f, out);
	ply_answer_free(f);
	return 0;
}

/* Asks the layers without a lock: -EAGAIN when the directory changed meanwhile. */
static int find_once(struct ply_union *u, struct ply_node *dir, const char *name,
		     struct ply_node **out, struct ply_answer *f)
{
	struct ply_hint hint;
	uint64_t version;
	int err;

	pthread_mutex_lock(&dir->lock);
	version = dir->dir->version;
	err = get_hint(u, dir, name, &hint);
	pthread_mutex_unlock(&dir->lock);
	if (!err)
		err = ply_resolve(u, dir, name, &hint, f);
	pthread_mutex_lock(&dir->lock);
	if (version != dir->dir->version) {
		ply_answer_free(f);
		err = -EAGAIN;
	}
	if (!err)
		err = settle_locked(u, dir, name, f, out);
	pthread_mutex_unlock(&dir->lock);
	return err;
}

/* The same with the lock held all the time, for a directory that changes too fast. */
static int find_locked(struct ply_union *u, struct ply_node *dir, const char *name,
		       struct ply_node **out, struct ply_answer *f)
{
	struct ply_hint hint;
	int err;

	pthread_mutex_lock(&dir->lock);
	err = get_hint(u, dir, name, &hint);
	if (!err)
		err = ply_resolve(u, dir, name, &hint, f);
	if (!err)
		err = settle_locked(u, dir, name, f, out);
	pthread_mutex_unlock(&dir->lock);
	return err;
}

/* ---- lower layers that change ---- */

/* A lower node: is it what was found now? */
static int is_same(struct ply_union *u, const struct ply_node *node, const struct ply_name *name,
		   const struct ply_answer *f)
{
	const struct ply_dir *d = f->dir;

	if (f->in_upper || (f->stx.stx_mode & S_IFMT) != ply_node_type(node))
		return 0;
	if (ply_ino_map(u, d ? &f->below : &f->stx) != node->ino)
		return 0;
	if (!d)
		return name->elsewhere == (f->layer != node->layer);
	for (unsigned i = 0; i < d->nlowers && i < node->dir->nlowers; i++)
		if (d->lowers[i].layer != node->dir->lowers[i].layer)
			return 0;
	return d->nlowers == node->dir->nlowers;
}

/* The directories that it is in the layers may be others by now. */
static void open_again(struct ply_union *u, struct ply_node *node)
{
	for (unsigned i = 0; ply_node_is_dir(node) && i < node->dir->nlowers; i++)
		ply_fdcache_drop(u->fds, node, node->dir->lowers[i].layer);
}

/*
 * The node of a name, as long as the layers still show it there; else the name leaves it, as if it were removed, and the
 * caller's reference is given back. What is up is nobody's to change: a directory that is keeps the layers that it has.
 */
static void ask_again(struct ply_union *u, struct ply_node *dir, const char *name,
		      struct ply_node **node)
{
	struct ply_node *const both[PLY_LOCK_NODES] = { dir, *node };
	const struct ply_hint all = { 0 };
	struct ply_name *record = NULL;
	struct ply_answer f = { 0 };
	int is_gone = 0;

	ply_nodes_lock(both);
	if (!ply_node_in_upper(*node))
		record = ply_name_of(u, *node, dir, name);
	if (record) {
		int err = ply_resolve(u, dir, name, &all, &f);

		is_gone = err ? err == -ENOENT : !is_same(u, *node, record, &f);
		ply_answer_free(&f);
	}
	if (is_gone)
		ply_name_kill(u, record);
	open_again(u, *node);
	ply_nodes_unlock(both);
	if (is_gone) {
		ply_node_unref(u, *node);
		*node = NULL;
	}
}

int ply_find(struct ply_union *u, struct ply_node *dir, const char *name, struct ply_node **out,
	     struct statx *attr)
{
	struct ply_answer f = { 0 };
	int err = -EAGAIN;

	if (!ply_node_is_dir(dir))
		return -ENOTDIR;
	if (strlen(name) > PLY_NAME_MAX)
		return -ENAMETOOLONG;
	if (ply_name_is_reserved(name))
		return -ENOENT;
	*out = ply_tree_find(u, dir, name);
	if (*out && u->lowers_change)
		ask_again(u, dir, name, out);
	if (*out) {
		err = known_attr(u, *out, attr);
		if (err)
			ply_node_unref(u, *out);
		return err;
	}
	for (int tries = 0; err == -EAGAIN && tries < TRIES_MAX; tries++) {
		err = find_once(u, dir, name, out, &f);
	}
	if (err == -EAGAIN)
		err = find_locked(u, dir, name, out, &f);
	if (err)
		return err;
	ply_fill_recover(u, *out);
	err = found_attr(u, *out, &f, attr);
	if (err)
		ply_node_unref(u, *out);
	return err;
}

int ply_lookup(struct ply_union *u, struct ply_node *dir, const char *name, struct ply_entry *out)
{
	int err = ply_find(u, dir, name, &out->node, &out->attr);

	if (!err)
		ply_entry_give(u, out);
	return err;
}

int ply_attach_new(struct ply_union *u, struct ply_node *dir, const char *name,
		   const struct statx *stx, struct ply_node **out)
{
	struct ply_answer f = { .stx = *stx, .layer = PLY_UPPER, .in_upper = 1 };

	if (S_ISDIR(stx->stx_mode)) {
		int err = ply_answer_add(&f, PLY_UPPER, stx, 0);

		if (err)
			return err;
	}
	return attach(u, dir, name, &f, out);
}

int ply_name_shows(struct ply_union *u, struct ply_node *dir, const char *name)
{
	struct ply_node *node = ply_tree_find(u, dir, name);
	struct ply_hint hint;
	struct ply_answer f;
	int err;

	PLY_ASSERT_LOCKED(&dir->lock);
	if (node) {
		ply_node_unref(u, node);
		return 1;
	}
	err = get_hint(u, dir, name, &hint);
	if (!err)
		err = ply_resolve(u, dir, name, &hint, &f);
	if (err)
		return err == -ENOENT ? 0 : err;
	ply_answer_free(&f);
	return 1;
}
