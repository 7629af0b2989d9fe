#!/bin/bash
# plyfs-ls: each name with its layers, what is hidden with what hides it, and nothing that the stack does not show.
# timeout: 600
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-ls

stack() {
	fresh
	mkdir -p "$L/gone" "$L/kept" "$L/new/sub" "$L/ren" "$T/second/kept"
	for f in a b gone/f kept/h new/sub/g ren/j; do echo below >"$L/$f"; done
	touch "$T/second/kept/h" "$T/second/b"
	up
	(
		cd "$M" || exit 1
		echo more >>a
		rm -r b gone new
		mkdir new
		echo z >new/z
		mv ren moved
	)
	down
}

names() {
	stack
	tool 0 -l "$L:$T/second" -u "$U"
	eq "the root" "0      - a
1+2    d kept
0+1    d moved
0      d new" "$(cat "$T/out")"
	tool 0 -R -l "$L:$T/second" -u "$U"
	prints "1      - moved/j"
	prints "0      - new/z"
	prints_not "new/sub"
	tool 0 -l "$L:$T/second" -u "$U" /kept/ moved/j
	eq "two paths" "1      - h 1      - j" "$(words cat "$T/out")"
	tool 0 -d -v -l "$L:$T/second" -u "$U" kept
	grep -q "^1+2    drwxr-xr-x  *2 0:0  *4096 20[0-9-]* [0-9:]* kept$" "$T/out" || fail "$(cat "$T/out")"
}

# As ls says it, but with numbers for owners.
long() {
	fresh
	: >"$L/f"
	ln "$L/f" "$L/hard"
	ln -s $'to\e' "$L/link"
	mkfifo "$L/pipe"
	mkdir "$L/dir"
	chmod 1777 "$L/dir"
	chmod 4711 "$L/f"
	chmod 2640 "$L/pipe"
	touch -d "1999-01-02 03:04:05" "$L/f"
	tool 0 --long -l "$L"
	ls -ln --time-style=long-iso "$L" | sed -n 's/^\([^ ]*\) *\([0-9]*\) \([0-9]*\) *\([0-9]*\) *\([0-9]*\) /\1 \2 \3:\4 \5 /p' |
		sed 's/\x1b/\\x1b/' >"$T/wanted"
	sed 's/^0  *//; s/  */ /g' "$T/out" | diff "$T/wanted" - || fail "not as ls says"
	nothing_raw
	cp "$T/out" "$T/wanted"
	tool 0 -v -l "$L"
	cmp "$T/wanted" "$T/out" || fail "-v is not --long"
	tool 0 -j --long -l "$L"
	json
	grep -q '"path":"f","mode":2505,"uid":0,"gid":0,"size":0,"links":2,"mtime":915246245.000000000}' "$T/out" || fail "$(cat "$T/out")"
	grep -q '"target":"to\\u001b"}' "$T/out" || fail "$(cat "$T/out")"
	prints '{"type":"summary","names":5,"whiteouts":0,"hidden":0}'
	tool 0 --long -l "$L" f
	eq "a file by itself" 1 "$(grep -c "^0      -rws--x--x .* f$" "$T/out")"
}

hidden() {
	stack
	tool 0 -H -l "$L:$T/second" -u "$U"
	prints "0      d new  (opaque in layer 0)"
	prints "0+1    d moved  (ren in layer 1)"
	cp "$T/out" "$T/by-H"
	tool 0 -a -l "$L:$T/second" -u "$U"
	cmp "$T/by-H" "$T/out" || fail "-a is not -H"
	tool 0 -a -R -l "$L:$T/second" -u "$U"
	prints "0      w b"
	prints "1      - a  (hidden by file a in layer 0)"
	prints "2      - b  (hidden by whiteout b in layer 0)"
	prints "1      - gone/f  (hidden by whiteout gone in layer 0)"
	prints "1      d new  (hidden by opaque directory new in layer 0)"
	prints "1      - new/sub/g  (hidden by opaque directory new in layer 0)"
	prints "2      - kept/h  (hidden by file kept/h in layer 1)"
	tool 0 -a -l "$L:$T/second" -u "$U" gone/f
	eq "a hidden path" "1      - f  (hidden by whiteout gone in layer 0)" "$(cat "$T/out")"
	tool 2 -l "$L:$T/second" -u "$U" gone
	says "No such file"
	tool 2 -a -l "$L:$T/second" -u "$U" nowhere
	tool 0 -j -R -a -l "$L:$T/second" -u "$U"
	json
	grep -q '"kind":"whiteout","layers":\[0\],"path":"b"' "$T/out" || fail "$(cat "$T/out")"
	grep -q '"hidden_by":"opaque","hidden_in":0,"hidden_at":"new"' "$T/out" || fail "$(cat "$T/out")"
}

