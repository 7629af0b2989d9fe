/*
 * The index of hard links, read only. An upper file that was brought up from a lower one with several links is also an
 * entry here, under the handle of the lower inode: so all names of that, in whichever lower layer, lead to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/binding.h"
#include "layer/override.h"
#include "space.h"
#include "stack.h"

/* What the marks of the entries say, sorted by inode: how many links the mount shows more than the inode has. */
struct ply_index_files {
	size_t n, room;
	int has_lower_names;
	struct ply_index_file {
		uint64_t ino;
		long extra;
	} file[];
};

/* ---- the files ---- */

/* The other form counts from the lower inode, which is not at hand: without the entry itself, at least. */
static long extra_links(int index, const char *entry, int *has_lower_names)
{
	char base;
	long extra;

	if (!ply_space_nlink(index, entry, &base, &extra))
		return -1;
	*has_lower_names |= base == 'L' || extra >= 0;
	return base == 'L' ? -1 : extra;
}

struct collecting {
	struct ply_stack *s;
	struct ply_index_files *files;
};

static int collect(void *arg, const char *entry, const struct statx *stx)
{
	struct collecting *c = arg;
	struct ply_index_files *files = c->files;

	if (files->n == files->room) {
		size_t room = files->room * 2 + 16;

		files = realloc(files, sizeof(*files) + room * sizeof(*files->file));
		if (!files)
			return -ENOMEM;
		files->room = room;
		c->files = files;
	}
	files->file[files->n++] = (struct ply_index_file){
		.ino = stx->stx_ino,
		.extra = extra_links(c->s->index, entry, &files->has_lower_names),
	};
	return 0;
}

