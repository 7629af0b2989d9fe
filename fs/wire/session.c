/*
 * The session: mounting through libfuse, the first request, and each request's way to its handler.
 *
 * Replies leave through our own writev, for that of INIT is to be changed on its way. Requests that
 * this libfuse may not know are answered here without it. No locks: what is shared is atomic or set
 * before the loop starts.
 */
#include "wire/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "wire/init.h"
#include "wire/ops.h"
#include "wire/reply.h"
#include "base/sysfuse.h"

#define BUF_SIZE (PLY_HEADER_ROOM + PLY_MAX_WRITE)
#define READ_AHEAD_KB "1024"

_Thread_local struct ply_task ply_task;

/* ---- libfuse's ways to the device and to the log ---- */

static ssize_t as_libc(ssize_t n)
{
	if (n >= 0)
		return n;
	errno = (int)-n;
	return -1;
}

static ssize_t io_read(int fd, void *buf, size_t size, void *arg)
{
	(void)arg;
	return as_libc(sys_read(fd, buf, size));
}

static unsigned init_wishes(const struct ply_wire_config *cfg)
{
	unsigned wishes = 0;

	if (cfg->flags & PLY_WIRE_WRITEBACK)
		wishes |= PLY_INIT_WRITEBACK;
	if (cfg->flags & PLY_WIRE_ACL)
		wishes |= PLY_INIT_ACL;
	if (cfg->flags & PLY_WIRE_RECHECK)
		wishes |= PLY_INIT_RECHECK;
	if (!ply_union_readonly(cfg->u))
		wishes |= PLY_INIT_WRITABLE;
	return wishes;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *arg)
{
	struct ply_wire *w = arg;
	const struct fuse_out_header *head = iov[0].iov_base;
	struct fuse_init_out *init;

	if (!w->started && count == 2 && !head->error && iov[1].iov_len == sizeof(*init)) {
		init = iov[1].iov_base;
		ply_init_choose(init, w->offered, init_wishes(&w->cfg));
		ply_debug("protocol %u.%u, flags %#x %#x", init->major, init->minor, init->flags,
			  init->flags2);
		w->started = 1;
	}
	return as_libc(sys_writev(fd, iov, count));
}

static const struct fuse_custom_io custom_io = {
	.read = io_read,
	.writev = io_writev,
};

static void log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[1024];
	const char *start = text;
	size_t len;

	vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text);
	if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	if (!strncmp(text, "fuse: ", 6))
		start += 6;
	if (level <= FUSE_LOG_ERR)
		ply_error("%s", start);
	else
		ply_debug("%s", start);
}

/* ---- requests ---- */

ssize_t ply_session_receive(void *arg, void *buf, size_t size)
{
	struct ply_wire *w = arg;
	ssize_t n = sys_read(w->fd, buf, size);

	if (n >= (ssize_t)sizeof(struct fuse_in_header) || n == -EINTR || n == -EAGAIN)
		return n;
	/* Taken back before it was read. */
	if (n == -ENOENT)
		return -EINTR;
	/* The end; the latter when a request was just being handed out. */
	if (n != -ENODEV && n != -ECONNABORTED)
		ply_error("cannot read from the fuse device: %s", strerror(n < 0 ? (int)-n : EIO));
	return 0;
}

/* libfuse keeps others out of a mount with allow_root, where it sees the request. */
static int is_stranger(const struct ply_wire *w, const struct fuse_in_header *in)
{
	return (w->cfg.flags & PLY_WIRE_ALLOW_ROOT) && in->uid != w->owner && in->uid != 0;
}

static void serve_raw(struct ply_wire *w, const struct ply_op *op, const void *buf, size_t len)
{
	struct ply_raw raw = {
		.w = w,
		.in = buf,
		.body = (const char *)buf + sizeof(struct fuse_in_header),
		.len = len - sizeof(struct fuse_in_header),
	};

	if (is_stranger(w, raw.in))
		ply_reply_raw_err(&raw, -EACCES);
	else
		op->raw(&raw);
}

/* Flags that libfuse has no name for yet. */
static uint32_t task_flags(const struct fuse_in_header *in)
{
	const void *body = in + 1;

	if (in->opcode == FUSE_WRITE)
		return ((const struct fuse_write_in *)body)->write_flags;
	if (in->opcode == FUSE_SETATTR)
		return ((const struct fuse_setattr_in *)body)->valid;
	return 0;
}

