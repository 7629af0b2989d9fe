"""What powercut.sh is made of: layers, a workload that knows what may be found of it after a power cut, and the cuts.

powercut.py layer DIR COUNT STATE            makes the lower layer, and the workload's state
powercut.py work MOUNT COUNT STATE SEED OPS  so many operations; COUNT tells the length of the disk's log.
                                             Between two of these all marks are to go.
powercut.py promise COUNT STATE              all that was done is to stay from now on
powercut.py cuts BED KIND SEED N             cuts the power N times (0: at each flush), and looks at what is there

Each thing has three tracks, of its names, its attributes and its content, which go on independently when nothing is
synced. A version on a track may be found if it was begun before the cut, and must not be older than what was promised.
"""
import os
import pickle
import random
import stat
import struct
import subprocess
import sys
import time

from ply import EXCHANGE, renameat2

SIZES = (10, 900, 4096, 5000, 40000, 70000, 300000)
SETTLED = 3.5  # seconds after the copy-up from which on a file may be settled
RECORD = struct.Struct("=QQQ")
TRACKS = ("names", "attrs", "data")
MARK = "trusted.overlay.metacopy"


class Thing:
    """A file or a directory: what it is and was called, its attributes and its content.

    A name is PARENT:NAME with the ident of the directory, which may itself have moved or not.
    """

    def __init__(self, ident, is_dir, names, data, attrs=(0o644, 0, 0, b"")):
        self.ident, self.is_dir = ident, is_dir
        self.names, self.attrs, self.data = [(0, names)], [(0, attrs)], [(0, data)]
        self.promised = {track: [(0, 0)] for track in TRACKS}
        self.mixed = set()  # versions of the content that were written in place to a file that has no mark
        self.generation = 0
        self.is_plain = self.linked_below = False
        self.up_since = self.replaced = None
        self.shares = False  # some name was another thing's: its content has to tell whose it is

    def now(self, track):
        return getattr(self, track)[-1][1]

    def promise(self, count, track, index=None):
        last = len(getattr(self, track)) - 1 if index is None else index
        self.promised[track].append((count, last))

    def allowed(self, track, cut):
        """The indices of versions that may be found when the power was cut after so many records."""
        versions = getattr(self, track)
        least = max(index for count, index in self.promised[track] if count <= cut)
        return [i for i in range(least, len(versions)) if versions[i][0] <= cut]

    def ever(self):
        return {name for _, names in self.names for name in names}

    def text(self, size):
        """New content, which tells whose it is, and which one."""
        self.generation += 1
        lines = b"".join(b"%s.%d.%d\n" % (self.ident.encode(), self.generation, n) for n in range(size // 6 + 1))
        return (b"%s g%d " % (self.ident.encode(), self.generation) + lines)[:size]


def is_in(name, top):
    return name.split(":")[0] == top.ident


def make_layer(top):
    """The lower layer; the things in it."""
    things = []
    os.chdir(top)
    dirs = {f"d{n}": f":d{n}" for n in range(6)} | {"gone0": ":gone0", "gone1": ":gone1"}
    dirs |= {"move0": ":move0", "move1": ":move1", "move1.in": "move1:in"}
    for ident, name in dirs.items():
        os.mkdir(ident.replace(".", "/"))
        things.append(Thing(ident, True, (name,), None, (0o755, 0, 0, b"")))
    for n in range(70):
        parent = list(dirs)[n % len(dirs)]
        names = (f"{parent}:f{n}",) if n % 10 < 9 else (f"d0:l{n}", f"d1:l{n}", f"{parent}:f{n}")
        thing = Thing(f"f{n:02}", False, names, None)
        thing.linked_below = len(names) > 1
        thing.data[0] = (0, thing.text(SIZES[n % len(SIZES)]))
        things.append(thing)
        first, *others = [name.replace(".", "/").replace(":", "/") for name in names]
        with open(first, "wb") as f:
            f.write(thing.now("data"))
        for other in others:
            os.link(first, other)
    return things


class Work:
    """Operations on things of the mount, which is the current directory."""

    def __init__(self, things, count, rng):
        self.things, self.counter, self.rng = things, os.open(count, os.O_RDONLY), rng
        self.dirs = {thing.ident: thing for thing in things if thing.is_dir}
        self.fresh = sum(len(thing.names) for thing in things)

    def count(self):
        return int(os.pread(self.counter, 24, 0))

    def new_name(self):
        self.fresh += 1
        return f"{self.a_dir().ident}:n{self.fresh}"

    def real(self, name):
        """The path of a name."""
        parent, base = name.split(":")
        return f"{self.real(self.dirs[parent].now('names')[0])}/{base}" if parent else base

    def a_dir(self):
        return self.rng.choice([t for t in self.things if t.is_dir and t.now("names")])

    def files(self):
        return [t for t in self.things if not t.is_dir and t.now("names")]

    def goes_to(self, thing, track, value):
        """To be said before it is done."""
        getattr(thing, track).append((self.count(), value))
        if thing.up_since is None:
            thing.up_since = time.monotonic()

    def may_be_plain(self, thing):
        return thing.is_plain or (thing.up_since is not None and time.monotonic() - thing.up_since > SETTLED)

    def content(self, thing, value):
        if self.may_be_plain(thing):
            thing.mixed.add(len(thing.data))
        self.goes_to(thing, "data", value)

    def path(self, thing):
        return self.real(self.rng.choice(thing.now("names")))

    # ---- content ----

    def write(self, thing):
        size = max(len(thing.now("data")), 10)
        data = thing.text(size)
        self.content(thing, data)
        with open(self.path(thing), "r+b", buffering=0) as f:
            for at in range(0, size, 50000):
                f.write(data[at:at + 50000])

    def patch(self, thing):
        data = thing.now("data")
        if len(data) < 10:
            return
        new = thing.text(min(len(data), 6000))
        at = self.rng.randrange(7, len(data))
        new = new[:len(data) - at]
        self.content(thing, data[:at] + new + data[at + len(new):])
        with open(self.path(thing), "r+b", buffering=0) as f:
            f.seek(at)
            f.write(new)

    def append(self, thing):
        more = thing.text(self.rng.choice((10, 3000, 100000)))
        self.content(thing, thing.now("data") + more)
        with open(self.path(thing), "ab", buffering=0) as f:
            f.write(more)

    def truncate(self, thing):
        data = thing.now("data")
        size = self.rng.choice((len(data) // 2, len(data) + 5000, 0))
        if size < 10 and thing.shares:
            return
        self.content(thing, data[:size] + bytes(max(0, size - len(data))))
        os.truncate(self.path(thing), size)

    def build(self, thing, path, data):
        """The file as it is to be, and on the disk, by another name beside it."""
        mode, uid, gid, x = thing.now("attrs")
        tmp = f"{os.path.dirname(path)}/{thing.ident}.tmp"
        with open(tmp, "wb", buffering=0) as f:
            f.write(data)
            os.fchown(f.fileno(), uid, gid)
            os.fchmod(f.fileno(), mode)
            if x:
                os.setxattr(f.fileno(), "user.x", x)
            os.fsync(f.fileno())
        return tmp

    def replace(self, thing):
        """As editors do."""
        if len(thing.now("names")) > 1 or thing.linked_below:
            return
        name, data = thing.now("names")[0], thing.text(self.rng.choice(SIZES))
        path = self.real(name)
        tmp = self.build(thing, path, data)
        self.goes_to(thing, "data", data)
        os.rename(tmp, path)
        thing.is_plain = True
        thing.replaced = len(thing.data) - 1
        if self.rng.random() < 0.5:
            self.sync_dir_of(name)

    def create(self, name=None):
        name = name or self.new_name()
        self.fresh += 1
        thing = Thing(f"c{self.fresh}", False, (), b"")
        thing.data[0] = (0, thing.text(self.rng.choice(SIZES)))
        tmp = self.build(thing, self.real(name), thing.now("data"))
        self.things.append(thing)
        self.goes_to(thing, "names", (name,))
        os.rename(tmp, self.real(name))
        thing.is_plain = True

    # ---- attributes ----

    def chmod(self, thing):
        _, uid, gid, x = thing.now("attrs")
        mode = self.rng.choice((0o600, 0o640, 0o755, 0o444))
        self.goes_to(thing, "attrs", (mode, uid, gid, x))
        os.chmod(self.path(thing), mode)

    def chown(self, thing):
        mode, _, _, x = thing.now("attrs")
        uid, gid = self.rng.randrange(9), self.rng.randrange(9)
        self.goes_to(thing, "attrs", (mode, uid, gid, x))
        os.chown(self.path(thing), uid, gid)

    def setxattr(self, thing):
        mode, uid, gid, _ = thing.now("attrs")
        x = b"x" * self.rng.randrange(1, 100)
        self.goes_to(thing, "attrs", (mode, uid, gid, x))
        os.setxattr(self.path(thing), "user.x", x)

    # ---- names ----

    def rename(self, thing):
        old, new = self.rng.choice(thing.now("names")), self.new_name()
        self.goes_to(thing, "names", tuple(sorted(set(thing.now("names")) - {old} | {new})))
        os.rename(self.real(old), self.real(new))

    def can_share(self, thing):
        return len(thing.names[-1][1]) == 1 and all(len(data) >= 10 for _, data in thing.data)

    def rename_over(self, thing):
        others = [t for t in self.files() if t is not thing and self.can_share(t)]
        if not others or not self.can_share(thing):
            return
        other = self.rng.choice(others)
        ours, theirs = thing.now("names")[0], other.now("names")[0]
        thing.shares = other.shares = True
        swap = self.rng.random() < 0.5
        self.goes_to(other, "names", (ours,) if swap else ())
        self.goes_to(thing, "names", (theirs,))
        renameat2(self.real(ours), self.real(theirs), EXCHANGE if swap else 0)

    def link(self, thing):
        old, new = self.path(thing), self.new_name()
        self.goes_to(thing, "names", tuple(sorted((*thing.now("names"), new))))
        os.link(old, self.real(new))

    def unlink(self, thing):
        gone = self.rng.choice(thing.now("names"))
        self.goes_to(thing, "names", tuple(name for name in thing.now("names") if name != gone))
        os.unlink(self.real(gone))
        if self.rng.random() < 0.5:
            self.sync_dir_of(gone)

    def rename_dir(self):
        top = self.rng.choice([t for t in self.things if t.is_dir and t.now("names") and t.ident.startswith("move")])
        old, self.fresh = self.path(top), self.fresh + 1
        self.goes_to(top, "names", (f":m{self.fresh}",))
        os.rename(old, self.path(top))

    def remove_tree(self):
        """Removes a directory with all in it, and perhaps makes it again."""
        tops = [t for t in self.things if t.ident.startswith("gone") and t.now("names")]
        if not tops:
            return
        top = tops[0]
        path = self.path(top)
        inside = [t for t in self.things for name in t.now("names") if is_in(name, top)]
        for thing in inside:
            old = thing.now("names")
            self.goes_to(thing, "names", tuple(name for name in old if not is_in(name, top)))
            for name in set(old) - set(thing.now("names")):
                os.unlink(self.real(name))
        self.goes_to(top, "names", ())
        os.rmdir(path)
        if self.rng.random() < 0.5:
            self.goes_to(top, "names", (f":{path}",))
            os.mkdir(path)
            self.create(f"{top.ident}:again{self.fresh}")
        self.sync_dir(".")
        for thing in [top, *inside]:
            if thing is top or not thing.now("names"):
                thing.promise(self.count(), "names")

    # ---- promises ----

    def sync(self, thing):
        just_data = self.rng.random() < 0.2
        fd = os.open(self.path(thing), self.rng.choice((os.O_RDONLY, os.O_WRONLY)))
        (os.fdatasync if just_data else os.fsync)(fd)
        os.close(fd)
        count = self.count()
        for track in TRACKS:
            if track == "data" or not just_data:
                thing.promise(count, track)
        thing.is_plain = thing.is_plain or thing.up_since is not None

    def sync_dir(self, path):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def sync_dir_of(self, name):
        top = self.dirs[name.split(":")[0]]
        self.sync_dir(self.path(top))
        count = self.count()
        for thing in self.things:
            if not thing.is_dir and all(is_in(name, top) for name in thing.ever()):
                thing.promise(count, "names")
                if thing.replaced is not None:
                    thing.promise(count, "data", thing.replaced)

    def promise_all(self):
        count = self.count()
        for thing in self.things:
            for track in TRACKS:
                thing.promise(count, track)

    def run(self, operations):
        for thing in self.things:
            thing.is_plain = thing.is_plain or thing.up_since is not None
        kinds = [self.write, self.patch, self.append, self.truncate, self.replace, self.chmod, self.chown,
                 self.setxattr, self.rename, self.rename_over, self.link, self.unlink, self.sync, self.sync]
        recent = []
        for _ in range(operations):
            if self.rng.random() < 0.1:
                self.rng.choice((self.rename_dir, self.remove_tree, self.create))()
                continue
            recent = [t for t in recent[-5:] if t.now("names")]
            # Often one that something was just done to.
            thing = self.rng.choice(recent if recent and self.rng.random() < 0.4 else self.files())
            recent.append(thing)
            self.rng.choice(kinds)(thing)
        # The journal is written, whatever it holds.
        self.replace(self.rng.choice(self.files()))


# ---- what is there ----


def scan(top):
    """{path: (is it a directory, attributes, content)} of all below."""
    found = {}
    for at, dirs, files in os.walk(top):
        for name in dirs + files:
            path = f"{at}/{name}"
            st, data = os.lstat(path), None
            try:
                x = os.getxattr(path, "user.x", follow_symlinks=False)
            except OSError:
                x = b""
            if name in files:
                with open(path, "rb") as f:
                    data = f.read()
                if st.st_size != len(data):
                    raise ValueError(f"{path[len(top) + 1:]}: size {st.st_size}, and {len(data)} bytes can be read")
            attrs = (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, x)
            found[path[len(top) + 1:]] = (name in dirs, attrs, data)
    return found


def block(data, n):
    return data[n * 512:n * 512 + 512]


def is_mix(data, versions):
    """Could it come about by writing some of these over each other, without a sync?"""
    sizes = [len(v) for v in versions]
    if not min(sizes) <= len(data) <= max(sizes):
        return False
    for n in range((len(data) + 511) // 512):
        part = block(data, n)
        if part.strip(b"\0") and not any(block(v, n).startswith(part) or part.startswith(block(v, n)) or
                                         part == block(v, n) for v in versions):
            return False
    return True


def describe(thing, data, cut):
    """What content that must not be there looks like."""
    known = [i for i, (_, v) in enumerate(thing.data) if v == data]
    blocks = [[i for i, (_, v) in enumerate(thing.data) if block(v, n) == block(data, n)]
              for n in range((len(data) + 511) // 512)]
    text = f"{len(data)} bytes, {data.count(0)} zeros, begins {data[:20]!r}"
    text += f", is version {known}" if known else f", blocks of versions {blocks[:3]} ... {blocks[-3:]}"
    versions = [(start, len(v)) for start, v in thing.data]
    return f"{text}; allowed {thing.allowed('data', cut)} of {versions}, promised {thing.promised['data'][-3:]}"


def check_content(thing, data, cut):
    allowed = thing.allowed("data", cut)
    if any(thing.data[i][1] == data for i in allowed):
        return
    if thing.mixed & set(allowed[1:]) and is_mix(data, [thing.data[i][1] for i in allowed]):
        return
    raise ValueError(f"{thing.now('names')} ({thing.ident}): {describe(thing, data, cut)}")


def owner(candidates, data):
    """Whose file it is, of those that had the name."""
    if len(candidates) == 1:
        return candidates[0]
    return next((t for t in candidates if data and data.startswith(t.ident.encode() + b" ")), None)


def check_thing(thing, found, cut):
    names = tuple(sorted(found))
    allowed = {thing.names[i][1] for i in thing.allowed("names", cut)}
    if names not in allowed:
        raise ValueError(f"{thing.ident} is called {names}, allowed {allowed}; {thing.names} {thing.promised['names']}")
    for is_dir, attrs, data in found.values():
        if is_dir != thing.is_dir:
            raise ValueError(f"{names} has another type")
        if attrs not in [thing.attrs[i][1] for i in thing.allowed("attrs", cut)]:
            raise ValueError(f"{names} has attributes {attrs}, of {thing.attrs}; {thing.promised['attrs']}")
        if not is_dir:
            check_content(thing, data, cut)
    if len(set(found.values())) > 1:
        raise ValueError(f"{names} are one file, and not the same")


def name_of(path, ever):
    """The name that this path is, with the directories as they are there."""
    parent = ""
    *above, base = path.split("/")
    for part in above:
        parent = next((t.ident for t in ever.get(f"{parent}:{part}", ()) if t.is_dir), "?")
    return f"{parent}:{base}"


def verify(things, tree, cut):
    """Is it as it may be? The paths that are hard links in the layer."""
    ever = {}
    for thing in things:
        for name in thing.ever():
            ever.setdefault(name, []).append(thing)
    found, linked = {thing: {} for thing in things}, set()
    for path, what in tree.items():
        name = name_of(path, ever)
        if path.endswith(".tmp"):
            continue
        if name not in ever:
            raise ValueError(f"nobody made {path}, {name}")
        thing = owner(ever[name], what[2])
        if not thing:
            raise ValueError(f"{path} has nobody's content: {what[2][:20]!r}, {len(what[2])} bytes")
        found[thing][name] = what
        if any(t.linked_below for t in ever[name]):
            linked.add(path)
    for thing in things:
        check_thing(thing, found[thing], cut)
    return linked


# ---- the disk ----


def read_log(path):
    """[(is it a flush, offset, length, where in the log its data is)]"""
    records, at = [], 0
    with open(path, "rb") as f:
        while head := f.read(RECORD.size):
            is_flush, offset, length = RECORD.unpack(head)
            at += RECORD.size
            records.append((is_flush, offset, length, at))
            at += length
            f.seek(at)
    return records


class Disk:
    """The states that the recorded disk may have had."""

    def __init__(self, bed):
        self.records = read_log(f"{bed}/log")
        self.log = os.open(f"{bed}/log", os.O_RDONLY)
        self.durable = f"{bed}/base"  # all that was written before the last flush
        self.image = os.open(self.durable, os.O_RDWR)
        self.done = 0

    def flush_before(self, cut):
        """How many records are there for certain."""
        while cut and not self.records[cut - 1][0]:
            cut -= 1
        return cut

    def advance(self, until):
        for _, offset, length, at in self.records[self.done:until]:
            os.pwrite(self.image, os.pread(self.log, length, at), offset)
        self.done = max(self.done, until)

    def make(self, cut, path, rng):
        """An image after so many records, of which those since the last flush may have got lost."""
        self.advance(self.flush_before(cut))
        subprocess.run(["cp", "--sparse=always", self.durable, path], check=True)
        image = os.open(path, os.O_RDWR)
        share, torn = rng.choice((0, 0.2, 0.5, 0.8, 1)), rng.random() < 0.5
        for _, offset, length, at in self.records[self.done:cut]:
            step = 4096 if torn else max(length, 1)
            for part in range(0, length, step):
                if rng.random() < share:
                    os.pwrite(image, os.pread(self.log, min(step, length - part), at + part), offset + part)
        os.close(image)


# ---- a cut ----


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: {done.stderr.strip()}")


def start_server(bed, top):
    """plyfs over what the cut left."""
    with open(f"{bed}/server.log", "w") as log:
        server = subprocess.Popen([os.environ["PLYFS"], "-f", "-o", f"lowerdir={bed}/lower,upperdir={top}/upper,"
                                   f"workdir={top}/work", f"{bed}/mnt"], stdout=log, stderr=log)
    for _ in range(2000):
        if os.path.ismount(f"{bed}/mnt") or server.poll() is not None:
            break
        time.sleep(0.01)
    if not os.path.ismount(f"{bed}/mnt"):
        with open(f"{bed}/server.log") as log:
            raise ValueError(f"no mount: {log.read()}")
    return server


def check_plain(top):
    """After a clean unmount nothing of plyfs's own is left."""
    for at, _, files in os.walk(f"{top}/upper"):
        for name in files:
            try:
                os.getxattr(f"{at}/{name}", MARK, follow_symlinks=False)
            except OSError:
                continue
            raise ValueError(f"{at}/{name} has a mark after an unmount")
    left = [name for name in os.listdir(f"{top}/work/work") if name != "#wh"]
    if left:
        raise ValueError(f"the work directory holds {left}")


def check_kernel(bed, top, linked, tree):
    """The kernel's overlayfs shows the same, but for hard links of the layer, which it does not follow."""
    run("mount", "-t", "overlay", "overlay", "-o",
        f"lowerdir={bed}/lower,upperdir={top}/upper,workdir={top}/work", f"{bed}/mnt")
    try:
        kernels = scan(f"{bed}/mnt")
    finally:
        run("umount", f"{bed}/mnt")
    for path in sorted((set(tree) | set(kernels)) - linked):
        if tree.get(path) != kernels.get(path):
            raise ValueError(f"the kernel sees {path} otherwise: {str(kernels.get(path))[:80]}, "
                             f"not {str(tree.get(path))[:80]}")


def look(bed, top, things, cut):
    server = start_server(bed, top)
    try:
        tree = scan(f"{bed}/mnt")
    finally:
        run("umount", f"{bed}/mnt")
        status = server.wait(60)
    linked = verify(things, tree, cut)
    if status:
        raise ValueError(f"the server ended with {status}")
    check_plain(top)
    check_kernel(bed, top, linked, tree)


def cut_power(bed, disk, things, cut, rng):
    """What is wrong after it, or None."""
    image, top = f"{bed}/cut", f"{bed}/after"
    disk.make(cut, image, rng)
    run("mount", "-o", "loop", image, top)
    try:
        look(bed, top, things, cut)
    except (OSError, ValueError) as e:
        return str(e)
    finally:
        run("umount", top)
    return None


def cuts(bed, kind, seed, number):
    rng = random.Random(seed)
    with open(f"{bed}/state", "rb") as f:
        first, things = pickle.load(f)
    disk = Disk(bed)
    flushes = [i + 1 for i, r in enumerate(disk.records) if r[0] and i >= first]
    points = flushes
    if number:
        points = rng.sample(flushes, min(number // 3, len(flushes)))
        points += [rng.randrange(first, len(disk.records) + 1) for _ in range(number - len(points))]
    wrong = 0
    for cut in sorted(points):
        what = cut_power(bed, disk, things, cut, rng)
        if what:
            wrong += 1
            print(f"{kind}, seed {seed}, cut at {cut} of {len(disk.records)}: {what}", flush=True)
    print(f"{kind}, seed {seed}: {len(points)} cuts, {len(flushes)} flushes in {len(disk.records)} records", flush=True)
    if wrong:
        print(f"{kind}: something is wrong after {wrong} of {len(points)} cuts")
    return wrong


def save(state, first, things):
    with open(state, "wb") as f:
        pickle.dump((first, things), f)


def read_count(path):
    fd = os.open(path, os.O_RDONLY)
    count = int(os.pread(fd, 24, 0))
    os.close(fd)
    return count


def work(mount, count, state, seed, operations):
    """Without a mount everything is promised, and nothing done."""
    with open(state, "rb") as f:
        first, things = pickle.load(f)
    w = Work(things, count, random.Random(seed))
    if mount:
        os.chdir(mount)
        w.run(operations)
    else:
        w.promise_all()
    save(state, first, things)


def main(what, *args):
    if what == "layer":
        save(args[2], read_count(args[1]), make_layer(args[0]))
    elif what == "promise":
        work(None, *args, 0, 0)
    elif what == "work":
        work(*args[:3], int(args[3]), int(args[4]))
    else:
        sys.exit(1 if cuts(args[0], args[1], int(args[2]), int(args[3])) else 0)


main(*sys.argv[1:])
