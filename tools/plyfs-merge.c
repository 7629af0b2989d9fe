/*
 * plyfs-merge: makes one layer of several that lie on one another. In a stack it shows what they showed, on
 * whatever is below: what hides or continues that keeps its marks. The layers are not changed. The new one
 * appears whole, by one rename, or not at all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/busy.h"
#include "common/interrupt.h"
#include "common/links.h"
#include "common/lost.h"
#include "common/space.h"
#include "common/staging.h"
#include "layer/copy.h"
#include "layer/override.h"

#define READLINK_MAX 4096
#define PLAIN_FILE (S_IFREG | S_IRUSR | S_IWUSR)

enum {
	OPT_BASE = 256,
	OPT_XATTRS,
};

static const struct ply_own_option own[] = {
	{ OPT_BASE, "base", NULL, "nothing will be below: no whiteouts and marks" },
	{ OPT_XATTRS, "xattrs", "trusted|user",
	  "the space of marks, where the layers do not tell" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"[--base] [--xattrs=trusted|user] [-j] [-q] [-v] -l LAYER:LAYER... [-u UPPER] TARGET",
	.text = "Makes the directory TARGET, a layer that shows the same as the given ones, topmost first, in any\n"
		"stack that they lay on one another in. TARGET must not exist, or be empty.\n"
		"Exit status: 0 done, 2 trouble, 3 the upper is in use; there is no layer then.\n",
	.own = own,
	.min = 1,
	.max = 1,
	.usage_exit = PLY_EXIT_TROUBLE,
};

struct merge {
	struct ply_args args;
	struct ply_stack stack;
	struct ply_staging staging;
	struct ply_layer to;
	int has_overrides;
	struct ply_links *links;
	struct ply_lost lost;
	struct ply_progress progress;
	const char *space; /* of marks that come from nowhere */
	int lock;
	uint64_t files, dirs, whiteouts;
	const char *trouble, *at;
	char *where; /* of the first error */
	double start;
};

/* A directory in the making. */
struct dir {
	struct dir *next;
	char *path;
	struct ply_dirs *dirs;
	struct ply_found found; /* its inode; dirs not used */
	const char *needs;	/* the mark opaque: "y", or "x" by what is in it; or NULL */
	const char *whiteout_space;
	char *redirect;
};

/* One name. */
struct entry {
	struct merge *m;
	struct dir *dir;
	int target; /* the directory in the layer that is made */
	const char *name;
	char *path;
	struct ply_found f;
};

static void free_dir(struct dir *d)
{
	if (!d)
		return;
	ply_dirs_free(d->dirs);
	free(d->redirect);
	free(d->path);
	free(d);
}

static int is_base(const struct merge *m)
{
	return m->args.set[OPT_BASE];
}

/* ---- attributes ---- */

static int cannot_keep(void *arg, const char *attr, int err)
{
	struct merge *m = arg;
	const char *what = attr ? attr : "the owner";

	ply_lost_add(&m->lost, what, err,
		     ply_lost_is_known(&m->lost, what) ? NULL : strdup(*m->at ? m->at : "."));
	return 0;
}

static int copy_attrs(struct merge *m, struct ply_part *part, const char *name,
		      const struct statx *stx, int to, const char *to_name)
{
	struct ply_attr_source from = { .layer = &m->stack.layers[part->layer],
					.to = m->has_overrides ? &m->to : NULL,
					.fd = ply_part_open(&m->stack, part),
					.name = name,
					.cannot_keep = cannot_keep,
					.arg = m };

	return from.fd < 0 ? from.fd : ply_copy_attrs(&from, stx, to, to_name);
}

/* The space that one of a directory's parts has the mark in, or the usual one. */
static const char *space_for(struct merge *m, struct ply_dirs *dirs, const char *mark)
{
	for (unsigned i = 0; i < dirs->nparts; i++) {
		int fd = ply_part_open(&m->stack, &dirs->parts[i]);
		const char *space = fd < 0 ? NULL : ply_space_of(fd, "", mark);

		if (space)
			return space;
	}
	return m->space;
}

