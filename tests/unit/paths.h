/*
 * The union by paths, as a mount would be used: every call walks from the root, does one thing, and forgets
 * all nodes again, unless a handle is taken with u_hold. Calls return 0 or -errno like the library's.
 */
#ifndef TESTS_UNIT_PATHS_H
#define TESTS_UNIT_PATHS_H

#include "bed.h"

/* The node of a path with one lookup, to be given back with u_drop; "" is the root. */
int u_find(struct bed *b, const char *path, struct ply_entry *out);
/* The same where it must be there. */
struct ply_entry u_hold(struct bed *b, const char *path);
void u_drop(struct bed *b, struct ply_entry *entry);

int u_stat(struct bed *b, const char *path, struct statx *attr);
/* Makes an entry of any type, by root with umask 022. */
int u_make(struct bed *b, const char *path, mode_t mode, dev_t dev);
int u_create(struct bed *b, const char *path);
int u_mkdir(struct bed *b, const char *path);
int u_symlink(struct bed *b, const char *path, const char *target);
int u_link(struct bed *b, const char *path, const char *old);
int u_unlink(struct bed *b, const char *path);
int u_rmdir(struct bed *b, const char *path);
int u_rename(struct bed *b, const char *from, const char *to, unsigned flags);
/* Writes text at the offset; the file must be there. Short writes are -EIO. */
int u_write(struct bed *b, const char *path, const char *text, off_t off);
/* The same as the kernel does it out of its cache. */
int u_write_back(struct bed *b, const char *path, const char *text, off_t off);
/* Creates or truncates the file and writes text. */
int u_put(struct bed *b, const char *path, const char *text);
int u_set(struct bed *b, const char *path, const struct ply_setattr *set);
int u_chmod(struct bed *b, const char *path, mode_t mode);
int u_truncate(struct bed *b, const char *path, off_t size);
int u_sync(struct bed *b, const char *path);
int u_setxattr(struct bed *b, const char *path, const char *name, const char *value);

/* The whole content, or the error as "-ENOENT" and the like; in a static buffer. */
const char *u_text(struct bed *b, const char *path);
const char *node_text(struct bed *b, struct ply_node *node);
/* The names in a directory, sorted, separated by blanks; in a static buffer. Or the error. */
const char *u_ls(struct bed *b, const char *path);
/* The value, or NULL. */
const char *u_xattr(struct bed *b, const char *path, const char *name);

#define assert_ok(call) assert_errno(call, 0)
#define assert_errno(call, wanted) check_errno((int)(call), wanted, #call, __FILE__, __LINE__)
void check_errno(int got, int wanted, const char *what, const char *file, int line);

/*
 * A description of everything that the union, or a plain directory, shows: a line an entry with type, mode,
 * owner, size, link target, content, user attributes. Freed by the caller.
 */
enum tree_flags {
	TREE_INO = 1 << 0,
	TREE_MTIME = 1 << 1,
	TREE_NLINK = 1 << 2, /* of what is not a directory */
	TREE_ALL = TREE_INO | TREE_MTIME | TREE_NLINK,
};
char *tree_of_union(struct bed *b, unsigned flags);
char *tree_of_dir(const char *path, unsigned flags);
/* The first lines that differ; descriptions are sorted. */
void first_difference(const char *a, const char *b, const char **in_a, const char **in_b);
/* Fails with these. */
void check_same_tree(const char *got, const char *wanted, const char *file, int line);
#define assert_same_tree(got, wanted) check_same_tree(got, wanted, __FILE__, __LINE__)
/* Makes a plain directory of the bed hold what the union shows: types, content and hard links. */
void copy_of_union(struct bed *b, const char *path);
/* A fresh union over the same directories must show the same. */
void check_again(struct bed *b, unsigned flags, const char *file, int line);
#define assert_same_again(b, flags) check_again(b, flags, __FILE__, __LINE__)

#endif
