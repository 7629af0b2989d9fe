/*
 * Finding names in a stack. A search asks one layer after the other; a redirect turns it to another place in the
 * layers below. Hostile redirects could multiply, so each search has a budget.
 */
#include "stack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/sys.h"
#include "cli.h"
#include "layer/override.h"

#define BUDGET 30000

/* ---- opening ---- */

static void read_boot(uint8_t boot[16])
{
	int fd = sys_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
	char text[64] = "";

	if (fd < 0)
		return;
	if (sys_pread(fd, text, sizeof(text) - 1, 0) > 0)
		ply_from_hex(text, boot, 16);
	sys_close(fd);
}

static int add_layer(struct ply_stack *s, const char *path)
{
	int err = ply_layer_open(&s->layers[s->n], path, PLY_LAYER_LOWER);
	char *quoted;

	if (!err) {
		s->n++;
		return 0;
	}
	quoted = ply_quote(path);
	ply_tell("cannot open the layer %s: %s", quoted, strerror(-err));
	free(quoted);
	return err;
}

int ply_stack_open(struct ply_stack *s, const struct ply_stack_paths *paths)
{
	struct rlimit limit;
	int err = 0;

	*s = (struct ply_stack){ .has_upper = paths->upper != NULL, .index = -1, .counts = -1 };
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	s->layers = calloc(paths->nlowers + 1, sizeof(*s->layers));
	if (!s->layers)
		return -ENOMEM;
	if (paths->upper)
		err = add_layer(s, paths->upper);
	for (size_t i = 0; i < paths->nlowers && !err; i++)
		err = add_layer(s, paths->lowers[i]);
	if (!err) {
		s->ndata = (unsigned)paths->ndata;
		s->n -= s->ndata;
	}
	s->bound = s->n;
	read_boot(s->boot);
	return err;
}

void ply_stack_close(struct ply_stack *s)
{
	ply_stack_drop_index(s);
	for (unsigned i = 0; i < s->n + s->ndata; i++)
		ply_layer_close(&s->layers[i]);
	free(s->layers);
	*s = (struct ply_stack){ .index = -1, .counts = -1 };
}

struct ply_layer_name ply_stack_layer_name(const struct ply_stack *s, unsigned layer)
{
	struct ply_layer_name name;

	if (s->has_upper && !layer)
		strcpy(name.text, "upper");
	else
		snprintf(name.text, sizeof(name.text), "lower %u", layer + !s->has_upper);
	return name;
}

/* ---- searching ---- */

enum says {
	SAYS_NOTHING,
	SAYS_THERE,
	SAYS_WHITEOUT,
	SAYS_THERE_ALONE, /* there, and a .wh. mark hides what is below */
};

enum step {
	STEP_ON,
	STEP_STOP,
	STEP_TURNED, /* to other directories */
};

struct search {
	struct ply_stack *s;
	struct ply_dirs *dirs; /* where it looks now */
	struct ply_dirs *own;  /* the same when it was turned there */
	char name[PLY_NAME_MAX + 1];
	unsigned from; /* layers above do not count */
	int crossed;   /* the bound */
	int has_index; /* it began at the upper, so names may lead to the index */
	char *below;
	struct ply_found *out;
	struct ply_data *data; /* what it looks for instead of names */
	char *last;	       /* for data: the redirect by path that counts now, or NULL */
};

static int announces(struct ply_stack *s, struct ply_part *part)
{
	if (part->marks < 0)
		part->marks = ply_mark_opaque(&s->layers[part->layer], part->fd, "");
	if (part->marks < 0)
		return part->marks;
	return part->marks == PLY_OPAQUE_ANNOUNCES || part->marks == PLY_OPAQUE_ALL;
}

static int has_aufs(const struct ply_part *part, const char *name)
{
	return part->is_listed ? ply_names_has_aufs(&part->names, name)
			       : ply_mark_aufs(part->fd, name);
}

/* An empty regular file. */
static int ask_empty(struct ply_stack *s, struct ply_part *part, const char *name)
{
	int mark = announces(s, part);

	if (mark > 0)
		mark = ply_mark_xwhiteout(&s->layers[part->layer], part->fd, name);
	if (mark < 0)
		return mark;
	return mark ? SAYS_WHITEOUT : SAYS_THERE;
}

