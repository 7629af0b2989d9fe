/*
 * Random operations on a union and on a plain directory that holds the same tree: both must answer alike and
 * look alike, all the time, and so must a fresh union over the directories afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "steps.h"

/* ---- what is held open ---- */

static void drop(struct step *s, unsigned i)
{
	u_drop(s->b, &s->held[i].entry);
	close(s->held[i].fd);
	s->held[i] = s->held[--s->nheld];
}

static struct held *new_held(struct step *s)
{
	if (s->nheld == HELD_MAX)
		drop(s, rnd(HELD_MAX));
	return &s->held[s->nheld];
}

static void compare_held(struct step *s)
{
	for (unsigned i = 0; i < s->nheld; i++) {
		char text[16384];
		struct statx attr;
		struct stat st;
		ssize_t n;

		assert_int_equal(fstat(s->held[i].fd, &st), 0);
		assert_ok(ply_getattr(s->b->u, s->held[i].entry.node, &attr));
		assert_int_equal(attr.stx_ino, s->held[i].entry.attr.stx_ino);
		assert_int_equal(attr.stx_mode, st.st_mode);
		assert_int_equal(attr.stx_uid, st.st_uid);
		if (!S_ISREG(st.st_mode))
			continue;
		n = pread(s->held[i].fd, text, sizeof(text) - 1, 0);
		text[n] = '\0';
		assert_int_equal(attr.stx_size, n);
		assert_string_equal(node_text(s->b, s->held[i].entry.node), text);
	}
}

