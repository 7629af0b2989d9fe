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

/* ---- what the file loses by being written to, and gets back afterwards: the content is the same ---- */

#define SETID (S_ISUID | S_ISGID)

struct kept {
	struct ply_kept mark;
	size_t size;
};

static void describe(const struct statx *stx, size_t ncaps, struct kept *k)
{
	struct ply_kept *m = &k->mark;

	m->version = PLY_KEPT_VERSION;
	m->atime.sec = (int64_t)htole64(stx->stx_atime.tv_sec);
	m->atime.nsec = htole32(stx->stx_atime.tv_nsec);
	m->mtime.sec = (int64_t)htole64(stx->stx_mtime.tv_sec);
	m->mtime.nsec = htole32(stx->stx_mtime.tv_nsec);
	m->mode = htole16(stx->stx_mode & 07777);
	k->size = PLY_KEPT_HEADER + ncaps;
}

/* The attributes as they are to be. */
static void correct(const struct kept *k, struct statx *stx)
{
	const struct ply_kept *m = &k->mark;

	stx->stx_atime.tv_sec = (int64_t)le64toh(m->atime.sec);
	stx->stx_atime.tv_nsec = le32toh(m->atime.nsec);
	stx->stx_mtime.tv_sec = (int64_t)le64toh(m->mtime.sec);
	stx->stx_mtime.tv_nsec = le32toh(m->mtime.nsec);
	stx->stx_mode = (uint16_t)(stx->stx_mode | (le16toh(m->mode) & SETID));
}

/* 1, or 0 for none. */
static int read_kept(struct ply_union *u, int fd, const char *name, struct kept *k)
{
	ssize_t n = ply_mark_get(&u->layers[PLY_UPPER], fd, name, PLY_MARK_KEPT, &k->mark,
				 sizeof(k->mark));

	if (n < 0)
		return (int)n;
	k->size = (size_t)n;
	return n >= PLY_KEPT_HEADER && k->mark.version == PLY_KEPT_VERSION;
}

/* Who may not set it will not be able to next time either. */
static int unless_refused(int err)
{
	return err == -EPERM ? 0 : err;
}

/* Only with all in place the mark may go. */
static int give_back(struct ply_union *u, struct ply_lowerdata *data, int fd, const char *name,
		     const struct kept *k)
{
	mode_t mode = le16toh(k->mark.mode) & 07777;
	struct statx times = { 0 };
	int err = 0;

	correct(k, &times);
	if (mode & SETID)
		err = unless_refused(sys_chmod(fd, name, mode));
	if (!err && k->size > PLY_KEPT_HEADER)
		err = unless_refused(sys_setxattr(fd, name, PLY_CAPABILITY, k->mark.caps,
						  k->size - PLY_KEPT_HEADER, 0));
	if (!err)
		err = ply_set_times(fd, name, &times);
	if (!err && data->keeps)
		err = ply_upper_remove_mark(&u->upper, fd, name, PLY_MARK_KEPT);
	if (!err)
		data->keeps = 0;
	return err;
}

int ply_fill_recover(struct ply_union *u, struct ply_lowerdata *data, int dirfd, const char *name,
		     struct statx *stx)
{
	struct kept k;
	int found = data->keeps ? read_kept(u, dirfd, name, &k) : 0;

	if (found <= 0) {
		if (!found)
			data->keeps = 0;
		return found;
	}
	if (stx)
		correct(&k, stx);
	return give_back(u, data, dirfd, name, &k);
}

static int recover(struct ply_union *u, struct ply_node *node)
{
	struct ply_place place;
	int err;

	PLY_ASSERT_LOCKED(&node->lock);
	if (!node->lowerdata || !node->lowerdata->keeps)
		return 0;
	err = ply_place_of(u, node, &place);
	if (err)
		return err;
	err = ply_fill_recover(u, node->lowerdata, place.fd, place.name, NULL);
	ply_place_put(u, &place);
	return err;
}

int ply_fill_lock(struct ply_union *u, struct ply_node *node)
{
	int err = 0;

	ply_keep_lock(u, node);
	pthread_mutex_lock(&node->lock);
	if (!ply_node_is_dir(node))
		err = recover(u, node);
	if (err)
		ply_fill_unlock(u, node);
	return err;
}

void ply_fill_unlock(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_unlock(&node->lock);
	ply_keep_unlock(u, node);
}

/* ---- filling ---- */

static int keep(struct ply_union *u, struct ply_node *node, int fd, struct kept *k)
{
	struct ply_lowerdata *data = node->lowerdata;
	struct statx stx;
	ssize_t ncaps = 0;
	int err;

	/* Whoever sets something else is waited for, and waits from now on. */
	ply_keep_lock_once(u, node);
	err = ply_fill_recover(u, data, fd, "", NULL);
	if (!err)
		err = sys_statx(fd, "", STATX_BASIC_STATS, &stx);
	if (!err)
		ncaps = ply_caps(node, fd, k->mark.caps, sizeof(k->mark.caps));
	if (err || ncaps < 0)
		return err ? err : (int)ncaps;
	describe(&stx, (size_t)ncaps, k);
	/* Without it there is only no way back from an end of the server in the midst of it. */
	data->keeps = !ply_upper_set_mark(&u->upper, fd, "", PLY_MARK_KEPT, &k->mark, k->size);
	return 0;
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

	/* In the next mount its layer may be there. */
	if (!node->lowerdata->layer && limit)
		return -EIO;
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
		back = give_back(u, node->lowerdata, out->fd, "", &kept);
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
