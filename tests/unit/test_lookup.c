/* What a stack shows: marks of every form in every place, by looking names up and by listing. */
#include <errno.h>
#include <linux/fs.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "inject.h"
#include "layer/marks.h"
#include "paths.h"

/* Ways to delete the name "d/x" in layer l1. */
static void by_device(struct bed *b)
{
	put_whiteout(b, "l1/d/x");
}

static void by_aufs_file(struct bed *b)
{
	put_file(b, "l1/d/.wh.x", "");
}

static void by_aufs_dir(struct bed *b)
{
	put_dir(b, "l1/d/.wh.x");
}

static void by_trusted_xattr(struct bed *b)
{
	put_file(b, "l1/d/x", "");
	put_xattr(b, "l1/d/x", "trusted.overlay.whiteout", "y");
	put_xattr(b, "l1/d", "trusted.overlay.opaque", "x");
}

static void by_user_xattr(struct bed *b)
{
	put_file(b, "l1/d/x", "");
	put_xattr(b, "l1/d/x", "user.overlay.whiteout", "");
	put_xattr(b, "l1/d", "user.overlay.opaque", "x");
}

static void by_mixed_xattrs(struct bed *b)
{
	put_file(b, "l1/d/x", "");
	put_xattr(b, "l1/d/x", "user.overlay.whiteout", "y");
	put_xattr(b, "l1/d", "trusted.overlay.opaque", "x");
}

/* Ways to hide all that is below directory "d" of layer l1. */
static void opaque_trusted(struct bed *b)
{
	put_dir(b, "l1/d");
	put_xattr(b, "l1/d", "trusted.overlay.opaque", "y");
}

static void opaque_user(struct bed *b)
{
	put_dir(b, "l1/d");
	put_xattr(b, "l1/d", "user.overlay.opaque", "y");
}

static void opaque_fuse(struct bed *b)
{
	put_dir(b, "l1/d");
	put_xattr(b, "l1/d", "user.fuseoverlayfs.opaque", "y");
}

static void opaque_aufs(struct bed *b)
{
	put_file(b, "l1/d/.wh..wh..opq", "");
}

static void opaque_by_whiteout_beside(struct bed *b)
{
	put_dir(b, "l1/d");
	put_file(b, "l1/.wh.d", "");
}

static const struct form {
	const char *name;
	void (*put)(struct bed *b);
} deletions[] = {
	{ "device", by_device },
	{ "aufs file", by_aufs_file },
	{ "aufs dir", by_aufs_dir },
	{ "trusted xattr", by_trusted_xattr },
	{ "user xattr", by_user_xattr },
	{ "mixed xattrs", by_mixed_xattrs },
}, opaques[] = {
	{ "trusted", opaque_trusted },
	{ "user", opaque_user },
	{ "fuse", opaque_fuse },
	{ "aufs", opaque_aufs },
	{ "whiteout beside", opaque_by_whiteout_beside },
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Looking up first and listing first must say the same. */
static void check_shows(struct bed *b, unsigned layers, const char *dir, const char *names,
			const char *hidden)
{
	char path[256];

	for (int list_first = 0; list_first < 2; list_first++) {
		bed_open(b, layers, BED_READONLY, NULL);
		if (list_first)
			assert_string_equal(u_ls(b, dir), names);
		snprintf(path, sizeof(path), "%s/%s", dir, hidden);
		assert_string_equal(u_text(b, path), "ENOENT");
		assert_string_equal(u_ls(b, dir), names);
		bed_close(b);
	}
}

static void test_a_whiteout_of_any_form_hides_what_is_below(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < COUNT(deletions); i++) {
		put_remove(b, "l1");
		put_dir(b, "l0/d");
		put_file(b, "l1/d/other", "other");
		put_file(b, "l2/d/x", "hidden");
		put_file(b, "l2/d/kept", "kept");
		deletions[i].put(b);
		check_shows(b, 3, "d", "kept other", "x");
		/* A layer on top of it shows the name again. */
		put_file(b, "l0/d/x", "new");
		bed_open(b, 3, BED_READONLY, NULL);
		assert_string_equal(u_text(b, "d/x"), "new");
		assert_string_equal(u_ls(b, "d"), "kept other x");
		bed_close(b);
		put_remove(b, "l0/d/x");
	}
}

