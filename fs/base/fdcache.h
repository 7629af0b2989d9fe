/*
 * Descriptors with a budget: the least recently used one that nobody holds is closed when a new one
 * would exceed it. A key is an owner (any pointer, never followed) and a slot number of the owner's choice.
 *
 * A struct ply_fd is held by whoever got it and stays open until put, whatever happens to the cache;
 * so the budget may be exceeded for a moment, and that many descriptors must be left for it.
 */
#ifndef PLY_BASE_FDCACHE_H
#define PLY_BASE_FDCACHE_H

#include <stddef.h>
#include <stdint.h>

struct ply_fdcache;

struct ply_fd {
	int fd;		/* the only field for callers */
	unsigned flags; /* what the opener wants to remember, given to ply_fdcache_add */
	unsigned refs;
	int cached; /* in the table and, while refs is 0, in the LRU list */
	const void *owner;
	unsigned slot;
	struct ply_fd *hash_next;
	struct ply_fd *newer, *older;
};

/* NULL without memory. */
struct ply_fdcache *ply_fdcache_new(size_t budget);
/* Nothing may be held any more. */
void ply_fdcache_free(struct ply_fdcache *cache);

/* A held descriptor, or NULL when none is cached. */
struct ply_fd *ply_fdcache_get(struct ply_fdcache *cache, const void *owner, unsigned slot);
/*
 * Takes fd over, in any case, and returns it held; when another thread was first, its descriptor
 * and fd is closed. NULL without memory.
 */
struct ply_fd *ply_fdcache_add(struct ply_fdcache *cache, const void *owner, unsigned slot, int fd,
			       unsigned flags);
/* The same outside of the cache: only the holder knows it, and it counts against no budget. */
struct ply_fd *ply_fd_single(int fd, unsigned flags);
/* Holds one more time what the caller holds already. */
struct ply_fd *ply_fd_get(struct ply_fdcache *cache, struct ply_fd *fd);
void ply_fd_put(struct ply_fdcache *cache, struct ply_fd *fd);
/* Forgets a descriptor: closed at once, or by the last who holds it. */
void ply_fdcache_drop(struct ply_fdcache *cache, const void *owner, unsigned slot);
/* Closes half of what nobody holds, after EMFILE: the number closed. */
size_t ply_fdcache_shrink(struct ply_fdcache *cache);
/* Closes all that nobody holds. */
void ply_fdcache_clear(struct ply_fdcache *cache);
/* Cached descriptors now. */
size_t ply_fdcache_count(struct ply_fdcache *cache);

#endif
