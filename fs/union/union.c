/*
 * Opening and closing a union: the layers, the upper's work directory, the tables. Problems are told as
 * sentences here, where path and purpose are known; everything else speaks in errno.
 */
#include "union/union.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "layer/override.h"
#include "union/index.h"
#include "union/inside.h"
#include "union/linkcount.h"
#include "union/node.h"
#include "union/settle.h"
#include "union/sync.h"

#define LISTING_BUDGET (64 * 1024 * 1024)
#define FD_RESERVE 64 /* for what is opened for a moment */
#define FD_MAX 4096

int ply_union_readonly(const struct ply_union *u)
{
	return u->layers[PLY_UPPER].root < 0;
}

int ply_union_has_acls(const struct ply_union *u)
{
	return !u->layers[PLY_UPPER].override;
}

static int say(struct ply_why *why, int err, const char *what, const char *path)
{
	snprintf(why->text, sizeof(why->text), "%s '%s': %s", what, path, strerror(-err));
	return err;
}

static int open_lowers(struct ply_union *u, const struct ply_union_config *cfg, struct ply_why *why)
{
	for (size_t i = 0; i < cfg->nlowers; i++) {
		int err = ply_layer_open(&u->layers[i + 1], cfg->lowers[i], PLY_LAYER_LOWER);

		if (err)
			return say(why, err, "cannot open lower layer", cfg->lowers[i]);
	}
	return 0;
}

/* upper in work or the reverse would copy itself; upper and work being a lower layer would change it. */
static int check_upper_paths(const struct ply_union_config *cfg, struct ply_why *why)
{
	char upper[PATH_MAX], work[PATH_MAX], lower[PATH_MAX];
	int err = sys_realpath(cfg->upper, upper);

	if (err)
		return say(why, err, "cannot open upper directory", cfg->upper);
	err = sys_realpath(cfg->work, work);
	if (err)
		return say(why, err, "cannot open work directory", cfg->work);
	if (ply_is_path_inside(upper, work) || ply_is_path_inside(work, upper)) {
		snprintf(why->text, sizeof(why->text),
			 "upper '%s' and work '%s' lie within each other", cfg->upper, cfg->work);
		return -EINVAL;
	}
	for (size_t i = 0; i < cfg->nlowers; i++) {
		err = sys_realpath(cfg->lowers[i], lower);
		if (err)
			return say(why, err, "cannot open lower layer", cfg->lowers[i]);
		if (!strcmp(lower, upper) || !strcmp(lower, work)) {
			snprintf(why->text, sizeof(why->text),
				 "'%s' cannot be both a lower layer and %s", cfg->lowers[i],
				 strcmp(lower, work) ? "the upper" : "the work directory");
			return -EINVAL;
		}
	}
	return 0;
}

static const char *const space_prefix[] = {
	[PLY_SPACE_AUTO] = NULL,
	[PLY_SPACE_TRUSTED] = PLY_SPACE_TRUSTED_PREFIX,
	[PLY_SPACE_USER] = PLY_SPACE_USER_PREFIX,
	[PLY_SPACE_NONE] = "",
};

static const int whiteout_kind[] = {
	[PLY_WHITEOUT_AUTO] = -1,
	[PLY_WHITEOUT_CHAR] = PLY_KIND_CHAR,
	[PLY_WHITEOUT_XATTR] = PLY_KIND_XATTR,
	[PLY_WHITEOUT_AUFS] = PLY_KIND_AUFS,
};

