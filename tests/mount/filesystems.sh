#!/bin/bash
# File systems: layers on each that the machine has, an upper on each that can be written, and nothing lost between.
# timeout: 600
. "$(dirname "$0")/lib.sh"
need_root

# equal WANTED GOT: as `same`, but for what only some file systems show (xfs shows ACLs a second time)
equal() {
	diff <(tree_of "$1" | grep -v '^trusted.SGI_ACL') <(tree_of "$2" | grep -v '^trusted.SGI_ACL') ||
		fail "not the tree that was wanted (<)"
}

# Times of the upper's root are shown as the mount's: they are set to what a copy has.
whole_times() {
	touch -d '2011-12-13 14:15:16 UTC' "$1"
}

# in_turn: a sample on L, changed by way of the mount, equals a plain copy that was changed in the same way.
in_turn() {
	mkdir "$D/want"
	cp -a "$D/sample/." "$D/want"
	touch -d '2001-02-03 04:05:06 UTC' "$U"
	up
	equal "$D/want" "$M"
	change "$D/want"
	change "$M"
	whole_times "$D/want"
	whole_times "$M"
	equal "$D/want" "$M"
	again
	equal "$D/want" "$M"
}

lower_on() {
	sample "$D/sample"
	case $1 in
	squashfs)
		need mksquashfs
		setfacl -R -bk "$D/sample" # it keeps none
		mksquashfs "$D/sample" "$D/image" -no-progress -quiet >"$D/out" 2>&1 || fail "mksquashfs: $(tail -n 1 "$D/out")"
		mount -o loop,ro "$D/image" "$L" || skip "no squashfs"
		;;
	erofs)
		need mkfs.erofs
		mv "$D"/sample/nnn* "$D/sample/nnn" # its mkfs cannot do 255 bytes
		touch -d '2001-02-03 04:05:06 UTC' "$D/sample"
		mkfs.erofs "$D/image" "$D/sample" >"$D/out" 2>&1 || fail "mkfs.erofs: $(tail -n 1 "$D/out")"
		mount -o loop,ro "$D/image" "$L" || skip "no erofs"
		;;
	overlayfs)
		mkdir "$D"/o{1,2,3}
		cp -a "$D/sample/." "$D/o1"
		mount -t overlay overlay -o "lowerdir=$D/o1,upperdir=$D/o2,workdir=$D/o3" "$L" || skip "no overlayfs"
		chmod 4711 "$L/bin/set-id" # copied up, for some
		chmod 4755 "$L/bin/set-id"
		touch -d '2001-02-03 04:05:06 UTC' "$L"
		;;
	*)
		fs_of "$1" "$D/fs"
		L=$D/fs/lower
		cp -a "$D/sample/." "$L"
		;;
	esac
	in_turn
}

upper_on() {
	sample "$D/sample"
	cp -a "$D/sample/." "$L"
	fs_of "$1" "$D/fs"
	U=$D/fs/upper W=$D/fs/work
	in_turn
}

# An upper on overlayfs takes no 0:0 devices.
upper_on_overlayfs() {
	sample "$D/sample"
	cp -a "$D/sample/." "$L"
	mkdir "$D"/o{0,1,2} "$D/o"
	mount -t overlay overlay -o "lowerdir=$D/o0,upperdir=$D/o1,workdir=$D/o2" "$D/o" || skip "no overlayfs"
	mkdir "$D"/o/{upper,work}
	U=$D/o/upper W=$D/o/work
	in_turn
}

# The second stack has the first, mounted, as its lower.
lower_on_plyfs() {
	sample "$D/sample"
	mkdir "$D"/p{1,2,3}
	cp -a "$D/sample/." "$D/p1"
	touch -d '2001-02-03 04:05:06 UTC' "$D/p2"
	mount_at "$L" "lowerdir=$D/p1,upperdir=$D/p2,workdir=$D/p3" || fail "no mount: $(cat "$T/mount.log")"
	in_turn
	down
	untouched
	seen=''
	down "$L"
}

# A server that is started again gives the numbers of its nodes to other files: hard links are not known by them.
other_numbers_on_plyfs() {
	mkdir "$D/p1"
	for name in a c; do
		echo "$name" >"$D/p1/$name"
		ln "$D/p1/$name" "$D/p1/$name.link"
	done
	mount_at "$L" "lowerdir=$D/p1" || fail "no mount: $(cat "$T/mount.log")"
	up
	echo more >>"$M/a"
	eq "the other link" "a more" "$(words cat "$M/a.link")"
	down
	down "$L"
	mount_at "$L" "lowerdir=$D/p1" || fail "no mount: $(cat "$T/mount.log")"
	stat "$L/c" >"$D/out"
	up
	eq "another file" c "$(cat "$M/c")"
	eq "the changed one" "a more" "$(words cat "$M/a")"
	down
	seen=''
	down "$L"
}

