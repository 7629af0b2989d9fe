#!/bin/bash
# Owners, modes and devices in an extended attribute: what was stored so is shown, and what is done is stored so.
. "$(dirname "$0")/lib.sh"
need_root

STAT=user.containers.override_stat

# stored PATH VALUE: as containers-storage writes a file, with a mask of 0700
stored() {
	[ -e "$1" ] || echo "$2" >"$1"
	setfattr -n $STAT -v "$2" "$1" || fail "setfattr"
	chmod 700 "$1"
}

# A layer as a store with force_mask has it.
masked() {
	mkdir -p "$L/etc" "$L/tmp" "$L/dev"
	stored "$L" 0:0:0555
	stored "$L/etc" 0:0:0755:dir
	stored "$L/tmp" 0:0:1777:dir
	stored "$L/dev" 0:0:0755
	stored "$L/etc/shadow" 0:42:0640:file
	stored "$L/su" 0:0:4755:file
	stored "$L/joe" 1000:1000:0600:file
	: >"$L/dev/null"
	stored "$L/dev/null" 0:0:0666:char-1-3
	stored "$L/dev/disk" 0:6:0660:block-8-0
	stored "$L/fifo" 5:5:0622:pipe
	stored "$L/socket" 5:5:0600:socket
	cp /bin/true "$L/capable"
	stored "$L/capable" 0:0:0755
	setfattr -n user.containers.override_security.capability -v 0x0100000200200000000000000000000000000000 "$L/capable"
	ln -s su "$L/link"
}

