/* Maps of ids: what texts say, and how owners, ACLs and capabilities cross. */
#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/ids.h"

static void set_maps(struct ply_ids *ids, const char *users, const char *groups)
{
	const char *why;

	ply_ids_init(ids);
	if (users)
		assert_int_equal(ply_id_map_parse(users, &ids->users, &why), 0);
	if (groups)
		assert_int_equal(ply_id_map_parse(groups, &ids->groups, &why), 0);
}

static void a_map_is_read_with_colons_in_odd_places(void **state)
{
	static const char *const texts[] = {
		"0:1000:1:1:100000:65536",
		":0:1000:1:1:100000:65536",
		":0:1000:1::1:100000:65536:",
		"00:01000:1:::1:100000:65536",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		static const struct ply_id_range wanted[] = { { 0, 1000, 1 },
							      { 1, 100000, 65536 } };
		struct ply_id_map map = { 0 };
		const char *why;

		assert_int_equal(ply_id_map_parse(texts[i], &map, &why), 0);
		assert_int_equal(map.n, 2);
		assert_memory_equal(map.ranges, wanted, sizeof(wanted));
		free(map.ranges);
	}
}

static void a_map_that_means_nothing_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "no range" },
		{ ":", "no range" },
		{ ":::", "no range" },
		{ "0", "expected" },
		{ "0:1", "expected" },
		{ "0:1:", "expected" },
		{ "0:1:2:3", "expected" },
		{ "0:1:x", "expected" },
		{ "0:1:2x", "expected" },
		{ "-1:1:2", "expected" },
		{ "0:1: 2", "expected" },
		{ "0:99999999999999999999:1", "expected" },
		{ "4294967296:0:1", "expected" },
		{ "0:1:0", "empty" },
		{ "0:4294967295:1", "greatest" },
		{ "4294967295:0:1", "greatest" },
		{ "1:1:4294967295", "greatest" },
		{ "0:100:10:9:200:10", "overlap" },
		{ "0:100:10:10:109:10", "overlap" },
		{ "5:5:1:5:6:1", "overlap" },
		{ "0:0:1:10:10:5:0:20:20", "overlap" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ply_id_map map = { 0 };
		const char *why = NULL;

		if (ply_id_map_parse(cases[i].text, &map, &why) != -EINVAL)
			fail_msg("'%s' is taken", cases[i].text);
		assert_non_null(why);
		if (!strstr(why, cases[i].why))
			fail_msg("'%s': %s", cases[i].text, why);
		assert_null(map.ranges);
	}
}

static void the_last_good_map_counts(void **state)
{
	struct ply_ids ids;
	const char *why;
	uint32_t id;

	(void)state;
	set_maps(&ids, "0:1:1", NULL);
	assert_int_equal(ply_id_map_parse("0:2:1", &ids.users, &why), 0);
	assert_int_equal(ply_id_map_parse("0:3:0", &ids.users, &why), -EINVAL);
	assert_int_equal(ply_ids_show_user(&ids, 0), 2);
	assert_int_equal(ply_ids_keep_user(&ids, 2, &id), 0);
	assert_int_equal(id, 0);
	ply_ids_free(&ids);
}

static void a_long_map_has_an_end(void **state)
{
	char *text = malloc(40 * 2000), *end = text;
	struct ply_id_map map = { 0 };
	const char *why;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 0; i < 2000; i++)
		end += sprintf(end, ":%u:%u:1", i, i);
	assert_int_equal(ply_id_map_parse(text, &map, &why), -EINVAL);
	free(text);
}

