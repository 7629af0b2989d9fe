#!/bin/bash
# plyfs-check: finds each planted fault by its name, nothing in what plyfs and overlayfs leave, and repairs only what is safe.
# timeout: 900
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-check
clean=0 repaired=1 left=4 usage=16

# mends NAME: a copy of upper and work is repaired of it by -p, by -y or not at all, as the table says, and else not changed
mends() {
	local opts remedy copy=$T/copy
	echo "$1" >>"$T/planted"
	remedy=$("$prog" --explain "$1" | sed -n '1s/.*, //p')
	for opts in -n -p -y; do
		rm -rf "$copy"
		mkdir "$copy"
		cp -a "$U" "$W" "$copy/"
		"$prog" $opts -q -l "$L" -u "$copy/upper" -w "$copy/work" >"$T/mend" 2>&1
		"$prog" -q -v -l "$L" -u "$copy/upper" -w "$copy/work" >"$T/mended" 2>&1
		case "$remedy $opts" in
		"repaired by -p and -y -p" | "repaired by -p and -y -y" | "repaired by -y -y")
			grep -q " $1 .*: repaired: " "$T/mend" || fail "$1 is not repaired by $opts: $(cat "$T/mend")"
			! grep -q " $1 " "$T/mended" || fail "$1 is there after $opts: $(cat "$T/mended")"
			;;
		*)
			grep -q " $1 " "$T/mended" || fail "$1 has gone by $opts, which is $remedy"
			diff <(tree_of "$U") <(tree_of "$copy/upper") || fail "$opts changed something"
			;;
		esac
	done
	rm -rf "$copy"
}

# finds NAME [PATH]: the stack has a finding of that name, at that path, and of no other name but notes
finds() {
	"$prog" -j -l "$L" -u "$U" -w "$W" >"$T/out" 2>"$T/err"
	local status=$?
	[ $status = $left ] || fail "$1: exit status $status: $(cat "$T/out" "$T/err")"
	python3 -c '
import json, sys
found = [f for f in map(json.loads, open(sys.argv[1])) if "finding" in f]
assert {f["finding"] for f in found} == {sys.argv[2]}, found
assert len(sys.argv) < 4 or sys.argv[3] in [f["path"] for f in found], found
' "$T/out" "$@" || fail "not found alone: $*: $(cat "$T/out")"
	mends "$@"
}

# tells NAME [ARGUMENT...]: the last run told of it, and it cannot be repaired
tells() {
	grep -q " $1 " "$T/out" || fail "$1: $(head -n 20 "$T/out")"
	"$prog" --explain "$1" | grep -q 'not repaired$' || fail "$1 can be repaired"
	echo "$1" >>"$T/planted"
}

# notes NAME: the same of a note, which does not count
notes() {
	tool $clean -v -j -l "$L" -u "$U" -w "$W"
	grep -q "\"finding\":\"$1\",\"severity\":\"note\"" "$T/out" || fail "$1 is not noted: $(cat "$T/out")"
	mends "$1"
}

# mark MARK VALUE FILE: in the trusted space
mark() {
	setfattr -h -n "trusted.overlay.$1" -v "$2" "$3"
}

whiteouts() {
	need_root
	fresh
	mknod "$U/none" c 0 0
	finds orphan-whiteout none
	fresh
	mkdir -p "$U/d" "$L/d"
	touch "$U/d/f" "$L/d/f"
	mark whiteout y "$U/d/f"
	finds unannounced-whiteout d/f
	tool $repaired -p -l "$L" -u "$U" -w "$W"
	tool $clean -l "$L" -u "$U" -w "$W"
	eq "the directory" x "$(getfattr --only-values -n trusted.overlay.opaque "$U/d" 2>/dev/null)"
	fresh
	mkdir -p "$U/d"
	echo full >"$U/d/f"
	mark whiteout y "$U/d/f"
	finds full-whiteout d/f
	fresh
	mkdir "$U/d"
	mark whiteout y "$U/d"
	finds wrong-type d
	fresh
	mkdir "$U/d"
	mark opaque x "$U/d"
	notes idle-announcement
	fresh
	mkdir "$T/bottom"
	mknod "$L/none" c 0 0
	tool $clean -v -l "$L:$T/bottom"
	grep -q '^note *idle-whiteout *lower 1: none$' "$T/out" || fail "$(cat "$T/out")"
	tells idle-whiteout
}

