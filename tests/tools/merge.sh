#!/bin/bash
# plyfs-merge: the merged layer shows, on whatever lies below it, what its layers showed; whole or not at all.
# timeout: 1200
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-merge
S=$T/merged

# empty: an empty stack, and no merged layer
empty() {
	fresh
	rm -rf "$S"
}

# tree DIR: as tree_of, but link counts: names that layers hide are no links any more
tree() {
	(
		cd "$1" || exit 1
		find . -type d -printf '%p d %m %U:%G %T@\n' -o -printf '%p %y %m %U:%G %T@ %s %l\n' | sort
		find . -type f -print0 | sort -z | xargs -0r sha256sum
		find . -print0 | sort -z | xargs -0r getfattr -hd -m - -e hex -- 2>&1
	)
}

# shows LAYERS MOUNT...: the stack, mounted by the command at hand, is $T/wanted
shows() {
	local layers=$1
	shift
	"$@" "$layers" || fail "no mount of $layers"
	tree "$M" | diff "$T/wanted" - >"$T/differences" || fail "$1: $layers differs: $(head -n 20 "$T/differences")"
	down
}

by_plyfs() {
	mount_at "$M" "lowerdir=$1"
}

by_overlayfs() {
	mkdir -p "$T/nothing"
	touch -r "$T/g1" "$T/nothing"
	overlay "lowerdir=$1:$T/nothing,redirect_dir=on,metacopy=on" # which wants two
}

# groupings COUNT MOUNT: each run of the layers g1 to gCOUNT becomes one, on what is below and below what is above
groupings() {
	local count=$1 mount=$2 first last i above below run
	$mount "$grown"
	tree "$M" >"$T/wanted"
	down
	for ((first = 1; first <= count; first++)); do
		for ((last = first + (first > 1); last <= count; last++)); do
			above='' below='' run=''
			for ((i = 1; i <= count; i++)); do
				if [ $i -lt $first ]; then
					below=:$T/g$i$below
				elif [ $i -le $last ]; then
					run=$T/g$i${run:+:}$run
				else
					above=$T/g$i:$above
				fi
			done
			rm -rf "$S"
			tool 0 -l "$run" "$S"
			shows "$above$S$below" "$mount"
			[ $first -gt 1 ] || [ $last = $count ] || {
				rm -rf "$S"
				tool 0 --base -l "$run" "$S"
				no_marks
				shows "$above$S$below" "$mount"
			}
		done
	done
}

# no_marks: nothing in the layer is about other layers
no_marks() {
	[ -z "$(getfattr -Rhd -m 'overlay' "$S" 2>/dev/null)" ] || fail "marks: $(getfattr -Rhd -m overlay "$S")"
	[ -z "$(find "$S" -type c -o -name '.wh.*')" ] || fail "whiteouts"
}

random_plyfs() {
	need_root
	local seed
	for seed in 21 22 23; do
		grow $seed 4
		groupings 4 by_plyfs
	done
}

random_overlayfs() {
	need_root
	local seed kernel=redirect_dir=on,metacopy=on
	for seed in 31 32 33; do
		grow $seed 4
		groupings 4 by_overlayfs
		done
}

# Groups of groups: ((g4 g3) (g2 g1)) and (((g4 g3) g2) g1) are one.
nested() {
	need_root
	grow 41 4
	by_plyfs "$grown"
	tree "$M" >"$T/wanted"
	down
	rm -rf "$T/up2" "$T/low2" "$T/three" "$S"
	tool 0 -l "$T/g4:$T/g3" "$T/up2"
	tool 0 -l "$T/g2:$T/g1" "$T/low2"
	tool 0 -l "$T/up2:$T/low2" "$S"
	shows "$S" by_plyfs
	tool 0 -l "$T/up2:$T/g2" "$T/three"
	shows "$T/three:$T/g1" by_plyfs
	rm -rf "$S"
	tool 0 --base -l "$T/three:$T/g1" "$S"
	tree "$S" | diff "$T/wanted" - >"$T/differences" || fail "the base itself: $(head "$T/differences")"
}

# ---- the truth table ----

