/*
 * plyfs-snapshot UPPER LAYER: makes the upper of an unmounted stack a layer of its own. Everything is kept
 * but what ties an upper to one stack, so that the copy can lie in any number of stacks, at any height.
 * The upper itself is not changed, and nobody can mount it meanwhile. The layer appears whole, by one
 * rename, or not at all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "common/busy.h"
#include "common/cli.h"
#include "common/interrupt.h"
#include "common/links.h"
#include "common/lost.h"
#include "common/staging.h"
#include "common/walk.h"
#include "layer/copy.h"
#include "layer/marks.h"
#include "layer/xattr.h"

#define READLINK_MAX 4096
#define OWNER "the owner"

static const char usage[] = "[-n] [-q] [-v] [-j] UPPER LAYER";
static const char text[] =
	"Makes the upper directory of an unmounted stack a layer: a directory of its own that\n"
	"shows the same when it is stacked as a lower. LAYER must not exist, or be empty.\n"
	"Exit status: 0 done, 2 trouble, 3 the upper is in use.\n";

struct snapshot {
	struct ply_cli cli;
	struct ply_layer from, to; /* the upper, and what is being built */
	struct ply_staging staging;
	struct ply_links *links;
	struct ply_lost lost;
	struct ply_progress progress;
	uint64_t files, dirs, whiteouts;
	const char *trouble; /* instead of what an errno says */
	const struct ply_walk_entry *at;
	int is_busy;
	double start;
};

/* ---- attributes ---- */

/* What says something about one stack only, or about the one mount that wrote it. */
static const char *const ties[] = {
	PLY_MARK_ORIGIN,
	PLY_MARK_IMPURE,
	PLY_MARK_NLINK,
	PLY_MARK_UPPER,
	PLY_MARK_UUID,
	PLY_MARK_PROTATTR,
	/* Of a regular file that has its data: without meaning. */
	PLY_MARK_REDIRECT,
};

static int takes_mark(void *arg, const char *attr)
{
	const char *mark = ply_xattr_mark(attr);

	(void)arg;
	for (size_t i = 0; i < sizeof(ties) / sizeof(ties[0]); i++)
		if (!strcmp(mark, ties[i]))
			return 0;
	return 1;
}

static int cannot_keep(void *arg, const char *attr, int err)
{
	struct snapshot *s = arg;
	const char *what = attr ? attr : OWNER;

	if (attr && ply_xattr_is_mark(attr)) {
		s->trouble = "the layer's file system does not hold its overlay marks";
		return err;
	}
	ply_lost_add(&s->lost, what, err,
		     ply_lost_is_known(&s->lost, what) ? NULL
		     : s->at			       ? ply_walk_path(s->at)
						       : strdup("."));
	return 0;
}

static int copy_attrs(struct snapshot *s, int fd, const char *name, const struct statx *stx, int to,
		      const char *to_name)
{
	struct ply_attr_source from = { .layer = &s->from,
					.fd = fd,
					.name = name,
					.takes_mark = takes_mark,
					.cannot_keep = cannot_keep,
					.arg = s };

	return ply_copy_attrs(&from, stx, to, to_name);
}

/* Content that is not here but in a layer below would be missing from a layer that stands alone. */
static int refuse_elsewhere(struct snapshot *s, const struct ply_walk_entry *e)
{
	int is_dir = S_ISDIR(e->stx.stx_mode), found;

	if (!is_dir && !S_ISREG(e->stx.stx_mode))
		return 0;
	found = ply_mark_is_set(&s->from, e->dirfd, e->name,
				is_dir ? PLY_MARK_REDIRECT : PLY_MARK_METACOPY);
	if (found <= 0)
		return found;
	s->trouble =
		is_dir ? "the directory was renamed and its content is in a layer below (redirect); "
			 "such an upper cannot become a layer of its own"
		       : "the file's data is in a layer below (metacopy); "
			 "such an upper cannot become a layer of its own";
	return -EOPNOTSUPP;
}

/* ---- entries ---- */

