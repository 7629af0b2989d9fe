/* Building a copy: its data or the mark that says where that is, then its attributes. */
#include "union/copybuild.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "layer/override.h"
#include "union/data.h"
#include "union/origin.h"

#define READLINK_MAX 4096

static int make_special(struct ply_union *u, const struct ply_place *lower, struct ply_copy *c)
{
	char target[READLINK_MAX + 1];
	ssize_t n;

	if (!S_ISLNK(c->stx.stx_mode))
		return ply_layer_mknod(&u->layers[PLY_UPPER], u->upper.work, c->tmp.text,
				       (c->stx.stx_mode & S_IFMT) | S_IRUSR | S_IWUSR,
				       makedev(c->stx.stx_rdev_major, c->stx.stx_rdev_minor));
	n = sys_readlink(lower->fd, lower->name, target, READLINK_MAX);
	if (n < 0)
		return (int)n;
	target[n] = '\0';
	return sys_symlink(target, u->upper.work, c->tmp.text);
}

/*
 * Marks the inode; where that is not possible the copy is to be whole, and is no safer than any write. A value says
 * that the data is there already.
 */
static int mark(struct ply_union *u, struct ply_copy *c, const void *value, size_t size)
{
	struct ply_layer *upper = &u->layers[PLY_UPPER];
	int err;

	if (c->is_plain || ply_layer_lacks(upper, PLY_LACKS_METACOPY))
		return 0;
	err = ply_upper_set_mark(&u->upper, c->fd, "", PLY_MARK_METACOPY, value, size);
	if (err == -EOPNOTSUPP || err == -EPERM) {
		ply_layer_set_lack(upper, PLY_LACKS_METACOPY);
		return 0;
	}
	c->lacks_room = err == -ENOSPC;
	if (err)
		return err;
	pthread_mutex_lock(&c->node->lock);
	err = ply_lowerdata_of_lower(u, c->node, &c->stx, &c->lowerdata);
	pthread_mutex_unlock(&c->node->lock);
	return err;
}

/* Is all of the old content written over? */
static int is_covered(const struct ply_copy *c, off_t size)
{
	return c->patch && c->patch->off == 0 && c->patch->size >= (size_t)size;
}

static int copy_data(struct ply_union *u, struct ply_copy *c)
{
	off_t size = (off_t)c->stx.stx_size;
	struct ply_fd *in;
	int err;

	if (c->limit >= 0 && c->limit < size)
		size = c->limit;
	if (size == 0 || is_covered(c, size))
		return 0;
	if (size > PLY_LONG_COPY)
		ply_before_long(u);
	err = ply_data_open_lower(u, c->node, &in);
	if (err)
		return err;
	err = ply_copy_data(&(struct ply_data_copy){
		.to = &u->layers[PLY_UPPER],
		.in = in->fd,
		.out = c->fd,
		.size = size,
		.how = PLY_COPY_TO_CHANGE | ((uint64_t)size == c->stx.stx_size ? PLY_COPY_ALL : 0),
	});
	ply_fd_put(u->fds, in);
	return err;
}

/* The one that it is to have in the end, if that does not keep ourselves out: it is then not to be set. */
static mode_t mode_to_build(const struct ply_union *u, const struct statx *stx)
{
	const struct ply_upper *up = &u->upper;

	return up->owner_only || up->layer->override ? S_IRUSR | S_IWUSR : stx->stx_mode & 0777;
}

