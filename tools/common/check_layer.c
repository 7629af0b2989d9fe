/*
 * One layer, as it stands on disk, with what the layers below it show at the same place. Directories are read one
 * after the other; what is below the layer is the stack's from its bound on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/room.h"
#include "base/sys.h"
#include "check.h"
#include "layer/override.h"
#include "space.h"

/* A directory with a redirect, and where that leads. */
struct lead {
	char *path, *to;
};

struct scan {
	struct ply_check *c;
	unsigned layer;
	struct lead *leads;
	size_t nleads, room;
	int has_devices; /* whiteouts that are devices or attributes */
	char *aufs;	 /* the first .wh. whiteout */
};

struct dir {
	struct dir *next;
	char *path;
	struct ply_dirs *dirs;
	struct ply_inode_marks marks;
	/* What was seen in it. */
	int has_origins, has_xwhiteouts;
};

/* One entry. */
struct entry {
	struct scan *s;
	struct dir *at;
	int fd;
	const char *name;
	char *path;
	struct statx stx;
	struct ply_inode_marks marks;
};

static void found(const struct entry *e, enum ply_finding what, const char *detail)
{
	ply_found_fault(e->s->c, what, (int)e->s->layer, e->path, detail, PLY_LEFT);
}

/* Something that is no more when the name has gone. */
static void found_name(const struct entry *e, enum ply_finding what, const char *detail)
{
	enum ply_repair repair = S_ISDIR(e->stx.stx_mode)
					 ? PLY_LEFT
					 : ply_repair_unlink(e->s->c, what, e->s->layer, e->path);

	ply_found_fault(e->s->c, what, (int)e->s->layer, e->path, detail, repair);
}

/* A directory's redirect that does not lead where it should. */
static void found_redirect(const struct entry *e, enum ply_finding what, const char *detail)
{
	enum ply_repair repair = S_ISDIR(e->stx.stx_mode)
					 ? ply_repair_cut_off(e->s->c, what, e->s->layer, e->path)
					 : PLY_LEFT;

	ply_found_fault(e->s->c, what, (int)e->s->layer, e->path, detail, repair);
}

static void free_dir(struct dir *d)
{
	if (!d)
		return;
	ply_dirs_free(d->dirs);
	free(d->path);
	free(d);
}

/* ---- whiteouts ---- */

/* Would the layers below show the name? */
static int shows_below(const struct entry *e, const char *name)
{
	struct ply_found f;
	int err = ply_stack_child(&e->s->c->stack, e->at->dirs, name, e->s->layer + 1, &f), shows;

	if (err)
		return err;
	shows = f.kind == PLY_FOUND_FILE || f.kind == PLY_FOUND_DIR;
	ply_found_free(&f);
	return shows;
}

static int on_whiteout(const struct entry *e, const char *name)
{
	int is_upper = e->s->c->stack.has_upper && !e->s->layer;
	int shows = shows_below(e, name);

	/* A layer may have been made for another stack. */
	if (!shows)
		found_name(e, is_upper ? PLY_FOUND_ORPHAN_WHITEOUT : PLY_FOUND_IDLE_WHITEOUT, NULL);
	return shows < 0 ? shows : 0;
}

static int on_aufs(struct entry *e)
{
	const char *name = e->name + PLY_AUFS_PREFIX_LEN;

	if (!strcmp(e->name, PLY_AUFS_OPAQUE))
		return 0;
	if (!strncmp(e->name, PLY_AUFS_META, strlen(PLY_AUFS_META)) && !ply_is_kept_name(name)) {
		found(e, PLY_FOUND_AUFS_LEFTOVER, NULL);
		return 0;
	}
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) {
		found_name(e, PLY_FOUND_AUFS_BAD_NAME, NULL);
		return 0;
	}
	if (!e->s->aufs)
		e->s->aufs = strdup(e->path);
	if (!S_ISREG(e->stx.stx_mode))
		found(e, PLY_FOUND_AUFS_BAD_TYPE, ply_type_word(e->stx.stx_mode));
	if (!sys_access(e->fd, name)) {
		struct statx beside;

		/* A directory is opaque by it. */
		if (!sys_statx(e->fd, name, STATX_TYPE, &beside) && !S_ISDIR(beside.stx_mode))
			found_name(e, PLY_FOUND_AUFS_BESIDE_FILE, name);
		return 0;
	}
	return on_whiteout(e, name);
}