static int try_source(const struct ply_walk_entry *e)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
	int fd = sys_open(e->dirfd, e->name, flags | O_NOATIME, 0);

	return fd == -EPERM ? sys_open(e->dirfd, e->name, flags, 0) : fd;
}

/*
 * A plain user's own file may forbid its owner to read it, and its attributes too: its mode then has to
 * be put back.
 */
static int open_source(const struct ply_walk_entry *e, int *is_unlocked)
{
	int fd = try_source(e);

	*is_unlocked =
		fd == -EACCES && !sys_chmod(e->dirfd, e->name, (e->stx.stx_mode & 07777) | S_IRUSR);
	return *is_unlocked ? try_source(e) : fd;
}

static int copy_open(struct snapshot *s, const struct ply_walk_entry *e, int in)
{
	int out = sys_open(e->mirror, e->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
			   S_IRUSR | S_IWUSR);
	int err = out < 0 ? out : 0;

	if (!err && e->stx.stx_size)
		err = ply_copy_data(&s->to, in, out, (off_t)e->stx.stx_size, &s->progress.data);
	if (!err)
		err = copy_attrs(s, in, "", &e->stx, out, "");
	if (out >= 0)
		sys_close(out);
	return err;
}

static int copy_regular(struct snapshot *s, const struct ply_walk_entry *e)
{
	int is_unlocked, in = open_source(e, &is_unlocked);
	int err = in < 0 ? in : copy_open(s, e, in);

	if (err)
		ply_interrupt_end();
	if (in >= 0)
		sys_close(in);
	if (is_unlocked)
		sys_chmod(e->dirfd, e->name, e->stx.stx_mode & 07777);
	return err;
}

static int copy_special(struct snapshot *s, const struct ply_walk_entry *e)
{
	char target[READLINK_MAX + 1];
	ssize_t n;
	int err;

	if (S_ISLNK(e->stx.stx_mode)) {
		n = sys_readlink(e->dirfd, e->name, target, READLINK_MAX);
		if (n < 0)
			return (int)n;
		target[n] = '\0';
		err = sys_symlink(target, e->mirror, e->name);
	} else {
		err = sys_mknod(e->mirror, e->name, e->stx.stx_mode & (S_IFMT | S_IRWXU),
				makedev(e->stx.stx_rdev_major, e->stx.stx_rdev_minor));
		if (err == -EPERM)
			s->trouble = "no permission to make a device here";
	}
	/* A whiteout's owner and times mean nothing. */
	if (!err && ply_is_whiteout(&e->stx))
		return 0;
	return err ? err : copy_attrs(s, e->dirfd, e->name, &e->stx, e->mirror, e->name);
}

/* All device whiteouts become names of one inode, whatever they were: they have nothing to tell apart. */
static struct ply_links_key key_of(const struct ply_walk_entry *e)
{
	if (ply_is_whiteout(&e->stx))
		return (struct ply_links_key){ .names = UINT64_MAX };
	return ply_links_key(&e->stx);
}

static int copy_entry(struct snapshot *s, const struct ply_walk_entry *e)
{
	struct ply_links_key key = key_of(e);
	int res = ply_links_take(s->links, &key, e->mirror, e->name);

	if (res)
		return res < 0 ? res : 0;
	res = S_ISREG(e->stx.stx_mode) ? copy_regular(s, e) : copy_special(s, e);
	return res ? res : ply_links_keep(s->links, &key, e->mirror, e->name);
}

static int is_any_whiteout(struct snapshot *s, const struct ply_walk_entry *e)
{
	if (ply_is_whiteout(&e->stx))
		return 1;
	if (ply_is_aufs_name(e->name))
		return ply_aufs_target(e->name) != NULL;
	return S_ISREG(e->stx.stx_mode) && !e->stx.stx_size &&
	       ply_mark_xwhiteout(&s->from, e->dirfd, e->name) == 1;
}

static void say_entry(struct snapshot *s, const struct ply_walk_entry *e, const char *kind)
{
	char *path, *quoted;

	s->progress.entries++;
	if (!s->cli.verbose)
		return;
	path = ply_walk_path(e);
	quoted = ply_quote(path);
	ply_progress_pause();
	fprintf(stderr, "%s %s\n", kind, quoted);
	ply_progress_resume();
	free(quoted);
	free(path);
}

