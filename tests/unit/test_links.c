/* Hard links: of the upper, of a lower layer, brought up and not, over forgetting and remounting. */
#include <errno.h>
#include <linux/fs.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "inject.h"
#include "paths.h"

static uint64_t ino_of(struct bed *b, const char *path)
{
	struct statx attr = { 0 };

	assert_ok(u_stat(b, path, &attr));
	return attr.stx_ino;
}

static unsigned links_of(struct bed *b, const char *path)
{
	struct statx attr = { 0 };

	assert_ok(u_stat(b, path, &attr));
	return attr.stx_nlink;
}

static void put_pair(struct bed *b)
{
	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
}

static void test_names_of_a_lower_file_stay_one_file_when_one_is_changed(void **state)
{
	struct bed *b = *state;
	uint64_t ino;

	put_pair(b);
	bed_open(b, 1, 0, NULL);
	ino = ino_of(b, "x");
	assert_int_equal(ino_of(b, "d/y"), ino);
	assert_ok(u_setxattr(b, "x", "user.test", "v"));
	assert_string_equal(u_xattr(b, "d/y", "user.test"), "v");
	assert_ok(u_chmod(b, "d", 0700));
	assert_string_equal(u_xattr(b, "d/y", "user.test"), "v");
	assert_ok(u_write(b, "d/y", "P", 0));
	assert_string_equal(u_text(b, "x"), "Pair");
	assert_int_equal(ino_of(b, "x"), ino);
	assert_int_equal(ino_of(b, "d/y"), ino);
	assert_int_equal(links_of(b, "x"), 2);
	assert_int_equal(links_of(b, "d/y"), 2);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_a_name_without_the_other_keeps_the_new_content(void **state)
{
	struct bed *b = *state;

	put_pair(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(u_unlink(b, "x"));
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_int_equal(links_of(b, "d/y"), 1);
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_text(b, "d/y"), "Pair");
	bed_close(b);
}

static void test_the_other_name_can_be_renamed_and_exchanged(void **state)
{
	struct bed *b = *state;

	put_pair(b);
	put_file(b, "l0/other", "other");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(u_rename(b, "d/y", "z", 0));
	assert_string_equal(u_text(b, "z"), "Pair");
	assert_string_equal(u_text(b, "d/y"), "ENOENT");
	assert_ok(u_write(b, "z", "FAIR", 0));
	assert_string_equal(u_text(b, "x"), "FAIR");
	assert_ok(u_rename(b, "z", "other", RENAME_EXCHANGE));
	assert_string_equal(u_text(b, "z"), "other");
	assert_string_equal(u_text(b, "other"), "FAIR");
	assert_int_equal(links_of(b, "other"), 2);
	/* One name onto another of the same file does nothing. */
	assert_ok(u_rename(b, "x", "other", 0));
	assert_string_equal(u_ls(b, ""), "d other x z");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_a_new_link_to_a_lower_file(void **state)
{
	struct bed *b = *state;

	put_pair(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_link(b, "d/z", "d/y"));
	assert_int_equal(links_of(b, "x"), 3);
	assert_ok(u_put(b, "d/z", "new"));
	assert_string_equal(u_text(b, "x"), "new");
	assert_string_equal(u_text(b, "d/y"), "new");
	assert_ok(u_unlink(b, "d/y"));
	assert_ok(u_unlink(b, "x"));
	assert_int_equal(links_of(b, "d/z"), 1);
	assert_string_equal(u_text(b, "d/z"), "new");
	assert_same_again(b, TREE_ALL);
	assert_ok(u_unlink(b, "d/z"));
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_ls(b, "d"), "");
	bed_close(b);
}

/* Whoever holds the file by the one name sees what is done by the other. */
static void test_unlinking_all_names_keeps_an_open_file(void **state, unsigned max_fds)
{
	struct bed *b = *state;
	struct ply_union_config how = { .max_fds = max_fds };
	struct ply_entry x;

	put_pair(b);
	bed_open(b, 1, 0, &how);
	x = u_hold(b, "x");
	assert_ok(u_write(b, "d/y", "P", 0));
	assert_string_equal(node_text(b, x.node), "Pair");
	assert_ok(u_unlink(b, "x"));
	assert_string_equal(node_text(b, x.node), "Pair");
	assert_ok(u_write(b, "d/y", "R", 3));
	assert_string_equal(node_text(b, x.node), "PaiR");
	assert_ok(u_unlink(b, "d/y"));
	assert_string_equal(node_text(b, x.node), "PaiR");
	assert_int_equal(ply_write(b->u, x.node, "!", 1, 4, 0), 1);
	assert_string_equal(node_text(b, x.node), "PaiR!");
	u_drop(b, &x);
	assert_int_equal(bed_litter(b), 0);
	assert_string_equal(u_ls(b, "d"), "");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_unlinked_names_with_descriptors(void **state)
{
	test_unlinking_all_names_keeps_an_open_file(state, 0);
}

static void test_unlinked_names_beyond_the_descriptors(void **state)
{
	test_unlinking_all_names_keeps_an_open_file(state, 1);
}

/* A name that goes while the file is still below, and another that is found only later. */
static void test_a_removed_name_does_not_hide_a_later_one(void **state)
{
	struct bed *b = *state;
	struct ply_entry x, y;
	struct statx attr;

	put_pair(b);
	bed_open(b, 1, 0, NULL);
	x = u_hold(b, "x");
	assert_ok(u_unlink(b, "x"));
	y = u_hold(b, "d/y");
	assert_ptr_equal(x.node, y.node);
	assert_ok(ply_getattr(b->u, y.node, &attr));
	assert_int_equal(attr.stx_nlink, 1);
	assert_int_equal(ply_write(b->u, x.node, "P", 1, 0, 0), 1);
	u_drop(b, &x);
	u_drop(b, &y);
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_text(b, "d/y"), "Pair");
	bed_close(b);
}

/* The one that led to the inode in the node's own layer goes; the other is in another layer. */
static void test_a_removed_name_leaves_one_in_another_layer(void **state)
{
	struct bed *b = *state;
	struct ply_entry x, y;

	put_file(b, "l0/x", "pair");
	put_link(b, "l1/d/y", "l0/x");
	bed_open(b, 2, 0, NULL);
	x = u_hold(b, "x");
	y = u_hold(b, "d/y");
	assert_ptr_equal(x.node, y.node);
	assert_ok(u_unlink(b, "x"));
	assert_string_equal(node_text(b, x.node), "pair");
	assert_string_equal(u_text(b, "d/y"), "pair");
	assert_int_equal(links_of(b, "d/y"), 1);
	assert_int_equal(ply_write(b->u, y.node, "P", 1, 0, 0), 1);
	u_drop(b, &x);
	u_drop(b, &y);
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_links_of_the_upper_are_one_node(void **state)
{
	struct bed *b = *state;
	struct ply_entry a, c;

	bed_open(b, 1, 0, NULL);
	assert_ok(u_put(b, "a", "upper"));
	assert_ok(u_link(b, "c", "a"));
	assert_errno(u_link(b, "c", "a"), -EEXIST);
	a = u_hold(b, "a");
	c = u_hold(b, "c");
	assert_ptr_equal(a.node, c.node);
	assert_int_equal(c.attr.stx_nlink, 2);
	assert_ok(u_unlink(b, "a"));
	assert_string_equal(node_text(b, a.node), "upper");
	u_drop(b, &a);
	u_drop(b, &c);
	bed_again(b);
	/* Only one of two names is known when it goes. */
	assert_ok(u_link(b, "e", "c"));
	bed_again(b);
	a = u_hold(b, "c");
	assert_ok(u_unlink(b, "c"));
	c = u_hold(b, "e");
	assert_ptr_equal(a.node, c.node);
	assert_int_equal(c.attr.stx_nlink, 1);
	assert_int_equal(ply_write(b->u, a.node, "U", 1, 0, 0), 1);
	u_drop(b, &a);
	u_drop(b, &c);
	assert_string_equal(u_text(b, "e"), "Upper");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

/*
 * The one name that anybody has looked up goes, and the file is changed by who has it open: the others have the new
 * content, also when the node is forgotten before they are found.
 */
static void test_a_file_is_changed_while_its_other_name_is_unseen(void **state, unsigned max_fds)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .max_fds = max_fds };
	struct ply_entry x;
	struct statx attr;

	put_pair(b);
	put_file(b, "l0/big", "data");
	put_link(b, "l0/d/big", "l0/big");
	bed_open(b, 1, 0, &how);
	x = u_hold(b, "x");
	assert_ok(u_unlink(b, "x"));
	assert_int_equal(ply_write(b->u, x.node, "P", 1, 0, 0), 1);
	assert_ok(ply_getattr(b->u, x.node, &attr));
	assert_int_equal(attr.stx_nlink, 1);
	u_drop(b, &x);
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_int_equal(links_of(b, "d/y"), 1);
	/* The same with no more than its attributes. */
	x = u_hold(b, "big");
	assert_ok(u_unlink(b, "big"));
	assert_ok(ply_setxattr(b->u, x.node, "user.test", "v", 1, 0));
	u_drop(b, &x);
	assert_string_equal(u_xattr(b, "d/big", "user.test"), "v");
	assert_string_equal(u_text(b, "d/big"), "data");
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_ok(u_unlink(b, "d/y"));
	assert_ok(u_unlink(b, "d/big"));
	assert_int_equal(disk_entries(b, "work/index", NULL), 0);
	bed_close(b);
}

static void test_an_unseen_name_with_descriptors(void **state)
{
	test_a_file_is_changed_while_its_other_name_is_unseen(state, 0);
}

static void test_an_unseen_name_beyond_the_descriptors(void **state)
{
	test_a_file_is_changed_while_its_other_name_is_unseen(state, 1);
}

/* The link count says that it has a name, whoever has looked it up. */
static void test_a_file_gets_a_name_while_its_other_name_is_unseen(void **state)
{
	static const char *const names[] = { "x", "u" };
	struct bed *b = *state;

	for (int no_index = 0; no_index <= 1; no_index++) {
		const struct ply_union_config how = { .no_index = no_index };

		put_pair(b);
		put_dir(b, "up");
		put_file(b, "up/u", "upper");
		put_link(b, "up/v", "up/u");
		bed_open(b, 1, 0, &how);
		for (int i = 0; i < 2; i++) {
			struct ply_entry x = u_hold(b, names[i]), out;

			assert_ok(u_unlink(b, names[i]));
			assert_ok(ply_link(b->u, x.node, ply_root(b->u), "again", &out));
			assert_int_equal(out.attr.stx_nlink, 2);
			u_drop(b, &out);
			u_drop(b, &x);
			assert_string_equal(u_text(b, "again"), i ? "upper" : "pair");
			assert_ok(u_unlink(b, "again"));
		}
		assert_string_equal(u_ls(b, ""), "d v");
		assert_string_equal(u_text(b, "d/y"), "pair");
		assert_int_equal(links_of(b, "v"), 1);
		bed_close(b);
		remove_tree(bed_path(b, "up"));
		remove_tree(bed_path(b, "work"));
	}
}

static void test_an_unlinked_file_gets_no_name_again(void **state)
{
	struct bed *b = *state;
	struct ply_entry x, out;

	put_file(b, "l0/x", "lower");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_put(b, "u", "upper"));
	x = u_hold(b, "u");
	assert_ok(u_unlink(b, "u"));
	assert_errno(ply_link(b->u, x.node, ply_root(b->u), "again", &out), -ENOENT);
	u_drop(b, &x);
	x = u_hold(b, "x");
	assert_ok(u_unlink(b, "x"));
	assert_errno(ply_link(b->u, x.node, ply_root(b->u), "again", &out), -ENOENT);
	u_drop(b, &x);
	assert_string_equal(u_ls(b, ""), "");
	bed_close(b);
}

