/*
 * Copy-up of a whole subtree. First the directories are found, each before those in it, and on the way all else is
 * brought up; then, the innermost first, each is made opaque under its lock, when nothing in it needs the
 * lower layers any more. What others do in it meanwhile only makes more of it upper; a directory that is
 * found to need them after all is done again.
 */
#include "union/subtree.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/room.h"
#include "base/sys.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/index.h"
#include "union/listing.h"
#include "union/lookup.h"
#include "union/origin.h"
#include "union/place.h"
#include "union/remove.h"

#define TRIES_MAX 16

struct subtree {
	struct ply_union *u;
	struct ply_node **dirs; /* with a reference each */
	size_t n, size;
	struct ply_node *dir; /* that is being read */
	int err;
};

static int has_lowers(const struct ply_node *dir)
{
	return ply_dir_nlowers(dir->dir) > 0;
}

static int add_dir(struct subtree *s, struct ply_node *dir)
{
	int err = ply_make_room(&s->dirs, &s->size, s->n, sizeof(struct ply_node *));

	if (err)
		return err;
	ply_node_ref(s->u, dir);
	s->dirs[s->n++] = dir;
	return 0;
}

/* Visits top and the directories that the visits add, which stay in the list. */
static int visit_dirs(struct subtree *s, struct ply_node *top,
		      int (*visit)(struct subtree *s, struct ply_node *dir))
{
	int err = add_dir(s, top);

	for (size_t i = 0; i < s->n && !err; i++) {
		err = visit(s, s->dirs[i]);
		/* Removed since it was found. */
		if (err == -ENOENT && i > 0)
			err = 0;
	}
	return err;
}

static void drop_dirs(struct subtree *s)
{
	while (s->n)
		ply_node_unref(s->u, s->dirs[--s->n]);
}

/* The same from the root, and no more. */
static int visit_all(struct ply_union *u, int (*visit)(struct subtree *s, struct ply_node *dir))
{
	struct subtree s = { .u = u };
	int err = visit_dirs(&s, u->root, visit);

	drop_dirs(&s);
	free(s.dirs);
	return err;
}

/* Gives the file in the upper a name that so far only a lower layer has. Both locks are held. */
static int link_up(struct subtree *s, struct ply_node *node, struct ply_name *record)
{
	struct ply_dir_times times;
	struct ply_fd *fd;
	int err = ply_dir_open(s->u, s->dir, PLY_UPPER, &fd);

	if (err)
		return err;
	err = ply_dir_times(fd->fd, &times);
	if (!err && ply_node_leads_down(node))
		err = ply_origin_make_impure(s->u, s->dir, fd->fd);
	if (!err)
		err = ply_index_link_up(s->u, node, record, fd->fd);
	if (!err) {
		sys_utimens(fd->fd, "", times.ts);
		ply_dir_shows(s->u, s->dir, record->text, ply_node_type(node));
	}
	ply_fd_put(s->u->fds, fd);
	return err;
}

/* A file with several names may be up without this one, which goes with its directory. */
static int bring_up_name(struct subtree *s, struct ply_node *node, const char *name)
{
	struct ply_name *record;
	int err = ply_copyup_to_move(s->u, node);

	if (!err)
		err = ply_lock_name(s->u, s->dir, node, name, &record);
	if (err)
		return err == -EAGAIN ? 0 : err;
	if (!record->in_upper)
		err = link_up(s, node, record);
	else
		ply_index_save(s->u, node);
	ply_unlock_name(s->dir, node);
	return err;
}

static int take_entry(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct subtree *s = arg;

	if (!entry->node)
		s->err = cookie > PLY_COOKIE_DOTS ? -EINVAL : 0;
	else if (!ply_node_is_dir(entry->node))
		s->err = bring_up_name(s, entry->node, name);
	else
		s->err = add_dir(s, entry->node);
	if (s->err)
		return 0;
	if (entry->node)
		ply_forget(s->u, entry->node, 1);
	return 1;
}

/* Brings up the directory and the files in it, and adds the directories in it to the list. */
static int read_dir(struct subtree *s, struct ply_node *dir)
{
	int err = ply_copyup(s->u, dir, PLY_WHOLE_FILE);

	s->dir = dir;
	s->err = 0;
	if (!err)
		err = ply_readdir(s->u, dir, 0, take_entry, s);
	return err ? err : s->err;
}

