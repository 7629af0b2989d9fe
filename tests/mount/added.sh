#!/bin/bash
# Layers that are added to a mount in use: what they have appears, as after a remount, and nobody notices more.
# timeout: 900
. "$(dirname "$0")/lib.sh"
need_root

export adder=$BUILD/plyfs-add

# for how long something is done to the mount meanwhile
seconds=4
[ -z "${PLY_LONG:-}" ] || seconds=60

# adds LAYER [OPTION]...: below all others of M
adds() {
	timeout -k 1 90 "$adder" -m "$M" "$@" >"$D/said" 2>&1 </dev/null || fail "add $*: exit status $?, $(cat "$D/said")"
	stack=${stack:-$L}:$1
	eq "the line for the next mount" "next mount: lowerdir=$stack" "$(grep '^next mount' "$D/said")"
}

# not_added STATUS WORDS ARGUMENT...
not_added() {
	local status=$1 words=$2 rc before
	shift 2
	before=$(names "$M")
	timeout -k 1 60 "$adder" -m "${MNT:-$M}" "$@" >"$D/said" 2>&1 </dev/null
	rc=$?
	eq "exit status of $*: $(cat "$D/said")" "$status" $rc
	grep -q -- "$words" "$D/said" || fail "no '$words' in: $(cat "$D/said")"
	eq "what is shown" "$before" "$(names "$M")"
}

# shows_as_fresh [OPTIONS]: M looks like a new mount of the same stack
shows_as_fresh() {
	tree_of "$M" >"$D/live"
	down
	up "$stack" "${1:-}"
	tree_of "$M" >"$D/fresh"
	diff "$D/fresh" "$D/live" || fail "it was (>) not as a fresh mount shows it (<)"
}

# ---- what others have in hand ----

