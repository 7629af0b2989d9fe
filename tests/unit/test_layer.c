/* One directory tree: listing it, walking in it, reading marks of every form, writing them in three. */
#include "layer/layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "bed.h"
#include "inject.h"
#include "layer/marks.h"
#include "layer/upper.h"

struct seen {
	unsigned n, dirs, files, others;
	unsigned stop_after;
};

static int see(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct seen *s = arg;

	assert_true(strcmp(name, ".") && strcmp(name, ".."));
	assert_true(ino != 0);
	s->n++;
	s->dirs += type == DT_DIR;
	s->files += type == DT_REG;
	s->others += type != DT_DIR && type != DT_REG;
	return s->n == s->stop_after ? 42 : 0;
}

static void test_a_listing_has_every_entry_with_its_type(void **state)
{
	struct bed *b = *state;
	struct seen s = { 0 };
	char path[32];
	int fd;

	for (unsigned i = 0; i < 2000; i++) {
		snprintf(path, sizeof(path), "d/f%u", i);
		put_file(b, path, "");
	}
	put_dir(b, "d/dir");
	put_symlink(b, "d/link", "x");
	put_whiteout(b, "d/wh");
	fd = sys_open(AT_FDCWD, bed_path(b, "d"), O_RDONLY | O_DIRECTORY, 0);
	assert_int_equal(ply_layer_list(fd, see, &s), 0);
	assert_int_equal(s.n, 2003);
	assert_int_equal(s.dirs, 1);
	assert_int_equal(s.files, 2000);
	/* Again from the beginning; what the callback says ends it. */
	s = (struct seen){ .stop_after = 7 };
	assert_int_equal(ply_layer_list(fd, see, &s), 42);
	assert_int_equal(s.n, 7);
	sys_close(fd);
	fd = sys_open(AT_FDCWD, bed_path(b, "d"), O_PATH | O_DIRECTORY, 0);
	assert_int_equal(ply_layer_list(fd, see, &s), -EBADF);
	sys_close(fd);
}

static void test_a_layer_is_opened_with_what_is_known_of_it(void **state)
{
	struct bed *b = *state;
	struct ply_layer layer;
	struct stat st;
	size_t fds = count_fds();

	put_file(b, "l0/f", "f");
	assert_int_equal(stat(bed_path(b, "l0"), &st), 0);
	for (int kind = PLY_LAYER_LOWER; kind <= PLY_LAYER_UPPER; kind++) {
		assert_int_equal(ply_layer_open(&layer, bed_path(b, "l0"),
						(enum ply_layer_kind)kind),
				 0);
		assert_int_equal(layer.is_upper, kind == PLY_LAYER_UPPER);
		assert_int_equal(layer.dev, st.st_dev);
		assert_int_equal(sys_access(layer.root, "f"), 0);
		ply_layer_close(&layer);
		assert_int_equal(layer.root, -1);
	}
	assert_int_equal(ply_layer_open(&layer, bed_path(b, "none"), PLY_LAYER_LOWER), -ENOENT);
	assert_int_equal(ply_layer_open(&layer, bed_path(b, "l0/f"), PLY_LAYER_LOWER), -ENOTDIR);
	assert_int_equal(ply_layer_open(&layer, bed_path(b, "l0/f"), PLY_LAYER_UPPER), -ENOTDIR);
	assert_int_equal(count_fds(), fds);
}

static void test_a_private_layer_shows_no_later_mount_and_takes_no_write(void **state)
{
	struct bed *b = *state;
	struct ply_layer layer;

	put_file(b, "l0/f", "f");
	assert_int_equal(ply_layer_open(&layer, bed_path(b, "l0"), PLY_LAYER_LOWER), 0);
	if (layer.is_private) {
		assert_int_equal(sys_open(layer.root, "f", O_RDWR, 0), -EROFS);
		assert_int_equal(sys_mkdir(layer.root, "new", 0700), -EROFS);
	}
	ply_layer_close(&layer);
}

