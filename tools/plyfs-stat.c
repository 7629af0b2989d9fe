/*
 * plyfs-stat MNT: what a running mount's server tells of itself: its stack, what it has in memory, what it has done.
 * With --watch again and again, as what was done in each interval. With names: where each comes from.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/args.h"
#include "common/interrupt.h"
#include "common/live.h"

#define BUSIEST 4 /* kinds of request named in a line of --watch */

static const struct ply_own_option own[] = {
	{ 'w', "watch", "SECONDS", "a line for each so many seconds, until interrupted" },
	{ 'n', "count", "LINES", "with --watch: end after so many" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[-jq] [-w SECONDS [-n LINES]] MNT [PATH]...",
	.text = "Tells of a running mount: its layers, what its server keeps in memory, the requests it has had.\n"
		"With paths, from the root of the mount: which layers each of them comes from.\n"
		"Exit status: 0 told, 2 trouble.\n",
	.own = own,
	.min = 1,
	.max = INT_MAX,
	.usage_exit = PLY_EXIT_TROUBLE,
	.takes_no_stack = 1,
};

static uint64_t all_requests(const struct ply_ctl_status *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PLY_CTL_OPS; i++)
		sum += s->ops[i].count;
	return sum;
}

/* ---- flags ---- */

static const struct flag {
	uint32_t bit;
	const char *word; /* of text and JSON */
} flags[] = {
	{ PLY_CTL_READONLY, "readonly" }, { PLY_CTL_WRITEBACK, "writeback" },
	{ PLY_CTL_METACOPY, "metacopy" }, { PLY_CTL_NOSYNC, "volatile" },
	{ PLY_CTL_FROZEN, "frozen" },
};
#define NFLAGS (sizeof(flags) / sizeof(flags[0]))

/* ---- the layers ---- */

struct layers {
	struct ply_live *live;
	struct ply_ctl_layer layer;
};

/* The next one: 1, 0 after the last, -errno. */
static int next_layer(struct layers *l, unsigned index)
{
	int err = ply_live_layer(l->live, index, &l->layer);

	return err == -ENOENT ? 0 : err ? err : 1;
}

static const char *role(const struct ply_ctl_layer *layer)
{
	return !layer->index ? "upper" : layer->is_data_only ? "data" : "lower";
}

static int print_layers(struct ply_live *live)
{
	struct layers l = { .live = live };
	int more = 1;

	for (unsigned i = 0; (more = next_layer(&l, i)) > 0; i++) {
		char *path = ply_escape(l.layer.path);

		if (*l.layer.path)
			printf("layer %-8u %s %s\n", i, role(&l.layer), path ? path : "?");
		free(path);
	}
	return more;
}

static int print_json_layers(struct ply_live *live)
{
	struct layers l = { .live = live };
	const char *comma = "";
	int more = 1;

	printf("\"layers\":[");
	for (unsigned i = 0; (more = next_layer(&l, i)) > 0; i++) {
		if (!*l.layer.path)
			continue;
		printf("%s{\"layer\":%u,\"path\":", comma, i);
		ply_put_json(stdout, l.layer.path);
		printf(",\"role\":\"%s\"}", role(&l.layer));
		comma = ",";
	}
	printf("],");
	return more;
}

/* ---- once ---- */

static void print_number(const char *label, uint64_t n)
{
	printf("%-14s %llu\n", label, (unsigned long long)n);
}

static void print_with_bytes(const char *label, uint64_t n, uint64_t bytes)
{
	printf("%-14s %llu, %s\n", label, (unsigned long long)n, ply_amount(bytes).text);
}

static int print_text(struct ply_live *live, const struct ply_ctl_status *s)
{
	int err;

	print_number("server", s->pid);
	printf("state         ");
	for (size_t i = 0; i < NFLAGS; i++)
		if (s->flags & flags[i].bit)
			printf(" %s", flags[i].word);
	printf("%s\n", s->flags ? "" : " writable");
	err = print_layers(live);
	print_with_bytes("nodes", s->nodes, s->node_bytes);
	print_number("names", s->names);
	print_with_bytes("listings", s->listings, s->listing_bytes);
	print_number("descriptors", s->fds);
	print_with_bytes("copy-ups", s->copyups, s->copyup_bytes);
	print_number("unsettled", s->unsettled);
	print_number("held", s->held);
	print_number("requests", all_requests(s));
	for (unsigned i = 0; i < PLY_CTL_OPS; i++)
		if (s->ops[i].count)
			printf("  %-20s %llu\n", s->ops[i].name,
			       (unsigned long long)s->ops[i].count);
	return err;
}

