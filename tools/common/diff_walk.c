/*
 * A walk over pairs of directories: what the stack has now, and what the layers below the changing ones had there. Mostly
 * both are one directory that goes on below, of which only the changing layers' names are looked at. Descriptors are
 * open for one pair at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "compare.h"
#include "diff.h"
#include "layer/override.h"

struct pair {
	char *path, *old_path;
	struct ply_dirs *new, *old; /* either may be NULL; they may be the same */
	int is_apart;	  /* nothing of old shows through in new: what new does not have is gone */
	int is_new_whole; /* nothing of it was there: the names of all layers are added ones */
};

static int is_there(const struct ply_found *f)
{
	return f->kind == PLY_FOUND_FILE || f->kind == PLY_FOUND_DIR;
}

static struct ply_stack *stack_of_new(struct ply_diff *d)
{
	return d->is_deep ? &d->apart : &d->stack;
}

/* ---- comparing ---- */

/* The lower part of a directory that goes on below, wherever that is. */
static int side_below(struct ply_diff *d, struct ply_dirs *dirs, struct ply_side *side)
{
	struct ply_part *part = dirs->parts;

	while (part->layer < d->bound)
		part++;
	*side = (struct ply_side){ .layer = &d->stack.layers[part->layer],
				   .fd = ply_part_open(&d->stack, part),
				   .name = "" };
	return side->fd < 0
		       ? side->fd
		       : ply_layer_statx(side->layer, side->fd, "", STATX_BASIC_STATS, &side->stx);
}

static int compare_files(struct ply_change *c)
{
	struct ply_data a, b;
	int err = ply_stack_data(stack_of_new(c->d), c->new_dirs, c->name, &c->new, &a), differs;

	if (err)
		return err;
	err = ply_stack_data(&c->d->stack, c->old_dirs, c->name, &c->old, &b);
	if (err) {
		ply_data_free(&a);
		return err;
	}
	differs = ply_compare_data(&c->d->stack, &a, &b, &c->d->progress.data.copied);
	ply_data_free(&a);
	ply_data_free(&b);
	return differs;
}

/* Archives keep whole seconds: where trees of any origin are compared, a time without more says no more. */
static int is_same_second(const struct ply_side *a, const struct ply_side *b)
{
	const struct statx_timestamp *x = &a->stx.stx_mtime, *y = &b->stx.stx_mtime;

	return x->tv_sec == y->tv_sec && (!x->tv_nsec || !y->tv_nsec);
}

/* What differs between two of one type. */
static int compare(struct ply_change *c)
{
	struct ply_side a, b;
	int err = ply_found_side(&c->d->stack, c->new_dirs, c->name, &c->new, &a), differs;

	if (!err)
		err = c->from ? side_below(c->d, c->new.dirs, &b)
			      : ply_found_side(&c->d->stack, c->old_dirs, c->name, &c->old, &b);
	if (err)
		return err;
	differs = ply_compare_attrs(&a, &b);
	if (differs < 0)
		return differs;
	if (c->d->is_deep && is_same_second(&a, &b))
		differs &= ~PLY_DIFFERS_MTIME;
	if (S_ISREG(a.stx.stx_mode) && !(differs & PLY_DIFFERS_DATA)) {
		err = compare_files(c);
		differs = err < 0 ? err : err ? differs | PLY_DIFFERS_DATA : differs;
	}
	return differs;
}

/* A directory's time changes with what is in it, which has lines of its own. */
static int is_change(const struct ply_change *c)
{
	int ignored = S_ISDIR(c->new.stx.stx_mode) ? PLY_DIFFERS_MTIME : 0;

	return (c->differs & ~ignored) != 0;
}

/* ---- which change it is ---- */

/* Is it a directory that goes on in the layers below? */
static int goes_on(const struct ply_change *c)
{
	const struct ply_dirs *dirs = c->new.dirs;

	return dirs && dirs->below && dirs->nparts &&
	       dirs->parts[dirs->nparts - 1].layer >= c->d->bound;
}

/* A directory that goes on below: under its own name, or another. */
static int classify_merged(struct ply_change *c, const char *old_dir)
{
	char *here = ply_join(old_dir, c->name);
	int err = here ? 0 : -ENOMEM;

	if (!err && strcmp(here, c->new.dirs->below) != 0)
		c->from = c->new.dirs->below;
	free(here);
	if (!err) {
		c->differs = compare(c);
		err = c->differs < 0 ? c->differs : 0;
	}
	c->letter = c->from ? 'R' : is_change(c) ? 'M' : '=';
	return err;
}

