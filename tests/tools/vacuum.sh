#!/bin/bash
# plyfs-vacuum: removes what the upper holds in vain, all of it, and nothing that the stack shows changes.
# timeout: 1200
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-vacuum
found=1 trouble=2 busy=3

# stack: the arguments for L below U
vacuum() {
	local wanted=$1
	shift
	tool "$wanted" -l "$L" -u "$U" -w "$W" "$@"
}

# shown OPTIONS: the mounted tree, with link counts and inode numbers; by overlayfs where $kernel is set
shown() {
	if [ -n "${kernel:-}" ]; then
		overlay "$1,workdir=$W,$kernel"
	else
		mount_at "$M" "$1,workdir=$W" || fail "no mount: $(cat "$T/mount.log")"
	fi
	tree_of "$M" && (cd "$M" && find . -printf 'number %p %i\n' | sort)
	down
}

# renumbered: of what is to go, what was not copied up has another number than below; prints these paths
renumbered() {
	python3 - "$U" "$T/out" <<-'END'
		import json, os, sys
		for line in map(json.loads, open(sys.argv[2])):
		    if line.get("kind") == "file":
		        path = os.path.join(sys.argv[1], line["path"])
		        if "trusted.overlay.origin" not in os.listxattr(path, follow_symlinks=False):
		            print("number ./" + line["path"])
	END
}

# without NUMBERS-FILE: leaves their lines out
without() {
	python3 -c '
import sys
skip = set(open(sys.argv[1]).read().split("\n"))
sys.stdout.writelines(line for line in sys.stdin if line.rsplit(" ", 1)[0] not in skip)' "$1"
}

# keeps_tree OPTIONS ARGUMENT...: vacuum with these arguments changes nothing that is shown, and finds nothing afterwards
keeps_tree() {
	local options=$1 status
	shift
	shown "$options,upperdir=$U" >"$T/before"
	"$prog" "$@" -u "$U" -w "$W" -j >"$T/out" 2>"$T/err"
	status=$?
	[ $status -le 1 ] || fail "$status: $(cat "$T/err")"
	grep -c '"kind"' "$T/out" >>"$T/counts"
	renumbered >"$T/numbers"
	tool 0 "$@" -u "$U" -w "$W" -f
	shown "$options,upperdir=$U" >"$T/after"
	diff <(without "$T/numbers" <"$T/before") <(without "$T/numbers" <"$T/after") >"$T/differences" ||
		fail "what is shown has changed: $(head -n 20 "$T/differences")"
	tool 0 "$@" -u "$U" -w "$W" -j
	! grep -q '"kind"' "$T/out" || fail "a second one finds: $(cat "$T/out")"
}

# stacks: over random changes that were partly taken back
stacks() {
	need_root
	local seed kernel=${1:-} below name i=0
	for seed in 51 52 ${PLY_LONG:+53 54 55 56 57 58 59}; do
		fresh
		grow "$seed" 3 norename
		below=$grown:$T/g0
		rm -rf "$T/g0"
		mkdir "$T/g0"
		for name in base{1..25}; do
			mkdir "$T/g0/$name"
			play "$T/g0/$name" "$((seed * 10 + ++i))" 30
		done
		mkdir -p "$T/ref"
		mount_at "$T/ref" "lowerdir=$below" || fail "no mount: $(cat "$T/mount.log")"
		rm -rf "$W"
		mkdir "$W"
		if [ -n "$kernel" ]; then
			overlay "lowerdir=$below,upperdir=$U,workdir=$W,$kernel"
		else
			mount_at "$M" "lowerdir=$below,upperdir=$U,workdir=$W" || fail "no mount: $(cat "$T/mount.log")"
		fi
		play "$M" "$seed" 80 ${2:+"$2"}
		python3 "$(dirname "$0")/revert.py" "$M" "$T/ref" "$seed" || fail "revert $seed"
		down
		down "$T/ref"
		keeps_tree "lowerdir=$below" -l "$below"
		"$BUILD/plyfs-check" -q -l "$below" -u "$U" -w "$W" >"$T/out" || fail "plyfs-check: $(cat "$T/out")"
	done
	awk '{ n += $1 } END { exit n < 20 }' "$T/counts" || fail "too little was found: $(words cat "$T/counts")"
	rm "$T/counts"
}