static void test_a_whiteout_between_directories_cuts_them_apart(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < COUNT(deletions); i++) {
		put_remove(b, "l1");
		put_file(b, "l0/d/x/top", "top");
		put_file(b, "l2/d/x/bottom", "bottom");
		put_dir(b, "l1/d");
		deletions[i].put(b);
		check_shows(b, 3, "d/x", "top", "bottom");
	}
}

static void test_an_opaque_directory_of_any_form_hides_what_is_below(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < COUNT(opaques); i++) {
		put_remove(b, "l1");
		put_file(b, "l0/d/top", "top");
		put_file(b, "l2/d/bottom", "bottom");
		opaques[i].put(b);
		put_file(b, "l1/d/middle", "middle");
		check_shows(b, 3, "d", "middle top", "bottom");
	}
}

static void test_marks_of_the_upper_count_like_those_of_layers(void **state)
{
	struct bed *b = *state;

	put_file(b, "up/d/.wh.x", "");
	put_file(b, "up/.wh.gone", "");
	put_file(b, "l0/gone", "gone");
	put_file(b, "l0/d/x", "x");
	put_file(b, "l0/d/y", "y");
	put_file(b, "up/e/.wh..wh..opq", "");
	put_file(b, "l0/e/x", "x");
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_text(b, "d/x"), "ENOENT");
	assert_string_equal(u_text(b, "gone"), "ENOENT");
	assert_string_equal(u_text(b, "e/x"), "ENOENT");
	assert_string_equal(u_ls(b, ""), "d e");
	assert_string_equal(u_ls(b, "d"), "y");
	assert_string_equal(u_ls(b, "e"), "");
	/* They give way to what takes the name. */
	assert_ok(u_put(b, "d/x", "new"));
	assert_ok(u_mkdir(b, "gone"));
	assert_string_equal(u_ls(b, "d"), "x y");
	assert_same_again(b, TREE_ALL);
	assert_string_equal(u_text(b, "d/x"), "new");
	assert_string_equal(u_ls(b, "gone"), "");
	bed_close(b);
}

static void test_what_is_no_mark_is_shown(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/d/x", ""); /* not announced */
	put_xattr(b, "l0/d/x", "trusted.overlay.whiteout", "y");
	put_file(b, "l0/d/full", "not empty");
	put_node(b, "l0/d/null", S_IFCHR | 0666, 0x103);
	put_xattr(b, "l0/d", "trusted.overlay.impure", "y");
	put_file(b, "l0/e/x", "");
	put_xattr(b, "l0/e", "trusted.overlay.opaque", "x");
	put_file(b, "l0/e/full", "not empty");
	put_xattr(b, "l0/e/full", "trusted.overlay.whiteout", "y");
	put_file(b, "l1/e/below", "x does not hide");
	put_xattr(b, "l0/d", "user.overlay.opaque", "n");
	put_file(b, "l1/d/below", "n does not hide");
	bed_open(b, 2, BED_READONLY, NULL);
	assert_string_equal(u_ls(b, "d"), "below full null x");
	assert_string_equal(u_ls(b, "e"), "below full x");
	assert_string_equal(u_text(b, "d/below"), "n does not hide");
	bed_close(b);
}

static void test_what_is_on_top_wins_whatever_its_type(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/a", "file");
	put_file(b, "l1/a/below", "");
	put_file(b, "l0/b/top", "top");
	put_file(b, "l1/b", "file between");
	put_file(b, "l2/b/below", "");
	put_symlink(b, "l0/c", "target");
	put_dir(b, "l1/c");
	bed_open(b, 3, BED_READONLY, NULL);
	assert_string_equal(u_text(b, "a"), "file");
	assert_string_equal(u_text(b, "a/below"), "ENOTDIR");
	assert_string_equal(u_ls(b, "b"), "top");
	assert_string_equal(u_text(b, "b/below"), "ENOENT");
	assert_string_equal(u_text(b, "c/x"), "ENOTDIR");
	assert_string_equal(u_ls(b, ""), "a b c");
	bed_close(b);
}