static void owners_cross_both_ways(void **state)
{
	struct ply_ids ids;
	uint32_t id;

	(void)state;
	set_maps(&ids, ":0:1000:1:1:100000:65536", ":0:2000:1:1:100000:10");
	assert_false(ply_ids_are_plain(&ids));
	assert_int_equal(ply_ids_show_user(&ids, 0), 1000);
	assert_int_equal(ply_ids_show_group(&ids, 0), 2000);
	assert_int_equal(ply_ids_show_user(&ids, 1), 100000);
	assert_int_equal(ply_ids_show_user(&ids, 65536), 165535);
	assert_int_equal(ply_ids_show_user(&ids, 65537), PLY_ID_OVERFLOW);
	assert_int_equal(ply_ids_show_group(&ids, 11), PLY_ID_OVERFLOW);
	assert_int_equal(ply_ids_keep_user(&ids, 1000, &id), 0);
	assert_int_equal(id, 0);
	assert_int_equal(ply_ids_keep_group(&ids, 100009, &id), 0);
	assert_int_equal(id, 10);
	assert_int_equal(ply_ids_keep_user(&ids, 0, &id), -EINVAL);
	assert_int_equal(ply_ids_keep_user(&ids, 99999, &id), -EINVAL);
	assert_int_equal(ply_ids_keep_group(&ids, 100010, &id), -EINVAL);
	ply_ids_free(&ids);
}

/* The ends of all numbers, where sums would wrap. */
static void the_greatest_ids_cross(void **state)
{
	struct ply_ids ids;
	uint32_t id;

	(void)state;
	set_maps(&ids, "4294967294:0:1:0:4294967294:1", NULL);
	assert_int_equal(ply_ids_show_user(&ids, 4294967294u), 0);
	assert_int_equal(ply_ids_show_user(&ids, 0), 4294967294u);
	assert_int_equal(ply_ids_keep_user(&ids, 4294967294u, &id), 0);
	assert_int_equal(id, 0);
	ply_ids_free(&ids);
	set_maps(&ids, "0:0:4294967295", NULL);
	assert_int_equal(ply_ids_show_user(&ids, 4294967294u), 4294967294u);
	ply_ids_free(&ids);
}

static void without_a_map_nothing_changes(void **state)
{
	struct ply_ids ids;
	uint32_t id;

	(void)state;
	ply_ids_init(&ids);
	assert_true(ply_ids_are_plain(&ids));
	assert_int_equal(ply_ids_show_user(&ids, 7), 7);
	assert_int_equal(ply_ids_keep_group(&ids, 8, &id), 0);
	assert_int_equal(id, 8);
	assert_false(ply_ids_in_value(&ids, "security.capability"));
	ply_ids_free(&ids);
}

static void a_squash_shows_one_owner_and_keeps_any(void **state)
{
	struct ply_ids ids;
	uint32_t id;

	(void)state;
	set_maps(&ids, "0:1000:10", NULL);
	ids.squash_user = 0;
	assert_true(ply_ids_are_squashed(&ids));
	assert_int_equal(ply_ids_show_user(&ids, 5), 0);
	assert_int_equal(ply_ids_show_group(&ids, 5), 5);
	assert_int_equal(ply_ids_keep_user(&ids, 1005, &id), 0);
	assert_int_equal(id, 5);
	ply_ids_free(&ids);
}

#define ACL_ENTRIES 5

struct acl {
	struct posix_acl_xattr_header head;
	struct posix_acl_xattr_entry entries[ACL_ENTRIES];
} __attribute__((packed));

static struct acl make_acl(uint32_t user, uint32_t group)
{
	static const uint16_t tags[] = { ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP,
					 ACL_OTHER };
	struct acl acl = { .head = { htole32(POSIX_ACL_XATTR_VERSION) } };

	for (size_t i = 0; i < ACL_ENTRIES; i++) {
		acl.entries[i].e_tag = htole16(tags[i]);
		acl.entries[i].e_perm = htole16(7);
		acl.entries[i].e_id = htole32(UINT32_MAX);
	}
	acl.entries[1].e_id = htole32(user);
	acl.entries[3].e_id = htole32(group);
	return acl;
}

