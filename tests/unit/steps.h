/* Random operations, each done to a union and to the directory "plain" of the bed, which holds the same tree. */
#ifndef TESTS_UNIT_STEPS_H
#define TESTS_UNIT_STEPS_H

#include "paths.h"

/* What is drawn depends on the seed alone. */
void random_start(unsigned seed);
unsigned rnd(unsigned n);
const char *name_of(unsigned i);
/* A path of one to three components. */
void random_path(char *path);
/* Links lead to what is no directory, so that a path through one is -ENOTDIR for both. */
const char *link_target(void);

#define HELD_MAX 12

/* What somebody has open in the union, and in the plain directory. */
struct held {
	struct ply_entry entry;
	int fd;
	int is_linkable; /* made without a name, and has had none */
};

struct step {
	struct bed *b;
	char path[64], other[64], text[64];
	struct held held[HELD_MAX];
	unsigned nheld;
	unsigned nsnaps; /* rotations since it was opened */
};

struct op {
	const char *name;
	/* The union's answer, 0 or -errno, and in wanted the other one. */
	int (*run)(struct step *s, int *wanted);
};

/* One of those by path and other. */
const struct op *random_op(void);
/* A system call's result as a status. */
int result(int res);
/* Where that path of the union is in the plain directory. */
const char *plain(const struct step *s, const char *path);

#endif
