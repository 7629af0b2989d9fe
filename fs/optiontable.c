/* The options themselves, one line of the table each, and what --help makes of them. */
#include "optiontable.h"

#include <stdio.h>
#include <string.h>

#define FIELD(name) offsetof(struct ply_options, name)

/* As enum ply_fsync. */
static const char *const fsync_words[] = { "0", "1", "volatile", "auto", "strict", NULL };
static const char *const writeback_words[] = { "0", "1", "auto", NULL };
static const char *const whiteout_words[] = { "auto", "char", "xattr", "aufs", NULL };
/* As enum ply_redirect_dir. */
static const char *const redirect_words[] = { "auto",	"on",	    "copy", "off",
					      "follow", "nofollow", NULL };
static const char *const space_words[] = { "auto", "trusted", "user", "none", NULL };
static const char *const off_on_words[] = { "off", "on", NULL };
static const char *const owner_words[] = { "0", "1", "2", NULL };

/* clang-format off */
const struct ply_option ply_option_table[] = {
	{ .names = "suid nosuid dev nodev exec noexec atime noatime sync async dirsync auto_unmount",
	  .kind = PLY_OPTION_MOUNT },
	{ .names = "lowerdir", .kind = PLY_OPTION_LAYERS, .arg = "DIR[:DIR]...",
	  .help = "the read-only layers, the topmost first; may be repeated as lowerdir+=DIR" },
	{ .names = "lowerdir+", .kind = PLY_OPTION_LAYER },
	{ .names = "datadir+", .kind = PLY_OPTION_DATA_LAYER, .arg = "DIR",
	  .help = "a layer with nothing but data of files above, as DIR in lowerdir=A:B::DIR" },
	{ .names = "upperdir", .kind = PLY_OPTION_TEXT, .field = FIELD(upper), .arg = "DIR",
	  .help = "the writable layer; without it the mount is read-only" },
	{ .names = "workdir", .kind = PLY_OPTION_TEXT, .field = FIELD(work), .arg = "DIR",
	  .help = "a directory for plyfs itself, on the file system of the upper one" },
	{ .names = "timeout", .kind = PLY_OPTION_SECONDS, .field = FIELD(timeout), .preset = "1e9",
	  .arg = "SECONDS",
	  .help = "how long the kernel may keep names and attributes" },
	{ .names = "fsync sync", .kind = PLY_OPTION_CHOICE, .field = FIELD(fsync), .words = fsync_words,
	  .preset = "1", .arg = "0|1|volatile|auto|strict",
	  .help = "0: fsync does nothing; volatile: and a mark says so to later mounts" },
	{ .names = "volatile", .kind = PLY_OPTION_FLAG, .field = FIELD(fsync), .number = PLY_FSYNC_VOLATILE,
	  .help = "the same as fsync=volatile" },
	{ .names = "writeback", .kind = PLY_OPTION_CHOICE, .field = FIELD(writeback),
	  .words = writeback_words, .preset = "auto", .arg = "0|1|auto",
	  .help = "the kernel collects writes; auto: where the mount is writable" },
	{ .names = "noxattrs", .kind = PLY_OPTION_SWITCH, .field = FIELD(noxattrs), .preset = "0",
	  .arg = "0|1",
	  .help = "1: no extended attributes" },
	{ .names = "noacl", .kind = PLY_OPTION_FLAG, .field = FIELD(noacl), .number = 1,
	  .help = "no access control lists" },
	{ .names = "whiteout", .kind = PLY_OPTION_CHOICE, .field = FIELD(whiteout), .words = whiteout_words,
	  .preset = "auto", .arg = "auto|char|xattr|aufs",
	  .help = "how removed names are marked: 0:0 devices, xattrs, or .wh. files" },
	{ .names = "xattrs", .kind = PLY_OPTION_CHOICE, .field = FIELD(space), .words = space_words,
	  .preset = "auto", .arg = "auto|trusted|user|none",
	  .help = "the name space of the marks on the upper layer" },
	{ .names = "userxattr", .kind = PLY_OPTION_FLAG, .field = FIELD(space), .number = PLY_SPACE_USER,
	  .help = "the same as xattrs=user" },
	{ .names = "redirect_dir", .kind = PLY_OPTION_CHOICE, .field = FIELD(redirect_dir),
	  .words = redirect_words, .preset = "auto",
	  .arg = "auto|on|copy|off|follow|nofollow",
	  .help = "how directories of a layer are renamed: by a mark, by copying, or not" },
	{ .names = "metacopy", .kind = PLY_OPTION_CHOICE, .field = FIELD(metacopy), .words = off_on_words,
	  .preset = "off", .arg = "on|off",
	  .help = "on: the data of files that only get other attributes stays in their layer" },
	{ .names = "index", .kind = PLY_OPTION_CHOICE, .field = FIELD(index), .words = off_on_words,
	  .preset = "on", .arg = "on|off",
	  .help = "off: hard links of lower files part when they are brought up" },
	{ .names = "uidmapping", .kind = PLY_OPTION_IDMAP, .field = FIELD(ids.users),
	  .arg = "KEPT:SHOWN:LENGTH[:...]",
	  .help = "users of the layers, and as whom the mount shows them" },
	{ .names = "gidmapping", .kind = PLY_OPTION_IDMAP, .field = FIELD(ids.groups),
	  .arg = "KEPT:SHOWN:LENGTH[:...]",
	  .help = "the same for groups" },
	{ .names = "squash_to_root", .kind = PLY_OPTION_FLAG, .field = FIELD(squash_to_root), .number = 1,
	  .help = "everything is shown as root's, and no owner that cannot be set is an error" },
	{ .names = "squash_to_uid", .kind = PLY_OPTION_ID, .field = FIELD(ids.squash_user), .arg = "UID",
	  .help = "the same with another user" },
	{ .names = "squash_to_gid", .kind = PLY_OPTION_ID, .field = FIELD(ids.squash_group), .arg = "GID",
	  .help = "the same with another group" },
	{ .names = "xattr_permissions", .kind = PLY_OPTION_CHOICE, .field = FIELD(owners),
	  .words = owner_words, .preset = "0", .arg = "0|1|2",
	  .help = "1, 2: owners and modes in a security or user attribute of the upper layer" },
	{ .names = "static_nlink", .kind = PLY_OPTION_FLAG, .field = FIELD(static_nlink), .number = 1,
	  .help = "directories have a link count of 1" },
	{ .names = "ino32_t", .kind = PLY_OPTION_FLAG, .field = FIELD(ino32), .number = 1,
	  .help = "inode numbers of 32 bits" },
	{ .names = "ro", .kind = PLY_OPTION_FLAG, .field = FIELD(readonly), .number = 1,
	  .help = "mount read-only" },
	{ .names = "rw", .kind = PLY_OPTION_FLAG, .field = FIELD(readonly), .number = 0 },
	{ .names = "allow_other", .kind = PLY_OPTION_FLAG, .field = FIELD(allow_other), .number = 1,
	  .help = "other users may come in, too (for root the default)" },
	{ .names = "allow_root", .kind = PLY_OPTION_FLAG, .field = FIELD(allow_root), .number = 1,
	  .help = "nobody but root and who mounted it may come in" },
	{ .names = "fsname", .kind = PLY_OPTION_TEXT, .field = FIELD(fsname), .preset = "plyfs",
	  .arg = "NAME",
	  .help = "the source that mount(8) and df(1) show" },
	{ .names = "subtype", .kind = PLY_OPTION_TEXT, .field = FIELD(subtype), .preset = "plyfs",
	  .arg = "NAME",
	  .help = "the type that they show, behind fuse." },
	{ .names = "debug", .kind = PLY_OPTION_FLAG, .field = FIELD(debug), .number = 1,
	  .help = "as -d" },
	/* Of fuse-overlayfs and of libfuse: what they tune is tuned otherwise, or always on. */
	{ .names = "default_permissions threaded fast_ino fast_ino_check"
		   " clone_fd max_idle_threads max_threads splice_read splice_write"
		   " splice_move kernel_cache auto_cache big_writes nonempty max_write"
		   " max_read max_readahead", .kind = PLY_OPTION_QUIET },
	/* Of the kernel's overlayfs. */
	{ .names = "xino uuid override_creds"
		   " nooverride_creds", .kind = PLY_OPTION_QUIET },
	/* Of mount(8), fstab and SELinux. */
	{ .names = "context fscontext defcontext rootcontext defaults auto noauto user"
		   " nouser users owner group nofail _netdev comment relatime norelatime"
		   " strictatime nostrictatime diratime nodiratime lazytime nolazytime X-*"
		   " x-*", .kind = PLY_OPTION_QUIET },
	{ .names = "nfs_export verity", .kind = PLY_OPTION_ABSENT },
	/* The latter is of mount(8), and would be another mount on top. */
	{ .names = "plugins remount", .kind = PLY_OPTION_REFUSED },
	{ .names = NULL },
};
/* clang-format on */

