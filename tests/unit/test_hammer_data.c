/*
 * Many threads over the data of few files, which come up, are written to and settled meanwhile: no byte is lost, and nobody
 * sees a file that is short or has holes.
 */
#include <linux/fs.h>

#include "crowd.h"

#define BIG (300 * 1024)

/* Each writes one byte of its own; the file comes up once, and no byte is lost. */
static void *write_own_byte(void *arg)
{
	struct worker *w = arg;
	struct ply_entry entry;
	char buf[64];

	if (u_find(w->b, "d/big", &entry)) {
		w->odd++;
		return NULL;
	}
	if (ply_read(w->b->u, entry.node, buf, sizeof(buf), 4096) != sizeof(buf) || buf[0] != 'x')
		w->odd++;
	if (ply_write(w->b->u, entry.node, "W", 1, w->id * 1000, w->id % 2 ? PLY_WRITE_BACK : 0) !=
	    1)
		w->odd++;
	u_drop(w->b, &entry);
	return NULL;
}

static void test_one_file_comes_up_once_for_all_writers(void **state)
{
	struct bed *b = *state;
	char *data = malloc(BIG + 1), *got = malloc(BIG);
	struct ply_union_stats stats;
	struct ply_entry entry;

	memset(data, 'x', BIG);
	data[BIG] = '\0';
	put_file(b, "l0/d/big", data);
	bed_open(b, 1, 0, NULL);
	crowd_run(b, write_own_byte, 0);
	ply_union_stats(b->u, &stats);
	assert_int_equal(stats.copyups, 2);
	for (unsigned i = 0; i < THREADS; i++)
		data[i * 1000] = 'W';
	entry = u_hold(b, "d/big");
	assert_int_equal(ply_read(b->u, entry.node, got, BIG, 0), BIG);
	assert_memory_equal(got, data, BIG);
	u_drop(b, &entry);
	bed_close(b);
	free(data);
	free(got);
}

/* While one byte is written at the beginning, the rest is never seen to be missing. */
static void *read_or_write(void *arg)
{
	struct worker *w = arg;
	char name[32], *buf = malloc(BIG);

	for (unsigned i = 0; i < w->steps; i++) {
		struct ply_entry f;
		ssize_t n;

		snprintf(name, sizeof(name), "d/big%u", i);
		if (u_find(w->b, name, &f)) {
			w->odd++;
			continue;
		}
		if (w->id == 0 && ply_write(w->b->u, f.node, "W", 1, 0, 0) != 1)
			w->odd++;
		n = ply_read(w->b->u, f.node, buf, BIG, 0);
		if (n != BIG || memchr(buf + 1, 0, BIG - 1))
			w->odd++;
		u_drop(w->b, &f);
	}
	free(buf);
	return NULL;
}

static void test_readers_see_whole_files_while_they_come_up(void **state)
{
	enum { FILES = 12 };
	struct bed *b = *state;
	char *data = malloc(BIG + 1), name[32];

	memset(data, 'x', BIG);
	data[BIG] = '\0';
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "l0/d/big%u", i);
		put_file(b, name, data);
	}
	bed_open(b, 1, 0, NULL);
	crowd_run(b, read_or_write, FILES);
	assert_same_again(b, TREE_ALL);
	bed_close(b);
	free(data);
}

/* Files that come up by steps, move, and are settled, all at once: no content is ever short or holed. */
#define STEP_FILES 5
#define STEP_SIZE 20000

static int check_whole(struct worker *w, const char *path)
{
	char buf[STEP_SIZE + 1];
	struct ply_entry f;
	int err = u_find(w->b, path, &f);
	ssize_t n;

	if (err)
		return err;
	n = ply_read(w->b->u, f.node, buf, sizeof(buf), 0);
	if (n != STEP_SIZE || memchr(buf, 0, STEP_SIZE) || f.attr.stx_size != STEP_SIZE) {
		w->odd++;
		fprintf(stderr, "%s: %zd bytes, size %llu\n", path, n,
			(unsigned long long)f.attr.stx_size);
	}
	u_drop(w->b, &f);
	return 0;
}

static int allocate(struct worker *w, const char *path)
{
	struct ply_entry f;
	int err = u_find(w->b, path, &f);

	if (err)
		return err;
	err = ply_fallocate(w->b->u, f.node, 0, 0, STEP_SIZE, PLY_WRITE_KEEP_TIMES);
	u_drop(w->b, &f);
	return err;
}

static int one_step(struct worker *w)
{
	const struct ply_setattr times = { .valid = PLY_SET_MTIME, .mtime = { .tv_sec = w->id } };
	char path[32], other[32];

	snprintf(path, sizeof(path), "d/s%u", crowd_rnd(w, STEP_FILES));
	snprintf(other, sizeof(other), "d/s%u", crowd_rnd(w, STEP_FILES));
	switch (crowd_rnd(w, 11)) {
	case 0:
		return u_chmod(w->b, path, 0600 + crowd_rnd(w, 64));
	case 1:
		return u_write(w->b, path, "W", crowd_rnd(w, STEP_SIZE - 1));
	case 2:
		return u_rename(w->b, path, other, crowd_rnd(w, 2) ? RENAME_EXCHANGE : 0);
	case 3:
		return u_link(w->b, path, other);
	case 4:
		return u_sync(w->b, path);
	case 5:
		return ply_settle(w->b->u, 0);
	case 6:
		return u_set(w->b, path, &times);
	case 7:
		return allocate(w, path);
	default:
		return check_whole(w, path);
	}
}

static void *step_by_step(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->steps; i++) {
		int err = one_step(w);

		if (!crowd_makes_sense(err) && !w->odd++)
			fprintf(stderr, "%s\n", strerror(-err));
	}
	return NULL;
}

static void test_files_are_whole_whatever_happens_on_their_way_up(void **state)
{
	unsigned rounds = getenv("PLY_LONG") ? 200 : 10;
	struct bed *b = *state;
	char *data = malloc(STEP_SIZE + 1), name[32];

	memset(data, 'x', STEP_SIZE);
	data[STEP_SIZE] = '\0';
	for (unsigned i = 0; i < STEP_FILES; i++) {
		snprintf(name, sizeof(name), "l0/d/s%u", i);
		put_file(b, name, data);
	}
	free(data);
	for (unsigned round = 0; round < rounds; round++) {
		put_remove(b, "up");
		put_dir(b, "up");
		put_remove(b, "work/index");
		bed_open(b, 1, 0, NULL);
		crowd_run(b, step_by_step, 60);
		assert_same_again(b, TREE_ALL);
		bed_close(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_one_file_comes_up_once_for_all_writers),
		bed_test(test_readers_see_whole_files_while_they_come_up),
		bed_test(test_files_are_whole_whatever_happens_on_their_way_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