aufs() {
	need_root
	fresh
	touch "$L/a" "$L/b" "$U/.wh.a"
	mknod "$U/b" c 0 0
	finds mixed-whiteouts .wh.a
	fresh
	touch "$L/a" "$U/a" "$U/.wh.a"
	finds aufs-beside-file .wh.a
	fresh
	touch "$U/.wh."
	finds aufs-bad-name .wh.
	fresh
	touch "$L/a"
	mkdir "$U/.wh.a"
	finds aufs-bad-type .wh.a
	fresh
	touch "$U/.wh.none"
	finds orphan-whiteout .wh.none
	fresh
	mkdir "$U/.wh..wh.plnk"
	notes aufs-leftover
	fresh
	mkdir -p "$U/d" "$L/d"
	touch "$U/d/.wh..wh..opq" "$U/.wh.d"
	tool $clean -l "$L" -u "$U" -w "$W"
}

opaque() {
	need_root
	fresh
	mkdir "$U/d"
	mark opaque z "$U/d"
	finds bad-opaque d
	fresh
	touch "$U/f"
	mark opaque y "$U/f"
	finds wrong-type f
	fresh
	mkdir "$U/d" "$L/e"
	mark opaque y "$U/d"
	mark redirect /e "$U/d"
	finds opaque-redirect d
	fresh
	mkdir "$U/d"
	mark opaque y "$U/d"
	setfattr -n user.overlay.opaque -v x "$U/d"
	finds mark-twice d
}

redirects() {
	need_root
	fresh
	mkdir "$U/d"
	mark redirect ../up "$U/d"
	finds bad-redirect d
	mark redirect /nowhere "$U/d"
	finds dangling-redirect d
	touch "$L/nowhere"
	finds dangling-redirect d
	rm "$L/nowhere"
	mkdir "$L/e" "$U/f"
	mark redirect /e "$U/d"
	finds duplicate-redirect d
	mknod "$U/e" c 0 0
	tool $clean -l "$L" -u "$U" -w "$W"
	mark redirect e "$U/f"
	finds duplicate-redirect
	rm -r "$U/f" "$U/d" "$U/e"
	mkdir "$U/e"
	mark redirect /e "$U/e"
	finds self-redirect e
	tool $repaired -p -l "$L" -u "$U" -w "$W"
	tool $clean -l "$L" -u "$U" -w "$W"
	touch "$U/file"
	mark redirect /e "$U/file"
	notes idle-redirect
	mkfifo "$U/fifo"
	mark redirect /e "$U/fifo"
	finds wrong-type fifo
}

looping() {
	need_root
	fresh
	local i lowers=
	for i in {1..17}; do
		mkdir -p "$T/r$i/a/a"
		mark redirect /a/a "$T/r$i/a"
		mark redirect /a/a "$T/r$i/a/a"
		lowers=$lowers:$T/r$i
	done
	tool $left -l "${lowers#:}"
	grep -q looping-redirect "$T/out" || fail "$(head -n 20 "$T/out")"
	mv "$T/r1/a" "$U/a"
	"$prog" -y -l "${lowers#:}" -u "$U" -w "$W" >"$T/out"
	grep -q '^error *looping-redirect *upper .*: repaired: a$' "$T/out" || fail "$(head -n 20 "$T/out")"
	echo looping-redirect >>"$T/planted"
}