const struct ply_option_flag ply_option_flags[] = {
	{ "-f", FIELD(foreground), "stay in the foreground" },
	{ "-d", FIELD(debug), "the same, and say more; counters at the end" },
	{ "--debug", FIELD(debug), NULL },
	{ "-h", FIELD(help), NULL },
	{ "--help", FIELD(help), "print this and exit" },
	{ "-V", FIELD(version), NULL },
	{ "--version", FIELD(version), "print versions and exit" },
	{ "-r", FIELD(readonly), NULL },
	{ NULL, 0, NULL },
};

/* Of several names the first is shown. */
static void print_entry(FILE *out, const char *dash, const char *names, const char *arg,
			const char *help)
{
	char left[64];

	snprintf(left, sizeof(left), "%s%.*s%s%s", dash, (int)strcspn(names, " "), names,
		 arg ? "=" : "", arg ? arg : "");
	fprintf(out,
		strlen(left) < 32 ? "    %-32s%s"
				  : "    %s\n                                    %s",
		left, help);
}

void ply_options_help(FILE *out, const char *program)
{
	fprintf(out,
		"usage: %s [options] <mountpoint>\n\n"
		"Mounts a stack of directories as one: read-only lower layers and, on top, a\n"
		"writable upper one.\n\n",
		program);
	for (const struct ply_option_flag *flag = ply_option_flags; flag->word; flag++) {
		if (!flag->help)
			continue;
		print_entry(out, "", flag->word, NULL, flag->help);
		fputc('\n', out);
	}
	for (const struct ply_option *opt = ply_option_table; opt->names; opt++) {
		if (!opt->help)
			continue;
		print_entry(out, "-o ", opt->names, opt->arg, opt->help);
		if (opt->preset)
			fprintf(out, " (%s)", opt->preset);
		fputc('\n', out);
	}
	fprintf(out,
		"\nAlso ro, rw, dev, suid, exec, atime and their opposites, and the options of\n"
		"fuse-overlayfs; those which have nothing to do here are accepted.\n"
		"In paths, a backslash goes before a comma, a colon and a backslash.\n");
}
