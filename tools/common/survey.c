/*
 * A place is a directory: the parts that are shown, and beside them the parts that are not, each with the reason. A
 * place is read as a whole, then those below it: so descriptors are open for one at a time.
 */
#include "survey.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/sys.h"
#include "layer/override.h"

struct place {
	struct place *next;
	char *path;
	struct ply_dirs *shown, *hidden;
	struct ply_hider *by; /* of each of the hidden parts */
};

/* One name of a place, with what is below it in the making. */
struct looked {
	const struct ply_survey *sv;
	struct place *at;
	const char *name;
	char *path;
	struct ply_found found;
	struct place *below;
};

const char *ply_hider_word(enum ply_cut how)
{
	static const char *const words[] = { "redirect", "whiteout", "opaque", "file", "index" };

	return words[how];
}

char *ply_hider_text(const struct ply_hider *by)
{
	char *path = ply_escape(by->path), *text;
	int n;

	if (by->how == PLY_CUT_NONE)
		n = asprintf(&text, "hidden: %s was renamed", path);
	else if (by->how == PLY_CUT_INDEX)
		n = asprintf(&text, "hidden: the file was brought up by another of its names");
	else
		n = asprintf(&text, "hidden by %s %s in layer %u",
			     by->how == PLY_CUT_OPAQUE ? "opaque directory"
						       : ply_hider_word(by->how),
			     path, by->layer);
	free(path);
	return n < 0 ? strdup("hidden") : text;
}

void ply_put_hider_json(const struct ply_hider *by)
{
	printf(",\"hidden_by\":\"%s\"", ply_hider_word(by->how));
	if (by->how != PLY_CUT_NONE)
		printf(",\"hidden_in\":%u", by->layer);
	if (by->how == PLY_CUT_INDEX)
		return;
	fputs(",\"hidden_at\":", stdout);
	ply_put_json(stdout, by->path);
}

static void free_place(struct place *p)
{
	if (!p)
		return;
	for (unsigned i = 0; p->by && i < p->hidden->nparts; i++)
		free(p->by[i].path);
	free(p->by);
	ply_dirs_free(p->shown);
	ply_dirs_free(p->hidden);
	free(p->path);
	free(p);
}

static struct place *new_place(const char *path)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->path = strdup(path);
	p->hidden = calloc(1, sizeof(*p->hidden));
	if (p->path && p->hidden)
		return p;
	free_place(p);
	return NULL;
}

static int add_hidden(struct looked *l, const struct ply_part *part, const struct ply_hider *by)
{
	struct ply_dirs *hidden = l->below->hidden;
	struct ply_part *parts =
		realloc(hidden->parts, (hidden->nparts + 1) * sizeof(*hidden->parts));
	struct ply_hider *reasons;

	if (!parts)
		return -ENOMEM;
	hidden->parts = parts;
	reasons = realloc(l->below->by, (hidden->nparts + 1) * sizeof(*reasons));
	if (!reasons)
		return -ENOMEM;
	l->below->by = reasons;
	reasons[hidden->nparts] = *by;
	reasons[hidden->nparts].path = strdup(by->path);
	parts[hidden->nparts] = (struct ply_part){
		.layer = part->layer, .fd = -1, .marks = -1, .path = ply_join(part->path, l->name)
	};
	hidden->nparts++;
	return reasons[hidden->nparts - 1].path && parts[hidden->nparts - 1].path ? 0 : -ENOMEM;
}

/* ---- one name ---- */

static int is_shown_part(const struct looked *l, const struct ply_part *part, const char *path)
{
	const struct ply_dirs *dirs = l->found.dirs;

	for (unsigned i = 0; l->found.kind == PLY_FOUND_DIR && i < dirs->nparts; i++)
		if (dirs->parts[i].layer == part->layer && !strcmp(dirs->parts[i].path, path))
			return 1;
	return 0;
}

