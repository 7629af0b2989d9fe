/* Counting what could not be kept. */
#include "lost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static struct ply_lost_kind *find(const struct ply_lost *lost, const char *what)
{
	for (unsigned i = 0; i < lost->nkinds; i++)
		if (!strcmp(lost->kinds[i].what, what))
			return (struct ply_lost_kind *)&lost->kinds[i];
	return NULL;
}

int ply_lost_is_known(const struct ply_lost *lost, const char *what)
{
	return find(lost, what) != NULL;
}

void ply_lost_add(struct ply_lost *lost, const char *what, int err, char *path)
{
	struct ply_lost_kind *kind = find(lost, what);

	lost->count++;
	if (!kind && lost->nkinds < PLY_LOST_KINDS) {
		kind = &lost->kinds[lost->nkinds++];
		snprintf(kind->what, sizeof(kind->what), "%s", what);
		kind->err = err;
		kind->first = path;
		path = NULL;
	}
	if (kind)
		kind->count++;
	free(path);
}

void ply_lost_tell(const struct ply_lost *lost)
{
	uint64_t named = 0;

	for (unsigned i = 0; i < lost->nkinds; i++) {
		const struct ply_lost_kind *kind = &lost->kinds[i];
		char *path = ply_quote(kind->first), *what = ply_quote(kind->what);

		ply_tell("not kept: %s of %llu %s (first: %s): %s", what,
			 (unsigned long long)kind->count, kind->count == 1 ? "entry" : "entries",
			 path, strerror(-kind->err));
		named += kind->count;
		free(what);
		free(path);
	}
	if (named < lost->count)
		ply_tell("not kept: %llu other attributes",
			 (unsigned long long)(lost->count - named));
}

void ply_lost_free(struct ply_lost *lost)
{
	for (unsigned i = 0; i < lost->nkinds; i++)
		free(lost->kinds[i].first);
	lost->nkinds = 0;
}