/* Index entries as nobody wrote them. The file is there in any case; its link count may be anything. */
static void test_malformed_index_entries_do_no_harm(void **state)
{
	static const char *const marks[] = { "",
					     "U",
					     "L",
					     "U+",
					     "U-999999999999999999999",
					     "X+1",
					     "L+2147483647",
					     "\xff\xff\xff\xff",
					     "U+2147483647",
					     "U-2147483648",
					     "U+1 and much more than fits" };
	struct bed *b = *state;
	char entry[256] = "", path[400];

	put_pair(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write(b, "x", "P", 0));
	bed_close(b);
	assert_int_equal(disk_entries(b, "work/index", entry), 1);
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		snprintf(path, sizeof(path), "work/index/%s", entry);
		put_xattr(b, path, "trusted.overlay.nlink", marks[i]);
		bed_open(b, 1, 0, NULL);
		assert_string_equal(u_text(b, "d/y"), "Pair");
		assert_string_equal(u_text(b, "x"), "Pair");
		links_of(b, "d/y");
		bed_close(b);
	}
	/* What is no entry: other names, and one of another type. */
	put_dir(b, "work/index/00fb");
	put_file(b, "work/index/zz", "");
	put_symlink(b, "work/index/#1", "x");
	put_remove(b, "up/x");
	snprintf(path, sizeof(path), "work/index/%s", entry);
	put_remove(b, path);
	put_dir(b, path);
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_text(b, "d/y"), "pair");
	bed_close(b);
}

