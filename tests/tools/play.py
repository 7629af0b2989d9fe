"""play.py DIR SEED COUNT [WORD...]: random changes of a tree, in few names so that they meet.
Words leave kinds of changes out: norename."""
import os
import random
import shutil
import sys

top, seed, count, without = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
rng = random.Random(seed)
os.chdir(top)


def some_dir():
    path = "."
    while rng.random() < 0.6:
        subs = sorted(e.name for e in os.scandir(path) if e.is_dir(follow_symlinks=False))
        if not subs:
            break
        path = os.path.join(path, rng.choice(subs))
    return path


def some_path():
    return os.path.join(some_dir(), rng.choice("abcdefgh"))


def existing():
    path = some_dir()
    names = sorted(os.listdir(path))
    return os.path.join(path, rng.choice(names)) if names else None


def make(path):
    if os.path.lexists(path):
        return
    kind = rng.choice(["file", "file", "dir", "dir", "link", "fifo", "hard"])
    if kind == "dir":
        os.mkdir(path)
    elif kind == "link":
        os.symlink(rng.choice(["a", "/nowhere", "../b"]), path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "hard" and (other := existing()) and not os.path.isdir(other):
        os.link(other, path, follow_symlinks=False)
    else:
        with open(path, "w") as f:
            f.write(rng.choice("xyz") * rng.randrange(5000))


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def change(path):
    if os.path.islink(path):
        return
    what = rng.choice(["data", "mode", "xattr", "owner"])
    if what == "data" and os.path.isfile(path):
        with open(path, "a") as f:
            f.write(rng.choice("pqr") * rng.randrange(1, 100))
    elif what == "xattr" and (os.path.isfile(path) or os.path.isdir(path)):
        os.setxattr(path, "user.note", rng.choice([b"1", b"22"]))
    elif what == "owner" and os.geteuid() == 0:
        os.chown(path, rng.randrange(1, 4), 0)
    else:
        os.chmod(path, rng.choice([0o700, 0o755, 0o750]))


def move(path):
    to = some_path()
    one, other = os.path.abspath(path) + "/", os.path.abspath(to) + "/"
    if not other.startswith(one) and not one.startswith(other):
        remove(to)
        os.rename(path, to)


for _ in range(count):
    dice = rng.random()
    if dice < 0.4:
        make(some_path())
    elif (found := existing()):
        if dice < 0.55:
            remove(found)
        elif dice < 0.65:
            was_dir = os.path.isdir(found) and not os.path.islink(found)
            remove(found)
            if was_dir:
                os.mkdir(found)
        elif dice < 0.8 and "norename" not in without:
            move(found)
        else:
            change(found)
