/* Thin wrappers around the system calls of a server, see the header. */
#include "base/sysfuse.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static ssize_t result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

ssize_t sys_read(int fd, void *buf, size_t size)
{
	return result(read(fd, buf, size));
}

ssize_t sys_write(int fd, const void *buf, size_t size)
{
	return result(write(fd, buf, size));
}

ssize_t sys_writev(int fd, const struct iovec *iov, int count)
{
	return result(writev(fd, iov, count));
}

int sys_dup2(int fd, int as)
{
	return (int)result(dup2(fd, as));
}

int sys_dup_above(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);

	return copy < 0 ? -errno : copy;
}

void sys_close_others(int keep)
{
	unsigned first = 3;

	if (keep >= 3) {
		close_range(first, (unsigned)keep - 1, 0);
		first = (unsigned)keep + 1;
	}
	close_range(first, ~0u, 0);
}

int sys_pidfd_open(pid_t pid)
{
	return (int)result(syscall(SYS_pidfd_open, pid, 0));
}

int sys_ioctl(int fd, unsigned long command, void *arg)
{
	return (int)result(ioctl(fd, command, arg));
}

int sys_chdir(const char *path)
{
	return (int)result(chdir(path));
}

int sys_umount(const char *path, int flags)
{
	return (int)result(umount2(path, flags));
}

int sys_type(const char *path, mode_t *type)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	*type = st.st_mode & S_IFMT;
	return 0;
}

int sys_mounted_device(const char *path, unsigned *major, unsigned *minor)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &stx) < 0)
		return -errno;
	*major = stx.stx_dev_major;
	*minor = stx.stx_dev_minor;
	return 0;
}
