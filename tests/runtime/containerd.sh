#!/bin/bash
# containerd with a snapshotter whose mounts are plyfs's: images are unpacked, containers run, differences are made.
# SNAPSHOTTER=PROGRAM runs it with that in place of snapshotter.py, such as containerd-fuse-overlayfs-grpc.
# timeout: 300
. "$(dirname "$0")/lib.sh"
need containerd ctr mount.fuse3
/usr/bin/python3 -c 'import grpc' 2>/dev/null || skip "python3-grpcio is not installed"

# Snapshots of two kinds: the program has to be found by the name that the type of a mount has. That of `kernel` is
# containerd's own, of the kernel's overlayfs.
K=$T/containerd at=$T/containerd/at
kinds=(fuse-overlayfs plyfs)

daemon() {
	local kind i
	mkdir -p "$at" "$T/bin"
	ln -s "$PLYFS" "$T/bin/fuse-overlayfs"
	ln -s "$PLYFS" "$T/bin/plyfs"
	printf '#!/bin/sh\nexec crun --cgroup-manager=disabled "$@"\n' >"$T/bin/runs"
	chmod +x "$T/bin/runs"
	export PATH=$T/bin:$PATH CONTAINERD_ADDRESS=$K/socket
	# Shims have their sockets there, wherever the daemon has its own.
	mount -t tmpfs tmpfs /run || skip "no tmpfs"
	cat >"$K/config.toml" <<-E
		version = 2
		root = "$K/root"
		state = "$K/state"
		disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
		[grpc]
		  address = "$K/socket"
		[proxy_plugins]
	E
	for kind in "${kinds[@]}"; do
		printf '[proxy_plugins.%s]\ntype = "snapshot"\naddress = "%s"\n' "$kind" "$K/$kind.socket" >>"$K/config.toml"
		if [ -n "${SNAPSHOTTER:-}" ]; then
			"$SNAPSHOTTER" "$K/$kind.socket" "$K/$kind" >"$K/$kind.log" 2>&1 </dev/null &
		else
			/usr/bin/python3 "$top/tests/runtime/snapshotter.py" "$K/$kind.socket" "$K/$kind" "fuse3.$kind" >"$K/$kind.log" 2>&1 </dev/null &
		fi
		daemons+=($!)
	done
	for ((i = 0; i < 1500; i++)); do
		[ ! -S "$K/fuse-overlayfs.socket" ] || [ ! -S "$K/plyfs.socket" ] || break
		sleep 0.02
	done
	containerd -c "$K/config.toml" >"$K/log" 2>&1 </dev/null &
	daemons+=($!)
	for ((i = 0; i < 500; i++)); do
		! timeout 5 ctr version >/dev/null 2>&1 || return 0
		sleep 0.02
	done
	skip "containerd does not start: $(tail -n 1 "$K/log")"
}

# An image of two layers. The second removes, and replaces a directory.
image() {
	small_root "$T/box"
	mkdir -p "$T/box/"{etc/d,lib/more}
	touch "$T/box/etc/"{gone,d/a,d/b} "$T/box/lib/more/"{x,y}
	find "$T/box" -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +
	tar -C "$T/box" -cf "$T/box.tar" .
	store kernel
	run podman import -q "$T/box.tar" localhost/one
	run podman run --name two localhost/one sh -c 'rm /etc/gone; rm -r /etc/d; mkdir /etc/d; touch /etc/d/c; echo second >/etc/second'
	run podman commit -q two localhost/box
	run podman save -q --format oci-archive -o "$T/box.oci" localhost/box
	run podman rm -f two
}

ref=localhost/box:latest
# starts KIND NAME COMMANDS: a container that stays when it has ended
starts() {
	says ctr run --snapshotter "$1" --runc-binary "$T/bin/runs" "$ref" "$2" sh -ec "$3"
}

# type_of KIND: what the mount table calls its mounts
type_of() {
	case $1 in
	overlayfs) echo overlay ;;
	*) echo "fuse.${SNAPSHOTTER:+fuse-overlayfs}${SNAPSHOTTER:-$1}" | sed 's|/.*||' ;;
	esac
}

# mounted KIND COMMAND KEY PARENT: makes that snapshot, of the kind `view` or `prepare`, and mounts it on $at, by the
# call of mount.fuse3 that containerd makes of such a mount
mounted() {
	says ctr snapshots --snapshotter "$1" "$2" --target "$at" "$3" "$4" |
		sed -E 's/^mount -t fuse3\.([^ ]+) (.*)/mount.fuse3 \2 -t \1/' >"$T/mount"
	run sh "$T/mount"
}

unpacked() {
	local kind image
	for kind in overlayfs "${kinds[@]}"; do
		run ctr images import --snapshotter "$kind" "$T/box.oci"
		image=$(says ctr snapshots --snapshotter "$kind" ls | awk 'NF == 3 && $3 == "Committed" { print $1 }')
		mounted "$kind" view look "$image"
		eq "its type" "$(type_of "$kind")" "$(findmnt -no FSTYPE "$at")"
		tree_of "$at" | grep -v "^[.] d " >"$T/tree.$kind" # each import makes a root
		run umount "$at"
		# It is removed by itself, as nothing refers to it.
		diff "$T/tree.overlayfs" "$T/tree.$kind" || fail "$kind: not what the kernel's overlayfs shows (<)"
	done
	grep -q '^./etc/d/c ' "$T/tree.plyfs" || fail "nothing of the second layer is there"
	! grep -E '^./etc/(gone|d/a) ' "$T/tree.plyfs" || fail "what the second layer removes is there"
}

