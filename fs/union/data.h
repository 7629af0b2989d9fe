/*
 * Descriptors of file data, cached by node: one slot for the lower file, one for the upper.
 */
#ifndef PLY_UNION_DATA_H
#define PLY_UNION_DATA_H

#include "union/node.h"
#include "union/place.h"

#define PLY_CAPABILITY "security.capability"

enum ply_slot {
	PLY_SLOT_UPPER =
		0, /* for directories the slot is the layer's index, so 0 is the upper too */
	PLY_SLOT_LOWER = 1,
};

/* As sys_open; when no descriptor is left, cached ones are closed and it is tried again. */
int ply_open_retry(struct ply_union *u, int dirfd, const char *name, int flags, mode_t mode);
/* As ply_layer_list, of an open directory whose own offset is not to be used. */
int ply_list_dir(struct ply_union *u, int dirfd, ply_list_fn fn, void *arg);
/* The node's data as it is now, for reading: the upper's when it is there. Put it with ply_fd_put. */
int ply_data_open(struct ply_union *u, struct ply_node *node, struct ply_fd **out);
/* The upper's, for reading and writing; the node has been brought up. */
int ply_data_open_upper(struct ply_union *u, struct ply_node *node, struct ply_fd **out);
/* The lower's, for reading; the node has not been brought up, or its copy-up is under way. */
int ply_data_open_lower(struct ply_union *u, struct ply_node *node, struct ply_fd **out);

/* Between these two, who wants to set what a write takes off waits: the file's times, mode, owner and capabilities. */
void ply_begin_write(struct ply_union *u, struct ply_node *node);
void ply_end_write(struct ply_union *u, struct ply_node *node);
/* After ply_begin_write: waits for who is setting it already. */
void ply_keep_lock_once(struct ply_union *u, struct ply_node *node);
/* Keeps writes to the file away while it is set; waits for those that are under way. */
void ply_keep_lock(struct ply_union *u, struct ply_node *node);
void ply_keep_unlock(struct ply_union *u, struct ply_node *node);

/*
 * A write that the kernel flushes later is nobody's write any more: the file keeps its capabilities, which
 * whoever wrote has lost already if that was due. But the file system below drops them from what we write.
 * They are asked for once; most files have none. The value's length, 0 for none, or -errno.
 */
ssize_t ply_caps(struct ply_node *node, int fd, void *value, size_t size);

enum ply_kill {
	PLY_KILL_USUAL,
	PLY_KILL_SGID_TOO, /* as PLY_SET_KILL_SGID */
};
/* The bits of mode that fall. */
mode_t ply_kill_bits(mode_t mode, enum ply_kill kill);
/* Drops them and security.capability from an upper file, as writing to it does. node->lock is held. */
int ply_kill_priv(struct ply_union *u, struct ply_node *node, enum ply_kill kill);

#endif
