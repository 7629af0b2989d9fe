/*
 * System calls. Where the running kernel or libc lacks a call, the wrapper does the same by older means:
 * for attributes of a name without opening it that is a path through /proc/self/fd.
 */
#include "base/sys.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Newer than Debian 12's headers; the numbers are the same on every architecture. */
#define NR_FCHMODAT2 452
#define NR_SETXATTRAT 463
#define NR_GETXATTRAT 464
#define NR_LISTXATTRAT 465
#define NR_REMOVEXATTRAT 466

struct xattr_args_at {
	uint64_t value;
	uint32_t size;
	uint32_t flags;
};

struct fsuuid_arg {
	uint8_t len;
	uint8_t uuid[16];
};
#define IOC_GETFSUUID _IOR(0x15, 0, struct fsuuid_arg)

int (*ply_sys_probe)(enum ply_sys call);

static const char *const sys_names[] = {
#define X(name) #name,
	PLY_SYS_CALLS(X)
#undef X
};

const char *ply_sys_name(enum ply_sys call)
{
	return sys_names[call];
}

/* Leaves the calling wrapper with the probe's error. */
#define PROBE(call)                                                                                \
	do {                                                                                       \
		int err_ = ply_sys_probe ? ply_sys_probe(PLY_SYS_##call) : 0;                      \
		if (err_)                                                                          \
			return err_;                                                               \
	} while (0)

static int result(long res)
{
	return res < 0 ? -errno : (int)res;
}

static ssize_t result_size(ssize_t res)
{
	return res < 0 ? -errno : res;
}

/* AT_EMPTY_PATH where the name is empty. */
static int at_flags(const char *name)
{
	return AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
}

/* What was once found missing in this kernel is not tried again. */
static int lacks_xattrat, lacks_chmodat, lacks_openat2;

static int is_lacking(const int *flag)
{
	return __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static void set_lacking(int *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELAXED);
}

/*
 * After a failure of an xattr call: the new ones refuse O_PATH descriptors themselves, but not what is found from
 * there. So a directory is asked for as ".", without /proc.
 */
static int wants_dot(const char *name)
{
	return errno == EBADF && !*name;
}

/* Must the xattr call be made the old way? */
static int wants_old_xattr(const char *name)
{
	if (errno == ENOSYS)
		set_lacking(&lacks_xattrat);
	return errno == ENOSYS ||
	       (!*name && (errno == EBADF || errno == ENOTDIR || errno == EACCES));
}

int sys_open(int dirfd, const char *name, int flags, mode_t mode)
{
	int fd;

	PROBE(open);
	do
		fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return result(fd);
}

/* Each component on its own, following no symlink: openat2 with RESOLVE_BENEATH for old kernels. */
static int open_stepwise(int dirfd, const char *path, int flags, mode_t mode)
{
	char part[NAME_MAX + 1];
	int fd = dirfd, next;

	for (;;) {
		size_t len = strcspn(path, "/");
		int last = path[len] == '\0';

		if (len > NAME_MAX)
			next = -ENAMETOOLONG;
		else if (len == 2 && path[0] == '.' && path[1] == '.')
			next = -EXDEV;
		else {
			memcpy(part, path, len);
			part[len] = '\0';
			next = result(openat(fd, part,
					     O_CLOEXEC | (last ? flags | O_NOFOLLOW
							       : O_PATH | O_NOFOLLOW | O_DIRECTORY),
					     mode));
		}
		if (fd != dirfd)
			close(fd);
		if (next < 0 || last)
			return next;
		fd = next;
		path += len + 1;
	}
}

int sys_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = (unsigned)flags | O_CLOEXEC,
				.mode = mode,
				.resolve = resolve };
	long fd;

	PROBE(openat2);
	if (is_lacking(&lacks_openat2))
		return open_stepwise(dirfd, path, flags, mode);
	/* EAGAIN: a rename elsewhere disturbed the walk. */
	do
		fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	if (fd < 0 && errno == ENOSYS) {
		set_lacking(&lacks_openat2);
		return open_stepwise(dirfd, path, flags, mode);
	}
	return result(fd);
}

void sys_close(int fd)
{
	if (ply_sys_probe)
		ply_sys_probe(PLY_SYS_close);
	close(fd);
}

