/*
 * The index of hard links. A node's way to its entry is one more name record, dead for the union, below the
 * pseudo directory index_node; on disk it is one link more, which extra_links takes off again.
 */
#include "union/index.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "union/data.h"
#include "union/linkcount.h"
#include "union/lowerdata.h"
#include "union/origin.h"
#include "union/remove.h"
#include "union/settle.h"

#define LINKS_MANY (1u << 30)

static struct ply_name *entry_of(struct ply_union *u, struct ply_node *node)
{
	struct ply_name *name;

	pthread_mutex_lock(&u->tree);
	name = node->names;
	while (name && name->parent != u->index_node)
		name = name->next;
	pthread_mutex_unlock(&u->tree);
	return name;
}

static int add_way(struct ply_union *u, struct ply_node *node, const char *entry)
{
	struct ply_name *record;

	record = ply_name_alloc(node, u->index_node, entry);
	if (!record)
		return -ENOMEM;
	ply_name_add_dead(u, record);
	return 0;
}

static int write_links(struct ply_union *u, int fd, const char *name, int32_t extra)
{
	char value[16];
	int n = snprintf(value, sizeof(value), "U%+d", extra);

	return ply_upper_set_mark(&u->upper, fd, name, PLY_MARK_NLINK, value, (size_t)n);
}

/*
 * "U" and the difference to the upper inode's count, or "L" and that to the lower's. Who cannot see it, as it is in a space that
 * needs privilege, takes all lower names for there: a count of too many does no harm. 0 or -errno.
 */
static int read_links(struct ply_union *u, const char *entry, const struct statx *upper,
		      uint32_t lower_links, int32_t *extra)
{
	char value[16] = "";
	ssize_t n = ply_mark_get(&u->layers[PLY_UPPER], u->upper.index, entry, PLY_MARK_NLINK,
				 value, sizeof(value) - 1);

	if (n < 0)
		return (int)n;
	if (n <= 1)
		*extra = lower_links > 1 ? (int32_t)lower_links - 1 : -1;
	else
		*extra = (int32_t)strtol(value + 1, NULL, 10);
	if (value[0] == 'L')
		*extra += (int32_t)lower_links - (int32_t)upper->stx_nlink;
	return 0;
}

/* The inode of an entry: 1, 0 for none or -errno. */
static int look(struct ply_union *u, const char *entry, struct statx *upper)
{
	int err = sys_statx(u->upper.index, entry, STATX_BASIC_STATS, upper);

	if (err == -ENOENT || err == -ENAMETOOLONG)
		return 0;
	return err ? err : 1;
}

/* Its descriptor; -EOPNOTSUPP where there can be none. */
static int get_index(struct ply_union *u)
{
	const struct ply_binding_stack stack = { u->layers, u->nlayers };
	const struct ply_bound_dir dir = { PLY_INDEX_DIR, &u->upper.index, ply_binding_write };

	return u->no_index ? -EOPNOTSUPP : ply_bound_dir_get(&u->upper, &stack, &dir);
}

int ply_index_open(struct ply_union *u, enum ply_bound *bound)
{
	struct ply_binding_stack stack = { u->layers, u->nlayers };
	int fd = u->no_index ? -1
			     : ply_upper_open_beside(&u->upper, PLY_INDEX_DIR, &u->upper.index),
	    where;

	if (fd < 0)
		return 0;
	where = ply_binding_check(&stack, fd);
	if (where < 0)
		return where;
	*bound = where;
	atomic_store(&u->names_left, 1);
	if (where != PLY_BOUND_HERE && where != PLY_BOUND_UNSAID && ply_index_has_entries(fd))
		return -ESTALE;
	/* It goes on with this stack; where that cannot be written, it was not before either. */
	if (where != PLY_BOUND_HERE)
		ply_binding_write(&u->upper, &stack, fd, "");
	return 0;
}

