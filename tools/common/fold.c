/*
 * Moving a layer into the one below it, name by name. The two together show the same after each single system call:
 *
 *   what is below a name of the upper layer goes while that name still hides it;
 *   a directory that hides it only by what the lower layer has (a whiteout, a file) is made opaque first;
 *   then one rename moves the name down;
 *   a directory that both have gets the upper's attributes when it is empty there, and the upper's goes after it.
 *
 * So after a crash the two are a stack like any other, and merging them again does what was left. Only the attributes of
 * the upper's directories, whose times change as they become empty, are in the journal meanwhile.
 */
#include "fold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/sys.h"
#include "busy.h"
#include "layer/override.h"
#include "layer/upper.h"
#include "space.h"
#include "ties.h"
#include "walk.h"

#define PLAIN_FILE (S_IFREG | S_IRUSR | S_IWUSR)
#define BLOCK 512

/* A directory that both have. */
struct dir {
	struct ply_dirs *dirs;
	const char *path;
	int fd[PLY_FOLD_LAYERS];
	int is_hidden; /* nothing from below both layers is seen in it */
	int announces;
	struct ply_names both; /* directories in it that both have */
};

/* A name of the upper's. */
struct entry {
	struct dir *dir;
	const char *name;
	char *path;
	struct ply_found top, bottom;
	char aufs[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];
};

static int is_dry(const struct ply_fold *f)
{
	return (f->flags & PLY_FOLD_DRY) != 0;
}

static int failed_at(struct ply_fold *f, const char *path, int err)
{
	if (err && !f->where)
		f->where = strdup(path);
	return err;
}

static void tell(const struct ply_fold *f, const struct entry *e, const char *what)
{
	char *escaped;

	if (!(f->flags & PLY_FOLD_TELL))
		return;
	escaped = ply_escape(e->path);
	ply_progress_pause();
	fprintf(stderr, "%s %s\n", what, escaped);
	ply_progress_resume();
	free(escaped);
}

/* ---- what is hidden ---- */

static int weigh(void *arg, const struct ply_walk_entry *e)
{
	struct ply_fold *f = arg;

	if (S_ISREG(e->stx.stx_mode) && e->stx.stx_nlink == 1)
		f->bytes += e->stx.stx_blocks * BLOCK;
	return 0;
}

