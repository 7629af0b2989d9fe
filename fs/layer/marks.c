/* Reading marks. Most files have no xattrs, so one listxattr answers for all spaces and names at once. */
#include "layer/marks.h"

#include <errno.h>
#include <stdio.h>

#include "base/sys.h"

#define LIST_SIZE 4096
#define HANDLE_MAX (sizeof(((struct ply_fh *)0)->fid))

static const char *const spaces[] = {
	PLY_SPACE_TRUSTED_PREFIX,
	PLY_SPACE_USER_PREFIX,
	PLY_SPACE_FUSE_PREFIX,
};
#define NSPACES (sizeof(spaces) / sizeof(spaces[0]))

/* The names of all attributes, each ended by NUL: their length, 0 for none, -ERANGE for more than fit. */
static ssize_t list_names(struct ply_layer *layer, int dirfd, const char *name, char *list)
{
	ssize_t n;

	if (ply_layer_lacks(layer, PLY_LACKS_XATTR))
		return 0;
	n = sys_listxattr(dirfd, name, list, LIST_SIZE);
	if (n == -EOPNOTSUPP || n == -ENOSYS) {
		ply_layer_set_lack(layer, PLY_LACKS_XATTR);
		return 0;
	}
	return n;
}

static int has_name(const char *list, ssize_t size, const char *attr)
{
	if (size == -ERANGE)
		return 1;
	for (ssize_t pos = 0; pos < size; pos += (ssize_t)strlen(list + pos) + 1)
		if (!strcmp(list + pos, attr))
			return 1;
	return 0;
}

/* A mark of the user's space needs the right to read, which a plain user's own file may lack. */
static ssize_t get_despite_mode(int dirfd, const char *name, const char *attr, void *value,
				size_t size)
{
	struct statx stx;
	ssize_t n;

	if (sys_statx(dirfd, name, STATX_TYPE | STATX_MODE, &stx) < 0 || S_ISLNK(stx.stx_mode) ||
	    (stx.stx_mode & S_IRUSR) ||
	    sys_chmod(dirfd, name, (stx.stx_mode & 07777) | S_IRUSR) < 0)
		return -EACCES;
	n = sys_getxattr(dirfd, name, attr, value, size);
	sys_chmod(dirfd, name, stx.stx_mode & 07777);
	return n;
}

/* The mark in the first space that has it: the value's length, -ENODATA for none. */
static ssize_t get_mark(struct ply_layer *layer, int dirfd, const char *name, const char *mark,
			void *value, size_t size)
{
	char list[LIST_SIZE], attr[64];
	ssize_t n = list_names(layer, dirfd, name, list);

	if (n <= 0 && n != -ERANGE)
		return n ? n : -ENODATA;
	for (size_t i = 0; i < NSPACES; i++) {
		ssize_t len;

		snprintf(attr, sizeof(attr), "%s%s", spaces[i], mark);
		if (!has_name(list, n, attr))
			continue;
		len = sys_getxattr(dirfd, name, attr, value, size);
		if (len == -EACCES && layer->is_upper)
			len = get_despite_mode(dirfd, name, attr, value, size);
		if (len != -ENODATA)
			return len;
	}
	return -ENODATA;
}

static int no_mark(ssize_t err)
{
	return err == -ENODATA || err == -EPERM || err == -EACCES || err == -EOPNOTSUPP;
}

static int has_aufs_opaque(int dirfd, const char *name)
{
	char path[PLY_NAME_MAX + 1 + sizeof(PLY_AUFS_OPAQUE)];

	if (!*name)
		return sys_access(dirfd, PLY_AUFS_OPAQUE) == 0;
	snprintf(path, sizeof(path), "%s/" PLY_AUFS_OPAQUE, name);
	return sys_access(dirfd, path) == 0;
}

int ply_mark_opaque(struct ply_layer *layer, int dirfd, const char *name)
{
	char value = 0;
	ssize_t n = get_mark(layer, dirfd, name, PLY_MARK_OPAQUE, &value, 1);

	if (n < 0 && n != -ERANGE && !no_mark(n))
		return (int)n;
	if (n == 1 && value == PLY_OPAQUE_YES)
		return PLY_OPAQUE_ALL;
	if (has_aufs_opaque(dirfd, name))
		return PLY_OPAQUE_ALL;
	return n == 1 && value == PLY_OPAQUE_XWHITEOUTS ? PLY_OPAQUE_ANNOUNCES : PLY_OPAQUE_NONE;
}

int ply_mark_is_set(struct ply_layer *layer, int dirfd, const char *name, const char *mark)
{
	char list[LIST_SIZE], attr[64];
	ssize_t n = list_names(layer, dirfd, name, list);

	for (size_t i = 0; i < NSPACES && (n > 0 || n == -ERANGE); i++) {
		snprintf(attr, sizeof(attr), "%s%s", spaces[i], mark);
		if (n > 0 ? has_name(list, n, attr) : sys_getxattr(dirfd, name, attr, NULL, 0) >= 0)
			return 1;
	}
	return n >= 0 || n == -ERANGE || no_mark(n) ? 0 : (int)n;
}

