/*
 * The program: reads its command line, opens the union, mounts it, and goes to the background when
 * the mount answers. Until then what goes wrong is said on stderr, and the exit status is 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "layer/format.h"
#include "options.h"
#include "base/sysfuse.h"
#include "wire/wire.h"

#define BUSY_TRIES 50 /* a server that was just unmounted may still be cleaning up */
#define BUSY_WAIT_MS 50
#define KEEP_MAX 1000000 /* seconds */

struct program {
	struct ply_options opts;
	char mountpoint[PATH_MAX];
	char *mount_options;
	struct ply_union *u;
	struct ply_wire *w;
	int stats_fd;
	int parent; /* a pipe to who waits for the mount to answer; -1 in the foreground */
};

/* The version of fuse-overlayfs whose options it has, for callers that ask for a newer one than some. */
#define FORERUNNER_VERSION "1.16"

static void print_version(const char *argv0)
{
	const char *name = ply_options_program(argv0);

	/* libfuse starts a program for the last line, which must not come first. */
	setlinebuf(stdout);
	if (strcmp(name, "plyfs"))
		printf("%s: version %s\n", name, FORERUNNER_VERSION);
	printf("plyfs: version %s\n", PLY_VERSION);
	printf("FUSE library version %s\n", fuse_pkgversion());
	fuse_lowlevel_version();
}

#define FUSE_FD "/dev/fd/"

static int is_fuse_fd(const char *mountpoint)
{
	return !strncmp(mountpoint, FUSE_FD, strlen(FUSE_FD));
}

/*
 * Who stays for long must not hold what it does not know: the pipe or the lock of another program.
 */
static void close_strangers(const char *mountpoint)
{
	long keep = -1;

	if (is_fuse_fd(mountpoint))
		keep = strtol(mountpoint + strlen(FUSE_FD), NULL, 10);
	sys_close_others((int)keep);
}

/* What libfuse would say of these is less clear, or nothing. */
static int find_mountpoint(struct program *p)
{
	const char *path = p->opts.mountpoint;
	mode_t type = S_IFDIR;
	int err;

	if (is_fuse_fd(path)) {
		snprintf(p->mountpoint, sizeof(p->mountpoint), "%s", path);
		return 0;
	}
	err = sys_realpath(path, p->mountpoint);
	if (!err)
		err = sys_type(p->mountpoint, &type);
	if (!err && type != S_IFDIR)
		err = -ENOTDIR;
	if (err == -ENOTCONN)
		ply_error("mountpoint '%s' is the mount of a server that is gone: unmount it first",
			  path);
	else if (err)
		ply_error("mountpoint '%s': %s", path, strerror(-err));
	return err;
}

static void raise_limits(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	umask(0);
}

/* Is the server that has the upper unmounted, and about to end? */
static int is_settling(const char *work)
{
	int fd = sys_open(AT_FDCWD, work, O_PATH | O_DIRECTORY | O_CLOEXEC, 0), is;

	if (fd < 0)
		return 0;
	is = sys_access(fd, PLY_SETTLING) == 0;
	sys_close(fd);
	return is;
}

static const enum ply_sync sync_of[] = {
	[PLY_FSYNC_OFF] = PLY_SYNC_NOT,
	[PLY_FSYNC_ON] = PLY_SYNC,
	[PLY_FSYNC_VOLATILE] = PLY_SYNC_VOLATILE,
	[PLY_FSYNC_AUTO] = PLY_SYNC,
	[PLY_FSYNC_STRICT] = PLY_SYNC,
};

static int open_union(struct program *p)
{
	const struct ply_options *o = &p->opts;
	struct ply_union_config cfg = {
		.lowers = (const char *const *)o->lowers,
		.nlowers = o->nlowers,
		.ndata = o->ndata,
		.upper = o->upper,
		.work = o->work,
		.mountpoint = is_fuse_fd(p->mountpoint) ? NULL : p->mountpoint,
		.whiteout = (enum ply_whiteout_form)o->whiteout,
		.space = (enum ply_xattr_space)o->space,
		.redirect_dir = (enum ply_redirect_dir)o->redirect_dir,
		.owners = (enum ply_owner_place)o->owners,
		.lax_owners = ply_ids_are_squashed(&o->ids),
		.sync = sync_of[o->fsync],
		.metacopy = o->metacopy,
		.no_index = !o->index,
		.lowers_change = o->timeout < PLY_TIMEOUT_MAX,
		.keep_ms = o->timeout < KEEP_MAX ? (unsigned)(o->timeout * 1000) : KEEP_MAX * 1000,
		.before_long = ply_wire_before_long,
	};
	struct ply_why why;
	int err;

	if (cfg.whiteout == PLY_WHITEOUT_AUTO && getenv("FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT"))
		cfg.whiteout = PLY_WHITEOUT_AUFS;
	err = ply_union_open(&cfg, &p->u, &why);
	for (int i = 0; err == -EBUSY && (i < BUSY_TRIES || is_settling(o->work)); i++) {
		if (i == BUSY_TRIES)
			ply_warn("waiting until an earlier server has brought '%s' up to date",
				 o->upper);
		poll(NULL, 0, BUSY_WAIT_MS);
		err = ply_union_open(&cfg, &p->u, &why);
	}
	if (err)
		ply_error("%s", why.text);
	else
		ply_union_tell_lacks(p->u);
	return err;
}

