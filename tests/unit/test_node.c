/* The node table: ids, names, hard links, and that forgetting really frees. */
#include "union/node.h"

#include <sys/stat.h>

#include "paths.h"

static struct ply_entry give(struct bed *b, struct ply_node *node)
{
	struct ply_entry entry = { .node = node };

	ply_entry_give(b->u, &entry);
	return entry;
}

static void test_an_id_leads_to_its_node_until_it_is_forgotten(void **state)
{
	struct bed *b = *state;
	struct ply_entry a, c;

	put_file(b, "l0/a", "");
	put_file(b, "l0/c", "");
	bed_open(b, 1, 0, NULL);
	assert_ptr_equal(ply_node_by_id(b->u, PLY_ROOT_ID), ply_root(b->u));
	a = u_hold(b, "a");
	assert_ptr_equal(ply_node_by_id(b->u, a.id), a.node);
	c = u_hold(b, "a");
	assert_int_equal(c.id, a.id);
	ply_forget(b->u, a.node, 1);
	assert_ptr_equal(ply_node_by_id(b->u, a.id), a.node);
	ply_forget(b->u, a.node, 1);
	assert_null(ply_node_by_id(b->u, a.id));
	/* The slot is used again, under another id. */
	c = u_hold(b, "c");
	assert_ptr_equal(c.node, a.node);
	assert_int_not_equal(c.id, a.id);
	assert_null(ply_node_by_id(b->u, a.id));
	u_drop(b, &c);
	bed_close(b);
}

static void test_ids_that_were_never_given_lead_nowhere(void **state)
{
	struct bed *b = *state;
	struct ply_entry a;
	unsigned long long seed = 1;

	put_file(b, "l0/a", "");
	bed_open(b, 1, 0, NULL);
	a = u_hold(b, "a");
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t id;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		id = i % 3 == 0 ? seed : i % 3 == 1 ? seed >> 40 : a.id ^ 1ull << (i / 3 % 64);
		if (id != a.id && id != PLY_ROOT_ID && id >> 32 > 16)
			assert_null(ply_node_by_id(b->u, id));
		else
			ply_node_by_id(b->u, id);
	}
	assert_null(ply_node_by_id(b->u, 0));
	assert_null(ply_node_by_id(b->u, a.id & 0xffffffff));
	assert_null(ply_node_by_id(b->u, UINT64_MAX));
	u_drop(b, &a);
	bed_close(b);
}

/* Whoever forgets more than was given, or the root, does no harm. */
static void test_forgetting_too_much_is_harmless(void **state)
{
	struct bed *b = *state;
	struct ply_entry a;

	put_file(b, "l0/d/a", "a");
	bed_open(b, 1, 0, NULL);
	ply_forget(b->u, ply_root(b->u), 1000);
	a = u_hold(b, "d/a");
	ply_forget(b->u, a.node, 1000);
	assert_null(ply_node_by_id(b->u, a.id));
	assert_string_equal(u_text(b, "d/a"), "a");
	bed_close(b);
}

/* A directory is there as long as something below it is known. */
static void test_parents_stay_as_long_as_their_children(void **state)
{
	struct bed *b = *state;
	struct ply_entry f, d;
	struct ply_union_stats stats;
	uint64_t nodes;

	put_file(b, "l0/a/b/c/f", "f");
	bed_open(b, 1, 0, NULL);
	ply_union_stats(b->u, &stats);
	nodes = stats.nodes;
	f = u_hold(b, "a/b/c/f");
	ply_union_stats(b->u, &stats);
	assert_int_equal(stats.nodes, nodes + 4);
	d = u_hold(b, "a/b");
	u_drop(b, &d);
	ply_union_stats(b->u, &stats);
	assert_int_equal(stats.nodes, nodes + 4);
	assert_int_equal(stats.names, 4);
	u_drop(b, &f);
	ply_union_stats(b->u, &stats);
	assert_int_equal(stats.nodes, nodes);
	assert_int_equal(stats.names, 0);
	bed_close(b);
}

static void test_names_are_found_moved_and_killed(void **state)
{
	struct bed *b = *state;
	struct ply_node *root, *node, *dir;
	struct ply_name *first, *second, *moved;

	bed_open(b, 1, 0, NULL);
	root = ply_root(b->u);
	node = ply_node_new(b->u, S_IFREG | 0644, NULL);
	dir = ply_node_new(b->u, S_IFDIR, calloc(1, sizeof(struct ply_dir)));
	assert_int_equal(ply_name_add(b->u, dir, root, "dir", 0, NULL), 0);
	assert_int_equal(ply_name_add(b->u, node, root, "first", 0, &first), 0);
	assert_int_equal(ply_name_add(b->u, node, dir, "first", PLY_NAME_UPPER, &second), 0);
	assert_ptr_equal(ply_name_of(b->u, node, root, "first"), first);
	assert_ptr_equal(ply_name_of(b->u, node, dir, "first"), second);
	assert_null(ply_name_of(b->u, dir, root, "first"));
	assert_null(ply_name_of(b->u, node, root, "second"));
	assert_true(second->in_upper && !first->in_upper);
	moved = ply_name_alloc(node, dir, "moved");
	ply_name_replace(b->u, first, moved);
	assert_null(ply_name_of(b->u, node, root, "first"));
	assert_ptr_equal(ply_name_of(b->u, node, dir, "moved"), moved);
	ply_name_kill(b->u, second);
	assert_true(ply_node_has_name(b->u, node));
	/* The last one stays as a way to the inode, but is no name any more. */
	ply_name_kill(b->u, moved);
	assert_false(ply_node_has_name(b->u, node));
	assert_ptr_equal(node->names, moved);
	assert_null(ply_tree_find(b->u, dir, "moved"));
	ply_node_unref(b->u, node);
	ply_node_unref(b->u, dir);
	bed_close(b);
}

