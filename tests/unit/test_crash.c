/*
 * The server ends, or the machine, at every system call of every operation. Afterwards each file is what it was
 * before or after, and what was synced is there. When the machine ends, files whose data may not have been on the disk
 * yet hold garbage: those that the mark metacopy says so of.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "inject.h"
#include "layer/format.h"
#include "paths.h"
#include "union/node.h"

#define BIG 200000
#define MARK PLY_SPACE_TRUSTED_PREFIX PLY_MARK_METACOPY
#define REDIRECT PLY_SPACE_TRUSTED_PREFIX PLY_MARK_REDIRECT

static void make_layers(struct bed *b)
{
	static char big[BIG + 1];

	memset(big, 'b', BIG);
	put_file(b, "l0/d/f", "lower f");
	put_file(b, "l0/d/big", big);
	put_file(b, "l0/d/sub/g", "lower g");
	put_file(b, "l0/x", "linked");
	put_link(b, "l0/d/y", "l0/x");
	put_link(b, "l0/d/w", "l0/x");
	put_file(b, "l0/over", "lower over");
	put_file(b, "l0/dir/in/deep", "lower deep");
}

static int op_write(struct bed *b)
{
	return u_write(b, "d/f", "LOWER", 0);
}

static int op_write_back(struct bed *b)
{
	return u_write_back(b, "d/f", "LOWER F and more", 0);
}

static int op_write_back_big(struct bed *b)
{
	return u_write_back(b, "d/big", "B", 150000);
}

static int op_write_big(struct bed *b)
{
	return u_write(b, "d/big", "B", 150000);
}

static int op_write_beyond(struct bed *b)
{
	return u_write(b, "d/f", "much more than was there", 5);
}

static int op_truncate(struct bed *b)
{
	return u_truncate(b, "d/big", 100);
}

static int op_empty(struct bed *b)
{
	return u_truncate(b, "d/big", 0);
}

static int op_chmod(struct bed *b)
{
	return u_chmod(b, "d/big", 0600);
}

static int op_chown(struct bed *b)
{
	return u_set(b, "d/f", &(struct ply_setattr){ .valid = PLY_SET_UID, .uid = 7 });
}

static int op_rename(struct bed *b)
{
	return u_rename(b, "d/f", "d/sub/moved", 0);
}

static int op_rename_over(struct bed *b)
{
	return u_rename(b, "d/big", "over", 0);
}

static int op_exchange(struct bed *b)
{
	return u_rename(b, "d/f", "over", RENAME_EXCHANGE);
}

static int op_link(struct bed *b)
{
	return u_link(b, "linked", "d/f");
}

static int op_write_linked(struct bed *b)
{
	return u_write(b, "x", "LINKED", 0);
}

static int op_chmod_linked(struct bed *b)
{
	return u_chmod(b, "d/y", 0640);
}

static int op_unlink_linked(struct bed *b)
{
	return u_unlink(b, "x");
}

static int op_unlink_third(struct bed *b)
{
	return u_unlink(b, "d/w");
}

static int op_unlink(struct bed *b)
{
	return u_unlink(b, "d/f");
}

static int op_sync(struct bed *b)
{
	return u_sync(b, "d/f");
}

static int op_rename_dir(struct bed *b)
{
	return u_rename(b, "dir", "d/dir", 0);
}

static int op_settle(struct bed *b)
{
	return ply_settle(b->u, 0);
}

static int nothing(struct bed *b)
{
	(void)b;
	return 0;
}

/* What happens after something else was done, which need not be on the disk yet. */
static const struct step {
	const char *name;
	int (*run)(struct bed *b);
} firsts[] = {
	{ "nothing", nothing },
	{ "chmod", op_chmod },
	{ "chown", op_chown },
	{ "write", op_write },
	{ "write_back", op_write_back },
	{ "write_big", op_write_big },
	{ "chmod_linked", op_chmod_linked },
	{ "unlink_third", op_unlink_third },
}, seconds[] = {
#define STEP(x)                                                                                    \
	{                                                                                          \
#x, op_##x                                                                         \
	}
	STEP(write),	    STEP(write_big),	STEP(write_beyond), STEP(truncate), STEP(empty),
	STEP(chmod),	    STEP(chown),	STEP(rename),	    STEP(rename_over),
	STEP(exchange),	    STEP(link),		STEP(write_linked), STEP(chmod_linked),
	STEP(unlink),	    STEP(sync),		STEP(rename_dir),   STEP(settle),
	STEP(unlink_linked), STEP(write_back), STEP(write_back_big),
};
#define COUNT(x) (sizeof(x) / sizeof((x)[0]))

