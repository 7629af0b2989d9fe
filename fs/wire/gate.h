/*
 * The gate that all requests pass. Open it costs two atomic additions. A freeze closes it for some requests or for
 * all: those are kept in a queue, not by threads, and served when it opens again, by whoever held it.
 *
 * It knows no protocol; a request is bytes, and has a class.
 */
#ifndef PLY_WIRE_GATE_H
#define PLY_WIRE_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum ply_gate_class {
	PLY_GATE_CHANGE, /* held by any freeze */
	PLY_GATE_FLUSH, /* what the kernel needs to write back what it holds; held by a whole freeze */
	PLY_GATE_CONTROL, /* never held */
};

enum ply_gate_state {
	PLY_GATE_OPEN,
	PLY_GATE_CHANGES_HELD,
	PLY_GATE_ALL_HELD,
};

/* Who wants a freeze. */
struct ply_gate_owner {
	uint32_t pid;
	int pid_fd; /* taken over; -1: none */
};

struct ply_gate {
	/* Serves a request that was held, in a thread of the gate's own, when it has opened. */
	void (*serve)(void *arg, const void *buf, size_t len);
	void *arg;

	_Atomic int state;	     /* enum ply_gate_state; changed under lock */
	_Atomic unsigned running[2]; /* requests being served, by class */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* running fell, or the state changed */
	struct ply_gate_held *first, **end;
	size_t nheld;
	uint64_t since_us; /* when it was frozen */
	uint64_t freezes;  /* so far */
	uint32_t owner;	   /* the process that froze it last */

	/* The thread that opens it again, see gate.c; all but wake_fd under lock. */
	pthread_t keeper;
	int has_keeper, is_joining, keeper_pid_fd, wake_fd;
	uint32_t limit_ms;
};

int ply_gate_init(struct ply_gate *gate);
/* Opens it, if need be. No request is being served, nor will be. */
void ply_gate_free(struct ply_gate *gate);

/* 1: serve it, then leave; 0: it is held, or (without memory) -ENOMEM. */
int ply_gate_enter(struct ply_gate *gate, enum ply_gate_class class, const void *buf, size_t len);
void ply_gate_leave(struct ply_gate *gate, enum ply_gate_class class);

/*
 * Holds changes from now on, and waits for those under way. It opens by itself after limit_ms, and when the owner
 * ends. -EBUSY: it is frozen already, or wait_ms were not enough, and it is open
 * again.
 */
int ply_gate_freeze(struct ply_gate *gate, uint32_t wait_ms, uint32_t limit_ms,
		    struct ply_gate_owner owner);
/* Of a frozen gate: holds all, and waits. -EBUSY: not in time; -ECANCELED: it was not frozen (any more). */
int ply_gate_freeze_all(struct ply_gate *gate, uint32_t wait_ms);
/*
 * Keeps it from opening by itself while fn works, which finds that all are held, and then opens it. Returns what fn does;
 * -ECANCELED when it was not so. *us is for how long it was frozen.
 */
int ply_gate_run_held(struct ply_gate *gate, int (*fn)(void *arg), void *arg, uint64_t *us);
/* -EINVAL when it was open, or is frozen by another process: 0 says that all were held since this one's freeze. */
int ply_gate_thaw(struct ply_gate *gate, uint32_t pid);
/* Of a gate that may be open, and waiting for nothing. */
void ply_gate_thaw_soon(struct ply_gate *gate);

#endif
