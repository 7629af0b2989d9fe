/* Nodes: the inodes of the union, their names, and the tables that find them. */
#ifndef PLY_UNION_NODE_H
#define PLY_UNION_NODE_H

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/fdcache.h"
#include "base/table.h"
#include "layer/layer.h"
#include "layer/upper.h"
#include "union/union.h"

/*
 * Locks, as nesting; a thread may take what stands further in, never further out:
 *
 *   settle_run                   who settles, or stops all settling
 *   keep_locks                   writes that give back what they take off, and the setting of that
 *   rename_lock                  renames that move between directories, one at a time
 *     node->lock                 several by ply_nodes_lock, which never waits for one while it holds another:
 *                                directories move, so no order of theirs would last
 *       union->tree              tables, names, reference counts: memory only
 *       listing_lock, copy_lock, settle_lock, fdcache: leaves
 *
 * No lock but node->lock is held across a system call, and node->lock not while file data is copied.
 * A directory's lock covers its entries on disk and its fields in ply_dir; a file's lock covers which name
 * and layer it is reached by (so a name stays what it was while a system call uses it), held, and state.
 */

#ifdef PLY_DEBUG
#define PLY_ASSERT_LOCKED(mutex) assert(pthread_mutex_trylock(mutex) == EBUSY)
#else
#define PLY_ASSERT_LOCKED(mutex) ((void)0)
#endif

#define PLY_UPPER 0 /* index of the upper in union->layers; lowers are 1 and up, topmost first */

/* A name in the union. The record of a removed name stays as the way to what a lower layer has there. */
struct ply_name {
	struct ply_link link;	 /* in union->names unless dead; tree */
	struct ply_node *parent; /* a reference; tree */
	struct ply_node *node;
	struct ply_name *next; /* other names of the node; tree */
	uint8_t len;
	uint8_t dead;	   /* removed from the union; tree */
	uint8_t in_upper;  /* the upper has this node by this name; node->lock */
	uint8_t elsewhere; /* it names the lower inode, in another layer than node->layer; tree */
	char text[];
};

/* Where a file's inode and data are; the arrows are in copyup.c. */
enum ply_state {
	PLY_STATE_LOWER,
	PLY_STATE_META_UP, /* the upper has the inode, its data is below */
	PLY_STATE_DATA_UP, /* the data is in the upper, the mark still says that it is below */
	PLY_STATE_UPPER,
};

/* An upper file that has other names, when none in memory is left. One that is found later tells, before this does. */
enum ply_unseen {
	PLY_NONE_UNSEEN,
	PLY_UNSEEN,
	PLY_SOUGHT, /* by ply_link_names_up, now or in vain */
};

struct ply_lowerdata;

/* 112 bytes; with its name a file costs less than 200. */
struct ply_node {
	pthread_mutex_t lock;
	uint32_t slot : 28;
	uint32_t kind : 4;   /* S_IFMT bits, see ply_node_type */
	uint32_t generation; /* 0: the slot is free */
	uint32_t refs;	     /* names below it, and who works on it without a lookup; tree */
	uint16_t layer; /* of the lower file, or of a directory's topmost; PLY_UPPER: none below */
	uint16_t writers;      /* writes under way; copy_lock */
	_Atomic uint8_t state; /* enum ply_state, changed under lock */
	_Atomic uint8_t
		caps; /* enum ply_known: has security.capability, which our own writes must keep */
	uint8_t has_origin;	/* upper: its number is that of a lower file; lock */
	uint8_t copying;	/* a thread brings it up, others wait; copy_lock */
	int32_t extra_links;	/* st_nlink of the union less that of the inode; lock */
	uint32_t lookups;	/* tree; as many as can be counted: then it stays for good */
	_Atomic uint8_t unseen; /* enum ply_unseen */
	uint64_t ino;		/* as the union shows it */
	struct ply_name *names; /* the first is the one it is reached by; tree and lock */
	union {
		struct ply_dir *dir;	 /* directories */
		struct ply_inode *inode; /* files with more than one link, else NULL; tree */
	};
	struct ply_fd *held; /* unlinked: what keeps the upper inode; lock */
	/* Where the data of an inode is that has the mark metacopy, see lowerdata.h; NULL for most files; lock */
	struct ply_lowerdata *lowerdata;
};

