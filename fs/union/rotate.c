/*
 * The upper of a running union becomes a layer. On disk that is one exchange of two names, with an empty directory
 * that was made like it; before it everything can be undone, and after it nothing can fail.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "layer/override.h"
#include "union/index.h"
#include "union/inside.h"
#include "union/linkcount.h"
#include "union/lowerdata.h"
#include "union/restack.h"
#include "union/settle.h"
#include "union/subtree.h"
#include "union/sync.h"

/* An absolute path's directory and name. */
struct spot {
	char path[PATH_MAX];
	int dirfd;
	const char *name;
};

struct rotation {
	struct ply_union *u;
	struct ply_why *why;
	struct spot old, target;
	struct ply_layer fresh, lower; /* the upper and the layer as they will be */
	struct ply_layer *layers;
	struct ply_restack restack;
	int is_made; /* the target's directory was made here */
};

static int say(struct rotation *r, int err, const char *sentence, const char *path)
{
	snprintf(r->why->text, sizeof(r->why->text), "%s '%s': %s", sentence, path, strerror(-err));
	return err;
}

/* ---- paths ---- */

static int open_spot(struct spot *s, const char *path)
{
	char *slash;

	if (*path != '/' || strlen(path) >= sizeof(s->path))
		return -EINVAL;
	strcpy(s->path, path);
	slash = strrchr(s->path, '/');
	s->name = slash + 1;
	if (!*s->name || !strcmp(s->name, ".") || !strcmp(s->name, ".."))
		return -EINVAL;
	*slash = '\0';
	s->dirfd = sys_open(AT_FDCWD, slash == s->path ? "/" : s->path, O_RDONLY | O_DIRECTORY, 0);
	return s->dirfd < 0 ? s->dirfd : 0;
}

/* Is the upper still where it was opened? */
static int check_old(struct rotation *r)
{
	struct statx here, there;
	int err = sys_statx(r->u->layers[PLY_UPPER].root, "", STATX_INO, &here);

	if (!err)
		err = sys_statx(r->old.dirfd, r->old.name, STATX_INO, &there);
	return err ? err : ply_same_inode(&here, &there) ? 0 : -ESTALE;
}

static int open_spots(struct rotation *r, const char *layer)
{
	const char *upper = r->u->layers[PLY_UPPER].path;
	int err = open_spot(&r->old, upper);

	if (!err)
		err = check_old(r);
	if (err)
		return say(r, err, "cannot find the upper any more at", upper);
	err = open_spot(&r->target, layer);
	if (err)
		return say(r, err, "cannot make the layer", layer);
	/* The upper cannot go into itself, nor what is in the work directory stay there. */
	err = ply_is_inside_upper(r->u, r->target.dirfd);
	if (err > 0)
		err = -EINVAL;
	return err ? say(r, err, "the layer would lie in the upper or the work directory", layer)
		   : 0;
}

/* ---- the fresh upper ---- */

static int take_lock(struct rotation *r)
{
	int err = sys_flock(r->fresh.root);

	return err == -EWOULDBLOCK ? -EBUSY : err;
}

/* An empty directory with all that the union shows of its root. */
static int copy_root(struct rotation *r)
{
	struct ply_layer *old = &r->u->layers[PLY_UPPER];
	struct ply_attr_source from = {
		.layer = old, .to = &r->fresh, .fd = old->root, .name = ""
	};
	struct statx stx;
	int err = ply_layer_statx(old, old->root, "", STATX_BASIC_STATS, &stx);

	return err ? err : ply_copy_attrs(&from, &stx, r->fresh.root, "");
}

/* An empty directory may be a layer of this very stack, which would be gone: 1, 0 or -errno. */
static int is_layer(const struct rotation *r)
{
	struct statx target, root;
	int err = sys_statx(r->target.dirfd, r->target.name, STATX_INO, &target);

	for (unsigned i = 0; i < r->u->nall && !err; i++) {
		err = sys_statx(r->u->layers[i].root, "", STATX_INO, &root);
		if (!err && ply_same_inode(&target, &root))
			return 1;
	}
	return err;
}

