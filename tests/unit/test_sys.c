/* The wrappers of system calls, with all that this kernel has and with what older ones lack; and the probe. */
#include "base/sys.h"

#include <errno.h>
#include <linux/openat2.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bed.h"
#include "elsewhere.h"
#include "inject.h"

static int open_dir(struct bed *b, const char *path)
{
	int fd = sys_open(AT_FDCWD, bed_path(b, "%s", path), O_RDONLY | O_DIRECTORY, 0);

	assert_true(fd >= 0);
	return fd;
}

/* Ways to name the same object: by name, by a descriptor, by one that can do nothing else. */
struct way {
	int fd;
	const char *name;
};

static void open_ways(int dir, const char *name, struct way ways[3])
{
	ways[0] = (struct way){ dir, name };
	ways[1] = (struct way){ sys_open(dir, name, O_RDONLY | O_NONBLOCK, 0), "" };
	ways[2] = (struct way){ sys_open(dir, name, O_PATH | O_NOFOLLOW, 0), "" };
	assert_true(ways[1].fd >= 0 && ways[2].fd >= 0);
}

static void close_ways(const struct way ways[3])
{
	sys_close(ways[1].fd);
	sys_close(ways[2].fd);
}

static void check_xattrs(const struct way *w)
{
	char value[16] = "", list[64];

	assert_int_equal(sys_getxattr(w->fd, w->name, "user.x", value, sizeof(value)), -ENODATA);
	assert_int_equal(sys_setxattr(w->fd, w->name, "user.x", "value", 5, XATTR_REPLACE),
			 -ENODATA);
	assert_int_equal(sys_setxattr(w->fd, w->name, "user.x", "value", 5, XATTR_CREATE), 0);
	assert_int_equal(sys_setxattr(w->fd, w->name, "user.x", "value", 5, XATTR_CREATE), -EEXIST);
	assert_int_equal(sys_getxattr(w->fd, w->name, "user.x", NULL, 0), 5);
	assert_int_equal(sys_getxattr(w->fd, w->name, "user.x", value, 3), -ERANGE);
	assert_int_equal(sys_getxattr(w->fd, w->name, "user.x", value, sizeof(value)), 5);
	assert_memory_equal(value, "value", 5);
	assert_int_equal(sys_listxattr(w->fd, w->name, list, sizeof(list)), 7);
	assert_string_equal(list, "user.x");
	assert_int_equal(sys_listxattr(w->fd, w->name, list, 3), -ERANGE);
	assert_int_equal(sys_removexattr(w->fd, w->name, "user.x"), 0);
	assert_int_equal(sys_removexattr(w->fd, w->name, "user.x"), -ENODATA);
	assert_int_equal(sys_listxattr(w->fd, w->name, list, sizeof(list)), 0);
}

static void test_attributes_are_reached_by_name_and_by_descriptor(void **state)
{
	struct bed *b = *state;
	struct way ways[3];
	int dir;

	put_file(b, "d/file", "");
	put_dir(b, "d/dir");
	dir = open_dir(b, "d");
	for (int i = 0; i < 2; i++) {
		open_ways(dir, i ? "dir" : "file", ways);
		for (int w = 0; w < 3; w++)
			check_xattrs(&ways[w]);
		close_ways(ways);
	}
	assert_int_equal(sys_getxattr(dir, "none", "user.x", NULL, 0), -ENOENT);
	assert_int_equal(sys_listxattr(dir, "none", NULL, 0), -ENOENT);
	assert_int_equal(sys_setxattr(dir, "none", "user.x", "", 0, 0), -ENOENT);
	assert_int_equal(sys_removexattr(dir, "none", "user.x"), -ENOENT);
	sys_close(dir);
}

