/*
 * Each system call while a layer is added fails, and so does each allocation; or the call is the last one of its server. What fails
 * changes nothing; what ends leaves a stack that shows what it did, with the layer or without.
 */
#include <errno.h>
#include <sys/stat.h>

#include "added.h"
#include "inject.h"

static const struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };

/* A union with something of everything, all of it in use. */
static char *open_ready(void **state, struct everything *e)
{
	struct bed *b = *state;

	bed_teardown(state);
	bed_setup(state);
	put_file(b, "l0/a", "lower a");
	put_file(b, "l0/d/one", "one");
	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	put_file(b, "l0/other/f", "f");
	put_xattr(b, "l0/other", "trusted.overlay.redirect", "/far/away");
	put_file(b, "l1/d/two", "two");
	put_file(b, "l1/d/sub/three", "three");
	put_file(b, "l1/far/away/g", "g");
	put_file(b, "l1/made/h", "h");
	put_file(b, "l1/p", "pair");
	put_link(b, "l1/q", "l1/p");
	bed_open(b, 1, 0, &how);
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(u_rename(b, "d", "moved", 0));
	assert_ok(u_mkdir(b, "made"));
	assert_ok(ply_settle(b->u, 0));
	hold_everything(b, e);
	return tree_of_union(b, TREE_ALL);
}

static unsigned count(void **state)
{
	struct everything e;

	free(open_ready(state, &e));
	count_calls();
	assert_ok(add_layer(*state, "l1"));
	drop_everything(*state, &e);
	return stop_failing();
}

static void assert_shows(struct bed *b, const char *wanted, unsigned flags)
{
	char *got = tree_of_union(b, flags);

	assert_same_tree(got, wanted);
	free(got);
}

static char *with_layer(struct bed *b)
{
	char *tree;

	bed_close(b);
	bed_open(b, 2, 0, &how);
	tree = tree_of_union(b, TREE_MTIME);
	return tree;
}

/* One of the attempts fails, or none: all is as it was, or the layer is there. */
static int try_once(void **state, void (*arm)(unsigned n, int err), unsigned n, int err)
{
	struct bed *b = *state;
	struct everything e;
	char *before = open_ready(state, &e), *after;
	size_t fds = count_fds();
	int failed;

	arm(n, err);
	failed = add_layer(b, "l1");
	arm(0, 0);
	if (getenv("PLY_VERBOSE"))
		print_error("call %u, %s: %d\n", n, failed_call(), failed);
	check_everything(b, &e);
	if (failed) {
		assert_shows(b, before, TREE_ALL);
		/* No more than what the cache has opened for the tree. */
		assert_true(count_fds() <= fds + 8);
		assert_ok(add_layer(b, "l1"));
	}
	after = tree_of_union(b, TREE_MTIME);
	drop_everything(b, &e);
	free(before);
	before = with_layer(b);
	assert_same_tree(after, before);
	free(before);
	free(after);
	bed_close(b);
	return failed != 0;
}

static void arm_calls(unsigned n, int err)
{
	if (n)
		fail_call(n, err);
	else
		stop_failing();
}

static void fail_each(void **state, int err)
{
	unsigned calls = count(state), failures = 0;

	for (unsigned n = 1; n <= calls; n++)
		failures += (unsigned)try_once(state, arm_calls, n, err);
	assert_true(failures > 10);
}

static void test_what_fails_changes_nothing(void **state)
{
	fail_each(state, -EIO);
}

static void test_nor_does_a_lack_of_descriptors(void **state)
{
	fail_each(state, -EMFILE);
}

/* ---- memory: the n-th allocation from here on is the one that fails; 0: none ---- */

static unsigned allocations_left;

static void arm_memory(unsigned n, int err)
{
	(void)err;
	allocations_left = n;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FAILS_MEMORY 1
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static int fails(void)
{
	if (!allocations_left || --allocations_left)
		return 0;
	errno = ENOMEM;
	return 1;
}

/* In the place of the C library's, and what it has itself for strdup and the like. */
void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}
#else
#define FAILS_MEMORY 0
#endif

static void test_nor_does_a_lack_of_memory(void **state)
{
	unsigned failures = 0, in_a_row = 0;

	if (!FAILS_MEMORY)
		return;
	/* Until there are no more allocations to fail. */
	for (unsigned n = 1; in_a_row < 20; n++) {
		int failed = try_once(state, arm_memory, n, -ENOMEM);

		failures += (unsigned)failed;
		in_a_row = failed ? 0 : in_a_row + 1;
	}
	assert_true(failures > 10);
}

static void test_a_server_that_ends_leaves_what_was_or_what_is(void **state)
{
	struct bed *b = *state;
	unsigned calls = count(state), news = 0;

	for (unsigned n = 1; n <= calls + 1; n++) {
		struct everything e;
		char *before = open_ready(state, &e), *after;
		struct ply_why why = { "" };

		stop_at(n);
		add_layer(b, "l1");
		free(e.v);
		ply_union_close(b->u);
		b->u = NULL;
		stop_failing();
		/* The index of hard links belongs to the one stack or to the other, and never are links mixed up. */
		if (bed_try_open(b, 1, 0, &how, &why)) {
			assert_non_null(strstr(why.text, "other lower layers"));
			bed_open(b, 2, 0, &how);
			news++;
			assert_string_equal(u_text(b, "p"), "pair");
		} else {
			assert_shows(b, before, TREE_ALL);
		}
		assert_string_equal(u_text(b, "x"), "Pair");
		assert_string_equal(u_text(b, "moved/y"), "Pair");
		after = tree_of_union(b, TREE_MTIME);
		free(after);
		free(before);
		bed_close(b);
	}
	assert_true(news > 0 && news < calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_what_fails_changes_nothing),
		bed_test(test_nor_does_a_lack_of_descriptors),
		bed_test(test_nor_does_a_lack_of_memory),
		bed_test(test_a_server_that_ends_leaves_what_was_or_what_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
