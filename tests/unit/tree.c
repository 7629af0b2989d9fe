/* Descriptions of whole trees, of the union and of plain directories, in one format that can be compared. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include "paths.h"

#define DATA_MAX (16 << 20)

struct tree {
	unsigned flags;
	char **lines;
	size_t n, size;
};

/* One entry, from wherever it comes. */
struct thing {
	char path[8192];
	struct statx stx;
	char target[4096];
	uint64_t data;
	char xattrs[4096];
	size_t xattrs_used;
};

static void add_line(struct tree *t, const struct thing *thing)
{
	const struct statx *s = &thing->stx;
	int is_dir = S_ISDIR(s->stx_mode);
	char *line;
	int n;

	n = asprintf(&line,
		     "/%s %o %u:%u size=%" PRIu64 " rdev=%u:%u nlink=%u ino=%" PRIu64
		     " mtime=%" PRId64 ".%u data=%" PRIx64 " -> %s {%s}",
		     thing->path, s->stx_mode, s->stx_uid, s->stx_gid,
		     is_dir ? 0 : (uint64_t)s->stx_size, s->stx_rdev_major, s->stx_rdev_minor,
		     t->flags & TREE_NLINK && !is_dir ? s->stx_nlink : 0,
		     t->flags & TREE_INO ? (uint64_t)s->stx_ino : 0,
		     t->flags & TREE_MTIME ? (int64_t)s->stx_mtime.tv_sec : 0,
		     t->flags & TREE_MTIME ? s->stx_mtime.tv_nsec : 0, thing->data, thing->target,
		     thing->xattrs);
	assert_true(n > 0);
	if (t->n == t->size) {
		t->size = t->size ? t->size * 2 : 64;
		t->lines = realloc(t->lines, t->size * sizeof(*t->lines));
		assert_non_null(t->lines);
	}
	t->lines[t->n++] = line;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *join(struct tree *t)
{
	size_t used = 0;
	char *text;

	qsort(t->lines, t->n, sizeof(*t->lines), by_text);
	for (size_t i = 0; i < t->n; i++)
		used += strlen(t->lines[i]) + 1;
	text = malloc(used + 1);
	assert_non_null(text);
	used = 0;
	for (size_t i = 0; i < t->n; i++) {
		used += (size_t)sprintf(text + used, "%s\n", t->lines[i]);
		free(t->lines[i]);
	}
	text[used] = '\0';
	free(t->lines);
	return text;
}

static void add_xattr(struct thing *thing, const char *name, const char *value, ssize_t size)
{
	char *at = thing->xattrs + thing->xattrs_used;
	size_t room = sizeof(thing->xattrs) - thing->xattrs_used;

	thing->xattrs_used += (size_t)snprintf(at, room, "%s=%zd:%" PRIx64 ";", name, size,
					       size > 0 ? XXH3_64bits(value, (size_t)size) : 0);
	assert_true(thing->xattrs_used < sizeof(thing->xattrs));
}

/* ---- the union ---- */

struct union_walk {
	struct bed *b;
	struct tree *t;
	const char *path;
	struct names {
		char **at;
		size_t n, size;
	} names;
};

static void read_union_xattrs(struct bed *b, struct ply_node *node, struct thing *thing)
{
	char list[2048], value[4096];
	ssize_t n = ply_listxattr(b->u, node, list, sizeof(list));
	char *names[64] = { NULL };
	size_t count = 0;

	if (n == -EOPNOTSUPP)
		return;
	assert_true(n >= 0);
	for (ssize_t pos = 0; pos < n; pos += (ssize_t)strlen(list + pos) + 1)
		names[count++] = list + pos;
	qsort(names, count, sizeof(names[0]), by_text);
	for (size_t i = 0; i < count; i++)
		add_xattr(thing, names[i], value,
			  ply_getxattr(b->u, node, names[i], value, sizeof(value)));
}

static void describe_node(struct bed *b, struct ply_node *node, struct thing *thing)
{
	ssize_t n;

	assert_ok(ply_getattr(b->u, node, &thing->stx));
	if (S_ISLNK(thing->stx.stx_mode)) {
		n = ply_readlink(b->u, node, thing->target, sizeof(thing->target) - 1);
		assert_true(n > 0);
		thing->target[n] = '\0';
	}
	if (S_ISREG(thing->stx.stx_mode)) {
		char *data = malloc(DATA_MAX);

		n = ply_read(b->u, node, data, DATA_MAX, 0);
		/* Data that no layer has is something to compare as well. */
		if (n != (ssize_t)thing->stx.stx_size && n != -EIO)
			fail_msg("/%s: read %zd of %" PRIu64 " bytes", thing->path, n,
				 (uint64_t)thing->stx.stx_size);
		thing->data = n > 0 ? XXH3_64bits(data, (size_t)n) : (uint64_t)n;
		free(data);
	}
	read_union_xattrs(b, node, thing);
}

static int keep_name(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct union_walk *w = arg;
	struct names *names = &w->names;

	(void)cookie;
	if (!entry->node)
		return 1;
	ply_forget(w->b->u, entry->node, 1);
	if (names->n == names->size) {
		names->size = names->size ? names->size * 2 : 64;
		names->at = realloc(names->at, names->size * sizeof(*names->at));
	}
	names->at[names->n++] = strdup(name);
	return 1;
}

static void walk_union(struct bed *b, struct tree *t, struct ply_node *node, const char *path)
{
	struct union_walk w = { .b = b, .t = t, .path = path };
	struct thing *thing = calloc(1, sizeof(*thing));
	char *below = malloc(8192);
	int is_dir;

	assert_true(thing && below);
	strcpy(thing->path, path);
	describe_node(b, node, thing);
	add_line(t, thing);
	is_dir = S_ISDIR(thing->stx.stx_mode);
	free(thing);
	if (is_dir)
		assert_ok(ply_readdir(b->u, node, 0, keep_name, &w));
	for (size_t i = 0; i < w.names.n; i++) {
		struct ply_entry entry;
		int err = ply_lookup(b->u, node, w.names.at[i], &entry);

		snprintf(below, 8192, "%s%s%s", path, *path ? "/" : "", w.names.at[i]);
		if (err)
			fail_msg("/%s is listed, but: %s", below, strerror(-err));
		free(w.names.at[i]);
		walk_union(b, t, entry.node, below);
		u_drop(b, &entry);
	}
	free(w.names.at);
	free(below);
}

char *tree_of_union(struct bed *b, unsigned flags)
{
	struct tree t = { .flags = flags };

	walk_union(b, &t, ply_root(b->u), "");
	return join(&t);
}

/* ---- plain directories ---- */

static void read_disk_xattrs(const char *full, struct thing *thing)
{
	char list[2048], value[4096];
	ssize_t n = llistxattr(full, list, sizeof(list));
	char *names[64] = { NULL };
	size_t count = 0;

	for (ssize_t pos = 0; pos < n; pos += (ssize_t)strlen(list + pos) + 1)
		names[count++] = list + pos;
	qsort(names, count, sizeof(names[0]), by_text);
	for (size_t i = 0; i < count; i++)
		add_xattr(thing, names[i], value, lgetxattr(full, names[i], value, sizeof(value)));
}

static void describe_file(const char *full, struct thing *thing)
{
	ssize_t n;

	if (statx(AT_FDCWD, full, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &thing->stx) < 0)
		fail_msg("%s: %s", full, strerror(errno));
	if (S_ISLNK(thing->stx.stx_mode)) {
		n = readlink(full, thing->target, sizeof(thing->target) - 1);
		assert_true(n > 0);
		thing->target[n] = '\0';
	}
	if (S_ISREG(thing->stx.stx_mode)) {
		char *data = malloc(DATA_MAX);
		int fd = open(full, O_RDONLY | O_CLOEXEC);

		n = read(fd, data, DATA_MAX);
		thing->data = n > 0 ? XXH3_64bits(data, (size_t)n) : 0;
		close(fd);
		free(data);
	}
	read_disk_xattrs(full, thing);
}

static void walk_dir(const char *top, struct tree *t, const char *path)
{
	struct thing *thing = calloc(1, sizeof(*thing));
	char *full = malloc(8192), *below = malloc(8192);
	const struct dirent *d;
	DIR *dir = NULL;

	assert_true(thing && full && below);
	snprintf(full, 8192, "%s/%s", top, path);
	strcpy(thing->path, path);
	describe_file(full, thing);
	add_line(t, thing);
	if (S_ISDIR(thing->stx.stx_mode))
		dir = opendir(full);
	free(thing);
	while (dir && (d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		snprintf(below, 8192, "%s%s%s", path, *path ? "/" : "", d->d_name);
		walk_dir(top, t, below);
	}
	if (dir)
		closedir(dir);
	free(full);
	free(below);
}

char *tree_of_dir(const char *path, unsigned flags)
{
	struct tree t = { .flags = flags };

	walk_dir(path, &t, "");
	return join(&t);
}

/* ---- comparing ---- */

void first_difference(const char *a, const char *b, const char **in_a, const char **in_b)
{
	while (*a && *b) {
		size_t al = strcspn(a, "\n"), bl = strcspn(b, "\n");

		if (al != bl || memcmp(a, b, al) != 0)
			break;
		a += al + 1;
		b += bl + 1;
	}
	*in_a = a;
	*in_b = b;
}

void check_same_tree(const char *got, const char *wanted, const char *file, int line)
{
	const char *g, *w;

	if (!strcmp(got, wanted))
		return;
	first_difference(got, wanted, &g, &w);
	print_error("trees differ:\n  got:    %.*s\n  wanted: %.*s\n", (int)strcspn(g, "\n"), g,
		    (int)strcspn(w, "\n"), w);
	_fail(file, line);
}

void check_again(struct bed *b, unsigned flags, const char *file, int line)
{
	char *before = tree_of_union(b, flags), *after;

	bed_again(b);
	after = tree_of_union(b, flags);
	check_same_tree(after, before, file, line);
	free(before);
	free(after);
}

/* ---- the union as a plain directory ---- */

/* Files that were copied already, by number. */
static struct {
	uint64_t ino;
	char path[4096];
} copied[64];
static unsigned ncopied;

static const char *copied_before(const struct statx *attr, const char *path)
{
	for (unsigned i = 0; i < ncopied; i++)
		if (copied[i].ino == attr->stx_ino)
			return copied[i].path;
	assert_true(ncopied < 64);
	copied[ncopied].ino = attr->stx_ino;
	snprintf(copied[ncopied++].path, sizeof(copied[0].path), "%s", path);
	return NULL;
}

struct copying {
	struct bed *b;
	const char *path;
};

static void copy_out(struct bed *b, struct ply_node *node, const char *path);

static int copy_entry(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct copying *c = arg;
	char path[4096];

	(void)cookie;
	if (!entry->node)
		return 1;
	snprintf(path, sizeof(path), "%s/%s", c->path, name);
	copy_out(c->b, entry->node, path);
	ply_forget(c->b->u, entry->node, 1);
	return 1;
}

/* The union as a plain directory. */
static void copy_out(struct bed *b, struct ply_node *node, const char *path)
{
	struct copying c = { .b = b, .path = path };
	const char *old;
	char target[256];
	struct statx attr;
	ssize_t n;

	assert_ok(ply_getattr(b->u, node, &attr));
	if (S_ISDIR(attr.stx_mode)) {
		put_dir(b, path);
		assert_ok(ply_readdir(b->u, node, 0, copy_entry, &c));
	} else if (S_ISLNK(attr.stx_mode)) {
		n = ply_readlink(b->u, node, target, sizeof(target) - 1);
		assert_true(n > 0);
		target[n] = '\0';
		put_symlink(b, path, target);
	} else if (!S_ISREG(attr.stx_mode)) {
		put_node(b, path, attr.stx_mode, makedev(attr.stx_rdev_major, attr.stx_rdev_minor));
	} else {
		old = attr.stx_nlink > 1 ? copied_before(&attr, path) : NULL;
		if (old)
			put_link(b, path, old);
		else
			put_file(b, path, node_text(b, node));
	}
}

void copy_of_union(struct bed *b, const char *path)
{
	ncopied = 0;
	put_remove(b, path);
	copy_out(b, ply_root(b->u), path);
}
