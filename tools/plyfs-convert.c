/*
 * plyfs-convert: turns the marks of a layer (whiteouts, opaque directories and the rest) into those of another form, in
 * place or in a copy. First it looks for what that form cannot say; only then anything is changed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/busy.h"
#include "common/convert.h"
#include "common/inodes.h"
#include "common/interrupt.h"
#include "common/lost.h"
#include "common/staging.h"
#include "common/treecopy.h"
#include "layer/copy.h"
#include "layer/xattr.h"

enum {
	OPT_TO = 256,
	OPT_WHITEOUTS,
	OPT_NESTED,
};

static const struct ply_own_option own[] = {
	{ OPT_TO, "to", "FORM", "overlay-trusted, overlay-user, aufs or fuse-overlayfs" },
	{ OPT_WHITEOUTS, "whiteouts", "char|xattr", "of the overlay forms; char unless told" },
	{ OPT_NESTED, "nested", NULL, "for a layer that will be stored in an overlay" },
	{ 'n', "dry-run", NULL, "change nothing, print what would be" },
	{ '0', "null", NULL, "names as they are, each ended by NUL" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage =
		"--to=FORM [--whiteouts=char|xattr] [--nested] [-n] [-j] [-0] [-q] [-v] LAYER [OUT]",
	.text = "Turns the marks of LAYER into those of another form, in place, or in a copy OUT that must not exist.\n"
		"Exit status: 0 done, 1 there is something to do (-n), 2 trouble, or the form cannot say it; 3 in use.\n",
	.own = own,
	.min = 1,
	.max = 2,
	.usage_exit = PLY_EXIT_TROUBLE,
	.takes_no_stack = 1,
};

struct run {
	struct ply_args args;
	struct ply_convert c;
	struct ply_layer layer, copy;
	struct ply_staging staging;
	struct ply_tree_copy tree;
	struct ply_lost lost;
	struct ply_inodes *escaped;
	struct ply_progress progress;
	const struct ply_walk_entry *at; /* in the copy */
	const char *trouble;
	int is_turning; /* else it only looks */
	uint64_t whiteouts, opaques, marks, refused;
};

/* ---- telling ---- */

static char *path_of(const struct ply_walk_entry *dir, const char *name)
{
	char *at = dir ? ply_walk_path(dir) : strdup(""), *path = at ? ply_join(at, name) : NULL;

	free(at);
	return path;
}

static void put(const struct run *r, const char *kind, const char *path)
{
	ply_progress_pause();
	if (r->args.cli.json) {
		printf("{\"kind\":\"%s\",\"path\":", kind);
		ply_put_json(stdout, path);
		puts("}");
	} else {
		if (!r->args.zero)
			printf("%-8s ", kind);
		ply_put_name(&r->args, *path ? path : ".", "");
	}
	ply_progress_resume();
}

static void count(struct run *r, const struct ply_convert_entry *e,
		  const struct ply_walk_entry *dir)
{
	static const char *const kinds[] = { NULL, "whiteout", "drop", "marks", "opaque" };
	char *path;

	r->whiteouts += e->turn == PLY_TURN_WHITEOUT || e->turn == PLY_TURN_DROP;
	r->marks += e->turn == PLY_TURN_MARKS;
	r->opaques += e->turn == PLY_TURN_OPAQUE;
	if (e->turn == PLY_TURN_NOTHING || !(r->args.set['n'] || r->args.cli.verbose))
		return;
	path = path_of(dir, e->name);
	put(r, kinds[e->turn], path ? path : "?");
	free(path);
}

static void refuse(struct run *r, const struct ply_convert_entry *e,
		   const struct ply_walk_entry *dir)
{
	char *path = path_of(dir, e->name);

	r->refused++;
	ply_complain_of("cannot convert", path ? *path ? path : "." : NULL, -EINVAL, e->why);
	free(path);
}

/* ---- a directory ---- */

