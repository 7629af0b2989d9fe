/*
 * Turning marks of one form into those of another, where they are. convert_look.c decides what there is to be done with a
 * name, and what the other form cannot say; convert_marks.c moves attributes; convert_turn.c does it, in
 * such an order that after each system call the layer reads as before: a new mark is there before the old one goes,
 * or takes its place by a rename.
 */
#ifndef PLY_TOOLS_CONVERT_H
#define PLY_TOOLS_CONVERT_H

#include <stdint.h>

#include "forms.h"
#include "layer/layer.h"
#include "layer/marks.h"

/* What is being made. No layer ever shows names that begin like this. */
#define PLY_CONVERT_TEMP PLY_AUFS_META "plyfs-convert"

struct ply_convert {
	struct ply_form to;
	struct ply_layer *layer;
	int whiteout; /* the last one made, of which others become links; or -1 */
};

enum ply_turn {
	PLY_TURN_NOTHING,
	PLY_TURN_WHITEOUT, /* to one of the new form */
	PLY_TURN_DROP,	   /* a mark that says nothing (more), or what was left of an earlier run */
	PLY_TURN_MARKS,	   /* to the other space */
	PLY_TURN_OPAQUE,   /* of the directory itself */
};

/* A directory of the layer. */
struct ply_convert_dir {
	struct ply_convert *c;
	int fd;
	struct statx stx;
	enum ply_opaque opaque; /* in effect, a .wh. file beside it included */
	int has_whiteouts;	/* after the turn */
};

/* One name in it; or "", the directory itself. */
struct ply_convert_entry {
	const char *name, *hidden; /* hidden: what a whiteout is about */
	struct statx stx;
	enum ply_turn turn;
	const char *why; /* the new form cannot say that */
};

/* Everything returns 0 or -errno. */
int ply_convert_look(const struct ply_convert_dir *d, struct ply_convert_entry *e);
/* The directory itself: its marks about the layers below; and whether it is opaque or announces whiteouts, which is to be turned last. */
int ply_convert_look_marks(const struct ply_convert_dir *d, struct ply_convert_entry *e);
void ply_convert_look_opaque(const struct ply_convert_dir *d, struct ply_convert_entry *e);
/* What the mark opaque will be; 0 for none. */
char ply_convert_opaque_value(const struct ply_convert_dir *d);
/* Does the name leave a whiteout by attribute in the directory? */
int ply_convert_needs_announcing(const struct ply_convert_dir *d,
				 const struct ply_convert_entry *e);

int ply_convert_turn(struct ply_convert_dir *d, const struct ply_convert_entry *e);
/* Before a whiteout is turned in it: makes the directory announce those by attribute. */
int ply_convert_announce(struct ply_convert_dir *d);
/* One level more for all marks and escaped names of an inode: in both spaces where that is permitted. */
int ply_convert_escape(const struct ply_form *to, int dirfd, const char *name);

/* Does the inode have marks but opaque and whiteout that are not just in this space? */
int ply_marks_elsewhere(const struct ply_convert *c, int dirfd, const char *name,
			const struct statx *stx);
int ply_marks_move(const struct ply_convert *c, int dirfd, const char *name,
		   const struct statx *stx);
/* Is the opaque or whiteout mark in the new form's space, and in no other? value: 0 for any. */
int ply_mark_is_settled(const char *space, int dirfd, const char *name, const char *mark,
			char value);
/* Sets it in space (NULL: in none) and takes it from the others. value 0: only takes. */
int ply_mark_settle(const char *space, int dirfd, const char *name, const char *mark, char value);

#endif
