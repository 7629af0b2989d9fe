/*
 * Signals, which are read from a descriptor by the loop's watchdog: SIGUSR1 prints the counters;
 * SIGTERM, SIGINT and SIGHUP unmount. Unmounting writes back what the kernel holds, which the loop
 * must serve: so it has a thread of its own. A mount in use is flushed and detached, and its users
 * get a moment to leave; a second signal waits for nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "wire/session.h"
#include "base/sysfuse.h"

#define GRACE_SECONDS 3

static int run_fusermount(const char *mountpoint, int flags)
{
	char program[] = "fusermount3", how[] = "-uq", lazily[] = "-uqz", end[] = "--";
	char path[PATH_MAX];
	char *argv[] = { program, flags & MNT_DETACH ? lazily : how, end, path, NULL };
	pid_t pid;
	int status;

	snprintf(path, sizeof(path), "%s", mountpoint);
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		return -ENOENT;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? -EBUSY : 0;
}

/* Is what is mounted there ours, and not something on top of it? */
static int is_ours(const struct ply_wire *w)
{
	unsigned major, minor;

	return w->minor >= 0 && !sys_mounted_device(w->cfg.mountpoint, &major, &minor) && !major &&
	       (int)minor == w->minor;
}

static int unmount(const struct ply_wire *w, int flags)
{
	int err;

	if (!is_ours(w))
		return -ENOENT;
	err = sys_umount(w->cfg.mountpoint, flags);
	if (err == -EPERM)
		err = run_fusermount(w->cfg.mountpoint, flags);
	return err;
}

/*
 * libfuse unmounts what is on top at the mountpoint, unless the device says (POLLERR) that its mount has gone. Where that is
 * somebody else's, as ours was detached in use, or is mounted over, the device's place is taken by what always says so.
 */
void ply_signals_spare_others(const struct ply_wire *w)
{
	struct pollfd device = { .fd = w->fd };
	int ends[2];

	if (w->minor < 0 || (poll(&device, 1, 0) == 1 && device.revents & POLLERR) || is_ours(w) ||
	    pipe2(ends, O_CLOEXEC) < 0)
		return;
	sys_close(ends[0]);
	sys_dup2(ends[1], w->fd);
	sys_close(ends[1]);
}

static void flush(const struct ply_wire *w)
{
	int fd = sys_open(AT_FDCWD, w->cfg.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		return;
	sys_syncfs(fd);
	sys_close(fd);
}

static int wait_for_end(struct ply_wire *w)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += GRACE_SECONDS;
	while (sem_timedwait(&w->over, &until) < 0)
		if (errno == ETIMEDOUT)
			return 0;
	return 1;
}

static void *unmounter(void *arg)
{
	struct ply_wire *w = arg;
	int err = unmount(w, 0);

	if (err == -EBUSY) {
		flush(w);
		err = unmount(w, MNT_DETACH);
	}
	if (err || !wait_for_end(w))
		ply_session_abort(w);
	return NULL;
}

static void end(struct ply_wire *w)
{
	/* What the kernel writes back is not to be held. */
	ply_gate_thaw_soon(&w->gate);
	if (!w->unmounting && !pthread_create(&w->unmounter, NULL, unmounter, w))
		w->unmounting = 1;
	else
		ply_session_abort(w);
}

void ply_signals_woken(void *arg)
{
	struct ply_wire *w = arg;
	struct signalfd_siginfo info;

	if (sys_read(w->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		ply_wire_print_counters(w);
	else
		end(w);
}

int ply_signals_open(struct ply_wire *w)
{
	sigset_t set;

	/* A limit of the server's own to the size of files is an error to who writes (EFBIG), not its end. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return w->signal_fd < 0 ? -errno : 0;
}

void ply_signals_close(struct ply_wire *w)
{
	if (w->unmounting)
		pthread_join(w->unmounter, NULL);
	if (w->signal_fd >= 0)
		sys_close(w->signal_fd);
}
