"""fsx.py make DIR | run DIR STATE SEED COUNT | check DIR STATE

Random operations on the data of a few files, by every way that the kernel has, compared with what a model in memory
says must be in them. `make` fills a layer, `run` works on what shows it and leaves the model in the file STATE, for
`check` and for further runs. On a plain directory it must hold, too.
"""
import collections
import hashlib
import pickle

from ply import *

PAGE, LIMIT = 4096, 400_000
KEEP_SIZE, PUNCH, ZERO = 1, 2, 0x10
SIZES = {"empty": 0, "byte": 1, "page": PAGE, "odd": 100_001, "long": 300_000, "sparse": 350_000, "one": 70_000,
         "cut": 200_000, "high": 123_456, "other": 65_536}


def content(name, size):
    """Of a file of the layer: never a zero, but for the hole of the sparse one."""
    text = bytearray(bytes(b | 1 for b in hashlib.shake_128(name.encode()).digest(PAGE)) * (size // PAGE + 1))[:size]
    if name == "sparse":
        text[PAGE:250_000] = bytes(250_000 - PAGE)
    return text


def make(directory):
    for name, size in SIZES.items():
        text = content(name, size)
        with open(f"{directory}/{name}", "wb", buffering=0) as f:
            f.truncate(size)
            for at, end in ((0, PAGE), (250_000, size)) if name == "sparse" else ((0, size),):
                os.pwrite(f.fileno(), text[at:end], at)


class File:
    """What there is: its name (None: unlinked), the descriptors it is open by, a mapping, and the model."""

    def __init__(self, name, want):
        self.name, self.want = name, want
        self.fds, self.map = [], None

    def open(self, flags=os.O_RDWR):
        self.fds.append(os.open(self.name, flags))

    def unmap(self):
        if self.map:
            self.map.close()
        self.map = None

    def close(self):
        self.unmap()
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Exerciser:
    def __init__(self, directory, files, seed):
        self.r = random.Random(seed)
        self.seed = seed
        self.dir, self.files = directory, files
        self.history = collections.deque(maxlen=40)
        self.room = mmap.mmap(-1, 1 << 17)
        self.step = self.serial = 0
        self.no_zero_range = "PLY_NO_ZERO_RANGE" in os.environ  # as tmpfs
        kinds = [(16, self.read), (16, self.write), (8, self.direct_read), (8, self.direct_write), (10, self.map_read),
                 (10, self.map_write), (4, self.append), (6, self.truncate), (6, self.allocate), (6, self.punch),
                 (4, self.zero), (8, self.copy), (6, self.seek), (3, self.sync), (4, self.reopen), (2, self.rename),
                 (1, self.unlink), (3, self.forget_pages), (2, self.whole), (1, self.open_truncating)]
        self.kinds = [kind for times, kind in kinds for _ in range(times)]

    def run(self, count):
        os.chdir(self.dir)
        for self.step in range(count):
            kind, f = self.r.choice(self.kinds), self.r.choice(self.files)
            self.history.append([kind.__name__, f.name])
            try:
                kind(f)
                self.right_size(f)
            except OSError as e:
                self.wrong(ename(e.errno))
        for f in self.files:
            self.whole(f)

    def wrong(self, what):
        for step in self.history:
            print("   ", *step)
        fail(f"operation {self.step}, {' '.join(map(str, self.history[-1]))}: {what}")

    def note(self, *what):
        self.history[-1] += what

    def same(self, f, got, at, length):
        want = f.want[at:at + length]
        if got == want:
            return
        if len(got) != len(want):
            self.wrong(f"{len(got)} bytes instead of {len(want)}")
        bad = [i for i in range(len(want)) if got[i] != want[i]]
        self.wrong(f"{len(bad)} bytes from {at + bad[0]} to {at + bad[-1]}: {got[bad[0]]} instead of {want[bad[0]]}")

    def right_size(self, f):
        size = os.fstat(f.fds[0]).st_size if f.fds else os.stat(f.name).st_size
        if size != len(f.want):
            self.wrong(f"{f.name} is {size} long instead of {len(f.want)}")

    def fd(self, f):
        if not f.fds:
            f.open()
        return f.fds[0] if self.r.random() < 0.8 else self.r.choice(f.fds)

    def direct_fd(self, f):
        """By the descriptor: what is unlinked cannot be opened by name."""
        return os.open(f"/proc/self/fd/{self.fd(f)}", os.O_RDWR | os.O_DIRECT)

    def span(self, limit=LIMIT):
        at = self.r.randrange(limit)
        length = self.r.choice((1, 7, 512, PAGE, self.r.randrange(1, 20_000), self.r.randrange(1, 90_000)))
        if self.r.random() < 0.3:
            at -= at % PAGE
        return at, min(length, limit - at)

    def blocks(self):
        at = self.r.randrange(LIMIT // PAGE - 1) * PAGE
        return at, min(self.r.randrange(1, 25) * PAGE, LIMIT // PAGE * PAGE - at)

    def text(self, length):
        self.serial += 1
        return (b"%d-" % self.serial * (length // 2 + 1))[:length]

    def put(self, f, at, text):
        if at > len(f.want):
            f.want += bytes(at - len(f.want))
        f.want[at:at + len(text)] = text

    # ---- the operations ----

    def read(self, f):
        at, length = self.span()
        self.note(at, length)
        self.same(f, os.pread(self.fd(f), length, at), at, length)

    def write(self, f):
        at, length = self.span()
        text = self.text(length)
        self.note(at, length)
        eq("written", length, os.pwrite(self.fd(f), text, at))
        self.put(f, at, text)

    def direct_read(self, f):
        at, length = self.blocks()
        self.note(at, length)
        fd = self.direct_fd(f)
        n = os.preadv(fd, [memoryview(self.room)[:length]], at)
        os.close(fd)
        self.same(f, self.room[:n], at, length)

    def direct_write(self, f):
        at, length = self.blocks()
        text = self.text(length)
        self.note(at, length)
        self.room[:length] = text
        fd = self.direct_fd(f)
        n = os.pwritev(fd, [memoryview(self.room)[:length]], at)
        os.close(fd)
        eq("written", length, n)
        self.put(f, at, text)

    def mapping(self, f):
        """Of the whole file, kept until its size changes."""
        if f.map and len(f.map) != len(f.want):
            f.unmap()
        if not f.map and f.want:
            f.map = mmap.mmap(self.fd(f), len(f.want))
        return f.map

    def map_read(self, f):
        at, length = self.span(max(len(f.want), 1))
        self.note(at, length)
        if m := self.mapping(f):
            self.same(f, m[at:at + length], at, length)

    def map_write(self, f):
        at, length = self.span(max(len(f.want), 1))
        self.note(at, length)
        if m := self.mapping(f):
            m[at:at + length] = f.want[at:at + length] = self.text(length)
            if self.r.random() < 0.1:
                m.flush()

    def append(self, f):
        if not f.name or len(f.want) > LIMIT:
            return
        text = self.text(self.span()[1])
        self.note(len(text))
        fd = os.open(f.name, os.O_WRONLY | os.O_APPEND)
        os.write(fd, text)
        os.close(fd)
        f.want += text

    def truncate(self, f):
        size = self.r.choice((0, len(f.want) // 2, self.r.randrange(LIMIT), len(f.want), len(f.want) + 1))
        f.unmap()
        self.note(size)
        if f.name and self.r.random() < 0.5:
            os.truncate(f.name, size)
        else:
            os.ftruncate(self.fd(f), size)
        f.want = f.want[:size] + bytes(max(0, size - len(f.want)))

    def open_truncating(self, f):
        if f.name:
            f.unmap()
            os.close(os.open(f.name, os.O_RDWR | os.O_TRUNC))
            f.want = bytearray()

    def allocate(self, f):
        at, length = self.span()
        mode = self.r.choice((0, KEEP_SIZE))
        self.note(mode, at, length)
        fallocate(self.fd(f), mode, at, length)
        if not mode:
            f.want += bytes(max(0, at + length - len(f.want)))

    def punch(self, f):
        at, length = self.span()
        self.note(at, length)
        fallocate(self.fd(f), PUNCH | KEEP_SIZE, at, length)
        end = min(at + length, len(f.want))
        if at < end:
            f.want[at:end] = bytes(end - at)

    def zero(self, f):
        at, length = self.span()
        mode = self.r.choice((ZERO, ZERO | KEEP_SIZE))
        self.note(mode, at, length)
        try:
            fallocate(self.fd(f), mode, at, length)
        except OSError as e:
            if e.errno == errno.EOPNOTSUPP and self.no_zero_range:
                return
            raise
        if mode & KEEP_SIZE:
            length = max(0, min(length, len(f.want) - at))
        if length:
            self.put(f, at, bytes(length))

    def copy(self, f):
        """copy_file_range, which may copy less than was asked for."""
        to = self.r.choice(self.files)
        (at, length), to_at = self.span(), self.span()[0]
        length = min(length, LIMIT - to_at)
        if to is f and abs(at - to_at) < length:
            return
        self.note(at, length, to.name, to_at)
        n = os.copy_file_range(self.fd(f), self.fd(to), length, at, to_at)
        text = bytes(f.want[at:at + length][:n])
        if n > len(text) or (n == 0 and at < len(f.want)):
            self.wrong(f"{n} bytes copied")
        if text:
            self.put(to, to_at, text)
        self.right_size(to)

    def seek(self, f):
        """No hole is where the model has data."""
        at = self.r.randrange(LIMIT)
        self.note(at)
        fd = self.fd(f)
        if at >= len(f.want):
            fails("SEEK_DATA", "ENXIO", os.lseek, fd, at, os.SEEK_DATA)
            fails("SEEK_HOLE", "ENXIO", os.lseek, fd, at, os.SEEK_HOLE)
            return
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            eq("SEEK_DATA", errno.ENXIO, e.errno)
            data = len(f.want)
        if any(f.want[at:data]):
            self.wrong(f"a hole up to {data}, where data should be")
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        if not at <= hole <= len(f.want):
            self.wrong(f"SEEK_HOLE gives {hole} in {len(f.want)}")

    def sync(self, f):
        self.r.choice((os.fsync, os.fdatasync))(self.fd(f))

    def reopen(self, f):
        if f.name and self.r.random() < 0.5:
            f.close()
            f.open()
        elif f.name and len(f.fds) < 4:
            f.open(os.O_RDWR | self.r.choice((0, os.O_SYNC, os.O_DSYNC)))

    def fresh(self):
        """What no name ends in, not those of an earlier run either."""
        return f"{self.seed}-{self.step}"

    def rename(self, f):
        """By rename, or by a link that outlives the name."""
        if f.name:
            new = f"{f.name.split('.')[0]}.{self.fresh()}"
            if self.r.random() < 0.5:
                os.rename(f.name, new)
            else:
                os.link(f.name, new)
                os.unlink(f.name)
            f.name = new

    def unlink(self, f):
        """While it is open; later a new one takes its place."""
        if f.name and sum(not other.name for other in self.files) < 2:
            self.fd(f)
            os.unlink(f.name)
            f.name = None
        elif not f.name:
            f.close()
            f.name, f.want = f"new.{self.fresh()}", bytearray()
            f.fds.append(os.open(f.name, os.O_CREAT | os.O_EXCL | os.O_RDWR))

    def forget_pages(self, f):
        os.posix_fadvise(self.fd(f), 0, 0, os.POSIX_FADV_DONTNEED)

    def whole(self, f):
        got = os.pread(self.fd(f), LIMIT * 3, 0)
        self.same(f, got, 0, LIMIT * 3)


def load(state):
    if os.path.exists(state):
        with open(state, "rb") as f:
            return pickle.load(f)
    return {name: content(name, size) for name, size in SIZES.items()}


def run(directory, state, seed, count):
    files = [File(name, want) for name, want in load(state).items()]
    Exerciser(directory, files, int(seed)).run(int(count))
    with open(state, "wb") as f:
        pickle.dump({f.name: f.want for f in files if f.name}, f)
    for f in files:
        f.close()


def check(directory, state):
    want = load(state)
    eq("names", sorted(want), sorted(os.listdir(directory)))
    for name, text in want.items():
        with open(f"{directory}/{name}", "rb") as f:
            got = f.read()
        if got != text:
            bad = next((i for i, (a, b) in enumerate(zip(got, text)) if a != b), min(len(got), len(text)))
            fail(f"{name}: {len(got)} bytes of {len(text)}, different from {bad} on")


{"make": make, "run": run, "check": check}[sys.argv[1]](*sys.argv[2:])
