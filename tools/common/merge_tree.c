/* The directories of a new layer, one after the other: what is in them, then what they say of the layers below. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/sys.h"
#include "interrupt.h"
#include "layer/copy.h"
#include "layer/override.h"
#include "merge.h"
#include "space.h"
#include "walk.h"

#define PLAIN_FILE (S_IFREG | S_IRUSR | S_IWUSR)
#define BLOCK 512

static void free_dir(struct ply_merge_dir *d)
{
	if (!d)
		return;
	ply_dirs_free(d->dirs);
	free(d->redirect);
	free(d->path);
	free(d);
}

int ply_merge_failed(struct ply_merge *m, const char *path, int err)
{
	if (err && !m->where) {
		m->where = strdup(path);
		ply_interrupt_end();
	}
	return err;
}

/* ---- attributes and marks ---- */

static int cannot_keep(void *arg, const char *attr, int err)
{
	struct ply_merge *m = arg;
	const char *what = attr ? attr : "the owner";

	ply_lost_add(&m->lost, what, err,
		     ply_lost_is_known(&m->lost, what) ? NULL : strdup(*m->at ? m->at : "."));
	return 0;
}

int ply_merge_attrs(struct ply_merge *m, const struct ply_side *side, int to, const char *to_name)
{
	struct ply_attr_source from = { .layer = side->layer,
					.to = m->has_overrides ? &m->to : NULL,
					.fd = side->fd,
					.name = side->name,
					.cannot_keep = cannot_keep,
					.arg = m };

	return ply_copy_attrs(&from, &side->stx, to, to_name);
}

const char *ply_merge_space(struct ply_merge *m, struct ply_dirs *dirs, const char *mark)
{
	if (m->form)
		return m->form->space;
	for (unsigned i = 0; i < dirs->nparts; i++) {
		int fd = ply_part_open(&m->stack, &dirs->parts[i]);
		const char *space = fd < 0 ? NULL : ply_space_of(fd, "", mark);

		if (space)
			return space;
	}
	return m->space;
}

int ply_merge_mark(struct ply_merge *m, int fd, const char *name, const char *space,
		   const char *mark, const char *value)
{
	int err = space ? ply_space_set(fd, name, space, mark, value) : -EOPNOTSUPP;

	if (m->form && !m->form->takes_all && strcmp(mark, PLY_MARK_OPAQUE) != 0) {
		m->trouble =
			"it has content in layers below (metacopy or redirect), which the wanted "
			"form cannot say";
		return -EOPNOTSUPP;
	}
	if (err == -EOPNOTSUPP || err == -EPERM)
		m->trouble = "the new layer's file system does not hold its overlay marks";
	return err;
}

static int set_opaque(struct ply_merge *m, int fd, const char *space)
{
	int err;

	if (space)
		return ply_merge_mark(m, fd, "", space, PLY_MARK_OPAQUE, "y");
	err = sys_mknod(fd, PLY_AUFS_OPAQUE, PLAIN_FILE, 0);
	return err == -EEXIST ? 0 : err;
}

/* ---- what is below ---- */

int ply_merge_below(struct ply_merge_entry *e, enum ply_kind_found *kind)
{
	struct ply_stack *s = &e->m->stack;
	struct ply_found f;
	int err = ply_stack_child(s, e->dir->dirs, e->name, s->bound, &f);

	if (err)
		return err;
	*kind = f.kind;
	ply_found_free(&f);
	return 0;
}

/* Is there a directory below where the new one would lead to? */
static int leads_somewhere(const struct ply_merge *m, const struct ply_dirs *dirs)
{
	if (!(m->flags & PLY_MERGE_KNOWS_BELOW))
		return 1;
	return dirs->nparts && dirs->parts[dirs->nparts - 1].layer >= m->stack.bound;
}

/* Only a directory that is shown below would be merged with. */
static int find_opaque(struct ply_merge_entry *e, struct ply_merge_dir *d)
{
	enum ply_kind_found kind = PLY_FOUND_DIR;
	int err = e->m->flags & PLY_MERGE_KNOWS_BELOW ? ply_merge_below(e, &kind) : 0;

	if (!err && kind == PLY_FOUND_DIR)
		d->needs = "y";
	return err;
}