static int make_regular(struct ply_union *u, struct ply_copy *c)
{
	size_t written;
	int err = 0;

	c->fd = ply_open_retry(u, u->upper.work, c->tmp.text, O_RDWR | O_CREAT | O_EXCL,
			       mode_to_build(u, &c->stx));
	if (c->fd < 0)
		return c->fd;
	if (c->limit == PLY_NO_DATA) {
		if (c->stx.stx_size)
			err = mark(u, c, "", 0);
		if (err || c->lowerdata)
			return err ? err : sys_truncate(c->fd, (off_t)c->stx.stx_size);
		c->limit = PLY_WHOLE_FILE;
	}
	err = copy_data(u, c);
	if (!err && c->patch)
		err = ply_write_all(c->fd, c->patch->buf, c->patch->size, c->patch->off, &written);
	/* What has no data to lose needs no mark, nor what is never synced. */
	if (!err && c->stx.stx_size && c->limit && u->sync)
		err = mark(u, c, &u->filled, sizeof(u->filled));
	return err;
}

int ply_copy_lower_attrs(struct ply_union *u, const struct ply_place *lower,
			 const struct statx *stx, int fd, const char *name, int *nattrs)
{
	struct ply_attr_source from = { .layer = lower->layer,
					.to = &u->layers[PLY_UPPER],
					.fd = lower->fd,
					.name = lower->name,
					.nattrs = nattrs };

	return ply_copy_attrs(&from, stx, fd, name);
}

void ply_copy_discard(struct ply_union *u, struct ply_copy *c)
{
	if (c->fd >= 0)
		sys_close(c->fd);
	sys_unlink(u->upper.work, c->tmp.text);
	free(c->lowerdata);
	c->lowerdata = NULL;
}

/* The file's place in the lower needs no lock to stay right, but its name may be removed from the union meanwhile. */
static int find_lower(struct ply_union *u, struct ply_node *node, struct ply_place *lower,
		      char name[PLY_NAME_MAX + 1])
{
	int err;

	pthread_mutex_lock(&node->lock);
	err = ply_place_in_lower(u, node, lower);
	if (!err)
		lower->name = strcpy(name, lower->name);
	pthread_mutex_unlock(&node->lock);
	return err;
}

static int add_origin(struct ply_union *u, const struct ply_place *lower, struct ply_copy *c,
		      int fd, const char *name)
{
	int res = 0;

	if (S_ISREG(c->stx.stx_mode) || ply_upper_is_trusted(&u->upper))
		res = ply_origin_write(u, lower, fd, name, &c->origin);
	c->has_origin = res > 0;
	return res < 0 ? res : 0;
}

static int add_attrs(struct ply_union *u, const struct ply_place *lower, struct ply_copy *c)
{
	int fd = c->fd >= 0 ? c->fd : u->upper.work, err = 0;
	const char *name = c->fd >= 0 ? "" : c->tmp.text;

	/* The origin first: a mark of the user space needs the right to write. */
	if (!c->is_plain)
		err = add_origin(u, lower, c, fd, name);
	if (!err)
		err = ply_copy_lower_attrs(u, lower, &c->stx, fd, name, &c->nattrs);
	c->lacks_room = err == -ENOSPC;
	if (err || !c->is_plain)
		return err;
	/* If there is room for it. */
	add_origin(u, lower, c, fd, name);
	return c->fd >= 0 && c->stx.stx_size && u->sync ? sys_fsync(c->fd) : 0;
}

int ply_copy_build(struct ply_union *u, struct ply_copy *c)
{
	char lower_name[PLY_NAME_MAX + 1];
	struct ply_place lower;
	int err = find_lower(u, c->node, &lower, lower_name);

	if (err)
		return err;
	c->fd = -1;
	c->tmp = ply_work_new_name(&u->upper);
	err = ply_layer_statx(lower.layer, lower.fd, lower.name, STATX_BASIC_STATS, &c->stx);
	if (!err && c->node->lowerdata)
		ply_lowerdata_attr(c->node->lowerdata, &c->stx);
	if (!err)
		err = S_ISREG(c->stx.stx_mode) ? make_regular(u, c) : make_special(u, &lower, c);
	if (!err)
		err = add_attrs(u, &lower, c);
	if (err)
		ply_copy_discard(u, c);
	ply_place_put(u, &lower);
	return err;
}
