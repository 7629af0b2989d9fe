/* The work directory, the index and the counts beside it, and how the directories of a stack lie to one another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "check.h"
#include "space.h"
#include "staging.h"
#include "walk.h"

/* What is checked below the work directory, each name by itself. */
typedef int (*each_fn)(struct ply_check *c, int dirfd, const char *name);

static int for_each(struct ply_check *c, int dirfd, each_fn fn)
{
	struct ply_names names;
	int err = ply_raw_names(dirfd, &names);

	for (size_t i = 0; !err && i < names.n; i++)
		err = fn(c, dirfd, names.name[i]);
	ply_names_free(&names);
	return err;
}

static void found(struct ply_check *c, enum ply_finding what, const char *dir, const char *name,
		  enum ply_repair repair)
{
	char *path = ply_join(dir, name);

	ply_found_fault(c, what, -1, path ? path : name, NULL, repair);
	free(path);
}

/* ---- work ---- */

static int is_number(const char *name)
{
	return !name[strspn(name, "0123456789")];
}

static int found_work(struct ply_check *c, enum ply_finding what, int dirfd, const char *name)
{
	enum ply_repair repair = PLY_LEFT;

	if (ply_may_repair(c, what, 0))
		repair = ply_repair_done(c, name, ply_remove_tree(dirfd, name));
	found(c, what, PLY_WORK_DIR, name, repair);
	return 0;
}

static int on_work_entry(struct ply_check *c, int dirfd, const char *name)
{
	struct statx work, entry;
	int err = sys_statx(dirfd, "", STATX_MODE, &work);

	if (err)
		return err;
	if (!strcmp(name, PLY_WORK_INCOMPAT)) {
		return found_work(c, PLY_FOUND_WORK_VOLATILE, dirfd, name);
	}
	if (*name != '#' && !(is_number(name) && !(work.stx_mode & (S_IRWXG | S_IRWXO)))) {
		found(c, PLY_FOUND_WORK_FOREIGN, PLY_WORK_DIR, name, PLY_LEFT);
		return 0;
	}
	/* The whiteout that others are links of stays after the kernel's unmount. */
	if (!sys_statx(dirfd, name, STATX_BASIC_STATS, &entry) && ply_is_whiteout(&entry))
		return 0;
	return found_work(c, PLY_FOUND_WORK_LEFTOVER, dirfd, name);
}

/* ---- the index ---- */

/* The handle that the name of an entry spells. */
static int spelled(const char *name, struct ply_fh *fh)
{
	memset(fh, 0, sizeof(*fh));
	return ply_is_handle(fh, (ssize_t)ply_from_hex(name, (uint8_t *)fh, sizeof(*fh)));
}

/*
 * Is the entry's name the inode's last? Names that only the lower layer has lead to it as well: the mark says how many
 * there are, "U" and the difference to its own count. Of the other form, "L", we cannot be sure.
 */
static int is_orphan(int dirfd, const char *name, const struct statx *stx)
{
	char base;
	long diff;

	if (stx->stx_nlink > 1)
		return 0;
	if (!ply_space_of(dirfd, name, PLY_MARK_NLINK))
		return 1;
	return ply_space_nlink(dirfd, name, &base, &diff) && base == 'U' &&
	       (long)stx->stx_nlink + diff <= 0;
}

/* An entry that is the last name of a file goes only if nothing leads to it. */
static int found_entry(struct ply_check *c, enum ply_finding what, int dirfd, const char *name,
		       int is_needed)
{
	enum ply_repair repair = PLY_LEFT;

	if (!is_needed && ply_may_repair(c, what, 0))
		repair = ply_repair_done(c, name, sys_unlink(dirfd, name));
	found(c, what, PLY_INDEX_DIR, name, repair);
	return 0;
}

static int index_entry_marks(struct ply_check *c, int dirfd, const char *name,
			     const struct ply_fh *fh)
{
	struct ply_layer *upper = &c->stack.layers[0];
	struct ply_fh origin = { 0 };
	struct statx stx;
	struct ply_inode_marks marks;
	int len, err = sys_statx(dirfd, name, STATX_BASIC_STATS, &stx);

	if (err || S_ISDIR(stx.stx_mode) || ply_is_whiteout(&stx))
		return err; /* the kernel's, for NFS */
	if (is_orphan(dirfd, name, &stx))
		return found_entry(c, PLY_FOUND_ORPHAN_INDEX, dirfd, name, 0);
	if (!ply_check_handle(c, fh))
		return found_entry(c, PLY_FOUND_STALE_INDEX, dirfd, name, stx.stx_nlink < 2);
	len = ply_mark_origin(upper, dirfd, name, &origin);
	if (len <= 0 || len != fh->len || memcmp(&origin, fh, (size_t)len) != 0)
		return found_entry(c, PLY_FOUND_INDEX_MISMATCH, dirfd, name, stx.stx_nlink < 2);
	c->is_index = 1;
	err = ply_check_marks(c, 0, dirfd, name, name, &stx, &marks);
	c->is_index = 0;
	return err;
}

static int on_index_entry(struct ply_check *c, int dirfd, const char *name)
{
	struct ply_fh fh;
	struct statx stx;

	if (*name == '#') /* the kernel's, in the making */
		return 0;
	if (!spelled(name, &fh)) {
		int err = sys_statx(dirfd, name, STATX_TYPE | STATX_NLINK, &stx);

		return err ? err
			   : found_entry(c, PLY_FOUND_BAD_INDEX_NAME, dirfd, name,
					 S_ISDIR(stx.stx_mode) || stx.stx_nlink < 2);
	}
	return index_entry_marks(c, dirfd, name, &fh);
}

