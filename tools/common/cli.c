/* Options and words that all tools share. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

enum {
	OPT_HELP = 256,
	OPT_VERSION,
	OPT_PROGRESS,
};

static const struct option options[] = {
	{ "dry-run", no_argument, NULL, 'n' },
	{ "json", no_argument, NULL, 'j' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "progress", no_argument, NULL, OPT_PROGRESS },
	{ 0 },
};

static const char option_help[] = "  -n, --dry-run  change nothing, say what would be done\n"
				  "  -j, --json     the summary as one line of JSON\n"
				  "  -q, --quiet    errors only\n"
				  "  -v, --verbose  name each entry on stderr\n"
				  "      --progress show progress even if stderr is no terminal\n"
				  "      --help     this text\n"
				  "      --version  the version\n";

static void help(const char *usage, const char *text)
{
	printf("usage: %s %s\n\n%s\n%s", program_invocation_short_name, usage, text, option_help);
	exit(PLY_EXIT_OK);
}

static void refuse(const char *usage)
{
	fprintf(stderr, "usage: %s %s\n", program_invocation_short_name, usage);
	exit(PLY_EXIT_TROUBLE);
}

char **ply_cli_parse(struct ply_cli *cli, int argc, char **argv, int operands, const char *usage,
		     const char *text)
{
	int c;

	*cli = (struct ply_cli){ 0 };
	setlocale(LC_CTYPE, "");
	while ((c = getopt_long(argc, argv, "njqv", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			cli->dry_run = 1;
			break;
		case 'j':
			cli->json = 1;
			break;
		case 'q':
			cli->quiet = 1;
			break;
		case 'v':
			cli->verbose = 1;
			break;
		case OPT_PROGRESS:
			cli->progress = PLY_PROGRESS_FORCED;
			break;
		case OPT_VERSION:
			printf("%s %s\n", program_invocation_short_name, PLY_VERSION);
			exit(PLY_EXIT_OK);
		case OPT_HELP:
			help(usage, text);
			break;
		default:
			refuse(usage);
		}
	}
	if (argc - optind != operands)
		refuse(usage);
	if (cli->quiet)
		cli->progress = PLY_PROGRESS_QUIET;
	return argv + optind;
}

void ply_tell(const char *fmt, ...)
{
	va_list ap;

	ply_progress_pause();
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	ply_progress_resume();
}

/* Puts one character, len bytes at p, to a terminal's liking. */
static char *put(char *to, const char *p, size_t len, wchar_t wc)
{
	if (wc == L'\\' || wc == L'\'') {
		*to++ = '\\';
		*to++ = *p;
		return to;
	}
	if (wc && iswprint((wint_t)wc))
		return mempcpy(to, p, len);
	for (size_t i = 0; i < len; i++)
		to += sprintf(to, "\\x%02x", (unsigned char)p[i]);
	return to;
}

char *ply_quote(const char *path)
{
	mbstate_t state = { 0 };
	char *quoted, *to;

	quoted = path ? malloc(strlen(path) * 4 + 3) : NULL;
	if (!quoted)
		return strdup("?");
	to = quoted;
	*to++ = '\'';
	while (*path) {
		wchar_t wc;
		size_t len = mbrtowc(&wc, path, MB_CUR_MAX, &state);

		if (len == (size_t)-1 || len == (size_t)-2) {
			state = (mbstate_t){ 0 };
			len = 1;
			wc = 0;
		}
		to = put(to, path, len, wc);
		path += len;
	}
	strcpy(to, "'");
	return quoted;
}

struct ply_amount ply_amount(uint64_t bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = (double)bytes;
	struct ply_amount amount;
	size_t i = 0;

	for (; n >= 1024 && i + 1 < sizeof(unit) / sizeof(unit[0]); i++)
		n /= 1024;
	snprintf(amount.text, sizeof(amount.text), i ? "%.1f %s" : "%.0f %s", n, unit[i]);
	return amount;
}

double ply_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
