/*
 * What may go. An inode of the upper with several names, or one that hides an inode with several names, goes only if
 * the same names are links of one another afterwards as before; and none that another file was moved away from. A
 * directory goes when nothing in it stays.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/room.h"
#include "vacuum.h"

#define TABLE_START 1024

struct ply_spare *ply_spare_add(struct ply_vacuum *v, struct ply_spare *dir, const char *name,
				enum ply_spare_kind kind)
{
	struct ply_spare *spare;

	if (ply_make_room(&v->spares, &v->room, v->n, sizeof(struct ply_spare *)))
		return NULL;
	spare = calloc(1, sizeof(*spare) + strlen(name) + 1);
	if (!spare)
		return NULL;
	spare->kind = kind;
	spare->dir = dir;
	strcpy(spare->name, name);
	v->spares[v->n++] = spare;
	return spare;
}

char *ply_spare_path(const struct ply_spare *spare)
{
	size_t size = 1;
	char *path, *at;

	for (const struct ply_spare *s = spare; s->dir; s = s->dir)
		size += strlen(s->name) + 1;
	path = malloc(size);
	if (!path)
		return NULL;
	at = path + size - 1;
	*at = '\0';
	for (const struct ply_spare *s = spare; s->dir; s = s->dir) {
		size_t len = strlen(s->name);

		if (*at)
			*--at = '/';
		at -= len;
		memcpy(at, s->name, len);
	}
	memmove(path, at, strlen(at) + 1);
	return path;
}

struct ply_spare_group *ply_spare_group(struct ply_vacuum *v, const struct statx *stx)
{
	uint64_t hash = XXH3_64bits(&stx->stx_ino, sizeof(stx->stx_ino));
	struct ply_spare_group *group;

	if (!v->by_inode.buckets && ply_table_init(&v->by_inode, TABLE_START))
		return NULL;
	for (struct ply_link *at = ply_table_find(&v->by_inode, hash); at;
	     at = ply_table_next(at)) {
		group = ply_container(at, struct ply_spare_group, link);
		if (group->ino == stx->stx_ino)
			return group;
	}
	group = calloc(1, sizeof(*group));
	if (!group)
		return NULL;
	group->ino = stx->stx_ino;
	group->names = stx->stx_nlink;
	group->next = v->groups;
	v->groups = group;
	ply_table_add(&v->by_inode, &group->link, hash);
	return group;
}

struct ply_stray {
	struct ply_link link;
	struct ply_stray *next;
};

int ply_vacuum_add_stray(struct ply_vacuum *v, uint64_t hash)
{
	struct ply_stray *stray;

	if (!v->by_origin.buckets && ply_table_init(&v->by_origin, TABLE_START))
		return -ENOMEM;
	stray = malloc(sizeof(*stray));
	if (!stray)
		return -ENOMEM;
	stray->next = v->strays;
	v->strays = stray;
	ply_table_add(&v->by_origin, &stray->link, hash);
	return 0;
}

void ply_vacuum_free(struct ply_vacuum *v)
{
	for (size_t i = 0; i < v->n; i++) {
		free(v->spares[i]->copy_path);
		free(v->spares[i]);
	}
	free(v->spares);
	while (v->groups) {
		struct ply_spare_group *next = v->groups->next;

		free(v->groups->entry);
		free(v->groups);
		v->groups = next;
	}
	while (v->strays) {
		struct ply_stray *next = v->strays->next;

		free(v->strays);
		v->strays = next;
	}
	ply_table_free(&v->by_inode);
	ply_table_free(&v->by_origin);
}

/* ---- the plan ---- */

int ply_spare_group_goes(const struct ply_spare_group *group)
{
	if (group->are_apart)
		return 1;
	if (group->differs || group->names != group->seen + (group->entry != NULL))
		return 0;
	return group->entry ? group->has_all_links : group->below.stx_nlink == group->seen;
}

static int goes(const struct ply_spare *spare)
{
	if (!(spare->flags & PLY_SPARE_IS_EQUAL) || !spare->dir)
		return 0;
	if (spare->kind == PLY_SPARE_DIR)
		return !spare->others;
	return !spare->group || ply_spare_group_goes(spare->group);
}

/* One name of several; with the last one that goes the inode goes, if no other is left. */
static int frees_inode(const struct ply_spare *spare)
{
	const struct ply_spare_group *group = spare->group;

	if (!group)
		return 1;
	return spare == group->first && group->names == group->seen + (group->entry != NULL);
}

static void count(struct ply_vacuum *v, struct ply_spare *spare)
{
	if (!frees_inode(spare))
		spare->bytes = 0;
	else
		v->inodes++;
	v->bytes += spare->bytes;
	v->files += spare->kind == PLY_SPARE_FILE;
	v->dirs += spare->kind == PLY_SPARE_DIR;
	v->whiteouts += spare->kind == PLY_SPARE_WHITEOUT;
}

/* Of several names of one inode the data is shared once. */
static void plan_copy(struct ply_vacuum *v, struct ply_spare *spare)
{
	if (spare->group && spare->group->first != spare) {
		spare->flags &= ~(unsigned)PLY_SPARE_HAS_COPY;
		return;
	}
	v->copies++;
	v->copied_bytes += spare->size;
}

/* A lower inode that a file elsewhere stands for must not show beside that one. */
static void keep_taken(struct ply_vacuum *v)
{
	for (size_t i = 0; v->strays && i < v->n; i++) {
		struct ply_spare *spare = v->spares[i];

		if (!spare->uncovers || !ply_table_find(&v->by_origin, spare->uncovers))
			continue;
		spare->flags &= ~(unsigned)PLY_SPARE_IS_EQUAL;
		if (spare->group)
			spare->group->differs = 1;
	}
}

void ply_vacuum_plan(struct ply_vacuum *v)
{
	keep_taken(v);
	for (size_t i = v->n; i--;) {
		struct ply_spare *spare = v->spares[i];

		if (goes(spare)) {
			spare->flags |= PLY_SPARE_GOES;
			count(v, spare);
			continue;
		}
		if (spare->dir)
			spare->dir->others++;
		if (spare->flags & PLY_SPARE_HAS_COPY)
			plan_copy(v, spare);
	}
}
