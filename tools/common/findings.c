/* Telling findings, and keeping count of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static const struct {
	const char *name;
	enum ply_severity severity;
} findings[] = {
#define F(id, name, severity) { name, PLY_##severity },
	PLY_FINDINGS(F)
#undef F
};

static const char *const severities[] = { "note", "warning", "error" };

static void put_json(struct ply_check *c, enum ply_finding what, int layer, const char *path,
		     const char *detail, enum ply_repair repair)
{
	printf("{\"finding\":\"%s\",\"severity\":\"%s\"", findings[what].name,
	       severities[findings[what].severity]);
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
	(void)c;
}

static void put_text(struct ply_check *c, enum ply_finding what, int layer, const char *path,
		     const char *detail, enum ply_repair repair)
{
	char *escaped = detail ? ply_escape(detail) : NULL;

	printf("%-7s %-20s ", severities[findings[what].severity], findings[what].name);
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
	if (findings[what].severity != PLY_NOTE) {
		c->found++;
		c->repaired += repair == PLY_REPAIRED;
	} else if (!c->args.cli.verbose) {
		return;
	}
	ply_progress_pause();
	if (c->args.cli.json)
		put_json(c, what, layer, path, detail, repair);
	else
		put_text(c, what, layer, path, detail, repair);
	ply_progress_resume();
}

int ply_may_repair(const struct ply_check *c, unsigned layer)
{
	return c->repairs && c->stack.has_upper && !layer && c->upper_fd >= 0;
}

enum ply_repair ply_repair_done(struct ply_check *c, const char *path, int err)
{
	if (!err)
		return PLY_REPAIRED;
	c->failed++;
	ply_complain("cannot repair", path, err);
	return PLY_LEFT;
}