/* What a directory is in one lower layer. */
struct ply_dir_layer {
	uint16_t layer;
	_Atomic uint8_t announces; /* enum ply_known: has xattr whiteouts */
};

/*
 * Where a directory's lower parts are when not at its name in its parent's: redirects led to them, or it
 * was moved. Layers are immutable, so a path in one stays right whatever is renamed in the union.
 */
struct ply_moved {
	char *redirect; /* of the upper directory, or NULL */
	unsigned nruns;
	struct ply_run {
		uint16_t layer; /* from this layer down to the next run's */
		char *path;	/* from the layer's root */
	} runs[];
};

struct ply_listing;

enum ply_known {
	PLY_UNKNOWN,
	PLY_NO,
	PLY_YES,
};

struct ply_dir {
	struct ply_node *node;
	_Atomic uint8_t in_upper; /* changed under lock, never back */
	_Atomic uint8_t upper_announces;
	/* Of the lowers, those at the end that show no more: all else is up; changed under lock, never less. */
	_Atomic uint16_t hidden;
	uint8_t default_acl;	/* enum ply_known: the upper directory has one */
	_Atomic uint8_t impure; /* enum ply_known */
	uint16_t probes;	/* lookups answered without a listing */
	uint16_t nlowers;
	uint32_t listed;  /* when, of ply_listing_clock */
	uint64_t version; /* counts changes of entries: a lookup that saw it move starts again */
	struct ply_listing *listing;   /* or NULL */
	struct ply_moved *moved;       /* or NULL; tree */
	struct ply_dir *newer, *older; /* listing cache */
	size_t listing_bytes;	       /* as the listing cache counted it */
	struct ply_dir_layer lowers[]; /* topmost first, never changes */
};

/* Lower parts that show through. Open files may be in others, which are to be found for as long. */
static inline int ply_dir_nlowers(const struct ply_dir *dir)
{
	return dir->nlowers - atomic_load_explicit(&dir->hidden, memory_order_acquire);
}

/* All of it is up: none shows any more. dir->lock is held. */
static inline void ply_dir_hide_lowers(struct ply_dir *dir)
{
	atomic_store_explicit(&dir->hidden, dir->nlowers, memory_order_release);
}

/*
 * A file with several links is found by its inode, so that all names lead to one node. Lower layers may have links of
 * one inode, which are one file as well: the index of hard links, and so the next mount, would know no other.
 */
struct ply_inode {
	struct ply_link link;
	struct ply_node *node;
	uint64_t ino;
	dev_t dev;
	uint32_t links; /* of a lower one, which do not change */
	uint8_t in_upper;
};

#define PLY_KEEP_LOCKS 64
#define PLY_CHUNK 1024
#define PLY_CHUNKS 65536
#define PLY_NO_SLOT UINT32_MAX

struct ply_chunk {
	uint32_t used;
	struct ply_node nodes[PLY_CHUNK];
};

struct ply_union {
	struct ply_layer *layers;   /* [PLY_UPPER] has root -1 without an upper */
	unsigned nlayers;	    /* those that directories are merged of */
	unsigned nall;		    /* with the data-only ones behind them */
	struct ply_upper upper;	    /* work is -1 without an upper */
	char *mountpoint;	    /* resolved; NULL: not known */
	struct ply_layer_hole hole; /* of layers that may show the mountpoint */
	int sync;
	int lowers_change; /* see struct ply_union_config */
	unsigned keep_ms;
	int no_index; /* nor is one read */
	/* What may have left names of an upper file to lower layers only, and of it what has been undone; see index.h. */
	_Atomic uint64_t names_left, names_up;
	int metacopy;		    /* inodes without data stay so */
	struct ply_metacopy filled; /* the mark of files whose data is up, in this boot */
	enum ply_redirect_dir redirect_dir;
	uid_t uid; /* this process's, which file systems give to what it makes */
	gid_t gid;
	void (*before_long)(void *arg);
	void *before_long_arg;

	pthread_mutex_t rename_lock;
	pthread_mutex_t tree;
	/* By slot: a write that keeps times and the like, against others and against who sets them. */
	pthread_mutex_t keep_locks[PLY_KEEP_LOCKS];
	pthread_mutex_t copy_lock; /* with copy_done: waiting for node->copying to go */
	pthread_cond_t copy_done;

