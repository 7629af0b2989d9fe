/*
 * unlink and rmdir. A name that a lower layer has needs a whiteout; what only the upper has is simply removed.
 * An unlinked file that may still be open is kept by a descriptor or, when too many are, by a name in the
 * work directory; a lower one needs neither, the layer has it still.
 */
#include "union/remove.h"

#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/index.h"
#include "union/lookup.h"
#include "union/resolve.h"
#include "union/settle.h"
#include "union/sync.h"

static int open_held(struct ply_union *u, struct ply_node *node)
{
	struct ply_place place;
	int fd = ply_place_of(u, node, &place);

	if (fd)
		return fd;
	if (ply_node_is_dir(node)) {
		fd = ply_open_retry(u, place.fd, place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
				    0);
	} else if (S_ISREG(ply_node_type(node))) {
		fd = ply_layer_open_upper(place.fd, place.name, O_RDWR);
		if (fd < 0)
			fd = ply_open_retry(u, place.fd, place.name, O_RDONLY | O_NOFOLLOW, 0);
	} else {
		fd = -EACCES;
	}
	if (fd == -EACCES)
		fd = ply_open_retry(u, place.fd, place.name, O_PATH | O_NOFOLLOW, 0);
	ply_place_put(u, &place);
	return fd;
}

void ply_hold_at_any_price(struct ply_union *u, struct ply_node *node)
{
	int fd;

	PLY_ASSERT_LOCKED(&node->lock);
	if (node->held)
		return;
	if (S_ISREG(ply_node_type(node))) {
		/* Mostly it was just written, and is open. */
		node->held = ply_fdcache_get(u->fds, node, PLY_SLOT_UPPER);
		if (node->held)
			ply_fdcache_drop(u->fds, node, PLY_SLOT_UPPER);
	}
	if (!node->held) {
		fd = open_held(u, node);
		if (fd >= 0)
			node->held = ply_fd_single(fd, 0);
	}
	if (node->held)
		atomic_fetch_add(&u->nheld, 1);
}

void ply_hold(struct ply_union *u, struct ply_node *node)
{
	if (atomic_load(&u->nheld) < u->held_budget)
		ply_hold_at_any_price(u, node);
}

void ply_hold_last(struct ply_union *u, struct ply_node *node)
{
	if (node->extra_links <= 0)
		ply_hold(u, node);
}

void ply_unhold(struct ply_union *u, struct ply_node *node)
{
	if (!node->held)
		return;
	ply_fd_put(u->fds, node->held);
	node->held = NULL;
	atomic_fetch_sub(&u->nheld, 1);
}

int ply_is_last_upper_name(struct ply_union *u, struct ply_node *node,
			   const struct ply_name *record)
{
	int last = 1;

	pthread_mutex_lock(&u->tree);
	for (const struct ply_name *n = node->names; n; n = n->next)
		if (n != record && n->in_upper && (!n->dead || n->parent == u->index_node))
			last = 0;
	pthread_mutex_unlock(&u->tree);
	return last;
}

void ply_name_is_gone(struct ply_union *u, struct ply_node *node)
{
	ply_index_prune(u, node);
	ply_settle_if_gone(u, node);
	if (node->inode && ply_node_in_upper(node) && !ply_node_has_name(u, node))
		atomic_store(&node->unseen,
			     ply_links_left(u, node) > 0 ? PLY_UNSEEN : PLY_NONE_UNSEEN);
}

int ply_lock_name(struct ply_union *u, struct ply_node *dir, struct ply_node *node,
		  const char *name, struct ply_name **record)
{
	ply_nodes_lock((struct ply_node *[PLY_LOCK_NODES]){ dir, node });
	*record = ply_name_of(u, node, dir, name);
	if (*record)
		return 0;
	ply_unlock_name(dir, node);
	return -EAGAIN;
}

void ply_unlock_name(struct ply_node *dir, struct ply_node *node)
{
	ply_nodes_unlock((struct ply_node *[PLY_LOCK_NODES]){ dir, node });
}

/* A removal, with both locks held. */
struct removal {
	struct ply_union *u;
	struct ply_node *dir, *node;
	struct ply_name *record;
	struct ply_fd *fd;	    /* the upper directory */
	int covers;		    /* a lower layer shows the name */
	int has_taken;		    /* something went into the work directory: */
	struct ply_work_name taken; /* to be removed once the locks are free */
};

/* Moves the upper entry into the work directory; a whiteout takes its place where one is needed. */
static int take_away(struct removal *r)
{
	struct ply_upper *up = &r->u->upper;
	const char *name = r->record->text;
	int err;

	if (r->covers) {
		err = ply_upper_whiteout_swap(up, r->fd->fd, name, &r->taken);
	} else {
		r->taken = ply_work_new_name(up);
		err = ply_layer_rename(r->fd->fd, name, up->work, r->taken.text, 0);
	}
	r->has_taken = !err;
	return err;
}

/* No descriptor keeps it: it goes on as a file of the work directory until the node is freed. */
static int park(struct removal *r)
{
	struct ply_name *parked;
	int err = take_away(r);

	if (err)
		return err;
	parked = ply_name_alloc(r->node, r->u->work_node, r->taken.text);
	if (!parked)
		return 0;
	ply_name_park(r->u, r->record, parked);
	r->node->extra_links--;
	r->record = NULL;
	r->has_taken = 0;
	return 0;
}

