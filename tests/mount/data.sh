#!/bin/bash
# Data: every way to read and write it gives what a plain file system gives, from the layer and after a copy-up.
. "$(dirname "$0")/lib.sh"

blocks() {
	head -c 1M /dev/urandom >"$L/f"
	cp "$L/f" "$D/want"
	up
	py "$M/f" "$D/want" <<'P'
path, other = sys.argv[1:]
want = bytearray(open(other, "rb").read())
room = mmap.mmap(-1, 65536)
view = memoryview(room)
fd = os.open(path, os.O_RDWR | os.O_DIRECT)
eq("read from the layer", len(room), os.preadv(fd, [view], 65536))
eq("what was read", True, room[:] == want[65536:131072])
plain = os.open(path, os.O_RDWR)
os.pwrite(plain, b"dirty", 70000)
want[70000:70005] = b"dirty"
os.preadv(fd, [view], 65536)
eq("read of what another one wrote", True, room[:] == want[65536:131072])
room[:] = b"D" * 65536
eq("written", 65536, os.pwritev(fd, [view], 524288))
want[524288:589824] = b"D" * 65536
eq("by another one", True, os.pread(plain, 2 << 20, 0) == want)
eq("beyond the end", 65536, os.pwritev(fd, [view], 1 << 20))
want += b"D" * 65536
os.fsync(fd)
eq("all", True, open(path, "rb").read() == want)
eq("read beyond the end", 0, os.preadv(fd, [view], 4 << 20))
open(other, "wb").write(want)
P
	again
	cmp "$M/f" "$D/want"
}

# Direct writes that end by themselves, while others read: what is read afterwards is what was written last.
asynchronous() {
	up "$L" "${1:-}"
	py "$M/f" <<'P'
path = sys.argv[1]
try:
    libaio = ctypes.CDLL("libaio.so.1")
except OSError:
    skip("no libaio")
PIECE, PIECES, WRITE = 65536, 10, 1
room = mmap.mmap(-1, PIECE * PIECES)
at = ctypes.addressof(ctypes.c_char.from_buffer(room))
fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
os.pwritev(fd, [room], 0)
context = ctypes.c_void_p()
eq("io_setup", 0, libaio.io_setup(PIECES, ctypes.byref(context)))
calls = [ctypes.create_string_buffer(64) for i in range(PIECES)]
pointers = (ctypes.c_void_p * PIECES)(*map(ctypes.addressof, calls))
events = ctypes.create_string_buffer(32 * PIECES)
writer = os.getpid()

def read(number):
    with open(path, "rb", buffering=0) as f:
        while os.getppid() == writer:
            f.seek(0)
            f.read(PIECE * PIECES)
    return 0

def write():
    plain = os.open(path, os.O_RDONLY)
    end = time.monotonic() + 5
    n = 0
    while time.monotonic() < end:
        n += 1
        room[:] = bytes([n % 251 + 1]) * len(room)
        for i, call in enumerate(calls):
            call[:] = struct.pack("<QIiHhIQQqQII", i, 0, 0, WRITE, 0, fd, at + i * PIECE, PIECE, i * PIECE, 0, 0, 0)
        eq("io_submit", PIECES, libaio.io_submit(context, ctypes.c_long(PIECES), pointers))
        eq("io_getevents", PIECES, libaio.io_getevents(context, ctypes.c_long(PIECES), ctypes.c_long(PIECES), events, None))
        for i in range(PIECES):
            eq("bytes written", PIECE, struct.unpack_from("<q", events, 32 * i + 16)[0])
        if os.pread(plain, len(room), 0) != room[:]:
            fail(f"round {n}: old data is read")

readers = []
for number in range(2):
    pid = os.fork()
    if pid == 0:
        os._exit(read(number))
    readers.append(pid)
try:
    write()
finally:
    for pid in readers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
P
}

asynchronous_at_once() { asynchronous writeback=0; }

