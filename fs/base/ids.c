/* Maps of ids, see the header. The formats of ACLs and capabilities are the kernel's own structures. */
#include "base/ids.h"

#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY "security.capability"
#define ACL_PREFIX "system.posix_acl_"

void ply_ids_init(struct ply_ids *ids)
{
	*ids = (struct ply_ids){ .squash_user = PLY_ID_NONE, .squash_group = PLY_ID_NONE };
}

void ply_ids_free(struct ply_ids *ids)
{
	free(ids->users.ranges);
	free(ids->groups.ranges);
	ply_ids_init(ids);
}

/* ---- reading a map ---- */

/* The number at s, and where it ends; -EINVAL for one of more than 32 bits or none at all. */
static int parse_number(const char *s, const char **end, uint32_t *out)
{
	uint64_t n = 0;
	const char *at = s;

	for (; *at >= '0' && *at <= '9'; at++) {
		n = n * 10 + (unsigned)(*at - '0');
		if (n > UINT32_MAX)
			return -EINVAL;
	}
	*end = at;
	*out = (uint32_t)n;
	return at > s ? 0 : -EINVAL;
}

int ply_id_parse(const char *text, uint32_t *id)
{
	const char *end;
	uint32_t n;

	if (parse_number(text, &end, &n) || *end || n == PLY_ID_NONE)
		return -EINVAL;
	*id = n;
	return 0;
}

static int share_any(uint32_t a, uint32_t alen, uint32_t b, uint32_t blen)
{
	return a < (uint64_t)b + blen && b < (uint64_t)a + alen;
}

/* NULL, or what is wrong with the range behind those of the map. */
static const char *fault(const struct ply_id_map *map, const struct ply_id_range *range)
{
	if (!range->length)
		return "a range is empty";
	if ((uint64_t)range->kept + range->length > UINT32_MAX ||
	    (uint64_t)range->shown + range->length > UINT32_MAX)
		return "a range goes beyond the greatest id";
	for (size_t i = 0; i < map->n; i++) {
		const struct ply_id_range *other = &map->ranges[i];

		if (share_any(range->kept, range->length, other->kept, other->length) ||
		    share_any(range->shown, range->length, other->shown, other->length))
			return "two ranges overlap";
	}
	return NULL;
}

static int add_range(struct ply_id_map *map, const struct ply_id_range *range)
{
	struct ply_id_range *grown = realloc(map->ranges, (map->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	grown[map->n++] = *range;
	map->ranges = grown;
	return 0;
}

/* One triple from *at on, which is moved behind it: 1 when there is none any more. */
static int parse_range(const char **at, struct ply_id_range *range, const char **why)
{
	uint32_t *const numbers[] = { &range->kept, &range->shown, &range->length };

	for (size_t i = 0; i < 3; i++) {
		*at += strspn(*at, ":");
		if (!**at && i == 0)
			return 1;
		*why = "KEPT:SHOWN:LENGTH is expected";
		if (!**at || parse_number(*at, at, numbers[i]) || (**at && **at != ':'))
			return -EINVAL;
	}
	return 0;
}

/* More would make each id of each answer slow, and the check for overlaps as well. */
#define RANGES_MAX 1024

int ply_id_map_parse(const char *text, struct ply_id_map *map, const char **why)
{
	struct ply_id_map made = { 0 };
	struct ply_id_range range;
	int err;

	while (!(err = parse_range(&text, &range, why))) {
		*why = made.n < RANGES_MAX ? fault(&made, &range) : "too many ranges";
		err = *why ? -EINVAL : add_range(&made, &range);
		if (err)
			break;
	}
	if (err > 0) {
		*why = "no range is given";
		err = made.n ? 0 : -EINVAL;
	}
	if (err) {
		free(made.ranges);
		return err;
	}
	free(map->ranges);
	*map = made;
	return 0;
}

/* ---- crossing ---- */

int ply_ids_are_squashed(const struct ply_ids *ids)
{
	return ids->squash_user != PLY_ID_NONE || ids->squash_group != PLY_ID_NONE;
}

static int has_map(const struct ply_ids *ids)
{
	return ids->users.n || ids->groups.n;
}

int ply_ids_are_plain(const struct ply_ids *ids)
{
	return !has_map(ids) && !ply_ids_are_squashed(ids);
}

static uint32_t show(const struct ply_id_map *map, uint32_t kept)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct ply_id_range *r = &map->ranges[i];

		if (kept >= r->kept && kept - r->kept < r->length)
			return r->shown + (kept - r->kept);
	}
	return map->n ? PLY_ID_OVERFLOW : kept;
}