int ply_index_add(struct ply_union *u, struct ply_node *node, const struct ply_fh *origin,
		  const char *tmp, uint32_t lower_links)
{
	int fd = get_index(u), err;
	char entry[PLY_FH_TEXT];

	if (fd < 0)
		return fd == -EOPNOTSUPP ? 0 : fd;
	ply_fh_text(origin, entry);
	if (strlen(entry) > PLY_NAME_MAX)
		return 0;
	/* A crash between the two links, the entry and the name, must not leave a count of too few. */
	err = write_links(u, u->upper.work, tmp, (int32_t)lower_links + node->extra_links - 1);
	if (!err)
		err = sys_link(u->upper.work, tmp, fd, entry);
	if (err == -EEXIST) {
		/* Left by an inode that is no more, and whose number the lower file has got. */
		err = sys_unlink(fd, entry);
		if (!err)
			err = sys_link(u->upper.work, tmp, fd, entry);
	}
	if (err)
		return err == -EOPNOTSUPP ? 0 : err;
	err = add_way(u, node, entry);
	if (err)
		sys_unlink(fd, entry);
	return err ? err : 1;
}

void ply_index_drop(struct ply_union *u, struct ply_node *node)
{
	struct ply_name *record = entry_of(u, node);

	if (!record)
		return;
	sys_unlink(u->upper.index, record->text);
	ply_name_remove_dead(u, record);
}

/* A node for the inode of an index entry, found by a lower name; takes the data over. 0 or -errno. */
static int new_indexed(struct ply_union *u, const char *entry, const struct statx *upper,
		       const struct ply_index_lower *lower, struct ply_lowerdata *data,
		       struct ply_node **out)
{
	struct ply_node *node = ply_node_new(u, upper->stx_mode, NULL);
	int err;

	if (!node) {
		free(data);
		return -ENOMEM;
	}
	node->lowerdata = data;
	node->layer = (uint16_t)lower->layer;
	node->ino = ply_ino_map(u, lower->stx);
	node->has_origin = 1;
	atomic_init(&node->state, ply_lowerdata_state(data));
	err = read_links(u, entry, upper, lower->stx->stx_nlink, &node->extra_links);
	if (!err)
		err = add_way(u, node, entry);
	if (err) {
		ply_node_unref(u, node);
		return err;
	}
	*out = ply_inode_add(u, node, PLY_UPPER, upper);
	if (*out != node) {
		ply_node_unref(u, node);
	} else if (data) {
		pthread_mutex_lock(&node->lock);
		ply_settle_add(u, node);
		pthread_mutex_unlock(&node->lock);
	}
	return 0;
}

/* Every name of the lower file leads to its data, if the entry's inode has none. */
static int find_data(struct ply_union *u, const char *entry, const struct ply_index_lower *lower,
		     struct ply_lowerdata **data)
{
	int marked =
		ply_mark_metacopy(&u->layers[PLY_UPPER], u->upper.index, entry, u->filled.boot);
	int err;

	if (!marked) {
		free(*data);
		*data = NULL;
	}
	if (marked <= 0)
		return marked;
	err = *data ? 0
		    : ply_lowerdata_of_name(u, lower->dir, lower->layer, lower->name, lower->stx,
					    data);
	if (!err) {
		(*data)->was_found = 1;
		(*data)->filled = (marked & PLY_METACOPY_FILLED) != 0;
		(*data)->keeps = (marked & PLY_METACOPY_KEPT) != 0;
	}
	return err;
}

/* The name of the entry that it would have: 1, 0 where it has none or -errno. */
static int name_entry(struct ply_union *u, const struct ply_index_lower *lower,
		      char entry[PLY_FH_TEXT])
{
	struct ply_fd *fd;
	struct ply_fh fh;
	int res = ply_dir_open(u, lower->dir, lower->layer, &fd);

	if (res)
		return ply_is_trouble(res) ? res : 0;
	res = ply_mark_encode(&u->layers[lower->layer], fd->fd, lower->name, &fh);
	ply_fd_put(u->fds, fd);
	if (res < 0)
		return ply_is_trouble(res) ? res : 0;
	ply_fh_text(&fh, entry);
	return 1;
}

