/*
 * Directories of layers are renamed: the marks are the kernel's, and what a directory has goes along, now and
 * after a remount, whatever else is renamed, open or removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject.h"
#include "paths.h"
#include "union/node.h"

#define TRUSTED "trusted.overlay.redirect"
#define USER "user.overlay.redirect"

static void put_lowers(struct bed *b)
{
	if (on_disk(b, "l0/p"))
		return;
	put_file(b, "l0/p/d/f", "f of l0");
	put_file(b, "l1/p/d/g", "g of l1");
	put_file(b, "l1/p/d/s/h", "h of l1");
	put_file(b, "l1/p/e/i", "i of l1");
	put_file(b, "l1/q/d/j", "j of l1");
	put_link(b, "l1/q/d/linked", "l1/p/d/g");
}

static const char *redirect_of(struct bed *b, const char *path)
{
	const char *value = disk_xattr(b, path, TRUSTED);

	return value ? value : "none";
}

static void test_a_move_is_marked_as_the_kernel_marks_it(void **state)
{
	struct bed *b = *state;

	put_lowers(b);
	bed_open(b, 2, 0, NULL);
	/* In its directory by name, and not again. */
	assert_ok(u_rename(b, "p/d", "p/m", 0));
	assert_string_equal(redirect_of(b, "up/p/m"), "d");
	assert_ok(u_rename(b, "p/m", "p/n", 0));
	assert_string_equal(redirect_of(b, "up/p/n"), "d");
	/* Elsewhere by path, through a parent that moved. */
	assert_ok(u_rename(b, "p", "r", 0));
	assert_string_equal(redirect_of(b, "up/r"), "p");
	assert_ok(u_rename(b, "r/n", "q/n", 0));
	assert_string_equal(redirect_of(b, "up/q/n"), "/p/d");
	assert_ok(u_rename(b, "q/n/s", "s", 0));
	assert_string_equal(redirect_of(b, "up/s"), "/p/d/s");
	assert_ok(u_rename(b, "r/e", "q/n/e", 0));
	assert_string_equal(redirect_of(b, "up/q/n/e"), "/p/e");
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_ls(b, "q/n"), "e f g");
	assert_string_equal(u_ls(b, "s"), "h");
	/* Once more, of what a mark was found of. */
	assert_ok(u_rename(b, "q", "r/q", 0));
	assert_ok(u_rename(b, "r/q/n/e", "e", 0));
	assert_string_equal(redirect_of(b, "up/e"), "/p/e");
	assert_ok(u_rename(b, "r/q/d", "r/q/n/d", 0));
	assert_string_equal(redirect_of(b, "up/r/q/n/d"), "/q/d");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

/* A path in the layer that has the data would be hidden by what the layers above did to it. */
static void test_files_of_moved_directories_find_their_data(void **state)
{
	struct bed *b = *state;

	static char f[60001], g[60001];

	memset(f, 'f', sizeof(f) - 1);
	memset(g, 'g', sizeof(g) - 1);
	put_file(b, "l1/b/f", f);
	put_file(b, "l1/b/g", g);
	put_dir(b, "l0/a");
	put_xattr(b, "l0/a", TRUSTED, "b");
	put_whiteout(b, "l0/b");
	bed_open(b, 2, 0, &(struct ply_union_config){ .metacopy = 1 });
	assert_ok(u_chmod(b, "a/f", 0600));
	assert_ok(u_rename(b, "a/f", "z", 0));
	assert_string_equal(redirect_of(b, "up/z"), "/a/f");
	assert_true(!strcmp(u_text(b, "z"), f));
	assert_ok(u_rename(b, "a", "c", 0));
	assert_ok(u_rename(b, "c/g", "y", 0));
	assert_true(!strcmp(u_text(b, "y"), g));
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

struct move {
	char op; /* m: rename, x: exchange, d: mkdir, r: unlink or rmdir, w: write */
	const char *a, *b;
};

static int u_do(struct bed *b, const struct move *m)
{
	struct statx attr;

	switch (m->op) {
	case 'm':
		return u_rename(b, m->a, m->b, 0);
	case 'x':
		return u_rename(b, m->a, m->b, RENAME_EXCHANGE);
	case 'd':
		return u_mkdir(b, m->a);
	case 'w':
		return u_put(b, m->a, m->b);
	}
	assert_ok(u_stat(b, m->a, &attr));
	return S_ISDIR(attr.stx_mode) ? u_rmdir(b, m->a) : u_unlink(b, m->a);
}

/* All names of the file have it. */
static int overwrite(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	return fclose(f);
}

static void plain_do(struct bed *b, const struct move *m)
{
	char from[512], to[512];
	int err = 0;

	snprintf(from, sizeof(from), "%s", bed_path(b, "plain/%s", m->a));
	snprintf(to, sizeof(to), "%s", bed_path(b, "plain/%s", m->b ? m->b : ""));
	switch (m->op) {
	case 'm':
		err = rename(from, to);
		break;
	case 'x':
		err = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE);
		break;
	case 'd':
		err = mkdir(from, 0755);
		break;
	case 'r':
		err = remove(from);
		break;
	case 'w':
		err = overwrite(from, m->b);
	}
	assert_int_equal(err, 0);
}