static unsigned wire_flags(const struct ply_options *o)
{
	int writable = o->upper && !o->readonly, recheck = o->timeout < PLY_TIMEOUT_MAX;
	unsigned flags = 0;

	/* The kernel asks for no size of a file for which it collects writes. */
	if (o->writeback == PLY_WRITEBACK_AUTO ? writable && !recheck : o->writeback)
		flags |= PLY_WIRE_WRITEBACK;
	if (sync_of[o->fsync] == PLY_SYNC)
		flags |= PLY_WIRE_SYNC;
	if (!o->noxattrs)
		flags |= PLY_WIRE_XATTR;
	if (!o->noxattrs && !o->noacl)
		flags |= PLY_WIRE_ACL;
	if (o->allow_root)
		flags |= PLY_WIRE_ALLOW_ROOT;
	if (o->foreground)
		flags |= PLY_WIRE_FOREGROUND;
	if (recheck)
		flags |= PLY_WIRE_RECHECK;
	if (o->static_nlink)
		flags |= PLY_WIRE_STATIC_NLINK;
	if (o->ino32)
		flags |= PLY_WIRE_INO32;
	return flags;
}

static int mount_union(struct program *p)
{
	struct ply_wire_config cfg = {
		.u = p->u,
		.ids = &p->opts.ids,
		.mountpoint = p->mountpoint,
		.timeout = p->opts.timeout,
		.flags = wire_flags(&p->opts),
		.stats_fd = p->stats_fd,
	};
	int err;

	if (!ply_union_has_acls(p->u))
		cfg.flags &= ~(unsigned)PLY_WIRE_ACL;
	p->mount_options =
		ply_options_for_mount(&p->opts, geteuid() ? PLY_PLAIN_USER : PLY_ROOT_USER);
	if (!p->mount_options)
		return -ENOMEM;
	cfg.mount_options = p->mount_options;
	err = ply_wire_open(&cfg, &p->w);
	return err ? err : ply_wire_start(p->w);
}

static int open_stats(struct program *p)
{
	const char *path = getenv("PLYFS_STATS_FILE");

	p->stats_fd = -1;
	if (!path)
		return 0;
	p->stats_fd = sys_open(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (p->stats_fd >= 0)
		return 0;
	ply_error("cannot open PLYFS_STATS_FILE '%s': %s", path, strerror(-p->stats_fd));
	return p->stats_fd;
}

/* ---- the background ---- */

/*
 * The parent's part: its exit status is the outcome. It ends when the child says so, or has died.
 */
static int wait_for_child(pid_t pid, int fd)
{
	char ready;
	ssize_t n;
	int status = 0;

	do {
		n = sys_read(fd, &ready, 1);
	} while (n == -EINTR);
	if (n == 1)
		return 0;
	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		ply_error("the server died of signal %d", WTERMSIG(status));
	return 1;
}

/* Returns in the child; the parent waits here and exits. */
static int go_to_background(struct program *p)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		sys_close(fds[1]);
		_exit(wait_for_child(pid, fds[0]));
	}
	sys_close(fds[0]);
	setsid();
	p->parent = fds[1];
	return 0;
}

/* Lets go of all that belongs to the caller, and then of the caller. */
static int detach(struct program *p)
{
	int null = sys_open(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
	ssize_t n;

	sys_chdir("/");
	if (null >= 0) {
		for (int fd = 0; fd <= 2; fd++)
			sys_dup2(null, fd);
		if (null > 2)
			sys_close(null);
	}
	ply_wire_to_background(p->w);
	n = sys_write(p->parent, "+", 1);
	sys_close(p->parent);
	/* Who asked for the mount has gone, and believes that there is none. */
	return n == 1 ? 0 : -EPIPE;
}

static int serve(struct program *p)
{
	int err = find_mountpoint(p);

	p->parent = -1;
	if (!err && !p->opts.foreground)
		close_strangers(p->mountpoint);
	if (!err)
		err = open_stats(p);
	if (!err && !p->opts.foreground)
		err = go_to_background(p);
	raise_limits();
	if (!err)
		err = open_union(p);
	if (!err)
		err = mount_union(p);
	if (!err && p->parent >= 0)
		err = detach(p);
	if (!err)
		err = ply_settler_start(p->u);
	if (!err)
		err = ply_wire_run(p->w);
	if (!err && p->opts.debug)
		ply_wire_print_counters(p->w);
	ply_wire_close(p->w);
	ply_settler_stop(p->u);
	ply_union_close(p->u);
	free(p->mount_options);
	if (p->stats_fd >= 0)
		sys_close(p->stats_fd);
	return err;
}

int main(int argc, char *argv[])
{
	struct program p = { .stats_fd = -1 };
	struct ply_why why;
	int err = ply_options_init(&p.opts);

	if (!err) {
		err = ply_options_parse(&p.opts, argc, argv, &why);
		if (err)
			ply_error("%s", why.text);
	}
	if (!err && p.opts.help) {
		ply_options_help(stdout, argc ? argv[0] : "plyfs");
	} else if (!err && p.opts.version) {
		print_version(argc ? argv[0] : "plyfs");
	} else if (!err) {
		if (p.opts.debug)
			ply_log_set_level(PLY_LOG_DEBUG);
		err = serve(&p);
	}
	ply_options_free(&p.opts);
	return err ? 1 : 0;
}
