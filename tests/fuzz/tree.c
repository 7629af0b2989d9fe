/* Making, emptying and summing up directories, see the header. */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include "fuzz.h"

static char top[256];
static XXH3_state_t *sum;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	if (ftw->level)
		remove(path);
	return 0;
}

static int open_up(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)ftw;
	if (flag == FTW_DNR || (flag == FTW_D && (st->st_mode & S_IRWXU) != S_IRWXU))
		chmod(path, S_IRWXU);
	return 0;
}

void tree_empty(const char *path)
{
	/* Root needs no modes. */
	if (geteuid() != 0)
		nftw(path, open_up, 32, FTW_PHYS | FTW_MOUNT);
	nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void clean_up(void)
{
	tree_empty(top);
	rmdir(top);
}

static int makes_top(const char *in)
{
	snprintf(top, sizeof(top), "%s/ply-fuzz-XXXXXX", in);
	if (!mkdtemp(top))
		return 0;
	if (!setxattr(top, "user.tried", "", 0, 0) && !removexattr(top, "user.tried"))
		return 1;
	rmdir(top);
	return 0;
}

/* In memory nobody waits for a disk at each fsync. */
const char *tree_top(void)
{
	const char *tmp = getenv("TMPDIR");

	if (top[0])
		return top;
	fuzz_check(makes_top("/dev/shm") || makes_top(tmp && *tmp ? tmp : "/var/tmp"));
	atexit(clean_up);
	return top;
}

const char *tree_path(const char *fmt, ...)
{
	static char bufs[4][PATH_MAX * 2];
	static unsigned turn;
	char *buf = bufs[turn++ % 4];
	int n = snprintf(buf, sizeof(bufs[0]), "%s/", tree_top());
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + n, sizeof(bufs[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	return buf;
}

void tree_make_dir(const char *path)
{
	fuzz_check(mkdir(path, 0755) == 0 || errno == EEXIST);
}

void tree_make_file(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		      0644);

	if (fd < 0)
		return;
	fuzz_check(write(fd, data, size) == (ssize_t)size);
	close(fd);
}

static void add_content(const char *path)
{
	static char data[1 << 16];
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, data, sizeof(data));

	if (fd >= 0)
		close(fd);
	if (n > 0)
		XXH3_64bits_update(sum, data, (size_t)n);
}

static void add_attributes(const char *path)
{
	static char list[1 << 16], value[1 << 16];
	ssize_t size = llistxattr(path, list, sizeof(list));

	for (ssize_t at = 0; at < size; at += (ssize_t)strlen(list + at) + 1) {
		ssize_t n = lgetxattr(path, list + at, value, sizeof(value));

		XXH3_64bits_update(sum, list + at, strlen(list + at));
		if (n > 0)
			XXH3_64bits_update(sum, value, (size_t)n);
	}
}

/* The order is the directory's own, which stays as long as nobody changes it. */
static int add_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	const long long numbers[] = {
		(long long)st->st_ino, st->st_mode, st->st_uid,		st->st_gid,
		st->st_size,	       st->st_rdev, st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
	};

	(void)flag;
	(void)ftw;
	XXH3_64bits_update(sum, path, strlen(path));
	XXH3_64bits_update(sum, numbers, sizeof(numbers));
	if (S_ISREG(st->st_mode))
		add_content(path);
	add_attributes(path);
	return 0;
}

unsigned long tree_sum(const char *path)
{
	unsigned long result;

	sum = XXH3_createState();
	fuzz_check(sum);
	XXH3_64bits_reset(sum);
	fuzz_check(nftw(path, add_entry, 32, FTW_PHYS | FTW_MOUNT) == 0);
	result = XXH3_64bits_digest(sum);
	XXH3_freeState(sum);
	return result;
}