# Without extended attributes nothing can be marked, yet all is seen.
no_xattrs() {
	mount -t ramfs ramfs "$L" || skip "no ramfs"
	setfattr -n user.x -v y "$L" 2>/dev/null && fail "there are xattrs after all"
	mkdir -p "$L/d/e" "$D/l2/d/e"
	echo f >"$L/d/e/f"
	echo g >"$D/l2/d/e/g"
	chown -R 1000 "$L/d"
	touch "$L/d/.wh.gone" "$D/l2/d/gone"
	up "$L:$D/l2"
	eq "names" "d d/e d/e/f d/e/g" "$(names "$M")"
	eq "as another user" $'f\ng' "$(as 1001 cat "$M/d/e/f" "$M/d/e/g" 2>&1)"
	echo more >>"$M/d/e/f"
	setfattr -n user.x -v y "$M/d/e/f" || fail "the upper has xattrs"
	rm "$M/d/e/g"
	again
	eq "names after a remount" "d d/e d/e/f" "$(names "$M")"
	eq "xattr" y "$(getfattr --absolute-names --only-values -n user.x "$M/d/e/f")"
}

upper_without_xattrs() {
	mkdir "$D/fs"
	mount -t ramfs ramfs "$D/fs" || skip "no ramfs"
	mkdir "$D"/fs/{upper,work}
	U=$D/fs/upper W=$D/fs/work
	mkdir -p "$L/d/e" "$L/gone"
	echo f >"$L/d/e/f"
	echo x >"$L/gone/x"
	setfattr -n user.x -v y "$L/d/e/f"
	up
	echo more >>"$M/d/e/f"
	rm -r "$M/gone"
	mkdir "$M/gone"
	touch "$M/gone/new"
	eq "names" "d d/e d/e/f gone gone/new" "$(names "$M")"
	chown -R 1000 "$M/d"
	eq "as another user" $'f\nmore' "$(as 1001 cat "$M/d/e/f" 2>&1)"
	again
	eq "names after a remount" "d d/e d/e/f gone gone/new" "$(names "$M")"
	eq "content" $'f\nmore' "$(cat "$M/d/e/f")"
}

# served KIND: another FUSE file system on $D/fs; what is behind it, if that is a directory, is $D/behind
served() {
	local at=$D/fs
	mkdir -p "$D/behind" "$at"
	case $1 in
	bindfs)
		need bindfs
		bindfs "$D/behind" "$at"
		;;
	sshfs)
		need sshfs
		[ -x /usr/lib/openssh/sftp-server ] || skip "no sftp-server"
		# Without a connection: the server runs here.
		printf '#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n' >"$D/ssh" && chmod +x "$D/ssh"
		sshfs -o "ssh_command=$D/ssh,allow_other,default_permissions" "host:$D/behind" "$at"
		;;
	fuse2fs)
		need fuse2fs
		fuse2fs -o ro,allow_other "$D/image" "$at"
		;;
	fuse-overlayfs)
		need fuse-overlayfs
		mkdir "$D"/o{1,2}
		fuse-overlayfs -o "lowerdir=$D/behind,upperdir=$D/o1,workdir=$D/o2" "$at"
		;;
	plyfs)
		mkdir "$D"/o{1,2}
		mount_at "$at" "lowerdir=$D/behind,upperdir=$D/o1,workdir=$D/o2"
		;;
	esac >"$D/out" 2>&1 </dev/null || fail "$1: $(cat "$D/out")"
	mountpoint -q "$at" || fail "$1: no mount: $(cat "$D/out")"
}

lower_by() {
	sample "$D/sample"
	mv "$D"/sample/nnn* "$D/sample/nnn" # fuse-overlayfs cannot do 255 bytes
	touch -d '2001-02-03 04:05:06 UTC' "$D/sample"
	if [ "$1" = fuse2fs ]; then
		need mkfs.ext4 debugfs
		mkfs.ext4 -q -d "$D/sample" "$D/image" 64M && debugfs -w -R 'rmdir lost+found' "$D/image" || fail "no image"
	else
		cp -a "$D/sample" "$D/behind"
	fi
	served "$1"
	L=$D/fs
	in_turn
	down
	seen='' # link counts of fuse-overlayfs change with what has been seen
	[ "$1" = fuse2fs ] || same "$D/sample" "$D/behind"
}

