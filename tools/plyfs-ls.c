/* plyfs-ls: which layer each name of a stack comes from, and what is hidden by what. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/interrupt.h"
#include "common/survey.h"

#define PATHS_MAX 4096
#define COLUMN 6
#define READLINK_MAX 4096

enum {
	OPT_LONG = 256,
};

static const struct ply_own_option own[] = {
	{ 'a', "all", NULL, "also what is hidden, and by what; also -H" },
	{ 'H', "hidden", NULL, "the same" },
	{ OPT_LONG, "long", NULL, "with attributes, as ls -l does; also -v" },
	{ 'd', "directory", NULL, "a directory itself, not what is in it" },
	{ 'R', "recursive", NULL, "and the directories below" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"[-H] [-d] [-R] [--long] [-j] [-0] [-q] [-v] -l LOWER[:LOWER...] [-u UPPER] [PATH]...",
	.text = "Lists what a stack shows at PATH (the root), each name with the layers that it comes from, counted\n"
		"from the top, from 0. With -H also whiteouts (w) and what is hidden.\n"
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
	int shows_all, is_long;
	const char *only; /* -d: the last component of the path that is asked for */
	uint64_t names, whiteouts, hidden;
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
	static const char letters[] = "?pc?d?b?-?l?s???";

	return seen->how == PLY_SEEN_WHITEOUT ? 'w' : letters[(seen->stx->stx_mode & S_IFMT) >> 12];
}

/* "rwxr-sr-x", as of ls. */
static void put_mode(unsigned mode)
{
	static const unsigned set_id[] = { S_ISUID, S_ISGID, S_ISVTX };
	char text[] = "rwxrwxrwx";

	for (unsigned i = 0; i < 9; i++)
		if (!(mode & (0400U >> i)))
			text[i] = '-';
	for (unsigned i = 0; i < 3; i++)
		if (mode & set_id[i])
			text[3 * i + 2] = (char)((i == 2 ? 't' : 's') -
						 (text[3 * i + 2] == '-' ? 'a' - 'A' : 0));
	fputs(text, stdout);
}

static void put_attrs(const struct ply_seen *seen)
{
	const struct statx *stx = seen->stx;
	time_t seconds = stx->stx_mtime.tv_sec;
	char when[32] = "?", owner[32], size[32];
	struct tm tm;

	if (seen->how == PLY_SEEN_WHITEOUT) {
		printf("%*s ", 9 + 1 + 3 + 1 + 11 + 1 + 11 + 1 + 16, "");
		return;
	}
	if (localtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	snprintf(owner, sizeof(owner), "%u:%u", stx->stx_uid, stx->stx_gid);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)stx->stx_size);
	if (S_ISCHR(stx->stx_mode) || S_ISBLK(stx->stx_mode))
		snprintf(size, sizeof(size), "%u,%u", stx->stx_rdev_major, stx->stx_rdev_minor);
	put_mode(stx->stx_mode);
	printf(" %3u %-11s %11s %16s ", stx->stx_nlink, owner, size, when);
}

/* Of a symlink; the caller frees it. NULL for what is none. */
static char *target_of(const struct ply_seen *seen)
{
	char *target;
	ssize_t n;

	if (seen->how == PLY_SEEN_WHITEOUT || !S_ISLNK(seen->stx->stx_mode))
		return NULL;
	target = malloc(READLINK_MAX + 1);
	n = target ? sys_readlink(seen->dirfd, seen->disk_name, target, READLINK_MAX) : -ENOMEM;
	if (n < 0) {
		ply_complain("cannot read the symlink", seen->path, (int)n);
		free(target);
		return NULL;
	}
	target[n] = '\0';
	return target;
}

static void put_target(const struct ply_seen *seen)
{
	char *target = target_of(seen), *escaped = target ? ply_escape(target) : NULL;

	if (escaped)
		printf(" -> %s", escaped);
	free(escaped);
	free(target);
}

/* What ended the search for more of what is shown, and where it was found, if that is not plain. */
static void put_end(const struct ply_seen *seen)
{
	const struct ply_found *f = seen->found;

	if (*f->entry)
		printf("  (the name is in layer %u)", f->name_layer);
	if (f->kind != PLY_FOUND_DIR || !f->dirs)
		return;
	for (unsigned i = 1; f->is_redirected && i < f->dirs->nparts; i++)
		if (strcmp(f->dirs->parts[i].path, f->dirs->parts[i - 1].path) != 0) {
			char *path = ply_escape(f->dirs->parts[i].path);

			printf("  (%s in layer %u)", path, f->dirs->parts[i].layer);
			free(path);
		}
	if (f->cut == PLY_CUT_OPAQUE)
		printf("  (opaque in layer %u)", f->cut_layer);
}

