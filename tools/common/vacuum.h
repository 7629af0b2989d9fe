/*
 * What an upper holds in vain. vacuum_scan.c finds entries that are, by themselves, as what they hide;
 * vacuum_plan.c decides which of them may go, as names of one inode go together and directories after what is in
 * them; vacuum_act.c removes them; dedupe.c lets equal data take its room once.
 */
#ifndef PLY_TOOLS_VACUUM_H
#define PLY_TOOLS_VACUUM_H

#include "args.h"
#include "base/table.h"
#include "progress.h"
#include "stack.h"

enum ply_spare_kind {
	PLY_SPARE_FILE, /* anything but a directory */
	PLY_SPARE_WHITEOUT,
	PLY_SPARE_DIR,
};

enum ply_spare_flags {
	PLY_SPARE_IS_EQUAL = 1 << 0, /* to what it hides; a whiteout: there is nothing to hide */
	PLY_SPARE_HAS_COPY = 1 << 1, /* the data takes room below as well: copy_layer, copy_path */
	PLY_SPARE_GOES = 1 << 2,     /* the plan */
	PLY_SPARE_IS_GONE = 1 << 3,
};

/* An inode of the upper with several names. */
struct ply_spare_group {
	struct ply_link link;
	struct ply_spare_group *next; /* of all */
	uint64_t ino, names;	      /* names: its link count */
	uint64_t seen;		      /* of the names, those that are equal to what they hide */
	struct ply_spare *first;      /* of these */
	int are_apart;		      /* whiteouts: each name goes by itself */
	int differs;		      /* the names do not all hide the one inode that below says */
	struct statx below;
	char *entry;	   /* its name in the index, or NULL */
	int has_all_links; /* with an entry: the union shows as many links as the lower inode has */
};

/* An entry of the upper that may go, or a directory. */
struct ply_spare {
	enum ply_spare_kind kind;
	unsigned flags;
	struct ply_spare *dir; /* that has it; NULL: the root */
	struct ply_spare_group *group;
	struct ply_spare *next; /* in the group */
	uint64_t bytes;		/* room that is free when it is gone */
	uint64_t size;		/* of data that has a copy */
	uint64_t others;	/* directory: entries that stay */
	uint64_t
		uncovers; /* hash of the handle of the lower inode that shows when it is gone; or 0 */
	unsigned copy_layer;
	char *copy_path; /* from that layer's root */
	char name[];
};

struct ply_vacuum {
	struct ply_args args;
	struct ply_stack stack;
	int upper;	  /* the upper's root, to write to; locked */
	int index;	  /* the index of hard links, or -1 */
	unsigned ignored; /* of ply_differs */
	int looks_for_copies, index_is_for_nfs;
	struct ply_progress progress;
	const char *trouble; /* the reason in words of an error that ended it */
	/* A directory stands before what is in it. */
	struct ply_spare **spares;
	size_t n, room;
	struct ply_table by_inode;
	struct ply_spare_group *groups;
	/* Origins, by hash, of upper files that are not where these are: the number and identity are taken. */
	struct ply_table by_origin;
	struct ply_stray *strays;
	/* What goes. */
	uint64_t files, dirs, whiteouts, bytes, inodes;
	uint64_t copies, copied_bytes; /* data that has a copy, of files that stay */
};

/*
 * Everything returns 0 or -errno. An entry that cannot be read is complained of, and stays. Layers that lie in one another are
 * an error that is told.
 */
int ply_vacuum_check_layout(struct ply_vacuum *v);
int ply_vacuum_scan(struct ply_vacuum *v);
void ply_vacuum_plan(struct ply_vacuum *v);
/*
 * Removes what goes. Nothing that the stack shows changes at any moment, but for the times of a directory
 * between a removal in it and the next call, and that names of a file of which the index knows nothing are
 * two files until all are gone. Signals are heard in between, and end it.
 */
int ply_vacuum_act(struct ply_vacuum *v);
/* Lets the data that has a copy share its room. -EOPNOTSUPP where the file system cannot, before anything else. */
int ply_vacuum_share(struct ply_vacuum *v);
void ply_vacuum_free(struct ply_vacuum *v);

/* A new one at the end of the list. NULL without memory. */
struct ply_spare *ply_spare_add(struct ply_vacuum *v, struct ply_spare *dir, const char *name,
				enum ply_spare_kind kind);
/* The path from the root; the caller frees it. NULL without memory. */
char *ply_spare_path(const struct ply_spare *spare);
/* The group of the inode, made when it is new. NULL without memory. */
struct ply_spare_group *ply_spare_group(struct ply_vacuum *v, const struct statx *stx);
/* Remembers the origin of a file that is elsewhere. */
int ply_vacuum_add_stray(struct ply_vacuum *v, uint64_t hash);
/* Does the inode that its names hide come back with just the links that the union shows now? */
int ply_spare_group_goes(const struct ply_spare_group *group);

/* 0 when data of the two (mine in the upper) can be shared, as far as can be told without trying; -EXDEV, -EOPNOTSUPP. */
int ply_can_share(int mine, int theirs);
/* A file of the upper, for reading, by a way on which the kernel lets it be changed. */
int ply_open_own(const struct ply_vacuum *v, const char *path);

#endif
