/* Copying an upper, name by name, but for what ties it to its stack. The layer appears whole, by one rename. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "busy.h"
#include "layer/marks.h"
#include "layer/xattr.h"
#include "snapshot.h"
#include "ties.h"

#define OWNER "the owner"
#define LIST_MAX 65536
#define BLOCK 512

/* ---- attributes ---- */

static int takes_mark(void *arg, const char *attr)
{
	const struct ply_snap *s = arg;

	return s->keeps_redirects || !ply_is_tie(attr);
}

static int cannot_keep(void *arg, const char *attr, int err)
{
	struct ply_snap *s = arg;
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
static int refuse_elsewhere(struct ply_snap *s, const struct ply_walk_entry *e)
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

static int is_any_whiteout(struct ply_snap *s, const struct ply_walk_entry *e)
{
	if (ply_is_aufs_name(e->name) && !ply_is_whiteout(&e->stx))
		return ply_aufs_target(e->name) != NULL;
	return ply_mark_whiteout(&s->from, e->dirfd, e->name, &e->stx);
}

static void say_entry(struct ply_snap *s, const struct ply_walk_entry *e, const char *kind)
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

/* Does it have a mark that the layer must not? */
static int is_tied(struct ply_snap *s, const struct ply_walk_entry *e)
{
	char *list = malloc(LIST_MAX);
	ssize_t n = list ? sys_listxattr(e->dirfd, e->name, list, LIST_MAX) : -ENOMEM;
	int found = n < 0 && n != -EOPNOTSUPP;

	for (ssize_t at = 0; at < n && !found; at += (ssize_t)strlen(list + at) + 1)
		found = ply_xattr_is_mark(list + at) && !takes_mark(s, list + at);
	free(list);
	return found;
}

/* 1 when the name is one of the upper's own inode, 0 when it has to be copied. */
static int link_own(struct ply_snap *s, const struct ply_walk_entry *e)
{
	int err;

	if (!s->links || ply_is_whiteout(&e->stx) || is_tied(s, e))
		return 0;
	err = s->cli.dry_run ? 0 : sys_link(e->dirfd, e->name, e->mirror, e->name);
	if (err == -EXDEV || err == -EMLINK || err == -EPERM || err == -EOPNOTSUPP)
		return 0;
	if (!err && S_ISREG(e->stx.stx_mode))
		s->linked += e->stx.stx_size;
	return err ? err : 1;
}

static int copy_file(struct ply_snap *s, const struct ply_walk_entry *e)
{
	uint64_t allocated = e->stx.stx_blocks * BLOCK;
	int res = link_own(s, e);

	if (res)
		return res < 0 ? res : 0;
	if (!s->cli.dry_run)
		return ply_tree_copy_file(&s->copy, e);
	if (S_ISREG(e->stx.stx_mode))
		s->progress.data.copied +=
			allocated < e->stx.stx_size ? allocated : e->stx.stx_size;
	return 0;
}

static int on_file(void *arg, const struct ply_walk_entry *e)
{
	struct ply_snap *s = arg;
	int is_whiteout = is_any_whiteout(s, e), err = ply_snap_is_spare(s, e);

	if (err) {
		s->left_out += err > 0;
		return err < 0 ? err : 0;
	}
	err = is_whiteout < 0 ? is_whiteout : refuse_elsewhere(s, e);
	s->at = e;
	if (!err)
		err = copy_file(s, e);
	if (err)
		return err;
	s->files += !is_whiteout;
	s->whiteouts += (unsigned)is_whiteout;
	say_entry(s, e, is_whiteout ? "whiteout " : "file     ");
	return 0;
}

static int on_enter(void *arg, const struct ply_walk_entry *e)
{
	struct ply_snap *s = arg;
	int spare = ply_snap_is_spare(s, e), err = spare ? 0 : refuse_elsewhere(s, e);

	/* What can be left out is there as long as the walk is in it. */
	if (!err && !s->cli.dry_run)
		err = sys_mkdir(e->mirror, e->name, S_IRWXU);
	if (err || spare) {
		s->left_out += spare > 0;
		return spare < 0 ? spare : err;
	}
	s->dirs++;
	say_entry(s, e, "directory");
	return 0;
}

static int on_leave(void *arg, const struct ply_walk_entry *e)
{
	struct ply_snap *s = arg;
	int spare = ply_snap_is_spare(s, e);

	s->at = e;
	if (spare < 0 || s->cli.dry_run)
		return spare < 0 ? spare : 0;
	return spare ? sys_rmdir(e->mirror, e->name)
		     : ply_tree_copy_attrs(&s->copy, e->self, "", &e->stx, e->self_mirror, "");
}

/* ---- the whole ---- */

/* Tells of an error; where is a path in the upper, or NULL. */
void ply_snap_complain(struct ply_snap *s, const char *what, const char *path, int err)
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

int ply_snap_open_upper(struct ply_snap *s, const char *path)
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
		ply_snap_complain(s, "cannot open the upper", path, err);
	return err;
}

int ply_snap_open_target(struct ply_snap *s, const char *path)
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
		ply_snap_complain(s, "cannot make the layer", path, err);
	return err;
}

/* Nobody but a privileged process is shown what is in the trusted space, not even that there is something. */
static void warn_of_trusted(struct ply_snap *s)
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

static int walk(struct ply_snap *s)
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
		ply_snap_complain(s, "cannot copy", where, err);
	free(where);
	return err;
}

static int start_build(struct ply_snap *s, const char *layer, struct statx *root)
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
		ply_snap_complain(s, "cannot make the layer", layer, err);
	s->to.root = s->staging.fd;
	return err;
}

static int end_build(struct ply_snap *s, const char *layer, const struct statx *root)
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
		ply_snap_complain(s, "cannot make the layer", layer, err);
	return err;
}

static int build(struct ply_snap *s, const char *layer, double began)
{
	struct statx root;
	int err = start_build(s, layer, &root);

	if (!err)
		err = walk(s);
	if (!err)
		err = ply_snap_end_pause(s, began);
	return err ? err : end_build(s, layer, &root);
}

int ply_snap_copy(struct ply_snap *s, const char *layer)
{
	double began = ply_now();
	int err;

	ply_progress_start(&s->progress, s->cli.progress);
	err = ply_snap_find_spare(s);
	s->progress.what = s->cli.dry_run ? "counting" : "copying";
	if (!err)
		err = s->cli.dry_run ? walk(s) : build(s, layer, began);
	ply_progress_end();
	return err;
}

int ply_snap_of_upper(struct ply_snap *s, const char *upper, const char *layer)
{
	int err = ply_snap_open_upper(s, upper);

	if (!err)
		err = ply_snap_open_target(s, layer);
	if (!err && !s->cli.dry_run)
		warn_of_trusted(s);
	return err ? err : ply_snap_copy(s, layer);
}
