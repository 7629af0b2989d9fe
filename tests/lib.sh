# Helpers for the tests that are shell scripts: source this first, from bash.
#
# Gives T (the test's own directory, on a real file system), L U W M (lower, upper, work, mountpoint below it),
# and removes on exit whatever the script mounted, started and made below T, whether it passed or not.
# shellcheck shell=bash
set -u
umask 022
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin

top=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
export BUILD=${BUILD:-$top/build}
export PLYFS=${PLYFS:-$BUILD/plyfs}
if [ -z "${PLY_LOG:-}" ]; then
	TMPDIR=$(mktemp -d -p /var/tmp)
	chmod 755 "$TMPDIR"
fi
# Every process that a test starts has it in its environment: so they are found again.
export TMPDIR
T=$TMPDIR L=$T/lower U=$T/upper W=$T/work M=$T/mnt
mkdir -p "$L" "$U" "$W" "$M"

# ---- results ----

# skip WHY: the machine cannot run this test
skip() {
	echo "$*"
	exit 77
}

# need PROGRAM...
need() {
	local p
	for p; do command -v "$p" >/dev/null || skip "$p is not installed"; done
}

need_root() {
	[ "$(id -u)" = 0 ] || skip "needs root"
}

# fail WHAT: ends the test, or within `check` that part of it
fail() {
	echo "${BASH_SOURCE[-1]##*/}: $*"
	exit 1
}

# eq LABEL WANTED GOT
eq() {
	[ "$2" = "$3" ] || fail "$1: expected: $2; got: $3"
}

# words COMMAND...: what it prints, on one line
words() {
	"$@" | tr '\n' ' ' | sed 's/ $//'
}

# same DIR DIR: equal in names, types, modes, owners, times, link counts of files, contents, xattrs and ACLs
same() {
	diff <(tree_of "$1") <(tree_of "$2") || fail "$1 and $2 differ"
}

# tree_of DIR [PATH-TO-LEAVE-OUT]...: a text that says all that `same` compares
tree_of() {
	(
		cd "$1" || exit 1
		shift
		local but=()
		for p; do but+=(-path "./$p" -prune -o); done
		find . "${but[@]}" -type d -printf '%p d %m %U:%G %T@\n' -o -printf '%p %y %m %U:%G %T@ %n %s %l\n' | sort
		find . "${but[@]}" -type f -print0 | sort -z | xargs -0r sha256sum
		find . "${but[@]}" -print0 | sort -z | xargs -0r getfattr -hd -m - -e hex -- 2>&1
	)
}

failures=0
# check NAME COMMAND...: a test of its own, in a subshell; the script ends with `finish`
check() {
	local name=$1 rc
	shift
	("$@")
	rc=$?
	case $rc in
	0) echo "ok $name" ;;
	77) echo "skip $name" ;; # the line before says why
	*)
		echo "not ok $name"
		failures=$((failures + 1))
		;;
	esac
}

finish() {
	[ "$failures" = 0 ]
	exit
}

# ---- mounts ----

# mount_at MOUNTPOINT OPTIONS: mounts and waits until it is there; plyfs's messages are in $T/mount.log
mount_at() {
	"$PLYFS" -o "$2" "$1" >"$T/mount.log" 2>&1 </dev/null || return 1
	mountpoint -q "$1"
}

# up [LOWERDIR [OPTIONS]]: L (or LOWERDIR) below U, on M, or the test fails
up() {
	last_up=("$@")
	mount_at "$M" "lowerdir=${1:-$L},upperdir=$U,workdir=$W${2:+,$2}" || fail "no mount: $(cat "$T/mount.log")"
}

# shellcheck disable=SC2120
# down [MOUNTPOINT]: unmounts, and waits until the server has gone, so that the upper is settled
down() {
	local at=${1:-$M} pid
	pid=$(server "$at")
	umount "$at" || fail "umount $at: still used by $(fuser -m "$at" 2>&1)"
	[ -z "$pid" ] || gone "$pid" 120 || fail "the server of $at does not end"
}

again() {
	down
	up "${last_up[@]}"
}

# server [MOUNTPOINT]: the pid of its server, which has the mountpoint as its last argument
server() {
	local pid
	for pid in $(ours); do
		[ "$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | tail -n 1)" = "${1:-$M}" ] &&
			find "/proc/$pid/fd" -lname /dev/fuse 2>/dev/null | grep -q . && echo "$pid" && return
	done
}

# gone PID [SECONDS]: waits for its end; a zombie has ended
gone() {
	local i
	for ((i = 0; i < ${2:-30} * 50; i++)); do
		case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in '' | Z* | X*) return 0 ;; esac
		sleep 0.02
	done
	return 1
}

# abort_fuse MOUNTPOINT: cuts the connection, so that nobody waits for its server any more
abort_fuse() {
	local conn=/sys/fs/fuse/connections minor
	minor=$(awk -v at="$1" '$5 == at { split($3, dev, ":"); print dev[2] }' /proc/self/mountinfo | tail -n 1)
	mountpoint -q $conn || mount -t fusectl fusectl $conn
	[ -z "$minor" ] || echo 1 >"$conn/$minor/abort"
}

# loopfs DIR SIZE MKFS...: a file system of its own on DIR, from an image below T
loopfs() {
	local dir=$1 size=$2 img
	shift 2
	need_root
	need "$1"
	mkdir -p "$dir"
	img=$(mktemp -p "$T")
	truncate -s "$size" "$img"
	"$@" "$img" >"$T/mkfs.log" 2>&1 || fail "$*: $(tail -n 1 "$T/mkfs.log")"
	mount -o loop "$img" "$dir" || skip "no loop mounts"
}

# ---- the end ----

# ours: pids of the live processes that this test started, but for the shell itself
ours() {
	local p asks=$BASHPID
	for p in $(grep -lsz "^TMPDIR=$T\$" /proc/[0-9]*/environ | cut -d/ -f3); do
		[ "$p" = $$ ] || [ "$p" = "$asks" ] || [ ! -e "/proc/$p" ] || echo "$p"
	done
}

mounts_below() {
	awk -v t="$T/" 'index($5, t) == 1 { print $5 }' /proc/self/mountinfo | tac
}

tidy() {
	local status=$? at dev pid end
	trap '' INT TERM
	cd /
	# A clean unmount first; what does not end by that is cut off.
	while read -r at; do
		at=$(printf '%b' "${at//\\/\\0}")
		timeout -k 1 10 umount "$at" 2>/dev/null || {
			abort_fuse "$at" 2>/dev/null
			umount -l "$at"
		}
	done < <(mounts_below)
	end=$((SECONDS + 3))
	while [ -n "$(ours)" ] && [ $SECONDS -lt $end ]; do sleep 0.02; done
	for pid in $(ours); do kill -9 "$pid" 2>/dev/null; done
	losetup -nO NAME,BACK-FILE 2>/dev/null | awk -v t="$T/" 'index($2, t) == 1 { print $1 }' |
		while read -r dev; do losetup -d "$dev"; done
	[ -n "${PLY_LOG:-}" ] || rm -rf --one-file-system "$T"
	exit "$status"
}
trap tidy EXIT
trap 'exit 143' INT TERM
