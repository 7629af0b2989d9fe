#!/bin/bash
# Owners that the mount shows as others than the layers have: maps and squashes.
. "$(dirname "$0")/lib.sh"
need_root

MAP=:0:1000:1:1:100000:65535
maps=uidmapping=$MAP,gidmapping=$MAP

owners() { stat -c %u:%g "$@" | tr '\n' ' '; }

# own OWNER... : files of L with these owners, named by them
own() {
	local o
	for o; do
		echo "$o" >"$L/$o"
		chown "$o" "$L/$o"
	done
}

mapped() {
	own 0:0 1:2 33:33 65535:65535 65536:7 80000:80000
	mkdir "$L/dir"
	chmod 777 "$L" "$L/dir"
	mknod "$L/dev" c 1 3
	ln -s nowhere "$L/link"
	chown -h 5:6 "$L/dev" "$L/link"
	up "$L" "$maps"
	eq "owners" "1000:1000 100000:100001 100032:100032 165534:165534 65534:100006 65534:65534 " \
		"$(owners "$M"/{0:0,1:2,33:33,65535:65535,65536:7,80000:80000})"
	eq "of a device and a link" "100004:100005 100004:100005 " "$(owners "$M/dev" "$M/link")"
	eq "in a listing" "$(cd "$M" && stat -c '%n %u' -- * | sort)" "$(find "$M" -mindepth 1 -maxdepth 1 -printf '%f %U\n' | sort)"
	as 1000 sh -c 'cd "$0" && echo new >new && mkdir sub && ln -s a sym && mkfifo fifo && echo more >>0:0' "$M" || fail "as the root of the layers"
	as 100000 sh -c 'cd "$0/dir" && echo new >other' "$M" || fail "as another user"
	eq "who made it" "1000:1000 1000:1000 1000:1000 1000:1000 100000:100000 " "$(owners "$M"/{new,sub,sym,fifo,dir/other})"
	as 99999 touch "$M/dir/stranger" 2>"$D/err" && fail "a user without an id makes something"
	grep -q 'Value too large' "$D/err" || fail "$(cat "$D/err")"
	chown 100032:100033 "$M/new" && chown 165534 "$M/1:2" || fail "chown"
	touch "$M/root" || fail "root makes something"
	eq "what root made" "1000:1000 " "$(owners "$M/root")"
	chown 7 "$M/new" 2>"$D/err" && fail "chown to a user without an id"
	grep -q 'Invalid argument' "$D/err" || fail "$(cat "$D/err")"
	chgrp 7 "$M/new" 2>/dev/null && fail "chgrp to a group without an id"
	chmod 600 "$M/80000:80000" || fail "a copy of what nobody is the owner of"
	py "$M" <<'P'
os.chdir(sys.argv[1])
os.setegid(1000)
os.seteuid(1000)
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
os.seteuid(0)
os.setegid(0)
eq("owner of a nameless file", 1000, os.fstat(fd).st_uid)
name_it(fd, "nameless")
P
	eq "owners" "100032:100033 165534:100001 1000:1000 " "$(owners "$M"/{new,1:2,nameless})"
	again
	eq "owners after a remount" "100032:100033 165534:100001 1000:1000 65534:65534 100000:100000 " \
		"$(owners "$M"/{new,1:2,nameless,80000:80000,dir/other})"
	down
	eq "owners on disk" "33:34 65535:2 0:0 80000:80000 1:1 0:0 " "$(owners "$U"/{new,1:2,nameless,80000:80000,dir/other,0:0})"
}

