#!/bin/bash
# Each option does what it says, and so does each way to end a mount.
. "$(dirname "$0")/lib.sh"

# The words that callers and fstab write are taken without a word.
silent() {
	touch "$L/f"
	local word
	for word in threaded=0 threaded=1 fast_ino=0 fast_ino=1 clone_fd max_idle_threads=10 splice_read splice_write splice_move \
		kernel_cache max_write=131072 default_permissions xino=off xino=auto index=off metacopy=on context=x:y:z \
		'context="a:b:c1,c2"' atime noatime diratime nodiratime relatime strictatime lazytime user noauto nofail _netdev \
		x-systemd.automount dev suid exec rw async volatile fsync=0 fsync=1 sync=0 noxattrs=0 xattr_permissions=0 ''; do
		"$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W,$word" "$M" >"$D/out" 2>&1 </dev/null || fail "$word: $(cat "$D/out")"
		eq "said of $word" "" "$(cat "$D/out")"
		eq "names with $word" f "$(names "$M")"
		down
	done
}

# flags OPTIONS: those of the mount that has them, as the kernel tells them
flags() {
	up "$L" "$1"
	findmnt -no VFS-OPTIONS,FS-OPTIONS "$M" | tr -s ' ' ','
	down
}

mount_flags() {
	need_root
	local flag got
	got=,$(flags nosuid,nodev,noexec,ro),
	for flag in nosuid nodev noexec ro; do
		case $got in *",$flag,"*) ;; *) fail "no $flag in $got" ;; esac
	done
	got=,$(flags suid,dev,exec,atime),
	for flag in nosuid nodev noexec noatime; do
		case $got in *",$flag,"*) fail "$flag in $got" ;; esac
	done
	got=,$(flags rw),
	for flag in rw nodev noatime; do
		case $got in *",$flag,"*) ;; *) fail "no $flag by default: $got" ;; esac
	done
	got=,$(flags sync,dirsync),
	for flag in sync dirsync; do
		case $got in *",$flag,"*) ;; *) fail "no $flag in $got" ;; esac
	done
}

# Reading leaves no access time on a layer; on the upper it does what the upper's own mount says, whatever the words.
# Those that are set stay, and are shown at once.
access_times() {
	need_root
	local word told
	mkdir "$D/fs"
	mount -t tmpfs -o strictatime tmpfs "$D/fs" && mkdir "$D"/fs/{lower,upper,work} || skip "no tmpfs"
	L=$D/fs/lower U=$D/fs/upper W=$D/fs/work
	mkdir "$L/ld"
	for word in '' atime noatime relatime strictatime diratime nodiratime lazytime; do
		mkdir "$U/ud"
		echo x | tee "$L/low" "$L/ld/f" "$U/up" >"$U/ud/f"
		touch -d 1990-01-01 "$L/low" "$L/ld" "$U/up" "$U/ud"
		mount_at "$M" "lowerdir=$L,upperdir=$U,workdir=$W,$word" || fail "no mount: $(cat "$T/mount.log")"
		cat "$M/low" "$M/up" >"$D/out"
		ls "$M/ld" "$M/ud" >/dev/null
		told=$(words stat -c '%n %x' "$M/low" "$M/ld" "$M/up" "$M/ud" | sed 's|[^ ]*/||g')
		down
		eq "on disk with '$word'" "$told" "$(words stat -c '%n %x' "$L/low" "$L/ld" "$U/up" "$U/ud" | sed 's|[^ ]*/||g')"
		case $told in "low 1990-01-01 "*" ld 1990-01-01 "*) ;; *) fail "a layer was changed with '$word': $told" ;; esac
		case $told in *" up 1990"* | *" ud 1990"*) fail "the upper's are not kept with '$word': $told" ;; esac
		rm -r "$U/up" "$U/ud"
	done
	mount -o remount,noatime "$D/fs"
	echo x >"$U/up"
	touch -d 1990-01-01 "$L/low" "$L/ld" "$U/up"
	up
	cat "$M/up" >"$D/out"
	eq "with noatime of the upper's mount" 1990 "$(stat -c %x "$M/up" | cut -c1-4)"
	touch -a -d '2001-02-03 04:05:06.7 UTC' "$M/low" "$M/up" "$M/ld"
	for word in once again; do
		eq "set, $word" "981173106 981173106 981173106" "$(words stat -c %X "$M/low" "$M/up" "$M/ld")"
		eq "times of the data" "631152000 631152000 631152000" "$(words stat -c %Y "$M/low" "$M/up" "$M/ld")"
		again
	done
	eq "the layer's" "631152000 631152000" "$(words stat -c %X "$L/low" "$L/ld")"
}