# adding: as py, with m, the mount; d, the part's directory, in it the layer "more"; and add()
adding() {
	py "$M" "$D" "$adder" <<<"m, d, adder = sys.argv[1:]


def add(layer='more'):
    done = subprocess.run([adder, '-q', '-m', m, f'{d}/{layer}'], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    eq('add: ' + done.stderr, 0, done.returncode)


os.chdir(m)
$(cat)
os.chdir('/')"
}

two_layers() {
	mkdir -p "$L/d/sub" "$D/more/d/sub/new" "$D/more/made"
	echo lower | tee "$L/f" "$L/d/one" "$L/d/sub/two" >/dev/null
	echo added | tee "$D/more/f" "$D/more/g" "$D/more/d/three" "$D/more/d/sub/new/four" "$D/more/made/five" >/dev/null
	echo added >"$D/more/d/sub/two"
}

# Everything that the kernel keeps for ever: names that are not there, lists, attributes.
remembered() {
	two_layers
	up
	adding <<'P'
os.mkdir("made")
os.mkdir("other")
absent = ["g", "d/three", "d/sub/new", "made/five", "nowhere"]
for _ in range(2):
    eq("before", [False] * 5, [os.path.exists(name) for name in absent])
    eq("listed", "d d/one d/sub d/sub/two f made other", below("."))
    eq("links", [2, 2], [os.stat(name).st_nlink for name in ("made", "other")])
inodes = {name: os.stat(name).st_ino for name in below(".").split()}
add()
eq("after it", [True] * 4 + [False], [os.path.exists(name) for name in absent])
eq("listed", "d d/one d/sub d/sub/new d/sub/new/four d/sub/two d/three f g made made/five other", below("."))
eq("links", [1, 2], [os.stat(name).st_nlink for name in ("made", "other")])
eq("texts", ["lower\n"] * 3 + ["added\n"] * 3, [slurp(name) for name in ("f", "d/one", "d/sub/two", "g", "d/sub/new/four", "made/five")])
eq("inodes", inodes, {name: os.stat(name).st_ino for name in inodes})
append("g", "more\n")
eq("written", "added\nmore\n", slurp("g"))
eq("in the layer", "added\n", slurp(d + "/more/g"))
P
	stack=$L:$D/more
	shows_as_fresh
}

in_use() {
	two_layers
	up
	adding <<'P'
os.mkdir("made")
os.chdir("d/sub")
inode = os.stat(".").st_ino
f = os.open(m + "/f", os.O_RDWR)
fcntl.flock(f, fcntl.LOCK_EX)
fcntl.lockf(f, fcntl.LOCK_EX)
os.ftruncate(f, 8192)
map = mmap.mmap(f, 8192)
map[5000:5005] = b"dirty"
spit(m + "/gone", "unlinked\n")
gone = os.open(m + "/gone", os.O_RDWR)
os.unlink(m + "/gone")
tmp = os.open(m, os.O_TMPFILE | os.O_RDWR, 0o600)
directory = os.open(m + "/d", os.O_RDONLY)
with os.scandir(directory) as listing:
    first = next(listing).name
    add()
    rest = [entry.name for entry in listing]
eq("what was listed half before", True, {"one", "sub"} <= {first, *rest} and len({first, *rest}) == len(rest) + 1)
eq("the working directory", (m + "/d/sub", inode), (os.getcwd(), os.stat(".").st_ino))
eq("in it", "new new/four two", below("."))
eq("the mapping", (b"lower\n", b"dirty"), (map[:6], map[5000:5005]))
map[0:6] = b"after\n"
map.flush()
eq("read", b"after\n", os.pread(f, 6, 0))
eq("locked", ["EAGAIN"] * 2, [ename(x) for x in in_parallel(lambda i: err((fcntl.flock, fcntl.lockf)[i], os.open(m + "/f", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB), 2)])
os.write(gone, b"x")
eq("unlinked", (b"xnlinked\n", 0), (os.pread(gone, 99, 0), os.fstat(gone).st_nlink))
os.write(tmp, b"nameless\n")
name_it(tmp, m + "/named")
eq("named", "nameless\n", slurp(m + "/named"))
eq("by a descriptor of the directory", "added\n", open(os.open("three", os.O_RDONLY, dir_fd=directory)).read())
P
	stack=$L:$D/more
	shows_as_fresh
}

# Other file systems on directories of the mount, which a name that is dropped would take along.
mounted_on() {
	two_layers
	mkdir -p "$L/lowdir" "$D/more/lowdir"
	up
	mkdir "$M/made"
	for at in d/sub made lowdir; do
		mount -t tmpfs tmpfs "$M/$at"
		echo here >"$M/$at/here"
	done
	adds "$D/more"
	cat "$M/d/three" "$M/d/sub/here" "$M/made/here" "$M/lowdir/here" >"$D/text" || fail "not there"
	eq "texts" "added here here here" "$(xargs <"$D/text")"
	for at in d/sub made lowdir; do
		umount "$M/$at" || fail "not mounted any more"
	done
	eq "below them" "new new/four two five" "$(names "$M/d/sub") $(names "$M/made")"
	down
}

read_only() {
	two_layers
	mount_at "$M" "lowerdir=$L" || fail "no mount: $(cat "$T/mount.log")"
	[ ! -e "$M/g" ] || fail "g is there"
	eq "before" "d d/one d/sub d/sub/two f" "$(names "$M")"
	adds "$D/more"
	eq "after" "d d/one d/sub d/sub/new d/sub/new/four d/sub/two d/three f g made made/five" "$(names "$M")"
	"$BUILD/plyfs-stat" "$M" >"$D/said"
	grep -qx "layer 2        lower $D/more" "$D/said" || fail "$(cat "$D/said")"
	tree_of "$M" >"$D/live"
	down
	mount_at "$M" "lowerdir=$stack" || fail "no mount: $(cat "$T/mount.log")"
	diff <(tree_of "$M") "$D/live" || fail "it was (>) not as a fresh mount shows it (<)"
}

with_timeout() {
	two_layers
	up "$L" timeout=1
	[ ! -e "$M/g" ] || fail "g is there"
	names "$M" >"$D/before"
	adds "$D/more"
	cat "$M/g" >/dev/null || fail "no g"
	eq "d" "one sub sub/new sub/new/four sub/two three" "$(names "$M/d")"
	echo later >"$D/more/d/later"
	sleep 1.2
	eq "what comes into it" "later one" "$(names "$M/d" | cut -d ' ' -f -2)"
	rm "$D/more/d/later"
	sleep 1.2
	shows_as_fresh timeout=1
}

# Hard links that were changed before and after it, in both of the layers.
links() {
	mkdir -p "$L/d" "$D/more/d"
	echo one >"$L/a"
	ln "$L/a" "$L/d/b"
	echo two >"$D/more/p"
	ln "$D/more/p" "$D/more/d/q"
	up
	echo more >>"$M/a"
	adds "$D/more"
	echo more >>"$M/d/q"
	cat "$M/a" "$M/d/b" "$M/p" "$M/d/q" >"$D/text"
	eq "texts" "one more one more two more two more" "$(xargs <"$D/text")"
	eq "links" "2 2" "$(stat -c %h "$M/d/b" "$M/p" | xargs)"
	shows_as_fresh
	down
	refused "lowerdir=$L,upperdir=$U,workdir=$W" "other lower layers"
	up "$stack"
	rotate "$D/rotated"
	mkdir "$D/last"
	ln "$D/more/p" "$D/last/also"
	adds "$D/last"
	eq "another name of it" two "$(cat "$M/also")"
	shows_as_fresh
}

after_rotations() {
	two_layers
	up
	stack=$L
	echo x >>"$M/d/one"
	rotate "$D/r1"
	adds "$D/more"
	echo y >>"$M/d/three"
	rotate "$D/r2"
	mkdir -p "$D/last/d/sub"
	echo last | tee "$D/last/d/three" "$D/last/d/sub/six" >/dev/null
	rm "$M/d/sub/two"
	adds "$D/last"
	eq "three" "added y" "$(xargs <"$M/d/three")"
	eq "sub" "new new/four six" "$(names "$M/d/sub")"
	shows_as_fresh
	layers_kept
}

# ---- random stacks ----

play() { /usr/bin/python3 "$top/tests/tools/play.py" "$@" || fail "play $*"; }

# one_random SEED: of three layers that grew by random changes the last one is added; the kernel knows all that is shown
# without it, and that what it brings is not there
one_random() {
	local seed=$1 i below
	rm -rf "${D:?}"/g* "$U" "$W"
	mkdir "$D/g1" "$U" "$W"
	play "$D/g1" "$seed" 150
	below=$D/g1
	for i in 2 3; do
		mkdir "$D/g$i" "$D/w$i"
		mount_at "$M" "lowerdir=$below,upperdir=$D/g$i,workdir=$D/w$i,redirect_dir=on" || fail "no mount: $(cat "$T/mount.log")"
		play "$M" $((seed * 100 + i)) 80
		down
		rm -rf "$D/w$i"
		below=$D/g$i:$below
	done
	mount_at "$M" "lowerdir=$below" || fail "no mount: $(cat "$T/mount.log")"
	names "$M" | tr ' ' '\n' >"$D/whole"
	down
	stack=${below%:*}
	up "$stack" redirect_dir=on
	play "$M" $((seed * 100 + 50)) 30
	(cd "$M" && xargs stat <"$D/whole" && find . && find . -type f -exec cat {} +) >/dev/null 2>&1
	adds "$D/g1"
	shows_as_fresh redirect_dir=on
	play "$M" $((seed * 100 + 60)) 30
	down
}

random() {
	local seed
	seen=-
	untouched() { :; }
	for ((seed = 1; seed <= ${PLY_LONG:+15} + 5; seed++)); do
		(one_random "$seed") || fail "seed $seed"
	done
}

# ---- under load ----

# Each worker does what must always succeed, or find the one or the other, while layers come.
busy() {
	local i f
	mkdir -p "$L/d"
	for ((i = 1; i <= 6; i++)); do
		mkdir -p "$D/new$i/d" "$D/new$i/own$i"
		for ((f = 0; f < 400; f++)); do echo "new $i" >"$D/new$i/d/$i-$f"; done
		for ((f = 0; f < 50; f++)); do echo "shared $i" >"$D/new$i/d/shared-$f"; done
	done
	for ((f = 0; f < 300; f++)); do echo old >"$L/d/old-$f"; done
	up
	py "$M" "$D" "$adder" "$snapshot" $seconds <<'P'
m, d, adder, snapshot, seconds = sys.argv[1:]
until = time.monotonic() + float(seconds)
old = {f"old-{f}" for f in range(300)}


def many(work):
    def loop(number):
        count = 0
        while time.monotonic() < until or count < 20:
            work(number, count)
            count += 1
    return loop


def lister(number, count):
    names = os.listdir(m + "/d")
    eq("each once", len(names), len(set(names)))
    eq("old ones", set(), old - set(names))


def asker(number, count):
    """A name that is new is there from its layer's coming on."""
    name = f"{m}/d/{random.randrange(1, 7)}-{random.randrange(400)}"
    if os.path.exists(name):
        eq("it stays", True, os.path.exists(name))
        eq("its text", True, slurp(name)[:3] in ("new", ""))


def opener(number, count):
    """Made here, or opened as a layer shows it: never an error, and never in between."""
    name = f"{m}/d/{random.randrange(1, 7)}-{random.randrange(400)}"
    with open(name, "a+") as f:
        f.seek(0)
        if not f.read(3):
            f.write("new by me\n")


def writer(number, count):
    name = f"{m}/d/own-{number}-{count % 50}"
    spit(name, f"{number} {count}\n")
    eq("read again", f"{number} {count}\n", slurp(name))
    os.rename(name, name + "-moved")
    if count % 3:
        os.unlink(name + "-moved")


def maker(number, count):
    top = f"{m}/tree-{number}-{count}"
    os.makedirs(top + "/a/b")
    spit(top + "/a/b/c", "c")
    eq("listed", "a a/b a/b/c", below(top))
    os.rename(top + "/a", top + "/z")
    os.unlink(top + "/z/b/c")
    os.removedirs(top + "/z/b")


def finder(number, count):
    done = subprocess.run(["find", m + "/d", "-ignore_readdir_race", "-type", "f", "-size", "+1"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    eq("find", ("", ""), (done.stdout, done.stderr))


workers = [many(w) for w in (lister, lister, asker, asker, opener, opener, writer, writer, maker, finder)]


def tools(_):
    layers = [1, 2, 3, 4, 5, 6]
    for turn, i in enumerate(layers):
        time.sleep(float(seconds) / 8)
        done = subprocess.run([adder, "-q", "-m", m, f"{d}/new{i}"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        eq("add: " + done.stderr, 0, done.returncode)
        eq("at once", "new", slurp(f"{m}/d/{i}-399")[:3])
        eq("its directory", [], os.listdir(f"{m}/own{i}"))
        if turn % 2:
            done = subprocess.run([snapshot, "-q", "-m", m, "--rotate", f"{d}/rotated{i}"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
            eq("rotate: " + done.stderr, 0, done.returncode)


workers.append(tools)
eq("workers", [0] * len(workers), in_parallel(lambda i: workers[i](i), len(workers)))
P
	eq "the first that has a name shows it" "shared 1" "$(cat "$M/d/shared-7")"
	"$BUILD/plyfs-stat" -j "$M" >"$D/stat"
	stack=$(py "$D/stat" <<<'import json
print(":".join(l["path"] for l in json.load(open(sys.argv[1]))["layers"][1:]))')
	shows_as_fresh
}

# The kernel knows of ten thousand names that they are free. While they come somebody opens each of them, or makes it.
created() {
	mkdir -p "$L/d" "$D/more/d"
	(cd "$D/more/d" && seq 10000 | xargs touch)
	up
	py "$M" "$D" "$adder" <<'P'
m, d, adder = sys.argv[1:]
names = list(range(1, 10001))
eq("before", False, any(os.path.exists(f"{m}/d/{i}") for i in names))


def work(number):
    if not number:
        time.sleep(0.1)
        return subprocess.run([adder, "-q", "-m", m, d + "/more"], stdin=subprocess.DEVNULL).returncode
    random.seed(number)
    mine = names[number - 1::3]
    random.shuffle(mine)
    for i in mine:
        os.close(os.open(f"{m}/d/{i}", os.O_CREAT | os.O_RDWR))


eq("workers", [0] * 4, in_parallel(work, 4))
eq("all there", 10000, len(os.listdir(m + "/d")))
P
}

# ---- who may, and what ----

# What changes there, and what may not be read, is no matter.
walks_through() {
	timeout -k 1 20 find "$M" >/dev/null 2>&1
	[ $? != 124 ] || fail "find hangs"
}

# The mountpoint in it is passed over, and the mount can be unmounted as ever.
around_the_mount() {
	mkdir -p "$D/more"
	: >"$D/more/x"
	up
	adds "$D"
	timeout -k 1 20 ls "$M/mnt" >/dev/null 2>&1
	eq "ls of the mountpoint, seen in the mount" 2 $?
	[ -e "$M/more/x" ] || fail "no more/x"
	walks_through
	down
	stack=''
	up
	mkdir "$D/more/on"
	mount --bind "$M" "$D/more/on"
	not_added 2 "is mounted in" "$D/more"
	not_added 2 "is mounted in" "$D/more/on"
	umount "$D/more/on"
	adds "$D/more"
	down
}

refusals() {
	two_layers
	mkdir -p "$D/new"
	up
	mkdir "$M/made"
	not_added 2 "No such file" "$D/nowhere"
	not_added 2 "Not a directory" "$L/f"
	not_added 2 "is layer 1" "$L"
	not_added 2 "lies in the mount" "$M/d"
	not_added 2 "in, the upper" "$U"
	not_added 2 "in, the upper" "$U/made"
	not_added 2 "in, the upper" "$W"
	MNT=$D/new not_added 2 "not the root of a plyfs mount" "$D/more"
	MNT=$M/d not_added 2 "not the root of a plyfs mount" "$D/more"
	not_added 0 "would be" -n "$D/more"
	not_added 2 "usage"
	as 1000 "$adder" -m "$M" "$D/more" >"$D/said" 2>&1 && fail "a stranger added a layer"
	grep -q "only root and who mounted it may" "$D/said" || fail "$(cat "$D/said")"
	timeout -k 1 60 "$adder" -j -m "$M" "$D/more" >"$D/said" || fail "$(cat "$D/said")"
	py "$D/said" <<'P'
import json
with open(sys.argv[1]) as f:
    said = json.load(f)
eq("summary", (2, False, "summary"), (said["layer"], said["dry_run"], said["type"]))
P
	not_added 2 "is layer 2" "$D/more"
}

# What the mount's owner does, himself no root; the layer has the mountpoint in it.
of_own() {
	mkdir -p "$D/more/d"
	echo added >"$D/more/d/g"
	up
	[ ! -e "$M/d/g" ] || fail "g is there"
	adds "$D/more"
	eq "g" added "$(cat "$M/d/g")"
	echo x >>"$M/d/g"
	adds "$D"
	eq "the mount, seen in itself" "" "$(timeout -k 1 20 ls -A "$M/mnt")"
	eq "the layer in it" added "$(cat "$M/more/d/g")"
	walks_through
	down
}

in_namespace() { in_user_namespace of_own; }

plain_user() { by_fusermount of_own; }

elsewhere_on() {
	fs_of "$1" "$D/fs"
	two_layers
	cp -a "$D/more" "$D/fs/more"
	up
	ls -li "$M" "$M/d" >"$D/before"
	adds "$D/fs/more"
	py "$M" <<'P'
seen = {}
for at, directories, files in os.walk(sys.argv[1]):
    for name in directories + files:
        ino = os.lstat(os.path.join(at, name)).st_ino
        eq(f"numbers of {name} and", None, seen.get(ino))
        seen[ino] = name
P
	echo more >>"$M/g"
	eq "written" "added more" "$(xargs <"$M/g")"
	shows_as_fresh
	down
}

holds "what the kernel remembers is taken back" remembered
holds "what is open, mapped, locked, listed or unlinked goes on" in_use
holds "file systems that are mounted on its directories stay" mounted_on
holds "a read-only mount" read_only
holds "a mount with a timeout" with_timeout
holds "hard links: the index goes on with the longer stack" links
holds "rotations before and after it" after_rotations
holds "random stacks: as a fresh mount shows them" random
holds "writers, finds and listings see no error" busy 300
holds "open(O_CREAT) of a name that comes opens it" created
holds "a layer that has the mountpoint in it" around_the_mount
holds "what cannot be added, and who may not" refusals
holds "the owner of a mount in a user namespace may" in_namespace
holds "the plain user who mounted it may" plain_user
for fs in ext4 tmpfs; do
	layer() { elsewhere_on "$fs"; }
	holds "a layer on $fs has numbers of its own" layer
done
finish