static void lists_name_mapped_users_and_groups(void **state)
{
	struct acl kept = make_acl(5, 6), shown = make_acl(1005, 2006),
		   stranger = make_acl(1005, 1);
	struct acl unknown = make_acl(PLY_ID_OVERFLOW, PLY_ID_OVERFLOW), acl = kept;
	struct ply_ids ids;

	(void)state;
	set_maps(&ids, "0:1000:100", "0:2000:100");
	assert_true(ply_ids_in_value(&ids, "system.posix_acl_access"));
	assert_true(ply_ids_in_value(&ids, "system.posix_acl_default"));
	assert_false(ply_ids_in_value(&ids, "user.posix_acl_access"));
	ply_ids_show_value(&ids, &acl, sizeof(acl));
	assert_memory_equal(&acl, &shown, sizeof(acl));
	assert_int_equal(ply_ids_keep_value(&ids, &acl, sizeof(acl)), sizeof(acl));
	assert_memory_equal(&acl, &kept, sizeof(acl));
	assert_int_equal(ply_ids_keep_value(&ids, &stranger, sizeof(acl)), -EINVAL);
	acl = make_acl(500, 600);
	ply_ids_show_value(&ids, &acl, sizeof(acl));
	assert_memory_equal(&acl, &unknown, sizeof(acl));
	ply_ids_free(&ids);
}

static void the_root_of_a_capability_is_mapped(void **state)
{
	struct vfs_ns_cap_data caps = {
		.magic_etc = htole32(VFS_CAP_REVISION_3 | VFS_CAP_FLAGS_EFFECTIVE),
		.rootid = htole32(5),
	};
	struct ply_ids ids;

	(void)state;
	set_maps(&ids, "0:1000:100", NULL);
	assert_true(ply_ids_in_value(&ids, "security.capability"));
	ply_ids_show_value(&ids, &caps, sizeof(caps));
	assert_int_equal(le32toh(caps.rootid), 1005);
	assert_int_equal(ply_ids_keep_value(&ids, &caps, sizeof(caps)), sizeof(caps));
	assert_int_equal(le32toh(caps.rootid), 5);
	caps.rootid = htole32(5);
	assert_int_equal(ply_ids_keep_value(&ids, &caps, sizeof(caps)), -EINVAL);
	/* Of the layers' own root: as it would be without a map. */
	caps.rootid = htole32(1000);
	assert_int_equal(ply_ids_keep_value(&ids, &caps, sizeof(caps)),
			 sizeof(struct vfs_cap_data));
	assert_int_equal(le32toh(caps.magic_etc), VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE);
	ply_ids_free(&ids);
}

static void malformed_values_stay_as_they_are(void **state)
{
	static const size_t sizes[] = { 0, 1, 3, 4, 5, 11, 12, 19, 20, 21, 23, 25, 44 };
	struct ply_ids ids;

	(void)state;
	set_maps(&ids, "0:1000:100", "0:1000:100");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned char *value = malloc(sizes[i] + 1), *copy = malloc(sizes[i] + 1);

		memset(value, 0x55, sizes[i]);
		memcpy(copy, value, sizes[i]);
		ply_ids_show_value(&ids, value, sizes[i]);
		assert_int_equal(ply_ids_keep_value(&ids, value, sizes[i]), sizes[i]);
		assert_memory_equal(value, copy, sizes[i]);
		/* An ACL's beginning and any rest: nothing is read or written beyond. */
		if (sizes[i] >= 4)
			memcpy(value, "\2\0\0\0", 4);
		ply_ids_show_value(&ids, value, sizes[i]);
		ply_ids_keep_value(&ids, value, sizes[i]);
		free(value);
		free(copy);
	}
	ply_ids_free(&ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_is_read_with_colons_in_odd_places),
		cmocka_unit_test(a_map_that_means_nothing_is_refused),
		cmocka_unit_test(the_last_good_map_counts),
		cmocka_unit_test(a_long_map_has_an_end),
		cmocka_unit_test(owners_cross_both_ways),
		cmocka_unit_test(the_greatest_ids_cross),
		cmocka_unit_test(without_a_map_nothing_changes),
		cmocka_unit_test(a_squash_shows_one_owner_and_keeps_any),
		cmocka_unit_test(lists_name_mapped_users_and_groups),
		cmocka_unit_test(the_root_of_a_capability_is_mapped),
		cmocka_unit_test(malformed_values_stay_as_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
