/*
 * Taking the mark metacopy off again. An inode in state META_UP or DATA_UP says on disk that its data is below, which is
 * what a crash leaves: the old content. Once the data is in the upper and durable the mark goes, and the upper is
 * plain for every other reader.
 *
 * Nodes with a mark are kept in a list, oldest first, each with a reference. A thread settles those that are some
 * seconds old, many with one syncfs; fsync settles one; closing the union settles all. While there are such nodes
 * the work directory holds the file "unsettled", so that after a crash the marks that are left are looked for.
 */
#ifndef PLY_UNION_SETTLE_H
#define PLY_UNION_SETTLE_H

#include "union/node.h"

void ply_settle_init(struct ply_union *u);
void ply_settle_free(struct ply_union *u);

/* Has an earlier server left marks? */
int ply_settle_is_left(struct ply_union *u);
/* Before an inode with a mark is published: the work directory says so. 0 or -errno. */
int ply_settle_announce(struct ply_union *u);
/* node->lowerdata was just set: it is to be settled one day. node->lock is held. */
void ply_settle_add(struct ply_union *u, struct ply_node *node);
/* Its data is found elsewhere: data takes the place of node->lowerdata, if any, which is freed. No other call is running. */
void ply_settle_replace(struct ply_union *u, struct ply_node *node, struct ply_lowerdata *data);
/*
 * A name of the node was removed: if it was the last one of all, nobody need care any more. node->lock is held.
 */
void ply_settle_if_gone(struct ply_union *u, struct ply_node *node);
/*
 * Takes the mark off a node in state DATA_UP, whose data is durable by now, or need not be. 0 or -errno: -EIO when some
 * of it was lost on its way to the disk.
 */
int ply_settle_unmark(struct ply_union *u, struct ply_node *node);
/*
 * Syncing a node in state DATA_UP, or on its way there, has failed. The kernel takes such data for clean, and says nothing the next time, and
 * whoever writes it again does not know of what was brought up. So the mark stays, and fsync fails, until the file is emptied;
 * to the next server its data is below.
 */
void ply_settle_lost(struct ply_union *u, struct ply_node *node);
/* The file was emptied: what was lost does not matter any more. 0, or why the mark stays. */
int ply_settle_emptied(struct ply_union *u, struct ply_node *node);
/* Does it all for one node at once: brings its data up, syncs it, takes the mark off. No lock is held. */
int ply_settle_node(struct ply_union *u, struct ply_node *node);
/* How many nodes have a mark that is to be taken off. */
size_t ply_settle_count(struct ply_union *u);
/* As ply_settle; begins nothing more after a second of the monotonic clock. settle_run is held. */
int ply_settle_locked(struct ply_union *u, unsigned age, int64_t until);
/* At the end: all that is left, with a message where that fails. */
void ply_settle_all(struct ply_union *u);

#endif
