/*
 * The protocol of /dev/fuse where <linux/fuse.h> may be older than the kernel: request codes, INIT
 * flags and structures, under names of our own. Also the size of what a request may carry.
 */
#ifndef PLY_WIRE_PROTO_H
#define PLY_WIRE_PROTO_H

#include <linux/fuse.h>
#include <stdint.h>

#define PLY_OP_SYNCFS 50
#define PLY_OP_TMPFILE 51
#define PLY_OP_STATX 52
#define PLY_OP_COPY_FILE_RANGE_64 53
#define PLY_OP_COUNT 64 /* codes above are counted as one */

#define PLY_MAX_WRITE (1024 * 1024)
#define PLY_HEADER_ROOM 4096 /* of a request's buffer, before its data */

struct ply_sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t reserved;
};

struct ply_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t flags;
	uint32_t mask;
};

struct ply_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct {
		uint32_t mask;
		uint32_t blksize;
		uint64_t attributes;
		uint32_t nlink;
		uint32_t uid;
		uint32_t gid;
		uint16_t mode;
		uint16_t spare0;
		uint64_t ino;
		uint64_t size;
		uint64_t blocks;
		uint64_t attributes_mask;
		struct ply_sx_time atime;
		struct ply_sx_time btime;
		struct ply_sx_time ctime;
		struct ply_sx_time mtime;
		uint32_t rdev_major;
		uint32_t rdev_minor;
		uint32_t dev_major;
		uint32_t dev_minor;
		uint64_t spare2[14];
	} stat;
};

/* Bytes copied, of the 64-bit request. */
struct ply_copy_out {
	uint64_t bytes;
};

/* The notification that a name is out of date; the name follows, with its NUL. */
struct ply_inval_entry_out {
	uint64_t parent;
	uint32_t namelen;
	uint32_t flags; /* padding, before Linux 6.2 */
};
#define PLY_EXPIRE_ONLY 1

/* What is answered to a request that makes and opens a file. */
struct ply_create_out {
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

/* An entry of READDIRPLUS; the name follows, padded to eight bytes. */
struct ply_direntplus {
	struct fuse_entry_out entry;
	uint64_t ino;
	uint64_t off;
	uint32_t namelen;
	uint32_t type;
	char name[];
};

/* An entry of READDIR. */
struct ply_dirent {
	uint64_t ino;
	uint64_t off;
	uint32_t namelen;
	uint32_t type;
	char name[];
};

_Static_assert(sizeof(struct ply_statx_in) == 24, "STATX request");
_Static_assert(sizeof(struct ply_statx_out) == 288, "STATX reply");
_Static_assert(sizeof(struct fuse_entry_out) == 128, "entry");
_Static_assert(sizeof(struct ply_create_out) == 144, "entry and open");
_Static_assert(sizeof(struct ply_direntplus) == 152, "READDIRPLUS entry");
_Static_assert(sizeof(struct ply_inval_entry_out) == 16, "INVAL_ENTRY");
_Static_assert(sizeof(struct fuse_init_out) == 64, "INIT reply");

#endif
