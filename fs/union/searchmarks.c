/* The search for files with a mark that an earlier server has left: in impure upper directories, and in the index. */
#include "union/searchmarks.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "union/data.h"
#include "union/index.h"
#include "union/lookup.h"
#include "union/origin.h"
#include "union/settle.h"

struct found_dir {
	struct found_dir *next;
	struct ply_node *node;
};

struct finding {
	struct ply_union *u;
	struct found_dir *todo;
	struct ply_node *dir;
	int impure;
	int err; /* the first one: there it could not look, but it went on */
};

static void note(struct finding *f, int err)
{
	if (err && err != -ENOENT && !f->err)
		f->err = err;
}

/* A directory is for later; a file with a mark needs no more than to be looked up. Takes the reference over. */
static int find_later(struct finding *f, struct ply_node *node)
{
	struct found_dir *later;

	if (!ply_node_is_dir(node) || !ply_node_in_upper(node)) {
		ply_node_unref(f->u, node);
		return 0;
	}
	later = malloc(sizeof(*later));
	if (!later) {
		ply_node_unref(f->u, node);
		return -ENOMEM;
	}
	*later = (struct found_dir){ .next = f->todo, .node = node };
	f->todo = later;
	return 0;
}

/* A node that was there all the time, which the lookup did not make, is not listed by it. */
static void list_known(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(&node->lock);
	if (node->lowerdata)
		ply_settle_add(u, node);
	pthread_mutex_unlock(&node->lock);
}

static int find_entry(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct finding *f = arg;
	struct ply_node *node;
	int err;

	(void)ino;
	if (type != DT_DIR && !(type == DT_REG && f->impure))
		return 0;
	err = ply_find(f->u, f->dir, name, &node, NULL);
	if (!err) {
		list_known(f->u, node);
		err = find_later(f, node);
	}
	note(f, err);
	return 0;
}

static void find_in_dir(struct finding *f, struct ply_node *dir)
{
	struct ply_fd *path;
	int err = ply_dir_open(f->u, dir, PLY_UPPER, &path);

	if (!err) {
		f->dir = dir;
		f->impure = ply_origin_is_impure(f->u, dir, path->fd);
		err = f->impure < 0 ? f->impure : ply_list_dir(f->u, path->fd, find_entry, f);
		ply_fd_put(f->u->fds, path);
	}
	note(f, err);
}

int ply_search_marks(struct ply_union *u)
{
	struct finding f = { .u = u };

	find_in_dir(&f, u->root);
	while (f.todo) {
		struct found_dir *dir = f.todo;

		f.todo = dir->next;
		find_in_dir(&f, dir->node);
		ply_node_unref(u, dir->node);
		free(dir);
	}
	note(&f, ply_index_settle(u));
	return f.err;
}
