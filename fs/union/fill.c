/* The data of a file that is so far metadata only. It is read below until all of it is up. */
#include "union/fill.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/lowerdata.h"
#include "union/settle.h"

/* ---- what the file loses by being written to, and gets back afterwards: the content is the same ---- */

#define SETID (S_ISUID | S_ISGID)

struct ply_filling {
	struct ply_kept mark;
	size_t size;
};

static void describe(const struct statx *stx, size_t ncaps, struct ply_filling *k)
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
static void correct(const struct ply_filling *k, struct statx *stx)
{
	const struct ply_kept *m = &k->mark;

	stx->stx_atime.tv_sec = (int64_t)le64toh(m->atime.sec);
	stx->stx_atime.tv_nsec = le32toh(m->atime.nsec);
	stx->stx_mtime.tv_sec = (int64_t)le64toh(m->mtime.sec);
	stx->stx_mtime.tv_nsec = le32toh(m->mtime.nsec);
	stx->stx_mode = (uint16_t)(stx->stx_mode | (le16toh(m->mode) & SETID));
}

/* 1, or 0 for none. */
static int read_kept(struct ply_union *u, int fd, const char *name, struct ply_filling *k)
{
	ssize_t n = ply_mark_get(&u->layers[PLY_UPPER], fd, name, PLY_MARK_KEPT, &k->mark,
				 sizeof(k->mark));

	if (n < 0)
		return (int)n;
	k->size = (size_t)n;
	return n >= PLY_KEPT_HEADER && k->mark.version == PLY_KEPT_VERSION;
}

/* What is to be seen of the file in the place of what it has for now: 1 with that in *k, or 0. */
static int get_kept(struct ply_union *u, struct ply_node *node, struct ply_filling *k)
{
	struct ply_lowerdata *data = node->lowerdata;
	struct ply_place place;
	int found;

	PLY_ASSERT_LOCKED(&node->lock);
	if (data->filling) {
		*k = *data->filling;
		return 1;
	}
	if (!data->keeps || ply_place_of(u, node, &place))
		return 0;
	found = read_kept(u, place.fd, place.name, k);
	ply_place_put(u, &place);
	return found > 0;
}

void ply_fill_attr(struct ply_union *u, struct ply_node *node, struct statx *stx)
{
	struct ply_filling k;

	if (get_kept(u, node, &k))
		correct(&k, stx);
}

ssize_t ply_fill_caps(struct ply_union *u, struct ply_node *node, void *value, size_t size)
{
	struct ply_filling k;
	size_t n = get_kept(u, node, &k) ? k.size - PLY_KEPT_HEADER : 0;

	if (!n)
		return -ENODATA;
	if (size && size < n)
		return -ERANGE;
	if (size)
		memcpy(value, k.mark.caps, n);
	return (ssize_t)n;
}

/* Who may not set it will not be able to next time either. */
static int unless_refused(int err)
{
	return err == -EPERM ? 0 : err;
}

/* Only with all in place the mark may go. */
static int give_back(struct ply_union *u, struct ply_lowerdata *data, int fd, const char *name,
		     const struct ply_filling *k)
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

