/*
 * Operations on extended attributes. Without noxattrs only; ACLs are theirs too, and can be
 * switched off.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/ids.h"
#include "wire/reply.h"

/* Asked for before a file is written, or executed. */
#define CAPABILITY "security.capability"

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
	ssize_t n;

	if (!err && (w->cfg.flags & PLY_WIRE_WRITEBACK) && !strcmp(name, CAPABILITY))
		err = ply_writers_add(w, ino);
	n = err ? err : ply_getxattr(w->cfg.u, node, name, ply_task.room, room(size));

	if (n > 0 && size && ply_ids_in_value(w->cfg.ids, name))
		ply_ids_show_value(w->cfg.ids, ply_task.room, (size_t)n);
	ply_reply_value(req, size, n, ply_task.room);
}

/* The trusted names are for privileged eyes only, as on any file system; ACLs that are switched off for none. */
static int is_hidden(const struct ply_wire *w, uid_t uid, const char *name)
{
	return (uid && !strncmp(name, "trusted.", 8)) || is_refused(w, name);
}

/* In place; the new length. */
static ssize_t without_hidden(const struct ply_wire *w, uid_t uid, char *list, ssize_t size)
{
	ssize_t kept = 0;

	for (ssize_t pos = 0; pos < size;) {
		size_t len = strlen(list + pos) + 1;

		if (!is_hidden(w, uid, list + pos)) {
			memmove(list + kept, list + pos, len);
			kept += (ssize_t)len;
		}
		pos += (ssize_t)len;
	}
	return kept;
}

void ply_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	ssize_t n =
		node ? ply_listxattr(w->cfg.u, node, ply_task.room, ply_task.room_size) : -ESTALE;

	if (n > 0)
		n = without_hidden(w, fuse_req_ctx(req)->uid, ply_task.room, n);
	if (n > 0 && size && (size_t)n > size)
		n = -ERANGE;
	ply_reply_value(req, size, n, ply_task.room);
}

/* Sets a value whose ids the layers keep as others; the request itself stays as it is. */
static int set_mapped(const struct ply_wire *w, struct ply_node *node, const char *name,
		      const void *value, size_t size, int flags)
{
	void *kept = malloc(size + 1);
	ssize_t n;

	if (!kept)
		return -ENOMEM;
	memcpy(kept, value, size);
	n = ply_ids_keep_value(w->cfg.ids, kept, size);
	if (n >= 0)
		n = ply_setxattr(w->cfg.u, node, name, kept, (size_t)n, flags);
	free(kept);
	return (int)n;
}

static int set_value(const struct ply_wire *w, struct ply_node *node, const char *name,
		     const void *value, size_t size, int flags)
{
	if (ply_ids_in_value(w->cfg.ids, name))
		return set_mapped(w, node, name, value, size, flags);
	return ply_setxattr(w->cfg.u, node, name, value, size, flags);
}

/*
 * Served here and not by libfuse, of which some versions misread the longer header: that says when an ACL
 * is set by somebody who may not keep the file's set-gid bit.
 */
void ply_raw_setxattr(const struct ply_raw *raw)
{
	const struct fuse_setxattr_in *in = raw->body;
	int extended = (raw->w->offered & FUSE_SETXATTR_EXT) != 0;
	size_t head = extended ? sizeof(*in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
	const char *name = (const char *)raw->body + head;
	size_t rest = raw->len > head ? raw->len - head : 0, len = strnlen(name, rest);
	int err = -EINVAL, flags;
	struct ply_node *node;

	if (!(raw->w->cfg.flags & PLY_WIRE_XATTR)) {
		err = -ENOSYS;
	} else if (len < rest && in->size <= rest - len - 1) {
		flags = (int)in->flags;
		if (extended && (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID))
			flags |= PLY_XATTR_KILL_SGID;
		node = node_for(raw->w, raw->in->nodeid, name, &err);
		if (!err)
			err = set_value(raw->w, node, name, name + len + 1, in->size, flags);
	}
	ply_reply_raw_err(raw, err);
}

void ply_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct ply_wire *w = ply_wire_of(req);
	int err;
	struct ply_node *node = node_for(w, ino, name, &err);

	ply_reply_err(req, err ? err : ply_removexattr(w->cfg.u, node, name));
}
