"""The standard workloads whose requests are counted: each does one thing COUNT times in a directory.

lower(d) makes the layer's part of it before the mount, before(d) prepares it on the mount (not counted), work(d)
is what is counted. per: by how many the counts are divided, where that is not COUNT. Workloads that write begin in
a directory which is in the upper already.
"""
import os
import subprocess

COUNT = 50
ENTRIES = 1000


def names(prefix="f", count=COUNT):
    return [f"{prefix}{i}" for i in range(count)]


def create(path, data=b"x" * 100):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
    if data:
        os.write(fd, data)
    os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, 65536):
        pass
    os.close(fd)


def overwrite(path, flags):
    fd = os.open(path, os.O_WRONLY | flags)
    os.write(fd, b"y" * 10)
    os.close(fd)


def write_sync(path):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
    os.write(fd, b"z")
    os.fsync(fd)
    os.close(fd)


def absent(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return
    raise AssertionError(path)


def each(function, prefix="f"):
    def work(d):
        for name in names(prefix):
            function(f"{d}/{name}")
    return work


def files(d):
    each(create)(d)


def dirs(d):
    each(os.mkdir)(d)


def entries(d):
    for name in names("entry", ENTRIES):
        create(f"{d}/{name}", b"")


def full_dirs(d):
    """A tree of COUNT files in ten directories."""
    for i in range(10):
        os.makedirs(f"{d}/tree/{i}")
        for name in names(count=COUNT // 10):
            create(f"{d}/tree/{i}/{name}")


def shell(command):
    def work(d):
        subprocess.run(["bash", "-c", command], cwd=d, stdout=subprocess.DEVNULL, check=True)
    return work


def archive(d):
    full_dirs(d)
    subprocess.run(["tar", "-C", d, "-cf", f"{d}/archive.tar", "tree"], check=True)
    subprocess.run(["rm", "-r", f"{d}/tree"], check=True)


def git_object(path):
    tmp = os.path.dirname(path) + "/tmp_obj"
    write_sync(tmp)
    os.link(tmp, path)
    os.unlink(tmp)


def lockfile(path):
    write_sync(path + ".lock")
    os.rename(path + ".lock", path)


def list_all(d):
    assert len(os.listdir(d)) >= ENTRIES


def stat_all(d):
    for name in os.listdir(d):
        os.stat(f"{d}/{name}")


class Workload:
    def __init__(self, name, work, *, lower=None, before=None, per=COUNT):
        self.name, self.work, self.lower, self.before, self.per = name, work, lower, before, per


def stat_twice(d):
    each(os.stat)(d)
    each(os.stat)(d)


def renaming(suffix):
    return each(lambda path: os.rename(path, path + suffix))


READING = [
    Workload("stat, first time", each(os.stat), lower=files),
    Workload("stat, warm", each(os.stat), lower=files, before=stat_twice),
    Workload("stat of nothing, warm", each(absent, "no"), lower=files, before=each(absent, "no")),
    Workload("open read close, first time", each(read), lower=files, before=stat_twice),
    Workload("open read close, warm", each(read), lower=files, before=each(read)),
    Workload("readdir of 1000, cold", list_all, lower=entries, per=1),
    Workload("readdir of 1000, warm", list_all, lower=entries, before=list_all, per=1),
    Workload("readdir and stat of 1000, cold", stat_all, lower=entries, per=1),
    Workload("tar of a layer's tree, a file", shell("tar -cf - tree | cat"), lower=full_dirs),
    Workload("listxattr", each(os.listxattr), lower=files, before=stat_twice),
]

WRITING = [
    Workload("create write close", each(create)),
    Workload("create write fsync close", each(write_sync)),
    Workload("mkdir", each(os.mkdir)),
    Workload("symlink", each(lambda path: os.symlink("target", path))),
    Workload("mkfifo", each(os.mkfifo)),
    Workload("link", each(lambda path: os.link(path, path + "-2")), before=files),
    Workload("rename, upper file", renaming("-2"), before=files),
    Workload("rename, layer's file", renaming("-2"), lower=files, before=stat_twice),
    Workload("rename over a file", each(lambda path: os.rename(path, os.path.dirname(path) + "/f")), before=files),
    Workload("unlink, upper file", each(os.unlink), before=files),
    Workload("unlink, layer's file", each(os.unlink), lower=files, before=stat_twice),
    Workload("rmdir, upper directory", each(os.rmdir), before=dirs),
    Workload("rmdir, layer's directory", each(os.rmdir), lower=dirs, before=stat_twice),
    Workload("chmod, upper file", each(lambda path: os.chmod(path, 0o600)), before=files),
    Workload("chmod, layer's file", each(lambda path: os.chmod(path, 0o600)), lower=files, before=stat_twice),
    Workload("chown, upper file", each(lambda path: os.chown(path, 1, 1)), before=files),
    Workload("utimes, upper file", each(lambda path: os.utime(path, (1, 1))), before=files),
    Workload("truncate, upper file", each(lambda path: os.truncate(path, 10)), before=files),
    Workload("append, upper file", each(lambda path: overwrite(path, os.O_APPEND)), before=files),
    Workload("append, layer's file", each(lambda path: overwrite(path, os.O_APPEND)), lower=files, before=stat_twice),
    Workload("overwrite, upper file", each(lambda path: overwrite(path, os.O_TRUNC)), before=files),
    Workload("overwrite, layer's file", each(lambda path: overwrite(path, os.O_TRUNC)), lower=files,
             before=stat_twice),
    Workload("setxattr", each(lambda path: os.setxattr(path, "user.a", b"b")), before=files),
    Workload("git object", each(git_object)),
    Workload("lockfile", each(lockfile)),
    Workload("untar, a file", shell("tar -xf archive.tar"), lower=archive),
    Workload("rm -rf of the upper's, a file", shell("rm -rf tree"), before=full_dirs),
    Workload("rm -rf of a layer's, a file", shell("rm -rf tree"), lower=full_dirs),
]
