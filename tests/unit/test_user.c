/* A union of a user without privileges: what the user's own modes forbid, and marks in the user's name space. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "elsewhere.h"
#include "layer/layer.h"
#include "paths.h"

static void close_to_owner(struct bed *b, const char *path, mode_t mode)
{
	assert_int_equal(chmod(bed_path(b, "%s", path), mode), 0);
}

static void make_layers(struct bed *b)
{
	put_file(b, "l0/closed", "closed");
	close_to_owner(b, "l0/closed", 0400);
	put_file(b, "l0/readonly/f", "f");
	put_file(b, "l0/readonly/g", "g");
	close_to_owner(b, "l0/readonly", 0555);
	put_file(b, "l0/open/f", "open f");
	put_symlink(b, "l0/link", "target");
	put_node(b, "l0/fifo", S_IFIFO | 0644, 0);
}

/* put_remove needs the right to enter. */
static void let_in(struct bed *b)
{
	close_to_owner(b, "l0/readonly", 0755);
}

/* As the kernel does it: who may make what is asked of the union's modes, not of the upper's. */
static int make(struct bed *b, const char *path, mode_t mode)
{
	struct ply_make how = { .mode = mode,
				.cred = { .uid = geteuid(), .gid = getegid(), .umask = 022 } };
	struct ply_entry dir, made;
	char parent[256];
	const char *slash = strrchr(path, '/');
	int err;

	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	err = u_find(b, parent, &dir);
	if (err)
		return err;
	err = ply_create(b->u, dir.node, slash ? slash + 1 : path, &how, &made);
	if (!err)
		u_drop(b, &made);
	u_drop(b, &dir);
	return err;
}

static void test_a_user_can_do_everything_with_own_files(void **state)
{
	struct bed *b = *state;

	make_layers(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write(b, "closed", "C", 0));
	assert_string_equal(u_text(b, "closed"), "Closed");
	assert_ok(u_chmod(b, "open/f", 0));
	assert_ok(make(b, "new", S_IFREG | 0666));
	assert_ok(make(b, "open/dir", S_IFDIR | 0777));
	assert_ok(u_rename(b, "open/f", "open/dir/f", 0));
	assert_ok(u_link(b, "second", "new"));
	assert_ok(u_unlink(b, "link"));
	assert_ok(u_unlink(b, "fifo"));
	assert_ok(u_setxattr(b, "new", "user.x", "value"));
	assert_string_equal(u_ls(b, ""), "closed new open readonly second");
	assert_string_equal(u_ls(b, "open"), "dir");
	/* What was moved has its own number as soon as it is forgotten: a user cannot open by handle. */
	assert_ok(ply_settle(b->u, 0));
	assert_same_again(b, TREE_ALL & ~(unsigned)TREE_NLINK);
	assert_string_equal(u_ls(b, ""), "closed new open readonly second");
	bed_close(b);
	let_in(b);
}

