#!/bin/bash
# plyfs-diff: tells every change of the upper or of some layers, nothing else, and reads no more than it must.
# timeout: 600
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-diff

lower_tree() {
	mkdir -p "$L/gone/sub" "$L/new/sub" "$L/kept" "$L/moved-from/sub"
	for f in a b c d gone/f new/sub/g new/z kept/h moved-from/sub/i same; do echo below >"$L/$f"; done
	ln -s x "$L/link"
}

letters() {
	fresh
	lower_tree
	up
	(
		cd "$M" || exit 1
		echo more >>a
		rm b
		chmod 600 c
		setfattr -n user.note -v x d
		chmod 600 same
		chmod 644 same
		rm -r gone new link
		mkdir new link
		echo z >new/z
		touch link/x
		mv moved-from moved
		echo i >>moved/sub/i
	)
	down
	tool 1 -l "$L" -u "$U"
	eq "changes" "A link/x
D b
D gone/
D moved-from/
D new/sub/
M a
M c
M d
M moved/sub/i
M new/z
O new/
R moved/ <- moved-from/
T link/" "$(sort "$T/out")"
	eq "order" "$(sed 's,^. ,,; s,/* .*,,; s,/$,,' "$T/out" | sort | tr '/' '\1' | LC_ALL=C sort | tr '\1' '/')" \
		"$(sed 's,^. ,,; s,/* .*,,; s,/$,,' "$T/out")"
	tool 1 -v -a -l "$L" -u "$U"
	prints "= same"
	prints "M c (mode)"
	prints "M d (xattr)"
	prints "T link/ (directory, was symlink)"
	tool 1 --stat -l "$L" -u "$U"
	grep -q "^1 added, 5 modified, 4 deleted, 1 retyped, 1 renamed, 1 opaque;" "$T/out" || fail "$(cat "$T/out")"
	tool 1 -j -l "$L" -u "$U"
	json
	prints '{"change":"R","kind":"directory","path":"moved","from":"moved-from"}'
	eq "the last object" summary "$(tail -n 1 "$T/out" | python3 -c 'import json; print(json.loads(input())["type"])')"
	tool 1 --names -l "$L" -u "$U"
	prints moved
	prints link/x
	eq "names" 13 "$(wc -l <"$T/out")"
	tool 1 --names -0 -l "$L" -u "$U"
	eq "names with NUL" 13 "$(tr -cd '\0' <"$T/out" | wc -c)"
	tool 1 -o "rw,lowerdir=$L,upperdir=$U,workdir=$W"
	prints "M a"
}

text() {
	fresh
	printf '1\n2\n3\n' >"$L/t"
	printf 'x\0y' >"$L/bin"
	cp -r "$L/." "$U"
	echo 4 >>"$U/t"
	printf z >>"$U/bin"
	echo new >"$U/n"
	tool 1 -U -l "$L" -u "$U"
	cp "$T/out" "$T/by-U"
	tool 1 -p -l "$L" -u "$U"
	cmp "$T/out" "$T/by-U" || fail "-U is not -p"
	prints "+4"
	prints "Binary file bin differs"
	prints "--- /dev/null"
	mkdir "$T/patched"
	cp -r "$L/." "$T/patched"
	patch -s -d "$T/patched" -p1 <"$T/out" || fail "patch does not take it"
	cmp "$U/t" "$T/patched/t"
	cmp "$U/n" "$T/patched/n"
	tool 1 -U --max-size=3 -l "$L" -u "$U"
	prints "Large file t differs"
	tool 2 -U -j -l "$L" -u "$U"
	tool 2 -p --docker -l "$L" -u "$U"
	tool 2 --names --stat -l "$L" -u "$U"
}

same_is_none() {
	fresh
	lower_tree
	up
	tool 0 -l "$L" -u "$U"
	says "in use"
	down
	cp -a "$L/a" "$U/a"
	cp -a "$L/new" "$U/new"
	touch "$U/new"
	tool 0 -l "$L" -u "$U"
	eq "output" "" "$(cat "$T/out")"
	tool 0 -a -l "$L" -u "$U"
	prints "= a"
	prints "= new/"
	touch -d @7 "$U/a"
	tool 1 -v -l "$L" -u "$U"
	eq "a time" "M a (time)" "$(cat "$T/out")"
	cp -a "$L/a" "$U/a"
	! mknod "$U/not-there" c 0 0 || tool 0 -l "$L" -u "$U"
}

