/* The snapshot of a mounted stack: its users are held while it is copied, or rotated. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "snapshot.h"
#include "ties.h"

#define RETRY_MS 50

/* A mount that went on by itself has changed under the copy. */
int ply_snap_end_pause(struct ply_snap *s, double began)
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

/* Until it is quiet for once: 0 and it is frozen, -EBUSY when it never was. */
static int freeze(struct ply_snap *s)
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

static int never_quiet(struct ply_snap *s)
{
	ply_tell(
		s->cut.is_held
			? "another program holds the mount, and goes on to: see --commit-timeout"
			: "the mount was too busy to be held for so short a time: see --pause-limit, "
			  "--commit-timeout");
	s->is_busy = 1;
	return -EBUSY;
}

/* Somebody else's rotation may have put another directory in the place of the one that was opened. */
static int is_still_upper(struct ply_snap *s)
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

static int copy_live(struct ply_snap *s, const char *layer)
{
	int err;

	if (s->cli.dry_run)
		return ply_snap_copy(s, layer);
	err = freeze(s);
	if (!err)
		err = is_still_upper(s);
	if (!err)
		err = ply_live_settle(&s->live, &s->cut);
	if (err)
		return err == -EBUSY ? never_quiet(s) : err;
	return ply_snap_copy(s, layer);
}

static int rotate_once(struct ply_snap *s, const char *path)
{
	uint64_t pause_us = 0;
	int err = freeze(s);

	if (!err)
		err = ply_live_rotate(&s->live, &s->cut, path, &pause_us);
	s->paused = (double)pause_us / 1e6;
	return err;
}

/* The layer is there, and in use. What ties it to this stack means nothing in it, and goes. */
static int untie(struct ply_snap *s, const char *path)
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
		ply_snap_complain(
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

static int rotate(struct ply_snap *s, const char *layer)
{
	char parent[PATH_MAX], path[2 * PATH_MAX], self[64];
	int err;

	if (s->cli.dry_run)
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", s->staging.parent);
	err = sys_realpath(self, parent);
	if (err) {
		ply_snap_complain(s, "cannot find", layer, err);
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

/* What the upper may hold in vain is what these have. */
static int take_lowers(struct ply_snap *s)
{
	struct ply_ctl_layer layer;
	int err = 0;

	for (unsigned i = 1; !err; i++) {
		err = ply_live_layer(&s->live, i, &layer);
		if (!err)
			ply_args_add_live(&s->lowers, &layer);
	}
	return err == -ENOENT ? 0 : err;
}

int ply_snap_of_mount(struct ply_snap *s, const char *layer)
{
	struct ply_ctl_layer upper;
	int err = ply_live_layer(&s->live, 0, &upper);

	if (!err && !*upper.path) {
		ply_tell("the mount is read-only: it has no upper directory");
		err = -EROFS;
	}
	if (!err)
		err = ply_snap_open_upper(s, upper.path);
	if (!err)
		err = ply_snap_open_target(s, layer);
	if (!err && s->vacuums)
		err = take_lowers(s);
	if (err)
		return err;
	return s->rotates ? rotate(s, layer) : copy_live(s, layer);
}
