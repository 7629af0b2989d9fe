/*
 * Redirects. Following one is a walk from a layer's root, component by component, for each layer in turn: on
 * the way a whiteout or an opaque directory hides the layers below, and a directory that was moved turns the
 * path for them. A redirect by name alone starts in the parent's part of each layer instead.
 */
#include "union/redirect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/marks.h"
#include "union/place.h"

/* ---- following ---- */

struct ply_trail {
	struct ply_union *u;
	struct ply_node *dir;
	unsigned layer;			  /* the last that was asked */
	int closed;			  /* no further layer counts */
	int is_meta;			  /* the last spot is a file whose data is below */
	char where[PLY_REDIRECT_MAX + 1]; /* in the layers below it: a name in dir, or a path */
	char here[PLY_REDIRECT_MAX + 1];  /* in the layer that is being asked */
	char *path;			  /* of the last spot */
};

/* A component of the path in a layer, and the directory that it is looked for in. */
struct part {
	int fd;
	size_t from, end; /* in here */
	int is_last;
	char name[PLY_NAME_MAX + 1];
};

struct ply_trail *ply_trail_start(struct ply_union *u, struct ply_node *dir, unsigned layer,
				  const char *where)
{
	struct ply_trail *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->u = u;
	t->dir = dir;
	t->layer = layer;
	memccpy(t->where, where, '\0', PLY_REDIRECT_MAX);
	return t;
}

void ply_trail_end(struct ply_trail *t)
{
	if (t)
		free(t->path);
	free(t);
}

static int is_bottom(const struct ply_trail *t)
{
	return t->layer + 1 == t->u->nlayers;
}

/*
 * In the layers below, what the part and all before it name is where redirect says. What follows stays: both
 * strings end alike.
 */
static int turn(struct ply_trail *t, const struct part *p, const char *redirect)
{
	size_t rest = strlen(t->here + p->end), len = strlen(redirect), kept = 0;

	if (t->u->redirect_dir == PLY_REDIRECT_NOFOLLOW)
		return -EPERM;
	if (*redirect != '/')
		kept = strlen(t->where) - rest - (p->end - p->from);
	if (kept + len + rest > PLY_REDIRECT_MAX)
		return -EINVAL;
	memmove(t->where + kept + len, t->here + p->end, rest + 1);
	memcpy(t->where + kept, redirect, len);
	return 0;
}

/* Nothing further below counts, if so is what was asked, which may be an error. */
static int close_trail(struct ply_trail *t, int mark)
{
	t->closed |= mark > 0;
	return mark < 0 ? mark : 0;
}

static int heed_aufs(struct ply_trail *t, const struct part *p, int is_dir)
{
	int mark = ply_mark_aufs(p->fd, p->name);

	if (!mark && is_dir)
		mark = ply_mark_aufs_opaque(p->fd, p->name);
	return close_trail(t, mark);
}

/* Takes in what the marks of a part say of the layers below. */
static int heed(struct ply_trail *t, const struct part *p, const struct statx *stx)
{
	struct ply_layer *layer = &t->u->layers[t->layer];
	int is_dir = S_ISDIR(stx->stx_mode), below = PLY_BELOW_NONE;
	char redirect[PLY_REDIRECT_MAX + 1];

	t->is_meta = is_dir ? 0 : ply_mark_is_set(layer, p->fd, p->name, PLY_MARK_METACOPY);
	if (t->is_meta < 0)
		return t->is_meta;
	/* It says itself that it goes on below, whatever its directories hide. */
	if (t->is_meta)
		t->closed = 0;
	/* Below the bottom there may be data, but no directories. */
	if (is_bottom(t) && !t->is_meta)
		return 0;
	if (is_dir || t->is_meta)
		below = ply_mark_below(layer, p->fd, p->name, redirect);
	if (below < 0)
		return below;
	if (below == PLY_BELOW_ELSEWHERE)
		return turn(t, p, redirect);
	return below == PLY_BELOW_NONE ? close_trail(t, 1) : heed_aufs(t, p, is_dir);
}