forms() {
	need_root
	fresh
	mkdir -p "$L/x" "$L/o" "$L/p" "$U/x" "$U/o" "$U/p"
	touch "$L/x/f" "$L/aufs" "$L/o/f" "$L/p/f"
	touch "$U/.wh.aufs" "$U/o/.wh..wh..opq" "$U/x/f"
	setfattr -n user.overlay.opaque -v x "$U/x"
	setfattr -n user.overlay.whiteout -v y "$U/x/f"
	setfattr -n user.fuseoverlayfs.opaque -v y "$U/p"
	tool 1 -l "$L" -u "$U"
	eq "changes" "D aufs
D o/f
D p/f
D x/f
O o/
O p/" "$(sort "$T/out")"
}

layers() {
	mkdir -p "$T/1/d" "$T/2/d" "$T/3/d"
	echo 3 >"$T/3/d/f"
	echo 2 >"$T/2/d/f"
	touch "$T/1/d/g" "$T/2/two"
	tool 1 -l "$T/1:$T/2:$T/3"
	eq "of layer 0" "A d/g" "$(cat "$T/out")"
	tool 1 --layers=1 -l "$T/1:$T/2:$T/3"
	eq "of layer 1" "M d/f A two" "$(words cat "$T/out")"
	tool 1 --layers=0-1 -l "$T/1:$T/2:$T/3"
	eq "of layers 0-1" "M d/f A d/g A two" "$(words cat "$T/out")"
	local range
	for range in --layers=0-1 "--from=0 --to=1" "--from=1 --to=0" --from=1 --to=1; do
		# shellcheck disable=SC2086
		tool 1 $range -l "$T/1:$T/2:$T/3"
		eq "$range" "M d/f A d/g A two" "$(words cat "$T/out")"
	done
	tool 1 --from=1 --to=1 -l "$T/1:$T/2:$T/3"
	eq "--from=1 --to=1" "M d/f A two" "$(words cat "$T/out")"
	tool 2 --from=3 -l "$T/1:$T/2:$T/3"
	tool 2 --from=1 --layers=1 -l "$T/1:$T/2:$T/3"
	tool 2 --layers=3 -l "$T/1:$T/2:$T/3"
	tool 2 --layers=1-0 -l "$T/1:$T/2:$T/3"
	tool 2
	tool 2 -l "$T/none"
}

# What is asked for by name alone; a path that is neither above nor below is an error.
paths() {
	fresh
	lower_tree
	mkdir "$L/etc"
	touch "$L/etc/x"
	up
	(
		cd "$M" || exit 1
		echo more >>kept/h
		touch kept/i etc/y
		rm -r gone
		mv moved-from moved
		rm -r new
		mkdir new
	)
	down
	tool 1 -l "$L" -u "$U" kept
	eq "below kept" "M kept/h A kept/i" "$(words cat "$T/out")"
	tool 1 -l "$L" -u "$U" /kept/i/ ./etc/./y
	eq "two files" "A kept/i A etc/y" "$(words cat "$T/out")"
	tool 1 -l "$L" -u "$U" gone/sub
	eq "in what is gone" "D gone/sub/" "$(cat "$T/out")"
	tool 1 -l "$L" -u "$U" new/sub/g
	eq "in what an opaque directory hides" "D new/sub/g" "$(cat "$T/out")"
	tool 0 -l "$L" -u "$U" same moved/sub/i moved/sub
	tool 1 -l "$L" -u "$U" moved
	eq "a renamed one" "R moved/ <- moved-from/" "$(cat "$T/out")"
	tool 2 -l "$L" -u "$U" nowhere kept
	says "'nowhere': No such file"
	prints "M kept/h"
	tool 2 -l "$L" -u "$U" a/b
	says "'a/b': Not a directory"
	tool 2 -l "$L" -u "$U" ../lower/a
	tool 1 -l "$L" -u "$U" /
	prints "A etc/y"
}

# Docker has no renamed directories: all in one is new. It names directories that only carry changes, but not the root.
docker() {
	fresh
	lower_tree
	mkdir -p "$L/carrier/deep"
	up
	(
		cd "$M" || exit 1
		echo more >>a
		rm -r gone link
		mkdir link
		mv moved-from moved
		echo more >>moved/sub/i
		touch carrier/deep/new
	)
	down
	tool 1 --docker -l "$L" -u "$U"
	eq "changes" "C /a
C /carrier
C /carrier/deep
A /carrier/deep/new
D /gone
C /link
A /moved
A /moved/sub
A /moved/sub/i
D /moved-from" "$(cat "$T/out")"
	tool 1 --docker -0 -l "$L" -u "$U" carrier
	eq "with NUL" "C /carrier C /carrier/deep A /carrier/deep/new " "$(tr '\0' ' ' <"$T/out")"
}

