/* An inode at a time; what it is made of comes before its attributes. */
#include "treecopy.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "interrupt.h"
#include "layer/marks.h"

#define READLINK_MAX 4096

int ply_tree_copy_attrs(struct ply_tree_copy *c, int fd, const char *name, const struct statx *stx,
			int to, const char *to_name)
{
	struct ply_attr_source from = { .layer = c->from,
					.fd = fd,
					.name = name,
					.takes_mark = c->takes_mark,
					.cannot_keep = c->cannot_keep,
					.arg = c->arg };

	return ply_copy_attrs(&from, stx, to, to_name);
}

static int try_source(const struct ply_walk_entry *e)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
	int fd = sys_open(e->dirfd, e->name, flags | O_NOATIME, 0);

	return fd == -EPERM ? sys_open(e->dirfd, e->name, flags, 0) : fd;
}

/*
 * A plain user's own file may forbid its owner to read it, and its attributes too: its mode then has to
 * be put back.
 */
static int open_source(const struct ply_walk_entry *e, int *is_unlocked)
{
	int fd = try_source(e);

	*is_unlocked =
		fd == -EACCES && !sys_chmod(e->dirfd, e->name, (e->stx.stx_mode & 07777) | S_IRUSR);
	return *is_unlocked ? try_source(e) : fd;
}

static int copy_open(struct ply_tree_copy *c, const struct ply_walk_entry *e, int in)
{
	int out = sys_open(e->mirror, e->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
			   S_IRUSR | S_IWUSR);
	int err = out < 0 ? out : 0;

	if (!err && e->stx.stx_size)
		err = ply_copy_data(&(struct ply_data_copy){
			.to = c->to,
			.in = in,
			.out = out,
			.size = (off_t)e->stx.stx_size,
			.done = c->done,
		});
	if (!err)
		err = ply_tree_copy_attrs(c, in, "", &e->stx, out, "");
	if (out >= 0)
		sys_close(out);
	return err;
}

static int copy_regular(struct ply_tree_copy *c, const struct ply_walk_entry *e)
{
	int is_unlocked, in = open_source(e, &is_unlocked);
	int err = in < 0 ? in : copy_open(c, e, in);

	if (err)
		ply_interrupt_end();
	if (in >= 0)
		sys_close(in);
	if (is_unlocked)
		sys_chmod(e->dirfd, e->name, e->stx.stx_mode & 07777);
	return err;
}

static int copy_special(struct ply_tree_copy *c, const struct ply_walk_entry *e)
{
	char target[READLINK_MAX + 1];
	ssize_t n;
	int err;

	if (S_ISLNK(e->stx.stx_mode)) {
		n = sys_readlink(e->dirfd, e->name, target, READLINK_MAX);
		if (n < 0)
			return (int)n;
		target[n] = '\0';
		err = sys_symlink(target, e->mirror, e->name);
	} else {
		err = sys_mknod(e->mirror, e->name, e->stx.stx_mode & (S_IFMT | S_IRWXU),
				makedev(e->stx.stx_rdev_major, e->stx.stx_rdev_minor));
		if (err == -EPERM)
			c->trouble = "no permission to make a device here";
	}
	/* A whiteout's owner and times mean nothing. */
	if (!err && ply_is_whiteout(&e->stx))
		return 0;
	return err ? err : ply_tree_copy_attrs(c, e->dirfd, e->name, &e->stx, e->mirror, e->name);
}

/* All device whiteouts become names of one inode, whatever they were: they have nothing to tell apart. */
static struct ply_links_key key_of(const struct ply_walk_entry *e)
{
	if (ply_is_whiteout(&e->stx))
		return (struct ply_links_key){ .names = UINT64_MAX };
	return ply_links_key(&e->stx);
}

int ply_tree_copy_file(struct ply_tree_copy *c, const struct ply_walk_entry *e)
{
	struct ply_links_key key = key_of(e);
	int res = ply_links_take(c->links, &key, e->mirror, e->name);

	if (res)
		return res < 0 ? res : 0;
	res = S_ISREG(e->stx.stx_mode) ? copy_regular(c, e) : copy_special(c, e);
	return res ? res : ply_links_keep(c->links, &key, e->mirror, e->name);
}
