/* The set: a hash table of device, number and tag. */
#include "inodes.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "base/table.h"

#define TABLE_START 1024

struct inode {
	struct ply_link link;
	uint64_t key[3];
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

int ply_inodes_add(struct ply_inodes *set, unsigned tag, const struct statx *stx)
{
	uint64_t key[3] = { makedev(stx->stx_dev_major, stx->stx_dev_minor), stx->stx_ino, tag };
	uint64_t hash = XXH3_64bits(key, sizeof(key));
	struct inode *new;

	for (struct ply_link *at = ply_table_find(&set->table, hash); at; at = ply_table_next(at)) {
		const struct inode *known = ply_container(at, struct inode, link);

		if (known->key[0] == key[0] && known->key[1] == key[1] && known->key[2] == key[2])
			return 0;
	}
	new = malloc(sizeof(*new));
	if (!new)
		return -ENOMEM;
	*new = (struct inode){ .key = { key[0], key[1], key[2] }, .next = set->all };
	set->all = new;
	ply_table_add(&set->table, &new->link, hash);
	return 1;
}
