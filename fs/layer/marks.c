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
	mode_t mode;
	ssize_t n = ply_layer_lend(dirfd, name, S_IRUSR, &mode);

	if (n)
		return n;
	n = sys_getxattr(dirfd, name, attr, value, size);
	sys_chmod(dirfd, name, mode);
	return n;
}

/* An inode, and the names of its attributes. */
struct listed {
	struct ply_layer *layer;
	int dirfd;
	const char *name;
	ssize_t size;
	char list[LIST_SIZE];
};

static ssize_t list_marks(struct ply_layer *layer, int dirfd, const char *name, struct listed *l)
{
	l->layer = layer;
	l->dirfd = dirfd;
	l->name = name;
	l->size = list_names(layer, dirfd, name, l->list);
	return l->size;
}

/* In any space. */
static int is_listed(const struct listed *l, const char *mark)
{
	char attr[64];

	for (size_t i = 0; i < NSPACES; i++) {
		snprintf(attr, sizeof(attr), "%s%s", spaces[i], mark);
		if (has_name(l->list, l->size, attr))
			return 1;
	}
	return 0;
}

const char *ply_mark_space(unsigned i)
{
	return i < NSPACES ? spaces[i] : NULL;
}

int ply_mark_space_is_seen(const struct ply_layer *layer, unsigned i)
{
	return (atomic_load_explicit(&layer->spaces, memory_order_relaxed) & 1u << i) != 0;
}

static void see_space(struct ply_layer *layer, unsigned i)
{
	if (layer->is_upper && !ply_mark_space_is_seen(layer, i))
		atomic_fetch_or_explicit(&layer->spaces, 1u << i, memory_order_relaxed);
}

/* The mark in the first space that has it: the value's length, -ENODATA for none. */
static ssize_t get_listed(const struct listed *l, const char *mark, void *value, size_t size)
{
	char attr[64];

	for (unsigned i = 0; i < NSPACES; i++) {
		ssize_t len;

		snprintf(attr, sizeof(attr), "%s%s", spaces[i], mark);
		if (!has_name(l->list, l->size, attr))
			continue;
		len = sys_getxattr(l->dirfd, l->name, attr, value, size);
		if (len == -EACCES && l->layer->is_upper)
			len = get_despite_mode(l->dirfd, l->name, attr, value, size);
		if (len == -ENODATA)
			continue;
		see_space(l->layer, i);
		return len;
	}
	return -ENODATA;
}

static ssize_t get_mark(struct ply_layer *layer, int dirfd, const char *name, const char *mark,
			void *value, size_t size)
{
	struct listed l;
	ssize_t n = list_marks(layer, dirfd, name, &l);

	if (n <= 0 && n != -ERANGE)
		return n ? n : -ENODATA;
	return get_listed(&l, mark, value, size);
}

ssize_t ply_mark_get(struct ply_layer *layer, int dirfd, const char *name, const char *mark,
		     void *value, size_t size)
{
	ssize_t n = get_mark(layer, dirfd, name, mark, value, size);

	return n == -ENODATA || n == -EOPNOTSUPP || n == -ERANGE ? 0 : n;
}

static int no_mark(ssize_t err)
{
	return err == -ENODATA || err == -EPERM || err == -EACCES || err == -EOPNOTSUPP;
}

const char *ply_aufs_target(const char *disk)
{
	const char *target = disk + PLY_AUFS_PREFIX_LEN;

	/* Nor do the directory itself and its parent have whiteouts: who went there would leave the layer. */
	if (!*target || !strcmp(target, ".") || !strcmp(target, ".."))
		return NULL;
	return strncmp(disk, PLY_AUFS_META, sizeof(PLY_AUFS_META) - 1) || ply_is_kept_name(target)
		       ? target
		       : NULL;
}

