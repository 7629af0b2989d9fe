/*
 * Every operation with every one of its system calls failing in turn. An operation that fails says with what,
 * and has changed nothing, now and after a remount; one that succeeds all the same has done all. No descriptor
 * and no file of the work directory is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "inject.h"
#include "layer/format.h"
#include "paths.h"

#define BIG_SIZE 200000
#define CALLS_MAX 500

static void make_lowers(struct bed *b)
{
	static char big[BIG_SIZE + 1];

	memset(big, 'b', BIG_SIZE);
	put_file(b, "l1/d/f", "lower f");
	put_file(b, "l1/d/big", big);
	put_file(b, "l1/d/sub/g", "lower g");
	put_xattr(b, "l1/d/sub/g", "user.k", "v");
	put_symlink(b, "l1/d/s", "target");
	put_node(b, "l1/d/p", S_IFIFO | 0644, 0);
	put_file(b, "l0/x", "linked");
	put_link(b, "l0/d/y", "l0/x");
	put_link(b, "l0/d/w", "l0/x");
	put_file(b, "l1/over", "lower over");
	put_file(b, "l1/gone", "lower gone");
	put_file(b, "l1/hollow/a", "lower a");
	put_dir(b, "l1/empty");
	put_dir(b, "l1/coverdir");
}

static void make_upper(struct bed *b)
{
	put_file(b, "up/over", "upper over");
	put_whiteout(b, "up/gone");
	put_whiteout(b, "up/hollow/a");
	put_file(b, "up/u", "upper u");
	put_file(b, "up/ud/v", "upper v");
	put_dir(b, "up/ue");
	put_whiteout(b, "up/coverdir");
}

static int op_write(struct bed *b)
{
	return u_write(b, "d/f", "LOWER", 0);
}

static int op_write_big(struct bed *b)
{
	return u_write(b, "d/big", "B", 150000);
}

static int op_write_linked(struct bed *b)
{
	return u_write(b, "x", "LINKED", 0);
}

static int op_write_back(struct bed *b)
{
	return u_write_back(b, "d/f", "LOWER F", 0);
}

static int op_write_back_big(struct bed *b)
{
	return u_write_back(b, "d/big", "big", 12345);
}

static int op_write_upper(struct bed *b)
{
	return u_write(b, "u", "UPPER", 0);
}

static int op_truncate(struct bed *b)
{
	return u_truncate(b, "d/f", 3);
}

static int op_truncate_to_nothing(struct bed *b)
{
	return u_truncate(b, "d/big", 0);
}

static int op_chmod(struct bed *b)
{
	return u_chmod(b, "d/sub", 0700);
}

static int op_chown_symlink(struct bed *b)
{
	return u_set(b, "d/s", &(struct ply_setattr){ .valid = PLY_SET_UID, .uid = 7 });
}

static int op_chmod_fifo(struct bed *b)
{
	return u_chmod(b, "d/p", 0600);
}

static int op_setxattr(struct bed *b)
{
	return u_setxattr(b, "d/sub/g", "user.new", "value");
}

static int op_removexattr(struct bed *b)
{
	struct ply_entry e;
	int err = u_find(b, "d/sub/g", &e);

	if (err)
		return err;
	err = ply_removexattr(b->u, e.node, "user.k");
	u_drop(b, &e);
	return err;
}

static int op_create_in_lower_dir(struct bed *b)
{
	return u_create(b, "d/sub/new");
}

static int op_create_over_whiteout(struct bed *b)
{
	return u_create(b, "gone");
}

static int op_mkdir_over_whiteout(struct bed *b)
{
	return u_mkdir(b, "gone");
}

static int op_mkdir_over_whiteout_of_dir(struct bed *b)
{
	return u_mkdir(b, "coverdir");
}

static int op_symlink(struct bed *b)
{
	return u_symlink(b, "d/link", "to");
}

static int create_by(struct bed *b, const char *name, mode_t mode, uid_t uid)
{
	struct ply_make how = { .mode = mode, .cred = { .uid = uid, .gid = uid, .umask = 022 } };
	struct ply_entry made;
	int err = ply_create(b->u, ply_root(b->u), name, &how, &made);

	if (!err)
		u_drop(b, &made);
	return err;
}

static int op_create_by_other(struct bed *b)
{
	return create_by(b, "other", S_IFREG | 0666, 1000);
}

static int op_mkdir_by_other(struct bed *b)
{
	return create_by(b, "otherdir", S_IFDIR | 0777, 1000);
}

static int op_unlink_lower(struct bed *b)
{
	return u_unlink(b, "d/f");
}

static int op_unlink_upper(struct bed *b)
{
	return u_unlink(b, "u");
}

static int op_unlink_over(struct bed *b)
{
	return u_unlink(b, "over");
}

static int op_unlink_linked(struct bed *b)
{
	return u_unlink(b, "d/y");
}

static int op_rename_over_linked(struct bed *b)
{
	return u_rename(b, "u", "d/w", 0);
}

static int op_rmdir_lower(struct bed *b)
{
	return u_rmdir(b, "empty");
}

static int op_rmdir_upper(struct bed *b)
{
	return u_rmdir(b, "ue");
}

static int op_rmdir_hollow(struct bed *b)
{
	return u_rmdir(b, "hollow");
}

static int op_rename_lower(struct bed *b)
{
	return u_rename(b, "d/f", "z", 0);
}

static int op_rename_over_lower(struct bed *b)
{
	return u_rename(b, "u", "d/f", 0);
}

static int op_rename_over_upper(struct bed *b)
{
	return u_rename(b, "d/f", "over", 0);
}

static int op_rename_over_whiteout(struct bed *b)
{
	return u_rename(b, "u", "gone", RENAME_NOREPLACE);
}

static int op_rename_dir(struct bed *b)
{
	return u_rename(b, "ud", "d/ud", 0);
}

static int op_rename_dir_over_whiteout(struct bed *b)
{
	return u_rename(b, "ud", "gone", 0);
}

static int op_rename_dir_over_hollow(struct bed *b)
{
	return u_rename(b, "ud", "hollow", 0);
}

static int op_rename_dir_over_lower(struct bed *b)
{
	return u_rename(b, "ud", "empty", 0);
}

static int op_rename_merged(struct bed *b)
{
	return u_rename(b, "d", "moved", 0);
}

static int op_rename_merged_into(struct bed *b)
{
	return u_rename(b, "d/sub", "ud/sub", 0);
}

static int op_rename_merged_over_whiteout(struct bed *b)
{
	return u_rename(b, "d", "coverdir", 0);
}

static int op_rename_merged_over_hollow(struct bed *b)
{
	return u_rename(b, "d", "hollow", 0);
}

static int op_rename_merged_over_lower(struct bed *b)
{
	return u_rename(b, "d/sub", "empty", 0);
}

static int op_exchange_merged(struct bed *b)
{
	return u_rename(b, "d", "hollow", RENAME_EXCHANGE);
}

static int op_rename_linked(struct bed *b)
{
	return u_rename(b, "d/y", "w", 0);
}

static int op_exchange(struct bed *b)
{
	return u_rename(b, "u", "d/f", RENAME_EXCHANGE);
}

static int op_exchange_dir(struct bed *b)
{
	return u_rename(b, "ud", "over", RENAME_EXCHANGE);
}

static int op_link_lower(struct bed *b)
{
	return u_link(b, "k", "d/f");
}

static int op_link_over_whiteout(struct bed *b)
{
	return u_link(b, "gone", "u");
}

static int op_tmpfile(struct bed *b)
{
	struct ply_make how = { .mode = S_IFREG | 0600, .cred.umask = 022 };
	struct ply_entry dir, e, named;
	int err = u_find(b, "d", &dir);

	if (err)
		return err;
	err = ply_tmpfile(b->u, dir.node, &how, &e);
	if (!err) {
		ssize_t n = ply_write(b->u, e.node, "tmp", 3, 0, 0);

		err = n < 0 ? (int)n : ply_link(b->u, e.node, dir.node, "named", &named);
		if (!err)
			u_drop(b, &named);
		u_drop(b, &e);
	}
	u_drop(b, &dir);
	return err;
}

static int op_fallocate(struct bed *b)
{
	struct ply_entry e;
	int err = u_find(b, "d/f", &e);

	if (err)
		return err;
	err = ply_fallocate(b->u, e.node, 0, 0, 5000, 0);
	u_drop(b, &e);
	return err;
}

static int op_fsync(struct bed *b)
{
	struct ply_entry e;
	int err = u_find(b, "u", &e);

	if (err)
		return err;
	err = ply_fsync(b->u, e.node, PLY_SYNC_ALL);
	u_drop(b, &e);
	return err;
}

static int op_read(struct bed *b)
{
	const char *text = u_text(b, "d/sub/g");

	if (!strcmp(text, "lower g"))
		return 0;
	for (int err = 1; err < 134; err++)
		if (!strcmp(text, strerrorname_np(err) ? strerrorname_np(err) : ""))
			return -err;
	return -1000;
}

static int count_name(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct bed *b = arg;

	(void)name;
	(void)cookie;
	if (entry->node)
		ply_forget(b->u, entry->node, 1);
	return 1;
}

static int op_readdir(struct bed *b)
{
	return ply_readdir(b->u, ply_root(b->u), 0, count_name, b);
}

static const struct op {
	const char *name;
	int (*run)(struct bed *b);
	/* It may be done although it failed: a truncated file comes up short, and the attributes come last. */
	int may_be_done;
} ops[] = {
#define OP(x)                                                                                      \
	{                                                                                          \
#x, op_##x, 0                                                                      \
	}
#define OP_SETS(x)                                                                                 \
	{                                                                                          \
#x, op_##x, 1                                                                      \
	}
	OP(write),
	OP(write_big),
	OP(write_linked),
	OP(write_back),
	OP(write_back_big),
	OP(write_upper),
	OP_SETS(truncate),
	OP_SETS(truncate_to_nothing),
	OP_SETS(chmod),
	OP_SETS(chown_symlink),
	OP_SETS(chmod_fifo),
	OP(setxattr),
	OP(removexattr),
	OP(create_in_lower_dir),
	OP(create_over_whiteout),
	OP(mkdir_over_whiteout),
	OP(mkdir_over_whiteout_of_dir),
	OP(symlink),
	OP(create_by_other),
	OP(mkdir_by_other),
	OP(unlink_lower),
	OP(unlink_upper),
	OP(unlink_over),
	OP(unlink_linked),
	OP(rename_over_linked),
	OP(rmdir_lower),
	OP(rmdir_upper),
	OP(rmdir_hollow),
	OP(rename_lower),
	OP(rename_over_lower),
	OP(rename_over_upper),
	OP(rename_over_whiteout),
	OP(rename_dir),
	OP(rename_dir_over_whiteout),
	OP(rename_dir_over_hollow),
	OP(rename_dir_over_lower),
	OP(rename_merged),
	OP(rename_merged_into),
	OP(rename_merged_over_whiteout),
	OP(rename_merged_over_hollow),
	OP(rename_merged_over_lower),
	OP(exchange_merged),
	OP(rename_linked),
	OP(exchange),
	OP(exchange_dir),
	OP(link_lower),
	OP(link_over_whiteout),
	OP(tmpfile),
	OP(fallocate),
	OP(fsync),
	OP(read),
	OP(readdir),
};
#define NOPS (sizeof(ops) / sizeof(ops[0]))

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
		make_lowers(b);
	put_remove(b, "up");
	put_remove(b, "work/" PLY_INDEX_DIR);
	put_remove(b, "work/" PLY_COUNTS_DIR);
	make_upper(b);
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

	for (size_t i = 0; i < NOPS; i++) {
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
