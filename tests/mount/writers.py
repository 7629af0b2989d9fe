"""
Writers whose records depend on each other, and the proof that a tree holds a consistent cut of them.

    writers.py write DIR SECONDS    several processes pass a number on: each appends it to its own file, then the next;
                                    another one counts in files that stay open, in each in turn, which the kernel may
                                    collect without a word to the server
    writers.py check DIR            every number below the greatest one is there; no file's count is greater than that of
                                    the file before it, nor are two further apart than one
"""
import mmap
import os
import sys
import time

FILES = 4
COUNTERS = 8
BULK = 300  # counts between two big writes
RECORD = 16


def record(n):
    return b"%015d\n" % n


def append(path, n, turn):
    """By write(2) to a file that stays open, by one that is opened anew, by truncating first, by renaming a new one over."""
    if turn == 3:
        with open(path + ".tmp", "wb") as f:
            with open(path, "rb") as old:
                f.write(old.read() + record(n))
        os.rename(path + ".tmp", path)
        return
    with open(path, "ab", buffering=0) as f:
        f.write(record(n))


def run(directory, index, take, give, until):
    path = os.path.join(directory, f"w{index}")
    held = open(path, "ab", buffering=0)
    while True:
        data = os.read(take, 8)
        if len(data) < 8:
            return
        n = int.from_bytes(data, "little")
        if index == 0:
            held.write(record(n))
        else:
            append(path, n, index)
        if time.monotonic() > until:
            return
        os.write(give, (n + 1).to_bytes(8, "little"))


def count(directory, until):
    fds = [os.open(os.path.join(directory, f"c{i}"), os.O_WRONLY | os.O_CREAT, 0o644) for i in range(COUNTERS)]
    bulk = os.open(os.path.join(directory, "bulk"), os.O_WRONLY | os.O_CREAT, 0o644)
    n = 0
    while time.monotonic() < until:
        n += 1
        for i, fd in enumerate(fds):
            os.pwrite(fd, record(n), 0)
            # So that it takes a while from writing back the one to writing back the next.
            if i == n // BULK % COUNTERS and n % BULK == 0:
                os.pwrite(bulk, bytes(4 << 20), 0)


def write(directory, seconds):
    pipes = [os.pipe() for _ in range(FILES)]
    until = time.monotonic() + seconds
    children = []
    for i in range(FILES):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                for j, (r, w) in enumerate(pipes):
                    if j != i:
                        os.close(r)
                    if j != (i + 1) % FILES:
                        os.close(w)
                run(directory, i, pipes[i][0], pipes[(i + 1) % FILES][1], until)
                status = 0
            except BrokenPipeError:
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    children.append(os.fork())
    if not children[-1]:
        for r, w in pipes:
            os.close(r)
            os.close(w)
        count(directory, until)
        os._exit(0)
    os.write(pipes[0][1], (1).to_bytes(8, "little"))
    for r, w in pipes:
        os.close(r)
        os.close(w)
    failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
    sys.exit(f"{len(failed)} writers failed" if failed else 0)


def check_counters(directory):
    counts = []
    for i in range(COUNTERS):
        try:
            with open(os.path.join(directory, f"c{i}"), "rb") as f:
                counts.append(int(f.read() or b"0"))
        except FileNotFoundError:
            counts.append(0)
    if counts != sorted(counts, reverse=True) or counts[0] > counts[-1] + 1:
        sys.exit(f"counts that never were at one time: {counts}")


def check(directory):
    check_counters(directory)
    seen = set()
    for i in range(FILES):
        try:
            with open(os.path.join(directory, f"w{i}"), "rb") as f:
                data = f.read()
        except FileNotFoundError:
            continue
        if len(data) % RECORD:
            sys.exit(f"w{i}: half a record: {data[-RECORD:]!r}")
        numbers = [int(line) for line in data.split()]
        if any(a >= b for a, b in zip(numbers, numbers[1:])):
            sys.exit(f"w{i}: out of order")
        seen.update(numbers)
    top = max(seen, default=0)
    missing = [n for n in range(1, top) if n not in seen]
    if missing:
        sys.exit(f"of {top} records {len(missing)} are missing, the first {missing[0]}")
    print(top)


def store(path, seconds):
    """A counter in two mapped pages: the second never runs ahead of the first by what a cut could show."""
    with open(path, "r+b") as f:
        m = mmap.mmap(f.fileno(), 8192)
        until = time.monotonic() + seconds
        n = 0
        while time.monotonic() < until:
            n += 1
            m[0:8] = n.to_bytes(8, "little")
            time.sleep(0.001)
        m.close()


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "write":
        write(sys.argv[2], float(sys.argv[3]))
    elif what == "store":
        store(sys.argv[2], float(sys.argv[3]))
    else:
        check(sys.argv[2])
