/* The data of a file that is so far metadata only. It is read below until all of it is up. */
#include "union/fill.h"

#include <assert.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/lowerdata.h"
#include "union/settle.h"

/* What the file loses by being written to, and gets back afterwards: the content is the same. */
struct kept {
	struct statx stx;
	char caps[64];
	ssize_t ncaps;
};

static int keep(struct ply_union *u, struct ply_node *node, int fd, struct kept *k)
{
	int err;

	/* Whoever sets times is waited for, and waits from now on. */
	ply_times_lock_once(u, node);
	err = sys_statx(fd, "", STATX_BASIC_STATS, &k->stx);
	k->ncaps = err ? 0 : ply_caps(node, fd, k->caps, sizeof(k->caps));
	return err;
}

static void give_back(int fd, const struct kept *k)
{
	struct timespec times[2] = {
		{ .tv_sec = k->stx.stx_atime.tv_sec, .tv_nsec = k->stx.stx_atime.tv_nsec },
		{ .tv_sec = k->stx.stx_mtime.tv_sec, .tv_nsec = k->stx.stx_mtime.tv_nsec },
	};

	if (k->stx.stx_mode & (S_ISUID | S_ISGID))
		sys_chmod(fd, "", k->stx.stx_mode & 07777);
	if (k->ncaps > 0)
		sys_setxattr(fd, "", PLY_CAPABILITY, k->caps, (size_t)k->ncaps, 0);
	sys_utimens(fd, "", times);
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
		err = size ? fill_data(u, node, size, out) : sys_truncate(out->fd, 0);
		give_back(out->fd, &kept);
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
