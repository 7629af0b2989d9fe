/*
 * The node table and the tables of names and hard links. Slots lie in chunks that never move, so a node id
 * is checked without a lock; its generation says whether the slot still is that node. All tables, reference
 * counts and name lists change under union->tree only, and no system call is made under it.
 */
#include "union/node.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "union/listing.h"
#include "union/redirect.h"

#define FIRST_TABLE_SIZE 4096

uint64_t ply_name_hash(const char *name, size_t len)
{
	return XXH3_64bits(name, len);
}

static uint64_t key_of(const struct ply_node *dir, const char *name, size_t len)
{
	return ply_name_hash(name, len) ^ (ply_node_id(dir) * 0x9e3779b97f4a7c15u);
}

/* Another chunk of free slots. */
static int add_chunk_locked(struct ply_union *u)
{
	struct ply_chunk *chunk;

	if (u->nchunks == PLY_CHUNKS)
		return -ENOMEM;
	chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	for (uint32_t i = PLY_CHUNK; i > 0; i--) {
		chunk->nodes[i - 1].refs = u->free_slot;
		u->free_slot = u->nchunks * PLY_CHUNK + i - 1;
	}
	atomic_store_explicit(&u->chunks[u->nchunks++], chunk, memory_order_release);
	return 0;
}

static struct ply_node *slot_node(struct ply_union *u, uint32_t slot)
{
	struct ply_chunk *chunk;

	if (slot >= PLY_CHUNK * PLY_CHUNKS)
		return NULL;
	chunk = atomic_load_explicit(&u->chunks[slot / PLY_CHUNK], memory_order_acquire);
	return chunk ? &chunk->nodes[slot % PLY_CHUNK] : NULL;
}

struct ply_node *ply_node_by_id(struct ply_union *u, uint64_t id)
{
	struct ply_node *node;

	if (id == PLY_ROOT_ID)
		return u->root;
	node = slot_node(u, (uint32_t)id);
	/* With it comes all that was written to the node before its id was given out, see ply_entry_give. */
	if (!node || !(id >> 32) ||
	    __atomic_load_n(&node->generation, __ATOMIC_ACQUIRE) != id >> 32)
		return NULL;
	return node;
}

struct ply_node *ply_root(struct ply_union *u)
{
	return u->root;
}

/* All but its generation, which somebody may be comparing with that of a stray id. */
static void set_up(struct ply_node *node, const struct ply_node *to)
{
	size_t before = offsetof(struct ply_node, generation),
	       after = before + sizeof(to->generation);

	memcpy(node, to, before);
	memcpy((char *)node + after, (const char *)to + after, sizeof(*to) - after);
}

struct ply_node *ply_node_new(struct ply_union *u, mode_t type, struct ply_dir *dir)
{
	struct ply_node *node = NULL;

	pthread_mutex_lock(&u->tree);
	if (u->free_slot != PLY_NO_SLOT || add_chunk_locked(u) == 0) {
		uint32_t slot = u->free_slot;

		node = slot_node(u, slot);
		u->free_slot = node->refs;
		if (++u->generation == 0)
			u->generation = 1;
		set_up(node, &(struct ply_node){
				     .slot = slot & (PLY_CHUNK * PLY_CHUNKS - 1),
				     .kind = type >> 12 & 15,
				     .refs = 1,
				     .dir = dir,
			     });
		__atomic_store_n(&node->generation, u->generation, __ATOMIC_RELAXED);
		pthread_mutex_init(&node->lock, NULL);
		u->nodes++;
	}
	pthread_mutex_unlock(&u->tree);
	if (node && dir)
		dir->node = node;
	return node;
}

static void drop_fds(struct ply_union *u, struct ply_node *node)
{
	ply_fdcache_drop(u->fds, node, 0);
	if (!ply_node_is_dir(node)) {
		ply_fdcache_drop(u->fds, node, 1);
		return;
	}
	for (unsigned i = 0; i < node->dir->nlowers; i++)
		ply_fdcache_drop(u->fds, node, node->dir->lowers[i].layer);
}

