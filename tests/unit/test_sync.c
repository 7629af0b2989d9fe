/*
 * When the mark metacopy is taken off: not before the data is on the disk, whatever comes up during the sync, and never
 * when the disk did not take it.
 */
#include <errno.h>
#include <linux/fs.h>
#include <sys/xattr.h>

#include "inject.h"
#include "layer/format.h"
#include "paths.h"
#include "union/node.h"

#define BIG 200000

static void make_layers(struct bed *b)
{
	static char big[BIG + 1];

	memset(big, 'b', BIG);
	put_file(b, "l0/d/f", "lower f");
	put_file(b, "l0/d/big", big);
	put_file(b, "l0/d/sub/g", "lower g");
	put_file(b, "l0/over", "lower over");
	put_file(b, "l0/dir/in/deep", "lower deep");
}

static void open_fresh(struct bed *b)
{
	put_remove(b, "up");
	put_dir(b, "up");
	bed_open(b, 1, 0, NULL);
}

/* Its length, or less than 0 for none. */
static ssize_t mark_of(struct bed *b, const char *path)
{
	return getxattr(bed_path(b, "%s", path), PLY_SPACE_TRUSTED_PREFIX PLY_MARK_METACOPY, NULL,
			0);
}

static void check_settled(struct bed *b)
{
	assert_true(mark_of(b, "up/d/big") < 0);
	assert_true(mark_of(b, "up/d/sub/moved") < 0);
	assert_false(on_disk(b, "work/" PLY_UNSETTLED));
}

/* Not a single mark is taken off before the data was synced. */
static unsigned synced, marked;
static struct bed *watched;

static int watch(enum ply_sys call)
{
	static const char *const paths[] = { "up/d/big", "up/d/sub/moved" };

	if (call != PLY_SYS_syncfs && call != PLY_SYS_fsync)
		return 0;
	for (size_t i = 0; i < 2 && !synced; i++)
		marked += mark_of(watched, paths[i]) >= 0;
	synced++;
	return 0;
}

static void test_marks_go_after_the_data_was_synced(void **state)
{
	struct bed *b = *state;

	make_layers(b);
	open_fresh(b);
	synced = marked = 0;
	watched = b;
	ply_sys_probe = watch;
	assert_ok(u_chmod(b, "d/big", 0600));
	assert_ok(u_write(b, "d/f", "LOWER", 0));
	assert_ok(u_rename(b, "d/f", "d/sub/moved", 0));
	assert_ok(ply_settle(b->u, 1000));
	assert_int_equal(synced, 0);
	assert_true(mark_of(b, "up/d/big") == 0);
	assert_true(mark_of(b, "up/d/sub/moved") > 0);
	assert_true(on_disk(b, "work/" PLY_UNSETTLED));
	assert_ok(ply_settle(b->u, 0));
	ply_sys_probe = NULL;
	assert_int_equal(marked, 2);
	assert_int_equal(synced, 1);
	bed_close(b);
	check_settled(b);
}

/* There is no room for the data of a file until its sync begins: then it is written to by somebody else. */
static struct bed *late_bed;
static enum ply_sys late_at;

static int come_late(enum ply_sys call)
{
	struct bed *b = late_bed;

	if (b && call == late_at) {
		late_bed = NULL;
		assert_ok(u_write(b, "d/big", "B", 150000));
	} else if (b && (call == PLY_SYS_clone || call == PLY_SYS_copy_range ||
			 call == PLY_SYS_pwrite)) {
		return -ENOSPC;
	}
	return 0;
}

static void start_late(struct bed *b, enum ply_sys at)
{
	open_fresh(b);
	assert_ok(u_chmod(b, "d/big", 0600));
	late_bed = b;
	late_at = at;
	ply_sys_probe = come_late;
}

static void check_late(struct bed *b)
{
	ply_sys_probe = NULL;
	assert_null(late_bed);
	assert_true(mark_of(b, "up/d/big") > 0);
	bed_close(b);
	check_settled(b);
}

static void test_data_that_came_up_during_the_sync_keeps_its_mark(void **state)
{
	struct bed *b = *state;

	make_layers(b);
	start_late(b, PLY_SYS_fsync);
	assert_ok(u_sync(b, "d/big"));
	check_late(b);
	start_late(b, PLY_SYS_syncfs);
	assert_int_equal(ply_settle(b->u, 0), -ENOSPC);
	check_late(b);
}

static unsigned whole_syncs_for(struct bed *b, const char *path)
{
	count_calls();
	assert_ok(u_sync(b, path));
	stop_failing();
	return calls_of(PLY_SYS_syncfs);
}

/* As on btrfs. A name that moved away and the whiteout there, or a removed one, are not synced by half. */
static void test_where_fsync_keeps_no_order_names_are_synced_together(void **state)
{
	struct bed *b = *state;

	make_layers(b);
	open_fresh(b);
	b->u->sync_whole = 1;
	/* With the first mark, what tells the next server to look for it. */
	assert_ok(u_chmod(b, "d/big", 0600));
	assert_int_equal(whole_syncs_for(b, "d/big"), 1);
	assert_ok(u_write(b, "d/big", "B", 150000));
	assert_int_equal(whole_syncs_for(b, "d/big"), 0);
	assert_ok(u_chmod(b, "d/sub/g", 0600));
	assert_int_equal(whole_syncs_for(b, "d/sub/g"), 1);
	assert_ok(u_rename(b, "d/f", "d/sub/moved", 0));
	assert_int_equal(whole_syncs_for(b, "d/sub/moved"), 1);
	assert_int_equal(whole_syncs_for(b, "d/big"), 0);
	assert_ok(u_unlink(b, "d/sub/g"));
	assert_int_equal(whole_syncs_for(b, "d/sub/moved"), 1);
	assert_ok(u_rename(b, "d/sub/moved", "d/sub/again", 0));
	assert_int_equal(whole_syncs_for(b, "d/sub/again"), 0);
	assert_ok(u_rename(b, "d/sub/again", "over", RENAME_EXCHANGE));
	assert_int_equal(whole_syncs_for(b, "d/big"), 1);
	b->u->sync_whole = 0;
	assert_ok(u_rename(b, "dir", "d/dir", 0));
	assert_int_equal(whole_syncs_for(b, "d/big"), 0);
	bed_close(b);
}

