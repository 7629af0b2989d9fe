/* The sorted names of a merged directory, marks resolved to what they are about; and numbers written as names. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/room.h"
#include "stack.h"

int ply_names_add(struct ply_names *names, const char *name)
{
	int err = ply_make_room(&names->name, &names->room, names->n, sizeof(char *));

	if (err)
		return err;
	names->name[names->n] = strdup(name);
	return names->name[names->n] ? (names->n++, 0) : -ENOMEM;
}

static int add_raw(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	(void)type;
	(void)ino;
	return ply_names_add(arg, name);
}

static int add_name(struct ply_names *names, const char *name)
{
	if (ply_is_aufs_name(name)) {
		name = ply_aufs_target(name);
		if (!name)
			return 0;
	}
	return ply_names_add(names, name);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort(struct ply_names *names)
{
	size_t kept = 0;

	if (names->n)
		qsort(names->name, names->n, sizeof(*names->name), by_bytes);
	for (size_t i = 0; i < names->n; i++)
		if (kept && !strcmp(names->name[kept - 1], names->name[i]))
			free(names->name[i]);
		else
			names->name[kept++] = names->name[i];
	names->n = kept;
}

int ply_raw_names(int fd, struct ply_names *names)
{
	int err;

	*names = (struct ply_names){ 0 };
	err = ply_layer_list(fd, add_raw, names);
	if (err)
		ply_names_free(names);
	else
		sort(names);
	return err == -EBADF ? -EACCES : err; /* opened without the right to list it */
}

static int list_part(struct ply_stack *s, struct ply_part *part)
{
	int fd = part->is_listed ? 0 : ply_part_open(s, part), err;

	if (part->is_listed || fd < 0)
		return fd;
	err = ply_raw_names(fd, &part->names);
	part->is_listed = !err;
	return err;
}

int ply_stack_names(struct ply_stack *s, struct ply_dirs *dirs, unsigned from, unsigned to,
		    struct ply_names *names)
{
	*names = (struct ply_names){ 0 };
	return ply_stack_more_names(s, dirs, from, to, names);
}

int ply_stack_more_names(struct ply_stack *s, struct ply_dirs *dirs, unsigned from, unsigned to,
			 struct ply_names *names)
{
	int err = 0;

	for (unsigned i = 0; i < dirs->nparts && !err; i++) {
		struct ply_part *part = &dirs->parts[i];

		if (part->layer < from || part->layer >= to)
			continue;
		err = list_part(s, part);
		for (size_t j = 0; !err && j < part->names.n; j++)
			err = add_name(names, part->names.name[j]);
	}
	if (err)
		ply_names_free(names);
	else
		sort(names);
	return err;
}

int ply_names_has(const struct ply_names *names, const char *name)
{
	return names->n &&
	       bsearch(&name, names->name, names->n, sizeof(*names->name), by_bytes) != NULL;
}

int ply_names_has_aufs(const struct ply_names *names, const char *name)
{
	char aufs[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];

	if (strlen(name) > PLY_NAME_MAX - PLY_AUFS_PREFIX_LEN)
		return 0;
	strcpy(stpcpy(aufs, PLY_AUFS_PREFIX), name);
	return ply_names_has(names, aufs);
}

void ply_names_free(struct ply_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct ply_names){ 0 };
}

int ply_path_next(const char **path, char name[PLY_NAME_MAX + 1])
{
	size_t len;

	do {
		*path += strspn(*path, "/");
		len = strcspn(*path, "/");
		if (len > PLY_NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, *path, len);
		name[len] = '\0';
		*path += len;
	} while (!strcmp(name, "."));
	if (!strcmp(name, ".."))
		return -ENOENT; /* no name of the stack */
	return len > 0;
}

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

size_t ply_from_hex(const char *text, uint8_t *bytes, size_t size)
{
	size_t n = 0;

	for (; *text && *text != '\n'; text++) {
		if (*text == '-')
			continue;
		if (n == size || digit(text[0]) < 0 || digit(text[1]) < 0)
			return 0;
		bytes[n++] = (uint8_t)(digit(text[0]) * 16 + digit(text[1]));
		text++;
	}
	return n;
}
