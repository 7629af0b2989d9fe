/* A set of inodes, so that a file with several names is counted once. */
#ifndef PLY_TOOLS_INODES_H
#define PLY_TOOLS_INODES_H

#include <sys/stat.h>

struct ply_inodes;

/* NULL without memory. */
struct ply_inodes *ply_inodes_new(void);
void ply_inodes_free(struct ply_inodes *set);
/* 1: it was not there yet, 0: it was, or -ENOMEM. tag tells apart what is counted apart. */
int ply_inodes_add(struct ply_inodes *set, unsigned tag, const struct statx *stx);
int ply_inodes_has(const struct ply_inodes *set, unsigned tag, const struct statx *stx);

#endif
