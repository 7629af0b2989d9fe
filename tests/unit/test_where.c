/* Where a name comes from, as the union that shows it knows it. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "paths.h"

static const char *const kinds[] = {
	[PLY_WHERE_INODE] = "",		 [PLY_WHERE_INDEX] = "index:",
	[PLY_WHERE_DATA] = "data:",	 [PLY_WHERE_NO_DATA] = "none:",
	[PLY_WHERE_WHITEOUT] = "white:", [PLY_WHERE_NOTHING] = "nothing:",
};
static const char *const states[] = {
	[PLY_WHERE_LOWER] = "lower",
	[PLY_WHERE_META_UP] = "meta",
	[PLY_WHERE_MARKED] = "marked",
	[PLY_WHERE_UPPER] = "upper",
};

/* All parts as "state: LAYER:path ...", or the error and what is hidden by; in a static buffer. */
static const char *where(struct bed *b, const char *path)
{
	static char text[8192];
	struct ply_where w;
	size_t used = 0;
	int err = ply_where(b->u, path, 0, &w);

	if (err == -ENOENT && w.kind == PLY_WHERE_WHITEOUT) {
		snprintf(text, sizeof(text), "white:%u:%s", w.layer, w.path);
		return text;
	}
	if (err) {
		snprintf(text, sizeof(text), "%d", err);
		return text;
	}
	used += (size_t)snprintf(text, sizeof(text), "%s", states[w.state]);
	for (unsigned i = 0; i < w.nparts; i++) {
		assert_ok(ply_where(b->u, path, i, &w));
		used += (size_t)snprintf(text + used, sizeof(text) - used, " %s%u:%s",
					 kinds[w.kind], w.layer, w.path);
	}
	assert_errno(ply_where(b->u, path, w.nparts, &w), -ERANGE);
	return text;
}

static void put_layers(struct bed *b)
{
	put_file(b, "l0/a", "a");
	put_file(b, "l0/d/one", "one");
	put_file(b, "l1/d/two", "two");
	put_file(b, "l1/gone", "gone");
	put_whiteout(b, "l0/gone");
	put_file(b, "l1/only/deep/three", "three");
}

static void test_files_and_directories_name_their_layers(void **state)
{
	struct bed *b = *state;
	struct ply_where w;
	struct statx attr;

	put_layers(b);
	bed_open(b, 2, 0, NULL);
	assert_string_equal(where(b, ""), "upper 0: 1: 2:");
	assert_string_equal(where(b, "a"), "lower 1:a");
	assert_string_equal(where(b, "d"), "lower 1:d 2:d");
	assert_string_equal(where(b, "d/two"), "lower 2:d/two");
	assert_string_equal(where(b, "/only//./deep/"), "lower 2:only/deep");
	assert_ok(u_put(b, "d/three", "three"));
	assert_string_equal(where(b, "d"), "upper 0:d 1:d 2:d");
	assert_string_equal(where(b, "d/three"), "upper 0:d/three");
	assert_ok(u_stat(b, "d/two", &attr));
	assert_ok(ply_where(b->u, "d/two", 0, &w));
	assert_int_equal(w.ino, attr.stx_ino);
	assert_int_equal(w.mode, attr.stx_mode);
	bed_close(b);
}

static void test_whiteouts_are_told(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	put_file(b, "l1/d/.wh.three", "");
	bed_open(b, 2, 0, NULL);
	assert_string_equal(where(b, "gone"), "white:1:gone");
	assert_string_equal(where(b, "gone/further/down"), "white:1:gone");
	assert_string_equal(where(b, "d/three"), "white:2:d/three");
	assert_ok(u_unlink(b, "d/two"));
	assert_string_equal(where(b, "d/two"), "white:0:d/two");
	assert_string_equal(where(b, "nowhere"), "-2");
	bed_close(b);
}

static void test_a_path_stays_below_the_root(void **state)
{
	struct bed *b = *state;
	char name[300];

	put_layers(b);
	put_symlink(b, "l0/link", "d");
	bed_open(b, 2, 0, NULL);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_string_equal(where(b, "link"), "lower 1:link");
	assert_string_equal(where(b, "link/one"), "-20");
	assert_string_equal(where(b, "d/../a"), "-18");
	assert_string_equal(where(b, ".."), "-18");
	assert_string_equal(where(b, "a/x"), "-20");
	assert_string_equal(where(b, name), "-36");
	bed_close(b);
}

static void test_states_of_a_file(void **state)
{
	struct bed *b = *state;

	put_layers(b);
	bed_open(b, 2, 0, &(struct ply_union_config){ .sync = 1 });
	assert_ok(u_chmod(b, "d/two", 0600));
	assert_string_equal(where(b, "d/two"), "meta 0:d/two data:2:d/two");
	assert_ok(u_write(b, "d/two", "T", 0));
	assert_string_equal(where(b, "d/two"), "marked 0:d/two");
	assert_ok(ply_settle(b->u, 0));
	assert_string_equal(where(b, "d/two"), "upper 0:d/two");
	bed_close(b);
}

static void test_paths_differ_after_a_rename(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON, .sync = 1 };

	put_layers(b);
	bed_open(b, 2, 0, &how);
	assert_ok(u_chmod(b, "d/two", 0600));
	assert_ok(u_rename(b, "d", "moved", 0));
	assert_ok(u_rename(b, "only/deep", "moved/deep", 0));
	for (int i = 0; i < 2; i++) {
		assert_string_equal(where(b, "moved"), "upper 0:moved 1:d 2:d");
		assert_string_equal(where(b, "moved/one"), "lower 1:d/one");
		assert_string_equal(where(b, "moved/deep/three"), "lower 2:only/deep/three");
		if (!i)
			assert_string_equal(where(b, "moved/two"), "meta 0:moved/two data:2:d/two");
		bed_again(b);
	}
	bed_close(b);
}

static void test_hard_links_are_found_where_they_are(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/x", "pair");
	put_link(b, "l0/d/y", "l0/x");
	bed_open(b, 1, 0, &(struct ply_union_config){ .sync = 1 });
	assert_ok(u_write(b, "x", "P", 0));
	/* The other name is only in the lower layer; while the node is known it is reached by the one that is up. */
	struct ply_entry x = u_hold(b, "x");
	assert_string_equal(where(b, "d/y"), "marked 0:x");
	u_drop(b, &x);
	assert_ok(ply_settle(b->u, 0));
	assert_memory_equal(where(b, "d/y"), "upper index:0:", 14);
	bed_close(b);
}

static void test_data_that_is_missing(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/f", "");
	put_xattr(b, "l0/f", "trusted.overlay.metacopy", "");
	assert_int_equal(truncate(bed_path(b, "l0/f"), 100), 0);
	bed_open(b, 1, 0, NULL);
	assert_memory_equal(where(b, "f"), "lower 1:f none:0:", 17);
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_files_and_directories_name_their_layers),
		bed_test(test_whiteouts_are_told),
		bed_test(test_a_path_stays_below_the_root),
		bed_test(test_states_of_a_file),
		bed_test(test_paths_differ_after_a_rename),
		bed_test(test_hard_links_are_found_where_they_are),
		bed_test(test_data_that_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