appenders() {
	echo start >"$L/log"
	up
	py "$M/log" <<'P'
path = sys.argv[1]

def work(number):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for i in range(2000):
        os.write(fd, b"%d %d\n" % (number, i))

eq("status", [0, 0, 0], in_parallel(work, 3))
lines = slurp(path).splitlines()
eq("lines", 6001, len(lines))
for number in range(3):
    eq(f"those of {number}, in order", [f"{number} {i}" for i in range(2000)], [x for x in lines if x.startswith(f"{number} ")])
P
	local before
	before=$(sha256sum <"$M/log")
	again
	eq "after a remount" "$before" "$(sha256sum <"$M/log")"
}

mapped() {
	head -c 100000 /dev/zero | tr '\0' l >"$L/f"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
a, b = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR)
one, two = mmap.mmap(a, 100000), mmap.mmap(b, 100000)
private = mmap.mmap(a, 100000, mmap.MAP_PRIVATE)
private[0:1] = b"P"
one[50000:50005] = b"store"
eq("by the other mapping", b"store", two[50000:50005])
eq("by read", b"store", os.pread(b, 5, 50000))
os.pwrite(b, b"write", 10)
eq("what was written, by a mapping", b"write", one[10:15])
eq("a private mapping keeps its own", (b"P", b"l"), (private[0:1], two[0:1]))
one.flush()
os.close(a)
two[99999:] = b"Z"
two.close()
one.close()
os.close(b)
eq("after all was closed", "Z", slurp("f")[-1])
# beyond the end of a truncated file reads as zeros when it grows again
fd = os.open("f", os.O_RDWR)
os.ftruncate(fd, 4097)
os.ftruncate(fd, 10000)
m = mmap.mmap(fd, 10000)
eq("what was cut off", b"\0" * 5903, m[4097:])
P
	again
	py "$M/f" <<'P'
got = slurp(sys.argv[1])
eq("after a remount", (10000, "store" not in got, "write", "\0"), (len(got), True, got[10:15], got[-1]))
P
}

mapped_time() {
	head -c 5000 /dev/zero >"$L/low"
	touch -d 2001-01-01 "$L/low"
	up "$L" "${1:-}"
	cp -p "$M/low" "$M/new"
	py "$M" <<'P'
os.chdir(sys.argv[1])
for name in ("low", "new"):
    was = os.stat(name).st_mtime
    fd = os.open(name, os.O_RDWR)
    m = mmap.mmap(fd, 5000)
    eq("read", 0, m[0])
    eq(f"{name}: mtime before", was, os.stat(name).st_mtime)
    for i in range(2):
        m[i:i + 1] = b"x"
        m.flush()
        os.fsync(fd)
        now = os.stat(name).st_mtime
        if now <= was:
            fail(f"{name}: mtime after store {i} and msync: {now}, before: {was}")
        was = now
        time.sleep(0.05)
    m.close()
    os.close(fd)
P
	local times
	times=$(stat -c %.9Y "$M/low" "$M/new")
	again
	eq "times after a remount" "$times" "$(stat -c %.9Y "$M/low" "$M/new")"
}

mapped_time_at_once() { mapped_time writeback=0; }

