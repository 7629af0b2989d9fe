/* plyfs-ls: which layer each name of a stack comes from, and what is hidden by what. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/interrupt.h"
#include "common/survey.h"

#define PATHS_MAX 4096
#define COLUMN 6

static const struct ply_own_option own[] = {
	{ 'a', "all", NULL, "also what is hidden, and by what" },
	{ 'd', "directory", NULL, "a directory itself, not what is in it" },
	{ 'R', "recursive", NULL, "and the directories below" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[-a] [-d] [-R] [-j] [-0] [-q] [-v] -l LOWER[:LOWER...] [-u UPPER] [PATH]...",
	.text = "Lists what a stack shows at PATH (the root), each name with the layers that it comes from, counted\n"
		"from the top, from 0. With -a also whiteouts (w) and what is hidden.\n"
		"Exit status: 0 done, 2 trouble, or no such path.\n",
	.own = own,
	.min = 0,
	.max = PATHS_MAX,
	.usage_exit = PLY_EXIT_TROUBLE,
};

struct ls {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_progress progress;
	const char *only; /* -d: the last component of the path that is asked for */
};

/* "0+2": all layers that a directory is merged from, or the one that has the file. */
static char *layers_of(const struct ply_seen *seen, const char *between)
{
	const struct ply_dirs *dirs = seen->found->dirs;
	size_t size = 16 + (dirs ? dirs->nparts * (size_t)12 : 0);
	char *text = malloc(size), *to = text;

	if (!text)
		return strdup("?");
	if (seen->how != PLY_SEEN_SHOWN || !S_ISDIR(seen->stx->stx_mode) || !dirs) {
		sprintf(text, "%u", seen->layer);
		return text;
	}
	for (unsigned i = 0; i < dirs->nparts; i++)
		to += sprintf(to, "%s%u", i ? between : "", dirs->parts[i].layer);
	return text;
}

static char letter_of(const struct ply_seen *seen)
{
	if (seen->how == PLY_SEEN_WHITEOUT)
		return 'w';
	switch (seen->stx->stx_mode & S_IFMT) {
	case S_IFREG:
		return '-';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	case S_IFCHR:
		return 'c';
	default:
		return 'b';
	}
}

static void put_attrs(const struct ply_seen *seen)
{
	const struct statx *stx = seen->stx;

	if (seen->how == PLY_SEEN_WHITEOUT)
		printf("     %14s %12s ", "", "");
	else
		printf("%04o %6u:%-7u %12llu ", stx->stx_mode & 07777, stx->stx_uid, stx->stx_gid,
		       (unsigned long long)stx->stx_size);
}

static void put_reason(const struct ply_seen *seen)
{
	char *path;

	if (seen->how != PLY_SEEN_HIDDEN)
		return;
	path = ply_escape(seen->by->path);
	if (seen->by->how == PLY_CUT_NONE)
		printf("  (hidden: %s was renamed)", path);
	else
		printf("  (hidden by %s%s %s in layer %u)",
		       seen->by->how == PLY_CUT_OPAQUE ? "opaque directory" : "",
		       seen->by->how == PLY_CUT_OPAQUE ? "" : ply_hider_word(seen->by->how), path,
		       seen->by->layer);
	free(path);
}

static void put_text(const struct ls *ls, const struct ply_seen *seen)
{
	const char *name = ls->args.set['R'] ? seen->path : seen->name;
	char *escaped = ply_escape(name), *layers = layers_of(seen, "+");

	printf("%-*s %c ", COLUMN, layers, letter_of(seen));
	if (ls->args.cli.verbose)
		put_attrs(seen);
	fputs(escaped, stdout);
	put_reason(seen);
	putchar('\n');
	free(escaped);
	free(layers);
}