# described DIR: type, mode, owner and device of all in it
described() {
	(cd "$1" && find . -printf '%p %y %m %U:%G\n' | sort && stat -c '%n %t:%T' dev/* && getcap -r . 2>/dev/null)
}

described_masked="$(
	cat <<'E'
. d 555 0:0
./capable f 755 0:0
./dev d 755 0:0
./dev/disk b 660 0:6
./dev/null c 666 0:0
./etc d 755 0:0
./etc/shadow f 640 0:42
./fifo p 622 5:5
./joe f 600 1000:1000
./link l 777 0:0
./socket s 600 5:5
./su f 4755 0:0
./tmp d 1777 0:0
dev/disk 8:0
dev/null 1:3
./capable cap_net_raw=ep
E
)"

shown() {
	masked
	"$PLYFS" -o "lowerdir=$L" "$M" || fail "mount"
	alike "read-only" "$described_masked" "$(described "$M")"
	eq "types in a listing" "$(cd "$M" && find . -printf '%p %y\n' | sort)" "$(cd "$M" && find . -type d -printf '%p d\n' -o -type c -printf '%p c\n' \
		-o -type b -printf '%p b\n' -o -type p -printf '%p p\n' -o -type s -printf '%p s\n' -o -type l -printf '%p l\n' -o -printf '%p f\n' | sort)"
	eq "attributes" "" "$(getfattr -dm user. "$M/su" "$M" 2>/dev/null)"
	as 1000 cat "$M/joe" >/dev/null || fail "the owner may not read"
	as 1001 cat "$M/joe" 2>/dev/null && fail "another may"
	down
	# Over an upper that has true owners: what comes up has them.
	chmod 555 "$U"
	up "$L"
	alike "over a plain upper" "$described_masked" "$(described "$M")"
	chmod 666 "$M/dev/null" && touch -d 2001-01-01 "$M/su" "$M/joe" "$M/fifo" "$M/capable" "$M/tmp" "$M/etc/shadow" || fail "bringing up"
	chmod 4755 "$M/su"
	alike "brought up" "$described_masked" "$(described "$M")"
	again
	alike "brought up, after a remount" "$described_masked" "$(described "$M")"
	down
	eq "on disk" "0:0 4755 1000:1000 600" "$(stat -c '%u:%g %a' "$U/su" "$U/joe" | xargs)"
	eq "attributes on disk" "" "$(getfattr -dm override "$U/su" "$U/joe" "$U/tmp" 2>/dev/null)"
}

# Everything that root can do, by somebody who can do nothing of it.
done_by_a_plain_user() {
	masked
	: >"$T/mount.log"
	chmod 666 "$T/mount.log"
	mkdir "$D/plain"
	chown -R 1000:1000 "$L" "$U" "$W" "$M"
	chmod 777 "$D"
	work() {
		cd "$1" || exit 1
		umask 022
		echo more >>etc/shadow
		chown 3:4 joe
		chmod 2755 tmp
		mkdir tmp/sub
		chown 7:8 dev/null
		chmod 640 dev/null
		mkfifo pipe
		chmod 620 dev/disk
		mv dev/disk dev/disk2
		cp -a su su2
		chown 5 su
		ln su su-link
		echo new | setpriv --reuid 1234 --regid 1234 --clear-groups tee tmp/mine >/dev/null 2>&1
		install -o 5 -g 6 -m 6755 /bin/true set-id
		rm joe link
		tar -cf - etc/shadow tmp su2 set-id | (mkdir copy && tar -C copy -xpf -)
		rm -rf etc
		mkdir etc
		chmod 700 etc
	}
	# Sizes and links of directories are the file systems' own.
	unwatched() {
		(cd "$1" && find . -type s -prune -o -type d -printf '%p %y %m %U:%G\n' -o -printf '%p %y %m %U:%G %n %s %l\n' | sort &&
			stat -c '%n %t:%T' dev/*)
	}
	# By root in a plain directory: what it should look like.
	"$PLYFS" -o "lowerdir=$L" "$M" && cp -a "$M/." "$D/plain" && umount "$M" || fail "copying"
	(work "$D/plain") || fail "in a plain directory"
	private_fuse
	export L U W M D T
	# As root of a user namespace, who is uid 1000 outside.
	/usr/bin/python3 "$top/tests/mount/userns.py" 1000 "0 1000 1,1 100000 65535" bash -c "$(declare -f)
		seen=- failures=0 last_up=()
		up \"\$L\" xattr_permissions=2
		(work \"\$M\") || fail 'in the mount'
		unwatched \"\$M\" >\"\$D/live\"
		again
		unwatched \"\$M\" >\"\$D/later\"
		down" || exit
	unwatched "$D/plain" >"$D/wanted"
	alike "live" "$(cat "$D/wanted")" "$(cat "$D/live")"
	alike "after a remount" "$(cat "$D/wanted")" "$(cat "$D/later")"
	eq "owners on disk" 1000 "$(find "$U" -printf '%U\n' | sort -u | xargs)"
	eq "set-id bits on disk" "" "$(find "$U" -perm /6000)"
	eq "devices on disk" "" "$(find "$U" -type b)"
}

# private_fuse: /dev/fuse is for everybody from here on
private_fuse() {
	mknod -m 666 "$D/fuse" c 10 229
	mount --bind "$D/fuse" /dev/fuse
	trap 'umount /dev/fuse' EXIT
}

# What the predecessor began in an upper plyfs goes on with, and the other way round.
with_the_predecessor() {
	need fuse-overlayfs
	local options=lowerdir=$L,upperdir=$U,workdir=$W,xattr_permissions=2
	theirs() {
		fuse-overlayfs -o "$options" "$M" 2>"$D/err" || fail "fuse-overlayfs: $(cat "$D/err")"
		"$@"
		umount "$M"
		while [ -n "$(server 2>/dev/null)" ]; do sleep 0.02; done
	}
	look() { (cd "$M" && find . -printf '%p %y %m %U:%G\n' | sort) >"$D/$1"; }
	their_work() {
		mkdir "$M/theirs" && chown 9:9 "$M/theirs"
		echo z >"$M/theirs/file"
		chmod 640 "$M/theirs/file"
	}
	mkdir "$L/d"
	echo x >"$L/f"
	chown 5:6 "$L/f"
	chmod 4755 "$L/f"
	theirs their_work
	up "$L" xattr_permissions=2
	eq "theirs" "9:9 755 0:0 640" "$(stat -c '%u:%g %a' "$M/theirs" "$M/theirs/file" | xargs)"
	mkdir "$M/new" && chown 7:8 "$M/new" && chmod 1775 "$M/new" && echo y >"$M/new/file" && chmod 600 "$M/new/file"
	echo more >>"$M/f"
	chmod 4755 "$M/f"
	chown 3 "$M/theirs/file"
	look plyfs
	down
	theirs look fuse-overlayfs
	alike "read by fuse-overlayfs" "$(cat "$D/plyfs")" "$(cat "$D/fuse-overlayfs")"
}

# A new upper begins with the root that the layers show, and goes on with what it began with.
roots() {
	mkdir "$L/d"
	stored "$L" 3:4:0751
	up "$L" xattr_permissions=2
	eq "the root" "3:4 751" "$(stat -c '%u:%g %a' "$M")"
	chown 5:6 "$M"
	again
	eq "the root after a change" "5:6 751" "$(stat -c '%u:%g %a' "$M")"
	touch "$M/f"
	chown 9 "$M/f"
	down
	up "$L" dev
	eq "without the option" "5:6 9" "$(stat -c %u:%g "$M") $(stat -c %u "$M/f")"
	mknod "$M/null" c 1 3 && echo x >"$M/null" && [ ! -s "$M/null" ] || fail "a device"
	eq "a device on disk" "regular empty file" "$(stat -c %F "$U/null")"
	setfacl -m u:5:r "$M/f" 2>/dev/null && fail "it takes an access control list, which it cannot keep"
	down
	refused "lowerdir=$L,xattr_permissions=3" xattr_permissions
	mkdir "$D/fs"
	mount -t tmpfs tmpfs "$D/fs"
	mkdir "$D/fs/upper" "$D/fs/work"
	mount_at "$M" "lowerdir=$L,upperdir=$D/fs/upper,workdir=$D/fs/work,xattr_permissions=1" || fail "no mount: $(cat "$T/mount.log")"
	chown 8:8 "$M/d" || fail "chown"
	eq "in the security space" "8:8" "$(stat -c %u:%g "$M/d")"
	down
	eq "stored" "8:8:0755" "$(getfattr -n security.fuseoverlayfs.override_stat --only-values --absolute-names "$D/fs/upper/d")"
}

# The file system below does it where owners are in the inodes.
set_id_on_all_types() {
	local f
	up "$L" xattr_permissions=2
	: >"$M/file"
	mkfifo "$M/fifo"
	mknod "$M/char" c 1 3
	mknod "$M/block" b 7 99
	/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("'"$M"'/socket")'
	mkdir "$M/directory"
	chown 1000:1000 "$M"/*
	chmod 6555 "$M"/*
	for f in "$M"/*; do
		setpriv --reuid 1000 --regid 1000 --groups 1001 chgrp 1001 "$f" || fail "chgrp $f"
	done
	set_ids() { (cd "$M" && stat -c '%n %a %g' ./*); }
	local want="./block 555 1001
./char 555 1001
./directory 6555 1001
./fifo 555 1001
./file 555 1001
./socket 555 1001"
	alike "after chgrp" "$want" "$(set_ids)"
	again
	alike "after a remount" "$want" "$(set_ids)"
}

holds "a masked store's layers show what they are meant to be" shown
holds "a plain user does all that root can, and nothing of it on disk" done_by_a_plain_user
holds "fuse-overlayfs and plyfs read each other" with_the_predecessor
holds "a change of group by the owner takes set-id bits from files of every type" set_id_on_all_types
holds "the root of a new upper is the layers', and tells what the upper is" roots
finish
