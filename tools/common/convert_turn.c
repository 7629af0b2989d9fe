/*
 * The turns. A whiteout that keeps its name is made beside it and renamed over the old one; where the name changes both stand for
 * a moment, and say the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "convert.h"

#define EMPTY_FILE (S_IFREG | S_IRUSR | S_IWUSR)

/* ---- whiteouts ---- */

static int make_new(struct ply_convert *c, int dirfd, const char *name)
{
	int err;

	if (c->to.whiteouts == PLY_KIND_CHAR)
		return sys_mknod(dirfd, name, S_IFCHR,
				 makedev(PLY_WHITEOUT_MAJOR, PLY_WHITEOUT_MINOR));
	err = sys_mknod(dirfd, name, EMPTY_FILE, 0);
	if (!err && c->to.whiteouts == PLY_KIND_XATTR)
		err = ply_mark_settle(c->to.space, dirfd, name, PLY_MARK_WHITEOUT, 'y');
	return err;
}

/* As a link of the last one, as long as that takes links. */
static int make(struct ply_convert *c, int dirfd, const char *name)
{
	int err;

	if (c->whiteout >= 0 && !sys_link(c->whiteout, "", dirfd, name))
		return 0;
	err = make_new(c, dirfd, name);
	if (err)
		return err;
	if (c->whiteout >= 0)
		sys_close(c->whiteout);
	c->whiteout = sys_open(dirfd, name, O_PATH | O_NOFOLLOW, 0);
	return c->whiteout < 0 ? c->whiteout : 0;
}

static int to_aufs(struct ply_convert_dir *d, const struct ply_convert_entry *e)
{
	char mark[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];
	int err;

	snprintf(mark, sizeof(mark), PLY_AUFS_PREFIX "%s", e->hidden);
	err = sys_access(d->fd, mark) ? make(d->c, d->fd, mark) : 0;
	return err ? err : sys_unlink(d->fd, e->name);
}

static int turn_whiteout(struct ply_convert_dir *d, const struct ply_convert_entry *e)
{
	int err;

	if (d->c->to.whiteouts == PLY_KIND_AUFS)
		return to_aufs(d, e);
	err = make(d->c, d->fd, PLY_CONVERT_TEMP);
	if (!err)
		err = sys_rename(d->fd, PLY_CONVERT_TEMP, d->fd, e->hidden, 0);
	if (!err && e->name != e->hidden)
		err = sys_unlink(d->fd, e->name);
	return err;
}

/* ---- directories ---- */

int ply_convert_announce(struct ply_convert_dir *d)
{
	if (d->c->to.whiteouts != PLY_KIND_XATTR || d->opaque != PLY_OPAQUE_NONE)
		return 0;
	d->opaque = PLY_OPAQUE_ANNOUNCES;
	return ply_mark_settle(d->c->to.space, d->fd, "", PLY_MARK_OPAQUE, PLY_OPAQUE_XWHITEOUTS);
}

static int turn_opaque(struct ply_convert_dir *d)
{
	const struct ply_form *to = &d->c->to;
	char value = ply_convert_opaque_value(d);
	int err = 0;

	if (!to->space && value && sys_access(d->fd, PLY_AUFS_OPAQUE))
		err = sys_mknod(d->fd, PLY_AUFS_OPAQUE, EMPTY_FILE, 0);
	if (!err)
		err = ply_mark_settle(to->space, d->fd, "", PLY_MARK_OPAQUE, to->space ? value : 0);
	if (!err && to->space && !sys_access(d->fd, PLY_AUFS_OPAQUE))
		err = sys_unlink(d->fd, PLY_AUFS_OPAQUE);
	return err;
}

int ply_convert_turn(struct ply_convert_dir *d, const struct ply_convert_entry *e)
{
	switch (e->turn) {
	case PLY_TURN_WHITEOUT:
		return turn_whiteout(d, e);
	case PLY_TURN_DROP:
		return sys_unlink(d->fd, e->name);
	case PLY_TURN_MARKS:
		return ply_marks_move(d->c, d->fd, e->name, &e->stx);
	case PLY_TURN_OPAQUE:
		return turn_opaque(d);
	default:
		return 0;
	}
}
