/*
 * Making things. What one system call makes as it must be is made in place; all else (another owner than
 * this process, over a whiteout, an opaque directory) is built in the work directory and moved in.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "layer/override.h"
#include "union/acl.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/lookup.h"
#include "union/origin.h"
#include "union/resolve.h"

/* One making. */
struct making {
	struct ply_union *u;
	struct ply_node *dir;
	const char *name;
	const struct ply_make *how;
	struct ply_fd *fd; /* the upper directory */
	int covers;	   /* a lower layer shows the name, so there is a whiteout */
	int over;	   /* what has the name on disk is a whiteout, to be replaced */
};

static int make_at(struct ply_union *u, int dirfd, const char *name, const struct ply_make *how,
		   mode_t perm)
{
	switch (how->mode & S_IFMT) {
	case S_IFDIR:
		return sys_mkdir(dirfd, name, perm);
	case S_IFLNK:
		return sys_symlink(how->target, dirfd, name);
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return ply_layer_mknod(&u->layers[PLY_UPPER], dirfd, name,
				       (how->mode & S_IFMT) | perm, how->rdev);
	default:
		return -EINVAL;
	}
}

/* Where the layer keeps owners and modes aside: all at once. */
static int set_override(const struct making *m, const char *tmp, const struct ply_heritage *h)
{
	struct statx stx = {
		.stx_mode = (uint16_t)((m->how->mode & S_IFMT) | h->mode),
		.stx_uid = h->uid,
		.stx_gid = h->gid,
		.stx_rdev_major = major(m->how->rdev),
		.stx_rdev_minor = minor(m->how->rdev),
	};

	return ply_override_set(&m->u->layers[PLY_UPPER], m->u->upper.work, tmp, &stx);
}

static int set_heritage(const struct making *m, const char *tmp, const struct ply_heritage *h)
{
	struct ply_layer *upper = &m->u->layers[PLY_UPPER];
	int fd = m->u->upper.work, err = 0;
	struct statx stx;

	if (upper->override)
		return set_override(m, tmp, h);
	err = sys_statx(fd, tmp, STATX_UID | STATX_GID, &stx);
	if (!err && (stx.stx_uid != h->uid || stx.stx_gid != h->gid))
		err = ply_layer_chown(upper, fd, tmp, h->uid, h->gid);
	if (!err && h->access_size)
		err = sys_setxattr(fd, tmp, PLY_ACL_ACCESS, h->access, h->access_size, 0);
	if (!err && h->default_size)
		err = sys_setxattr(fd, tmp, PLY_ACL_DEFAULT, h->dflt, h->default_size, 0);
	if (!err && !S_ISLNK(m->how->mode))
		err = sys_chmod(fd, tmp, h->mode);
	return err;
}

/* To a name that nothing has; not every file system knows how to insist on that. */
static int move_to_free_name(const struct making *m, const char *tmp)
{
	int work = m->u->upper.work;
	int err = ply_layer_rename(work, tmp, m->fd->fd, m->name, RENAME_NOREPLACE);

	if (err != -EINVAL)
		return err;
	err = sys_access(m->fd->fd, m->name);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	return ply_layer_rename(work, tmp, m->fd->fd, m->name, 0);
}

/* A directory cannot replace a whiteout but can change places with it. */
static int move_over_whiteout(const struct making *m, const char *tmp)
{
	int work = m->u->upper.work;
	int err = ply_layer_rename(work, tmp, m->fd->fd, m->name, 0);

	if (err == -ENOTDIR) {
		err = ply_layer_rename(work, tmp, m->fd->fd, m->name, RENAME_EXCHANGE);
		if (!err)
			sys_unlink(work, tmp);
	}
	if (err == -EINVAL) {
		/* No exchange here: two steps, between which the lower one shows. */
		err = sys_unlink(m->fd->fd, m->name);
		if (!err)
			err = ply_layer_rename(work, tmp, m->fd->fd, m->name, 0);
	}
	return err;
}

/* Moves what was built to its name. */
static int move_in(const struct making *m, const char *tmp)
{
	int err = m->over ? move_over_whiteout(m, tmp) : move_to_free_name(m, tmp);

	if (!err)
		ply_upper_clear_aufs(&m->u->upper, m->fd->fd, m->name);
	return err;
}

