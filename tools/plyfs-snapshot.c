/*
 * plyfs-snapshot UPPER LAYER: makes the upper of a stack a layer of its own. Everything is kept but what ties an upper
 * to one stack, so that the copy can lie in any number of stacks, at any height. The layer appears whole, by one rename,
 * or not at all. Of an unmounted stack, which nobody can mount meanwhile; or of a mounted one, whose users are held while
 * it is copied, or (--rotate) while its upper directory changes places with an empty one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/args.h"
#include "common/interrupt.h"
#include "common/sealing.h"
#include "common/snapshot.h"

#define PAUSE_ROTATE_MS 2000
#define PAUSE_COPY_MS 30000
#define COMMIT_SECONDS 60

enum {
	OPT_ROTATE = 256,
	OPT_KEEP,
	OPT_PAUSE,
	OPT_COMMIT,
	OPT_LINK,
	OPT_VACUUM,
	OPT_SEAL,
};

static const struct ply_own_option own[] = {
	{ 'm', "mount", "MNT", "the mounted stack whose upper it is" },
	{ 'u', "upper", "UPPER", "the upper of a stack that is not mounted" },
	{ OPT_ROTATE, "rotate", NULL, "the upper itself becomes the layer; with -m" },
	{ OPT_KEEP, "keep-redirects", NULL, "let it need the layers below it" },
	{ OPT_LINK, "link", NULL, "files are hard links of the upper's; not with -m" },
	{ OPT_VACUUM, "vacuum", NULL, "leave out what the layers below have as well" },
	{ 'l', "lower", "DIR[:DIR]...", "the layers below the upper, for --vacuum" },
	{ OPT_SEAL, "seal", NULL, "write LAYER.seal, as plyfs-seal does" },
	{ OPT_PAUSE, "pause-limit", "MS", "hold the mount's users no longer" },
	{ OPT_COMMIT, "commit-timeout", "S", "try for so long, 60 by default" },
	{ 'n', "dry-run", NULL, "change nothing, say what would be done" },
	{ 0 },
};

static const struct ply_tool tool = {
	.usage = "[OPTION]... {[-u] UPPER [--link] | -m MNT [--rotate]} LAYER",
	.text = "Makes the upper directory of a stack a layer: a directory of its own that shows the same\n"
		"when it is stacked as a lower. LAYER must not exist, or be an empty directory.\n"
		"Exit status: 0 done, 2 trouble, 3 the upper is in use, or was never quiet.\n",
	.own = own,
	.min = 1,
	.max = 2,
	.usage_exit = PLY_EXIT_TROUBLE,
	.takes_no_stack = 1,
};

/* ---- what is said ---- */

static void summarise_json(const struct ply_snap *s)
{
	printf("{\"bytes_copied\":%llu,\"bytes_linked\":%llu,\"bytes_shared\":%llu,\"directories\":%llu,"
	       "\"dry_run\":%s,\"files\":%llu,\"left_out\":%llu,\"not_kept\":%llu,\"pause_ms\":%.3f,"
	       "\"rotated\":%s,%s%s%s\"seconds\":%.3f,\"type\":\"summary\",\"whiteouts\":%llu}\n",
	       (unsigned long long)s->progress.data.copied, (unsigned long long)s->linked,
	       (unsigned long long)s->progress.data.shared, (unsigned long long)s->dirs,
	       s->cli.dry_run ? "true" : "false", (unsigned long long)s->files,
	       (unsigned long long)s->left_out, (unsigned long long)s->lost.count, s->paused * 1000,
	       s->rotates ? "true" : "false", *s->seal ? "\"seal\":\"sha256:" : "", s->seal,
	       *s->seal ? "\"," : "", ply_now() - s->start, (unsigned long long)s->whiteouts);
}

static void summarise(const struct ply_snap *s)
{
	const char *would_be = s->cli.dry_run ? "would be: " : "";

	if (s->rotates)
		printf("%sthe upper is the topmost lower layer; %.1f s\n", would_be,
		       ply_now() - s->start);
	else
		printf("%s%llu files, %llu directories, %llu whiteouts; %s %s, %s shared; %.1f s\n",
		       would_be, (unsigned long long)s->files, (unsigned long long)s->dirs,
		       (unsigned long long)s->whiteouts, ply_amount(s->progress.data.copied).text,
		       s->cli.dry_run ? "at most" : "copied",
		       ply_amount(s->progress.data.shared).text, ply_now() - s->start);
	if (s->links)
		printf("%s linked\n", ply_amount(s->linked).text);
	if (s->vacuums)
		printf("%llu entries left out, which the layers below have as well\n",
		       (unsigned long long)s->left_out);
	if (*s->seal)
		printf("sha256:%s\n", s->seal);
	if (s->live.fd >= 0 && !s->cli.dry_run)
		printf("paused for %.1f ms\n", s->paused * 1000);
}

static void tell_result(struct ply_snap *s)
{
	if (!s->cli.quiet)
		ply_lost_tell(&s->lost);
	if (!s->cli.quiet && s->cut.was_mapped)
		ply_tell(
			"note: mapped files were written all the time; what was stored to them may be there "
			"without what was stored before");
	if (s->cli.json) {
		summarise_json(s);
	} else if (!s->cli.quiet) {
		summarise(s);
		if (s->rotates && !s->cli.dry_run)
			ply_live_say_stack(&s->live);
	}
}

