/*
 * An intrusive chained hash table that grows a little at each insertion, so that no single operation
 * ever moves everything: with ten million entries a rehash at once would stop the world for a second.
 * Owns its bucket array, never the entries. No lock: the caller's lock covers it.
 */
#ifndef PLY_BASE_TABLE_H
#define PLY_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* Embedded in the entry. */
struct ply_link {
	struct ply_link *next;
	uint64_t hash;
};

struct ply_table {
	struct ply_link **buckets;
	struct ply_link **old; /* being emptied into buckets, or NULL */
	size_t mask, old_mask;
	size_t moved; /* old buckets below this one are empty */
	size_t count;
};

/* 0 or -ENOMEM. size: the first number of buckets, a power of two. */
int ply_table_init(struct ply_table *t, size_t size);
/* Frees the buckets; entries are the caller's. */
void ply_table_free(struct ply_table *t);
/* Never fails: without memory to grow the chains get longer. */
void ply_table_add(struct ply_table *t, struct ply_link *link, uint64_t hash);
/* The entry must be in the table. */
void ply_table_remove(struct ply_table *t, struct ply_link *link);
/* The first entry whose hash is this one, or NULL; and the next one behind it. */
struct ply_link *ply_table_find(const struct ply_table *t, uint64_t hash);
struct ply_link *ply_table_next(const struct ply_link *link);

#define ply_container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