static int make_in_work(const struct making *m)
{
	struct ply_upper *up = &m->u->upper;
	struct ply_work_name tmp = ply_work_new_name(up);
	struct ply_heritage h;
	int err = ply_inherit(m->u, m->dir, m->fd->fd, m->how, &h);

	if (!err)
		err = make_at(m->u, up->work, tmp.text, m->how, S_IRWXU & h.mode);
	if (err)
		return err;
	if (S_ISDIR(m->how->mode) && m->covers)
		err = ply_upper_set_opaque(up, up->work, tmp.text);
	if (!err)
		err = set_heritage(m, tmp.text, &h);
	if (!err)
		err = move_in(m, tmp.text);
	if (err)
		ply_work_remove(up, tmp.text);
	return err;
}

/* Does the file system give it to the caller by itself? */
static int is_ours(const struct ply_union *u, const struct ply_cred *cred)
{
	return cred->uid == u->uid && cred->gid == u->gid && !u->layers[PLY_UPPER].override;
}

static int make_in_place(const struct making *m)
{
	mode_t perm = m->how->mode & 07777;
	int acl = S_ISLNK(m->how->mode) ? 0 : ply_has_default_acl(m->u, m->dir, m->fd->fd);

	if (acl < 0)
		return acl;
	if (!acl)
		perm &= ~m->how->cred.umask;
	return make_at(m->u, m->fd->fd, m->name, m->how, perm);
}

/* dir->lock is held. */
static int make(struct making *m)
{
	int err = 0;

	if (ply_dir_nlowers(m->dir->dir)) {
		err = ply_name_shows(m->u, m->dir, m->name);
		if (err)
			return err < 0 ? err : -EEXIST;
		err = ply_lower_shows(m->u, m->dir, m->name);
		if (err < 0)
			return err;
	}
	m->covers = m->over = err;
	if (m->covers || !is_ours(m->u, &m->how->cred) || m->u->upper.kind == PLY_KIND_AUFS)
		err = make_in_work(m);
	else
		err = make_in_place(m);
	if (err != -EEXIST)
		return err;
	/* Something is there: a whiteout that hides nothing, or a name that is taken. */
	err = ply_name_shows(m->u, m->dir, m->name);
	if (err)
		return err < 0 ? err : -EEXIST;
	m->over = 1;
	return make_in_work(m);
}

/* Takes away again what could not be given a node. */
static void unmake(const struct making *m)
{
	struct ply_upper *up = &m->u->upper;
	struct ply_work_name taken;

	if (!m->covers)
		S_ISDIR(m->how->mode) ? sys_rmdir(m->fd->fd, m->name)
				      : sys_unlink(m->fd->fd, m->name);
	else if (!S_ISDIR(m->how->mode))
		ply_upper_whiteout_over(up, m->fd->fd, m->name);
	else if (!ply_upper_whiteout_swap(up, m->fd->fd, m->name, &taken))
		ply_work_remove(up, taken.text);
	ply_dir_hides(m->u, m->dir, m->name);
}

/* The node of what was made. dir->lock is held. */
static int attach(struct making *m, struct ply_entry *out)
{
	int err = ply_layer_statx(&m->u->layers[PLY_UPPER], m->fd->fd, m->name,
				  STATX_BASIC_STATS | STATX_BTIME, &out->attr);

	if (!err)
		err = ply_attach_new(m->u, m->dir, m->name, &out->attr, &out->node);
	if (err) {
		unmake(m);
		return err;
	}
	ply_dir_shows(m->u, m->dir, m->name, out->attr.stx_mode);
	pthread_mutex_lock(&out->node->lock);
	ply_attr_fix(m->u, out->node, &out->attr);
	pthread_mutex_unlock(&out->node->lock);
	ply_entry_give(m->u, out);
	return 0;
}

static int check_name(const char *name)
{
	if (strlen(name) > PLY_NAME_MAX)
		return -ENAMETOOLONG;
	return ply_name_is_reserved(name) ? -EPERM : 0;
}

