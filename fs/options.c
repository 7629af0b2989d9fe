/*
 * One table of options: how each is spelled, what it does, its default and its help. Parsing, the
 * defaults and --help are read from it.
 *
 * An -o argument is split at commas, a list of lower layers at colons; a backslash takes the
 * meaning from the character behind it at both, and is removed last. Double quotes at the beginning
 * of a value (or of a list's item) do the same for all up to the closing one.
 */
#include "options.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum kind {
	FLAG,	 /* sets its number; takes no value */
	SWITCH,	 /* name=0 or name=1; the name alone: 1 */
	CHOICE,	 /* name=one of the words */
	SECONDS, /* name=number */
	TEXT,	 /* name=text */
	ID,	 /* name=number of a user or group */
	IDMAP,	 /* name=KEPT:SHOWN:LENGTH... */
	LAYERS,	 /* name=path:path... */
	LAYER,
	DATA_LAYER, /* name=path, one more */
	MOUNT,	    /* a word for libfuse */
	QUIET,	    /* known, and nothing to do */
	ABSENT,	    /* =off is what there is; =on is told of, =require refused */
	REFUSED,    /* would change what is seen: better no mount than another one than was meant */
};

struct option {
	const char *names; /* separated by blanks; a last '*' stands for any rest */
	enum kind kind;
	size_t field;		  /* offset in struct ply_options */
	int number;		  /* of FLAG */
	const char *const *words; /* of CHOICE: the index is the value */
	const char *preset;
	const char *arg, *help; /* no help: not listed */
};

#define FIELD(name) offsetof(struct ply_options, name)

static const char *const writeback_words[] = { "0", "1", "auto", NULL };
static const char *const whiteout_words[] = { "auto", "char", "xattr", "aufs", NULL };
/* As enum ply_redirect_dir. */
static const char *const redirect_words[] = { "auto",	"on",	    "copy", "off",
					      "follow", "nofollow", NULL };
static const char *const space_words[] = { "auto", "trusted", "user", "none", NULL };
static const char *const off_on_words[] = { "off", "on", NULL };
static const char *const owner_words[] = { "0", "1", "2", NULL };

