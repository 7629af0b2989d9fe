/* Looking through a tree for its manifest. Nothing here depends on locale, order of listing, or file system. */
#include "manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <uthash.h>

#include "args.h"
#include "base/sys.h"
#include "layer/format.h"
#include "layer/layer.h"
#include "verity.h"
#include "walk.h"

#define LIST_MAX 65536
#define VALUE_MAX 65536
#define READLINK_MAX 4096

/* An inode of which more names are to come. */
struct linked {
	struct {
		uint32_t major, minor;
		uint64_t ino;
	} key;
	uint32_t left;
	char digest[PLY_SHA256_HEX];
	UT_hash_handle hh;
	char path[];
};

struct scanner {
	const struct ply_manifest_scan *scan;
	struct ply_sha256 *sha;
	struct linked *linked;
	FILE *out; /* writes to line */
	char *line;
	size_t size;
	char *list;
	uint8_t *value;
};

/* The entry at hand: an inode as name in dirfd, or dirfd itself where name is empty. */
struct entry {
	struct scanner *s;
	int dirfd;
	const char *name, *path;
	const struct statx *stx;
};

static void put_text(FILE *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '\\' || *p == '=')
			fprintf(out, "\\x%02x", *p);
		else
			putc(*p, out);
}

static void put_field(FILE *out, const char *key, const char *text)
{
	fprintf(out, " %s=", key);
	put_text(out, text);
}

/* ---- extended attributes ---- */

