/*
 * The text of options: cut off at any byte, garbled, and as long as 500 layers. What of it is taken means what is written
 * there, and no path comes from elsewhere.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/log.h"
#include "options.h"

static char program[] = "plyfs", dash_o[] = "-o", mountpoint[] = "/m";

/* As container engines write them. */
static void five_hundred_layers_are_taken(void **state)
{
	size_t size = 500 * 100, used;
	char *text = malloc(size), *argv[] = { NULL, NULL, NULL, NULL };
	struct ply_options o;
	struct ply_why why;

	(void)state;
	used = (size_t)sprintf(text, "lowerdir=");
	for (int i = 0; i < 500; i++)
		used += (size_t)sprintf(text + used,
					"%s/var/lib/containers/storage/overlay/l/%026d",
					i ? ":" : "", i);
	argv[0] = program;
	argv[3] = mountpoint;
	argv[1] = dash_o;
	argv[2] = text;
	assert_int_equal(ply_options_init(&o), 0);
	assert_int_equal(ply_options_parse(&o, 4, argv, &why), 0);
	assert_int_equal(o.nlowers, 500);
	assert_non_null(strstr(o.lowers[499], "/00000000000000000000000499"));
	ply_options_free(&o);
	free(text);
}

/* ---- every prefix of what a caller says ---- */

enum part { IN_KEY, IN_LOWER, IN_UPPER, IN_WORK, IN_OTHER };

/* What a prefix of the text means; kept for each length. */
struct cut {
	enum part part;
	int in_quote;
	int escaped; /* it ends in a backslash */
	size_t nlowers, lower, upper,
		work; /* layers, and decoded bytes of the last one and of the others */
};

struct written {
	char *text;
	struct cut *cuts;
	size_t len;
	struct cut now;
	char layers[512][128], paths[2][128]; /* decoded: lower layers; upper and work */
};

/* One more byte of the text. */
static void write_raw(struct written *w, char c)
{
	w->text[w->len++] = c;
	w->text[w->len] = '\0';
	w->cuts[w->len] = w->now;
}

static void write_key(struct written *w, const char *key, enum part part)
{
	w->now.part = IN_KEY;
	for (; *key; key++) {
		if (*key == '=')
			w->now.part = part;
		write_raw(w, *key);
	}
}

/* A decoded byte of the present part, with a backslash where it needs one. */
static void write_byte(struct written *w, char c)
{
	int special = w->now.in_quote ? c == '"' || c == '\\' : strchr(",:\\\"", c) != NULL;
	char *path = w->now.part == IN_LOWER ? w->layers[w->now.nlowers - 1]
					     : w->paths[w->now.part == IN_WORK];
	size_t *len = w->now.part == IN_LOWER	? &w->now.lower
		      : w->now.part == IN_UPPER ? &w->now.upper
						: &w->now.work;

	if (special) {
		w->now.escaped = 1;
		write_raw(w, '\\');
		w->now.escaped = 0;
	}
	path[(*len)++] = c;
	write_raw(w, c);
}

static void write_path(struct written *w, const char *path, int in_quotes)
{
	w->now.in_quote = in_quotes;
	if (in_quotes)
		write_raw(w, '"');
	for (; *path; path++)
		write_byte(w, *path);
	w->now.in_quote = 0;
	if (in_quotes)
		write_raw(w, '"');
}

static void write_layers(struct written *w, unsigned n)
{
	static const char *const odd[] = { "/a:b", "/c,d", "/e\\f", "/\"g\"", "/h=i", "/j k" };
	char path[128];

	write_key(w, "lowerdir=", IN_LOWER);
	for (unsigned i = 0; i < n; i++) {
		if (i)
			write_raw(w, ':');
		snprintf(path, sizeof(path),
			 "/home/joe/.local/share/containers/storage/overlay/l/%026u%s", i,
			 i % 5 ? "" : odd[i / 5 % 6]);
		w->now.nlowers++;
		w->now.lower = 0;
		write_path(w, path, i % 7 == 3);
	}
}

static struct written *write_all(void)
{
	static const char rest[] = ",context=\"system_u:object_r:container_file_t:s0:c1,c2\","
				   "uidmapping=:0:1000:1:1:100000:65536,timeout=1.5,volatile";
	struct written *w = calloc(1, sizeof(*w));
	size_t room = 64 * 1024;

	w->text = malloc(room);
	w->cuts = calloc(room, sizeof(*w->cuts));
	write_layers(w, 500);
	write_key(w, ",upperdir=", IN_UPPER);
	write_path(w, "/var/lib/containers/storage/overlay/X,\\/diff", 0);
	write_key(w, ",workdir=", IN_WORK);
	write_path(w, "/var/lib/containers/storage/overlay/X,\\/work", 1);
	w->now.part = IN_OTHER;
	for (const char *c = rest; *c; c++)
		write_raw(w, *c);
	assert_in_range(w->len, 35000, room - 1);
	return w;
}