/* ---- counts of removed names ---- */

static int on_count(struct ply_check *c, int dirfd, const char *name)
{
	enum ply_repair repair = PLY_LEFT;
	struct ply_fh fh;
	char value[16];
	ssize_t n = sys_readlink(dirfd, name, value, sizeof(value));

	if (spelled(name, &fh) && n > 0 && n < (ssize_t)sizeof(value)) {
		value[n] = '\0';
		if (*value != '0' && is_number(value))
			return 0;
	}
	if (ply_may_repair(c, PLY_FOUND_BAD_NLINK, 0))
		repair = ply_repair_done(c, name, ply_remove_tree(dirfd, name));
	found(c, PLY_FOUND_BAD_NLINK, PLY_COUNTS_DIR, name, repair);
	return 0;
}

/* ---- the whole ---- */

static int check_below(struct ply_check *c, int work, const char *name, each_fn fn)
{
	int fd = sys_open(work, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0), err;

	if (fd == -ENOENT)
		return 0;
	if (fd == -ENOTDIR || fd == -ELOOP) {
		found(c, PLY_FOUND_WORK_TYPE, "", name, PLY_LEFT);
		return 0;
	}
	err = fd < 0 ? fd : for_each(c, fd, fn);
	if (fd >= 0)
		sys_close(fd);
	return err;
}

/* The file says that marks are left: so there should be some. */
static void check_unsettled(struct ply_check *c, int work)
{
	enum ply_repair repair = PLY_LEFT;

	if (sys_access(work, PLY_UNSETTLED))
		return;
	if (!c->has_marks && ply_may_repair(c, PLY_FOUND_UNSETTLED, 0) && !ply_complaints())
		repair = ply_repair_done(c, PLY_UNSETTLED, sys_unlink(work, PLY_UNSETTLED));
	ply_found_fault(c, PLY_FOUND_UNSETTLED, -1, PLY_UNSETTLED,
			c->has_marks ? "the next mount brings data up and takes the marks off"
				     : "no marks are left",
			repair);
}

int ply_check_work(struct ply_check *c)
{
	int work = sys_open(AT_FDCWD, c->args.paths.work, O_RDONLY | O_DIRECTORY, 0), err;

	if (work < 0) {
		ply_complain("cannot open the work directory", c->args.paths.work, work);
		return 0;
	}
	err = c->is_busy ? 0 : check_below(c, work, PLY_WORK_DIR, on_work_entry);
	if (!err)
		err = check_below(c, work, PLY_INDEX_DIR, on_index_entry);
	if (!err)
		err = check_below(c, work, PLY_COUNTS_DIR, on_count);
	if (!err && !c->is_busy)
		check_unsettled(c, work);
	sys_close(work);
	return err;
}

/* ---- the layout ---- */

struct where {
	int layer; /* -1: the work directory */
	int fd;
	struct statx stx;
	const char *path;
};

static void check_pair(struct ply_check *c, const struct where *a, const struct where *b)
{
	if (ply_same_inode(&a->stx, &b->stx))
		ply_found_fault(c,
				a->layer < 0 || b->layer < 0 ? PLY_FOUND_LAYERS_OVERLAP
							     : PLY_FOUND_LAYER_TWICE,
				b->layer, b->path, a->path, PLY_LEFT);
	else if (ply_layer_is_below(b->fd, &a->stx) > 0)
		ply_found_fault(c, PLY_FOUND_LAYERS_OVERLAP, b->layer, b->path, a->path, PLY_LEFT);
	else if (ply_layer_is_below(a->fd, &b->stx) > 0)
		ply_found_fault(c, PLY_FOUND_LAYERS_OVERLAP, a->layer, a->path, b->path, PLY_LEFT);
	if (a->layer == 0 && b->layer < 0 && c->stack.has_upper &&
	    (a->stx.stx_dev_major != b->stx.stx_dev_major ||
	     a->stx.stx_dev_minor != b->stx.stx_dev_minor ||
	     a->stx.stx_mnt_id != b->stx.stx_mnt_id))
		ply_found_fault(c, PLY_FOUND_WORK_OTHER_FS, -1, b->path, NULL, PLY_LEFT);
}

static int locate(struct where *w, int layer, const char *path)
{
	*w = (struct where){ .layer = layer, .path = path };
	w->fd = sys_open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	if (w->fd < 0)
		return w->fd;
	return sys_statx(w->fd, "", STATX_BASIC_STATS | STATX_MNT_ID, &w->stx);
}

int ply_check_layout(struct ply_check *c)
{
	unsigned n = c->stack.n + (c->args.paths.work != NULL), known = 0;
	struct where *all = calloc(n, sizeof(*all));
	int err = all ? 0 : -ENOMEM;

	for (; !err && known < n; known++)
		err = known < c->stack.n
			      ? locate(&all[known], (int)known, c->stack.layers[known].path)
			      : locate(&all[known], -1, c->args.paths.work);
	for (unsigned i = 0; !err && i < n; i++)
		for (unsigned j = i + 1; j < n; j++)
			check_pair(c, &all[i], &all[j]);
	for (unsigned i = 0; i < known; i++)
		if (all[i].fd >= 0)
			sys_close(all[i].fd);
	free(all);
	return err;
}
