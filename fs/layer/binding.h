/*
 * What ties an index of hard links to the directories that it was made on: its entries are names of lower
 * inodes, and mean nothing, or something wrong, over other ones. The kernel's marks say which upper it belongs to, and
 * what the topmost lower layer is; a mark of our own says it of all layers. A mark that is missing is no contradiction.
 */
#ifndef PLY_LAYER_BINDING_H
#define PLY_LAYER_BINDING_H

#include "layer/format.h"
#include "layer/layer.h"
#include "layer/upper.h"

enum ply_bound {
	PLY_BOUND_HERE,
	PLY_BOUND_UNSAID, /* nothing says otherwise */
	PLY_BOUND_OTHER_UPPER,
	PLY_BOUND_OTHER_LOWERS,
};

/* A stack: layers[0] is the upper, the others are lower ones, topmost first; data-only layers do not count. */
struct ply_binding_stack {
	struct ply_layer *layers;
	unsigned n;
};

/* Where the index directory open as index belongs: of enum ply_bound, or -errno. */
int ply_binding_check(const struct ply_binding_stack *stack, int index);
/*
 * Ties the index, name in dirfd, to the stack: marks on the index and on the root of the upper, whose writer is up.
 * 0 or -errno; -EOPNOTSUPP where there are no marks.
 */
int ply_binding_write(struct ply_upper *up, const struct ply_binding_stack *stack, int dirfd,
		      const char *name);
/* As ply_binding_write, and our own mark alone. */
int ply_binding_write_own(struct ply_upper *up, const struct ply_binding_stack *stack, int dirfd,
			  const char *name);
/*
 * The descriptor of a directory beside the work directory, kept in *slot. One that is not there is made, and tied before it
 * gets its name, at which it is looked for.
 */
struct ply_bound_dir {
	const char *name;
	_Atomic int *slot;
	int (*tie)(struct ply_upper *up, const struct ply_binding_stack *stack, int dirfd,
		   const char *name);
};
int ply_bound_dir_get(struct ply_upper *up, const struct ply_binding_stack *stack,
		      const struct ply_bound_dir *dir);
/* 1 when the index has entries, 0 when it says nothing, or -errno. */
int ply_index_has_entries(int index);

#endif
