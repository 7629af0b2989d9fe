/*
 * A whole tree: collected by descriptors (depth has no limit), then compared entry by entry. What is a rule for
 * unions and what is left out (atime, directory sizes and link counts) is decided here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <xxhash.h>

#include "plydiff.h"

enum { MOST_DIFFERENCES = 12, CHUNK = 262144 };

/* ---- collecting ---- */

struct collecting {
	struct pd_tree *tree;
	size_t cap;
	unsigned flags;
};

static void complain(struct collecting *c, const char *what, const char *path, int err)
{
	struct pd_text t = { 0 };

	if (c->tree->error)
		return;
	pd_add(&t, "%s ", what);
	pd_add_quoted(&t, path, strlen(path));
	pd_add(&t, ": %s", pd_errno_name(err));
	c->tree->error = t.s;
}

static void read_content(struct collecting *c, int dir, const char *name, struct pd_ent *e)
{
	static uint8_t buf[CHUNK];
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct pd_text t = { 0 };
	struct pd_runs runs;
	ssize_t n;

	if (fd < 0) {
		complain(c, "open", e->path, errno);
		return;
	}
	pd_runs_start(&runs, &t);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		pd_runs_feed(&runs, buf, (size_t)n);
	if (n < 0)
		complain(c, "read", e->path, errno);
	pd_runs_end(&runs);
	close(fd);
	e->text = t.s;
}

static void read_link(struct collecting *c, int dir, const char *name, struct pd_ent *e)
{
	struct pd_text t = { 0 };
	char target[4096];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));

	if (n < 0) {
		complain(c, "readlink", e->path, errno);
		return;
	}
	pd_add_quoted(&t, target, (size_t)n);
	e->text = t.s;
}

static int by_string(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_value(struct pd_text *t, const char *path, const char *name)
{
	static char value[65536];
	ssize_t n = lgetxattr(path, name, value, sizeof(value));

	pd_add(t, "%s=", name);
	if (n < 0)
		pd_add(t, "%s ", pd_errno_name(errno));
	else if (n > 80)
		pd_add(t, "%zd bytes #%08x ", n, (unsigned)XXH3_64bits(value, (size_t)n));
	else
		pd_add_quoted(t, value, (size_t)n);
	pd_add(t, " ");
}

/* All extended attributes as one line, sorted by name; lists name and error when they can't be had. */
char *pd_xattr_line(const char *path)
{
	static char list[65536];
	const char *names[256] = { NULL };
	ssize_t n = llistxattr(path, list, sizeof(list));
	struct pd_text t = { 0 };
	size_t count = 0;

	if (n < 0 && errno != EOPNOTSUPP)
		pd_add(&t, "listxattr: %s", pd_errno_name(errno));
	for (ssize_t i = 0; i < n && count < PD_COUNT(names); i += (ssize_t)strlen(list + i) + 1)
		names[count++] = list + i;
	qsort(names, count, sizeof(names[0]), by_string);
	for (size_t i = 0; i < count; i++)
		add_value(&t, path, names[i]);
	return t.s ? t.s : pd_copy_string("");
}

static uint64_t identity_of(int dir, const char *name)
{
	union {
		struct file_handle h;
		uint8_t space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .h.handle_bytes = MAX_HANDLE_SZ };
	int mount_id;

	if (name_to_handle_at(dir, name, &u.h, &mount_id, 0) != 0)
		return 0;
	return XXH3_64bits(u.h.f_handle, u.h.handle_bytes);
}

static struct pd_ent *new_entry(struct collecting *c, const char *path)
{
	struct pd_tree *tree = c->tree;

	if (tree->count == c->cap) {
		c->cap = c->cap * 2 + 64;
		tree->ent = pd_grow(tree->ent, c->cap * sizeof(*tree->ent));
	}
	struct pd_ent *e = &tree->ent[tree->count++];

	*e = (struct pd_ent){ .path = pd_copy_string(path) };
	return e;
}

static void collect_object(struct collecting *c, int dir, const char *name, struct pd_ent *e)
{
	char path[PD_PROC_PATH];

	if (statx(dir, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &e->st) != 0) {
		complain(c, "statx", e->path, errno);
		return;
	}
	if (S_ISREG(e->st.stx_mode))
		read_content(c, dir, name, e);
	else if (S_ISLNK(e->st.stx_mode))
		read_link(c, dir, name, e);
	pd_proc_path(path, dir, name);
	e->xattrs = pd_xattr_line(path);
	if (c->flags & PD_TREE_IDENTITY)
		e->identity = identity_of(dir, name);
}

static void collect_dir(struct collecting *c, int fd, const char *prefix);

static void collect_subdir(struct collecting *c, int dir, const char *name, const char *path)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0) {
		complain(c, "opendir", path, errno);
		return;
	}
	collect_dir(c, fd, path);
	close(fd);
}

