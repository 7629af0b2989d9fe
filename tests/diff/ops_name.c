/* Names: what makes and removes them, and what is wrong with a name. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "plydiff.h"

/* ---- directories ---- */

static void make_mkdir(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_chance(&m->rng, 80) ? pd_pick_new(m) : pd_pick_any(m);
	s->n[0] = pd_pick_mode(m);
	s->n[1] = pd_chance(&m->rng, 10);
}

static void run_mkdir(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *path = pd_format("%s%s", s->p, s->n[1] ? "/" : "");

	(void)sys;
	pd_tell(o, "mkdir", mkdir(path, (mode_t)s->n[0]));
	free(path);
}

PD_MAKE_PICK(make_dir, PD_DIRS)

static void run_rmdir(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "rmdir", rmdir(s->p));
}

/* Emptied first, so that a directory goes whose lower content is all whited out. */
static void run_empty_rmdir(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY | O_DIRECTORY, 0));
	struct pd_names names;
	bool dirs = false;

	(void)sys;
	if (fd < 0)
		return;
	if (pd_list(fd, &names) == 0) {
		for (size_t i = 0; i < names.count; i++)
			dirs = unlinkat(fd, names.name[i], 0) != 0 || dirs;
		pd_names_free(&names);
	}
	close(fd);
	pd_note_holds(o, "dirs", dirs);
	pd_tell(o, "rmdir", rmdir(s->p));
}

/* Removed and made again: nothing of the old content may come back. */
static void run_remake(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct pd_names names = { 0 };
	int fd;

	run_empty_rmdir(sys, s, o);
	pd_tell(o, "mkdir", mkdir(s->p, 0755));
	fd = pd_open(s->p, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return;
	pd_list(fd, &names);
	pd_note(o, "names", "%zu", names.count);
	pd_names_free(&names);
	close(fd);
}

static void make_dots(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->n[0] = pd_below(&m->rng, 5);
}

static void run_dots(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	static const char *const tails[] = { ".", "./", "..", "../.", "//" };
	char *path = pd_format("%s/%s", s->p, tails[s->n[0]]);

	(void)sys;
	pd_tell(o, "mkdir", mkdir(path, 0755));
	pd_tell(o, "unlink", unlink(path));
	/* Slashes alone name the directory itself, and ".." may be outside. */
	if (s->n[0] < 4)
		pd_tell(o, "rmdir", rmdir(path));
	if (s->n[0] < 2)
		pd_tell(o, "rename", rename(path, "elsewhere"));
	free(path);
}

/* ---- unlink ---- */

static void make_unlink(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_chance(&m->rng, 80) ? pd_pick(m, PD_FILES) : pd_pick_any(m);
	s->n[0] = pd_chance(&m->rng, 8);
}

static void run_unlink(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct stat st;

	(void)sys;
	pd_tell(o, "unlinkat", unlinkat(AT_FDCWD, s->p, s->n[0] ? AT_REMOVEDIR : 0));
	pd_tell(o, "lstat", lstat(s->p, &st));
}

static void run_again(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd;

	(void)sys;
	pd_tell(o, "unlink", unlink(s->p));
	fd = pd_tell_fd(o, "open", pd_open(s->p, O_WRONLY | O_CREAT | O_EXCL, 0644));
	if (fd < 0)
		return;
	pd_tell(o, "write", write(fd, "again", 5));
	pd_note_stat(o, "fstat", fd);
	pd_tell(o, "close", close(fd));
}

/* ---- links ---- */

static void make_symlink(struct pd_maker *m, struct pd_step *s)
{
	/* None leads out of the tree, where systems are not alike. */
	static const char *const targets[] = {
		"a", "b", ".", "no/such", "/nonexistent/y", "c/./d"
	};

	s->p = pd_chance(&m->rng, 80) ? pd_pick_new(m) : pd_pick_any(m);
	s->s = pd_copy_string(targets[pd_below(&m->rng, PD_COUNT(targets))]);
	if (pd_chance(&m->rng, 5)) {
		free(s->s);
		s->s = pd_alloc(3001);
		memset(s->s, 't', 3000);
	}
}

static void run_symlink(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "symlink", symlink(s->s, s->p));
}

PD_MAKE_PICK(make_link_pick, PD_SYMLINKS)

static void run_readlink(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char target[4096];

	(void)sys;
	pd_note_data(o, "target", target,
		     pd_tell(o, "readlink", readlink(s->p, target, sizeof(target))));
	pd_tell(o, "short", readlink(s->p, target, 2));
}

static void make_link(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_chance(&m->rng, 75) ? pd_pick(m, PD_FILES) : pd_pick_any(m);
	s->q = pd_chance(&m->rng, 80) ? pd_pick_new(m) : pd_pick_any(m);
	s->n[0] = pd_chance(&m->rng, 20);
}

static void run_link(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "linkat",
		linkat(AT_FDCWD, s->p, AT_FDCWD, s->q, s->n[0] ? AT_SYMLINK_FOLLOW : 0));
}

/* ---- nodes ---- */