static int set_mark(struct merge *m, int fd, const char *name, const char *space, const char *mark,
		    const char *value)
{
	int err = space ? ply_space_set(fd, name, space, mark, value) : -EOPNOTSUPP;

	if (err == -EOPNOTSUPP || err == -EPERM)
		m->trouble = "the new layer's file system does not hold its overlay marks";
	return err;
}

static int set_opaque(struct merge *m, int fd, const char *space)
{
	int err;

	if (space)
		return set_mark(m, fd, "", space, PLY_MARK_OPAQUE, "y");
	err = sys_mknod(fd, PLY_AUFS_OPAQUE, PLAIN_FILE, 0);
	return err == -EEXIST ? 0 : err;
}

/* ---- whiteouts ---- */

static int device_whiteout(struct merge *m, int target, const char *name)
{
	struct ply_links_key key = { .names = UINT64_MAX };
	int res = ply_links_take(m->links, &key, target, name);

	if (res)
		return res < 0 ? res : 0;
	res = sys_mknod(target, name, S_IFCHR, makedev(PLY_WHITEOUT_MAJOR, PLY_WHITEOUT_MINOR));
	return res ? res : ply_links_keep(m->links, &key, target, name);
}

/* In the form that the topmost layer has it in. */
static int on_whiteout(struct entry *e)
{
	struct ply_part *part = ply_dirs_part(e->dir->dirs, e->f.layer);
	struct merge *m = e->m;
	char aufs[PLY_AUFS_PREFIX_LEN + PLY_NAME_MAX + 1];
	struct statx stx;
	int err;

	/* Where nothing comes from below there is nothing to hide. */
	if (is_base(m) || !e->dir->dirs->below)
		return 0;
	m->whiteouts++;
	err = sys_statx(part->fd, e->name, STATX_BASIC_STATS, &stx);
	if (err == -ENOENT) {
		snprintf(aufs, sizeof(aufs), PLY_AUFS_PREFIX "%s", e->name);
		return sys_mknod(e->target, aufs, PLAIN_FILE, 0);
	}
	if (err || ply_is_whiteout(&stx))
		return err ? err : device_whiteout(m, e->target, e->name);
	err = sys_mknod(e->target, e->name, PLAIN_FILE, 0);
	e->dir->needs = "x";
	e->dir->whiteout_space = ply_space_of(part->fd, e->name, PLY_MARK_WHITEOUT);
	if (!e->dir->whiteout_space)
		e->dir->whiteout_space = m->space;
	return err ? err
		   : set_mark(m, e->target, e->name, e->dir->whiteout_space, PLY_MARK_WHITEOUT,
			      "y");
}

/* ---- files ---- */

/* The data is below all of the layers: the file stays without, and says where. */
static int keep_metacopy(struct entry *e, const struct ply_data *data, int out)
{
	struct ply_part *part = ply_dirs_part(e->dir->dirs, e->f.layer);
	const char *space = ply_space_of(part->fd, e->name, PLY_MARK_METACOPY);
	char *redirect;
	int err;

	if (is_base(e->m) || !data->below) {
		e->m->trouble = "the file's data is in no layer (metacopy)";
		return -EIO;
	}
	err = sys_truncate(out, (off_t)e->f.stx.stx_size);
	if (!err)
		err = set_mark(e->m, out, "", space, PLY_MARK_METACOPY, "");
	redirect = ply_join("/", data->below);
	if (!err && !redirect)
		err = -ENOMEM;
	if (!err)
		err = set_mark(e->m, out, "", space, PLY_MARK_REDIRECT, redirect + 1);
	free(redirect);
	return err;
}

static int copy_data(struct entry *e, int out)
{
	struct ply_data data;
	int err = ply_stack_data(&e->m->stack, e->dir->dirs, e->name, &e->f, &data), in;

	if (err)
		return err;
	if (!data.path) {
		err = keep_metacopy(e, &data, out);
	} else if (data.stx.stx_size) {
		in = ply_stack_open_data(&e->m->stack, &data);
		err = in < 0 ? in
			     : ply_copy_data(&e->m->to, in, out, (off_t)data.stx.stx_size,
					     &e->m->progress.data);
		if (in >= 0)
			sys_close(in);
	}
	ply_data_free(&data);
	return err;
}