allocated() {
	head -c 64K /dev/zero | tr '\0' l >"$L/f"
	local n
	for n in a b c d e; do cp "$L/f" "$L/$n"; done
	up
	py "$M" <<'P'
KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 0x10, 0x20, 0x40
os.chdir(sys.argv[1])
l = b"l" * 65536

def use(name, mode, offset, length):
    fd = os.open(name, os.O_RDWR)
    try:
        fallocate(fd, mode, offset, length)
    finally:
        os.close(fd)

def content(name):
    return open(name, "rb").read()

use("a", 0, 65536, 1000)
eq("plain: grows by zeros", True, content("a") == l + b"\0" * 1000)
use("b", KEEP, 65536, 1 << 20)
eq("KEEP_SIZE: content", True, content("b") == l)
use("c", PUNCH | KEEP, 5000, 30000)
eq("PUNCH_HOLE", True, content("c") == l[:5000] + b"\0" * 30000 + l[35000:])
# Not every file system has this one: then it says so, and changes nothing.
if not err(use, "d", ZERO, 60000, 10000):
    eq("ZERO_RANGE", True, content("d") == l[:60000] + b"\0" * 10000)
else:
    fails("ZERO_RANGE", "EOPNOTSUPP", use, "d", ZERO, 60000, 10000)
    eq("ZERO_RANGE refused", True, content("d") == l)
for mode, label in ((COLLAPSE, "COLLAPSE_RANGE"), (INSERT, "INSERT_RANGE")):
    if err(use, "e", mode, 4096, 4096):
        fails(label, "EOPNOTSUPP", use, "e", mode, 4096, 4096)
        eq(f"{label} refused", True, content("e") == l)
    else:
        os.truncate("e", 0)
        spit("e", l)
spit("new", "x")
use("new", 0, 0, 10000)
eq("of a new file", b"x" + b"\0" * 9999, content("new"))
fails("of a read-only descriptor", "EBADF", lambda: fallocate(os.open("f", os.O_RDONLY), 0, 0, 10))
P
	local before
	before=$(cd "$M" && sha256sum -- *)
	again
	alike "after a remount" "$before" "$(cd "$M" && sha256sum -- *)"
}

# Holes and data are told truly, also of what was written a moment ago.
# holes_seen [OPTIONS]
holes_seen() {
	py "$L/f" <<'P'
with open(sys.argv[1], "wb") as f:
    f.truncate(1 << 20)
    f.seek(262144)
    f.write(b"d" * 65536)
P
	up "$L" "${1:-}"
	py "$M" <<'P'
os.chdir(sys.argv[1])

def extents(fd):
    found, at = [], 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            eq("end of the data", "ENXIO", ename(e.errno))
            return found
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))

def covered(fd, *wanted):
    got = extents(fd)
    for start, end in wanted:
        if not any(a <= start and end <= b for a, b in got):
            fail(f"{(start, end)} is no data; data is {got}")

fd = os.open("f", os.O_RDWR)
covered(fd, (262144, 327680))
eq("the hole before", True, extents(fd)[0][0] > 0)
os.pwrite(fd, b"new", 700000)
covered(fd, (262144, 327680), (700000, 700003))
os.pwrite(fd, b"beyond", 2 << 20)
covered(fd, (262144, 327680), (700000, 700003), (2 << 20, (2 << 20) + 6))
eq("a hole in between", True, os.lseek(fd, 327680, os.SEEK_HOLE) < 700000)
new = os.open("new", os.O_CREAT | os.O_RDWR)
os.pwrite(new, b"x" * 10, 1 << 20)
covered(new, (1 << 20, (1 << 20) + 10))
m = mmap.mmap(new, (1 << 20) + 10)
m[500000:500004] = b"mmap"
covered(new, (500000, 500004), (1 << 20, (1 << 20) + 10))
eq("a hole before it", True, extents(new)[0][0] > 0)
fails("SEEK_DATA beyond the end", "ENXIO", os.lseek, new, 5 << 20, os.SEEK_DATA)
P
	cp --sparse=auto "$M/new" "$D/copy"
	cmp "$M/new" "$D/copy" || fail "cp of a sparse file differs"
}

holes_seen_at_once() { holes_seen writeback=0; }

