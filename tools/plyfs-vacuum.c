/*
 * plyfs-vacuum: finds what an upper holds in vain (files that are as those they hide, directories with nothing in
 * them that says something else than below, whiteouts of nothing) and removes it on request. The stack shows
 * the same tree afterwards. Never writes to a lower layer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/busy.h"
#include "common/compare.h"
#include "common/interrupt.h"
#include "common/vacuum.h"

enum {
	OPT_IGNORE_MTIME = 256,
	OPT_DEDUPE,
};

static const struct ply_own_option own[] = {
	{ 'f', "force", NULL, "remove what is found" },
	{ 'n', "dry-run", NULL, "change nothing; the default" },
	{ OPT_IGNORE_MTIME, "ignore-mtime", NULL, "what differs in its time alone is the same" },
	{ OPT_DEDUPE, "dedupe", NULL, "files that stay share equal data with those they hide" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"[-f|-n] [--ignore-mtime] [--dedupe] [-j] [-0] [-q] [-v] -l LOWER[:LOWER...] -u UPPER [-w WORK]",
	.text = "Finds what the upper of a stack that is not mounted holds in vain: files and directories that are\n"
		"as those they hide, whiteouts of nothing. With -f it is removed.\n"
		"Exit status: 0 nothing found, or done; 1 found, 2 trouble, 3 the upper is in use.\n",
	.own = own,
	.min = 0,
	.max = 0,
	.usage_exit = PLY_EXIT_TROUBLE,
};

/* ---- telling ---- */

static const char *const kinds[] = { "file", "whiteout", "directory" };

static void put(const struct ply_vacuum *v, const struct ply_spare *spare, const char *what,
		uint64_t bytes)
{
	char *path = ply_spare_path(spare);

	if (v->args.cli.json) {
		printf("{\"kind\":\"%s\",\"path\":", what);
		ply_put_json(stdout, path ? path : "?");
		printf(",\"bytes\":%llu}\n", (unsigned long long)bytes);
	} else {
		if (!v->args.zero)
			printf("%-9s ", what);
		ply_put_name(&v->args, path ? path : "?", "");
	}
	free(path);
}

static void put_plan(const struct ply_vacuum *v)
{
	for (size_t i = 0; i < v->n; i++) {
		const struct ply_spare *spare = v->spares[i];

		if (spare->flags & PLY_SPARE_GOES)
			put(v, spare, kinds[spare->kind], spare->bytes);
		else if (spare->flags & PLY_SPARE_HAS_COPY)
			put(v, spare, "copy", spare->size);
	}
}

static void summary(const struct ply_vacuum *v)
{
	int is_done = v->args.set['f'];

	if (v->args.cli.json) {
		printf("{\"type\":\"summary\",\"files\":%llu,\"directories\":%llu,\"whiteouts\":%llu,"
		       "\"bytes\":%llu,\"inodes\":%llu,\"copies\":%llu,\"copied_bytes\":%llu,\"done\":%s}\n",
		       (unsigned long long)v->files, (unsigned long long)v->dirs,
		       (unsigned long long)v->whiteouts, (unsigned long long)v->bytes,
		       (unsigned long long)v->inodes, (unsigned long long)v->copies,
		       (unsigned long long)v->copied_bytes, is_done ? "true" : "false");
		return;
	}
	if (v->args.cli.quiet || v->args.zero)
		return;
	printf("%llu files, %llu directories, %llu whiteouts: %s and %llu inodes%s",
	       (unsigned long long)v->files, (unsigned long long)v->dirs,
	       (unsigned long long)v->whiteouts, ply_amount(v->bytes).text,
	       (unsigned long long)v->inodes, is_done ? " saved" : " to save");
	if (v->looks_for_copies)
		printf("; %s%s of %llu files", ply_amount(v->copied_bytes).text,
		       is_done ? " shared" : " to share", (unsigned long long)v->copies);
	putchar('\n');
}

/* ---- opening ---- */

static int is_for_dirs(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	const struct ply_vacuum *v = arg;
	struct statx stx;
	int err = sys_statx(v->index, name, STATX_TYPE, &stx);

	(void)type;
	(void)ino;
	return err ? err : S_ISDIR(stx.stx_mode);
}