/* A directory of one layer that is a symlink in another must not lead anywhere. */
static void test_symlinks_in_layers_are_never_followed(void **state)
{
	struct bed *b = *state;

	put_file(b, "outside/secret", "secret");
	put_file(b, "l0/d/top", "");
	put_symlink(b, "l1/d", "../outside");
	put_symlink(b, "l1/e", bed_path(b, "outside"));
	put_file(b, "l2/e/x", "");
	bed_open(b, 3, 0, NULL);
	assert_string_equal(u_ls(b, "d"), "top");
	assert_string_equal(u_text(b, "d/secret"), "ENOENT");
	assert_string_equal(u_text(b, "e/secret"), "ENOTDIR");
	bed_close(b);
}

static void test_reserved_names_are_neither_seen_nor_made(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/.wh.a", "");
	put_file(b, "l0/.wh..wh.plnk/x", "");
	put_file(b, "up/.wh.b", "");
	put_file(b, "l0/f", "");
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_ls(b, ""), "f");
	assert_string_equal(u_text(b, ".wh.a"), "ENOENT");
	assert_string_equal(u_text(b, ".wh.b"), "ENOENT");
	assert_errno(u_create(b, ".wh.c"), -EPERM);
	assert_errno(u_mkdir(b, ".wh..wh..opq"), -EPERM);
	assert_errno(u_link(b, ".wh.f", "f"), -EPERM);
	assert_errno(u_rename(b, "f", ".wh.f", 0), -EPERM);
	assert_errno(u_unlink(b, ".wh.a"), -ENOENT);
	assert_errno(u_make(b, "wh", S_IFCHR | 0600, 0), -EPERM);
	assert_string_equal(u_ls(b, ""), "f");
	bed_close(b);
}

static void test_a_users_name_is_never_an_aufs_mark_on_disk(void **state)
{
	static const char *const names[] = {
		".wh.x",
		".wh.",
		".wh..wh..opq",
		".wh..wh.plnk",
		".wh..wh.name.x",
		".wh..wh..wh.name.x",
		".wh..wh.name",
		".wh..wh.name..wh.x",
		"x",
		".whx",
		"x.wh.",
		"...",
	};
	char disk[PLY_NAME_MAX + 1], back[PLY_NAME_MAX + 1], whiteout[2 * PLY_NAME_MAX];
	char longest[PLY_NAME_MAX - PLY_AUFS_KEPT_LEN + PLY_AUFS_PREFIX_LEN + 1] = ".wh.",
									      longer[PLY_NAME_MAX];

	(void)state;
	memset(longest + PLY_AUFS_PREFIX_LEN, 'n', sizeof(longest) - PLY_AUFS_PREFIX_LEN - 1);
	snprintf(longer, sizeof(longer), "%sn", longest);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *kept = ply_name_to_disk(names[i], disk);

		assert_false(ply_is_aufs_name(kept));
		assert_string_equal(ply_name_from_disk(kept, back), names[i]);
		/* And what AUFS would call its whiteout hides it. */
		snprintf(whiteout, sizeof(whiteout), PLY_AUFS_PREFIX "%s", kept);
		assert_true(ply_is_aufs_name(whiteout));
		assert_string_equal(ply_aufs_target(whiteout), kept);
	}
	assert_null(ply_aufs_target(PLY_AUFS_OPAQUE));
	assert_null(ply_aufs_target(".wh..wh.plnk"));
	assert_null(ply_aufs_target(".wh."));
	assert_null(ply_aufs_target(".wh.."));
	assert_null(ply_aufs_target(".wh..."));
	assert_string_equal(ply_aufs_target(".wh...."), "...");
	assert_int_equal(strlen(ply_name_to_disk(longest, disk)), PLY_NAME_MAX);
	assert_ptr_equal(ply_name_to_disk(longer, disk), longer);
	assert_true(ply_is_aufs_name(longer));
}

