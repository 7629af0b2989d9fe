"""What the python parts of tests/mount share. A check that fails says what was expected, and ends the program."""
import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


told = None  # in a worker of in_parallel: where to say why it fails


def fail(text):
    print(text, flush=True)
    if told is not None:
        os.write(told, text.replace("\n", " ")[:4000].encode(errors="replace") + b"\n")
    os._exit(1)


def skip(text):
    print(text, flush=True)
    os._exit(77)


def eq(label, want, got):
    if want != got:
        fail(f"{label}: expected: {want!r}; got: {got!r}")


def err(function, *args, **kwargs):
    """0, or the errno that the call fails with."""
    try:
        function(*args, **kwargs)
        return 0
    except OSError as e:
        return e.errno


def ename(number):
    return errno.errorcode.get(number, "success")


def fails(label, wanted, function, *args, **kwargs):
    """The call fails with the error of that name; '' for success."""
    got = err(function, *args, **kwargs)
    if got != (getattr(errno, wanted) if wanted else 0):
        fail(f"{label}: expected: {wanted or 'success'}; got: {ename(got)}")


def libc_call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def renameat2(old, new, flags):
    libc_call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def fallocate(fd, mode, offset, length):
    libc_call("fallocate", fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


def name_it(fd, path):
    """linkat(2) of a descriptor."""
    libc_call("linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW)


def spit(path, text):
    with open(path, "w" if isinstance(text, str) else "wb") as f:
        f.write(text)


def append(path, text):
    with open(path, "a") as f:
        f.write(text)


def slurp(path):
    with open(path) as f:
        return f.read()


def below(directory):
    """All names below it, sorted, on one line."""
    found = []
    for at, directories, files in os.walk(directory):
        found += [os.path.relpath(os.path.join(at, name), directory) for name in directories + files]
    return " ".join(sorted(found))


def in_parallel(work, count):
    """work(0), work(1), ... each in a process of its own; what they return, an int of a byte. Where one fails,
    all end, and the last line says which one and why."""
    global told
    reader, told = os.pipe()
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                result = work(number) or 0
            except BaseException as e:
                where = e.__traceback__
                while where.tb_next:
                    where = where.tb_next
                fail(f"worker {number}: line {where.tb_lineno}: {type(e).__name__}: {e}")
            os._exit(result)
        pids.append(pid)
    os.close(told)
    told = None
    results = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    with os.fdopen(reader, errors="replace") as f:
        if why := f.readline():
            fail(f"results {results}: {why.rstrip()}")
    return results
