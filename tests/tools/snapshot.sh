#!/bin/bash
# plyfs-snapshot: the layer shows what the upper showed, is tied to no stack, and is there whole or not at all.
# timeout: 600
. "$(dirname "$0")/../lib.sh"

snap=$BUILD/plyfs-snapshot
S=$T/layer

# take WANTED-STATUS ARGUMENT...: runs the tool; what it says is in $T/out and $T/err
take() {
	local wanted=$1 got
	shift
	"$snap" "$@" >"$T/out" 2>"$T/err" </dev/null
	got=$?
	[ $got = "$wanted" ] || fail "plyfs-snapshot $*: exit status $got, not $wanted: $(cat "$T/err")"
}

# says TEXT: the last run said so on stderr
says() {
	grep -qF -- "$1" "$T/err" || fail "not said: '$1' but: $(cat "$T/err")"
}

# fresh: an empty stack, and nothing where the layer goes
fresh() {
	! mountpoint -q "$M" || umount "$M"
	rm -rf "$L" "$U" "$W" "$S"
	mkdir "$L" "$U" "$W"
}

# overlay OPTIONS: the kernel's overlayfs on $M
overlay() {
	mount -t overlay overlay -o "$1" "$M" || fail "no overlayfs: $1"
}

# field NAME: of the summary in $T/out
field() {
	python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).readlines()[-1])[sys.argv[2]])' "$T/out" "$1"
}

# nothing_left [DIR]: no staging directory beside the layer
nothing_left() {
	local found
	found=$(find "${1:-$T}" -maxdepth 1 -name '.*plyfs-*')
	[ -z "$found" ] || fail "left behind: $found"
}

lower_tree() {
	mkdir -p "$L/gone/sub" "$L/new/sub" "$L/kept"
	echo below | tee "$L/a" "$L/b" "$L/c" "$L/gone/f" "$L/new/sub/g" "$L/kept/h" >/dev/null
	ln "$L/c" "$L/c2"
}

# change DIR: everything that an upper can hold, done through a mount
change() {
	(
		cd "$1" || exit 1
		echo more >>a
		rm b kept/h
		rm -r gone new
		mkdir new
		echo x >new/x
		mkdir -m 1777 sticky
		mkdir -m 2750 group
		install -m 4755 /bin/true setuid
		setcap cap_net_raw+ep setuid
		echo linked >one
		ln one two
		ln one new/three
		mkfifo -m 620 fifo
		mknod null c 1 3
		mknod block b 7 200
		python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
		ln -s ../../nowhere sym
		chown -h 7:8 sym
		chown 1234:5678 new/x
		setfattr -n user.note -v "some text" new
		setfattr -n trusted.note -v t new/x
		setfattr -n trusted.overlay.opaque -v y group
		setfacl -m u:42:rwx,g:43:r new/x
		setfacl -d -m u:44:rx group
		truncate -s 3M hole
		echo end | dd of=hole bs=1 seek=2M conv=notrunc status=none
		touch -d '1969-07-20 20:17:40.123456789' -a one
		touch -d '1931-02-03 04:05:06.987654321' -m one
		touch -h -d '2001-01-01 00:00:00.5' sym fifo new
		echo secret >closed
		chmod 0 closed
		touch "$(printf 'n%.0s' {1..255})" $'line\nfeed' ' ' -- '-n'
		: >empty
	)
}

same_tree() {
	need_root
	fresh
	lower_tree
	overlay "lowerdir=$L,upperdir=$U,workdir=$W"
	change "$M"
	tree_of "$M" >"$T/wanted"
	umount "$M"
	tree_of "$U" >"$T/before"
	take 0 "$U" "$S"
	tree_of "$U" | diff "$T/before" - || fail "the upper has changed"
	overlay "lowerdir=$S:$L"
	tree_of "$M" | diff "$T/wanted" - || fail "overlayfs shows another tree"
	umount "$M"
	nothing_left
	! [ -x "$PLYFS" ] || {
		mount_at "$M" "lowerdir=$S:$L" || fail "plyfs does not mount it"
		tree_of "$M" | diff "$T/wanted" - || fail "plyfs shows another tree"
		down
	}
}

