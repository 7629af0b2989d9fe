/*
 * What a new file inherits: ownership from a set-gid directory, mode and ACL from a default ACL or the
 * umask. File systems do this for what is made in the directory itself; here it is done for what is built
 * in the work directory first.
 */
#ifndef PLY_UNION_ACL_H
#define PLY_UNION_ACL_H

#include "layer/xattr.h"
#include "union/node.h"

#define PLY_ACL_SIZE 4096

struct ply_heritage {
	mode_t mode;
	uid_t uid;
	gid_t gid;
	size_t access_size, default_size; /* 0: none to set */
	char access[PLY_ACL_SIZE], dflt[PLY_ACL_SIZE];
};

/* 1 when the upper directory dir, open as fd, has a default ACL. dir->lock is held. */
int ply_has_default_acl(struct ply_union *u, struct ply_node *dir, int fd);
/* dir->lock is held. */
int ply_inherit(struct ply_union *u, struct ply_node *dir, int fd, const struct ply_make *how,
		struct ply_heritage *out);

/*
 * The access ACL that a default ACL (an xattr value) gives to a file made with *mode, which becomes
 * what the ACL leaves of it. Written over acl. 1 when the ACL says more than the mode, 0 when the mode is
 * all, -EINVAL for a malformed one.
 */
int ply_acl_create(void *acl, size_t size, mode_t *mode);

#endif
