/* Signals that end a tool, by way of the probe that sits before every system call. */
#include "interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#include "base/sys.h"

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
#define NSIGNALS (sizeof(signals) / sizeof(signals[0]))

static volatile sig_atomic_t came;

static void catch (int number)
{
	if (!came)
		came = number;
}

static int probe(enum ply_sys call)
{
	(void)call;
	return came ? -EINTR : 0;
}

void ply_interrupt_start(void)
{
	/* No SA_RESTART: a long call ends early. */
	struct sigaction act = { .sa_handler = catch }, old;

	for (size_t i = 0; i < NSIGNALS; i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &act, NULL);
	ply_sys_probe = probe;
}

void ply_interrupt_end(void)
{
	ply_sys_probe = NULL;
}

int ply_interrupt_came(void)
{
	return came != 0;
}

void ply_interrupt_die(void)
{
	if (!came)
		return;
	signal(came, SIG_DFL);
	raise(came);
}
