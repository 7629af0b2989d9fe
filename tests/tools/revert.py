"""revert.py TREE REFERENCE SEED: brings what was changed in a tree, and more that was not, back to what the reference has,
in random ways: in place, or made anew. Some times are left different."""
import os
import random
import shutil
import stat
import sys

tree, reference, rng = sys.argv[1], sys.argv[2], random.Random(int(sys.argv[3]))


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def make(path, ref, st):
    if stat.S_ISDIR(st.st_mode):
        os.mkdir(path)
    elif stat.S_ISLNK(st.st_mode):
        os.symlink(os.readlink(ref), path)
    elif stat.S_ISREG(st.st_mode):
        shutil.copyfile(ref, path)
    else:
        os.mknod(path, st.st_mode, st.st_rdev)


def data(path, ref):
    with open(ref, "rb") as f:
        wanted = f.read()
    with open(path, "r+b") as f:
        if f.read() != wanted or rng.random() < 0.3:
            f.seek(0)
            f.write(wanted)
            f.truncate()


def xattrs(path, ref):
    for name in os.listxattr(path):
        if name.startswith("user."):
            os.removexattr(path, name)
    for name in os.listxattr(ref):
        if name.startswith("user."):
            os.setxattr(path, name, os.getxattr(ref, name))


def attributes(path, ref, st):
    os.lchown(path, st.st_uid, st.st_gid)
    if not stat.S_ISLNK(st.st_mode):
        os.chmod(path, 0o604)
        os.chmod(path, stat.S_IMODE(st.st_mode))
    if stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
        xattrs(path, ref)


def times(path, st):
    if rng.random() < 0.85:
        os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns), follow_symlinks=False)


def revert(path, ref):
    st = os.lstat(ref)
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        there = None
    anew = there is None or stat.S_IFMT(there.st_mode) != stat.S_IFMT(st.st_mode) or rng.random() < 0.1
    if anew:
        remove(path)
        make(path, ref, st)
    elif stat.S_ISREG(st.st_mode):
        data(path, ref)
    attributes(path, ref, st)
    if stat.S_ISDIR(st.st_mode):
        for name in sorted(os.listdir(ref)):
            if rng.random() < 0.9:
                revert(os.path.join(path, name), os.path.join(ref, name))
        for name in set(os.listdir(path)) - set(os.listdir(ref)):
            if rng.random() < 0.7:
                remove(os.path.join(path, name))
    times(path, st)


for entry in sorted(os.listdir(reference)):
    if rng.random() < 0.8:
        revert(os.path.join(tree, entry), os.path.join(reference, entry))
