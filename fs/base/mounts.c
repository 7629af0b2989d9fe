/* /proc/self/mountinfo, read in one go. */
#include "base/mounts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

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

void ply_mounts_unescape(char *p)
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

int ply_mounts_each(ply_mount_fn fn, void *arg)
{
	char *text = slurp("/proc/self/mountinfo"), *line, *rest = text;
	int res = 0;

	while (!res && (line = strsep(&rest, "\n")))
		res = fn(arg, line);
	free(text);
	return res;
}
