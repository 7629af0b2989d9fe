/* The set of files that may be written without a word, see the header. One lock covers it. */
#include "wire/writers.h"

#include <errno.h>
#include <stdlib.h>

#include "wire/session.h"

#define FIRST_SIZE 256

void ply_writers_init(struct ply_writers *writers)
{
	*writers = (struct ply_writers){ 0 };
	pthread_mutex_init(&writers->lock, NULL);
}

void ply_writers_free(struct ply_writers *writers)
{
	pthread_mutex_destroy(&writers->lock);
	free(writers->ids);
}

static void put(uint64_t *ids, size_t size, uint64_t id, size_t *count)
{
	size_t i = (id * 0x9e3779b97f4a7c15u >> 20) & (size - 1);

	while (ids[i] && ids[i] != id)
		i = (i + 1) & (size - 1);
	*count += !ids[i];
	ids[i] = id;
}

/* What the kernel has forgotten by now is left out: so the set is bounded by what it knows. */
static int make_room_locked(struct ply_wire *w, struct ply_writers *writers)
{
	size_t live = 0, count = 0, size = FIRST_SIZE;
	uint64_t *ids;

	for (size_t i = 0; i < writers->size; i++)
		if (writers->ids[i] && !ply_wire_node(w, writers->ids[i]))
			writers->ids[i] = 0;
		else
			live += writers->ids[i] != 0;
	while (size < live * 4)
		size *= 2;
	ids = calloc(size, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	for (size_t i = 0; i < writers->size; i++)
		if (writers->ids[i])
			put(ids, size, writers->ids[i], &count);
	free(writers->ids);
	writers->ids = ids;
	writers->size = size;
	writers->count = count;
	return 0;
}

int ply_writers_add(struct ply_wire *w, uint64_t id)
{
	struct ply_writers *writers = &w->writers;
	int err = 0;

	pthread_mutex_lock(&writers->lock);
	if (writers->count * 2 >= writers->size)
		err = make_room_locked(w, writers);
	if (!err)
		put(writers->ids, writers->size, id, &writers->count);
	pthread_mutex_unlock(&writers->lock);
	return err;
}

void ply_writers_ask(struct ply_wire *w)
{
	struct ply_writers *writers = &w->writers;
	uint64_t *ids;
	size_t size;

	pthread_mutex_lock(&writers->lock);
	ids = writers->ids;
	size = writers->size;
	writers->ids = NULL;
	writers->size = writers->count = 0;
	pthread_mutex_unlock(&writers->lock);
	for (size_t i = 0; i < size; i++)
		if (ids[i])
			fuse_lowlevel_notify_inval_inode(w->se, ids[i], -1, 0);
	free(ids);
}
