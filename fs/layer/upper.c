/*
 * Opening the upper: locks, work directory. What its file system can do is found out in probe.c; what is
 * written later, marks and whiteouts, is in whiteout.c. Both flocks live as long as the descriptors, so a killed server leaves none behind.
 */
#include "layer/upper.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/incompat.h"
#include "layer/probe.h"

struct ply_work_name ply_work_new_name(struct ply_upper *up)
{
	struct ply_work_name name;

	snprintf(name.text, sizeof(name.text), "#%llx", atomic_fetch_add(&up->next_name, 1) + 1);
	return name;
}

struct emptying {
	struct ply_upper *up;
	int dirfd;
	int removed;
};

static int is_kept(const struct ply_upper *up, int dirfd, const char *name)
{
	return up->is_volatile && dirfd == up->work && !strcmp(name, PLY_WORK_INCOMPAT);
}

/*
 * Removes one entry. A directory is not descended into but moved to the top of the work directory, from
 * where a later round takes it: so any depth is removed with one descriptor.
 */
static int remove_entry(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct emptying *e = arg;
	struct ply_work_name top;
	int err = -EISDIR;

	(void)ino;
	if (is_kept(e->up, e->dirfd, name))
		return 0;
	e->removed = 1;
	if (type != DT_DIR)
		err = sys_unlink(e->dirfd, name);
	if (err == -EISDIR || err == -EPERM)
		err = sys_rmdir(e->dirfd, name);
	if (err != -ENOTEMPTY && err != -EEXIST)
		return err == -ENOENT ? 0 : err;
	if (e->dirfd == e->up->work)
		return 0;
	top = ply_work_new_name(e->up);
	return ply_layer_rename(e->dirfd, name, e->up->work, top.text, 0);
}

/* Empties one directory, whose own modes may forbid it. */
static int empty_dir(struct ply_upper *up, int dirfd)
{
	struct emptying e = { .up = up, .dirfd = dirfd };
	mode_t old;
	int err;

	do {
		e.removed = 0;
		err = ply_layer_list(dirfd, remove_entry, &e);
		if (err == -EACCES && ply_layer_unlock_dir(dirfd, &old) == 0)
			err = ply_layer_list(dirfd, remove_entry, &e);
	} while (!err && e.removed && dirfd != up->work);
	return err;
}