static int on_device(struct entry *e)
{
	e->s->has_devices = 1;
	return on_whiteout(e, e->name);
}

static int announce(const struct entry *e)
{
	struct ply_spot spot;
	int err = ply_spot_open(e->s->c, e->s->layer, e->path, &spot);

	if (err)
		return err;
	err = ply_space_set(spot.fd, "", e->marks.space, PLY_MARK_OPAQUE, "x");
	sys_close(spot.fd);
	return err;
}

static int on_xwhiteout(struct entry *e)
{
	enum ply_repair repair = PLY_LEFT;

	e->at->has_xwhiteouts = 1;
	e->s->has_devices = 1;
	if (e->at->marks.announces || e->at->marks.is_opaque)
		return on_whiteout(e, e->name);
	if (ply_may_repair(e->s->c, PLY_FOUND_UNANNOUNCED_WHITEOUT, e->s->layer))
		repair = ply_repair_done(e->s->c, e->at->path, announce(e));
	ply_found_fault(e->s->c, PLY_FOUND_UNANNOUNCED_WHITEOUT, (int)e->s->layer, e->path, NULL,
			repair);
	e->at->marks.announces = repair == PLY_REPAIRED;
	return 0;
}

/* ---- files ---- */

static int on_metacopy(struct entry *e)
{
	struct ply_found f;
	struct ply_data data;
	int err = ply_stack_child(&e->s->c->stack, e->at->dirs, e->name, e->s->layer, &f);

	if (!err)
		err = ply_stack_data(&e->s->c->stack, e->at->dirs, e->name, &f, &data);
	if (err == -EINVAL || err == -ELOOP) {
		found(e, err == -EINVAL ? PLY_FOUND_BAD_REDIRECT : PLY_FOUND_LOOPING_REDIRECT,
		      e->marks.redirect);
		return 0;
	}
	if (err)
		return err;
	ply_found_free(&f);
	if (!data.path)
		found(e, PLY_FOUND_METACOPY_NO_DATA, NULL);
	else if (data.is_elsewhere && data.stx.stx_size != e->stx.stx_size)
		found(e, PLY_FOUND_METACOPY_SIZE, NULL);
	ply_data_free(&data);
	return 0;
}

static int on_file(struct entry *e)
{
	if (ply_is_aufs_name(e->name))
		return on_aufs(e);
	if (ply_is_whiteout(&e->stx))
		return on_device(e);
	if (e->marks.has_whiteout && S_ISREG(e->stx.stx_mode) && !e->stx.stx_size)
		return on_xwhiteout(e);
	if (e->marks.has_metacopy)
		return on_metacopy(e);
	if (e->marks.has_redirect)
		found(e, PLY_FOUND_IDLE_REDIRECT, e->marks.redirect);
	return 0;
}

/* ---- directories ---- */

static int add_lead(struct scan *s, const char *path, const char *to)
{
	int err = ply_make_room(&s->leads, &s->room, s->nleads, sizeof(*s->leads));

	if (err)
		return err;
	s->leads[s->nleads] = (struct lead){ strdup(path), strdup(to) };
	if (!s->leads[s->nleads].path || !s->leads[s->nleads].to)
		return -ENOMEM;
	s->nleads++;
	return 0;
}

/* Is what the redirect leads to shown at its own place as well? */
static int is_shown_twice(const struct entry *e, const char *below)
{
	struct ply_found f;
	int err = ply_stack_find(&e->s->c->stack, below, e->s->layer, &f), twice;

	if (err)
		return err == -ENOENT || err == -ENOTDIR ? 0 : err;
	twice = f.kind == PLY_FOUND_DIR && f.dirs->below && !strcmp(f.dirs->below, below) &&
		strcmp(below, e->path) != 0 && f.dirs->nparts &&
		f.dirs->parts[f.dirs->nparts - 1].layer > e->s->layer;
	ply_found_free(&f);
	return twice;
}

