/*
 * plyfs-merge: makes one layer of several that lie on one another. In a stack it shows what they showed, on
 * whatever is below: what hides or continues that keeps its marks. The layers are not changed, and the new one
 * appears whole, by one rename, or not at all; or the lowest takes in the others (--in-place).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/busy.h"
#include "common/fold.h"
#include "common/interrupt.h"
#include "common/merge.h"
#include "common/space.h"
#include "common/staging.h"

enum {
	OPT_BASE = 256,
	OPT_BELOW,
	OPT_FORMAT,
	OPT_IN_PLACE,
	OPT_LINK,
	OPT_REFLINK,
	OPT_XATTRS,
};

static const struct ply_own_option own[] = {
	{ 'o', "output", "TARGET", "the new layer; the operands are the layers then" },
	{ OPT_BASE, "base", NULL, "nothing will be below: no whiteouts and marks" },
	{ OPT_BELOW, "below", "DIR[:DIR]...",
	  "what will be below: marks that it does not need go" },
	{ OPT_IN_PLACE, "in-place", NULL, "the lowest layer takes in the others; no TARGET" },
	{ OPT_FORMAT, "format", "FORM", "all marks as overlay-user, overlay-trusted or wh" },
	{ OPT_XATTRS, "xattrs", "trusted|user",
	  "the space of marks, where the layers do not tell" },
	{ OPT_LINK, "link", NULL, "files are hard links of those in the layers" },
	{ OPT_REFLINK, "reflink", NULL, "share all data with the layers, or fail" },
	{ 'n', "dry-run", NULL, "make nothing, say what would be made" },
	{ 0 },
};

static int takes_layers(const struct ply_args *a)
{
	return a->set['o'] || a->set[OPT_IN_PLACE];
}

static const struct ply_tool tool = {
	.usage =
		"[OPTION]... {-l LAYER:LAYER... [-u UPPER] TARGET | -o TARGET LAYER... | --in-place LAYER...}",
	.text = "Makes the directory TARGET, a layer that shows the same as the given ones, topmost first, in any\n"
		"stack that they lay on one another in. TARGET must not exist, or be empty.\n"
		"Exit status: 0 done, 2 trouble, 3 the upper is in use; there is no layer then.\n",
	.own = own,
	.min = 1,
	.max = 1,
	.usage_exit = PLY_EXIT_TROUBLE,
	.takes_layers = takes_layers,
};

struct run {
	struct ply_args args;
	const char *target;
	struct ply_merge merge;
	struct ply_staging staging;
	int lock;
	uint64_t weight; /* of the layers' data, or 0 */
	unsigned fold_flags;
	uint64_t moved, removed; /* in place */
	double start;
};

/* ---- the stack ---- */

/* The layers below come behind those that are merged, and before what holds data only. */
static int open_stack(struct run *r)
{
	struct ply_stack_paths *mine = &r->args.paths, all = *mine, below = { 0 };
	const char *text = r->args.value[OPT_BELOW];
	size_t merged = mine->nlowers - mine->ndata;
	int err;

	if (text)
		ply_args_lowers(&tool, &below, text);
	all.nlowers += below.nlowers;
	all.ndata += below.ndata;
	all.lowers = calloc(all.nlowers + 1, sizeof(*all.lowers));
	if (!all.lowers)
		abort();
	for (size_t i = 0; i < mine->nlowers; i++)
		all.lowers[i < merged ? i : i + below.nlowers] = mine->lowers[i];
	for (size_t i = 0; i < below.nlowers; i++)
		all.lowers[merged + i] = below.lowers[i];
	err = ply_stack_open(&r->merge.stack, &all);
	r->merge.stack.bound = (unsigned)merged + (mine->upper != NULL);
	if (text)
		r->merge.flags |= PLY_MERGE_KNOWS_BELOW;
	if (!err)
		err = ply_args_use_index(&r->args, &r->merge.stack);
	free(all.lowers);
	ply_args_free_paths(&below);
	return err;
}

static int lock_upper(struct run *r)
{
	int err;

	if (!r->args.paths.upper)
		return 0;
	r->lock = sys_open(AT_FDCWD, r->args.paths.upper, O_RDONLY | O_DIRECTORY, 0);
	err = r->lock < 0 ? r->lock : ply_lock_upper(r->lock);
	if (err)
		ply_complain_of("cannot take the upper", r->args.paths.upper, err,
				err == -EBUSY ? "it is in use: unmount it first" : NULL);
	return err;
}

/* ---- the target ---- */

/* The new layer must lie in none of the others, or it would be in itself. */
static int is_in_a_layer(const struct run *r)
{
	const struct ply_stack *s = &r->merge.stack;
	struct statx top;

	for (unsigned i = 0; i < s->n; i++)
		if (!sys_statx(s->layers[i].root, "", STATX_INO, &top) &&
		    ply_layer_is_below(r->staging.parent, &top) > 0)
			return 1;
	return 0;
}

