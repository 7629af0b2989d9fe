/* Writing a long text to a file through a buffer. */
#ifndef PLY_TOOLS_TEXTFILE_H
#define PLY_TOOLS_TEXTFILE_H

#include <sys/types.h>

#define PLY_TEXTFILE_SIZE 65536

struct ply_textfile {
	int fd; /* -1: it goes nowhere */
	off_t at;
	size_t n;
	char buf[PLY_TEXTFILE_SIZE];
};

/* 0 or -errno. */
int ply_textfile_put(struct ply_textfile *file, const char *text);
/* What is still in the buffer. */
int ply_textfile_flush(struct ply_textfile *file);

#endif
