#!/bin/bash
# Snapshots of mounted stacks, by copy and by --rotate: consistent cuts, and nobody who uses the mount notices.
# timeout: 900
. "$(dirname "$0")/lib.sh"
need_root

export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b

# for how long something writes
seconds=4
[ -z "${PLY_LONG:-}" ] || seconds=60

# ---- consistent cuts ----

# look LAYERS FUNCTION: what the function says of these layers, mounted read-only on V
look() {
	V=$D/view
	mkdir -p "$V"
	mount_at "$V" "lowerdir=$1" || fail "no mount of $1: $(cat "$T/mount.log")"
	"$2" || exit
	down "$V"
}

# while_writing PID FUNCTION: snapshots in turns, as long as that process writes; the function looks at each, and
# prints a number, which never falls
while_writing() {
	local pid=$1 n=0 got last=1
	stack=$L
	while kill -0 "$pid" 2>/dev/null; do
		n=$((n + 1))
		if ((n % 2)); then
			snap "$D/copy$n"
			got=$(look "$D/copy$n:$stack" "$2") || fail "copy $n: $got"
		else
			rotate "$D/rotated$n"
			got=$(look "$stack" "$2") || fail "rotation $n: $got"
		fi
		((got >= last || n == 1)) || fail "snapshot $n shows $got, the one before $last"
		last=$got
	done
	wait "$pid" || fail "the writers failed"
	[ $n -ge 2 ] || fail "only $n snapshots"
	V=$M
	got=$("$2") || fail "the mount itself: $got"
	[ "$got" -ge "$last" ] || fail "the mount shows $got, a snapshot $last"
	down
	layers_kept
	up "$stack"
	eq "after a remount" "$got" "$("$2")"
	echo "$n snapshots, $got"
}

records() { /usr/bin/python3 "$top/tests/mount/writers.py" check "$V/d"; }

writers() {
	up
	mkdir "$M/d"
	/usr/bin/python3 "$top/tests/mount/writers.py" write "$M/d" $seconds &
	while_writing $! records
}

# The rows of a copy that has recovered; what was committed before the snapshot began is there.
rows() {
	rm -rf "$D/db"
	mkdir "$D/db"
	cp "$V/d/base" "$D/db"
	[ ! -e "$V/d/base-wal" ] || cp "$V/d/base-wal" "$D/db"
	py "$D/db/base" <<'P'
import sqlite3
db = sqlite3.connect(sys.argv[1])
eq("integrity", [("ok",)], db.execute("PRAGMA integrity_check").fetchall())
count, = db.execute("SELECT n FROM counter").fetchone()
rows, last = db.execute("SELECT count(*), max(n) FROM numbers").fetchone()
eq("rows", (count, count), (rows, last))
print(count)
P
}

database() {
	up
	mkdir "$M/d"
	cat >"$D/writer.py" <<'P'
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
assert db.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
db.execute("BEGIN")
db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, text)")
db.execute("CREATE TABLE counter (n)")
db.execute("INSERT INTO numbers VALUES (1, '')")
db.execute("INSERT INTO counter VALUES (1)")
db.execute("COMMIT")
print("ready", flush=True)
n, until = 1, time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    db.execute("BEGIN IMMEDIATE")
    for i in range(20):
        n += 1
        db.execute("INSERT INTO numbers VALUES (?, ?)", (n, "x" * (n % 300)))
    db.execute("UPDATE counter SET n = ?", (n,))
    db.execute("COMMIT")
P
	mkfifo "$D/ready"
	/usr/bin/python3 "$D/writer.py" "$M/d/base" $seconds >"$D/ready" &
	read -r <"$D/ready"
	while_writing $! rows
}

commits() {
	git -C "$V/repo" fsck --strict >"$D/fsck" 2>&1 || fail "git fsck: $(cat "$D/fsck")"
	git -C "$V/repo" log --format=%h | wc -l
}

