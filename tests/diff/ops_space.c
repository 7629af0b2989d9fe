/* Sizes and space: truncate, fallocate, holes, and what makes data durable. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "plydiff.h"

enum { MOST = 1 << 22 };

static void make_size(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_chance(&m->rng, 90) ? pd_pick(m, PD_FILES) : pd_pick_any(m);
	s->n[0] = pd_chance(&m->rng, 30) ? 0 : pd_pick_offset(m) + pd_pick_length(m);
	s->n[1] = pd_below(&m->rng, 3);
}

static void run_truncate(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "truncate", pd_truncate(s->p, s->n[0]));
}

static void run_ftruncate(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, s->n[1] ? O_RDWR : O_RDONLY, 0));
	char c = 0;

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "ftruncate", pd_ftruncate(fd, s->n[0]));
	pd_note_stat(o, "fstat", fd);
	/* What grew reads as zeros, up to the last byte and no further. */
	pd_tell(o, "last", pread(fd, &c, 1, s->n[0] ? s->n[0] - 1 : 0));
	pd_note(o, "byte", "%02x", c);
	pd_tell(o, "beyond", pread(fd, &c, 1, s->n[0]));
	if (s->n[1] == 2)
		pd_tell(o, "again", pd_ftruncate(fd, s->n[0] / 3));
	pd_tell(o, "close", close(fd));
}

/* ---- fallocate ---- */

static void make_space(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_FILES);
	s->n[0] = pd_pick_offset(m);
	s->n[1] = pd_pick_length(m);
}

static void allocate(const struct pd_step *s, struct pd_outcome *o, int mode)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDWR, 0));
	uint8_t *buf = pd_alloc((size_t)s->n[1] + 20);

	if (fd >= 0) {
		pd_tell(o, "fallocate", fallocate(fd, mode, s->n[0], s->n[1]));
		pd_note_stat(o, "fstat", fd);
		pd_note_data(o, "data", buf,
			     pread(fd, buf, (size_t)s->n[1] + 20, s->n[0] > 10 ? s->n[0] - 10 : 0));
		pd_tell(o, "close", close(fd));
	}
	free(buf);
}

static void run_fallocate(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	allocate(s, o, 0);
}

static void run_keep_size(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	allocate(s, o, FALLOC_FL_KEEP_SIZE);
}

