/*
 * Checking a stack: what is found has a name, a severity and a place. check_layer.c reads the layers, check_marks.c the
 * extended attributes of one inode, check_work.c the work directory; findings.c tells, counts and repairs.
 */
#ifndef PLY_TOOLS_CHECK_H
#define PLY_TOOLS_CHECK_H

#include "args.h"
#include "stack.h"

enum ply_severity {
	PLY_NOTE,    /* normal, but good to know; told with -v, does not count */
	PLY_WARNING, /* without effect on what is shown, or only on numbers */
	PLY_ERROR,   /* something is not shown as it was meant */
};

/* All findings there are: F(name, severity). */
/* clang-format off */
#define PLY_FINDINGS(F) \
	F(ORPHAN_WHITEOUT, "orphan-whiteout", WARNING) \
	F(IDLE_WHITEOUT, "idle-whiteout", NOTE) \
	F(UNANNOUNCED_WHITEOUT, "unannounced-whiteout", ERROR) \
	F(FULL_WHITEOUT, "full-whiteout", WARNING) \
	F(IDLE_ANNOUNCEMENT, "idle-announcement", NOTE) \
	F(MIXED_WHITEOUTS, "mixed-whiteouts", WARNING) \
	F(AUFS_BESIDE_FILE, "aufs-beside-file", WARNING) \
	F(AUFS_BAD_NAME, "aufs-bad-name", WARNING) \
	F(AUFS_BAD_TYPE, "aufs-bad-type", WARNING) \
	F(AUFS_LEFTOVER, "aufs-leftover", NOTE) \
	F(BAD_OPAQUE, "bad-opaque", WARNING) \
	F(OPAQUE_REDIRECT, "opaque-redirect", WARNING) \
	F(BAD_REDIRECT, "bad-redirect", ERROR) \
	F(DANGLING_REDIRECT, "dangling-redirect", ERROR) \
	F(DUPLICATE_REDIRECT, "duplicate-redirect", ERROR) \
	F(LOOPING_REDIRECT, "looping-redirect", ERROR) \
	F(SELF_REDIRECT, "self-redirect", WARNING) \
	F(IDLE_REDIRECT, "idle-redirect", NOTE) \
	F(METACOPY_NO_DATA, "metacopy-no-data", ERROR) \
	F(METACOPY_SIZE, "metacopy-size", ERROR) \
	F(UNSETTLED_MARK, "unsettled-mark", WARNING) \
	F(UNSETTLED, "unsettled", WARNING) \
	F(BAD_ORIGIN, "bad-origin", WARNING) \
	F(STALE_ORIGIN, "stale-origin", WARNING) \
	F(IMPURE_MISSING, "impure-missing", WARNING) \
	F(BAD_INDEX_NAME, "bad-index-name", ERROR) \
	F(STALE_INDEX, "stale-index", WARNING) \
	F(ORPHAN_INDEX, "orphan-index", WARNING) \
	F(INDEX_MISMATCH, "index-mismatch", ERROR) \
	F(BAD_NLINK, "bad-nlink", WARNING) \
	F(WRONG_TYPE, "wrong-type", WARNING) \
	F(UNKNOWN_MARK, "unknown-mark", NOTE) \
	F(BAD_ESCAPE, "bad-escape", WARNING) \
	F(MARK_TWICE, "mark-twice", WARNING) \
	F(BAD_OVERRIDE, "bad-override", ERROR) \
	F(WORK_LEFTOVER, "work-leftover", WARNING) \
	F(WORK_FOREIGN, "work-foreign", ERROR) \
	F(WORK_TYPE, "work-type", ERROR) \
	F(WORK_VOLATILE, "work-volatile", ERROR) \
	F(WORK_OTHER_FS, "work-other-fs", ERROR) \
	F(LAYERS_OVERLAP, "layers-overlap", ERROR) \
	F(LAYER_TWICE, "layer-twice", ERROR)
/* clang-format on */

enum ply_finding {
#define F(id, name, severity) PLY_FOUND_##id,
	PLY_FINDINGS(F)
#undef F
		PLY_NFINDINGS,
};

struct ply_check {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_progress progress;
	int repairs;  /* -p */
	int upper_fd; /* writable, and locked; or -1 */
	int is_busy;
	unsigned found, repaired; /* notes left out */
	int has_marks;		  /* metacopy marks in the upper that are to be taken off */
	unsigned failed;	  /* repairs */
};

/* How a finding was answered. */
enum ply_repair {
	PLY_LEFT,
	PLY_REPAIRED,
};

/* layer: an index, or -1 for the work directory. detail may be NULL. */
void ply_found_fault(struct ply_check *c, enum ply_finding what, int layer, const char *path,
		     const char *detail, enum ply_repair repair);
/* May this finding in this layer be repaired now? */
int ply_may_repair(const struct ply_check *c, unsigned layer);
/* The answer for what a repair returned: 0 or -errno. Counts failures. */
enum ply_repair ply_repair_done(struct ply_check *c, const char *path, int err);

/* A mark of an inode as it stands on disk. */
struct ply_mark {
	const char *attr; /* its whole name */
	const char *mark;
	char value[PLY_REDIRECT_MAX + 1];
	ssize_t size;
};

/* What the attributes of one inode say. */
struct ply_inode_marks {
	int has_origin, has_whiteout, has_redirect, has_metacopy, is_opaque, announces, is_impure;
	const char *space; /* of the first mark */
	char redirect[PLY_REDIRECT_MAX + 1];
};
/* Reads them, and tells what is wrong with them by themselves. 0 or -errno. */
int ply_check_marks(struct ply_check *c, unsigned layer, int dirfd, const char *name,
		    const char *path, const struct statx *stx, struct ply_inode_marks *out);

/* All of one layer. 0, or what ended it. */
int ply_check_layer(struct ply_check *c, unsigned layer);
/* The layers' directories and the work directory among themselves. */
int ply_check_layout(struct ply_check *c);
/* Below the work directory. */
int ply_check_work(struct ply_check *c);
/* An origin mark or the name of an index entry: does a lower layer have that inode? 1, 0, or -1: not to be known. */
int ply_check_handle(struct ply_check *c, const struct ply_fh *fh);
/* Is that a handle as the kernel writes them? */
int ply_is_handle(const void *value, ssize_t size);

#endif
