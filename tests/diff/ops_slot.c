/*
 * Descriptors that stay open across steps, in numbered slots: what was opened goes on working after its name was
 * removed, renamed over or copied up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "plydiff.h"

/* The descriptor in the step's slot; tells when there is none. */
static int slot(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = sys->fd[s->n[0] % PD_SLOTS];

	if (fd < 0)
		pd_note(o, "slot", "empty");
	return fd;
}

static void put(struct pd_sys *sys, const struct pd_step *s, int fd)
{
	int *at = &sys->fd[s->n[0] % PD_SLOTS];

	if (fd < 0)
		return;
	if (*at >= 0)
		close(*at);
	*at = fd;
}

/* ---- opening ---- */

static void make_open(struct pd_maker *m, struct pd_step *s)
{
	static const int flags[] = { O_RDONLY,
				     O_RDONLY,
				     O_RDWR,
				     O_RDWR,
				     O_RDWR | O_APPEND,
				     O_WRONLY,
				     O_RDONLY | O_DIRECTORY };

	s->n[0] = pd_pick_slot(m);
	s->n[1] = flags[pd_below(&m->rng, PD_COUNT(flags))];
	s->p = pd_pick(m, s->n[1] & O_DIRECTORY ? PD_DIRS : PD_FILES);
}

static void run_open(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	put(sys, s, pd_tell_fd(o, "open", pd_open(s->p, (int)s->n[1], 0)));
}

static void make_create(struct pd_maker *m, struct pd_step *s)
{
	s->n[0] = pd_pick_slot(m);
	s->n[1] = pd_pick_mode(m);
	s->p = pd_pick_new(m);
}

static void run_create(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	put(sys, s, pd_tell_fd(o, "open", pd_open(s->p, O_RDWR | O_CREAT, (mode_t)s->n[1])));
}

/* Opened and removed at once: the oldest temporary file there is. */
static void run_unlinked(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	put(sys, s, pd_tell_fd(o, "open", pd_open(s->p, O_RDWR, 0)));
	pd_tell(o, "unlink", unlink(s->p));
}

static void make_unlinked(struct pd_maker *m, struct pd_step *s)
{
	s->n[0] = pd_pick_slot(m);
	s->p = pd_pick(m, PD_FILES);
}

static void make_slot(struct pd_maker *m, struct pd_step *s)
{
	s->n[0] = pd_pick_slot(m);
	s->n[1] = pd_pick_offset(m);
	s->n[2] = pd_pick_length(m);
	s->n[3] = pd_below(&m->rng, 250);
}

static void run_close(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int *at = &sys->fd[s->n[0] % PD_SLOTS];

	if (slot(sys, s, o) < 0)
		return;
	pd_tell(o, "close", close(*at));
	*at = -1;
}

/* ---- data ---- */

static void run_read(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);
	uint8_t *buf = pd_alloc((size_t)s->n[2]);

	if (fd >= 0)
		pd_note_data(o, "data", buf,
			     pd_tell(o, "pread", pread(fd, buf, (size_t)s->n[2], s->n[1])));
	free(buf);
}

static void run_write(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);
	uint8_t *buf = pd_alloc((size_t)s->n[2]);

	pd_fill(buf, (size_t)s->n[2], s->n[3]);
	if (fd >= 0) {
		pd_tell(o, "pwrite", pwrite(fd, buf, (size_t)s->n[2], s->n[1]));
		pd_note_stat(o, "fstat", fd);
	}
	free(buf);
}

static void run_truncate(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);

	if (fd < 0)
		return;
	pd_tell(o, "ftruncate", pd_ftruncate(fd, s->n[1]));
	pd_note_stat(o, "fstat", fd);
}

static void run_mmap(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= s->n[1])
		return;
	size_t size = (size_t)st.st_size, at = (size_t)s->n[1];
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	pd_tell(o, "mmap", map == MAP_FAILED ? -1 : 0);
	if (map == MAP_FAILED)
		return;
	memset(map + at, (int)s->n[3], size - at < 500 ? size - at : 500);
	pd_note_data(o, "data", map, (ssize_t)size);
	munmap(map, size);
}

static void run_copy(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int in = slot(sys, s, o), out = sys->fd[(s->n[0] + 1) % PD_SLOTS];
	off_t from = s->n[1], to = 0;

	if (in < 0 || out < 0)
		return;
	pd_tell(o, "copy", copy_file_range(in, &from, out, &to, (size_t)s->n[2], 0));
	pd_note_stat(o, "out", out);
}

static void run_fsync(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);

	if (fd >= 0)
		pd_tell(o, "fsync", s->n[1] % 2 ? fdatasync(fd) : fsync(fd));
}