metacopy() {
	need_root
	fresh
	truncate -s 10 "$U/f"
	setfattr -n trusted.overlay.metacopy "$U/f"
	finds metacopy-no-data f
	echo four >"$L/f"
	finds metacopy-size f
	mkdir "$L/d"
	echo 123456789 >"$L/d/g"
	mark redirect /d/g "$U/f"
	tool $clean -l "$L" -u "$U" -w "$W"
	mark redirect /d/h "$U/f"
	finds metacopy-no-data f
	mark redirect "" "$U/f"
	tool $left -l "$L" -u "$U" -w "$W"
	grep -q '^error *bad-redirect' "$T/out" || fail "$(cat "$T/out")"
	fresh
	mkdir "$U/d"
	setfattr -n trusted.overlay.metacopy "$U/d"
	finds wrong-type d
}

unsettled() {
	need_root
	fresh
	touch "$W/unsettled"
	finds unsettled unsettled
	echo data >"$U/f"
	setfattr -n trusted.overlay.metacopy -v "0xff$(printf '01%.0s' {1..16})" "$U/f"
	echo data >"$L/f"
	tool $left -l "$L" -u "$U" -w "$W"
	tells unsettled-mark
	grep -q 'unsettled  *work (the next mount' "$T/out" || fail "$(cat "$T/out")"
	rm "$U/f"
	tool $repaired -p -l "$L" -u "$U" -w "$W"
	[ ! -e "$W/unsettled" ] || fail "it is still there"
}

# handle FILE: in hex, as an origin has it
handle() {
	rm -rf "$T/hu" "$T/hw"
	mkdir -p "$T/hu" "$T/hw" "$T/hm"
	mount -t overlay overlay -o "lowerdir=$(dirname "$1"),upperdir=$T/hu,workdir=$T/hw" "$T/hm" || fail "no overlayfs"
	chmod u+x "$T/hm/$(basename "$1")"
	umount "$T/hm"
	getfattr --only-values -n trusted.overlay.origin "$T/hu/$(basename "$1")" 2>/dev/null | xxd -p | tr -d '\n'
}

origins() {
	need_root
	fresh
	mkdir "$U/d"
	echo x >"$L/f"
	local h
	h=$(handle "$L/f")
	setfattr -n trusted.overlay.origin -v "0x$h" "$U/d"
	finds impure-missing ""
	tool $repaired -p -l "$L" -u "$U" -w "$W"
	tool $clean -l "$L" -u "$U" -w "$W"
	setfattr -n trusted.overlay.origin -v 0x00fb05 "$U/d"
	finds bad-origin d
	rm "$L/f"
	setfattr -n trusted.overlay.origin -v "0x$h" "$U/d"
	finds stale-origin d
}

index() {
	need_root
	fresh
	local h
	echo x >"$L/f"
	h=$(handle "$L/f")
	ln "$L/f" "$L/g"
	mkdir "$W/index"
	echo x >"$W/index/$h"
	finds orphan-index "index/$h"
	tool $repaired -p -l "$L" -u "$U" -w "$W"
	[ ! -e "$W/index/$h" ] || fail "it is still there"
	echo x >"$U/f"
	mark impure y "$U"
	ln "$U/f" "$W/index/$h"
	finds index-mismatch "index/$h"
	setfattr -n trusted.overlay.origin -v "0x$h" "$U/f"
	tool $clean -l "$L" -u "$U" -w "$W"
	mark nlink bad "$U/f"
	finds bad-nlink f
	mark nlink U+1 "$U/f"
	mkdir "$W/links"
	ln -s 2 "$W/links/$h"
	tool $clean -l "$L" -u "$U" -w "$W"
	ln -s 2 "$W/links/other"
	finds bad-nlink links/other
	ln -sfn 0x "$W/links/$h"
	finds bad-nlink "links/$h"
	tool $repaired -p -l "$L" -u "$U" -w "$W"
	[ -z "$(ls "$W/links")" ] || fail "they are still there"
	ln "$U/f" "$W/index/other"
	finds bad-index-name index/other
	rm "$W/index/other" "$L/f" "$L/g"
	tool $left -l "$L" -u "$U" -w "$W"
	grep -q 'stale-index' "$T/out" || fail "$(cat "$T/out")"
	mends stale-index
}

