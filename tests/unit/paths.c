/* Operations on a union by path. */
#include "paths.h"

#include <errno.h>
#include <sys/stat.h>

void check_errno(int got, int wanted, const char *what, const char *file, int line)
{
	if (got == wanted)
		return;
	print_error("%s: %d (%s), not %d (%s)\n", what, got, got < 0 ? strerror(-got) : "no error",
		    wanted, wanted < 0 ? strerror(-wanted) : "no error");
	_fail(file, line);
}

int u_find(struct bed *b, const char *path, struct ply_entry *out)
{
	struct ply_entry at = { .node = ply_root(b->u), .id = PLY_ROOT_ID };
	int err = ply_getattr(b->u, at.node, &at.attr);

	while (!err && *path) {
		char name[512];
		size_t len = strcspn(path, "/");
		struct ply_entry next;

		snprintf(name, sizeof(name), "%.*s", (int)len, path);
		err = ply_lookup(b->u, at.node, name, &next);
		ply_forget(b->u, at.node, 1);
		if (err)
			return err;
		at = next;
		path += len + (path[len] == '/');
	}
	*out = at;
	return err;
}

struct ply_entry u_hold(struct bed *b, const char *path)
{
	struct ply_entry entry = { .node = NULL };
	int err = u_find(b, path, &entry);

	if (err)
		fail_msg("%s: %s", path, strerror(-err));
	return entry;
}

void u_drop(struct bed *b, struct ply_entry *entry)
{
	ply_forget(b->u, entry->node, 1);
	entry->node = NULL;
}

/* The directory of a path, held, and the last component. */
static int find_parent(struct bed *b, const char *path, struct ply_entry *dir, const char **name)
{
	char parent[8192];
	const char *slash = strrchr(path, '/');
	int err;

	*name = slash ? slash + 1 : path;
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	err = u_find(b, parent, dir);
	if (!err && !S_ISDIR(dir->attr.stx_mode)) {
		u_drop(b, dir);
		err = -ENOTDIR;
	}
	return err;
}

int u_stat(struct bed *b, const char *path, struct statx *attr)
{
	struct ply_entry entry;
	int err = u_find(b, path, &entry);

	if (err)
		return err;
	err = ply_getattr(b->u, entry.node, attr);
	u_drop(b, &entry);
	return err;
}

static int make(struct bed *b, const char *path, const struct ply_make *how)
{
	struct ply_entry dir, made;
	const char *name;
	int err = find_parent(b, path, &dir, &name);

	if (err)
		return err;
	err = ply_create(b->u, dir.node, name, how, &made);
	if (!err)
		u_drop(b, &made);
	u_drop(b, &dir);
	return err;
}

int u_make(struct bed *b, const char *path, mode_t mode, dev_t dev)
{
	return make(b, path, &(struct ply_make){ .mode = mode, .rdev = dev, .cred.umask = 022 });
}

int u_create(struct bed *b, const char *path)
{
	return u_make(b, path, S_IFREG | 0666, 0);
}

int u_mkdir(struct bed *b, const char *path)
{
	return u_make(b, path, S_IFDIR | 0777, 0);
}

int u_symlink(struct bed *b, const char *path, const char *target)
{
	return make(b, path, &(struct ply_make){ .mode = S_IFLNK | 0777, .target = target });
}

int u_link(struct bed *b, const char *path, const char *old)
{
	struct ply_entry dir, node, made;
	const char *name;
	int err = u_find(b, old, &node);

	if (err)
		return err;
	err = find_parent(b, path, &dir, &name);
	if (!err) {
		err = ply_link(b->u, node.node, dir.node, name, &made);
		if (!err)
			u_drop(b, &made);
		u_drop(b, &dir);
	}
	u_drop(b, &node);
	return err;
}

static int remove_by(struct bed *b, const char *path,
		     int (*op)(struct ply_union *u, struct ply_node *dir, const char *name))
{
	struct ply_entry dir;
	const char *name;
	int err = find_parent(b, path, &dir, &name);

	if (err)
		return err;
	err = op(b->u, dir.node, name);
	u_drop(b, &dir);
	return err;
}

int u_unlink(struct bed *b, const char *path)
{
	return remove_by(b, path, ply_unlink);
}

int u_rmdir(struct bed *b, const char *path)
{
	return remove_by(b, path, ply_rmdir);
}

