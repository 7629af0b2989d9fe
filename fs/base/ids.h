/*
 * Owners between the layers and those who look. An id is **kept** by a layer and **shown** by the mount; the
 * two differ where a map or a squash says so. Ids cross in owners, in ACLs, and in the root id of capabilities.
 *
 * A map is what containers-storage and fuse-overlayfs write: triples KEPT:SHOWN:LENGTH, joined by colons, of
 * which superfluous ones (a leading one, as a rule) mean nothing. An id that no range has is shown as the
 * overflow id, and cannot be kept. A squash shows all owners as one id; what is kept is still by the map.
 * It leaves ACLs and capabilities alone.
 */
#ifndef PLY_BASE_IDS_H
#define PLY_BASE_IDS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PLY_ID_NONE UINT32_MAX
#define PLY_ID_OVERFLOW 65534u

struct ply_id_range {
	uint32_t kept, shown, length;
};

/* Without ranges all ids are shown as they are kept. */
struct ply_id_map {
	struct ply_id_range *ranges;
	size_t n;
};

struct ply_ids {
	struct ply_id_map users, groups;
	uint32_t squash_user, squash_group; /* PLY_ID_NONE: not squashed */
};

/* Nothing mapped, nothing squashed. */
void ply_ids_init(struct ply_ids *ids);
void ply_ids_free(struct ply_ids *ids);

/* A number that is an id, decimal and nothing else: 0, or -EINVAL. */
int ply_id_parse(const char *text, uint32_t *id);
/*
 * Replaces map by what text says. -ENOMEM, or -EINVAL with the fault in *why, a static text: no range at all,
 * an unfinished triple, an empty or too large range, two ranges that share an id on one side.
 */
int ply_id_map_parse(const char *text, struct ply_id_map *map, const char **why);

/* Do owners cross unchanged? */
int ply_ids_are_plain(const struct ply_ids *ids);
/* Is there a squash, under which owners that cannot be kept are no error? */
int ply_ids_are_squashed(const struct ply_ids *ids);

uint32_t ply_ids_show_user(const struct ply_ids *ids, uint32_t kept);
uint32_t ply_ids_show_group(const struct ply_ids *ids, uint32_t kept);
/* -EINVAL for an id outside of the map, and *kept stays as it was. */
int ply_ids_keep_user(const struct ply_ids *ids, uint32_t shown, uint32_t *kept);
int ply_ids_keep_group(const struct ply_ids *ids, uint32_t shown, uint32_t *kept);

/* Has the value of this extended attribute ids in it that a map changes? */
int ply_ids_in_value(const struct ply_ids *ids, const char *attr);
/*
 * A value of such an attribute, in place. What is malformed stays as it is. Shown it has the same size, kept
 * it may be shorter (the new size; -EINVAL for an id outside of the map).
 */
void ply_ids_show_value(const struct ply_ids *ids, void *value, size_t size);
ssize_t ply_ids_keep_value(const struct ply_ids *ids, void *value, size_t size);

#endif
