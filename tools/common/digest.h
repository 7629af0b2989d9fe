/* SHA-256, by libcrypto: only a tool that uses this is linked with it. */
#ifndef PLY_TOOLS_DIGEST_H
#define PLY_TOOLS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define PLY_SHA256_SIZE 32
#define PLY_SHA256_HEX 65 /* with its NUL */

struct ply_sha256;

/* NULL without memory. */
struct ply_sha256 *ply_sha256_new(void);
void ply_sha256_free(struct ply_sha256 *sha);
void ply_sha256_add(struct ply_sha256 *sha, const void *data, size_t size);
/* The digest of all that was added; begins anew. -ENOMEM if something went wrong on the way. */
int ply_sha256_bytes(struct ply_sha256 *sha, uint8_t digest[PLY_SHA256_SIZE]);
int ply_sha256_take(struct ply_sha256 *sha, char hex[PLY_SHA256_HEX]);

/*
 * That of a file's data up to its end; done grows by the bytes read. sha is at its beginning before and after,
 * but for an error.
 */
int ply_sha256_file(struct ply_sha256 *sha, int fd, _Atomic uint64_t *done,
		    char hex[PLY_SHA256_HEX]);

#endif