const char *ply_name_to_disk(const char *name, char disk[PLY_NAME_MAX + 1])
{
	if (strncmp(name, PLY_AUFS_PREFIX, PLY_AUFS_PREFIX_LEN) ||
	    strlen(name) - PLY_AUFS_PREFIX_LEN + PLY_AUFS_KEPT_LEN > PLY_NAME_MAX)
		return name;
	snprintf(disk, PLY_NAME_MAX + 1, PLY_AUFS_KEPT "%s", name + PLY_AUFS_PREFIX_LEN);
	return disk;
}

const char *ply_name_from_disk(const char *disk, char name[PLY_NAME_MAX + 1])
{
	if (!ply_is_kept_name(disk))
		return disk;
	snprintf(name, PLY_NAME_MAX + 1, PLY_AUFS_PREFIX "%s", disk + PLY_AUFS_KEPT_LEN);
	return name;
}

/* Not to be reached by such a name is not to be there. */
static int is_there(int dirfd, const char *path)
{
	int err = sys_access(dirfd, path);

	if (err == -ENOENT || err == -ENOTDIR || err == -EACCES || err == -ENAMETOOLONG)
		return 0;
	return err ? err : 1;
}

int ply_mark_aufs_opaque(int dirfd, const char *name)
{
	char path[PLY_NAME_MAX + 1 + sizeof(PLY_AUFS_OPAQUE)];

	if (!*name)
		return is_there(dirfd, PLY_AUFS_OPAQUE);
	snprintf(path, sizeof(path), "%s/" PLY_AUFS_OPAQUE, name);
	return is_there(dirfd, path);
}

int ply_mark_opaque(struct ply_layer *layer, int dirfd, const char *name)
{
	char value = 0;
	ssize_t n = get_mark(layer, dirfd, name, PLY_MARK_OPAQUE, &value, 1);
	int aufs;

	if (n < 0 && n != -ERANGE && !no_mark(n))
		return (int)n;
	if (n == 1 && value == PLY_OPAQUE_YES)
		return PLY_OPAQUE_ALL;
	aufs = ply_mark_aufs_opaque(dirfd, name);
	if (aufs)
		return aufs < 0 ? aufs : PLY_OPAQUE_ALL;
	return n == 1 && value == PLY_OPAQUE_XWHITEOUTS ? PLY_OPAQUE_ANNOUNCES : PLY_OPAQUE_NONE;
}

/* A name that a lookup could have: none that leads up, or nowhere. */
static int is_plain_name(const char *s, size_t len)
{
	return len > 0 && len <= PLY_NAME_MAX && strncmp(s, ".", len) && strncmp(s, "..", len);
}

static int is_redirect(const char *s)
{
	if (*s != '/')
		return !strchr(s, '/') && is_plain_name(s, strlen(s));
	while (*s == '/') {
		size_t len = strcspn(++s, "/");

		if (!is_plain_name(s, len))
			return 0;
		s += len;
	}
	return 1;
}

