/* The tables of operations, see the header. */
#include "wire/ops.h"

#include <errno.h>
#include <string.h>

#include "wire/reply.h"

#define INIT_MIN 8 /* major and minor: what comes behind depends on these */

/*
 * Said once to an OPEN and once to an OPENDIR; from then on the kernel opens, closes and reads from
 * its caches without a word. CREATE, FLUSH and ACCESS are refused the same way by not being in the
 * table.
 */
static void refuse_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	ply_reply_err(req, -ENOSYS);
}

/*
 * Without a word the kernel keeps a listing for as long as the directory's time is the same. Where lower layers
 * change that says nothing: several of them may make up a directory, and it has but one time.
 */
static void open_dir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->cache_readdir = 0;
	fuse_reply_open(req, fi);
}

/* Nothing here can be interrupted: the kernel need not try. */
static void raw_interrupt(const struct ply_raw *raw)
{
	ply_reply_raw_err(raw, -ENOSYS);
}

static void init_connection(void *arg, struct fuse_conn_info *conn)
{
	(void)arg;
	conn->max_write = PLY_MAX_WRITE;
}

static const struct fuse_lowlevel_ops operations = {
	.init = init_connection,
	.lookup = ply_op_lookup,
	.forget = ply_op_forget,
	.forget_multi = ply_op_forget_multi,
	.getattr = ply_op_getattr,
	.setattr = ply_op_setattr,
	.readlink = ply_op_readlink,
	.mknod = ply_op_mknod,
	.mkdir = ply_op_mkdir,
	.symlink = ply_op_symlink,
	.link = ply_op_link,
	.unlink = ply_op_unlink,
	.rmdir = ply_op_rmdir,
	.rename = ply_op_rename,
	.open = refuse_open,
	.opendir = refuse_open,
	.read = ply_op_read,
	.write = ply_op_write,
	.fsync = ply_op_fsync,
	.fsyncdir = ply_op_fsync,
	.fallocate = ply_op_fallocate,
	.lseek = ply_op_lseek,
	.retrieve_reply = ply_op_retrieve_reply,
	.readdir = ply_op_readdir,
	.readdirplus = ply_op_readdirplus,
	.statfs = ply_op_statfs,
	.getxattr = ply_op_getxattr,
	.listxattr = ply_op_listxattr,
	.removexattr = ply_op_removexattr,
};

struct fuse_lowlevel_ops ply_ops_for(const struct ply_wire_config *cfg)
{
	struct fuse_lowlevel_ops ops = operations;

	if (cfg->flags & PLY_WIRE_RECHECK)
		ops.opendir = open_dir;
	if (!(cfg->flags & PLY_WIRE_SYNC)) {
		ops.fsync = NULL;
		ops.fsyncdir = NULL;
	}
	if (!(cfg->flags & PLY_WIRE_XATTR)) {
		ops.getxattr = NULL;
		ops.listxattr = NULL;
		ops.removexattr = NULL;
	}
	return ops;
}

