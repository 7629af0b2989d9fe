/*
 * Data that comes up to a file of metadata: the writing takes set-id bits, capabilities and times off the inode, which are
 * to be there again afterwards, whatever ends or fails in between, and whoever sets others meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "elsewhere.h"
#include "inject.h"
#include "paths.h"
#include "union/node.h"

#define LONG_AGO 1000000000
#define CAPS "security.capability"
#define CAPS_SIZE 20

static const char caps[] = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

static void make_layer(struct bed *b)
{
	static char big[200001];

	memset(big, 'b', sizeof(big) - 1);
	put_file(b, "l0/f", big);
	assert_int_equal(chmod(bed_path(b, "l0/f"), 04755), 0);
	if (geteuid() == 0)
		assert_int_equal(setxattr(bed_path(b, "l0/f"), CAPS, caps, CAPS_SIZE, 0), 0);
}

/* f has its data below. */
static void open_meta_up(struct bed *b)
{
	const struct timespec ts[2] = { { .tv_sec = LONG_AGO }, { .tv_sec = LONG_AGO } };

	assert_int_equal(utimensat(AT_FDCWD, bed_path(b, "l0/f"), ts, 0), 0);
	put_remove(b, "up");
	put_dir(b, "up");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_setxattr(b, "f", "user.x", "x"));
}

static int settle(struct bed *b)
{
	return ply_settle(b->u, 0);
}

static void check_kept(struct bed *b, const char *what, unsigned n)
{
	struct ply_entry f = u_hold(b, "f");
	char value[CAPS_SIZE];

	if ((f.attr.stx_mode & 07777) != 04755)
		fail_msg("mode %o after %s %u", f.attr.stx_mode & 07777, what, n);
	if (f.attr.stx_mtime.tv_sec != LONG_AGO || f.attr.stx_atime.tv_sec != LONG_AGO)
		fail_msg("other times after %s %u (%s)", what, n, failed_call());
	if (f.attr.stx_size != 200000)
		fail_msg("another size after %s %u", what, n);
	if (geteuid() == 0 && (ply_getxattr(b->u, f.node, CAPS, value, CAPS_SIZE) != CAPS_SIZE ||
			       memcmp(value, caps, CAPS_SIZE) != 0))
		fail_msg("other capabilities after %s %u", what, n);
	u_drop(b, &f);
}

static void check_plain(struct bed *b)
{
	bed_close(b);
	assert_false(disk_is_marked(b, "up/f"));
	assert_null(disk_xattr(b, "up/f", "trusted.overlay." PLY_MARK_KEPT));
	assert_null(disk_xattr(b, "up/f", "user.overlay." PLY_MARK_KEPT));
	assert_false(on_disk(b, "work/" PLY_UNSETTLED));
}

static unsigned calls_to_settle(struct bed *b)
{
	unsigned calls;

	open_meta_up(b);
	count_calls();
	assert_ok(settle(b));
	calls = stop_failing();
	check_kept(b, "no call", 0);
	check_plain(b);
	return calls;
}

static void test_an_end_of_the_server_takes_nothing(void **state)
{
	struct bed *b = *state;
	unsigned calls;

	make_layer(b);
	calls = calls_to_settle(b);
	for (unsigned n = 1; n <= calls; n++) {
		open_meta_up(b);
		stop_at(n);
		settle(b);
		ply_union_close(b->u);
		b->u = NULL;
		stop_failing();
		bed_open(b, 1, 0, NULL);
		check_kept(b, "an end at", n);
		assert_ok(settle(b));
		check_kept(b, "settling after an end at", n);
		check_plain(b);
	}
}

static void test_an_error_takes_nothing(void **state)
{
	struct bed *b = *state;
	unsigned calls;

	make_layer(b);
	calls = calls_to_settle(b);
	for (unsigned n = 1; n <= calls; n++) {
		open_meta_up(b);
		fail_call(n, -EIO);
		settle(b);
		stop_failing();
		assert_ok(settle(b));
		check_kept(b, "an error of", n);
		check_plain(b);
	}
}

