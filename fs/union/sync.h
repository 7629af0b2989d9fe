/*
 * Bringing things to the disk, in an order that the file system may not keep by itself.
 */
#ifndef PLY_UNION_SYNC_H
#define PLY_UNION_SYNC_H

#include "union/node.h"

/* The upper was opened. */
void ply_sync_init(struct ply_union *u);
/*
 * Before and after several names change that must come to the disk together, or not at all; and after something was written
 * without which a file that comes to the disk later would be misread.
 */
void ply_sync_together(struct ply_union *u);

#endif
