/*
 * Reading and writing. Data moves by descriptors from the cache; which one is decided by the node's state
 * alone, so no lock is held while it moves. A reader that took the lower one just before a copy-up was
 * published reads what was there before the write that caused it.
 */
#include "union/data.h"

#include <errno.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "layer/override.h"
#include "union/copyup.h"
#include "union/lowerdata.h"
#include "union/settle.h"

#define SECTOR 512

int ply_open_retry(struct ply_union *u, int dirfd, const char *name, int flags, mode_t mode)
{
	int fd = sys_open(dirfd, name, flags, mode);

	while ((fd == -EMFILE || fd == -ENFILE) && ply_fdcache_shrink(u->fds))
		fd = sys_open(dirfd, name, flags, mode);
	return fd;
}

int ply_list_dir(struct ply_union *u, int dirfd, ply_list_fn fn, void *arg)
{
	int fd = ply_open_retry(u, dirfd, ".", O_RDONLY | O_DIRECTORY, 0), res;

	if (fd < 0)
		return fd;
	res = ply_layer_list(fd, fn, arg);
	sys_close(fd);
	return res;
}

/* For reading and writing; only for reading where the file itself refuses more (immutable, append-only). */
static int open_upper_file(struct ply_union *u, const struct ply_place *place)
{
	int fd = ply_layer_open_upper(place->fd, place->name, O_RDWR);

	while ((fd == -EMFILE || fd == -ENFILE) && ply_fdcache_shrink(u->fds))
		fd = ply_layer_open_upper(place->fd, place->name, O_RDWR);
	if (fd == -EPERM || fd == -EROFS)
		fd = ply_open_retry(u, place->fd, place->name, O_RDONLY | O_NOFOLLOW, 0);
	return fd;
}

int ply_data_open_upper(struct ply_union *u, struct ply_node *node, struct ply_fd **out)
{
	struct ply_place place;
	int fd;

	*out = ply_fdcache_get(u->fds, node, PLY_SLOT_UPPER);
	if (*out)
		return 0;
	pthread_mutex_lock(&node->lock);
	if (node->held) {
		*out = ply_fd_get(u->fds, node->held);
		pthread_mutex_unlock(&node->lock);
		return 0;
	}
	fd = ply_place_of(u, node, &place);
	if (!fd) {
		fd = open_upper_file(u, &place);
		ply_place_put(u, &place);
	}
	pthread_mutex_unlock(&node->lock);
	if (fd < 0)
		return fd;
	*out = ply_fdcache_add(u->fds, node, PLY_SLOT_UPPER, fd, 0);
	return *out ? 0 : -ENOMEM;
}

int ply_data_open_lower(struct ply_union *u, struct ply_node *node, struct ply_fd **out)
{
	struct ply_place place;
	int fd;

	*out = ply_fdcache_get(u->fds, node, PLY_SLOT_LOWER);
	if (*out)
		return 0;
	pthread_mutex_lock(&node->lock);
	/* Its names, or those that it had, may be others' by now. */
	if (ply_node_has_data(node))
		fd = -ESTALE;
	else
		fd = node->lowerdata ? 0 : ply_place_in_lower(u, node, &place);
	if (!fd && node->lowerdata) {
		fd = ply_lowerdata_open(u, node->lowerdata);
	} else if (!fd) {
		fd = ply_open_retry(u, place.fd, place.name, O_RDONLY | O_NOFOLLOW, 0);
		ply_place_put(u, &place);
	}
	pthread_mutex_unlock(&node->lock);
	if (fd < 0)
		return fd;
	*out = ply_fdcache_add(u->fds, node, PLY_SLOT_LOWER, fd, 0);
	return *out ? 0 : -ENOMEM;
}

int ply_data_open(struct ply_union *u, struct ply_node *node, struct ply_fd **out)
{
	int err;

	if (!S_ISREG(ply_node_type(node)))
		return ply_node_is_dir(node) ? -EISDIR : -EINVAL;
	if (!ply_node_has_data(node)) {
		err = ply_data_open_lower(u, node, out);
		/* It may have come up meanwhile, and what told where the lower data is may be gone. */
		if (!err || !ply_node_has_data(node))
			return err;
	}
	return ply_data_open_upper(u, node, out);
}

