/*
 * plyfs locks its upper. The kernel's overlayfs does not, but tells in mountinfo what it has mounted, in the
 * words of whoever mounted it: a relative path or another mount namespace's is not found there.
 */
#include "busy.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/mounts.h"
#include "base/sys.h"
#include "layer/layer.h"

#define TRIES 60 /* a server that was just unmounted may still be bringing data up */
#define WAIT_MS 50

static int is_same(const char *path, const struct statx *dir)
{
	struct statx stx;
	int fd = sys_open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0), err;

	if (fd < 0)
		return 0;
	err = sys_statx(fd, "", STATX_INO, &stx);
	sys_close(fd);
	return !err && ply_same_inode(&stx, dir);
}

/* One line of mountinfo, which is cut up. */
static int is_upper_of(void *arg, char *mount)
{
	const struct statx *dir = arg;
	char *type = strstr(mount, " - overlay "),
	     *upper = type ? strstr(type, ",upperdir=") : NULL;

	if (!upper)
		return 0;
	upper += strlen(",upperdir=");
	upper[strcspn(upper, ", ")] = '\0';
	ply_mounts_unescape(upper);
	return is_same(upper, dir);
}

static int is_kernel_upper(int fd)
{
	struct statx dir;

	return !sys_statx(fd, "", STATX_INO, &dir) && ply_mounts_each(is_upper_of, &dir) > 0;
}

int ply_lock_upper(int fd)
{
	int err = sys_flock(fd);

	for (int i = 0; err == -EWOULDBLOCK && i < TRIES; i++) {
		poll(NULL, 0, WAIT_MS);
		err = sys_flock(fd);
	}
	if (err)
		return err == -EWOULDBLOCK ? -EBUSY : err;
	return is_kernel_upper(fd) ? -EBUSY : 0;
}
