/* The walk over the layers for one name: topmost first, until something hides the rest or a redirect leads elsewhere. */
#include "union/resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layer/marks.h"
#include "layer/override.h"
#include "union/listing.h"
#include "union/lookup.h"
#include "union/lowerdata.h"
#include "union/place.h"
#include "union/redirect.h"

void ply_answer_free(struct ply_answer *f)
{
	ply_dir_free(f->dir);
	free(f->data);
	f->dir = NULL;
	f->data = NULL;
}

/* An empty regular file. */
struct empty {
	struct ply_node *dir;
	struct ply_layer *layer;
	int index, fd;
	const char *name;
};

static int ask_empty(struct ply_union *u, const struct empty *e)
{
	int mark = ply_dir_announces(u, e->dir, e->index, e->fd);

	if (mark > 0)
		mark = ply_mark_xwhiteout(e->layer, e->fd, e->name);
	if (mark < 0)
		return mark;
	return mark ? PLY_SAYS_WHITEOUT : PLY_SAYS_THERE;
}

int ply_ask_layer(struct ply_union *u, struct ply_node *dir, int index, int more, int fd,
		  const char *name, struct statx *stx)
{
	unsigned l = index < 0 ? PLY_UPPER : dir->dir->lowers[index].layer;
	struct ply_layer *layer = &u->layers[l];
	int mark = 0, err;

	/* Even to stat it would be to wait for ourselves. */
	if (ply_layer_is_hole(layer, fd, name))
		return PLY_SAYS_NOTHING;
	err = ply_layer_statx(layer, fd, name, STATX_BASIC_STATS | STATX_BTIME, stx);
	if (err && err != -ENOENT)
		return err;
	if (!err && ply_is_whiteout(stx))
		return PLY_SAYS_WHITEOUT;
	if (!err && S_ISREG(stx->stx_mode) && !stx->stx_size)
		return ask_empty(u, &(struct empty){ dir, layer, index, fd, name });
	if (err || S_ISDIR(stx->stx_mode))
		mark = more ? ply_mark_aufs(fd, name) : 0;
	if (mark < 0)
		return mark;
	if (err)
		return mark ? PLY_SAYS_WHITEOUT : PLY_SAYS_NOTHING;
	return mark ? PLY_SAYS_THERE_ALONE : PLY_SAYS_THERE;
}

static int wants(const struct ply_hint *hint, int index)
{
	if (!hint->known)
		return 1;
	if (index < 0)
		return hint->upper;
	if (index >= PLY_MASK_REST)
		return hint->mask >> PLY_MASK_REST && index >= hint->rest;
	return (hint->mask >> index) & 1;
}

int ply_layer_index(const struct ply_dir *d, int index)
{
	return index < 0 ? PLY_UPPER : d->lowers[index].layer;
}

/* Adds a layer to a found directory. */
int ply_answer_add(struct ply_answer *f, unsigned layer, const struct statx *stx, unsigned room)
{
	if (!f->dir) {
		f->dir = calloc(1, sizeof(*f->dir) + room * sizeof(f->dir->lowers[0]));
		if (!f->dir)
			return -ENOMEM;
	}
	if (layer == PLY_UPPER) {
		atomic_init(&f->dir->in_upper, 1);
		f->in_upper = 1;
		return 0;
	}
	if (!f->dir->nlowers)
		f->below = *stx;
	f->dir->lowers[f->dir->nlowers++].layer = (uint16_t)layer;
	return 0;
}

/* A walk over the layers for one name. */
struct walk {
	struct ply_node *dir;
	const char *name;
	struct ply_answer *f;
	int nfound;
	int last;		 /* index of the layer that had it last */
	struct ply_trail *trail; /* a redirect leads on from there */
};

/* A directory was found in an upper layer and now below: has the one above a file that says it is opaque? */
static int last_is_opaque(struct ply_union *u, const struct walk *w)
{
	unsigned layer = (unsigned)ply_layer_index(w->dir->dir, w->last);
	struct ply_fd *fd;
	int mark, err = ply_dir_open(u, w->dir, layer, &fd);

	if (err)
		return err;
	mark = ply_mark_aufs_opaque(fd->fd, w->name);
	ply_fd_put(u->fds, fd);
	return mark;
}

/* A directory's xattrs: 1 when they say that no further layer counts, or a redirect leads elsewhere. */
static int heed_marks(struct ply_union *u, struct walk *w, unsigned layer, int fd)
{
	char redirect[PLY_REDIRECT_MAX + 1];
	int below;

	if (layer + 1 == u->nlayers)
		return 0;
	below = ply_mark_below(&u->layers[layer], fd, w->name, redirect);
	if (below != PLY_BELOW_ELSEWHERE)
		return below < 0 ? below : below == PLY_BELOW_NONE;
	if (layer == PLY_UPPER && ply_moved_set_redirect(&w->f->dir->moved, redirect))
		return -ENOMEM;
	if (u->redirect_dir == PLY_REDIRECT_NOFOLLOW)
		return 1;
	w->trail = ply_trail_start(u, w->dir, layer, redirect);
	return w->trail ? 1 : -ENOMEM;
}