/* The redirect alone says too much. */
static void found_idle(const struct entry *e, enum ply_finding what)
{
	char attr[64];

	snprintf(attr, sizeof(attr), "%s" PLY_MARK_REDIRECT,
		 ply_space_of(e->fd, e->name, PLY_MARK_REDIRECT));
	ply_found_fault(e->s->c, what, (int)e->s->layer, e->path, e->marks.redirect,
			ply_repair_attr(e->s->c, what, e->s->layer, e->path, attr));
}

static int on_redirect(struct entry *e, const struct ply_dirs *dirs)
{
	const struct ply_part *last = &dirs->parts[dirs->nparts - 1];
	char *here;
	int twice;

	if (e->marks.is_opaque) {
		found_idle(e, PLY_FOUND_OPAQUE_REDIRECT);
		return 0;
	}
	if (!dirs->below || last->layer <= e->s->layer) {
		found_redirect(e, PLY_FOUND_DANGLING_REDIRECT, e->marks.redirect);
		return 0;
	}
	here = e->at->dirs->below ? ply_join(e->at->dirs->below, e->name) : NULL;
	if (here && !strcmp(here, dirs->below)) {
		free(here);
		found_idle(e, PLY_FOUND_SELF_REDIRECT);
		return 0;
	}
	free(here);
	twice = is_shown_twice(e, dirs->below);
	if (twice > 0)
		found_redirect(e, PLY_FOUND_DUPLICATE_REDIRECT,
			       "what it leads to is shown there, too");
	return twice ? twice < 0 ? twice : 0 : add_lead(e->s, e->path, dirs->below);
}

/* The directory as the layer and those below it have it; alone where its marks make no sense. */
static int find_dirs(struct entry *e, struct ply_dirs **out)
{
	struct ply_found f;
	int err = ply_stack_child(&e->s->c->stack, e->at->dirs, e->name, e->s->layer, &f);

	if (!err && f.kind == PLY_FOUND_DIR) {
		*out = f.dirs;
		return 0;
	}
	if (!err)
		ply_found_free(&f);
	if (err && err != -EINVAL && err != -ELOOP)
		return err;
	if (err)
		found_redirect(e,
			       err == -EINVAL ? PLY_FOUND_BAD_REDIRECT : PLY_FOUND_LOOPING_REDIRECT,
			       e->marks.redirect);
	*out = ply_dirs_alone(e->s->layer, e->path);
	return *out ? 1 : -ENOMEM;
}

static int on_dir(struct entry *e, struct dir ***end)
{
	struct ply_dirs *dirs = NULL;
	int err;

	if (ply_is_aufs_name(e->name)) /* AUFS's own, or nothing that anybody reads */
		return on_aufs(e);
	err = find_dirs(e, &dirs);
	if (!err && e->marks.has_redirect)
		err = on_redirect(e, dirs);
	if (err >= 0) {
		struct dir *d = calloc(1, sizeof(*d));

		if (!d) {
			ply_dirs_free(dirs);
			return -ENOMEM;
		}
		*d = (struct dir){ .path = e->path, .dirs = dirs, .marks = e->marks };
		e->path = NULL;
		**end = d;
		*end = &d->next;
	}
	return err < 0 ? err : 0;
}

/* ---- reading ---- */

static int look(struct scan *s, struct dir *at, int fd, const char *name, struct dir ***end)
{
	struct entry e = { .s = s, .at = at, .fd = fd, .name = name };
	struct ply_layer *layer = &s->c->stack.layers[s->layer];
	int err;

	e.path = ply_join(at->path, name);
	if (!e.path)
		return -ENOMEM;
	s->c->progress.entries++;
	err = ply_layer_statx(layer, fd, name, STATX_BASIC_STATS, &e.stx);
	if (!err)
		err = ply_check_marks(s->c, s->layer, fd, name, e.path, &e.stx, &e.marks);
	at->has_origins |= e.marks.has_origin;
	if (!err)
		err = S_ISDIR(e.stx.stx_mode) ? on_dir(&e, end) : on_file(&e);
	if (err && err != -EINTR && err != -ENOMEM) {
		ply_complain("cannot check", e.path, err);
		err = 0;
	}
	free(e.path);
	return err;
}

