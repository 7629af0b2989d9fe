/* The gate with many threads at it: nobody slips through a freeze, and nobody is forgotten. */
#include <errno.h>
#include <poll.h>
#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "wire/gate.c" // NOLINT(bugprone-suspicious-include)

#define REQUESTERS 8
#define FREEZERS 3
#define ROTATIONS 50

static const struct ply_gate_owner somebody = { .pid = 1, .pid_fd = -1 };

/* Changes are requests that must not be under way during a freeze. */
struct scene {
	struct ply_gate gate;
	_Atomic int changing, rotating, blocks;
	_Atomic unsigned begun, served, slipped, rotated;
	_Atomic int result; /* of freeze_once; 1: none yet */
};

struct request {
	enum ply_gate_class class;
	_Atomic int *is_done;
};

static void enter(struct scene *s, const struct request *r)
{
	if (ply_gate_enter(&s->gate, r->class, r, sizeof(*r)) != 1)
		return;
	atomic_fetch_add(&s->changing, 1);
	while (atomic_load(&s->blocks))
		poll(NULL, 0, 1);
	if (atomic_load(&s->rotating))
		atomic_fetch_add(&s->slipped, 1);
	atomic_fetch_add(&s->served, 1);
	atomic_fetch_sub(&s->changing, 1);
	ply_gate_leave(&s->gate, r->class);
	if (r->is_done)
		atomic_store(r->is_done, 1);
}

static void request(struct scene *s, enum ply_gate_class class)
{
	enter(s, &(struct request){ .class = class });
}

static void serve(void *arg, const void *buf, size_t len)
{
	struct request r;

	assert(len == sizeof(r));
	memcpy(&r, buf, sizeof(r));
	enter(arg, &r);
}

static int setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	s->gate.serve = serve;
	s->gate.arg = s;
	*state = s;
	return ply_gate_init(&s->gate);
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* As a process does: the next one when the last one is answered. */
static void *request_often(void *arg)
{
	struct scene *s = arg;

	for (unsigned i = 0; atomic_load(&s->rotated) < ROTATIONS; i++) {
		_Atomic int is_done = 0;

		atomic_fetch_add(&s->begun, 1);
		enter(s, &(struct request){ i % 3 ? PLY_GATE_CHANGE : PLY_GATE_FLUSH, &is_done });
		while (!atomic_load(&is_done))
			poll(NULL, 0, 1);
		if (i % 64 == 0)
			poll(NULL, 0, 1);
	}
	return NULL;
}

static int rotate(void *arg)
{
	struct scene *s = arg;

	atomic_store(&s->rotating, 1);
	if (atomic_load(&s->changing))
		atomic_fetch_add(&s->slipped, 1);
	atomic_fetch_add(&s->rotated, 1);
	atomic_store(&s->rotating, 0);
	return 0;
}

static void *freeze_often(void *arg)
{
	struct scene *s = arg;
	uint64_t us;

	for (unsigned i = 0; atomic_load(&s->rotated) < ROTATIONS; i++) {
		if (ply_gate_freeze(&s->gate, 100, i % 5 ? 1000 : 1, somebody))
			continue;
		if (i % 4 == 0 || ply_gate_freeze_all(&s->gate, 100) || i % 4 == 1)
			ply_gate_thaw(&s->gate, somebody.pid);
		else
			ply_gate_run_held(&s->gate, rotate, s, &us);
	}
	return NULL;
}

static void test_nobody_slips_through_and_nobody_is_forgotten(void **state)
{
	struct scene *s = *state;
	pthread_t requesters[REQUESTERS], freezers[FREEZERS];

	for (unsigned i = 0; i < REQUESTERS; i++)
		pthread_create(&requesters[i], NULL, request_often, s);
	for (unsigned i = 0; i < FREEZERS; i++)
		pthread_create(&freezers[i], NULL, freeze_often, s);
	for (unsigned i = 0; i < REQUESTERS; i++)
		pthread_join(requesters[i], NULL);
	for (unsigned i = 0; i < FREEZERS; i++)
		pthread_join(freezers[i], NULL);
	ply_gate_free(&s->gate);
	assert_int_equal(s->slipped, 0);
	assert_int_equal(s->served, s->begun);
}

static void assert_opens(struct scene *s)
{
	for (int i = 0; i < 5000 && atomic_load(&s->gate.state) != PLY_GATE_OPEN; i++)
		poll(NULL, 0, 1);
	assert_int_equal(s->gate.state, PLY_GATE_OPEN);
}

static void test_it_opens_after_its_limit_and_serves_what_was_held(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ply_gate_freeze(&s->gate, 1000, 20, somebody), 0);
	request(s, PLY_GATE_FLUSH);
	request(s, PLY_GATE_CHANGE);
	assert_int_equal(s->served, 1);
	assert_int_equal(ply_gate_freeze(&s->gate, 0, 1000, somebody), -EBUSY);
	assert_opens(s);
	ply_gate_free(&s->gate);
	assert_int_equal(s->served, 2);
}