/* Does the entry do without the lower layers? Directories that were read are in memory, and know. */
static int stands_alone(struct ply_union *u, struct ply_node *dir, const char *name,
			const struct ply_item *item)
{
	struct ply_node *node;
	int alone;

	if (!(item->flags & PLY_ITEM_UPPER))
		return 0;
	if (item->type != DT_DIR)
		return 1;
	node = ply_tree_find(u, dir, name);
	if (!node)
		return !item->mask;
	alone = !has_lowers(node);
	ply_node_unref(u, node);
	return alone;
}

/* 1 when all entries do. dir->lock is held. */
static int all_stand_alone(struct ply_union *u, struct ply_node *dir)
{
	const struct ply_item *item;
	struct ply_listing *l;
	uint64_t cookie = 0;
	int err = ply_listing_get(u, dir, &l);

	if (!err)
		err = ply_listing_settle(l);
	if (err)
		return err;
	while ((item = ply_listing_after(l, cookie, &cookie)))
		if (!stands_alone(u, dir, ply_item_name(l, item), item))
			return 0;
	return 1;
}

static int make_impure(struct ply_union *u, struct ply_node *dir)
{
	struct ply_fd *fd;
	int err = ply_dir_open(u, dir, PLY_UPPER, &fd);

	if (err)
		return err;
	err = ply_origin_make_impure(u, dir, fd->fd);
	ply_fd_put(u->fds, fd);
	return err;
}

/* The upper directory fd, in parent's, is to keep its number, that of the topmost lower part. */
static int keep_number(struct ply_union *u, struct ply_node *parent, struct ply_node *dir, int fd)
{
	unsigned layer = dir->dir->lowers[0].layer;
	struct ply_place lower = { .layer = &u->layers[layer], .name = "" };
	struct ply_fh origin;
	int err = ply_dir_open(u, dir, layer, &lower.dir);

	if (err)
		return err;
	lower.fd = lower.dir->fd;
	err = ply_origin_write(u, &lower, fd, "", &origin);
	ply_place_put(u, &lower);
	if (err <= 0)
		return err;
	dir->has_origin = 1;
	return make_impure(u, parent);
}

/* The marks, in the upper directory fd. */
static int make_alone(struct ply_union *u, struct ply_node *parent, struct ply_node *dir, int fd)
{
	struct ply_dir_times times;
	int err = ply_dir_times(fd, &times);

	if (!err)
		err = keep_number(u, parent, dir, fd);
	if (!err)
		err = ply_upper_set_opaque(&u->upper, fd, ".");
	if (err)
		return err;
	/* Readers need not know what to do with a whiteout where nothing is below; it does no harm in itself. */
	ply_upper_clear_whiteouts(&u->upper, fd);
	sys_utimens(fd, "", times.ts);
	return 0;
}

/* Cuts the directory off from the lower layers. -EAGAIN: something still needs them. Both locks are held. */
static int cut_off_locked(struct ply_union *u, struct ply_node *parent, struct ply_node *dir)
{
	struct ply_fd *fd;
	int err = all_stand_alone(u, dir);

	if (err <= 0)
		return err ? err : -EAGAIN;
	err = ply_dir_open(u, dir, PLY_UPPER, &fd);
	if (err)
		return err;
	err = make_alone(u, parent, dir, fd->fd);
	ply_fd_put(u->fds, fd);
	if (err)
		return err;
	ply_dir_hide_lowers(dir->dir);
	ply_listing_drop(u, dir->dir);
	dir->dir->version++;
	return 0;
}

/* The directory's parent, with a reference; NULL when it was removed. */
static struct ply_node *get_parent(struct ply_union *u, struct ply_node *dir)
{
	struct ply_node *parent = NULL;

	pthread_mutex_lock(&u->tree);
	if (dir->names && !dir->names->dead) {
		parent = dir->names->parent;
		parent->refs++;
	}
	pthread_mutex_unlock(&u->tree);
	return parent;
}

static int cut_off(struct ply_union *u, struct ply_node *dir)
{
	struct ply_node *parent = get_parent(u, dir);
	struct ply_node *const both[PLY_LOCK_NODES] = { parent, dir };
	int err = 0;

	/* What was removed meanwhile is of no concern. */
	if (!parent)
		return 0;
	ply_nodes_lock(both);
	if (!ply_node_has_name(u, dir))
		err = 0;
	else if (dir->names->parent != parent)
		err = -EAGAIN;
	else if (has_lowers(dir))
		err = cut_off_locked(u, parent, dir);
	ply_nodes_unlock(both);
	ply_node_unref(u, parent);
	return err;
}