# Of the upper that same_tree made.
no_ties() {
	local marks
	need_root
	marks=$(getfattr -Rhd -m 'overlay' "$S" 2>/dev/null | grep -v '^#' | sort -u | grep .)
	eq "marks" $'trusted.overlay.opaque="y"\ntrusted.overlay.overlay.opaque="y"' "$marks"
	getfattr -Rhd -m overlay "$U" 2>/dev/null | grep -q overlay.origin= || fail "the upper had no origin mark"
}

one_whiteout() {
	need_root
	find "$S" -type c -exec stat -c '%t:%T %i %h' {} + | grep '^0:0 ' | sort >"$T/whiteouts"
	eq "inodes of whiteouts" 1 "$(sort -u "$T/whiteouts" | wc -l)"
	eq "links of it" "$(wc -l <"$T/whiteouts")" "$(head -n 1 "$T/whiteouts" | cut -d' ' -f3)"
	eq "links of one" 3 "$(stat -c %h "$S/one")"
}

other_forms() {
	need_root
	fresh
	mkdir -p "$L/d" "$L/e" "$L/x"
	touch "$L/d/low" "$L/e/low" "$L/gone" "$L/x/gone"
	mkdir "$U/d" "$U/e" "$U/x"
	touch "$U/.wh.gone" "$U/d/.wh..wh..opq" "$U/d/up"
	setfattr -n user.fuseoverlayfs.opaque -v y "$U/e"
	setfattr -n user.fuseoverlayfs.origin -v low "$U/d/up"
	setfattr -n trusted.overlay.opaque -v x "$U/x"
	setfattr -n trusted.overlay.nlink -v U+1 "$U/d/up"
	touch "$U/x/gone"
	setfattr -n trusted.overlay.whiteout -v y "$U/x/gone"
	setfattr -n trusted.overlay.overlay.whiteout -v y "$U/d/up"
	setfattr -n user.containers.override_stat -v 0:0:0755 "$U/d/up"
	take 0 -j "$U" "$S"
	eq "whiteouts" 2 "$(field whiteouts)"
	eq "marks" "trusted.overlay.opaque=0x78
trusted.overlay.overlay.whiteout=0x79
trusted.overlay.whiteout=0x79
user.containers.override_stat=0x303a303a30373535
user.fuseoverlayfs.opaque=0x79" "$(getfattr -Rhd -m - -e hex --absolute-names "$S" | grep '=' | sort)"
	eq "names" "$(cd "$U" && find . | sort)" "$(cd "$S" && find . | sort)"
}

refuses_elsewhere() {
	need_root
	fresh
	mkdir -p "$U/d/e"
	echo data >"$U/d/e/f"
	setfattr -n trusted.overlay.metacopy "$U/d/e/f"
	take 2 "$U" "$S"
	says "'d/e/f': the file's data is in a layer below"
	setfattr -x trusted.overlay.metacopy "$U/d/e/f"
	setfattr -n user.overlay.redirect -v /other "$U/d/e"
	take 2 "$U" "$S"
	says "'d/e': the directory was renamed"
	take 2 -n "$U" "$S"
	[ ! -e "$S" ] || fail "there is a layer"
	nothing_left
}

refuses_busy() {
	need_root
	fresh
	echo x >"$L/f"
	overlay "lowerdir=$L,upperdir=$U,workdir=$W"
	take 3 "$U" "$S"
	umount "$M"
	flock "$U" "$snap" "$U" "$S" 2>"$T/err"
	eq "status while it is locked" 3 $?
	says "in use"
	[ ! -e "$S" ] || fail "there is a layer"
	! [ -x "$PLYFS" ] || {
		up
		take 3 "$U" "$S"
		down
		take 0 "$U" "$S"
	}
}