# put KIND DIR WHAT: one entry at $at of a layer, and what is in it
put() {
	case $1 in
	none) ;;
	whiteout) mknod "$2/$at" c 0 0 ;;
	file) echo "$3" >"$2/$at" ;;
	dir | opaque)
		mkdir -p "$2/$at/sub"
		touch "$2/$at/$3" "$2/$at/sub/$3"
		[ "$1" = dir ] || setfattr -n trusted.overlay.opaque -v y "$2/$at"
		;;
	esac
}

# kind PATH: what a layer has there, in these words
kind() {
	if [ -c "$1" ]; then
		echo whiteout
	elif [ -d "$1" ]; then
		[ "$(getfattr --only-values -n trusted.overlay.opaque "$1" 2>/dev/null)" = y ] && echo opaque || echo dir
	elif [ -e "$1" ]; then
		echo file
	else
		echo none
	fi
}

# wanted TOP BOTTOM: the result's kind
wanted() {
	case $1-$2 in
	none-*) echo "$2" ;;
	whiteout-* | file-* | opaque-*) echo "$1" ;;
	dir-none | dir-dir) echo dir ;;
	dir-*) echo opaque ;;
	esac
}

# table: layers $T/t above $T/b, above $T/c, which have every pair of kinds; the names say which
table() {
	local top bottom below at
	rm -rf "$T/t" "$T/b" "$T/c"
	mkdir "$T/t" "$T/b" "$T/c"
	for top in none whiteout file dir opaque; do
		for bottom in none whiteout file dir opaque; do
			for below in none file dir; do
				at=$top-$bottom-$below
				put $top "$T/t" t
				put $bottom "$T/b" b
				put $below "$T/c" c
			done
		done
	done
	mkdir "$T/t/hidden" "$T/b/hidden"
	setfattr -n trusted.overlay.opaque -v y "$T/b/hidden"
	mknod "$T/t/hidden/w" c 0 0
	by_plyfs "$T/t:$T/b:$T/c"
	tree "$M" >"$T/wanted"
	down
}

# is_merged LAYER [BELOW]: each name is what the table says, without what is of no use over BELOW
is_merged() {
	local top bottom below want at
	for top in none whiteout file dir opaque; do
		for bottom in none whiteout file dir opaque; do
			for below in none file dir; do
				at=$top-$bottom-$below want=$(wanted $top $bottom)
				case ${2:+$below}-$want in
				none-whiteout) want=none ;;
				none-opaque | file-opaque) want=dir ;;
				esac
				eq "$at" $want "$(kind "$1/$at")"
			done
		done
	done
	eq "a whiteout in an opaque directory" none "$(kind "$1/hidden/w")"
	shows "$1:$T/c" by_plyfs
}

truth() {
	need_root
	empty
	table
	tool 0 -l "$T/t:$T/b" "$S"
	is_merged "$S"
	rm -rf "$S"
	tool 0 --below="$T/c" -o "$S" "$T/t" "$T/b"
	is_merged "$S" "$T/c"
	grep -q ' KiB saved;' "$T/out" || fail "$(cat "$T/out")"
}

# Names in one layer are links of one another; an inode that two layers share is a file in each.
links_within_a_layer() {
	need_root
	empty
	mkdir "$T/one" "$T/two"
	echo x >"$T/one/a"
	ln "$T/one/a" "$T/one/b"
	ln "$T/one/a" "$T/two/c"
	ln "$T/one/a" "$T/two/d"
	tool 0 -l "$T/two:$T/one" "$S"
	eq "links" "2 2 2 2" "$(words stat -c %h "$S"/?)"
	[ ! "$S/a" -ef "$S/c" ] || fail "links across layers"
	rm -rf "$T/one" "$T/two"
}

