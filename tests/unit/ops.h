/* Operations of every kind, each by itself, on a tree that has all that they need. */
#ifndef TESTS_UNIT_OPS_H
#define TESTS_UNIT_OPS_H

#include "paths.h"

#define BIG_SIZE 200000

struct op {
	const char *name;
	int (*run)(struct bed *b);
	/* It may be done although it failed: a truncated file comes up short, and the attributes come last. */
	int may_be_done;
};
extern const struct op ops[];
extern const size_t nops;

/* What they work on: two lower layers, and an upper. */
void ops_lowers(struct bed *b);
void ops_upper(struct bed *b);

#endif
