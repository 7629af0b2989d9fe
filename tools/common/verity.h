/* The digest by which the kernel's fs-verity knows a file, computed without it. */
#ifndef PLY_TOOLS_VERITY_H
#define PLY_TOOLS_VERITY_H

#include "digest.h"

/*
 * As ply_sha256_file, but what FS_IOC_MEASURE_VERITY says of a file for which it was enabled with SHA-256, blocks of
 * 4096 bytes and no salt.
 */
int ply_verity_file(struct ply_sha256 *sha, int fd, _Atomic uint64_t *done,
		    char hex[PLY_SHA256_HEX]);

#endif
