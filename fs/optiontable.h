/*
 * The table of options: how each is spelled, what it does, its default and its help. Parsing, the defaults and --help are
 * read from it.
 */
#ifndef PLY_OPTIONTABLE_H
#define PLY_OPTIONTABLE_H

#include <stddef.h>

#include "options.h"

enum ply_option_kind {
	PLY_OPTION_FLAG,    /* sets its number; takes no value */
	PLY_OPTION_SWITCH,  /* name=0 or name=1; the name alone: 1 */
	PLY_OPTION_CHOICE,  /* name=one of the words */
	PLY_OPTION_SECONDS, /* name=number */
	PLY_OPTION_TEXT,    /* name=text */
	PLY_OPTION_ID,	    /* name=number of a user or group */
	PLY_OPTION_IDMAP,   /* name=KEPT:SHOWN:LENGTH... */
	PLY_OPTION_LAYERS,  /* name=path:path... */
	PLY_OPTION_LAYER,
	PLY_OPTION_DATA_LAYER, /* name=path, one more */
	PLY_OPTION_MOUNT,      /* a word for libfuse */
	PLY_OPTION_QUIET,      /* known, and nothing to do */
	PLY_OPTION_ABSENT,     /* =off is what there is; =on is told of, =require refused */
	PLY_OPTION_REFUSED, /* would change what is seen: better no mount than another one than was meant */
};

struct ply_option {
	const char *names; /* separated by blanks; a last '*' stands for any rest */
	enum ply_option_kind kind;
	size_t field;		  /* offset in struct ply_options */
	int number;		  /* of PLY_OPTION_FLAG */
	const char *const *words; /* of PLY_OPTION_CHOICE: the index is the value */
	const char *preset;
	const char *arg, *help; /* no help: not listed */
};

/* The words that stand for themselves. */
struct ply_option_flag {
	const char *word;
	size_t field;
	const char *help;
};

/* Each ends with an entry that has no name. Where a name stands twice, the first that takes a value, or none, is meant. */
extern const struct ply_option ply_option_table[];
extern const struct ply_option_flag ply_option_flags[];

/* A field of the kinds that are numbers. */
static inline int *ply_option_number(struct ply_options *o, size_t field)
{
	return (int *)((char *)o + field);
}

#endif
