/* Replies, see the header. They are written to the device at once, by the thread that serves. */
#include "wire/reply.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/ids.h"
#include "base/sysfuse.h"

/* An id is never given out twice, so there is no need for a generation beside it. */
#define GENERATION 0

struct validity {
	uint64_t sec;
	uint32_t nsec;
};

static struct validity validity(const struct ply_wire *w)
{
	double timeout = w->cfg.timeout;
	struct validity v = { .sec = (uint64_t)timeout };

	v.nsec = (uint32_t)((timeout - (double)v.sec) * 1e9);
	return v;
}

/* Numbers of 32 bits for programs that know no others; most are as they were. */
uint64_t ply_ino_out(const struct ply_wire *w, uint64_t ino)
{
	return w->cfg.flags & PLY_WIRE_INO32 ? (uint32_t)(ino ^ ino >> 32) : ino;
}

static uint32_t nlink_out(const struct ply_wire *w, const struct statx *in)
{
	int is_fixed = (w->cfg.flags & PLY_WIRE_STATIC_NLINK) && S_ISDIR(in->stx_mode);

	return is_fixed && in->stx_nlink ? 1 : in->stx_nlink;
}

/* Seconds before 1970 are negative, and travel as they are. */
static void attr_out(const struct ply_wire *w, const struct statx *in, struct fuse_attr *out)
{
	*out = (struct fuse_attr){
		.ino = ply_ino_out(w, in->stx_ino),
		.size = in->stx_size,
		.blocks = in->stx_blocks,
		.atime = (uint64_t)in->stx_atime.tv_sec,
		.mtime = (uint64_t)in->stx_mtime.tv_sec,
		.ctime = (uint64_t)in->stx_ctime.tv_sec,
		.atimensec = in->stx_atime.tv_nsec,
		.mtimensec = in->stx_mtime.tv_nsec,
		.ctimensec = in->stx_ctime.tv_nsec,
		.mode = in->stx_mode,
		.nlink = nlink_out(w, in),
		.uid = ply_ids_show_user(w->cfg.ids, in->stx_uid),
		.gid = ply_ids_show_group(w->cfg.ids, in->stx_gid),
		.rdev = (uint32_t)makedev(in->stx_rdev_major, in->stx_rdev_minor),
		.blksize = in->stx_blksize,
	};
}

void ply_entry_out(const struct ply_wire *w, const struct ply_entry *entry,
		   struct fuse_entry_out *out)
{
	struct validity v = validity(w);

	out->nodeid = entry->node ? entry->id : 0;
	out->generation = GENERATION;
	out->entry_valid = out->attr_valid = v.sec;
	out->entry_valid_nsec = out->attr_valid_nsec = v.nsec;
	attr_out(w, &entry->attr, &out->attr);
}

void ply_reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, -err);
}

void ply_reply_none(fuse_req_t req)
{
	fuse_reply_none(req);
}

void ply_reply_attr(fuse_req_t req, int err, const struct statx *attr)
{
	const struct ply_wire *w = ply_wire_of(req);
	struct fuse_attr_out out = { 0 };
	struct validity v;

	if (err) {
		ply_reply_err(req, err);
		return;
	}
	v = validity(w);
	out.attr_valid = v.sec;
	out.attr_valid_nsec = v.nsec;
	attr_out(w, attr, &out.attr);
	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

void ply_reply_entry(fuse_req_t req, int err, const struct ply_entry *entry)
{
	struct ply_wire *w = ply_wire_of(req);
	struct fuse_entry_out out;

	if (err) {
		ply_reply_err(req, err);
		return;
	}
	ply_entry_out(w, entry, &out);
	/* A request that nobody waits for any more gives the kernel no lookup to forget. */
	if (fuse_reply_buf(req, (const char *)&out, sizeof(out)) == -ENOENT)
		ply_forget(w->cfg.u, entry->node, 1);
}

void ply_reply_lookup(fuse_req_t req, int err, const struct ply_entry *entry)
{
	struct validity v = validity(ply_wire_of(req));
	struct fuse_entry_out none = { .entry_valid = v.sec, .entry_valid_nsec = v.nsec };

	if (err == -ENOENT)
		fuse_reply_buf(req, (const char *)&none, sizeof(none));
	else
		ply_reply_entry(req, err, entry);
}

void ply_reply_data(fuse_req_t req, ssize_t n, const void *data)
{
	if (n < 0)
		ply_reply_err(req, (int)n);
	else
		fuse_reply_buf(req, data, (size_t)n);
}

void ply_reply_value(fuse_req_t req, size_t room, ssize_t n, const void *data)
{
	if (n < 0 || room)
		ply_reply_data(req, n, data);
	else
		fuse_reply_xattr(req, (size_t)n);
}

void ply_reply_written(fuse_req_t req, ssize_t n)
{
	if (n < 0)
		ply_reply_err(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

void ply_reply_offset(fuse_req_t req, off_t off)
{
	if (off < 0)
		ply_reply_err(req, (int)off);
	else
		fuse_reply_lseek(req, off);
}

void ply_reply_statfs(fuse_req_t req, int err, const struct statvfs *st)
{
	if (err)
		ply_reply_err(req, err);
	else
		fuse_reply_statfs(req, st);
}

/* ---- without libfuse ---- */

static int send_raw(const struct ply_raw *raw, int err, void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + len),
		.error = err,
		.unique = raw->in->unique,
	};
	struct iovec iov[2] = {
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = data, .iov_len = len },
	};

	return (int)sys_writev(raw->w->fd, iov, len ? 2 : 1);
}