void ply_dir_free(struct ply_dir *dir)
{
	if (dir)
		ply_moved_free(dir->moved);
	free(dir);
}

/* Frees what the node holds; it is in no table any more. */
static void release(struct ply_union *u, struct ply_node *node)
{
	drop_fds(u, node);
	if (node->held) {
		ply_fd_put(u->fds, node->held);
		atomic_fetch_sub(&u->nheld, 1);
	}
	if (ply_node_is_dir(node)) {
		ply_listing_drop(u, node->dir);
		ply_dir_free(node->dir);
	} else {
		free(node->inode);
		free(node->lowerdata);
	}
	pthread_mutex_destroy(&node->lock);
}

static size_t name_size(const struct ply_name *name)
{
	return sizeof(*name) + name->len + 1;
}

static void free_name_locked(struct ply_union *u, struct ply_name *name)
{
	u->name_bytes -= name_size(name);
	free(name);
}

/* Takes an unused node out of all tables; *parents is the chain of names whose parents lose a reference. */
static void unhash_locked(struct ply_union *u, struct ply_node *node)
{
	for (struct ply_name *name = node->names; name; name = name->next)
		if (!name->dead)
			ply_table_remove(&u->names, &name->link);
	if (!ply_node_is_dir(node) && node->inode)
		ply_table_remove(&u->inodes, &node->inode->link);
	__atomic_store_n(&node->generation, 0, __ATOMIC_RELAXED);
}

static int is_unused_locked(const struct ply_union *u, const struct ply_node *node)
{
	return !node->refs && !node->lookups && node != u->root;
}

/*
 * Frees node, when nobody uses it, and then whichever of its parents that leaves unused. A file with names
 * in several directories may end several parents; they are chained through names->link.next.
 */
static void reap(struct ply_union *u, struct ply_node *node)
{
	struct ply_name *pending = NULL;

	for (;;) {
		struct ply_name *names = NULL;
		int unused;

		pthread_mutex_lock(&u->tree);
		unused = is_unused_locked(u, node) && node->generation;
		if (unused) {
			unhash_locked(u, node);
			names = node->names;
			node->names = NULL;
		}
		pthread_mutex_unlock(&u->tree);
		if (unused) {
			release(u, node);
			pthread_mutex_lock(&u->tree);
			node->refs = u->free_slot;
			u->free_slot = node->slot;
			u->nodes--;
			pthread_mutex_unlock(&u->tree);
		}
		while (names) {
			struct ply_name *next = names->next;

			if (names->parent == u->work_node)
				ply_work_remove(&u->upper, names->text);
			names->next = pending;
			pending = names;
			names = next;
		}
		if (!pending)
			return;
		pthread_mutex_lock(&u->tree);
		node = pending->parent;
		node->refs--;
		names = pending;
		pending = pending->next;
		free_name_locked(u, names);
		pthread_mutex_unlock(&u->tree);
	}
}

/* Is nodes[i] one to lock, and none of those before it? */
static int is_first(struct ply_node *const nodes[PLY_LOCK_NODES], unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (nodes[j] == nodes[i])
			return 0;
	return nodes[i] != NULL;
}

void ply_nodes_lock(struct ply_node *const nodes[PLY_LOCK_NODES])
{
	unsigned waits = 0, i;

	while (!nodes[waits])
		waits++;
	for (;;) {
		pthread_mutex_lock(&nodes[waits]->lock);
		for (i = 0; i < PLY_LOCK_NODES; i++)
			if (is_first(nodes, i) && nodes[i] != nodes[waits] &&
			    pthread_mutex_trylock(&nodes[i]->lock))
				break;
		if (i == PLY_LOCK_NODES)
			return;
		/* Somebody has nodes[i], perhaps waiting for one of ours. */
		pthread_mutex_unlock(&nodes[waits]->lock);
		for (unsigned j = 0; j < i; j++)
			if (is_first(nodes, j) && nodes[j] != nodes[waits])
				pthread_mutex_unlock(&nodes[j]->lock);
		waits = i;
	}
}