static int remove_upper_file(struct removal *r)
{
	const char *name = r->record->text;
	int err;

	if (ply_is_last_upper_name(r->u, r->node, r->record)) {
		ply_hold_last(r->u, r->node);
		if (!r->node->held)
			return park(r);
	}
	if (r->covers)
		err = ply_upper_whiteout_over(&r->u->upper, r->fd->fd, name);
	else
		err = sys_unlink(r->fd->fd, name);
	if (err)
		ply_unhold(r->u, r->node);
	else
		r->record->in_upper = 0;
	return err;
}

static int remove_file(struct removal *r)
{
	int err;

	if (r->record->in_upper)
		return remove_upper_file(r);
	err = ply_upper_whiteout(&r->u->upper, r->fd->fd, r->record->text);
	if (!err) {
		r->node->extra_links--;
		ply_index_save(r->u, r->node);
	}
	return err;
}

/* The upper directory is empty but for marks, which only the work directory can be rid of in one step. */
static int remove_upper_dir(struct removal *r)
{
	int err = -ENOTEMPTY;

	ply_hold(r->u, r->node);
	if (!r->node->held) {
		err = ply_dir_is_empty(r->u, r->node);
		if (err <= 0)
			return err ? err : -ENOTEMPTY;
		return park(r);
	}
	if (!r->covers)
		err = sys_rmdir(r->fd->fd, r->record->text);
	if (err == -ENOTEMPTY || err == -EEXIST) {
		err = ply_dir_is_empty(r->u, r->node);
		if (err >= 0)
			err = err ? take_away(r) : -ENOTEMPTY;
	}
	if (err)
		ply_unhold(r->u, r->node);
	return err;
}

static int remove_dir(struct removal *r)
{
	struct ply_node *node = r->node;

	/* What lower layers have in it is known only by the listing; without lowers the kernel's word will do. */
	if (ply_dir_nlowers(node->dir)) {
		int empty = ply_dir_is_empty(r->u, node);

		if (empty <= 0)
			return empty ? empty : -ENOTEMPTY;
	}
	if (ply_node_in_upper(node))
		return remove_upper_dir(r);
	return ply_upper_whiteout(&r->u->upper, r->fd->fd, r->record->text);
}

static int remove_on_disk(struct removal *r)
{
	int err;

	if (r->covers)
		ply_sync_together(r->u);
	err = ply_node_is_dir(r->node) ? remove_dir(r) : remove_file(r);
	if (r->covers)
		ply_sync_together(r->u);
	return err;
}

static int remove_locked(struct removal *r, const char *name)
{
	int is_dir = ply_node_is_dir(r->node);
	int err = ply_dir_nlowers(r->dir->dir) ? ply_lower_shows(r->u, r->dir, name) : 0;

	if (err < 0)
		return err;
	r->covers = err;
	err = ply_dir_open(r->u, r->dir, PLY_UPPER, &r->fd);
	if (err)
		return err;
	err = remove_on_disk(r);
	ply_fd_put(r->u->fds, r->fd);
	if (err)
		return err;
	ply_dir_hides(r->u, r->dir, name);
	if (r->record)
		ply_name_kill(r->u, r->record);
	if (!is_dir) {
		ply_name_is_gone(r->u, r->node);
	} else {
		ply_fdcache_drop(r->u->fds, r->node, PLY_UPPER);
		ply_listing_drop(r->u, r->node->dir);
		r->node->dir->version++;
	}
	return 0;
}

enum what {
	REMOVE_FILE,
	REMOVE_DIR,
};

static int remove_once(struct ply_union *u, struct ply_node *dir, const char *name, enum what what)
{
	struct removal r = { .u = u, .dir = dir };
	int err = ply_find(u, dir, name, &r.node, NULL);

	if (err)
		return err;
	if (what == REMOVE_DIR && !ply_node_is_dir(r.node))
		err = -ENOTDIR;
	if (what == REMOVE_FILE && ply_node_is_dir(r.node))
		err = -EISDIR;
	if (!err)
		err = ply_copyup(u, dir, PLY_WHOLE_FILE);
	if (!err)
		err = ply_lock_name(u, dir, r.node, name, &r.record);
	if (!err) {
		err = remove_locked(&r, name);
		ply_unlock_name(dir, r.node);
	}
	ply_node_unref(u, r.node);
	if (r.has_taken)
		ply_work_remove(&u->upper, r.taken.text);
	return err;
}

static int remove_name(struct ply_union *u, struct ply_node *dir, const char *name, enum what what)
{
	int err;

	if (ply_union_readonly(u))
		return -EROFS;
	do
		err = remove_once(u, dir, name, what);
	while (err == -EAGAIN);
	return err;
}

int ply_unlink(struct ply_union *u, struct ply_node *dir, const char *name)
{
	return remove_name(u, dir, name, REMOVE_FILE);
}

int ply_rmdir(struct ply_union *u, struct ply_node *dir, const char *name)
{
	return remove_name(u, dir, name, REMOVE_DIR);
}
