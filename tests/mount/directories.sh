#!/bin/bash
# Directories: listing, seeking, removing, and changing what is being listed.
. "$(dirname "$0")/lib.sh"

big_merged() {
	mkdir "$L/d" "$D/l2" "$D/l2/d" "$U/d"
	(cd "$D/l2/d" && seq -f 'name-with-some-length-%.0f' 3000 | xargs touch)
	(cd "$L/d" && seq -f 'name-with-some-length-%.0f' 2001 5000 | xargs touch)
	touch "$U/d/name-with-some-length-"{10,4000,5001}
	up "$L:$D/l2"
}

DIRENT='
for name in "opendir", "fdopendir", "readdir":
    getattr(libc, name).restype = ctypes.c_void_p
for name in "readdir", "telldir", "rewinddir", "closedir":
    getattr(libc, name).argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

def read(stream):
    entry = libc.readdir(stream)
    return os.fsdecode(ctypes.string_at(entry + 19)) if entry else None

def read_all(stream):
    """[(position before it, name)] from here to the end"""
    found = []
    while True:
        at = libc.telldir(stream)
        name = read(stream)
        if name is None:
            return found
        found.append((at, name))
'

seek() {
	big_merged
	py "$M/d" <<P
$DIRENT
stream = libc.opendir(os.fsencode(sys.argv[1]))
listed = read_all(stream)
names = [name for _, name in listed]
eq("entries, and different ones", (5003, 5003), (len(names), len(set(names))))
for i in (4000, 0, 137, 5002, 2500, 1, 3333):
    libc.seekdir(stream, listed[i][0])
    eq(f"entry {i} after seekdir", names[i], read(stream))
    if i + 1 < len(names):
        eq(f"the one after {i}", names[i + 1], read(stream))
libc.rewinddir(stream)
eq("after rewinddir", names, [name for _, name in read_all(stream)])
P
}

# What is there all the time is seen once; what comes or goes is seen at most once.
changing() {
	big_merged
	py "$M/d" <<P
$DIRENT
os.chdir(sys.argv[1])
stream = libc.opendir(b".")
seen = []
stay = {f"name-with-some-length-{i}" for i in range(1, 5002) if i % 3}
for step in range(1, 5002):
    name = read(stream)
    if name is None:
        break
    seen.append(name)
    if step % 3 == 0:
        os.unlink(f"name-with-some-length-{step}")
    if step % 10 == 0:
        spit(f"new-{step}", "")
    if step == 2000:
        os.rename("name-with-some-length-5000", "moved")
seen += [name for _, name in read_all(stream)]
eq("names seen twice", [], sorted({n for n in seen if seen.count(n) > 1}) if len(set(seen)) < len(seen) else [])
eq("names missed", [], sorted(stay - {"name-with-some-length-5000"} - set(seen)))
P
}

# As an NFS server does: a position is used again by another descriptor, after the caches were dropped.
positions_last() {
	need_root
	big_merged
	py "$M/d" <<P
$DIRENT
os.chdir(sys.argv[1])
listed = read_all(libc.opendir(b"."))
spit("/proc/sys/vm/drop_caches", "3")
os.unlink(listed[100][1]) if listed[100][1] not in (".", "..") else None
stream = libc.opendir(b".")
libc.seekdir(stream, listed[3000][0])
eq("the rest of the listing", [n for _, n in listed[3000:]], [n for _, n in read_all(stream)])
P
}

small_buffer() {
	big_merged
	py "$M/d" <<'P'
# getdents64 with room for one entry or two
fd = os.open(sys.argv[1], os.O_RDONLY)
room = ctypes.create_string_buffer(80)
names = []
while (got := libc.syscall(217 if os.uname().machine == "x86_64" else 61, fd, room, 80)) > 0:
    at = 0
    while at < got:
        length = struct.unpack_from("H", room.raw, at + 16)[0]
        names.append(room.raw[at + 19:at + length].split(b"\0")[0])
        at += length
eq("end", 0, got)
eq("entries, and different ones", (5003, 5003), (len(names), len(set(names))))
P
}

