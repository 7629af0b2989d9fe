/*
 * A listing is a sorted array and a small sorted tail for what came later, merged into it now and then: so
 * a directory of a million names is built by one sort, and each change costs a short move of memory. Names
 * are never compared but for equal hashes.
 */
#include "union/listing.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "union/node.h"

#define HOLES_MIN 1024

struct items {
	struct ply_item *at;
	size_t n, size;
};

struct ply_listing {
	struct items main, tail;
	char *names;
	size_t used, size;
	size_t holes; /* items that are neither visible nor below */
};

struct ply_listing *ply_listing_new(void)
{
	return calloc(1, sizeof(struct ply_listing));
}

void ply_listing_free(struct ply_listing *l)
{
	if (!l)
		return;
	free(l->main.at);
	free(l->tail.at);
	free(l->names);
	free(l);
}

const char *ply_item_name(const struct ply_listing *l, const struct ply_item *item)
{
	return l->names + item->name;
}

static uint64_t item_hash(const char *name)
{
	return (ply_name_hash(name, strlen(name)) >> 1) & ~15ull;
}

static int reserve(struct items *items, size_t more)
{
	size_t size = items->size ? items->size : 16;
	struct ply_item *at;

	if (items->n + more <= items->size)
		return 0;
	while (size < items->n + more)
		size *= 2;
	at = realloc(items->at, size * sizeof(*at));
	if (!at)
		return -ENOMEM;
	items->at = at;
	items->size = size;
	return 0;
}

/* Keeps a name: its offset, or -1. Offsets have 32 bits, room for 16 million of the longest names. */
static int64_t keep_name(struct ply_listing *l, const char *name)
{
	size_t len = strlen(name) + 1, at = l->used;

	if (at + len > UINT32_MAX)
		return -1;
	if (at + len > l->size) {
		size_t size = l->size ? l->size * 2 : 512;
		char *names = realloc(l->names, size);

		if (!names)
			return -1;
		l->names = names;
		l->size = size;
	}
	memcpy(l->names + at, name, len);
	l->used += len;
	return (int64_t)at;
}

static int compare(const struct ply_listing *l, uint64_t hash, const char *name,
		   const struct ply_item *item)
{
	if (hash != item->hash)
		return hash < item->hash ? -1 : 1;
	return strcmp(name, ply_item_name(l, item));
}