void ply_nodes_unlock(struct ply_node *const nodes[PLY_LOCK_NODES])
{
	for (unsigned i = 0; i < PLY_LOCK_NODES; i++)
		if (is_first(nodes, i))
			pthread_mutex_unlock(&nodes[i]->lock);
}

void ply_node_ref(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(&u->tree);
	node->refs++;
	pthread_mutex_unlock(&u->tree);
}

void ply_node_unref(struct ply_union *u, struct ply_node *node)
{
	int unused;

	pthread_mutex_lock(&u->tree);
	node->refs--;
	unused = is_unused_locked(u, node);
	pthread_mutex_unlock(&u->tree);
	if (unused)
		reap(u, node);
}

void ply_entry_give(struct ply_union *u, struct ply_entry *entry)
{
	entry->id = ply_node_id(entry->node);
	pthread_mutex_lock(&u->tree);
	entry->node->refs--;
	if (entry->node->lookups < UINT32_MAX)
		entry->node->lookups++;
	/* The kernel brings the id to another thread, which need not take a lock that this one had. */
	__atomic_store_n(&entry->node->generation, entry->node->generation, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&u->tree);
}

void ply_forget(struct ply_union *u, struct ply_node *node, uint64_t n)
{
	int unused;

	if (node == u->root)
		return;
	pthread_mutex_lock(&u->tree);
	if (node->lookups < UINT32_MAX)
		node->lookups -= n < node->lookups ? (uint32_t)n : node->lookups;
	unused = is_unused_locked(u, node);
	pthread_mutex_unlock(&u->tree);
	if (unused)
		reap(u, node);
}

static struct ply_name *find_name_locked(struct ply_union *u, struct ply_node *dir,
					 const char *text)
{
	size_t len = strlen(text);
	struct ply_link *link = ply_table_find(&u->names, key_of(dir, text, len));

	for (; link; link = ply_table_next(link)) {
		struct ply_name *name = ply_container(link, struct ply_name, link);

		if (name->parent == dir && name->len == len && !memcmp(name->text, text, len))
			return name;
	}
	return NULL;
}

struct ply_node *ply_tree_find(struct ply_union *u, struct ply_node *dir, const char *text)
{
	struct ply_node *node = NULL;
	struct ply_name *name;

	pthread_mutex_lock(&u->tree);
	name = find_name_locked(u, dir, text);
	if (name) {
		node = name->node;
		node->refs++;
	}
	pthread_mutex_unlock(&u->tree);
	return node;
}

struct ply_name *ply_name_alloc(struct ply_node *node, struct ply_node *dir, const char *text)
{
	size_t len = strlen(text);
	struct ply_name *name = malloc(sizeof(*name) + len + 1);

	if (!name)
		return NULL;
	*name = (struct ply_name){ .parent = dir, .node = node, .len = (uint8_t)len };
	memcpy(name->text, text, len + 1);
	return name;
}

void ply_name_free(struct ply_name *name)
{
	free(name);
}

static void hash_name_locked(struct ply_union *u, struct ply_name *name)
{
	ply_table_add(&u->names, &name->link, key_of(name->parent, name->text, name->len));
	name->parent->refs++;
	u->name_bytes += name_size(name);
}

