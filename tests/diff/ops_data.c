/* Reading and writing by path: each step opens, works and closes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "plydiff.h"

enum { MOST = 1 << 21, ROUNDS = 64 };

static void make_range(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_FILES);
	s->n[0] = pd_pick_offset(m);
	s->n[1] = pd_pick_length(m);
	s->n[2] = pd_below(&m->rng, 250);
	s->n[3] = pd_below(&m->rng, 4);
}

static void tell_read(struct pd_outcome *o, const char *label, int fd, long long off, long long len)
{
	uint8_t *buf = pd_alloc((size_t)len);

	pd_note_data(o, "data", buf, pd_tell(o, label, pread(fd, buf, (size_t)len, off)));
	free(buf);
}

static void tell_write(struct pd_outcome *o, int fd, long long off, long long len, long long fill)
{
	uint8_t *buf = pd_alloc((size_t)len);

	pd_fill(buf, (size_t)len, fill);
	pd_tell(o, "pwrite", pwrite(fd, buf, (size_t)len, off));
	free(buf);
}

static void run_read(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY, 0));

	(void)sys;
	if (fd < 0)
		return;
	tell_read(o, "pread", fd, s->n[0], s->n[1]);
	/* Beyond the end there is nothing, and no error. */
	tell_read(o, "past", fd, 1LL << 40, 10);
	close(fd);
}

static void run_pwrite(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, s->n[3] ? O_WRONLY : O_RDWR, 0));

	(void)sys;
	if (fd < 0)
		return;
	tell_write(o, fd, s->n[0], s->n[1], s->n[2]);
	if (s->n[3] == 2)
		pd_tell(o, "fsync", fsync(fd));
	pd_note_stat(o, "fstat", fd);
	pd_tell(o, "close", close(fd));
}

static void run_append(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDWR | O_APPEND, 0));

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "seek", lseek(fd, s->n[0], SEEK_SET));
	for (int i = 0; i < 2; i++) {
		uint8_t *buf = pd_alloc((size_t)s->n[1]);

		pd_fill(buf, (size_t)s->n[1], s->n[2] + i);
		pd_tell(o, "write", write(fd, buf, (size_t)s->n[1]));
		free(buf);
	}
	pd_tell(o, "where", lseek(fd, 0, SEEK_CUR));
	tell_read(o, "pread", fd, s->n[0], s->n[1]);
	pd_tell(o, "close", close(fd));
}

static void run_writev(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDWR, 0));
	size_t n = (size_t)s->n[1];
	uint8_t *buf = pd_alloc(n + 300);
	struct iovec v[3] = { { buf, n / 2 }, { buf + n, 300 }, { buf + n / 2, n - n / 2 } };

	(void)sys;
	pd_fill(buf, n + 300, s->n[2]);
	if (fd >= 0) {
		pd_tell(o, "pwritev", pwritev(fd, v, 3, s->n[0]));
		memset(buf, 0, n + 300);
		pd_tell(o, "preadv", preadv(fd, v, 3, s->n[0]));
		pd_note_data(o, "data", buf, (ssize_t)n + 300);
		pd_tell(o, "close", close(fd));
	}
	free(buf);
}

static void run_rewrite(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_WRONLY | O_TRUNC, 0));

	(void)sys;
	if (fd < 0)
		return;
	tell_write(o, fd, 0, s->n[1], s->n[2]);
	pd_note_stat(o, "fstat", fd);
	pd_tell(o, "close", close(fd));
}

/* A reader that was there before the writer sees what is written. */
static void run_two(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int r = pd_tell_fd(o, "reader", pd_open(s->p, O_RDONLY, 0));
	int w = pd_tell_fd(o, "writer", pd_open(s->p, O_RDWR, 0));

	(void)sys;
	if (r >= 0 && w >= 0) {
		tell_read(o, "before", r, 0, 5000);
		tell_write(o, w, s->n[0], s->n[1], s->n[2]);
		tell_read(o, "after", r, s->n[0], s->n[1] + 10);
		if (s->n[3] == 1)
			pd_tell(o, "ftruncate", pd_ftruncate(w, s->n[0] / 2));
		if (s->n[3] == 2)
			pd_tell(o, "unlink", unlink(s->p));
		tell_read(o, "last", r, 0, s->n[1]);
		pd_note_stat(o, "fstat", r);
	}
	if (r >= 0)
		close(r);
	if (w >= 0)
		pd_tell(o, "close", close(w));
}

/* ---- from file to file ---- */

static void make_copy(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_FILES);
	s->q = pd_pick(m, PD_FILES);
	s->n[0] = pd_pick_offset(m);
	s->n[1] = pd_pick_offset(m);
	s->n[2] = pd_pick_length(m);
}

