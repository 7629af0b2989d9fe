/*
 * The only door to the operating system: one thin wrapper a system call. Each returns what the call
 * returns, or -errno; errno is never to be read. Names are relative to a directory descriptor; an empty
 * name means the descriptor's own object, and no symlink is followed in the last component.
 *
 * Every wrapper asks ply_sys_probe first, when there is one: tests make any call fail, and count them.
 */
#ifndef PLY_BASE_SYS_H
#define PLY_BASE_SYS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

/* clang-format off */
#define PLY_SYS_CALLS(X) \
	X(open) X(openat2) X(realpath) X(close) X(statx) X(statvfs) X(statfs) X(access) X(mkdir) X(mknod) \
	X(symlink) X(link) X(unlink) X(rename) X(readlink) X(chmod) X(chown) X(utimens) X(truncate) \
	X(pread) X(pwrite) X(fallocate) X(lseek) X(copy_range) X(clone) X(dedupe) X(fiemap) X(fsync) \
	X(fdatasync) X(syncfs) X(getdents) X(getxattr) X(setxattr) X(listxattr) X(removexattr) \
	X(name_to_handle) X(open_by_handle) X(open_tree) X(mount_setattr) X(flock) X(fsuuid)
/* clang-format on */

enum ply_sys {
#define X(name) PLY_SYS_##name,
	PLY_SYS_CALLS(X)
#undef X
		PLY_SYS_COUNT,
};

/* Called before each system call; 0 lets it pass, -errno is its result instead. NULL: none. */
extern int (*ply_sys_probe)(enum ply_sys call);
const char *ply_sys_name(enum ply_sys call);

int sys_open(int dirfd, const char *name, int flags, mode_t mode);
/* resolve as of openat2(2); component by component where the kernel has no openat2. */
int sys_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve);
void sys_close(int fd);

int sys_statx(int dirfd, const char *name, unsigned mask, struct statx *stx);
/* The absolute path without symlinks and dots; resolved has PATH_MAX bytes. */
int sys_realpath(const char *path, char *resolved);
int sys_statvfs(int fd, struct statvfs *out);
/* The magic number of the file system. */
int sys_fstype(int fd, long *magic);
/* Is there something of that name? */
int sys_access(int dirfd, const char *name);

int sys_mkdir(int dirfd, const char *name, mode_t mode);
int sys_mknod(int dirfd, const char *name, mode_t mode, dev_t dev);
int sys_symlink(const char *target, int dirfd, const char *name);
/* An empty name links the descriptor itself, which may have no name at all. */
int sys_link(int dirfd, const char *name, int newdirfd, const char *newname);
int sys_unlink(int dirfd, const char *name);
int sys_rmdir(int dirfd, const char *name);
int sys_rename(int dirfd, const char *name, int newdirfd, const char *newname, unsigned flags);
ssize_t sys_readlink(int dirfd, const char *name, char *buf, size_t size);

/* Not for symlinks: where the kernel cannot do without following, it follows. */
int sys_chmod(int dirfd, const char *name, mode_t mode);
int sys_chown(int dirfd, const char *name, uid_t uid, gid_t gid);
int sys_utimens(int dirfd, const char *name, const struct timespec times[2]);
int sys_truncate(int fd, off_t size);

ssize_t sys_pread(int fd, void *buf, size_t size, off_t off);
ssize_t sys_pwrite(int fd, const void *buf, size_t size, off_t off);
int sys_fallocate(int fd, int mode, off_t off, off_t len);
off_t sys_lseek(int fd, off_t off, int whence);
ssize_t sys_copy_range(int in, off_t *in_off, int out, off_t *out_off, size_t len);
/* Makes out share all of in's data (FICLONE). */
int sys_clone(int in, int out);
/*
 * Makes the range at off, in both files, share in's data if it is the same: how many bytes now do, which may be fewer;
 * -EBADE when it differs.
 */
ssize_t sys_dedupe(int in, int out, off_t off, size_t len);
struct fiemap;
/* Where a file's data lies on the disk (FS_IOC_FIEMAP). */
int sys_fiemap(int fd, struct fiemap *map);
int sys_fsync(int fd);
int sys_fdatasync(int fd);
int sys_syncfs(int fd);
ssize_t sys_getdents(int fd, void *buf, size_t size);

ssize_t sys_getxattr(int dirfd, const char *name, const char *attr, void *value, size_t size);
ssize_t sys_listxattr(int dirfd, const char *name, char *list, size_t size);
int sys_setxattr(int dirfd, const char *name, const char *attr, const void *value, size_t size,
		 int flags);
int sys_removexattr(int dirfd, const char *name, const char *attr);

struct file_handle;
int sys_name_to_handle(int dirfd, const char *name, struct file_handle *fh);
int sys_open_by_handle(int mount_fd, struct file_handle *fh, int flags);
/* 16 bytes, as the kernel's superblock has it. */
int sys_fsuuid(int fd, uint8_t uuid[16]);

/* A private, detached copy of the mounts at path and below. */
int sys_open_tree(const char *path);
/* attr_set: MOUNT_ATTR_* for the whole tree, which also stops receiving mounts made elsewhere. */
int sys_mount_private(int tree_fd, uint64_t attr_set);
/* An exclusive lock on an open file; -EWOULDBLOCK when somebody has it. */
int sys_flock(int fd);

#endif
