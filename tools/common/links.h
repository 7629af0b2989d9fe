/*
 * Keeping hard links while a tree is copied. An inode of which more names are to come gets a name in a
 * directory of its own, the holder, from where the others are linked: no path is looked up again, and what is
 * kept in memory is a few numbers an inode, until its last name has come.
 */
#ifndef PLY_TOOLS_LINKS_H
#define PLY_TOOLS_LINKS_H

#include <stdint.h>
#include <sys/stat.h>

struct ply_links;

/* An inode of the source. */
struct ply_links_key {
	uint64_t dev, ino;
	uint64_t names; /* no more will come */
	unsigned tag;	/* tells apart what is not to be linked, as names in different layers */
};

/* The holder is made below dirfd when it is needed first. NULL without memory. */
struct ply_links *ply_links_new(int dirfd);
/* Removes the holder. What is left to tell is its error. */
int ply_links_free(struct ply_links *links);

/* Gives the inode, if an earlier name of it was kept, one more name: 1; 0 when it has to be made. */
int ply_links_take(struct ply_links *links, const struct ply_links_key *key, int dirfd,
		   const char *name);
/* Remembers what was made. */
int ply_links_keep(struct ply_links *links, const struct ply_links_key *key, int dirfd,
		   const char *name);

struct ply_links_key ply_links_key(const struct statx *stx);

#endif
