/* The operations by paths, and what is drawn by lot for them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "steps.h"

static unsigned long long seed_state;

void random_start(unsigned seed)
{
	seed_state = seed * 1000003ull;
}

unsigned rnd(unsigned n)
{
	seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(seed_state >> 33) % n;
}

int result(int res)
{
	return res < 0 ? -errno : 0;
}

const char *name_of(unsigned i)
{
	static const char *const names[] = { "a", "b", "c", "dir", "sub", "x", "longer-name" };

	return names[i % 7];
}

void random_path(char *path)
{
	unsigned depth = 1 + rnd(3);

	path[0] = '\0';
	while (depth--) {
		strcat(path, name_of(rnd(7)));
		if (depth)
			strcat(path, "/");
	}
}

const char *plain(const struct step *s, const char *path)
{
	return bed_path(s->b, "plain/%s", path);
}

static int op_create(struct step *s, int *wanted)
{
	int fd = open(plain(s, s->path), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);

	*wanted = result(fd);
	if (fd >= 0)
		close(fd);
	return u_create(s->b, s->path);
}

static int op_mkdir(struct step *s, int *wanted)
{
	*wanted = result(mkdir(plain(s, s->path), 0777));
	return u_mkdir(s->b, s->path);
}

static int op_write(struct step *s, int *wanted)
{
	off_t off = rnd(4) ? 0 : rnd(9000);
	int fd = open(plain(s, s->path), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	snprintf(s->text, sizeof(s->text), "text %u", rnd(100000));
	*wanted = result(fd);
	if (fd < 0) /* symlinks and fifos answer otherwise to open than to write */
		return *wanted == -ENOENT || *wanted == -ENOTDIR
			       ? u_write(s->b, s->path, s->text, off)
			       : *wanted;
	*wanted = result((int)pwrite(fd, s->text, strlen(s->text), off));
	close(fd);
	return u_write(s->b, s->path, s->text, off);
}

static int op_truncate(struct step *s, int *wanted)
{
	off_t size = rnd(2) ? 0 : rnd(6000);
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && !S_ISREG(st.st_mode))
		return *wanted;
	if (!*wanted)
		*wanted = result(truncate(plain(s, s->path), size));
	return u_truncate(s->b, s->path, size);
}

static int op_unlink(struct step *s, int *wanted)
{
	*wanted = result(unlink(plain(s, s->path)));
	return u_unlink(s->b, s->path);
}

static int op_rmdir(struct step *s, int *wanted)
{
	*wanted = result(rmdir(plain(s, s->path)));
	return u_rmdir(s->b, s->path);
}

static int op_rename(struct step *s, int *wanted)
{
	static const unsigned flags[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	unsigned how = flags[rnd(5)];
	int got = u_rename(s->b, s->path, s->other, how);

	*wanted = result(renameat2(AT_FDCWD, plain(s, s->path), AT_FDCWD, plain(s, s->other), how));
	return got;
}

static int op_link(struct step *s, int *wanted)
{
	struct stat st;

	/* Of several reasons to refuse a directory the library and the kernel need not name the same. */
	if (lstat(plain(s, s->path), &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	*wanted = result(link(plain(s, s->path), plain(s, s->other)));
	return u_link(s->b, s->other, s->path);
}

const char *link_target(void)
{
	static const char *const targets[] = { "/dev/null", "/dev/./null", "/dev/././null" };

	return targets[rnd(3)];
}

static int op_symlink(struct step *s, int *wanted)
{
	const char *target = link_target();

	*wanted = result(symlink(target, plain(s, s->path)));
	return u_symlink(s->b, s->path, target);
}

static int op_mkfifo(struct step *s, int *wanted)
{
	*wanted = result(mknod(plain(s, s->path), S_IFIFO | 0644, 0));
	return u_make(s->b, s->path, S_IFIFO | 0644, 0);
}

static int op_chmod(struct step *s, int *wanted)
{
	mode_t mode = 0700 | rnd(0100) | (rnd(4) ? 0 : S_ISUID);
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && S_ISLNK(st.st_mode))
		return 0;
	if (!*wanted)
		*wanted = result(chmod(plain(s, s->path), mode));
	return u_chmod(s->b, s->path, mode);
}

static int op_chown(struct step *s, int *wanted)
{
	struct ply_setattr set = { .valid = PLY_SET_UID | PLY_SET_GID,
				   .uid = rnd(3),
				   .gid = rnd(3) };
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && S_ISREG(st.st_mode) && (st.st_mode & 06000))
		return 0; /* whether set-id bits go is the wire's to say */
	if (!*wanted)
		*wanted = result(lchown(plain(s, s->path), set.uid, set.gid));
	return u_set(s->b, s->path, &set);
}

static int op_setxattr(struct step *s, int *wanted)
{
	struct stat st;

	*wanted = result(lstat(plain(s, s->path), &st));
	if (!*wanted && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;
	if (!*wanted)
		*wanted = result(
			lsetxattr(plain(s, s->path), "user.test", s->other, strlen(s->other), 0));
	return u_setxattr(s->b, s->path, "user.test", s->other);
}

static const struct op ops[] = {
	{ "create", op_create },     { "create", op_create }, { "mkdir", op_mkdir },
	{ "mkdir", op_mkdir },	     { "write", op_write },   { "write", op_write },
	{ "truncate", op_truncate }, { "unlink", op_unlink }, { "unlink", op_unlink },
	{ "rmdir", op_rmdir },	     { "rename", op_rename }, { "rename", op_rename },
	{ "rename", op_rename },     { "link", op_link },     { "symlink", op_symlink },
	{ "mkfifo", op_mkfifo },     { "chmod", op_chmod },   { "chown", op_chown },
	{ "setxattr", op_setxattr },
};

const struct op *random_op(void)
{
	return &ops[rnd(sizeof(ops) / sizeof(ops[0]))];
}
