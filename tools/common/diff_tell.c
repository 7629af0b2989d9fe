/* Changes as lines, as names, as docker diff prints them, as JSON, and as diff(1) does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "diff.h"
#include "textdiff.h"

static unsigned type_of(const struct ply_change *c)
{
	return c->letter == 'D' ? c->old.stx.stx_mode : c->new.stx.stx_mode;
}

/* "a, b" of what differs. */
static void put_reasons(const struct ply_change *c, const char *quote, const char *between)
{
	const char *first = "";

	for (unsigned bit = 1; bit <= PLY_DIFFERS_TARGET; bit <<= 1)
		if (c->differs & (int)bit) {
			printf("%s%s%s%s", first, quote, ply_differs_word(bit), quote);
			first = between;
		}
}

static void put_json(const struct ply_change *c)
{
	printf("{\"change\":\"%c\",\"kind\":\"%s\"", c->letter, ply_type_word(type_of(c)));
	if (c->letter == 'T')
		printf(",\"old_kind\":\"%s\"", ply_type_word(c->old.stx.stx_mode));
	fputs(",\"path\":", stdout);
	ply_put_json(stdout, c->path);
	if (c->from) {
		fputs(",\"from\":", stdout);
		ply_put_json(stdout, c->from);
	}
	if (c->differs) {
		fputs(",\"reasons\":[", stdout);
		put_reasons(c, "\"", ",");
		putchar(']');
	}
	if (S_ISREG(c->new.stx.stx_mode) && c->letter != 'D')
		printf(",\"size\":%llu", (unsigned long long)c->new.stx.stx_size);
	if (S_ISREG(c->old.stx.stx_mode) && (c->letter == 'D' || c->letter == 'M'))
		printf(",\"old_size\":%llu", (unsigned long long)c->old.stx.stx_size);
	puts("}");
}

static const char *shown_path(const struct ply_change *c)
{
	return *c->path ? c->path : ".";
}

static void put_text(const struct ply_change *c)
{
	char *path = ply_escape(shown_path(c)), *from = c->from ? ply_escape(c->from) : NULL;

	printf("%c %s%s", c->letter, path, S_ISDIR(type_of(c)) ? "/" : "");
	if (from)
		printf(" <- %s/", from);
	if (c->letter == 'T' && c->d->args.cli.verbose) {
		printf(" (%s, was %s)", ply_type_word(c->new.stx.stx_mode),
		       ply_type_word(c->old.stx.stx_mode));
	} else if (c->differs && c->d->args.cli.verbose) {
		fputs(" (", stdout);
		put_reasons(c, "", ", ");
		putchar(')');
	}
	putchar('\n');
	free(path);
	free(from);
}

static int put_line(const struct ply_change *c)
{
	if (c->d->args.zero) {
		printf("%c ", c->letter);
		ply_put_name(&c->d->args, shown_path(c), "");
	} else {
		put_text(c);
	}
	return 0;
}

static int put_name(const struct ply_change *c)
{
	ply_put_name(&c->d->args, shown_path(c), "");
	return 0;
}

static int was_there(const struct ply_change *c)
{
	return c->old.kind == PLY_FOUND_FILE || c->old.kind == PLY_FOUND_DIR;
}

/* There is no line for the root, and a renamed directory is a new one. */
static int put_docker(const struct ply_change *c)
{
	char letter = c->letter == 'A' || c->letter == 'D' ? c->letter : 'C';

	if (!*c->path)
		return 0;
	if (c->letter == 'R' && !was_there(c))
		letter = 'A';
	printf("%c /", letter);
	ply_put_name(&c->d->args, c->path, "");
	return 0;
}

