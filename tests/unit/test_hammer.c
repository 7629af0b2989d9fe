/*
 * Many threads over few names. Whatever happens between them: no call hangs or crashes, no error comes that
 * no order of the calls could give, all that is listed can be looked up, and a fresh union shows the same.
 */
#include <errno.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "crowd.h"

static void pick(struct worker *w, char *path)
{
	static const char *const dirs[] = { "", "d/", "e/", "d/sub/", "low/" };
	static const char *const names[] = { "a", "b", "c", "sub", "f1", "f2", "f3" };

	sprintf(path, "%s%s", dirs[crowd_rnd(w, 5)], names[crowd_rnd(w, 7)]);
}

static int forget_entry(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct worker *w = arg;

	(void)name;
	(void)cookie;
	if (entry->node)
		ply_forget(w->b->u, entry->node, 1);
	return 1;
}

static int list(struct worker *w, const char *path)
{
	struct ply_entry dir;
	int err = u_find(w->b, path, &dir);

	if (err)
		return err;
	err = ply_readdir(w->b->u, dir.node, 0, forget_entry, w);
	u_drop(w->b, &dir);
	return err;
}

/* An unlinked file goes on for who holds it. */
static int use_unlinked(struct worker *w, const char *path)
{
	struct ply_entry entry;
	char buf[8] = "";
	int err = u_find(w->b, path, &entry);
	ssize_t n;

	if (err)
		return err;
	if (!S_ISREG(entry.attr.stx_mode)) {
		u_drop(w->b, &entry);
		return 0;
	}
	u_unlink(w->b, path);
	n = ply_write(w->b->u, entry.node, "unlinked", 8, 0, 0);
	/* It may have got shorter by another thread, or by another name. */
	if (n == 8)
		n = ply_read(w->b->u, entry.node, buf, 8, 0);
	err = n < 0 ? (int)n : 0;
	u_drop(w->b, &entry);
	return err;
}

