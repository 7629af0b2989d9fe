/*
 * An upper whose marks are in one name space goes on in another, as that of a plain user does when root mounts it: what was
 * written before is read, what is written then counts, and what is taken off does not come back.
 */
#include <sys/stat.h>
#include <sys/xattr.h>

#include "layer/format.h"
#include "paths.h"

static const struct {
	enum ply_xattr_space first, then;
} changes[] = {
	{ PLY_SPACE_USER, PLY_SPACE_TRUSTED },
	{ PLY_SPACE_TRUSTED, PLY_SPACE_USER },
	{ PLY_SPACE_TRUSTED, PLY_SPACE_NONE },
	{ PLY_SPACE_USER, PLY_SPACE_NONE },
};
#define NCHANGES (sizeof(changes) / sizeof(changes[0]))

static void fresh(struct bed *b)
{
	static const char *const dirs[] = { "l0", "up", "work" };

	for (unsigned i = 0; i < 3; i++) {
		put_remove(b, dirs[i]);
		put_dir(b, dirs[i]);
	}
}

static unsigned links_of(struct bed *b, const char *path)
{
	struct statx attr;

	assert_ok(u_stat(b, path, &attr));
	return attr.stx_nlink;
}

static void open_in(struct bed *b, enum ply_xattr_space space, int metacopy)
{
	struct ply_union_config how = { .space = space,
					.metacopy = metacopy,
					.redirect_dir = PLY_REDIRECT_ON };

	bed_open(b, 1, 0, &how);
}

/* The file was metadata only: its mark goes, whatever space it is in. */
static void test_data_that_came_up_stays(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < NCHANGES; i++) {
		fresh(b);
		put_file(b, "l0/f", "low");
		open_in(b, changes[i].first, 1);
		assert_ok(u_chmod(b, "f", 0600));
		bed_close(b);
		open_in(b, changes[i].then, 0);
		assert_ok(u_write(b, "f", "L", 0));
		bed_close(b);
		open_in(b, changes[i].then, 0);
		assert_string_equal(u_text(b, "f"), "Low");
		bed_close(b);
		open_in(b, changes[i].first, 0);
		assert_string_equal(u_text(b, "f"), "Low");
		bed_close(b);
	}
}

/* The count of a file's names is known: its entry in the index does not go before them. */
static void test_the_last_name_keeps_what_was_written(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < NCHANGES; i++) {
		fresh(b);
		put_file(b, "l0/a", "pair");
		put_link(b, "l0/b", "l0/a");
		open_in(b, changes[i].first, 0);
		assert_ok(u_write(b, "a", "P", 0));
		bed_close(b);
		open_in(b, changes[i].then, 0);
		assert_int_equal(links_of(b, "b"), 2);
		assert_ok(u_unlink(b, "a"));
		assert_int_equal(links_of(b, "b"), 1);
		bed_close(b);
		open_in(b, changes[i].then, 0);
		assert_string_equal(u_text(b, "b"), "Pair");
		assert_int_equal(links_of(b, "b"), 1);
		bed_close(b);
		open_in(b, changes[i].first, 0);
		assert_string_equal(u_text(b, "b"), "Pair");
		assert_int_equal(links_of(b, "b"), 1);
		bed_close(b);
	}
}

/* Who may not see the mark takes no name for the last one. */
static void test_a_count_that_cannot_be_read_is_not_too_low(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/a", "pair");
	put_link(b, "l0/b", "l0/a");
	open_in(b, PLY_SPACE_TRUSTED, 0);
	assert_ok(u_write(b, "a", "P", 0));
	bed_close(b);
	assert_int_equal(lremovexattr(bed_path(b, "up/a"), PLY_SPACE_TRUSTED_PREFIX PLY_MARK_NLINK),
			 0);
	open_in(b, PLY_SPACE_TRUSTED, 0);
	assert_ok(u_unlink(b, "a"));
	bed_close(b);
	open_in(b, PLY_SPACE_TRUSTED, 0);
	assert_string_equal(u_text(b, "b"), "Pair");
	bed_close(b);
}

/* A redirect by name is replaced by one that holds elsewhere. */
static void test_a_directory_that_moves_again_keeps_its_content(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < NCHANGES; i++) {
		if (changes[i].then == PLY_SPACE_NONE)
			continue;
		fresh(b);
		put_file(b, "l0/d/f", "low");
		put_dir(b, "l0/e");
		open_in(b, changes[i].first, 0);
		assert_ok(u_rename(b, "d", "d2", 0));
		bed_close(b);
		open_in(b, changes[i].then, 0);
		assert_ok(u_rename(b, "d2", "e/d3", 0));
		bed_close(b);
		open_in(b, changes[i].then, 0);
		assert_string_equal(u_text(b, "e/d3/f"), "low");
		bed_close(b);
		open_in(b, changes[i].first, 0);
		assert_string_equal(u_text(b, "e/d3/f"), "low");
		bed_close(b);
	}
}

/* What a server that was killed had taken off is given back. */
static void test_what_was_kept_aside_is_given_back(void **state)
{
	static const uint8_t mode[] = { 04755 & 0xff, 04755 >> 8 };
	struct ply_kept kept = { .version = PLY_KEPT_VERSION };
	struct bed *b = *state;
	struct statx attr;

	memcpy(&kept.mode, mode, sizeof(mode));
	put_file(b, "l0/f", "low");
	open_in(b, PLY_SPACE_USER, 1);
	assert_ok(u_chmod(b, "f", 0755));
	bed_close(b);
	assert_int_equal(lsetxattr(bed_path(b, "up/f"), PLY_SPACE_USER_PREFIX PLY_MARK_KEPT, &kept,
				   PLY_KEPT_HEADER, 0),
			 0);
	open_in(b, PLY_SPACE_TRUSTED, 0);
	assert_ok(u_stat(b, "f", &attr));
	assert_int_equal(attr.stx_mode, S_IFREG | 04755);
	assert_int_equal(attr.stx_mtime.tv_sec, 0);
	bed_close(b);
	assert_null(disk_xattr(b, "up/f", PLY_SPACE_USER_PREFIX PLY_MARK_KEPT));
	assert_null(disk_xattr(b, "up/f", PLY_SPACE_USER_PREFIX PLY_MARK_METACOPY));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_data_that_came_up_stays),
		bed_test(test_the_last_name_keeps_what_was_written),
		bed_test(test_a_count_that_cannot_be_read_is_not_too_low),
		bed_test(test_a_directory_that_moves_again_keeps_its_content),
		bed_test(test_what_was_kept_aside_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
