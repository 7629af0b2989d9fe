#!/bin/bash
# Names and paths: as long, as deep and as odd as file systems allow.
. "$(dirname "$0")/lib.sh"

longest() {
	local n
	n=$(printf 'n%.0s' {1..254})
	echo l >"$L/${n}1"
	mkdir "$L/${n}2"
	echo l >"$L/${n}5"
	ln -s x "$L/${n}7"
	up
	eq "listed" "${n}1 ${n}2 ${n}5 ${n}7" "$(names "$M")"
	touch "$M/${n}3" || fail "create"
	mkdir "$M/${n}4" || fail "mkdir"
	echo m >>"$M/${n}5" || fail "write"
	rm "$M/${n}1" || fail "remove"
	rmdir "$M/${n}2" || fail "rmdir"
	mv "$M/${n}5" "$M/${n}6" || fail "rename"
	ln "$M/${n}6" "$M/${n}8" || fail "link"
	mv "$M/${n}7" "$M/${n}1" || fail "rename over a whiteout"
	py "$M/${n}12" <<'P'
fails("256 bytes: create", "ENAMETOOLONG", os.open, sys.argv[1], os.O_CREAT)
fails("256 bytes: stat", "ENAMETOOLONG", os.stat, sys.argv[1])
fails("256 bytes: mkdir", "ENAMETOOLONG", os.mkdir, sys.argv[1])
P
	again
	eq "after a remount" "${n}1 ${n}3 ${n}4 ${n}6 ${n}8" "$(names "$M")"
}

STEP=directory-with-a-name-of-some-fifty-characters

dig() {
	py "$1" $STEP <<'P'
os.chdir(sys.argv[1])
for i in range(250):
    os.mkdir(f"{sys.argv[2]}-{i:03}")
    os.chdir(f"{sys.argv[2]}-{i:03}")
spit("bottom", "deep")
os.symlink("bottom", "link")
P
}

deepest() {
	mkdir "$L/low"
	dig "$L/low"
	up
	mkdir "$M/new"
	dig "$M/new"
	py "$M/low" $STEP <<'P'
os.chdir(sys.argv[1])
for i in range(250):
    os.chdir(f"{sys.argv[2]}-{i:03}")
eq("content", "deep", slurp("bottom"))
append("bottom", "er")
eq("copied up", "deeper", slurp("link"))
os.rename("bottom", "b2")
os.mkdir("sub")
eq("listing", ["b2", "link", "sub"], sorted(os.listdir(".")))
P
	again
	eq "the bottom after a remount" deeper "$(find "$M/low" -name b2 -execdir cat {} \;)"
	rm -rf "$M/low" || fail "rm -rf of the lower tree"
	rm -rf "$M/new" || fail "rm -rf of the new tree"
	eq "left" "" "$(names "$M")"
}

odd() {
	py "$L" <<'P'
os.chdir(os.fsencode(sys.argv[1]))
for byte in range(1, 256):
    if byte != ord("/"):
        spit(b"low" + bytes([byte]), bytes([byte]))
spit(b"\xff\xfe not utf-8", "x")
spit("ünï-ç∂é", "x")
P
	up
	py "$M" <<'P'
os.chdir(os.fsencode(sys.argv[1]))
listed = set(os.listdir(b"."))
eq("names", 256, len(listed))
for byte in range(1, 256):
    if byte == ord("/"):
        continue
    name = b"low" + bytes([byte])
    eq(f"{name} is listed", True, name in listed)
    eq(f"content of {name}", bytes([byte]), open(name, "rb").read())
    if byte % 2:
        os.rename(name, b"new" + bytes([byte]))
    else:
        os.unlink(name)
    spit(b"made" + bytes([byte]), "")
spit("sys-", "")
P
	again
	py "$M" <<'P'
listed = os.listdir(os.fsencode(sys.argv[1]))
for start, count in ((b"low", 0), (b"new", 127), (b"made", 254)):
    eq(f"names that begin with {start}", count, len([n for n in listed if n.startswith(start)]))
P
}

symlinks() {
	local long
	long=$(printf '%04095d' 0)
	ln -s "$long" "$L/long"
	ln -s . "$L/self"
	ln -s loop "$L/loop"
	ln -s / "$L/root"
	ln -s ../../../../../etc "$L/out"
	mkdir "$L/d"
	echo f >"$L/d/f"
	ln -s ../d/f "$L/d/l"
	up
	eq "target of 4095 bytes" "$long" "$(readlink "$M/long")"
	ln -s "$long" "$M/new" || fail "making one of 4095 bytes"
	eq "through it" f "$(cat "$M/self/self/d/l")"
	py "$M" <<'P'
os.chdir(sys.argv[1])
fails("open of a loop", "ELOOP", open, "loop")
fails("O_NOFOLLOW", "ELOOP", os.open, "self", os.O_RDONLY | os.O_NOFOLLOW)
fails("a target that is too long", "ENAMETOOLONG", os.symlink, "x" * 4096, "toolong")
eq("size", 4095, os.lstat("new").st_size)
os.lchown("root", 5, 6)
os.utime("out", ns=(1, 2), follow_symlinks=False)
eq("owner", (5, 6), (os.lstat("root").st_uid, os.lstat("root").st_gid))
eq("times", (1, 2), (os.lstat("out").st_atime_ns, os.lstat("out").st_mtime_ns))
P
	again
	eq "copied-up links" "/ ../../../../../etc" "$(readlink "$M/root") $(readlink "$M/out")"
}

holds "names of 255 bytes can be used for everything" longest
holds "paths of 12,000 bytes can be used for everything" deepest
holds "names may hold any byte" odd
holds "symlinks of any length and target stay as they are" symlinks
finish
