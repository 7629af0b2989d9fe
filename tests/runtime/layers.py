"""layers.py DIR SINCE: lists what the layers of an image, in DIR as skopeo's dir: writes it, make up together.

A line a name: type, mode, owner, size, link target, device, digest of the content, extended attributes, the time if
it is before SINCE, and the first of several names of a file. Times of directories are not told: what compares two
mounts leaves a directory out in which nothing but the time has changed, what reads an upper does not.
"""
import hashlib
import json
import sys
import tarfile

directory, since = sys.argv[1], int(sys.argv[2])
KINDS = {tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.FIFOTYPE: "p", tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b"}
found = {}  # name: its inode


class Inode:
    def __init__(self, tar, member):
        self.kind = KINDS.get(member.type, "f")
        digest = hashlib.sha256(tar.extractfile(member).read()).hexdigest()[:16] if self.kind == "f" else ""
        device = f"{member.devmajor}:{member.devminor}" if self.kind in "cb" else ""
        xattrs = sorted(f"{k[13:]}={v!r}" for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr."))
        time = "" if self.kind == "d" else str(int(member.mtime)) if member.mtime < since else "new"
        self.text = " ".join([self.kind, f"{member.mode & 0o7777:o}", f"{member.uid}:{member.gid}", str(member.size),
                              member.linkname, device, digest, *xattrs, time])
        self.names = []


def remove(name, itself):
    for other in [n for n in found if n.startswith(name + "/") or (itself and n == name) or (name == "" and n)]:
        del found[other]


def apply(path):
    with tarfile.open(path, "r:*") as tar:
        new = set()
        for member in tar:
            name = member.name.removeprefix("./").strip("/")
            parent, _, base = name.rpartition("/")
            if base == ".wh..wh..opq":
                for other in [n for n in found if (n.startswith(parent + "/") or not parent) and n not in new]:
                    del found[other]
            elif base.startswith(".wh."):
                remove(f"{parent}/{base[4:]}".strip("/"), True)
            else:
                if not member.isdir():
                    remove(name, True)
                link = member.islnk() and member.linkname.removeprefix("./").strip("/")
                found[name] = found[link] if link else Inode(tar, member)
                new.add(name)


def main():
    with open(f"{directory}/manifest.json") as f:
        for layer in json.load(f)["layers"]:
            apply(f"{directory}/{layer['digest'].split(':')[1]}")
    for name, inode in found.items():
        inode.names.append(name)
    for name in sorted(found):
        links = sorted(found[name].names)
        print(name or ".", found[name].text, *(["= " + links[0]] if len(links) > 1 else []))


main()
