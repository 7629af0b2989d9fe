/*
 * Layers from a seed: every kind of object, odd names and attributes, whiteouts and opaque directories where they
 * mean something, and the same few names in all layers so that they cover each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "plydiff.h"

struct layer {
	struct pd_rng rng;
	int fd;
	int merged; /* what is below, as one tree */
	bool upper, bottom;
	const struct pd_gen_options *options;
};

/* A directory of the layer while an object is placed; below is -1 where nothing below shows through. */
struct place {
	int dir, below;
};

static void must(int rc, const char *what, const char *name)
{
	if (rc < 0)
		pd_die("layers: %s %s: %s", what, name, strerror(errno));
}

static mode_t file_mode(struct pd_rng *rng)
{
	static const mode_t modes[] = { 0644,  0600, 0755, 0666, 0640,	04755, 02755,
					06755, 0400, 0,	   0777, 02644, 01644, 0444 };

	return modes[pd_below(rng, PD_COUNT(modes))];
}

static mode_t dir_mode(struct pd_rng *rng)
{
	static const mode_t modes[] = { 0755, 0755, 0777, 01777, 02775, 0700, 0711, 02777, 03777 };

	return modes[pd_below(rng, PD_COUNT(modes))];
}

static uid_t some_id(struct pd_rng *rng)
{
	static const uid_t ids[] = { 0, 0, 1000, 1000, 2000, 70000 };

	return ids[pd_below(rng, PD_COUNT(ids))];
}

static void add_xattrs(struct layer *l, const char *path, mode_t type)
{
	char value[600];
	size_t n = pd_below(&l->rng, 5) ? pd_below(&l->rng, 40) : pd_below(&l->rng, 600);
	uint8_t blob[64];

	memset(value, (int)('a' + pd_below(&l->rng, 26)), sizeof(value));
	if (pd_chance(&l->rng, 60) && !S_ISLNK(type) && (S_ISREG(type) || S_ISDIR(type)))
		must(lsetxattr(path, "user.a", value, n, 0), "set user.a", path);
	if (pd_chance(&l->rng, 30))
		must(lsetxattr(path, "trusted.t", value, n / 2, 0), "set trusted.t", path);
	if (pd_chance(&l->rng, 40) && S_ISREG(type)) {
		n = pd_make_capability(blob, pd_random(&l->rng));
		must(lsetxattr(path, "security.capability", blob, n, 0), "set cap", path);
	}
	if (pd_chance(&l->rng, 40) && !S_ISLNK(type)) {
		n = pd_make_acl(blob, pd_random(&l->rng));
		must(lsetxattr(path, "system.posix_acl_access", blob, n, 0), "set acl", path);
	}
	if (pd_chance(&l->rng, 60) && S_ISDIR(type)) {
		n = pd_make_acl(blob, pd_random(&l->rng));
		must(lsetxattr(path, "system.posix_acl_default", blob, n, 0), "set acl", path);
	}
}

static void set_attrs(struct layer *l, int dir, const char *name, mode_t type)
{
	mode_t mode = S_ISDIR(type) ? dir_mode(&l->rng) : file_mode(&l->rng);
	struct timespec times[2] = { pd_pick_time(&l->rng), pd_pick_time(&l->rng) };
	char path[PD_PROC_PATH];

	must(fchownat(dir, name, some_id(&l->rng), some_id(&l->rng), AT_SYMLINK_NOFOLLOW), "chown",
	     name);
	if (!S_ISLNK(type))
		must(fchmodat(dir, name, mode, 0), "chmod", name);
	pd_proc_path(path, dir, name);
	if (pd_chance(&l->rng, 35))
		add_xattrs(l, path, type);
	must(utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW), "utimensat", name);
}

/* ---- leaves ---- */

static void write_file(struct layer *l, int dir, const char *name)
{
	static const int sizes[] = { 0, 0, 1, 13, 100, 4095, 4096, 4097, 10000, 70000, 200000 };
	size_t n = (size_t)sizes[pd_below(&l->rng, PD_COUNT(sizes))];
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint8_t *buf = pd_alloc(n);

	must(fd, "create", name);
	pd_fill(buf, n, (long long)pd_below(&l->rng, 250));
	must(write(fd, buf, n) == (ssize_t)n ? 0 : -1, "write", name);
	if (pd_chance(&l->rng, 20)) {
		off_t hole = (off_t)pd_below(&l->rng, 40) * 65536;

		must(ftruncate(fd, (off_t)n + hole), "grow", name);
		if (pd_chance(&l->rng, 50))
			must(pwrite(fd, "end", 3, (off_t)n + hole) == 3 ? 0 : -1, "write", name);
	}
	free(buf);
	close(fd);
}

