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

static const struct ply_own_option own[] = {
	{ 'n', "dry-run", NULL, "change nothing; the default" },
	{ 'p', "repair", NULL, "repair in upper and work what is safe" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[-n|-p] [-j] [-0] [-q] [-v] [-l LOWER[:LOWER...]] [-u UPPER [-w WORK]]",
	.text = "Checks layers, and an upper with its work directory. Findings have a severity, a name, a layer\n"
		"and a path. Exit status, the sum of: 0 clean, 1 repaired, 4 findings left, 8 trouble, 16 usage.\n",
	.own = own,
	.min = 0,
	.max = 0,
	.usage_exit = EXIT_USAGE,
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

int main(int argc, char **argv)
{
	struct ply_check c = { .upper_fd = -1 };
	int err, status;

	ply_args_parse(&c.args, argc, argv, &tool);
	if (c.args.set['n'] && c.args.set['p'])
		ply_args_refuse(&tool, "--dry-run or --repair, not both");
	c.repairs = c.args.set['p'];
	ply_interrupt_start();
	err = lock(&c);
	if (!err && (err = ply_stack_open(&c.stack, &c.args.paths)) == 0) {
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
	ply_args_free(&c.args);
	if (err == -EINTR)
		ply_interrupt_die();
	status = (c.repaired ? EXIT_REPAIRED : 0) | (c.found > c.repaired ? EXIT_LEFT : 0);
	if (err || ply_complaints() || fflush(stdout) || ferror(stdout))
		status |= EXIT_TROUBLE;
	return status;
}
