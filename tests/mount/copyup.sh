#!/bin/bash
# Copy-up: what comes to the upper is what the layer had, but for what was changed, and the layer stays as it is.
. "$(dirname "$0")/lib.sh"

metadata() {
	echo data >"$L/f"
	chown 1000:1001 "$L/f"
	chmod 2750 "$L/f"
	touch -a -d '2030-02-03 04:05:06.123456789' "$L/f"
	touch -m -d '1965-03-04 05:06:07.987654321' "$L/f"
	cp /bin/true "$L/set-id"
	chown 1000:1001 "$L/set-id"
	chmod 6755 "$L/set-id"
	local want
	want=$(stat -c '%u:%g %.9X %.9Y' "$L/f")
	up
	: >>"$M/f"
	: >>"$M/set-id"
	eq "opened for writing" "2750 $want" "$(stat -c '%a %u:%g %.9X %.9Y' "$M/f")"
	chmod 2751 "$M/f"
	chown -h 1000:1001 "$M/set-id" # what is set again stays as it is, but for the set-id bits
	eq "after chmod" "2751 $want" "$(stat -c '%a %u:%g %.9X %.9Y' "$M/f")"
	again
	eq "after a remount" "2751 $want" "$(stat -c '%a %u:%g %.9X %.9Y' "$M/f")"
	eq "data" data "$(cat "$M/f")"
	eq "set-id file after chown" "755 1000:1001" "$(stat -c '%a %u:%g' "$M/set-id")"
}

each_change() {
	local n
	for n in write append truncate chmod chown utimes setxattr rename link fallocate; do
		echo "content of $n" >"$L/$n"
		chmod 640 "$L/$n"
		chown 5:6 "$L/$n"
		setfattr -n user.was -v here "$L/$n"
		touch -d '2003-01-02 03:04:05.111222333' "$L/$n"
	done
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
fd = os.open("write", os.O_WRONLY); os.pwrite(fd, b"C", 0); os.close(fd)
append("append", "more\n")
os.truncate("truncate", 7)
os.chmod("chmod", 0o604)
os.chown("chown", 7, 8)
os.utime("utimes", ns=(10**9, 2 * 10**9 + 1))
os.setxattr("setxattr", "user.is", b"there")
os.rename("rename", "renamed")
os.link("link", "linked")
fd = os.open("fallocate", os.O_WRONLY); fallocate(fd, 0, 0, 30); os.close(fd)

def look():
    mine = {"write": "Content of write\n", "append": "content of append\nmore\n", "truncate": "content",
            "fallocate": "content of fallocate\n" + "\0" * 9}
    old = 1041476645111222333
    for name in os.listdir("."):
        base = {"renamed": "rename", "linked": "link"}.get(name, name)
        st = os.stat(name)
        eq(f"{name}: content", mine.get(name, f"content of {base}\n"), slurp(name))
        eq(f"{name}: mode", 0o604 if name == "chmod" else 0o640, st.st_mode & 0o7777)
        eq(f"{name}: owner", (7, 8) if name == "chown" else (5, 6), (st.st_uid, st.st_gid))
        if name not in ("write", "append", "truncate", "fallocate"):
            eq(f"{name}: mtime", 2 * 10**9 + 1 if name == "utimes" else old, st.st_mtime_ns)
        elif st.st_mtime_ns == old:
            fail(f"{name}: the mtime is still the old one")
        eq(f"{name}: xattr", b"here", os.getxattr(name, "user.was"))
    eq("set xattr", b"there", os.getxattr("setxattr", "user.is"))
    eq("names", 11, len(os.listdir(".")))

look()
P
	local before
	before=$(tree_of "$M")
	again
	alike "the tree after a remount" "$before" "$(tree_of "$M")"
}

parents() {
	mkdir -p "$L/a/b/c"
	echo x >"$L/a/b/c/f"
	chown 1000:1001 "$L/a/b"
	chmod 700 "$L/a"
	chmod 2770 "$L/a/b"
	chmod 1711 "$L/a/b/c"
	setfattr -n user.x -v y "$L/a/b"
	setfacl -d -m u:55:rwx "$L/a/b/c"
	local d
	for d in a/b/c a/b a; do touch -d '2003-01-02 03:04:05.111222333' "$L/$d"; done
	look() {
		(cd "$1" && stat -c '%n %a %u:%g %.9Y' a a/b a/b/c && getfattr -d -m user a/b && getfacl -p a/b/c)
	}
	up
	echo y >>"$M/a/b/c/f"
	alike "parents" "$(look "$L")" "$(look "$M")"
	again
	alike "parents after a remount" "$(look "$L")" "$(look "$M")"
	eq "parents in the upper" "$(stat -c '%a %u:%g' "$L"/a/b{,/c})" "$(stat -c '%a %u:%g' "$U"/a/b{,/c})"
	chmod 2771 "$M/a/b"
	chown 5:5 "$M/a"
	eq "mtimes after chmod and chown" "$(stat -c %.9Y "$L"/a{,/b})" "$(stat -c %.9Y "$M"/a{,/b})"
}

xattrs() {
	cp /bin/true "$L/f"
	setcap cap_net_raw,cap_setuid=ep "$L/f"
	setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\0' b)" "$L/f"
	setfattr -n user.binary -v 0x00ff000a41 "$L/f"
	setfattr -n user.empty "$L/f"
	setfattr -n trusted.t -v x "$L/f"
	setfacl -m u:77:rwx,m::rx "$L/f"
	mkdir "$L/d"
	setfattr -n user.d -v y "$L/d"
	setfacl -d -m g:88:rwx "$L/d"
	up
	chmod 711 "$M/d"
	mv "$M/f" "$M/g"
	alike "of the file" "$(all_of "$L/f")" "$(all_of "$M/g")"
	alike "of the upper's file" "$(all_of "$L/f")" "$(all_of "$U/g")"
	alike "of the directory" "$(all_of "$L/d")" "$(all_of "$M/d")"
	eq "capability" "$(getcap "$L/f" | cut -d' ' -f2)" "$(getcap "$M/g" | cut -d' ' -f2)"
}

