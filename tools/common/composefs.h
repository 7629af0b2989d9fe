/*
 * A layer in the words of composefs-dump(5), from which mkcomposefs makes an image. It is made of the lines of the layer's
 * manifest, whose escapes are those of that format.
 */
#ifndef PLY_TOOLS_COMPOSEFS_H
#define PLY_TOOLS_COMPOSEFS_H

#include <stdint.h>

struct ply_composefs {
	/* A line of the dump, with its newline. Not 0 ends it. */
	int (*line)(void *arg, const char *line);
	void *arg;
	_Atomic uint64_t *entries, *bytes; /* grow */
	const char *trouble;		   /* out: the reason in words of an error, or NULL */
};

/* Of the directory fd. 0 or -errno, with *where for the caller to free, or NULL. */
int ply_composefs_dump(struct ply_composefs *c, int fd, char **where);

#endif
