/* The upper becomes a layer while the union is open: the same tree, the same nodes, the same open files. */
#include <errno.h>
#include <sys/stat.h>

#include "paths.h"

static int rotate_how(struct bed *b, const char *layer, enum ply_rotate_how how)
{
	struct ply_why why;
	int err = ply_rotate_prepare(b->u, how);

	if (!err)
		err = ply_rotate(b->u, bed_path(b, "%s", layer), how, &why);
	if (err)
		print_message("rotate: %s\n", why.text);
	return err;
}

static int rotate(struct bed *b, const char *layer)
{
	return rotate_how(b, layer, PLY_ROTATE_AS_IS);
}

/* Rotates, and finds the same tree as before, in this union and in one opened on the new stack. */
static void assert_rotates(struct bed *b, unsigned nlowers)
{
	char *before = tree_of_union(b, TREE_MTIME | TREE_NLINK), *after;
	const char *lowers[16];
	struct ply_union_config cfg = b->cfg;
	struct ply_why why;

	assert_ok(rotate(b, "snap"));
	after = tree_of_union(b, TREE_MTIME | TREE_NLINK);
	assert_same_tree(before, after);
	free(after);
	ply_union_close(b->u);
	b->u = NULL;
	lowers[0] = strdup(bed_path(b, "snap"));
	for (unsigned i = 0; i < nlowers; i++)
		lowers[i + 1] = strdup(bed_path(b, "l%u", i));
	cfg.lowers = lowers;
	cfg.nlowers = nlowers + 1;
	cfg.upper = strdup(bed_path(b, "up"));
	cfg.work = strdup(bed_path(b, "work"));
	assert_ok(ply_union_open(&cfg, &b->u, &why));
	after = tree_of_union(b, TREE_MTIME | TREE_NLINK);
	assert_same_tree(before, after);
	free(after);
	free(before);
	for (unsigned i = 0; i <= nlowers; i++)
		free((char *)lowers[i]);
	free((char *)cfg.upper);
	free((char *)cfg.work);
	bed_close(b);
}

static void put_layers(struct bed *b)
{
	put_file(b, "l0/a", "lower a");
	put_file(b, "l0/gone", "lower gone");
	put_file(b, "l0/d/one", "one");
	put_file(b, "l0/d/two", "two");
	put_file(b, "l1/d/three", "three");
	put_file(b, "l1/e/deep/four", "four");
	put_file(b, "l1/o/old", "old");
}

static void test_the_tree_is_the_same(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	bed_open(b, 2, 0, NULL);
	assert_ok(u_write(b, "a", "UPPER", 0));
	assert_ok(u_unlink(b, "gone"));
	assert_ok(u_chmod(b, "d/one", 0600));
	assert_ok(u_unlink(b, "d/two"));
	assert_ok(u_mkdir(b, "new"));
	assert_ok(u_put(b, "new/f", "new"));
	assert_ok(u_link(b, "new/g", "new/f"));
	assert_ok(u_symlink(b, "new/s", "f"));
	assert_ok(u_unlink(b, "o/old"));
	assert_ok(u_rmdir(b, "o"));
	assert_ok(u_mkdir(b, "o"));
	assert_rotates(b, 2);
}

static void test_removed_names_of_a_lower_file_stay_counted(void **state)
{
	struct bed *b = *state;
	struct statx attr;

	put_file(b, "l0/a", "linked");
	put_link(b, "l0/d/b", "l0/a");
	put_link(b, "l0/d/c", "l0/a");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "d/c"));
	assert_ok(u_stat(b, "a", &attr));
	assert_int_equal(attr.stx_nlink, 2);
	assert_rotates(b, 1);
}

static void test_the_upper_is_fresh_and_the_layer_is_not_written(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	bed_open(b, 2, 0, NULL);
	assert_ok(u_write(b, "a", "UPPER", 0));
	assert_ok(rotate(b, "snap"));
	assert_false(on_disk(b, "up/a"));
	assert_string_equal(disk_text(b, "snap/a"), "UPPER a");
	assert_ok(u_write(b, "a", "AGAIN", 0));
	assert_ok(u_put(b, "d/more", "more"));
	assert_ok(u_unlink(b, "d/three"));
	assert_string_equal(disk_text(b, "snap/a"), "UPPER a");
	assert_string_equal(disk_text(b, "up/a"), "AGAIN a");
	assert_false(on_disk(b, "snap/d"));
	assert_string_equal(u_ls(b, "d"), "more one two");
	bed_close(b);
}

