/*
 * Copying and removing objects and trees with all that belongs to them: data and holes, owner, mode, times,
 * xattrs, ACLs, hard links. Everything works by descriptor and name, so that trees deeper than PATH_MAX work.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "plydiff.h"

enum { XATTR_LIST = 65536, XATTR_VALUE = 65536, BLOCK = 65536 };

void pd_proc_path(char out[PD_PROC_PATH], int dir, const char *name)
{
	if (dir == AT_FDCWD || name[0] == '/')
		snprintf(out, PD_PROC_PATH, "%s", name);
	else
		snprintf(out, PD_PROC_PATH, "/proc/self/fd/%d/%s", dir, name);
}

void pd_links_free(struct pd_links *links)
{
	for (size_t i = 0; i < links->count; i++)
		free(links->item[i].path);
	free(links->item);
	*links = (struct pd_links){ 0 };
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int pd_list(int dirfd, struct pd_names *names)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	*names = (struct pd_names){ 0 };
	if (!dir)
		return -errno;
	errno = 0;
	/* cppcheck-suppress readdirCalled */
	while ((e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		names->name = pd_grow(names->name, (names->count + 1) * sizeof(char *));
		names->name[names->count++] = pd_copy_string(e->d_name);
		errno = 0;
	}
	int err = errno;

	closedir(dir);
	if (names->count)
		qsort(names->name, names->count, sizeof(char *), by_name);
	return -err;
}

void pd_names_free(struct pd_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct pd_names){ 0 };
}

/* ---- attributes ---- */

static bool is_mark(const char *xattr)
{
	return strncmp(xattr, "trusted.overlay.", 16) == 0;
}

static int copy_xattrs(const char *from, const char *to, unsigned flags)
{
	char *list = pd_alloc(XATTR_LIST), *value = pd_alloc(XATTR_VALUE);
	ssize_t n = llistxattr(from, list, XATTR_LIST);
	int err = n < 0 && errno != EOPNOTSUPP ? -errno : 0;

	for (ssize_t i = 0; i < n && !err; i += (ssize_t)strlen(list + i) + 1) {
		if (is_mark(list + i) && !(flags & PD_COPY_RAW))
			continue;
		ssize_t len = lgetxattr(from, list + i, value, XATTR_VALUE);

		if (len < 0 || lsetxattr(to, list + i, value, (size_t)len, 0) != 0)
			err = -errno;
	}
	free(list);
	free(value);
	return err;
}

/* What the default ACL of its new parent gave to the copy. */
static void drop_inherited(const char *path)
{
	lremovexattr(path, "system.posix_acl_access");
	lremovexattr(path, "system.posix_acl_default");
}

