/*
 * What ties an upper directory to one stack, and says nothing in another: marks that lead to lower layers, or count what
 * they have. A layer of its own has none of them.
 */
#ifndef PLY_TOOLS_TIES_H
#define PLY_TOOLS_TIES_H

#include "layer/layer.h"
#include "walk.h"

/* Is the attribute, a mark, such a tie? */
int ply_is_tie(const char *attr);

/* Is the content of a metadata-only file, or of a moved directory, in layers below? 1, 0 or -errno. */
int ply_is_elsewhere(struct ply_layer *layer, const struct ply_walk_entry *e);

struct ply_untied {
	uint64_t marks; /* taken off */
	uint64_t
		elsewhere; /* entries whose content is in layers below: metadata-only files, moved directories */
};

/*
 * Takes the ties off all entries of a layer, with its root; times stay, and none if some content is elsewhere: then the layer
 * needs them. -errno, with *where for the caller to free.
 */
int ply_untie(struct ply_layer *layer, struct ply_untied *untied, char **where);

#endif