upper_by() {
	sample "$D/sample"
	cp -a "$D/sample/." "$L"
	served "$1"
	mkdir "$D"/fs/{upper,work}
	U=$D/fs/upper W=$D/fs/work
	in_turn
}

# It lists a directory once for each time that it is opened. Neither devices nor attributes, and links are others.
by_sshfs() {
	served sshfs
	mkdir -p "$D/fs/"{lower/{d/sub,e},upper,work}
	echo low | tee "$D"/fs/lower/{low,low2,d/f,d/sub/g} >"$D/fs/lower/e/h"
	L=$D/fs/lower U=$D/fs/upper W=$D/fs/work
	up
	local i
	for i in 1 2 3; do
		eq "names, time $i" "d d/f d/sub d/sub/g e e/h low low2" "$(names "$M")"
		echo 2 >/proc/sys/vm/drop_caches
	done
	cd "$M" || exit
	echo more >>low && mv low2 low3 && rm -r d/sub && mkdir d/sub && touch d/sub/new && mv d d2 || fail "changes"
	rm -r e && ln -s low e && ln low hard && truncate -s 3 low3 && chmod 600 low3 || fail "more changes"
	for i in "at once" "after the caches are dropped" "after a remount"; do
		eq "names $i" "d2 d2/f d2/sub d2/sub/new e hard low low3" "$(names "$M")"
		eq "contents $i" "low more low more low more|low|600" \
			"$(cd "$M" && words cat low hard e)|$(cat "$M/low3")|$(stat -c %a "$M/low3")"
		echo 2 >/proc/sys/vm/drop_caches
		cd "$D" || exit
		[ "$i" = "at once" ] || again
	done
	down
	eq "the layer" "d d/f d/sub d/sub/g e e/h low low2" "$(names "$L")"
	seen=''
}

# It takes names and attributes by which a removal could be marked, and then hides them: rather no mount than a
# wrong one.
upper_on_fuse_overlayfs() {
	served fuse-overlayfs
	mkdir "$D"/fs/{upper,work}
	refused "lowerdir=$L,upperdir=$D/fs/upper,workdir=$D/fs/work" "mark removed names" "$D/fs/upper"
}

# Where the upper can share blocks, a copy-up of a big file is quick and takes no room.
shared_blocks() {
	loopfs "$D/fs" 512M mkfs.xfs -q -m reflink=1
	mkdir "$D"/fs/{lower,upper,work}
	L=$D/fs/lower U=$D/fs/upper W=$D/fs/work
	head -c 128M /dev/urandom >"$L/big"
	cp "$L/big" "$D/want"
	sync -f "$L"
	local before used
	before=$(stat -f -c %a "$L")
	up
	echo X | dd of="$M/big" bs=1 seek=1000 conv=notrunc status=none
	echo X | dd of="$D/want" bs=1 seek=1000 conv=notrunc status=none
	down
	cmp "$U/big" "$D/want" || fail "the content differs"
	sync -f "$L"
	used=$(((before - $(stat -f -c %a "$L")) * $(stat -f -c %S "$L") >> 20))
	[ $used -lt 16 ] || fail "the copy-up took $used MiB"
}

for fs in ext4 xfs btrfs tmpfs squashfs erofs overlayfs; do
	lower() { lower_on $fs; }
	holds "a layer on $fs" lower
done
for fs in ext4 xfs btrfs tmpfs; do
	upper() { upper_on $fs; }
	holds "an upper on $fs" upper
done
holds "an upper on overlayfs" upper_on_overlayfs
holds "a layer on another plyfs" lower_on_plyfs
holds "a plyfs below that is started again" other_numbers_on_plyfs
holds "a layer without xattrs" no_xattrs
holds "an upper without xattrs" upper_without_xattrs
for fs in bindfs fuse2fs fuse-overlayfs; do
	lower() { lower_by $fs; }
	holds "a layer by $fs" lower
done
for fs in bindfs plyfs; do
	upper() { upper_by $fs; }
	holds "an upper by $fs" upper
done
holds "layer and upper by sshfs" by_sshfs
holds "an upper by fuse-overlayfs is refused" upper_on_fuse_overlayfs
holds "a copy-up shares blocks where it can" shared_blocks
finish