#define MOVES 12
/* clang-format off */
static const struct move histories[][MOVES] = {
	{ { 'm', "p/d", "x" }, { 'm', "x", "y" }, { 'm', "y", "q/z" }, { 'm', "q/z", "p/d" } },
	{ { 'm', "p/d", "p/x" }, { 'd', "p/d", NULL }, { 'w', "p/d/f", "new" }, { 'm', "p/x", "x" } },
	{ { 'm', "p", "x" }, { 'm', "q", "x/q" }, { 'm', "x/q/d", "x/d/d" }, { 'm', "x/d", "d" } },
	{ { 'm', "q/d", "x" }, { 'r', "x/j", NULL }, { 'r', "x/linked", NULL }, { 'r', "x", NULL },
	  { 'd', "x", NULL }, { 'm', "x", "q/d" } },
	{ { 'm', "p/e", "x" }, { 'r', "x/i", NULL }, { 'm', "q/d", "x" }, { 'm', "x", "p/e" },
	  { 'm', "p", "z" } },
	{ { 'x', "p/d", "p/e" }, { 'x', "p/d", "q/d" }, { 'x', "p", "q" }, { 'w', "p/d/new", "n" } },
	{ { 'x', "p/d", "p/e/i" }, { 'x', "p/d", "q/d/j" }, { 'x', "q", "p/e/i" },
	  { 'm', "p/e/i", "x" } },
	{ { 'd', "new", NULL }, { 'm', "p/d", "new/d" }, { 'm', "new", "new2" },
	  { 'm', "new2/d/s", "new2/s" }, { 'm', "new2", "p/d" }, { 'm', "p/d/s", "p/d/d/s" } },
	{ { 'm', "p/d", "d" }, { 'm', "p/e", "p/d" }, { 'm', "q/d", "p/e" }, { 'm', "d", "q/d" } },
	{ { 'm', "p/d/s", "p/d/t" }, { 'm', "p/d", "p/c" }, { 'm', "p", "o" },
	  { 'm', "o/c/t", "o/c/s" } },
	{ { 'm', "p/d", "d" }, { 'r', "d/f", NULL }, { 'r', "d/s/h", NULL }, { 'r', "d/s", NULL },
	  { 'd', "d/s", NULL }, { 'w', "d/s/k", "k" }, { 'm', "d/s", "d/f" }, { 'm', "d", "p/d" } },
	{ { 'w', "q/d/linked", "all names" }, { 'm', "p/d", "q/x" }, { 'm', "q/d", "p/d" },
	  { 'm', "q/x/g", "g" } },
};
/* clang-format on */
#define HISTORIES (sizeof(histories) / sizeof(histories[0]))

enum how {
	STEP_BY_STEP, /* in a fresh union after each step */
	IN_ONE_GO,
};

static void check_plain(struct bed *b)
{
	char *got = tree_of_union(b, 0), *wanted = tree_of_dir(bed_path(b, "plain"), 0);

	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
}

