/*
 * A stack of layers as the tools see it: not only what it shows, as the union does, but from which layer, and what
 * hides the rest. Nothing is written and no symlink followed; only directories that are looked at have descriptors.
 * Redirects are followed. With the index of hard links a name that only a lower layer has may be the upper's file.
 *
 * Everything returns 0 or -errno.
 */
#ifndef PLY_TOOLS_STACK_H
#define PLY_TOOLS_STACK_H

#include <stddef.h>
#include <stdint.h>

#include "layer/layer.h"
#include "layer/marks.h"

struct ply_stack {
	struct ply_layer *layers; /* topmost first; the upper is layer 0 when there is one */
	unsigned n;
	unsigned ndata; /* further ones, that only hold data of files above */
	int has_upper;
	unsigned bound; /* where "the layers below" begin that dirs->below is about; n: below all */
	uint8_t boot[16];
	unsigned nesting, budget;
	int index;  /* the index of hard links, or -1 when it is not followed */
	int counts; /* of removed names of such files as are not in it, or -1 */
	struct ply_index_files *index_files;
};

/* What a stack is made of, as the user wrote it. */
struct ply_stack_paths {
	char **lowers; /* topmost first */
	size_t nlowers;
	size_t ndata;	    /* the last of the lowers that are data-only */
	char *upper, *work; /* or NULL */
	int no_index;	    /* the mount does not use it */
};

/* Says itself which layer cannot be opened. */
int ply_stack_open(struct ply_stack *s, const struct ply_stack_paths *paths);
void ply_stack_close(struct ply_stack *s);

/* Whether the index of hard links is followed, and why not. */
enum ply_index_state {
	PLY_INDEX_NONE, /* nothing was brought up by it */
	PLY_INDEX_USED,
	PLY_INDEX_UNKNOWN,  /* the upper had one, but no work directory is given */
	PLY_INDEX_OF_OTHER, /* it was made over other layers: no mount takes it */
};
/* From now on lower hard links that were brought up are found by all their names. enum ply_index_state or -errno. */
int ply_stack_use_index(struct ply_stack *s, const struct ply_stack_paths *paths);
void ply_stack_drop_index(struct ply_stack *s);
/* Are there files in the index with a name that only a lower layer has? */
int ply_stack_has_index_names(const struct ply_stack *s);
/* The files of the index, by their names there. Not 0 of fn ends it. */
int ply_stack_each_index_file(struct ply_stack *s,
			      int (*fn)(void *arg, const char *entry, const struct statx *stx),
			      void *arg);
/* "upper", "lower 1" and so on: layers are counted as they were given. */
struct ply_layer_name {
	char text[24];
};
struct ply_layer_name ply_stack_layer_name(const struct ply_stack *s, unsigned layer);

/* Names of a directory, sorted. */
struct ply_names {
	char **name;
	size_t n, room;
};

/* One directory in the layers that it merges. */
struct ply_dirs {
	char *below; /* its path in the stack of the layers from the bound on; NULL: hidden there */
	unsigned nparts;
	struct ply_part {
		unsigned layer;
		int fd;	   /* -1 while it is closed */
		int marks; /* enum ply_opaque, or -1: not known yet */
		int is_listed; /* all of its names on disk are known, so that nothing else is asked for */
		struct ply_names names;
		char *path; /* from the layer's root */
	} * parts;
};

struct ply_dirs *ply_stack_root(struct ply_stack *s);
/* Of one layer alone. */
struct ply_dirs *ply_dirs_alone(unsigned layer, const char *path);
/* A further part; takes path over, which may be NULL for want of memory. 0 or -ENOMEM. */
int ply_dirs_add(struct ply_dirs *d, unsigned layer, char *path);
void ply_dirs_free(struct ply_dirs *d);
void ply_dirs_close(struct ply_dirs *d);
/* What ply_stack_names has found out goes, for when no more names are looked up. */
void ply_dirs_drop_names(struct ply_dirs *d);
/* The descriptor of a part, opened when it is not yet; it stays d's. */
int ply_part_open(struct ply_stack *s, struct ply_part *part);
/* The part in a layer, or NULL. */
struct ply_part *ply_dirs_part(struct ply_dirs *d, unsigned layer);

enum ply_kind_found {
	PLY_FOUND_NOTHING,
	PLY_FOUND_WHITEOUT, /* and nothing above it */
	PLY_FOUND_FILE,	    /* anything but a directory */
	PLY_FOUND_DIR,
};

