/*
 * Random operations on a union and on a plain directory that holds the same tree: both must answer alike and
 * look alike, all the time, and so must a fresh union over the directories afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "paths.h"

static unsigned long long seed_state;

static unsigned rnd(unsigned n)
{
	seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(seed_state >> 33) % n;
}

static int result(int res)
{
	return res < 0 ? -errno : 0;
}

static const char *name_of(unsigned i)
{
	static const char *const names[] = { "a", "b", "c", "dir", "sub", "x", "longer-name" };

	return names[i % 7];
}

/* A path of one to three components. */
static void random_path(char *path)
{
	unsigned depth = 1 + rnd(3);

	path[0] = '\0';
	while (depth--) {
		strcat(path, name_of(rnd(7)));
		if (depth)
			strcat(path, "/");
	}
}

struct step {
	struct bed *b;
	char path[64], other[64], text[64];
};

static const char *plain(const struct step *s, const char *path)
{
	return bed_path(s->b, "plain/%s", path);
}

static int op_create(struct step *s, int *wanted)
{
	int fd = open(plain(s, s->path), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);

	*wanted = result(fd);
	if (fd >= 0)
		close(fd);
	return u_create(s->b, s->path);
}

static int op_mkdir(struct step *s, int *wanted)
{
	*wanted = result(mkdir(plain(s, s->path), 0777));
	return u_mkdir(s->b, s->path);
}

static int op_write(struct step *s, int *wanted)
{
	off_t off = rnd(4) ? 0 : rnd(9000);
	int fd = open(plain(s, s->path), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	snprintf(s->text, sizeof(s->text), "text %u", rnd(100000));
	*wanted = result(fd);
	if (fd < 0) /* symlinks and fifos answer otherwise to open than to write */
		return *wanted == -ENOENT || *wanted == -ENOTDIR
			       ? u_write(s->b, s->path, s->text, off)
			       : *wanted;
	*wanted = result((int)pwrite(fd, s->text, strlen(s->text), off));
	close(fd);
	return u_write(s->b, s->path, s->text, off);
}

static int op_truncate(struct step *s, int *wanted)
{
	off_t size = rnd(2) ? 0 : rnd(6000);
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && !S_ISREG(st.st_mode))
		return *wanted;
	if (!*wanted)
		*wanted = result(truncate(plain(s, s->path), size));
	return u_truncate(s->b, s->path, size);
}

static int op_unlink(struct step *s, int *wanted)
{
	*wanted = result(unlink(plain(s, s->path)));
	return u_unlink(s->b, s->path);
}

static int op_rmdir(struct step *s, int *wanted)
{
	*wanted = result(rmdir(plain(s, s->path)));
	return u_rmdir(s->b, s->path);
}