static pthread_mutex_t *keep_lock(struct ply_union *u, const struct ply_node *node)
{
	return &u->keep_locks[node->slot % PLY_KEEP_LOCKS];
}

/* Brings the file up, whole, and opens it for writing. */
static int open_for_write(struct ply_union *u, struct ply_node *node, unsigned flags,
			  struct ply_fd **out)
{
	int err;

	if (!S_ISREG(ply_node_type(node)))
		return ply_node_is_dir(node) ? -EISDIR : -EINVAL;
	err = ply_copyup(u, node, PLY_WHOLE_FILE);
	if (!err)
		err = ply_data_open_upper(u, node, out);
	if (err || !(flags & PLY_WRITE_KILL_PRIV))
		return err;
	/* Not between what another write takes and gives back. */
	pthread_mutex_lock(keep_lock(u, node));
	pthread_mutex_lock(&node->lock);
	err = ply_kill_priv(u, node, PLY_KILL_USUAL);
	pthread_mutex_unlock(&node->lock);
	pthread_mutex_unlock(keep_lock(u, node));
	if (err)
		ply_fd_put(u->fds, *out);
	return err;
}

mode_t ply_kill_bits(mode_t mode, enum ply_kill kill)
{
	mode_t bits = mode & S_ISUID;

	if (S_ISDIR(mode))
		return 0;
	if ((mode & S_IXGRP) || kill == PLY_KILL_SGID_TOO)
		bits |= mode & S_ISGID;
	return bits;
}

int ply_kill_priv(struct ply_union *u, struct ply_node *node, enum ply_kill kill)
{
	struct ply_place place;
	struct statx stx;
	int err = ply_place_of(u, node, &place);

	if (err)
		return err;
	err = ply_layer_statx(place.layer, place.fd, place.name, STATX_TYPE | STATX_MODE, &stx);
	if (!err && !S_ISDIR(stx.stx_mode)) {
		mode_t bits = ply_kill_bits(stx.stx_mode, kill);
		char caps[PLY_XATTR_NAME_SIZE];

		if (bits)
			err = ply_layer_chmod(place.layer, place.fd, place.name,
					      stx.stx_mode & 07777 & ~bits);
		if (!ply_layer_xattr_to_disk(place.layer, PLY_CAPABILITY, caps))
			sys_removexattr(place.fd, place.name, caps);
	}
	ply_place_put(u, &place);
	return err;
}

ssize_t ply_read(struct ply_union *u, struct ply_node *node, void *buf, size_t size, off_t off)
{
	struct ply_fd *fd;
	size_t done = 0;
	ssize_t n = ply_data_open(u, node, &fd);

	if (n)
		return n;
	/*
	 * The kernel takes a short answer for the end of the file, so an error behind some data must not look
	 * like one. What ends inside a sector is the end; anything else short is asked for again.
	 */
	do {
		n = sys_pread(fd->fd, (char *)buf + done, size - done, off + (off_t)done);
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 && done < size && !(done & (SECTOR - 1)));
	ply_fd_put(u->fds, fd);
	return n < 0 ? n : (ssize_t)done;
}

ssize_t ply_caps(struct ply_node *node, int fd, void *value, size_t size)
{
	ssize_t n;

	if (atomic_load_explicit(&node->caps, memory_order_relaxed) == PLY_NO)
		return 0;
	n = sys_getxattr(fd, "", PLY_CAPABILITY, value, size);
	if (n == -ENODATA || n == -EOPNOTSUPP)
		n = 0;
	if (!n)
		atomic_store_explicit(&node->caps, PLY_NO, memory_order_relaxed);
	return n;
}

/* What is set while a write is under way would be undone by it. */
void ply_begin_write(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(&u->copy_lock);
	node->writers++;
	pthread_mutex_unlock(&u->copy_lock);
}

void ply_end_write(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(&u->copy_lock);
	if (--node->writers == 0)
		pthread_cond_broadcast(&u->copy_done);
	pthread_mutex_unlock(&u->copy_lock);
}

