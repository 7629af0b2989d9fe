/*
 * Building a directory or a file beside its target, under a name of its own, and publishing it by one rename:
 * what has the target's name is always whole. A process killed meanwhile leaves .NAME.plyfs-*.
 */
#ifndef PLY_TOOLS_STAGING_H
#define PLY_TOOLS_STAGING_H

#include <sys/stat.h>

struct ply_staging {
	int parent; /* the directory that both lie in */
	int fd;	    /* what is being built; -1 before it is made */
	char name[256];
	char temp[256];
};

/*
 * Opens the target's directory. The target must not exist, or be an empty directory: else -EEXIST.
 * -EINVAL when the path ends in no name.
 */
int ply_staging_open(struct ply_staging *s, const char *target);
/* Makes the directory, with mode 0700 and nothing inherited from the one it lies in. */
int ply_staging_make(struct ply_staging *s);
/* Everything to the disk, then the rename. -EEXIST when the target has been made meanwhile. */
int ply_staging_publish(struct ply_staging *s);
/*
 * The same for a file, which may replace another: -EEXIST when the target is something else. It is made
 * for writing; no more than itself and its directory is brought to the disk.
 */
int ply_staging_open_file(struct ply_staging *s, const char *target);
int ply_staging_make_file(struct ply_staging *s);
int ply_staging_publish_file(struct ply_staging *s);
/* Closes; removes what was made and not published. */
void ply_staging_close(struct ply_staging *s);

#endif
