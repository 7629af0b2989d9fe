/*
 * Files whose inode is in one layer and whose data is in another, further below: the inode has the mark
 * metacopy there. The data is what the lower layers have by the same name, or by the one that the mark
 * redirect tells (docs/format.md).
 */
#ifndef PLY_UNION_LOWERDATA_H
#define PLY_UNION_LOWERDATA_H

#include "union/node.h"

struct ply_filling;

/* Of one node, for as long as the mark is there. Its fields but the list's do not change. */
struct ply_lowerdata {
	struct ply_node *node;
	struct ply_lowerdata *next,
		**prev;	       /* among those to settle; prev is NULL for others; settle_lock */
	int64_t since;	       /* seconds of the monotonic clock when it came there */
	uint64_t size, blocks; /* of the data, as stat(2) tells them */
	uint16_t layer;	       /* 0: the data is not to be found */
	uint8_t pinned;	       /* the inode's mark redirect has the path; node->lock */
	uint8_t was_found;     /* by a lookup: the mark may be there */
	uint8_t filled;	       /* found so: the upper has the data, too */
	uint8_t lost;	       /* what came up did not all reach the disk; node->lock */
	_Atomic uint8_t keeps; /* the mark "kept" has what a fill took off; see ply_keep_lock */
	/* While a fill is under way: what it has taken off, see fill.h; node->lock */
	const struct ply_filling *filling;
	char path[]; /* of the data, from the layer's root */
};

/*
 * Does an inode that a lookup found have the mark? index: of dir->lowers, -1 the upper; fd: the directory in that
 * layer. As ply_mark_metacopy. Costs a system call only where there may be one: the file has holes, its layer is not the last, or its directory in the upper says that entries come from below.
 */
int ply_lowerdata_is_marked(struct ply_union *u, struct ply_node *dir, int index, int fd,
			    const char *name, const struct statx *stx);
/*
 * Where the data of that inode is. *out is malloc'd; when no layer has it that is no error, but its layer is 0 and
 * reading it is one. -errno of the file system, -ENOMEM.
 */
int ply_lowerdata_find(struct ply_union *u, struct ply_node *dir, int index, const char *name,
		       struct ply_lowerdata **out);
/* The place of what is about to come up: lower is the node's inode in its layer. node->lock is held. -ENOMEM, or of the way there. */
int ply_lowerdata_of_lower(struct ply_union *u, struct ply_node *node, const struct statx *lower,
			   struct ply_lowerdata **out);
/* The same of a file that an index entry was found for by this name in a lower layer. */
int ply_lowerdata_of_name(struct ply_union *u, struct ply_node *dir, unsigned layer,
			  const char *name, const struct statx *lower, struct ply_lowerdata **out);
/* The state of an upper inode that was found with that, or without (NULL). */
static inline uint8_t ply_lowerdata_state(const struct ply_lowerdata *data)
{
	if (!data)
		return PLY_STATE_UPPER;
	return data->filled ? PLY_STATE_DATA_UP : PLY_STATE_META_UP;
}

/* Opens the data for reading: a descriptor, or -errno; -EIO when it is not there. */
int ply_lowerdata_open(struct ply_union *u, const struct ply_lowerdata *data);
/* Puts size and blocks of the data in the place of the inode's. */
void ply_lowerdata_attr(const struct ply_lowerdata *data, struct statx *attr);

/*
 * Before the inode gets another name: from now on it says by a path where its data is. Nothing to do for most
 * nodes. node->lock is held, the node is up. -errno of the file system.
 */
int ply_lowerdata_pin(struct ply_union *u, struct ply_node *node);

#endif
