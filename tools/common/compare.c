/* Attributes by name, data block by block. */
#include "compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/override.h"

#define LIST_MAX 65536
#define VALUE_MAX 65536
#define BLOCK 131072

/* The user's names of all attributes: the length; the caller frees *list. */
static ssize_t list_user(const struct ply_side *side, char **list)
{
	ssize_t n;

	*list = malloc(LIST_MAX);
	if (!*list)
		return -ENOMEM;
	n = sys_listxattr(side->fd, side->name, *list, LIST_MAX);
	if (n == -EOPNOTSUPP || n == -ENOSYS)
		n = 0;
	return n < 0 ? n : (ssize_t)ply_layer_xattr_filter_list(side->layer, *list, (size_t)n);
}

static ssize_t get_user(const struct ply_side *side, const char *user, char *value)
{
	char disk[PLY_XATTR_NAME_SIZE];
	int err = ply_layer_xattr_to_disk(side->layer, user, disk);

	return err ? err : sys_getxattr(side->fd, side->name, disk, value, VALUE_MAX);
}

/* Has b every attribute of a, with its value? 1 when not. */
static int lacks_some(const struct ply_side *a, const char *list, ssize_t size,
		      const struct ply_side *b)
{
	char *values = malloc((size_t)2 * VALUE_MAX), *other = values + VALUE_MAX;
	int differs = values ? 0 : -ENOMEM;

	for (ssize_t pos = 0; pos < size && !differs; pos += (ssize_t)strlen(list + pos) + 1) {
		ssize_t n = get_user(a, list + pos, values), m = get_user(b, list + pos, other);

		if (n == -ENODATA && m == -ENODATA)
			continue;
		if (m == -ENODATA || m == -EOPNOTSUPP)
			differs = 1;
		else if (n < 0 || m < 0)
			differs = n < 0 ? (int)n : (int)m;
		else
			differs = n != m || memcmp(values, other, (size_t)n) != 0;
	}
	free(values);
	return differs;
}

static int compare_xattrs(const struct ply_side *a, const struct ply_side *b)
{
	char *of_a, *of_b = NULL;
	ssize_t n = list_user(a, &of_a), m = n < 0 ? n : list_user(b, &of_b);
	int differs = m < 0 ? (int)m : 0;

	if (!differs && (n || m))
		differs = lacks_some(a, of_a, n, b);
	if (!differs && m)
		differs = lacks_some(b, of_b, m, a);
	free(of_a);
	free(of_b);
	return differs;
}

static int compare_targets(const struct ply_side *a, const struct ply_side *b)
{
	char of_a[4096], of_b[4096];
	ssize_t n = sys_readlink(a->fd, a->name, of_a, sizeof(of_a)),
		m = sys_readlink(b->fd, b->name, of_b, sizeof(of_b));

	if (n < 0 || m < 0)
		return n < 0 ? (int)n : (int)m;
	return n != m || memcmp(of_a, of_b, (size_t)n) != 0;
}

int ply_compare_attrs(const struct ply_side *a, const struct ply_side *b)
{
	const struct statx *x = &a->stx, *y = &b->stx;
	int set = 0, xattrs = compare_xattrs(a, b), target = 0;

	if (S_ISREG(x->stx_mode) && x->stx_size != y->stx_size)
		set |= PLY_DIFFERS_SIZE | PLY_DIFFERS_DATA;
	if (x->stx_mode != y->stx_mode)
		set |= PLY_DIFFERS_MODE;
	if (x->stx_uid != y->stx_uid || x->stx_gid != y->stx_gid)
		set |= PLY_DIFFERS_OWNER;
	if (x->stx_mtime.tv_sec != y->stx_mtime.tv_sec ||
	    x->stx_mtime.tv_nsec != y->stx_mtime.tv_nsec)
		set |= PLY_DIFFERS_MTIME;
	if ((S_ISCHR(x->stx_mode) || S_ISBLK(x->stx_mode)) &&
	    (x->stx_rdev_major != y->stx_rdev_major || x->stx_rdev_minor != y->stx_rdev_minor))
		set |= PLY_DIFFERS_DEVICE;
	if (S_ISLNK(x->stx_mode))
		target = compare_targets(a, b);
	if (xattrs < 0 || target < 0)
		return xattrs < 0 ? xattrs : target;
	return set | (xattrs ? PLY_DIFFERS_XATTRS : 0) | (target ? PLY_DIFFERS_TARGET : 0);
}

static ssize_t read_block(int fd, char *buf, off_t at)
{
	ssize_t size = 0, n;

	do {
		n = sys_pread(fd, buf + size, BLOCK - (size_t)size, at + size);
		size += n > 0 ? n : 0;
	} while (n > 0 && size < BLOCK);
	return n < 0 ? n : size;
}

int ply_compare_open(int a, int b, _Atomic uint64_t *done)
{
	char *buf = malloc((size_t)2 * BLOCK);
	int differs = buf ? 0 : -ENOMEM;
	ssize_t n = 1;

	for (off_t at = 0; n > 0 && !differs; at += n) {
		ssize_t m = read_block(b, buf + BLOCK, at);

		n = read_block(a, buf, at);
		if (n < 0 || m < 0)
			differs = n < 0 ? (int)n : (int)m;
		else
			differs = n != m || memcmp(buf, buf + BLOCK, (size_t)n) != 0;
		*done += n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	return differs;
}

int ply_compare_data(struct ply_stack *s, const struct ply_data *a, const struct ply_data *b,
		     _Atomic uint64_t *done)
{
	int fd_a, fd_b, differs;

	if (a->path && b->path && a->layer == b->layer && a->is_in_index == b->is_in_index &&
	    !strcmp(a->path, b->path))
		return 0;
	fd_a = ply_stack_open_data(s, a);
	if (fd_a < 0)
		return fd_a;
	fd_b = ply_stack_open_data(s, b);
	differs = fd_b < 0 ? fd_b : ply_compare_open(fd_a, fd_b, done);
	if (fd_b >= 0)
		sys_close(fd_b);
	sys_close(fd_a);
	return differs;
}

const char *ply_differs_word(unsigned bit)
{
	static const char *const words[] = { "data", "size",  "mode",	"owner",
					     "time", "xattr", "device", "link" };

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (bit == 1U << i)
			return words[i];
	return "?";
}