static void make_symlink(struct layer *l, int dir, const char *name)
{
	/* None leads out of the tree, where systems are not alike. */
	static const char *const targets[] = {
		"a", "b", "c", "c/d", "no-such", ".", "./d", "/nonexistent/x", "a/b/c",
	};

	must(symlinkat(targets[pd_below(&l->rng, PD_COUNT(targets))], dir, name), "symlink", name);
}

static mode_t make_special(struct layer *l, int dir, const char *name)
{
	/* Only devices that exist nowhere, or may be opened by anyone. */
	static const struct {
		mode_t type;
		unsigned major, minor;
	} kinds[] = { { S_IFIFO, 0, 0 },
		      { S_IFSOCK, 0, 0 },
		      { S_IFCHR, 1, 3 },
		      { S_IFCHR, 240, 99 },
		      { S_IFBLK, 42, 7 } };
	unsigned k = pd_below(&l->rng, PD_COUNT(kinds));

	must(mknodat(dir, name, kinds[k].type | 0600, makedev(kinds[k].major, kinds[k].minor)),
	     "mknod", name);
	return kinds[k].type;
}

static void make_whiteout(struct layer *l, struct place at, const char *name)
{
	char *marked, path[PD_PROC_PATH];

	if (at.below < 0 && !l->options->stray_marks)
		return;
	if (l->options->aufs_marks && !l->upper && strlen(name) < 250) {
		marked = pd_format(".wh.%s", name);
		must(mknodat(at.dir, marked, S_IFREG | 0600, 0), "whiteout", marked);
		free(marked);
		return;
	}
	if (l->options->xattr_marks && !l->upper && !pd_is_opaque(at.dir)) {
		must(mknodat(at.dir, name, S_IFREG | 0600, 0), "whiteout", name);
		pd_proc_path(path, at.dir, name);
		must(lsetxattr(path, "trusted.overlay.whiteout", "y", 1, 0), "mark", name);
		must(fsetxattr(at.dir, "trusted.overlay.opaque", "x", 1, 0), "mark dir of", name);
		return;
	}
	must(mknodat(at.dir, name, S_IFCHR, makedev(0, 0)), "whiteout", name);
}

static void make_leaf(struct layer *l, struct place at, const char *name)
{
	unsigned k = pd_below(&l->rng, 100);
	mode_t type = S_IFREG;

	if (k < 20 && !l->bottom) {
		make_whiteout(l, at, name);
		return;
	}
	if (k < 66) {
		write_file(l, at.dir, name);
	} else if (k < 80) {
		make_symlink(l, at.dir, name);
		type = S_IFLNK;
	} else if (k < 88) {
		must(mkdirat(at.dir, name, 0700), "mkdir", name);
		type = S_IFDIR;
	} else {
		type = make_special(l, at.dir, name);
	}
	set_attrs(l, at.dir, name, type);
	if (S_ISREG(type) && l->upper && pd_chance(&l->rng, 15)) {
		char *second = pd_format("%.200s~", name);

		if (linkat(at.dir, name, at.dir, second, 0) != 0 && errno != EEXIST)
			must(-1, "link", second);
		free(second);
	}
}

/* ---- directories ---- */

/* Hard links are not covered: a hidden name still counts in st_nlink, which a merged tree cannot show. */
static bool may_cover(const struct layer *l, const char *name)
{
	return !l->options->hard_links || strncmp(name, "hl", 2) != 0;
}

