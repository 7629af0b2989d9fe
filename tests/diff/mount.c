/*
 * The systems: mounting, unmounting, and being sure that a server has ended before its directories are used
 * again. Servers that went to the background become children of this process (it is a subreaper).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plydiff.h"

enum { MOUNT_SECONDS = 30, END_SECONDS = 120 };

/* ---- processes ---- */

/* Waits for a child; -1 when it takes too long. */
static int wait_child(pid_t pid, int *status, double seconds)
{
	double end = pd_now() + seconds;
	useconds_t nap = 200;

	for (;;) {
		pid_t got = waitpid(pid, status, WNOHANG);

		if (got == pid)
			return 0;
		if (got < 0 && errno != EINTR)
			return -1;
		if (pd_now() > end)
			return -1;
		pd_guard_beat();
		usleep(nap);
		nap = nap < 5000 ? nap * 2 : nap;
	}
}

static void say_status(struct pd_text *out, int status)
{
	if (WIFSIGNALED(status))
		pd_add(out, "died of signal %d (%s)", WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	else
		pd_add(out, "ended with status %d", WEXITSTATUS(status));
}

/* A child that is not the guard, 0 if there is none: there is one server at a time. */
static pid_t find_server(void)
{
	FILE *f = fopen("/proc/thread-self/children", "re");
	pid_t found = 0;
	char word[16];

	while (f && fscanf(f, "%15s", word) == 1) {
		pid_t pid = (pid_t)strtol(word, NULL, 10);

		if (pid != pd_guard_pid())
			found = pid;
	}
	if (f)
		fclose(f);
	return found;
}

static void add_log(struct pd_text *out, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[512];

	for (int i = 0; f && i < 20 && fgets(line, sizeof(line), f); i++)
		pd_add(out, "  %s", line);
	if (f)
		fclose(f);
}

/* ---- mounting ---- */

/* Topmost first: the system's former uppers, then what all have in common. */
static void add_lowers(struct pd_text *t, const struct pd_sys *sys, const struct pd_stack *stack,
		       const char *prefix)
{
	for (unsigned i = sys->former; i > 0; i--)
		pd_add(t, "%s.%u:", sys->upper, i);
	for (int i = 0; i < stack->lowers; i++)
		pd_add(t, "%s%slow/%d", i ? ":" : "", prefix, i);
}

static int run_program(const struct pd_sys *sys, const char *options, const char *log,
		       struct pd_text *why)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		int in = open("/dev/null", O_RDONLY | O_CLOEXEC), out;

		out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
			_exit(127);
		execlp(sys->program, sys->program, "-o", options, sys->root, (char *)NULL);
		fprintf(stderr, "%s: %s\n", sys->program, strerror(errno));
		_exit(127);
	}
	if (pid < 0 || wait_child(pid, &status, MOUNT_SECONDS) != 0) {
		pd_add(why, "mount: %s does not go to the background\n", sys->program);
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
		}
		return -1;
	}
	if (status == 0)
		return 0;
	pd_add(why, "mount: %s ", sys->program);
	say_status(why, status);
	pd_add(why, "\n");
	add_log(why, log);
	return -1;
}

static int mount_program(struct pd_sys *sys, const struct pd_stack *stack, struct pd_text *why)
{
	char *prefix = pd_format("%s/", stack->dir), *log = pd_format("%s/mount.log", stack->dir);
	struct pd_text options = { 0 };
	int rc;

	pd_add(&options, "lowerdir=");
	add_lowers(&options, sys, stack, prefix);
	pd_add(&options, ",upperdir=%s,workdir=%s", sys->upper, sys->work);
	if (sys->options)
		pd_add(&options, ",%s", sys->options);
	rc = run_program(sys, options.s, log, why);
	if (rc == 0)
		sys->server = find_server();
	pd_free(&options);
	free(prefix);
	free(log);
	return rc;
}

/* Relative names keep a hundred layers within the page that mount(2) takes. */
static int mount_overlay(const struct pd_stack *stack, const char *root, const char *options,
			 unsigned long flags, struct pd_text *why)
{
	int rc;

	if (chdir(stack->dir) != 0)
		pd_die("chdir %s: %s", stack->dir, strerror(errno));
	rc = mount("overlay", root, "overlay", flags, options);
	if (rc != 0)
		pd_add(why, "mount: overlay -o %s: %s\n", options, strerror(errno));
	if (chdir("/") != 0)
		pd_die("chdir /: %s", strerror(errno));
	return rc;
}

static int mount_kernel(struct pd_sys *sys, const struct pd_stack *stack, struct pd_text *why)
{
	struct pd_text options = { 0 };
	int rc;

	pd_add(&options, "lowerdir=");
	add_lowers(&options, sys, stack, "");
	/* volatile: no fsync for each copy-up, which would be most of the time spent here. */
	pd_add(&options, ",upperdir=%s,workdir=%s,volatile", sys->upper, sys->work);
	if (sys->options)
		pd_add(&options, ",%s", sys->options);
	rc = mount_overlay(stack, sys->root, options.s, 0, why);
	pd_free(&options);
	return rc;
}

