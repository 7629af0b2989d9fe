/* Text that tools read and write: manifests, and names with escapes, in quotes and as JSON. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../tools/common/args.h"
#include "../../tools/common/manifest.h"
#include "fuzz.h"

#define TEXT_MAX 65536

/* ---- manifests ---- */

static int manifest_file(const void *data, size_t size)
{
	int fd = memfd_create("manifest", MFD_CLOEXEC);

	fuzz_check(fd >= 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	return fd;
}

/* All but the last line is as it comes; the last one has to fit. */
static int sealed_file(const uint8_t *data, size_t size)
{
	struct ply_sha256 *sha = ply_sha256_new();
	char seal[PLY_SHA256_HEX];
	int fd = manifest_file(data, size);

	fuzz_check(sha);
	ply_sha256_add(sha, data, size);
	fuzz_check(!ply_sha256_take(sha, seal));
	ply_sha256_free(sha);
	fuzz_check(lseek(fd, (off_t)size, SEEK_SET) >= 0);
	fuzz_check(dprintf(fd, PLY_MANIFEST_SEAL "%s\n", seal) > 0);
	return fd;
}

static void differs(void *arg, const char *key, const char *a, const char *b)
{
	unsigned *n = arg;

	fuzz_check(key && (a || b));
	++*n;
}

/* Lines are in order, and a line is like itself only. */
static void check_lines(struct ply_manifest *m)
{
	const char *last = NULL;

	for (; m->next; ply_manifest_step(m)) {
		char *path = ply_manifest_path(m->next);
		unsigned n = 0;

		fuzz_check(path);
		free(path);
		fuzz_check(!ply_manifest_compare(m->next, m->next, m->scope, differs, &n) && !n);
		if (last) {
			int found = ply_manifest_compare(last, m->next, m->scope, differs, &n);

			fuzz_check(found >= 0 && n == (unsigned)found);
			fuzz_check(ply_manifest_order(last, m->next) < 0);
			fuzz_check(ply_manifest_order(m->next, last) > 0);
		}
		last = m->next;
	}
}

/* The first byte says whether the digest is to be right, without which nobody looks at the rest. */
static void try_manifest(const uint8_t *data, size_t size)
{
	struct ply_manifest m;
	int fd, err;

	if (!size)
		return;
	fd = *data == 's' ? sealed_file(data + 1, size - 1) : manifest_file(data + 1, size - 1);
	err = ply_manifest_load(&m, fd);
	fuzz_check(!err || err == -EINVAL);
	if (!err)
		check_lines(&m);
	ply_manifest_free(&m);
	close(fd);
}

/* ---- names ---- */

static int hex(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	fuzz_check(at);
	return (int)(at - digits);
}

static int hex2(const char *s)
{
	return hex(s[0]) * 16 + hex(s[1]);
}

/* What an escaped text means. */
static void check_escaped(const char *escaped, const char *text)
{
	for (; *escaped; text++) {
		fuzz_check((unsigned char)*escaped >= ' ' && *escaped != 0x7f);
		if (escaped[0] != '\\') {
			fuzz_check(*escaped++ == *text);
		} else if (escaped[1] == '\\') {
			fuzz_check(*text == '\\');
			escaped += 2;
		} else {
			fuzz_check(escaped[1] == 'x');
			fuzz_check(hex2(escaped + 2) == (unsigned char)*text);
			escaped += 4;
		}
	}
	fuzz_check(!*text);
}

/* A character that JSON has by its number: a byte of its own, or one of the two of U+0080 to U+009F. */
static const char *check_number(const char *json, const char *text)
{
	int high = hex2(json), low = hex2(json + 2);

	if (high == 0xdc) {
		fuzz_check(low == (unsigned char)text[0] && low >= 0x80);
		return text + 1;
	}
	fuzz_check(high == 0);
	if (low < 0x80) {
		fuzz_check(low == text[0]);
		return text + 1;
	}
	fuzz_check((unsigned char)text[0] == 0xc2 && (unsigned char)text[1] == low);
	return text + 2;
}

static void check_json(const char *json, size_t len, const char *text)
{
	const char *end = json + len - 1;

	fuzz_check(len >= 2 && *json == '"' && *end == '"' &&
		   mbstowcs(NULL, json, 0) != (size_t)-1);
	for (json++; json < end; json++) {
		fuzz_check((unsigned char)*json >= ' ' && *json != '"' && *json != 0x7f);
		if (*json != '\\') {
			fuzz_check(*json == *text++);
		} else if (*++json == 'u') {
			text = check_number(json + 1, text);
			json += 4;
		} else {
			fuzz_check(*json == *text && strchr("\"\\", *text++));
		}
	}
	fuzz_check(!*text);
}

static void try_name(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *escaped, *quoted, *json = NULL;
	uint8_t bytes[64];
	size_t len = 0;
	FILE *out;

	fuzz_check(text);
	memcpy(text, data, size);
	text[size] = '\0';
	escaped = ply_escape(text);
	check_escaped(escaped, text);
	quoted = ply_quote(text);
	fuzz_check(quoted && strlen(quoted) >= 2);
	out = open_memstream(&json, &len);
	fuzz_check(out);
	ply_put_json(out, text);
	fclose(out);
	check_json(json, len, text);
	fuzz_check(ply_from_hex(text, bytes, sizeof(bytes)) <= sizeof(bytes));
	free(json);
	free(quoted);
	free(escaped);
	free(text);
}

static const char *const manifest_words[] = {
	" type=",
	"type=file",
	" ",
	"=",
	"\n",
	". type=directory",
	"\\x2f",
	"\\x",
	"plyfs-manifest 1",
	" data=sha256",
	" data=none",
	" dir-mtime=no",
	" trusted=seen",
	" xattr:user.a=",
	"\nseal sha256:",
	"/",
	"a",
	NULL,
};

static const char *const name_words[] = {
	"\\",
	"\"",
	"\xc2\x80",
	"\xed\xa0\x80",
	"\xf4\x90\x80\x80",
	"\xe0\x80\x80",
	"\xf0\x9f\x98\x80",
	"\xff",
	"\xc0\x80",
	"\033[2J",
	"\x7f",
	"deadbeef",
	"-",
	"\xe2\x80\xae",
	NULL,
};

int main(int argc, char *argv[])
{
	static const struct fuzz_target targets[] = {
		{ .name = "manifest",
		  .try = try_manifest,
		  .words = manifest_words,
		  .max = TEXT_MAX,
		  .rounds = 20000 },
		{ .name = "name",
		  .try = try_name,
		  .words = name_words,
		  .max = TEXT_MAX,
		  .rounds = 20000 },
		{ 0 },
	};

	fuzz_check(setlocale(LC_ALL, "C.UTF-8"));
	return fuzz_main(argc, argv, targets);
}
