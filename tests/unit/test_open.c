/* Opening a union: what is refused and how it is said, locks, leftovers, and trouble on the way. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject.h"
#include "layer/format.h"
#include "paths.h"

/* The configuration of one lower layer, an upper and a work directory; fields may be changed. */
struct setup {
	char lower[BED_PATH], upper[BED_PATH], work[BED_PATH];
	const char *lowers[2];
	struct ply_union_config cfg;
};

static struct setup *set_up(struct bed *b)
{
	static struct setup s;

	s = (struct setup){ .cfg.sync = 1 };
	put_file(b, "l0/f", "f");
	put_dir(b, "up");
	put_dir(b, "work");
	strcpy(s.lower, bed_path(b, "l0"));
	strcpy(s.upper, bed_path(b, "up"));
	strcpy(s.work, bed_path(b, "work"));
	s.lowers[0] = s.lower;
	s.cfg.lowers = s.lowers;
	s.cfg.nlowers = 1;
	s.cfg.upper = s.upper;
	s.cfg.work = s.work;
	return &s;
}

/* Must fail with this error and a message that holds the words. Leaves no descriptor. */
static void check_refused(const struct ply_union_config *cfg, int err, const char *words)
{
	struct ply_union *u = NULL;
	struct ply_why why = { "" };
	size_t fds = count_fds();

	assert_int_equal(ply_union_open(cfg, &u, &why), err);
	if (!strstr(why.text, words))
		fail_msg("'%s' does not say '%s'", why.text, words);
	assert_int_equal(count_fds(), fds);
}

static void test_impossible_stacks_are_refused_with_a_reason(void **state)
{
	struct setup *s = set_up(*state);

	s->cfg.nlowers = 0;
	check_refused(&s->cfg, -EINVAL, "no lower layers");
	s->cfg.nlowers = 1;
	s->lowers[0] = bed_path(*state, "none");
	check_refused(&s->cfg, -ENOENT, "none");
	s->lowers[0] = bed_path(*state, "l0/f");
	check_refused(&s->cfg, -ENOTDIR, "l0/f");
	s->lowers[0] = s->lower;
	s->cfg.work = NULL;
	check_refused(&s->cfg, -EINVAL, "work directory");
	s->cfg.work = "/proc";
	check_refused(&s->cfg, -EXDEV, "/proc");
	s->cfg.work = s->upper;
	check_refused(&s->cfg, -EINVAL, "within each other");
	s->cfg.work = bed_path(*state, "up/inner");
	put_dir(*state, "up/inner");
	check_refused(&s->cfg, -EINVAL, "within each other");
	s->cfg.work = s->work;
	s->lowers[0] = s->upper;
	check_refused(&s->cfg, -EINVAL, "both a lower layer and");
	s->lowers[0] = s->work;
	check_refused(&s->cfg, -EINVAL, "both a lower layer and");
	s->lowers[0] = s->lower;
	s->cfg.upper = bed_path(*state, "l0/f");
	check_refused(&s->cfg, -ENOTDIR, "l0/f");
}

static void test_an_upper_or_work_in_use_is_busy(void **state)
{
	struct setup *s = set_up(*state), other;
	struct bed *b = *state;
	struct ply_union *u;
	struct ply_why why;

	assert_int_equal(ply_union_open(&s->cfg, &u, &why), 0);
	check_refused(&s->cfg, -EBUSY, "in use");
	other = *s;
	put_dir(b, "up2");
	put_dir(b, "work2");
	other.cfg.work = bed_path(b, "work2");
	check_refused(&other.cfg, -EBUSY, s->upper);
	other.cfg.work = s->work;
	other.cfg.upper = bed_path(b, "up2");
	check_refused(&other.cfg, -EBUSY, s->work);
	ply_union_close(u);
	/* And free again. */
	assert_int_equal(ply_union_open(&s->cfg, &u, &why), 0);
	ply_union_close(u);
}

