/* Reading manifests: the whole text in memory, checked before anything in it counts; comparing lines. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "manifest.h"

#define HEAD "plyfs-manifest 1"
#define SIZE_MAX_MANIFEST ((uint64_t)1 << 40)

/* Of each mask one value is in a head. */
static const struct {
	unsigned mask, value;
	const char *word;
} scopes[] = {
	{ PLY_SCOPE_DATA, PLY_SCOPE_SHA256, " data=sha256" },
	{ PLY_SCOPE_DATA, PLY_SCOPE_VERITY, " data=verity" },
	{ PLY_SCOPE_DATA, 0, " data=none" },
	{ PLY_SCOPE_DIR_MTIME, PLY_SCOPE_DIR_MTIME, " dir-mtime=yes" },
	{ PLY_SCOPE_DIR_MTIME, 0, " dir-mtime=no" },
	{ PLY_SCOPE_TRUSTED, PLY_SCOPE_TRUSTED, " trusted=seen" },
	{ PLY_SCOPE_TRUSTED, 0, " trusted=unseen" },
};
#define NSCOPES (sizeof(scopes) / sizeof(scopes[0]))
#define ALL_SCOPES (PLY_SCOPE_DATA | PLY_SCOPE_DIR_MTIME | PLY_SCOPE_TRUSTED)

void ply_manifest_head(unsigned scope, char head[PLY_MANIFEST_HEAD_MAX])
{
	char *to = stpcpy(head, HEAD);

	for (size_t i = 0; i < NSCOPES; i++)
		if ((scope & scopes[i].mask) == scopes[i].value)
			to = stpcpy(to, scopes[i].word);
	strcpy(to, "\n");
}

/* Takes a text off the front. */
static int takes(const char **p, const char *text)
{
	size_t len = strlen(text);

	if (strncmp(*p, text, len) != 0)
		return 0;
	*p += len;
	return 1;
}

/* ---- paths ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next byte of a path, which is moved on, or -1 at its end. */
static int next_byte(const char **p)
{
	const char *at = *p;

	if (!*at || *at == ' ')
		return -1;
	if (at[0] == '\\' && at[1] == 'x' && hex_digit(at[2]) >= 0 && hex_digit(at[3]) >= 0) {
		*p += 4;
		return hex_digit(at[2]) * 16 + hex_digit(at[3]);
	}
	++*p;
	return (unsigned char)*at;
}

/* The end of a path comes before a slash, that before all other bytes; the layer itself has an empty path. */
static int next_weight(const char **p)
{
	int byte = next_byte(p);

	return byte == '/' ? 0 : byte;
}

int ply_manifest_order(const char *a, const char *b)
{
	int x, y;

	a += !strncmp(a, ". ", 2);
	b += !strncmp(b, ". ", 2);
	do {
		x = next_weight(&a);
		y = next_weight(&b);
	} while (x == y && x >= 0);
	return x - y;
}

char *ply_manifest_path(const char *line)
{
	char *path = malloc(strcspn(line, " ") + 1), *to = path;
	int byte;

	while (path && (byte = next_byte(&line)) >= 0)
		*to++ = (char)byte;
	if (path)
		*to = '\0';
	return path;
}

/* ---- reading ---- */

static char *read_all(int fd, size_t *size, int *err)
{
	struct statx stx;
	char *text = NULL;
	ssize_t n = 1;

	*size = 0;
	*err = sys_statx(fd, "", STATX_SIZE | STATX_TYPE, &stx);
	if (!*err && (!S_ISREG(stx.stx_mode) || stx.stx_size > SIZE_MAX_MANIFEST))
		*err = -EINVAL;
	if (!*err)
		text = malloc(stx.stx_size + 1);
	if (!*err && !text)
		*err = -ENOMEM;
	while (!*err && n && *size < stx.stx_size) {
		n = sys_pread(fd, text + *size, stx.stx_size - *size, (off_t)*size);
		if (n < 0)
			*err = (int)n;
		else
			*size += (size_t)n;
	}
	if (text)
		text[*size] = '\0';
	return text;
}

/* The last line names the digest of all before it. */
static int check_seal(struct ply_manifest *m, size_t size)
{
	struct ply_sha256 *sha;
	const char *seal;
	char *last;
	int err;

	if (!size || m->text[size - 1] != '\n' || memchr(m->text, '\0', size))
		return -EINVAL;
	m->text[size - 1] = '\0';
	last = strrchr(m->text, '\n');
	if (!last)
		return -EINVAL;
	seal = last + 1;
	sha = ply_sha256_new();
	if (!sha)
		return -ENOMEM;
	ply_sha256_add(sha, m->text, (size_t)(seal - m->text));
	err = ply_sha256_take(sha, m->seal);
	ply_sha256_free(sha);
	if (!err && (!takes(&seal, PLY_MANIFEST_SEAL) || strcmp(seal, m->seal) != 0))
		err = -EINVAL;
	*last = '\0';
	return err;
}