int sys_statx(int dirfd, const char *name, unsigned mask, struct statx *stx)
{
	PROBE(statx);
	return result(statx(dirfd, name, at_flags(name) | AT_NO_AUTOMOUNT, mask, stx));
}

int sys_realpath(const char *path, char *resolved)
{
	PROBE(realpath);
	return realpath(path, resolved) ? 0 : -errno;
}

int sys_statvfs(int fd, struct statvfs *out)
{
	PROBE(statvfs);
	return result(fstatvfs(fd, out));
}

int sys_fstype(int fd, long *magic)
{
	struct statfs sfs;
	int err;

	PROBE(statfs);
	err = result(fstatfs(fd, &sfs));
	if (!err)
		*magic = (long)sfs.f_type;
	return err;
}

int sys_access(int dirfd, const char *name)
{
	PROBE(access);
	return result(faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW));
}

int sys_mkdir(int dirfd, const char *name, mode_t mode)
{
	PROBE(mkdir);
	return result(mkdirat(dirfd, name, mode));
}

int sys_mknod(int dirfd, const char *name, mode_t mode, dev_t dev)
{
	PROBE(mknod);
	return result(mknodat(dirfd, name, mode, dev));
}

int sys_symlink(const char *target, int dirfd, const char *name)
{
	PROBE(symlink);
	return result(symlinkat(target, dirfd, name));
}

int sys_link(int dirfd, const char *name, int newdirfd, const char *newname)
{
	char proc[64];
	int err;

	PROBE(link);
	err = result(linkat(dirfd, name, newdirfd, newname, *name ? 0 : AT_EMPTY_PATH));
	/* Without CAP_DAC_READ_SEARCH the kernel takes a descriptor only through /proc. */
	if (err != -ENOENT || *name)
		return err;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", dirfd);
	return result(linkat(AT_FDCWD, proc, newdirfd, newname, AT_SYMLINK_FOLLOW));
}

int sys_unlink(int dirfd, const char *name)
{
	PROBE(unlink);
	return result(unlinkat(dirfd, name, 0));
}

int sys_rmdir(int dirfd, const char *name)
{
	PROBE(unlink);
	return result(unlinkat(dirfd, name, AT_REMOVEDIR));
}

int sys_rename(int dirfd, const char *name, int newdirfd, const char *newname, unsigned flags)
{
	PROBE(rename);
	if (!flags)
		return result(renameat(dirfd, name, newdirfd, newname));
	return result(syscall(SYS_renameat2, dirfd, name, newdirfd, newname, flags));
}

ssize_t sys_readlink(int dirfd, const char *name, char *buf, size_t size)
{
	PROBE(readlink);
	return result_size(readlinkat(dirfd, name, buf, size));
}

static int chmod_old(int dirfd, const char *name, mode_t mode)
{
	char proc[64];

	if (*name)
		return result(fchmodat(dirfd, name, mode, 0));
	if (fchmod(dirfd, mode) == 0)
		return 0;
	if (errno != EBADF)
		return -errno;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", dirfd);
	return result(chmod(proc, mode));
}

int sys_chmod(int dirfd, const char *name, mode_t mode)
{
	long res;

	PROBE(chmod);
	if (is_lacking(&lacks_chmodat))
		return chmod_old(dirfd, name, mode);
	res = syscall(NR_FCHMODAT2, dirfd, name, mode, at_flags(name));
	if (res < 0 && errno == ENOSYS) {
		set_lacking(&lacks_chmodat);
		return chmod_old(dirfd, name, mode);
	}
	return result(res);
}

int sys_chown(int dirfd, const char *name, uid_t uid, gid_t gid)
{
	PROBE(chown);
	return result(fchownat(dirfd, name, uid, gid, at_flags(name)));
}

int sys_utimens(int dirfd, const char *name, const struct timespec times[2])
{
	PROBE(utimens);
	return result(utimensat(dirfd, name, times, at_flags(name)));
}

int sys_truncate(int fd, off_t size)
{
	PROBE(truncate);
	return result(ftruncate(fd, size));
}

ssize_t sys_pread(int fd, void *buf, size_t size, off_t off)
{
	ssize_t n;

	PROBE(pread);
	do
		n = pread(fd, buf, size, off);
	while (n < 0 && errno == EINTR);
	return result_size(n);
}

ssize_t sys_pwrite(int fd, const void *buf, size_t size, off_t off)
{
	ssize_t n;

	PROBE(pwrite);
	do
		n = pwrite(fd, buf, size, off);
	while (n < 0 && errno == EINTR);
	return result_size(n);
}