redirects_below() {
	need_root
	empty
	mkdir -p "$T/t/new" "$T/t/moved" "$T/b" "$T/c/old"
	echo 123 >"$T/c/data"
	touch "$T/c/old/f"
	mknod "$T/t/old" c 0 0
	setfattr -n trusted.overlay.redirect -v /old "$T/t/new"
	setfattr -n trusted.overlay.redirect -v /nowhere "$T/t/moved"
	truncate -s 4 "$T/t/meta"
	setfattr -n trusted.overlay.metacopy "$T/t/meta"
	setfattr -n trusted.overlay.redirect -v /data "$T/t/meta"
	by_plyfs "$T/t:$T/b:$T/c"
	tree "$M" >"$T/wanted"
	down
	tool 0 --below "$T/c" -l "$T/t:$T/b" "$S"
	shows "$S:$T/c" by_plyfs
	eq "a redirect that leads somewhere" /old "$(getfattr --only-values -n trusted.overlay.redirect "$S/new" 2>/dev/null)"
	eq "one that leads nowhere" "" "$(getfattr -hd -m overlay "$S/moved" 2>&1)"
	[ "$(stat -c %b "$S/meta")" = 0 ] || fail "data of a layer below was copied"
	rm -rf "$S"
	tool 2 --format=wh --below "$T/c" -l "$T/t:$T/b" "$S"
	says "the wanted form cannot say"
	rm -rf "$T/t" "$T/b" "$T/c"
}

# The marks of each form, and what the form before it showed.
formats() {
	need_root
	local form
	empty
	table
	for form in overlay-user overlay-trusted wh; do
		rm -rf "$S"
		tool 0 --format=$form -l "$T/t:$T/b" "$S"
		shows "$S:$T/c" by_plyfs
		case $form in
		wh) [ -z "$(find "$S" -type c)$(getfattr -Rhd -m overlay "$S" 2>/dev/null)" ] || fail "other marks" ;;
		overlay-user) [ -z "$(find "$S" -name '.wh.*')$(getfattr -Rhd -m trusted "$S" 2>/dev/null)" ] || fail "other marks" ;;
		overlay-trusted) [ -z "$(find "$S" -name '.wh.*')$(getfattr -Rhd -m '^user' "$S" 2>/dev/null)" ] || fail "other marks" ;;
		esac
	done
	tool 2 --format=tar -l "$T/t" "$S"
	tool 2 --format=wh --xattrs=user -l "$T/t" "$S"
}

linked() {
	need_root
	empty
	mkdir "$T/one" "$T/two"
	head -c 100000 /dev/zero | tr '\0' x >"$T/one/big"
	cp "$T/one/big" "$T/one/gone"
	echo marked >"$T/one/marked"
	setfattr -n trusted.overlay.origin -v 0x00 "$T/one/marked"
	mknod "$T/two/gone" c 0 0
	tool 0 -n -j --link -l "$T/two:$T/one" "$S"
	grep -q '"bytes_linked":100000,.*"bytes_saved":10[0-9]*,.*"dry_run":true' "$T/out" || fail "$(cat "$T/out")"
	[ ! -e "$S" ] && [ -z "$(ls -d "$T"/.merged.* 2>/dev/null)" ] || fail "it made something"
	tool 0 --link -l "$T/two:$T/one" "$S"
	[ "$S/big" -ef "$T/one/big" ] || fail "no link"
	[ ! "$S/marked" -ef "$T/one/marked" ] || fail "an inode with marks is linked"
	eq "the marks" "" "$(getfattr -hd -m overlay "$S/marked" 2>&1)"
	tool 2 --link -l "$T/one" -u "$U" "$S"
	rm -rf "$T/one" "$T/two"
}

shared() {
	need_root
	loopfs "$T/btrfs" 120M mkfs.btrfs -q
	mkdir "$T/btrfs/one"
	head -c 1000000 /dev/urandom >"$T/btrfs/one/f"
	tool 0 --reflink -l "$T/btrfs/one" "$T/btrfs/two"
	cmp "$T/btrfs/one/f" "$T/btrfs/two/f"
	grep -q '0 B copied, 976.6 KiB shared' "$T/out" || fail "$(cat "$T/out")"
	tool 2 --reflink -l "$T/btrfs/one" "$T/elsewhere"
	says "cannot share its data"
	umount "$T/btrfs"
}

# ---- in place ----

