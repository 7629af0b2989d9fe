/* Words that all tools share. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>

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
