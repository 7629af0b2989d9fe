/*
 * Merged listings: the directory is read once in every layer that has it, topmost first, and each layer is
 * laid under what stands above it. Whiteouts of all forms are taken for what they are on the way.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "layer/marks.h"
#include "union/listing.h"
#include "union/lookup.h"
#include "union/place.h"

struct reading {
	struct ply_layer *layer;
	struct ply_listing *l;
	int fd;
	unsigned flags; /* of what is found */
	int announces;
};

/* AUFS marks are collected beside the names and applied at the end: order must not matter. */
static int add_aufs(struct reading *r, const char *name)
{
	const char *target = ply_aufs_target(name);

	return target ? ply_listing_append(r->l, target, DT_UNKNOWN, PLY_ITEM_WHITEOUT, 0) : 0;
}

static int needs_stat(const struct reading *r, unsigned char type)
{
	return type == DT_CHR || type == DT_UNKNOWN || (type == DT_REG && r->announces);
}

static int is_whiteout(const struct reading *r, const char *name, const struct statx *stx)
{
	if (!S_ISREG(stx->stx_mode) || stx->stx_size || !r->announces)
		return ply_is_whiteout(stx);
	return ply_mark_xwhiteout(r->layer, r->fd, name);
}

static int add_entry(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct reading *r = arg;
	unsigned flags = r->flags;
	struct statx stx;
	int hides, err;

	(void)ino;
	if (ply_is_aufs_name(name))
		return add_aufs(r, name);
	if (ply_layer_is_hole(r->layer, r->fd, name))
		return 0;
	if (needs_stat(r, type)) {
		err = sys_statx(r->fd, name, STATX_BASIC_STATS, &stx);
		if (err)
			return err == -ENOENT ? 0 : err;
		type = (unsigned char)IFTODT(stx.stx_mode);
		hides = is_whiteout(r, name, &stx);
		if (hides < 0)
			return hides;
		if (hides)
			flags = PLY_ITEM_WHITEOUT;
	}
	if (flags & PLY_ITEM_WHITEOUT)
		flags |= PLY_ITEM_CLOSED;
	else if (type != DT_DIR)
		flags |= PLY_ITEM_CLOSED;
	return ply_listing_append(r->l, name, type, flags, 0);
}

int ply_dir_announces(struct ply_union *u, struct ply_node *dir, int index, int fd)
{
	_Atomic uint8_t *known =
		index < 0 ? &dir->dir->upper_announces : &dir->dir->lowers[index].announces;
	unsigned layer = index < 0 ? PLY_UPPER : dir->dir->lowers[index].layer;
	unsigned state = atomic_load_explicit(known, memory_order_relaxed);

	if (state == PLY_UNKNOWN) {
		int mark = ply_mark_opaque(&u->layers[layer], fd, "");
		uint8_t unknown = PLY_UNKNOWN;

		if (mark < 0)
			return mark;
		/* One that became opaque may hold some still. */
		state = mark == PLY_OPAQUE_ANNOUNCES || mark == PLY_OPAQUE_ALL ? PLY_YES : PLY_NO;
		/* Unless a whiteout came in meanwhile. */
		atomic_compare_exchange_strong(known, &unknown, (uint8_t)state);
		if (unknown != PLY_UNKNOWN)
			state = unknown;
	}
	return state == PLY_YES;
}

static int read_open_dir(struct ply_union *u, struct ply_node *dir, int index, struct reading *r)
{
	int fd = -1, err;
	mode_t old;

	r->announces = ply_dir_announces(u, dir, index, r->fd);
	if (r->announces < 0)
		return r->announces;
	err = ply_layer_list(r->fd, add_entry, r);
	if (err != -EBADF && err != -EACCES)
		return err;
	/* Only O_PATH could be had. */
	fd = sys_open(r->fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd == -EACCES && r->layer->is_upper && !ply_layer_unlock_dir(r->fd, &old)) {
		fd = sys_open(r->fd, ".", O_RDONLY | O_DIRECTORY, 0);
		ply_layer_lock_dir(r->fd, old);
	}
	if (fd < 0)
		return fd;
	err = ply_layer_list(fd, add_entry, r);
	sys_close(fd);
	return err;
}