int ply_name_add(struct ply_union *u, struct ply_node *node, struct ply_node *dir, const char *text,
		 unsigned how, struct ply_name **out)
{
	struct ply_name *name = ply_name_alloc(node, dir, text), **tail;

	if (!name)
		return -ENOMEM;
	name->in_upper = (how & PLY_NAME_UPPER) != 0;
	name->elsewhere = (how & PLY_NAME_ELSEWHERE) != 0;
	pthread_mutex_lock(&u->tree);
	hash_name_locked(u, name);
	tail = &node->names;
	if (!(how & PLY_NAME_FIRST) && *tail && !(*tail)->dead)
		while (*tail)
			tail = &(*tail)->next;
	name->next = *tail;
	*tail = name;
	pthread_mutex_unlock(&u->tree);
	if (out)
		*out = name;
	return 0;
}

struct ply_name *ply_name_live_locked(const struct ply_node *node)
{
	struct ply_name *name = node->names;

	while (name && name->dead)
		name = name->next;
	return name;
}

struct ply_name *ply_name_of(struct ply_union *u, struct ply_node *node, struct ply_node *dir,
			     const char *text)
{
	struct ply_name *name;

	pthread_mutex_lock(&u->tree);
	name = find_name_locked(u, dir, text);
	pthread_mutex_unlock(&u->tree);
	return name && name->node == node ? name : NULL;
}

static void remove_from_node_locked(struct ply_node *node, struct ply_name *name)
{
	struct ply_name **p = &node->names;

	while (*p != name)
		p = &(*p)->next;
	*p = name->next;
}

void ply_name_kill(struct ply_union *u, struct ply_name *name)
{
	struct ply_node *node = name->node, *parent = NULL;

	pthread_mutex_lock(&u->tree);
	ply_table_remove(&u->names, &name->link);
	name->dead = 1;
	if (node->names != name || name->next) {
		remove_from_node_locked(node, name);
		parent = name->parent;
		free_name_locked(u, name);
	}
	pthread_mutex_unlock(&u->tree);
	if (parent)
		ply_node_unref(u, parent);
}

/* The node's record old gives its place to name, and ends. */
static void put_in_place_locked(struct ply_union *u, struct ply_name *old, struct ply_name *name)
{
	struct ply_name **p = &old->node->names;

	while (*p != old)
		p = &(*p)->next;
	name->next = old->next;
	*p = name;
	free_name_locked(u, old);
}

void ply_name_replace(struct ply_union *u, struct ply_name *old, struct ply_name *name)
{
	struct ply_node *parent = old->parent;

	name->in_upper = old->in_upper;
	pthread_mutex_lock(&u->tree);
	ply_table_remove(&u->names, &old->link);
	hash_name_locked(u, name);
	put_in_place_locked(u, old, name);
	pthread_mutex_unlock(&u->tree);
	ply_node_unref(u, parent);
}

void ply_name_add_dead(struct ply_union *u, struct ply_name *name)
{
	struct ply_name **tail = &name->node->names;

	name->in_upper = 1;
	name->dead = 1;
	pthread_mutex_lock(&u->tree);
	name->parent->refs++;
	u->name_bytes += name_size(name);
	while (*tail)
		tail = &(*tail)->next;
	*tail = name;
	pthread_mutex_unlock(&u->tree);
}

void ply_name_remove_dead(struct ply_union *u, struct ply_name *name)
{
	struct ply_node *parent = name->parent;

	pthread_mutex_lock(&u->tree);
	remove_from_node_locked(name->node, name);
	free_name_locked(u, name);
	pthread_mutex_unlock(&u->tree);
	ply_node_unref(u, parent);
}

void ply_name_park(struct ply_union *u, struct ply_name *old, struct ply_name *name)
{
	struct ply_node *parent = old->parent;

	name->in_upper = 1;
	name->dead = 1;
	pthread_mutex_lock(&u->tree);
	if (!old->dead)
		ply_table_remove(&u->names, &old->link);
	name->parent->refs++;
	u->name_bytes += name_size(name);
	put_in_place_locked(u, old, name);
	pthread_mutex_unlock(&u->tree);
	ply_node_unref(u, parent);
}

