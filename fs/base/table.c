/* Hash table with incremental growth. While old buckets remain, an entry is in exactly one of the two arrays. */
#include "base/table.h"

#include <errno.h>
#include <stdlib.h>

#define PER_BUCKET 2 /* entries, before there are more buckets */
#define MOVE_PER_ADD                                                                               \
	4 /* old buckets emptied at an insertion: growth ends before the next one begins */

int ply_table_init(struct ply_table *t, size_t size)
{
	*t = (struct ply_table){ .mask = size - 1 };
	t->buckets = calloc(size, sizeof(*t->buckets));
	return t->buckets ? 0 : -ENOMEM;
}

void ply_table_free(struct ply_table *t)
{
	free(t->buckets);
	free(t->old);
	*t = (struct ply_table){ 0 };
}

static void push(struct ply_link **bucket, struct ply_link *link)
{
	link->next = *bucket;
	*bucket = link;
}

static void move_bucket(struct ply_table *t, size_t i)
{
	struct ply_link *link;

	while ((link = t->old[i])) {
		t->old[i] = link->next;
		push(&t->buckets[link->hash & t->mask], link);
	}
}

/* The bucket of hash moves too, so that equal hashes are never split over both arrays. */
static void move_some(struct ply_table *t, uint64_t hash)
{
	move_bucket(t, hash & t->old_mask);
	for (int i = 0; i < MOVE_PER_ADD && t->old; i++) {
		move_bucket(t, t->moved);
		if (++t->moved > t->old_mask) {
			free(t->old);
			t->old = NULL;
		}
	}
}

static void grow(struct ply_table *t)
{
	struct ply_link **bigger = calloc((t->mask + 1) * 2, sizeof(*bigger));

	if (!bigger)
		return;
	t->old = t->buckets;
	t->old_mask = t->mask;
	t->moved = 0;
	t->buckets = bigger;
	t->mask = t->mask * 2 + 1;
}

void ply_table_add(struct ply_table *t, struct ply_link *link, uint64_t hash)
{
	if (!t->old && t->count >= (t->mask + 1) * PER_BUCKET)
		grow(t);
	if (t->old)
		move_some(t, hash);
	link->hash = hash;
	push(&t->buckets[hash & t->mask], link);
	t->count++;
}

static int unlink_from(struct ply_link **bucket, struct ply_link *link)
{
	for (; *bucket; bucket = &(*bucket)->next) {
		if (*bucket == link) {
			*bucket = link->next;
			return 1;
		}
	}
	return 0;
}

void ply_table_remove(struct ply_table *t, struct ply_link *link)
{
	if (!unlink_from(&t->buckets[link->hash & t->mask], link) && t->old)
		unlink_from(&t->old[link->hash & t->old_mask], link);
	link->next = NULL;
	t->count--;
}

static struct ply_link *first_of(struct ply_link *link, uint64_t hash)
{
	while (link && link->hash != hash)
		link = link->next;
	return link;
}

struct ply_link *ply_table_find(const struct ply_table *t, uint64_t hash)
{
	struct ply_link *link = first_of(t->buckets[hash & t->mask], hash);

	if (!link && t->old)
		link = first_of(t->old[hash & t->old_mask], hash);
	return link;
}

struct ply_link *ply_table_next(const struct ply_link *link)
{
	return first_of(link->next, link->hash);
}
