/* Owners, modes and types in an attribute: read, written, brought up, and never seen. */
#include "layer/override.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/sys.h"
#include "paths.h"

#define ASIDE "user.containers.override_"
#define STAT ASIDE "stat"

static const struct ply_union_config by_user = { .sync = 1, .owners = PLY_OWNERS_IN_USER };

struct seen {
	mode_t mode;
	unsigned uid, gid, major, minor;
};

static void assert_seen(struct bed *b, const char *path, struct seen wanted)
{
	struct statx stx;

	assert_ok(u_stat(b, path, &stx));
	if (stx.stx_mode != wanted.mode || stx.stx_uid != wanted.uid || stx.stx_gid != wanted.gid ||
	    stx.stx_rdev_major != wanted.major || stx.stx_rdev_minor != wanted.minor)
		fail_msg("%s: mode %o, owner %u:%u, device %u:%u", path, stx.stx_mode, stx.stx_uid,
			 stx.stx_gid, stx.stx_rdev_major, stx.stx_rdev_minor);
}

/* Values of all writers, and what is none. */
static void test_values_are_read_as_they_were_meant(void **state)
{
	static const struct {
		const char *value;
		struct seen seen;
	} cases[] = {
		{ "1:2:0755", { S_IFREG | 0755, 1, 2, 0, 0 } },
		{ "1:2:755", { S_IFREG | 0755, 1, 2, 0, 0 } },
		{ "0:0:4755", { S_IFREG | 04755, 0, 0, 0, 0 } },
		{ "4294967294:7:0", { S_IFREG, 4294967294u, 7, 0, 0 } },
		{ "1:2:100644", { S_IFREG | 0644, 1, 2, 0, 0 } },
		{ "1:2:040755", { S_IFREG | 0755, 1, 2, 0, 0 } },
		{ "1:2:0644:file", { S_IFREG | 0644, 1, 2, 0, 0 } },
		{ "1:2:0644:file-with-more", { S_IFREG | 0644, 1, 2, 0, 0 } },
		{ "1:2:0644:dir", { S_IFREG | 0644, 1, 2, 0, 0 } },
		{ "1:2:0644:", { S_IFREG | 0644, 1, 2, 0, 0 } },
		{ "1:2:0644:pipe", { S_IFIFO | 0644, 1, 2, 0, 0 } },
		{ "1:2:0644:socket-7", { S_IFSOCK | 0644, 1, 2, 0, 0 } },
		{ "1:2:0660:block-8-1", { S_IFBLK | 0660, 1, 2, 8, 1 } },
		{ "1:2:0660:char-1-3-and-more", { S_IFCHR | 0660, 1, 2, 1, 3 } },
		/* No attribute makes a whiteout, nor a device without a number. */
		{ "1:2:0660:char-0-0", { S_IFREG | 0660, 1, 2, 0, 0 } },
		{ "1:2:0660:char", { S_IFREG | 0660, 1, 2, 0, 0 } },
		{ "1:2:0660:block-x", { S_IFREG | 0660, 1, 2, 0, 0 } },
		{ "", { S_IFREG | 0640, 0, 0, 0, 0 } },
		{ "1:2", { S_IFREG | 0640, 0, 0, 0, 0 } },
		{ "1:2:x", { S_IFREG | 0640, 0, 0, 0, 0 } },
		{ "1:2:0755x", { S_IFREG | 0640, 0, 0, 0, 0 } },
		{ "a:2:0755", { S_IFREG | 0640, 0, 0, 0, 0 } },
	};
	struct bed *b = *state;
	char name[16];

	put_dir(b, "l0");
	put_xattr(b, "l0", STAT, "0:0:0755");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(name, sizeof(name), "l0/f%u", i);
		put_file(b, name, "");
		assert_int_equal(chmod(bed_path(b, "%s", name), 0640), 0);
		put_xattr(b, name, STAT, cases[i].value);
	}
	bed_open(b, 1, BED_READONLY, NULL);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_seen(b, name, cases[i].seen);
		assert_null(u_xattr(b, name, STAT));
	}
	bed_close(b);
}