static int clear_target(const struct rotation *r)
{
	int is_used = is_layer(r);

	if (is_used)
		return is_used < 0 ? is_used : -EBUSY;
	return sys_rmdir(r->target.dirfd, r->target.name);
}

static int make_fresh(struct rotation *r, const char *layer)
{
	struct ply_layer *old = &r->u->layers[PLY_UPPER];
	int err = sys_mkdir(r->target.dirfd, r->target.name, S_IRWXU);

	r->is_made = !err;
	/* An empty one will do. */
	if (err == -EEXIST) {
		err = clear_target(r);
		if (!err)
			err = sys_mkdir(r->target.dirfd, r->target.name, S_IRWXU);
		r->is_made = !err;
	}
	if (!err)
		err = ply_layer_open(&r->fresh, layer, PLY_LAYER_UPPER);
	if (err)
		return err == -ENOTEMPTY || err == -ENOTDIR ? -EEXIST : err;
	r->fresh.is_lax = old->is_lax;
	r->fresh.override = old->override;
	r->fresh.hole = old->hole;
	ply_layer_set_lack(&r->fresh, atomic_load(&old->lacks));
	err = ply_layer_disinherit(r->fresh.root);
	if (!err)
		err = copy_root(r);
	return err ? err : take_lock(r);
}

/* The upper, opened as a mount would open it as a lower layer; and each by the path that it will have. */
static int open_lower(struct rotation *r)
{
	struct ply_layer *old = &r->u->layers[PLY_UPPER];
	int err = ply_layer_open(&r->lower, old->path, PLY_LAYER_LOWER);
	char *path = r->lower.path;

	if (err)
		return err;
	r->lower.path = r->fresh.path;
	r->fresh.path = path;
	r->lower.override = old->override;
	r->lower.hole = old->hole;
	if (r->lower.is_private)
		r->lower.hole.present = 0;
	return 0;
}

static int make_stack(struct rotation *r)
{
	struct ply_union *u = r->u;

	if (u->nall + 1 >= UINT16_MAX)
		return -E2BIG;
	r->layers = calloc(u->nall + 1, sizeof(*r->layers));
	return r->layers ? ply_restack_prepare(u, &r->restack) : -ENOMEM;
}

static int prepare(struct rotation *r, const char *layer)
{
	int err = make_stack(r);

	if (err)
		return say(r, err, "cannot take out of the upper what is to be in", layer);
	err = make_fresh(r, layer);
	if (!err)
		err = open_lower(r);
	return err ? say(r, err, "cannot make the layer", layer) : 0;
}

static int exchange(struct rotation *r, const char *layer)
{
	int err = sys_rename(r->old.dirfd, r->old.name, r->target.dirfd, r->target.name,
			     RENAME_EXCHANGE);

	if (!err)
		return 0;
	if (err == -EINVAL || err == -ENOSYS)
		err = -EOPNOTSUPP;
	return say(r, err, "cannot exchange the upper with the layer", layer);
}

/* ---- the change ---- */

static void restack(struct rotation *r)
{
	struct ply_union *u = r->u;

	ply_layer_close(&u->layers[PLY_UPPER]);
	memcpy(r->layers + 2, u->layers + 1, (u->nall - 1) * sizeof(*u->layers));
	r->layers[PLY_UPPER] = r->fresh;
	r->layers[1] = r->lower;
	r->fresh = r->lower = (struct ply_layer){ .root = -1 };
	free(u->layers);
	u->layers = r->layers;
	r->layers = NULL;
	u->upper.layer = &u->layers[PLY_UPPER];
	ply_upper_leave_whiteouts(&u->upper);
	u->nlayers++;
	u->nall++;
	ply_restack_do(u, &r->restack);
}