committer() {
	local n=0 end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ]; do
		n=$((n + 1))
		echo "line $n" >>"$M/repo/file"
		echo "$n" >"$M/repo/file$((n % 7))"
		git -C "$M/repo" add -A || return
		git -C "$M/repo" commit -qm "commit $n" || return
	done
}

repository() {
	need git
	up
	git init -q "$M/repo"
	git -C "$M/repo" commit -q --allow-empty -m first
	committer &
	while_writing $! commits
}

# ---- what is open goes on ----

# live: as py, with m, the mount; d, the part's directory; and rotate(), after which the upper is one more layer
live() {
	py "$M" "$D" "$snapshot" <<<"m, d, snapshot = sys.argv[1:]
layers = []


def rotate():
    layers.append(f'{d}/layer{len(layers)}')
    done = subprocess.run([snapshot, '--rotate', '-m', m, layers[-1]], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    eq('rotate: ' + done.stderr, 0, done.returncode)


os.chdir(m)
$(cat)
os.chdir('/')"
}

descriptors() {
	echo lower >"$L/low"
	echo lower >"$L/only-read"
	up
	live <<'P'
spit("f", "one\n")
spit("gone", "unlinked\n")
reader, writer = open("f"), os.open("f", os.O_RDWR | os.O_APPEND)
low, only = open("low"), open("only-read")
gone = os.open("gone", os.O_RDWR)
os.unlink("gone")
tmp = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(tmp, b"nameless\n")
inode = os.fstat(writer).st_ino
for turn in range(3):
    rotate()
    eq("what a reader sees of one rotation ago", "one\n" if not turn else f"turn {turn - 1}\n", reader.readline())
    os.write(writer, f"turn {turn}\n".encode())
    os.write(gone, b"x")
    os.write(tmp, b"x")
    append("low", "more\n")
    eq("inode", (inode, inode), (os.fstat(writer).st_ino, os.stat("f").st_ino))
    eq("unlinked", (0, turn + 1, b"xxx"[:turn + 1] + b"unlinked\n"[turn + 1:]), (os.fstat(gone).st_nlink, os.lseek(gone, 0, 1), os.pread(gone, 99, 0)))
eq("a lower file that was changed", "lower\nmore\nmore\nmore\n", low.read())
eq("one that was not", "lower\n", only.read())
os.fsync(writer)
os.fsync(tmp)
name_it(tmp, "named")
eq("linked afterwards", "nameless\nxxx", slurp("named"))
eq("size", 25, os.fstat(writer).st_size)
eq("in the layers", ["one\n", "one\nturn 0\n", "one\nturn 0\nturn 1\n"], [slurp(layer + "/f") for layer in layers])
P
}

mappings() {
	head -c 8192 /dev/zero >"$L/low"
	up
	live <<'P'
maps = []
for name in "low", "new":
    with open(name, "ab") as f:
        f.truncate(8192)
    with open(name, "r+b") as f:
        maps.append(mmap.mmap(f.fileno(), 8192))
for i, map in enumerate(maps):
    map[0:6] = b"before"
rotate()
for name, map in zip(("low", "new"), maps):
    eq("seen after it", b"before", map[0:6])
    map[4096:4101] = b"after"
    map.flush()
    with open(name, "rb") as f:
        data = f.read()
    eq("by read", (b"before", b"after"), (data[:6], data[4096:4101]))
    with open(f"{layers[0]}/{name}", "rb") as f:
        data = f.read()
    eq("in the layer", (b"before", bytes(5)), (data[:6], data[4096:4101]))
with open("new", "r+b") as f:
    os.pwrite(f.fileno(), b"BEFORE", 0)
eq("a write, by the mapping", b"BEFORE", maps[1][0:6])
P
}

locks() {
	touch "$L/low"
	up
	live <<'P'
def in_child(function, *args):
    return in_parallel(lambda _: err(function, *args), 1)[0]


def by_flock(name):
    fcntl.flock(os.open(name, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)


def by_fcntl(name):
    fcntl.lockf(os.open(name, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 10)


for name in "low", "new":
    open(name, "a").close()
    fd = os.open(name, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10)
    rotate()
    os.write(fd, b"x")
    for how in by_flock, by_fcntl:
        eq(f"{name} {how.__name__}", "EAGAIN", ename(in_child(how, name)))
    fcntl.flock(fd, fcntl.LOCK_UN)
    fcntl.lockf(fd, fcntl.LOCK_UN, 10)
    for how in by_flock, by_fcntl:
        eq(f"{name} {how.__name__} when it is free", 0, in_child(how, name))
P
}

directories() {
	mkdir -p "$L/low/deep"
	(cd "$L/low" && seq -f 'file-%04.0f' 1500 | xargs touch)
	up
	live <<'P'
os.makedirs("new/deep")
for i in range(1500):
    open(f"new/{i}", "w").close()
for i in range(0, 1500, 3):
    os.unlink(f"low/file-{i + 1:04}")
    spit(f"low/new-{i}", "")
os.link("new/0", "new/linked")
for name in "low", "new":
    wanted = sorted(os.listdir(name))
    at = os.stat(name + "/deep")
    os.chdir(name + "/deep")
    with os.scandir("..") as listing:
        found = [next(listing).name for _ in range(700)]
        rotate()
        found += [entry.name for entry in listing]
    eq("each name once", wanted, sorted(found))
    eq("the working directory", f"{m}/{name}/deep", os.getcwd())
    eq("its inode", at.st_ino, os.stat(".").st_ino)
    spit("here", "x")
    os.mkdir("there")
    eq("what is made in it", "here there", below("."))
    os.chdir("../..")
    rotate()
    eq("what was made in it", "here there", below(f"{layers[-1]}/{name}/deep"))
P
}

# Nothing that can be seen is another after a rotation, inode numbers and link counts included.
seen_alike() {
	sample "$L"
	echo linked >"$L/first"
	ln "$L/first" "$L/second"
	up
	change "$M"
	echo more >>"$M/first"
	ln "$M/first" "$M/third"
	ln "$M/etc/none" "$M/none"
	all() {
		tree_of "$M"
		find "$M" -printf '%P %i %n\n' | sort
	}
	all >"$D/before"
	tree_of "$M" >"$D/tree"
	stack=$L
	for i in 1 2 3; do
		rotate "$D/layer$i"
		diff "$D/before" <(all) || fail "after rotation $i it is (>) not as it was (<)"
	done
	down
	up "$stack"
	diff "$D/tree" <(tree_of "$M") || fail "after a remount it is (>) not as it was (<)"
	layers_kept
}

holds "writers that pass a number on: every snapshot is a consistent cut" writers
holds "a database in WAL mode: every snapshot is one that it could have crashed to" database
holds "a repository: every snapshot is whole" repository
# ---- who may ----

foreign() {
	mkdir -m 777 "$D/new"
	up
	mkdir "$M/sub"
	refuse_as_user() {
		local rc
		as 1000 "$snapshot" -m "$M" "$@" "$D/new/layer" >"$D/said" 2>&1
		rc=$?
		eq "exit status: $(cat "$D/said")" 2 $rc
		grep -q "only root and who mounted it may" "$D/said" || fail "$(cat "$D/said")"
	}
	refuse_as_user
	refuse_as_user --rotate
	eq "left behind" "" "$(names "$D/new")"
	MNT=$M/sub refuses 2 "not the root of a plyfs mount"
}

elsewhere() {
	mkdir "$D/new" "$D/fs"
	MNT=$D/nowhere refuses 2 "No such file"
	MNT=$D/new refuses 2 "not the root of a plyfs mount"
	mount -t tmpfs tmpfs "$D/fs"
	MNT=$D/fs refuses 2 "not the root of a plyfs mount" --rotate
	umount "$D/fs"
	in_kernel
	refuses 2 "not the root of a plyfs mount"
	refuses 2 "not the root of a plyfs mount" --rotate
	umount "$M"
	mount_at "$M" "lowerdir=$L" || fail "no mount: $(cat "$T/mount.log")"
	refuses 2 "read-only"
	refuses 2 "read-only" --rotate
}

# What the mount's owner does, himself no root
of_own() {
	mkdir "$D/new"
	up
	echo one >"$M/f"
	rm "$M/ro"
	snap "$D/new/copy"
	snap --rotate "$D/new/rotated"
	echo two >"$M/g"
	eq "copied" "one" "$(cat "$D/new/copy/f")"
	eq "rotated" "one" "$(cat "$D/new/rotated/f")"
	eq "the upper" "g" "$(names "$U")"
	down
	up "$D/new/rotated:$L"
	eq "names" "d d/f f g h.txt ro2 ro3 rodir rodir/x" "$(names "$M")"
	down
}

in_namespace() { in_user_namespace of_own; }

plain_user() { by_fusermount of_own; }

# ---- what the layer is like ----

# ties LAYER: the marks in it that tie an upper to its stack
ties() {
	getfattr -Rhd -m '\.overlay\.(origin|impure|nlink|upper|uuid|redirect|metacopy)$|protattr' -- "$1" 2>&1 | grep -v '^$'
}

# whole LAYERS: nothing is left of marks, the tools find nothing wrong, and the kernel shows the same
whole() {
	tree_of "$M" >"$D/ours"
	down
	eq "marks in the layer" "" "$(ties "${1%%:*}")"
	"$BUILD/plyfs-check" --lower "$1" -u "$U" >"$D/said" 2>&1 || fail "plyfs-check: exit status $?, $(cat "$D/said")"
	in_kernel "$1"
	tree_of "$M" >"$D/kernels"
	umount "$M"
	diff "$D/ours" "$D/kernels" || fail "the kernel sees (>) something else"
}

hard_links() {
	mkdir "$L/d"
	echo old >"$L/a"
	ln "$L/a" "$L/b"
	ln "$L/a" "$L/d/c"
	up
	echo new >>"$M/b"
	stack=$L
	rotate "$D/layer"
	for f in a b d/c; do eq "$f in the layer" "old new 3" "$(xargs <"$D/layer/$f") $(stat -c %h "$D/layer/$f")"; done
	eq "names in the upper" "" "$(names "$U")"
	echo newer >>"$M/a"
	eq "through the mount" "old new newer" "$(xargs <"$M/d/c")"
	rotate "$D/layer2"
	layers_kept
	whole "$stack"
}

as_the_kernel() {
	sample "$L"
	up
	change "$M"
	rm -r "$M/many"
	mkdir "$M/many"
	touch "$M/many/fresh"
	stack=$L
	rotate "$D/layer1"
	mv "$M/etc/passwd" "$M/moved"
	rm -r "$M/deep"
	chmod 600 "$M/moved"
	rotate "$D/layer2"
	echo x >"$M/deep"
	layers_kept
	whole "$stack"
}

moved_directory() {
	mkdir -p "$L/d/sub"
	head -c 100000 /dev/urandom >"$L/d/sub/f"
	up "$L" redirect_dir=on
	mv "$M/d" "$M/moved"
	[ ! -e "$U/moved/sub" ] || skip "the directory was copied"
}

# shows_moved LAYERS
shows_moved() {
	mount_at "$M" "lowerdir=$1,redirect_dir=follow" || fail "no mount: $(cat "$T/mount.log")"
	eq "names of $1" "moved moved/sub moved/sub/f" "$(names "$M")"
	cmp "$M/moved/sub/f" "$L/d/sub/f" || fail "$1: the data"
	down
}

# A layer stands alone: what the moved directory has below is brought up.
redirects() {
	moved_directory
	snap "$D/copy"
	stack=$L
	rotate "$D/layer"
	for layer in copy layer; do
		eq "marks in $layer" "" "$(ties "$D/$layer")"
		cmp "$D/$layer/moved/sub/f" "$L/d/sub/f" || fail "$layer: the data"
	done
	mv "$M/moved" "$M/again"
	cmp "$M/again/sub/f" "$L/d/sub/f" || fail "the directory that was moved again"
	layers_kept
	down
	shows_moved "$D/copy:$L"
	shows_moved "$stack"
}

redirects_kept() {
	moved_directory
	snap --keep-redirects "$D/copy"
	stack=$L
	rotate --keep-redirects "$D/layer"
	grep -q "needs those below" "$D/said" || fail "no note of it: $(cat "$D/said")"
	eq "what is in them" "d moved d moved" "$(names "$D/copy") $(names "$D/layer")"
	cmp "$M/moved/sub/f" "$L/d/sub/f" || fail "the moved directory"
	mv "$M/moved" "$M/again"
	cmp "$M/again/sub/f" "$L/d/sub/f" || fail "the directory that was moved again"
	layers_kept
	down
	shows_moved "$D/copy:$L"
	shows_moved "$stack"
}

metacopy() {
	head -c 3M /dev/urandom >"$L/f"
	cp "$L/f" "$D/want"
	up "$L" metacopy=on
	chmod 600 "$M/f"
	mv "$M/f" "$M/g"
	snap "$D/copy"
	stack=$L
	rotate "$D/layer"
	for layer in copy layer; do
		cmp "$D/$layer/g" "$D/want" || fail "$layer: the data"
		eq "marks in $layer" "" "$(ties "$D/$layer")"
	done
	chmod 640 "$M/g"
	cmp "$M/g" "$D/want" || fail "the data after it"
}

dry_and_json() {
	up
	echo x >"$M/f"
	snap -n "$D/layer"
	snap -n --rotate "$D/layer"
	[ ! -e "$D/layer" ] || fail "a dry run made the layer"
	snap -j --rotate "$D/layer"
	py "$D/said" <<'P'
import json
with open(sys.argv[1]) as f:
    said = json.load(f)
eq("rotated", (True, False, "summary"), (said["rotated"], said["dry_run"], said["type"]))
if not 0 < said["pause_ms"] < 2000:
    fail(f"pause: {said['pause_ms']}")
P
	mkdir "$D/new"
	echo kept >"$D/new/layer"
	refuses 2 "exists" --rotate
	refuses 2 "exists"
	rm "$D/new/layer"
	mkdir "$D/new/layer"
	stack=$D/layer:$L
	rotate "$D/new/layer"
}

upper_on() {
	sample "$L"
	fs_of "$1" "$D/fs"
	U=$D/fs/upper W=$D/fs/work
	up
	change "$M"
	ln "$M/etc/passwd" "$M/linked"
	stack=$L
	rotate "$D/fs/layer1"
	rm "$M/bin/link"
	touch -r "$L" "$M"
	tree_of "$M" >"$D/tree"
	rotate "$D/fs/layer2"
	diff "$D/tree" <(tree_of "$M") || fail "after a rotation the mount shows (>) something else"
	echo x >"$M/etc/later"
	layers_kept
	mkdir "$D/new"
	# What is on another file system cannot change places with the upper.
	refuses 2 "exchange\|cross-device\|file system" --rotate
	down
	mount_at "$M" "lowerdir=$stack" || fail "no mount: $(cat "$T/mount.log")"
	diff "$D/tree" <(tree_of "$M") || fail "the layers show (>) something else"
}

holds "open descriptors go on over rotations" descriptors
holds "mapped files go on over a rotation" mappings
holds "locks are held over a rotation" locks
holds "directories in use go on over a rotation" directories
holds "nothing looks different after a rotation" seen_alike
holds "nobody but root and the owner may" foreign
holds "what is no plyfs mount with an upper is refused" elsewhere
holds "the owner of a mount in a user namespace may" in_namespace
holds "the plain user who mounted it may" plain_user
holds "all names of a linked file are in the layer" hard_links
holds "the layers are whole, as the kernel sees them" as_the_kernel
holds "a moved directory is whole in the layer" redirects
holds "a moved directory may need the layers below" redirects_kept
holds "metacopy=on: the layer has the data" metacopy
holds "a dry run, JSON, and a target that is there" dry_and_json
for fs in ext4 xfs btrfs tmpfs; do
	upper() { upper_on "$fs"; }
	holds "an upper on $fs is rotated" upper
done
finish
