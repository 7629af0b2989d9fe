/*
 * The command line: every spelling that callers use, and odd ones. A line of the tables is an
 * argument list and what it must come to; warnings go to stderr and change nothing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "options.h"

#define MAX_ARGS 16

static char program[] = "plyfs", dash_o[] = "-o", mountpoint[] = "/m";

/* Splits a line of test data at blanks; \s is one within an argument. */
static int split(char *line, char *argv[MAX_ARGS])
{
	int argc = 0;

	argv[argc++] = program;
	for (char *rest, *word = strtok_r(line, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	assert_in_range(argc, 1, MAX_ARGS - 1);
	return argc;
}

static int parse(struct ply_options *o, const char *line, struct ply_why *why)
{
	char *copy = strdup(line), *argv[MAX_ARGS];
	int argc = split(copy, argv), err;

	assert_int_equal(ply_options_init(o), 0);
	why->text[0] = '\0';
	err = ply_options_parse(o, argc, argv, why);
	free(copy);
	return err;
}

/* The lower layers, each behind a '|'; then upper and work. */
static void tell_paths(const struct ply_options *o, char *out)
{
	*out = '\0';
	for (size_t i = 0; i < o->nlowers; i++)
		strcat(strcat(out, "|"), o->lowers[i]);
	if (o->upper)
		strcat(strcat(out, " u="), o->upper);
	if (o->work)
		strcat(strcat(out, " w="), o->work);
}

static void paths_are_taken_as_they_are_meant(void **state)
{
	static const struct {
		const char *line, *wanted;
	} cases[] = {
		{ "-o lowerdir=/a /m", "|/a" },
		{ "-olowerdir=/a /m", "|/a" },
		{ "/m -o lowerdir=/a", "|/a" },
		{ "-o lowerdir=/a:/b:/c,upperdir=/u,workdir=/w /m", "|/a|/b|/c u=/u w=/w" },
		{ "-o lowerdir=/a -o upperdir=/u -o workdir=/w src /m", "|/a u=/u w=/w" },
		{ "-o lowerdir=/a,lowerdir=/b /m", "|/b" },
		{ "-o lowerdir=/a,lowerdir+=/b,lowerdir+=/c:d /m", "|/a|/b|/c:d" },
		{ "-o lowerdir+=/a,lowerdir+=/b /m", "|/a|/b" },
		{ "-o lowerdir=:/a:/b: /m", "|/a|/b" },
		{ "-o ,,lowerdir=/a,, /m", "|/a" },
		{ "-o lowerdir=/co\\:lon:/b /m", "|/co:lon|/b" },
		{ "-o lowerdir=/com\\,ma:/b /m", "|/com,ma|/b" },
		{ "-o lowerdir=/back\\\\slash:/b /m", "|/back\\slash|/b" },
		{ "-o lowerdir=/back\\\\\\:x:/b /m", "|/back\\:x|/b" },
		{ "-o lowerdir=/a\\ /m", "|/a\\" },
		{ "-o lowerdir=/a,upperdir=/u:v,workdir=/w\\:x /m", "|/a u=/u:v w=/w:x" },
		{ "-o lowerdir=/a,upperdir=/u\\,v,workdir=/w /m", "|/a u=/u,v w=/w" },
		{ "-o lowerdir=/eq=ual:/b /m", "|/eq=ual|/b" },
		{ "-o lowerdir=/qu\"ote:/b,upperdir=/u\"v,workdir=/w /m",
		  "|/qu\"ote|/b u=/u\"v w=/w" },
		{ "-o lowerdir=\"/a:b,c\":/d /m", "|/a:b,c|/d" },
		{ "-o lowerdir=/d:\"/a:b,c\" /m", "|/d|/a:b,c" },
		{ "-o lowerdir=\"/a\\\"b\" /m", "|/a\"b" },
		{ "-o lowerdir=\\\"/a /m", "|\"/a" },
		{ "-o lowerdir=/a,upperdir=\"/u,v\",workdir=/w /m", "|/a u=/u,v w=/w" },
		{ "-o lowerdir=/a,context=\"system_u:object_r:t:s0:c1,c2\",upperdir=/u,workdir=/w /m",
		  "|/a u=/u w=/w" },
		{ "-o lowerdir=//a/../b/. /m", "|//a/../b/." },
		{ "-o lowerdir=rel:./rel /m", "|rel|./rel" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ply_options o;
		struct ply_why why;
		char told[4096];
		int err = parse(&o, cases[i].line, &why);

		if (err)
			fail_msg("%s: %s", cases[i].line, why.text);
		tell_paths(&o, told);
		if (strcmp(told, cases[i].wanted))
			fail_msg("%s: wanted %s, got %s", cases[i].line, cases[i].wanted, told);
		assert_string_equal(o.mountpoint, "/m");
		ply_options_free(&o);
	}
}

#define LOWER "-o lowerdir=/a"

static void what_makes_no_sense_is_refused_in_a_sentence(void **state)
{
	static const struct {
		const char *line, *said;
	} cases[] = {
		{ "", "no mountpoint" },
		{ "/m", "lowerdir" },
		{ LOWER, "no mountpoint" },
		{ "-o lowerdir= /m", "lowerdir" },
		{ "-o lowerdir /m", "lowerdir needs a value" },
		{ "-o", "-o needs" },
		{ LOWER " /m -o", "-o needs" },
		{ LOWER ",upperdir=/u /m", "workdir" },
		{ LOWER ",upperdir= /m", "upperdir= is empty" },
		{ "-o lowerdir=/a::/d:/b /m", "'/b' stands below data-only" },
		{ "-o lowerdir=/a::/d,lowerdir+=/b /m", "'/b' stands below data-only" },
		{ "-o datadir+=/d /m", "no lower layer" },
		{ "-o lowerdir=\"/a /m", "quote" },
		{ "-o lowerdir=/a:\"/b /m", "quote" },
		{ LOWER ",context=\"a,b /m", "quote" },
		{ LOWER ",context=\"a\\\" /m", "quote" },
		{ "-o lowerdir+= /m", "empty" },
		{ LOWER ",timeout=abc /m", "timeout=abc" },
		{ LOWER ",timeout=-1 /m", "timeout=-1" },
		{ LOWER ",timeout=nan /m", "timeout=nan" },
		{ LOWER ",timeout= /m", "timeout=" },
		{ LOWER ",fsync=2 /m", "fsync=2" },
		{ LOWER ",fsync= /m", "fsync=" },
		{ LOWER ",writeback=maybe /m", "writeback=maybe" },
		{ LOWER ",whiteout=none /m", "whiteout=none" },
		{ LOWER ",redirect_dir=yes /m", "redirect_dir=yes" },
		{ LOWER ",index=maybe /m", "index=maybe" },
		{ LOWER ",verity=require /m", "verity is not supported" },
		{ LOWER ",xattrs=some /m", "xattrs=some" },
		{ LOWER ",volatile=1 /m", "volatile takes no value" },
		{ LOWER ",uidmapping= /m", "uidmapping=: no range" },
		{ LOWER ",uidmapping /m", "uidmapping needs a value" },
		{ LOWER ",gidmapping=0:1000 /m", "gidmapping=0:1000: KEPT:SHOWN" },
		{ LOWER ",uidmapping=:0:1000:1:5:1000:1 /m", "overlap" },
		{ LOWER ",uidmapping=0:4294967290:10 /m", "greatest" },
		{ LOWER ",squash_to_root=1 /m", "takes no value" },
		{ LOWER ",squash_to_uid=joe /m", "squash_to_uid=joe" },
		{ LOWER ",squash_to_gid=-1 /m", "squash_to_gid=-1" },
		{ LOWER ",xattr_permissions=3 /m", "xattr_permissions=3" },
		{ LOWER ",xattr_permissions /m", "needs a value" },
		{ LOWER ",plugins=x.so /m", "plugins" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ply_options o;
		struct ply_why why;

		if (parse(&o, cases[i].line, &why) != -EINVAL)
			fail_msg("%s: is taken", cases[i].line);
		if (!strstr(why.text, cases[i].said))
			fail_msg("%s: says: %s", cases[i].line, why.text);
		ply_options_free(&o);
	}
}

/* What callers write that has no effect here, and what nobody knows: the mount comes about. */
static void other_words_do_no_harm(void **state)
{
	static const char *const lines[] = {
		"index=on",
		"metacopy=on",
		"xino=off",
		"nfs_export=on",
		"threaded=1",
		"fast_ino=1",
		"static_nlink",
		"clone_fd",
		"max_idle_threads=10",
		"splice_write",
		"kernel_cache",
		"max_write=131072",
		"default_permissions",
		"xattr_permissions=0",
		"x-systemd.automount",
		"x-gvfs-hide",
		"_netdev",
		"nofail",
		"noauto",
		"user",
		"user=joe",
		"defaults",
		"relatime",
		"lazytime",
		"context=system_u:object_r",
		"comment=hello",
		"no_such_word",
		"no=such,word=x",
		"=",
		"=x",
		"\\",
		"\\,",
		"lowerdirs=/b",
		"lower",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct ply_options o;
		struct ply_why why;
		char line[256], told[256];

		snprintf(line, sizeof(line), "-o %s -x --long -s -n -o lowerdir=/a a b /m",
			 lines[i]);
		if (parse(&o, line, &why))
			fail_msg("%s: %s", line, why.text);
		tell_paths(&o, told);
		assert_string_equal(told, "|/a");
		assert_string_equal(o.mountpoint, "/m");
		ply_options_free(&o);
	}
}

static void each_option_sets_its_field(void **state)
{
	struct ply_options o;
	struct ply_why why;

	(void)state;
	assert_int_equal(parse(&o, LOWER " /m", &why), 0);
	assert_true(o.timeout == PLY_TIMEOUT_MAX);
	assert_int_equal(o.fsync, PLY_FSYNC_ON);
	assert_int_equal(o.writeback, PLY_WRITEBACK_AUTO);
	assert_int_equal(o.whiteout, PLY_WHITEOUT_AUTO);
	assert_int_equal(o.redirect_dir, PLY_REDIRECT_AUTO);
	assert_int_equal(o.index, 1);
	assert_int_equal(o.space, PLY_SPACE_AUTO);
	assert_int_equal(o.foreground | o.debug | o.noxattrs | o.noacl | o.readonly, 0);
	assert_string_equal(o.fsname, "plyfs");
	assert_true(ply_ids_are_plain(&o.ids));
	assert_int_equal(o.owners, PLY_OWNERS_IN_INODE);
	ply_options_free(&o);

	assert_int_equal(
		parse(&o,
		      LOWER
		      ",timeout=1.5,writeback=0,noxattrs=1,whiteout=aufs,"
		      "xattrs=user,redirect_dir=copy,index=off,fsname=a\\,b,subtype=t,ro -d /m",
		      &why),
		0);
	assert_true(o.timeout > 1.4 && o.timeout < 1.6);
	assert_int_equal(o.writeback, PLY_WRITEBACK_OFF);
	assert_int_equal(o.noxattrs, 1);
	assert_int_equal(o.whiteout, PLY_WHITEOUT_AUFS);
	assert_int_equal(o.space, PLY_SPACE_USER);
	assert_int_equal(o.redirect_dir, PLY_REDIRECT_COPY);
	assert_int_equal(o.index, 0);
	assert_string_equal(o.fsname, "a,b");
	assert_string_equal(o.subtype, "t");
	assert_int_equal(o.readonly, 1);
	assert_int_equal(o.debug, 1);
	assert_int_equal(o.foreground, 1);
	ply_options_free(&o);
}

static void owners_are_mapped_squashed_and_kept_aside(void **state)
{
	struct ply_options o;
	struct ply_why why;

	(void)state;
	assert_int_equal(parse(&o,
			       LOWER ",uidmapping=:0:1000:1:1:100000:65536,gidmapping=0:5:2,"
				     "squash_to_root,xattr_permissions=2,static_nlink,ino32_t /m",
			       &why),
			 0);
	assert_int_equal(o.ids.users.n, 2);
	assert_int_equal(o.ids.groups.n, 1);
	assert_int_equal(o.ids.squash_user, 0);
	assert_int_equal(o.ids.squash_group, 0);
	assert_int_equal(o.owners, PLY_OWNERS_IN_USER);
	assert_int_equal(o.static_nlink & o.ino32, 1);
	ply_options_free(&o);
	assert_int_equal(parse(&o, LOWER ",squash_to_uid=7,squash_to_root /m", &why), 0);
	assert_int_equal(o.ids.squash_user, 7);
	assert_int_equal(o.ids.squash_group, 0);
	ply_options_free(&o);
	assert_int_equal(parse(&o, LOWER ",squash_to_gid=8,xattr_permissions=1 /m", &why), 0);
	assert_int_equal(o.ids.squash_user, PLY_ID_NONE);
	assert_int_equal(o.ids.squash_group, 8);
	assert_int_equal(o.owners, PLY_OWNERS_IN_SECURITY);
	ply_options_free(&o);
}

/* As containers-storage and the containerd snapshotter call it. */
static void callers_are_understood(void **state)
{
	static const struct {
		const char *line, *paths;
		size_t nusers;
	} cases[] = {
		{ "-o lowerdir=/h/l/A:/h/l/B,upperdir=/h/X/diff,workdir=/h/X/work,, /m",
		  "|/h/l/A|/h/l/B u=/h/X/diff w=/h/X/work", 0 },
		{ "-o lowerdir=/h/X/diff:/h/X/empty /m", "|/h/X/diff|/h/X/empty", 0 },
		{ "-o lowerdir=/h/l/A,upperdir=/u,workdir=/w,volatile,fsync=0,xino=off,"
		  "context=\"system_u:object_r:container_file_t:s0:c1,c2\","
		  "uidmapping=:0:1000:1:1:100000:65536,gidmapping=:0:1000:1:1:100000:65536,"
		  "xattr_permissions=2 /m",
		  "|/h/l/A u=/u w=/w", 2 },
		{ "overlay /m -o workdir=/w,upperdir=/u,lowerdir=/a:/b,dev,suid",
		  "|/a|/b u=/u w=/w", 0 },
		{ "overlay /m -o workdir=/w -o upperdir=/u -o lowerdir=/a "
		  "-o uidmapping=0:100000:65536,dev,suid",
		  "|/a u=/u w=/w", 1 },
		{ "src /m -o rw,nofail,_netdev,x-systemd.requires=/a,lowerdir=/a,dev,suid", "|/a",
		  0 },
		{ "-f -o lowerdir=/a,upperdir=/u,workdir=/w,debug /m", "|/a u=/u w=/w", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ply_options o;
		struct ply_why why;
		char told[4096];

		if (parse(&o, cases[i].line, &why))
			fail_msg("%s: %s", cases[i].line, why.text);
		tell_paths(&o, told);
		assert_string_equal(told, cases[i].paths);
		assert_string_equal(o.mountpoint, "/m");
		assert_int_equal(o.ids.users.n, cases[i].nusers);
		ply_options_free(&o);
	}
}

static void called_by_another_name_it_bears_that(void **state)
{
	char name[] = "/usr/bin/fuse-overlayfs", lower[] = "lowerdir=/a";
	char *argv[] = { name, dash_o, lower, mountpoint, NULL };
	struct ply_options o;
	struct ply_why why;

	(void)state;
	assert_string_equal(ply_options_program(name), "fuse-overlayfs");
	assert_string_equal(ply_options_program("fuse-overlayfs"), "fuse-overlayfs");
	assert_string_equal(ply_options_program("/fuse-overlayfs/x"), "plyfs");
	assert_int_equal(ply_options_init(&o), 0);
	assert_int_equal(ply_options_parse(&o, 4, argv, &why), 0);
	assert_string_equal(o.subtype, "fuse-overlayfs");
	assert_string_equal(o.fsname, "fuse-overlayfs");
	ply_options_free(&o);
}

static void words_for_not_syncing(void **state)
{
	static const struct {
		const char *word;
		enum ply_fsync means;
	} words[] = {
		{ "fsync=0", PLY_FSYNC_OFF },
		{ "sync=0", PLY_FSYNC_OFF },
		{ "volatile", PLY_FSYNC_VOLATILE },
		{ "fsync=volatile", PLY_FSYNC_VOLATILE },
		{ "volatile,fsync=auto", PLY_FSYNC_AUTO },
		{ "fsync=0,fsync=strict", PLY_FSYNC_STRICT },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct ply_options o;
		struct ply_why why;
		char line[64];

		snprintf(line, sizeof(line), LOWER ",%s /m", words[i].word);
		assert_int_equal(parse(&o, line, &why), 0);
		assert_int_equal(o.fsync, words[i].means);
		ply_options_free(&o);
	}
}

static void help_and_version_need_nothing_else(void **state)
{
	static const char *const lines[] = { "-h", "--help", "-V", "--version", "-o debug -V" };

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct ply_options o;
		struct ply_why why;

		assert_int_equal(parse(&o, lines[i], &why), 0);
		assert_int_equal(o.help + o.version, 1);
		ply_options_free(&o);
	}
}

static void the_mount_gets_its_options(void **state)
{
	static const struct {
		const char *line;
		enum ply_privilege privilege;
		const char *wanted;
	} cases[] = {
		{ LOWER " /m", PLY_ROOT_USER,
		  "default_permissions,suid,noatime,allow_other,ro,fsname=plyfs,subtype=plyfs" },
		{ LOWER " /m", PLY_PLAIN_USER,
		  "default_permissions,noatime,ro,fsname=plyfs,subtype=plyfs" },
		{ LOWER ",upperdir=/u,workdir=/w,dev,nosuid,rw /m", PLY_ROOT_USER,
		  "default_permissions,suid,noatime,allow_other,dev,nosuid,fsname=plyfs,subtype=plyfs" },
		{ LOWER ",upperdir=/u,workdir=/w,ro,sync,fsname=a\\,b\\\\c /m", PLY_ROOT_USER,
		  "default_permissions,suid,noatime,allow_other,sync,ro,fsname=a\\,b\\\\c,subtype=plyfs" },
		{ LOWER ",allow_other /m", PLY_PLAIN_USER,
		  "default_permissions,noatime,allow_other,ro,fsname=plyfs,subtype=plyfs" },
		{ LOWER ",allow_root /m", PLY_ROOT_USER,
		  "default_permissions,suid,noatime,allow_root,ro,fsname=plyfs,subtype=plyfs" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ply_options o;
		struct ply_why why;
		char *got;

		assert_int_equal(parse(&o, cases[i].line, &why), 0);
		got = ply_options_for_mount(&o, cases[i].privilege);
		assert_string_equal(got, cases[i].wanted);
		free(got);
		ply_options_free(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_taken_as_they_are_meant),
		cmocka_unit_test(what_makes_no_sense_is_refused_in_a_sentence),
		cmocka_unit_test(other_words_do_no_harm),
		cmocka_unit_test(each_option_sets_its_field),
		cmocka_unit_test(owners_are_mapped_squashed_and_kept_aside),
		cmocka_unit_test(callers_are_understood),
		cmocka_unit_test(called_by_another_name_it_bears_that),
		cmocka_unit_test(words_for_not_syncing),
		cmocka_unit_test(help_and_version_need_nothing_else),
		cmocka_unit_test(the_mount_gets_its_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