# folds STATUS LAYER...: the lowest takes the others in
folds() {
	local status=$1
	shift
	tool "$status" --in-place "$@"
}

# is_empty LAYER: and nothing of the merge is left in the one below it
is_empty() {
	eq "left in $1" "" "$(ls -A "$1")"
	eq "the journal" "" "$(find "$T" -name '.wh..wh.plyfs*')"
}

truth_in_place() {
	need_root
	empty
	table
	chown 5:6 "$T/t"
	setfattr -n user.old -v x "$T/b"
	by_plyfs "$T/t:$T/b:$T/c"
	tree "$M" >"$T/wanted"
	down
	folds 0 -n "$T/t" "$T/b"
	cp "$T/out" "$T/planned"
	by_plyfs "$T/t:$T/b:$T/c"
	tree "$M" | diff "$T/wanted" - || fail "-n changed something"
	down
	folds 0 "$T/t" "$T/b"
	eq "what was planned" "$(sed 's/would be: //; s/; .*//' "$T/planned")" "$(sed 's/; .*//' "$T/out")"
	is_empty "$T/t"
	is_merged "$T/b"
	# Once more, and nothing is left to do.
	folds 0 "$T/t" "$T/b"
	prints_not " 1 moved"
	is_merged "$T/b"
}

# Three into one, with data of the upper ones in the lower ones; two into one, on another.
random_in_place() {
	need_root
	local seed kernel by=by_plyfs
	for kernel in "" redirect_dir=on,metacopy=on; do
		for seed in 51 52 53; do
			grow $seed 4 norename
			$by "$grown"
			tree "$M" >"$T/wanted"
			down
			folds 0 "$T/g4" "$T/g3" "$T/g2"
			is_empty "$T/g4"
			is_empty "$T/g3"
			shows "$T/g2:$T/g1" $by
			tool 0 --in-place -u "$T/g2" -l "$T/g1"
			is_empty "$T/g2"
			shows "$T/g1" $by
		done
		by=by_overlayfs
	done
}

forms_in_place() {
	need_root
	empty
	rm -rf "$T/1" "$T/2"
	mkdir -p "$T/1/x" "$T/1/o/sub" "$T/2/x" "$T/2/o" "$T/1/p" "$T/1/h" "$L/x" "$L/o/sub" "$L/p/sub" "$L/h"
	touch "$L/x/f" "$L/aufs" "$L/o/f" "$L/p/f" "$T/2/x/two" "$T/2/o/two" "$T/1/.wh.aufs" "$T/1/o/.wh..wh..opq"
	touch "$T/1/x/f" "$T/1/o/sub/.wh.f" "$L/o/sub/f" "$T/2/.wh.p" "$T/2/aufs" "$L/h/f" "$T/1/.wh.h" "$T/1/same"
	ln "$T/1/same" "$T/2/same"
	ln "$T/1/same" "$T/1/twice"
	setfattr -n user.overlay.opaque -v x "$T/1/x"
	setfattr -n user.overlay.whiteout -v y "$T/1/x/f"
	by_plyfs "$T/1:$T/2:$L"
	tree "$M" >"$T/wanted"
	down
	folds 0 "$T/1" "$T/2"
	is_empty "$T/1"
	[ ! -e "$T/2/o/sub/.wh.f" ] || fail "a whiteout in an opaque directory"
	shows "$T/2:$L" by_plyfs
	rm -rf "$T/1" "$T/2"
}

