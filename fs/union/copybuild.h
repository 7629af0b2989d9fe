/*
 * The first half of a copy-up: the copy as it is made in the work directory, where nobody sees it. The second half, its
 * name, is in copyup.c.
 */
#ifndef PLY_UNION_COPYBUILD_H
#define PLY_UNION_COPYBUILD_H

#include "union/copyup.h"
#include "union/lowerdata.h"

/* A copy while it is being made in the work directory. */
struct ply_copy {
	struct ply_node *node;
	struct statx stx; /* the lower inode's */
	struct ply_work_name tmp;
	int fd;		/* regular files: open for reading and writing, else -1 */
	int is_plain;	/* to be made without marks, for which its attributes leave no room */
	int lacks_room; /* for an attribute: that is why it could not be made or published */
	int nattrs;
	int has_origin;
	struct ply_fh origin;
	off_t limit; /* of the data to copy; PLY_NO_DATA: the mark says where it is */
	const struct ply_patch *patch; /* to be written before anybody sees it, or NULL */
	struct ply_lowerdata
		*lowerdata; /* with the mark, else NULL; the node's once it is published */
};

/* Makes the whole copy. -errno: nothing is left of it. */
int ply_copy_build(struct ply_union *u, struct ply_copy *c);
/* Removes what was built and got no name. */
void ply_copy_discard(struct ply_union *u, struct ply_copy *c);
/*
 * Gives what is built at fd/name all that the lower inode has, but for the marks of its layer; in *nattrs, if that is not NULL,
 * how many xattrs.
 */
int ply_copy_lower_attrs(struct ply_union *u, const struct ply_place *lower,
			 const struct statx *stx, int fd, const char *name, int *nattrs);

#endif