static int take_name(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct subtree *s = arg;

	(void)cookie;
	if (!entry->node)
		return 1;
	s->err = 0;
	if (ply_node_is_dir(entry->node)) {
		s->err = add_dir(s, entry->node);
	} else if (ply_node_in_upper(entry->node)) {
		s->err = ply_copyup(s->u, s->dir, PLY_WHOLE_FILE);
		if (!s->err)
			s->err = bring_up_name(s, entry->node, name);
	}
	if (s->err)
		return 0;
	ply_forget(s->u, entry->node, 1);
	return 1;
}

static int link_up_names(struct subtree *s, struct ply_node *dir)
{
	int err;

	s->dir = dir;
	s->err = 0;
	err = ply_readdir(s->u, dir, 0, take_name, s);
	return err ? err : s->err;
}

/* From the one value of enum ply_unseen to the other. */
static int turn(struct ply_union *u, struct ply_node *node, void *arg)
{
	const uint8_t *step = arg;
	uint8_t unseen = step[0];

	(void)u;
	atomic_compare_exchange_strong(&node->unseen, &unseen, step[1]);
	return 0;
}

static void turn_all(struct ply_union *u, enum ply_unseen from, enum ply_unseen to)
{
	uint8_t step[2] = { (uint8_t)from, (uint8_t)to };

	pthread_mutex_lock(&u->tree);
	ply_node_each(u, turn, step);
	pthread_mutex_unlock(&u->tree);
}

int ply_link_names_up(struct ply_union *u)
{
	uint64_t left = atomic_load(&u->names_left), moves = atomic_load(&u->moves_begun);
	int quiet = atomic_load(&u->moves_done) == moves, err;

	ply_before_long(u);
	turn_all(u, PLY_UNSEEN, PLY_SOUGHT);
	err = visit_all(u, link_up_names);
	/* A directory that was moved meanwhile may have been where nobody looked. */
	if (!err && quiet && atomic_load(&u->moves_begun) == moves) {
		atomic_store(&u->names_up, left);
		/* What was not found anywhere has no name that shows. */
		turn_all(u, PLY_SOUGHT, PLY_NONE_UNSEEN);
	}
	return err;
}

int ply_is_moved(const struct ply_node *dir)
{
	const struct ply_moved *moved = dir->dir->moved;

	return moved && moved->redirect && has_lowers(dir);
}

/* A directory in the upper's part of s->dir. */
static int take_upper_dir(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct subtree *s = arg;
	struct ply_node *node;
	int err;

	(void)ino;
	if (type != DT_DIR)
		return 0;
	err = ply_find(s->u, s->dir, name, &node, NULL);
	if (err)
		return err == -ENOENT ? 0 : err;
	if (ply_node_is_dir(node) && ply_node_in_upper(node))
		err = add_dir(s, node);
	ply_node_unref(s->u, node);
	return err;
}

static int read_upper_dir(struct subtree *s, struct ply_node *dir)
{
	struct ply_fd *path;
	int err = ply_dir_open(s->u, dir, PLY_UPPER, &path);

	if (err)
		return err;
	s->dir = dir;
	err = ply_list_dir(s->u, path->fd, take_upper_dir, s);
	ply_fd_put(s->u->fds, path);
	return err;
}

static int bring_up_if_moved(struct subtree *s, struct ply_node *dir)
{
	int moved, err = 0;

	pthread_mutex_lock(&s->u->tree);
	moved = ply_is_moved(dir);
	pthread_mutex_unlock(&s->u->tree);
	if (moved)
		err = ply_copyup_tree(s->u, dir);
	return err ? err : read_upper_dir(s, dir);
}

int ply_copyup_moved(struct ply_union *u)
{
	ply_before_long(u);
	return visit_all(u, bring_up_if_moved);
}

static int read_merged_dir(struct subtree *s, struct ply_node *dir)
{
	return has_lowers(dir) ? read_dir(s, dir) : 0;
}

static int copyup_tree_once(struct subtree *s, struct ply_node *top)
{
	int err = visit_dirs(s, top, read_merged_dir);

	for (size_t i = s->n; i > 0 && !err; i--)
		err = cut_off(s->u, s->dirs[i - 1]);
	drop_dirs(s);
	return err;
}

int ply_copyup_tree(struct ply_union *u, struct ply_node *dir)
{
	struct subtree s = { .u = u };
	int err, tries = 0;

	ply_before_long(u);
	do
		err = copyup_tree_once(&s, dir);
	while (err == -EAGAIN && ++tries < TRIES_MAX);
	free(s.dirs);
	return err == -EAGAIN ? -EBUSY : err;
}
