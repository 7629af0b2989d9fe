/*
 * What a copy could not keep: told at the end, once a kind, with how often and where first. Nothing is left
 * out in silence.
 */
#ifndef PLY_TOOLS_LOST_H
#define PLY_TOOLS_LOST_H

#include <stdint.h>

#define PLY_LOST_KINDS 32

struct ply_lost {
	struct ply_lost_kind {
		char what[256]; /* an attribute's name, or "the owner" */
		char *first;	/* path */
		int err;
		uint64_t count;
	} kinds[PLY_LOST_KINDS];
	unsigned nkinds;
	uint64_t count; /* of all kinds, also of those that found no place */
};

/* Is what known already, so that no path is needed? */
int ply_lost_is_known(const struct ply_lost *lost, const char *what);
/* Takes path over. */
void ply_lost_add(struct ply_lost *lost, const char *what, int err, char *path);
/* Says it all on stderr, a line a kind. */
void ply_lost_tell(const struct ply_lost *lost);
void ply_lost_free(struct ply_lost *lost);

#endif
