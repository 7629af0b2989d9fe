/* What is mounted, as this process sees it. Without /proc there seems to be nothing. */
#ifndef PLY_BASE_MOUNTS_H
#define PLY_BASE_MOUNTS_H

/*
 * Each line of mountinfo, which fn may cut up: numbers of the mount and its parent, the device as "MAJOR:MINOR", its root,
 * the mountpoint, options, " - " and the type, the source, the file system's options. Not 0 ends it, and is returned.
 */
typedef int (*ply_mount_fn)(void *arg, char *line);
int ply_mounts_each(ply_mount_fn fn, void *arg);
/* Undoes the octal escapes of a field, in place. */
void ply_mounts_unescape(char *field);

#endif