static int on_file(void *arg, const struct ply_walk_entry *e)
{
	struct snapshot *s = arg;
	int is_whiteout = is_any_whiteout(s, e);
	int err = refuse_elsewhere(s, e);

	s->at = e;
	if (!err && !s->cli.dry_run)
		err = copy_entry(s, e);
	if (err)
		return err;
	if (s->cli.dry_run && S_ISREG(e->stx.stx_mode)) {
		uint64_t allocated = e->stx.stx_blocks * 512;

		s->progress.data.copied +=
			allocated < e->stx.stx_size ? allocated : e->stx.stx_size;
	}
	s->files += !is_whiteout;
	s->whiteouts += (unsigned)is_whiteout;
	say_entry(s, e, is_whiteout ? "whiteout " : "file     ");
	return 0;
}

static int on_enter(void *arg, const struct ply_walk_entry *e)
{
	struct snapshot *s = arg;
	int err = refuse_elsewhere(s, e);

	if (!err && !s->cli.dry_run)
		err = sys_mkdir(e->mirror, e->name, S_IRWXU);
	if (err)
		return err;
	s->dirs++;
	say_entry(s, e, "directory");
	return 0;
}

static int on_leave(void *arg, const struct ply_walk_entry *e)
{
	struct snapshot *s = arg;

	s->at = e;
	return s->cli.dry_run ? 0 : copy_attrs(s, e->self, "", &e->stx, e->self_mirror, "");
}

/* ---- the whole ---- */

/* Tells of an error; where is a path in the upper, or NULL. */
static void complain(struct snapshot *s, const char *what, const char *path, int err)
{
	char *quoted = ply_quote(path);

	if (err == -EXDEV)
		s->trouble = "something is mounted there, which is not part of the upper";
	else if (err == -ESTALE)
		s->trouble = "it was moved meanwhile";
	if (err == -EINTR)
		ply_tell("interrupted");
	else
		ply_tell("%s %s: %s", what, quoted, s->trouble ? s->trouble : strerror(-err));
	free(quoted);
}

static int open_upper(struct snapshot *s, const char *path)
{
	int err = ply_layer_open(&s->from, path, PLY_LAYER_UPPER);

	if (!err)
		err = ply_lock_upper(s->from.root);
	if (err == -EBUSY) {
		s->trouble = "it is in use: unmount it first";
		s->is_busy = 1;
	}
	if (err)
		complain(s, "cannot open the upper", path, err);
	return err;
}

static int open_target(struct snapshot *s, const char *path)
{
	struct statx upper;
	int err = ply_staging_open(&s->staging, path);

	if (!err)
		err = sys_statx(s->from.root, "", STATX_INO, &upper);
	if (!err && ply_is_below(s->staging.parent, &upper)) {
		s->trouble = "it would lie within the upper";
		err = -EINVAL;
	} else if (!err) {
		struct statx target;

		/* An empty upper may be named twice. */
		if (!sys_statx(s->staging.parent, s->staging.name, STATX_INO, &target) &&
		    target.stx_ino == upper.stx_ino &&
		    target.stx_dev_major == upper.stx_dev_major &&
		    target.stx_dev_minor == upper.stx_dev_minor) {
			s->trouble = "it is the upper itself";
			err = -EINVAL;
		}
	} else if (err == -EEXIST) {
		s->trouble = "it exists, and is not an empty directory";
	}
	if (!err && !s->cli.dry_run)
		err = ply_staging_make(&s->staging);
	if (err)
		complain(s, "cannot make the layer", path, err);
	return err;
}

/* Nobody but a privileged process is shown what is in the trusted space, not even that there is something. */
static void warn_of_trusted(struct snapshot *s)
{
	static const char attr[] = PLY_SPACE_TRUSTED_PREFIX PLY_MARK_UUID;
	int err = sys_setxattr(s->staging.fd, "", attr, "", 0, 0);

	if (!err)
		sys_removexattr(s->staging.fd, "", attr);
	if (err == -EPERM && !s->cli.quiet)
		ply_tell(
			"note: marks in the trusted space, of a mount by root, cannot be seen without privilege "
			"and would be missing from the layer");
}

