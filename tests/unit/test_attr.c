/* Attributes and extended attributes as a user of the union sees them. */
#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "inject.h"
#include "paths.h"

static void test_marks_are_kept_from_users_and_theirs_from_being_marks(void **state)
{
	static const char *const names[] = { "trusted.overlay.opaque", "user.overlay.opaque",
					     "trusted.overlay.overlay.x" };
	static const char *const disk[] = { "trusted.overlay.overlay.opaque",
					    "user.overlay.overlay.opaque",
					    "trusted.overlay.overlay.overlay.x" };
	struct bed *b = *state;
	struct ply_entry d;
	char value[16], list[256];

	put_file(b, "l0/d/f", "f");
	put_dir(b, "up/d");
	put_xattr(b, "up/d", "trusted.overlay.impure", "y");
	put_xattr(b, "up/d", "user.fuseoverlayfs.origin", "x");
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	assert_int_equal(ply_listxattr(b->u, d.node, list, sizeof(list)), 0);
	assert_int_equal(ply_getxattr(b->u, d.node, "trusted.overlay.impure", value, 16), -ENODATA);
	assert_int_equal(ply_getxattr(b->u, d.node, "user.fuseoverlayfs.origin", value, 16),
			 -ENODATA);
	assert_int_equal(ply_removexattr(b->u, d.node, "trusted.overlay.impure"), -ENODATA);
	assert_int_equal(ply_removexattr(b->u, d.node, "user.fuseoverlayfs.origin"), -ENODATA);
	assert_int_equal(ply_setxattr(b->u, d.node, "user.fuseoverlayfs.opaque", "y", 1, 0),
			 -EPERM);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ply_setxattr(b->u, d.node, names[i], "y", 1, 0), 0);
		assert_string_equal(disk_xattr(b, "up/d", disk[i]), "y");
		assert_int_equal(ply_getxattr(b->u, d.node, names[i], value, 16), 1);
	}
	assert_int_equal(ply_listxattr(b->u, d.node, list, sizeof(list)),
			 strlen(names[0]) + strlen(names[1]) + strlen(names[2]) + 3);
	u_drop(b, &d);
	/* It hides nothing. */
	assert_string_equal(u_ls(b, "d"), "f");
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_ls(b, "d"), "f");
	bed_close(b);
}

