/* A layer is put below the others while the union is open: as one that was opened with it, and nobody notices. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "added.h"

#define REDIRECT "trusted.overlay.redirect"
#define OPAQUE "trusted.overlay.opaque"
#define METACOPY "trusted.overlay.metacopy"

static void put_layers(struct bed *b)
{
	put_file(b, "l0/a", "top a");
	put_file(b, "l0/d/one", "one");
	put_whiteout(b, "l0/gone");
	put_file(b, "l0/file", "a file");
	put_file(b, "l1/a", "bottom a");
	put_file(b, "l1/new", "new");
	put_file(b, "l1/d/two", "two");
	put_file(b, "l1/d/sub/three", "three");
	put_file(b, "l1/gone", "gone");
	put_file(b, "l1/file/in", "a directory here");
}

static void test_what_is_new_appears(void **state)
{
	struct bed *b = *state;
	struct ply_entry d;

	put_layers(b);
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	assert_string_equal(u_text(b, "new"), "ENOENT");
	assert_string_equal(u_ls(b, ""), "a d file");
	assert_string_equal(u_ls(b, "d"), "one");
	assert_ok(add_layer(b, "l1"));
	assert_string_equal(u_ls(b, ""), "a d file new");
	assert_string_equal(u_ls(b, "d"), "one sub two");
	assert_string_equal(u_text(b, "new"), "new");
	assert_string_equal(u_text(b, "a"), "top a");
	assert_string_equal(u_text(b, "d/sub/three"), "three");
	assert_string_equal(u_text(b, "gone"), "ENOENT");
	assert_string_equal(u_text(b, "file"), "a file");
	assert_ok(u_write(b, "d/sub/three", "T", 0));
	assert_ok(u_unlink(b, "new"));
	assert_string_equal(disk_text(b, "l1/d/sub/three"), "three");
	u_drop(b, &d);
	bed_again(b);
	bed_close(b);
}

static void test_as_if_it_had_been_there(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	bed_open(b, 1, 0, NULL);
	assert_adds(b, 1);
	put_file(b, "l2/d/sub/four", "four");
	put_file(b, "l2/d/two/no", "hidden by a file");
	put_file(b, "l2/deep/er/five", "five");
	assert_adds(b, 2);
	bed_close(b);
}

static void test_without_an_upper(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	bed_open(b, 1, BED_READONLY, NULL);
	assert_adds(b, 1);
	assert_string_equal(u_ls(b, "d"), "one sub two");
	bed_close(b);
}

static void test_what_the_upper_made_merges_or_hides(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	put_file(b, "l0/was/here", "x");
	put_file(b, "l1/was/below", "hidden, as the directory was made anew");
	put_file(b, "l1/made/below", "shown");
	put_file(b, "l1/moved/below", "shown where the name is now");
	put_file(b, "l1/first/below", "not any more");
	put_file(b, "l1/removed", "shown: nothing had to hide it");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "was/here"));
	assert_ok(u_rmdir(b, "was"));
	assert_ok(u_mkdir(b, "was"));
	assert_ok(u_mkdir(b, "made"));
	assert_ok(u_mkdir(b, "first"));
	assert_ok(u_rename(b, "first", "moved", 0));
	assert_ok(u_create(b, "removed"));
	assert_ok(u_unlink(b, "removed"));
	assert_adds(b, 1);
	assert_string_equal(u_ls(b, "was"), "");
	assert_string_equal(u_ls(b, "made"), "below");
	assert_string_equal(u_ls(b, "moved"), "below");
	assert_string_equal(u_ls(b, "first"), "below");
	assert_true(strstr(u_ls(b, ""), "removed") != NULL);
	bed_close(b);
}

static void test_marks_of_the_layer_that_was_the_last_count_now(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/opaque/a", "a");
	put_xattr(b, "l0/opaque", OPAQUE, "y");
	put_file(b, "l0/aufs/a", "a");
	put_file(b, "l0/aufs/.wh..wh..opq", "");
	put_file(b, "l0/other/a", "a");
	put_xattr(b, "l0/other", REDIRECT, "/far/away");
	put_file(b, "l0/sibling/a", "a");
	put_xattr(b, "l0/sibling", REDIRECT, "brother");
	put_file(b, "l0/hidden/a", "a");
	put_file(b, "l0/.wh.hidden", "");
	put_file(b, "l0/.wh.single", "");
	put_file(b, "l1/opaque/no", "");
	put_file(b, "l1/aufs/no", "");
	put_file(b, "l1/other/no", "");
	put_file(b, "l1/far/away/yes", "");
	put_file(b, "l1/far/away/deep/yes", "");
	put_file(b, "l1/brother/yes", "");
	put_file(b, "l1/hidden/no", "");
	put_file(b, "l1/single", "");
	bed_open(b, 1, 0, &(struct ply_union_config){ .redirect_dir = PLY_REDIRECT_ON, .sync = 1 });
	assert_adds(b, 1);
	assert_string_equal(u_ls(b, ""), "aufs brother far hidden opaque other sibling");
	assert_string_equal(u_ls(b, "other"), "a deep yes");
	assert_string_equal(u_ls(b, "sibling"), "a yes");
	assert_string_equal(u_ls(b, "hidden"), "a");
	bed_close(b);
}

static void test_moved_directories_go_on_where_they_were(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };

	put_file(b, "l0/d/one", "one");
	put_file(b, "l0/e/deep/two", "two");
	put_file(b, "l1/d/three", "three");
	put_file(b, "l1/moved/no", "no: that is not where it was");
	put_file(b, "l1/e/deep/four", "four");
	put_file(b, "l1/e/deep/below/five", "five");
	bed_open(b, 1, 0, &how);
	assert_ok(u_rename(b, "d", "moved", 0));
	assert_ok(u_rename(b, "e/deep", "moved/deep", 0));
	assert_adds(b, 1);
	assert_string_equal(u_ls(b, "moved"), "deep one three");
	assert_string_equal(u_ls(b, "moved/deep"), "below four two");
	assert_ok(u_rename(b, "moved/deep/below", "up", 0));
	assert_string_equal(u_text(b, "up/five"), "five");
	bed_close(b);
}

static void test_a_moved_directory_can_be_moved_again_after_it(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };
	char *before, *after;
	struct ply_why why;

	put_file(b, "l0/d/one", "one");
	put_file(b, "l1/d/sub/two", "two");
	bed_open(b, 1, 0, &how);
	assert_ok(u_rename(b, "d", "moved", 0));
	struct ply_entry moved = u_hold(b, "moved");
	assert_ok(add_layer(b, "l1"));
	assert_ok(u_rename(b, "moved", "again", 0));
	assert_ok(u_rename(b, "again/sub", "sub", 0));
	assert_string_equal(u_text(b, "sub/two"), "two");
	assert_ok(ply_rotate_prepare(b->u, PLY_ROTATE_AS_IS));
	before = tree_of_union(b, TREE_MTIME);
	assert_ok(ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_AS_IS, &why));
	put_file(b, "l2/d/three", "three, below what was moved twice");
	assert_ok(u_chmod(b, "again", 0750));
	after = tree_of_union(b, TREE_MTIME);
	assert_ok(u_chmod(b, "again", 0755));
	free(after);
	after = tree_of_union(b, TREE_MTIME);
	assert_same_tree(before, after);
	assert_ok(add_layer(b, "l2"));
	assert_string_equal(u_ls(b, "again"), "one three");
	u_drop(b, &moved);
	free(before);
	free(after);
	bed_close(b);
}

/* What somebody has in the hand, which the union may show no more. */
static void test_what_is_unlinked_goes_on(void **state)
{
	struct bed *b = *state;
	struct ply_entry file, made, dir;
	struct statx attr;

	put_layers(b);
	put_file(b, "l0/left/x", "x");
	bed_open(b, 1, 0, NULL);
	file = u_hold(b, "a");
	assert_ok(u_put(b, "made", "made"));
	made = u_hold(b, "made");
	assert_ok(u_unlink(b, "a"));
	assert_ok(u_unlink(b, "made"));
	assert_ok(u_unlink(b, "left/x"));
	dir = u_hold(b, "left");
	assert_ok(u_rmdir(b, "left"));
	put_file(b, "l1/left/y", "y");
	assert_ok(add_layer(b, "l1"));
	assert_string_equal(node_text(b, file.node), "top a");
	assert_string_equal(node_text(b, made.node), "made");
	assert_int_equal(ply_write(b->u, file.node, "TOP", 3, 0, 0), 3);
	assert_string_equal(node_text(b, file.node), "TOP a");
	assert_ok(ply_getattr(b->u, dir.node, &attr));
	assert_int_equal(attr.stx_nlink, 0);
	assert_string_equal(u_text(b, "a"), "ENOENT");
	assert_string_equal(u_text(b, "left/y"), "ENOENT");
	u_drop(b, &file);
	u_drop(b, &made);
	u_drop(b, &dir);
	bed_close(b);
}

