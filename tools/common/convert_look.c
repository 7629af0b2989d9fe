/* What is to be done with a name. Nothing is changed here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "convert.h"

static const char *why_user_file = "a user's file by a name that is read as a mark";
static const char *why_long = "a name of more than 251 bytes cannot have a whiteout .wh.NAME";
static const char *why_unannounced =
	"an empty file with the mark whiteout, in a directory that announces none";
static const char *why_redirect = "a renamed directory (redirect), which the new form cannot say";
static const char *why_metacopy =
	"the file's data is in a layer below (metacopy), which the new form cannot say";

static int starts(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

/*
 * In an opaque directory whiteouts hide nothing, and those by attribute would be files for the kernel's overlayfs,
 * which looks for them only where the mark is x.
 */
static enum ply_turn to_form(const struct ply_convert_dir *d)
{
	return d->opaque == PLY_OPAQUE_ALL && d->c->to.whiteouts == PLY_KIND_XATTR
		       ? PLY_TURN_DROP
		       : PLY_TURN_WHITEOUT;
}

static int look_at_aufs(const struct ply_convert_dir *d, struct ply_convert_entry *e)
{
	struct statx beside;
	int err;

	e->hidden = e->name + PLY_AUFS_PREFIX_LEN;
	if (starts(e->name, PLY_CONVERT_TEMP)) {
		e->turn = PLY_TURN_DROP;
		return 0;
	}
	if (starts(e->name, PLY_AUFS_META) && !ply_aufs_target(e->name)) {
		if (!strcmp(e->name, PLY_AUFS_OPAQUE) && !S_ISREG(e->stx.stx_mode))
			e->why = why_user_file;
		return 0;
	}
	if (!ply_aufs_target(e->name) || !S_ISREG(e->stx.stx_mode) || e->stx.stx_size) {
		e->why = why_user_file;
		return 0;
	}
	err = sys_statx(d->fd, e->hidden, STATX_BASIC_STATS, &beside);
	if (err == -ENOENT) {
		e->turn = d->c->to.whiteouts == PLY_KIND_AUFS ? PLY_TURN_NOTHING : to_form(d);
	} else if (!err) {
		/* A directory has become opaque by itself by now. Files win, and of two whiteouts one is left. */
		int is_kept = d->c->to.whiteouts == PLY_KIND_AUFS
				      ? ply_mark_whiteout(d->c->layer, d->fd, e->hidden, &beside)
				      : 0;

		e->turn = is_kept ? PLY_TURN_NOTHING : PLY_TURN_DROP;
		return is_kept < 0 ? is_kept : 0;
	}
	return err == -ENOENT ? 0 : err;
}

static void look_at_whiteout(const struct ply_convert_dir *d, struct ply_convert_entry *e,
			     enum ply_whiteout_kind kind)
{
	const struct ply_form *to = &d->c->to;

	e->hidden = e->name;
	e->turn = to_form(d);
	if (e->turn == PLY_TURN_DROP || kind != to->whiteouts)
		return;
	if (kind == PLY_KIND_CHAR ||
	    ply_mark_is_settled(to->space, d->fd, e->name, PLY_MARK_WHITEOUT, 0))
		e->turn = PLY_TURN_NOTHING;
}

/* Marks of a file or directory about the layers below. */
static int look_at_marks(const struct ply_convert_dir *d, struct ply_convert_entry *e)
{
	const struct ply_convert *c = d->c;
	int is_dir = S_ISDIR(e->stx.stx_mode), found;

	if (c->to.takes_all) {
		found = ply_marks_elsewhere(c, d->fd, e->name, &e->stx);
		e->turn = found > 0 ? PLY_TURN_MARKS : PLY_TURN_NOTHING;
		return found < 0 ? found : 0;
	}
	if (!is_dir && !S_ISREG(e->stx.stx_mode))
		return 0;
	if (is_dir && d->opaque == PLY_OPAQUE_ALL)
		return 0; /* it wins over a redirect */
	found = ply_mark_is_set(c->layer, d->fd, e->name,
				is_dir ? PLY_MARK_REDIRECT : PLY_MARK_METACOPY);
	if (found > 0)
		e->why = is_dir ? why_redirect : why_metacopy;
	return found < 0 ? found : 0;
}

int ply_convert_look(const struct ply_convert_dir *d, struct ply_convert_entry *e)
{
	int err = sys_statx(d->fd, e->name, STATX_BASIC_STATS, &e->stx), is_whiteout = 0;

	if (!err && !ply_is_aufs_name(e->name))
		is_whiteout = ply_mark_whiteout(d->c->layer, d->fd, e->name, &e->stx);
	if (err || is_whiteout < 0)
		return err ? err : is_whiteout;
	if (ply_is_aufs_name(e->name)) {
		err = look_at_aufs(d, e);
	} else if (is_whiteout && !S_ISREG(e->stx.stx_mode)) {
		look_at_whiteout(d, e, PLY_KIND_CHAR);
	} else if (is_whiteout) {
		/* Does its mark count here? A directory that is opaque says so for both. */
		if (d->opaque == PLY_OPAQUE_NONE)
			e->why = why_unannounced;
		look_at_whiteout(d, e, PLY_KIND_XATTR);
	} else if (!S_ISDIR(e->stx.stx_mode)) {
		err = look_at_marks(d, e);
	}
	if (!e->why && e->turn == PLY_TURN_WHITEOUT && d->c->to.whiteouts == PLY_KIND_AUFS &&
	    strlen(e->name) > PLY_NAME_MAX - PLY_AUFS_PREFIX_LEN)
		e->why = why_long;
	return err;
}

int ply_convert_look_marks(const struct ply_convert_dir *d, struct ply_convert_entry *e)
{
	*e = (struct ply_convert_entry){ .name = "", .stx = d->stx };
	return look_at_marks(d, e);
}

void ply_convert_look_opaque(const struct ply_convert_dir *d, struct ply_convert_entry *e)
{
	const struct ply_form *to = &d->c->to;
	int has_file = !sys_access(d->fd, PLY_AUFS_OPAQUE), is_settled;
	char value = ply_convert_opaque_value(d);

	*e = (struct ply_convert_entry){ .name = "", .stx = d->stx };
	is_settled =
		ply_mark_is_settled(to->space, d->fd, "", PLY_MARK_OPAQUE, to->space ? value : 0) &&
		has_file == (!to->space && value);
	e->turn = is_settled ? PLY_TURN_NOTHING : PLY_TURN_OPAQUE;
}

char ply_convert_opaque_value(const struct ply_convert_dir *d)
{
	if (d->opaque == PLY_OPAQUE_ALL)
		return PLY_OPAQUE_YES;
	return d->c->to.whiteouts == PLY_KIND_XATTR && d->has_whiteouts ? PLY_OPAQUE_XWHITEOUTS : 0;
}

int ply_convert_needs_announcing(const struct ply_convert_dir *d, const struct ply_convert_entry *e)
{
	if (d->c->to.whiteouts != PLY_KIND_XATTR || !e->hidden)
		return 0;
	return e->turn == PLY_TURN_WHITEOUT ||
	       (e->turn == PLY_TURN_NOTHING && !ply_is_aufs_name(e->name));
}