static int step(struct worker *w)
{
	static const unsigned flags[] = { 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	char path[64], other[64];
	unsigned op = crowd_rnd(w, 14);

	pick(w, path);
	pick(w, other);
	snprintf(w->what, sizeof(w->what), "op %u %s %s", op, path, other);
	switch (op) {
	case 0:
		return u_create(w->b, path);
	case 1:
		return u_mkdir(w->b, path);
	case 2:
	case 3:
		return u_write(w->b, path, "hammer", crowd_rnd(w, 10));
	case 4:
		return u_unlink(w->b, path);
	case 5:
		return u_rmdir(w->b, path);
	case 6:
	case 7:
		return u_rename(w->b, path, other, flags[crowd_rnd(w, 4)]);
	case 8:
		return u_link(w->b, other, path);
	case 9:
		return list(w, crowd_rnd(w, 2) ? "d" : "");
	case 10:
		return u_chmod(w->b, path, 0600 | crowd_rnd(w, 0100));
	case 11:
		return use_unlinked(w, path);
	case 12:
		return u_truncate(w->b, path, crowd_rnd(w, 3) * 100);
	default:
		return list(w, "low");
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->steps; i++) {
		int err = step(w);

		if (!crowd_makes_sense(err) && !w->odd++)
			fprintf(stderr, "%s: %s\n", w->what, strerror(-err));
	}
	return NULL;
}

static void make_layers(struct bed *b)
{
	for (unsigned l = 0; l < 2; l++) {
		char path[64];

		for (unsigned i = 1; i <= 3; i++) {
			snprintf(path, sizeof(path), "l%u/low/f%u", l, i);
			put_file(b, path, "lower");
			snprintf(path, sizeof(path), "l%u/d/f%u", l, i);
			put_file(b, path, "lower");
		}
	}
	put_file(b, "l1/d/sub/f1", "deep");
	put_file(b, "l1/e/c", "deep");
	put_whiteout(b, "l0/d/b");
	put_file(b, "l1/d/b", "hidden");
}

static void hammer(struct bed *b, const struct ply_union_config *how)
{
	make_layers(b);
	bed_open(b, 2, 0, how);
	crowd_run(b, work, 1500);
	assert_same_again(b, TREE_ALL & ~(unsigned)TREE_NLINK);
	bed_close(b);
}

static void test_everything_at_once(void **state)
{
	hammer(*state, NULL);
}

static void test_everything_at_once_with_few_descriptors(void **state)
{
	struct ply_union_config how = { .max_fds = 8, .max_listing_bytes = 1 };

	hammer(*state, &how);
}

static void test_everything_at_once_with_xattr_whiteouts(void **state)
{
	struct ply_union_config how = { .whiteout = PLY_WHITEOUT_XATTR };

	hammer(*state, &how);
}

/* Directories moved in and out of each other never end up in a loop. */
static void *move_dirs(void *arg)
{
	static const char *const dirs[] = { "p", "q",	"p/q", "q/p", "p/r",
					    "r", "q/r", "r/p", "r/q", "p/q/r" };
	struct worker *w = arg;

	for (unsigned i = 0; i < w->steps; i++) {
		const char *from = dirs[crowd_rnd(w, 10)], *to = dirs[crowd_rnd(w, 10)];
		int err = u_rename(w->b, from, to,
				   crowd_rnd(w, 3) ? RENAME_NOREPLACE : RENAME_EXCHANGE);

		if (!crowd_makes_sense(err) && !w->odd++)
			fprintf(stderr, "%s to %s: %s\n", from, to, strerror(-err));
	}
	return NULL;
}

static void test_directories_never_move_below_themselves(void **state)
{
	struct bed *b = *state;
	unsigned lines = 0;
	char *tree;

	bed_open(b, 1, 0, NULL);
	assert_ok(u_mkdir(b, "p"));
	assert_ok(u_mkdir(b, "q"));
	assert_ok(u_mkdir(b, "r"));
	crowd_run(b, move_dirs, 3000);
	tree = tree_of_union(b, 0);
	for (const char *s = tree; *s; s++)
		lines += *s == '\n';
	assert_int_equal(lines, 4);
	free(tree);
	assert_same_again(b, 0);
	bed_close(b);
}

/* Those of layers take along what is in them, wherever they come to lie in each other. */
static void move_lower_dirs(struct bed *b, const struct ply_union_config *how)
{
	static const char *const files[] = { "l0/p/p1", "l1/p/p2", "l0/q/q1", "l1/q/s/q2",
					     "l1/r/r1" };
	unsigned found = 0;
	char *tree;

	put_remove(b, "up");
	put_remove(b, "work");
	for (size_t i = 0; i < 5; i++)
		put_file(b, files[i], files[i]);
	bed_open(b, 2, 0, how);
	crowd_run(b, move_dirs, 400);
	tree = tree_of_union(b, 0);
	for (size_t i = 0; i < 5; i++)
		found += strstr(tree, strrchr(files[i], '/')) != NULL;
	assert_int_equal(found, 5);
	free(tree);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
}

static void test_directories_of_layers_move_as_a_whole(void **state)
{
	struct ply_union_config how = { .redirect_dir = PLY_REDIRECT_ON };

	move_lower_dirs(*state, &how);
	how.max_fds = 1;
	move_lower_dirs(*state, &how);
	how.redirect_dir = PLY_REDIRECT_COPY;
	move_lower_dirs(*state, &how);
}

/* What is there all the time is listed exactly once, whatever comes and goes around it. */
struct seen {
	struct worker *w;
	unsigned stay[200];
};

static int count_stay(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct seen *s = arg;

	(void)cookie;
	if (entry->node)
		ply_forget(s->w->b->u, entry->node, 1);
	if (!strncmp(name, "stay", 4))
		s->stay[strtoul(name + 4, NULL, 10)]++;
	return 1;
}

static void *list_or_change(void *arg)
{
	struct worker *w = arg;
	char name[32];

	for (unsigned i = 0; i < w->steps; i++) {
		struct seen seen = { .w = w };
		struct ply_entry dir;
		int err;

		if (w->id % 2) {
			snprintf(name, sizeof(name), "d/go%u", crowd_rnd(w, 50));
			if (u_create(w->b, name))
				u_unlink(w->b, name);
			continue;
		}
		err = u_find(w->b, "d", &dir);
		if (!err) {
			err = ply_readdir(w->b->u, dir.node, 0, count_stay, &seen);
			u_drop(w->b, &dir);
		}
		if (err && !w->odd++)
			fprintf(stderr, "readdir: %s\n", strerror(-err));
		for (unsigned k = 0; k < 200; k++)
			if (seen.stay[k] != 1 && !w->odd++)
				fprintf(stderr, "stay%u was seen %u times\n", k, seen.stay[k]);
	}
	return NULL;
}

static void test_listing_shows_what_stays_once_while_others_change(void **state)
{
	struct bed *b = *state;
	struct ply_union_config how = { .max_listing_bytes = 1 };
	char name[32];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%s/d/stay%u", i % 2 ? "l0" : "up", i);
		put_file(b, name, "");
	}
	bed_open(b, 1, 0, &how);
	crowd_run(b, list_or_change, 60);
	bed_close(b);
}

