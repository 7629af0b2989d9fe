/*
 * What all tools have in common on the command line: options, exit codes, words on stderr.
 * Results go to stdout; nothing ever asks.
 */
#ifndef PLY_TOOLS_CLI_H
#define PLY_TOOLS_CLI_H

#include <stdint.h>

#include "progress.h"

/* Of all but plyfs-check, which ends as fsck does. */
enum ply_exit {
	PLY_EXIT_OK = 0,      /* done, and nothing found by those that look for something */
	PLY_EXIT_FOUND = 1,   /* a difference, or something to do */
	PLY_EXIT_TROUBLE = 2, /* wrong usage or an error */
	PLY_EXIT_BUSY = 3,    /* mounted, or locked by another tool */
};

struct ply_cli {
	int dry_run;  /* -n */
	int quiet;    /* -q: nothing but errors */
	int verbose;  /* -v */
	int json;     /* -j */
	int progress; /* enum ply_progress_wish */
};

/* A sentence on stderr, after the tool's name; the progress line makes way. */
void ply_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The path in quotes, with escapes for what is not to be printed on a terminal; the caller frees it.
 * Without memory, or for NULL, a question mark.
 */
char *ply_quote(const char *path);

/* 1234567 as "1.2 MiB". */
struct ply_amount {
	char text[32];
};
struct ply_amount ply_amount(uint64_t bytes);

/* Seconds since some moment. */
double ply_now(void);

#endif