# Trees of any origin: the upper one has no marks, and what it lacks is gone.
deep() {
	fresh
	lower_tree
	cp -a "$L/." "$U"
	tool 0 --deep -l "$U:$L"
	rm -r "$U/gone" "$U/b"
	echo evil >"$U/kept/h"
	touch -r "$L/kept/h" "$U/kept/h"
	chmod 700 "$U/kept"
	rm "$U/link"
	mkdir "$U/link"
	touch "$U/kept/new"
	touch -d @1000.5 "$L/c" "$L/d"
	touch -d @1000 "$U/c"
	touch -d @1000.25 "$U/d"
	tool 1 --deep -v -l "$U:$L"
	eq "changes" "D b
M d (time)
D gone/
M kept/ (mode, time)
M kept/h (data, size)
A kept/new
T link/ (directory, was symlink)" "$(cat "$T/out")"
	tool 1 --deep -l "$U:$L" gone/f kept
	eq "paths" "D gone/f M kept/ M kept/h A kept/new" "$(words cat "$T/out")"
	mkdir -p "$T/top/kept"
	echo top >"$T/top/kept/h"
	tool 1 --deep --to=1 -l "$T/top:$U:$L" kept/h
	eq "two against one" "M kept/h" "$(cat "$T/out")"
}

metacopy() {
	need_root
	fresh
	echo data >"$L/f"
	echo other >"$L/g"
	chmod 644 "$L/f"
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,metacopy=on,redirect_dir=on"
	chmod 600 "$M/f"
	mv "$M/g" "$M/h"
	umount "$M"
	tool 1 -v -l "$L" -u "$U"
	prints "M f (mode)"
	prints "A h"
	prints "D g"
	tool 1 -U -l "$L" -u "$U"
	prints "+other"
}

data_only() {
	need_root
	fresh
	mkdir -p "$T/data/objects"
	echo "from data" >"$T/data/objects/1"
	echo old >"$L/f"
	truncate -s 10 "$U/f"
	setfattr -n trusted.overlay.metacopy "$U/f"
	setfattr -n trusted.overlay.redirect -v /objects/1 "$U/f"
	tool 1 -U -l "$L::$T/data" -u "$U"
	prints "+from data"
	tool 1 -U -o "lowerdir=$L,datadir+=$T/data,upperdir=$U"
	prints "+from data"
	tool 2 -U -l "$L" -u "$U"
	"$BUILD/plyfs-ls" -R -l "$L::$T/data" -u "$U" >"$T/out" || fail "no listing"
	eq "names" "0      - f" "$(cat "$T/out")"
	"$BUILD/plyfs-merge" --base -q -l "$L::$T/data" -u "$U" "$T/merged" || fail "no merge"
	eq "merged" "from data" "$(cat "$T/merged/f")"
}

# What two trees differ in, as the tool says it.
oracle=$(cat <<'END'
import os, stat, sys
old, new = sys.argv[1:]
def look(path):
    st = os.lstat(path)
    fmt = stat.S_IFMT(st.st_mode)
    data = None
    if stat.S_ISREG(st.st_mode): data = open(path, "rb").read()
    if stat.S_ISLNK(st.st_mode): data = os.readlink(path)
    xattrs = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
    time = None if stat.S_ISDIR(st.st_mode) else st.st_mtime_ns
    return fmt, (st.st_mode, st.st_uid, st.st_gid, data, xattrs, time)
def walk(rel):
    a, b = os.path.join(old, rel), os.path.join(new, rel)
    na = set(os.listdir(a)) if os.path.isdir(a) and not os.path.islink(a) else set()
    nb = set(os.listdir(b)) if os.path.isdir(b) and not os.path.islink(b) else set()
    for n in na | nb:
        p = os.path.join(rel, n)
        if n not in nb: print("D", p); continue
        tb, vb = look(os.path.join(new, p))
        if n not in na: print("A", p)
        else:
            ta, va = look(os.path.join(old, p))
            if ta != tb: print("T", p)
            elif va != vb: print("M", p)
        if stat.S_ISDIR(tb): walk(p)
walk("")
END
)

