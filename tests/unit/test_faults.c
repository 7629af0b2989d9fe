/*
 * Every operation with every one of its system calls failing in turn. An operation that fails says with what,
 * and has changed nothing, now and after a remount; one that succeeds all the same has done all. No descriptor
 * and no file of the work directory is left.
 */
#include <errno.h>

#include "inject.h"
#include "layer/format.h"
#include "ops.h"

#define CALLS_MAX 500

/* Tells of a fault found; the test goes on, and fails at its end. */
static unsigned complain(const char *what, const char *got, const char *wanted)
{
	const char *g, *w;

	print_error("%s\n", what);
	first_difference(got, wanted, &g, &w);
	print_error("  got:    %.*s\n  wanted: %.*s\n", (int)strcspn(g, "\n"), g,
		    (int)strcspn(w, "\n"), w);
	return 1;
}

/* ---- what the kernel knows meanwhile ---- */

static const char *const known[] = { "d",   "d/f",  "d/big", "d/sub", "d/sub/g", "d/s",
				     "d/p", "x",    "d/y",   "d/w",   "over",	 "u",
				     "ud",  "ud/v", "ue",    "empty", "hollow" };
#define NKNOWN (sizeof(known) / sizeof(known[0]))

static struct ply_entry held[NKNOWN];

static void hold_all(struct bed *b)
{
	for (size_t i = 0; i < NKNOWN; i++)
		held[i] = u_hold(b, known[i]);
}

static const char *const files[] = { "d/f", "d/big", "d/sub/g", "x", "over", "u", "ud/v" };
#define NFILES (sizeof(files) / sizeof(files[0]))

/* All is up but data. */
static void hold_meta_up(struct bed *b)
{
	hold_all(b);
	for (size_t i = 0; i < NFILES; i++)
		assert_ok(u_chmod(b, files[i], 0640));
}

/* Data is up, and not settled. */
static void hold_data_up(struct bed *b)
{
	hold_all(b);
	for (size_t i = 0; i < NFILES; i++) {
		const char first[2] = { *u_text(b, files[i]) };

		assert_ok(u_write(b, files[i], first, 0));
	}
}

/* Files that were removed go on, too. */
static unsigned check_held(struct bed *b, const char *what)
{
	unsigned faults = 0;

	for (size_t i = 0; i < NKNOWN; i++) {
		const char *text = S_ISREG(held[i].attr.stx_mode) ? node_text(b, held[i].node) : "";

		if (*text == 'E')
			faults += complain(what, text, known[i]);
	}
	return faults;
}

static void drop_all(struct bed *b)
{
	for (size_t i = 0; i < NKNOWN; i++)
		u_drop(b, &held[i]);
}

/* What the tree is before and after an operation that goes well, and how many calls it takes. */
struct clean_run {
	char *before, *after;
	unsigned calls;
	enum ply_sys kinds[CALLS_MAX];
};

/* Layers never change, so they are made but once. */
static void open_fresh(struct bed *b, const struct ply_union_config *how)
{
	if (!on_disk(b, "l0"))
		ops_lowers(b);
	put_remove(b, "up");
	put_remove(b, "work/" PLY_INDEX_DIR);
	put_remove(b, "work/" PLY_COUNTS_DIR);
	ops_upper(b);
	bed_open(b, 2, 0, how);
}

static struct clean_run run_clean(struct bed *b, const struct op *op,
				  const struct ply_union_config *how, void (*hold)(struct bed *b))
{
	struct clean_run clean;
	int err;

	open_fresh(b, how);
	if (hold)
		hold(b);
	clean.before = tree_of_union(b, 0);
	if (!hold)
		bed_again(b);
	count_calls();
	err = op->run(b);
	clean.calls = stop_failing();
	assert_true(clean.calls < CALLS_MAX);
	check_errno(err, 0, op->name, __FILE__, __LINE__);
	for (unsigned n = 1; n <= clean.calls; n++)
		clean.kinds[n] = call_number(n);
	clean.after = tree_of_union(b, 0);
	if (hold)
		drop_all(b);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
	return clean;
}

struct trouble {
	int err;
	void (*start)(unsigned n, int err);
	int (*only)(enum ply_sys kind); /* NULL: calls of every kind fail */
	unsigned step;			/* short runs take one of so many calls */
	void (*hold)(struct bed *b);	/* what is known and done before, or NULL */
};

/* Are live and remounted union the same? A mark that could not be set may be a link count, which is then one too many. */
static unsigned check_remounted(struct bed *b, const char *what)
{
	unsigned flags = strcmp(failed_call(), "setxattr") != 0 ? TREE_ALL : TREE_INO | TREE_MTIME;
	char *live = tree_of_union(b, flags), *again;
	unsigned faults = 0;

	bed_again(b);
	again = tree_of_union(b, flags);
	if (strcmp(live, again))
		faults = complain(what, again, live);
	free(live);
	free(again);
	return faults;
}

/* With all that is known: what failed (NULL: nothing) is done once more. */
static unsigned go_on(struct bed *b, const struct op *op, const struct clean_run *clean,
		      const char *failed)
{
	unsigned faults = check_held(b, failed ? failed : op->name);
	int err = failed ? op->run(b) : 0;
	char *got = tree_of_union(b, 0);

	if (failed && !op->may_be_done && (err || strcmp(got, clean->after)))
		faults += complain(failed, err ? strerrorname_np(-err) : got,
				   err ? "another try" : clean->after);
	faults += check_held(b, failed ? failed : op->name);
	free(got);
	drop_all(b);
	return faults;
}

