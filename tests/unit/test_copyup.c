/* Copy-up: every type with all that belongs to it, what makes it necessary, and what it must not change. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "elsewhere.h"
#include "inject.h"
#include "paths.h"

static void set_times(struct bed *b, const char *path, time_t sec, long nsec)
{
	struct timespec ts[2] = { { .tv_sec = sec + 1, .tv_nsec = nsec },
				  { .tv_sec = sec, .tv_nsec = nsec } };

	assert_int_equal(utimensat(AT_FDCWD, bed_path(b, "%s", path), ts, AT_SYMLINK_NOFOLLOW), 0);
}

/* A layer with one of each, as odd as possible. */
static void make_zoo(struct bed *b)
{
	static const char acl[] =
		"\2\0\0\0\1\0\7\0\377\377\377\377\2\0\6\0\350\3\0\0\4\0\5\0\377\377\377\377"
		"\20\0\7\0\377\377\377\377\40\0\4\0\377\377\377\377";
	static const char caps[] = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

	put_file(b, "l0/d/plain", "plain");
	put_file(b, "l0/d/setid", "setid");
	assert_int_equal(chown(bed_path(b, "l0/d/setid"), 12, 34), 0);
	assert_int_equal(chmod(bed_path(b, "l0/d/setid"), 06755), 0);
	put_file(b, "l0/d/closed", "closed");
	assert_int_equal(chmod(bed_path(b, "l0/d/closed"), 0), 0);
	put_file(b, "l0/d/attrs", "attrs");
	put_xattr(b, "l0/d/attrs", "user.a", "value");
	put_xattr(b, "l0/d/attrs", "user.empty", "");
	put_xattr(b, "l0/d/attrs", "trusted.t", "value");
	assert_int_equal(lsetxattr(bed_path(b, "l0/d/attrs"), "security.capability", caps, 20, 0),
			 0);
	assert_int_equal(lsetxattr(bed_path(b, "l0/d/attrs"), "system.posix_acl_access", acl,
				   sizeof(acl) - 1, 0),
			 0);
	put_symlink(b, "l0/d/link", "to/somewhere/else");
	assert_int_equal(lchown(bed_path(b, "l0/d/link"), 5, 6), 0);
	put_node(b, "l0/d/fifo", S_IFIFO | 0622, 0);
	put_node(b, "l0/d/socket", S_IFSOCK | 0700, 0);
	put_node(b, "l0/d/char", S_IFCHR | 0666, makedev(1, 3));
	put_node(b, "l0/d/block", S_IFBLK | 0640, makedev(7, 200));
	put_file(b, "l0/d/empty", "");
	put_file(b, "l0/d/sub/f", "f");
	assert_int_equal(chmod(bed_path(b, "l0/d/sub"), 03775), 0);
	assert_int_equal(chown(bed_path(b, "l0/d/sub"), 9, 10), 0);
	put_xattr(b, "l0/d/sub", "user.dir", "value");
	assert_int_equal(lsetxattr(bed_path(b, "l0/d/sub"), "system.posix_acl_default", acl,
				   sizeof(acl) - 1, 0),
			 0);
	set_times(b, "l0/d/plain", -86400, 123456789); /* before 1970 */
	set_times(b, "l0/d/setid", 1000000000, 1);
	set_times(b, "l0/d/link", 1234567890, 999999999);
	set_times(b, "l0/d/fifo", 1, 0);
	set_times(b, "l0/d/sub", 2000000000, 5);
	set_times(b, "l0/d", 1500000000, 7);
	set_times(b, "l0", 1600000000, 8);
}

static const char *const zoo[] = { "d/plain", "d/setid", "d/closed", "d/attrs",
				   "d/link",  "d/fifo",	 "d/socket", "d/char",
				   "d/block", "d/empty", "d/sub/f",  "d/sub" };
#define ZOO (sizeof(zoo) / sizeof(zoo[0]))

