/*
 * The index of hard links, in the kernel's format: a lower file with several names is, once it is brought
 * up, also linked into the index directory, under the hex digits of its origin. So each of its names, those too
 * that only the lower layer has, finds the one upper inode, now and after a remount. The mark "nlink" keeps
 * by how many the union's link count differs from the inode's.
 */
#ifndef PLY_UNION_INDEX_H
#define PLY_UNION_INDEX_H

#include "layer/binding.h"
#include "union/node.h"
#include "union/place.h"

/*
 * Opens the index that an earlier mount has left, if there is one. -ESTALE when it has entries and was made on other directories,
 * of which *bound tells.
 */
int ply_index_open(struct ply_union *u, enum ply_bound *bound);

/*
 * Makes the entry of a node that is about to be published from tmp in the work directory; its lower inode has
 * so many links. 1, or -errno; 0: no entry can be had, and the file's names part when it is forgotten. Once it has both its
 * name and extra_links, ply_index_save is to be called.
 */
int ply_index_add(struct ply_union *u, struct ply_node *node, const struct ply_fh *origin,
		  const char *tmp, uint32_t lower_links);
/* Takes the entry away again. */
void ply_index_drop(struct ply_union *u, struct ply_node *node);

/*
 * For a lower file with several links, found as name of dir in a layer.
 */
struct ply_index_lower {
	struct ply_node *dir;
	const char *name;
	unsigned layer;
	const struct statx *stx;
};
/*
 * In *out the node of its upper inode with one more reference, or NULL when it has not been brought up. dir->lock is held.
 * *data is where the lower file's data is, if that has the mark metacopy; what the node takes is NULL afterwards. 0 or -errno.
 */
int ply_index_find(struct ply_union *u, const struct ply_index_lower *lower,
		   struct ply_lowerdata **data, struct ply_node **out);
/* For an upper file with several links and an origin, new as a node: its entry, if it has one, becomes a way to it. 1 if it has, 0 or -errno. */
int ply_index_attach_upper(struct ply_union *u, struct ply_node *node, const struct ply_fh *origin,
			   const struct statx *upper, uint32_t lower_links);

/*
 * What a server that did not come to its end has left: takes the marks off entries whose data is up, which nobody finds in the
 * upper when only lower layers have their names. 0, or the first error, after which it has gone on.
 */
int ply_index_settle(struct ply_union *u);

/*
 * Are there files with a name that only a lower layer has? 1, 0 or -errno. There are none when ply_link_names_up has been
 * everywhere since the last entry was made, nor when each file has fewer names than links in the upper.
 */
int ply_index_is_needed(struct ply_union *u);
/*
 * Does without the index, which must not be needed: its entries go, and with them the nodes' ways to them. No other
 * call is running. -errno: some entries may be gone.
 */
int ply_index_retire(struct ply_union *u);

/*
 * Writes down extra_links after it changed: in the mark of the entry, or as a count of a lower file. node->lock is held. It
 * may fail: then the disk counts a name too many, which does no harm.
 */
void ply_index_save(struct ply_union *u, struct ply_node *node);
/* After a name went: with the union's last one the entry goes too. node->lock is held. */
void ply_index_prune(struct ply_union *u, struct ply_node *node);
/*
 * Gives the upper directory fd a name that so far only a lower layer has, while the file is up.
 * The directory's lock and node->lock are held.
 */
int ply_index_link_up(struct ply_union *u, struct ply_node *node, struct ply_name *record, int fd);

#endif