/* If a fill did not come to its end, that of an earlier server or because of an error. The keep lock is held. */
static int recover_at(struct ply_union *u, struct ply_lowerdata *data, int dirfd, const char *name)
{
	struct ply_filling k;
	int found = data->keeps ? read_kept(u, dirfd, name, &k) : 0;

	if (found > 0)
		return give_back(u, data, dirfd, name, &k);
	if (!found)
		data->keeps = 0;
	return found;
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
	err = recover_at(u, node->lowerdata, place.fd, place.name);
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

void ply_fill_recover(struct ply_union *u, struct ply_node *node)
{
	int keeps;

	if (ply_node_is_dir(node) || atomic_load(&node->state) != PLY_STATE_META_UP)
		return;
	pthread_mutex_lock(&node->lock);
	keeps = node->lowerdata && node->lowerdata->keeps && !node->lowerdata->filling;
	pthread_mutex_unlock(&node->lock);
	if (keeps && !ply_fill_lock(u, node))
		ply_fill_unlock(u, node);
}

/* ---- filling ---- */

/* From now on, or no longer (NULL), that is what others see of it. */
static void set_filling(struct ply_node *node, const struct ply_filling *k)
{
	pthread_mutex_lock(&node->lock);
	node->lowerdata->filling = k;
	if (k)
		node->lowerdata->lost = 0;
	pthread_mutex_unlock(&node->lock);
}

static int keep(struct ply_union *u, struct ply_node *node, int fd, struct ply_filling *k)
{
	struct ply_lowerdata *data = node->lowerdata;
	struct statx stx;
	ssize_t ncaps = 0;
	int err;

	/* Whoever sets something else is waited for, and waits from now on. */
	ply_keep_lock_once(u, node);
	err = recover_at(u, data, fd, "");
	if (!err)
		err = sys_statx(fd, "", STATX_BASIC_STATS, &stx);
	if (!err)
		ncaps = ply_caps(node, fd, k->mark.caps, sizeof(k->mark.caps));
	if (err || ncaps < 0)
		return err ? err : (int)ncaps;
	describe(&stx, (size_t)ncaps, k);
	set_filling(node, k);
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

/*
 * The data is good as long as the machine goes on. If this cannot be said, only the end of the server is as bad as that of
 * the machine.
 */
static void say_filled(struct ply_union *u, int fd)
{
	ply_upper_set_mark(&u->upper, fd, "", PLY_MARK_METACOPY, &u->filled, sizeof(u->filled));
}

/* The data is up: nobody reads below any more. If it is to keep the mark, that says so. */
static void end_fill(struct ply_union *u, struct ply_node *node, int fd, off_t size, int keeps_mark)
{
	pthread_mutex_lock(&node->lock);
	if (keeps_mark && !node->lowerdata->lost)
		say_filled(u, fd);
	node->lowerdata->filling = NULL;
	ply_node_set_state(node, PLY_STATE_DATA_UP);
	atomic_fetch_add(&u->copyup_bytes, size);
	ply_fdcache_drop(u->fds, node, PLY_SLOT_LOWER);
	ply_settle_add(u, node);
	pthread_mutex_unlock(&node->lock);
}

/* Nothing is left that a crash could take, or nobody cares. */
static int unmark(struct ply_union *u, struct ply_node *node, int fd)
{
	int err = ply_settle_unmark(u, node);

	/* The data is no longer below, whatever the mark says; until that goes, what is written is to outlive the server. */
	if (!err || ply_settle_announce(u))
		return err;
	pthread_mutex_lock(&node->lock);
	if (node->lowerdata)
		say_filled(u, fd);
	pthread_mutex_unlock(&node->lock);
	return err;
}

static int fill(struct ply_union *u, struct ply_node *node, off_t size, struct ply_fd *out,
		int keeps_mark)
{
	struct ply_filling kept;
	int err = keep(u, node, out->fd, &kept), back;

	if (err)
		return err;
	err = size ? fill_data(u, node, size, out) : sys_truncate(out->fd, 0);
	back = give_back(u, node->lowerdata, out->fd, "", &kept);
	if (!err)
		err = back;
	if (err)
		set_filling(node, NULL);
	else
		end_fill(u, node, out->fd, size, keeps_mark);
	return err;
}

int ply_fill(struct ply_union *u, struct ply_node *node, off_t limit)
{
	off_t size = (off_t)node->lowerdata->size;
	struct ply_fd *out;
	int keeps_mark, err;

	/* In the next mount its layer may be there. */
	if (!node->lowerdata->layer && limit)
		return -EIO;
	if (limit >= 0 && limit < size)
		size = limit;
	if (size > PLY_LONG_COPY)
		ply_before_long(u);
	keeps_mark = size && u->sync;
	/* The mark may be an earlier server's, or the kernel's: so far there was nothing that a crash could take. */
	err = keeps_mark ? ply_settle_announce(u) : 0;
	if (!err)
		err = ply_data_open_upper(u, node, &out);
	if (err)
		return err;
	ply_begin_write(u, node);
	err = fill(u, node, size, out, keeps_mark);
	ply_end_write(u, node);
	if (!err && !keeps_mark)
		err = unmark(u, node, out->fd);
	ply_fd_put(u->fds, out);
	return err;
}
