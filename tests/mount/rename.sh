#!/bin/bash
# Renames: of files and directories, within and across layers, with every flag.
. "$(dirname "$0")/lib.sh"

over_everything() {
	mkdir -p "$L/low-dir" "$L/full"
	local f
	for f in low over-low over-up full/f; do echo "$f" >"$L/$f"; done
	ln -s x "$L/link"
	up
	echo up >"$M/up"
	py "$M" <<'P'
os.chdir(sys.argv[1])
spit("u1", "u1")
os.rename("u1", "over-low")
eq("new over lower", "u1", slurp("over-low"))
os.rename("low", "up")
eq("lower over new", "low\n", slurp("up"))
os.rename("over-up", "link")
eq("lower over a link", "over-up\n", slurp("link"))
os.mkdir("d1")
spit("d1/f", "f")
os.rename("d1", "low-dir")
eq("new directory over an empty lower one", ["f"], os.listdir("low-dir"))
os.mkdir("d2")
fails("directory over a full one", "ENOTEMPTY", os.rename, "d2", "full")
fails("file over a directory", "EISDIR", os.rename, "up", "full")
fails("directory over a file", "ENOTDIR", os.rename, "d2", "up")
fails("directory into itself", "EINVAL", os.rename, "d2", "d2/d3")
fails("nothing", "ENOENT", os.rename, "none", "d4")
os.unlink("full/f")
os.rename("d2", "full")
eq("directory over an emptied one", [], os.listdir("full"))
os.link("up", "up2")
os.rename("up", "up2")
eq("over a name of the same file", ["up", "up2"], sorted(n for n in os.listdir(".") if n.startswith("up")))
eq("all", "full link low-dir low-dir/f over-low up up2", below("."))
P
	again
	eq "after a remount" "full link low-dir low-dir/f over-low up up2" "$(names "$M")"
	eq "contents" "over-up u1low low" "$(words cat "$M/link" "$M/over-low" "$M/up" "$M/up2")"
}

noreplace() {
	mkdir -p "$L/a/b"
	touch "$L/a/b/c" "$L/a/b/d"
	echo l >"$L/f"
	echo k >"$L/k"
	up
	cp -r "$M/a" "$M/bak"
	rm -rf "$M/a"
	rm "$M/k"
	mv "$M/bak/b/c" "$M/bak/b/c2"
	echo n >"$M/n"
	py "$M" <<'P'
os.chdir(sys.argv[1])
fails("directory onto a deleted lower one", "", renameat2, "bak", "a", NOREPLACE)
fails("onto a lower file", "EEXIST", renameat2, "n", "f", NOREPLACE)
fails("onto a new directory", "EEXIST", renameat2, "n", "a", NOREPLACE)
fails("lower file onto a deleted one", "", renameat2, "f", "k", NOREPLACE)
fails("with an unknown flag", "EINVAL", renameat2, "k", "z", 0x80)
fails("with two that exclude each other", "EINVAL", renameat2, "k", "n", NOREPLACE | EXCHANGE)
P
	again
	eq "after a remount" "a a/b a/b/c2 a/b/d k n" "$(names "$M")"
	eq "content" l "$(cat "$M/k")"
}

exchange() {
	echo low >"$L/low"
	echo low2 >"$L/low2"
	mkdir "$L/p"
	echo c >"$L/p/c"
	up
	echo up >"$M/up"
	mkdir "$M/dir"
	echo in >"$M/dir/in"
	py "$M" <<'P'
os.chdir(sys.argv[1])
numbers = os.stat("low").st_ino, os.stat("up").st_ino
renameat2("low", "up", EXCHANGE)
eq("lower and new file", ("up\n", "low\n"), (slurp("low"), slurp("up")))
eq("their numbers", numbers, (os.stat("up").st_ino, os.stat("low").st_ino))
renameat2("low2", "p/c", EXCHANGE)
eq("two lower files in two directories", ("c\n", "low2\n"), (slurp("low2"), slurp("p/c")))
renameat2("low", "dir", EXCHANGE)
eq("file and directory", (["in"], "up\n"), (os.listdir("low"), slurp("dir")))
fails("with nothing", "ENOENT", renameat2, "low", "none", EXCHANGE)
renameat2("up", "up", EXCHANGE)
P
	again
	eq "after a remount" "in low c low2 up" "$(words cat "$M/low/in" "$M/up" "$M/low2" "$M/p/c" "$M/dir")"
	eq "names" "dir low low/in low2 p p/c up" "$(names "$M")"
}

whiteout_flag() {
	need_root
	echo low >"$L/low"
	up
	echo up >"$M/up"
	py "$M" <<'P'
os.chdir(sys.argv[1])
if (e := err(renameat2, "up", "up2", WHITEOUT)) == errno.EINVAL:
    eq("nothing happened", ["low", "up"], sorted(os.listdir(".")))
    os._exit(0)
eq("RENAME_WHITEOUT", 0, e)
eq("content", "up\n", slurp("up2"))
P
	again
	stat "$M/low" >/dev/null || fail "the other file is gone"
}

