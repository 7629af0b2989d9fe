/* Extended attributes, ACLs and file capabilities. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "plydiff.h"

static const char ACCESS[] = "system.posix_acl_access";
static const char DEFAULT[] = "system.posix_acl_default";
static const char CAPABILITY[] = "security.capability";

static const char *const names[] = { "user.a",	  "user.b",	"user.c",
				     "trusted.t", "security.s", "user.a",
				     "user.",	  "nonsense.a", "system.nonsense" };

static void make_name(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_chance(&m->rng, 60) ? pd_pick(m, PD_FILES) : pd_pick_any(m);
	s->s = pd_copy_string(names[pd_below(&m->rng, PD_COUNT(names))]);
	s->n[0] = pd_below(&m->rng, 120);
	s->n[1] = pd_below(&m->rng, 26);
	s->n[2] = pd_chance(&m->rng, 30) ? 1 + pd_below(&m->rng, 2) : 0;
}

static void set_filled(const struct pd_step *s, struct pd_outcome *o)
{
	uint8_t *value = pd_alloc((size_t)s->n[0]);

	memset(value, (int)('a' + s->n[1]), (size_t)s->n[0]);
	pd_tell(o, "lsetxattr", lsetxattr(s->p, s->s, value, (size_t)s->n[0], (int)s->n[2]));
	free(value);
}

static void run_set(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	set_filled(s, o);
}

/* One attribute that fills what a file system has room for, or more than that. */
static void make_big(struct pd_maker *m, struct pd_step *s)
{
	static const int sizes[] = { 500, 1000, 2000, 5000, 65536, 70000 };

	s->p = pd_pick(m, PD_FILES);
	s->s = pd_copy_string("user.big");
	s->n[0] = sizes[pd_below(&m->rng, PD_COUNT(sizes))];
	s->n[1] = pd_below(&m->rng, 26);
}

static void run_get(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	static char value[65536];
	ssize_t n = pd_tell(o, "size", lgetxattr(s->p, s->s, NULL, 0));

	(void)sys;
	if (n > 1)
		pd_tell(o, "short", lgetxattr(s->p, s->s, value, (size_t)n - 1));
	pd_note_data(o, "value", value,
		     pd_tell(o, "getxattr", getxattr(s->p, s->s, value, sizeof(value))));
}

static void make_any(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick_any(m);
}

static void run_list(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char list[4096];
	/* The order is each file system's own; the look compares the names and values. */
	ssize_t n = pd_tell(o, "list", llistxattr(s->p, list, sizeof(list)));

	(void)sys;
	if (n < 0)
		return;
	/* A size that is asked for beforehand may be too large. */
	pd_note_holds(o, "enough", llistxattr(s->p, NULL, 0) >= n);
	if (n > 1)
		pd_tell(o, "short", llistxattr(s->p, list, (size_t)n - 1));
}

static void run_remove(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "lremovexattr", lremovexattr(s->p, s->s));
}

static void run_by_fd(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	int fd = pd_tell_fd(o, "open", pd_open(s->p, O_RDONLY, 0));
	char value[200];

	(void)sys;
	if (fd < 0)
		return;
	pd_tell(o, "fsetxattr", fsetxattr(fd, s->s, "by-fd", 5, (int)s->n[2]));
	pd_note_data(o, "value", value,
		     pd_tell(o, "fgetxattr", fgetxattr(fd, s->s, value, sizeof(value))));
	if (s->n[0] % 3 == 0)
		pd_tell(o, "fremovexattr", fremovexattr(fd, s->s));
	close(fd);
}

/* ---- ACLs and capabilities ---- */

static void make_acl(struct pd_maker *m, struct pd_step *s)
{
	bool on_dir = pd_chance(&m->rng, 45);

	s->p = pd_pick(m, on_dir ? PD_DIRS : PD_FILES);
	s->s = pd_copy_string(on_dir && pd_chance(&m->rng, 65) ? DEFAULT : ACCESS);
	s->n[0] = pd_below(&m->rng, 100000);
}