# copies: L has f; U the same, as copied up
copies() {
	fresh
	mkdir -p "$L/d/e"
	echo data >"$L/d/e/f"
	ln -s target "$L/d/s"
	mkfifo "$L/d/p"
	cp -a "$L/d" "$U"
}

plan_and_act() {
	copies
	touch "$U/.wh.nothing"
	tree_of "$U" >"$T/before"
	vacuum $found
	prints "directory d"
	prints "file      d/e/f"
	prints "whiteout  .wh.nothing"
	grep -q '^3 files, 2 directories, 1 whiteouts: .* to save$' "$T/out" || fail "$(cat "$T/out")"
	tree_of "$U" | diff "$T/before" - || fail "it changed something"
	vacuum $found -0
	eq "names" ".wh.nothing d d/e d/e/f d/p d/s" "$(tr '\0' '\n' <"$T/out" | sort | words cat)"
	vacuum 0 -f -j
	json
	grep -q '"files":3,"directories":2,"whiteouts":1,.*"done":true' "$T/out" || fail "$(cat "$T/out")"
	eq "left" "" "$(ls -A "$U")"
	vacuum 0
}

# Each difference by itself keeps the file and the directories above it.
differences() {
	local change
	for change in "echo DATA >d/e/f" "echo >>d/e/f" "chmod 600 d/e/f" "setfattr -n user.x -v y d/e/f" "touch d/e/f" \
		"ln -snf other d/s" "rm d/p; touch d/p" "touch d/e/new" "ln d/e/f d/e/g"; do
		copies
		(cd "$U" && eval "$change" && touch -r "$L/d" d && touch -r "$L/d/e" d/e)
		[[ $change == touch* ]] || touch -r "$L/d/e/f" "$U/d/e/f"
		vacuum 0 -f -q >/dev/null
		[ -d "$U/d" ] || fail "$change: d has gone"
		[ "$(find "$U/d" ! -type d | wc -l)" -ge 1 ] || fail "$change: all has gone"
	done
	copies
	touch "$U/d/e/f"
	vacuum 0 -f --ignore-mtime
	eq "left" "" "$(ls -A "$U")"
	copies
	touch "$U/d/e"
	vacuum $found -v
	grep -q "^kept 'd/e': time$" "$T/err" || fail "$(cat "$T/err")"
	prints_not "directory"
}

# The times of directories that stay are as before.
times() {
	copies
	touch -d 2001-01-01 "$U" "$U/d" "$U/d/e"
	vacuum 0 -f
	eq "times" "978307200 978307200" "$(cd "$U" && TZ=UTC words stat -c %Y . d)"
	[ ! -e "$U/d/e/f" ] || fail "f is there"
}

opaque_and_renamed() {
	need_root
	copies
	setfattr -n trusted.overlay.opaque -v y "$U/d"
	vacuum 0
	copies
	setfattr -n user.fuseoverlayfs.opaque -v y "$U/d"
	vacuum 0
	copies
	touch "$U/.wh.d"
	vacuum 0
	copies
	touch "$U/d/.wh..wh..opq"
	vacuum 0
	# Its content is found at its new name: files go, it stays.
	copies
	mv "$U/d" "$U/moved"
	mknod "$U/d" c 0 0
	setfattr -n trusted.overlay.redirect -v d "$U/moved"
	vacuum 0 -f
	eq "left" "d moved" "$(words ls -A "$U")"
	up
	eq "f" data "$(cat "$M/moved/e/f")"
	down
	# A .wh. file beside a file would hide what shows then.
	copies
	touch "$U/d/e/.wh.f"
	vacuum 0 -f
	[ -e "$U/d/e/f" ] || fail "f has gone"
	copies
	setfattr -n trusted.overlay.protattr -v i "$U/d/e/f"
	vacuum 0 -f
	[ -e "$U/d/e/f" ] || fail "f has gone"
}

