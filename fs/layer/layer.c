/* Opening layers, listing directories, and getting past a plain user's own forbidding modes. */
#include "layer/layer.h"

#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "layer/override.h"

#define RESOLVE_INSIDE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

struct raw_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/*
 * The root of a private copy of the mounts at path, or an error where that is refused. The copy is
 * taken apart when this very descriptor is closed, so the layer keeps it.
 */
static int open_private(const char *path)
{
	int tree = sys_open_tree(path);

	if (tree < 0)
		return tree;
	if (sys_mount_private(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME) < 0 &&
	    sys_mount_private(tree, 0) < 0) {
		sys_close(tree);
		return -EPERM;
	}
	return tree;
}

static int open_root(struct ply_layer *layer, const char *path, enum ply_layer_kind kind)
{
	int fd;

	/* Upper and work must be one mount, or no rename goes from one to the other: no copies of theirs. */
	if (layer->is_upper)
		return sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	fd = kind == PLY_LAYER_LOWER ? open_private(path) : -EPERM;
	layer->is_private = fd >= 0;
	return fd >= 0 ? fd : sys_open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
}

static void read_uuid(struct ply_layer *layer)
{
	int fd = sys_open(layer->root, ".", O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return;
	layer->knows_uuid = sys_fsuuid(fd, layer->uuid) == 0;
	sys_close(fd);
}

/* The handles of FUSE are numbers of nodes in memory: the same server started again gives them to other files. */
static void distrust_handles(struct ply_layer *layer)
{
	long magic;

	if (!sys_fstype(layer->root, &magic) && magic == FUSE_SUPER_MAGIC)
		ply_layer_set_lack(layer, PLY_LACKS_HANDLE | PLY_LACKS_OPEN_HANDLE);
}

int ply_layer_open(struct ply_layer *layer, const char *path, enum ply_layer_kind kind)
{
	char real[PATH_MAX];
	struct statx stx;
	int err;

	*layer = (struct ply_layer){ .root = -1, .is_upper = kind == PLY_LAYER_UPPER };
	layer->path = strdup(sys_realpath(path, real) ? path : real);
	if (!layer->path)
		return -ENOMEM;
	layer->root = open_root(layer, path, kind);
	err = layer->root < 0 ? layer->root : sys_statx(layer->root, "", STATX_BASIC_STATS, &stx);
	if (!err && !S_ISDIR(stx.stx_mode))
		err = -ENOTDIR;
	if (err) {
		ply_layer_close(layer);
		return err;
	}
	layer->dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	read_uuid(layer);
	distrust_handles(layer);
	ply_override_detect(layer);
	return 0;
}

void ply_layer_close(struct ply_layer *layer)
{
	if (layer->root >= 0)
		sys_close(layer->root);
	free(layer->path);
	*layer = (struct ply_layer){ .root = -1 };
}

int ply_layer_is_hole(const struct ply_layer *layer, int dirfd, const char *name)
{
	struct statx stx;

	if (!layer->hole.present || strcmp(name, layer->hole.name) ||
	    sys_statx(dirfd, "", STATX_INO, &stx) < 0)
		return 0;
	return stx.stx_ino == layer->hole.dir_ino &&
	       makedev(stx.stx_dev_major, stx.stx_dev_minor) == layer->hole.dev;
}

static int list_chunk(const char *buf, size_t size, ply_list_fn fn, void *arg)
{
	for (size_t pos = 0; pos < size;) {
		const struct raw_dirent *d = (const void *)(buf + pos);
		int res;

		pos += d->reclen;
		if (!strcmp(d->name, ".") || !strcmp(d->name, ".."))
			continue;
		res = fn(arg, d->name, d->type, d->ino);
		if (res)
			return res;
	}
	return 0;
}

/* From the descriptor's offset on; *any is set if there was anything, be it ".". */
static int list_rest(int dirfd, ply_list_fn fn, void *arg, int *any)
{
	char buf[32768] __attribute__((aligned(8)));

	for (;;) {
		ssize_t n = sys_getdents(dirfd, buf, sizeof(buf));
		int res;

		if (n <= 0)
			return (int)n;
		*any = 1;
		res = list_chunk(buf, (size_t)n, fn, arg);
		if (res)
			return res;
	}
}

/* A directory that was removed is empty. */
static int list_anew(int dirfd, ply_list_fn fn, void *arg)
{
	int fd = sys_open(dirfd, ".", O_RDONLY | O_DIRECTORY, 0), any, res;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	res = list_rest(fd, fn, arg, &any);
	sys_close(fd);
	return res;
}

/* sshfs, for one, lists nothing the second time, and remembers that the directory is empty. */
static int can_rewind(int dirfd)
{
	long magic;

	return sys_fstype(dirfd, &magic) || magic != FUSE_SUPER_MAGIC;
}

int ply_layer_list(int dirfd, ply_list_fn fn, void *arg)
{
	off_t off = sys_lseek(dirfd, 0, SEEK_CUR);
	int any = 0, res;

	if (off > 0 && !can_rewind(dirfd))
		return list_anew(dirfd, fn, arg);
	if (off > 0)
		off = sys_lseek(dirfd, 0, SEEK_SET);
	if (off < 0)
		return (int)off;
	res = list_rest(dirfd, fn, arg, &any);
	/* Without an offset to show for it, it has been listed before. */
	return res || any || can_rewind(dirfd) ? res : list_anew(dirfd, fn, arg);
}

int ply_layer_list_some(int dirfd, off_t *pos, ply_list_fn fn, void *arg)
{
	char buf[32768] __attribute__((aligned(8)));
	off_t off = sys_lseek(dirfd, *pos, SEEK_SET);
	const struct raw_dirent *d;
	ssize_t n;
	int res;

	if (off < 0)
		return (int)off;
	n = sys_getdents(dirfd, buf, sizeof(buf));
	if (n <= 0)
		return (int)n;
	for (ssize_t at = 0; at < n; at += d->reclen) {
		d = (const void *)(buf + at);
		*pos = d->off;
	}
	res = list_chunk(buf, (size_t)n, fn, arg);
	return res ? res : 1;
}

int ply_layer_is_below(int fd, const struct statx *top)
{
	struct statx stx, last = { 0 };
	int at = sys_open(fd, ".", O_PATH | O_DIRECTORY, 0), err, up;

	for (;; at = up) {
		if (at < 0)
			return at;
		err = sys_statx(at, "", STATX_INO, &stx);
		/* The root is its own parent. */
		if (err || ply_same_inode(&stx, top) || ply_same_inode(&stx, &last))
			break;
		last = stx;
		up = sys_open(at, "..", O_PATH | O_DIRECTORY, 0);
		sys_close(at);
	}
	sys_close(at);
	return err ? err : ply_same_inode(&stx, top);
}

int ply_layer_open_dir(int dirfd, const char *path)
{
	int fd = sys_openat2(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_INSIDE);

	/* Without the right to list it, it still leads to what is in it. */
	if (fd == -EACCES)
		fd = sys_openat2(dirfd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_INSIDE);
	return fd;
}

int ply_layer_open_file(int dirfd, const char *path)
{
	return sys_openat2(dirfd, path, O_RDONLY | O_NOFOLLOW, 0, RESOLVE_INSIDE);
}

int ply_layer_lend(int dirfd, const char *name, mode_t right, mode_t *old)
{
	struct statx stx;

	if (sys_statx(dirfd, name, STATX_TYPE | STATX_MODE, &stx) < 0 || S_ISLNK(stx.stx_mode) ||
	    (stx.stx_mode & right))
		return -EACCES;
	*old = stx.stx_mode & 07777;
	return sys_chmod(dirfd, name, *old | right) < 0 ? -EACCES : 0;
}

int ply_layer_open_upper(int dirfd, const char *name, int flags)
{
	struct statx stx;
	int fd = sys_open(dirfd, name, flags | O_NOFOLLOW, 0);

	if (fd != -EACCES || sys_statx(dirfd, name, STATX_MODE, &stx) < 0)
		return fd;
	if (sys_chmod(dirfd, name, (stx.stx_mode & 07777) | S_IRUSR | S_IWUSR) < 0)
		return -EACCES;
	fd = sys_open(dirfd, name, flags | O_NOFOLLOW, 0);
	sys_chmod(dirfd, name, stx.stx_mode & 07777);
	return fd;
}

int ply_layer_unlock_dir(int dirfd, mode_t *old)
{
	struct statx stx;

	if (sys_statx(dirfd, "", STATX_MODE, &stx) < 0 || (stx.stx_mode & S_IRWXU) == S_IRWXU)
		return -EACCES;
	*old = stx.stx_mode & 07777;
	return sys_chmod(dirfd, "", *old | S_IRWXU) < 0 ? -EACCES : 0;
}

static int drop_acl(int dirfd, const char *which)
{
	return sys_getxattr(dirfd, "", which, NULL, 0) > 0 ? sys_removexattr(dirfd, "", which) : 0;
}

int ply_layer_disinherit(int dirfd)
{
	int err = drop_acl(dirfd, PLY_ACL_DEFAULT);

	if (!err)
		err = drop_acl(dirfd, PLY_ACL_ACCESS);
	return err ? err : sys_chmod(dirfd, "", S_IRWXU);
}

void ply_layer_lock_dir(int dirfd, mode_t old)
{
	sys_chmod(dirfd, "", old);
}

/* Adds u+w to a directory without it, and says in *old what to put back; 0 for *old when there was no need. */
static int let_move(int dirfd, const char *name, mode_t *old)
{
	struct statx stx;

	*old = 0;
	if (sys_statx(dirfd, name, STATX_TYPE | STATX_MODE, &stx) < 0)
		return -EACCES;
	if (!S_ISDIR(stx.stx_mode) || (stx.stx_mode & S_IWUSR))
		return 0;
	if (sys_chmod(dirfd, name, (stx.stx_mode & 07777) | S_IWUSR) < 0)
		return -EACCES;
	*old = stx.stx_mode;
	return 0;
}

int ply_layer_rename(int dirfd, const char *name, int newdirfd, const char *newname, unsigned flags)
{
	int err = sys_rename(dirfd, name, newdirfd, newname, flags), exchange;
	mode_t mode, other = 0;

	if (err != -EACCES || let_move(dirfd, name, &mode))
		return err;
	exchange = flags & RENAME_EXCHANGE && !let_move(newdirfd, newname, &other);
	if (mode || other)
		err = sys_rename(dirfd, name, newdirfd, newname, flags);
	/* Put back wherever they are now. */
	if (mode)
		sys_chmod(err ? dirfd : newdirfd, err ? name : newname, mode & 07777);
	if (exchange && other)
		sys_chmod(err ? newdirfd : dirfd, err ? newname : name, other & 07777);
	return err;
}
