/* An index of hard links belongs to the directories that it was made on: over others it is refused, or not read. */
#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "layer/format.h"
#include "paths.h"

static void move_away(struct bed *b, const char *from, const char *to)
{
	assert_int_equal(rename(bed_path(b, "%s", from), bed_path(b, "%s", to)), 0);
}

/* l0 with a file of two names, one of which is changed; below it l1. */
static void write_stack(struct bed *b)
{
	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	put_file(b, "l1/low", "low");
	bed_open(b, 2, 0, NULL);
	assert_ok(u_write(b, "x", "P", 0));
	bed_close(b);
}

static void assert_refused(struct bed *b, unsigned nlowers, const char *says)
{
	struct ply_why why = { "" };

	assert_int_equal(bed_try_open(b, nlowers, 0, NULL, &why), -ESTALE);
	assert_non_null(strstr(why.text, says));
}

static void assert_as_written(struct bed *b, const struct ply_union_config *how)
{
	bed_open(b, 2, 0, how);
	assert_string_equal(u_text(b, "x"), "Pair");
	assert_string_equal(u_text(b, "d/y"), how && how->no_index ? "pair" : "Pair");
	bed_close(b);
}

/* The same inodes by other names, as of two checkouts that share files: the index alone would not see it. */
static void test_other_lower_layers_are_refused(void **state)
{
	struct bed *b = *state;

	write_stack(b);
	move_away(b, "l0", "old");
	put_link(b, "l0/unchanged", "old/x");
	assert_refused(b, 2, "other lower layers");
	/* On the right ones it goes on. */
	put_remove(b, "l0");
	move_away(b, "old", "l0");
	assert_as_written(b, NULL);
}

static void test_other_layers_below_the_topmost_are_refused(void **state)
{
	struct bed *b = *state;

	write_stack(b);
	move_away(b, "l1", "old");
	put_link(b, "l1/unchanged", "l0/x");
	assert_refused(b, 2, "other lower layers");
	assert_refused(b, 1, "other lower layers");
	put_remove(b, "l1");
	move_away(b, "old", "l1");
	assert_as_written(b, NULL);
}

static void test_the_work_directory_of_another_upper_is_refused(void **state)
{
	struct bed *b = *state;

	write_stack(b);
	move_away(b, "up", "old");
	assert_refused(b, 2, "another upper");
	put_remove(b, "up");
	move_away(b, "old", "up");
	assert_as_written(b, NULL);
}

static void test_without_the_index_any_layers_will_do(void **state)
{
	static const struct ply_union_config without = { .sync = 1, .no_index = 1 };
	struct bed *b = *state;

	write_stack(b);
	assert_as_written(b, &without);
	move_away(b, "l0", "old");
	put_link(b, "l0/unchanged", "old/x");
	bed_open(b, 2, 0, &without);
	assert_string_equal(u_text(b, "unchanged"), "pair");
	assert_string_equal(u_text(b, "x"), "Pair");
	bed_close(b);
}

static void test_without_the_index_none_is_made(void **state)
{
	static const struct ply_union_config without = { .sync = 1, .no_index = 1 };
	struct bed *b = *state;

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/y", "l0/x");
	bed_open(b, 1, 0, &without);
	assert_ok(u_write(b, "x", "P", 0));
	bed_close(b);
	assert_false(on_disk(b, "work/" PLY_INDEX_DIR));
	assert_string_equal(disk_text(b, "up/x"), "Pair");
}

/* Nothing can be wrong with it, and it is tied to the stack that it is used with next. */
static void test_an_empty_index_goes_with_any_layers(void **state)
{
	struct bed *b = *state;

	write_stack(b);
	bed_open(b, 2, 0, NULL);
	assert_ok(u_unlink(b, "x"));
	assert_ok(u_unlink(b, "d/y"));
	bed_close(b);
	move_away(b, "l1", "old");
	put_file(b, "l1/a", "more");
	put_link(b, "l1/b", "l1/a");
	bed_open(b, 2, 0, NULL);
	assert_ok(u_write(b, "a", "M", 0));
	bed_close(b);
	bed_open(b, 2, 0, NULL);
	assert_string_equal(u_text(b, "b"), "More");
	bed_close(b);
	put_remove(b, "l1");
	move_away(b, "old", "l1");
	assert_refused(b, 2, "other lower layers");
}

/* Of a server that wrote no marks; from then on it has them. */
static void test_an_index_without_marks_is_taken_and_marked(void **state)
{
	struct bed *b = *state;

	write_stack(b);
	removexattr(bed_path(b, "work/index"), "trusted.overlay." PLY_MARK_UPPER);
	removexattr(bed_path(b, "work/index"), "trusted.overlay." PLY_MARK_BINDING);
	removexattr(bed_path(b, "up"), "trusted.overlay." PLY_MARK_ORIGIN);
	assert_as_written(b, NULL);
	assert_non_null(disk_xattr(b, "work/index", "trusted.overlay." PLY_MARK_BINDING));
	move_away(b, "l0", "old");
	assert_refused(b, 2, "other lower layers");
}

/* The kernel ties an index to the upper and to the topmost lower layer. */
static void test_the_marks_of_the_kernel_count_alone(void **state)
{
	struct bed *b = *state;

	write_stack(b);
	removexattr(bed_path(b, "work/index"), "trusted.overlay." PLY_MARK_BINDING);
	move_away(b, "l0", "old");
	assert_refused(b, 2, "other lower layers");
	put_remove(b, "l0");
	move_away(b, "old", "l0");
	move_away(b, "up", "old");
	assert_refused(b, 2, "another upper");
	put_remove(b, "up");
	move_away(b, "old", "up");
	assert_as_written(b, NULL);
}

static void test_a_malformed_mark_says_nothing(void **state)
{
	static const char *const values[] = { "", "\001", "\002234567812345678", "x" };
	struct bed *b = *state;

	write_stack(b);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		put_xattr(b, "work/index", "trusted.overlay." PLY_MARK_BINDING, values[i]);
		put_xattr(b, "work/index", "trusted.overlay." PLY_MARK_UPPER, values[i]);
		put_xattr(b, "up", "trusted.overlay." PLY_MARK_ORIGIN, values[i]);
		assert_as_written(b, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_other_lower_layers_are_refused),
		bed_test(test_other_layers_below_the_topmost_are_refused),
		bed_test(test_the_work_directory_of_another_upper_is_refused),
		bed_test(test_without_the_index_any_layers_will_do),
		bed_test(test_without_the_index_none_is_made),
		bed_test(test_an_empty_index_goes_with_any_layers),
		bed_test(test_an_index_without_marks_is_taken_and_marked),
		bed_test(test_the_marks_of_the_kernel_count_alone),
		bed_test(test_a_malformed_mark_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
