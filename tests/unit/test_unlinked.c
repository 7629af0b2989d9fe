/* What has lost its name goes on for whoever still knows it, by a descriptor or by a name in the work directory. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "paths.h"

/* Everything that can be done with an open file. */
static void use_file(struct bed *b, struct ply_node *node, const char *text)
{
	struct ply_setattr set = { .valid = PLY_SET_MODE | PLY_SET_MTIME,
				   .mode = 0640,
				   .mtime.tv_sec = 99 };
	struct statx attr;
	char value[16];

	assert_string_equal(node_text(b, node), text);
	assert_int_equal(ply_write(b->u, node, "written", 7, 0, 0), 7);
	assert_int_equal(strncmp(node_text(b, node), "written", 7), 0);
	assert_ok(ply_setattr(b->u, node, &(struct ply_setattr){ .valid = PLY_SET_SIZE, .size = 3 },
			      &attr));
	assert_string_equal(node_text(b, node), "wri");
	assert_ok(ply_setattr(b->u, node, &set, &attr));
	assert_int_equal(attr.stx_mode & 07777, 0640);
	assert_int_equal(attr.stx_mtime.tv_sec, 99);
	assert_int_equal(attr.stx_nlink, 0);
	assert_ok(ply_setxattr(b->u, node, "user.x", "value", 5, 0));
	assert_int_equal(ply_getxattr(b->u, node, "user.x", value, sizeof(value)), 5);
	assert_int_equal(ply_listxattr(b->u, node, value, sizeof(value)), 7);
	assert_ok(ply_removexattr(b->u, node, "user.x"));
	assert_ok(ply_fallocate(b->u, node, 0, 0, 100, 0));
	assert_int_equal(ply_lseek(b->u, node, 0, SEEK_HOLE), 100);
	assert_ok(ply_fsync(b->u, node, PLY_SYNC_DATA));
	assert_ok(ply_getattr(b->u, node, &attr));
	assert_int_equal(attr.stx_size, 100);
}

static void put_three(struct bed *b)
{
	put_file(b, "l0/lower", "lower");
	put_file(b, "l0/over", "lower over");
	put_file(b, "up/over", "upper over");
	put_file(b, "up/upper", "upper");
}

static const char *const three[] = { "lower", "over", "upper" };
static const char *const texts[] = { "lower", "upper over", "upper" };

static void use_three(struct bed *b, unsigned max_fds)
{
	struct ply_union_config how = { .sync = 1, .max_fds = max_fds };
	struct ply_entry held[3];

	put_three(b);
	bed_open(b, 1, 0, &how);
	for (unsigned i = 0; i < 3; i++) {
		held[i] = u_hold(b, three[i]);
		assert_ok(u_unlink(b, three[i]));
		assert_string_equal(u_text(b, three[i]), "ENOENT");
	}
	for (unsigned i = 0; i < 3; i++)
		use_file(b, held[i].node, texts[i]);
	/* The names are free for others. */
	for (unsigned i = 0; i < 3; i++)
		assert_ok(u_put(b, three[i], "new"));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(strncmp(node_text(b, held[i].node), "wri", 3), 0);
		u_drop(b, &held[i]);
		assert_string_equal(u_text(b, three[i]), "new");
	}
	assert_int_equal(bed_litter(b), 0);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_an_unlinked_file_does_everything(void **state)
{
	use_three(*state, 0);
}

static void test_an_unlinked_file_does_everything_without_a_descriptor(void **state)
{
	use_three(*state, 1);
}

/* More of them than descriptors: the work directory keeps the rest, until they are forgotten. */
static void test_many_unlinked_files_cost_few_descriptors(void **state)
{
	enum { FILES = 300, BUDGET = 20 };
	struct bed *b = *state;
	struct ply_entry *held = calloc(FILES, sizeof(*held));
	struct ply_union_config how = { .max_fds = BUDGET };
	size_t fds;
	char name[32];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%s/f%u", i % 3 ? "up" : "l0", i);
		put_file(b, name, name);
	}
	bed_open(b, 1, 0, &how);
	fds = count_fds();
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		held[i] = u_hold(b, name);
		assert_ok(u_unlink(b, name));
	}
	assert_string_equal(u_ls(b, ""), "");
	assert_true(count_fds() <= fds + BUDGET);
	assert_true(bed_litter(b) > FILES / 2);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%s/f%u", i % 3 ? "up" : "l0", i);
		assert_string_equal(node_text(b, held[i].node), name);
		assert_int_equal(ply_write(b->u, held[i].node, "XX", 2, 0, 0), 2);
		assert_string_equal(node_text(b, held[i].node) + 2, name + 2);
	}
	/* Those of the layer have been copied meanwhile. */
	assert_true(count_fds() <= fds + BUDGET);
	for (unsigned i = 0; i < FILES; i++)
		u_drop(b, &held[i]);
	assert_int_equal(bed_litter(b), 0);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
	free(held);
}

