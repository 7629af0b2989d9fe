/*
 * A file or directory of the upper becomes one of the first lower layer: there it lies at the path that it has now,
 * and the same inode. All other layers count one more. What was unlinked stays where it is kept, in no layer.
 */
#include "union/restack.h"

#include <stdlib.h>
#include <string.h>

#include "base/room.h"
#include "base/sys.h"
#include "union/index.h"
#include "union/listing.h"
#include "union/lowerdata.h"
#include "union/place.h"
#include "union/redirect.h"

#define FIRST_LOWER 1

/* The upper has it, and the union shows it: then it goes into the layer. */
static int goes_down(struct ply_union *u, struct ply_node *node)
{
	if (node == u->work_node || node == u->index_node)
		return 0;
	return ply_node_in_upper(node) && ply_node_has_name(u, node);
}

int ply_has_lower_name(const struct ply_node *node)
{
	for (const struct ply_name *name = node->names; name; name = name->next)
		if (!name->dead && !name->in_upper)
			return 1;
	return 0;
}

/* ---- before ---- */

/* The directory as it will be. */
static struct ply_dir *lowered(const struct ply_dir *d, int is_root)
{
	struct ply_dir *dir = calloc(1, sizeof(*dir) + (d->nlowers + 1u) * sizeof(d->lowers[0]));

	if (!dir)
		return NULL;
	dir->node = d->node;
	atomic_init(&dir->in_upper, (uint8_t)is_root);
	atomic_init(&dir->hidden, atomic_load(&d->hidden));
	dir->nlowers = (uint16_t)(d->nlowers + 1);
	dir->version = d->version;
	dir->lowers[0].layer = FIRST_LOWER;
	atomic_init(&dir->lowers[0].announces, atomic_load(&d->upper_announces));
	for (unsigned i = 0; i < d->nlowers; i++) {
		dir->lowers[i + 1].layer = (uint16_t)(d->lowers[i].layer + 1);
		atomic_init(&dir->lowers[i + 1].announces, atomic_load(&d->lowers[i].announces));
	}
	return dir;
}

static int prepare_dir(struct ply_union *u, struct ply_node *node, struct ply_restack *r)
{
	int err = ply_make_room(&r->dirs, &r->size, r->ndirs, sizeof(struct ply_dir *));

	if (err)
		return err;
	r->dirs[r->ndirs] = lowered(node->dir, node == u->root);
	return r->dirs[r->ndirs++] ? 0 : -ENOMEM;
}

/* Until now another name of the file may have led here by its inode in a lower layer. All names are up. */
static int find_by_upper(struct ply_union *u, struct ply_node *node)
{
	struct ply_place place;
	struct statx stx;
	int err;

	if (!node->inode)
		return 0;
	pthread_mutex_lock(&node->lock);
	err = ply_place_of(u, node, &place);
	if (!err) {
		err = sys_statx(place.fd, place.name, STATX_INO | STATX_NLINK, &stx);
		ply_place_put(u, &place);
	}
	pthread_mutex_unlock(&node->lock);
	if (!err)
		ply_inode_move(u, node, PLY_UPPER, &stx);
	return err;
}

static int prepare_node(struct ply_union *u, struct ply_node *node, void *arg)
{
	if (!goes_down(u, node))
		return ply_node_is_unseen_locked(node) ? -EAGAIN : 0;
	if (ply_node_is_dir(node))
		return prepare_dir(u, node, arg);
	if (node->state == PLY_STATE_DATA_UP || ply_has_lower_name(node))
		return -EAGAIN;
	return find_by_upper(u, node);
}

/*
 * What the layer will have is found there by names that show only: not by one in the work directory, nor by one that was
 * removed, in whose place there is a whiteout. Nobody misses these as long as the upper has another.
 */
static int drop_other_ways(struct ply_union *u, struct ply_node *node, void *arg)
{
	struct ply_name *name, *next;

	(void)arg;
	if (ply_node_is_dir(node) || !goes_down(u, node) || ply_has_lower_name(node))
		return 0;
	for (name = node->names; name; name = next) {
		next = name->next;
		if (!name->dead || name->parent == u->index_node)
			continue;
		if (name->parent == u->work_node) {
			ply_work_remove(&u->upper, name->text);
			node->extra_links++;
		}
		ply_name_remove_dead(u, name);
	}
	return 0;
}

int ply_restack_prepare(struct ply_union *u, struct ply_restack *r)
{
	ply_node_each(u, drop_other_ways, NULL);
	return ply_node_each(u, prepare_node, r);
}

void ply_restack_free(struct ply_restack *r)
{
	while (r->next < r->ndirs)
		free(r->dirs[r->next++]);
	free(r->dirs);
}

/* ---- the change ---- */

static void count_on(uint16_t *layer)
{
	if (*layer != PLY_UPPER)
		++*layer;
}

/* Where a directory was moved from holds for the layers that it was moved over. */
static void move_redirects(struct ply_moved *moved, int is_lowered)
{
	if (!moved)
		return;
	for (unsigned i = 0; i < moved->nruns; i++)
		moved->runs[i].layer++;
	if (!is_lowered)
		return;
	/* Said by the directory that is a lower one now: over it there is none to say it. */
	free(moved->redirect);
	moved->redirect = NULL;
}

static void change_dir(struct ply_union *u, struct ply_node *node, struct ply_restack *r,
		       int is_lowered)
{
	struct ply_dir *dir = node->dir;

	ply_listing_drop(u, dir);
	move_redirects(dir->moved, is_lowered);
	if (is_lowered) {
		node->dir = r->dirs[r->next++];
		node->dir->moved = dir->moved;
		free(dir);
		node->layer = FIRST_LOWER;
		node->has_origin = 0;
	} else {
		for (unsigned i = 0; i < dir->nlowers; i++)
			dir->lowers[i].layer++;
		count_on(&node->layer);
	}
	node->dir->version++;
}

/* The one way back in the states of a node: its inode is now what copy-up begins with. */
static void change_file(struct ply_union *u, struct ply_node *node, int is_lowered)
{
	if (node->lowerdata)
		count_on(&node->lowerdata->layer);
	if (!is_lowered) {
		count_on(&node->layer);
		return;
	}
	ply_inode_move(u, node, FIRST_LOWER, NULL);
	atomic_store(&node->state, PLY_STATE_LOWER);
	node->layer = FIRST_LOWER;
	node->has_origin = 0;
	node->extra_links = 0;
	atomic_store(&node->unseen, PLY_NONE_UNSEEN);
	for (struct ply_name *name = node->names; name; name = name->next)
		name->in_upper = name->elsewhere = 0;
}

static int change_node(struct ply_union *u, struct ply_node *node, void *arg)
{
	int is_lowered = goes_down(u, node);

	if (ply_node_is_dir(node))
		change_dir(u, node, arg, is_lowered);
	else
		change_file(u, node, is_lowered);
	return 0;
}

void ply_restack_do(struct ply_union *u, struct ply_restack *r)
{
	/* They are kept by the numbers of layers. */
	ply_fdcache_clear(u->fds);
	ply_node_each(u, change_node, r);
}