# Nothing of an access control list is seen or heeded, and the layers keep theirs.
without_acls() {
	need_root
	need setfacl
	chmod 755 "$D"
	echo secret >"$L/f"
	chmod 600 "$L/f"
	setfacl -m u:1000:r "$L/f"
	mkdir "$L/d"
	setfacl -d -m u:1000:rwx "$L/d"
	up
	eq "with them" secret "$(as 1000 cat "$M/f" 2>&1)"
	down
	up "$L" noacl
	as 1000 cat "$M/f" >"$D/out" 2>&1 && [ "$(stat -c %a "$M/f")" != 644 ] && fail "the list is heeded"
	setfacl -m u:1001:r "$M/f" 2>"$D/err" && fail "one can be set"
	grep -qi "not supported" "$D/err" || fail "setfacl: $(cat "$D/err")"
	eq "lists that are seen" "" "$(getfattr -hm 'system' --absolute-names "$M/f" "$M/d")"
	echo more >>"$M/f" || fail "writing"
	down
}

one_link() {
	mkdir -p "$L"/a/{b,c,d}
	up
	mkdir -p "$M/new/sub"
	eq "links of a directory of the upper" 3 "$(stat -c %h "$M/new")"
	down
	up "$L" static_nlink
	eq "links with static_nlink" "1 1 1" "$(words stat -c %h "$M/new" "$M/a" "$M")"
	ln "$M/new/f" "$M/new/g" 2>/dev/null || { touch "$M/new/f" && ln "$M/new/f" "$M/new/g"; }
	eq "links of a file" 2 "$(stat -c %h "$M/new/f")"
	eq "what find finds" 8 "$(find "$M" -mindepth 1 | wc -l)"
}

# With layers on three file systems, whose numbers else have more bits.
small_numbers() {
	need_root
	fs_of tmpfs "$D/t1"
	fs_of tmpfs "$D/t2"
	mkdir "$D/t1/lower/a" "$D/t2/lower/b"
	touch "$D/t1/lower/a/f" "$D/t2/lower/b/f" "$L/f"
	up "$L:$D/t1/lower:$D/t2/lower"
	find "$M" -printf '%i\n' | awk '$1 >= 2 ^ 32 { found = 1 } END { exit !found }' || fail "all numbers are small anyway"
	down
	up "$L:$D/t1/lower:$D/t2/lower" ino32_t
	py "$M" <<'P'
seen = {}
for at, dirs, files in os.walk(sys.argv[1]):
    for entry in os.scandir(at):
        number = entry.stat(follow_symlinks=False).st_ino
        eq(f"number of {entry.name} in the listing", number, entry.inode())
        if not 0 < number < 1 << 32:
            fail(f"{entry.path}: {number}")
        eq(f"the other file with the number of {entry.path}", None, seen.get(number))
        seen[number] = entry.path
eq("files", 5, len(seen))
P
}

# fsync(2) is refused once, after which the kernel does not ask again; nor does the server sync by itself.
unsynced() {
	local word
	touch "$L/f"
	for word in fsync=1 fsync=0 sync=0 volatile; do
		start_counted "lowerdir=$L,upperdir=$U,workdir=$W,$word"
		py "$M" <<'P'
os.chdir(sys.argv[1])
for i in range(10):
    fd = os.open("f", os.O_WRONLY)
    os.write(fd, b"x")
    os.fsync(fd)
    os.close(fd)
P
		case $word:$(counted FSYNC) in fsync=1:10 | [!f]*:1 | fsync=0:1) ;; *) fail "$word: $(counted FSYNC) FSYNC" ;; esac
		kill -TERM $server_pid
		gone $server_pid || fail "SIGTERM does not end it"
	done
}

collected() {
	local word many
	for word in writeback=1 writeback=auto writeback=0; do
		start_counted "lowerdir=$L,upperdir=$U,workdir=$W,$word"
		py "$M" <<'P'
fd = os.open(sys.argv[1] + "/f", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
for i in range(100):
    os.write(fd, b"x" * 10)
os.close(fd)
P
		many=$(counted WRITE)
		case $word in writeback=0) eq "WRITE with $word" 100 "$many" ;; *) [ "$many" -lt 10 ] || fail "$many WRITE with $word" ;; esac
		kill -TERM $server_pid
		gone $server_pid || fail "SIGTERM does not end it"
	done
}

only_root() {
	need_root
	chmod 777 "$D"
	echo x >"$L/f"
	up "$L" allow_root
	eq "root" x "$(cat "$M/f")"
	as 1000 cat "$M/f" >"$D/out" 2>&1 && fail "somebody else comes in"
	down
	up "$L" allow_other
	eq "another user" x "$(as 1000 cat "$M/f")"
}

# ---- the end ----