static int is_whiteout(struct ply_layer *layer, const struct part *p, const struct statx *stx)
{
	if (ply_is_whiteout(stx))
		return 1;
	if (!S_ISREG(stx->stx_mode) || stx->stx_size)
		return 0;
	return ply_mark_xwhiteout(layer, p->fd, p->name);
}

/* 1 when the layer has the part, a directory unless it is the last; 0 when not. */
static int look(struct ply_trail *t, const struct part *p, struct statx *stx)
{
	struct ply_layer *layer = &t->u->layers[t->layer];
	int hides, err;

	if (ply_layer_is_hole(layer, p->fd, p->name))
		return 0;
	err = sys_statx(p->fd, p->name, STATX_BASIC_STATS, stx);
	if (err)
		return err == -ENOENT ? close_trail(t, ply_mark_aufs(p->fd, p->name)) : err;
	hides = is_whiteout(layer, p, stx);
	if (hides || (!S_ISDIR(stx->stx_mode) && !p->is_last))
		return close_trail(t, hides ? hides : 1);
	err = heed(t, p, stx);
	return err ? err : 1;
}

static void take_part(const struct ply_trail *t, size_t from, struct part *p)
{
	size_t len = strcspn(t->here + from, "/");

	p->from = from;
	p->end = from + len;
	p->is_last = !t->here[p->end];
	memcpy(p->name, t->here + from, len);
	p->name[len] = '\0';
}

/* Goes the path from the layer's root. */
static int ask_by_path(struct ply_trail *t, struct statx *stx)
{
	int root = t->u->layers[t->layer].root, found;
	struct part p = { .fd = root };

	take_part(t, 1, &p);
	for (;;) {
		int next;

		found = look(t, &p, stx);
		if (found <= 0 || p.is_last)
			break;
		next = ply_layer_open_dir(p.fd, p.name);
		if (p.fd != root)
			sys_close(p.fd);
		if (next < 0)
			return next;
		p.fd = next;
		take_part(t, p.end + 1, &p);
	}
	if (p.fd != root)
		sys_close(p.fd);
	if (found > 0)
		t->path = strdup(t->here + 1);
	return found;
}

static int has_layer(const struct ply_dir *dir, unsigned layer)
{
	for (int i = 0; i < ply_dir_nlowers(dir); i++)
		if (dir->lowers[i].layer == layer)
			return 1;
	return 0;
}

/* Asks the parent's directory in the layer for the name. */
static int ask_by_name(struct ply_trail *t, struct statx *stx)
{
	struct ply_fd *fd;
	struct part p;
	char *dir;
	int found;

	if (!has_layer(t->dir->dir, t->layer))
		return 0;
	found = ply_dir_open(t->u, t->dir, t->layer, &fd);
	if (found)
		return found;
	p.fd = fd->fd;
	take_part(t, 0, &p);
	found = look(t, &p, stx);
	ply_fd_put(t->u->fds, fd);
	if (found <= 0)
		return found;
	if (ply_dir_path(t->u, t->dir, t->layer, &dir))
		return -ENOMEM;
	if (asprintf(&t->path, "%s%s%s", dir, *dir ? "/" : "", p.name) < 0)
		t->path = NULL;
	free(dir);
	return found;
}

int ply_trail_next(struct ply_trail *t, struct ply_spot *spot)
{
	int found = 0;

	free(t->path);
	t->path = NULL;
	while (!found && !t->closed && !is_bottom(t)) {
		t->layer++;
		strcpy(t->here, t->where);
		found = *t->here == '/' ? ask_by_path(t, &spot->stx) : ask_by_name(t, &spot->stx);
	}
	if (found > 0 && !t->path)
		return -ENOMEM;
	spot->layer = t->layer;
	spot->path = t->path;
	return found;
}

