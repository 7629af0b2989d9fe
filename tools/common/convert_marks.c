/*
 * Marks in extended attributes. Readers take the first space that has one; so what comes later in their order goes first, and
 * what is set has the value that counts already.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "convert.h"
#include "layer/xattr.h"

#define LIST_MAX 65536
#define VALUE_MAX 65536

static const char *const spaces[] = {
	PLY_SPACE_TRUSTED_PREFIX,
	PLY_SPACE_USER_PREFIX,
	PLY_SPACE_FUSE_PREFIX,
};
#define NSPACES 3

static const char *const others[] = {
	PLY_MARK_REDIRECT, PLY_MARK_METACOPY, PLY_MARK_ORIGIN,	 PLY_MARK_IMPURE, PLY_MARK_NLINK,
	PLY_MARK_UPPER,	   PLY_MARK_UUID,     PLY_MARK_PROTATTR, PLY_MARK_KEPT,
};
#define NOTHERS (sizeof(others) / sizeof(others[0]))

struct attr {
	char name[64];
};

static struct attr attr_of(const char *space, const char *mark)
{
	struct attr a;

	snprintf(a.name, sizeof(a.name), "%s%s", space, mark);
	return a;
}

static int is_none(ssize_t err)
{
	return err == -ENODATA || err == -EOPNOTSUPP || err == -EPERM;
}

/* A plain user's own file may have a mode that forbids it. */
static ssize_t get(int dirfd, const char *name, const char *attr, void *value, size_t size)
{
	ssize_t n = sys_getxattr(dirfd, name, attr, value, size);
	mode_t mode;

	if (n != -EACCES || ply_layer_lend(dirfd, name, S_IRUSR, &mode))
		return n;
	n = sys_getxattr(dirfd, name, attr, value, size);
	sys_chmod(dirfd, name, mode);
	return n;
}

static int set(int dirfd, const char *name, const char *attr, const void *value, size_t size)
{
	int err = sys_setxattr(dirfd, name, attr, value, size, 0);
	mode_t mode;

	if (err != -EACCES || ply_layer_lend(dirfd, name, S_IWUSR, &mode))
		return err;
	err = sys_setxattr(dirfd, name, attr, value, size, 0);
	sys_chmod(dirfd, name, mode);
	return err;
}

static int take(int dirfd, const char *name, const char *attr)
{
	int err = sys_removexattr(dirfd, name, attr);
	mode_t mode;

	if (err == -EACCES && !ply_layer_lend(dirfd, name, S_IWUSR, &mode)) {
		err = sys_removexattr(dirfd, name, attr);
		sys_chmod(dirfd, name, mode);
	}
	return err;
}

static int has(int dirfd, const char *name, const char *space, const char *mark)
{
	return get(dirfd, name, attr_of(space, mark).name, NULL, 0) >= 0;
}

/* From all spaces but one, the last first. */
static int take_others(const char *space, int dirfd, const char *name, const char *mark)
{
	for (size_t i = NSPACES; i--;) {
		int err;

		if ((space && !strcmp(space, spaces[i])) || !has(dirfd, name, spaces[i], mark))
			continue;
		err = take(dirfd, name, attr_of(spaces[i], mark).name);
		if (err && err != -ENODATA)
			return err;
	}
	return 0;
}

/* ---- opaque and whiteout ---- */

int ply_mark_is_settled(const char *space, int dirfd, const char *name, const char *mark,
			char value)
{
	for (size_t i = 0; i < NSPACES; i++) {
		char found = 0;
		ssize_t n = get(dirfd, name, attr_of(spaces[i], mark).name, &found, 1);
		int is_there = n >= 0 || n == -ERANGE, is_it;

		is_it = space && !strcmp(space, spaces[i]);
		if (!is_it && is_there)
			return 0;
		if (is_it && !strcmp(mark, PLY_MARK_WHITEOUT) && !is_there)
			return 0;
		if (is_it && !strcmp(mark, PLY_MARK_OPAQUE) &&
		    (value ? n != 1 || found != value : is_there))
			return 0;
	}
	return 1;
}

int ply_mark_settle(const char *space, int dirfd, const char *name, const char *mark, char value)
{
	int err = value && space ? set(dirfd, name, attr_of(space, mark).name, &value, 1) : 0;

	return err ? err : take_others(value ? space : NULL, dirfd, name, mark);
}

/* ---- the others ---- */

/* Symlinks and devices hold none of the user space: what says something of an upper alone stays where it is. */
static int can_hold(const struct ply_convert *c, const struct statx *stx)
{
	return S_ISREG(stx->stx_mode) || S_ISDIR(stx->stx_mode) ||
	       !strcmp(c->to.space, PLY_SPACE_TRUSTED_PREFIX);
}

/* The spaces that a mark is read in. fuse-overlayfs's origin has another format, and is never read. */
static size_t spaces_of(const char *mark)
{
	return !strcmp(mark, PLY_MARK_REDIRECT) || !strcmp(mark, PLY_MARK_METACOPY) ? NSPACES : 2;
}

