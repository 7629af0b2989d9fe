/*
 * Every kind of thing renamed onto every kind of target, with each flag and whiteout form, as a plain
 * directory does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "paths.h"
#include "union/node.h"

static void a_file(struct bed *b, const char *path)
{
	put_file(b, path, path);
}

static void a_link(struct bed *b, const char *path)
{
	put_symlink(b, path, "/dev/null");
}

static void a_full_dir(struct bed *b, const char *path)
{
	char below[256];

	snprintf(below, sizeof(below), "%s/of-%.2s", path, path);
	put_file(b, below, path);
}

static void an_opaque_dir(struct bed *b, const char *path)
{
	put_dir(b, path);
	put_xattr(b, path, "trusted.overlay.opaque", "y");
}

static void an_opaque_full_dir(struct bed *b, const char *path)
{
	a_full_dir(b, path);
	put_xattr(b, path, "trusted.overlay.opaque", "y");
}

/* All that the lower has is deleted in it. */
static void a_hollow_dir(struct bed *b, const char *path)
{
	char below[256];

	snprintf(below, sizeof(below), "%s/of-l0", path);
	put_whiteout(b, below);
}

/* What the lower and the upper have by a name. */
static const struct kind {
	const char *name;
	void (*lower)(struct bed *b, const char *path);
	void (*upper)(struct bed *b, const char *path);
} kinds[] = {
	{ "none", NULL, NULL },
	{ "lowerfile", a_file, NULL },
	{ "upperfile", NULL, a_file },
	{ "overfile", a_file, a_file },
	{ "lowerlink", a_link, NULL },
	{ "gone", a_file, put_whiteout },
	{ "gonedir", a_full_dir, put_whiteout },
	{ "lowerdir", a_full_dir, NULL },
	{ "upperdir", NULL, a_full_dir },
	{ "mergeddir", a_full_dir, a_full_dir },
	{ "newdir", a_full_dir, an_opaque_full_dir },
	{ "diroverfile", a_file, a_full_dir },
	{ "fileoverdir", a_full_dir, a_file },
	{ "lowerempty", put_dir, NULL },
	{ "upperempty", NULL, put_dir },
	{ "hollow", a_full_dir, a_hollow_dir },
	{ "newhollow", a_full_dir, an_opaque_dir },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* A directory for each pair of kinds; what moves is in "from", the target in "to". */
static const char *pair_dir(const char *layer, size_t from, size_t to, const char *end)
{
	static _Thread_local char bufs[2][256];
	static _Thread_local unsigned turn;
	char *path = bufs[turn++ % 2];

	snprintf(path, sizeof(bufs[0]), "%s%s-onto-%s/%s", layer, kinds[from].name, kinds[to].name,
		 end);
	return path;
}

static const char *pair_path(const char *layer, size_t from, size_t to, const char *end)
{
	char *path = (char *)pair_dir(layer, from, to, end);

	return strcat(path, "/x");
}

/* Short runs take a part of the pairs, another one for each test. */
static unsigned part_of, part;

static int is_taken(size_t i, size_t j)
{
	return getenv("PLY_LONG") || (i + 2 * j) % part_of == part % part_of;
}

static void make_layers(struct bed *b)
{
	int lower = !on_disk(b, "l0");

	put_remove(b, "up");
	for (size_t i = 0; i < KINDS; i++)
		for (size_t j = 0; j < KINDS; j++) {
			if (!is_taken(i, j))
				continue;
			if (lower && kinds[i].lower)
				kinds[i].lower(b, pair_path("l0/", i, j, "from"));
			if (lower && kinds[j].lower)
				kinds[j].lower(b, pair_path("l0/", i, j, "to"));
			if (kinds[i].upper)
				kinds[i].upper(b, pair_path("up/", i, j, "from"));
			if (kinds[j].upper)
				kinds[j].upper(b, pair_path("up/", i, j, "to"));
			/* Both directories are there, wherever. */
			put_dir(b, pair_dir("up/", i, j, "from"));
			put_dir(b, pair_dir(lower ? "l0/" : "up/", i, j, "to"));
		}
}

/* Which of two that would do is found first is not the same everywhere. */
static int same_errno(int got, int wanted)
{
	if (got == -EEXIST)
		got = -ENOTEMPTY;
	if (wanted == -EEXIST)
		wanted = -ENOTEMPTY;
	return got == wanted;
}

static void check_rename(struct bed *b, size_t i, size_t j, unsigned flags)
{
	const char *from = pair_path("", i, j, "from"), *to = pair_path("", i, j, "to");
	int got = u_rename(b, from, to, flags), wanted = 0;

	if (renameat2(AT_FDCWD, bed_path(b, "plain/%s", from), AT_FDCWD,
		      bed_path(b, "plain/%s", to), flags) < 0)
		wanted = -errno;
	if (!same_errno(got, wanted))
		fail_msg("rename %s to %s, flags %u: %d, not %d", from, to, flags, got, wanted);
}

static void check_trees(struct bed *b)
{
	char *got = tree_of_union(b, 0), *wanted = tree_of_dir(bed_path(b, "plain"), 0);

	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
}

/* Copying the union lists its directories, so that listings answer; in a fresh one layers are asked. */
static void run_matrix(struct bed *b, unsigned flags, const struct ply_union_config *how,
		       unsigned lacks)
{
	part_of = flags || how || lacks ? 3 : 1;
	part++;
	make_layers(b);
	bed_open(b, 1, 0, how);
	copy_of_union(b, "plain");
	if (flags)
		bed_again(b);
	ply_layer_set_lack(&b->u->layers[PLY_UPPER], lacks);
	for (size_t i = 0; i < KINDS; i++)
		for (size_t j = 0; j < KINDS; j++)
			if (is_taken(i, j))
				check_rename(b, i, j, flags);
	check_trees(b);
	bed_again(b);
	check_trees(b);
	bed_close(b);
}

static void test_plain_renames(void **state)
{
	run_matrix(*state, 0, NULL, 0);
}

static void test_renames_that_must_not_replace(void **state)
{
	run_matrix(*state, RENAME_NOREPLACE, NULL, 0);
}

static void test_exchanges(void **state)
{
	run_matrix(*state, RENAME_EXCHANGE, NULL, 0);
}

static void test_renames_with_xattr_whiteouts(void **state)
{
	run_matrix(*state, 0, &(struct ply_union_config){ .whiteout = PLY_WHITEOUT_XATTR }, 0);
}

static void test_renames_with_aufs_whiteouts(void **state)
{
	run_matrix(*state, 0, &(struct ply_union_config){ .whiteout = PLY_WHITEOUT_AUFS }, 0);
}

static void test_renames_where_the_file_system_has_no_extras(void **state)
{
	unsigned lacks = PLY_LACKS_EXCHANGE | PLY_LACKS_RENAME_WHITEOUT;

	run_matrix(*state, 0, NULL, lacks);
	run_matrix(*state, 0, &(struct ply_union_config){ .whiteout = PLY_WHITEOUT_XATTR }, lacks);
}

static void test_within_one_directory(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/a", "a");
	put_file(b, "l0/b", "b");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_rename(b, "a", "a", 0));
	assert_errno(u_rename(b, "a", "a", RENAME_NOREPLACE), -EEXIST);
	assert_ok(u_rename(b, "a", "b", 0));
	assert_string_equal(u_text(b, "b"), "a");
	assert_string_equal(u_ls(b, ""), "b");
	assert_ok(u_rename(b, "b", "a", 0));
	assert_string_equal(u_ls(b, ""), "a");
	assert_string_equal(u_text(b, "a"), "a");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_nothing_moves_into_itself(void **state)
{
	struct bed *b = *state;

	bed_open(b, 1, 0, NULL);
	assert_ok(u_mkdir(b, "a"));
	assert_ok(u_mkdir(b, "a/b"));
	assert_ok(u_mkdir(b, "a/b/c"));
	assert_errno(u_rename(b, "a", "a/b/c/d", 0), -EINVAL);
	assert_errno(u_rename(b, "a", "a/x", 0), -EINVAL);
	assert_errno(u_rename(b, "a/b", "a", 0), -ENOTEMPTY);
	assert_errno(u_rename(b, "a/b/c", "a", RENAME_EXCHANGE), -EINVAL);
	assert_errno(u_rename(b, "a", "a/b", RENAME_EXCHANGE), -EINVAL);
	assert_string_equal(u_ls(b, "a/b"), "c");
	bed_close(b);
}

static void test_flags_that_make_no_sense_are_refused(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/a", "");
	put_file(b, "l0/b", "");
	bed_open(b, 1, 0, NULL);
	assert_errno(u_rename(b, "a", "b", RENAME_NOREPLACE | RENAME_EXCHANGE), -EINVAL);
	assert_errno(u_rename(b, "a", "b", 1u << 20), -EINVAL);
	assert_errno(u_rename(b, "a", "c", RENAME_EXCHANGE), -ENOENT);
	bed_close(b);
}

/* Files below a directory that moved are where it is now, for who holds them too. */
static void test_what_is_below_a_moved_directory_moves_along(void **state)
{
	struct bed *b = *state;
	struct ply_entry f, d;

	bed_open(b, 1, 0, &(struct ply_union_config){ .max_fds = 1 });
	assert_ok(u_mkdir(b, "a"));
	assert_ok(u_mkdir(b, "a/d"));
	assert_ok(u_put(b, "a/d/f", "f"));
	assert_ok(u_mkdir(b, "z"));
	f = u_hold(b, "a/d/f");
	d = u_hold(b, "a/d");
	assert_ok(u_rename(b, "a", "z/a", 0));
	assert_ok(u_put(b, "other", "evicts descriptors"));
	assert_int_equal(ply_write(b->u, f.node, "F", 1, 0, 0), 1);
	assert_string_equal(u_text(b, "z/a/d/f"), "F");
	assert_ok(u_rename(b, "z/a/d", "d", 0));
	assert_string_equal(node_text(b, f.node), "F");
	/* Another directory where it was is another one. */
	assert_ok(u_mkdir(b, "z/a/d"));
	assert_ok(u_put(b, "z/a/d/f", "new"));
	assert_string_equal(node_text(b, f.node), "F");
	assert_ok(ply_unlink(b->u, d.node, "f"));
	assert_string_equal(u_text(b, "z/a/d/f"), "new");
	assert_string_equal(u_ls(b, "d"), "");
	u_drop(b, &f);
	u_drop(b, &d);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void check_replaced(struct bed *b, const char *target, unsigned max_fds)
{
	struct ply_union_config how = { .max_fds = max_fds };
	struct ply_entry old;
	char text[64];

	put_remove(b, "up");
	put_file(b, "l0/lower", "a lower file");
	put_file(b, "l0/over", "a lower file");
	put_file(b, "up/over", "an upper file");
	put_file(b, "up/upper", "an upper file");
	put_file(b, "up/new", "new");
	bed_open(b, 1, 0, &how);
	old = u_hold(b, target);
	strcpy(text, node_text(b, old.node));
	assert_ok(u_rename(b, "new", target, 0));
	assert_string_equal(node_text(b, old.node), text);
	assert_int_equal(ply_write(b->u, old.node, "OLD", 3, 0, 0), 3);
	assert_int_equal(strncmp(node_text(b, old.node), "OLD", 3), 0);
	assert_string_equal(node_text(b, old.node) + 3, text + 3);
	assert_string_equal(u_text(b, target), "new");
	u_drop(b, &old);
	assert_int_equal(bed_litter(b), 0);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_a_replaced_file_stays_for_who_has_it_open(void **state)
{
	static const char *const targets[] = { "lower", "upper", "over" };

	for (unsigned i = 0; i < 3; i++) {
		check_replaced(*state, targets[i], 0);
		check_replaced(*state, targets[i], 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_plain_renames),
		bed_test(test_renames_that_must_not_replace),
		bed_test(test_exchanges),
		bed_test(test_renames_with_xattr_whiteouts),
		bed_test(test_renames_with_aufs_whiteouts),
		bed_test(test_renames_where_the_file_system_has_no_extras),
		bed_test(test_within_one_directory),
		bed_test(test_nothing_moves_into_itself),
		bed_test(test_flags_that_make_no_sense_are_refused),
		bed_test(test_what_is_below_a_moved_directory_moves_along),
		bed_test(test_a_replaced_file_stays_for_who_has_it_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