/* Sets one xattr, which brings the thing up, and takes it away again. */
static void touch_xattr(struct bed *b, const char *path)
{
	struct ply_entry e = u_hold(b, path);

	assert_ok(ply_setxattr(b->u, e.node, "trusted.touch", "x", 1, 0));
	assert_ok(ply_removexattr(b->u, e.node, "trusted.touch"));
	u_drop(b, &e);
}

static void test_a_copy_is_the_same_in_everything(void **state)
{
	struct bed *b = *state;
	char *before, *after, upper[BED_PATH];

	make_zoo(b);
	bed_open(b, 1, 0, NULL);
	before = tree_of_union(b, TREE_ALL);
	for (size_t i = 0; i < ZOO; i++) {
		touch_xattr(b, zoo[i]);
		snprintf(upper, sizeof(upper), "up/%s", zoo[i]);
		assert_true(on_disk(b, upper));
	}
	/* Numbers, times of the parents, everything. */
	after = tree_of_union(b, TREE_ALL);
	assert_same_tree(after, before);
	bed_again(b);
	free(after);
	after = tree_of_union(b, TREE_ALL);
	assert_same_tree(after, before);
	free(before);
	free(after);
	bed_close(b);
}

static void test_marks_of_a_layer_are_not_taken_along(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/d/f", "f");
	put_xattr(b, "l0/d", "trusted.overlay.opaque", "y");
	put_xattr(b, "l0/d/f", "user.overlay.origin", "junk");
	put_xattr(b, "l0/d/f", "user.overlay.overlay.mine", "kept");
	put_file(b, "l1/d/hidden", "hidden");
	bed_open(b, 2, 0, NULL);
	assert_ok(u_write(b, "d/f", "F", 0));
	assert_null(disk_xattr(b, "up/d", "trusted.overlay.opaque"));
	assert_null(disk_xattr(b, "up/d/f", "user.overlay.origin"));
	assert_string_equal(u_xattr(b, "d/f", "user.overlay.mine"), "kept");
	assert_string_equal(u_ls(b, "d"), "f");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void make_sparse(struct bed *b, const char *path)
{
	int fd;

	put_file(b, path, "begin");
	fd = open(bed_path(b, "%s", path), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "middle", 6, 4 << 20), 6);
	assert_int_equal(pwrite(fd, "end", 3, (8 << 20) - 3), 3);
	close(fd);
}

static void test_holes_stay_holes(void **state)
{
	struct bed *b = *state;
	struct stat lower, upper;
	char *before, *after;

	make_sparse(b, "l0/sparse");
	put_file(b, "l0/hole", "");
	assert_int_equal(truncate(bed_path(b, "l0/hole"), 3 << 20), 0);
	bed_open(b, 1, 0, NULL);
	before = tree_of_union(b, TREE_ALL);
	touch_xattr(b, "sparse");
	touch_xattr(b, "hole");
	after = tree_of_union(b, TREE_ALL);
	assert_same_tree(after, before);
	free(before);
	free(after);
	assert_int_equal(stat(bed_path(b, "l0/sparse"), &lower), 0);
	assert_int_equal(stat(bed_path(b, "up/sparse"), &upper), 0);
	assert_int_equal(upper.st_size, 8 << 20);
	assert_true(upper.st_blocks <= lower.st_blocks + 64);
	assert_int_equal(stat(bed_path(b, "up/hole"), &upper), 0);
	assert_true(upper.st_blocks < 64);
	bed_close(b);
}

/* The sizes at which the way of copying changes, and one around each. */
static void test_data_of_every_size_is_whole(void **state)
{
	static const size_t sizes[] = { 1,     4095,  4096,   4097,    65535,
					65536, 65537, 131072, 1 << 20, 9000001 };
	struct bed *b = *state;
	char *data = malloc(9000002), name[32];
	char *before, *after;

	for (size_t i = 0; i < 9000001; i++)
		data[i] = (char)('a' + i * 7919 / 64 % 26);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd;

		snprintf(name, sizeof(name), "l0/f%zu", sizes[i]);
		put_file(b, name, "");
		fd = open(bed_path(b, "%s", name), O_WRONLY | O_CLOEXEC);
		assert_int_equal(write(fd, data, sizes[i]), sizes[i]);
		close(fd);
	}
	bed_open(b, 1, 0, NULL);
	before = tree_of_union(b, TREE_ALL);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		snprintf(name, sizeof(name), "f%zu", sizes[i]);
		touch_xattr(b, name);
	}
	after = tree_of_union(b, TREE_ALL);
	assert_same_tree(after, before);
	free(before);
	free(after);
	free(data);
	bed_close(b);
}