/* What the new directory must say of the layers below: nothing where they are found at the same place. */
static int find_needs(struct ply_merge_entry *e, struct ply_merge_dir *d)
{
	const char *above = e->dir->dirs->below, *below = d->dirs->below;
	char *here;
	int is_here;

	if (e->m->flags & PLY_MERGE_BASE || (!above && !below))
		return 0;
	if (!below || !leads_somewhere(e->m, d->dirs))
		return find_opaque(e, d);
	here = above ? ply_join(above, e->name) : NULL;
	if (above && !here)
		return -ENOMEM;
	is_here = here && !strcmp(here, below);
	free(here);
	if (is_here)
		return 0;
	return asprintf(&d->redirect, "/%s", below) < 0 ? -ENOMEM : 0;
}

/* ---- names ---- */

static int on_dir(struct ply_merge_entry *e, struct ply_merge_dir ***end)
{
	struct ply_merge_dir *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	*d = (struct ply_merge_dir){ .path = e->path, .dirs = e->f.dirs, .found = e->f };
	e->path = NULL;
	e->f.dirs = NULL;
	**end = d;
	*end = &d->next;
	e->m->dirs++;
	err = find_needs(e, d);
	return err || e->m->flags & PLY_MERGE_DRY ? err : sys_mkdir(e->target, e->name, S_IRWXU);
}

static void say(const struct ply_merge_entry *e)
{
	static const char *const kinds[] = { "", "whiteout ", "file     ", "directory" };
	char *escaped;

	if (!(e->m->flags & PLY_MERGE_TELL))
		return;
	escaped = ply_escape(e->path);
	ply_progress_pause();
	fprintf(stderr, "%s %s\n", kinds[e->f.kind], escaped);
	ply_progress_resume();
	free(escaped);
}

static int one_name(struct ply_merge *m, struct ply_merge_dir *dir, int target, const char *name,
		    struct ply_merge_dir ***end)
{
	struct ply_merge_entry e = { .m = m, .dir = dir, .target = target, .name = name };
	int err;

	e.path = ply_join(dir->path, name);
	err = e.path ? ply_stack_child(&m->stack, dir->dirs, name, 0, &e.f) : -ENOMEM;
	m->at = e.path;
	m->progress.entries++;
	/* A mark that says nothing of this name is none of the layers below. */
	if (!err && e.f.layer < m->stack.bound) {
		say(&e);
		if (e.f.kind == PLY_FOUND_WHITEOUT)
			err = ply_merge_whiteout(&e);
		else if (e.f.kind == PLY_FOUND_FILE)
			err = ply_merge_file(&e);
	}
	ply_merge_failed(m, e.path ? e.path : name, err);
	if (!err && e.f.kind == PLY_FOUND_DIR && e.f.layer < m->stack.bound)
		err = ply_merge_failed(m, name, on_dir(&e, end));
	m->at = "";
	ply_found_free(&e.f);
	free(e.path);
	return err;
}

/* ---- directories ---- */

/* When all is in it. */
static int finish_dir(struct ply_merge *m, struct ply_merge_dir *d, int target)
{
	struct ply_part *top = &d->dirs->parts[0];
	struct ply_side side = { &m->stack.layers[top->layer], ply_part_open(&m->stack, top), "",
				 d->found.stx };
	int err = side.fd < 0 ? side.fd : 0;

	if (!err && d->needs && *d->needs == 'y') {
		err = set_opaque(m, target, ply_merge_space(m, d->dirs, PLY_MARK_OPAQUE));
	} else if (!err && d->needs) {
		err = ply_merge_mark(m, target, "", d->whiteout_space, PLY_MARK_OPAQUE, d->needs);
	}
	if (!err && d->redirect)
		err = ply_merge_mark(m, target, "", ply_merge_space(m, d->dirs, PLY_MARK_REDIRECT),
				     PLY_MARK_REDIRECT, d->redirect);
	m->at = d->path;
	return err ? err : ply_merge_attrs(m, &side, target, "");
}

static int open_target(const struct ply_merge *m, const struct ply_merge_dir *d)
{
	return m->flags & PLY_MERGE_DRY ? -1 : ply_open_beneath(m->root, d->path);
}

