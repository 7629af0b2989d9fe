#!/bin/bash
# Permissions: modes, set-id bits, sticky and set-gid directories, ACLs, capabilities.
. "$(dirname "$0")/lib.sh"
need_root

modes() { stat -c %a "$@" | tr '\n' ' '; }

suid_cleared() {
	local f
	for f in write truncate chown none root; do
		cp /bin/true "$L/$f"
		chown 5:5 "$L/$f"
		chmod 6777 "$L/$f"
	done
	for f in capable cap-chown; do
		cp /bin/true "$L/$f"
		chmod 777 "$L/$f"
		setcap cap_net_raw=ep "$L/$f"
	done
	cp "$L/none" "$L/lock"
	cp "$L/lock" "$L/member"
	chown 5:1000 "$L/member"
	chmod 2766 "$L/lock" "$L/member" # no execution for the group: who is in it may write and leave the bit
	up
	cp "$M/none" "$M/new"
	chmod 6777 "$M/new"
	as 1000 sh -c 'cd "$0" && echo x >>write && echo x >>new && echo x >>lock && echo x >>member && echo x >>capable && truncate -s 10 truncate' "$M" ||
		fail "writing as a plain user"
	chown 6 "$M/chown"
	chown 6 "$M/cap-chown"
	echo x >>"$M/root"
	: >>"$M/none"
	eq "modes" "777 777 777 777 766 2766 6777 6777 " "$(modes "$M"/{write,new,truncate,chown,lock,member,root,none})"
	eq "capabilities" "" "$(getcap "$M"/cap*)"
	again
	eq "modes after a remount" "777 777 777 777 766 2766 6777 6777 " "$(modes "$M"/{write,new,truncate,chown,lock,member,root,none})"
	eq "capabilities after a remount" "" "$(getcap "$M"/cap*)"
}

# Set-gid without group execution says nothing about a program, so only who is in the group may leave it.
set_gid_alone() {
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
os.umask(0)
PAGE = b"x" * 65536

def opened(change):
    def call(f):
        fd = os.open(f, os.O_RDWR)
        change(fd)
        os.close(fd)
    return call

def direct(f):
    room = mmap.mmap(-1, 4096)
    os.pwritev(os.open(f, os.O_RDWR | os.O_DIRECT), [room], 0)

ways = {
    "write": opened(lambda fd: os.pwrite(fd, b"y", 0)),
    "direct write": direct,
    "shorten": lambda f: os.truncate(f, 100),
    "lengthen": lambda f: os.truncate(f, 1 << 20),
    "empty": opened(lambda fd: os.ftruncate(fd, 0)),
    "open": lambda f: os.close(os.open(f, os.O_WRONLY | os.O_TRUNC)),
    "allocate": opened(lambda fd: fallocate(fd, 0, 1 << 20, 4096)),
    "punch": opened(lambda fd: fallocate(fd, 3, 4096, 4096)),
    "copy": opened(lambda fd: os.copy_file_range(os.open("source", os.O_RDONLY), fd, 4096)),
}
spit("source", "s" * 4096)
spit("f", "")

def mode_after(way, mode, group, gid, groups):
    with open("f", "wb") as f:
        f.write(PAGE)
    os.chown("f", 0, group)
    os.chmod("f", mode)
    def user(number):
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(1000)
        ways[way]("f")
    eq(f"{way}: status", [0], in_parallel(user, 1))
    return oct(os.stat("f").st_mode & 0o7777)

for way in ways:
    for mode in (0o2666, 0o6666, 0o6766):
        plain = oct(mode & 0o777)
        eq(f"{way}, {mode:o}, a stranger", plain, mode_after(way, mode, 50, 1000, [51, 52]))
        kept = oct(mode & 0o2777)
        eq(f"{way}, {mode:o}, of the group", kept, mode_after(way, mode, 50, 50, []))
        eq(f"{way}, {mode:o}, also of the group", kept, mode_after(way, mode, 50, 1000, [51, 50]))
    eq(f"{way}, group execution", "0o676", mode_after(way, 0o6676, 50, 1000, [51, 50]))
    eq(f"{way}, set-uid alone", "0o666", mode_after(way, 0o4666, 50, 1000, []))
P
}