static int copy_regular(struct entry *e, struct ply_part *part)
{
	int out = sys_open(e->target, e->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
			   S_IRUSR | S_IWUSR);
	int err = out < 0 ? out : copy_data(e, out);

	if (!err)
		err = copy_attrs(e->m, part, e->name, &e->f.stx, out, "");
	if (out >= 0)
		sys_close(out);
	return err;
}

static int copy_special(struct entry *e, struct ply_part *part)
{
	const struct statx *stx = &e->f.stx;
	char target[READLINK_MAX + 1];
	int err;

	if (S_ISLNK(stx->stx_mode)) {
		ssize_t n = sys_readlink(part->fd, e->name, target, READLINK_MAX);

		if (n < 0)
			return (int)n;
		target[n] = '\0';
		err = sys_symlink(target, e->target, e->name);
	} else {
		err = ply_layer_mknod(&e->m->to, e->target, e->name,
				      stx->stx_mode & (S_IFMT | S_IRWXU),
				      makedev(stx->stx_rdev_major, stx->stx_rdev_minor));
		if (err == -EPERM)
			e->m->trouble = "no permission to make a device here";
	}
	return err ? err : copy_attrs(e->m, part, e->name, stx, e->target, e->name);
}

static int on_file(struct entry *e)
{
	struct ply_part *part = ply_dirs_part(e->dir->dirs, e->f.layer);
	struct ply_links_key key = ply_links_key(&e->f.stx);
	int res = ply_links_take(e->m->links, &key, e->target, e->name);

	e->m->files++;
	if (res)
		return res < 0 ? res : 0;
	res = S_ISREG(e->f.stx.stx_mode) ? copy_regular(e, part) : copy_special(e, part);
	return res ? res : ply_links_keep(e->m->links, &key, e->target, e->name);
}

/* ---- directories ---- */

/* What the new directory must say of the layers below: nothing where they are found at the same place. */
static int find_needs(struct entry *e, struct dir *d)
{
	const char *above = e->dir->dirs->below, *below = d->dirs->below;
	char *here;
	int is_here;

	if (is_base(e->m) || (!above && !below))
		return 0;
	if (!below) {
		d->needs = "y";
		return 0;
	}
	here = above ? ply_join(above, e->name) : NULL;
	if (above && !here)
		return -ENOMEM;
	is_here = here && !strcmp(here, below);
	free(here);
	if (is_here)
		return 0;
	return asprintf(&d->redirect, "/%s", below) < 0 ? -ENOMEM : 0;
}

static int on_dir(struct entry *e, struct dir ***end)
{
	struct dir *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	*d = (struct dir){ .path = e->path, .dirs = e->f.dirs, .found = e->f };
	e->path = NULL;
	e->f.dirs = NULL;
	**end = d;
	*end = &d->next;
	e->m->dirs++;
	err = find_needs(e, d);
	return err ? err : sys_mkdir(e->target, e->name, S_IRWXU);
}

static void say(const struct entry *e)
{
	static const char *const kinds[] = { "", "whiteout ", "file     ", "directory" };
	char *escaped;

	if (!e->m->args.cli.verbose)
		return;
	escaped = ply_escape(e->path);
	ply_progress_pause();
	fprintf(stderr, "%s %s\n", kinds[e->f.kind], escaped);
	ply_progress_resume();
	free(escaped);
}

static int failed_at(struct merge *m, const char *path, int err)
{
	if (err && !m->where) {
		m->where = strdup(path);
		ply_interrupt_end();
	}
	return err;
}

static int one_name(struct merge *m, struct dir *dir, int target, const char *name,
		    struct dir ***end)
{
	struct entry e = { .m = m, .dir = dir, .target = target, .name = name };
	int err;

