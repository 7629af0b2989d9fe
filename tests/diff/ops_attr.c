/* Modes, owners, times, permission checks. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plydiff.h"

/* ---- modes ---- */

static void make_mode(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_any(m);
	s->n[0] = pd_pick_mode(m);
}

static void run_chmod(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "chmod", chmod(s->p, (mode_t)s->n[0]));
}

static void run_fchmod(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY, 0));

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "fchmod", fchmod(fd, (mode_t)s->n[0]));
	pd_note_stat(o, "fstat", fd);
	close(fd);
}

/* Set-id bits set by root, then what a write, a truncation or a new owner leaves of them. */
static void make_setid(struct pd_maker *m, struct pd_step *s)
{
	static const mode_t modes[] = { 04755, 06755, 02755, 04644, 04777, 06777, 02777 };

	s->p = pd_pick(m, PD_FILES);
	s->n[0] = modes[pd_below(&m->rng, PD_COUNT(modes))];
	s->n[1] = pd_below(&m->rng, 6);
	s->as = (int)pd_below(&m->rng, 4);
}

static void disturb(const struct pd_step *s, struct pd_outcome *o, int fd)
{
	switch (s->n[1]) {
	case 0:
		pd_tell(o, "write", write(fd, "x", 1));
		break;
	case 1:
		pd_tell(o, "ftruncate", pd_ftruncate(fd, 3));
		break;
	case 2:
		pd_tell(o, "fallocate", fallocate(fd, 0, 0, 10));
		break;
	case 3:
		pd_tell(o, "fchown", fchown(fd, 1000, (gid_t)-1));
		break;
	case 4:
		pd_tell(o, "fchown", fchown(fd, (uid_t)-1, 2000));
		break;
	default:
		pd_tell(o, "empty", write(fd, "", 0));
	}
}

static void run_setid(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd;

	(void)sys;
	pd_become(0);
	pd_tell(o, "chmod", chmod(s->p, (mode_t)s->n[0]));
	pd_become(s->as);
	fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDWR, 0));
	if (fd < 0)
		return;
	disturb(s, o, fd);
	pd_note_stat(o, "fstat", fd);
	pd_tell(o, "close", close(fd));
}

/* ---- owners ---- */

static void make_owner(struct pd_maker *m, struct pd_step *s)
{
	static const int ids[] = { 0, 1000, 2000, 70000, -1 };

	s->p = pd_pick_any(m);
	s->n[0] = ids[pd_below(&m->rng, PD_COUNT(ids))];
	s->n[1] = ids[pd_below(&m->rng, PD_COUNT(ids))];
	/* chown(-1, -1) clears set-id bits, but reaches a FUSE server as a request for nothing. */
	if (s->n[0] < 0 && s->n[1] < 0)
		s->n[1] = 2000;
}

static void run_chown(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "chown", chown(s->p, (uid_t)s->n[0], (gid_t)s->n[1]));
}

static void run_lchown(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "lchown", lchown(s->p, (uid_t)s->n[0], (gid_t)s->n[1]));
}

static void run_fchown(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY, 0));

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "fchown", fchown(fd, (uid_t)s->n[0], (gid_t)s->n[1]));
	pd_note_stat(o, "fstat", fd);
	close(fd);
}

/* ---- times ---- */

static void make_times(struct pd_maker *m, struct pd_step *s)
{
	struct timespec t = pd_pick_time(&m->rng);

	s->p = pd_pick_any(m);
	s->n[0] = t.tv_sec;
	s->n[1] = t.tv_nsec;
	s->n[2] = pd_below(&m->rng, 5);
	s->n[3] = pd_chance(&m->rng, 40);
}

static const struct timespec *times_of(const struct pd_step *s, struct timespec times[2])
{
	struct timespec t = { .tv_sec = s->n[0], .tv_nsec = s->n[1] };

	times[0] = times[1] = t;
	if (s->n[2] == 1)
		times[1].tv_nsec = UTIME_OMIT;
	if (s->n[2] == 2)
		times[1].tv_nsec = UTIME_NOW;
	if (s->n[2] == 3)
		times[0].tv_nsec = UTIME_OMIT;
	return s->n[2] == 4 ? NULL : times;
}

static void run_utimens(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct timespec times[2];

	(void)sys;
	pd_tell(o, "utimensat",
		utimensat(AT_FDCWD, s->p, times_of(s, times), s->n[3] ? AT_SYMLINK_NOFOLLOW : 0));
}

static void run_futimens(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY, 0));
	struct timespec times[2];

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "futimens", futimens(fd, times_of(s, times)));
	pd_note_stat(o, "fstat", fd);
	close(fd);
}

/* Written, then dated: the date must survive the close. */
static void run_write_dated(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_WRONLY, 0));
	struct timespec times[2];

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "write", write(fd, "dated", 5));
	pd_tell(o, "futimens", futimens(fd, times_of(s, times)));
	pd_tell(o, "close", close(fd));
	fd = pd_open(s->p, O_RDONLY, 0);
	if (fd < 0)
		return;
	pd_note_stat(o, "after", fd);
	close(fd);
}

/* ---- checks ---- */

static void make_access(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_any(m);
	s->n[0] = pd_below(&m->rng, 8);
	s->as = (int)pd_below(&m->rng, 4);
}

static void run_access(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "access", access(s->p, (int)s->n[0]));
	pd_tell(o, "eaccess", faccessat(AT_FDCWD, s->p, (int)s->n[0], AT_EACCESS));
}

static void run_stat(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_PATH, 0));
	struct stat a, b;

	(void)sys;
	if (fd < 0)
		return;
	pd_note_stat(o, "stat", fd);
	if (pd_tell(o, "stat", stat(s->p, &a)) == 0 && fstat(fd, &b) == 0)
		pd_note_holds(o, "same", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	close(fd);
}

const struct pd_op pd_ops_attr[] = {
	{ "chmod", 32, "mode", make_mode, run_chmod, 0, { 0 } },
	{ "fchmod", 10, "mode", make_mode, run_fchmod, 0, { 0 } },
	{ "setid", 20, "mode how", make_setid, run_setid, 0, { 0 } },
	{ "chown", 20, "uid gid", make_owner, run_chown, 0, { 0 } },
	{ "lchown", 12, "uid gid", make_owner, run_lchown, 0, { 0 } },
	{ "fchown", 8, "uid gid", make_owner, run_fchown, 0, { 0 } },
	{ "utimens", 24, "sec nsec how nofollow", make_times, run_utimens, 0, { 0 } },
	{ "futimens", 8, "sec nsec how", make_times, run_futimens, 0, { 0 } },
	{ "write_dated", 10, "sec nsec how", make_times, run_write_dated, 0, { 0 } },
	{ "access", 14, "rwx", make_access, run_access, 0, { 0 } },
	{ "stat", 14, NULL, make_mode, run_stat, 0, { 0 } },
	{ .name = NULL },
};