/* Opens a directory in the work directory although its mode may forbid it. */
static int open_work_dir(struct ply_upper *up, const char *name)
{
	int fd = sys_open(up->work, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (fd != -EACCES)
		return fd;
	if (sys_chmod(up->work, name, S_IRWXU) < 0)
		return fd;
	return sys_open(up->work, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

int ply_work_remove(struct ply_upper *up, const char *name)
{
	int err = sys_unlink(up->work, name), fd;

	if (err == -EISDIR || err == -EPERM)
		err = sys_rmdir(up->work, name);
	if (err != -ENOTEMPTY && err != -EEXIST)
		return err;
	fd = open_work_dir(up, name);
	if (fd < 0)
		return fd;
	err = empty_dir(up, fd);
	sys_close(fd);
	return err ? err : sys_rmdir(up->work, name);
}

struct first_dir {
	const struct ply_upper *up;
	char name[PLY_NAME_MAX + 1];
};

static int take_first(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct first_dir *first = arg;

	(void)type;
	(void)ino;
	if (is_kept(first->up, first->up->work, name))
		return 0;
	snprintf(first->name, sizeof(first->name), "%s", name);
	return 1;
}

/* Files and empty directories in one sweep, then full directories one by one, which bring up new ones. */
static int empty_work(struct ply_upper *up)
{
	struct first_dir first = { .up = up };
	int err = empty_dir(up, up->work);

	while (!err) {
		int found = ply_layer_list(up->work, take_first, &first);

		if (found <= 0)
			return found;
		err = ply_work_remove(up, first.name);
	}
	return err;
}

static int open_work(struct ply_upper *up, const char *path)
{
	struct statx upper, work;
	char real[PATH_MAX];
	int err;

	up->work_path = strdup(sys_realpath(path, real) ? path : real);
	if (!up->work_path)
		return -ENOMEM;
	up->work_root = sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (up->work_root < 0)
		return up->work_root;
	err = sys_statx(up->work_root, "", STATX_BASIC_STATS | STATX_MNT_ID, &work);
	if (!err)
		err = sys_statx(up->layer->root, "", STATX_BASIC_STATS | STATX_MNT_ID, &upper);
	if (err)
		return err;
	if (work.stx_dev_major != upper.stx_dev_major || work.stx_dev_minor != upper.stx_dev_minor)
		return -EXDEV;
	/* No rename goes from one mount to another, be they of one file system. */
	if ((work.stx_mask & upper.stx_mask & STATX_MNT_ID) && work.stx_mnt_id != upper.stx_mnt_id)
		return -EXDEV;
	return 0;
}

/* Can a mount have left that? The kernel and we begin with '#'; fuse-overlayfs counts. */
static int check_leftover(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	const struct statx *work = arg;

	(void)type;
	(void)ino;
	if (name[0] == '#' || !strcmp(name, PLY_WORK_INCOMPAT))
		return 0;
	/* Years are numbers, too, but whoever files by them has hardly closed the directory to others. */
	if (!name[strspn(name, "0123456789")] && !(work->stx_mode & (S_IRWXG | S_IRWXO)))
		return 0;
	return -ENOTEMPTY;
}

/* What is to be emptied must have been made for it: "work" is a name that anything may have. */
static int check_work(int work)
{
	struct statx stx;
	int err = sys_statx(work, "", STATX_TYPE | STATX_MODE, &stx);

	return err ? err : ply_layer_list(work, check_leftover, &stx);
}

/* Without a volatile mount from here on the mark of the last one goes, so what that left is synced first. */
static int settle_incompat(struct ply_upper *up, const struct ply_upper_config *cfg, int work)
{
	int found = ply_incompat_check(work, cfg->boot);

	if (found < 0)
		return found;
	up->is_volatile = cfg->is_volatile;
	if (cfg->is_volatile)
		return ply_incompat_set_volatile(work, cfg->boot);
	return found == PLY_INCOMPAT_THIS_BOOT ? sys_syncfs(up->layer->root) : 0;
}

static int make_work(struct ply_upper *up, const struct ply_upper_config *cfg)
{
	int err = sys_mkdir(up->work_root, PLY_WORK_DIR, S_IRWXU), work;

	if (err && err != -EEXIST)
		return err;
	work = sys_open(up->work_root, PLY_WORK_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (work < 0)
		return work;
	err = check_work(work);
	if (!err)
		err = ply_layer_disinherit(work);
	if (!err)
		err = settle_incompat(up, cfg, work);
	if (err) {
		sys_close(work);
		return err;
	}
	/* Only now is it ours: whatever fails later, closing empties it. */
	up->work = work;
	return 0;
}

int ply_upper_open(struct ply_upper *up, struct ply_layer *layer,
		   const struct ply_upper_config *cfg, const char **what)
{
	int err;

	*up = (struct ply_upper){ .layer = layer, .work_root = -1, .work = -1 };
	atomic_init(&up->index, -1);
	atomic_init(&up->counts, -1);
	pthread_mutex_init(&up->whiteout_lock, NULL);
	*what = "open the work directory";
	err = open_work(up, cfg->work_path);
	if (!err) {
		*what = "lock the upper directory";
		err = sys_flock(layer->root);
	}
	if (!err) {
		*what = "lock the work directory";
		err = sys_flock(up->work_root);
	}
	if (!err) {
		*what = "take the directory 'work' in the work directory, which must hold nothing else's";
		err = make_work(up, cfg);
	}
	if (!err) {
		*what = "empty the work directory";
		err = empty_work(up);
	}
	if (!err) {
		*what = "mark removed names by devices, attributes or '.wh.' files";
		err = ply_upper_probe(up, cfg);
	}
	if (err) {
		ply_upper_close(up);
		return err == -EWOULDBLOCK ? -EBUSY : err;
	}
	return 0;
}

int ply_upper_open_beside(struct ply_upper *up, const char *name, _Atomic int *slot)
{
	int fd = sys_open(up->work_root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int none = -1;

	if (fd < 0)
		return fd;
	if (atomic_compare_exchange_strong(slot, &none, fd))
		return fd;
	sys_close(fd);
	return none;
}

void ply_upper_close(struct ply_upper *up)
{
	if (up->work >= 0) {
		empty_work(up);
		sys_close(up->work);
	}
	if (up->index >= 0)
		sys_close(up->index);
	if (up->counts >= 0)
		sys_close(up->counts);
	if (up->work_root >= 0)
		sys_close(up->work_root);
	pthread_mutex_destroy(&up->whiteout_lock);
	free(up->work_path);
	up->work_path = NULL;
	up->work = up->work_root = -1;
}
