/*
 * Removing. Each name goes by one call, after which the stack shows the same from below. The names of one inode go
 * together; while an inode of the index does, those that are gone already lead to it by the index, and its mark counts
 * links from the lower inode's, whose number does not change.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "cli.h"
#include "interrupt.h"
#include "space.h"
#include "vacuum.h"

/* A directory of the upper that something is removed from. */
struct place {
	int fd;
	struct timespec times[2];
	mode_t old; /* of a plain user's, whose mode forbids it */
	int is_unlocked;
};

static int open_place(struct ply_vacuum *v, const struct ply_spare *dir, struct place *p)
{
	char *path = ply_spare_path(dir);
	struct statx stx;
	int err;

	*p = (struct place){ .fd = path ? ply_open_beneath(v->upper, path) : -ENOMEM };
	free(path);
	if (p->fd < 0)
		return p->fd;
	err = sys_statx(p->fd, "", STATX_BASIC_STATS, &stx);
	if (err) {
		sys_close(p->fd);
		return err;
	}
	p->times[0].tv_nsec = UTIME_OMIT;
	p->times[1] = (struct timespec){ .tv_sec = stx.stx_mtime.tv_sec,
					 .tv_nsec = stx.stx_mtime.tv_nsec };
	return 0;
}

static int close_place(struct place *p)
{
	int err = sys_utimens(p->fd, "", p->times);

	if (p->is_unlocked)
		ply_layer_lock_dir(p->fd, p->old);
	sys_close(p->fd);
	return err;
}

static int remove_name(const struct place *p, const struct ply_spare *spare)
{
	return spare->kind == PLY_SPARE_DIR ? sys_rmdir(p->fd, spare->name)
					    : sys_unlink(p->fd, spare->name);
}

static int remove_in(struct ply_vacuum *v, struct place *p, struct ply_spare *spare)
{
	int err = remove_name(p, spare);

	if (err == -EACCES && !p->is_unlocked && !ply_layer_unlock_dir(p->fd, &p->old)) {
		p->is_unlocked = 1;
		err = remove_name(p, spare);
	}
	v->progress.entries++;
	if (!err)
		spare->flags |= PLY_SPARE_IS_GONE;
	return err;
}

static int failed(const struct ply_spare *spare, int err)
{
	char *path;

	if (!err)
		return 0;
	path = ply_spare_path(spare);
	ply_complain("cannot remove", path, err);
	free(path);
	return err;
}

/* ---- several names of one inode ---- */

static int remove_alone(struct ply_vacuum *v, struct ply_spare *spare)
{
	struct place p;
	int err = open_place(v, spare->dir, &p), closed;

	if (err)
		return err;
	err = remove_in(v, &p, spare);
	closed = close_place(&p);
	return err ? err : closed;
}

static int link_again(struct ply_vacuum *v, const struct ply_spare *from, struct ply_spare *spare)
{
	struct place at, to;
	int err = open_place(v, from->dir, &at), closed;

	if (err)
		return err;
	err = open_place(v, spare->dir, &to);
	if (!err) {
		err = sys_link(at.fd, from->name, to.fd, spare->name);
		closed = close_place(&to);
		err = err ? err : closed;
	}
	close_place(&at);
	if (!err)
		spare->flags &= ~(unsigned)PLY_SPARE_IS_GONE;
	return err;
}

/* All names or none: those before the one that could not be removed come back. */
static void undo(struct ply_vacuum *v, struct ply_spare_group *group, const struct ply_spare *stuck)
{
	for (struct ply_spare *s = group->first; s != stuck; s = s->next)
		failed(s, link_again(v, stuck, s));
}

static int count_from_below(struct ply_vacuum *v, const struct ply_spare_group *group)
{
	const char *space = ply_space_of(v->index, group->entry, PLY_MARK_NLINK);

	return space ? ply_space_set(v->index, group->entry, space, PLY_MARK_NLINK, "L+0")
		     : -ENODATA;
}

static int remove_group(struct ply_vacuum *v, struct ply_spare_group *group)
{
	int err = group->entry ? count_from_below(v, group) : 0;

	for (struct ply_spare *s = group->first; s && !err; s = s->next) {
		err = remove_alone(v, s);
		if (err && !(s->flags & PLY_SPARE_IS_GONE))
			undo(v, group, s);
	}
	return !err && group->entry ? sys_unlink(v->index, group->entry) : err;
}

static int remove_groups(struct ply_vacuum *v)
{
	int failures = 0;

	for (struct ply_spare_group *g = v->groups; g && !ply_interrupt_came(); g = g->next)
		if (!g->are_apart && g->first->flags & PLY_SPARE_GOES)
			failures |= failed(g->first, remove_group(v, g));
	return failures;
}

/* ---- all else ---- */

static int is_left(const struct ply_spare *spare)
{
	if (spare->group && !spare->group->are_apart)
		return 0;
	return spare->flags & PLY_SPARE_GOES && !(spare->flags & PLY_SPARE_IS_GONE);
}

/*
 * The list backwards has what is in a directory before that itself. What goes from one directory mostly stands
 * together, and that one stays open meanwhile.
 */
static int remove_others(struct ply_vacuum *v)
{
	const struct ply_spare *dir = NULL;
	struct place p = { .fd = -1 };
	int err = 0, failures = 0;

	for (size_t i = v->n; i-- && !ply_interrupt_came();) {
		struct ply_spare *spare = v->spares[i];

		if (!is_left(spare))
			continue;
		if (spare->dir != dir) {
			if (dir && !err)
				failures |= failed(dir, close_place(&p));
			dir = spare->dir;
			err = open_place(v, dir, &p);
		}
		failures |= failed(spare, err ? err : remove_in(v, &p, spare));
	}
	if (dir && !err)
		failures |= failed(dir, close_place(&p));
	return failures;
}

int ply_vacuum_act(struct ply_vacuum *v)
{
	int failures = remove_groups(v), synced;

	failures |= remove_others(v);
	v->progress.what = "writing to disk";
	synced = sys_syncfs(v->upper);
	if (synced)
		return synced;
	return ply_interrupt_came() ? -EINTR : failures ? -EIO : 0;
}