/* Where the name is or belongs: the first item that is not less. */
static size_t lower_bound(const struct ply_listing *l, const struct items *items, uint64_t hash,
			  const char *name)
{
	size_t lo = 0, hi = items->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (compare(l, hash, name, &items->at[mid]) > 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct ply_item *find_in(struct ply_listing *l, struct items *items, uint64_t hash,
				const char *name)
{
	size_t i = lower_bound(l, items, hash, name);

	if (i < items->n && compare(l, hash, name, &items->at[i]) == 0)
		return &items->at[i];
	return NULL;
}

struct ply_item *ply_listing_find(struct ply_listing *l, const char *name)
{
	uint64_t hash = item_hash(name);
	struct ply_item *item = find_in(l, &l->main, hash, name);

	return item ? item : find_in(l, &l->tail, hash, name);
}

int ply_listing_append(struct ply_listing *l, const char *name, unsigned type, unsigned flags,
		       uint64_t mask)
{
	int64_t at;

	if (reserve(&l->main, 1) || (at = keep_name(l, name)) < 0)
		return -ENOMEM;
	l->main.at[l->main.n++] = (struct ply_item){
		.hash = item_hash(name),
		.mask = mask,
		.name = (uint32_t)at,
		.type = (uint8_t)type,
		.flags = (uint8_t)flags,
	};
	return 0;
}

static int compare_items(const void *a, const void *b, void *listing)
{
	const struct ply_item *x = a;

	return compare(listing, x->hash, ply_item_name(listing, x), b);
}

void ply_listing_sort(struct ply_listing *l)
{
	if (l->main.n)
		qsort_r(l->main.at, l->main.n, sizeof(*l->main.at), compare_items, l);
}

void ply_listing_join_marks(struct ply_listing *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->main.n; i++) {
		struct ply_item *item = &l->main.at[i];
		struct ply_item *last = kept ? &l->main.at[kept - 1] : NULL;

		if (item->flags & PLY_ITEM_WHITEOUT)
			item->flags |= PLY_ITEM_CLOSED;
		if (!last || compare(l, item->hash, ply_item_name(l, item), last) != 0) {
			l->main.at[kept++] = *item;
			continue;
		}
		/* Twice the same name: one of them is the mark. */
		if (last->flags & PLY_ITEM_WHITEOUT)
			*last = *item;
		last->flags |= PLY_ITEM_CLOSED;
	}
	l->main.n = kept;
}

/* What an item of a lower layer adds to one of the layers above it. */
static void lay_item(struct ply_item *top, const struct ply_item *low)
{
	int is_dir = low->type == DT_DIR && !(low->flags & PLY_ITEM_WHITEOUT);
	int whiteout = (low->flags & PLY_ITEM_WHITEOUT) != 0;

	if (!(top->flags & PLY_ITEM_LOWER_CLOSED) && !whiteout)
		top->flags |= PLY_ITEM_LOWER;
	if (!(top->flags & PLY_ITEM_CLOSED) && is_dir) {
		if (!(top->mask >> PLY_MASK_REST))
			top->rest = low->rest;
		top->mask |= low->mask;
	}
	if (whiteout || !is_dir || (low->flags & PLY_ITEM_CLOSED))
		top->flags |= PLY_ITEM_CLOSED | PLY_ITEM_LOWER_CLOSED;
}

static int copy_item(struct ply_listing *l, struct items *to, const struct ply_listing *from,
		     const struct ply_item *item)
{
	int64_t at = keep_name(l, ply_item_name(from, item));

	if (at < 0 || reserve(to, 1))
		return -ENOMEM;
	to->at[to->n] = *item;
	to->at[to->n++].name = (uint32_t)at;
	return 0;
}

/* Merges two sorted arrays; equal names become one item. */
static int lay(struct ply_listing *l, const struct ply_listing *below, struct items *merged)
{
	size_t i = 0, j = 0;

	if (reserve(merged, l->main.n + below->main.n))
		return -ENOMEM;
	while (i < l->main.n || j < below->main.n) {
		int order = 1;

		if (j == below->main.n)
			order = -1;
		else if (i < l->main.n)
			order = -compare(l, below->main.at[j].hash,
					 ply_item_name(below, &below->main.at[j]), &l->main.at[i]);
		if (order > 0) {
			if (copy_item(l, merged, below, &below->main.at[j++]))
				return -ENOMEM;
			continue;
		}
		merged->at[merged->n] = l->main.at[i++];
		if (order == 0)
			lay_item(&merged->at[merged->n], &below->main.at[j++]);
		merged->n++;
	}
	return 0;
}

int ply_listing_lay(struct ply_listing *l, struct ply_listing *below, unsigned i)
{
	uint64_t bit = 1ull << (i < PLY_MASK_REST ? i : PLY_MASK_REST);
	struct items merged = { 0 };
	int err;

	for (size_t k = 0; k < below->main.n; k++) {
		struct ply_item *item = &below->main.at[k];

		item->mask = item->flags & PLY_ITEM_WHITEOUT ? 0 : bit;
		item->rest = (uint16_t)i;
		if (item->flags & PLY_ITEM_CLOSED)
			item->flags |= PLY_ITEM_LOWER_CLOSED;
	}
	err = lay(l, below, &merged);
	ply_listing_free(below);
	if (err) {
		free(merged.at);
		return err;
	}
	free(l->main.at);
	l->main = merged;
	return 0;
}

void ply_listing_finish(struct ply_listing *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->main.n; i++) {
		struct ply_item item = l->main.at[i];

		item.flags &= PLY_ITEM_VISIBLE | PLY_ITEM_UPPER | PLY_ITEM_LOWER;
		if (item.flags & (PLY_ITEM_VISIBLE | PLY_ITEM_LOWER))
			l->main.at[kept++] = item;
	}
	l->main.n = kept;
}

/* From the back. On -ENOMEM both arrays are as they were. */
int ply_listing_settle(struct ply_listing *l)
{
	size_t i = l->main.n, j = l->tail.n;

	if (!j)
		return 0;
	if (reserve(&l->main, j))
		return -ENOMEM;
	l->main.n += j;
	for (size_t k = l->main.n; j > 0; k--) {
		const struct ply_item *t = &l->tail.at[j - 1];

		if (i > 0 && compare(l, t->hash, ply_item_name(l, t), &l->main.at[i - 1]) < 0)
			l->main.at[k - 1] = l->main.at[--i];
		else
			l->main.at[k - 1] = l->tail.at[--j];
	}
	l->tail.n = 0;
	return 0;
}

static int insert(struct ply_listing *l, const char *name, unsigned type)
{
	uint64_t hash = item_hash(name);
	struct items *tail = &l->tail;
	int64_t at;
	size_t i;

	if (tail->n > 256 + l->main.n / 64 && ply_listing_settle(l))
		return -ENOMEM;
	if (reserve(tail, 1) || (at = keep_name(l, name)) < 0)
		return -ENOMEM;
	i = lower_bound(l, tail, hash, name);
	memmove(&tail->at[i + 1], &tail->at[i], (tail->n - i) * sizeof(*tail->at));
	tail->at[i] = (struct ply_item){
		.hash = hash,
		.name = (uint32_t)at,
		.type = (uint8_t)type,
		.flags = PLY_ITEM_VISIBLE | PLY_ITEM_UPPER,
	};
	tail->n++;
	return 0;
}

