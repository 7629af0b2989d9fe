/*
 * SEEK_DATA and SEEK_HOLE. The kernel asks without having written back what it holds (mappings hold
 * pages without the writeback cache, too), so that what the union says may be out of date in one
 * direction: there may be more data than it knows of.
 *
 * Where it says "data" that is true. Where it says "hole", a notification makes the kernel write
 * back from there on, by WRITE requests that another thread must serve; it also drops these pages
 * from its cache, which is why it is not done for a file without holes. Such a file may only have
 * grown: then the kernel has a page behind its end, and can be asked for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "wire/reply.h"

struct seek {
	fuse_req_t req;
	fuse_ino_t ino;
	off_t off;
	int whence;
	off_t found; /* what the union said before anything was written back */
};

static off_t ask_union(const struct seek *s)
{
	struct ply_wire *w = ply_wire_of(s->req);
	struct ply_node *node = ply_wire_node(w, s->ino);

	return node ? ply_lseek(w->cfg.u, node, s->off, s->whence) : -ESTALE;
}

static void finish(struct seek *s, off_t answer)
{
	ply_reply_offset(s->req, answer);
	free(s);
}

static void flush_and_finish(void *arg)
{
	struct seek *s = arg;
	off_t from = s->whence == SEEK_HOLE && s->found >= 0 ? s->found : s->off;

	fuse_lowlevel_notify_inval_inode(ply_wire_of(s->req)->se, s->ino, from, 0);
	finish(s, ask_union(s));
}

/* With nobody else to serve, ENOSYS lets the kernel take every file for data: never wrong. */
static void flush(struct seek *s)
{
	if (ply_loop_aside(flush_and_finish, s))
		finish(s, -ENOSYS);
}

/* The kernel's answer: is there a byte behind the end of the file as we know it? */
void ply_op_retrieve_reply(fuse_req_t req, void *cookie, fuse_ino_t ino, off_t off,
			   struct fuse_bufvec *data)
{
	struct seek *s = cookie;

	(void)ino;
	(void)off;
	if (data->buf[0].size)
		flush(s);
	else
		finish(s, s->found);
	ply_reply_none(req);
}

/* Is the hole that was found nothing but the end of the file? */
static int is_at_end(const struct seek *s)
{
	struct ply_wire *w = ply_wire_of(s->req);
	struct ply_node *node = ply_wire_node(w, s->ino);
	struct statx attr;

	return s->whence == SEEK_HOLE && s->found >= 0 && node &&
	       !ply_getattr(w->cfg.u, node, &attr) && s->found == (off_t)attr.stx_size;
}

void ply_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct ply_wire *w = ply_wire_of(req);
	struct seek *s = malloc(sizeof(*s));

	(void)fi;
	if (!s) {
		ply_reply_err(req, -ENOMEM);
		return;
	}
	*s = (struct seek){ .req = req, .ino = ino, .off = off, .whence = whence };
	s->found = ask_union(s);
	if (ply_union_readonly(w->cfg.u) || (whence == SEEK_DATA && s->found == off))
		finish(s, s->found);
	else if (!is_at_end(s) || fuse_lowlevel_notify_retrieve(w->se, ino, 1, s->found, s))
		flush(s);
}
