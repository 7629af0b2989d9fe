#!/bin/bash
# demo: shows on a stack over a real tree what plyfs does, in half a minute: the layers, a copy-up, a whiteout,
# a directory made anew, the layers unchanged, a snapshot of the mount in use, and one stacked below a new mount. Every claim is checked; the
# first that does not hold ends the demo with status 1. All of it happens in one directory, removed at the end.
set -u
umask 022
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin

top=$(dirname "$(dirname "$(readlink -f "$0")")")
program=$(readlink -f "${PLYFS:-$top/build/plyfs}")
snapshot=${SNAPSHOT:-${program%/*}/plyfs-snapshot}

bold='' dim='' green='' red='' plain=''
[ ! -t 1 ] || bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'

# ---- telling, doing and proving ----

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$@"; }
indent() { sed "/^\$/d; s/^/      $dim/; s/\$/$plain/"; }

die() {
	printf '  %sNOT SO: %s%s\n' "$red" "$*" "$plain"
	exit 1
}

# run LINE: shows a line of shell, runs it, shows what it prints
run() {
	printf '    $ %s\n' "$1"
	eval "$1" >said 2>&1 </dev/null || die "'$1' failed: $(cat said)"
	indent <said
}

# proves SENTENCE COMMAND...: the sentence holds if the command says so
proves() {
	local sentence=$1
	shift
	"$@" || die "$sentence"
	printf '  %s✓%s %s\n' "$green" "$plain" "$sentence"
}

plyfs() { "$program" "$@"; }
plyfs-snapshot() { "$snapshot" "$@"; }
umount='fusermount3 -u'
[ "$(id -u)" != 0 ] || umount=umount

equal() { [ "$1" = "$2" ]; }
absent() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
below() { find "$1" -mindepth 1 -printf '%P\n' | sort; }
checksum() { sha256sum "$1" | cut -c1-16; }

# fingerprint DIR: one checksum over the names, types, modes, owners, times and contents below it
fingerprint() {
	(
		cd "$1" || exit 1
		find . -type d -printf '%p %m %U:%G\n' -o -printf '%p %y %m %U:%G %T@ %l\n' | sort
		find . -type f -print0 | sort -z | xargs -0r sha256sum
	) | sha256sum | cut -c1-16
}

# Files of this machine that everybody on it may read, a few thousand of them.
make_base() {
	(
		cd /
		for tree in etc usr/share/doc usr/bin usr/share; do
			find $tree -xdev \( -type d -o -type l -o -type f -perm -o=r -size -1024k \) | sed 2500q
		done 2>/dev/null
	) | sort -u >list
	mkdir base
	tar -C / --no-recursion --verbatim-files-from -T list -cf - 2>/dev/null | tar -C base -xf -
	[ "$(below base | wc -l)" -ge 1000 ] || die "a copy of a part of / has less than 1000 files"
}

cleanup() {
	local status=$?
	trap '' INT TERM
	cd /
	if mountpoint -q "$dir/mnt"; then
		umount -l "$dir/mnt" 2>/dev/null || fusermount3 -uz "$dir/mnt"
	fi
	rm -rf --one-file-system "$dir"
	exit "$status"
}

# ---- the tour ----

[ -x "$program" ] || die "there is no $program: run make first"
[ -e /dev/fuse ] || die "there is no /dev/fuse; a container needs --device /dev/fuse --cap-add SYS_ADMIN"

dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}") || exit 1
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$dir" || exit 1

title "1. The layers"
say "Two directories that stay as they are: base, a part of this machine's own root (a copy, so that you" \
	"need not trust us with yours), and fixes, a small layer to go on top of it."
make_base
mkdir -p fixes/etc upper work mnt
{ echo "# This line comes from the layer fixes." && cat base/etc/profile; } >fixes/etc/profile
say "base: $(below base | wc -l) files and directories, $(du -sh base | cut -f1)." "fixes:"
below fixes | indent
base=$(fingerprint base) fixes=$(fingerprint fixes)

title "2. One mount"
say "The leftmost layer is the topmost; what gets written goes to upper."
start=$EPOCHREALTIME
run 'plyfs -o lowerdir=fixes:base,upperdir=upper,workdir=work mnt'
took=$(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
mountpoint -q mnt || die "nothing is mounted on mnt"
run 'head -n 1 mnt/etc/profile'
proves "mounted in $took ms: all of base shows" equal "$(below mnt)" "$(below base)"
proves "and where fixes has a file, that one shows" cmp -s mnt/etc/profile fixes/etc/profile
proves "nothing was copied: upper is empty" equal "$(below upper)" ""

title "3. Writing to a file of a layer: copy-up"
was=$(checksum base/etc/passwd)
run 'echo guest:x:1234:1234::/:/bin/sh >>mnt/etc/passwd && sync mnt/etc/passwd'
run 'tail -n 1 mnt/etc/passwd'
say "upper now holds:"
below upper | indent
proves "upper has the whole file, with the new line" cmp -s mnt/etc/passwd upper/etc/passwd
proves "the file in base is what it was ($was)" equal "$(checksum base/etc/passwd)" "$was"

title "4. Removing a file of a layer: a whiteout"
run 'rm mnt/etc/issue'
run 'ls -l upper/etc'
proves "the mount shows the file no more" absent mnt/etc/issue
proves "base still has it" test -e base/etc/issue

title "5. Removing a whole directory, and making it anew: an opaque directory"
docs=$(below base/usr/share/doc | wc -l)
run 'rm -rf mnt/usr/share/doc'
run 'mkdir mnt/usr/share/doc'
run 'touch mnt/usr/share/doc/new'
run 'getfattr -h -d -m overlay upper/usr/share/doc'
proves "nothing of the $docs old names comes back" equal "$(below mnt/usr/share/doc)" "new"
proves "base still has them all" equal "$(below base/usr/share/doc | wc -l)" "$docs"

title "6. The layers, afterwards"
proves "base: the same names, modes, owners, times and contents ($base)" equal "$(fingerprint base)" "$base"
proves "fixes: the same ($fixes)" equal "$(fingerprint fixes)" "$fixes"

title "7. A snapshot of the mount in use: its upper becomes a layer"
say "A program has a file open, and goes on writing to it:"
run 'exec 5>mnt/log; echo before >&5'
whole=$(fingerprint mnt)
run 'plyfs-snapshot -m mnt --rotate changes'
say "changes holds:"
below changes | indent
changes=$(fingerprint changes)
proves "the mount shows the same tree ($whole)" equal "$(fingerprint mnt)" "$whole"
proves "and upper is empty again" equal "$(below upper)" ""
run 'echo after >&5; exec 5>&-'
run 'cat mnt/log'
proves "the program's file has both lines" equal "$(cat mnt/log)" $'before\nafter'
proves "the layer has what was written before" equal "$(cat changes/log)" before
proves "and nobody writes to it any more" equal "$(fingerprint changes)" "$changes"

title "8. A snapshot of a stack that is not mounted"
run "$umount mnt"
run 'plyfs-snapshot upper later'
mkdir upper2 work2
run 'plyfs -o lowerdir=later:changes:fixes:base,upperdir=upper2,workdir=work2 mnt'
proves "a new mount on top of both shows what there was" equal "$(cat mnt/log)" $'before\nafter'
run 'echo And on it goes >mnt/etc/issue'
run "$umount mnt"
proves "upper2 has what came after the snapshot" equal "$(below upper2)" $'etc\netc/issue'

title "That was plyfs. README.md says how to mount a stack of your own."
