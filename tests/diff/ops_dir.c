/* Reading directories: whole, in small pieces, from remembered places, and while they change. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plydiff.h"

enum { SMALL = 300, MOST = 2000 };

PD_MAKE_PICK(make_dir, PD_DIRS)

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void note_names(struct pd_outcome *o, const char *label, struct pd_names *names)
{
	if (names->count)
		qsort(names->name, names->count, sizeof(char *), compare);
	pd_add(&o->notes, "%s=", label);
	for (size_t i = 0; i < names->count; i++) {
		pd_add_quoted(&o->notes, names->name[i], strlen(names->name[i]));
		pd_add(&o->notes, " ");
	}
	pd_add(&o->notes, "\n");
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* All but "." and "..", which have an operation of their own. */
static void add_name(struct pd_names *names, const char *name)
{
	if (is_dot(name))
		return;
	names->name = pd_grow(names->name, (names->count + 1) * sizeof(char *));
	names->name[names->count++] = pd_copy_string(name);
}

/* Numbers and types must be those that stat tells. */
static bool entry_fits(int fd, const struct dirent *e)
{
	struct stat st;

	if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == EACCES;
	return st.st_ino == e->d_ino && IFTODT(st.st_mode) == e->d_type;
}

static void run_readdir(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	DIR *dir = opendir(s->p);
	struct pd_names names = { 0 };
	struct dirent *e;
	bool fit = true;
	int dots = 0;

	(void)sys;
	pd_tell(o, "opendir", dir ? 0 : -1);
	if (!dir)
		return;
	/* cppcheck-suppress readdirCalled */
	while ((e = readdir(dir))) {
		add_name(&names, e->d_name);
		dots += is_dot(e->d_name);
		/* The parent of the root is outside. */
		if (strcmp(e->d_name, "..") != 0)
			fit = entry_fits(dirfd(dir), e) && fit;
	}
	note_names(o, "names", &names);
	pd_note(o, "dots", "%d", dots);
	pd_note_holds(o, "entries-fit", fit);
	pd_names_free(&names);
	closedir(dir);
}

/* getdents64 with a buffer for one or two entries, read to the end twice by one descriptor. */
static void run_small(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY | O_DIRECTORY, 0));
	char buf[SMALL] __attribute__((aligned(8)));

	(void)sys;
	if (fd < 0)
		return;
	for (int round = 0; round < 2; round++) {
		struct pd_names names = { 0 };
		long n = 0;

		for (int i = 0; i < MOST && (n = syscall(SYS_getdents64, fd, buf, SMALL)) > 0;
		     i++) {
			for (long at = 0; at < n;) {
				struct dirent64 *e = (struct dirent64 *)(void *)(buf + at);

				add_name(&names, e->d_name);
				at += e->d_reclen;
			}
		}
		pd_tell(o, "end", n);
		note_names(o, "names", &names);
		pd_names_free(&names);
		pd_tell(o, "rewind", lseek(fd, 0, SEEK_SET));
	}
	close(fd);
}

/* The rest of a directory after a remembered place is the same each time. */
static void make_seek(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->n[0] = pd_below(&m->rng, 8);
}

static void read_rest(DIR *dir, struct pd_names *names)
{
	struct dirent *e;

	/* cppcheck-suppress readdirCalled */
	while ((e = readdir(dir)))
		add_name(names, e->d_name);
}

static bool same_names(const struct pd_names *a, const struct pd_names *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->name[i], b->name[i]) != 0)
			return false;
	}
	return true;
}

static void run_seekdir(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	DIR *dir = opendir(s->p);
	struct pd_names first = { 0 }, second = { 0 };
	long long i;

	(void)sys;
	pd_tell(o, "opendir", dir ? 0 : -1);
	if (!dir)
		return;
	/* cppcheck-suppress readdirCalled */
	for (i = 0; i < s->n[0] && readdir(dir); i++)
		;
	long place = telldir(dir);

	read_rest(dir, &first);
	seekdir(dir, place);
	read_rest(dir, &second);
	pd_note_holds(o, "same-rest", same_names(&first, &second));
	pd_names_free(&first);
	pd_names_free(&second);
	rewinddir(dir);
	read_rest(dir, &first);
	note_names(o, "all", &first);
	pd_names_free(&first);
	closedir(dir);
}

/* ---- while it changes ---- */

static void make_changing(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->n[0] = pd_below(&m->rng, 5);
}