static void live_through(struct bed *b, const struct move *history,
			 const struct ply_union_config *cfg, enum how how)
{
	put_remove(b, "up");
	put_remove(b, "work");
	put_remove(b, "plain");
	bed_open(b, 2, 0, cfg);
	copy_of_union(b, "plain");
	for (const struct move *m = history; m->a; m++) {
		int err = u_do(b, m);

		if (err)
			fail_msg("%c %s %s: %s", m->op, m->a, m->b ? m->b : "",
				 strerrorname_np(-err));
		plain_do(b, m);
		check_plain(b);
		if (how == STEP_BY_STEP || !m[1].a)
			assert_same_again(b, cfg->space == PLY_SPACE_NONE ? 0 : TREE_ALL);
	}
	assert_int_equal(bed_litter(b), 0);
	bed_close(b);
}

static void live_all(struct bed *b, const struct ply_union_config *cfg)
{
	put_lowers(b);
	for (size_t i = 0; i < HISTORIES; i++) {
		/* Without an index the names of a link part. */
		if (cfg->space == PLY_SPACE_NONE && i == HISTORIES - 1)
			continue;
		live_through(b, histories[i], cfg, STEP_BY_STEP);
		live_through(b, histories[i], cfg, IN_ONE_GO);
	}
}

static void test_moved_directories_keep_what_they_have(void **state)
{
	live_all(*state, &(struct ply_union_config){ .max_fds = 0 });
}

static void test_with_hardly_any_descriptors(void **state)
{
	live_all(*state, &(struct ply_union_config){ .max_fds = 1 });
}

static void test_with_marks_in_the_user_space(void **state)
{
	live_all(*state, &(struct ply_union_config){ .space = PLY_SPACE_USER,
						     .redirect_dir = PLY_REDIRECT_ON });
}

static void test_with_xattr_and_aufs_whiteouts(void **state)
{
	live_all(*state, &(struct ply_union_config){ .whiteout = PLY_WHITEOUT_XATTR });
	live_all(*state, &(struct ply_union_config){ .whiteout = PLY_WHITEOUT_AUFS });
}

static void test_by_copying(void **state)
{
	live_all(*state, &(struct ply_union_config){ .redirect_dir = PLY_REDIRECT_COPY });
	live_all(*state, &(struct ply_union_config){ .redirect_dir = PLY_REDIRECT_COPY,
						     .whiteout = PLY_WHITEOUT_XATTR });
}

static void test_where_there_are_no_xattrs(void **state)
{
	live_all(*state, &(struct ply_union_config){ .space = PLY_SPACE_NONE });
	live_all(*state, &(struct ply_union_config){ .space = PLY_SPACE_NONE,
						     .whiteout = PLY_WHITEOUT_AUFS });
}

static void test_other_readers_must_follow_or_it_is_copied(void **state)
{
	struct ply_union_config how = { .space = PLY_SPACE_USER };
	struct bed *b = *state;

	put_lowers(b);
	bed_open(b, 2, 0, &how);
	assert_ok(u_rename(b, "p/d", "p/m", 0));
	assert_null(disk_xattr(b, "up/p/m", USER));
	assert_string_equal(disk_xattr(b, "up/p/m", "user.overlay.opaque"), "y");
	bed_close(b);
	assert_string_equal(disk_text(b, "up/p/m/s/h"), "h of l1");
	how.redirect_dir = PLY_REDIRECT_ON;
	bed_open(b, 2, 0, &how);
	assert_ok(u_rename(b, "p/e", "m", 0));
	assert_string_equal(disk_xattr(b, "up/m", USER), "/p/e");
	bed_close(b);
	how.space = PLY_SPACE_NONE;
	bed_open(b, 2, 0, &how);
	assert_errno(u_rename(b, "q/d", "q/m", 0), -EXDEV);
	assert_string_equal(u_ls(b, "q"), "d");
	bed_close(b);
}

#define LONG_NAME 240
#define LONG_DEPTH 18