/* Where the file system cannot share or copy by itself, data still gets there. */
static void test_data_is_copied_by_hand_where_nothing_else_works(void **state)
{
	static const int errors[] = { -EOPNOTSUPP, -EXDEV, -EINVAL, -ENOSYS };
	struct bed *b = *state;
	static char big[300001];

	memset(big, 'z', 300000);
	for (size_t i = 0; i < 4; i++) {
		struct ply_entry e;
		struct statx attr;

		put_remove(b, "up");
		put_file(b, "l0/big", big);
		bed_open(b, 1, 0, NULL);
		fail_kind(PLY_SYS_copy_range, errors[i]);
		assert_ok(u_write(b, "big", "A", 0));
		stop_failing();
		e = u_hold(b, "big");
		assert_ok(ply_getattr(b->u, e.node, &attr));
		assert_int_equal(attr.stx_size, 300000);
		u_drop(b, &e);
		big[0] = 'A';
		assert_int_equal(strlen(disk_text(b, "up/big")), 65535);
		assert_memory_equal(disk_text(b, "up/big"), big, 65535);
		big[0] = 'z';
		bed_close(b);
	}
}

static unsigned copyups(struct bed *b)
{
	struct ply_union_stats stats;

	ply_union_stats(b->u, &stats);
	return (unsigned)stats.copyups;
}

static int forget_name(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct bed *b = arg;

	(void)name;
	(void)cookie;
	if (entry->node)
		ply_forget(b->u, entry->node, 1);
	return 1;
}

/* Reading, and asking for what is so already, leave a file where it is. */
static void test_only_changes_bring_up(void **state)
{
	struct bed *b = *state;
	struct ply_entry e;
	struct statx attr;
	struct statvfs vfs;
	char buf[16];

	put_file(b, "l0/d/f", "lower");
	put_symlink(b, "l0/d/s", "target");
	bed_open(b, 1, 0, NULL);
	e = u_hold(b, "d/f");
	assert_int_equal(ply_read(b->u, e.node, buf, sizeof(buf), 0), 5);
	assert_int_equal(ply_lseek(b->u, e.node, 0, SEEK_HOLE), 5);
	assert_int_equal(ply_lseek(b->u, e.node, 99, SEEK_DATA), -ENXIO);
	assert_ok(ply_fsync(b->u, e.node, PLY_SYNC_ALL));
	assert_ok(ply_statfs(b->u, e.node, &vfs));
	assert_int_equal(vfs.f_namemax, 255);
	assert_int_equal(ply_getxattr(b->u, e.node, "user.none", NULL, 0), -ENODATA);
	assert_int_equal(ply_removexattr(b->u, e.node, "user.none"), -ENODATA);
	assert_ok(ply_setattr(b->u, e.node, &(struct ply_setattr){ .valid = 0 }, &attr));
	/* What the kernel's writeback does. */
	assert_ok(ply_setattr(b->u, e.node,
			      &(struct ply_setattr){
				      .valid = PLY_SET_MTIME,
				      .mtime = { attr.stx_mtime.tv_sec, attr.stx_mtime.tv_nsec } },
			      &attr));
	u_drop(b, &e);
	e = u_hold(b, "d/s");
	assert_int_equal(ply_readlink(b->u, e.node, buf, sizeof(buf)), 6);
	u_drop(b, &e);
	e = u_hold(b, "d");
	assert_ok(ply_readdir(b->u, e.node, 0, forget_name, b));
	u_drop(b, &e);
	assert_int_equal(copyups(b), 0);
	assert_false(on_disk(b, "up/d"));
	bed_close(b);
}

