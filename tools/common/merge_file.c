/* What is no directory: its data from the layer that has it, or its inode itself; and whiteouts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "layer/override.h"
#include "layer/xattr.h"
#include "merge.h"
#include "space.h"

#define LIST_MAX 65536
#define READLINK_MAX 4096
#define PLAIN_FILE (S_IFREG | S_IRUSR | S_IWUSR)
#define BLOCK 512

/* ---- whiteouts ---- */

static int device_whiteout(struct ply_merge *m, int target, const char *name)
{
	struct ply_links_key key = { .names = UINT64_MAX };
	int res = ply_links_take(m->links, &key, target, name);

	if (res)
		return res < 0 ? res : 0;
	res = sys_mknod(target, name, S_IFCHR, makedev(PLY_WHITEOUT_MAJOR, PLY_WHITEOUT_MINOR));
	return res ? res : ply_links_keep(m->links, &key, target, name);
}

static int aufs_whiteout(struct ply_merge_entry *e)
{
	char aufs[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];

	snprintf(aufs, sizeof(aufs), PLY_AUFS_PREFIX "%s", e->name);
	if (strlen(aufs) > PLY_NAME_MAX)
		e->m->trouble = "the name is too long for a .wh. file";
	return sys_mknod(e->target, aufs, PLAIN_FILE, 0);
}

static int xattr_whiteout(struct ply_merge_entry *e, const struct ply_part *part)
{
	struct ply_merge *m = e->m;
	int err = sys_mknod(e->target, e->name, PLAIN_FILE, 0);

	e->dir->needs = "x";
	e->dir->whiteout_space = ply_space_of(part->fd, e->name, PLY_MARK_WHITEOUT);
	if (!e->dir->whiteout_space)
		e->dir->whiteout_space = m->space;
	return err ? err
		   : ply_merge_mark(m, e->target, e->name, e->dir->whiteout_space,
				    PLY_MARK_WHITEOUT, "y");
}

/* In the form that the topmost layer has it in, unless one is wanted. */
static int make_whiteout(struct ply_merge_entry *e)
{
	struct ply_part *part = ply_dirs_part(e->dir->dirs, e->f.layer);
	struct ply_merge *m = e->m;
	struct statx stx;
	int err;

	if (m->form)
		return m->form->whiteouts == PLY_KIND_AUFS ? aufs_whiteout(e)
							   : device_whiteout(m, e->target, e->name);
	err = sys_statx(part->fd, e->name, STATX_BASIC_STATS, &stx);
	if (err == -ENOENT)
		return aufs_whiteout(e);
	if (err)
		return err;
	return ply_is_whiteout(&stx) ? device_whiteout(m, e->target, e->name)
				     : xattr_whiteout(e, part);
}

int ply_merge_whiteout(struct ply_merge_entry *e)
{
	enum ply_kind_found below = PLY_FOUND_FILE;
	struct ply_merge *m = e->m;
	int err = 0;

	/* Where nothing comes from below there is nothing to hide. */
	if (m->flags & PLY_MERGE_BASE || !e->dir->dirs->below)
		return 0;
	if (m->flags & PLY_MERGE_KNOWS_BELOW)
		err = ply_merge_below(e, &below);
	if (err || below == PLY_FOUND_NOTHING || below == PLY_FOUND_WHITEOUT)
		return err;
	m->whiteouts++;
	return m->flags & PLY_MERGE_DRY ? 0 : make_whiteout(e);
}

/* ---- data ---- */

/* The data is below all of the layers: the file stays without, and says where. */
static int keep_metacopy(struct ply_merge_entry *e, const struct ply_data *data, int out)
{
	struct ply_part *part = ply_dirs_part(e->dir->dirs, e->f.layer);
	struct ply_merge *m = e->m;
	const char *space =
		m->form ? m->form->space : ply_space_of(part->fd, e->name, PLY_MARK_METACOPY);
	char *redirect;
	int err;

	if (m->flags & PLY_MERGE_BASE || !data->below) {
		m->trouble = "the file's data is in no layer (metacopy)";
		return -EIO;
	}
	if (m->flags & PLY_MERGE_DRY)
		return 0;
	err = sys_truncate(out, (off_t)e->f.stx.stx_size);
	if (!err)
		err = ply_merge_mark(m, out, "", space, PLY_MARK_METACOPY, "");
	redirect = ply_join("/", data->below);
	if (!err && !redirect)
		err = -ENOMEM;
	if (!err)
		err = ply_merge_mark(m, out, "", space, PLY_MARK_REDIRECT, redirect + 1);
	free(redirect);
	return err;
}

static int is_ours(const struct ply_merge *m, const struct ply_data *data)
{
	return data->path && (data->layer < m->stack.bound || data->layer >= m->stack.n);
}

static int share_data(struct ply_merge *m, int in, int out, uint64_t size)
{
	int err = sys_clone(in, out);

	if (!err)
		m->progress.data.shared += size;
	else if (err == -EOPNOTSUPP || err == -EXDEV || err == -EINVAL || err == -ENOTTY)
		m->trouble = "the file system cannot share its data (--reflink)";
	return err;
}

static int bring_data(struct ply_merge *m, const struct ply_data *data, int out)
{
	uint64_t size = data->stx.stx_size;
	int in, err;

	if (!size)
		return 0;
	if (m->flags & PLY_MERGE_DRY) {
		uint64_t room = data->stx.stx_blocks * BLOCK;

		m->progress.data.copied += room < size ? room : size;
		return 0;
	}
	in = ply_stack_open_data(&m->stack, data);
	if (in < 0)
		return in;
	err = m->flags & PLY_MERGE_SHARE ? share_data(m, in, out, size)
					 : ply_copy_data(&(struct ply_data_copy){
						   .to = &m->to,
						   .in = in,
						   .out = out,
						   .size = (off_t)size,
						   .done = &m->progress.data,
					   });
	sys_close(in);
	return err;
}

