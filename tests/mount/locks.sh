#!/bin/bash
# Locks: of every kind, between processes, through a copy-up and a rename.
. "$(dirname "$0")/lib.sh"

across_copy_up() {
	echo x >"$L/f"
	echo x >"$L/g"
	up
	py "$M/f" "$M/g" <<'P'
f, g = sys.argv[1:]
a = os.open(f, os.O_RDONLY)
fcntl.flock(a, fcntl.LOCK_EX)
b = os.open(g, os.O_RDONLY)
fcntl.lockf(b, fcntl.LOCK_SH)

def other(number):
    w = os.open(f, os.O_RDWR)
    os.write(w, b"copied up")
    os.fsync(w)
    v = os.open(g, os.O_RDWR)
    os.write(v, b"copied up")
    os.fsync(v)
    refused = (errno.EAGAIN, errno.EACCES)
    return ((err(fcntl.flock, w, fcntl.LOCK_EX | fcntl.LOCK_NB) in refused) +
            (err(fcntl.lockf, v, fcntl.LOCK_EX | fcntl.LOCK_NB) in refused))

eq("locks refused to another process", [2], in_parallel(other, 1))
os.rename(f, f + "2")
os.link(f + "2", f)
eq("locks refused after a rename and link", [2], in_parallel(other, 1))
fcntl.flock(a, fcntl.LOCK_UN)
fcntl.lockf(b, fcntl.LOCK_UN)
eq("locks refused after the release", [0], in_parallel(other, 1))
P
}

ranges() {
	up
	py "$M/f" <<'P'
path = sys.argv[1]
spit(path, "0" * 100)
def lock(fd, kind, start, length, wait=False):
    return err(fcntl.lockf, fd, kind | (0 if wait else fcntl.LOCK_NB), length, start)
a = os.open(path, os.O_RDWR)
eq("a range", 0, lock(a, fcntl.LOCK_EX, 10, 10))

def other(number):
    b = os.open(path, os.O_RDWR)
    return (lock(b, fcntl.LOCK_EX, 0, 10) == 0) + 2 * (lock(b, fcntl.LOCK_EX, 15, 1) != 0) + 4 * (lock(b, fcntl.LOCK_SH, 20, 0) == 0)

eq("free, taken, free", [7], in_parallel(other, 1))
# open file description locks conflict within one process
F_OFD_SETLK = 37
b = os.open(path, os.O_RDWR)
def ofd(fd, kind, start, length):
    return err(fcntl.fcntl, fd, F_OFD_SETLK, struct.pack("hhqqi4x", kind, 0, start, length, 0))
eq("an OFD lock", 0, ofd(a, fcntl.F_WRLCK, 50, 10))
eq("the same range by another descriptor", errno.EAGAIN, ofd(b, fcntl.F_WRLCK, 55, 1))
eq("after an unlock", (0, 0), (ofd(a, fcntl.F_UNLCK, 50, 10), ofd(b, fcntl.F_WRLCK, 55, 1)))
P
}

# Who waits for a lock must not keep anybody from anything.
waiting() {
	echo 0 >"$L/f"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])

def count(number):
    for _ in range(50):
        fd = os.open("f", os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        value = int(os.pread(fd, 100, 0))
        spit(f"other-{number}", str(value))
        os.pwrite(fd, b"%d\n" % (value + 1), 0)
        os.close(fd)

eq("status", [0] * 6, in_parallel(count, 6))
eq("sum", 300, int(slurp("f")))
P
}

holds "a lock holds through a copy-up and a rename" across_copy_up
holds "ranges and OFD locks" ranges
holds "six processes count under a lock without loss" waiting
finish
