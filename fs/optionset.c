/* The setters, and the table that has the one of each kind. */
#include "optionset.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "optiontext.h"

int ply_option_complain(struct ply_why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int ply_option_no_memory(struct ply_why *why)
{
	ply_option_complain(why, "out of memory");
	return -ENOMEM;
}

static int set_flag(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	(void)why;
	*ply_option_number(o, g->opt->field) = g->opt->number;
	return 0;
}

static int set_switch(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	if (g->value && strcmp(g->value, "0") && strcmp(g->value, "1"))
		return ply_option_complain(why, "%s=%.200s: 0 or 1 is expected", g->name, g->value);
	*ply_option_number(o, g->opt->field) = !g->value || *g->value == '1';
	return 0;
}

static int set_choice(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	for (int i = 0; g->opt->words[i]; i++) {
		if (!strcmp(g->value, g->opt->words[i])) {
			*ply_option_number(o, g->opt->field) = i;
			return 0;
		}
	}
	return ply_option_complain(why, "%s=%.200s: %s is expected", g->name, g->value,
				   g->opt->arg);
}

static int set_seconds(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	double *field = (void *)((char *)o + g->opt->field);
	char *end;
	double seconds = strtod(g->value, &end);

	if (end == g->value || *end || !(seconds >= 0))
		return ply_option_complain(why, "%s=%.200s: a number of seconds is expected",
					   g->name, g->value);
	*field = seconds < PLY_TIMEOUT_MAX ? seconds : PLY_TIMEOUT_MAX;
	return 0;
}

static int set_text(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	char **field = (char **)((char *)o + g->opt->field);
	char *text = ply_option_decode(g->value, g->value + strlen(g->value));

	if (!text)
		return ply_option_no_memory(why);
	if (!*text) {
		free(text);
		return ply_option_complain(why, "%s= is empty", g->name);
	}
	free(*field);
	*field = text;
	return 0;
}

static int set_id(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	uint32_t *field = (void *)((char *)o + g->opt->field);

	if (ply_id_parse(g->value, field))
		return ply_option_complain(why,
					   "%s=%.200s: the number of a user or group is expected",
					   g->name, g->value);
	return 0;
}

static int set_idmap(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	struct ply_id_map *field = (void *)((char *)o + g->opt->field);
	const char *fault;
	int err = ply_id_map_parse(g->value, field, &fault);

	if (err == -ENOMEM)
		return ply_option_no_memory(why);
	return err ? ply_option_complain(why, "%s=%.200s: %s", g->name, g->value, fault) : 0;
}

static int add_layer(struct ply_options *o, const char *s, const char *end, int is_data,
		     struct ply_why *why)
{
	char **grown = o->lowers;
	char *path;

	if (o->ndata && !is_data)
		return ply_option_complain(why, "lower layer '%.*s' stands below data-only layers",
					   (int)(end - s), s);

	/* Doubles at each power of two. */
	if (!(o->nlowers & (o->nlowers - 1)))
		grown = realloc(o->lowers, (o->nlowers ? o->nlowers * 2 : 1) * sizeof(*grown));
	if (!grown)
		return ply_option_no_memory(why);
	o->lowers = grown;
	path = ply_option_decode(s, end);
	if (!path)
		return ply_option_no_memory(why);
	o->lowers[o->nlowers++] = path;
	o->ndata += is_data != 0;
	return 0;
}

void ply_option_drop_layers(struct ply_options *o)
{
	while (o->nlowers)
		free(o->lowers[--o->nlowers]);
	o->ndata = 0;
}

static int set_layers(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	const char *at = g->value, *end;
	int err = 0, is_data = 0;

	ply_option_drop_layers(o);
	for (; !err; at = end + 1) {
		end = ply_option_piece_end(at, ':');
		if (!end)
			return ply_option_complain(why, "%s=: a quote is not closed", g->name);
		if (end > at)
			err = add_layer(o, at, end, is_data, why);
		is_data = end == at && o->nlowers;
		if (!*end)
			break;
	}
	return err;
}

static int set_layer(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	if (!*g->value)
		return ply_option_complain(why, "%s= is empty", g->name);
	return add_layer(o, g->value, g->value + strlen(g->value),
			 g->opt->kind == PLY_OPTION_DATA_LAYER, why);
}

static int set_mount(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	return ply_option_append(&o->mount_words, g->name) ? ply_option_no_memory(why) : 0;
}

static int set_nothing(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	(void)o;
	(void)g;
	(void)why;
	return 0;
}

static int refuse(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	(void)o;
	return ply_option_complain(why, "option %s is not supported by this version of plyfs",
				   g->name);
}

static int miss(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	if (!g->value || !strcmp(g->value, "on"))
		ply_warn("option %s has no effect: plyfs does not do that", g->name);
	else if (strcmp(g->value, "off"))
		return refuse(o, g, why);
	return 0;
}

static const struct {
	int (*set)(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why);
	enum ply_option_takes takes;
} kinds[] = {
	[PLY_OPTION_FLAG] = { set_flag, PLY_TAKES_NONE },
	[PLY_OPTION_SWITCH] = { set_switch, PLY_TAKES_EITHER },
	[PLY_OPTION_CHOICE] = { set_choice, PLY_TAKES_SOME },
	[PLY_OPTION_SECONDS] = { set_seconds, PLY_TAKES_SOME },
	[PLY_OPTION_TEXT] = { set_text, PLY_TAKES_SOME },
	[PLY_OPTION_ID] = { set_id, PLY_TAKES_SOME },
	[PLY_OPTION_IDMAP] = { set_idmap, PLY_TAKES_SOME },
	[PLY_OPTION_LAYERS] = { set_layers, PLY_TAKES_SOME },
	[PLY_OPTION_LAYER] = { set_layer, PLY_TAKES_SOME },
	[PLY_OPTION_DATA_LAYER] = { set_layer, PLY_TAKES_SOME },
	[PLY_OPTION_MOUNT] = { set_mount, PLY_TAKES_NONE },
	[PLY_OPTION_QUIET] = { set_nothing, PLY_TAKES_EITHER },
	[PLY_OPTION_ABSENT] = { miss, PLY_TAKES_EITHER },
	[PLY_OPTION_REFUSED] = { refuse, PLY_TAKES_EITHER },
};
int ply_option_set(struct ply_options *o, const struct ply_option_given *g, struct ply_why *why)
{
	return kinds[g->opt->kind].set(o, g, why);
}

enum ply_option_takes ply_option_takes(const struct ply_option *opt)
{
	return kinds[opt->kind].takes;
}