ranges_copied() {
	head -c 1M /dev/urandom >"$L/f"
	up
	py "$M" "$L/f" <<'P'
os.chdir(sys.argv[1])
want = open(sys.argv[2], "rb").read()
source = os.open("f", os.O_RDONLY)
new = os.open("new", os.O_CREAT | os.O_RDWR)

def copy(a, at, b, to, length):
    while length:
        n = os.copy_file_range(a, b, length, at, to)
        if n == 0:
            return
        at, to, length = at + n, to + n, length - n

copy(source, 0, new, 0, 1 << 20)
eq("from the layer", True, os.pread(new, 2 << 20, 0) == want)
os.pwrite(new, b"dirty", 100)
copy(new, 50, new, 1 << 20, 100000)
eq("within a file that was just written", True, os.pread(new, 100000, 1 << 20) == os.pread(new, 100000, 50))
back = os.open("f", os.O_RDWR)
copy(new, 1 << 20, back, 10, 1000)
eq("onto a file of the layer", True, os.pread(back, 2 << 20, 0) == want[:10] + os.pread(new, 1000, 50) + want[1010:])
fails("overlapping", "EINVAL", os.copy_file_range, new, new, 1000, 0, 500)
eq("beyond the end", 0, os.copy_file_range(source, new, 1000, 5 << 20, 0))
P
	cp "$M/f" "$M/g"
	cp --reflink=auto "$M/g" "$M/h"
	cmp "$M/f" "$M/h" || fail "cp"
	local before
	before=$(cd "$M" && sha256sum -- *)
	again
	alike "after a remount" "$before" "$(cd "$M" && sha256sum -- *)"
}

other_calls() {
	head -c 300000 /dev/urandom >"$L/f"
	up
	py "$M" "$L/f" <<'P'
os.chdir(sys.argv[1])
want = open(sys.argv[2], "rb").read()
source = os.open("f", os.O_RDONLY)
out = os.open("sent", os.O_CREAT | os.O_WRONLY)
sent = 0
while sent < len(want):
    sent += os.sendfile(out, source, sent, len(want) - sent)
eq("sendfile", True, open("sent", "rb").read() == want)
fd = os.open("vectors", os.O_CREAT | os.O_RDWR | os.O_SYNC)
os.writev(fd, [b"a" * 5000, b"b", b"", b"c" * 3])
eq("writev", b"a" * 5000 + b"bccc", os.pread(fd, 9999, 0))
os.ftruncate(fd, 3)
os.lseek(fd, 0, os.SEEK_END)
os.write(fd, b"end")
eq("at the end", b"aaaend", os.pread(fd, 9999, 0))
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)
eq("after DONTNEED", (b"aaaend", True), (os.pread(fd, 9999, 0), os.pread(source, 1 << 20, 0) == want))
os.fdatasync(fd)
at = os.open(".", os.O_RDONLY)
os.fsync(at)
os.truncate("f", 1 << 33)
eq("a size of 8 GiB", 1 << 33, os.stat("f").st_size)
eq("its end", b"\0" * 10, os.pread(source, 10, (1 << 33) - 10))
os.truncate("f", 100)
eq("and back", want[:100], open("f", "rb").read())
fails("read of a directory", "EISDIR", os.read, at, 10)
P
}