/* Two lookups of one file by different names in different directories, at the same moment. */
struct pair {
	struct bed *b;
	pthread_barrier_t start, compare, end;
	struct ply_entry found[2];
	unsigned rounds, apart;
};

static void look_up(struct pair *p, unsigned i)
{
	for (unsigned round = 0; round < p->rounds; round++) {
		pthread_barrier_wait(&p->start);
		if (u_find(p->b, i ? "d/y" : "x", &p->found[i]))
			p->found[i].node = NULL;
		pthread_barrier_wait(&p->compare);
		if (i == 0)
			p->apart += p->found[0].node != p->found[1].node;
		pthread_barrier_wait(&p->end);
		if (p->found[i].node)
			u_drop(p->b, &p->found[i]);
	}
}

static void *look_up_second(void *pair)
{
	look_up(pair, 1);
	return NULL;
}

static void check_at_once(struct bed *b)
{
	struct pair p = { .b = b, .rounds = 2000 };
	pthread_t second;

	pthread_barrier_init(&p.start, NULL, 2);
	pthread_barrier_init(&p.compare, NULL, 2);
	pthread_barrier_init(&p.end, NULL, 2);
	assert_int_equal(pthread_create(&second, NULL, look_up_second, &p), 0);
	look_up(&p, 0);
	pthread_join(second, NULL);
	pthread_barrier_destroy(&p.start);
	pthread_barrier_destroy(&p.compare);
	pthread_barrier_destroy(&p.end);
	assert_int_equal(p.apart, 0);
}

