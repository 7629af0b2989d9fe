/*
 * Ending a tool by SIGINT, SIGTERM or SIGHUP without leaving anything half done: from the signal on every
 * system call through sys_* fails with -EINTR, so that the work unwinds the way it does for any error.
 */
#ifndef PLY_TOOLS_INTERRUPT_H
#define PLY_TOOLS_INTERRUPT_H

/* Catches the signals that are not ignored. */
void ply_interrupt_start(void);
/* From now on calls succeed again: to be called before cleaning up. */
void ply_interrupt_end(void);
/* Has a signal come? For work that goes on in steps, each whole, after ply_interrupt_end. */
int ply_interrupt_came(void);
/* Dies of the signal that came, as the shell expects; returns when none came. */
void ply_interrupt_die(void);

#endif