static void test_sizes_and_flags_are_those_of_the_system_calls(void **state)
{
	struct bed *b = *state;
	struct ply_entry f;
	char value[16], list[64], big[3000];

	put_file(b, "l0/f", "f");
	put_xattr(b, "l0/f", "user.a", "12345");
	put_xattr(b, "l0/f", "user.empty", "");
	bed_open(b, 1, 0, NULL);
	f = u_hold(b, "f");
	assert_int_equal(ply_getxattr(b->u, f.node, "user.a", NULL, 0), 5);
	assert_int_equal(ply_getxattr(b->u, f.node, "user.a", value, 4), -ERANGE);
	assert_int_equal(ply_getxattr(b->u, f.node, "user.a", value, 5), 5);
	assert_int_equal(ply_getxattr(b->u, f.node, "user.empty", value, 5), 0);
	assert_int_equal(ply_listxattr(b->u, f.node, NULL, 0), 7 + 11);
	assert_int_equal(ply_listxattr(b->u, f.node, list, 17), -ERANGE);
	assert_int_equal(ply_listxattr(b->u, f.node, list, 18), 18);
	assert_int_equal(ply_setxattr(b->u, f.node, "user.a", "x", 1, XATTR_CREATE), -EEXIST);
	assert_int_equal(ply_setxattr(b->u, f.node, "user.b", "x", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(ply_setxattr(b->u, f.node, "user.b", "x", 1, XATTR_CREATE), 0);
	assert_int_equal(ply_setxattr(b->u, f.node, "user.b", "yy", 2, XATTR_REPLACE), 0);
	assert_int_equal(ply_getxattr(b->u, f.node, "user.b", value, 16), 2);
	memset(big, 'x', sizeof(big));
	assert_int_equal(ply_setxattr(b->u, f.node, "user.big", big, sizeof(big), 0), 0);
	assert_int_equal(ply_getxattr(b->u, f.node, "user.big", big, sizeof(big)), sizeof(big));
	assert_int_equal(ply_setxattr(b->u, f.node, "none.such", "x", 1, 0), -EOPNOTSUPP);
	u_drop(b, &f);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_long_lists_are_whole(void **state)
{
	struct bed *b = *state;
	struct ply_entry f;
	char name[100], list[4096];
	size_t sum = 0;

	put_file(b, "l0/f", "f");
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "user.%050u", i);
		put_xattr(b, "l0/f", name, "");
		sum += strlen(name) + 1;
	}
	bed_open(b, 1, 0, NULL);
	f = u_hold(b, "f");
	assert_int_equal(ply_listxattr(b->u, f.node, NULL, 0), sum);
	assert_int_equal(ply_listxattr(b->u, f.node, list, sizeof(list)), sum);
	assert_int_equal(ply_listxattr(b->u, f.node, list, sum - 1), -ERANGE);
	/* And come along when it is brought up. */
	assert_int_equal(ply_write(b->u, f.node, "F", 1, 0, 0), 1);
	assert_int_equal(ply_listxattr(b->u, f.node, list, sizeof(list)), sum);
	u_drop(b, &f);
	bed_close(b);
}

static struct statx stat_of(struct bed *b, const char *path)
{
	struct statx attr = { 0 };

	assert_ok(u_stat(b, path, &attr));
	return attr;
}

static int same_time(struct statx_timestamp a, struct statx_timestamp b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void test_a_directorys_time_changes_with_its_names_only(void **state)
{
	struct bed *b = *state;
	struct ply_setattr past = { .valid = PLY_SET_MTIME,
				    .mtime = { .tv_sec = 1000, .tv_nsec = 5 } };
	struct statx attr;

	put_file(b, "l0/d/f", "f");
	put_file(b, "l0/d/g", "g");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_set(b, "d", &past));
	attr = stat_of(b, "d");
	assert_ok(u_write(b, "d/f", "F", 0));
	assert_ok(u_chmod(b, "d/g", 0600));
	assert_true(same_time(stat_of(b, "d").stx_mtime, attr.stx_mtime));
	assert_ok(u_unlink(b, "d/g"));
	assert_false(same_time(stat_of(b, "d").stx_mtime, attr.stx_mtime));
	assert_ok(u_set(b, "d", &past));
	assert_ok(u_create(b, "d/new"));
	assert_false(same_time(stat_of(b, "d").stx_mtime, attr.stx_mtime));
	assert_ok(u_set(b, "d", &past));
	assert_ok(u_rename(b, "d/new", "moved", 0));
	assert_false(same_time(stat_of(b, "d").stx_mtime, attr.stx_mtime));
	bed_close(b);
}

static void test_numbers_stay_over_copy_up_rename_and_remount(void **state)
{
	struct bed *b = *state;
	uint64_t file, dir, upper;

	put_file(b, "l0/d/f", "f");
	bed_open(b, 1, 0, NULL);
	file = stat_of(b, "d/f").stx_ino;
	dir = stat_of(b, "d").stx_ino;
	assert_ok(u_create(b, "new"));
	upper = stat_of(b, "new").stx_ino;
	assert_true(file != dir && file != upper && dir != upper);
	for (int round = 0; round < 2; round++) {
		assert_ok(u_write(b, "d/f", "F", 0));
		assert_int_equal(stat_of(b, "d/f").stx_ino, file);
		assert_int_equal(stat_of(b, "d").stx_ino, dir);
		assert_ok(u_rename(b, "d/f", "g", 0));
		assert_int_equal(stat_of(b, "g").stx_ino, file);
		bed_again(b);
		assert_int_equal(stat_of(b, "g").stx_ino, file);
		assert_int_equal(stat_of(b, "d").stx_ino, dir);
		assert_int_equal(stat_of(b, "new").stx_ino, upper);
		assert_ok(u_rename(b, "g", "d/f", 0));
		assert_int_equal(stat_of(b, "d/f").stx_ino, file);
	}
	bed_close(b);
}

static void test_what_makes_no_sense_is_refused(void **state)
{
	struct bed *b = *state;
	struct ply_entry e;
	char buf[8];

	put_file(b, "l0/f", "f");
	put_dir(b, "l0/d");
	put_symlink(b, "l0/s", "f");
	put_node(b, "l0/p", S_IFIFO | 0644, 0);
	bed_open(b, 1, 0, NULL);
	assert_errno(u_truncate(b, "d", 0), -EISDIR);
	assert_errno(u_truncate(b, "s", 0), -EINVAL);
	assert_errno(u_truncate(b, "f", -1), -EINVAL);
	assert_errno(u_chmod(b, "s", 0600), -EOPNOTSUPP);
	assert_errno(u_write(b, "d", "x", 0), -EISDIR);
	assert_errno(u_write(b, "p", "x", 0), -EINVAL);
	e = u_hold(b, "f");
	assert_int_equal(ply_readlink(b->u, e.node, buf, sizeof(buf)), -EINVAL);
	assert_errno(u_make(b, "x", 0644, 0), -EINVAL);
	assert_errno(u_create(b, "f/x"), -ENOTDIR);
	u_drop(b, &e);
	e = u_hold(b, "d");
	assert_int_equal(ply_read(b->u, e.node, buf, sizeof(buf), 0), -EISDIR);
	u_drop(b, &e);
	assert_string_equal(u_ls(b, ""), "d f p s");
	bed_close(b);
}

static const char caps[] = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/* As the kernel asks for it when somebody changes the owner: the mode afterwards; capabilities are gone. */
static mode_t mode_after_chown(struct bed *b, mode_t mode, unsigned flags)
{
	struct ply_setattr set = { .valid = PLY_SET_UID | PLY_SET_KILL_PRIV | flags, .uid = 7 };
	struct ply_entry f;
	struct statx attr;
	char value[32];

	assert_ok(u_put(b, "f", "f"));
	assert_ok(u_chmod(b, "f", mode));
	f = u_hold(b, "f");
	assert_ok(ply_setxattr(b->u, f.node, "security.capability", caps, 20, 0));
	count_calls();
	assert_ok(ply_setattr(b->u, f.node, &set, &attr));
	stop_failing();
	assert_int_equal(ply_getxattr(b->u, f.node, "security.capability", value, 32), -ENODATA);
	u_drop(b, &f);
	assert_ok(u_unlink(b, "f"));
	return attr.stx_mode & 07777;
}

/* The file system below does so by itself, unless the owner is kept elsewhere, or more is to be dropped. */
static void test_a_change_of_owner_drops_privileges(void **state)
{
	static const struct ply_union_config aside = { .owners = PLY_OWNERS_IN_USER };
	struct bed *b = *state;

	put_dir(b, "l0");
	bed_open(b, 1, 0, NULL);
	assert_int_equal(mode_after_chown(b, 06755, 0), 0755);
	assert_int_equal(calls_of(PLY_SYS_chown), 1);
	assert_int_equal(calls_of(PLY_SYS_chmod) + calls_of(PLY_SYS_removexattr), 0);
	assert_int_equal(calls_of(PLY_SYS_statx), 1);
	assert_int_equal(mode_after_chown(b, 02744, 0), 02744);
	assert_int_equal(mode_after_chown(b, 02744, PLY_SET_KILL_SGID), 0744);
	bed_close(b);
	put_remove(b, "up");
	bed_open(b, 1, 0, &aside);
	assert_int_equal(mode_after_chown(b, 06755, 0), 0755);
	bed_close(b);
}

static int refuse_owner(enum ply_sys call)
{
	return call == PLY_SYS_chown ? -EPERM : 0;
}

static void test_an_owner_that_stays_another_has_no_privileges_either(void **state)
{
	static const struct ply_union_config lax = { .lax_owners = 1 };
	struct ply_setattr set = { .valid = PLY_SET_UID | PLY_SET_KILL_PRIV, .uid = 7 };
	struct bed *b = *state;
	struct statx attr;

	bed_open(b, 1, 0, &lax);
	assert_ok(u_put(b, "f", "f"));
	assert_ok(u_chmod(b, "f", 04755));
	ply_sys_probe = refuse_owner;
	assert_ok(u_set(b, "f", &set));
	ply_sys_probe = NULL;
	assert_ok(u_stat(b, "f", &attr));
	assert_int_equal(attr.stx_mode & 07777, 0755);
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_marks_are_kept_from_users_and_theirs_from_being_marks),
		bed_test(test_sizes_and_flags_are_those_of_the_system_calls),
		bed_test(test_long_lists_are_whole),
		bed_test(test_a_directorys_time_changes_with_its_names_only),
		bed_test(test_numbers_stay_over_copy_up_rename_and_remount),
		bed_test(test_what_makes_no_sense_is_refused),
		bed_test(test_a_change_of_owner_drops_privileges),
		bed_test(test_an_owner_that_stays_another_has_no_privileges_either),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