static int ask(struct ply_stack *s, struct ply_part *part, const char *name, struct statx *stx)
{
	struct ply_layer *layer = &s->layers[part->layer];
	int err = part->is_listed && !ply_names_has(&part->names, name)
			  ? -ENOENT
			  : ply_layer_statx(layer, part->fd, name, STATX_BASIC_STATS, stx);
	int mark = 0;

	if (err && err != -ENOENT)
		return err;
	if (!err && ply_is_whiteout(stx))
		return SAYS_WHITEOUT;
	if (!err && S_ISREG(stx->stx_mode) && !stx->stx_size)
		return ask_empty(s, part, name);
	if (err || S_ISDIR(stx->stx_mode))
		mark = has_aufs(part, name);
	if (mark < 0)
		return mark;
	if (err)
		return mark ? SAYS_WHITEOUT : SAYS_NOTHING;
	return mark ? SAYS_THERE_ALONE : SAYS_THERE;
}

int ply_part_look(struct ply_stack *s, struct ply_part *part, const char *name, struct statx *stx)
{
	int fd = ply_part_open(s, part), says = fd < 0 ? fd : ask(s, part, name, stx);

	if (says <= 0)
		return says;
	return says == SAYS_WHITEOUT	? PLY_FOUND_WHITEOUT
	       : S_ISDIR(stx->stx_mode) ? PLY_FOUND_DIR
					: PLY_FOUND_FILE;
}

int ply_part_whiteout(struct ply_stack *s, struct ply_part *part, const char *name)
{
	struct statx stx;
	int kind = ply_part_look(s, part, name, &stx);

	return kind < 0 ? kind : kind == PLY_FOUND_WHITEOUT;
}

/* Continues in the layers below `layer` with the directories that a path's parent is there. */
static int turn_to_path(struct search *sr, const char *path)
{
	struct ply_dirs *at = ply_stack_root(sr->s);
	struct ply_found f;
	int err = at ? 0 : -ENOMEM;

	for (path++; !err && strchr(path, '/'); path += strcspn(path, "/") + 1) {
		char name[PLY_NAME_MAX + 1];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(path, "/"), path);
		err = ply_stack_child(sr->s, at, name, sr->from, &f);
		if (err)
			break;
		ply_dirs_free(at);
		at = f.dirs ? f.dirs : calloc(1, sizeof(*at));
		f.dirs = NULL;
		err = at ? 0 : -ENOMEM;
	}
	ply_dirs_free(sr->own);
	sr->own = sr->dirs = at;
	snprintf(sr->name, sizeof(sr->name), "%.255s", path);
	return err;
}

static int turn(struct search *sr, unsigned layer, const char *redirect)
{
	int err = 0;

	sr->from = layer + 1;
	if (*redirect == '/')
		err = turn_to_path(sr, redirect);
	else
		snprintf(sr->name, sizeof(sr->name), "%.255s", redirect);
	return err ? err : STEP_TURNED;
}

/* What is above the bound ends here: remembers where it would go on. */
static int cross(struct search *sr)
{
	if (sr->crossed)
		return 0;
	sr->crossed = 1;
	if (!sr->dirs->below)
		return 0;
	sr->below = ply_join(sr->dirs->below, sr->name);
	return sr->below ? 0 : -ENOMEM;
}

static int cut(struct search *sr, enum ply_cut how, unsigned layer)
{
	sr->out->cut = how;
	sr->out->cut_layer = layer;
	return STEP_STOP;
}

static int take_dir(struct search *sr, struct ply_part *part, int says)
{
	struct ply_layer *layer = &sr->s->layers[part->layer];
	char redirect[PLY_REDIRECT_MAX + 1];
	int below = ply_dirs_add(sr->out->dirs, part->layer, ply_join(part->path, sr->name)), aufs;

	if (below)
		return below;
	aufs = says == SAYS_THERE_ALONE ? 1 : ply_mark_aufs_opaque(part->fd, sr->name);
	if (aufs)
		return aufs < 0 ? aufs : cut(sr, PLY_CUT_OPAQUE, part->layer);
	below = ply_mark_below(layer, part->fd, sr->name, redirect);
	if (below == PLY_BELOW_NONE)
		return cut(sr, PLY_CUT_OPAQUE, part->layer);
	if (below != PLY_BELOW_ELSEWHERE)
		return below < 0 ? below : STEP_ON;
	sr->out->is_redirected = 1;
	return turn(sr, part->layer, redirect);
}

/* A file's inode: in the index it is another one than at the name. */
static int take_inode(struct search *sr, struct ply_part *part, const struct statx *stx)
{
	const struct ply_side here = { &sr->s->layers[part->layer], part->fd, sr->name, *stx };
	int res;

	if (!sr->has_index || stx->stx_nlink < 2)
		return 0;
	if (!part->layer) {
		ply_index_correct_links(sr->s, &sr->out->stx);
		return 0;
	}
	res = ply_index_look(sr->s, part->layer, &here, sr->out);
	return res < 0 ? res : 0;
}