	struct ply_chunk *_Atomic *chunks; /* slots; entries set under tree */
	unsigned nchunks;
	uint32_t
		free_slot; /* the first one, or PLY_NO_SLOT; a free node's refs is the next; tree */
	uint32_t generation;
	struct ply_table names;	    /* by parent and name */
	struct ply_table inodes;    /* by layer, device and number */
	uint64_t name_bytes, nodes; /* tree */
	_Atomic uint64_t moves_begun,
		moves_done; /* renames of directories: a path opened meanwhile is opened again */

	int sync_whole; /* fsync of the upper's file system keeps no order: see union/sync.c */
	_Atomic uint64_t names_changed, names_synced;

	pthread_mutex_t listing_lock;
	struct ply_dir *newest, *oldest;
	size_t listing_bytes, listing_budget, listings;

	struct ply_fdcache *fds;
	size_t held_budget;
	_Atomic size_t nheld;

	dev_t fs_dev[128]; /* file systems by number; tree */
	unsigned nfs;
	struct ply_node *root;
	struct ply_node *index_node; /* parent of the records of index entries, see index.h */
	struct ply_node
		*work_node; /* parent of the names that unlinked files get in the work directory */
	_Atomic uint64_t copyups, copyup_bytes;

	/* Files with a mark to be taken off, oldest first, and the thread that does it; see settle.c. */
	pthread_mutex_t settle_lock;
	pthread_cond_t settle_wake;
	struct ply_lowerdata *unsettled, **unsettled_end;
	size_t nunsettled;
	pthread_mutex_t settle_run; /* one thread settles; outermost */
	int64_t search_again;	    /* second before which marks are not looked for; settle_run */
	int syncs_each;		    /* syncfs has failed; settle_run */
	_Atomic int has_lost;	    /* data of some file could not be synced */
	_Atomic int settles_all;    /* files that are to stay without data, too */
	int settler_runs, settler_ends;
	_Atomic int has_flag;  /* the work directory says that marks are left */
	_Atomic int must_find; /* it did so from the beginning: a server ended before its time */
	pthread_t settler;
};

/* Makes the tables and the root node, of all lowers and the upper if there is one. */
int ply_tree_init(struct ply_union *u, int has_upper);
void ply_tree_free(struct ply_union *u);

static inline uint64_t ply_node_id(const struct ply_node *node)
{
	return (uint64_t)__atomic_load_n(&node->generation, __ATOMIC_RELAXED) << 32 | node->slot;
}

static inline mode_t ply_node_type(const struct ply_node *node)
{
	return (mode_t)node->kind << 12;
}

static inline int ply_node_is_dir(const struct ply_node *node)
{
	return S_ISDIR(ply_node_type(node));
}

static inline int ply_node_in_upper(const struct ply_node *node)
{
	if (ply_node_is_dir(node))
		return atomic_load_explicit(&node->dir->in_upper, memory_order_acquire);
	return atomic_load_explicit(&node->state, memory_order_acquire) != PLY_STATE_LOWER;
}

/* Does the upper inode say where in lower layers it comes from? node->lock is held. */
static inline int ply_node_leads_down(const struct ply_node *node)
{
	return node->has_origin || (!ply_node_is_dir(node) && node->lowerdata);
}

/* One of the arrows in copyup.c. node->lock is held, and lowerdata is what the new state needs. */
static inline void ply_node_set_state(struct ply_node *node, enum ply_state state)
{
	assert(state > node->state);
	assert(state == PLY_STATE_UPPER || node->lowerdata);
	atomic_store_explicit(&node->state, (uint8_t)state, memory_order_release);
}

/* Is the data to be read from the upper? */
static inline int ply_node_has_data(const struct ply_node *node)
{
	return atomic_load_explicit(&node->state, memory_order_acquire) >= PLY_STATE_DATA_UP;
}

uint64_t ply_name_hash(const char *name, size_t len);

/* Of a directory that is no node, or no more. NULL is allowed. */
void ply_dir_free(struct ply_dir *dir);

/* The node of a name in memory with one more reference, or NULL. */
struct ply_node *ply_tree_find(struct ply_union *u, struct ply_node *dir, const char *name);
/* A node without a name, with one reference; NULL without memory. dir: fields for a directory, taken over. */
struct ply_node *ply_node_new(struct ply_union *u, mode_t type, struct ply_dir *dir);
void ply_node_ref(struct ply_union *u, struct ply_node *node);

