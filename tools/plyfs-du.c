/*
 * plyfs-du: how much each layer of a stack holds, and how much of that other layers hide. What is hidden is what
 * a layer has less what the stack shows of it, so that renamed directories and data below count as shown.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/inodes.h"
#include "common/interrupt.h"
#include "common/survey.h"

enum {
	OPT_APPARENT = 256,
};

static const struct ply_own_option own[] = {
	{ 'h', "human-readable", NULL, "sizes as 1.2 MiB" },
	{ OPT_APPARENT, "apparent-size", NULL, "the sizes of files, not the room they take" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[-h] [--apparent-size] [-j] [-0] [-q] -l LOWER[:LOWER...] [-u UPPER]",
	.text = "Tells for each layer the bytes of its files, how many of these other layers hide, and how many\n"
		"files, directories and whiteouts it has. A file with several names counts once.\n"
		"Exit status: 0 done, 2 trouble; the numbers are then too small.\n",
	.own = own,
	.min = 0,
	.max = 0,
	.usage_exit = PLY_EXIT_TROUBLE,
};

struct usage {
	uint64_t bytes, shown, files, dirs, whiteouts;
};

struct du {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_inodes *counted;
	struct ply_progress progress;
	struct usage *layers, total;
	unsigned layer; /* that is counted now; stack.n: what the whole shows */
};

static uint64_t size_of(const struct du *du, const struct statx *stx)
{
	if (du->args.set[OPT_APPARENT])
		return S_ISREG(stx->stx_mode) || S_ISLNK(stx->stx_mode) ? stx->stx_size : 0;
	return stx->stx_blocks * 512;
}

/* 1 when it counts now, 0 when another name of it did. */
static int is_first(struct du *du, unsigned tag, const struct statx *stx)
{
	return stx->stx_nlink < 2 ? 1 : ply_inodes_add(du->counted, tag, stx);
}

static int count_own(void *arg, const struct ply_seen *seen)
{
	struct du *du = arg;
	struct usage *u = &du->layers[du->layer];
	int first;

	du->progress.entries++;
	if (seen->how == PLY_SEEN_WHITEOUT) {
		u->whiteouts++;
		return 0;
	}
	if (S_ISDIR(seen->stx->stx_mode)) {
		u->dirs++;
		return 0;
	}
	first = is_first(du, 2 * du->layer, seen->stx);
	if (first < 0)
		return first;
	u->files += (unsigned)first;
	u->bytes += first ? size_of(du, seen->stx) : 0;
	return 0;
}

/* A file without data of its own shows what lower layers have. */
static int count_data(struct du *du, const struct ply_seen *seen)
{
	struct ply_data data;
	int err, first = 0;

	if (!S_ISREG(seen->stx->stx_mode))
		return 0;
	err = ply_stack_data(&du->stack, seen->dirs, seen->name, seen->found, &data);
	if (err)
		return err;
	if (data.path && data.is_elsewhere && data.layer < du->stack.n)
		first = ply_inodes_add(du->counted, 2 * data.layer + 1, &data.stx);
	if (first > 0)
		du->layers[data.layer].shown += size_of(du, &data.stx);
	ply_data_free(&data);
	return first < 0 ? first : 0;
}

static int count_shown(void *arg, const struct ply_seen *seen)
{
	struct du *du = arg;
	int first;

	du->progress.entries++;
	if (S_ISDIR(seen->stx->stx_mode))
		return 0;
	first = is_first(du, 2 * seen->layer + 1, seen->stx);
	if (first <= 0)
		return first;
	du->layers[seen->layer].shown += size_of(du, seen->stx);
	return count_data(du, seen);
}

static int on_trouble(void *arg, const char *path, int err)
{
	struct du *du = arg;
	char what[64];

	if (du->layer == du->stack.n) /* said when the layer was counted */
		snprintf(what, sizeof(what), "cannot look up");
	else
		snprintf(what, sizeof(what), "layer %u: cannot read", du->layer);
	ply_complain(what, path, err);
	return 0;
}

