/*
 * A layer comes into a running union, below all others that are merged. Nothing is written to do so, but what an index of hard
 * links says of the stack that it belongs to; all that may fail comes before that, and is taken back.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/binding.h"
#include "union/inside.h"
#include "union/linkcount.h"
#include "union/remerge.h"
#include "union/sync.h"

struct ply_addition {
	struct ply_layer layer; /* until it is in the stack */
	struct ply_remerge remerge;
};

static int say(struct ply_why *why, int err, const char *sentence, const char *path)
{
	snprintf(why->text, sizeof(why->text), "%s '%s': %s", sentence, path, strerror(-err));
	return err;
}

/* ---- before ---- */

/* The layer's own descriptor may be of a private copy of mounts, which has nothing above it. */
static int check_inside(const struct ply_union *u, const char *path)
{
	int fd, inside;

	if (ply_union_readonly(u))
		return 0;
	fd = sys_open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	inside = ply_is_inside_upper(u, fd);
	sys_close(fd);
	return inside;
}

static int check_twice(const struct ply_union *u, const struct ply_layer *layer)
{
	struct statx own, other;
	int err = sys_statx(layer->root, "", STATX_INO, &own);

	for (unsigned i = 1; !err && i < u->nall; i++) {
		err = sys_statx(u->layers[i].root, "", STATX_INO, &other);
		if (!err && ply_same_inode(&own, &other))
			return (int)i;
	}
	return err;
}

static int check(const struct ply_union *u, const struct ply_layer *layer, const char *path,
		 dev_t own_dev, struct ply_why *why)
{
	int found;

	if (layer->dev == own_dev) {
		snprintf(why->text, sizeof(why->text), "'%s' lies in the mount itself", path);
		return -ELOOP;
	}
	found = check_inside(u, path);
	if (found > 0) {
		snprintf(why->text, sizeof(why->text),
			 "'%s' is, or lies in, the upper or the work directory", path);
		return -EINVAL;
	}
	if (!found)
		found = check_twice(u, layer);
	if (found > 0) {
		snprintf(why->text, sizeof(why->text), "'%s' is layer %d of the mount already",
			 path, found);
		return -EEXIST;
	}
	return found ? say(why, found, "cannot look at", path) : 0;
}

/*
 * A copy of mounts that has the mount itself in it would keep it for ever; so where the mountpoint lies in the layer, which
 * is known and passed over, there is no copy. Other mountpoints of it would be walked into, and wait for themselves.
 */
static int open_layer(const struct ply_union *u, const char *path, dev_t own_dev,
		      struct ply_layer *layer, struct ply_why *why)
{
	enum ply_layer_kind kind = PLY_LAYER_LOWER;
	char real[PATH_MAX];
	int err = sys_realpath(path, real);

	if (!err && u->mountpoint && ply_is_path_inside(u->mountpoint, real))
		kind = PLY_LAYER_LOWER_IN_PLACE;
	if (!err && ply_is_mounted_inside(own_dev, real, u->mountpoint)) {
		snprintf(why->text, sizeof(why->text), "the mount itself is mounted in '%s', too",
			 path);
		return -ELOOP;
	}
	if (!err)
		err = ply_layer_open(layer, path, kind);
	return err ? say(why, err, "cannot open layer", path) : 0;
}

int ply_add_open(struct ply_union *u, const char *path, dev_t own_dev, struct ply_addition **out,
		 struct ply_why *why)
{
	struct ply_addition *add = calloc(1, sizeof(*add));
	int err;

	*out = NULL;
	if (!add)
		return say(why, -ENOMEM, "cannot open layer", path);
	add->layer.root = -1;
	err = open_layer(u, path, own_dev, &add->layer, why);
	if (!err)
		err = check(u, &add->layer, path, own_dev, why);
	if (err) {
		ply_add_free(add);
		return err;
	}
	if (!add->layer.is_private)
		add->layer.hole = u->hole;
	*out = add;
	return 0;
}