void ply_keep_lock(struct ply_union *u, struct ply_node *node)
{
	for (;;) {
		int writers;

		pthread_mutex_lock(keep_lock(u, node));
		pthread_mutex_lock(&u->copy_lock);
		writers = node->writers;
		pthread_mutex_unlock(&u->copy_lock);
		if (!writers)
			return;
		pthread_mutex_unlock(keep_lock(u, node));
		pthread_mutex_lock(&u->copy_lock);
		while (node->writers)
			pthread_cond_wait(&u->copy_done, &u->copy_lock);
		pthread_mutex_unlock(&u->copy_lock);
	}
}

void ply_keep_lock_once(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(keep_lock(u, node));
	pthread_mutex_unlock(keep_lock(u, node));
}

void ply_keep_unlock(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_unlock(keep_lock(u, node));
}

/*
 * Fewer bytes than there are, or why there are none. But whoever wrote what comes out of a cache is gone: the kernel
 * does not ask how much of it was written, and only an error reaches a fsync or close.
 */
static ssize_t write_patch(int fd, const struct ply_patch *p, unsigned flags)
{
	size_t done;
	int err = ply_write_all(fd, p->buf, p->size, p->off, &done);

	if (!err || (done && !(flags & PLY_WRITE_WHOLE)))
		return (ssize_t)done;
	return err;
}

static ssize_t write_keeping_caps(struct ply_node *node, int fd, const struct ply_patch *p,
				  unsigned flags)
{
	char caps[64];
	ssize_t ncaps = ply_caps(node, fd, caps, sizeof(caps)), n;

	if (ncaps < 0)
		return ncaps;
	n = write_patch(fd, p, flags);
	if (ncaps)
		sys_setxattr(fd, "", PLY_CAPABILITY, caps, (size_t)ncaps, 0);
	return n;
}

static ssize_t write_as_asked(struct ply_union *u, struct ply_node *node, int fd,
			      const struct ply_patch *p, unsigned flags)
{
	ssize_t n;

	if ((flags & PLY_WRITE_KILL_PRIV) ||
	    atomic_load_explicit(&node->caps, memory_order_relaxed) == PLY_NO)
		return write_patch(fd, p, flags);
	pthread_mutex_lock(keep_lock(u, node));
	n = write_keeping_caps(node, fd, p, flags);
	pthread_mutex_unlock(keep_lock(u, node));
	return n;
}

/*
 * Pages that the kernel writes back belong to a write long done: it has moved the times then, and taken set-id bits off, and tells
 * when they are other than we know. What the write here does to them is undone. So it is with writes past its cache:
 * within a tick of an earlier one its times stay as they are, and it tells nothing.
 */
static ssize_t write_keeping_times(struct ply_union *u, struct ply_node *node, int fd,
				   const struct ply_patch *p, unsigned flags)
{
	struct statx stx;
	ssize_t n;

	pthread_mutex_lock(keep_lock(u, node));
	n = sys_statx(fd, "", STATX_MODE | STATX_MTIME, &stx);
	if (!n) {
		n = write_keeping_caps(node, fd, p, flags);
		/* From who is not root the file system takes them. */
		if (stx.stx_mode & (S_ISUID | S_ISGID))
			sys_chmod(fd, "", stx.stx_mode & 07777);
		ply_set_mtime(fd, &stx);
	}
	pthread_mutex_unlock(keep_lock(u, node));
	return n;
}

/* size when the file was brought up with what is written, 0 when it is up without, -errno. */
static ssize_t write_with_copyup(struct ply_union *u, struct ply_node *node,
				 const struct ply_patch *patch, unsigned flags)
{
	int done;

	if (flags != PLY_WRITE_BACK || !S_ISREG(ply_node_type(node)))
		return 0;
	done = ply_copyup_patched(u, node, patch);
	return done > 0 ? (ssize_t)patch->size : done;
}

/* The same where it is up, or comes up first. */
static ssize_t write_up(struct ply_union *u, struct ply_node *node, const struct ply_patch *patch,
			unsigned flags)
{
	struct ply_fd *fd;
	ssize_t n = open_for_write(u, node, flags, &fd);

	if (n)
		return n;
	if (flags & PLY_WRITE_KEEP_TIMES)
		n = write_keeping_times(u, node, fd->fd, patch, flags);
	else
		n = write_as_asked(u, node, fd->fd, patch, flags);
	ply_fd_put(u->fds, fd);
	return n;
}

