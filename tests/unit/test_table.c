/* The hash table against a plain array, through all stages of its growth. */
#include "base/table.h"

#include "bed.h"

#define ENTRIES 20000

struct entry {
	struct ply_link link;
	uint64_t hash;
	int in;
};

static unsigned rnd(unsigned n)
{
	static unsigned long long seed = 42;

	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(seed >> 33) % n;
}

/* How many entries of this hash the table finds, each of which must be one that is in. */
static unsigned found(const struct ply_table *t, uint64_t hash)
{
	unsigned n = 0;

	for (struct ply_link *l = ply_table_find(t, hash); l; l = ply_table_next(l)) {
		const struct entry *e = ply_container(l, struct entry, link);

		assert_int_equal(e->hash, hash);
		assert_true(e->in);
		n++;
	}
	return n;
}

static void add(struct ply_table *t, struct entry *e)
{
	ply_table_add(t, &e->link, e->hash);
	e->in = 1;
}

static void take(struct ply_table *t, struct entry *e)
{
	ply_table_remove(t, &e->link);
	e->in = 0;
}

static void test_everything_added_is_found_until_it_is_removed(void **state)
{
	struct entry *entries = calloc(ENTRIES, sizeof(*entries));
	struct ply_table t;
	size_t count = 0;

	(void)state;
	assert_int_equal(ply_table_init(&t, 4), 0);
	for (size_t i = 0; i < ENTRIES; i++)
		entries[i].hash = (uint64_t)rnd(1 << 30) << 32 | i;
	for (unsigned step = 0; step < 200000; step++) {
		struct entry *e = &entries[rnd(ENTRIES)];

		assert_int_equal(found(&t, e->hash), e->in);
		if (e->in)
			take(&t, e);
		else
			add(&t, e);
		count += e->in ? 1 : (size_t)-1;
		assert_int_equal(t.count, count);
	}
	for (size_t i = 0; i < ENTRIES; i++)
		assert_int_equal(found(&t, entries[i].hash), entries[i].in);
	ply_table_free(&t);
	free(entries);
}

/* Equal hashes must stay together while buckets move from the old array to the new one. */
static void test_all_entries_of_one_hash_are_found_while_the_table_grows(void **state)
{
	enum { EQUAL = 5 };
	struct entry *entries = calloc(ENTRIES, sizeof(*entries));
	struct ply_table t;

	(void)state;
	assert_int_equal(ply_table_init(&t, 1), 0);
	for (unsigned i = 0; i < ENTRIES; i++) {
		entries[i].hash = (i / EQUAL) * 0x9e3779b97f4a7c15u;
		add(&t, &entries[i]);
		/* The one just added, and some from long ago. */
		assert_int_equal(found(&t, entries[i].hash), i % EQUAL + 1);
		assert_int_equal(found(&t, entries[rnd(i / EQUAL + 1) * EQUAL].hash) == EQUAL ||
					 i < EQUAL || i % EQUAL != EQUAL - 1,
				 1);
	}
	for (unsigned i = 0; i < ENTRIES; i += EQUAL) {
		take(&t, &entries[i + rnd(EQUAL)]);
		assert_int_equal(found(&t, entries[i].hash), EQUAL - 1);
	}
	ply_table_free(&t);
	free(entries);
}

/* Chains stay short, so that neither growth nor emptying is a matter of luck. */
static void test_buckets_follow_the_number_of_entries(void **state)
{
	struct entry *entries = calloc(ENTRIES, sizeof(*entries));
	struct ply_table t;

	(void)state;
	assert_int_equal(ply_table_init(&t, 16), 0);
	for (unsigned i = 0; i < ENTRIES; i++) {
		entries[i].hash = i * 0x9e3779b97f4a7c15u;
		add(&t, &entries[i]);
		assert_true(t.count <= (t.mask + 1) * 2);
	}
	ply_table_free(&t);
	free(entries);
}

static void test_an_empty_table_finds_nothing(void **state)
{
	struct ply_table t;

	(void)state;
	assert_int_equal(ply_table_init(&t, 1), 0);
	assert_null(ply_table_find(&t, 0));
	assert_null(ply_table_find(&t, UINT64_MAX));
	ply_table_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_added_is_found_until_it_is_removed),
		cmocka_unit_test(test_all_entries_of_one_hash_are_found_while_the_table_grows),
		cmocka_unit_test(test_buckets_follow_the_number_of_entries),
		cmocka_unit_test(test_an_empty_table_finds_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
