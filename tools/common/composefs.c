/*
 * Line by line, twice: once without data, to count the names of each inode. Marks and whiteouts are told as they are:
 * mkcomposefs escapes them.
 */
#include "composefs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <uthash.h>

#include "args.h"
#include "base/sys.h"
#include "layer/format.h"
#include "manifest.h"

/* Up to this size mkcomposefs puts data into the image; the rest is found by digest in a store of objects. */
#define INLINE_MAX 64
/* It reads no longer lists of attributes. */
#define XATTRS_MAX 65535

/* An inode with several names, by the first of them as the manifest writes it. */
struct linked {
	UT_hash_handle hh;
	unsigned names;
	char path[];
};

struct dump {
	struct ply_composefs *c;
	int fd;
	struct linked *linked;
	char *where;
	/* The line in the making. */
	FILE *out;
	char *text;
	size_t size;
};

/* What a line of the manifest says; pieces of it, cut up. */
struct entry {
	char *path, *type, *mode, *owner, *mtime, *bytes, *verity, *target, *device, *link;
	char *xattrs; /* the first of them, and all behind it */
	char *end;
};

static const struct {
	const char *key;
	size_t at;
} keys[] = {
	{ "type=", offsetof(struct entry, type) },
	{ "mode=", offsetof(struct entry, mode) },
	{ "owner=", offsetof(struct entry, owner) },
	{ "mtime=", offsetof(struct entry, mtime) },
	{ "size=", offsetof(struct entry, bytes) },
	{ "verity=", offsetof(struct entry, verity) },
	{ "target=", offsetof(struct entry, target) },
	{ "device=", offsetof(struct entry, device) },
	{ "link=", offsetof(struct entry, link) },
};

static void take_field(struct entry *e, char *field)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t len = strlen(keys[i].key);

		if (!strncmp(field, keys[i].key, len))
			*(char **)((char *)e + keys[i].at) = field + len;
	}
}

/* Attributes come last. */
static void cut_up(struct entry *e, char *line)
{
	*e = (struct entry){ .end = line + strlen(line) };
	e->path = strsep(&line, " ");
	while (line && strncmp(line, "xattr:", strlen("xattr:")) != 0)
		take_field(e, strsep(&line, " "));
	e->xattrs = line;
}

/* ---- counting names ---- */

static int count_name(void *arg, const char *line)
{
	struct dump *d = arg;
	char *copy = strdup(line);
	struct linked *l = NULL;
	struct entry e;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	cut_up(&e, copy);
	if (e.link)
		HASH_FIND_STR(d->linked, e.link, l);
	if (e.link && !l) {
		l = malloc(sizeof(*l) + strlen(e.link) + 1);
		if (l) {
			l->names = 1;
			strcpy(l->path, e.link);
			HASH_ADD_STR(d->linked, path, l);
		}
		err = l ? 0 : -ENOMEM;
	}
	if (l)
		l->names++;
	free(copy);
	return err;
}

/* That of directories mkcomposefs counts itself. */
static unsigned names_of(struct dump *d, const struct entry *e)
{
	const char *first = e->link ? e->link : e->path;
	struct linked *l;

	HASH_FIND_STR(d->linked, first, l);
	return l ? l->names : 1;
}

/* ---- fields ---- */

static unsigned type_bits(const char *word)
{
	static const unsigned types[] = { S_IFREG,  S_IFDIR, S_IFLNK, S_IFIFO,
					  S_IFSOCK, S_IFCHR, S_IFBLK };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(word, ply_type_word(types[i])))
			return types[i];
	return S_IFCHR; /* a whiteout */
}

static void put_byte(FILE *out, unsigned char byte)
{
	if (byte <= ' ' || byte > '~' || byte == '\\' || byte == '=')
		fprintf(out, "\\x%02x", byte);
	else
		putc(byte, out);
}

/* Text of the manifest; what would mean that there is none is escaped. */
static void put_optional(FILE *out, const char *text)
{
	fprintf(out, " %s", text && !strcmp(text, "-") ? "\\x2d" : text ? text : "-");
}

static unsigned long long device_of(const struct entry *e)
{
	unsigned major = 0, minor = 0;

	if (e->device)
		sscanf(e->device, "%u:%u", &major, &minor);
	return makedev(major, minor);
}

/* Of a symlink its target's length: an escape is one byte. */
static unsigned long long size_of(const struct entry *e)
{
	unsigned long long size = e->bytes ? strtoull(e->bytes, NULL, 10) : 0;

	for (const char *p = e->target; p && *p; p += *p == '\\' ? 4 : 1)
		size++;
	return size;
}

static void put_numbers(struct dump *d, const struct entry *e, unsigned type)
{
	unsigned uid = 0, gid = 0;
	unsigned long mode = e->mode ? strtoul(e->mode, NULL, 8) : S_ISLNK(type) ? 0777 : 0;

	if (e->owner)
		sscanf(e->owner, "%u:%u", &uid, &gid);
	fprintf(d->out, "%s%s %llu %s%lo %u %u %u %llu %s", strcmp(e->path, ".") ? "/" : "",
		strcmp(e->path, ".") ? e->path : "/", size_of(e), e->link ? "@" : "", mode | type,
		names_of(d, e), uid, gid, device_of(e), e->mtime ? e->mtime : "0.0");
}

