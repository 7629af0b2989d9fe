/*
 * plyfs-diff: what the upper of a stack changes against the layers below, or some layers against the rest. Only
 * the directories of the changing layers are read, so it costs what changed, not what there is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diff.h"
#include "common/interrupt.h"

#define DEFAULT_CAP (1024 * 1024)
#define PATHS_MAX 4096

enum {
	OPT_STAT = 256,
	OPT_NAMES,
	OPT_DOCKER,
	OPT_DEEP,
	OPT_MAX,
	OPT_LAYERS,
	OPT_FROM,
	OPT_TO,
};

static const struct ply_own_option own[] = {
	{ 'a', "all", NULL, "also what was brought up and is as below: =" },
	{ 'p', "patch", NULL, "the changes of text files, as diff -u; also -U" },
	{ 'U', "unified", NULL, "the same" },
	{ OPT_STAT, "stat", NULL, "numbers only" },
	{ OPT_NAMES, "names", NULL, "paths only" },
	{ OPT_DOCKER, "docker", NULL, "A, C and D, as docker diff prints them" },
	{ OPT_DEEP, "deep", NULL, "compare all of two trees, whatever the marks say" },
	{ OPT_MAX, "max-size", "BYTES", "with -p: the largest file that is compared (1048576)" },
	{ OPT_LAYERS, "layers", "FIRST[-LAST]", "what these layers change, counted from 0" },
	{ OPT_FROM, "from", "LAYER", "the same, with --to; the one not given is 0" },
	{ OPT_TO, "to", "LAYER", "the other end of these layers" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"[-a] [-p | --stat | --names | --docker] [--deep] [-j] [-0] [-q] [-v] -l LOWER[:LOWER...] "
		"[-u UPPER] [PATH]...",
	.text = "Tells what the upper, or without one the topmost layer, changes at and below PATH: A added, M\n"
		"modified, D deleted, T another type, R a renamed directory, O an opaque directory in the place\n"
		"of one below.\n"
		"Exit status: 0 nothing changed, 1 changes, 2 trouble.\n",
	.own = own,
	.min = 0,
	.max = PATHS_MAX,
	.usage_exit = PLY_EXIT_TROUBLE,
};

/* ---- the command line ---- */

static void choose_form(struct ply_diff *d)
{
	static const struct {
		int letter;
		enum ply_diff_form form;
	} forms[] = {
		{ 'p', PLY_DIFF_PATCH },	 { 'U', PLY_DIFF_PATCH },
		{ OPT_STAT, PLY_DIFF_STAT },	 { OPT_NAMES, PLY_DIFF_NAMES },
		{ OPT_DOCKER, PLY_DIFF_DOCKER },
	};
	int is_own_text;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (!d->args.set[forms[i].letter])
			continue;
		if (d->form != PLY_DIFF_LINES && d->form != forms[i].form)
			ply_args_refuse(&tool, "one of --patch, --stat, --names and --docker");
		d->form = forms[i].form;
	}
	is_own_text = d->form != PLY_DIFF_LINES && d->form != PLY_DIFF_STAT;
	if (d->args.cli.json && is_own_text)
		ply_args_refuse(&tool, "--json goes with no other form of output");
	if (d->args.zero && d->form == PLY_DIFF_PATCH)
		ply_args_refuse(&tool, "--patch goes with no other form of output");
}

static void read_range(const char *text, unsigned long *first, unsigned long *last)
{
	char *end;

	*first = *last = strtoul(text, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		*last = strtoul(end + 1, &end, 10);
	if (*text < '0' || *text > '9' || *end)
		ply_args_refuse(&tool, "--layers=FIRST-LAST");
}

/* Without a word the topmost alone. */
static void read_layers(const struct ply_args *a, unsigned long *first, unsigned long *last)
{
	unsigned long from = a->value[OPT_FROM] ? ply_args_number(a, OPT_FROM) : 0,
		      to = a->value[OPT_TO] ? ply_args_number(a, OPT_TO) : 0;

	*first = from < to ? from : to;
	*last = from < to ? to : from;
	if (!a->value[OPT_LAYERS])
		return;
	if (a->value[OPT_FROM] || a->value[OPT_TO])
		ply_args_refuse(&tool, "--layers or --from and --to, not both");
	read_range(a->value[OPT_LAYERS], first, last);
}

/* Keeps the layers from the first that counts on; the others' files are as if they were not there. */
static void choose_layers(struct ply_diff *d)
{
	struct ply_stack *s = &d->stack;
	unsigned long first, last;

	read_layers(&d->args, &first, &last);
	if (last < first || last >= s->n)
		ply_args_refuse(&tool, "the stack has the layers 0 to %u", s->n - 1);
	if (first || d->is_deep)
		ply_stack_drop_index(s);
	d->looks_everywhere = ply_stack_has_index_names(s);
	for (unsigned i = 0; i < first; i++)
		ply_layer_close(&s->layers[i]);
	memmove(s->layers, s->layers + first, (s->n + s->ndata - first) * sizeof(*s->layers));
	s->n -= (unsigned)first;
	d->bound = s->bound = (unsigned)(last - first) + 1;
	d->apart = *s;
	d->apart.n = d->bound;
	d->apart.ndata = 0;
}

/* ---- the whole ---- */

static int run(struct ply_diff *d)
{
	int err = d->args.noperands ? 0 : ply_diff_run(d, "");

	for (int i = 0; i < d->args.noperands && err != -EINTR; i++) {
		err = ply_diff_run(d, d->args.operands[i]);
		if (err && err != -EINTR)
			ply_complain("cannot compare", d->args.operands[i], err);
	}
	return err;
}

int main(int argc, char **argv)
{
	struct ply_diff d = { .cap = DEFAULT_CAP };
	int err;

	ply_args_parse(&d.args, argc, argv, &tool);
	choose_form(&d);
	d.wants_same = d.args.set['a'];
	d.is_deep = d.args.set[OPT_DEEP];
	if (d.args.value[OPT_MAX])
		d.cap = (off_t)ply_args_number(&d.args, OPT_MAX);
	ply_interrupt_start();
	err = ply_stack_open(&d.stack, &d.args.paths);
	if (!err)
		err = ply_args_use_index(&d.args, &d.stack);
	if (!err) {
		ply_note_trusted(&d.args);
		ply_note_mounted(&d.args);
		choose_layers(&d);
		d.progress.what = "comparing";
		ply_progress_start(&d.progress, d.args.cli.progress);
		err = run(&d);
		ply_progress_end();
		if (err && !d.args.noperands)
			ply_complain("cannot go on at", "", err);
		else if (d.args.cli.json || d.form == PLY_DIFF_STAT)
			ply_diff_summary(&d);
	}
	ply_interrupt_end();
	ply_stack_close(&d.stack);
	ply_args_free(&d.args);
	if (err == -EINTR)
		ply_interrupt_die();
	if (err || ply_complaints() || fflush(stdout) || ferror(stdout))
		return PLY_EXIT_TROUBLE;
	return ply_diff_changes(&d) ? PLY_EXIT_FOUND : PLY_EXIT_OK;
}