ssize_t ply_write(struct ply_union *u, struct ply_node *node, const void *buf, size_t size,
		  off_t off, unsigned flags)
{
	const struct ply_patch patch = { .buf = buf, .size = size, .off = off };
	ssize_t n;

	ply_begin_write(u, node);
	n = write_with_copyup(u, node, &patch, flags);
	if (!n)
		n = write_up(u, node, &patch, flags);
	ply_end_write(u, node);
	return n;
}

/* What may last long does not keep the writes of other files waiting between these two; setters of its times wait. */
static int begin_long(struct ply_union *u, struct ply_node *node, int fd, unsigned flags,
		      struct statx *stx)
{
	int err = 0;

	ply_begin_write(u, node);
	if (flags & PLY_WRITE_KEEP_TIMES) {
		pthread_mutex_lock(keep_lock(u, node));
		err = sys_statx(fd, "", STATX_MTIME, stx);
		pthread_mutex_unlock(keep_lock(u, node));
	}
	if (err)
		ply_end_write(u, node);
	return err;
}

static void end_long(struct ply_union *u, struct ply_node *node, int fd, unsigned flags,
		     const struct statx *stx)
{
	if (flags & PLY_WRITE_KEEP_TIMES) {
		pthread_mutex_lock(keep_lock(u, node));
		ply_set_mtime(fd, stx);
		pthread_mutex_unlock(keep_lock(u, node));
	}
	ply_end_write(u, node);
}

int ply_fallocate(struct ply_union *u, struct ply_node *node, int mode, off_t off, off_t len,
		  unsigned flags)
{
	struct statx stx;
	struct ply_fd *fd;
	int err;

	ply_before_long(u);
	err = open_for_write(u, node, flags, &fd);
	if (err)
		return err;
	err = begin_long(u, node, fd->fd, flags, &stx);
	if (!err) {
		err = sys_fallocate(fd->fd, mode, off, len);
		end_long(u, node, fd->fd, flags, &stx);
	}
	ply_fd_put(u->fds, fd);
	return err;
}

off_t ply_lseek(struct ply_union *u, struct ply_node *node, off_t off, int whence)
{
	struct ply_fd *fd;
	off_t res = ply_data_open(u, node, &fd);

	if (res)
		return res;
	res = sys_lseek(fd->fd, off, whence);
	ply_fd_put(u->fds, fd);
	return res;
}

/* By reading and writing, where the kernel cannot copy between these two files. */
static ssize_t copy_by_hand(int in, off_t in_off, int out, off_t out_off, size_t len)
{
	char buf[65536];
	ssize_t n = sys_pread(in, buf, len < sizeof(buf) ? len : sizeof(buf), in_off);
	ssize_t done = 0;

	while (done < n) {
		ssize_t w = sys_pwrite(out, buf + done, (size_t)(n - done), out_off + done);

		if (w <= 0)
			return done ? done : w;
		done += w;
	}
	return n;
}

ssize_t ply_copy_range(struct ply_union *u, struct ply_node *from, off_t from_off,
		       struct ply_node *to, off_t to_off, size_t len, unsigned flags)
{
	struct ply_fd *in, *out;
	off_t in_off = from_off, out_off = to_off;
	struct statx stx;
	ssize_t n;
	int err;

	ply_before_long(u);
	err = open_for_write(u, to, flags, &out);
	if (err)
		return err;
	err = ply_data_open(u, from, &in);
	if (err) {
		ply_fd_put(u->fds, out);
		return err;
	}
	n = begin_long(u, to, out->fd, flags, &stx);
	if (!n) {
		n = sys_copy_range(in->fd, &in_off, out->fd, &out_off, len);
		if (n == -EXDEV || n == -EOPNOTSUPP || n == -ENOSYS || (n == -EINVAL && from != to))
			n = copy_by_hand(in->fd, from_off, out->fd, to_off, len);
		end_long(u, to, out->fd, flags, &stx);
	}
	ply_fd_put(u->fds, in);
	ply_fd_put(u->fds, out);
	return n;
}
