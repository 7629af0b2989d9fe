/* plyfs-du: how much each layer of a stack holds, how much of that other layers hide, and what takes room in vain. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/interrupt.h"
#include "common/usage.h"

#define VERBOSE_LARGEST 10

enum {
	OPT_APPARENT = 256,
	OPT_UNCHANGED,
	OPT_SHARED,
	OPT_LARGEST,
};

static const struct ply_own_option own[] = {
	{ 'h', "human-readable", NULL, "sizes as 1.2 MiB" },
	{ OPT_APPARENT, "apparent-size", NULL, "the sizes of files, not the room they take" },
	{ OPT_UNCHANGED, "unchanged", NULL, "what has the data of the file it hides; reads data" },
	{ OPT_SHARED, "shared", NULL, "what lies where other files have their data, too" },
	{ OPT_LARGEST, "largest", "N", "the N largest hidden files" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"[-h] [--apparent-size] [--unchanged] [--shared] [--largest=N] [-j] [-0] [-q] [-v] "
		"-l LOWER[:LOWER...] [-u UPPER]",
	.text = "Tells for each layer the bytes of its files, how many of these other layers hide, and how many\n"
		"files, directories and whiteouts it has. A file with several names counts once. With -v all\n"
		"that is told only when asked for.\n"
		"Exit status: 0 done, 2 trouble; the numbers are then too small.\n",
	.own = own,
	.min = 0,
	.max = 0,
	.usage_exit = PLY_EXIT_TROUBLE,
};

struct du {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_usage usage;
	struct ply_usage_layer total;
};

/* ---- telling ---- */

static int wants(const struct du *du, enum ply_usage_wish wish)
{
	return (du->usage.wishes & wish) != 0;
}

static void put_json_layer(const struct du *du, const struct ply_usage_layer *u, long layer)
{
	if (layer < 0) {
		fputs("{\"type\":\"summary\"", stdout);
	} else {
		printf("{\"type\":\"layer\",\"layer\":%ld,\"upper\":%s,\"path\":", layer,
		       du->stack.has_upper && !layer ? "true" : "false");
		ply_put_json(stdout, du->stack.layers[layer].path);
	}
	printf(",\"bytes\":%llu,\"hidden_bytes\":%llu", (unsigned long long)u->bytes,
	       (unsigned long long)(u->bytes - u->shown));
	if (wants(du, PLY_USAGE_UNCHANGED))
		printf(",\"unchanged_bytes\":%llu", (unsigned long long)u->unchanged);
	if (wants(du, PLY_USAGE_SHARED) && !u->tells_no_extents)
		printf(",\"shared_bytes\":%llu", (unsigned long long)u->shared);
	printf(",\"files\":%llu,\"directories\":%llu,\"whiteouts\":%llu}\n",
	       (unsigned long long)u->files, (unsigned long long)u->dirs,
	       (unsigned long long)u->whiteouts);
}

static struct ply_amount amount(const struct du *du, uint64_t bytes)
{
	struct ply_amount text;

	if (du->args.set['h'])
		return ply_amount(bytes);
	snprintf(text.text, sizeof(text.text), "%llu", (unsigned long long)bytes);
	return text;
}

static void put_text_layer(const struct du *du, const struct ply_usage_layer *u, long layer)
{
	char number[24] = "total";

	if (layer >= 0)
		snprintf(number, sizeof(number), "%ld", layer);
	printf("%-5s %12s %12s", number, amount(du, u->bytes).text,
	       amount(du, u->bytes - u->shown).text);
	if (wants(du, PLY_USAGE_UNCHANGED))
		printf(" %12s", amount(du, u->unchanged).text);
	if (wants(du, PLY_USAGE_SHARED))
		printf(" %12s", u->tells_no_extents ? "?" : amount(du, u->shared).text);
	printf(" %9llu %9llu %9llu", (unsigned long long)u->files, (unsigned long long)u->dirs,
	       (unsigned long long)u->whiteouts);
	if (layer >= 0) {
		fputs("  ", stdout);
		ply_put_name(&du->args, du->stack.layers[layer].path, "");
	} else {
		putchar(du->args.zero ? '\0' : '\n');
	}
}

static void put_layer(const struct du *du, const struct ply_usage_layer *u, long layer)
{
	if (du->args.cli.json)
		put_json_layer(du, u, layer);
	else
		put_text_layer(du, u, layer);
}

