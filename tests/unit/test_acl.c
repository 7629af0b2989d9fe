/* Inheritance compared with what the kernel does for the same thing in a real directory. */
#include "union/acl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "paths.h"

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

/* An attribute's value. */
struct acl {
	uint32_t version;
	struct entry e[8];
	unsigned n;
};

#define ACL_SIZE(acl) (sizeof(uint32_t) + (acl)->n * sizeof(struct entry))

enum {
	USER_OBJ = 0x01,
	USER = 0x02,
	GROUP_OBJ = 0x04,
	GROUP = 0x08,
	MASK = 0x10,
	OTHER = 0x20,
};

static void add(struct acl *acl, unsigned tag, unsigned perm, uint32_t id)
{
	acl->e[acl->n++] = (struct entry){ .tag = (uint16_t)tag, .perm = (uint16_t)perm, .id = id };
}

/* bits: named user, named group, mask; perms: three bits for each of six entries. */
static struct acl make_acl(unsigned bits, unsigned perms)
{
	struct acl acl = { .version = 2 };

	add(&acl, USER_OBJ, perms & 7, ~0u);
	if (bits & 1)
		add(&acl, USER, perms >> 3 & 7, 1000);
	add(&acl, GROUP_OBJ, perms >> 6 & 7, ~0u);
	if (bits & 2)
		add(&acl, GROUP, perms >> 9 & 7, 1000);
	/* Named entries need a mask. */
	if (bits)
		add(&acl, MASK, perms >> 12 & 7, ~0u);
	add(&acl, OTHER, perms >> 15 & 7, ~0u);
	return acl;
}

static unsigned rnd(unsigned n)
{
	static unsigned long long seed = 3;

	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(seed >> 33) % n;
}

/* acl(5), "object creation and default ACLs". */
static void test_an_acl_leaves_what_it_and_the_mode_allow(void **state)
{
	struct bed *b = *state;
	const char *dir = bed_path(b, "dir");
	char path[BED_PATH], got[256];

	put_dir(b, "dir");
	snprintf(path, sizeof(path), "%s/f", dir);
	for (unsigned round = 0; round < 500; round++) {
		struct acl acl = make_acl(rnd(8), rnd(1 << 18));
		mode_t asked = rnd(01000), mode = asked;
		struct stat st;
		ssize_t size;
		int more;

		assert_int_equal(setxattr(bed_path(b, "dir"), PLY_ACL_DEFAULT, &acl, ACL_SIZE(&acl),
					  0),
				 0);
		assert_int_equal(mknod(path, S_IFREG | asked, 0), 0);
		assert_int_equal(stat(path, &st), 0);
		size = getxattr(path, PLY_ACL_ACCESS, got, sizeof(got));
		more = ply_acl_create(&acl, ACL_SIZE(&acl), &mode);
		assert_int_equal(mode, st.st_mode & 07777);
		assert_int_equal(more, size > 0);
		if (more) {
			assert_int_equal(size, ACL_SIZE(&acl));
			assert_memory_equal(got, &acl, ACL_SIZE(&acl));
		}
		unlink(path);
	}
}

static void test_set_id_bits_are_not_the_acls_business(void **state)
{
	struct acl acl = make_acl(1, 0777777);
	mode_t mode = 07750;

	(void)state;
	assert_int_equal(ply_acl_create(&acl, ACL_SIZE(&acl), &mode), 1);
	assert_int_equal(mode, 07750);
}

static void test_malformed_acls_are_refused(void **state)
{
	struct acl good = make_acl(3, 0777777);
	static const unsigned tags[] = { 0, 3, 0x40, 0xffff };
	char huge[PLY_ACL_SIZE] = { 2 };
	mode_t mode = 0777;

	(void)state;
	for (size_t size = 0; size < ACL_SIZE(&good); size++) {
		struct acl acl = good;
		int err = ply_acl_create(&acl, size, &mode);

		assert_true(err == -EINVAL ||
			    (size >= 4 && (size - 4) % sizeof(struct entry) == 0));
	}
	for (unsigned version = 0; version < 5; version++) {
		struct acl acl = good;

		acl.version = version;
		if (version != 2)
			assert_int_equal(ply_acl_create(&acl, ACL_SIZE(&acl), &mode), -EINVAL);
	}
	for (unsigned i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		struct acl acl = good;

		acl.e[1].tag = (uint16_t)tags[i];
		assert_int_equal(ply_acl_create(&acl, ACL_SIZE(&acl), &mode), -EINVAL);
	}
	assert_int_equal(ply_acl_create(huge, sizeof(huge), &mode), -EINVAL);
}

