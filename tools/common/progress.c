/* The progress line: a thread that looks at the worker's counters five times a second. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "cli.h"

#define FIRST 1.0
#define EVERY 0.2

static struct {
	const struct ply_progress *progress;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int running; /* under lock */
} line = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void show(double start)
{
	const struct ply_copied *data = &line.progress->data;
	uint64_t entries = line.progress->entries, bytes = data->copied + data->shared;
	double seconds = ply_now() - start;

	fprintf(stderr, "\r%llu entries, %s, %.0f s, %.0f entries/s, %s/s\033[K",
		(unsigned long long)entries, ply_amount(bytes).text, seconds,
		(double)entries / seconds, ply_amount((uint64_t)((double)bytes / seconds)).text);
	fflush(stderr);
}

/* Waits with the lock held, until woken or the moment has come. */
static void wait_until(double when)
{
	struct timespec ts = { .tv_sec = (time_t)when };

	ts.tv_nsec = (long)((when - (double)ts.tv_sec) * 1e9);
	pthread_cond_timedwait(&line.wake, &line.lock, &ts);
}

static void *run(void *arg)
{
	double start = ply_now(), next = start + FIRST;

	(void)arg;
	pthread_mutex_lock(&line.lock);
	while (line.running) {
		wait_until(next);
		if (line.running && ply_now() >= next) {
			show(start);
			next = ply_now() + EVERY;
		}
	}
	pthread_mutex_unlock(&line.lock);
	return NULL;
}

void ply_progress_start(const struct ply_cli *cli, const struct ply_progress *progress)
{
	pthread_condattr_t attr;
	sigset_t all, old;

	if (!cli->progress)
		return;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&line.wake, &attr);
	line.progress = progress;
	line.running = 1;
	/* Signals are for the worker, whose calls they are to end. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	if (pthread_create(&line.thread, NULL, run, NULL))
		line.running = 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void ply_progress_end(void)
{
	if (!line.running)
		return;
	pthread_mutex_lock(&line.lock);
	line.running = 0;
	pthread_cond_signal(&line.wake);
	pthread_mutex_unlock(&line.lock);
	pthread_join(line.thread, NULL);
	fputs("\r\033[K", stderr);
}