/* One operation with its n-th call failing. The number of faults found. */
static unsigned run_failing(struct bed *b, const struct op *op, const struct ply_union_config *how,
			    const struct clean_run *clean, unsigned n,
			    const struct trouble *trouble)
{
	unsigned faults = 0;
	const char *wanted;
	char what[200], *got;
	int err;

	open_fresh(b, how);
	if (trouble->hold)
		trouble->hold(b);
	trouble->start(n, trouble->err);
	err = op->run(b);
	stop_failing();
	snprintf(what, sizeof(what), "%s: %s, call %u fails with %s: operation %s", op->name,
		 failed_call(), n, strerrorname_np(-trouble->err),
		 err ? strerrorname_np(-err) : "succeeds");
	got = tree_of_union(b, 0);
	wanted = err ? clean->before : clean->after;
	if (strcmp(got, wanted) && !(op->may_be_done && !strcmp(got, clean->after)))
		faults += complain(what, got, wanted);
	free(got);
	if (err && err != trouble->err) {
		print_error("%s\n", what);
		faults++;
	}
	if (trouble->hold)
		faults += go_on(b, op, clean, err ? what : NULL);
	faults += check_remounted(b, what);
	bed_close(b);
	return faults;
}

/* Has the operation to do with whiteouts? */
static int is_about_names(const struct op *op)
{
	static const char *const words[] = { "over", "unlink", "rmdir", "rename", "exchange" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(op->name, words[i]))
			return 1;
	return 0;
}

static void run_all(struct bed *b, const struct ply_union_config *how,
		    const struct trouble *trouble)
{
	const char *only = getenv("PLY_OP");
	unsigned faults = 0, step = getenv("PLY_LONG") || only ? 1 : trouble->step;

	for (size_t i = 0; i < nops; i++) {
		struct clean_run clean;

		if ((only && strcmp(only, ops[i].name)) || (how && !is_about_names(&ops[i])))
			continue;
		clean = run_clean(b, &ops[i], how, trouble->hold);
		for (unsigned n = 1 + (unsigned)i % step; n <= clean.calls; n += step)
			if (!trouble->only || trouble->only(clean.kinds[n]))
				faults += run_failing(b, &ops[i], how, &clean, n, trouble);
		free(clean.before);
		free(clean.after);
	}
	assert_int_equal(faults, 0);
}

static void test_each_call_fails_once_with_eio(void **state)
{
	run_all(*state, NULL, &(struct trouble){ .err = -EIO, .start = fail_call, .step = 2 });
}

static void test_each_call_fails_once_with_xattr_whiteouts(void **state)
{
	struct ply_union_config how = { .whiteout = PLY_WHITEOUT_XATTR };

	run_all(*state, &how, &(struct trouble){ .err = -EIO, .start = fail_call, .step = 6 });
}

static void test_each_call_fails_once_with_aufs_whiteouts(void **state)
{
	struct ply_union_config how = { .whiteout = PLY_WHITEOUT_AUFS, .space = PLY_SPACE_NONE };

	run_all(*state, &how, &(struct trouble){ .err = -EIO, .start = fail_call, .step = 6 });
}

static void test_each_call_fails_once_while_directories_are_copied(void **state)
{
	struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_COPY };

	run_all(*state, &how, &(struct trouble){ .err = -EIO, .start = fail_call, .step = 6 });
}

static void test_the_disk_is_full_from_a_call_on(void **state)
{
	run_all(*state, NULL,
		&(struct trouble){
			.err = -ENOSPC, .start = fill_disk, .only = needs_room, .step = 1 });
}

static void test_no_descriptor_is_left_for_a_call(void **state)
{
	run_all(*state, NULL,
		&(struct trouble){
			.err = -EMFILE, .start = fail_call, .only = needs_descriptor, .step = 2 });
}

static void test_each_call_fails_once_while_nodes_are_held(void **state)
{
	run_all(*state, NULL,
		&(struct trouble){ .err = -EIO, .start = fail_call, .step = 5, .hold = hold_all });
}

static void test_each_call_fails_once_while_data_is_below(void **state)
{
	run_all(*state, NULL,
		&(struct trouble){
			.err = -EIO, .start = fail_call, .step = 5, .hold = hold_meta_up });
}

static void test_each_call_fails_once_while_data_is_not_settled(void **state)
{
	run_all(*state, NULL,
		&(struct trouble){
			.err = -EIO, .start = fail_call, .step = 5, .hold = hold_data_up });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_each_call_fails_once_with_eio),
		bed_test(test_each_call_fails_once_with_xattr_whiteouts),
		bed_test(test_each_call_fails_once_with_aufs_whiteouts),
		bed_test(test_each_call_fails_once_while_directories_are_copied),
		bed_test(test_each_call_fails_once_while_nodes_are_held),
		bed_test(test_each_call_fails_once_while_data_is_below),
		bed_test(test_each_call_fails_once_while_data_is_not_settled),
		bed_test(test_the_disk_is_full_from_a_call_on),
		bed_test(test_no_descriptor_is_left_for_a_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
