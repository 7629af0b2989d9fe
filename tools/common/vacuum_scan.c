/*
 * Looks through the upper, directory by directory, for entries that are as what they hide. Whatever is not
 * understood stays: what has a .wh. file beside it, other file systems, flags that forbid to remove.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "base/sys.h"
#include "cli.h"
#include "compare.h"
#include "extents.h"
#include "layer/override.h"
#include "space.h"
#include "vacuum.h"

#define BLOCK 512

struct dir {
	struct dir *next;
	struct ply_dirs *dirs;
	struct ply_spare *spare;
};

/* One name in the upper. */
struct entry {
	struct ply_vacuum *v;
	struct dir *at;
	int fd;
	const char *name;
	struct statx stx;
};

/* The file that it hides, and what ties it to a lower inode; lengths are 0 where there is no handle. */
struct hidden {
	struct ply_found found;
	int fd;
	int len, origin_len;
	struct ply_fh handle, origin; /* of what is hidden; of what it was copied up from */
};

static void free_dir(struct dir *d)
{
	if (d)
		ply_dirs_free(d->dirs);
	free(d);
}

static struct ply_layer *upper_of(const struct entry *e)
{
	return &e->v->stack.layers[0];
}

static struct ply_spare *add(const struct entry *e, enum ply_spare_kind kind)
{
	return ply_spare_add(e->v, e->at->spare, e->name, kind);
}

/* An entry that is not as what it hides by itself. */
static int stays(const struct entry *e)
{
	e->at->spare->others++;
	return 0;
}

/* ---- whiteouts ---- */

static int hides_nothing(const struct entry *e, const char *name)
{
	struct ply_found f;
	int err = ply_stack_child(&e->v->stack, e->at->dirs, name, 1, &f), nothing;

	if (err)
		return err;
	nothing = f.kind == PLY_FOUND_NOTHING || f.kind == PLY_FOUND_WHITEOUT;
	ply_found_free(&f);
	return nothing;
}

static void join_group(struct ply_spare *spare, struct ply_spare_group *group)
{
	spare->group = group;
	spare->next = group->first;
	group->first = spare;
	group->seen += (spare->flags & PLY_SPARE_IS_EQUAL) != 0;
}

static int on_whiteout(const struct entry *e, const char *name)
{
	int nothing = hides_nothing(e, name);
	struct ply_spare_group *group;
	struct ply_spare *spare;

	if (nothing <= 0)
		return nothing ? nothing : stays(e);
	spare = add(e, PLY_SPARE_WHITEOUT);
	if (!spare)
		return -ENOMEM;
	spare->flags = PLY_SPARE_IS_EQUAL;
	if (e->stx.stx_nlink < 2)
		return 0;
	group = ply_spare_group(e->v, &e->stx);
	if (!group)
		return -ENOMEM;
	group->are_apart = 1;
	join_group(spare, group);
	return 0;
}

static int on_aufs(const struct entry *e)
{
	const char *name = ply_aufs_target(e->name);
	struct ply_part *part = &e->at->dirs->parts[0];

	if (!name || !S_ISREG(e->stx.stx_mode))
		return stays(e);
	/* Beside a directory it says something of that; what is beside a file goes when the file has gone. */
	if (!sys_access(e->fd, name) && !ply_part_whiteout(&e->v->stack, part, name))
		return stays(e);
	return on_whiteout(e, name);
}

/* ---- origins ---- */

static uint64_t hash_of(const struct ply_fh *fh)
{
	return XXH3_64bits(&fh->type, fh->len - offsetof(struct ply_fh, type));
}

/* Was it copied up from what it hides? */
static int is_from_there(const struct hidden *h)
{
	return h->len && h->len == h->origin_len && h->handle.type == h->origin.type &&
	       !memcmp(h->handle.fid, h->origin.fid, (size_t)h->len - PLY_FH_HEADER);
}

static int read_handles(const struct entry *e, struct hidden *h)
{
	struct ply_part *part;
	int len = ply_mark_origin(upper_of(e), e->fd, e->name, &h->origin);

	if (len < 0)
		return len;
	h->origin_len = len;
	if (h->found.kind != PLY_FOUND_FILE)
		return 0;
	part = ply_dirs_part(e->at->dirs, h->found.layer);
	h->fd = part ? ply_part_open(&e->v->stack, part) : -ENOENT;
	if (h->fd < 0)
		return h->fd;
	len = ply_mark_encode(&e->v->stack.layers[h->found.layer], h->fd, e->name, &h->handle);
	h->len = len > 0 ? len : 0;
	return len < 0 && len != -EOPNOTSUPP ? len : 0;
}

/* ---- hard links ---- */

