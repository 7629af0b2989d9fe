/* The descriptor cache: its budget, who may hold what, and that nothing stays open. */
#include "base/fdcache.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/sys.h"
#include "bed.h"

static int open_one(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Adds a descriptor for a slot and holds it no longer. Its number. */
static int add(struct ply_fdcache *c, const void *owner, unsigned slot)
{
	struct ply_fd *f = ply_fdcache_add(c, owner, slot, open_one(), 0);
	int fd = f->fd;

	ply_fd_put(c, f);
	return fd;
}

static int is_cached(struct ply_fdcache *c, const void *owner, unsigned slot)
{
	struct ply_fd *f = ply_fdcache_get(c, owner, slot);

	ply_fd_put(c, f);
	return f != NULL;
}

static void test_the_longest_unused_is_closed_over_the_budget(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(4);
	size_t before = count_fds();
	int owner;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		add(c, &owner, i);
	assert_true(is_cached(c, &owner, 0)); /* so it is used last */
	add(c, &owner, 4);
	assert_false(is_cached(c, &owner, 1));
	assert_true(is_cached(c, &owner, 0));
	for (unsigned i = 5; i < 100; i++)
		add(c, &owner, i);
	assert_int_equal(ply_fdcache_count(c), 4);
	assert_int_equal(count_fds(), before + 4);
	ply_fdcache_free(c);
	assert_int_equal(count_fds(), before);
}

static void test_what_is_held_stays_open_over_the_budget(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(2);
	struct ply_fd *held[10];
	size_t before = count_fds();
	int owner;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		held[i] = ply_fdcache_add(c, &owner, i, open_one(), i);
	for (unsigned i = 0; i < 10; i++) {
		assert_true(is_open(held[i]->fd));
		assert_int_equal(held[i]->flags, i);
	}
	for (unsigned i = 0; i < 10; i++)
		ply_fd_put(c, held[i]);
	assert_int_equal(ply_fdcache_count(c), 2);
	ply_fdcache_free(c);
	assert_int_equal(count_fds(), before);
}

static void test_dropping_waits_for_the_last_holder(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(4);
	int owner, other, fd = open_one();
	struct ply_fd *f = ply_fdcache_add(c, &owner, 1, fd, 0);

	(void)state;
	assert_ptr_equal(ply_fd_get(c, f), f);
	ply_fdcache_drop(c, &owner, 1);
	ply_fdcache_drop(c, &owner, 1);
	ply_fdcache_drop(c, &other, 1);
	assert_null(ply_fdcache_get(c, &owner, 1));
	assert_int_equal(ply_fdcache_count(c), 0);
	/* The slot is free for another meanwhile. */
	add(c, &owner, 1);
	ply_fd_put(c, f);
	assert_true(is_open(fd));
	ply_fd_put(c, f);
	assert_false(is_open(fd));
	assert_true(is_cached(c, &owner, 1));
	ply_fdcache_free(c);
}

static void test_the_second_to_add_gets_the_first_ones(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(4);
	int owner, fd = open_one(), second = open_one();
	struct ply_fd *f = ply_fdcache_add(c, &owner, 1, fd, 0), *g;

	(void)state;
	g = ply_fdcache_add(c, &owner, 1, second, 0);
	assert_ptr_equal(f, g);
	assert_false(is_open(second));
	ply_fd_put(c, f);
	ply_fd_put(c, g);
	ply_fdcache_free(c);
}

static void test_owners_and_slots_do_not_mix(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(1000);
	static char owners[20];

	(void)state;
	for (unsigned o = 0; o < 20; o++)
		for (unsigned s = 0; s < 20; s++)
			ply_fd_put(c, ply_fdcache_add(c, &owners[o], s, open_one(), o * 100 + s));
	for (unsigned o = 0; o < 20; o++)
		for (unsigned s = 0; s < 20; s++) {
			struct ply_fd *f = ply_fdcache_get(c, &owners[o], s);

			assert_int_equal(f->flags, o * 100 + s);
			ply_fd_put(c, f);
		}
	ply_fdcache_free(c);
}

static void test_shrinking_closes_half(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(100);
	int owner;

	(void)state;
	assert_int_equal(ply_fdcache_shrink(c), 0);
	for (unsigned i = 0; i < 10; i++)
		add(c, &owner, i);
	assert_int_equal(ply_fdcache_shrink(c), 5);
	assert_int_equal(ply_fdcache_count(c), 5);
	assert_true(is_cached(c, &owner, 9));
	assert_false(is_cached(c, &owner, 0));
	/* In the end nothing is left that could be closed, however often it is asked. */
	for (unsigned i = 0; i < 10 && ply_fdcache_shrink(c); i++)
		;
	assert_int_equal(ply_fdcache_shrink(c), 0);
	ply_fdcache_free(c);
}

static void test_a_single_one_is_in_no_cache(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(4);
	int fd = open_one();
	struct ply_fd *f = ply_fd_single(fd, 7);

	(void)state;
	assert_int_equal(f->flags, 7);
	assert_int_equal(ply_fdcache_count(c), 0);
	assert_int_equal(ply_fdcache_shrink(c), 0);
	ply_fd_put(c, f);
	assert_false(is_open(fd));
	ply_fd_put(c, NULL);
	ply_fdcache_free(c);
}

static void test_no_budget_keeps_nothing(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(0);
	int owner, fd = add(c, &owner, 0);

	(void)state;
	assert_false(is_open(fd));
	assert_int_equal(ply_fdcache_count(c), 0);
	ply_fdcache_free(c);
}

/* Threads that get, add, drop and shrink the same few. */
static void *hammer(void *arg)
{
	static char owners[4];
	struct ply_fdcache *c = arg;
	unsigned seed = (unsigned)(uintptr_t)&seed;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned r = seed = seed * 1103515245 + 12345;
		const char *owner = &owners[r >> 16 & 3];
		unsigned slot = r >> 18 & 7;
		struct ply_fd *f = ply_fdcache_get(c, owner, slot);

		if (!f)
			f = ply_fdcache_add(c, owner, slot, dup(2), slot);
		if (!f || f->flags != slot || !is_open(f->fd))
			return arg;
		if ((r >> 21 & 15) == 0)
			ply_fdcache_drop(c, owner, slot);
		if ((r >> 21 & 255) == 1)
			ply_fdcache_shrink(c);
		ply_fd_put(c, f);
	}
	return NULL;
}

static void test_threads_never_see_a_closed_descriptor(void **state)
{
	struct ply_fdcache *c = ply_fdcache_new(6);
	size_t before = count_fds();
	pthread_t threads[8];
	void *bad;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, hammer, c);
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	assert_true(ply_fdcache_count(c) <= 6);
	ply_fdcache_free(c);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_longest_unused_is_closed_over_the_budget),
		cmocka_unit_test(test_what_is_held_stays_open_over_the_budget),
		cmocka_unit_test(test_dropping_waits_for_the_last_holder),
		cmocka_unit_test(test_the_second_to_add_gets_the_first_ones),
		cmocka_unit_test(test_owners_and_slots_do_not_mix),
		cmocka_unit_test(test_shrinking_closes_half),
		cmocka_unit_test(test_a_single_one_is_in_no_cache),
		cmocka_unit_test(test_no_budget_keeps_nothing),
		cmocka_unit_test(test_threads_never_see_a_closed_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
