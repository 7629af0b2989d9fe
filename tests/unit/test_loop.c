/*
 * The worker loop, over a pipe in place of the device: a request is one number, the milliseconds
 * that it takes, or one of the special ones below.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "wire/loop.c" // NOLINT(bugprone-suspicious-include)

#define HAND_OVER 10000 /* waits for a WAKE, having handed over */
#define ASIDE 10001	/* the same by ply_loop_aside */
#define WAKE 10002
#define END 10003 /* what a device says when it is unmounted */

struct fake {
	struct ply_loop *loop;
	int in, out; /* requests */
	_Atomic unsigned served, waiting, threads_seen;
	_Atomic pthread_t last;
	pthread_mutex_t lock;
	pthread_cond_t woken;
	unsigned wakes;
	pthread_t runner;
	int result;
};

static ssize_t receive(void *arg, void *buf, size_t size)
{
	struct fake *f = arg;
	int32_t request;
	ssize_t n = sys_read(f->in, buf, sizeof(request));

	(void)size;
	if (n <= 0)
		return n;
	memcpy(&request, buf, sizeof(request));
	return request == END ? 0 : n;
}

static void wait_for_wake(void *arg)
{
	struct fake *f = arg;

	pthread_mutex_lock(&f->lock);
	atomic_fetch_add(&f->waiting, 1);
	while (!f->wakes)
		pthread_cond_wait(&f->woken, &f->lock);
	f->wakes--;
	pthread_mutex_unlock(&f->lock);
	atomic_fetch_add(&f->served, 1);
}

static void serve(void *arg, void *buf, size_t len)
{
	struct fake *f = arg;
	int32_t request;

	assert_int_equal(len, sizeof(request));
	memcpy(&request, buf, sizeof(request));
	if (atomic_exchange(&f->last, pthread_self()) != pthread_self())
		atomic_fetch_add(&f->threads_seen, 1);
	if (request == HAND_OVER) {
		ply_loop_hand_over();
		wait_for_wake(f);
		return;
	}
	if (request == ASIDE) {
		assert_int_equal(ply_loop_aside(wait_for_wake, f), 0);
		return;
	}
	if (request == WAKE) {
		pthread_mutex_lock(&f->lock);
		f->wakes++;
		pthread_cond_signal(&f->woken);
		pthread_mutex_unlock(&f->lock);
	} else {
		poll(NULL, 0, request);
	}
	atomic_fetch_add(&f->served, 1);
}

static void *run(void *arg)
{
	struct fake *f = arg;

	f->result = ply_loop_run(f->loop);
	return NULL;
}

static void start(struct fake *f, unsigned max_threads)
{
	struct ply_loop_config cfg = {
		.receive = receive,
		.serve = serve,
		.wake_fd = -1,
		.arg = f,
		.buf_size = 128 * 1024,
		.max_threads = max_threads,
	};
	int fds[2];

	*f = (struct fake){ 0 };
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->woken, NULL);
	assert_int_equal(pipe(fds), 0);
	f->in = fds[0];
	f->out = fds[1];
	assert_int_equal(ply_loop_new(&cfg, &f->loop), 0);
	assert_int_equal(pthread_create(&f->runner, NULL, run, f), 0);
}

static void ask(struct fake *f, int32_t request)
{
	assert_int_equal(sys_write(f->out, &request, sizeof(request)), sizeof(request));
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Fails when it takes longer than a loaded machine explains. */
static void await(const _Atomic unsigned *counter, unsigned wanted)
{
	int64_t until = now_ms() + 20000;

	while (atomic_load(counter) < wanted) {
		if (now_ms() > until)
			fail_msg("waited for %u, there are %u", wanted, atomic_load(counter));
		poll(NULL, 0, 1);
	}
}

static void finish_fake(struct fake *f)
{
	pthread_join(f->runner, NULL);
	assert_int_equal(f->result, 0);
	ply_loop_free(f->loop);
	sys_close(f->in);
	sys_close(f->out);
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->woken);
}

static void quick_requests_stay_in_one_thread(void **state)
{
	struct fake f;

	(void)state;
	start(&f, 0);
	for (unsigned i = 0; i < 2000; i++) {
		ask(&f, 0);
		await(&f.served, i + 1);
	}
	ask(&f, END);
	finish_fake(&f);
	/* On a busy machine the watchdog may have seen one of them take long. */
	assert_in_range(f.threads_seen, 1, 200);
}

static void a_slow_request_keeps_nobody_waiting(void **state)
{
	struct fake f;

	(void)state;
	start(&f, 0);
	ask(&f, 5000);
	for (unsigned i = 0; i < 100; i++)
		ask(&f, 0);
	await(&f.served, 100);
	assert_int_equal(f.served, 100);
	ask(&f, END);
	finish_fake(&f);
	assert_int_equal(f.served, 101);
}

