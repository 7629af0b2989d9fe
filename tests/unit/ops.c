/* The operations, and the tree that they are done to. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "layer/format.h"

void ops_lowers(struct bed *b)
{
	static char big[BIG_SIZE + 1];

	memset(big, 'b', BIG_SIZE);
	put_file(b, "l1/d/f", "lower f");
	put_file(b, "l1/d/big", big);
	put_file(b, "l1/d/sub/g", "lower g");
	put_xattr(b, "l1/d/sub/g", "user.k", "v");
	put_symlink(b, "l1/d/s", "target");
	put_node(b, "l1/d/p", S_IFIFO | 0644, 0);
	put_file(b, "l0/x", "linked");
	put_link(b, "l0/d/y", "l0/x");
	put_link(b, "l0/d/w", "l0/x");
	put_file(b, "l1/over", "lower over");
	put_file(b, "l1/gone", "lower gone");
	put_file(b, "l1/hollow/a", "lower a");
	put_dir(b, "l1/empty");
	put_dir(b, "l1/coverdir");
}

void ops_upper(struct bed *b)
{
	put_file(b, "up/over", "upper over");
	put_whiteout(b, "up/gone");
	put_whiteout(b, "up/hollow/a");
	put_file(b, "up/u", "upper u");
	put_file(b, "up/ud/v", "upper v");
	put_dir(b, "up/ue");
	put_whiteout(b, "up/coverdir");
}

static int op_write(struct bed *b)
{
	return u_write(b, "d/f", "LOWER", 0);
}

static int op_write_big(struct bed *b)
{
	return u_write(b, "d/big", "B", 150000);
}

static int op_write_linked(struct bed *b)
{
	return u_write(b, "x", "LINKED", 0);
}

static int op_write_back(struct bed *b)
{
	return u_write_back(b, "d/f", "LOWER F", 0);
}

static int op_write_back_big(struct bed *b)
{
	return u_write_back(b, "d/big", "big", 12345);
}

static int op_write_upper(struct bed *b)
{
	return u_write(b, "u", "UPPER", 0);
}

static int op_truncate(struct bed *b)
{
	return u_truncate(b, "d/f", 3);
}

static int op_truncate_to_nothing(struct bed *b)
{
	return u_truncate(b, "d/big", 0);
}

static int op_chmod(struct bed *b)
{
	return u_chmod(b, "d/sub", 0700);
}

static int op_chown_symlink(struct bed *b)
{
	return u_set(b, "d/s", &(struct ply_setattr){ .valid = PLY_SET_UID, .uid = 7 });
}

static int op_chmod_fifo(struct bed *b)
{
	return u_chmod(b, "d/p", 0600);
}

static int op_setxattr(struct bed *b)
{
	return u_setxattr(b, "d/sub/g", "user.new", "value");
}

static int op_removexattr(struct bed *b)
{
	struct ply_entry e;
	int err = u_find(b, "d/sub/g", &e);

	if (err)
		return err;
	err = ply_removexattr(b->u, e.node, "user.k");
	u_drop(b, &e);
	return err;
}

static int op_create_in_lower_dir(struct bed *b)
{
	return u_create(b, "d/sub/new");
}

static int op_create_over_whiteout(struct bed *b)
{
	return u_create(b, "gone");
}

static int op_mkdir_over_whiteout(struct bed *b)
{
	return u_mkdir(b, "gone");
}

static int op_mkdir_over_whiteout_of_dir(struct bed *b)
{
	return u_mkdir(b, "coverdir");
}

static int op_symlink(struct bed *b)
{
	return u_symlink(b, "d/link", "to");
}

static int create_by(struct bed *b, const char *name, mode_t mode, uid_t uid)
{
	struct ply_make how = { .mode = mode, .cred = { .uid = uid, .gid = uid, .umask = 022 } };
	struct ply_entry made;
	int err = ply_create(b->u, ply_root(b->u), name, &how, &made);

	if (!err)
		u_drop(b, &made);
	return err;
}

static int op_create_by_other(struct bed *b)
{
	return create_by(b, "other", S_IFREG | 0666, 1000);
}

static int op_mkdir_by_other(struct bed *b)
{
	return create_by(b, "otherdir", S_IFDIR | 0777, 1000);
}

static int op_unlink_lower(struct bed *b)
{
	return u_unlink(b, "d/f");
}

static int op_unlink_upper(struct bed *b)
{
	return u_unlink(b, "u");
}

static int op_unlink_over(struct bed *b)
{
	return u_unlink(b, "over");
}

static int op_unlink_linked(struct bed *b)
{
	return u_unlink(b, "d/y");
}

static int op_rename_over_linked(struct bed *b)
{
	return u_rename(b, "u", "d/w", 0);
}

static int op_rmdir_lower(struct bed *b)
{
	return u_rmdir(b, "empty");
}

static int op_rmdir_upper(struct bed *b)
{
	return u_rmdir(b, "ue");
}

static int op_rmdir_hollow(struct bed *b)
{
	return u_rmdir(b, "hollow");
}

static int op_rename_lower(struct bed *b)
{
	return u_rename(b, "d/f", "z", 0);
}

static int op_rename_over_lower(struct bed *b)
{
	return u_rename(b, "u", "d/f", 0);
}

static int op_rename_over_upper(struct bed *b)
{
	return u_rename(b, "d/f", "over", 0);
}

static int op_rename_over_whiteout(struct bed *b)
{
	return u_rename(b, "u", "gone", RENAME_NOREPLACE);
}

static int op_rename_dir(struct bed *b)
{
	return u_rename(b, "ud", "d/ud", 0);
}

static int op_rename_dir_over_whiteout(struct bed *b)
{
	return u_rename(b, "ud", "gone", 0);
}

static int op_rename_dir_over_hollow(struct bed *b)
{
	return u_rename(b, "ud", "hollow", 0);
}

static int op_rename_dir_over_lower(struct bed *b)
{
	return u_rename(b, "ud", "empty", 0);
}

static int op_rename_merged(struct bed *b)
{
	return u_rename(b, "d", "moved", 0);
}

static int op_rename_merged_into(struct bed *b)
{
	return u_rename(b, "d/sub", "ud/sub", 0);
}

static int op_rename_merged_over_whiteout(struct bed *b)
{
	return u_rename(b, "d", "coverdir", 0);
}

static int op_rename_merged_over_hollow(struct bed *b)
{
	return u_rename(b, "d", "hollow", 0);
}

static int op_rename_merged_over_lower(struct bed *b)
{
	return u_rename(b, "d/sub", "empty", 0);
}

static int op_exchange_merged(struct bed *b)
{
	return u_rename(b, "d", "hollow", RENAME_EXCHANGE);
}

static int op_rename_linked(struct bed *b)
{
	return u_rename(b, "d/y", "w", 0);
}

static int op_exchange(struct bed *b)
{
	return u_rename(b, "u", "d/f", RENAME_EXCHANGE);
}

static int op_exchange_dir(struct bed *b)
{
	return u_rename(b, "ud", "over", RENAME_EXCHANGE);
}

static int op_link_lower(struct bed *b)
{
	return u_link(b, "k", "d/f");
}

static int op_link_over_whiteout(struct bed *b)
{
	return u_link(b, "gone", "u");
}

static int op_tmpfile(struct bed *b)
{
	struct ply_make how = { .mode = S_IFREG | 0600, .cred.umask = 022 };
	struct ply_entry dir, e, named;
	int err = u_find(b, "d", &dir);

	if (err)
		return err;
	err = ply_tmpfile(b->u, dir.node, &how, &e);
	if (!err) {
		ssize_t n = ply_write(b->u, e.node, "tmp", 3, 0, 0);

		err = n < 0 ? (int)n : ply_link(b->u, e.node, dir.node, "named", &named);
		if (!err)
			u_drop(b, &named);
		u_drop(b, &e);
	}
	u_drop(b, &dir);
	return err;
}

static int op_fallocate(struct bed *b)
{
	struct ply_entry e;
	int err = u_find(b, "d/f", &e);

	if (err)
		return err;
	err = ply_fallocate(b->u, e.node, 0, 0, 5000, 0);
	u_drop(b, &e);
	return err;
}

static int op_copy_range(struct bed *b)
{
	struct ply_entry from, to;
	int err = u_find(b, "u", &from);
	ssize_t n;

	if (err)
		return err;
	err = u_find(b, "d/f", &to);
	if (!err) {
		n = ply_copy_range(b->u, from.node, 0, to.node, 3, 5, PLY_WRITE_KEEP_TIMES);
		err = n == 5 ? 0 : n < 0 ? (int)n : -EIO;
		u_drop(b, &to);
	}
	u_drop(b, &from);
	return err;
}

static int op_fsync(struct bed *b)
{
	return u_sync(b, "u");
}

static int op_read(struct bed *b)
{
	const char *text = u_text(b, "d/sub/g");

	if (!strcmp(text, "lower g"))
		return 0;
	for (int err = 1; err < 134; err++)
		if (!strcmp(text, strerrorname_np(err) ? strerrorname_np(err) : ""))
			return -err;
	return -1000;
}

static int count_name(void *arg, const char *name, const struct ply_entry *entry, uint64_t cookie)
{
	struct bed *b = arg;

	(void)name;
	(void)cookie;
	if (entry->node)
		ply_forget(b->u, entry->node, 1);
	return 1;
}

static int op_readdir(struct bed *b)
{
	return ply_readdir(b->u, ply_root(b->u), 0, count_name, b);
}

const struct op ops[] = {
#define OP(x)                                                                                      \
	{                                                                                          \
#x, op_##x, 0                                                                      \
	}
#define OP_SETS(x)                                                                                 \
	{                                                                                          \
#x, op_##x, 1                                                                      \
	}
	OP(write),
	OP(write_big),
	OP(write_linked),
	OP(write_back),
	OP(write_back_big),
	OP(write_upper),
	OP_SETS(truncate),
	OP_SETS(truncate_to_nothing),
	OP_SETS(chmod),
	OP_SETS(chown_symlink),
	OP_SETS(chmod_fifo),
	OP(setxattr),
	OP(removexattr),
	OP(create_in_lower_dir),
	OP(create_over_whiteout),
	OP(mkdir_over_whiteout),
	OP(mkdir_over_whiteout_of_dir),
	OP(symlink),
	OP(create_by_other),
	OP(mkdir_by_other),
	OP(unlink_lower),
	OP(unlink_upper),
	OP(unlink_over),
	OP(unlink_linked),
	OP(rename_over_linked),
	OP(rmdir_lower),
	OP(rmdir_upper),
	OP(rmdir_hollow),
	OP(rename_lower),
	OP(rename_over_lower),
	OP(rename_over_upper),
	OP(rename_over_whiteout),
	OP(rename_dir),
	OP(rename_dir_over_whiteout),
	OP(rename_dir_over_hollow),
	OP(rename_dir_over_lower),
	OP(rename_merged),
	OP(rename_merged_into),
	OP(rename_merged_over_whiteout),
	OP(rename_merged_over_hollow),
	OP(rename_merged_over_lower),
	OP(exchange_merged),
	OP(rename_linked),
	OP(exchange),
	OP(exchange_dir),
	OP(link_lower),
	OP(link_over_whiteout),
	OP(tmpfile),
	OP(fallocate),
	OP(copy_range),
	OP(fsync),
	OP(read),
	OP(readdir),
};
const size_t nops = sizeof(ops) / sizeof(ops[0]);
