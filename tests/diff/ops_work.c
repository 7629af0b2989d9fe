/* What programs do: several calls in the order in which real tools make them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plydiff.h"

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strcmp(dir, ".") == 0 ||
	       (strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

static int tell_error(struct pd_outcome *o, const char *label, int err)
{
	errno = -err;
	pd_tell(o, label, err ? -1 : 0);
	return err;
}

static int spit(struct pd_outcome *o, const char *path, int flags, long long len, long long fill)
{
	int fd = pd_tell_fd(o, "open", pd_open(path, O_WRONLY | O_CREAT | flags, 0600));
	uint8_t *buf = pd_alloc((size_t)len);

	if (fd >= 0) {
		pd_fill(buf, (size_t)len, fill);
		pd_tell(o, "write", write(fd, buf, (size_t)len));
	}
	free(buf);
	return fd;
}

/* ---- trees ---- */

static void make_tree(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
}

static void run_rm_rf(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	if (strcmp(s->p, ".") != 0)
		tell_error(o, "rm", pd_remove_tree(AT_FDCWD, s->p));
}

static void make_tree_copy(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_DIRS);
	s->q = pd_pick_new(m);
}

static void run_cp_a(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	if (!is_below(s->q, s->p))
		tell_error(o, "cp",
			   pd_copy_tree(AT_FDCWD, s->p, AT_FDCWD, s->q,
					s->as ? PD_COPY_NO_XATTRS : 0));
}

static long walk(int dir, const char *name, int depth)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct pd_names names;
	struct stat st;
	long count = 1;

	if (fd < 0)
		return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? 1 : 0;
	if (depth < 100 && pd_list(fd, &names) == 0) {
		for (size_t i = 0; i < names.count; i++)
			count += walk(fd, names.name[i], depth + 1);
		pd_names_free(&names);
	}
	close(fd);
	return count;
}

static void run_find(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_note(o, "found", "%ld", walk(AT_FDCWD, s->p, 0));
}

/* ---- files that are replaced ---- */

static void make_file(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_FILES);
	s->n[0] = pd_pick_length(m);
	s->n[1] = pd_below(&m->rng, 250);
	s->n[2] = pd_pick_mode(m);
}

/* dpkg: the new file beside, a hard link to the old one, the new over the old, then the link goes. */
static void run_dpkg(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *fresh = pd_format("%s.dpkg-new", s->p), *old = pd_format("%s.dpkg-tmp", s->p);
	int fd = spit(o, fresh, O_EXCL, s->n[0], s->n[1]);
	struct timespec times[2] = { { .tv_sec = 1700000000 }, { .tv_sec = 1700000000 } };

	(void)sys;
	if (fd >= 0) {
		pd_tell(o, "fchown", fchown(fd, 1000, 1000));
		pd_tell(o, "fchmod", fchmod(fd, (mode_t)s->n[2]));
		pd_tell(o, "close", close(fd));
		pd_tell(o, "utimens", utimensat(AT_FDCWD, fresh, times, 0));
		pd_tell(o, "link", link(s->p, old));
		pd_tell(o, "rename", rename(fresh, s->p));
		pd_tell(o, "unlink", unlink(old));
		pd_tell(o, "leftover", unlink(fresh));
	}
	free(fresh);
	free(old);
}

/* An editor or sed -i: a new file with the old one's owner and mode takes its place. */
static void run_replace(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *temp = pd_format("%s.sedXYZ", s->p);
	int fd = spit(o, temp, O_EXCL, s->n[0], s->n[1]);
	struct stat st;

	(void)sys;
	if (fd >= 0) {
		if (pd_tell(o, "stat", stat(s->p, &st)) == 0) {
			pd_tell(o, "fchown", fchown(fd, st.st_uid, st.st_gid));
			pd_tell(o, "fchmod", fchmod(fd, st.st_mode & 07777));
		}
		pd_tell(o, "close", close(fd));
		if (pd_tell(o, "rename", rename(temp, s->p)) != 0)
			pd_tell(o, "unlink", unlink(temp));
	}
	free(temp);
}

/* git: an object by a temporary name, linked to its place, the first name removed. */
static void run_object(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *temp = pd_format("%s.tmp_obj", s->p);
	int fd = spit(o, temp, O_EXCL, s->n[0], s->n[1]);

	(void)sys;
	if (fd >= 0) {
		pd_tell(o, "fchmod", fchmod(fd, 0444));
		pd_tell(o, "close", close(fd));
		pd_tell(o, "link", link(temp, s->p));
		pd_tell(o, "unlink", unlink(temp));
	}
	free(temp);
}