int ply_mark_below(struct ply_layer *layer, int dirfd, const char *name,
		   char redirect[PLY_REDIRECT_MAX + 1])
{
	struct listed l;
	char opaque = 0;
	ssize_t n = list_marks(layer, dirfd, name, &l);
	int aufs;

	if (n <= 0 && n != -ERANGE)
		return n && !no_mark(n) ? (int)n : PLY_BELOW_SAME;
	n = get_listed(&l, PLY_MARK_OPAQUE, &opaque, 1);
	if (n < 0 && n != -ERANGE && !no_mark(n))
		return (int)n;
	if (n == 1 && opaque == PLY_OPAQUE_YES)
		return PLY_BELOW_NONE;
	n = get_listed(&l, PLY_MARK_REDIRECT, redirect, PLY_REDIRECT_MAX);
	if (n < 0 && n != -ERANGE)
		return no_mark(n) ? PLY_BELOW_SAME : (int)n;
	aufs = ply_mark_aufs_opaque(dirfd, name);
	if (aufs)
		return aufs < 0 ? aufs : PLY_BELOW_NONE;
	redirect[n < 0 ? 0 : n] = '\0';
	if (n <= 0 || strlen(redirect) != (size_t)n || !is_redirect(redirect))
		return -EINVAL;
	return PLY_BELOW_ELSEWHERE;
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

static int is_of_boot(const struct ply_metacopy *value, const uint8_t boot[16])
{
	static const uint8_t unknown[16];

	return value->version == PLY_METACOPY_VERSION && memcmp(boot, unknown, sizeof(unknown)) &&
	       !memcmp(boot, value->boot, sizeof(value->boot));
}

int ply_mark_metacopy(struct ply_layer *layer, int dirfd, const char *name, const uint8_t boot[16])
{
	struct ply_metacopy value = { 0 };
	struct listed l;
	ssize_t n = list_marks(layer, dirfd, name, &l);
	int says = PLY_METACOPY_BELOW;

	if (n > 0 || n == -ERANGE)
		n = get_listed(&l, PLY_MARK_METACOPY, &value, sizeof(value));
	else if (!n)
		n = -ENODATA;
	/* The kernel's, with a digest, is longer. */
	if (n < 0 && n != -ERANGE)
		return no_mark(n) ? 0 : (int)n;
	if (n == sizeof(value) && is_of_boot(&value, boot))
		says |= PLY_METACOPY_FILLED;
	if (is_listed(&l, PLY_MARK_KEPT))
		says |= PLY_METACOPY_KEPT;
	return says;
}

int ply_mark_xwhiteout(struct ply_layer *layer, int dirfd, const char *name)
{
	return ply_mark_is_set(layer, dirfd, name, PLY_MARK_WHITEOUT);
}

int ply_mark_whiteout(struct ply_layer *layer, int dirfd, const char *name, const struct statx *stx)
{
	if (ply_is_whiteout(stx))
		return 1;
	if (!S_ISREG(stx->stx_mode) || stx->stx_size)
		return 0;
	return ply_mark_xwhiteout(layer, dirfd, name);
}

int ply_mark_aufs(int dirfd, const char *name)
{
	char mark[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];

	snprintf(mark, sizeof(mark), PLY_AUFS_PREFIX "%s", name);
	return is_there(dirfd, mark);
}

struct handle_buf {
	struct file_handle head;
	unsigned char bytes[HANDLE_MAX];
};

void ply_fh_text(const struct ply_fh *fh, char text[PLY_FH_TEXT])
{
	const uint8_t *bytes = (const uint8_t *)fh;

	text[0] = '\0';
	for (size_t i = 0; i < fh->len && i < sizeof(*fh); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

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

int ply_mark_handle(struct ply_layer *layer, int dirfd, const char *name, const char *mark,
		    struct ply_fh *fh)
{
	ssize_t n = get_mark(layer, dirfd, name, mark, fh, sizeof(*fh));

	if (n < 0)
		return no_mark(n) || n == -ERANGE ? 0 : (int)n;
	if (n <= PLY_FH_HEADER || fh->magic != PLY_FH_MAGIC || fh->len != n)
		return 0;
	return (int)n;
}

int ply_mark_origin(struct ply_layer *layer, int dirfd, const char *name, struct ply_fh *fh)
{
	return ply_mark_handle(layer, dirfd, name, PLY_MARK_ORIGIN, fh);
}

int ply_same_handle(const struct ply_fh *a, const struct ply_fh *b)
{
	return a->len == b->len && a->type == b->type &&
	       !memcmp(a->fid, b->fid, a->len - PLY_FH_HEADER);
}

int ply_mark_binding(struct ply_layer *layer, int index, struct ply_binding *binding)
{
	ssize_t n = get_mark(layer, index, "", PLY_MARK_BINDING, binding, sizeof(*binding));

	if (n < 0)
		return no_mark(n) || n == -ERANGE ? 0 : (int)n;
	return n == sizeof(*binding) && binding->version == PLY_BINDING_VERSION;
}

int ply_mark_impure(struct ply_layer *layer, int dirfd)
{
	char value = 0;
	ssize_t n = get_mark(layer, dirfd, "", PLY_MARK_IMPURE, &value, 1);

	if (n < 0)
		return no_mark(n) || n == -ERANGE ? 0 : (int)n;
	return n == 1 && value == 'y';
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
