/* A layer added to a union in use, see added.h. */
#include "added.h"

#include <errno.h>
#include <sys/stat.h>

static int keep(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct everything *e = arg;

	(void)name;
	(void)cookie;
	if (!entry->node)
		return 1;
	if (e->n == e->size) {
		e->size = e->size ? 2 * e->size : 64;
		e->v = realloc(e->v, e->size * sizeof(*e->v));
		assert_non_null(e->v);
	}
	e->v[e->n++] = *entry;
	return 1;
}

void hold_everything(struct bed *b, struct everything *e)
{
	*e = (struct everything){ 0 };
	assert_ok(ply_readdir(b->u, ply_root(b->u), 0, keep, e));
	for (size_t i = 0; i < e->n; i++)
		if (S_ISDIR(e->v[i].attr.stx_mode))
			assert_ok(ply_readdir(b->u, e->v[i].node, 0, keep, e));
}

void check_everything(struct bed *b, const struct everything *e)
{
	for (size_t i = 0; i < e->n; i++) {
		struct statx attr;

		assert_ptr_equal(ply_node_by_id(b->u, e->v[i].id), e->v[i].node);
		assert_ok(ply_getattr(b->u, e->v[i].node, &attr));
		assert_int_equal(attr.stx_ino, e->v[i].attr.stx_ino);
		assert_int_equal(attr.stx_mode, e->v[i].attr.stx_mode);
	}
}

void drop_everything(struct bed *b, struct everything *e)
{
	while (e->n)
		u_drop(b, &e->v[--e->n]);
	free(e->v);
}

int add_layer(struct bed *b, const char *path)
{
	struct ply_addition *add;
	struct ply_why why = { "" };
	int err = ply_add_open(b->u, bed_path(b, "%s", path), (dev_t)-1, &add, &why);

	if (!err)
		err = ply_add(b->u, add, &why);
	ply_add_free(add);
	if (err && getenv("PLY_VERBOSE"))
		print_error("add: %s\n", why.text);
	/* With a sentence for each error but "try again". */
	assert_true(!err == !why.text[0] || err == -EAGAIN);
	return err;
}

void check_adds(struct bed *b, unsigned n, const char *file, int line)
{
	struct ply_union_config how = b->cfg;
	unsigned flags = TREE_MTIME | TREE_NLINK;
	struct everything e;
	char layer[16], *live, *fresh;

	snprintf(layer, sizeof(layer), "l%u", n);
	put_dir(b, layer);
	hold_everything(b, &e);
	check_errno(add_layer(b, layer), 0, "adding the layer", file, line);
	check_everything(b, &e);
	live = tree_of_union(b, flags);
	drop_everything(b, &e);
	fresh = tree_of_union(b, flags);
	check_same_tree(fresh, live, file, line);
	free(fresh);
	bed_close(b);
	bed_open(b, n + 1, how.upper ? 0 : BED_READONLY, &how);
	fresh = tree_of_union(b, flags);
	check_same_tree(live, fresh, file, line);
	free(live);
	free(fresh);
}