/* The name that the root has; of several, the first of this order. Without one it is any attribute. */
static void test_each_layer_says_for_itself(void **state)
{
	static const char *const attrs[] = { "security.fuseoverlayfs.override_stat", STAT,
					     "user.fuseoverlayfs.override_stat" };
	static const char *const values[] = { "10:10:0600", "11:11:0600", "12:12:0600" };
	struct bed *b = *state;

	for (unsigned i = 0; i < 4; i++) {
		char dir[16], file[16];

		snprintf(dir, sizeof(dir), "l%u", i);
		snprintf(file, sizeof(file), "l%u/f%u", i, i);
		put_file(b, file, "");
		for (unsigned j = 0; j < 3; j++)
			put_xattr(b, file, attrs[j], values[j]);
		for (unsigned j = i; j < 3; j++)
			put_xattr(b, dir, attrs[j], "0:0:0755");
	}
	bed_open(b, 4, BED_READONLY, NULL);
	assert_seen(b, "f0", (struct seen){ S_IFREG | 0600, 10, 10, 0, 0 });
	assert_seen(b, "f1", (struct seen){ S_IFREG | 0600, 11, 11, 0, 0 });
	assert_seen(b, "f2", (struct seen){ S_IFREG | 0600, 12, 12, 0, 0 });
	assert_seen(b, "f3", (struct seen){ S_IFREG | 0644, 0, 0, 0, 0 });
	assert_null(u_xattr(b, "f1", STAT));
	assert_string_equal(u_xattr(b, "f3", STAT), "11:11:0600");
	bed_close(b);
}

static struct ply_setattr owner(uid_t uid, gid_t gid)
{
	return (struct ply_setattr){ .valid = PLY_SET_UID | PLY_SET_GID, .uid = uid, .gid = gid };
}

/* The same changes by a name in the union, or in a plain directory. */
struct target {
	struct bed *b;
	const char *plain; /* NULL: the union */
};