static int op_hold(struct step *s, int *wanted)
{
	struct held *h = new_held(s);
	struct stat st;

	if (lstat(plain(s, s->path), &st) || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		return *wanted;
	h->fd = open(plain(s, s->path), (S_ISDIR(st.st_mode) ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	*wanted = result(h->fd);
	h->entry = u_hold(s->b, s->path);
	h->is_linkable = 0;
	s->nheld++;
	return 0;
}

/* Other names that it may have are looked up later, or never. */
static int op_hold_unlinked(struct step *s, int *wanted)
{
	unsigned held = s->nheld;
	int err = op_hold(s, wanted);

	if (err || s->nheld == held)
		return err;
	*wanted = result(unlink(plain(s, s->path)));
	return u_unlink(s->b, s->path);
}

static int op_tmpfile(struct step *s, int *wanted)
{
	const struct ply_make how = { .mode = S_IFREG | 0644 };
	struct held *h = new_held(s);
	int err = ply_tmpfile(s->b->u, ply_root(s->b->u), &how, &h->entry);

	h->fd = open(plain(s, "."), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	*wanted = result(h->fd);
	h->is_linkable = 1;
	s->nheld += !err;
	return err;
}

static int op_write_held(struct step *s, int *wanted)
{
	const struct held *h = &s->held[s->nheld ? rnd(s->nheld) : 0];
	off_t off = rnd(4) ? 0 : rnd(9000);
	ssize_t n;

	if (!s->nheld || S_ISDIR(h->entry.attr.stx_mode))
		return 0;
	snprintf(s->text, sizeof(s->text), "held %u", rnd(100000));
	*wanted = result((int)pwrite(h->fd, s->text, strlen(s->text), off));
	n = ply_write(s->b->u, h->entry.node, s->text, strlen(s->text), off, 0);
	return n < 0 ? (int)n : 0;
}

static int op_chmod_held(struct step *s, int *wanted)
{
	struct ply_setattr set = { .valid = PLY_SET_MODE, .mode = 0700 | rnd(0100) };
	const struct held *h = &s->held[s->nheld ? rnd(s->nheld) : 0];
	struct statx attr;

	if (!s->nheld)
		return 0;
	*wanted = result(fchmod(h->fd, set.mode));
	return ply_setattr(s->b->u, h->entry.node, &set, &attr);
}

/* In a directory that may be gone, or elsewhere. */
static int op_create_in_held(struct step *s, int *wanted)
{
	const struct ply_make how = { .mode = S_IFREG | 0644 };
	const struct held *h = &s->held[s->nheld ? rnd(s->nheld) : 0];
	const char *name = name_of(rnd(7));
	struct ply_entry made;
	int fd, err;

	if (!s->nheld || !S_ISDIR(h->entry.attr.stx_mode))
		return 0;
	fd = openat(h->fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	*wanted = result(fd);
	if (fd >= 0)
		close(fd);
	err = ply_create(s->b->u, h->entry.node, name, &how, &made);
	if (!err)
		u_drop(s->b, &made);
	return err;
}

static int op_link_held(struct step *s, int *wanted)
{
	struct held *h = &s->held[s->nheld ? rnd(s->nheld) : 0];
	struct ply_entry linked;
	char proc[64];
	struct stat st;
	int err;

	if (!s->nheld || S_ISDIR(h->entry.attr.stx_mode) || fstat(h->fd, &st) ||
	    (!st.st_nlink && !h->is_linkable))
		return 0;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", h->fd);
	if (strchr(s->other, '/'))
		*strchr(s->other, '/') = '\0';
	*wanted = result(linkat(AT_FDCWD, proc, AT_FDCWD, plain(s, s->other), AT_SYMLINK_FOLLOW));
	err = ply_link(s->b->u, h->entry.node, ply_root(s->b->u), s->other, &linked);
	if (err)
		return err;
	h->is_linkable = 0;
	u_drop(s->b, &linked);
	return 0;
}

static int op_drop_held(struct step *s, int *wanted)
{
	if (s->nheld)
		drop(s, rnd(s->nheld));
	return *wanted;
}

/* As well, where the upper becomes a layer now and then. */
static const struct op held_ops[] = {
	{ "hold", op_hold },
	{ "hold", op_hold },
	{ "hold unlinked", op_hold_unlinked },
	{ "tmpfile", op_tmpfile },
	{ "write held", op_write_held },
	{ "write held", op_write_held },
	{ "chmod held", op_chmod_held },
	{ "create in held", op_create_in_held },
	{ "link held", op_link_held },
	{ "drop held", op_drop_held },
};

/* Lower layers with every kind of entry, and marks between them. */
static void make_layers(struct bed *b, unsigned layers)
{
	for (unsigned l = layers; l-- > 0;) {
		for (unsigned i = 0; i < 25; i++) {
			char path[64], full[96], text[128];
			unsigned kind = rnd(10);

			random_path(path);
			snprintf(full, sizeof(full), "l%u/%s", l, path);
			/* A parent that is no directory in this layer leads nowhere. */
			for (char *s = strchr(full + 3, '/'); s; s = strchr(s + 1, '/')) {
				struct stat st;

				*s = '\0';
				if (!lstat(bed_path(b, "%s", full), &st) && !S_ISDIR(st.st_mode))
					put_remove(b, full);
				*s = '/';
			}
			snprintf(text, sizeof(text), "%s in layer %u", path, l);
			if (kind < 4)
				put_file(b, full, text);
			else if (kind < 6)
				put_remove(b, full), put_dir(b, full);
			else if (kind < 8)
				put_whiteout(b, full);
			else
				put_symlink(b, full, link_target());
		}
	}
}

/* More names for files of the topmost layer, where none is hidden. */
static void make_links(struct bed *b)
{
	for (unsigned i = 0; i < 12; i++) {
		char old[64], path[64], from[96], to[96];
		struct stat st;

		random_path(old);
		random_path(path);
		snprintf(from, sizeof(from), "l0/%s", old);
		snprintf(to, sizeof(to), "l0/%s", path);
		if (lstat(bed_path(b, "%s", from), &st) == 0 && S_ISREG(st.st_mode))
			(void)!link(bed_path(b, "%s", from), bed_path(b, "%s", to));
	}
}

static void compare(struct bed *b, unsigned flags)
{
	char *got = tree_of_union(b, flags);
	char *wanted = tree_of_dir(bed_path(b, "plain"), flags);

	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
}

struct plan {
	unsigned layers;
	unsigned links;	   /* are there hard links in the layers? */
	unsigned compares; /* what must be equal, of enum tree_flags */
	unsigned rotates;  /* one in so many steps; 0: never */
	struct ply_union_config how;
};

/* The upper becomes a layer. Everything looks as it did. */
static void rotate(struct step *s)
{
	char *before, *after, name[16];
	enum ply_rotate_how how = rnd(2) ? PLY_ROTATE_AS_IS : PLY_ROTATE_ALONE;
	struct ply_why why;
	uint64_t left = 0;

	snprintf(name, sizeof(name), "snap%u", s->nsnaps++);
	assert_ok(ply_rotate_prepare(s->b->u, how));
	if (how == PLY_ROTATE_ALONE)
		assert_ok(ply_flush(s->b->u, 10, PLY_FLUSH_ALL_DATA, &left));
	assert_int_equal(left, 0);
	before = tree_of_union(s->b, TREE_MTIME);
	if (ply_rotate(s->b->u, bed_path(s->b, "%s", name), how, &why))
		fail_msg("rotate: %s", why.text);
	compare_held(s);
	after = tree_of_union(s->b, TREE_MTIME);
	assert_same_tree(after, before);
	free(before);
	free(after);
}

/* Opens what the stack is by now: the snapshots, the last one topmost, are layers like the others. */
static void again(struct step *s)
{
	struct bed *b = s->b;
	struct ply_union_config cfg = b->cfg;
	unsigned n = (unsigned)cfg.nlowers;

	while (s->nheld)
		drop(s, 0);
	bed_close(b);
	for (unsigned i = n; i-- > 0 && s->nsnaps;)
		assert_int_equal(rename(bed_path(b, "l%u", i), bed_path(b, "l%u", i + s->nsnaps)),
				 0);
	for (unsigned i = 0; i < s->nsnaps; i++)
		assert_int_equal(rename(bed_path(b, "snap%u", i),
					bed_path(b, "l%u", s->nsnaps - 1 - i)),
				 0);
	bed_open(b, n + s->nsnaps, 0, &cfg);
	s->nsnaps = 0;
}

static const struct op *choose(const struct plan *plan)
{
	if (plan->rotates && rnd(3) == 0)
		return &held_ops[rnd(sizeof(held_ops) / sizeof(held_ops[0]))];
	return random_op();
}

static void take_step(struct step *s, const struct plan *plan, unsigned i)
{
	const struct op *op = choose(plan);
	int got, wanted = 0;

	random_path(s->path);
	random_path(s->other);
	got = op->run(s, &wanted);
	if (getenv("PLY_VERBOSE"))
		print_error("%u: %s %s %s: %d\n", i, op->name, s->path, s->other, got);
	if (got != wanted)
		fail_msg("step %u: %s %s %s: %d, not %d", i, op->name, s->path, s->other, got,
			 wanted);
}

static void run(struct bed *b, const struct plan *plan, unsigned steps)
{
	struct step s = { .b = b };
	char *before, *after;

	make_layers(b, plan->layers);
	if (plan->links)
		make_links(b);
	bed_open(b, plan->layers, 0, &plan->how);
	copy_of_union(b, "plain");
	compare(b, plan->compares);
	for (unsigned i = 0; i < steps; i++) {
		take_step(&s, plan, i);
		if (plan->rotates && rnd(plan->rotates) == 0)
			rotate(&s);
		if (i % 16 == 0 || getenv("PLY_VERBOSE")) {
			compare(b, plan->compares);
			compare_held(&s);
		}
		if (rnd(100) == 0)
			again(&s);
	}
	compare(b, plan->compares);
	before = tree_of_union(b, plan->compares | TREE_MTIME);
	again(&s);
	after = tree_of_union(b, plan->compares | TREE_MTIME);
	assert_same_tree(after, before);
	free(before);
	free(after);
	assert_same_again(b, plan->compares | TREE_INO | TREE_MTIME);
	bed_close(b);
}

static void run_seeds(void **state, const struct plan *plan)
{
	const char *one = getenv("PLY_SEED");
	unsigned first = one ? (unsigned)strtoul(one, NULL, 10) : 1, last = one ? first
									    : getenv("PLY_LONG")
										    ? 60
										    : 4;

	for (unsigned seed = first; seed <= last; seed++) {
		random_start(seed);
		if (getenv("PLY_VERBOSE"))
			print_error("seed %u\n", seed);
		run(*state, plan, 400);
		bed_teardown(state);
		bed_setup(state);
	}
}

static void test_one_lower(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 1, .compares = TREE_NLINK });
}

static void test_three_lowers(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 3, .compares = TREE_NLINK });
}

/* The names of a lower file that is not brought up are not counted, so one that is gone counts still. */
static void test_hard_links(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2, .links = 1 });
}

