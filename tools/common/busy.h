/* Is an upper directory in use? */
#ifndef PLY_TOOLS_BUSY_H
#define PLY_TOOLS_BUSY_H

/*
 * Takes the lock that a mount holds as long as it lives, so that none can begin until fd is closed.
 * -EBUSY when after three seconds plyfs or a tool still has it, or the kernel's overlayfs has the directory as its upper.
 */
int ply_lock_upper(int fd);

#endif
