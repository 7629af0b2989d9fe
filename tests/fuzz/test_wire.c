/*
 * Requests as no kernel sends them: the server's session with a socket in the place of the device. Each request gets one
 * answer, of a length that was asked for, and the layer stays as it is.
 *
 * An input is a list of requests: code, node, sender, the length of the body, the body. Small numbers in the place of a node's
 * are those that the server has given out so far. Names may be anything, so root lets go of its rights first.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ids.h"
#include "fuzz.h"
#include "tree.h"
#include "union/ctl.h"
#include "wire/ops.h"

#define BUF_SIZE (PLY_HEADER_ROOM + PLY_MAX_WRITE)
#define REPLY_MAX (PLY_MAX_WRITE + 4096)
#define REQUESTS_MAX 64
#define NODES_MAX 64
#define USER 12345
#define FILE_MAX (8 << 20)

/* With AddressSanitizer only: what is behind a request is not to be looked at. */
extern void __asan_poison_memory_region(void const volatile *at, size_t size) __attribute__((weak));
extern void __asan_unpoison_memory_region(void const volatile *at, size_t size)
	__attribute__((weak));

struct sent {
	uint32_t opcode, size; /* size: the most that may be answered, where that is said */
	int answers;
};

static struct {
	struct ply_union *u;
	struct ply_wire *w;
	struct ply_ids ids;
	int kernel; /* the other end of the socket */
	char *buf, *reply;
	struct sent sent[REQUESTS_MAX];
	unsigned nsent;
	uint64_t nodes[NODES_MAX];
	unsigned nnodes;
} s;

/* ---- answers ---- */

static void learn_node(uint64_t id)
{
	if (id && s.nnodes < NODES_MAX)
		s.nodes[s.nnodes++] = id;
}

static void learn_entries(const char *at, size_t size)
{
	while (size >= sizeof(struct ply_direntplus)) {
		const struct ply_direntplus *e = (const void *)at;
		size_t len = (sizeof(*e) + e->namelen + 7) & ~(size_t)7;

		fuzz_check(len <= size && e->namelen && !memchr(e->name, '/', e->namelen));
		learn_node(e->entry.nodeid);
		at += len;
		size -= len;
	}
	fuzz_check(!size);
}

static int makes_entry(uint32_t opcode)
{
	return opcode == FUSE_LOOKUP || opcode == FUSE_MKNOD || opcode == FUSE_MKDIR ||
	       opcode == FUSE_SYMLINK || opcode == FUSE_LINK || opcode == PLY_OP_TMPFILE;
}

static void check_answer(struct sent *sent, const struct fuse_out_header *out)
{
	size_t size = out->len - sizeof(*out);
	const char *body = (const char *)(out + 1);

	sent->answers++;
	if (getenv("PLY_VERBOSE"))
		printf("%s: %d, %zu bytes\n", ply_ops[sent->opcode % PLY_OP_COUNT].name, out->error,
		       size);
	fuzz_check(out->error <= 0 && out->error > -4096);
	if (out->error == -EFAULT || out->error == -EBADF || out->error == -EINTR)
		fuzz_fail("opcode %u is answered by %d", sent->opcode, out->error);
	if (out->error) {
		fuzz_check(!size);
		return;
	}
	if (sent->size)
		fuzz_check(size <= sent->size);
	if (makes_entry(sent->opcode) && size >= 8)
		learn_node(*(const uint64_t *)body);
	if (sent->opcode == FUSE_READDIRPLUS)
		learn_entries(body, size);
}

static void serve(const void *head, size_t head_size, const void *body, size_t size);

/* The kernel's pages of a file, of which it has none. */
static void answer_retrieve(const struct fuse_out_header *out)
{
	const struct fuse_notify_retrieve_out *r = (const void *)(out + 1);
	struct fuse_in_header in = {
		.len = sizeof(in) + sizeof(struct fuse_notify_retrieve_in),
		.opcode = FUSE_NOTIFY_REPLY,
		.nodeid = r->nodeid,
		.unique = r->notify_unique,
	};
	const struct fuse_notify_retrieve_in none = { .offset = r->offset };

	serve(&in, sizeof(in), &none, sizeof(none));
}

