/*
 * What a tool may ask a running server: ioctls on the root of the mount, as numbers and structures. Root and the owner
 * of the mount may; others get EPERM. Each structure goes both ways; where it has a sentence, that says why an ioctl
 * failed. A kernel file system, or another server, answers ENOTTY.
 *
 * A freeze holds back what others ask of the mount, until it is thawed, its limit is over, or the process that
 * froze it ends. While it is on, whoever opens a path in the mount waits as well: the one who froze it, too.
 */
#ifndef PLY_UNION_CTL_H
#define PLY_UNION_CTL_H

#include <limits.h>
#include <linux/ioctl.h>
#include <stdint.h>

#include "union/union.h"

#define PLY_CTL_VERSION 1
#define PLY_CTL_WHY 4608
#define PLY_CTL_OPS 64

enum ply_ctl_flags {
	PLY_CTL_READONLY = 1 << 0,  /* there is no upper */
	PLY_CTL_WRITEBACK = 1 << 1, /* the kernel collects writes */
	PLY_CTL_FROZEN = 1 << 2,
	PLY_CTL_METACOPY = 1 << 3, /* files stay metadata only */
	PLY_CTL_NOSYNC = 1 << 4,   /* volatile */
};

struct ply_ctl_status {
	uint32_t version; /* PLY_CTL_VERSION */
	uint32_t flags;	  /* of enum ply_ctl_flags */
	uint32_t pid;	  /* of the server, as itself sees it */
	uint32_t nlayers; /* with the upper and the data-only ones */
	uint64_t nodes, names, node_bytes;
	uint64_t listings, listing_bytes;
	uint64_t fds;
	uint64_t unsettled; /* files with marks that are to be taken off */
	uint64_t copyups, copyup_bytes;
	uint64_t held;	 /* requests that a freeze holds back */
	uint64_t writes; /* of data, so far */
	struct ply_ctl_op {
		uint64_t count; /* requests so far */
		char name[24];	/* "LOOKUP"; empty where there is no such kind */
	} ops[PLY_CTL_OPS];
};

/* One layer of the stack: 0 is the upper, with an empty path where there is none; then the lowers, topmost first. */
struct ply_ctl_layer {
	uint32_t index;
	uint32_t is_data_only;
	char path[PATH_MAX];
};

/* The work directory; ENOENT when there is no upper. */
struct ply_ctl_work {
	uint32_t has_index; /* its index of hard links is in use */
	uint32_t reserved;
	char path[PATH_MAX];
};

/* Takes marks off, for about seconds; *left files are left then. */
struct ply_ctl_flush {
	uint32_t seconds;
	uint32_t all_data; /* of metadata-only files too */
	uint64_t left;
	char why[PLY_CTL_WHY];
};

/* Before a freeze and without one: what would make it long. */
struct ply_ctl_ready {
	uint32_t keeps_redirects; /* else brings up what moved directories have below */
	uint32_t reserved;
};

enum ply_ctl_freeze_how {
	/*
	 * Holds back what changes the mount, waits until what is under way has ended, and makes the kernel ask before it
	 * collects more writes. What it has collected still comes, and so do reads.
	 */
	PLY_CTL_FREEZE_CHANGES,
	/* After the first: holds back everything. */
	PLY_CTL_FREEZE_ALL,
};

struct ply_ctl_freeze {
	uint32_t how;	   /* of enum ply_ctl_freeze_how */
	uint32_t wait_ms;  /* for what is under way; EBUSY and thawed when that was not enough */
	uint32_t limit_ms; /* after which it thaws by itself */
};

/*
 * Makes the upper a lower layer, of a mount that is frozen whole, and thaws it. EAGAIN: thawed, and worth another try;
 * ECANCELED: it was thawed before.
 */
struct ply_ctl_rotate {
	char layer[PATH_MAX];	  /* absolute */
	uint64_t pause_us;	  /* for which the mount was frozen */
	uint32_t keeps_redirects; /* the layer may need those below it */
	uint32_t reserved;
	char why[PLY_CTL_WHY];
};

/*
 * Where a name comes from, part by part: a file's inode and, if that is elsewhere, its data; a directory in all layers
 * that it is merged of. No symlink is followed. ENOENT: not there; ERANGE: beyond the last part; EXDEV: a path with "..".
 */
struct ply_ctl_where {
	uint32_t part; /* from 0 on */
	uint32_t nparts;
	uint32_t mode;
	uint32_t state; /* of enum ply_where_state */
	uint64_t ino;	/* as the mount shows it */
	uint32_t kind;	/* of enum ply_where_kind; this and the rest are the part's */
	uint32_t layer;
	char path
		[PATH_MAX]; /* from the mount's root, empty for that; answered with the path in the layer */
};

/*
 * Puts a layer below all that are merged, of a mount in use: freezes it for a moment by itself, and answers when the kernel has
 * been told what is new. EBUSY, EAGAIN: worth another try; EEXIST: it is a layer already; EINVAL, ELOOP: it lies in the upper, the work
 * directory or the mount; others of its file system. Nothing has changed then.
 */
struct ply_ctl_add {
	char layer[PATH_MAX]; /* absolute */
	uint64_t dev;	      /* st_dev of the mount */
	uint64_t pause_us;    /* for which it was frozen */
	uint32_t wait_ms;     /* for what is under way */
	uint32_t is_dry_run;  /* looks at the layer, and changes nothing */
	uint32_t index;	      /* of the layer in the stack */
	uint32_t dirs;	      /* which somebody knew of, and that have something of it */
	char why[PLY_CTL_WHY];
};

#define PLY_CTL_TYPE 0xf5
#define PLY_CTL_STATUS _IOWR(PLY_CTL_TYPE, 1, struct ply_ctl_status)
#define PLY_CTL_LAYER _IOWR(PLY_CTL_TYPE, 2, struct ply_ctl_layer)
#define PLY_CTL_FLUSH _IOWR(PLY_CTL_TYPE, 3, struct ply_ctl_flush)
#define PLY_CTL_READY _IOWR(PLY_CTL_TYPE, 4, struct ply_ctl_ready)
#define PLY_CTL_FREEZE _IOWR(PLY_CTL_TYPE, 5, struct ply_ctl_freeze)
#define PLY_CTL_THAW _IO(PLY_CTL_TYPE, 6) /* EINVAL: this process has not frozen it, or no more */
#define PLY_CTL_ROTATE _IOWR(PLY_CTL_TYPE, 7, struct ply_ctl_rotate)
#define PLY_CTL_WHERE _IOWR(PLY_CTL_TYPE, 8, struct ply_ctl_where)
#define PLY_CTL_WORK _IOWR(PLY_CTL_TYPE, 9, struct ply_ctl_work)
#define PLY_CTL_ADD _IOWR(PLY_CTL_TYPE, 10, struct ply_ctl_add)

#endif
