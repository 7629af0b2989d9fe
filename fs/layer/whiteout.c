/*
 * Writing marks. All whiteouts are links of one inode in the work directory, so that one costs a single
 * system call and no inode. The form is the upper's: a 0:0 device, an empty file with an xattr, or .wh.NAME.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "layer/upper.h"

/* Without a value it is taken away. */
static int change(int dirfd, const char *name, const char *attr, const void *value, size_t size)
{
	return value ? sys_setxattr(dirfd, name, attr, value, size, 0)
		     : sys_removexattr(dirfd, name, attr);
}

/* A mark of the user's space needs the right to write, which a plain user's own file may lack. */
static int change_despite_mode(int dirfd, const char *name, const char *attr, const void *value,
			       size_t size)
{
	mode_t mode;
	int err = ply_layer_lend(dirfd, name, S_IWUSR, &mode);

	if (err)
		return err;
	err = change(dirfd, name, attr, value, size);
	sys_chmod(dirfd, name, mode);
	return err;
}

static int change_attr(int dirfd, const char *name, const char *attr, const void *value,
		       size_t size)
{
	int err = change(dirfd, name, attr, value, size);

	return err == -EACCES ? change_despite_mode(dirfd, name, attr, value, size) : err;
}

static int remove_attr(int dirfd, const char *name, const char *space, const char *mark)
{
	char attr[64];
	int err;

	snprintf(attr, sizeof(attr), "%s%s", space, mark);
	err = change_attr(dirfd, name, attr, NULL, 0);
	return err == -ENODATA ? 0 : err;
}

enum others {
	THAT_ARE_READ_FIRST,
	ALL_OTHERS,
};

/*
 * Who wrote the upper before may have had another space, as a plain user before root. A mark there would go on saying what
 * it says. Where none was seen in this upper there are none in the way: what is changed was looked up before.
 */
static int remove_in_others(const struct ply_upper *up, int dirfd, const char *name,
			    const char *mark, enum others which)
{
	const char *space;
	int err = 0;

	for (unsigned i = 0; !err && (space = ply_mark_space(i)); i++) {
		int is_own = up->space && !strcmp(space, up->space);

		if (is_own && which == THAT_ARE_READ_FIRST)
			break;
		if (!is_own && ply_mark_space_is_seen(up->layer, i))
			err = remove_attr(dirfd, name, space, mark);
	}
	return err;
}

int ply_upper_set_mark(struct ply_upper *up, int dirfd, const char *name, const char *mark,
		       const void *value, size_t size)
{
	char attr[64];
	int err;

	if (!up->space)
		return -EOPNOTSUPP;
	snprintf(attr, sizeof(attr), "%s%s", up->space, mark);
	err = change_attr(dirfd, name, attr, value, size);
	return err ? err : remove_in_others(up, dirfd, name, mark, THAT_ARE_READ_FIRST);
}

int ply_upper_remove_mark(struct ply_upper *up, int dirfd, const char *name, const char *mark)
{
	int err = up->space ? remove_attr(dirfd, name, up->space, mark) : 0;

	return err ? err : remove_in_others(up, dirfd, name, mark, ALL_OTHERS);
}

int ply_upper_remove_metacopy(struct ply_upper *up, int dirfd, const char *name, int may_redirect)
{
	int err = ply_upper_remove_mark(up, dirfd, name, PLY_MARK_METACOPY);

	if (!err && may_redirect)
		err = ply_upper_remove_mark(up, dirfd, name, PLY_MARK_REDIRECT);
	return err;
}

int ply_upper_set_opaque(struct ply_upper *up, int dirfd, const char *name)
{
	static const char value = PLY_OPAQUE_YES;
	char path[PLY_NAME_MAX + 1 + sizeof(PLY_AUFS_OPAQUE)];
	int err;

	if (up->space)
		return ply_upper_set_mark(up, dirfd, name, PLY_MARK_OPAQUE, &value, 1);
	snprintf(path, sizeof(path), "%s/" PLY_AUFS_OPAQUE, name);
	err = sys_mknod(dirfd, path, S_IFREG | S_IRUSR | S_IWUSR, 0);
	return err == -EEXIST ? 0 : err;
}

/* The inode that whiteouts are links of, under a name of its own first so that it is never half made. */
static int make_shared(struct ply_upper *up)
{
	struct ply_work_name tmp = ply_work_new_name(up);
	int err;

	if (up->kind == PLY_KIND_CHAR)
		err = sys_mknod(up->work, tmp.text, S_IFCHR,
				makedev(PLY_WHITEOUT_MAJOR, PLY_WHITEOUT_MINOR));
	else
		err = sys_mknod(up->work, tmp.text, S_IFREG | S_IRUSR | S_IWUSR, 0);
	if (!err && up->kind == PLY_KIND_XATTR)
		err = ply_upper_set_mark(up, up->work, tmp.text, PLY_MARK_WHITEOUT, "y", 1);
	if (!err)
		err = sys_rename(up->work, tmp.text, up->work, PLY_WORK_WHITEOUT, 0);
	if (err)
		sys_unlink(up->work, tmp.text);
	else
		atomic_store(&up->has_whiteout, 1);
	return err;
}

void ply_upper_leave_whiteouts(struct ply_upper *up)
{
	atomic_store(&up->has_whiteout, 0);
	sys_unlink(up->work, PLY_WORK_WHITEOUT);
}

