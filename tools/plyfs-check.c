/*
 * plyfs-check: looks through the layers of a stack, its upper's marks and the work directory for what is not as
 * plyfs or the kernel's overlayfs leave it. Repairs on request what changes nothing that the stack shows wrongly.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/busy.h"
#include "common/check.h"
#include "common/interrupt.h"

/* As fsck(8). */
enum {
	EXIT_CLEAN = 0,
	EXIT_REPAIRED = 1,
	EXIT_LEFT = 4,
	EXIT_TROUBLE = 8,
	EXIT_USAGE = 16,
};

enum {
	OPT_EXPLAIN = 256,
	OPT_LAYER,
};

static int explain(const char *name)
{
	if (!ply_explain(name))
		return fflush(stdout) || ferror(stdout) ? EXIT_TROUBLE : EXIT_CLEAN;
	ply_tell("there is no finding of that name; --explain=all has them all");
	return EXIT_USAGE;
}

static const struct ply_own_option own[] = {
	{ 'n', "dry-run", NULL, "change nothing; the default" },
	{ 'p', "repair", NULL, "repair in upper and work what is safe" },
	{ 'y', "repair-all", NULL, "repair what can be, also where it may be meant otherwise" },
	{ OPT_LAYER, "layer", "N", "repair in layer N as well, counted from the top, from 0" },
	{ OPT_EXPLAIN, "explain", "NAME", "what a finding means, and what a repair does" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"[-n|-p|-y [--layer=N]] [-j] [-0] [-q] [-v] [-l LOWER[:LOWER...]] [-u UPPER [-w WORK]]",
	.text = "Checks layers, and an upper with its work directory. Findings have a severity, a name, a layer\n"
		"and a path. Exit status, the sum of: 0 clean, 1 repaired, 4 findings left, 8 trouble, 16 usage.\n",
	.own = own,
	.min = 0,
	.max = 0,
	.usage_exit = EXIT_USAGE,
	.answers = OPT_EXPLAIN,
	.answer = explain,
};

static int lock(struct ply_check *c)
{
	int err;

	if (!c->args.paths.upper)
		return 0;
	c->upper_fd = sys_open(AT_FDCWD, c->args.paths.upper, O_RDONLY | O_DIRECTORY, 0);
	err = c->upper_fd < 0 ? c->upper_fd : ply_lock_upper(c->upper_fd);
	if (err == -EBUSY && !c->repairs) {
		if (!c->args.cli.quiet)
			ply_tell(
				"note: the upper is in use: what its mount is at work on may be told, and the "
				"work directory is not checked");
		c->is_busy = 1;
		err = 0;
	} else if (err == -EBUSY) {
		ply_tell("the upper is in use: unmount it first");
	} else if (err) {
		ply_complain("cannot open the upper", c->args.paths.upper, err);
	}
	return err;
}

/* By its path, as what the stack has of it may be read-only. */
static int open_layer(struct ply_check *c)
{
	const char *path;
	int err;

	if (c->layer < 0)
		return 0;
	if ((unsigned)c->layer >= c->stack.n)
		ply_args_refuse(&tool, "there is no layer %d", c->layer);
	if (!c->layer && c->stack.has_upper)
		return 0;
	path = c->stack.layers[c->layer].path;
	c->layer_fd = sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	err = c->layer_fd < 0 ? c->layer_fd : ply_lock_upper(c->layer_fd);
	if (err)
		ply_complain_of("cannot repair the layer", path, err,
				err == -EBUSY ? "it is in use as an upper: unmount it first"
					      : NULL);
	return err;
}

static int check(struct ply_check *c)
{
	int err = ply_check_layout(c);

	for (unsigned i = 0; !err && i < c->stack.n; i++)
		err = ply_check_layer(c, i);
	if (!err && c->args.paths.work && c->args.paths.upper)
		err = ply_check_work(c);
	if (err)
		ply_complain("cannot go on at", "", err);
	return err;
}

static void summary(const struct ply_check *c)
{
	if (c->args.cli.json)
		printf("{\"type\":\"summary\",\"findings\":%u,\"repaired\":%u}\n", c->found,
		       c->repaired);
	else if (!c->args.cli.quiet && !c->args.zero && !c->found)
		puts("clean");
	else if (!c->args.cli.quiet && !c->args.zero)
		printf("%u found, %u repaired\n", c->found, c->repaired);
}

static void take_args(struct ply_check *c)
{
	const struct ply_args *a = &c->args;

	if (a->value['w']) {
		free(c->args.paths.work);
		c->args.paths.work = strdup(a->value['w']);
	}
	if ((a->set['n'] > 0) + (a->set['p'] > 0) + (a->set['y'] > 0) > 1)
		ply_args_refuse(&tool, "one of --dry-run, --repair and --repair-all");
	c->repairs = a->set['y'] ? PLY_REMEDY_ALL : a->set['p'] ? PLY_REMEDY_SAFE : PLY_REMEDY_NONE;
	if (a->set[OPT_LAYER] && !c->repairs)
		ply_args_refuse(&tool, "--layer is for --repair and --repair-all");
	if (a->set[OPT_LAYER])
		c->layer = (int)ply_args_number(a, OPT_LAYER);
}

int main(int argc, char **argv)
{
	struct ply_check c = { .upper_fd = -1, .layer = -1, .layer_fd = -1 };
	int err, status;

	ply_args_parse(&c.args, argc, argv, &tool);
	take_args(&c);
	ply_interrupt_start();
	err = lock(&c);
	if (!err)
		err = ply_stack_open(&c.stack, &c.args.paths);
	if (!err && (err = open_layer(&c)) == 0) {
		ply_note_trusted(&c.args);
		c.progress.what = "checking";
		ply_progress_start(&c.progress, c.args.cli.progress);
		err = check(&c);
		ply_progress_end();
		if (!err)
			summary(&c);
	}
	ply_interrupt_end();
	ply_stack_close(&c.stack);
	if (c.upper_fd >= 0)
		sys_close(c.upper_fd);
	if (c.layer_fd >= 0)
		sys_close(c.layer_fd);
	ply_args_free(&c.args);
	if (err == -EINTR)
		ply_interrupt_die();
	status = (c.repaired ? EXIT_REPAIRED : 0) | (c.found > c.repaired ? EXIT_LEFT : 0);
	if (err || ply_complaints() || fflush(stdout) || ferror(stdout))
		status |= EXIT_TROUBLE;
	return status;
}
