/*
 * fsync. Most file systems bring what was done before to the disk with it, in order. Btrfs writes that one inode and
 * the names that belong to it: so what must not be there in part, a name that moves away and the whiteout that comes
 * there, is synced with everything else.
 */
#include "union/sync.h"

#include <linux/magic.h>

#include "base/sys.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/place.h"
#include "union/settle.h"

void ply_sync_init(struct ply_union *u)
{
	long magic;

	u->sync_whole = !sys_fstype(u->upper.work, &magic) && magic == BTRFS_SUPER_MAGIC;
}

void ply_sync_together(struct ply_union *u)
{
	atomic_fetch_add(&u->names_changed, 1);
}

/* What changes while this goes on counts once more at its end, and so is for the next time. */
static int sync_names(struct ply_union *u, int fd)
{
	uint64_t changed = atomic_load(&u->names_changed);
	int err;

	if (!u->sync_whole || changed == atomic_load(&u->names_synced))
		return 0;
	err = sys_syncfs(fd);
	if (!err)
		atomic_store(&u->names_synced, changed);
	return err;
}

static int sync_fd(struct ply_union *u, int fd, enum ply_sync_kind kind)
{
	int err = sync_names(u, fd);

	if (err)
		return err;
	return kind == PLY_SYNC_DATA ? sys_fdatasync(fd) : sys_fsync(fd);
}

static int sync_dir(struct ply_union *u, struct ply_node *node)
{
	struct ply_fd *dir;
	int err = ply_dir_open(u, node, PLY_UPPER, &dir);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = sync_fd(u, dir->fd, PLY_SYNC_ALL);
	ply_fd_put(u->fds, dir);
	return err;
}

int ply_fsync(struct ply_union *u, struct ply_node *node, enum ply_sync_kind kind)
{
	struct ply_fd *fd;
	int had_data, err;

	if (!u->sync || !ply_node_in_upper(node))
		return 0;
	ply_before_long(u);
	if (ply_node_is_dir(node))
		return sync_dir(u, node);
	if (!S_ISREG(ply_node_type(node)))
		return -EINVAL;
	err = ply_data_open_upper(u, node, &fd);
	if (err)
		return err;
	/* Data that comes up from now on is not synced by this. */
	had_data = node->state == PLY_STATE_DATA_UP;
	err = sync_fd(u, fd->fd, kind);
	if (err && err != -EINTR)
		ply_settle_lost(u, node);
	/* Until the mark is off, on the disk as well, a crash would bring the old data back. */
	if (!err && had_data) {
		err = ply_settle_unmark(u, node);
		if (!err)
			err = sync_fd(u, fd->fd, PLY_SYNC_ALL);
	}
	ply_fd_put(u->fds, fd);
	return err;
}
