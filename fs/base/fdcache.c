/*
 * The descriptor cache: a hash table and an LRU list of the entries that nobody holds.
 * One mutex covers all of it and every field of a ply_fd but fd and flags; no descriptor is closed under it.
 */
#include "base/fdcache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/sys.h"

struct ply_fdcache {
	pthread_mutex_t lock;
	struct ply_fd **buckets;
	size_t mask;
	size_t budget;
	size_t count; /* cached entries, held or not */
	struct ply_fd *newest, *oldest;
};

struct ply_fdcache *ply_fdcache_new(size_t budget)
{
	struct ply_fdcache *c = calloc(1, sizeof(*c));
	size_t size = 64;

	if (!c)
		return NULL;
	while (size < budget * 2)
		size *= 2;
	c->buckets = calloc(size, sizeof(struct ply_fd *));
	if (!c->buckets) {
		free(c);
		return NULL;
	}
	c->mask = size - 1;
	c->budget = budget;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static struct ply_fd **bucket_of(struct ply_fdcache *c, const void *owner, unsigned slot)
{
	uint64_t h = ((uintptr_t)owner >> 4) * 0x9e3779b97f4a7c15u + slot * 0xc2b2ae3d27d4eb4fu;

	return &c->buckets[(h >> 20) & c->mask];
}

static struct ply_fd *find_locked(struct ply_fdcache *c, const void *owner, unsigned slot)
{
	struct ply_fd *f = *bucket_of(c, owner, slot);

	while (f && (f->owner != owner || f->slot != slot))
		f = f->hash_next;
	return f;
}

static void lru_unlink_locked(struct ply_fdcache *c, struct ply_fd *f)
{
	*(f->newer ? &f->newer->older : &c->newest) = f->older;
	*(f->older ? &f->older->newer : &c->oldest) = f->newer;
	f->newer = f->older = NULL;
}

static void lru_push_locked(struct ply_fdcache *c, struct ply_fd *f)
{
	f->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = f;
	c->newest = f;
}

static void hold_locked(struct ply_fdcache *c, struct ply_fd *f)
{
	if (f->refs++ == 0 && f->cached)
		lru_unlink_locked(c, f);
}

/* Out of the table and the list; the entry itself lives on. */
static void uncache_locked(struct ply_fdcache *c, struct ply_fd *f)
{
	struct ply_fd **p = bucket_of(c, f->owner, f->slot);

	while (*p != f)
		p = &(*p)->hash_next;
	*p = f->hash_next;
	if (f->refs == 0)
		lru_unlink_locked(c, f);
	f->cached = 0;
	c->count--;
}

static void destroy(struct ply_fd *f)
{
	if (!f)
		return;
	sys_close(f->fd);
	free(f);
}

/* Takes what is over the limit out of the cache: a chain by hash_next, to be destroyed without the lock. */
static struct ply_fd *evict_locked(struct ply_fdcache *c, size_t limit)
{
	struct ply_fd *chain = NULL;

	while (c->count > limit && c->oldest) {
		struct ply_fd *f = c->oldest;

		uncache_locked(c, f);
		f->hash_next = chain;
		chain = f;
	}
	return chain;
}

static size_t destroy_chain(struct ply_fd *chain)
{
	size_t n = 0;

	while (chain) {
		struct ply_fd *next = chain->hash_next;

		destroy(chain);
		chain = next;
		n++;
	}
	return n;
}

void ply_fdcache_free(struct ply_fdcache *c)
{
	if (!c)
		return;
	destroy_chain(evict_locked(c, 0));
	pthread_mutex_destroy(&c->lock);
	free(c->buckets);
	free(c);
}

struct ply_fd *ply_fdcache_get(struct ply_fdcache *c, const void *owner, unsigned slot)
{
	struct ply_fd *f;

	pthread_mutex_lock(&c->lock);
	f = find_locked(c, owner, slot);
	if (f)
		hold_locked(c, f);
	pthread_mutex_unlock(&c->lock);
	return f;
}

struct ply_fd *ply_fd_single(int fd, unsigned flags)
{
	struct ply_fd *f = calloc(1, sizeof(*f));

	if (!f) {
		sys_close(fd);
		return NULL;
	}
	*f = (struct ply_fd){ .fd = fd, .flags = flags, .refs = 1 };
	return f;
}

struct ply_fd *ply_fdcache_add(struct ply_fdcache *c, const void *owner, unsigned slot, int fd,
			       unsigned flags)
{
	struct ply_fd *f = ply_fd_single(fd, flags), *other, *chain = NULL;

	if (!f)
		return NULL;
	pthread_mutex_lock(&c->lock);
	other = find_locked(c, owner, slot);
	if (other) {
		hold_locked(c, other);
	} else {
		struct ply_fd **p = bucket_of(c, owner, slot);

		f->owner = owner;
		f->slot = slot;
		f->cached = 1;
		f->hash_next = *p;
		*p = f;
		c->count++;
		chain = evict_locked(c, c->budget);
	}
	pthread_mutex_unlock(&c->lock);
	destroy_chain(chain);
	if (!other)
		return f;
	destroy(f);
	return other;
}

struct ply_fd *ply_fd_get(struct ply_fdcache *c, struct ply_fd *f)
{
	pthread_mutex_lock(&c->lock);
	f->refs++;
	pthread_mutex_unlock(&c->lock);
	return f;
}

void ply_fd_put(struct ply_fdcache *c, struct ply_fd *f)
{
	struct ply_fd *chain = NULL, *gone = NULL;

	if (!f)
		return;
	pthread_mutex_lock(&c->lock);
	if (--f->refs == 0) {
		if (f->cached) {
			lru_push_locked(c, f);
			chain = evict_locked(c, c->budget);
		} else {
			gone = f;
		}
	}
	pthread_mutex_unlock(&c->lock);
	destroy(gone);
	destroy_chain(chain);
}

void ply_fdcache_drop(struct ply_fdcache *c, const void *owner, unsigned slot)
{
	struct ply_fd *f;

	pthread_mutex_lock(&c->lock);
	f = find_locked(c, owner, slot);
	if (f) {
		uncache_locked(c, f);
		if (f->refs)
			f = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	destroy(f);
}

size_t ply_fdcache_shrink(struct ply_fdcache *c)
{
	struct ply_fd *chain;

	pthread_mutex_lock(&c->lock);
	chain = evict_locked(c, c->count / 2);
	pthread_mutex_unlock(&c->lock);
	return destroy_chain(chain);
}

void ply_fdcache_clear(struct ply_fdcache *c)
{
	struct ply_fd *chain;

	pthread_mutex_lock(&c->lock);
	chain = evict_locked(c, 0);
	pthread_mutex_unlock(&c->lock);
	destroy_chain(chain);
}

size_t ply_fdcache_count(struct ply_fdcache *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->count;
	pthread_mutex_unlock(&c->lock);
	return n;
}