# crowd: layers $T/t and $T/b above $T/c that have to be merged in every way, with data that is not where its file is
crowd() {
	rm -rf "$T/t" "$T/b" "$T/c"
	mkdir -p "$T"/{t,b,c}/{plain/deep,opaque/sub,hid,over} "$T"/{b,c}/gone/sub "$T/t/alone/sub" "$T/t/wasfile" "$T/t/waswh"
	touch "$T"/{b,c}/{gone/f,plain/f,plain/deep/g,opaque/f,opaque/sub/g,hid/f,over/f} "$T/b/wasfile" "$T/t/alone/sub/f" "$T/c/waswh"
	echo new >"$T/t/plain/f"
	rm -r "$T/b/over"
	touch "$T/b/over"
	mknod "$T/t/gone" c 0 0
	ln "$T/t/gone" "$T/t/plain/deep/g"
	ln "$T/t/gone" "$T/t/hid/f"
	mknod "$T/b/waswh" c 0 0
	setfattr -n trusted.overlay.opaque -v y "$T/t/opaque"
	setfattr -n trusted.overlay.opaque -v y "$T/b/hid"
	mknod "$T/t/opaque/sub/idle" c 0 0
	setfattr -n user.lower -v x "$T/b/plain"
	setfattr -n user.upper -v x "$T/t/plain"
	chmod 2711 "$T/t/plain"
	chown 3:4 "$T/t/plain/deep"
	seq 1000 >"$T/b/data"
	truncate -s "$(stat -c %s "$T/b/data")" "$T/t/data"
	chown 7:8 "$T/t/data"
	chmod 6755 "$T/t/data"
	setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 "$T/t/data"
	setfattr -n trusted.overlay.metacopy "$T/t/data"
	ln "$T/t/data" "$T/t/alone/data"
	setfattr -n trusted.overlay.redirect -v /data "$T/t/data"
	find "$T/t" "$T/b" "$T/c" -exec touch -hd 2001-02-03T04:05:06.789 {} +
}

# apart TREE: without the times of directories
apart() {
	sed '/^[^ ]* d /s/ [^ ]*$//' "$1"
}

# A merge that is killed at any call shows what there was, and the same merge does what is left.
killed_in_place() {
	need_root
	local n step=5
	[ -z "${PLY_LONG:-}" ] || step=1
	crowd
	by_plyfs "$T/t:$T/b:$T/c"
	tree "$M" >"$T/wanted"
	down
	for ((n = 1; ; n += step)); do
		crowd
		killed_at $n "$prog" -q --in-place "$T/t" "$T/b" && break
		by_plyfs "$T/t:$T/b:$T/c"
		tree "$M" >"$T/killed.tree"
		down
		diff <(apart "$T/wanted") <(apart "$T/killed.tree") || fail "killed at $n: another tree"
		killed_at $((n % 37 + 1)) "$prog" -q --in-place "$T/t" "$T/b"
		folds 0 "$T/t" "$T/b"
		is_empty "$T/t"
		shows "$T/b:$T/c" by_plyfs
	done
	[ $n -gt 100 ] || fail "only $n calls"
}

# What the merge notes lies in the lower layer, and must not be made as that hands it on.
not_inherited_in_place() {
	need_root
	empty
	rm -rf "$T/t" "$T/b"
	mkdir -p "$T/b/d/e" "$T/t/d/e" "$T/t/new"
	touch "$T/b/d/old" "$T/t/d/e/f" "$T/t/new/f"
	for dir in "$T/b" "$T/t"; do setfacl -d -m u:77:rwx "$dir"; done
	folds 0 "$T/t" "$T/b"
	eq "with a list" "$T/b" "$(getfacl -Rsp "$T/b" | sed -n 's/^# file: //p')"
}

refused_in_place() {
	need_root
	empty
	rm -rf "$T/t" "$T/b"
	mkdir -p "$T/b" "$T/t/kept" "$L/far"
	mknod "$T/t/old" c 0 0
	setfattr -n trusted.overlay.redirect -v /far "$T/t/kept"
	touch "$L/far/f"
	folds 0 "$T/t" "$T/b"
	eq "a redirect to below both" /far "$(getfattr --only-values -n trusted.overlay.redirect "$T/b/kept" 2>/dev/null)"
	mkdir -p "$T/t/new"
	rm "$T/b/old"
	mkdir "$T/b/old"
	setfattr -n trusted.overlay.redirect -v /old "$T/t/new"
	touch "$T/t/first"
	folds 2 "$T/t" "$T/b"
	says "'new': the directory was renamed"
	[ -e "$T/t/first" ] || fail "something was moved"
	rm -r "$T/t/new"
	folds 2 "$T/t"
	folds 2 "$T/b/old" "$T/b"
	says "lie in one another"
	folds 2 --base "$T/t" "$T/b"
	mkdir -p "$T/other"
	mount -t tmpfs other "$T/other"
	folds 2 "$T/other" "$T/b"
	says "merge into a new layer"
	umount "$T/other"
	up
	tool 3 --in-place -u "$U" -l "$L"
	says "unmount it first"
	down
	tool 0 --in-place -u "$U" -l "$L"
}

