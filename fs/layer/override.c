/* Owner, mode and type in an extended attribute, see the header. */
#include "layer/override.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "layer/format.h"

#define VALUE_MAX 128
#define LEN(s) (sizeof(s) - 1)
#define PERMISSIONS 07777

static const char *const attrs[] = {
	[PLY_OVERRIDE_SECURITY] = PLY_OVERRIDE_SECURITY_STAT,
	[PLY_OVERRIDE_CONTAINERS] = PLY_OVERRIDE_PREFIX "stat",
	[PLY_OVERRIDE_FUSE] = PLY_SPACE_FUSE_PREFIX "override_stat",
};
#define NKINDS (sizeof(attrs) / sizeof(attrs[0]))

/* ---- values ---- */

/* A type word: 1 when it is that one, and *rest what stands behind it. */
static int is_word(const char *type, const char *word, const char **rest)
{
	size_t len = strlen(word);

	*rest = type + len;
	return !strncmp(type, word, len);
}

/* "-MAJOR-MINOR": a device, but never a whiteout. */
static int parse_device(const char *s, struct statx *stx)
{
	unsigned major, minor;

	if (sscanf(s, "-%u-%u", &major, &minor) != 2 || (!major && !minor))
		return -EINVAL;
	stx->stx_rdev_major = major;
	stx->stx_rdev_minor = minor;
	return 0;
}

/* What a regular file on disk stands for. */
static void apply_type(const char *type, struct statx *stx)
{
	const char *rest;
	mode_t meant = S_IFREG;

	if (is_word(type, "pipe", &rest))
		meant = S_IFIFO;
	else if (is_word(type, "socket", &rest))
		meant = S_IFSOCK;
	else if (is_word(type, "char", &rest) && !parse_device(rest, stx))
		meant = S_IFCHR;
	else if (is_word(type, "block", &rest) && !parse_device(rest, stx))
		meant = S_IFBLK;
	stx->stx_mode = (uint16_t)((stx->stx_mode & PERMISSIONS) | meant);
	if (meant != S_IFREG)
		stx->stx_size = stx->stx_blocks = 0;
}

static void apply(const char *value, struct statx *stx)
{
	unsigned uid, gid, mode;
	int used = 0;

	if (sscanf(value, "%u:%u:%o%n", &uid, &gid, &mode, &used) != 3)
		return;
	if (value[used] != '\0' && value[used] != ':')
		return;
	stx->stx_uid = uid;
	stx->stx_gid = gid;
	stx->stx_mode = (uint16_t)((stx->stx_mode & S_IFMT) | (mode & PERMISSIONS));
	if (value[used] == ':' && S_ISREG(stx->stx_mode))
		apply_type(value + used + 1, stx);
}

/* A file's and a directory's type is on disk; readers of old know no type at all. */
static void format(const struct statx *stx, char value[VALUE_MAX])
{
	int n = snprintf(value, VALUE_MAX, "%u:%u:%04o", stx->stx_uid, stx->stx_gid,
			 stx->stx_mode & PERMISSIONS);

	if (S_ISFIFO(stx->stx_mode))
		strcpy(value + n, ":pipe");
	else if (S_ISSOCK(stx->stx_mode))
		strcpy(value + n, ":socket");
	else if (S_ISCHR(stx->stx_mode) || S_ISBLK(stx->stx_mode))
		sprintf(value + n, ":%s-%u-%u", S_ISCHR(stx->stx_mode) ? "char" : "block",
			stx->stx_rdev_major, stx->stx_rdev_minor);
}

/* ---- inodes ---- */

void ply_override_detect(struct ply_layer *layer)
{
	layer->override = PLY_OVERRIDE_NONE;
	for (size_t i = 1; i < NKINDS && !layer->override; i++)
		if (sys_getxattr(layer->root, "", attrs[i], NULL, 0) >= 0)
			layer->override = (uint8_t)i;
}

int ply_override_start(struct ply_layer *layer, enum ply_override_kind kind,
		       const struct statx *root)
{
	int err;

	layer->override = (uint8_t)kind;
	err = ply_override_set(layer, layer->root, "", root);
	if (err)
		layer->override = PLY_OVERRIDE_NONE;
	return err;
}

int ply_layer_statx(struct ply_layer *layer, int dirfd, const char *name, unsigned mask,
		    struct statx *stx)
{
	char value[VALUE_MAX];
	ssize_t n;
	int err;

	if (!layer->override)
		return sys_statx(dirfd, name, mask, stx);
	err = sys_statx(dirfd, name, mask | STATX_TYPE, stx);
	if (err || !(S_ISREG(stx->stx_mode) || S_ISDIR(stx->stx_mode)))
		return err;
	n = sys_getxattr(dirfd, name, attrs[layer->override], value, sizeof(value) - 1);
	/* A longer one is none of ours, and neither is one that may not be read. */
	if (n < 0)
		return n == -EIO || n == -ENOMEM ? (int)n : 0;
	value[n] = '\0';
	apply(value, stx);
	return 0;
}

/* What the inode itself has: its owner here must get by, and others get no more than was meant for them. */
static mode_t disk_mode(mode_t mode)
{
	return (mode & 0777) | S_IRUSR | S_IWUSR | (S_ISDIR(mode) ? S_IXUSR : 0);
}

int ply_override_set(struct ply_layer *layer, int dirfd, const char *name, const struct statx *stx)
{
	char value[VALUE_MAX];
	int err = 0;

	format(stx, value);
	if (!S_ISLNK(stx->stx_mode))
		err = sys_chmod(dirfd, name, disk_mode(stx->stx_mode));
	if (!err)
		err = sys_setxattr(dirfd, name, attrs[layer->override], value, strlen(value), 0);
	return S_ISLNK(stx->stx_mode) && err == -EPERM ? 0 : err;
}