target() {
	fresh
	mkdir "$U/d"
	mkdir "$S"
	touch "$S/something"
	take 2 "$U" "$S"
	says "not an empty directory"
	eq "what was there" something "$(ls -A "$S")"
	rm "$S/something"
	take 0 "$U" "$S//"
	eq "over an empty directory" d "$(ls -A "$S")"
	ln -s "$S" "$T/link"
	take 2 "$U" "$T/link"
	touch "$T/file"
	take 2 "$U" "$T/file"
	take 2 "$U" "$U/d/in"
	says "within the upper"
	rmdir "$U/d"
	take 2 "$U" "$U"
	says "the upper itself"
	take 2 "$U" /
	take 2 "$U" "$T/no/where"
	take 2 "$T/no" "$S"
	take 2 "$T/file" "$S"
	take 2 "$U"
	nothing_left
}

half_made() { [ -n "$(find "$T" -maxdepth 2 -path '*/.*.plyfs-*/d' 2>/dev/null)" ]; }

# begin: a snapshot in the background, stopped while it is at work; sets $pid
begin() {
	local try
	fresh
	mkdir "$U/d"
	(cd "$U/d" && seq 10000 | xargs touch)
	for try in {1..20}; do
		"$snap" "$U" "$S" 2>"$T/err" &
		pid=$!
		until half_made; do
			kill -0 $pid 2>/dev/null || break
		done
		kill -STOP $pid 2>/dev/null && half_made && return
		# It was faster than we.
		wait $pid || fail "it failed: $(cat "$T/err")"
		rm -r "$S"
	done
	fail "it ended too early $try times"
}

interrupted() {
	local signal status
	for signal in INT TERM; do
		# A job in the background ignores SIGINT otherwise.
		set -m
		begin
		set +m
		flock -n "$U" true && fail "the upper can be mounted meanwhile"
		[ ! -e "$S" ] || fail "there is half a layer"
		kill -$signal $pid
		kill -CONT $pid
		wait $pid 2>/dev/null
		status=$?
		eq "status after SIG$signal" $((128 + $(kill -l $signal))) $status
		says "interrupted"
		[ ! -e "$S" ] || fail "there is half a layer"
		nothing_left
	done
}

no_space() {
	need_root
	fresh
	head -c 3M /dev/urandom >"$U/big"
	mkdir -p "$U/d/e" "$T/small"
	mount -t tmpfs -o size=1M small "$T/small"
	take 2 "$U" "$T/small/layer"
	says "'big': No space left on device"
	eq "left there" "" "$(ls -A "$T/small")"
	umount "$T/small"
}

# The chain is made and removed by moving: no path is ever longer than a name or two.
deep() {
	fresh
	python3 - "$U" 3000 <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		for i in range(int(sys.argv[2])):
		    os.mkdir("directory")
		    open("file", "w").write(str(i))
		    os.chdir("directory")
	END
	(cd "$U" && seq -f 'wide%.0f' 4000 | xargs mkdir)
	(
		ulimit -n 256
		take 0 -j "$U" "$S"
	) || exit
	eq "directories" 7000 "$(field directories)"
	eq "files" 3000 "$(field files)"
	python3 - "$S" 3000 <<-'END' || fail "another content in the depth"
		import os, sys
		os.chdir(sys.argv[1])
		for i in range(int(sys.argv[2])):
		    assert open("file").read() == str(i)
		    os.chdir("directory")
		assert os.listdir() == []
	END
	# Without room for the depth's last bytes all of it is removed again.
	setfattr -n user.overlay.redirect -v /x "$(find "$U/directory/directory" -maxdepth 100 -type d | tail -n 1)"
	rm -rf "$S"
	take 2 "$U" "$S"
	nothing_left
}

# as_user COMMAND...
as_user() {
	setpriv --reuid 12345 --regid 12345 --clear-groups "$@"
}

