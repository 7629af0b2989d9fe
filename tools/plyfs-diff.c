/*
 * plyfs-diff: what the upper of a stack changes against the layers below, or some layers against the rest. Only
 * the directories of the changing layers are read, so it costs what changed, not what there is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/compare.h"
#include "common/interrupt.h"
#include "common/textdiff.h"
#include "layer/override.h"

#define DEFAULT_CAP (1024 * 1024)

enum {
	OPT_STAT = 256,
	OPT_MAX,
	OPT_LAYERS,
};

static const struct ply_own_option own[] = {
	{ 'a', "all", NULL, "also what was brought up and is as below: =" },
	{ 'U', "unified", NULL, "the changes of text files, as diff -u" },
	{ OPT_STAT, "stat", NULL, "numbers only" },
	{ OPT_MAX, "max-size", "BYTES", "with -U: the largest file that is compared (1048576)" },
	{ OPT_LAYERS, "layers", "FIRST[-LAST]", "what these layers change, counted from 0" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[-a] [-U] [--stat] [-j] [-0] [-q] [-v] -l LOWER[:LOWER...] [-u UPPER]",
	.text = "Tells what the upper, or without one the topmost layer, changes: A added, M modified, D deleted,\n"
		"T another type, R a renamed directory, O an opaque directory in the place of one below.\n"
		"Exit status: 0 nothing changed, 1 changes, 2 trouble.\n",
	.own = own,
	.min = 0,
	.max = 0,
	.usage_exit = PLY_EXIT_TROUBLE,
};

struct diff {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_progress progress;
	unsigned bound;
	uint64_t counts[128]; /* by letter */
	uint64_t bytes_new, bytes_old;
	off_t cap;
};

/* One name, before and after. A side that is not there has no kind. */
struct change {
	struct diff *d;
	const char *path, *name;
	struct ply_dirs *new_dirs, *old_dirs; /* the directories that have it; old may be NULL */
	struct ply_found new, old;
	char letter;
	int differs;
	const char *from; /* of a renamed one */
};

/* ---- telling ---- */

static void put_reasons(const struct change *c, int is_json)
{
	const char *between = is_json ? "" : " (";

	for (unsigned bit = 1; bit <= PLY_DIFFERS_TARGET; bit <<= 1)
		if (c->differs & (int)bit) {
			printf(is_json ? "%s\"%s\"" : "%s%s", between, ply_differs_word(bit));
			between = is_json ? "," : ", ";
		}
	if (!is_json && c->differs)
		putchar(')');
}

static unsigned type_of(const struct change *c)
{
	return c->letter == 'D' ? c->old.stx.stx_mode : c->new.stx.stx_mode;
}

static void put_json(const struct change *c)
{
	printf("{\"change\":\"%c\",\"kind\":\"%s\"", c->letter, ply_type_word(type_of(c)));
	if (c->letter == 'T')
		printf(",\"old_kind\":\"%s\"", ply_type_word(c->old.stx.stx_mode));
	fputs(",\"path\":", stdout);
	ply_put_json(stdout, c->path);
	if (c->from) {
		fputs(",\"from\":", stdout);
		ply_put_json(stdout, c->from);
	}
	if (c->differs) {
		fputs(",\"reasons\":[", stdout);
		put_reasons(c, 1);
		putchar(']');
	}
	if (S_ISREG(c->new.stx.stx_mode) && c->letter != 'D')
		printf(",\"size\":%llu", (unsigned long long)c->new.stx.stx_size);
	if (S_ISREG(c->old.stx.stx_mode) && (c->letter == 'D' || c->letter == 'M'))
		printf(",\"old_size\":%llu", (unsigned long long)c->old.stx.stx_size);
	puts("}");
}

static void put_text(const struct change *c)
{
	char *path = ply_escape(*c->path ? c->path : "."),
	     *from = c->from ? ply_escape(c->from) : NULL;

	printf("%c %s%s", c->letter, path, S_ISDIR(type_of(c)) ? "/" : "");
	if (from)
		printf(" <- %s/", from);
	if (c->letter == 'T' && c->d->args.cli.verbose)
		printf(" (%s, was %s)", ply_type_word(c->new.stx.stx_mode),
		       ply_type_word(c->old.stx.stx_mode));
	else if (c->d->args.cli.verbose)
		put_reasons(c, 0);
	putchar('\n');
	free(path);
	free(from);
}