# What is built in the work directory is moved out of it, and must not be made as the work directory says.
not_inherited() {
	mkdir "$L/d" "$L/gone"
	echo x | tee "$L/f" "$L/moved" "$L/linked" "$L/d/f" >"$L/gone/f"
	chmod 640 "$L"/{f,moved,linked}
	setfacl -d -m u::rwx,g::rwx,o::rwx,u:77:rwx "$W"
	chgrp 88 "$W"
	chmod g+s "$W"
	up
	chmod 640 "$M/f"
	echo y >>"$M/linked"
	mv "$M/moved" "$M/renamed"
	ln "$M/linked" "$M/link"
	touch "$M/d/f"
	rm -r "$M/gone"
	mkdir "$M/gone"
	touch "$M/gone/new"
	py "$M" <<'P'
os.chdir(sys.argv[1])
fd = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600)
name_it(fd, "nameless")
P
	down
	eq "access control lists" "" "$(getfacl -Rsp "$U")"
	eq "groups and set-gid" "" "$(find "$U" -mindepth 1 ! -type c \( -group 88 -o -perm /2000 \))"
	eq "modes" "640 640 640" "$(words stat -c %a "$U"/{f,renamed,linked})"
}

# all_of FILE: its xattrs, but for the marks of a union
all_of() {
	getfattr --absolute-names -d -m - -e hex "$1" | grep -v '^# file\|^trusted\.overlay\.\|^user\.fuseoverlayfs\.'
}

holes() {
	truncate -s 200M "$L/f"
	local mb
	for mb in 0 77 199; do
		head -c 65536 /dev/urandom | dd of="$L/f" bs=64K seek=$((mb * 16)) conv=notrunc status=none
	done
	cp --sparse=always "$L/f" "$D/want"
	echo Z | dd of="$D/want" bs=1 seek=100 conv=notrunc status=none
	up
	echo Z | dd of="$M/f" bs=1 seek=100 conv=notrunc status=none
	cmp "$M/f" "$D/want" || fail "the data differs"
	down
	cmp "$U/f" "$D/want" || fail "the data in the upper differs"
	local lower upper
	lower=$(stat -c %b "$L/f") upper=$(stat -c %b "$U/f")
	[ "$upper" -le $((lower + 2048)) ] || fail "$lower blocks became $upper"
}

all_types() {
	sample "$L"
	cp -a "$L" "$D/want"
	up
	local dir
	# Everything is brought up by a change that leaves no trace.
	for dir in "$D/want" "$M"; do
		(cd "$dir" && find . -mindepth 1 -exec chown -h +0:+0 {} +)
		find "$dir" -type f -exec chmod 644 {} +
		touch -d '2001-02-03 04:05:06 UTC' "$dir"
	done
	same "$D/want" "$M"
	again
	same "$D/want" "$M"
	eq "names in the upper" "$(names "$D/want")" "$(names "$U")"
}

# Each line: a change, and the blocks that the upper may have after it. The layer's file has 64 MiB.
no_data() {
	head -c 64M /dev/urandom >"$L/big"
	local n before used
	for n in remove truncate open rename-over; do cp --reflink=auto "$L/big" "$L/$n"; done
	up
	before=$(du -sk "$U" "$W" | awk '{ n += $1 } END { print n }')
	rm "$M/remove"
	: >"$M/truncate"
	: >>"$M/open"
	: >"$M/new"
	mv "$M/new" "$M/rename-over"
	sync -f "$M"
	used=$(du -sk "$U" "$W" | awk '{ n += $1 } END { print n }')
	[ $((used - before)) -lt 1024 ] || fail "$((used - before)) KiB more in upper and work"
	eq "sizes" "0 $((64 << 20)) 0" "$(stat -c %s "$M"/{truncate,open,rename-over} | tr '\n' ' ' | sed 's/ $//')"
	cmp "$M/big" "$L/big"
}

many_at_once() {
	mkdir "$L/d"
	head -c 8M /dev/urandom >"$L/d/big"
	up
	py "$M/d/big" "$L/d/big" <<'P'
path, layer = sys.argv[1:]
SIZE = os.path.getsize(layer)

def work(number):
    fd = os.open(path, os.O_RDWR)
    for i in range(number, 64, 8):
        os.pwrite(fd, b"%08d" % i, i * (SIZE // 64))
    os.fsync(fd)

eq("writers", [0] * 8, in_parallel(work, 8))
want = bytearray(open(layer, "rb").read())
for i in range(64):
    want[i * (SIZE // 64):i * (SIZE // 64) + 8] = b"%08d" % i
if open(path, "rb").read() != want:
    fail("a write or a part of the old content is missing")
P
	local before
	before=$(sha256sum <"$M/d/big")
	again
	eq "after a remount" "$before" "$(sha256sum <"$M/d/big")"
}

holds "mode, owner and times to the nanosecond stay at a copy-up" metadata
holds "every kind of change copies up, and changes only what it says" each_change
holds "the parents keep mode, owner, times, xattrs and ACLs" parents
holds "xattrs, ACLs and capabilities come along whole" xattrs
holds "access control lists and groups are none of the work directory" not_inherited
holds "holes stay holes" holes
holds "every type of file is copied up as what it is" all_types
holds "removing, truncating to nothing, opening and renaming over copy no data" no_data
holds "eight processes that copy up one file lose nothing" many_at_once
finish
