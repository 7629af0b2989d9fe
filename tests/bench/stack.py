"""Mounting a stack of directories with one of several systems, for the measurements in this directory.

Whatever is started here is ended by its process id; a server that no longer answers has its connection
aborted, so that nobody waits for it for ever.
"""
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
CONNECTIONS = "/sys/fs/fuse/connections"
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def private_mounts():
    """Goes on in a mount namespace of its own, where nobody else sees or uses the mounts."""
    if os.environ.get("PLY_BENCH_PRIVATE") != "1":
        os.environ["PLY_BENCH_PRIVATE"] = "1"
        command = ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv]
        if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            os.execvp(command[0], command)
    if os.path.isdir(CONNECTIONS) and not os.path.ismount(CONNECTIONS):
        libc.mount(b"fusectl", CONNECTIONS.encode(), b"fusectl", 0, None)


def mountinfo(point):
    """The device minor of what is mounted there, or None."""
    found = None
    with open("/proc/self/mountinfo", errors="surrogateescape") as f:
        for line in f:
            word = line.split()
            if re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), word[4]) == point:
                found = word[2].split(":")[1]
    return found


def wait_for(what, seconds, every=0.002):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


class Trouble(Exception):
    pass


class System:
    """How to mount lowers (topmost first), with or without an upper; the paths are relative to where."""

    name = "?"
    server = None  # the program, if it is one

    def __init__(self):
        self.point, self.process, self.log = None, None, None

    @classmethod
    def available(cls):
        return not cls.server or shutil.which(cls.server) is not None

    def command(self, lowers, upper, work, point):
        raise NotImplementedError

    def mount(self, where, lowers, upper, work, point, env=None):
        """Mounts, and returns when the mount answers."""
        self.point = os.path.join(where, point)
        command = self.command(lowers, upper, work, point)
        if not self.server:
            done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Trouble(f"{self.name}: {done.stderr.strip()}")
            return
        self.log = open(f"{where}/{self.name}.log", "w")
        self.process = subprocess.Popen(command, cwd=where, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=dict(os.environ, **(env or {})))
        if not wait_for(lambda: mountinfo(self.point) or self.process.poll() is not None, 20) or self.process.poll():
            self.unmount()
            with open(self.log.name) as f:
                raise Trouble(f"{self.name} does not mount: {f.read().strip()[-300:]}")
        os.stat(self.point)

    def unmount(self):
        """Unmounts and waits for the server's end: what it does at the end is done then."""
        if not self.point:
            return
        if mountinfo(self.point):
            end = time.monotonic() + 20
            while libc.umount2(os.fsencode(self.point), 0) and time.monotonic() < end:
                time.sleep(0.01)
        if mountinfo(self.point):
            self.abort()
        if self.process:
            if not wait_for(lambda: self.process.poll() is not None, 60):
                self.abort()
                self.process.kill()
            self.process.wait()
            self.log.close()
        self.point, self.process = None, None

    def abort(self):
        minor = mountinfo(self.point)
        try:
            if self.server and minor:
                with open(f"{CONNECTIONS}/{minor}/abort", "w") as f:
                    f.write("1")
        except OSError:
            pass
        libc.umount2(os.fsencode(self.point), MNT_DETACH)

    def cpu(self):
        """Processor seconds of the server so far, 0 without one."""
        # The clock of another process, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime((~self.process.pid << 3) | 2) if self.process else 0.0

    def rss(self):
        """Bytes of memory that the server has, or None without one."""
        if not self.process:
            return None
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) * 1024


class Overlayfs(System):
    name = "overlayfs"

    @classmethod
    def available(cls):
        with open("/proc/filesystems") as f:
            return os.geteuid() == 0 and "\toverlay\n" in f.read()

    def command(self, lowers, upper, work, point):
        options = f"lowerdir={':'.join(lowers)}" + (f",upperdir={upper},workdir={work}" if upper else "")
        return ["mount", "-t", "overlay", "overlay", "-o", options, point]


class OverlayfsMetacopy(Overlayfs):
    name = "overlayfs-metacopy"

    def command(self, lowers, upper, work, point):
        *start, options, point = super().command(lowers, upper, work, point)
        return [*start, options + ",metacopy=on,redirect_dir=on", point]


class FuseOverlayfs(System):
    name = "fuse-overlayfs"
    server = "/usr/bin/fuse-overlayfs"

    def command(self, lowers, upper, work, point):
        options = f"lowerdir={':'.join(lowers)}" + (f",upperdir={upper},workdir={work}" if upper else "")
        return [self.server, "-f", "-o", options, point]


class Unionfs(System):
    name = "unionfs-fuse"
    server = "unionfs"

    def command(self, lowers, upper, work, point):
        branches = ([f"{upper}=RW"] if upper else []) + [f"{lower}=RO" for lower in lowers]
        return [self.server, "-f", "-o", "cow,allow_other,use_ino", ":".join(branches), point]


class Plyfs(FuseOverlayfs):
    name = "plyfs"
    server = os.path.abspath(os.environ.get("PLYFS", f"{TOP}/build/plyfs"))

    def __init__(self):
        super().__init__()
        self.stats = None

    def mount(self, where, lowers, upper, work, point, env=None):
        self.stats = f"{where}/plyfs.stats"
        if os.path.exists(self.stats):
            os.unlink(self.stats)
        super().mount(where, lowers, upper, work, point, {"PLYFS_STATS_FILE": self.stats})

    # What the kernel sends whenever it likes, and what never changes a warm path's cost.
    BACKGROUND = {"FORGET", "BATCH_FORGET", "INTERRUPT", "INIT"}

    def counters(self):
        """{operation: requests so far}, without those of the background."""
        size = os.path.getsize(self.stats)
        self.process.send_signal(signal.SIGUSR1)

        def text():
            with open(self.stats) as f:
                f.seek(size)
                return f.read()

        if not wait_for(lambda: "copyup_bytes" in text(), 10, 0.001):
            raise Trouble("plyfs prints no counters")
        found = dict(re.findall(r"^([A-Z][A-Z0-9_]*) (\d+)$", text(), re.M))
        return {name: int(n) for name, n in found.items() if name not in self.BACKGROUND}

    @classmethod
    def variant(cls, options):
        """plyfs with more options, as a system of its own."""
        def command(self, lowers, upper, work, point):
            argv = cls.command(self, lowers, upper, work, point)
            return [*argv[:-1], "-o", options, point]
        return type("PlyfsVariant", (cls,), {"name": f"plyfs {options}", "command": command})

    @staticmethod
    def difference(before, after):
        return {name: n - before.get(name, 0) for name, n in sorted(after.items()) if n > before.get(name, 0)}


class Native(System):
    """A plain directory that holds what the others merge."""

    name = "native"

    def mount(self, where, lowers, upper, work, point, env=None):
        self.point = None


ALL = [Native, Overlayfs, OverlayfsMetacopy, FuseOverlayfs, Unionfs, Plyfs]