# Each of four processes does at random what can be done to a file, and knows what must be in it.
at_random() {
	local n
	for n in 0 1 2 3; do head -c 400000 /dev/urandom >"$L/f$n"; done
	cp "$L"/f? "$D"
	up
	py "$M" "$D" <<'P'
KEEP, PUNCH = 1, 2
at, models = sys.argv[1:]
END = time.monotonic() + 8
LIMIT = 600000

def work(number):
    r = random.Random(number)
    path = f"{at}/f{number}"
    want = bytearray(open(f"{models}/f{number}", "rb").read())
    done = []

    def span(limit):
        a = r.randrange(limit)
        return a, min(r.choice((1, 100, 4096, 70000)), limit - a)

    def put(a, data):
        if a > len(want):
            want.extend(bytes(a - len(want)))
        want[a:a + len(data)] = data

    fd = os.open(path, os.O_RDWR)
    while time.monotonic() < END:
        what = r.choice("write write read read truncate punch fsync mmap copy reopen zero".split())
        done.append(what)
        if what == "write":
            a, n = span(LIMIT)
            data = r.randbytes(n)
            os.pwrite(fd, data, a)
            put(a, data)
        elif what == "read":
            a, n = span(LIMIT)
            if os.pread(fd, n, a) != want[a:a + n]:
                fail(f"{path}: {n} bytes at {a} are wrong after {done[-12:]}, seed {number}")
        elif what == "truncate" and r.random() < 0.3:
            size = r.randrange(LIMIT)
            os.ftruncate(fd, size)
            if size < len(want):
                del want[size:]
            else:
                want.extend(bytes(size - len(want)))
        elif what == "punch":
            a, n = span(LIMIT)
            fallocate(fd, PUNCH | KEEP, a, n)
            n = max(0, min(n, len(want) - a))
            want[a:a + n] = bytes(n)
        elif what == "fsync":
            os.fsync(fd)
        elif what == "mmap" and len(want) > 10000:
            a = r.randrange(len(want) - 5000)
            m = mmap.mmap(fd, len(want))
            m[a:a + 5000] = data = r.randbytes(5000)
            m.close()
            put(a, data)
        elif what == "copy" and len(want) > 10000:
            n = r.randrange(1, 5000)
            a, b = r.randrange(len(want) - n), r.randrange(LIMIT)
            if abs(a - b) > n:
                n = os.copy_file_range(fd, fd, n, a, b)
                put(b, want[a:a + n])
        elif what == "zero":
            a, n = span(LIMIT)
            fallocate(fd, 0, a, n)
            if a + n > len(want):
                want.extend(bytes(a + n - len(want)))
        elif what == "reopen":
            os.close(fd)
            fd = os.open(path, os.O_RDWR)
        eq(f"{path}: size after {done[-12:]}, seed {number}", len(want), os.fstat(fd).st_size)
    os.close(fd)
    if open(path, "rb").read() != want:
        fail(f"{path}: wrong at the end, seed {number}")
    open(f"{models}/f{number}", "wb").write(want)
    return 0

eq("status", [0] * 4, in_parallel(work, 4))
P
	again
	for n in 0 1 2 3; do cmp "$M/f$n" "$D/f$n" || fail "f$n after a remount"; done
}

