/* The table of them. */
#include "forms.h"

#include <stddef.h>
#include <string.h>

static const struct ply_form forms[] = {
	{ "overlay-trusted", PLY_SPACE_TRUSTED_PREFIX, 1, PLY_KIND_CHAR },
	{ "overlay-user", PLY_SPACE_USER_PREFIX, 1, PLY_KIND_CHAR },
	{ "aufs", NULL, 0, PLY_KIND_AUFS },
	{ "wh", NULL, 0, PLY_KIND_AUFS }, /* the same */
	{ "fuse-overlayfs", PLY_SPACE_FUSE_PREFIX, 0, PLY_KIND_CHAR },
};

const struct ply_form *ply_form_find(const char *word)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (!strcmp(word, forms[i].word))
			return &forms[i];
	return NULL;
}
