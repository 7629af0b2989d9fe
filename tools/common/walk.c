/*
 * The walk: a stack of frames, one a directory on the way down. Only the deepest KEEP of them have open
 * descriptors. Of a listing one portion is in memory at a time, and of that only the directories' names; of a
 * sorted one all names.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/room.h"
#include "base/sys.h"
#include "interrupt.h"
#include "layer/layer.h"
#include "stack.h"

#define KEEP 64
#define STATX_WANTED (STATX_BASIC_STATS | STATX_MNT_ID)

/* One directory of either tree: -1 while it is closed. */
struct place {
	int fd;
	uint64_t ino;
	uint32_t major, minor;
};

struct frame {
	struct place at, mirror;
	struct statx stx; /* as it was found */
	off_t pos;	  /* in the listing */
	int ended;	  /* the listing */
	char *todo; /* names of the portion read last that are still to be looked at, each ended by NUL */
	size_t size, done, room;
	mode_t locked; /* the mode to put back */
	int is_unlocked;
	char name[]; /* in the directory above */
};

struct ply_walk {
	const struct ply_walk_root *root;
	const struct ply_walk_ops *ops;
	void *arg;
	struct frame **stack;
	size_t depth, room; /* stack[depth - 1] is where the walk is */
	uint64_t mnt_id;
	char *where;
};

static struct frame *top_of(const struct ply_walk *w)
{
	return w->stack[w->depth - 1];
}

/* ---- paths ---- */

static char *make_path(const struct ply_walk *w, const char *last)
{
	size_t size = strlen(last) + 1;
	char *path, *end;

	for (size_t i = 1; i < w->depth; i++)
		size += strlen(w->stack[i]->name) + 1;
	path = end = malloc(size);
	if (!path)
		return NULL;
	for (size_t i = 1; i < w->depth; i++) {
		end = stpcpy(end, w->stack[i]->name);
		*end++ = '/';
	}
	strcpy(end, last);
	if (!*last && end > path)
		end[-1] = '\0';
	return path;
}

char *ply_walk_path(const struct ply_walk_entry *e)
{
	return make_path(e->walk, e->name);
}

/* Remembers where the first error happened, and lets cleaning up go on whatever the user presses. */
static int failed_at(struct ply_walk *w, const char *name, int err)
{
	if (err && !w->where) {
		w->where = make_path(w, name);
		ply_interrupt_end();
	}
	return err;
}

/* ---- places ---- */

static int identify(struct place *p)
{
	struct statx stx;
	int err = sys_statx(p->fd, "", STATX_INO, &stx);

	p->ino = stx.stx_ino;
	p->major = stx.stx_dev_major;
	p->minor = stx.stx_dev_minor;
	return err;
}

static void close_place(struct place *p)
{
	if (p->fd >= 0)
		sys_close(p->fd);
	p->fd = -1;
}

/* Opens a closed place again, from the one below it. */
static int reopen(struct place *p, const struct place *below)
{
	struct place now;
	int err;

	if (p->fd >= 0 || below->fd < 0)
		return 0;
	now.fd = sys_open(below->fd, "..", O_RDONLY | O_DIRECTORY, 0);
	if (now.fd < 0)
		return now.fd;
	err = identify(&now);
	if (!err && (now.ino != p->ino || now.major != p->major || now.minor != p->minor))
		err = -ESTALE;
	if (err)
		sys_close(now.fd);
	else
		p->fd = now.fd;
	return err;
}

/* A plain user's own directory that does not let its owner in. */
static int is_locked(const struct statx *stx)
{
	uid_t me = geteuid();

	return me != 0 && stx->stx_uid == me &&
	       (stx->stx_mode & (S_IRUSR | S_IXUSR)) != (S_IRUSR | S_IXUSR);
}