lists() {
	need setfacl
	own 0:0
	mkdir "$L/dir"
	setfacl -m u:5:rw,g:6:r "$L/0:0"
	setfacl -d -m u:5:rwx "$L/dir"
	setfacl -m u:70000:r "$L/dir"
	up "$L" "$maps"
	eq "shown" "group:100005:r-- user:100004:rw-" "$(getfacl -npc "$M/0:0" | grep -E '(user|group):[0-9]' | sort | xargs)"
	eq "one that nobody is" "user:65534:r--" "$(getfacl -npc "$M/dir" | grep '^user:[0-9]')"
	touch "$M/dir/heir" "$M/new"
	setfacl -m u:100009:rw "$M/new" || fail "setfacl"
	setfacl -m u:7:rw "$M/new" 2>/dev/null && fail "setfacl for a user without an id"
	eq "inherited" "user:100004:rwx" "$(getfacl -npc "$M/dir/heir" | grep '^user:[0-9]' | cut -f1)"
	# Access goes by what is shown.
	chmod 755 "$M"
	as 100009 sh -c 'echo x >>"$0/new"' "$M" || fail "who is named may write"
	as 100008 sh -c 'echo x >>"$0/new"' "$M" 2>/dev/null && fail "another user wrote"
	down
	eq "on disk" "user:10:rw-" "$(getfacl -npc "$U/new" | grep '^user:[0-9]')"
	eq "inherited on disk" "user:5:rwx" "$(getfacl -npc "$U/dir/heir" | grep '^user:[0-9]' | cut -f1)"
}

# A container's root sees the layers as its own, though they are root's on disk.
container() {
	need setcap
	own 0:0 5:6
	cp /bin/true "$L/prog"
	cp /bin/true "$L/older"
	setcap cap_chown=ep "$L/older"
	chmod 755 "$D"
	up "$L" uidmapping=0:100000:65536,gidmapping=0:100000:65536
	/usr/bin/python3 "$top/tests/mount/userns.py" 0 "0 100000 65536" bash -c '
		cd "$0" || exit
		[ "$(stat -c %u:%g 0:0 5:6 | xargs)" = "0:0 5:6" ] || exit 3
		touch new && chown 7:8 new && mkdir d && chmod 2755 d && echo x >>5:6 || exit 4
		setcap cap_net_raw=ep prog || exit 5
		[ "$(getcap prog)" = "prog cap_net_raw=ep" ] || exit 6
		[ "$(getcap older)" = "older cap_chown=ep" ] || exit 7
		./prog' "$M" || fail "in the container: $?"
	down
	eq "owners on disk" "7:8 0:0 5:6 " "$(owners "$U"/{new,d,5:6})"
	eq "capabilities on disk" "$U/prog cap_net_raw=ep" "$(getcap "$U/prog")"
	eq "of the layers' root" 20 "$(getfattr --absolute-names -n security.capability -e hex "$U/prog" | sed -n 's/.*=0x//p' | tr -d '\n' | wc -c | awk '{ print $1 / 2 }')"
}

squashed() {
	own 0:0 5:6 1000:1000
	chmod 4755 "$L/5:6"
	up "$L" squash_to_root
	eq "owners" "0:0 0:0 0:0 0:0 " "$(owners "$M" "$M"/{0:0,5:6,1000:1000})"
	chown 9:9 "$M/0:0" || fail "chown"
	echo x >>"$M/5:6"
	eq "owners after a change" "0:0 0:0 " "$(owners "$M"/{0:0,5:6})"
	again
	eq "owners after a remount" "0:0 0:0 " "$(owners "$M"/{0:0,5:6})"
	down
	up "$L" squash_to_uid=7,squash_to_gid=8,squash_to_root
	eq "owners by number" "7:8 7:8 7:8 " "$(owners "$M" "$M"/{0:0,5:6})"
	chmod 777 "$M"
	as 7 sh -c 'echo x >>"$0/1000:1000"; echo new >"$0/new"' "$M" || fail "the one owner may not write"
	eq "of a new file" "7:8 " "$(owners "$M/new")"
	down
	up "$L" squash_to_gid=8
	eq "owners by group" "5:8 1000:8 " "$(owners "$M/5:6" "$M/1000:1000")"
}

