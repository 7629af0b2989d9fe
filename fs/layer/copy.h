/*
 * Copying an inode's data and attributes from one directory tree to another: what a copy-up and the tools
 * that make layers have in common. Nothing is published and nothing synced here; a failed copy is the
 * caller's to remove.
 */
#ifndef PLY_LAYER_COPY_H
#define PLY_LAYER_COPY_H

#include <stdint.h>

#include "layer/layer.h"

/* Grows while a copy goes on, so that another thread can tell how far it is. */
struct ply_copied {
	_Atomic uint64_t shared; /* bytes that take no room of their own */
	_Atomic uint64_t copied; /* bytes written */
};

/*
 * In datacopy.c: the first size bytes of file in to the empty file out, which lies in layer to; shared where
 * the file system can, else copied by the kernel, else by hand; holes stay.
 */
enum ply_copy_how {
	PLY_COPY_ALL = 1 << 0, /* size is all that in has */
	PLY_COPY_TO_CHANGE =
		1 << 1, /* it is about to be written to: little is not worth being shared */
};
struct ply_data_copy {
	struct ply_layer *to;
	int in, out;
	off_t size;
	unsigned how;		 /* of enum ply_copy_how */
	struct ply_copied *done; /* or NULL */
};
int ply_copy_data(const struct ply_data_copy *copy);

/* Writes it all: 0, or -errno, and in *done how much of it. */
int ply_write_all(int fd, const char *buf, size_t size, off_t off, size_t *done);

/* An inode to take attributes from. name is empty when fd is the inode itself. */
struct ply_attr_source {
	struct ply_layer *layer;
	/* The layer of the copy, which is to be shown as the source is; NULL: as it is on disk. */
	struct ply_layer *to;
	int fd;
	const char *name;
	/* Takes a mark along (not 0) or leaves it behind. NULL: all are left behind. */
	int (*takes_mark)(void *arg, const char *attr);
	/*
	 * Called for what cannot be kept: an attribute that the target does not hold or this process may not
	 * set, or the owner (attr NULL). Not 0 ends the copy with that error. NULL: attributes are left
	 * behind without a word, an owner that cannot be set is an error.
	 */
	int (*cannot_keep)(void *arg, const char *attr, int err);
	void *arg;   /* for both */
	int *nattrs; /* NULL, or where to say how many xattrs there are to be copied */
};

/* In attrcopy.c: gives fd/name the times that stx has; and fd its mtime alone. */
int ply_set_times(int fd, const char *name, const struct statx *stx);
int ply_set_mtime(int fd, const struct statx *stx);
/*
 * In attrcopy.c: gives what is built at fd/name (of the same type) the source's owner, xattrs, mode and
 * times. stx: the source's.
 */
int ply_copy_attrs(const struct ply_attr_source *from, const struct statx *stx, int fd,
		   const char *name);

#endif
