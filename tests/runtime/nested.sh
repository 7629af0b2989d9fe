#!/bin/bash
# Containers in a container: podman and buildah with plyfs on a root that is itself plyfs, upper and layers and all.
# timeout: 300
. "$(dirname "$0")/lib.sh"

# What the inner ones are given: the programs of this machine, and files to be put in place.
given() {
	G=$T/given
	mkdir -p "$G/etc" "$G/context/in" "$G/out"
	cp "$PLYFS" "$G/plyfs"
	ln "$T/root.tar" "$G/root.tar"
	cat >"$G/etc/storage.conf" <<-'E'
		[storage]
		driver = "overlay"
		graphroot = "/var/lib/containers/storage"
		runroot = "/run/containers/storage"
		[storage.options.overlay]
		mount_program = "/given/plyfs"
	E
	cat >"$G/etc/containers.conf" <<-'E'
		[containers]
		cgroups = "disabled"
		netns = "none"
		default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		lock_type = "file"
		runtime = "crun"
	E
	echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$G/etc/policy.json"
	: >"$G/etc/registries.conf"
	work >"$G/work"
	looks >"$G/looks"
	built_looks >"$G/built_looks"
}

# inside OPTIONS... -- COMMANDS: in a container with those options and /dev/fuse, with a store of its own
inside() {
	local options=()
	while [ "$1" != -- ]; do options+=("$1") && shift; done
	says podman run --rm --device /dev/fuse -v /usr:/usr:ro -v "$G:/given" "${options[@]}" localhost/base bash -ec \
		"mkdir /etc/containers && cp /given/etc/* /etc/containers
		grep -q '^plyfs / fuse.plyfs ' /proc/mounts
		podman import -q /given/root.tar localhost/base >/dev/null
		$2"
}

# As root with all rights: a container in a container, committed, and one of the commit.
podman_in_podman() {
	eq "in a container of the commit" "$(looks_right)" "$(inside --privileged -- '
		podman run --name changed localhost/base bash -c "$(cat /given/work)" >/dev/null
		podman commit -q changed localhost/done >/dev/null
		podman run --rm localhost/done bash -c "$(cat /given/looks)"
		podman rm -f changed >/dev/null')"
}

# Without CAP_SYS_ADMIN, in a user namespace that buildah makes: a Containerfile, and the image is the one made outside.
buildah_in_podman() {
	built podman build -q --isolation chroot
	listing localhost/built >"$T/outside"
	cp -a "$S/context/." "$G/context"
	eq "built" "$(built_right)" "$(inside --security-opt seccomp=unconfined -- '
		buildah build -q --isolation chroot -t localhost/built /given/context >/dev/null
		buildah push -q -D localhost/built dir:/given/out/image
		buildah from --name look --pull-never localhost/built >/dev/null
		buildah run --isolation chroot look -- bash -c "$(cat /given/built_looks)"')"
	/usr/bin/python3 "$top/tests/runtime/layers.py" "$G/out/image" "$began" >"$T/list" || fail "layers.py"
	diff "$T/outside" <(grep -Ev '^(var/log|var/cache/ldconfig|run|tmp|root)(/| )' "$T/list") ||
		fail "the image is not as it is made outside (<)"
}

store plyfs "$PLYFS"
base_image
given
check "podman in podman" podman_in_podman
check "a build in a container without privilege" buildah_in_podman
check "no mount and no server is left" no_containers
finish
