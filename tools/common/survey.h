/*
 * A survey of a stack: for each name what every layer has there, what of it the stack shows, and what hides the
 * rest. Directories that are hidden are gone into as well.
 */
#ifndef PLY_TOOLS_SURVEY_H
#define PLY_TOOLS_SURVEY_H

#include "stack.h"

enum ply_seen_how {
	PLY_SEEN_SHOWN,	   /* the topmost */
	PLY_SEEN_MERGED,   /* a lower part of a directory that is shown */
	PLY_SEEN_WHITEOUT, /* and it counts: nothing hides it */
	PLY_SEEN_HIDDEN,
};

/* What hides something: a mark or a file, in a layer, at a path. */
struct ply_hider {
	enum ply_cut how; /* PLY_CUT_NONE: a directory above it was renamed (redirect) */
	unsigned layer;
	char *path;
};

/* What one layer has. Valid during the call. */
struct ply_seen {
	const char *path, *name;
	unsigned layer;
	int dirfd;	       /* of the layer's directory, or of the index */
	const char *disk_name; /* in that */
	const struct statx *stx;
	enum ply_seen_how how;
	const struct ply_hider *by; /* of what is hidden */
	struct ply_dirs *dirs; /* the directory that shows the name, and what was found there */
	const struct ply_found *found;
};

enum ply_survey_flags {
	PLY_SURVEY_BELOW = 1 << 0,  /* goes into directories */
	PLY_SURVEY_HIDDEN = 1 << 1, /* also what is not shown */
};

struct ply_survey {
	struct ply_stack *stack;
	unsigned flags;
	int (*seen)(void *arg, const struct ply_seen *seen); /* not 0 ends it */
	/* An error at a path; not 0 ends the survey with it. */
	int (*trouble)(void *arg, const char *path, int err);
	void *arg;
};

/* Of what is in the directory at path, or of a file by itself. -ENOENT and the like when it is not shown. */
int ply_survey(const struct ply_survey *survey, const char *path);
/* The word for what hides: "whiteout", "opaque", "file", "redirect". */
const char *ply_hider_word(enum ply_cut how);
/* The same in a few words, with escapes: "hidden by file a/b in layer 1"; the caller frees it. */
char *ply_hider_text(const struct ply_hider *by);
/* The same as members of a JSON object, each after a comma. */
void ply_put_hider_json(const struct ply_hider *by);

#endif
