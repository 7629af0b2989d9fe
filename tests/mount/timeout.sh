#!/bin/bash
# timeout=SECONDS: what changes in lower layers below the mount is seen after that time, and harms nothing.
. "$(dirname "$0")/lib.sh"
need_root

# layers: two; d is in both of them, m in the lower one and in the upper
layers() {
	mkdir -p "$L"/{a,b}/d/sub "$L"/b/{m,dir,newdir} "$U/m"
	for name in stays goes grows swapped; do
		echo "$name" | tee "$L/b/m/$name" "$L/a/d/$name" >"$L/b/$name"
	done
	echo x | tee "$L/b/dir/x" "$L/b/newdir/x" >"$L/b/d/sub/x"
	untouched() { :; }
}

# change_in DIR: names in it go, come and are others
change_in() {
	rm "$1/goes"
	echo came >"$1/came"
	echo more >>"$1/grows"
	echo "another one" >"$1/.tmp"
	mv "$1/.tmp" "$1/swapped"
}

# told DIR: what the mount shows of it
told() {
	ls "$M/$1"
	(cd "$M/$1" && cat stays grows swapped && cat goes came 2>/dev/null)
}

# changes OPTIONS SECONDS
changes() {
	local at
	layers
	up "$L/a:$L/b" "$1"
	for at in . d m; do told $at; done >"$D/before"
	ls -lR "$M" >>"$D/before"
	cat "$M/dir/x" "$M/newdir/x" "$M/d/sub/x" >>"$D/before"
	for at in b a/d b/m; do change_in "$L/$at"; done
	rm -r "$L/b/dir" "$L/b/newdir" "$L/b/d/sub"
	echo "new file" >"$L/b/dir"
	mkdir "$L/b/newdir"
	: >"$L/b/newdir/y"
	sleep "$2"
	eq "d" "came grows stays sub swapped" "$(words ls "$M/d")"
	eq "m" "came grows stays swapped" "$(words ls "$M/m")"
	for at in . d m; do
		eq "files of $at" "stays grows more another one came" "$(cd "$M/$at" && words cat stays grows swapped came)"
		[ ! -e "$M/$at/goes" ] || fail "$at/goes is there"
	done
	eq "sizes" "11 11 12" "$(words stat -c %s "$M/grows" "$M/d/grows" "$M/m/swapped")"
	eq "a file in place of a directory" "new file" "$(cat "$M/dir")"
	eq "a directory in place of a directory" "y" "$(ls "$M/newdir")"
	eq "the lower part of a directory is gone" "" "$(ls "$M/d/sub")"
	eq "the top" "came d dir grows m newdir stays swapped" "$(words ls "$M")"
}

one_second() { changes timeout=1 1.2; }
at_once() { changes timeout=0 0; }

# What the mount has changed stays changed; what it removed stays removed.
upper_wins() {
	layers
	up "$L/a:$L/b" timeout=0
	echo mine >>"$M/grows"
	rm "$M/goes"
	touch "$M/newdir/z"
	rm -r "$M/dir"
	rm "$L/b/grows"
	echo new >"$L/b/goes"
	rm -r "$L/b/newdir"
	echo new >"$L/b/dir/new"
	eq "brought up" "grows mine" "$(words cat "$M/grows")"
	[ ! -e "$M/goes" ] || fail "a removed file is back"
	[ ! -e "$M/dir" ] || fail "a removed directory is back"
	eq "a directory that is up, without its lower part" "z" "$(ls "$M/newdir")"
	touch "$M/newdir/x" || fail "making a file in it"
	rm "$M/newdir/z" || fail "removing one"
	mkdir "$L/b/newdir"
	: >"$L/b/newdir/back"
	eq "and with a new one" "back x" "$(words ls "$M/newdir")"
	again
	eq "after a remount" "back x" "$(words ls "$M/newdir")"
}

# Held open while it goes: what is read or written then is the old one, the new one or an error.
held_open() {
	layers
	up "$L/a:$L/b" timeout=0
	exec 3<"$M/swapped" 4<"$M/d" 5>>"$M/stays" 6<"$M/goes"
	cd "$M/newdir" || exit 1
	change_in "$L/b"
	rm -r "$L/b/newdir" "$L/a/d" "$L/b/d"
	ls "$M" >"$D/list"
	[ ! -e "$M/newdir" ] || fail "a removed directory is there"
	cat <&3
	cat <&6
	chmod 600 /proc/self/fd/6
	ls -l /proc/self/fd/4/ .
	touch new
	mkdir new
	echo more >&5
	cd "$D" || exit 1
	exec 3<&- 4<&- 5>&- 6<&-
	eq "a file that is up" "stays more" "$(words cat "$M/stays")"
	eq "the top" "came dir grows m stays swapped" "$(words ls "$M")"
}

# Everybody at once: answers may be old or new, or errors, but the server lives, and so does its upper.
churn() {
	layers
	up "$L/a:$L/b" "timeout=$1"
	py "$L/b" "$M" <<'P'
lower, mount = sys.argv[1:]
end = time.monotonic() + (30 if os.environ.get("PLY_LONG") else 6)
names = ["stays", "goes", "grows", "swapped", "q", "r", "d", "dir", "newdir", "m"]


def some(top):
    return os.path.join(top, *random.choices(names[6:], k=random.randrange(3)), random.choice(names))


def write(path):
    with open(path, "a") as f:
        f.write("text")


def change(top):
    path = some(top)
    random.choice([
        lambda: os.mkdir(path),
        lambda: os.unlink(path),
        lambda: os.rename(path, some(top)),
        lambda: subprocess.run(["rm", "-rf", "--one-file-system", path], check=False, stderr=subprocess.DEVNULL),
        lambda: os.link(path, some(top)),
        lambda: os.symlink("target", path),
        lambda: os.chmod(path, 0o755),
        lambda: write(path),
        lambda: write(path),
    ])()


def look(top):
    for at, dirs, files in os.walk(top):
        for path in [os.path.join(at, name) for name in dirs + files]:
            with contextlib.suppress(OSError):
                if os.path.islink(path):
                    os.readlink(path)
                elif os.path.isfile(path):
                    with open(path, "rb") as f:
                        f.read()


def repeat(function, top, seed):
    random.seed(seed)
    while time.monotonic() < end:
        try:
            function(top)
        except OSError as e:
            if e.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                os._exit(1)
    os._exit(0)


workers = []
for seed, (function, top) in enumerate([(change, lower), (change, mount), (change, mount), (look, mount), (look, mount)]):
    pid = os.fork()
    if not pid:
        repeat(function, top, seed)
    workers.append(pid)
if any([os.waitpid(pid, 0)[1] for pid in workers]):
    fail("the server is gone")
P
	ls "$M" >/dev/null || fail "the mount is dead"
	down
	up "$L/a:$L/b"
	ls -lR "$M" >/dev/null || fail "not all can be read after a remount"
}

churn_soon() { churn 0.1; }
churn_at_once() { churn 0; }

holds "changes are seen after a second" one_second
holds "changes are seen at once with timeout=0" at_once
holds "what the mount has changed stays" upper_wins
holds "what is open while it goes" held_open
holds "changes by everybody at once" churn_at_once
holds "changes by everybody, seen after a moment" churn_soon
finish
