/* The manifest goes to its file and into its digest, line by line. */
#include "sealing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/sys.h"
#include "interrupt.h"
#include "staging.h"
#include "textfile.h"

#define SUFFIX ".seal"

/* What goes to the manifest. */
struct out {
	struct ply_sealing *s;
	struct ply_sha256 *sha;
	struct ply_textfile file;
};

static int put(struct out *out, const char *text)
{
	ply_sha256_add(out->sha, text, strlen(text));
	return ply_textfile_put(&out->file, text);
}

static int put_line(void *arg, const char *line)
{
	struct out *out = arg;
	int err = put(out, line);

	if (out->s->tells) {
		ply_progress_pause();
		fprintf(stderr, "%s\n", line);
		ply_progress_resume();
	}
	return err ? err : put(out, "\n");
}

/* The last line is the digest of all before it. */
static int put_seal(struct out *out)
{
	int err = ply_sha256_take(out->sha, out->s->digest);

	if (!err)
		err = put(out, PLY_MANIFEST_SEAL);
	if (!err)
		err = put(out, out->s->digest);
	if (!err)
		err = put(out, "\n");
	return err ? err : ply_textfile_flush(&out->file);
}

const char *ply_seal_trouble(int err)
{
	if (err == -ESTALE)
		return "it was changed meanwhile";
	return err == -EXDEV ? "something is mounted there" : NULL;
}

int ply_seal_open_file(struct ply_staging *staging, int fd, const char *file, const char **trouble)
{
	struct statx layer;
	int err = ply_staging_open_file(staging, file);

	if (err == -EEXIST)
		*trouble = "it exists, and is not a file";
	if (!err)
		err = sys_statx(fd, "", STATX_INO, &layer);
	if (!err && ply_layer_is_below(staging->parent, &layer) > 0) {
		*trouble = "it would lie within the layer";
		err = -EINVAL;
	}
	return err;
}

/* -1 when the error was told. */
static int scan(struct out *out, int fd, const char *layer)
{
	struct ply_manifest_scan scan = { .scope = out->s->scope,
					  .line = put_line,
					  .arg = out,
					  .entries = &out->s->progress->entries,
					  .bytes = &out->s->progress->data.copied };
	char *where = NULL;
	int err;

	out->s->progress->what = out->s->scope & PLY_SCOPE_DATA ? "reading" : "looking";
	err = ply_manifest_scan(&scan, fd, &where);
	if (err) {
		ply_interrupt_end();
		ply_complain_of("cannot read", where ? where : layer, err, ply_seal_trouble(err));
	}
	free(where);
	return err;
}

static int write_all(struct out *out, struct ply_staging *staging, const char *file, int fd,
		     const char *layer)
{
	char head[PLY_MANIFEST_HEAD_MAX];
	int err, is_told = 0;

	ply_manifest_head(out->s->scope, head);
	err = put(out, head);
	if (!err) {
		err = scan(out, fd, layer);
		is_told = err != 0;
	}
	if (!err)
		err = put_seal(out);
	if (!err && !out->s->is_dry)
		err = ply_staging_publish_file(staging);
	ply_interrupt_end();
	if (err && !is_told)
		ply_complain_of("cannot write", file, err, out->s->trouble);
	return err;
}

int ply_seal(struct ply_sealing *s, int fd, const char *layer, const char *file)
{
	struct out *out = calloc(1, sizeof(*out));
	struct ply_staging staging;
	int err = ply_seal_open_file(&staging, fd, file, &s->trouble);

	if (!err && !s->is_dry)
		err = ply_staging_make_file(&staging);
	if (!err && out)
		*out = (struct out){ .s = s, .file.fd = staging.fd, .sha = ply_sha256_new() };
	if (!err && (!out || !out->sha))
		err = -ENOMEM;
	if (err) {
		ply_interrupt_end();
		ply_complain_of("cannot write", file, err, s->trouble);
	} else {
		ply_progress_start(s->progress, s->wish);
		err = write_all(out, &staging, file, fd, layer);
		ply_progress_end();
	}
	if (out)
		ply_sha256_free(out->sha);
	free(out);
	ply_staging_close(&staging);
	return err;
}

char *ply_seal_file(const char *layer)
{
	size_t len = strlen(layer);
	const char *name;
	char *file;

	while (len && layer[len - 1] == '/')
		len--;
	file = malloc(len + sizeof(SUFFIX));
	if (!file)
		abort();
	memcpy(file, layer, len);
	file[len] = '\0';
	name = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) {
		free(file);
		return NULL;
	}
	strcpy(file + len, SUFFIX);
	return file;
}
