/*
 * The nodes in memory when a layer comes below all others that are merged: which directories it takes part in, and
 * what is to be seen of it. No other call is running.
 */
#ifndef PLY_UNION_REMERGE_H
#define PLY_UNION_REMERGE_H

#include "union/node.h"

/* A directory as it was, or (after ply_remerge_undo) would have been. */
struct ply_remerged_dir {
	struct ply_node *node;
	struct ply_dir *dir;
	uint16_t layer; /* node->layer */
};

/* A metadata-only file whose data is elsewhere now. */
struct ply_remerged_file {
	struct ply_node *node;
	struct ply_lowerdata *data;
};

struct ply_remerge {
	unsigned layer; /* the new one */
	struct ply_remerged_dir *dirs;
	size_t ndirs, dirs_size;
	unsigned nmerged; /* how many there were */
	struct ply_remerged_file *files;
	size_t nfiles, files_size;
	/* What appears, for callers that keep answers: an id and a name, again and again; no name: the node itself. */
	char *news;
	size_t news_used, news_size;
	const char *
		at; /* after an error, the name where it was, if it has to do with one; as long as nothing changes */
};

/*
 * u->layers has the new layer by now: finds out what changes, and changes directories on the way, since what is in
 * them depends on it. After an error, or if something else fails, ply_remerge_undo must put everything back.
 */
int ply_remerge_try(struct ply_union *u, struct ply_remerge *r);
void ply_remerge_undo(struct ply_union *u, struct ply_remerge *r);
/* It stays so. Cannot fail. */
void ply_remerge_keep(struct ply_union *u, struct ply_remerge *r);
/* After one of the two. */
void ply_remerge_free(struct ply_remerge *r);

#endif