many_removed() {
	py "$L" "$U" <<'P'
for directory, first, last in ((sys.argv[1], 0, 16000), (sys.argv[2], 12000, 20000)):
    for i in range(20):
        os.makedirs(f"{directory}/t/{i}")
    for i in range(first, last):
        os.close(os.open(f"{directory}/t/{i % 20}/file-{i}", os.O_CREAT | os.O_WRONLY))
P
	echo keep >"$L/keep"
	up
	eq "entries" 20021 "$(find "$M/t" | wc -l)"
	rm -rf "$M/t" || fail "rm -rf"
	eq "left" keep "$(ls -A "$M")"
	again
	eq "left after a remount" keep "$(ls -A "$M")"
	eq "the upper" "t" "$(names "$U")"
}

removing() {
	mkdir -p "$L/full" "$L/empty" "$L/merged" "$U/merged"
	touch "$L/full/f" "$L/merged/f" "$L/file"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
fails("rmdir of a full directory", "ENOTEMPTY", os.rmdir, "full")
fails("rmdir of one that is full below", "ENOTEMPTY", os.rmdir, "merged")
fails("rmdir of a file", "ENOTDIR", os.rmdir, "file")
fails("unlink of a directory", "EISDIR", os.unlink, "empty")
fails("rmdir of nothing", "ENOENT", os.rmdir, "none")
fails("mkdir of what is there", "EEXIST", os.mkdir, "full")
os.rmdir("empty")
os.unlink("merged/f")
os.rmdir("merged")
os.unlink("full/f")
os.rmdir("full")
eq("left", ["file"], os.listdir("."))
os.mkdir("merged")
eq("made again", [], os.listdir("merged"))
os.mkdir("merged/f")
os.rmdir("merged/f")
os.rmdir("merged")
P
	again
	eq "after a remount" file "$(names "$M")"
}

dots() {
	mkdir -p "$L/d/e"
	up
	py "$M" <<P
$DIRENT
os.chdir(sys.argv[1] + "/d/e")
eq("names", [".", ".."], sorted(n for _, n in read_all(libc.opendir(b"."))))
eq("..", os.stat("../../d").st_ino, os.stat("..").st_ino)
os.chdir("..")
eq("cwd", sys.argv[1] + "/d", os.getcwd())
P
}

times() {
	mkdir "$L/d"
	touch "$L/d/f"
	touch -d '2001-01-01' "$L/d" "$L"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
old = os.stat("d").st_mtime
def changes(what, function, *args):
    for directory in ("d", "."):
        os.utime(directory, (old, old))
    function(*args)
    eq(f"{what} changes the directory's mtime", True, os.stat("d").st_mtime > old)
    eq(f"{what} leaves that of the directory above", old, os.stat(".").st_mtime)
changes("create", spit, "d/new", "")
changes("mkdir", os.mkdir, "d/sub")
changes("rename", os.rename, "d/new", "d/newer")
changes("unlink", os.unlink, "d/newer")
changes("unlink of a lower file", os.unlink, "d/f")
changes("rmdir", os.rmdir, "d/sub")
os.utime("d", (old, old))
P
	again
	eq "mtime after a remount" "$(stat -c %Y "$L/d")" "$(stat -c %Y "$M/d")"
}

holds "a position in a big merged directory is good for seekdir" seek
holds "what does not change is listed once while the rest changes" changing
holds "a position stays good after the caches were dropped" positions_last
holds "a listing in tiny steps is whole" small_buffer
holds "one rm -rf removes 20,000 merged entries" many_removed
holds "directories are removed only when they look empty" removing
holds "dot and dot-dot are right" dots
holds "a directory's mtime tells of changes in it, and of nothing else" times
finish
