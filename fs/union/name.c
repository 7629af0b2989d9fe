/*
 * Names of nodes: a table by parent and name, and each node's list of its own. Both change under union->tree only, memory
 * only. What a name leads to on disk, place.c tells.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "union/node.h"

uint64_t ply_name_hash(const char *name, size_t len)
{
	return XXH3_64bits(name, len);
}

static uint64_t key_of(const struct ply_node *dir, const char *name, size_t len)
{
	return ply_name_hash(name, len) ^ (ply_node_id(dir) * 0x9e3779b97f4a7c15u);
}

static size_t name_size(const struct ply_name *name)
{
	return sizeof(*name) + name->len + 1;
}

void ply_name_forget_locked(struct ply_union *u, struct ply_name *name)
{
	u->name_bytes -= name_size(name);
	free(name);
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

int ply_node_is_unseen_locked(const struct ply_node *node)
{
	return atomic_load(&node->unseen) && !ply_name_live_locked(node);
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

/* Does no other record of its node lead to what the node's lower layer has? */
static int is_only_way_locked(const struct ply_name *name)
{
	if (name->elsewhere)
		return !name->node->names->next;
	for (const struct ply_name *n = name->node->names; n; n = n->next)
		if (n != name && !n->elsewhere)
			return 0;
	return 1;
}

void ply_name_kill(struct ply_union *u, struct ply_name *name)
{
	struct ply_node *node = name->node, *parent = NULL;

	pthread_mutex_lock(&u->tree);
	ply_table_remove(&u->names, &name->link);
	name->dead = 1;
	if (!is_only_way_locked(name)) {
		remove_from_node_locked(node, name);
		parent = name->parent;
		ply_name_forget_locked(u, name);
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
	ply_name_forget_locked(u, old);
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
	ply_name_forget_locked(u, name);
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
