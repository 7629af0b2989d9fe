/*
 * A sequence: fresh systems over the stack, the steps in lock-step, whole trees compared now and then, remounts, and what
 * is left on disk at the end. The system under test always goes first, since it may refuse a step for all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plydiff.h"

/* A pause makes all times old enough for a change to show. */
enum { LEARN_EVERY = 6, PAUSE = 30000 };

struct run {
	const struct pd_stack *stack;
	struct pd_failure *failure;
	char *dir;
	struct pd_sys sys[PD_SYSTEMS]; /* [0] is tested, the last one is plain */
	int count;
	bool swapped; /* the tested system works on an upper that the kernel wrote, holes filled */
	struct pd_outcome outcome[PD_SYSTEMS];
};

static struct pd_sys *plain_of(struct run *r)
{
	return &r->sys[r->count - 1];
}

/* The kernel's overlayfs between them, if it takes part. */
static struct pd_sys *judge_of(struct run *r)
{
	return r->count == PD_SYSTEMS ? &r->sys[1] : NULL;
}

static void fail_with(struct run *r, const char *op, const char *label, struct pd_text *story)
{
	pd_fail(r->failure, op, label, pd_str(story));
	pd_free(story);
}

/* ---- making the systems ---- */

static void must(int rc, const char *what, const char *path)
{
	if (rc < 0)
		pd_die("%s %s: %s", what, path, strerror(rc == -1 ? errno : -rc));
}

static void copy_into(const struct run *r, const char *from, const char *dir, const char *name)
{
	char *source = pd_format("%s/%s", r->stack->dir, from);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(fd, "open", dir);
	must(pd_copy_tree(AT_FDCWD, source, fd, name, PD_COPY_RAW), "copy to", dir);
	close(fd);
	free(source);
}

/* The first one that is added is the one under test. */
static void add_union(struct run *r, enum pd_kind kind, const char *options)
{
	const char *slash = strrchr(pd_opt.mounter, '/');
	const char *program = slash ? slash + 1 : pd_opt.mounter;
	const char *name = kind == PD_OVERLAY ? "overlay" : program;
	char *dir = pd_format("%s/%d", r->dir, r->count);

	must(mkdir(dir, 0755), "mkdir", dir);
	copy_into(r, "first", dir, "upper");
	r->sys[r->count] = (struct pd_sys){
		.kind = kind,
		.tested = r->count == 0,
		.hard_links = r->stack->options.hard_links || pd_opt.stack,
		.name = name,
		.program = pd_opt.mounter,
		.options = options,
		.root = pd_format("%s/mnt", dir),
		.upper = pd_format("%s/upper", dir),
		.work = pd_format("%s/work", dir),
		.rootfd = -1,
	};
	must(mkdir(r->sys[r->count].root, 0755), "mkdir", dir);
	must(mkdir(r->sys[r->count].work, 0755), "mkdir", dir);
	r->count++;
	free(dir);
}

static void add_plain(struct run *r)
{
	copy_into(r, "model", r->dir, "plain");
	r->sys[r->count++] = (struct pd_sys){
		.kind = PD_PLAIN,
		.name = "plain",
		.root = pd_format("%s/plain", r->dir),
		.rootfd = -1,
	};
}

/* Marks that the kernel does not know, or shows, leave it no part in the matter. */
static bool kernel_can_read(const struct pd_stack *stack)
{
	return !stack->options.stray_marks && !stack->options.aufs_marks;
}

/* It lists directories with xattr whiteouts as it should, but takes them for not empty in rmdir. */
static bool kernel_can_judge(const struct pd_stack *stack)
{
	return kernel_can_read(stack) && !stack->options.xattr_marks;
}

static void make_systems(struct run *r)
{
	bool is_kernel = strcmp(pd_opt.mounter, "overlay") == 0;

	r->dir = pd_format("%s/run", r->stack->dir);
	int err = pd_remove_tree(AT_FDCWD, r->dir);

	if (err != -ENOENT)
		must(err, "remove", r->dir);
	must(mkdir(r->dir, 0755), "mkdir", r->dir);
	if (is_kernel) {
		add_union(r, PD_OVERLAY, pd_opt.overlay_options);
	} else {
		add_union(r, PD_PROGRAM, pd_opt.mount_options);
		if (pd_opt.judge && kernel_can_judge(r->stack))
			add_union(r, PD_OVERLAY, pd_opt.overlay_options);
	}
	add_plain(r);
	for (int i = 0; i < r->count; i++) {
		struct pd_text why = { 0 };

		if (!r->failure->failed && pd_sys_mount(&r->sys[i], r->stack, &why) != 0)
			fail_with(r, r->sys[i].name, "mount", &why);
	}
}

