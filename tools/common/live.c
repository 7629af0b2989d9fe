/* A client of a running server. While a mount is frozen nothing here opens a path in it, nor writes to the terminal. */
#include "live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "args.h"
#include "base/sysfuse.h"
#include "cli.h"

#define FLUSH_SECONDS 1	 /* for one call, so that an interrupt waits no longer */
#define FLUSH_ROUNDS 600 /* of a mount that is written all the time */
#define SYNC_ROUNDS 8

static int complain(const struct ply_live *live, const char *what, const char *why, int err)
{
	char *quoted = ply_quote(live->mountpoint);

	if (err == -EINTR)
		ply_tell("interrupted");
	else
		ply_tell("cannot %s %s: %s", what, quoted, why && *why ? why : strerror(-err));
	free(quoted);
	return err;
}

int ply_live_open(struct ply_live *live, const char *mountpoint)
{
	struct ply_ctl_status status;
	const char *why = NULL;
	int err = 0;

	*live = (struct ply_live){ .mountpoint = mountpoint };
	live->fd = sys_open(AT_FDCWD, mountpoint, O_RDONLY | O_DIRECTORY, 0);
	if (live->fd < 0)
		return complain(live, "open", NULL, live->fd);
	err = sys_ioctl(live->fd, PLY_CTL_STATUS, &status);
	if (err == -ENOTTY || err == -EINVAL || err == -ENOSYS)
		why = "it is not the root of a plyfs mount, or of one that is too old";
	else if (err == -EPERM)
		why = "only root and who mounted it may";
	if (!err && status.version != PLY_CTL_VERSION) {
		err = -EPROTO;
		why = "its server speaks another language than this program: they are of different versions";
	}
	return err ? complain(live, "ask", why, err) : 0;
}

void ply_live_close(struct ply_live *live)
{
	if (live->is_frozen)
		ply_live_thaw(live);
	if (live->fd >= 0)
		sys_close(live->fd);
	live->fd = -1;
}

int ply_live_status(struct ply_live *live, struct ply_ctl_status *status)
{
	int err = sys_ioctl(live->fd, PLY_CTL_STATUS, status);

	return err ? complain(live, "ask", NULL, err) : 0;
}

int ply_live_layer(struct ply_live *live, unsigned index, struct ply_ctl_layer *layer)
{
	int err;

	layer->index = index;
	err = sys_ioctl(live->fd, PLY_CTL_LAYER, layer);
	return err && err != -ENOENT ? complain(live, "ask", NULL, err) : err;
}

/* As mount(8) takes it; what a terminal should not get can only be shown. */
static void put_as_option(const char *path)
{
	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			printf("\\%03o", (unsigned)(unsigned char)*c);
		else
			printf("%s%c", strchr("\\:,", *c) ? "\\" : "", *c);
}

void ply_live_say_stack(struct ply_live *live)
{
	struct ply_ctl_layer layer;
	const char *colon = "";

	printf("next mount: lowerdir=");
	for (unsigned i = 1; !ply_live_layer(live, i, &layer); i++) {
		printf("%s", layer.is_data_only ? "::" : colon);
		put_as_option(layer.path);
		colon = ":";
	}
	putchar('\n');
}

int ply_live_where(struct ply_live *live, const char *path, unsigned part,
		   struct ply_ctl_where *where)
{
	int err = strlen(path) < sizeof(where->path) ? 0 : -ENAMETOOLONG;

	if (!err) {
		*where = (struct ply_ctl_where){ .part = part };
		strcpy(where->path, path);
		err = sys_ioctl(live->fd, PLY_CTL_WHERE, where);
	}
	if (err && err != -ENOENT && err != -ERANGE)
		ply_complain_of("cannot tell of", path, err,
				err == -EXDEV ? "it may not have '..' in it" : NULL);
	return err;
}

int ply_live_work(struct ply_live *live, struct ply_ctl_work *work)
{
	int err = sys_ioctl(live->fd, PLY_CTL_WORK, work);

	if (err == -ENOENT || err == -ENOTTY)
		return -ENOENT;
	return err ? complain(live, "ask", NULL, err) : 0;
}

/* ---- the cut ---- */

static int flush(struct ply_live *live, const struct ply_live_cut *cut)
{
	struct ply_ctl_flush f = { .seconds = FLUSH_SECONDS, .all_data = !cut->keeps_redirects };
	int err = 0;

	f.left = 1;
	for (int i = 0; i < FLUSH_ROUNDS && f.left && !err; i++)
		err = sys_ioctl(live->fd, PLY_CTL_FLUSH, &f);
	return err ? complain(live, "settle", f.why, err) : 0;
}

int ply_live_flush(struct ply_live *live)
{
	const struct ply_live_cut as_it_is = { .keeps_redirects = 1 };
	int err = sys_syncfs(live->fd);

	return err ? complain(live, "flush", NULL, err) : flush(live, &as_it_is);
}

