/*
 * The link count of a lower file that lost names before it was brought up: right at once, after its node was forgotten, after
 * any number of mounts, and by whatever name it is asked for. No other file pays for it, and nothing fails because of it.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "inject.h"
#include "layer/format.h"
#include "paths.h"

#define COUNTS "work/" PLY_COUNTS_DIR

static unsigned links_of(struct bed *b, const char *path)
{
	struct statx attr = { 0 };

	assert_ok(u_stat(b, path, &attr));
	return attr.stx_nlink;
}

/* One file with four names, one with a single one. */
static void put_links(struct bed *b)
{
	put_file(b, "l0/a", "linked");
	put_link(b, "l0/d/b", "l0/a");
	put_link(b, "l0/d/c", "l0/a");
	put_link(b, "l0/d/e", "l0/a");
	put_file(b, "l0/d/single", "single");
	put_file(b, "l0/other", "other");
}

static const char *const names[] = { "a", "d/b", "d/c", "d/e" };

/* Each of the names that are left says how many they are. */
static void assert_links(struct bed *b, unsigned removed, unsigned wanted)
{
	for (unsigned i = 0; i < 4; i++)
		if (!(removed >> i & 1))
			assert_int_equal(links_of(b, names[i]), wanted);
}

static void test_removed_names_count_no_more(void **state)
{
	struct bed *b = *state;

	put_links(b);
	bed_open(b, 1, 0, NULL);
	assert_links(b, 0, 4);
	assert_ok(u_unlink(b, "d/b"));
	assert_links(b, 2, 3);
	bed_again(b);
	assert_links(b, 2, 3);
	assert_ok(u_unlink(b, "a"));
	assert_links(b, 3, 2);
	assert_same_again(b, TREE_ALL);
	bed_again(b);
	assert_links(b, 3, 2);
	assert_ok(u_rename(b, "other", "d/c", 0));
	assert_links(b, 7, 1);
	bed_again(b);
	assert_links(b, 7, 1);
	assert_string_equal(u_text(b, "d/e"), "linked");
	assert_int_equal(disk_entries(b, COUNTS, NULL), 1);
	assert_ok(u_unlink(b, "d/e"));
	assert_int_equal(disk_entries(b, COUNTS, NULL), 0);
	bed_close(b);
	assert_int_equal(disk_entries(b, COUNTS, NULL), 0);
}

/* Whichever name is asked for first after the mount, whichever were removed before, in one mount or in several. */
static void test_in_any_order(void **state)
{
	struct bed *b = *state;

	put_links(b);
	for (unsigned removed = 1; removed < 15; removed++) {
		unsigned left = 4 - (unsigned)__builtin_popcount(removed);

		put_remove(b, "up");
		bed_open(b, 1, 0, NULL);
		for (unsigned i = 0; i < 4; i++) {
			if (!(removed >> i & 1))
				continue;
			assert_ok(u_unlink(b, names[i]));
			if (i & 1)
				bed_again(b);
		}
		assert_same_again(b, TREE_ALL);
		for (unsigned i = 0; i < 4; i++) {
			bed_again(b);
			if (!(removed >> i & 1))
				assert_int_equal(links_of(b, names[i]), left);
			assert_links(b, removed, left);
		}
		bed_close(b);
	}
}

static void test_what_is_brought_up_goes_on_from_there(void **state)
{
	struct bed *b = *state;

	put_links(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "a"));
	bed_again(b);
	assert_ok(u_write(b, "d/c", "L", 0));
	assert_links(b, 1, 3);
	assert_int_equal(disk_entries(b, COUNTS, NULL), 0);
	assert_ok(u_unlink(b, "d/e"));
	assert_links(b, 9, 2);
	assert_same_again(b, TREE_ALL);
	assert_ok(u_link(b, "d/new", "d/b"));
	assert_int_equal(links_of(b, "d/new"), 3);
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_text(b, "d/new"), "Linked");
	bed_close(b);
}

