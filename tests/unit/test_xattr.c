/* Names of attributes between the user's view and the disk. */
#include "layer/xattr.h"

#include <errno.h>

#include "bed.h"

static const struct {
	const char *user, *disk;
} pairs[] = {
	{ "user.x", "user.x" },
	{ "user.overlay", "user.overlay" },
	{ "user.overlayx", "user.overlayx" },
	{ "security.capability", "security.capability" },
	{ "system.posix_acl_access", "system.posix_acl_access" },
	{ "trusted.x", "trusted.x" },
	{ "trusted.overlay.opaque", "trusted.overlay.overlay.opaque" },
	{ "trusted.overlay.overlay.opaque", "trusted.overlay.overlay.overlay.opaque" },
	{ "user.overlay.whiteout", "user.overlay.overlay.whiteout" },
	{ "user.overlay.overlay.overlay.x", "user.overlay.overlay.overlay.overlay.x" },
	{ "trusted.overlay.", "trusted.overlay.overlay." },
};
#define NPAIRS (sizeof(pairs) / sizeof(pairs[0]))

static const char *const marks[] = {
	"trusted.overlay.opaque",
	"trusted.overlay.redirect",
	"user.overlay.opaque",
	"user.overlay.origin",
	"user.overlay.",
	"user.fuseoverlayfs.opaque",
	"user.fuseoverlayfs.origin",
	"trusted.overlay.overlay",
	"user.fuseoverlayfs.overlay.x",
};
#define NMARKS (sizeof(marks) / sizeof(marks[0]))

static void test_a_users_name_is_never_a_mark_on_disk(void **state)
{
	char disk[PLY_XATTR_NAME_SIZE];

	(void)state;
	for (size_t i = 0; i < NPAIRS; i++) {
		assert_int_equal(ply_xattr_to_disk(pairs[i].user, disk), 0);
		assert_string_equal(disk, pairs[i].disk);
		assert_false(ply_xattr_is_mark(disk));
	}
	for (size_t i = 0; i < NMARKS; i++)
		assert_true(ply_xattr_is_mark(marks[i]));
}

static void test_what_cannot_be_kept_is_refused(void **state)
{
	char disk[PLY_XATTR_NAME_SIZE], name[PLY_XATTR_NAME_SIZE + 20];

	(void)state;
	assert_int_equal(ply_xattr_to_disk("user.fuseoverlayfs.opaque", disk), -EPERM);
	/* 255 bytes fit, and no more once they are one level deeper. */
	memset(name, 'x', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = '\0';
	assert_int_equal(ply_xattr_to_disk(name, disk), 0);
	assert_string_equal(disk, name);
	name[255] = 'x';
	name[256] = '\0';
	assert_int_equal(ply_xattr_to_disk(name, disk), -ERANGE);
	memcpy(name, "user.overlay.", 13);
	name[255 - 8] = '\0';
	assert_int_equal(ply_xattr_to_disk(name, disk), 0);
	assert_int_equal(strlen(disk), 255);
	name[255 - 8] = 'x';
	name[255 - 7] = '\0';
	assert_int_equal(ply_xattr_to_disk(name, disk), -ERANGE);
}

static size_t append(char *list, size_t used, const char *name)
{
	strcpy(list + used, name);
	return used + strlen(name) + 1;
}

/* Every mixture of names and marks: the names are left, in their order. */
static void test_a_list_shows_names_and_no_marks(void **state)
{
	char list[4096], wanted[4096];
	unsigned seed = 1;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		size_t used = 0, kept = 0;

		for (unsigned n = round % 20; n > 0; n--) {
			size_t i;

			seed = seed * 1103515245 + 12345;
			i = seed >> 16;
			if (i & 1) {
				used = append(list, used, marks[i / 2 % NMARKS]);
			} else {
				used = append(list, used, pairs[i / 2 % NPAIRS].disk);
				kept = append(wanted, kept, pairs[i / 2 % NPAIRS].user);
			}
		}
		assert_int_equal(ply_xattr_filter_list(list, used), kept);
		assert_memory_equal(list, wanted, kept);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_users_name_is_never_a_mark_on_disk),
		cmocka_unit_test(test_what_cannot_be_kept_is_refused),
		cmocka_unit_test(test_a_list_shows_names_and_no_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
