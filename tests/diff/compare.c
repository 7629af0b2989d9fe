/* Whether two systems did the same in a step: results, what they saw, and the objects before and after. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plydiff.h"

/* A clock that ticks every 10 ms at worst, and a moment for the step to begin. */
static const double TICK = 0.025;

struct comparing {
	const struct pd_step *step;
	const struct pd_sys *sys;
	const struct pd_outcome *plain, *got;
	struct pd_failure *failure;
};

void pd_failure_free(struct pd_failure *f)
{
	free(f->kind);
	pd_free(&f->story);
	*f = (struct pd_failure){ .failed = false };
}

void pd_fail(struct pd_failure *f, const char *op, const char *label, const char *story)
{
	if (f->failed)
		return;
	f->failed = true;
	f->kind = pd_format("%s:%s", op, label);
	if (story)
		pd_add(&f->story, "%s", story);
}

void pd_outcome_free(struct pd_outcome *o)
{
	pd_free(&o->notes);
	for (int i = 0; i < 4; i++) {
		pd_look_free(&o->before[i]);
		pd_look_free(&o->after[i]);
	}
	pd_free(&o->listing[0]);
	pd_free(&o->listing[1]);
}

/* True when it is known; else it becomes the failure. */
static bool differ(struct comparing *c, const char *label, const char *want, const char *got)
{
	struct pd_text story = { 0 };

	if (pd_tolerated(c->sys, c->step->op->name, label, want, got))
		return true;
	pd_add(&story, "%s: %s: want %s, got %s\n", c->sys->name, label, want, got);
	pd_add(&story, "plain did:\n%s%s did:\n%s", pd_str(&c->plain->notes), c->sys->name,
	       pd_str(&c->got->notes));
	pd_fail(c->failure, c->step->op->name, label, pd_str(&story));
	pd_free(&story);
	return false;
}

/* ---- notes ---- */

static char *take_line(const char **at)
{
	size_t n = strcspn(*at, "\n");
	char *line = strndup(*at, n);

	if (!line)
		pd_die("out of memory");
	*at += n + ((*at)[n] == '\n');
	return line;
}

static bool same_line(struct comparing *c, char *want, char *got, bool *stop)
{
	char *a = strchr(want, '='), *b = strchr(got, '=');
	const char *label;
	bool same_label;

	if (strcmp(want, got) == 0)
		return true;
	if (a)
		*a++ = '\0';
	if (b)
		*b++ = '\0';
	/* After a known difference the two may have gone different ways. */
	same_label = a && b && strcmp(want, got) == 0;
	*stop = true;
	label = *want ? want : got;
	if (same_label)
		return differ(c, label, a, b);
	return differ(c, label, a ? a : "nothing", b ? got : "nothing");
}

static bool same_notes(struct comparing *c)
{
	const char *a = pd_str(&c->plain->notes), *b = pd_str(&c->got->notes);
	bool same = true, stop = false;

	while (same && !stop && (*a || *b)) {
		char *want = take_line(&a), *got = take_line(&b);

		same = same_line(c, want, got, &stop);
		free(want);
		free(got);
	}
	return same;
}

/* ---- looks ---- */

static const char *const look_names[] = { "p", "p-parent", "q", "q-parent" };

static bool differ_number(struct comparing *c, int which, const char *field,
			  unsigned long long want, unsigned long long got)
{
	char label[64], a[32], b[32];

	if (want == got)
		return true;
	snprintf(label, sizeof(label), "%s.%s", look_names[which], field);
	snprintf(a, sizeof(a), strcmp(field, "mode") == 0 ? "0%llo" : "%llu", want);
	snprintf(b, sizeof(b), strcmp(field, "mode") == 0 ? "0%llo" : "%llu", got);
	return differ(c, label, a, b);
}

