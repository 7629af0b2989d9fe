/*
 * Reading marks: what in a layer is not a file but says something about the layers below. Every form is
 * understood in every layer. Functions that can fail answer "no mark" on errors of no meaning (no xattrs
 * here) and -errno otherwise.
 */
#ifndef PLY_LAYER_MARKS_H
#define PLY_LAYER_MARKS_H

#include <string.h>

#include "layer/format.h"
#include "layer/layer.h"

enum ply_opaque {
	PLY_OPAQUE_NONE,
	PLY_OPAQUE_ALL,	      /* nothing below shows through */
	PLY_OPAQUE_ANNOUNCES, /* merges, and may hold xattr whiteouts */
};

/* The mark of directory name in dirfd (empty: dirfd itself), in any space or as a .wh..wh..opq file. */
int ply_mark_opaque(struct ply_layer *layer, int dirfd, const char *name);

/* 1 when there is a .wh..wh..opq file, 0 or -errno. */
int ply_mark_aufs_opaque(int dirfd, const char *name);

/* Where a directory's, or a metadata-only file's, parts in the layers below are. */
enum ply_below {
	PLY_BELOW_SAME,	     /* at the same name */
	PLY_BELOW_NONE,	     /* it is opaque */
	PLY_BELOW_ELSEWHERE, /* where the redirect says */
};
/*
 * What the xattrs of name in dirfd say of that, at the price of one system call where there are none. A
 * .wh..wh..opq file is only looked for when there is a redirect, over which it wins. The redirect is a name
 * or, beginning with a slash, a path of names; -EINVAL when the mark is neither.
 */
int ply_mark_below(struct ply_layer *layer, int dirfd, const char *name,
		   char redirect[PLY_REDIRECT_MAX + 1]);

/* 1 when the regular file of size 0 is a whiteout by xattr. */
int ply_mark_xwhiteout(struct ply_layer *layer, int dirfd, const char *name);
/* 1 when what stx tells of is a whiteout by itself: a device 0/0, or an empty file by xattr. */
int ply_mark_whiteout(struct ply_layer *layer, int dirfd, const char *name,
		      const struct statx *stx);

/* The name spaces, in the order in which a mark is looked for: the prefix of the i-th, NULL behind the last. */
const char *ply_mark_space(unsigned i);
/* Were marks seen in it, in this upper? */
int ply_mark_space_is_seen(const struct ply_layer *layer, unsigned i);
/* The value of a mark in the first space that has it: its length or -errno; 0 for none, and for one too long for size. */
ssize_t ply_mark_get(struct ply_layer *layer, int dirfd, const char *name, const char *mark,
		     void *value, size_t size);
/* 1 when the inode has the mark, one of format.h's, in any space. */
int ply_mark_is_set(struct ply_layer *layer, int dirfd, const char *name, const char *mark);

enum ply_metacopy_says {
	PLY_METACOPY_BELOW = 1 << 0,  /* the data is below */
	PLY_METACOPY_FILLED = 1 << 1, /* but came up since the machine was booted */
	PLY_METACOPY_KEPT = 1 << 2,   /* there is a mark "kept", too */
};
/* What a regular file's mark says, 0 for none, or -errno. boot is that of now, all zeros if unknown. */
int ply_mark_metacopy(struct ply_layer *layer, int dirfd, const char *name, const uint8_t boot[16]);

/* 1 when .wh.NAME stands beside name, 0 or -errno. */
int ply_mark_aufs(int dirfd, const char *name);

static inline int ply_is_whiteout(const struct statx *stx)
{
	return S_ISCHR(stx->stx_mode) && stx->stx_rdev_major == PLY_WHITEOUT_MAJOR &&
	       stx->stx_rdev_minor == PLY_WHITEOUT_MINOR;
}

/* Is it a name by which one of a user's that looks like a mark is kept? */
static inline int ply_is_kept_name(const char *disk)
{
	return !strncmp(disk, PLY_AUFS_KEPT, PLY_AUFS_KEPT_LEN);
}

/* Is the name on disk one of AUFS's marks, and so never a file of the union? */
static inline int ply_is_aufs_name(const char *disk)
{
	return !strncmp(disk, PLY_AUFS_PREFIX, PLY_AUFS_PREFIX_LEN) && !ply_is_kept_name(disk);
}

/* What the AUFS mark disk is a whiteout of, or NULL for those with another meaning. */
const char *ply_aufs_target(const char *disk);

/*
 * Users may have names like those of AUFS's marks: a store of image layers is full of them. Layers keep them by
 * another name, and users of the mount see their own. The union knows those on disk only.
 *
 * The name on disk: name itself, or disk. One that would be too long stays a mark's, so it cannot be made.
 */
const char *ply_name_to_disk(const char *name, char disk[PLY_NAME_MAX + 1]);
/* The name that users see: disk itself, or name. */
const char *ply_name_from_disk(const char *disk, char name[PLY_NAME_MAX + 1]);

/* The handle of a file, as an origin mark holds it: its length, or -errno; -EOPNOTSUPP where there are none. */
int ply_mark_encode(struct ply_layer *layer, int dirfd, const char *name, struct ply_fh *fh);
/* The hex digits of its bytes. */
#define PLY_FH_TEXT (2 * sizeof(struct ply_fh) + 1)
void ply_fh_text(const struct ply_fh *fh, char text[PLY_FH_TEXT]);
/* The origin mark of an upper file: its length, 0 when it has none. */
int ply_mark_origin(struct ply_layer *layer, int dirfd, const char *name, struct ply_fh *fh);
/* The same of any mark that holds a handle. */
int ply_mark_handle(struct ply_layer *layer, int dirfd, const char *name, const char *mark,
		    struct ply_fh *fh);
/* Do they mean the same inode, if both are of one file system? */
int ply_same_handle(const struct ply_fh *a, const struct ply_fh *b);
/* 1 and the mark of an index directory that says which stack it is of; 0 when it has none. */
int ply_mark_binding(struct ply_layer *layer, int index, struct ply_binding *binding);
/* 1 when the upper directory says that entries in it have an origin, 0 or -errno. */
int ply_mark_impure(struct ply_layer *layer, int dirfd);
/* The inode that a handle means on the file system of mount_fd (open for reading): device and number. */
int ply_mark_decode(struct ply_layer *layer, int mount_fd, const struct ply_fh *fh,
		    struct statx *stx);

#endif
