/*
 * plyfs-add -m MNT LAYER: puts one more lower layer into a mount that is in use, below all others that are merged, as
 * if it had been mounted with it. The server does it; here it is only asked, again where it was busy.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/interrupt.h"
#include "common/live.h"

#define PAUSE_MS 2000
#define COMMIT_SECONDS 60
#define RETRY_MS 50

enum {
	OPT_PAUSE = 256,
	OPT_COMMIT,
};

static const struct ply_own_option own[] = {
	{ 'm', "mount", "MNT", "the mount" },
	{ OPT_PAUSE, "pause-limit", "MS", "wait no longer for requests under way" },
	{ OPT_COMMIT, "commit-timeout", "S", "try for so long, 60 by default" },
	{ 'n', "dry-run", NULL, "change nothing, say whether it could be" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[-jnqv] -m MNT LAYER",
	.text = "Puts a directory into a running mount as one more lower layer, below the others. What it has and they\n"
		"do not hide appears, while the mount is in use.\n"
		"Exit status: 0 done, 2 trouble, 3 the mount was never quiet.\n",
	.own = own,
	.min = 1,
	.max = 1,
	.usage_exit = PLY_EXIT_TROUBLE,
	.takes_no_stack = 1,
};

static unsigned number(const struct ply_args *a, int letter, unsigned otherwise)
{
	return a->set[letter] ? (unsigned)ply_args_number(a, letter) : otherwise;
}

static int ask(struct ply_live *live, const struct ply_args *args, struct ply_ctl_add *a)
{
	double give_up = ply_now() + number(args, OPT_COMMIT, COMMIT_SECONDS);
	int err;

	for (;;) {
		err = ply_live_add(live, a);
		if (err != -EBUSY || ply_now() > give_up)
			return err;
		if (poll(NULL, 0, RETRY_MS) < 0)
			return -EINTR;
	}
}

static void tell(struct ply_live *live, const struct ply_args *args, const struct ply_ctl_add *a)
{
	double ms = (double)a->pause_us / 1000;

	if (args->cli.json) {
		printf("{\"directories\":%u,\"dry_run\":%s,\"layer\":%u,\"path\":", a->dirs,
		       a->is_dry_run ? "true" : "false", a->index);
		ply_put_json(stdout, a->layer);
		printf(",\"pause_ms\":%.3f,\"type\":\"summary\"}\n", ms);
		return;
	}
	if (args->cli.quiet)
		return;
	if (a->is_dry_run) {
		printf("would be the last of the layers that are merged\n");
		return;
	}
	printf("it is layer %u; paused for %.1f ms\n", a->index, ms);
	if (args->cli.verbose)
		printf("it takes part in %u of the directories in use\n", a->dirs);
	ply_live_say_stack(live);
}

static int run(struct ply_live *live, const struct ply_args *args)
{
	struct ply_ctl_add a = { .wait_ms = number(args, OPT_PAUSE, PAUSE_MS),
				 .is_dry_run = args->set['n'] > 0 };
	int err = sys_realpath(args->operands[0], a.layer);

	if (err) {
		ply_complain("cannot open the layer", args->operands[0], err);
		return err;
	}
	err = ply_live_open(live, args->value['m']);
	if (!err)
		err = ask(live, args, &a);
	if (err == -EBUSY)
		ply_tell("the mount was too busy, or frozen: see --pause-limit, --commit-timeout");
	if (!err)
		tell(live, args, &a);
	return err;
}

int main(int argc, char **argv)
{
	struct ply_live live = { .fd = -1 };
	struct ply_args args;
	int err;

	ply_args_parse(&args, argc, argv, &tool);
	if (!args.set['m'])
		ply_args_refuse(&tool, "a mount (-m) and a layer are wanted");
	ply_interrupt_start();
	err = run(&live, &args);
	ply_interrupt_end();
	ply_live_close(&live);
	ply_args_free(&args);
	if (err)
		ply_interrupt_die();
	return !err ? PLY_EXIT_OK : err == -EBUSY ? PLY_EXIT_BUSY : PLY_EXIT_TROUBLE;
}
