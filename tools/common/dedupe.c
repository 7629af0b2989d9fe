/* Data that the upper and a layer below both have: told by the extents of the two files, and shared by the kernel. */
#include <errno.h>
#include <linux/fiemap.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "interrupt.h"
#include "vacuum.h"

#define EXTENTS 64
#define PIECE (16 << 20) /* btrfs takes no more at once */
#define UNTOLD                                                                                     \
	(FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_NOT_ALIGNED |              \
	 FIEMAP_EXTENT_DATA_INLINE)

/* A portion of a file's extents. */
union portion {
	struct fiemap head;
	char room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
};

static int read_portion(int fd, uint64_t from, union portion *out)
{
	memset(out, 0, sizeof(*out));
	out->head.fm_start = from;
	out->head.fm_length = FIEMAP_MAX_OFFSET - from;
	out->head.fm_flags = FIEMAP_FLAG_SYNC;
	out->head.fm_extent_count = EXTENTS;
	return sys_fiemap(fd, &out->head);
}

static int is_same_extent(const struct fiemap_extent *a, const struct fiemap_extent *b)
{
	return a->fe_logical == b->fe_logical && a->fe_physical == b->fe_physical &&
	       a->fe_length == b->fe_length && !((a->fe_flags | b->fe_flags) & UNTOLD);
}

/* Up to where it says they are the same: *end, UINT64_MAX for all of it. 0 where they are not. */
static int is_same_portion(const union portion *a, const union portion *b, uint64_t *end)
{
	const struct fiemap_extent *last = NULL;

	if (a->head.fm_mapped_extents != b->head.fm_mapped_extents)
		return 0;
	for (unsigned i = 0; i < a->head.fm_mapped_extents; i++) {
		last = &a->head.fm_extents[i];
		if (!is_same_extent(last, &b->head.fm_extents[i]))
			return 0;
	}
	*end = !last || last->fe_flags & FIEMAP_EXTENT_LAST ? UINT64_MAX
							    : last->fe_logical + last->fe_length;
	return 1;
}

/* Data within its inode takes no room of its own. */
static int is_inline(const union portion *p)
{
	return p->head.fm_mapped_extents &&
	       p->head.fm_extents[0].fe_flags & FIEMAP_EXTENT_DATA_INLINE;
}

int ply_shares_data(int a, int b)
{
	union portion of_a, of_b;

	for (uint64_t at = 0; at != UINT64_MAX;) {
		if (read_portion(a, at, &of_a) || read_portion(b, at, &of_b))
			return 0;
		if (is_inline(&of_a) || is_inline(&of_b))
			return 1;
		if (!is_same_portion(&of_a, &of_b, &at))
			return 0;
	}
	return 1;
}

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