static int by_ino(const void *a, const void *b)
{
	const struct ply_index_file *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

static int read_files(struct ply_stack *s)
{
	struct collecting c = { .s = s, .files = calloc(1, sizeof(*c.files)) };
	int err = c.files ? ply_stack_each_index_file(s, collect, &c) : -ENOMEM;

	s->index_files = c.files;
	if (!err && c.files->n)
		qsort(c.files->file, c.files->n, sizeof(*c.files->file), by_ino);
	return err;
}

struct listing {
	struct ply_stack *s;
	int (*fn)(void *arg, const char *entry, const struct statx *stx);
	void *arg;
};

/* What is being made, and what the kernel keeps there for NFS, are no files of the union. */
static int see_entry(void *arg, const char *entry, unsigned char type, uint64_t ino)
{
	struct listing *l = arg;
	struct statx stx;
	int err;

	(void)type;
	(void)ino;
	if (*entry == '#')
		return 0;
	err = ply_layer_statx(&l->s->layers[0], l->s->index, entry, STATX_BASIC_STATS, &stx);
	if (err)
		return err == -ENOENT ? 0 : err;
	return S_ISDIR(stx.stx_mode) || ply_is_whiteout(&stx) ? 0 : l->fn(l->arg, entry, &stx);
}

int ply_stack_each_index_file(struct ply_stack *s,
			      int (*fn)(void *arg, const char *entry, const struct statx *stx),
			      void *arg)
{
	struct listing l = { s, fn, arg };

	return s->index < 0 ? 0 : ply_layer_list(s->index, see_entry, &l);
}

int ply_stack_has_index_names(const struct ply_stack *s)
{
	return s->index_files && s->index_files->has_lower_names;
}

/* ---- opening ---- */

/* The root of an upper says what its index was made over. */
static int had_index(struct ply_stack *s)
{
	struct ply_fh fh;

	return ply_mark_origin(&s->layers[0], s->layers[0].root, "", &fh) > 0;
}

/* 1 when it belongs to these layers. */
static int is_ours(struct ply_stack *s)
{
	const struct ply_binding_stack stack = { s->layers, s->n };
	int where = ply_binding_check(&stack, s->index);

	if (where < 0 || where == PLY_BOUND_HERE || where == PLY_BOUND_UNSAID)
		return where < 0 ? where : 1;
	return !ply_index_has_entries(s->index);
}

static int open_beside(int work, const char *name)
{
	return sys_open(work, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* Over other layers a mount would forget them. */
static void open_counts(struct ply_stack *s, int work)
{
	const struct ply_binding_stack stack = { s->layers, s->n };

	s->counts = open_beside(work, PLY_COUNTS_DIR);
	if (s->counts < 0 || ply_binding_check(&stack, s->counts) == PLY_BOUND_HERE)
		return;
	sys_close(s->counts);
	s->counts = -1;
}

/* enum ply_index_state or -errno. */
static int open_index(struct ply_stack *s, int work)
{
	int res;

	s->index = open_beside(work, PLY_INDEX_DIR);
	if (s->index < 0)
		return s->index == -ENOENT ? PLY_INDEX_NONE : s->index;
	res = is_ours(s);
	if (!res)
		return PLY_INDEX_OF_OTHER;
	if (res > 0)
		res = read_files(s);
	return res < 0 ? res : PLY_INDEX_USED;
}

int ply_stack_use_index(struct ply_stack *s, const struct ply_stack_paths *paths)
{
	int work, res;

	if (!s->has_upper || paths->no_index)
		return PLY_INDEX_NONE;
	if (!paths->work)
		return had_index(s) ? PLY_INDEX_UNKNOWN : PLY_INDEX_NONE;
	work = sys_open(AT_FDCWD, paths->work, O_RDONLY | O_DIRECTORY, 0);
	if (work < 0)
		return work;
	res = open_index(s, work);
	if (res == PLY_INDEX_USED || res == PLY_INDEX_NONE)
		open_counts(s, work);
	else
		ply_stack_drop_index(s);
	sys_close(work);
	return res;
}

void ply_stack_drop_index(struct ply_stack *s)
{
	if (s->index >= 0)
		sys_close(s->index);
	if (s->counts >= 0)
		sys_close(s->counts);
	s->index = s->counts = -1;
	free(s->index_files);
	s->index_files = NULL;
}

/* ---- looking ---- */

void ply_index_correct_links(const struct ply_stack *s, struct statx *upper)
{
	const struct ply_index_file key = { .ino = upper->stx_ino }, *file;

	if (!s->index_files || !s->index_files->n)
		return;
	file = bsearch(&key, s->index_files->file, s->index_files->n, sizeof(key), by_ino);
	if (file && (long)upper->stx_nlink + file->extra > 0)
		upper->stx_nlink = (uint32_t)((long)upper->stx_nlink + file->extra);
}

/* How many names of a lower file were removed: a symlink to the number. */
static void subtract_removed(struct ply_stack *s, const char *entry, struct statx *lower)
{
	char value[16] = "";
	long removed;

	if (s->counts < 0 || sys_readlink(s->counts, entry, value, sizeof(value) - 1) <= 0)
		return;
	removed = strtol(value, NULL, 10);
	if (removed > 0 && removed < (long)lower->stx_nlink)
		lower->stx_nlink -= (uint32_t)removed;
}

/* 1 when the index has a file of that type by the name. */
static int find_entry(struct ply_stack *s, const char *entry, unsigned mode, struct statx *stx)
{
	int err = s->index < 0
			  ? -ENOENT
			  : ply_layer_statx(&s->layers[0], s->index, entry, STATX_BASIC_STATS, stx);

	if (err)
		return err == -ENOENT || err == -ENAMETOOLONG ? 0 : err;
	return !((stx->stx_mode ^ mode) & S_IFMT);
}

int ply_index_look(struct ply_stack *s, unsigned layer, const struct ply_side *lower,
		   struct ply_found *out)
{
	char entry[PLY_FH_TEXT];
	struct statx stx;
	struct ply_fh fh;
	int res = ply_mark_encode(lower->layer, lower->fd, lower->name, &fh);

	if (res <= 0)
		return res == -EOPNOTSUPP ? 0 : res;
	ply_fh_text(&fh, entry);
	res = find_entry(s, entry, lower->stx.stx_mode, &stx);
	if (!res)
		subtract_removed(s, entry, &out->stx);
	if (res <= 0)
		return res;
	strcpy(out->entry, entry);
	out->name_layer = layer;
	out->layer = 0;
	out->stx = stx;
	ply_index_correct_links(s, &out->stx);
	return 1;
}
