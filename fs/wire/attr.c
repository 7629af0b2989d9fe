/* Operations on attributes, a link's target, and the numbers of the file system. */
#include <errno.h>
#include <stdlib.h>

#include "base/ids.h"
#include "wire/reply.h"

void ply_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	struct statx attr;
	int err = node ? ply_getattr(w->cfg.u, node, &attr) : -ESTALE;

	(void)fi;
	ply_reply_attr(req, err, &attr);
}

/* Asked for when somebody wants the birth time. */
void ply_raw_statx(const struct ply_raw *raw)
{
	struct ply_node *node = ply_wire_node(raw->w, raw->in->nodeid);
	struct statx attr;
	int err = node ? ply_getattr(raw->w->cfg.u, node, &attr) : -ESTALE;

	ply_reply_raw_statx(raw, err, &attr);
}

/* What the kernel wants set, and what that is to the union. The change time follows by itself. */
static const struct {
	unsigned fuse, ply;
} set_flags[] = {
	{ FATTR_MODE, PLY_SET_MODE },
	{ FATTR_UID, PLY_SET_UID },
	{ FATTR_GID, PLY_SET_GID },
	{ FATTR_SIZE, PLY_SET_SIZE },
	{ FATTR_ATIME, PLY_SET_ATIME },
	{ FATTR_MTIME, PLY_SET_MTIME },
	{ FATTR_ATIME_NOW, PLY_SET_ATIME_NOW },
	{ FATTR_MTIME_NOW, PLY_SET_MTIME_NOW },
	{ FATTR_KILL_SUIDGID, PLY_SET_KILL_PRIV },
};

static unsigned set_flags_of(const struct ply_wire *w, unsigned fuse)
{
	unsigned valid = 0;

	for (size_t i = 0; i < sizeof(set_flags) / sizeof(set_flags[0]); i++)
		if (fuse & set_flags[i].fuse)
			valid |= set_flags[i].ply;
	/* With a writeback cache the kernel sends the time as well, or leaves it. */
	if ((valid & PLY_SET_SIZE) && !(w->cfg.flags & PLY_WIRE_WRITEBACK))
		valid |= PLY_SET_SIZE_TIMES;
	return valid;
}

/* 1, 0, or -errno: a caller whom the server's /proc does not show has groups that nobody knows. */
static int is_in_group(fuse_req_t req, gid_t gid)
{
	int n = fuse_req_getgroups(req, 0, NULL), found = 0;
	gid_t *groups;

	if (fuse_req_ctx(req)->gid == gid || n <= 0)
		return fuse_req_ctx(req)->gid == gid ? 1 : n;
	groups = calloc((size_t)n, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	if (fuse_req_getgroups(req, n, groups) != n)
		found = -EAGAIN;
	for (int i = 0; i < n && !found; i++)
		found = groups[i] == gid;
	free(groups);
	return found;
}

/* Set-gid without group execution falls too, unless who changes the file is in its group. */
static int drops_sgid(fuse_req_t req, struct ply_node *node, int is_announced)
{
	struct ply_wire *w = ply_wire_of(req);
	struct statx attr;
	int member;

	if (ply_getattr(w->cfg.u, node, &attr) || (attr.stx_mode & (S_ISGID | S_IXGRP)) != S_ISGID)
		return 0;
	member = is_in_group(req, ply_ids_show_group(w->cfg.ids, attr.stx_gid));
	/* Where it is all that may fall, the kernel has found that it does. */
	return member < 0 ? is_announced && !(attr.stx_mode & S_ISUID) : !member;
}

/*
 * A request that sets nothing announces a write, fallocate or the like that takes set-id bits
 * or capabilities away. The bits fall here and not only with the write: the kernel goes by the
 * attributes of this answer, and asks for no others afterwards. Root keeps them: from it the
 * request is about capabilities, which the kernel removes itself.
 */
static unsigned kill_flags(fuse_req_t req, struct ply_node *node, unsigned valid)
{
	if (!fuse_req_ctx(req)->uid || (valid && !(valid & PLY_SET_KILL_PRIV)))
		return 0;
	return PLY_SET_KILL_PRIV | (drops_sgid(req, node, !valid) ? PLY_SET_KILL_SGID : 0);
}

/* Whom the file is to belong to, as the layer keeps it. -EINVAL when it cannot. */
static int keep_owner(const struct ply_wire *w, struct ply_setattr *set)
{
	int err = 0;

	if (set->valid & PLY_SET_UID)
		err = ply_ids_keep_user(w->cfg.ids, set->uid, &set->uid);
	if (!err && (set->valid & PLY_SET_GID))
		err = ply_ids_keep_group(w->cfg.ids, set->gid, &set->gid);
	return err;
}

void ply_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int valid,
		    struct fuse_file_info *fi)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	struct ply_setattr set = {
		.valid = set_flags_of(w, ply_task.flags),
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = st->st_size,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
	};
	struct statx attr;
	int err = node ? keep_owner(w, &set) : -ESTALE;

	if (!err)
		set.valid |= kill_flags(req, node, set.valid);
	if (!err)
		err = ply_setattr(w->cfg.u, node, &set, &attr);
	(void)valid;
	(void)fi;
	ply_reply_attr(req, err, &attr);
}

void ply_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	ssize_t n =
		node ? ply_readlink(w->cfg.u, node, ply_task.room, ply_task.room_size) : -ESTALE;

	ply_reply_data(req, n, ply_task.room);
}

void ply_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct ply_wire *w = ply_wire_of(req);
	/* Asked of no node in particular. */
	struct ply_node *node = ino ? ply_wire_node(w, ino) : ply_root(w->cfg.u);
	struct statvfs st;
	int err = node ? ply_statfs(w->cfg.u, node, &st) : -ESTALE;

	ply_reply_statfs(req, err, &st);
}
