/* Before and after directories are renamed. rename.c has the locks, and the rename. */
#include "union/movedir.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "union/listing.h"
#include "union/redirect.h"

int ply_moves_merged(const struct ply_union *u)
{
	return u->redirect_dir == PLY_REDIRECT_AUTO || u->redirect_dir == PLY_REDIRECT_ON ||
	       u->redirect_dir == PLY_REDIRECT_COPY;
}

/* Of a user's space no other reader follows redirects, the kernel's overlayfs neither. */
int ply_moves_by_copying(const struct ply_union *u)
{
	return u->redirect_dir == PLY_REDIRECT_COPY ||
	       (u->redirect_dir == PLY_REDIRECT_AUTO && !ply_upper_is_trusted(&u->upper));
}

/* Can the mark not be written here, for no fault of the file system? */
static int is_refusal(int err)
{
	return err == -EOPNOTSUPP || err == -EPERM || err == -EACCES || err == -ENAMETOOLONG ||
	       err == -E2BIG || err == -ERANGE || err == -ENOSPC;
}

/* Marks where the directory's lower parts stay. */
static int make_redirect(struct ply_union *u, const struct ply_moving *m, struct ply_moved **moved)
{
	char redirect[PLY_REDIRECT_MAX + 1];
	int err = ply_redirect_needed(u, m->node, m->newdir, redirect);

	if (!err)
		return 0;
	if (err > 0)
		err = ply_upper_set_mark(&u->upper, m->fd, m->name, PLY_MARK_REDIRECT, redirect,
					 strlen(redirect));
	if (!err)
		return ply_moved_set_redirect(moved, redirect);
	if (!is_refusal(err))
		return err;
	return u->redirect_dir == PLY_REDIRECT_ON ? -EXDEV : -EOPNOTSUPP;
}

int ply_moving_prepare(struct ply_union *u, const struct ply_moving *m, struct ply_moved **moved)
{
	int err = ply_moved_make(u, m->node, moved);

	if (err)
		return err;
	if (ply_is_merged(m->node))
		return make_redirect(u, m, moved);
	/* Nor must it merge with what an old redirect by name would find in the new place. */
	if (!m->covers && !(*moved && (*moved)->redirect))
		return 0;
	return ply_upper_set_opaque(&u->upper, m->fd, m->name);
}

/* An empty directory with the attributes of the one at fd/name. */
static int make_like(struct ply_union *u, int fd, const char *name, struct ply_work_name *tmp)
{
	struct ply_upper *up = &u->upper;
	struct ply_attr_source like = { .layer = up->layer, .fd = fd, .name = name };
	struct statx stx;
	int err = sys_statx(fd, name, STATX_BASIC_STATS, &stx);

	if (err)
		return err;
	*tmp = ply_work_new_name(up);
	err = sys_mkdir(up->work, tmp->text, S_IRWXU);
	if (err)
		return err;
	err = ply_upper_set_opaque(up, up->work, tmp->text);
	if (!err)
		err = ply_copy_attrs(&like, &stx, up->work, tmp->text);
	if (err)
		sys_rmdir(up->work, tmp->text);
	return err;
}

int ply_moving_clear_target(struct ply_union *u, struct ply_node *node, int fd, const char *name,
			    struct ply_work_name *taken)
{
	struct ply_upper *up = &u->upper;
	int err;

	/* The mark must be no file in it. */
	if (!up->space || ply_layer_lacks(up->layer, PLY_LACKS_EXCHANGE))
		return -EOPNOTSUPP;
	err = make_like(u, fd, name, taken);
	if (err)
		return err;
	err = ply_layer_rename(up->work, taken->text, fd, name, RENAME_EXCHANGE);
	if (err) {
		sys_rmdir(up->work, taken->text);
		return err == -EINVAL || err == -ENOSYS ? -EOPNOTSUPP : err;
	}
	ply_fdcache_drop(u->fds, node, PLY_UPPER);
	ply_dir_hide_lowers(node->dir);
	ply_listing_drop(u, node->dir);
	node->dir->version++;
	return 0;
}
