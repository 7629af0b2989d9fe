/*
 * rename. Everything that moves is brought up first, so the upper does it in one system call; what must be
 * true on disk before that (the redirect of a directory with lower content, opaque marks of one that comes to
 * cover something, an empty target) is made so before, and what is only tidy (a whiteout where the name was)
 * in the same call where it can be. A redirect names where the directory is already: it may stay if the rest fails.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "base/sys.h"
#include "union/copyup.h"
#include "union/index.h"
#include "union/lookup.h"
#include "union/move.h"
#include "union/movedir.h"
#include "union/origin.h"
#include "union/redirect.h"
#include "union/remove.h"
#include "union/resolve.h"
#include "union/settle.h"
#include "union/subtree.h"

static int is_below(struct ply_union *u, const struct ply_node *node, const struct ply_node *above)
{
	int below = 0;

	pthread_mutex_lock(&u->tree);
	while (node != u->root && node->names && !below) {
		node = node->names->parent;
		below = node == above;
	}
	pthread_mutex_unlock(&u->tree);
	return below;
}

/* What can be said of a rename before anything is brought up, and once more under the locks. */
static int check(const struct ply_renaming *r)
{
	const struct ply_node *from = r->from.node, *to = r->to.node;
	int exchange = (r->flags & RENAME_EXCHANGE) != 0;

	if (to && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!to && exchange)
		return -ENOENT;
	if (from == r->to.dir || (ply_node_is_dir(from) && is_below(r->u, r->to.dir, from)))
		return -EINVAL;
	if (to && (to == r->from.dir || (ply_node_is_dir(to) && is_below(r->u, r->from.dir, to))))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (to && !exchange && ply_node_is_dir(from) != ply_node_is_dir(to))
		return ply_node_is_dir(to) ? -EISDIR : -ENOTDIR;
	if ((ply_is_merged(from) || (exchange && ply_is_merged(to))) && !ply_moves_merged(r->u))
		return -EXDEV;
	return 0;
}

static int check_empty(const struct ply_renaming *r)
{
	int empty = ply_dir_is_empty(r->u, r->to.node);

	if (empty > 0)
		return 0;
	return empty ? empty : -ENOTEMPTY;
}

/* Before a whole tree is copied for nothing; it is looked at once more under all locks. */
static int check_target(const struct ply_renaming *r)
{
	int err;

	if (!r->copies || (r->flags & RENAME_EXCHANGE) || !ply_is_merged(r->from.node) ||
	    !r->to.node)
		return 0;
	pthread_mutex_lock(&r->to.node->lock);
	err = check_empty(r);
	pthread_mutex_unlock(&r->to.node->lock);
	return err;
}

static int bring_up_moving(const struct ply_renaming *r, struct ply_node *node)
{
	return r->copies && ply_is_merged(node) ? ply_copyup_tree(r->u, node)
						: ply_copyup_to_move(r->u, node);
}

static int bring_up(const struct ply_renaming *r)
{
	int err = check_target(r);

	if (!err)
		err = ply_copyup(r->u, r->from.dir, PLY_WHOLE_FILE);
	if (!err)
		err = ply_copyup(r->u, r->to.dir, PLY_WHOLE_FILE);
	if (!err)
		err = bring_up_moving(r, r->from.node);
	if (!err && (r->flags & RENAME_EXCHANGE))
		err = bring_up_moving(r, r->to.node);
	return err;
}

/* Moves between directories exclude each other: what check found of who is below whom then stays. */
static void lock_all(const struct ply_renaming *r)
{
	if (r->from.dir != r->to.dir || r->moves_dir)
		pthread_mutex_lock(&r->u->rename_lock);
	ply_nodes_lock((struct ply_node *[PLY_LOCK_NODES]){ r->from.dir, r->to.dir, r->from.node,
							    r->to.node });
}

static void unlock_all(const struct ply_renaming *r)
{
	ply_nodes_unlock((struct ply_node *[PLY_LOCK_NODES]){ r->from.dir, r->to.dir, r->from.node,
							      r->to.node });
	if (r->from.dir != r->to.dir || r->moves_dir)
		pthread_mutex_unlock(&r->u->rename_lock);
}

/* Under the locks: are both names still what was found? */
static int revalidate(struct ply_renaming *r)
{
	int shows;

	r->from.record = ply_name_of(r->u, r->from.node, r->from.dir, r->from.name);
	if (!r->from.record)
		return -EAGAIN;
	if (r->to.node) {
		r->to.record = ply_name_of(r->u, r->to.node, r->to.dir, r->to.name);
		return r->to.record ? check(r) : -EAGAIN;
	}
	if (r->to.dir->dir->version != r->to_version) {
		shows = ply_name_shows(r->u, r->to.dir, r->to.name);
		if (shows)
			return shows < 0 ? shows : -EAGAIN;
	}
	return check(r);
}