static void test_an_inode_is_found_by_layer_device_and_number(void **state)
{
	struct bed *b = *state;
	struct statx stx = { .stx_ino = 7, .stx_dev_major = 8, .stx_dev_minor = 1 }, other = stx;
	struct ply_node *node;

	bed_open(b, 1, 0, NULL);
	node = ply_node_new(b->u, S_IFREG, NULL);
	ply_inode_add(b->u, node, 1, &stx);
	assert_ptr_equal(ply_inode_find(b->u, 1, &stx), node);
	ply_node_unref(b->u, node);
	assert_null(ply_inode_find(b->u, 0, &stx));
	other.stx_ino = 8;
	assert_null(ply_inode_find(b->u, 1, &other));
	other = stx;
	other.stx_dev_minor = 2;
	assert_null(ply_inode_find(b->u, 1, &other));
	ply_node_unref(b->u, node);
	assert_null(ply_inode_find(b->u, 1, &stx));
	bed_close(b);
}

/* Numbers stay apart that are equal on different file systems. */
static void test_numbers_of_file_systems_do_not_collide(void **state)
{
	static const uint64_t numbers[] = { 1,		2,	    1ull << 40, (1ull << 56) - 1,
					    1ull << 56, 1ull << 62, 1ull << 63, UINT64_MAX };
	enum { SYSTEMS = 200, NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };
	struct bed *b = *state;
	uint64_t *seen = calloc(SYSTEMS * NUMBERS, sizeof(*seen));
	size_t n = 0;

	bed_open(b, 1, 0, NULL);
	for (unsigned fs = 0; fs < SYSTEMS; fs++)
		for (unsigned i = 0; i < NUMBERS; i++) {
			struct statx stx = { .stx_ino = numbers[i],
					     .stx_dev_major = 300,
					     .stx_dev_minor = fs };
			uint64_t ino = ply_ino_map(b->u, &stx);

			assert_int_equal(ply_ino_map(b->u, &stx), ino);
			assert_true(ino != 0);
			for (size_t k = 0; k < n; k++)
				assert_int_not_equal(seen[k], ino);
			seen[n++] = ino;
		}
	free(seen);
	bed_close(b);
}

#define FILES 100000

/* Names of a usual length; as many as in a large source tree. */
static void make_tree(struct bed *b, struct ply_entry *entries)
{
	char name[32];

	for (unsigned i = 0; i < FILES; i++) {
		struct ply_node *node = ply_node_new(b->u, S_IFREG, NULL);

		assert_non_null(node);
		snprintf(name, sizeof(name), "some-file-%06u.txt", i);
		assert_int_equal(ply_name_add(b->u, node, ply_root(b->u), name, 0, NULL), 0);
		entries[i] = give(b, node);
	}
}

static void test_a_file_costs_at_most_200_bytes_and_nothing_when_forgotten(void **state)
{
	struct bed *b = *state;
	struct ply_entry *entries = calloc(FILES, sizeof(*entries));
	struct ply_union_stats stats;
	size_t before, full, after;

	bed_open(b, 1, 0, NULL);
	before = heap_used();
	make_tree(b, entries);
	full = heap_used();
	ply_union_stats(b->u, &stats);
	assert_true(stats.node_bytes / FILES <= 200);
	if (full > before) /* not with an allocator of its own */
		assert_true((full - before) / FILES <= 200);
	for (unsigned i = 0; i < FILES; i++)
		ply_forget(b->u, entries[i].node, 1);
	ply_union_stats(b->u, &stats);
	assert_int_equal(stats.names, 0);
	/* Slots stay for the next ones; what hangs on them is free. */
	after = heap_used();
	assert_true(after <= full);
	make_tree(b, entries);
	assert_true(heap_used() <= full + 4096);
	for (unsigned i = 0; i < FILES; i++)
		ply_forget(b->u, entries[i].node, 1);
	free(entries);
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_an_id_leads_to_its_node_until_it_is_forgotten),
		bed_test(test_ids_that_were_never_given_lead_nowhere),
		bed_test(test_forgetting_too_much_is_harmless),
		bed_test(test_parents_stay_as_long_as_their_children),
		bed_test(test_names_are_found_moved_and_killed),
		bed_test(test_an_inode_is_found_by_layer_device_and_number),
		bed_test(test_numbers_of_file_systems_do_not_collide),
		bed_test(test_a_file_costs_at_most_200_bytes_and_nothing_when_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