static int take(struct search *sr, struct ply_part *part, int says, const struct statx *stx)
{
	struct ply_found *out = sr->out;
	int is_dir = says != SAYS_WHITEOUT && S_ISDIR(stx->stx_mode), err = 0;

	if (out->kind == PLY_FOUND_NOTHING) {
		out->kind = says == SAYS_WHITEOUT ? PLY_FOUND_WHITEOUT
			    : is_dir		  ? PLY_FOUND_DIR
						  : PLY_FOUND_FILE;
		out->layer = part->layer;
		out->stx = *stx;
		if (out->kind == PLY_FOUND_FILE)
			err = take_inode(sr, part, stx);
	}
	if (err)
		return err;
	if (is_dir)
		return take_dir(sr, part, says);
	return cut(sr, says == SAYS_WHITEOUT ? PLY_CUT_WHITEOUT : PLY_CUT_FILE, part->layer);
}

/* What ply_mark_metacopy says, or an error: is the data below? */
static int says_below(int mark)
{
	return mark < 0 ? mark : mark && !(mark & PLY_METACOPY_FILLED);
}

static int is_without_data(struct ply_stack *s, struct ply_part *part, const char *name)
{
	return says_below(ply_mark_metacopy(&s->layers[part->layer], part->fd, name, s->boot));
}

/* Looking for data: a regular file has it, or says where to look on. */
static int take_data(struct search *sr, struct ply_part *part, const struct statx *stx)
{
	struct ply_layer *layer = &sr->s->layers[part->layer];
	char redirect[PLY_REDIRECT_MAX + 1];
	int res;

	if (!S_ISREG(stx->stx_mode))
		return cut(sr, PLY_CUT_FILE, part->layer);
	res = is_without_data(sr->s, part, sr->name);
	if (res < 0)
		return res;
	if (!res) {
		sr->data->layer = part->layer;
		sr->data->stx = *stx;
		sr->data->path = ply_join(part->path, sr->name);
		return sr->data->path ? cut(sr, PLY_CUT_FILE, part->layer) : -ENOMEM;
	}
	sr->data->is_elsewhere = 1;
	res = ply_mark_below(layer, part->fd, sr->name, redirect);
	free(sr->last);
	sr->last = res == PLY_BELOW_ELSEWHERE && *redirect == '/' ? strdup(redirect + 1) : NULL;
	if (res == PLY_BELOW_ELSEWHERE)
		return turn(sr, part->layer, redirect);
	return res < 0 ? res : STEP_ON;
}

static int step(struct search *sr, struct ply_part *part)
{
	int fd = ply_part_open(sr->s, part), says;
	struct statx stx;

	if (fd < 0)
		return fd;
	says = ask(sr->s, part, sr->name, &stx);
	if (says <= SAYS_NOTHING)
		return says;
	if (!sr->data)
		return take(sr, part, says, &stx);
	if (says == SAYS_WHITEOUT)
		return cut(sr, PLY_CUT_WHITEOUT, part->layer);
	return take_data(sr, part, &stx);
}

static int run(struct search *sr)
{
	int res = STEP_ON;

	if (!sr->s->nesting++)
		sr->s->budget = BUDGET;
	for (unsigned i = 0; res == STEP_ON && i < sr->dirs->nparts; i++) {
		struct ply_part *part = &sr->dirs->parts[i];

		if (part->layer < sr->from)
			continue;
		if (part->layer >= sr->s->bound)
			res = cross(sr);
		if (!res)
			res = sr->s->budget-- ? step(sr, part) : -ELOOP;
		if (res == STEP_TURNED) {
			res = STEP_ON;
			i = UINT32_MAX;
		}
	}
	if (res == STEP_ON)
		res = cross(sr);
	sr->s->nesting--;
	ply_dirs_free(sr->own);
	return res < 0 ? res : 0;
}

int ply_stack_child(struct ply_stack *s, struct ply_dirs *dirs, const char *name, unsigned from,
		    struct ply_found *out)
{
	struct search sr = { .s = s,
			     .dirs = dirs,
			     .from = from,
			     .has_index = !from && (s->index >= 0 || s->counts >= 0),
			     .out = out };
	int err;

