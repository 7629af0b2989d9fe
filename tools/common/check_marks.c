/* The extended attributes of one inode: are they marks that mean something where they stand? */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "check.h"
#include "layer/override.h"
#include "layer/xattr.h"

#define LIST_MAX 65536

/* One inode that is looked at. */
struct inode {
	struct ply_check *c;
	unsigned layer;
	int dirfd;
	const char *name, *path;
	const struct statx *stx;
	struct ply_inode_marks *out;
};

static void found(const struct inode *i, enum ply_finding what, const char *detail)
{
	ply_found_fault(i->c, what, (int)i->layer, i->path, detail, PLY_LEFT);
}

/* Something that the attribute says, or does not say, and that ends when it goes. */
static void found_attr(const struct inode *i, enum ply_finding what, const char *attr)
{
	enum ply_repair repair = ply_repair_attr(i->c, what, i->layer, i->path, attr);

	ply_found_fault(i->c, what, (int)i->layer, i->path, attr, repair);
}

static int has(const struct ply_mark *m, char value)
{
	return m->size == 1 && m->value[0] == value;
}

static void on_opaque(const struct inode *i, const struct ply_mark *m)
{
	if (!S_ISDIR(i->stx->stx_mode)) {
		found_attr(i, PLY_FOUND_WRONG_TYPE, m->attr);
		return;
	}
	i->out->is_opaque |= has(m, PLY_OPAQUE_YES);
	i->out->announces |= has(m, PLY_OPAQUE_XWHITEOUTS);
	if (!has(m, PLY_OPAQUE_YES) && !has(m, PLY_OPAQUE_XWHITEOUTS))
		found_attr(i, PLY_FOUND_BAD_OPAQUE, m->attr);
}

static void on_whiteout(const struct inode *i, const struct ply_mark *m)
{
	i->out->has_whiteout = 1;
	if (!S_ISREG(i->stx->stx_mode))
		found_attr(i, PLY_FOUND_WRONG_TYPE, m->attr);
	else if (i->stx->stx_size)
		found_attr(i, PLY_FOUND_FULL_WHITEOUT, m->attr);
}

static void on_origin(const struct inode *i, const struct ply_mark *m)
{
	struct ply_fh fh;

	if (!strncmp(m->attr, PLY_SPACE_FUSE_PREFIX, strlen(PLY_SPACE_FUSE_PREFIX)))
		return; /* another format, and never read */
	if (!m->size)	/* the kernel's, where there are no handles */
		return;
	i->out->has_origin = 1;
	if (!ply_is_handle(m->value, m->size)) {
		found_attr(i, PLY_FOUND_BAD_ORIGIN, m->attr);
		return;
	}
	/* A layer that was an upper came from another stack. */
	if (!i->c->stack.has_upper || i->layer)
		return;
	memset(&fh, 0, sizeof(fh));
	memcpy(&fh, m->value, (size_t)m->size);
	if (!ply_check_handle(i->c, &fh))
		found_attr(i, PLY_FOUND_STALE_ORIGIN, m->attr);
}

static void on_redirect(const struct inode *i, const struct ply_mark *m)
{
	if (!S_ISDIR(i->stx->stx_mode) && !S_ISREG(i->stx->stx_mode)) {
		found_attr(i, PLY_FOUND_WRONG_TYPE, m->attr);
		return;
	}
	i->out->has_redirect = 1;
	memcpy(i->out->redirect, m->value, (size_t)m->size);
	i->out->redirect[m->size] = '\0';
}

static void on_metacopy(const struct inode *i, const struct ply_mark *m)
{
	if (!S_ISREG(i->stx->stx_mode)) {
		found_attr(i, PLY_FOUND_WRONG_TYPE, m->attr);
		return;
	}
	i->out->has_metacopy = 1;
	if (m->size == sizeof(struct ply_metacopy) &&
	    (uint8_t)m->value[0] == PLY_METACOPY_VERSION) {
		i->c->has_marks = 1;
		found(i, PLY_FOUND_UNSETTLED_MARK, m->attr);
	}
}

