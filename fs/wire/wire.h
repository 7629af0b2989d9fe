/*
 * A mount and its server, as main sees them: mount, answer INIT, serve until it is unmounted.
 */
#ifndef PLY_WIRE_WIRE_H
#define PLY_WIRE_WIRE_H

struct ply_ids;
struct ply_union;
struct ply_wire;

enum ply_wire_flags {
	PLY_WIRE_WRITEBACK = 1 << 0, /* the kernel collects writes */
	PLY_WIRE_SYNC = 1 << 1,	     /* fsync means something */
	PLY_WIRE_XATTR = 1 << 2,
	PLY_WIRE_ACL = 1 << 3,
	PLY_WIRE_ALLOW_ROOT = 1 << 4,	/* only root and who mounted it may come in */
	PLY_WIRE_FOREGROUND = 1 << 5,	/* counters go to stderr, else to the log */
	PLY_WIRE_RECHECK = 1 << 6,	/* after the timeout also data may have changed */
	PLY_WIRE_STATIC_NLINK = 1 << 7, /* every directory has a link count of 1 */
	PLY_WIRE_INO32 = 1 << 8,	/* inode numbers fit into 32 bits */
};

struct ply_wire_config {
	struct ply_union *u;
	const struct ply_ids *ids; /* borrowed; how owners are shown and kept */
	const char *mountpoint;	   /* absolute, or /dev/fd/N: mounted already */
	const char *mount_options; /* for libfuse, separated by commas */
	double timeout;		   /* seconds for which the kernel may keep what it was told */
	unsigned flags;		   /* of enum ply_wire_flags */
	int stats_fd;		   /* counters are also written there; -1: not */
};

/* The config's before_long of a union: lets another thread serve what comes next. */
void ply_wire_before_long(void *unused);

/* Mounts. Failures have been logged. Signals that end a server are blocked from here on. */
int ply_wire_open(const struct ply_wire_config *cfg, struct ply_wire **out);
/* Answers the kernel's first request: from then on the mount works. */
int ply_wire_start(struct ply_wire *w);
/* From now on the log is syslog, and stderr is gone. */
void ply_wire_to_background(struct ply_wire *w);
/* Serves until the mount is gone, by umount or because a signal asked for it. */
int ply_wire_run(struct ply_wire *w);
void ply_wire_print_counters(struct ply_wire *w);
/* Unmounts if that has not happened; the union may be closed afterwards. NULL is allowed. */
void ply_wire_close(struct ply_wire *w);

#endif
