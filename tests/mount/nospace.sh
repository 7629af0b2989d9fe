#!/bin/bash
# A full upper: errors are told, and nothing is lost or left half-way.
. "$(dirname "$0")/lib.sh"
need_root

small_upper() {
	loopfs "$D/fs" 24M mkfs.ext4 -q -m 0
	mkdir "$D"/fs/{upper,work}
	U=$D/fs/upper W=$D/fs/work
	mkdir "$L/d"
	yes abcdefg | head -c 40M >"$L/d/big"
	echo s >"$L/small"
}

# room BLOCKS: waits until so many are free: the kernel tells in its own time that nobody has a removed file open
room() {
	local i
	for ((i = 0; i < 200; i++)); do
		[ "$(stat -f -c %a "$D/fs")" -lt "$1" ] || return 0
		sleep 0.02
	done
	fail "there is no room after the removal"
}

copy_up() {
	small_upper
	up
	local before after
	before=$(stat -f -c %a "$D/fs")
	py "$M/d/big" <<'P'
path = sys.argv[1]

def writes():
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, b"X", 1000)
        os.fsync(fd)
    finally:
        os.close(fd)

seen = {}
for what, change in (("open", lambda: os.close(os.open(path, os.O_WRONLY))), ("chmod", lambda: os.chmod(path, 0o640)),
                     ("write", writes)):
    seen[what] = err(change)
    if seen[what] not in (0, errno.ENOSPC):
        fail(f"{what}: {ename(seen[what])}")
eq("a write that cannot be kept", "ENOSPC", ename(seen["write"]))
P
	sync -f "$D/fs"
	echo 3 >/proc/sys/vm/drop_caches
	cmp "$M/d/big" "$L/d/big" || fail "the old content is not to be read any more"
	after=$(stat -f -c %a "$D/fs")
	[ $((before - after)) -lt 600 ] || fail "$((before - after)) blocks are lost"
	eq "half files in the upper" "" "$(find "$U" -name 'big*' -size +0 -size -40960k)"
	echo ok >>"$M/small" || fail "a small write"
	again
	cmp "$M/d/big" "$L/d/big" || fail "the old content is not there after a remount"
	eq "the small file" $'s\nok' "$(cat "$M/small")"
}

# What takes no room works on a full disk.
full() {
	small_upper
	mkdir "$L/many"
	touch "$L"/many/{1..50}
	up
	head -c 40M /dev/zero >"$M/filler" 2>"$D/out"
	sync -f "$M/filler" 2>/dev/null
	# A write of a megabyte may have found no room as a whole.
	[ "$(stat -f -c %a "$D/fs")" -lt 2000 ] || fail "the disk is not full"
	rm "$M/filler" || fail "removing what fills it"
	room 19000
	head -c 18M /dev/urandom >"$M/filler" || fail "filling it again"
	truncate -s 0 "$M/d/big" || fail "truncating a file that is bigger than the disk"
	rm "$M/d/big" || fail "removing a file that is bigger than the disk"
	rm -r "$M/many" || fail "removing a directory"
	rm "$M/filler"
	again
	eq "names" "d small" "$(names "$M")"
}

writing() {
	small_upper
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
# Whoever waits for his data learns that there is no room for them.
fd = os.open("new", os.O_CREAT | os.O_WRONLY)
def fill():
    for _ in range(64):
        os.write(fd, b"x" * (1 << 20))
    os.fsync(fd)
fails("writing 64 MiB", "ENOSPC", fill)
err(os.close, fd)
fd = os.open("reserved", os.O_CREAT | os.O_WRONLY)
fails("fallocate", "ENOSPC", fallocate, fd, 0, 0, 64 << 20)
os.close(fd)
os.unlink("new")
os.unlink("reserved")
# Room is free again when the kernel has told the server that nobody has the files open, which it does in its own time.
for _ in range(200):
    if err(spit, "after", "fine") != errno.ENOSPC:
        break
    time.sleep(0.02)
P
	again
	eq "afterwards" fine "$(cat "$M/after")"
}

# The last of the room is a part of what one request brings.
partly() {
	mkdir "$D/fs"
	mount -t tmpfs -o size=400k none "$D/fs" || fail "no tmpfs"
	mkdir "$D"/fs/{upper,work}
	U=$D/fs/upper W=$D/fs/work
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
fd = os.open("new", os.O_CREAT | os.O_WRONLY)
os.write(fd, b"x" * 700000)
fails("fsync of what found room only in part", "ENOSPC", os.fsync, fd)
err(os.close, fd)
P
	rm "$M/new"
	down
	umount "$D/fs"
}

no_inodes() {
	loopfs "$D/fs" 24M mkfs.ext4 -q -m 0 -N 64
	mkdir "$D"/fs/{upper,work}
	U=$D/fs/upper W=$D/fs/work
	mkdir "$L/d"
	for n in {1..100}; do echo $n >"$L/d/$n"; done
	up
	py "$M/d" <<'P'
os.chdir(sys.argv[1])
seen = set()
for i in range(1, 101):
    seen.add(err(os.chmod, str(i), 0o600))
    seen.add(err(spit, f"new{i}", ""))
eq("answers", {"success", "ENOSPC"}, {ename(e) for e in seen})
for i in range(1, 101):
    eq(f"content of {i}", f"{i}\n", slurp(str(i)))
for name in os.listdir("."):
    os.lstat(name)
P
	local before
	before=$(cd "$M" && stat -c '%n %a %s' d/* | sort)
	again
	alike "after a remount" "$before" "$(cd "$M" && stat -c '%n %a %s' d/* | sort)"
}

holds "a copy-up without room fails with ENOSPC, and the old content stays" copy_up
holds "removing and truncating work on a full disk" full
holds "a writer learns that the disk is full" writing
holds "a write that finds room for a part of it is an error" partly
holds "running out of inodes harms nothing" no_inodes
finish