int u_rename(struct bed *b, const char *from, const char *to, unsigned flags)
{
	struct ply_entry a, z;
	const char *from_name, *to_name;
	int err = find_parent(b, from, &a, &from_name);

	if (err)
		return err;
	err = find_parent(b, to, &z, &to_name);
	if (!err) {
		err = ply_rename(b->u, a.node, from_name, z.node, to_name, flags);
		u_drop(b, &z);
	}
	u_drop(b, &a);
	return err;
}

static int write_at(struct bed *b, const char *path, const char *text, off_t off, unsigned flags)
{
	struct ply_entry entry;
	size_t len = strlen(text);
	int err = u_find(b, path, &entry);
	ssize_t n;

	if (err)
		return err;
	n = ply_write(b->u, entry.node, text, len, off, flags);
	u_drop(b, &entry);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EIO;
}

int u_write(struct bed *b, const char *path, const char *text, off_t off)
{
	return write_at(b, path, text, off, 0);
}

int u_write_back(struct bed *b, const char *path, const char *text, off_t off)
{
	return write_at(b, path, text, off, PLY_WRITE_BACK);
}

int u_put(struct bed *b, const char *path, const char *text)
{
	int err = u_create(b, path);

	if (err == -EEXIST)
		err = u_truncate(b, path, 0);
	return err ? err : u_write(b, path, text, 0);
}

int u_set(struct bed *b, const char *path, const struct ply_setattr *set)
{
	struct ply_entry entry;
	struct statx attr;
	int err = u_find(b, path, &entry);

	if (err)
		return err;
	err = ply_setattr(b->u, entry.node, set, &attr);
	u_drop(b, &entry);
	return err;
}

int u_chmod(struct bed *b, const char *path, mode_t mode)
{
	return u_set(b, path, &(struct ply_setattr){ .valid = PLY_SET_MODE, .mode = mode });
}

int u_truncate(struct bed *b, const char *path, off_t size)
{
	return u_set(b, path, &(struct ply_setattr){ .valid = PLY_SET_SIZE, .size = size });
}

int u_sync(struct bed *b, const char *path)
{
	struct ply_entry entry;
	int err = u_find(b, path, &entry);

	if (err)
		return err;
	err = ply_fsync(b->u, entry.node, PLY_SYNC_ALL);
	u_drop(b, &entry);
	return err;
}

int u_setxattr(struct bed *b, const char *path, const char *name, const char *value)
{
	struct ply_entry entry;
	int err = u_find(b, path, &entry);

	if (err)
		return err;
	err = ply_setxattr(b->u, entry.node, name, value, strlen(value), 0);
	u_drop(b, &entry);
	return err;
}

static const char *error_text(int err)
{
	return strerrorname_np(-err);
}

const char *node_text(struct bed *b, struct ply_node *node)
{
	static char text[65536];
	ssize_t n = ply_read(b->u, node, text, sizeof(text) - 1, 0);

	if (n < 0)
		return error_text((int)n);
	text[n] = '\0';
	return text;
}

const char *u_text(struct bed *b, const char *path)
{
	struct ply_entry entry;
	const char *text;
	int err = u_find(b, path, &entry);

	if (err)
		return error_text(err);
	text = node_text(b, entry.node);
	u_drop(b, &entry);
	return text;
}

struct names {
	struct bed *b;
	char *at[4096];
	size_t n;
};

static int add_name(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct names *names = arg;

	(void)cookie;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 1;
	if (entry->node)
		ply_forget(names->b->u, entry->node, 1);
	assert_true(names->n < 4096);
	names->at[names->n++] = strdup(name);
	return 1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

const char *u_ls(struct bed *b, const char *path)
{
	static char text[65536];
	struct names names = { .b = b };
	struct ply_entry dir;
	size_t used = 0;
	int err = u_find(b, path, &dir);

	if (err)
		return error_text(err);
	err = ply_readdir(b->u, dir.node, 0, add_name, &names);
	u_drop(b, &dir);
	qsort(names.at, names.n, sizeof(names.at[0]), by_name);
	text[0] = '\0';
	for (size_t i = 0; i < names.n; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
					 names.at[i]);
		free(names.at[i]);
	}
	return err ? error_text(err) : text;
}

const char *u_xattr(struct bed *b, const char *path, const char *name)
{
	static char value[4096];
	struct ply_entry entry;
	ssize_t n = u_find(b, path, &entry);

	if (n)
		return NULL;
	n = ply_getxattr(b->u, entry.node, name, value, sizeof(value) - 1);
	u_drop(b, &entry);
	if (n < 0)
		return NULL;
	value[n] = '\0';
	return value;
}