/* What the layer's entry is for the stack, for one in a part that is shown. */
static int judge(const struct looked *l, const struct ply_part *part, const struct statx *stx,
		 enum ply_seen_how *how)
{
	const struct ply_found *f = &l->found;
	char *path;
	int is_part;

	if (f->kind == PLY_FOUND_FILE && f->layer == part->layer) {
		*how = PLY_SEEN_SHOWN;
		return 0;
	}
	path = S_ISDIR(stx->stx_mode) ? ply_join(part->path, l->name) : NULL;
	if (S_ISDIR(stx->stx_mode) && !path)
		return -ENOMEM;
	is_part = path && is_shown_part(l, part, path);
	free(path);
	*how = !is_part			 ? PLY_SEEN_HIDDEN
	       : f->layer == part->layer ? PLY_SEEN_SHOWN
					 : PLY_SEEN_MERGED;
	return 0;
}

static int tell(struct looked *l, const struct ply_part *part, const struct statx *stx,
		enum ply_seen_how how, const struct ply_hider *by)
{
	struct ply_seen seen = { .path = l->path,
				 .name = l->name,
				 .layer = part->layer,
				 .dirfd = part->fd,
				 .disk_name = l->name,
				 .stx = stx,
				 .how = how,
				 .by = by,
				 .dirs = l->at->shown,
				 .found = &l->found };
	int err = l->sv->seen ? l->sv->seen(l->sv->arg, &seen) : 0;

	if (!err && how == PLY_SEEN_HIDDEN && S_ISDIR(stx->stx_mode) && l->below)
		err = add_hidden(l, part, by);
	return err;
}

/* A name of a lower layer for a file of the upper. */
static int tell_indexed(struct looked *l)
{
	const struct ply_seen seen = { .path = l->path,
				       .name = l->name,
				       .dirfd = l->sv->stack->index,
				       .disk_name = l->found.entry,
				       .stx = &l->found.stx,
				       .how = PLY_SEEN_SHOWN,
				       .dirs = l->at->shown,
				       .found = &l->found };

	return l->sv->seen ? l->sv->seen(l->sv->arg, &seen) : 0;
}

/* A whiteout: told where it is the first to hide. In hidden parts none counts. */
static int tell_whiteout(struct looked *l, const struct ply_part *part, const struct statx *stx)
{
	if (l->found.cut != PLY_CUT_WHITEOUT || l->found.cut_layer != part->layer)
		return 0;
	return tell(l, part, stx, PLY_SEEN_WHITEOUT, NULL);
}

/* As ply_part_look, but what was found is known. */
static int look_at_part(struct looked *l, struct ply_part *part, struct statx *stx)
{
	const struct ply_found *f = &l->found;

	if (f->kind < PLY_FOUND_FILE || f->layer != part->layer || *f->entry)
		return ply_part_look(l->sv->stack, part, l->name, stx);
	*stx = f->stx;
	return f->kind;
}

static int see_shown_part(struct looked *l, struct ply_part *part)
{
	struct ply_hider by = { .how = l->found.cut, .layer = l->found.cut_layer, .path = l->path };
	struct statx stx = { 0 };
	int kind = look_at_part(l, part, &stx), err;
	enum ply_seen_how how;

	if (kind <= PLY_FOUND_NOTHING)
		return kind;
	if (kind == PLY_FOUND_WHITEOUT)
		return tell_whiteout(l, part, &stx);
	if (*l->found.entry && l->found.name_layer == part->layer) {
		by = (struct ply_hider){ .how = PLY_CUT_INDEX, .path = l->path };
		err = tell_indexed(l);
		if (err)
			return err;
	}
	err = judge(l, part, &stx, &how);
	if (err || (how == PLY_SEEN_HIDDEN && !(l->sv->flags & PLY_SURVEY_HIDDEN)))
		return err;
	return tell(l, part, &stx, how, how == PLY_SEEN_HIDDEN ? &by : NULL);
}