static void clean_up(struct rotation *r)
{
	if (r->is_made)
		sys_rmdir(r->target.dirfd, r->target.name);
	ply_layer_close(&r->fresh);
	ply_layer_close(&r->lower);
	ply_restack_free(&r->restack);
	free(r->layers);
	if (r->old.dirfd >= 0)
		sys_close(r->old.dirfd);
	if (r->target.dirfd >= 0)
		sys_close(r->target.dirfd);
}

static int needs_lowers(struct ply_union *u, struct ply_node *node, void *arg)
{
	(void)arg;
	if (!ply_node_in_upper(node) || !ply_node_has_name(u, node))
		return 0;
	if (ply_node_is_dir(node))
		return ply_is_moved(node);
	/* Where no layer has the data there is none to wait for. */
	return !ply_node_has_data(node) && node->lowerdata->layer;
}

/* All that is left of marks goes, and of the index. */
static int settle(struct rotation *r)
{
	struct ply_union *u = r->u;
	int err = ply_settle_locked(u, 0, INT64_MAX), needed = err ? err : ply_index_is_needed(u);

	if (needed < 0)
		return say(r, needed, "cannot settle the upper", u->layers[PLY_UPPER].path);
	return needed || ply_settle_count(u) ? -EAGAIN : 0;
}

static int rotate(struct rotation *r, const char *layer, enum ply_rotate_how how)
{
	int err = settle(r);

	if (!err && how == PLY_ROTATE_ALONE && ply_node_each(r->u, needs_lowers, NULL))
		err = -EAGAIN;
	if (!err)
		err = open_spots(r, layer);
	if (!err)
		err = prepare(r, layer);
	if (!err) {
		err = ply_index_retire(r->u);
		if (err)
			say(r, err, "cannot remove the index of hard links of",
			    r->u->layers[PLY_UPPER].path);
	}
	if (!err)
		err = exchange(r, layer);
	if (err)
		return err;
	r->is_made = 0;
	/* What is written to the new upper must not come to the disk before the exchange. */
	ply_sync_together(r->u);
	restack(r);
	ply_linkcount_rebind(r->u);
	return 0;
}

int ply_rotate(struct ply_union *u, const char *layer, enum ply_rotate_how how, struct ply_why *why)
{
	struct rotation r = {
		.u = u,
		.why = why,
		.old.dirfd = -1,
		.target.dirfd = -1,
		.fresh.root = -1,
		.lower.root = -1,
	};
	int err;

	snprintf(why->text, sizeof(why->text), "the upper changed meanwhile");
	if (ply_union_readonly(u)) {
		snprintf(why->text, sizeof(why->text), "the mount has no upper directory");
		return -EROFS;
	}
	/* The settler is at it, and may be for long. */
	if (pthread_mutex_trylock(&u->settle_run))
		return -EAGAIN;
	err = rotate(&r, layer, how);
	clean_up(&r);
	pthread_mutex_unlock(&u->settle_run);
	return err;
}

static int is_to_be_named(struct ply_union *u, struct ply_node *node, void *arg)
{
	(void)u;
	(void)arg;
	return !ply_node_is_dir(node) && ply_node_in_upper(node) &&
	       (ply_has_lower_name(node) || ply_node_is_unseen_locked(node));
}

int ply_rotate_prepare(struct ply_union *u, enum ply_rotate_how how)
{
	int needed = 0;

	if (ply_union_readonly(u))
		return -EROFS;
	if (how == PLY_ROTATE_ALONE)
		needed = ply_copyup_moved(u);
	if (needed)
		return needed;
	pthread_mutex_lock(&u->tree);
	needed = ply_node_each(u, is_to_be_named, NULL);
	pthread_mutex_unlock(&u->tree);
	if (!needed)
		needed = ply_index_is_needed(u);
	return needed > 0 ? ply_link_names_up(u) : needed;
}