attributes() {
	need_root
	fresh
	touch "$U/f"
	setfattr -n trusted.overlay.overlay.opaque -v y "$U/f"
	tool $clean -l "$L" -u "$U" -w "$W"
	setfattr -n trusted.overlay.overlay. -v y "$U/f"
	finds bad-escape f
	fresh
	touch "$U/f"
	mark nothing y "$U/f"
	notes unknown-mark
	fresh
	touch "$L/f"
	setfattr -n user.containers.override_stat -v 0:0:0755 "$L"
	setfattr -n user.containers.override_stat -v 0:0:0644:file "$L/f"
	tool $clean -l "$L" -u "$U" -w "$W"
	setfattr -n user.containers.override_stat -v root:0:0644 "$L/f"
	finds bad-override f
	setfattr -x user.containers.override_stat "$L"
}

work() {
	need_root
	fresh
	mkdir -m 700 "$W/work"
	mkdir -p "$W/work/#3/deep"
	touch "$W/work/#4"
	finds work-leftover "work/#3"
	tool $repaired -p -l "$L" -u "$U" -w "$W"
	eq "left in work" "" "$(ls -A "$W/work")"
	touch "$W/work/thesis"
	finds work-foreign work/thesis
	tool $left -p -l "$L" -u "$U" -w "$W"
	[ -e "$W/work/thesis" ] || fail "the thesis is gone"
	rm "$W/work/thesis"
	mkdir -p "$W/work/incompat/volatile"
	finds work-volatile work/incompat
	rm -r "$W/work"
	touch "$W/work"
	finds work-type work
}

layout() {
	need_root
	fresh
	tool $left -l "$L:$L"
	tells layer-twice
	mkdir "$L/in"
	tool $left -l "$L/in:$L"
	tells layers-overlap
	mkdir "$U/work"
	tool $left -l "$L/in" -u "$U" -w "$U/work"
	tells layers-overlap
	rmdir "$U/work"
	mkdir -p "$T/other"
	mount -t tmpfs other "$T/other"
	tool $left -o "lowerdir=$L,upperdir=$U,workdir=$T/other"
	tells work-other-fs
	umount "$T/other"
}

# What was left by changes of all kinds in several layers; as a stack of layers, and as an upper and the rest.
written() {
	need_root
	local seed kernel=${1:-}
	for seed in 11 12 13 14; do
		grow $seed 4
		tool $clean -l "$grown"
		tool $clean -l "${grown#*:}" -u "${grown%%:*}" -w "$W"
	done
}

# A name that only the lower layer has leads to an entry whose inode has no other: it is not to be taken away.
index_alone() {
	need_root
	fresh
	echo x >"$L/f"
	ln "$L/f" "$L/g"
	up
	echo y >"$M/f"
	rm "$M/f"
	down
	tool $clean -p -l "$L" -u "$U" -w "$W"
	up
	eq "the name that is left" y "$(cat "$M/g")"
	rm "$M/g"
	down
	tool $clean -l "$L" -u "$U" -w "$W"
}

# A name that went before the file was brought up is counted in the work directory.
counted() {
	need_root
	fresh
	echo x >"$L/f"
	ln "$L/f" "$L/g"
	up
	rm "$M/f"
	down
	eq "counts" 1 "$(ls "$W/links" | wc -l)"
	tool $clean -p -l "$L" -u "$U" -w "$W"
	up
	eq "links of the name that is left" 1 "$(stat -c %h "$M/g")"
	rm "$M/g"
	down
	tool $clean -l "$L" -u "$U" -w "$W"
	eq "counts at the end" 0 "$(ls "$W/links" | wc -l)"
}