/* Where a name stands twice, the first that takes a value, or takes none, as given, is meant. */
/* clang-format off */
static const struct option options[] = {
	{ .names = "suid nosuid dev nodev exec noexec atime noatime sync async dirsync auto_unmount",
	  .kind = MOUNT },
	{ .names = "lowerdir", .kind = LAYERS, .arg = "DIR[:DIR]...",
	  .help = "the read-only layers, the topmost first; may be repeated as lowerdir+=DIR" },
	{ .names = "lowerdir+", .kind = LAYER },
	{ .names = "datadir+", .kind = DATA_LAYER, .arg = "DIR",
	  .help = "a layer with nothing but data of files above, as DIR in lowerdir=A:B::DIR" },
	{ .names = "upperdir", .kind = TEXT, .field = FIELD(upper), .arg = "DIR",
	  .help = "the writable layer; without it the mount is read-only" },
	{ .names = "workdir", .kind = TEXT, .field = FIELD(work), .arg = "DIR",
	  .help = "a directory for plyfs itself, on the file system of the upper one" },
	{ .names = "timeout", .kind = SECONDS, .field = FIELD(timeout), .preset = "1e9",
	  .arg = "SECONDS",
	  .help = "how long the kernel may keep names and attributes" },
	{ .names = "fsync sync", .kind = SWITCH, .field = FIELD(sync), .preset = "1",
	  .arg = "0|1",
	  .help = "0: fsync does nothing" },
	{ .names = "volatile", .kind = FLAG, .field = FIELD(sync), .number = 0,
	  .help = "the same as fsync=0" },
	{ .names = "writeback", .kind = CHOICE, .field = FIELD(writeback),
	  .words = writeback_words, .preset = "auto", .arg = "0|1|auto",
	  .help = "the kernel collects writes; auto: where the mount is writable" },
	{ .names = "noxattrs", .kind = SWITCH, .field = FIELD(noxattrs), .preset = "0",
	  .arg = "0|1",
	  .help = "1: no extended attributes" },
	{ .names = "noacl", .kind = FLAG, .field = FIELD(noacl), .number = 1,
	  .help = "no access control lists" },
	{ .names = "whiteout", .kind = CHOICE, .field = FIELD(whiteout), .words = whiteout_words,
	  .preset = "auto", .arg = "char|xattr|aufs",
	  .help = "how removed names are marked: 0:0 devices, xattrs, or .wh. files" },
	{ .names = "xattrs", .kind = CHOICE, .field = FIELD(space), .words = space_words,
	  .preset = "auto", .arg = "trusted|user|none",
	  .help = "the name space of the marks on the upper layer" },
	{ .names = "userxattr", .kind = FLAG, .field = FIELD(space), .number = PLY_SPACE_USER,
	  .help = "the same as xattrs=user" },
	{ .names = "redirect_dir", .kind = CHOICE, .field = FIELD(redirect_dir),
	  .words = redirect_words, .preset = "auto", .arg = "on|copy|off|follow|nofollow",
	  .help = "how directories of a layer are renamed: by a mark, by copying, or not" },
	{ .names = "metacopy", .kind = CHOICE, .field = FIELD(metacopy), .words = off_on_words,
	  .preset = "off", .arg = "on|off",
	  .help = "on: the data of files that only get other attributes stays in their layer" },
	{ .names = "index", .kind = CHOICE, .field = FIELD(index), .words = off_on_words,
	  .preset = "on", .arg = "on|off",
	  .help = "off: hard links of lower files part when they are brought up" },
	{ .names = "uidmapping", .kind = IDMAP, .field = FIELD(ids.users),
	  .arg = "KEPT:SHOWN:LENGTH[:...]",
	  .help = "users of the layers, and as whom the mount shows them" },
	{ .names = "gidmapping", .kind = IDMAP, .field = FIELD(ids.groups),
	  .arg = "KEPT:SHOWN:LENGTH[:...]",
	  .help = "the same for groups" },
	{ .names = "squash_to_root", .kind = FLAG, .field = FIELD(squash_to_root), .number = 1,
	  .help = "everything is shown as root's, and no owner that cannot be set is an error" },
	{ .names = "squash_to_uid", .kind = ID, .field = FIELD(ids.squash_user), .arg = "UID",
	  .help = "the same with another user" },
	{ .names = "squash_to_gid", .kind = ID, .field = FIELD(ids.squash_group), .arg = "GID",
	  .help = "the same with another group" },
	{ .names = "xattr_permissions", .kind = CHOICE, .field = FIELD(owners),
	  .words = owner_words, .preset = "0", .arg = "0|1|2",
	  .help = "1, 2: owners and modes in a security or user attribute of the upper layer" },
	{ .names = "static_nlink", .kind = FLAG, .field = FIELD(static_nlink), .number = 1,
	  .help = "directories have a link count of 1" },
	{ .names = "ino32_t", .kind = FLAG, .field = FIELD(ino32), .number = 1,
	  .help = "inode numbers of 32 bits" },
	{ .names = "ro", .kind = FLAG, .field = FIELD(readonly), .number = 1,
	  .help = "mount read-only" },
	{ .names = "rw", .kind = FLAG, .field = FIELD(readonly), .number = 0 },
	{ .names = "allow_other", .kind = FLAG, .field = FIELD(allow_other), .number = 1,
	  .help = "other users may come in, too (for root the default)" },
	{ .names = "allow_root", .kind = FLAG, .field = FIELD(allow_root), .number = 1,
	  .help = "nobody but root and who mounted it may come in" },
	{ .names = "fsname", .kind = TEXT, .field = FIELD(fsname), .preset = "plyfs",
	  .arg = "NAME",
	  .help = "the source that mount(8) and df(1) show" },
	{ .names = "subtype", .kind = TEXT, .field = FIELD(subtype), .preset = "plyfs",
	  .arg = "NAME",
	  .help = "the type that they show, behind fuse." },
	{ .names = "debug", .kind = FLAG, .field = FIELD(debug), .number = 1,
	  .help = "as -d" },
	/* Of fuse-overlayfs and of libfuse: what they tune is tuned otherwise, or always on. */
	{ .names = "default_permissions threaded fast_ino fast_ino_check"
		   " clone_fd max_idle_threads max_threads splice_read splice_write"
		   " splice_move kernel_cache auto_cache big_writes nonempty max_write"
		   " max_read max_readahead", .kind = QUIET },
	/* Of the kernel's overlayfs. */
	{ .names = "xino uuid override_creds"
		   " nooverride_creds", .kind = QUIET },
	/* Of mount(8), fstab and SELinux. */
	{ .names = "context fscontext defcontext rootcontext defaults auto noauto user"
		   " nouser users owner group nofail _netdev comment relatime norelatime"
		   " strictatime nostrictatime diratime nodiratime lazytime nolazytime X-*"
		   " x-*", .kind = QUIET },
	{ .names = "nfs_export verity", .kind = ABSENT },
	{ .names = "plugins", .kind = REFUSED },
};
/* clang-format on */