static void put_json(const struct ply_seen *seen)
{
	char *layers = layers_of(seen, ",");

	printf("{\"kind\":\"%s\",\"layers\":[%s],\"path\":",
	       seen->how == PLY_SEEN_WHITEOUT ? "whiteout" : ply_type_word(seen->stx->stx_mode),
	       layers);
	ply_put_json(stdout, seen->path);
	if (seen->how != PLY_SEEN_WHITEOUT)
		printf(",\"mode\":%u,\"uid\":%u,\"gid\":%u,\"size\":%llu",
		       seen->stx->stx_mode & 07777U, seen->stx->stx_uid, seen->stx->stx_gid,
		       (unsigned long long)seen->stx->stx_size);
	if (seen->how == PLY_SEEN_HIDDEN) {
		printf(",\"hidden_by\":\"%s\"", ply_hider_word(seen->by->how));
		if (seen->by->how != PLY_CUT_NONE)
			printf(",\"hidden_in\":%u", seen->by->layer);
		fputs(",\"hidden_at\":", stdout);
		ply_put_json(stdout, seen->by->path);
	}
	puts("}");
	free(layers);
}

static int on_seen(void *arg, const struct ply_seen *seen)
{
	struct ls *ls = arg;

	ls->progress.entries++;
	if (seen->how == PLY_SEEN_MERGED || (ls->only && strcmp(ls->only, seen->name) != 0))
		return 0;
	ply_progress_pause();
	if (ls->args.cli.json)
		put_json(seen);
	else if (ls->args.zero)
		ply_put_name(&ls->args, ls->args.set['R'] ? seen->path : seen->name, "");
	else
		put_text(ls, seen);
	ply_progress_resume();
	return 0;
}

static int on_trouble(void *arg, const char *path, int err)
{
	(void)arg;
	ply_complain("cannot read", path, err);
	return 0;
}

/* With -d the directory that has it is looked through for the one name. */
static int list_itself(struct ls *ls, const struct ply_survey *survey, const char *path)
{
	size_t len = strlen(path);
	char *dir, *slash;
	int err;

	while (len && path[len - 1] == '/')
		len--;
	dir = strndup(path, len);
	if (!dir)
		return -ENOMEM;
	slash = strrchr(dir, '/');
	ls->only = slash ? slash + 1 : dir;
	if (slash)
		*slash = '\0';
	err = ply_survey(survey, slash ? dir : "");
	ls->only = NULL;
	free(dir);
	return err;
}

static int list(struct ls *ls, const char *path)
{
	struct ply_survey survey = {
		.stack = &ls->stack, .seen = on_seen, .trouble = on_trouble, .arg = ls
	};
	int err;

	if (ls->args.set['a'])
		survey.flags |= PLY_SURVEY_HIDDEN;
	if (ls->args.set['R'] && !ls->args.set['d'])
		survey.flags |= PLY_SURVEY_BELOW;
	err = ls->args.set['d'] && path[strspn(path, "/")] ? list_itself(ls, &survey, path)
							   : ply_survey(&survey, path);
	if (err)
		ply_complain("cannot list", path, err);
	return err;
}

int main(int argc, char **argv)
{
	struct ls ls = { 0 };
	int err;

	ply_args_parse(&ls.args, argc, argv, &tool);
	ply_interrupt_start();
	err = ply_stack_open(&ls.stack, &ls.args.paths);
	if (!err) {
		ply_note_trusted(&ls.args);
		ply_note_mounted(&ls.args);
		ls.progress.what = "listing";
		ply_progress_start(&ls.progress, ls.args.cli.progress);
		if (!ls.args.noperands)
			err = list(&ls, "/");
		for (int i = 0; i < ls.args.noperands && err != -EINTR; i++)
			err = list(&ls, ls.args.operands[i]);
		ply_progress_end();
	}
	ply_interrupt_end();
	ply_stack_close(&ls.stack);
	ply_args_free(&ls.args);
	if (err == -EINTR)
		ply_interrupt_die();
	return err || ply_complaints() || fflush(stdout) || ferror(stdout) ? PLY_EXIT_TROUBLE
									   : PLY_EXIT_OK;
}
