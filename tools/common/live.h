/*
 * Talking to the server of a mount, by the ioctls of union/ctl.h. Errors are told to the user here, in sentences, and
 * returned as -errno.
 */
#ifndef PLY_TOOLS_LIVE_H
#define PLY_TOOLS_LIVE_H

#include "union/ctl.h"

struct ply_live {
	const char *mountpoint;
	int fd; /* of the mount's root, or -1 */
	int is_frozen;
};

/* How a consistent cut is to be had. */
struct ply_live_cut {
	unsigned pause_ms; /* the longest freeze */
	int keeps_redirects; /* else all that the upper has below is brought up: data, and what was moved */
	int is_held;	     /* out: another program has frozen it */
	int was_mapped; /* out: mapped files were written all the time, so their order is not kept */
};

int ply_live_open(struct ply_live *live, const char *mountpoint);
/* Thaws what is still frozen. */
void ply_live_close(struct ply_live *live);
int ply_live_status(struct ply_live *live, struct ply_ctl_status *status);
/* -ENOENT, without a word, beyond the last layer. */
int ply_live_layer(struct ply_live *live, unsigned index, struct ply_ctl_layer *layer);
/* What a later mount must name: prints its lowerdir=. */
void ply_live_say_stack(struct ply_live *live);

/* Where a name below the root comes from; -ENOENT and -ERANGE without a word. */
int ply_live_where(struct ply_live *live, const char *path, unsigned part,
		   struct ply_ctl_where *where);

/* The work directory. -ENOENT, without a word: there is none, or the server is one of those that do not tell. */
int ply_live_work(struct ply_live *live, struct ply_ctl_work *work);

/* What was written through the mount so far is in the upper, with as few marks as may be; it goes on. */
int ply_live_flush(struct ply_live *live);
/*
 * Brings the upper up to date and freezes the mount so that nothing which the kernel holds is missing in it: if a write
 * is there, all that had ended before it began are. -EBUSY: not in time, and not frozen by this process; what another has
 * frozen stays so.
 */
int ply_live_freeze(struct ply_live *live, struct ply_live_cut *cut);
/* Of a frozen mount: settles what is left. */
int ply_live_settle(struct ply_live *live, const struct ply_live_cut *cut);
int ply_live_thaw(struct ply_live *live);
/* Of a frozen mount, which is thawed whatever comes of it: its upper becomes layer. -EAGAIN: try again. */
int ply_live_rotate(struct ply_live *live, const struct ply_live_cut *cut, const char *layer,
		    uint64_t *pause_us);
/* Puts a layer below the others of the mount, or says whether that can be: a->layer and a->is_dry_run. -EBUSY: try again. */
int ply_live_add(struct ply_live *live, struct ply_ctl_add *a);

#endif
