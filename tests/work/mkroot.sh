#!/bin/bash
# mkroot.sh: prints the path of a tarball of a small Debian root, which is made by debootstrap when there is none yet.
# It is kept in ${PLY_CACHE:-/var/tmp/plyfs-test-cache}, with the .deb of one small package beside it.
set -euo pipefail

suite=bookworm cache=${PLY_CACHE:-/var/tmp/plyfs-test-cache}
mkdir -p "$cache"
out=$cache/$suite.tar

exec 9>"$cache/.lock"
flock 9
if [ ! -s "$out" ]; then
	tmp=$(mktemp -d "$cache/.root.XXXXXX")
	trap 'rm -rf --one-file-system "$tmp"' EXIT
	mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" | sed -n 1p)
	[ -n "$mirror" ] || { echo "mkroot.sh: apt has no mirror for $suite" >&2 && exit 1; }
	mkdir -p "$cache/debs"
	debootstrap --variant=minbase --cache-dir="$cache/debs" "$suite" "$tmp/root" "$mirror" >"$tmp/log" 2>&1 ||
		{ tail -n 20 "$tmp/log" >&2 && exit 1; }
	rm -rf "$tmp"/root/var/cache/apt/archives/*.deb "$tmp"/root/var/lib/apt/lists/*
	(cd "$tmp" && apt-get -qq download hello >&2) && mv "$tmp"/hello_*.deb "$cache/hello.deb"
	tar --numeric-owner --xattrs --xattrs-include='*' --acls -C "$tmp/root" -cf "$tmp/tar" .
	mv "$tmp/tar" "$out"
fi
echo "$out"