/* Nor does one while it is given back by the next server, which tries again. */
static void test_an_error_of_giving_back_takes_nothing(void **state)
{
	struct bed *b = *state;
	struct ply_entry f;
	unsigned calls = 1;

	make_layer(b);
	for (unsigned n = 1; n <= calls; n++) {
		open_meta_up(b);
		fail_kind(PLY_SYS_utimens, -EIO);
		assert_errno(settle(b), -EIO);
		bed_die(b);
		bed_open(b, 1, 0, NULL);
		if (n == 1)
			count_calls();
		else
			fail_call(n, -EIO);
		if (!u_find(b, "f", &f))
			u_drop(b, &f);
		if (n == 1)
			calls = stop_failing();
		stop_failing();
		assert_ok(settle(b));
		check_kept(b, "an error while giving back at", n);
		check_plain(b);
	}
}

static int set_times(struct bed *b)
{
	return u_set(b, "f",
		     &(struct ply_setattr){ .valid = PLY_SET_ATIME | PLY_SET_MTIME,
					    .atime.tv_sec = 7,
					    .mtime.tv_sec = 7 });
}

static int chmod_f(struct bed *b)
{
	return u_chmod(b, "f", 0711);
}

static int chown_f(struct bed *b)
{
	return u_set(b, "f",
		     &(struct ply_setattr){ .valid = PLY_SET_UID | PLY_SET_KILL_PRIV, .uid = 7 });
}

static int remove_caps(struct bed *b)
{
	struct ply_entry f = u_hold(b, "f");
	int err = ply_removexattr(b->u, f.node, CAPS);

	u_drop(b, &f);
	return err;
}

static int set_caps(struct bed *b)
{
	static const char others[] = "\1\0\0\2\0\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
	struct ply_entry f = u_hold(b, "f");
	int err = ply_setxattr(b->u, f.node, CAPS, others, CAPS_SIZE, 0);

	u_drop(b, &f);
	return err;
}

static int (*const setters[])(struct bed *b) = { set_times, chmod_f, chown_f, remove_caps,
						 set_caps };
#define SETTERS (sizeof(setters) / sizeof(setters[0]))

/* All that can be set, in words. */
static const char *describe(struct bed *b, char text[100])
{
	struct ply_entry f = u_hold(b, "f");
	char value[CAPS_SIZE] = "";
	ssize_t n = ply_getxattr(b->u, f.node, CAPS, value, CAPS_SIZE), listed;
	char names[1000];

	listed = ply_listxattr(b->u, f.node, names, sizeof(names));
	snprintf(text, 100, "%o %u %lld %zd %d %d", f.attr.stx_mode, f.attr.stx_uid,
		 (long long)f.attr.stx_mtime.tv_sec, n, value[5],
		 listed > 0 && memmem(names, (size_t)listed, CAPS, sizeof(CAPS)) != NULL);
	u_drop(b, &f);
	return text;
}

/* A fresh f that has its data below; in wanted what it is to be like once it was set. */
static void open_to_set(struct bed *b, int (*set)(struct bed *b), char wanted[100])
{
	open_meta_up(b);
	assert_ok(set(b));
	describe(b, wanted);
	bed_close(b);
	open_meta_up(b);
}

/* It is so, now and in the next mount; then that is closed. */
static void check_set(struct bed *b, const char *wanted)
{
	char got[100];

	assert_string_equal(describe(b, got), wanted);
	bed_again(b);
	assert_string_equal(describe(b, got), wanted);
	check_plain(b);
}

/* Somebody else who sets something while the data is copied, and may have to wait for its end. */
static struct {
	struct bed *b;
	int (*set)(struct bed *b);
	pthread_t thread;
	int started, err;
	_Atomic int done;
} other;

static void *set_it(void *arg)
{
	(void)arg;
	other.err = other.set(other.b);
	other.done = 1;
	return NULL;
}

