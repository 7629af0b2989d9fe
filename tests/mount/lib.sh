# What the scripts of tests/mount share, on top of tests/lib.sh. A script is a number of parts, each a function that
# `holds` runs with directories of its own, a time limit, and the proof that it left the layers alone.
# shellcheck shell=bash
# shellcheck source=tests/lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib.sh"

case $PLYFS in */*) PLYFS=$(realpath -m "$PLYFS") ;; esac
export PYTHONPATH=$top/tests/mount PYTHONDONTWRITEBYTECODE=1
chmod 755 "$T"

# ---- parts ----

part=0 running='' seen=''

# holds NAME FUNCTION [SECONDS]: a test of its own. The function finds an empty D with L U W M in it (lower, upper,
# work, mountpoint), and ends by itself, by `fail`, or by `skip`. A mount that it leaves on M is unmounted.
holds() {
	local name=$1 limit=${3:-120} clock rc=0 was=$failures
	part=$((part + 1))
	D=$T/$part
	in_part "$2" >"$T/said" 2>&1 </dev/null &
	running=$!
	sleep "$limit" &
	clock=$!
	wait -n $running $clock
	if kill -0 $clock 2>/dev/null; then
		wait $running
		rc=$?
		kill $clock
	else
		rc=hung
		where >>"$T/said" 2>&1
		echo "not done within $limit s" >>"$T/said"
	fi
	running=''
	wait $clock 2>/dev/null
	cut -c1-200 "$T/said" | head -n 60 | sed 's/^/    /'
	case $rc in
	0) echo "ok $name" ;;
	77) echo "skip $name # $(tail -n 1 "$T/said")" ;;
	*) failures=$((failures + 1)) && echo "not ok $name # $(grep . "$T/said" | tail -n 1 | cut -c1-300)" ;;
	esac
	sweep $((failures - was))
}

# where: what the part's processes wait for
where() {
	local pid
	for pid in $(ours); do
		ps -o pid=,stat=,wchan:24=,args= -p "$pid" | cut -c1-150
		sed 's/^/    /' /proc/"$pid"/task/*/stack | head -n 24
	done
}

in_part() {
	L=$D/lower U=$D/upper W=$D/work M=$D/mnt
	mkdir -p "$L" "$U" "$W" "$M"
	cd "$D" || exit 1
	"$1" || exit
	cd "$D" || exit 1
	untouched
	mountpoint -q "$M" || exit 0
	stat "$M/." >"$D/stat" 2>&1 || fail "the mount is dead: $(cat "$D/stat")"
	down
}

# sweep FAILED: nothing of the part is left running or mounted; after a failure, or if it hung, by force.
sweep() {
	local at i
	while read -r at; do
		at=$(printf '%b' "${at//\\/\\0}")
		[ "$1" = 0 ] && timeout -k 1 20 umount "$at" 2>/dev/null && continue
		abort_fuse "$at" 2>/dev/null
		umount -l "$at"
	done < <(mounts_below)
	for ((i = 0; i < ($1 ? 50 : 500); i++)); do
		[ -n "$(ours)" ] || break
		sleep 0.02
	done
	for at in $(ours); do kill -9 "$at" 2>/dev/null; done
	losetup -nO NAME,BACK-FILE | awk -v t="$T/" 'index($2, t) == 1 { print $1 }' | xargs -r losetup -d
	rm -rf --one-file-system "$D"
}

# stop_part: a script that is stopped half-way stops its part, too.
stop_part() {
	local status=$?
	[ -z "$running" ] || kill -9 "$running"
	(exit $status)
	tidy
}
trap stop_part EXIT

# ---- mounts ----

# mark DIR...: a text that changes with whatever happens to these trees, but for access times. No time but the
# change time tells: nothing can set it back.
mark() {
	find "$@" -printf '%p %y %i %m %U:%G %n %s %T@ %C@ %l\n' | sort | sha256sum
}

# untouched: fails if L is not what it was when `up` first mounted it
untouched() {
	[ -z "$seen" ] || [ "$(mark "$L")" = "$seen" ] || fail "the layer was changed"
}

# up [LOWERDIR [OPTIONS]]: as in tests/lib.sh, and remembers what L is like
up() {
	[ -n "$seen" ] || seen=$(mark "$L")
	last_up=("$@")
	mount_at "$M" "lowerdir=${1:-$L},upperdir=$U,workdir=$W${2:+,$2}" || fail "no mount: $(cat "$T/mount.log")"
}

# refused OPTIONS [WORD]...: plyfs does not mount that on M: status 1, a sentence that has the words, nothing mounted
refused() {
	local rc options=$1 word
	shift
	timeout -k 1 20 "$PLYFS" -o "$options" "$M" >"$D/out" 2>"$D/err" </dev/null
	rc=$?
	! mountpoint -q "$M" || fail "mounted with $options"
	eq "exit status with $options" 1 $rc
	eq "standard output" "" "$(cat "$D/out")"
	for word; do
		grep -qiF -- "$word" "$D/err" || fail "no '$word' in the message: $(cat "$D/err")"
	done
}