int pd_reader_mount(const struct pd_sys *sys, const struct pd_stack *stack, const char *options,
		    const char *where, struct pd_text *why)
{
	struct pd_text all = { 0 };
	int rc;

	pd_add(&all, "lowerdir=%s:", sys->upper);
	add_lowers(&all, sys, stack, "");
	if (options && *options)
		pd_add(&all, ",%s", options);
	rc = mount_overlay(stack, where, all.s, MS_RDONLY, why);
	pd_free(&all);
	return rc;
}

int pd_sys_mount(struct pd_sys *sys, const struct pd_stack *stack, struct pd_text *why)
{
	int rc = 0;

	for (int i = 0; i < PD_SLOTS; i++)
		sys->fd[i] = -1;
	if (sys->kind == PD_PROGRAM)
		rc = mount_program(sys, stack, why);
	else if (sys->kind == PD_OVERLAY)
		rc = mount_kernel(sys, stack, why);
	if (rc != 0)
		return rc;
	sys->rootfd = open(sys->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sys->rootfd < 0) {
		pd_add(why, "mount: opening %s: %s\n", sys->root, strerror(errno));
		return -1;
	}
	return 0;
}

/* ---- unmounting ---- */

void pd_sys_close_slots(struct pd_sys *sys)
{
	for (int i = 0; i < PD_SLOTS; i++) {
		if (sys->fd[i] >= 0)
			close(sys->fd[i]);
		sys->fd[i] = -1;
	}
}

static void close_all(struct pd_sys *sys)
{
	pd_sys_close_slots(sys);
	if (sys->rootfd >= 0)
		close(sys->rootfd);
	sys->rootfd = -1;
}

static int unmount_busy(const char *root)
{
	double end = pd_now() + 5;

	while (umount2(root, 0) != 0) {
		if (errno != EBUSY || pd_now() > end)
			return -1;
		usleep(10000);
	}
	return 0;
}

/* The kernel lets a volatile upper be mounted again only without its mark. */
static void remove_volatile_mark(const struct pd_sys *sys)
{
	int fd = open(sys->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	pd_remove_tree(fd, "work/incompat");
	close(fd);
}

int pd_sys_unmount(struct pd_sys *sys, struct pd_text *why)
{
	int status = 0;

	close_all(sys);
	if (sys->kind == PD_PLAIN)
		return 0;
	if (unmount_busy(sys->root) != 0) {
		pd_add(why, "umount: %s: %s\n", sys->name, strerror(errno));
		return -1;
	}
	if (sys->kind == PD_OVERLAY)
		remove_volatile_mark(sys);
	if (!sys->server)
		return 0;
	if (wait_child(sys->server, &status, END_SECONDS) != 0) {
		pd_add(why, "umount: the server of %s goes on running\n", sys->name);
		return -1;
	}
	sys->server = 0;
	if (status) {
		pd_add(why, "umount: the server of %s ", sys->name);
		say_status(why, status);
		pd_add(why, "\n");
		return -1;
	}
	return 0;
}

bool pd_sys_alive(struct pd_sys *sys, struct pd_text *how)
{
	int status;

	/* A server that has just died may still be on its way out. */
	if (!sys->server || wait_child(sys->server, &status, 0.2) != 0)
		return true;
	sys->server = 0;
	pd_add(how, "the server of %s ", sys->name);
	say_status(how, status);
	pd_add(how, "\n");
	return false;
}

void pd_sys_abort(struct pd_sys *sys)
{
	int status;

	if (sys->kind == PD_PLAIN) {
		close_all(sys);
		return;
	}
	/* Before the descriptors: closing one may wait for a server that no longer answers. */
	if (sys->kind == PD_PROGRAM)
		pd_abort_mounts(sys->root);
	close_all(sys);
	pd_clean_mounts(sys->root);
	if (sys->kind == PD_OVERLAY)
		remove_volatile_mark(sys);
	/* Whatever else the program left running goes too. */
	for (pid_t pid = sys->server; pid || (pid = find_server()); pid = 0) {
		if (wait_child(pid, &status, 5) != 0) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
		}
	}
	sys->server = 0;
}

/* ---- an upper becomes a layer ---- */

static void must(int rc, const char *what, const char *path)
{
	if (rc < 0)
		pd_die("%s %s: %s", what, path, strerror(rc == -1 ? errno : -rc));
}

void pd_sys_stack(struct pd_sys *sys)
{
	char *layer = pd_format("%s.%u", sys->upper, ++sys->former);

	must(rename(sys->upper, layer), "rename", sys->upper);
	must(pd_remove_tree(AT_FDCWD, sys->work), "remove", sys->work);
	must(mkdir(sys->work, 0755), "mkdir", sys->work);
	must(mkdir(sys->upper, 0755), "mkdir", sys->upper);
	must(pd_copy_attrs(AT_FDCWD, layer, AT_FDCWD, sys->upper, 0), "attributes of", layer);
	pd_inos_forget(&sys->inos);
	free(layer);
}
