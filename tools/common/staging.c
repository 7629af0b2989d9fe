/* Build, sync, rename. */
#include "staging.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/sys.h"
#include "layer/layer.h"
#include "walk.h"

#define TRIES 100

/* Cuts a copy of the path into the directory and the name in it. */
static int split(struct ply_staging *s, char *path, const char **dir)
{
	size_t len = strlen(path);
	char *name;

	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	name = strrchr(path, '/');
	*dir = name == path ? "/" : path;
	if (name)
		*name++ = '\0';
	else {
		name = path;
		*dir = ".";
	}
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (strlen(name) >= sizeof(s->name))
		return -ENAMETOOLONG;
	strcpy(s->name, name);
	return 0;
}

static int found_one(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	(void)arg;
	(void)name;
	(void)type;
	(void)ino;
	return 1;
}

static int check_target(struct ply_staging *s)
{
	struct statx stx;
	int err = sys_statx(s->parent, s->name, STATX_TYPE, &stx), fd;

	if (err)
		return err == -ENOENT ? 0 : err;
	if (!S_ISDIR(stx.stx_mode))
		return -EEXIST;
	fd = sys_open(s->parent, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	err = ply_layer_list(fd, found_one, NULL);
	sys_close(fd);
	return err > 0 ? -EEXIST : err;
}

static int check_file(struct ply_staging *s)
{
	struct statx stx;
	int err = sys_statx(s->parent, s->name, STATX_TYPE, &stx);

	if (err)
		return err == -ENOENT ? 0 : err;
	return S_ISREG(stx.stx_mode) ? 0 : -EEXIST;
}

static int open_parent(struct ply_staging *s, const char *target)
{
	char *path = strdup(target);
	const char *dir;
	int err;

	*s = (struct ply_staging){ .parent = -1, .fd = -1 };
	if (!path)
		return -ENOMEM;
	err = split(s, path, &dir);
	if (!err) {
		s->parent = sys_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
		err = s->parent < 0 ? s->parent : 0;
	}
	free(path);
	return err;
}

int ply_staging_open(struct ply_staging *s, const char *target)
{
	int err = open_parent(s, target);

	return err ? err : check_target(s);
}

int ply_staging_open_file(struct ply_staging *s, const char *target)
{
	int err = open_parent(s, target);

	return err ? err : check_file(s);
}

static int make_dir(struct ply_staging *s)
{
	return sys_mkdir(s->parent, s->temp, S_IRWXU);
}

static int make_file(struct ply_staging *s)
{
	s->fd = sys_open(s->parent, s->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
	return s->fd < 0 ? s->fd : 0;
}

static int make_temp(struct ply_staging *s, int (*make)(struct ply_staging *s))
{
	int err = -EEXIST;

	for (int i = 0; i < TRIES && err == -EEXIST; i++) {
		uint64_t random = (uint64_t)getpid();

		if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
			random += (uint64_t)i << 32;
		snprintf(s->temp, sizeof(s->temp), ".%.200s.plyfs-%016llx", s->name,
			 (unsigned long long)random);
		err = make(s);
	}
	if (err)
		s->temp[0] = '\0';
	return err;
}

int ply_staging_make(struct ply_staging *s)
{
	int err = make_temp(s, make_dir);

	if (err)
		return err;
	s->fd = sys_open(s->parent, s->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return s->fd < 0 ? s->fd : ply_layer_disinherit(s->fd);
}

int ply_staging_make_file(struct ply_staging *s)
{
	return make_temp(s, make_file);
}

int ply_staging_publish(struct ply_staging *s)
{
	int err = sys_syncfs(s->fd);

	if (!err)
		err = sys_rename(s->parent, s->temp, s->parent, s->name, 0);
	if (err)
		return err == -ENOTEMPTY || err == -ENOTDIR ? -EEXIST : err;
	s->temp[0] = '\0';
	return sys_fsync(s->parent);
}

int ply_staging_publish_file(struct ply_staging *s)
{
	int err = sys_fsync(s->fd);

	if (!err)
		err = sys_rename(s->parent, s->temp, s->parent, s->name, 0);
	if (err)
		return err;
	s->temp[0] = '\0';
	return sys_fsync(s->parent);
}

void ply_staging_close(struct ply_staging *s)
{
	if (s->fd >= 0)
		sys_close(s->fd);
	if (s->temp[0])
		ply_remove_tree(s->parent, s->temp);
	if (s->parent >= 0)
		sys_close(s->parent);
	*s = (struct ply_staging){ .parent = -1, .fd = -1 };
}