static bool same_time(struct statx_timestamp a, struct statx_timestamp b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* So shortly before the step began that a change in it need not show. */
static bool is_fresh(struct statx_timestamp t, struct timespec started)
{
	double age = (double)(started.tv_sec - t.tv_sec) +
		     (double)(started.tv_nsec - (long)t.tv_nsec) / 1e9;

	return age < TICK && age > -TICK;
}

static bool differ_time(struct comparing *c, int which, const char *field,
			struct statx_timestamp want, struct statx_timestamp got)
{
	char label[64], a[64], b[64];

	snprintf(label, sizeof(label), "%s.%s", look_names[which], field);
	snprintf(a, sizeof(a), "%lld.%09u%s", (long long)want.tv_sec, want.tv_nsec,
		 pd_is_clock(want) ? " (clock)" : "");
	snprintf(b, sizeof(b), "%lld.%09u%s", (long long)got.tv_sec, got.tv_nsec,
		 pd_is_clock(got) ? " (clock)" : "");
	return differ(c, label, a, b);
}

static bool differ_moved(struct comparing *c, int which, const char *field, int want, int got)
{
	char label[64];

	snprintf(label, sizeof(label), "%s.%s-moved", look_names[which], field);
	return differ(c, label, want ? "yes" : "no", got ? "yes" : "no");
}

static bool same_object(const struct pd_look *before, const struct pd_look *after)
{
	return !before->err && !after->err && before->st.stx_ino == after->st.stx_ino;
}

/* Times set by the clock differ between systems; whether they moved does not. */
static bool same_moves(struct comparing *c, int i)
{
	const struct pd_look *pb = &c->plain->before[i], *pa = &c->plain->after[i];
	const struct pd_look *gb = &c->got->before[i], *ga = &c->got->after[i];

	if (c->step->look < 2 || !same_object(pb, pa) || !same_object(gb, ga))
		return true;
	bool pm = !same_time(pb->st.stx_mtime, pa->st.stx_mtime);
	bool gm = !same_time(gb->st.stx_mtime, ga->st.stx_mtime);
	bool unclear = S_ISFIFO(pa->st.stx_mode) || is_fresh(pb->st.stx_mtime, c->plain->started) ||
		       is_fresh(gb->st.stx_mtime, c->got->started);

	if (pm != gm && !unclear && !differ_moved(c, i, "mtime", pm, gm))
		return false;
	bool pc = !same_time(pb->st.stx_ctime, pa->st.stx_ctime) && !S_ISFIFO(pa->st.stx_mode);
	bool gc = !same_time(gb->st.stx_ctime, ga->st.stx_ctime);

	/* A copy-up has a new inode below, whose ctime nobody can set: it may move where nothing changed. */
	if (pc && !gc && !is_fresh(gb->st.stx_ctime, c->got->started))
		return differ_moved(c, i, "ctime", pc, gc);
	return true;
}

static bool same_mtime(struct comparing *c, int i)
{
	struct statx_timestamp a = c->plain->after[i].st.stx_mtime;
	struct statx_timestamp b = c->got->after[i].st.stx_mtime;

	if (same_time(a, b) || (pd_is_clock(a) && pd_is_clock(b)))
		return true;
	if (S_ISFIFO(c->plain->after[i].st.stx_mode) && pd_is_clock(a))
		return true;
	return differ_time(c, i, "mtime", a, b);
}

static bool same_look(struct comparing *c, int i)
{
	const struct pd_look *want = &c->plain->after[i], *got = &c->got->after[i];
	const struct statx *a = &want->st, *b = &got->st;
	char label[64];

	if (want->err || got->err)
		return differ_number(c, i, "error", (unsigned)want->err, (unsigned)got->err);
	if (!differ_number(c, i, "mode", a->stx_mode, b->stx_mode) ||
	    !differ_number(c, i, "uid", a->stx_uid, b->stx_uid) ||
	    !differ_number(c, i, "gid", a->stx_gid, b->stx_gid) ||
	    !differ_number(c, i, "major", a->stx_rdev_major, b->stx_rdev_major) ||
	    !differ_number(c, i, "minor", a->stx_rdev_minor, b->stx_rdev_minor))
		return false;
	if (!S_ISDIR(a->stx_mode) && (!differ_number(c, i, "size", a->stx_size, b->stx_size) ||
				      !differ_number(c, i, "nlink", a->stx_nlink, b->stx_nlink)))
		return false;
	snprintf(label, sizeof(label), "%s.xattrs", look_names[i]);
	if (strcmp(pd_str(&want->xattrs), pd_str(&got->xattrs)) != 0 &&
	    !differ(c, label, pd_str(&want->xattrs), pd_str(&got->xattrs)))
		return false;
	return same_mtime(c, i) && same_moves(c, i);
}

bool pd_outcomes_agree(const struct pd_step *step, const struct pd_outcome *plain,
		       const struct pd_outcome *got, const struct pd_sys *sys,
		       struct pd_failure *failure)
{
	struct comparing c = { step, sys, plain, got, failure };
	static const char *const labels[] = { "p-parent.names", "q-parent.names" };

	if (!same_notes(&c))
		return false;
	if (!step->look)
		return true;
	for (int i = 0; i < 4; i++) {
		if (!same_look(&c, i))
			return false;
	}
	for (int i = 0; i < 2; i++) {
		const char *a = pd_str(&plain->listing[i]), *b = pd_str(&got->listing[i]);

		if (strcmp(a, b) != 0 && !differ(&c, labels[i], a, b))
			return false;
	}
	return true;
}
