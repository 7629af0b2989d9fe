/*
 * The operations: handlers as libfuse calls them, handlers of requests that libfuse may not know,
 * and the names of all. Each decodes, calls the union once, and replies once.
 */
#ifndef PLY_WIRE_OPS_H
#define PLY_WIRE_OPS_H

#include "wire/session.h"

/* A request that libfuse does not get to see. */
struct ply_raw {
	struct ply_wire *w;
	const struct fuse_in_header *in;
	const void *body;
	size_t len; /* of body */
};

struct ply_op {
	const char *name;
	enum ply_gate_class class;		/* that of SETATTR is as its request says */
	void (*raw)(const struct ply_raw *raw); /* NULL: libfuse's */
	size_t min;				/* bytes of its body, without what follows: */
	unsigned names;				/* so many names of files, ... */
	unsigned texts;				/* ... and strings that may say anything */
};

extern const struct ply_op ply_ops[PLY_OP_COUNT];
/*
 * Is a request, whose body has len bytes, one that may be looked into? The kernel sends no others; neither libfuse nor we
 * look at lengths again, and the union takes names for single components.
 */
int ply_op_is_whole(const struct fuse_in_header *in, size_t len);
/*
 * The table for libfuse; what is not there it answers with ENOSYS, which makes the kernel stop
 * asking.
 */
struct fuse_lowlevel_ops ply_ops_for(const struct ply_wire_config *cfg);

/* name.c */
void ply_op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name);
void ply_op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev);
void ply_op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode);
void ply_op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name);
void ply_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name);
void ply_op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name);
void ply_op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name);
void ply_op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t newdir,
		   const char *newname, unsigned flags);
void ply_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void ply_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *list);
void ply_raw_tmpfile(const struct ply_raw *raw);

/* attr.c */
void ply_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ply_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int valid,
		    struct fuse_file_info *fi);
void ply_op_readlink(fuse_req_t req, fuse_ino_t ino);
void ply_op_statfs(fuse_req_t req, fuse_ino_t ino);
void ply_raw_statx(const struct ply_raw *raw);

/* data.c */
void ply_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ply_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		  struct fuse_file_info *fi);
void ply_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		      struct fuse_file_info *fi);
void ply_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ply_raw_copy(const struct ply_raw *raw);

/* seek.c */
void ply_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void ply_op_retrieve_reply(fuse_req_t req, void *cookie, fuse_ino_t ino, off_t off,
			   struct fuse_bufvec *data);

/* dir.c */
void ply_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);
void ply_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi);

/* ctl.c */
void ply_raw_ioctl(const struct ply_raw *raw);

/* xattr.c */
void ply_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ply_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ply_raw_setxattr(const struct ply_raw *raw);
void ply_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
