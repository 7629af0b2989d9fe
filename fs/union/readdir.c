/*
 * Reading directories: names are taken from the listing a batch at a time under the directory's lock,
 * and turned into entries without it, so that a slow stat keeps nobody waiting.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "union/listing.h"
#include "union/lookup.h"

#define BATCH 64
#define BATCH_BYTES 8192

struct batch {
	unsigned n;
	size_t used;
	uint64_t cookies[BATCH];
	uint16_t names[BATCH]; /* offsets in text */
	char text[BATCH_BYTES];
};

/* The next names behind cookie. */
static int get_batch(struct ply_union *u, struct ply_node *dir, uint64_t cookie, struct batch *b)
{
	struct ply_listing *l;
	int err;

	b->n = 0;
	b->used = 0;
	pthread_mutex_lock(&dir->lock);
	/* Only the beginning of a listing is asked for anew when it is old. */
	l = cookie > PLY_COOKIE_DOTS ? dir->dir->listing : NULL;
	err = l ? 0 : ply_listing_get(u, dir, &l);
	if (!err)
		err = ply_listing_settle(l);
	while (!err && b->n < BATCH) {
		const struct ply_item *item = ply_listing_after(l, cookie, &cookie);
		size_t len;

		if (!item)
			break;
		len = strlen(ply_item_name(l, item)) + 1;
		if (b->used + len > BATCH_BYTES)
			break;
		memcpy(b->text + b->used, ply_item_name(l, item), len);
		b->names[b->n] = (uint16_t)b->used;
		b->cookies[b->n++] = cookie;
		b->used += len;
	}
	if (!err)
		ply_listing_used(u, dir->dir);
	pthread_mutex_unlock(&dir->lock);
	return err;
}

static int fill_one(struct ply_union *u, struct ply_node *dir, const char *name, uint64_t cookie,
		    ply_fill_fn fill, void *arg)
{
	struct ply_entry entry;
	int err = ply_lookup(u, dir, name, &entry);

	/* Gone since the batch was taken. */
	if (err == -ENOENT)
		return 1;
	/* Marks that make no sense: who looks it up is told, the others are to be seen. */
	if (err == -EINVAL) {
		entry = (struct ply_entry){ .attr.stx_mode = S_IFDIR, .attr.stx_ino = cookie };
		return fill(arg, name, &entry, cookie) != 0;
	}
	if (err)
		return err;
	if (fill(arg, name, &entry, cookie))
		return 1;
	ply_forget(u, entry.node, 1);
	return 0;
}

static uint64_t parent_ino(struct ply_union *u, const struct ply_node *dir)
{
	uint64_t ino;

	pthread_mutex_lock(&u->tree);
	ino = dir->names ? dir->names->parent->ino : dir->ino;
	pthread_mutex_unlock(&u->tree);
	return ino;
}

static int fill_dots(struct ply_union *u, struct ply_node *dir, ply_fill_fn fill, void *arg,
		     uint64_t *cookie)
{
	static const char *const dots[PLY_COOKIE_DOTS] = { ".", ".." };

	while (*cookie < PLY_COOKIE_DOTS) {
		struct ply_entry entry = { .node = NULL };

		entry.attr.stx_mode = S_IFDIR;
		entry.attr.stx_ino = *cookie ? parent_ino(u, dir) : dir->ino;
		if (!fill(arg, dots[*cookie], &entry, *cookie + 1))
			return 0;
		++*cookie;
	}
	return 1;
}

int ply_readdir(struct ply_union *u, struct ply_node *dir, uint64_t cookie, ply_fill_fn fill,
		void *arg)
{
	struct batch *b;
	int more;

	if (!ply_node_is_dir(dir))
		return -ENOTDIR;
	if (!fill_dots(u, dir, fill, arg, &cookie))
		return 0;
	b = malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	do {
		more = get_batch(u, dir, cookie, b);
		if (!more && b->n)
			more = 1;
		for (unsigned i = 0; more > 0 && i < b->n; i++) {
			cookie = b->cookies[i];
			more = fill_one(u, dir, b->text + b->names[i], cookie, fill, arg);
		}
	} while (more > 0);
	free(b);
	return more;
}