/* What hides the layers below. */
enum ply_cut {
	PLY_CUT_NONE,
	PLY_CUT_WHITEOUT,
	PLY_CUT_OPAQUE,
	PLY_CUT_FILE,
	PLY_CUT_INDEX, /* only the file of one lower name: it was brought up by another */
};

struct ply_found {
	enum ply_kind_found kind;
	unsigned layer; /* of the topmost that has it */
	struct statx stx;
	/* A name of a lower layer, name_layer, for a file of the upper: its name in the index; else empty. */
	char entry[PLY_FH_TEXT];
	unsigned name_layer;
	struct ply_dirs *dirs; /* of a directory; of nothing: without parts */
	enum ply_cut cut;
	unsigned cut_layer;
	int is_redirected; /* a redirect led to lower parts */
};

/* What the layers from `from` on have by that name in a directory. ply_found_free is needed after success only. */
int ply_stack_child(struct ply_stack *s, struct ply_dirs *dirs, const char *name, unsigned from,
		    struct ply_found *out);
/* The same for a path from the root, which may be empty. */
int ply_stack_find(struct ply_stack *s, const char *path, unsigned from, struct ply_found *out);
void ply_found_free(struct ply_found *f);

/* An inode in a layer; name is empty when fd is it. */
struct ply_side {
	struct ply_layer *layer;
	int fd;
	const char *name;
	struct statx stx;
};
/* The inode of what was found by that name in a directory. 0 or -errno; side borrows all it has. */
int ply_found_side(struct ply_stack *s, struct ply_dirs *dirs, const char *name,
		   const struct ply_found *f, struct ply_side *side);

/*
 * For stack.c: a lower file with several links, in a directory of that layer: 1 and the upper's inode when the index has it; 0
 * and its own with the count that the mount shows; or -errno.
 */
int ply_index_look(struct ply_stack *s, unsigned layer, const struct ply_side *lower,
		   struct ply_found *out);
/* The link count of an upper inode as the mount shows it. */
void ply_index_correct_links(const struct ply_stack *s, struct statx *upper);
/* What a layer's own part of a directory has by that name, of enum ply_kind_found, or -errno; stx not of an AUFS whiteout. */
int ply_part_look(struct ply_stack *s, struct ply_part *part, const char *name, struct statx *stx);
/* Whether it is a whiteout of any form. */
int ply_part_whiteout(struct ply_stack *s, struct ply_part *part, const char *name);

/* Where a regular file's data is. */
struct ply_data {
	unsigned layer;
	char *path; /* from the layer's root, or of the index; NULL: no layer has it */
	int is_in_index;
	char *below; /* without path: where it would be in the layers from the bound on, or NULL */
	struct statx stx;
	int is_elsewhere; /* the inode is without data of its own (metacopy) */
};
int ply_stack_data(struct ply_stack *s, struct ply_dirs *dirs, const char *name,
		   const struct ply_found *file, struct ply_data *out);
int ply_stack_open_data(struct ply_stack *s, const struct ply_data *data);
void ply_data_free(struct ply_data *data);

/* The names that a directory has in the layers from `from` to before `to`, sorted; a .wh. mark as what it hides. */
int ply_stack_names(struct ply_stack *s, struct ply_dirs *dirs, unsigned from, unsigned to,
		    struct ply_names *names);
/* The same, added to what is there; on an error there is nothing. */
int ply_stack_more_names(struct ply_stack *s, struct ply_dirs *dirs, unsigned from, unsigned to,
			 struct ply_names *names);
/* All names of a directory that is open as fd, sorted. */
int ply_raw_names(int fd, struct ply_names *names);
/* One more at the end. */
int ply_names_add(struct ply_names *names, const char *name);
int ply_names_has(const struct ply_names *names, const char *name);
/* Is there a whiteout .wh.NAME among them? */
int ply_names_has_aufs(const struct ply_names *names, const char *name);
void ply_names_free(struct ply_names *names);

/* The next name of a path, which moves on: 1, 0 at its end, -errno for what is no name. "." is passed over. */
int ply_path_next(const char **path, char name[PLY_NAME_MAX + 1]);

/* Bytes from hex digits, dashes between them ignored: how many, at most size; 0 when there is something else. */
size_t ply_from_hex(const char *text, uint8_t *bytes, size_t size);
/* A path of any length beneath the directory fd; an empty one is fd's own directory. A descriptor or -errno. */
int ply_open_beneath(int fd, const char *path);
/* dir/name, of which dir may be empty. NULL without memory. */
char *ply_join(const char *dir, const char *name);

#endif
