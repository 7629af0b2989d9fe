/*
 * plyfs-snapshot UPPER LAYER: makes the upper of a stack a layer of its own. Everything is kept but what ties an upper
 * to one stack, so that the copy can lie in any number of stacks, at any height. The layer appears whole, by one rename,
 * or not at all. Of an unmounted stack, which nobody can mount meanwhile; or of a mounted one, whose users are held while
 * it is copied, or (--rotate) while its upper directory changes places with an empty one.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/busy.h"
#include "common/interrupt.h"
#include "common/live.h"
#include "common/lost.h"
#include "common/staging.h"
#include "common/ties.h"
#include "common/treecopy.h"
#include "layer/marks.h"
#include "layer/xattr.h"

#define OWNER "the owner"

#define PAUSE_ROTATE_MS 2000
#define PAUSE_COPY_MS 30000
#define COMMIT_SECONDS 60
#define RETRY_MS 50

enum {
	OPT_ROTATE = 256,
	OPT_KEEP,
	OPT_PAUSE,
	OPT_COMMIT,
};

static const struct ply_own_option own[] = {
	{ 'm', "mount", "MNT", "the mounted stack whose upper it is" },
	{ 'u', "upper", "UPPER", "the upper of a stack that is not mounted" },
	{ OPT_ROTATE, "rotate", NULL, "the upper itself becomes the layer; with -m" },
	{ OPT_KEEP, "keep-redirects", NULL, "let it need the layers below it" },
	{ OPT_PAUSE, "pause-limit", "MS", "hold the mount's users no longer" },
	{ OPT_COMMIT, "commit-timeout", "S", "try for so long, 60 by default" },
	{ 'n', "dry-run", NULL, "change nothing, say what would be done" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[-jnqv] {[-u] UPPER | -m MNT [--rotate]} LAYER",
	.text = "Makes the upper directory of a stack a layer: a directory of its own that shows the same\n"
		"when it is stacked as a lower. LAYER must not exist, or be an empty directory.\n"
		"Exit status: 0 done, 2 trouble, 3 the upper is in use, or was never quiet.\n",
	.own = own,
	.min = 1,
	.max = 2,
	.usage_exit = PLY_EXIT_TROUBLE,
	.takes_no_stack = 1,
};

struct snapshot {
	struct ply_cli cli;
	struct ply_layer from, to; /* the upper, and what is being built */
	struct ply_staging staging;
	struct ply_tree_copy copy;
	struct ply_lost lost;
	struct ply_progress progress;
	uint64_t files, dirs, whiteouts;
	const char *trouble; /* instead of what an errno says */
	const struct ply_walk_entry *at;
	int is_busy;
	int keeps_redirects;
	double start;

	/* Of a mounted stack: */
	struct ply_live live;
	struct ply_live_cut cut;
	double give_up; /* when to try no more */
	double paused;	/* seconds */
	int rotates;
};

/* ---- attributes ---- */

