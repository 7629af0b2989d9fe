/*
 * The command line of the tools that take a stack: common options, the stack in the words of mount, and a few
 * options of each tool's own. Also how they write names: escaped, raw with NUL, or as JSON.
 */
#ifndef PLY_TOOLS_ARGS_H
#define PLY_TOOLS_ARGS_H

#include <stdint.h>
#include <stdio.h>

#include "cli.h"
#include "stack.h"

struct ply_args;

/* An option of one tool. */
struct ply_own_option {
	int letter; /* or a number from 256 on for one without */
	const char *name;
	const char *arg; /* what it takes, for the help; or NULL */
	const char *help;
};

#define PLY_OWN_MAX 16

struct ply_tool {
	const char *usage, *text;
	const struct ply_own_option *own; /* ended by one without name */
	int min, max;			  /* operands */
	int usage_exit;			  /* what a wrong command line ends with */
	int takes_no_stack;		  /* nor -0: what it works on is given in other words */
	/*
	 * The operands may be the lower layers, topmost first. Asked when all options are known; min and max are for the
	 * others.
	 */
	int (*takes_layers)(const struct ply_args *a);
	/* An option that does all that is wanted, as --help does, and says what the program ends with. */
	int answers;
	int (*answer)(const char *value);
};

#define PLY_LETTERS 300

struct ply_args {
	struct ply_cli cli; /* dry_run is not used */
	struct ply_stack_paths paths;
	int is_flushed; /* -m: what the mount had been given is in the upper */
	int zero;	/* -0 */
	int noperands;
	char **operands;
	const struct ply_tool *tool;
	/* By letter: how often it was given, and with what last. */
	int set[PLY_LETTERS];
	const char *value[PLY_LETTERS];
};

/* Answers --help and --version, and refuses what makes no sense, by exiting. */
void ply_args_parse(struct ply_args *a, int argc, char **argv, const struct ply_tool *tool);
void ply_args_free(struct ply_args *a);
/* A sentence and the usage on stderr, and the end. */
void ply_args_refuse(const struct ply_tool *tool, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* A list of lower layers in the words of mount: adds them to the paths, which are to be freed like a's own. */
void ply_args_lowers(const struct ply_tool *tool, struct ply_stack_paths *paths, const char *text);
/* A layer of a mount in use, told in the order of its stack. */
struct ply_ctl_layer;
void ply_args_add_live(struct ply_stack_paths *paths, const struct ply_ctl_layer *layer);
void ply_args_free_paths(struct ply_stack_paths *paths);
/* A number from 0 on of an option's value, or the end. */
unsigned long ply_args_number(const struct ply_args *a, int letter);

/* May this process see extended attributes in the trusted space? */
int ply_sees_trusted(void);
/* Notes on stderr what this run cannot see: trusted marks without privilege, what a mounted stack has not written. */
void ply_note_trusted(const struct ply_args *a);
void ply_note_mounted(const struct ply_args *a);
/* Follows the index of hard links, or says why it cannot be followed. 0 or -errno, which was told. */
int ply_args_use_index(const struct ply_args *a, struct ply_stack *s);

/* A text with escapes for what is not to be printed, and for backslashes; the caller frees it. */
char *ply_escape(const char *text);
/* The name by itself: escaped and with a newline, or as it is and with NUL. */
void ply_put_name(const struct ply_args *a, const char *name, const char *suffix);
/*
 * A JSON string. Bytes that are no UTF-8 are written as U+DC80 to U+DCFF, as Python's surrogateescape, so that
 * every name can be told from every other.
 */
void ply_put_json(FILE *out, const char *text);
/* An error at a path. Counts it. */
void ply_complain(const char *what, const char *path, int err);
/* The same with the reason in words, if why is not NULL. */
void ply_complain_of(const char *what, const char *path, int err, const char *why);
/* How often these were called. */
unsigned ply_complaints(void);
/* The word for a type: "file", "directory", "symlink", "fifo", "socket", "char", "block". */
const char *ply_type_word(unsigned mode);

#endif