static int print_json(struct ply_live *live, const struct ply_ctl_status *s)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "copyup_bytes", s->copyup_bytes },
		{ "copyups", s->copyups },
		{ "descriptors", s->fds },
		{ "held", s->held },
		{ "listing_bytes", s->listing_bytes },
		{ "listings", s->listings },
		{ "names", s->names },
		{ "node_bytes", s->node_bytes },
		{ "nodes", s->nodes },
		{ "server", s->pid },
		{ "unsettled", s->unsettled },
	};
	const char *comma = "";
	int err;

	printf("{");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		printf("\"%s\":%llu,", numbers[i].name, (unsigned long long)numbers[i].value);
	for (size_t i = 0; i < NFLAGS; i++)
		printf("\"%s\":%s,", flags[i].word, s->flags & flags[i].bit ? "true" : "false");
	err = print_json_layers(live);
	printf("\"requests\":{");
	for (unsigned i = 0; i < PLY_CTL_OPS; i++)
		if (s->ops[i].count) {
			printf("%s\"%s\":%llu", comma, s->ops[i].name,
			       (unsigned long long)s->ops[i].count);
			comma = ",";
		}
	printf("},\"type\":\"status\"}\n");
	return err;
}

/* ---- again and again ---- */

/* The kind of request that there were most of; PLY_CTL_OPS: there were none. */
static unsigned busiest(const uint64_t ops[PLY_CTL_OPS])
{
	unsigned most = PLY_CTL_OPS;

	for (unsigned i = 0; i < PLY_CTL_OPS; i++)
		if (ops[i] && (most == PLY_CTL_OPS || ops[i] > ops[most]))
			most = i;
	return most;
}

static void print_interval(const struct ply_ctl_status *was, const struct ply_ctl_status *is)
{
	uint64_t ops[PLY_CTL_OPS];

	for (unsigned i = 0; i < PLY_CTL_OPS; i++)
		ops[i] = is->ops[i].count - was->ops[i].count;
	printf("%9llu %8llu %9llu %9llu ",
	       (unsigned long long)(all_requests(is) - all_requests(was)),
	       (unsigned long long)is->nodes, (unsigned long long)(is->copyups - was->copyups),
	       (unsigned long long)is->unsettled);
	for (unsigned i = 0; i < BUSIEST; i++) {
		unsigned op = busiest(ops);

		if (op == PLY_CTL_OPS)
			break;
		printf(" %s %llu", is->ops[op].name, (unsigned long long)ops[op]);
		ops[op] = 0;
	}
	printf("%s\n", is->flags & PLY_CTL_FROZEN ? " (frozen)" : "");
}

static void print_json_interval(const struct ply_ctl_status *was, const struct ply_ctl_status *is)
{
	printf("{\"copyups\":%llu,\"frozen\":%s,\"nodes\":%llu,\"requests\":%llu,\"type\":\"interval\","
	       "\"unsettled\":%llu}\n",
	       (unsigned long long)(is->copyups - was->copyups),
	       is->flags & PLY_CTL_FROZEN ? "true" : "false", (unsigned long long)is->nodes,
	       (unsigned long long)(all_requests(is) - all_requests(was)),
	       (unsigned long long)is->unsettled);
}

static int watch(struct ply_live *live, const struct ply_args *a)
{
	unsigned long seconds = ply_args_number(a, 'w'), count = 0;
	struct ply_ctl_status was, is;
	int err = ply_live_status(live, &was);

	if (a->set['n'])
		count = ply_args_number(a, 'n');
	if (!a->cli.json && !a->cli.quiet)
		printf(" requests    nodes   copyups unsettled  busiest\n");
	for (unsigned long i = 0; !err && (!count || i < count); i++) {
		fflush(stdout);
		if (poll(NULL, 0, (int)seconds * 1000) < 0)
			return -EINTR;
		err = ply_live_status(live, &is);
		if (!err)
			(a->cli.json ? print_json_interval : print_interval)(&was, &is);
		was = is;
	}
	return err;
}

/* ---- names ---- */

static const char *const states[] = {
	[PLY_WHERE_LOWER] = "lower",
	[PLY_WHERE_META_UP] = "metadata only",
	[PLY_WHERE_MARKED] = "unsettled",
	[PLY_WHERE_UPPER] = "upper",
};

static const char *const kinds[] = {
	[PLY_WHERE_INODE] = "inode",	   [PLY_WHERE_INDEX] = "index",
	[PLY_WHERE_DATA] = "data",	   [PLY_WHERE_NO_DATA] = "missing",
	[PLY_WHERE_WHITEOUT] = "whiteout",
};

/* Of a server of another version there may be others. */
static const char *word(const char *const *words, size_t n, uint32_t i)
{
	return i < n ? words[i] : "?";
}
#define WORD(words, i) word(words, sizeof(words) / sizeof((words)[0]), i)

/* A part's path on disk; that in an index is only a name, and what is missing is nowhere. NULL without memory. */
static char *path_of(const struct ply_ctl_where *part, const struct ply_ctl_layer *layer)
{
	char *path;
	int n;

	if (part->kind == PLY_WHERE_INDEX || part->kind == PLY_WHERE_NO_DATA)
		return strdup(part->path);
	n = asprintf(&path, "%s%s%s", layer->path, *part->path ? "/" : "", part->path);
	return n < 0 ? NULL : path;
}