plain_user() {
	need_root
	fresh
	mkdir -p "$U/new" "$U/locked/in" "$T/mine"
	echo f >"$U/new/f"
	echo g >"$U/locked/in/g"
	echo s >"$U/secret"
	ln "$U/new/f" "$U/hard"
	mknod "$U/gone" c 0 0
	setfattr -n user.overlay.opaque -v y "$U/new"
	setfattr -n user.overlay.origin -v x "$U/new/f"
	setfattr -n user.note -v n "$U/secret"
	chmod 0 "$U/secret" "$U/locked/in"
	chmod 500 "$U/locked"
	chown -R 12345:12345 "$U" "$T/mine"
	chown 0 "$U/hard"
	chmod 4755 "$U/hard"
	tree_of "$U" >"$T/before"
	as_user "$snap" "$U" "$T/mine/layer" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
	tree_of "$U" | diff "$T/before" - || fail "the upper has changed"
	says "not kept: 'the owner' of 1 entry"
	says "note: marks in the trusted space"
	chown 12345 "$U/hard"
	setfattr -x user.overlay.origin "$U/new/f"
	chmod 755 "$U/hard"
	diff <(tree_of "$U" gone) <(tree_of "$T/mine/layer" gone) || fail "the layer differs"
	eq "the whiteout" 0:0 "$(stat -c %t:%T "$T/mine/layer/gone")"
	as_user "$snap" -q "$U" "$T/mine/second" 2>"$T/err"
	eq "said with -q" "" "$(cat "$T/err")"
	mknod "$U/device" c 1 3
	as_user "$snap" "$U" "$T/mine/third" 2>"$T/err"
	eq "status with a device" 2 $?
	says "'device': no permission to make a device"
	nothing_left "$T/mine"
}

dry_run() {
	fresh
	mkdir "$U/d"
	echo data >"$U/d/f"
	take 0 -n -j "$U" "$S"
	eq "files, directories" "1 1 True" "$(field files) $(field directories) $(field dry_run)"
	take 0 -n "$U" "$S"
	grep -q '^would be: 1 files' "$T/out" || fail "summary: $(cat "$T/out")"
	[ ! -e "$S" ] || fail "there is a layer"
	nothing_left
}

# Names of the upper's own inodes, but of those with ties.
linked() {
	need_root
	fresh
	mkdir "$U/d"
	echo data >"$U/d/f"
	ln "$U/d/f" "$U/g"
	ln -s f "$U/d/link"
	echo tied >"$U/tied"
	setfattr -n trusted.overlay.origin -v 0x00fb05 "$U/tied"
	mknod "$U/gone" c 0 0
	take 0 -n -j --link "$U" "$S"
	eq "dry: linked, copied" "10 5" "$(field bytes_linked) $(field bytes_copied)"
	take 0 -j --link "$U" "$S"
	eq "linked, copied" "10 5" "$(field bytes_linked) $(field bytes_copied)"
	[ "$U/d/f" -ef "$S/d/f" ] && [ "$U/d/f" -ef "$S/g" ] && [ "$U/d/link" -ef "$S/d/link" ] || fail "no links"
	[ ! "$U/tied" -ef "$S/tied" ] || fail "the layer has an inode with ties"
	eq "its marks" "" "$(getfattr -hd -m overlay "$S/tied" 2>&1)"
	diff <(tree "$U" | grep -v gone) <(tree "$S" | grep -v gone) || fail "the layer differs"
	rm -rf "$S"
	mkdir -p "$T/other"
	mount -t tmpfs other "$T/other"
	take 0 -j --link "$U" "$T/other/layer"
	eq "on another file system" 0 "$(field bytes_linked)"
	umount "$T/other"
	up
	take 2 -m "$M" --link "$S"
	down
}

# tree DIR: names, types, modes, data
tree() {
	(cd "$1" && find . -printf '%p %y %m %U:%G %l\n' | sort && find . -type f -print0 | sort -z | xargs -0r sha256sum)
}

