/* The largest of what nobody sees, and files that were copied up and have the data of what they hide. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "compare.h"
#include "usage.h"

/* What came last by a path: what is seen next by the same one is below it. */
struct above {
	char *path;
	int dirfd;
	char entry[PLY_FH_TEXT]; /* in dirfd, if it is the index */
	unsigned layer;
	struct statx stx;
};

struct looking {
	struct ply_usage *u;
	struct above above;
};

/* ---- the largest ---- */

static void free_hidden(struct ply_usage_hidden *h)
{
	free(h->path);
	free(h->by.path);
	*h = (struct ply_usage_hidden){ 0 };
}

/* In a list that is sorted, with room for one more than is wanted. */
static int insert(struct ply_usage *u, const struct ply_usage_hidden *new)
{
	size_t i = u->nlargest;

	for (; i && u->largest[i - 1].bytes < new->bytes; i--)
		u->largest[i] = u->largest[i - 1];
	u->largest[i] = *new;
	u->largest[i].path = strdup(new->path);
	u->largest[i].by.path = strdup(new->by.path);
	if (!u->largest[i].path || !u->largest[i].by.path)
		return -ENOMEM;
	if (u->nlargest < u->nwanted)
		u->nlargest++;
	else
		free_hidden(&u->largest[u->nwanted]);
	return 0;
}

static int keep_if_large(struct ply_usage *u, const struct ply_seen *seen)
{
	struct ply_usage_hidden new = { .bytes = ply_usage_size(u, seen->stx),
					.layer = seen->layer,
					.path = (char *)seen->path };
	int first;

	if (!u->nwanted || seen->how != PLY_SEEN_HIDDEN || !new.bytes)
		return 0;
	if (u->nlargest == u->nwanted && u->largest[u->nlargest - 1].bytes >= new.bytes)
		return 0;
	if (ply_inodes_has(u->counted, ply_usage_tag(seen->layer, PLY_COUNTED_SHOWN), seen->stx))
		return 0;
	first = ply_usage_is_first(u, seen->layer, PLY_COUNTED_HIDDEN, seen->stx);
	if (first <= 0)
		return first;
	new.by = *seen->by;
	return insert(u, &new);
}

/* ---- unchanged data ---- */

/* Only what has data of its own can be a copy. */
static int can_be_copy(const struct above *a, const struct ply_seen *seen)
{
	return a->path && !strcmp(a->path, seen->path) && S_ISREG(a->stx.stx_mode) &&
	       S_ISREG(seen->stx->stx_mode) && a->stx.stx_size == seen->stx->stx_size &&
	       a->stx.stx_size && a->stx.stx_blocks && seen->stx->stx_blocks &&
	       !ply_same_inode(&a->stx, seen->stx);
}

static int compare_with(struct ply_usage *u, const struct above *a, const struct ply_seen *seen)
{
	const char *name = *a->entry ? a->entry : seen->name;
	int mine = sys_open(a->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0), theirs, differs;

	if (mine < 0)
		return mine;
	theirs = sys_open(seen->dirfd, seen->disk_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	differs = theirs < 0 ? theirs : ply_compare_open(mine, theirs, &u->progress.data.copied);
	if (theirs >= 0)
		sys_close(theirs);
	sys_close(mine);
	return differs;
}

static int compare_with_above(struct looking *l, const struct ply_seen *seen)
{
	struct ply_usage *u = l->u;
	int res;

	if (!can_be_copy(&l->above, seen))
		return 0;
	res = compare_with(u, &l->above, seen);
	if (res)
		return res < 0 ? res : 0;
	res = ply_usage_is_first(u, l->above.layer, PLY_COUNTED_UNCHANGED, &l->above.stx);
	if (res > 0)
		u->layers[l->above.layer].unchanged += ply_usage_size(u, &l->above.stx);
	return res < 0 ? res : 0;
}

static int remember(struct above *a, const struct ply_seen *seen)
{
	free(a->path);
	*a = (struct above){ .path = strdup(seen->path),
			     .dirfd = seen->dirfd,
			     .layer = seen->layer,
			     .stx = *seen->stx };
	if (seen->how == PLY_SEEN_SHOWN && *seen->found->entry)
		strcpy(a->entry, seen->found->entry);
	return a->path ? 0 : -ENOMEM;
}

/* ---- the whole ---- */

static int look(void *arg, const struct ply_seen *seen)
{
	struct looking *l = arg;
	int err = 0;

	l->u->progress.entries++;
	if (seen->how == PLY_SEEN_WHITEOUT || S_ISDIR(seen->stx->stx_mode))
		return 0;
	if (l->u->wishes & PLY_USAGE_UNCHANGED) {
		err = compare_with_above(l, seen);
		if (!err)
			err = remember(&l->above, seen);
	}
	return err ? err : keep_if_large(l->u, seen);
}

static int on_trouble(void *arg, const char *path, int err)
{
	(void)arg;
	ply_complain("cannot compare", path, err);
	return 0;
}

int ply_usage_look_at_hidden(struct ply_usage *u)
{
	struct looking l = { .u = u };
	struct ply_survey survey = { .stack = u->stack,
				     .flags = PLY_SURVEY_BELOW | PLY_SURVEY_HIDDEN,
				     .seen = look,
				     .trouble = on_trouble,
				     .arg = &l };
	int err;

	u->progress.what = "looking at what is hidden";
	err = ply_survey(&survey, "");
	free(l.above.path);
	return err;
}
