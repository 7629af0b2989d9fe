/* Telling findings, keeping count of them, and the repairs that several have in common. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "layer/copy.h"
#include "check.h"
#include "space.h"

static void put_json(enum ply_finding what, int layer, const char *path, const char *detail,
		     enum ply_repair repair)
{
	const struct ply_finding_text *t = &ply_finding_texts[what];

	printf("{\"finding\":\"%s\",\"severity\":\"%s\"", t->name, ply_severity_word(t->severity));
	if (layer >= 0)
		printf(",\"layer\":%d", layer);
	else
		fputs(",\"layer\":\"work\"", stdout);
	fputs(",\"path\":", stdout);
	ply_put_json(stdout, path);
	if (detail) {
		fputs(",\"detail\":", stdout);
		ply_put_json(stdout, detail);
	}
	printf(",\"repaired\":%s}\n", repair == PLY_REPAIRED ? "true" : "false");
}

static void put_text(struct ply_check *c, enum ply_finding what, int layer, const char *path,
		     const char *detail, enum ply_repair repair)
{
	const struct ply_finding_text *t = &ply_finding_texts[what];
	char *escaped = detail ? ply_escape(detail) : NULL;

	printf("%-7s %-20s ", ply_severity_word(t->severity), t->name);
	if (layer < 0)
		fputs("work", stdout);
	else
		fputs(ply_stack_layer_name(&c->stack, (unsigned)layer).text, stdout);
	printf("%s%s%s: ", detail ? " (" : "", detail ? escaped : "", detail ? ")" : "");
	if (repair == PLY_REPAIRED)
		fputs("repaired: ", stdout);
	ply_put_name(&c->args, *path ? path : ".", "");
	free(escaped);
}

void ply_found_fault(struct ply_check *c, enum ply_finding what, int layer, const char *path,
		     const char *detail, enum ply_repair repair)
{
	if (ply_finding_texts[what].severity != PLY_NOTE) {
		c->found++;
		c->repaired += repair == PLY_REPAIRED;
	} else if (!c->args.cli.verbose) {
		return;
	}
	ply_progress_pause();
	if (c->args.cli.json)
		put_json(what, layer, path, detail, repair);
	else
		put_text(c, what, layer, path, detail, repair);
	ply_progress_resume();
}

/* ---- repairs ---- */

static int writable(const struct ply_check *c, unsigned layer)
{
	if (c->stack.has_upper && !layer)
		return c->upper_fd;
	return c->layer >= 0 && layer == (unsigned)c->layer ? c->layer_fd : -1;
}

int ply_may_repair(const struct ply_check *c, enum ply_finding what, unsigned layer)
{
	enum ply_remedy remedy = ply_finding_texts[what].remedy;

	return remedy != PLY_REMEDY_NONE && remedy <= c->repairs && !c->is_index &&
	       writable(c, layer) >= 0;
}

enum ply_repair ply_repair_done(struct ply_check *c, const char *path, int err)
{
	if (!err)
		return PLY_REPAIRED;
	c->failed++;
	ply_complain("cannot repair", path, err);
	return PLY_LEFT;
}

int ply_spot_open(const struct ply_check *c, unsigned layer, const char *path,
		  struct ply_spot *spot)
{
	const char *slash = strrchr(path, '/');
	char *dir = strndup(path, slash ? (size_t)(slash - path) : 0);

	if (!dir)
		return -ENOMEM;
	spot->name = slash ? slash + 1 : path;
	spot->fd = ply_open_beneath(writable(c, layer), dir);
	free(dir);
	return spot->fd < 0 ? spot->fd : 0;
}

typedef int (*fix_fn)(const struct ply_spot *spot, const char *attr);

static enum ply_repair repair(struct ply_check *c, enum ply_finding what, unsigned layer,
			      const char *path, fix_fn fix, const char *attr)
{
	struct ply_spot spot;
	int err;

	if (!ply_may_repair(c, what, layer))
		return PLY_LEFT;
	err = ply_spot_open(c, layer, path, &spot);
	if (!err) {
		err = fix(&spot, attr);
		sys_close(spot.fd);
	}
	return ply_repair_done(c, path, err);
}

static int remove_attr(const struct ply_spot *spot, const char *attr)
{
	return sys_removexattr(spot->fd, spot->name, attr);
}

enum ply_repair ply_repair_attr(struct ply_check *c, enum ply_finding what, unsigned layer,
				const char *path, const char *attr)
{
	return repair(c, what, layer, path, remove_attr, attr);
}

/* The directory's times stay, as users see them. */
static int unlink_at(const struct ply_spot *spot, const char *attr)
{
	struct statx stx;
	int err = sys_statx(spot->fd, "", STATX_MTIME, &stx);

	(void)attr;
	if (!err)
		err = sys_unlink(spot->fd, spot->name);
	return err ? err : ply_set_mtime(spot->fd, &stx);
}

enum ply_repair ply_repair_unlink(struct ply_check *c, enum ply_finding what, unsigned layer,
				  const char *path)
{
	return repair(c, what, layer, path, unlink_at, NULL);
}

/* Opaque first: the redirect means nothing then. */
static int cut_off(const struct ply_spot *spot, const char *unused)
{
	const char *space = ply_space_of(spot->fd, spot->name, PLY_MARK_REDIRECT);
	char attr[64];
	int err =
		space ? ply_space_set(spot->fd, spot->name, space, PLY_MARK_OPAQUE, "y") : -ENODATA;

	(void)unused;
	snprintf(attr, sizeof(attr), "%s" PLY_MARK_REDIRECT, space ? space : "");
	return err ? err : sys_removexattr(spot->fd, spot->name, attr);
}

enum ply_repair ply_repair_cut_off(struct ply_check *c, enum ply_finding what, unsigned layer,
				   const char *path)
{
	return repair(c, what, layer, path, cut_off, NULL);
}
