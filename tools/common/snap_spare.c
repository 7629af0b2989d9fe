/* What an upper has in vain: plyfs-vacuum's plan, as the paths of what a copy leaves out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/sys.h"
#include "snapshot.h"
#include "vacuum.h"

struct ply_snap_spare {
	UT_hash_handle hh;
	char path[];
};

static int add(struct ply_snap *s, const struct ply_spare *spare)
{
	char *path = ply_spare_path(spare);
	struct ply_snap_spare *new = path ? malloc(sizeof(*new) + strlen(path) + 1) : NULL;

	if (new) {
		strcpy(new->path, path);
		HASH_ADD_STR(s->spare, path, new);
	}
	free(path);
	return new ? 0 : -ENOMEM;
}

/* An entry that cannot be compared was told of, and is copied. */
static int find(struct ply_snap *s, struct ply_vacuum *v)
{
	struct ply_stack_paths paths = s->lowers;
	int err;

	paths.upper = s->from.path;
	v->upper = s->from.root;
	err = ply_stack_open(&v->stack, &paths);
	if (!err)
		err = ply_vacuum_check_layout(v);
	if (err)
		return err;
	err = ply_vacuum_scan(v);
	if (!err)
		ply_vacuum_plan(v);
	for (size_t i = 0; i < v->n && !err; i++)
		if (v->spares[i]->flags & PLY_SPARE_GOES)
			err = add(s, v->spares[i]);
	return err;
}

int ply_snap_find_spare(struct ply_snap *s)
{
	struct ply_vacuum v = { .upper = -1, .index = -1 };
	int err;

	if (!s->lowers.nlowers)
		return 0;
	s->progress.what = "comparing";
	err = find(s, &v);
	ply_vacuum_free(&v);
	ply_stack_close(&v.stack);
	if (err)
		ply_snap_complain(s, "cannot compare", s->from.path, err);
	return err;
}

int ply_snap_is_spare(const struct ply_snap *s, const struct ply_walk_entry *e)
{
	struct ply_snap_spare *found = NULL;
	char *path;

	if (!s->spare)
		return 0;
	path = ply_walk_path(e);
	if (!path)
		return -ENOMEM;
	HASH_FIND_STR(s->spare, path, found);
	free(path);
	return found != NULL;
}

void ply_snap_free_spare(struct ply_snap *s)
{
	struct ply_snap_spare *at, *next;

	HASH_ITER(hh, s->spare, at, next) {
		HASH_DEL(s->spare, at);
		free(at);
	}
}