# remembered OPTIONS: what changes data past the kernel's cache leaves the times as they were seen, also when it comes
# so soon after a write that the kernel has no later times to tell of
remembered() {
	local name before
	for name in {direct,copied,allocated,punched,zeroed}{1,3}; do
		head -c 20000 /dev/zero >"$L/$name"
	done
	up "$L" "$1"
	py "$M" <<'P'
os.chdir(sys.argv[1])
KEEP_SIZE, PUNCH, ZERO = 1, 2, 16
page = mmap.mmap(-1, 8192)
calls = {
    "direct": lambda fd: os.pwritev(fd, [page], 0),
    "copied": lambda fd: os.copy_file_range(fd, fd, 4096, 8192, 0),
    "allocated": lambda fd: fallocate(fd, 0, 0, 4097),
    "punched": lambda fd: fallocate(fd, PUNCH | KEEP_SIZE, 0, 4096),
    "zeroed": lambda fd: fallocate(fd, ZERO, 0, 4096),
}
for call, function in calls.items():
    for n in range(1, 5):
        name = f"{call}{n}"
        for flags, change in [
            (os.O_CREAT, lambda fd: os.write(fd, b"x" * 4095)),
            (os.O_DIRECT, lambda fd: os.pwritev(fd, [page], 8192)),
            (os.O_DIRECT if call == "direct" else 0, function),
        ]:
            fd = os.open(name, os.O_RDWR | flags)
            change(fd)
            os.close(fd)  # here the kernel tells of the times
P
	before=$(stat -c '%n %s %.9Y' "$M"/*)
	again
	alike "after a remount" "$before" "$(stat -c '%n %s %.9Y' "$M"/*)"
}
remembered_late() { remembered writeback=1; }
remembered_at_once() { remembered writeback=0; }

# stamps OPTIONS CALL...: each call that sets a size moves the times, also of a file that has this size already
stamps() {
	local options=$1 call
	shift
	for call; do
		echo hello >"$L/$call.hello"
		: >"$L/$call.empty"
	done
	touch -d '2003-01-02 03:04:05.111222333' "$L"/*
	up "$L" "$options"
	cp -p "$L/$1.hello" "$M/$1.own"
	cp -p "$L/$1.empty" "$M/$1.own-empty"
	py "$M" <<'P'
os.chdir(sys.argv[1])

def opened(name, flags):
    fd = os.open(name, os.O_WRONLY | flags)
    if not flags:
        os.ftruncate(fd, os.fstat(fd).st_size)
    os.close(fd)

calls = {
    "ftruncate": lambda name: opened(name, 0),
    "O_TRUNC": lambda name: opened(name, os.O_TRUNC),
    "truncate": lambda name: os.truncate(name, os.stat(name).st_size),
}
for name in sorted(os.listdir(".")):
    before = os.stat(name)
    calls[name.split(".")[0]](name)
    after = os.stat(name)
    if after.st_mtime_ns == before.st_mtime_ns:
        fail(f"{name}: the mtime is still the old one")
    if after.st_ctime_ns == before.st_ctime_ns:
        fail(f"{name}: the ctime is still the old one")
    if after.st_size != (0 if "O_TRUNC" in name else before.st_size):
        fail(f"{name}: size {after.st_size}")
P
	local before
	before=$(stat -c '%n %s %.9Y' "$M"/*)
	again
	alike "after a remount" "$before" "$(stat -c '%n %s %.9Y' "$M"/*)"
}
# By truncate(2) not with a writeback cache: the kernel then keeps the times itself, as xfs does.
stamped() { stamps writeback=1 ftruncate O_TRUNC; }
stamped_at_once() { stamps writeback=0 ftruncate O_TRUNC truncate; }

big() {
	head -c 300M /dev/urandom >"$L/big"
	up
	eq "read" "$(sha256sum <"$L/big")" "$(sha256sum <"$M/big")"
	printf X | dd of="$M/big" bs=1 seek=200000000 conv=notrunc status=none
	cp "$L/big" "$D/want"
	printf X | dd of="$D/want" bs=1 seek=200000000 conv=notrunc status=none
	cmp "$D/want" "$M/big" || fail "copied up"
	dd if="$M/big" of="$M/copy" bs=1M status=none
	again
	cmp "$D/want" "$M/big" || fail "copied up, after a remount"
	cmp "$D/want" "$M/copy" || fail "the copy, after a remount"
}

holds "O_DIRECT agrees with the page cache" blocks
holds "asynchronous O_DIRECT agrees with the page cache" asynchronous
holds "asynchronous O_DIRECT agrees with the page cache without a writeback cache" asynchronous_at_once
holds "three appenders lose and mix no line" appenders
holds "shared mappings, reads and writes agree" mapped
holds "a store to a shared mapping changes the modification time" mapped_time
holds "a store to a shared mapping changes the modification time without a writeback cache" mapped_time_at_once
holds "fallocate does what its mode says, or says that it cannot" allocated
holds "SEEK_HOLE and SEEK_DATA know what was just written" holes_seen
holds "SEEK_HOLE and SEEK_DATA know it without a writeback cache, where mappings are still written later" holes_seen_at_once
holds "copy_file_range copies what is there now" ranges_copied
holds "sendfile, writev, fadvise, O_SYNC, sizes beyond 4 GiB" other_calls
holds "random operations of four processes leave what they must" at_random
holds "setting a size moves the times, also if it is the same" stamped
holds "setting a size moves the times without a writeback cache" stamped_at_once
holds "times are the same after a remount, whatever changed the data" remembered_late
holds "times are the same after a remount without a writeback cache" remembered_at_once
holds "big files are read, written and copied up whole" big
finish
