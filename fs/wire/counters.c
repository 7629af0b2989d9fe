/*
 * The counters in words. Their first two lines are what fuse-overlayfs prints, for those who read
 * it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "wire/ops.h"

static void print_line(const struct ply_wire *w, const char *line)
{
	if (w->cfg.flags & PLY_WIRE_FOREGROUND)
		fprintf(stderr, "%s\n", line);
	else
		ply_info("%s", line);
	if (w->cfg.stats_fd >= 0)
		dprintf(w->cfg.stats_fd, "%s\n", line);
}

static void print_number(const struct ply_wire *w, const char *label, const char *colon, uint64_t n)
{
	char line[64];

	snprintf(line, sizeof(line), "%s%s %" PRIu64, label, colon, n);
	print_line(w, line);
}

void ply_wire_print_counters(struct ply_wire *w)
{
	struct ply_union_stats stats;

	ply_union_stats(w->cfg.u, &stats);
	print_number(w, "# INODES", ":", stats.nodes);
	print_number(w, "# NODES", ":", stats.names);
	for (unsigned i = 0; i < PLY_OP_COUNT; i++) {
		uint64_t n = atomic_load_explicit(&w->counts[i], memory_order_relaxed);

		if (n)
			print_number(w, ply_ops[i].name ? ply_ops[i].name : "OTHER", "", n);
	}
	print_number(w, "fds", "", stats.fds);
	print_number(w, "listing_bytes", "", stats.listing_bytes);
	print_number(w, "node_bytes", "", stats.node_bytes);
	print_number(w, "copyups", "", stats.copyups);
	print_number(w, "unsettled", "", stats.unsettled);
	print_number(w, "copyup_bytes", "", stats.copyup_bytes);
}
