/* Making random steps: the names that exist now, and choices that let operations meet. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plydiff.h"

enum { CROWDED = 350 };

static void add_name(struct pd_names *names, const char *path)
{
	names->name = pd_grow(names->name, (names->count + 1) * sizeof(char *));
	names->name[names->count++] = pd_copy_string(path);
}

static void learn_dir(struct pd_maker *m, int dir, const char *prefix);

static void learn_entry(struct pd_maker *m, int dir, const char *name, const char *path)
{
	struct stat st;

	if (strlen(path) > PD_PATH_LIMIT || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	m->total++;
	if (S_ISREG(st.st_mode)) {
		add_name(&m->have[PD_FILES], path);
	} else if (S_ISLNK(st.st_mode)) {
		add_name(&m->have[PD_SYMLINKS], path);
	} else if (!S_ISDIR(st.st_mode)) {
		add_name(&m->have[PD_SPECIALS], path);
	} else {
		int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		add_name(&m->have[PD_DIRS], path);
		if (fd < 0)
			return;
		learn_dir(m, fd, path);
		close(fd);
	}
}

static void learn_dir(struct pd_maker *m, int dir, const char *prefix)
{
	struct pd_names names;

	if (pd_list(dir, &names) != 0)
		return;
	for (size_t i = 0; i < names.count; i++) {
		char *path = pd_format("%s%s%s", prefix, *prefix ? "/" : "", names.name[i]);

		learn_entry(m, dir, names.name[i], path);
		free(path);
	}
	pd_names_free(&names);
}

void pd_maker_learn(struct pd_maker *m, int rootfd)
{
	pd_maker_free(m);
	add_name(&m->have[PD_DIRS], ".");
	learn_dir(m, rootfd, "");
}

void pd_maker_free(struct pd_maker *m)
{
	for (int i = 0; i < PD_CLASSES; i++)
		pd_names_free(&m->have[i]);
	m->total = 0;
}

/* ---- choices ---- */

static const char *existing(struct pd_maker *m, enum pd_class class)
{
	const struct pd_names *names = &m->have[class];

	return names->count ? names->name[pd_below(&m->rng, (unsigned)names->count)] : NULL;
}

char *pd_pick_new(struct pd_maker *m)
{
	const char *dir = pd_chance(&m->rng, 94) ? existing(m, PD_DIRS) : existing(m, PD_FILES);
	const char *name = pd_pool_name(&m->rng);

	if (!dir || strcmp(dir, ".") == 0)
		return pd_copy_string(name);
	return pd_format("%s/%s", dir, name);
}

char *pd_pick_any(struct pd_maker *m)
{
	static const enum pd_class classes[] = { PD_DIRS,  PD_DIRS,	PD_FILES,    PD_FILES,
						 PD_FILES, PD_SYMLINKS, PD_SPECIALS, PD_CLASSES };
	enum pd_class class = classes[pd_below(&m->rng, PD_COUNT(classes))];
	const char *path = class == PD_CLASSES ? NULL : existing(m, class);

	return path ? pd_copy_string(path) : pd_pick_new(m);
}

char *pd_pick(struct pd_maker *m, enum pd_class class)
{
	const char *path = pd_chance(&m->rng, 85) ? existing(m, class) : NULL;

	if (path)
		return pd_copy_string(path);
	return pd_chance(&m->rng, 50) ? pd_pick_any(m) : pd_pick_new(m);
}

mode_t pd_pick_mode(struct pd_maker *m)
{
	static const mode_t modes[] = { 0644, 0600, 0755, 0777,	 0666,	04755, 02755,
					0640, 0,    0400, 01777, 06777, 02644, 0711 };

	return modes[pd_below(&m->rng, PD_COUNT(modes))];
}

long long pd_pick_offset(struct pd_maker *m)
{
	static const long long offsets[] = { 0,	   0,	 0,	1,     10,    4095,   4096,
					     4100, 8192, 10000, 65536, 70000, 200000, 1000000 };

	return offsets[pd_below(&m->rng, PD_COUNT(offsets))];
}

long long pd_pick_length(struct pd_maker *m)
{
	static const long long lengths[] = { 0,	   1,	 10,   100,   1000,  4095,
					     4096, 4097, 9000, 65536, 140000 };

	return lengths[pd_below(&m->rng, PD_COUNT(lengths))];
}

int pd_pick_slot(struct pd_maker *m)
{
	return (int)pd_below(&m->rng, PD_SLOTS);
}

struct pd_step pd_step_make(struct pd_maker *m)
{
	static const int masks[] = { 022, 022, 022, 0, 077, 027, 0111 };
	static const int looks[] = { 2, 2, 2, 2, 1, 0, 0 };
	struct pd_step s = { .op = NULL };

	/* Copies of trees would grow without end. */
	if (m->total > CROWDED && pd_chance(&m->rng, 20))
		s.op = pd_op_find("rm_rf");
	else
		s.op = pd_op_pick(&m->rng);
	if (m->total > CROWDED && strcmp(s.op->name, "cp_a") == 0)
		s.op = pd_op_find("rm_rf");
	s.as = pd_chance(&m->rng, 72) ? 0 : 1 + (int)pd_below(&m->rng, 3);
	s.mask = masks[pd_below(&m->rng, PD_COUNT(masks))];
	s.look = looks[pd_below(&m->rng, PD_COUNT(looks))];
	if (s.op->make)
		s.op->make(m, &s);
	return s;
}
