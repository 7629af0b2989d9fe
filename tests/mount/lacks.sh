#!/bin/bash
# What file systems lack: a line for each thing says so when the mount is made; and where nothing is lacking, nothing.
. "$(dirname "$0")/lib.sh"

# told [OPTIONS]: mounts L U W, and prints what is said
told() {
	"$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W${1:+,$1}" "$M" 2>&1 </dev/null || fail "exit status $?"
	mountpoint -q "$M" || fail "no mount"
}

# says LABEL TEXT [WORDS]...: the text has a line with each of the words, in that order, and no other
says() {
	local label=$1 text=$2 line
	shift 2
	eq "lines $label" $# "$(grep -c . <<<"$text")"
	while read -r line; do
		[ $# -gt 0 ] || break
		case $line in *"$1"*) ;; *) fail "no '$1' $label: $line" ;; esac
		shift
	done <<<"$text"
}

quiet() {
	need_root
	local fs said
	for fs in '' tmpfs ext4 xfs btrfs; do
		L=$D/lower U=$D/upper W=$D/work
		[ -z "$fs" ] || {
			fs_of "$fs" "$D/$fs"
			L=$D/$fs/lower U=$D/$fs/upper W=$D/$fs/work
		}
		said=$(told) || fail "$said"
		eq "said on ${fs:-the usual one}" "" "$said"
		down
	done
}

quiet_without_privilege() {
	need unshare
	chmod 777 "$D" "$L" "$U" "$W" "$M"
	[ ! -e /dev/fuse ] || [ -w /dev/fuse ] || skip "no /dev/fuse"
	# shellcheck disable=SC2016 # $1 is the inner shell's
	eq "said in a user namespace" "" "$(unshare -Urm sh -c '"$1" -o "$2" "$3" && umount "$3"' sh \
		"$PLYFS" "lowerdir=$L,upperdir=$U,workdir=$W" "$M" 2>&1 </dev/null || echo "exit status $?")"
}

# What was asked for is no lack.
as_asked() {
	eq "said" "" "$(told xattrs=none,whiteout=aufs)"
	down
	eq "said" "" "$(told whiteout=xattr,volatile)"
	down
	eq "said of a mount without an upper" "" "$("$PLYFS" -o "lowerdir=$L" "$M" 2>&1 </dev/null)"
}

on_ramfs() {
	need_root
	mount -t ramfs ramfs "$D/mnt" && mkdir "$D"/mnt/{lower,upper,work} || skip "no ramfs"
	local at=$D/mnt
	mkdir "$D/m2"
	L=$at/lower U=$at/upper W=$at/work M=$D/m2
	says "with all on ramfs" "$(told)" "extended attributes" "whiteouts behind"
	down
	U=$D/upper W=$D/work
	says "with the layer on ramfs" "$(told)" "'$L' has no file handles"
	down
	mkdir "$at/l2"
	says "with two layers on ramfs" "$("$PLYFS" -o "lowerdir=$L:$at/l2,upperdir=$U,workdir=$W" "$M" 2>&1)" "'$L' (and others)"
}

on_overlayfs() {
	need_root
	mkdir "$D"/o{0,1,2} "$D/o"
	mount -t overlay overlay -o "lowerdir=$D/o0,upperdir=$D/o1,workdir=$D/o2" "$D/o" || skip "no overlayfs"
	mkdir "$D"/o/{upper,work}
	U=$D/o/upper W=$D/o/work
	says "on overlayfs" "$(told)" "by an attribute"
}

on_plyfs() {
	mkdir "$D"/{p0,p1,p2,p,m2}
	mount_at "$D/p" "lowerdir=$D/p0,upperdir=$D/p1,workdir=$D/p2" || fail "$(cat "$T/mount.log")"
	mkdir "$D"/p/{upper,work}
	U=$D/p/upper W=$D/p/work
	says "on plyfs" "$(told)" "by an attribute"
	down
	down "$D/p"
	mount_at "$D/p" "lowerdir=$D/p0,upperdir=$D/p1,workdir=$D/p2,noxattrs" || fail "$(cat "$T/mount.log")"
	says "on plyfs without attributes" "$(told)" "no extended attributes" "by '.wh.' files"
	down
	U=$D/upper W=$D/work L=$D/p/lower
	mkdir "$L"
	says "with the layer on plyfs" "$(told)" "no file handles"
	down
	down "$D/p"
}

