/*
 * A root is known by its handle. The kernel compares handles to the byte, so its marks are written only with a file
 * system's true UUID; one that could not be had here, or then, is no difference.
 */
#include "layer/binding.h"

#include <endian.h>
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <xxhash.h>

#include "base/sys.h"
#include "layer/marks.h"

static int has_uuid(const struct ply_fh *fh)
{
	static const uint8_t unknown[sizeof(fh->uuid)];

	return memcmp(fh->uuid, unknown, sizeof(unknown)) != 0;
}

/* The handle of a layer's root: its length, or 0 where there is none to be had. */
static int root_handle(const struct ply_binding_stack *stack, unsigned i, struct ply_fh *fh)
{
	struct ply_layer *layer = &stack->layers[i];
	int len = ply_mark_encode(layer, layer->root, "", fh);

	if (len > 0 && i == 0)
		fh->flags |= PLY_FH_PATH_UPPER;
	return len == -EOPNOTSUPP ? 0 : len;
}

/*
 * Adds a root to the hash; 0 is one of what cannot be known, and stays. Images of the same maker have the same handles
 * for other files, and often no UUID: their size has to tell one from another.
 */
static int hash_root(const struct ply_binding_stack *stack, unsigned i, uint64_t *hash)
{
	struct statvfs sfs = { 0 };
	struct ply_fh fh;
	int len = root_handle(stack, i, &fh), err = 0;

	if (len <= 0 || !*hash) {
		*hash = 0;
		return len < 0 ? len : 0;
	}
	if (!has_uuid(&fh))
		err = sys_statvfs(stack->layers[i].root, &sfs);
	*hash = XXH3_64bits_withSeed(&sfs.f_blocks, sizeof(sfs.f_blocks), *hash);
	*hash = XXH3_64bits_withSeed(&fh, (size_t)len, *hash);
	return err;
}

static int describe(const struct ply_binding_stack *stack, struct ply_binding *out)
{
	uint64_t upper = 1, lowers = 1;
	int err = hash_root(stack, 0, &upper);

	for (unsigned i = 1; !err && i < stack->n; i++)
		err = hash_root(stack, i, &lowers);
	*out = (struct ply_binding){ .version = PLY_BINDING_VERSION,
				     .upper = htole64(upper),
				     .lowers = htole64(lowers) };
	return err;
}

static int differ(uint64_t a, uint64_t b)
{
	return a && b && a != b;
}

/* Does a mark of the kernel speak of another root? */
static int speaks_of_another(const struct ply_binding_stack *stack, int dirfd, const char *mark,
			     unsigned i)
{
	struct ply_fh said, is;
	int len = ply_mark_handle(&stack->layers[0], dirfd, "", mark, &said);

	if (len <= 0)
		return len;
	len = root_handle(stack, i, &is);
	if (len <= 0)
		return len;
	return !ply_same_handle(&said, &is) || (has_uuid(&said) && has_uuid(&is) &&
						memcmp(said.uuid, is.uuid, sizeof(is.uuid)) != 0);
}

int ply_binding_check(const struct ply_binding_stack *stack, int index)
{
	struct ply_layer *upper = &stack->layers[0];
	struct ply_binding said, is;
	int err = describe(stack, &is), other, has_own;

	if (err)
		return err;
	has_own = ply_mark_binding(upper, index, &said);
	if (has_own < 0)
		return has_own;
	if (!has_own)
		said = is;
	other = speaks_of_another(stack, index, PLY_MARK_UPPER, 0);
	if (other || differ(said.upper, is.upper))
		return other < 0 ? other : PLY_BOUND_OTHER_UPPER;
	other = speaks_of_another(stack, upper->root, PLY_MARK_ORIGIN, 1);
	if (other || differ(said.lowers, is.lowers))
		return other < 0 ? other : PLY_BOUND_OTHER_LOWERS;
	return has_own ? PLY_BOUND_HERE : PLY_BOUND_UNSAID;
}

/* A mark of the kernel for the root of layer i, or none where we don't know what the kernel would write. */
struct root_mark {
	const struct ply_binding_stack *stack;
	unsigned i;
	const char *mark;
};

static int write_root(struct ply_upper *up, const struct root_mark *m, int dirfd, const char *name)
{
	struct ply_fh fh;
	int len = root_handle(m->stack, m->i, &fh);

	if (len < 0)
		return len;
	if (!len || !m->stack->layers[m->i].knows_uuid)
		return ply_upper_remove_mark(up, dirfd, name, m->mark);
	return ply_upper_set_mark(up, dirfd, name, m->mark, &fh, (size_t)len);
}

int ply_binding_write_own(struct ply_upper *up, const struct ply_binding_stack *stack, int dirfd,
			  const char *name)
{
	struct ply_binding binding;
	int err = describe(stack, &binding);

	if (err)
		return err;
	return ply_upper_set_mark(up, dirfd, name, PLY_MARK_BINDING, &binding, sizeof(binding));
}

int ply_binding_write(struct ply_upper *up, const struct ply_binding_stack *stack, int dirfd,
		      const char *name)
{
	const struct root_mark upper = { stack, 0, PLY_MARK_UPPER };
	const struct root_mark lower = { stack, 1, PLY_MARK_ORIGIN };
	int err = write_root(up, &upper, dirfd, name);

	if (!err)
		err = write_root(up, &lower, stack->layers[0].root, "");
	return err ? err : ply_binding_write_own(up, stack, dirfd, name);
}

static int make_bound(struct ply_upper *up, const struct ply_binding_stack *stack,
		      const struct ply_bound_dir *dir)
{
	struct ply_work_name tmp = ply_work_new_name(up);
	int err = sys_mkdir(up->work, tmp.text, S_IRWXU);

	if (err)
		return err;
	err = dir->tie(up, stack, up->work, tmp.text);
	if (!err)
		err = sys_rename(up->work, tmp.text, up->work_root, dir->name, RENAME_NOREPLACE);
	if (err)
		sys_rmdir(up->work, tmp.text);
	return err;
}

int ply_bound_dir_get(struct ply_upper *up, const struct ply_binding_stack *stack,
		      const struct ply_bound_dir *dir)
{
	int fd = atomic_load(dir->slot);

	if (fd < 0)
		fd = ply_upper_open_beside(up, dir->name, dir->slot);
	if (fd == -ENOENT) {
		int err = make_bound(up, stack, dir);

		if (err && err != -EEXIST)
			return err;
		fd = ply_upper_open_beside(up, dir->name, dir->slot);
	}
	return fd;
}

static int is_entry(void *arg, const char *name, unsigned char type, uint64_t ino)
{
	(void)arg;
	(void)type;
	(void)ino;
	return name[0] != '#';
}

int ply_index_has_entries(int index)
{
	return ply_layer_list(index, is_entry, NULL);
}