forms() {
	need_root
	empty
	mkdir -p "$T/1/x" "$T/1/o" "$T/2/x" "$T/2/new" "$L/x" "$L/o" "$L/new" "$L/p" "$T/2/p"
	touch "$L/x/f" "$L/aufs" "$L/o/f" "$L/keep" "$L/p/f" "$T/2/x/two" "$L/new/low"
	touch "$T/1/.wh.aufs" "$T/1/o/.wh..wh..opq" "$T/1/x/f" "$T/2/.wh.new"
	setfattr -n user.overlay.opaque -v x "$T/1/x"
	setfattr -n user.overlay.whiteout -v y "$T/1/x/f"
	setfattr -n user.fuseoverlayfs.opaque -v y "$T/2/p"
	by_plyfs "$T/1:$T/2:$L"
	tree "$M" >"$T/wanted"
	down
	tool 0 -l "$T/1:$T/2" "$S"
	shows "$S:$L" by_plyfs
	[ -f "$S/.wh.aufs" ] && [ -f "$S/x/f" ] || fail "the whiteouts have other forms"
	rm -rf "$S"
	tool 0 --base -l "$T/1:$T/2:$L" "$S"
	no_marks
	tree "$S" | diff "$T/wanted" -
}

overrides() {
	need_root
	empty
	rm -rf "$T/a" "$T/b"
	mkdir "$T/a" "$T/b"
	touch "$T/a/f" "$T/b/g"
	setfattr -n user.containers.override_stat -v 5:6:0755 "$T/a"
	setfattr -n user.containers.override_stat -v 7:8:0755 "$T/b"
	setfattr -n user.containers.override_stat -v 1:2:4755:file "$T/a/f"
	setfattr -n user.containers.override_stat -v 3:4:0620:char-1-3 "$T/b/g"
	by_plyfs "$T/a:$T/b"
	tree "$M" >"$T/wanted"
	down
	tool 0 -l "$T/a:$T/b" "$S"
	shows "$S:$L" by_plyfs
	rm -rf "$T/a" "$T/b"
}

an_upper() {
	need_root
	empty
	echo x >"$L/f"
	up
	echo y >>"$M/f"
	tool 3 -l "$L" -u "$U" "$S"
	says "unmount it first"
	down
	tool 0 --base -l "$L" -u "$U" "$S"
	eq "f" "x y" "$(words cat "$S/f")"
	eq "links" 1 "$(stat -c %h "$S/f")"
}

links() {
	empty
	mkdir "$T/one"
	echo x >"$T/one/a"
	ln "$T/one/a" "$T/one/b"
	ln "$T/one/a" "$T/one/c"
	mkdir "$T/two"
	mknod "$T/two/c" c 0 0 2>/dev/null || touch "$T/two/.wh.c"
	tool 0 -j -l "$T/two:$T/one" "$S"
	json
	eq "links" "2 2" "$(words stat -c %h "$S/a" "$S/b")"
	[ ! -f "$S/c" ] || fail "c is there"
}

target() {
	empty
	mkdir "$S" "$L/d"
	touch "$S/something"
	tool 2 -l "$L" "$S"
	says "not an empty directory"
	rm "$S/something"
	tool 0 -l "$L" "$S"
	tool 2 -l "$L" "$L/d/in"
	says "within a layer"
	tool 2 -l "$L" /
	tool 2 -l "$L"
	tool 2 "$S"
	eq "left behind" "" "$(find "$T" -maxdepth 1 -name '.*plyfs-*')"
}

data_gone() {
	need_root
	empty
	truncate -s 10 "$L/f"
	setfattr -n trusted.overlay.metacopy "$L/f"
	tool 2 --base -l "$L" "$S"
	says "data is in no layer"
	[ ! -e "$S" ] || fail "there is a layer"
	tool 0 -l "$L" "$S"
	getfattr -n trusted.overlay.metacopy "$S/f" >/dev/null 2>&1 || fail "the mark is gone"
}

