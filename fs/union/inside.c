/* By a climb to the root of the file system, or by the text of paths. */
#include "union/inside.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/mounts.h"
#include "base/sys.h"

int ply_is_inside_upper(const struct ply_union *u, int fd)
{
	const int tops[] = { u->layers[PLY_UPPER].root, u->upper.work_root };
	int inside = 0;

	for (size_t i = 0; !inside && i < sizeof(tops) / sizeof(tops[0]); i++) {
		struct statx top;

		inside = sys_statx(tops[i], "", STATX_INO, &top);
		if (!inside)
			inside = ply_layer_is_below(fd, &top);
	}
	return inside;
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