struct dirents {
	struct dirent *item;
	size_t count;
};

static int by_dirent(const void *a, const void *b)
{
	return strcmp(((const struct dirent *)a)->d_name, ((const struct dirent *)b)->d_name);
}

static void read_dirents(struct collecting *c, int fd, const char *prefix, struct dirents *all)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	size_t cap = 0;

	if (!dir) {
		complain(c, "opendir", prefix, errno);
		return;
	}
	errno = 0;
	/* cppcheck-suppress readdirCalled */
	while ((e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (all->count == cap) {
			cap = cap * 2 + 16;
			all->item = pd_grow(all->item, cap * sizeof(*all->item));
		}
		all->item[all->count].d_ino = e->d_ino;
		all->item[all->count].d_type = e->d_type;
		strcpy(all->item[all->count++].d_name, e->d_name);
	}
	if (errno)
		complain(c, "readdir", prefix, errno);
	closedir(dir);
	if (all->count)
		qsort(all->item, all->count, sizeof(*all->item), by_dirent);
}

static void collect_dir(struct collecting *c, int fd, const char *prefix)
{
	struct dirents all = { 0 };

	read_dirents(c, fd, prefix, &all);
	for (size_t i = 0; i < all.count; i++) {
		const char *name = all.item[i].d_name;
		char *path = pd_format("%s%s%s", prefix, *prefix ? "/" : "", name);
		struct pd_ent *e = new_entry(c, path);

		e->d_ino = all.item[i].d_ino;
		e->d_type = all.item[i].d_type;
		collect_object(c, fd, name, e);
		if (S_ISDIR(e->st.stx_mode))
			collect_subdir(c, fd, name, path);
		free(path);
	}
	free(all.item);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct pd_ent *)a)->path, ((const struct pd_ent *)b)->path);
}

/* Entries with one inode form a group, named by its first entry. */
static void find_groups(struct pd_tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		struct pd_ent *e = &tree->ent[i];

		e->group = i;
		if (e->st.stx_nlink < 2 || S_ISDIR(e->st.stx_mode))
			continue;
		for (size_t k = 0; k < i; k++) {
			if (tree->ent[k].st.stx_ino == e->st.stx_ino) {
				e->group = k;
				break;
			}
		}
	}
}

void pd_tree_collect(struct pd_tree *tree, int rootfd, unsigned flags)
{
	struct collecting c = { .tree = tree, .flags = flags };

	*tree = (struct pd_tree){ .started = pd_now() };
	struct pd_ent *root = new_entry(&c, "");

	collect_object(&c, rootfd, ".", root);
	root->d_type = DT_DIR;
	root->d_ino = root->st.stx_ino;
	collect_dir(&c, rootfd, "");
	qsort(tree->ent, tree->count, sizeof(*tree->ent), by_path);
	find_groups(tree);
	tree->ended = pd_now();
}

void pd_tree_free(struct pd_tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		free(tree->ent[i].path);
		free(tree->ent[i].text);
		free(tree->ent[i].xattrs);
	}
	free(tree->ent);
	free(tree->error);
	*tree = (struct pd_tree){ 0 };
}

/* ---- comparing ---- */

struct differing {
	const struct pd_sys *sys;
	struct pd_text *out;
	size_t count;
};

static void differ(struct differing *d, const char *label, const char *path, const char *want,
		   const char *got)
{
	if (d->sys && pd_tolerated(d->sys, "tree", label, want, got))
		return;
	if (d->count++ >= MOST_DIFFERENCES)
		return;
	pd_add(d->out, "%s ", label);
	pd_add_quoted(d->out, path, strlen(path));
	pd_add(d->out, ": want %s, got %s\n", want, got);
}

static void differ_number(struct differing *d, const char *label, const char *path,
			  const char *format, unsigned long long want, unsigned long long got)
{
	char a[64], b[64];

	if (want == got)
		return;
	snprintf(a, sizeof(a), strcmp(format, "octal") == 0 ? "0%llo" : "%llu", want);
	snprintf(b, sizeof(b), strcmp(format, "octal") == 0 ? "0%llo" : "%llu", got);
	differ(d, label, path, a, b);
}

