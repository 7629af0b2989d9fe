/* The data of a copy: shared if the file system can, else copied by the kernel, else by hand. Holes stay. */
#include "layer/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"

#define SMALL (64 * 1024) /* one read and one write beat anything else */
#define SLICE (8 * 1024 * 1024)
#define BUFFER (1024 * 1024)

static void count(_Atomic uint64_t *bytes, off_t n)
{
	atomic_fetch_add_explicit(bytes, (uint64_t)n, memory_order_relaxed);
}

int ply_write_all(int fd, const char *buf, size_t size, off_t off, size_t *done)
{
	*done = 0;
	while (*done < size) {
		ssize_t n = sys_pwrite(fd, buf + *done, size - *done, off + (off_t)*done);

		if (n <= 0)
			return n ? (int)n : -EIO;
		*done += (size_t)n;
	}
	return 0;
}

/* One copy, as seen by the steps below. */
struct copy {
	struct ply_layer *to;
	int in, out;
	struct ply_copied *done;
};

static int copy_by_hand(const struct copy *c, off_t off, off_t end, char *buf, size_t size)
{
	while (off < end) {
		size_t want = (off_t)size < end - off ? size : (size_t)(end - off);
		ssize_t n = sys_pread(c->in, buf, want, off);
		size_t done;
		int err;

		if (n <= 0)
			return (int)n;
		err = ply_write_all(c->out, buf, (size_t)n, off, &done);
		if (err)
			return err;
		count(&c->done->copied, n);
		off += n;
	}
	return 0;
}

static int copy_buffered(const struct copy *c, off_t off, off_t end)
{
	char *buf = malloc(BUFFER);
	int err;

	if (!buf)
		return -ENOMEM;
	err = copy_by_hand(c, off, end, buf, BUFFER);
	free(buf);
	return err;
}

/* One run of data. */
static int copy_run(const struct copy *c, off_t off, off_t end)
{
	off_t in_off = off, out_off = off;

	while (in_off < end && !ply_layer_lacks(c->to, PLY_LACKS_COPY_RANGE)) {
		size_t want = end - in_off < SLICE ? (size_t)(end - in_off) : SLICE;
		ssize_t n = sys_copy_range(c->in, &in_off, c->out, &out_off, want);

		if (n == 0)
			return 0;
		if (n == -EXDEV || n == -EOPNOTSUPP || n == -ENOSYS || n == -EINVAL || n == -EPERM)
			ply_layer_set_lack(c->to, PLY_LACKS_COPY_RANGE);
		else if (n < 0)
			return (int)n;
		else
			count(&c->done->copied, n);
	}
	return in_off < end ? copy_buffered(c, in_off, end) : 0;
}

static int copy_runs(const struct copy *c, off_t size)
{
	off_t off = 0;

	while (off < size) {
		off_t data = sys_lseek(c->in, off, SEEK_DATA), hole;
		int err;

		if (data == -ENXIO)
			break;
		if (data < 0)
			return copy_run(c, off, size);
		hole = sys_lseek(c->in, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		if (data < hole) {
			err = copy_run(c, data, hole);
			if (err)
				return err;
		}
		off = hole;
	}
	return sys_truncate(c->out, size);
}

static int copy_small(const struct copy *c, off_t size)
{
	char buf[SMALL];

	return copy_by_hand(c, 0, size, buf, sizeof(buf));
}

/* 0, or why it is to be copied. */
static int share(const struct ply_data_copy *copy, const struct copy *c)
{
	int err;

	if (ply_layer_lacks(c->to, PLY_LACKS_CLONE) ||
	    ((copy->how & PLY_COPY_TO_CHANGE) && copy->size <= SMALL))
		return -EOPNOTSUPP;
	err = sys_clone(c->in, c->out);
	/* Another file system than this one's says EXDEV, and the next file may be on it. */
	if (err && err != -EXDEV)
		ply_layer_set_lack(c->to, PLY_LACKS_CLONE);
	return err;
}

int ply_copy_data(const struct ply_data_copy *copy)
{
	struct ply_copied nobody = { 0 };
	struct copy c = { .to = copy->to,
			  .in = copy->in,
			  .out = copy->out,
			  .done = copy->done ? copy->done : &nobody };

	if (share(copy, &c) == 0) {
		count(&c.done->shared, copy->size);
		return copy->how & PLY_COPY_ALL ? 0 : sys_truncate(c.out, copy->size);
	}
	return copy->size <= SMALL ? copy_small(&c, copy->size) : copy_runs(&c, copy->size);
}