static void test_hard_links_are_one_file_afterwards(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	put_file(b, "l1/p", "other");
	put_link(b, "l1/d/q", "l1/p");
	bed_open(b, 1, 0, &(struct ply_union_config){ .sync = 1 });
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(add_layer(b, "l1"));
	assert_ok(u_write(b, "d/q", "O", 0));
	assert_string_equal(u_text(b, "p"), "Other");
	assert_string_equal(u_text(b, "d/y"), "Pair");
	bed_close(b);
	/* The index goes on with the longer stack, and with no other. */
	assert_int_equal(bed_try_open(b, 1, 0, NULL, &(struct ply_why){ "" }), -ESTALE);
	ply_union_close(b->u);
	bed_open(b, 2, 0, NULL);
	assert_string_equal(u_text(b, "p"), "Other");
	assert_string_equal(u_text(b, "d/y"), "Pair");
	bed_close(b);
}

/* What is counted of them goes on with the longer stack as well. */
static void test_names_that_were_removed_stay_counted(void **state)
{
	struct bed *b = *state;
	struct statx attr;

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	put_file(b, "l1/z", "z");
	bed_open(b, 1, 0, &(struct ply_union_config){ .sync = 1 });
	assert_ok(u_unlink(b, "x"));
	assert_adds(b, 1);
	assert_ok(u_stat(b, "d/y", &attr));
	assert_int_equal(attr.stx_nlink, 1);
	bed_close(b);
}

