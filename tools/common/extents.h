/* Where the data of files lies on the disk, as far as their file system tells. */
#ifndef PLY_TOOLS_EXTENTS_H
#define PLY_TOOLS_EXTENTS_H

#include <stdint.h>

/* 1 when two open files of one file system share all of their data already, or it takes no room. */
int ply_shares_data(int a, int b);
/* How many bytes of an open file lie where other files have theirs, too. -EOPNOTSUPP and the like: it does not tell. */
int ply_shared_bytes(int fd, uint64_t *bytes);

#endif
