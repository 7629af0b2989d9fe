/* SHA-256. Errors of libcrypto, which are those of its memory, are kept until the digest is taken. */
#include "digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"

#define CHUNK (256 * 1024)

struct ply_sha256 {
	EVP_MD_CTX *ctx;
	int is_good;
	char chunk[CHUNK];
};

static void begin(struct ply_sha256 *sha)
{
	sha->is_good = sha->ctx && EVP_DigestInit_ex(sha->ctx, EVP_sha256(), NULL);
}

struct ply_sha256 *ply_sha256_new(void)
{
	struct ply_sha256 *sha = calloc(1, sizeof(*sha));

	if (!sha)
		return NULL;
	sha->ctx = EVP_MD_CTX_new();
	begin(sha);
	return sha;
}

void ply_sha256_free(struct ply_sha256 *sha)
{
	if (!sha)
		return;
	EVP_MD_CTX_free(sha->ctx);
	free(sha);
}

void ply_sha256_add(struct ply_sha256 *sha, const void *data, size_t size)
{
	sha->is_good = sha->is_good && EVP_DigestUpdate(sha->ctx, data, size);
}

int ply_sha256_bytes(struct ply_sha256 *sha, uint8_t digest[PLY_SHA256_SIZE])
{
	int is_good = sha->is_good && EVP_DigestFinal_ex(sha->ctx, digest, NULL);

	begin(sha);
	return is_good ? 0 : -ENOMEM;
}

int ply_sha256_take(struct ply_sha256 *sha, char hex[PLY_SHA256_HEX])
{
	uint8_t digest[PLY_SHA256_SIZE];
	int err = ply_sha256_bytes(sha, digest);

	for (size_t i = 0; !err && i < PLY_SHA256_SIZE; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
	return err;
}

int ply_sha256_file(struct ply_sha256 *sha, int fd, _Atomic uint64_t *done,
		    char hex[PLY_SHA256_HEX])
{
	off_t off = 0;

	for (;;) {
		ssize_t n = sys_pread(fd, sha->chunk, CHUNK, off);

		if (n < 0)
			return (int)n;
		if (!n)
			return ply_sha256_take(sha, hex);
		ply_sha256_add(sha, sha->chunk, (size_t)n);
		off += n;
		*done += (uint64_t)n;
	}
}
