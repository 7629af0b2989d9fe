/*
 * Command lines: what is accepted means the same when it is written anew, and nothing gets into the options of the
 * mount that was no word of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "options.h"

#define ARGS_MAX 32

struct text {
	char *at;
	size_t used;
};

/* With the escapes that --help tells of. */
static void add_escaped(struct text *t, const char *s)
{
	for (; *s; s++) {
		if (strchr(",:\\\"", *s))
			t->at[t->used++] = '\\';
		t->at[t->used++] = *s;
	}
	t->at[t->used] = '\0';
}

static void add(struct text *t, const char *s)
{
	memcpy(t->at + t->used, s, strlen(s) + 1);
	t->used += strlen(s);
}

static size_t room_of(const struct ply_options *o)
{
	size_t room = 4096;

	for (size_t i = 0; i < o->nlowers; i++)
		room += 2 * strlen(o->lowers[i]) + 2;
	room += o->upper ? 2 * strlen(o->upper) : 0;
	return room + (o->work ? 2 * strlen(o->work) : 0);
}

/* The layers as one -o argument. */
static char *write_layers(const struct ply_options *o)
{
	struct text t = { .at = malloc(room_of(o)) };

	fuzz_check(t.at);
	add(&t, "lowerdir=");
	for (size_t i = 0; i < o->nlowers; i++) {
		add(&t, i + o->ndata >= o->nlowers ? "::" : i ? ":" : "");
		add_escaped(&t, o->lowers[i]);
	}
	if (o->upper) {
		add(&t, ",upperdir=");
		add_escaped(&t, o->upper);
		add(&t, ",workdir=");
		add_escaped(&t, o->work);
	}
	return t.at;
}

static void check_same(const struct ply_options *a, const struct ply_options *b)
{
	fuzz_check(a->nlowers == b->nlowers && a->ndata == b->ndata);
	for (size_t i = 0; i < a->nlowers; i++)
		fuzz_check(!strcmp(a->lowers[i], b->lowers[i]));
	fuzz_check(!a->upper == !b->upper);
	fuzz_check(!a->upper || (!strcmp(a->upper, b->upper) && !strcmp(a->work, b->work)));
}

static void check_again(const struct ply_options *o)
{
	char *layers = write_layers(o);
	char *argv[] = { (char[]){ "plyfs" }, (char[]){ "-o" }, layers, (char[]){ "--" },
			 o->mountpoint };
	struct ply_options again;
	struct ply_why why;

	fuzz_check(!ply_options_init(&again));
	if (ply_options_parse(&again, 5, argv, &why))
		fuzz_fail("%s: %s", layers, why.text);
	check_same(o, &again);
	ply_options_free(&again);
	free(layers);
}

/* The words that a mount may get; others are names after an equals sign. */
static int is_word(const char *s, size_t len)
{
	static const char *const known[] = {
		"default_permissions",
		"suid",
		"nosuid",
		"dev",
		"nodev",
		"exec",
		"noexec",
		"atime",
		"noatime",
		"sync",
		"async",
		"dirsync",
		"auto_unmount",
		"ro",
		"rw",
		"allow_root",
		"allow_other",
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i]) == len && !strncmp(known[i], s, len))
			return 1;
	return !strncmp(s, "fsname=", 7) || !strncmp(s, "subtype=", 8);
}

/* As libfuse splits them: a backslash takes the meaning from what is behind it. */
static void check_mount_options(const char *list)
{
	while (*list) {
		const char *end = list;

		while (*end && *end != ',')
			end += *end == '\\' && end[1] ? 2 : 1;
		if (!is_word(list, (size_t)(end - list)))
			fuzz_fail("an option of the mount: %.200s", list);
		list = *end ? end + 1 : end;
	}
}

static void check_options(const struct ply_options *o)
{
	const enum ply_privilege privileges[] = { PLY_PLAIN_USER, PLY_ROOT_USER };

	fuzz_check(o->mountpoint && *o->mountpoint && o->nlowers > o->ndata);
	fuzz_check(o->timeout >= 0 && o->timeout <= PLY_TIMEOUT_MAX);
	for (size_t i = 0; i < o->nlowers; i++)
		if (!*o->lowers[i])
			return;
	for (size_t i = 0; i < 2; i++) {
		char *list = ply_options_for_mount(o, privileges[i]);

		fuzz_check(list);
		check_mount_options(list);
		free(list);
	}
	check_again(o);
}

/* Arguments end with a zero or a newline. */
static void try(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *argv[ARGS_MAX];
	struct ply_options o;
	struct ply_why why = { "" };
	int argc = 0, err;

	fuzz_check(text);
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *at = text, *end = text + size; at <= end && argc < ARGS_MAX;
	     at += strlen(at) + 1) {
		at[strcspn(at, "\n")] = '\0';
		argv[argc++] = at;
	}
	fuzz_check(!ply_options_init(&o));
	err = ply_options_parse(&o, argc, argv, &why);
	fuzz_check(err == 0 || err == -EINVAL);
	fuzz_check(!err == !*why.text);
	if (!err && !o.help && !o.version)
		check_options(&o);
	ply_options_free(&o);
	free(text);
}

static const char *const words[] = {
	"lowerdir=",
	"lowerdir+=",
	"datadir+=",
	"upperdir=",
	"workdir=",
	",",
	":",
	"::",
	"\\",
	"\"",
	"=",
	"uidmapping=",
	"gidmapping=",
	"0:1000:1",
	"4294967295",
	"squash_to_uid=",
	"timeout=",
	"1e9",
	"nan",
	"inf",
	"fsname=",
	"subtype=",
	"whiteout=",
	"xattrs=",
	"redirect_dir=",
	"-o",
	"-f",
	"--",
	"\n",
	"suid",
	"allow_root",
	"volatile",
	"nfs_export=on",
	NULL,
};

int main(int argc, char *argv[])
{
	static const struct fuzz_target targets[] = {
		{ .name = "options", .try = try, .words = words, .max = 1 << 20, .rounds = 20000 },
		{ 0 },
	};

	return fuzz_main(argc, argv, targets);
}
