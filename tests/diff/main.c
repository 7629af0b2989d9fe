/* The command line of plydiff, and the loop over seeds. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "plydiff.h"

enum { EXIT_SKIP = 77 };

struct pd_options pd_opt = {
	.overlay_options = "index=off,redirect_dir=on,metacopy=off",
	.base = "/var/tmp",
	.judge = true,
	.reader = true,
	.swap = true,
	.check_every = 100,
};

volatile int pd_interrupted;

struct command {
	uint64_t seed;
	unsigned seeds;
	size_t ops;
	double shrink_seconds;
	int hang_seconds;
	const char *replay;
	struct pd_gen_options gen;
	bool fixed_marks; /* marks were chosen on the command line */
	char *dir;
};

static const char usage[] =
	"plydiff --mounter PROGRAM|overlay [options]\n"
	"  --seed N           first seed (1)            --seeds N     how many (1)\n"
	"  --ops N            steps per seed (1000)     --check N     whole trees every N steps (100)\n"
	"  --lowers N         layers (from the seed)    --dir DIR     where to work (/var/tmp)\n"
	"  --hardlinks MODE   none | same-mount: lower files with several names\n"
	"  --marks KIND       kernel | stray | aufs | xattr | mixed: forms of whiteouts (from the seed)\n"
	"  --mount-opts O     more options for the program\n"
	"  --ovl-opts O       options of the kernel's overlayfs (index=off,redirect_dir=on,metacopy=off)\n"
	"  --reader-opts O    options when the kernel reads the result\n"
	"  --rename-dirs MODE exdev | always: whether EXDEV for a directory is taken (always)\n"
	"  --no-judge         no kernel overlayfs beside    --no-reader   nor at the end\n"
	"  --no-swap          never change uppers with it\n"
	"  --stack            at some remounts the upper becomes a layer\n"
	"  --tolerate OP:LABEL  take such differences of the tested system (patterns, repeatable)\n"
	"  --replay FILE      run the steps of a failure again\n"
	"  --shrink SECONDS   time for shortening a failure (120; 0: don't)\n"
	"  --hang SECONDS     after which a call is taken to hang (60)\n"
	"  --keep  --verbose  --list  --help\n";

static void on_signal(int sig)
{
	(void)sig;
	pd_interrupted = 1;
}

/* ---- options ---- */

enum {
	O_MOUNTER = 256,
	O_SEED,
	O_SEEDS,
	O_OPS,
	O_CHECK,
	O_LOWERS,
	O_DIR,
	O_HARDLINKS,
	O_MARKS,
	O_MOUNT_OPTS,
	O_OVL_OPTS,
	O_READER_OPTS,
	O_RENAME_DIRS,
	O_NO_JUDGE,
	O_NO_READER,
	O_NO_SWAP,
	O_STACK,
	O_TOLERATE,
	O_REPLAY,
	O_SHRINK,
	O_HANG,
	O_KEEP,
	O_VERBOSE,
	O_LIST,
	O_HELP,
};

static const struct option options[] = {
	{ "mounter", 1, NULL, O_MOUNTER },
	{ "seed", 1, NULL, O_SEED },
	{ "seeds", 1, NULL, O_SEEDS },
	{ "ops", 1, NULL, O_OPS },
	{ "check", 1, NULL, O_CHECK },
	{ "lowers", 1, NULL, O_LOWERS },
	{ "dir", 1, NULL, O_DIR },
	{ "hardlinks", 1, NULL, O_HARDLINKS },
	{ "marks", 1, NULL, O_MARKS },
	{ "mount-opts", 1, NULL, O_MOUNT_OPTS },
	{ "ovl-opts", 1, NULL, O_OVL_OPTS },
	{ "reader-opts", 1, NULL, O_READER_OPTS },
	{ "rename-dirs", 1, NULL, O_RENAME_DIRS },
	{ "no-judge", 0, NULL, O_NO_JUDGE },
	{ "no-reader", 0, NULL, O_NO_READER },
	{ "no-swap", 0, NULL, O_NO_SWAP },
	{ "stack", 0, NULL, O_STACK },
	{ "tolerate", 1, NULL, O_TOLERATE },
	{ "replay", 1, NULL, O_REPLAY },
	{ "shrink", 1, NULL, O_SHRINK },
	{ "hang", 1, NULL, O_HANG },
	{ "keep", 0, NULL, O_KEEP },
	{ "verbose", 0, NULL, O_VERBOSE },
	{ "list", 0, NULL, O_LIST },
	{ "help", 0, NULL, O_HELP },
	{ NULL, 0, NULL, 0 },
};

static void set_marks(struct pd_gen_options *gen, const char *kind)
{
	gen->stray_marks = strcmp(kind, "stray") == 0 || strcmp(kind, "mixed") == 0;
	gen->aufs_marks = strcmp(kind, "aufs") == 0;
	gen->xattr_marks = strcmp(kind, "xattr") == 0 || strcmp(kind, "mixed") == 0;
}