static int look_at_all(struct run *r, struct ply_convert_dir *d, const struct ply_names *names,
		       const struct ply_walk_entry *dir)
{
	struct ply_convert_entry e;
	int err = 0;

	for (size_t i = 0; !err && i < names->n; i++) {
		e = (struct ply_convert_entry){ .name = names->name[i] };
		err = ply_convert_look(d, &e);
		if (!err && e.why)
			refuse(r, &e, dir);
		d->has_whiteouts |= ply_convert_needs_announcing(d, &e);
		if (!err && !r->is_turning)
			count(r, &e, dir);
	}
	if (!err)
		err = ply_convert_look_marks(d, &e);
	if (!err && e.why)
		refuse(r, &e, dir);
	if (err || r->is_turning)
		return err;
	count(r, &e, dir);
	ply_convert_look_opaque(d, &e);
	count(r, &e, dir);
	return 0;
}

static int turn_all(struct run *r, struct ply_convert_dir *d, const struct ply_names *names)
{
	struct ply_convert_entry e;
	int err = d->has_whiteouts ? ply_convert_announce(d) : 0;

	for (size_t i = 0; !err && i < names->n; i++) {
		if (ply_interrupt_came())
			return -EINTR;
		e = (struct ply_convert_entry){ .name = names->name[i] };
		err = ply_convert_look(d, &e);
		if (!err)
			err = ply_convert_turn(d, &e);
	}
	if (!err)
		err = ply_convert_look_marks(d, &e);
	if (!err)
		err = ply_convert_turn(d, &e);
	if (err)
		return err;
	ply_convert_look_opaque(d, &e);
	(void)r;
	return ply_convert_turn(d, &e);
}

/* Turning changes the directory's time, and may need a right that a plain user's own mode lacks. */
static int turn_dir(struct run *r, struct ply_convert_dir *d, const struct ply_names *names)
{
	const struct statx *stx = &d->stx;
	int is_unlocked = 0, err, back;
	struct statx now;
	mode_t old;

	if (geteuid() && (stx->stx_mode & S_IRWXU) != S_IRWXU)
		is_unlocked = !ply_layer_unlock_dir(d->fd, &old);
	err = turn_all(r, d, names);
	back = sys_statx(d->fd, "", STATX_MTIME, &now);
	if (!back && (now.stx_mtime.tv_sec != stx->stx_mtime.tv_sec ||
		      now.stx_mtime.tv_nsec != stx->stx_mtime.tv_nsec))
		back = ply_set_mtime(d->fd, stx);
	if (is_unlocked)
		ply_layer_lock_dir(d->fd, old);
	return err ? err : back;
}

/* dir: NULL for the root. */
static int on_dir(struct run *r, int fd, const struct statx *stx, const struct ply_walk_entry *dir)
{
	struct ply_convert_dir d = { .c = &r->c, .fd = fd, .stx = *stx };
	int opaque = ply_mark_opaque(r->c.layer, fd, ""), err;
	int aufs = dir ? ply_mark_aufs(dir->dirfd, dir->name) : 0;
	struct ply_names names;

	if (opaque < 0 || aufs < 0)
		return opaque < 0 ? opaque : aufs;
	d.opaque = aufs ? PLY_OPAQUE_ALL : (enum ply_opaque)opaque;
	err = ply_raw_names(fd, &names);
	if (err)
		return err;
	r->progress.entries += names.n;
	err = look_at_all(r, &d, &names, dir);
	if (!err && r->is_turning)
		err = turn_dir(r, &d, &names);
	ply_names_free(&names);
	return err;
}

static int leave(void *arg, const struct ply_walk_entry *e)
{
	return on_dir(arg, e->self, &e->stx, e);
}

/* ---- walks ---- */

static int failed(struct run *r, const char *what, const char *where, int err)
{
	if (err == -EXDEV)
		r->trouble = "something is mounted there";
	else if (err == -EPERM || err == -EOPNOTSUPP)
		r->trouble = r->trouble ? r->trouble : "its file system does not hold these marks";
	if (err)
		ply_complain_of(what, where && *where ? where : ".", err, r->trouble);
	return err;
}