static void test_names_have_up_to_255_bytes(void **state)
{
	struct bed *b = *state;
	char name[300];

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	bed_open(b, 1, 0, NULL);
	assert_ok(u_put(b, name, "long"));
	assert_string_equal(u_text(b, name), "long");
	assert_ok(u_unlink(b, name));
	assert_ok(u_mkdir(b, name));
	name[255] = 'n';
	name[256] = '\0';
	assert_string_equal(u_text(b, name), "ENAMETOOLONG");
	assert_errno(u_create(b, name), -ENAMETOOLONG);
	assert_errno(u_link(b, name, "x"), -ENOENT);
	assert_ok(u_create(b, "x"));
	assert_errno(u_link(b, name, "x"), -ENAMETOOLONG);
	assert_errno(u_rename(b, "x", name, 0), -ENAMETOOLONG);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_a_listed_directory_answers_misses_without_a_call(void **state)
{
	struct bed *b = *state;
	struct ply_entry dir, out;

	for (unsigned l = 0; l < 20; l++) {
		char path[32];

		snprintf(path, sizeof(path), "l%u/d/f%u", l, l);
		put_file(b, path, "");
	}
	bed_open(b, 20, 0, NULL);
	dir = u_hold(b, "d");
	assert_errno(ply_lookup(b->u, dir.node, "none", &out), -ENOENT);
	count_calls();
	for (unsigned i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "none%u", i);
		assert_errno(ply_lookup(b->u, dir.node, name, &out), -ENOENT);
	}
	assert_int_equal(stop_failing(), 0);
	/* And a hit costs no more than the layers that have it. */
	count_calls();
	assert_ok(ply_lookup(b->u, dir.node, "f17", &out));
	assert_true(stop_failing() <= 2);
	u_drop(b, &out);
	u_drop(b, &dir);
	bed_close(b);
}

static void test_the_mountpoint_inside_a_layer_is_skipped(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .sync = 1 };
	char mountpoint[BED_PATH];

	put_dir(b, "l0/d/mnt");
	put_file(b, "l0/d/f", "f");
	put_file(b, "l0/e/mnt/inside", "elsewhere");
	snprintf(mountpoint, sizeof(mountpoint), "%s", bed_path(b, "l0/d/mnt"));
	how.mountpoint = mountpoint;
	bed_open(b, 1, BED_PLAIN, &how);
	assert_string_equal(u_text(b, "d/mnt"), "ENOENT");
	assert_string_equal(u_ls(b, "d"), "f");
	assert_string_equal(u_text(b, "d/mnt/x"), "ENOENT");
	assert_string_equal(u_text(b, "e/mnt/inside"), "elsewhere");
	/* The name is free in the union. */
	assert_ok(u_mkdir(b, "d/mnt"));
	assert_ok(u_put(b, "d/mnt/x", "new"));
	assert_string_equal(u_text(b, "d/mnt/x"), "new");
	bed_close(b);
}

static void test_a_thousand_layers(void **state)
{
	enum { LAYERS = 1000 };
	struct bed *b = *state;
	struct rlimit limit;
	char path[64], text[16];

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max < LAYERS + 200 ? limit.rlim_max : LAYERS + 200;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned l = 0; l < LAYERS; l++) {
		snprintf(path, sizeof(path), "l%u/d/f%u", l, l);
		snprintf(text, sizeof(text), "%u", l);
		put_file(b, path, text);
	}
	put_whiteout(b, "l500/d/f700");
	bed_open(b, LAYERS, 0, NULL);
	for (unsigned l = 0; l < LAYERS; l += 37) {
		snprintf(path, sizeof(path), "d/f%u", l);
		snprintf(text, sizeof(text), "%u", l);
		assert_string_equal(u_text(b, path), l == 700 ? "ENOENT" : text);
	}
	assert_string_equal(u_text(b, "d/f700"), "ENOENT");
	assert_string_equal(u_text(b, "d/f999"), "999");
	assert_int_equal(strlen(u_ls(b, "d")), 999 * 2 + 10 + 90 * 2 + 899 * 3 - 1);
	assert_ok(u_write(b, "d/f999", "x", 0));
	assert_ok(u_unlink(b, "d/f0"));
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_without_an_upper_nothing_can_be_changed(void **state)
{
	struct bed *b = *state;
	struct ply_entry out;
	struct ply_make how = { .mode = S_IFREG | 0600 };

	put_file(b, "l0/f", "f");
	put_dir(b, "l0/d");
	bed_open(b, 1, BED_READONLY, NULL);
	assert_true(ply_union_readonly(b->u));
	assert_errno(u_create(b, "new"), -EROFS);
	assert_errno(u_create(b, "f"), -EROFS);
	assert_errno(u_mkdir(b, "d/new"), -EROFS);
	assert_errno(u_write(b, "f", "x", 0), -EROFS);
	assert_errno(u_truncate(b, "f", 0), -EROFS);
	assert_errno(u_chmod(b, "f", 0600), -EROFS);
	assert_errno(u_setxattr(b, "f", "user.x", "x"), -EROFS);
	assert_errno(u_unlink(b, "f"), -EROFS);
	assert_errno(u_rmdir(b, "d"), -EROFS);
	assert_errno(u_rename(b, "f", "g", 0), -EROFS);
	assert_errno(u_link(b, "g", "f"), -EROFS);
	assert_errno(ply_tmpfile(b->u, ply_root(b->u), &how, &out), -EROFS);
	assert_string_equal(u_text(b, "f"), "f");
	assert_string_equal(u_ls(b, ""), "d f");
	bed_close(b);
}