static void drop_systems(struct run *r)
{
	for (int i = 0; i < r->count; i++) {
		if (r->sys[i].rootfd >= 0 || r->sys[i].server)
			pd_sys_abort(&r->sys[i]);
		pd_inos_forget(&r->sys[i].inos);
		pd_outcome_free(&r->outcome[i]);
		free(r->sys[i].root);
		free(r->sys[i].upper);
		free(r->sys[i].work);
	}
	pd_remove_tree(AT_FDCWD, r->dir);
	free(r->dir);
}

/* ---- whole trees ---- */

/* The kind of a failed comparison is its first label. */
static void fail_tree(struct run *r, const char *moment, const struct pd_sys *sys,
		      struct pd_text *lines)
{
	char label[32] = "";
	struct pd_text story = { 0 };

	sscanf(pd_str(lines), "%31s", label);
	pd_add(&story, "%s, tree of %s against plain:\n%s", moment, sys->name, pd_str(lines));
	fail_with(r, "tree", label, &story);
	pd_free(lines);
}

/* What a judge's times moved of, as is known of it, gets the right ones, so that it stays comparable. */
static void mend_times(const struct pd_sys *sys, const struct pd_tree *plain,
		       const struct pd_tree *got)
{
	for (size_t i = 0; i < plain->count && plain->count == got->count; i++) {
		const struct pd_ent *a = &plain->ent[i], *b = &got->ent[i];
		struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
					     { .tv_sec = a->st.stx_mtime.tv_sec,
					       .tv_nsec = a->st.stx_mtime.tv_nsec } };

		if (pd_is_clock(a->st.stx_mtime) || !pd_is_clock(b->st.stx_mtime))
			continue;
		utimensat(sys->rootfd, *a->path ? a->path : ".", times, AT_SYMLINK_NOFOLLOW);
	}
}

static void check_trees(struct run *r, const char *moment)
{
	unsigned flags = r->swapped ? PD_DIFFER_NO_BLOCKS : 0;
	struct pd_tree plain, got;

	pd_tree_collect(&plain, plain_of(r)->rootfd, PD_TREE_IDENTITY);
	for (int i = 0; i < r->count - 1 && !r->failure->failed; i++) {
		struct pd_sys *sys = &r->sys[i];
		struct pd_text lines = { 0 };

		pd_guard_beat();
		pd_tree_collect(&got, sys->rootfd, 0);
		size_t bad = pd_tree_differ(&plain, &got, flags, sys, &lines);

		if (sys->tested) {
			bad += pd_tree_check_self(&got, sys, &lines);
			bad += pd_inos_check(&sys->inos, &plain, &got, sys, &lines);
		}
		if (bad)
			fail_tree(r, moment, sys, &lines);
		else if (sys->kind == PD_OVERLAY)
			mend_times(sys, &plain, &got);
		pd_free(&lines);
		pd_tree_free(&got);
	}
	pd_tree_free(&plain);
}

