/*
 * Counts of lower hard links that lose names before they are brought up. Their inode cannot tell, and no inode of the upper
 * is theirs; to bring them up at once, as the kernel does with index=on, would sooner or later cost the data of what
 * was only removed. So beside the index there is the directory "links". By the digits of a file's origin, as there, it
 * has a symlink to the number of removed names. A count that is lost, to a crash or a full disk, is one of too many names,
 * which does no harm: so nothing fails because of one.
 */
#ifndef PLY_UNION_LINKCOUNT_H
#define PLY_UNION_LINKCOUNT_H

#include "union/node.h"

/* Opens the counts that an earlier mount has left; those of other directories are removed. */
void ply_linkcount_open(struct ply_union *u);
/* A new lower node with several links, found as name of dir: sets its extra_links. Its lock and that of dir are held. */
void ply_linkcount_load(struct ply_union *u, struct ply_node *node, struct ply_node *dir,
			const char *name);
/* Writes down extra_links of a lower node after it lost a name; with the last one the count goes. node->lock is held. */
void ply_linkcount_save(struct ply_union *u, struct ply_node *node);
/* The file has an entry in the index, which tells from now on. */
void ply_linkcount_drop(struct ply_union *u, const struct ply_fh *origin);
/* The stack has changed, and what was counted stays right. */
void ply_linkcount_rebind(struct ply_union *u);

#endif
