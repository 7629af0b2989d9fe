/*
 * What a layer says of the one below it. Data of its files that is there comes up; a directory that was renamed
 * in it, with content there, cannot be said in one layer. What either has in layers below both stays found as it is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "fold.h"
#include "layer/copy.h"
#include "layer/marks.h"
#include "space.h"

struct look {
	struct ply_fold *f;
	int brings_up;
};

/* A name of the upper layer. */
struct entry {
	struct look *l;
	struct ply_dirs *dirs; /* that it is in */
	int dirfd;
	const char *name;
	char *path;
	struct ply_found found;
};

static int failed_at(struct ply_fold *f, const char *path, int err)
{
	if (err && !f->where)
		f->where = strdup(path);
	return err;
}

/* ---- data ---- */

/* The file as it will be, without marks, and on the disk. */
static int make_whole(struct entry *e, const struct ply_data *data, int out)
{
	struct ply_fold *f = e->l->f;
	struct ply_layer *top = &f->stack.layers[PLY_FOLD_TOP];
	struct ply_attr_source from = { .layer = top, .fd = e->dirfd, .name = e->name };
	off_t size = (off_t)data->stx.stx_size;
	int in = ply_stack_open_data(&f->stack, data), err = in < 0 ? in : 0;
	struct statx stx;

	if (!err && size)
		err = ply_copy_data(&(struct ply_data_copy){
			.to = top,
			.in = in,
			.out = out,
			.size = size,
			.done = &f->progress.data,
		});
	if (!err)
		err = sys_statx(e->dirfd, e->name, STATX_BASIC_STATS, &stx);
	if (!err)
		err = ply_copy_attrs(&from, &stx, out, "");
	if (in >= 0)
		sys_close(in);
	return err ? err : sys_fsync(out);
}

/* One after the other each name of the file becomes one of the new inode. */
static int bring_up_in(struct entry *e, const struct ply_data *data, int dir)
{
	struct ply_fold *f = e->l->f;
	int fd = sys_open(dir, e->name, O_PATH | O_NOFOLLOW, 0), out, err;

	if (fd < 0)
		return fd;
	out = ply_fold_start_whole(f, fd);
	if (out >= 0) {
		err = make_whole(e, data, out);
		sys_close(out);
		if (!err)
			err = ply_fold_end_whole(f, fd);
	} else {
		err = out == -EEXIST ? 0 : out;
	}
	if (!err)
		err = ply_fold_remember(f, dir);
	if (!err)
		err = ply_fold_put_whole(f, fd, dir, e->name);
	if (!err)
		err = ply_fold_recall(f, dir, dir);
	sys_close(fd);
	return err ? err : ply_fold_forget(f, dir);
}

static int bring_up(struct entry *e, const struct ply_data *data)
{
	struct ply_part *part = ply_dirs_part(e->dirs, PLY_FOLD_TOP);
	int dir = ply_open_beneath(e->l->f->fd[PLY_FOLD_TOP], part->path);
	int err = dir < 0 ? dir : bring_up_in(e, data, dir);

	if (dir >= 0)
		sys_close(dir);
	return err;
}

/* Would the file find its data below both layers without the help of the lower one's redirect? */
static int stays_found(struct entry *e, const struct ply_data *data)
{
	char *own;
	int same;

	if (data->path || !data->below || !ply_dirs_part(e->dirs, PLY_FOLD_BOTTOM))
		return 1;
	own = e->dirs->below ? ply_join(e->dirs->below, e->name) : NULL;
	same = (own && !strcmp(own, data->below)) ||
	       ply_space_of(e->dirfd, e->name, PLY_MARK_REDIRECT);
	free(own);
	if (!same)
		e->l->f->trouble = "its data is below both layers, where only the lower one says "
				   "(metacopy): merge into a new layer";
	return same;
}