static int explain_upper(const struct ply_union_config *cfg, struct ply_why *why, int err,
			 const char *what)
{
	if (err == -EBUSY)
		snprintf(why->text, sizeof(why->text),
			 "upper '%s' or work '%s' is in use by another mount", cfg->upper,
			 cfg->work);
	else if (err == -ENOTEMPTY)
		snprintf(why->text, sizeof(why->text),
			 "'%s/" PLY_WORK_DIR
			 "' holds what no mount has left there, and will not be "
			 "emptied: name another directory as work",
			 cfg->work);
	else if (err == -EUCLEAN)
		snprintf(
			why->text, sizeof(why->text),
			"a volatile mount has used work '%s', and what it left in upper '%s' may be incomplete, as the machine "
			"was restarted since: begin anew with empty ones; or, if it is known to be whole, "
			"remove '%s/" PLY_WORK_DIR "/" PLY_WORK_INCOMPAT "'",
			cfg->work, cfg->upper, cfg->work);
	else if (err == -EXDEV)
		snprintf(why->text, sizeof(why->text),
			 "work '%s' is not on the same mount of the same file system as upper '%s'",
			 cfg->work, cfg->upper);
	else
		snprintf(why->text, sizeof(why->text), "cannot %s (upper '%s', work '%s'): %s",
			 what, cfg->upper, cfg->work, strerror(-err));
	return err;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* What files that are brought up are marked with; without /proc no boot is like another. */
static void read_boot(struct ply_metacopy *filled)
{
	char text[37] = "";
	int fd = sys_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
	unsigned n = 0;

	filled->version = PLY_METACOPY_VERSION;
	if (fd < 0)
		return;
	if (sys_pread(fd, text, sizeof(text) - 1, 0) < 0)
		text[0] = '\0';
	sys_close(fd);
	for (const char *c = text; *c && n < 2 * sizeof(filled->boot); c++) {
		int digit = hex_digit(*c);

		if (digit < 0)
			continue;
		filled->boot[n / 2] = (uint8_t)(filled->boot[n / 2] << 4 | digit);
		n++;
	}
}

/* Over other layers the entries of an index would lead to wrong files. */
static int open_index(struct ply_union *u, const struct ply_union_config *cfg, struct ply_why *why)
{
	enum ply_bound bound;
	int err = ply_index_open(u, &bound);

	if (err == -ESTALE && bound == PLY_BOUND_OTHER_UPPER)
		snprintf(
			why->text, sizeof(why->text),
			"work '%s' has an index of hard links that belongs to another upper than '%s': "
			"name another directory as work, or remove '%s/" PLY_INDEX_DIR
			"' and let the links part",
			cfg->work, cfg->upper, cfg->work);
	else if (err == -ESTALE)
		snprintf(
			why->text, sizeof(why->text),
			"upper '%s' was written on other lower layers than these, and its hard links belong to "
			"those: mount it on them; or, if these are copies, mount it with index=off, or remove "
			"'%s/" PLY_INDEX_DIR "', and the links part",
			cfg->upper, cfg->work);
	else if (err)
		return say(why, err, "cannot read the index of hard links in work directory",
			   cfg->work);
	return err;
}

static int open_upper(struct ply_union *u, const struct ply_union_config *cfg, struct ply_why *why)
{
	struct ply_layer *layer = &u->layers[PLY_UPPER];
	struct ply_upper_config how = {
		.work_path = cfg->work,
		.space = space_prefix[cfg->space],
		.kind = whiteout_kind[cfg->whiteout],
		.is_volatile = cfg->sync == PLY_SYNC_VOLATILE,
		.boot = u->filled.boot,
	};
	const char *what;
	int err;

	if (!cfg->work) {
		snprintf(why->text, sizeof(why->text), "an upper directory needs a work directory");
		return -EINVAL;
	}
	err = check_upper_paths(cfg, why);
	if (err)
		return err;
	err = ply_layer_open(layer, cfg->upper, PLY_LAYER_UPPER);
	if (err)
		return say(why, err, "cannot open upper directory", cfg->upper);
	read_boot(&u->filled);
	err = ply_upper_open(&u->upper, layer, &how, &what);
	if (err)
		return explain_upper(cfg, why, err, what);
	ply_sync_init(u);
	if (ply_settle_is_left(u)) {
		atomic_store(&u->has_flag, 1);
		atomic_store(&u->must_find, 1);
	}
	return 0;
}

static const enum ply_override_kind override_kind[] = {
	[PLY_OWNERS_IN_INODE] = PLY_OVERRIDE_NONE,
	[PLY_OWNERS_IN_SECURITY] = PLY_OVERRIDE_SECURITY,
	[PLY_OWNERS_IN_USER] = PLY_OVERRIDE_CONTAINERS,
};

/* The root of a new upper is to look like that of the lower layers, where these know how it should. */
static int start_override(struct ply_union *u, const struct ply_union_config *cfg,
			  struct ply_why *why)
{
	struct ply_layer *upper = &u->layers[PLY_UPPER], *like = upper;
	struct statx root;
	int err;

	for (unsigned i = u->nlayers - 1; i > PLY_UPPER; i--)
		if (u->layers[i].override)
			like = &u->layers[i];
	err = ply_layer_statx(like, like->root, "", STATX_BASIC_STATS, &root);
	if (!err)
		err = ply_override_start(upper, override_kind[cfg->owners], &root);
	return err ? say(why, err, "cannot keep owners in extended attributes of upper directory",
			 cfg->upper)
		   : 0;
}

static int open_owners(struct ply_union *u, const struct ply_union_config *cfg, struct ply_why *why)
{
	struct ply_layer *upper = &u->layers[PLY_UPPER];
	int err = 0;

	upper->is_lax = cfg->lax_owners;
	if (!upper->override && cfg->owners != PLY_OWNERS_IN_INODE)
		err = start_override(u, cfg, why);
	if (upper->override)
		ply_layer_set_lack(upper, PLY_LACKS_ACL);
	return err;
}

/* Layers that show the mountpoint itself must not be entered there: it would be waiting for ourselves. */
static void mark_holes(struct ply_union *u, const char *mountpoint)
{
	char path[PATH_MAX], *slash;
	struct statx stx;

	if (!mountpoint || sys_realpath(mountpoint, path))
		return;
	slash = strrchr(path, '/');
	if (!slash || !slash[1] || strlen(slash + 1) > PLY_NAME_MAX)
		return;
	u->mountpoint = strdup(path);
	*slash = '\0';
	if (sys_statx(AT_FDCWD, *path ? path : "/", STATX_INO, &stx))
		return;
	u->hole.present = 1;
	u->hole.dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	u->hole.dir_ino = stx.stx_ino;
	strcpy(u->hole.name, slash + 1);
	for (unsigned i = 0; i < u->nall; i++)
		if (u->layers[i].root >= 0 && !u->layers[i].is_private)
			u->layers[i].hole = u->hole;
}

static size_t fd_budget(const struct ply_union_config *cfg)
{
	struct rlimit limit;
	size_t used = cfg->nlowers + FD_RESERVE, n;

	if (cfg->max_fds)
		return cfg->max_fds;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return FD_RESERVE;
	n = limit.rlim_cur;
	if (n < used + FD_RESERVE)
		return FD_RESERVE / 2;
	return n - used < FD_MAX ? n - used : FD_MAX;
}

/* The bottom layer's file system has number 0, so numbers stay when layers are added on top. */
static void number_file_systems(struct ply_union *u)
{
	for (unsigned i = u->nlayers; i > 0; i--) {
		struct statx stx;

		if (u->layers[i - 1].root >= 0 &&
		    !sys_statx(u->layers[i - 1].root, "", STATX_INO, &stx))
			ply_ino_map(u, &stx);
	}
}

/* Marks that cannot be read would be another tree than is meant. */
static int check_attributes(const struct ply_union *u, struct ply_why *why)
{
	int err = (int)sys_listxattr(u->layers[PLY_UPPER + 1].root, ".", NULL, 0);

	if (err != -ENOENT)
		return 0;
	snprintf(why->text, sizeof(why->text),
		 "on this kernel attributes are read by way of /proc, which is not mounted");
	return err;
}

static int set_up(struct ply_union *u, const struct ply_union_config *cfg, struct ply_why *why)
{
	size_t budget = fd_budget(cfg);
	struct statx stx;
	int err;

	u->fds = ply_fdcache_new(budget * 3 / 4);
	u->held_budget = budget / 4;
	err = u->fds ? ply_tree_init(u, cfg->upper != NULL) : -ENOMEM;
	if (!err)
		err = open_lowers(u, cfg, why);
	if (!err)
		err = check_attributes(u, why);
	if (!err && cfg->upper)
		err = open_upper(u, cfg, why);
	if (!err && cfg->upper)
		err = open_index(u, cfg, why);
	if (!err && cfg->upper)
		ply_linkcount_open(u);
	if (!err && cfg->upper)
		err = open_owners(u, cfg, why);
	if (err)
		return err;
	mark_holes(u, cfg->mountpoint);
	number_file_systems(u);
	if (!sys_statx(u->layers[cfg->upper ? PLY_UPPER : u->nlayers - 1].root, "", STATX_INO,
		       &stx))
		u->root->ino = ply_ino_map(u, &stx);
	return 0;
}

int ply_union_open(const struct ply_union_config *cfg, struct ply_union **up, struct ply_why *why)
{
	struct ply_union *u;
	int err;

	if (cfg->nlowers <= cfg->ndata || cfg->nlowers >= UINT16_MAX) {
		snprintf(why->text, sizeof(why->text), "%s lower layers",
			 cfg->nlowers > cfg->ndata ? "too many" : "no");
		return -EINVAL;
	}
	snprintf(why->text, sizeof(why->text), "out of memory");
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->nall = (unsigned)cfg->nlowers + 1;
	u->nlayers = u->nall - (unsigned)cfg->ndata;
	u->layers = calloc(u->nall, sizeof(*u->layers));
	if (!u->layers) {
		free(u);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < u->nall; i++)
		u->layers[i].root = -1;
	u->upper.work = u->upper.work_root = -1;
	atomic_init(&u->upper.index, -1);
	atomic_init(&u->upper.counts, -1);
	u->sync = cfg->sync == PLY_SYNC;
	u->metacopy = cfg->metacopy;
	u->no_index = cfg->no_index;
	u->lowers_change = cfg->lowers_change;
	u->keep_ms = cfg->keep_ms;
	ply_settle_init(u);
	u->redirect_dir = cfg->redirect_dir;
	u->uid = geteuid();
	u->gid = getegid();
	u->before_long = cfg->before_long;
	u->before_long_arg = cfg->before_long_arg;
	u->listing_budget = cfg->max_listing_bytes ? cfg->max_listing_bytes : LISTING_BUDGET;
	err = set_up(u, cfg, why);
	if (err) {
		ply_union_close(u);
		return err;
	}
	*up = u;
	return 0;
}

void ply_union_close(struct ply_union *u)
{
	if (!u)
		return;
	ply_settle_all(u);
	ply_tree_free(u);
	ply_fdcache_free(u->fds);
	ply_upper_close(&u->upper);
	for (unsigned i = 0; i < u->nall; i++)
		ply_layer_close(&u->layers[i]);
	ply_settle_free(u);
	free(u->mountpoint);
	free(u->layers);
	free(u);
}

int ply_layer_path(struct ply_union *u, unsigned index, char *out)
{
	const char *path;

	if (index >= u->nall)
		return -ENOENT;
	path = u->layers[index].root < 0 ? "" : u->layers[index].path;
	snprintf(out, PATH_MAX, "%s", path);
	return index >= u->nlayers;
}

int ply_work_path(struct ply_union *u, char *out)
{
	if (!u->upper.work_path)
		return -ENOENT;
	snprintf(out, PATH_MAX, "%s", u->upper.work_path);
	return !u->no_index;
}

void ply_union_stats(struct ply_union *u, struct ply_union_stats *out)
{
	*out = (struct ply_union_stats){
		.fds = ply_fdcache_count(u->fds),
		.layers = u->nall,
		.metacopy = u->metacopy,
		.sync = u->sync,
	};
	pthread_mutex_lock(&u->tree);
	out->nodes = u->nodes;
	out->names = u->names.count;
	out->node_bytes = u->nchunks * sizeof(struct ply_chunk) + u->name_bytes;
	pthread_mutex_unlock(&u->tree);
	pthread_mutex_lock(&u->listing_lock);
	out->listings = u->listings;
	out->listing_bytes = u->listing_bytes;
	pthread_mutex_unlock(&u->listing_lock);
	pthread_mutex_lock(&u->settle_lock);
	out->unsettled = u->nunsettled;
	pthread_mutex_unlock(&u->settle_lock);
	out->copyups = atomic_load(&u->copyups);
	out->copyup_bytes = atomic_load(&u->copyup_bytes);
}