/*
 * What the kernel's writeback sends for itself, and truncation, behind which writeback waits in the kernel: the
 * flush before a snapshot would wait for ever.
 */
#define FLUSH_SETS                                                                                 \
	(FATTR_SIZE | FATTR_MTIME | FATTR_CTIME | FATTR_FH | FATTR_LOCKOWNER | FATTR_KILL_SUIDGID)

static enum ply_gate_class class_of(const struct fuse_in_header *in, unsigned code)
{
	const struct fuse_setattr_in *set = (const void *)(in + 1);

	if (code == FUSE_SETATTR && !(set->valid & ~(uint32_t)FLUSH_SETS))
		return PLY_GATE_FLUSH;
	return ply_ops[code].class;
}

static void serve(struct ply_wire *w, void *buf, size_t len, unsigned code)
{
	const struct fuse_in_header *in = buf;
	struct fuse_buf request = { .size = len, .mem = buf };

	atomic_fetch_add_explicit(&w->counts[code], 1, memory_order_relaxed);
	ply_task.flags = task_flags(in);
	ply_task.room = (char *)buf + PLY_HEADER_ROOM;
	ply_task.room_size = PLY_MAX_WRITE;
	if (ply_ops[code].raw)
		serve_raw(w, &ply_ops[code], buf, len);
	else
		fuse_session_process_buf(w->se, &request);
}

static void refuse(struct ply_wire *w, const struct fuse_in_header *in, int err)
{
	const struct ply_raw raw = { .w = w, .in = in };

	if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET &&
	    in->opcode != FUSE_NOTIFY_REPLY)
		ply_reply_raw_err(&raw, err);
}

void ply_session_serve(void *arg, void *buf, size_t len)
{
	struct ply_wire *w = arg;
	const struct fuse_in_header *in = buf;
	unsigned code = in->opcode < PLY_OP_COUNT ? in->opcode : 0;
	enum ply_gate_class class;
	int entered;

	if (!ply_op_is_whole(in, len - sizeof(*in))) {
		refuse(w, in, -EINVAL);
		return;
	}
	class = class_of(in, code);
	entered = ply_gate_enter(&w->gate, class, buf, len);
	if (entered > 0) {
		serve(w, buf, len, code);
		ply_gate_leave(&w->gate, class);
	} else if (entered < 0) {
		/* Without memory to hold it back there is only to refuse it. */
		refuse(w, in, entered);
	}
}

/* A request that was held back, in a thread that is none of the loop's. */
static void serve_held(void *arg, const void *request, size_t len)
{
	struct ply_wire *w = arg;
	char *buf = aligned_alloc(PLY_HEADER_ROOM, BUF_SIZE);

	if (buf) {
		memcpy(buf, request, len);
		ply_session_serve(w, buf, len);
	} else {
		refuse(w, request, -ENOMEM);
	}
	free(buf);
}

void ply_wire_before_long(void *unused)
{
	(void)unused;
	ply_loop_hand_over();
}

/* ---- beginning and end ---- */

/* The mount's own read-ahead is not to be had by INIT, which can only lower it. */
static void raise_read_ahead(const struct ply_wire *w)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/bdi/0:%d/read_ahead_kb", w->minor);
	fd = sys_open(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	sys_write(fd, READ_AHEAD_KB, strlen(READ_AHEAD_KB));
	sys_close(fd);
}

static void find_device(struct ply_wire *w)
{
	unsigned major, minor;

	if (!w->cfg.mountpoint || sys_mounted_device(w->cfg.mountpoint, &major, &minor) || major)
		return;
	w->minor = (int)minor;
	if (geteuid() == 0)
		raise_read_ahead(w);
}

void ply_session_abort(struct ply_wire *w)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%d/abort", w->minor);
	fd = w->minor < 0 ? -ENOENT : sys_open(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
	if (fd >= 0) {
		sys_write(fd, "1", 1);
		sys_close(fd);
	}
	ply_loop_stop(w->loop);
}