# in_kernel [LOWERDIR]: mounts the directories of the last `up`, by now unmounted, with the kernel's overlayfs
in_kernel() {
	mount -t overlay overlay -o "lowerdir=${1:-$L},upperdir=$U,workdir=$W" "$M" || skip "the kernel does not mount an overlay here"
}

# ---- snapshots of a mount ----

export snapshot=$BUILD/plyfs-snapshot

# snap [OPTION]... LAYER: a snapshot of M, or the part fails; what it says is in $D/said
snap() {
	timeout -k 1 90 "$snapshot" -m "$M" "$@" >"$D/said" 2>&1 </dev/null || fail "snapshot $*: exit status $?, $(cat "$D/said")"
}

# refuses STATUS WORDS [OPTION]...: no snapshot of MNT, or of M: that status, a sentence with these words, nothing is left
refuses() {
	local status=$1 words=$2 rc before
	shift 2
	before=$(names "$D/new")
	timeout -k 1 60 "$snapshot" -m "${MNT:-$M}" "$@" "$D/new/layer" >"$D/said" 2>&1 </dev/null
	rc=$?
	eq "exit status of $*: $(cat "$D/said")" "$status" $rc
	grep -q -- "$words" "$D/said" || fail "no '$words' in: $(cat "$D/said")"
	eq "what is left behind" "$before" "$(names "$D/new")"
}

# The layers below the upper of the mount as it goes on, topmost first, and what the rotated ones are like.
stack='' rotations=0

# state DIR: all of it that a later write could change
state() {
	find "$1" -printf '%p %y %i %m %U:%G %n %s %T@ %C@ %l\n' | sort
	find "$1" -type f -print0 | sort -z | xargs -0r sha256sum
}

rotate() {
	snap --rotate "$@"
	stack=${*: -1}:$stack
	eq "the line for the next mount" "next mount: lowerdir=$stack" "$(grep '^next mount' "$D/said")"
	rotations=$((rotations + 1))
	state "${*: -1}" >"$D/state$rotations"
}

# layers_kept: nothing that was written after a rotation went to a layer
layers_kept() {
	local i all
	IFS=: read -ra all <<<"$stack"
	for ((i = 1; i <= rotations; i++)); do
		diff "$D/state$i" <(state "${all[rotations - i]}") || fail "layer $i of $rotations was changed (>)"
	done
}

# ---- plain users ----

# for_users: layers that uid 1000 owns, and what `private` needs
for_users() {
	echo hello >"$L/h.txt"
	chmod 664 "$L/h.txt"
	local f
	for f in ro ro2 ro3; do
		echo ro >"$L/$f"
		chmod 444 "$L/$f"
	done
	mkdir -m 555 "$L/rodir"
	mkdir -m 700 "$L/d"
	echo x | tee "$L/rodir/x" >"$L/d/f"
	mknod -m 666 "$D/fuse" c 10 229
	echo user_allow_other >"$D/fuse.conf"
	: >"$T/mount.log"
	chmod 666 "$T/mount.log"
	chown -R 1000:1000 "$L" "$U" "$W" "$M"
	chmod 777 "$D"
	seen=$(mark "$L")
}

# run_as_user FUNCTION COMMAND...: the function, in a shell that the command starts for uid 1000
run_as_user() {
	local function=$1
	shift
	private setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@" bash -c "$(declare -f)
		seen=- failures=0
		$function" || exit
}

# in_user_namespace FUNCTION: as uid 1000 that is root there, and nobody else
in_user_namespace() {
	for_users
	run_as_user "$1" unshare -Urm --propagation private
}

# by_fusermount FUNCTION: as uid 1000, which mounts and unmounts by fusermount3
by_fusermount() {
	need fusermount3
	for_users
	umount() { fusermount3 -u "$@"; }
	run_as_user "$1" env
}

# private COMMAND...: with everybody allowed to mount by FUSE, as far as this command sees
private() {
	export L U W M D T
	unshare -m --propagation private bash -c '
		mount --bind "$D/fuse" /dev/fuse || exit
		[ ! -e /etc/fuse.conf ] || mount --bind "$D/fuse.conf" /etc/fuse.conf
		exec "$@"' - "$@"
}

# ---- counters ----

# start_counted OPTIONS: a server in the foreground on M; `counted` reads its counters
start_counted() {
	local i
	: >"$D/counters"
	"$PLYFS" -f -o "$1" "$M" 2>>"$D/counters" </dev/null &
	server_pid=$!
	for ((i = 0; i < 500; i++)); do
		! mountpoint -q "$M" || return 0
		sleep 0.02
	done
	fail "no mount: $(cat "$D/counters")"
}