/* One layer's own listing, sorted: index as of ply_dir_announces. */
static int read_layer(struct ply_union *u, struct ply_node *dir, int index,
		      struct ply_listing **out)
{
	unsigned layer = index < 0 ? PLY_UPPER : dir->dir->lowers[index].layer;
	struct reading r = {
		.layer = &u->layers[layer],
		.l = ply_listing_new(),
		.flags = PLY_ITEM_VISIBLE | (index < 0 ? PLY_ITEM_UPPER : PLY_ITEM_LOWER),
	};
	struct ply_fd *fd;
	int err;

	if (!r.l)
		return -ENOMEM;
	err = ply_dir_open(u, dir, layer, &fd);
	if (!err) {
		r.fd = fd->fd;
		err = read_open_dir(u, dir, index, &r);
		ply_fd_put(u->fds, fd);
	} else if (ply_part_is_gone(u, index, err)) {
		err = 0;
	}
	if (!err) {
		ply_listing_sort(r.l);
		ply_listing_join_marks(r.l);
		*out = r.l;
		return 0;
	}
	ply_listing_free(r.l);
	return err;
}

/* Lays all lowers under top, which is the upper's listing or the first lower's. */
static int lay_lowers(struct ply_union *u, struct ply_node *dir, unsigned first,
		      struct ply_listing *top)
{
	for (unsigned i = first; i < (unsigned)ply_dir_nlowers(dir->dir); i++) {
		struct ply_listing *below = NULL;
		int err = read_layer(u, dir, (int)i, &below);

		if (!err)
			err = ply_listing_lay(top, below, i);
		if (err)
			return err;
	}
	return 0;
}

static int build(struct ply_union *u, struct ply_node *dir, struct ply_listing **out)
{
	struct ply_listing *top = ply_listing_new();
	int err = top ? 0 : -ENOMEM;

	if (!err && atomic_load(&dir->dir->in_upper)) {
		ply_listing_free(top);
		top = NULL;
		err = read_layer(u, dir, -1, &top);
	}
	if (!err)
		err = lay_lowers(u, dir, 0, top);
	if (err) {
		ply_listing_free(top);
		return err;
	}
	ply_listing_finish(top);
	*out = top;
	return 0;
}

/* Lower layers may have changed since, of which the marks in them also tell. */
static void drop_if_old(struct ply_union *u, struct ply_dir *d)
{
	if (!u->lowers_change || !d->listing || ply_listing_clock() - d->listed < u->keep_ms)
		return;
	ply_listing_drop(u, d);
	for (unsigned i = 0; i < d->nlowers; i++)
		atomic_store(&d->lowers[i].announces, PLY_UNKNOWN);
}

int ply_listing_get(struct ply_union *u, struct ply_node *dir, struct ply_listing **out)
{
	struct ply_listing *l;
	int err;

	PLY_ASSERT_LOCKED(&dir->lock);
	drop_if_old(u, dir->dir);
	l = dir->dir->listing;
	if (l) {
		*out = l;
		return 0;
	}
	err = build(u, dir, &l);
	if (err)
		return err;
	ply_listing_install(u, dir->dir, l);
	*out = l;
	return 0;
}

int ply_dir_is_empty(struct ply_union *u, struct ply_node *dir)
{
	struct ply_listing *l;
	int err = ply_listing_get(u, dir, &l);

	return err ? err : ply_listing_is_empty(l);
}

void ply_dir_shows(struct ply_union *u, struct ply_node *dir, const char *name, mode_t mode)
{
	struct ply_dir *d = dir->dir;

	PLY_ASSERT_LOCKED(&dir->lock);
	d->version++;
	if (d->listing && ply_listing_show(d->listing, name, IFTODT(mode)))
		ply_listing_drop(u, d);
}

void ply_dir_hides(struct ply_union *u, struct ply_node *dir, const char *name)
{
	struct ply_dir *d = dir->dir;

	PLY_ASSERT_LOCKED(&dir->lock);
	d->version++;
	/* There may be the first whiteout in it now. */
	if (u->upper.kind == PLY_KIND_XATTR)
		atomic_store(&d->upper_announces, PLY_YES);
	if (d->listing && ply_listing_hide(d->listing, name))
		ply_listing_drop(u, d);
}
