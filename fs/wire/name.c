/*
 * Operations on names: looking up, making, linking, removing, renaming, forgetting. The union is told each name
 * as it is kept on disk.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/ids.h"
#include "layer/marks.h"
#include "wire/reply.h"

void ply_op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, dir);
	char disk[PLY_NAME_MAX + 1];
	struct ply_entry entry;
	int err = -ESTALE;

	if (node)
		err = ply_lookup(w->cfg.u, node, ply_name_to_disk(name, disk), &entry);
	ply_reply_lookup(req, err, &entry);
}

/*
 * Who makes something, as the layer keeps owners. Root outside of the map makes it for the layers' root, as a
 * runtime does that prepares a container; others who cannot be kept make nothing, as on an id-mapped mount.
 */
static int keep_cred(const struct ply_wire *w, struct ply_cred *cred)
{
	int uid_err = ply_ids_keep_user(w->cfg.ids, cred->uid, &cred->uid);
	int gid_err = ply_ids_keep_group(w->cfg.ids, cred->gid, &cred->gid);

	return (uid_err && cred->uid) || (gid_err && cred->gid) ? -EOVERFLOW : 0;
}

static void make(fuse_req_t req, fuse_ino_t dir, const char *name, struct ply_make how)
{
	struct ply_wire *w = ply_wire_of(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct ply_node *node = ply_wire_node(w, dir);
	char disk[PLY_NAME_MAX + 1];
	struct ply_entry entry;
	int err;

	how.cred = (struct ply_cred){ .uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask };
	err = node ? keep_cred(w, &how.cred) : -ESTALE;
	if (!err)
		err = ply_create(w->cfg.u, node, ply_name_to_disk(name, disk), &how, &entry);
	/*
	 * The kernel thought that the name is free: a layer has shown it since. Told that it knows something stale it looks
	 * again, and then an open(O_CREAT) opens what is there.
	 */
	if (err == -EEXIST)
		err = -ESTALE;
	ply_reply_entry(req, err, &entry);
}

/* Regular files come this way, too. */
void ply_op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	make(req, dir, name, (struct ply_make){ .mode = mode, .rdev = rdev });
}

void ply_op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	make(req, dir, name, (struct ply_make){ .mode = S_IFDIR | mode });
}

void ply_op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	make(req, dir, name, (struct ply_make){ .mode = S_IFLNK | 0777, .target = target });
}

void ply_raw_tmpfile(const struct ply_raw *raw)
{
	const struct fuse_create_in *in = raw->body;
	struct ply_node *dir = ply_wire_node(raw->w, raw->in->nodeid);
	struct ply_make how = {
		.mode = S_IFREG | (in->mode & 07777),
		.cred = { .uid = raw->in->uid, .gid = raw->in->gid, .umask = in->umask },
	};
	struct ply_entry entry;
	int err = dir ? keep_cred(raw->w, &how.cred) : -ESTALE;

	if (!err)
		err = ply_tmpfile(raw->w->cfg.u, dir, &how, &entry);
	ply_reply_raw_tmpfile(raw, err, &entry);
}

void ply_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino), *to = ply_wire_node(w, dir);
	char disk[PLY_NAME_MAX + 1];
	struct ply_entry entry;
	int err = -ESTALE;

	if (node && to)
		err = ply_link(w->cfg.u, node, to, ply_name_to_disk(name, disk), &entry);
	ply_reply_entry(req, err, &entry);
}

void ply_op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, dir);
	char disk[PLY_NAME_MAX + 1];

	name = ply_name_to_disk(name, disk);
	ply_reply_err(req, node ? ply_unlink(w->cfg.u, node, name) : -ESTALE);
}

void ply_op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, dir);
	char disk[PLY_NAME_MAX + 1];

	name = ply_name_to_disk(name, disk);
	ply_reply_err(req, node ? ply_rmdir(w->cfg.u, node, name) : -ESTALE);
}

void ply_op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t newdir,
		   const char *newname, unsigned flags)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *from = ply_wire_node(w, dir), *to = ply_wire_node(w, newdir);
	char disk[PLY_NAME_MAX + 1], newdisk[PLY_NAME_MAX + 1];
	int err = -ESTALE;

	if (from && to)
		err = ply_rename(w->cfg.u, from, ply_name_to_disk(name, disk), to,
				 ply_name_to_disk(newname, newdisk), flags);
	ply_reply_err(req, err);
}

static void forget(struct ply_wire *w, fuse_ino_t ino, uint64_t n)
{
	struct ply_node *node = ply_wire_node(w, ino);

	if (node)
		ply_forget(w->cfg.u, node, n);
}

void ply_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(ply_wire_of(req), ino, n);
	ply_reply_none(req);
}

void ply_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *list)
{
	for (size_t i = 0; i < count; i++)
		forget(ply_wire_of(req), list[i].ino, list[i].nlookup);
	ply_reply_none(req);
}
