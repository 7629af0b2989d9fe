/* Threads that do the same at once, each with numbers of its own. */
#include "crowd.h"

#include <errno.h>
#include <pthread.h>

unsigned crowd_rnd(struct worker *w, unsigned n)
{
	w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(w->seed >> 33) % n;
}

int crowd_makes_sense(int err)
{
	static const int known[] = { 0,	      -ENOENT,	  -EEXIST, -ENOTDIR,
				     -EISDIR, -ENOTEMPTY, -EINVAL, -EPERM };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (err == known[i])
			return 1;
	return 0;
}

void crowd_run(struct bed *b, void *(*fn)(void *arg), unsigned steps)
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	unsigned odd = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] =
			(struct worker){ .b = b, .id = i, .seed = i * 7919 + 1, .steps = steps };
		assert_int_equal(pthread_create(&threads[i], NULL, fn, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		odd += workers[i].odd;
	}
	assert_int_equal(odd, 0);
}