/* What was written must be there after the server is gone; the layers below must be as they were. */
static void check_layers(struct run *r)
{
	char *low = pd_format("%s/low", r->stack->dir);
	int fd = open(low, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct pd_text lines = { 0 };
	struct pd_tree now;

	must(fd, "open", low);
	pd_tree_collect(&now, fd, 0);
	if (pd_tree_differ(r->stack->print, &now, PD_DIFFER_LAYER, NULL, &lines)) {
		struct pd_text story = { 0 };

		pd_add(&story, "a lower layer was changed:\n%s", pd_str(&lines));
		fail_with(r, "layers", "changed", &story);
	}
	pd_free(&lines);
	pd_tree_free(&now);
	close(fd);
	free(low);
}

/* The upper that the tested system leaves, read by the kernel, is the same tree. */
static void check_reader(struct run *r, const struct pd_tree *plain)
{
	static const struct pd_sys reader = { .kind = PD_OVERLAY, .name = "reader" };
	char *where = pd_format("%s/reader", r->dir);
	struct pd_text lines = { 0 };
	struct pd_tree got;

	must(mkdir(where, 0755), "mkdir", where);
	if (pd_reader_mount(&r->sys[0], r->stack, pd_opt.reader_options, where, &lines) != 0) {
		fail_with(r, "reader", "mount", &lines);
		free(where);
		return;
	}
	int fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	pd_tree_collect(&got, fd, 0);
	if (pd_tree_differ(plain, &got, PD_DIFFER_NO_BLOCKS, &reader, &lines))
		fail_tree(r, "read by the kernel after a clean unmount", &reader, &lines);
	pd_free(&lines);
	pd_tree_free(&got);
	close(fd);
	pd_clean_mounts(where);
	free(where);
}

/* ---- steps of the run itself ---- */

static void swap_uppers(struct pd_sys *a, struct pd_sys *b)
{
	char *upper = a->upper, *work = a->work;
	unsigned former = a->former;

	a->upper = b->upper;
	a->work = b->work;
	b->upper = upper;
	b->work = work;
	a->former = b->former;
	b->former = former;
	/* New objects are other inodes in the other's upper. */
	pd_inos_forget(&a->inos);
}

static void unmount_unions(struct run *r)
{
	struct pd_text why = { 0 };

	for (int i = 0; i < r->count; i++)
		pd_sys_close_slots(&r->sys[i]);
	for (int i = 0; i < r->count - 1 && !r->failure->failed; i++) {
		if (pd_sys_unmount(&r->sys[i], &why) != 0)
			fail_with(r, r->sys[i].name, "umount", &why);
	}
}

static void mount_unions(struct run *r)
{
	struct pd_text why = { 0 };

	for (int i = 0; i < r->count - 1 && !r->failure->failed; i++) {
		if (pd_sys_mount(&r->sys[i], r->stack, &why) != 0)
			fail_with(r, r->sys[i].name, "mount", &why);
	}
}

enum remount_flags {
	CALM = 1, /* the tree is read before, so that nothing is dirty, and must be the very same after */
	SWAP = 2,  /* the tested system and the judge change uppers */
	STACK = 4, /* the uppers become layers */
};

static void remove_links(struct run *r)
{
	struct pd_tree plain;

	pd_tree_collect(&plain, plain_of(r)->rootfd, 0);
	for (int i = 0; i < r->count; i++)
		pd_links_remove(&plain, r->sys[i].rootfd);
	pd_tree_free(&plain);
}

/* What is done to the directories while nothing is mounted. */
static void rearrange(struct run *r, unsigned flags)
{
	r->swapped |= (flags & SWAP) != 0;
	if (r->failure->failed)
		return;
	if (flags & SWAP)
		swap_uppers(&r->sys[0], judge_of(r));
	for (int i = 0; flags & STACK && i < r->count - 1; i++)
		pd_sys_stack(&r->sys[i]);
}

static void remount(struct run *r, unsigned flags)
{
	bool calm = flags & CALM;
	struct pd_tree before = { 0 }, after;
	struct pd_text lines = { 0 };

	if (!judge_of(r))
		flags &= ~(unsigned)SWAP;
	if (flags & STACK)
		remove_links(r);
	if (flags & (SWAP | STACK))
		check_trees(r, "before uppers are swapped or stacked");
	if (calm)
		pd_tree_collect(&before, r->sys[0].rootfd, 0);
	unmount_unions(r);
	rearrange(r, flags);
	mount_unions(r);
	if (!r->failure->failed && calm && !(flags & SWAP)) {
		pd_tree_collect(&after, r->sys[0].rootfd, 0);
		if (pd_tree_differ(&before, &after, PD_DIFFER_SELF, &r->sys[0], &lines))
			fail_tree(r, "after a remount against before", &r->sys[0], &lines);
		pd_tree_free(&after);
	}
	pd_free(&lines);
	pd_tree_free(&before);
	if (!r->failure->failed)
		check_trees(r, "after a remount");
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "2", 1) != 1)
		fprintf(stderr, "plydiff: drop_caches: %s\n", strerror(errno));
	close(fd);
}

static void do_meta(struct run *r, const struct pd_step *step)
{
	if (strcmp(step->op->name, "check") == 0)
		check_trees(r, "check");
	else if (strcmp(step->op->name, "drop_caches") == 0)
		drop_caches();
	else if (strcmp(step->op->name, "pause") == 0)
		usleep(PAUSE);
	else
		remount(r, (step->n[0] ? CALM : 0) | (step->n[1] && pd_opt.swap ? SWAP : 0) |
				   (!step->n[0] && pd_opt.stack ? STACK : 0));
}

/* ---- steps on all systems ---- */