int ply_layer_mknod(struct ply_layer *layer, int dirfd, const char *name, mode_t mode, dev_t dev)
{
	if (!layer->override)
		return sys_mknod(dirfd, name, mode, dev);
	return sys_mknod(dirfd, name, S_IFREG | disk_mode(mode & 0777), 0);
}

static int drop_capability(struct ply_layer *layer, int dirfd, const char *name)
{
	char disk[PLY_XATTR_NAME_SIZE];
	int err = ply_layer_xattr_to_disk(layer, "security.capability", disk);

	if (!err)
		err = sys_removexattr(dirfd, name, disk);
	return err == -ENODATA || err == -EOPNOTSUPP ? 0 : err;
}

static int override_owner(struct ply_layer *layer, int dirfd, const char *name, uid_t uid,
			  gid_t gid)
{
	struct statx stx;
	int err = ply_layer_statx(layer, dirfd, name, STATX_BASIC_STATS, &stx);

	if (err)
		return err;
	if (uid != (uid_t)-1)
		stx.stx_uid = uid;
	if (gid != (gid_t)-1)
		stx.stx_gid = gid;
	if (S_ISREG(stx.stx_mode)) {
		stx.stx_mode &= (uint16_t)~S_ISUID;
		if (stx.stx_mode & S_IXGRP)
			stx.stx_mode &= (uint16_t)~S_ISGID;
		err = drop_capability(layer, dirfd, name);
	}
	return err ? err : ply_override_set(layer, dirfd, name, &stx);
}

int ply_layer_chown(struct ply_layer *layer, int dirfd, const char *name, uid_t uid, gid_t gid)
{
	int err;

	if (layer->override)
		return override_owner(layer, dirfd, name, uid, gid);
	err = sys_chown(dirfd, name, uid, gid);
	return layer->is_lax && (err == -EPERM || err == -EINVAL) ? 0 : err;
}

int ply_layer_chmod(struct ply_layer *layer, int dirfd, const char *name, mode_t mode)
{
	struct statx stx;
	int err;

	if (!layer->override)
		return sys_chmod(dirfd, name, mode);
	err = ply_layer_statx(layer, dirfd, name, STATX_BASIC_STATS, &stx);
	if (err)
		return err;
	stx.stx_mode = (uint16_t)((stx.stx_mode & S_IFMT) | (mode & PERMISSIONS));
	return ply_override_set(layer, dirfd, name, &stx);
}

/* ---- names of attributes ---- */

/* Those that such a layer keeps under names of its own, as nobody without privilege could set them. */
static int is_kept_aside(const char *name)
{
	static const char *const prefixes[] = {
		"security.",	       PLY_OVERRIDE_PREFIX,   PLY_SPACE_TRUSTED_PREFIX,
		PLY_SPACE_USER_PREFIX, PLY_SPACE_FUSE_PREFIX,
	};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return 1;
	return 0;
}

static int is_override(const struct ply_layer *layer, const char *disk)
{
	return layer->override && !strcmp(disk, attrs[layer->override]);
}

/* The user's name of what is kept aside under this name, or NULL. */
static const char *aside_name(const struct ply_layer *layer, const char *disk)
{
	if (layer->override != PLY_OVERRIDE_CONTAINERS ||
	    strncmp(disk, PLY_OVERRIDE_PREFIX, LEN(PLY_OVERRIDE_PREFIX)) != 0 ||
	    !is_kept_aside(disk + LEN(PLY_OVERRIDE_PREFIX)))
		return NULL;
	return disk + LEN(PLY_OVERRIDE_PREFIX);
}

int ply_layer_xattr_to_disk(const struct ply_layer *layer, const char *name,
			    char disk[PLY_XATTR_NAME_SIZE])
{
	int n;

	if (layer->override == PLY_OVERRIDE_CONTAINERS && is_kept_aside(name)) {
		n = snprintf(disk, PLY_XATTR_NAME_SIZE, "%s%s", PLY_OVERRIDE_PREFIX, name);
		return n < PLY_XATTR_NAME_SIZE ? 0 : -ERANGE;
	}
	return is_override(layer, name) ? -EPERM : ply_xattr_to_disk(name, disk);
}

size_t ply_layer_xattr_filter_list(const struct ply_layer *layer, char *list, size_t size)
{
	size_t kept = 0;

	if (!layer->override)
		return ply_xattr_filter_list(list, size);
	for (size_t pos = 0, len; pos < size; pos += len) {
		const char *name = list + pos, *aside = aside_name(layer, name);
		size_t shown;

		len = strlen(name) + 1;
		if (is_override(layer, name))
			continue;
		if (aside) {
			shown = strlen(aside) + 1;
			memmove(list + kept, aside, shown);
		} else {
			memmove(list + kept, name, len);
			shown = ply_xattr_filter_list(list + kept, len);
		}
		kept += shown;
	}
	return kept;
}

int ply_layer_xattr_move(const struct ply_layer *from, const struct ply_layer *to, const char *disk,
			 char moved[PLY_XATTR_NAME_SIZE])
{
	char user[PLY_XATTR_NAME_SIZE];
	size_t len = strlen(disk) + 1;

	if (len > sizeof(user))
		return -ENODATA;
	memcpy(user, disk, len);
	if (!ply_layer_xattr_filter_list(from, user, len))
		return -ENODATA;
	/* Modes and owners of such a layer know no lists. */
	if (to->override && !strncmp(user, "system.posix_acl_", 17))
		return -ENODATA;
	return ply_layer_xattr_to_disk(to, user, moved) ? -ENODATA : 0;
}
