/*
 * A directory in the lower layer's root. For each directory whose attributes are about to change there is an empty one that has
 * them all, named by the inode's number and birth; it is complete when it has that name. What is being removed is there,
 * too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "fold.h"
#include "layer/copy.h"
#include "layer/xattr.h"
#include "walk.h"

#define LIST_MAX 65536
#define NEW "new"
#define TRASH "trash"
#define GONE PLY_FOLD_JOURNAL ".gone"

struct kept {
	char name[64];
};

static int name_of(int fd, struct kept *kept, struct statx *stx)
{
	int err = sys_statx(fd, "", STATX_BASIC_STATS | STATX_BTIME, stx);

	if (!err)
		snprintf(kept->name, sizeof(kept->name), "%llu-%lld.%u",
			 (unsigned long long)stx->stx_ino, (long long)stx->stx_btime.tv_sec,
			 stx->stx_btime.tv_nsec);
	return err;
}

/* What an earlier run began to make, or to remove. */
static int clean(struct ply_fold *f)
{
	static const char *const names[] = { NEW, TRASH };
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(names) / sizeof(names[0]); i++) {
		err = ply_remove_tree(f->journal, names[i]);
		err = err == -ENOENT ? 0 : err;
	}
	return err;
}

/* The root's mode may forbid a plain user to; the upper's is shown, and comes to it in the end. */
int ply_fold_journal_open(struct ply_fold *f)
{
	int bottom = f->fd[PLY_FOLD_BOTTOM], err;
	mode_t ignored;

	ply_layer_unlock_dir(bottom, &ignored);
	err = ply_remove_tree(bottom, GONE);
	if (err && err != -ENOENT)
		return err;
	err = sys_mkdir(bottom, PLY_FOLD_JOURNAL, S_IRWXU);
	if (err && err != -EEXIST)
		return err;
	f->is_resumed = err != 0;
	f->journal = sys_open(bottom, PLY_FOLD_JOURNAL, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (f->journal < 0)
		return f->journal;
	err = ply_layer_disinherit(f->journal);
	return err ? err : clean(f);
}

static int copy_attrs(struct ply_fold *f, int fd, const struct statx *stx, int to, const char *name)
{
	struct ply_attr_source from = { .layer = &f->stack.layers[PLY_FOLD_TOP],
					.fd = fd,
					.name = "" };

	return ply_copy_attrs(&from, stx, to, name);
}

static int keep(struct ply_fold *f, int fd, const struct statx *stx, const char *name)
{
	int err = sys_mkdir(f->journal, NEW, S_IRWXU);

	if (!err)
		err = copy_attrs(f, fd, stx, f->journal, NEW);
	return err ? err : ply_layer_rename(f->journal, NEW, f->journal, name, 0);
}

int ply_fold_remember(struct ply_fold *f, int fd)
{
	struct kept kept;
	struct statx stx;
	mode_t ignored;
	int err = name_of(fd, &kept, &stx);

	if (!err && sys_access(f->journal, kept.name))
		err = keep(f, fd, &stx, kept.name);
	if (!err)
		ply_layer_unlock_dir(fd, &ignored);
	return err;
}

/* Attributes, marks left out, of an inode that the other has not. */
static int drop_others(int fd, int to)
{
	char *list = malloc(LIST_MAX);
	ssize_t n = list ? sys_listxattr(to, "", list, LIST_MAX) : -ENOMEM;
	int err = n < 0 && n != -EOPNOTSUPP ? (int)n : 0;

	for (ssize_t at = 0; at < n && !err; at += (ssize_t)strlen(list + at) + 1)
		if (!ply_xattr_is_mark(list + at) &&
		    sys_getxattr(fd, "", list + at, NULL, 0) == -ENODATA)
			err = sys_removexattr(to, "", list + at);
	free(list);
	return err;
}

int ply_fold_take(struct ply_fold *f, int from, int to)
{
	struct statx stx;
	int err = sys_statx(from, "", STATX_BASIC_STATS, &stx);

	if (!err)
		err = drop_others(from, to);
	return err ? err : copy_attrs(f, from, &stx, to, "");
}

int ply_fold_recall(struct ply_fold *f, int fd, int to)
{
	struct kept kept;
	struct statx stx;
	int err = name_of(fd, &kept, &stx), from;

	if (err)
		return err;
	from = sys_open(f->journal, kept.name, O_PATH | O_NOFOLLOW, 0);
	if (from < 0)
		return from;
	err = ply_fold_take(f, from, to);
	sys_close(from);
	return err;
}

int ply_fold_forget(struct ply_fold *f, int fd)
{
	struct kept kept;
	struct statx stx;
	int err = name_of(fd, &kept, &stx);

	return err ? err : sys_rmdir(f->journal, kept.name);
}

int ply_fold_restore(struct ply_fold *f, const char *path)
{
	int fd = ply_open_beneath(f->fd[PLY_FOLD_TOP], path), err;
	struct kept kept;
	struct statx stx;

	if (fd < 0)
		return fd;
	err = name_of(fd, &kept, &stx);
	if (!err && !sys_access(f->journal, kept.name)) {
		err = ply_fold_recall(f, fd, fd);
		if (!err)
			err = sys_rmdir(f->journal, kept.name);
	}
	sys_close(fd);
	return err;
}

/* ---- whole files ---- */

/* Under the number of the old inode, of which nothing else is kept. */
int ply_fold_start_whole(struct ply_fold *f, int fd)
{
	struct kept kept;
	struct statx stx;
	int err = name_of(fd, &kept, &stx);

	if (!err && !sys_access(f->journal, kept.name))
		err = -EEXIST;
	return err ? err
		   : sys_open(f->journal, NEW, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
			      S_IRUSR | S_IWUSR);
}

int ply_fold_end_whole(struct ply_fold *f, int fd)
{
	struct kept kept;
	struct statx stx;
	int err = name_of(fd, &kept, &stx);

	return err ? err : sys_rename(f->journal, NEW, f->journal, kept.name, 0);
}

int ply_fold_put_whole(struct ply_fold *f, int fd, int dirfd, const char *name)
{
	struct kept kept;
	struct statx stx;
	int err = name_of(fd, &kept, &stx);

	if (!err)
		err = sys_link(f->journal, kept.name, f->journal, NEW);
	return err ? err : sys_rename(f->journal, NEW, dirfd, name, 0);
}

/* ---- what goes ---- */

int ply_fold_trash(struct ply_fold *f, int dirfd, const char *name)
{
	int err = ply_layer_rename(dirfd, name, f->journal, TRASH, 0);

	return err ? err : ply_remove_tree(f->journal, TRASH);
}

/* All of it counts, or nothing does. */
int ply_fold_journal_remove(struct ply_fold *f)
{
	int bottom = f->fd[PLY_FOLD_BOTTOM],
	    err = sys_rename(bottom, PLY_FOLD_JOURNAL, bottom, GONE, 0);

	sys_close(f->journal);
	f->journal = -1;
	return err ? err : ply_remove_tree(bottom, GONE);
}