static bool is_dir(const struct pd_sys *sys, const char *path)
{
	struct stat st;

	return path && fstatat(sys->rootfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(st.st_mode);
}

static bool refused(struct run *r, const struct pd_step *step)
{
	int err = r->outcome[0].err;

	if (!err)
		return false;
	if (err == EXDEV && pd_opt.exdev && step->op->flags & PD_OP_RENAMES_DIRS)
		return is_dir(&r->sys[0], step->p) || is_dir(&r->sys[0], step->q);
	for (int i = 0; i < PD_MAX_REFUSALS && step->op->refusals[i]; i++) {
		if (err == step->op->refusals[i])
			return true;
	}
	return false;
}

/* Where the kernel can move a directory (it has no lower content), EXDEV is no excuse. */
static void check_refusal(struct run *r, const struct pd_step *step)
{
	struct pd_sys *judge = judge_of(r);
	struct pd_text story = { 0 };

	if (r->outcome[0].err != EXDEV || !judge)
		return;
	judge->probing = true;
	pd_step_run(judge, step, &r->outcome[1]);
	judge->probing = false;
	if (r->outcome[1].err)
		return;
	pd_add(&story, "%s refuses with EXDEV what the kernel's overlayfs does\n", r->sys[0].name);
	fail_with(r, step->op->name, "EXDEV", &story);
}

static void do_step(struct run *r, const struct pd_step *step)
{
	struct pd_outcome *plain = &r->outcome[r->count - 1];

	pd_step_run(&r->sys[0], step, &r->outcome[0]);
	if (refused(r, step)) {
		check_refusal(r, step);
		return;
	}
	for (int i = 1; i < r->count; i++)
		pd_step_run(&r->sys[i], step, &r->outcome[i]);
	for (int i = 0; i < r->count - 1; i++) {
		if (!pd_outcomes_agree(step, plain, &r->outcome[i], &r->sys[i], r->failure))
			return;
	}
}

static void perform(struct run *r, const struct pd_step *step)
{
	struct pd_text line = { 0 };

	if (pd_opt.verbose) {
		pd_step_print(step, &line);
		printf("%s\n", pd_str(&line));
		fflush(stdout);
		pd_free(&line);
	}
	pd_guard_beat();
	if (pd_opt.pause_before && strcmp(pd_opt.pause_before, step->op->name) == 0)
		usleep(PAUSE);
	if (step->op->flags & PD_OP_META)
		do_meta(r, step);
	else
		do_step(r, step);
	if (pd_guard_fired()) {
		pd_failure_free(r->failure);
		pd_fail(r->failure, step->op->name, "hang",
			"a call did not return; the connection was aborted\n");
	}
}

static struct pd_step next_step(struct run *r, struct pd_maker *maker, size_t i)
{
	if (i % pd_opt.check_every == pd_opt.check_every - 1)
		return (struct pd_step){ .op = pd_op_find("check"), .mask = 022, .look = 2 };
	if (i % LEARN_EVERY == 0 || !maker->total)
		pd_maker_learn(maker, plain_of(r)->rootfd);
	return pd_step_make(maker);
}

static bool is_dead(const struct run *r)
{
	struct stat st;

	return r->sys[0].rootfd >= 0 && fstatat(r->sys[0].rootfd, "no-such", &st, 0) != 0 &&
	       errno != ENOENT;
}

static void finish(struct run *r)
{
	bool linked = r->stack->options.hard_links;
	struct pd_tree plain;

	/* What an index says is seen only by those who have the upper as theirs. */
	if (!r->failure->failed)
		remount(r, linked && pd_opt.swap ? SWAP : 0);
	if (r->failure->failed)
		return;
	pd_tree_collect(&plain, plain_of(r)->rootfd, 0);
	unmount_unions(r);
	if (!r->failure->failed)
		check_layers(r);
	if (!r->failure->failed && pd_opt.reader && !linked && kernel_can_read(r->stack))
		check_reader(r, &plain);
	pd_tree_free(&plain);
}

void pd_run(const struct pd_stack *stack, struct pd_steps *steps, struct pd_maker *maker,
	    size_t count, struct pd_failure *failure)
{
	struct run r = { .stack = stack, .failure = failure };
	size_t i = 0;

	*failure = (struct pd_failure){ .failed = false };
	make_systems(&r);
	if (!failure->failed)
		check_trees(&r, "at the start");
	for (; !failure->failed && !pd_interrupted && (maker ? i < count : i < steps->count); i++) {
		if (i == steps->count)
			pd_steps_add(steps, next_step(&r, maker, i));
		perform(&r, &steps->step[i]);
		if (failure->failed)
			break;
	}
	failure->at = i;
	if (!pd_interrupted)
		finish(&r);
	if (failure->failed && is_dead(&r))
		pd_sys_alive(&r.sys[0], &failure->story);
	drop_systems(&r);
}
