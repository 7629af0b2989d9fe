/* Trying a space is the only way to know. */
#include "space.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/format.h"

static const char *const spaces[] = { PLY_SPACE_TRUSTED_PREFIX, PLY_SPACE_USER_PREFIX };

const char *ply_space_of(int dirfd, const char *name, const char *mark)
{
	char attr[64];

	for (size_t i = 0; i < 2; i++) {
		snprintf(attr, sizeof(attr), "%s%s", spaces[i], mark);
		if (sys_getxattr(dirfd, name, attr, NULL, 0) >= 0)
			return spaces[i];
	}
	return NULL;
}

int ply_space_set(int dirfd, const char *name, const char *space, const char *mark,
		  const char *value)
{
	char attr[64];

	snprintf(attr, sizeof(attr), "%s%s", space, mark);
	return sys_setxattr(dirfd, name, attr, value, strlen(value), 0);
}

int ply_space_nlink(int dirfd, const char *name, char *base, long *diff)
{
	const char *space = ply_space_of(dirfd, name, PLY_MARK_NLINK);
	char attr[64], value[16] = "", *end;
	ssize_t n;

	snprintf(attr, sizeof(attr), "%s" PLY_MARK_NLINK, space ? space : "");
	n = space ? sys_getxattr(dirfd, name, attr, value, sizeof(value) - 1) : -ENODATA;
	*base = value[0];
	*diff = strtol(value + 1, &end, 10);
	return n > 2 && !*end && (*base == 'U' || *base == 'L');
}

const char *ply_space_probe(int fd, const char *word)
{
	for (size_t i = 0; i < 2; i++) {
		char attr[64];

		if (word && strncmp(spaces[i], word, strlen(word)) != 0)
			continue;
		if (ply_space_set(fd, "", spaces[i], PLY_MARK_OPAQUE, "y"))
			continue;
		snprintf(attr, sizeof(attr), "%s" PLY_MARK_OPAQUE, spaces[i]);
		sys_removexattr(fd, "", attr);
		return spaces[i];
	}
	return NULL;
}
