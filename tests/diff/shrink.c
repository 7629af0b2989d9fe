/*
 * Shrinking: runs subsets of a failing sequence and keeps what still fails in the same way (delta debugging), then
 * tries simpler credentials. Steps name what they work on, so that they mean the same without the others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plydiff.h"

struct shrinking {
	const struct pd_stack *stack;
	struct pd_steps *best;
	struct pd_failure *failure;
	double until;
	unsigned runs;
};

static bool out_of_time(const struct shrinking *s)
{
	return pd_interrupted || pd_now() > s->until;
}

/* Runs a candidate; when it fails the same way it becomes the best. Takes the candidate. */
static bool try_steps(struct shrinking *s, struct pd_steps *candidate)
{
	struct pd_failure failure;
	bool same;

	pd_run(s->stack, candidate, NULL, 0, &failure);
	s->runs++;
	same = failure.failed && strcmp(failure.kind, s->failure->kind) == 0;
	if (!same) {
		pd_failure_free(&failure);
		pd_steps_free(candidate);
		return false;
	}
	pd_steps_free(s->best);
	*s->best = *candidate;
	pd_failure_free(s->failure);
	*s->failure = failure;
	return true;
}

static struct pd_steps without(const struct pd_steps *all, size_t from, size_t to)
{
	struct pd_steps some = { 0 };

	for (size_t i = 0; i < all->count; i++) {
		if (i < from || i >= to)
			pd_steps_add(&some, pd_step_dup(&all->step[i]));
	}
	return some;
}

static void remove_chunks(struct shrinking *s)
{
	size_t size = (s->best->count + 1) / 2;
	bool removed = true;

	while (size && s->best->count && !out_of_time(s)) {
		removed = false;
		/* From the end: what comes late is the more likely to be needed, and stays put. */
		for (size_t at = s->best->count; at > 0 && !out_of_time(s);) {
			size_t from = at > size ? at - size : 0;
			struct pd_steps candidate = without(s->best, from, at);

			removed = try_steps(s, &candidate) || removed;
			at = from;
		}
		if (size == 1 && !removed)
			return;
		size = size == 1 ? 1 : (size + 1) / 2;
		if (size > s->best->count)
			size = s->best->count;
	}
}

static void simplify_steps(struct shrinking *s)
{
	for (size_t i = 0; i < s->best->count && !out_of_time(s); i++) {
		for (int what = 0; what < 3; what++) {
			struct pd_steps candidate = without(s->best, 0, 0);
			struct pd_step *step = &candidate.step[i];
			int *field = what == 0 ? &step->as : what == 1 ? &step->mask : &step->look;
			int simple = what == 0 ? 0 : what == 1 ? 022 : 2;

			if (*field == simple) {
				pd_steps_free(&candidate);
				continue;
			}
			*field = simple;
			try_steps(s, &candidate);
		}
	}
}

void pd_shrink(const struct pd_stack *stack, struct pd_steps *steps, struct pd_failure *failure,
	       double seconds)
{
	struct shrinking s = {
		.stack = stack, .best = steps, .failure = failure, .until = pd_now() + seconds
	};
	size_t end = failure->at < steps->count ? failure->at + 1 : steps->count;
	struct pd_steps head = without(steps, end, steps->count);

	/* Fewer steps are faster steps, and times that must have moved need a tick in between. */
	if (strstr(failure->kind, "-moved") && failure->at < steps->count)
		pd_opt.pause_before = steps->step[failure->at].op->name;
	if (!try_steps(&s, &head)) {
		printf("# the failure did not come again when the steps were replayed\n");
		pd_opt.pause_before = NULL;
		return;
	}
	remove_chunks(&s);
	simplify_steps(&s);
	pd_opt.pause_before = NULL;
	printf("# %zu steps are left after %u runs\n", steps->count, s.runs);
}