changes='grep -o "^[^ ]* / [^ ]*" /proc/mounts
	echo more >>/etc/passwd; ln /etc/passwd /etc/linked; chown 5:6 /etc/linked; chmod 4750 /etc/linked
	rm /etc/second; rm -r /etc/d; mkdir /etc/d; echo new >/etc/d/new; mv /lib/more /lib/moved
	touch -d "2002-03-04 05:06:07" /etc/d/new /etc/linked
	ls /etc/d /lib; stat -c %h:%u:%g:%a /etc/passwd'

# listed FILE: what the tar of a layer has in it, but for times of directories, which the container made
listed() {
	/usr/bin/python3 - "$1" <<-'P'
		import sys, tarfile
		with tarfile.open(sys.argv[1]) as tar:
		    for m in sorted(tar, key=lambda m: m.name):
		        time = "" if m.isdir() or "/.wh." in m.name else int(m.mtime)
		        print(m.name, m.type, oct(m.mode), m.uid, m.gid, m.size, m.linkname, time, sorted(m.pax_headers.items()))
	P
}

changed() {
	local kind said
	for kind in overlayfs "${kinds[@]}"; do
		said=$(starts "$kind" "c-$kind" "$changes" | words tr -s '\n')
		eq "in the container" "$(type_of "$kind") /etc/d: new /lib: moved 2:5:6:4750" "${said#* / }"
		timeout 60 ctr snapshots --snapshotter "$kind" diff "c-$kind" >"$T/diff.$kind" 2>"$T/stderr" || fail "diff: $(cat "$T/stderr")"
		listed "$T/diff.$kind" >"$T/listed.$kind"
		diff "$T/listed.overlayfs" "$T/listed.$kind" || fail "$kind: not the layer that the kernel's overlayfs makes (<)"
	done
	for said in etc/.wh.second etc/linked etc/d/new lib/.wh.more lib/moved/x; do
		grep -q "^$said " "$T/listed.plyfs" || fail "no $said in the layer: $(cat "$T/listed.plyfs")"
	done
}

# The layer of a container becomes one of the stack that the next ones have.
committed() {
	local kind
	for kind in "${kinds[@]}"; do
		run ctr containers rm "c-$kind" # before, as that removes the snapshot by its name
		starts "$kind" kept "$changes" >/dev/null
		run ctr snapshots --snapshotter "$kind" commit layer kept
		mounted "$kind" prepare next layer
		grep -q 'lowerdir=.*:.*:' "$T/mount" || fail "not three layers: $(cat "$T/mount")"
		says ctr run --rootfs --env PATH=/bin --runc-binary "$T/bin/runs" "$at" on-it /bin/sh -ec \
			'ls /etc/d /lib; cat /etc/linked; stat -c %h:%u:%g:%a /etc/passwd; rm /etc/linked; ls /etc' >"$T/said"
		eq "in a container on it" "/etc/d: new /lib: moved root:x:0:0::/:/bin/sh more 2:5:6:4750" "$(head -n 8 "$T/said" | words tr -s '\n')"
		! grep -x linked "$T/said" || fail "it is not gone"
		run fusermount3 -u "$at"
		run ctr containers rm on-it kept
		run ctr snapshots --snapshotter "$kind" rm next layer
	done
}

at_once() {
	local i pids=() kind=${kinds[0]}
	for i in {1..5}; do
		starts "$kind" "many$i" "echo $i >/etc/mine; rm /etc/second; ln /etc/mine /etc/mine2; sleep 1; cat /etc/mine2; ls /etc/d" >"$T/said.$i" &
		pids+=($!)
	done
	for i in {1..5}; do
		wait "${pids[i - 1]}" || fail "container $i: $(cat "$T/said.$i")"
		eq "container $i" "$i c" "$(words cat "$T/said.$i")"
	done
	run ctr containers rm many{1..5}
}

nothing_left() {
	local kind i left
	run ctr containers rm c-overlayfs
	run ctr images rm --sync "$ref"
	for kind in "${kinds[@]}"; do
		for ((i = 0; i < 500; i++)); do
			left=$(find "$K/$kind/snapshots" -mindepth 1 -maxdepth 1)
			[ -n "$left" ] || break
			sleep 0.02
		done
		eq "$kind: directories of snapshots" "" "$left"
	done
	eq "mounts" "" "$(awk -v k="$K/" 'index($5, k) == 1 && $0 ~ " fuse" { print $5 }' /proc/self/mountinfo)"
	for i in $(pgrep -f "$K/.*/snapshots/"); do gone "$i" 20 || fail "a server still runs: $(tr '\0' ' ' <"/proc/$i/cmdline")"; done
}

daemons=()
daemon
image
check "images are unpacked and mounted, and are as with the kernel's overlayfs" unpacked
check "containers write, and the layers of them are as with the kernel's overlayfs" changed
check "the layer of a container is committed, and used by others" committed
check "5 containers at once" at_once
check "nothing is left" nothing_left
kill "${daemons[@]}"
wait
finish
