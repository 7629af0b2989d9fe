/* Operations on extended attributes. Without noxattrs only; ACLs are theirs too, and can be switched off. */
#include <errno.h>
#include <string.h>

#include "wire/reply.h"

static int is_refused(const struct ply_wire *w, const char *name)
{
	return !(w->cfg.flags & PLY_WIRE_ACL) && !strncmp(name, "system.posix_acl_", 17);
}

/* The node, unless err says why not. */
static struct ply_node *node_for(const struct ply_wire *w, fuse_ino_t ino, const char *name,
				 int *err)
{
	struct ply_node *node = ply_wire_node(w, ino);

	*err = node ? 0 : -ESTALE;
	if (is_refused(w, name))
		*err = -EOPNOTSUPP;
	return node;
}

static size_t room(size_t size)
{
	return size < ply_task.room_size ? size : ply_task.room_size;
}

void ply_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct ply_wire *w = ply_wire_of(req);
	int err;
	struct ply_node *node = node_for(w, ino, name, &err);
	ssize_t n = err ? err : ply_getxattr(w->cfg.u, node, name, ply_task.room, room(size));

	ply_reply_value(req, size, n, ply_task.room);
}

void ply_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	ssize_t n = node ? ply_listxattr(w->cfg.u, node, ply_task.room, room(size)) : -ESTALE;

	ply_reply_value(req, size, n, ply_task.room);
}

void ply_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
		     size_t size, int flags)
{
	struct ply_wire *w = ply_wire_of(req);
	int err;
	struct ply_node *node = node_for(w, ino, name, &err);

	if (!err)
		err = ply_setxattr(w->cfg.u, node, name, value, size, flags);
	ply_reply_err(req, err);
}

void ply_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct ply_wire *w = ply_wire_of(req);
	int err;
	struct ply_node *node = node_for(w, ino, name, &err);

	ply_reply_err(req, err ? err : ply_removexattr(w->cfg.u, node, name));
}