/* Links the shared whiteout, which is made anew when it has too many links or none can be had. */
static int link_shared(struct ply_upper *up, int dirfd, const char *name)
{
	int err = -EMLINK;

	if (atomic_load(&up->has_whiteout))
		err = sys_link(up->work, PLY_WORK_WHITEOUT, dirfd, name);
	if (err != -EMLINK && err != -ENOENT)
		return err;
	pthread_mutex_lock(&up->whiteout_lock);
	err = make_shared(up);
	if (!err)
		err = sys_link(up->work, PLY_WORK_WHITEOUT, dirfd, name);
	pthread_mutex_unlock(&up->whiteout_lock);
	return err;
}

static void aufs_name(char *mark, const char *name)
{
	snprintf(mark, PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1, PLY_AUFS_PREFIX "%s", name);
}

int ply_upper_announce(struct ply_upper *up, int dirfd)
{
	static const char value = PLY_OPAQUE_XWHITEOUTS;
	int mark;

	if (up->kind != PLY_KIND_XATTR)
		return 0;
	mark = ply_mark_opaque(up->layer, dirfd, "");
	if (mark != PLY_OPAQUE_NONE)
		return mark < 0 ? mark : 0;
	return ply_upper_set_mark(up, dirfd, "", PLY_MARK_OPAQUE, &value, 1);
}

int ply_upper_whiteout(struct ply_upper *up, int dirfd, const char *name)
{
	char mark[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];
	int err;

	if (up->kind == PLY_KIND_AUFS) {
		aufs_name(mark, name);
		err = link_shared(up, dirfd, mark);
		return err == -EEXIST ? 0 : err;
	}
	err = ply_upper_announce(up, dirfd);
	return err ? err : link_shared(up, dirfd, name);
}

int ply_upper_whiteout_over(struct ply_upper *up, int dirfd, const char *name)
{
	struct ply_work_name tmp;
	int err;

	if (up->kind == PLY_KIND_AUFS) {
		/* While both are there the file wins, so no moment shows the lower one. */
		err = ply_upper_whiteout(up, dirfd, name);
		return err ? err : sys_unlink(dirfd, name);
	}
	err = ply_upper_announce(up, dirfd);
	if (err)
		return err;
	tmp = ply_work_new_name(up);
	err = link_shared(up, up->work, tmp.text);
	if (err)
		return err;
	err = sys_rename(up->work, tmp.text, dirfd, name, 0);
	if (err)
		sys_unlink(up->work, tmp.text);
	return err;
}

/* Without RENAME_EXCHANGE: for a moment neither is there, and the lower directory shows. */
static int swap_in_two_steps(struct ply_upper *up, int dirfd, const char *name,
			     struct ply_work_name *taken)
{
	int err = ply_layer_rename(dirfd, name, up->work, taken->text, 0);

	if (err)
		return err;
	err = ply_upper_whiteout(up, dirfd, name);
	if (err)
		ply_layer_rename(up->work, taken->text, dirfd, name, 0);
	return err;
}

int ply_upper_whiteout_swap(struct ply_upper *up, int dirfd, const char *name,
			    struct ply_work_name *taken)
{
	int err;

	*taken = ply_work_new_name(up);
	if (up->kind == PLY_KIND_AUFS) {
		err = ply_upper_whiteout(up, dirfd, name);
		if (err)
			return err;
		err = ply_layer_rename(dirfd, name, up->work, taken->text, 0);
		if (err)
			ply_upper_clear_aufs(up, dirfd, name);
		return err;
	}
	if (ply_layer_lacks(up->layer, PLY_LACKS_EXCHANGE))
		return swap_in_two_steps(up, dirfd, name, taken);
	err = ply_upper_announce(up, dirfd);
	if (!err)
		err = link_shared(up, up->work, taken->text);
	if (err)
		return err;
	err = ply_layer_rename(up->work, taken->text, dirfd, name, RENAME_EXCHANGE);
	if (!err)
		return 0;
	sys_unlink(up->work, taken->text);
	if (err != -EINVAL && err != -ENOSYS)
		return err;
	ply_layer_set_lack(up->layer, PLY_LACKS_EXCHANGE);
	return swap_in_two_steps(up, dirfd, name, taken);
}

void ply_upper_clear_aufs(struct ply_upper *up, int dirfd, const char *name)
{
	char mark[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];

	if (up->kind != PLY_KIND_AUFS)
		return;
	aufs_name(mark, name);
	sys_unlink(dirfd, mark);
}

struct clearing {
	struct ply_upper *up;
	int dirfd;
	int keeps_opaque;
};

static int clear_one(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	struct clearing *c = arg;
	struct statx stx;
	int mark = ply_is_aufs_name(name), err;

	(void)ino;
	if (type == DT_DIR || (c->keeps_opaque && !strcmp(name, PLY_AUFS_OPAQUE)))
		return 0;
	if (!mark) {
		err = sys_statx(c->dirfd, name, STATX_BASIC_STATS, &stx);
		if (err)
			return err;
		mark = ply_mark_whiteout(c->up->layer, c->dirfd, name, &stx);
	}
	return mark > 0 ? sys_unlink(c->dirfd, name) : mark;
}

int ply_upper_clear_marks(struct ply_upper *up, int dirfd)
{
	struct clearing c = { .up = up, .dirfd = dirfd };

	return ply_layer_list(dirfd, clear_one, &c);
}

int ply_upper_clear_whiteouts(struct ply_upper *up, int dirfd)
{
	struct clearing c = { .up = up, .dirfd = dirfd, .keeps_opaque = 1 };

	return ply_layer_list(dirfd, clear_one, &c);
}