int ply_create(struct ply_union *u, struct ply_node *dir, const char *name,
	       const struct ply_make *how, struct ply_entry *out)
{
	struct making m = { .u = u, .dir = dir, .name = name, .how = how };
	int err = check_name(name);

	if (err)
		return err;
	if (!ply_node_is_dir(dir))
		return -ENOTDIR;
	if (S_ISCHR(how->mode) && how->rdev == makedev(PLY_WHITEOUT_MAJOR, PLY_WHITEOUT_MINOR))
		return -EPERM;
	if (S_ISLNK(how->mode) && !how->target)
		return -EINVAL;
	err = ply_copyup(u, dir, PLY_WHOLE_FILE);
	if (err)
		return err;
	pthread_mutex_lock(&dir->lock);
	err = ply_node_has_name(u, dir) ? ply_dir_open(u, dir, PLY_UPPER, &m.fd) : -ENOENT;
	if (!err) {
		err = make(&m);
		if (!err)
			err = attach(&m, out);
		ply_fd_put(u->fds, m.fd);
	}
	pthread_mutex_unlock(&dir->lock);
	return err;
}

/* Gives a nameless file to its owner. */
static int give_tmpfile(struct ply_union *u, int fd, const struct ply_cred *cred, gid_t gid)
{
	struct ply_layer *upper = &u->layers[PLY_UPPER];
	struct statx made;
	int err = sys_statx(fd, "", STATX_BASIC_STATS, &made);

	if (!err)
		err = ply_layer_chown(upper, fd, "", cred->uid, gid);
	/* A change of owner takes set-id bits away; what an ACL left of the mode stays. */
	if (!err && (upper->override || (made.stx_mode & (S_ISUID | S_ISGID))))
		err = ply_layer_chmod(upper, fd, "", made.stx_mode & 07777);
	return err;
}

/* A nameless file of the upper, as it must be; the descriptor. dir->lock is held. */
static int open_tmpfile(struct ply_union *u, struct ply_node *dir, int dirfd,
			const struct ply_make *how)
{
	mode_t mode = how->mode & 07777;
	struct statx stx;
	int acl = ply_has_default_acl(u, dir, dirfd), fd, err = 0;
	gid_t gid = how->cred.gid;

	if (acl < 0)
		return acl;
	fd = ply_open_retry(u, dirfd, ".", O_TMPFILE | O_RDWR,
			    acl ? mode : mode & ~how->cred.umask);
	if (fd < 0 || is_ours(u, &how->cred))
		return fd;
	err = ply_layer_statx(&u->layers[PLY_UPPER], dirfd, "", STATX_MODE | STATX_GID, &stx);
	if (!err && (stx.stx_mode & S_ISGID))
		gid = stx.stx_gid;
	if (!err)
		err = give_tmpfile(u, fd, &how->cred, gid);
	if (err)
		sys_close(fd);
	return err ? err : fd;
}

static int attach_tmpfile(struct ply_union *u, int fd, struct ply_entry *out)
{
	struct ply_fd *held = ply_fd_single(fd, 0);
	int err;

	if (!held)
		return -ENOMEM;
	err = ply_layer_statx(&u->layers[PLY_UPPER], fd, "", STATX_BASIC_STATS | STATX_BTIME,
			      &out->attr);
	out->node = err ? NULL : ply_node_new(u, S_IFREG, NULL);
	if (!out->node) {
		ply_fd_put(u->fds, held);
		return err ? err : -ENOMEM;
	}
	out->node->held = held;
	atomic_fetch_add(&u->nheld, 1);
	atomic_init(&out->node->state, PLY_STATE_UPPER);
	out->node->ino = ply_ino_map(u, &out->attr);
	out->attr.stx_ino = out->node->ino;
	ply_entry_give(u, out);
	return 0;
}

int ply_tmpfile(struct ply_union *u, struct ply_node *dir, const struct ply_make *how,
		struct ply_entry *out)
{
	struct ply_fd *fd;
	int err, tmp = -1;

	if (!ply_node_is_dir(dir))
		return -ENOTDIR;
	err = ply_copyup(u, dir, PLY_WHOLE_FILE);
	if (err)
		return err;
	pthread_mutex_lock(&dir->lock);
	err = ply_node_has_name(u, dir) ? ply_dir_open(u, dir, PLY_UPPER, &fd) : -ENOENT;
	if (!err) {
		tmp = open_tmpfile(u, dir, fd->fd, how);
		ply_fd_put(u->fds, fd);
	}
	pthread_mutex_unlock(&dir->lock);
	if (err || tmp < 0)
		return err ? err : tmp;
	return attach_tmpfile(u, tmp, out);
}

/* A new name of a node. */
struct linking {
	struct ply_union *u;
	struct ply_node *node, *dir;
	const char *name;
	struct ply_fd *fd; /* the upper directory */
	int over;	   /* a whiteout has the name */
};

