/*
 * The guard: a process that survives this one. It owns no state but a shared page. A call that hangs in a dead or
 * deadlocked FUSE server can only be ended by aborting the connection, and nobody but another process can do that.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plydiff.h"

struct shared {
	atomic_uint beats, fired;
	atomic_bool keep;
};

static struct shared *shared;
static pid_t guard;
static int pipe_end = -1;
static char *guarded;

/* ---- mounts below a directory ---- */

static void abort_connection(unsigned minor)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", minor);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, NULL);
		fd = open(path, O_WRONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		fprintf(stderr, "plydiff: cannot abort FUSE connection %u\n", minor);
	close(fd);
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

void pd_clean_mounts(const char *dir, bool unmount)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *points[64];
	size_t cap = 0, count = 0;

	while (f && getline(&line, &cap, f) > 0 && count < PD_COUNT(points)) {
		char point[4096], *type = strstr(line, " - ");
		unsigned minor;

		if (!type || sscanf(line, "%*d %*d %*u:%u %*s %4095s", &minor, point) != 2 ||
		    !is_below(point, dir))
			continue;
		if (strncmp(type + 3, "fuse", 4) == 0)
			abort_connection(minor);
		points[count++] = pd_copy_string(point);
	}
	if (f)
		fclose(f);
	free(line);
	while (count--) {
		if (unmount && umount2(points[count], MNT_DETACH) != 0)
			fprintf(stderr, "plydiff: umount %s: %s\n", points[count], strerror(errno));
		free(points[count]);
	}
}

static void remove_dir(const char *dir)
{
	int err = pd_remove_tree(AT_FDCWD, dir);

	if (err && err != -ENOENT)
		fprintf(stderr, "plydiff: removing %s: %s\n", dir, strerror(-err));
}

/* ---- the process ---- */

static void watch(int from_parent, int limit, pid_t parent)
{
	unsigned last = atomic_load(&shared->beats), silent = 0;

	for (;;) {
		struct pollfd p = { .fd = from_parent, .events = POLLIN };

		if (poll(&p, 1, 1000) > 0)
			return;
		unsigned beats = atomic_load(&shared->beats);

		silent = beats == last ? silent + 1 : 0;
		last = beats;
		if (silent && silent % (unsigned)limit == 0) {
			atomic_fetch_add(&shared->fired, 1);
			pd_clean_mounts(guarded, false);
		}
		if (silent >= 3 * (unsigned)limit) {
			fprintf(stderr, "plydiff: hangs for good, ended by its guard\n");
			kill(parent, SIGKILL);
		}
	}
}

void pd_guard_start(const char *dir, int limit)
{
	int ends[2];
	pid_t parent = getpid();

	guarded = pd_copy_string(dir);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || pipe2(ends, O_CLOEXEC) != 0)
		pd_die("guard: %s", strerror(errno));
	guard = fork();
	if (guard < 0)
		pd_die("guard: %s", strerror(errno));
	if (guard) {
		close(ends[0]);
		pipe_end = ends[1];
		return;
	}
	close(ends[1]);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (chdir("/") != 0)
		_exit(2);
	watch(ends[0], limit, parent);
	pd_clean_mounts(dir, true);
	if (!atomic_load(&shared->keep))
		remove_dir(dir);
	_exit(0);
}

void pd_guard_keep(bool keep)
{
	atomic_store(&shared->keep, keep);
}

void pd_guard_beat(void)
{
	atomic_fetch_add(&shared->beats, 1);
}

bool pd_guard_fired(void)
{
	return atomic_exchange(&shared->fired, 0) != 0;
}

pid_t pd_guard_pid(void)
{
	return guard;
}

void pd_guard_stop(void)
{
	close(pipe_end);
	while (waitpid(guard, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(shared, sizeof(*shared));
	free(guarded);
}
