/* Listing directories: everything once, from any cookie on, whatever happens in between. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "inject.h"
#include "paths.h"

#define MAX 3000

/* What a reader has seen; it takes only so many entries at a time. */
struct reader {
	struct bed *b;
	uint64_t cookie;
	unsigned room;
	unsigned n;
	struct {
		char name[32];
		uint64_t ino;
		mode_t mode;
	} at[MAX];
};

static int take(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct reader *r = arg;

	if (!r->room)
		return 0;
	r->room--;
	assert_true(r->n < MAX);
	snprintf(r->at[r->n].name, sizeof(r->at[0].name), "%s", name);
	r->at[r->n].ino = entry->node ? entry->attr.stx_ino : 0;
	r->at[r->n++].mode = entry->attr.stx_mode;
	assert_true(cookie > r->cookie);
	r->cookie = cookie;
	if (entry->node)
		ply_forget(r->b->u, entry->node, 1);
	return 1;
}

/* Reads on, so many entries at most. How many came. */
static unsigned read_on(struct reader *r, struct ply_node *dir, unsigned room)
{
	unsigned before = r->n;

	r->room = room;
	assert_ok(ply_readdir(r->b->u, dir, r->cookie, take, r));
	return r->n - before;
}

static struct reader *new_reader(struct bed *b)
{
	struct reader *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->b = b;
	return r;
}

static unsigned times_seen(const struct reader *r, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->n; i++)
		n += !strcmp(r->at[i].name, name);
	return n;
}

static void put_many(struct bed *b, const char *format, unsigned n)
{
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), format, i);
		put_file(b, path, "");
	}
}

static void test_dots_come_first_and_attributes_are_those_of_lookup(void **state)
{
	struct bed *b = *state;
	struct reader *r = new_reader(b);
	struct ply_entry d;

	put_many(b, "l0/d/low%u", 20);
	put_many(b, "up/d/up%u", 20);
	put_symlink(b, "l0/d/link", "x");
	put_dir(b, "l0/d/dir");
	put_dir(b, "up/d/dir");
	put_node(b, "l0/d/fifo", S_IFIFO | 0644, 0);
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	read_on(r, d.node, MAX);
	assert_int_equal(r->n, 2 + 43);
	assert_string_equal(r->at[0].name, ".");
	assert_string_equal(r->at[1].name, "..");
	for (unsigned i = 2; i < r->n; i++) {
		struct ply_entry e;

		assert_ok(ply_lookup(b->u, d.node, r->at[i].name, &e));
		assert_int_equal(e.attr.stx_ino, r->at[i].ino);
		assert_int_equal(e.attr.stx_mode, r->at[i].mode);
		u_drop(b, &e);
	}
	u_drop(b, &d);
	bed_close(b);
	free(r);
}

/* In steps of every size, and over a remount between steps: the same. */
static void test_a_cookie_continues_where_it_was_given(void **state)
{
	struct bed *b = *state;
	struct reader *whole = new_reader(b);
	struct ply_entry d;

	put_many(b, "l0/d/low%u", 150);
	put_many(b, "up/d/up%u", 150);
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	read_on(whole, d.node, MAX);
	u_drop(b, &d);
	for (unsigned step = 1; step < 400; step = step * 2 + 1) {
		struct reader *r = new_reader(b);
		unsigned n;

		do {
			d = u_hold(b, "d");
			n = read_on(r, d.node, step);
			u_drop(b, &d);
			if (step > 20)
				bed_again(b);
		} while (n);
		assert_int_equal(r->n, whole->n);
		assert_memory_equal(r->at, whole->at, r->n * sizeof(r->at[0]));
		free(r);
	}
	bed_close(b);
	free(whole);
}

/* Between the steps of one reader names come, go, are replaced and brought up. */
static void change(struct bed *b, unsigned round)
{
	char name[32], other[32];

	snprintf(name, sizeof(name), "d/go%u", round % 50);
	snprintf(other, sizeof(other), "d/new%u", round);
	if (u_unlink(b, name))
		assert_ok(u_create(b, name));
	assert_ok(u_create(b, other));
	snprintf(name, sizeof(name), "d/stay%u", round % 100);
	assert_ok(u_chmod(b, name, 0600 + round % 8));
	if (round % 3 == 0)
		assert_ok(u_rename(b, other, "d/moved", 0));
}

