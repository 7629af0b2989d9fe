/*
 * Probes of the upper's file system: each does once in the work directory what will be done later, and takes
 * it away again. Only a plain refusal is an answer: a full disk has room again some day, while the form that
 * marks are written in must not change.
 */
#include "layer/probe.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/sys.h"

static int is_refusal(int err)
{
	return err == -EOPNOTSUPP || err == -EPERM || err == -EACCES || err == -EINVAL ||
	       err == -ENOSYS || err == -ENOTTY;
}

static int space_works(struct ply_upper *up, const char *prefix)
{
	char attr[64], value[1];
	int works = 1, err;

	snprintf(attr, sizeof(attr), "%s" PLY_MARK_OPAQUE, prefix);
	err = sys_setxattr(up->work, "", attr, "y", 1, 0);
	if (err)
		return !is_refusal(err);
	/* fuse-overlayfs keeps what is written and never shows it. */
	if (sys_getxattr(up->work, "", attr, value, sizeof(value)) == -ENODATA)
		works = 0;
	sys_removexattr(up->work, "", attr);
	return works;
}

static void probe_space(struct ply_upper *up, const char *wanted)
{
	int user = space_works(up, PLY_SPACE_USER_PREFIX);

	if (!user)
		ply_layer_set_lack(up->layer, PLY_LACKS_USER_XATTR);
	if (wanted)
		up->space = *wanted && space_works(up, wanted) ? wanted : NULL;
	else if (space_works(up, PLY_SPACE_TRUSTED_PREFIX))
		up->space = PLY_SPACE_TRUSTED_PREFIX;
	else
		up->space = user ? PLY_SPACE_USER_PREFIX : NULL;
	if (!up->space && !(wanted && !*wanted))
		ply_layer_set_lack(up->layer, PLY_LACKS_MARKS);
}

/*
 * Can such an inode be made by that name, and be found again? In a directory of its own: fuse-overlayfs hides what
 * it takes for a whiteout, and from then on may list the directory as empty.
 */
static int node_works(struct ply_upper *up, const char *base, mode_t mode, dev_t dev)
{
	struct ply_work_name dir = ply_work_new_name(up);
	char name[sizeof(dir.text) + 16];
	int err;

	if (sys_mkdir(up->work, dir.text, S_IRWXU))
		return 1;
	snprintf(name, sizeof(name), "%s/%s", dir.text, base);
	err = sys_mknod(up->work, name, mode, dev);
	if (!err)
		err = sys_unlink(up->work, name);
	sys_rmdir(up->work, dir.text);
	return !is_refusal(err) && err != -ENOENT;
}

static int kind_works(struct ply_upper *up)
{
	switch (up->kind) {
	case PLY_KIND_CHAR:
		return node_works(up, "0", S_IFCHR,
				  makedev(PLY_WHITEOUT_MAJOR, PLY_WHITEOUT_MINOR));
	case PLY_KIND_XATTR:
		return up->space != NULL;
	default:
		return node_works(up, PLY_AUFS_PREFIX "0", S_IFREG | S_IRUSR, 0);
	}
}

/* -EOPNOTSUPP: there is no way left to mark a name, or not the one that is wanted. */
static int probe_kind(struct ply_upper *up, int wanted)
{
	up->kind = wanted < 0 ? PLY_KIND_CHAR : (enum ply_whiteout_kind)wanted;
	if (kind_works(up))
		return 0;
	if (wanted >= 0)
		return -EOPNOTSUPP;
	ply_layer_set_lack(up->layer, PLY_LACKS_DEVICE);
	up->kind = up->space ? PLY_KIND_XATTR : PLY_KIND_AUFS;
	return kind_works(up) ? 0 : -EOPNOTSUPP;
}

/* Both ways of renaming are tried on two files, which are then there under the same names. */
static void probe_rename(struct ply_upper *up)
{
	struct ply_work_name a = ply_work_new_name(up), b = ply_work_new_name(up);
	int work = up->work, err = sys_mknod(work, a.text, S_IFREG | S_IRUSR, 0);

	if (!err)
		err = sys_mknod(work, b.text, S_IFREG | S_IRUSR, 0);
	if (!err && is_refusal(sys_rename(work, a.text, work, b.text, RENAME_EXCHANGE)))
		ply_layer_set_lack(up->layer, PLY_LACKS_EXCHANGE);
	if (!err && up->kind == PLY_KIND_CHAR &&
	    is_refusal(sys_rename(work, a.text, work, b.text, RENAME_WHITEOUT)))
		ply_layer_set_lack(up->layer, PLY_LACKS_RENAME_WHITEOUT);
	sys_unlink(work, a.text);
	sys_unlink(work, b.text);
}

static void probe_tmpfile(struct ply_upper *up)
{
	int fd = sys_open(up->work, ".", O_TMPFILE | O_RDWR, S_IRUSR | S_IWUSR);

	if (fd >= 0)
		sys_close(fd);
	else if (is_refusal(fd) || fd == -EISDIR || fd == -ENOENT)
		ply_layer_set_lack(up->layer, PLY_LACKS_TMPFILE);
}

int ply_upper_probe(struct ply_upper *up, const struct ply_upper_config *cfg)
{
	int err;

	probe_space(up, cfg->space);
	err = probe_kind(up, cfg->kind);
	if (err)
		return err;
	probe_rename(up);
	probe_tmpfile(up);
	return 0;
}