int ply_index_find(struct ply_union *u, const struct ply_index_lower *lower,
		   struct ply_lowerdata **data, struct ply_node **out)
{
	char entry[PLY_FH_TEXT];
	struct statx upper;
	int res = u->upper.index < 0 ? 0 : name_entry(u, lower, entry);

	*out = NULL;
	if (res > 0)
		res = look(u, entry, &upper);
	if (res <= 0 || (upper.stx_mode & S_IFMT) != (lower->stx->stx_mode & S_IFMT))
		return res < 0 ? res : 0;
	*out = ply_inode_find(u, PLY_UPPER, &upper);
	if (*out)
		return 0;
	res = find_data(u, entry, lower, data);
	if (res)
		return res;
	res = new_indexed(u, entry, &upper, lower, *data, out);
	*data = NULL;
	return res;
}

int ply_index_attach_upper(struct ply_union *u, struct ply_node *node, const struct ply_fh *origin,
			   const struct statx *upper, uint32_t lower_links)
{
	char entry[PLY_FH_TEXT];
	struct statx stx;
	int res;

	if (u->upper.index < 0)
		return 0;
	ply_fh_text(origin, entry);
	res = look(u, entry, &stx);
	if (res <= 0 || stx.stx_ino != upper->stx_ino)
		return res < 0 ? res : 0;
	res = read_links(u, entry, upper, lower_links, &node->extra_links);
	if (!res)
		res = add_way(u, node, entry);
	return res ? res : 1;
}

void ply_index_save(struct ply_union *u, struct ply_node *node)
{
	struct ply_name *record = entry_of(u, node);

	if (record)
		write_links(u, u->upper.index, record->text, node->extra_links);
	else
		ply_linkcount_save(u, node);
}

void ply_index_prune(struct ply_union *u, struct ply_node *node)
{
	struct ply_name *record = entry_of(u, node), *parked;
	struct ply_work_name tmp;
	struct statx stx;

	if (!record || sys_statx(u->upper.index, record->text, STATX_NLINK, &stx) ||
	    (int32_t)stx.stx_nlink + node->extra_links > 0)
		return;
	ply_hold(u, node);
	if (node->held) {
		ply_index_drop(u, node);
		node->extra_links++;
		return;
	}
	/* No descriptor to keep it by: on as an unlinked file of the work directory. */
	tmp = ply_work_new_name(&u->upper);
	parked = ply_name_alloc(node, u->work_node, tmp.text);
	if (parked && sys_rename(u->upper.index, record->text, u->upper.work, tmp.text, 0) == 0)
		ply_name_park(u, record, parked);
	else
		ply_name_free(parked);
}

/*
 * All names of a file are in the upper when the union counts one link less than its inode has, the entry. A count that is
 * relative to the lower file's, which is not at hand, tells nothing.
 */
static int is_needed(void *arg, const char *entry, unsigned char type, uint64_t ino)
{
	struct ply_union *u = arg;
	struct statx upper;
	int err = sys_statx(u->upper.index, entry, STATX_BASIC_STATS, &upper);
	int32_t extra;

	(void)ino;
	if (!err && type != DT_DIR)
		err = read_links(u, entry, &upper, LINKS_MANY, &extra);
	if (err || type == DT_DIR)
		return err;
	return extra >= 0;
}

static int remove_entry(void *arg, const char *entry, unsigned char type, uint64_t ino)
{
	const struct ply_union *u = arg;
	int err = type == DT_DIR ? 0 : sys_unlink(u->upper.index, entry);

	(void)ino;
	return err == -ENOENT ? 0 : err;
}