# What no id can be given to: in a user namespace of one id.
one_id() {
	own 0:0 1000:1000
	mkdir "$L/dir" "$L/home"
	chown 1000:1000 "$L" "$L/home" "$U" "$W" "$M"
	mkdir "$L/dir/mine"
	chown 1000:1000 "$L/dir/mine"
	mknod -m 666 "$D/fuse" c 10 229
	chmod 777 "$D"
	: >"$T/mount.log"
	chmod 666 "$T/mount.log"
	seen=$(mark "$L")
	works() {
		local options
		for options in '' squash_to_root xattr_permissions=2; do
			up "$L" "$options"
			cd "$M" || exit 1
			touch home/new dir/mine/new || fail "$options: making files"
			echo x >>1000:1000 || fail "$options: writing"
			chown 0:0 home/new || fail "$options: chown to oneself"
			[ "$options" = squash_to_root ] || ! rm -f 0:0 2>"$D/err" ||
				fail "$options: rm of a file of nobody's, which a plain directory refuses"
			cp /bin/true prog && chmod 4755 prog && mv prog home/ || fail "$options: making a program"
			eq "$options: modes" "4755 644" "$(stat -c %a home/prog home/new | xargs)"
			tar -C home -cf - . | tar -C dir/mine --same-owner -xf - || fail "$options: tar"
			cd "$D" || exit 1
			again
			eq "$options: names" "0:0 1000:1000 dir dir/mine dir/mine/new dir/mine/prog home home/new home/prog" "$(names "$M")"
			eq "$options: set-id" 4755 "$(stat -c %a "$M/home/prog")"
			down
			find "$U" -mindepth 1 -delete
		done
	}
	export L U W M D T
	unshare -m --propagation private bash -c 'mount --bind "$D/fuse" /dev/fuse && exec "$@"' - \
		setpriv --reuid 1000 --regid 1000 --clear-groups -- unshare -Urm --propagation private bash -c "$(declare -f)
		seen=- failures=0
		works" || exit
}

# The same layers and the same work with the predecessor: the same owners everywhere.
as_the_predecessor() {
	need fuse-overlayfs
	local options prog
	for options in "$maps" squash_to_root squash_to_uid=3 "squash_to_gid=4,uidmapping=0:50:10:10:1000:1"; do
		rm -rf "$L" "$D"/of-*
		mkdir -m 777 "$L"
		own 0:0 1:2 3:4
		mkdir -m 777 "$L/dir"
		for prog in "$PLYFS" fuse-overlayfs; do
			rm -rf "$U" "$W"
			mkdir "$U" "$W"
			"$prog" -o "lowerdir=$L,upperdir=$U,workdir=$W,$options" "$M" || fail "$prog -o $options"
			as 1000 sh -c 'cd "$0/dir" && echo x >new && mkdir sub' "$M" 2>/dev/null
			echo x >>"$M/3:4"
			chmod 600 "$M/1:2"
			find "$M" -printf '%P %U:%G %m\n' | sort >"$D/of-${prog##*/}"
			umount "$M"
			while [ -n "$(server 2>/dev/null)" ]; do sleep 0.02; done
			find "$U" -mindepth 1 ! -name '.wh*' -printf '%P %U:%G %m\n' | sort >>"$D/of-${prog##*/}"
		done
		alike "$options" "$(cat "$D/of-fuse-overlayfs")" "$(cat "$D/of-plyfs")"
	done
	seen=''
}

faulty() {
	local map
	for map in '' : 0 0:1 0:1:0 0:1:x 0:1:2:3 0:0:4294967296 4294967290:0:10 0:0:10:9:20:1 0:20:10:20:29:1 ::0:-1:1; do
		refused "lowerdir=$L,uidmapping=$map" uidmapping
		refused "lowerdir=$L,gidmapping=$map" gidmapping
	done
	refused "lowerdir=$L,squash_to_uid=x" squash_to_uid
	refused "lowerdir=$L,squash_to_gid=4294967295" squash_to_gid
	refused "lowerdir=$L,squash_to_uid=" squash_to_uid
}

holds "a map shows owners as others and keeps them as they were" mapped
holds "access control lists are mapped" lists
holds "a container's root owns what is root's in the layers" container
holds "a squash shows one owner, and no chown fails" squashed
holds "with a single id everything works that needs no other" one_id
holds "owners are those of fuse-overlayfs" as_the_predecessor
holds "faulty maps are refused in a sentence" faulty
finish