static int walk(struct run *r, int fd, const struct ply_walk_ops *ops, const char *what)
{
	struct ply_walk_root root = { .fd = fd, .mirror = -1 };
	struct statx stx;
	char *where = NULL;
	int err = ply_walk(&root, ops, r, &where);

	if (!err)
		err = sys_statx(fd, "", STATX_BASIC_STATS, &stx);
	if (!err)
		err = on_dir(r, fd, &stx, NULL);
	failed(r, what, where, err);
	free(where);
	return err;
}

static int look(struct run *r)
{
	static const struct ply_walk_ops ops = { .leave = leave };

	r->progress.what = "looking";
	return walk(r, r->layer.root, &ops, "cannot read");
}

/* From here on each step is done whole. */
static int turn(struct run *r, struct ply_layer *layer)
{
	static const struct ply_walk_ops ops = { .leave = leave };

	ply_interrupt_end();
	r->c.layer = layer;
	r->is_turning = 1;
	r->progress.what = "converting";
	if (ply_interrupt_came())
		return failed(r, "", NULL, -EINTR);
	return walk(r, layer->root, &ops, "cannot convert");
}

/* ---- in advance ---- */

static int probe_space(struct run *r, int fd)
{
	char attr[64];
	int err;

	snprintf(attr, sizeof(attr), "%splyfs-convert", r->c.to.space);
	err = sys_setxattr(fd, "", attr, "", 0, 0);
	if (!err)
		return sys_removexattr(fd, "", attr);
	r->trouble = err == -EPERM ? "no permission to write marks in the trusted space"
				   : "its file system does not hold these marks";
	return err;
}

static int probe_device(struct run *r, int fd, const struct statx *stx)
{
	int err;

	sys_unlink(fd, PLY_CONVERT_TEMP);
	err = sys_mknod(fd, PLY_CONVERT_TEMP, S_IFCHR,
			makedev(PLY_WHITEOUT_MAJOR, PLY_WHITEOUT_MINOR));
	if (!err)
		err = sys_unlink(fd, PLY_CONVERT_TEMP);
	ply_set_mtime(fd, stx);
	if (err == -EPERM)
		r->trouble = r->c.to.takes_all
				     ? "no permission to make devices here: --whiteouts=xattr"
				     : "no permission to make devices here";
	return err;
}

/* What fails for all of it should do so before anything has changed. */
static int probe(struct run *r, int fd)
{
	struct statx stx;
	int err = sys_statx(fd, "", STATX_BASIC_STATS, &stx);

	if (!err && r->c.to.space)
		err = probe_space(r, fd);
	if (!err && r->whiteouts && r->c.to.whiteouts == PLY_KIND_CHAR)
		err = probe_device(r, fd, &stx);
	return failed(r, "cannot convert", r->args.operands[0], err);
}

/* ---- copying ---- */

static int takes_mark(void *arg, const char *attr)
{
	(void)arg;
	(void)attr;
	return 1;
}

static int cannot_keep(void *arg, const char *attr, int err)
{
	struct run *r = arg;
	const char *what = attr ? attr : "the owner";

	if (attr && ply_xattr_is_mark(attr)) {
		r->trouble = "the copy's file system does not hold its marks";
		return err;
	}
	ply_lost_add(&r->lost, what, err,
		     ply_lost_is_known(&r->lost, what) ? NULL : path_of(r->at, ""));
	return 0;
}

static int copy_file(void *arg, const struct ply_walk_entry *e)
{
	struct run *r = arg;

	r->at = e;
	r->progress.entries++;
	return ply_tree_copy_file(&r->tree, e);
}

static int copy_enter(void *arg, const struct ply_walk_entry *e)
{
	(void)arg;
	return sys_mkdir(e->mirror, e->name, S_IRWXU);
}

static int copy_leave(void *arg, const struct ply_walk_entry *e)
{
	struct run *r = arg;

	r->at = e;
	return ply_tree_copy_attrs(&r->tree, e->self, "", &e->stx, e->self_mirror, "");
}

