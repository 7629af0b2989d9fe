/*
 * Hostile layers: marks of every kind with any value, in every layer, the upper and the work directory; then operations on
 * the union over them. Nothing crashes or leads out of a layer, lower layers stay as they are, errors are of the
 * sane kind, and what a listing shows is what a lookup finds.
 *
 * An input: a configuration, then what lies in the layers, up to a zero byte, then operations.
 */
#include <errno.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fuzz.h"
#include "hostile.h"
#include "tree.h"
#include "union/union.h"

#define FILE_MAX (1 << 20)
#define DEPTH 5
#define STEPS_MAX 48

static struct ply_union *u;
static struct ply_union_config config;

/* ---- operations ---- */

static const int insane[] = { EFAULT, EBADF, EINTR, ENOSYS, ENOTTY, EMFILE, EDEADLK, ENOTSOCK };

static long sane(long result)
{
	if (result < -4095)
		fuzz_fail("a result of %ld", result);
	for (size_t i = 0; i < sizeof(insane) / sizeof(insane[0]); i++)
		if (result == -insane[i])
			fuzz_fail("%s", strerror(insane[i]));
	return result;
}

/* The node of a path with one lookup, or the deepest directory on the way and what is left of the path. */
static long walk(const char *path, struct ply_node **node, char name[256])
{
	struct ply_entry entry = { .node = ply_root(u) }, next;
	long err = 0;

	for (*name = '\0'; !err && *path; path += *path == '/') {
		size_t len = strcspn(path, "/");

		snprintf(name, 256, "%.*s", (int)len, path);
		path += len;
		err = sane(ply_lookup(u, entry.node, name, &next));
		if (err)
			break;
		ply_forget(u, entry.node, entry.node != ply_root(u));
		entry = next;
	}
	*node = entry.node;
	return err;
}

static void drop(struct ply_node *node)
{
	ply_forget(u, node, node != ply_root(u));
}

static struct ply_node *take_node(struct fuzz_in *in)
{
	struct ply_node *node;
	char path[HOSTILE_PATH], name[256];

	hostile_path(in, path);
	walk(path, &node, name);
	return node;
}

/* A directory, and a name in it that may be there. */
static struct ply_node *take_entry(struct fuzz_in *in, char name[256])
{
	struct ply_node *node = take_node(in);

	snprintf(name, 256, "%s", hostile_name(in));
	return node;
}

static void do_read(struct fuzz_in *in)
{
	struct ply_node *node = take_node(in);
	char buf[4096];
	long n = sane(ply_read(u, node, buf, sizeof(buf), (off_t)fuzz_number(in, 1)));

	if (n >= 7 && memmem(buf, (size_t)n, "OUTSIDE", 7))
		fuzz_fail("what is outside of the layers is read");
	sane(ply_readlink(u, node, buf, sizeof(buf)));
	sane(ply_lseek(u, node, 0, SEEK_HOLE));
	drop(node);
}

static void do_write(struct fuzz_in *in)
{
	struct ply_node *node = take_node(in);

	sane(ply_write(u, node, "written", 7, (off_t)fuzz_number(in, 1), fuzz_pick(in, 4)));
	drop(node);
}

static void do_setattr(struct fuzz_in *in)
{
	struct ply_node *node = take_node(in);
	struct ply_setattr set = { .valid = (unsigned)fuzz_number(in, 2) & 0x3ff };
	struct statx attr;

	set.mode = (mode_t)fuzz_number(in, 2) & 07777;
	set.uid = set.gid = fuzz_pick(in, 2) * 1000;
	set.size = (off_t)fuzz_number(in, 1);
	sane(ply_setattr(u, node, &set, &attr));
	drop(node);
}