static void run_acl(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	uint8_t acl[64];
	size_t n = pd_make_acl(acl, (uint64_t)s->n[0]);

	(void)sys;
	/* Now and then one that is cut short, which is no ACL. */
	if (s->n[0] % 11 == 0)
		n -= 3;
	pd_tell(o, "setxattr", setxattr(s->p, s->s, acl, n, 0));
}

static void run_acl_remove(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	(void)sys;
	pd_tell(o, "removexattr", removexattr(s->p, s->s));
}

/* By root: whether losing an ACL also costs the set-gid bit is not agreed upon. */
static void make_acl_remove(struct pd_maker *m, struct pd_step *s)
{
	make_acl(m, s);
	s->as = 0;
}

/* What a default ACL gives to what is made below it. */
static void run_acl_inherit(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	char *file = pd_format("%s/f", s->p), *dir = pd_format("%s/d", s->p);
	int fd = pd_tell_fd(o, "open", pd_open(file, O_WRONLY | O_CREAT | O_EXCL, 0666));

	(void)sys;
	if (fd >= 0) {
		pd_note_stat(o, "fstat", fd);
		close(fd);
	}
	pd_tell(o, "mkdir", mkdir(dir, 0777));
	for (int i = 0; i < 2; i++) {
		char *line = pd_xattr_line(i ? dir : file);

		pd_note(o, i ? "dir-xattrs" : "file-xattrs", "%s", line);
		free(line);
	}
	free(file);
	free(dir);
}

static void make_cap(struct pd_maker *m, struct pd_step *s)
{
	s->p = pd_pick(m, PD_FILES);
	s->n[0] = pd_below(&m->rng, 1000);
	s->n[1] = pd_below(&m->rng, 5);
}

/* Set, and what the next change leaves of it. */
static void run_cap(struct pd_sys *sys, const struct pd_step *s, struct pd_outcome *o)
{
	uint8_t cap[64];
	size_t n = pd_make_capability(cap, (uint64_t)s->n[0]);

	(void)sys;
	if (pd_tell(o, "setxattr", setxattr(s->p, CAPABILITY, cap, n, 0)) != 0)
		return;
	if (s->n[1] == 1) {
		int fd = pd_open(s->p, O_WRONLY, 0);

		if (fd >= 0) {
			pd_tell(o, "write", write(fd, "x", 1));
			close(fd);
		}
	}
	if (s->n[1] == 2)
		pd_tell(o, "chown", chown(s->p, 1000, 1000));
	if (s->n[1] == 3)
		pd_tell(o, "truncate", pd_truncate(s->p, 2));
	if (s->n[1] == 4)
		pd_tell(o, "chmod", chmod(s->p, 0711));
	pd_tell(o, "getxattr", getxattr(s->p, CAPABILITY, cap, sizeof(cap)));
}

const struct pd_op pd_ops_xattr[] = {
	{ "setxattr", 26, "len fill flags", make_name, run_set, 0, { 0 } },
	{ "setxattr_big", 6, "len fill flags", make_big, run_set, 0, { 0 } },
	{ "getxattr", 12, NULL, make_name, run_get, 0, { 0 } },
	{ "listxattr", 8, NULL, make_any, run_list, 0, { 0 } },
	{ "removexattr", 14, NULL, make_name, run_remove, 0, { 0 } },
	{ "fsetxattr", 8, "len fill flags", make_name, run_by_fd, 0, { 0 } },
	{ "acl_set", 18, "seed", make_acl, run_acl, 0, { 0 } },
	{ "acl_remove", 6, NULL, make_acl_remove, run_acl_remove, 0, { 0 } },
	{ "acl_inherit", 12, NULL, make_acl, run_acl_inherit, 0, { 0 } },
	{ "capability", 10, "seed how", make_cap, run_cap, 0, { 0 } },
	{ .name = NULL },
};