data_below() {
	need_root
	fresh
	truncate -s 5 "$U/f"
	echo data >"$L/f"
	touch -r "$L/f" "$U/f"
	setfattr -n trusted.overlay.metacopy "$U/f"
	vacuum 0 -f
	[ ! -e "$U/f" ] || fail "f is there"
	fresh
	truncate -s 5 "$U/f"
	echo DATA >"$L/g"
	echo data >"$L/f"
	touch -r "$L/f" "$U/f"
	setfattr -n trusted.overlay.metacopy "$U/f"
	setfattr -n trusted.overlay.redirect -v /g "$U/f"
	vacuum 0 -f
	[ -e "$U/f" ] || fail "f has gone"
}

# linked: L has one file by three names; all are up, and the same again; some only in the index
linked() {
	fresh
	mkdir "$L/d"
	echo data >"$L/d/f"
	ln "$L/d/f" "$L/d/g"
	ln "$L/d/f" "$L/h"
	if [ -n "${kernel:-}" ]; then overlay "lowerdir=$L,upperdir=$U,workdir=$W,$kernel"; else up; fi
	chmod 600 "$M/d/f"
	chmod 644 "$M/d/f"
	[ "${1:-}" != all ] || chmod 644 "$M/d/g" "$M/h"
	"${2:-:}"
	down
}

remove_h() {
	rm "$M/h"
}

add_i() {
	ln "$M/d/f" "$M/i"
}

indexed() {
	need_root
	local kernel
	for kernel in "" index=on; do
		linked all
		keeps_tree "lowerdir=$L" -l "$L"
		eq "upper" "" "$(find "$U" ! -type d)"
		eq "index" "" "$(ls "$W/index")"
		linked
		keeps_tree "lowerdir=$L" -l "$L"
		eq "index" "" "$(ls "$W/index")"
		for change in remove_h add_i; do
			linked all $change
			keeps_tree "lowerdir=$L" -l "$L"
			[ -n "$(ls "$W/index")" ] || fail "$change: the index is empty"
		done
		linked all
		tool 0 -l "$L" -u "$U" -f # without the work directory nothing is known of the index
		[ -n "$(find "$U" -name f)" ] || fail "f has gone"
	done
}

# Killed at any of its changes it leaves what shows as it is, directories' times left out; the next one may finish.
killed() {
	need_root
	local kernel n
	for kernel in "" index=on; do
		for ((n = 1; ; n++)); do
			linked all
			shown "lowerdir=$L,upperdir=$U" | sed '/ d /s/[^ ]*$//' >"$T/before"
			killed_at $n "$prog" -q -f -l "$L" -u "$U" -w "$W" && break
			shown "lowerdir=$L,upperdir=$U" | sed '/ d /s/[^ ]*$//' >"$T/after"
			diff "$T/before" "$T/after" || fail "killed at $n: another tree"
		done
		[ $n -gt 5 ] || fail "only $n calls"
	done
}

# Names that would become links of others, or that would no longer be.
parted() {
	fresh
	echo data >"$L/f"
	ln "$L/f" "$L/g"
	cp -a "$L/f" "$U/f"
	vacuum 0 # with g it was two files
	cp -a "$L/g" "$U/g"
	vacuum 0 # as are these
	ln -f "$U/f" "$U/g"
	vacuum $found
	eq "names" 2 "$(grep -c '^file' "$T/out")"
	grep -q ' 1 inodes' "$T/out" || fail "$(cat "$T/out")"
	vacuum 0 -f
	eq "left" "" "$(ls -A "$U")"
	fresh
	echo data | tee "$L/f" >"$L/g"
	touch -r "$L/f" "$L/g"
	cp -a "$L/f" "$U/f"
	ln "$U/f" "$U/g"
	vacuum 0
}

# A file that was moved away stands for the lower inode: that must not show again beside it.
moved_away() {
	need_root
	local kernel
	for kernel in "" redirect_dir=on,metacopy=on; do
		fresh
		echo data >"$L/f"
		if [ -n "$kernel" ]; then overlay "lowerdir=$L,upperdir=$U,workdir=$W,$kernel"; else up; fi
		mv "$M/f" "$M/g"
		cp -a "$L/f" "$M/f"
		down
		keeps_tree "lowerdir=$L" -l "$L"
		[ -e "$U/f" ] || fail "f has gone"
	done
}