static int classify_both(struct ply_change *c)
{
	if ((c->new.stx.stx_mode ^ c->old.stx.stx_mode) & S_IFMT) {
		c->letter = 'T';
		return 0;
	}
	c->differs = compare(c);
	if (c->differs < 0)
		return c->differs;
	c->letter = c->new.kind == PLY_FOUND_DIR && !c->d->is_deep ? 'O' : is_change(c) ? 'M' : '=';
	return 0;
}

/* Sets the letter; none when nothing is to be told. */
static int classify(struct ply_change *c, const struct pair *at)
{
	int was = is_there(&c->old);

	c->letter = 0;
	if (!is_there(&c->new)) {
		c->letter = was ? 'D' : 0;
	} else if (at->is_new_whole) {
		c->letter = 'A';
	} else if (c->new.layer >= c->d->bound) {
		return 0; /* the changing layers do not have it */
	} else if (goes_on(c)) {
		return classify_merged(c, at->old_path);
	} else if (was) {
		return classify_both(c);
	} else {
		c->letter = 'A';
	}
	return 0;
}

/* ---- pairs ---- */

static void free_pair(struct pair *p)
{
	ply_dirs_free(p->new);
	if (p->old != p->new)
		ply_dirs_free(p->old);
	free(p->path);
	free(p->old_path);
}

static void close_pair(struct pair *p)
{
	if (p->new)
		ply_dirs_close(p->new);
	if (p->old)
		ply_dirs_close(p->old);
}

/* The pair below a name, which takes the directories over. */
static int pair_below(struct ply_change *c, const struct pair *at, struct pair *p)
{
	const char *below = "";
	char *old_path = NULL;

	*p = (struct pair){ .path = strdup(c->path) };
	p->is_new_whole = at->is_new_whole || (c->from && c->d->form == PLY_DIFF_DOCKER);
	if (c->new.kind == PLY_FOUND_DIR && goes_on(c) && !p->is_new_whole) {
		p->old = c->new.dirs;
		below = c->new.dirs->below;
	} else if (c->old.kind == PLY_FOUND_DIR && !p->is_new_whole) {
		p->old = c->old.dirs;
		c->old.dirs = NULL;
		p->is_apart = 1;
		below = old_path = ply_join(at->old_path, c->name);
	}
	if (c->new.kind == PLY_FOUND_DIR) {
		p->new = c->new.dirs;
		c->new.dirs = NULL;
		c->from = NULL; /* which was part of it */
	}
	p->old_path = below ? strdup(below) : NULL;
	free(old_path);
	return p->path && p->old_path ? 0 : -ENOMEM;
}

static int look(struct ply_change *c)
{
	struct ply_diff *d = c->d;
	int err = 0;

	if (c->new_dirs)
		err = ply_stack_child(stack_of_new(d), c->new_dirs, c->name, 0, &c->new);
	if (!err && c->old_dirs) {
		err = ply_stack_child(&d->stack, c->old_dirs, c->name, d->bound, &c->old);
		if (err)
			ply_found_free(&c->new);
	}
	return err;
}

static int walk(struct ply_diff *d, struct pair *at);

static int go_into(struct ply_change *c, struct pair *at)
{
	struct pair p;
	int err = pair_below(c, at, &p);

	close_pair(at);
	if (!err)
		err = walk(c->d, &p);
	free_pair(&p);
	return err;
}

static int one_name(struct ply_diff *d, struct pair *at, const char *name)
{
	char *path = ply_join(at->path, name);
	struct ply_change c = {
		.d = d, .path = path, .name = name, .new_dirs = at->new, .old_dirs = at->old
	};
	int err = path ? look(&c) : -ENOMEM;

	d->progress.entries++;
	if (!err)
		err = classify(&c, at);
	if (!err && c.letter)
		err = ply_diff_tell(&c);
	if (!err && c.new.kind == PLY_FOUND_DIR &&
	    (c.new.layer < d->bound || at->is_new_whole || d->looks_everywhere))
		err = go_into(&c, at);
	if (err && err != -EINTR && err != -ENOMEM) {
		ply_complain("cannot compare", path, err);
		err = 0;
	}
	ply_found_free(&c.new);
	ply_found_free(&c.old);
	free(path);
	return err;
}

