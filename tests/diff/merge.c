/*
 * What a stack of layers means, as simply as it can be said: layers are applied bottom up to a plain
 * directory. This is the model that every union is measured against, so it shares no code with plyfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "plydiff.h"

static const char AUFS_PREFIX[] = ".wh.";
static const char AUFS_OPAQUE[] = ".wh..wh..opq";
static const char OPAQUE[] = "trusted.overlay.opaque";
static const char WHITEOUT[] = "trusted.overlay.whiteout";

static bool is_aufs_mark(const char *name)
{
	return strncmp(name, AUFS_PREFIX, strlen(AUFS_PREFIX)) == 0;
}

bool pd_is_whiteout(int dir, const char *name, const struct stat *st)
{
	char path[PD_PROC_PATH], value[4];

	if (S_ISCHR(st->st_mode))
		return st->st_rdev == makedev(0, 0);
	if (!S_ISREG(st->st_mode) || st->st_size)
		return false;
	pd_proc_path(path, dir, name);
	return lgetxattr(path, WHITEOUT, value, sizeof(value)) >= 0;
}

bool pd_is_opaque(int dirfd)
{
	char value[4] = "";

	if (fgetxattr(dirfd, OPAQUE, value, sizeof(value)) == 1 && value[0] == 'y')
		return true;
	return faccessat(dirfd, AUFS_OPAQUE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

struct merging {
	int merged; /* the root of the merged tree */
	struct pd_links links;
};

static int merge_into(struct merging *m, int layer, int merged, const char *prefix);

static int remove_below(int merged, const char *name)
{
	int err = pd_remove_tree(merged, name);

	return err == -ENOENT ? 0 : err;
}

static int remove_content(int merged)
{
	struct pd_names names;
	int err = pd_list(merged, &names);

	for (size_t i = 0; i < names.count && !err; i++)
		err = pd_remove_tree(merged, names.name[i]);
	pd_names_free(&names);
	return err;
}

/* The topmost directory's attributes win as a whole: xattrs of lower ones don't shine through. */
static int take_attrs(int layer, const char *lname, int merged, const char *mname)
{
	char path[PD_PROC_PATH], list[4096];
	ssize_t n;

	pd_proc_path(path, merged, mname);
	n = llistxattr(path, list, sizeof(list));
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(list + i) + 1)
		lremovexattr(path, list + i);
	return pd_copy_attrs(layer, lname, merged, mname, 0);
}

static int merge_dir(struct merging *m, int layer, int merged, const char *name, const char *path)
{
	struct stat st;
	int err = 0;

	if (fstatat(merged, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
		err = remove_below(merged, name);
	if (!err && mkdirat(merged, name, 0700) != 0 && errno != EEXIST)
		err = -errno;
	if (err)
		return err;
	int from = openat(layer, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int to = openat(merged, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	err = from < 0 || to < 0 ? -errno : merge_into(m, from, to, path);
	if (!err)
		err = take_attrs(layer, name, merged, name);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return err;
}

static int merge_file(struct merging *m, int layer, const struct stat *st, int merged,
		      const char *name, const char *path)
{
	int err = remove_below(merged, name);

	if (err)
		return err;
	for (size_t i = 0; i < m->links.count && st->st_nlink > 1; i++) {
		if (m->links.item[i].ino == st->st_ino)
			return linkat(m->merged, m->links.item[i].path, merged, name, 0) == 0
				       ? 0
				       : -errno;
	}
	if (st->st_nlink > 1) {
		m->links.item =
			pd_grow(m->links.item, (m->links.count + 1) * sizeof(*m->links.item));
		m->links.item[m->links.count++] =
			(struct pd_link){ .ino = st->st_ino, .path = pd_copy_string(path) };
	}
	return pd_copy_object(layer, name, merged, name, 0);
}

static int merge_entry(struct merging *m, int layer, int merged, const char *name, const char *path)
{
	struct stat st;

	if (fstatat(layer, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (strcmp(name, AUFS_OPAQUE) == 0)
		return 0;
	if (is_aufs_mark(name))
		return remove_below(merged, name + strlen(AUFS_PREFIX));
	if (pd_is_whiteout(layer, name, &st))
		return remove_below(merged, name);
	if (S_ISDIR(st.st_mode))
		return merge_dir(m, layer, merged, name, path);
	return merge_file(m, layer, &st, merged, name, path);
}

/* Marks first: `.wh.a` beside `a` in one layer hides what is below, not its neighbour. */
static bool comes_now(const char *name, int pass)
{
	return is_aufs_mark(name) == (pass == 0);
}

static int merge_into(struct merging *m, int layer, int merged, const char *prefix)
{
	struct pd_names names;
	int err = pd_is_opaque(layer) ? remove_content(merged) : 0;

	if (err)
		return err;
	err = pd_list(layer, &names);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < names.count && !err; i++) {
			if (!comes_now(names.name[i], pass))
				continue;
			char *path = pd_format("%s%s%s", prefix, *prefix ? "/" : "", names.name[i]);

			err = merge_entry(m, layer, merged, names.name[i], path);
			free(path);
		}
	}
	pd_names_free(&names);
	return err;
}

int pd_merge_layer(int layer, int merged)
{
	struct merging m = { .merged = merged };
	int err = merge_into(&m, layer, merged, "");

	pd_links_free(&m.links);
	return err ? err : take_attrs(layer, ".", merged, ".");
}
