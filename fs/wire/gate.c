/*
 * Entering and freezing meet as two who each write one word and then read the other's, in one total order: a request
 * counts itself, then looks at the state; a freeze sets the state, then looks at the counts. So none slips through.
 *
 * A frozen gate has a keeper, a thread that waits for the end of the freeze, whatever ends it: a thaw, the limit, the end
 * of the process that wanted it. Then it serves what was held, with some helpers, so that one long request does not
 * keep the others waiting.
 */
#include "wire/gate.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/sys.h"
#include "base/sysfuse.h"

#define HELPERS_MAX 8

struct ply_gate_held {
	struct ply_gate_held *next;
	size_t len;
	char buf[];
};

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int ply_gate_init(struct ply_gate *g)
{
	pthread_condattr_t attr;

	g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->wake_fd < 0)
		return -errno;
	pthread_mutex_init(&g->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->changed, &attr);
	pthread_condattr_destroy(&attr);
	g->end = &g->first;
	g->keeper_pid_fd = -1;
	return 0;
}

/* ---- requests ---- */

static int passes(int state, enum ply_gate_class class)
{
	return state == PLY_GATE_OPEN ||
	       (state == PLY_GATE_CHANGES_HELD && class == PLY_GATE_FLUSH);
}

static void step_back(struct ply_gate *g, enum ply_gate_class class)
{
	if (atomic_fetch_sub(&g->running[class], 1) != 1 || atomic_load(&g->state) == PLY_GATE_OPEN)
		return;
	pthread_mutex_lock(&g->lock);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

/* The state may have changed since: 1 when it passes after all. */
static int hold(struct ply_gate *g, enum ply_gate_class class, const void *buf, size_t len)
{
	struct ply_gate_held *held = malloc(sizeof(*held) + len);
	int pass;

	if (!held)
		return -ENOMEM;
	held->len = len;
	held->next = NULL;
	memcpy(held->buf, buf, len);
	pthread_mutex_lock(&g->lock);
	pass = passes(atomic_load(&g->state), class);
	if (pass) {
		atomic_fetch_add(&g->running[class], 1);
	} else {
		*g->end = held;
		g->end = &held->next;
		g->nheld++;
	}
	pthread_mutex_unlock(&g->lock);
	if (pass)
		free(held);
	return pass;
}

int ply_gate_enter(struct ply_gate *g, enum ply_gate_class class, const void *buf, size_t len)
{
	int state;

	if (class == PLY_GATE_CONTROL)
		return 1;
	atomic_fetch_add(&g->running[class], 1);
	state = atomic_load(&g->state);
	if (passes(state, class))
		return 1;
	step_back(g, class);
	return hold(g, class, buf, len);
}

void ply_gate_leave(struct ply_gate *g, enum ply_gate_class class)
{
	if (class != PLY_GATE_CONTROL)
		step_back(g, class);
}

/* ---- what was held ---- */

static struct ply_gate_held *take_held(struct ply_gate *g)
{
	struct ply_gate_held *held;

	pthread_mutex_lock(&g->lock);
	held = g->first;
	if (held) {
		g->first = held->next;
		if (!g->first)
			g->end = &g->first;
		g->nheld--;
	}
	pthread_mutex_unlock(&g->lock);
	return held;
}

static void *serve_held(void *arg)
{
	struct ply_gate *g = arg;
	struct ply_gate_held *held;

	while (atomic_load(&g->state) == PLY_GATE_OPEN && (held = take_held(g))) {
		g->serve(g->arg, held->buf, held->len);
		free(held);
	}
	return NULL;
}

static void serve_all_held(struct ply_gate *g)
{
	pthread_t helpers[HELPERS_MAX];
	size_t n = 0, want;

	pthread_mutex_lock(&g->lock);
	want = g->nheld;
	pthread_mutex_unlock(&g->lock);
	while (n < HELPERS_MAX && n + 1 < want && !pthread_create(&helpers[n], NULL, serve_held, g))
		n++;
	serve_held(g);
	while (n)
		pthread_join(helpers[--n], NULL);
}

/* ---- freezing ---- */

static void wake(struct ply_gate *g)
{
	uint64_t one = 1;

	sys_write(g->wake_fd, &one, sizeof(one));
}

static void open_locked(struct ply_gate *g)
{
	atomic_store(&g->state, PLY_GATE_OPEN);
	pthread_cond_broadcast(&g->changed);
}

static void *keep(void *arg)
{
	struct ply_gate *g = arg;
	struct pollfd fds[] = {
		{ .fd = g->wake_fd, .events = POLLIN },
		{ .fd = g->keeper_pid_fd, .events = POLLIN },
	};
	uint64_t count;

	while (poll(fds, 2, (int)g->limit_ms) < 0 && errno == EINTR)
		;
	sys_read(g->wake_fd, &count, sizeof(count));
	pthread_mutex_lock(&g->lock);
	open_locked(g);
	pthread_mutex_unlock(&g->lock);
	serve_all_held(g);
	return NULL;
}

/* The last freeze is over; its keeper may still serve what was held. -EBUSY: another thread waits for it to end. */
static int join_keeper_locked(struct ply_gate *g)
{
	if (!g->has_keeper)
		return 0;
	if (g->is_joining)
		return -EBUSY;
	g->is_joining = 1;
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->keeper, NULL);
	pthread_mutex_lock(&g->lock);
	if (g->keeper_pid_fd >= 0)
		sys_close(g->keeper_pid_fd);
	g->keeper_pid_fd = -1;
	g->has_keeper = g->is_joining = 0;
	return 0;
}

