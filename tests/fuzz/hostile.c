/* What lies in hostile layers, see the header. */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "layer/marks.h"
#include "tree.h"

/* ---- files and directories ---- */

const char *const hostile_layers[HOSTILE_LAYERS] = { "l0", "l1", "l2", "data", "up", "work" };

static const char long_name[] =
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";

const char *const hostile_names[HOSTILE_NAMES] = {
	"a",
	"b",
	"c",
	"d",
	"e",
	".wh.a",
	".wh.d",
	".wh..wh..opq",
	".wh.",
	".wh..",
	".wh...",
	".wh..wh.plnk",
	"...",
	".wh..wh.name.a",
	".wh..wh.name.",
	".wh..wh..wh.name.a",
	long_name,
	"index",
	"unsettled",
	"settling",
	"work",
	"#1",
	"#wh",
	"incompat",
};

/* The first ones are by far the most frequent. */
const char *hostile_name(struct fuzz_in *in)
{
	unsigned n = fuzz_pick(in, 256);

	return hostile_names[n < 192 ? n % 5 : n % HOSTILE_NAMES];
}

/* One to three names; most directories are called a. */
void hostile_path(struct fuzz_in *in, char path[HOSTILE_PATH])
{
	unsigned kind = fuzz_pick(in, 8);
	int n = 0;

	if (kind >= 4)
		n = snprintf(path, HOSTILE_PATH, "%s/", kind == 7 ? hostile_name(in) : "a");
	if (kind == 6)
		n += snprintf(path + n, HOSTILE_PATH - (size_t)n, "b/");
	snprintf(path + n, HOSTILE_PATH - (size_t)n, "%s", hostile_name(in));
}

/* The same in one of the layers. */
static const char *take_place(struct fuzz_in *in)
{
	unsigned layer = fuzz_pick(in, HOSTILE_LAYERS);
	char path[HOSTILE_PATH];

	hostile_path(in, path);
	return tree_path("%s/%s", hostile_layers[layer], path);
}

/* What is to be put somewhere may not fit there. */
static void tried(int result)
{
	fuzz_check(result == 0 || errno != EFAULT);
}

static void put_dir(struct fuzz_in *in)
{
	tried(mkdir(take_place(in), fuzz_pick(in, 8) ? 0755 : 0));
}

static void put_file(struct fuzz_in *in)
{
	const char *path = take_place(in);
	size_t size;
	const uint8_t *data = fuzz_bytes(in, fuzz_pick(in, 32), &size);

	tree_make_file(path, data, size);
}

/* A hole of some size is what metadata-only files are. */
static void put_hole(struct fuzz_in *in)
{
	const char *path = take_place(in);

	tree_make_file(path, "", 0);
	tried(truncate(path, (off_t)fuzz_number(in, 2)));
}

static void put_symlink(struct fuzz_in *in)
{
	static const char *const targets[] = { "a", "../../outside", "/", "..", "b/c", "" };
	const char *path = take_place(in);

	tried(symlink(targets[fuzz_pick(in, 6)], path));
}

static void put_special(struct fuzz_in *in)
{
	static const mode_t types[] = { S_IFCHR, S_IFIFO, S_IFSOCK, S_IFCHR };
	const char *path = take_place(in);
	unsigned kind = fuzz_pick(in, 4);

	tried(mknod(path, types[kind] | 0644, makedev(0, kind == 3 ? 7 : 0)));
}

static int is_writable(const char *path)
{
	const char *inside = path + strlen(tree_top()) + 1;

	return !strncmp(inside, "up/", 3) || !strncmp(inside, "work/", 5);
}

/* What is a file of the upper as well as of a layer changes with the upper, whoever serves it. */
static void link_fairly(const char *from, const char *to)
{
	if (is_writable(from) == is_writable(to))
		tried(link(from, to));
}

static void put_link(struct fuzz_in *in)
{
	const char *path = take_place(in);

	link_fairly(take_place(in), path);
}

/* An entry of the index: the name is the handle of what is at a path of a layer. */
static void put_index(struct fuzz_in *in)
{
	const char *of = take_place(in), *what = take_place(in);
	struct ply_layer layer = { .root = -1 };
	char hex[2 * sizeof(struct ply_fh) + 1] = "00";
	struct ply_fh fh;
	int len = ply_mark_encode(&layer, AT_FDCWD, of, &fh);

	for (int i = 0; i < len && i < (int)sizeof(fh); i++)
		snprintf(hex + 2 * i, 3, "%02x", ((const uint8_t *)&fh)[i]);
	mkdir(tree_path("work/index"), 0700);
	link_fairly(what, tree_path("work/index/%s", hex));
}

/* ---- attributes ---- */

static const char *const spaces[] = { "trusted.overlay.", "user.overlay.", "user.fuseoverlayfs." };

static const char *const marks[] = {
	"opaque", "whiteout", "origin",	  "nlink",	 "impure",	   "redirect",	 "metacopy",
	"upper",  "uuid",     "protattr", "plyfs.stack", "overlay.opaque", "plyfs.kept",
};
#define NMARKS 13

static const char *const others[] = {
	"user.containers.override_stat",
	"security.fuseoverlayfs.override_stat",
	"user.fuseoverlayfs.override_stat",
	"system.posix_acl_access",
	"system.posix_acl_default",
	"security.capability",
	"user.name",
	"user.containers.override_security.capability",
};
#define NOTHERS 8

