/* Copy-up: an inode, then its data, go from a lower layer to the upper. The states in between are explained below. */
#include "union/copyup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/sys.h"
#include "layer/override.h"
#include "union/copybuild.h"
#include "union/data.h"
#include "union/fill.h"
#include "union/index.h"
#include "union/linkcount.h"
#include "union/lookup.h"
#include "union/origin.h"
#include "union/settle.h"

/*
 * The states of a node and the ways between them:
 *
 *     LOWER --- build, publish ---> META_UP     the inode with all but its data; the mark says so
 *       |                              |
 *       |                            fill       the data goes where it belongs
 *       |                              v
 *       +------ build, publish ---> DATA_UP     all is there, but perhaps not on the disk: the mark stays
 *       |                              |
 *       |                 sync, ply_settle_unmark
 *       |                              v
 *       +------ build, publish ---> UPPER       what has no data to lose; all, where marks cannot be written
 *
 *     (lower layers only) --- copy_dir ---> (with an upper directory)
 *
 * 1. What is published is whole: owner, mode, xattrs, times, and data or the mark metacopy; a crash before leaves it in
 *    the work directory.
 * 2. An inode whose data a crash could take has the mark. So what is found after a crash is the old content, or with
 *    the mark gone the new one, which was synced before.
 *    If only the server ends, its file system goes on: a mark of this boot says that the data is all there.
 * 3. The mark alone says where to read: what a crash left in a marked inode is no data, its size neither. fill begins
 *    with an empty file.
 * 4. A node goes up only, never back; its number, its names and who has it open stay. A node has ->lowerdata while it is
 *    META_UP or DATA_UP (and LOWER, if the lower inode is itself only metadata).
 * 5. No lock is held while data is copied. node->copying, under copy_lock, keeps other writers waiting;
 *    readers go on below. A rename or link of the file brings it up first, so its name cannot move meanwhile;
 *    an unlink can come between, and then the copy lives on as an unlinked file.
 */

void ply_before_long(struct ply_union *u)
{
	if (u->before_long)
		u->before_long(u->before_long_arg);
}

int ply_dir_times(int dirfd, struct ply_dir_times *t)
{
	struct statx stx;
	int err = sys_statx(dirfd, "", STATX_ATIME | STATX_MTIME, &stx);

	if (err)
		return err;
	t->ts[0] = (struct timespec){ .tv_sec = stx.stx_atime.tv_sec,
				      .tv_nsec = stx.stx_atime.tv_nsec };
	t->ts[1] = (struct timespec){ .tv_sec = stx.stx_mtime.tv_sec,
				      .tv_nsec = stx.stx_mtime.tv_nsec };
	return 0;
}

/* Moves what was built to its name; the parent's times stay what they were. Its lock is held. */
static int move_in(struct ply_union *u, const char *tmp, int dirfd, const char *name)
{
	struct ply_dir_times times;
	int err = ply_dir_times(dirfd, &times);
	mode_t mode;

	if (err)
		return err;
	err = ply_layer_rename(u->upper.work, tmp, dirfd, name, 0);
	/* A plain user's own directory may forbid its owner to add to it; the caller adds nothing. */
	if (err == -EACCES && ply_layer_unlock_dir(dirfd, &mode) == 0) {
		err = ply_layer_rename(u->upper.work, tmp, dirfd, name, 0);
		ply_layer_lock_dir(dirfd, mode);
	}
	if (!err)
		sys_utimens(dirfd, "", times.ts);
	return err;
}

/* The node's inode is the copy from now on, which has so many links. node->lock is held. */
static void go_up(struct ply_union *u, struct ply_copy *c, int links)
{
	struct ply_node *node = c->node;

	assert(node->state == PLY_STATE_LOWER);
	node->has_origin = (uint8_t)c->has_origin;
	if (!c->nattrs)
		atomic_store(&node->caps, PLY_NO);
	node->extra_links += (int32_t)c->stx.stx_nlink - links;
	free(node->lowerdata);
	node->lowerdata = c->lowerdata;
	atomic_fetch_add(&u->copyups, 1);
	if (c->limit == PLY_NO_DATA && c->lowerdata) {
		ply_node_set_state(node, PLY_STATE_META_UP);
		if (c->fd >= 0)
			sys_close(c->fd);
		return;
	}
	ply_node_set_state(node, c->lowerdata ? PLY_STATE_DATA_UP : PLY_STATE_UPPER);
	ply_fdcache_drop(u->fds, node, PLY_SLOT_LOWER);
	if (c->fd >= 0) {
		atomic_fetch_add(&u->copyup_bytes, c->stx.stx_size);
		ply_fd_put(u->fds, ply_fdcache_add(u->fds, node, PLY_SLOT_UPPER, c->fd, 0));
	}
}