static void test_names_looked_up_at_once_are_one_node(void **state)
{
	struct bed *b = *state;

	put_pair(b);
	bed_open(b, 1, 0, NULL);
	check_at_once(b);
	/* One name brought up, the other found by the index. */
	assert_ok(u_write(b, "x", "P", 0));
	check_at_once(b);
	/* Both in the upper. */
	assert_ok(u_rename(b, "d/y", "d/z", 0));
	assert_ok(u_rename(b, "d/z", "d/y", 0));
	check_at_once(b);
	bed_close(b);
}

static void test_a_failed_rename_over_a_name_below_leaves_the_file(void **state)
{
	const struct ply_union_config how = { .no_index = 1 };
	struct bed *b = *state;
	struct ply_entry x, y;

	put_pair(b);
	put_file(b, "l0/a", "other");
	bed_open(b, 1, 0, &how);
	x = u_hold(b, "x");
	y = u_hold(b, "d/y");
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(u_unlink(b, "x"));
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_ok(u_write(b, "a", "O", 0));
	assert_ok(u_chmod(b, "d", 0700));
	fail_kind(PLY_SYS_rename, -EIO);
	assert_errno(u_rename(b, "a", "d/y", 0), -EIO);
	stop_failing();
	assert_string_equal(u_text(b, "d/y"), "Pair");
	u_drop(b, &x);
	u_drop(b, &y);
	bed_close(b);
}

