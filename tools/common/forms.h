/* The forms in which a layer can say its marks, by the words of the command line. */
#ifndef PLY_TOOLS_FORMS_H
#define PLY_TOOLS_FORMS_H

#include "layer/upper.h"

/* How a layer says something. */
struct ply_form {
	const char *word; /* on the command line */
	const char
		*space; /* of opaque marks, and of the others that it takes; NULL: .wh..wh..opq */
	int takes_all;	/* redirect, metacopy and the rest */
	enum ply_whiteout_kind whiteouts;
};

/* NULL for a word that names none. */
const struct ply_form *ply_form_find(const char *word);

#endif