static int start_at_file(struct ply_union *u, struct ply_node *dir, const char *name,
			 unsigned layer, struct ply_trail **out)
{
	char redirect[PLY_REDIRECT_MAX + 1];
	struct ply_fd *fd;
	int below, err = ply_dir_open(u, dir, layer, &fd);

	if (err)
		return err;
	below = ply_mark_below(&u->layers[layer], fd->fd, name, redirect);
	ply_fd_put(u->fds, fd);
	if (below < 0)
		return below;
	if (below == PLY_BELOW_ELSEWHERE && u->redirect_dir == PLY_REDIRECT_NOFOLLOW)
		return -EPERM;
	*out = ply_trail_start(u, dir, layer, below == PLY_BELOW_ELSEWHERE ? redirect : name);
	return *out ? 0 : -ENOMEM;
}

/* They have no marks, and hide nothing: the first that has a file at the path has the data. */
static int ask_data_layers(struct ply_trail *t, struct ply_spot *spot)
{
	struct ply_union *u = t->u;

	for (unsigned i = u->nlayers; i < u->nall && *t->where == '/'; i++) {
		int fd = ply_layer_open_file(u->layers[i].root, t->where + 1), err;

		if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
			continue;
		if (fd < 0)
			return fd;
		err = sys_statx(fd, "", STATX_BASIC_STATS, &spot->stx);
		sys_close(fd);
		if (err)
			return err;
		spot->layer = i;
		t->path = strdup(t->where + 1);
		return t->path ? 1 : -ENOMEM;
	}
	return 0;
}

int ply_redirect_data(struct ply_union *u, struct ply_node *dir, const char *name, unsigned layer,
		      struct ply_spot *spot)
{
	struct ply_trail *t;
	int found, err = start_at_file(u, dir, name, layer, &t);

	if (err)
		return err;
	do
		found = ply_trail_next(t, spot);
	while (found > 0 && t->is_meta);
	if (!found)
		found = ask_data_layers(t, spot);
	if (found > 0 && S_ISREG(spot->stx.stx_mode)) {
		spot->path = t->path;
		t->path = NULL;
	} else {
		err = found < 0 ? found : -ENODATA;
	}
	ply_trail_end(t);
	return err;
}

/* ---- remembering ---- */

const char *ply_moved_path(const struct ply_dir *dir, unsigned layer)
{
	const struct ply_moved *moved = dir->moved;

	if (!moved || layer == PLY_UPPER)
		return NULL;
	for (unsigned i = moved->nruns; i > 0; i--)
		if (moved->runs[i - 1].layer <= layer)
			return moved->runs[i - 1].path;
	return NULL;
}

static struct ply_moved *resize(struct ply_moved **moved, unsigned nruns)
{
	size_t size = sizeof(**moved) + nruns * sizeof((*moved)->runs[0]);
	struct ply_moved *grown = realloc(*moved, size);

	if (!grown)
		return NULL;
	if (!*moved)
		*grown = (struct ply_moved){ 0 };
	*moved = grown;
	return grown;
}

int ply_moved_add(struct ply_moved **moved, unsigned layer, const char *path)
{
	unsigned n = *moved ? (*moved)->nruns : 0;
	struct ply_moved *m = *moved;
	char *copy;

	if (n && !strcmp(m->runs[n - 1].path, path))
		return 0;
	m = resize(moved, n + 1);
	copy = m ? strdup(path) : NULL;
	if (!copy)
		return -ENOMEM;
	m->runs[m->nruns++] = (struct ply_run){ .layer = (uint16_t)layer, .path = copy };
	return 0;
}

int ply_moved_set_redirect(struct ply_moved **moved, const char *redirect)
{
	struct ply_moved *m = *moved ? *moved : resize(moved, 0);
	char *copy = m ? strdup(redirect) : NULL;

	if (!copy)
		return -ENOMEM;
	free(m->redirect);
	m->redirect = copy;
	return 0;
}

int ply_moved_copy(const struct ply_moved *moved, struct ply_moved **out)
{
	int err = 0;

	*out = NULL;
	for (unsigned i = 0; moved && i < moved->nruns && !err; i++)
		err = ply_moved_add(out, moved->runs[i].layer, moved->runs[i].path);
	if (!err && moved && moved->redirect)
		err = ply_moved_set_redirect(out, moved->redirect);
	if (!err)
		return 0;
	ply_moved_free(*out);
	*out = NULL;
	return err;
}