sticky() {
	local d
	mkdir "$L/tmp" "$L/open"
	chmod 1777 "$L/tmp"
	chmod 777 "$L/open"
	for d in tmp open; do
		echo x >"$L/$d/f"
		chown 1000 "$L/$d/f"
	done
	up
	as 1001 rm -f "$M/tmp/f" 2>/dev/null && fail "uid 1001 removed another's file"
	as 1001 mv "$M/tmp/f" "$M/tmp/g" 2>/dev/null && fail "uid 1001 renamed another's file"
	as 1001 sh -c 'cd "$0/tmp" && echo x >mine && mv mine m2 && rm m2' "$M" || fail "uid 1001 with a file of its own"
	as 1001 rm -f "$M/open/f" || fail "removing in a 0777 directory"
	as 1000 rm -f "$M/tmp/f" || fail "removing by the owner"
	eq "modes" "1777 777 " "$(modes "$M/tmp" "$M/open")"
	again
	eq "modes after a remount" "1777 777 " "$(modes "$M/tmp" "$M/open")"
	eq "left" "open tmp" "$(names "$M")"
}

set_gid_directory() {
	mkdir -p "$L/d" "$U/e"
	for d in "$L/d" "$U/e"; do
		chown 0:77 "$d"
		chmod 2777 "$d"
	done
	up
	local d
	for d in d e; do
		as 1000 sh -c 'umask 022; cd "$0" && touch f && mkdir sub && mkfifo p && ln -s x s && mkdir sub/deep && touch sub/deep/f' "$M/$d" ||
			fail "making things in $d"
		py "$M/$d" <<'P'
os.chdir(sys.argv[1])
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o644)
name_it(fd, "tmp")
P
		eq "groups in $d" "77 77 77 77 77 77 77" "$(cd "$M/$d" && words stat -c %g f sub p s sub/deep sub/deep/f tmp)"
		eq "modes in $d" "644 2755 644 2755 " "$(cd "$M/$d" && modes f sub p sub/deep)"
	done
	# Who is not in the group cannot make a set-gid program of it.
	as 1000 sh -c 'cd "$0" && cp /bin/true prog && chmod 2755 prog' "$M/d"
	eq "mode of a program of a strange group" "755 " "$(modes "$M/d/prog")"
	again
	eq "groups after a remount" "77 77 77 77 77 77 77" "$(cd "$M/e" && words stat -c %g f sub p s sub/deep sub/deep/f tmp)"
}

umasks() {
	mkdir "$L/plain" "$L/acl"
	chmod 777 "$L/plain" "$L/acl"
	setfacl -d -m u::rwx,g::rwx,o::rwx "$L/acl"
	setfacl -d -m u:1234:rwx "$L/acl"
	up
	as 1000 sh -c 'cd "$0" && umask 027 && touch f && mkdir d && mkfifo p' "$M/plain" || fail "in a plain directory"
	eq "modes by the umask" "640 750 640 " "$(modes "$M"/plain/{f,d,p})"
	as 1000 sh -c 'cd "$0" && umask 027 && touch f && mkdir d && mkfifo p && touch d/f' "$M/acl" || fail "in one with a default ACL"
	eq "modes by the default ACL" "666 777 666 666 " "$(modes "$M"/acl/{f,d,p,d/f})"
	eq "the ACL of a file" "user::rw- user:1234:rwx #effective:rw- group::rwx #effective:rw- mask::rw- other::rw-" \
		"$(getfacl -cp --omit-header "$M/acl/f" | tr '\t\n' '  ' | tr -s ' ' | sed 's/ $//')"
	eq "the default ACL is handed down" "$(getfacl -dcp "$L/acl")" "$(getfacl -dcp "$M/acl/d")"
	py "$M" <<'P'
os.chdir(sys.argv[1])
os.umask(0o077)
for directory, mode in (("plain", 0o600), ("acl", 0o666)):
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o666)
    eq(f"a nameless file in {directory}", mode, os.fstat(fd).st_mode & 0o777)
P
	again
	eq "modes after a remount" "640 750 640 666 777 666 666 " "$(modes "$M"/plain/{f,d,p} "$M"/acl/{f,d,p,d/f})"
	eq "ACL after a remount" "user:1234:rwx" "$(getfacl -cp "$M/acl/f" | grep -o 'user:1234:rwx')"
}