/* ---- data ---- */

static int open_data(struct dump *d, const char *path)
{
	char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
	int at, fd;

	if (!dir)
		return -ENOMEM;
	if (slash)
		*slash = '\0';
	at = ply_open_beneath(d->fd, slash ? dir : "");
	fd = at < 0 ? at
		    : ply_layer_open_upper(at, slash ? slash + 1 : path, O_RDONLY | O_NONBLOCK);
	if (at >= 0)
		sys_close(at);
	free(dir);
	return fd;
}

static int put_small(struct dump *d, const char *path, unsigned long long size)
{
	unsigned char data[INLINE_MAX];
	int fd = open_data(d, path);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = sys_pread(fd, data, sizeof(data), 0);
	sys_close(fd);
	if (n >= 0 && (unsigned long long)n != size)
		return -ESTALE;
	fputs(" - ", d->out);
	if (n == 1 && *data == '-')
		fputs("\\x2d", d->out);
	else
		for (ssize_t i = 0; i < n; i++)
			put_byte(d->out, data[i]);
	fputs(" -", d->out);
	return n < 0 ? (int)n : 0;
}

/* Objects lie by their digest, the first two digits as a directory. */
static int put_file(struct dump *d, const struct entry *e)
{
	unsigned long long size = size_of(e);
	char *path;
	int err;

	if (!size) {
		fputs(" - - -", d->out);
		return 0;
	}
	if (size > INLINE_MAX) {
		fprintf(d->out, " %.2s/%s - %s", e->verity, e->verity + 2, e->verity);
		return 0;
	}
	path = ply_manifest_path(e->path);
	err = path ? put_small(d, path, size) : -ENOMEM;
	free(path);
	return err;
}

static int put_content(struct dump *d, const struct entry *e, unsigned type)
{
	if (e->link) {
		fprintf(d->out, " /%s - -", e->link);
		return 0;
	}
	if (S_ISREG(type))
		return put_file(d, e);
	put_optional(d->out, e->target);
	fputs(" - -", d->out);
	return 0;
}

/* ---- attributes ---- */

static int put_xattr(struct dump *d, char *field)
{
	static const char *const metacopy[] = { PLY_SPACE_TRUSTED_PREFIX PLY_MARK_METACOPY,
						PLY_SPACE_USER_PREFIX PLY_MARK_METACOPY };
	char *name = field + strlen("xattr:"), *hex = strchr(name, '=');
	unsigned byte;

	*hex++ = '\0';
	for (size_t i = 0; i < 2; i++)
		if (!strcmp(name, metacopy[i])) {
			d->c->trouble = "its data is in a layer below (metacopy)";
			return -EOPNOTSUPP;
		}
	fprintf(d->out, " %s=", name);
	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
		put_byte(d->out, (unsigned char)byte);
	return 0;
}

static int put_xattrs(struct dump *d, char *xattrs)
{
	long before = ftell(d->out);
	int err = 0;

	while (xattrs && !err)
		err = put_xattr(d, strsep(&xattrs, " "));
	if (!err && ftell(d->out) - before > XATTRS_MAX) {
		d->c->trouble = "it has more extended attributes than the format can say";
		err = -E2BIG;
	}
	return err;
}

/* ---- lines ---- */

static int put_line(struct dump *d, char *line)
{
	struct entry e;
	unsigned type;
	int err;

	cut_up(&e, line);
	type = type_bits(e.type);
	rewind(d->out);
	put_numbers(d, &e, type);
	err = put_content(d, &e, type);
	/* Of a further name nothing but the first one counts. */
	if (!err && !e.link)
		err = put_xattrs(d, e.xattrs);
	fputs("\n", d->out);
	putc('\0', d->out);
	if (!err && (fflush(d->out) || ferror(d->out)))
		err = -ENOMEM;
	if (err)
		d->where = ply_manifest_path(e.path);
	return err ? err : d->c->line(d->c->arg, d->text);
}

static int on_line(void *arg, const char *line)
{
	char *copy = strdup(line);
	int err = copy ? put_line(arg, copy) : -ENOMEM;

	free(copy);
	return err;
}

static int scan(struct dump *d, unsigned scope, int (*line)(void *arg, const char *line),
		char **where)
{
	const struct ply_manifest_scan scan = { .scope = scope,
						.line = line,
						.arg = d,
						.entries = d->c->entries,
						.bytes = d->c->bytes };

	return ply_manifest_scan(&scan, d->fd, where);
}

int ply_composefs_dump(struct ply_composefs *c, int fd, char **where)
{
	struct dump d = { .c = c, .fd = fd };
	struct linked *at, *next;
	int err;

	*where = NULL;
	d.out = open_memstream(&d.text, &d.size);
	err = d.out ? scan(&d, 0, count_name, where) : -ENOMEM;
	if (!err)
		err = scan(&d, PLY_SCOPE_VERITY | PLY_SCOPE_DIR_MTIME, on_line, where);
	if (d.where) {
		free(*where);
		*where = d.where;
	}
	HASH_ITER(hh, d.linked, at, next) {
		HASH_DEL(d.linked, at);
		free(at);
	}
	if (d.out)
		fclose(d.out);
	free(d.text);
	return err;
}
