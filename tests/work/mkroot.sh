#!/bin/bash
# mkroot.sh: prints the path of a Debian root to stack as a layer: minbase with python3, and in var/cache/debs the
# packages that the tests install there without a network. Made once, by debootstrap and apt as this machine has them
# configured, below PLY_CACHE; a change of this script makes a new one. For work, this is not a test: tests/work/lib.sh
# asks for it.
set -euo pipefail
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive

# By name and again: installed anew over the files of the layer.
few="hello less sqlite3 bc whiptail libc-bin coreutils perl-base"
many="gcc libc6-dev make git rsync sqlite3 file xz-utils python3-venv python3-pip openssh-client vim-tiny man-db"

die() {
	echo "mkroot: $*" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || die "debootstrap needs root"
command -v debootstrap >/dev/null || die "debootstrap is not installed"

cache=${PLY_CACHE:-/var/tmp/plyfs-test-cache}
mkdir -p "$cache"
cache=$(realpath "$cache")
root=$cache/root-$(sha256sum <"$0" | cut -c1-12)

# One builder at a time; the second one finds the first one's root.
exec 9>"$cache/lock"
flock 9
[ -d "$root" ] && echo "$root" && exit

tmp=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf --one-file-system "$tmp"' EXIT
log=$tmp/log

suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirrors() {
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
		awk -v suite="$suite" '$1 ~ /^http/ && $2 == suite && $3 == "main" { print $1 }'
}
[ -n "$(mirrors)" ] || apt-get -q update >"$log" 2>&1 || die "apt-get update: $(tail -n 1 "$log")"
mirror=$(mirrors | head -n 1)
[ -n "$mirror" ] || die "apt has no http source for $suite"

mkdir "$tmp/root" "$cache/root-debs" 2>/dev/null || mkdir -p "$tmp/root"
chmod 755 "$tmp" "$tmp/root"
debootstrap --variant=minbase --include=python3 --cache-dir="$cache/root-debs" "$suite" "$tmp/root" "$mirror" >"$log" 2>&1 </dev/null ||
	die "debootstrap: $(tail -n 3 "$log"; tail -n 5 "$tmp/root/debootstrap/debootstrap.log")"

# fetch DIR PACKAGE...: them and what they need that the root does not have
fetch() {
	local dir=$tmp/root/var/cache/debs/$1
	shift
	mkdir -p "$dir/partial"
	apt-get -q -y -o APT::Sandbox::User=root -o Dir::State::status="$tmp/root/var/lib/dpkg/status" \
		-o Dir::Cache::archives="$dir" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=1 \
		--no-install-recommends --reinstall -d install "$@" >"$log" 2>&1 </dev/null ||
		die "apt-get -d install: $(tail -n 3 "$log")"
	rm -rf "$dir/partial" "$dir/lock"
}
fetch few $few
fetch many $many

rm -rf "$tmp"/root/var/cache/apt/archives/*.deb "$tmp"/root/var/lib/apt/lists/* "$tmp"/root/var/log/*.log
rm -f "$tmp/root/etc/resolv.conf" "$tmp/root/etc/hostname"
echo 'APT::Sandbox::User "root";' >"$tmp/root/etc/apt/apt.conf.d/99no-sandbox"
mv "$tmp/root" "$root"
echo "$root"
