/*
 * plyfs locks its upper. The kernel's overlayfs does not, but tells in mountinfo what it has mounted, in the
 * words of whoever mounted it: a relative path or another mount namespace's is not found there.
 */
#include "busy.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/layer.h"

#define TRIES 60 /* a server that was just unmounted may still be bringing data up */
#define WAIT_MS 50

#define CHUNK 65536

/* The whole of a file of /proc, ended by NUL; NULL when it cannot be read. */
static char *slurp(const char *path)
{
	int fd = sys_open(AT_FDCWD, path, O_RDONLY, 0);
	char *text = NULL;
	size_t size = 0;
	ssize_t n = 0;

	if (fd < 0)
		return NULL;
	do {
		char *more = realloc(text, size + CHUNK + 1);

		if (!more) {
			n = -ENOMEM;
			break;
		}
		text = more;
		n = sys_pread(fd, text + size, CHUNK, (off_t)size);
		size += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	sys_close(fd);
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[size] = '\0';
	return text;
}

static int is_octal(const char *p)
{
	for (int i = 1; i <= 3; i++)
		if (p[i] < '0' || p[i] > '7')
			return 0;
	return 1;
}

/* Undoes mountinfo's octal escapes, in place. */
static void unescape(char *p)
{
	char *to = p;

	while (*p) {
		if (*p == '\\' && is_octal(p)) {
			*to++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 4;
		} else {
			*to++ = *p++;
		}
	}
	*to = '\0';
}

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
static int is_upper_of(char *mount, const struct statx *dir)
{
	char *type = strstr(mount, " - overlay "),
	     *upper = type ? strstr(type, ",upperdir=") : NULL;

	if (!upper)
		return 0;
	upper += strlen(",upperdir=");
	upper[strcspn(upper, ", ")] = '\0';
	unescape(upper);
	return is_same(upper, dir);
}

static int is_kernel_upper(int fd)
{
	char *text = slurp("/proc/self/mountinfo"), *line, *rest = text;
	struct statx dir;
	int found = 0;

	if (sys_statx(fd, "", STATX_INO, &dir) < 0)
		rest = NULL;
	while (!found && (line = strsep(&rest, "\n")))
		found = is_upper_of(line, &dir);
	free(text);
	return found;
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