static int make_impure(const struct scan *s, const struct dir *d)
{
	static const char *const tries[] = { PLY_SPACE_TRUSTED_PREFIX, PLY_SPACE_USER_PREFIX };
	int fd = ply_open_beneath(s->c->upper_fd, d->path), err = fd < 0 ? fd : -EPERM;

	for (size_t i = 0; fd >= 0 && err == -EPERM && i < 2; i++) {
		char attr[64];

		snprintf(attr, sizeof(attr), "%s" PLY_MARK_IMPURE, tries[i]);
		err = sys_setxattr(fd, "", attr, "y", 1, 0);
	}
	if (fd >= 0)
		sys_close(fd);
	return err;
}

/* What is known when all of a directory was seen. */
static void judge_dir(const struct scan *s, const struct dir *d)
{
	enum ply_repair repair = PLY_LEFT;

	if (d->marks.announces == 1 && !d->has_xwhiteouts)
		ply_found_fault(s->c, PLY_FOUND_IDLE_ANNOUNCEMENT, (int)s->layer, d->path, NULL,
				PLY_LEFT);
	if (!d->has_origins || d->marks.is_impure || !s->c->stack.has_upper || s->layer)
		return;
	if (ply_may_repair(s->c, PLY_FOUND_IMPURE_MISSING, s->layer))
		repair = ply_repair_done(s->c, d->path, make_impure(s, d));
	ply_found_fault(s->c, PLY_FOUND_IMPURE_MISSING, (int)s->layer, d->path, NULL, repair);
}

static int check_dir(struct scan *s, struct dir *d)
{
	int fd = ply_open_beneath(s->c->stack.layers[s->layer].root, d->path);
	struct dir *list = NULL, **end = &list, *next;
	struct ply_names names = { 0 };
	int err = fd < 0 ? fd : ply_raw_names(fd, &names);

	for (size_t i = 0; !err && i < names.n; i++)
		err = look(s, d, fd, names.name[i], &end);
	ply_names_free(&names);
	if (fd >= 0)
		sys_close(fd);
	ply_dirs_close(d->dirs);
	if (err && err != -EINTR && err != -ENOMEM) {
		ply_complain("cannot read", d->path, err);
		err = 0;
	} else if (!err) {
		judge_dir(s, d);
	}
	for (; list; list = next) {
		next = list->next;
		if (!err)
			err = check_dir(s, list);
		free_dir(list);
	}
	return err;
}

static int by_target(const void *a, const void *b)
{
	const struct lead *x = a, *y = b;

	return strcmp(x->to, y->to);
}

static void judge_leads(struct scan *s)
{
	if (s->nleads)
		qsort(s->leads, s->nleads, sizeof(*s->leads), by_target);
	for (size_t i = 0; i < s->nleads; i++) {
		if (i && !strcmp(s->leads[i].to, s->leads[i - 1].to))
			ply_found_fault(s->c, PLY_FOUND_DUPLICATE_REDIRECT, (int)s->layer,
					s->leads[i].path, s->leads[i].to,
					ply_repair_cut_off(s->c, PLY_FOUND_DUPLICATE_REDIRECT,
							   s->layer, s->leads[i].path));
	}
	for (size_t i = 0; i < s->nleads; i++) {
		free(s->leads[i].path);
		free(s->leads[i].to);
	}
	free(s->leads);
}

int ply_check_layer(struct ply_check *c, unsigned layer)
{
	struct scan s = { .c = c, .layer = layer };
	struct ply_layer *l = &c->stack.layers[layer];
	struct dir *root = calloc(1, sizeof(*root));
	struct statx stx;
	int err = root ? 0 : -ENOMEM;

	c->stack.bound = layer + 1;
	if (!err) {
		root->path = strdup("");
		root->dirs = ply_stack_root(&c->stack);
		err = root->path && root->dirs ? 0 : -ENOMEM;
	}
	if (!err)
		err = ply_layer_statx(l, l->root, "", STATX_BASIC_STATS, &stx);
	if (!err)
		err = ply_check_marks(c, layer, l->root, "", "", &stx, &root->marks);
	if (!err)
		err = check_dir(&s, root);
	if (!err && s.aufs && s.has_devices)
		ply_found_fault(c, PLY_FOUND_MIXED_WHITEOUTS, (int)layer, s.aufs, NULL, PLY_LEFT);
	judge_leads(&s);
	free(s.aufs);
	free_dir(root);
	return err;
}
