/* What lies in what. */
#ifndef PLY_UNION_INSIDE_H
#define PLY_UNION_INSIDE_H

#include "union/node.h"

/*
 * Is the directory open as fd (not one of a private copy of mounts, which has nothing above it) the upper or the work directory, or does
 * it lie in one of them? 1, 0, or -errno. There is an upper.
 */
int ply_is_inside_upper(const struct ply_union *u, int fd);
/*
 * Is a file system mounted in the directory of that path, resolved, but at the mountpoint that is NULL or but: 1, or 0 as far as it can
 * be told.
 */
int ply_is_mounted_inside(dev_t dev, const char *path, const char *but);
/* Is the path below (or the same as) the other, both resolved? */
int ply_is_path_inside(const char *path, const char *other);

#endif