	e.path = ply_join(dir->path, name);
	err = e.path ? ply_stack_child(&m->stack, dir->dirs, name, 0, &e.f) : -ENOMEM;
	m->at = e.path;
	m->progress.entries++;
	if (!err) {
		say(&e);
		if (e.f.kind == PLY_FOUND_WHITEOUT)
			err = on_whiteout(&e);
		else if (e.f.kind == PLY_FOUND_FILE)
			err = on_file(&e);
	}
	failed_at(m, e.path ? e.path : name, err);
	if (!err && e.f.kind == PLY_FOUND_DIR)
		err = failed_at(m, name, on_dir(&e, end));
	m->at = "";
	ply_found_free(&e.f);
	free(e.path);
	return err;
}

/* When all is in it. */
static int finish_dir(struct merge *m, struct dir *d, int target)
{
	int err = 0;

	if (d->needs && *d->needs == 'y') {
		err = set_opaque(m, target, space_for(m, d->dirs, PLY_MARK_OPAQUE));
	} else if (d->needs) {
		err = set_mark(m, target, "", d->whiteout_space, PLY_MARK_OPAQUE, d->needs);
	}
	if (!err && d->redirect)
		err = set_mark(m, target, "", space_for(m, d->dirs, PLY_MARK_REDIRECT),
			       PLY_MARK_REDIRECT, d->redirect);
	m->at = d->path;
	return err ? err : copy_attrs(m, &d->dirs->parts[0], "", &d->found.stx, target, "");
}

static int fill_dir(struct merge *m, struct dir *d, struct dir ***end)
{
	int target = ply_open_beneath(m->staging.fd, d->path);
	struct ply_names names;
	int err;

	if (target < 0)
		return target;
	err = ply_stack_names(&m->stack, d->dirs, 0, m->stack.n, &names);
	for (size_t i = 0; !err && i < names.n; i++)
		err = one_name(m, d, target, names.name[i], end);
	ply_names_free(&names);
	ply_dirs_close(d->dirs);
	sys_close(target);
	return err;
}

static int merge_dir(struct merge *m, struct dir *d)
{
	struct dir *list = NULL, **end = &list, *next;
	int err = failed_at(m, d->path, fill_dir(m, d, &end)), target;

	for (; list; list = next) {
		next = list->next;
		if (!err)
			err = merge_dir(m, list);
		free_dir(list);
	}
	if (err)
		return err;
	target = ply_open_beneath(m->staging.fd, d->path);
	if (target < 0)
		return failed_at(m, d->path, target);
	/* The root's go last, after the holder of links is gone. */
	err = *d->path ? finish_dir(m, d, target) : 0;
	sys_close(target);
	ply_dirs_close(d->dirs);
	return failed_at(m, d->path, err);
}

/* ---- the whole ---- */

static int merge_root(struct merge *m)
{
	struct ply_layer *top = &m->stack.layers[0];
	struct dir *root = calloc(1, sizeof(*root));
	int err = root ? 0 : -ENOMEM;

	if (!err) {
		root->path = strdup("");
		root->dirs = ply_stack_root(&m->stack);
		err = root->path && root->dirs ? 0 : -ENOMEM;
	}
	if (!err)
		err = ply_layer_statx(top, top->root, "", STATX_BASIC_STATS, &root->found.stx);
	if (!err)
		err = merge_dir(m, root);
	if (!err) {
		err = ply_links_free(m->links);
		m->links = NULL;
	}
	if (!err)
		err = failed_at(m, "", finish_dir(m, root, m->staging.fd));
	free_dir(root);
	return err;
}

static void choose_space(struct merge *m)
{
	const char *word = m->args.value[OPT_XATTRS];

	if (word && strcmp(word, "trusted") != 0 && strcmp(word, "user") != 0)
		ply_args_refuse(&tool, "--xattrs=trusted or user");
	m->space = ply_space_probe(m->staging.fd, word);
}

static int lock_upper(struct merge *m)
{
	if (!m->args.paths.upper)
		return 0;
	m->lock = sys_open(AT_FDCWD, m->args.paths.upper, O_RDONLY | O_DIRECTORY, 0);
	return m->lock < 0 ? m->lock : ply_lock_upper(m->lock);
}

