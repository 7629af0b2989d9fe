/*
 * The metadata of a copy. Owner first, since changing it drops set-id bits and capabilities; then
 * xattrs, among them ACLs; then the mode, after which a plain user may write no more; times last.
 */
#include "layer/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/override.h"

#define VALUE_START 1024

/* A growing buffer for one attribute after the other. */
struct value {
	char *at;
	size_t size;
};

/* The whole value or list (attr NULL): its length. */
static ssize_t fetch(const struct ply_attr_source *from, const char *attr, struct value *v)
{
	for (;;) {
		ssize_t n = -ERANGE;
		char *bigger;

		if (v->size)
			n = attr ? sys_getxattr(from->fd, from->name, attr, v->at, v->size)
				 : sys_listxattr(from->fd, from->name, v->at, v->size);
		if (n != -ERANGE)
			return n;
		bigger = realloc(v->at, v->size ? v->size * 4 : VALUE_START);
		if (!bigger)
			return -ENOMEM;
		v->at = bigger;
		v->size = v->size ? v->size * 4 : VALUE_START;
	}
}

/* What the target cannot hold or this process may not set is left behind; running out of room is an error. */
static int may_be_left(const char *attr, int err)
{
	if (err == -EOPNOTSUPP || err == -EINVAL)
		return 1;
	return (err == -EPERM || err == -EACCES) && strncmp(attr, "user.", 5) != 0;
}

static int cannot_keep(const struct ply_attr_source *from, const char *attr, int err)
{
	return from->cannot_keep ? from->cannot_keep(from->arg, attr, err) : 0;
}

/* attr: its name at the source; as: at the copy. */
static int copy_one(const struct ply_attr_source *from, const char *attr, const char *as,
		    struct value *v, int fd, const char *name)
{
	ssize_t n = fetch(from, attr, v);
	int err = n < 0 ? (int)n : sys_setxattr(fd, name, as, v->at, (size_t)n, 0);

	if (n == -ENODATA)
		return 0;
	return err && may_be_left(attr, err) ? cannot_keep(from, attr, err) : err;
}

static int is_taken(const struct ply_attr_source *from, const char *attr)
{
	return !ply_xattr_is_mark(attr) || (from->takes_mark && from->takes_mark(from->arg, attr));
}

/* What the attribute is to be called in the copy; -ENODATA when it stays behind. */
static int name_there(const struct ply_attr_source *from, const char *attr,
		      char as[PLY_XATTR_NAME_SIZE])
{
	if (from->to && (from->to->override || from->layer->override))
		return ply_layer_xattr_move(from->layer, from->to, attr, as);
	if (!is_taken(from, attr))
		return -ENODATA;
	return snprintf(as, PLY_XATTR_NAME_SIZE, "%s", attr) < PLY_XATTR_NAME_SIZE ? 0 : -ERANGE;
}

/* How many, or -errno. */
static int copy_xattrs(const struct ply_attr_source *from, int fd, const char *name)
{
	struct value list = { 0 }, value = { 0 };
	ssize_t n = ply_layer_lacks(from->layer, PLY_LACKS_XATTR) ? 0 : fetch(from, NULL, &list);
	int err = 0, copied = 0;

	if (n == -EOPNOTSUPP)
		ply_layer_set_lack(from->layer, PLY_LACKS_XATTR);
	for (ssize_t pos = 0; pos < n && !err; pos += (ssize_t)strlen(list.at + pos) + 1) {
		char as[PLY_XATTR_NAME_SIZE];

		if (name_there(from, list.at + pos, as))
			continue;
		err = copy_one(from, list.at + pos, as, &value, fd, name);
		copied++;
	}
	free(list.at);
	free(value.at);
	if (n < 0 && n != -EOPNOTSUPP)
		return (int)n;
	return err ? err : copied;
}

#define UNKNOWN_MODE ((mode_t)-1)

/*
 * A new file has this process's owner already; most copies by root need no call. 1 when the owner stays
 * another, as the caller allows. *mode: what the copy has afterwards, where that is known.
 */
static int copy_owner(const struct ply_attr_source *from, const struct statx *stx, int fd,
		      const char *name, mode_t *mode)
{
	struct statx mine;
	int err = sys_statx(fd, name, STATX_MODE | STATX_UID | STATX_GID, &mine);

	if (err)
		return err;
	if (mine.stx_uid == stx->stx_uid && mine.stx_gid == stx->stx_gid) {
		*mode = mine.stx_mode & 07777;
		return 0;
	}
	err = sys_chown(fd, name, stx->stx_uid, stx->stx_gid);
	/* In a user namespace without a number for that owner nobody could give it. */
	if (from->to && (err == -EINVAL || (err == -EPERM && from->to->is_lax)))
		return 1;
	if ((err != -EPERM && err != -EINVAL) || !from->cannot_keep)
		return err;
	sys_chown(fd, name, (uid_t)-1, stx->stx_gid);
	err = from->cannot_keep(from->arg, NULL, err);
	return err ? err : 1;
}

int ply_set_times(int fd, const char *name, const struct statx *stx)
{
	struct timespec times[2] = {
		{ .tv_sec = stx->stx_atime.tv_sec, .tv_nsec = stx->stx_atime.tv_nsec },
		{ .tv_sec = stx->stx_mtime.tv_sec, .tv_nsec = stx->stx_mtime.tv_nsec },
	};

	return sys_utimens(fd, name, times);
}

int ply_set_mtime(int fd, const struct statx *stx)
{
	struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = stx->stx_mtime.tv_sec, .tv_nsec = stx->stx_mtime.tv_nsec },
	};

	return sys_utimens(fd, "", times);
}

int ply_copy_attrs(const struct ply_attr_source *from, const struct statx *stx, int fd,
		   const char *name)
{
	mode_t has = UNKNOWN_MODE;
	int aside = from->to && from->to->override;
	int owner = aside ? 0 : copy_owner(from, stx, fd, name, &has);
	int copied = owner < 0 ? owner : copy_xattrs(from, fd, name), err = copied < 0 ? copied : 0;
	/* Set-id bits give another owner's rights away. */
	mode_t mode = stx->stx_mode & (owner ? 01777 : 07777);

	if (from->nattrs && !err)
		*from->nattrs = copied;
	/* An access control list changes the mode. */
	if (copied > 0)
		has = UNKNOWN_MODE;
	if (!err && aside)
		err = ply_override_set(from->to, fd, name, stx);
	else if (!err && !S_ISLNK(stx->stx_mode) && has != mode)
		err = sys_chmod(fd, name, mode);
	return err ? err : ply_set_times(fd, name, stx);
}
