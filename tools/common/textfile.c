/* A buffer, and where in the file it goes. */
#include "textfile.h"

#include <errno.h>
#include <string.h>

#include "base/sys.h"

int ply_textfile_flush(struct ply_textfile *file)
{
	size_t done = 0;

	while (file->fd >= 0 && done < file->n) {
		ssize_t n = sys_pwrite(file->fd, file->buf + done, file->n - done, file->at);

		if (n <= 0)
			return n ? (int)n : -EIO;
		done += (size_t)n;
		file->at += n;
	}
	file->n = 0;
	return 0;
}

int ply_textfile_put(struct ply_textfile *file, const char *text)
{
	size_t left = strlen(text);
	int err = 0;

	while (left && !err) {
		size_t room = PLY_TEXTFILE_SIZE - file->n, len = left < room ? left : room;

		memcpy(file->buf + file->n, text, len);
		file->n += len;
		text += len;
		left -= len;
		err = file->n == PLY_TEXTFILE_SIZE ? ply_textfile_flush(file) : 0;
	}
	return err;
}