#define NOPTIONS (sizeof(options) / sizeof(options[0]))

/* The words that stand for themselves. */
static const struct flag {
	const char *word;
	size_t field;
	const char *help;
} flags[] = {
	{ "-f", FIELD(foreground), "stay in the foreground" },
	{ "-d", FIELD(debug), "the same, and say more; counters at the end" },
	{ "--debug", FIELD(debug), NULL },
	{ "-h", FIELD(help), NULL },
	{ "--help", FIELD(help), "print this and exit" },
	{ "-V", FIELD(version), NULL },
	{ "--version", FIELD(version), "print versions and exit" },
	{ "-r", FIELD(readonly), NULL },
};

#define NFLAGS (sizeof(flags) / sizeof(flags[0]))

/* ---- helpers ---- */

static int __attribute__((format(printf, 2, 3))) complain(struct ply_why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int no_memory(struct ply_why *why)
{
	complain(why, "out of memory");
	return -ENOMEM;
}

static int *int_field(struct ply_options *o, size_t field)
{
	return (int *)((char *)o + field);
}

/*
 * The end of the piece at s: the first unescaped, unquoted stop, or the end of the string. A quote
 * opens only at the beginning of a piece, or behind its first '=' or a ':'. NULL when it is not
 * closed.
 */
static const char *piece_end(const char *s, char stop)
{
	int may_open = 1, equals = 0;

	for (; *s && *s != stop; s++) {
		if (*s == '\\' && s[1]) {
			s++;
			may_open = 0;
			continue;
		}
		if (*s == '"' && may_open) {
			do {
				s += s[0] == '\\' && s[1] ? 2 : 1;
			} while (*s && *s != '"');
			if (!*s)
				return NULL;
		}
		may_open = *s == ':' || (*s == '=' && !equals++);
	}
	return s;
}

/* What s to end means, without quotes and backslashes. */
static char *decode(const char *s, const char *end)
{
	char *text = malloc((size_t)(end - s) + 1), *out = text;
	int quoted = s < end && *s == '"';

	if (!text)
		return NULL;
	for (s += quoted; s < end; s++) {
		if (*s == '"' && quoted) {
			quoted = 0;
			continue;
		}
		if (*s == '\\' && s + 1 < end)
			s++;
		*out++ = *s;
	}
	*out = '\0';
	return text;
}

static int append_word(char **list, const char *word)
{
	size_t used = *list ? strlen(*list) : 0;
	char *grown = realloc(*list, used + strlen(word) + 2);

	if (!grown)
		return -ENOMEM;
	*list = grown;
	if (used)
		grown[used++] = ',';
	strcpy(grown + used, word);
	return 0;
}

/* ---- setters, one a kind ---- */

/* An option as it was written; value is NULL without '='. */
struct given {
	const struct option *opt;
	const char *name, *value;
};

static int set_flag(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	(void)why;
	*int_field(o, g->opt->field) = g->opt->number;
	return 0;
}

static int set_switch(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	if (g->value && strcmp(g->value, "0") && strcmp(g->value, "1"))
		return complain(why, "%s=%.200s: 0 or 1 is expected", g->name, g->value);
	*int_field(o, g->opt->field) = !g->value || *g->value == '1';
	return 0;
}

static int set_choice(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	for (int i = 0; g->opt->words[i]; i++) {
		if (!strcmp(g->value, g->opt->words[i])) {
			*int_field(o, g->opt->field) = i;
			return 0;
		}
	}
	return complain(why, "%s=%.200s: %s is expected", g->name, g->value, g->opt->arg);
}

static int set_seconds(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	double *field = (void *)((char *)o + g->opt->field);
	char *end;
	double seconds = strtod(g->value, &end);

	if (end == g->value || *end || !(seconds >= 0))
		return complain(why, "%s=%.200s: a number of seconds is expected", g->name,
				g->value);
	*field = seconds < PLY_TIMEOUT_MAX ? seconds : PLY_TIMEOUT_MAX;
	return 0;
}

static int set_text(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	char **field = (char **)((char *)o + g->opt->field);
	char *text = decode(g->value, g->value + strlen(g->value));

	if (!text)
		return no_memory(why);
	if (!*text) {
		free(text);
		return complain(why, "%s= is empty", g->name);
	}
	free(*field);
	*field = text;
	return 0;
}

static int set_id(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	uint32_t *field = (void *)((char *)o + g->opt->field);

	if (ply_id_parse(g->value, field))
		return complain(why, "%s=%.200s: the number of a user or group is expected",
				g->name, g->value);
	return 0;
}

static int set_idmap(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	struct ply_id_map *field = (void *)((char *)o + g->opt->field);
	const char *fault;
	int err = ply_id_map_parse(g->value, field, &fault);

	if (err == -ENOMEM)
		return no_memory(why);
	return err ? complain(why, "%s=%.200s: %s", g->name, g->value, fault) : 0;
}

static int add_layer(struct ply_options *o, const char *s, const char *end, int is_data,
		     struct ply_why *why)
{
	char **grown = o->lowers;
	char *path;

	if (o->ndata && !is_data)
		return complain(why, "lower layer '%.*s' stands below data-only layers",
				(int)(end - s), s);

	/* Doubles at each power of two. */
	if (!(o->nlowers & (o->nlowers - 1)))
		grown = realloc(o->lowers, (o->nlowers ? o->nlowers * 2 : 1) * sizeof(*grown));
	if (!grown)
		return no_memory(why);
	o->lowers = grown;
	path = decode(s, end);
	if (!path)
		return no_memory(why);
	o->lowers[o->nlowers++] = path;
	o->ndata += is_data != 0;
	return 0;
}

static void drop_layers(struct ply_options *o)
{
	while (o->nlowers)
		free(o->lowers[--o->nlowers]);
	o->ndata = 0;
}

static int set_layers(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	const char *at = g->value, *end;
	int err = 0, is_data = 0;

	drop_layers(o);
	for (; !err; at = end + 1) {
		end = piece_end(at, ':');
		if (!end)
			return complain(why, "%s=: a quote is not closed", g->name);
		if (end > at)
			err = add_layer(o, at, end, is_data, why);
		is_data = end == at && o->nlowers;
		if (!*end)
			break;
	}
	return err;
}

static int set_layer(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	if (!*g->value)
		return complain(why, "%s= is empty", g->name);
	return add_layer(o, g->value, g->value + strlen(g->value), g->opt->kind == DATA_LAYER, why);
}

static int set_mount(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	return append_word(&o->mount_words, g->name) ? no_memory(why) : 0;
}

static int set_nothing(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	(void)o;
	(void)g;
	(void)why;
	return 0;
}

static int refuse(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	(void)o;
	return complain(why, "option %s is not supported by this version of plyfs", g->name);
}

static int miss(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	if (!g->value || !strcmp(g->value, "on"))
		ply_warn("option %s has no effect: plyfs does not do that", g->name);
	else if (strcmp(g->value, "off"))
		return refuse(o, g, why);
	return 0;
}

enum takes {
	TAKES_NONE,
	TAKES_SOME,
	TAKES_EITHER,
};

static const struct {
	int (*set)(struct ply_options *o, const struct given *g, struct ply_why *why);
	enum takes takes;
} kinds[] = {
	[FLAG] = { set_flag, TAKES_NONE },     [SWITCH] = { set_switch, TAKES_EITHER },
	[CHOICE] = { set_choice, TAKES_SOME }, [SECONDS] = { set_seconds, TAKES_SOME },
	[TEXT] = { set_text, TAKES_SOME },     [ID] = { set_id, TAKES_SOME },
	[IDMAP] = { set_idmap, TAKES_SOME },   [LAYERS] = { set_layers, TAKES_SOME },
	[LAYER] = { set_layer, TAKES_SOME },   [DATA_LAYER] = { set_layer, TAKES_SOME },
	[MOUNT] = { set_mount, TAKES_NONE },   [QUIET] = { set_nothing, TAKES_EITHER },
	[ABSENT] = { miss, TAKES_EITHER },     [REFUSED] = { refuse, TAKES_EITHER },
};

/* ---- parsing ---- */

static int is_named(const struct option *opt, const char *word)
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

static int set(struct ply_options *o, const struct given *g, struct ply_why *why)
{
	return kinds[g->opt->kind].set(o, g, why);
}

/* One option as it stands between commas; the word is cut at its '='. */
static int parse_word(struct ply_options *o, char *word, struct ply_why *why)
{
	char *equals = strchr(word, '=');
	struct given g = { .name = word, .value = equals ? equals + 1 : NULL };
	int known = 0;

	if (equals)
		*equals = '\0';
	for (g.opt = options; g.opt < options + NOPTIONS; g.opt++) {
		if (!is_named(g.opt, word))
			continue;
		known = 1;
		if (kinds[g.opt->kind].takes != (equals ? TAKES_NONE : TAKES_SOME))
			return set(o, &g, why);
	}
	if (known)
		return complain(why, "option %s %s", word,
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
		const char *end = piece_end(s, ',');
		char *word;

		if (!end)
			return complain(why, "a quote is not closed in -o %.200s", s);
		word = strndup(s, (size_t)(end - s));
		if (!word)
			return no_memory(why);
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
	return o->mountpoint ? 0 : no_memory(why);
}

static int parse_dash(struct ply_options *o, const char *arg)
{
	for (size_t i = 0; i < NFLAGS; i++) {
		if (!strcmp(arg, flags[i].word)) {
			*int_field(o, flags[i].field) = 1;
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
		return no_memory(why);

	for (int i = 1; i < argc && !err; i++) {
		const char *arg = argv[i];

		if (words_only || *arg != '-' || !arg[1]) {
			err = set_mountpoint(o, arg, why);
		} else if (!strcmp(arg, "--")) {
			words_only = 1;
		} else if (!strcmp(arg, "-o")) {
			if (++i == argc)
				return complain(why, "-o needs an argument");
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
		return complain(why, "no mountpoint is given; plyfs --help tells more");
	if (!*o->mountpoint)
		return complain(why, "the mountpoint is an empty word");
	if (o->nlowers == o->ndata)
		return complain(why, "no lower layer is given: lowerdir=DIR is missing");
	if (o->upper && !o->work)
		return complain(why, "upperdir=%s needs a workdir=DIR on the same file system",
				o->upper);
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
	for (const struct option *opt = options; opt < options + NOPTIONS && !err; opt++)
		if (opt->preset)
			err = set(o, &(struct given){ opt, opt->names, opt->preset }, &why);
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
	drop_layers(o);
	free(o->lowers);
	free(o->upper);
	free(o->work);
	free(o->mountpoint);
	free(o->fsname);
	free(o->subtype);
	free(o->mount_words);
	ply_ids_free(&o->ids);
}

/* ---- the other way ---- */

static int append_value(char **list, const char *name, const char *value)
{
	char *word = malloc(strlen(name) + 2 * strlen(value) + 2), *out;
	int err;

	if (!word)
		return -ENOMEM;
	out = stpcpy(stpcpy(word, name), "=");
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			*out++ = '\\';
		*out++ = *value;
	}
	*out = '\0';
	err = append_word(list, word);
	free(word);
	return err;
}

char *ply_options_for_mount(const struct ply_options *o, enum ply_privilege privilege)
{
	char *list = NULL;
	int root = privilege == PLY_ROOT_USER;
	int err = append_word(&list, root ? "default_permissions,suid,noatime"
					  : "default_permissions,noatime");

	if (!err && o->allow_root)
		err = append_word(&list, "allow_root");
	else if (!err && (root || o->allow_other))
		err = append_word(&list, "allow_other");
	if (!err && o->mount_words)
		err = append_word(&list, o->mount_words);
	if (!err && (o->readonly || !o->upper))
		err = append_word(&list, "ro");
	if (!err)
		err = append_value(&list, "fsname", o->fsname);
	if (!err)
		err = append_value(&list, "subtype", o->subtype);
	if (err) {
		free(list);
		return NULL;
	}
	return list;
}

/* Of several names the first is shown. */
static void print_entry(FILE *out, const char *dash, const char *names, const char *arg,
			const char *help)
{
	char left[64];

	snprintf(left, sizeof(left), "%s%.*s%s%s", dash, (int)strcspn(names, " "), names,
		 arg ? "=" : "", arg ? arg : "");
	fprintf(out,
		strlen(left) < 32 ? "    %-32s%s"
				  : "    %s\n                                    %s",
		left, help);
}

void ply_options_help(FILE *out, const char *program)
{
	fprintf(out,
		"usage: %s [options] <mountpoint>\n\n"
		"Mounts a stack of directories as one: read-only lower layers and, on top, a\n"
		"writable upper one.\n\n",
		program);
	for (size_t i = 0; i < NFLAGS; i++) {
		if (!flags[i].help)
			continue;
		print_entry(out, "", flags[i].word, NULL, flags[i].help);
		fputc('\n', out);
	}
	for (const struct option *opt = options; opt < options + NOPTIONS; opt++) {
		if (!opt->help)
			continue;
		print_entry(out, "-o ", opt->names, opt->arg, opt->help);
		if (opt->preset)
			fprintf(out, " (%s)", opt->preset);
		fputc('\n', out);
	}
	fprintf(out,
		"\nAlso ro, rw, dev, suid, exec, atime and their opposites, and the options of\n"
		"fuse-overlayfs; those which have nothing to do here are accepted.\n"
		"In paths, a backslash goes before a comma, a colon and a backslash.\n");
}