static int takes_mark(void *arg, const char *attr)
{
	const struct snapshot *s = arg;

	return s->keeps_redirects || !ply_is_tie(attr);
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

/* Content that is not here but in a layer below would be missing from a layer that stands alone. */
static int refuse_elsewhere(struct snapshot *s, const struct ply_walk_entry *e)
{
	int is_dir = S_ISDIR(e->stx.stx_mode),
	    found = s->keeps_redirects ? 0 : ply_is_elsewhere(&s->from, e);

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
	/* Words may go to a file of the mount, which waits. */
	if (!s->cli.verbose || s->live.is_frozen)
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
		err = ply_tree_copy_file(&s->copy, e);
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
	return s->cli.dry_run
		       ? 0
		       : ply_tree_copy_attrs(&s->copy, e->self, "", &e->stx, e->self_mirror, "");
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

	/* That of a mount is the server's, which is asked to hold still. */
	if (!err && s->live.fd < 0)
		err = ply_lock_upper(s->from.root);
	if (err == -EBUSY) {
		s->trouble = "it is in use: unmount it first, or name its mount with -m";
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
	if (!err && ply_layer_is_below(s->staging.parent, &upper) > 0) {
		s->trouble = "it would lie within the upper";
		err = -EINVAL;
	} else if (!err) {
		struct statx target;

		/* An empty upper may be named twice. */
		if (!sys_statx(s->staging.parent, s->staging.name, STATX_INO, &target) &&
		    ply_same_inode(&target, &upper)) {
			s->trouble = "it is the upper itself";
			err = -EINVAL;
		}
	} else if (err == -EEXIST) {
		s->trouble = "it exists, and is not an empty directory";
	}
	if (!err && !s->cli.dry_run && !s->rotates)
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
	if (s->copy.trouble)
		s->trouble = s->copy.trouble;
	if (err)
		complain(s, "cannot copy", where, err);
	free(where);
	return err;
}

/* A mount that went on by itself has changed under the copy. */
static int end_pause(struct snapshot *s, double began)
{
	int err;

	if (!s->live.is_frozen)
		return 0;
	err = ply_live_thaw(&s->live);
	s->paused = ply_now() - began;
	if (!err)
		return 0;
	ply_tell("copying took longer than the mount's users may be held (--pause-limit): "
		 "allow more, or use --rotate");
	s->is_busy = 1;
	return -EBUSY;
}

static int start_build(struct snapshot *s, const char *layer, struct statx *root)
{
	int err = sys_statx(s->from.root, "", STATX_BASIC_STATS, root);

	s->copy = (struct ply_tree_copy){ .from = &s->from,
					  .to = &s->to,
					  .links = ply_links_new(s->staging.fd),
					  .done = &s->progress.data,
					  .takes_mark = takes_mark,
					  .cannot_keep = cannot_keep,
					  .arg = s };
	if (!s->copy.links)
		err = -ENOMEM;
	if (err)
		complain(s, "cannot make the layer", layer, err);
	s->to.root = s->staging.fd;
	return err;
}

static int end_build(struct snapshot *s, const char *layer, const struct statx *root)
{
	int err = ply_links_free(s->copy.links);

	s->copy.links = NULL;
	if (!err)
		err = ply_tree_copy_attrs(&s->copy, s->from.root, "", root, s->staging.fd, "");
	s->progress.what = "writing to disk";
	if (!err)
		err = ply_staging_publish(&s->staging);
	if (err == -EEXIST)
		s->trouble = "somebody else made it meanwhile";
	if (err)
		complain(s, "cannot make the layer", layer, err);
	return err;
}

static int build(struct snapshot *s, const char *layer)
{
	double began = ply_now();
	struct statx root;
	int err = start_build(s, layer, &root);

	if (!err)
		err = walk(s);
	if (!err)
		err = end_pause(s, began);
	return err ? err : end_build(s, layer, &root);
}

static int copy(struct snapshot *s, const char *layer)
{
	int err;

	s->progress.what = s->cli.dry_run ? "counting" : "copying";
	ply_progress_start(&s->progress, s->cli.progress);
	err = s->cli.dry_run ? walk(s) : build(s, layer);
	ply_progress_end();
	return err;
}

/* ---- of a mounted stack ---- */

/* Until it is quiet for once: 0 and it is frozen, -EBUSY when it never was. */
static int freeze(struct snapshot *s)
{
	int err;

	for (;;) {
		err = ply_live_freeze(&s->live, &s->cut);
		if (err != -EBUSY || ply_now() > s->give_up)
			break;
		poll(NULL, 0, RETRY_MS);
	}
	return err;
}

static int never_quiet(struct snapshot *s)
{
	ply_tell(
		"the mount was too busy to be held for so short a time: see --pause-limit, --commit-timeout");
	s->is_busy = 1;
	return -EBUSY;
}

/* Somebody else's rotation may have put another directory in the place of the one that was opened. */
static int is_still_upper(struct snapshot *s)
{
	struct statx opened, there;
	int fd = sys_open(AT_FDCWD, s->from.path, O_PATH | O_DIRECTORY, 0), err;

	if (fd < 0)
		return fd;
	err = sys_statx(fd, "", STATX_INO, &there);
	sys_close(fd);
	if (!err)
		err = sys_statx(s->from.root, "", STATX_INO, &opened);
	return !err && ply_same_inode(&opened, &there) ? 0 : -EBUSY;
}

static int copy_live(struct snapshot *s, const char *layer)
{
	int err;

	if (s->cli.dry_run)
		return copy(s, layer);
	err = freeze(s);
	if (!err)
		err = is_still_upper(s);
	if (!err)
		err = ply_live_settle(&s->live, &s->cut);
	if (err)
		return err == -EBUSY ? never_quiet(s) : err;
	return copy(s, layer);
}

static int rotate_once(struct snapshot *s, const char *path)
{
	uint64_t pause_us = 0;
	int err = freeze(s);

	if (!err)
		err = ply_live_rotate(&s->live, &s->cut, path, &pause_us);
	s->paused = (double)pause_us / 1e6;
	return err;
}

/* The layer is there, and in use. What ties it to this stack means nothing in it, and goes. */
static int untie(struct snapshot *s, const char *path)
{
	struct ply_layer layer;
	struct ply_untied untied;
	char *where = NULL;
	int err = ply_layer_open(&layer, path, PLY_LAYER_UPPER);

	s->progress.what = "untying";
	ply_progress_start(&s->progress, s->cli.progress);
	if (!err)
		err = sys_fsync(s->staging.parent);
	if (!err)
		err = ply_untie(&layer, &untied, &where);
	ply_progress_end();
	if (err)
		complain(
			s,
			"the layer is there, but not yet on the disk and without the marks of this stack; at",
			where, err);
	else if (untied.elsewhere && !s->cli.quiet)
		ply_tell("note: the layer needs those below it, for %llu entries",
			 (unsigned long long)untied.elsewhere);
	free(where);
	ply_layer_close(&layer);
	return err;
}

static int rotate(struct snapshot *s, const char *layer)
{
	char parent[PATH_MAX], path[2 * PATH_MAX], self[64];
	int err;

	if (s->cli.dry_run)
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", s->staging.parent);
	err = sys_realpath(self, parent);
	if (err) {
		complain(s, "cannot find", layer, err);
		return err;
	}
	snprintf(path, sizeof(path), "%s/%s", strcmp(parent, "/") ? parent : "", s->staging.name);
	do
		err = rotate_once(s, path);
	while ((err == -EAGAIN || err == -EBUSY) && ply_now() < s->give_up);
	if (err)
		return err == -EAGAIN || err == -EBUSY ? never_quiet(s) : err;
	return untie(s, path);
}

static int of_mount(struct snapshot *s, const char *layer)
{
	struct ply_ctl_layer upper;
	int err = ply_live_layer(&s->live, 0, &upper);

	if (!err && !*upper.path) {
		ply_tell("the mount is read-only: it has no upper directory");
		err = -EROFS;
	}
	if (!err)
		err = open_upper(s, upper.path);
	if (!err)
		err = open_target(s, layer);
	if (err)
		return err;
	return s->rotates ? rotate(s, layer) : copy_live(s, layer);
}

static int of_upper(struct snapshot *s, const char *upper, const char *layer)
{
	int err = open_upper(s, upper);

	if (!err)
		err = open_target(s, layer);
	if (!err && !s->cli.dry_run)
		warn_of_trusted(s);
	return err ? err : copy(s, layer);
}

/* ---- what is said ---- */

static void summarise_json(const struct snapshot *s)
{
	printf("{\"bytes_copied\":%llu,\"bytes_shared\":%llu,\"directories\":%llu,\"dry_run\":%s,"
	       "\"files\":%llu,\"not_kept\":%llu,\"pause_ms\":%.3f,\"rotated\":%s,\"seconds\":%.3f,"
	       "\"type\":\"summary\",\"whiteouts\":%llu}\n",
	       (unsigned long long)s->progress.data.copied,
	       (unsigned long long)s->progress.data.shared, (unsigned long long)s->dirs,
	       s->cli.dry_run ? "true" : "false", (unsigned long long)s->files,
	       (unsigned long long)s->lost.count, s->paused * 1000, s->rotates ? "true" : "false",
	       ply_now() - s->start, (unsigned long long)s->whiteouts);
}

static void summarise(const struct snapshot *s)
{
	const char *would_be = s->cli.dry_run ? "would be: " : "";

	if (s->rotates)
		printf("%sthe upper is the topmost lower layer; %.1f s\n", would_be,
		       ply_now() - s->start);
	else
		printf("%s%llu files, %llu directories, %llu whiteouts; %s %s, %s shared; %.1f s\n",
		       would_be, (unsigned long long)s->files, (unsigned long long)s->dirs,
		       (unsigned long long)s->whiteouts, ply_amount(s->progress.data.copied).text,
		       s->cli.dry_run ? "at most" : "copied",
		       ply_amount(s->progress.data.shared).text, ply_now() - s->start);
	if (s->live.fd >= 0 && !s->cli.dry_run)
		printf("paused for %.1f ms\n", s->paused * 1000);
}

static void tell_result(struct snapshot *s)
{
	if (!s->cli.quiet)
		ply_lost_tell(&s->lost);
	if (!s->cli.quiet && s->cut.was_mapped)
		ply_tell(
			"note: mapped files were written all the time; what was stored to them may be there "
			"without what was stored before");
	if (s->cli.json) {
		summarise_json(s);
	} else if (!s->cli.quiet) {
		summarise(s);
		if (s->rotates && !s->cli.dry_run)
			ply_live_say_stack(&s->live);
	}
}

/* ---- the command line ---- */

static unsigned number(const struct ply_args *a, int letter, unsigned otherwise)
{
	return a->set[letter] ? (unsigned)ply_args_number(a, letter) : otherwise;
}

static void check_args(const struct ply_args *a)
{
	int has_upper = a->set['u'] > 0, is_live = a->set['m'] > 0;

	if (has_upper + is_live + (a->noperands == 2) != 1)
		ply_args_refuse(&tool, "one upper, or one mount, and one layer are wanted");
	if (!is_live && (a->set[OPT_ROTATE] || a->set[OPT_PAUSE] || a->set[OPT_COMMIT]))
		ply_args_refuse(
			&tool,
			"--rotate, --pause-limit and --commit-timeout are for a mounted stack (-m)");
}

static int run(struct snapshot *s, const struct ply_args *a)
{
	const char *layer = a->operands[a->noperands - 1];
	int err;

	s->rotates = a->set[OPT_ROTATE] > 0;
	s->keeps_redirects = a->set[OPT_KEEP] > 0;
	if (!a->set['m'])
		return of_upper(s, a->set['u'] ? a->value['u'] : a->operands[0], layer);
	s->cut.pause_ms = number(a, OPT_PAUSE, s->rotates ? PAUSE_ROTATE_MS : PAUSE_COPY_MS);
	s->cut.keeps_redirects = s->keeps_redirects;
	s->give_up = s->start + number(a, OPT_COMMIT, COMMIT_SECONDS);
	err = ply_live_open(&s->live, a->value['m']);
	return err ? err : of_mount(s, layer);
}

int main(int argc, char **argv)
{
	struct snapshot s = {
		.from.root = -1, .to.root = -1, .staging = { .parent = -1, .fd = -1 }, .live.fd = -1
	};
	struct ply_args args;
	int err;

	ply_args_parse(&args, argc, argv, &tool);
	check_args(&args);
	s.cli = args.cli;
	s.cli.dry_run = args.set['n'] > 0;
	s.start = ply_now();
	ply_interrupt_start();
	err = run(&s, &args);
	ply_interrupt_end();
	if (!err)
		tell_result(&s);
	ply_links_free(s.copy.links);
	ply_live_close(&s.live);
	ply_staging_close(&s.staging);
	ply_layer_close(&s.from);
	ply_lost_free(&s.lost);
	ply_args_free(&args);
	if (err)
		ply_interrupt_die();
	if (!err)
		return PLY_EXIT_OK;
	return s.is_busy ? PLY_EXIT_BUSY : PLY_EXIT_TROUBLE;
}
