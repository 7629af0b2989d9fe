#!/bin/bash
# podman as root, at length: builds, many containers at once, and the same images as with other overlays.
# only: check-all
# timeout: 600
. "$(dirname "$0")/lib.sh"

# images: all of it, in the present store; listings are kept beside it
images() {
	base_image
	run podman run --name changed localhost/base bash -c "$(work)"
	run podman commit -q changed localhost/done
	listing localhost/done >"$S/done.list"
	built podman build -q --isolation chroot
	listing localhost/built >"$S/built.list"
	[ "$(wc -l <"$S/done.list")" -gt 5000 ] || fail "a short listing of localhost/done"
}

works() {
	eq "in a container of the commit" "$(looks_right)" "$(says podman run --rm localhost/done bash -c "$(looks)")"
	eq "in the built image" "$(built_right)" "$(says podman run --rm localhost/built bash -c "$(built_looks)")"
}

as_in_kernel() {
	store kernel
	images
	diff "$T/kernel/done.list" "$T/plyfs/done.list" || fail "the commit: not as with the kernel's overlayfs (<)"
	diff "$T/kernel/built.list" "$T/plyfs/built.list" || fail "the build: not as with the kernel's overlayfs (<)"
	no_containers
}

# A store without commits goes on with the kernel's overlayfs, if renamed directories were copied: the storage, which then
# reads the upper itself, knows no redirects. (A commit makes a layer with .wh. files, which the kernel does not know.)
kernel_goes_on() {
	store form "$PLYFS"
	echo 'mountopt = "redirect_dir=copy"' >>"$S/storage.conf"
	base_image
	run podman run --name changed localhost/base bash -c "$(work)"
	rm "$S/graph/overlay/.has-mount-program" || fail "the storage has not noted a mount program"
	sed -i '/mount_program\|mountopt/d' "$S/storage.conf"
	run podman commit -q changed localhost/native
	eq "in a container of the commit" "overlay $(looks_right)" "$(says podman run --rm localhost/native bash -c \
		"findmnt -no FSTYPE /; $(looks)" | sed '1{N; s/\n/ /}')"
	diff <(listing localhost/native) "$T/plyfs/done.list" >"$T/differs" || fail "the commit: not as with plyfs (>): $(head -n 5 "$T/differs")"
	no_containers
}

# It sometimes shows again what was removed, and a symlink that is copied up loses its time; nothing else may differ.
as_with_fuse_overlayfs() {
	local name list times='s/^([^ ]+ l .*) [^ ]+$/\1/'
	need fuse-overlayfs
	store other "$(command -v fuse-overlayfs)"
	images
	for list in built 'done'; do
		diff <(sed -E "$times" "$S/$list.list") <(sed -E "$times" "$T/plyfs/$list.list") >"$T/differs"
		! grep '^>' "$T/differs" || fail "$list: only with plyfs"
		grep '^<' "$T/differs" | while read -r _ name _; do
			! grep -qF "$name " "$T/kernel/$list.list" || fail "$list: only with fuse-overlayfs: $name"
		done || exit
	done
	no_containers
}

at_once() {
	local i pids=() said
	for i in {1..20}; do
		podman run --name "c$i" localhost/base sh -c "echo $i >/etc/mine && rm -r /usr/share/doc && mkdir /usr/share/doc &&
			useradd u$i && sleep 2 && cat /etc/mine && id -un 1000 && ls /usr/share/doc" \
			>"$T/said.$i" 2>&1 </dev/null &
		pids+=($!)
	done
	for i in {1..20}; do
		wait "${pids[i - 1]}" || fail "container $i: $(cat "$T/said.$i")"
		eq "container $i" "$i u$i" "$(words cat "$T/said.$i")"
	done
	for i in 1 20; do
		said=$(says podman diff "c$i")
		grep -qx "A /etc/mine" <<<"$said" || fail "container $i: no /etc/mine in diff: $(grep -c . <<<"$said") lines, $(head -n 20 <<<"$said")"
	done
	no_containers
}

# Running ones are entered, stopped, started, copied from and into.
kept() {
	run podman run -d --name kept localhost/base sleep 1000
	run podman exec kept sh -c 'echo one >/srv/one; mv /usr/share/perl5 /usr/share/perl'
	echo two >"$T/two"
	run podman cp "$T/two" kept:/srv/two
	run podman stop -t 0 kept
	eq "mounts of a stopped one" "" "$(in_use)"
	run podman start kept
	eq "after a restart" "one two" "$(says podman exec kept sh -c 'cat /srv/one /srv/two; ls -d /usr/share/perl5 2>/dev/null || :' | words cat)"
	run podman cp kept:/srv/one "$T/one"
	eq "copied" one "$(cat "$T/one")"
	run podman export -o "$T/kept.tar" kept
	tar -tf "$T/kept.tar" usr/share/perl srv/one >/dev/null || fail "the export lacks names"
	no_containers
}

layers() {
	find "$S/graph/overlay" -maxdepth 2 -name diff | wc -l
}

pruned() {
	run podman rmi -f localhost/done localhost/built
	run podman image prune -f
	eq "images" "localhost/base:latest" "$(says podman images --format '{{.Repository}}:{{.Tag}}')"
	eq "layers" 1 "$(layers)"
	run podman rmi -fa
	run podman system prune -af
	eq "layers in the end" 0 "$(layers)"
}

store plyfs "$PLYFS"
check "images are committed and built" images
check "containers of them work" works
check "20 containers at once" at_once
check "a container is entered, stopped, started, copied and exported" kept
check "the same images as with the kernel's overlayfs" as_in_kernel
check "the same images as with fuse-overlayfs" as_with_fuse_overlayfs
check "the kernel's overlayfs goes on with a store" kernel_goes_on
check "prune leaves nothing" pruned
check "no mount and no server is left" no_containers
finish
