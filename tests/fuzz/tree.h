/* Directories for the fuzzers, and what is in them. */
#ifndef TESTS_FUZZ_TREE_H
#define TESTS_FUZZ_TREE_H

#include <sys/types.h>

/* A directory of this process's own, which is removed when it exits. */
const char *tree_top(void);
/* A path in it, in one of a few buffers that are used in turn. */
const char *tree_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* All that is in it, or in a directory of it. */
void tree_empty(const char *path);
void tree_make_dir(const char *path);
void tree_make_file(const char *path, const void *data, size_t size);
/* Types, modes, owners, times, contents and attributes of all that is in a directory, as one number. */
unsigned long tree_sum(const char *path);

#endif
