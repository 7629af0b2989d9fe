/*
 * Files whose writers the kernel may serve from its cache without asking us. Before the first write to a file it asks
 * for the attribute security.capability, and not again until it has been told the file's attributes anew. So these
 * files are known; to be told of the next write to one, its attributes are taken back.
 */
#ifndef PLY_WIRE_WRITERS_H
#define PLY_WIRE_WRITERS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct ply_wire;

struct ply_writers {
	pthread_mutex_t lock;
	uint64_t *ids; /* a hash set of node ids, 0: free */
	size_t size, count;
};

void ply_writers_init(struct ply_writers *writers);
void ply_writers_free(struct ply_writers *writers);
/* Before the kernel is answered. Without memory it is asked before each write. */
int ply_writers_add(struct ply_wire *w, uint64_t id);
/* The next write to any of these files sends a GETATTR first. */
void ply_writers_ask(struct ply_wire *w);

#endif
