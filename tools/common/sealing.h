/* Writing the manifest of a layer to a file beside it, whole or not at all. */
#ifndef PLY_TOOLS_SEALING_H
#define PLY_TOOLS_SEALING_H

#include "manifest.h"
#include "progress.h"
#include "staging.h"

struct ply_sealing {
	unsigned
		scope; /* of enum ply_manifest_scope; trusted attributes are added where they can be seen */
	int is_dry; /* no file, only the digest */
	int tells;  /* each line on stderr */
	struct ply_progress *progress;
	enum ply_progress_wish wish;
	char digest[PLY_SHA256_HEX];
	const char *trouble; /* the reason in words of an error, or NULL */
};

/* Of the directory fd. Tells its errors itself. */
int ply_seal(struct ply_sealing *s, int fd, const char *layer, const char *file);
/* LAYER.seal; NULL when the path ends in no name. The caller frees it. */
char *ply_seal_file(const char *layer);
/* As ply_staging_open_file, for a file that must not lie within the layer fd. */
int ply_seal_open_file(struct ply_staging *staging, int fd, const char *file, const char **trouble);
/* What an error of reading a layer means that others are at work on. */
const char *ply_seal_trouble(int err);

#endif
