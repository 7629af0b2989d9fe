/*
 * The bed that the unit tests lie in: a directory of its own with layers l0, l1, ... (topmost first), an
 * upper "up" and a work directory "work", all below TMPDIR or /var/tmp, and one union over them.
 * Everything here fails the running test when it cannot do its work. Paths are relative to the bed.
 */
#ifndef TESTS_UNIT_BED_H
#define TESTS_UNIT_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "union/union.h"

#define BED_PATH 1024

struct bed {
	char top[256];
	struct ply_union *u;
	struct ply_union_config cfg; /* as of the last bed_open */
	size_t fds;		     /* open descriptors before bed_open */
};

/* For cmocka: *state is the bed. */
int bed_setup(void **state);
int bed_teardown(void **state);
#define bed_test(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)

/* A path in the bed, in one of a few buffers that are used in turn. */
const char *bed_path(const struct bed *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Things on disk; missing parents are made, the old thing is replaced. */
void put_file(struct bed *b, const char *path, const char *text);
void put_dir(struct bed *b, const char *path);
void put_symlink(struct bed *b, const char *path, const char *target);
/* A 0:0 device. */
void put_whiteout(struct bed *b, const char *path);
void put_node(struct bed *b, const char *path, mode_t mode, dev_t dev);
void put_link(struct bed *b, const char *path, const char *old);
void put_xattr(struct bed *b, const char *path, const char *name, const char *value);
void put_remove(struct bed *b, const char *path);
/* Is there something of that name on disk? */
int on_disk(struct bed *b, const char *path);
/* The value, or NULL; in a static buffer. */
const char *disk_xattr(struct bed *b, const char *path, const char *name);
/* Has it the mark metacopy, in any space? */
int disk_is_marked(struct bed *b, const char *path);
/* How many entries a directory has, 0 when there is none; the name of one that was found in first, if that is not NULL. */
unsigned disk_entries(struct bed *b, const char *path, char first[256]);
/* The content, "" when it cannot be read; in a static buffer. */
const char *disk_text(struct bed *b, const char *path);

/*
 * Opens a union of layers l0 ... l(n-1), which are made when missing, with an upper unless readonly is set in
 * flags. Other fields of the configuration are those of how, which may be NULL. As ply_union_open.
 */
enum bed_flags {
	BED_READONLY = 1 << 0,
	BED_PLAIN = 1 << 1, /* layers by their paths, not through private copies of mounts */
};
int bed_try_open(struct bed *b, unsigned nlowers, unsigned flags,
		 const struct ply_union_config *how, struct ply_why *why);
/* The same, and it has to succeed. */
void bed_open(struct bed *b, unsigned nlowers, unsigned flags, const struct ply_union_config *how);
/* Closes the union; no descriptor may be left open and the work directory must be empty. */
void bed_close(struct bed *b);
/* The server is killed: nothing that it asks for any more is done. */
void bed_die(struct bed *b);
/* Closes and opens with the same configuration. */
void bed_again(struct bed *b);
/* Entries of the work directory, less the whiteout that is kept there. */
size_t bed_litter(struct bed *b);

/* Descriptors that this process has open. */
size_t count_fds(void);
/* Bytes that malloc has given out. */
size_t heap_used(void);
/* Removes a directory with all that is in it, whatever the modes. */
void remove_tree(const char *path);
/* Seconds on the monotonic clock. */
double now(void);

#endif
