/* Each layer by itself, then what the stack shows of all. */
#include "usage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "extents.h"

uint64_t ply_usage_size(const struct ply_usage *u, const struct statx *stx)
{
	if (u->wishes & PLY_USAGE_APPARENT)
		return S_ISREG(stx->stx_mode) || S_ISLNK(stx->stx_mode) ? stx->stx_size : 0;
	return stx->stx_blocks * 512;
}

int ply_usage_is_first(struct ply_usage *u, unsigned layer, enum ply_usage_counted what,
		       const struct statx *stx)
{
	/* Where hidden files are looked for, a renamed directory's must be known to be shown. */
	int is_kept = what == PLY_COUNTED_SHOWN && u->nwanted;

	if (stx->stx_nlink < 2 && !is_kept)
		return 1;
	return ply_inodes_add(u->counted, ply_usage_tag(layer, what), stx);
}

/* ---- a layer ---- */

/* A file system that does not tell is none to complain of. */
static int count_extents(struct ply_usage *u, int dirfd, const char *name, const struct statx *stx)
{
	struct ply_usage_layer *l = &u->layers[u->layer];
	uint64_t bytes;
	int fd, err;

	if (!(u->wishes & PLY_USAGE_SHARED) || !S_ISREG(stx->stx_mode) || !stx->stx_blocks ||
	    l->tells_no_extents)
		return 0;
	fd = sys_open(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	err = ply_shared_bytes(fd, &bytes);
	sys_close(fd);
	if (err == -EOPNOTSUPP || err == -ENOTTY || err == -EINVAL || err == -ENOSYS)
		l->tells_no_extents = 1;
	else if (!err)
		l->shared += bytes;
	return l->tells_no_extents ? 0 : err;
}

static int count_file(struct ply_usage *u, int dirfd, const char *name, const struct statx *stx)
{
	struct ply_usage_layer *l = &u->layers[u->layer];
	int first = ply_usage_is_first(u, u->layer, PLY_COUNTED_OWN, stx);

	if (first <= 0)
		return first;
	l->files++;
	l->bytes += ply_usage_size(u, stx);
	return count_extents(u, dirfd, name, stx);
}

static int count_own(void *arg, const struct ply_seen *seen)
{
	struct ply_usage *u = arg;
	struct ply_usage_layer *l = &u->layers[u->layer];

	u->progress.entries++;
	if (seen->how == PLY_SEEN_WHITEOUT)
		l->whiteouts++;
	else if (S_ISDIR(seen->stx->stx_mode))
		l->dirs++;
	else
		return count_file(u, seen->dirfd, seen->disk_name, seen->stx);
	return 0;
}

/* A file of the upper that only has names in lower layers. */
static int count_nameless(void *arg, const char *entry, const struct statx *stx)
{
	struct ply_usage *u = arg;

	return count_file(u, u->stack->index, entry, stx);
}

/* ---- what is shown ---- */

/* A file without data of its own shows what lower layers have. */
static int count_data(struct ply_usage *u, const struct ply_seen *seen)
{
	struct ply_data data;
	int err, first = 0;

	if (!S_ISREG(seen->stx->stx_mode))
		return 0;
	err = ply_stack_data(u->stack, seen->dirs, seen->name, seen->found, &data);
	if (err)
		return err;
	if (data.path && data.is_elsewhere && data.layer < u->stack->n)
		first = ply_inodes_add(u->counted, ply_usage_tag(data.layer, PLY_COUNTED_SHOWN),
				       &data.stx);
	if (first > 0)
		u->layers[data.layer].shown += ply_usage_size(u, &data.stx);
	ply_data_free(&data);
	return first < 0 ? first : 0;
}

static int count_shown(void *arg, const struct ply_seen *seen)
{
	struct ply_usage *u = arg;
	int first;

	u->progress.entries++;
	if (S_ISDIR(seen->stx->stx_mode))
		return 0;
	first = ply_usage_is_first(u, seen->layer, PLY_COUNTED_SHOWN, seen->stx);
	if (first <= 0)
		return first;
	u->layers[seen->layer].shown += ply_usage_size(u, seen->stx);
	return count_data(u, seen);
}

/* ---- the whole ---- */

static int on_trouble(void *arg, const char *path, int err)
{
	struct ply_usage *u = arg;
	char what[64];

	if (u->layer == u->stack->n) /* said when the layer was counted */
		snprintf(what, sizeof(what), "cannot look up");
	else
		snprintf(what, sizeof(what), "layer %u: cannot read", u->layer);
	ply_complain(what, path, err);
	return 0;
}

static int count_layer(struct ply_usage *u)
{
	struct ply_stack alone = {
		.layers = &u->stack->layers[u->layer], .n = 1, .bound = 1, .index = -1, .counts = -1
	};
	struct ply_survey survey = { .stack = &alone,
				     .flags = PLY_SURVEY_BELOW | PLY_SURVEY_HIDDEN,
				     .seen = count_own,
				     .trouble = on_trouble,
				     .arg = u };
	int err = ply_survey(&survey, "");

	if (!err && !u->layer)
		err = ply_stack_each_index_file(u->stack, count_nameless, u);
	return err;
}

int ply_usage_count(struct ply_usage *u)
{
	struct ply_survey survey = { .stack = u->stack,
				     .flags = PLY_SURVEY_BELOW,
				     .seen = count_shown,
				     .trouble = on_trouble,
				     .arg = u };
	int err = 0;

	u->counted = ply_inodes_new();
	u->layers = calloc(u->stack->n, sizeof(*u->layers));
	u->largest = calloc(u->nwanted + 1, sizeof(*u->largest));
	if (!u->counted || !u->layers || !u->largest)
		return -ENOMEM;
	u->progress.what = "counting the layers";
	for (; u->layer < u->stack->n && !err; u->layer++)
		err = count_layer(u);
	u->progress.what = "counting what is shown";
	if (!err)
		err = ply_survey(&survey, "");
	if (!err && (u->nwanted || u->wishes & PLY_USAGE_UNCHANGED))
		err = ply_usage_look_at_hidden(u);
	return err;
}

void ply_usage_free(struct ply_usage *u)
{
	for (size_t i = 0; u->largest && i < u->nlargest; i++) {
		free(u->largest[i].path);
		free(u->largest[i].by.path);
	}
	free(u->largest);
	free(u->layers);
	ply_inodes_free(u->counted);
}