int ply_listing_show(struct ply_listing *l, const char *name, unsigned type)
{
	struct ply_item *item = ply_listing_find(l, name);

	if (!item)
		return insert(l, name, type);
	l->holes -= !item->flags;
	/* What was below is covered: a new directory over it is opaque. A copied-up one keeps its layers. */
	if (!(item->flags & PLY_ITEM_VISIBLE) || item->type != type || type != DT_DIR)
		item->mask = 0;
	item->flags |= PLY_ITEM_VISIBLE | PLY_ITEM_UPPER;
	item->type = (uint8_t)type;
	return 0;
}

int ply_listing_hide(struct ply_listing *l, const char *name)
{
	struct ply_item *item = ply_listing_find(l, name);

	if (item) {
		item->flags &= PLY_ITEM_LOWER;
		item->mask = 0;
		l->holes += !item->flags;
	}
	return l->holes > HOLES_MIN && l->holes > (l->main.n + l->tail.n) / 2;
}

/* Equal hashes are told apart by their number in the low bits, which a hash leaves free. */
static uint64_t cookie_of(const struct ply_listing *l, size_t i)
{
	size_t first = i;

	while (first > 0 && l->main.at[first - 1].hash == l->main.at[i].hash)
		first--;
	return l->main.at[i].hash + 16 + (i - first);
}

const struct ply_item *ply_listing_after(struct ply_listing *l, uint64_t cookie, uint64_t *own)
{
	uint64_t hash = cookie < 16 ? 0 : (cookie - 16) & ~15ull;
	size_t i;

	for (i = lower_bound(l, &l->main, hash, ""); i < l->main.n; i++) {
		*own = cookie_of(l, i);
		if (*own > cookie && (l->main.at[i].flags & PLY_ITEM_VISIBLE))
			return &l->main.at[i];
	}
	return NULL;
}

static int shows_any(const struct items *items)
{
	for (size_t i = 0; i < items->n; i++)
		if (items->at[i].flags & PLY_ITEM_VISIBLE)
			return 1;
	return 0;
}

int ply_listing_is_empty(const struct ply_listing *l)
{
	return !shows_any(&l->main) && !shows_any(&l->tail);
}

static size_t listing_bytes(const struct ply_listing *l)
{
	return sizeof(*l) + (l->main.size + l->tail.size) * sizeof(struct ply_item) + l->size;
}

static void lru_unlink_locked(struct ply_union *u, struct ply_dir *dir)
{
	*(dir->newer ? &dir->newer->older : &u->newest) = dir->older;
	*(dir->older ? &dir->older->newer : &u->oldest) = dir->newer;
	dir->newer = dir->older = NULL;
	u->listing_bytes -= dir->listing_bytes;
	u->listings--;
}

static void lru_push_locked(struct ply_union *u, struct ply_dir *dir)
{
	dir->listing_bytes = listing_bytes(dir->listing);
	dir->older = u->newest;
	*(u->newest ? &u->newest->newer : &u->oldest) = dir;
	u->newest = dir;
	u->listing_bytes += dir->listing_bytes;
	u->listings++;
}

/*
 * Frees the longest unused listings over the budget. Their directories' locks are further out than ours:
 * one that cannot be had at once is in use, and passed over.
 */
static void evict_locked(struct ply_union *u, const struct ply_dir *keep)
{
	struct ply_dir *dir = u->oldest, *newer;

	for (; dir && u->listing_bytes > u->listing_budget; dir = newer) {
		newer = dir->newer;
		if (dir == keep || pthread_mutex_trylock(&dir->node->lock))
			continue;
		lru_unlink_locked(u, dir);
		ply_listing_free(dir->listing);
		dir->listing = NULL;
		pthread_mutex_unlock(&dir->node->lock);
	}
}

uint32_t ply_listing_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint32_t)now.tv_sec * 1000 + (uint32_t)now.tv_nsec / 1000000;
}

void ply_listing_install(struct ply_union *u, struct ply_dir *dir, struct ply_listing *l)
{
	pthread_mutex_lock(&u->listing_lock);
	dir->listing = l;
	dir->listed = ply_listing_clock();
	lru_push_locked(u, dir);
	evict_locked(u, dir);
	pthread_mutex_unlock(&u->listing_lock);
}

void ply_listing_used(struct ply_union *u, struct ply_dir *dir)
{
	pthread_mutex_lock(&u->listing_lock);
	lru_unlink_locked(u, dir);
	lru_push_locked(u, dir);
	evict_locked(u, dir);
	pthread_mutex_unlock(&u->listing_lock);
}

void ply_listing_drop(struct ply_union *u, struct ply_dir *dir)
{
	struct ply_listing *l;

	pthread_mutex_lock(&u->listing_lock);
	l = dir->listing;
	if (l)
		lru_unlink_locked(u, dir);
	dir->listing = NULL;
	pthread_mutex_unlock(&u->listing_lock);
	ply_listing_free(l);
}