static void test_layers_can_be_shared(void **state)
{
	struct setup *s = set_up(*state);
	struct ply_union *u, *other;
	struct ply_why why;

	assert_int_equal(ply_union_open(&s->cfg, &u, &why), 0);
	s->cfg.upper = s->cfg.work = NULL;
	assert_int_equal(ply_union_open(&s->cfg, &other, &why), 0);
	ply_union_close(u);
	ply_union_close(other);
	ply_union_close(NULL);
}

/* A tree as a crash may leave it: deep, wide, with links that lead out of it, and closed directories. */
static void make_leftovers(struct bed *b)
{
	char path[BED_PATH] = "work/work/#deep", name[64];

	for (unsigned i = 0; i < 100; i++) {
		put_dir(b, path);
		strcat(path, "/down");
	}
	put_file(b, path, "bottom");
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "work/work/#%x", i);
		if (i % 10)
			put_file(b, name, "left");
		else
			put_dir(b, name);
	}
	put_dir(b, "work/work/incompat");
	chmod(bed_path(b, "work/work"), 0700);
	put_file(b, "outside/kept", "kept");
	put_symlink(b, "work/work/#link", bed_path(b, "outside"));
	put_symlink(b, "work/work/#deep/link", bed_path(b, "outside"));
	put_whiteout(b, "work/work/" PLY_WORK_WHITEOUT);
	put_file(b, "work/work/#closed/a/b", "");
	chmod(bed_path(b, "work/work/#closed/a"), 0);
	chmod(bed_path(b, "work/work/#closed"), 0);
}

static void test_the_work_directory_is_emptied_at_the_start(void **state)
{
	struct bed *b = *state;

	make_leftovers(b);
	bed_open(b, 1, 0, NULL);
	assert_int_equal(bed_litter(b), 0);
	assert_false(on_disk(b, "work/work/" PLY_WORK_WHITEOUT));
	assert_string_equal(disk_text(b, "outside/kept"), "kept");
	bed_close(b);
}

/* A stack is mounted in a directory that has another "work" in it, by a slip. */
static void test_work_that_was_not_made_for_it_is_not_emptied(void **state)
{
	static const char *const others[] = { "main/file", "letter", ".hidden", "2024/taxes" };
	struct setup *s = set_up(*state);
	struct bed *b = *state;
	char path[64];

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(path, sizeof(path), "work/work/%s", others[i]);
		put_file(b, "work/work/#1/ours", "left");
		put_file(b, path, "precious");
		check_refused(&s->cfg, -ENOTEMPTY, s->work);
		assert_string_equal(disk_text(b, path), "precious");
		assert_true(on_disk(b, "work/work/#1/ours"));
		put_remove(b, "work");
		put_dir(b, "work");
	}
}

static void test_what_other_drivers_left_is_removed(void **state)
{
	struct bed *b = *state;

	put_dir(b, "work/work/incompat");
	put_file(b, "work/work/#1a", "");
	put_file(b, "work/work/17/below", "");
	chmod(bed_path(b, "work/work"), 0700);
	bed_open(b, 1, 0, NULL);
	assert_int_equal(bed_litter(b), 0);
	bed_close(b);
}

/* Only whoever has seen the machine go on since knows that nothing is lost. */
static void test_what_volatile_mounts_left_is_refused(void **state)
{
	static const char *const left[] = { "volatile/dirty", "volatile/other", "volatile",
					    "another" };
	struct setup *s = set_up(*state);
	struct bed *b = *state;
	char path[64];

	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		snprintf(path, sizeof(path), "work/work/incompat/%s", left[i]);
		put_file(b, path, "");
		put_file(b, "work/work/#1", "left");
		check_refused(&s->cfg, -EUCLEAN, s->work);
		s->cfg.sync = PLY_SYNC_VOLATILE;
		check_refused(&s->cfg, -EUCLEAN, s->work);
		s->cfg.sync = PLY_SYNC;
		assert_true(on_disk(b, path));
		assert_true(on_disk(b, "work/work/#1"));
		put_remove(b, "work");
		put_dir(b, "work");
	}
	put_file(b, "work/work/incompat/volatile/dirty", "sixteen bytes it");
	check_refused(&s->cfg, -EUCLEAN, s->work);
}

