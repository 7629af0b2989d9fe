/* Steps as text, `name p="a/b" off=0 len=5`, one a line: what a failure prints and --replay reads. */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plydiff.h"

enum { KEY_LENGTH = 24, DEFAULT_MASK = 022, DEFAULT_LOOK = 2 };

static const struct {
	const char *name;
	int value;
} open_flags[] = {
	{ "O_TMPFILE", O_TMPFILE },   { "O_RDWR", O_RDWR }, { "O_WRONLY", O_WRONLY },
	{ "O_CREAT", O_CREAT },	      { "O_EXCL", O_EXCL }, { "O_TRUNC", O_TRUNC },
	{ "O_APPEND", O_APPEND },     { "O_SYNC", O_SYNC }, { "O_DIRECTORY", O_DIRECTORY },
	{ "O_NOFOLLOW", O_NOFOLLOW }, { "O_PATH", O_PATH }, { "O_DIRECT", O_DIRECT },
};

/* The i-th word of keys, or false when there are no more. */
static bool key_at(const char *keys, int i, char out[KEY_LENGTH])
{
	int used;

	for (; keys && sscanf(keys, " %23s%n", out, &used) == 1; keys += used) {
		if (i-- == 0)
			return true;
	}
	return false;
}

/* ---- printing ---- */

static void print_open_flags(long long flags, struct pd_text *out)
{
	const char *bar = "";

	for (size_t i = 0; i < PD_COUNT(open_flags); i++) {
		if ((flags & open_flags[i].value) != open_flags[i].value)
			continue;
		pd_add(out, "%s%s", bar, open_flags[i].name);
		flags &= ~(long long)open_flags[i].value;
		bar = "|";
	}
	if (flags || !*bar)
		pd_add(out, "%s%lld", bar, flags);
}

static void print_string(const char *key, const char *s, struct pd_text *out)
{
	if (!s)
		return;
	pd_add(out, " %s=", key);
	pd_add_quoted(out, s, strlen(s));
}

void pd_step_print(const struct pd_step *step, struct pd_text *out)
{
	char key[KEY_LENGTH];

	pd_add(out, "%s", step->op->name);
	print_string("p", step->p, out);
	print_string("q", step->q, out);
	print_string("s", step->s, out);
	for (int i = 0; i < PD_NUMBERS && key_at(step->op->keys, i, key); i++) {
		pd_add(out, " %s=", key);
		if (strcmp(key, "open") == 0)
			print_open_flags(step->n[i], out);
		else
			pd_add(out, strcmp(key, "mode") == 0 ? "0%llo" : "%lld", step->n[i]);
	}
	if (step->as)
		pd_add(out, " as=%d", step->as);
	if (step->mask != DEFAULT_MASK)
		pd_add(out, " mask=0%o", step->mask);
	if (step->look != DEFAULT_LOOK)
		pd_add(out, " look=%d", step->look);
}

/* ---- parsing ---- */

static long long parse_open_flags(const char **p)
{
	long long flags = 0;

	for (;; (*p)++) {
		size_t n = strcspn(*p, "| \n"), i;

		for (i = 0; i < PD_COUNT(open_flags); i++) {
			if (strlen(open_flags[i].name) == n &&
			    strncmp(*p, open_flags[i].name, n) == 0)
				break;
		}
		flags |= i < PD_COUNT(open_flags) ? open_flags[i].value : strtoll(*p, NULL, 0);
		*p += n;
		if (**p != '|')
			return flags;
	}
}

static int parse_number(struct pd_step *step, const char *key, const char **p)
{
	char name[KEY_LENGTH];
	char *end;

	for (int i = 0; i < PD_NUMBERS && key_at(step->op->keys, i, name); i++) {
		if (strcmp(name, key) != 0)
			continue;
		if (strcmp(key, "open") == 0) {
			step->n[i] = parse_open_flags(p);
			return 0;
		}
		step->n[i] = strtoll(*p, &end, 0);
		*p = end;
		return 0;
	}
	int *field = strcmp(key, "as") == 0	? &step->as
		     : strcmp(key, "mask") == 0 ? &step->mask
		     : strcmp(key, "look") == 0 ? &step->look
						: NULL;
	if (!field)
		return -1;
	*field = (int)strtol(*p, &end, 0);
	*p = end;
	return 0;
}

static int parse_value(struct pd_step *step, const char *key, const char **p)
{
	char **field = strcmp(key, "p") == 0   ? &step->p
		       : strcmp(key, "q") == 0 ? &step->q
		       : strcmp(key, "s") == 0 ? &step->s
					       : NULL;

	if (!field)
		return parse_number(step, key, p);
	*field = pd_unquote(p);
	return *field ? 0 : -1;
}

int pd_step_parse(struct pd_step *step, const char *line)
{
	char name[KEY_LENGTH], key[KEY_LENGTH];
	int used;

	*step = (struct pd_step){ .mask = DEFAULT_MASK, .look = DEFAULT_LOOK };
	if (sscanf(line, " %23s%n", name, &used) != 1)
		return -1;
	step->op = pd_op_find(name);
	if (!step->op)
		return -1;
	line += used;
	while (sscanf(line, " %23[a-z_0-9]=%n", key, &used) == 1) {
		line += used;
		if (parse_value(step, key, &line) != 0) {
			pd_step_free(step);
			return -1;
		}
	}
	while (isspace((unsigned char)*line))
		line++;
	return *line ? -1 : 0;
}

/* ---- life ---- */

void pd_step_free(struct pd_step *step)
{
	free(step->p);
	free(step->q);
	free(step->s);
	step->p = step->q = step->s = NULL;
}

struct pd_step pd_step_dup(const struct pd_step *step)
{
	struct pd_step copy = *step;

	copy.p = step->p ? pd_copy_string(step->p) : NULL;
	copy.q = step->q ? pd_copy_string(step->q) : NULL;
	copy.s = step->s ? pd_copy_string(step->s) : NULL;
	return copy;
}

void pd_steps_free(struct pd_steps *steps)
{
	for (size_t i = 0; i < steps->count; i++)
		pd_step_free(&steps->step[i]);
	free(steps->step);
	*steps = (struct pd_steps){ 0 };
}

void pd_steps_add(struct pd_steps *steps, struct pd_step step)
{
	steps->step = pd_grow(steps->step, (steps->count + 1) * sizeof(step));
	steps->step[steps->count++] = step;
}
