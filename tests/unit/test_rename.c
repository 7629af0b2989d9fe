/*
 * Every kind of thing renamed onto every kind of target, with each flag and whiteout form, as a plain
 * directory does it. A directory with lower content may answer EXDEV, and has then not moved.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "paths.h"

/* The same names in each directory "from" and "to". */
static const char *const kinds[] = {
	"none",	     "lowerfile", "upperfile",	"overfile",   "lowerlink", "upperlink",
	"gone",	     "lowerdir",  "upperdir",	"mergeddir",  "newdir",	   "lowerempty",
	"upperempty", "hollow",	  "newhollow", "lowerfifo",
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void put_at(struct bed *b, const char *layer, const char *dir, const char *rest,
		   void (*put)(struct bed *b, const char *path))
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/%s", layer, dir, rest);
	put(b, path);
}

static void a_file(struct bed *b, const char *path)
{
	put_file(b, path, path);
}

static void a_link(struct bed *b, const char *path)
{
	put_symlink(b, path, "/dev/null");
}

static void a_fifo(struct bed *b, const char *path)
{
	put_node(b, path, S_IFIFO | 0644, 0);
}

static void a_dir(struct bed *b, const char *path)
{
	put_dir(b, path);
}

static void opaque(struct bed *b, const char *path)
{
	put_dir(b, path);
	put_xattr(b, path, "trusted.overlay.opaque", "y");
}

static void make_lower(struct bed *b, const char *dir)
{
	put_at(b, "l0", dir, "lowerfile", a_file);
	put_at(b, "l0", dir, "overfile", a_file);
	put_at(b, "l0", dir, "lowerlink", a_link);
	put_at(b, "l0", dir, "gone", a_file);
	put_at(b, "l0", dir, "lowerdir/f", a_file);
	put_at(b, "l0", dir, "mergeddir/lower", a_file);
	put_at(b, "l0", dir, "newdir/hidden", a_file);
	put_at(b, "l0", dir, "lowerempty", a_dir);
	put_at(b, "l0", dir, "hollow/gone", a_file);
	put_at(b, "l0", dir, "newhollow/hidden", a_file);
	put_at(b, "l0", dir, "lowerfifo", a_fifo);
}

static void make_upper(struct bed *b, const char *dir)
{
	put_at(b, "up", dir, "upperfile", a_file);
	put_at(b, "up", dir, "overfile", a_file);
	put_at(b, "up", dir, "upperlink", a_link);
	put_at(b, "up", dir, "gone", put_whiteout);
	put_at(b, "up", dir, "upperdir/f", a_file);
	put_at(b, "up", dir, "mergeddir/upper", a_file);
	put_at(b, "up", dir, "newdir", opaque);
	put_at(b, "up", dir, "newdir/f", a_file);
	put_at(b, "up", dir, "upperempty", a_dir);
	put_at(b, "up", dir, "hollow/gone", put_whiteout);
	put_at(b, "up", dir, "newhollow", opaque);
}

static void make_layers(struct bed *b)
{
	if (!on_disk(b, "l0")) {
		make_lower(b, "from");
		make_lower(b, "to");
	}
	put_remove(b, "up");
	make_upper(b, "from");
	make_upper(b, "to");
}

/* What the plain directory says, unless the union has refused to move lower content. */
static int rename_plainly(struct bed *b, const char *from, const char *to, unsigned flags)
{
	if (renameat2(AT_FDCWD, bed_path(b, "plain/%s", from), AT_FDCWD, bed_path(b, "plain/%s", to),
		      flags) == 0)
		return 0;
	return -errno;
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

static void check_trees(struct bed *b, const char *from, const char *to, unsigned flags)
{
	char *got = tree_of_union(b, 0), *wanted = tree_of_dir(bed_path(b, "plain"), 0);

	if (strcmp(got, wanted))
		print_error("rename %s to %s, flags %u:\n", from, to, flags);
	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
}

static void check_rename(struct bed *b, const char *from, const char *to, unsigned flags)
{
	int got = u_rename(b, from, to, flags), wanted;

	if (got == -EXDEV && strstr(from, "dir"))
		return;
	if (got == -EXDEV && (flags & RENAME_EXCHANGE) && strstr(to, "dir"))
		return;
	/* Empty ones, but with content below. */
	if (got == -EXDEV && (strstr(from, "hollow") || strstr(from, "lowerempty") ||
			      ((flags & RENAME_EXCHANGE) &&
			       (strstr(to, "hollow") || strstr(to, "lowerempty")))))
		return;
	wanted = rename_plainly(b, from, to, flags);
	if (!same_errno(got, wanted))
		fail_msg("rename %s to %s, flags %u: %d, not %d", from, to, flags, got, wanted);
	check_trees(b, from, to, flags);
}

/* Looking everything up first fills the listings; else layers are asked. */
static void run_matrix(struct bed *b, unsigned flags, const struct ply_union_config *how)
{
	char from[64], to[64];

	for (size_t i = 0; i < KINDS; i++)
		for (size_t j = 0; j < KINDS; j++) {
			snprintf(from, sizeof(from), "from/%s", kinds[i]);
			snprintf(to, sizeof(to), "to/%s", kinds[j]);
			make_layers(b);
			bed_open(b, 1, 0, how);
			copy_of_union(b, "plain");
			if ((i + j) % 2)
				bed_again(b);
			check_rename(b, from, to, flags);
			bed_again(b);
			check_trees(b, from, to, flags);
			bed_close(b);
		}
}

static void test_plain_renames(void **state)
{
	run_matrix(*state, 0, NULL);
}

static void test_renames_that_must_not_replace(void **state)
{
	run_matrix(*state, RENAME_NOREPLACE, NULL);
}

static void test_exchanges(void **state)
{
	run_matrix(*state, RENAME_EXCHANGE, NULL);
}

static void test_renames_with_xattr_whiteouts(void **state)
{
	run_matrix(*state, 0, &(struct ply_union_config){ .whiteout = PLY_WHITEOUT_XATTR });
}

static void test_renames_with_aufs_whiteouts(void **state)
{
	run_matrix(*state, 0, &(struct ply_union_config){ .whiteout = PLY_WHITEOUT_AUFS });
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

static void test_a_replaced_file_stays_for_who_has_it_open(void **state)
{
	static const unsigned budgets[] = { 0, 1 };
	static const char *const targets[] = { "to/lowerfile", "to/upperfile", "to/overfile" };
	struct bed *b = *state;

	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < 3; k++) {
			struct ply_union_config how = { .max_fds = budgets[i] };
			struct ply_entry old;
			char text[64];

			make_layers(b);
			bed_open(b, 1, 0, &how);
			old = u_hold(b, targets[k]);
			strcpy(text, node_text(b, old.node));
			assert_ok(u_rename(b, "from/upperfile", targets[k], 0));
			assert_string_equal(node_text(b, old.node), text);
			assert_int_equal(ply_write(b->u, old.node, "OLD", 3, 0, 0), 3);
			memcpy(text, "OLD", 3);
			assert_string_equal(node_text(b, old.node), text);
			assert_string_equal(u_text(b, targets[k]), "up/from/upperfile");
			u_drop(b, &old);
			assert_int_equal(bed_litter(b), 0);
			assert_same_again(b, TREE_ALL);
			bed_close(b);
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
		bed_test(test_within_one_directory),
		bed_test(test_nothing_moves_into_itself),
		bed_test(test_flags_that_make_no_sense_are_refused),
		bed_test(test_what_is_below_a_moved_directory_moves_along),
		bed_test(test_a_replaced_file_stays_for_who_has_it_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