static int put_unified(const struct change *c)
{
	struct ply_data new_data = { 0 }, old_data = { 0 };
	struct ply_text_side sides[2] = { { 0 }, { 0 } };
	int err = 0;

	if (c->letter != 'A' && S_ISREG(c->old.stx.stx_mode)) {
		err = ply_stack_data(&c->d->stack, c->old_dirs, c->name, &c->old, &old_data);
		sides[0] = (struct ply_text_side){ &old_data, (off_t)c->old.stx.stx_size };
	}
	if (!err && c->letter != 'D' && S_ISREG(c->new.stx.stx_mode)) {
		err = ply_stack_data(&c->d->stack, c->new_dirs, c->name, &c->new, &new_data);
		sides[1] = (struct ply_text_side){ &new_data, (off_t)c->new.stx.stx_size };
	}
	if (!err && (sides[0].data || sides[1].data))
		err = ply_text_diff(&c->d->stack, c->path, &sides[0], &sides[1], c->d->cap);
	ply_data_free(&old_data);
	ply_data_free(&new_data);
	return err;
}

static void count(struct diff *d, const struct change *c)
{
	d->counts[(unsigned char)c->letter]++;
	if (c->letter != '=' && c->letter != 'D' && S_ISREG(c->new.stx.stx_mode))
		d->bytes_new += c->new.stx.stx_size;
	if (c->letter != '=' && c->letter != 'A' && S_ISREG(c->old.stx.stx_mode))
		d->bytes_old += c->old.stx.stx_size;
}

static int put(struct change *c)
{
	struct diff *d = c->d;

	if (d->args.cli.json) {
		put_json(c);
	} else if (d->args.zero) {
		printf("%c ", c->letter);
		ply_put_name(&d->args, *c->path ? c->path : ".", "");
	} else {
		put_text(c);
	}
	if (!d->args.set['U'] || c->letter == '=' ||
	    !(c->letter != 'M' || c->differs & PLY_DIFFERS_DATA))
		return 0;
	return put_unified(c);
}

static int tell(struct change *c)
{
	struct diff *d = c->d;
	int err;

	if (c->letter == '=' && !d->args.set['a'])
		return 0;
	count(d, c);
	if (d->args.set[OPT_STAT])
		return 0;
	ply_progress_pause();
	err = put(c);
	ply_progress_resume();
	return err;
}

/* ---- comparing ---- */

/* The inode itself; *opened is to be closed when it is not negative. */
static int side_of(struct diff *d, struct ply_dirs *dirs, const char *name,
		   const struct ply_found *f, struct ply_side *side)
{
	struct ply_part *part = ply_dirs_part(dirs, f->layer);

	*side = (struct ply_side){ .layer = &d->stack.layers[f->layer],
				   .fd = part ? ply_part_open(&d->stack, part) : -ESTALE,
				   .name = name,
				   .stx = f->stx };
	return side->fd < 0 ? side->fd : 0;
}

static int compare_files(struct change *c)
{
	struct ply_data a, b;
	int err = ply_stack_data(&c->d->stack, c->new_dirs, c->name, &c->new, &a), differs;

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

/* The lower part of a directory that goes on below, wherever that is. */
static int side_below(struct diff *d, struct ply_dirs *dirs, struct ply_side *side)
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

/* What differs between two of one type. */
static int compare(struct change *c)
{
	struct ply_side a, b;
	int err = side_of(c->d, c->new_dirs, c->name, &c->new, &a), differs;

	if (!err)
		err = c->from ? side_below(c->d, c->new.dirs, &b)
			      : side_of(c->d, c->old_dirs, c->name, &c->old, &b);
	if (err)
		return err;
	differs = ply_compare_attrs(&a, &b);
	if (differs >= 0 && S_ISREG(a.stx.stx_mode) && !(differs & PLY_DIFFERS_DATA)) {
		err = compare_files(c);
		differs = err < 0 ? err : err ? differs | PLY_DIFFERS_DATA : differs;
	}
	return differs;
}

static int is_change(int differs)
{
	return (differs & ~PLY_DIFFERS_MTIME) != 0;
}

/* A directory that goes on below: under its own name, or another. */
static int classify_merged(struct change *c, const char *old_dir)
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
	c->letter = c->from ? 'R' : is_change(c->differs) ? 'M' : '=';
	return err;
}

static int goes_on(const struct change *c)
{
	const struct ply_dirs *dirs = c->new.dirs;

	return dirs->below && dirs->nparts && dirs->parts[dirs->nparts - 1].layer >= c->d->bound;
}

