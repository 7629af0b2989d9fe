/*
 * Redirect marks of all layers are followed as the kernel's overlayfs follows them, and what makes no sense
 * leads nowhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject.h"
#include "paths.h"
#include "union/node.h"
#include "union/redirect.h"

#define TRUSTED "trusted.overlay.redirect"

/* A thing in a layer; the last character says what: / a directory, ! a whiteout, @ a symlink, else a file. */
struct put {
	const char *path;
	const char *redirect; /* of a directory */
};

/* Layers, and what the directory x shows then. */
static const struct stack {
	const char *name;
	struct put puts[8];
	const char *shows;
} stacks[] = {
	{ "a name is one in the same directory",
	  { { "up/x/u", NULL }, { "up/x/", "d" }, { "l0/d/f", NULL }, { "l1/d/g", NULL } },
	  "f g u" },
	{ "a path starts at the root",
	  { { "up/x/u", NULL }, { "up/x/", "/a/d" }, { "l0/a/d/f", NULL }, { "l2/a/d/g", NULL } },
	  "f g u" },
	{ "what has the directory's own name is another one",
	  { { "up/x/", "d" }, { "l0/x/not", NULL }, { "l1/d/f", NULL }, { "l2/x/not", NULL } },
	  "f" },
	{ "a lower layer's mark holds for those below",
	  { { "l0/x/f", NULL }, { "l0/x/", "d" }, { "l1/x/not", NULL }, { "l1/d/g", NULL } },
	  "f g" },
	{ "marks lead from one to the next",
	  { { "up/x/1", NULL },
	    { "up/x/", "/d" },
	    { "l0/d/2", NULL },
	    { "l0/d/", "c" },
	    { "l1/c/3", NULL },
	    { "l1/c/", "/p/b" },
	    { "l2/p/b/4", NULL } },
	  "1 2 3 4" },
	{ "a layer that lacks it is passed over",
	  { { "up/x/", "/d" }, { "l0/e/not", NULL }, { "l1/d/", "e" }, { "l2/e/f", NULL } },
	  "f" },
	{ "a moved directory on the way turns the path",
	  { { "up/x/", "/a/c" }, { "l0/a/", "/b" }, { "l1/b/c/f", NULL }, { "l1/a/c/not", NULL } },
	  "f" },
	{ "by a name, too",
	  { { "up/x/", "/p/a/c" },
	    { "l0/p/a/c/e", NULL },
	    { "l0/p/a/", "b" },
	    { "l0/p/a/c/", "d" },
	    { "l1/p/b/d/f", NULL },
	    { "l1/p/b/c/not", NULL } },
	  "e f" },
	{ "a whiteout on the way hides the rest",
	  { { "up/x/", "/a/c" }, { "l0/a!", NULL }, { "l1/a/c/not", NULL } },
	  "" },
	{ "so does a file", { { "up/x/", "/a/c" }, { "l0/a", NULL }, { "l1/a/c/not", NULL } }, "" },
	{ "and a file at the end",
	  { { "up/x/", "/a/c" }, { "l0/a/c", NULL }, { "l1/a/c/not", NULL } },
	  "" },
	{ "and a mark of AUFS",
	  { { "up/x/", "/a/c" }, { "l0/.wh.a", NULL }, { "l1/a/c/not", NULL } },
	  "" },
	{ "an opaque directory on the way hides what is below",
	  { { "up/x/", "/a/c" },
	    { "l0/a/c/f", NULL },
	    { "l0/a/.wh..wh..opq", NULL },
	    { "l1/a/c/not", NULL } },
	  "f" },
	{ "an opaque directory goes nowhere",
	  { { "up/x/", "/d" }, { "up/x/.wh..wh..opq", NULL }, { "l0/d/not", NULL } },
	  "" },
	{ "a mark of AUFS beside it speaks of another one",
	  { { "up/x/", "/d" }, { "up/.wh.x", NULL }, { "l0/d/f", NULL }, { "l0/x/not", NULL } },
	  "f" },
	{ "one that leads nowhere leaves it alone",
	  { { "up/x/u", NULL }, { "up/x/", "/none" }, { "l0/x/not", NULL } },
	  "u" },
	{ "two that lead to each other end at the bottom",
	  { { "up/x/", "/d" }, { "l0/d/", "/x" }, { "l1/x/", "/d" }, { "l2/d/f", NULL } },
	  "f" },
	{ "a directory may be shown twice", { { "up/x/", "/d" }, { "l0/d/f", NULL } }, "f" },
	{ "no symlink is followed",
	  { { "up/x/", "/s/c" }, { "l0/s@", NULL }, { "l1/s/c/not", NULL } },
	  "" },
};
#define STACKS (sizeof(stacks) / sizeof(stacks[0]))