/* The new layer must lie in none of the others, or it would be in itself. */
static int is_in_a_layer(struct merge *m)
{
	struct statx top;

	for (unsigned i = 0; i < m->stack.n; i++)
		if (!sys_statx(m->stack.layers[i].root, "", STATX_INO, &top) &&
		    ply_layer_is_below(m->staging.parent, &top) > 0)
			return 1;
	return 0;
}

static int prepare(struct merge *m)
{
	int err = ply_staging_open(&m->staging, m->args.operands[0]);

	if (err == -EEXIST || err == -EINVAL)
		m->trouble = err == -EEXIST ? "it exists, and is not an empty directory"
					    : "it has no name of its own";
	if (!err && is_in_a_layer(m)) {
		m->trouble = "it would lie within a layer";
		err = -EINVAL;
	}
	if (!err)
		err = ply_staging_make(&m->staging);
	if (err)
		return err;
	m->to.root = m->staging.fd;
	for (unsigned i = 0; i < m->stack.n && !m->to.override; i++)
		m->to.override = m->stack.layers[i].override;
	m->has_overrides = m->to.override != PLY_OVERRIDE_NONE;
	m->links = ply_links_new(m->staging.fd);
	choose_space(m);
	return m->links ? 0 : -ENOMEM;
}

static int run(struct merge *m)
{
	int err = lock_upper(m);

	if (err == -EBUSY)
		m->trouble = "the upper is in use: unmount it first";
	if (!err) {
		err = ply_stack_open(&m->stack, &m->args.paths);
		if (err)
			return err; /* which it said itself */
		ply_note_trusted(&m->args);
		err = prepare(m);
	}
	m->progress.what = "merging";
	ply_progress_start(&m->progress, m->args.cli.progress);
	if (!err)
		err = merge_root(m);
	m->progress.what = "writing to disk";
	if (!err)
		err = ply_staging_publish(&m->staging);
	ply_progress_end();
	ply_interrupt_end();
	if (err)
		ply_complain_of("cannot merge", m->where ? m->where : m->args.operands[0], err,
				m->trouble);
	return err;
}

static void summary(struct merge *m)
{
	unsigned long long files = m->files, dirs = m->dirs, whiteouts = m->whiteouts,
			   copied = m->progress.data.copied, shared = m->progress.data.shared;
	double seconds = ply_now() - m->start;

	if (m->args.cli.json)
		printf("{\"type\":\"summary\",\"layers\":%u,\"files\":%llu,\"directories\":%llu,"
		       "\"whiteouts\":%llu,\"bytes_copied\":%llu,\"bytes_shared\":%llu,"
		       "\"not_kept\":%llu,\"seconds\":%.3f}\n",
		       m->stack.n, files, dirs, whiteouts, copied, shared,
		       (unsigned long long)m->lost.count, seconds);
	else if (!m->args.cli.quiet)
		printf("%u layers: %llu files, %llu directories, %llu whiteouts; %s copied, %s shared; %.1f s\n",
		       m->stack.n, files, dirs, whiteouts, ply_amount(copied).text,
		       ply_amount(shared).text, seconds);
}

int main(int argc, char **argv)
{
	struct merge m = {
		.staging = { .parent = -1, .fd = -1 }, .to.root = -1, .lock = -1, .at = ""
	};
	int err;

	ply_args_parse(&m.args, argc, argv, &tool);
	m.start = ply_now();
	ply_interrupt_start();
	err = run(&m);
	if (!err) {
		if (!m.args.cli.quiet)
			ply_lost_tell(&m.lost);
		summary(&m);
	}
	ply_links_free(m.links);
	ply_staging_close(&m.staging);
	ply_stack_close(&m.stack);
	if (m.lock >= 0)
		sys_close(m.lock);
	ply_lost_free(&m.lost);
	free(m.where);
	ply_args_free(&m.args);
	if (err)
		ply_interrupt_die();
	if (!err)
		return fflush(stdout) || ferror(stdout) ? PLY_EXIT_TROUBLE : PLY_EXIT_OK;
	return err == -EBUSY ? PLY_EXIT_BUSY : PLY_EXIT_TROUBLE;
}
