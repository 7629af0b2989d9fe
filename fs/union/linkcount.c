/* The directory of counts: reading, writing, and tying it to the stack. */
#include "union/linkcount.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "layer/binding.h"
#include "union/place.h"

#define COUNT_SIZE 16

/* Out of its place in one step, so that no crash leaves a part of it. */
static void forget_all(struct ply_union *u)
{
	struct ply_work_name tmp = ply_work_new_name(&u->upper);

	sys_close(atomic_exchange(&u->upper.counts, -1));
	if (sys_rename(u->upper.work_root, PLY_COUNTS_DIR, u->upper.work, tmp.text, 0) == 0)
		ply_work_remove(&u->upper, tmp.text);
}

void ply_linkcount_open(struct ply_union *u)
{
	const struct ply_binding_stack stack = { u->layers, u->nlayers };
	int fd;

	if (u->no_index)
		return;
	fd = ply_upper_open_beside(&u->upper, PLY_COUNTS_DIR, &u->upper.counts);
	if (fd >= 0 && ply_binding_check(&stack, fd) != PLY_BOUND_HERE)
		forget_all(u);
}

void ply_linkcount_rebind(struct ply_union *u)
{
	const struct ply_binding_stack stack = { u->layers, u->nlayers };

	if (u->upper.counts >= 0 && ply_binding_write_own(&u->upper, &stack, u->upper.counts, ""))
		forget_all(u);
}

/* The directory, made if there is none. Where no mark can be written none is kept. */
static int get_counts(struct ply_union *u)
{
	const struct ply_binding_stack stack = { u->layers, u->nlayers };
	const struct ply_bound_dir dir = { PLY_COUNTS_DIR, &u->upper.counts,
					   ply_binding_write_own };

	if (u->no_index || !u->upper.space)
		return -EOPNOTSUPP;
	return ply_bound_dir_get(&u->upper, &stack, &dir);
}

static int entry_of(const struct ply_place *lower, char entry[PLY_FH_TEXT])
{
	struct ply_fh origin;
	int len = ply_mark_encode(lower->layer, lower->fd, lower->name, &origin);

	if (len < 0)
		return len;
	ply_fh_text(&origin, entry);
	return 0;
}

void ply_linkcount_load(struct ply_union *u, struct ply_node *node, struct ply_node *dir,
			const char *name)
{
	struct ply_place lower = { .layer = &u->layers[node->layer], .name = name };
	char entry[PLY_FH_TEXT], value[COUNT_SIZE] = "";
	long removed;

	if (u->upper.counts < 0 || ply_dir_open(u, dir, node->layer, &lower.dir))
		return;
	lower.fd = lower.dir->fd;
	if (entry_of(&lower, entry) == 0)
		sys_readlink(u->upper.counts, entry, value, sizeof(value) - 1);
	ply_place_put(u, &lower);
	removed = strtol(value, NULL, 10);
	/* This name is one that is left. */
	if (removed > 0 && node->inode && removed < node->inode->links)
		node->extra_links = (int32_t)-removed;
}

/* One that is there is replaced in one step. */
static int write_count(struct ply_union *u, int fd, const char *entry, int removed)
{
	struct ply_work_name tmp;
	char value[COUNT_SIZE];
	int err;

	snprintf(value, sizeof(value), "%d", removed);
	err = removed > 1 ? -EEXIST : sys_symlink(value, fd, entry);
	if (err != -EEXIST)
		return err;
	tmp = ply_work_new_name(&u->upper);
	err = sys_symlink(value, u->upper.work, tmp.text);
	if (err)
		return err;
	err = sys_rename(u->upper.work, tmp.text, fd, entry, 0);
	if (err)
		sys_unlink(u->upper.work, tmp.text);
	return err;
}

void ply_linkcount_save(struct ply_union *u, struct ply_node *node)
{
	int removed = -node->extra_links, is_last, fd;
	struct ply_place lower;
	char entry[PLY_FH_TEXT];

	PLY_ASSERT_LOCKED(&node->lock);
	if (ply_node_in_upper(node) || !node->inode || removed <= 0)
		return;
	is_last = (uint32_t)removed >= node->inode->links;
	fd = is_last ? u->upper.counts : get_counts(u);
	if (fd < 0 || ply_place_in_lower(u, node, &lower))
		return;
	if (entry_of(&lower, entry) == 0) {
		if (is_last)
			sys_unlink(fd, entry);
		else
			write_count(u, fd, entry, removed);
	}
	ply_place_put(u, &lower);
}

void ply_linkcount_drop(struct ply_union *u, const struct ply_fh *origin)
{
	char entry[PLY_FH_TEXT];

	ply_fh_text(origin, entry);
	if (u->upper.counts >= 0)
		sys_unlink(u->upper.counts, entry);
}
