/* Setting an option as its kind wants it: one setter for each kind, which says in a sentence what is wrong. */
#ifndef PLY_OPTIONSET_H
#define PLY_OPTIONSET_H

#include "optiontable.h"

/* An option as it was written; value is NULL without '='. */
struct ply_option_given {
	const struct ply_option *opt;
	const char *name, *value;
};

enum ply_option_takes {
	PLY_TAKES_NONE,
	PLY_TAKES_SOME,
	PLY_TAKES_EITHER,
};

enum ply_option_takes ply_option_takes(const struct ply_option *opt);
/* -EINVAL with a sentence in *why, or -ENOMEM. */
int ply_option_set(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why);
void ply_option_drop_layers(struct ply_options *o);

/* What the setters, and who else finds a fault, return: -EINVAL and -ENOMEM, with the sentence. */
int __attribute__((format(printf, 2, 3)))
ply_option_complain(struct ply_why *why, const char *fmt, ...);
int ply_option_no_memory(struct ply_why *why);

#endif