static long copy_all(int in, int out, off_t from, off_t to, size_t len)
{
	size_t done = 0;

	for (int i = 0; i < ROUNDS && done < len; i++) {
		ssize_t n = copy_file_range(in, &from, out, &to, len - done, 0);

		if (n < 0)
			return done ? (long)done : -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (long)done;
}

static long send_all(int in, int out, off_t from, off_t to, size_t len)
{
	size_t done = 0;

	if (lseek(out, to, SEEK_SET) < 0)
		return -1;
	for (int i = 0; i < ROUNDS && done < len; i++) {
		ssize_t n = sendfile(out, in, &from, len - done);

		if (n < 0)
			return done ? (long)done : -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (long)done;
}

static void between(const struct pd_step *s, struct pd_outcome *o,
		    long (*copy)(int, int, off_t, off_t, size_t))
{
	int in = pd_tell_fd(o, "in", pd_open(s->p, O_RDONLY, 0));
	int out = pd_tell_fd(o, "out", pd_open(s->q, O_RDWR, 0));

	if (in >= 0 && out >= 0) {
		pd_tell(o, "copy", copy(in, out, s->n[0], s->n[1], (size_t)s->n[2]));
		tell_read(o, "pread", out, s->n[1], s->n[2]);
	}
	if (in >= 0)
		close(in);
	if (out >= 0)
		pd_tell(o, "close", close(out));
}

static void run_copy_range(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	between(s, o, copy_all);
}

static void run_sendfile(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	between(s, o, send_all);
}

/* ---- memory ---- */

/* Maps a whole regular file, at most MOST; NULL when there is nothing to map. */
static uint8_t *map_file(struct pd_outcome *o, int fd, int prot, size_t *size)
{
	struct stat st;

	if (pd_tell(o, "fstat", fstat(fd, &st)) != 0 || !S_ISREG(st.st_mode) || !st.st_size)
		return NULL;
	*size = st.st_size > MOST ? MOST : (size_t)st.st_size;
	uint8_t *map = mmap(NULL, *size, prot, MAP_SHARED, fd, 0);

	pd_tell(o, "mmap", map == MAP_FAILED ? -1 : 0);
	/* cppcheck-suppress memleak */
	return map == MAP_FAILED ? NULL : map;
}

static void run_mmap_read(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY, 0));
	size_t size;

	(void)sys;
	if (fd < 0)
		return;
	uint8_t *map = map_file(o, fd, PROT_READ, &size);

	close(fd);
	if (!map)
		return;
	pd_note_data(o, "data", map, (ssize_t)size);
	munmap(map, size);
}

static void fill_map(const struct pd_step *s, struct pd_outcome *o, int fd, uint8_t *map,
		     size_t size)
{
	size_t from = (size_t)s->n[0] % size;
	size_t len = (size_t)s->n[1] < size - from ? (size_t)s->n[1] : size - from;

	pd_fill(map + from, len, s->n[2]);
	/* By read(2) as well: one page cache. */
	tell_read(o, "pread", fd, (long long)from, (long long)len);
	if (s->n[3] == 1)
		pd_tell(o, "msync", msync(map, size, MS_SYNC));
}

static void run_mmap_write(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDWR, 0));
	size_t size;

	(void)sys;
	if (fd < 0)
		return;
	uint8_t *map = map_file(o, fd, PROT_READ | PROT_WRITE, &size);

	if (map)
		fill_map(s, o, fd, map, size);
	pd_tell(o, "close", close(fd));
	if (!map)
		return;
	/* Stored when no descriptor is left. */
	if (s->n[3] == 2 && s->n[1])
		map[(size_t)s->n[0] % size] ^= 1;
	munmap(map, size);
}

/* ---- past the page cache ---- */

static void run_direct(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDWR | O_DIRECT, 0));
	size_t n = (size_t)s->n[1] & ~(size_t)4095;
	off_t off = s->n[0] & ~4095LL;
	void *buf = NULL;

	(void)sys;
	if (fd < 0)
		return;
	if (posix_memalign(&buf, 4096, n + 4096) == 0) {
		pd_fill(buf, n, s->n[2]);
		pd_tell(o, "pwrite", pwrite(fd, buf, n, off));
		pd_note_data(o, "data", buf, pd_tell(o, "pread", pread(fd, buf, n, off)));
		free(buf);
	}
	pd_tell(o, "close", close(fd));
}

static void run_osync(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_WRONLY | O_SYNC, 0));

	(void)sys;
	if (fd < 0)
		return;
	tell_write(o, fd, s->n[0], s->n[1], s->n[2]);
	pd_tell(o, "close", close(fd));
}

const struct pd_op pd_ops_data[] = {
	{ "read", 20, "off len", make_range, run_read, 0, { 0 } },
	{ "pwrite", 40, "off len fill how", make_range, run_pwrite, 0, { 0 } },
	{ "append", 20, "off len fill", make_range, run_append, 0, { 0 } },
	{ "writev", 10, "off len fill", make_range, run_writev, 0, { 0 } },
	{ "rewrite", 16, "off len fill", make_range, run_rewrite, 0, { 0 } },
	{ "two_fds", 16, "off len fill how", make_range, run_two, 0, { 0 } },
	{ "copy_range", 14, "off off2 len", make_copy, run_copy_range, 0, { 0 } },
	{ "sendfile", 10, "off off2 len", make_copy, run_sendfile, 0, { 0 } },
	{ "mmap_read", 12, NULL, make_range, run_mmap_read, 0, { 0 } },
	{ "mmap_write", 20, "off len fill how", make_range, run_mmap_write, 0, { 0 } },
	{ "direct", 8, "off len fill", make_range, run_direct, 0, { 0 } },
	{ "osync", 3, "off len fill", make_range, run_osync, 0, { 0 } },
	{ .name = NULL },
};
