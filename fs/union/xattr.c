/* Extended attributes: those of the inode, less the marks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/override.h"
#include "union/acl.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/fill.h"
#include "union/place.h"

#define LIST_MAX 65536 /* XATTR_LIST_MAX of the kernel */

/* A layer without attributes of these kinds has none; the kernel takes any other error for a refusal. */
static int is_known(const char *name)
{
	static const char *const kinds[] = { "user.", "trusted.", "security.", PLY_ACL_ACCESS,
					     PLY_ACL_DEFAULT };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strncmp(name, kinds[i], strlen(kinds[i])))
			return 1;
	return 0;
}

static ssize_t get_own(const struct ply_place *place, const char *name, void *value, size_t size)
{
	char disk[PLY_XATTR_NAME_SIZE];
	int err = ply_layer_xattr_to_disk(place->layer, name, disk);

	if (err)
		return err == -EPERM ? -ENODATA : err;
	return sys_getxattr(place->fd, place->name, disk, value, size);
}

/* What a fill takes off for a while stays to be seen. -ENODATA: what the inode has counts. node->lock is held. */
static ssize_t get_kept(struct ply_union *u, struct ply_node *node, const char *name, void *value,
			size_t size)
{
	if (ply_node_is_dir(node) || !node->lowerdata || strcmp(name, PLY_CAPABILITY) != 0)
		return -ENODATA;
	return ply_fill_caps(u, node, value, size);
}

ssize_t ply_getxattr(struct ply_union *u, struct ply_node *node, const char *name, void *value,
		     size_t size)
{
	struct ply_place place;
	ssize_t n;

	pthread_mutex_lock(&node->lock);
	n = ply_place_of(u, node, &place);
	if (!n) {
		n = get_kept(u, node, name, value, size);
		if (n == -ENODATA)
			n = get_own(&place, name, value, size);
		ply_place_put(u, &place);
	}
	pthread_mutex_unlock(&node->lock);
	return n == -EOPNOTSUPP && is_known(name) ? -ENODATA : n;
}

/* Of n bytes of names: what a fill has taken off for a while is listed all the same. node->lock is held. */
static ssize_t add_kept(struct ply_union *u, struct ply_node *node, char *names, ssize_t n,
			size_t size)
{
	if (ply_node_is_dir(node) || !node->lowerdata || ply_fill_caps(u, node, NULL, 0) <= 0)
		return n;
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
		if (!strcmp(names + at, PLY_CAPABILITY))
			return n;
	if (size - (size_t)n < sizeof(PLY_CAPABILITY))
		return -ERANGE;
	memcpy(names + n, PLY_CAPABILITY, sizeof(PLY_CAPABILITY));
	return n + (ssize_t)sizeof(PLY_CAPABILITY);
}

/* The list as a user sees it. size is more than 0. */
static ssize_t list(struct ply_union *u, struct ply_node *node, char *names, size_t size)
{
	struct ply_place place;
	ssize_t n;

	pthread_mutex_lock(&node->lock);
	n = ply_place_of(u, node, &place);
	if (!n) {
		n = sys_listxattr(place.fd, place.name, names, size);
		if (n > 0)
			n = (ssize_t)ply_layer_xattr_filter_list(place.layer, names, (size_t)n);
		if (n >= 0)
			n = add_kept(u, node, names, n, size);
		ply_place_put(u, &place);
	}
	pthread_mutex_unlock(&node->lock);
	return n == -EOPNOTSUPP ? 0 : n;
}

ssize_t ply_listxattr(struct ply_union *u, struct ply_node *node, char *names, size_t size)
{
	char few[1024], *all = few;
	ssize_t n = list(u, node, few, sizeof(few));

	if (n == -ERANGE) {
		all = malloc(LIST_MAX);
		if (!all)
			return -ENOMEM;
		n = list(u, node, all, LIST_MAX);
	}
	if (n > 0 && size && (size_t)n > size)
		n = -ERANGE;
	if (n > 0 && size)
		memcpy(names, all, (size_t)n);
	if (all != few)
		free(all);
	return n;
}

static int kill_sgid(const struct ply_place *place)
{
	struct statx stx;
	int err = ply_layer_statx(place->layer, place->fd, place->name, STATX_MODE, &stx);

	if (err || !(stx.stx_mode & S_ISGID))
		return err;
	return ply_layer_chmod(place->layer, place->fd, place->name,
			       stx.stx_mode & 07777 & ~(mode_t)S_ISGID);
}

/* What is remembered of the attributes is asked anew. node->lock is held. */
static void forget_known(struct ply_node *node, const char *name)
{
	if (!strcmp(name, PLY_CAPABILITY))
		atomic_store(&node->caps, PLY_UNKNOWN);
	if (ply_node_is_dir(node) && !strcmp(name, PLY_ACL_DEFAULT))
		node->dir->default_acl = PLY_UNKNOWN;
}

/* Are there writes that take it off, or the mode that goes with it, and give it back? */
static int is_taken_by_writes(const char *name)
{
	return !strcmp(name, PLY_CAPABILITY) || !strcmp(name, PLY_ACL_ACCESS);
}

static int lock_to_set(struct ply_union *u, struct ply_node *node, const char *name)
{
	if (is_taken_by_writes(name))
		return ply_fill_lock(u, node);
	pthread_mutex_lock(&node->lock);
	return 0;
}

static void unlock_set(struct ply_union *u, struct ply_node *node, const char *name)
{
	if (is_taken_by_writes(name))
		ply_fill_unlock(u, node);
	else
		pthread_mutex_unlock(&node->lock);
}

int ply_setxattr(struct ply_union *u, struct ply_node *node, const char *name, const void *value,
		 size_t size, int flags)
{
	char disk[PLY_XATTR_NAME_SIZE];
	struct ply_place place;
	int err = ply_layer_xattr_to_disk(&u->layers[PLY_UPPER], name, disk);

	if (!err)
		err = ply_copyup(u, node, PLY_NO_DATA);
	if (!err)
		err = lock_to_set(u, node, name);
	if (err)
		return err;
	err = ply_place_of(u, node, &place);
	if (!err) {
		err = sys_setxattr(place.fd, place.name, disk, value, size,
				   flags & ~PLY_XATTR_KILL_SGID);
		/* The kernel asks for it with every ACL, but a default one says nothing of the mode. */
		if (!err && (flags & PLY_XATTR_KILL_SGID) && strcmp(name, PLY_ACL_DEFAULT) != 0)
			err = kill_sgid(&place);
		forget_known(node, name);
		ply_place_put(u, &place);
	}
	unlock_set(u, node, name);
	return err;
}

int ply_removexattr(struct ply_union *u, struct ply_node *node, const char *name)
{
	char disk[PLY_XATTR_NAME_SIZE];
	struct ply_place place;
	ssize_t n = ply_layer_xattr_to_disk(&u->layers[PLY_UPPER], name, disk);
	int err;

	if (n)
		return n == -EPERM ? -ENODATA : (int)n;
	/* What is not there needs no copy-up to be removed. */
	n = ply_getxattr(u, node, name, NULL, 0);
	if (n < 0)
		return (int)n;
	err = ply_copyup(u, node, PLY_NO_DATA);
	if (!err)
		err = lock_to_set(u, node, name);
	if (err)
		return err;
	err = ply_place_of(u, node, &place);
	if (!err) {
		err = sys_removexattr(place.fd, place.name, disk);
		forget_known(node, name);
		ply_place_put(u, &place);
	}
	unlock_set(u, node, name);
	return err;
}
