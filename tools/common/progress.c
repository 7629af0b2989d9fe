/* The progress line's thread, which looks at the worker's counters five times a second, and its text. */
#include "progress.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"
#include "cli.h"

#define FIRST 1.0
#define EVERY 0.2
/* Of any terminal: a line that wraps could not be cleared. */
#define COLUMNS 79

static struct {
	const struct ply_progress *progress;
	enum ply_progress_wish wish;
	double start;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under lock: */
	unsigned paused;
	int shown; /* columns */
	int is_ending;
	/* Changed only while there is no thread. */
	int is_running;
} line = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- the text ---- */

struct text {
	char at[256];
	size_t len;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->at + t->len, sizeof(t->at) - t->len, fmt, ap);
	va_end(ap);
	t->len += n > 0 ? (size_t)n : 0;
	if (t->len > COLUMNS)
		t->len = COLUMNS;
	t->at[t->len] = '\0';
}

static void add_time(struct text *t, double seconds)
{
	unsigned long s = (unsigned long)seconds;

	if (s >= 3600)
		add(t, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	else
		add(t, "%lu:%02lu", s / 60, s % 60);
}

/* Which part of the total is done, 0 when that is not known. */
static double part_done(const struct ply_progress *p, uint64_t entries, uint64_t bytes)
{
	uint64_t done = p->total_bytes ? bytes : entries;
	uint64_t total = p->total_bytes ? p->total_bytes : p->total_entries;

	return done < total ? (double)done / (double)total : 0;
}

static void write_text(struct text *t, double seconds)
{
	const struct ply_progress *p = line.progress;
	const char *what = p->what;
	uint64_t entries = p->entries, bytes = p->data.copied + p->data.shared;
	double part = part_done(p, entries, bytes);

	*t = (struct text){ 0 };
	if (what)
		add(t, "%s: ", what);
	add(t, "%llu entries (%.0f/s), ", (unsigned long long)entries, (double)entries / seconds);
	if (bytes)
		add(t, "%s (%s/s), ", ply_amount(bytes).text,
		    ply_amount((uint64_t)((double)bytes / seconds)).text);
	add_time(t, seconds);
	if (part > 0) {
		add(t, ", ");
		add_time(t, seconds / part - seconds + 1);
		add(t, " left");
	}
}

/* ---- the line ---- */

/* Blanks: there are terminals that know no other way. */
static void clear_locked(void)
{
	if (line.shown)
		fprintf(stderr, "\r%*s\r", line.shown, "");
	line.shown = 0;
}

/* A job in the background has no business on the terminal. */
static int has_terminal(void)
{
	return line.wish == PLY_PROGRESS_FORCED || tcgetpgrp(STDERR_FILENO) == getpgrp();
}

static void show_locked(void)
{
	struct text t;

	if (line.paused || !has_terminal())
		return;
	write_text(&t, ply_now() - line.start);
	fprintf(stderr, "\r%-*s", line.shown, t.at);
	fflush(stderr);
	line.shown = (int)t.len;
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
	double next = line.start + FIRST;

	(void)arg;
	pthread_mutex_lock(&line.lock);
	while (!line.is_ending) {
		wait_until(next);
		if (!line.is_ending && ply_now() >= next) {
			show_locked();
			next = ply_now() + EVERY;
		}
	}
	clear_locked();
	pthread_mutex_unlock(&line.lock);
	return NULL;
}

/* ---- the outside ---- */

static int is_wanted(enum ply_progress_wish wish)
{
	struct statx out;

	if (wish != PLY_PROGRESS_AUTO)
		return wish == PLY_PROGRESS_FORCED;
	return isatty(STDERR_FILENO) &&
	       (sys_statx(STDOUT_FILENO, "", STATX_TYPE, &out) || !S_ISFIFO(out.stx_mode));
}

void ply_progress_start(const struct ply_progress *progress, enum ply_progress_wish wish)
{
	pthread_condattr_t attr;
	sigset_t all, old;

	if (line.is_running || !is_wanted(wish))
		return;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&line.wake, &attr);
	pthread_condattr_destroy(&attr);
	line.progress = progress;
	line.wish = wish;
	line.start = ply_now();
	line.is_ending = 0;
	/* Signals are for the worker, whose calls they are to end. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	line.is_running = !pthread_create(&line.thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void ply_progress_end(void)
{
	if (!line.is_running)
		return;
	pthread_mutex_lock(&line.lock);
	line.is_ending = 1;
	pthread_cond_signal(&line.wake);
	pthread_mutex_unlock(&line.lock);
	pthread_join(line.thread, NULL);
	pthread_cond_destroy(&line.wake);
	line.is_running = 0;
}

void ply_progress_pause(void)
{
	if (!line.is_running)
		return;
	pthread_mutex_lock(&line.lock);
	line.paused++;
	clear_locked();
	pthread_mutex_unlock(&line.lock);
}

void ply_progress_resume(void)
{
	if (!line.is_running)
		return;
	pthread_mutex_lock(&line.lock);
	line.paused--;
	pthread_mutex_unlock(&line.lock);
}