static void take_answers(void)
{
	ssize_t n;

	while ((n = recv(s.kernel, s.reply, REPLY_MAX, MSG_DONTWAIT)) > 0) {
		const struct fuse_out_header *out = (const void *)s.reply;
		char retrieve[sizeof(*out) + sizeof(struct fuse_notify_retrieve_out)];

		fuzz_check((size_t)n >= sizeof(*out) && out->len == (size_t)n);
		if (out->unique >= 2 && out->unique < 2 + s.nsent) {
			check_answer(&s.sent[out->unique - 2], out);
		} else if (!out->unique && out->error == FUSE_NOTIFY_RETRIEVE) {
			memcpy(retrieve, s.reply, sizeof(retrieve));
			answer_retrieve((const void *)retrieve);
		} else {
			/* Other notifications, and the answer to INIT. */
			fuzz_check(out->unique < 2);
		}
	}
}

/* ---- requests ---- */

static void hide(const void *at, size_t size)
{
	if (__asan_poison_memory_region)
		__asan_poison_memory_region(at, size);
}

static void show(const void *at, size_t size)
{
	if (__asan_unpoison_memory_region)
		__asan_unpoison_memory_region(at, size);
}

static void serve(const void *head, size_t head_size, const void *body, size_t size)
{
	size_t len = head_size + size;

	memcpy(s.buf, head, head_size);
	memcpy(s.buf + head_size, body, size);
	/* No string ends there by chance. */
	memset(s.buf + len, 'x', 64);
	if (len < PLY_HEADER_ROOM)
		hide(s.buf + len, PLY_HEADER_ROOM - len);
	ply_session_serve(s.w, s.buf, len);
	show(s.buf, PLY_HEADER_ROOM);
}

/* Small numbers become nodes that the server knows. */
static uint64_t node_of(uint64_t n)
{
	return n && n <= NODES_MAX ? s.nodes[(n - 1) % s.nnodes] : n;
}

static void patch_node(uint8_t *body, size_t size, size_t at)
{
	uint64_t id;

	if (size < at + sizeof(id))
		return;
	memcpy(&id, body + at, sizeof(id));
	id = node_of(id);
	memcpy(body + at, &id, sizeof(id));
}

/* Where a rotation leads to: never out of the test's directory. */
static void patch_ioctl(uint8_t *body, size_t size)
{
	size_t head = sizeof(struct fuse_ioctl_in);
	struct ply_ctl_rotate *rotate = (void *)(body + head);
	uint32_t cmd;

	memcpy(&cmd, body + offsetof(struct fuse_ioctl_in, cmd), sizeof(cmd));
	if (cmd == (uint32_t)PLY_CTL_ROTATE && size >= head + sizeof(rotate->layer))
		strcpy(rotate->layer, tree_path("rotated%u", rotate->layer[0] % 2u));
}

static void patch(uint32_t opcode, uint8_t *body, size_t size)
{
	if (opcode == FUSE_LINK || opcode == FUSE_RENAME || opcode == FUSE_RENAME2)
		patch_node(body, size, 0);
	if (opcode == FUSE_COPY_FILE_RANGE || opcode == PLY_OP_COPY_FILE_RANGE_64)
		patch_node(body, size, offsetof(struct fuse_copy_file_range_in, nodeid_out));
	for (size_t at = 8; opcode == FUSE_BATCH_FORGET && at < size; at += 16)
		patch_node(body, size, at);
	if (opcode == FUSE_IOCTL && size >= sizeof(struct fuse_ioctl_in))
		patch_ioctl(body, size);
}

static uint32_t most_answered(uint32_t opcode, const uint8_t *body, size_t size)
{
	uint32_t most = 0;

	if ((opcode == FUSE_READ || opcode == FUSE_READDIR || opcode == FUSE_READDIRPLUS) &&
	    size >= sizeof(struct fuse_read_in))
		memcpy(&most, body + offsetof(struct fuse_read_in, size), sizeof(most));
	if ((opcode == FUSE_GETXATTR || opcode == FUSE_LISTXATTR) &&
	    size >= sizeof(struct fuse_getxattr_in))
		memcpy(&most, body, sizeof(most));
	return most;
}

