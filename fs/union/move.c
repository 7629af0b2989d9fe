/*
 * The move of a rename on the disk: the ways in which one name goes over another, each with what a file system must be able to
 * do for it, and the way back if its second step fails. What moves is in the upper; nothing in memory changes here.
 */
#include "union/move.h"

#include <errno.h>
#include <linux/fs.h>

#include "base/sys.h"
#include "union/movedir.h"
#include "union/place.h"
#include "union/sync.h"

static int move(const struct ply_renaming *r, unsigned flags)
{
	return sys_rename(r->from.fd->fd, r->from.name, r->to.fd->fd, r->to.name, flags);
}

/* The two names change places; what comes to the old one may be a whiteout, or full of them. */
static int swap(const struct ply_renaming *r)
{
	struct ply_layer *upper = r->u->upper.layer;
	int err = -EINVAL;

	if (!ply_layer_lacks(upper, PLY_LACKS_EXCHANGE))
		err = move(r, RENAME_EXCHANGE);
	if (err != -EINVAL && err != -ENOSYS)
		return err;
	ply_layer_set_lack(upper, PLY_LACKS_EXCHANGE);
	return -EINVAL;
}

/* Takes the old target from the source's name, to which it was swapped. */
static int clear_source(struct ply_renaming *r)
{
	struct ply_upper *up = &r->u->upper;
	int err;

	if (!ply_node_is_dir(r->to.node))
		return r->from.covers ? ply_upper_whiteout_over(up, r->from.fd->fd, r->from.name)
				      : sys_unlink(r->from.fd->fd, r->from.name);
	if (r->from.covers) {
		err = ply_upper_whiteout_swap(up, r->from.fd->fd, r->from.name, &r->litter);
	} else {
		r->litter = ply_work_new_name(up);
		err = ply_layer_rename(r->from.fd->fd, r->from.name, up->work, r->litter.text, 0);
	}
	r->has_litter = !err;
	return err;
}

/* Over something in the upper, so that until the end there is a way back. */
static int move_by_swap(struct ply_renaming *r)
{
	int err = swap(r);

	if (err)
		return err;
	err = clear_source(r);
	if (err)
		move(r, RENAME_EXCHANGE);
	return err;
}

/* Without exchange: the target's marks go first, and it is opaque before that. */
static int move_over_marks(struct ply_renaming *r)
{
	struct ply_fd *fd;
	int err = ply_upper_set_opaque(&r->u->upper, r->to.fd->fd, r->to.name);

	if (!err)
		err = ply_dir_open(r->u, r->to.node, PLY_UPPER, &fd);
	if (err)
		return err;
	err = ply_upper_clear_marks(&r->u->upper, fd->fd);
	ply_fd_put(r->u->fds, fd);
	if (!err)
		err = move(r, 0);
	if (!err && r->from.covers)
		err = ply_upper_whiteout(&r->u->upper, r->from.fd->fd, r->from.name);
	return err;
}

/* A directory cannot replace a whiteout, which goes before: a way for file systems that cannot exchange. */
static int move_after_whiteout(const struct ply_renaming *r)
{
	struct ply_upper *up = &r->u->upper;
	int err = sys_unlink(r->to.fd->fd, r->to.name);

	if (err)
		return err;
	err = move(r, 0);
	if (err) {
		ply_upper_whiteout(up, r->to.fd->fd, r->to.name);
		return err;
	}
	return r->from.covers ? ply_upper_whiteout(up, r->from.fd->fd, r->from.name) : 0;
}

/* Onto a whiteout, by changing places with it: it is then where one is needed, or removed. */
static int move_over_whiteout(struct ply_renaming *r)
{
	int err = r->from.covers ? ply_upper_announce(&r->u->upper, r->from.fd->fd) : 0;

	if (!err)
		err = swap(r);
	if (err == -EINVAL && ply_node_is_dir(r->from.node))
		return move_after_whiteout(r);
	/* One that hides nothing does no harm if it stays. */
	if (!err && !r->from.covers)
		sys_unlink(r->from.fd->fd, r->from.name);
	return err;
}

