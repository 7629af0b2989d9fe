/* Locks, sockets, fifos, and the steps that belong to the run itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "plydiff.h"

PD_MAKE_PICK(make_file, PD_FILES)
PD_MAKE_PICK(make_special, PD_SPECIALS)

static void make_new(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_new(m);
}

/* ---- locks ---- */

static void run_flock(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int a = pd_tell_fd(o, "a", pd_open(s->p, O_RDONLY, 0));
	int b = pd_tell_fd(o, "b", pd_open(s->p, O_RDWR, 0));

	(void)sys;
	if (a >= 0 && b >= 0) {
		pd_tell(o, "lock-a", flock(a, LOCK_EX | LOCK_NB));
		pd_tell(o, "write", write(b, "locked", 6));
		pd_tell(o, "lock-b", flock(b, LOCK_SH | LOCK_NB));
		pd_tell(o, "unlock-a", flock(a, LOCK_UN));
		pd_tell(o, "again-b", flock(b, LOCK_SH | LOCK_NB));
	}
	if (a >= 0)
		close(a);
	if (b >= 0)
		close(b);
}

static void run_range_lock(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct flock write_lock = { .l_type = F_WRLCK, .l_start = 10, .l_len = 10 };
	struct flock ask = { .l_type = F_WRLCK, .l_start = 15, .l_len = 100 };
	int a = pd_tell_fd(o, "a", pd_open(s->p, O_RDWR, 0));
	int b = pd_tell_fd(o, "b", pd_open(s->p, O_RDWR, 0));

	(void)sys;
	if (a >= 0 && b >= 0) {
		pd_tell(o, "lock-a", fcntl(a, F_OFD_SETLK, &write_lock));
		pd_tell(o, "lock-b", fcntl(b, F_OFD_SETLK, &ask));
		if (pd_tell(o, "ask-b", fcntl(b, F_OFD_GETLK, &ask)) == 0)
			pd_note(o, "held", "%d %lld+%lld", ask.l_type, (long long)ask.l_start,
				(long long)ask.l_len);
	}
	if (a >= 0)
		close(a);
	if (b >= 0)
		close(b);
}

/* ---- sockets and fifos ---- */

static void run_socket(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int a = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int b = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)sys;
	if (strlen(s->p) < sizeof(name.sun_path)) {
		strcpy(name.sun_path, s->p);
		if (pd_tell(o, "bind", bind(a, (struct sockaddr *)&name, sizeof(name))) == 0) {
			pd_tell(o, "listen", listen(a, 1));
			pd_tell(o, "connect", connect(b, (struct sockaddr *)&name, sizeof(name)));
		}
	}
	close(a);
	close(b);
}

static void run_fifo(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char buf[8] = "";
	int fd;

	(void)sys;
	if (pd_tell(o, "mkfifo", mkfifo(s->p, 0640)) != 0)
		return;
	fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDWR, 0));
	if (fd < 0)
		return;
	pd_tell(o, "write", write(fd, "pipe", 4));
	pd_tell(o, "read", read(fd, buf, sizeof(buf)));
	pd_note(o, "data", "%s", buf);
	pd_tell(o, "seek", lseek(fd, 0, SEEK_SET));
	close(fd);
}

static void run_special(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct timespec times[2] = { { .tv_sec = 77 }, { .tv_sec = 77, .tv_nsec = 7 } };
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY, 0));

	(void)sys;
	if (fd >= 0)
		close(fd);
	pd_tell(o, "chmod", chmod(s->p, 0644));
	pd_tell(o, "lchown", lchown(s->p, 2000, 1000));
	pd_tell(o, "utimens", utimensat(AT_FDCWD, s->p, times, AT_SYMLINK_NOFOLLOW));
	pd_tell(o, "truncate", pd_truncate(s->p, 0));
}

const struct pd_op pd_ops_odd[] = {
	{ "flock", 8, NULL, make_file, run_flock, 0, { 0 } },
	{ "range_lock", 6, NULL, make_file, run_range_lock, 0, { 0 } },
	{ "socket", 6, NULL, make_new, run_socket, 0, { 0 } },
	{ "fifo", 6, NULL, make_new, run_fifo, 0, { 0 } },
	{ "special", 12, NULL, make_special, run_special, 0, { 0 } },
	{ .name = NULL },
};

/* ---- of the run itself, which does them: see run.c ---- */

static void make_remount(struct pd_maker *m, struct pd_step *s)
{
	s->n[0] = pd_chance(&m->rng, 50);
	s->n[1] = pd_chance(&m->rng, 40);
}

const struct pd_op pd_ops_meta[] = {
	{ "check", 0, NULL, NULL, NULL, PD_OP_META, { 0 } },
	{ "remount", 5, "calm swap", make_remount, NULL, PD_OP_META, { 0 } },
	{ "pause", 8, NULL, NULL, NULL, PD_OP_META, { 0 } },
	{ "drop_caches", 1, NULL, NULL, NULL, PD_OP_META, { 0 } },
	{ .name = NULL },
};