/* ---- ends ---- */

static int forget_data(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	struct ply_metacopy value;
	int fd;

	(void)ftw;
	(void)type;
	if (!S_ISREG(st->st_mode) || getxattr(path, MARK, &value, sizeof(value)) < 0)
		return 0;
	/* The next boot is another one. */
	memset(&value.boot, 1, sizeof(value.boot));
	if (getxattr(path, MARK, NULL, 0) == sizeof(value))
		assert_int_equal(setxattr(path, MARK, &value, sizeof(value), 0), 0);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, st->st_size / 3), 0);
	assert_int_equal(pwrite(fd, "garbage", 7, st->st_size / 2), 7);
	close(fd);
	return 0;
}

static void end_server(struct bed *b)
{
	(void)b;
}

static void end_machine(struct bed *b)
{
	nftw(bed_path(b, "up"), forget_data, 16, FTW_PHYS);
}

static int has_mark(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)type;
	(void)ftw;
	return S_ISREG(st->st_mode) &&
	       (getxattr(path, MARK, NULL, 0) >= 0 || getxattr(path, REDIRECT, NULL, 0) >= 0);
}

/* After a clean end the upper is plain, but for redirects of directories. */
static void check_settled(struct bed *b, const char *what)
{
	if (nftw(bed_path(b, "up"), has_mark, 16, FTW_PHYS))
		fail_msg("%s: a mark is left on a file", what);
	assert_false(on_disk(b, "work/" PLY_UNSETTLED));
}

static void open_fresh(struct bed *b)
{
	put_remove(b, "up");
	put_remove(b, "work/" PLY_INDEX_DIR);
	put_remove(b, "work/" PLY_COUNTS_DIR);
	put_dir(b, "up");
	bed_open(b, 1, 0, NULL);
}

/* Everything that is asked for from now on fails; then the union is there again. */
static void die_and_return(struct bed *b, void (*end)(struct bed *b))
{
	ply_union_close(b->u);
	b->u = NULL;
	stop_failing();
	end(b);
	bed_open(b, 1, 0, NULL);
}

/* What there is before, after the first step, and after both. */
struct trees {
	char *none, *first, *both;
	unsigned calls;
};

static void make_trees(struct bed *b, const struct step *first, const struct step *second,
		       struct trees *t)
{
	open_fresh(b);
	t->none = tree_of_union(b, 0);
	assert_ok(first->run(b));
	t->first = tree_of_union(b, 0);
	count_calls();
	assert_ok(second->run(b));
	t->calls = stop_failing();
	t->both = tree_of_union(b, 0);
	assert_same_again(b, TREE_ALL & ~(unsigned)TREE_INO);
	bed_close(b);
	check_settled(b, second->name);
}

static void free_trees(struct trees *t)
{
	free(t->none);
	free(t->first);
	free(t->both);
}

/* Takes " size=..." and " data=..." out of a tree, each up to the next blank, into contents (or nowhere, if NULL). */
static char *without_content(const char *tree, char *contents)
{
	char *rest = malloc(strlen(tree) + 1), *to = rest;

	while (*tree) {
		int is_content = !strncmp(tree, " size=", 6) || !strncmp(tree, " data=", 6);

		do {
			if (!is_content)
				*to++ = *tree;
			else if (contents)
				*contents++ = *tree;
			tree++;
		} while (*tree && *tree != ' ' && *tree != '\n');
	}
	*to = '\0';
	if (contents)
		*contents = '\0';
	return rest;
}