static int read_head(struct ply_manifest *m)
{
	const char *p = m->text;
	unsigned known = 0;

	if (!takes(&p, HEAD))
		return -EINVAL;
	for (size_t i = 0; i < NSCOPES; i++) {
		if ((known & scopes[i].mask) || !takes(&p, scopes[i].word))
			continue;
		known |= scopes[i].mask;
		m->scope |= scopes[i].value;
	}
	if (known != ALL_SCOPES || *p != '\n')
		return -EINVAL;
	m->next = m->text + (p - m->text) + 1;
	return 0;
}

/* Every line has a type, and they are in order. */
static int check_lines(struct ply_manifest *m)
{
	const char *last = NULL;

	for (char *line = m->next; line;) {
		char *end = strchr(line, '\n');

		if (end)
			*end = '\0';
		if (strncmp(line + strcspn(line, " "), " type=", 6) != 0 ||
		    (last && ply_manifest_order(last, line) >= 0))
			return -EINVAL;
		last = line;
		line = end ? end + 1 : NULL;
	}
	return 0;
}

int ply_manifest_load(struct ply_manifest *m, int fd)
{
	size_t size;
	int err;

	*m = (struct ply_manifest){ 0 };
	m->text = read_all(fd, &size, &err);
	if (!err)
		err = check_seal(m, size);
	if (!err)
		err = read_head(m);
	if (!err) {
		m->end = m->text + strlen(m->text);
		err = check_lines(m);
	}
	return err;
}

void ply_manifest_free(struct ply_manifest *m)
{
	free(m->text);
	*m = (struct ply_manifest){ 0 };
}

void ply_manifest_step(struct ply_manifest *m)
{
	m->next += strlen(m->next);
	m->next = m->next < m->end ? m->next + 1 : NULL;
}

/* ---- comparing ---- */

/* The next field of a line that is cut up: its key; *value is what is behind the =. NULL at the end. */
static char *next_field(char **rest, char **value)
{
	char *field = strsep(rest, " ");

	if (!field)
		return NULL;
	*value = field + strcspn(field, "=");
	if (**value)
		*(*value)++ = '\0';
	return field;
}

struct field {
	char *key, *value;
};

struct fields {
	char *copy;
	size_t n;
	struct field *field;
};

static int is_within(const char *key, const char *type, unsigned scope)
{
	if (!strcmp(key, "sha256"))
		return scope & PLY_SCOPE_SHA256;
	if (!strcmp(key, "verity"))
		return scope & PLY_SCOPE_VERITY;
	if (!strcmp(key, "mtime") && !strcmp(type, "directory"))
		return scope & PLY_SCOPE_DIR_MTIME;
	if (!strncmp(key, "xattr:trusted.", strlen("xattr:trusted.")))
		return scope & PLY_SCOPE_TRUSTED;
	return 1;
}

/* What a line says within the scope; its first field is the type. */
static int cut(const char *line, unsigned scope, struct fields *f)
{
	char *rest;
	size_t spaces = 0;

	for (const char *p = line; (p = strchr(p, ' ')); p++)
		spaces++;
	f->copy = strdup(line + strcspn(line, " ") + 1);
	f->field = calloc(spaces, sizeof(*f->field));
	if (!f->copy || !f->field)
		return -ENOMEM;
	rest = f->copy;
	for (struct field *at = f->field; (at->key = next_field(&rest, &at->value));) {
		if (!is_within(at->key, f->field->value, scope))
			continue;
		if (++f->n == spaces)
			break;
		at++;
	}
	return 0;
}

static const char *value_of(const struct fields *f, const char *key)
{
	for (size_t i = 0; i < f->n; i++)
		if (!strcmp(f->field[i].key, key))
			return f->field[i].value;
	return NULL;
}

static int compare(const struct fields *a, const struct fields *b, ply_manifest_differs_fn fn,
		   void *arg)
{
	int n = 0;

	if (strcmp(a->field->value, b->field->value) != 0) {
		fn(arg, a->field->key, a->field->value, b->field->value);
		return 1;
	}
	for (size_t i = 0; i < a->n; i++) {
		const struct field *at = &a->field[i];
		const char *other = value_of(b, at->key);

		if (other && !strcmp(at->value, other))
			continue;
		fn(arg, at->key, at->value, other);
		n++;
	}
	for (size_t i = 0; i < b->n; i++) {
		if (value_of(a, b->field[i].key))
			continue;
		fn(arg, b->field[i].key, NULL, b->field[i].value);
		n++;
	}
	return n;
}

int ply_manifest_compare(const char *a, const char *b, unsigned scope, ply_manifest_differs_fn fn,
			 void *arg)
{
	struct fields x = { 0 }, y = { 0 };
	int n = 0;

	if (strcmp(a, b) != 0) {
		n = cut(a, scope, &x);
		if (!n)
			n = cut(b, scope, &y);
		if (!n)
			n = compare(&x, &y, fn, arg);
	}
	free(x.copy);
	free(x.field);
	free(y.copy);
	free(y.field);
	return n;
}
