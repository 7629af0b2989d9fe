/*
 * To be preloaded: kills the program when it comes to its Nth call, N from the environment's KILL_AT, that changes
 * something on disk. What it has done before stays, nothing after it is done. With FAIL_AT its Nth listing of xattrs
 * fails with EIO.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define NR_RENAMEAT2 316
#define NR_FCHMODAT2 452
#define NR_SETXATTRAT 463
#define NR_LISTXATTRAT 465
#define NR_REMOVEXATTRAT 466

/* Is this the Nth time, N from the environment? */
static int is_due(const char *variable, long *left)
{
	const char *at = getenv(variable);

	if (*left < 0)
		*left = at ? strtol(at, NULL, 10) : 0;
	return *left > 0 && !--*left;
}

static int listing_fails(void)
{
	static long left = -1;

	errno = EIO;
	return is_due("FAIL_AT", &left);
}

static void count(void)
{
	static long left = -1;

	if (is_due("KILL_AT", &left))
		raise(SIGKILL);
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

#define CALL(name, params, ...)                                                                    \
	int name params;                                                                           \
	int name params                                                                            \
	{                                                                                          \
		count();                                                                           \
		return NEXT(int(*) params, #name)(__VA_ARGS__);                                    \
	}

CALL(mknodat, (int dir, const char *name, mode_t mode, dev_t dev), dir, name, mode, dev)
CALL(linkat, (int dir, const char *name, int to, const char *as, int flags), dir, name, to, as,
     flags)
CALL(unlinkat, (int dir, const char *name, int flags), dir, name, flags)
CALL(renameat, (int dir, const char *name, int to, const char *as), dir, name, to, as)
CALL(chmod, (const char *path, mode_t mode), path, mode)
CALL(utimensat, (int dir, const char *name, const struct timespec times[2], int flags), dir, name,
     times, flags)
CALL(fchmodat, (int dir, const char *name, mode_t mode, int flags), dir, name, mode, flags)
CALL(mkdirat, (int dir, const char *name, mode_t mode), dir, name, mode)
CALL(fchownat, (int dir, const char *name, uid_t uid, gid_t gid, int flags), dir, name, uid, gid,
     flags)
CALL(ftruncate, (int fd, off_t size), fd, size)
CALL(ftruncate64, (int fd, off64_t size), fd, size)
CALL(fsync, (int fd), fd)
CALL(syncfs, (int fd), fd)
CALL(setxattr, (const char *path, const char *attr, const void *value, size_t size, int flags),
     path, attr, value, size, flags)
CALL(lsetxattr, (const char *path, const char *attr, const void *value, size_t size, int flags),
     path, attr, value, size, flags)
CALL(fsetxattr, (int fd, const char *attr, const void *value, size_t size, int flags), fd, attr,
     value, size, flags)
CALL(removexattr, (const char *path, const char *attr), path, attr)
CALL(lremovexattr, (const char *path, const char *attr), path, attr)
CALL(fremovexattr, (int fd, const char *attr), fd, attr)

#define LISTING(name, params, ...)                                                                 \
	ssize_t name params;                                                                       \
	ssize_t name params                                                                        \
	{                                                                                          \
		if (listing_fails())                                                               \
			return -1;                                                                 \
		return NEXT(ssize_t(*) params, #name)(__VA_ARGS__);                                \
	}

LISTING(listxattr, (const char *path, char *list, size_t size), path, list, size)
LISTING(llistxattr, (const char *path, char *list, size_t size), path, list, size)

ssize_t copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t len,
			unsigned flags)
{
	count();
	return NEXT(ssize_t(*)(int, off64_t *, int, off64_t *, size_t, unsigned),
		    "copy_file_range")(in, in_off, out, out_off, len, flags);
}

long syscall(long number, ...)
{
	long arg[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		arg[i] = va_arg(ap, long);
	va_end(ap);
	if (number == NR_RENAMEAT2 || number == NR_FCHMODAT2 || number == NR_SETXATTRAT ||
	    number == NR_REMOVEXATTRAT)
		count();
	if (number == NR_LISTXATTRAT && listing_fails())
		return -1;
	return NEXT(long (*)(long, ...), "syscall")(number, arg[0], arg[1], arg[2], arg[3], arg[4],
						    arg[5]);
}