static void test_symlinks_have_attributes_of_their_own(void **state)
{
	struct bed *b = *state;
	char value[16];
	int dir;

	put_file(b, "d/file", "");
	put_symlink(b, "d/link", "file");
	dir = open_dir(b, "d");
	assert_int_equal(sys_setxattr(dir, "link", "trusted.x", "link", 4, 0), 0);
	assert_int_equal(sys_getxattr(dir, "file", "trusted.x", value, sizeof(value)), -ENODATA);
	assert_int_equal(sys_getxattr(dir, "link", "trusted.x", value, sizeof(value)), 4);
	assert_int_equal(sys_chown(dir, "link", 3, 4), 0);
	assert_int_equal(sys_utimens(dir, "link", (struct timespec[2]){ { 1, 2 }, { 3, 4 } }), 0);
	sys_close(dir);
}

static mode_t mode_of(int dir, const char *name)
{
	struct statx stx;

	assert_int_equal(sys_statx(dir, name, STATX_MODE, &stx), 0);
	return stx.stx_mode & 07777;
}

static void test_modes_are_changed_by_name_and_by_descriptor(void **state)
{
	static const mode_t modes[] = { 04711, 0, 01777 };
	struct bed *b = *state;
	struct way ways[3];
	int dir;

	put_file(b, "d/file", "");
	put_dir(b, "d/dir");
	dir = open_dir(b, "d");
	for (int i = 0; i < 2; i++) {
		open_ways(dir, i ? "dir" : "file", ways);
		for (int w = 0; w < 3; w++) {
			assert_int_equal(sys_chmod(ways[w].fd, ways[w].name, modes[w]), 0);
			assert_int_equal(mode_of(dir, i ? "dir" : "file"), modes[w]);
		}
		close_ways(ways);
	}
	assert_int_equal(sys_chmod(dir, "none", 0600), -ENOENT);
	sys_close(dir);
}

#define INSIDE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

static int open_inside(int dir, const char *path)
{
	return sys_openat2(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, INSIDE);
}

static void test_paths_stay_inside_and_follow_no_link(void **state)
{
	static const char *const outside[] = { "..",	 "a/../..",	 "a/../../l0", "link",
					       "link/x", "a/up",	 "a/up/l0",    "/",
					       "/etc",	 "a/b/../../..", "abs/etc",    "a/loop/b" };
	struct bed *b = *state;
	char name[400];
	int dir, fd;

	put_dir(b, "other/x");
	put_dir(b, "l0/a/b/c");
	put_symlink(b, "l0/link", "../other");
	put_symlink(b, "l0/a/up", "../..");
	put_symlink(b, "l0/abs", "/");
	put_symlink(b, "l0/a/loop", "loop");
	put_file(b, "l0/a/file", "");
	dir = open_dir(b, "l0");
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		fd = open_inside(dir, outside[i]);
		if (fd >= 0)
			fail_msg("%s was opened", outside[i]);
	}
	fd = open_inside(dir, "a/b/c");
	assert_true(fd >= 0);
	sys_close(fd);
	assert_int_equal(open_inside(dir, "a/none/c"), -ENOENT);
	assert_int_equal(open_inside(dir, "a/file"), -ENOTDIR);
	assert_int_equal(open_inside(dir, "a/file/x"), -ENOTDIR);
	memset(name, 'x', sizeof(name));
	name[399] = '\0';
	assert_int_equal(open_inside(dir, name), -ENAMETOOLONG);
	sys_close(dir);
}