static void test_nodes_go_on(void **state)
{
	struct bed *b = *state;
	struct ply_entry file, dir, gone, meta, below, made;
	struct statx attr;

	put_layers(b);
	bed_open(b, 2, 0, NULL);
	assert_ok(u_write(b, "a", "UPPER", 0));
	assert_ok(u_put(b, "new", "new"));
	assert_ok(u_chmod(b, "d/one", 0600));
	file = u_hold(b, "a");
	made = u_hold(b, "new");
	dir = u_hold(b, "d");
	gone = u_hold(b, "gone");
	meta = u_hold(b, "d/one");
	below = u_hold(b, "e/deep/four");
	assert_ok(u_put(b, "left", "left"));
	struct ply_entry left = u_hold(b, "left");
	assert_ok(u_unlink(b, "left"));
	assert_ok(u_unlink(b, "gone"));
	assert_ok(rotate(b, "snap"));
	assert_string_equal(node_text(b, file.node), "UPPER a");
	assert_string_equal(node_text(b, made.node), "new");
	assert_string_equal(node_text(b, gone.node), "lower gone");
	assert_string_equal(node_text(b, meta.node), "one");
	assert_string_equal(node_text(b, below.node), "four");
	assert_string_equal(node_text(b, left.node), "left");
	assert_int_equal(ply_write(b->u, left.node, "LE", 2, 0, 0), 2);
	assert_string_equal(node_text(b, left.node), "LEft");
	assert_ok(ply_getattr(b->u, file.node, &attr));
	assert_int_equal(attr.stx_ino, file.attr.stx_ino);
	assert_ok(ply_getattr(b->u, dir.node, &attr));
	assert_int_equal(attr.stx_ino, dir.attr.stx_ino);
	assert_int_equal(ply_write(b->u, gone.node, "GO", 2, 0, 0), 2);
	assert_string_equal(node_text(b, gone.node), "GOwer gone");
	assert_int_equal(ply_write(b->u, below.node, "FO", 2, 0, 0), 2);
	assert_string_equal(u_text(b, "e/deep/four"), "FOur");
	assert_int_equal(ply_write(b->u, file.node, "x", 1, 0, 0), 1);
	assert_string_equal(u_text(b, "a"), "xPPER a");
	u_drop(b, &file);
	u_drop(b, &made);
	u_drop(b, &dir);
	u_drop(b, &gone);
	u_drop(b, &meta);
	u_drop(b, &below);
	u_drop(b, &left);
	assert_string_equal(u_text(b, "a"), "xPPER a");
	bed_close(b);
}

static void test_moved_directories_are_where_they_were(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };

	put_layers(b);
	bed_open(b, 2, 0, &how);
	assert_ok(u_rename(b, "d", "moved", 0));
	assert_ok(u_rename(b, "e/deep", "moved/deep", 0));
	assert_rotates(b, 2);
}

static void test_a_moved_directory_can_be_moved_again_after_it(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };
	char *before, *after;

	put_layers(b);
	bed_open(b, 2, 0, &how);
	assert_ok(u_rename(b, "d", "moved", 0));
	assert_ok(rotate(b, "snap"));
	assert_ok(u_rename(b, "moved", "again", 0));
	assert_string_equal(u_ls(b, "again"), "one three two");
	assert_string_equal(u_text(b, "again/three"), "three");
	assert_ok(u_write(b, "again/three", "T", 0));
	before = tree_of_union(b, TREE_MTIME);
	assert_ok(rotate(b, "snap2"));
	after = tree_of_union(b, TREE_MTIME);
	assert_same_tree(before, after);
	free(before);
	free(after);
	bed_close(b);
}

