/*
 * Leader, followers and the watchdog; the header says what for.
 *
 * loop->turn says who leads and whether it is serving. The leader alone goes from reading to
 * serving and back, without a lock; the lead is passed on under lock, only while serving, and by a
 * compare and swap, so that the old leader notices when it wants to go back to reading. All else is
 * under lock.
 */
#include "wire/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/sys.h"
#include "base/sysfuse.h"

#define TICK_MS 1	       /* the watchdog's step while there are requests */
#define IDLE_TICKS 16	       /* without any before it sleeps until the next one */
#define MAX_IDLE 3	       /* threads kept for the next hand-over */
#define KEEP_BYTES (64 * 1024) /* of an idle thread's buffer */
#define BREAK_SIGNAL SIGUSR2   /* makes the leader's read return */

/* A turn: a number that grows with every change, the leader's slot, whether it is serving. */
#define TURN_SERVING UINT64_C(1)
#define TURN_SLOT(turn) ((unsigned)((turn) >> 1 & 0x7fff))
#define TURN_STEP (UINT64_C(1) << 16)
#define TURN_COUNT(turn) ((turn) & ~(TURN_STEP - 1))

struct worker {
	struct ply_loop *loop;
	struct worker *next_idle;
	pthread_t thread;
	pthread_cond_t wake;
	uint64_t turn; /* what loop->turn is until the lead has passed on; own thread */
	unsigned slot;
	int leads; /* appointed, and has not noticed yet */
	int gone;  /* about to end: to be joined */
	void *buf;
};

struct aside {
	struct aside *next;
	void (*run)(void *arg);
	void *arg;
};

struct ply_loop {
	struct ply_loop_config cfg;
	_Atomic uint64_t turn;
	_Atomic int parked; /* the watchdog sleeps: the leader wakes it when it begins to serve */
	_Atomic int over;
	int kick_fd;
	pthread_mutex_t lock;
	struct worker *workers[PLY_LOOP_MAX_THREADS];
	struct worker *idle;
	unsigned nidle, nthreads;
	struct aside *asides;
};

static _Thread_local struct worker *self;

static void kick(struct ply_loop *loop)
{
	uint64_t one = 1;

	sys_write(loop->kick_fd, &one, sizeof(one));
}

static void finish(struct ply_loop *loop)
{
	atomic_store(&loop->over, 1);
	kick(loop);
}

/* ---- the leader ---- */

/*
 * Both this and the watchdog's parking write one word and then read the other's, in one total
 * order: it cannot be that the watchdog parks and the leader does not see it.
 */
static void begin(struct worker *w)
{
	struct ply_loop *loop = w->loop;
	uint64_t turn = atomic_load_explicit(&loop->turn, memory_order_relaxed);

	w->turn = (turn + TURN_STEP) | TURN_SERVING;
	atomic_store(&loop->turn, w->turn);
	if (atomic_load(&loop->parked) && atomic_exchange(&loop->parked, 0))
		kick(loop);
}

static int keeps_lead(struct worker *w)
{
	uint64_t turn = w->turn;

	return atomic_compare_exchange_strong(&w->loop->turn, &turn, turn & ~TURN_SERVING);
}

static void lead(struct worker *w)
{
	struct ply_loop *loop = w->loop;

	while (!atomic_load_explicit(&loop->over, memory_order_relaxed)) {
		ssize_t n = loop->cfg.receive(loop->cfg.arg, w->buf, loop->cfg.buf_size);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0) {
			finish(loop);
			return;
		}
		begin(w);
		loop->cfg.serve(loop->cfg.arg, w->buf, (size_t)n);
		if (!keeps_lead(w))
			return;
	}
}

/* ---- followers ---- */

static int wait_for_lead_locked(struct worker *w)
{
	while (!w->leads && !atomic_load(&w->loop->over))
		pthread_cond_wait(&w->wake, &w->loop->lock);
	if (!w->leads)
		return 0;
	w->leads = 0;
	return 1;
}

static void run_asides_locked(struct ply_loop *loop)
{
	while (loop->asides) {
		struct aside *a = loop->asides;

		loop->asides = a->next;
		pthread_mutex_unlock(&loop->lock);
		a->run(a->arg);
		free(a);
		pthread_mutex_lock(&loop->lock);
	}
}