int sys_fallocate(int fd, int mode, off_t off, off_t len)
{
	int res;

	PROBE(fallocate);
	do
		res = fallocate(fd, mode, off, len);
	while (res < 0 && errno == EINTR);
	return result(res);
}

off_t sys_lseek(int fd, off_t off, int whence)
{
	off_t res;

	PROBE(lseek);
	res = lseek(fd, off, whence);
	return res < 0 ? -errno : res;
}

ssize_t sys_copy_range(int in, off_t *in_off, int out, off_t *out_off, size_t len)
{
	PROBE(copy_range);
	return result_size(copy_file_range(in, in_off, out, out_off, len, 0));
}

int sys_clone(int in, int out)
{
	PROBE(clone);
	return result(ioctl(out, FICLONE, in));
}

ssize_t sys_dedupe(int in, int out, off_t off, size_t len)
{
	union {
		struct file_dedupe_range head;
		char room[sizeof(struct file_dedupe_range) + sizeof(struct file_dedupe_range_info)];
	} arg = { .head = { .src_offset = (uint64_t)off, .src_length = len, .dest_count = 1 } };
	int err;

	PROBE(dedupe);
	arg.head.info[0] =
		(struct file_dedupe_range_info){ .dest_fd = out, .dest_offset = (uint64_t)off };
	err = result(ioctl(in, FIDEDUPERANGE, &arg));
	if (err)
		return err;
	if (arg.head.info[0].status == FILE_DEDUPE_RANGE_DIFFERS)
		return -EBADE;
	return arg.head.info[0].status < 0 ? arg.head.info[0].status
					   : (ssize_t)arg.head.info[0].bytes_deduped;
}

int sys_fiemap(int fd, struct fiemap *map)
{
	PROBE(fiemap);
	return result(ioctl(fd, FS_IOC_FIEMAP, map));
}

int sys_fsync(int fd)
{
	PROBE(fsync);
	return result(fsync(fd));
}

int sys_fdatasync(int fd)
{
	PROBE(fdatasync);
	return result(fdatasync(fd));
}

int sys_syncfs(int fd)
{
	PROBE(syncfs);
	return result(syncfs(fd));
}

ssize_t sys_getdents(int fd, void *buf, size_t size)
{
	PROBE(getdents);
	return result_size(syscall(SYS_getdents64, fd, buf, size));
}

/*
 * The path by which the l*xattr calls reach a name under a directory descriptor. An own object of a
 * descriptor is reached through the magic link, which the calls without l then follow.
 */
#define PROC_PATH_SIZE (64 + NAME_MAX)

static void proc_path(char *path, int dirfd, const char *name)
{
	snprintf(path, PROC_PATH_SIZE, *name ? "/proc/self/fd/%d/%s" : "/proc/self/fd/%d", dirfd,
		 name);
}

static ssize_t getxattr_old(int dirfd, const char *name, const char *attr, void *value, size_t size)
{
	char path[PROC_PATH_SIZE];

	proc_path(path, dirfd, name);
	return result_size(*name ? lgetxattr(path, attr, value, size)
				 : getxattr(path, attr, value, size));
}

ssize_t sys_getxattr(int dirfd, const char *name, const char *attr, void *value, size_t size)
{
	struct xattr_args_at args = { .value = (uintptr_t)value, .size = (uint32_t)size };
	ssize_t n;

	PROBE(getxattr);
	if (is_lacking(&lacks_xattrat))
		return getxattr_old(dirfd, name, attr, value, size);
	n = syscall(NR_GETXATTRAT, dirfd, name, at_flags(name), attr, &args, sizeof(args));
	if (n < 0 && wants_dot(name))
		n = syscall(NR_GETXATTRAT, dirfd, ".", AT_SYMLINK_NOFOLLOW, attr, &args,
			    sizeof(args));
	if (n < 0 && wants_old_xattr(name))
		return getxattr_old(dirfd, name, attr, value, size);
	return result_size(n);
}

static ssize_t listxattr_old(int dirfd, const char *name, char *list, size_t size)
{
	char path[PROC_PATH_SIZE];

	proc_path(path, dirfd, name);
	return result_size(*name ? llistxattr(path, list, size) : listxattr(path, list, size));
}