static void test_the_first_change_below_a_read_only_directory_comes_up(void **state)
{
	struct bed *b = *state;
	struct stat st;

	make_layers(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write(b, "readonly/f", "F", 0));
	assert_string_equal(u_text(b, "readonly/f"), "F");
	assert_string_equal(u_ls(b, "readonly"), "f g");
	assert_int_equal(stat(bed_path(b, "up/readonly"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_ok(u_chmod(b, "readonly", 0755));
	assert_ok(u_unlink(b, "readonly/g"));
	assert_ok(make(b, "readonly/new", S_IFREG | 0644));
	assert_string_equal(u_ls(b, "readonly"), "f new");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
	let_in(b);
}

static void test_files_of_mode_0_are_still_read_and_written(void **state)
{
	struct bed *b = *state;
	struct ply_entry e;

	make_layers(b);
	bed_open(b, 1, 0, &(struct ply_union_config){ .max_fds = 1 });
	assert_ok(u_put(b, "closed", "new"));
	/* Opened when it could be, used after. */
	e = u_hold(b, "closed");
	assert_ok(u_chmod(b, "closed", 0));
	assert_string_equal(u_text(b, "open/f"), "open f"); /* takes the descriptor's place */
	assert_int_equal(ply_write(b->u, e.node, "N", 1, 0, 0), 1);
	assert_string_equal(node_text(b, e.node), "New");
	assert_ok(u_unlink(b, "closed"));
	assert_string_equal(node_text(b, e.node), "New");
	u_drop(b, &e);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
	let_in(b);
}

static void test_marks_are_written_in_the_users_space(void **state)
{
	struct bed *b = *state;
	struct stat st;

	make_layers(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_unlink(b, "open/f"));
	assert_ok(u_rmdir(b, "open"));
	assert_ok(make(b, "open", S_IFDIR | 0777));
	assert_string_equal(disk_xattr(b, "up/open", "user.overlay.opaque"), "y");
	assert_ok(u_unlink(b, "closed"));
	assert_int_equal(stat(bed_path(b, "up/closed"), &st), 0);
	if (!S_ISCHR(st.st_mode)) {
		assert_non_null(disk_xattr(b, "up/closed", "user.overlay.whiteout"));
		assert_string_equal(disk_xattr(b, "up", "user.overlay.opaque"), "x");
	}
	assert_string_equal(u_ls(b, "open"), "");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
	let_in(b);
}

/* To change the parent of a directory is to write to it. */
static void test_read_only_directories_are_made_and_removed(void **state)
{
	struct bed *b = *state;
	struct stat st;

	make_layers(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_chmod(b, "readonly", 0755));
	assert_ok(u_unlink(b, "readonly/f"));
	assert_ok(u_unlink(b, "readonly/g"));
	assert_ok(u_chmod(b, "readonly", 0555));
	assert_ok(u_rmdir(b, "readonly"));
	assert_string_equal(u_text(b, "readonly"), "ENOENT");
	assert_int_equal(bed_litter(b), 0);
	/* Over the whiteout, and built elsewhere first. */
	assert_ok(make(b, "readonly", S_IFDIR | 0555));
	assert_string_equal(u_ls(b, "readonly"), "");
	assert_int_equal(stat(bed_path(b, "up/readonly"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_same_again(b, TREE_ALL);
	assert_ok(u_rmdir(b, "readonly"));
	bed_close(b);
	let_in(b);
}

/* What a crash leaves behind may be closed to its owner. */
static void test_a_work_directory_with_closed_leftovers_is_emptied(void **state)
{
	struct bed *b = *state;

	put_file(b, "work/work/#a/b/c/f", "");
	put_file(b, "work/work/#a/b/g", "");
	put_file(b, "work/work/#x/y", "");
	close_to_owner(b, "work/work/#a/b/c", 0);
	close_to_owner(b, "work/work/#a/b", 0111);
	close_to_owner(b, "work/work/#a", 0);
	close_to_owner(b, "work/work/#x", 0444);
	bed_open(b, 1, 0, NULL);
	assert_int_equal(bed_litter(b), 0);
	bed_close(b);
}

/* So a layer can be made below a directory of others: of /home a user may list nothing. */
static void test_what_lies_below_is_known_without_a_right_to_list_what_is_above(void **state)
{
	struct bed *b = *state;
	struct statx top, other;
	int in;

	put_dir(b, "d/closed/in");
	put_dir(b, "d/else");
	in = open(bed_path(b, "d/closed/in"), O_PATH | O_DIRECTORY);
	assert_int_equal(sys_statx(AT_FDCWD, bed_path(b, "d"), STATX_INO, &top), 0);
	assert_int_equal(sys_statx(AT_FDCWD, bed_path(b, "d/else"), STATX_INO, &other), 0);
	close_to_owner(b, "d/closed", 0300);
	assert_int_equal(ply_layer_is_below(in, &top), 1);
	assert_int_equal(ply_layer_is_below(in, &other), 0);
	close_to_owner(b, "d/closed", 0700);
	close(in);
}

/* A store to a mapping takes none off, and comes back long after it. */
static void test_pages_that_are_written_back_leave_set_id_bits(void **state)
{
	struct bed *b = *state;
	struct statx attr;

	put_file(b, "l0/f", "lower f");
	close_to_owner(b, "l0/f", 06755);
	bed_open(b, 1, 0, NULL);
	for (int i = 0; i < 2; i++) {
		assert_ok(u_write_back(b, "f", "L", i));
		assert_ok(u_stat(b, "f", &attr));
		assert_int_equal(attr.stx_mode & 07777, 06755);
	}
	assert_string_equal(u_text(b, "f"), "LLwer f");
	bed_close(b);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_a_user_can_do_everything_with_own_files),
		bed_test(test_the_first_change_below_a_read_only_directory_comes_up),
		bed_test(test_files_of_mode_0_are_still_read_and_written),
		bed_test(test_marks_are_written_in_the_users_space),
		bed_test(test_pages_that_are_written_back_leave_set_id_bits),
		bed_test(test_read_only_directories_are_made_and_removed),
		bed_test(test_a_work_directory_with_closed_leftovers_is_emptied),
		bed_test(test_what_lies_below_is_known_without_a_right_to_list_what_is_above),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_as_user(group);
}