static int fill_dir(struct ply_merge *m, struct ply_merge_dir *d, struct ply_merge_dir ***end)
{
	int target = open_target(m, d), err;
	struct ply_names names;

	if (target < 0 && !(m->flags & PLY_MERGE_DRY))
		return target;
	err = ply_stack_names(&m->stack, d->dirs, 0, m->stack.bound, &names);
	for (size_t i = 0; !err && i < names.n; i++)
		err = one_name(m, d, target, names.name[i], end);
	ply_names_free(&names);
	ply_dirs_close(d->dirs);
	if (target >= 0)
		sys_close(target);
	return err;
}

static int close_dir(struct ply_merge *m, struct ply_merge_dir *d)
{
	int target, err;

	/* The root's go last, after the holder of links is gone. */
	if (!*d->path || m->flags & PLY_MERGE_DRY)
		return 0;
	target = open_target(m, d);
	if (target < 0)
		return target;
	err = finish_dir(m, d, target);
	sys_close(target);
	ply_dirs_close(d->dirs);
	return err;
}

static int merge_dir(struct ply_merge *m, struct ply_merge_dir *d)
{
	struct ply_merge_dir *list = NULL, **end = &list, *next;
	int err = ply_merge_failed(m, d->path, fill_dir(m, d, &end));

	for (; list; list = next) {
		next = list->next;
		if (!err)
			err = merge_dir(m, list);
		free_dir(list);
	}
	return err ? err : ply_merge_failed(m, d->path, close_dir(m, d));
}

/* ---- the whole ---- */

static int merge_root(struct ply_merge *m, struct ply_merge_dir *root)
{
	struct ply_layer *top = &m->stack.layers[0];
	int err = ply_layer_statx(top, top->root, "", STATX_BASIC_STATS, &root->found.stx);

	if (!err)
		err = merge_dir(m, root);
	if (err || m->flags & PLY_MERGE_DRY)
		return err;
	err = ply_links_free(m->links);
	m->links = NULL;
	return err ? err : ply_merge_failed(m, "", finish_dir(m, root, m->root));
}

int ply_merge_tree(struct ply_merge *m)
{
	struct ply_merge_dir *root = calloc(1, sizeof(*root));
	int err = -ENOMEM;

	m->at = "";
	m->own.fd = -1;
	m->to.root = m->root;
	for (unsigned i = 0; i < m->stack.bound && !m->to.override; i++)
		m->to.override = m->stack.layers[i].override;
	m->has_overrides = m->to.override != PLY_OVERRIDE_NONE;
	m->links = ply_links_new(m->root);
	m->counted = ply_inodes_new();
	if (root) {
		root->path = strdup("");
		root->dirs = ply_stack_root(&m->stack);
	}
	if (root && root->path && root->dirs && m->links && m->counted)
		err = merge_root(m, root);
	free_dir(root);
	return err;
}

void ply_merge_free(struct ply_merge *m)
{
	ply_links_free(m->links);
	ply_inodes_free(m->counted);
	if (m->own.path && m->own.fd >= 0)
		sys_close(m->own.fd);
	free(m->own.path);
	ply_stack_close(&m->stack);
	ply_lost_free(&m->lost);
	free(m->where);
}

/* ---- what it saves ---- */

struct weighing {
	struct ply_inodes *seen;
	uint64_t bytes;
};

static int weigh(void *arg, const struct ply_walk_entry *e)
{
	struct weighing *w = arg;
	int is_new = 1;

	if (!S_ISREG(e->stx.stx_mode))
		return 0;
	if (e->stx.stx_nlink > 1)
		is_new = ply_inodes_add(w->seen, 0, &e->stx);
	if (is_new > 0)
		w->bytes += e->stx.stx_blocks * BLOCK;
	return is_new < 0 ? is_new : 0;
}

int ply_merge_weigh(struct ply_merge *m, uint64_t *bytes)
{
	static const struct ply_walk_ops ops = { .file = weigh };
	struct weighing w = { .seen = ply_inodes_new() };
	int err = w.seen ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < m->stack.bound; i++) {
		struct ply_walk_root root = { .mirror = -1 };
		char *where = NULL;

		root.fd = sys_open(m->stack.layers[i].root, ".", O_RDONLY | O_DIRECTORY, 0);
		err = root.fd < 0 ? root.fd : ply_walk(&root, &ops, &w, &where);
		if (root.fd >= 0)
			sys_close(root.fd);
		free(where);
	}
	ply_inodes_free(w.seen);
	*bytes = w.bytes;
	return err;
}