/* How a directory is, and what is made in it. */
struct inheritance {
	mode_t dir_mode;
	int acl_bits; /* of make_acl, or -1: no default ACL */
	mode_t mode;
	mode_t umask;
	uid_t uid;
};

/* What the kernel gives to a user who makes it in a plain directory. */
static void make_plainly(const char *path, const struct inheritance *in)
{
	mode_t old = umask(in->umask);
	int err;

	setfsgid(in->uid);
	setfsuid(in->uid);
	if (S_ISDIR(in->mode))
		err = mkdir(path, in->mode & 07777);
	else if (S_ISLNK(in->mode))
		err = symlink("target", path);
	else
		err = mknod(path, in->mode, 0);
	setfsuid(0);
	setfsgid(0);
	umask(old);
	assert_int_equal(err, 0);
}

static void prepare_dir(struct bed *b, const char *dir, const struct inheritance *in)
{
	struct acl acl = make_acl((unsigned)in->acl_bits, 0765432);

	put_remove(b, dir);
	put_dir(b, dir);
	assert_int_equal(chown(bed_path(b, "%s", dir), 0, 77), 0);
	assert_int_equal(chmod(bed_path(b, "%s", dir), in->dir_mode), 0);
	if (in->acl_bits >= 0)
		assert_int_equal(setxattr(bed_path(b, "%s", dir), PLY_ACL_DEFAULT, &acl,
					  ACL_SIZE(&acl), 0),
				 0);
}

static void make_in_union(struct bed *b, const struct inheritance *in)
{
	struct ply_make how = {
		.mode = in->mode,
		.target = S_ISLNK(in->mode) ? "target" : NULL,
		.cred = { .uid = in->uid, .gid = in->uid, .umask = in->umask },
	};
	struct ply_entry made;

	assert_ok(ply_create(b->u, ply_root(b->u), "x", &how, &made));
	u_drop(b, &made);
}

/* tmpfiles inherit like files. */
static void make_nameless(struct bed *b, const struct inheritance *in)
{
	struct ply_make how = {
		.mode = in->mode,
		.cred = { .uid = in->uid, .gid = in->uid, .umask = in->umask },
	};
	struct ply_entry made, named;

	assert_ok(ply_tmpfile(b->u, ply_root(b->u), &how, &made));
	assert_ok(ply_link(b->u, made.node, ply_root(b->u), "x", &named));
	u_drop(b, &named);
	u_drop(b, &made);
}

static void compare_one(struct bed *b, const struct inheritance *in,
			void (*make)(struct bed *b, const struct inheritance *in))
{
	char plain[BED_PATH], *got, *wanted;

	prepare_dir(b, "plain", in);
	prepare_dir(b, "up", in);
	snprintf(plain, sizeof(plain), "%s", bed_path(b, "plain/x"));
	make_plainly(plain, in);
	bed_open(b, 1, 0, NULL);
	make(b, in);
	got = tree_of_union(b, 0);
	wanted = tree_of_dir(bed_path(b, "plain"), 0);
	if (strcmp(got, wanted))
		print_error("dir %o, ACL %d, mode %o, umask %o, uid %u\n", in->dir_mode,
			    in->acl_bits, in->mode, in->umask, in->uid);
	assert_same_tree(got, wanted);
	free(got);
	free(wanted);
	bed_close(b);
}

