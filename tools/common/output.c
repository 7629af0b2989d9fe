/* Writing names: for people, for programs, and in complaints. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <wchar.h>
#include <wctype.h>

#include "args.h"
#include "interrupt.h"

char *ply_escape(const char *text)
{
	mbstate_t state = { 0 };
	char *escaped = malloc(strlen(text) * 4 + 1), *to = escaped;

	if (!escaped)
		return strdup("?");
	while (*text) {
		wchar_t wc = 0;
		size_t len = mbrtowc(&wc, text, MB_CUR_MAX, &state);

		if (len == (size_t)-1 || len == (size_t)-2) {
			state = (mbstate_t){ 0 };
			len = 1;
			wc = 0;
		}
		if (wc == L'\\')
			*to++ = '\\';
		if (wc && iswprint((wint_t)wc))
			to = mempcpy(to, text, len);
		else
			for (size_t i = 0; i < len; i++)
				to += sprintf(to, "\\x%02x", (unsigned char)text[i]);
		text += len;
	}
	*to = '\0';
	return escaped;
}

void ply_put_name(const struct ply_args *a, const char *name, const char *suffix)
{
	char *escaped;

	if (a->zero) {
		fputs(name, stdout);
		putchar('\0');
		return;
	}
	escaped = ply_escape(name);
	printf("%s%s\n", escaped, suffix);
	free(escaped);
}

/* The length of the UTF-8 sequence at p, 0 when it is none. Surrogates and what is too long are none. */
static size_t utf8_len(const unsigned char *p)
{
	size_t len = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;

	if (len == 1)
		return 1;
	if (*p < 0xc2 || *p > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

void ply_put_json(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	putc('"', out);
	while (*p) {
		size_t len = utf8_len(p);

		if (!len)
			fprintf(out, "\\udc%02x", *p++);
		else if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p++);
		else if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0)) {
			fprintf(out, "\\u%04x", len == 1 ? *p : p[1]);
			p += len;
		} else {
			fwrite(p, 1, len, out);
			p += len;
		}
	}
	putc('"', out);
}

static unsigned complaints;

void ply_complain_of(const char *what, const char *path, int err, const char *why)
{
	char *quoted = ply_quote(path);

	complaints++;
	if (err == -EINTR)
		ply_tell("interrupted");
	else
		ply_tell("%s %s: %s", what, quoted,
			 why		  ? why
			 : err == -EINVAL ? "a mark there makes no sense"
					  : strerror(-err));
	free(quoted);
}

void ply_complain(const char *what, const char *path, int err)
{
	ply_complain_of(what, path, err, NULL);
}

unsigned ply_complaints(void)
{
	return complaints;
}

const char *ply_type_word(unsigned mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "char";
	default:
		return "block";
	}
}
