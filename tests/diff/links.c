/*
 * Lower files with several names. When one name is hidden before the file was brought up, the kernel brings it up for its
 * count, and plyfs keeps one that only plyfs reads. Where the kernel goes on with an upper of plyfs's, such a file is brought
 * up before a step removes one of its names; the others are then found by the index alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "plydiff.h"

enum { MAX_DEPTH = 100 };

static void bring_up(int dir, const char *name)
{
	struct stat st;

	/* A change without effect. */
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    st.st_nlink > 1)
		fchmodat(dir, name, st.st_mode & 07777, 0);
}

static void bring_up_below(int dir, const char *name, int depth)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct pd_names names;

	if (fd < 0) {
		bring_up(dir, name);
		return;
	}
	if (depth < MAX_DEPTH && pd_list(fd, &names) == 0) {
		for (size_t i = 0; i < names.count; i++)
			bring_up_below(fd, names.name[i], depth + 1);
		pd_names_free(&names);
	}
	close(fd);
}

void pd_links_bring_up(const struct pd_step *step)
{
	if (step->op->flags & PD_OP_UNLINKS) {
		bring_up(AT_FDCWD, step->p);
		if (step->q)
			bring_up(AT_FDCWD, step->q);
	}
	if (step->op->flags & PD_OP_EMPTIES)
		bring_up_below(AT_FDCWD, step->p, 0);
}

void pd_links_remove(const struct pd_tree *plain, int rootfd)
{
	for (size_t i = 0; i < plain->count; i++) {
		const struct pd_ent *e = &plain->ent[i];

		if (S_ISDIR(e->st.stx_mode) || e->st.stx_nlink < 2)
			continue;
		bring_up(rootfd, e->path);
		if (unlinkat(rootfd, e->path, 0) != 0)
			pd_die("unlink %s: %s", e->path, strerror(errno));
	}
}