static void test_things_inherit_as_from_a_plain_directory(void **state)
{
	static const mode_t modes[] = { S_IFREG | 0666, S_IFREG | 0640,	 S_IFREG | 04755,
					S_IFDIR | 0777, S_IFDIR | 01770, S_IFIFO | 0622,
					S_IFLNK | 0777 };
	static const mode_t dirs[] = { 0777, 02777 };

	for (unsigned m = 0; m < sizeof(modes) / sizeof(modes[0]); m++)
		for (unsigned d = 0; d < 2; d++)
			for (int acl = -1; acl < 4; acl += 2)
				for (unsigned uid = 0; uid <= 1000; uid += 1000) {
					struct inheritance in = { .dir_mode = dirs[d],
								  .acl_bits = acl < 0 ? -1 : acl,
								  .mode = modes[m],
								  .umask = m % 2 ? 027 : 022,
								  .uid = uid };

					compare_one(*state, &in, make_in_union);
					if (S_ISREG(modes[m]))
						compare_one(*state, &in, make_nameless);
				}
}

/* Over a whiteout it is built elsewhere first. */
static void test_over_a_whiteout_it_is_the_same(void **state)
{
	struct bed *b = *state;

	put_file(b, "l0/x", "lower");
	for (int acl = -1; acl < 4; acl += 2) {
		struct inheritance in = { .dir_mode = 02777,
					  .acl_bits = acl,
					  .mode = S_IFREG | 0664,
					  .umask = 022,
					  .uid = 0 };
		char *got, *wanted;

		prepare_dir(b, "plain", &in);
		prepare_dir(b, "up", &in);
		put_whiteout(b, "up/x");
		make_plainly(bed_path(b, "plain/x"), &in);
		bed_open(b, 1, 0, NULL);
		make_in_union(b, &in);
		got = tree_of_union(b, 0);
		wanted = tree_of_dir(bed_path(b, "plain"), 0);
		assert_same_tree(got, wanted);
		free(got);
		free(wanted);
		bed_close(b);
	}
}

/* For whoever makes something in a directory of the bed. */
static void put_default_acl(struct bed *b, const char *path)
{
	struct acl acl = make_acl(1, 0777777);

	put_dir(b, path);
	assert_int_equal(setxattr(bed_path(b, "%s", path), PLY_ACL_DEFAULT, &acl, ACL_SIZE(&acl),
				  0),
			 0);
}

static void assert_no_acl(struct bed *b, const char *path)
{
	assert_true(on_disk(b, path));
	assert_null(disk_xattr(b, path, PLY_ACL_ACCESS));
	assert_null(disk_xattr(b, path, PLY_ACL_DEFAULT));
}

static void test_nothing_is_inherited_from_where_the_work_directory_lies(void **state)
{
	struct bed *b = *state;
	struct ply_why why;

	put_file(b, "l0/d/f", "f");
	put_file(b, "l0/d/g", "g");
	put_default_acl(b, "work");
	put_default_acl(b, "snaps");
	/* What an earlier mount has made. */
	put_default_acl(b, "work/work");
	bed_open(b, 1, 0, NULL);
	assert_ok(u_chmod(b, "d/f", 0640));
	assert_ok(u_unlink(b, "d/g"));
	assert_ok(u_mkdir(b, "d/g"));
	assert_ok(u_create(b, "d/g/new"));
	assert_no_acl(b, "up/d");
	assert_no_acl(b, "up/d/f");
	assert_no_acl(b, "up/d/g");
	assert_no_acl(b, "up/d/g/new");
	assert_ok(ply_settle(b->u, 0));
	assert_ok(ply_rotate(b->u, bed_path(b, "snaps/layer"), PLY_ROTATE_AS_IS, &why));
	assert_no_acl(b, "up");
	assert_no_acl(b, "snaps/layer");
	bed_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(test_an_acl_leaves_what_it_and_the_mode_allow),
		cmocka_unit_test(test_set_id_bits_are_not_the_acls_business),
		cmocka_unit_test(test_malformed_acls_are_refused),
		bed_test(test_things_inherit_as_from_a_plain_directory),
		bed_test(test_nothing_is_inherited_from_where_the_work_directory_lies),
		bed_test(test_over_a_whiteout_it_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
