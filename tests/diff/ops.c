/* The table of operations, and what they share: telling results, opening, credentials. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plydiff.h"

static const struct pd_op *const tables[] = {
	pd_ops_open,  pd_ops_data, pd_ops_space, pd_ops_name, pd_ops_rename, pd_ops_attr,
	pd_ops_xattr, pd_ops_dir,  pd_ops_slot,	 pd_ops_work, pd_ops_odd,    pd_ops_meta,
};

/* ---- the table ---- */

const struct pd_op *pd_op_find(const char *name)
{
	for (size_t i = 0; i < PD_COUNT(tables); i++) {
		for (const struct pd_op *op = tables[i]; op->name; op++) {
			if (strcmp(op->name, name) == 0)
				return op;
		}
	}
	return NULL;
}

const struct pd_op *pd_op_pick(struct pd_rng *rng)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < PD_COUNT(tables); i++) {
		for (const struct pd_op *op = tables[i]; op->name; op++)
			total += op->weight;
	}
	at = pd_below(rng, total);
	for (size_t i = 0; i < PD_COUNT(tables); i++) {
		for (const struct pd_op *op = tables[i]; op->name; op++) {
			if (at < op->weight)
				return op;
			at -= op->weight;
		}
	}
	return NULL;
}

size_t pd_op_count(void)
{
	size_t count = 0;

	for (size_t i = 0; i < PD_COUNT(tables); i++) {
		for (const struct pd_op *op = tables[i]; op->name; op++)
			count += !(op->flags & PD_OP_META);
	}
	return count;
}

void pd_ops_list(void)
{
	for (size_t i = 0; i < PD_COUNT(tables); i++) {
		for (const struct pd_op *op = tables[i]; op->name; op++)
			printf("%-18s weight %-3u %s\n", op->name, op->weight,
			       op->keys ? op->keys : "");
	}
}

/* ---- telling ---- */

long pd_tell(struct pd_outcome *o, const char *label, long rc)
{
	int err = errno;

	if (rc < 0 && !o->err)
		o->err = err;
	if (rc < 0)
		pd_add(&o->notes, "%s=%s\n", label, pd_errno_name(err));
	else
		pd_add(&o->notes, "%s=%ld\n", label, rc);
	errno = err;
	return rc;
}

int pd_tell_fd(struct pd_outcome *o, const char *label, int fd)
{
	pd_tell(o, label, fd < 0 ? fd : 0);
	return fd;
}

void pd_note(struct pd_outcome *o, const char *label, const char *fmt, ...)
{
	char buf[4096];
	va_list args;

	va_start(args, fmt);
	vsnprintf(buf, sizeof(buf), fmt, args);
	va_end(args);
	pd_add(&o->notes, "%s=%s\n", label, buf);
}

void pd_note_data(struct pd_outcome *o, const char *label, const void *bytes, ssize_t n)
{
	pd_add(&o->notes, "%s=", label);
	if (n > 0)
		pd_add_runs(&o->notes, bytes, (size_t)n);
	pd_add(&o->notes, "\n");
}

void pd_note_holds(struct pd_outcome *o, const char *label, int holds)
{
	pd_note(o, label, "%s", holds ? "yes" : "no");
}

void pd_note_stat(struct pd_outcome *o, const char *label, int fd)
{
	struct statx st;
	bool dir;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) != 0) {
		pd_tell(o, label, -1);
		return;
	}
	dir = S_ISDIR(st.stx_mode);
	pd_note(o, label, "0%o %u:%u dev %u:%u links %u size %llu", st.stx_mode, st.stx_uid,
		st.stx_gid, st.stx_rdev_major, st.stx_rdev_minor, dir ? 0 : st.stx_nlink,
		dir ? 0ULL : (unsigned long long)st.stx_size);
	if (pd_is_clock(st.stx_mtime) || S_ISFIFO(st.stx_mode))
		pd_note(o, "mtime", "clock");
	else
		pd_note(o, "mtime", "%lld.%09u", (long long)st.stx_mtime.tv_sec,
			st.stx_mtime.tv_nsec);
}

/* ---- small things that all operations use ---- */

void pd_fill(uint8_t *buf, size_t n, long long seed)
{
	for (size_t i = 0; i < n; i += 4096) {
		unsigned page = (unsigned)(i / 4096);

		memset(buf + i, (int)(1 + ((unsigned)seed * 7 + page * 3) % 250),
		       n - i < 4096 ? n - i : 4096);
	}
}

/*
 * A truncation that leaves the size moves the times on a disk file system; POSIX does not ask for it, and
 * the kernel's FUSE client with a writeback cache does not do it for any server. So it is not done at all:
 * every system has the same sizes here.
 */
int pd_truncate(const char *path, off_t size)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size)
		return 0;
	return truncate(path, size);
}

int pd_ftruncate(int fd, off_t size)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size)
		return 0;
	return ftruncate(fd, size);
}

int pd_open(const char *path, int flags, mode_t mode)
{
	struct stat st;

	if ((flags & O_TRUNC) && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
		flags &= ~O_TRUNC;
	return open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, mode);
}

void pd_become(int as)
{
	static const struct {
		uid_t uid;
		gid_t gid, group;
	} who[] = { { 0, 0, 0 }, { 1000, 1000, 1000 }, { 1000, 1000, 2000 }, { 2000, 2000, 2000 } };
	bool ok = setresuid(0, 0, 0) == 0;

	if (as < 0 || (size_t)as >= PD_COUNT(who))
		as = 0;
	if (ok && as) {
		ok = setgroups(1, &who[as].group) == 0 &&
		     setresgid(who[as].gid, who[as].gid, 0) == 0 &&
		     setresuid(who[as].uid, who[as].uid, 0) == 0;
	} else if (ok) {
		ok = setresgid(0, 0, 0) == 0 && setgroups(0, NULL) == 0;
	}
	if (!ok)
		pd_die("cannot change credentials: %s", strerror(errno));
}