# A lazy unmount lets who is in finish; the server ends with the last one, and has written everything.
lazily() {
	need_root
	local pid
	echo low >"$L/f"
	up
	pid=$(server)
	exec 7>>"$M/f" 8<"$M"
	umount -l "$M"
	! mountpoint -q "$M" || fail "still mounted"
	echo more >&7
	kill -0 "$pid" || fail "the server has gone before its users"
	exec 7>&- 8<&-
	gone "$pid" || fail "the server does not end"
	eq "the upper" "low more" "$(words cat "$U/f")"
	eq "the work directory" "" "$(ls -A "$W/work" 2>/dev/null)"
	up
	eq "mounted again" "low more" "$(words cat "$M/f")"
}

# As a container engine unmounts: by fusermount3, or by syncfs and a lazy unmount.
by_engines() {
	local pid
	touch "$L/f"
	up
	pid=$(server)
	echo one >"$M/f"
	fusermount3 -u "$M" || fail "fusermount3 -u"
	gone "$pid" || fail "the server does not end after fusermount3 -u"
	eq "the upper" one "$(cat "$U/f")"
	need_root
	up
	pid=$(server)
	echo two >"$M/f"
	py "$M" <<'P'
at = sys.argv[1]
fd = os.open(at, os.O_RDONLY)
eq("syncfs", 0, libc.syncfs(fd))
os.close(fd)
eq("umount2", 0, libc.umount2(at.encode(), 2))
P
	gone "$pid" || fail "the server does not end after MNT_DETACH"
	eq "the upper" two "$(cat "$U/f")"
	rmdir "$M" && mkdir "$M" || fail "the mountpoint is still used"
}

# In use it is busy, and stays as it is.
busy() {
	need_root
	up
	exec 7>"$M/f"
	umount "$M" 2>"$D/err" && fail "unmounted while in use"
	grep -qi busy "$D/err" || fail "umount: $(cat "$D/err")"
	echo x >&7
	exec 7>&-
	eq "what was written" x "$(cat "$M/f")"
}

# With auto_unmount the mount goes with its server, however that ends.
by_itself() {
	local pid i
	touch "$L/f"
	up "$L" auto_unmount
	pid=$(server)
	kill -9 "$pid"
	gone "$pid"
	for ((i = 0; i < 250; i++)); do
		mountpoint -q "$M" || { ls "$M" >/dev/null 2>&1 && break; }
		sleep 0.02
	done
	eq "names in the mountpoint" "" "$(ls "$M" 2>&1)"
	up
	eq "names in a new mount" f "$(names "$M")"
}

# A server that ends unmounts its own mount and no other: not what was mounted over it, nor in its place once it was
# detached in use. In a mount namespace without fusectl, where it cannot cut its connection itself.
no_others() {
	need_root
	echo x >"$L/f"
	export PLYFS D L U W M
	unshare -m --propagation private bash -c '
		while umount /sys/fs/fuse/connections 2>/dev/null; do :; done
		top() { awk -v at="$M" "\$5 == at { source = \$(NF - 1) } END { print source }" /proc/self/mountinfo; }
		serve() {
			"$PLYFS" -f -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" 2>>"$D/said" &
			server=$!
			for i in {1..500}; do ! mountpoint -q "$M" || return; sleep 0.02; done
			exit 5
		}
		serve
		mount -t tmpfs over "$M" && kill -TERM $server && wait $server || exit 6
		[ "$(top)" = over ] || exit 7
		umount "$M" && umount -l "$M" || exit 8
		serve
		exec 7<"$M/f"
		kill -TERM $server
		for i in {1..500}; do mountpoint -q "$M" || break; sleep 0.02; done
		mount -t tmpfs another "$M" && kill -TERM $server
		wait $server || exit 9
		exec 7<&-
		[ "$(top)" = another ] || exit 10
		[ ! -s "$D/said" ] || exit 11' || fail "status $?: $(cat "$D/said")"
}

holds "words of callers are taken silently" silent
holds "suid, dev, exec, atime, ro, sync are the mount's" mount_flags
holds "access times are those of the upper's own mount, and none of a layer" access_times
holds "noacl: no access control lists" without_acls
holds "static_nlink: directories have one link" one_link
holds "ino32_t: numbers of 32 bits" small_numbers
holds "fsync=0, sync=0, volatile: fsync costs nothing" unsynced
holds "writeback: small writes are collected, or not" collected
holds "allow_root, allow_other: who comes in" only_root
holds "umount -l lets users finish, and loses nothing" lazily
holds "engines unmount by fusermount3 or lazily" by_engines
holds "a mount in use is busy" busy
holds "auto_unmount: the mount goes with its server" by_itself
holds "a server that ends unmounts nobody else's mount" no_others
finish
