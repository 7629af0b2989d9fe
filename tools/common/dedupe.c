/* Data that the upper and a layer below both have: shared by the kernel. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "interrupt.h"
#include "vacuum.h"

#define PIECE (16 << 20) /* btrfs takes no more at once */

int ply_can_share(int mine, int theirs)
{
	ssize_t res = sys_dedupe(theirs, mine, 0, 0);

	return res == -ENOTTY || res == -ENOSYS || res == -EINVAL ? -EOPNOTSUPP
	       : res < 0					  ? (int)res
								  : 0;
}

int ply_open_own(const struct ply_vacuum *v, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = strndup(path, slash ? (size_t)(slash - path) : 0);
	int at = dir ? ply_open_beneath(v->upper, dir) : -ENOMEM, fd;

	free(dir);
	if (at < 0)
		return at;
	fd = sys_open(at, slash ? slash + 1 : path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	sys_close(at);
	return fd;
}

/* 0: all that is the same of both. */
static int share(struct ply_vacuum *v, int in, int out, uint64_t size)
{
	for (uint64_t at = 0; at < size;) {
		size_t len = size - at < PIECE ? (size_t)(size - at) : PIECE;
		ssize_t n = sys_dedupe(in, out, (off_t)at, len);

		if (n <= 0)
			return n ? (int)n : -EIO;
		at += (uint64_t)n;
		v->progress.data.shared += (uint64_t)n;
	}
	return 0;
}

static int share_one(struct ply_vacuum *v, const struct ply_spare *spare, const char *path)
{
	struct ply_data theirs = { .layer = spare->copy_layer, .path = spare->copy_path };
	int out = ply_open_own(v, path), in, err;

	if (out < 0)
		return out;
	in = ply_stack_open_data(&v->stack, &theirs);
	err = in < 0 ? in : share(v, in, out, spare->size);
	if (in >= 0)
		sys_close(in);
	sys_close(out);
	return err;
}

int ply_vacuum_share(struct ply_vacuum *v)
{
	int failures = 0;

	for (size_t i = 0; i < v->n && !ply_interrupt_came(); i++) {
		char *path;
		int err;

		if (!(v->spares[i]->flags & PLY_SPARE_HAS_COPY) ||
		    v->spares[i]->flags & PLY_SPARE_GOES)
			continue;
		path = ply_spare_path(v->spares[i]);
		err = path ? share_one(v, v->spares[i], path) : -ENOMEM;
		if (err == -EOPNOTSUPP) {
			free(path);
			v->trouble = "the upper's file system cannot share data (FIDEDUPERANGE)";
			return err;
		}
		if (err)
			ply_complain("cannot share the data of", path, err);
		failures |= err;
		free(path);
	}
	return failures ? -EIO : 0;
}