/* Directories of a layer, each with a mark or what looks like one. */
static const struct {
	const char *attr, *value;
	int opaque;
} opaques[] = {
	{ NULL, NULL, PLY_OPAQUE_NONE },
	{ "trusted.overlay.opaque", "y", PLY_OPAQUE_ALL },
	{ "user.overlay.opaque", "y", PLY_OPAQUE_ALL },
	{ "user.fuseoverlayfs.opaque", "y", PLY_OPAQUE_ALL },
	{ "trusted.overlay.opaque", "x", PLY_OPAQUE_ANNOUNCES },
	{ "user.overlay.opaque", "x", PLY_OPAQUE_ANNOUNCES },
	{ "trusted.overlay.opaque", "n", PLY_OPAQUE_NONE },
	{ "trusted.overlay.opaque", "", PLY_OPAQUE_NONE },
	{ "trusted.overlay.overlay.opaque", "y", PLY_OPAQUE_NONE },
	{ "user.opaque", "y", PLY_OPAQUE_NONE },
	{ "trusted.overlay.redirect", "/y", PLY_OPAQUE_NONE },
};

static void open_layer(struct bed *b, struct ply_layer *layer)
{
	fail_kind(PLY_SYS_open_tree, -EPERM);
	assert_int_equal(ply_layer_open(layer, bed_path(b, "l0"), PLY_LAYER_LOWER), 0);
	stop_failing();
}

static void test_opaque_marks_are_read_by_name_and_by_descriptor(void **state)
{
	struct bed *b = *state;
	struct ply_layer layer;

	for (size_t i = 0; i < sizeof(opaques) / sizeof(opaques[0]); i++) {
		int fd;

		put_remove(b, "l0");
		put_dir(b, "l0/d");
		if (opaques[i].attr)
			put_xattr(b, "l0/d", opaques[i].attr, opaques[i].value);
		open_layer(b, &layer);
		fd = sys_open(layer.root, "d", O_RDONLY | O_DIRECTORY, 0);
		assert_int_equal(ply_mark_opaque(&layer, layer.root, "d"), opaques[i].opaque);
		assert_int_equal(ply_mark_opaque(&layer, fd, ""), opaques[i].opaque);
		/* More attributes than a list has room for: each mark is asked for. */
		fail_kind(PLY_SYS_listxattr, -ERANGE);
		assert_int_equal(ply_mark_opaque(&layer, fd, ""), opaques[i].opaque);
		stop_failing();
		put_file(b, "l0/d/" PLY_AUFS_OPAQUE, "");
		assert_int_equal(ply_mark_opaque(&layer, fd, ""), PLY_OPAQUE_ALL);
		assert_int_equal(ply_mark_opaque(&layer, layer.root, "d"), PLY_OPAQUE_ALL);
		sys_close(fd);
		ply_layer_close(&layer);
	}
}

static void test_a_layer_without_attributes_is_asked_once(void **state)
{
	struct bed *b = *state;
	struct ply_layer layer;

	put_dir(b, "l0/d");
	put_file(b, "l0/f", "");
	open_layer(b, &layer);
	fail_kind(PLY_SYS_listxattr, -EOPNOTSUPP);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(ply_mark_opaque(&layer, layer.root, "d"), PLY_OPAQUE_NONE);
		assert_int_equal(ply_mark_xwhiteout(&layer, layer.root, "f"), 0);
	}
	assert_int_equal(calls_of(PLY_SYS_listxattr), 1);
	stop_failing();
	assert_true(ply_layer_lacks(&layer, PLY_LACKS_XATTR));
	ply_layer_close(&layer);
	/* Trouble is no answer. */
	open_layer(b, &layer);
	fail_kind(PLY_SYS_listxattr, -EIO);
	assert_int_equal(ply_mark_opaque(&layer, layer.root, "d"), -EIO);
	assert_int_equal(ply_mark_xwhiteout(&layer, layer.root, "f"), -EIO);
	stop_failing();
	assert_false(ply_layer_lacks(&layer, PLY_LACKS_XATTR));
	ply_layer_close(&layer);
}