void ply_reply_raw_err(const struct ply_raw *raw, int err)
{
	send_raw(raw, err, NULL, 0);
}

static struct ply_sx_time time_out(const struct statx_timestamp *in)
{
	return (struct ply_sx_time){ .sec = in->tv_sec, .nsec = in->tv_nsec };
}

void ply_reply_raw_statx(const struct ply_raw *raw, int err, const struct statx *in)
{
	struct ply_statx_out out = { 0 };
	struct validity v;

	if (err) {
		ply_reply_raw_err(raw, err);
		return;
	}
	v = validity(raw->w);
	out.attr_valid = v.sec;
	out.attr_valid_nsec = v.nsec;
	out.stat.mask = STATX_BASIC_STATS | (in->stx_mask & STATX_BTIME);
	out.stat.blksize = in->stx_blksize;
	out.stat.attributes = in->stx_attributes;
	out.stat.attributes_mask = in->stx_attributes_mask;
	out.stat.nlink = nlink_out(raw->w, in);
	out.stat.uid = ply_ids_show_user(raw->w->cfg.ids, in->stx_uid);
	out.stat.gid = ply_ids_show_group(raw->w->cfg.ids, in->stx_gid);
	out.stat.mode = in->stx_mode;
	out.stat.ino = ply_ino_out(raw->w, in->stx_ino);
	out.stat.size = in->stx_size;
	out.stat.blocks = in->stx_blocks;
	out.stat.atime = time_out(&in->stx_atime);
	out.stat.btime = time_out(&in->stx_btime);
	out.stat.ctime = time_out(&in->stx_ctime);
	out.stat.mtime = time_out(&in->stx_mtime);
	out.stat.rdev_major = in->stx_rdev_major;
	out.stat.rdev_minor = in->stx_rdev_minor;
	send_raw(raw, 0, &out, sizeof(out));
}

void ply_reply_raw_tmpfile(const struct ply_raw *raw, int err, const struct ply_entry *entry)
{
	struct ply_create_out out = { .open = { .open_flags = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH } };

	if (err) {
		ply_reply_raw_err(raw, err);
		return;
	}
	ply_entry_out(raw->w, entry, &out.entry);
	if (send_raw(raw, 0, &out, sizeof(out)) == -ENOENT)
		ply_forget(raw->w->cfg.u, entry->node, 1);
}

void ply_reply_raw_copied(const struct ply_raw *raw, ssize_t n)
{
	struct ply_copy_out wide = { .bytes = (uint64_t)n };
	struct fuse_write_out narrow = { .size = (uint32_t)n };

	if (n < 0)
		ply_reply_raw_err(raw, (int)n);
	else if (raw->in->opcode == PLY_OP_COPY_FILE_RANGE_64)
		send_raw(raw, 0, &wide, sizeof(wide));
	else
		send_raw(raw, 0, &narrow, sizeof(narrow));
}

void ply_reply_raw_ioctl(const struct ply_raw *raw, int err, const void *data, size_t len)
{
	struct fuse_ioctl_out out = { .result = err };
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + sizeof(out) + len),
		.unique = raw->in->unique,
	};
	struct iovec iov[] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = (void *)data, .iov_len = len },
	};

	sys_writev(raw->w->fd, iov, len ? 3 : 2);
}

/* By hand, since libfuse's function has other arguments in each version. Kernels that do not know the flag drop the name. */
void ply_notify_expired(const struct ply_wire *w, uint64_t dir, const char *name)
{
	struct ply_inval_entry_out out = {
		.parent = dir,
		.namelen = (uint32_t)strlen(name),
		.flags = PLY_EXPIRE_ONLY,
	};
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + sizeof(out) + out.namelen + 1),
		.error = FUSE_NOTIFY_INVAL_ENTRY,
	};
	struct iovec iov[] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = (void *)name, .iov_len = out.namelen + 1 },
	};

	sys_writev(w->fd, iov, 3);
}
