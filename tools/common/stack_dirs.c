/* Directories of a stack and their parts, opened when they are needed; paths of any length. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "stack.h"

#define PATH_PIECE 2048

char *ply_join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s%s", dir, *dir && *name ? "/" : "", name) < 0 ? NULL : path;
}

/* The length of the piece of the path that is opened at once. */
static size_t piece_of(const char *path)
{
	size_t len = strlen(path);

	if (len <= PATH_PIECE)
		return len;
	for (len = PATH_PIECE; len && path[len] != '/'; len--)
		;
	return len;
}

int ply_open_beneath(int fd, const char *path)
{
	int at = sys_open(fd, ".", O_RDONLY | O_DIRECTORY, 0);

	while (at >= 0 && *path) {
		char piece[PATH_PIECE + 1];
		size_t len = piece_of(path);
		int next;

		memcpy(piece, path, len);
		piece[len] = '\0';
		next = len ? ply_layer_open_dir(at, piece) : -ENAMETOOLONG;
		sys_close(at);
		at = next;
		path += len + (path[len] == '/');
	}
	return at;
}

int ply_part_open(struct ply_stack *s, struct ply_part *part)
{
	if (part->fd < 0)
		part->fd = ply_open_beneath(s->layers[part->layer].root, part->path);
	return part->fd;
}

struct ply_part *ply_dirs_part(struct ply_dirs *d, unsigned layer)
{
	for (unsigned i = 0; i < d->nparts; i++)
		if (d->parts[i].layer == layer)
			return &d->parts[i];
	return NULL;
}

void ply_dirs_close(struct ply_dirs *d)
{
	for (unsigned i = 0; i < d->nparts; i++) {
		if (d->parts[i].fd >= 0)
			sys_close(d->parts[i].fd);
		d->parts[i].fd = -1;
	}
}

void ply_dirs_drop_names(struct ply_dirs *d)
{
	for (unsigned i = 0; i < d->nparts; i++) {
		ply_names_free(&d->parts[i].names);
		d->parts[i].is_listed = 0;
	}
}

void ply_dirs_free(struct ply_dirs *d)
{
	if (!d)
		return;
	ply_dirs_close(d);
	ply_dirs_drop_names(d);
	for (unsigned i = 0; i < d->nparts; i++)
		free(d->parts[i].path);
	free(d->parts);
	free(d->below);
	free(d);
}

int ply_dirs_add(struct ply_dirs *d, unsigned layer, char *path)
{
	struct ply_part *parts = realloc(d->parts, (d->nparts + 1) * sizeof(*parts));

	if (!parts || !path) {
		d->parts = parts ? parts : d->parts;
		free(path);
		return -ENOMEM;
	}
	d->parts = parts;
	parts[d->nparts++] =
		(struct ply_part){ .layer = layer, .fd = -1, .marks = -1, .path = path };
	return 0;
}

struct ply_dirs *ply_dirs_alone(unsigned layer, const char *path)
{
	struct ply_dirs *d = calloc(1, sizeof(*d));

	if (d && ply_dirs_add(d, layer, strdup(path))) {
		ply_dirs_free(d);
		d = NULL;
	}
	return d;
}

struct ply_dirs *ply_stack_root(struct ply_stack *s)
{
	struct ply_dirs *d = calloc(1, sizeof(*d));
	int err = d ? 0 : -ENOMEM;

	for (unsigned i = 0; i < s->n && !err; i++)
		err = ply_dirs_add(d, i, strdup(""));
	if (!err)
		d->below = strdup("");
	if (!err && d->below)
		return d;
	ply_dirs_free(d);
	return NULL;
}
