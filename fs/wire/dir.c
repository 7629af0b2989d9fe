/*
 * Listing directories. An entry carries its attributes along and counts as a lookup of its node;
 * "." and ".." only tell number and type.
 */
#include <errno.h>
#include <string.h>

#include "layer/marks.h"
#include "wire/reply.h"

struct page {
	const struct ply_wire *w;
	char *buf;
	size_t size, used;
};

static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

/* Room for an entry of head bytes and its name, padded with zeros; NULL when there is none. */
static char *page_add(struct page *page, size_t head, size_t namelen)
{
	size_t len = padded(head + namelen);
	char *at = page->buf + page->used;

	if (len > page->size - page->used)
		return NULL;
	memset(at + len - 8, 0, 8);
	page->used += len;
	return at;
}

static int fill_plus(void *arg, const char *disk, const struct ply_entry *entry, uint64_t cookie)
{
	char room[PLY_NAME_MAX + 1];
	const char *name = ply_name_from_disk(disk, room);
	struct page *page = arg;
	size_t namelen = strlen(name);
	struct ply_direntplus *out = (void *)page_add(page, sizeof(*out), namelen);

	if (!out)
		return 0;
	ply_entry_out(page->w, entry, &out->entry);
	out->ino = ply_ino_out(page->w, entry->attr.stx_ino);
	out->off = cookie;
	out->namelen = (uint32_t)namelen;
	out->type = (entry->attr.stx_mode & S_IFMT) >> 12;
	memcpy(out->name, name, namelen);
	return 1;
}

static int fill_names(void *arg, const char *disk, const struct ply_entry *entry, uint64_t cookie)
{
	char room[PLY_NAME_MAX + 1];
	const char *name = ply_name_from_disk(disk, room);
	struct page *page = arg;
	size_t namelen = strlen(name);
	struct ply_dirent *out = (void *)page_add(page, sizeof(*out), namelen);

	if (!out)
		return 0;
	out->ino = ply_ino_out(page->w, entry->attr.stx_ino);
	out->off = cookie;
	out->namelen = (uint32_t)namelen;
	out->type = (entry->attr.stx_mode & S_IFMT) >> 12;
	memcpy(out->name, name, namelen);
	if (entry->node)
		ply_forget(page->w->cfg.u, entry->node, 1);
	return 1;
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, ply_fill_fn fill)
{
	struct ply_wire *w = ply_wire_of(req);
	struct ply_node *node = ply_wire_node(w, ino);
	struct page page = { .w = w, .buf = ply_task.room };
	int err;

	page.size = size < ply_task.room_size ? size : ply_task.room_size;
	err = node ? ply_readdir(w->cfg.u, node, (uint64_t)off, fill, &page) : -ESTALE;
	/* What was filled in has been looked up: it goes out, and the error with the next page. */
	ply_reply_data(req, err && !page.used ? err : (ssize_t)page.used, page.buf);
}

void ply_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, fill_plus);
}

/* For kernels without READDIRPLUS; nodes that exist only for this are forgotten at once. */
void ply_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, fill_names);
}
