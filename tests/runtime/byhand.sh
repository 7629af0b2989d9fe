#!/bin/bash
# Mounts by hand without privilege, one after the other on the same layers: by fusermount3, in a name space of one id,
# and in one of subordinate ids; then the kernel's overlayfs shows what came of it.
. "$(dirname "$0")/lib.sh"
need newuidmap newgidmap unshare

# he WORDS COMMANDS: the user's shell does that, in his home, and says so; then no server is left
he() {
	local pid
	eq "$2" "$1" "$(says sh -euc "$2" | xargs)"
	for pid in $(pgrep -x plyfs); do gone "$pid" || fail "the server does not end"; done
}

on='plyfs -o lowerdir=a,upperdir=b,workdir=c d'

fusermount() {
	he "fuse.plyfs dir f" "$on; findmnt -no FSTYPE d; ls d; rm d/f; echo new >d/new; fusermount3 -u d"
	he "4242" "stat -c %u b/new"
}

one_id() {
	he "dir new 0:0 y" "unshare -Urm sh -euc '$on; ls d; stat -c %u:%g d/new; rm -r d/dir; mkdir d/dir; touch d/dir/y; ls d/dir; umount d'"
}

many_ids() {
	he "0:0 5:6 dir new" "unshare -m --map-root-user --map-auto sh -euc '$on; stat -c %u:%g d/new; chown 5:6 d/new; stat -c %u:%g d/new; ls d; umount d'"
	eq "the owner on disk" "2000004:2000005" "$(stat -c %u:%g "$HOME/b/new")"
}

back() {
	he "dir new y 5:6" "unshare -m --map-root-user --map-auto sh -euc 'mount -t overlay overlay -o userxattr,lowerdir=a,upperdir=b,workdir=c d
		ls d d/dir | grep -v :; stat -c %u:%g d/new; umount d'"
}

user 2000000:65536
mkdir "$T/bin"
cp "$PLYFS" "$T/bin/plyfs"
export PATH=$T/bin:$PATH
run mkdir a b c d
run sh -euc 'echo x >a/f; mkdir a/dir; touch a/dir/x'
check "by fusermount3" fusermount
check "in a name space of one id" one_id
check "in a name space of subordinate ids" many_ids
check "the kernel's overlayfs goes on with it" back
finish