static unsigned calls_to_write_back(struct bed *b, const char *path, const char *text, off_t off)
{
	count_calls();
	assert_ok(u_write_back(b, path, text, off));
	return stop_failing();
}

/* What the kernel has collected has times of its own, which it tells later. */
static void test_what_is_written_back_comes_up_with_the_copy(void **state)
{
	static const struct {
		const char *text;
		off_t off;
		const char *wanted;
	} cases[] = {
		{ "P", 0, "Plain" },   { "PLAIN", 0, "PLAIN" },	     { "PLAIN+", 0, "PLAIN+" },
		{ "-IN", 2, "pl-IN" }, { "-more", 5, "plain-more" },
	};
	struct bed *b = *state;
	struct statx before, after;
	struct ply_entry open;

	make_zoo(b);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_remove(b, "up");
		bed_open(b, 1, 0, NULL);
		assert_ok(u_stat(b, "d/plain", &before));
		open = u_hold(b, "d/plain");
		assert_ok(u_write_back(b, "d/plain", cases[i].text, cases[i].off));
		assert_string_equal(node_text(b, open.node), cases[i].wanted);
		u_drop(b, &open);
		assert_ok(u_stat(b, "d/plain", &after));
		assert_memory_equal(&before.stx_mtime, &after.stx_mtime, sizeof(after.stx_mtime));
		assert_int_equal(after.stx_size, strlen(cases[i].wanted));
		assert_same_again(b, TREE_ALL);
		assert_string_equal(u_text(b, "d/plain"), cases[i].wanted);
		bed_close(b);
	}
}

static void test_what_is_written_back_drops_no_privileges(void **state)
{
	struct bed *b = *state;
	struct statx attr;

	make_zoo(b);
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write_back(b, "d/setid", "SETID", 0));
	assert_ok(u_stat(b, "d/setid", &attr));
	assert_int_equal(attr.stx_mode & 07777, 06755);
	assert_int_equal(attr.stx_uid, 12);
	assert_ok(u_write_back(b, "d/attrs", "A", 0));
	assert_non_null(u_xattr(b, "d/attrs", "security.capability"));
	assert_string_equal(u_xattr(b, "d/attrs", "user.a"), "value");
	assert_ok(u_write_back(b, "d/closed", "C", 0));
	assert_ok(u_stat(b, "d/closed", &attr));
	assert_int_equal(attr.stx_mode & 07777, 0);
	assert_ok(u_write_back(b, "d/empty", "not any more", 0));
	assert_string_equal(u_text(b, "d/empty"), "not any more");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

