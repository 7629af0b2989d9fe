/* What the files of the wire share: the mount being served, and the request in hand. */
#ifndef PLY_WIRE_SESSION_H
#define PLY_WIRE_SESSION_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>

#include "union/union.h"
#include "wire/gate.h"
#include "wire/loop.h"
#include "wire/proto.h"
#include "wire/wire.h"
#include "wire/writers.h"

struct ply_wire {
	struct ply_wire_config cfg; /* strings are borrowed */
	struct fuse_session *se;
	struct ply_loop *loop;
	int fd; /* of the device; belongs to se */
	uid_t owner;
	uint64_t offered; /* flags of the INIT request */
	int minor;	  /* of the mount's device number; -1: not known */
	int started;	  /* INIT has been answered */
	int signal_fd;

	/* signals.c; only the watchdog's thread starts it */
	pthread_t unmounter;
	int unmounting;
	sem_t over;

	struct ply_gate gate;
	struct ply_writers writers; /* with the writeback cache */
	pthread_mutex_t ctl_lock;   /* see ctl.c */

	_Atomic uint64_t counts[PLY_OP_COUNT];
};

/* What a thread knows about the request that it serves, beyond what libfuse hands on. */
struct ply_task {
	uint32_t flags; /* of WRITE: write_flags; of SETATTR: valid */
	char *room;	/* for the reply's data; overwrites no part of a request without data */
	size_t room_size;
};
extern _Thread_local struct ply_task ply_task;

/* The kernel lets go of these ids only when it has forgotten them; NULL for a stray one. */
static inline struct ply_node *ply_wire_node(const struct ply_wire *w, uint64_t id)
{
	return ply_node_by_id(w->cfg.u, id);
}

static inline struct ply_wire *ply_wire_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* session.c: callbacks of the loop */
ssize_t ply_session_receive(void *arg, void *buf, size_t size);
void ply_session_serve(void *arg, void *buf, size_t len);
/* Ends all requests, also those that wait for other requests. */
void ply_session_abort(struct ply_wire *w);

/* signals.c */
int ply_signals_open(struct ply_wire *w);
void ply_signals_woken(void *arg);
/* Before libfuse unmounts: so that it unmounts nobody else's mount. */
void ply_signals_spare_others(const struct ply_wire *w);
/* Waits for an unmounting that is under way. */
void ply_signals_close(struct ply_wire *w);

#endif