ssize_t sys_listxattr(int dirfd, const char *name, char *list, size_t size)
{
	ssize_t n;

	PROBE(listxattr);
	if (is_lacking(&lacks_xattrat))
		return listxattr_old(dirfd, name, list, size);
	n = syscall(NR_LISTXATTRAT, dirfd, name, at_flags(name), list, size);
	if (n < 0 && wants_dot(name))
		n = syscall(NR_LISTXATTRAT, dirfd, ".", AT_SYMLINK_NOFOLLOW, list, size);
	if (n < 0 && wants_old_xattr(name))
		return listxattr_old(dirfd, name, list, size);
	return result_size(n);
}

static int setxattr_old(int dirfd, const char *name, const char *attr, const void *value,
			size_t size, int flags)
{
	char path[PROC_PATH_SIZE];

	proc_path(path, dirfd, name);
	return result(*name ? lsetxattr(path, attr, value, size, flags)
			    : setxattr(path, attr, value, size, flags));
}

int sys_setxattr(int dirfd, const char *name, const char *attr, const void *value, size_t size,
		 int flags)
{
	struct xattr_args_at args = { .value = (uintptr_t)value,
				      .size = (uint32_t)size,
				      .flags = (uint32_t)flags };
	long res;

	PROBE(setxattr);
	if (is_lacking(&lacks_xattrat))
		return setxattr_old(dirfd, name, attr, value, size, flags);
	res = syscall(NR_SETXATTRAT, dirfd, name, at_flags(name), attr, &args, sizeof(args));
	if (res < 0 && wants_dot(name))
		res = syscall(NR_SETXATTRAT, dirfd, ".", AT_SYMLINK_NOFOLLOW, attr, &args,
			      sizeof(args));
	if (res < 0 && wants_old_xattr(name))
		return setxattr_old(dirfd, name, attr, value, size, flags);
	return result(res);
}

static int removexattr_old(int dirfd, const char *name, const char *attr)
{
	char path[PROC_PATH_SIZE];

	proc_path(path, dirfd, name);
	return result(*name ? lremovexattr(path, attr) : removexattr(path, attr));
}

int sys_removexattr(int dirfd, const char *name, const char *attr)
{
	long res;

	PROBE(removexattr);
	if (is_lacking(&lacks_xattrat))
		return removexattr_old(dirfd, name, attr);
	res = syscall(NR_REMOVEXATTRAT, dirfd, name, at_flags(name), attr);
	if (res < 0 && wants_dot(name))
		res = syscall(NR_REMOVEXATTRAT, dirfd, ".", AT_SYMLINK_NOFOLLOW, attr);
	if (res < 0 && wants_old_xattr(name))
		return removexattr_old(dirfd, name, attr);
	return result(res);
}

int sys_name_to_handle(int dirfd, const char *name, struct file_handle *fh)
{
	int mount_id;

	PROBE(name_to_handle);
	return result(name_to_handle_at(dirfd, name, fh, &mount_id, *name ? 0 : AT_EMPTY_PATH));
}

int sys_open_by_handle(int mount_fd, struct file_handle *fh, int flags)
{
	PROBE(open_by_handle);
	return result(open_by_handle_at(mount_fd, fh, flags | O_CLOEXEC));
}

int sys_fsuuid(int fd, uint8_t uuid[16])
{
	struct fsuuid_arg arg;
	int err;

	PROBE(fsuuid);
	err = result(ioctl(fd, IOC_GETFSUUID, &arg));
	if (!err)
		memcpy(uuid, arg.uuid, sizeof(arg.uuid));
	return err;
}

int sys_open_tree(const char *path)
{
	PROBE(open_tree);
	return result(syscall(SYS_open_tree, AT_FDCWD, path,
			      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
}

int sys_mount_private(int tree_fd, uint64_t attr_set)
{
	struct mount_attr attr = { .attr_set = attr_set, .propagation = MS_PRIVATE };

	/* One way of keeping access times takes another's place. */
	if (attr_set & MOUNT_ATTR__ATIME)
		attr.attr_clr = MOUNT_ATTR__ATIME;
	PROBE(mount_setattr);
	return result(syscall(SYS_mount_setattr, tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr,
			      sizeof(attr)));
}

int sys_flock(int fd)
{
	PROBE(flock);
	return result(flock(fd, LOCK_EX | LOCK_NB));
}