# shown: what the mount on $M shows is what the tool lists, and from the layers that it says
shown() {
	(cd "$M" && find . -mindepth 1 -printf '%P\n' | sort) >"$T/wanted"
	tool 0 -R -0 "$@"
	tr '\0' '\n' <"$T/out" | sort | diff "$T/wanted" - || fail "another tree: $*"
	tool 0 -R -j "$@"
	# shellcheck disable=SC2016
	python3 -c '
import json, os, stat, sys
layers, at = sys.argv[2].split(":"), sys.argv[3]
for line in open(sys.argv[1]):
    entry = json.loads(line)
    if "type" in entry:
        continue
    st = os.lstat(os.path.join(at, entry["path"]))
    assert st.st_mode & 0o7777 == entry["mode"] and st.st_uid == entry["uid"], line
    if entry["kind"] == "file":
        assert st.st_size == entry["size"], line
' "$T/out" "$grown" "$M" || fail "other attributes: $*"
}

like_plyfs() {
	need_root
	local seed
	for seed in 1 2 3; do
		grow $seed 4
		mount_at "$M" "lowerdir=$grown" || fail "no mount"
		shown -l "$grown"
		down
	done
}

like_overlayfs() {
	need_root
	local seed kernel=redirect_dir=on,metacopy=on
	for seed in 4 5 6; do
		grow $seed 4
		overlay "lowerdir=$grown,$kernel"
		shown -l "$grown"
		umount "$M"
	done
}

deep() {
	fresh
	deepen "$L" 3000
	tool 0 -R -l "$L" -u "$U"
	eq "lines" 3001 "$(wc -l <"$T/out")"
}

hostile() {
	need_root
	fresh
	mkdir -p "$T/outside" "$U/up/down" "$L/up"
	touch "$T/outside/secret" "$L/up/f"
	ln -s "$T/outside" "$L/link"
	ln -s "$T/outside" "$L/down"
	setfattr -n trusted.overlay.redirect -v "/link" "$U/up"
	touch "$U"/$'esc\e[2J'
	tool 0 -R -l "$L" -u "$U"
	prints_not secret
	nothing_raw
	tool 2 -l "$L" -u "$U" link/secret
	setfattr -n trusted.overlay.redirect -v "../outside" "$U/up"
	tool 2 -R -l "$L" -u "$U"
	says "makes no sense"
}

# A mark .wh.NAME whose name is the directory itself, or the one above it, is followed nowhere by any program.
marks_of_dots() {
	fresh
	mkdir -p "$T/up/d" "$L/d"
	touch "$T/up/.wh.." "$T/up/.wh..." "$T/up/d/.wh.." "$T/up/d/.wh..." "$L/d/f"
	tool 0 -R -a -l "$T/up:$L"
	eq "ls" "0+1    d d 1      - d/f" "$(words cat "$T/out")"
	prog=$BUILD/plyfs-du tool 0 -j -l "$T/up:$L"
	prog=$BUILD/plyfs-diff tool 0 -l "$T/up:$L"
	eq "diff" "" "$(cat "$T/out")"
	prog=$BUILD/plyfs-merge tool 0 -l "$T/up:$L" "$T/merged"
	eq "merge" "d d/f" "$(cd "$T/merged" && words find . -mindepth 1 -printf '%P\n')"
	prog=$BUILD/plyfs-vacuum tool 0 -n -l "$L" -u "$T/up" -w "$W"
	prog=$BUILD/plyfs-convert tool 2 -n --to=overlay-user "$T/up"
}

# Each redirect leads to two more below: without a bound that would be 2^30 searches.
many_redirects() {
	need_root
	local i lowers=
	for i in {1..17}; do
		mkdir -p "$T/r$i/a/a"
		setfattr -n trusted.overlay.redirect -v /a/a "$T/r$i/a" "$T/r$i/a/a"
		lowers=$lowers:$T/r$i
	done
	timeout 20 "$prog" -R -l "${lowers#:}" >"$T/out" 2>"$T/err"
	eq "status" 2 $?
	says "Too many levels"
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr python3
check "names with their layers" names
check "attributes as ls says them" long
check "what is hidden, and by what" hidden
check "the tree that plyfs shows, after random changes in four layers with renames" like_plyfs
check "the tree that overlayfs shows, after random changes with redirects and metacopy" like_overlayfs
check "any depth" deep
check "no redirect or symlink leads out, nothing is printed raw" hostile
check "no mark of a directory itself or of its parent leads out" marks_of_dots
check "redirects that multiply are given up" many_redirects
finish
