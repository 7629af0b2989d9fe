#!/bin/bash
# A frozen mount: whoever froze it, and however it ends, the others go on.
# timeout: 600
. "$(dirname "$0")/lib.sh"
need_root

# frozen: as py, with m, the mount; fd, its root, opened; and the ioctls
frozen() {
	py "$M" "$D" "$snapshot" <<<"m, d, snapshot = sys.argv[1:]
$(ioctls)
$(cat)"
}

ioctls() {
	cat <<'P'
FREEZE, THAW, STATUS = 3 << 30 | 12 << 16 | 0xf505, 0xf506, 3 << 30 | 2152 << 16 | 0xf501
CHANGES, ALL = 0, 1
fd = os.open(m, os.O_RDONLY | os.O_DIRECTORY)


def freeze(how, limit_ms=60000):
    for step in range(how + 1):
        fcntl.ioctl(fd, FREEZE, struct.pack("III", step, 5000, limit_ms))


def thaw():
    fcntl.ioctl(fd, THAW)


def status():
    """flags, held"""
    said = bytearray(2152)
    fcntl.ioctl(fd, STATUS, said)
    return struct.unpack_from("I", said, 4)[0], struct.unpack_from("Q", said, 88)[0]


def is_frozen():
    return bool(status()[0] & 4)


def start(function, *args):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            function(*args)
            status = 0
        finally:
            os._exit(status)
    return pid


def wait_until(label, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            fail(f"not in {seconds} s: {label}")
        time.sleep(0.01)


def ended(pid):
    """Its exit status, when it has ended; 0 is not False."""
    got, status = os.waitpid(pid, os.WNOHANG)
    return (os.waitstatus_to_exitcode(status),) if got else None


def has_ended(label, pid, seconds=20):
    result = []
    wait_until(label, lambda: result.append(ended(pid)) or result[-1], seconds)
    return result[-1][0]
P
}

killed() {
	echo low >"$L/low"
	up
	frozen <<'P'
for how, function in (CHANGES, lambda: spit(m + "/new", "x")), (ALL, lambda: slurp(m + "/low")):
    reader, writer = os.pipe()
    owner = start(lambda: (freeze(how), os.write(writer, b"x"), time.sleep(2), thaw(), time.sleep(60)))
    os.read(reader, 1)
    eq("frozen", True, is_frozen())
    other = start(function)
    wait_until("somebody is held", lambda: status()[1])
    eq("still waits", None, ended(other))
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    eq("the other one", 0, has_ended("the other goes on", other, 2))
    eq("frozen", False, is_frozen())
P
}

limit() {
	up
	frozen <<'P'
began = time.monotonic()
freeze(ALL, 700)
other = start(spit, m + "/new", "x")
eq("the other one", 0, has_ended("it thaws by itself", other))
took = time.monotonic() - began
if not 0.6 < took < 5:
    fail(f"thawed after {took:.2f} s")
fails("thaw of what is thawed", "EINVAL", thaw)
freeze(CHANGES)
fails("frozen twice", "EBUSY", freeze, CHANGES)
thaw()
eq("frozen", False, is_frozen())
P
}

# A freeze of changes alone lets those read who have opened what they read.
readers() {
	echo low >"$L/low"
	up
	frozen <<'P'
low = os.open(m + "/low", os.O_RDONLY)
freeze(CHANGES)
eq("read", b"low\n", os.read(low, 99))
other = start(os.mkdir, m + "/new")
wait_until("a change is held", lambda: status()[1])
eq("still waits", None, ended(other))
thaw()
eq("the change", 0, has_ended("it is made", other))
eq("listed", ["low", "new"], sorted(os.listdir(m)))
P
}

# The kernel collects what is written to open files without a word, until it is made to ask.
writers() {
	up
	frozen <<'P'
files = [os.open(f"{m}/f{i}", os.O_RDWR | os.O_CREAT) for i in range(3)]
for n in range(1000):
    for f in files:
        os.pwrite(f, b"%04d" % n, 0)
reader, writer = os.pipe()
freeze(CHANGES)
# The end of a process would be held, too: closing asks the server.
others = [start(lambda: (os.pwrite(f, b"late", 0), os.write(writer, b"x"))) for f in files]
wait_until("all are held", lambda: status()[1] >= len(files), 5)
os.set_blocking(reader, False)
fails("a write is done", "EAGAIN", os.read, reader, 1)
thaw()
eq("results", [0] * 3, [has_ended("it goes on", pid) for pid in others])
eq("written", [b"late"] * 3, [os.pread(f, 9, 0) for f in files])
P
}

hundred() {
	up
	frozen <<'P'
for i in range(100):
    os.mkdir(f"{m}/d{i}")
freeze(ALL)
pids = [start(spit, f"{m}/d{i}/new", f"{i}") for i in range(100)]
wait_until("all are held", lambda: status()[1] >= 100)
eq("none has ended", [None] * 100, [ended(pid) for pid in pids])
thaw()
eq("results", [0] * 100, [has_ended(f"process {i}", pid) for i, pid in enumerate(pids)])
eq("what they wrote", [str(i) for i in range(100)], [slurp(f"{m}/d{i}/new") for i in range(100)])
eq("held", 0, status()[1])
P
}

# Whoever is killed while it is held ends at the thaw, and changes nothing that harms.
interrupted() {
	up
	frozen <<'P'
freeze(ALL)
other = start(spit, m + "/new", "x")
wait_until("it is held", lambda: status()[1])
os.kill(other, signal.SIGKILL)
time.sleep(0.2)
thaw()
eq("its status", -signal.SIGKILL, has_ended("it ends", other))
spit(m + "/after", "x")
P
}

# ends CODE: a frozen mount on which a process waits is ended by that; its server ends, and the upper can be mounted
ends() {
	local pid
	up
	echo kept >"$M/kept"
	pid=$(server)
	frozen <<P
pid = $pid
reader, writer = os.pipe()
owner = start(lambda: (freeze(ALL), os.write(writer, b"x"), time.sleep(2), thaw(), time.sleep(60)))
os.read(reader, 1)
other = start(lambda: err(spit, m + "/new", "x"))
wait_until("it is held", lambda: status()[1])
$1
has_ended("who waited", other)
os.kill(owner, signal.SIGKILL)
P
	gone "$pid" 20 || fail "the server does not end"
	eq "mounted" 0 "$(mounts_below | grep -c "^$M\$")"
	up
	eq "after a remount" kept "$(cat "$M/kept")"
	echo x >"$M/works"
}

lazy() {
	ends 'libc_call("umount2", os.fsencode(m), 2)'
}

lazy_and_killed() {
	ends 'libc_call("umount2", os.fsencode(m), 2)
os.kill(owner, signal.SIGKILL)'
}

terminated() {
	ends 'os.kill(pid, signal.SIGTERM)'
}

# ---- a snapshot that does not come to its end ----

too_much() {
	local rc
	mkdir "$D/new"
	up
	(cd "$M" && seq 3000 | xargs touch)
	head -c 50M /dev/zero >"$M/big"
	timeout -k 1 60 "$snapshot" --pause-limit=1 --commit-timeout=2 -m "$M" "$D/new/layer" >"$D/said" 2>&1 </dev/null
	rc=$?
	eq "exit status: $(cat "$D/said")" 3 $rc
	grep -q pause-limit "$D/said" || fail "$(cat "$D/said")"
	eq "left behind" "" "$(names "$D/new")"
	echo x >"$M/works"
}

# A signal in the middle of a copy: the layer never was, and the others go on.
signalled() {
	mkdir "$D/new"
	up
	(cd "$M" && seq 20000 | xargs touch)
	frozen <<'P'
for number, status_wanted in (signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL):
    tool = subprocess.Popen([snapshot, "-q", "-m", m, d + "/new/layer"], stdin=subprocess.DEVNULL,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_until("it is frozen", lambda: is_frozen() or tool.poll() is not None)
    other = start(spit, m + "/new", "x")
    time.sleep(0.05)
    tool.send_signal(number)
    eq("exit status", status_wanted, tool.wait(20))
    eq("who waited", 0, has_ended("who waited", other, 5))
    eq("frozen", False, is_frozen())
    if number == signal.SIGKILL:
        eq("the layer", False, os.path.exists(d + "/new/layer"))
    else:
        eq("left behind", [], os.listdir(d + "/new"))
P
}

# What another program holds is not thawed by a snapshot, nor are its dirty pages waited for.
held_by_others() {
	mkdir "$D/new" "$L/d"
	up
	frozen <<'P'
for how in CHANGES, ALL:
    spit(m + "/d/dirty", "x" * 1000000)
    os.stat(m)
    freeze(how)
    for options in [], ["--rotate"]:
        tool = subprocess.run([snapshot, "-m", m, "--commit-timeout=1", *options, d + "/new/layer"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        eq("exit status: " + tool.stderr, 3, tool.returncode)
        eq("what is said: " + tool.stderr, True, "another program holds the mount" in tool.stderr)
        eq("frozen", True, is_frozen())
        eq("left behind", [], os.listdir(d + "/new"))
    thaw()
eq("when it was thawed", 0, subprocess.call([snapshot, "-q", "-m", m, d + "/new/layer"], stdin=subprocess.DEVNULL))
eq("frozen", False, is_frozen())
P
}

holds "what another program has frozen stays frozen" held_by_others
holds "a mount goes on when who froze it is killed" killed
holds "a freeze ends by itself when its limit is over" limit
holds "a freeze of changes lets open files be read" readers
holds "a freeze of changes holds who writes to open files" writers
holds "a hundred processes that were held go on" hundred
holds "a process that is killed while it is held ends at the thaw" interrupted
holds "a lazy unmount of a frozen mount ends with the thaw" lazy
holds "a lazy unmount of a frozen mount ends with who froze it" lazy_and_killed
holds "SIGTERM ends the server of a frozen mount" terminated
holds "a copy that takes too long is given up, with nothing left behind" too_much
holds "a signal during a copy leaves nothing, and nobody waiting" signalled
finish
