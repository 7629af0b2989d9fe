/*
 * What the layers of a stack hold, and how much of it in vain: usage.c counts, usage_hidden.c looks closer at what is
 * hidden, plyfs-du.c prints. What is hidden is what a layer has less what the stack shows of it, so that renamed directories
 * and data below count as shown. An inode with several names counts once.
 */
#ifndef PLY_TOOLS_USAGE_H
#define PLY_TOOLS_USAGE_H

#include "args.h"
#include "inodes.h"
#include "survey.h"

enum ply_usage_wish {
	PLY_USAGE_APPARENT = 1 << 0,  /* sizes of files, not the room they take */
	PLY_USAGE_UNCHANGED = 1 << 1, /* reads data */
	PLY_USAGE_SHARED = 1 << 2,    /* asks for extents */
};

struct ply_usage_layer {
	uint64_t bytes, shown, files, dirs, whiteouts;
	uint64_t unchanged; /* of files whose data is the same as what they hide */
	uint64_t shared;    /* in extents that other files have, too */
	int tells_no_extents;
};

/* A file that nobody sees. */
struct ply_usage_hidden {
	uint64_t bytes;
	unsigned layer;
	char *path;
	struct ply_hider by;
};

struct ply_usage {
	struct ply_stack *stack;
	unsigned wishes; /* of enum ply_usage_wish */
	struct ply_progress progress;
	struct ply_usage_layer *layers;
	struct ply_usage_hidden *largest; /* hidden ones, sorted; nwanted of them are looked for */
	size_t nlargest, nwanted;
	/* Of the counting. */
	struct ply_inodes *counted;
	unsigned layer;
};

/* Counts. 0 or -errno; what cannot be read it says itself. wishes, stack and nwanted are set. */
int ply_usage_count(struct ply_usage *u);
void ply_usage_free(struct ply_usage *u);

/* What an inode is counted for. */
enum ply_usage_counted {
	PLY_COUNTED_OWN,
	PLY_COUNTED_SHOWN,
	PLY_COUNTED_UNCHANGED,
	PLY_COUNTED_HIDDEN,
};
static inline unsigned ply_usage_tag(unsigned layer, enum ply_usage_counted what)
{
	return 4 * layer + what;
}
uint64_t ply_usage_size(const struct ply_usage *u, const struct statx *stx);
/* 1 when it counts now, 0 when another name of it did, or -errno. */
int ply_usage_is_first(struct ply_usage *u, unsigned layer, enum ply_usage_counted what,
		       const struct statx *stx);
/* What is to be known of each hidden file, and of what hides it. */
int ply_usage_look_at_hidden(struct ply_usage *u);

#endif