void ply_add_free(struct ply_addition *add)
{
	if (!add)
		return;
	ply_layer_close(&add->layer);
	ply_remerge_free(&add->remerge);
	free(add);
}

/* ---- the change ---- */

static void set_layers(struct ply_union *u, struct ply_layer *layers, unsigned change)
{
	u->layers = layers;
	u->nlayers += change;
	u->nall += change;
	u->upper.layer = &layers[PLY_UPPER];
}

/* The stack with the layer in it, or NULL. */
static struct ply_layer *longer_stack(const struct ply_union *u, const struct ply_layer *layer)
{
	struct ply_layer *layers = calloc(u->nall + 1, sizeof(*layers));

	if (!layers)
		return NULL;
	memcpy(layers, u->layers, u->nlayers * sizeof(*layers));
	layers[u->nlayers] = *layer;
	memcpy(layers + u->nlayers + 1, u->layers + u->nlayers,
	       (u->nall - u->nlayers) * sizeof(*layers));
	return layers;
}

/* The index is of this stack from here on: the last thing that may fail, and one that a crash leaves done or not. */
static int bind_index(struct ply_union *u)
{
	struct ply_binding_stack stack = { u->layers, u->nlayers };
	int fd = atomic_load(&u->upper.index), err;

	if (fd < 0)
		return 0;
	err = ply_binding_write(&u->upper, &stack, fd, "");
	/* Where it cannot be said it was not said before either. */
	if (err == -EOPNOTSUPP)
		return 0;
	/* What is linked into the index from now on must not come to the disk before. */
	if (!err)
		ply_sync_together(u);
	return err;
}

static int explain(const struct ply_addition *add, int err, struct ply_why *why)
{
	const char *at = add->remerge.at;

	return at ? say(why, err, "cannot put the layer below what the mount shows, at", at)
		  : say(why, err, "cannot put below the others layer", add->layer.path);
}

static int try_it(struct ply_union *u, struct ply_addition *add, struct ply_why *why)
{
	struct ply_layer *old = u->layers, *layers;
	struct statx root;
	int err = sys_statx(add->layer.root, "", STATX_INO, &root);

	layers = err ? NULL : longer_stack(u, &add->layer);
	if (!layers)
		return explain(add, err ? err : -ENOMEM, why);
	add->remerge.layer = u->nlayers;
	set_layers(u, layers, 1);
	err = ply_remerge_try(u, &add->remerge);
	if (!err)
		err = bind_index(u);
	if (err) {
		explain(add, err, why);
		ply_remerge_undo(u, &add->remerge);
		set_layers(u, old, -1u);
		free(layers);
		return err;
	}
	ply_linkcount_rebind(u);
	ply_remerge_keep(u, &add->remerge);
	/* Its file system, if it is another one, gets the next number. */
	ply_ino_map(u, &root);
	add->layer = (struct ply_layer){ .root = -1 };
	free(old);
	return 0;
}

int ply_add(struct ply_union *u, struct ply_addition *add, struct ply_why *why)
{
	int err;

	if (u->nall + 1 >= UINT16_MAX)
		return say(why, -E2BIG, "there are too many layers for", add->layer.path);
	/* The settler is at it, and may be for long. */
	if (pthread_mutex_trylock(&u->settle_run))
		return -EAGAIN;
	err = try_it(u, add, why);
	pthread_mutex_unlock(&u->settle_run);
	return err;
}

struct ply_added ply_added(const struct ply_addition *add)
{
	return (struct ply_added){ .layer = add->remerge.layer, .dirs = add->remerge.nmerged };
}

void ply_add_each_new(const struct ply_addition *add, ply_new_fn fn, void *arg)
{
	const struct ply_remerge *r = &add->remerge;

	for (size_t at = 0; at < r->news_used;) {
		const char *name = r->news + at + sizeof(uint64_t);
		uint64_t id;

		memcpy(&id, r->news + at, sizeof(id));
		fn(arg, id, name);
		at += sizeof(id) + strlen(name) + 1;
	}
}