/* While a .wh. mark and the file are both there the file wins. */
static int move_with_aufs(struct ply_renaming *r)
{
	struct ply_upper *up = &r->u->upper;
	int err = ply_upper_whiteout(up, r->from.fd->fd, r->from.name);

	if (err)
		return err;
	err = move(r, 0);
	if (err)
		ply_upper_clear_aufs(up, r->from.fd->fd, r->from.name);
	return err;
}

/* Has the upper something of the target's name that is no whiteout? */
static int target_in_upper(const struct ply_renaming *r)
{
	return r->to.node && ply_node_in_upper(r->to.node) &&
	       (ply_node_is_dir(r->to.node) || r->to.record->in_upper);
}

/* In two steps, with a way back from the first. */
static int move_then_whiteout(struct ply_renaming *r)
{
	int err = -EINVAL;

	if (target_in_upper(r))
		err = move_by_swap(r);
	else if (!r->to.node && r->to.covers)
		err = move_over_whiteout(r);
	if (err != -EINVAL)
		return err;
	err = move(r, 0);
	if (err)
		return err;
	err = ply_upper_whiteout(&r->u->upper, r->from.fd->fd, r->from.name);
	if (err && !target_in_upper(r)) {
		sys_rename(r->to.fd->fd, r->to.name, r->from.fd->fd, r->from.name, 0);
		if (!r->to.node && r->to.covers)
			ply_upper_whiteout(&r->u->upper, r->to.fd->fd, r->to.name);
	}
	return err;
}

/* With a whiteout left behind, in one step where the file system can. */
static int move_with_whiteout(struct ply_renaming *r)
{
	struct ply_upper *up = &r->u->upper;
	int err = -EINVAL;

	if (up->kind == PLY_KIND_AUFS)
		return move_with_aufs(r);
	if (up->kind == PLY_KIND_CHAR && !ply_layer_lacks(up->layer, PLY_LACKS_RENAME_WHITEOUT)) {
		err = move(r, RENAME_WHITEOUT);
		if (err == -EINVAL || err == -EPERM)
			ply_layer_set_lack(up->layer, PLY_LACKS_RENAME_WHITEOUT);
	}
	return err == -EINVAL || err == -EPERM ? move_then_whiteout(r) : err;
}

/* Is a whiteout left where the source was by the rename itself, if one is needed? */
static int moves_in_one_step(const struct ply_renaming *r)
{
	const struct ply_upper *up = &r->u->upper;

	return !r->from.covers || (up->kind == PLY_KIND_CHAR &&
				   !ply_layer_lacks(up->layer, PLY_LACKS_RENAME_WHITEOUT));
}

/* A target directory shows nothing, but its upper may hold marks, over which no rename goes. */
static int move_over_dir(struct ply_renaming *r)
{
	int err = -EOPNOTSUPP;

	if (moves_in_one_step(r))
		err = ply_moving_clear_target(r->u, r->to.node, r->to.fd->fd, r->to.name,
					      &r->litter);
	if (err != -EOPNOTSUPP) {
		r->has_litter = !err;
		return err ? err : move(r, r->from.covers ? RENAME_WHITEOUT : 0);
	}
	err = 0;
	/* Where it lies until it is gone it must show nothing either. */
	if (r->from.covers || ply_is_merged(r->to.node))
		err = ply_upper_set_opaque(&r->u->upper, r->to.fd->fd, r->to.name);
	if (!err)
		err = move_by_swap(r);
	return err == -EINVAL ? move_over_marks(r) : err;
}

static int move_on_disk(struct ply_renaming *r)
{
	int err;

	if (r->flags & RENAME_EXCHANGE)
		return move(r, RENAME_EXCHANGE);
	err = r->from.covers ? move_with_whiteout(r) : move(r, 0);
	if (err == -ENOTDIR && ply_node_is_dir(r->from.node))
		err = move_over_whiteout(r);
	if ((err == -ENOTEMPTY || err == -EEXIST) && r->to.node && ply_node_is_dir(r->to.node))
		err = move_over_dir(r);
	if (!err)
		ply_upper_clear_aufs(&r->u->upper, r->to.fd->fd, r->to.name);
	return err;
}

int ply_move(struct ply_renaming *r)
{
	int err;

	if (!r->from.covers && !(r->flags & RENAME_EXCHANGE))
		return move_on_disk(r);
	ply_sync_together(r->u);
	err = move_on_disk(r);
	ply_sync_together(r->u);
	return err;
}