static void test_an_origin_leads_back_to_its_file(void **state)
{
	struct bed *b = *state;
	struct ply_layer layer;
	struct ply_fh fh, read;
	struct statx stx, wanted;
	int len, fd;

	put_file(b, "l0/f", "");
	put_file(b, "l0/copy", "");
	open_layer(b, &layer);
	assert_int_equal(ply_mark_encode(&layer, layer.root, "none", &fh), -ENOENT);
	len = ply_mark_encode(&layer, layer.root, "f", &fh);
	assert_true(len > PLY_FH_HEADER);
	assert_int_equal(fh.len, len);
	assert_int_equal(sys_setxattr(layer.root, "copy", "trusted.overlay.origin", &fh,
				      (size_t)len, 0),
			 0);
	assert_int_equal(ply_mark_origin(&layer, layer.root, "copy", &read), len);
	assert_memory_equal(&read, &fh, (size_t)len);
	assert_int_equal(ply_mark_origin(&layer, layer.root, "f", &read), 0);
	fd = sys_open(layer.root, ".", O_RDONLY | O_DIRECTORY, 0);
	assert_int_equal(ply_mark_decode(&layer, fd, &fh, &stx), 0);
	assert_int_equal(sys_statx(layer.root, "f", STATX_INO, &wanted), 0);
	assert_int_equal(stx.stx_ino, wanted.stx_ino);
	sys_close(fd);
	ply_layer_close(&layer);
}

/* Origins that nobody wrote so: none counts, and none is read beyond its end. */
static void test_malformed_origins_are_no_origins(void **state)
{
	struct bed *b = *state;
	struct ply_layer layer;
	struct ply_fh good, read;
	char value[400];
	int len;

	put_file(b, "l0/f", "");
	open_layer(b, &layer);
	len = ply_mark_encode(&layer, layer.root, "f", &good);
	for (int size = 0; size < 400; size++) {
		memset(value, 0xff, sizeof(value));
		memcpy(value, &good, (size_t)len);
		if (size == len)
			value[1] = 'z'; /* the magic number */
		assert_int_equal(sys_setxattr(layer.root, "f", "trusted.overlay.origin", value,
					      (size_t)size, 0),
				 0);
		assert_int_equal(ply_mark_origin(&layer, layer.root, "f", &read), 0);
	}
	/* A length that is right but for what it says. */
	memcpy(value, &good, (size_t)len);
	for (int said = 0; said < 256; said++) {
		value[2] = (char)said;
		assert_int_equal(sys_setxattr(layer.root, "f", "trusted.overlay.origin", value,
					      (size_t)len, 0),
				 0);
		assert_int_equal(ply_mark_origin(&layer, layer.root, "f", &read),
				 said == len ? len : 0);
	}
	ply_layer_close(&layer);
}

/* An upper over directory "up", which writes whiteouts in this form. */
struct writer {
	struct ply_layer layer;
	struct ply_upper up;
};

static void open_writer(struct bed *b, struct writer *w, enum ply_whiteout_kind kind)
{
	char work[BED_PATH];
	struct ply_upper_config cfg = { .work_path = work, .kind = (int)kind };
	const char *what;

	put_remove(b, "up");
	put_dir(b, "up");
	put_dir(b, "work");
	strcpy(work, bed_path(b, "work"));
	assert_int_equal(ply_layer_open(&w->layer, bed_path(b, "up"), PLY_LAYER_UPPER), 0);
	assert_int_equal(ply_upper_open(&w->up, &w->layer, &cfg, &what), 0);
}

static void close_writer(struct bed *b, struct writer *w)
{
	ply_upper_close(&w->up);
	ply_layer_close(&w->layer);
	assert_int_equal(bed_litter(b), 0);
}

/* Is there a whiteout for the name, and how does a reader find it? */
static int is_whited_out(struct writer *w, const char *name)
{
	int dir = w->layer.root;
	struct statx stx;

	if (ply_mark_aufs(dir, name))
		return sys_access(dir, name) == -ENOENT;
	if (sys_statx(dir, name, STATX_BASIC_STATS, &stx))
		return 0;
	if (ply_is_whiteout(&stx))
		return 1;
	return S_ISREG(stx.stx_mode) && !stx.stx_size &&
	       ply_mark_opaque(&w->layer, dir, "") == PLY_OPAQUE_ANNOUNCES &&
	       ply_mark_xwhiteout(&w->layer, dir, name) == 1;
}

