/*
 * Ways to inodes. A directory's path is built from the names of its parents up to the nearest one whose
 * descriptor is cached, then opened at once. A rename of a directory meanwhile may lead it astray; the two
 * counters tell, and the path is taken again. Nothing here takes a node's lock.
 */
#include "union/place.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "union/redirect.h"

#define SHORT_PATH 1024

/* A path that is built from its end. */
struct path {
	char *buf;
	size_t size, start;
	char fixed[SHORT_PATH];
};

static void path_init(struct path *p)
{
	p->buf = p->fixed;
	p->size = sizeof(p->fixed);
	p->start = p->size - 1;
	p->buf[p->start] = '\0';
}

static void path_free(struct path *p)
{
	if (p->buf != p->fixed)
		free(p->buf);
}

static int path_grow(struct path *p)
{
	size_t used = p->size - p->start;
	char *buf = malloc(p->size * 2);

	if (!buf)
		return -ENOMEM;
	memcpy(buf + p->size * 2 - used, p->buf + p->start, used);
	path_free(p);
	p->buf = buf;
	p->size *= 2;
	p->start = p->size - used;
	return 0;
}

static int path_prepend(struct path *p, const char *text, size_t len)
{
	while (p->start < len + 1)
		if (path_grow(p))
			return -ENOMEM;
	if (p->buf[p->start])
		p->buf[--p->start] = '/';
	p->start -= len;
	memcpy(p->buf + p->start, text, len);
	return 0;
}

/*
 * From dir up to the root or, unless base is NULL, a directory with a cached descriptor, which is then held
 * in *base (NULL: the root). The tree lock is held: names do not change.
 */
static int climb_locked(struct ply_union *u, struct ply_node *dir, unsigned layer,
			struct path *path, struct ply_fd **base)
{
	while (dir != u->root) {
		const char *moved = ply_moved_path(dir->dir, layer);
		int err;

		if (moved)
			return path_prepend(path, moved, strlen(moved));
		if (!dir->names)
			return -ESTALE;
		/* Removed from the upper: its path may lead to a new directory by now. */
		if (dir->names->dead && layer == PLY_UPPER)
			return -ENOENT;
		err = path_prepend(path, dir->names->text, dir->names->len);
		if (err)
			return err;
		dir = dir->names->parent;
		if (!base || dir == u->root)
			continue;
		*base = ply_fdcache_get(u->fds, dir, layer);
		if (*base)
			return 0;
	}
	return 0;
}

/* Opens a path of any length, in steps of what one call takes. */
static int open_long(int basefd, char *path)
{
	int fd = basefd, next;

	while (strlen(path) >= PATH_MAX) {
		char *slash = path + PATH_MAX - 1;

		while (*slash != '/')
			slash--;
		*slash = '\0';
		next = ply_layer_open_dir(fd, path);
		if (fd != basefd)
			sys_close(fd);
		if (next < 0)
			return next;
		fd = next;
		path = slash + 1;
	}
	next = ply_layer_open_dir(fd, path);
	if (fd != basefd)
		sys_close(fd);
	return next;
}

int ply_open_path(int root, const char *path)
{
	char *dir, *slash;
	int dirfd, fd;

	if (strlen(path) < PATH_MAX)
		return ply_layer_open_file(root, path);
	dir = strdup(path);
	if (!dir)
		return -ENOMEM;
	slash = strrchr(dir, '/');
	*slash = '\0';
	dirfd = open_long(root, dir);
	fd = dirfd < 0 ? dirfd : ply_layer_open_file(dirfd, slash + 1);
	if (dirfd >= 0)
		sys_close(dirfd);
	free(dir);
	return fd;
}

static int open_by_path(struct ply_union *u, struct ply_node *dir, unsigned layer)
{
	struct ply_fd *base = NULL;
	struct path path;
	int fd;

	path_init(&path);
	pthread_mutex_lock(&u->tree);
	fd = climb_locked(u, dir, layer, &path, &base);
	pthread_mutex_unlock(&u->tree);
	if (!fd)
		fd = open_long(base ? base->fd : u->layers[layer].root, path.buf + path.start);
	ply_fd_put(u->fds, base);
	path_free(&path);
	return fd;
}

int ply_dir_path(struct ply_union *u, struct ply_node *dir, unsigned layer, char **out)
{
	struct path path;
	int err;

	path_init(&path);
	pthread_mutex_lock(&u->tree);
	err = climb_locked(u, dir, layer, &path, NULL);
	pthread_mutex_unlock(&u->tree);
	if (!err) {
		*out = strdup(path.buf + path.start);
		err = *out ? 0 : -ENOMEM;
	}
	path_free(&path);
	return err;
}

