/*
 * Each system call of a rotation fails, or is the last one of its server. What fails changes nothing and leaves nothing;
 * what ends leaves the old stack or the new one.
 */
#include <errno.h>
#include <sys/stat.h>

#include "inject.h"
#include "paths.h"

/* A union whose upper has something of everything, ready to be rotated, and what it shows. */
static char *open_ready(void **state)
{
	struct bed *b = *state;

	bed_teardown(state);
	bed_setup(state);
	put_file(b, "l0/a", "lower a");
	put_file(b, "l0/d/one", "one");
	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	bed_open(b, 1, 0, &(struct ply_union_config){ .redirect_dir = PLY_REDIRECT_ON, .sync = 1 });
	assert_ok(u_write(b, "a", "UPPER", 0));
	assert_ok(u_chmod(b, "x", 0600));
	assert_ok(u_rename(b, "d", "moved", 0));
	assert_ok(u_mkdir(b, "new"));
	assert_ok(u_setxattr(b, "", "user.test", "root"));
	assert_ok(ply_settle(b->u, 0));
	assert_ok(ply_rotate_prepare(b->u, PLY_ROTATE_AS_IS));
	return tree_of_union(b, TREE_MTIME);
}

static int rotate(struct bed *b)
{
	struct ply_why why;

	return ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_AS_IS, &why);
}

static unsigned count(void **state)
{
	free(open_ready(state));
	count_calls();
	assert_ok(rotate(*state));
	return stop_failing();
}

static void assert_shows(struct bed *b, const char *wanted)
{
	char *got = tree_of_union(b, TREE_MTIME);

	assert_same_tree(got, wanted);
	free(got);
}

static void test_what_fails_changes_nothing(void **state)
{
	struct bed *b = *state;
	unsigned calls = count(state), failures = 0;

	for (unsigned n = 1; n <= calls; n++) {
		char *before = open_ready(state);
		int err;

		fail_call(n, -EIO);
		err = rotate(b);
		stop_failing();
		if (getenv("PLY_VERBOSE"))
			print_error("call %u, %s: %d\n", n, failed_call(), err);
		if (err && on_disk(b, "snap"))
			fail_msg("call %u, %s: the layer is left", n, failed_call());
		assert_shows(b, before);
		if (err)
			assert_ok(rotate(b));
		assert_shows(b, before);
		failures += err != 0;
		free(before);
		bed_close(b);
	}
	assert_true(failures > 10);
}

/* Over the snapshot, if there is one by now. */
static void open_again(struct bed *b)
{
	unsigned nlowers = 1;

	if (on_disk(b, "snap/a")) {
		assert_int_equal(rename(bed_path(b, "l0"), bed_path(b, "l1")), 0);
		assert_int_equal(rename(bed_path(b, "snap"), bed_path(b, "l0")), 0);
		nlowers++;
	}
	bed_open(b, nlowers, 0,
		 &(struct ply_union_config){ .redirect_dir = PLY_REDIRECT_ON, .sync = 1 });
}

static void test_a_server_that_ends_leaves_the_old_stack_or_the_new_one(void **state)
{
	struct bed *b = *state;
	unsigned calls = count(state), news = 0;

	for (unsigned n = 1; n <= calls + 1; n++) {
		char *before = open_ready(state);

		stop_at(n);
		rotate(b);
		ply_union_close(b->u);
		b->u = NULL;
		stop_failing();
		news += (unsigned)on_disk(b, "snap/a");
		open_again(b);
		assert_shows(b, before);
		free(before);
		bed_close(b);
	}
	assert_true(news > 0 && news < calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_what_fails_changes_nothing),
		bed_test(test_a_server_that_ends_leaves_the_old_stack_or_the_new_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