/* The server goes while they are open: nothing of them is left. */
static void test_closing_removes_what_was_still_open(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .max_fds = 1 };

	put_three(b);
	bed_open(b, 1, 0, &how);
	for (unsigned i = 0; i < 3; i++) {
		u_hold(b, three[i]);
		assert_ok(u_unlink(b, three[i]));
	}
	bed_close(b);
	bed_open(b, 1, 0, &how);
	assert_string_equal(u_ls(b, ""), "");
	bed_close(b);
}

static void use_dir(struct bed *b, const char *path)
{
	struct ply_entry dir = u_hold(b, path), out;
	struct ply_make how = { .mode = S_IFREG | 0644 };
	struct statx attr;

	assert_ok(u_rmdir(b, path));
	assert_ok(ply_getattr(b->u, dir.node, &attr));
	assert_true(S_ISDIR(attr.stx_mode));
	assert_int_equal(attr.stx_nlink, 0);
	assert_errno(ply_create(b->u, dir.node, "f", &how, &out), -ENOENT);
	assert_errno(ply_tmpfile(b->u, dir.node, &how, &out), -ENOENT);
	assert_errno(ply_lookup(b->u, dir.node, "f", &out), -ENOENT);
	assert_errno(ply_unlink(b->u, dir.node, "f"), -ENOENT);
	/* Another one by the same name is another one. */
	assert_ok(u_mkdir(b, path));
	assert_string_equal(u_ls(b, path), "");
	assert_errno(ply_create(b->u, dir.node, "f", &how, &out), -ENOENT);
	assert_errno(ply_lookup(b->u, dir.node, "f", &out), -ENOENT);
	assert_string_equal(u_ls(b, path), "");
	u_drop(b, &dir);
}