static void put_json_hidden(const struct ply_usage_hidden *h)
{
	printf("{\"type\":\"hidden\",\"bytes\":%llu,\"layer\":%u,\"path\":",
	       (unsigned long long)h->bytes, h->layer);
	ply_put_json(stdout, h->path);
	ply_put_hider_json(&h->by);
	puts("}");
}

static void put_hidden(const struct du *du, const struct ply_usage_hidden *h)
{
	char *by = ply_hider_text(&h->by), *path = du->args.zero ? NULL : ply_escape(h->path);

	printf("%-5u %12s  ", h->layer, amount(du, h->bytes).text);
	if (du->args.zero)
		ply_put_name(&du->args, h->path, "");
	else
		printf("%s  (%s)\n", path, by);
	free(path);
	free(by);
}

static void put_largest(const struct du *du)
{
	if (du->usage.nlargest && !du->args.cli.json && !du->args.zero && !du->args.cli.quiet)
		printf("\n%-5s %12s  %s\n", "layer", "bytes", "hidden file");
	for (size_t i = 0; i < du->usage.nlargest; i++)
		if (du->args.cli.json)
			put_json_hidden(&du->usage.largest[i]);
		else
			put_hidden(du, &du->usage.largest[i]);
}

static void put_heading(const struct du *du)
{
	if (du->args.cli.json || du->args.zero || du->args.cli.quiet)
		return;
	printf("%-5s %12s %12s", "layer", "bytes", "hidden");
	if (wants(du, PLY_USAGE_UNCHANGED))
		printf(" %12s", "unchanged");
	if (wants(du, PLY_USAGE_SHARED))
		printf(" %12s", "shared");
	printf(" %9s %9s %9s  %s\n", "files", "dirs", "whiteouts", "path");
}

static void add(struct ply_usage_layer *t, const struct ply_usage_layer *u)
{
	t->bytes += u->bytes;
	t->shown += u->shown;
	t->files += u->files;
	t->dirs += u->dirs;
	t->whiteouts += u->whiteouts;
	t->unchanged += u->unchanged;
	t->shared += u->shared;
}

/* A program gets the summary last, a person behind the layers. */
static void tell(struct du *du)
{
	put_heading(du);
	for (unsigned i = 0; i < du->stack.n; i++) {
		struct ply_usage_layer *u = &du->usage.layers[i];

		/* A layer that changes meanwhile. */
		if (u->shown > u->bytes)
			u->shown = u->bytes;
		put_layer(du, u, (long)i);
		add(&du->total, u);
	}
	if (du->args.cli.json)
		put_largest(du);
	put_layer(du, &du->total, -1);
	if (!du->args.cli.json)
		put_largest(du);
}

/* ---- the whole ---- */

static void read_wishes(struct du *du)
{
	int all = du->args.cli.verbose;

	du->usage.wishes = (du->args.set[OPT_APPARENT] ? PLY_USAGE_APPARENT : 0) |
			   (du->args.set[OPT_UNCHANGED] || all ? PLY_USAGE_UNCHANGED : 0) |
			   (du->args.set[OPT_SHARED] || all ? PLY_USAGE_SHARED : 0);
	if (du->args.value[OPT_LARGEST])
		du->usage.nwanted = ply_args_number(&du->args, OPT_LARGEST);
	else if (all)
		du->usage.nwanted = VERBOSE_LARGEST;
}

int main(int argc, char **argv)
{
	struct du du = { .usage.stack = &du.stack };
	int err;

	ply_args_parse(&du.args, argc, argv, &tool);
	read_wishes(&du);
	ply_interrupt_start();
	err = ply_stack_open(&du.stack, &du.args.paths);
	if (!err)
		err = ply_args_use_index(&du.args, &du.stack);
	if (!err) {
		ply_note_trusted(&du.args);
		ply_note_mounted(&du.args);
		ply_progress_start(&du.usage.progress, du.args.cli.progress);
		err = ply_usage_count(&du.usage);
		ply_progress_end();
		if (err)
			ply_complain("cannot go on at", "", err);
		else
			tell(&du);
	}
	ply_interrupt_end();
	ply_usage_free(&du.usage);
	ply_stack_close(&du.stack);
	ply_args_free(&du.args);
	if (err == -EINTR)
		ply_interrupt_die();
	return err || ply_complaints() || fflush(stdout) || ferror(stdout) ? PLY_EXIT_TROUBLE
									   : PLY_EXIT_OK;
}
