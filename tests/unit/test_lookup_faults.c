/*
 * Lookups and listings with every one of their system calls failing in turn. The kernel keeps an answer for ever, and the
 * union keeps what it learned: so what cannot be asked is an error, and nothing is taken for absent that was not seen to be.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject.h"
#include "layer/format.h"
#include "paths.h"

#define CALLS_MAX 400

/* Marks of every form. */
static void make_stack(struct bed *b)
{
	put_file(b, "l1/x/gone", "lower gone");
	put_file(b, "l1/x/f", "");
	put_file(b, "l0/x/gone", "");
	put_xattr(b, "l0/x", "trusted.overlay.opaque", "x");
	put_xattr(b, "l0/x/gone", "trusted.overlay.whiteout", "y");
	put_file(b, "l1/w/gone", "lower gone");
	put_file(b, "l1/w/gonedir/f", "f");
	put_file(b, "l0/w/.wh.gone", "");
	put_file(b, "l0/w/.wh.gonedir", "");
	put_file(b, "l0/w/gonedir/new", "new");
	put_file(b, "l1/o/f", "lower f");
	put_file(b, "l0/o/.wh..wh..opq", "");
	put_file(b, "l0/o/g", "g");
	put_file(b, "l1/p/f", "lower f");
	put_file(b, "l0/p/g", "g");
	put_xattr(b, "l0/p", "trusted.overlay.opaque", "y");
	put_file(b, "l1/c/gone", "lower gone");
	put_whiteout(b, "l0/c/gone");
	put_file(b, "l1/from/f", "from");
	put_file(b, "l0/to/g", "g");
	put_xattr(b, "l0/to", "trusted.overlay.redirect", "/from");
	put_whiteout(b, "l0/from");
	put_file(b, "l1/data/f", "the data");
	put_file(b, "l0/data/f", "garbage!");
	put_xattr(b, "l0/data/f", "trusted.overlay.metacopy", "");
	put_file(b, "l1/m/f", "lower m");
	put_file(b, "l1/a", "linked");
	put_link(b, "l1/sub/b", "l1/a");
}

static const char *const names[] = { "x/gone", "x/f",	"w/gone", "w/gonedir/f", "w/gonedir/new",
				     "o/f",    "o/g",	"p/f",	  "p/g",	 "c/gone",
				     "to/f",   "to/g",	"from",	  "data/f",	 "m/f",
				     "a",      "sub/b", "none",	  "x/none" };
#define NAMES (sizeof(names) / sizeof(names[0]))

/* With a file whose data is below, although a crash left some in it. */
static void open_stack(struct bed *b)
{
	put_remove(b, "up");
	put_file(b, "up/m/f", "garbage");
	put_xattr(b, "up/m/f", "trusted.overlay.metacopy", "");
	put_xattr(b, "up/m", "trusted.overlay.impure", "y");
	bed_open(b, 2, 0, NULL);
}

struct answer {
	char text[300];
	int err;
};

static void ask(struct bed *b, const char *name, struct answer *a)
{
	struct ply_entry e;
	char content[100];
	ssize_t n = 0;

	memset(a, 0, sizeof(*a));
	a->err = u_find(b, name, &e);
	if (a->err)
		return;
	if (S_ISREG(e.attr.stx_mode))
		n = ply_read(b->u, e.node, content, sizeof(content), 0);
	snprintf(a->text, sizeof(a->text), "%o %llu %u '%.*s'", e.attr.stx_mode,
		 (unsigned long long)e.attr.stx_size, e.attr.stx_nlink, (int)(n > 0 ? n : 0),
		 content);
	a->err = n < 0 ? (int)n : 0;
	u_drop(b, &e);
}

static void list(struct bed *b, const char *dir, struct answer *a)
{
	const char *text = u_ls(b, dir);

	memset(a, 0, sizeof(*a));
	snprintf(a->text, sizeof(a->text), "%s", text);
	a->err = !strcmp(text, "EIO") ? -EIO : 0;
}