void hostile_attribute(struct fuzz_in *in, char name[256])
{
	unsigned n = fuzz_pick(in, 3 * NMARKS + NOTHERS);

	if (n < 3 * NMARKS)
		snprintf(name, 256, "%s%s", spaces[n % 3], marks[n / 3]);
	else
		snprintf(name, 256, "%s", others[n - 3 * NMARKS]);
}

static const char *const values[] = {
	"y",
	"x",
	"",
	"a",
	"/a",
	"/a/b",
	"/b/a",
	"/d",
	"../outside",
	"/../outside",
	"a/b",
	"/a//b",
	"/",
	".",
	"..",
	"U+1",
	"U-1",
	"U+2147483647",
	"U-2147483648",
	"L+99999999999",
	"L-1",
	"U",
	"0:0:0755",
	"1000:1000:04755",
	"0:0:0644:pipe",
	"0:0:0644:char-0-0",
	"0:0:0644:char-4096-0",
	"0:0:0644:block-8-1",
	"0:0:0755:dir",
	"-1:-1:777777",
	"4294967296:0:0644",
	"/c",
	"c",
};
#define NVALUES 33

/* Too long for some, and just too long for others. */
static size_t long_value(char *value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		value[i] = i % 16 ? 'a' : '/';
	return size;
}

static size_t handle_value(struct fuzz_in *in, char *value)
{
	struct ply_layer layer = { .root = -1 };
	struct ply_fh fh = { 0 };
	int len = ply_mark_encode(&layer, AT_FDCWD, take_place(in), &fh);
	unsigned odd = fuzz_pick(in, 4);

	if (len <= 0)
		return 0;
	if (odd == 1)
		((uint8_t *)&fh)[fuzz_pick(in, (unsigned)len)] ^= (uint8_t)fuzz_number(in, 1);
	if (odd == 2)
		len -= (int)fuzz_pick(in, (unsigned)len);
	memcpy(value, &fh, sizeof(fh));
	return (size_t)len;
}

/* Capabilities and lists of the right form, but for what the input changes. */
static size_t binary_value(struct fuzz_in *in, char *value)
{
	static const char caps2[20] = { 1, 0, 0, 2, 0, 4 };
	static const char caps3[24] = { 1, 0, 0, 3, 0, 4, [20] = 5 };
	static const char acl[28] = { 2, 0, 0,	0,  1,	0,  7,	0, -1, -1, -1, -1, 4,  0,
				      5, 0, -1, -1, -1, -1, 32, 0, 5,  0,  -1, -1, -1, -1 };
	static const char filled[17] = { -1 };
	static const char times[25] = { 1, 5, 0, 0, 0, 0, 0, 0, 0, 7 };
	const struct {
		const char *at;
		size_t size;
	} kinds[] = { { caps2, 20 },  { caps3, 24 }, { acl, 28 },
		      { filled, 17 }, { caps3, 4 },  { times, 25 } };
	unsigned kind = fuzz_pick(in, 6);

	memcpy(value, kinds[kind].at, kinds[kind].size);
	if (fuzz_pick(in, 4) == 3)
		value[fuzz_pick(in, (unsigned)kinds[kind].size)] = (char)fuzz_number(in, 1);
	return kinds[kind].size;
}

size_t hostile_value(struct fuzz_in *in, char value[HOSTILE_VALUE])
{
	const uint8_t *data;
	const char *word;
	size_t size;

	switch (fuzz_pick(in, 8)) {
	case 0:
		data = fuzz_bytes(in, fuzz_pick(in, 256), &size);
		memcpy(value, data, size);
		return size;
	case 1:
		return handle_value(in, value);
	case 2:
		return binary_value(in, value);
	case 3:
		return long_value(value, 4085 + fuzz_pick(in, 16));
	default:
		word = values[fuzz_pick(in, NVALUES)];
		memcpy(value, word, strlen(word));
		return strlen(word);
	}
}

static void put_attribute(struct fuzz_in *in)
{
	unsigned layer = fuzz_pick(in, HOSTILE_LAYERS + 1);
	char path[HOSTILE_PATH], name[256], value[HOSTILE_VALUE];
	const char *place;
	size_t size;

	hostile_path(in, path);
	place = tree_path("%s/%s", hostile_layers[layer % HOSTILE_LAYERS], path);
	/* The roots of layers, and the index, say more than others. */
	if (layer == HOSTILE_LAYERS)
		place = tree_path("%s", fuzz_pick(in, 2) ? hostile_layers[fuzz_pick(in, 5)]
							 : "work/index");
	hostile_attribute(in, name);
	size = hostile_value(in, value);
	tried(lsetxattr(place, name, value, size, 0));
}

static void (*const puts_[])(struct fuzz_in *in) = {
	put_dir,   put_file,	  put_hole,	 put_symlink,	put_special,   put_link,
	put_index, put_attribute, put_attribute, put_attribute, put_attribute, put_attribute,
};
#define NPUTS 12

void hostile_lay(struct fuzz_in *in)
{
	unsigned n;

	while (fuzz_left(in) && (n = (unsigned)fuzz_number(in, 1)) != 0)
		puts_[n % NPUTS](in);
}
