"""snapshotter.py SOCKET DIR TYPE: a snapshotter for containerd, by its public service containerd.services.snapshots.v1.

It hands out the mounts that the fuse-overlayfs snapshotter hands out, of that type (fuse3.fuse-overlayfs, fuse3.plyfs),
and keeps the layers in DIR as that does. What it knows of them is in memory only.
"""
import concurrent.futures
import os
import shutil
import sys
import time

import grpc

SOCKET, DIR, TYPE = sys.argv[1:]
VIEW, ACTIVE, COMMITTED = 1, 2, 3
EXISTS, MISSING, USED = grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION
snapshots = {}  # by key
made = 0


# ---- protobuf: a message is a list of (number of the field, an int or bytes) ----


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def encode(fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def decode(data):
    at = 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    fields = []
    while at < len(data):
        tag = number()
        size = number()
        if tag & 7 == 0:
            fields.append((tag >> 3, size))
        elif tag & 7 == 2:
            fields.append((tag >> 3, data[at:at + size]))
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")
    return fields


def text(fields, number):
    return next((value.decode() for n, value in fields if n == number), "")


def pairs(fields, number):
    return {text(m, 1): text(m, 2) for m in (decode(value) for n, value in fields if n == number)}


# ---- snapshots ----


class Snapshot:
    def __init__(self, key, parent, kind, labels):
        global made
        made += 1
        self.parent, self.kind, self.labels = parent, kind, labels
        self.created = self.updated = int(time.time())
        self.at = f"{DIR}/snapshots/{made}"
        os.makedirs(f"{self.at}/fs", 0o755)
        if kind == ACTIVE:
            os.mkdir(f"{self.at}/work", 0o711)
        if parent:
            below = os.stat(f"{snapshots[parent].at}/fs")
            os.chown(f"{self.at}/fs", below.st_uid, below.st_gid)
        snapshots[key] = self

    def parents(self):
        found, key = [], self.parent
        while key:
            found.append(f"{snapshots[key].at}/fs")
            key = snapshots[key].parent
        return found

    def mounts(self):
        """One mount, as a message of containerd.types; a single layer needs no overlay."""
        parents = self.parents()
        if not parents:
            return bind(f"{self.at}/fs", "rw" if self.kind == ACTIVE else "ro")
        if self.kind == VIEW and len(parents) == 1:
            return bind(parents[0], "ro")
        options = [f"workdir={self.at}/work", f"upperdir={self.at}/fs"] if self.kind == ACTIVE else []
        options.append(f"lowerdir={':'.join(parents)}")
        for name in "uidmapping", "gidmapping":
            if label := self.labels.get(f"containerd.io/snapshot/{name}"):
                options.append(f"{name}={label.replace(',', ':')}")
        return encode([(1, encode([(1, TYPE), (2, "overlay")] + [(4, o) for o in options]))])

    def info(self, key):
        fields = [(1, key), (2, self.parent), (3, self.kind), (4, encode([(1, self.created)])), (5, encode([(1, self.updated)]))]
        return encode(fields + [(6, encode([(1, k), (2, v)])) for k, v in self.labels.items()])


def bind(path, mode):
    return encode([(1, encode([(1, "bind"), (2, path), (4, mode), (4, "rbind")]))])


def usage(path):
    inodes = {}
    for at, dirs, files in os.walk(path):
        for name in [at] + [f"{at}/{f}" for f in files]:
            st = os.lstat(name)
            inodes[st.st_ino] = st.st_blocks * 512
    return sum(inodes.values()), len(inodes)


# ---- the service: each takes the fields of a request, and the context to fail by; the answer is a message ----


def known(key, context):
    if key not in snapshots:
        context.abort(MISSING, f"{key}: not found")
    return snapshots[key]


def create(request, context, kind):
    key, parent = text(request, 2), text(request, 3)
    if key in snapshots:
        context.abort(EXISTS, f"{key}: already exists")
    if parent and known(parent, context).kind != COMMITTED:
        context.abort(USED, f"{parent}: not committed")
    return Snapshot(key, parent, kind, pairs(request, 4)).mounts()


def prepare(request, context):
    return create(request, context, ACTIVE)


def view(request, context):
    return create(request, context, VIEW)


def mounts(request, context):
    return known(text(request, 2), context).mounts()


def commit(request, context):
    name, key = text(request, 2), text(request, 3)
    snapshot = known(key, context)
    if name in snapshots:
        context.abort(EXISTS, f"{name}: already exists")
    del snapshots[key]
    snapshot.kind, snapshot.labels = COMMITTED, pairs(request, 4)
    snapshots[name] = snapshot
    return b""


def remove(request, context):
    key = text(request, 2)
    snapshot = known(key, context)
    if any(other.parent == key for other in snapshots.values()):
        context.abort(USED, f"{key}: has children")
    del snapshots[key]
    shutil.rmtree(snapshot.at)
    return b""


def stat(request, context):
    key = text(request, 2)
    return encode([(1, known(key, context).info(key))])


def update(request, context):
    info = decode(dict(request)[2])
    key = text(info, 1)
    snapshot = known(key, context)
    paths = [value.decode() for n, value in decode(dict(request).get(3, b"")) if n == 1]
    labels = pairs(info, 6)
    if not paths or "labels" in paths:
        snapshot.labels = labels
    for path in paths:
        if path.startswith("labels."):
            snapshot.labels[path[7:]] = labels.get(path[7:], "")
    snapshot.updated = int(time.time())
    return encode([(1, snapshot.info(key))])


def listed(_request, _context):
    yield encode([(1, snapshot.info(key)) for key, snapshot in snapshots.items()])


def used(request, context):
    size, inodes = usage(f"{known(text(request, 2), context).at}/fs")
    return encode([(1, size), (2, inodes)])


def cleanup(_request, _context):
    return b""


def main():
    os.makedirs(f"{DIR}/snapshots", 0o700)
    unary = {"Prepare": prepare, "View": view, "Mounts": mounts, "Commit": commit, "Remove": remove, "Stat": stat,
             "Update": update, "Usage": used, "Cleanup": cleanup}
    handlers = {name: grpc.unary_unary_rpc_method_handler(do, decode) for name, do in unary.items()}
    handlers["List"] = grpc.unary_stream_rpc_method_handler(listed, decode)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service = grpc.method_handlers_generic_handler("containerd.services.snapshots.v1.Snapshots", handlers)
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"unix:{SOCKET}")
    server.start()
    server.wait_for_termination()


main()
