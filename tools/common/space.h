/* The two spaces of extended attributes that marks are written in. */
#ifndef PLY_TOOLS_SPACE_H
#define PLY_TOOLS_SPACE_H

/* The prefix of the space that an inode has a mark in, or NULL. */
const char *ply_space_of(int dirfd, const char *name, const char *mark);
int ply_space_set(int dirfd, const char *name, const char *space, const char *mark,
		  const char *value);
/* The mark nlink of a file: 1, with 'U' or 'L' and the number behind it; 0 for none that makes sense. */
int ply_space_nlink(int dirfd, const char *name, char *base, long *diff);
/* The first that the directory fd takes marks in, or NULL. word: "trusted" or "user" for that one alone, or NULL. */
const char *ply_space_probe(int fd, const char *word);

#endif
