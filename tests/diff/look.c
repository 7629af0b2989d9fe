/* One object before and after a step: what steps compare beside their own results. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "plydiff.h"

void pd_look(struct pd_look *look, const char *path, unsigned flags)
{
	pd_clear(&look->xattrs);
	look->err = 0;
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &look->st) != 0) {
		look->err = errno;
		memset(&look->st, 0, sizeof(look->st));
		return;
	}
	if (flags & PD_LOOK_XATTRS) {
		char *line = pd_xattr_line(path);

		pd_add(&look->xattrs, "%s", line);
		free(line);
	}
}

void pd_look_free(struct pd_look *look)
{
	pd_free(&look->xattrs);
}

bool pd_is_clock(struct statx_timestamp t)
{
	static time_t started;
	time_t now = time(NULL);

	if (!started)
		started = now - 2;
	return t.tv_sec >= started && t.tv_sec <= now + 2;
}