static void check_stay(struct bed *b, size_t listing_bytes)
{
	struct ply_union_config how = { .max_listing_bytes = listing_bytes };
	struct reader *r = new_reader(b);
	struct ply_entry d;
	unsigned round = 0;
	char name[32];

	put_remove(b, "up");
	put_many(b, "l0/d/stay%u", 100);
	put_many(b, "up/d/go%u", 50);
	bed_open(b, 1, 0, &how);
	d = u_hold(b, "d");
	while (read_on(r, d.node, 7))
		change(b, round++);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "stay%u", i);
		assert_int_equal(times_seen(r, name), 1);
	}
	for (unsigned i = 0; i < r->n; i++)
		assert_int_equal(times_seen(r, r->at[i].name), 1);
	u_drop(b, &d);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
	free(r);
}

static void test_what_stays_is_seen_once_while_others_change(void **state)
{
	check_stay(*state, 0);
}

/* No listing is kept, so each step makes a new one. */
static void test_what_stays_is_seen_once_without_a_cache(void **state)
{
	check_stay(*state, 1);
}

static int empty_dir(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct bed *b = arg;
	char path[64];

	(void)cookie;
	if (!entry->node)
		return 1;
	ply_forget(b->u, entry->node, 1);
	snprintf(path, sizeof(path), "d/%s", name);
	assert_ok(u_unlink(b, path));
	return 1;
}

/* rm -r: each name is removed as soon as it is seen. */
static void test_a_directory_is_emptied_while_it_is_listed(void **state)
{
	struct bed *b = *state;
	struct ply_entry d;

	put_many(b, "l0/d/low%u", 500);
	put_many(b, "up/d/up%u", 500);
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	assert_ok(ply_readdir(b->u, d.node, 0, empty_dir, b));
	assert_string_equal(u_ls(b, "d"), "");
	u_drop(b, &d);
	assert_ok(u_rmdir(b, "d"));
	assert_string_equal(u_ls(b, ""), "");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_listings_share_their_budget(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .max_listing_bytes = 20000 };
	struct ply_union_stats stats;
	struct ply_entry dirs[30];
	char path[64];

	for (unsigned d = 0; d < 30; d++) {
		snprintf(path, sizeof(path), "l0/d%u/f%%u", d);
		put_many(b, path, 50);
	}
	bed_open(b, 1, 0, &how);
	for (unsigned d = 0; d < 30; d++) {
		snprintf(path, sizeof(path), "d%u", d);
		dirs[d] = u_hold(b, path);
		assert_int_equal(strlen(u_ls(b, path)), 50 * 3 + 40 - 1);
		ply_union_stats(b->u, &stats);
		assert_true(stats.listing_bytes <= 20000);
		assert_true(stats.listings < 30);
	}
	for (unsigned d = 0; d < 30; d++)
		u_drop(b, &dirs[d]);
	ply_union_stats(b->u, &stats);
	assert_true(stats.listings <= 1); /* the root's */
	bed_close(b);
}

static void test_what_cannot_be_listed_says_so(void **state)
{
	struct bed *b = *state;
	struct reader *r = new_reader(b);
	struct ply_entry e;

	put_file(b, "l0/f", "");
	put_dir(b, "l0/d");
	bed_open(b, 1, 0, NULL);
	e = u_hold(b, "f");
	assert_errno(ply_readdir(b->u, e.node, 0, take, r), -ENOTDIR);
	u_drop(b, &e);
	e = u_hold(b, "d");
	r->room = 100;
	fail_kind(PLY_SYS_getdents, -EIO);
	assert_errno(ply_readdir(b->u, e.node, 0, take, r), -EIO);
	stop_failing();
	r->cookie = 0;
	r->n = 0;
	assert_int_equal(read_on(r, e.node, 100), 2);
	/* Beyond the end there is nothing, wherever that is. */
	r->cookie = INT64_MAX;
	assert_int_equal(read_on(r, e.node, 100), 0);
	u_drop(b, &e);
	bed_close(b);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_dots_come_first_and_attributes_are_those_of_lookup),
		bed_test(test_a_cookie_continues_where_it_was_given),
		bed_test(test_what_stays_is_seen_once_while_others_change),
		bed_test(test_what_stays_is_seen_once_without_a_cache),
		bed_test(test_a_directory_is_emptied_while_it_is_listed),
		bed_test(test_listings_share_their_budget),
		bed_test(test_what_cannot_be_listed_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