/* Sets the letter; none when nothing is to be told. */
static int classify(struct change *c, const char *old_dir)
{
	int was = c->old.kind == PLY_FOUND_FILE || c->old.kind == PLY_FOUND_DIR;

	c->letter = 0;
	if (c->new.kind == PLY_FOUND_WHITEOUT || c->new.kind == PLY_FOUND_NOTHING) {
		c->letter = was ? 'D' : 0;
	} else if (c->new.kind == PLY_FOUND_DIR && goes_on(c)) {
		return classify_merged(c, old_dir);
	} else if (!was) {
		c->letter = 'A';
	} else if ((c->new.stx.stx_mode ^ c->old.stx.stx_mode) & S_IFMT) {
		c->letter = 'T';
	} else {
		c->differs = compare(c);
		if (c->differs < 0)
			return c->differs;
		c->letter = c->new.kind == PLY_FOUND_DIR ? 'O' : is_change(c->differs) ? 'M' : '=';
	}
	return 0;
}

/* ---- directories ---- */

/* One that is to be gone into when the present one is done. */
struct later {
	struct later *next;
	char *path, *old_path;
	struct ply_dirs *new, *old; /* old may be NULL */
	int is_opaque;
};

static void free_later(struct later *l)
{
	ply_dirs_free(l->new);
	if (l->old != l->new)
		ply_dirs_free(l->old);
	free(l->path);
	free(l->old_path);
	free(l);
}

static int add_later(struct change *c, const char *old_dir, struct later ***end)
{
	struct later *l = calloc(1, sizeof(*l));
	int is_merged;

	if (!l)
		return -ENOMEM;
	is_merged = goes_on(c);
	l->new = c->new.dirs;
	c->new.dirs = NULL;
	l->path = strdup(c->path);
	if (is_merged) {
		l->old = l->new;
		l->old_path = strdup(l->new->below);
	} else if (c->old.kind == PLY_FOUND_DIR) {
		l->old = c->old.dirs;
		c->old.dirs = NULL;
		l->old_path = ply_join(old_dir, c->name);
		l->is_opaque = 1;
	} else {
		l->old_path = strdup("");
	}
	**end = l;
	*end = &l->next;
	return l->path && l->old_path ? 0 : -ENOMEM;
}

static int look(struct change *c)
{
	struct ply_stack *s = &c->d->stack;
	int err = ply_stack_child(s, c->new_dirs, c->name, 0, &c->new);

	if (!err && c->old_dirs)
		err = ply_stack_child(s, c->old_dirs, c->name, c->d->bound, &c->old);
	return err;
}

static int one_name(struct diff *d, struct later *dir, const char *name, struct later ***end)
{
	char *path = ply_join(dir->path, name);
	struct change c = {
		.d = d, .path = path, .name = name, .new_dirs = dir->new, .old_dirs = dir->old
	};
	int err = path ? look(&c) : -ENOMEM;

	d->progress.entries++;
	if (!err)
		err = classify(&c, dir->old_path);
	if (!err && c.letter)
		err = tell(&c);
	if (!err && c.new.kind == PLY_FOUND_DIR &&c.new.layer < d->bound)
		err = add_later(&c, dir->old_path, end);
	ply_found_free(&c.new);
	ply_found_free(&c.old);
	if (err && err != -EINTR && err != -ENOMEM) {
		ply_complain("cannot compare", path, err);
		err = 0;
	}
	free(path);
	return err;
}

/* What an opaque directory does not have anew is gone. */
static int gone_names(struct diff *d, struct later *dir, const struct ply_names *there)
{
	struct ply_names names;
	int err = ply_stack_names(&d->stack, dir->old, d->bound, d->stack.n, &names);
	struct later *none = NULL, **end = &none;

	for (size_t i = 0; !err && i < names.n; i++)
		if (!ply_names_has(there, names.name[i]))
			err = one_name(d, dir, names.name[i], &end);
	ply_names_free(&names);
	return err;
}

static int walk(struct diff *d, struct later *dir)
{
	struct later *list = NULL, **end = &list, *next;
	struct ply_names names;
	int err = ply_stack_names(&d->stack, dir->new, 0, d->bound, &names);

	if (err && err != -EINTR && err != -ENOMEM) {
		ply_complain("cannot read", dir->path, err);
		return 0;
	}
	for (size_t i = 0; !err && i < names.n; i++)
		err = one_name(d, dir, names.name[i], &end);
	if (!err && dir->is_opaque)
		err = gone_names(d, dir, &names);
	ply_names_free(&names);
	ply_dirs_close(dir->new);
	if (dir->old)
		ply_dirs_close(dir->old);
	for (; list; list = next) {
		next = list->next;
		if (!err)
			err = walk(d, list);
		free_later(list);
	}
	return err;
}