static void put_reason(const struct ply_seen *seen)
{
	char *text = seen->how == PLY_SEEN_HIDDEN ? ply_hider_text(seen->by) : NULL;

	if (text)
		printf("  (%s)", text);
	free(text);
}

static void put_text(const struct ls *ls, const struct ply_seen *seen)
{
	const char *name = ls->args.set['R'] ? seen->path : seen->name;
	char *escaped = ply_escape(name), *layers = layers_of(seen, "+");

	printf("%-*s %c", COLUMN, layers, letter_of(seen));
	if (ls->is_long)
		put_attrs(seen);
	else
		putchar(' ');
	fputs(escaped, stdout);
	if (ls->is_long)
		put_target(seen);
	if (ls->shows_all && seen->how == PLY_SEEN_SHOWN)
		put_end(seen);
	put_reason(seen);
	putchar('\n');
	free(escaped);
	free(layers);
}

/* ---- JSON ---- */

static void put_json_attrs(const struct ls *ls, const struct ply_seen *seen)
{
	const struct statx *stx = seen->stx;
	char *target = ls->is_long ? target_of(seen) : NULL;

	printf(",\"mode\":%u,\"uid\":%u,\"gid\":%u,\"size\":%llu,\"links\":%u,\"mtime\":%lld.%09u",
	       stx->stx_mode & 07777U, stx->stx_uid, stx->stx_gid,
	       (unsigned long long)stx->stx_size, stx->stx_nlink, (long long)stx->stx_mtime.tv_sec,
	       stx->stx_mtime.tv_nsec);
	if (target) {
		fputs(",\"target\":", stdout);
		ply_put_json(stdout, target);
	}
	free(target);
}

static void put_json(const struct ls *ls, const struct ply_seen *seen)
{
	char *layers = layers_of(seen, ",");

	printf("{\"kind\":\"%s\",\"layers\":[%s],\"path\":",
	       seen->how == PLY_SEEN_WHITEOUT ? "whiteout" : ply_type_word(seen->stx->stx_mode),
	       layers);
	ply_put_json(stdout, seen->path);
	if (seen->how != PLY_SEEN_WHITEOUT)
		put_json_attrs(ls, seen);
	if (seen->how == PLY_SEEN_SHOWN && *seen->found->entry)
		printf(",\"name_layer\":%u", seen->found->name_layer);
	if (seen->how == PLY_SEEN_SHOWN && seen->found->cut == PLY_CUT_OPAQUE)
		printf(",\"opaque_in\":%u", seen->found->cut_layer);
	if (seen->how == PLY_SEEN_HIDDEN)
		ply_put_hider_json(seen->by);
	puts("}");
	free(layers);
}

static void summary(const struct ls *ls)
{
	printf("{\"type\":\"summary\",\"names\":%llu,\"whiteouts\":%llu,\"hidden\":%llu}\n",
	       (unsigned long long)ls->names, (unsigned long long)ls->whiteouts,
	       (unsigned long long)ls->hidden);
}

/* ---- listing ---- */

static void count(struct ls *ls, const struct ply_seen *seen)
{
	ls->names += seen->how == PLY_SEEN_SHOWN;
	ls->whiteouts += seen->how == PLY_SEEN_WHITEOUT;
	ls->hidden += seen->how == PLY_SEEN_HIDDEN;
}

static int on_seen(void *arg, const struct ply_seen *seen)
{
	struct ls *ls = arg;

	ls->progress.entries++;
	if (seen->how == PLY_SEEN_MERGED || (ls->only && strcmp(ls->only, seen->name) != 0))
		return 0;
	count(ls, seen);
	ply_progress_pause();
	if (ls->args.cli.json)
		put_json(ls, seen);
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

	if (ls->shows_all)
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
	ls.shows_all = ls.args.set['a'] || ls.args.set['H'];
	ls.is_long = ls.args.set[OPT_LONG] || ls.args.cli.verbose;
	ply_interrupt_start();
	err = ply_stack_open(&ls.stack, &ls.args.paths);
	if (!err)
		err = ply_args_use_index(&ls.args, &ls.stack);
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
		if (ls.args.cli.json)
			summary(&ls);
	}
	ply_interrupt_end();
	ply_stack_close(&ls.stack);
	ply_args_free(&ls.args);
	if (err == -EINTR)
		ply_interrupt_die();
	return err || ply_complaints() || fflush(stdout) || ferror(stdout) ? PLY_EXIT_TROUBLE
									   : PLY_EXIT_OK;
}