/* Until none of the class is being served: 1, or 0 when it took too long or it opened. */
static int wait_for_locked(struct ply_gate *g, enum ply_gate_class class, uint32_t wait_ms)
{
	int state = atomic_load(&g->state);
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (atomic_load(&g->running[class]))
		if (pthread_cond_timedwait(&g->changed, &g->lock, &until) ||
		    atomic_load(&g->state) != state)
			break;
	return !atomic_load(&g->running[class]) && atomic_load(&g->state) == state;
}

static int start_locked(struct ply_gate *g, uint32_t limit_ms, struct ply_gate_owner owner)
{
	uint64_t count;
	int err = join_keeper_locked(g);

	if (err)
		return err;
	g->owner = owner.pid;
	g->keeper_pid_fd = owner.pid_fd;
	g->limit_ms = limit_ms;
	/* Too late for the last one. */
	sys_read(g->wake_fd, &count, sizeof(count));
	atomic_store(&g->state, PLY_GATE_CHANGES_HELD);
	g->freezes++;
	g->since_us = now_us();
	err = pthread_create(&g->keeper, NULL, keep, g);
	g->has_keeper = !err;
	if (err) {
		open_locked(g);
		g->keeper_pid_fd = -1;
	}
	return -err;
}

int ply_gate_freeze(struct ply_gate *g, uint32_t wait_ms, uint32_t limit_ms,
		    struct ply_gate_owner owner)
{
	int err = -EBUSY;

	pthread_mutex_lock(&g->lock);
	if (atomic_load(&g->state) == PLY_GATE_OPEN)
		err = start_locked(g, limit_ms, owner);
	if (err && owner.pid_fd >= 0)
		sys_close(owner.pid_fd);
	if (!err && !wait_for_locked(g, PLY_GATE_CHANGE, wait_ms)) {
		wake(g);
		err = -EBUSY;
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

int ply_gate_freeze_all(struct ply_gate *g, uint32_t wait_ms)
{
	int err = 0;

	pthread_mutex_lock(&g->lock);
	if (atomic_load(&g->state) != PLY_GATE_CHANGES_HELD) {
		err = -ECANCELED;
	} else {
		atomic_store(&g->state, PLY_GATE_ALL_HELD);
		if (!wait_for_locked(g, PLY_GATE_FLUSH, wait_ms)) {
			wake(g);
			err = -EBUSY;
		}
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

int ply_gate_run_held(struct ply_gate *g, int (*fn)(void *arg), void *arg, uint64_t *us)
{
	int err = -ECANCELED;

	/* The keeper wants the lock to open it. */
	pthread_mutex_lock(&g->lock);
	if (atomic_load(&g->state) == PLY_GATE_ALL_HELD) {
		err = fn(arg);
		open_locked(g);
		*us = now_us() - g->since_us;
		wake(g);
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

int ply_gate_thaw(struct ply_gate *g, uint32_t pid)
{
	uint64_t freezes;
	int err = 0;

	pthread_mutex_lock(&g->lock);
	freezes = g->freezes;
	if (atomic_load(&g->state) == PLY_GATE_OPEN || g->owner != pid)
		err = -EINVAL;
	else
		wake(g);
	/* Another freeze may begin before this thread sees that it is open. */
	while (!err && atomic_load(&g->state) != PLY_GATE_OPEN && g->freezes == freezes)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
	return err;
}

void ply_gate_thaw_soon(struct ply_gate *g)
{
	wake(g);
}

void ply_gate_free(struct ply_gate *g)
{
	struct ply_gate_held *held;

	pthread_mutex_lock(&g->lock);
	wake(g);
	join_keeper_locked(g);
	pthread_mutex_unlock(&g->lock);
	/* Nobody is left to answer to. */
	while ((held = take_held(g)))
		free(held);
	sys_close(g->wake_fd);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}