static void on_impure(const struct inode *i, const struct ply_mark *m)
{
	i->out->is_impure |= has(m, 'y');
	if (!S_ISDIR(i->stx->stx_mode))
		found_attr(i, PLY_FOUND_WRONG_TYPE, m->attr);
}

/* "U+1", "L-1" */
static void on_nlink(const struct inode *i, const struct ply_mark *m)
{
	const char *end = m->value + (m->size > 2 ? 2 : 0);

	while (*end >= '0' && *end <= '9')
		end++;
	if ((m->value[0] != 'U' && m->value[0] != 'L') ||
	    (m->value[1] != '+' && m->value[1] != '-') || end == m->value + 2 || *end)
		found_attr(i, PLY_FOUND_BAD_NLINK, m->attr);
}

static void on_known(const struct inode *i, const struct ply_mark *m)
{
	(void)i;
	(void)m;
}

static const struct {
	const char *mark;
	void (*look)(const struct inode *i, const struct ply_mark *m);
} known[] = {
	{ PLY_MARK_OPAQUE, on_opaque },	    { PLY_MARK_WHITEOUT, on_whiteout },
	{ PLY_MARK_ORIGIN, on_origin },	    { PLY_MARK_REDIRECT, on_redirect },
	{ PLY_MARK_METACOPY, on_metacopy }, { PLY_MARK_IMPURE, on_impure },
	{ PLY_MARK_NLINK, on_nlink },	    { PLY_MARK_UPPER, on_known },
	{ PLY_MARK_UUID, on_known },	    { PLY_MARK_PROTATTR, on_known },
	{ PLY_MARK_BINDING, on_known },	    { PLY_MARK_KEPT, on_known },
};

/* The same mark in another space, which is read only if it comes first: do they agree? */
static void look_for_twin(const struct inode *i, const struct ply_mark *m)
{
	char attr[PLY_XATTR_NAME_SIZE], value[PLY_REDIRECT_MAX + 1];
	ssize_t n;

	if (strncmp(m->attr, PLY_SPACE_TRUSTED_PREFIX, strlen(PLY_SPACE_TRUSTED_PREFIX)) != 0)
		return;
	snprintf(attr, sizeof(attr), "%s%s", PLY_SPACE_USER_PREFIX, m->mark);
	n = sys_getxattr(i->dirfd, i->name, attr, value, sizeof(value));
	if (n >= 0 && (n != m->size || memcmp(value, m->value, (size_t)n) != 0))
		ply_found_fault(i->c, PLY_FOUND_MARK_TWICE, (int)i->layer, i->path, m->mark,
				ply_repair_attr(i->c, PLY_FOUND_MARK_TWICE, i->layer, i->path,
						attr));
}

static int look_at_mark(const struct inode *i, const char *attr, const char *mark)
{
	struct ply_mark m = { .attr = attr, .mark = mark };

	m.size = sys_getxattr(i->dirfd, i->name, attr, m.value, sizeof(m.value) - 1);
	if (m.size == -ENODATA)
		return 0;
	if (m.size == -ERANGE) {
		found(i, PLY_FOUND_UNKNOWN_MARK, attr);
		return 0;
	}
	if (m.size < 0)
		return (int)m.size;
	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
		if (!strcmp(mark, known[k].mark)) {
			if (!i->out->space)
				i->out->space = !strncmp(attr, "user.", 5)
							? PLY_SPACE_USER_PREFIX
							: PLY_SPACE_TRUSTED_PREFIX;
			known[k].look(i, &m);
			look_for_twin(i, &m);
			return 0;
		}
	found(i, PLY_FOUND_UNKNOWN_MARK, attr);
	return 0;
}