/* What was there all the time is seen once, whatever is removed or made meanwhile. */
static void run_changing(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY | O_DIRECTORY, 0));
	char buf[SMALL] __attribute__((aligned(8)));
	struct pd_names before = { 0 }, seen = { 0 };
	int turn = 0;
	long n;

	(void)sys;
	if (fd < 0)
		return;
	pd_list(fd, &before);
	for (int i = 0; i < MOST && (n = syscall(SYS_getdents64, fd, buf, SMALL)) > 0; i++) {
		for (long at = 0; at < n;) {
			struct dirent64 *e = (struct dirent64 *)(void *)(buf + at);

			add_name(&seen, e->d_name);
			at += e->d_reclen;
		}
		/* Names that don't depend on the order in which this system lists. */
		if (turn++ == 1 && s->n[0] & 1) {
			int made =
				openat(fd, "made-meanwhile", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

			if (made >= 0)
				close(made);
		}
		if (turn == 2 && s->n[0] & 2 && before.count)
			unlinkat(fd, before.name[before.count / 2], 0);
	}
	for (size_t i = 0; i < before.count; i++) {
		size_t times = 0;

		for (size_t k = 0; k < seen.count; k++)
			times += strcmp(before.name[i], seen.name[k]) == 0;
		if (times > 1 || (times == 0 && !(s->n[0] & 2 && i == before.count / 2)))
			pd_note(o, "entry", "%s seen %zu times", before.name[i], times);
	}
	/* Small directories are read before the change: both systems end alike. */
	if (s->n[0] & 1)
		unlinkat(fd, "made-meanwhile", 0);
	if (s->n[0] & 2 && before.count)
		unlinkat(fd, before.name[before.count / 2], 0);
	pd_names_free(&before);
	pd_names_free(&seen);
	close(fd);
}

/* Each name is removed as soon as it was read, as rm -r does; only files go. */
static void run_deleting(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	DIR *dir = opendir(s->p);
	struct pd_names left = { 0 };
	struct dirent *e;
	size_t failed = 0;

	(void)sys;
	pd_tell(o, "opendir", dir ? 0 : -1);
	if (!dir)
		return;
	/* cppcheck-suppress readdirCalled */
	while ((e = readdir(dir))) {
		if (e->d_type == DT_DIR || (s->n[0] && e->d_name[0] == 'a'))
			continue;
		failed += unlinkat(dirfd(dir), e->d_name, 0) != 0;
	}
	pd_note(o, "failed", "%zu", failed);
	rewinddir(dir);
	read_rest(dir, &left);
	note_names(o, "left", &left);
	pd_names_free(&left);
	closedir(dir);
}

/* ---- removed, but still the working directory ---- */

static void make_new(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_new(m);
}

static void run_removed_cwd(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char path[8192];
	struct pd_names names = { 0 };
	struct stat st;

	if (pd_tell(o, "mkdir", mkdir(s->p, 0755)) == 0 && pd_tell(o, "chdir", chdir(s->p)) == 0) {
		pd_tell(o, "made", mkdir("sub", 0755));
		pd_tell(o, "gone", rmdir("sub"));
		int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		/* From elsewhere, by the path. */
		if (pd_tell(o, "root", fchdir(sys->rootfd)) == 0)
			pd_tell(o, "rmdir", rmdir(s->p));
		if (dir >= 0 && fchdir(dir) == 0) {
			pd_tell_fd(o, "create", pd_open("x", O_CREAT | O_WRONLY, 0644));
			pd_tell(o, "mkdir2", mkdir("y", 0755));
			pd_tell(o, "getcwd", getcwd(path, sizeof(path)) ? 0 : -1);
			pd_tell(o, "stat", stat(".", &st));
			pd_tell(o, "list", pd_list(dir, &names));
			pd_note(o, "names", "%zu", names.count);
			pd_names_free(&names);
		}
		if (dir >= 0)
			close(dir);
	}
}

static void run_fsync_dir(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY | O_DIRECTORY, 0));

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "fsync", fsync(fd));
	pd_tell(o, "read", read(fd, &fd, 0));
	close(fd);
}

static void run_dotdot(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *up = pd_format("%s/..", s->p), *parent = pd_parent(s->p);
	struct stat a, b;

	(void)sys;
	if (strcmp(s->p, ".") != 0 && pd_tell(o, "stat", stat(up, &a)) == 0 &&
	    stat(parent, &b) == 0)
		pd_note_holds(o, "parent", a.st_ino == b.st_ino);
	free(up);
	free(parent);
}

const struct pd_op pd_ops_dir[] = {
	{ "readdir", 24, NULL, make_dir, run_readdir, 0, { 0 } },
	{ "readdir_small", 10, NULL, make_dir, run_small, 0, { 0 } },
	{ "seekdir", 10, "after", make_seek, run_seekdir, 0, { 0 } },
	{ "readdir_changing", 8, "how", make_changing, run_changing, PD_OP_EMPTIES, { 0 } },
	{ "readdir_deleting", 4, "spare", make_changing, run_deleting, PD_OP_EMPTIES, { 0 } },
	{ "removed_cwd", 8, NULL, make_new, run_removed_cwd, 0, { 0 } },
	{ "fsync_dir", 4, NULL, make_dir, run_fsync_dir, 0, { 0 } },
	{ "dotdot", 6, NULL, make_dir, run_dotdot, 0, { 0 } },
	{ .name = NULL },
};
