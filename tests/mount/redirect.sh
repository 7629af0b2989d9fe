#!/bin/bash
# Directories of a layer are renamed in place: by marks that the kernel's overlayfs follows, or by copying; and those
# which it wrote are followed.
. "$(dirname "$0")/lib.sh"
need_root

# kernel [LOWERDIR]: the kernel's overlayfs, with marks, on the directories of the last `up`
kernel() {
	mount -t overlay overlay -o "redirect_dir=on,lowerdir=${1:-$L},upperdir=$U,workdir=$W" "$M" || skip "the kernel does not mount an overlay here"
}

# package DIR: a tree with some depth
package() {
	mkdir -p "$1"/{lib/deep/er,bin,doc}
	local f
	for f in lib/a lib/deep/b lib/deep/er/c bin/tool doc/text; do echo "$f" >"$1/$f"; done
	ln "$1/lib/a" "$1/doc/a"
	ln -s ../lib/a "$1/bin/link"
	chmod 2750 "$1/lib/deep"
	chown -R 1000:1001 "$1/doc"
}

# move_about DIR: renames directories of the layers in all ways
move_about() {
	(
		cd "$1" || exit 1
		mv pkg renamed
		mv renamed/lib/deep elsewhere/deep
		mkdir pkg
		echo new >pkg/file
		mv elsewhere moved
		mv moved/deep/er moved/er
		mv other renamed/doc/other
		rm renamed/doc/text
		mkdir -p fresh/dir
		mv renamed fresh/dir/pkg
		mv fresh/dir/pkg/bin bin
		mv bin fresh/dir/pkg/bin
		rmdir empty
		mv moved/er empty
		python3 -c 'import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.renameat2(-100, b"fresh/dir/pkg/lib", -100, b"moved", 2) == 0, os.strerror(ctypes.get_errno())'
		find . -newermt 2010-01-01 -exec touch -h -d '2011-12-13 14:15:16 UTC' {} +
	) || exit 1
}

stack() {
	package "$L/pkg"
	mkdir -p "$L/elsewhere" "$L/empty" "$L/other/in"
	echo x >"$L/other/in/x"
	find "$L" -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +
}

# The same renames on plyfs and in a plain copy.
like_plain() { # OPTIONS [FILE-TO-LEAVE-OUT]
	stack
	[ -z "${2:-}" ] || rm "$L/$2"
	mkdir "$D/plain"
	cp -a "$L/." "$D/plain"
	up "$L" "$1"
	move_about "$M"
	move_about "$D/plain"
	diff <(tree_of "$M" | grep -v ' d ') <(tree_of "$D/plain" | grep -v ' d ') || fail "not as in a plain directory (>)"
	eq "names" "$(names "$D/plain")" "$(names "$M")"
	tree_of "$M" >"$D/before"
	again
	diff "$D/before" <(tree_of "$M") || fail "not the same after a remount (>)"
}

by_marks() { like_plain redirect_dir=on; }
by_default() { like_plain dev; }
by_copying() { like_plain redirect_dir=copy; }
in_user_space() { like_plain xattrs=user; }
marks_in_user_space() { like_plain xattrs=user,redirect_dir=on; }
# There the names of a file part when one of them is copied.
without_xattrs() { like_plain xattrs=none,whiteout=aufs pkg/doc/a; }

not_at_all() {
	stack
	up "$L" redirect_dir=off
	py "$M" <<'P'
os.chdir(sys.argv[1])
fails("rename", "EXDEV", os.rename, "pkg", "renamed")
os.mkdir("new")
os.rename("new", "newer")
eq("names", ["elsewhere", "empty", "newer", "other", "pkg"], sorted(os.listdir(".")))
P
	mv "$M/pkg" "$M/renamed"
	eq "mv copies" "lib/a" "$(cat "$M/renamed/lib/a")"
}

kernel_reads() {
	stack
	up
	move_about "$M"
	tree_of "$M" >"$D/ours"
	down
	kernel
	tree_of "$M" >"$D/kernels"
	umount "$M"
	diff "$D/ours" "$D/kernels" || fail "the kernel sees (>) something else"
	eq "what was copied up of files" "" "$(find "$U" -type f ! -path '*/pkg/file' -printf '%P ')"
}

plyfs_reads() {
	stack
	kernel
	# Its own root is not a merged directory of the same mount: what it refuses is left out.
	move_about "$M"
	tree_of "$M" >"$D/kernels"
	umount "$M"
	[ -n "$(getfattr -Rhd -m trusted.overlay.redirect "$U" 2>/dev/null)" ] || fail "the kernel wrote no marks"
	up
	tree_of "$M" >"$D/ours"
	diff "$D/kernels" "$D/ours" || fail "plyfs sees (>) something else"
}

# An upper that both wrote becomes a layer, over which both write again.
in_turn() {
	stack
	up
	mv "$M/pkg/lib" "$M/lib"
	mv "$M/other" "$M/pkg/other"
	down
	kernel
	mv "$M/lib/deep" "$M/pkg/deep"
	mv "$M/pkg" "$M/elsewhere/pkg"
	umount "$M"
	mv "$U" "$D/middle"
	mkdir "$U" "$D/work2"
	rm -rf "$W"
	W=$D/work2
	up "$D/middle:$L"
	mv "$M/elsewhere/pkg/deep" "$M/deep"
	mv "$M/elsewhere" "$M/deep/elsewhere"
	tree_of "$M" >"$D/ours"
	down
	kernel "$D/middle:$L"
	tree_of "$M" >"$D/kernels"
	mv "$M/deep" "$M/lib/deep"
	mv "$M/lib" "$M/empty/lib"
	tree_of "$M" >"$D/kernels2"
	umount "$M"
	diff "$D/ours" "$D/kernels" || fail "the kernel sees (>) something else"
	up "$D/middle:$L"
	tree_of "$M" >"$D/ours"
	diff "$D/kernels2" "$D/ours" || fail "plyfs sees (>) something else"
	eq "what went far" "lib/deep/er/c" "$(cat "$M/empty/lib/deep/er/c")"
}

