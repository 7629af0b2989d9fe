/*
 * Making an upper a layer. snap_copy.c copies it, snap_live.c holds a mounted stack meanwhile, or lets the upper change
 * places with an empty directory; snap_spare.c knows what the layer need not have. Errors are told here, in sentences, and
 * returned as -errno.
 */
#ifndef PLY_TOOLS_SNAPSHOT_H
#define PLY_TOOLS_SNAPSHOT_H

#include "args.h"
#include "digest.h"
#include "live.h"
#include "lost.h"
#include "staging.h"
#include "treecopy.h"

struct ply_snap_spare;

struct ply_snap {
	struct ply_cli cli;
	struct ply_layer from, to; /* the upper, and what is being built */
	struct ply_staging staging;
	struct ply_tree_copy copy;
	struct ply_lost lost;
	struct ply_progress progress;
	uint64_t files, dirs, whiteouts;
	uint64_t left_out;   /* entries that only say what the layers below do */
	uint64_t linked;     /* bytes of files that are the upper's own inodes */
	const char *trouble; /* instead of what an errno says */
	const struct ply_walk_entry *at;
	int is_busy;
	int keeps_redirects;
	int links;		       /* files become names of the upper's inodes */
	struct ply_stack_paths lowers; /* to be vacuumed against; none: it is not */
	struct ply_snap_spare *spare;
	char seal[PLY_SHA256_HEX]; /* of the layer, or empty */
	double start;

	/* Of a mounted stack: */
	struct ply_live live;
	struct ply_live_cut cut;
	double give_up; /* when to try no more */
	double paused;	/* seconds */
	int rotates;
	int vacuums; /* against the mount's own lower layers */
};

int ply_snap_of_mount(struct ply_snap *s, const char *layer);
int ply_snap_of_upper(struct ply_snap *s, const char *upper, const char *layer);
/* Of a mount that stays as it is; what has been opened is as of one moment. */
int ply_snap_copy(struct ply_snap *s, const char *layer);
int ply_snap_open_upper(struct ply_snap *s, const char *path);
int ply_snap_open_target(struct ply_snap *s, const char *path);
/* Tells of an error; path may be NULL. */
void ply_snap_complain(struct ply_snap *s, const char *what, const char *path, int err);
/* Ends the pause that began then, if there is one: -EBUSY when the mount has gone on by itself. */
int ply_snap_end_pause(struct ply_snap *s, double began);

/* What the upper has in vain, over s->lowers. */
int ply_snap_find_spare(struct ply_snap *s);
int ply_snap_is_spare(const struct ply_snap *s, const struct ply_walk_entry *e);
void ply_snap_free_spare(struct ply_snap *s);

#endif