exported() {
	need_root
	fresh
	mkdir "$L/d"
	echo data >"$L/d/f"
	local kernel=index=on,nfs_export=on
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,$kernel"
	chmod 600 "$M/d/f"
	chmod 644 "$M/d/f"
	down
	keeps_tree "lowerdir=$L" -l "$L"
	[ -e "$U/d/f" ] || fail "what is in the index has gone"
}

whiteouts() {
	need_root
	fresh
	mkdir -p "$L/d" "$U/d" "$U/o"
	touch "$L/a" "$L/d/x" "$U/.wh.b" "$U/d/x" "$U/d/y"
	mknod "$U/a" c 0 0
	mknod "$U/c" c 0 0
	ln "$U/c" "$U/o/c"
	setfattr -n user.overlay.opaque -v x "$U/d"
	setfattr -n user.overlay.whiteout -v y "$U/d/x" "$U/d/y"
	setfattr -n user.overlay.whiteout -v y "$U/d/y"
	vacuum 0 -f
	eq "left" "./a ./d/x" "$(cd "$U" && find . ! -type d | sort | words cat)"
}

layers_in_one_another() {
	copies
	cp -a "$U" "$T/saved"
	tool $trouble -f -l "$U" -u "$U"
	tool $trouble -f -l "$U/d" -u "$U"
	tool $trouble -f -l "$T" -u "$U"
	tool $trouble -f -l "$L:$U" -u "$U"
	same "$U" "$T/saved"
	tool $trouble -u "$U"
	tool $trouble -l "$L"
	tool $trouble -f -n -l "$L" -u "$U"
}

# One lower directory is the upper's by another mount: its files would be compared with themselves.
bound() {
	need_root
	copies
	mkdir -p "$T/low/d"
	mount --bind "$U/d" "$T/low/d"
	tool 0 -f -l "$T/low" -u "$U"
	umount "$T/low/d"
	[ -e "$U/d/e/f" ] || fail "f has gone"
}

in_use() {
	need_root
	copies
	up
	vacuum $busy -f
	says "unmount it first"
	down
	overlay "lowerdir=$L,upperdir=$U,workdir=$W"
	vacuum $busy
	umount "$M"
}

# twins: equal data, other modes: nothing to remove, room to share
twins() {
	mkdir -p "$1/l/d" "$1/u/d"
	head -c 3000000 /dev/urandom >"$1/l/d/f"
	cp -a --reflink=never "$1/l/d/f" "$1/u/d/f"
	chmod 600 "$1/u/d/f"
	ln "$1/u/d/f" "$1/u/d/g"
	cp "$1/l/d/f" "$1/l/d/g"
	touch -d 2001-01-01 "$1/u/d/f"
}

sharing() {
	local fs args
	for fs in "mkfs.xfs -q -m reflink=1" "mkfs.btrfs -q"; do
		# shellcheck disable=SC2086
		loopfs "$T/fs" 512M $fs
		twins "$T/fs"
		args=(-l "$T/fs/l" -u "$T/fs/u" --dedupe)
		cp -a "$T/fs/u" "$T/unshared"
		tool $found "${args[@]}"
		grep -q '; 2.9 MiB to share of 1 files$' "$T/out" || fail "$(cat "$T/out")"
		tool 0 "${args[@]}" -f
		same "$T/unshared" "$T/fs/u"
		tool 0 "${args[@]}"
		grep -q '; 0 B to share of 0 files$' "$T/out" || fail "$(cat "$T/out")"
		umount "$T/fs"
		rm -r "$T/unshared"
	done
	loopfs "$T/fs" 100M mkfs.ext4 -q
	twins "$T/fs"
	tool $trouble -l "$T/fs/l" -u "$T/fs/u" --dedupe -f
	says "the upper's file system cannot share data"
	umount "$T/fs"
}