acls_decide() {
	mkdir "$L/d"
	echo secret >"$L/d/f"
	chmod 600 "$L/d/f"
	setfacl -m u:1000:r "$L/d/f"
	echo open >"$L/g"
	setfacl -m u:1000:--- "$L/g"
	up
	eq "by the ACL" secret "$(as 1000 cat "$M/d/f" 2>&1)"
	as 1001 cat "$M/d/f" >"$D/out" 2>&1 && fail "uid 1001 may read"
	as 1000 cat "$M/g" >"$D/out" 2>&1 && fail "uid 1000 may read what its ACL forbids"
	as 1000 sh -c 'echo x >>"$0"' "$M/d/f" 2>/dev/null && fail "uid 1000 may write"
	chmod 640 "$M/d/f" # the mask
	eq "mask after chmod" "mask::r--" "$(getfacl -cp "$M/d/f" | grep mask)"
	eq "by the ACL, copied up" secret "$(as 1000 cat "$M/d/f" 2>&1)"
	setfacl -m u:1001:rw "$M/d/f"
	as 1001 sh -c 'echo more >>"$0"' "$M/d/f" || fail "uid 1001 may not write after setfacl"
	setfacl -b "$M/g"
	eq "after setfacl -b" open "$(as 1000 cat "$M/g")"
	eq "mode after setfacl -b" "644 " "$(modes "$M/g")"
	again
	eq "after a remount" $'secret\nmore' "$(as 1000 cat "$M/d/f")"
	as 1002 cat "$M/d/f" >"$D/out" 2>&1 && fail "uid 1002 may read"
	down
	in_kernel
	eq "in the kernel" $'secret\nmore' "$(as 1000 cat "$M/d/f")"
}

# Every access is judged for the one who asks, not for the server.
plain_users() {
	mkdir "$L/private" "$L/shared" "$L/group"
	echo x | tee "$L/private/f" "$L/shared/f" >"$L/group/f"
	chmod 700 "$L/private"
	chmod 755 "$L/shared"
	chown 0:2000 "$L/group"
	chmod 770 "$L/group"
	up
	as 1000 ls "$M/private" >"$D/out" 2>&1 && fail "a private directory can be listed"
	as 1000 cat "$M/private/f" >"$D/out" 2>&1 && fail "a file in a private directory can be read"
	as 1000 rm -f "$M/shared/f" 2>"$D/out" && fail "a file in another's directory can be removed"
	as 1000 touch "$M/shared/new" 2>"$D/out" && fail "a file can be made in another's directory"
	as 1000 chmod 777 "$M/shared/f" 2>"$D/out" && fail "another's file can be changed"
	as 1000 chown 1000 "$M/shared/f" 2>"$D/out" && fail "another's file can be taken"
	as 1000 touch -d 2001-01-01 "$M/shared/f" 2>"$D/out" && fail "another's times can be set"
	as 1000 setfattr -n user.x -v y "$M/shared/f" 2>"$D/out" && fail "another's xattrs can be set"
	setpriv --reuid 1000 --regid 1000 --groups 2000 -- touch "$M/group/new" || fail "a member of the group may not create"
	eq "owner" "1000:1000" "$(stat -c %u:%g "$M/group/new")"
	rm -r "$M/private"
	mkdir "$M/private"
	eq "mode of what the new owner makes" "755 " "$(modes "$M/private")"
	py "$M" <<'P'
os.chdir(sys.argv[1])
def user(number):
    os.setgroups([])
    os.setgid(1000)
    os.setuid(1000)
    fails("open for writing", "EACCES", os.open, "shared/f", os.O_WRONLY)
    fails("trusted xattrs", "EPERM", os.setxattr, "shared/f", "trusted.x", b"y")
eq("status", [0], in_parallel(user, 1))
P
}

capabilities() {
	cp /bin/true "$L/low"
	setcap cap_net_raw=ep "$L/low"
	up
	cp /bin/true "$M/new"
	setcap cap_net_bind_service=+ep "$M/new" || fail "setcap"
	touch -d 2001-01-01 "$M/low"
	eq "on a new file" "cap_net_bind_service=ep" "$(getcap "$M/new" | cut -d' ' -f2)"
	eq "after a copy-up" "cap_net_raw=ep" "$(getcap "$M/low" | cut -d' ' -f2)"
	mv "$M/low" "$M/moved"
	ln "$M/moved" "$M/linked"
	eq "by another name" "cap_net_raw=ep" "$(getcap "$M/linked" | cut -d' ' -f2)"
	setcap -r "$M/new"
	again
	eq "after a remount" "cap_net_raw=ep" "$(getcap "$M/moved" "$M/new" | cut -d' ' -f2)"
	echo x >>"$M/linked"
	eq "after a write" "" "$(getcap "$M"/*)"
}

holds "set-id bits and capabilities are cleared by writes and chown" suid_cleared
holds "set-gid without group execution is left only by members of the group" set_gid_alone
holds "in a sticky directory only owners remove and rename" sticky
holds "set-gid directories hand on their group and the bit" set_gid_directory
holds "a default ACL counts instead of the umask" umasks
holds "ACLs decide, are copied up, and follow chmod" acls_decide
holds "plain users may do what the modes say" plain_users
holds "capabilities can be set, kept and moved" capabilities
finish