git_mv() {
	need git
	export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
	mkdir -p "$L/repo/src/sub"
	echo 1 >"$L/repo/src/one"
	echo 2 >"$L/repo/src/sub/two"
	(cd "$L/repo" && git init -q && git add . && git commit -qm first)
	up
	(
		cd "$M/repo" || exit 1
		git mv src lib
		git mv lib/sub top
		git commit -qm moved
		[ -z "$(git status --porcelain)" ] || fail "not clean: $(git status --porcelain)"
		git checkout -q HEAD~1
		eq "back" "src/one src/sub/two" "$(git ls-files | tr '\n' ' ' | sed 's/ $//')"
		git checkout -q -
		git fsck --strict 2>&1 | grep -i error && fail "git fsck finds errors"
		exit 0
	) || exit
	again
	eq "after a remount" "lib lib/one top top/two" "$(cd "$M/repo" && find lib top -printf '%p\n' | sort | tr '\n' ' ' | sed 's/ $//')"
}

# An installer moves the old version aside, puts the new one in its place, and removes the old one; or fails, and goes back.
installer() {
	package "$L/node_modules/left"
	package "$L/node_modules/right"
	up
	py "$M" <<'P'
import shutil
os.chdir(sys.argv[1] + "/node_modules")
os.rename("left", ".left-old")
os.mkdir(".staging")
os.mkdir(".staging/left")
spit(".staging/left/index", "new")
os.rename(".staging/left", "left")
shutil.rmtree(".left-old")
os.rename("right", ".right-old")
os.rename(".right-old", "right")
eq("the new one", "left left/index", " ".join(n for n in below(".").split() if n.startswith("left")))
P
	again
	eq "left" "index" "$(ls "$M/node_modules/left")"
	same "$L/node_modules/right" "$M/node_modules/right"
}

# The server asks the disk no more for a directory of 100,000 files than for one of ten.
large() {
	py "$L" <<'P'
os.chdir(sys.argv[1])
os.mkdir("small")
os.mkdir("large")
for i in range(10):
    spit(f"small/{i}", "")
for d in range(100):
    os.mkdir(f"large/d{d}")
    for i in range(1000):
        os.mknod(f"large/d{d}/{i}")
P
	need strace
	start_counted "lowerdir=$L,upperdir=$U,workdir=$W"
	local name
	for name in small large; do
		stat "$M/$name" >"$D/out"
		strace -f -qq -o "$D/calls-$name" -p "$server_pid" &
		sleep 1
		mv -T "$M/$name" "$M/moved-$name"
		kill "$!"
		wait "$!" 2>/dev/null
	done
	eq "directories read" 0 "$(grep -c getdents "$D/calls-large")"
	local small large
	small=$(grep -vc 'futex\|poll\|resumed\|exited' "$D/calls-small")
	large=$(grep -vc 'futex\|poll\|resumed\|exited' "$D/calls-large")
	[ "$large" -le $((small + 10)) ] && [ "$large" -lt 150 ] || fail "$small system calls for ten files, $large for 100,000"
	eq "requests" 2 "$(counted RENAME2)$(counted RENAME | sed 's/^0$//')"
	eq "what is there" 100000 "$(find "$M/moved-large" -type f | wc -l)"
	eq "copied up" "" "$(find "$U" -type f)"
}

# Who is in a directory, or has a file of it open or mapped, stays with it.
in_use() {
	stack
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
f = open("pkg/lib/a", "r+")
gone = open("pkg/lib/deep/b")
os.unlink("pkg/lib/deep/b")
os.chdir("pkg/lib/deep")
inos = [os.stat(n).st_ino for n in (".", "er", "er/c")]
m = sys.argv[1]
os.rename(f"{m}/pkg", f"{m}/elsewhere/p")
os.rename(f"{m}/elsewhere", f"{m}/e")
eq("numbers", inos, [os.stat(n).st_ino for n in (".", "er", "er/c")])
eq("cwd", f"{m}/e/p/lib/deep", os.getcwd())
spit("new", "n")
os.rename("er", "../er")
f.write("LIB")
f.close()
eq("written", "LIB/a\n", slurp(f"{m}/e/p/lib/a"))
eq("unlinked", "lib/deep/b\n", gone.read())
eq("names", "deep deep/new er er/c", " ".join(n for n in below("..").split() if n != "a"))
P
	again
	eq "after a remount" "LIB/a n" "$(cat "$M/e/p/lib/a") $(cat "$M/e/p/lib/deep/new")"
}

holds "renames are those of a plain directory, by default" by_default
holds "by marks" by_marks
holds "by copying" by_copying
holds "in the user space, by copying" in_user_space
holds "in the user space, by marks" marks_in_user_space
holds "without xattrs" without_xattrs
holds "or they are refused with EXDEV, and mv copies" not_at_all
holds "the kernel shows what plyfs moved" kernel_reads
holds "plyfs shows what the kernel moved" plyfs_reads
holds "both may go on with what the other moved, in several layers" in_turn
holds "git mv" git_mv
holds "an installer moves packages aside, and back" installer
holds "a directory of 100,000 files moves at the price of one of ten" large
holds "what is in use moves along" in_use
finish
