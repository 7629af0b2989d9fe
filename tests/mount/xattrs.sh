#!/bin/bash
# Extended attributes: of any length that the layers take, in every space, and plyfs's own stay hidden.
. "$(dirname "$0")/lib.sh"

biggest() {
	loopfs "$D/fs" 64M mkfs.ext4 -q -b 4096 -O ea_inode
	mkdir "$D"/fs/{lower,upper,work}
	L=$D/fs/lower U=$D/fs/upper W=$D/fs/work
	echo x >"$L/f"
	py "$L/f" <<'P'
if err(os.setxattr, sys.argv[1], "user.big", b"ab" * 32768):
    skip("ext4 has no big xattrs here")
for i in range(15):
    os.setxattr(sys.argv[1], "user." + str(i) + "n" * 180, b"v")
P
	up
	py "$M" "$U" <<'P'
os.chdir(sys.argv[1])
eq("length from the layer", 65536, len(os.getxattr("f", "user.big")))
os.chmod("f", 0o600)
for path in ("f", f"{sys.argv[2]}/f"):
    eq("copied up whole", b"ab" * 32768, os.getxattr(path, "user.big"))
    eq("names", 16, len([n for n in os.listxattr(path) if n.startswith("user.") and "overlay" not in n]))
spit("g", "x")
os.setxattr("g", "user.new", b"z" * 65536)
eq("set through the mount", b"z" * 65536, os.getxattr("g", "user.new"))
fails("65,537 bytes", "E2BIG", os.setxattr, "g", "user.new", b"z" * 65537)
eq("still there", 65536, len(os.getxattr("g", "user.new")))
P
}

# Attributes that leave no room for marks: what of the layer's files can be changed all the same.
full() {
	loopfs "$D/fs" 64M mkfs.ext4 -q -b 4096
	mkdir -p "$D"/fs/{lower/{d,full},upper,work}
	L=$D/fs/lower U=$D/fs/upper W=$D/fs/work
	py "$L" <<'P'
os.chdir(sys.argv[1])

def fill(path):
    n, size = 0, 4000
    while size:
        if err(os.setxattr, path, f"user.{n}", b"x" * size):
            size //= 2
        n += 1

for name in "moded", "written", "moved", "emptied", "cut":
    spit(f"d/{name}", f"lower {name}")
    fill(f"d/{name}")
    os.utime(f"d/{name}", (10**9, 10**9))
spit("full/f", "lower f")
fill("full")
P
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
os.chmod("d/moded", 0o600)
fd = os.open("d/written", os.O_WRONLY | os.O_APPEND)
os.write(fd, b" and more")
os.fsync(fd)
os.close(fd)
os.rename("d/moved", "moved")
os.truncate("d/emptied", 0)
os.truncate("d/cut", 5)
os.chmod("full/f", 0o600)
os.rename("full/f", "full/g")
P
	local again
	for again in "" yes; do
		[ -z "$again" ] || again
		py "$M" <<'P'
os.chdir(sys.argv[1])
for name, text in ("d/moded", "lower moded"), ("d/written", "lower written and more"), ("moved", "lower moved"), \
        ("d/emptied", ""), ("d/cut", "lower"), ("full/g", "lower f"):
    eq(name, text, slurp(name))
eq("mode", 0o600, os.stat("d/moded").st_mode & 0o777)
eq("time", 10**9, os.stat("d/moded").st_mtime)
eq("attributes", sorted(os.listxattr("d/moded")), sorted(os.listxattr("moved")))
P
	done
}