static void test_hard_links_with_few_descriptors(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 1, .links = 1, .how = { .max_fds = 4 } });
}

static void test_xattr_whiteouts(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2,
					 .links = 1,
					 .how = { .whiteout = PLY_WHITEOUT_XATTR,
						  .space = PLY_SPACE_USER } });
}

/* Without attributes there is no index, and links of a layer part when they are brought up. */
static void test_aufs_whiteouts(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2,
					 .compares = TREE_NLINK,
					 .how = { .whiteout = PLY_WHITEOUT_AUFS,
						  .space = PLY_SPACE_NONE } });
}

static void test_few_descriptors(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 3,
					 .compares = TREE_NLINK,
					 .how = { .max_fds = 8, .max_listing_bytes = 1 } });
}

/* Links made in an upper are links of a layer after a rotation, of which one that is gone counts still. */
static void test_rotations(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2, .rotates = 40 });
}

static void test_rotations_with_hard_links(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2, .links = 1, .rotates = 40 });
}

static void test_rotations_with_redirects_and_metacopy(void **state)
{
	run_seeds(state,
		  &(struct plan){ .layers = 2,
				  .links = 1,
				  .rotates = 40,
				  .how = { .redirect_dir = PLY_REDIRECT_ON, .metacopy = 1 } });
}

static void test_rotations_with_copied_directories(void **state)
{
	run_seeds(state,
		  &(struct plan){ .layers = 2,
				  .rotates = 25,
				  .how = { .redirect_dir = PLY_REDIRECT_COPY, .max_fds = 8 } });
}

/* In the trusted space: links of what can have no user attributes part when they are brought up. */
static void test_rotations_with_xattr_whiteouts(void **state)
{
	run_seeds(state, &(struct plan){ .layers = 2,
					 .links = 1,
					 .rotates = 40,
					 .how = { .whiteout = PLY_WHITEOUT_XATTR } });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_one_lower),
		bed_test(test_three_lowers),
		bed_test(test_hard_links),
		bed_test(test_hard_links_with_few_descriptors),
		bed_test(test_xattr_whiteouts),
		bed_test(test_aufs_whiteouts),
		bed_test(test_few_descriptors),
		bed_test(test_rotations),
		bed_test(test_rotations_with_hard_links),
		bed_test(test_rotations_with_redirects_and_metacopy),
		bed_test(test_rotations_with_copied_directories),
		bed_test(test_rotations_with_xattr_whiteouts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
