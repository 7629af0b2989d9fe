/* FIEMAP by portions. */
#include "extents.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <string.h>

#include "base/sys.h"

#define EXTENTS 64
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

int ply_shared_bytes(int fd, uint64_t *bytes)
{
	const struct fiemap_extent *last = NULL;
	union portion p;

	*bytes = 0;
	for (uint64_t at = 0;; at = last->fe_logical + last->fe_length) {
		int err = read_portion(fd, at, &p);

		if (err)
			return err;
		for (unsigned i = 0; i < p.head.fm_mapped_extents; i++) {
			last = &p.head.fm_extents[i];
			if (last->fe_flags & FIEMAP_EXTENT_SHARED)
				*bytes += last->fe_length;
		}
		if (!p.head.fm_mapped_extents || last->fe_flags & FIEMAP_EXTENT_LAST)
			return 0;
	}
}
