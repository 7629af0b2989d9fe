/*
 * The manifest of a layer: a text that says of each entry all that a copy has to keep, on one line, sorted by
 * the bytes of the paths. The same tree has the same manifest wherever it lies. docs/plyfs-seal.1.scd has the
 * grammar.
 *
 * A line is PATH KEY=VALUE...; nothing in it but spaces, = and printable ASCII, the rest as \xHH.
 */
#ifndef PLY_TOOLS_MANIFEST_H
#define PLY_TOOLS_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "digest.h"

/* What a manifest tells, beside what all do. */
enum ply_manifest_scope {
	PLY_SCOPE_SHA256 = 1 << 0,    /* digests of data: one of these two, or none */
	PLY_SCOPE_VERITY = 1 << 1,    /* as fs-verity has them */
	PLY_SCOPE_DIR_MTIME = 1 << 2, /* times of directories */
	PLY_SCOPE_TRUSTED = 1 << 3,   /* attributes in the trusted space */
};
#define PLY_SCOPE_DATA (PLY_SCOPE_SHA256 | PLY_SCOPE_VERITY)

/* A tree that is looked through, line by line. */
struct ply_manifest_scan {
	unsigned scope;
	/* An entry's line, without newline. Not 0 ends it. */
	int (*line)(void *arg, const char *line);
	void *arg;
	_Atomic uint64_t *entries, *bytes; /* grow */
};

/*
 * All of the directory fd, itself first. On an error *where is the path at which it happened, for the caller to
 * free, or NULL. -ESTALE: it was changed meanwhile.
 */
int ply_manifest_scan(const struct ply_manifest_scan *scan, int fd, char **where);

/* The first line, with its newline, and the last one. */
#define PLY_MANIFEST_HEAD_MAX 96
void ply_manifest_head(unsigned scope, char head[PLY_MANIFEST_HEAD_MAX]);
#define PLY_MANIFEST_SEAL "seal sha256:"

/* A manifest that was read. */
struct ply_manifest {
	unsigned scope;
	char seal[PLY_SHA256_HEX];
	char *text;
	char *next; /* the next line; its newline is a NUL. NULL after the last. */
	char *end;  /* of the last line */
};

/* -EINVAL when it is none, or not whole. To be freed in any case. */
int ply_manifest_load(struct ply_manifest *m, int fd);
void ply_manifest_free(struct ply_manifest *m);
/* Goes to the next line. */
void ply_manifest_step(struct ply_manifest *m);

/* Which of two lines comes first, by path: <0, 0, >0. */
int ply_manifest_order(const char *a, const char *b);
/* The path of a line as it is on disk ("." is the layer itself); the caller frees it. NULL without memory. */
char *ply_manifest_path(const char *line);

/* A field that differs. Of a and b one is NULL where a line has none of that key. */
typedef void (*ply_manifest_differs_fn)(void *arg, const char *key, const char *a, const char *b);
/* Names the fields within the scope in which two lines differ: how many, or -ENOMEM. Only the type, if that does. */
int ply_manifest_compare(const char *a, const char *b, unsigned scope, ply_manifest_differs_fn fn,
			 void *arg);

#endif
