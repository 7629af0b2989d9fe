/*
 * What is agreed on when the kernel says hello: the INIT request's flags, and which of them are
 * taken.
 */
#ifndef PLY_WIRE_INIT_H
#define PLY_WIRE_INIT_H

#include <stddef.h>
#include <stdint.h>

enum ply_init_wish {
	PLY_INIT_WRITEBACK = 1 << 0,
	PLY_INIT_ACL = 1 << 1,
	PLY_INIT_RECHECK = 1 << 2, /* files may change below us: a new time drops cached pages */
	PLY_INIT_WRITABLE = 1 << 3,
};

struct fuse_init_in;
struct fuse_init_out;

/* The flags that a request's body of len bytes offers. */
uint64_t ply_init_offered(const struct fuse_init_in *in, size_t len);
/* Replaces the flags that libfuse has put into a reply by those we want and were offered. */
void ply_init_choose(struct fuse_init_out *out, uint64_t offered, unsigned wishes);

#endif
