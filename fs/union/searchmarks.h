/* What a server that did not come to its end has left to settle. */
#ifndef PLY_UNION_SEARCHMARKS_H
#define PLY_UNION_SEARCHMARKS_H

#include "union/node.h"

/*
 * Lists all nodes with a mark that is to be taken off, and takes marks off what only the index of hard links has. Where it
 * cannot look it goes on elsewhere: 0, or the first error. No lock is held but settle_run.
 */
int ply_search_marks(struct ply_union *u);

#endif
