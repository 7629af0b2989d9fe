#!/bin/bash
# SIGKILL of the server at any moment: the layers are untouched, the mount can be taken away, and a new mount shows of
# each file the old content or the new, whole. The disk is not cut off here: what the server wrote is there.
# timeout: 900
. "$(dirname "$0")/lib.sh"
need_root

ROUNDS=${PLY_LONG:+60}
ROUNDS=${ROUNDS:-8}

# Content that tells by itself whether it is whole: a head line, numbered lines, and a sum over all of it.
CONTENT='
import hashlib
FILES = 30

def text_of(name, version, lines=2000):
    body = f"{name} {version} {lines}\n" + "".join(f"{name} {version} line {i}\n" for i in range(lines))
    return body + hashlib.sha256(body.encode()).hexdigest() + "\n"

def version_of(name, text):
    """The version that the text is of, and whole; ends the program if it is anything else."""
    head = text.split("\n", 1)[0].split(" ")
    if len(head) != 3 or not head[1].isdigit() or not head[2].isdigit() or text != text_of(head[0], int(head[1]), int(head[2])):
        fail(f"{name} is not whole: {len(text)} characters, begins {text[:60]!r}, ends {text[-60:]!r}")
    return int(head[1])
'

# lower/KIND/N, for each kind of change that is done to them.
make_layer() {
	py "$L" <<P
$CONTENT
os.chdir(sys.argv[1])
for kind in "replaced", "patched", "appended", "deleted", "chmodded", "moved", "truncated", "linked":
    os.mkdir(kind)
    for i in range(FILES):
        spit(f"{kind}/{i}", text_of(f"{kind}/{i}", 0))
        os.utime(f"{kind}/{i}", (10**9, 10**9))
P
}

# The workers: each says, with a line that a dead server cannot take back, what it was sure of.
WORK='
os.chdir(sys.argv[1])
journal = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY | os.O_APPEND)

def sure(*words):
    os.write(journal, (" ".join(map(str, words)) + "\n").encode())

def synced(path, flags, write):
    fd = os.open(path, flags, 0o644)
    try:
        write(fd)
        os.fsync(fd)
    finally:
        os.close(fd)

def replace(r, n):
    name = f"replaced/{r.randrange(FILES // 3) * 3 + n}"
    version = int(time.time() * 1000) * 10 + r.randrange(10)
    data = text_of(name, version, r.randrange(1, 5000)).encode()
    with open(f"{name}.tmp", "wb") as f:
        f.write(data)
        if r.random() < 0.5:
            f.flush()
            os.fsync(f.fileno())
    os.rename(f"{name}.tmp", name)
    sure("replaced", name, version)

def patch(r, n):
    i = r.randrange(FILES)
    name, at = f"patched/{i}", 20000 + 8 * n
    value = b"%08d" % r.randrange(10**8)
    synced(name, os.O_WRONLY, lambda fd: os.pwrite(fd, value, at))
    sure("patched", name, n, value.decode())

def extend(r, n):
    if n == 0:
        synced(f"appended/{r.randrange(FILES)}", os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"record\n"))

def delete(r, n):
    name = f"deleted/{r.randrange(FILES // 3) * 3 + n}"
    try:
        os.unlink(name)
        sure("gone", name)
    except FileNotFoundError:
        spit(f"{name}.tmp", text_of(name, 1))
        os.rename(f"{name}.tmp", name)
        sure("back", name)

def change_mode(r, n):
    name = f"chmodded/{r.randrange(FILES)}"
    os.chmod(name, r.choice((0o600, 0o640, 0o444)))
    os.chown(name, r.randrange(5), r.randrange(5))
    os.setxattr(name, "user.x", b"y" * r.randrange(200))