static void set_behaviour(struct command *c, int option, const char *arg)
{
	switch (option) {
	case O_RENAME_DIRS:
		pd_opt.exdev = strcmp(arg, "exdev") == 0;
		break;
	case O_NO_JUDGE:
		pd_opt.judge = false;
		break;
	case O_NO_READER:
		pd_opt.reader = false;
		break;
	case O_NO_SWAP:
		pd_opt.swap = false;
		break;
	case O_STACK:
		pd_opt.stack = true;
		break;
	case O_KEEP:
		pd_opt.keep = true;
		break;
	case O_VERBOSE:
		pd_opt.verbose = true;
		break;
	case O_SHRINK:
		c->shrink_seconds = strtod(arg, NULL);
		break;
	case O_HANG:
		c->hang_seconds = (int)strtol(arg, NULL, 10);
		break;
	case O_TOLERATE:
		if (pd_opt.tolerated < PD_COUNT(pd_opt.tolerate))
			pd_opt.tolerate[pd_opt.tolerated++] = arg;
		break;
	case O_LIST:
		pd_ops_list();
		exit(0);
	case O_HELP:
		fputs(usage, stdout);
		exit(0);
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

static void set_option(struct command *c, int option, const char *arg)
{
	switch (option) {
	case O_MOUNTER:
		pd_opt.mounter = arg;
		break;
	case O_SEED:
		c->seed = strtoull(arg, NULL, 0);
		break;
	case O_SEEDS:
		c->seeds = (unsigned)strtoul(arg, NULL, 0);
		break;
	case O_OPS:
		c->ops = strtoul(arg, NULL, 0);
		break;
	case O_CHECK:
		pd_opt.check_every = (unsigned)strtoul(arg, NULL, 0);
		break;
	case O_LOWERS:
		c->gen.lowers = (int)strtol(arg, NULL, 10);
		break;
	case O_DIR:
		pd_opt.base = arg;
		break;
	case O_HARDLINKS:
		c->gen.hard_links = strcmp(arg, "none") != 0;
		break;
	case O_MARKS:
		set_marks(&c->gen, arg);
		c->fixed_marks = true;
		break;
	case O_MOUNT_OPTS:
		pd_opt.mount_options = arg;
		break;
	case O_OVL_OPTS:
		pd_opt.overlay_options = arg;
		break;
	case O_READER_OPTS:
		pd_opt.reader_options = arg;
		break;
	case O_REPLAY:
		c->replay = arg;
		break;
	default:
		set_behaviour(c, option, arg);
	}
}

static void parse(struct command *c, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		set_option(c, option, optarg);
	if (!pd_opt.mounter || optind != argc || !pd_opt.check_every || c->hang_seconds < 1) {
		fputs(usage, stderr);
		exit(2);
	}
	/* The working directory changes; a name without a slash is left to PATH. */
	if (strchr(pd_opt.mounter, '/')) {
		pd_opt.mounter = realpath(pd_opt.mounter, NULL);
		if (!pd_opt.mounter)
			pd_die("--mounter: %s", strerror(errno));
	}
	if (strpbrk(pd_opt.base, " ,:\\\n\t"))
		pd_die("--dir: no blanks, commas, colons or backslashes, please");
	if (c->gen.lowers < 0 || c->gen.lowers > PD_MAX_LAYERS)
		pd_die("--lowers: at most %d", PD_MAX_LAYERS);
}

/* ---- one seed ---- */

/* Most stacks are written as the kernel writes them; a share has the other forms. */
static void choose_marks(struct command *c)
{
	struct pd_rng rng = { pd_mix(c->gen.seed, 77) };
	unsigned k = pd_below(&rng, 100);

	if (c->fixed_marks)
		return;
	set_marks(&c->gen, strcmp(pd_opt.mounter, "overlay") == 0 ? "kernel"
			   : k < 12				  ? "xattr"
			   : k < 22				  ? "stray"
			   : k < 30				  ? "aufs"
								  : "kernel");
}

static const char *marks_name(const struct pd_gen_options *gen)
{
	if (gen->stray_marks)
		return gen->xattr_marks ? "mixed" : "stray";
	return gen->aufs_marks ? "aufs" : gen->xattr_marks ? "xattr" : "kernel";
}

static void print_script(const struct command *c, const struct pd_steps *steps)
{
	struct pd_text t = { 0 };

	printf("layers seed=%llu lowers=%d hardlinks=%d marks=%s\n",
	       (unsigned long long)c->gen.seed, c->gen.lowers, c->gen.hard_links,
	       marks_name(&c->gen));
	for (size_t i = 0; i < steps->count; i++) {
		pd_clear(&t);
		pd_step_print(&steps->step[i], &t);
		printf("%s\n", pd_str(&t));
	}
	pd_free(&t);
}

static void report(struct command *c, const struct pd_stack *stack, struct pd_steps *steps,
		   struct pd_failure *failure)
{
	struct pd_text t = { 0 };

	printf("FAILED: %s, seed %llu, step %zu of %zu, %s\n%s", pd_opt.mounter,
	       (unsigned long long)c->gen.seed, failure->at + 1, steps->count, failure->kind,
	       pd_str(&failure->story));
	fflush(stdout);
	if (c->shrink_seconds > 0 && !pd_interrupted) {
		pd_shrink(stack, steps, failure, c->shrink_seconds);
		printf("# fails now at step %zu with %s:\n%s", failure->at + 1, failure->kind,
		       pd_str(&failure->story));
	}
	printf("# the layers:\n");
	pd_stack_describe(stack, &t);
	printf("%s# to run it again: put the lines below in a file and say --replay FILE\n",
	       pd_str(&t));
	print_script(c, steps);
	fflush(stdout);
	pd_free(&t);
}

static bool run_seed(struct command *c, struct pd_steps *steps, struct pd_maker *maker)
{
	char *dir = pd_format("%s/%llu", c->dir, (unsigned long long)c->gen.seed);
	struct pd_failure failure;
	struct pd_stack stack;
	double start = pd_now();

	if (mkdir(dir, 0755) != 0)
		pd_die("mkdir %s: %s", dir, strerror(errno));
	pd_stack_make(&stack, dir, &c->gen);
	pd_run(&stack, steps, maker, c->ops, &failure);
	bool ok = !failure.failed;

	if (!ok)
		report(c, &stack, steps, &failure);
	else
		printf("seed %llu: %d layers, %s marks, %zu steps, %.1f s\n",
		       (unsigned long long)c->gen.seed, stack.lowers, marks_name(&c->gen),
		       steps->count, pd_now() - start);
	fflush(stdout);
	pd_failure_free(&failure);
	if (ok || !pd_opt.keep)
		pd_stack_free(&stack);
	else
		printf("# kept: %s\n", dir);
	free(dir);
	return ok;
}

static bool run_random(struct command *c, uint64_t seed)
{
	struct pd_maker maker = { .rng = { pd_mix(seed, 4242) } };
	struct pd_steps steps = { 0 };
	bool ok;

	c->gen.seed = seed;
	choose_marks(c);
	ok = run_seed(c, &steps, &maker);
	pd_steps_free(&steps);
	pd_maker_free(&maker);
	return ok;
}

/* The line that says which layers the steps were made for. */
static bool read_layers(struct command *c, const char *line)
{
	char seed[24], lowers[8], hard[8], marks[16];

	if (sscanf(line, "layers seed=%23s lowers=%7s hardlinks=%7s marks=%15s", seed, lowers, hard,
		   marks) != 4)
		return false;
	c->gen.seed = strtoull(seed, NULL, 10);
	c->gen.lowers = (int)strtol(lowers, NULL, 10);
	c->gen.hard_links = strtol(hard, NULL, 10) != 0;
	set_marks(&c->gen, marks);
	return true;
}

static void read_script(struct command *c, struct pd_steps *steps)
{
	FILE *f = fopen(c->replay, "re");
	char *line = NULL;
	size_t cap = 0;

	if (!f)
		pd_die("%s: %s", c->replay, strerror(errno));
	while (getline(&line, &cap, f) > 0) {
		struct pd_step step;

		if (line[0] == '#' || line[strspn(line, " \n")] == '\0' || read_layers(c, line))
			continue;
		if (pd_step_parse(&step, line) != 0)
			pd_die("%s: no step: %s", c->replay, line);
		pd_steps_add(steps, step);
	}
	free(line);
	fclose(f);
}

/* ---- the whole ---- */

/* Mounts that nobody else sees, and that go with the last process which uses them. */
static void prepare(struct command *c)
{
	struct sigaction action = { .sa_handler = on_signal };
	char path[] = "/plydiff.XXXXXX";

	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		printf("skip: needs root and /dev/fuse\n");
		exit(EXIT_SKIP);
	}
	if (unshare(CLONE_NEWNS) == 0)
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	c->dir = pd_format("%s%s", pd_opt.base, path);
	if (!mkdtemp(c->dir) || chmod(c->dir, 0755) != 0)
		pd_die("%s: %s", c->dir, strerror(errno));
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
		pd_die("subreaper: %s", strerror(errno));
	pd_guard_start(c->dir, c->hang_seconds);
	if (pd_opt.keep)
		pd_guard_keep();
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
}

int main(int argc, char **argv)
{
	struct command c = {
		.seed = 1, .seeds = 1, .ops = 1000, .shrink_seconds = 120, .hang_seconds = 60
	};
	struct pd_steps steps = { 0 };
	bool ok = true;

	parse(&c, argc, argv);
	prepare(&c);
	if (c.replay) {
		read_script(&c, &steps);
		ok = run_seed(&c, &steps, NULL);
		pd_steps_free(&steps);
	}
	for (unsigned i = 0; !c.replay && i < c.seeds && ok && !pd_interrupted; i++)
		ok = run_random(&c, c.seed + i);
	if (ok && !pd_interrupted)
		printf("ok: %zu kinds of operations\n", pd_op_count());
	if (!pd_opt.keep || ok)
		rmdir(c.dir);
	pd_guard_stop();
	free(c.dir);
	return ok && !pd_interrupted ? 0 : 1;
}