static void do_create(struct fuzz_in *in)
{
	static const mode_t types[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR };
	struct ply_make how = { .mode = types[fuzz_pick(in, 5)] | 0644, .cred = { .umask = 022 } };
	struct ply_entry entry;
	char name[256];
	struct ply_node *dir = take_entry(in, name);

	how.rdev = S_ISCHR(how.mode) ? makedev(1, 3) : 0;
	how.target = S_ISLNK(how.mode) ? "target" : NULL;
	if (!sane(ply_create(u, dir, name, &how, &entry)))
		ply_forget(u, entry.node, 1);
	drop(dir);
}

static void do_remove(struct fuzz_in *in)
{
	char name[256];
	struct ply_node *dir = take_entry(in, name);

	sane(fuzz_pick(in, 2) ? ply_rmdir(u, dir, name) : ply_unlink(u, dir, name));
	drop(dir);
}

static void do_rename(struct fuzz_in *in)
{
	char from[256], to[256];
	struct ply_node *dir = take_entry(in, from), *newdir = take_entry(in, to);

	sane(ply_rename(u, dir, from, newdir, to, fuzz_pick(in, 4) ? 0 : fuzz_pick(in, 8)));
	drop(newdir);
	drop(dir);
}

static void do_link(struct fuzz_in *in)
{
	char name[256];
	struct ply_node *node = take_node(in), *dir = take_entry(in, name);
	struct ply_entry entry;

	if (!sane(ply_link(u, node, dir, name, &entry)))
		ply_forget(u, entry.node, 1);
	drop(dir);
	drop(node);
}

static void do_xattr(struct fuzz_in *in)
{
	char name[256], value[65536];
	struct ply_node *node = take_node(in);
	size_t size;

	hostile_attribute(in, name);
	size = hostile_value(in, value);
	sane(ply_setxattr(u, node, name, value, size, 0));
	sane(ply_getxattr(u, node, name, value, sizeof(value)));
	sane(ply_listxattr(u, node, value, sizeof(value)));
	if (fuzz_pick(in, 2))
		sane(ply_removexattr(u, node, name));
	drop(node);
}

static void do_data(struct fuzz_in *in)
{
	struct ply_node *from = take_node(in), *to = take_node(in);

	sane(ply_copy_range(u, from, 0, to, (off_t)fuzz_number(in, 1), 100, 0));
	sane(ply_fallocate(u, to, fuzz_pick(in, 2) * 3, 0, 100, 0));
	sane(ply_fsync(u, to, PLY_SYNC_ALL));
	drop(to);
	drop(from);
}

/* What is then in a layer is not seen by a union of those that were there before. */
static int has_rotated;

static void open_union(void)
{
	struct ply_why why;
	long err;

	u = NULL;
	err = sane(ply_union_open(&config, &u, &why));
	fuzz_check(!err == !!u);
	if (err)
		fuzz_check(*why.text);
}

static void do_settle(struct fuzz_in *in)
{
	uint64_t left;

	(void)in;
	sane(ply_settle(u, 0));
	sane(ply_flush(u, 1, PLY_FLUSH_ALL_DATA, &left));
}

static void do_rotate(struct fuzz_in *in)
{
	enum ply_rotate_how how = fuzz_pick(in, 2) ? PLY_ROTATE_ALONE : PLY_ROTATE_AS_IS;
	struct ply_why why;

	if (!sane(ply_rotate_prepare(u, how)) &&
	    !sane(ply_rotate(u, tree_path("rotated"), how, &why)))
		has_rotated = 1;
}

static void do_again(struct fuzz_in *in)
{
	(void)in;
	ply_union_close(u);
	open_union();
}

static void (*const steps[])(struct fuzz_in *in) = {
	do_read,  do_write, do_setattr, do_create, do_remove, do_rename, do_link,
	do_xattr, do_data,  do_settle,	do_again,  do_rename, do_rotate,
};
#define NSTEPS 13

/* ---- listings ---- */

struct shown {
	char name[256];
	uint64_t ino;
	mode_t type;
	int no_node;
};

struct page {
	struct shown *at;
	size_t n, room;
};

