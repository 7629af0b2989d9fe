/*
 * Who reads the next request: one thread leads, it reads and serves. Before something long, or when
 * it has been in one request for over a millisecond, another thread takes the lead; so a lone
 * client is served by one thread without any wake-up, and a slow request keeps nobody waiting.
 *
 * The loop knows no protocol: what is read, and what serving means, are callbacks.
 */
#ifndef PLY_WIRE_LOOP_H
#define PLY_WIRE_LOOP_H

#include <stddef.h>
#include <sys/types.h>

#define PLY_LOOP_MAX_THREADS 64

struct ply_loop;

struct ply_loop_config {
	/*
	 * Waits for a request and reads it into buf: its size; 0 when there will never be one
	 * again; -EINTR or -EAGAIN to be called again. Only the leading thread is in here.
	 */
	ssize_t (*receive)(void *arg, void *buf, size_t size);
	/* Serves it. What buf holds behind the request may be overwritten. */
	void (*serve)(void *arg, void *buf, size_t len);
	/* Called from ply_loop_run's own thread when wake_fd (-1: none) is readable. */
	void (*woken)(void *arg);
	int wake_fd;
	void *arg;
	size_t buf_size;
	unsigned max_threads; /* at most PLY_LOOP_MAX_THREADS; 0: that many */
};

int ply_loop_new(const struct ply_loop_config *cfg, struct ply_loop **out);
/*
 * Returns when receive has said 0 or after ply_loop_stop, with no thread left. The caller's thread
 * is the watchdog.
 */
int ply_loop_run(struct ply_loop *loop);
/* From any thread: the requests that are being served are finished, no more are read. */
void ply_loop_stop(struct ply_loop *loop);
void ply_loop_free(struct ply_loop *loop);

/*
 * Within serve: lets another thread lead from here on. Nothing happens in any other thread, or when
 * no thread is to be had; the watchdog will try again then.
 */
void ply_loop_hand_over(void);

/*
 * Within serve: runs what may wait for other requests to be served: here when another thread leads,
 * else in the first thread that becomes free. -EAGAIN when that would be never.
 */
int ply_loop_aside(void (*run)(void *arg), void *arg);

#endif