static int same_rest(const char *got, const char *wanted)
{
	char *a = without_content(got, NULL), *b = without_content(wanted, NULL);
	int same = !strcmp(a, b);

	free(a);
	free(b);
	return same;
}

/* Is each file's content one that some tree has? */
static int known_contents(const char *got, const struct trees *t)
{
	const char *data = got;

	while ((data = strstr(data, " data="))) {
		char word[64];

		snprintf(word, sizeof(word), "%.*s", (int)strcspn(data + 1, " \n") + 1, data);
		if (!strstr(t->none, word) && !strstr(t->first, word) && !strstr(t->both, word))
			return 0;
		data++;
	}
	return 1;
}

static int as_it_was(const char *got, const struct trees *t)
{
	return !strcmp(got, t->first) || !strcmp(got, t->both);
}

/*
 * When the machine ends, data that was not synced may go while metadata that came with it stays. Content that is neither the
 * old nor the new must not be.
 */
static int old_or_new(const char *got, const struct trees *t)
{
	return (same_rest(got, t->first) || same_rest(got, t->both)) && known_contents(got, t);
}

/* A way to end, and what may be found afterwards. */
struct end {
	void (*come)(struct bed *b);
	int (*is_good)(const char *got, const struct trees *t);
};

static int has_synced(const struct step *second)
{
	return second->run == op_settle;
}

/* A count of names that is lost is one of too many. */
static void check_links(struct bed *b, const char *what)
{
	static const char *const names[] = { "x", "d/y", "d/w" };
	struct statx attr[3];
	unsigned found = 0;

	for (size_t i = 0; i < COUNT(names); i++)
		found += u_stat(b, names[i], &attr[found]) == 0;
	for (unsigned i = 0; i < found; i++)
		if (attr[i].stx_nlink < found)
			fail_msg("%s: %u links of %u names", what, attr[i].stx_nlink, found);
}

static void crash_at(struct bed *b, const struct step *first, const struct step *second,
		     const struct trees *t, unsigned n, const struct end *end)
{
	char what[200], *got;
	int good;

	open_fresh(b);
	assert_ok(first->run(b));
	stop_at(n);
	second->run(b);
	snprintf(what, sizeof(what), "%s after %s, call %u (%s)", second->name, first->name, n,
		 failed_call());
	die_and_return(b, end->come);
	got = tree_of_union(b, 0);
	good = n > t->calls && has_synced(second) ? !strcmp(got, t->both) : end->is_good(got, t);
	if (!good) {
		print_error("%s\n", what);
		assert_same_tree(got, t->first);
		assert_same_tree(got, t->both);
	}
	free(got);
	check_links(b, what);
	assert_same_again(b, TREE_ALL & ~(unsigned)TREE_INO);
	bed_close(b);
	check_settled(b, what);
}

/* Short runs take one call of so many, another one each time. */
static void crash_everywhere(struct bed *b, const struct end *end)
{
	unsigned step = getenv("PLY_LONG") ? 1 : 3;

	make_layers(b);
	for (size_t i = 0; i < COUNT(firsts); i++)
		for (size_t j = 0; j < COUNT(seconds); j++) {
			struct trees t;

			make_trees(b, &firsts[i], &seconds[j], &t);
			for (unsigned n = 1 + (unsigned)(i + j) % step; n <= t.calls + 1; n += step)
				crash_at(b, &firsts[i], &seconds[j], &t, n, end);
			free_trees(&t);
		}
}

static void test_the_server_ends_at_each_call(void **state)
{
	crash_everywhere(*state, &(struct end){ end_server, as_it_was });
}

static void test_the_machine_ends_at_each_call(void **state)
{
	crash_everywhere(*state, &(struct end){ end_machine, old_or_new });
}

#define LONG_AGO 1000000000

static void check_time(struct bed *b, const char *when, unsigned n)
{
	struct statx attr;

	assert_ok(u_stat(b, "d/big", &attr));
	if (attr.stx_mtime.tv_sec != LONG_AGO)
		fail_msg("another time, %s call %u", when, n);
}

