#!/bin/bash
# Inode numbers: unique in the mount, the same in stat and readdir, and the same for ever.
. "$(dirname "$0")/lib.sh"

kept() {
	mkdir -p "$D/l2/bin" "$L/bin" "$L/d"
	echo b >"$D/l2/bin/busybox"
	ln "$D/l2/bin/busybox" "$D/l2/bin/arch"
	echo b >"$L/bin/busybox"
	ln -s busybox "$L/bin/arch"
	echo f >"$L/f"
	echo g >"$L/d/g"
	ln -s x "$L/s"
	mkfifo "$L/p"
	up "$L:$D/l2"
	py "$M" "$D/inodes" <<'P'
os.chdir(sys.argv[1])
names = ["f", "d", "d/g", "s", "p", "bin", "bin/arch", "bin/busybox"]

def inodes():
    for d in (".", "d", "bin"):
        for e in os.scandir(d):
            eq(f"number in the listing of {d}/{e.name}", os.lstat(e.path).st_ino, e.inode())
    return {n: os.lstat(n).st_ino for n in names}

was = inodes()
eq("numbers", len(names), len(set(was.values())))
fd = os.open("f", os.O_RDONLY)
for n in ("f", "d/g", "bin/busybox"):
    append(n, "z")
os.chmod("d", 0o700)
os.lchown("s", 1, 1)
os.chown("p", 1, 1)
eq("after copy-up", was, inodes())
eq("by an old descriptor", was["f"], os.fstat(fd).st_ino)
os.rename("f", "d/f")
eq("after a rename", was["f"], os.stat("d/f").st_ino)
os.rename("d/f", "f")
spit(sys.argv[2], repr(was))
P
	again "$L:$D/l2"
	py "$M" "$D/inodes" <<'P'
os.chdir(sys.argv[1])
was = eval(slurp(sys.argv[2]))
eq("after a remount", was, {n: os.lstat(n).st_ino for n in was})
P
}

two_file_systems() {
	need_root
	local i f
	for i in 1 2 3; do
		mkdir "$D/fs$i"
		mount -t tmpfs -o inode32 tmpfs "$D/fs$i" || skip "no tmpfs"
		mkdir "$D/fs$i/d" "$D/fs$i/only$i"
		for f in a b c e; do
			echo "$i$f" >"$D/fs$i/d/$f$i"
			echo "$i$f" >"$D/fs$i/only$i/$f"
		done
	done
	eq "numbers on the file systems" "$(stat -c %i "$D/fs1/d/a1")" "$(stat -c %i "$D/fs2/d/a2")"
	mkdir "$D"/fs3/{upper,work}
	U=$D/fs3/upper W=$D/fs3/work
	up "$D/fs1:$D/fs2"
	eq "data" "1a 2a 1b 2b 1c 2c 1e 2e " "$(cat "$M"/d/* | tr '\n' ' ')"
	local before
	before=$(cd "$M" && find . -printf '%p %D %i\n' | sort)
	echo z >>"$M/d/a1"
	echo z >>"$M/d/b2"
	chmod 600 "$M/only1/a"
	chmod 700 "$M/only2"
	eq "data after copy-ups" "1a z 2a 1b 2b z 1c 2c 1e 2e " "$(cat "$M"/d/* | tr '\n' ' ')"
	eq "modes" "600 644" "$(words stat -c %a "$M/only1/a" "$M/only2/a")"
	alike "numbers after copy-ups" "$before" "$(cd "$M" && find . -printf '%p %D %i\n' | sort)"
	eq "different numbers" 20 "$(find "$M" -printf '%D %i\n' | sort -u | wc -l)"
	eq "hard links that tar sees" "" "$(tar -cf - -C "$M" . | tar -tvf - | grep '^h')"
	again
	alike "numbers after a remount" "$(cut -d' ' -f1,3 <<<"$before")" "$(cd "$M" && find . -printf '%p %i\n' | sort)"
}

unique() {
	mkdir "$L/d" "$D/l2" "$D/l2/d"
	(cd "$L/d" && seq -f 'low-%.0f' 2000 | xargs touch)
	(cd "$D/l2/d" && seq -f 'low-%.0f' 1000 3000 | xargs touch)
	up "$L:$D/l2"
	py "$M/d" <<'P'
os.chdir(sys.argv[1])
for i in range(1, 3001, 3):
    append(f"low-{i}", "x")
for i in range(2, 3001, 3):
    os.unlink(f"low-{i}")
    spit(f"new-{i}", "n")
listed = {e.name: e.inode() for e in os.scandir(".")}
eq("names", 3000, len(listed))
eq("numbers", 3000, len(set(listed.values())))
for name, number in listed.items():
    eq(f"stat of {name}", number, os.stat(name).st_ino)
eq("the directory itself", False, os.stat(".").st_ino in listed.values())
P
}

reused() {
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
# The file system below hands numbers out again; a file that is still open keeps its own to itself.
held = {}
for i in range(200):
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    number = os.fstat(fd).st_ino
    eq(f"file {i} has a number of its own", False, number in held)
    held[number] = fd
    os.write(fd, b"%d" % i)
    os.unlink("f")
for i, fd in enumerate(held.values()):
    eq(f"content of {i}", b"%d" % i, os.pread(fd, 10, 0))
P
}

# Without an index the names of one lower file become two files, which must not look like one.
parted() {
	echo one >"$L/a"
	ln "$L/a" "$L/b"
	echo alone >"$L/c"
	local was
	was=$(stat -c %i "$L/c")
	up "$L" index=off
	echo more >>"$M/a"
	echo more >>"$M/c"
	again "$L" index=off
	eq "contents" $'one\nmore\none' "$(cat "$M/a" "$M/b")"
	[ "$(stat -c %i "$M/a")" != "$(stat -c %i "$M/b")" ] || fail "one number for both"
	eq "in the listing" "$(stat -c '%i %n' "$M/a" "$M/b")" "$(find "$M" -name '[ab]' -printf '%i %p\n' | sort -k2)"
	cmp -s "$M/a" "$M/b" && fail "cmp takes them for one"
	eq "of the file with one name" "$was" "$(stat -c %i "$M/c")"
	down
	# Names made without an index are no part of one that is made later.
	ln "$U/a" "$U/linked"
	up
	echo even >>"$M/b"
	again
	eq "contents with an index" $'one\nmore\none\nmore\none\neven' "$(cat "$M/a" "$M/linked" "$M/b")"
	eq "linked" "$(stat -c %i "$M/a")" "$(stat -c %i "$M/linked")"
	[ "$(stat -c %i "$M/a")" != "$(stat -c %i "$M/b")" ] || fail "one number with an index"
}

holds "names that parted have numbers of their own" parted
holds "numbers are unique, equal in listings, and kept by copy-up, rename and remount" kept
holds "files of two file systems with one number are two files" two_file_systems
holds "the numbers of a merged directory are unique, through changes" unique
holds "an unlinked file that is open keeps its number for itself" reused
finish
