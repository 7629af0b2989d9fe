/* Options that all stack tools have, the stack in the words of mount, notes about what cannot be seen. */
#include "args.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "busy.h"
#include "live.h"

enum {
	OPT_HELP = 1000,
	OPT_VERSION,
	OPT_PROGRESS,
};

static const struct ply_own_option stack_options[] = {
	{ 'l', "lower", "DIR[:DIR]...", "the lower layers, topmost first" },
	{ 'u', "upper", "DIR", "the upper layer" },
	{ 'w', "work", "DIR", "its work directory, for the index of hard links" },
	{ 'o', "options", "OPTIONS", "the same as for mount: lowerdir=...,upperdir=..." },
	{ 'm', "mount", "MNT", "the stack of a plyfs mount in use" },
	{ '0', "null", NULL, "names as they are, each ended by NUL" },
	{ 0 },
};
#define NSTACK (sizeof(stack_options) / sizeof(stack_options[0]) - 1)

static const struct ply_own_option common[] = {
	{ 'j', "json", NULL, "JSON, one object a line" },
	{ 'q', "quiet", NULL, "no notes, errors only" },
	{ 'v', "verbose", NULL, "more about each" },
	{ OPT_PROGRESS, "progress", NULL, "show progress even if stderr is no terminal" },
	{ OPT_HELP, "help", NULL, "this text" },
	{ OPT_VERSION, "version", NULL, "the version" },
	{ 0 },
};
#define NCOMMON (sizeof(common) / sizeof(common[0]) - 1)

void ply_args_refuse(const struct ply_tool *tool, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nusage: %s %s\n", program_invocation_short_name, tool->usage);
	exit(tool->usage_exit);
}

unsigned long ply_args_number(const struct ply_args *a, int letter)
{
	const char *value = a->value[letter];
	char *end;
	unsigned long number = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || number > INT32_MAX)
		ply_args_refuse(a->tool, "not a number: %s", value);
	return number;
}

/* ---- the stack ---- */

/* The end of the piece at s: the first stop that is neither escaped nor quoted. */
static char *piece_end(char *s, char stop)
{
	int is_quoted = 0;

	for (; *s && (is_quoted || *s != stop); s++) {
		if (*s == '\\' && s[1])
			s++;
		else if (*s == '"' && (is_quoted || s[-1] == ':' || s[-1] == '='))
			is_quoted = !is_quoted;
	}
	return s;
}

/* Takes backslashes and quotes off, as a copy. */
static char *plain(const char *s, size_t len)
{
	char *copy = malloc(len + 1), *to = copy;
	int quotes = len > 1 && s[0] == '"' && s[len - 1] == '"';

	for (size_t i = (size_t)quotes; copy && i < len - (size_t)quotes; i++) {
		if (s[i] == '\\' && i + 1 < len)
			i++;
		*to++ = s[i];
	}
	if (!copy)
		abort();
	*to = '\0';
	return copy;
}

/* The paths that a list or an option adds to, and whose. */
struct adding {
	const struct ply_tool *tool;
	struct ply_stack_paths *to;
};

/* Takes path over. */
static void add_path(const struct adding *a, char *path)
{
	struct ply_stack_paths *to = a->to;
	char **bigger = realloc(to->lowers, (to->nlowers + 1) * sizeof(*bigger));

	if (!bigger)
		abort();
	if (!*path)
		ply_args_refuse(a->tool, "an empty name of a lower layer");
	to->lowers = bigger;
	bigger[to->nlowers++] = path;
	to->ndata += to->ndata > 0;
}

static void add_lower(const struct adding *a, const char *s, size_t len)
{
	add_path(a, plain(s, len));
}

static void add_data(const struct adding *a, const char *s, size_t len)
{
	int is_first = !a->to->ndata;

	add_lower(a, s, len);
	a->to->ndata += (unsigned)is_first;
}

/* Behind a double colon there are layers of data only. */
static void add_lowers(const struct adding *a, char *s)
{
	for (int is_data = 0;;) {
		char *end = piece_end(s, ':');

		if (is_data)
			add_data(a, s, (size_t)(end - s));
		else
			add_lower(a, s, (size_t)(end - s));
		if (!*end)
			return;
		is_data |= end[1] == ':';
		s = end + 1 + (end[1] == ':');
	}
}

static char *copy_or_die(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		abort();
	return copy;
}

void ply_args_add_live(struct ply_stack_paths *paths, const struct ply_ctl_layer *layer)
{
	char **bigger;

	if (!layer->index) {
		free(paths->upper);
		paths->upper = *layer->path ? copy_or_die(layer->path) : NULL;
		return;
	}
	bigger = realloc(paths->lowers, (paths->nlowers + 1) * sizeof(*bigger));
	if (!bigger)
		abort();
	paths->lowers = bigger;
	bigger[paths->nlowers++] = copy_or_die(layer->path);
	paths->ndata += layer->is_data_only;
}

/* -ENOENT when all is told. */
static int add_live_work(struct ply_stack_paths *paths, struct ply_live *live)
{
	struct ply_ctl_work work;
	int err = ply_live_work(live, &work);

	if (err)
		return err;
	free(paths->work);
	paths->work = copy_or_die(work.path);
	paths->no_index = !work.has_index;
	return -ENOENT;
}