static void it_works_again_after_a_rest(void **state)
{
	struct fake f;

	(void)state;
	start(&f, 0);
	for (unsigned i = 0; i < 5; i++) {
		poll(NULL, 0, 100); /* the watchdog sleeps */
		ask(&f, 3000);
		ask(&f, 0);
		await(&f.served, i + 1);
	}
	ask(&f, END);
	finish_fake(&f);
	assert_int_equal(f.served, 10);
}

static void who_hands_over_can_wait_for_another_request(void **state)
{
	struct fake f;

	(void)state;
	start(&f, 2);
	for (unsigned i = 0; i < 500; i++) {
		ask(&f, HAND_OVER);
		ask(&f, WAKE);
		await(&f.served, 2 * i + 2);
	}
	ask(&f, END);
	finish_fake(&f);
}

/*
 * There are two threads: one waits, the other leads; the second and third wait until one is free.
 */
static void what_stands_aside_is_served_in_its_turn(void **state)
{
	struct fake f;

	(void)state;
	start(&f, 2);
	ask(&f, ASIDE);
	await(&f.waiting, 1);
	ask(&f, ASIDE);
	ask(&f, ASIDE);
	ask(&f, 0);
	await(&f.served, 1);
	assert_int_equal(f.waiting, 1);
	for (int i = 0; i < 3; i++)
		ask(&f, WAKE);
	await(&f.served, 7);
	ask(&f, END);
	finish_fake(&f);
}

static void there_is_a_limit_to_the_threads(void **state)
{
	struct fake f;

	(void)state;
	start(&f, 0);
	for (unsigned i = 0; i < PLY_LOOP_MAX_THREADS; i++)
		ask(&f, HAND_OVER);
	await(&f.waiting, PLY_LOOP_MAX_THREADS);
	/* All are waiting, the last without a follower. */
	ask(&f, 0);
	poll(NULL, 0, 20);
	assert_int_equal(f.served, 0);
	pthread_mutex_lock(&f.lock);
	f.wakes = PLY_LOOP_MAX_THREADS;
	pthread_cond_broadcast(&f.woken);
	pthread_mutex_unlock(&f.lock);
	await(&f.served, PLY_LOOP_MAX_THREADS + 1);
	ask(&f, END);
	finish_fake(&f);
}

static void alone_nothing_can_stand_aside(void **state)
{
	struct ply_loop loop = { .nthreads = 1, .cfg = { .max_threads = 1 } };
	struct worker w = { .loop = &loop, .turn = TURN_STEP | TURN_SERVING };
	struct fake f = { 0 };

	(void)state;
	pthread_mutex_init(&loop.lock, NULL);
	atomic_store(&loop.turn, w.turn);
	self = &w;
	assert_int_equal(ply_loop_aside(wait_for_wake, &f), -EAGAIN);
	self = NULL;
	assert_int_equal(f.waiting, 0);
	pthread_mutex_destroy(&loop.lock);
}

static void stop_ends_a_loop_that_waits(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct fake f;

		start(&f, 0);
		ask(&f, 0);
		if (i % 2)
			await(&f.served, 1);
		if (i % 4 == 3)
			ask(&f, 30);
		ply_loop_stop(f.loop);
		finish_fake(&f);
	}
}

static void bursts_of_all_kinds_are_all_served(void **state)
{
	struct fake f;
	unsigned sent = 0;

	(void)state;
	start(&f, 8);
	for (unsigned i = 0; i < 400; i++, sent++)
		ask(&f, i % 40 == 7 ? 3 : 0);
	for (unsigned i = 0; i < 100; i++, sent += 2) {
		ask(&f, i % 2 ? ASIDE : HAND_OVER);
		ask(&f, WAKE);
	}
	await(&f.served, sent);
	ask(&f, END);
	finish_fake(&f);
	assert_int_equal(f.served, sent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quick_requests_stay_in_one_thread),
		cmocka_unit_test(a_slow_request_keeps_nobody_waiting),
		cmocka_unit_test(it_works_again_after_a_rest),
		cmocka_unit_test(who_hands_over_can_wait_for_another_request),
		cmocka_unit_test(what_stands_aside_is_served_in_its_turn),
		cmocka_unit_test(there_is_a_limit_to_the_threads),
		cmocka_unit_test(alone_nothing_can_stand_aside),
		cmocka_unit_test(stop_ends_a_loop_that_waits),
		cmocka_unit_test(bursts_of_all_kinds_are_all_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
