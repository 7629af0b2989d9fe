/*
 * Every name and number that plyfs reads or writes on disk, once. docs/format.md says who reads and
 * writes what; the sources are the kernel's overlayfs (fs/overlayfs, Documentation/filesystems/overlayfs.rst),
 * the AUFS changes that image layers use, and fuse-overlayfs.
 */
#ifndef PLY_LAYER_FORMAT_H
#define PLY_LAYER_FORMAT_H

#include <stdint.h>

/* Extended attributes: a space's prefix, then a mark's name. */
#define PLY_SPACE_TRUSTED_PREFIX "trusted.overlay."
#define PLY_SPACE_USER_PREFIX "user.overlay."
#define PLY_SPACE_FUSE_PREFIX "user.fuseoverlayfs."
/* What a user of the mount sets below a space is kept one level deeper, as the kernel does. */
#define PLY_ESCAPE "overlay."

#define PLY_MARK_OPAQUE                                                                            \
	"opaque" /* directory: "y" hides what is below; "x" announces xattr whiteouts */
#define PLY_MARK_WHITEOUT "whiteout" /* empty regular file: the name is deleted; any value */
#define PLY_MARK_ORIGIN "origin"     /* struct ply_fh of the lower inode that was copied up */
#define PLY_MARK_NLINK                                                                             \
	"nlink" /* indexed file: links of the union, relative to the inode's ("U+1") */
#define PLY_MARK_IMPURE "impure" /* directory: "y", holds entries with an origin */
#define PLY_MARK_REDIRECT                                                                          \
	"redirect" /* a name in the same directory, or a path from the root, in the layers below */
#define PLY_MARK_METACOPY "metacopy" /* regular file: its data is below */
/*
 * The value of the mark metacopy while a file's data is in the upper already, but perhaps not on its disk: a version that
 * the kernel's overlayfs does not have, and the boot in which it was written. As long as that lasts the data is good,
 * whatever happened to its writer. (With metacopy=on the kernel looks at the version only to verify digests, and reads below.)
 */
#define PLY_METACOPY_VERSION 0xff
struct ply_metacopy {
	uint8_t version;
	uint8_t boot[16]; /* as /proc/sys/kernel/random/boot_id */
} __attribute__((packed));

/* On a file while its data comes up: what the writing takes off and it is to have again; little endian. */
#define PLY_MARK_KEPT "plyfs.kept"
#define PLY_KEPT_VERSION 1
struct ply_kept {
	uint8_t version;
	struct {
		int64_t sec;
		uint32_t nsec;
	} __attribute__((packed)) atime, mtime;
	uint16_t mode;
	uint8_t caps[64]; /* security.capability, as long as it is */
} __attribute__((packed));
#define PLY_KEPT_HEADER 27
_Static_assert(__builtin_offsetof(struct ply_kept, caps) == PLY_KEPT_HEADER, "without padding");

#define PLY_MARK_UPPER "upper"	     /* index directory: the upper directory it stands for */
#define PLY_MARK_UUID "uuid"	     /* root: of the mount */
#define PLY_MARK_PROTATTR "protattr" /* the immutable and append-only flags */

/*
 * Owner, mode and type of an inode that could not have them itself, see override.h; the root of the layer
 * has one in use there. The prefix also stands before the names of a user's attributes that are kept aside.
 */
#define PLY_OVERRIDE_PREFIX "user.containers.override_"
#define PLY_OVERRIDE_SECURITY_STAT "security.fuseoverlayfs.override_stat"

/* Index directory: the stack that it was made on; hashes of its roots, little endian. */
#define PLY_MARK_BINDING "plyfs.stack"
#define PLY_BINDING_VERSION 1
struct ply_binding {
	uint8_t version;
	uint64_t upper, lowers;
} __attribute__((packed));

#define PLY_OPAQUE_YES 'y'
#define PLY_OPAQUE_XWHITEOUTS 'x'

/* The AUFS form, in image layers and where a file system takes neither devices nor xattrs. */
#define PLY_AUFS_PREFIX ".wh."
#define PLY_AUFS_PREFIX_LEN 4
#define PLY_AUFS_OPAQUE ".wh..wh..opq"
#define PLY_AUFS_META ".wh..wh." /* AUFS's own files: never shown, never whiteouts */
/* What a user calls .wh.X is kept by this prefix and X, which no other reader takes for a whiteout of X. */
#define PLY_AUFS_KEPT ".wh..wh.name."
#define PLY_AUFS_KEPT_LEN 13
_Static_assert(sizeof(PLY_AUFS_KEPT) - 1 == PLY_AUFS_KEPT_LEN, "its length");

/* A whiteout is a character device of this number. */
#define PLY_WHITEOUT_MAJOR 0
#define PLY_WHITEOUT_MINOR 0

/* Below the work directory that the user names. */
#define PLY_WORK_DIR "work"	/* what is being built; emptied at every start */
#define PLY_WORK_WHITEOUT "#wh" /* the whiteout that all others are links of */

#define PLY_WORK_INCOMPAT "incompat" /* in it: what is not to be mounted by who does not know it */
#define PLY_INCOMPAT_VOLATILE "volatile" /* in that: a volatile mount was here */
#define PLY_INCOMPAT_DIRTY "dirty" /* in that: empty, or the 16 bytes of the boot's id by plyfs */

#define PLY_UNSETTLED                                                                              \
	"unsettled" /* there while inodes in the upper have marks that are to be taken off */
#define PLY_SETTLING "settling" /* its name while the server that is about to end takes them off */
#define PLY_INDEX_DIR "index"	/* lower hard links that were brought up, named by origin in hex */
#define PLY_COUNTS_DIR "links"	/* named so, too: how many names of others were removed */

/* A lower file's handle, as the kernel's struct ovl_fb. */
#define PLY_FH_VERSION 0
#define PLY_FH_MAGIC 0xfb
#define PLY_FH_BIG_ENDIAN 1
#define PLY_FH_PATH_UPPER 4 /* of an upper directory */

struct ply_fh {
	uint8_t version;
	uint8_t magic;
	uint8_t len; /* of the whole, header included */
	uint8_t flags;
	uint8_t type; /* handle_type of name_to_handle_at(2) */
	uint8_t uuid[16];
	uint8_t fid[128];
} __attribute__((packed));

#define PLY_FH_HEADER 21
_Static_assert(__builtin_offsetof(struct ply_fh, fid) == PLY_FH_HEADER, "kernel layout");

#define PLY_NAME_MAX 255
#define PLY_REDIRECT_MAX 4095 /* bytes of a redirect; the kernel itself writes up to 256 */

#endif
