#!/bin/bash
# Open files: a descriptor is the file, whatever happens to its layer or its names.
. "$(dirname "$0")/lib.sh"

sees_writes() {
	echo first >"$L/log"
	up
	py "$M/log" <<'P'
path = sys.argv[1]
fd = os.open(path, os.O_RDONLY)
shared = mmap.mmap(fd, 6, prot=mmap.PROT_READ)
eq("first read", b"first\n", os.read(fd, 100))
append(path, "second\n")
eq("size by the old descriptor", 13, os.fstat(fd).st_size)
eq("what was appended", b"second\n", os.read(fd, 100))
with open(path, "r+") as f:
    f.write("FIRST")
eq("what was overwritten", b"FIRST\n", os.pread(fd, 6, 0))
eq("by the old mapping", b"FIRST\n", shared[:])
shared.close()
os.truncate(path, 3)
eq("size after truncate", 3, os.fstat(fd).st_size)
eq("content after truncate", b"FIR", os.pread(fd, 100, 0))
os.chmod(path, 0o604)
eq("mode by the old descriptor", 0o604, os.fstat(fd).st_mode & 0o777)
eq("inode", os.stat(path).st_ino, os.fstat(fd).st_ino)
P
	timeout 20 tail -n 0 -F "$M/log" >"$D/tail" 2>/dev/null &
	local i tail=$!
	sleep 0.5
	echo third >>"$M/log"
	for ((i = 0; i < 100; i++)); do
		grep -q third "$D/tail" && break
		sleep 0.1
	done
	kill $tail
	wait $tail
	[ $i -lt 100 ] || fail "tail -F does not print what was written"
}

unlinked() {
	local n
	for n in low low-ro over gone; do echo lower-content >"$L/$n"; done
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
for name, how, flags in (("new", os.unlink, os.O_RDWR | os.O_CREAT), ("low", os.unlink, os.O_RDWR),
                         ("low-ro", os.unlink, os.O_RDONLY), ("over", None, os.O_RDWR)):
    fd = os.open(name, flags, 0o644)
    if name == "new":
        os.write(fd, b"lower-content\n")
    if how:
        how(name)
        spit(name, "other")
    else:
        spit("other", "other")
        os.rename("other", name)
    eq(f"{name}: links", 0, os.fstat(fd).st_nlink)
    eq(f"{name}: size", 14, os.fstat(fd).st_size)
    os.fchmod(fd, 0o600)
    os.fchown(fd, 7, 8)
    os.setxattr(fd, "user.x", b"y")
    os.utime(fd, ns=(10**9, 2 * 10**9 + 7))
    eq(f"{name}: mtime", 2 * 10**9 + 7, os.fstat(fd).st_mtime_ns)
    if flags & os.O_RDWR:
        os.ftruncate(fd, 3)
        os.pwrite(fd, b"LOW", 0)
        os.fsync(fd)
        fallocate(fd, 0, 0, 5)
    st = os.fstat(fd)
    eq(f"{name}: mode, owner", (0o600, 7, 8), (st.st_mode & 0o7777, st.st_uid, st.st_gid))
    eq(f"{name}: xattr", b"y", os.getxattr(fd, "user.x"))
    eq(f"{name}: content", b"LOW\0\0" if flags & os.O_RDWR else b"lower-content\n", os.pread(fd, 99, 0))
    st = os.stat(name)
    eq(f"{name}: the new file", ("other", 0o644, 0), (slurp(name), st.st_mode & 0o7777, st.st_uid))
    fails(f"{name}: a new name for it", "ENOENT", name_it, fd, "again")
P
	again
	eq "after a remount" "gone low low-ro new over" "$(names "$M")"
	eq "other files" "otherotherotherother" "$(cat "$M"/{low,low-ro,new,over})"
}

survives_caches() {
	need_root
	head -c 300000 /dev/urandom >"$L/low"
	up
	py "$M" "$L/low" <<'P'
os.chdir(sys.argv[1])
want = open(sys.argv[2], "rb").read()
fds = [os.open("low", os.O_RDONLY)]
spit("new", want)
fds.append(os.open("new", os.O_RDWR))
os.unlink("low")
os.unlink("new")
os.mkdir("dir")
held = os.open("dir", os.O_RDONLY)
os.rmdir("dir")
os.sync()
spit("/proc/sys/vm/drop_caches", "3")
for fd in fds:
    eq("content after the caches were dropped", True, os.pread(fd, 400000, 0) == want)
eq("links", [0, 0], [os.fstat(fd).st_nlink for fd in fds])
eq("listing of a removed directory", [], os.listdir(held))
fails("create in a removed directory", "ENOENT", os.open, "f", os.O_CREAT | os.O_WRONLY, dir_fd=held)
P
}

