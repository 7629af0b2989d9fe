/*
 * Taking names away, and keeping what had them for as long as somebody may use it.
 */
#ifndef PLY_UNION_REMOVE_H
#define PLY_UNION_REMOVE_H

#include "union/node.h"

/*
 * Before the last upper name of a node goes: opens what keeps the inode, so that node->held is set, or
 * leaves it NULL when the descriptors for that are used up or it cannot be opened. node->lock is held.
 */
void ply_hold(struct ply_union *u, struct ply_node *node);
/* The same where nothing else can keep it, with more descriptors than there are for that. */
void ply_hold_at_any_price(struct ply_union *u, struct ply_node *node);
/*
 * The same for the last upper name of a file, unless it goes on by names that only lower layers have, without an index: these
 * may get a link of it yet, which is not to be had of an inode that has none.
 */
void ply_hold_last(struct ply_union *u, struct ply_node *node);
/* Undoes ply_hold when the name stays after all. */
void ply_unhold(struct ply_union *u, struct ply_node *node);
/* Is record the only name by which the upper has node? */
int ply_is_last_upper_name(struct ply_union *u, struct ply_node *node,
			   const struct ply_name *record);

/* After a file lost a name. node->lock is held. */
void ply_name_is_gone(struct ply_union *u, struct ply_node *node);

/*
 * The name that ply_find found, locked: dir->lock and node->lock are then held, and record is valid.
 * -EAGAIN when the name is another's by now, nothing is locked.
 */
int ply_lock_name(struct ply_union *u, struct ply_node *dir, struct ply_node *node,
		  const char *name, struct ply_name **record);
void ply_unlock_name(struct ply_node *dir, struct ply_node *node);

#endif
