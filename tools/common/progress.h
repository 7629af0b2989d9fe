/*
 * The progress line: one line on stderr that tells, of what takes longer than a second, what is being done, how many
 * entries and bytes, how fast, and how long it will still take where the total is known. The work lets numbers
 * grow; a thread of the line's own looks at them. One line at a time.
 *
 * It is shown on a terminal of which the tool has the foreground, but not with -q nor where the results go
 * into a pipe, as to a pager on the same terminal; --progress shows it in any case.
 */
#ifndef PLY_TOOLS_PROGRESS_H
#define PLY_TOOLS_PROGRESS_H

#include <stdint.h>

#include "layer/copy.h"

/* What is shown. It may change at any time, from any thread. All zeros is a good beginning. */
struct ply_progress {
	const char *_Atomic what; /* "copying": a constant text, or NULL */
	_Atomic uint64_t entries;
	struct ply_copied data; /* bytes, shown as one number */
	/* What these will be in the end; 0 as long as it is not known. Bytes, when there are any, tell the time left. */
	_Atomic uint64_t total_entries, total_bytes;
};

enum ply_progress_wish {
	PLY_PROGRESS_AUTO,   /* as above */
	PLY_PROGRESS_QUIET,  /* -q */
	PLY_PROGRESS_FORCED, /* --progress */
};

/* Shows the line from one second on until ply_progress_end, which clears it and does nothing when there is none. */
void ply_progress_start(const struct ply_progress *progress, enum ply_progress_wish wish);
void ply_progress_end(void);

/*
 * Clears the line and keeps it away until ply_progress_resume: to be called around whatever is written to stdout or
 * stderr. Pairs may be nested. ply_tell does it itself. Costs next to nothing while no line is shown.
 */
void ply_progress_pause(void);
void ply_progress_resume(void);

#endif