static void test_a_volatile_mount_is_gone_on_with_in_the_same_boot(void **state)
{
	static const char mark[] = "work/work/incompat/volatile/dirty";
	struct bed *b = *state;

	for (int i = 0; i < 2; i++) {
		bed_open(b, 1, 0, &(struct ply_union_config){ .sync = PLY_SYNC_VOLATILE });
		assert_true(on_disk(b, mark));
		assert_ok(u_put(b, "new", "text"));
		bed_close(b);
		assert_true(on_disk(b, mark));
	}
	bed_open(b, 1, 0, NULL);
	assert_false(on_disk(b, "work/work/incompat"));
	assert_string_equal(u_text(b, "new"), "text");
	bed_close(b);
	bed_open(b, 1, 0, &(struct ply_union_config){ .sync = PLY_SYNC_NOT });
	assert_false(on_disk(b, "work/work/incompat"));
	bed_close(b);
}

static void test_work_that_is_no_directory_is_refused(void **state)
{
	struct setup *s = set_up(*state);

	put_symlink(*state, "work/" PLY_WORK_DIR, bed_path(*state, "l0"));
	check_refused(&s->cfg, -ENOTDIR, s->work);
	assert_true(on_disk(*state, "l0/f"));
}

/* Every call of opening and closing in turn fails: it is told, or nothing is amiss. */
static void test_trouble_while_opening_leaves_nothing_behind(void **state)
{
	struct setup *s = set_up(*state);
	struct bed *b = *state;
	size_t fds = count_fds();
	unsigned calls;

	put_file(b, "work/work/#left/over", "");
	count_calls();
	bed_open(b, 1, 0, NULL);
	ply_union_close(b->u);
	b->u = NULL;
	calls = stop_failing();
	assert_true(calls > 10);
	for (unsigned n = 1; n <= calls + 2; n++) {
		struct ply_union *u = NULL;
		struct ply_why why = { "" };
		int err;

		put_file(b, "work/work/#left/over", "");
		fail_call(n, -EIO);
		err = ply_union_open(&s->cfg, &u, &why);
		if (!err)
			ply_union_close(u);
		stop_failing();
		if (err && (err != -EIO || !strstr(why.text, "Input/output error")))
			fail_msg("call %u (%s): %d, '%s'", n, failed_call(), err, why.text);
		assert_int_equal(count_fds(), fds);
	}
	bed_open(b, 1, 0, NULL);
	assert_string_equal(u_text(b, "f"), "f");
	bed_close(b);
}

static const struct {
	enum ply_whiteout_form whiteout;
	enum ply_xattr_space space;
	const char *path, *mark; /* what a removed name, or a new directory over one, is on disk */
} forms[] = {
	{ PLY_WHITEOUT_AUTO, PLY_SPACE_AUTO, "up/f", NULL },
	{ PLY_WHITEOUT_CHAR, PLY_SPACE_USER, "up/f", NULL },
	{ PLY_WHITEOUT_XATTR, PLY_SPACE_TRUSTED, "up/f", "trusted.overlay.whiteout" },
	{ PLY_WHITEOUT_XATTR, PLY_SPACE_USER, "up/f", "user.overlay.whiteout" },
	{ PLY_WHITEOUT_AUFS, PLY_SPACE_NONE, "up/.wh.f", NULL },
	{ PLY_WHITEOUT_AUFS, PLY_SPACE_USER, "up/.wh.f", NULL },
};

