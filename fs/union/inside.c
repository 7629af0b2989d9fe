/* By a climb to the root of the file system, or by the text of paths. */
#include "union/inside.h"

#include <string.h>

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
