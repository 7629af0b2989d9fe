/* Attributes: always asked of the inode on disk, which nobody else changes, so there is nothing to go stale. */
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "layer/override.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/fill.h"
#include "union/lookup.h"
#include "union/place.h"
#include "union/settle.h"

#define ATTR_MASK (STATX_BASIC_STATS | STATX_BTIME)

/* node->lock is held. */
static int getattr_locked(struct ply_union *u, struct ply_node *node, struct statx *attr)
{
	struct ply_place place;
	int err = ply_place_of(u, node, &place);

	if (err)
		return err;
	err = ply_layer_statx(place.layer, place.fd, place.name, ATTR_MASK, attr);
	ply_place_put(u, &place);
	if (!err)
		ply_attr_fix(u, node, attr);
	return err;
}

int ply_getattr(struct ply_union *u, struct ply_node *node, struct statx *attr)
{
	int err;

	pthread_mutex_lock(&node->lock);
	err = getattr_locked(u, node, attr);
	pthread_mutex_unlock(&node->lock);
	return err;
}

static int set_owner(const struct ply_place *place, const struct ply_setattr *set)
{
	uid_t uid = set->valid & PLY_SET_UID ? set->uid : (uid_t)-1;
	gid_t gid = set->valid & PLY_SET_GID ? set->gid : (gid_t)-1;

	return ply_layer_chown(place->layer, place->fd, place->name, uid, gid);
}

static int set_times(const struct ply_place *place, const struct ply_setattr *set)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (set->valid & PLY_SET_ATIME)
		ts[0] = set->atime;
	if (set->valid & PLY_SET_MTIME)
		ts[1] = set->mtime;
	if (set->valid & PLY_SET_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	if (set->valid & PLY_SET_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	return sys_utimens(place->fd, place->name, ts);
}

static int set_size(struct ply_union *u, struct ply_node *node, off_t size)
{
	struct ply_fd *fd;
	int err = ply_data_open_upper(u, node, &fd);

	if (err)
		return err;
	err = sys_truncate(fd->fd, size);
	if (!err && !size)
		err = ply_settle_emptied(u, node);
	ply_fd_put(u->fds, fd);
	return err;
}

static enum ply_kill kill_of(const struct ply_setattr *set)
{
	return set->valid & PLY_SET_KILL_SGID ? PLY_KILL_SGID_TOO : PLY_KILL_USUAL;
}

/* The file system below has dropped them, at a change of owner that is not kept aside and could not be left out. */
static int has_killed(const struct ply_place *place, const struct ply_setattr *set)
{
	return (set->valid & (PLY_SET_UID | PLY_SET_GID)) &&
	       !(set->valid & (PLY_SET_MODE | PLY_SET_KILL_SGID)) && !place->layer->override &&
	       !place->layer->is_lax;
}

#define SET_TIMES (PLY_SET_ATIME | PLY_SET_MTIME | PLY_SET_ATIME_NOW | PLY_SET_MTIME_NOW)

/* node->lock is held, the node is up. Owner before mode: changing it drops set-id bits. */
static int apply_locked(struct ply_union *u, struct ply_node *node, const struct ply_setattr *set)
{
	struct ply_place place;
	int err = ply_place_of(u, node, &place);

	if (err)
		return err;
	if (set->valid & (PLY_SET_UID | PLY_SET_GID))
		err = set_owner(&place, set);
	if (!err && (set->valid & PLY_SET_MODE))
		err = S_ISLNK(ply_node_type(node)) ? -EOPNOTSUPP
						   : ply_layer_chmod(place.layer, place.fd,
								     place.name, set->mode & 07777);
	if (!err && (set->valid & PLY_SET_KILL_PRIV) && !has_killed(&place, set))
		err = ply_kill_priv(u, node, kill_of(set));
	if (!err && (set->valid & SET_TIMES))
		err = set_times(&place, set);
	ply_place_put(u, &place);
	return err;
}

static int same_mtime(const struct statx *attr, const struct ply_setattr *set)
{
	return attr->stx_mtime.tv_sec == set->mtime.tv_sec &&
	       attr->stx_mtime.tv_nsec == set->mtime.tv_nsec;
}

/*
 * The kernel's writeback flushes times by setting the mtime that the file has, after unlink, link and
 * rename too: that must bring nothing up; nor must dropping set-id bits where there are none, or a
 * truncation to the size that the file has, unless that is to move its times.
 * 1 when there was nothing to set; attr is filled.
 */
static int sets_nothing(struct ply_union *u, struct ply_node *node, const struct ply_setattr *set,
			struct statx *attr)
{
	int err;

	if (set->valid &
	    ~(unsigned)(PLY_SET_MTIME | PLY_SET_KILL_PRIV | PLY_SET_KILL_SGID | PLY_SET_SIZE))
		return 0;
	err = ply_getattr(u, node, attr);
	if (err)
		return err;
	if ((set->valid & PLY_SET_SIZE) && (uint64_t)set->size != attr->stx_size)
		return 0;
	if ((set->valid & PLY_SET_KILL_PRIV) && ply_kill_bits(attr->stx_mode, kill_of(set)))
		return 0;
	return !(set->valid & PLY_SET_MTIME) || same_mtime(attr, set);
}

int ply_setattr(struct ply_union *u, struct ply_node *node, const struct ply_setattr *set,
		struct statx *attr)
{
	int has_size = (set->valid & PLY_SET_SIZE) != 0;
	int err = sets_nothing(u, node, set, attr);

	if (err)
		return err < 0 ? err : 0;
	if (has_size && !S_ISREG(ply_node_type(node)))
		return ply_node_is_dir(node) ? -EISDIR : -EINVAL;
	if (has_size && set->size < 0)
		return -EINVAL;
	err = ply_copyup(u, node, has_size ? set->size : PLY_NO_DATA);
	if (!err && has_size)
		err = set_size(u, node, set->size);
	if (err)
		return err;
	if (!(set->valid & ~(unsigned)PLY_SET_SIZE))
		return ply_getattr(u, node, attr);
	err = ply_fill_lock(u, node);
	if (err)
		return err;
	err = apply_locked(u, node, set);
	if (!err)
		err = getattr_locked(u, node, attr);
	ply_fill_unlock(u, node);
	return err;
}

ssize_t ply_readlink(struct ply_union *u, struct ply_node *node, char *buf, size_t size)
{
	struct ply_place place;
	ssize_t n;

	if (!S_ISLNK(ply_node_type(node)))
		return -EINVAL;
	pthread_mutex_lock(&node->lock);
	n = ply_place_of(u, node, &place);
	if (!n) {
		n = sys_readlink(place.fd, place.name, buf, size);
		ply_place_put(u, &place);
	}
	pthread_mutex_unlock(&node->lock);
	return n;
}

int ply_statfs(struct ply_union *u, struct ply_node *node, struct statvfs *out)
{
	int err = sys_statvfs(u->layers[ply_union_readonly(u) ? 1 : PLY_UPPER].root, out);

	(void)node;
	if (!err)
		out->f_namemax = PLY_NAME_MAX;
	return err;
}