/* The same with the entry of the index that was just made, one of so many links. */
static void go_up_indexed(struct ply_union *u, struct ply_copy *c, int links)
{
	if (c->node->extra_links < 0)
		ply_linkcount_drop(u, &c->origin);
	go_up(u, c, links);
	atomic_fetch_add(&u->names_left, 1);
	ply_index_save(u, c->node);
}

/* 1 if the index has the copy now, 0 if it need not or cannot; -errno. */
static int add_to_index(struct ply_union *u, struct ply_copy *c)
{
	if (!c->has_origin || c->stx.stx_nlink < 2)
		return 0;
	return ply_index_add(u, c->node, &c->origin, c->tmp.text, c->stx.stx_nlink);
}

/* The copy goes on by the name that it has in the work directory. */
static int publish_parked(struct ply_union *u, struct ply_copy *c)
{
	struct ply_name *record = ply_name_alloc(c->node, u->work_node, c->tmp.text);

	if (!record)
		return -ENOMEM;
	pthread_mutex_lock(&c->node->lock);
	ply_name_add_dead(u, record);
	go_up(u, c, 1);
	pthread_mutex_unlock(&c->node->lock);
	return 0;
}

/* Unlinked before it was copied: the copy gets no name, and is kept by its descriptor if there are enough. */
static int publish_nameless(struct ply_union *u, struct ply_copy *c)
{
	struct ply_node *node = c->node;
	int fd = c->fd;

	if (atomic_load(&u->nheld) >= u->held_budget)
		return publish_parked(u, c);
	if (fd < 0) {
		fd = ply_open_retry(u, u->upper.work, c->tmp.text, O_PATH | O_NOFOLLOW, 0);
		if (fd < 0)
			return fd;
	}
	sys_unlink(u->upper.work, c->tmp.text);
	pthread_mutex_lock(&node->lock);
	node->held = ply_fd_single(fd, 0);
	c->fd = -1;
	if (node->held) {
		go_up(u, c, 0);
		atomic_fetch_add(&u->nheld, 1);
	}
	pthread_mutex_unlock(&node->lock);
	return node->held ? 0 : -ENOMEM;
}

/*
 * Its other names, of which none was looked up, are to find it by the index: 1 when that has it, 0 if it cannot, -errno.
 * node->lock is held.
 */
static int publish_unseen_locked(struct ply_union *u, struct ply_copy *c)
{
	int err = c->lowerdata ? ply_settle_announce(u) : 0;

	if (!err)
		err = add_to_index(u, c);
	if (err <= 0)
		return err;
	sys_unlink(u->upper.work, c->tmp.text);
	go_up_indexed(u, c, 1);
	atomic_store(&c->node->unseen, PLY_UNSEEN);
	if (c->lowerdata)
		ply_settle_add(u, c->node);
	return 1;
}

/* No name is known of it, or none any more. */
static int publish_unnamed(struct ply_union *u, struct ply_copy *c)
{
	int links, err = 0;

	pthread_mutex_lock(&c->node->lock);
	links = (int)c->stx.stx_nlink + c->node->extra_links;
	if (links > 0)
		err = publish_unseen_locked(u, c);
	pthread_mutex_unlock(&c->node->lock);
	if (err)
		return err < 0 ? err : 0;
	/* Without an index it parts from them; it may get another one, and can by a name only. */
	return links > 0 ? publish_parked(u, c) : publish_nameless(u, c);
}

/* The directory of the name by which a node is brought up, with a reference, or NULL: it has no name. */
static struct ply_node *get_parent(struct ply_union *u, struct ply_node *node)
{
	struct ply_node *parent = NULL;
	struct ply_name *name;

	pthread_mutex_lock(&u->tree);
	name = ply_name_live_locked(node);
	if (name) {
		parent = name->parent;
		parent->refs++;
	}
	pthread_mutex_unlock(&u->tree);
	return parent;
}

/* The live name that node still has in parent, or NULL. */
static struct ply_name *name_in(struct ply_union *u, struct ply_node *node,
				const struct ply_node *parent)
{
	struct ply_name *name;

	pthread_mutex_lock(&u->tree);
	name = ply_name_live_locked(node);
	pthread_mutex_unlock(&u->tree);
	return name && name->parent == parent ? name : NULL;
}

/* What has no marks does without the origin as well. */
static int make_impure(struct ply_union *u, struct ply_copy *c, struct ply_node *parent, int fd)
{
	int err = ply_origin_make_impure(u, parent, fd);

	c->lacks_room = err == -ENOSPC;
	if (!c->lacks_room || !c->is_plain)
		return err;
	c->has_origin = 0;
	return 0;
}

