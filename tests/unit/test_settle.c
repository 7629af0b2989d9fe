/*
 * Which files are known to have a mark, and when it may go: no end of the server, and no later end of the machine, takes what was
 * written, or passes off as written what the disk has not got.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject.h"
#include "paths.h"
#include "union/node.h"

#define OLD "what the layer has"

static const struct ply_union_config metacopy = { .metacopy = 1, .sync = PLY_SYNC };

static int settle(struct bed *b)
{
	return ply_settle(b->u, 0);
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

/* Its mark is an earlier server's. */
static void test_a_mark_that_was_found_is_remembered_when_data_comes_up(void **state)
{
	struct bed *b = *state;

	open_metacopy(b);
	bed_again(b);
	assert_false(on_disk(b, "work/" PLY_UNSETTLED));
	assert_ok(u_write_back(b, "f", "W", 0));
	assert_true(on_disk(b, "work/" PLY_UNSETTLED));
	bed_die(b);
	bed_open(b, 1, 0, &metacopy);
	bed_close(b);
	assert_false(disk_is_marked(b, "up/f"));
	assert_int_equal(disk_text(b, "up/f")[0], 'W');
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
	assert_false(disk_is_marked(b, "up/g"));
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
	assert_false(disk_is_marked(b, "up/g"));
	assert_int_equal(disk_text(b, "up/g")[0], 'W');
}

/* The upper has no name of it, only the index of hard links; the one in the layer is looked up long after. */
static void test_a_file_that_only_the_index_has_is_found_after_an_end_of_the_server(void **state)
{
	struct bed *b = *state;
	char name[256], entry[BED_PATH];

	put_file(b, "l0/f", OLD);
	put_link(b, "l0/g", "l0/f");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write_back(b, "f", "W", 0));
	assert_ok(u_unlink(b, "f"));
	bed_die(b);
	assert_int_equal(disk_entries(b, "work/" PLY_INDEX_DIR, name), 1);
	snprintf(entry, sizeof(entry), "work/" PLY_INDEX_DIR "/%s", name);
	assert_true(disk_is_marked(b, entry));
	bed_open(b, 1, 0, NULL);
	fail_kind(PLY_SYS_getxattr, -EIO);
	assert_errno(settle(b), -EIO);
	stop_failing();
	assert_ok(settle(b));
	assert_false(disk_is_marked(b, entry));
	bed_close(b);
	assert_false(on_disk(b, "work/" PLY_UNSETTLED));
	bed_open(b, 1, 0, NULL);
	assert_int_equal(u_text(b, "g")[0], 'W');
	bed_close(b);
}

static void test_what_was_lost_of_a_file_that_only_the_index_has_is_old(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/f", OLD);
	put_link(b, "l0/g", "l0/f");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write_back(b, "f", "W", 0));
	assert_ok(u_unlink(b, "f"));
	bed_die(b);
	bed_open(b, 1, 0, NULL);
	fail_kind(PLY_SYS_fsync, -EIO);
	assert_errno(settle(b), -EIO);
	stop_failing();
	assert_ok(settle(b));
	assert_string_equal(u_text(b, "g"), OLD);
	bed_close(b);
}

/* The next server has not seen the error, and the kernel says nothing any more. */
static void test_what_was_lost_is_lost_for_the_next_server(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/f", OLD);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write_back(b, "f", "W", 0));
	fail_kind(PLY_SYS_fsync, -EIO);
	assert_errno(u_sync(b, "f"), -EIO);
	stop_failing();
	assert_int_equal(u_text(b, "f")[0], 'W');
	bed_close(b);
	assert_true(disk_is_marked(b, "up/f"));
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_text(b, "f"), OLD);
	assert_ok(settle(b));
	assert_string_equal(u_text(b, "f"), OLD);
	bed_close(b);
	assert_false(disk_is_marked(b, "up/f"));
	assert_string_equal(disk_text(b, "up/f"), OLD);
}

/* What is written after it was emptied is as good as any other file's. */
static void test_what_was_lost_and_emptied_outlives_the_server(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/f", OLD);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write_back(b, "f", "W", 0));
	fail_kind(PLY_SYS_fsync, -EIO);
	assert_errno(u_sync(b, "f"), -EIO);
	stop_failing();
	assert_ok(u_truncate(b, "f", 0));
	assert_ok(u_write_back(b, "f", "new", 0));
	bed_die(b);
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_text(b, "f"), "new");
	bed_close(b);
}

/* Somebody syncs the file while its data comes up, and is told that the disk does not take it. */
static struct {
	struct bed *b;
	struct ply_entry f;
	int started, fails, err;
} other;

static int sync_meanwhile(enum ply_sys call)
{
	if (call == PLY_SYS_fsync && other.fails) {
		other.fails = 0;
		return -EIO;
	}
	if (call != PLY_SYS_utimens || other.started)
		return 0;
	other.started = other.fails = 1;
	other.err = ply_fsync(other.b->u, other.f.node, PLY_SYNC_ALL);
	return 0;
}

static void test_what_was_lost_while_it_came_up_stays_marked(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/f", OLD);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_setxattr(b, "f", "user.x", "x"));
	other.b = b;
	other.f = u_hold(b, "f");
	other.started = other.fails = 0;
	ply_sys_probe = sync_meanwhile;
	settle(b);
	ply_sys_probe = NULL;
	u_drop(b, &other.f);
	assert_errno(other.err, -EIO);
	assert_true(disk_is_marked(b, "up/f"));
	assert_errno(u_sync(b, "f"), -EIO);
	bed_close(b);
	assert_true(disk_is_marked(b, "up/f"));
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_text(b, "f"), OLD);
	assert_ok(settle(b));
	assert_false(disk_is_marked(b, "up/f"));
	bed_close(b);
}

static unsigned removed;

/* The first one takes off what a fill has kept, the second one is to take off the mark. */
static int fail_second_removexattr(enum ply_sys call)
{
	return call == PLY_SYS_removexattr && ++removed == 2 ? -EIO : 0;
}

/* The mark cannot be taken off at once; what is written then is not old content to the next server. */
static void test_a_file_that_is_emptied_in_spite_of_an_error_outlives_the_server(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/f", OLD);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_chmod(b, "f", 0600));
	removed = 0;
	ply_sys_probe = fail_second_removexattr;
	assert_errno(u_truncate(b, "f", 0), -EIO);
	ply_sys_probe = NULL;
	assert_ok(u_truncate(b, "f", 0));
	assert_ok(u_write_back(b, "f", "new", 0));
	bed_die(b);
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_text(b, "f"), "new");
	bed_close(b);
	assert_false(disk_is_marked(b, "up/f"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_a_mark_that_was_found_is_remembered_when_data_comes_up),
		bed_test(test_a_file_is_settled_for_names_that_nobody_knows),
		bed_test(
			test_a_file_is_settled_for_names_that_nobody_knows_when_another_takes_its_own),
		bed_test(test_a_file_that_only_the_index_has_is_found_after_an_end_of_the_server),
		bed_test(test_what_was_lost_of_a_file_that_only_the_index_has_is_old),
		bed_test(test_what_was_lost_is_lost_for_the_next_server),
		bed_test(test_what_was_lost_and_emptied_outlives_the_server),
		bed_test(test_what_was_lost_while_it_came_up_stays_marked),
		bed_test(test_a_file_that_is_emptied_in_spite_of_an_error_outlives_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
