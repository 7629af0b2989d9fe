/*
 * What is agreed on with the kernel: never more than it offers, and not what would break the
 * protocol.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/init.c" // NOLINT(bugprone-suspicious-include)

/* What Linux 6.18 offers. */
#define OFFERED_LOW 0x73fffffbu
#define OFFERED_HIGH 0x000007fdu

static uint64_t chosen(uint64_t offered, unsigned wishes)
{
	struct fuse_init_out out = { .flags = ~0u, .flags2 = ~0u, .max_pages = 256 };

	ply_init_choose(&out, offered, wishes);
	assert_int_equal(out.max_pages, 256);
	return out.flags | (uint64_t)out.flags2 << 32;
}

static void the_offer_is_read_as_far_as_it_goes(void **state)
{
	struct fuse_init_in in = { .flags = OFFERED_LOW, .flags2 = OFFERED_HIGH };

	(void)state;
	assert_int_equal(ply_init_offered(&in, sizeof(in)),
			 OFFERED_LOW | (uint64_t)OFFERED_HIGH << 32);
	assert_int_equal(ply_init_offered(&in, 16), OFFERED_LOW);
	assert_int_equal(ply_init_offered(&in, 8), 0);
	in.flags &= ~FUSE_INIT_EXT;
	assert_int_equal(ply_init_offered(&in, sizeof(in)), in.flags);
}

static void nothing_is_taken_that_is_not_offered(void **state)
{
	(void)state;
	for (int bit = 0; bit < 64; bit++) {
		uint64_t offered = UINT64_C(1) << bit;

		assert_int_equal(chosen(offered, PLY_INIT_WRITEBACK | PLY_INIT_ACL) & ~offered, 0);
	}
}

static void the_stateless_protocol_gets_its_flags(void **state)
{
	const uint64_t offered = OFFERED_LOW | (uint64_t)OFFERED_HIGH << 32;
	uint64_t all = chosen(offered, PLY_INIT_WRITEBACK | PLY_INIT_ACL),
		 none = chosen(offered, 0);
	const uint64_t needed = FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 |
				FUSE_DO_READDIRPLUS | FUSE_DONT_MASK | FUSE_EXPLICIT_INVAL_DATA |
				FUSE_MAX_PAGES;
	const uint64_t harmful = FUSE_ATOMIC_O_TRUNC | FUSE_READDIRPLUS_AUTO |
				 FUSE_AUTO_INVAL_DATA | FUSE_HANDLE_KILLPRIV | FUSE_POSIX_LOCKS |
				 FUSE_FLOCK_LOCKS | (UINT64_C(1) << 32) | (UINT64_C(1) << 34);

	(void)state;
	assert_int_equal(none & needed, needed);
	assert_int_equal(all & harmful, 0);
	assert_int_equal(all & ~none, FUSE_WRITEBACK_CACHE | FUSE_POSIX_ACL);
	assert_int_equal(none ^ chosen(offered, PLY_INIT_RECHECK),
			 FUSE_EXPLICIT_INVAL_DATA | FUSE_AUTO_INVAL_DATA);
	assert_int_equal(none & ~chosen(offered, PLY_INIT_WRITABLE), FUSE_ASYNC_DIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_offer_is_read_as_far_as_it_goes),
		cmocka_unit_test(nothing_is_taken_that_is_not_offered),
		cmocka_unit_test(the_stateless_protocol_gets_its_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
