/*
 * The difference that the upper, or some layers, make to a stack: diff_walk.c finds the changes, diff_tell.c
 * prints them. The changing layers are those before the bound. By the index of hard links a file can have changed
 * that only has names below it; only then everything is looked through.
 */
#ifndef PLY_TOOLS_DIFF_H
#define PLY_TOOLS_DIFF_H

#include "args.h"

/* How a change is told. */
enum ply_diff_form {
	PLY_DIFF_LINES,
	PLY_DIFF_NAMES,
	PLY_DIFF_DOCKER, /* as docker diff: three letters, and directories that only carry changes */
	PLY_DIFF_PATCH,
	PLY_DIFF_STAT, /* numbers only */
};

struct ply_diff {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_stack apart; /* the changing layers as a tree of their own; borrows from stack */
	int is_deep;		/* compares that tree with what is below, and ignores its marks */
	unsigned bound;
	int looks_everywhere; /* names that only lower layers have may be of changed files */
	enum ply_diff_form form;
	int wants_same; /* also what was brought up and is as below */
	off_t cap;	/* of files whose text is compared */
	struct ply_progress progress;
	uint64_t counts[128]; /* by letter */
	uint64_t bytes_new, bytes_old;
};

/* One name, before and after. */
struct ply_change {
	struct ply_diff *d;
	const char *path, *name;
	struct ply_dirs *new_dirs, *old_dirs; /* the directories that have it; either may be NULL */
	struct ply_found new, old;
	char letter;	  /* of AMDTRO; or '=' */
	int differs;	  /* of enum ply_differs */
	const char *from; /* of a renamed directory: its old path */
};

/* Tells the changes at and below a path, in the order of a walk sorted by names. 0 or -errno; the rest it says itself. */
int ply_diff_run(struct ply_diff *d, const char *path);

/* Prints and counts a change, if it is to be told. 0 or -errno. */
int ply_diff_tell(struct ply_change *c);
void ply_diff_summary(const struct ply_diff *d);
/* How many changes were told. */
uint64_t ply_diff_changes(const struct ply_diff *d);

#endif