static int open_dir_once(struct ply_union *u, struct ply_node *dir, unsigned layer)
{
	int fd;

	if (dir == u->root)
		fd = sys_open(u->layers[layer].root, ".", O_RDONLY | O_DIRECTORY, 0);
	else if (dir == u->work_node)
		fd = sys_open(u->upper.work, ".", O_RDONLY | O_DIRECTORY, 0);
	else if (dir == u->index_node)
		fd = sys_open(u->upper.index, ".", O_RDONLY | O_DIRECTORY, 0);
	else
		fd = open_by_path(u, dir, layer);
	return fd;
}

static int open_dir(struct ply_union *u, struct ply_node *dir, unsigned layer)
{
	for (;;) {
		uint64_t begun = atomic_load(&u->moves_begun);
		int quiet = atomic_load(&u->moves_done) == begun;
		int fd = open_dir_once(u, dir, layer);

		if ((fd == -EMFILE || fd == -ENFILE) && ply_fdcache_shrink(u->fds))
			continue;
		if (layer != PLY_UPPER || (quiet && atomic_load(&u->moves_begun) == begun))
			return fd;
		if (fd >= 0)
			sys_close(fd);
		sched_yield();
	}
}

int ply_dir_open(struct ply_union *u, struct ply_node *dir, unsigned layer, struct ply_fd **out)
{
	int fd;

	*out = ply_fdcache_get(u->fds, dir, layer);
	if (*out)
		return 0;
	fd = open_dir(u, dir, layer);
	if (fd < 0)
		return fd;
	*out = ply_fdcache_add(u->fds, dir, layer, fd, 0);
	return *out ? 0 : -ENOMEM;
}

static int leads_up(const struct ply_union *u, const struct ply_node *node,
		    const struct ply_name *name)
{
	if (name->dead)
		return name->parent == u->work_node || name->parent == u->index_node;
	return name->in_upper || ply_node_is_dir(node);
}

struct ply_name *ply_upper_name(struct ply_union *u, struct ply_node *node)
{
	struct ply_name *name;

	PLY_ASSERT_LOCKED(&node->lock);
	pthread_mutex_lock(&u->tree);
	name = node->names;
	while (name && !leads_up(u, node, name))
		name = name->next;
	pthread_mutex_unlock(&u->tree);
	return name;
}

/* Any name in its layer leads to a lower inode, a removed one too. Other lookups may be adding names. */
struct ply_name *ply_lower_name(struct ply_union *u, struct ply_node *node)
{
	struct ply_name *name;

	PLY_ASSERT_LOCKED(&node->lock);
	pthread_mutex_lock(&u->tree);
	name = node->names;
	while (name && name->elsewhere)
		name = name->next;
	pthread_mutex_unlock(&u->tree);
	return name;
}

static int by_name(struct ply_union *u, struct ply_name *name, unsigned layer,
		   struct ply_place *place)
{
	int err;

	if (!name)
		return -ESTALE;
	err = ply_dir_open(u, name->parent, layer, &place->dir);
	if (err)
		return err;
	place->fd = place->dir->fd;
	place->name = name->text;
	return 0;
}

int ply_place_in_lower(struct ply_union *u, struct ply_node *node, struct ply_place *place)
{
	PLY_ASSERT_LOCKED(&node->lock);
	*place = (struct ply_place){ .fd = -1, .name = "", .layer = &u->layers[node->layer] };
	return by_name(u, ply_lower_name(u, node), node->layer, place);
}

int ply_place_of(struct ply_union *u, struct ply_node *node, struct ply_place *place)
{
	unsigned layer = ply_node_in_upper(node) ? PLY_UPPER : node->layer;

	PLY_ASSERT_LOCKED(&node->lock);
	*place = (struct ply_place){ .fd = -1, .name = "", .layer = &u->layers[layer] };
	if (node == u->root) {
		place->fd = u->layers[layer].root;
		return 0;
	}
	if (node->held) {
		place->fd = node->held->fd;
		return 0;
	}
	if (layer == PLY_UPPER)
		return by_name(u, ply_upper_name(u, node), layer, place);
	return by_name(u, ply_lower_name(u, node), layer, place);
}

int ply_links_left(struct ply_union *u, struct ply_node *node)
{
	struct ply_place place;
	struct statx stx;
	int err = ply_place_of(u, node, &place);

	if (err)
		return err;
	err = sys_statx(place.fd, place.name, STATX_NLINK, &stx);
	ply_place_put(u, &place);
	return err ? err : (int)stx.stx_nlink + node->extra_links;
}

void ply_place_put(struct ply_union *u, struct ply_place *place)
{
	ply_fd_put(u->fds, place->dir);
	place->dir = NULL;
}