static int open_end(struct ply_renaming *r, struct ply_rename_end *e)
{
	int err;

	if (!ply_node_has_name(r->u, e->dir))
		return -ENOENT;
	err = ply_dir_nlowers(e->dir->dir) ? ply_lower_shows(r->u, e->dir, e->name) : 0;
	if (err < 0)
		return err;
	e->covers = err;
	return ply_dir_open(r->u, e->dir, PLY_UPPER, &e->fd);
}

static int prepare_dir(struct ply_renaming *r, struct ply_rename_end *moving,
		       const struct ply_rename_end *goal)
{
	const struct ply_moving m = {
		.node = moving->node,
		.fd = moving->fd->fd,
		.name = moving->name,
		.newdir = goal->dir,
		.covers = goal->covers,
	};
	int err;

	if (!ply_node_is_dir(moving->node))
		return 0;
	err = ply_moving_prepare(r->u, &m, &moving->moved);
	if (err != -EOPNOTSUPP || r->copies)
		return err;
	r->copies = 1;
	return -EAGAIN;
}

/* Does the rename take the target's name from an upper inode? */
static int replaces_upper(const struct ply_renaming *r)
{
	const struct ply_node *to = r->to.node;

	return to && !(r->flags & RENAME_EXCHANGE) && ply_node_in_upper(to) &&
	       (ply_node_is_dir(to) || r->to.record->in_upper);
}

/* The inode that loses its name must go on; without a descriptor it goes on in the work directory. */
static int keep_target(struct ply_renaming *r)
{
	struct ply_node *to = r->to.node;
	struct ply_work_name *tmp = &r->litter;
	int err;

	if (!replaces_upper(r))
		return 0;
	if (!ply_node_is_dir(to) && !ply_is_last_upper_name(r->u, to, r->to.record))
		return 0;
	/* That has no second link to go on by, and the rename may end it on the disk. */
	if (ply_node_is_dir(to)) {
		ply_hold_at_any_price(r->u, to);
		return 0;
	}
	ply_hold_last(r->u, to);
	if (to->held)
		return 0;
	/* One more link: the rename then takes the old name from it. */
	*tmp = ply_work_new_name(&r->u->upper);
	err = sys_link(r->to.fd->fd, r->to.name, r->u->upper.work, tmp->text);
	if (!err)
		r->has_litter = 1;
	return err;
}

/* What only a lower layer has by this name, while another name or the index has it in the upper. */
static int link_up(struct ply_renaming *r, struct ply_rename_end *e)
{
	if (ply_node_is_dir(e->node) || e->record->in_upper)
		return 0;
	return ply_index_link_up(r->u, e->node, e->record, e->fd->fd);
}

static int prepare(struct ply_renaming *r)
{
	int err = prepare_dir(r, &r->from, &r->to);

	if (!err)
		err = link_up(r, &r->from);
	if (!err && (r->flags & RENAME_EXCHANGE))
		err = link_up(r, &r->to);
	if (!err && (r->flags & RENAME_EXCHANGE))
		err = prepare_dir(r, &r->to, &r->from);
	else if (!err && r->to.node && ply_node_is_dir(r->to.node))
		err = check_empty(r);
	if (!err)
		err = keep_target(r);
	if (err)
		return err;
	r->new_from = ply_name_alloc(r->from.node, r->to.dir, r->to.name);
	if (r->flags & RENAME_EXCHANGE)
		r->new_to = ply_name_alloc(r->to.node, r->from.dir, r->from.name);
	return r->new_from && (r->new_to || !(r->flags & RENAME_EXCHANGE)) ? 0 : -ENOMEM;
}

/* The target has lost its name. */
static void bury_target(struct ply_renaming *r)
{
	struct ply_node *to = r->to.node;
	struct ply_name *parked = NULL;

	if (!ply_node_is_dir(to) && !r->to.record->in_upper) {
		to->extra_links--;
		ply_index_save(r->u, to);
	}
	if (r->has_litter && !to->held)
		parked = ply_name_alloc(to, r->u->work_node, r->litter.text);
	if (parked) {
		ply_name_park(r->u, r->to.record, parked);
		to->extra_links--;
		r->has_litter = 0;
	} else {
		ply_name_kill(r->u, r->to.record);
	}
	if (!ply_node_is_dir(to)) {
		ply_name_is_gone(r->u, to);
	} else {
		ply_fdcache_drop(r->u->fds, to, PLY_UPPER);
		ply_listing_drop(r->u, to->dir);
		to->dir->version++;
	}
}

