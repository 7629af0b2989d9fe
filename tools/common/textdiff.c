/* Hands two open files to diff(1), by the names of their descriptors. */
#include "textdiff.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "args.h"
#include "base/sys.h"

#define LOOK_AT 8192

extern char **environ;

static int open_side(struct ply_stack *s, const struct ply_text_side *side)
{
	if (!side->data)
		return sys_open(AT_FDCWD, "/dev/null", O_RDONLY, 0);
	return ply_stack_open_data(s, side->data);
}

static int is_text(int fd)
{
	char buf[LOOK_AT];
	ssize_t n = sys_pread(fd, buf, sizeof(buf), 0);

	return n < 0 ? (int)n : memchr(buf, '\0', (size_t)n) == NULL;
}

static char *label(char side, const char *path, const struct ply_text_side *text)
{
	char *escaped = ply_escape(path), *to;

	if (asprintf(&to, text->data ? "--label=%c/%s" : "--label=/dev/null", side, escaped) < 0)
		to = NULL;
	free(escaped);
	return to;
}

/* The child's descriptors are the two files under fixed numbers; the labels are the names. */
static int run_diff(int before, int after, char *before_label, char *after_label)
{
	char program[] = "diff", unified[] = "-u", first[] = "/dev/fd/1000",
	     second[] = "/dev/fd/1001";
	char *argv[] = { program, unified, before_label, after_label, first, second, NULL };
	posix_spawn_file_actions_t actions;
	int err, status;
	pid_t pid;

	fflush(stdout);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, before, 1000);
	posix_spawn_file_actions_adddup2(&actions, after, 1001);
	err = -posix_spawnp(&pid, "diff", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		return err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) < 2 ? 0 : -EIO;
}

static int diff_open(const char *path, const struct ply_text_side *before, int before_fd,
		     const struct ply_text_side *after, int after_fd)
{
	int a = is_text(before_fd), b = is_text(after_fd), err;
	char *before_label, *after_label;

	if (a < 0 || b < 0)
		return a < 0 ? a : b;
	if (!a || !b) {
		char *escaped = ply_escape(path);

		printf("Binary file %s differs\n", escaped);
		free(escaped);
		return 0;
	}
	before_label = label('a', path, before);
	after_label = label('b', path, after);
	err = before_label && after_label ? run_diff(before_fd, after_fd, before_label, after_label)
					  : -ENOMEM;
	free(before_label);
	free(after_label);
	return err;
}

int ply_text_diff(struct ply_stack *s, const char *path, const struct ply_text_side *before,
		  const struct ply_text_side *after, off_t cap)
{
	int a, b, err;

	if (before->size > cap || after->size > cap) {
		char *escaped = ply_escape(path);

		printf("Large file %s differs\n", escaped);
		free(escaped);
		return 0;
	}
	a = open_side(s, before);
	if (a < 0)
		return a;
	b = open_side(s, after);
	err = b < 0 ? b : diff_open(path, before, a, after, b);
	if (b >= 0)
		sys_close(b);
	sys_close(a);
	return err;
}
