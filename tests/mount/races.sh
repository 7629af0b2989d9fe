#!/bin/bash
# Races: where only one can win, one wins; and whatever happens at once, the tree stays one that could have come about.
# timeout: 600
. "$(dirname "$0")/lib.sh"

COMPETE='
def winners(what, function, names=300):
    """Four processes do the same to every name; returns how many succeeded for each."""
    def work(number):
        won = []
        for i in range(names):
            e = err(function, i, number)
            if e == 0:
                won.append(i)
            elif e not in (errno.EEXIST, errno.ENOENT, errno.ENOTEMPTY):
                fail(f"{what}: {ename(e)}")
        spit(f"{results}/{what}.{number}", " ".join(map(str, won)))
    eq(what, [0] * 4, in_parallel(work, 4))
    count = [0] * names
    for number in range(4):
        for i in slurp(f"{results}/{what}.{number}").split():
            count[int(i)] += 1
    eq(f"{what}: winners for each name", {1}, set(count))
os.chdir(sys.argv[1])
results = sys.argv[2]
'

one_winner() {
	mkdir "$L/lower" "$L/dirs" "$L/there"
	(cd "$L/lower" && seq 0 299 | xargs touch)
	(cd "$L/dirs" && seq 0 299 | xargs mkdir)
	(cd "$L/there" && seq 0 299 | xargs touch)
	mkdir "$D/results"
	up
	rm "$M"/there/* # names over whiteouts
	mkdir "$M"/{excl,mkdir,link,symlink,rename,exdir}
	touch "$M/source"
	py "$M" "$D/results" <<P
$COMPETE
winners("O_EXCL", lambda i, n: os.close(os.open(f"excl/{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
winners("O_EXCL over a whiteout", lambda i, n: os.close(os.open(f"there/{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
winners("mkdir", lambda i, n: os.mkdir(f"mkdir/{i}"))
winners("link", lambda i, n: os.link("source", f"link/{i}"))
winners("symlink", lambda i, n: os.symlink(str(n), f"symlink/{i}"))
eq("links of source", 301, os.stat("source").st_nlink)
for n in range(4):
    for i in range(300):
        spit(f"rename/{i}.{n}", f"{n}")
winners("RENAME_NOREPLACE", lambda i, n: renameat2(f"rename/{i}.{n}", f"rename/{i}", NOREPLACE))
eq("names after it", 1200, len(os.listdir("rename")))
winners("unlink", lambda i, n: os.unlink(f"excl/{i}"))
winners("unlink in a layer", lambda i, n: os.unlink(f"lower/{i}"))
winners("rmdir", lambda i, n: os.rmdir(f"mkdir/{i}"))
winners("rmdir in a layer", lambda i, n: os.rmdir(f"dirs/{i}"))
winners("rename away", lambda i, n: os.rename(f"there/{i}", f"exdir/{i}.{n}"))
eq("what is left", [[], [], [], [], []], [os.listdir(d) for d in ("excl", "lower", "mkdir", "dirs", "there")])
eq("what was moved", 300, len(os.listdir("exdir")))
P
	local before
	before=$(names "$M" | sha256sum)
	again
	eq "names after a remount" "$before" "$(names "$M" | sha256sum)"
}

copy_up_races() {
	mkdir "$L/d"
	py "$L/d" <<'P'
for i in range(100):
    spit(f"{sys.argv[1]}/{i}", f"file {i} " * 3000)
P
	up
	py "$M/d" <<'P'
os.chdir(sys.argv[1])
# Each file is written, truncated at its end, renamed, linked, read and chmod'ed at the same time.
def work(number):
    for i in range(100):
        for _ in range(3):
            try:
                if number == 0:
                    fd = os.open(str(i), os.O_RDWR)
                    os.pwrite(fd, b"FILE", 0)
                    os.close(fd)
                elif number == 1:
                    os.rename(str(i), f"{i}.moved")
                    os.rename(f"{i}.moved", str(i))
                elif number == 2:
                    os.chmod(str(i), 0o600)
                    append(str(i), "")
                elif number == 3:
                    text = slurp(str(i))
                    if text not in (f"file {i} " * 3000, "FILE" + (f"file {i} " * 3000)[4:]):
                        fail(f"{i} is {len(text)} long and begins with {text[:20]!r}")
                elif number == 4:
                    os.link(str(i), f"{i}.link")
                    os.unlink(f"{i}.link")
                else:
                    os.setxattr(str(i), "user.x", b"y")
                    os.listdir(".")
            except FileNotFoundError:
                pass # between the two renames

eq("status", [0] * 6, in_parallel(work, 6))
for i in range(100):
    eq(f"content of {i}", True, slurp(str(i))[4:] == (f"file {i} " * 3000)[4:])
    eq(f"links of {i}", 1, os.stat(str(i)).st_nlink)
eq("names", 100, len(os.listdir(".")))
P
	local before
	before=$(cd "$M" && tree_of .)
	again
	alike "after a remount" "$before" "$(cd "$M" && tree_of .)"
}

hammer() {
	mkdir -p "$L"/{a,b,c}/{s,t}
	local d i
	for d in a b c a/s b/t; do
		for i in {0..29}; do echo $d$i >"$L/$d/$i"; done
	done
	mkdir -p "$U/b"
	touch "$U/b/31"
	mknod "$U/b/3" c 0 0 || touch "$U/b/.wh.3"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
END = time.monotonic() + 10
# What is refused to whoever comes too late; EPIPE is for who has a fifo open whose reader has gone meanwhile.
PLAIN = {0} | {getattr(errno, e)
               for e in "ENOENT EEXIST ENOTEMPTY EISDIR ENOTDIR EINVAL ELOOP ENXIO ESPIPE EPIPE".split()}
waits = False

def in_time(call):
    """Opening a fifo waits for its other end, which may never come."""
    global waits
    waits = True
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        call()
    finally:
        waits = False
        signal.setitimer(signal.ITIMER_REAL, 0)

def late(*_):
    if waits:
        raise OSError(errno.ENXIO, "fifo")

def work(seed):
    r = random.Random(seed)
    paths = []
    signal.signal(signal.SIGALRM, late)

    def p():
        paths.append(f"{r.choice('abc')}{r.choice(('', '', '/s', '/t'))}/{r.randrange(36)}")
        return paths[-1]

    def open_and_hold():
        fd = os.open(p(), os.O_RDWR)
        try:
            name = p()
            err(os.unlink, name)
            os.pwrite(fd, b"held", 0)
            os.fstat(fd)
            os.pread(fd, 4, 0)
        finally:
            os.close(fd)

    def nameless():
        fd = os.open(r.choice("abc"), os.O_TMPFILE | os.O_RDWR)
        try:
            os.write(fd, b"nameless")
            name_it(fd, p())
        finally:
            os.close(fd)

    calls = {
        "append": lambda: append(p(), "x"),
        "rename": lambda: os.rename(p(), p()),
        "noreplace": lambda: renameat2(p(), p(), NOREPLACE),
        "exchange": lambda: renameat2(p(), p(), EXCHANGE),
        "unlink": lambda: os.unlink(p()),
        "link": lambda: os.link(p(), p()),
        "symlink": lambda: os.symlink("x", p()),
        "mkdir": lambda: os.mkdir(p()),
        "rmdir": lambda: os.rmdir(p()),
        "mkfifo": lambda: os.mkfifo(p()),
        "stat": lambda: os.stat(p()),
        "list": lambda: [err(e.stat, follow_symlinks=False) for e in os.scandir(r.choice("abc"))],
        "chmod": lambda: os.chmod(p(), 0o600 | r.randrange(64)),
        "truncate": lambda: os.truncate(p(), r.randrange(100)),
        "setxattr": lambda: os.setxattr(p(), "user.x", b"y"),
        "hold": open_and_hold,
        "tmpfile": nameless,
    }
    names = list(calls)
    while time.monotonic() < END:
        name = r.choice(names)
        paths.clear()
        e = err(in_time, calls[name])
        if e not in PLAIN and not (name in ("link", "setxattr") and e == errno.EPERM):
            fail(f"{name} {' '.join(paths)}: {ename(e)}")
    return 0

eq("status", [0] * 5, in_parallel(work, 5))
for at, directories, files in os.walk("."):
    for name in directories + files:
        fails(f"stat of {at}/{name}, which is listed", "", os.lstat, f"{at}/{name}")
        fails(f"making {at}/{name}, which is listed", "EEXIST", os.mkdir, f"{at}/{name}")
P
	local before
	before=$(tree_of "$M")
	again
	alike "after a remount" "$before" "$(tree_of "$M")"
	rm -rf "$M"/? || fail "rm -rf at the end"
	eq "left" "" "$(names "$M")"
	eq "files left in the work directory" "" "$(find "$W" -type f)"
}

# Listings, look-ups and walks while everything below changes must neither fail nor stop.
walkers() {
	mkdir "$L/d"
	(cd "$L/d" && seq 1000 | xargs touch)
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
END = time.monotonic() + 5

def work(number):
    i = 0
    while time.monotonic() < END:
        i += 1
        if number == 0:
            n = i % 1000 + 1
            os.rename(f"d/{n}", f"d/{n}.x")
            os.rename(f"d/{n}.x", f"d/{n}")
        elif number == 1:
            n = i % 50
            os.makedirs(f"new/{n}/a/b", exist_ok=True)
            spit(f"new/{n}/a/b/f", "x")
            subprocess.run(["rm", "-rf", f"new/{n}"], check=True)
        elif number == 2:
            names = os.listdir("d")
            eq("names, and different ones", len(names), len(set(names)))
        else:
            for at, _, files in os.walk("."):
                for name in files:
                    err(os.lstat, f"{at}/{name}")
    return 0

os.mkdir("new")
eq("status", [0] * 4, in_parallel(work, 4))
P
}

holds "of four processes that want the same, one gets it" one_winner
holds "changes of all kinds to a file at once copy it up once and whole" copy_up_races
holds "listings and walks bear changes beside them" walkers
holds "random operations of five processes leave a tree that is the same after a remount" hammer
finish