static void test_deep_paths(void **state)
{
	enum { DEPTH = 300 };
	struct bed *b = *state;
	struct ply_entry at = { .node = NULL }, next;
	struct ply_make how = { .mode = S_IFDIR | 0777, .cred.umask = 022 };
	char name[256];

	/* Longer than any path that one system call takes. */
	memset(name, 'd', 200);
	name[200] = '\0';
	bed_open(b, 1, 0, &(struct ply_union_config){ .max_fds = 1 });
	at.node = ply_root(b->u);
	for (unsigned i = 0; i < DEPTH; i++) {
		assert_ok(ply_create(b->u, at.node, name, &how, &next));
		ply_forget(b->u, at.node, 1);
		at = next;
	}
	how.mode = S_IFREG | 0666;
	assert_ok(ply_create(b->u, at.node, "bottom", &how, &next));
	assert_int_equal(ply_write(b->u, next.node, "deep", 4, 0, 0), 4);
	u_drop(b, &next);
	u_drop(b, &at);
	bed_again(b);
	at.node = ply_root(b->u);
	for (unsigned i = 0; i < DEPTH; i++) {
		assert_ok(ply_lookup(b->u, at.node, name, &next));
		ply_forget(b->u, at.node, 1);
		at = next;
	}
	assert_ok(ply_lookup(b->u, at.node, "bottom", &next));
	assert_string_equal(node_text(b, next.node), "deep");
	u_drop(b, &next);
	u_drop(b, &at);
	bed_close(b);
}

/* Far more directories and files in use than descriptors, by the limit of the process itself. */
static void test_a_low_limit_of_descriptors_is_no_limit_for_nodes(void **state)
{
	enum { DIRS = 150 };
	struct bed *b = *state;
	struct ply_entry held[DIRS];
	struct rlimit limit, low;
	char path[64];

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "l%u/d%u/e/f", i % 3, i);
		put_file(b, path, "lower");
	}
	low = limit;
	low.rlim_cur = count_fds() + 60;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	bed_open(b, 3, 0, NULL);
	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "d%u/e/f", i);
		held[i] = u_hold(b, path);
		if (i % 2)
			assert_int_equal(ply_write(b->u, held[i].node, "UPPER", 5, 0, 0), 5);
	}
	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "d%u/e/f", i);
		assert_string_equal(node_text(b, held[i].node), i % 2 ? "UPPER" : "lower");
		assert_ok(u_unlink(b, path));
		assert_string_equal(node_text(b, held[i].node), i % 2 ? "UPPER" : "lower");
	}
	for (unsigned i = 0; i < DIRS; i++)
		u_drop(b, &held[i]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_a_whiteout_of_any_form_hides_what_is_below),
		bed_test(test_a_whiteout_between_directories_cuts_them_apart),
		bed_test(test_an_opaque_directory_of_any_form_hides_what_is_below),
		bed_test(test_marks_of_the_upper_count_like_those_of_layers),
		bed_test(test_what_is_no_mark_is_shown),
		bed_test(test_what_is_on_top_wins_whatever_its_type),
		bed_test(test_symlinks_in_layers_are_never_followed),
		bed_test(test_reserved_names_are_neither_seen_nor_made),
		bed_test(test_a_users_name_is_never_an_aufs_mark_on_disk),
		bed_test(test_names_have_up_to_255_bytes),
		bed_test(test_a_listed_directory_answers_misses_without_a_call),
		bed_test(test_the_mountpoint_inside_a_layer_is_skipped),
		bed_test(test_a_thousand_layers),
		bed_test(test_without_an_upper_nothing_can_be_changed),
		bed_test(test_deep_paths),
		bed_test(test_a_low_limit_of_descriptors_is_no_limit_for_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
