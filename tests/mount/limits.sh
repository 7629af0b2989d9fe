#!/bin/bash
# Few descriptors, many files: the server keeps what it needs open, not what it has seen.
# timeout: 600
. "$(dirname "$0")/lib.sh"

# An ext4 without a journal is slow to give out inodes while others were just deleted.
on_tmpfs() {
	fs_of tmpfs "$D/fs"
	L=$D/fs/lower U=$D/fs/upper W=$D/fs/work
}

# 100,000 files in 500 directories, one in ten with content.
hundred_thousand() {
	py "$1" <<'P'
os.chdir(sys.argv[1])
for d in range(500):
    os.mkdir(f"d{d}")
    for i in range(200):
        fd = os.open(f"d{d}/f{i}", os.O_CREAT | os.O_WRONLY)
        if i % 10 == 0:
            os.write(fd, b"file %d of %d\n" % (i, d))
        os.close(fd)
P
}

walk_all() {
	on_tmpfs
	hundred_thousand "$L"
	(ulimit -n 256 && up) || exit
	local pid left changed
	pid=$(server)
	eq "found" 100501 "$(find "$M" | wc -l)"
	eq "matches" 500 "$(grep -rl 'file 70 of' "$M" | wc -l)"
	py "$M" <<'P'
os.chdir(sys.argv[1])
# As many open at a time as a client may have, each in another directory.
fds = [os.open(f"d{d}/f{d % 200}", os.O_RDWR) for d in range(500)]
for d, fd in enumerate(fds):
    os.pwrite(fd, b"new %d" % d, 0)
for fd in fds:
    os.fsync(fd)
os.sync()
for d, fd in enumerate(fds):
    eq(f"content of {d}", b"new %d" % d, os.pread(fd, len("new %d" % d), 0))
P
	eq "written" 500 "$(grep -rl '^new' "$M" | wc -l)"
	find "$M" -name 'f1*' -path '*d1*' -exec chmod 600 {} + || fail "chmod"
	left=$((100501 - $(find "$M" -name 'f2*' -path '*d2*' | wc -l)))
	find "$M" -name 'f2*' -path '*d2*' -delete || fail "delete"
	eq "left" $left "$(find "$M" | wc -l)"
	[ "$(ls "/proc/$pid/fd" | wc -l)" -le 256 ] || fail "the server has more descriptors than it may have"
	changed=$(grep -rl '^new' "$M" | wc -l)
	again
	eq "left after a remount" $left "$(find "$M" | wc -l)"
	eq "written, after a remount" "$changed" "$(grep -rl '^new' "$M" | wc -l)"
}

memory_freed() {
	need_root
	py "$L" <<'P'
os.chdir(sys.argv[1])
for d in range(20):
    os.mkdir(f"d{d}")
    for i in range(1000):
        os.close(os.open(f"d{d}/f{i}", os.O_CREAT | os.O_WRONLY))
P
	start_counted "lowerdir=$L,upperdir=$U,workdir=$W"
	local before after i
	for i in {1..5}; do # somebody else may drop the caches, too
		find "$M" -printf '%s' >"$D/out"
		before=$(counted '# INODES:')
		[ "$before" -lt 20000 ] || break
	done
	[ "$before" -ge 20000 ] || fail "$before nodes after a walk over 20,000 files"
	for i in {1..10}; do
		sync
		echo 2 >/proc/sys/vm/drop_caches
		after=$(counted '# INODES:')
		[ "$after" -gt $((before / 10)) ] || break
		sleep 0.5
	done
	[ "$after" -le $((before / 10)) ] || fail "$after of $before nodes are left when the kernel has forgotten them"
	eq "files after it" 20021 "$(find "$M" | wc -l)"
}

# A mount that makes and removes files all the time does not grow.
no_growth() {
	on_tmpfs
	start_counted "lowerdir=$L,upperdir=$U,workdir=$W"
	local round first last
	for round in 1 2 3 4 5 6; do
		py "$M" <<'P'
os.chdir(sys.argv[1])
os.mkdir("d")
for i in range(3000):
    spit(f"d/f{i}", "x")
for i in range(3000):
    os.rename(f"d/f{i}", f"d/g{i}")
    os.unlink(f"d/g{i}")
os.rmdir("d")
P
		last=$(awk '/VmRSS/ { print $2 }' "/proc/$server_pid/status")
		[ $round != 2 ] || first=$last
	done
	[ "$(counted '# INODES:')" -lt 1000 ] || fail "$(counted '# INODES:') nodes of files that are gone"
	[ $((last - first)) -lt 4096 ] || fail "$((last - first)) KiB more after four more rounds"
}

# Its limit is the shell's that mounted.
size_limit() {
	seq 100000 >"$L/large"
	(ulimit -f 100 && up) || exit
	py "$M" <<'P'
os.chdir(sys.argv[1])
for name in ("small", "large"):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY)
    try:
        os.pwrite(fd, b"x" * 1024 * 1024, 0)
        os.fsync(fd)
        eq(f"{name} of 1 MiB", "File too large", "written")
    except OSError as e:
        eq(f"{name} of 1 MiB", "File too large", e.strerror)
    try:
        os.close(fd)
    except OSError:
        pass
P
	eq "the mount" "large small" "$(words ls "$M")"
}

holds "100,000 files are used with 256 descriptors" walk_all 400
holds "a limit of file sizes is an error and not the server's end" size_limit
holds "the server forgets what the kernel forgets" memory_freed
holds "files that come and go leave nothing in the server" no_growth
finish