# From the signal on nothing more is removed; what was is whole, and the next run finishes.
interrupted() {
	local signal pid status
	for signal in INT TERM; do
		fresh
		mkdir "$L/d"
		(cd "$L/d" && seq 20000 | xargs touch)
		cp -a "$L/d" "$U"
		set -m
		"$prog" -q -f -l "$L" -u "$U" >/dev/null 2>"$T/err" &
		pid=$!
		set +m
		until [ "$(stat -c %Y "$U/d" 2>/dev/null)" != "$(stat -c %Y "$L/d")" ]; do
			kill -0 $pid 2>/dev/null || break
		done
		kill -$signal $pid 2>/dev/null
		wait $pid 2>/dev/null
		status=$?
		[ $status = 0 ] && [ ! -e "$U/d" ] && continue # it was faster
		eq "status after SIG$signal" $((128 + $(kill -l $signal))) $status
		says "interrupted"
		eq "the directory's time" "$(stat -c %y "$L/d")" "$(stat -c %y "$U/d")"
		vacuum 0 -f -q
		eq "left" "" "$(ls -A "$U")"
	done
}

hostile() {
	fresh
	mkdir "$L/etc" "$T/outside"
	echo precious | tee "$T/outside/f" >"$L/etc/f"
	ln -s "$T/outside" "$U/etc"
	touch "$U"/$'new\nline' "$L"/$'new\nline' "$U"/$'esc\e[2J' "$L"/$'esc\e[2J'
	touch -r "$L/etc/f" "$T/outside/f" "$U"/* "$L"/*
	vacuum 0 -f
	nothing_raw
	eq "outside" precious "$(cat "$T/outside/f")"
	eq "left" etc "$(ls -A "$U")"
	fresh
	python3 - "$L" "$U" <<-'END'
		import os, sys
		for top in sys.argv[1:]:
		    os.chdir(top)
		    for i in range(1500):
		        os.mkdir("directory")
		        os.chdir("directory")
		    open("end", "w")
	END
	vacuum 0 -f --ignore-mtime
	grep -q '^1 files, 1500 directories' "$T/out" || fail "$(tail -n 1 "$T/out")"
	eq "left" "" "$(ls -A "$U")"
}

plain_user() {
	need_root
	copies
	chmod 500 "$L/d" "$L/d/e" "$U/d" "$U/d/e"
	chown -R 12345:12345 "$L" "$U" "$W"
	as_user "$prog" -f -l "$L" -u "$U" -w "$W" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
	says "trusted"
	eq "left" "" "$(ls -A "$U")"
	copies
	chmod 000 "$U/d/e/f" "$L/d/e/f"
	chown -R 12345:12345 "$L" "$U" "$W"
	as_user "$prog" -f -l "$L" -u "$U" >"$T/out" 2>"$T/err"
	eq "status" $trouble $?
	says "'d/e/f': Permission denied"
	[ -e "$U/d/e/f" ] || fail "f has gone"
	[ ! -e "$U/d/s" ] || fail "s is there"
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr python3
check "plyfs's uppers show the same afterwards" stacks
check "overlayfs's, too" stacks index=on norename
check "with renamed directories and data below" stacks redirect_dir=on,metacopy=on,index=on
check "what is found is told, and removed with -f" plan_and_act
check "any difference keeps a file" differences
check "directories that stay keep their times" times
check "what hides or continues something stays" opaque_and_renamed
check "data below is compared where it is" data_below
check "all names of an indexed file go together" indexed
check "killed at any moment it leaves indexed files as they are" killed
check "no names become links of one another, or part" parted
check "a lower file that was moved away stays hidden" moved_away
check "an index for NFS keeps what is in it" exported
check "whiteouts of nothing, of all forms" whiteouts
check "layers in one another are refused" layers_in_one_another
check "a file is never compared with itself" bound
check "a mounted upper is refused" in_use
check "equal data is shared" sharing
check "an interrupted run leaves nothing half done" interrupted
check "symlinks, odd names and deep trees" hostile
check "a plain user's stack" plain_user
finish