static int op_rename(struct step *s, int *wanted)
{
	static const unsigned flags[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	unsigned how = flags[rnd(5)];
	int got = u_rename(s->b, s->path, s->other, how);

	*wanted = result(renameat2(AT_FDCWD, plain(s, s->path), AT_FDCWD, plain(s, s->other), how));
	return got;
}

static int op_link(struct step *s, int *wanted)
{
	struct stat st;

	/* Of several reasons to refuse a directory the library and the kernel need not name the same. */
	if (lstat(plain(s, s->path), &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	*wanted = result(link(plain(s, s->path), plain(s, s->other)));
	return u_link(s->b, s->other, s->path);
}

/* Links lead to what is no directory, so that a path through one is -ENOTDIR for both. */
static const char *link_target(void)
{
	static const char *const targets[] = { "/dev/null", "/dev/./null", "/dev/././null" };

	return targets[rnd(3)];
}

static int op_symlink(struct step *s, int *wanted)
{
	const char *target = link_target();

	*wanted = result(symlink(target, plain(s, s->path)));
	return u_symlink(s->b, s->path, target);
}

static int op_mkfifo(struct step *s, int *wanted)
{
	*wanted = result(mknod(plain(s, s->path), S_IFIFO | 0644, 0));
	return u_make(s->b, s->path, S_IFIFO | 0644, 0);
}

static int op_chmod(struct step *s, int *wanted)
{
	mode_t mode = 0700 | rnd(0100) | (rnd(4) ? 0 : S_ISUID);
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && S_ISLNK(st.st_mode))
		return 0;
	if (!*wanted)
		*wanted = result(chmod(plain(s, s->path), mode));
	return u_chmod(s->b, s->path, mode);
}

static int op_chown(struct step *s, int *wanted)
{
	struct ply_setattr set = { .valid = PLY_SET_UID | PLY_SET_GID,
				   .uid = rnd(3),
				   .gid = rnd(3) };
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && S_ISREG(st.st_mode) && (st.st_mode & 06000))
		return 0; /* whether set-id bits go is the wire's to say */
	if (!*wanted)
		*wanted = result(lchown(plain(s, s->path), set.uid, set.gid));
	return u_set(s->b, s->path, &set);
}

static int op_setxattr(struct step *s, int *wanted)
{
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;
	if (!*wanted)
		*wanted = result(
			lsetxattr(plain(s, s->path), "user.test", s->other, strlen(s->other), 0));
	return u_setxattr(s->b, s->path, "user.test", s->other);
}

static const struct op {
	const char *name;
	int (*run)(struct step *s, int *wanted);
} ops[] = {
	{ "create", op_create },     { "create", op_create }, { "mkdir", op_mkdir },
	{ "mkdir", op_mkdir },	     { "write", op_write },   { "write", op_write },
	{ "truncate", op_truncate }, { "unlink", op_unlink }, { "unlink", op_unlink },
	{ "rmdir", op_rmdir },	     { "rename", op_rename }, { "rename", op_rename },
	{ "rename", op_rename },     { "link", op_link },     { "symlink", op_symlink },
	{ "mkfifo", op_mkfifo },     { "chmod", op_chmod },   { "chown", op_chown },
	{ "setxattr", op_setxattr },
};

/* Lower layers with every kind of entry, and marks between them. */
static void make_layers(struct bed *b, unsigned layers)
{
	for (unsigned l = layers; l-- > 0;) {
		for (unsigned i = 0; i < 25; i++) {
			char path[64], full[96], text[128];
			unsigned kind = rnd(10);

			random_path(path);
			snprintf(full, sizeof(full), "l%u/%s", l, path);
			/* A parent that is no directory in this layer leads nowhere. */
			for (char *s = strchr(full + 3, '/'); s; s = strchr(s + 1, '/')) {
				struct stat st;

				*s = '\0';
				if (!lstat(bed_path(b, "%s", full), &st) && !S_ISDIR(st.st_mode))
					put_remove(b, full);
				*s = '/';
			}
			snprintf(text, sizeof(text), "%s in layer %u", path, l);
			if (kind < 4)
				put_file(b, full, text);
			else if (kind < 6)
				put_remove(b, full), put_dir(b, full);
			else if (kind < 8)
				put_whiteout(b, full);
			else
				put_symlink(b, full, link_target());
		}
	}
}

/* More names for files of the topmost layer, where none is hidden. */
static void make_links(struct bed *b)
{
	for (unsigned i = 0; i < 12; i++) {
		char old[64], path[64], from[96], to[96];
		struct stat st;

		random_path(old);
		random_path(path);
		snprintf(from, sizeof(from), "l0/%s", old);
		snprintf(to, sizeof(to), "l0/%s", path);
		if (lstat(bed_path(b, "%s", from), &st) == 0 && S_ISREG(st.st_mode))
			(void)!link(bed_path(b, "%s", from), bed_path(b, "%s", to));
	}
}

static void compare(struct bed *b, unsigned flags)
{
	char *got = tree_of_union(b, flags);
	char *wanted = tree_of_dir(bed_path(b, "plain"), flags);

	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
}

struct plan {
	unsigned layers;
	unsigned links;	   /* are there hard links in the layers? */
	unsigned compares; /* what must be equal, of enum tree_flags */
	struct ply_union_config how;
};

static void run(struct bed *b, const struct plan *plan, unsigned steps)
{
	struct step s = { .b = b };
	const char *verbose = getenv("PLY_VERBOSE");

	make_layers(b, plan->layers);
	if (plan->links)
		make_links(b);
	bed_open(b, plan->layers, 0, &plan->how);
	copy_of_union(b, "plain");
	compare(b, plan->compares);
	for (unsigned i = 0; i < steps; i++) {
		const struct op *op = &ops[rnd(sizeof(ops) / sizeof(ops[0]))];
		int got, wanted = 0;

		random_path(s.path);
		random_path(s.other);
		got = op->run(&s, &wanted);
		if (verbose)
			print_error("%u: %s %s %s: %d\n", i, op->name, s.path, s.other, got);
		if (got != wanted)
			fail_msg("step %u: %s %s %s: %d, not %d", i, op->name, s.path, s.other, got,
				 wanted);
		if (i % 16 == 0 || verbose)
			compare(b, plan->compares);
		if (rnd(100) == 0)
			bed_again(b);
	}
	compare(b, plan->compares);
	assert_same_again(b, plan->compares | TREE_INO | TREE_MTIME);
	bed_close(b);
}

static void run_seeds(void **state, const struct plan *plan)
{
	const char *one = getenv("PLY_SEED");
	unsigned first = one ? (unsigned)strtoul(one, NULL, 10) : 1, last = one ? first
									    : getenv("PLY_LONG")
										    ? 60
										    : 4;

	for (unsigned seed = first; seed <= last; seed++) {
		seed_state = seed * 1000003ull;
		if (getenv("PLY_VERBOSE"))
			print_error("seed %u\n", seed);
		run(*state, plan, 400);
		bed_teardown(state);
		bed_setup(state);
	}
}

static void test_one_lower(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 1, .compares = TREE_NLINK });
}

static void test_three_lowers(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 3, .compares = TREE_NLINK });
}

/* The names of a lower file that is not brought up are not counted, so one that is gone counts still. */
static void test_hard_links(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2, .links = 1 });
}

static void test_hard_links_with_few_descriptors(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 1, .links = 1, .how = { .max_fds = 4 } });
}

static void test_xattr_whiteouts(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2,
					 .links = 1,
					 .how = { .whiteout = PLY_WHITEOUT_XATTR,
						  .space = PLY_SPACE_USER } });
}

/* Without attributes there is no index, and links of a layer part when they are brought up. */
static void test_aufs_whiteouts(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2,
					 .compares = TREE_NLINK,
					 .how = { .whiteout = PLY_WHITEOUT_AUFS,
						  .space = PLY_SPACE_NONE } });
}

static void test_few_descriptors(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 3,
					 .compares = TREE_NLINK,
					 .how = { .max_fds = 8, .max_listing_bytes = 1 } });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_one_lower),	bed_test(test_three_lowers),
		bed_test(test_hard_links),	bed_test(test_hard_links_with_few_descriptors),
		bed_test(test_xattr_whiteouts), bed_test(test_aufs_whiteouts),
		bed_test(test_few_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