static void run_lockfile(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *lock = pd_format("%s.lock", s->p);
	int fd = spit(o, lock, O_EXCL, s->n[0], s->n[1]);
	int second = pd_tell_fd(o, "second", pd_open(lock, O_WRONLY | O_CREAT | O_EXCL, 0600));

	(void)sys;
	if (second >= 0)
		close(second);
	if (fd >= 0) {
		pd_tell(o, "close", close(fd));
		if (pd_tell(o, "rename", rename(lock, s->p)) != 0)
			pd_tell(o, "unlink", unlink(lock));
	}
	free(lock);
}

/* tar: made with little mode, then written, owned, moded, dated. */
static void make_unpack(struct pd_maker *m, struct pd_step *s)
{
	make_file(m, s);
	free(s->p);
	s->p = pd_pick_new(m);
}

static void run_unpack(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct timespec times[2] = { { .tv_sec = 1500000000, .tv_nsec = 123456789 },
				     { .tv_sec = 1500000000, .tv_nsec = 123456789 } };
	int fd;

	(void)sys;
	pd_tell(o, "unlink", unlink(s->p));
	fd = spit(o, s->p, O_EXCL, s->n[0], s->n[1]);
	if (fd < 0)
		return;
	pd_tell(o, "futimens", futimens(fd, times));
	pd_tell(o, "fchown", fchown(fd, 1000, 2000));
	pd_tell(o, "fchmod", fchmod(fd, (mode_t)s->n[2]));
	pd_tell(o, "close", close(fd));
}

/* A journal beside a file: both written, the journal truncated, then removed. */
static void run_journal(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *journal = pd_format("%s-journal", s->p);
	int j = spit(o, journal, 0, s->n[0], s->n[1]);
	int fd = pd_tell_fd(o, "db", pd_open(s->p, O_RDWR, 0));

	(void)sys;
	if (j >= 0 && fd >= 0) {
		pd_tell(o, "sync", fdatasync(j));
		pd_tell(o, "pwrite", pwrite(fd, journal, 8, s->n[0] / 2));
		pd_tell(o, "sync", fdatasync(fd));
		pd_tell(o, "ftruncate", pd_ftruncate(j, 0));
	}
	if (j >= 0)
		pd_tell(o, "close", close(j));
	if (fd >= 0)
		pd_tell(o, "close", close(fd));
	pd_tell(o, "unlink", unlink(journal));
	free(journal);
}

/* mv of a file to another directory: renamed, or copied where that is refused. */
static void make_mv(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_FILES);
	s->q = pd_pick_new(m);
}

static void run_mv(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	struct stat st;

	(void)sys;
	if (lstat(s->p, &st) != 0 || S_ISDIR(st.st_mode))
		return;
	if (pd_tell(o, "rename", renameat2(AT_FDCWD, s->p, AT_FDCWD, s->q, 1)) == 0)
		pd_tell(o, "lstat", lstat(s->q, &st));
}

static void run_mkdir_p(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *path = pd_format("%s/x/y/z", s->p);

	(void)sys;
	for (char *p = path + strlen(s->p) + 1; p; p = strchr(p + 1, '/')) {
		char *end = strchr(p + 1, '/');

		if (end)
			*end = '\0';
		pd_tell(o, "mkdir", mkdir(path, 0777));
		if (end)
			*end = '/';
		if (!end)
			break;
	}
	int fd = spit(o, path, 0, 10, 3);

	if (fd >= 0)
		close(fd);
	free(path);
}

const struct pd_op pd_ops_work[] = {
	{ "rm_rf", 6, NULL, make_tree, run_rm_rf, PD_OP_EMPTIES, { 0 } },
	{ "cp_a", 10, NULL, make_tree_copy, run_cp_a, 0, { 0 } },
	{ "find", 6, NULL, make_tree, run_find, 0, { 0 } },
	{ "dpkg", 16, "len fill mode", make_file, run_dpkg, PD_OP_UNLINKS, { 0 } },
	{ "replace", 12, "len fill", make_file, run_replace, PD_OP_UNLINKS, { 0 } },
	{ "git_object", 8, "len fill", make_unpack, run_object, PD_OP_UNLINKS, { 0 } },
	{ "lockfile", 10, "len fill", make_file, run_lockfile, PD_OP_UNLINKS, { 0 } },
	{ "unpack", 16, "len fill mode", make_unpack, run_unpack, PD_OP_UNLINKS, { 0 } },
	{ "journal", 8, "len fill", make_file, run_journal, 0, { 0 } },
	{ "mv", 16, NULL, make_mv, run_mv, PD_OP_UNLINKS, { 0 } },
	{ "mkdir_p", 8, NULL, make_tree, run_mkdir_p, 0, { 0 } },
	{ .name = NULL },
};