static void make_opaque(struct layer *l, int dir)
{
	int fd;

	if (l->options->aufs_marks && !l->upper) {
		fd = openat(dir, ".wh..wh..opq", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		must(fd, "create", ".wh..wh..opq");
		close(fd);
		return;
	}
	must(fsetxattr(dir, "trusted.overlay.opaque", "y", 1, 0), "mark", "opaque");
}

/* Steps into a directory, which is made if the name is free. False where something else has the name. */
static bool enter(struct layer *l, struct place *at, const char *name)
{
	bool made = mkdirat(at->dir, name, 0700) == 0;
	int dir = openat(at->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int below = at->below < 0 ? -1
				  : openat(at->below, name,
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir >= 0 && made) {
		set_attrs(l, at->dir, name, S_IFDIR);
		if (!l->bottom && pd_chance(&l->rng, 15) && may_cover(l, name))
			make_opaque(l, dir);
	}
	close(at->dir);
	if (at->below >= 0)
		close(at->below);
	if (dir >= 0 && below >= 0 && pd_is_opaque(dir)) {
		close(below);
		below = -1;
	}
	*at = (struct place){ dir, below };
	return dir >= 0;
}

static void leave(struct place *at)
{
	if (at->dir >= 0)
		close(at->dir);
	if (at->below >= 0)
		close(at->below);
}

static struct place start(struct layer *l)
{
	return (struct place){ .dir = fcntl(l->fd, F_DUPFD_CLOEXEC, 3),
			       .below = l->bottom ? -1 : fcntl(l->merged, F_DUPFD_CLOEXEC, 3) };
}

/* Often a name that exists below: covering is what layers are for. */
static char *leaf_name(struct layer *l, struct place at)
{
	struct pd_names names;
	char *name = NULL;

	if (at.below >= 0 && pd_chance(&l->rng, 45) && pd_list(at.below, &names) == 0) {
		const char *found =
			names.count ? names.name[pd_below(&l->rng, (unsigned)names.count)] : NULL;

		if (found && may_cover(l, found))
			name = pd_copy_string(found);
		pd_names_free(&names);
	}
	return name ? name : pd_copy_string(pd_pool_name(&l->rng));
}

static void place_object(struct layer *l)
{
	static const unsigned depths[] = { 0, 0, 1, 1, 1, 2, 2, 3 };
	struct place at = start(l);
	unsigned depth = depths[pd_below(&l->rng, PD_COUNT(depths))];
	bool ok = true;
	struct stat st;

	while (depth-- && ok)
		ok = enter(l, &at, pd_pool_name(&l->rng));
	if (ok) {
		char *name = leaf_name(l, at), *aufs = pd_format(".wh.%s", name);

		if (fstatat(at.dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 &&
		    fstatat(at.dir, aufs, &st, AT_SYMLINK_NOFOLLOW) != 0)
			make_leaf(l, at, name);
		free(name);
		free(aufs);
	}
	leave(&at);
}

/* A chain of directories, sometimes longer than PATH_MAX. */
static void place_deep(struct layer *l)
{
	struct place at = start(l);
	bool longer = pd_chance(&l->rng, 40);
	char name[240];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 22 && enter(l, &at, longer && i > 2 ? name : "deep"); i++)
		;
	if (at.dir >= 0 && faccessat(at.dir, "end", F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
		write_file(l, at.dir, "end");
		set_attrs(l, at.dir, "end", S_IFREG);
	}
	leave(&at);
}

static void place_many(struct layer *l)
{
	struct place at = start(l);

	if (enter(l, &at, "many")) {
		for (int i = 0; i < 150; i++) {
			char *name = pd_format("entry-%u", pd_below(&l->rng, 400));

			if (mknodat(at.dir, name, S_IFREG | 0644, 0) == 0 && pd_chance(&l->rng, 10))
				set_attrs(l, at.dir, name, S_IFREG);
			free(name);
		}
	}
	leave(&at);
}

/* Files with several names in one layer, where nothing above covers any of them. */
static void place_hard_links(struct layer *l, int number)
{
	struct place at = start(l);

	for (int i = 0; i < 2; i++) {
		char *first = pd_format("hl%d.%d", number, i);
		char *second = pd_format("hl%d.%d~", number, i);

		write_file(l, at.dir, first);
		set_attrs(l, at.dir, first, S_IFREG);
		must(linkat(at.dir, first, l->fd, second, 0), "link", second);
		if (enter(l, &at, "hld"))
			must(linkat(l->fd, first, at.dir, second, 0), "link", second);
		leave(&at);
		at = start(l);
		free(first);
		free(second);
	}
	leave(&at);
}

/* At the end, since every name put into a directory changes its times. */
static void set_dir_times(struct pd_rng *rng, int dir)
{
	struct timespec times[2] = { pd_pick_time(rng), pd_pick_time(rng) };
	struct pd_names names;

	if (pd_list(dir, &names) != 0)
		return;
	for (size_t i = 0; i < names.count; i++) {
		int fd = openat(dir, names.name[i],
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

		if (fd < 0)
			continue;
		set_dir_times(rng, fd);
		close(fd);
	}
	pd_names_free(&names);
	must(futimens(dir, times), "utimens", "directory");
}

static void fill_layer(struct layer *l, int number, unsigned objects)
{
	static const mode_t roots[] = { 0755, 0777, 01777, 02777, 0775 };

	must(fchmod(l->fd, roots[pd_below(&l->rng, PD_COUNT(roots))]), "chmod", "root");
	if (pd_chance(&l->rng, 25))
		must(fsetxattr(l->fd, "user.root", "layer", 5, 0), "setxattr", "root");
	if (l->options->xattr_marks && !l->upper)
		must(fsetxattr(l->fd, "trusted.overlay.opaque", "x", 1, 0), "mark", "root");
	for (unsigned i = 0; i < objects; i++)
		place_object(l);
	if (pd_chance(&l->rng, 12) && objects > 5)
		place_deep(l);
	if (pd_chance(&l->rng, 8) && objects > 5)
		place_many(l);
	if (l->options->hard_links && !l->upper && number < 4)
		place_hard_links(l, number);
	set_dir_times(&l->rng, l->fd);
}

static void make_layer(const struct pd_stack *stack, const char *path, int number, unsigned objects)
{
	char *model = pd_format("%s/model", stack->dir);
	struct layer l = {
		.rng = { pd_mix(stack->options.seed, (uint64_t)number + 1000) },
		.upper = number < 0,
		.bottom = number == stack->lowers - 1,
		.options = &stack->options,
	};

	must(mkdir(path, 0755), "mkdir", path);
	l.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	l.merged = open(model, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(l.fd < 0 ? l.fd : l.merged, "open", path);
	fill_layer(&l, number, objects);
	int err = pd_merge_layer(l.fd, l.merged);

	if (err)
		pd_die("layers: merging %s: %s", path, strerror(-err));
	close(l.fd);
	close(l.merged);
	free(model);
}

static int choose_lowers(struct pd_rng *rng)
{
	if (pd_chance(rng, 4))
		return 100;
	return 1 + (int)pd_below(rng, pd_chance(rng, 70) ? 3 : 5);
}

void pd_stack_make(struct pd_stack *stack, const char *dir, const struct pd_gen_options *options)
{
	struct pd_rng rng = { options->seed };
	char *path;

	*stack = (struct pd_stack){ .dir = pd_copy_string(dir), .options = *options };
	stack->lowers = options->lowers ? options->lowers : choose_lowers(&rng);
	path = pd_format("%s/low", dir);
	must(mkdir(path, 0755), "mkdir", path);
	free(path);
	path = pd_format("%s/model", dir);
	must(mkdir(path, 0755), "mkdir", path);
	free(path);
	for (int i = stack->lowers - 1; i >= 0; i--) {
		path = pd_format("%s/low/%d", dir, i);
		make_layer(stack, path, i, stack->lowers > 10 ? 3 : 8 + pd_below(&rng, 25));
		free(path);
	}
	path = pd_format("%s/first", dir);
	make_layer(stack, path, -1, pd_chance(&rng, 30) ? 0 : 5 + pd_below(&rng, 15));
	free(path);
	path = pd_format("%s/low", dir);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(fd, "open", path);
	stack->print = pd_alloc(sizeof(*stack->print));
	pd_tree_collect(stack->print, fd, 0);
	close(fd);
	free(path);
}

void pd_stack_free(struct pd_stack *stack)
{
	pd_remove_tree(AT_FDCWD, stack->dir);
	pd_tree_free(stack->print);
	free(stack->print);
	free(stack->dir);
}

void pd_stack_describe(const struct pd_stack *stack, struct pd_text *out)
{
	char *command =
		pd_format("cd %s && find low/? first -printf '  %%M %%U:%%G %%s %%p %%l\\n' | "
			  "LC_ALL=C sort -k4 | head -120",
			  stack->dir);
	FILE *f = popen(command, "r");
	char line[1024];

	while (f && fgets(line, sizeof(line), f))
		pd_add(out, "%s", line);
	if (f)
		pclose(f);
	free(command);
}