/* Metadata only, with a time of long ago. */
static void open_with_old_file(struct bed *b)
{
	const struct timespec ts[2] = { { .tv_sec = LONG_AGO }, { .tv_sec = LONG_AGO } };

	assert_int_equal(utimensat(AT_FDCWD, bed_path(b, "l0/d/big"), ts, 0), 0);
	open_fresh(b);
	assert_ok(op_chmod(b));
}

/* A file whose data comes up by itself is written to, but by nobody whom its time should tell of. */
static void test_data_that_comes_up_leaves_the_times(void **state)
{
	struct bed *b = *state;
	unsigned calls;

	make_layers(b);
	open_with_old_file(b);
	count_calls();
	assert_ok(op_settle(b));
	calls = stop_failing();
	bed_close(b);
	for (unsigned n = 1; n <= calls; n++) {
		open_with_old_file(b);
		stop_at(n);
		op_settle(b);
		die_and_return(b, end_server);
		check_time(b, "after an end at", n);
		bed_again(b);
		check_time(b, "and after another mount, of", n);
		bed_close(b);
		check_settled(b, "an end");
		open_with_old_file(b);
		fail_call(n, -EIO);
		op_settle(b);
		stop_failing();
		assert_ok(op_settle(b));
		check_time(b, "after an error of", n);
		bed_close(b);
		check_settled(b, "an error");
	}
}

/* A lower file of which the one name that was looked up is gone, while it is open. */
static struct ply_entry open_with_unseen_name(struct bed *b)
{
	struct ply_entry x;

	open_fresh(b);
	x = u_hold(b, "x");
	assert_ok(u_unlink(b, "x"));
	return x;
}

static void test_a_change_by_an_unseen_name_is_made_or_not(void **state)
{
	struct bed *b = *state;
	unsigned calls = 1;

	make_layers(b);
	for (unsigned n = 0; n <= calls; n++) {
		struct ply_entry x = open_with_unseen_name(b);
		const char *text;
		struct statx attr;

		count_calls();
		if (n)
			stop_at(n);
		ply_write(b->u, x.node, "UNSEEN", 6, 0, 0);
		if (!n) {
			calls = stop_failing();
			u_drop(b, &x);
		}
		die_and_return(b, end_server);
		text = u_text(b, "d/y");
		if (strcmp(text, "UNSEEN") && (!n || strcmp(text, "linked")))
			fail_msg("call %u: %s", n, text);
		assert_string_equal(u_text(b, "d/w"), text);
		assert_ok(u_stat(b, "d/y", &attr));
		assert_true(attr.stx_nlink >= 2);
		assert_string_equal(u_text(b, "x"), "ENOENT");
		assert_same_again(b, TREE_ALL);
		bed_close(b);
		check_settled(b, "an unseen name");
	}
}

/* fsync of a file that was brought up, whatever else was done to it. */
static void test_what_was_synced_is_there(void **state)
{
	struct bed *b = *state;
	char *wanted, *got;

	make_layers(b);
	open_fresh(b);
	assert_ok(op_chmod(b));
	assert_ok(op_write_big(b));
	assert_ok(u_sync(b, "d/big"));
	assert_ok(op_write(b));
	assert_ok(op_rename(b));
	assert_ok(u_sync(b, "d/sub/moved"));
	assert_ok(op_write_linked(b));
	assert_ok(u_sync(b, "d/y"));
	wanted = tree_of_union(b, TREE_MTIME);
	stop_at(1);
	die_and_return(b, end_machine);
	got = tree_of_union(b, TREE_MTIME);
	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
	bed_close(b);
	check_settled(b, "fsync");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_the_server_ends_at_each_call),
		bed_test(test_the_machine_ends_at_each_call),
		bed_test(test_a_change_by_an_unseen_name_is_made_or_not),
		bed_test(test_what_was_synced_is_there),
		bed_test(test_data_that_comes_up_leaves_the_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