int ply_wire_start(struct ply_wire *w)
{
	char *buf = aligned_alloc(PLY_HEADER_ROOM, BUF_SIZE);
	ssize_t n = buf ? -EINTR : -ENOMEM;

	while (!w->started && (n > 0 || n == -EINTR || n == -EAGAIN)) {
		const struct fuse_in_header *in = (const void *)buf;

		n = ply_session_receive(w, buf, BUF_SIZE);
		if (n <= 0)
			continue;
		if (in->opcode == FUSE_INIT)
			w->offered =
				ply_init_offered((const void *)(in + 1), (size_t)n - sizeof(*in));
		ply_session_serve(w, buf, (size_t)n);
	}
	free(buf);
	if (!w->started) {
		ply_error("the kernel does not talk to us");
		return -EPROTO;
	}
	find_device(w);
	return 0;
}

static int new_session(struct ply_wire *w)
{
	char *argv[] = { (char[]){ "plyfs" }, (char[]){ "-o" }, NULL, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_lowlevel_ops ops = ply_ops_for(&w->cfg);

	fuse_set_log_func(log_libfuse);
	argv[2] = strdup(w->cfg.mount_options);
	if (!argv[2])
		return -ENOMEM;
	w->se = fuse_session_new(&args, &ops, sizeof(ops), w);
	fuse_opt_free_args(&args);
	free(argv[2]);
	return w->se ? 0 : -EINVAL;
}

/*
 * With auto_unmount fusermount3 waits for the end of a socket that the server holds, and then unmounts what does not
 * answer. When the server dies the kernel gives its descriptors back from the highest on: so the device must be above
 * the socket, which libfuse opened with it, or it would still answer.
 */
static int close_first(int fd)
{
	int above = sys_dup_above(fd);

	if (above < 0)
		return fd;
	sys_close(fd);
	return above;
}

static int mount_session(struct ply_wire *w)
{
	int err;

	if (fuse_session_mount(w->se, w->cfg.mountpoint) < 0) {
		ply_error("cannot mount on '%s'", w->cfg.mountpoint);
		return -EIO;
	}
	w->fd = close_first(fuse_session_fd(w->se));
	err = fuse_session_custom_io(w->se, &custom_io, w->fd);
	if (err)
		ply_error("cannot use the fuse device: %s", strerror(-err));
	return err;
}

int ply_wire_open(const struct ply_wire_config *cfg, struct ply_wire **out)
{
	struct ply_wire *w = calloc(1, sizeof(*w));
	struct ply_loop_config loop = {
		.receive = ply_session_receive,
		.serve = ply_session_serve,
		.woken = ply_signals_woken,
		.arg = w,
		.buf_size = BUF_SIZE,
	};
	int err;

	if (!w)
		return -ENOMEM;
	w->cfg = *cfg;
	w->owner = getuid();
	w->minor = -1;
	w->gate.serve = serve_held;
	w->gate.arg = w;
	sem_init(&w->over, 0, 0);
	pthread_mutex_init(&w->ctl_lock, NULL);
	ply_writers_init(&w->writers);
	w->signal_fd = -1;
	err = ply_gate_init(&w->gate);
	if (err) {
		ply_writers_free(&w->writers);
		free(w);
		return err;
	}
	err = ply_signals_open(w);
	loop.wake_fd = w->signal_fd;
	if (!err)
		err = ply_loop_new(&loop, &w->loop);
	if (!err)
		err = new_session(w);
	if (!err)
		err = mount_session(w);
	if (err) {
		ply_wire_close(w);
		return err;
	}
	*out = w;
	return 0;
}

int ply_wire_run(struct ply_wire *w)
{
	int err = ply_loop_run(w->loop);

	if (err)
		ply_error("cannot start a thread: %s", strerror(-err));
	sem_post(&w->over);
	return err;
}

void ply_wire_to_background(struct ply_wire *w)
{
	w->cfg.flags &= ~PLY_WIRE_FOREGROUND;
	ply_log_to_syslog("plyfs");
}

/* The device goes first: an umount under way waits for a server until it is closed. */
void ply_wire_close(struct ply_wire *w)
{
	if (!w)
		return;
	ply_gate_free(&w->gate);
	ply_writers_free(&w->writers);
	if (w->se) {
		ply_signals_spare_others(w);
		fuse_session_unmount(w->se);
		fuse_session_destroy(w->se);
	}
	ply_signals_close(w);
	ply_loop_free(w->loop);
	sem_destroy(&w->over);
	pthread_mutex_destroy(&w->ctl_lock);
	free(w);
}
