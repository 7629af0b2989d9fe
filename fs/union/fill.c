/* The data of a file that is so far metadata only. It is read below until all of it is up. */
#include "union/fill.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/lowerdata.h"
#include "union/settle.h"

/* ---- times ---- */

static void times_of(const struct statx *stx, struct ply_times *t)
{
	*t = (struct ply_times){
		.version = PLY_TIMES_VERSION,
		.atime = { (int64_t)htole64(stx->stx_atime.tv_sec),
			   htole32(stx->stx_atime.tv_nsec) },
		.mtime = { (int64_t)htole64(stx->stx_mtime.tv_sec),
			   htole32(stx->stx_mtime.tv_nsec) },
	};
}

/* The times that an inode is to have again: 1, or 0 for none. */
static int read_times(struct ply_union *u, int fd, const char *name, struct statx *stx)
{
	struct ply_times t;
	ssize_t n = ply_upper_get_mark(&u->upper, fd, name, PLY_MARK_TIMES, &t, sizeof(t));

	if (n != sizeof(t) || t.version != PLY_TIMES_VERSION)
		return n < 0 && n != -ENODATA && n != -EOPNOTSUPP && n != -ERANGE ? (int)n : 0;
	stx->stx_atime.tv_sec = (int64_t)le64toh(t.atime.sec);
	stx->stx_atime.tv_nsec = le32toh(t.atime.nsec);
	stx->stx_mtime.tv_sec = (int64_t)le64toh(t.mtime.sec);
	stx->stx_mtime.tv_nsec = le32toh(t.mtime.nsec);
	return 1;
}

/* Only with the times in place the mark may go. */
void ply_fill_recover(struct ply_union *u, int dirfd, const char *name, struct statx *stx)
{
	struct statx kept = *stx;

	if (read_times(u, dirfd, name, &kept) <= 0 || ply_set_times(dirfd, name, &kept))
		return;
	*stx = kept;
	ply_upper_remove_mark(&u->upper, dirfd, name, PLY_MARK_TIMES);
}

/* ---- filling ---- */

/* What the file loses by being written to, and gets back afterwards: the content is the same. */
struct kept {
	struct statx stx;
	char caps[64];
	ssize_t ncaps;
};

static int keep(struct ply_union *u, struct ply_node *node, int fd, struct kept *k)
{
	struct ply_times times;
	int err;

	/* Whoever sets times is waited for, and waits from now on. */
	ply_times_lock_once(u, node);
	err = sys_statx(fd, "", STATX_BASIC_STATS, &k->stx);
	if (!err && node->lowerdata->keeps_times)
		err = read_times(u, fd, "", &k->stx);
	if (err < 0)
		return err;
	k->ncaps = ply_caps(node, fd, k->caps, sizeof(k->caps));
	times_of(&k->stx, &times);
	/* Without it there is only no way back from an end of the server in the midst of it. */
	node->lowerdata->keeps_times =
		!ply_upper_set_mark(&u->upper, fd, "", PLY_MARK_TIMES, &times, sizeof(times));
	return 0;
}

static int give_back(struct ply_union *u, struct ply_node *node, int fd, const struct kept *k)
{
	int err;

	if (k->stx.stx_mode & (S_ISUID | S_ISGID))
		sys_chmod(fd, "", k->stx.stx_mode & 07777);
	if (k->ncaps > 0)
		sys_setxattr(fd, "", PLY_CAPABILITY, k->caps, (size_t)k->ncaps, 0);
	err = ply_set_times(fd, "", &k->stx);
	if (!err && node->lowerdata->keeps_times)
		err = ply_upper_remove_mark(&u->upper, fd, "", PLY_MARK_TIMES);
	if (!err)
		node->lowerdata->keeps_times = 0;
	return err;
}

/* The data of a node in state META_UP, or so much of it. */
static int fill_data(struct ply_union *u, struct ply_node *node, off_t size, struct ply_fd *out)
{
	int is_all = (uint64_t)size == node->lowerdata->size;
	struct ply_fd *in;
	int err = ply_data_open_lower(u, node, &in);

	if (err)
		return err;
	/* What a lookup found, a crash may have left. One that was made here has its size and nothing in it. */
	if (!is_all || node->lowerdata->was_found)
		err = sys_truncate(out->fd, 0);
	if (!err)
		err = ply_copy_data(&(struct ply_data_copy){
			.to = &u->layers[PLY_UPPER],
			.in = in->fd,
			.out = out->fd,
			.size = size,
			.how = is_all ? PLY_COPY_ALL : 0,
		});
	ply_fd_put(u->fds, in);
	/* The room is free again, and the size what other readers of the mark expect. */
	if (err && sys_truncate(out->fd, 0) == 0)
		sys_truncate(out->fd, (off_t)node->lowerdata->size);
	return err;
}

/* The data is up: nobody reads below any more. */
static void end_fill(struct ply_union *u, struct ply_node *node, off_t size)
{
	pthread_mutex_lock(&node->lock);
	ply_node_set_state(node, PLY_STATE_DATA_UP);
	atomic_fetch_add(&u->copyup_bytes, size);
	ply_fdcache_drop(u->fds, node, PLY_SLOT_LOWER);
	ply_settle_add(u, node);
	pthread_mutex_unlock(&node->lock);
}

int ply_fill(struct ply_union *u, struct ply_node *node, off_t limit)
{
	off_t size = (off_t)node->lowerdata->size;
	struct ply_fd *out;
	struct kept kept;
	int err;

	if (limit >= 0 && limit < size)
		size = limit;
	if (size > PLY_LONG_COPY)
		ply_before_long(u);
	err = ply_data_open_upper(u, node, &out);
	if (err)
		return err;
	ply_begin_write(u, node);
	err = keep(u, node, out->fd, &kept);
	if (!err) {
		int back;

		err = size ? fill_data(u, node, size, out) : sys_truncate(out->fd, 0);
		back = give_back(u, node, out->fd, &kept);
		if (!err)
			err = back;
		/* If this cannot be said, only the end of the server is as bad as that of the machine. */
		if (!err && size && u->sync)
			ply_upper_set_mark(&u->upper, out->fd, "", PLY_MARK_METACOPY, &u->filled,
					   sizeof(u->filled));
	}
	ply_end_write(u, node);
	ply_fd_put(u->fds, out);
	if (err)
		return err;
	end_fill(u, node, size);
	/* Nothing is left that a crash could take, or nobody cares. */
	return size && u->sync ? 0 : ply_settle_unmark(u, node);
}