static int keep(const struct ply_id_map *map, uint32_t shown, uint32_t *kept)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct ply_id_range *r = &map->ranges[i];

		if (shown >= r->shown && shown - r->shown < r->length) {
			*kept = r->kept + (shown - r->shown);
			return 0;
		}
	}
	if (map->n)
		return -EINVAL;
	*kept = shown;
	return 0;
}

uint32_t ply_ids_show_user(const struct ply_ids *ids, uint32_t kept)
{
	return ids->squash_user != PLY_ID_NONE ? ids->squash_user : show(&ids->users, kept);
}

uint32_t ply_ids_show_group(const struct ply_ids *ids, uint32_t kept)
{
	return ids->squash_group != PLY_ID_NONE ? ids->squash_group : show(&ids->groups, kept);
}

int ply_ids_keep_user(const struct ply_ids *ids, uint32_t shown, uint32_t *kept)
{
	return keep(&ids->users, shown, kept);
}

int ply_ids_keep_group(const struct ply_ids *ids, uint32_t shown, uint32_t *kept)
{
	return keep(&ids->groups, shown, kept);
}

int ply_ids_in_value(const struct ply_ids *ids, const char *attr)
{
	return has_map(ids) &&
	       (!strcmp(attr, CAPABILITY) || !strncmp(attr, ACL_PREFIX, strlen(ACL_PREFIX)));
}

/* The two kinds of value begin with numbers that tell them apart. */
static uint32_t first_word(const void *value, size_t size)
{
	uint32_t word = 0;

	if (size >= sizeof(word))
		memcpy(&word, value, sizeof(word));
	return le32toh(word);
}

static int is_acl(const void *value, size_t size)
{
	return first_word(value, size) == POSIX_ACL_XATTR_VERSION;
}

/* With a root id; those of older versions have none, and mean the root of whoever runs the file. */
static int is_capability(const void *value, size_t size)
{
	return size == sizeof(struct vfs_ns_cap_data) &&
	       (first_word(value, size) & VFS_CAP_REVISION_MASK) == VFS_CAP_REVISION_3;
}

/* The map for an ACL's entry, or NULL when it names nobody. */
static const struct ply_id_map *map_of(const struct ply_ids *ids,
				       const struct posix_acl_xattr_entry *entry)
{
	unsigned tag = le16toh(entry->e_tag);

	return tag == ACL_USER ? &ids->users : tag == ACL_GROUP ? &ids->groups : NULL;
}

static struct posix_acl_xattr_entry *acl_entries(void *value, size_t size, size_t *n)
{
	*n = (size - sizeof(struct posix_acl_xattr_header)) / sizeof(struct posix_acl_xattr_entry);
	return (void *)((char *)value + sizeof(struct posix_acl_xattr_header));
}

void ply_ids_show_value(const struct ply_ids *ids, void *value, size_t size)
{
	struct posix_acl_xattr_entry *entries;
	struct vfs_ns_cap_data *caps = value;
	size_t n;

	if (is_capability(value, size)) {
		caps->rootid = htole32(show(&ids->users, le32toh(caps->rootid)));
		return;
	}
	if (!is_acl(value, size))
		return;
	entries = acl_entries(value, size, &n);
	for (size_t i = 0; i < n; i++) {
		const struct ply_id_map *map = map_of(ids, &entries[i]);

		if (map)
			entries[i].e_id = htole32(show(map, le32toh(entries[i].e_id)));
	}
}

/* What belongs to the root of the layers needs no root id: the older form is what an image has. */
static ssize_t keep_capability(const struct ply_ids *ids, struct vfs_ns_cap_data *caps)
{
	uint32_t root, magic = le32toh(caps->magic_etc);

	if (keep(&ids->users, le32toh(caps->rootid), &root))
		return -EINVAL;
	caps->rootid = htole32(root);
	if (root)
		return sizeof(struct vfs_ns_cap_data);
	caps->magic_etc = htole32((magic & ~VFS_CAP_REVISION_MASK) | VFS_CAP_REVISION_2);
	return sizeof(struct vfs_cap_data);
}

ssize_t ply_ids_keep_value(const struct ply_ids *ids, void *value, size_t size)
{
	struct posix_acl_xattr_entry *entries;
	size_t n;

	if (is_capability(value, size))
		return keep_capability(ids, value);
	if (!is_acl(value, size))
		return (ssize_t)size;
	entries = acl_entries(value, size, &n);
	for (size_t i = 0; i < n; i++) {
		const struct ply_id_map *map = map_of(ids, &entries[i]);
		uint32_t id;

		if (!map)
			continue;
		if (keep(map, le32toh(entries[i].e_id), &id))
			return -EINVAL;
		entries[i].e_id = htole32(id);
	}
	return (ssize_t)size;
}
