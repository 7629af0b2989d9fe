/* By a climb to the root of the file system, which sees each directory on the way; or by the text of paths. */
#include "union/inside.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/mounts.h"
#include "base/sys.h"

/* 1 when it is one of the two, 2 at the top, else 0. */
static int look(int fd, const struct statx two[2], struct statx *last)
{
	struct statx stx;
	int err = sys_statx(fd, "", STATX_INO, &stx), is_top;

	if (err)
		return err;
	is_top = ply_same_inode(&stx, last);
	*last = stx;
	return ply_same_inode(&stx, &two[0]) || ply_same_inode(&stx, &two[1]) ? 1 : is_top ? 2 : 0;
}

int ply_is_inside_upper(const struct ply_union *u, int fd)
{
	struct statx two[2], last = { 0 };
	int at = fd, found, err = sys_statx(u->layers[PLY_UPPER].root, "", STATX_INO, &two[0]);

	if (!err)
		err = sys_statx(u->upper.work_root, "", STATX_INO, &two[1]);
	if (err)
		return err;
	while ((found = look(at, two, &last)) == 0) {
		int up = sys_open(at, "..", O_PATH | O_DIRECTORY, 0);

		if (at != fd)
			sys_close(at);
		if (up < 0)
			return up;
		at = up;
	}
	if (at != fd)
		sys_close(at);
	return found == 2 ? 0 : found;
}

/* Only the root ends in a slash. */
int ply_is_path_inside(const char *path, const char *other)
{
	size_t len = strlen(other);

	if (len == 1)
		return 1;
	return !strncmp(path, other, len) && (path[len] == '/' || path[len] == '\0');
}

struct mounted {
	char dev[32];
	const char *path, *but;
};

static int is_it(void *arg, char *line)
{
	enum { DEVICE = 2, MOUNTPOINT = 4 };
	const struct mounted *m = arg;
	char *field = NULL;

	for (int i = 0; i <= MOUNTPOINT; i++) {
		field = strsep(&line, " ");
		if (!field || (i == DEVICE && strcmp(field, m->dev) != 0))
			return 0;
	}
	ply_mounts_unescape(field);
	return ply_is_path_inside(field, m->path) && !(m->but && !strcmp(field, m->but));
}

int ply_is_mounted_inside(dev_t dev, const char *path, const char *but)
{
	struct mounted m = { .path = path, .but = but };

	snprintf(m.dev, sizeof(m.dev), "%u:%u", major(dev), minor(dev));
	return ply_mounts_each(is_it, &m);
}