static int open_target(struct run *r)
{
	struct ply_merge *m = &r->merge;
	int err = ply_staging_open(&r->staging, r->target);

	if (err == -EEXIST || err == -EINVAL)
		m->trouble = err == -EEXIST ? "it exists, and is not an empty directory"
					    : "it has no name of its own";
	if (!err && is_in_a_layer(r)) {
		m->trouble = "it would lie within a layer";
		err = -EINVAL;
	}
	if (!err && !(m->flags & PLY_MERGE_DRY))
		err = ply_staging_make(&r->staging);
	m->root = r->staging.fd;
	if (!err && m->root >= 0)
		m->space = ply_space_probe(m->root, r->args.value[OPT_XATTRS]);
	return err;
}

/* What cannot be read there is told by the merge itself, if it matters. */
static int weigh(struct run *r)
{
	int err = ply_merge_weigh(&r->merge, &r->weight);

	if (!err || err == -EINTR)
		return err;
	r->weight = 0;
	ply_interrupt_start();
	return 0;
}

static int make(struct run *r)
{
	struct ply_merge *m = &r->merge;
	int err = open_target(r);

	m->progress.what = m->flags & PLY_MERGE_DRY ? "counting" : "merging";
	ply_progress_start(&m->progress, r->args.cli.progress);
	if (!err)
		err = weigh(r);
	if (!err)
		err = ply_merge_tree(m);
	m->progress.what = "writing to disk";
	if (!err && !(m->flags & PLY_MERGE_DRY))
		err = ply_staging_publish(&r->staging);
	ply_progress_end();
	ply_interrupt_end();
	if (err)
		ply_complain_of("cannot merge", m->where ? m->where : r->target, err, m->trouble);
	return err;
}

/* ---- in place ---- */

static int fold_pair(struct run *r, const char *top, const char *bottom, int is_look)
{
	struct ply_fold f = { .flags = r->fold_flags };
	int err = ply_fold_open(&f, top, bottom), is_dry = r->fold_flags & PLY_FOLD_DRY;

	f.progress.what = is_look || is_dry ? "looking" : "moving";
	ply_progress_start(&f.progress, r->args.cli.progress);
	if (!err && is_look)
		err = ply_fold_look(&f);
	else if (!err)
		err = ply_fold(&f);
	ply_progress_end();
	if (!is_look) {
		r->moved += f.moved;
		r->merge.dirs += f.merged;
		r->removed += f.removed;
		r->weight += f.bytes;
		r->merge.progress.data.copied += f.progress.data.copied;
		r->merge.progress.data.shared += f.progress.data.shared;
	}
	if (err) {
		ply_interrupt_end();
		ply_complain_of("cannot merge in place", f.where ? f.where : top, err, f.trouble);
	}
	ply_fold_close(&f);
	return err;
}

/* Each layer into the next, from the top; first a look at whether all of it can be done. */
static int fold_all(struct run *r)
{
	const struct ply_stack_paths *p = &r->args.paths;
	int err = 0;

	for (int is_look = 1; is_look >= 0; is_look--) {
		const char *top = p->upper ? p->upper : p->lowers[0];

		for (size_t i = p->upper ? 0 : 1; !err && i < p->nlowers; i++) {
			err = fold_pair(r, top, p->lowers[i], is_look);
			top = p->lowers[i];
		}
	}
	return err;
}

static int run(struct run *r)
{
	int err;

	if (r->args.set[OPT_IN_PLACE]) {
		ply_note_trusted(&r->args);
		return fold_all(r);
	}
	err = lock_upper(r);
	if (!err)
		err = open_stack(r);
	if (err)
		return err;
	ply_note_trusted(&r->args);
	return make(r);
}

/* ---- what is said ---- */

static uint64_t saved(const struct run *r)
{
	return r->weight > r->merge.room ? r->weight - r->merge.room : 0;
}

static void summary_in_place(const struct run *r)
{
	unsigned long long moved = r->moved, merged = r->merge.dirs, removed = r->removed;
	unsigned long long copied = r->merge.progress.data.copied, saved = r->weight;
	int is_dry = (r->fold_flags & PLY_FOLD_DRY) != 0;
	double seconds = ply_now() - r->start;

	if (r->args.cli.json)
		printf("{\"type\":\"summary\",\"moved\":%llu,\"merged\":%llu,\"removed\":%llu,"
		       "\"bytes_copied\":%llu,\"bytes_shared\":%llu,\"bytes_saved\":%llu,"
		       "\"dry_run\":%s,\"seconds\":%.3f}\n",
		       moved, merged, removed, copied,
		       (unsigned long long)r->merge.progress.data.shared, saved,
		       is_dry ? "true" : "false", seconds);
	else if (!r->args.cli.quiet)
		printf("%s%llu moved, %llu directories merged, %llu removed; %s copied, %s saved; %.1f s\n",
		       is_dry ? "would be: " : "", moved, merged, removed, ply_amount(copied).text,
		       ply_amount(saved).text, seconds);
}

