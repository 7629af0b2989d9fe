/* The set: a hash table of device, number and tag. */
#include "inodes.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "base/table.h"

#define TABLE_START 1024

struct inode {
	struct ply_link link;
	struct key {
		uint64_t dev, ino, tag;
	} key;
	struct inode *next;
};

struct ply_inodes {
	struct ply_table table;
	struct inode *all;
};

struct ply_inodes *ply_inodes_new(void)
{
	struct ply_inodes *set = calloc(1, sizeof(*set));

	if (set && ply_table_init(&set->table, TABLE_START)) {
		free(set);
		set = NULL;
	}
	return set;
}

void ply_inodes_free(struct ply_inodes *set)
{
	if (!set)
		return;
	while (set->all) {
		struct inode *next = set->all->next;

		free(set->all);
		set->all = next;
	}
	ply_table_free(&set->table);
	free(set);
}

static struct key key_of(unsigned tag, const struct statx *stx, uint64_t *hash)
{
	struct key key = { makedev(stx->stx_dev_major, stx->stx_dev_minor), stx->stx_ino, tag };

	*hash = XXH3_64bits(&key, sizeof(key));
	return key;
}

static int is_known(const struct ply_inodes *set, const struct key *key, uint64_t hash)
{
	for (struct ply_link *at = ply_table_find(&set->table, hash); at; at = ply_table_next(at))
		if (!memcmp(&ply_container(at, struct inode, link)->key, key, sizeof(*key)))
			return 1;
	return 0;
}

int ply_inodes_has(const struct ply_inodes *set, unsigned tag, const struct statx *stx)
{
	uint64_t hash;
	struct key key = key_of(tag, stx, &hash);

	return is_known(set, &key, hash);
}

int ply_inodes_add(struct ply_inodes *set, unsigned tag, const struct statx *stx)
{
	uint64_t hash;
	struct key key = key_of(tag, stx, &hash);
	struct inode *new;

	if (is_known(set, &key, hash))
		return 0;
	new = malloc(sizeof(*new));
	if (!new)
		return -ENOMEM;
	*new = (struct inode){ .key = key, .next = set->all };
	set->all = new;
	ply_table_add(&set->table, &new->link, hash);
	return 1;
}
