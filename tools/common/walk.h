/*
 * Walking a directory tree of any size and depth by descriptors: no path is resolved twice, no symlink
 * followed, no mount entered. The number of open descriptors is bounded: a directory far above the present
 * one is closed, and reached again through "..", with its identity compared.
 *
 * A walk may keep the counterpart of each directory in another tree, the mirror, open beside it: it is the
 * caller's enter function that makes it.
 */
#ifndef PLY_TOOLS_WALK_H
#define PLY_TOOLS_WALK_H

#include <sys/stat.h>

struct ply_walk;

/* What a function is called for. Valid during the call. */
struct ply_walk_entry {
	struct ply_walk *walk;
	const char *name;
	int dirfd;  /* the directory that has it */
	int mirror; /* its counterpart, or -1 */
	int self;   /* leave: the directory itself, and its counterpart; else -1 */
	int self_mirror;
	struct statx stx; /* as it was before the walk came to it */
};

/* Each returns 0 or -errno, which ends the walk; each may be NULL. */
struct ply_walk_ops {
	int (*file)(void *arg, const struct ply_walk_entry *e); /* all but directories */
	int (*enter)(void *arg,
		     const struct ply_walk_entry *e); /* a directory, before it is opened */
	int (*leave)(void *arg,
		     const struct ply_walk_entry *e); /* a directory, after what is in it */
};

enum ply_walk_order {
	PLY_WALK_AS_LISTED, /* in each portion of a directory's listing first the files, then the directories */
	PLY_WALK_SORTED, /* by the bytes of the names, files and directories alike */
};

struct ply_walk_root {
	int fd;	    /* open for reading; stays the caller's, its offset is used */
	int mirror; /* the same, or -1 */
	enum ply_walk_order order;
};

/*
 * Walks all below root, which itself is not told to the functions, a directory with all that is in it before
 * what comes next. A plain user's own directory whose mode
 * forbids reading is opened up for the time. On an error *where is the path at which it happened, for the
 * caller to free (NULL without memory). -EXDEV: something is mounted there. -ESTALE: somebody moved a
 * directory meanwhile.
 */
int ply_walk(const struct ply_walk_root *root, const struct ply_walk_ops *ops, void *arg,
	     char **where);

/* The entry's path from the root, for messages; the caller frees it. NULL without memory. */
char *ply_walk_path(const struct ply_walk_entry *e);

/* Removes name in dirfd: a file, or a directory with all that is in it. */
int ply_remove_tree(int dirfd, const char *name);

#endif