/* What is followed by room for its answer may be a whole structure. */
static void send_request(struct fuzz_in *in)
{
	static const uint32_t users[] = { USER, 0, 1000 };
	struct fuse_in_header head = { .opcode = (uint32_t)fuzz_number(in, 1), .pid = 1 };
	size_t size;
	const uint8_t *data;
	uint8_t *body;

	/* One that answers no question of ours is lost in libfuse, with its memory. */
	if (head.opcode == FUSE_NOTIFY_REPLY)
		head.opcode = FUSE_LSEEK;
	head.unique = 2 + s.nsent;
	head.nodeid = node_of(fuzz_number(in, 1));
	head.uid = users[fuzz_pick(in, 3)];
	head.gid = head.uid;
	data = fuzz_bytes(in, (size_t)fuzz_number(in, 2), &size);
	head.len = (uint32_t)(sizeof(head) + size);
	body = malloc(size + sizeof(struct ply_ctl_rotate));
	fuzz_check(body);
	memcpy(body, data, size);
	/* An ioctl by its number alone: it gets a structure of its size. */
	if (head.opcode == FUSE_IOCTL && size >= sizeof(struct fuse_ioctl_in)) {
		uint32_t cmd;

		memcpy(&cmd, body + offsetof(struct fuse_ioctl_in, cmd), sizeof(cmd));
		memset(body + size, 1, sizeof(struct ply_ctl_rotate));
		if (_IOC_SIZE(cmd) <= sizeof(struct ply_ctl_rotate) && body[0] == 'w')
			size = sizeof(struct fuse_ioctl_in) + _IOC_SIZE(cmd);
	}
	patch(head.opcode, body, size);
	s.sent[s.nsent++] = (struct sent){ .opcode = head.opcode,
					   .size = most_answered(head.opcode, body, size) };
	serve(&head, sizeof(head), body, size);
	free(body);
	take_answers();
}

/* ---- a server ---- */

static void make_bed(void)
{
	static int is_made;

	if (is_made++)
		return;
	tree_make_dir(tree_path("l"));
	tree_make_dir(tree_path("l/d"));
	tree_make_file(tree_path("l/f"), "lower", 5);
	tree_make_file(tree_path("l/d/g"), "in a directory", 14);
	fuzz_check(!link(tree_path("l/f"), tree_path("l/d/link")));
	fuzz_check(!symlink("../../outside", tree_path("l/s")));
	tree_make_file(tree_path("outside"), "outside", 7);
}

static void open_union(void)
{
	const char *lowers[] = { tree_path("l") };
	struct ply_union_config cfg = {
		.lowers = lowers,
		.nlowers = 1,
		.upper = tree_path("u"),
		.work = tree_path("w"),
	};
	struct ply_why why;

	tree_make_dir(cfg.upper);
	tree_make_dir(cfg.work);
	if (ply_union_open(&cfg, &s.u, &why))
		fuzz_fail("%s", why.text);
}

/* The first byte is how much of the request is there, and which protocol it is of. */
static void send_init(struct fuzz_in *in)
{
	struct {
		struct fuse_in_header head;
		struct fuse_init_in init;
	} request = {
		.head = { .opcode = FUSE_INIT, .unique = 1 },
		.init = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION },
	};
	size_t sizes[] = { sizeof(request), sizeof(request.head) + 16, sizeof(request.head) + 8,
			   sizeof(request.head) };
	unsigned kind = fuzz_pick(in, 16);

	if (kind >= 4)
		request.init.minor = (uint32_t)(kind * 3);
	request.init.flags = (uint32_t)fuzz_number(in, 4);
	request.init.flags2 = (uint32_t)fuzz_number(in, 1);
	request.head.len = (uint32_t)sizes[kind % 4];
	fuzz_check(send(s.kernel, &request, sizes[kind % 4], 0) == (ssize_t)sizes[kind % 4]);
	fuzz_check(!shutdown(s.kernel, SHUT_WR));
}