/* Somebody has the file open, and knows it by the name that went. */
static void test_while_it_is_open(void **state)
{
	struct bed *b = *state;
	struct ply_entry a, c;
	struct statx attr;

	put_links(b);
	bed_open(b, 1, 0, NULL);
	a = u_hold(b, "a");
	assert_ok(u_unlink(b, "a"));
	assert_ok(u_unlink(b, "d/b"));
	assert_ok(ply_getattr(b->u, a.node, &attr));
	assert_int_equal(attr.stx_nlink, 2);
	c = u_hold(b, "d/c");
	assert_ptr_equal(a.node, c.node);
	assert_int_equal(c.attr.stx_nlink, 2);
	u_drop(b, &a);
	u_drop(b, &c);
	assert_links(b, 3, 2);
	bed_close(b);
}

/* No call more than before there were counts: not for a single name, and nothing but a look for others. */
static void test_a_file_with_one_name_costs_no_call_more(void **state)
{
	struct bed *b = *state;
	unsigned first, calls;

	put_links(b);
	put_file(b, "l0/d/single2", "single");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "other"));
	assert_ok(u_unlink(b, "d/single2"));
	bed_again(b);
	count_calls();
	assert_ok(u_unlink(b, "d/single"));
	first = stop_failing();
	assert_int_equal(calls_of(PLY_SYS_symlink) + calls_of(PLY_SYS_name_to_handle), 0);
	assert_false(on_disk(b, COUNTS));
	put_remove(b, "up");
	bed_close(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "a"));
	assert_ok(u_unlink(b, "d/single2"));
	assert_true(on_disk(b, COUNTS));
	bed_again(b);
	count_calls();
	assert_ok(u_unlink(b, "d/single"));
	calls = stop_failing();
	assert_int_equal(calls, first);
	bed_close(b);
}

/* No inode with content comes into the upper, and nothing is left to be settled. */
static void test_nothing_is_brought_up(void **state)
{
	struct bed *b = *state;
	struct ply_union_stats stats;

	put_links(b);
	bed_open(b, 1, 0, NULL);
	for (unsigned i = 0; i < 4; i++) {
		count_calls();
		assert_ok(u_unlink(b, names[i]));
		stop_failing();
		assert_int_equal(calls_of(PLY_SYS_clone) + calls_of(PLY_SYS_copy_range) +
					 calls_of(PLY_SYS_setxattr),
				 i ? 0 : calls_of(PLY_SYS_mkdir));
		ply_union_stats(b->u, &stats);
		assert_int_equal(stats.unsettled + stats.copyup_bytes, 0);
	}
	assert_int_equal(disk_entries(b, COUNTS, NULL), 0);
	bed_close(b);
}

static void test_a_full_disk_is_no_obstacle(void **state)
{
	struct bed *b = *state;

	put_links(b);
	bed_open(b, 1, 0, NULL);
	fail_kind(PLY_SYS_symlink, -ENOSPC);
	assert_ok(u_unlink(b, "a"));
	stop_failing();
	assert_links(b, 1, 4);
	assert_ok(u_unlink(b, "d/b"));
	assert_links(b, 3, 3);
	fail_kind(PLY_SYS_rename, -ENOSPC);
	assert_ok(u_unlink(b, "d/c"));
	stop_failing();
	assert_int_equal(bed_litter(b), 0);
	assert_string_equal(u_ls(b, "d"), "e single");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

#define MANY 50

/* Of every file with the names d0/N to d3/N this thread removes one, while others do and nobody keeps a node. */
struct remover {
	struct bed *b;
	unsigned dir;
	int removes;
};

static void *remove_names(void *arg)
{
	const struct remover *r = arg;
	char path[32];

	for (unsigned i = 0; i < MANY; i++) {
		struct statx attr;

		snprintf(path, sizeof(path), "d%u/%u", r->dir, i);
		if (r->removes)
			assert_ok(u_unlink(r->b, path));
		else
			assert_ok(u_stat(r->b, path, &attr));
	}
	return NULL;
}

static void assert_two_links(struct bed *b)
{
	char path[32];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "d%u/%u", 2 + i % 2, i);
		assert_int_equal(links_of(b, path), 2);
	}
}