/* Links the node's inode to the name; over a whiteout by way of the work directory. */
static int link_inode(struct linking *l)
{
	struct ply_upper *up = &l->u->upper;
	struct ply_work_name tmp = ply_work_new_name(up);
	struct ply_place place;
	int err = ply_place_of(l->u, l->node, &place);

	if (err)
		return err;
	err = sys_link(place.fd, place.name, l->fd->fd, l->name);
	l->over = err == -EEXIST;
	if (l->over) {
		err = sys_link(place.fd, place.name, up->work, tmp.text);
		if (!err)
			err = sys_rename(up->work, tmp.text, l->fd->fd, l->name, 0);
		if (err)
			sys_unlink(up->work, tmp.text);
	}
	ply_place_put(l->u, &place);
	if (!err)
		ply_upper_clear_aufs(up, l->fd->fd, l->name);
	return err;
}

static void unlink_inode(const struct linking *l)
{
	if (l->over || l->u->upper.kind == PLY_KIND_AUFS)
		ply_upper_whiteout_over(&l->u->upper, l->fd->fd, l->name);
	else
		sys_unlink(l->fd->fd, l->name);
}

/* The attributes afterwards. Without them the link is taken back. */
static int link_and_stat(struct linking *l, struct statx *attr)
{
	struct ply_place place;
	int err =
		ply_node_leads_down(l->node) ? ply_origin_make_impure(l->u, l->dir, l->fd->fd) : 0;

	if (!err)
		err = link_inode(l);
	if (err)
		return err;
	err = ply_place_of(l->u, l->node, &place);
	if (!err) {
		err = ply_layer_statx(place.layer, place.fd, place.name,
				      STATX_BASIC_STATS | STATX_BTIME, attr);
		ply_place_put(l->u, &place);
	}
	if (err)
		unlink_inode(l);
	return err;
}

/* A file that has one, or never had: not one that was removed. 0 or -errno. */
static int may_get_name(struct ply_union *u, struct ply_node *node)
{
	int links;

	if (!node->names || ply_node_has_name(u, node))
		return 0;
	links = ply_links_left(u, node);
	if (links > 0)
		return 0;
	return links ? links : -ENOENT;
}

/* dir->lock and node->lock are held. */
static int link_locked(struct linking *l, struct statx *attr)
{
	struct ply_union *u = l->u;
	struct ply_name *record;
	int err = ply_name_shows(u, l->dir, l->name);

	if (err)
		return err < 0 ? err : -EEXIST;
	err = ply_node_has_name(u, l->dir) ? may_get_name(u, l->node) : -ENOENT;
	if (!err)
		err = ply_dir_open(u, l->dir, PLY_UPPER, &l->fd);
	if (err)
		return err;
	err = ply_name_add(u, l->node, l->dir, l->name, PLY_NAME_FIRST, &record);
	if (!err) {
		err = link_and_stat(l, attr);
		if (err) {
			ply_name_kill(u, record);
		} else {
			record->in_upper = 1;
			ply_dir_shows(u, l->dir, l->name, ply_node_type(l->node));
			ply_attr_fix(u, l->node, attr);
		}
	}
	ply_fd_put(u->fds, l->fd);
	return err;
}

int ply_link(struct ply_union *u, struct ply_node *node, struct ply_node *dir, const char *name,
	     struct ply_entry *out)
{
	struct linking l = { .u = u, .node = node, .dir = dir, .name = name };
	struct ply_node *const both[PLY_LOCK_NODES] = { dir, node };
	int err = check_name(name);

	if (err)
		return err;
	if (!ply_node_is_dir(dir))
		return -ENOTDIR;
	if (ply_node_is_dir(node))
		return -EPERM;
	err = ply_copyup_to_move(u, node);
	if (!err)
		err = ply_copyup(u, dir, PLY_WHOLE_FILE);
	if (err)
		return err;
	ply_nodes_lock(both);
	err = link_locked(&l, &out->attr);
	if (!err && node->held) {
		/* It has a name now, and is reached by that like any other. */
		ply_fd_put(u->fds, node->held);
		node->held = NULL;
		atomic_fetch_sub(&u->nheld, 1);
	}
	ply_nodes_unlock(both);
	if (err)
		return err;
	ply_node_ref(u, node);
	out->node = node;
	ply_entry_give(u, out);
	return 0;
}
