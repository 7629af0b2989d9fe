/*
 * Operations on data. It moves by node, for no file is ever opened here. What is known to take long
 * hands the lead to another thread first; of a slow read or write the watchdog takes care.
 */
#include <errno.h>
#include <unistd.h>

#include "wire/reply.h"

void ply_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	ssize_t n;

	(void)fi;
	if (size > ply_task.room_size)
		size = ply_task.room_size;
	n = node ? ply_read(w->cfg.u, node, ply_task.room, size, off) : -ESTALE;
	ply_reply_data(req, n, ply_task.room);
}

/*
 * Where the kernel collects writes it keeps the times, whatever it is that changes data. Elsewhere it asks for those that
 * the write has made, also when pages of shared mappings come out of its cache.
 */
static unsigned times_flags(const struct ply_wire *w)
{
	return w->cfg.flags & PLY_WIRE_WRITEBACK ? PLY_WRITE_KEEP_TIMES : 0;
}

static unsigned write_flags(const struct ply_wire *w)
{
	unsigned asked = ply_task.flags;

	return (asked & FUSE_WRITE_KILL_SUIDGID ? PLY_WRITE_KILL_PRIV : 0) |
	       (asked & FUSE_WRITE_CACHE ? PLY_WRITE_WHOLE : 0) | times_flags(w);
}

void ply_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		  struct fuse_file_info *fi)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	ssize_t n = node ? ply_write(w->cfg.u, node, buf, size, off, write_flags(w)) : -ESTALE;

	(void)fi;
	ply_reply_written(req, n);
}

/*
 * FALLOCATE and COPY_FILE_RANGE have no flag that says whose set-id bits are to fall: all but
 * root's.
 */
static unsigned change_flags(const struct ply_wire *w, uid_t uid)
{
	return (uid ? PLY_WRITE_KILL_PRIV : 0) | times_flags(w);
}

void ply_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		      struct fuse_file_info *fi)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	unsigned flags = change_flags(w, fuse_req_ctx(req)->uid);

	(void)fi;
	ply_loop_hand_over();
	ply_reply_err(req, node ? ply_fallocate(w->cfg.u, node, mode, off, len, flags) : -ESTALE);
}

void ply_raw_copy(const struct ply_raw *raw)
{
	const struct fuse_copy_file_range_in *in = raw->body;
	struct ply_node *from = ply_wire_node(raw->w, raw->in->nodeid);
	struct ply_node *to = ply_wire_node(raw->w, in->nodeid_out);
	size_t len = in->len < INT32_MAX ? in->len : INT32_MAX & ~4095;
	ssize_t n = -ESTALE;

	ply_loop_hand_over();
	if (from && to)
		n = ply_copy_range(raw->w->cfg.u, from, (off_t)in->off_in, to, (off_t)in->off_out,
				   len, change_flags(raw->w, raw->in->uid));
	ply_reply_raw_copied(raw, n);
}

void ply_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	enum ply_sync_kind kind = datasync ? PLY_SYNC_DATA : PLY_SYNC_ALL;

	(void)fi;
	ply_loop_hand_over();
	ply_reply_err(req, node ? ply_fsync(w->cfg.u, node, kind) : -ESTALE);
}