static void put_one(struct bed *b, const struct put *p, const char *space)
{
	char path[64];
	size_t len = strlen(p->path);
	char last = p->path[len - 1];

	snprintf(path, sizeof(path), "%.*s", (int)(strchr("/!@", last) ? len - 1 : len), p->path);
	if (last == '!')
		put_whiteout(b, path);
	else if (last == '@')
		put_symlink(b, path, "/");
	else if (last != '/')
		put_file(b, path, p->path);
	else if (!on_disk(b, path))
		put_dir(b, path);
	if (p->redirect)
		put_xattr(b, path, space, p->redirect);
}

static void put_stack(struct bed *b, const struct stack *s, const char *space)
{
	static const char *const tops[] = { "up", "l0", "l1", "l2", "work" };

	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++)
		put_remove(b, tops[i]);
	for (const struct put *p = s->puts; p < s->puts + 8 && p->path; p++)
		put_one(b, p, space);
}

static void check_shows(struct bed *b, const struct stack *s, const char *path, const char *when)
{
	if (strcmp(u_ls(b, path), s->shows))
		fail_msg("%s, %s: '%s', not '%s'", s->name, when, u_ls(b, path), s->shows);
}

static void test_marks_are_followed(void **state)
{
	static const char *const spaces[] = { TRUSTED, "user.overlay.redirect",
					      "user.fuseoverlayfs.redirect" };
	struct bed *b = *state;

	for (size_t i = 0; i < STACKS * 3; i++) {
		const struct stack *s = &stacks[i / 3];

		put_stack(b, s, spaces[i % 3]);
		bed_open(b, 3, 0, NULL);
		check_shows(b, s, "x", "looked up");
		u_ls(b, "");
		check_shows(b, s, "x", "listed");
		assert_same_again(b, TREE_ALL);
		bed_close(b);
	}
}

/* All of them moved, and back again: what they show stays. */
static void test_what_was_found_by_marks_moves(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < STACKS; i++) {
		const struct stack *s = &stacks[i];

		put_stack(b, s, TRUSTED);
		put_dir(b, "up/elsewhere");
		bed_open(b, 3, 0, NULL);
		assert_ok(u_rename(b, "x", "elsewhere/y", 0));
		check_shows(b, s, "elsewhere/y", "moved");
		assert_same_again(b, TREE_ALL);
		check_shows(b, s, "elsewhere/y", "moved, and mounted again");
		assert_errno(u_rename(b, "x", "y", 0), -ENOENT);
		assert_ok(u_rename(b, "elsewhere/y", "x", 0));
		assert_same_again(b, TREE_ALL);
		check_shows(b, s, "x", "moved back");
		bed_close(b);
	}
}

static void test_what_is_below_a_followed_mark_is_found_there(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/a/c/e/f", "l0");
	put_file(b, "l1/b/c/e/g", "l1");
	put_file(b, "l1/a/c/e/not", "other");
	put_xattr(b, "l0/a", TRUSTED, "/b");
	bed_open(b, 2, 0, &(struct ply_union_config){ .max_fds = 1 });
	assert_string_equal(u_ls(b, "a/c/e"), "f g");
	assert_string_equal(u_text(b, "a/c/e/g"), "l1");
	assert_ok(u_write(b, "a/c/e/g", "UP", 0));
	assert_string_equal(disk_text(b, "up/a/c/e/g"), "UP");
	assert_ok(u_unlink(b, "a/c/e/f"));
	assert_string_equal(u_ls(b, "a/c/e"), "g");
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_a_mark_that_makes_no_sense_is_an_error_of_that_directory(void **state)
{
	static const char *const values[] = { "",     ".",    "..",    "a/b",	 "/",
					      "//a",  "/a/",  "/a//b", "/../l0", "/a/..",
					      "a/..", "/./a", "../l0", "x\ny/z", NULL };
	struct bed *b = *state;
	char name[300];

	put_file(b, "l0/a/b/f", "");
	put_file(b, "l0/good/f", "");
	put_file(b, "up/x/u", "");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct statx attr;

		put_xattr(b, "up/x", TRUSTED, values[i] ? values[i] : name);
		bed_open(b, 1, 0, NULL);
		assert_errno(u_stat(b, "x", &attr), -EINVAL);
		assert_errno(u_rename(b, "x", "y", 0), -EINVAL);
		assert_string_equal(u_ls(b, ""), "a good x");
		assert_string_equal(u_ls(b, "good"), "f");
		bed_close(b);
	}
}