links_written() {
	need_root
	local kernel
	for kernel in "" index=on; do
		fresh
		mkdir "$L/d"
		echo x >"$L/f"
		ln "$L/f" "$L/g"
		ln "$L/f" "$L/d/h"
		if [ -n "$kernel" ]; then overlay "lowerdir=$L,upperdir=$U,workdir=$W,$kernel"; else up; fi
		echo y >>"$M/f"
		rm "$M/g"
		mv "$M/d" "$M/e" 2>/dev/null
		down
		tool $clean -l "$L" -u "$U" -w "$W"
	done
}

# Without a right to trusted marks and devices: the user's space and attributes.
user_written() {
	need_root
	fresh
	mkdir -p "$L/d/e"
	touch "$L/d/f" "$L/g"
	mount_at "$M" "lowerdir=$L,upperdir=$U,workdir=$W,xattrs=user,whiteout=xattr" || fail "no mount"
	rm "$M/g" "$M/d/f"
	rm -r "$M/d/e"
	mkdir "$M/d/e"
	down
	tool $clean -l "$L" -u "$U" -w "$W"
	fresh
	touch "$L/g"
	mount_at "$M" "lowerdir=$L,upperdir=$U,workdir=$W,xattrs=none,whiteout=aufs" || fail "no mount"
	rm "$M/g"
	down
	tool $clean -l "$L" -u "$U" -w "$W"
}

busy() {
	need_root
	fresh
	touch "$L/f"
	up
	tool $clean -l "$L" -u "$U" -w "$W"
	says "in use"
	tool 8 -p -l "$L" -u "$U" -w "$W"
	says "unmount it first"
	down
}

changes_nothing() {
	need_root
	fresh
	mkdir -m 700 "$W/work"
	mkdir "$U/d"
	touch "$W/work/#1" "$U/d/f"
	mark whiteout y "$U/d/f"
	tree_of "$T" out err mnt >"$T/../before.$$"
	tool $left -l "$L" -u "$U" -w "$W"
	tree_of "$T" out err mnt | diff "$T/../before.$$" - || fail "it changed something"
	rm "$T/../before.$$"
}

hostile() {
	need_root
	fresh
	touch "$U"/$'esc\e[2J'
	mark opaque y "$U"/$'esc\e[2J'
	ln -s / "$L/link"
	mkdir "$U/d"
	mark redirect "/link/etc" "$U/d"
	tool $left -l "$L" -u "$U" -w "$W"
	nothing_raw
	grep -q dangling-redirect "$T/out" || fail "$(cat "$T/out")"
	tool $left -j -l "$L" -u "$U" -w "$W"
	json
	ln -s /etc "$W/work"
	tool $left -p -l "$L" -u "$U" -w "$W"
	grep -q work-type "$T/out" || fail "$(cat "$T/out")"
}

plain_user() {
	need_root
	fresh
	mkdir "$U/d" "$U/closed"
	touch "$U/d/f" "$L/f"
	setfattr -n user.overlay.whiteout -v y "$U/d/f"
	chown -R 12345 "$L" "$U" "$W"
	as_user "$prog" -l "$L" -u "$U" -w "$W" >"$T/out" 2>"$T/err"
	eq "status" $left $?
	says "trusted"
	chmod 0 "$U/closed"
	as_user "$prog" -p -l "$L" -u "$U" -w "$W" >"$T/out" 2>"$T/err"
	eq "status with a repair and a closed directory" $((repaired | 8)) $?
	says "'closed': Permission denied"
}

