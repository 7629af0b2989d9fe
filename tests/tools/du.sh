#!/bin/bash
# plyfs-du: the bytes of each layer, counted once, and those of them that nobody sees.
# timeout: 300
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-du

# number LAYER FIELD: of the JSON output; LAYER "total" for the sum
number() {
	python3 -c 'import json, sys
for line in map(json.loads, open(sys.argv[1])):
    if str(line.get("layer", "total")) == sys.argv[2]:
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
check "whiteouts of all forms" forms
check "a plain user's layers; what is closed stays closed" plain_user
check "help, version, usage" common_words
finish
