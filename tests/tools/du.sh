#!/bin/bash
# plyfs-du: the bytes of each layer, counted once, and those of them that nobody sees.
# timeout: 300
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-du

# number LAYER FIELD: of the JSON output; LAYER "total" for the sum
number() {
	python3 -c 'import json, sys
for line in map(json.loads, open(sys.argv[1])):
    if line["type"] == "summary": line["layer"] = "total"
    if str(line["layer"]) == sys.argv[2]:
        print(line[sys.argv[3]])' "$T/out" "$1" "$2"
}

numbers() {
	fresh
	mkdir -p "$L/gone" "$L/ren"
	head -c 10000 /dev/zero >"$L/a"
	head -c 5000 /dev/zero >"$L/gone/f"
	head -c 3000 /dev/zero >"$L/ren/g"
	ln "$L/a" "$L/a2"
	echo kept >"$L/k"
	up
	rm -r "$M/gone"
	mv "$M/ren" "$M/moved"
	echo x >"$M/new"
	ln "$M/new" "$M/new2"
	rm "$M/a2"
	down
	tool 0 -j --apparent-size -l "$L" -u "$U"
	json
	eq "upper" "2 0 1 1" "$(number 0 bytes) $(number 0 hidden_bytes) $(number 0 directories) $(number 0 files)"
	eq "whiteouts" 3 "$(number 0 whiteouts)"
	# a2 is hidden, but a is the same file.
	eq "lower" "18005 5000 4 2" "$(number 1 bytes) $(number 1 hidden_bytes) $(number 1 files) $(number 1 directories)"
	eq "total" 18007 "$(number total bytes)"
	tool 0 -j -l "$L" -u "$U"
	eq "as du says" "$(find "$L" -type f -exec du -B1 -c {} + | tail -n 1 | cut -f1)" "$(number 1 bytes)"
	tool 0 -h --apparent-size -l "$L" -u "$U"
	grep -q "17.6 KiB" "$T/out" || fail "$(cat "$T/out")"
	grep -q "^total" "$T/out" || fail "$(cat "$T/out")"
}

metacopy() {
	need_root
	fresh
	head -c 100000 /dev/zero >"$L/f"
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,metacopy=on"
	chmod 600 "$M/f"
	umount "$M"
	tool 0 -j -l "$L" -u "$U"
	eq "hidden while its data is shown" 0 "$(number 1 hidden_bytes)"
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,metacopy=on"
	rm "$M/f"
	umount "$M"
	tool 0 -j --apparent-size -l "$L" -u "$U"
	eq "hidden by a whiteout" 100000 "$(number 1 hidden_bytes)"
}

# The second of two: with nobody to see them, with another name that is seen, or seen elsewhere.
largest() {
	need_root
	fresh
	mkdir -p "$L/gone" "$L/moved"
	head -c 7000 /dev/zero >"$L/gone/g"
	head -c 9000 /dev/zero >"$L/a"
	head -c 8000 /dev/zero >"$L/linked"
	ln "$L/linked" "$L/linked2"
	head -c 6000 /dev/zero >"$L/moved/m"
	head -c 5000 /dev/zero >"$L/meta"
	head -c 4000 /dev/zero >"$L/hard"
	ln "$L/hard" "$L/hard2"
	up
	rm -r "$M/gone"
	echo new >"$M/a"
	rm "$M/linked"
	mv "$M/moved" "$M/here"
	rm "$M/hard" "$M/hard2"
	down
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,metacopy=on,redirect_dir=on"
	chmod 600 "$M/meta"
	umount "$M"
	tool 0 --apparent-size --largest=9 -l "$L" -u "$U" -w "$W"
	eq "hidden files" "1     9000  a  (hidden by file a in layer 0)
1     7000  gone/g  (hidden by whiteout gone in layer 0)
1     4000  hard  (hidden by whiteout hard in layer 0)" "$(sed -n '/hidden file/,$p' "$T/out" | tail -n +2 | sed 's/  *\([0-9]* *[a-z]\)/     \1/')"
	tool 0 -j --apparent-size --largest=2 -l "$L" -u "$U" -w "$W"
	json
	eq "objects" "layer layer hidden hidden summary" "$(python3 -c 'import json, sys; print(*(json.loads(l)["type"] for l in open(sys.argv[1])))' "$T/out")"
	prints '{"type":"hidden","bytes":7000,"layer":1,"path":"gone/g","hidden_by":"whiteout","hidden_in":0,"hidden_at":"gone"}'
	tool 0 --largest=0 -l "$L" -u "$U"
	tool 2 --largest=x -l "$L" -u "$U"
}