/* Takes the locks of several nodes, among which some may be NULL or the same. */
#define PLY_LOCK_NODES 4
void ply_nodes_lock(struct ply_node *const nodes[PLY_LOCK_NODES]);
void ply_nodes_unlock(struct ply_node *const nodes[PLY_LOCK_NODES]);

void ply_node_unref(struct ply_union *u, struct ply_node *node);
/* Turns the reference of entry->node into a lookup, and sets the entry's id. */
void ply_entry_give(struct ply_union *u, struct ply_entry *entry);

/* Gives node a name, by which others may find it at once. -ENOMEM. */
enum ply_name_how {
	PLY_NAME_FIRST = 1 << 0,     /* before its other names; node->lock is held */
	PLY_NAME_UPPER = 1 << 1,     /* the upper has the node by this name */
	PLY_NAME_ELSEWHERE = 1 << 2, /* not in node->layer, but in another lower layer */
};
int ply_name_add(struct ply_union *u, struct ply_node *node, struct ply_node *dir, const char *name,
		 unsigned how, struct ply_name **out);
/* The first of node's names that the union shows: a removed one may stay, as the way below, while others come. NULL: none. tree is held. */
struct ply_name *ply_name_live_locked(const struct ply_node *node);
/* Has the upper file no name in memory, but others? tree is held. */
int ply_node_is_unseen_locked(const struct ply_node *node);
/* The live record of a name of node, or NULL. */
struct ply_name *ply_name_of(struct ply_union *u, struct ply_node *node, struct ply_node *dir,
			     const char *name);
/* Takes the name out of the union. The record stays with its node when no other one is the way below. */
void ply_name_kill(struct ply_union *u, struct ply_name *name);
/* Moving a name in two steps, of which the second cannot fail: a record, NULL without memory, ... */
struct ply_name *ply_name_alloc(struct ply_node *node, struct ply_node *dir, const char *text);
/* (one that was not needed is freed, NULL is allowed) */
void ply_name_free(struct ply_name *name);
/* One that was in use, and is in no table and no list any more. tree is held. */
void ply_name_forget_locked(struct ply_union *u, struct ply_name *name);
/* ... and its taking the old one's place. */
void ply_name_replace(struct ply_union *u, struct ply_name *old, struct ply_name *name);
/* Gives a node a way to its upper inode that is no name of the union: below index_node or work_node. */
void ply_name_add_dead(struct ply_union *u, struct ply_name *name);
/* Takes such a way off again. */
void ply_name_remove_dead(struct ply_union *u, struct ply_name *name);
/*
 * An unlinked file goes on under a name in the work directory: that name (of ply_name_alloc with
 * parent work_node) takes the place of its last one, and the file is removed with the node.
 */
void ply_name_park(struct ply_union *u, struct ply_name *old, struct ply_name *name);
/* Is the node reached by a name at all? Unlinked nodes are not. */
int ply_node_has_name(struct ply_union *u, struct ply_node *node);

/*
 * All nodes, while no other call is running: not 0 ends it, and is returned. fn may not free the node.
 */
typedef int (*ply_node_fn)(struct ply_union *u, struct ply_node *node, void *arg);
int ply_node_each(struct ply_union *u, ply_node_fn fn, void *arg);

/* Hard links: the node of an inode with one more reference, or NULL. */
struct ply_node *ply_inode_find(struct ply_union *u, unsigned layer, const struct statx *stx);
/*
 * Makes node the one that is found, and returns it; or the one that another lookup has made so meanwhile,
 * with one more reference. No error: without memory it is not found.
 */
struct ply_node *ply_inode_add(struct ply_union *u, struct ply_node *node, unsigned layer,
			       const struct statx *stx);

/* Makes the node be found by another inode; stx NULL: the same numbers, in another layer. Nothing if it is found by none. */
void ply_inode_move(struct ply_union *u, struct ply_node *node, unsigned layer,
		    const struct statx *stx);

/* The union's number for an inode of a layer's file system. */
uint64_t ply_ino_map(struct ply_union *u, const struct statx *stx);

#endif