static void test_names_removed_at_once_are_all_counted(void **state)
{
	struct bed *b = *state;

	for (unsigned i = 0; i < MANY; i++)
		for (unsigned d = 0; d < 4; d++) {
			char path[32], first[32];

			snprintf(first, sizeof(first), "l0/d0/%u", i);
			snprintf(path, sizeof(path), "l0/d%u/%u", d, i);
			if (d)
				put_link(b, path, first);
			else
				put_file(b, path, "many");
		}
	for (unsigned round = 0; round < 10; round++) {
		struct remover all[4];
		pthread_t threads[4];

		put_remove(b, "up");
		bed_open(b, 1, 0, NULL);
		for (unsigned d = 0; d < 4; d++) {
			all[d] = (struct remover){ .b = b, .dir = d, .removes = d < 2 };
			assert_int_equal(pthread_create(&threads[d], NULL, remove_names, &all[d]),
					 0);
		}
		for (unsigned d = 0; d < 4; d++)
			pthread_join(threads[d], NULL);
		assert_two_links(b);
		bed_again(b);
		assert_two_links(b);
		bed_close(b);
	}
}

/* The same inodes under other names, where nothing of them was removed; and another upper. */
static void test_counts_belong_to_their_directories(void **state)
{
	struct bed *b = *state;

	put_links(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "a"));
	bed_close(b);
	assert_int_equal(disk_entries(b, COUNTS, NULL), 1);
	assert_int_equal(rename(bed_path(b, "up"), bed_path(b, "old")), 0);
	bed_open(b, 1, 0, NULL);
	assert_links(b, 0, 4);
	assert_int_equal(disk_entries(b, COUNTS, NULL), 0);
	bed_close(b);
	assert_false(on_disk(b, COUNTS));
}

static void test_without_an_index_there_are_none(void **state)
{
	static const struct ply_union_config without[] = { { .no_index = 1 },
							   { .space = PLY_SPACE_NONE } };
	struct bed *b = *state;

	put_links(b);
	for (size_t i = 0; i < 2; i++) {
		put_remove(b, "up");
		bed_open(b, 1, 0, &without[i]);
		assert_ok(u_unlink(b, "a"));
		assert_int_equal(links_of(b, "d/b"), 4);
		assert_int_equal(bed_litter(b), 0);
		bed_close(b);
		assert_false(on_disk(b, COUNTS));
	}
}

/* The file is there, with one link at least and no more than the layer has. */
static void test_malformed_counts_do_no_harm(void **state)
{
	static const char *const values[] = { "0", "-1", "4",	       "99999999999999999999",
					      "x", "2x", "/etc/passwd" };
	struct bed *b = *state;
	char name[PLY_NAME_MAX + 1] = "", path[512];

	put_links(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "a"));
	bed_close(b);
	assert_int_equal(disk_entries(b, COUNTS, name), 1);
	snprintf(path, sizeof(path), COUNTS "/%s", name);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		put_remove(b, path);
		put_symlink(b, path, values[i]);
		bed_open(b, 1, 0, NULL);
		assert_in_range(links_of(b, "d/b"), 1, 4);
		bed_close(b);
	}
	put_remove(b, path);
	put_dir(b, path);
	bed_open(b, 1, 0, NULL);
	assert_int_equal(links_of(b, "d/b"), 4);
	assert_ok(u_unlink(b, "d/c"));
	assert_string_equal(u_text(b, "d/e"), "linked");
	bed_close(b);
	put_remove(b, COUNTS);
	put_file(b, COUNTS, "no directory");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "d/b"));
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_removed_names_count_no_more),
		bed_test(test_in_any_order),
		bed_test(test_what_is_brought_up_goes_on_from_there),
		bed_test(test_while_it_is_open),
		bed_test(test_a_file_with_one_name_costs_no_call_more),
		bed_test(test_nothing_is_brought_up),
		bed_test(test_a_full_disk_is_no_obstacle),
		bed_test(test_names_removed_at_once_are_all_counted),
		bed_test(test_counts_belong_to_their_directories),
		bed_test(test_without_an_index_there_are_none),
		bed_test(test_malformed_counts_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
