/*
 * What users are told at the start: each thing that the file systems below do not have, and what it costs.
 * On file systems that have all of it, and for forms that were asked for by an option, nothing is said.
 */
#include "base/log.h"
#include "base/sys.h"
#include "layer/marks.h"
#include "union/node.h"

static const struct {
	unsigned lack;
	const char *says;
} of_upper[] = {
	{ PLY_LACKS_MARKS,
	  "takes no extended attributes for marks: files and directories are copied up whole; after the next "
	  "mount, changed files have other inode numbers, and unchanged hard links to them are files "
	  "of their own" },
	{ PLY_LACKS_USER_XATTR,
	  "takes no user extended attributes: none can be set, and changed files lose those of their "
	  "layer" },
	{ PLY_LACKS_TMPFILE, "has no nameless files: O_TMPFILE is refused" },
	{ PLY_LACKS_EXCHANGE,
	  "cannot exchange names: while a directory of a layer is removed or replaced, and after a "
	  "crash in that moment, the layer's shows again; RENAME_EXCHANGE is refused" },
	{ PLY_LACKS_RENAME_WHITEOUT,
	  "cannot leave whiteouts behind: while a name of a layer is renamed, and after a crash in "
	  "that moment, the old one shows, too" },
};

static void tell_of_upper(const struct ply_union *u)
{
	const struct ply_layer *upper = &u->layers[PLY_UPPER];
	unsigned lacks = atomic_load(&upper->lacks);

	/* One without the other, or the same would be said twice. */
	if (lacks & PLY_LACKS_MARKS)
		lacks &= ~(unsigned)PLY_LACKS_USER_XATTR;
	for (size_t i = 0; i < sizeof(of_upper) / sizeof(of_upper[0]); i++)
		if (lacks & of_upper[i].lack)
			ply_warn("upper '%s' %s", upper->path, of_upper[i].says);
	if (lacks & PLY_LACKS_DEVICE)
		ply_warn(
			"upper '%s' takes no 0:0 devices: removed names are marked by %s",
			upper->path,
			u->upper.kind == PLY_KIND_XATTR
				? "an attribute, which the kernel's overlayfs knows in lower layers, since 6.7"
				: "'.wh.' files, which the kernel's overlayfs does not know");
}

/* Only what can be marked in the upper is missed. Layers of one file system are alike. */
static void tell_of_handles(const struct ply_union *u)
{
	const struct ply_layer *first = NULL, *asked = NULL;
	unsigned others = 0;

	for (unsigned i = 1; i < u->nlayers; i++) {
		struct ply_layer *layer = &u->layers[i];
		struct ply_fh fh;

		if (asked && asked->dev == layer->dev)
			ply_layer_set_lack(layer, atomic_load(&asked->lacks) & PLY_LACKS_HANDLE);
		else
			ply_mark_encode(layer, layer->root, "", &fh);
		asked = layer;
		if (!ply_layer_lacks(layer, PLY_LACKS_HANDLE))
			continue;
		others += first != NULL;
		first = first ? first : layer;
	}
	if (first)
		ply_warn(
			"lower layer '%s'%s has no file handles: once they are out of memory, at the latest "
			"after the next mount, changed files have other inode numbers, and unchanged hard "
			"links to them are files of their own",
			first->path, others ? " (and others)" : "");
}

void ply_union_tell_lacks(const struct ply_union *u)
{
	if (ply_union_readonly(u))
		return;
	if (sys_access(AT_FDCWD, "/proc/self/fd"))
		ply_warn(
			"/proc is not mounted: of files written shortly before a server is killed, the next one "
			"shows what their layer has");
	tell_of_upper(u);
	if (!ply_layer_lacks(&u->layers[PLY_UPPER], PLY_LACKS_MARKS))
		tell_of_handles(u);
}
