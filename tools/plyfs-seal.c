/*
 * plyfs-seal: writes the manifest of a layer beside it, and says later what of the layer is not as it was. The
 * digest of the manifest is the seal: who knows it knows the layer. The layer itself is never written to.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/busy.h"
#include "common/composefs.h"
#include "common/interrupt.h"
#include "common/manifest.h"
#include "common/sealing.h"
#include "common/textfile.h"

enum {
	OPT_VERIFY = 256,
	OPT_FAST,
	OPT_VERITY,
	OPT_NO_DIR_MTIME,
	OPT_COMPOSEFS,
};

static const struct ply_own_option own[] = {
	{ OPT_VERIFY, "verify", NULL, "compare the layer with its manifest" },
	{ 'o', "manifest", "FILE", "the manifest, instead of LAYER.seal" },
	{ OPT_FAST, "fast", NULL, "metadata and sizes only, without reading data" },
	{ OPT_VERITY, "verity", NULL, "digests of data as the kernel's fs-verity has them" },
	{ OPT_NO_DIR_MTIME, "no-dir-mtime", NULL, "without the times of directories" },
	{ OPT_COMPOSEFS, "composefs", NULL, "what mkcomposefs reads, to stdout or to -o FILE" },
	{ 'n', "dry-run", NULL, "write no manifest, only print the seal" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"[--verify] [-o FILE] [--fast | --verity] [--no-dir-mtime] [--composefs] [-n] [-j] [-q] [-v] LAYER",
	.text = "Writes the manifest of a layer to LAYER.seal and prints its digest, the seal. With --verify\n"
		"names what of the layer is not as the manifest says.\n"
		"Exit status: 0 done, 1 something differs, 2 trouble, 3 the layer is in use.\n",
	.own = own,
	.min = 1,
	.max = 1,
	.usage_exit = PLY_EXIT_TROUBLE,
	.takes_no_stack = 1,
};

struct seal {
	struct ply_args args;
	const char *layer;
	char *file; /* the manifest */
	unsigned scope;
	int fd; /* the layer */
	struct ply_manifest manifest;
	char digest[PLY_SHA256_HEX];
	const char *line; /* being compared */
	unsigned fields;  /* of it that differ */
	uint64_t added, missing, changed;
	struct ply_progress progress;
	const char *trouble; /* instead of what an errno says */
	double start;
};

static void complain(struct seal *s, const char *what, const char *path, int err)
{
	ply_complain_of(what, path, err, s->trouble ? s->trouble : ply_seal_trouble(err));
}

/* ---- the manifest ---- */

static int seal(struct seal *s)
{
	struct ply_sealing sealing = { .scope = s->scope,
				       .is_dry = s->args.set['n'],
				       .tells = s->args.cli.verbose,
				       .progress = &s->progress,
				       .wish = s->args.cli.progress };
	int err = ply_seal(&sealing, s->fd, s->layer, s->file);

	strcpy(s->digest, sealing.digest);
	return err;
}

/* ---- for composefs ---- */

static int put_dump(void *arg, const char *line)
{
	struct ply_textfile *file = arg;

	return file ? ply_textfile_put(file, line) : fputs(line, stdout) < 0 ? -EIO : 0;
}

static int dump(struct seal *s, struct ply_textfile *file)
{
	struct ply_composefs c = { .line = put_dump,
				   .arg = file,
				   .entries = &s->progress.entries,
				   .bytes = &s->progress.data.copied };
	char *where;
	int err;

	s->progress.what = "reading";
	ply_progress_start(&s->progress, s->args.cli.progress);
	err = ply_composefs_dump(&c, s->fd, &where);
	ply_progress_end();
	ply_interrupt_end();
	if (err)
		ply_complain_of("cannot dump", where ? where : s->layer, err,
				c.trouble ? c.trouble : ply_seal_trouble(err));
	free(where);
	return err;
}

static int dump_to_file(struct seal *s)
{
	struct ply_textfile *file = calloc(1, sizeof(*file));
	struct ply_staging staging;
	int err = ply_seal_open_file(&staging, s->fd, s->file, &s->trouble), is_told = 0;

	if (!err)
		err = file ? ply_staging_make_file(&staging) : -ENOMEM;
	if (!err) {
		file->fd = staging.fd;
		err = dump(s, file);
		is_told = err != 0;
	}
	if (!err)
		err = ply_textfile_flush(file);
	if (!err)
		err = ply_staging_publish_file(&staging);
	ply_interrupt_end();
	if (err && !is_told)
		complain(s, "cannot write", s->file, err);
	free(file);
	ply_staging_close(&staging);
	return err;
}