static int has_marks(int dirfd, const char *name)
{
	char *list = malloc(LIST_MAX);
	ssize_t n = list ? sys_listxattr(dirfd, name, list, LIST_MAX) : -ENOMEM;
	int found = 0;

	for (ssize_t pos = 0; pos < n && !found; pos += (ssize_t)strlen(list + pos) + 1)
		found = ply_xattr_is_mark(list + pos);
	free(list);
	if (n < 0 && !is_none(n))
		return (int)n;
	return found;
}

static int is_elsewhere(const struct ply_convert *c, int dirfd, const char *name, const char *mark)
{
	for (size_t i = 0; i < spaces_of(mark); i++)
		if (strcmp(spaces[i], c->to.space) != 0 && has(dirfd, name, spaces[i], mark))
			return 1;
	return 0;
}

int ply_marks_elsewhere(const struct ply_convert *c, int dirfd, const char *name,
			const struct statx *stx)
{
	int found = has_marks(dirfd, name);

	if (found <= 0 || !can_hold(c, stx))
		return found < 0 ? found : 0;
	for (size_t i = 0; i < NOTHERS; i++)
		if (is_elsewhere(c, dirfd, name, others[i]))
			return 1;
	return 0;
}

static int move_one(const struct ply_convert *c, int dirfd, const char *name, const char *mark)
{
	char *value = malloc(VALUE_MAX);
	ssize_t n = value ? -ENODATA : -ENOMEM;
	int err = 0;

	for (size_t i = 0; n == -ENODATA && i < spaces_of(mark); i++) {
		n = get(dirfd, name, attr_of(spaces[i], mark).name, value, VALUE_MAX);
		n = is_none(n) ? -ENODATA : n;
	}
	if (n >= 0)
		err = set(dirfd, name, attr_of(c->to.space, mark).name, value, (size_t)n);
	free(value);
	if (n < 0 || err)
		return n < 0 ? (int)n : err;
	for (size_t i = spaces_of(mark); i-- && !err;)
		if (strcmp(spaces[i], c->to.space) != 0 && has(dirfd, name, spaces[i], mark))
			err = take(dirfd, name, attr_of(spaces[i], mark).name);
	return err;
}

int ply_marks_move(const struct ply_convert *c, int dirfd, const char *name,
		   const struct statx *stx)
{
	int err = 0;

	if (!can_hold(c, stx))
		return 0;
	for (size_t i = 0; !err && i < NOTHERS; i++)
		if (is_elsewhere(c, dirfd, name, others[i]))
			err = move_one(c, dirfd, name, others[i]);
	return err;
}

/* ---- one level more ---- */

static int escape_to(const char *space, const char *rest, int dirfd, const char *name,
		     const char *value, size_t size)
{
	char attr[PLY_XATTR_NAME_SIZE];

	if (snprintf(attr, sizeof(attr), "%s" PLY_ESCAPE "%s", space, rest) >= (int)sizeof(attr))
		return -ERANGE;
	return set(dirfd, name, attr, value, size);
}

/* A mark goes into both spaces, as the reader may look in either; what was escaped stays in its own. */
static int escape_one(const struct ply_form *to, const char *attr, int dirfd, const char *name,
		      char *value)
{
	int is_trusted = !strncmp(attr, spaces[0], strlen(spaces[0]));
	const char *space = spaces[!is_trusted], *other = spaces[is_trusted],
		   *rest = attr + strlen(space);
	ssize_t n = get(dirfd, name, attr, value, VALUE_MAX);
	int err;

	if (n < 0)
		return (int)n;
	err = escape_to(space, rest, dirfd, name, value, (size_t)n);
	if (!err && ply_xattr_is_mark(attr) && !strcmp(space, to->space)) {
		err = escape_to(other, rest, dirfd, name, value, (size_t)n);
		err = err == -EPERM || err == -EOPNOTSUPP ? 0 : err;
	}
	return err ? err : take(dirfd, name, attr);
}

/* The longest names first: a shorter one's new name may be theirs. */
static int by_length(const void *a, const void *b)
{
	size_t x = strlen(*(char *const *)a), y = strlen(*(char *const *)b);

	return x < y ? 1 : x > y ? -1 : 0;
}

int ply_convert_escape(const struct ply_form *to, int dirfd, const char *name)
{
	char *list = malloc(LIST_MAX + VALUE_MAX), **attrs = malloc(LIST_MAX / 2 * sizeof(char *));
	ssize_t size = list && attrs ? sys_listxattr(dirfd, name, list, LIST_MAX) : -ENOMEM;
	size_t n = 0;
	int err = size < 0 && !is_none(size) ? (int)size : 0;

	for (ssize_t pos = 0; pos < size; pos += (ssize_t)strlen(list + pos) + 1)
		if (!strncmp(list + pos, spaces[0], strlen(spaces[0])) ||
		    !strncmp(list + pos, spaces[1], strlen(spaces[1])))
			attrs[n++] = list + pos;
	if (n)
		qsort(attrs, n, sizeof(*attrs), by_length);
	for (size_t i = 0; !err && i < n; i++)
		err = escape_one(to, attrs[i], dirfd, name, list + LIST_MAX);
	free(attrs);
	free(list);
	return err;
}
