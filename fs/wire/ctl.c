/*
 * The ioctls of union/ctl.h: what the tools ask of a running server. Each is a function over its structure, which is
 * answered as the function leaves it, with an error as well.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/sysfuse.h"
#include "layer/marks.h"
#include "union/ctl.h"
#include "wire/reply.h"

#define LIMIT_MAX_MS (10 * 60 * 1000)

_Static_assert(PLY_CTL_OPS == PLY_OP_COUNT, "counters");

static void copy_stats(struct ply_ctl_status *s, const struct ply_union_stats *stats)
{
	s->nlayers = stats->layers;
	s->nodes = stats->nodes;
	s->names = stats->names;
	s->node_bytes = stats->node_bytes;
	s->listings = stats->listings;
	s->listing_bytes = stats->listing_bytes;
	s->fds = stats->fds;
	s->unsettled = stats->unsettled;
	s->copyups = stats->copyups;
	s->copyup_bytes = stats->copyup_bytes;
	s->flags |= (stats->metacopy ? PLY_CTL_METACOPY : 0) | (stats->sync ? 0 : PLY_CTL_NOSYNC);
}

static int tell_status(const struct ply_raw *raw, void *data)
{
	struct ply_wire *w = raw->w;
	struct ply_ctl_status *s = data;
	struct ply_union_stats stats;

	*s = (struct ply_ctl_status){ .version = PLY_CTL_VERSION, .pid = (uint32_t)getpid() };
	ply_union_stats(w->cfg.u, &stats);
	copy_stats(s, &stats);
	if (ply_union_readonly(w->cfg.u))
		s->flags |= PLY_CTL_READONLY;
	if (w->cfg.flags & PLY_WIRE_WRITEBACK)
		s->flags |= PLY_CTL_WRITEBACK;
	if (atomic_load(&w->gate.state) != PLY_GATE_OPEN)
		s->flags |= PLY_CTL_FROZEN;
	pthread_mutex_lock(&w->gate.lock);
	s->held = w->gate.nheld;
	pthread_mutex_unlock(&w->gate.lock);
	for (unsigned i = 0; i < PLY_CTL_OPS; i++) {
		const char *name = ply_ops[i].name;

		s->ops[i].count = atomic_load_explicit(&w->counts[i], memory_order_relaxed);
		if (name || s->ops[i].count)
			snprintf(s->ops[i].name, sizeof(s->ops[i].name), "%s",
				 name ? name : "UNKNOWN");
	}
	s->writes = s->ops[FUSE_WRITE].count;
	return 0;
}

static int tell_layer(const struct ply_raw *raw, void *data)
{
	struct ply_ctl_layer *layer = data;
	int res;

	res = ply_layer_path(raw->w->cfg.u, layer->index, layer->path);
	layer->is_data_only = res > 0;
	return res < 0 ? res : 0;
}

/* Each name of a path as it is on disk. */
static int path_to_disk(const char *path, char disk[PATH_MAX])
{
	size_t used = 0;

	while (*path) {
		char name[PLY_NAME_MAX + 1], room[PLY_NAME_MAX + 1];
		size_t len = strcspn(path, "/");
		int n;

		if (len > PLY_NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = '\0';
		path += len + (path[len] == '/');
		n = snprintf(disk + used, PATH_MAX - used, "%s%s", used ? "/" : "",
			     ply_name_to_disk(name, room));
		if (n >= (int)(PATH_MAX - used))
			return -ENAMETOOLONG;
		used += (size_t)n;
	}
	disk[used] = '\0';
	return 0;
}

static int tell_where(const struct ply_raw *raw, void *data)
{
	struct ply_ctl_where *where = data;
	struct ply_where found;
	char path[PATH_MAX];
	int err;

	where->path[sizeof(where->path) - 1] = '\0';
	err = path_to_disk(where->path, path);
	if (err)
		return err;
	ply_loop_hand_over();
	err = ply_where(raw->w->cfg.u, path, where->part, &found);
	where->nparts = found.nparts;
	where->mode = found.mode;
	where->state = found.state;
	where->ino = ply_ino_out(raw->w, found.ino);
	where->kind = found.kind;
	where->layer = found.layer;
	memcpy(where->path, found.path, sizeof(where->path));
	return err;
}

static int tell_work(const struct ply_raw *raw, void *data)
{
	struct ply_ctl_work *work = data;
	int res;

	*work = (struct ply_ctl_work){ 0 };
	res = ply_work_path(raw->w->cfg.u, work->path);
	work->has_index = res > 0;
	return res < 0 ? res : 0;
}

static int flush(const struct ply_raw *raw, void *data)
{
	struct ply_ctl_flush *f = data;
	int err;

	*f->why = '\0';
	ply_loop_hand_over();
	err = ply_flush(raw->w->cfg.u, f->seconds,
			f->all_data ? PLY_FLUSH_ALL_DATA : PLY_FLUSH_MARKS, &f->left);
	if (err)
		snprintf(f->why, sizeof(f->why), "cannot bring data to the upper: %s",
			 strerror(-err));
	return err;
}

/* All that can be done before others have to wait. */
static int ready(const struct ply_raw *raw, void *data)
{
	const struct ply_ctl_ready *r = data;

	ply_loop_hand_over();
	ply_writers_ask(raw->w);
	return ply_rotate_prepare(raw->w->cfg.u,
				  r->keeps_redirects ? PLY_ROTATE_AS_IS : PLY_ROTATE_ALONE);
}

static struct ply_gate_owner owner_of(const struct ply_raw *raw)
{
	pid_t pid = (pid_t)raw->in->pid;
	int fd = pid > 0 ? sys_pidfd_open(pid) : -1;

	return (struct ply_gate_owner){ .pid = (uint32_t)pid, .pid_fd = fd < 0 ? -1 : fd };
}

static int freeze_changes(const struct ply_raw *raw, const struct ply_ctl_freeze *f)
{
	int err = ply_gate_freeze(&raw->w->gate, f->wait_ms, f->limit_ms, owner_of(raw));

	if (!err)
		ply_writers_ask(raw->w);
	return err;
}

static int freeze(const struct ply_raw *raw, void *data)
{
	struct ply_ctl_freeze *f = data;
	int err = -EINVAL;

	if (f->limit_ms > LIMIT_MAX_MS)
		f->limit_ms = LIMIT_MAX_MS;
	ply_loop_hand_over();
	if (f->how == PLY_CTL_FREEZE_CHANGES)
		err = freeze_changes(raw, f);
	else if (f->how == PLY_CTL_FREEZE_ALL)
		err = ply_gate_freeze_all(&raw->w->gate, f->wait_ms);
	return err;
}

static int thaw(const struct ply_raw *raw, void *data)
{
	(void)data;
	return ply_gate_thaw(&raw->w->gate, raw->in->pid);
}

struct rotating {
	struct ply_union *u;
	struct ply_ctl_rotate *how;
};

static int rotate_held(void *arg)
{
	const struct rotating *r = arg;
	struct ply_why why;
	int err = ply_rotate(r->u, r->how->layer,
			     r->how->keeps_redirects ? PLY_ROTATE_AS_IS : PLY_ROTATE_ALONE, &why);

	if (err)
		snprintf(r->how->why, sizeof(r->how->why), "%s", why.text);
	return err;
}

static int rotate(const struct ply_raw *raw, void *data)
{
	struct ply_ctl_rotate *how = data;
	struct rotating r = { .u = raw->w->cfg.u, .how = how };
	int err;

	*how->why = '\0';
	how->layer[sizeof(how->layer) - 1] = '\0';
	ply_loop_hand_over();
	err = ply_gate_run_held(&raw->w->gate, rotate_held, &r, &how->pause_us);
	if (err && !*how->why)
		snprintf(how->why, sizeof(how->why), "the mount is not frozen (any more)");
	return err;
}

struct adding {
	struct ply_union *u;
	struct ply_addition *add;
	struct ply_why *why;
};

static int add_held(void *arg)
{
	const struct adding *a = arg;

	return ply_add(a->u, a->add, a->why);
}

/* Nobody else is in the union for that moment; what the kernel still holds may be written later as well. */
static int add_frozen(const struct ply_raw *raw, struct ply_ctl_add *how, struct adding *a)
{
	struct ply_gate *gate = &raw->w->gate;
	int err = ply_gate_freeze(gate, how->wait_ms, how->wait_ms, owner_of(raw));

	snprintf(a->why->text, sizeof(a->why->text), "the mount is too busy, or frozen");
	if (!err)
		err = ply_gate_freeze_all(gate, how->wait_ms);
	if (!err)
		err = ply_gate_run_held(gate, add_held, a, &how->pause_us);
	/* It has thawed by itself. */
	return err == -ECANCELED ? -EBUSY : err;
}

static int add_in_turn(const struct ply_raw *raw, struct ply_ctl_add *how,
		       struct ply_addition **add)
{
	const struct ply_wire *w = raw->w;
	dev_t own = w->minor < 0 ? (dev_t)how->dev : makedev(0, (unsigned)w->minor);
	struct ply_why why = { "" };
	int err = ply_add_open(w->cfg.u, how->layer, own, add, &why);
	struct adding a = { w->cfg.u, *add, &why };

	if (!err && !how->is_dry_run)
		err = add_frozen(raw, how, &a);
	if (err)
		snprintf(how->why, sizeof(how->why), "%s", why.text);
	return err;
}

/*
 * What is new, to a kernel that keeps all it was told. A name only expires, and is asked for when it is wanted: by now somebody may
 * have found it and, say, mounted something there, which must not fall. (For the same reason all names are not made to
 * expire at once: INC_EPOCH drops what is mounted on any of them.) A name before Linux 6.2 is dropped.
 *
 * The notification of a name waits for the directory's lock, which the kernel holds while it asks us about what is in the directory: so
 * it is sent when all are served again, by a thread that serves nobody. When it has had the lock, whoever was given
 * a part of the old list has put it where it is kept; therefore lists are taken back after names.
 */
static void tell_new(void *arg, uint64_t id, const char *disk)
{
	struct ply_wire *w = arg;
	char room[PLY_NAME_MAX + 1];
	const char *name = ply_name_from_disk(disk, room);

	if (*name)
		ply_notify_expired(w, id, name);
	else
		fuse_lowlevel_notify_inval_inode(w->se, id, 0, 0);
}

static int add(const struct ply_raw *raw, void *data)
{
	struct ply_ctl_add *how = data;
	struct ply_addition *addition;
	struct ply_added added;
	int err;

	*how->why = '\0';
	how->layer[sizeof(how->layer) - 1] = '\0';
	if (how->wait_ms > LIMIT_MAX_MS)
		how->wait_ms = LIMIT_MAX_MS;
	ply_loop_hand_over();
	pthread_mutex_lock(&raw->w->ctl_lock);
	err = add_in_turn(raw, how, &addition);
	pthread_mutex_unlock(&raw->w->ctl_lock);
	if (!err && !how->is_dry_run) {
		ply_add_each_new(addition, tell_new, raw->w);
		added = ply_added(addition);
		how->index = added.layer;
		how->dirs = added.dirs;
	}
	ply_add_free(addition);
	return err;
}

/*
 * The gate lets all of these through, and a rotation finds nobody else in the union: so what looks into it waits for
 * its turn. The others only touch the gate, or exclude a rotation by themselves (flush), or take their turn where they need
 * it (add).
 */
static const struct ctl {
	uint32_t cmd;
	int takes_turns;
	int (*run)(const struct ply_raw *raw, void *data);
} ctls[] = {
	{ PLY_CTL_STATUS, 1, tell_status }, { PLY_CTL_LAYER, 1, tell_layer },
	{ PLY_CTL_WHERE, 1, tell_where },   { PLY_CTL_READY, 1, ready },
	{ PLY_CTL_ROTATE, 1, rotate },	    { PLY_CTL_FLUSH, 0, flush },
	{ PLY_CTL_WORK, 1, tell_work },	    { PLY_CTL_FREEZE, 0, freeze },
	{ PLY_CTL_THAW, 0, thaw },	    { PLY_CTL_ADD, 0, add },
};

static int run(const struct ctl *ctl, const struct ply_raw *raw, void *data)
{
	int err;

	if (!ctl->takes_turns)
		return ctl->run(raw, data);
	pthread_mutex_lock(&raw->w->ctl_lock);
	err = ctl->run(raw, data);
	pthread_mutex_unlock(&raw->w->ctl_lock);
	return err;
}

static const struct ctl *find(const struct ply_raw *raw, const struct fuse_ioctl_in *in)
{
	if (raw->in->nodeid != FUSE_ROOT_ID)
		return NULL;
	for (size_t i = 0; i < sizeof(ctls) / sizeof(ctls[0]); i++)
		if (ctls[i].cmd == in->cmd)
			return &ctls[i];
	return NULL;
}

/* ENOSYS would not be remembered, and ENOTTY is what a terminal's question to a file deserves. */
void ply_raw_ioctl(const struct ply_raw *raw)
{
	const struct fuse_ioctl_in *in = raw->body;
	const struct ctl *ctl = find(raw, in);
	size_t size = in->in_size;
	int err;

	if (!ctl) {
		ply_reply_raw_err(raw, -ENOTTY);
	} else if (raw->in->uid != 0 && raw->in->uid != raw->w->owner) {
		ply_reply_raw_err(raw, -EPERM);
	} else if (raw->len - sizeof(*in) < size || size != _IOC_SIZE(ctl->cmd)) {
		ply_reply_raw_err(raw, -EINVAL);
	} else {
		/*
		 * The room begins behind the headers of a request: what is larger reaches into it, and is not needed where
		 * it was any more.
		 */
		memmove(ply_task.room, in + 1, size);
		err = run(ctl, raw, ply_task.room);
		ply_reply_raw_ioctl(raw, err, ply_task.room, size);
	}
}
