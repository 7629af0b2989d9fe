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

/* What is done about it on request. */
enum ply_remedy {
	PLY_REMEDY_NONE,
	PLY_REMEDY_SAFE, /* changes nothing that the stack shows rightly: -p, -y */
	PLY_REMEDY_ALL,	 /* takes one of several meanings: -y */
};

enum ply_finding {
	PLY_FOUND_ORPHAN_WHITEOUT,
	PLY_FOUND_IDLE_WHITEOUT,
	PLY_FOUND_UNANNOUNCED_WHITEOUT,
	PLY_FOUND_FULL_WHITEOUT,
	PLY_FOUND_IDLE_ANNOUNCEMENT,
	PLY_FOUND_MIXED_WHITEOUTS,
	PLY_FOUND_AUFS_BESIDE_FILE,
	PLY_FOUND_AUFS_BAD_NAME,
	PLY_FOUND_AUFS_BAD_TYPE,
	PLY_FOUND_AUFS_LEFTOVER,
	PLY_FOUND_BAD_OPAQUE,
	PLY_FOUND_OPAQUE_REDIRECT,
	PLY_FOUND_BAD_REDIRECT,
	PLY_FOUND_DANGLING_REDIRECT,
	PLY_FOUND_DUPLICATE_REDIRECT,
	PLY_FOUND_LOOPING_REDIRECT,
	PLY_FOUND_SELF_REDIRECT,
	PLY_FOUND_IDLE_REDIRECT,
	PLY_FOUND_METACOPY_NO_DATA,
	PLY_FOUND_METACOPY_SIZE,
	PLY_FOUND_UNSETTLED_MARK,
	PLY_FOUND_UNSETTLED,
	PLY_FOUND_BAD_ORIGIN,
	PLY_FOUND_STALE_ORIGIN,
	PLY_FOUND_IMPURE_MISSING,
	PLY_FOUND_BAD_INDEX_NAME,
	PLY_FOUND_STALE_INDEX,
	PLY_FOUND_ORPHAN_INDEX,
	PLY_FOUND_INDEX_MISMATCH,
	PLY_FOUND_BAD_NLINK,
	PLY_FOUND_WRONG_TYPE,
	PLY_FOUND_UNKNOWN_MARK,
	PLY_FOUND_BAD_ESCAPE,
	PLY_FOUND_MARK_TWICE,
	PLY_FOUND_BAD_OVERRIDE,
	PLY_FOUND_WORK_LEFTOVER,
	PLY_FOUND_WORK_FOREIGN,
	PLY_FOUND_WORK_TYPE,
	PLY_FOUND_WORK_VOLATILE,
	PLY_FOUND_WORK_OTHER_FS,
	PLY_FOUND_LAYERS_OVERLAP,
	PLY_FOUND_LAYER_TWICE,
	PLY_NFINDINGS,
};

/* In check_texts.c. */
extern const struct ply_finding_text {
	const char *name;
	enum ply_severity severity;
	enum ply_remedy remedy;
	const char *meaning, *cause, *repair;
} ply_finding_texts[PLY_NFINDINGS];
const char *ply_severity_word(enum ply_severity severity);
/* Prints what there is to say of a finding, or of "all": 0, or -1 when there is none of that name. */
int ply_explain(const char *name);

struct ply_check {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_progress progress;
	enum ply_remedy repairs; /* up to which */
	int upper_fd;		 /* writable, and locked; or -1 */
	int layer; /* another layer that may be changed, or -1; layer_fd the same of it */
	int layer_fd;
	int is_index; /* what is looked at has no name in the upper by which it could be repaired */
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
int ply_may_repair(const struct ply_check *c, enum ply_finding what, unsigned layer);
/* The answer for what a repair returned: 0 or -errno. Counts failures. */
enum ply_repair ply_repair_done(struct ply_check *c, const char *path, int err);

/* A place in a layer that may be changed. */
struct ply_spot {
	int fd;		  /* the directory that it is in; to be closed */
	const char *name; /* behind the last slash of the path */
};
/* 0 or -errno. */
int ply_spot_open(const struct ply_check *c, unsigned layer, const char *path,
		  struct ply_spot *spot);
/* All of these answer for a finding that is at a path in a layer; path is also told if they fail. */
enum ply_repair ply_repair_attr(struct ply_check *c, enum ply_finding what, unsigned layer,
				const char *path, const char *attr);
enum ply_repair ply_repair_unlink(struct ply_check *c, enum ply_finding what, unsigned layer,
				  const char *path);
/* The directory's own content is all that it shows. */
enum ply_repair ply_repair_cut_off(struct ply_check *c, enum ply_finding what, unsigned layer,
				   const char *path);

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
