/*
 * Owners without privilege. A layer may hold, in an attribute of each inode, its **override**: the owner, mode
 * and type that the inode is meant to have, and that who wrote the layer could or would not give it. Such a layer
 * has the attribute on its root, by the name that then counts in all of it. In any other layer everything here
 * is the plain system call. Everything returns 0 or -errno.
 */
#ifndef PLY_LAYER_OVERRIDE_H
#define PLY_LAYER_OVERRIDE_H

#include <sys/stat.h>

#include "layer/layer.h"
#include "layer/xattr.h"

/*
 * On disk all that such an upper has belongs to who serves it, is readable and writable for him, and has no
 * set-id bits; devices, fifos and sockets are empty regular files. An inode without the attribute shows what it
 * has, and so do symlinks where they can hold none.
 *
 * The value: UID:GID:MODE, MODE octal, and behind another colon a type: "file", "dir", "pipe", "socket",
 * "char-MAJOR-MINOR" or "block-MAJOR-MINOR". What else follows means nothing. A malformed value is none.
 *
 * The kinds differ in the name of the attribute.
 */
enum ply_override_kind {
	PLY_OVERRIDE_NONE,
	PLY_OVERRIDE_SECURITY,	 /* for the privileged only */
	PLY_OVERRIDE_CONTAINERS, /* also keeps "security." attributes under names of its own */
	PLY_OVERRIDE_FUSE,	 /* only read and continued, never begun */
};

/* Which one the root of an open layer has, and so the layer. */
void ply_override_detect(struct ply_layer *layer);
/* Begins with it in a layer that has none: the root gets owner and mode of root. */
int ply_override_start(struct ply_layer *layer, enum ply_override_kind kind,
		       const struct statx *root);

/* As sys_statx, but with owner, mode and type as they are meant to be. */
int ply_layer_statx(struct ply_layer *layer, int dirfd, const char *name, unsigned mask,
		    struct statx *stx);
/* As sys_mknod; with overrides what it makes is to be given to ply_override_set afterwards. */
int ply_layer_mknod(struct ply_layer *layer, int dirfd, const char *name, mode_t mode, dev_t dev);
/*
 * As sys_chown. With overrides set-id bits and capabilities of a file fall as they do there. Where the layer
 * is lax an owner that this process may not give is no error.
 */
int ply_layer_chown(struct ply_layer *layer, int dirfd, const char *name, uid_t uid, gid_t gid);
int ply_layer_chmod(struct ply_layer *layer, int dirfd, const char *name, mode_t mode);
/* Only with overrides: owner, mode and type of a new inode, as stx has them. */
int ply_override_set(struct ply_layer *layer, int dirfd, const char *name, const struct statx *stx);

/* As the functions of layer/xattr.h without a layer, in one that may have overrides. */
int ply_layer_xattr_to_disk(const struct ply_layer *layer, const char *name,
			    char disk[PLY_XATTR_NAME_SIZE]);
size_t ply_layer_xattr_filter_list(const struct ply_layer *layer, char *list, size_t size);
/* The name in layer to of what is called disk in from: 0; -ENODATA for what does not go along. */
int ply_layer_xattr_move(const struct ply_layer *from, const struct ply_layer *to, const char *disk,
			 char moved[PLY_XATTR_NAME_SIZE]);

#endif