static int put_changes_of_text(const struct ply_change *c)
{
	struct ply_data new_data = { 0 }, old_data = { 0 };
	struct ply_text_side sides[2] = { { 0 }, { 0 } };
	int err = 0;

	if (c->letter != 'A' && S_ISREG(c->old.stx.stx_mode)) {
		err = ply_stack_data(&c->d->stack, c->old_dirs, c->name, &c->old, &old_data);
		sides[0] = (struct ply_text_side){ &old_data, (off_t)c->old.stx.stx_size };
	}
	if (!err && c->letter != 'D' && S_ISREG(c->new.stx.stx_mode)) {
		err = ply_stack_data(&c->d->stack, c->new_dirs, c->name, &c->new, &new_data);
		sides[1] = (struct ply_text_side){ &new_data, (off_t)c->new.stx.stx_size };
	}
	if (!err && (sides[0].data || sides[1].data))
		err = ply_text_diff(&c->d->stack, c->path, &sides[0], &sides[1], c->d->cap);
	ply_data_free(&old_data);
	ply_data_free(&new_data);
	return err;
}

static int put_patch(const struct ply_change *c)
{
	put_line(c);
	if (c->letter == '=' || (c->letter == 'M' && !(c->differs & PLY_DIFFERS_DATA)))
		return 0;
	return put_changes_of_text(c);
}

static void count(const struct ply_change *c)
{
	struct ply_diff *d = c->d;

	d->counts[(unsigned char)c->letter]++;
	if (c->letter != '=' && c->letter != 'D' && S_ISREG(c->new.stx.stx_mode))
		d->bytes_new += c->new.stx.stx_size;
	if (c->letter != '=' && c->letter != 'A' && S_ISREG(c->old.stx.stx_mode))
		d->bytes_old += c->old.stx.stx_size;
}

/* A directory that is as it was only carries changes; docker has a line for it. */
static int is_wanted(const struct ply_change *c)
{
	return c->letter != '=' || c->d->wants_same ||
	       (c->d->form == PLY_DIFF_DOCKER && S_ISDIR(c->new.stx.stx_mode));
}

int ply_diff_tell(struct ply_change *c)
{
	static int (*const forms[])(const struct ply_change *) = {
		[PLY_DIFF_LINES] = put_line,	[PLY_DIFF_NAMES] = put_name,
		[PLY_DIFF_DOCKER] = put_docker, [PLY_DIFF_PATCH] = put_patch,
		[PLY_DIFF_STAT] = NULL,
	};
	int err = 0;

	if (!is_wanted(c))
		return 0;
	count(c);
	if (!forms[c->d->form])
		return 0;
	ply_progress_pause();
	if (c->d->args.cli.json)
		put_json(c);
	else
		err = forms[c->d->form](c);
	ply_progress_resume();
	return err;
}

/* ---- numbers ---- */

uint64_t ply_diff_changes(const struct ply_diff *d)
{
	uint64_t n = 0;

	for (const char *p = "AMDTRO"; *p; p++)
		n += d->counts[(unsigned char)*p];
	return n;
}

void ply_diff_summary(const struct ply_diff *d)
{
	static const struct {
		char letter;
		const char *word;
	} kinds[] = { { 'A', "added" },	  { 'M', "modified" }, { 'D', "deleted" },
		      { 'T', "retyped" }, { 'R', "renamed" },  { 'O', "opaque" },
		      { '=', "same" } };
	const char *between = "";

	if (d->args.cli.json)
		printf("{\"type\":\"summary\"");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		unsigned long long n = d->counts[(unsigned char)kinds[i].letter];

		if (kinds[i].letter == '=' && !d->wants_same)
			continue;
		if (d->args.cli.json)
			printf(",\"%s\":%llu", kinds[i].word, n);
		else
			printf("%s%llu %s", between, n, kinds[i].word);
		between = ", ";
	}
	if (d->args.cli.json)
		printf(",\"bytes\":%llu,\"old_bytes\":%llu}\n", (unsigned long long)d->bytes_new,
		       (unsigned long long)d->bytes_old);
	else
		printf("; %s in changed files, before %s\n", ply_amount(d->bytes_new).text,
		       ply_amount(d->bytes_old).text);
}
