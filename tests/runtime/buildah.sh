#!/bin/bash
# buildah as root with chroot isolation: a container is worked on by steps and through its mount, committed and built.
# only: check-all
# timeout: 400
. "$(dirname "$0")/lib.sh"

# from_base NAME: a working container of the base image
from_base() {
	run buildah from --name "$1" localhost/base
}

steps() {
	base_image
	from_base steps
	run buildah run --isolation chroot steps -- bash -c "$(work)"
	run buildah commit -q steps localhost/done
	eq "in the commit" "$(looks_right)" "$(says podman run --rm localhost/done bash -c "$(looks)")"
	run buildah rm steps
}

# The mount is written from outside, as a script of one's own does it.
by_hand() {
	local at
	from_base hand
	at=$(says buildah mount hand)
	mountpoint -q "$at" || fail "no mount at $at"
	echo out >"$at/srv/out" && chown 12:34 "$at/srv/out" && rm -r "$at/usr/share/doc" && mkdir "$at/usr/share/doc" || fail "writing"
	mv "$at/usr/share/perl5" "$at/usr/share/perl" || fail "mv of a directory"
	run buildah copy hand "$root/etc/issue" /srv/issue
	run buildah umount hand
	run buildah run --isolation chroot hand -- rm /etc/motd
	run buildah config --env by=hand hand
	run buildah commit -q --rm hand localhost/hand
	from_base again
	run buildah rm again
	eq "in the commit" "12:34 out 0 /srv/issue /usr/share/perl hand" "$(says podman run --rm localhost/hand sh -c \
		'stat -c %u:%g /srv/out; cat /srv/out; ls /usr/share/doc | wc -l; ls -d /srv/issue /usr/share/perl /usr/share/perl5 /etc/motd 2>/dev/null || :; echo $by' | words cat)"
}

# From nothing, with a layer on top of that.
from_scratch() {
	local at
	need busybox
	run buildah from --name new scratch
	at=$(says buildah mount new)
	mkdir "$at/bin" && cp "$(command -v busybox)" "$at/bin/" && ln "$at/bin/busybox" "$at/bin/sh" || fail "writing"
	run buildah umount new
	run buildah commit -q --rm new localhost/scratch
	run buildah from --name more localhost/scratch
	run buildah run --isolation chroot more -- /bin/sh -c 'busybox rm /bin/sh; busybox mkdir /bin/dir; echo one >/one'
	run buildah commit -q --rm more localhost/more
	eq "names" "/bin/busybox /bin/dir /one" "$(says podman run --rm localhost/more /bin/busybox find /bin /one ! -name bin | words sort)"
}

builds() {
	local how
	for how in --layers --layers=false --squash; do
		built buildah build -q --isolation chroot --no-cache $how
		eq "built with $how" "$(built_right)" "$(says podman run --rm localhost/built bash -c "$(built_looks)")"
	done
	# What has not changed is taken from the last time.
	built buildah build -q --isolation chroot --layers
	listing localhost/built >"$T/first"
	built buildah build -q --isolation chroot --layers
	diff "$T/first" <(listing localhost/built) || fail "the second build is another image"
}

emptied() {
	run buildah rm -a
	run buildah rmi -fa
	eq "layers" "" "$(find "$S/graph/overlay" -maxdepth 2 -name diff)"
	no_containers
}

store plyfs "$PLYFS"
check "packages, users, owners and links by buildah run" steps
check "changes through the mount are committed" by_hand
check "an image from nothing, and one on top" from_scratch
check "a Containerfile with layers, without and squashed" builds
check "nothing is left" emptied
finish