static int fill(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct page *page = arg;
	struct shown *shown;

	(void)cookie;
	if (page->n == page->room) {
		page->room = page->room ? page->room * 2 : 16;
		page->at = realloc(page->at, page->room * sizeof(*page->at));
		fuzz_check(page->at);
	}
	shown = &page->at[page->n++];
	snprintf(shown->name, sizeof(shown->name), "%s", name);
	shown->ino = entry->attr.stx_ino;
	shown->type = entry->attr.stx_mode & S_IFMT;
	shown->no_node = !entry->node;
	if (entry->node)
		ply_forget(u, entry->node, 1);
	return 1;
}

/* What is shown, as one number: names, attributes and contents. */
static uint64_t shown_sum;

static void add_shown(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		shown_sum = (shown_sum ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
}

static void add_entry(struct ply_node *node, const struct shown *s, const struct statx *attr)
{
	char buf[256];
	long n = 0;

	if (S_ISREG(s->type))
		n = sane(ply_read(u, node, buf, sizeof(buf), 0));
	else if (S_ISLNK(s->type))
		n = sane(ply_readlink(u, node, buf, sizeof(buf)));
	if (getenv("PLY_VERBOSE"))
		printf("%s %o %ld\n", s->name, s->type, n);
	add_shown(s->name, strlen(s->name) + 1);
	add_shown(&s->type, sizeof(s->type));
	add_shown(&n, sizeof(n));
	add_shown(&attr->stx_mode, sizeof(attr->stx_mode));
	add_shown(&attr->stx_uid, sizeof(attr->stx_uid));
	add_shown(&attr->stx_ino, sizeof(attr->stx_ino));
	add_shown(&attr->stx_size, sizeof(attr->stx_size));
	add_shown(&attr->stx_mtime.tv_sec, sizeof(attr->stx_mtime.tv_sec));
	add_shown(&attr->stx_mtime.tv_nsec, sizeof(attr->stx_mtime.tv_nsec));
	if (n > 0)
		add_shown(buf, (size_t)n);
}

static int is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static void check_names(struct ply_node *dir, const struct page *page);

static void check_dir(struct ply_node *dir, int depth)
{
	struct page page = { 0 };
	struct ply_entry entry;
	long listed = sane(ply_readdir(u, dir, 0, fill, &page));

	/* It was there a moment ago. */
	fuzz_check(listed != -ENOENT && listed != -ESTALE);
	if (!listed)
		check_names(dir, &page);
	for (size_t i = 0; i < page.n; i++) {
		const struct shown *s = &page.at[i];
		long err;

		if (is_dot(s->name))
			continue;
		err = sane(ply_lookup(u, dir, s->name, &entry));
		if (err != (s->no_node ? -EINVAL : 0))
			fuzz_fail("'%s' is listed, and looked up it is: %s", s->name,
				  strerror((int)-err));
		if (err)
			continue;
		fuzz_check(entry.attr.stx_ino == s->ino);
		fuzz_check((entry.attr.stx_mode & S_IFMT) == s->type);
		add_entry(entry.node, s, &entry.attr);
		if (S_ISDIR(s->type) && depth)
			check_dir(entry.node, depth - 1);
		ply_forget(u, entry.node, 1);
	}
	free(page.at);
}

/* Names that are there are listed. */
static void check_names(struct ply_node *dir, const struct page *page)
{
	for (size_t i = 0; i < HOSTILE_NAMES; i++) {
		struct ply_entry entry;
		size_t at = 0;

		if (sane(ply_lookup(u, dir, hostile_names[i], &entry)))
			continue;
		ply_forget(u, entry.node, 1);
		while (at < page->n && strcmp(page->at[at].name, hostile_names[i]))
			at++;
		if (at == page->n)
			fuzz_fail("'%s' is there, but not listed", hostile_names[i]);
	}
}

/* ---- one input ---- */

static void make_layers(void)
{
	tree_make_dir(tree_path("outside"));
	tree_make_file(tree_path("outside/secret"), "OUTSIDE", 7);
	tree_make_file(tree_path("outside/a"), "OUTSIDE", 7);
	for (unsigned i = 0; i < HOSTILE_LAYERS; i++)
		tree_make_dir(tree_path("%s", hostile_layers[i]));
	for (unsigned i = 0; i < 3; i++) {
		tree_make_dir(tree_path("%s/a", hostile_layers[i]));
		tree_make_dir(tree_path("%s/a/b", hostile_layers[i]));
		tree_make_file(tree_path("%s/a/c", hostile_layers[i]), "lower content", 13);
	}
}

static void take_config(struct fuzz_in *in)
{
	static const char *paths[HOSTILE_LOWERS];
	static char text[HOSTILE_LAYERS][512];
	unsigned bits = (unsigned)fuzz_number(in, 2);

	for (unsigned i = 0; i < HOSTILE_LAYERS; i++)
		snprintf(text[i], sizeof(text[i]), "%s", tree_path("%s", hostile_layers[i]));
	for (unsigned i = 0; i < HOSTILE_LOWERS; i++)
		paths[i] = text[i];
	config = (struct ply_union_config){
		.lowers = paths,
		.nlowers = HOSTILE_LOWERS,
		.ndata = 1,
		.upper = text[4],
		.work = text[5],
		.whiteout = (enum ply_whiteout_form)(bits & 3),
		.space = (enum ply_xattr_space)(bits >> 2 & 3),
		.redirect_dir = (enum ply_redirect_dir)((bits >> 4 & 7) % 6),
		.owners = (enum ply_owner_place)((bits >> 7 & 3) % 3),
		.metacopy = bits >> 9 & 1,
		.no_index = bits >> 10 & 1,
		.lowers_change = bits >> 11 & 1,
		.max_fds = bits >> 12 & 1 ? 4 : 0,
		.sync = bits >> 13 & 1,
	};
	if ((bits >> 14 & 3) == 3)
		config.upper = config.work = NULL;
}

static unsigned long sum_lowers(void)
{
	unsigned long sum = tree_sum(tree_path("outside"));

	for (unsigned i = 0; i < HOSTILE_LOWERS; i++)
		sum = sum * 31 + tree_sum(tree_path("%s", hostile_layers[i]));
	return sum;
}

/* A fresh union shows the same. */
static void check_again(void)
{
	uint64_t before;

	shown_sum = 0;
	check_dir(ply_root(u), DEPTH);
	before = shown_sum;
	ply_union_close(u);
	open_union();
	if (!u)
		return;
	shown_sum = 0;
	if (getenv("PLY_VERBOSE"))
		printf("-- again\n");
	check_dir(ply_root(u), DEPTH);
	if (shown_sum != before && !has_rotated)
		fuzz_fail("another mount shows another tree");
}

static void operate(struct fuzz_in *in)
{
	for (unsigned n = 0; u && fuzz_left(in) && n < STEPS_MAX; n++)
		steps[fuzz_pick(in, NSTEPS)](in);
	if (u)
		check_again();
}

static void try(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, data + size };
	unsigned long before;

	has_rotated = 0;
	make_layers();
	take_config(&in);
	hostile_lay(&in);
	before = sum_lowers();
	open_union();
	operate(&in);
	ply_union_close(u);
	fuzz_check(sum_lowers() == before);
	tree_empty(tree_top());
}

int main(int argc, char *argv[])
{
	static const struct fuzz_target targets[] = {
		{ .name = "layers", .try = try, .max = 4096, .rounds = 2000 },
		{ 0 },
	};
	const struct rlimit limit = { FILE_MAX, FILE_MAX };

	umask(022);
	/* No operation may fill the disk. */
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 1;
	return fuzz_main(argc, argv, targets);
}