/* The kernel's index for NFS also has directories: by it they, and all files, are found again, and stay. */
static int open_index(struct ply_vacuum *v)
{
	const char *path = v->args.paths.work;
	int work = path ? sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0) : -ENOENT, err = 0;

	if (work < 0) {
		if (path)
			ply_complain("cannot open the work directory", path, work);
		return path ? work : 0;
	}
	v->index = sys_open(work, PLY_INDEX_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	sys_close(work);
	if (v->index >= 0) {
		err = ply_layer_list(v->index, is_for_dirs, v);
		v->index_is_for_nfs = err > 0;
	} else if (v->index != -ENOENT) {
		err = v->index;
	}
	if (err < 0)
		ply_complain("cannot read the index of hard links in", path, err);
	return err < 0 ? err : 0;
}

static int open_all(struct ply_vacuum *v)
{
	int err;

	v->upper = sys_open(AT_FDCWD, v->args.paths.upper, O_RDONLY | O_DIRECTORY, 0);
	err = v->upper < 0 ? v->upper : ply_lock_upper(v->upper);
	if (err) {
		ply_complain_of("cannot take the upper", v->args.paths.upper, err,
				err == -EBUSY ? "it is in use: unmount it first" : NULL);
		return err;
	}
	err = ply_stack_open(&v->stack, &v->args.paths);
	if (!err)
		err = ply_vacuum_check_layout(v);
	if (!err)
		err = open_index(v);
	if (!err)
		ply_note_trusted(&v->args);
	return err;
}

/* ---- the whole ---- */

static int scan(struct ply_vacuum *v)
{
	int err;

	v->progress.what = "comparing";
	ply_progress_start(&v->progress, v->args.cli.progress);
	err = ply_vacuum_scan(v);
	ply_progress_end();
	return err;
}

static int act(struct ply_vacuum *v)
{
	int err;

	/* From here on each step is done whole. */
	ply_interrupt_end();
	v->progress = (struct ply_progress){ .what = "sharing", .total_bytes = v->copied_bytes };
	ply_progress_start(&v->progress, v->args.cli.progress);
	err = ply_interrupt_came() ? -EINTR : ply_vacuum_share(v);
	if (!err || err == -EIO) {
		v->progress =
			(struct ply_progress){ .what = "removing",
					       .total_entries = v->files + v->dirs + v->whiteouts };
		err = ply_vacuum_act(v);
	}
	ply_progress_end();
	return err;
}

static int run(struct ply_vacuum *v)
{
	int err = open_all(v);

	if (err)
		return err;
	err = scan(v);
	if (!err) {
		ply_vacuum_plan(v);
		put_plan(v);
		fflush(stdout);
		err = v->args.set['f'] ? act(v) : 0;
	}
	if (!err)
		summary(v);
	else if (err != -EIO)
		ply_complain_of("cannot vacuum", v->args.paths.upper, err, v->trouble);
	return err;
}

static void take_args(struct ply_vacuum *v, int argc, char **argv)
{
	ply_args_parse(&v->args, argc, argv, &tool);
	if (!v->args.paths.upper || v->args.paths.nlowers == v->args.paths.ndata)
		ply_args_refuse(&tool, "an upper and a lower layer are needed");
	if (v->args.set['f'] && v->args.set['n'])
		ply_args_refuse(&tool, "--force or --dry-run, not both");
	v->ignored = v->args.set[OPT_IGNORE_MTIME] ? PLY_DIFFERS_MTIME : 0;
	v->looks_for_copies = v->args.set[OPT_DEDUPE];
}

int main(int argc, char **argv)
{
	struct ply_vacuum v = { .upper = -1, .index = -1 };
	int err, is_found;

	take_args(&v, argc, argv);
	ply_interrupt_start();
	err = run(&v);
	ply_interrupt_end();
	is_found = v.files || v.dirs || v.whiteouts || v.copies;
	ply_vacuum_free(&v);
	ply_stack_close(&v.stack);
	if (v.index >= 0)
		sys_close(v.index);
	if (v.upper >= 0)
		sys_close(v.upper);
	if (err == -EINTR)
		ply_interrupt_die();
	is_found = is_found && !v.args.set['f'];
	ply_args_free(&v.args);
	if (err == -EBUSY)
		return PLY_EXIT_BUSY;
	if (err || ply_complaints() || fflush(stdout) || ferror(stdout))
		return PLY_EXIT_TROUBLE;
	return is_found ? PLY_EXIT_FOUND : PLY_EXIT_OK;
}