static void test_it_opens_when_its_process_ends(void **state)
{
	struct scene *s = *state;
	struct ply_gate_owner owner;
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	owner = (struct ply_gate_owner){ (uint32_t)pid, sys_pidfd_open(pid) };
	assert_int_equal(ply_gate_freeze(&s->gate, 1000, 60000, owner), 0);
	request(s, PLY_GATE_CHANGE);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_opens(s);
	ply_gate_free(&s->gate);
	assert_int_equal(s->served, 1);
}

static void test_what_is_under_way_makes_a_freeze_fail(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ply_gate_enter(&s->gate, PLY_GATE_CHANGE, "", 1), 1);
	assert_int_equal(ply_gate_freeze(&s->gate, 20, 60000, somebody), -EBUSY);
	assert_opens(s);
	ply_gate_leave(&s->gate, PLY_GATE_CHANGE);
	assert_int_equal(ply_gate_enter(&s->gate, PLY_GATE_FLUSH, "", 1), 1);
	assert_int_equal(ply_gate_freeze(&s->gate, 20, 60000, somebody), 0);
	assert_int_equal(ply_gate_freeze_all(&s->gate, 20), -EBUSY);
	assert_opens(s);
	ply_gate_leave(&s->gate, PLY_GATE_FLUSH);
	ply_gate_free(&s->gate);
}

static void test_it_is_freed_while_it_is_frozen(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ply_gate_freeze(&s->gate, 1000, 60000, somebody), 0);
	assert_int_equal(ply_gate_freeze_all(&s->gate, 1000), 0);
	for (int i = 0; i < 100; i++)
		request(s, PLY_GATE_CHANGE);
	ply_gate_free(&s->gate);
	assert_int_equal(s->served, 100);
}

static void *freeze_once(void *arg)
{
	struct scene *s = arg;

	atomic_store(&s->result, ply_gate_freeze(&s->gate, 1000, 60000, somebody));
	return NULL;
}

/* What the last freeze held is still being served, by its keeper. */
static void test_of_two_who_freeze_one_waits_for_the_last_keeper(void **state)
{
	struct scene *s = *state;
	pthread_t other;
	uint64_t us;

	atomic_store(&s->result, 1);
	assert_int_equal(ply_gate_freeze(&s->gate, 1000, 60000, somebody), 0);
	assert_int_equal(ply_gate_freeze_all(&s->gate, 1000), 0);
	request(s, PLY_GATE_CHANGE);
	atomic_store(&s->blocks, 1);
	assert_int_equal(ply_gate_run_held(&s->gate, rotate, s, &us), 0);
	pthread_create(&other, NULL, freeze_once, s);
	poll(NULL, 0, 50);
	assert_int_equal(ply_gate_freeze(&s->gate, 50, 60000, somebody), -EBUSY);
	assert_int_equal(s->gate.state, PLY_GATE_OPEN);
	assert_int_equal(s->result, 1);
	atomic_store(&s->blocks, 0);
	pthread_join(other, NULL);
	assert_int_equal(s->result, 0);
	assert_int_equal(s->gate.state, PLY_GATE_CHANGES_HELD);
	assert_int_equal(ply_gate_thaw(&s->gate, somebody.pid), 0);
	ply_gate_free(&s->gate);
}

static void test_only_who_froze_it_thaws_it(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ply_gate_freeze(&s->gate, 1000, 60000, somebody), 0);
	assert_int_equal(ply_gate_thaw(&s->gate, somebody.pid + 1), -EINVAL);
	assert_int_equal(s->gate.state, PLY_GATE_CHANGES_HELD);
	assert_int_equal(ply_gate_thaw(&s->gate, somebody.pid), 0);
	ply_gate_free(&s->gate);
}

/* Waking an open gate is no reason for the next freeze to end. */
static void test_a_wake_that_came_too_late_thaws_nothing(void **state)
{
	struct scene *s = *state;

	ply_gate_thaw_soon(&s->gate);
	assert_int_equal(ply_gate_freeze(&s->gate, 1000, 60000, somebody), 0);
	poll(NULL, 0, 20);
	assert_int_equal(s->gate.state, PLY_GATE_CHANGES_HELD);
	ply_gate_thaw_soon(&s->gate);
	assert_opens(s);
	assert_int_equal(ply_gate_thaw(&s->gate, somebody.pid), -EINVAL);
	ply_gate_free(&s->gate);
}

int main(void)
{
#define gate_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		gate_test(test_nobody_slips_through_and_nobody_is_forgotten),
		gate_test(test_it_opens_after_its_limit_and_serves_what_was_held),
		gate_test(test_it_opens_when_its_process_ends),
		gate_test(test_what_is_under_way_makes_a_freeze_fail),
		gate_test(test_it_is_freed_while_it_is_frozen),
		gate_test(test_of_two_who_freeze_one_waits_for_the_last_keeper),
		gate_test(test_only_who_froze_it_thaws_it),
		gate_test(test_a_wake_that_came_too_late_thaws_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