static int on_file(struct entry *e)
{
	struct ply_fold *f = e->l->f;
	struct ply_data data;
	int says = 0, err;

	if (S_ISREG(e->found.stx.stx_mode))
		says = ply_mark_is_set(&f->stack.layers[PLY_FOLD_TOP], e->dirfd, e->name,
				       PLY_MARK_METACOPY);
	if (says <= 0)
		return says;
	err = ply_stack_data(&f->stack, e->dirs, e->name, &e->found, &data);
	if (err)
		return err;
	if (!stays_found(e, &data))
		err = -EOPNOTSUPP;
	else if (e->l->brings_up && data.path && data.layer == PLY_FOLD_BOTTOM)
		err = bring_up(e, &data);
	ply_data_free(&data);
	return err;
}

/* ---- directories ---- */

static int refuse_redirect(struct entry *e)
{
	struct ply_layer *top = &e->l->f->stack.layers[PLY_FOLD_TOP];
	char redirect[PLY_REDIRECT_MAX + 1];
	int below = ply_mark_below(top, e->dirfd, e->name, redirect);

	if (below != PLY_BELOW_ELSEWHERE)
		return below < 0 ? below : 0;
	if (!ply_dirs_part(e->found.dirs, PLY_FOLD_BOTTOM) && e->found.dirs->below)
		return 0;
	e->l->f->trouble = "the directory was renamed and its content is in the layer below "
			   "(redirect): merge into a new layer";
	return -EOPNOTSUPP;
}

static int look_dir(struct look *l, struct ply_dirs *dirs, const char *path);

static int on_name(struct look *l, struct ply_dirs *dirs, int dirfd, const char *path,
		   const char *name, struct ply_names *below)
{
	struct entry e = { .l = l, .dirs = dirs, .dirfd = dirfd, .name = name };
	int err;

	l->f->progress.entries++;
	e.path = ply_join(path, name);
	err = e.path ? ply_stack_child(&l->f->stack, dirs, name, 0, &e.found) : -ENOMEM;
	if (!err && e.found.layer == PLY_FOLD_TOP && e.found.kind == PLY_FOUND_FILE)
		err = on_file(&e);
	if (!err && e.found.layer == PLY_FOLD_TOP && e.found.kind == PLY_FOUND_DIR) {
		err = refuse_redirect(&e);
		if (!err)
			err = ply_names_add(below, name);
	}
	failed_at(l->f, e.path ? e.path : name, err);
	ply_found_free(&e.found);
	free(e.path);
	return err;
}

static int go_below(struct look *l, struct ply_dirs *dirs, const char *path, const char *name)
{
	char *child = ply_join(path, name);
	struct ply_found f;
	int err = child ? ply_stack_child(&l->f->stack, dirs, name, 0, &f) : -ENOMEM;

	ply_dirs_close(dirs);
	if (!err) {
		err = look_dir(l, f.dirs, child);
		ply_found_free(&f);
	}
	free(child);
	return err;
}

static int look_dir(struct look *l, struct ply_dirs *dirs, const char *path)
{
	struct ply_part *part = ply_dirs_part(dirs, PLY_FOLD_TOP);
	struct ply_names names = { 0 }, below = { 0 };
	int err = l->brings_up && l->f->is_resumed ? ply_fold_restore(l->f, path) : 0;

	if (!err)
		err = ply_stack_names(&l->f->stack, dirs, PLY_FOLD_TOP, PLY_FOLD_TOP + 1, &names);

	for (size_t i = 0; !err && i < names.n; i++)
		err = on_name(l, dirs, part->fd, path, names.name[i], &below);
	ply_names_free(&names);
	ply_dirs_close(dirs);
	for (size_t i = 0; !err && i < below.n; i++)
		err = go_below(l, dirs, path, below.name[i]);
	ply_names_free(&below);
	return failed_at(l->f, path, err);
}

static int look_all(struct ply_fold *f, int brings_up)
{
	struct look l = { .f = f, .brings_up = brings_up };
	struct ply_dirs *root = ply_stack_root(&f->stack);
	int err = root ? look_dir(&l, root, "") : -ENOMEM;

	ply_dirs_free(root);
	return err;
}

int ply_fold_look(struct ply_fold *f)
{
	return look_all(f, 0);
}

int ply_fold_bring_up(struct ply_fold *f)
{
	return look_all(f, 1);
}