/* The stack as the mount's server has it now, and all in it that was written so far. */
static void stack_of_mount(struct ply_args *a, const char *mountpoint)
{
	struct ply_ctl_layer layer;
	struct ply_live live;
	int err = ply_live_open(&live, mountpoint);

	if (!err)
		err = ply_live_flush(&live);
	for (unsigned i = 0; !err; i++) {
		err = ply_live_layer(&live, i, &layer);
		if (!err)
			ply_args_add_live(&a->paths, &layer);
	}
	if (err == -ENOENT)
		err = add_live_work(&a->paths, &live);
	ply_live_close(&live);
	if (err != -ENOENT)
		exit(a->tool->usage_exit);
	a->is_flushed = 1;
}

static void set_path(char **path, const char *s, size_t len)
{
	free(*path);
	*path = plain(s, len);
}

static const char *const stack_words[] = { "lowerdir=", "lowerdir+=", "upperdir=",
					   "workdir=",	"datadir+=",  "index=" };
#define NWORDS (sizeof(stack_words) / sizeof(stack_words[0]))

/* Which of them the text begins with, or NWORDS. */
static size_t stack_word(const char *s)
{
	size_t word = 0;

	while (word < NWORDS && strncmp(s, stack_words[word], strlen(stack_words[word])) != 0)
		word++;
	return word;
}

static void mount_option(struct ply_args *a, char *s, size_t len)
{
	const struct adding to = { a->tool, &a->paths };
	size_t word = stack_word(s);

	if (word == NWORDS)
		return; /* for the mount alone */
	s += strlen(stack_words[word]);
	len -= strlen(stack_words[word]);
	if (word == 1) {
		add_lower(&to, s, len);
	} else if (word == 4) {
		add_data(&to, s, len);
	} else if (word == 5) {
		a->paths.no_index = len == 3 && !strncmp(s, "off", len);
	} else if (word) {
		set_path(word == 2 ? &a->paths.upper : &a->paths.work, s, len);
	} else {
		s[len] = '\0';
		add_lowers(&to, s);
	}
}

static void mount_options(struct ply_args *a, const char *text)
{
	char *copy = malloc(strlen(text) + 2), *s, *end;

	if (!copy)
		abort();
	/* What stands before a piece is looked at. */
	*copy = ',';
	strcpy(copy + 1, text);
	for (s = copy + 1;; s = end + 1) {
		int is_last;

		end = piece_end(s, ',');
		is_last = !*end;
		mount_option(a, s, (size_t)(end - s));
		if (is_last)
			break;
	}
	free(copy);
}

void ply_args_lowers(const struct ply_tool *tool, struct ply_stack_paths *paths, const char *text)
{
	const struct adding to = { tool, paths };
	char *copy = malloc(strlen(text) + 2);

	if (!copy)
		abort();
	*copy = ':';
	strcpy(copy + 1, text);
	add_lowers(&to, copy + 1);
	free(copy);
}

/* ---- options ---- */

static void show_options(const struct ply_own_option *o)
{
	for (; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s", o->name, o->arg ? "=" : "",
			 o->arg ? o->arg : "");
		if (o->letter < 256)
			printf("  -%c, --%-22s %s\n", o->letter, left, o->help);
		else
			printf("      --%-22s %s\n", left, o->help);
	}
}

static void help(const struct ply_tool *tool)
{
	printf("usage: %s %s\n\n%s\n", program_invocation_short_name, tool->usage, tool->text);
	show_options(tool->own);
	if (!tool->takes_no_stack)
		show_options(stack_options);
	show_options(common);
	exit(PLY_EXIT_OK);
}

static size_t add_options(const struct ply_own_option *from, struct option *options, char *letters)
{
	size_t n = 0;

	for (; from[n].name; n++) {
		options[n] = (struct option){ from[n].name,
					      from[n].arg ? required_argument : no_argument, NULL,
					      from[n].letter };
		if (from[n].letter < 256)
			sprintf(letters + strlen(letters), "%c%s", from[n].letter,
				from[n].arg ? ":" : "");
	}
	return n;
}

static int is_own(const struct ply_tool *tool, int c)
{
	for (const struct ply_own_option *o = tool->own; o->name; o++)
		if (o->letter == c)
			return 1;
	return 0;
}

static void take_option(struct ply_args *a, int c)
{
	if (a->tool->answer && c == a->tool->answers)
		exit(a->tool->answer(optarg));
	/* A tool's own -o names what it makes; what a mount would be told is the stack. */
	if (is_own(a->tool, c) &&
	    (c != 'o' || a->tool->takes_no_stack || stack_word(optarg) == NWORDS)) {
		a->set[c]++;
		a->value[c] = optarg;
		return;
	}
	switch (c) {
	case 'm':
		stack_of_mount(a, optarg);
		break;
	case 'l':
		ply_args_lowers(a->tool, &a->paths, optarg);
		break;
	case 'u':
		set_path(&a->paths.upper, optarg, strlen(optarg));
		break;
	case 'w':
		set_path(&a->paths.work, optarg, strlen(optarg));
		break;
	case 'o':
		mount_options(a, optarg);
		break;
	case 'j':
		a->cli.json = 1;
		break;
	case '0':
		a->zero = 1;
		break;
	case 'q':
		a->cli.quiet = 1;
		break;
	case 'v':
		a->cli.verbose = 1;
		break;
	case OPT_PROGRESS:
		a->cli.progress = PLY_PROGRESS_FORCED;
		break;
	case OPT_VERSION:
		printf("%s %s\n", program_invocation_short_name, PLY_VERSION);
		exit(PLY_EXIT_OK);
	case OPT_HELP:
		help(a->tool);
		break;
	}
}