/* Of all who want to do what can be done but once, one succeeds. */
static unsigned contest;
static _Atomic unsigned winners;

static int compete_create(struct worker *w)
{
	return u_create(w->b, "d/new");
}

static int compete_unlink(struct worker *w)
{
	return u_unlink(w->b, "d/f1");
}

static int compete_rmdir(struct worker *w)
{
	return u_rmdir(w->b, "empty");
}

static int compete_rename_from(struct worker *w)
{
	char to[32];

	snprintf(to, sizeof(to), "d/to%u", w->id);
	return u_rename(w->b, "d/f2", to, 0);
}

static int compete_rename_to(struct worker *w)
{
	char from[32];

	snprintf(from, sizeof(from), "low/own%u", w->id);
	return u_rename(w->b, from, "d/target", RENAME_NOREPLACE);
}

static int compete_link(struct worker *w)
{
	return u_link(w->b, "d/linked", "low/f1");
}

static const struct {
	const char *name;
	int (*run)(struct worker *w);
} contests[] = {
	{ "create", compete_create },	    { "unlink", compete_unlink },
	{ "rmdir", compete_rmdir },	    { "rename from", compete_rename_from },
	{ "rename to", compete_rename_to }, { "link", compete_link },
};
#define CONTESTS (sizeof(contests) / sizeof(contests[0]))

static void *compete(void *arg)
{
	struct worker *w = arg;
	int err = contests[contest].run(w);

	if (!err)
		atomic_fetch_add(&winners, 1);
	else if (err != -ENOENT && err != -EEXIST && !w->odd++)
		fprintf(stderr, "%s: %s\n", contests[contest].name, strerror(-err));
	return NULL;
}

static void test_what_can_be_done_once_is_done_once(void **state)
{
	struct bed *b = *state;
	char path[32];

	make_layers(b);
	put_dir(b, "l0/empty");
	for (unsigned i = 0; i < THREADS; i++) {
		snprintf(path, sizeof(path), "%s/low/own%u", i % 2 ? "l0" : "up", i);
		put_file(b, path, "own");
	}
	for (unsigned round = 0; round < 10; round++) {
		put_remove(b, "up/d");
		put_remove(b, "up/empty");
		for (contest = 0; contest < CONTESTS; contest++) {
			bed_open(b, 2, 0, NULL);
			winners = 0;
			crowd_run(b, compete, 1);
			assert_int_equal(winners, 1);
			assert_same_again(b, TREE_ALL & ~(unsigned)TREE_NLINK);
			bed_close(b);
		}
		/* The target is there now; away with it for the next round. */
		bed_open(b, 2, 0, NULL);
		for (unsigned i = 0; i < THREADS; i++) {
			snprintf(path, sizeof(path), "low/own%u", i);
			u_create(b, path);
		}
		bed_close(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_everything_at_once),
		bed_test(test_everything_at_once_with_few_descriptors),
		bed_test(test_everything_at_once_with_xattr_whiteouts),
		bed_test(test_directories_never_move_below_themselves),
		bed_test(test_directories_of_layers_move_as_a_whole),
		bed_test(test_listing_shows_what_stays_once_while_others_change),
		bed_test(test_what_can_be_done_once_is_done_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