/* What a machine or a file system gives to files by itself, and no copy has to keep. */
static int is_local(const char *attr)
{
	static const char *const local[] = { "security.selinux", "security.evm", "security.ima",
					     "system.nfs4_acl" };

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		if (!strcmp(attr, local[i]))
			return 1;
	return !strncmp(attr, "btrfs.", strlen("btrfs."));
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int put_xattr(const struct entry *e, const char *attr)
{
	FILE *out = e->s->out;
	ssize_t n = sys_getxattr(e->dirfd, e->name, attr, e->s->value, VALUE_MAX);

	if (n < 0)
		return n == -ENODATA ? -ESTALE : (int)n;
	fputs(" xattr:", out);
	put_text(out, attr);
	putc('=', out);
	for (ssize_t i = 0; i < n; i++)
		fprintf(out, "%02x", e->s->value[i]);
	return 0;
}

static int put_xattrs(const struct entry *e)
{
	ssize_t size = sys_listxattr(e->dirfd, e->name, e->s->list, LIST_MAX);
	const char **attrs;
	size_t n = 0;
	int err = 0;

	if (size <= 0)
		return size == -EOPNOTSUPP ? 0 : (int)size;
	attrs = malloc((size_t)size * sizeof(*attrs));
	if (!attrs)
		return -ENOMEM;
	for (const char *p = e->s->list; p < e->s->list + size; p += strlen(p) + 1)
		if (!is_local(p))
			attrs[n++] = p;
	qsort(attrs, n, sizeof(*attrs), by_bytes);
	for (size_t i = 0; i < n && !err; i++)
		err = put_xattr(e, attrs[i]);
	free(attrs);
	return err;
}

/* ---- data ---- */

static int is_same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int is_verity(const struct entry *e)
{
	return e->s->scan->scope & PLY_SCOPE_VERITY;
}

/* Only what stays as it is while it is read has a digest. */
static int digest_of_fd(const struct entry *e, int fd, char hex[PLY_SHA256_HEX])
{
	struct statx before, after;
	int err = sys_statx(fd, "", STATX_BASIC_STATS, &before);

	if (!err && (before.stx_ino != e->stx->stx_ino || before.stx_size != e->stx->stx_size ||
		     !is_same_time(&before.stx_mtime, &e->stx->stx_mtime)))
		err = -ESTALE;
	if (!err)
		err = is_verity(e) ? ply_verity_file(e->s->sha, fd, e->s->scan->bytes, hex)
				   : ply_sha256_file(e->s->sha, fd, e->s->scan->bytes, hex);
	if (!err)
		err = sys_statx(fd, "", STATX_BASIC_STATS, &after);
	if (!err && (before.stx_size != after.stx_size ||
		     !is_same_time(&before.stx_ctime, &after.stx_ctime)))
		err = -ESTALE;
	return err;
}

static int digest_of(const struct entry *e, char hex[PLY_SHA256_HEX])
{
	int fd = ply_layer_open_upper(e->dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), err;

	if (fd < 0)
		return fd;
	err = digest_of_fd(e, fd, hex);
	sys_close(fd);
	return err;
}

/* ---- hard links ---- */

static struct linked *find_linked(const struct entry *e)
{
	struct linked probe = { 0 }, *l;

	probe.key.major = e->stx->stx_dev_major;
	probe.key.minor = e->stx->stx_dev_minor;
	probe.key.ino = e->stx->stx_ino;
	HASH_FIND(hh, e->s->linked, &probe.key, sizeof(probe.key), l);
	return l;
}

static int keep_linked(const struct entry *e, const char *digest)
{
	struct linked *l = calloc(1, sizeof(*l) + strlen(e->path) + 1);

	if (!l)
		return -ENOMEM;
	l->key.major = e->stx->stx_dev_major;
	l->key.minor = e->stx->stx_dev_minor;
	l->key.ino = e->stx->stx_ino;
	l->left = e->stx->stx_nlink - 1;
	strcpy(l->digest, digest);
	strcpy(l->path, e->path);
	HASH_ADD(hh, e->s->linked, key, sizeof(l->key), l);
	return 0;
}

static void drop_linked(struct scanner *s, struct linked *l)
{
	HASH_DEL(s->linked, l);
	free(l);
}

/* ---- lines ---- */

static int put_target(const struct entry *e)
{
	char target[READLINK_MAX + 1];
	ssize_t n = sys_readlink(e->dirfd, e->name, target, READLINK_MAX);

	if (n < 0)
		return (int)n;
	target[n] = '\0';
	put_field(e->s->out, "target", target);
	return 0;
}

/* What is the data of an inode, and which of the earlier names is one of the same inode. */
static int put_content(const struct entry *e)
{
	struct linked *l = e->stx->stx_nlink > 1 ? find_linked(e) : NULL;
	char digest[PLY_SHA256_HEX] = "";
	FILE *out = e->s->out;
	int err = 0, is_file = S_ISREG(e->stx->stx_mode);

	if (l)
		strcpy(digest, l->digest);
	else if (is_file && (e->s->scan->scope & PLY_SCOPE_DATA))
		err = digest_of(e, digest);
	if (is_file)
		fprintf(out, " size=%llu", (unsigned long long)e->stx->stx_size);
	if (*digest)
		fprintf(out, " %s=%s", is_verity(e) ? "verity" : "sha256", digest);
	if (S_ISLNK(e->stx->stx_mode) && !err)
		err = put_target(e);
	if (S_ISCHR(e->stx->stx_mode) || S_ISBLK(e->stx->stx_mode))
		fprintf(out, " device=%u:%u", e->stx->stx_rdev_major, e->stx->stx_rdev_minor);
	if (l) {
		put_field(out, "link", l->path);
		if (!--l->left)
			drop_linked(e->s, l);
		return err;
	}
	return err || e->stx->stx_nlink < 2 ? err : keep_linked(e, digest);
}

static int put_attrs(const struct entry *e)
{
	const struct statx *stx = e->stx;
	FILE *out = e->s->out;

	if (!S_ISLNK(stx->stx_mode)) /* of which the mode means nothing */
		fprintf(out, " mode=%04o", stx->stx_mode & 07777U);
	fprintf(out, " owner=%u:%u", stx->stx_uid, stx->stx_gid);
	if (!S_ISDIR(stx->stx_mode) || (e->s->scan->scope & PLY_SCOPE_DIR_MTIME))
		fprintf(out, " mtime=%lld.%09u", (long long)stx->stx_mtime.tv_sec,
			stx->stx_mtime.tv_nsec);
	return S_ISDIR(stx->stx_mode) ? 0 : put_content(e);
}

static int is_whiteout(const struct statx *stx)
{
	return S_ISCHR(stx->stx_mode) && stx->stx_rdev_major == PLY_WHITEOUT_MAJOR &&
	       stx->stx_rdev_minor == PLY_WHITEOUT_MINOR;
}

/* All whiteouts may be one inode, or each its own, with whatever attributes: they say nothing but that. */
static int put_entry(const struct entry *e)
{
	int err;

	put_text(e->s->out, e->path);
	if (is_whiteout(e->stx)) {
		fputs(" type=whiteout", e->s->out);
		return 0;
	}
	fprintf(e->s->out, " type=%s", ply_type_word(e->stx->stx_mode));
	err = put_attrs(e);
	return err ? err : put_xattrs(e);
}

static int tell(const struct entry *e)
{
	struct scanner *s = e->s;
	int err;

	rewind(s->out);
	err = put_entry(e);
	putc('\0', s->out);
	if (!err && (fflush(s->out) || ferror(s->out)))
		err = -ENOMEM;
	++*s->scan->entries;
	return err ? err : s->scan->line(s->scan->arg, s->line);
}

static int on_entry(void *arg, const struct ply_walk_entry *w)
{
	char *path = ply_walk_path(w);
	struct entry e = {
		.s = arg, .dirfd = w->dirfd, .name = w->name, .path = path, .stx = &w->stx
	};
	int err = path ? tell(&e) : -ENOMEM;

	free(path);
	return err;
}

static int scan_all(struct scanner *s, int fd, char **where)
{
	static const struct ply_walk_ops ops = { .file = on_entry, .enter = on_entry };
	struct ply_walk_root root = { .fd = fd, .mirror = -1, .order = PLY_WALK_SORTED };
	struct statx stx;
	struct entry e = { .s = s, .dirfd = fd, .name = "", .path = ".", .stx = &stx };
	int err = sys_statx(fd, "", STATX_BASIC_STATS, &stx);

	if (!err)
		err = tell(&e);
	return err ? err : ply_walk(&root, &ops, s, where);
}

int ply_manifest_scan(const struct ply_manifest_scan *scan, int fd, char **where)
{
	struct scanner s = { .scan = scan, .sha = ply_sha256_new() };
	int err = -ENOMEM;

	*where = NULL;
	s.out = open_memstream(&s.line, &s.size);
	s.list = malloc(LIST_MAX);
	s.value = malloc(VALUE_MAX);
	if (s.sha && s.out && s.list && s.value)
		err = scan_all(&s, fd, where);
	while (s.linked)
		drop_linked(&s, s.linked);
	if (s.out)
		fclose(s.out);
	free(s.line);
	free(s.list);
	free(s.value);
	ply_sha256_free(s.sha);
	return err;
}