calls() {
	echo x >"$L/f"
	setfattr -n user.low -v value "$L/f"
	mkdir "$L/d"
	ln -s f "$L/s"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
for name in ("f", "d", "new"):
    if name == "new":
        spit(name, "")
    os.setxattr(name, "user.a", b"1", os.XATTR_CREATE)
    fails("XATTR_CREATE of what is there", "EEXIST", os.setxattr, name, "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(name, "user.a", b"3", os.XATTR_REPLACE)
    fails("XATTR_REPLACE of what is not", "ENODATA", os.setxattr, name, "user.b", b"2", os.XATTR_REPLACE)
    eq("value", b"3", os.getxattr(name, "user.a"))
    os.setxattr(name, "user.none", b"")
    eq("empty value", b"", os.getxattr(name, "user.none"))
    os.setxattr(name, "user.zero", b"\0\1\0")
    eq("binary value", b"\0\1\0", os.getxattr(name, "user.zero"))
    eq("a short buffer", (-1, errno.ERANGE),
       (libc.getxattr(name.encode(), b"user.zero", ctypes.create_string_buffer(2), 2), ctypes.get_errno()))
    eq("a short buffer for the list", (-1, errno.ERANGE),
       (libc.listxattr(name.encode(), ctypes.create_string_buffer(2), 2), ctypes.get_errno()))
    os.removexattr(name, "user.none")
    fails("removed", "ENODATA", os.getxattr, name, "user.none")
    fails("removing what is not there", "ENODATA", os.removexattr, name, "user.none")
    fails("an unknown space", "EOPNOTSUPP", os.setxattr, name, "strange.a", b"1")
os.removexattr("f", "user.low")
eq("list", ["user.a", "user.zero"], sorted(n for n in os.listxattr("f") if n.startswith("user.")))
fails("user space on a symlink", "EPERM", os.setxattr, "s", "user.a", b"1", follow_symlinks=False)
if os.getuid() == 0:
    os.setxattr("s", "trusted.a", b"1", follow_symlinks=False)
    eq("trusted space on a symlink", b"1", os.getxattr("s", "trusted.a", follow_symlinks=False))
P
	again
	eq "after a remount" 'user.a="3" user.zero=0sAAEA' "$(getfattr --absolute-names -d -m user "$M/f" | grep -v '^#' | tr '\n' ' ' | sed 's/ *$//')"
}

hidden() {
	mkdir -p "$L/d"
	touch "$L/d/f" "$L/g"
	up
	rm -r "$M/d"
	mkdir "$M/d"
	chmod 700 "$M/g"
	eq "visible marks" "" "$(getfattr --absolute-names -R -d -m 'overlay' "$M")"
	py "$M" <<'P'
os.chdir(sys.argv[1])
for name in ("trusted.overlay.opaque", "trusted.overlay.origin", "user.overlay.opaque", "user.fuseoverlayfs.opaque"):
    fails(f"reading {name}", "ENODATA", os.getxattr, "d", name)
P
}

at_once() {
	mkdir "$L/d"
	echo x >"$L/d/f"
	up
	py "$M/d/f" <<'P'
path = sys.argv[1]

def work(number):
    for i in range(100):
        os.setxattr(path, f"user.{number}", b"%d" % i)
        eq("what was set", b"%d" % i, os.getxattr(path, f"user.{number}"))
        if i % 10 == 5:
            os.listxattr(path)

eq("status", [0] * 4, in_parallel(work, 4))
eq("all there", {f"user.{n}": b"99" for n in range(4)}, {f"user.{n}": os.getxattr(path, f"user.{n}") for n in range(4)})
P
}

switched_off() {
	touch "$L/f"
	setfattr -n user.x -v y "$L/f"
	up "$L" noxattrs=1
	local out
	out=$(getfattr -d "$M/f" 2>&1)
	case $out in *'user.x="y"'*) fail "noxattrs=1 is ignored" ;; esac
	echo more >>"$M/f" || fail "writing"
	down
	eq "copied up all the same" y "$(getfattr --absolute-names --only-values -n user.x "$U/f")"
}

holds "values of 64 KiB and lists of 3 KB" biggest
holds "a file whose attributes fill all the room is changed as any" full
holds "create, replace, remove and list" calls
holds "marks are hidden" hidden
holds "four processes set xattrs on one file" at_once
holds "noxattrs switches them off" switched_off
finish