/* Everything that need not wait for the freeze, so that the freeze is short. */
static int get_ready(struct ply_live *live, const struct ply_live_cut *cut)
{
	struct ply_ctl_ready r = { .keeps_redirects = (uint32_t)cut->keeps_redirects };
	int err = flush(live, cut);

	if (!err) {
		err = sys_ioctl(live->fd, PLY_CTL_READY, &r);
		if (!err)
			err = sys_syncfs(live->fd);
		if (err)
			return complain(live, "flush", NULL, err);
		err = flush(live, cut);
	}
	return err;
}

static int writes(struct ply_live *live, uint64_t *n)
{
	struct ply_ctl_status status;
	int err = sys_ioctl(live->fd, PLY_CTL_STATUS, &status);

	*n = status.writes;
	return err;
}

/*
 * Writers must ask now before they write, and are not answered. What the kernel holds of them is written back. A store to
 * a mapping asks nobody: when such came in between it is done again, until nothing came.
 */
static int write_back(struct ply_live *live, struct ply_live_cut *cut)
{
	uint64_t before, after = 0;
	int err = writes(live, &before);

	cut->was_mapped = 1;
	for (int i = 0; i < SYNC_ROUNDS && cut->was_mapped && !err; i++) {
		err = sys_syncfs(live->fd);
		if (!err)
			err = writes(live, &after);
		cut->was_mapped = after != before;
		before = after;
	}
	return err;
}

static int freeze(struct ply_live *live, struct ply_live_cut *cut)
{
	struct ply_ctl_freeze f = { .how = PLY_CTL_FREEZE_CHANGES,
				    .wait_ms = cut->pause_ms,
				    .limit_ms = cut->pause_ms };
	int err = sys_ioctl(live->fd, PLY_CTL_FREEZE, &f);

	if (err)
		return err;
	live->is_frozen = 1;
	err = write_back(live, cut);
	f.how = PLY_CTL_FREEZE_ALL;
	if (!err)
		err = sys_ioctl(live->fd, PLY_CTL_FREEZE, &f);
	/* It has thawed by itself. */
	return err == -ECANCELED ? -EBUSY : err;
}

/* To flush it would be to wait for its end. */
static int look_for_holder(struct ply_live *live, struct ply_live_cut *cut)
{
	struct ply_ctl_status status;
	int err = ply_live_status(live, &status);

	cut->is_held = !err && status.flags & PLY_CTL_FROZEN;
	return cut->is_held ? -EBUSY : err;
}

int ply_live_freeze(struct ply_live *live, struct ply_live_cut *cut)
{
	int err = look_for_holder(live, cut);

	if (!err)
		err = get_ready(live, cut);
	if (err)
		return err;
	err = freeze(live, cut);
	if (!err)
		return 0;
	/* Else another program has frozen it. */
	if (live->is_frozen)
		ply_live_thaw(live);
	return err == -EBUSY ? err : complain(live, "freeze", NULL, err);
}

int ply_live_settle(struct ply_live *live, const struct ply_live_cut *cut)
{
	struct ply_ctl_flush f = { .seconds = cut->pause_ms / 1000 + 1,
				   .all_data = !cut->keeps_redirects };
	int err = sys_ioctl(live->fd, PLY_CTL_FLUSH, &f);

	if (err)
		return complain(live, "settle", f.why, err);
	return f.left ? -EBUSY : 0;
}

int ply_live_thaw(struct ply_live *live)
{
	int err = sys_ioctl(live->fd, PLY_CTL_THAW, NULL);

	live->is_frozen = 0;
	return err;
}

int ply_live_rotate(struct ply_live *live, const struct ply_live_cut *cut, const char *layer,
		    uint64_t *pause_us)
{
	struct ply_ctl_rotate r = { .keeps_redirects = (uint32_t)cut->keeps_redirects };
	int err;

	snprintf(r.layer, sizeof(r.layer), "%s", layer);
	err = sys_ioctl(live->fd, PLY_CTL_ROTATE, &r);
	live->is_frozen = 0;
	*pause_us = r.pause_us;
	if (err == -ECANCELED)
		return -EBUSY;
	return err && err != -EAGAIN ? complain(live, "rotate the upper of", r.why, err) : err;
}

int ply_live_add(struct ply_live *live, struct ply_ctl_add *a)
{
	struct statx root;
	int err = sys_statx(live->fd, "", STATX_INO, &root);

	a->dev = makedev(root.stx_dev_major, root.stx_dev_minor);
	if (!err)
		err = sys_ioctl(live->fd, PLY_CTL_ADD, a);
	if (err == -EAGAIN || err == -EBUSY)
		return -EBUSY;
	return err ? complain(live, "add a layer to", a->why, err) : 0;
}
