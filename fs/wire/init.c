/*
 * INIT flags, in the wire's own numbers: those of libfuse differ, and older versions of it never
 * send some that matter (parallel lookups, killing of set-id bits). So the choice is made here,
 * whole.
 */
#include "wire/init.h"

#include "wire/proto.h"

static const uint64_t always =
	FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_INIT_EXT | FUSE_PARALLEL_DIROPS |
	FUSE_CACHE_SYMLINKS |
	/* ACLs that take the set-gid bit away say so; SETXATTR is read by ourselves. */
	FUSE_SETXATTR_EXT |
	/*
	 * Always, for a cold walk wants the attributes; left to the kernel, it would ask for each.
	 */
	FUSE_DO_READDIRPLUS |
	/* The mask counts only where the directory has no default ACL, which is ours to see. */
	FUSE_DONT_MASK |
	/*
	 * Set-id bits and capabilities fall when a flag says so, not by a question before each
	 * write.
	 */
	FUSE_HANDLE_KILLPRIV_V2;

uint64_t ply_init_offered(const struct fuse_init_in *in, size_t len)
{
	uint64_t offered = 0;

	if (len >= offsetof(struct fuse_init_in, flags) + sizeof(in->flags))
		offered = in->flags;
	if ((offered & FUSE_INIT_EXT) &&
	    len >= offsetof(struct fuse_init_in, flags2) + sizeof(in->flags2))
		offered |= (uint64_t)in->flags2 << 32;
	return offered;
}

void ply_init_choose(struct fuse_init_out *out, uint64_t offered, unsigned wishes)
{
	uint64_t want = always;

	if (wishes & PLY_INIT_WRITEBACK)
		want |= FUSE_WRITEBACK_CACHE;
	if (wishes & PLY_INIT_ACL)
		want |= FUSE_POSIX_ACL;
	/*
	 * Behind a direct write that ends by itself the kernel drops no cached page: one that was read
	 * meanwhile would show the old data for ever.
	 */
	if (!(wishes & PLY_INIT_WRITABLE))
		want |= FUSE_ASYNC_DIO;
	/* As a rule nobody but us changes a file, and no cached page is wrong. */
	want |= wishes & PLY_INIT_RECHECK ? FUSE_AUTO_INVAL_DATA : FUSE_EXPLICIT_INVAL_DATA;
	want &= offered;
	out->flags = (uint32_t)want;
	out->flags2 = (uint32_t)(want >> 32);
}