static void put_deep_dir(struct bed *b, const char *name)
{
	int dir, next;

	put_dir(b, "l0");
	dir = open(bed_path(b, "l0"), O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < LONG_DEPTH; i++) {
		assert_int_equal(mkdirat(dir, name, 0755), 0);
		next = openat(dir, name, O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(dir);
		dir = next;
	}
	assert_int_equal(mkdirat(dir, "in", 0755), 0);
	close(dir);
}

/* A path that no mark can hold. */
static void test_too_long_a_path_is_copied(void **state)
{
	struct bed *b = *state;
	char name[LONG_NAME + 1];
	struct ply_entry dir, next;

	memset(name, 'n', LONG_NAME);
	name[LONG_NAME] = '\0';
	put_deep_dir(b, name);
	bed_open(b, 1, 0, NULL);
	assert_ok(ply_lookup(b->u, ply_root(b->u), name, &dir));
	for (int i = 1; i < LONG_DEPTH; i++) {
		assert_ok(ply_lookup(b->u, dir.node, name, &next));
		u_drop(b, &dir);
		dir = next;
	}
	assert_ok(ply_rename(b->u, dir.node, "in", ply_root(b->u), "out", 0));
	u_drop(b, &dir);
	assert_string_equal(disk_xattr(b, "up/out", "trusted.overlay.opaque"), "y");
	assert_string_equal(u_ls(b, "out"), "");
	bed_close(b);
}

/* ---- crashes ---- */

static void put_crash_upper(struct bed *b)
{
	put_remove(b, "up");
	put_remove(b, "work");
	put_lowers(b);
	put_file(b, "l1/hollow/h", "hidden");
	put_dir(b, "l1/empty");
	put_file(b, "l0/gone/g", "gone");
	put_whiteout(b, "up/hollow/h");
	put_whiteout(b, "up/gone");
	put_file(b, "up/new/n", "new");
}

/* The server ends before its n-th system call: 1 when there were fewer. What the next one shows is old or new. */
static int crash_at(struct bed *b, const struct move *m, const struct ply_union_config *cfg,
		    unsigned n, const char *old, const char *new)
{
	char *got;
	int done;

	put_crash_upper(b);
	bed_open(b, 2, 0, cfg);
	stop_at(n);
	u_do(b, m);
	done = stop_failing() < n;
	bed_close(b);
	bed_open(b, 2, 0, cfg);
	got = tree_of_union(b, 0);
	if (strcmp(got, old) && strcmp(got, new)) {
		print_error("%c %s %s, before call %u\n", m->op, m->a, m->b, n);
		assert_same_tree(got, new);
	}
	free(got);
	bed_close(b);
	return done;
}

/* Short runs take one call of three, from the first-th. */
static void crash_everywhere(struct bed *b, const struct move *m,
			     const struct ply_union_config *cfg, unsigned first)
{
	unsigned step = getenv("PLY_LONG") ? 1 : 3;
	char *old, *new;

	put_crash_upper(b);
	bed_open(b, 2, 0, cfg);
	old = tree_of_union(b, 0);
	assert_ok(u_do(b, m));
	new = tree_of_union(b, 0);
	bed_close(b);
	for (unsigned n = 1 + first % step; !crash_at(b, m, cfg, n, old, new); n += step)
		;
	free(old);
	free(new);
}

static void test_a_crash_leaves_the_old_tree_or_the_new_one(void **state)
{
	static const struct move moves[] = {
		{ 'm', "p/d", "x" },	  { 'm', "p/d", "p/x" },    { 'm', "p/d", "new/x" },
		{ 'm', "p/d", "empty" },  { 'm', "p/d", "hollow" }, { 'm', "p/d", "gone" },
		{ 'm', "new", "hollow" }, { 'x', "p/d", "hollow" }, { 'x', "p/d", "p/e/i" },
	};

	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON };

		crash_everywhere(*state, &moves[i], &how, (unsigned)i);
		how.redirect_dir = PLY_REDIRECT_COPY;
		crash_everywhere(*state, &moves[i], &how, (unsigned)i);
	}
}

/* ---- what it costs, and who is in it ---- */

static unsigned calls_of_move(struct bed *b, unsigned files)
{
	unsigned calls;

	put_remove(b, "up");
	put_remove(b, "work");
	put_dir(b, "l0/e");
	for (unsigned i = 0; i < files; i++) {
		char path[64];

		snprintf(path, sizeof(path), "l0/d/s%u/f%u", i % 10, i);
		put_file(b, path, "");
	}
	bed_open(b, 1, 0, NULL);
	count_calls();
	assert_ok(u_rename(b, "d", "e/d", 0));
	calls = stop_failing();
	bed_close(b);
	return calls;
}

