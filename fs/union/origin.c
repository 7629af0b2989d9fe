/* Origin marks. They are read only in directories that say they hold some (impure), as the kernel does. */
#include "union/origin.h"

#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "union/index.h"
#include "union/place.h"
#include "union/sync.h"

int ply_origin_is_impure(struct ply_union *u, struct ply_node *dir, int fd)
{
	_Atomic uint8_t *known = &dir->dir->impure;

	if (atomic_load_explicit(known, memory_order_relaxed) == PLY_UNKNOWN) {
		int mark = ply_mark_impure(&u->layers[PLY_UPPER], fd);

		if (mark < 0)
			return mark;
		atomic_store_explicit(known, mark ? PLY_YES : PLY_NO, memory_order_relaxed);
	}
	return atomic_load_explicit(known, memory_order_relaxed) == PLY_YES;
}

/* Is it what a layer has by the name? 1, 0 or -errno. */
static int is_at(struct ply_union *u, struct ply_node *dir, unsigned layer, const char *name,
		 const struct ply_fh *origin, struct statx *stx)
{
	struct ply_fd *fd;
	struct ply_fh fh;
	int err = ply_dir_open(u, dir, layer, &fd), is_same = 0;

	if (err)
		return ply_is_trouble(err) ? err : 0;
	err = ply_mark_encode(&u->layers[layer], fd->fd, name, &fh);
	if (err > 0) {
		is_same = ply_same_handle(&fh, origin);
		err = is_same ? sys_statx(fd->fd, name, STATX_INO | STATX_NLINK, stx) : 0;
	}
	ply_fd_put(u->fds, fd);
	if (err)
		return ply_is_trouble(err) ? err : 0;
	return is_same;
}

/* The origin is mostly what a lower layer has by the same name. */
static int find_beside(struct ply_union *u, struct ply_node *dir, const char *name,
		       const struct ply_fh *origin, struct statx *stx)
{
	int found = 0;

	for (int i = 0; i < ply_dir_nlowers(dir->dir) && !found; i++)
		found = is_at(u, dir, dir->dir->lowers[i].layer, name, origin, stx);
	return found;
}

static int decode(struct ply_union *u, unsigned layer, const struct ply_fh *origin,
		  struct statx *stx)
{
	struct ply_fd *fd;
	int err = ply_dir_open(u, u->root, layer, &fd);

	if (err)
		return err;
	do
		err = ply_mark_decode(&u->layers[layer], fd->fd, origin, stx);
	while ((err == -EMFILE || err == -ENFILE) && ply_fdcache_shrink(u->fds));
	ply_fd_put(u->fds, fd);
	return err;
}

/* A file that was moved since: by its handle, on each file system of the stack. Needs privilege. */
static int find_by_handle(struct ply_union *u, const struct ply_fh *origin, struct statx *stx)
{
	for (unsigned i = 1; i < u->nlayers; i++) {
		struct ply_layer *layer = &u->layers[i];
		int err;

		if (ply_layer_lacks(layer, PLY_LACKS_OPEN_HANDLE) ||
		    memcmp(layer->uuid, origin->uuid, sizeof(layer->uuid)))
			continue;
		err = decode(u, i, origin, stx);
		if (!err)
			return 1;
		if (ply_is_trouble(err))
			return err;
		if (err == -ESTALE)
			break;
	}
	return 0;
}

/* The length of the mark, 0 for none or -errno. */
static int read_origin(struct ply_union *u, struct ply_node *dir, const char *name,
		       struct ply_fh *origin)
{
	struct ply_fd *fd;
	int res = ply_dir_open(u, dir, PLY_UPPER, &fd);

	if (res)
		return res;
	res = ply_origin_is_impure(u, dir, fd->fd);
	if (res > 0)
		res = ply_mark_origin(&u->layers[PLY_UPPER], fd->fd, name, origin);
	ply_fd_put(u->fds, fd);
	return res;
}

int ply_origin_set_ino(struct ply_union *u, struct ply_node *dir, const char *name,
		       struct ply_node *node, const struct statx *stx)
{
	struct statx lower = { 0 };
	struct ply_fh origin;
	int found, has_all_names = 0;

	node->ino = ply_ino_map(u, stx);
	found = ply_node_in_upper(node) ? read_origin(u, dir, name, &origin) : 0;
	if (found <= 0)
		return found;
	node->has_origin = 1;
	found = find_beside(u, dir, name, &origin, &lower);
	if (!found)
		found = find_by_handle(u, &origin, &lower);
	if (found >= 0 && stx->stx_nlink > 1 && !ply_node_is_dir(node))
		has_all_names = ply_index_attach_upper(u, node, &origin, stx, lower.stx_nlink);
	if (found < 0 || has_all_names < 0)
		return found < 0 ? found : has_all_names;
	/* Without an entry the other names of a hard link are another file, and show that number. */
	if (found && (ply_node_is_dir(node) || lower.stx_nlink == 1 || has_all_names))
		node->ino = ply_ino_map(u, &lower);
	return 0;
}

int ply_origin_write(struct ply_union *u, const struct ply_place *lower, int fd, const char *name,
		     struct ply_fh *fh)
{
	struct ply_layer *upper = &u->layers[PLY_UPPER];
	int len, err;

	if (ply_layer_lacks(upper, PLY_LACKS_ORIGIN))
		return 0;
	len = ply_mark_encode(lower->layer, lower->fd, lower->name, fh);
	if (len < 0)
		return len == -EOPNOTSUPP ? 0 : len;
	err = ply_upper_set_mark(&u->upper, fd, name, PLY_MARK_ORIGIN, fh, (size_t)len);
	if (err == -EOPNOTSUPP || err == -EPERM) {
		ply_layer_set_lack(upper, PLY_LACKS_ORIGIN);
		return 0;
	}
	return err ? err : 1;
}

int ply_origin_make_impure(struct ply_union *u, struct ply_node *dir, int fd)
{
	int err;

	if (atomic_load(&dir->dir->impure) == PLY_YES)
		return 0;
	err = ply_upper_set_mark(&u->upper, fd, "", PLY_MARK_IMPURE, "y", 1);
	if (err)
		return err;
	ply_sync_together(u);
	atomic_store(&dir->dir->impure, PLY_YES);
	return 0;
}