interrupted() {
	local signal pid status
	for signal in INT TERM; do
		empty
		mkdir "$U/d"
		(cd "$U/d" && seq 10000 | xargs touch)
		set -m
		"$prog" -u "$U" "$S" 2>"$T/err" &
		pid=$!
		set +m
		until compgen -G "$T/.merged.plyfs-*/d" >/dev/null; do
			kill -0 $pid 2>/dev/null || fail "it ended too early: $(cat "$T/err")"
		done
		kill -$signal $pid
		wait $pid 2>/dev/null
		status=$?
		eq "status after SIG$signal" $((128 + $(kill -l $signal))) $status
		says "interrupted"
		[ ! -e "$S" ] || fail "there is half a layer"
		eq "left behind" "" "$(find "$T" -maxdepth 1 -name '.*plyfs-*')"
	done
}

deep() {
	empty
	deepen "$L" 3000
	tool 0 -j -l "$L" -u "$U" "$S"
	grep -q '"directories":3000,' "$T/out" || fail "$(cat "$T/out")"
}

plain_user() {
	need_root
	empty
	mkdir -p "$T/mine/one/d" "$T/mine/two/d" "$T/mine/two/o" "$T/mine/one/o"
	echo x >"$T/mine/two/d/f"
	mknod "$T/mine/one/gone" c 0 0
	setfattr -n user.overlay.opaque -v y "$T/mine/one/o"
	touch "$T/mine/two/o/hidden"
	chown -R 12345 "$T/mine"
	as_user "$prog" -l "$T/mine/one:$T/mine/two" "$T/mine/s" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
	says "trusted"
	eq "o" "" "$(ls -A "$T/mine/s/o")"
	eq "its mark" y "$(getfattr --only-values -n user.overlay.opaque "$T/mine/s/o" 2>/dev/null)"
	eq "the whiteout" 0:0 "$(stat -c %t:%T "$T/mine/s/gone")"
	mkdir "$T/mine/two/closed" "$T/mine/two/gone" "$T/mine/one/closed" "$T/mine/one/closed/in"
	touch "$T/mine/one/closed/f" "$T/mine/two/closed/f" "$T/mine/two/gone/f"
	chown -R 12345:12345 "$T/mine"
	chmod 555 "$T/mine/one/closed" "$T/mine/two/closed" "$T/mine/one/closed/in" "$T/mine/two/gone" "$T/mine/two"
	as_user "$prog" --in-place "$T/mine/one" "$T/mine/two" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
	eq "modes" "555 555 0" "$(words stat -c '%a' "$T/mine/two/closed" "$T/mine/two/closed/in") $(stat -c %t "$T/mine/two/gone")"
	eq "left" "" "$(ls -A "$T/mine/one")"
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr python3
check "any run of plyfs's layers shows as one what they showed" random_plyfs
check "any run of overlayfs's layers, too, with redirects and data below" random_overlayfs
check "groups of groups" nested
check "every pair of layers gives what the table says" truth
check "links are those of one layer" links_within_a_layer
check "what lies below decides on redirects, and keeps data" redirects_below
check "all marks in one form" formats
check "marks of all forms" forms
check "in place every pair gives what the table says" truth_in_place
check "in place, any layers show what they showed" random_in_place
check "in place with marks of all forms" forms_in_place
check "what was killed in place shows what there was, and is done again" killed_in_place
check "in place nothing is inherited from the lower layer's root" not_inherited_in_place
check "in place what one layer cannot say is refused" refused_in_place
check "files of layers are linked, and what that saves is told" linked
check "data is shared, or that is an error" shared
check "owners in attributes" overrides
check "an upper that is not mounted" an_upper
check "hard links" links
check "an existing target, or one within a layer, is refused" target
check "data that is in no layer" data_gone
check "an interrupted merge leaves nothing" interrupted
check "any depth" deep
check "a plain user's layers" plain_user
finish
