/*
 * Random stacks, grown by random operations, of which the union is opened without the last layer; with everything in
 * use, and more operations done, that layer is added. All is then as in a union that was opened with it.
 */
#include <sys/stat.h>

#include "added.h"
#include "steps.h"

struct plan {
	unsigned layers; /* with the one that is added */
	struct ply_union_config how;
};

static void play(struct step *s, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		const struct op *op = random_op();
		int wanted = 0;

		random_path(s->path);
		random_path(s->other);
		snprintf(s->text, sizeof(s->text), "text %u", rnd(100000));
		op->run(s, &wanted);
	}
}

static void move(struct bed *b, const char *from, unsigned to)
{
	assert_int_equal(rename(bed_path(b, "%s", from), bed_path(b, "l%u", to)), 0);
}

/* The upper becomes the topmost of n + 1 layers. */
static void stack_up(struct bed *b, unsigned n)
{
	char name[16];

	for (unsigned i = n; i > 0; i--) {
		snprintf(name, sizeof(name), "l%u", i - 1);
		move(b, name, i);
	}
	move(b, "up", 0);
	put_remove(b, "work");
}

static void grow(struct step *s, const struct plan *plan)
{
	put_file(s->b, "l0/dir/a", "the first");
	put_file(s->b, "l0/dir/sub/b", "the second");
	put_dir(s->b, "plain");
	for (unsigned n = 1; n <= plan->layers; n++) {
		bed_open(s->b, n, 0, &plan->how);
		play(s, 120);
		bed_close(s->b);
		if (n < plan->layers)
			stack_up(s->b, n);
	}
	/* An index that is of the whole stack would be refused without its last layer. */
	put_remove(s->b, "work");
}

static void run(struct bed *b, const struct plan *plan)
{
	struct step s = { .b = b };
	unsigned n = plan->layers - 1;

	grow(&s, plan);
	bed_open(b, n, 0, &plan->how);
	play(&s, rnd(60));
	assert_adds(b, n);
	play(&s, 60);
	bed_again(b);
	bed_close(b);
}

static void run_seeds(void **state, const struct plan *plan)
{
	const char *one = getenv("PLY_SEED");
	unsigned first = one ? (unsigned)strtoul(one, NULL, 10) : 1, last = one ? first
									    : getenv("PLY_LONG")
										    ? 300
										    : 15;

	for (unsigned seed = first; seed <= last; seed++) {
		random_start(seed);
		if (getenv("PLY_VERBOSE"))
			print_error("seed %u\n", seed);
		run(*state, plan);
		bed_teardown(state);
		bed_setup(state);
	}
}

static void test_two_layers(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2, .how = { .sync = 1 } });
}

static void test_four_layers(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 4 });
}

static void test_redirects_and_metacopy(void **state)
{
	run_seeds(state,
		  &(struct plan){ .layers = 3,
				  .how = { .redirect_dir = PLY_REDIRECT_ON, .metacopy = 1 } });
}

static void test_copied_directories(void **state)
{
	run_seeds(state,
		  &(struct plan){ .layers = 3, .how = { .redirect_dir = PLY_REDIRECT_COPY } });
}

static void test_redirects_that_are_not_followed(void **state)
{
	run_seeds(state,
		  &(struct plan){ .layers = 3, .how = { .redirect_dir = PLY_REDIRECT_NOFOLLOW } });
}

static void test_xattr_whiteouts(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 3,
					 .how = { .whiteout = PLY_WHITEOUT_XATTR,
						  .space = PLY_SPACE_USER } });
}

static void test_aufs_whiteouts(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 3,
					 .how = { .whiteout = PLY_WHITEOUT_AUFS,
						  .space = PLY_SPACE_NONE } });
}

static void test_few_descriptors(void **state)
{
	run_seeds(state,
		  &(struct plan){ .layers = 3, .how = { .max_fds = 8, .max_listing_bytes = 1 } });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_two_layers),
		bed_test(test_four_layers),
		bed_test(test_redirects_and_metacopy),
		bed_test(test_copied_directories),
		bed_test(test_redirects_that_are_not_followed),
		bed_test(test_xattr_whiteouts),
		bed_test(test_aufs_whiteouts),
		bed_test(test_few_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