static void test_marks_are_not_followed_where_that_is_not_wanted(void **state)
{
	struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_NOFOLLOW };
	struct bed *b = *state;

	put_file(b, "up/x/u", "");
	put_xattr(b, "up/x", TRUSTED, "/d");
	put_file(b, "l0/x/not", "");
	put_file(b, "l0/d/f", "");
	bed_open(b, 1, 0, &how);
	assert_string_equal(u_ls(b, "x"), "u");
	assert_errno(u_rename(b, "d", "e", 0), -EXDEV);
	bed_close(b);
	how.redirect_dir = PLY_REDIRECT_OFF;
	bed_open(b, 1, 0, &how);
	assert_string_equal(u_ls(b, "x"), "f u");
	assert_errno(u_rename(b, "d", "e", 0), -EXDEV);
	assert_errno(u_rename(b, "d", "x", RENAME_EXCHANGE), -EXDEV);
	bed_close(b);
}

/* ---- data of files ---- */

static int data_of(struct bed *b, const char *name, unsigned layer, struct ply_spot *spot)
{
	return ply_redirect_data(b->u, ply_root(b->u), name, layer, spot);
}

static void put_meta(struct bed *b, const char *path, const char *redirect)
{
	put_file(b, path, "");
	put_xattr(b, path, "trusted.overlay.metacopy", "");
	if (redirect)
		put_xattr(b, path, TRUSTED, redirect);
}

static void check_data(struct bed *b, const char *name, unsigned layer, const char *path)
{
	struct ply_spot spot;

	assert_ok(data_of(b, name, PLY_UPPER, &spot));
	assert_int_equal(spot.layer, layer);
	assert_string_equal(spot.path, path);
	assert_int_equal(spot.stx.stx_size, 4);
	free((void *)spot.path);
}

static void test_the_data_of_metadata_only_files_is_found(void **state)
{
	struct bed *b = *state;
	struct ply_spot spot;

	put_file(b, "l2/data", "data");
	put_file(b, "l1/d/data", "data");
	put_meta(b, "up/data", NULL);
	put_meta(b, "up/moved", "data");
	put_meta(b, "up/far", "/d/data");
	put_meta(b, "l0/chain", "/d/data");
	put_meta(b, "up/chain", NULL);
	put_meta(b, "up/gone", "/d/none");
	put_meta(b, "up/hidden", "/h/data");
	put_whiteout(b, "l0/h");
	put_file(b, "l1/h/data", "data");
	put_meta(b, "up/dir", "d");
	put_meta(b, "l2/empty", NULL);
	put_meta(b, "up/empty", NULL);
	put_meta(b, "up/bad", "../d/data");
	bed_open(b, 3, 0, NULL);
	check_data(b, "data", 3, "data");
	check_data(b, "moved", 3, "data");
	check_data(b, "far", 2, "d/data");
	check_data(b, "chain", 2, "d/data");
	assert_errno(data_of(b, "gone", PLY_UPPER, &spot), -ENODATA);
	assert_errno(data_of(b, "hidden", PLY_UPPER, &spot), -ENODATA);
	assert_errno(data_of(b, "dir", PLY_UPPER, &spot), -ENODATA);
	assert_errno(data_of(b, "empty", PLY_UPPER, &spot), -ENODATA);
	assert_errno(data_of(b, "bad", PLY_UPPER, &spot), -EINVAL);
	bed_close(b);
	bed_open(b, 3, 0, &(struct ply_union_config){ .redirect_dir = PLY_REDIRECT_NOFOLLOW });
	check_data(b, "data", 3, "data");
	assert_errno(data_of(b, "moved", PLY_UPPER, &spot), -EPERM);
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_marks_are_followed),
		bed_test(test_what_was_found_by_marks_moves),
		bed_test(test_what_is_below_a_followed_mark_is_found_there),
		bed_test(test_a_mark_that_makes_no_sense_is_an_error_of_that_directory),
		bed_test(test_marks_are_not_followed_where_that_is_not_wanted),
		bed_test(test_the_data_of_metadata_only_files_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