static void test_whiteouts_are_written_in_the_form_asked_for(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/f", "f");
	put_file(b, "l0/d/x", "x");
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct ply_union_config how = { .whiteout = forms[i].whiteout,
						.space = forms[i].space };

		put_remove(b, "up");
		bed_open(b, 1, 0, &how);
		assert_ok(u_unlink(b, "f"));
		assert_true(on_disk(b, forms[i].path));
		assert_int_equal(on_disk(b, "up/f"), forms[i].path[3] == 'f');
		if (forms[i].mark)
			assert_non_null(disk_xattr(b, forms[i].path, forms[i].mark));
		assert_string_equal(u_ls(b, ""), "d");
		assert_same_again(b, TREE_ALL);
		assert_string_equal(u_text(b, "f"), "ENOENT");
		/* Looked up before the first whiteout comes, and not listed. */
		assert_string_equal(u_text(b, "d/x"), "x");
		assert_ok(u_unlink(b, "d/x"));
		assert_string_equal(u_text(b, "d/x"), "ENOENT");
		assert_ok(u_rmdir(b, "d"));
		assert_ok(u_mkdir(b, "d"));
		assert_string_equal(u_ls(b, "d"), "");
		assert_same_again(b, TREE_ALL);
		assert_string_equal(u_ls(b, "d"), "");
		bed_close(b);
	}
}

/* The first whiteout of a directory whose attributes were asked for before, with no listing to hide it. */
static void test_an_xattr_whiteout_counts_at_once(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .whiteout = PLY_WHITEOUT_XATTR, .max_listing_bytes = 1 };
	struct ply_entry dir, out;

	put_file(b, "l0/d/x", "x");
	put_file(b, "l0/d/y", "y");
	put_dir(b, "up/d");
	put_file(b, "up/d/empty", "");
	bed_open(b, 1, 0, &how);
	dir = u_hold(b, "d");
	assert_ok(ply_lookup(b->u, dir.node, "empty", &out));
	u_drop(b, &out);
	assert_ok(ply_unlink(b->u, dir.node, "x"));
	assert_errno(ply_lookup(b->u, dir.node, "x", &out), -ENOENT);
	/* Listing another directory throws this one's listing out. */
	assert_string_equal(u_ls(b, "d"), "empty y");
	assert_string_equal(u_ls(b, ""), "d");
	assert_errno(ply_lookup(b->u, dir.node, "x", &out), -ENOENT);
	assert_string_equal(u_ls(b, "d"), "empty y");
	u_drop(b, &dir);
	bed_close(b);
}

static void test_all_whiteouts_are_links_of_one_inode(void **state)
{
	struct bed *b = *state;
	struct stat st;
	char path[32];

	for (unsigned i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "l0/f%u", i);
		put_file(b, path, "");
	}
	bed_open(b, 1, 0, NULL);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "f%u", i);
		assert_ok(u_unlink(b, path));
	}
	assert_int_equal(stat(bed_path(b, "up/f7"), &st), 0);
	assert_int_equal(st.st_nlink, 51); /* and the one in the work directory */
	bed_close(b);
	assert_int_equal(stat(bed_path(b, "up/f7"), &st), 0);
	assert_int_equal(st.st_nlink, 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_impossible_stacks_are_refused_with_a_reason),
		bed_test(test_an_upper_or_work_in_use_is_busy),
		bed_test(test_layers_can_be_shared),
		bed_test(test_the_work_directory_is_emptied_at_the_start),
		bed_test(test_work_that_was_not_made_for_it_is_not_emptied),
		bed_test(test_what_other_drivers_left_is_removed),
		bed_test(test_what_volatile_mounts_left_is_refused),
		bed_test(test_a_volatile_mount_is_gone_on_with_in_the_same_boot),
		bed_test(test_work_that_is_no_directory_is_refused),
		bed_test(test_trouble_while_opening_leaves_nothing_behind),
		bed_test(test_whiteouts_are_written_in_the_form_asked_for),
		bed_test(test_an_xattr_whiteout_counts_at_once),
		bed_test(test_all_whiteouts_are_links_of_one_inode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
