/* The changes of a text file, by diff(1). */
#ifndef PLY_TOOLS_TEXTDIFF_H
#define PLY_TOOLS_TEXTDIFF_H

#include "stack.h"

struct ply_text_side {
	const struct ply_data *data; /* NULL: there is no such file */
	off_t size;
};

/* On stdout, as diff -u; a line instead for what is no text or larger than cap. 0 or -errno. */
int ply_text_diff(struct ply_stack *s, const char *path, const struct ply_text_side *before,
		  const struct ply_text_side *after, off_t cap);

#endif
