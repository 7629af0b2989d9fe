#!/bin/bash
# podman and buildah as a plain user with subordinate ids.
# only: check-all
# timeout: 600
. "$(dirname "$0")/lib.sh"
need newuidmap newgidmap

works() {
	base_image
	run podman run --name changed localhost/base bash -c "$(work)"
	run podman commit -q changed localhost/done
	eq "in the commit" "$(looks_right)" "$(says podman run --rm localhost/done bash -c "$(looks)")"
	eq "as the user outside" "4242 mine" "$(says podman run --rm --userns=keep-id --user 4242 localhost/done sh -c 'id -u; echo mine >/tmp/m; cat /tmp/m' | words cat)"
	listing localhost/done >"$T/done.list"
}

builds() {
	mkdir -p "$S/context"
	own
	built podman build -q --isolation chroot
	eq "built" "$(built_right)" "$(says podman run --rm localhost/built bash -c "$(built_looks)")"
}

# shellcheck disable=SC2016
by_buildah() {
	run buildah unshare sh -euc 'buildah from --name hand localhost/base; m=$(buildah mount hand)
		echo out >$m/srv/out; chown 12:34 $m/srv/out; rm -r $m/usr/share/doc; mkdir $m/usr/share/doc; mv $m/usr/share/perl5 $m/usr/share/perl
		buildah umount hand; buildah run --isolation chroot hand -- rm /etc/motd; buildah commit -q --rm hand localhost/hand'
	eq "in the commit" "12:34 out 0 /usr/share/perl" "$(says podman run --rm localhost/hand sh -c \
		'stat -c %u:%g /srv/out; cat /srv/out; ls /usr/share/doc | wc -l; ls -d /usr/share/perl /usr/share/perl5 /etc/motd 2>/dev/null || :' | words cat)"
}

at_once() {
	local i pids=()
	for i in {1..10}; do
		says podman run --rm localhost/base sh -c "echo $i >/etc/mine && rm -r /usr/share/doc && mkdir /usr/share/doc &&
			useradd u$i && sleep 1 && cat /etc/mine && ls /usr/share/doc" >"$T/said.$i" 2>&1 &
		pids+=($!)
	done
	for i in {1..10}; do
		wait "${pids[i - 1]}" || fail "container $i: $(cat "$T/said.$i")"
		eq "container $i" "$i" "$(cat "$T/said.$i")"
	done
}

# The image is the same as root makes it.
as_by_root() {
	as=()
	store root "$PLYFS"
	base_image
	run podman run --name changed localhost/base bash -c "$(work)"
	run podman commit -q changed localhost/done
	diff <(listing localhost/done) "$T/done.list" || fail "the image is not as root makes it (<)"
	no_containers
}

ended() {
	no_containers
	run podman rmi -fa
	end_user
	eq "layers" "" "$(find "$S/graph/overlay" -maxdepth 2 -name diff)"
}

user 2000000:65536
store user "$PLYFS"
own
check "packages, users, owners and links in a container" works
check "a Containerfile in two stages" builds
check "buildah in its user namespace" by_buildah
check "10 containers at once" at_once
check "the image is as root makes it" as_by_root
check "nothing is left" ended
finish
