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

/* The origin is mostly what a lower layer has by the same name. */
static int find_beside(struct ply_union *u, struct ply_node *dir, const char *name,
		       const struct ply_fh *origin, struct statx *stx)
{
	for (int i = 0; i < ply_dir_nlowers(dir->dir); i++) {
		unsigned layer = dir->dir->lowers[i].layer;
		struct ply_fd *fd;
		struct ply_fh fh;
		int err = ply_dir_open(u, dir, layer, &fd);

		if (err)
			return err;
		err = ply_mark_encode(&u->layers[layer], fd->fd, name, &fh);
		if (err > 0 && ply_same_handle(&fh, origin))
			err = sys_statx(fd->fd, name, STATX_INO | STATX_NLINK, stx);
		else
			err = -ENOENT;
		ply_fd_put(u->fds, fd);
		if (!err)
			return 0;
	}
	return -ENOENT;
}

/* A file that was moved since: by its handle, on each file system of the stack. Needs privilege. */
static int find_by_handle(struct ply_union *u, const struct ply_fh *origin, struct statx *stx)
{
	for (unsigned i = 1; i < u->nlayers; i++) {
		struct ply_layer *layer = &u->layers[i];
		struct ply_fd *fd;
		int err;

		if (ply_layer_lacks(layer, PLY_LACKS_OPEN_HANDLE) ||
		    memcmp(layer->uuid, origin->uuid, sizeof(layer->uuid)))
			continue;
		err = ply_dir_open(u, u->root, i, &fd);
		if (err)
			return err;
		err = ply_mark_decode(layer, fd->fd, origin, stx);
		ply_fd_put(u->fds, fd);
		if (!err || err == -ESTALE)
			return err;
	}
	return -ENOENT;
}

void ply_origin_set_ino(struct ply_union *u, struct ply_node *dir, const char *name,
			struct ply_node *node, const struct statx *stx)
{
	struct ply_fh origin;
	struct statx lower;
	struct ply_fd *fd;
	int len = 0, is_found, has_all_names = 0;

	node->ino = ply_ino_map(u, stx);
	if (!ply_node_in_upper(node) || ply_dir_open(u, dir, PLY_UPPER, &fd))
		return;
	if (ply_origin_is_impure(u, dir, fd->fd) > 0)
		len = ply_mark_origin(&u->layers[PLY_UPPER], fd->fd, name, &origin);
	ply_fd_put(u->fds, fd);
	if (len <= 0)
		return;
	node->has_origin = 1;
	lower.stx_nlink = 0;
	is_found = find_beside(u, dir, name, &origin, &lower) == 0 ||
		   find_by_handle(u, &origin, &lower) == 0;
	if (stx->stx_nlink > 1 && !ply_node_is_dir(node))
		has_all_names = ply_index_attach_upper(u, node, &origin, stx, lower.stx_nlink);
	/* Without an entry the other names of a hard link are another file, and show that number. */
	if (is_found && (ply_node_is_dir(node) || lower.stx_nlink == 1 || has_all_names))
		node->ino = ply_ino_map(u, &lower);
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