static void test_a_layer_that_stands_alone_has_what_was_moved(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };
	struct ply_entry moved;
	struct ply_why why;
	char *before, *after;

	put_layers(b);
	bed_open(b, 2, 0, &how);
	assert_ok(u_rename(b, "d", "moved", 0));
	moved = u_hold(b, "moved");
	assert_int_equal(ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_ALONE, &why), -EAGAIN);
	u_drop(b, &moved);
	assert_false(on_disk(b, "snap"));
	before = tree_of_union(b, TREE_MTIME);
	assert_ok(rotate_how(b, "snap", PLY_ROTATE_ALONE));
	after = tree_of_union(b, TREE_MTIME);
	assert_same_tree(before, after);
	free(before);
	free(after);
	assert_string_equal(disk_text(b, "snap/moved/three"), "three");
	assert_string_equal(disk_xattr(b, "snap/moved", "trusted.overlay.opaque"), "y");
	bed_close(b);
}

/* A directory that has nothing below is on the way to one that has. */
static void test_what_was_moved_into_a_new_directory_is_found(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };

	put_layers(b);
	put_file(b, "l0/x", "pair");
	put_link(b, "l0/e/y", "l0/x");
	bed_open(b, 2, 0, &how);
	assert_ok(u_rename(b, "d", "moved", 0));
	assert_ok(u_mkdir(b, "moved/new"));
	assert_ok(u_rename(b, "e", "moved/new/e", 0));
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(rotate(b, "snap"));
	assert_string_equal(disk_text(b, "snap/moved/new/e/y"), "Pair");
	assert_ok(u_rename(b, "moved", "again", 0));
	assert_ok(u_mkdir(b, "again/newer"));
	assert_ok(u_rename(b, "again/new/e", "again/newer/e", 0));
	assert_ok(rotate_how(b, "snap2", PLY_ROTATE_ALONE));
	assert_string_equal(disk_text(b, "snap2/again/newer/e/y"), "Pair");
	assert_string_equal(disk_text(b, "snap2/again/newer/e/deep/four"), "four");
	bed_close(b);
}

static void test_a_layer_that_stands_alone_waits_for_data(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .metacopy = 1, .sync = 1 };
	struct ply_entry meta;
	struct ply_why why;
	uint64_t left;

	put_layers(b);
	bed_open(b, 2, 0, &how);
	assert_ok(u_chmod(b, "a", 0640));
	meta = u_hold(b, "a");
	assert_int_equal(ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_ALONE, &why), -EAGAIN);
	assert_ok(ply_flush(b->u, 1, PLY_FLUSH_ALL_DATA, &left));
	assert_int_equal(left, 0);
	assert_ok(ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_ALONE, &why));
	assert_string_equal(disk_text(b, "snap/a"), "lower a");
	assert_null(disk_xattr(b, "snap/a", "trusted.overlay.metacopy"));
	u_drop(b, &meta);
	bed_close(b);
}

static void test_hard_links_stay_one_file(void **state)
{
	struct bed *b = *state;
	struct statx attr;

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	put_link(b, "l0/e/z", "l0/x");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(rotate(b, "snap"));
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_string_equal(disk_text(b, "snap/e/z"), "Pair");
	assert_ok(u_stat(b, "x", &attr));
	assert_int_equal(attr.stx_nlink, 3);
	assert_ok(u_write(b, "d/y", "Q", 0));
	assert_string_equal(u_text(b, "x"), "Qair");
	assert_string_equal(u_text(b, "e/z"), "Qair");
	assert_string_equal(disk_text(b, "snap/x"), "Pair");
	bed_close(b);
}

/* Of a file that somebody has open only a name has been looked up, and that one is gone. */
static void test_a_file_whose_only_name_is_unseen_goes_on(void **state)
{
	static const char *const names[] = { "a", "x" };
	struct bed *b = *state;
	struct ply_entry open[2];

	put_file(b, "up/a", "upper");
	put_link(b, "up/d/b", "up/a");
	put_file(b, "l0/x", "lower");
	put_link(b, "l0/d/y", "l0/x");
	bed_open(b, 1, 0, NULL);
	for (int i = 0; i < 2; i++) {
		open[i] = u_hold(b, names[i]);
		assert_ok(u_unlink(b, names[i]));
		assert_int_equal(ply_write(b->u, open[i].node, "1", 1, 0, 0), 1);
	}
	assert_ok(rotate(b, "snap"));
	for (int i = 0; i < 2; i++)
		assert_int_equal(ply_write(b->u, open[i].node, "2", 1, 1, 0), 1);
	assert_string_equal(node_text(b, open[0].node), "12per");
	assert_string_equal(u_text(b, "d/b"), "12per");
	assert_string_equal(u_text(b, "d/y"), "12wer");
	for (int i = 0; i < 2; i++)
		u_drop(b, &open[i]);
	assert_string_equal(u_text(b, "d/b"), "12per");
	assert_string_equal(u_text(b, "d/y"), "12wer");
	assert_string_equal(disk_text(b, "snap/d/b"), "1pper");
	assert_string_equal(disk_text(b, "snap/d/y"), "1ower");
	bed_close(b);
}