static void test_a_move_costs_the_same_whatever_is_in_it(void **state)
{
	unsigned few = calls_of_move(*state, 10), many = calls_of_move(*state, 3000);

	assert_int_equal(few, many);
	assert_true(many < 60);
}

static void check_open_nodes(struct bed *b, enum ply_redirect_dir how)
{
	struct ply_entry removed, f, s;

	put_remove(b, "up");
	put_remove(b, "work");
	put_lowers(b);
	bed_open(b, 2, 0, &(struct ply_union_config){ .max_fds = 1, .redirect_dir = how });
	removed = u_hold(b, "p/d/f");
	f = u_hold(b, "p/d/s/h");
	s = u_hold(b, "p/d/s");
	assert_ok(u_unlink(b, "p/d/f"));
	assert_ok(u_rename(b, "p/d", "q/x", 0));
	assert_string_equal(node_text(b, removed.node), "f of l0");
	assert_string_equal(node_text(b, f.node), "h of l1");
	assert_ok(u_rename(b, "q/x/s", "s", 0));
	assert_ok(u_rename(b, "q", "o", 0));
	assert_string_equal(node_text(b, removed.node), "f of l0");
	assert_int_equal(ply_write(b->u, removed.node, "F", 1, 0, 0), 1);
	assert_string_equal(node_text(b, removed.node), "F of l0");
	assert_int_equal(ply_write(b->u, f.node, "H", 1, 0, 0), 1);
	assert_string_equal(u_text(b, "s/h"), "H of l1");
	assert_ok(ply_unlink(b->u, s.node, "h"));
	assert_string_equal(node_text(b, f.node), "H of l1");
	assert_string_equal(u_ls(b, "s"), "");
	assert_string_equal(u_ls(b, "o/x"), "g");
	u_drop(b, &removed);
	u_drop(b, &f);
	u_drop(b, &s);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_what_is_open_below_goes_on(void **state)
{
	check_open_nodes(*state, PLY_REDIRECT_ON);
	check_open_nodes(*state, PLY_REDIRECT_COPY);
}

static void check_numbers(struct bed *b, enum ply_redirect_dir how)
{
	static const char *const paths[] = { "p/d", "p/d/s", "p/d/g" }, *const moved[] = { "x",
											   "x/s",
											   "x/g" };
	struct statx before[3], after;

	put_remove(b, "up");
	put_remove(b, "work");
	put_lowers(b);
	bed_open(b, 2, 0, &(struct ply_union_config){ .redirect_dir = how });
	for (int j = 0; j < 3; j++)
		assert_ok(u_stat(b, paths[j], &before[j]));
	assert_ok(u_rename(b, "p/d", "x", 0));
	for (int i = 0; i < 2; i++) {
		for (int j = 0; j < 3; j++) {
			assert_ok(u_stat(b, moved[j], &after));
			assert_int_equal(before[j].stx_ino, after.stx_ino);
		}
		bed_again(b);
	}
	bed_close(b);
}

static void test_inode_numbers_stay(void **state)
{
	check_numbers(*state, PLY_REDIRECT_ON);
	check_numbers(*state, PLY_REDIRECT_COPY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_a_move_is_marked_as_the_kernel_marks_it),
		bed_test(test_files_of_moved_directories_find_their_data),
		bed_test(test_moved_directories_keep_what_they_have),
		bed_test(test_with_hardly_any_descriptors),
		bed_test(test_with_marks_in_the_user_space),
		bed_test(test_with_xattr_and_aufs_whiteouts),
		bed_test(test_by_copying),
		bed_test(test_where_there_are_no_xattrs),
		bed_test(test_other_readers_must_follow_or_it_is_copied),
		bed_test(test_too_long_a_path_is_copied),
		bed_test(test_a_crash_leaves_the_old_tree_or_the_new_one),
		bed_test(test_a_move_costs_the_same_whatever_is_in_it),
		bed_test(test_what_is_open_below_goes_on),
		bed_test(test_inode_numbers_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