static void test_whiteouts_of_each_form_are_written_and_read(void **state)
{
	struct bed *b = *state;
	struct ply_work_name taken;
	struct writer w;

	for (int kind = PLY_KIND_CHAR; kind <= PLY_KIND_AUFS; kind++)
		for (int lacks_exchange = 0; lacks_exchange < 2; lacks_exchange++) {
			open_writer(b, &w, (enum ply_whiteout_kind)kind);
			if (lacks_exchange)
				ply_layer_set_lack(&w.layer, PLY_LACKS_EXCHANGE);
			assert_int_equal(ply_upper_whiteout(&w.up, w.layer.root, "free"), 0);
			assert_true(is_whited_out(&w, "free"));
			put_file(b, "up/file", "file");
			assert_int_equal(ply_upper_whiteout_over(&w.up, w.layer.root, "file"), 0);
			assert_true(is_whited_out(&w, "file"));
			put_file(b, "up/dir/f", "f");
			assert_int_equal(ply_upper_whiteout_swap(&w.up, w.layer.root, "dir",
								 &taken),
					 0);
			assert_true(is_whited_out(&w, "dir"));
			assert_int_equal(bed_litter(b), 1);
			assert_int_equal(ply_work_remove(&w.up, taken.text), 0);
			assert_int_equal(bed_litter(b), 0);
			/* All of them go again, and nothing else. */
			put_file(b, "up/kept", "");
			put_dir(b, "up/keptdir");
			assert_int_equal(ply_upper_clear_marks(&w.up, w.layer.root), 0);
			assert_false(is_whited_out(&w, "free") || is_whited_out(&w, "file") ||
				     is_whited_out(&w, "dir"));
			assert_true(on_disk(b, "up/kept") && on_disk(b, "up/keptdir"));
			close_writer(b, &w);
		}
}

static void test_a_swap_that_fails_leaves_the_directory_where_it_was(void **state)
{
	struct bed *b = *state;
	struct ply_work_name taken;
	struct writer w;
	unsigned calls;

	for (int kind = PLY_KIND_CHAR; kind <= PLY_KIND_AUFS; kind++)
		for (int lacks_exchange = 0; lacks_exchange < 2; lacks_exchange++) {
			calls = 20;
			for (unsigned n = 1; n <= calls; n++) {
				int err;

				open_writer(b, &w, (enum ply_whiteout_kind)kind);
				if (lacks_exchange)
					ply_layer_set_lack(&w.layer, PLY_LACKS_EXCHANGE);
				put_file(b, "up/dir/f", "f");
				fail_call(n, -ENOSPC);
				err = ply_upper_whiteout_swap(&w.up, w.layer.root, "dir", &taken);
				calls = stop_failing();
				if (err)
					assert_string_equal(disk_text(b, "up/dir/f"), "f");
				else
					assert_true(is_whited_out(&w, "dir"));
				close_writer(b, &w);
			}
		}
}

static void test_an_opaque_mark_is_written_in_the_space_there_is(void **state)
{
	static const char *const spaces[] = { "", PLY_SPACE_TRUSTED_PREFIX, PLY_SPACE_USER_PREFIX };
	struct bed *b = *state;

	for (size_t i = 0; i < 3; i++) {
		char work[BED_PATH];
		struct ply_upper_config cfg = { .work_path = work, .kind = -1, .space = spaces[i] };
		struct writer w;
		const char *what;

		put_remove(b, "up");
		put_dir(b, "up/d");
		put_dir(b, "work");
		strcpy(work, bed_path(b, "work"));
		assert_int_equal(ply_layer_open(&w.layer, bed_path(b, "up"), PLY_LAYER_UPPER), 0);
		assert_int_equal(ply_upper_open(&w.up, &w.layer, &cfg, &what), 0);
		assert_int_equal(ply_upper_set_opaque(&w.up, w.layer.root, "d"), 0);
		assert_int_equal(ply_upper_set_opaque(&w.up, w.layer.root, "d"), 0);
		assert_int_equal(ply_mark_opaque(&w.layer, w.layer.root, "d"), PLY_OPAQUE_ALL);
		assert_int_equal(on_disk(b, "up/d/" PLY_AUFS_OPAQUE), i == 0);
		assert_int_equal(disk_xattr(b, "up/d", "user.overlay.opaque") != NULL, i == 2);
		if (i == 0)
			assert_int_equal(ply_upper_set_mark(&w.up, w.layer.root, "d", "x", "y", 1),
					 -EOPNOTSUPP);
		close_writer(b, &w);
	}
}