/* What has no name that shows is kept for who has it open, and is in no layer. */
static void test_a_file_whose_only_name_is_hidden_goes_on(void **state)
{
	struct bed *b = *state;
	struct ply_entry x;

	put_file(b, "l0/x", "pair");
	put_link(b, "l1/d/y", "l0/x");
	put_file(b, "l0/d", "");
	bed_open(b, 2, 0, NULL);
	x = u_hold(b, "x");
	assert_int_equal(ply_write(b->u, x.node, "P", 1, 0, 0), 1);
	assert_ok(u_unlink(b, "x"));
	assert_ok(rotate(b, "snap"));
	assert_string_equal(node_text(b, x.node), "Pair");
	assert_int_equal(ply_write(b->u, x.node, "R", 1, 3, 0), 1);
	assert_string_equal(node_text(b, x.node), "PaiR");
	u_drop(b, &x);
	assert_string_equal(u_ls(b, ""), "d");
	bed_close(b);
}

static void test_a_name_that_is_left_below_leads_to_the_file_that_is_up(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(u_unlink(b, "x"));
	assert_ok(rotate(b, "snap"));
	assert_string_equal(u_text(b, "d/y"), "Pair");
	assert_string_equal(disk_text(b, "snap/d/y"), "Pair");
	bed_close(b);
}

/* It has blocks for its attributes: only the mark of the directory tells that its data is below. */
static void test_a_metadata_only_name_that_comes_up_has_its_data(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .metacopy = 1, .sync = 1 };

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	bed_open(b, 1, 0, &how);
	assert_ok(u_chmod(b, "x", 0600));
	assert_ok(rotate(b, "snap"));
	assert_string_equal(u_text(b, "d/y"), "pair");
	bed_close(b);
}

/* The directory ends the way from name to name, not that of a file that says where its data is. */
static void test_data_below_an_opaque_directory_is_found_by_a_path(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON,
					      .metacopy = 1,
					      .sync = 1 };

	put_file(b, "l0/d/f", "text");
	put_file(b, "l0/o", "");
	bed_open(b, 1, 0, &how);
	assert_ok(u_chmod(b, "d/f", 0600));
	assert_ok(u_unlink(b, "o"));
	assert_ok(u_mkdir(b, "o"));
	assert_ok(u_rename(b, "d/f", "o/f", 0));
	assert_ok(rotate(b, "snap"));
	assert_ok(u_chmod(b, "o/f", 0640));
	assert_ok(u_rename(b, "o/f", "o/g", 0));
	assert_string_equal(u_text(b, "o/g"), "text");
	bed_close(b);
}

static void test_links_that_nobody_sees_are_not_waited_for(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "d/y"));
	assert_ok(u_write(b, "x", "P", 0));
	assert_ok(rotate(b, "snap"));
	assert_string_equal(u_text(b, "x"), "Pair");
	bed_close(b);
}

static void test_metadata_only_files_are_settled_or_stay_so(void **state)
{
	struct bed *b = *state;
	const struct ply_union_config how = { .metacopy = 1, .sync = 1 };

	put_layers(b);
	bed_open(b, 2, 0, &how);
	assert_ok(u_chmod(b, "a", 0640));
	assert_ok(u_chmod(b, "d/three", 0640));
	assert_ok(u_rename(b, "d/three", "d/drei", 0));
	assert_rotates(b, 2);
}