/* A file whose data was in no layer, one whose data was in a data-only layer, and one that has nothing to do with it. */
static void test_data_is_found_where_it_is_now(void **state)
{
	struct bed *b = *state;
	const char *lowers[2];
	struct ply_union_config cfg = { .lowers = lowers, .nlowers = 2, .ndata = 1, .metacopy = 1 };
	struct ply_entry lost, stays, turns;
	struct ply_why why;

	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "lost", "stays", "turns" };
		char path[32], redirect[32];

		snprintf(path, sizeof(path), "l0/%s", names[i]);
		snprintf(redirect, sizeof(redirect), "/data/%s", names[i]);
		put_file(b, path, "");
		assert_int_equal(truncate(bed_path(b, "%s", path), 5), 0);
		put_xattr(b, path, METACOPY, "");
		put_xattr(b, path, REDIRECT, redirect);
	}
	put_file(b, "store/data/stays", "store");
	put_file(b, "store/data/turns", "store");
	put_file(b, "l1/data/lost", "found");
	put_file(b, "l1/data/turns", "layer");
	lowers[0] = strdup(bed_path(b, "l0"));
	lowers[1] = strdup(bed_path(b, "store"));
	b->fds = count_fds();
	b->cfg = cfg;
	assert_ok(ply_union_open(&cfg, &b->u, &why));
	lost = u_hold(b, "lost");
	stays = u_hold(b, "stays");
	turns = u_hold(b, "turns");
	assert_string_equal(node_text(b, lost.node), "EIO");
	assert_string_equal(node_text(b, turns.node), "store");
	assert_ok(add_layer(b, "l1"));
	assert_string_equal(node_text(b, lost.node), "found");
	assert_string_equal(node_text(b, stays.node), "store");
	assert_string_equal(node_text(b, turns.node), "layer");
	u_drop(b, &lost);
	u_drop(b, &stays);
	u_drop(b, &turns);
	bed_close(b);
	free((char *)lowers[0]);
	free((char *)lowers[1]);
}

/* The same of files that are up, and wait for their data to come. */
static void test_data_of_the_upper_is_found_where_it_is_now(void **state)
{
	struct bed *b = *state;
	struct ply_entry f;

	put_file(b, "l0/f", "below");
	bed_open(b, 1, 0, &(struct ply_union_config){ .metacopy = 1 });
	assert_ok(u_chmod(b, "f", 0600));
	bed_close(b);
	assert_int_equal(rename(bed_path(b, "l0"), bed_path(b, "l1")), 0);
	bed_open(b, 1, 0, NULL);
	f = u_hold(b, "f");
	assert_string_equal(node_text(b, f.node), "EIO");
	assert_ok(add_layer(b, "l1"));
	assert_string_equal(node_text(b, f.node), "below");
	assert_int_equal(ply_write(b->u, f.node, "B", 1, 0, 0), 1);
	u_drop(b, &f);
	assert_string_equal(u_text(b, "f"), "Below");
	bed_again(b);
	assert_string_equal(u_text(b, "f"), "Below");
	bed_close(b);
}

static void test_what_cannot_be_a_layer_is_refused(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_mkdir(b, "made"));
	assert_errno(add_layer(b, "nowhere"), -ENOENT);
	assert_errno(add_layer(b, "l0/a"), -ENOTDIR);
	assert_errno(add_layer(b, "l0"), -EEXIST);
	assert_errno(add_layer(b, "up"), -EINVAL);
	assert_errno(add_layer(b, "up/made"), -EINVAL);
	assert_errno(add_layer(b, "work"), -EINVAL);
	assert_errno(add_layer(b, "work/work"), -EINVAL);
	assert_ok(add_layer(b, "l1"));
	assert_errno(add_layer(b, "l1"), -EEXIST);
	bed_close(b);
}