const struct ply_op ply_ops[PLY_OP_COUNT] = {
	[0] = { "OTHER" },
	[FUSE_LOOKUP] = { "LOOKUP", .names = 1 },
	[FUSE_FORGET] = { "FORGET", PLY_GATE_FLUSH, .min = sizeof(struct fuse_forget_in) },
	[FUSE_GETATTR] = { "GETATTR", .min = sizeof(struct fuse_getattr_in) },
	[FUSE_SETATTR] = { "SETATTR", .min = sizeof(struct fuse_setattr_in) },
	[FUSE_READLINK] = { "READLINK" },
	[FUSE_SYMLINK] = { "SYMLINK", .names = 1, .texts = 1 },
	[FUSE_MKNOD] = { "MKNOD", .min = sizeof(struct fuse_mknod_in), .names = 1 },
	[FUSE_MKDIR] = { "MKDIR", .min = sizeof(struct fuse_mkdir_in), .names = 1 },
	[FUSE_UNLINK] = { "UNLINK", .names = 1 },
	[FUSE_RMDIR] = { "RMDIR", .names = 1 },
	[FUSE_RENAME] = { "RENAME", .min = sizeof(struct fuse_rename_in), .names = 2 },
	[FUSE_LINK] = { "LINK", .min = sizeof(struct fuse_link_in), .names = 1 },
	[FUSE_OPEN] = { "OPEN", .min = sizeof(struct fuse_open_in) },
	[FUSE_READ] = { "READ", PLY_GATE_FLUSH, .min = sizeof(struct fuse_read_in) },
	[FUSE_WRITE] = { "WRITE", PLY_GATE_FLUSH, .min = sizeof(struct fuse_write_in) },
	[FUSE_STATFS] = { "STATFS" },
	[FUSE_RELEASE] = { "RELEASE", PLY_GATE_FLUSH },
	[FUSE_FSYNC] = { "FSYNC", .min = sizeof(struct fuse_fsync_in) },
	[FUSE_SETXATTR] = { "SETXATTR", PLY_GATE_CHANGE, ply_raw_setxattr,
			    FUSE_COMPAT_SETXATTR_IN_SIZE },
	[FUSE_GETXATTR] = { "GETXATTR", .min = sizeof(struct fuse_getxattr_in), .texts = 1 },
	[FUSE_LISTXATTR] = { "LISTXATTR", .min = sizeof(struct fuse_getxattr_in) },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR", .texts = 1 },
	[FUSE_FLUSH] = { "FLUSH" },
	[FUSE_INIT] = { "INIT", PLY_GATE_CONTROL, .min = INIT_MIN },
	[FUSE_OPENDIR] = { "OPENDIR", .min = sizeof(struct fuse_open_in) },
	[FUSE_READDIR] = { "READDIR", .min = sizeof(struct fuse_read_in) },
	[FUSE_RELEASEDIR] = { "RELEASEDIR" },
	[FUSE_FSYNCDIR] = { "FSYNCDIR", .min = sizeof(struct fuse_fsync_in) },
	[FUSE_GETLK] = { "GETLK" },
	[FUSE_SETLK] = { "SETLK" },
	[FUSE_SETLKW] = { "SETLKW" },
	[FUSE_ACCESS] = { "ACCESS" },
	[FUSE_CREATE] = { "CREATE" },
	[FUSE_INTERRUPT] = { "INTERRUPT", PLY_GATE_CONTROL, raw_interrupt, 0 },
	[FUSE_BMAP] = { "BMAP" },
	[FUSE_DESTROY] = { "DESTROY", PLY_GATE_CONTROL },
	[FUSE_IOCTL] = { "IOCTL", PLY_GATE_CONTROL, ply_raw_ioctl, sizeof(struct fuse_ioctl_in) },
	[FUSE_POLL] = { "POLL" },
	[FUSE_NOTIFY_REPLY] = { "NOTIFY_REPLY", PLY_GATE_FLUSH,
				.min = sizeof(struct fuse_notify_retrieve_in) },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", PLY_GATE_FLUSH,
				.min = sizeof(struct fuse_batch_forget_in) },
	[FUSE_FALLOCATE] = { "FALLOCATE", .min = sizeof(struct fuse_fallocate_in) },
	[FUSE_READDIRPLUS] = { "READDIRPLUS", .min = sizeof(struct fuse_read_in) },
	[FUSE_RENAME2] = { "RENAME2", .min = sizeof(struct fuse_rename2_in), .names = 2 },
	[FUSE_LSEEK] = { "LSEEK", .min = sizeof(struct fuse_lseek_in) },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", PLY_GATE_CHANGE, ply_raw_copy,
				   sizeof(struct fuse_copy_file_range_in) },
	[PLY_OP_SYNCFS] = { "SYNCFS" },
	[PLY_OP_TMPFILE] = { "TMPFILE", PLY_GATE_CHANGE, ply_raw_tmpfile,
			     sizeof(struct fuse_create_in) },
	[PLY_OP_STATX] = { "STATX", PLY_GATE_CHANGE, ply_raw_statx, sizeof(struct ply_statx_in) },
	[PLY_OP_COPY_FILE_RANGE_64] = { "COPY_FILE_RANGE_64", PLY_GATE_CHANGE, ply_raw_copy,
					sizeof(struct fuse_copy_file_range_in) },
};

static int is_name(const char *s)
{
	return *s && !strchr(s, '/') && strcmp(s, ".") && strcmp(s, "..");
}

/* Do so many strings follow? */
static int has_texts(const struct ply_op *op, const char *at, size_t len)
{
	for (unsigned i = 0; i < op->names + op->texts; i++) {
		size_t n = strnlen(at, len);

		if (n == len || (i < op->names && !is_name(at)))
			return 0;
		at += n + 1;
		len -= n + 1;
	}
	return 1;
}

int ply_op_is_whole(const struct fuse_in_header *in, size_t len)
{
	const struct ply_op *op = &ply_ops[in->opcode < PLY_OP_COUNT ? in->opcode : 0];
	const void *body = in + 1;

	if (len < op->min || !has_texts(op, (const char *)body + op->min, len - op->min))
		return 0;
	if (in->opcode == FUSE_WRITE)
		return ((const struct fuse_write_in *)body)->size <= len - op->min;
	if (in->opcode == FUSE_BATCH_FORGET)
		return ((const struct fuse_batch_forget_in *)body)->count <=
		       (len - op->min) / sizeof(struct fuse_forget_one);
	return 1;
}
