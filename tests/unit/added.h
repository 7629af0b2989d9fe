/* Adding the layer below the last one of a bed's union, with all that it shows in use. */
#ifndef TESTS_UNIT_ADDED_H
#define TESTS_UNIT_ADDED_H

#include "paths.h"

/* Lookups of everything that the union shows. */
struct everything {
	struct ply_entry *v;
	size_t n, size;
};
void hold_everything(struct bed *b, struct everything *e);
/* All of it must be what it was: the same numbers and types. */
void check_everything(struct bed *b, const struct everything *e);
void drop_everything(struct bed *b, struct everything *e);

/* Puts a directory of the bed below all layers. 0 or -errno. */
int add_layer(struct bed *b, const char *path);
/*
 * Adds layer l(n) to a union of n lower layers with everything in use, and finds what a union opened with it shows, now and
 * after closing. That one stays open.
 */
void check_adds(struct bed *b, unsigned n, const char *file, int line);
#define assert_adds(b, n) check_adds(b, n, __FILE__, __LINE__)

#endif