/* ---- findings ---- */

static void begin_finding(const struct seal *s, const char *what, const char *line)
{
	char *path = ply_manifest_path(line),
	     *text = path && !s->args.cli.json ? ply_escape(path) : NULL;

	if (s->args.cli.json) {
		printf("{\"type\":\"%s\",\"path\":", what);
		ply_put_json(stdout, path ? path : "?");
	} else {
		printf("%-8s %s", what, text ? text : "?");
	}
	free(text);
	free(path);
}

static void tell_finding(struct seal *s, const char *what, const char *line)
{
	ply_progress_pause();
	begin_finding(s, what, line);
	puts(s->args.cli.json ? "}" : "");
	ply_progress_resume();
}

static void put_value(const char *value)
{
	if (value)
		ply_put_json(stdout, value);
	else
		fputs("null", stdout);
}

static void on_field(void *arg, const char *key, const char *was, const char *is)
{
	struct seal *s = arg;
	const char *word = !strcmp(key, "sha256") || !strcmp(key, "verity") ? "data" : key;

	if (!s->fields)
		begin_finding(s, "changed", s->line);
	if (s->args.cli.json) {
		fputs(s->fields ? "," : ",\"fields\":{", stdout);
		ply_put_json(stdout, word);
		fputs(":[", stdout);
		put_value(was);
		putchar(',');
		put_value(is);
		putchar(']');
	} else {
		printf("%s%s", s->fields ? ", " : ": ", word);
		if (s->args.cli.verbose)
			printf(" (%s -> %s)", was ? was : "none", is ? is : "none");
	}
	s->fields++;
}

static int compare(struct seal *s, const char *line)
{
	int n;

	ply_progress_pause();
	s->line = line;
	s->fields = 0;
	n = ply_manifest_compare(s->manifest.next, line, s->scope, on_field, s);
	if (s->fields) {
		puts(s->args.cli.json ? "}}" : "");
		s->changed++;
	}
	ply_progress_resume();
	return n < 0 ? n : 0;
}

/* Of the manifest what comes before the line, which the layer no longer has. Without line: all that is left. */
static void tell_missing(struct seal *s, const char *line)
{
	struct ply_manifest *m = &s->manifest;

	for (; m->next && (!line || ply_manifest_order(m->next, line) < 0); ply_manifest_step(m)) {
		tell_finding(s, "missing", m->next);
		s->missing++;
	}
}

static int check_line(void *arg, const char *line)
{
	struct seal *s = arg;
	int err;

	tell_missing(s, line);
	if (!s->manifest.next || ply_manifest_order(s->manifest.next, line) != 0) {
		tell_finding(s, "added", line);
		s->added++;
		return 0;
	}
	err = compare(s, line);
	ply_manifest_step(&s->manifest);
	return err;
}

/* ---- verifying ---- */

static void note_scope(const struct seal *s)
{
	unsigned sealed = s->manifest.scope;

	if (s->args.cli.quiet)
		return;
	if (!(sealed & PLY_SCOPE_TRUSTED))
		ply_tell(
			"note: the manifest was made without privilege: marks in the trusted space are not compared");
	else if (!(s->scope & PLY_SCOPE_TRUSTED))
		ply_tell(
			"note: marks in the trusted space cannot be seen without privilege, and are not compared");
	if (!(sealed & PLY_SCOPE_DATA))
		ply_tell("note: the manifest was made with --fast: data is not compared");
}

static int load(struct seal *s)
{
	int fd = sys_open(AT_FDCWD, s->file, O_RDONLY | O_NONBLOCK, 0);
	int err = fd < 0 ? fd : ply_manifest_load(&s->manifest, fd);

	if (fd >= 0)
		sys_close(fd);
	if (err == -EINVAL)
		s->trouble = "it is not a manifest, or not whole";
	if (err)
		complain(s, "cannot read", s->file, err);
	return err;
}

static int scan(struct seal *s)
{
	struct ply_manifest_scan scan = { .scope = s->scope,
					  .line = check_line,
					  .arg = s,
					  .entries = &s->progress.entries,
					  .bytes = &s->progress.data.copied };
	char *where;
	int err;

	s->progress.what = s->scope & PLY_SCOPE_DATA ? "reading" : "looking";
	ply_progress_start(&s->progress, s->args.cli.progress);
	err = ply_manifest_scan(&scan, s->fd, &where);
	ply_progress_end();
	if (err)
		complain(s, "cannot read", where ? where : s->layer, err);
	free(where);
	return err;
}

