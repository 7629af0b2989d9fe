/* One step on one system: credentials, umask, working directory, and the looks around it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plydiff.h"

/* Somewhat shorter than the longest mark that the kernel writes. */
enum { LONG_PATH = 200 };

static void look_names(const char *dir, struct pd_text *out)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct pd_names names;

	pd_clear(out);
	if (fd < 0) {
		pd_add(out, "%s", pd_errno_name(errno));
		return;
	}
	int err = pd_list(fd, &names);

	if (err)
		pd_add(out, "%s ", pd_errno_name(-err));
	for (size_t i = 0; i < names.count; i++) {
		pd_add_quoted(out, names.name[i], strlen(names.name[i]));
		pd_add(out, " ");
	}
	pd_names_free(&names);
	close(fd);
}

static void look_at(const struct pd_step *s, struct pd_look looks[4], unsigned flags)
{
	const char *paths[2] = { s->p, s->q };

	for (int i = 0; i < 2; i++) {
		if (!paths[i]) {
			looks[2 * i].err = looks[2 * i + 1].err = ENOENT;
			continue;
		}
		char *parent = pd_parent(paths[i]);

		pd_look(&looks[2 * i], paths[i], flags);
		pd_look(&looks[2 * i + 1], parent, flags);
		free(parent);
	}
}

static void list_parents(const struct pd_step *s, struct pd_text listing[2])
{
	const char *paths[2] = { s->p, s->q };

	for (int i = 0; i < 2 && paths[i]; i++) {
		char *parent = pd_parent(paths[i]);

		look_names(parent, &listing[i]);
		free(parent);
	}
}

/*
 * A judge with metacopy=on marks a file that has no data of its own with where it was before it gets another name; where
 * that is too long, it answers EXDEV. Such files get their data before.
 */
static void complete(const struct pd_sys *sys, const struct pd_step *step)
{
	const char *paths[2] = { step->p, step->q };
	struct stat st;

	if (sys->tested || !sys->options || !strstr(sys->options, "metacopy=on"))
		return;
	for (int i = 0; i < 2; i++) {
		if (!paths[i] || strlen(paths[i]) < LONG_PATH || lstat(paths[i], &st) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		struct timespec times[2] = { st.st_atim, st.st_mtim };
		int fd = open(paths[i], O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0)
			continue;
		/* The kernel forgets the time of such a file. */
		futimens(fd, times);
		close(fd);
	}
}

/* False, and told, when the mount is dead. */
static bool enter(const struct pd_sys *sys, struct pd_outcome *o)
{
	if (fchdir(sys->rootfd) == 0)
		return true;
	pd_tell(o, "fchdir", -1);
	return false;
}

static void watched(struct pd_sys *sys, const struct pd_step *step, struct pd_outcome *o)
{
	complete(sys, step);
	if (sys->hard_links && (pd_opt.swap || pd_opt.stack))
		pd_links_bring_up(step);
	if (step->look >= 2)
		look_at(step, o->before, 0);
	clock_gettime(CLOCK_REALTIME, &o->started);
	umask((mode_t)step->mask);
	pd_become(step->as);
	step->op->run(sys, step, o);
	pd_become(0);
	umask(022);
	if (step->look < 1 || !enter(sys, o))
		return;
	look_at(step, o->after, PD_LOOK_XATTRS);
	list_parents(step, o->listing);
}

void pd_step_run(struct pd_sys *sys, const struct pd_step *step, struct pd_outcome *o)
{
	pd_clear(&o->notes);
	pd_clear(&o->listing[0]);
	pd_clear(&o->listing[1]);
	o->err = 0;
	if (enter(sys, o))
		watched(sys, step, o);
	if (chdir("/") != 0)
		pd_die("chdir /: %s", strerror(errno));
}