static int see_hidden_part(struct looked *l, struct ply_part *part, const struct ply_hider *by)
{
	struct statx stx;
	int kind = ply_part_look(l->sv->stack, part, l->name, &stx);

	if (kind <= PLY_FOUND_WHITEOUT)
		return kind < 0 ? kind : 0;
	return tell(l, part, &stx, PLY_SEEN_HIDDEN, by);
}

static int see_parts(struct looked *l)
{
	struct place *at = l->at;
	int err = 0;

	for (unsigned i = 0; !err && at->shown && i < at->shown->nparts; i++)
		err = see_shown_part(l, &at->shown->parts[i]);
	for (unsigned i = 0; !err && i < at->hidden->nparts; i++)
		err = see_hidden_part(l, &at->hidden->parts[i], &at->by[i]);
	return err;
}

/* Only what is shown is wanted: the layers below need not be asked. */
static int see_top(struct looked *l)
{
	struct ply_part *part;

	if (l->found.kind != PLY_FOUND_FILE && l->found.kind != PLY_FOUND_DIR)
		return 0;
	if (*l->found.entry)
		return tell_indexed(l);
	part = ply_dirs_part(l->at->shown, l->found.layer);
	return part ? tell(l, part, &l->found.stx, PLY_SEEN_SHOWN, NULL) : 0;
}

static int see_name(const struct ply_survey *sv, struct place *at, const char *name,
		    struct place ***end)
{
	struct looked l = { .sv = sv, .at = at, .name = name, .path = ply_join(at->path, name) };
	int err = l.path ? 0 : -ENOMEM;

	if (!err && at->shown)
		err = ply_stack_child(sv->stack, at->shown, name, 0, &l.found);
	if (!err && sv->flags & PLY_SURVEY_BELOW) {
		l.below = new_place(l.path);
		err = l.below ? 0 : -ENOMEM;
	}
	if (!err)
		err = sv->flags & PLY_SURVEY_HIDDEN ? see_parts(&l) : see_top(&l);
	if (l.below && !err && l.found.kind == PLY_FOUND_DIR) {
		l.below->shown = l.found.dirs;
		l.found.dirs = NULL;
	}
	if (l.below && (l.below->shown || l.below->hidden->nparts)) {
		**end = l.below;
		*end = &l.below->next;
	} else {
		free_place(l.below);
	}
	ply_found_free(&l.found);
	if (err < 0 && err != -EINTR && err != -ENOMEM)
		err = sv->trouble(sv->arg, l.path, err);
	free(l.path);
	return err;
}

/* ---- places ---- */

static int names_of(const struct ply_survey *sv, struct place *at, struct ply_names *shown,
		    struct ply_names *hidden)
{
	unsigned n = sv->stack->n;
	int err = 0;

	*shown = *hidden = (struct ply_names){ 0 };
	if (at->shown)
		err = ply_stack_names(sv->stack, at->shown, 0, n, shown);
	if (!err)
		err = ply_stack_names(sv->stack, at->hidden, 0, n, hidden);
	return err;
}

static int see_place(const struct ply_survey *sv, struct place *at);

static int see_below(const struct ply_survey *sv, struct place *list)
{
	struct place *next;
	int err = 0;

	for (; list; list = next) {
		next = list->next;
		if (!err)
			err = see_place(sv, list);
		free_place(list);
	}
	return err;
}