static void test_many_rotations(void **state)
{
	struct bed *b = *state;
	char name[16], layer[16];

	put_layers(b);
	bed_open(b, 2, 0, NULL);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d/f%d", i);
		snprintf(layer, sizeof(layer), "snap%d", i);
		assert_ok(u_put(b, name, name));
		assert_ok(u_write(b, "a", name, 0));
		if (i > 2)
			assert_ok(u_unlink(b, i % 2 ? "d/f0" : "d/f1"));
		assert_ok(rotate(b, layer));
		assert_string_equal(u_text(b, name), name);
		if (i > 2)
			assert_ok(u_put(b, i % 2 ? "d/f0" : "d/f1", "back"));
	}
	assert_string_equal(u_text(b, "d/three"), "three");
	bed_close(b);
}

static void test_what_cannot_be_a_layer_is_refused_and_nothing_changes(void **state)
{
	struct bed *b = *state;
	struct ply_why why;

	put_layers(b);
	put_file(b, "full/f", "f");
	put_dir(b, "empty");
	put_dir(b, "l2");
	bed_open(b, 3, 0, NULL);
	assert_ok(u_write(b, "a", "UPPER", 0));
	assert_int_equal(ply_rotate(b->u, bed_path(b, "full"), PLY_ROTATE_AS_IS, &why), -EEXIST);
	assert_int_equal(ply_rotate(b->u, bed_path(b, "l2"), PLY_ROTATE_AS_IS, &why), -EBUSY);
	assert_true(on_disk(b, "l2"));
	assert_int_equal(ply_rotate(b->u, bed_path(b, "no/such"), PLY_ROTATE_AS_IS, &why), -ENOENT);
	assert_int_equal(ply_rotate(b->u, "relative", PLY_ROTATE_AS_IS, &why), -EINVAL);
	assert_int_equal(ply_rotate(b->u, bed_path(b, "up/inside"), PLY_ROTATE_AS_IS, &why),
			 -EINVAL);
	assert_int_equal(ply_rotate(b->u, bed_path(b, "work/inside"), PLY_ROTATE_AS_IS, &why),
			 -EINVAL);
	assert_false(on_disk(b, "up/inside"));
	assert_string_equal(disk_text(b, "full/f"), "f");
	assert_string_equal(disk_text(b, "up/a"), "UPPER a");
	assert_string_equal(u_text(b, "a"), "UPPER a");
	assert_ok(rotate(b, "empty"));
	assert_string_equal(disk_text(b, "empty/a"), "UPPER a");
	bed_close(b);
}

static void test_a_readonly_union_has_nothing_to_rotate(void **state)
{
	struct bed *b = *state;
	struct ply_why why;

	put_layers(b);
	bed_open(b, 2, BED_READONLY, NULL);
	assert_int_equal(ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_AS_IS, &why), -EROFS);
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_the_tree_is_the_same),
		bed_test(test_removed_names_of_a_lower_file_stay_counted),
		bed_test(test_the_upper_is_fresh_and_the_layer_is_not_written),
		bed_test(test_nodes_go_on),
		bed_test(test_moved_directories_are_where_they_were),
		bed_test(test_a_moved_directory_can_be_moved_again_after_it),
		bed_test(test_a_layer_that_stands_alone_has_what_was_moved),
		bed_test(test_what_was_moved_into_a_new_directory_is_found),
		bed_test(test_a_layer_that_stands_alone_waits_for_data),
		bed_test(test_hard_links_stay_one_file),
		bed_test(test_a_file_whose_only_name_is_unseen_goes_on),
		bed_test(test_a_file_whose_only_name_is_hidden_goes_on),
		bed_test(test_a_name_that_is_left_below_leads_to_the_file_that_is_up),
		bed_test(test_a_metadata_only_name_that_comes_up_has_its_data),
		bed_test(test_data_below_an_opaque_directory_is_found_by_a_path),
		bed_test(test_links_that_nobody_sees_are_not_waited_for),
		bed_test(test_metadata_only_files_are_settled_or_stay_so),
		bed_test(test_many_rotations),
		bed_test(test_what_cannot_be_a_layer_is_refused_and_nothing_changes),
		bed_test(test_a_readonly_union_has_nothing_to_rotate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