def move(r, n):
    i = r.randrange(FILES // 3) * 3 + n
    for a, b in ((f"moved/{i}", f"replaced/moved-{i}"), (f"replaced/moved-{i}", f"moved/{i}")):
        try:
            os.rename(a, b)
            return
        except FileNotFoundError:
            pass

def truncate(r, n):
    if n == 1:
        os.truncate(f"truncated/{r.randrange(FILES)}", 0)

def link(r, n):
    i = r.randrange(FILES)
    try:
        os.link(f"linked/{i}", f"linked/{i}.{n}")
    except FileExistsError:
        os.unlink(f"linked/{i}.{n}")

def tree(r, n):
    path = f"tree-{n}/{r.randrange(5)}/{r.randrange(5)}"
    if r.random() < 0.5:
        os.makedirs(path, exist_ok=True)
        spit(f"{path}/f", "x")
    else:
        subprocess.run(["rm", "-rf", path], stderr=subprocess.DEVNULL)

def work(n):
    r = random.Random()
    while True:
        try:
            r.choice((replace, patch, extend, delete, change_mode, move, truncate, link, tree))(r, n)
        except OSError as e:
            if e.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
                return 0
            fail(f"{ename(e.errno)}: {e}")

eq("status", [0] * 3, in_parallel(work, 3))
'

CHECK='
import collections
os.chdir(sys.argv[1])
sure = collections.defaultdict(dict)
for line in slurp(sys.argv[2]).splitlines():
    what, name, *rest = line.split()
    if what == "replaced":
        sure[what][name] = int(rest[0])
    elif what == "patched":
        sure[what][name, int(rest[0])] = rest[1]
    else:
        sure["there"][name] = what

for i in range(FILES):
    name = f"replaced/{i}"
    version = version_of(name, slurp(name))
    least = sure["replaced"].get(name, 0)
    if version < least:
        fail(f"{name} is of version {version}, but {least} was there before")

    name = f"patched/{i}"
    old, text = text_of(name, 0), slurp(name)
    slots = [(20000 + 8 * n, text[20000 + 8 * n:20008 + 8 * n]) for n in range(3)]
    for n, (at, slot) in enumerate(slots):
        if slot != old[at:at + 8] and not slot.isdigit():
            fail(f"{name} has {slot!r} where a number was written")
        if (name, n) in sure["patched"] and not slot.isdigit():
            fail(f"{name} has lost what was written to it and synced")
    if text[:20000] + text[20024:] != old[:20000] + old[20024:]:
        fail(f"{name} has changed where nothing was written: {len(text)} characters of {len(old)}")

    name = f"appended/{i}"
    old, text = text_of(name, 0), slurp(name)
    if not text.startswith(old) or text[len(old):] != "record\n" * text.count("record\n"):
        fail(f"{name} is not what it was and some records: {len(text)} characters of {len(old)}, ends {text[-60:]!r}")

    name = f"deleted/{i}"
    if os.path.exists(name):
        version_of(name, slurp(name))

    name = f"chmodded/{i}"
    eq(f"version of {name}", 0, version_of(name, slurp(name)))

    there = [n for n in (f"moved/{i}", f"replaced/moved-{i}") if os.path.exists(n)]
    eq(f"places of moved/{i}", 1, len(there))
    eq(f"version of {there[0]}", 0, version_of(there[0], slurp(there[0])))

    name = f"truncated/{i}"
    text = slurp(name)
    if text:
        eq(f"version of {name}", 0, version_of(name, text))

    for name in (f"linked/{i}", *(f"linked/{i}.{n}" for n in range(3))):
        if os.path.exists(name):
            eq(f"version of {name}", 0, version_of(name, slurp(name)))

for at, directories, files in os.walk("."):
    for name in directories + files:
        fails(f"stat of {at}/{name}, which is listed", "", os.lstat, f"{at}/{name}")
'

killed() {
	make_layer
	seen=$(mark "$L")
	local round pid workers i journal=$D/journal
	for round in $(seq "$ROUNDS"); do
		up
		pid=$(server)
		: >"$journal"
		py "$M" "$journal" >"$D/workers" 2>&1 <<P &
$CONTENT
$WORK
P
		workers=$!
		sleep "0.$((RANDOM % 10))$((RANDOM % 10))"
		[ $((round % 2)) = 0 ] || sleep 1
		[ -s "$journal" ] || sleep 2
		kill -9 "$pid"
		gone "$pid" || fail "round $round: the server does not die"
		for ((i = 0; i < 500; i++)); do
			kill -0 $workers 2>/dev/null || break
			sleep 0.02
		done
		[ $i -lt 500 ] || fail "round $round: who used the mount hangs"
		wait $workers || fail "round $round: $(cat "$D/workers")"
		umount "$M" || fail "round $round: it cannot be unmounted"
		! mountpoint -q "$M" || fail "round $round: it is still mounted"
		up
		(py "$M" "$journal") <<P || fail "round $round"
$CONTENT
$CHECK
P
		down
		eq "round $round: left in the work directory" "" "$(find "$W" -mindepth 2 ! -type c ! -path '*/index' ! -path '*/index/*')"
		untouched
	done
	in_kernel
	find "$M" -type f -exec cat {} + >"$D/out" || fail "the kernel cannot read it"
	umount "$M"
}

# Somebody waits for an answer while the server dies.
waiting() {
	head -c 200M /dev/zero >"$L/big"
	up
	local pid waiter
	pid=$(server)
	kill -STOP "$pid"
	timeout -k 1 60 stat "$M/none" >"$D/out" 2>&1 &
	waiter=$!
	sleep 0.3
	kill -9 "$pid"
	gone "$pid" || fail "the server does not die"
	wait $waiter
	[ $? -lt 124 ] || fail "who waited for it waits for ever"
	umount "$M" || fail "it cannot be unmounted"
	up
	eq "size" $((200 << 20)) "$(stat -c %s "$M/big")"
}

# The copy-up of a big file is cut off in its middle.
big_copy_up() {
	head -c 100M /dev/urandom >"$L/big"
	local round pid writer sum
	sum=$(sha256sum <"$L/big")
	for round in 1 2 3; do
		up
		pid=$(server)
		timeout -k 1 60 dd if=/dev/zero of="$M/big" bs=4k count=1 seek=100 conv=notrunc,fsync status=none 2>"$D/out" &
		writer=$!
		sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
		kill -9 "$pid"
		gone "$pid" || fail "the server does not die"
		wait $writer
		umount "$M" || fail "round $round: it cannot be unmounted"
		up
		eq "size, round $round" $((100 << 20)) "$(stat -c %s "$M/big")"
		if [ "$(sha256sum <"$M/big")" != "$sum" ]; then
			cmp -n 409600 "$M/big" "$L/big" || fail "round $round: changed before the write"
			cmp -i 413696 "$M/big" "$L/big" || fail "round $round: changed behind the write"
			break # it is up by now
		fi
		down
	done
	! mountpoint -q "$M" || down
	eq "left in the work directory" "" "$(find "$W" -type f -size +1M)"
}

holds "after a SIGKILL every file is old or new, and whole ($ROUNDS rounds)" killed $((ROUNDS * 40))
holds "who waits for a killed server is told, and the mount can be taken away" waiting
holds "a copy-up that is cut off leaves the old content or the new" big_copy_up
finish