/* Joins the idle ones, unless there are enough. A big request's pages are given back. */
static int rest_locked(struct worker *w)
{
	struct ply_loop *loop = w->loop;

	if (loop->nidle >= MAX_IDLE || atomic_load(&loop->over))
		return 0;
	if (loop->cfg.buf_size > KEEP_BYTES)
		madvise((char *)w->buf + KEEP_BYTES, loop->cfg.buf_size - KEEP_BYTES,
			MADV_DONTNEED);
	w->next_idle = loop->idle;
	loop->idle = w;
	loop->nidle++;
	return 1;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct ply_loop *loop = w->loop;
	sigset_t set;

	self = w;
	sigemptyset(&set);
	sigaddset(&set, BREAK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	pthread_mutex_lock(&loop->lock);
	while (wait_for_lead_locked(w)) {
		pthread_mutex_unlock(&loop->lock);
		lead(w);
		pthread_mutex_lock(&loop->lock);
		run_asides_locked(loop);
		if (!rest_locked(w))
			break;
	}
	w->gone = 1;
	loop->nthreads--;
	pthread_mutex_unlock(&loop->lock);
	return NULL;
}

static void free_worker(struct worker *w)
{
	w->loop->workers[w->slot] = NULL;
	pthread_cond_destroy(&w->wake);
	free(w->buf);
	free(w);
}

/* The thread is about to end, or has: it holds no lock and waits for nothing. */
static void join_gone_locked(struct ply_loop *loop)
{
	for (unsigned i = 0; i < PLY_LOOP_MAX_THREADS; i++) {
		struct worker *w = loop->workers[i];

		if (w && w->gone) {
			pthread_join(w->thread, NULL);
			free_worker(w);
		}
	}
}

static struct worker *new_worker(struct ply_loop *loop)
{
	size_t page = 4096, size = (loop->cfg.buf_size + page - 1) & ~(page - 1);
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->buf = aligned_alloc(page, size);
	if (!w->buf) {
		free(w);
		return NULL;
	}
	w->loop = loop;
	pthread_cond_init(&w->wake, NULL);
	return w;
}

static struct worker *spawn_locked(struct ply_loop *loop)
{
	struct worker *w;
	unsigned slot = 0;

	join_gone_locked(loop);
	if (loop->nthreads >= loop->cfg.max_threads)
		return NULL;
	while (loop->workers[slot])
		slot++;
	w = new_worker(loop);
	if (!w)
		return NULL;
	w->slot = slot;
	loop->workers[slot] = w;
	if (pthread_create(&w->thread, NULL, work, w)) {
		free_worker(w);
		return NULL;
	}
	loop->nthreads++;
	return w;
}

static struct worker *take_follower_locked(struct ply_loop *loop)
{
	struct worker *w = loop->idle;

	if (atomic_load(&loop->over))
		return NULL;
	if (!w)
		return spawn_locked(loop);
	loop->idle = w->next_idle;
	loop->nidle--;
	return w;
}

/* ---- passing the lead on ---- */

/*
 * From the leader whose turn it is. 0: nobody to take it. When the leader was faster, there is
 * nothing to do.
 */
static int pass_lead_locked(struct ply_loop *loop, uint64_t turn)
{
	struct worker *w = take_follower_locked(loop);
	uint64_t next;

	if (!w)
		return 0;
	next = TURN_COUNT(turn + TURN_STEP) | (uint64_t)w->slot << 1;
	if (!atomic_compare_exchange_strong(&loop->turn, &turn, next)) {
		w->next_idle = loop->idle;
		loop->idle = w;
		loop->nidle++;
		return 1;
	}
	w->leads = 1;
	pthread_cond_signal(&w->wake);
	return 1;
}

/* Does another thread lead? */
static int hand_over(struct worker *w)
{
	int done;

	if (atomic_load(&w->loop->turn) != w->turn)
		return 1;
	pthread_mutex_lock(&w->loop->lock);
	done = atomic_load(&w->loop->turn) != w->turn || pass_lead_locked(w->loop, w->turn);
	pthread_mutex_unlock(&w->loop->lock);
	return done;
}

void ply_loop_hand_over(void)
{
	if (self)
		hand_over(self);
}

int ply_loop_aside(void (*run)(void *arg), void *arg)
{
	struct ply_loop *loop;
	struct aside *a;
	int alone;

	if (!self || hand_over(self)) {
		run(arg);
		return 0;
	}
	loop = self->loop;
	a = malloc(sizeof(*a));
	if (!a)
		return -EAGAIN;
	a->run = run;
	a->arg = arg;
	pthread_mutex_lock(&loop->lock);
	alone = loop->nthreads == 1;
	if (!alone) {
		a->next = loop->asides;
		loop->asides = a;
	}
	pthread_mutex_unlock(&loop->lock);
	if (alone)
		free(a);
	return alone ? -EAGAIN : 0;
}

/* ---- the watchdog ---- */

struct watch {
	uint64_t turn; /* at the last tick */
	unsigned idle; /* ticks without a request */
};

static void park(struct ply_loop *loop)
{
	atomic_store(&loop->parked, 1);
	if (atomic_load(&loop->turn) & TURN_SERVING)
		atomic_store(&loop->parked, 0);
}

static void tick(struct ply_loop *loop, struct watch *watch)
{
	uint64_t turn = atomic_load(&loop->turn);

	if (turn != watch->turn) {
		watch->turn = turn;
		watch->idle = 0;
	} else if (turn & TURN_SERVING) {
		pthread_mutex_lock(&loop->lock);
		pass_lead_locked(loop, turn);
		pthread_mutex_unlock(&loop->lock);
	} else if (++watch->idle >= IDLE_TICKS) {
		watch->idle = 0;
		park(loop);
	}
}

static void watch_until_over(struct ply_loop *loop)
{
	struct pollfd fds[] = {
		{ .fd = loop->kick_fd, .events = POLLIN },
		{ .fd = loop->cfg.wake_fd, .events = POLLIN },
	};
	struct watch watch = { .turn = atomic_load(&loop->turn) };
	uint64_t kicks;

	while (!atomic_load(&loop->over)) {
		if (poll(fds, 2, atomic_load(&loop->parked) ? -1 : TICK_MS) < 0)
			continue;
		if (fds[0].revents)
			sys_read(loop->kick_fd, &kicks, sizeof(kicks));
		if (fds[1].revents)
			loop->cfg.woken(loop->cfg.arg);
		if (!atomic_load(&loop->parked))
			tick(loop, &watch);
	}
}

/*
 * The leader may be on its way into receive, where a signal that came too early does not reach it.
 */
static void break_leader_locked(struct ply_loop *loop)
{
	uint64_t turn = atomic_load(&loop->turn);
	struct worker *w = loop->workers[TURN_SLOT(turn)];

	if (w && !w->gone && !(turn & TURN_SERVING))
		pthread_kill(w->thread, BREAK_SIGNAL);
}

static void end_threads(struct ply_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	while (loop->nthreads) {
		break_leader_locked(loop);
		for (unsigned i = 0; i < PLY_LOOP_MAX_THREADS; i++)
			if (loop->workers[i])
				pthread_cond_signal(&loop->workers[i]->wake);
		pthread_mutex_unlock(&loop->lock);
		poll(NULL, 0, TICK_MS);
		pthread_mutex_lock(&loop->lock);
	}
	join_gone_locked(loop);
	pthread_mutex_unlock(&loop->lock);
}

static void break_handler(int signo)
{
	(void)signo;
}

int ply_loop_run(struct ply_loop *loop)
{
	struct sigaction act = { .sa_handler = break_handler }, old;
	struct worker *w;

	sigemptyset(&act.sa_mask);
	sigaction(BREAK_SIGNAL, &act, &old);
	pthread_mutex_lock(&loop->lock);
	w = spawn_locked(loop);
	if (w) {
		atomic_store(&loop->turn, TURN_STEP | (uint64_t)w->slot << 1);
		w->leads = 1;
		pthread_cond_signal(&w->wake);
	}
	pthread_mutex_unlock(&loop->lock);
	if (w) {
		watch_until_over(loop);
		end_threads(loop);
	}
	sigaction(BREAK_SIGNAL, &old, NULL);
	return w ? 0 : -EAGAIN;
}

void ply_loop_stop(struct ply_loop *loop)
{
	finish(loop);
}

int ply_loop_new(const struct ply_loop_config *cfg, struct ply_loop **out)
{
	struct ply_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	loop->cfg = *cfg;
	if (!cfg->max_threads || cfg->max_threads > PLY_LOOP_MAX_THREADS)
		loop->cfg.max_threads = PLY_LOOP_MAX_THREADS;
	loop->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->kick_fd < 0) {
		free(loop);
		return -EMFILE;
	}
	pthread_mutex_init(&loop->lock, NULL);
	*out = loop;
	return 0;
}

void ply_loop_free(struct ply_loop *loop)
{
	if (!loop)
		return;
	sys_close(loop->kick_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}