/* Numbers of system calls, which do not depend on the machine. */
static void test_what_a_copy_costs(void **state)
{
	struct bed *b = *state;
	unsigned calls;

	put_file(b, "l0/d/first", "first");
	put_file(b, "l0/d/all", "all");
	put_file(b, "l0/d/part", "part");
	put_file(b, "l0/d/owner", "owner");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_write_back(b, "d/first", "F", 0));
	calls = calls_to_write_back(b, "d/all", "ALL+", 0);
	assert_int_equal(calls_of(PLY_SYS_pread) + calls_of(PLY_SYS_clone), 0);
	assert_int_equal(calls_of(PLY_SYS_chmod) + calls_of(PLY_SYS_chown), 0);
	assert_int_equal(calls_of(PLY_SYS_pwrite), 1);
	assert_int_equal(calls_of(PLY_SYS_utimens), 2);
	assert_in_range(calls, 1, 17);
	assert_in_range(calls_to_write_back(b, "d/part", "R", 3), calls, calls + 3);
	assert_int_equal(calls_of(PLY_SYS_pwrite), 2);
	assert_int_equal(calls_of(PLY_SYS_clone), 0);
	assert_ok(u_set(b, "d/owner", &(struct ply_setattr){ .valid = PLY_SET_UID, .uid = 7 }));
	count_calls();
	assert_ok(ply_settle(b->u, 0));
	stop_failing();
	/* Its size is what it was made with. */
	assert_int_equal(calls_of(PLY_SYS_truncate) + calls_of(PLY_SYS_getxattr), 0);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_truncating_copies_only_what_is_kept(void **state)
{
	struct bed *b = *state;
	struct ply_union_stats stats;
	static char big[200001];

	memset(big, 'b', 200000);
	put_file(b, "l0/zero", big);
	put_file(b, "l0/some", big);
	put_file(b, "l0/longer", "short");
	bed_open(b, 1, 0, NULL);
	count_calls();
	assert_ok(u_truncate(b, "zero", 0));
	stop_failing();
	assert_int_equal(calls_of(PLY_SYS_pread) + calls_of(PLY_SYS_copy_range), 0);
	assert_string_equal(u_text(b, "zero"), "");
	count_calls();
	assert_ok(u_truncate(b, "some", 100));
	stop_failing();
	assert_int_equal(calls_of(PLY_SYS_pread), 1);
	assert_int_equal(strlen(u_text(b, "some")), 100);
	assert_ok(u_truncate(b, "longer", 8));
	assert_int_equal(strlen(u_text(b, "longer")), 5);
	ply_union_stats(b->u, &stats);
	assert_int_equal(stats.copyups, 3);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_setting_attributes_sets_them(void **state)
{
	struct bed *b = *state;
	struct statx attr;

	make_zoo(b);
	bed_open(b, 1, 0, NULL);
	for (size_t i = 0; i < ZOO; i++) {
		struct ply_setattr set = {
			.valid = PLY_SET_UID | PLY_SET_GID | PLY_SET_ATIME | PLY_SET_MTIME,
			.uid = 101,
			.gid = 102,
			.atime = { .tv_sec = -5, .tv_nsec = 6 },
			.mtime = { .tv_sec = 7, .tv_nsec = 8 },
		};

		assert_ok(u_set(b, zoo[i], &set));
		assert_ok(u_stat(b, zoo[i], &attr));
		assert_int_equal(attr.stx_uid, 101);
		assert_int_equal(attr.stx_gid, 102);
		assert_int_equal(attr.stx_atime.tv_sec, -5);
		assert_int_equal(attr.stx_mtime.tv_sec, 7);
		assert_int_equal(attr.stx_mtime.tv_nsec, 8);
		if (S_ISLNK(attr.stx_mode))
			continue;
		assert_ok(u_chmod(b, zoo[i], 02711));
		assert_ok(u_stat(b, zoo[i], &attr));
		assert_int_equal(attr.stx_mode & 07777, 02711);
	}
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_writing_drops_privileges_when_told(void **state)
{
	struct bed *b = *state;
	struct ply_entry e;
	struct statx attr;

	make_zoo(b);
	bed_open(b, 1, 0, NULL);
	e = u_hold(b, "d/setid");
	assert_int_equal(ply_write(b->u, e.node, "S", 1, 0, 0), 1);
	assert_ok(ply_getattr(b->u, e.node, &attr));
	assert_int_equal(attr.stx_mode & 07777, 06755);
	assert_int_equal(ply_write(b->u, e.node, "S", 1, 0, PLY_WRITE_KILL_PRIV), 1);
	assert_ok(ply_getattr(b->u, e.node, &attr));
	assert_int_equal(attr.stx_mode & 07777, 0755);
	u_drop(b, &e);
	e = u_hold(b, "d/attrs");
	assert_int_equal(ply_write(b->u, e.node, "A", 1, 0, PLY_WRITE_KILL_PRIV), 1);
	u_drop(b, &e);
	assert_null(u_xattr(b, "d/attrs", "security.capability"));
	assert_string_equal(u_xattr(b, "d/attrs", "user.a"), "value");
	bed_close(b);
}

/* A copy is under way when its name goes: it ends as an unlinked file with the new data. */
static struct bed *unlink_bed;

static int unlink_while_copying(enum ply_sys call)
{
	static int inside;

	if (call != PLY_SYS_pread || inside)
		return 0;
	inside = 1;
	assert_ok(u_unlink(unlink_bed, "f"));
	return 0;
}

static void test_a_file_unlinked_while_it_is_copied_lives_on(void **state)
{
	struct bed *b = *state;
	struct ply_entry e;

	put_file(b, "l0/f", "lower");
	bed_open(b, 1, 0, NULL);
	unlink_bed = b;
	e = u_hold(b, "f");
	ply_sys_probe = unlink_while_copying;
	assert_int_equal(ply_write(b->u, e.node, "L", 1, 0, 0), 1);
	ply_sys_probe = NULL;
	assert_string_equal(node_text(b, e.node), "Lower");
	assert_string_equal(u_ls(b, ""), "");
	u_drop(b, &e);
	assert_int_equal(bed_litter(b), 0);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_fallocate_and_copy_range(void **state)
{
	struct bed *b = *state;
	struct ply_entry from, to;

	put_file(b, "l0/from", "0123456789");
	put_file(b, "l0/to", "abcdefghij");
	bed_open(b, 1, 0, NULL);
	from = u_hold(b, "from");
	to = u_hold(b, "to");
	assert_int_equal(ply_copy_range(b->u, from.node, 2, to.node, 5, 4, 0), 4);
	assert_string_equal(node_text(b, to.node), "abcde2345j");
	assert_string_equal(node_text(b, from.node), "0123456789");
	assert_false(on_disk(b, "up/from"));
	fail_kind(PLY_SYS_copy_range, -EXDEV);
	assert_int_equal(ply_copy_range(b->u, from.node, 0, to.node, 0, 3, 0), 3);
	stop_failing();
	assert_string_equal(node_text(b, to.node), "012de2345j");
	assert_ok(ply_fallocate(b->u, from.node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4,
				0));
	assert_string_equal(node_text(b, from.node), "");
	assert_ok(ply_fallocate(b->u, to.node, 0, 0, 20, 0));
	u_drop(b, &from);
	u_drop(b, &to);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

/* As on any file system, while somebody has it open. */
static void test_a_removed_directory_can_be_changed(void **state)
{
	struct ply_setattr set = { .valid = PLY_SET_MODE, .mode = 0711 };
	const struct ply_make how = { .mode = S_IFREG | 0644 };
	struct bed *b = *state;
	struct ply_entry d, made;
	struct statx attr;

	put_dir(b, "l0/d");
	put_xattr(b, "l0/d", "user.test", "lower");
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	assert_ok(u_rmdir(b, "d"));
	assert_ok(u_mkdir(b, "d"));
	assert_ok(u_put(b, "d/f", "another"));
	assert_ok(ply_setattr(b->u, d.node, &set, &attr));
	assert_int_equal(attr.stx_mode, S_IFDIR | 0711);
	assert_int_equal(attr.stx_nlink, 0);
	assert_ok(ply_setxattr(b->u, d.node, "user.test", "changed", 7, 0));
	assert_errno(ply_create(b->u, d.node, "f", &how, &made), -ENOENT);
	assert_ok(u_stat(b, "d", &attr));
	assert_int_equal(attr.stx_mode & 07777, 0755);
	assert_null(u_xattr(b, "d", "user.test"));
	u_drop(b, &d);
	assert_int_equal(bed_litter(b), 0);
	assert_string_equal(u_ls(b, "d"), "f");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_a_copy_is_the_same_in_everything),
		bed_test(test_marks_of_a_layer_are_not_taken_along),
		bed_test(test_holes_stay_holes),
		bed_test(test_data_of_every_size_is_whole),
		bed_test(test_data_is_copied_by_hand_where_nothing_else_works),
		bed_test(test_only_changes_bring_up),
		bed_test(test_what_is_written_back_comes_up_with_the_copy),
		bed_test(test_what_is_written_back_drops_no_privileges),
		bed_test(test_what_a_copy_costs),
		bed_test(test_truncating_copies_only_what_is_kept),
		bed_test(test_setting_attributes_sets_them),
		bed_test(test_writing_drops_privileges_when_told),
		bed_test(test_a_file_unlinked_while_it_is_copied_lives_on),
		bed_test(test_fallocate_and_copy_range),
		bed_test(test_a_removed_directory_can_be_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_on_old_kernel(group) + group();
}