static void test_a_nameless_file_gets_a_name(void **state)
{
	struct bed *b = *state;
	int dir, fd;

	put_dir(b, "d");
	dir = open_dir(b, "d");
	fd = sys_open(dir, ".", O_TMPFILE | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(sys_pwrite(fd, "text", 4, 0), 4);
	assert_int_equal(sys_access(dir, "name"), -ENOENT);
	assert_int_equal(sys_link(fd, "", dir, "name"), 0);
	assert_int_equal(sys_link(fd, "", dir, "name"), -EEXIST);
	assert_int_equal(sys_link(dir, "name", dir, "second"), 0);
	assert_string_equal(disk_text(b, "d/second"), "text");
	sys_close(fd);
	sys_close(dir);
}

/* Calls every wrapper once, with arguments that would succeed or not. */
static void call_all(int dir)
{
	struct timespec ts[2] = { { 0 } };
	off_t off = 0, out = 0;
	struct statvfs vfs;
	struct statx stx;
	uint8_t uuid[16];
	char buf[64];
	long magic;
	int bad = 0;

#define REFUSED(call) (bad += (call) != -EDOM)
	REFUSED(sys_open(dir, "x", O_CREAT | O_RDWR, 0600));
	REFUSED(sys_openat2(dir, "d", O_PATH, 0, INSIDE));
	REFUSED(sys_statx(dir, "", STATX_MODE, &stx));
	REFUSED(sys_statvfs(dir, &vfs));
	REFUSED(sys_access(dir, "d"));
	REFUSED(sys_mkdir(dir, "x", 0700));
	REFUSED(sys_mknod(dir, "x", S_IFREG | 0600, 0));
	REFUSED(sys_symlink("t", dir, "x"));
	REFUSED(sys_link(dir, "f", dir, "x"));
	REFUSED(sys_unlink(dir, "f"));
	REFUSED(sys_rmdir(dir, "d"));
	REFUSED(sys_rename(dir, "f", dir, "x", 0));
	REFUSED(sys_readlink(dir, "l", buf, sizeof(buf)));
	REFUSED(sys_chmod(dir, "f", 0));
	REFUSED(sys_chown(dir, "f", 1, 1));
	REFUSED(sys_utimens(dir, "f", ts));
	REFUSED(sys_truncate(dir, 0));
	REFUSED(sys_pread(dir, buf, 1, 0));
	REFUSED(sys_pwrite(dir, buf, 1, 0));
	REFUSED(sys_fallocate(dir, 0, 0, 1));
	REFUSED(sys_lseek(dir, 0, SEEK_SET));
	REFUSED(sys_copy_range(dir, &off, dir, &out, 1));
	REFUSED(sys_clone(dir, dir));
	REFUSED(sys_fsync(dir));
	REFUSED(sys_fdatasync(dir));
	REFUSED(sys_syncfs(dir));
	REFUSED(sys_getdents(dir, buf, sizeof(buf)));
	REFUSED(sys_getxattr(dir, "f", "user.x", buf, 1));
	REFUSED(sys_setxattr(dir, "f", "user.x", buf, 1, 0));
	REFUSED(sys_listxattr(dir, "f", buf, 1));
	REFUSED(sys_removexattr(dir, "f", "user.x"));
	REFUSED(sys_name_to_handle(dir, "f", NULL));
	REFUSED(sys_open_by_handle(dir, NULL, O_PATH));
	REFUSED(sys_open_tree("/"));
	REFUSED(sys_mount_private(dir, 0));
	REFUSED(sys_flock(dir));
	REFUSED(sys_fstype(dir, &magic));
	REFUSED(sys_fsuuid(dir, uuid));
#undef REFUSED
	assert_int_equal(bad, 0);
}

static void test_the_probe_is_asked_before_every_call(void **state)
{
	struct bed *b = *state;
	int dir;

	put_file(b, "d/f", "");
	put_dir(b, "d/d");
	put_symlink(b, "d/l", "t");
	dir = open_dir(b, "d");
	for (unsigned i = 0; i < PLY_SYS_COUNT; i++)
		if (i != PLY_SYS_close)
			assert_non_null(ply_sys_name((enum ply_sys)i));
	/* All refused, by the same hook: none was made. */
	fail_every_call(-EDOM);
	call_all(dir);
	sys_close(-1);
	stop_failing();
	assert_int_equal(calls_of(PLY_SYS_unlink), 2); /* rmdir is one */
	assert_int_equal(calls_of(PLY_SYS_close), 1);
	assert_true(on_disk(b, "d/f") && on_disk(b, "d/d") && !on_disk(b, "d/x"));
	sys_close(dir);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_attributes_are_reached_by_name_and_by_descriptor),
		bed_test(test_symlinks_have_attributes_of_their_own),
		bed_test(test_modes_are_changed_by_name_and_by_descriptor),
		bed_test(test_paths_stay_inside_and_follow_no_link),
		bed_test(test_a_nameless_file_gets_a_name),
		bed_test(test_the_probe_is_asked_before_every_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_on_old_kernel(group) + group();
}
