/*
 * Which files are known to have a mark, and when it may go: no end of the server, and no later end of the machine, takes what was
 * written, or passes off as written what the disk has not got.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "paths.h"
#include "union/node.h"

#define OLD "what the layer has"

static const struct ply_union_config metacopy = { .metacopy = 1, .sync = PLY_SYNC };

static int is_marked(struct bed *b, const char *path)
{
	return disk_xattr(b, path, "trusted.overlay.metacopy") ||
	       disk_xattr(b, path, "user.overlay.metacopy");
}

/* With f in the upper, its data below. */
static void open_metacopy(struct bed *b)
{
	put_file(b, "l0/f", OLD);
	put_remove(b, "up");
	put_dir(b, "up");
	bed_open(b, 1, 0, &metacopy);
	assert_ok(u_chmod(b, "f", 0600));
}

/* The name that was known of it goes; the other one has the data as well. */
static void test_a_file_is_settled_for_names_that_nobody_knows(void **state)
{
	struct bed *b = *state;
	struct ply_entry f;

	open_metacopy(b);
	assert_ok(u_link(b, "g", "f"));
	f = u_hold(b, "f");
	assert_ok(u_write_back(b, "f", "W", 0));
	assert_ok(u_unlink(b, "f"));
	u_drop(b, &f);
	bed_close(b);
	assert_false(is_marked(b, "up/g"));
	assert_int_equal(disk_text(b, "up/g")[0], 'W');
}

static void test_a_file_is_settled_for_names_that_nobody_knows_when_another_takes_its_own(
	void **state)
{
	struct bed *b = *state;
	struct ply_entry f;

	open_metacopy(b);
	assert_ok(u_link(b, "g", "f"));
	assert_ok(u_create(b, "h"));
	f = u_hold(b, "f");
	assert_ok(u_write_back(b, "f", "W", 0));
	assert_ok(u_rename(b, "h", "f", 0));
	u_drop(b, &f);
	bed_close(b);
	assert_false(is_marked(b, "up/g"));
	assert_int_equal(disk_text(b, "up/g")[0], 'W');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_a_file_is_settled_for_names_that_nobody_knows),
		bed_test(
			test_a_file_is_settled_for_names_that_nobody_knows_when_another_takes_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