static void differ_time(struct differing *d, const char *label, const char *path,
			struct statx_timestamp want, struct statx_timestamp got)
{
	char a[64], b[64];

	snprintf(a, sizeof(a), "%lld.%09u%s", (long long)want.tv_sec, want.tv_nsec,
		 pd_is_clock(want) ? " (clock)" : "");
	snprintf(b, sizeof(b), "%lld.%09u%s", (long long)got.tv_sec, got.tv_nsec,
		 pd_is_clock(got) ? " (clock)" : "");
	differ(d, label, path, a, b);
}

static bool same_time(struct statx_timestamp a, struct statx_timestamp b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void differ_mtime(struct differing *d, const struct pd_ent *want, const struct pd_ent *got,
			 unsigned flags)
{
	struct statx_timestamp a = want->st.stx_mtime, b = got->st.stx_mtime;

	if (same_time(a, b))
		return;
	if (!(flags & (PD_DIFFER_SELF | PD_DIFFER_LAYER))) {
		/* Two systems never do a thing at the same moment; pipes set times as they like. */
		if (pd_is_clock(a) && (pd_is_clock(b) || S_ISFIFO(want->st.stx_mode)))
			return;
	}
	differ_time(d, flags & PD_DIFFER_SELF ? "mtime-after" : "mtime", want->path, a, b);
}

/* Holes that got filled: only gross cases, since allocation is the file system's own matter. */
static void differ_blocks(struct differing *d, const struct pd_ent *want, const struct pd_ent *got)
{
	uint64_t size = want->st.stx_size / 512, a = want->st.stx_blocks, b = got->st.stx_blocks;

	if (S_ISREG(want->st.stx_mode) && size > 512 && a < size / 2 && b > 2 * a + 128)
		differ_number(d, "blocks", want->path, "", a, b);
}

static void differ_entry(struct differing *d, const struct pd_ent *want, const struct pd_ent *got,
			 unsigned flags)
{
	const struct statx *a = &want->st, *b = &got->st;
	bool dir = S_ISDIR(a->stx_mode);
	const char *path = want->path;

	differ_number(d, "mode", path, "octal", a->stx_mode, b->stx_mode);
	differ_number(d, "uid", path, "", a->stx_uid, b->stx_uid);
	differ_number(d, "gid", path, "", a->stx_gid, b->stx_gid);
	differ_number(d, "rdev.major", path, "", a->stx_rdev_major, b->stx_rdev_major);
	differ_number(d, "rdev.minor", path, "", a->stx_rdev_minor, b->stx_rdev_minor);
	if (!dir) {
		differ_number(d, "size", path, "", a->stx_size, b->stx_size);
		differ_number(d, "nlink", path, "", a->stx_nlink, b->stx_nlink);
	}
	differ_mtime(d, want, got, flags);
	if (strcmp(want->text ? want->text : "", got->text ? got->text : "") != 0)
		differ(d, S_ISLNK(a->stx_mode) ? "target" : "data", path,
		       want->text ? want->text : "", got->text ? got->text : "");
	if (strcmp(want->xattrs ? want->xattrs : "", got->xattrs ? got->xattrs : "") != 0)
		differ(d, "xattrs", path, want->xattrs ? want->xattrs : "",
		       got->xattrs ? got->xattrs : "");
	if (flags & (PD_DIFFER_SELF | PD_DIFFER_LAYER))
		differ_number(d, "ino", path, "", a->stx_ino, b->stx_ino);
	if ((flags & PD_DIFFER_LAYER) && !same_time(a->stx_ctime, b->stx_ctime))
		differ_time(d, "ctime", path, a->stx_ctime, b->stx_ctime);
	if (!(flags & (PD_DIFFER_NO_BLOCKS | PD_DIFFER_SELF | PD_DIFFER_LAYER)))
		differ_blocks(d, want, got);
}

size_t pd_tree_differ(const struct pd_tree *want, const struct pd_tree *got, unsigned flags,
		      const struct pd_sys *sys, struct pd_text *out)
{
	struct differing d = { .sys = sys, .out = out };
	size_t i = 0, k = 0;

	if (want->error || got->error)
		differ(&d, "walk", "", want->error ? want->error : "all",
		       got->error ? got->error : "all");
	while (i < want->count || k < got->count) {
		int order = i == want->count  ? 1
			    : k == got->count ? -1
					      : strcmp(want->ent[i].path, got->ent[k].path);

		if (order < 0) {
			differ(&d, "name", want->ent[i++].path, "there", "missing");
			continue;
		}
		if (order > 0) {
			differ(&d, "name", got->ent[k++].path, "nothing", "there");
			continue;
		}
		const char *a = want->ent[want->ent[i].group].path;
		const char *b = got->ent[got->ent[k].group].path;

		differ_entry(&d, &want->ent[i], &got->ent[k], flags);
		if (strcmp(a, b) != 0)
			differ(&d, "group", want->ent[i].path, a, b);
		i++;
		k++;
	}
	return d.count;
}

/* ---- inode numbers ---- */

struct number {
	uint64_t ino;
	const struct pd_ent *ent;
};

static int by_number(const void *a, const void *b)
{
	const struct number *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void check_unique(struct differing *d, const struct pd_tree *got)
{
	struct number *all = pd_alloc(got->count * sizeof(*all));

	for (size_t i = 0; i < got->count; i++)
		all[i] = (struct number){ got->ent[i].st.stx_ino, &got->ent[i] };
	qsort(all, got->count, sizeof(*all), by_number);
	for (size_t i = 1; i < got->count; i++) {
		const struct pd_ent *a = all[i - 1].ent, *b = all[i].ent;
		bool linked = a->st.stx_nlink > 1 && b->st.stx_nlink > 1 &&
			      !S_ISDIR(a->st.stx_mode) && !S_ISDIR(b->st.stx_mode);

		if (all[i - 1].ino == all[i].ino && !linked)
			differ(d, "ino-twice", a->path, "a number of its own", b->path);
	}
	free(all);
}

size_t pd_tree_check_self(const struct pd_tree *got, const struct pd_sys *sys, struct pd_text *out)
{
	struct differing d = { .sys = sys, .out = out };

	for (size_t i = 0; i < got->count; i++) {
		const struct pd_ent *e = &got->ent[i];

		differ_number(&d, "d_ino", e->path, "", e->st.stx_ino, e->d_ino);
		if (e->st.stx_mode)
			differ_number(&d, "d_type", e->path, "", IFTODT(e->st.stx_mode), e->d_type);
		differ_number(&d, "dev", e->path, "", got->ent[0].st.stx_dev_minor,
			      e->st.stx_dev_minor);
	}
	check_unique(&d, got);
	return d.count;
}

static struct pd_ino *find_ino(struct pd_inos *inos, uint64_t identity)
{
	for (size_t i = identity & (inos->cap - 1); inos->item[i].identity;
	     i = (i + 1) & (inos->cap - 1)) {
		if (inos->item[i].identity == identity)
			return &inos->item[i];
	}
	return NULL;
}

static void put_ino(struct pd_inos *inos, uint64_t identity, uint64_t ino)
{
	size_t i;

	if (inos->count * 2 >= inos->cap) {
		struct pd_inos old = *inos;

		inos->cap = old.cap ? old.cap * 2 : 1024;
		inos->count = 0;
		inos->item = pd_alloc(inos->cap * sizeof(*inos->item));
		for (i = 0; i < old.cap; i++) {
			if (old.item[i].identity)
				put_ino(inos, old.item[i].identity, old.item[i].ino);
		}
		free(old.item);
	}
	for (i = identity & (inos->cap - 1); inos->item[i].identity; i = (i + 1) & (inos->cap - 1))
		;
	inos->item[i] = (struct pd_ino){ identity, ino };
	inos->count++;
}

size_t pd_inos_check(struct pd_inos *inos, const struct pd_tree *plain, const struct pd_tree *got,
		     const struct pd_sys *sys, struct pd_text *out)
{
	struct differing d = { .sys = sys, .out = out };
	size_t k = 0;

	for (size_t i = 0; i < plain->count; i++) {
		const struct pd_ent *p = &plain->ent[i];

		while (k < got->count && strcmp(got->ent[k].path, p->path) < 0)
			k++;
		if (!p->identity || k == got->count || strcmp(got->ent[k].path, p->path) != 0)
			continue;
		struct pd_ino *known = inos->cap ? find_ino(inos, p->identity) : NULL;

		if (!known)
			put_ino(inos, p->identity, got->ent[k].st.stx_ino);
		else
			differ_number(&d, "ino-moved", p->path, "", known->ino,
				      got->ent[k].st.stx_ino);
	}
	return d.count;
}

void pd_inos_forget(struct pd_inos *inos)
{
	free(inos->item);
	*inos = (struct pd_inos){ 0 };
}
