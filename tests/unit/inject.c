/* Failing system calls, by the hook that every wrapper asks. */
#include "inject.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>

#define LOG_SIZE 1024

static struct {
	unsigned first, last; /* numbers of the calls to fail */
	int (*only)(enum ply_sys kind);
	int kind; /* or all of this kind; -1: none */
	int err;
} plan;

static _Atomic unsigned counted, counted_of[PLY_SYS_COUNT];
static _Atomic int failed;
static enum ply_sys calls[LOG_SIZE];

/* Not rename: its way back, an exchange, needs none. */
int needs_room(enum ply_sys kind)
{
	switch (kind) {
	case PLY_SYS_mkdir:
	case PLY_SYS_mknod:
	case PLY_SYS_symlink:
	case PLY_SYS_link:
	case PLY_SYS_pwrite:
	case PLY_SYS_fallocate:
	case PLY_SYS_copy_range:
	case PLY_SYS_clone:
	case PLY_SYS_setxattr:
		return 1;
	default:
		return 0;
	}
}

int needs_descriptor(enum ply_sys kind)
{
	return kind == PLY_SYS_open || kind == PLY_SYS_openat2 || kind == PLY_SYS_open_by_handle;
}

static int probe(enum ply_sys call)
{
	unsigned n;
	int none = -1;

	atomic_fetch_add(&counted_of[call], 1);
	if (call == PLY_SYS_close)
		return 0;
	n = atomic_fetch_add(&counted, 1) + 1;
	if (n < LOG_SIZE && plan.err == 0)
		calls[n] = call;
	if ((n < plan.first || n > plan.last) && (int)call != plan.kind)
		return 0;
	if (plan.only && !plan.only(call))
		return 0;
	atomic_compare_exchange_strong(&failed, &none, (int)call);
	return plan.err;
}

static void start(unsigned first, unsigned last, int kind, int err)
{
	plan.only = NULL;
	plan.first = first;
	plan.last = last;
	plan.kind = kind;
	plan.err = err;
	counted = 0;
	failed = -1;
	for (unsigned i = 0; i < PLY_SYS_COUNT; i++)
		counted_of[i] = 0;
	ply_sys_probe = probe;
}

void count_calls(void)
{
	start(1, 0, -1, 0);
}

void fail_call(unsigned n, int err)
{
	start(n, n, -1, err);
}

void fill_disk(unsigned n, int err)
{
	start(n, UINT_MAX, -1, err);
	plan.only = needs_room;
}

void stop_at(unsigned n)
{
	start(n, UINT_MAX, -1, -EIO);
}

void fail_kind(enum ply_sys kind, int err)
{
	start(1, 0, (int)kind, err);
}

void fail_every_call(int err)
{
	start(1, UINT_MAX, -1, err);
}

unsigned stop_failing(void)
{
	ply_sys_probe = NULL;
	return counted;
}

enum ply_sys call_number(unsigned n)
{
	return calls[n < LOG_SIZE ? n : 0];
}

const char *failed_call(void)
{
	return failed < 0 ? "none" : ply_sys_name((enum ply_sys)failed);
}

unsigned calls_of(enum ply_sys kind)
{
	return counted_of[kind];
}