int pd_copy_attrs(int sdir, const char *sname, int ddir, const char *dname, unsigned flags)
{
	char from[PD_PROC_PATH], to[PD_PROC_PATH];
	struct stat st;
	int err = 0;

	if (fstatat(sdir, sname, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (fchownat(ddir, dname, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	pd_proc_path(from, sdir, sname);
	pd_proc_path(to, ddir, dname);
	if (!(flags & PD_COPY_NO_XATTRS) && !S_ISLNK(st.st_mode))
		drop_inherited(to);
	if (!S_ISLNK(st.st_mode) && fchmodat(ddir, dname, st.st_mode & 07777, 0) != 0)
		return -errno;
	if (!(flags & PD_COPY_NO_XATTRS))
		err = copy_xattrs(from, to, flags);
	struct timespec times[2] = { st.st_atim, st.st_mtim };

	if (!err && utimensat(ddir, dname, times, AT_SYMLINK_NOFOLLOW) != 0)
		err = -errno;
	return err;
}

/* ---- data ---- */

static int copy_range(int in, int out, off_t from, off_t to)
{
	static char buf[BLOCK];

	while (from < to) {
		size_t want = to - from < BLOCK ? (size_t)(to - from) : BLOCK;
		ssize_t n = pread(in, buf, want, from);

		if (n <= 0)
			return n < 0 ? -errno : 0;
		ssize_t done = pwrite(out, buf, (size_t)n, from);

		if (done != n)
			return done < 0 ? -errno : -ENOSPC;
		from += n;
	}
	return 0;
}

static int copy_data(int in, int out)
{
	off_t end = lseek(in, 0, SEEK_END), at = 0;
	int err = 0;

	while (at < end && !err) {
		off_t data = lseek(in, at, SEEK_DATA);
		off_t hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);

		if (data < 0 || hole <= data)
			break;
		err = copy_range(in, out, data, hole);
		at = hole;
	}
	if (!err && ftruncate(out, end) != 0)
		err = -errno;
	return err;
}

static int copy_file(int sdir, const char *sname, int ddir, const char *dname)
{
	int in = openat(sdir, sname, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (in < 0)
		return -errno;
	int out = openat(ddir, dname, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err = out < 0 ? -errno : copy_data(in, out);

	close(in);
	if (out >= 0 && close(out) != 0 && !err)
		err = -errno;
	return err;
}

static int copy_symlink(int sdir, const char *sname, int ddir, const char *dname)
{
	char target[4096];
	ssize_t n = readlinkat(sdir, sname, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, ddir, dname) == 0 ? 0 : -errno;
}

int pd_copy_object(int sdir, const char *sname, int ddir, const char *dname, unsigned flags)
{
	struct stat st;
	int err;

	if (fstatat(sdir, sname, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		err = copy_file(sdir, sname, ddir, dname);
	else if (S_ISLNK(st.st_mode))
		err = copy_symlink(sdir, sname, ddir, dname);
	else if (S_ISDIR(st.st_mode))
		err = mkdirat(ddir, dname, 0700) == 0 ? 0 : -errno;
	else
		err = mknodat(ddir, dname, (st.st_mode & S_IFMT) | 0600, st.st_rdev) == 0 ? 0
											  : -errno;
	return err ? err : pd_copy_attrs(sdir, sname, ddir, dname, flags);
}

/* ---- trees ---- */

/* Where a copy stands: the roots stay open, so that a second name can be linked to the first. */
struct copying {
	int droot;
	unsigned flags;
	struct pd_links links;
};

static int copy_into(struct copying *c, int sdir, int ddir, const char *prefix);

static int copy_linked(struct copying *c, const struct stat *st, int ddir, const char *name,
		       const char *path)
{
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return -ENOENT;
	for (size_t i = 0; i < c->links.count; i++) {
		if (c->links.item[i].ino != st->st_ino)
			continue;
		return linkat(c->droot, c->links.item[i].path, ddir, name, 0) == 0 ? 0 : -errno;
	}
	c->links.item = pd_grow(c->links.item, (c->links.count + 1) * sizeof(*c->links.item));
	c->links.item[c->links.count++] =
		(struct pd_link){ .ino = st->st_ino, .path = pd_copy_string(path) };
	return -ENOENT;
}

static int copy_subdir(struct copying *c, int sdir, const char *sname, int ddir, const char *dname,
		       const char *path)
{
	int from = openat(sdir, sname, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int to = openat(ddir, dname, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int err = from < 0 || to < 0 ? -errno : copy_into(c, from, to, path);

	/* Again: the times were changed by what was put in. */
	if (!err)
		err = pd_copy_attrs(sdir, sname, ddir, dname, c->flags);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return err;
}

static int copy_entry(struct copying *c, int sdir, const char *sname, int ddir, const char *dname,
		      const char *path)
{
	struct stat st;
	int err;

	if (fstatat(sdir, sname, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	err = copy_linked(c, &st, ddir, dname, path);
	if (err == -ENOENT)
		err = pd_copy_object(sdir, sname, ddir, dname, c->flags);
	if (!err && S_ISDIR(st.st_mode))
		err = copy_subdir(c, sdir, sname, ddir, dname, path);
	return err;
}

static int copy_into(struct copying *c, int sdir, int ddir, const char *prefix)
{
	struct pd_names names;
	int err = pd_list(sdir, &names);

	for (size_t i = 0; i < names.count && !err; i++) {
		char *path = pd_format("%s%s%s", prefix, *prefix ? "/" : "", names.name[i]);

		err = copy_entry(c, sdir, names.name[i], ddir, names.name[i], path);
		free(path);
	}
	pd_names_free(&names);
	return err;
}

int pd_copy_tree(int sdir, const char *sname, int ddir, const char *dname, unsigned flags)
{
	struct copying c = { .droot = ddir, .flags = flags };
	int err = copy_entry(&c, sdir, sname, ddir, dname, dname);

	pd_links_free(&c.links);
	return err;
}

int pd_remove_tree(int dir, const char *name)
{
	int err = 0;

	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	struct pd_names names;

	err = pd_list(fd, &names);
	for (size_t i = 0; i < names.count && !err; i++)
		err = pd_remove_tree(fd, names.name[i]);
	pd_names_free(&names);
	close(fd);
	if (!err && unlinkat(dir, name, AT_REMOVEDIR) != 0)
		err = -errno;
	return err;
}
