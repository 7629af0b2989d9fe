/*
 * Renames. A judge that can't rename a directory with lower content (EXDEV: its path is too long for a mark, or
 * marks are switched off) gets it moved by hand, so that its tree goes on being comparable: files keep their
 * inodes, directories are made anew with all attributes, and opened anew where they are open.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plydiff.h"

static const char SPARE[] = ".plydiff-spare";

/* ---- by hand ---- */

static int move_object(int sdir, const char *from, int ddir, const char *to);

/* All entries, from one open directory to the other. */
static int move_entries(int src, int dst)
{
	struct pd_names names;
	int err = pd_list(src, &names);

	for (size_t i = 0; i < names.count && !err; i++)
		err = move_object(src, names.name[i], dst, names.name[i]);
	pd_names_free(&names);
	return err;
}

static int move_dir(int sdir, const char *from, int ddir, const char *to, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	int src = openat(sdir, from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dst = -1, err = 0;

	if (src < 0 || mkdirat(ddir, to, 0700) != 0)
		err = -errno;
	if (!err)
		dst = openat(ddir, to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!err)
		err = dst < 0 ? -errno : move_entries(src, dst);
	if (!err)
		err = pd_copy_attrs(sdir, from, ddir, to, 0);
	if (!err && utimensat(ddir, to, times, AT_SYMLINK_NOFOLLOW) != 0)
		err = -errno;
	if (src >= 0)
		close(src);
	if (dst >= 0)
		close(dst);
	if (!err && unlinkat(sdir, from, AT_REMOVEDIR) != 0)
		err = -errno;
	return err;
}

/*
 * Where a mark would be too long, even a file without data in the upper can't get another name. It gets the data first,
 * and its time back, which goes by that.
 */
static int link_object(int sdir, const char *from, int ddir, const char *to, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	int fd;

	if (linkat(sdir, from, ddir, to, 0) == 0)
		return 0;
	if (errno != EXDEV || !S_ISREG(st->st_mode))
		return -errno;
	fd = openat(sdir, from, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	if (linkat(sdir, from, ddir, to, 0) != 0 || utimensat(ddir, to, times, 0) != 0)
		return -errno;
	return 0;
}

static int move_object(int sdir, const char *from, int ddir, const char *to)
{
	struct stat st;
	int err;

	if (fstatat(sdir, from, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return move_dir(sdir, from, ddir, to, &st);
	err = link_object(sdir, from, ddir, to, &st);
	if (!err && unlinkat(sdir, from, 0) != 0)
		err = -errno;
	return err;
}

static int exchange_objects(const char *p, const char *q)
{
	struct stat root;
	int err = lstat(".", &root) == 0 ? move_object(AT_FDCWD, p, AT_FDCWD, SPARE) : -errno;

	if (!err)
		err = move_object(AT_FDCWD, q, AT_FDCWD, p);
	if (!err)
		err = move_object(AT_FDCWD, SPARE, AT_FDCWD, q);
	/* The spare name stood in the root. */
	struct timespec times[2] = { root.st_atim, root.st_mtim };
	bool in_root = !strchr(p, '/') || !strchr(q, '/');

	if (!err && !in_root && utimensat(AT_FDCWD, ".", times, 0) != 0)
		err = -errno;
	return err;
}

/* Slots that are open on a directory at or below path, which was made anew at now_at, are opened there. */
static void reopen_below(struct pd_sys *sys, char *const was[PD_SLOTS], const char *path,
			 const char *now_at)
{
	char *below = pd_format("%s/%s", sys->root, path);
	size_t len = strlen(below);

	for (int i = 0; i < PD_SLOTS; i++) {
		if (!was[i] || strncmp(was[i], below, len) != 0 ||
		    (was[i][len] && was[i][len] != '/'))
			continue;
		char *at = pd_format("%s%s", now_at, was[i] + len);
		int fd = open(at, fcntl(sys->fd[i], F_GETFL) | O_CLOEXEC);

		if (fd >= 0 && dup3(fd, sys->fd[i], O_CLOEXEC) >= 0)
			close(fd);
		free(at);
	}
	free(below);
}

/* Where the slots' directories are; other files keep their inodes. */
static void find_slots(const struct pd_sys *sys, char *was[PD_SLOTS])
{
	char at[4096], link[64];
	struct stat st;

	for (int i = 0; i < PD_SLOTS; i++) {
		was[i] = NULL;
		if (sys->fd[i] < 0 || fstat(sys->fd[i], &st) != 0 || !S_ISDIR(st.st_mode))
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", sys->fd[i]);
		ssize_t n = readlink(link, at, sizeof(at) - 1);

		if (n > 0)
			was[i] = strndup(at, (size_t)n);
	}
}

static int rename_by_hand(const char *p, const char *q, unsigned flags)
{
	int err = 0;

	if (flags & RENAME_EXCHANGE)
		err = exchange_objects(p, q);
	else if (rmdir(q) == 0 || errno == ENOENT)
		err = move_object(AT_FDCWD, p, AT_FDCWD, q);
	else
		err = -errno;
	errno = -err;
	return err ? -1 : 0;
}

static long do_rename(struct pd_sys *sys, const struct pd_step *s, const char *p, const char *q,
		      unsigned flags)
{
	int rc = renameat2(AT_FDCWD, p, AT_FDCWD, q, flags);

	if (rc == 0 || errno != EXDEV || sys->tested || sys->probing)
		return rc;
	/* The permissions were checked before EXDEV was answered. */
	char *was[PD_SLOTS];

	pd_become(0);
	find_slots(sys, was);
	rc = rename_by_hand(p, q, flags);
	int err = errno;

	if (rc == 0) {
		reopen_below(sys, was, p, q);
		if (flags & RENAME_EXCHANGE)
			reopen_below(sys, was, q, p);
	}
	for (int i = 0; i < PD_SLOTS; i++)
		free(was[i]);
	pd_become(s->as);
	errno = err;
	return rc;
}

/* ---- the operations ---- */

static void make_rename(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_chance(&m->rng, 60) ? pd_pick(m, PD_FILES) : pd_pick_any(m);
	s->q = pd_chance(&m->rng, 55)	? pd_pick_new(m)
	       : pd_chance(&m->rng, 60) ? pd_pick(m, PD_FILES)
					: pd_pick_any(m);
}

static void make_rename_dir(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->q = pd_chance(&m->rng, 65) ? pd_pick_new(m) : pd_pick(m, PD_DIRS);
}

static void make_rename_any(struct pd_maker *m, struct pd_step *s)
{
	if (pd_chance(&m->rng, 70))
		make_rename(m, s);
	else
		make_rename_dir(m, s);
}

static void run_rename(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct stat st;

	pd_tell(o, "rename", do_rename(sys, s, s->p, s->q, 0));
	pd_tell(o, "lstat", lstat(s->p, &st));
}

static void run_noreplace(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	pd_tell(o, "rename", do_rename(sys, s, s->p, s->q, RENAME_NOREPLACE));
}

static void make_exchange(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_any(m);
	s->q = pd_chance(&m->rng, 80) ? pd_pick_any(m) : pd_pick(m, PD_FILES);
}

static void run_exchange(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	pd_tell(o, "rename", do_rename(sys, s, s->p, s->q, RENAME_EXCHANGE));
}

/* In a union the whiteout that is left is what a removed name leaves anyway, and can't be seen. */
static void run_whiteout(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	unsigned flags = sys->tested ? RENAME_WHITEOUT : 0;
	struct stat st;

	pd_tell(o, "rename", do_rename(sys, s, s->p, s->q, flags));
	pd_tell(o, "lstat", lstat(s->p, &st));
}

static void run_bad_flags(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	unsigned both = RENAME_NOREPLACE | RENAME_EXCHANGE;

	(void)sys;
	pd_tell(o, "rename", renameat2(AT_FDCWD, s->p, AT_FDCWD, s->q, both));
}

static void make_below(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->q = pd_format("%s/%s", s->p, pd_pool_name(&m->rng));
}

/* Into itself, and over an ancestor. */
static void run_below(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "into", rename(s->p, s->q));
	pd_tell(o, "over", rename(s->q, s->p));
}

/* Two names of one file: rename does nothing, and both stay. */
static void run_same(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct stat st;

	(void)sys;
	if (pd_tell(o, "link", link(s->p, s->q)) != 0)
		return;
	pd_tell(o, "rename", rename(s->p, s->q));
	pd_tell(o, "old", lstat(s->p, &st));
	pd_tell(o, "itself", rename(s->q, s->q));
	pd_tell(o, "new", lstat(s->q, &st));
}

static void run_slashes(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *p = pd_format("%s/", s->p), *q = pd_format("%s/", s->q);
	struct stat a;

	/* Directories are another operation's matter. */
	if (stat(s->p, &a) != 0 || !S_ISDIR(a.st_mode)) {
		pd_tell(o, "from", do_rename(sys, s, p, s->q, 0));
		pd_tell(o, "to", do_rename(sys, s, s->p, q, 0));
	}
	free(p);
	free(q);
}

/* There and back: what a failed upgrade does. */
static void run_back(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	if (pd_tell(o, "there", do_rename(sys, s, s->p, s->q, RENAME_NOREPLACE)) == 0)
		pd_tell(o, "back", do_rename(sys, s, s->q, s->p, RENAME_NOREPLACE));
}

const struct pd_op pd_ops_rename[] = {
	{ "rename", 44, NULL, make_rename, run_rename, PD_OP_RENAMES_DIRS | PD_OP_UNLINKS, { 0 } },
	{ "rename_dir",
	  24,
	  NULL,
	  make_rename_dir,
	  run_rename,
	  PD_OP_RENAMES_DIRS | PD_OP_UNLINKS,
	  { 0 } },
	{ "rename_noreplace",
	  14,
	  NULL,
	  make_rename_any,
	  run_noreplace,
	  PD_OP_RENAMES_DIRS | PD_OP_UNLINKS,
	  { 0 } },
	{ "rename_exchange",
	  16,
	  NULL,
	  make_exchange,
	  run_exchange,
	  PD_OP_RENAMES_DIRS | PD_OP_UNLINKS,
	  { 0 } },
	{ "rename_whiteout",
	  8,
	  NULL,
	  make_rename_any,
	  run_whiteout,
	  PD_OP_RENAMES_DIRS | PD_OP_UNLINKS,
	  { EINVAL } },
	{ "rename_bad_flags", 2, NULL, make_rename_any, run_bad_flags, PD_OP_UNLINKS, { 0 } },
	{ "rename_below",
	  6,
	  NULL,
	  make_below,
	  run_below,
	  PD_OP_RENAMES_DIRS | PD_OP_UNLINKS,
	  { 0 } },
	{ "rename_same", 8, NULL, make_rename, run_same, PD_OP_UNLINKS, { 0 } },
	{ "rename_slash", 4, NULL, make_rename_any, run_slashes, PD_OP_UNLINKS, { 0 } },
	{ "rename_back",
	  8,
	  NULL,
	  make_rename,
	  run_back,
	  PD_OP_RENAMES_DIRS | PD_OP_UNLINKS,
	  { 0 } },
	{ .name = NULL },
};
