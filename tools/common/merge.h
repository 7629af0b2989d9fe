/*
 * Making one layer of several that lie on one another. merge_tree.c goes through the directories and decides what the new one
 * must say of the layers below it; merge_file.c makes what is no directory; merge_move.c makes no new layer but moves
 * all that a layer has into the one below it.
 *
 * Everything returns 0 or -errno.
 */
#ifndef PLY_TOOLS_MERGE_H
#define PLY_TOOLS_MERGE_H

#include "forms.h"
#include "inodes.h"
#include "links.h"
#include "lost.h"
#include "progress.h"
#include "stack.h"

enum ply_merge_flags {
	PLY_MERGE_BASE = 1 << 0,	/* nothing will be below: no marks */
	PLY_MERGE_KNOWS_BELOW = 1 << 1, /* the stack has what will be, from its bound on */
	PLY_MERGE_DRY = 1 << 2,		/* nothing is made, only counted */
	PLY_MERGE_LINK = 1 << 3,	/* files become names of the layers' own inodes */
	PLY_MERGE_SHARE = 1 << 4,	/* data is shared, or that is an error */
	PLY_MERGE_TELL = 1 << 5,	/* names each entry on stderr */
};

struct ply_merge {
	unsigned flags;
	struct ply_stack stack;
	int root;	     /* of what is made; -1 in a dry run */
	struct ply_layer to; /* the same as a layer */
	int has_overrides;
	const struct ply_form *form; /* of all marks; NULL: as the layers have them */
	const char *space;	     /* of marks that come from nowhere */
	struct ply_links *links;
	struct ply_inodes *counted; /* of several names */
	struct ply_merge_own {
		int fd; /* of a layer's directory, open for linking; or -1 */
		unsigned layer;
		char *path;
	} own;
	struct ply_lost lost;
	struct ply_progress progress;
	uint64_t files, dirs, whiteouts;
	uint64_t linked; /* bytes of files that are names of the layers' own inodes */
	uint64_t room;	 /* that the data takes which is shown */
	const char *trouble, *at;
	char *where; /* of the first error */
};

/* A directory in the making. */
struct ply_merge_dir {
	struct ply_merge_dir *next;
	char *path;
	struct ply_dirs *dirs;
	struct ply_found found; /* its inode; dirs not used */
	const char *needs;	/* the mark opaque: "y", or "x" by what is in it; or NULL */
	const char *whiteout_space;
	char *redirect;
};

/* One name in it. */
struct ply_merge_entry {
	struct ply_merge *m;
	struct ply_merge_dir *dir;
	int target; /* the directory in the layer that is made */
	const char *name;
	char *path;
	struct ply_found f;
};

/* All of it below m->root. The flags, the stack, root, form and space are set. */
int ply_merge_tree(struct ply_merge *m);
void ply_merge_free(struct ply_merge *m);

int ply_merge_file(struct ply_merge_entry *e);
int ply_merge_whiteout(struct ply_merge_entry *e);
/* What the layers below have at the entry's place. */
int ply_merge_below(struct ply_merge_entry *e, enum ply_kind_found *kind);

/* The space for a mark that one of a directory's parts may have; NULL: a .wh. file, or none. */
const char *ply_merge_space(struct ply_merge *m, struct ply_dirs *dirs, const char *mark);
int ply_merge_mark(struct ply_merge *m, int fd, const char *name, const char *space,
		   const char *mark, const char *value);
int ply_merge_attrs(struct ply_merge *m, const struct ply_side *side, int to, const char *to_name);
/* Remembers where the first error was; from then on signals are not heard. Returns err. */
int ply_merge_failed(struct ply_merge *m, const char *path, int err);

/* The room that the data of the layers to be merged takes, each inode once. */
int ply_merge_weigh(struct ply_merge *m, uint64_t *bytes);

#endif