# What -y makes of redirects: what the layer itself has is shown, and nothing else.
all_repairs() {
	need_root
	fresh
	mkdir -p "$U/d" "$U/e" "$L/d" "$L/e" "$L/x"
	touch "$U/d/own" "$L/d/low" "$L/x/f"
	mark redirect /nowhere "$U/d"
	mark redirect /x "$U/e"
	touch -d 2001-02-03 "$U"
	mknod "$U/none" c 0 0
	touch -d 2001-02-03 "$U"
	tool $left -p -l "$L" -u "$U" -w "$W"
	tool $repaired -y -l "$L" -u "$U" -w "$W"
	prints "3 found, 3 repaired"
	tool $clean -l "$L" -u "$U" -w "$W"
	up
	eq "d" own "$(ls "$M/d")"
	eq "e" "" "$(ls "$M/e")"
	eq "x" f "$(ls "$M/x")"
	eq "the root's time" 2001-02-03 "$(stat -c %y "$M" | cut -d ' ' -f 1)"
	down
	tool $usage -p -y -l "$L" -u "$U" -w "$W"
}

# Lower layers are repaired only when they are named.
of_a_layer() {
	need_root
	fresh
	mkdir -p "$T/bottom" "$L/d"
	mark opaque z "$L/d"
	mark opaque z "$T/bottom"
	tool $left -y -l "$L:$T/bottom" -u "$U" -w "$W"
	tool $usage --layer=1 -l "$L:$T/bottom"
	tool $usage -y --layer=3 -l "$L:$T/bottom" -u "$U" -w "$W"
	tool $((repaired | left)) -y --layer=1 -l "$L:$T/bottom" -u "$U" -w "$W"
	grep -q '^warning bad-opaque *lower 1 .*: repaired: d$' "$T/out" || fail "$(cat "$T/out")"
	tool $repaired -y --layer=1 -l "$L:$T/bottom"
	tool $clean -l "$L:$T/bottom"
	mkdir "$T/u2" "$T/w2"
	mount_at "$M" "lowerdir=$T/bottom,upperdir=$L,workdir=$T/w2" || fail "no mount"
	tool 8 -y --layer=0 -l "$L:$T/bottom"
	says "unmount it first"
	down
}

# Of each finding there is a planted one above, and a paragraph of the manual that says what is done about it.
all_are_known() {
	local name severity remedy
	tool 0 --explain=all
	[ "$(grep -c '^[a-z]' "$T/out")" -ge 40 ] || fail "only so many: $(cat "$T/out")"
	grep '^[a-z]' "$T/out" >"$T/codes"
	while IFS=':, ' read -r name severity remedy; do
		grep -qxF "$name" "$T/planted" || fail "no test has planted $name"
		remedy=${remedy/not repaired/}
		remedy=${remedy/repaired by -p and -y/, repaired}
		remedy=${remedy/repaired by -y/, *-y*}
		grep -F "*$name*" "$top/docs/plyfs-check.1.scd" | grep -q -F " ($severity$remedy)" ||
			fail "not in the manual: $name ($severity$remedy)"
	done <"$T/codes"
	tool $usage --explain=nothing
	says "no finding of that name"
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr python3 xxd
check "faults of whiteouts" whiteouts
check "faults of .wh. files" aufs
check "faults of opaque marks" opaque
check "faults of redirects" redirects
check "redirects that multiply" looping
check "faults of files whose data is below" metacopy
check "marks that are still to be taken off" unsettled
check "faults of origins" origins
check "faults of the index" index
check "an index entry that alone keeps a file stays" index_alone
check "a count of removed names stays, and goes with the last name" counted
check "faults of other attributes" attributes
check "faults of the work directory" work
check "directories that lie in one another" layout
check "plyfs leaves no findings" written
check "overlayfs leaves no findings" written redirect_dir=on,metacopy=on
check "nor do either's hard links" links_written
check "nor do the other forms of marks" user_written
check "a mounted upper is not repaired" busy
check "without -p nothing changes" changes_nothing
check "no symlink is followed, nothing printed raw" hostile
check "a plain user's stack" plain_user
check "what -y makes of the ambiguous" all_repairs
check "a lower layer is repaired when it is named" of_a_layer
check "every finding was planted, and is in the manual" all_are_known
finish
