/* Opening and creating: every flag that decides what open(2) does. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plydiff.h"

static void write_some(struct pd_outcome *o, int fd, long long len, long long fill)
{
	uint8_t *buf = pd_alloc((size_t)len);

	pd_fill(buf, (size_t)len, fill);
	pd_tell(o, "write", write(fd, buf, (size_t)len));
	free(buf);
}

/* ---- create ---- */

static void make_create(struct pd_maker *m, struct pd_step *s)
{
	static const int flags[] = {
		O_WRONLY,
		O_RDWR | O_EXCL,
		O_WRONLY | O_TRUNC,
		O_RDWR | O_APPEND,
		O_WRONLY | O_EXCL,
		O_RDONLY,
		O_WRONLY | O_NOFOLLOW,
		O_WRONLY | O_EXCL,
		O_RDWR | O_DIRECTORY,
	};

	s->p = pd_chance(&m->rng, 60) ? pd_pick_new(m) : pd_pick_any(m);
	s->n[0] = flags[pd_below(&m->rng, PD_COUNT(flags))];
	s->n[1] = pd_pick_mode(m);
	s->n[2] = pd_pick_length(m);
	s->n[3] = pd_below(&m->rng, 250);
}

static void run_create(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, (int)s->n[0] | O_CREAT, (mode_t)s->n[1]));

	(void)sys;
	if (fd < 0)
		return;
	write_some(o, fd, s->n[2], s->n[3]);
	pd_note_stat(o, "fstat", fd);
	pd_tell(o, "close", close(fd));
}

/* ---- open of what exists or not ---- */

static void make_open(struct pd_maker *m, struct pd_step *s)
{
	static const int flags[] = {
		O_RDONLY,
		O_WRONLY,
		O_RDWR,
		O_RDONLY | O_DIRECTORY,
		O_RDWR | O_DIRECTORY,
		O_RDONLY | O_NOFOLLOW,
		O_RDWR | O_NOFOLLOW,
		O_WRONLY | O_TRUNC,
		O_RDONLY | O_TRUNC,
		O_WRONLY | O_APPEND,
		O_DIRECTORY | O_NOFOLLOW,
	};

	s->p = pd_pick_any(m);
	s->n[0] = flags[pd_below(&m->rng, PD_COUNT(flags))];
}

static void run_open(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, (int)s->n[0], 0));
	char c;

	(void)sys;
	if (fd < 0)
		return;
	pd_note_stat(o, "fstat", fd);
	pd_tell(o, "read", read(fd, &c, 1));
	pd_tell(o, "close", close(fd));
}

/* A slash at the end asks for a directory. */
static void make_slash(struct pd_maker *m, struct pd_step *s)
{
	make_open(m, s);
	if (pd_chance(&m->rng, 30))
		s->n[0] |= O_CREAT;
}

static void run_slash(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *path = pd_format("%s/", s->p);
	int fd = pd_tell_fd(o, "open", pd_open(path, (int)s->n[0], 0644));
	struct stat st;

	(void)sys;
	if (fd >= 0)
		close(fd);
	pd_tell(o, "stat", stat(path, &st));
	pd_tell(o, "lstat", lstat(path, &st));
	free(path);
}

/* ---- O_TMPFILE ---- */

static void make_tmpfile(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->q = pd_pick_new(m);
	s->n[0] = pd_chance(&m->rng, 15) ? O_RDWR | O_EXCL : O_RDWR;
	s->n[1] = pd_pick_mode(m);
	s->n[2] = pd_pick_length(m);
	s->n[3] = pd_below(&m->rng, 250);
}

static void run_tmpfile(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_TMPFILE | (int)s->n[0], (mode_t)s->n[1]));
	char path[64];

	(void)sys;
	if (fd < 0)
		return;
	write_some(o, fd, s->n[2], s->n[3]);
	pd_note_stat(o, "fstat", fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	pd_tell(o, "linkat", linkat(AT_FDCWD, path, AT_FDCWD, s->q, AT_SYMLINK_FOLLOW));
	pd_note_stat(o, "fstat2", fd);
	pd_tell(o, "close", close(fd));
}

/* ---- O_PATH ---- */

PD_MAKE_PICK(make_opath, PD_FILES)

static void run_opath(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_PATH | O_NOFOLLOW, 0));
	char path[64], c;

	(void)sys;
	if (fd < 0)
		return;
	pd_note_stat(o, "fstat", fd);
	pd_tell(o, "read", read(fd, &c, 1));
	pd_tell(o, "fchmod", fchmod(fd, 0600));
	pd_tell(o, "readlinkat", readlinkat(fd, "", path, sizeof(path)));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = pd_tell_fd(o, "reopen", pd_open(path, O_RDONLY, 0));

	if (again >= 0)
		close(again);
	pd_tell(o, "chmod", chmod(path, 0640));
	close(fd);
}

/* ---- scripts, and running what is there ---- */

static void make_script(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_chance(&m->rng, 50) ? pd_pick_new(m) : pd_pick(m, PD_FILES);
	s->n[0] = pd_chance(&m->rng, 80) ? 0755 : pd_pick_mode(m);
	s->n[1] = pd_below(&m->rng, 100);
}

static void run_script(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "write", dprintf(fd, "#!/bin/sh\nexit %lld\n", s->n[1]));
	pd_tell(o, "fchmod", fchmod(fd, (mode_t)s->n[0]));
	pd_tell(o, "close", close(fd));
}

static void make_exec(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_FILES);
	s->n[0] = pd_chance(&m->rng, 20);
}

static int run_program(const char *path, int *status)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execle(path, path, (char *)NULL, (char *[]){ NULL });
		_exit(errno == ENOEXEC ? 126 : 127);
	}
	return pid < 0 || waitpid(pid, status, 0) != pid ? -1 : 0;
}

static void run_exec(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = s->n[0] ? pd_open(s->p, O_WRONLY, 0) : -1, status = 0;

	(void)sys;
	pd_note_holds(o, "held", fd >= 0);
	pd_tell(o, "access", faccessat(AT_FDCWD, s->p, X_OK, AT_EACCESS));
	if (run_program(s->p, &status) == 0)
		pd_note(o, "status", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	if (fd >= 0)
		close(fd);
}

const struct pd_op pd_ops_open[] = {
	{ "create", 60, "open mode len fill", make_create, run_create, 0, { 0 } },
	{ "open", 30, "open", make_open, run_open, 0, { 0 } },
	{ "open_slash", 6, "open", make_slash, run_slash, 0, { 0 } },
	{ "tmpfile", 14, "open mode len fill", make_tmpfile, run_tmpfile, 0, { 0 } },
	{ "opath", 10, NULL, make_opath, run_opath, 0, { 0 } },
	{ "script", 8, "mode exit", make_script, run_script, 0, { 0 } },
	{ "exec", 12, "held", make_exec, run_exec, 0, { 0 } },
	{ .name = NULL },
};