static int copy_tree(struct run *r)
{
	static const struct ply_walk_ops ops = { .file = copy_file,
						 .enter = copy_enter,
						 .leave = copy_leave };
	struct ply_walk_root root = { .fd = r->layer.root, .mirror = r->staging.fd };
	char *where = NULL;
	struct statx stx;
	int err = ply_walk(&root, &ops, r, &where), links;

	r->at = NULL;
	links = ply_links_free(r->tree.links);
	r->tree.links = NULL;
	err = err ? err : links;
	if (!err)
		err = sys_statx(r->layer.root, "", STATX_BASIC_STATS, &stx);
	if (!err)
		err = ply_tree_copy_attrs(&r->tree, r->layer.root, "", &stx, r->staging.fd, "");
	r->trouble = r->tree.trouble ? r->tree.trouble : r->trouble;
	failed(r, "cannot copy", where, err);
	free(where);
	return err;
}

static int open_copy(struct run *r)
{
	struct statx layer;
	int err = ply_staging_open(&r->staging, r->args.operands[1]);

	if (err == -EEXIST)
		r->trouble = "it exists, and is not an empty directory";
	if (!err)
		err = sys_statx(r->layer.root, "", STATX_INO, &layer);
	if (!err && ply_layer_is_below(r->staging.parent, &layer) > 0) {
		r->trouble = "it would lie within the layer";
		err = -EINVAL;
	}
	if (!err)
		err = ply_staging_make(&r->staging);
	if (!err) {
		r->copy = r->layer;
		r->copy.root = r->staging.fd;
		r->tree = (struct ply_tree_copy){ .from = &r->layer,
						  .to = &r->copy,
						  .links = ply_links_new(r->staging.fd),
						  .done = &r->progress.data,
						  .takes_mark = takes_mark,
						  .cannot_keep = cannot_keep,
						  .arg = r };
		err = r->tree.links ? 0 : -ENOMEM;
	}
	return failed(r, "cannot make", r->args.operands[1], err);
}

/* ---- nesting ---- */

static int escape_file(void *arg, const struct ply_walk_entry *e)
{
	struct run *r = arg;
	int is_new = e->stx.stx_nlink > 1 ? ply_inodes_add(r->escaped, 0, &e->stx) : 1;

	return is_new <= 0 ? is_new : ply_convert_escape(&r->c.to, e->dirfd, e->name);
}

static int escape_dir(void *arg, const struct ply_walk_entry *e)
{
	struct run *r = arg;

	return ply_convert_escape(&r->c.to, e->self, "");
}

static int escape(struct run *r)
{
	static const struct ply_walk_ops ops = { .file = escape_file, .leave = escape_dir };
	struct ply_walk_root root = { .fd = r->staging.fd, .mirror = -1 };
	char *where = NULL;
	int err;

	r->escaped = ply_inodes_new();
	err = r->escaped ? ply_walk(&root, &ops, r, &where) : -ENOMEM;
	if (!err)
		err = ply_convert_escape(&r->c.to, r->staging.fd, "");
	ply_inodes_free(r->escaped);
	failed(r, "cannot escape the marks of", where, err);
	free(where);
	return err;
}

/* ---- the whole ---- */

static int make_copy(struct run *r)
{
	int err = open_copy(r);

	if (!err)
		err = probe(r, r->staging.fd);
	r->progress.what = "copying";
	if (!err)
		err = copy_tree(r);
	if (!err)
		err = turn(r, &r->copy);
	if (!err && r->args.set[OPT_NESTED])
		err = escape(r);
	if (err)
		return err;
	r->progress.what = "writing to disk";
	return failed(r, "cannot make", r->args.operands[1], ply_staging_publish(&r->staging));
}

static int convert_in_place(struct run *r)
{
	int err = r->whiteouts + r->marks + r->opaques ? probe(r, r->layer.root) : 0;

	if (!err)
		err = turn(r, &r->layer);
	return err ? err : failed(r, "cannot write", NULL, sys_syncfs(r->layer.root));
}