int ply_index_is_needed(struct ply_union *u)
{
	/* Links of a lower file that nobody sees are counted for ever: so counts alone would not do. */
	if (u->upper.index < 0 || atomic_load(&u->names_up) == atomic_load(&u->names_left))
		return 0;
	return ply_list_dir(u, u->upper.index, is_needed, u);
}

/* Its data is up, and it is in no list: it is synced, and the marks go. 0 or -errno. */
static int settle_unknown(struct ply_union *u, const char *entry)
{
	int fd = ply_layer_open_upper(u->upper.index, entry, O_RDONLY), err;

	if (fd < 0)
		return fd;
	err = u->sync ? sys_fsync(fd) : 0;
	/* The next sync would find nothing wrong. */
	if (err)
		ply_upper_set_mark(&u->upper, fd, "", PLY_MARK_METACOPY, "", 0);
	else
		err = ply_upper_remove_metacopy(&u->upper, fd, "", 1);
	sys_close(fd);
	return err;
}

struct settling {
	struct ply_union *u;
	int err; /* the first one */
};

/*
 * A node that was found by it is settled as all others are. Others that have it find the data, with the mark or without, and it was
 * synced before that goes.
 */
static int settle_entry(void *arg, const char *entry, unsigned char type, uint64_t ino)
{
	struct settling *s = arg;
	struct ply_union *u = s->u;
	struct ply_node *node;
	struct statx stx;
	int says, err;

	(void)ino;
	if (type == DT_DIR)
		return 0;
	says = ply_mark_metacopy(u->upper.layer, u->upper.index, entry, u->filled.boot);
	if (says >= 0 && !(says & PLY_METACOPY_FILLED))
		return 0;
	err = says < 0 ? says : sys_statx(u->upper.index, entry, STATX_INO, &stx);
	node = err ? NULL : ply_inode_find(u, PLY_UPPER, &stx);
	if (node)
		ply_node_unref(u, node);
	else if (!err)
		err = settle_unknown(u, entry);
	if (err && err != -ENOENT && !s->err)
		s->err = err;
	return 0;
}

int ply_index_settle(struct ply_union *u)
{
	struct settling s = { .u = u };
	int err = u->upper.index < 0 ? 0 : ply_list_dir(u, u->upper.index, settle_entry, &s);

	return err ? err : s.err;
}

/* Who has such a file open keeps it. */
static int hold_unnamed(struct ply_union *u, struct ply_node *node, void *arg)
{
	int err = 0;

	(void)arg;
	if (ply_node_is_dir(node) || ply_node_has_name(u, node) || !entry_of(u, node))
		return 0;
	pthread_mutex_lock(&node->lock);
	ply_hold_at_any_price(u, node);
	if (!node->held)
		err = -EMFILE;
	pthread_mutex_unlock(&node->lock);
	return err;
}

static int forget_entry(struct ply_union *u, struct ply_node *node, void *arg)
{
	struct ply_name *record = entry_of(u, node);

	(void)arg;
	if (record) {
		ply_name_remove_dead(u, record);
		node->extra_links = 0;
	}
	return 0;
}

int ply_index_retire(struct ply_union *u)
{
	int fd = u->upper.index, err;

	if (fd < 0)
		return 0;
	err = ply_node_each(u, hold_unnamed, NULL);
	if (!err)
		err = ply_list_dir(u, u->upper.index, remove_entry, u);
	if (err)
		return err;
	ply_node_each(u, forget_entry, NULL);
	atomic_store(&u->upper.index, -1);
	sys_close(fd);
	sys_rmdir(u->upper.work_root, PLY_INDEX_DIR);
	return 0;
}

int ply_index_link_up(struct ply_union *u, struct ply_node *node, struct ply_name *record, int fd)
{
	struct ply_place place;
	int err = ply_place_of(u, node, &place);

	if (err)
		return err;
	err = sys_link(place.fd, place.name, fd, record->text);
	ply_place_put(u, &place);
	if (err)
		return err;
	record->in_upper = 1;
	node->extra_links--;
	ply_index_save(u, node);
	return 0;
}
