/* The hard link table and its holder directory. */
#include "links.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "base/sys.h"
#include "base/table.h"
#include "walk.h"

#define TABLE_START 64

struct known {
	struct ply_link link;
	struct ply_links_key key;
	uint64_t left; /* names to come */
	struct known *prev, *next;
};

struct ply_links {
	int dirfd;
	int holder; /* -1 before it is made */
	char holder_name[48];
	struct ply_table table;
	struct known *all;
};

struct name {
	char text[48];
};

struct ply_links_key ply_links_key(const struct statx *stx)
{
	return (struct ply_links_key){ .dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
				       .ino = stx->stx_ino,
				       .names = stx->stx_nlink };
}

struct ply_links *ply_links_new(int dirfd)
{
	struct ply_links *links = calloc(1, sizeof(*links));

	if (!links)
		return NULL;
	links->dirfd = dirfd;
	links->holder = -1;
	if (ply_table_init(&links->table, TABLE_START)) {
		free(links);
		return NULL;
	}
	return links;
}

static void forget(struct ply_links *links, struct known *k)
{
	ply_table_remove(&links->table, &k->link);
	if (k->prev)
		k->prev->next = k->next;
	else
		links->all = k->next;
	if (k->next)
		k->next->prev = k->prev;
	free(k);
}

int ply_links_free(struct ply_links *links)
{
	int err = 0;

	if (!links)
		return 0;
	if (links->holder >= 0) {
		sys_close(links->holder);
		err = ply_remove_tree(links->dirfd, links->holder_name);
	}
	while (links->all)
		forget(links, links->all);
	ply_table_free(&links->table);
	free(links);
	return err;
}

static uint64_t hash_of(const struct ply_links_key *key)
{
	uint64_t numbers[3] = { key->dev, key->ino, key->tag };

	return XXH3_64bits(numbers, sizeof(numbers));
}

static struct known *find(struct ply_links *links, const struct ply_links_key *key)
{
	struct ply_link *link = ply_table_find(&links->table, hash_of(key));

	for (; link; link = ply_table_next(link)) {
		struct known *k = ply_container(link, struct known, link);

		if (k->key.dev == key->dev && k->key.ino == key->ino && k->key.tag == key->tag)
			return k;
	}
	return NULL;
}

static struct name name_of(const struct ply_links_key *key)
{
	struct name name;

	snprintf(name.text, sizeof(name.text), "%llx-%llx-%x", (unsigned long long)key->dev,
		 (unsigned long long)key->ino, key->tag);
	return name;
}

int ply_links_take(struct ply_links *links, const struct ply_links_key *key, int dirfd,
		   const char *name)
{
	struct known *k = find(links, key);
	struct name kept = name_of(key);
	int err;

	if (!k)
		return 0;
	err = sys_link(links->holder, kept.text, dirfd, name);
	if (err && err != -EMLINK)
		return err;
	/* Full, or the last one: the holder's own name is of no more use. */
	if (err || --k->left == 0) {
		sys_unlink(links->holder, kept.text);
		forget(links, k);
	}
	return err ? 0 : 1;
}

/* Among the names of the tree, but not to be mistaken for one of them. */
static int make_holder(struct ply_links *links)
{
	uint64_t random[2] = { 0 };
	int err;

	if (links->holder >= 0)
		return 0;
	if (getrandom(random, sizeof(random), 0) < 0)
		return -errno;
	snprintf(links->holder_name, sizeof(links->holder_name), ".plyfs-%016llx%016llx",
		 (unsigned long long)random[0], (unsigned long long)random[1]);
	err = sys_mkdir(links->dirfd, links->holder_name, S_IRWXU);
	if (err)
		return err;
	links->holder =
		sys_open(links->dirfd, links->holder_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return links->holder < 0 ? links->holder : 0;
}

int ply_links_keep(struct ply_links *links, const struct ply_links_key *key, int dirfd,
		   const char *name)
{
	struct known *k;
	int err;

	if (key->names < 2)
		return 0;
	err = make_holder(links);
	if (!err)
		err = sys_link(dirfd, name, links->holder, name_of(key).text);
	if (err)
		return err;
	k = malloc(sizeof(*k));
	if (!k)
		return -ENOMEM;
	*k = (struct known){ .key = *key, .left = key->names - 1, .next = links->all };
	if (k->next)
		k->next->prev = k;
	links->all = k;
	ply_table_add(&links->table, &k->link, hash_of(key));
	return 0;
}