static void make_mknod(struct pd_maker *m, struct pd_step *s)
{
	static const struct {
		mode_t type;
		unsigned major, minor;
	} kinds[] = { { S_IFIFO, 0, 0 },   { S_IFSOCK, 0, 0 },	 { S_IFREG, 0, 0 },
		      { S_IFCHR, 1, 3 },   { S_IFCHR, 240, 99 }, { S_IFBLK, 42, 7 },
		      { S_IFCHR, 0, 300 }, { S_IFDIR, 0, 0 } };
	unsigned k = pd_below(&m->rng, PD_COUNT(kinds));

	s->p = pd_chance(&m->rng, 85) ? pd_pick_new(m) : pd_pick_any(m);
	s->n[0] = kinds[k].type | pd_pick_mode(m);
	s->n[1] = kinds[k].major;
	s->n[2] = kinds[k].minor;
}

static void run_mknod(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	dev_t dev = makedev((unsigned)s->n[1], (unsigned)s->n[2]);

	(void)sys;
	pd_tell(o, "mknod", mknod(s->p, (mode_t)s->n[0], dev));
}

static void make_new(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_new(m);
}

/* The device that marks a whiteout: a union must refuse to make one, and no name may appear. */
static void run_mknod_whiteout(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct stat st;
	int rc = -1;

	if (lstat(s->p, &st) == 0)
		return;
	if (sys->kind != PD_PLAIN)
		rc = mknod(s->p, S_IFCHR | 0600, makedev(0, 0));
	pd_note_holds(o, "refused", rc != 0);
	pd_tell(o, "lstat", lstat(s->p, &st));
}

/* ---- names that are too long ---- */

static void make_long(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->n[0] = 254 + pd_below(&m->rng, 4);
}

static void run_long(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *name = pd_alloc((size_t)s->n[0] + 1), *path;
	struct stat st;
	int fd;

	(void)sys;
	memset(name, 'L', (size_t)s->n[0]);
	path = pd_format("%s/%s", s->p, name);
	pd_tell(o, "lstat", lstat(path, &st));
	fd = pd_tell_fd(o, "open", pd_open(path, O_WRONLY | O_CREAT, 0644));
	if (fd >= 0)
		close(fd);
	pd_tell(o, "mkdir", mkdir(path, 0755));
	pd_tell(o, "symlink", symlink("x", path));
	pd_tell(o, "rename", rename("no-such", path));
	pd_tell(o, "unlink", unlink(path));
	free(path);
	free(name);
}

static void run_long_path(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct pd_text t = { 0 };
	struct stat st;

	(void)sys;
	pd_add(&t, "%s", s->p);
	while (t.len < 4200)
		pd_add(&t, "/../%s", s->p);
	pd_tell(o, "lstat", lstat(t.s, &st));
	pd_tell(o, "mkdir", mkdir(t.s, 0755));
	pd_free(&t);
}

/* ---- loops ---- */

static void run_loop(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	const char *base = strrchr(s->p, '/') ? strrchr(s->p, '/') + 1 : s->p;
	struct stat st;

	(void)sys;
	if (pd_tell(o, "symlink", symlink(base, s->p)) != 0)
		return;
	pd_tell(o, "stat", stat(s->p, &st));
	pd_tell_fd(o, "open", pd_open(s->p, O_RDWR | O_CREAT, 0644));
	pd_tell(o, "truncate", pd_truncate(s->p, 0));
	pd_tell(o, "unlink", unlink(s->p));
}

const struct pd_op pd_ops_name[] = {
	{ "mkdir", 40, "mode slash", make_mkdir, run_mkdir, 0, { 0 } },
	{ "rmdir", 16, NULL, make_dir, run_rmdir, 0, { 0 } },
	{ "empty_rmdir", 12, NULL, make_dir, run_empty_rmdir, PD_OP_EMPTIES, { 0 } },
	{ "remake_dir", 12, NULL, make_dir, run_remake, PD_OP_EMPTIES, { 0 } },
	{ "dots", 5, "tail", make_dots, run_dots, 0, { 0 } },
	{ "unlink", 32, "rmdir", make_unlink, run_unlink, PD_OP_UNLINKS, { 0 } },
	{ "unlink_create", 16, NULL, make_unlink, run_again, PD_OP_UNLINKS, { 0 } },
	{ "symlink", 16, NULL, make_symlink, run_symlink, 0, { 0 } },
	{ "readlink", 8, NULL, make_link_pick, run_readlink, 0, { 0 } },
	{ "link", 28, "follow", make_link, run_link, 0, { 0 } },
	{ "mknod", 24, "mode major minor", make_mknod, run_mknod, 0, { 0 } },
	{ "mknod_whiteout", 4, NULL, make_new, run_mknod_whiteout, 0, { 0 } },
	{ "long_name", 4, "len", make_long, run_long, PD_OP_UNLINKS, { 0 } },
	{ "long_path", 2, NULL, make_long, run_long_path, 0, { 0 } },
	{ "symlink_loop", 4, NULL, make_new, run_loop, 0, { 0 } },
	{ .name = NULL },
};
