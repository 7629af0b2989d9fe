/* Many threads that do something to one union at once. */
#ifndef TESTS_UNIT_CROWD_H
#define TESTS_UNIT_CROWD_H

#include "paths.h"

#define THREADS 8

struct worker {
	struct bed *b;
	unsigned id;
	unsigned long long seed;
	unsigned steps;
	unsigned odd; /* errors that make no sense */
	char what[160];
};

/* Less than n; the same for each run of a test. */
unsigned crowd_rnd(struct worker *w, unsigned n);
/* Is that an error that some order of calls can give? */
int crowd_makes_sense(int err);
/* In each thread. None may find anything odd. */
void crowd_run(struct bed *b, void *(*fn)(void *arg), unsigned steps);

#endif
