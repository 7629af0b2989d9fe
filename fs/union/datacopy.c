/* The data of a copy-up: shared if the file system can, else copied by the kernel, else by hand. Holes stay. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "union/copyup.h"

#define SMALL (64 * 1024)	  /* one read and one write beat anything else */
#define SLICE (8 * 1024 * 1024)
#define BUFFER (1024 * 1024)

static int write_all(int fd, const char *buf, size_t size, off_t off)
{
	while (size) {
		ssize_t n = sys_pwrite(fd, buf, size, off);

		if (n <= 0)
			return n ? (int)n : -EIO;
		buf += n;
		size -= (size_t)n;
		off += n;
	}
	return 0;
}

static int copy_by_hand(int in, int out, off_t off, off_t end, char *buf, size_t size)
{
	while (off < end) {
		size_t want = (off_t)size < end - off ? size : (size_t)(end - off);
		ssize_t n = sys_pread(in, buf, want, off);
		int err;

		if (n <= 0)
			return (int)n;
		err = write_all(out, buf, (size_t)n, off);
		if (err)
			return err;
		off += n;
	}
	return 0;
}

static int copy_buffered(int in, int out, off_t off, off_t end)
{
	char *buf = malloc(BUFFER);
	int err;

	if (!buf)
		return -ENOMEM;
	err = copy_by_hand(in, out, off, end, buf, BUFFER);
	free(buf);
	return err;
}

/* One run of data. */
static int copy_run(struct ply_layer *upper, int in, int out, off_t off, off_t end)
{
	off_t in_off = off, out_off = off;

	while (in_off < end && !ply_layer_lacks(upper, PLY_LACKS_COPY_RANGE)) {
		size_t want = end - in_off < SLICE ? (size_t)(end - in_off) : SLICE;
		ssize_t n = sys_copy_range(in, &in_off, out, &out_off, want);

		if (n == 0)
			return 0;
		if (n == -EXDEV || n == -EOPNOTSUPP || n == -ENOSYS || n == -EINVAL || n == -EPERM)
			ply_layer_set_lack(upper, PLY_LACKS_COPY_RANGE);
		else if (n < 0)
			return (int)n;
	}
	return in_off < end ? copy_buffered(in, out, in_off, end) : 0;
}

static int copy_runs(struct ply_layer *upper, int in, int out, off_t size)
{
	off_t off = 0;

	while (off < size) {
		off_t data = sys_lseek(in, off, SEEK_DATA), hole;
		int err;

		if (data == -ENXIO)
			break;
		if (data < 0)
			return copy_run(upper, in, out, off, size);
		hole = sys_lseek(in, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		if (data < hole) {
			err = copy_run(upper, in, out, data, hole);
			if (err)
				return err;
		}
		off = hole;
	}
	return sys_truncate(out, size);
}

static int copy_small(int in, int out, off_t size)
{
	char buf[SMALL];

	return copy_by_hand(in, out, 0, size, buf, sizeof(buf));
}

int ply_copy_data(struct ply_union *u, int in, int out, off_t size)
{
	struct ply_layer *upper = &u->layers[PLY_UPPER];

	if (!ply_layer_lacks(upper, PLY_LACKS_CLONE)) {
		int err = sys_clone(in, out);

		if (!err)
			return sys_truncate(out, size);
		/* Another file system than the upper's says EXDEV, and the next lower may be on it. */
		if (err != -EXDEV)
			ply_layer_set_lack(upper, PLY_LACKS_CLONE);
	}
	return size <= SMALL ? copy_small(in, out, size) : copy_runs(upper, in, out, size);
}
