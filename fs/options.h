/*
 * The command line. Spellings are those of fuse-overlayfs and, where it has none, of the kernel's
 * overlayfs. Nothing here asks the operating system for anything.
 */
#ifndef PLY_OPTIONS_H
#define PLY_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "base/ids.h"
#include "union/union.h"

/* Seconds; so long that it means for ever. */
#define PLY_TIMEOUT_MAX 1e9

/* auto and strict are the kernel's words for what is always so here. */
enum ply_fsync {
	PLY_FSYNC_OFF,
	PLY_FSYNC_ON,
	PLY_FSYNC_VOLATILE,
	PLY_FSYNC_AUTO,
	PLY_FSYNC_STRICT,
};

enum ply_writeback {
	PLY_WRITEBACK_OFF,
	PLY_WRITEBACK_ON,
	PLY_WRITEBACK_AUTO, /* where the mount is writable */
};

struct ply_options {
	char **lowers; /* topmost first */
	size_t nlowers;
	size_t ndata; /* the last ones, data-only */
	char *upper, *work;
	char *mountpoint;
	char *fsname, *subtype;
	double timeout;
	int fsync;     /* enum ply_fsync */
	int writeback; /* enum ply_writeback */
	int noxattrs, noacl;
	int whiteout;	  /* enum ply_whiteout_form */
	int space;	  /* enum ply_xattr_space */
	int redirect_dir; /* enum ply_redirect_dir */
	int owners;	  /* enum ply_owner_place */
	int metacopy;
	int index;
	struct ply_ids ids;
	int squash_to_root;
	int static_nlink, ino32;
	int readonly;
	int allow_other, allow_root;
	int debug, foreground;
	int help, version;
	char *mount_words; /* for libfuse as they stand, separated by commas */
};

/* The name of the program whose place it was called to take: fuse-overlayfs's, else its own. */
const char *ply_options_program(const char *argv0);

/* Fills in the defaults. */
int ply_options_init(struct ply_options *o);
/*
 * Parses what main was given, and checks that it makes sense, unless help or version is wanted.
 * What it does not know it warns about and ignores. -EINVAL with a sentence in *why, or -ENOMEM.
 */
int ply_options_parse(struct ply_options *o, int argc, char *const argv[], struct ply_why *why);
void ply_options_free(struct ply_options *o);

enum ply_privilege {
	PLY_PLAIN_USER,
	PLY_ROOT_USER,
};
/* The options of the mount itself, for libfuse. The caller frees it; NULL without memory. */
char *ply_options_for_mount(const struct ply_options *o, enum ply_privilege privilege);
void ply_options_help(FILE *out, const char *program);

#endif
