/*
 * The command line as a whole: what main was given is taken apart and set word by word, its defaults before and the checks
 * of what must go together behind; and what of it the mount itself is told.
 */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "optionset.h"
#include "optiontable.h"
#include "optiontext.h"

static int is_named(const struct ply_option *opt, const char *word)
{
	size_t wlen = strlen(word), len;

	for (const char *name = opt->names; *name; name += len + (name[len] == ' ')) {
		len = strcspn(name, " ");
		if (name[len - 1] == '*' ? !strncmp(name, word, len - 1)
					 : len == wlen && !strncmp(name, word, len))
			return 1;
	}
	return 0;
}

/* One option as it stands between commas; the word is cut at its '='. */
static int parse_word(struct ply_options *o, char *word, struct ply_why *why)
{
	char *equals = strchr(word, '=');
	struct ply_option_given g = { .name = word, .value = equals ? equals + 1 : NULL };
	int known = 0;

	if (equals)
		*equals = '\0';
	for (g.opt = ply_option_table; g.opt->names; g.opt++) {
		if (!is_named(g.opt, word))
			continue;
		known = 1;
		if (ply_option_takes(g.opt) != (equals ? PLY_TAKES_NONE : PLY_TAKES_SOME))
			return ply_option_set(o, &g, why);
	}
	if (known)
		return ply_option_complain(why, "option %s %s", word,
					   equals ? "takes no value" : "needs a value");
	if (equals)
		*equals = '=';
	ply_warn("unknown argument ignored: %.200s", word);
	return 0;
}

static int parse_words(struct ply_options *o, const char *s, struct ply_why *why)
{
	int err = 0;

	while (!err) {
		const char *end = ply_option_piece_end(s, ',');
		char *word;

		if (!end)
			return ply_option_complain(why, "a quote is not closed in -o %.200s", s);
		word = strndup(s, (size_t)(end - s));
		if (!word)
			return ply_option_no_memory(why);
		if (*word)
			err = parse_word(o, word, why);
		free(word);
		if (!*end)
			break;
		s = end + 1;
	}
	return err;
}

static int set_mountpoint(struct ply_options *o, const char *path, struct ply_why *why)
{
	free(o->mountpoint);
	o->mountpoint = strdup(path);
	return o->mountpoint ? 0 : ply_option_no_memory(why);
}

static int parse_dash(struct ply_options *o, const char *arg)
{
	for (const struct ply_option_flag *flag = ply_option_flags; flag->word; flag++) {
		if (!strcmp(arg, flag->word)) {
			*ply_option_number(o, flag->field) = 1;
			return 0;
		}
	}
	/* Of libfuse and mount(8): one thread, do not write mtab, writable. */
	if (strcmp(arg, "-s") && strcmp(arg, "-n") && strcmp(arg, "-w"))
		ply_warn("unknown argument ignored: %s", arg);
	return 0;
}

#define FORERUNNER "fuse-overlayfs"

const char *ply_options_program(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return strcmp(slash ? slash + 1 : argv0, FORERUNNER) ? "plyfs" : FORERUNNER;
}

/* Who looks for its mounts by type finds those made in its place, too. */
static int set_type(struct ply_options *o, const char *program)
{
	free(o->fsname);
	free(o->subtype);
	o->fsname = strdup(program);
	o->subtype = strdup(program);
	return o->fsname && o->subtype ? 0 : -ENOMEM;
}

static int parse_args(struct ply_options *o, int argc, char *const argv[], struct ply_why *why)
{
	int words_only = 0, err = argc ? set_type(o, ply_options_program(argv[0])) : 0;

	if (err)
		return ply_option_no_memory(why);

	for (int i = 1; i < argc && !err; i++) {
		const char *arg = argv[i];

		if (words_only || *arg != '-' || !arg[1]) {
			err = set_mountpoint(o, arg, why);
		} else if (!strcmp(arg, "--")) {
			words_only = 1;
		} else if (!strcmp(arg, "-o")) {
			if (++i == argc)
				return ply_option_complain(why, "-o needs an argument");
			err = parse_words(o, argv[i], why);
		} else if (!strncmp(arg, "-o", 2)) {
			err = parse_words(o, arg + 2, why);
		} else {
			err = parse_dash(o, arg);
		}
	}
	return err;
}

static int check(const struct ply_options *o, struct ply_why *why)
{
	if (!o->mountpoint)
		return ply_option_complain(why, "no mountpoint is given; plyfs --help tells more");
	if (!*o->mountpoint)
		return ply_option_complain(why, "the mountpoint is an empty word");
	if (o->nlowers == o->ndata)
		return ply_option_complain(why, "no lower layer is given: lowerdir=DIR is missing");
	if (o->upper && !o->work)
		return ply_option_complain(
			why, "upperdir=%s needs a workdir=DIR on the same file system", o->upper);
	if (o->work && !o->upper)
		ply_warn("workdir=%s is ignored without an upperdir", o->work);
	return 0;
}

/* A user or group by number goes before root. */
static void squash(struct ply_options *o)
{
	if (!o->squash_to_root)
		return;
	if (o->ids.squash_user == PLY_ID_NONE)
		o->ids.squash_user = 0;
	if (o->ids.squash_group == PLY_ID_NONE)
		o->ids.squash_group = 0;
}

int ply_options_init(struct ply_options *o)
{
	struct ply_why why;
	int err = 0;

	*o = (struct ply_options){ 0 };
	ply_ids_init(&o->ids);
	for (const struct ply_option *opt = ply_option_table; opt->names && !err; opt++)
		if (opt->preset)
			err = ply_option_set(o,
					     &(struct ply_option_given){ opt, opt->names,
									 opt->preset },
					     &why);
	return err;
}

int ply_options_parse(struct ply_options *o, int argc, char *const argv[], struct ply_why *why)
{
	int err = parse_args(o, argc, argv, why);

	if (err || o->help || o->version)
		return err;
	if (o->debug)
		o->foreground = 1;
	squash(o);
	return check(o, why);
}

void ply_options_free(struct ply_options *o)
{
	ply_option_drop_layers(o);
	free(o->lowers);
	free(o->upper);
	free(o->work);
	free(o->mountpoint);
	free(o->fsname);
	free(o->subtype);
	free(o->mount_words);
	ply_ids_free(&o->ids);
}
char *ply_options_for_mount(const struct ply_options *o, enum ply_privilege privilege)
{
	char *list = NULL;
	int root = privilege == PLY_ROOT_USER;
	int err = ply_option_append(&list, root ? "default_permissions,suid,noatime"
						: "default_permissions,noatime");

	if (!err && o->allow_root)
		err = ply_option_append(&list, "allow_root");
	else if (!err && (root || o->allow_other))
		err = ply_option_append(&list, "allow_other");
	if (!err && o->mount_words)
		err = ply_option_append(&list, o->mount_words);
	if (!err && (o->readonly || !o->upper))
		err = ply_option_append(&list, "ro");
	if (!err)
		err = ply_option_append_value(&list, "fsname", o->fsname);
	if (!err)
		err = ply_option_append_value(&list, "subtype", o->subtype);
	if (err) {
		free(list);
		return NULL;
	}
	return list;
}
