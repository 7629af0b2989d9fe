/*
 * A Merkle tree over the blocks of a file, of which only the block in the making is kept at each height. A file of
 * one block has it as its root, an empty one has none. The digest is that of a descriptor with the root in it.
 */
#include "verity.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

#define BLOCK 4096
#define LOG_BLOCK 12
#define HEIGHTS 8 /* 128^8 blocks are more than a file can have */
#define ALGORITHM_SHA256 1

/* As the kernel has it: struct fsverity_descriptor. */
struct descriptor {
	uint8_t version, algorithm, log_block, salt_size;
	uint32_t sig_size;
	uint64_t data_size;
	uint8_t root[64], salt[32], reserved[144];
};
_Static_assert(sizeof(struct descriptor) == 256, "fixed by the kernel");

struct level {
	uint8_t block[BLOCK];
	size_t size;
	uint64_t hashes; /* that it ever had */
};

struct tree {
	struct ply_sha256 *sha;
	struct level level[HEIGHTS];
	uint8_t data[BLOCK];
	uint64_t size;
};

/* Adds the hash of a whole block to a level, and, as long as that fills one, to the next. */
static int add_block(struct tree *t, const uint8_t block[BLOCK], unsigned height)
{
	for (;; height++) {
		struct level *l = &t->level[height];
		int err;

		if (height == HEIGHTS)
			return -EFBIG;
		ply_sha256_add(t->sha, block, BLOCK);
		err = ply_sha256_bytes(t->sha, l->block + l->size);
		if (err)
			return err;
		l->hashes++;
		l->size += PLY_SHA256_SIZE;
		if (l->size < BLOCK)
			return 0;
		l->size = 0;
		block = l->block;
	}
}

/* Fills up what is begun at each height, until there is one hash. */
static int find_root(struct tree *t, uint8_t root[PLY_SHA256_SIZE])
{
	if (!t->size)
		return 0;
	for (unsigned height = 0; height < HEIGHTS; height++) {
		struct level *l = &t->level[height];
		int err = 0;

		if (l->hashes == 1) {
			memcpy(root, l->block, PLY_SHA256_SIZE);
			return 0;
		}
		if (l->size) {
			memset(l->block + l->size, 0, BLOCK - l->size);
			err = add_block(t, l->block, height + 1);
		}
		if (err)
			return err;
	}
	return -EFBIG;
}

/* The next block, with zeros behind the end of the file: 1, 0 at the end, or -errno. */
static int read_block(struct tree *t, int fd, _Atomic uint64_t *done)
{
	size_t size = 0;
	ssize_t n = 1;

	while (n && size < BLOCK) {
		n = sys_pread(fd, t->data + size, BLOCK - size, (off_t)(t->size + size));
		if (n < 0)
			return (int)n;
		size += (size_t)n;
	}
	memset(t->data + size, 0, BLOCK - size);
	t->size += size;
	*done += size;
	return size > 0;
}

static int digest(struct tree *t, int fd, _Atomic uint64_t *done, char hex[PLY_SHA256_HEX])
{
	struct descriptor d = { .version = 1,
				.algorithm = ALGORITHM_SHA256,
				.log_block = LOG_BLOCK };
	int res;

	while ((res = read_block(t, fd, done)) > 0) {
		res = add_block(t, t->data, 0);
		if (res)
			return res;
	}
	if (!res)
		res = find_root(t, d.root);
	if (res)
		return res;
	d.data_size = htole64(t->size);
	ply_sha256_add(t->sha, &d, sizeof(d));
	return ply_sha256_take(t->sha, hex);
}

int ply_verity_file(struct ply_sha256 *sha, int fd, _Atomic uint64_t *done,
		    char hex[PLY_SHA256_HEX])
{
	struct tree *t = calloc(1, sizeof(*t));
	int err = -ENOMEM;

	if (t) {
		t->sha = sha;
		err = digest(t, fd, done, hex);
	}
	free(t);
	return err;
}