static int verify(struct seal *s)
{
	int err = load(s);

	if (err)
		return err;
	note_scope(s);
	s->scope &= s->manifest.scope;
	strcpy(s->digest, s->manifest.seal);
	err = scan(s);
	if (!err)
		tell_missing(s, NULL);
	return err;
}

/* ---- the program ---- */

static int open_layer(struct seal *s)
{
	int err;

	s->fd = sys_open(AT_FDCWD, s->layer, O_RDONLY | O_DIRECTORY, 0);
	err = s->fd < 0 ? s->fd : ply_lock_upper(s->fd);
	if (err == -EBUSY)
		s->trouble = "it is in use as an upper: unmount it first";
	else if (err != -EINTR && s->fd >= 0)
		err = 0; /* a file system without locks */
	if (err)
		complain(s, "cannot read", s->layer, err);
	if (!err && ply_sees_trusted())
		s->scope |= PLY_SCOPE_TRUSTED;
	else if (!err && !s->args.set[OPT_VERIFY] && !s->args.cli.quiet)
		ply_tell(
			"note: marks in the trusted space, of a mount by root, cannot be seen without privilege "
			"and are not in the manifest");
	return err;
}

static void summary(const struct seal *s)
{
	unsigned long long entries = s->progress.entries, bytes = s->progress.data.copied;
	unsigned long long added = s->added, missing = s->missing, changed = s->changed;

	if (s->args.cli.json)
		printf("{\"type\":\"summary\",\"seal\":\"sha256:%s\",\"entries\":%llu,\"bytes_read\":%llu,"
		       "\"added\":%llu,\"missing\":%llu,\"changed\":%llu,\"seconds\":%.3f}\n",
		       s->digest, entries, bytes, added, missing, changed, ply_now() - s->start);
	else if (added || missing || changed)
		printf("%llu added, %llu missing, %llu changed\n", added, missing, changed);
	else if (!s->args.cli.quiet)
		printf("sha256:%s\n", s->digest);
}

static int run(struct seal *s)
{
	int err = open_layer(s);

	if (!err && s->args.set[OPT_COMPOSEFS])
		err = s->args.set['o'] ? dump_to_file(s) : dump(s, NULL);
	else if (!err)
		err = s->args.set[OPT_VERIFY] ? verify(s) : seal(s);
	ply_interrupt_end();
	/* On stdout there may be the dump. */
	if (!err && !s->args.set[OPT_COMPOSEFS])
		summary(s);
	if (s->fd >= 0)
		sys_close(s->fd);
	ply_manifest_free(&s->manifest);
	return err;
}

/* What there is to look at. To verify, as much as the manifest has. */
static void take_args(struct seal *s)
{
	const struct ply_args *a = &s->args;

	s->layer = a->operands[0];
	if (a->set[OPT_VERITY] && (a->set[OPT_FAST] || a->set[OPT_VERIFY]))
		ply_args_refuse(&tool, a->set[OPT_FAST]
					       ? "--fast reads no data for --verity"
					       : "the manifest says by itself what it has");
	if (a->set[OPT_COMPOSEFS] &&
	    (a->set[OPT_VERIFY] || a->set[OPT_FAST] || a->set[OPT_VERITY] ||
	     a->set[OPT_NO_DIR_MTIME] || a->set['n'] || a->cli.json))
		ply_args_refuse(&tool, "--composefs is always the same, whatever the manifest has");
	if (a->set[OPT_VERIFY])
		s->scope = PLY_SCOPE_DATA;
	else
		s->scope = a->set[OPT_VERITY] ? PLY_SCOPE_VERITY : PLY_SCOPE_SHA256;
	if (a->set[OPT_FAST])
		s->scope = 0;
	if (!a->set[OPT_NO_DIR_MTIME])
		s->scope |= PLY_SCOPE_DIR_MTIME;
	s->file = a->set['o'] ? strdup(a->value['o']) : ply_seal_file(s->layer);
	if (!s->file)
		ply_args_refuse(&tool,
				"the layer's path ends in no name: where is its manifest? (-o)");
}

int main(int argc, char **argv)
{
	static struct seal s;
	int err;

	ply_args_parse(&s.args, argc, argv, &tool);
	take_args(&s);
	s.start = ply_now();
	ply_interrupt_start();
	err = run(&s);
	free(s.file);
	ply_args_free(&s.args);
	if (err)
		ply_interrupt_die();
	if (err)
		return err == -EBUSY ? PLY_EXIT_BUSY : PLY_EXIT_TROUBLE;
	if (fflush(stdout) || ferror(stdout))
		return PLY_EXIT_TROUBLE;
	return s.added || s.missing || s.changed ? PLY_EXIT_FOUND : PLY_EXIT_OK;
}