static int open_session(struct fuzz_in *in)
{
	int ends[2], room = 4 << 20;
	char device[32];
	struct ply_wire_config cfg = {
		.u = s.u,
		.ids = &s.ids,
		.mountpoint = device,
		.mount_options = "default_permissions",
		.timeout = 1e9,
		.flags = PLY_WIRE_SYNC | PLY_WIRE_XATTR | PLY_WIRE_ACL | PLY_WIRE_WRITEBACK,
		.stats_fd = -1,
	};

	fuzz_check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	s.kernel = ends[1];
	snprintf(device, sizeof(device), "/dev/fd/%d", ends[0]);
	fuzz_check(!ply_wire_open(&cfg, &s.w));
	send_init(in);
	return ply_wire_start(s.w);
}

static void thaw(void)
{
	/* Whoever it was that froze it. */
	ply_gate_thaw_soon(&s.w->gate);
	while (atomic_load(&s.w->gate.state) != PLY_GATE_OPEN)
		usleep(100);
}

/* All were answered once; what wants no answer got none. */
static void check_answers(void)
{
	for (unsigned i = 0; i < s.nsent; i++) {
		uint32_t code = s.sent[i].opcode;
		int wanted = code != FUSE_FORGET && code != FUSE_BATCH_FORGET;

		if (s.sent[i].answers != wanted)
			fuzz_fail("request %u, opcode %u, has %d answers", i, code,
				  s.sent[i].answers);
	}
}

static void serve_all(struct fuzz_in *in)
{
	s.nsent = 0;
	s.nodes[0] = FUSE_ROOT_ID;
	s.nnodes = 1;
	take_answers();
	while (fuzz_left(in) && s.nsent < REQUESTS_MAX)
		send_request(in);
	thaw();
	/* The gate's threads end with it, when they have served what was held. */
	ply_gate_free(&s.w->gate);
	fuzz_check(!ply_gate_init(&s.w->gate));
	take_answers();
	check_answers();
}

static void try(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, data + size };
	unsigned long before;

	make_bed();
	before = tree_sum(tree_path("l"));
	open_union();
	if (!open_session(&in))
		serve_all(&in);
	ply_wire_close(s.w);
	ply_union_close(s.u);
	close(s.kernel);
	fuzz_check(tree_sum(tree_path("l")) == before);
	tree_empty(tree_path("u"));
	tree_empty(tree_path("w"));
	for (int i = 0; i < 2; i++) {
		tree_empty(tree_path("rotated%d", i));
		rmdir(tree_path("rotated%d", i));
	}
}

static void be_a_user(void)
{
	if (geteuid() != 0)
		return;
	fuzz_check(!chown(tree_top(), USER, USER) && !setegid(USER) && !seteuid(USER));
}

static void be_root(void)
{
	if (getuid() != 0)
		return;
	/* Else a sanitizer could not look for leaks. */
	fuzz_check(!seteuid(0) && !setegid(0) && !prctl(PR_SET_DUMPABLE, 1));
}

static const char *const words[] = {
	"f",
	"d",
	"g",
	"s",
	"new",
	"..",
	"/",
	"user.a",
	"security.capability",
	"system.posix_acl_access",
	"user.overlay.opaque",
	".wh.f",
	".wh..wh..opq",
	NULL,
};

int main(int argc, char *argv[])
{
	static const struct fuzz_target targets[] = {
		{ .name = "wire",
		  .try = try,
		  .begin = be_a_user,
		  .end = be_root,
		  .words = words,
		  .max = 16384,
		  .rounds = 1500 },
		{ 0 },
	};
	const struct rlimit limit = { FILE_MAX, FILE_MAX };

	s.buf = aligned_alloc(PLY_HEADER_ROOM, BUF_SIZE);
	s.reply = malloc(REPLY_MAX);
	ply_ids_init(&s.ids);
	/* No request may fill the disk. */
	signal(SIGXFSZ, SIG_IGN);
	if (!s.buf || !s.reply || setrlimit(RLIMIT_FSIZE, &limit))
		return 1;
	return fuzz_main(argc, argv, targets);
}