static void summary(const struct run *r)
{
	const struct ply_merge *m = &r->merge;
	unsigned long long files = m->files, dirs = m->dirs, whiteouts = m->whiteouts;
	unsigned long long copied = m->progress.data.copied, shared = m->progress.data.shared;
	int is_dry = (m->flags & PLY_MERGE_DRY) != 0;
	double seconds = ply_now() - r->start;

	if (r->args.cli.json) {
		printf("{\"type\":\"summary\",\"layers\":%u,\"files\":%llu,\"directories\":%llu,"
		       "\"whiteouts\":%llu,\"bytes_copied\":%llu,\"bytes_shared\":%llu,"
		       "\"bytes_linked\":%llu,\"bytes_saved\":%llu,\"not_kept\":%llu,\"dry_run\":%s,"
		       "\"seconds\":%.3f}\n",
		       m->stack.bound, files, dirs, whiteouts, copied, shared,
		       (unsigned long long)m->linked, (unsigned long long)saved(r),
		       (unsigned long long)m->lost.count, is_dry ? "true" : "false", seconds);
		return;
	}
	if (r->args.cli.quiet)
		return;
	printf("%s%u layers: %llu files, %llu directories, %llu whiteouts; %s %s, ",
	       is_dry ? "would be: " : "", m->stack.bound, files, dirs, whiteouts,
	       ply_amount(copied).text, is_dry ? "at most" : "copied");
	if (m->flags & PLY_MERGE_LINK)
		printf("%s linked, ", ply_amount(m->linked).text);
	printf("%s shared, %s saved; %.1f s\n", ply_amount(shared).text, ply_amount(saved(r)).text,
	       seconds);
}

/* ---- the command line ---- */

static const struct {
	int option;
	unsigned flag;
} flags[] = {
	{ OPT_BASE, PLY_MERGE_BASE },
	{ OPT_LINK, PLY_MERGE_LINK },
	{ OPT_REFLINK, PLY_MERGE_SHARE },
	{ 'n', PLY_MERGE_DRY },
};

static void refuse_together(const struct ply_args *a, int one, int other, const char *words)
{
	if (a->set[one] && a->set[other])
		ply_args_refuse(&tool, "%s, not both", words);
}

static void take_args_in_place(struct run *r)
{
	static const int others[] = { 'o',	  OPT_BASE, OPT_BELOW,	OPT_FORMAT,
				      OPT_XATTRS, OPT_LINK, OPT_REFLINK };
	const struct ply_args *a = &r->args;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (a->set[others[i]])
			ply_args_refuse(
				&tool,
				"--in-place makes nothing new for other options to be about");
	if (a->paths.ndata || a->paths.nlowers + (a->paths.upper != NULL) < 2)
		ply_args_refuse(&tool, "--in-place takes two layers or more, none of data only");
	r->fold_flags = (a->set['n'] ? PLY_FOLD_DRY : 0) | (a->cli.verbose ? PLY_FOLD_TELL : 0);
}

static void take_args(struct run *r)
{
	const struct ply_args *a = &r->args;
	const char *space = a->value[OPT_XATTRS], *form = a->value[OPT_FORMAT];

	if (a->set[OPT_IN_PLACE]) {
		take_args_in_place(r);
		return;
	}
	refuse_together(a, OPT_BASE, OPT_BELOW, "--base or --below");
	refuse_together(a, OPT_LINK, OPT_REFLINK, "--link or --reflink");
	refuse_together(a, OPT_XATTRS, OPT_FORMAT, "--xattrs or --format");
	if (a->set[OPT_LINK] && a->paths.upper)
		ply_args_refuse(
			&tool,
			"--link is for layers that nobody writes to any more, not for an upper");
	if (space && strcmp(space, "trusted") != 0 && strcmp(space, "user") != 0)
		ply_args_refuse(&tool, "--xattrs=trusted or user");
	if (form && !(r->merge.form = ply_form_find(form)))
		ply_args_refuse(&tool, "--format=overlay-user, overlay-trusted or wh");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		r->merge.flags |= a->set[flags[i].option] ? flags[i].flag : 0;
	r->merge.flags |= a->cli.verbose ? PLY_MERGE_TELL : 0;
	r->target = a->set['o'] ? a->value['o'] : a->operands[0];
}

int main(int argc, char **argv)
{
	static struct run r = { .staging = { .parent = -1, .fd = -1 },
				.lock = -1,
				.merge = { .own.fd = -1, .at = "" } };
	int err;

	ply_args_parse(&r.args, argc, argv, &tool);
	take_args(&r);
	r.start = ply_now();
	ply_interrupt_start();
	err = run(&r);
	ply_interrupt_end();
	if (!err) {
		if (!r.args.cli.quiet)
			ply_lost_tell(&r.merge.lost);
		if (r.args.set[OPT_IN_PLACE])
			summary_in_place(&r);
		else
			summary(&r);
	}
	ply_merge_free(&r.merge);
	ply_staging_close(&r.staging);
	if (r.lock >= 0)
		sys_close(r.lock);
	ply_args_free(&r.args);
	if (err)
		ply_interrupt_die();
	if (!err)
		return fflush(stdout) || ferror(stdout) ? PLY_EXIT_TROUBLE : PLY_EXIT_OK;
	return err == -EBUSY ? PLY_EXIT_BUSY : PLY_EXIT_TROUBLE;
}