# An opaque directory's line says nothing about its attributes: of these, M is left out on both sides.
random_changes() {
	need_root
	local seed
	for seed in 1 2 3 4 5 6; do
		fresh
		play "$L" $((seed + 100)) 150
		up
		play "$M" $seed 120 norename
		python3 -c "$oracle" "$L" "$M" | sort >"$T/wanted"
		down
		tool 1 -l "$L" -u "$U"
		sed -n 's,^O \(.*\)/$,M \1,p' "$T/out" >"$T/opaque"
		diff <(grep -vxFf "$T/opaque" "$T/wanted") <(sed 's,/$,,' "$T/out" | grep -v '^[O]\|^M \.$' | grep -vxFf "$T/opaque" | sort) ||
			fail "seed $seed"
	done
}

# calls_over COUNT: system calls for a hundred changes over so many files; they are links of a few, to be made fast
calls_over() {
	fresh
	python3 - "$L" "$U" "$1" <<-'END' || fail "no tree"
		import os, sys
		lower, upper, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
		for i in range(count):
		    if i % 100 == 0:
		        os.mkdir(f"{lower}/{i // 100}")
		    name = f"{i // 100}/{i}"
		    if i % 20000 == 0:
		        open(f"{lower}/{name}", "w").write("below")
		        first = f"{lower}/{name}"
		    else:
		        os.link(first, f"{lower}/{name}")
		for i in range(0, 1000, 10):
		    os.makedirs(f"{upper}/{i // 100}", exist_ok=True)
		    open(f"{upper}/{i // 100}/{i}", "w").write("above")
	END
	"${traced[@]}" -f -o "$T/calls" "$prog" -q -l "$L" -u "$U" >"$T/out" 2>"$T/err"
	eq "changes over $1 files" 100 "$(grep -c '^M .*/' "$T/out")"
	calls=$(grep -cv ' \(brk\|mmap\|munmap\)(' "$T/calls")
}

# Not even a directory of the layers is listed.
cheap() {
	need strace
	local few calls
	calls_over 1000
	few=$calls
	calls_over "$([ -n "${PLY_LONG:-}" ] && echo 200000 || echo 20000)"
	eq "system calls" "$few" "$calls"
	[ "$calls" -lt 3000 ] || fail "$calls system calls for 100 changes"
	! grep getdents "$T/calls" | grep -qv '= 0$\|= [1-9][0-9]\{0,2\}$' || fail "a large directory is listed"
}

hostile() {
	need_root
	fresh
	mkdir "$T/outside" "$U/d"
	echo secret >"$T/outside/f"
	ln -s "$T/outside" "$U/link"
	ln -s "$T/outside" "$L/d"
	setfattr -n trusted.overlay.redirect -v "/../../outside" "$U/d"
	touch "$U"/$'esc\e[2Jape\n' "$U"/$'\377'
	tool 2 -U -l "$L" -u "$U"
	says "a mark there makes no sense"
	nothing_raw
	prints_not secret
	prints 'A esc\x1b[2Jape\x0a'
	setfattr -x trusted.overlay.redirect "$U/d"
	tool 1 -j -l "$L" -u "$U"
	json
	prints '{"change":"A","kind":"file","path":"\udcff","size":0}'
	tool 1 -0 -l "$L" -u "$U"
	eq "names" 4 "$(tr -cd '\0' <"$T/out" | wc -c)"
}

plain_user() {
	need_root
	fresh
	lower_tree
	cp -r "$L/." "$U"
	echo x >"$U/a"
	chown -R 12345 "$L" "$U"
	chmod 0 "$U/kept"
	as_user "$prog" -l "$L" -u "$U" >"$T/out" 2>"$T/err"
	eq "status" 2 $?
	prints "M a"
	says "trusted"
	says "'kept': Permission denied"
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr python3 patch
check "a letter for each kind of change, reasons, numbers, JSON" letters
check "text differences that patch takes; binary and large files are named" text
check "what was brought up and is as below is no change" same_is_none
check "whiteouts and opaque directories of all forms" forms
check "what some layers change against the rest" layers
check "only what is at and below the paths that are given" paths
check "lines as docker diff prints them" docker
check "two trees of any origin" deep
check "files whose data is below, and renamed ones" metacopy
check "data-only layers" data_only
check "random changes are told as another comparison of the two trees tells them" random_changes
check "it costs what changed, not what exists" cheap
check "no redirect or symlink leads out, nothing is printed raw" hostile
check "a plain user's layers" plain_user
finish