/* ---- the command line ---- */

static unsigned number(const struct ply_args *a, int letter, unsigned otherwise)
{
	return a->set[letter] ? (unsigned)ply_args_number(a, letter) : otherwise;
}

static void check_args(const struct ply_args *a)
{
	int has_upper = a->set['u'] > 0, is_live = a->set['m'] > 0;

	if (has_upper + is_live + (a->noperands == 2) != 1)
		ply_args_refuse(&tool, "one upper, or one mount, and one layer are wanted");
	if (is_live && a->set['l'])
		ply_args_refuse(&tool, "the mount says itself which layers are below");
	if (is_live && a->set[OPT_LINK])
		ply_args_refuse(&tool, "--link is for an upper that nobody writes to any more");
	if (a->set[OPT_VACUUM] && a->set[OPT_ROTATE])
		ply_args_refuse(&tool, "--rotate takes the upper as it is, without --vacuum");
	if (!is_live && a->set[OPT_VACUUM] != a->set['l'])
		ply_args_refuse(&tool, "--vacuum goes with the layers below (-l)");
	if (!is_live && (a->set[OPT_ROTATE] || a->set[OPT_PAUSE] || a->set[OPT_COMMIT]))
		ply_args_refuse(
			&tool,
			"--rotate, --pause-limit and --commit-timeout are for a mounted stack (-m)");
}

/* The layer is there by now. */
static int seal(struct ply_snap *s, const char *layer, char digest[PLY_SHA256_HEX])
{
	struct ply_sealing sealing = { .scope = PLY_SCOPE_SHA256 | PLY_SCOPE_DIR_MTIME |
						(ply_sees_trusted() ? PLY_SCOPE_TRUSTED : 0),
				       .progress = &s->progress,
				       .wish = s->cli.progress };
	char *file = ply_seal_file(layer);
	int fd = sys_open(AT_FDCWD, layer, O_RDONLY | O_DIRECTORY, 0), err = fd < 0 ? fd : 0;

	if (err)
		ply_snap_complain(s, "cannot seal", layer, err);
	else
		err = ply_seal(&sealing, fd, layer, file);
	if (fd >= 0)
		sys_close(fd);
	free(file);
	strcpy(digest, sealing.digest);
	if (err)
		ply_tell("the layer is there, but not its seal");
	return err;
}

static int make(struct ply_snap *s, const struct ply_args *a, const char *layer)
{
	int err;

	s->rotates = a->set[OPT_ROTATE] > 0;
	s->keeps_redirects = a->set[OPT_KEEP] > 0;
	if (!a->set['m'])
		return ply_snap_of_upper(s, a->set['u'] ? a->value['u'] : a->operands[0], layer);
	s->cut.pause_ms = number(a, OPT_PAUSE, s->rotates ? PAUSE_ROTATE_MS : PAUSE_COPY_MS);
	s->cut.keeps_redirects = s->keeps_redirects;
	s->give_up = s->start + number(a, OPT_COMMIT, COMMIT_SECONDS);
	err = ply_live_open(&s->live, a->value['m']);
	return err ? err : ply_snap_of_mount(s, layer);
}

static int run(struct ply_snap *s, const struct ply_args *a)
{
	const char *layer = a->operands[a->noperands - 1];
	uint64_t copied, shared;
	int err;

	s->links = a->set[OPT_LINK] > 0;
	s->vacuums = a->set[OPT_VACUUM] > 0;
	if (a->set['l'])
		ply_args_lowers(&tool, &s->lowers, a->value['l']);
	err = make(s, a, layer);
	copied = s->progress.data.copied;
	shared = s->progress.data.shared;
	if (!err && a->set[OPT_SEAL] && !s->cli.dry_run)
		err = seal(s, layer, s->seal);
	/* What was read for the seal is not copied. */
	s->progress.data.copied = copied;
	s->progress.data.shared = shared;
	return err;
}

int main(int argc, char **argv)
{
	struct ply_snap s = {
		.from.root = -1, .to.root = -1, .staging = { .parent = -1, .fd = -1 }, .live.fd = -1
	};
	struct ply_args args;
	int err;

	ply_args_parse(&args, argc, argv, &tool);
	check_args(&args);
	s.cli = args.cli;
	s.cli.dry_run = args.set['n'] > 0;
	s.start = ply_now();
	ply_interrupt_start();
	err = run(&s, &args);
	ply_interrupt_end();
	if (!err)
		tell_result(&s);
	ply_links_free(s.copy.links);
	ply_snap_free_spare(&s);
	ply_args_free_paths(&s.lowers);
	ply_live_close(&s.live);
	ply_staging_close(&s.staging);
	ply_layer_close(&s.from);
	ply_lost_free(&s.lost);
	ply_args_free(&args);
	if (err)
		ply_interrupt_die();
	if (!err)
		return PLY_EXIT_OK;
	return s.is_busy ? PLY_EXIT_BUSY : PLY_EXIT_TROUBLE;
}
