/*
 * Differences that are known and declared. The kernel's overlayfs is a judge with faults of its own; each is named
 * here once, with the reason, so that what is left is news. The file system under test has no entries but those which
 * the kernel's FUSE client imposes on every server.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "plydiff.h"

struct known {
	const char *sys, *op, *label, *want, *got; /* patterns of fnmatch(3) */
	const char *why;
};

static const struct known table[] = {
	{ "*", "acl_remove", "removexattr", "0", "ENODATA",
	  "removing an ACL that is not there: ext4 says 0, most others ENODATA" },
	{ "overlay", "tree", "d_ino", "*", "*",
	  "directories of an upper without origin marks are listed with the upper's numbers" },
	{ "overlay", "readdir", "entries-fit", "yes", "no", "the same, as a listing shows it" },
	{ "overlay", "tree", "blocks", "*", "*",
	  "copy-up fills holes that are shorter than 1 MiB" },
	{ "overlay", "h_*", "fstat", "* links 0 *", "*",
	  "a lower file that was opened for reading and then removed keeps its link, and its attributes" },
	{ "overlay", "h_*", "f*", "*", "EEXIST",
	  "it can't be changed either when its name has been given to another file" },
	{ "overlay", "h_*", "f*", "0", "ENOENT", "nor when its directory has been removed" },
	{ "overlay", "h_*", "f*", "0", "ENOTDIR", "nor a lower directory that was" },
	{ "overlay", "*", "*-parent.mtime*", "*", "*",
	  "a rename that fails late has moved the parents' times" },
	{ "overlay", "tree", "mtime", "*", "*(clock)", "the same, as a tree shows it" },
	{ "overlay", "*", "[pq].mtime", "*", "*(clock)",
	  "the same, as a later look at the parent" },
};

/* Only where it is mounted with metacopy=on. */
static const struct known with_metacopy[] = {
	{ "overlay", "*", "mtime", "*", "clock",
	  "data that follows its metadata up leaves the time of the copy as the file's" },
	{ "overlay", "*", "[pq].mtime-moved", "no", "yes", "the same, as two looks show it" },
};

static bool is_in(const struct known *k, size_t count, const struct known *found)
{
	for (; count--; k++) {
		if (fnmatch(k->sys, found->sys, 0) == 0 && fnmatch(k->op, found->op, 0) == 0 &&
		    fnmatch(k->label, found->label, 0) == 0 &&
		    fnmatch(k->want, found->want, 0) == 0 && fnmatch(k->got, found->got, 0) == 0)
			return true;
	}
	return false;
}

bool pd_tolerated(const struct pd_sys *sys, const char *op, const char *label, const char *want,
		  const char *got)
{
	struct known found = { sys->name, op, label, want, got, NULL };
	char both[256];

	if (is_in(table, PD_COUNT(table), &found))
		return true;
	if (sys->options && strstr(sys->options, "metacopy=on") &&
	    is_in(with_metacopy, PD_COUNT(with_metacopy), &found))
		return true;
	snprintf(both, sizeof(both), "%s:%s", op, label);
	for (size_t i = 0; i < pd_opt.tolerated && sys->tested; i++) {
		if (fnmatch(pd_opt.tolerate[i], both, 0) == 0)
			return true;
	}
	return false;
}