void ply_moved_free(struct ply_moved *moved)
{
	if (!moved)
		return;
	for (unsigned i = 0; i < moved->nruns; i++)
		free(moved->runs[i].path);
	free(moved->redirect);
	free(moved);
}

/* ---- moving ---- */

int ply_moved_make(struct ply_union *u, struct ply_node *node, struct ply_moved **out)
{
	const struct ply_dir *d = node->dir;
	int err = 0;

	*out = NULL;
	for (unsigned i = 0; i < d->nlowers && !err; i++) {
		char *path;

		err = ply_dir_path(u, node, d->lowers[i].layer, &path);
		if (err)
			break;
		err = ply_moved_add(out, d->lowers[i].layer, path);
		free(path);
	}
	if (!err && d->moved && d->moved->redirect)
		err = ply_moved_set_redirect(out, d->moved->redirect);
	if (!err)
		return 0;
	ply_moved_free(*out);
	*out = NULL;
	return err;
}

void ply_moved_install(struct ply_union *u, struct ply_node *node, struct ply_moved *moved)
{
	struct ply_moved *old;

	pthread_mutex_lock(&u->tree);
	old = node->dir->moved;
	node->dir->moved = moved;
	pthread_mutex_unlock(&u->tree);
	ply_moved_free(old);
}

/* Puts a name, or all the rest of the path, before what there is from *at on: 1 when it is all now. */
static int prepend(char *redirect, size_t *at, const char *text)
{
	size_t len = strlen(text);

	if (len + 1 > *at)
		return -ENAMETOOLONG;
	*at -= len;
	memcpy(redirect + *at, text, len);
	if (*text == '/')
		return 1;
	redirect[--*at] = '/';
	return 0;
}

/* Where the lowers without the upper have name of dir. The tree lock is held. */
static int lower_path_locked(const struct ply_union *u, const struct ply_node *dir,
			     const char *name, char redirect[PLY_REDIRECT_MAX + 1])
{
	size_t at = PLY_REDIRECT_MAX;
	int done;

	redirect[at] = '\0';
	done = prepend(redirect, &at, name);
	for (; !done && dir != u->root; dir = dir->names->parent) {
		const struct ply_moved *moved = dir->dir->moved;

		if (!dir->names)
			return -ESTALE;
		done = prepend(redirect, &at,
			       moved && moved->redirect ? moved->redirect : dir->names->text);
	}
	if (done < 0)
		return done;
	memmove(redirect, redirect + at, PLY_REDIRECT_MAX + 1 - at);
	return 0;
}

int ply_redirect_path(struct ply_union *u, struct ply_node *dir, const char *name,
		      char redirect[PLY_REDIRECT_MAX + 1])
{
	int err;

	pthread_mutex_lock(&u->tree);
	err = lower_path_locked(u, dir, name, redirect);
	pthread_mutex_unlock(&u->tree);
	return err;
}

static int needed_locked(const struct ply_union *u, const struct ply_node *node,
			 const struct ply_node *newdir, char redirect[PLY_REDIRECT_MAX + 1])
{
	const char *own = node->dir->moved ? node->dir->moved->redirect : NULL;
	int stays, err;

	if (!node->names)
		return -ESTALE;
	stays = node->names->parent == newdir;
	if (own && (stays || *own == '/'))
		return 0;
	if (stays) {
		strcpy(redirect, node->names->text);
		return 1;
	}
	err = lower_path_locked(u, node->names->parent, own ? own : node->names->text, redirect);
	return err ? err : 1;
}

int ply_redirect_needed(struct ply_union *u, struct ply_node *node, const struct ply_node *newdir,
			char redirect[PLY_REDIRECT_MAX + 1])
{
	int needed;

	pthread_mutex_lock(&u->tree);
	needed = needed_locked(u, node, newdir, redirect);
	pthread_mutex_unlock(&u->tree);
	return needed;
}