# What was changed and changed back is not in the layer, and its stack shows the same; of a mount as well.
vacuumed() {
	need_root
	fresh
	mkdir -p "$L/same/deep" "$L/other"
	echo low | tee "$L/same/f" "$L/same/deep/g" "$L/other/h" "$L/a" >/dev/null
	ln "$L/same/f" "$L/same/f2"
	up
	chmod g+w "$M/same/deep/g" "$M/same/deep" "$M/other/h"
	chmod g-w "$M/same/deep/g" "$M/same/deep"
	echo more >>"$M/a"
	rm "$M/other/h"
	again
	tree "$M" >"$T/wanted"
	take 0 -j -m "$M" --vacuum "$T/live"
	eq "left out of the mount's" 3 "$(field left_out)"
	take 2 -m "$M" --vacuum --rotate "$S"
	take 2 -m "$M" --vacuum -l "$L" "$S"
	down
	eq "the layer" "./a ./other ./other/h" "$(words find "$T/live" -mindepth 1 -printf './%P\n' | tr ' ' '\n' | sort | tr '\n' ' ' | sed 's/ $//')"
	take 2 --vacuum "$U" "$S"
	take 2 --vacuum -l "$U" "$U" "$S"
	says "lie in one another"
	take 0 -n -j --vacuum -l "$L" "$U" "$S"
	eq "would be left out" 3 "$(field left_out)"
	take 0 -j --vacuum -l "$L" "$U" "$S"
	diff <(tree "$S") <(tree "$T/live") || fail "the layers differ"
	mount_at "$M" "lowerdir=$S:$L"
	tree "$M" | diff "$T/wanted" - || fail "another tree"
	umount "$M"
}

# As plyfs-seal writes it.
sealed() {
	need_root
	fresh
	mkdir "$U/d"
	echo data >"$U/d/f"
	take 0 -j --seal "$U" "$S"
	eq "the seal" "$(field seal)" "$("$BUILD/plyfs-seal" -n "$S")"
	"$BUILD/plyfs-seal" --verify "$S" >"$T/out" || fail "$(cat "$T/out")"
	up
	echo x >"$M/new"
	rm -f "$T/live.seal"
	take 0 -m "$M" --rotate --seal "$T/rotated"
	"$BUILD/plyfs-seal" --verify "$T/rotated" >"$T/out" || fail "$(cat "$T/out")"
	echo y >"$M/new"
	"$BUILD/plyfs-seal" --verify "$T/rotated" >"$T/out" || fail "$(cat "$T/out")"
	mkdir "$T/second.seal"
	echo z >"$M/new"
	take 2 -m "$M" --seal "$T/second"
	says "the layer is there, but not its seal"
	[ -e "$T/second/new" ] || fail "there is no layer"
	down
	take 0 -n --seal "$U" "$T/third"
	[ ! -e "$T/third.seal" ] || fail "a dry run seals"
}

# shares MKFS...: on a file system that can, data is shared and takes no room
shares() {
	fresh
	loopfs "$T/fs" 400M "$@"
	mkdir "$T/fs/upper"
	head -c 20M /dev/urandom >"$T/fs/upper/big"
	echo small >"$T/fs/upper/small"
	take 0 -j "$T/fs/upper" "$T/fs/layer"
	eq "copied, shared" "0 $((20 * 1048576 + 6))" "$(field bytes_copied) $(field bytes_shared)"
	same "$T/fs/upper" "$T/fs/layer"
	umount "$T/fs"
}

other_fs() {
	need_root
	fresh
	mkdir "$T/other" "$U/d"
	mount -t tmpfs other "$T/other"
	truncate -s 64M "$U/sparse"
	echo x | dd of="$U/sparse" bs=1 seek=32M conv=notrunc status=none
	setfattr -n trusted.overlay.opaque -v y "$U/d"
	take 0 -j "$U" "$T/other/layer"
	same "$U" "$T/other/layer"
	[ "$(stat -c %b "$T/other/layer/sparse")" -lt 1000 ] || fail "the holes are filled"
	[ "$(field bytes_copied)" -lt 1000000 ] || fail "$(field bytes_copied) bytes copied"
	umount "$T/other"
}