directories_of_the_upper() {
	mkdir "$L/p" "$L/q"
	up
	mkdir -p "$M/p/new/a/b"
	echo f >"$M/p/new/a/b/f"
	py "$M" <<'P'
os.chdir(sys.argv[1])
at = os.open("p/new/a", os.O_RDONLY)
os.rename("p/new", "q/newer")
eq("child", "f\n", slurp("q/newer/a/b/f"))
eq("by a descriptor", ["b"], os.listdir(at))
fails("old name", "ENOENT", os.stat, "p/new")
os.rename("q/newer/a", "a")
os.rename("a", "q/newer/a2")
eq("all", "p q q/newer q/newer/a2 q/newer/a2/b q/newer/a2/b/f", below("."))
P
	again
	eq "after a remount" "p q q/newer q/newer/a2 q/newer/a2/b q/newer/a2/b/f" "$(names "$M")"
}

onto_whiteout() {
	mkdir -p "$L/d/sub"
	echo 1 >"$L/d/old"
	echo 2 >"$L/d/sub/old"
	up
	rm -r "$M/d"
	mkdir "$M/new"
	echo n >"$M/new/n"
	mv "$M/new" "$M/d"
	eq "nothing of the layer comes back" "d d/n" "$(names "$M")"
	mkdir "$M/d/sub"
	eq "nor deeper" "" "$(ls -A "$M/d/sub")"
	again
	eq "after a remount" "d d/n d/sub" "$(names "$M")"
	down
	in_kernel
	eq "in the kernel" "d d/n d/sub" "$(names "$M")"
}

merged_directory() {
	mkdir -p "$L/d/sub/deep" "$L/p"
	echo 1 >"$L/d/one"
	echo 2 >"$L/d/sub/deep/two"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
os.rename("d", "p/e")
fails("old name", "ENOENT", os.stat, "d")
eq("child", "2\n", slurp("p/e/sub/deep/two"))
spit("p/e/sub/new", "n")
os.rename("p/e/sub", "sub2")
os.mkdir("d")
eq("new directory of the old name", [], os.listdir("d"))
eq("all", "d p p/e p/e/one sub2 sub2/deep sub2/deep/two sub2/new", below("."))
P
	local before
	before=$(tree_of "$M")
	again
	alike "after a remount" "$before" "$(tree_of "$M")"
}

mv_merged() {
	mkdir -p "$L/dir/s"
	local f
	for f in f1 f2 f3 s/f4; do echo "$f" >"$L/dir/$f"; done
	chmod 2750 "$L/dir/s"
	touch -d '2001-02-03 04:05:06' "$L/dir/f1"
	up
	echo more >>"$M/dir/f2"
	rm "$M/dir/f3"
	echo n >"$M/dir/s/f5"
	mv "$M/dir" "$M/other"
	eq "moved" "other other/f1 other/f2 other/s other/s/f4 other/s/f5" "$(names "$M")"
	eq "mode and time" "2750 981173106" "$(stat -c %a "$M/other/s") $(TZ=UTC stat -c %Y "$M/other/f1")"
	mkdir "$M/dir"
	eq "new directory of the old name" "" "$(ls -A "$M/dir")"
	mv "$M/other" "$M/dir/in"
	again
	eq "after a remount" "dir dir/in dir/in/f1 dir/in/f2 dir/in/s dir/in/s/f4 dir/in/s/f5" "$(names "$M")"
	eq "content" $'f2\nmore' "$(cat "$M/dir/in/f2")"
}

# Editors, package managers and databases do this all day.
replace_loop() {
	echo 0 >"$L/f"
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
stop = threading.Event()
wrong = []

def look():
    last = 0
    while not stop.is_set():
        try:
            now = int(slurp("f"))
        except (OSError, ValueError) as e:
            wrong.append(repr(e))
            return
        if now < last:
            wrong.append(f"{now} after {last}")
        last = now

readers = [threading.Thread(target=look) for _ in range(2)]
for r in readers:
    r.start()
for i in range(1, 1000):
    spit("f.tmp", str(i))
    os.rename("f.tmp", "f")
stop.set()
for r in readers:
    r.join()
eq("what a reader saw", [], wrong)
eq("at the end", "999", slurp("f"))
P
	again
	eq "after a remount" "999 f" "$(cat "$M/f") $(names "$M")"
}

holds "a rename replaces what it may, in any layer" over_everything
holds "RENAME_NOREPLACE takes a deleted name for free, and no other" noreplace
holds "RENAME_EXCHANGE swaps names of any kind and layer" exchange
holds "RENAME_WHITEOUT moves the file, or is refused" whiteout_flag
holds "a directory of the upper can be renamed" directories_of_the_upper
holds "a directory that takes a deleted one's name shows nothing of it" onto_whiteout
holds "a rename of a merged directory takes all along" merged_directory
holds "mv moves a merged directory with all that is in it" mv_merged
holds "a file that is replaced by renames is always there" replace_loop
finish