static void print_part(const struct ply_ctl_where *part, const struct ply_ctl_layer *layer)
{
	const char *label = part->kind == PLY_WHERE_DATA ? "data" : "layer";
	char *path = path_of(part, layer), *escaped = ply_escape(path ? path : "?");

	if (part->kind == PLY_WHERE_NO_DATA)
		printf("data           in no layer\n");
	else
		printf("%-5s %-8u %s %s\n", label, part->layer,
		       part->kind == PLY_WHERE_INDEX ? "index" : role(layer), escaped);
	free(escaped);
	free(path);
}

static void print_json_part(const struct ply_ctl_where *part, const struct ply_ctl_layer *layer)
{
	char *path = path_of(part, layer);

	printf("%s{\"layer\":%u,\"path\":", part->part ? "," : "", part->layer);
	ply_put_json(stdout, path ? path : "?");
	printf(",\"role\":\"%s\",\"what\":\"%s\"}", role(layer), WORD(kinds, part->kind));
	free(path);
}

static void print_name(const char *path, const struct ply_ctl_where *where)
{
	char *escaped = ply_escape(path);

	printf("name           %s\n", escaped);
	printf("type           %s\n", ply_type_word(where->mode));
	print_number("inode", where->ino);
	printf("state          %s\n", WORD(states, where->state));
	free(escaped);
}

static void print_json_name(const char *path, const struct ply_ctl_where *where)
{
	printf("{\"inode\":%llu,\"kind\":\"%s\",\"path\":", (unsigned long long)where->ino,
	       ply_type_word(where->mode));
	ply_put_json(stdout, path);
	printf(",\"state\":\"%s\",\"type\":\"name\",\"parts\":[", WORD(states, where->state));
}

/* Nothing of that name is shown. */
static void say_hidden(struct ply_live *live, const char *path, const struct ply_ctl_where *where)
{
	struct ply_ctl_layer layer;
	char *by, why[2 * PATH_MAX + 64];

	if (where->kind != PLY_WHERE_WHITEOUT || ply_live_layer(live, where->layer, &layer)) {
		ply_complain("cannot tell of", path, -ENOENT);
		return;
	}
	by = path_of(where, &layer);
	snprintf(why, sizeof(why), "it is hidden by the whiteout %s in layer %u", by ? by : "?",
		 where->layer);
	ply_complain_of("cannot tell of", path, -ENOENT, why);
	free(by);
}

/* It may change between two parts: then it has fewer, or is gone. */
static int tell_name(struct ply_live *live, const struct ply_args *a, const char *path)
{
	struct ply_ctl_where where;
	struct ply_ctl_layer layer;
	int err = ply_live_where(live, path, 0, &where);

	if (err == -ENOENT)
		say_hidden(live, path, &where);
	if (err)
		return err;
	(a->cli.json ? print_json_name : print_name)(path, &where);
	for (unsigned i = 1; !err; i++) {
		err = ply_live_layer(live, where.layer, &layer);
		if (!err)
			(a->cli.json ? print_json_part : print_part)(&where, &layer);
		if (!err)
			err = ply_live_where(live, path, i, &where);
	}
	if (a->cli.json)
		printf("]}\n");
	return err == -ERANGE || err == -ENOENT ? 0 : err;
}

static int tell_names(struct ply_live *live, const struct ply_args *a)
{
	int trouble = 0;

	for (int i = 1; i < a->noperands; i++) {
		if (i > 1 && !a->cli.json)
			putchar('\n');
		if (tell_name(live, a, a->operands[i]))
			trouble = -ENOENT;
	}
	return trouble;
}

static int once(struct ply_live *live, const struct ply_args *a)
{
	struct ply_ctl_status status;
	int err = ply_live_status(live, &status);

	return err ? err : a->cli.json ? print_json(live, &status) : print_text(live, &status);
}

int main(int argc, char **argv)
{
	struct ply_live live = { .fd = -1 };
	struct ply_args args;
	int err;

	ply_args_parse(&args, argc, argv, &tool);
	if (args.set['n'] && !args.set['w'])
		ply_args_refuse(&tool, "--count is for --watch");
	if (args.noperands > 1 && args.set['w'])
		ply_args_refuse(&tool, "--watch tells nothing of paths");
	ply_interrupt_start();
	err = ply_live_open(&live, args.operands[0]);
	if (!err)
		err = args.set['w']	   ? watch(&live, &args)
		      : args.noperands > 1 ? tell_names(&live, &args)
					   : once(&live, &args);
	ply_interrupt_end();
	ply_live_close(&live);
	ply_args_free(&args);
	if (err)
		ply_interrupt_die();
	return err ? PLY_EXIT_TROUBLE : PLY_EXIT_OK;
}