static void take_layers(struct ply_args *a)
{
	const struct adding to = { a->tool, &a->paths };

	if (a->noperands && a->paths.nlowers)
		ply_args_refuse(a->tool, "layers by themselves or with --lower, not both");
	for (int i = 0; i < a->noperands; i++)
		add_path(&to, copy_or_die(a->operands[i]));
	a->noperands = 0;
}

void ply_args_parse(struct ply_args *a, int argc, char **argv, const struct ply_tool *tool)
{
	struct option options[NSTACK + NCOMMON + PLY_OWN_MAX + 1] = { 0 };
	char letters[2 * (NSTACK + NCOMMON + PLY_OWN_MAX) + 1] = "";
	size_t n;
	int c;

	*a = (struct ply_args){ .tool = tool };
	setlocale(LC_CTYPE, "");
	n = add_options(tool->own, options, letters);
	if (!tool->takes_no_stack)
		n += add_options(stack_options, options + n, letters);
	add_options(common, options + n, letters);
	while ((c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (c == '?')
			ply_args_refuse(tool, "wrong options");
		take_option(a, c);
	}
	a->zero |= a->set['0'] > 0; /* of those that have it without a stack */
	if (a->cli.quiet)
		a->cli.progress = PLY_PROGRESS_QUIET;
	a->operands = argv + optind;
	a->noperands = argc - optind;
	if (tool->takes_layers && tool->takes_layers(a))
		take_layers(a);
	else if (a->noperands < tool->min || a->noperands > tool->max)
		ply_args_refuse(tool, "too %s operands", a->noperands < tool->min ? "few" : "many");
	if (!tool->takes_no_stack && !a->paths.upper && a->paths.nlowers == a->paths.ndata)
		ply_args_refuse(tool, "no layer is given");
	if (a->cli.json && a->zero)
		ply_args_refuse(tool, "--json or --null, not both");
}

void ply_args_free_paths(struct ply_stack_paths *paths)
{
	for (size_t i = 0; i < paths->nlowers; i++)
		free(paths->lowers[i]);
	free(paths->lowers);
	free(paths->upper);
	free(paths->work);
}

void ply_args_free(struct ply_args *a)
{
	ply_args_free_paths(&a->paths);
}

/* ---- notes ---- */

/* Only the machine's own root is shown what is in the trusted space: where the map of users is the identity. */
int ply_sees_trusted(void)
{
	int fd = sys_open(AT_FDCWD, "/proc/self/uid_map", O_RDONLY, 0);
	char text[256] = "", *at = text;
	unsigned long inside, outside;

	if (fd >= 0) {
		sys_pread(fd, text, sizeof(text) - 1, 0);
		sys_close(fd);
	}
	inside = strtoul(at, &at, 10);
	outside = strtoul(at, &at, 10);
	return !geteuid() && !inside && !outside && strtoul(at, &at, 10) == UINT32_MAX;
}

void ply_note_trusted(const struct ply_args *a)
{
	if (!a->cli.quiet && !ply_sees_trusted())
		ply_tell(
			"note: marks in the trusted space (trusted.overlay.opaque, redirect, metacopy and the "
			"like), of a mount by root, cannot be seen without privilege");
}

void ply_note_mounted(const struct ply_args *a)
{
	int fd, err;

	if (!a->paths.upper || a->cli.quiet || a->is_flushed)
		return;
	fd = sys_open(AT_FDCWD, a->paths.upper, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return;
	err = ply_lock_upper(fd);
	sys_close(fd);
	if (err == -EBUSY)
		ply_tell(
			"note: the upper is in use: what its mount has not written yet is not seen");
}

int ply_args_use_index(const struct ply_args *a, struct ply_stack *s)
{
	static const char *const notes[] = {
		[PLY_INDEX_UNKNOWN] =
			"note: names of hard links that only lower layers have may be files of the upper; without "
			"its work directory (-w) that cannot be seen",
		[PLY_INDEX_OF_OTHER] =
			"note: the index of hard links in the work directory belongs to another stack, and is not read",
	};
	int state = ply_stack_use_index(s, &a->paths);

	if (state == -EACCES || state == -EPERM)
		state = PLY_INDEX_UNKNOWN;
	if (state < 0)
		ply_complain("cannot read the index of hard links in", a->paths.work, state);
	else if (state > PLY_INDEX_USED && !a->cli.quiet)
		ply_tell("%s", notes[state]);
	return state < 0 ? state : 0;
}
