/* Comparing what two layers have: attributes as the union shows them, and data. */
#ifndef PLY_TOOLS_COMPARE_H
#define PLY_TOOLS_COMPARE_H

#include "stack.h"

enum ply_differs {
	PLY_DIFFERS_DATA = 1 << 0,
	PLY_DIFFERS_SIZE = 1 << 1,
	PLY_DIFFERS_MODE = 1 << 2,
	PLY_DIFFERS_OWNER = 1 << 3,
	PLY_DIFFERS_MTIME = 1 << 4,
	PLY_DIFFERS_XATTRS = 1 << 5,
	PLY_DIFFERS_DEVICE = 1 << 6,
	PLY_DIFFERS_TARGET = 1 << 7, /* of a symlink */
};

/* A set of ply_differs for two inodes of one type, data left out; or -errno. */
int ply_compare_attrs(const struct ply_side *a, const struct ply_side *b);
/* 1: the data differs, 0: it is the same, or -errno. The sizes are equal; done grows by the bytes compared. */
int ply_compare_data(struct ply_stack *s, const struct ply_data *a, const struct ply_data *b,
		     _Atomic uint64_t *done);
/* The same of two open files. */
int ply_compare_open(int a, int b, _Atomic uint64_t *done);
/* The word for one of ply_differs. */
const char *ply_differs_word(unsigned bit);

#endif
