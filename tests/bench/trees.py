"""The directories that the measurements work on: layers of small files, a big file, a hundred layers, an archive."""
import os
import random
import shutil
import stat
import subprocess

FILES_PER_DIR = 20


def write(path, size, rng):
    line = "".join(rng.choice("abcdefghij klmnopqrst\n") for _ in range(64))
    with open(path, "w") as f:
        f.write((line * (size // 64 + 1))[:size])


def fill(top, part, count, rng):
    """count files below top/part, in directories two deep, of the sizes that sources and documents have."""
    for i in range(count):
        directory = f"{top}/{part}/{i // (FILES_PER_DIR * 10)}/{i // FILES_PER_DIR % 10}"
        if i % FILES_PER_DIR == 0:
            os.makedirs(directory, exist_ok=True)
        write(f"{directory}/file{i}.txt", min(int(rng.lognormvariate(7.5, 1.2)), 200000), rng)


def names_below(top):
    return sorted(os.path.relpath(os.path.join(at, name), top) for at, _, names in os.walk(top) for name in names)


def change(top, below, share, rng):
    """A layer on top of another: share of its files are new versions, some names are gone, some are new."""
    os.makedirs(top)
    names = names_below(below)
    for name in rng.sample(names, int(len(names) * share)):
        os.makedirs(os.path.dirname(f"{top}/{name}"), exist_ok=True)
        if rng.random() < 0.1:
            os.mknod(f"{top}/{name}", stat.S_IFCHR)
        else:
            write(f"{top}/{name}", 3000, rng)
    fill(top, f"new-{os.path.basename(top)}", int(len(names) * share / 2), rng)


def make_tree(where, files):
    """Three layers: l2 at the bottom has the files, l1 and l0 change them."""
    rng = random.Random(1)
    fill(f"{where}/l2", "src", files // 5, rng)
    fill(f"{where}/l2", "lib", files // 2, rng)
    fill(f"{where}/l2", "doc", files * 3 // 10, rng)
    change(f"{where}/l1", f"{where}/l2", 0.05, rng)
    change(f"{where}/l0", f"{where}/l2", 0.02, rng)
    opaque = f"{where}/l0/doc/0/1"
    shutil.rmtree(opaque, ignore_errors=True)
    os.makedirs(opaque)
    write(f"{opaque}/only.txt", 100, rng)
    os.setxattr(opaque, "trusted.overlay.opaque", b"y")
    return ["l0", "l1", "l2"]


def make_small(where, files):
    """One layer of small files."""
    fill(f"{where}/l0", "src", files, random.Random(5))
    return ["l0"]


def make_hundred(where, layers):
    """As many layers, each with a directory of its own and a part of one that all have."""
    rng = random.Random(2)
    names = []
    for i in range(layers):
        name = f"l{i}"
        names.append(name)
        os.makedirs(f"{where}/{name}/common/{i % 10}")
        os.makedirs(f"{where}/{name}/own{i}")
        for j in range(20):
            write(f"{where}/{name}/own{i}/f{j}", 500, rng)
            write(f"{where}/{name}/common/{i % 10}/f{i}-{j}", 500, rng)
    return names


def make_big(where, size):
    os.makedirs(f"{where}/l0")
    block = random.Random(3).randbytes(1 << 20)
    with open(f"{where}/l0/big", "wb") as f:
        for _ in range(size >> 20):
            f.write(block)
    return ["l0"]


def make_many(where, files):
    """Empty files, to see what a server's memory is per file."""
    for i in range(files):
        if i % 100 == 0:
            os.makedirs(f"{where}/l0/{i // 10000}/{i // 100 % 100}")
        os.close(os.open(f"{where}/l0/{i // 10000}/{i // 100 % 100}/some-file-{i}", os.O_CREAT, 0o644))
    return ["l0"]


def make_archive(path, files):
    """A tar archive, as of a source package."""
    where = path + ".d"
    fill(where, "package", files, random.Random(4))
    subprocess.run(["tar", "-C", where, "-cf", path, "package"], check=True)
    shutil.rmtree(where)


def copy(source, target):
    """Data is shared where the file system can, so that copies cost no room in the page cache there either."""
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)


def remove(path):
    if os.path.lexists(path):
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)