# What was copied up for a mode, or made again as it was, against what was written.
unchanged() {
	fresh
	mkdir "$L/d"
	head -c 10000 /dev/urandom >"$L/a"
	head -c 20000 /dev/urandom >"$L/d/b"
	head -c 40000 /dev/urandom >"$L/written"
	head -c 80000 /dev/urandom >"$L/left"
	cp -r "$L/d" "$T/copy"
	mkdir "$T/mid" "$T/mid/d"
	cp "$L/d/b" "$T/mid/d/b"
	up
	cp "$L/a" "$T/a"
	rm "$M/a"
	cp "$T/a" "$M/a"
	ln "$M/a" "$M/a2"
	rm -r "$M/d"
	cp -r "$T/copy" "$M/d"
	printf x | dd of="$M/written" conv=notrunc status=none
	down
	tool 0 -j --apparent-size --unchanged -l "$L" -u "$U"
	eq "unchanged" 30000 "$(number 0 unchanged_bytes)"
	eq "of all" 30000 "$(python3 -c 'import json, sys; print([json.loads(l) for l in open(sys.argv[1])][-1]["unchanged_bytes"])' "$T/out")"
	tool 0 -j --apparent-size --unchanged -l "$T/mid:$L"
	eq "in the middle" 20000 "$(number 0 unchanged_bytes)"
	tool 0 -v --apparent-size -l "$L" -u "$U"
	grep -q "^layer  *bytes  *hidden  *unchanged  *shared " "$T/out" || fail "$(cat "$T/out")"
	grep -q "^1  *40000  written  (hidden by file written in layer 0)$" "$T/out" || fail "$(cat "$T/out")"
}

# On a file system that can, and on one that says nothing.
shared() {
	need_root
	loopfs "$T/fs" 400M mkfs.xfs -q
	mkdir "$T/fs/top" "$T/fs/base" "$T/mem"
	head -c 300000 /dev/urandom >"$T/fs/base/f"
	head -c 100000 /dev/urandom >"$T/fs/base/own"
	cp --reflink=always "$T/fs/base/f" "$T/fs/top/f"
	sync -f "$T/fs/top/f"
	tool 0 -j --shared -l "$T/fs/top:$T/fs/base"
	eq "shared" "303104 303104" "$(number 0 shared_bytes) $(number 1 shared_bytes)"
	printf x | dd of="$T/fs/top/f" conv=notrunc,fsync status=none
	tool 0 -j --shared -l "$T/fs/top:$T/fs/base"
	eq "after a write" "299008 299008" "$(number 0 shared_bytes) $(number 1 shared_bytes)"
	umount "$T/fs"
	mount -t tmpfs tmpfs "$T/mem"
	echo f >"$T/mem/f"
	tool 0 --shared -l "$T/mem"
	umount "$T/mem"
	grep -q "^0  *[0-9]*  *0  *?  *1 " "$T/out" || fail "$(cat "$T/out")"
}

forms() {
	need_root
	fresh
	mkdir -p "$U/x" "$L/x"
	touch "$U/.wh.a" "$U/x/f" "$L/x/f" "$L/a"
	setfattr -n user.overlay.opaque -v x "$U/x"
	setfattr -n user.overlay.whiteout -v y "$U/x/f"
	tool 0 -j -l "$L" -u "$U"
	eq "whiteouts, files" "2 0" "$(number 0 whiteouts) $(number 0 files)"
}

plain_user() {
	need_root
	fresh
	mkdir "$L/closed" "$L/open"
	echo f >"$L/open/f"
	chown -R 12345 "$L"
	chmod 0 "$L/closed"
	as_user "$prog" -l "$L" >"$T/out" 2>"$T/err"
	eq "status" 2 $?
	says "'closed': Permission denied"
	eq "mode" 0 "$(stat -c %a "$L/closed")"
	grep -q "^total" "$T/out" || fail "no numbers"
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr python3
check "bytes, hidden bytes, hard links, renamed directories" numbers
check "data that a file above shows is not hidden" metacopy
check "the largest files that nobody sees" largest
check "files that were copied up without a change of their data" unchanged
check "extents that files share" shared
check "whiteouts of all forms" forms
check "a plain user's layers; what is closed stays closed" plain_user
finish