/* parent->lock and node->lock are held; -EAGAIN when the name went meanwhile. */
static int publish_locked(struct ply_union *u, struct ply_copy *c, struct ply_node *parent)
{
	struct ply_name *name = name_in(u, c->node, parent);
	struct ply_fd *dir;
	int indexed, err;

	if (!name)
		return -EAGAIN;
	err = ply_dir_open(u, parent, PLY_UPPER, &dir);
	if (err)
		return err;
	if (c->lowerdata)
		err = ply_settle_announce(u);
	if (!err && (c->has_origin || c->lowerdata))
		err = make_impure(u, c, parent, dir->fd);
	if (!err)
		err = add_to_index(u, c);
	indexed = err > 0;
	if (err >= 0)
		err = move_in(u, c->tmp.text, dir->fd, name->text);
	ply_fd_put(u->fds, dir);
	if (err && indexed)
		ply_index_drop(u, c->node);
	if (err)
		return err;
	name->in_upper = 1;
	if (indexed)
		go_up_indexed(u, c, 2);
	else
		go_up(u, c, 1);
	if (c->lowerdata)
		ply_settle_add(u, c->node);
	ply_dir_shows(u, parent, name->text, ply_node_type(c->node));
	return 0;
}

static int copyup_dir(struct ply_union *u, struct ply_node *dir);

static int publish(struct ply_union *u, struct ply_copy *c)
{
	int err = -EAGAIN;

	while (err == -EAGAIN) {
		struct ply_node *parent = get_parent(u, c->node);

		if (!parent)
			return publish_unnamed(u, c);
		err = copyup_dir(u, parent);
		if (!err) {
			struct ply_node *const both[PLY_LOCK_NODES] = { parent, c->node };

			ply_nodes_lock(both);
			err = publish_locked(u, c, parent);
			ply_nodes_unlock(both);
		}
		ply_node_unref(u, parent);
	}
	return err;
}

static int is_done(const struct ply_node *node, off_t limit)
{
	return limit == PLY_NO_DATA ? ply_node_in_upper(node) : ply_node_has_data(node);
}

/* Becomes the one who copies, or waits for the one who does: 1 when there is nothing left to do. */
static int start_copying(struct ply_union *u, struct ply_node *node, off_t limit)
{
	int done;

	pthread_mutex_lock(&u->copy_lock);
	while (node->copying)
		pthread_cond_wait(&u->copy_done, &u->copy_lock);
	done = is_done(node, limit);
	if (!done)
		node->copying = 1;
	pthread_mutex_unlock(&u->copy_lock);
	return done;
}

static void end_copying(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(&u->copy_lock);
	node->copying = 0;
	pthread_cond_broadcast(&u->copy_done);
	pthread_mutex_unlock(&u->copy_lock);
}

static int build_once(struct ply_union *u, struct ply_copy *c)
{
	int err = ply_copy_build(u, c);

	if (err)
		return err;
	err = publish(u, c);
	if (err)
		ply_copy_discard(u, c);
	return err;
}

/*
 * Where all the room for attributes is taken by those of the file, or of its directory, the copy gets no marks: then it has to be
 * whole and on the disk before it is published. But names of one file need them, to stay so.
 */
static int build_and_publish(struct ply_union *u, struct ply_node *node, off_t limit,
			     const struct ply_patch *patch)
{
	struct ply_copy c = { .node = node, .limit = limit, .patch = patch };
	int err = build_once(u, &c);

	if (!err || !c.lacks_room || c.stx.stx_nlink > 1)
		return err;
	c = (struct ply_copy){ .node = node, .limit = limit, .patch = patch, .is_plain = 1 };
	return build_once(u, &c);
}

static int copyup_file(struct ply_union *u, struct ply_node *node, off_t limit)
{
	int err;

	if (start_copying(u, node, limit))
		return 0;
	err = ply_node_in_upper(node) ? ply_fill(u, node, limit)
				      : build_and_publish(u, node, limit, NULL);
	end_copying(u, node);
	return err;
}

/* Makes the directory, with all that the lower one has but its entries, in the work directory. node->lock is held. */
static int build_dir(struct ply_union *u, struct ply_node *node, const char *tmp)
{
	struct ply_place lower;
	struct statx stx;
	int err = ply_place_in_lower(u, node, &lower);

	if (err)
		return err;
	err = ply_layer_statx(lower.layer, lower.fd, lower.name, STATX_BASIC_STATS, &stx);
	if (!err)
		err = sys_mkdir(u->upper.work, tmp, S_IRWXU);
	if (!err) {
		err = ply_copy_lower_attrs(u, &lower, &stx, u->upper.work, tmp, NULL);
		if (err)
			sys_rmdir(u->upper.work, tmp);
	}
	ply_place_put(u, &lower);
	return err;
}