/* Somebody who removes a name at a call of a copy-up, and may have to wait. */
static struct {
	struct bed *b;
	const char *name;
	unsigned at, calls;
	pthread_t thread;
	_Atomic int done;
} remover;

static void *remove_it(void *arg)
{
	(void)arg;
	assert_ok(u_unlink(remover.b, remover.name));
	remover.done = 1;
	return NULL;
}

static _Thread_local int is_watched;

static int start_remover(enum ply_sys call)
{
	(void)call;
	if (!is_watched || ++remover.calls != remover.at)
		return 0;
	assert_int_equal(pthread_create(&remover.thread, NULL, remove_it, NULL), 0);
	for (int i = 0; i < 5 && !remover.done; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	return 0;
}

/* How many calls it took. */
static unsigned chmod_while_removed(struct bed *b, const char *removed, const char *left,
				    unsigned at)
{
	const struct ply_setattr set = { .valid = PLY_SET_MODE, .mode = 0600 };
	struct ply_entry x, y;
	struct statx attr;

	put_remove(b, "up");
	put_remove(b, "work/index");
	put_remove(b, "work/links");
	put_dir(b, "up");
	bed_open(b, 1, 0, NULL);
	x = u_hold(b, "x");
	y = u_hold(b, "d/y");
	assert_ptr_equal(x.node, y.node);
	remover.b = b;
	remover.name = removed;
	remover.at = at;
	remover.calls = 0;
	remover.done = 0;
	is_watched = 1;
	ply_sys_probe = start_remover;
	assert_ok(ply_setattr(b->u, y.node, &set, &attr));
	is_watched = 0;
	if (remover.calls < at)
		assert_ok(u_unlink(b, removed));
	else
		pthread_join(remover.thread, NULL);
	ply_sys_probe = NULL;
	u_drop(b, &x);
	u_drop(b, &y);
	for (int i = 0; i < 2; i++) {
		struct statx stx;

		assert_errno(u_stat(b, removed, &stx), -ENOENT);
		assert_ok(u_stat(b, left, &stx));
		if ((stx.stx_mode & 07777) != 0600 || stx.stx_nlink != 1)
			fail_msg("mode %o, %u links, %s removed at %u", stx.stx_mode, stx.stx_nlink,
				 removed, at);
		assert_string_equal(u_text(b, left), "pair");
		bed_again(b);
	}
	bed_close(b);
	return remover.calls;
}

static void test_a_name_is_removed_while_the_file_comes_up(void **state)
{
	struct bed *b = *state;
	unsigned calls = 1;

	/* What is freed is not to be read any more. */
	mallopt(M_PERTURB, 0x55);
	put_pair(b);
	for (unsigned at = 1; at <= calls; at++) {
		calls = chmod_while_removed(b, "x", "d/y", at);
		calls = chmod_while_removed(b, "d/y", "x", at);
	}
	mallopt(M_PERTURB, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_names_of_a_lower_file_stay_one_file_when_one_is_changed),
		bed_test(test_a_name_without_the_other_keeps_the_new_content),
		bed_test(test_the_other_name_can_be_renamed_and_exchanged),
		bed_test(test_a_new_link_to_a_lower_file),
		bed_test(test_unlinked_names_with_descriptors),
		bed_test(test_unlinked_names_beyond_the_descriptors),
		bed_test(test_a_removed_name_does_not_hide_a_later_one),
		bed_test(test_a_removed_name_leaves_one_in_another_layer),
		bed_test(test_links_of_the_upper_are_one_node),
		bed_test(test_an_unseen_name_with_descriptors),
		bed_test(test_an_unseen_name_beyond_the_descriptors),
		bed_test(test_a_file_gets_a_name_while_its_other_name_is_unseen),
		bed_test(test_an_unlinked_file_gets_no_name_again),
		bed_test(test_names_looked_up_at_once_are_one_node),
		bed_test(test_a_name_is_removed_while_the_file_comes_up),
		bed_test(test_a_failed_rename_over_a_name_below_leaves_the_file),
		bed_test(test_malformed_index_entries_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