static int start_other(enum ply_sys call)
{
	if (call != PLY_SYS_copy_range && call != PLY_SYS_clone)
		return 0;
	if (other.started)
		return 0;
	other.started = 1;
	assert_int_equal(pthread_create(&other.thread, NULL, set_it, NULL), 0);
	for (int i = 0; i < 30 && !other.done; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	return 0;
}

static void test_what_is_set_meanwhile_stays(void **state)
{
	struct bed *b = *state;
	char wanted[100];

	make_layer(b);
	for (size_t i = 0; i < SETTERS; i++) {
		open_to_set(b, setters[i], wanted);
		other.b = b;
		other.set = setters[i];
		other.started = other.done = 0;
		ply_sys_probe = start_other;
		assert_ok(settle(b));
		assert_int_equal(other.started, 1);
		pthread_join(other.thread, NULL);
		ply_sys_probe = NULL;
		assert_ok(other.err);
		check_set(b, wanted);
	}
}

/* Who looks at the file when the data is there, and nothing was given back yet. */
static struct {
	struct bed *b;
	int has_looked;
	char seen[100];
} watch;

static int look(enum ply_sys call)
{
	if ((call != PLY_SYS_chmod && call != PLY_SYS_utimens) || watch.has_looked)
		return 0;
	watch.has_looked = 1;
	describe(watch.b, watch.seen);
	return 0;
}

static void test_what_a_fill_takes_off_stays_to_be_seen(void **state)
{
	struct bed *b = *state;
	char before[100];

	make_layer(b);
	open_meta_up(b);
	describe(b, before);
	watch.b = b;
	watch.has_looked = 0;
	ply_sys_probe = look;
	assert_ok(settle(b));
	ply_sys_probe = NULL;
	assert_true(watch.has_looked);
	assert_string_equal(watch.seen, before);
	check_kept(b, "the fill", 0);
	check_plain(b);
}

/* Nor is it gone for whoever looks when it could not be given back, in this server or the next. */
static void test_what_could_not_be_given_back_stays_to_be_seen(void **state)
{
	struct bed *b = *state;
	char before[100], after[100];

	make_layer(b);
	open_meta_up(b);
	describe(b, before);
	fail_kind(PLY_SYS_utimens, -EIO);
	assert_errno(settle(b), -EIO);
	stop_failing();
	assert_string_equal(describe(b, after), before);
	bed_die(b);
	bed_open(b, 1, 0, NULL);
	fail_kind(PLY_SYS_utimens, -EIO);
	assert_string_equal(describe(b, after), before);
	assert_string_equal(describe(b, after), before);
	stop_failing();
	assert_ok(settle(b));
	check_kept(b, "errors", 0);
	check_plain(b);
}

/* Somebody finds the file by another name, and sets its times, while what an earlier server has left is given back. */
static int set_by_other_name(struct bed *b)
{
	return u_set(b, "d/g", &(struct ply_setattr){ .valid = PLY_SET_MTIME, .mtime.tv_sec = 7 });
}

static int start_at_utimens(enum ply_sys call)
{
	return call == PLY_SYS_utimens ? start_other(PLY_SYS_copy_range) : 0;
}

static void test_what_is_set_beside_a_lookup_stays(void **state)
{
	struct bed *b = *state;
	struct ply_entry d, e;
	struct statx attr;

	make_layer(b);
	put_dir(b, "l0/d");
	put_dir(b, "l0/e");
	open_meta_up(b);
	assert_ok(u_link(b, "d/g", "f"));
	assert_ok(u_link(b, "e/g", "f"));
	fail_kind(PLY_SYS_utimens, -EIO);
	assert_errno(settle(b), -EIO);
	stop_failing();
	bed_die(b);
	bed_open(b, 1, 0, NULL);
	d = u_hold(b, "d");
	e = u_hold(b, "e");
	other.b = b;
	other.set = set_by_other_name;
	other.started = other.done = 0;
	ply_sys_probe = start_at_utimens;
	assert_ok(u_stat(b, "e/g", &attr));
	assert_int_equal(other.started, 1);
	pthread_join(other.thread, NULL);
	ply_sys_probe = NULL;
	assert_ok(other.err);
	assert_ok(u_stat(b, "e/g", &attr));
	assert_int_equal(attr.stx_mtime.tv_sec, 7);
	u_drop(b, &d);
	u_drop(b, &e);
	bed_close(b);
}

/* What a fill took and could not give back is given back before anything else is set. */
static void test_what_is_set_after_an_error_stays(void **state)
{
	struct bed *b = *state;
	char wanted[100], got[100];

	make_layer(b);
	for (size_t i = 0; i < SETTERS; i++) {
		open_to_set(b, setters[i], wanted);
		fail_kind(PLY_SYS_removexattr, -EIO);
		assert_errno(settle(b), -EIO);
		stop_failing();
		assert_ok(setters[i](b));
		assert_string_equal(describe(b, got), wanted);
		assert_ok(settle(b));
		check_set(b, wanted);
	}
}

/* Its layer is missing in this mount, and may be there in the next. */
static void open_without_data(struct bed *b)
{
	put_remove(b, "up");
	put_file(b, "up/f", "");
	assert_int_equal(truncate(bed_path(b, "up/f"), 8), 0);
	put_xattr(b, "up/f", "trusted.overlay.metacopy", "");
	put_dir(b, "l0/d");
	put_remove(b, "l0/f");
	bed_open(b, 1, 0, NULL);
}

static const char *text_with_data(struct bed *b, const char *path)
{
	bed_close(b);
	put_file(b, "l0/f", "the data");
	bed_open(b, 1, 0, NULL);
	return u_text(b, path);
}

static void test_a_file_whose_data_is_missing_keeps_saying_where_it_is(void **state)
{
	struct bed *b = *state;

	open_without_data(b);
	assert_errno(u_write(b, "f", "F", 100), -EIO);
	assert_errno(u_write_back(b, "f", "F", 0), -EIO);
	assert_errno(u_truncate(b, "f", 3), -EIO);
	assert_string_equal(u_text(b, "f"), "EIO");
	assert_string_equal(text_with_data(b, "f"), "the data");
	bed_close(b);
	open_without_data(b);
	assert_ok(u_rename(b, "f", "d/g", 0));
	assert_ok(u_link(b, "d/h", "d/g"));
	assert_string_equal(text_with_data(b, "d/g"), "the data");
	assert_string_equal(u_text(b, "d/h"), "the data");
	bed_close(b);
	open_without_data(b);
	assert_ok(u_truncate(b, "f", 0));
	assert_string_equal(text_with_data(b, "f"), "");
	bed_close(b);
}

/* One directory in the upper cannot be listed, another not even be looked up. */
static void test_what_cannot_be_searched_keeps_no_other_file_from_being_settled(void **state)
{
	struct bed *b = *state;

	make_layer(b);
	open_meta_up(b);
	bed_die(b);
	put_dir(b, "up/a/b");
	assert_int_equal(chmod(bed_path(b, "up/a"), 0), 0);
	put_dir(b, "up/m");
	put_dir(b, "l0/m");
	put_xattr(b, "up/m", geteuid() ? "user.overlay.redirect" : "trusted.overlay.redirect",
		  "a/b");
	bed_open(b, 1, 0, NULL);
	assert_true(b->u->must_find);
	settle(b);
	assert_false(disk_is_marked(b, "up/f"));
	check_kept(b, "a search", 0);
	assert_int_equal(chmod(bed_path(b, "up/a"), 0700), 0);
	put_remove(b, "up/m");
	check_plain(b);
}

static int as_user(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_an_end_of_the_server_takes_nothing),
		bed_test(test_an_error_takes_nothing),
		bed_test(test_an_error_of_giving_back_takes_nothing),
		bed_test(test_what_cannot_be_searched_keeps_no_other_file_from_being_settled),
	};

	return cmocka_run_group_tests_name("by a plain user", tests, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_an_end_of_the_server_takes_nothing),
		bed_test(test_an_error_takes_nothing),
		bed_test(test_an_error_of_giving_back_takes_nothing),
		bed_test(test_what_is_set_meanwhile_stays),
		bed_test(test_what_a_fill_takes_off_stays_to_be_seen),
		bed_test(test_what_could_not_be_given_back_stays_to_be_seen),
		bed_test(test_what_is_set_beside_a_lookup_stays),
		bed_test(test_what_is_set_after_an_error_stays),
		bed_test(test_what_cannot_be_searched_keeps_no_other_file_from_being_settled),
		bed_test(test_a_file_whose_data_is_missing_keeps_saying_where_it_is),
	};

	return run_as_user(as_user) + cmocka_run_group_tests(tests, NULL, NULL);
}