static int open_layer(struct run *r)
{
	int err = ply_layer_open(&r->layer, r->args.operands[0], PLY_LAYER_UPPER);

	if (!err)
		err = ply_lock_upper(r->layer.root);
	if (err == -EBUSY)
		r->trouble = "it is in use: unmount it first";
	return failed(r, "cannot open", r->args.operands[0], err);
}

static void summary(const struct run *r)
{
	unsigned long long whiteouts = r->whiteouts, opaques = r->opaques, marks = r->marks;
	int is_dry = r->args.set['n'];

	if (r->args.cli.json)
		printf("{\"type\":\"summary\",\"to\":\"%s\",\"whiteouts\":%llu,\"opaques\":%llu,\"marks\":%llu,"
		       "\"not_kept\":%llu,\"dry_run\":%s}\n",
		       r->c.to.word, whiteouts, opaques, marks, (unsigned long long)r->lost.count,
		       is_dry ? "true" : "false");
	else if (!r->args.cli.quiet && !r->args.zero)
		printf("%s%llu whiteouts, %llu directories' opaque marks, %llu inodes' other marks\n",
		       is_dry ? "would be: " : "", whiteouts, opaques, marks);
}

static int run(struct run *r)
{
	int err = open_layer(r);

	if (err)
		return err;
	ply_note_trusted(&r->args);
	r->c.layer = &r->layer;
	ply_progress_start(&r->progress, r->args.cli.progress);
	err = look(r);
	if (!err && !r->refused && !r->args.set['n'])
		err = r->args.noperands > 1 ? make_copy(r) : convert_in_place(r);
	ply_progress_end();
	if (err || r->refused)
		return err;
	if (!r->args.cli.quiet)
		ply_lost_tell(&r->lost);
	summary(r);
	return 0;
}

static void choose_form(struct run *r)
{
	const char *word = r->args.value[OPT_TO], *whiteouts = r->args.value[OPT_WHITEOUTS];
	const struct ply_form *form = word ? ply_form_find(word) : NULL;

	if (!form)
		ply_args_refuse(&tool,
				"--to=overlay-trusted, overlay-user, aufs or fuse-overlayfs");
	r->c.to = *form;
	if ((whiteouts || r->args.set[OPT_NESTED]) && !r->c.to.takes_all)
		ply_args_refuse(&tool, "--whiteouts and --nested are for the overlay forms");
	if (whiteouts && strcmp(whiteouts, "char") != 0 && strcmp(whiteouts, "xattr") != 0)
		ply_args_refuse(&tool, "--whiteouts=char or xattr");
	if (r->args.set[OPT_NESTED] && (r->args.noperands < 2 || (whiteouts && *whiteouts == 'c')))
		ply_args_refuse(&tool, "--nested makes a copy OUT, with whiteouts by attribute");
	if (r->args.set[OPT_NESTED] || (whiteouts && *whiteouts == 'x'))
		r->c.to.whiteouts = PLY_KIND_XATTR;
}

int main(int argc, char **argv)
{
	struct run r = { .layer.root = -1,
			 .staging = { .parent = -1, .fd = -1 },
			 .c.whiteout = -1 };
	int err, is_left;

	ply_args_parse(&r.args, argc, argv, &tool);
	choose_form(&r);
	ply_interrupt_start();
	err = run(&r);
	ply_interrupt_end();
	if (r.c.whiteout >= 0)
		sys_close(r.c.whiteout);
	ply_links_free(r.tree.links);
	ply_staging_close(&r.staging);
	ply_layer_close(&r.layer);
	ply_lost_free(&r.lost);
	is_left = r.args.set['n'] && r.whiteouts + r.opaques + r.marks;
	ply_args_free(&r.args);
	if (err == -EINTR)
		ply_interrupt_die();
	if (err == -EBUSY)
		return PLY_EXIT_BUSY;
	if (err || ply_complaints() || fflush(stdout) || ferror(stdout))
		return PLY_EXIT_TROUBLE;
	return is_left ? PLY_EXIT_FOUND : PLY_EXIT_OK;
}