static int weigh_tree(struct ply_fold *f, int dirfd, const char *name)
{
	static const struct ply_walk_ops ops = { .file = weigh };
	struct ply_walk_root root = { .mirror = -1 };
	char *where = NULL;
	int err;

	root.fd = sys_open(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (root.fd < 0)
		return root.fd;
	err = ply_walk(&root, &ops, f, &where);
	sys_close(root.fd);
	free(where);
	return err;
}

/* What the lower layer has by that name is taken away, but for a file that is about to be replaced by one. */
static int clear_below(struct ply_fold *f, const struct entry *e, int keeps_file)
{
	int fd = e->dir->fd[PLY_FOLD_BOTTOM], err, is_tree;
	struct statx stx;

	err = sys_statx(fd, e->name, STATX_BASIC_STATS, &stx);
	if (err)
		return err == -ENOENT ? 0 : err;
	is_tree = S_ISDIR(stx.stx_mode);
	f->removed += !ply_is_whiteout(&stx);
	if (is_tree)
		err = weigh_tree(f, fd, e->name);
	else if (S_ISREG(stx.stx_mode) && stx.stx_nlink == 1)
		f->bytes += stx.stx_blocks * BLOCK;
	if (err || is_dry(f) || (keeps_file && !is_tree))
		return err;
	return is_tree ? ply_fold_trash(f, fd, e->name) : sys_unlink(fd, e->name);
}

static int unlink_if(int fd, const char *name)
{
	int err = sys_unlink(fd, name);

	return err == -ENOENT || err == -ENAMETOOLONG ? 0 : err;
}

/* ---- moving ---- */

/* Between two names of one inode a rename does nothing. */
static int move(struct ply_fold *f, const struct entry *e, const char *name)
{
	int from = e->dir->fd[PLY_FOLD_TOP], to = e->dir->fd[PLY_FOLD_BOTTOM];
	struct statx mine, theirs;

	if (is_dry(f))
		return 0;
	if (!sys_statx(from, name, STATX_INO, &mine) && !sys_statx(to, name, STATX_INO, &theirs) &&
	    ply_same_inode(&mine, &theirs))
		return sys_unlink(from, name);
	return ply_layer_rename(from, name, to, name, 0);
}

static int announce(struct ply_fold *f, struct entry *e)
{
	struct dir *d = e->dir;
	const char *space = ply_space_of(d->fd[PLY_FOLD_TOP], e->name, PLY_MARK_WHITEOUT);

	if (d->announces || d->is_hidden || !space || is_dry(f))
		return 0;
	d->announces = 1;
	return ply_space_set(d->fd[PLY_FOLD_BOTTOM], "", space, PLY_MARK_OPAQUE, "x");
}

static int on_whiteout(struct ply_fold *f, struct entry *e)
{
	int top = e->dir->fd[PLY_FOLD_TOP], is_aufs = sys_access(top, e->name) == -ENOENT, err;
	const char *mark = is_aufs ? e->aufs : e->name;

	err = clear_below(f, e, !is_aufs && !e->dir->is_hidden);
	if (err || is_dry(f))
		return err;
	if (e->dir->is_hidden)
		return sys_unlink(top, mark);
	err = announce(f, e);
	if (!err && !is_aufs)
		err = unlink_if(e->dir->fd[PLY_FOLD_BOTTOM], e->aufs);
	return err ? err : move(f, e, mark);
}

/* A .wh. mark beside a file says nothing as long as that is there. */
static int on_file(struct ply_fold *f, struct entry *e)
{
	int err = clear_below(f, e, 1);

	for (int i = 0; i < PLY_FOLD_LAYERS && !err && !is_dry(f); i++)
		err = unlink_if(e->dir->fd[i], e->aufs);
	return err ? err : move(f, e, e->name);
}

/* ---- directories that only the upper has ---- */

static int set_opaque(int fd)
{
	const char *space = ply_space_of(fd, "", PLY_MARK_OPAQUE);
	int err;

	if (!space)
		space = ply_space_probe(fd, NULL);
	if (space)
		return ply_space_set(fd, "", space, PLY_MARK_OPAQUE, "y");
	err = sys_mknod(fd, PLY_AUFS_OPAQUE, PLAIN_FILE, 0);
	return err == -EEXIST ? 0 : err;
}

struct cleaning {
	struct ply_fold *f;
	struct ply_layer *layer;
};

static int is_idle_whiteout(struct cleaning *c, const struct ply_walk_entry *e)
{
	if (ply_is_aufs_name(e->name) && !ply_is_whiteout(&e->stx)) {
		const char *target = ply_aufs_target(e->name);
		int err = target ? sys_access(e->dirfd, target) : 0;

		return err == -ENOENT ? 1 : err;
	}
	return ply_mark_whiteout(c->layer, e->dirfd, e->name, &e->stx);
}

static int drop_idle(void *arg, const struct ply_walk_entry *e)
{
	struct cleaning *c = arg;
	int is_idle = is_idle_whiteout(c, e), err;

	if (is_idle <= 0)
		return is_idle;
	err = ply_fold_remember(c->f, e->dirfd);
	if (!err)
		err = sys_unlink(e->dirfd, e->name);
	if (!err)
		err = ply_fold_recall(c->f, e->dirfd, e->dirfd);
	return err ? err : ply_fold_forget(c->f, e->dirfd);
}

/* Whiteouts below an opaque directory hide nothing, and confuse who lists it. */
static int drop_whiteouts(struct ply_fold *f, int fd)
{
	static const struct ply_walk_ops ops = { .file = drop_idle };
	struct cleaning c = { f, &f->stack.layers[PLY_FOLD_TOP] };
	struct ply_walk_root root = { .mirror = -1 };
	char *where = NULL;
	int err;

	root.fd = sys_open(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (root.fd < 0)
		return root.fd;
	err = ply_walk(&root, &ops, &c, &where);
	sys_close(root.fd);
	free(where);
	return err;
}

/* Does what lies in the lower layer keep the upper's directory from merging with what is below both? */
static int must_hide(const struct entry *e)
{
	if (e->top.cut == PLY_CUT_OPAQUE && e->top.cut_layer == PLY_FOLD_TOP)
		return 1;
	return e->bottom.kind == PLY_FOUND_WHITEOUT || e->bottom.kind == PLY_FOUND_FILE;
}

static int make_whole(struct ply_fold *f, const struct entry *e)
{
	int fd = ply_layer_open_dir(e->dir->fd[PLY_FOLD_TOP], e->name), err = fd < 0 ? fd : 0;

	if (!err && must_hide(e) && !e->dir->is_hidden)
		err = set_opaque(fd);
	if (!err && (must_hide(e) || e->dir->is_hidden))
		err = drop_whiteouts(f, fd);
	if (fd >= 0)
		sys_close(fd);
	return err;
}

static int on_own_dir(struct ply_fold *f, struct entry *e)
{
	int err = is_dry(f) ? 0 : make_whole(f, e);

	if (!err)
		err = clear_below(f, e, 0);
	for (int i = 0; i < PLY_FOLD_LAYERS && !err && !is_dry(f); i++)
		err = unlink_if(e->dir->fd[i], e->aufs);
	return err ? err : move(f, e, e->name);
}

/* ---- names ---- */

static int on_known(struct ply_fold *f, struct entry *e)
{
	int is_dir = e->top.kind == PLY_FOUND_DIR;

	if (e->top.layer != PLY_FOLD_TOP || e->top.kind == PLY_FOUND_NOTHING)
		return 0;
	if (is_dir && ply_dirs_part(e->top.dirs, PLY_FOLD_BOTTOM))
		return ply_names_add(&e->dir->both, e->name);
	tell(f, e, "move");
	f->moved++;
	if (is_dir)
		return on_own_dir(f, e);
	return e->top.kind == PLY_FOUND_FILE ? on_file(f, e) : on_whiteout(f, e);
}

static int one_name(struct ply_fold *f, struct dir *d, const char *name)
{
	struct entry e = { .dir = d, .name = name };
	int err;

	snprintf(e.aufs, sizeof(e.aufs), PLY_AUFS_PREFIX "%s", name);
	e.path = ply_join(d->path, name);
	err = e.path ? ply_stack_child(&f->stack, d->dirs, name, PLY_FOLD_TOP, &e.top) : -ENOMEM;
	if (!err) {
		err = ply_stack_child(&f->stack, d->dirs, name, PLY_FOLD_BOTTOM, &e.bottom);
		if (!err)
			err = on_known(f, &e);
		ply_found_free(&e.bottom);
		ply_found_free(&e.top);
	}
	f->progress.entries++;
	failed_at(f, e.path ? e.path : name, err);
	free(e.path);
	return err;
}

/* ---- directories that both have ---- */

static void close_dir(struct dir *d)
{
	for (int i = 0; i < PLY_FOLD_LAYERS; i++) {
		if (d->fd[i] >= 0)
			sys_close(d->fd[i]);
		d->fd[i] = -1;
	}
	ply_dirs_close(d->dirs);
}

static int open_dir(struct ply_fold *f, struct dir *d)
{
	int err = 0;

	for (int i = 0; i < PLY_FOLD_LAYERS && !err; i++) {
		d->fd[i] = ply_open_beneath(f->fd[i], d->path);
		err = d->fd[i] < 0 ? d->fd[i] : 0;
	}
	return err;
}

/* The lower one may forbid a plain user to change what is in it; it will have the upper's mode. */
static int start_dir(struct ply_fold *f, struct dir *d)
{
	mode_t ignored;

	if (is_dry(f))
		return 0;
	ply_layer_unlock_dir(d->fd[PLY_FOLD_BOTTOM], &ignored);
	return ply_fold_remember(f, d->fd[PLY_FOLD_TOP]);
}

static int move_names(struct ply_fold *f, struct dir *d)
{
	struct ply_names names;
	int err = start_dir(f, d);

	if (err)
		return err;
	err = ply_stack_names(&f->stack, d->dirs, PLY_FOLD_TOP, PLY_FOLD_TOP + 1, &names);
	for (size_t i = 0; !err && i < names.n; i++)
		err = one_name(f, d, names.name[i]);
	ply_names_free(&names);
	return err;
}

/* All is below. The attributes are the upper's before that goes. */
static int end_dir(struct ply_fold *f, struct dir *d, struct dir *above)
{
	const char *name = strrchr(d->path, '/') ? strrchr(d->path, '/') + 1 : d->path;
	int top = d->fd[PLY_FOLD_TOP], err;

	err = ply_fold_recall(f, top, d->fd[PLY_FOLD_BOTTOM]);
	if (!err)
		err = open_dir(f, above);
	if (!err)
		err = ply_fold_trash(f, above->fd[PLY_FOLD_TOP], name);
	return err ? err : ply_fold_forget(f, top);
}

static int fold_dir(struct ply_fold *f, struct dir *d);

static int fold_both(struct ply_fold *f, struct dir *above, const char *name)
{
	struct ply_found found;
	struct dir d = { .fd = { -1, -1 }, .is_hidden = above->is_hidden };
	char *path = ply_join(above->path, name);
	int err = path ? ply_stack_child(&f->stack, above->dirs, name, PLY_FOLD_TOP, &found)
		       : -ENOMEM;

	close_dir(above);
	if (!err) {
		d.path = path;
		d.dirs = found.dirs;
		d.is_hidden |= found.cut == PLY_CUT_OPAQUE;
		f->merged++;
		err = fold_dir(f, &d);
		if (!err && !is_dry(f))
			err = open_dir(f, &d);
		if (!err && !is_dry(f))
			err = end_dir(f, &d, above);
		failed_at(f, path, err);
		close_dir(&d);
		close_dir(above);
		ply_found_free(&found);
	}
	free(path);
	return err;
}

static int fold_dir(struct ply_fold *f, struct dir *d)
{
	int err = open_dir(f, d);

	if (!err)
		err = move_names(f, d);
	failed_at(f, d->path, err);
	close_dir(d);
	for (size_t i = 0; !err && i < d->both.n; i++)
		err = fold_both(f, d, d->both.name[i]);
	ply_names_free(&d->both);
	return err;
}

/* ---- the whole ---- */

/*
 * The upper's root stays, as it was but empty; so all of this can be done again. The lower's takes its attributes last, when
 * nothing more is done in it.
 */
static int end_root(struct ply_fold *f)
{
	int top = f->fd[PLY_FOLD_TOP], bottom = f->fd[PLY_FOLD_BOTTOM];
	int err = ply_fold_recall(f, top, top);

	if (!err)
		err = sys_syncfs(bottom);
	if (!err)
		err = ply_fold_journal_remove(f);
	if (!err)
		err = ply_fold_take(f, top, bottom);
	return err ? err : sys_syncfs(bottom);
}

static int untie(struct ply_fold *f)
{
	struct ply_layer layer = f->stack.layers[PLY_FOLD_TOP];
	struct ply_untied untied;

	layer.root = f->fd[PLY_FOLD_TOP];
	return ply_untie(&layer, &untied, &f->where);
}

int ply_fold(struct ply_fold *f)
{
	struct dir root = { .path = "", .fd = { -1, -1 }, .dirs = ply_stack_root(&f->stack) };
	int err = root.dirs ? 0 : -ENOMEM;

	if (!err && !is_dry(f))
		err = ply_fold_journal_open(f);
	if (!err && !is_dry(f))
		err = ply_fold_bring_up(f);
	if (!err && !is_dry(f))
		err = untie(f);
	if (!err)
		err = fold_dir(f, &root);
	ply_dirs_free(root.dirs);
	return err || is_dry(f) ? err : end_root(f);
}

/* ---- opening ---- */

static int open_one(struct ply_fold *f, int which, const char *path, struct statx *stx)
{
	int err;

	f->fd[which] = sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	err = f->fd[which] < 0 ? f->fd[which] : ply_lock_upper(f->fd[which]);
	if (!err)
		err = sys_statx(f->fd[which], "", STATX_BASIC_STATS | STATX_MNT_ID, stx);
	if (err == -EBUSY)
		f->trouble = "it is in use as an upper: unmount it first";
	return failed_at(f, path, err);
}

static int check_pair(struct ply_fold *f, const struct statx *top, const struct statx *bottom)
{
	const struct ply_layer *layers = f->stack.layers;
	int err = -EINVAL;

	if (ply_layer_is_below(f->fd[PLY_FOLD_TOP], bottom) > 0 ||
	    ply_layer_is_below(f->fd[PLY_FOLD_BOTTOM], top) > 0) {
		f->trouble = "it and the layer below lie in one another";
	} else if (top->stx_dev_major != bottom->stx_dev_major ||
		   top->stx_dev_minor != bottom->stx_dev_minor ||
		   top->stx_mnt_id != bottom->stx_mnt_id) {
		f->trouble =
			"it and the layer below are on two file systems, or mounts: merge into a new layer";
	} else if (layers[PLY_FOLD_TOP].override != layers[PLY_FOLD_BOTTOM].override ||
		   layers[PLY_FOLD_TOP].override == PLY_OVERRIDE_FUSE) {
		f->trouble = "owners are in attributes of another kind: merge into a new layer";
	} else {
		err = 0;
	}
	return err;
}

int ply_fold_open(struct ply_fold *f, const char *top, const char *bottom)
{
	const struct ply_stack_paths paths = { .lowers = (char *[]){ (char *)top, (char *)bottom },
					       .nlowers = 2 };
	struct statx stx[PLY_FOLD_LAYERS];
	int err;

	*f = (struct ply_fold){ .flags = f->flags, .fd = { -1, -1 }, .journal = -1 };
	err = open_one(f, PLY_FOLD_TOP, top, &stx[PLY_FOLD_TOP]);
	if (!err)
		err = open_one(f, PLY_FOLD_BOTTOM, bottom, &stx[PLY_FOLD_BOTTOM]);
	if (!err)
		err = ply_stack_open(&f->stack, &paths);
	if (!err)
		err = failed_at(f, top, check_pair(f, &stx[PLY_FOLD_TOP], &stx[PLY_FOLD_BOTTOM]));
	return err;
}

void ply_fold_close(struct ply_fold *f)
{
	ply_stack_close(&f->stack);
	for (int i = 0; i < PLY_FOLD_LAYERS; i++)
		if (f->fd[i] >= 0)
			sys_close(f->fd[i]);
	if (f->journal >= 0)
		sys_close(f->journal);
	free(f->where);
}