static void use_dirs(struct bed *b, unsigned max_fds)
{
	struct ply_union_config how = { .max_fds = max_fds };

	put_dir(b, "l0/lower");
	put_file(b, "l0/hollow/x", "");
	put_whiteout(b, "up/hollow/x");
	put_dir(b, "up/upper");
	put_file(b, "up/file", "");
	bed_open(b, 1, 0, &how);
	use_dir(b, "lower");
	use_dir(b, "hollow");
	use_dir(b, "upper");
	assert_int_equal(bed_litter(b), 0);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

/* Whoever has it open can go on asking for it. */
static void replace_dirs(struct bed *b, unsigned max_fds)
{
	static const char *const targets[] = { "upper", "marks", "merged" };
	struct ply_union_config how = { .max_fds = max_fds };
	struct ply_entry dir;
	struct statx attr;

	put_dir(b, "up/upper");
	put_file(b, "l0/marks/x", "");
	put_whiteout(b, "up/marks/x");
	put_dir(b, "l0/merged");
	put_dir(b, "up/merged");
	bed_open(b, 1, 0, &how);
	for (size_t i = 0; i < 3; i++) {
		dir = u_hold(b, targets[i]);
		assert_ok(u_mkdir(b, "new"));
		assert_ok(u_rename(b, "new", targets[i], 0));
		assert_ok(ply_getattr(b->u, dir.node, &attr));
		assert_int_equal(attr.stx_nlink, 0);
		u_drop(b, &dir);
	}
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_a_replaced_directory_stays_known(void **state)
{
	replace_dirs(*state, 0);
	bed_teardown(state);
	bed_setup(state);
	replace_dirs(*state, 1);
}

static void test_a_removed_directory_stays_known_and_empty(void **state)
{
	use_dirs(*state, 0);
}

static void test_a_removed_directory_stays_known_without_a_descriptor(void **state)
{
	use_dirs(*state, 1);
}

static void test_full_directories_are_not_removed(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/lower/f", "");
	put_file(b, "l0/merged/f", "");
	put_dir(b, "up/merged");
	put_file(b, "up/upper/f", "");
	bed_open(b, 1, 0, NULL);
	assert_errno(u_rmdir(b, "lower"), -ENOTEMPTY);
	assert_errno(u_rmdir(b, "merged"), -ENOTEMPTY);
	assert_errno(u_rmdir(b, "upper"), -ENOTEMPTY);
	assert_errno(u_rmdir(b, "lower/f"), -ENOTDIR);
	assert_errno(u_unlink(b, "lower"), -EISDIR);
	assert_errno(u_rmdir(b, "none"), -ENOENT);
	assert_ok(u_unlink(b, "lower/f"));
	assert_ok(u_rmdir(b, "lower"));
	assert_ok(u_unlink(b, "merged/f"));
	assert_ok(u_rmdir(b, "merged"));
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_ls(b, ""), "upper");
	bed_close(b);
}

static void test_nameless_files_can_get_a_name_or_not(void **state)
{
	struct bed *b = *state;
	struct ply_make how = { .mode = S_IFREG | 0640, .cred = { .uid = 5, .gid = 6 } };
	struct ply_entry named, lost, out;

	put_file(b, "l0/d/gone", "");
	put_whiteout(b, "up/d/gone");
	bed_open(b, 1, 0, NULL);
	named = u_hold(b, "d");
	assert_ok(ply_tmpfile(b->u, named.node, &how, &lost));
	use_file(b, lost.node, "");
	u_drop(b, &lost);
	assert_ok(ply_tmpfile(b->u, named.node, &how, &lost));
	assert_int_equal(ply_write(b->u, lost.node, "tmp", 3, 0, 0), 3);
	assert_ok(ply_link(b->u, lost.node, named.node, "gone", &out));
	assert_ptr_equal(out.node, lost.node);
	assert_int_equal(out.attr.stx_nlink, 1);
	assert_int_equal(out.attr.stx_uid, 5);
	u_drop(b, &out);
	assert_string_equal(u_text(b, "d/gone"), "tmp");
	assert_ok(ply_link(b->u, lost.node, named.node, "second", &out));
	u_drop(b, &out);
	u_drop(b, &lost);
	u_drop(b, &named);
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_text(b, "d/second"), "tmp");
	bed_close(b);
}