/* The root is in every layer. */
static int compare_roots(struct diff *d, struct ply_dirs *root)
{
	struct change c = { .d = d, .path = "", .name = "", .new_dirs = root, .old_dirs = root };
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
	c.letter = is_change(c.differs) ? 'M' : '=';
	return tell(&c);
}

static int run(struct diff *d)
{
	struct later *top = calloc(1, sizeof(*top));
	int err = -ENOMEM;

	if (!top)
		return err;
	top->path = strdup("");
	top->old_path = strdup("");
	top->new = top->old = ply_stack_root(&d->stack);
	if (top->path && top->old_path && top->new) {
		err = compare_roots(d, top->new);
		if (!err)
			err = walk(d, top);
	}
	free_later(top);
	return err;
}

/* ---- the whole ---- */

static uint64_t changes(const struct diff *d)
{
	uint64_t n = 0;

	for (const char *p = "AMDTRO"; *p; p++)
		n += d->counts[(unsigned char)*p];
	return n;
}

static void summary(const struct diff *d)
{
	static const struct {
		char letter;
		const char *word;
	} kinds[] = { { 'A', "added" },	  { 'M', "modified" }, { 'D', "deleted" },
		      { 'T', "retyped" }, { 'R', "renamed" },  { 'O', "opaque" },
		      { '=', "same" } };
	const char *between = "";

	if (d->args.cli.json)
		printf("{\"type\":\"summary\"");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		unsigned long long n = d->counts[(unsigned char)kinds[i].letter];

		if (kinds[i].letter == '=' && !d->args.set['a'])
			continue;
		if (d->args.cli.json)
			printf(",\"%s\":%llu", kinds[i].word, n);
		else
			printf("%s%llu %s", between, n, kinds[i].word);
		between = ", ";
	}
	if (d->args.cli.json)
		printf(",\"bytes\":%llu,\"old_bytes\":%llu}\n", (unsigned long long)d->bytes_new,
		       (unsigned long long)d->bytes_old);
	else
		printf("; %s in changed files, before %s\n", ply_amount(d->bytes_new).text,
		       ply_amount(d->bytes_old).text);
}

/* FIRST or FIRST-LAST; without a text the first alone. */
static void read_range(const char *text, unsigned long *first, unsigned long *last)
{
	char *end;

	*first = *last = 0;
	if (!text)
		return;
	*first = *last = strtoul(text, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		*last = strtoul(end + 1, &end, 10);
	if (*text < '0' || *text > '9' || *end)
		ply_args_refuse(&tool, "--layers=FIRST-LAST");
}

/* Keeps the layers from the first that counts on; the others' files are as if they were not there. */
static void choose_layers(struct diff *d)
{
	struct ply_stack *s = &d->stack;
	unsigned long first, last;

	read_range(d->args.value[OPT_LAYERS], &first, &last);
	if (last < first || last >= s->n)
		ply_args_refuse(&tool, "the stack has the layers 0 to %u", s->n - 1);
	for (unsigned i = 0; i < first; i++)
		ply_layer_close(&s->layers[i]);
	memmove(s->layers, s->layers + first, (s->n + s->ndata - first) * sizeof(*s->layers));
	s->n -= (unsigned)first;
	d->bound = s->bound = (unsigned)(last - first) + 1;
}

int main(int argc, char **argv)
{
	struct diff d = { .cap = DEFAULT_CAP };
	int err;

	ply_args_parse(&d.args, argc, argv, &tool);
	if (d.args.value[OPT_MAX])
		d.cap = (off_t)ply_args_number(&d.args, OPT_MAX);
	if (d.args.set['U'] && (d.args.cli.json || d.args.zero || d.args.set[OPT_STAT]))
		ply_args_refuse(&tool, "--unified goes with no other form of output");
	ply_interrupt_start();
	err = ply_stack_open(&d.stack, &d.args.paths);
	if (!err) {
		ply_note_trusted(&d.args);
		ply_note_mounted(&d.args);
		choose_layers(&d);
		d.progress.what = "comparing";
		ply_progress_start(&d.progress, d.args.cli.progress);
		err = run(&d);
		ply_progress_end();
		if (err)
			ply_complain("cannot go on at", "", err);
		else if (d.args.set[OPT_STAT])
			summary(&d);
	}
	ply_interrupt_end();
	ply_stack_close(&d.stack);
	ply_args_free(&d.args);
	if (err)
		ply_interrupt_die();
	if (err || ply_complaints() || fflush(stdout) || ferror(stdout))
		return PLY_EXIT_TROUBLE;
	return changes(&d) ? PLY_EXIT_FOUND : PLY_EXIT_OK;
}