static int walk(struct snapshot *s)
{
	static const struct ply_walk_ops ops = { .file = on_file,
						 .enter = on_enter,
						 .leave = on_leave };
	struct ply_walk_root root = { .fd = s->from.root, .mirror = s->staging.fd };
	char *where = NULL;
	int err = ply_walk(&root, &ops, s, &where);

	s->at = NULL;
	if (err)
		complain(s, "cannot copy", where, err);
	free(where);
	return err;
}

static int build(struct snapshot *s, const char *layer)
{
	struct statx stx;
	int err = sys_statx(s->from.root, "", STATX_BASIC_STATS, &stx), links_err;

	s->links = ply_links_new(s->staging.fd);
	if (!s->links)
		err = -ENOMEM;
	if (err) {
		complain(s, "cannot make the layer", layer, err);
		return err;
	}
	s->to.root = s->staging.fd;
	warn_of_trusted(s);
	err = walk(s);
	if (err)
		return err;
	links_err = ply_links_free(s->links);
	s->links = NULL;
	err = links_err ? links_err : copy_attrs(s, s->from.root, "", &stx, s->staging.fd, "");
	s->progress.what = "writing to disk";
	if (!err)
		err = ply_staging_publish(&s->staging);
	if (err == -EEXIST)
		s->trouble = "somebody else made it meanwhile";
	if (err)
		complain(s, "cannot make the layer", layer, err);
	return err;
}

static void summary(const struct snapshot *s)
{
	unsigned long long files = s->files, dirs = s->dirs, whiteouts = s->whiteouts;
	unsigned long long copied = s->progress.data.copied, shared = s->progress.data.shared;
	double seconds = ply_now() - s->start;

	if (s->cli.json)
		printf("{\"bytes_copied\":%llu,\"bytes_shared\":%llu,\"directories\":%llu,\"dry_run\":%s,"
		       "\"files\":%llu,\"not_kept\":%llu,\"seconds\":%.3f,\"type\":\"summary\","
		       "\"whiteouts\":%llu}\n",
		       copied, shared, dirs, s->cli.dry_run ? "true" : "false", files,
		       (unsigned long long)s->lost.count, seconds, whiteouts);
	else if (!s->cli.quiet)
		printf("%s%llu files, %llu directories, %llu whiteouts; %s %s, %s shared; %.1f s\n",
		       s->cli.dry_run ? "would be: " : "", files, dirs, whiteouts,
		       ply_amount(copied).text, s->cli.dry_run ? "at most" : "copied",
		       ply_amount(shared).text, seconds);
}

int main(int argc, char **argv)
{
	struct snapshot s = { .from.root = -1,
			      .to.root = -1,
			      .staging = { .parent = -1, .fd = -1 } };
	char **paths = ply_cli_parse(&s.cli, argc, argv, 2, usage, text);
	int err;

	s.start = ply_now();
	ply_interrupt_start();
	err = open_upper(&s, paths[0]);
	if (!err)
		err = open_target(&s, paths[1]);
	if (!err) {
		s.progress.what = s.cli.dry_run ? "counting" : "copying";
		ply_progress_start(&s.progress, s.cli.progress);
		err = s.cli.dry_run ? walk(&s) : build(&s, paths[1]);
		ply_progress_end();
	}
	ply_interrupt_end();
	if (!err) {
		if (!s.cli.quiet)
			ply_lost_tell(&s.lost);
		summary(&s);
	}
	ply_links_free(s.links);
	ply_staging_close(&s.staging);
	ply_layer_close(&s.from);
	ply_lost_free(&s.lost);
	if (err)
		ply_interrupt_die();
	if (!err)
		return PLY_EXIT_OK;
	return s.is_busy ? PLY_EXIT_BUSY : PLY_EXIT_TROUBLE;
}
