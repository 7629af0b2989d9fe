/* Directories for the tests: making, looking at and removing what lies on disk, and the union over it. */
#include "bed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"
#include "inject.h"
#include "layer/format.h"

static struct bed the_bed;

/* A failed assertion in a sanitizer's or signal's way leaves the process without teardown. */
static void clean_up(void)
{
	if (the_bed.top[0])
		remove_tree(the_bed.top);
}

int bed_setup(void **state)
{
	static int registered;
	const char *tmp = getenv("TMPDIR");
	struct bed *b = &the_bed;

	if (!registered++)
		atexit(clean_up);
	*b = (struct bed){ .u = NULL };
	snprintf(b->top, sizeof(b->top), "%s/ply-unit-XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
	if (!mkdtemp(b->top)) {
		perror(b->top);
		b->top[0] = '\0';
		return -1;
	}
	umask(022);
	chmod(b->top, 0755); /* other users come here too */
	*state = b;
	return 0;
}

int bed_teardown(void **state)
{
	struct bed *b = *state;

	ply_union_close(b->u);
	b->u = NULL;
	remove_tree(b->top);
	b->top[0] = '\0';
	return 0;
}

const char *bed_path(const struct bed *b, const char *fmt, ...)
{
	static _Thread_local char bufs[4][BED_PATH + 8192];
	static _Thread_local unsigned turn;
	char *buf = bufs[turn++ % 4];
	int n = snprintf(buf, sizeof(bufs[0]), "%s/", b->top);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + n, sizeof(bufs[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	return buf;
}

static void make_parents(struct bed *b, const char *path)
{
	char dir[BED_PATH];

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(dir, sizeof(dir), "%s/%.*s", b->top, (int)(slash - path), path);
		if (mkdir(dir, 0755) < 0 && errno != EEXIST)
			fail_msg("mkdir %s: %s", dir, strerror(errno));
	}
}

static const char *make_room(struct bed *b, const char *path)
{
	make_parents(b, path);
	put_remove(b, path);
	return bed_path(b, "%s", path);
}

#define must(call)                                                                                 \
	do {                                                                                       \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s", #call, strerror(errno));                                \
	} while (0)

void put_file(struct bed *b, const char *path, const char *text)
{
	const char *full = make_room(b, path);
	int fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	/* In this order for cppcheck, which does not know that fail_msg ends the test. */
	if (fd >= 0) {
		must(write(fd, text, strlen(text)));
		close(fd);
	} else {
		fail_msg("%s: %s", full, strerror(errno));
	}
}

void put_dir(struct bed *b, const char *path)
{
	make_parents(b, path);
	if (mkdir(bed_path(b, "%s", path), 0755) < 0 && errno != EEXIST)
		fail_msg("mkdir %s: %s", path, strerror(errno));
}

void put_symlink(struct bed *b, const char *path, const char *target)
{
	must(symlink(target, make_room(b, path)));
}

void put_node(struct bed *b, const char *path, mode_t mode, dev_t dev)
{
	must(mknod(make_room(b, path), mode, dev));
}

void put_whiteout(struct bed *b, const char *path)
{
	put_node(b, path, S_IFCHR, makedev(0, 0));
}

void put_link(struct bed *b, const char *path, const char *old)
{
	must(link(bed_path(b, "%s", old), make_room(b, path)));
}

void put_xattr(struct bed *b, const char *path, const char *name, const char *value)
{
	must(lsetxattr(bed_path(b, "%s", path), name, value, strlen(value), 0));
}

void put_remove(struct bed *b, const char *path)
{
	remove_tree(bed_path(b, "%s", path));
}

int on_disk(struct bed *b, const char *path)
{
	struct stat st;

	return lstat(bed_path(b, "%s", path), &st) == 0;
}

const char *disk_xattr(struct bed *b, const char *path, const char *name)
{
	static char value[1024];
	ssize_t n = lgetxattr(bed_path(b, "%s", path), name, value, sizeof(value) - 1);

	if (n < 0)
		return NULL;
	value[n] = '\0';
	return value;
}

int disk_is_marked(struct bed *b, const char *path)
{
	return disk_xattr(b, path, "trusted.overlay.metacopy") ||
	       disk_xattr(b, path, "user.overlay.metacopy");
}

unsigned disk_entries(struct bed *b, const char *path, char first[256])
{
	DIR *dir = opendir(bed_path(b, "%s", path));
	const struct dirent *d;
	unsigned n = 0;

	while (dir && (d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (first)
			snprintf(first, 256, "%s", d->d_name);
		n++;
	}
	if (dir)
		closedir(dir);
	return n;
}

const char *disk_text(struct bed *b, const char *path)
{
	static char text[65536];
	int fd = open(bed_path(b, "%s", path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int refuse_open_tree(enum ply_sys call)
{
	return call == PLY_SYS_open_tree ? -EPERM : 0;
}

int bed_try_open(struct bed *b, unsigned nlowers, unsigned flags,
		 const struct ply_union_config *how, struct ply_why *why)
{
	const char **lowers = calloc(nlowers, sizeof(*lowers));
	char *upper = strdup(bed_path(b, "up")), *work = strdup(bed_path(b, "work"));
	struct ply_union_config cfg = how ? *how : (struct ply_union_config){ .sync = 1 };
	int err;

	put_dir(b, "up");
	put_dir(b, "work");
	for (unsigned i = 0; i < nlowers; i++) {
		char name[16];

		snprintf(name, sizeof(name), "l%u", i);
		put_dir(b, name);
		lowers[i] = strdup(bed_path(b, "%s", name));
	}
	cfg.lowers = lowers;
	cfg.nlowers = nlowers;
	cfg.upper = flags & BED_READONLY ? NULL : upper;
	cfg.work = flags & BED_READONLY ? NULL : work;
	b->fds = count_fds();
	if ((flags & BED_PLAIN) && !ply_sys_probe)
		ply_sys_probe = refuse_open_tree;
	err = ply_union_open(&cfg, &b->u, why);
	if (ply_sys_probe == refuse_open_tree)
		ply_sys_probe = NULL;
	for (unsigned i = 0; i < nlowers; i++)
		free((char *)lowers[i]);
	free(lowers);
	free(upper);
	free(work);
	b->cfg = cfg;
	return err;
}

void bed_open(struct bed *b, unsigned nlowers, unsigned flags, const struct ply_union_config *how)
{
	struct ply_why why;

	if (bed_try_open(b, nlowers, flags, how, &why))
		fail_msg("ply_union_open: %s", why.text);
}

void bed_close(struct bed *b)
{
	ply_union_close(b->u);
	b->u = NULL;
	assert_int_equal(count_fds(), b->fds);
	if (b->cfg.upper)
		assert_int_equal(bed_litter(b), 0);
}

void bed_die(struct bed *b)
{
	fail_every_call(-EIO);
	ply_union_close(b->u);
	b->u = NULL;
	stop_failing();
}

void bed_again(struct bed *b)
{
	struct ply_union_config cfg = b->cfg;
	unsigned nlowers = (unsigned)cfg.nlowers;

	bed_close(b);
	bed_open(b, nlowers, cfg.upper ? 0 : BED_READONLY, &cfg);
}

static size_t count_entries(const char *path, const char *except)
{
	DIR *dir = opendir(path);
	const struct dirent *d;
	size_t n = 0;

	if (!dir)
		return 0;
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.' && (!except || strcmp(d->d_name, except) != 0);
	closedir(dir);
	return n;
}

size_t bed_litter(struct bed *b)
{
	size_t n = count_entries(bed_path(b, "work/" PLY_WORK_DIR), PLY_WORK_WHITEOUT);

	return n && b->cfg.sync == PLY_SYNC_VOLATILE ? n - 1 : n;
}

/* One of them is the directory's own. */
size_t count_fds(void)
{
	return count_entries("/proc/self/fd", NULL) - 1;
}

size_t heap_used(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* Root needs no modes; others get them. */
static int open_up(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)ftw;
	if (flag == FTW_D || flag == FTW_DNR)
		chmod(path, st->st_mode | S_IRWXU);
	return 0;
}

void remove_tree(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return;
	if (geteuid() != 0)
		nftw(path, open_up, 32, FTW_PHYS | FTW_MOUNT);
	nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