static int open_locked(struct frame *f, int dirfd, const char *name)
{
	int fd = sys_open(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0), again;

	if (fd < 0)
		return fd;
	if (ply_layer_unlock_dir(fd, &f->locked) == 0)
		f->is_unlocked = 1;
	again = sys_open(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (again < 0 && f->is_unlocked)
		ply_layer_lock_dir(fd, f->locked);
	sys_close(fd);
	return again;
}

static int open_places(struct frame *f, const struct frame *above, const char *name)
{
	int err;

	if (is_locked(&f->stx))
		f->at.fd = open_locked(f, above->at.fd, name);
	else
		f->at.fd = sys_open(above->at.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (f->at.fd < 0)
		return f->at.fd;
	err = identify(&f->at);
	if (!err && f->at.ino != f->stx.stx_ino)
		err = -ESTALE;
	if (err || above->mirror.fd < 0)
		return err;
	f->mirror.fd = sys_open(above->mirror.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return f->mirror.fd < 0 ? f->mirror.fd : identify(&f->mirror);
}

/* ---- frames ---- */

static int push(struct ply_walk *w, const char *name)
{
	int err = ply_make_room(&w->stack, &w->room, w->depth, sizeof(struct frame *));
	struct frame *f;

	if (err)
		return err;
	f = calloc(1, sizeof(*f) + strlen(name) + 1);
	if (!f)
		return -ENOMEM;
	strcpy(f->name, name);
	f->at.fd = f->mirror.fd = -1;
	w->stack[w->depth++] = f;
	return 0;
}

/* Leaves the deepest directory without a word. The root's descriptors are the caller's. */
static int pop(struct ply_walk *w)
{
	struct frame *f = w->stack[w->depth - 1];
	int err = 0;

	if (w->depth > 1) {
		struct frame *above = w->stack[w->depth - 2];

		err = reopen(&above->at, &f->at);
		if (!err)
			err = reopen(&above->mirror, &f->mirror);
		if (f->is_unlocked && f->at.fd >= 0)
			ply_layer_lock_dir(f->at.fd, f->locked);
		close_place(&f->at);
		close_place(&f->mirror);
	}
	w->depth--;
	free(f->todo);
	free(f);
	return err;
}

static void close_far_above(struct ply_walk *w)
{
	if (w->depth <= KEEP + 1)
		return;
	close_place(&w->stack[w->depth - 1 - KEEP]->at);
	close_place(&w->stack[w->depth - 1 - KEEP]->mirror);
}

/* ---- entries ---- */

static int add_name(struct frame *f, const char *name)
{
	size_t len = strlen(name) + 1;

	if (f->size + len > f->room) {
		size_t room = (f->room + len) * 2;
		char *todo = realloc(f->todo, room);

		if (!todo)
			return -ENOMEM;
		f->todo = todo;
		f->room = room;
	}
	memcpy(f->todo + f->size, name, len);
	f->size += len;
	return 0;
}

static int look_at(struct ply_walk *w, const char *name, struct ply_walk_entry *e)
{
	struct frame *f = top_of(w);
	int err;

	*e = (struct ply_walk_entry){ .walk = w,
				      .name = name,
				      .dirfd = f->at.fd,
				      .mirror = f->mirror.fd,
				      .self = -1,
				      .self_mirror = -1 };
	err = sys_statx(f->at.fd, name, STATX_WANTED, &e->stx);
	if (!err && (e->stx.stx_mask & STATX_MNT_ID) && e->stx.stx_mnt_id != w->mnt_id)
		err = -EXDEV;
	return err;
}

static int see(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct ply_walk *w = arg;
	struct ply_walk_entry e;
	int err;

	(void)ino;
	if (type == DT_DIR)
		return add_name(top_of(w), name);
	err = look_at(w, name, &e);
	if (!err && S_ISDIR(e.stx.stx_mode))
		return add_name(top_of(w), name);
	if (!err && w->ops->file)
		err = w->ops->file(w->arg, &e);
	return failed_at(w, name, err);
}

static int read_sorted(struct ply_walk *w)
{
	struct frame *f = top_of(w);
	struct ply_names names;
	int err = ply_raw_names(f->at.fd, &names);

	for (size_t i = 0; !err && i < names.n; i++)
		err = add_name(f, names.name[i]);
	ply_names_free(&names);
	f->ended = 1;
	return failed_at(w, "", err);
}

static int read_portion(struct ply_walk *w)
{
	struct frame *f = top_of(w);
	int res;

	if (w->root->order == PLY_WALK_SORTED)
		return read_sorted(w);
	f->size = f->done = 0;
	res = ply_layer_list_some(f->at.fd, &f->pos, see, w);
	f->ended = res == 0;
	return res > 0 ? 0 : failed_at(w, "", res);
}

/* One of the names to be looked at is no directory: unless they are sorted, it was one a moment ago. */
static int tell_file(struct ply_walk *w, const struct ply_walk_entry *e)
{
	if (w->root->order != PLY_WALK_SORTED)
		return -ESTALE;
	return w->ops->file ? w->ops->file(w->arg, e) : 0;
}

static int descend(struct ply_walk *w)
{
	struct frame *f = top_of(w);
	const char *name = f->todo + f->done;
	struct ply_walk_entry e;
	int err;

	f->done += strlen(name) + 1;
	err = look_at(w, name, &e);
	if (!err && !S_ISDIR(e.stx.stx_mode))
		return failed_at(w, name, tell_file(w, &e));
	if (!err && w->ops->enter)
		err = w->ops->enter(w->arg, &e);
	if (!err)
		err = push(w, name);
	if (err)
		return failed_at(w, name, err);
	top_of(w)->stx = e.stx;
	err = open_places(top_of(w), f, name);
	if (!err)
		close_far_above(w);
	return failed_at(w, "", err);
}

static int ascend(struct ply_walk *w)
{
	struct frame *f = top_of(w), *above = w->stack[w->depth - 2];
	struct ply_walk_entry e = {
		.walk = w, .name = "", .self = f->at.fd, .self_mirror = f->mirror.fd
	};
	int err = reopen(&above->at, &f->at);

	if (!err)
		err = reopen(&above->mirror, &f->mirror);
	if (!err && w->ops->leave) {
		e.name = f->name;
		e.dirfd = above->at.fd;
		e.mirror = above->mirror.fd;
		e.stx = f->stx;
		w->depth--;
		err = w->ops->leave(w->arg, &e);
		w->depth++;
	}
	failed_at(w, "", err);
	pop(w);
	return err;
}

static int step(struct ply_walk *w)
{
	struct frame *f = top_of(w);

	if (f->done < f->size)
		return descend(w);
	if (!f->ended)
		return read_portion(w);
	return w->depth > 1 ? ascend(w) : pop(w);
}

int ply_walk(const struct ply_walk_root *root, const struct ply_walk_ops *ops, void *arg,
	     char **where)
{
	struct ply_walk w = { .root = root, .ops = ops, .arg = arg };
	struct statx stx;
	int err = sys_statx(root->fd, "", STATX_WANTED, &stx);

	*where = NULL;
	if (!err)
		err = push(&w, "");
	if (!err) {
		w.mnt_id = stx.stx_mnt_id;
		top_of(&w)->at.fd = root->fd;
		top_of(&w)->mirror.fd = root->mirror;
	}
	while (!err && w.depth)
		err = step(&w);
	while (w.depth)
		pop(&w);
	free(w.stack);
	*where = w.where;
	return err;
}

/* ---- removing ---- */

static int remove_file(void *arg, const struct ply_walk_entry *e)
{
	(void)arg;
	return sys_unlink(e->dirfd, e->name);
}

/* A plain user can empty only what the own mode lets in. */
static int open_up(void *arg, const struct ply_walk_entry *e)
{
	(void)arg;
	if ((e->stx.stx_mode & S_IRWXU) != S_IRWXU)
		sys_chmod(e->dirfd, e->name, S_IRWXU);
	return 0;
}

static int remove_dir(void *arg, const struct ply_walk_entry *e)
{
	(void)arg;
	return sys_rmdir(e->dirfd, e->name);
}

int ply_remove_tree(int dirfd, const char *name)
{
	static const struct ply_walk_ops ops = { .file = remove_file,
						 .enter = open_up,
						 .leave = remove_dir };
	struct ply_walk_root root = { .mirror = -1 };
	char *where;
	int err = sys_unlink(dirfd, name);

	if (err != -EISDIR && err != -EPERM)
		return err;
	sys_chmod(dirfd, name, S_IRWXU);
	root.fd = sys_open(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (root.fd < 0)
		return root.fd;
	err = ply_walk(&root, &ops, NULL, &where);
	free(where);
	sys_close(root.fd);
	return err ? err : sys_rmdir(dirfd, name);
}
