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

static void abort_connection(const char *minor)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%s/abort", minor);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, NULL);
		fd = open(path, O_WRONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		fprintf(stderr, "plydiff: cannot abort FUSE connection %s\n", minor);
	close(fd);
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The mount points below dir, in the order in which they were made; aborts those of FUSE. */
static struct pd_names abort_below(const char *dir)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct pd_names points = { 0 };
	size_t cap = 0;
	char *line = NULL;

	while (f && getline(&line, &cap, f) > 0) {
		char point[4096], minor[16], *type = strstr(line, " - ");

		if (!type || sscanf(line, "%*s %*s %*[0-9]:%15s %*s %4095s", minor, point) != 2 ||
		    !is_below(point, dir))
			continue;
		if (strncmp(type + 3, "fuse", 4) == 0)
			abort_connection(minor);
		points.name = pd_grow(points.name, (points.count + 1) * sizeof(char *));
		points.name[points.count++] = pd_copy_string(point);
	}
	if (f)
		fclose(f);
	free(line);
	return points;
}

void pd_abort_mounts(const char *dir)
{
	struct pd_names points = abort_below(dir);

	pd_names_free(&points);
}

void pd_clean_mounts(const char *dir)
{
	struct pd_names points = abort_below(dir);

	for (size_t i = points.count; i-- > 0;) {
		if (umount2(points.name[i], MNT_DETACH) != 0)
			fprintf(stderr, "plydiff: umount %s: %s\n", points.name[i],
				strerror(errno));
	}
	pd_names_free(&points);
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
			pd_abort_mounts(guarded);
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
	/* cppcheck-suppress invalidFunctionArg */
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
	pd_clean_mounts(dir);
	if (!atomic_load(&shared->keep))
		remove_dir(dir);
	_exit(0);
}

void pd_guard_keep(void)
{
	atomic_store(&shared->keep, true);
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
