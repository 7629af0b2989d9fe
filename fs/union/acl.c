/* Inheritance. The rules are those of acl(5), "object creation and default ACLs"; the format is the xattr's. */
#include "union/acl.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "layer/override.h"

enum {
	ACL_VERSION = 2,
	TAG_USER_OBJ = 0x01,
	TAG_USER = 0x02,
	TAG_GROUP_OBJ = 0x04,
	TAG_GROUP = 0x08,
	TAG_MASK = 0x10,
	TAG_OTHER = 0x20,
};

struct acl_entry {
	uint16_t tag;
	uint16_t perm;
	uint32_t id;
};

/* Leaves in entry and mode (at shift) only what both allow. */
static void restrict_both(struct acl_entry *entry, mode_t *mode, unsigned shift)
{
	unsigned both = le16toh(entry->perm) & (*mode >> shift) & 7;

	entry->perm = htole16((uint16_t)both);
	*mode = (*mode & ~(7u << shift)) | both << shift;
}

int ply_acl_create(void *acl, size_t size, mode_t *mode)
{
	struct acl_entry *e = (void *)((char *)acl + sizeof(uint32_t));
	struct acl_entry *group = NULL, *mask = NULL;
	size_t n;
	uint32_t version;
	int more = 0;

	if (size < sizeof(version) || (size - sizeof(version)) % sizeof(*e))
		return -EINVAL;
	memcpy(&version, acl, sizeof(version));
	if (le32toh(version) != ACL_VERSION)
		return -EINVAL;
	for (n = (size - sizeof(version)) / sizeof(*e); n > 0; n--, e++) {
		switch (le16toh(e->tag)) {
		case TAG_USER_OBJ:
			restrict_both(e, mode, 6);
			break;
		case TAG_GROUP_OBJ:
			group = e;
			break;
		case TAG_MASK:
			mask = e;
			more = 1;
			break;
		case TAG_OTHER:
			restrict_both(e, mode, 0);
			break;
		case TAG_USER:
		case TAG_GROUP:
			more = 1;
			break;
		default:
			return -EINVAL;
		}
	}
	if (mask)
		restrict_both(mask, mode, 3);
	else if (group)
		restrict_both(group, mode, 3);
	return more;
}

static ssize_t get_default(struct ply_union *u, int fd, void *acl, size_t size)
{
	struct ply_layer *upper = &u->layers[PLY_UPPER];
	ssize_t n;

	if (ply_layer_lacks(upper, PLY_LACKS_ACL | PLY_LACKS_XATTR))
		return 0;
	n = sys_getxattr(fd, "", PLY_ACL_DEFAULT, acl, size);
	if (n == -EOPNOTSUPP) {
		ply_layer_set_lack(upper, PLY_LACKS_ACL);
		return 0;
	}
	return n == -ENODATA ? 0 : n;
}

int ply_has_default_acl(struct ply_union *u, struct ply_node *dir, int fd)
{
	if (dir->dir->default_acl == PLY_UNKNOWN) {
		ssize_t n = get_default(u, fd, NULL, 0);

		if (n < 0)
			return (int)n;
		dir->dir->default_acl = n ? PLY_YES : PLY_NO;
	}
	return dir->dir->default_acl == PLY_YES;
}

int ply_inherit(struct ply_union *u, struct ply_node *dir, int fd, const struct ply_make *how,
		struct ply_heritage *out)
{
	struct statx stx;
	ssize_t n = 0;
	int err = ply_layer_statx(&u->layers[PLY_UPPER], fd, "", STATX_MODE | STATX_GID, &stx);

	if (err)
		return err;
	out->mode = how->mode & 07777;
	out->uid = how->cred.uid;
	out->gid = how->cred.gid;
	out->access_size = out->default_size = 0;
	if (stx.stx_mode & S_ISGID) {
		out->gid = stx.stx_gid;
		if (S_ISDIR(how->mode))
			out->mode |= S_ISGID;
	}
	err = S_ISLNK(how->mode) ? 0 : ply_has_default_acl(u, dir, fd);
	if (err > 0)
		n = get_default(u, fd, out->dflt, sizeof(out->dflt));
	if (err < 0 || n < 0)
		return err < 0 ? err : (int)n;
	if (!n) {
		out->mode &= ~how->cred.umask;
		return 0;
	}
	memcpy(out->access, out->dflt, (size_t)n);
	err = ply_acl_create(out->access, (size_t)n, &out->mode);
	if (err < 0)
		return err;
	out->access_size = err ? (size_t)n : 0;
	out->default_size = S_ISDIR(how->mode) ? (size_t)n : 0;
	return 0;
}