static void install_moved(struct ply_union *u, struct ply_rename_end *moving)
{
	if (moving->moved)
		ply_moved_install(u, moving->node, moving->moved);
	moving->moved = NULL;
}

/* The move in memory: cannot fail. */
static void move_in_memory(struct ply_renaming *r)
{
	struct ply_union *u = r->u;
	mode_t from_type = ply_node_type(r->from.node);

	install_moved(u, &r->from);
	install_moved(u, &r->to);
	if (r->flags & RENAME_EXCHANGE) {
		ply_name_replace(u, r->to.record, r->new_to);
	} else if (r->to.node) {
		bury_target(r);
	}
	ply_name_replace(u, r->from.record, r->new_from);
	ply_dir_hides(u, r->from.dir, r->from.name);
	ply_dir_hides(u, r->to.dir, r->to.name);
	ply_dir_shows(u, r->to.dir, r->to.name, from_type);
	if (r->flags & RENAME_EXCHANGE)
		ply_dir_shows(u, r->from.dir, r->from.name, ply_node_type(r->to.node));
	r->new_from = r->new_to = NULL;
}

static int rename_locked(struct ply_renaming *r)
{
	int err = revalidate(r);

	if (!err)
		err = open_end(r, &r->from);
	if (!err)
		err = open_end(r, &r->to);
	if (!err)
		err = prepare(r);
	if (!err && ply_node_leads_down(r->from.node))
		err = ply_origin_make_impure(r->u, r->to.dir, r->to.fd->fd);
	if (!err && (r->flags & RENAME_EXCHANGE) && ply_node_leads_down(r->to.node))
		err = ply_origin_make_impure(r->u, r->from.dir, r->from.fd->fd);
	if (!err) {
		if (r->moves_dir)
			atomic_fetch_add(&r->u->moves_begun, 1);
		err = ply_move(r);
		if (!err)
			move_in_memory(r);
		else if (replaces_upper(r))
			ply_unhold(r->u, r->to.node);
		if (r->moves_dir)
			atomic_fetch_add(&r->u->moves_done, 1);
	}
	ply_name_free(r->new_from);
	ply_name_free(r->new_to);
	r->new_from = r->new_to = NULL;
	ply_moved_free(r->from.moved);
	ply_moved_free(r->to.moved);
	r->from.moved = r->to.moved = NULL;
	ply_fd_put(r->u->fds, r->from.fd);
	ply_fd_put(r->u->fds, r->to.fd);
	r->from.fd = r->to.fd = NULL;
	return err;
}

static int rename_found(struct ply_renaming *r)
{
	int err;

	if (r->from.node == r->to.node)
		return r->flags & RENAME_NOREPLACE ? -EEXIST : 0;
	err = check(r);
	if (!err)
		err = bring_up(r);
	if (err)
		return err;
	r->moves_dir = ply_node_is_dir(r->from.node) || (r->to.node && ply_node_is_dir(r->to.node));
	lock_all(r);
	err = rename_locked(r);
	unlock_all(r);
	if (r->has_litter)
		ply_work_remove(&r->u->upper, r->litter.text);
	r->has_litter = 0;
	return err;
}

static int rename_once(struct ply_renaming *r)
{
	int err = ply_find(r->u, r->from.dir, r->from.name, &r->from.node, NULL);

	if (err)
		return err;
	pthread_mutex_lock(&r->to.dir->lock);
	r->to_version = r->to.dir->dir->version;
	pthread_mutex_unlock(&r->to.dir->lock);
	err = ply_find(r->u, r->to.dir, r->to.name, &r->to.node, NULL);
	if (err == -ENOENT) {
		r->to.node = NULL;
		err = 0;
	}
	if (!err) {
		err = rename_found(r);
		if (r->to.node)
			ply_node_unref(r->u, r->to.node);
	}
	ply_node_unref(r->u, r->from.node);
	return err;
}

int ply_rename(struct ply_union *u, struct ply_node *dir, const char *name, struct ply_node *newdir,
	       const char *newname, unsigned flags)
{
	struct ply_renaming r = {
		.u = u,
		.from = { .dir = dir, .name = name },
		.to = { .dir = newdir, .name = newname },
		.flags = flags,
		.copies = ply_moves_by_copying(u),
	};
	int err;

	if (ply_union_readonly(u))
		return -EROFS;
	if (!ply_node_is_dir(dir) || !ply_node_is_dir(newdir))
		return -ENOTDIR;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (strlen(newname) > PLY_NAME_MAX)
		return -ENAMETOOLONG;
	if (ply_name_is_reserved(newname))
		return -EPERM;
	do
		err = rename_once(&r);
	while (err == -EAGAIN);
	return err;
}