/* A user's attribute that is kept one level deeper must have a name behind all its levels. */
static void look_at_escaped(const struct inode *i, const char *attr)
{
	static const char *const prefixes[] = { PLY_SPACE_TRUSTED_PREFIX, PLY_SPACE_USER_PREFIX };

	for (size_t p = 0; p < 2; p++) {
		const char *rest = attr + strlen(prefixes[p]);

		if (strncmp(attr, prefixes[p], strlen(prefixes[p])) != 0)
			continue;
		while (!strncmp(rest, PLY_ESCAPE, strlen(PLY_ESCAPE)))
			rest += strlen(PLY_ESCAPE);
		if (!*rest || !strcmp(rest, "overlay"))
			found_attr(i, PLY_FOUND_BAD_ESCAPE, attr);
	}
}

/* UID:GID:MODE, and perhaps a type. */
static int is_override(const char *value)
{
	static const char *const digits[] = { "0123456789", "0123456789", "01234567" };

	for (int i = 0; i < 3; i++) {
		size_t n = strspn(value, digits[i]);

		if (!n || (value[n] && value[n] != ':') || (i < 2 && !value[n]))
			return 0;
		value += n + (i < 2);
	}
	return 1;
}

static void look_at_override(const struct inode *i, const char *attr)
{
	static const char *const names[] = { NULL, PLY_OVERRIDE_SECURITY_STAT,
					     PLY_OVERRIDE_PREFIX "stat",
					     "user.fuseoverlayfs.override_stat" };
	const char *in_use = names[i->c->stack.layers[i->layer].override];
	char value[128];
	ssize_t n;

	if (!in_use || strcmp(attr, in_use) != 0)
		return;
	n = sys_getxattr(i->dirfd, i->name, attr, value, sizeof(value) - 1);
	if (n < 0 && n != -ERANGE)
		return;
	value[n > 0 ? n : 0] = '\0';
	if (!is_override(value))
		found(i, PLY_FOUND_BAD_OVERRIDE, attr);
}

int ply_check_marks(struct ply_check *c, unsigned layer, int dirfd, const char *name,
		    const char *path, const struct statx *stx, struct ply_inode_marks *out)
{
	struct inode i = { c, layer, dirfd, name, path, stx, out };
	char *list = malloc(LIST_MAX);
	ssize_t n = list ? sys_listxattr(dirfd, name, list, LIST_MAX) : -ENOMEM;
	int err = 0;

	*out = (struct ply_inode_marks){ 0 };
	if (n == -EOPNOTSUPP || n == -ENOSYS)
		n = 0;
	for (ssize_t pos = 0; pos < n && !err; pos += (ssize_t)strlen(list + pos) + 1) {
		const char *attr = list + pos, *mark = ply_xattr_mark(attr);

		look_at_override(&i, attr);
		if (mark && strcmp(mark, "override_stat") != 0)
			err = look_at_mark(&i, attr, mark);
		if (!mark || !*mark || !strcmp(mark, "overlay"))
			look_at_escaped(&i, attr);
	}
	free(list);
	return n < 0 ? (int)n : err;
}

/* ---- handles ---- */

int ply_is_handle(const void *value, ssize_t size)
{
	const struct ply_fh *fh = value;

	return size > PLY_FH_HEADER && size <= (ssize_t)sizeof(*fh) && fh->magic == PLY_FH_MAGIC &&
	       fh->len == size && fh->version == PLY_FH_VERSION;
}

int ply_check_handle(struct ply_check *c, const struct ply_fh *fh)
{
	int is_known = 0;

	for (unsigned l = c->stack.has_upper; l < c->stack.n; l++) {
		struct ply_layer *layer = &c->stack.layers[l];
		struct statx stx;
		int fd, err;

		if (memcmp(layer->uuid, fh->uuid, sizeof(layer->uuid)) != 0)
			continue;
		fd = sys_open(layer->root, ".", O_RDONLY | O_DIRECTORY, 0);
		err = fd < 0 ? fd : ply_mark_decode(layer, fd, fh, &stx);
		if (fd >= 0)
			sys_close(fd);
		if (!err)
			return 1;
		if (err != -ESTALE && err != -ENOENT && err != -EINVAL)
			return -1;
		is_known = 1;
	}
	return is_known ? 0 : -1;
}