# counters: what the server counts, a line each
counters() {
	local i size=''
	: >"$D/counters"
	kill -USR1 "$server_pid"
	for ((i = 0; i < 500; i++)); do
		# It is whole when it says the same twice.
		[ "$(stat -c %s "$D/counters")" = 0 ] || [ "$(stat -c %s "$D/counters")" != "$size" ] || break
		size=$(stat -c %s "$D/counters")
		sleep 0.02
	done
	[ -s "$D/counters" ] || fail "SIGUSR1 brings no counters"
	cat "$D/counters"
}

# counted NAME: the number behind that name, 0 if it is not there
counted() {
	counters | awk -v n="$1" 'index($0, n " ") == 1 { found = $NF } END { print found + 0 }'
}

# ---- things to work on ----

# py [ARGUMENT]...: the python program on standard input, with all of ply.py; the part fails if it does
py() {
	/usr/bin/python3 -c "from ply import *
$(cat)" "$@" </dev/null || exit
}

# as UID COMMAND...
as() {
	local uid=$1
	shift
	setpriv --reuid "$uid" --regid "$uid" --clear-groups -- "$@"
}

# alike LABEL WANTED GOT: as eq, for texts of many lines
alike() {
	diff <(echo "$2") <(echo "$3") || fail "$1: not as wanted (<)"
}

# names DIR: all below it, sorted, on one line
names() {
	(cd "$1" && find . -mindepth 1 -printf '%P\n' | sort | tr '\n' ' ' | sed 's/ $//')
}

# fs_of KIND DIR: a fresh, writable file system of that kind on DIR; its directories lower, upper and work are made
fs_of() {
	case $1 in
	ext4) loopfs "$2" 256M mkfs.ext4 -q ;;
	xfs) loopfs "$2" 512M mkfs.xfs -q -m reflink=1 ;;
	btrfs) loopfs "$2" 256M mkfs.btrfs -q ;;
	tmpfs) need_root && mkdir -p "$2" && mount -t tmpfs tmpfs "$2" ;;
	esac
	mkdir "$2/lower" "$2/upper" "$2/work"
}

# sample DIR: a small tree with everything in it that a file system can hold, but for hard links. All times are
# whole seconds of the past, so that any file system can keep them.
sample() {
	mkdir -p "$1"/{etc/conf.d,bin,empty,deep/a/b/c/d,dev,many}
	(
		cd "$1" || exit 1
		echo root:x:0 >etc/passwd
		echo conf >etc/conf.d/one
		echo conf >etc/conf.d/two
		: >etc/none
		cp /bin/true bin/set-id
		cp /bin/true bin/capable
		ln -s set-id bin/link
		ln -s /nowhere/at/all bin/dangling
		echo at the bottom >deep/a/b/c/d/file
		truncate -s 9M deep/sparse
		echo data | dd of=deep/sparse bs=1M seek=5 conv=notrunc status=none
		head -c 300000 /dev/zero | tr '\0' z >deep/big
		mkfifo dev/fifo
		/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("dev/socket")'
		mknod dev/null c 1 3
		mknod dev/disk b 7 99
		seq -f 'many/file-%03.0f' 200 | xargs touch
		echo odd >$'odd \n\\ name,:='
		touch "$(printf 'n%.0s' {1..255})"
		setfattr -n user.note -v remember etc/passwd
		setfattr -n user.empty etc/conf.d
		setfattr -n trusted.mark -v 0x00ff0a etc/conf.d/one
		setcap cap_net_raw,cap_net_admin=ep bin/capable
		setfacl -m u:1234:rw,g:4321:r etc/conf.d/two
		setfacl -d -m u:1234:rwx etc/conf.d
		chown 1000:1001 etc/passwd bin/set-id deep/a dev/fifo
		chown -h 1002 bin/link
		chmod 4755 bin/set-id
		chmod 2775 deep/a
		chmod 1777 empty
		chmod 600 etc/conf.d/one dev/disk
		chmod 0 etc/none
		find . -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +
	) || exit 1
}

# change DIR: does something to about everything in a sample; ends with times that can be compared
change() {
	(
		cd "$1" || exit 1
		echo more >>etc/passwd
		rm etc/conf.d/one
		mv etc/conf.d/two etc/two
		mkdir etc/conf.d/three
		setfattr -n user.new -v value etc/none
		chmod 640 etc/none
		rm -r deep/a/b
		mkdir deep/a/b
		echo anew >deep/a/b/file
		echo data | dd of=deep/sparse bs=1M seek=3 conv=notrunc status=none
		truncate -s 100000 deep/big
		rmdir empty
		echo no directory >empty
		rm bin/dangling
		mkdir bin/dangling
		ln -sfn elsewhere bin/link
		chown 7:8 dev/fifo dev/null
		mv dev/disk dev/disk2
		rm dev/socket
		mkfifo dev/socket
		rm many/file-*[02468]
		cp -a bin/capable bin/copy
		rm bin/set-id
		rm -- *name*
		mv nnn* "$(printf 'm%.0s' {1..255})"
		find . -newermt 2010-01-01 -exec touch -h -d '2011-12-13 14:15:16 UTC' {} +
	) || exit 1
}