# More unlinked files than the server may have descriptors.
many_unlinked() {
	mkdir "$L/d"
	(cd "$L/d" && for i in {1..300}; do echo "low $i" >"$i"; done)
	(ulimit -n 128 && up) || exit
	py "$M" <<'P'
os.chdir(sys.argv[1])
fds = {}
for i in range(1, 301):
    fds[i] = os.open(f"d/{i}", os.O_RDWR)
    os.unlink(f"d/{i}")
for i in range(301, 601):
    fds[i] = os.open(f"d/{i}", os.O_RDWR | os.O_CREAT)
    os.write(fds[i], b"low %d\n" % i)
    os.unlink(f"d/{i}")
os.sync()
spit("/proc/sys/vm/drop_caches", "3") if os.getuid() == 0 else None
eq("names left", [], os.listdir("d"))
for i, fd in fds.items():
    eq(f"content of {i}", b"low %d\n" % i, os.pread(fd, 100, 0))
    os.pwrite(fd, b"LOW", 0)
    os.fsync(fd)
for i, fd in fds.items():
    eq(f"content of {i}", b"LOW %d\n" % i, os.pread(fd, 100, 0))
    os.close(fd)
P
	down
	eq "left in the work directory" "" "$(find "$W" -type f -size +0)"
}

nameless() {
	mkdir "$L/d"
	up
	py "$M/d" <<'P'
os.chdir(sys.argv[1])
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b"hello")
st = os.fstat(fd)
eq("mode and links", (0o640, 0), (st.st_mode & 0o777, st.st_nlink))
eq("listing", [], os.listdir("."))
name_it(fd, "named")
eq("listing", ["named"], os.listdir("."))
eq("content", "hello", slurp("named"))
eq("links", 1, os.fstat(fd).st_nlink)
os.write(fd, b" world")
os.link("named", "second")
eq("links", 2, os.fstat(fd).st_nlink)
eq("content", "hello world", slurp("second"))
os.umask(0o027)
fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o666)
eq("mode under the umask", 0o640, os.fstat(fd).st_mode & 0o777)
fails("a name for an O_EXCL one", "ENOENT", name_it, fd, "third")
P
	again
	eq "after a remount" "hello world" "$(cat "$M/d/named")"
	eq "names" "d d/named d/second" "$(names "$M")"
}

moved() {
	mkdir -p "$L/a" "$L/b"
	echo x >"$L/a/f"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
fd = os.open("a/f", os.O_RDWR)
os.rename("a/f", "b/g")
os.write(fd, b"moved")
eq("content by the new name", "moved", slurp("b/g"))
os.rename("b/g", "h")
os.ftruncate(fd, 2)
eq("content by the newest name", "mo", slurp("h"))
os.mkdir("new")
at = os.open("new", os.O_RDONLY)
os.rename("new", "b/newer")
os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=at))
eq("created by the descriptor of a moved directory", ["f"], os.listdir("b/newer"))
P
}

# A running program can be replaced but not written to, and goes on.
programs() {
	cp /bin/sleep "$L/low"
	up
	cp /bin/sleep "$M/new"
	local n pid
	for n in low new; do
		"$M/$n" 30 &
		pid=$!
		sleep 0.2
		py "$M/$n" <<'P'
fails("write to a running program", "ETXTBSY", os.open, sys.argv[1], os.O_WRONLY)
P
		cp /bin/true "$D/true"
		cp "$D/true" "$M/$n.tmp"
		mv "$M/$n.tmp" "$M/$n"
		"$M/$n" 30 || fail "the new program does not run"
		kill -0 $pid || fail "the old program has ended"
		kill $pid
		wait $pid || :
	done
}

holds "a descriptor sees what is written later through another one" sees_writes
holds "an unlinked file goes on working until it is closed" unlinked
holds "unlinked files and directories survive the dropping of caches" survives_caches
holds "hundreds of unlinked files work with 128 descriptors" many_unlinked
holds "a file without a name can be made, and given one" nameless
holds "a descriptor follows its file and directory to a new name" moved
holds "a running program can be replaced, and goes on" programs
finish