static void run_alloc(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);

	if (fd < 0)
		return;
	pd_tell(o, "fallocate", fallocate(fd, 0, s->n[1], s->n[2]));
	pd_note_stat(o, "fstat", fd);
}

/* ---- attributes ---- */

static void run_stat(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);

	if (fd >= 0)
		pd_note_stat(o, "fstat", fd);
}

static void run_chmod(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);

	if (fd < 0)
		return;
	pd_tell(o, "fchmod", fchmod(fd, (mode_t)(s->n[1] + s->n[3]) & 07777));
	pd_note_stat(o, "fstat", fd);
}

static void run_chown(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);

	if (fd < 0)
		return;
	pd_tell(o, "fchown", fchown(fd, s->n[3] % 2 ? 1000 : 2000, (gid_t)s->n[3]));
	pd_note_stat(o, "fstat", fd);
}

static void run_times(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);
	struct timespec t = { .tv_sec = s->n[1] - 5000, .tv_nsec = s->n[2] };
	struct timespec times[2] = { t, t };

	if (fd < 0)
		return;
	pd_tell(o, "futimens", futimens(fd, times));
	pd_note_stat(o, "fstat", fd);
}

static void run_xattr(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);
	char value[64];

	if (fd < 0)
		return;
	pd_tell(o, "fsetxattr", fsetxattr(fd, "user.slot", "value", 5, 0));
	pd_tell(o, "fgetxattr", fgetxattr(fd, "user.slot", value, sizeof(value)));
	if (s->n[3] % 2)
		pd_tell(o, "fremovexattr", fremovexattr(fd, "user.slot"));
}

/* ---- names ---- */

static void make_link(struct pd_maker *m, struct pd_step *s)
{
	s->n[0] = pd_pick_slot(m);
	s->q = pd_pick_new(m);
}

static void run_link(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);
	char path[64];

	if (fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	pd_tell(o, "linkat", linkat(AT_FDCWD, path, AT_FDCWD, s->q, AT_SYMLINK_FOLLOW));
	pd_note_stat(o, "fstat", fd);
}

/* Two descriptors of perhaps one file: whether a lock of the first stands in the second's way. */
static void run_lock(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int a = slot(sys, s, o), b = sys->fd[(s->n[0] + 1) % PD_SLOTS];

	if (a < 0 || b < 0)
		return;
	pd_tell(o, "first", flock(a, LOCK_EX | LOCK_NB));
	pd_tell(o, "second", flock(b, LOCK_EX | LOCK_NB));
	flock(a, LOCK_UN);
	flock(b, LOCK_UN);
}

static void run_list(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = slot(sys, s, o);
	struct pd_names names;

	if (fd < 0)
		return;
	pd_tell(o, "list", pd_list(fd, &names) == 0 ? 0 : -1);
	pd_note(o, "names", "%zu", names.count);
	pd_names_free(&names);
}

const struct pd_op pd_ops_slot[] = {
	{ "h_open", 34, "h open", make_open, run_open, 0, { 0 } },
	{ "h_create", 14, "h mode", make_create, run_create, 0, { 0 } },
	{ "h_unlinked", 14, "h", make_unlinked, run_unlinked, PD_OP_UNLINKS, { 0 } },
	{ "h_close", 12, "h", make_slot, run_close, 0, { 0 } },
	{ "h_read", 20, "h off len", make_slot, run_read, 0, { 0 } },
	{ "h_write", 26, "h off len fill", make_slot, run_write, 0, { 0 } },
	{ "h_truncate", 12, "h size", make_slot, run_truncate, 0, { 0 } },
	{ "h_mmap", 10, "h off len fill", make_slot, run_mmap, 0, { 0 } },
	{ "h_copy", 8, "h off len", make_slot, run_copy, 0, { 0 } },
	{ "h_fsync", 3, "h data", make_slot, run_fsync, 0, { 0 } },
	{ "h_fallocate", 6, "h off len", make_slot, run_alloc, 0, { EOPNOTSUPP } },
	{ "h_stat", 10, "h", make_slot, run_stat, 0, { 0 } },
	{ "h_chmod", 10, "h a b c", make_slot, run_chmod, 0, { 0 } },
	{ "h_chown", 8, "h a b c", make_slot, run_chown, 0, { 0 } },
	{ "h_utimens", 8, "h sec nsec", make_slot, run_times, 0, { 0 } },
	{ "h_xattr", 8, "h a b c", make_slot, run_xattr, 0, { 0 } },
	{ "h_link", 10, "h", make_link, run_link, 0, { 0 } },
	{ "h_lock", 6, "h", make_slot, run_lock, 0, { 0 } },
	{ "h_list", 6, "h", make_slot, run_list, 0, { 0 } },
	{ .name = NULL },
};