static int setxattrs;

static int refuse_first_setxattr(enum ply_sys call)
{
	return call == PLY_SYS_setxattr && !setxattrs++ ? -EOPNOTSUPP : 0;
}

static void test_what_is_refused_is_noted_and_a_full_disk_is_no_refusal(void **state)
{
	static const struct {
		enum ply_sys call;
		int err;
		unsigned lacks;
	} cases[] = {
		{ PLY_SYS_setxattr, -EOPNOTSUPP, PLY_LACKS_MARKS | PLY_LACKS_USER_XATTR },
		{ PLY_SYS_setxattr, -EPERM, PLY_LACKS_MARKS | PLY_LACKS_USER_XATTR },
		{ PLY_SYS_setxattr, -ENOSPC, 0 },
		{ PLY_SYS_setxattr, -EDQUOT, 0 },
		{ PLY_SYS_mknod, -EPERM, PLY_LACKS_DEVICE },
		{ PLY_SYS_mknod, -ENOSPC, 0 },
		{ PLY_SYS_rename, -EINVAL, PLY_LACKS_EXCHANGE | PLY_LACKS_RENAME_WHITEOUT },
		{ PLY_SYS_rename, -EIO, 0 },
	};
	struct bed *b = *state;
	struct writer w;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fail_kind(cases[i].call, cases[i].err);
		open_writer(b, &w, (enum ply_whiteout_kind) - 1);
		stop_failing();
		assert_int_equal(atomic_load(&w.layer.lacks), cases[i].lacks);
		assert_int_equal(w.up.space == NULL, (cases[i].lacks & PLY_LACKS_MARKS) != 0);
		close_writer(b, &w);
	}
	setxattrs = 0;
	ply_sys_probe = refuse_first_setxattr;
	open_writer(b, &w, (enum ply_whiteout_kind) - 1);
	ply_sys_probe = NULL;
	assert_int_equal(atomic_load(&w.layer.lacks), PLY_LACKS_USER_XATTR);
	assert_true(ply_upper_is_trusted(&w.up));
	close_writer(b, &w);
}

static void test_the_shared_whiteout_is_made_anew_when_it_has_too_many_links(void **state)
{
	struct bed *b = *state;
	struct writer w;

	open_writer(b, &w, PLY_KIND_CHAR);
	assert_int_equal(ply_upper_whiteout(&w.up, w.layer.root, "a"), 0);
	/* The first link says that there are too many, the second is one of another inode. */
	fail_call(1, -EMLINK);
	assert_int_equal(ply_upper_whiteout(&w.up, w.layer.root, "b"), 0);
	assert_string_equal(failed_call(), "link");
	stop_failing();
	put_remove(b, "work/work/" PLY_WORK_WHITEOUT);
	assert_int_equal(ply_upper_whiteout(&w.up, w.layer.root, "c"), 0);
	assert_true(is_whited_out(&w, "a") && is_whited_out(&w, "b") && is_whited_out(&w, "c"));
	close_writer(b, &w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_a_listing_has_every_entry_with_its_type),
		bed_test(test_a_layer_is_opened_with_what_is_known_of_it),
		bed_test(test_a_private_layer_shows_no_later_mount_and_takes_no_write),
		bed_test(test_opaque_marks_are_read_by_name_and_by_descriptor),
		bed_test(test_a_layer_without_attributes_is_asked_once),
		bed_test(test_an_origin_leads_back_to_its_file),
		bed_test(test_malformed_origins_are_no_origins),
		bed_test(test_whiteouts_of_each_form_are_written_and_read),
		bed_test(test_a_swap_that_fails_leaves_the_directory_where_it_was),
		bed_test(test_an_opaque_mark_is_written_in_the_space_there_is),
		bed_test(test_what_is_refused_is_noted_and_a_full_disk_is_no_refusal),
		bed_test(test_the_shared_whiteout_is_made_anew_when_it_has_too_many_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