/* The names of a pair that can have changed, sorted. */
static int names_of(struct ply_diff *d, struct pair *at, struct ply_names *names)
{
	unsigned end = at->is_new_whole || d->looks_everywhere ? d->stack.n : d->bound;
	int err = 0;

	*names = (struct ply_names){ 0 };
	if (at->new)
		err = ply_stack_names(&d->stack, at->new, 0, end, names);
	if (!err && at->old && at->is_apart)
		err = ply_stack_more_names(&d->stack, at->old, d->bound, d->stack.n, names);
	return err;
}

static int walk(struct ply_diff *d, struct pair *at)
{
	struct ply_names names;
	int err = names_of(d, at, &names);

	if (err && err != -EINTR && err != -ENOMEM) {
		ply_complain("cannot read", at->path, err);
		err = 0;
	}
	for (size_t i = 0; !err && i < names.n; i++)
		err = one_name(d, at, names.name[i]);
	ply_names_free(&names);
	close_pair(at);
	return err;
}

/* ---- the whole ---- */

/* The root is in every layer. */
static int compare_roots(struct ply_diff *d, const struct pair *root)
{
	struct ply_change c = {
		.d = d, .path = "", .name = "", .new_dirs = root->new, .old_dirs = root->old
	};
	struct ply_layer *old;
	int err;

	if (d->bound >= d->stack.n)
		return 0;
	old = &d->stack.layers[d->bound];
	c.old.layer = d->bound;
	err = ply_layer_statx(&d->stack.layers[0], d->stack.layers[0].root, "", STATX_BASIC_STATS,
			      &c.new.stx);
	if (!err)
		err = ply_layer_statx(old, old->root, "", STATX_BASIC_STATS, &c.old.stx);
	if (!err)
		c.differs = compare(&c);
	if (err || c.differs < 0)
		return err ? err : c.differs;
	c.letter = is_change(&c) ? 'M' : '=';
	return ply_diff_tell(&c);
}

static int root_pair(struct ply_diff *d, struct pair *root)
{
	*root = (struct pair){ .path = strdup(""), .old_path = strdup(""), .is_apart = d->is_deep };
	root->new = ply_stack_root(stack_of_new(d));
	root->old = d->is_deep ? ply_stack_root(&d->stack) : root->new;
	return root->path && root->old_path && root->new && root->old ? 0 : -ENOMEM;
}

/* One step of the way to a path: *at becomes the pair below the name. */
static int step_down(struct ply_diff *d, struct pair *at, const char *name)
{
	char *path = ply_join(at->path, name);
	struct ply_change c = {
		.d = d, .path = path, .name = name, .new_dirs = at->new, .old_dirs = at->old
	};
	int err = path ? look(&c) : -ENOMEM;
	struct pair below;

	if (!err) {
		err = pair_below(&c, at, &below);
		if (!err && !below.new && !below.old)
			err = is_there(&c.new) || is_there(&c.old) ? -ENOTDIR : -ENOENT;
		free_pair(at);
		*at = below;
	}
	ply_found_free(&c.new);
	ply_found_free(&c.old);
	free(path);
	return err;
}

/* What is asked for by name must have been there, before or after. */
static int named(struct ply_diff *d, struct pair *at, const char *name)
{
	struct ply_change c = { .d = d, .name = name, .new_dirs = at->new, .old_dirs = at->old };
	int err = look(&c);

	if (err)
		return err;
	if (!is_there(&c.new) && !is_there(&c.old))
		err = -ENOENT;
	ply_found_free(&c.new);
	ply_found_free(&c.old);
	return err ? err : one_name(d, at, name);
}

int ply_diff_run(struct ply_diff *d, const char *path)
{
	char name[PLY_NAME_MAX + 1], next[PLY_NAME_MAX + 1];
	struct pair at;
	int err = root_pair(d, &at), more = err ? err : ply_path_next(&path, name);

	if (!more) {
		err = compare_roots(d, &at);
		if (!err)
			err = walk(d, &at);
	}
	for (; more > 0 && !err; strcpy(name, next)) {
		more = ply_path_next(&path, next);
		err = more < 0 ? more : more ? step_down(d, &at, name) : named(d, &at, name);
	}
	free_pair(&at);
	return more < 0 ? more : err;
}
