/*
 * Failing system calls: the n-th call that is counted, or every one from there on, gets an error. What closes
 * a descriptor is never counted. One plan at a time, for all threads.
 */
#ifndef TESTS_UNIT_INJECT_H
#define TESTS_UNIT_INJECT_H

#include "base/sys.h"

/* Lets all calls pass and counts them from now on. */
void count_calls(void);
/* Fails the n-th (from 1) of all calls. */
void fail_call(unsigned n, int err);
/* Fails the n-th and all later ones of those that need room on the disk. */
void fill_disk(unsigned n, int err);
/* The n-th and all later ones fail: whoever makes them might as well be dead. */
void stop_at(unsigned n);
/* Fails every call of this kind. */
void fail_kind(enum ply_sys kind, int err);
/* Fails them all. */
void fail_every_call(int err);
/* Back to normal. The number of calls that were counted. */
unsigned stop_failing(void);
/* The name of the first call that was made to fail, or "none". */
const char *failed_call(void);
/* What the n-th call was, as it was counted last: n is at most what stop_failing said. */
enum ply_sys call_number(unsigned n);
/* Does this one need room on the disk, or a descriptor? */
int needs_room(enum ply_sys kind);
int needs_descriptor(enum ply_sys kind);
/* How many calls of a kind there were since count_calls or the like. */
unsigned calls_of(enum ply_sys kind);

#endif