/* A path must lead down only: no empty component, no dots. */
static int is_component(const char *text, size_t len)
{
	return len && len <= PLY_NAME_MAX && !(len == 1 && text[0] == '.') &&
	       !(len == 2 && text[0] == '.' && text[1] == '.');
}

static int is_redirect(const char *text)
{
	if (*text != '/')
		return !strchr(text, '/') && is_component(text, strlen(text));
	while (*text == '/') {
		size_t len = strcspn(++text, "/");

		if (!is_component(text, len))
			return 0;
		text += len;
	}
	return 1;
}

int ply_mark_get_redirect(struct ply_layer *layer, int dirfd, const char *name,
			  struct ply_mark_redirect *out)
{
	ssize_t n = get_mark(layer, dirfd, name, PLY_MARK_REDIRECT, out->text,
			     sizeof(out->text) - 1);

	out->text[n > 0 ? n : 0] = '\0';
	if (n < 0)
		return no_mark(n) ? 0 : n == -ERANGE ? -EINVAL : (int)n;
	return strlen(out->text) == (size_t)n && is_redirect(out->text) ? 0 : -EINVAL;
}

int ply_mark_xwhiteout(struct ply_layer *layer, int dirfd, const char *name)
{
	return ply_mark_is_set(layer, dirfd, name, PLY_MARK_WHITEOUT);
}

int ply_mark_aufs(int dirfd, const char *name)
{
	char mark[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];

	snprintf(mark, sizeof(mark), PLY_AUFS_PREFIX "%s", name);
	return sys_access(dirfd, mark) == 0;
}

struct handle_buf {
	struct file_handle head;
	unsigned char bytes[HANDLE_MAX];
};

int ply_mark_encode(struct ply_layer *layer, int dirfd, const char *name, struct ply_fh *fh)
{
	struct handle_buf buf = { .head.handle_bytes = HANDLE_MAX };
	int err;

	if (ply_layer_lacks(layer, PLY_LACKS_HANDLE))
		return -EOPNOTSUPP;
	err = sys_name_to_handle(dirfd, name, &buf.head);
	if (err == -EOPNOTSUPP || err == -ENOSYS || err == -EOVERFLOW || err == -EPERM) {
		ply_layer_set_lack(layer, PLY_LACKS_HANDLE);
		return -EOPNOTSUPP;
	}
	if (err)
		return err;
	*fh = (struct ply_fh){
		.version = PLY_FH_VERSION,
		.magic = PLY_FH_MAGIC,
		.len = (uint8_t)(PLY_FH_HEADER + buf.head.handle_bytes),
		.flags = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? PLY_FH_BIG_ENDIAN : 0,
		.type = (uint8_t)buf.head.handle_type,
	};
	memcpy(fh->uuid, layer->uuid, sizeof(fh->uuid));
	memcpy(fh->fid, buf.bytes, buf.head.handle_bytes);
	return fh->len;
}

int ply_mark_origin(struct ply_layer *layer, int dirfd, const char *name, struct ply_fh *fh)
{
	ssize_t n = get_mark(layer, dirfd, name, PLY_MARK_ORIGIN, fh, sizeof(*fh));

	if (n < 0)
		return no_mark(n) || n == -ERANGE ? 0 : (int)n;
	if (n <= PLY_FH_HEADER || fh->magic != PLY_FH_MAGIC || fh->len != n)
		return 0;
	return (int)n;
}

int ply_mark_impure(struct ply_layer *layer, int dirfd)
{
	char value = 0;

	return get_mark(layer, dirfd, "", PLY_MARK_IMPURE, &value, 1) == 1 && value == 'y';
}

int ply_mark_decode(struct ply_layer *layer, int mount_fd, const struct ply_fh *fh,
		    struct statx *stx)
{
	struct handle_buf buf = { .head = { .handle_bytes = fh->len - PLY_FH_HEADER,
					    .handle_type = fh->type } };
	int fd, err;

	if (ply_layer_lacks(layer, PLY_LACKS_OPEN_HANDLE))
		return -EOPNOTSUPP;
	memcpy(buf.bytes, fh->fid, buf.head.handle_bytes);
	fd = sys_open_by_handle(mount_fd, &buf.head, O_PATH);
	if (fd < 0) {
		if (fd == -EPERM || fd == -EOPNOTSUPP)
			ply_layer_set_lack(layer, PLY_LACKS_OPEN_HANDLE);
		return fd;
	}
	err = sys_statx(fd, "", STATX_INO | STATX_NLINK, stx);
	sys_close(fd);
	return err;
}