/* Takes in what a layer says; 1 when no further layer counts. */
static int take(struct ply_union *u, struct walk *w, int index, int fd, int says,
		const struct statx *stx)
{
	unsigned layer = (unsigned)ply_layer_index(w->dir->dir, index);
	struct ply_answer *f = w->f;
	int err;

	if (says == PLY_SAYS_NOTHING)
		return 0;
	if (says == PLY_SAYS_WHITEOUT)
		return 1;
	if (w->nfound) {
		err = S_ISDIR(stx->stx_mode) ? last_is_opaque(u, w) : 1;
		if (err)
			return err;
	} else {
		f->stx = *stx;
		f->layer = layer;
		f->in_upper = layer == PLY_UPPER;
	}
	w->nfound++;
	w->last = index;
	if (!S_ISDIR(stx->stx_mode))
		return 1;
	err = ply_answer_add(f, layer, stx,
			     (unsigned)(w->dir->dir->nlowers - (index < 0 ? 0 : index)));
	if (!err)
		err = heed_marks(u, w, layer, fd);
	return err ? err : says == PLY_SAYS_THERE_ALONE;
}

/* A file was found: is its data elsewhere? */
static int find_data(struct ply_union *u, struct walk *w, int index, int fd,
		     const struct statx *stx)
{
	int marked = ply_lowerdata_is_marked(u, w->dir, index, fd, w->name, stx), err = 0;

	if (marked > 0)
		err = ply_lowerdata_find(u, w->dir, index, w->name, &w->f->data);
	if (marked > 0 && !err && index < 0) {
		w->f->data->filled = (marked & PLY_METACOPY_FILLED) != 0;
		w->f->data->keeps = (marked & PLY_METACOPY_KEPT) != 0;
	}
	return marked < 0 ? marked : err ? err : PLY_SAYS_THERE;
}

/* The directory's parts in the layers below, where a redirect leads. */
static int follow(struct ply_union *u, struct walk *w)
{
	size_t room = w->f->dir->nlowers + u->nlayers;
	struct ply_dir *dir =
		realloc(w->f->dir, sizeof(*dir) + room * sizeof(w->f->dir->lowers[0]));
	struct ply_spot spot;
	int more;

	if (!dir)
		return -ENOMEM;
	w->f->dir = dir;
	while ((more = ply_trail_next(w->trail, &spot)) > 0 && S_ISDIR(spot.stx.stx_mode)) {
		int err = ply_moved_add(&dir->moved, spot.layer, spot.path);

		dir->lowers[dir->nlowers] = (struct ply_dir_layer){ 0 };
		if (!err)
			err = ply_answer_add(w->f, spot.layer, &spot.stx, 0);
		if (err)
			return err;
	}
	return more < 0 ? more : 0;
}

int ply_resolve(struct ply_union *u, struct ply_node *dir, const char *name,
		const struct ply_hint *hint, struct ply_answer *f)
{
	struct ply_dir *d = dir->dir;
	struct walk w = { .dir = dir, .name = name, .f = f };
	int stop = 0;

	*f = (struct ply_answer){ 0 };
	for (int i = atomic_load(&d->in_upper) ? -1 : 0; i < ply_dir_nlowers(d) && !stop; i++) {
		struct statx stx;
		struct ply_fd *fd;

		if (!wants(hint, i))
			continue;
		stop = ply_dir_open(u, dir, (unsigned)ply_layer_index(d, i), &fd);
		if (ply_part_is_gone(u, i, stop)) {
			stop = 0;
			continue;
		}
		if (stop)
			break;
		stop = ply_ask_layer(u, dir, i, i + 1 < ply_dir_nlowers(d), fd->fd, name, &stx);
		if (stop == PLY_SAYS_THERE && !w.nfound)
			stop = find_data(u, &w, i, fd->fd, &stx);
		if (stop >= 0)
			stop = take(u, &w, i, fd->fd, stop, &stx);
		ply_fd_put(u->fds, fd);
	}
	if (stop >= 0 && w.trail)
		stop = follow(u, &w);
	ply_trail_end(w.trail);
	if (stop >= 0 && w.nfound)
		return 0;
	ply_answer_free(f);
	return stop < 0 ? stop : -ENOENT;
}

int ply_lower_shows(struct ply_union *u, struct ply_node *dir, const char *name)
{
	struct ply_dir *d = dir->dir;

	if (d->listing && !u->lowers_change) {
		struct ply_item *item = ply_listing_find(d->listing, name);

		return item && (item->flags & PLY_ITEM_LOWER);
	}
	for (int i = 0; i < ply_dir_nlowers(d); i++) {
		struct statx stx;
		struct ply_fd *fd;
		int says, err = ply_dir_open(u, dir, d->lowers[i].layer, &fd);

		if (ply_part_is_gone(u, i, err))
			continue;
		if (err)
			return err;
		says = ply_ask_layer(u, dir, i, i + 1 < ply_dir_nlowers(d), fd->fd, name, &stx);
		ply_fd_put(u->fds, fd);
		if (says != PLY_SAYS_NOTHING)
			return says < 0 ? says : says != PLY_SAYS_WHITEOUT;
	}
	return 0;
}
