#!/bin/bash
# podman as root: an image is imported, used, changed, compared and committed, and the committed one holds it all.
# timeout: 300
. "$(dirname "$0")/lib.sh"

runs() {
	base_image
	run podman run --name changed localhost/base bash -c "$(work)"
	eq "mounts after a container has ended" "" "$(in_use)"
}

diff_of_it() {
	says podman diff changed >"$T/diff"
	for line in "D /etc/motd" "D /usr/bin/tac" "D /usr/share/doc/adduser" "A /usr/share/doc/n" "D /usr/share/locale" \
		"C /usr/share/zoneinfo" "A /srv/hard" "C /etc/issue" "A /usr/bin/hello"; do
		grep -qx "$line" "$T/diff" || fail "no line '$line' in podman diff"
	done
	! grep -E '^. (/usr/share/perl5|/lib|/usr/share/doc/.*/|/bin)' "$T/diff" || fail "more than has changed"
}

committed() {
	run podman commit -q changed localhost/done
	eq "in a container of the commit" "$(looks_right)" "$(says podman run --rm localhost/done bash -c "$(looks)")"
	eq "a read-only one" "Read-only file system" \
		"$(says podman run --rm --read-only localhost/done sh -c 'touch /srv/x 2>&1 || :' | grep -o 'Read-only.*')"
	eq "the image below it" more-less "$(says podman run --rm localhost/base sh -c 'grep -c more /etc/issue.net || echo more-less' | tail -n 1)"
}

# Two plain directories are the measure, which podman compares in the same way.
as_in_directories() {
	listing localhost/done >"$T/list"
	store vfs vfs
	base_image
	run podman run --name changed localhost/base bash -c "$(work)"
	says podman diff changed | sort >"$T/vfs.diff"
	diff "$T/vfs.diff" <(sort "$T/diff") || fail "podman diff: not as with plain directories (<)"
	run podman commit -q changed localhost/done
	diff <(listing localhost/done) "$T/list" || fail "the commit: not as with plain directories (<)"
	[ "$(wc -l <"$T/vfs.diff")" -gt 1000 ] && [ "$(wc -l <"$T/list")" -gt 5000 ] || fail "too little to compare"
	store plyfs
}

store plyfs "$PLYFS"
check "packages, users, owners and links in a container" runs
check "podman diff has what was done, and no more" diff_of_it
check "the committed image holds it all" committed
check "podman diff and the commit are what plain directories give" as_in_directories
check "no mount and no server is left" no_containers
finish
