/*
 * Merging in place: all that a layer has moves into the layer below it. fold_look.c says beforehand whether that can
 * be, and brings up data that would not be found any more; fold.c moves, and says why a crash at any point shows what
 * the two layers showed before; fold_journal.c keeps what would be lost by then.
 *
 * Everything returns 0 or -errno.
 */
#ifndef PLY_TOOLS_FOLD_H
#define PLY_TOOLS_FOLD_H

#include "progress.h"
#include "stack.h"

enum {
	PLY_FOLD_TOP,
	PLY_FOLD_BOTTOM,
	PLY_FOLD_LAYERS,
};

enum ply_fold_flags {
	PLY_FOLD_DRY = 1 << 0,	/* changes nothing, only counts */
	PLY_FOLD_TELL = 1 << 1, /* names each entry on stderr */
};

struct ply_fold {
	unsigned flags;
	struct ply_stack stack;	  /* of the two */
	int fd[PLY_FOLD_LAYERS];  /* their directories, to write to; locked */
	int journal;		  /* below the lower one's, or -1 */
	int is_resumed;		  /* an earlier run has left it */
	uint64_t moved;		  /* entries, a directory with all that is in it as one */
	uint64_t merged, removed; /* directories; what was hidden */
	uint64_t bytes;		  /* room of data that was hidden */
	struct ply_progress progress;
	const char *trouble; /* the reason in words of an error */
	char *where;	     /* its path */
};

/* Opens and locks both. -EBUSY when one is in use as an upper. */
int ply_fold_open(struct ply_fold *f, const char *top, const char *bottom);
/* -EOPNOTSUPP for what cannot be said in one layer; nothing is changed. */
int ply_fold_look(struct ply_fold *f);
/* After that. What was interrupted is done by doing it again. */
int ply_fold(struct ply_fold *f);
void ply_fold_close(struct ply_fold *f);

/* In fold_look.c: data of the upper layer's files that is in the lower one comes to them. */
int ply_fold_bring_up(struct ply_fold *f);

/* The journal. No layer ever shows a name that begins like this. */
#define PLY_FOLD_JOURNAL PLY_AUFS_META "plyfs-merge"
int ply_fold_journal_open(struct ply_fold *f);
/*
 * Keeps the attributes of the directory fd, unless an earlier run has: what follows changes them. From then on its owner may
 * change what is in it.
 */
int ply_fold_remember(struct ply_fold *f, int fd);
/* Gives them to a directory, to which nothing else is left. */
int ply_fold_recall(struct ply_fold *f, int fd, int to);
/* Gives one directory all attributes of another, marks left out. */
int ply_fold_take(struct ply_fold *f, int from, int to);
/* Undoes what an earlier run began with a directory of the upper layer. */
int ply_fold_restore(struct ply_fold *f, const char *path);
int ply_fold_forget(struct ply_fold *f, int fd);
/*
 * A file that gets its data: a new inode to be filled, or -EEXIST when there is one already; then it counts; then a name of the
 * old one, fd, becomes its.
 */
int ply_fold_start_whole(struct ply_fold *f, int fd);
int ply_fold_end_whole(struct ply_fold *f, int fd);
int ply_fold_put_whole(struct ply_fold *f, int fd, int dirfd, const char *name);
/* Takes name away from dirfd, by one rename, and removes it. */
int ply_fold_trash(struct ply_fold *f, int dirfd, const char *name);
int ply_fold_journal_remove(struct ply_fold *f);

#endif