static int is_same(const struct answer *a, const struct answer *b)
{
	return a->err == b->err && !strcmp(a->text, b->text);
}

/* Names that are looked up, or directories that are listed. */
struct question {
	void (*ask)(struct bed *b, const char *name, struct answer *a);
	const char *name;
	void (*open)(struct bed *b);
};

static int ask_with_faults(struct bed *b, const struct question *q)
{
	struct answer wanted, got;
	unsigned calls;
	int faults = 0;

	q->open(b);
	count_calls();
	q->ask(b, q->name, &wanted);
	calls = stop_failing();
	bed_close(b);
	assert_true(calls < CALLS_MAX);
	for (unsigned n = 1; n <= calls; n++) {
		const char *call;

		q->open(b);
		fail_call(n, -EIO);
		q->ask(b, q->name, &got);
		stop_failing();
		call = failed_call();
		if (!is_same(&got, &wanted) && got.err != -EIO) {
			print_error("%s, call %u (%s): %d %s for %d %s\n", q->name, n, call,
				    got.err, got.text, wanted.err, wanted.text);
			faults++;
		}
		q->ask(b, q->name, &got);
		if (!is_same(&got, &wanted)) {
			print_error("%s, after call %u (%s): %d %s for %d %s\n", q->name, n, call,
				    got.err, got.text, wanted.err, wanted.text);
			faults++;
		}
		bed_close(b);
	}
	return faults;
}

static void test_what_cannot_be_asked_is_an_error(void **state)
{
	struct bed *b = *state;
	int faults = 0;

	make_stack(b);
	for (size_t i = 0; i < NAMES; i++)
		faults += ask_with_faults(b, &(struct question){ ask, names[i], open_stack });
	assert_int_equal(faults, 0);
}

static void ask_number(struct bed *b, const char *name, struct answer *a)
{
	struct statx attr = { 0 };

	memset(a, 0, sizeof(*a));
	a->err = u_stat(b, name, &attr);
	if (!a->err)
		snprintf(a->text, sizeof(a->text), "number %llu, %u links",
			 (unsigned long long)attr.stx_ino, attr.stx_nlink);
}

static void open_again(struct bed *b)
{
	bed_open(b, 2, 0, NULL);
}

/* Of what was brought up, and moved. */
static void test_a_number_that_cannot_be_asked_is_an_error(void **state)
{
	static const char *const moved[] = { "m/l", "m/g", "m/a", "sub/b", "m/dir" };
	const struct ply_setattr chown = { .valid = PLY_SET_UID, .uid = 7 };
	struct bed *b = *state;
	int faults = 0;

	make_stack(b);
	put_symlink(b, "l1/l", "target");
	put_file(b, "l1/g", "g");
	bed_open(b, 2, 0, NULL);
	assert_ok(u_set(b, "l", &chown));
	assert_ok(u_rename(b, "l", "m/l", 0));
	assert_ok(u_rename(b, "g", "m/g", 0));
	assert_ok(u_rename(b, "a", "m/a", 0));
	assert_ok(u_write(b, "sub/b", "LINKED", 0));
	assert_ok(u_rename(b, "c", "m/dir", 0));
	bed_close(b);
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		faults +=
			ask_with_faults(b, &(struct question){ ask_number, moved[i], open_again });
		faults += ask_with_faults(b, &(struct question){ ask, moved[i], open_again });
	}
	assert_int_equal(faults, 0);
}

static void test_what_cannot_be_listed_is_an_error(void **state)
{
	static const char *const dirs[] = {
		"", "x", "w", "w/gonedir", "o", "p", "c", "to", "data"
	};
	struct bed *b = *state;
	int faults = 0;

	make_stack(b);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		faults += ask_with_faults(b, &(struct question){ list, dirs[i], open_stack });
	assert_int_equal(faults, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_what_cannot_be_asked_is_an_error),
		bed_test(test_a_number_that_cannot_be_asked_is_an_error),
		bed_test(test_what_cannot_be_listed_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
