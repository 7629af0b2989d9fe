/* Text that grows, random numbers, quoting: what every part of plydiff needs. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "plydiff.h"

enum { SHOWN_RUNS = 10 };

void pd_die(const char *fmt, ...)
{
	va_list args;

	fputs("plydiff: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

void *pd_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (!p)
		pd_die("out of memory");
	return p;
}

void *pd_grow(void *old, size_t n)
{
	void *p = realloc(old, n ? n : 1);

	if (!p)
		pd_die("out of memory");
	return p;
}

char *pd_copy_string(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(pd_alloc(n), s, n);
}

char *pd_format(const char *fmt, ...)
{
	va_list args;
	char *s = NULL;
	int n;

	va_start(args, fmt);
	n = vasprintf(&s, fmt, args);
	va_end(args);
	if (n < 0 || !s)
		pd_die("out of memory");
	return s;
}

/* ---- text ---- */

static void reserve(struct pd_text *t, size_t more)
{
	if (t->len + more + 1 <= t->cap)
		return;
	t->cap = (t->len + more + 1) * 2;
	t->s = pd_grow(t->s, t->cap);
}

void pd_add(struct pd_text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		pd_die("bad format: %s", fmt);
	reserve(t, (size_t)n);
	va_start(args, fmt);
	vsnprintf(t->s + t->len, (size_t)n + 1, fmt, args);
	va_end(args);
	t->len += (size_t)n;
}

void pd_add_quoted(struct pd_text *t, const void *bytes, size_t n)
{
	const uint8_t *b = bytes;

	reserve(t, n * 4 + 2);
	t->s[t->len++] = '"';
	for (size_t i = 0; i < n; i++) {
		if (b[i] >= ' ' && b[i] < 0x7f && b[i] != '"' && b[i] != '\\')
			t->s[t->len++] = (char)b[i];
		else
			t->len += (size_t)sprintf(t->s + t->len, "\\x%02x", b[i]);
	}
	t->s[t->len++] = '"';
	t->s[t->len] = '\0';
}

void pd_clear(struct pd_text *t)
{
	t->len = 0;
	if (t->s)
		t->s[0] = '\0';
}

void pd_free(struct pd_text *t)
{
	free(t->s);
	*t = (struct pd_text){ 0 };
}

const char *pd_str(const struct pd_text *t)
{
	return t->s ? t->s : "";
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

char *pd_unquote(const char **p)
{
	const char *s = *p;
	char *out;
	size_t n = 0;

	if (*s++ != '"')
		return NULL;
	out = pd_alloc(strlen(s) + 1);
	while (*s && *s != '"') {
		if (*s != '\\') {
			out[n++] = *s++;
			continue;
		}
		int high = s[1] == 'x' ? hex_digit(s[2]) : -1;
		int low = high < 0 ? -1 : hex_digit(s[3]);

		if (low < 0)
			break;
		out[n++] = (char)(high * 16 + low);
		s += 4;
	}
	if (*s != '"') {
		free(out);
		return NULL;
	}
	*p = s + 1;
	return out;
}

/* ---- runs of bytes ---- */

void pd_runs_start(struct pd_runs *r, struct pd_text *out)
{
	*r = (struct pd_runs){ .out = out, .hash = 1 };
}

/* Ends the run that reaches up to the bytes fed so far. */
static void end_run(struct pd_runs *r)
{
	if (!r->count)
		return;
	if (r->shown < SHOWN_RUNS)
		pd_add(r->out, "%02x*%llu ", r->byte, (unsigned long long)r->count);
	r->hash = pd_mix(r->hash, r->byte + r->total * 256);
	r->shown++;
	r->count = 0;
}

static size_t run_length(const uint8_t *b, size_t n)
{
	size_t i = 1;

	/* Long runs by comparing the memory with itself, shifted by one. */
	while (i + 64 <= n && memcmp(b + i - 1, b + i, 64) == 0)
		i += 64;
	while (i < n && b[i] == b[0])
		i++;
	return i;
}

void pd_runs_feed(struct pd_runs *r, const void *bytes, size_t n)
{
	const uint8_t *b = bytes;

	while (n) {
		size_t len = run_length(b, n);

		if (*b != r->byte)
			end_run(r);
		r->byte = *b;
		r->count += len;
		r->total += len;
		b += len;
		n -= len;
	}
}

void pd_runs_end(struct pd_runs *r)
{
	end_run(r);
	if (r->shown > SHOWN_RUNS)
		pd_add(r->out, "...%u runs #%08x", r->shown, (unsigned)r->hash);
}

void pd_add_runs(struct pd_text *t, const void *bytes, size_t n)
{
	struct pd_runs r;

	pd_runs_start(&r, t);
	pd_runs_feed(&r, bytes, n);
	pd_runs_end(&r);
}

/* ---- random numbers (splitmix64) ---- */

uint64_t pd_random(struct pd_rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

unsigned pd_below(struct pd_rng *r, unsigned n)
{
	return n ? (unsigned)(pd_random(r) % n) : 0;
}

bool pd_chance(struct pd_rng *r, unsigned percent)
{
	return pd_below(r, 100) < percent;
}

uint64_t pd_mix(uint64_t a, uint64_t b)
{
	uint64_t both[2] = { a, b };

	return XXH3_64bits(both, sizeof(both));
}

/* ---- small things ---- */

const char *pd_errno_name(int err)
{
	static char number[16];
	const char *name = strerrorname_np(err);

	if (name)
		return name;
	snprintf(number, sizeof(number), "E%d", err);
	return number;
}

char *pd_parent(const char *path)
{
	size_t n = strlen(path);
	char *s;

	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n && path[n - 1] != '/')
		n--;
	while (n > 1 && path[n - 1] == '/')
		n--;
	if (!n)
		return pd_copy_string(".");
	s = pd_copy_string(path);
	s[n] = '\0';
	return s;
}

double pd_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