static int copy_data(struct ply_merge_entry *e, int out)
{
	struct ply_data data;
	int err = ply_stack_data(&e->m->stack, e->dir->dirs, e->name, &e->f, &data);

	if (err)
		return err;
	if (is_ours(e->m, &data)) {
		e->m->room += data.stx.stx_blocks * BLOCK;
		err = bring_data(e->m, &data, out);
	} else {
		err = keep_metacopy(e, &data, out);
	}
	ply_data_free(&data);
	return err;
}

/* ---- inodes ---- */

static int copy_regular(struct ply_merge_entry *e, struct ply_part *part)
{
	int out = sys_open(e->target, e->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
			   S_IRUSR | S_IWUSR);
	int err = out < 0 ? out : copy_data(e, out);

	if (!err)
		err = ply_merge_attrs(e->m, part, e->name, &e->f.stx, out, "");
	if (out >= 0)
		sys_close(out);
	return err;
}

static int copy_special(struct ply_merge_entry *e, struct ply_part *part)
{
	const struct statx *stx = &e->f.stx;
	char target[READLINK_MAX + 1];
	int err;

	if (S_ISLNK(stx->stx_mode)) {
		ssize_t n = sys_readlink(part->fd, e->name, target, READLINK_MAX);

		if (n < 0)
			return (int)n;
		target[n] = '\0';
		err = sys_symlink(target, e->target, e->name);
	} else {
		err = ply_layer_mknod(&e->m->to, e->target, e->name,
				      stx->stx_mode & (S_IFMT | S_IRWXU),
				      makedev(stx->stx_rdev_major, stx->stx_rdev_minor));
		if (err == -EPERM)
			e->m->trouble = "no permission to make a device here";
	}
	return err ? err : ply_merge_attrs(e->m, part, e->name, stx, e->target, e->name);
}

static int make_inode(struct ply_merge_entry *e, struct ply_part *part)
{
	struct ply_links_key key = ply_links_key(&e->f.stx);
	int res;

	/* Layers may share an inode, and yet its names in them have nothing to do with one another. */
	key.tag = e->f.layer;
	res = ply_links_take(e->m->links, &key, e->target, e->name);
	if (res)
		return res < 0 ? res : 0;
	res = S_ISREG(e->f.stx.stx_mode) ? copy_regular(e, part) : copy_special(e, part);
	return res ? res : ply_links_keep(e->m->links, &key, e->target, e->name);
}

/* ---- the layers' own inodes ---- */

/* Marks would go along with an inode, and mean something else, or nothing, where it comes. */
static int has_marks(const struct ply_part *part, const char *name)
{
	char *list = malloc(LIST_MAX);
	ssize_t n = list ? sys_listxattr(part->fd, name, list, LIST_MAX) : -ENOMEM;
	int found = n < 0 && n != -EOPNOTSUPP;

	for (ssize_t at = 0; at < n && !found; at += (ssize_t)strlen(list + at) + 1)
		found = ply_xattr_is_mark(list + at);
	free(list);
	return found;
}

/* The part as the user's path leads to it: no name can be made from within a layer's private copy of its mounts. */
static int open_own(struct ply_merge *m, const struct ply_part *part)
{
	struct ply_merge_own *own = &m->own;
	int root;

	if (own->path && own->layer == part->layer && !strcmp(own->path, part->path))
		return own->fd;
	if (own->path && own->fd >= 0)
		sys_close(own->fd);
	free(own->path);
	*own = (struct ply_merge_own){ .fd = -1, .layer = part->layer };
	root = sys_open(AT_FDCWD, m->stack.layers[part->layer].path, O_PATH | O_DIRECTORY, 0);
	if (root < 0)
		return root;
	own->path = strdup(part->path);
	own->fd = own->path ? ply_open_beneath(root, part->path) : -ENOMEM;
	sys_close(root);
	return own->fd;
}

/* 1 when the name is there, 0 when it has to be made of something new. */
static int link_own(struct ply_merge_entry *e, struct ply_part *part)
{
	struct ply_merge *m = e->m;
	int kept = m->stack.layers[part->layer].override != m->to.override, from, err;

	if (kept || has_marks(part, e->name))
		return 0;
	if (m->flags & PLY_MERGE_DRY)
		return 1;
	from = open_own(m, part);
	err = from < 0 ? from : sys_link(from, e->name, e->target, e->name);
	if (err == -EXDEV || err == -EMLINK || err == -EPERM || err == -EOPNOTSUPP)
		return 0;
	return err ? err : 1;
}

/* The first of the names of an inode. */
static int is_first(struct ply_merge_entry *e)
{
	return e->f.stx.stx_nlink < 2 ? 1 : ply_inodes_add(e->m->counted, e->f.layer, &e->f.stx);
}

int ply_merge_file(struct ply_merge_entry *e)
{
	struct ply_part *part = ply_dirs_part(e->dir->dirs, e->f.layer);
	struct ply_merge *m = e->m;
	int res = 0, first = is_first(e);

	if (first < 0)
		return first;
	m->files++;
	if (m->flags & PLY_MERGE_LINK)
		res = link_own(e, part);
	if (res > 0 && first && S_ISREG(e->f.stx.stx_mode)) {
		m->linked += e->f.stx.stx_size;
		m->room += e->f.stx.stx_blocks * BLOCK;
	}
	if (res)
		return res < 0 ? res : 0;
	if (!(m->flags & PLY_MERGE_DRY))
		return make_inode(e, part);
	return first && S_ISREG(e->f.stx.stx_mode) ? copy_data(e, -1) : 0;
}
