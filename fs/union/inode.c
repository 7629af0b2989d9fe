/*
 * Inodes of the layers: the table by which all names of a hard link find one node, and the numbers that the
 * union shows. Under union->tree, memory only.
 */
#include <stdlib.h>
#include <xxhash.h>

#include "union/node.h"

static dev_t stx_dev(const struct statx *stx)
{
	return (dev_t)stx->stx_dev_major << 32 | stx->stx_dev_minor;
}

static uint64_t key_of(int in_upper, dev_t dev, uint64_t ino)
{
	uint64_t key[3] = { (uint64_t)in_upper, dev, ino };

	return XXH3_64bits(key, sizeof(key));
}

static uint64_t inode_key(unsigned layer, const struct statx *stx)
{
	return key_of(layer == PLY_UPPER, stx_dev(stx), stx->stx_ino);
}

/* With one more reference. */
static struct ply_node *find_locked(struct ply_union *u, unsigned layer, const struct statx *stx)
{
	struct ply_link *link = ply_table_find(&u->inodes, inode_key(layer, stx));

	for (; link; link = ply_table_next(link)) {
		struct ply_inode *inode = ply_container(link, struct ply_inode, link);

		if (inode->in_upper == (layer == PLY_UPPER) && inode->ino == stx->stx_ino &&
		    inode->dev == stx_dev(stx)) {
			inode->node->refs++;
			return inode->node;
		}
	}
	return NULL;
}

struct ply_node *ply_inode_find(struct ply_union *u, unsigned layer, const struct statx *stx)
{
	struct ply_node *node;

	pthread_mutex_lock(&u->tree);
	node = find_locked(u, layer, stx);
	pthread_mutex_unlock(&u->tree);
	return node;
}

struct ply_node *ply_inode_add(struct ply_union *u, struct ply_node *node, unsigned layer,
			       const struct statx *stx)
{
	struct ply_inode *inode = calloc(1, sizeof(*inode));
	struct ply_node *other;

	if (!inode)
		return node;
	inode->node = node;
	inode->in_upper = layer == PLY_UPPER;
	inode->ino = stx->stx_ino;
	inode->dev = stx_dev(stx);
	inode->links = stx->stx_nlink;
	pthread_mutex_lock(&u->tree);
	other = find_locked(u, layer, stx);
	if (other) {
		free(inode);
		node = other;
	} else {
		node->inode = inode;
		ply_table_add(&u->inodes, &inode->link, inode_key(layer, stx));
	}
	pthread_mutex_unlock(&u->tree);
	return node;
}

void ply_inode_move(struct ply_union *u, struct ply_node *node, unsigned layer,
		    const struct statx *stx)
{
	struct ply_inode *inode = ply_node_is_dir(node) ? NULL : node->inode;

	if (!inode)
		return;
	pthread_mutex_lock(&u->tree);
	ply_table_remove(&u->inodes, &inode->link);
	inode->in_upper = layer == PLY_UPPER;
	if (stx) {
		inode->dev = stx_dev(stx);
		inode->ino = stx->stx_ino;
		inode->links = stx->stx_nlink;
	}
	ply_table_add(&u->inodes, &inode->link, key_of(inode->in_upper, inode->dev, inode->ino));
	pthread_mutex_unlock(&u->tree);
}

static unsigned fs_number(struct ply_union *u, dev_t dev)
{
	unsigned i;

	pthread_mutex_lock(&u->tree);
	for (i = 0; i < u->nfs && u->fs_dev[i] != dev; i++)
		;
	if (i == u->nfs && i < sizeof(u->fs_dev) / sizeof(u->fs_dev[0]))
		u->fs_dev[u->nfs++] = dev;
	pthread_mutex_unlock(&u->tree);
	return i;
}

/*
 * The first file system's numbers are shown as they are. Those of others carry its number in the top byte;
 * one that does not fit, or is one file system too many, is hashed into the upper half of all numbers.
 */
uint64_t ply_ino_map(struct ply_union *u, const struct statx *stx)
{
	uint64_t key[2] = { stx_dev(stx), stx->stx_ino };
	unsigned fs = fs_number(u, stx_dev(stx));

	if (fs == 0 && !(stx->stx_ino >> 63))
		return stx->stx_ino;
	if (fs < 128 && !(stx->stx_ino >> 56))
		return (uint64_t)fs << 56 | stx->stx_ino;
	return XXH3_64bits(key, sizeof(key)) | 1ull << 63;
}