/* The mark of an entry in the index: does the union show as many links as the lower inode has? */
static int has_all_links(const struct ply_vacuum *v, const char *entry,
			 const struct ply_spare_group *group)
{
	char base;
	long diff;

	if (!ply_space_nlink(v->index, entry, &base, &diff))
		return 0;
	return base == 'L' ? diff == 0 : (long)group->names + diff == (long)group->below.stx_nlink;
}

/* An inode that is in the index of hard links has the name there that its origin spells. */
static int find_entry(const struct entry *e, const struct hidden *h, struct ply_spare_group *group)
{
	char hex[PLY_FH_TEXT];
	struct statx stx;

	if (!h->origin_len || e->v->index < 0)
		return 0;
	ply_fh_text(&h->origin, hex);
	if (sys_statx(e->v->index, hex, STATX_BASIC_STATS, &stx) || !ply_same_inode(&stx, &e->stx))
		return 0;
	group->differs |= e->v->index_is_for_nfs || !is_from_there(h);
	group->has_all_links = has_all_links(e->v, hex, group);
	group->entry = strdup(hex);
	return group->entry ? 0 : -ENOMEM;
}

static int add_to_group(const struct entry *e, const struct hidden *h, struct ply_spare *spare)
{
	struct ply_spare_group *group;
	int err = 0;

	if (e->stx.stx_nlink < 2 && h->found.stx.stx_nlink < 2)
		return 0;
	group = ply_spare_group(e->v, &e->stx);
	if (!group)
		return -ENOMEM;
	if (!group->first) {
		group->below = h->found.stx;
		err = find_entry(e, h, group);
	}
	group->differs |= !ply_same_inode(&group->below, &h->found.stx);
	join_group(spare, group);
	return err;
}

/* ---- files ---- */

/* Of the pair a says what it would cost to have the data once. */
static int look_for_copy(const struct entry *e, const struct ply_data *mine,
			 const struct ply_data *theirs, struct ply_spare *spare)
{
	struct ply_stack *s = &e->v->stack;
	int a, b, err;

	if (mine->layer || ply_same_inode(&mine->stx, &theirs->stx))
		return 0;
	a = ply_open_own(e->v, mine->path);
	b = a < 0 ? a : ply_stack_open_data(s, theirs);
	err = b < 0 ? b : ply_can_share(a, b);
	if (err == -EOPNOTSUPP)
		e->v->trouble = "the upper's file system cannot share data (FIDEDUPERANGE)";
	if (!err && !ply_shares_data(a, b)) {
		spare->size = e->stx.stx_size;
		spare->copy_layer = theirs->layer;
		spare->copy_path = strdup(theirs->path);
		spare->flags |= PLY_SPARE_HAS_COPY;
		err = spare->copy_path ? 0 : -ENOMEM;
	}
	if (b >= 0)
		sys_close(b);
	if (a >= 0)
		sys_close(a);
	return err == -EXDEV ? 0 : err;
}

/* 1: the data is the same, and what to do with it stands in spare; 0: it is not. */
static int compare_data(const struct entry *e, const struct hidden *h, struct ply_spare *spare)
{
	struct ply_stack *s = &e->v->stack;
	struct ply_found own = { .layer = 0 };
	struct ply_data mine, theirs = { 0 };
	int err = ply_stack_data(s, e->at->dirs, e->name, &own, &mine), differs = 1;

	if (!err)
		err = ply_stack_data(s, e->at->dirs, e->name, &h->found, &theirs);
	if (!err && mine.path && theirs.path)
		differs = ply_compare_data(s, &mine, &theirs, &e->v->progress.data.copied);
	if (!err && !differs && e->v->looks_for_copies && e->stx.stx_size)
		err = look_for_copy(e, &mine, &theirs, spare);
	ply_data_free(&mine);
	ply_data_free(&theirs);
	if (err || differs < 0)
		return err ? err : differs;
	return !differs;
}

static void say_kept(const struct entry *e, unsigned differs)
{
	char *dir, *path, *quoted;

	if (!e->v->args.cli.verbose)
		return;
	dir = ply_spare_path(e->at->spare);
	path = dir ? ply_join(dir, e->name) : NULL;
	quoted = ply_quote(path);
	ply_progress_pause();
	fprintf(stderr, "kept %s:", quoted);
	for (unsigned bit = 1; bit <= PLY_DIFFERS_TARGET; bit <<= 1)
		if (differs & bit)
			fprintf(stderr, " %s", ply_differs_word(bit));
	fputc('\n', stderr);
	ply_progress_resume();
	free(quoted);
	free(path);
	free(dir);
}

