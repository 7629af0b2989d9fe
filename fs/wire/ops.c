/* The tables of operations, see the header. */
#include "wire/ops.h"

#include <errno.h>

#include "wire/reply.h"

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
	[FUSE_LOOKUP] = { "LOOKUP" },
	[FUSE_FORGET] = { "FORGET", PLY_GATE_FLUSH },
	[FUSE_GETATTR] = { "GETATTR" },
	[FUSE_SETATTR] = { "SETATTR" },
	[FUSE_READLINK] = { "READLINK" },
	[FUSE_SYMLINK] = { "SYMLINK" },
	[FUSE_MKNOD] = { "MKNOD" },
	[FUSE_MKDIR] = { "MKDIR" },
	[FUSE_UNLINK] = { "UNLINK" },
	[FUSE_RMDIR] = { "RMDIR" },
	[FUSE_RENAME] = { "RENAME" },
	[FUSE_LINK] = { "LINK" },
	[FUSE_OPEN] = { "OPEN" },
	[FUSE_READ] = { "READ", PLY_GATE_FLUSH },
	[FUSE_WRITE] = { "WRITE", PLY_GATE_FLUSH },
	[FUSE_STATFS] = { "STATFS" },
	[FUSE_RELEASE] = { "RELEASE", PLY_GATE_FLUSH },
	[FUSE_FSYNC] = { "FSYNC" },
	[FUSE_SETXATTR] = { "SETXATTR", PLY_GATE_CHANGE, ply_raw_setxattr,
			    FUSE_COMPAT_SETXATTR_IN_SIZE },
	[FUSE_GETXATTR] = { "GETXATTR" },
	[FUSE_LISTXATTR] = { "LISTXATTR" },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR" },
	[FUSE_FLUSH] = { "FLUSH" },
	[FUSE_INIT] = { "INIT", PLY_GATE_CONTROL },
	[FUSE_OPENDIR] = { "OPENDIR" },
	[FUSE_READDIR] = { "READDIR" },
	[FUSE_RELEASEDIR] = { "RELEASEDIR" },
	[FUSE_FSYNCDIR] = { "FSYNCDIR" },
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
	[FUSE_NOTIFY_REPLY] = { "NOTIFY_REPLY", PLY_GATE_FLUSH },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", PLY_GATE_FLUSH },
	[FUSE_FALLOCATE] = { "FALLOCATE" },
	[FUSE_READDIRPLUS] = { "READDIRPLUS" },
	[FUSE_RENAME2] = { "RENAME2" },
	[FUSE_LSEEK] = { "LSEEK" },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", PLY_GATE_CHANGE, ply_raw_copy,
				   sizeof(struct fuse_copy_file_range_in) },
	[PLY_OP_SYNCFS] = { "SYNCFS" },
	[PLY_OP_TMPFILE] = { "TMPFILE", PLY_GATE_CHANGE, ply_raw_tmpfile,
			     sizeof(struct fuse_create_in) },
	[PLY_OP_STATX] = { "STATX", PLY_GATE_CHANGE, ply_raw_statx, sizeof(struct ply_statx_in) },
	[PLY_OP_COPY_FILE_RANGE_64] = { "COPY_FILE_RANGE_64", PLY_GATE_CHANGE, ply_raw_copy,
					sizeof(struct fuse_copy_file_range_in) },
};