# A full disk has what it has when there is room.
on_a_full_disk() {
	need_root
	local i=0
	mkdir "$D/fs"
	mount -t tmpfs -o nr_inodes=100 tmpfs "$D/fs"
	mkdir "$D"/fs/{upper,work}
	U=$D/fs/upper W=$D/fs/work
	touch "$L/f"
	eq "said at first" "" "$(told)"
	down
	while : >"$D/fs/fill.$i"; do i=$((i + 1)); done 2>/dev/null
	eq "said when it is full" "" "$(told)"
	rm "$D"/fs/fill.*
	rm "$M/f"
	eq "the whiteout" "character special file" "$(stat -c %F "$U/f")"
}

# a_root: a root of its own at R, with the program and the layers of the test in it, and no /proc
a_root() {
	local dir
	R=$D/root
	mkdir -p "$R"/{usr,dev,layer,upper,work,mnt}
	cp "$PLYFS" "$R/plyfs"
	for dir in bin lib lib32 lib64 sbin; do [ ! -L "/$dir" ] || ln -s "$(readlink "/$dir")" "$R/$dir"; done
	mount --bind /usr "$R/usr" && mount --bind /dev "$R/dev" || skip "no bind mounts"
}

# Attributes are read without it, also those of a layer's root, which say how owners are kept.
without_proc() {
	need_root
	need chroot getfattr
	a_root
	echo x >"$R/layer/f"
	setfattr -n user.containers.override_stat -v 7:8:0755 "$R/layer"
	setfattr -n user.containers.override_stat -v 1:2:0640 "$R/layer/f"
	setfattr -n user.note -v kept "$R/layer"
	# shellcheck disable=SC2016
	eq "what is seen" "7:8 1:2 kept" "$(chroot "$R" sh -c '/plyfs -o lowerdir=/layer /mnt && stat -c %u:%g /mnt /mnt/f &&
		getfattr --absolute-names --only-values -n user.note /mnt; umount /mnt' 2>&1 | words cat)"
	says "without /proc" "$(chroot "$R" sh -c '/plyfs -o lowerdir=/layer,upperdir=/upper,workdir=/work /mnt; umount /mnt' 2>&1)" \
		"/proc is not mounted"
}

# A kernel that has no other way than /proc shows nothing rather than another tree.
without_proc_on_older_kernels() {
	need_root
	need chroot
	a_root
	py chroot "$R" /plyfs -o lowerdir=/layer /mnt >"$D/out" 2>&1 <<'P'
# A filter of system calls: those from 463 to 466, that read and write attributes of a name, are not there.
LOAD, ABOVE, EQUAL_OR_ABOVE, RETURN = 0x20, 0x25, 0x35, 0x06
code = [(LOAD, 0, 0, 0), (EQUAL_OR_ABOVE, 0, 2, 463), (ABOVE, 1, 0, 466), (RETURN, 0, 0, 0x50000 | errno.ENOSYS),
        (RETURN, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
if libc.prctl(22, 2, struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text))):
    skip("no seccomp")
eq("exit status", 1, subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, timeout=30).returncode)
P
	says "on an older kernel" "$(cat "$D/out")" "by way of /proc"
}

holds "nothing is said on usual file systems" quiet
holds "nor in a user namespace" quiet_without_privilege
holds "nor of what was asked for" as_asked
holds "ramfs" on_ramfs
holds "an upper on overlayfs" on_overlayfs
holds "layers on plyfs" on_plyfs
holds "a full disk is not taken for a poor one" on_a_full_disk
holds "no /proc" without_proc
holds "no /proc, on older kernels" without_proc_on_older_kernels
finish
