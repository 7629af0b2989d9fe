/* Names of extended attributes, between the user's view and the disk. */
#include "layer/xattr.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "layer/format.h"

#define LEN(s) (sizeof(s) - 1)

/* The length of the mark space's prefix that the name has, or 0. */
static size_t mark_prefix(const char *name)
{
	if (!strncmp(name, PLY_SPACE_TRUSTED_PREFIX, LEN(PLY_SPACE_TRUSTED_PREFIX)))
		return LEN(PLY_SPACE_TRUSTED_PREFIX);
	if (!strncmp(name, PLY_SPACE_USER_PREFIX, LEN(PLY_SPACE_USER_PREFIX)))
		return LEN(PLY_SPACE_USER_PREFIX);
	return 0;
}

static int is_foreign_mark(const char *name)
{
	return !strncmp(name, PLY_SPACE_FUSE_PREFIX, LEN(PLY_SPACE_FUSE_PREFIX));
}

static int is_escaped(const char *name, size_t prefix)
{
	return !strncmp(name + prefix, PLY_ESCAPE, LEN(PLY_ESCAPE));
}

int ply_xattr_to_disk(const char *name, char disk[PLY_XATTR_NAME_SIZE])
{
	size_t prefix = mark_prefix(name);
	int n;

	if (is_foreign_mark(name))
		return -EPERM;
	n = snprintf(disk, PLY_XATTR_NAME_SIZE, "%.*s%s%s", (int)prefix, name,
		     prefix ? PLY_ESCAPE : "", name + prefix);
	return n < PLY_XATTR_NAME_SIZE ? 0 : -ERANGE;
}

const char *ply_xattr_mark(const char *disk)
{
	size_t prefix = mark_prefix(disk);

	if (is_foreign_mark(disk))
		return disk + LEN(PLY_SPACE_FUSE_PREFIX);
	return prefix && !is_escaped(disk, prefix) ? disk + prefix : NULL;
}

int ply_xattr_is_mark(const char *disk)
{
	return ply_xattr_mark(disk) != NULL;
}

size_t ply_xattr_filter_list(char *list, size_t size)
{
	size_t kept = 0;

	for (size_t pos = 0; pos < size;) {
		char *name = list + pos;
		size_t len = strlen(name) + 1, prefix = mark_prefix(name);

		pos += len;
		if (ply_xattr_is_mark(name))
			continue;
		if (prefix) {
			memmove(list + kept, name, prefix);
			name += prefix + LEN(PLY_ESCAPE);
			len -= prefix + LEN(PLY_ESCAPE);
			kept += prefix;
		}
		memmove(list + kept, name, len);
		kept += len;
	}
	return kept;
}