static void dir_is_up(struct ply_union *u, struct ply_node *node)
{
	atomic_store_explicit(&node->dir->in_upper, 1, memory_order_release);
	node->dir->version++;
	atomic_fetch_add(&u->copyups, 1);
}

/* Both locks are held, the parent has an upper directory and node has none. */
static int copy_dir_locked(struct ply_union *u, struct ply_node *parent, struct ply_node *node)
{
	struct ply_work_name tmp = ply_work_new_name(&u->upper);
	struct ply_fd *dir;
	int err = ply_dir_open(u, parent, PLY_UPPER, &dir);

	if (err)
		return err;
	err = build_dir(u, node, tmp.text);
	if (!err) {
		err = move_in(u, tmp.text, dir->fd, node->names->text);
		if (err)
			sys_rmdir(u->upper.work, tmp.text);
	}
	ply_fd_put(u->fds, dir);
	if (err)
		return err;
	dir_is_up(u, node);
	ply_dir_shows(u, parent, node->names->text, S_IFDIR);
	return 0;
}

/* It was removed, and who has it open changes it: it stays in the work directory. node->lock is held. */
static int park_dir_locked(struct ply_union *u, struct ply_node *node)
{
	struct ply_work_name tmp = ply_work_new_name(&u->upper);
	struct ply_name *record = ply_name_alloc(node, u->work_node, tmp.text);
	int err = record ? build_dir(u, node, tmp.text) : -ENOMEM;

	if (err) {
		ply_name_free(record);
		return err;
	}
	ply_name_add_dead(u, record);
	dir_is_up(u, node);
	return 0;
}

/* Brings up the directory itself, whose parent is up. */
static int copy_dir(struct ply_union *u, struct ply_node *node)
{
	struct ply_node *parent = get_parent(u, node);
	struct ply_node *const both[PLY_LOCK_NODES] = { parent, node };
	int err = 0;

	ply_nodes_lock(both);
	if (parent ? !name_in(u, node, parent) : ply_node_has_name(u, node))
		err = -EAGAIN;
	else if (!ply_node_in_upper(node))
		err = parent ? copy_dir_locked(u, parent, node) : park_dir_locked(u, node);
	ply_nodes_unlock(both);
	if (parent)
		ply_node_unref(u, parent);
	return err;
}

/* The topmost directory on the way to dir that has no upper one yet, with a reference. */
static struct ply_node *topmost_lower(struct ply_union *u, struct ply_node *dir)
{
	struct ply_node *top = dir;

	pthread_mutex_lock(&u->tree);
	while (top->names && !ply_node_in_upper(top->names->parent))
		top = top->names->parent;
	top->refs++;
	pthread_mutex_unlock(&u->tree);
	return top;
}

static int copyup_dir(struct ply_union *u, struct ply_node *dir)
{
	while (!ply_node_in_upper(dir)) {
		struct ply_node *top = topmost_lower(u, dir);
		int err = copy_dir(u, top);

		ply_node_unref(u, top);
		if (err && err != -EAGAIN)
			return err;
	}
	return 0;
}

int ply_copyup(struct ply_union *u, struct ply_node *node, off_t limit)
{
	if (ply_node_is_dir(node) ? ply_node_in_upper(node) : is_done(node, limit))
		return 0;
	if (ply_union_readonly(u))
		return -EROFS;
	return ply_node_is_dir(node) ? copyup_dir(u, node) : copyup_file(u, node, limit);
}

int ply_copyup_patched(struct ply_union *u, struct ply_node *node, const struct ply_patch *patch)
{
	int done = 0;

	if (ply_node_in_upper(node))
		return 0;
	if (ply_union_readonly(u))
		return -EROFS;
	if (start_copying(u, node, PLY_WHOLE_FILE))
		return 0;
	if (!ply_node_in_upper(node)) {
		int err = build_and_publish(u, node, PLY_WHOLE_FILE, patch);

		done = err ? err : 1;
	}
	end_copying(u, node);
	return done;
}

int ply_copyup_to_move(struct ply_union *u, struct ply_node *node)
{
	int err = ply_copyup(u, node, PLY_NO_DATA);

	if (err || ply_node_is_dir(node))
		return err;
	pthread_mutex_lock(&node->lock);
	err = ply_lowerdata_pin(u, node);
	pthread_mutex_unlock(&node->lock);
	/* A path that is too long for a mark: then there must be none. */
	return err ? ply_settle_node(u, node) : 0;
}