static void t_make(const struct target *t, const char *name, mode_t mode, dev_t dev)
{
	char path[BED_PATH];

	if (!t->plain) {
		assert_ok(u_make(t->b, name, mode, dev));
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", t->plain, name);
	assert_int_equal(S_ISDIR(mode) ? mkdir(path, mode & 07777) : mknod(path, mode, dev), 0);
}

static void t_chown(const struct target *t, const char *name, uid_t uid, gid_t gid)
{
	struct ply_setattr set = owner(uid, gid);
	char path[BED_PATH];

	if (!t->plain) {
		assert_ok(u_set(t->b, name, &set));
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", t->plain, name);
	assert_int_equal(chown(path, uid, gid), 0);
}

static void t_chmod(const struct target *t, const char *name, mode_t mode)
{
	char path[BED_PATH];

	if (!t->plain) {
		assert_ok(u_chmod(t->b, name, mode));
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", t->plain, name);
	assert_int_equal(chmod(path, mode), 0);
}

static void work(const struct target *t)
{
	t_make(t, "f", S_IFREG | 04755, 0);
	t_make(t, "none", S_IFREG, 0);
	t_make(t, "d", S_IFDIR | 0777, 0);
	t_chown(t, "d", 3, 4);
	t_chmod(t, "d", 02775);
	t_make(t, "d/in", S_IFREG | 0664, 0);
	t_make(t, "d/sub", S_IFDIR | 0700, 0);
	t_make(t, "char", S_IFCHR | 0666, makedev(1, 3));
	t_make(t, "block", S_IFBLK | 0660, makedev(259, 70000));
	t_make(t, "fifo", S_IFIFO | 0600, 0);
	t_make(t, "socket", S_IFSOCK | 0600, 0);
	t_chown(t, "char", 5, 6);
	t_chmod(t, "block", 0600);
	t_chown(t, "f", 7, 8);
	t_chmod(t, "f", 06755);
	t_chown(t, "f", 9, 8);
	t_chmod(t, "none", 02640);
	t_chown(t, "none", 9, 9);
}

static void compare(struct bed *b, const char *plain)
{
	char *got = tree_of_union(b, 0), *wanted = tree_of_dir(plain, 0);

	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
}

/* What a plain directory of root's shows, an upper shows in which nothing but attributes was set. */
static void test_it_works_as_if_it_were_true(void **state)
{
	static const char *const files[] = {
		"f", "none", "d/in", "char", "block", "fifo", "socket"
	};
	struct bed *b = *state;
	struct target plain = { .b = b }, there = { .b = b };
	char dir[BED_PATH];
	mode_t old = umask(022);
	struct stat st;

	put_dir(b, "plain");
	snprintf(dir, sizeof(dir), "%s", bed_path(b, "plain"));
	plain.plain = dir;
	work(&plain);
	bed_open(b, 1, 0, &by_user);
	work(&there);
	compare(b, dir);
	bed_again(b);
	compare(b, dir);
	bed_close(b);
	umask(old);
	/* All of it is regular, root's, and without set-id bits. */
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		assert_int_equal(lstat(bed_path(b, "up/%s", files[i]), &st), 0);
		assert_true(S_ISREG(st.st_mode));
		assert_int_equal(st.st_uid + st.st_gid, 0);
		assert_int_equal(st.st_mode & 06000, 0);
		assert_int_equal(st.st_mode & 0600, 0600);
	}
	assert_string_equal(disk_xattr(b, "up/block", STAT), "0:0:0600:block-259-70000");
	assert_string_equal(disk_xattr(b, "up/f", STAT), "9:8:0755");
}

/* What was begun is continued, though nothing asks for it any more. */
static void test_an_upper_stays_what_it_is(void **state)
{
	struct bed *b = *state;

	put_dir(b, "up");
	put_xattr(b, "up", "user.fuseoverlayfs.override_stat", "1:2:0750");
	bed_open(b, 1, 0, NULL);
	assert_seen(b, "", (struct seen){ S_IFDIR | 0750, 1, 2, 0, 0 });
	assert_false(ply_union_has_acls(b->u));
	assert_ok(u_make(b, "f", S_IFREG | 0640, 0));
	assert_ok(u_set(b, "f", &(struct ply_setattr){ .valid = PLY_SET_UID, .uid = 5 }));
	assert_seen(b, "f", (struct seen){ S_IFREG | 0640, 5, 0, 0, 0 });
	bed_close(b);
	assert_string_equal(disk_xattr(b, "up/f", "user.fuseoverlayfs.override_stat"), "5:0:0640");
}

static void test_the_root_is_as_the_lower_layers_say(void **state)
{
	struct bed *b = *state;

	put_dir(b, "l0");
	put_dir(b, "l1");
	put_dir(b, "l2");
	put_xattr(b, "l1", STAT, "3:4:01777");
	put_xattr(b, "l2", STAT, "5:5:0700");
	bed_open(b, 3, 0, &by_user);
	assert_seen(b, "", (struct seen){ S_IFDIR | 01777, 3, 4, 0, 0 });
	bed_close(b);
	assert_string_equal(disk_xattr(b, "up", STAT), "3:4:1777");
	put_remove(b, "up");
	put_dir(b, "up");
	assert_int_equal(chmod(bed_path(b, "up"), 0711), 0);
	put_remove(b, "l1");
	put_remove(b, "l2");
	bed_open(b, 1, 0, &by_user);
	assert_seen(b, "", (struct seen){ S_IFDIR | 0711, 0, 0, 0, 0 });
	bed_close(b);
}

static void fill_lower(struct bed *b)
{
	put_file(b, "l0/dir/f", "text");
	put_node(b, "l0/dir/dev", S_IFCHR | 0620, makedev(5, 1));
	put_symlink(b, "l0/dir/s", "f");
	put_xattr(b, "l0/dir/f", "user.note", "x");
	put_xattr(b, "l0/dir/f", "security.thing", "y");
	assert_int_equal(chown(bed_path(b, "l0/dir"), 3, 3), 0);
	assert_int_equal(chown(bed_path(b, "l0/dir/f"), 1, 2), 0);
	assert_int_equal(chmod(bed_path(b, "l0/dir/f"), 04711), 0);
	assert_int_equal(chown(bed_path(b, "l0/dir/dev"), 4, 5), 0);
}

static void bring_up(struct bed *b)
{
	assert_ok(u_setxattr(b, "dir/f", "user.new", "1"));
	assert_ok(u_chmod(b, "dir/dev", 0600));
	assert_ok(u_chmod(b, "dir/dev", 0620));
}

static void assert_dir(struct bed *b)
{
	assert_seen(b, "dir", (struct seen){ S_IFDIR | 0755, 3, 3, 0, 0 });
	assert_seen(b, "dir/f", (struct seen){ S_IFREG | 04711, 1, 2, 0, 0 });
	assert_seen(b, "dir/dev", (struct seen){ S_IFCHR | 0620, 4, 5, 5, 1 });
	assert_string_equal(u_text(b, "dir/f"), "text");
	assert_string_equal(u_xattr(b, "dir/f", "user.note"), "x");
	assert_string_equal(u_xattr(b, "dir/f", "security.thing"), "y");
	assert_null(u_xattr(b, "dir/f", STAT));
}

/* From a plain layer up into attributes; that upper as a lower layer; and from there down to plain again. */
static void test_copies_are_shown_as_what_they_were_copied_from(void **state)
{
	struct bed *b = *state;

	fill_lower(b);
	bed_open(b, 1, 0, &by_user);
	bring_up(b);
	assert_dir(b);
	bed_again(b);
	assert_dir(b);
	bed_close(b);
	assert_string_equal(disk_xattr(b, "up/dir/f", STAT), "1:2:4711");
	assert_string_equal(disk_xattr(b, "up/dir", STAT), "3:3:0755");
	assert_string_equal(disk_xattr(b, "up/dir/dev", STAT), "4:5:0620:char-5-1");
	assert_string_equal(disk_xattr(b, "up/dir/f", ASIDE "security.thing"), "y");
	assert_null(disk_xattr(b, "up/dir/f", "security.thing"));

	put_remove(b, "l0");
	assert_int_equal(rename(bed_path(b, "up"), bed_path(b, "l0")), 0);
	bed_open(b, 1, 0, &by_user);
	assert_dir(b);
	bring_up(b);
	assert_dir(b);
	bed_close(b);
	assert_string_equal(disk_xattr(b, "up/dir/f", ASIDE "security.thing"), "y");

	put_remove(b, "up");
	bed_open(b, 1, 0, NULL);
	bring_up(b);
	assert_dir(b);
	bed_close(b);
	assert_null(disk_xattr(b, "up/dir/f", STAT));
	assert_string_equal(disk_xattr(b, "up/dir/f", "security.thing"), "y");
}

/* Names that are in use on disk are a user's all the same. */
static void test_a_user_has_all_names(void **state)
{
	static const char *const names[] = { "user.a",
					     "security.capable",
					     STAT,
					     ASIDE "security.x",
					     ASIDE "x",
					     "user.overlay.opaque",
					     "user.fuseoverlayfs.y" };
	const size_t n = sizeof(names) / sizeof(names[0]);
	struct bed *b = *state;
	struct ply_entry f;
	char list[1024];
	ssize_t size;
	size_t seen = 0;

	bed_open(b, 1, 0, &by_user);
	assert_ok(u_create(b, "f"));
	for (size_t i = 0; i < n; i++)
		assert_ok(u_setxattr(b, "f", names[i], names[i]));
	for (size_t i = 0; i < n; i++)
		assert_string_equal(u_xattr(b, "f", names[i]), names[i]);
	f = u_hold(b, "f");
	size = ply_listxattr(b->u, f.node, list, sizeof(list));
	for (ssize_t pos = 0; pos < size; pos += (ssize_t)strlen(list + pos) + 1, seen++) {
		size_t i = 0;

		while (i < n && strcmp(list + pos, names[i]))
			i++;
		if (i == n)
			fail_msg("it lists %s", list + pos);
	}
	assert_int_equal(seen, n);
	assert_ok(ply_removexattr(b->u, f.node, STAT));
	u_drop(b, &f);
	assert_null(u_xattr(b, "f", STAT));
	assert_seen(b, "f", (struct seen){ S_IFREG | 0644, 0, 0, 0, 0 });
	bed_close(b);
	assert_string_equal(disk_xattr(b, "up/f", STAT), "0:0:0644");
}

static void test_writing_takes_set_id_bits_and_capabilities(void **state)
{
	struct ply_setattr kill = { .valid = PLY_SET_KILL_PRIV };
	struct bed *b = *state;

	bed_open(b, 1, 0, &by_user);
	assert_ok(u_create(b, "f"));
	assert_ok(u_chmod(b, "f", 06755));
	assert_ok(u_setxattr(b, "f", "security.capability", "x"));
	assert_ok(u_set(b, "f", &kill));
	assert_seen(b, "f", (struct seen){ S_IFREG | 0755, 0, 0, 0, 0 });
	assert_null(u_xattr(b, "f", "security.capability"));
	assert_ok(u_chmod(b, "f", 06755));
	assert_ok(u_setxattr(b, "f", "security.capability", "x"));
	assert_ok(u_set(b, "f", &(struct ply_setattr){ .valid = PLY_SET_UID, .uid = 1 }));
	assert_seen(b, "f", (struct seen){ S_IFREG | 0755, 1, 0, 0, 0 });
	assert_null(u_xattr(b, "f", "security.capability"));
	bed_close(b);
}

static void test_nameless_files_have_owners(void **state)
{
	struct ply_make how = { .mode = S_IFREG | 04700,
				.cred = { .uid = 5, .gid = 6, .umask = 022 } };
	struct bed *b = *state;
	struct ply_entry made, named;

	bed_open(b, 1, 0, &by_user);
	assert_ok(ply_tmpfile(b->u, ply_root(b->u), &how, &made));
	assert_int_equal(made.attr.stx_uid, 5);
	assert_ok(ply_link(b->u, made.node, ply_root(b->u), "x", &named));
	u_drop(b, &named);
	u_drop(b, &made);
	assert_seen(b, "x", (struct seen){ S_IFREG | 04700, 5, 6, 0, 0 });
	bed_close(b);
}

/* As everywhere where attributes of users cannot be set. */
static void test_links_show_what_they_have(void **state)
{
	struct ply_setattr set = owner(5, 6);
	struct bed *b = *state;

	bed_open(b, 1, 0, &by_user);
	assert_ok(u_symlink(b, "s", "target"));
	assert_ok(u_set(b, "s", &set));
	assert_seen(b, "s", (struct seen){ S_IFLNK | 0777, 0, 0, 0, 0 });
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_values_are_read_as_they_were_meant),
		bed_test(test_each_layer_says_for_itself),
		bed_test(test_it_works_as_if_it_were_true),
		bed_test(test_an_upper_stays_what_it_is),
		bed_test(test_the_root_is_as_the_lower_layers_say),
		bed_test(test_copies_are_shown_as_what_they_were_copied_from),
		bed_test(test_a_user_has_all_names),
		bed_test(test_writing_takes_set_id_bits_and_capabilities),
		bed_test(test_nameless_files_have_owners),
		bed_test(test_links_show_what_they_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