static int see_place(const struct ply_survey *sv, struct place *at)
{
	struct place *list = NULL, **end = &list;
	struct ply_names shown, hidden;
	int err = names_of(sv, at, &shown, &hidden);

	if (err && err != -EINTR && err != -ENOMEM)
		err = sv->trouble(sv->arg, at->path, err);
	for (size_t i = 0, j = 0; !err && (i < shown.n || j < hidden.n);) {
		int order = i == shown.n    ? 1
			    : j == hidden.n ? -1
					    : strcmp(shown.name[i], hidden.name[j]);

		err = see_name(sv, at, order <= 0 ? shown.name[i] : hidden.name[j], &end);
		i += order <= 0;
		j += order >= 0;
	}
	ply_names_free(&shown);
	ply_names_free(&hidden);
	if (at->shown) {
		ply_dirs_close(at->shown);
		ply_dirs_drop_names(at->shown);
	}
	ply_dirs_close(at->hidden);
	ply_dirs_drop_names(at->hidden);
	if (err) {
		while (list) {
			struct place *next = list->next;

			free_place(list);
			list = next;
		}
		return err;
	}
	return see_below(sv, list);
}

/* Finds the name in a place, and what would be the place below it. */
static int look_down(const struct ply_survey *sv, struct place *at, const char *name,
		     struct looked *l)
{
	int err = 0;

	*l = (struct looked){ .sv = sv, .at = at, .name = name };
	l->path = ply_join(at->path, name);
	l->below = l->path ? new_place(l->path) : NULL;
	if (!l->below)
		return -ENOMEM;
	if (at->shown)
		err = ply_stack_child(sv->stack, at->shown, name, 0, &l->found);
	if (!err && sv->flags & PLY_SURVEY_HIDDEN)
		err = see_parts(l);
	return err;
}

/* One step down: 1 when *at is now that directory, 0 when there is none. */
static int go_down(const struct ply_survey *sv, struct place **at, const char *name)
{
	struct ply_survey silent = *sv;
	struct looked l;
	int err, is_dir;

	silent.seen = NULL;
	err = look_down(&silent, *at, name, &l);
	is_dir = !err && (l.found.kind == PLY_FOUND_DIR ||
			  (l.found.kind != PLY_FOUND_FILE && l.below->hidden->nparts));
	if (is_dir) {
		if (l.found.kind == PLY_FOUND_DIR) {
			l.below->shown = l.found.dirs;
			l.found.dirs = NULL;
		}
		free_place(*at);
		*at = l.below;
	} else {
		free_place(l.below);
	}
	ply_found_free(&l.found);
	free(l.path);
	return err ? err : is_dir;
}

/* A path that is no directory: what is there is told by itself. 1 when there was anything. */
static int see_alone(const struct ply_survey *sv, struct place *at, const char *name)
{
	struct ply_survey flat = *sv;
	struct ply_found f = { 0 };
	struct place *none = NULL, **end = &none;
	int err = at->shown ? ply_stack_child(sv->stack, at->shown, name, 0, &f) : 0, is_there;

	is_there = f.kind == PLY_FOUND_FILE ||
		   (f.kind == PLY_FOUND_WHITEOUT && sv->flags & PLY_SURVEY_HIDDEN) || !at->shown;
	ply_found_free(&f);
	if (err || !is_there)
		return err ? err : -ENOENT;
	flat.flags &= ~(unsigned)PLY_SURVEY_BELOW;
	return see_name(&flat, at, name, &end);
}

int ply_survey(const struct ply_survey *survey, const char *path)
{
	struct place *at = new_place("");
	char name[PLY_NAME_MAX + 1], next[PLY_NAME_MAX + 1];
	int err = 0, is_dir = 1, more = ply_path_next(&path, name);

	if (at)
		at->shown = ply_stack_root(survey->stack);
	if (!at || !at->shown)
		err = -ENOMEM;
	for (; !err && more > 0; strcpy(name, next)) {
		more = ply_path_next(&path, next);
		is_dir = more < 0 ? more : go_down(survey, &at, name);
		if (is_dir < 0)
			err = is_dir;
		else if (!is_dir)
			err = more ? -ENOENT : see_alone(survey, at, name);
	}
	if (more < 0)
		err = more;
	if (!err && is_dir)
		err = see_place(survey, at);
	free_place(at);
	return err;
}