/* Numbers of another file system are others, and those that were shown stay. */
static void test_numbers_of_files_stay(void **state)
{
	struct bed *b = *state;
	struct statx a, before, one, two;

	put_layers(b);
	put_file(b, "l1/x", "x");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_mkdir(b, "m"));
	struct ply_entry m = u_hold(b, "m"), d = u_hold(b, "d");
	put_file(b, "l1/m/y", "y");
	assert_ok(u_stat(b, "a", &before));
	assert_ok(add_layer(b, "l1"));
	assert_ok(u_stat(b, "a", &a));
	assert_int_equal(a.stx_ino, before.stx_ino);
	assert_ok(u_stat(b, "m", &a));
	assert_int_equal(a.stx_ino, m.attr.stx_ino);
	assert_int_equal(a.stx_nlink, 1);
	assert_ok(u_stat(b, "d", &a));
	assert_int_equal(a.stx_ino, d.attr.stx_ino);
	assert_ok(u_stat(b, "x", &one));
	assert_ok(u_stat(b, "m/y", &two));
	assert_true(one.stx_ino != two.stx_ino && one.stx_ino != a.stx_ino);
	u_drop(b, &m);
	u_drop(b, &d);
	bed_close(b);
}

struct seen {
	struct ply_union *u;
	char text[1024];
};

static void see(void *arg, uint64_t id, const char *name)
{
	struct seen *s = arg;

	snprintf(s->text + strlen(s->text), sizeof(s->text) - strlen(s->text), "%s%s ",
		 id == PLY_ROOT_ID ? "/" : "", name);
}

/* All that somebody may have been told of that is not so any more; nothing else. */
static void test_what_is_new_is_told(void **state)
{
	struct bed *b = *state;
	struct ply_addition *add;
	struct seen seen = { .text = "" };
	struct ply_why why;
	struct ply_entry d, a;

	put_layers(b);
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	a = u_hold(b, "a");
	assert_ok(ply_add_open(b->u, bed_path(b, "l1"), (dev_t)-1, &add, &why));
	assert_ok(ply_add(b->u, add, &why));
	assert_int_equal(ply_added(add).layer, 2);
	assert_int_equal(ply_added(add).dirs, 2);
	seen.u = b->u;
	ply_add_each_new(add, see, &seen);
	ply_add_free(add);
	assert_non_null(strstr(seen.text, "/new "));
	assert_non_null(strstr(seen.text, "/gone "));
	assert_null(strstr(seen.text, "/a "));
	assert_null(strstr(seen.text, "/d "));
	assert_non_null(strstr(seen.text, "two "));
	assert_non_null(strstr(seen.text, "sub "));
	assert_null(strstr(seen.text, "three "));
	u_drop(b, &d);
	u_drop(b, &a);
	bed_close(b);
}

/* Directories one in another, known only by the last of them. */
static void test_a_deep_tree(void **state)
{
	struct bed *b = *state;
	char path[600] = "l0", below[700];
	struct ply_entry last;

	for (int i = 0; i < 200; i++)
		strcat(path, "/d");
	put_dir(b, path);
	snprintf(below, sizeof(below), "l1%s/deep", path + 2);
	put_file(b, below, "deep");
	bed_open(b, 1, 0, NULL);
	last = u_hold(b, path + 3);
	assert_ok(add_layer(b, "l1"));
	assert_string_equal(u_ls(b, path + 3), "deep");
	u_drop(b, &last);
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_what_is_new_appears),
		bed_test(test_as_if_it_had_been_there),
		bed_test(test_without_an_upper),
		bed_test(test_what_the_upper_made_merges_or_hides),
		bed_test(test_marks_of_the_layer_that_was_the_last_count_now),
		bed_test(test_moved_directories_go_on_where_they_were),
		bed_test(test_a_moved_directory_can_be_moved_again_after_it),
		bed_test(test_what_is_unlinked_goes_on),
		bed_test(test_hard_links_are_one_file_afterwards),
		bed_test(test_names_that_were_removed_stay_counted),
		bed_test(test_data_is_found_where_it_is_now),
		bed_test(test_data_of_the_upper_is_found_where_it_is_now),
		bed_test(test_what_cannot_be_a_layer_is_refused),
		bed_test(test_numbers_of_files_stay),
		bed_test(test_what_is_new_is_told),
		bed_test(test_a_deep_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
