/* Ties of a layer to a stack: which they are, and taking them off in place. */
#include "ties.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/marks.h"
#include "layer/xattr.h"

#define LIST_MAX 65536

static const char *const ties[] = {
	PLY_MARK_ORIGIN,
	PLY_MARK_IMPURE,
	PLY_MARK_NLINK,
	PLY_MARK_UPPER,
	PLY_MARK_UUID,
	PLY_MARK_PROTATTR,
	PLY_MARK_KEPT,
	/* Of a regular file that has its data: without meaning. */
	PLY_MARK_REDIRECT,
};

int ply_is_tie(const char *attr)
{
	const char *mark = ply_xattr_mark(attr);

	for (size_t i = 0; i < sizeof(ties) / sizeof(ties[0]); i++)
		if (!strcmp(mark, ties[i]))
			return 1;
	return 0;
}

/* A redirect leads nowhere from a directory that merges with nothing. */
int ply_is_elsewhere(struct ply_layer *layer, const struct ply_walk_entry *e)
{
	char redirect[PLY_REDIRECT_MAX + 1];
	int below;

	if (S_ISREG(e->stx.stx_mode))
		return ply_mark_is_set(layer, e->dirfd, e->name, PLY_MARK_METACOPY);
	if (!S_ISDIR(e->stx.stx_mode))
		return 0;
	below = ply_mark_below(layer, e->dirfd, e->name, redirect);
	return below < 0 ? below : below == PLY_BELOW_ELSEWHERE;
}

struct untying {
	struct ply_layer *layer;
	struct ply_untied *untied;
	char *list;
};

static int look(void *arg, const struct ply_walk_entry *e)
{
	struct untying *u = arg;
	int found = ply_is_elsewhere(u->layer, e);

	u->untied->elsewhere += found > 0;
	return found < 0 ? found : 0;
}

static int untie_inode(struct untying *u, int fd, const char *name)
{
	ssize_t len = sys_listxattr(fd, name, u->list, LIST_MAX);

	if (len < 0)
		return len == -EOPNOTSUPP ? 0 : (int)len;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(u->list + at) + 1) {
		const char *attr = u->list + at;
		int err = 0;

		if (!ply_xattr_is_mark(attr) || !ply_is_tie(attr))
			continue;
		err = sys_removexattr(fd, name, attr);
		if (err && err != -ENODATA)
			return err;
		u->untied->marks += !err;
	}
	return 0;
}

static int untie(void *arg, const struct ply_walk_entry *e)
{
	return untie_inode(arg, e->dirfd, e->name);
}

int ply_untie(struct ply_layer *layer, struct ply_untied *untied, char **where)
{
	static const struct ply_walk_ops looks = { .file = look, .enter = look };
	static const struct ply_walk_ops unties = { .file = untie, .enter = untie };
	struct untying u = { .layer = layer, .untied = untied, .list = malloc(LIST_MAX) };
	struct ply_walk_root root = { .mirror = -1 };
	int err = u.list ? 0 : -ENOMEM;

	*untied = (struct ply_untied){ 0 };
	root.fd = sys_open(layer->root, ".", O_RDONLY | O_DIRECTORY, 0);
	if (root.fd < 0)
		err = root.fd;
	if (!err)
		err = ply_walk(&root, &looks, &u, where);
	if (!err && !untied->elsewhere) {
		err = ply_walk(&root, &unties, &u, where);
		if (!err)
			err = untie_inode(&u, layer->root, "");
	}
	if (root.fd >= 0)
		sys_close(root.fd);
	free(u.list);
	return err;
}
