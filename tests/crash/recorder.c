/*
 * recorder IMAGE LOG MOUNTPOINT: a disk that remembers. Serves the image file as MOUNTPOINT/image, for a loop device,
 * and appends each write, with its data, and each flush to the log, in the order in which they were done.
 * MOUNTPOINT/count tells how many records there are. Nothing is cached above it.
 */
#include <fuse3/fuse.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define IMAGE "/image"
#define COUNT "/count"
#define COUNT_SIZE 24

/* As powercut.py reads it: before the data of a write, and alone for a flush. */
struct record {
	uint64_t is_flush, offset, length;
};

static int image, logfile;
static uint64_t count;

static int add(const struct record *r, const void *data)
{
	struct iovec parts[2] = { { (void *)r, sizeof(*r) }, { (void *)data, r->length } };

	if (writev(logfile, parts, 2) != (ssize_t)(sizeof(*r) + r->length))
		return -EIO;
	count++;
	return 0;
}

static int do_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (!strcmp(path, IMAGE))
		return fstat(image, st) ? -errno : 0;
	memset(st, 0, sizeof(*st));
	st->st_nlink = 1;
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0700;
		return 0;
	}
	if (strcmp(path, COUNT))
		return -ENOENT;
	st->st_mode = S_IFREG | 0600;
	st->st_size = COUNT_SIZE;
	return 0;
}

static int do_open(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	fi->direct_io = 1;
	return 0;
}

static int read_count(char *buf, size_t size, off_t off)
{
	char text[COUNT_SIZE + 1];
	size_t len = (size_t)snprintf(text, sizeof(text), "%llu\n", (unsigned long long)count);

	if (off < 0 || (size_t)off >= len)
		return 0;
	if (size > len - (size_t)off)
		size = len - (size_t)off;
	memcpy(buf, text + off, size);
	return (int)size;
}

static int do_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t n;

	(void)fi;
	if (!strcmp(path, COUNT))
		return read_count(buf, size, off);
	n = pread(image, buf, size, off);
	return n < 0 ? -errno : (int)n;
}

static int do_write(const char *path, const char *buf, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct record r = { .offset = (uint64_t)off, .length = size };
	int err;

	(void)fi;
	if (strcmp(path, IMAGE))
		return -EPERM;
	err = pwrite(image, buf, size, off) == (ssize_t)size ? add(&r, buf) : -EIO;
	return err ? err : (int)size;
}

static int do_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	struct record r = { .is_flush = 1 };

	(void)path;
	(void)datasync;
	(void)fi;
	return add(&r, NULL);
}

int main(int argc, char **argv)
{
	static const struct fuse_operations ops = { .getattr = do_getattr,
						    .open = do_open,
						    .read = do_read,
						    .write = do_write,
						    .fsync = do_fsync };
	/* One thread: the order of the log is that of the requests. */
	char in_foreground[] = "-f", single[] = "-s";
	char *args[] = { argv[0], in_foreground, single, argv[3], NULL };

	if (argc != 4) {
		fprintf(stderr, "usage: recorder IMAGE LOG MOUNTPOINT\n");
		return 2;
	}
	image = open(argv[1], O_RDWR | O_CLOEXEC);
	logfile = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (image < 0 || logfile < 0) {
		perror("recorder");
		return 1;
	}
	/* A file system waits for it: its memory must not wait for that file system. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	return fuse_main(4, args, &ops, NULL);
}