/* Files that are to stay without their data stay so; that of the others is looked for after a crash as without. */
static void test_metacopy_leaves_only_marks_without_data(void **state)
{
	struct ply_union_config how = { .metacopy = 1, .sync = PLY_SYNC };
	struct bed *b = *state;

	make_layers(b);
	bed_open(b, 1, 0, &how);
	assert_ok(u_chmod(b, "d/big", 0600));
	assert_ok(u_write_back(b, "d/f", "O", 0));
	bed_die(b);
	assert_true(mark_of(b, "up/d/f") >= 0);
	bed_open(b, 1, 0, &how);
	assert_ok(ply_settle(b->u, 0));
	assert_true(mark_of(b, "up/d/f") < 0);
	assert_true(mark_of(b, "up/d/big") >= 0);
	bed_close(b);
	assert_false(on_disk(b, "work/" PLY_UNSETTLED));
	assert_false(on_disk(b, "work/" PLY_SETTLING));
	assert_true(mark_of(b, "up/d/big") >= 0);
}

/* syncfs says once that something was not written, and it may have been a file of a later batch. */
static void test_after_an_error_of_syncfs_each_file_is_synced(void **state)
{
	struct bed *b = *state;

	make_layers(b);
	open_fresh(b);
	assert_ok(u_chmod(b, "d/big", 0600));
	assert_ok(u_write_back(b, "d/f", "O", 0));
	fail_kind(PLY_SYS_syncfs, -EIO);
	assert_ok(ply_settle(b->u, 0));
	assert_true(calls_of(PLY_SYS_fsync) >= 2);
	stop_failing();
	assert_true(mark_of(b, "up/d/big") < 0);
	assert_true(mark_of(b, "up/d/f") < 0);
	assert_ok(u_chmod(b, "d/sub/g", 0600));
	count_calls();
	assert_ok(ply_settle(b->u, 0));
	assert_int_equal(calls_of(PLY_SYS_syncfs), 0);
	assert_true(calls_of(PLY_SYS_fsync) >= 1);
	stop_failing();
	assert_true(mark_of(b, "up/d/sub/g") < 0);
	bed_close(b);
}

/* What the disk has not got is not told to be there later, when the kernel has forgotten about it. */
static void test_what_was_lost_stays_marked(void **state)
{
	struct bed *b = *state;

	make_layers(b);
	open_fresh(b);
	assert_ok(u_chmod(b, "d/big", 0600));
	assert_ok(u_write_back(b, "d/f", "O", 0));
	fail_kind(PLY_SYS_fsync, -EIO);
	assert_errno(u_sync(b, "d/f"), -EIO);
	stop_failing();
	assert_errno(u_sync(b, "d/f"), -EIO);
	assert_errno(ply_settle(b->u, 0), -EIO);
	assert_true(mark_of(b, "up/d/f") >= 0);
	assert_true(mark_of(b, "up/d/big") < 0);
	assert_ok(u_write_back(b, "d/f", "again", 0));
	assert_errno(u_sync(b, "d/f"), -EIO);
	assert_string_equal(u_text(b, "d/f"), "again f");
	assert_ok(u_truncate(b, "d/f", 0));
	assert_ok(u_write_back(b, "d/f", "new", 0));
	assert_ok(u_sync(b, "d/f"));
	assert_true(mark_of(b, "up/d/f") < 0);
	assert_ok(ply_settle(b->u, 0));
	bed_close(b);
}

/* The same where it is found while many are settled. */
static void test_what_was_lost_in_a_batch_stays_marked(void **state)
{
	struct bed *b = *state;

	make_layers(b);
	open_fresh(b);
	assert_ok(u_chmod(b, "d/big", 0600));
	assert_ok(u_write_back(b, "d/big", "x", 0));
	b->u->syncs_each = 1;
	fail_kind(PLY_SYS_fsync, -EIO);
	assert_errno(ply_settle(b->u, 0), -EIO);
	stop_failing();
	assert_errno(ply_settle(b->u, 0), -EIO);
	assert_errno(u_sync(b, "d/big"), -EIO);
	assert_true(mark_of(b, "up/d/big") >= 0);
	assert_ok(u_unlink(b, "d/big"));
	assert_ok(ply_settle(b->u, 0));
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_marks_go_after_the_data_was_synced),
		bed_test(test_data_that_came_up_during_the_sync_keeps_its_mark),
		bed_test(test_where_fsync_keeps_no_order_names_are_synced_together),
		bed_test(test_metacopy_leaves_only_marks_without_data),
		bed_test(test_after_an_error_of_syncfs_each_file_is_synced),
		bed_test(test_what_was_lost_stays_marked),
		bed_test(test_what_was_lost_in_a_batch_stays_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