static int is_key(const struct written *w, size_t len, const char *key)
{
	size_t n = strlen(key);

	return len >= n && !memcmp(w->text + len - n, key, n);
}

/* Must this prefix be refused? -1: whatever it says of the options that have no paths. */
static int is_bad(const struct written *w, size_t len)
{
	const struct cut *c = &w->cuts[len];

	if (c->in_quote || !c->nlowers || (c->upper && !c->work))
		return 1;
	if (c->part == IN_KEY && (is_key(w, len, ",upperdir") || is_key(w, len, ",workdir")))
		return 1;
	if ((c->part == IN_UPPER && !c->upper) || (c->part == IN_WORK && !c->work))
		return 1;
	return c->part == IN_OTHER ? -1 : 0;
}

/* The path is the first len bytes of that, and a backslash if the text ends in one. */
static void check_path(const char *got, const char *whole, size_t len, int escaped)
{
	assert_non_null(got);
	assert_int_equal(strlen(got), len + (escaped != 0));
	assert_memory_equal(got, whole, len);
	assert_true(!escaped || got[len] == '\\');
}

static void check_cut(const struct written *w, size_t len, const struct ply_options *o)
{
	const struct cut *c = &w->cuts[len];
	/* A layer of no bytes is none. */
	size_t last = c->nlowers - (c->part == IN_LOWER && !c->lower && !c->escaped);

	assert_int_equal(o->nlowers, last);
	assert_int_equal(o->ndata, 0);
	for (size_t i = 0; i + 1 < last; i += last / 8 + 1)
		assert_string_equal(o->lowers[i], w->layers[i]);
	if (last == c->nlowers)
		check_path(o->lowers[last - 1], w->layers[last - 1], c->lower,
			   c->part == IN_LOWER && c->escaped);
	if (c->upper)
		check_path(o->upper, w->paths[0], c->upper, c->part == IN_UPPER && c->escaped);
	else
		assert_null(o->upper);
	if (c->work)
		check_path(o->work, w->paths[1], c->work, c->part == IN_WORK && c->escaped);
	else
		assert_null(o->work);
}

/* Cut off anywhere, it is refused in a sentence, or means what is left of it: no path comes from elsewhere. */
static void each_prefix_means_what_it_says(void **state)
{
	struct written *w = write_all();
	char *argv[] = { program, dash_o, NULL, mountpoint, NULL };

	(void)state;
	ply_log_set_level(PLY_LOG_ERROR);
	for (size_t len = 1; len <= w->len; len++) {
		int bad = is_bad(w, len), err;
		struct ply_options o;
		struct ply_why why = { "" };

		argv[2] = strndup(w->text, len);
		assert_int_equal(ply_options_init(&o), 0);
		err = ply_options_parse(&o, 4, argv, &why);
		if (bad >= 0 && (err != 0) != bad)
			fail_msg("%s: ...%s: %s", bad ? "taken" : "refused",
				 argv[2] + (len > 60 ? len - 60 : 0), why.text);
		if (err)
			assert_in_range(strlen(why.text), 10, sizeof(why.text) - 1);
		else
			check_cut(w, len, &o);
		ply_options_free(&o);
		free(argv[2]);
	}
	ply_log_set_level(PLY_LOG_INFO);
	free(w->text);
	free(w->cuts);
	free(w);
}

/* Cut and garbled anywhere, a megabyte long: an error or not, but an answer. */
static void no_text_is_too_odd(void **state)
{
	static const char seed[] =
		"lowerdir=\"/a\\\"b\":/c\\,d:/e\\\\,upperdir=/u\\:v,workdir=\"/w,x\","
		"context=\"a,b\",timeout=3,uidmapping=:0:1:2,volatile,,=,x-y";
	const size_t big = 1024 * 1024;
	char *text = malloc(big + 1), *argv[] = { NULL, NULL, NULL, NULL };
	unsigned long long random = 1;

	(void)state;
	argv[0] = program;
	argv[3] = mountpoint;
	argv[1] = dash_o;
	argv[2] = text;
	for (size_t round = 0; round < 2000; round++) {
		size_t len = round % sizeof(seed);
		struct ply_options o;
		struct ply_why why;

		memcpy(text, seed, len);
		text[len] = '\0';
		for (size_t i = 0; i < round / sizeof(seed) && len; i++) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			text[(random >> 33) % len] = ",:\\\"=a"[(random >> 20) % 6];
		}
		assert_int_equal(ply_options_init(&o), 0);
		ply_options_parse(&o, 4, argv, &why);
		ply_options_free(&o);
	}
	for (const char *unit = ",:\\\"=a"; *unit; unit++) {
		struct ply_options o;
		struct ply_why why;

		memset(text, *unit, big);
		text[big] = '\0';
		memcpy(text, "lowerdir=", 9);
		assert_int_equal(ply_options_init(&o), 0);
		ply_options_parse(&o, 4, argv, &why);
		ply_options_free(&o);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(five_hundred_layers_are_taken),
		cmocka_unit_test(each_prefix_means_what_it_says),
		cmocka_unit_test(no_text_is_too_odd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