not_inherited() {
	need_root
	fresh
	mkdir "$T/parent" "$U/d"
	touch "$U/f" "$U/d/g"
	setfacl -d -m u:77:rwx "$T/parent"
	chgrp 88 "$T/parent"
	chmod g+s "$T/parent"
	take 0 "$U" "$T/parent/layer"
	same "$U" "$T/parent/layer"
	up
	take 0 -m "$M" --rotate "$T/parent/rotated"
	touch "$M/new"
	down
	eq "lists of the fresh upper" "" "$(getfacl -Rsp "$U")"
	eq "its group and mode" "$(stat -c '%a %g' "$T/parent/rotated")" "$(stat -c '%a %g' "$U")"
}

hostile() {
	need_root
	fresh
	mkdir "$T/outside" "$U/d" "$U/m"
	echo secret >"$T/outside/f"
	ln -s "$T/outside" "$U/link"
	ln -s . "$U/d/loop"
	touch "$U"/$'esc\e[2Jape' "$U"/$'\302\233c1' "$U"/$'\377'
	take 0 -v "$U" "$S"
	! grep -q $'[\001-\011\013-\037\177]' "$T/err" || fail "raw control characters"
	! grep -q $'\302\233' "$T/err" || fail "a raw C1 character"
	says "'esc\\x1b[2Jape'"
	[ -L "$S/link" ] || fail "a symlink was followed"
	same "$U" "$S"
	rm -rf "$S"
	mount -t tmpfs submount "$U/m"
	take 2 "$U" "$S"
	says "'m': something is mounted there"
	umount "$U/m"
	nothing_left
}

many_links() {
	need_root
	fresh
	(
		cd "$U" || exit 1
		mknod wh0 c 0 0
		mkdir sub
		python3 -c '
import os, stat
for i in range(64000):
    os.link("wh0", f"wh{i + 1}")
for i in range(3000):
    os.mknod(f"sub/wh{i}", stat.S_IFCHR)'
	)
	take 0 -j "$U" "$S"
	eq "whiteouts" 67001 "$(field whiteouts)"
	eq "inodes" 2 "$(find "$S" -type c -printf '%i\n' | sort -u | wc -l)"
}

speaks() {
	take 0 --help
	grep -q '^usage: plyfs-snapshot' "$T/out" || fail "$(cat "$T/out")"
	take 0 --version
	take 2 --no-such-option
	says "usage:"
	fresh
	take 0 -q "$U" "$S"
	eq "said with -q" "" "$(cat "$T/out" "$T/err")"
}

[ -x "$snap" ] || fail "there is no $snap"
need setfattr setfacl setcap flock python3
check "overlayfs and plyfs show over the layer what they showed over the upper, which is unchanged" same_tree
check "nothing in the layer ties it to one stack; opaque and escaped marks stay" no_ties
check "device whiteouts are names of one inode, hard links stay" one_whiteout
check "marks of other forms stay in the form they have" other_forms
check "an upper whose content is elsewhere is refused" refuses_elsewhere
check "a mounted or locked upper is refused" refuses_busy
check "an existing layer, or one within the upper, is refused; an empty directory is taken" target
check "an interrupted snapshot leaves nothing, and keeps mounts off while it runs" interrupted
check "a full disk leaves nothing" no_space
check "any depth and width with few descriptors" deep
check "a plain user's upper, and what cannot be kept is said" plain_user
check "a dry run makes nothing" dry_run
check "files are linked, but those with ties" linked
check "what the layers below have is left out" vacuumed
check "the layer is sealed" sealed
check "data is shared on btrfs" shares mkfs.btrfs -q
check "data is shared on xfs" shares mkfs.xfs -q -m reflink=1
check "on another file system data is copied, holes stay" other_fs
check "nothing is inherited from the directory that the layer lies in" not_inherited
check "no symlink is followed, no mount entered, nothing raw printed" hostile
check "more whiteouts than an inode can have names" many_links
check "help, version, silence" speaks
finish
