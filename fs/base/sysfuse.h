/*
 * What serving a mount needs of the operating system beside base/sys.h: the device, the process,
 * the mountpoint. As there, each wrapper returns what the call returns, or -errno.
 */
#ifndef PLY_BASE_SYSFUSE_H
#define PLY_BASE_SYSFUSE_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

ssize_t sys_read(int fd, void *buf, size_t size);
ssize_t sys_write(int fd, const void *buf, size_t size);
ssize_t sys_writev(int fd, const struct iovec *iov, int count);
int sys_dup2(int fd, int as);
/* A copy with a number above the descriptor's own. */
int sys_dup_above(int fd);
/* Closes all descriptors but the standard ones and keep (-1: none). */
void sys_close_others(int keep);
/* A descriptor that is readable when the process has ended. */
int sys_pidfd_open(pid_t pid);
/* arg is a structure as the command says, or NULL. */
int sys_ioctl(int fd, unsigned long command, void *arg);
int sys_chdir(const char *path);
int sys_umount(const char *path, int flags);
/* The type of what path is (S_IFMT bits), symlinks followed. */
int sys_type(const char *path, mode_t *type);
/* The device number of what is mounted at path, without asking who serves it. */
int sys_mounted_device(const char *path, unsigned *major, unsigned *minor);

#endif
