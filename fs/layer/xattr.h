/*
 * Which extended attributes are a user's and which are marks. A user's attribute whose name is that of a
 * mark is kept one level deeper on disk ("trusted.overlay.x" as "trusted.overlay.overlay.x"), as the kernel
 * does, so that an overlay can be stored on the union; marks themselves are never shown.
 */
#ifndef PLY_LAYER_XATTR_H
#define PLY_LAYER_XATTR_H

#include <stddef.h>
#include <sys/types.h>

#define PLY_XATTR_NAME_SIZE 256
#define PLY_ACL_ACCESS "system.posix_acl_access"
#define PLY_ACL_DEFAULT "system.posix_acl_default"

/* The name on disk of a user's attribute: 0; -EPERM for one that cannot be kept, -ERANGE when too long. */
int ply_xattr_to_disk(const char *name, char disk[PLY_XATTR_NAME_SIZE]);
/* Is this attribute on disk a mark, which users never see and no copy-up takes along? */
int ply_xattr_is_mark(const char *disk);
/* The mark's name behind its space's prefix, or NULL for what is no mark. */
const char *ply_xattr_mark(const char *disk);
/*
 * Makes a list as listxattr(2) gives it what a user sees: marks left out, deeper names brought up.
 * In place; the new length.
 */
size_t ply_xattr_filter_list(char *list, size_t size);

#endif