static void run_punch(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	allocate(s, o, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static void run_zero_range(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	allocate(s, o, FALLOC_FL_ZERO_RANGE);
}

static void run_zero_keep(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	allocate(s, o, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
}

static void run_collapse(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	allocate(s, o, FALLOC_FL_COLLAPSE_RANGE);
}

static void run_insert(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	allocate(s, o, FALLOC_FL_INSERT_RANGE);
}

/* ---- SEEK_DATA, SEEK_HOLE ---- */

static void make_seek(struct pd_maker *m, struct pd_step *s)
{
	make_space(m, s);
	s->n[2] = pd_below(&m->rng, 250);
	s->n[3] = pd_chance(&m->rng, 50);
}

static bool all_zero(const uint8_t *buf, off_t from, off_t to)
{
	for (off_t i = from; i < to; i++) {
		if (buf[i])
			return false;
	}
	return true;
}

/* Holes may be told as data, never data as a hole; and the walk must reach the end. */
static void check_holes(struct pd_outcome *o, int fd, const uint8_t *buf, off_t size)
{
	off_t at = 0, data, hole;
	bool honest = true, moves = true;

	while (at < size && moves) {
		data = lseek(fd, at, SEEK_DATA);
		if (data < 0) {
			honest = honest && errno == ENXIO && all_zero(buf, at, size);
			break;
		}
		honest = honest && data >= at && all_zero(buf, at, data < size ? data : size);
		hole = lseek(fd, data, SEEK_HOLE);
		moves = hole > data && hole <= size;
		at = hole;
	}
	pd_note_holds(o, "holes-are-zero", honest);
	pd_note_holds(o, "holes-end", moves);
	pd_tell(o, "data-at-end", lseek(fd, size, SEEK_DATA));
	pd_tell(o, "hole-at-end", lseek(fd, size, SEEK_HOLE));
	hole = size ? lseek(fd, size - 1, SEEK_HOLE) : 0;
	pd_note_holds(o, "hole-of-last", !size || hole == size || (hole == size - 1 && !buf[hole]));
}

static void run_seek(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, s->n[3] ? O_RDWR : O_RDONLY, 0));
	struct stat st;

	(void)sys;
	if (fd < 0)
		return;
	/* Written a moment ago, and not yet by the server. */
	if (s->n[3]) {
		uint8_t *bytes = pd_alloc((size_t)s->n[1]);

		pd_fill(bytes, (size_t)s->n[1], s->n[2]);
		pd_tell(o, "pwrite", pwrite(fd, bytes, (size_t)s->n[1], s->n[0]));
		free(bytes);
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MOST) {
		uint8_t *buf = pd_alloc((size_t)st.st_size);

		if (pd_tell(o, "pread", pread(fd, buf, (size_t)st.st_size, 0)) == st.st_size)
			check_holes(o, fd, buf, st.st_size);
		free(buf);
	}
	pd_tell(o, "close", close(fd));
}

/* ---- durability ---- */

static void sync_after_write(const struct pd_step *s, struct pd_outcome *o, int (*sync_fd)(int))
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_WRONLY, 0));
	uint8_t *buf = pd_alloc((size_t)s->n[1]);

	pd_fill(buf, (size_t)s->n[1], s->n[1] + 1);
	if (fd >= 0) {
		pd_tell(o, "pwrite", pwrite(fd, buf, (size_t)s->n[1], s->n[0]));
		pd_tell(o, "sync", sync_fd(fd));
		pd_tell(o, "close", close(fd));
	}
	free(buf);
}

static void run_fsync(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	sync_after_write(s, o, fsync);
}

static void run_fdatasync(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	sync_after_write(s, o, fdatasync);
}

static void run_syncfs(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	sync_after_write(s, o, syncfs);
}

static void make_any(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_any(m);
}

static void run_statfs(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct statvfs v;

	(void)sys;
	if (pd_tell(o, "statvfs", statvfs(s->p, &v)) == 0)
		pd_note(o, "is", "names %lu blocks %lu of %lu files %lu", v.f_namemax,
			(unsigned long)v.f_blocks, v.f_frsize, (unsigned long)v.f_files);
}

const struct pd_op pd_ops_space[] = {
	{ "truncate", 24, "size", make_size, run_truncate, 0, { 0 } },
	{ "ftruncate", 16, "size how", make_size, run_ftruncate, 0, { 0 } },
	{ "fallocate", 8, "off len", make_space, run_fallocate, 0, { EOPNOTSUPP } },
	{ "fallocate_keep", 6, "off len", make_space, run_keep_size, 0, { EOPNOTSUPP } },
	{ "punch_hole", 10, "off len", make_space, run_punch, 0, { EOPNOTSUPP } },
	{ "zero_range", 8, "off len", make_space, run_zero_range, 0, { EOPNOTSUPP } },
	{ "zero_range_keep", 5, "off len", make_space, run_zero_keep, 0, { EOPNOTSUPP } },
	{ "collapse_range", 3, "off len", make_space, run_collapse, 0, { EOPNOTSUPP } },
	{ "insert_range", 3, "off len", make_space, run_insert, 0, { EOPNOTSUPP } },
	{ "seek_data", 16, "off len fill dirty", make_seek, run_seek, 0, { 0 } },
	{ "fsync", 6, "off len", make_space, run_fsync, 0, { 0 } },
	{ "fdatasync", 4, "off len", make_space, run_fdatasync, 0, { 0 } },
	{ "syncfs", 2, "off len", make_space, run_syncfs, 0, { 0 } },
	{ "statfs", 4, NULL, make_any, run_statfs, 0, { 0 } },
	{ .name = NULL },
};