/* 1, 0 or -errno. */
static int is_bound(const struct entry *e)
{
	int aufs;

	if (e->stx.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
		return 1;
	aufs = ply_mark_aufs(e->fd, e->name);
	if (aufs)
		return aufs;
	return ply_mark_is_set(upper_of(e), e->fd, e->name, PLY_MARK_PROTATTR);
}

/* Both are of one type. Adds what may go or be shared, and says so: 1; else 0. */
static int judge_file(const struct entry *e, const struct hidden *h)
{
	struct ply_side mine = { upper_of(e), e->fd, e->name, e->stx },
			theirs = { &e->v->stack.layers[h->found.layer], h->fd, e->name,
				   h->found.stx };
	int differs = ply_compare_attrs(&mine, &theirs), is_equal, same = 1;
	struct ply_spare *spare;

	if (differs < 0)
		return differs;
	is_equal = !((unsigned)differs & ~e->v->ignored);
	if (!is_equal &&
	    (!e->v->looks_for_copies || differs & PLY_DIFFERS_SIZE || !S_ISREG(e->stx.stx_mode))) {
		say_kept(e, (unsigned)differs);
		return 0;
	}
	spare = add(e, PLY_SPARE_FILE);
	if (!spare)
		return -ENOMEM;
	if (S_ISREG(e->stx.stx_mode))
		same = compare_data(e, h, spare);
	if (!same)
		say_kept(e, PLY_DIFFERS_DATA);
	if (same <= 0)
		return same ? same : 1; /* it is in the list, without flags, and stays */
	spare->flags |= is_equal ? PLY_SPARE_IS_EQUAL : 0;
	spare->uncovers = h->len && !is_from_there(h) ? hash_of(&h->handle) : 0;
	spare->bytes = e->stx.stx_blocks * BLOCK;
	if (!is_equal)
		say_kept(e, (unsigned)differs);
	same = add_to_group(e, h, spare);
	return same ? same : 1;
}

static int is_comparable(const struct entry *e, const struct hidden *h)
{
	int bound;

	if (h->found.kind != PLY_FOUND_FILE ||
	    (h->found.stx.stx_mode & S_IFMT) != (e->stx.stx_mode & S_IFMT) ||
	    ply_same_inode(&h->found.stx, &e->stx))
		return 0;
	bound = is_bound(e);
	return bound < 0 ? bound : !bound;
}

static int on_file(const struct entry *e)
{
	struct hidden h = { .fd = -1 };
	int res = ply_stack_child(&e->v->stack, e->at->dirs, e->name, 1, &h.found);

	if (res)
		return res;
	res = read_handles(e, &h);
	if (!res && h.origin_len && !is_from_there(&h))
		res = ply_vacuum_add_stray(e->v, hash_of(&h.origin));
	if (!res)
		res = is_comparable(e, &h);
	if (res > 0)
		res = judge_file(e, &h);
	ply_found_free(&h.found);
	if (res)
		return res < 0 ? res : 0;
	return stays(e);
}

/* ---- directories ---- */

/* Says nothing of what is below, and has the attributes of what it would leave to be seen. */
static int is_like_below(const struct entry *e)
{
	struct ply_side mine = { upper_of(e), e->fd, e->name, e->stx }, theirs = { 0 };
	struct ply_found f;
	struct ply_part *part;
	int res = ply_mark_opaque(upper_of(e), e->fd, e->name);

	if (res < 0 || res == PLY_OPAQUE_ALL || e->v->index_is_for_nfs)
		return res < 0 ? res : 0;
	res = is_bound(e);
	if (!res)
		res = ply_mark_is_set(upper_of(e), e->fd, e->name, PLY_MARK_REDIRECT);
	if (res)
		return res < 0 ? res : 0;
	res = ply_stack_child(&e->v->stack, e->at->dirs, e->name, 1, &f);
	if (res)
		return res;
	if (f.kind == PLY_FOUND_DIR && !ply_same_inode(&f.stx, &e->stx)) {
		part = ply_dirs_part(e->at->dirs, f.layer);
		theirs = (struct ply_side){ &e->v->stack.layers[f.layer],
					    part ? ply_part_open(&e->v->stack, part) : -ENOENT,
					    e->name, f.stx };
		res = theirs.fd < 0 ? theirs.fd : ply_compare_attrs(&mine, &theirs);
		if (res > 0 && ((unsigned)res & ~e->v->ignored))
			say_kept(e, (unsigned)res);
		res = res < 0 ? res : !((unsigned)res & ~e->v->ignored);
	}
	ply_found_free(&f);
	return res;
}

static int on_dir(const struct entry *e, struct dir ***end)
{
	struct ply_found f;
	struct dir *d;
	int is_equal = is_like_below(e), err;

	if (is_equal < 0)
		return is_equal;
	err = ply_stack_child(&e->v->stack, e->at->dirs, e->name, 0, &f);
	if (err)
		return err;
	d = f.kind == PLY_FOUND_DIR && !f.layer ? calloc(1, sizeof(*d)) : NULL;
	if (!d) {
		ply_found_free(&f);
		return f.kind == PLY_FOUND_DIR ? -ENOMEM : -ESTALE;
	}
	d->dirs = f.dirs;
	**end = d;
	*end = &d->next;
	d->spare = add(e, PLY_SPARE_DIR);
	if (!d->spare)
		return -ENOMEM;
	d->spare->flags = is_equal ? PLY_SPARE_IS_EQUAL : 0;
	d->spare->bytes = e->stx.stx_blocks * BLOCK;
	return 0;
}

/* ---- reading ---- */

static int look(const struct entry *e, struct dir ***end)
{
	const struct ply_layer *upper = upper_of(e);
	int white;

	if (makedev(e->stx.stx_dev_major, e->stx.stx_dev_minor) != upper->dev)
		return stays(e);
	if (ply_is_aufs_name(e->name))
		return on_aufs(e);
	if (S_ISDIR(e->stx.stx_mode))
		return on_dir(e, end);
	white = ply_part_whiteout(&e->v->stack, &e->at->dirs->parts[0], e->name);
	if (white)
		return white < 0 ? white : on_whiteout(e, e->name);
	return on_file(e);
}

static int is_fatal(int err)
{
	return err == -EINTR || err == -ENOMEM || err == -EOPNOTSUPP;
}

static int look_at(struct ply_vacuum *v, struct dir *d, int fd, const char *name, struct dir ***end)
{
	struct entry e = { .v = v, .at = d, .fd = fd, .name = name };
	int err = ply_layer_statx(upper_of(&e), fd, name, STATX_BASIC_STATS, &e.stx);
	char *dir, *path;

	v->progress.entries++;
	if (!err)
		err = look(&e, end);
	if (!err || is_fatal(err))
		return err;
	dir = ply_spare_path(d->spare);
	path = dir ? ply_join(dir, name) : NULL;
	ply_complain("cannot compare", path, err);
	free(path);
	free(dir);
	return stays(&e);
}

static int scan_dir(struct ply_vacuum *v, struct dir *d)
{
	int fd = ply_part_open(&v->stack, &d->dirs->parts[0]);
	struct dir *list = NULL, **end = &list, *next;
	struct ply_names names = { 0 };
	int err = fd < 0 ? fd : ply_raw_names(fd, &names);

	if (err && !is_fatal(err)) {
		ply_complain("cannot read", d->dirs->parts[0].path, err);
		d->spare->others++;
		err = 0;
	}
	for (size_t i = 0; !err && i < names.n; i++)
		err = look_at(v, d, fd, names.name[i], &end);
	ply_names_free(&names);
	ply_dirs_close(d->dirs);
	for (; list; list = next) {
		next = list->next;
		if (!err)
			err = scan_dir(v, list);
		free_dir(list);
	}
	return err;
}

/* What lies in the upper would be compared with itself. */
int ply_vacuum_check_layout(struct ply_vacuum *v)
{
	struct statx upper, lower;
	int err = sys_statx(v->upper, "", STATX_INO, &upper);

	for (unsigned i = 1; !err && i < v->stack.n + v->stack.ndata; i++) {
		int root = v->stack.layers[i].root, fd;

		/* By its path, as the layer's own descriptor may be of a private copy of the mounts. */
		fd = sys_open(AT_FDCWD, v->stack.layers[i].path, O_PATH | O_DIRECTORY, 0);
		err = fd < 0 ? fd : sys_statx(root, "", STATX_INO, &lower);
		if (!err && (ply_layer_is_below(fd, &upper) > 0 ||
			     ply_layer_is_below(v->upper, &lower) > 0)) {
			v->trouble = "it and the upper lie in one another";
			err = -EINVAL;
		}
		if (fd >= 0)
			sys_close(fd);
		if (err)
			ply_complain_of("cannot take the layer", v->stack.layers[i].path, err,
					v->trouble);
	}
	return err;
}

int ply_vacuum_scan(struct ply_vacuum *v)
{
	struct dir *root = calloc(1, sizeof(*root));
	int err = root ? 0 : -ENOMEM;

	if (!err) {
		root->dirs = ply_stack_root(&v->stack);
		root->spare = ply_spare_add(v, NULL, "", PLY_SPARE_DIR);
		err = root->dirs && root->spare ? 0 : -ENOMEM;
	}
	if (!err)
		err = scan_dir(v, root);
	free_dir(root);
	return err;
}