/* A copy-up of what is gone has nowhere to go but the node. */
static void test_special_files_unlinked_below_can_be_changed(void **state)
{
	struct bed *b = *state;
	struct ply_entry fifo, link;
	struct statx attr;
	char buf[16];

	put_node(b, "l0/fifo", S_IFIFO | 0644, 0);
	put_symlink(b, "l0/link", "target");
	bed_open(b, 1, 0, NULL);
	fifo = u_hold(b, "fifo");
	link = u_hold(b, "link");
	assert_ok(u_unlink(b, "fifo"));
	assert_ok(u_unlink(b, "link"));
	assert_ok(ply_setattr(b->u, fifo.node,
			      &(struct ply_setattr){ .valid = PLY_SET_MODE, .mode = 0600 }, &attr));
	assert_int_equal(attr.stx_mode, S_IFIFO | 0600);
	assert_ok(ply_setattr(b->u, link.node,
			      &(struct ply_setattr){ .valid = PLY_SET_UID, .uid = 3 }, &attr));
	assert_int_equal(attr.stx_uid, 3);
	assert_int_equal(ply_readlink(b->u, link.node, buf, sizeof(buf)), 6);
	u_drop(b, &fifo);
	u_drop(b, &link);
	assert_string_equal(u_ls(b, ""), "");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

/* Without an index the upper loses the file's only name there, by a removal or another file; it goes on by one below. */
static void test_a_name_that_only_a_lower_layer_has_can_move(void **state)
{
	const struct ply_union_config how = { .no_index = 1, .sync = PLY_SYNC };
	struct bed *b = *state;

	for (int by_rename = 0; by_rename <= 1; by_rename++) {
		struct ply_entry f;
		struct statx attr;

		put_remove(b, "up");
		put_file(b, "l0/f", "old");
		put_link(b, "l0/g", "l0/f");
		bed_open(b, 1, 0, &how);
		f = u_hold(b, "f");
		assert_ok(u_write(b, "f", "new", 0));
		assert_ok(u_create(b, "x"));
		assert_ok(by_rename ? u_rename(b, "x", "f", 0) : u_unlink(b, "f"));
		assert_string_equal(u_text(b, "g"), "new");
		assert_ok(u_stat(b, "g", &attr));
		assert_int_equal(attr.stx_nlink, 1);
		assert_ok(u_link(b, "i", "g"));
		assert_ok(u_rename(b, "g", "h", 0));
		assert_ok(u_stat(b, "h", &attr));
		assert_int_equal(attr.stx_nlink, 2);
		u_drop(b, &f);
		assert_string_equal(u_text(b, "h"), "new");
		bed_close(b);
		assert_false(disk_is_marked(b, "up/h"));
		bed_open(b, 1, 0, &how);
		assert_string_equal(u_text(b, "h"), "new");
		assert_string_equal(u_text(b, "i"), "new");
		assert_string_equal(u_text(b, "g"), "ENOENT");
		bed_close(b);
	}
}

/* Nor is it in the way of a snapshot, which gives the upper all names. */
static void test_a_name_that_only_a_lower_layer_has_can_come_up(void **state)
{
	const struct ply_union_config how = { .no_index = 1, .sync = PLY_SYNC };
	struct bed *b = *state;
	struct ply_entry f, g;
	struct ply_why why;

	put_file(b, "l0/f", "old");
	put_link(b, "l0/g", "l0/f");
	bed_open(b, 1, 0, &how);
	f = u_hold(b, "f");
	g = u_hold(b, "g");
	assert_ok(u_write(b, "f", "new", 0));
	assert_ok(u_unlink(b, "f"));
	assert_string_equal(u_text(b, "g"), "new");
	assert_ok(ply_rotate_prepare(b->u, PLY_ROTATE_AS_IS));
	assert_ok(ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_AS_IS, &why));
	assert_string_equal(disk_text(b, "snap/g"), "new");
	assert_ok(u_write(b, "g", "N", 0));
	assert_string_equal(u_text(b, "g"), "New");
	assert_string_equal(node_text(b, f.node), "New");
	assert_string_equal(disk_text(b, "snap/g"), "new");
	u_drop(b, &f);
	u_drop(b, &g);
	bed_close(b);
	assert_string_equal(disk_text(b, "up/g"), "New");
}

/* The layer that the upper became has a whiteout where the removed name was. */
static void test_a_removed_name_does_not_lead_into_the_layer(void **state)
{
	const struct ply_union_config how = { .sync = PLY_SYNC };
	struct bed *b = *state;
	struct ply_entry f;
	struct ply_why why;

	put_file(b, "l0/f", "old");
	put_link(b, "l0/g", "l0/f");
	bed_open(b, 1, 0, &how);
	f = u_hold(b, "f");
	assert_ok(u_unlink(b, "f"));
	assert_string_equal(u_text(b, "g"), "old");
	assert_ok(u_write(b, "g", "new", 0));
	assert_ok(ply_settle(b->u, 0));
	assert_ok(ply_rotate_prepare(b->u, PLY_ROTATE_AS_IS));
	assert_ok(ply_rotate(b->u, bed_path(b, "snap"), PLY_ROTATE_AS_IS, &why));
	assert_ok(u_unlink(b, "g"));
	assert_string_equal(node_text(b, f.node), "new");
	assert_int_equal(ply_write(b->u, f.node, "N", 1, 0, 0), 1);
	assert_string_equal(node_text(b, f.node), "New");
	u_drop(b, &f);
	bed_close(b);
	assert_string_equal(disk_text(b, "snap/g"), "new");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_an_unlinked_file_does_everything),
		bed_test(test_an_unlinked_file_does_everything_without_a_descriptor),
		bed_test(test_many_unlinked_files_cost_few_descriptors),
		bed_test(test_closing_removes_what_was_still_open),
		bed_test(test_a_replaced_directory_stays_known),
		bed_test(test_a_removed_directory_stays_known_and_empty),
		bed_test(test_a_removed_directory_stays_known_without_a_descriptor),
		bed_test(test_full_directories_are_not_removed),
		bed_test(test_nameless_files_can_get_a_name_or_not),
		bed_test(test_special_files_unlinked_below_can_be_changed),
		bed_test(test_a_name_that_only_a_lower_layer_has_can_move),
		bed_test(test_a_name_that_only_a_lower_layer_has_can_come_up),
		bed_test(test_a_removed_name_does_not_lead_into_the_layer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