	*out = (struct ply_found){ 0 };
	if (strlen(name) > PLY_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(sr.name, name);
	out->dirs = calloc(1, sizeof(*out->dirs));
	if (!out->dirs)
		return -ENOMEM;
	err = run(&sr);
	out->dirs->below = sr.below;
	if (err || out->kind == PLY_FOUND_FILE || out->kind == PLY_FOUND_WHITEOUT) {
		ply_dirs_free(out->dirs);
		out->dirs = NULL;
	}
	return err;
}

void ply_found_free(struct ply_found *f)
{
	ply_dirs_free(f->dirs);
	f->dirs = NULL;
}

int ply_found_side(struct ply_stack *s, struct ply_dirs *dirs, const char *name,
		   const struct ply_found *f, struct ply_side *side)
{
	struct ply_part *part = ply_dirs_part(dirs, f->layer);

	*side = (struct ply_side){ &s->layers[f->layer], -ESTALE, name, f->stx };
	if (*f->entry) {
		side->fd = s->index;
		side->name = f->entry;
	} else if (part) {
		side->fd = ply_part_open(s, part);
	}
	return side->fd < 0 ? side->fd : 0;
}

static int find_root(struct ply_stack *s, struct ply_found *out)
{
	*out = (struct ply_found){ .kind = PLY_FOUND_DIR, .dirs = ply_stack_root(s) };
	return out->dirs ? ply_layer_statx(&s->layers[0], s->layers[0].root, "", STATX_BASIC_STATS,
					   &out->stx)
			 : -ENOMEM;
}

int ply_stack_find(struct ply_stack *s, const char *path, unsigned from, struct ply_found *out)
{
	char name[PLY_NAME_MAX + 1];
	int err = find_root(s, out);

	while (!err && (err = ply_path_next(&path, name)) > 0) {
		struct ply_dirs *dir = out->dirs;

		err = out->kind == PLY_FOUND_DIR    ? 0
		      : out->kind == PLY_FOUND_FILE ? -ENOTDIR
						    : -ENOENT;
		if (err)
			break;
		err = ply_stack_child(s, dir, name, from, out);
		ply_dirs_free(dir);
	}
	if (err)
		ply_found_free(out);
	return err;
}

/* ---- data ---- */

/* The data-only layers come after all others, for who says a path. Marks mean nothing there. */
static int look_in_data_layers(struct ply_stack *s, const char *path, struct ply_data *out)
{
	int err = 0;

	for (unsigned i = s->n; !err && i < s->n + s->ndata; i++) {
		struct ply_data at = { .layer = i, .path = (char *)path };
		int fd = ply_stack_open_data(s, &at);

		if (fd < 0)
			continue;
		err = sys_statx(fd, "", STATX_BASIC_STATS, &out->stx);
		sys_close(fd);
		if (err || !S_ISREG(out->stx.stx_mode))
			continue;
		out->layer = i;
		out->path = strdup(path);
		return out->path ? 0 : -ENOMEM;
	}
	return err;
}

/* 1: it is there, 0: it is below, at the name. */
static int data_of_entry(struct ply_stack *s, const struct ply_found *file, struct ply_data *out)
{
	int below = says_below(ply_mark_metacopy(&s->layers[0], s->index, file->entry, s->boot));

	if (below < 0)
		return below;
	out->is_elsewhere = below;
	if (below)
		return 0;
	out->path = strdup(file->entry);
	out->is_in_index = 1;
	out->stx = file->stx;
	return out->path ? 1 : -ENOMEM;
}

int ply_stack_data(struct ply_stack *s, struct ply_dirs *dirs, const char *name,
		   const struct ply_found *file, struct ply_data *out)
{
	struct ply_found ignored = { 0 };
	struct search sr = {
		.s = s, .dirs = dirs, .from = file->layer, .out = &ignored, .data = out
	};
	int err;

	*out = (struct ply_data){ 0 };
	if (*file->entry) {
		err = data_of_entry(s, file, out);
		if (err)
			return err < 0 ? err : 0;
		sr.from = file->name_layer;
	}
	snprintf(sr.name, sizeof(sr.name), "%s", name);
	err = run(&sr);
	out->below = sr.below;
	if (!err && !out->path && sr.last)
		err = look_in_data_layers(s, sr.last, out);
	free(sr.last);
	if (err)
		ply_data_free(out);
	return err;
}

int ply_stack_open_data(struct ply_stack *s, const struct ply_data *data)
{
	const char *slash = data->path ? strrchr(data->path, '/') : NULL;
	char *dir;
	int at, fd;

	if (!data->path)
		return -EIO;
	if (data->is_in_index)
		return sys_open(s->index, data->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	dir = strndup(data->path, slash ? (size_t)(slash - data->path) : 0);
	if (!dir)
		return -ENOMEM;
	at = ply_open_beneath(s->layers[data->layer].root, dir);
	free(dir);
	if (at < 0)
		return at;
	fd = sys_open(at, slash ? slash + 1 : data->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	sys_close(at);
	return fd;
}

void ply_data_free(struct ply_data *data)
{
	free(data->path);
	free(data->below);
	*data = (struct ply_data){ 0 };
}