static int count(struct du *du)
{
	struct ply_survey survey = { .seen = count_own, .trouble = on_trouble, .arg = du };
	int err = 0;

	du->progress.what = "counting the layers";
	survey.flags = PLY_SURVEY_BELOW | PLY_SURVEY_HIDDEN;
	for (; du->layer < du->stack.n && !err; du->layer++) {
		struct ply_stack alone = { .layers = &du->stack.layers[du->layer],
					   .n = 1,
					   .bound = 1 };

		survey.stack = &alone;
		err = ply_survey(&survey, "");
	}
	du->progress.what = "counting what is shown";
	survey.stack = &du->stack;
	survey.flags = PLY_SURVEY_BELOW;
	survey.seen = count_shown;
	return err ? err : ply_survey(&survey, "");
}

/* ---- telling ---- */

static void put_json(const struct du *du, const struct usage *u, long layer)
{
	if (layer < 0) {
		fputs("{\"type\":\"total\"", stdout);
	} else {
		printf("{\"type\":\"layer\",\"layer\":%ld,\"upper\":%s,\"path\":", layer,
		       du->stack.has_upper && !layer ? "true" : "false");
		ply_put_json(stdout, du->stack.layers[layer].path);
	}
	printf(",\"bytes\":%llu,\"hidden_bytes\":%llu,\"files\":%llu,\"directories\":%llu,"
	       "\"whiteouts\":%llu}\n",
	       (unsigned long long)u->bytes, (unsigned long long)(u->bytes - u->shown),
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

static void put_text(const struct du *du, const struct usage *u, long layer)
{
	char number[24] = "total";

	if (layer >= 0)
		snprintf(number, sizeof(number), "%ld", layer);
	printf("%-5s %12s %12s %9llu %9llu %9llu", number, amount(du, u->bytes).text,
	       amount(du, u->bytes - u->shown).text, (unsigned long long)u->files,
	       (unsigned long long)u->dirs, (unsigned long long)u->whiteouts);
	if (layer >= 0) {
		fputs("  ", stdout);
		ply_put_name(&du->args, du->stack.layers[layer].path, "");
	} else {
		putchar(du->args.zero ? '\0' : '\n');
	}
}

static void put(const struct du *du, struct usage *u, long layer)
{
	/* A layer that changes meanwhile. */
	if (u->shown > u->bytes)
		u->shown = u->bytes;
	if (du->args.cli.json)
		put_json(du, u, layer);
	else
		put_text(du, u, layer);
}

static void summary(struct du *du)
{
	struct usage *t = &du->total;

	if (!du->args.cli.json && !du->args.zero && !du->args.cli.quiet)
		printf("%-5s %12s %12s %9s %9s %9s  %s\n", "layer", "bytes", "hidden", "files",
		       "dirs", "whiteouts", "path");
	for (unsigned i = 0; i < du->stack.n; i++) {
		struct usage *u = &du->layers[i];

		put(du, u, (long)i);
		t->bytes += u->bytes;
		t->shown += u->shown;
		t->files += u->files;
		t->dirs += u->dirs;
		t->whiteouts += u->whiteouts;
	}
	put(du, t, -1);
}

int main(int argc, char **argv)
{
	struct du du = { 0 };
	int err;

	ply_args_parse(&du.args, argc, argv, &tool);
	ply_interrupt_start();
	err = ply_stack_open(&du.stack, &du.args.paths);
	if (!err) {
		ply_note_trusted(&du.args);
		ply_note_mounted(&du.args);
		du.counted = ply_inodes_new();
		du.layers = calloc(du.stack.n, sizeof(*du.layers));
		ply_progress_start(&du.progress, du.args.cli.progress);
		err = du.counted && du.layers ? count(&du) : -ENOMEM;
		ply_progress_end();
		if (err)
			ply_complain("cannot go on at", "", err);
		else
			summary(&du);
	}
	ply_interrupt_end();
	ply_inodes_free(du.counted);
	free(du.layers);
	ply_stack_close(&du.stack);
	ply_args_free(&du.args);
	if (err == -EINTR)
		ply_interrupt_die();
	return err || ply_complaints() || fflush(stdout) || ferror(stdout) ? PLY_EXIT_TROUBLE
									   : PLY_EXIT_OK;
}
