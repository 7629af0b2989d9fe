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
common_words_with_target() {
	tool 0 --help
	tool 0 --version
	tool 2 --no-such-option -l "$L" "$S"
}
check "help, version, usage" common_words_with_target
finish