int ply_node_has_name(struct ply_union *u, struct ply_node *node)
{
	int has;

	pthread_mutex_lock(&u->tree);
	has = node == u->root || ply_name_live_locked(node);
	pthread_mutex_unlock(&u->tree);
	return has;
}

int ply_node_each(struct ply_union *u, ply_node_fn fn, void *arg)
{
	int res = 0;

	for (unsigned c = 0; c < u->nchunks && !res; c++) {
		struct ply_chunk *chunk = u->chunks[c];

		for (unsigned i = 0; i < PLY_CHUNK && !res; i++)
			if (chunk->nodes[i].generation)
				res = fn(u, &chunk->nodes[i], arg);
	}
	return res;
}

static struct ply_dir *new_root_dir(struct ply_union *u, int has_upper)
{
	struct ply_dir *dir = calloc(1, sizeof(*dir) + u->nlayers * sizeof(dir->lowers[0]));

	if (!dir)
		return NULL;
	atomic_init(&dir->in_upper, (uint8_t)has_upper);
	dir->nlowers = (uint16_t)(u->nlayers - 1);
	for (unsigned i = 0; i < dir->nlowers; i++)
		dir->lowers[i].layer = (uint16_t)(i + 1);
	return dir;
}

/* A directory of the upper's that is none of the union. */
static struct ply_node *new_pseudo_dir(struct ply_union *u)
{
	struct ply_dir *dir = calloc(1, sizeof(*dir));
	struct ply_node *node = dir ? ply_node_new(u, S_IFDIR, dir) : NULL;

	if (!node)
		free(dir);
	return node;
}

int ply_tree_init(struct ply_union *u, int has_upper)
{
	struct ply_dir *dir;

	pthread_mutex_init(&u->rename_lock, NULL);
	pthread_mutex_init(&u->tree, NULL);
	pthread_mutex_init(&u->copy_lock, NULL);
	for (unsigned i = 0; i < PLY_TIMES_LOCKS; i++)
		pthread_mutex_init(&u->times_locks[i], NULL);
	pthread_mutex_init(&u->listing_lock, NULL);
	pthread_cond_init(&u->copy_done, NULL);
	u->free_slot = PLY_NO_SLOT;
	u->chunks = calloc(PLY_CHUNKS, sizeof(*u->chunks));
	if (!u->chunks || ply_table_init(&u->names, FIRST_TABLE_SIZE) ||
	    ply_table_init(&u->inodes, FIRST_TABLE_SIZE))
		return -ENOMEM;
	dir = new_root_dir(u, has_upper);
	u->root = dir ? ply_node_new(u, S_IFDIR, dir) : NULL;
	if (!u->root) {
		free(dir);
		return -ENOMEM;
	}
	u->root->layer = 1;
	u->work_node = new_pseudo_dir(u);
	u->index_node = new_pseudo_dir(u);
	return u->work_node && u->index_node ? 0 : -ENOMEM;
}

/* Everything at once: nobody else is here any more. */
void ply_tree_free(struct ply_union *u)
{
	for (unsigned c = 0; c < u->nchunks; c++) {
		struct ply_chunk *chunk = u->chunks[c];

		for (unsigned i = 0; i < PLY_CHUNK; i++) {
			struct ply_node *node = &chunk->nodes[i];

			if (!node->generation)
				continue;
			while (node->names) {
				struct ply_name *next = node->names->next;

				free(node->names);
				node->names = next;
			}
			release(u, node);
		}
		free(chunk);
	}
	free(u->chunks);
	ply_table_free(&u->names);
	ply_table_free(&u->inodes);
	pthread_cond_destroy(&u->copy_done);
	pthread_mutex_destroy(&u->listing_lock);
	for (unsigned i = 0; i < PLY_TIMES_LOCKS; i++)
		pthread_mutex_destroy(&u->times_locks[i]);
	pthread_mutex_destroy(&u->copy_lock);
	pthread_mutex_destroy(&u->tree);
	pthread_mutex_destroy(&u->rename_lock);
}
