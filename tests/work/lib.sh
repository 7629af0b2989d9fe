# What the scripts of tests/work share, on top of tests/mount/lib.sh: a stack over a Debian root and a layer for the
# work at hand, and a plain directory where the same work is done, to compare.
# shellcheck shell=bash
# shellcheck source=tests/mount/lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../mount/lib.sh"
need_root

export HOME=$T TZ=UTC GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
export GIT_AUTHOR_NAME=tests GIT_AUTHOR_EMAIL=tests@localhost GIT_COMMITTER_NAME=tests GIT_COMMITTER_EMAIL=tests@localhost
# shellcheck disable=SC2034 # used by the scripts
PY=/usr/bin/python3

# The root is shared with other runs, and only ever read.
root=$(timeout -k 5 900 "$top/tests/work/mkroot" 2>"$T/mkroot.log" </dev/null) || skip "no Debian root: $(tail -n 1 "$T/mkroot.log")"

# compared MAKER WORKER [DIR]: the maker fills a layer, given as its argument, to lie on the root; the worker does its
# work once in a plain copy of the layer and once in the mount, given as its argument. What it prints must be the same,
# and so must what is below DIR (srv) then, after a remount, and as the kernel sees it.
compared() {
	local plain=$D/plain dir=${3:-srv} said stack=$D/layer:$root
	mkdir "$D/layer" "$plain"
	"$1" "$D/layer" || fail "making the layer"
	L=$D/layer
	cp -a "$L/." "$plain"
	up "$stack" dev,suid
	said=$("$2" "$plain" 2>&1 </dev/null) || fail "in a plain directory: $(tail -n 3 <<<"$said")"
	alike "what it says in the mount" "$said" "$("$2" "$M" 2>&1 </dev/null || echo "it fails: $?")"
	content "$plain/$dir" >"$D/plain.content"
	as_in_plain "$dir" "in the mount"
	again
	as_in_plain "$dir" "after a remount"
	down
	in_kernel "$stack"
	as_in_plain "$dir" "in the kernel"
	umount "$M"
}

as_in_plain() {
	diff "$D/plain.content" <(content "$M/$1") | head -n 20 >"$D/differs"
	[ ! -s "$D/differs" ] || fail "$2: not as in the plain directory (<): $(cat "$D/differs")"
}

# content DIR: names, types, modes, owners, links, sizes and data, but no times. $LEAVE_OUT is a regular expression for
# paths that differ from run to run.
LEAVE_OUT='^$'
content() {
	(
		cd "$1" || exit 1
		find . -regextype posix-extended -regex "$LEAVE_OUT" -o -type d -printf '%p d %m %U:%G\n' -o \
			-printf '%p %y %m %U:%G %n %s %l\n' | sort
		find . -regextype posix-extended -regex "$LEAVE_OUT" -o -type f -print0 | sort -z | xargs -0r sha256sum
		find . -regextype posix-extended -regex "$LEAVE_OUT" -o -print0 | sort -z | xargs -0r getfattr -hd -m - -e hex -- 2>&1
	)
}

# in_root DIR COMMAND...: in a chroot there, with what programs expect of a system
in_root() {
	local at=$1
	shift
	timeout -k 5 900 unshare -m --propagation private bash -c '
		mount --bind /dev "$0/dev" && mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/tmp" || exit
		exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC \
			DEBIAN_FRONTEND=noninteractive "$@"' "$at" "$@" </dev/null
}

# run COMMAND...: quietly; if it fails, that is said, and the worker ends
run() {
	local said
	said=$("$@" 2>&1 </dev/null) || {
		echo "$*: $(tail -n 3 <<<"$said")"
		exit 1
	}
}
