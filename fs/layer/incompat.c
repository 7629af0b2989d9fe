/* The mark of a volatile mount in the work directory. */
#include "layer/incompat.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/sys.h"
#include "layer/format.h"
#include "layer/layer.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW)

static int find_other(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	(void)arg;
	(void)type;
	(void)ino;
	return strcmp(name, PLY_INCOMPAT_VOLATILE) ? -EUCLEAN : PLY_INCOMPAT_THIS_BOOT;
}

/* Was the volatile mount one of this boot? */
static int check_boot(int incompat, const uint8_t boot[16])
{
	static const uint8_t unknown[16];
	uint8_t then[sizeof(unknown) + 1];
	int fd = sys_open(incompat, PLY_INCOMPAT_VOLATILE "/" PLY_INCOMPAT_DIRTY,
			  O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	ssize_t n;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? -EUCLEAN : fd;
	n = sys_pread(fd, then, sizeof(then), 0);
	sys_close(fd);
	if (n < 0)
		return (int)n;
	return n == sizeof(unknown) && memcmp(then, unknown, sizeof(unknown)) &&
			       !memcmp(then, boot, sizeof(unknown))
		       ? PLY_INCOMPAT_THIS_BOOT
		       : -EUCLEAN;
}

int ply_incompat_check(int work, const uint8_t boot[16])
{
	int incompat = sys_open(work, PLY_WORK_INCOMPAT, DIR_FLAGS, 0), res;

	if (incompat == -ENOENT)
		return PLY_INCOMPAT_NONE;
	if (incompat < 0)
		return incompat == -ENOTDIR || incompat == -ELOOP ? -EUCLEAN : incompat;
	res = ply_layer_list(incompat, find_other, NULL);
	if (res == PLY_INCOMPAT_THIS_BOOT)
		res = check_boot(incompat, boot);
	sys_close(incompat);
	return res;
}

static int make_dir(int dirfd, const char *name)
{
	int err = sys_mkdir(dirfd, name, S_IRWXU);

	if (err && err != -EEXIST)
		return err;
	return sys_open(dirfd, name, DIR_FLAGS, 0);
}

static int write_boot(int dirfd, const uint8_t boot[16])
{
	int fd = sys_open(dirfd, PLY_INCOMPAT_DIRTY, O_WRONLY | O_CREAT | O_NOFOLLOW,
			  S_IRUSR | S_IWUSR);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = sys_pwrite(fd, boot, 16, 0);
	sys_close(fd);
	return n < 0 ? (int)n : n == 16 ? 0 : -EIO;
}

int ply_incompat_set_volatile(int work, const uint8_t boot[16])
{
	int incompat = make_dir(work, PLY_WORK_INCOMPAT), dir, err;

	if (incompat < 0)
		return incompat;
	dir = make_dir(incompat, PLY_INCOMPAT_VOLATILE);
	sys_close(incompat);
	if (dir < 0)
		return dir;
	err = write_boot(dir, boot);
	sys_close(dir);
	return err;
}
