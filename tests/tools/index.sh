#!/bin/bash
# A file that was brought up by one of its hard links is shown by all of them: the tools follow the index as the mount does.
# timeout: 300
. "$(dirname "$0")/libtools.sh"

merge=$BUILD/plyfs-merge ls=$BUILD/plyfs-ls diff=$BUILD/plyfs-diff du=$BUILD/plyfs-du

# Of the names of a lower file one is written, one removed, one is in a renamed directory; others are not touched.
lower_tree() {
	mkdir -p "$L/d/e" "$L/moved" "$L/quiet"
	head -c 5000 /dev/zero >"$L/a"
	ln "$L/a" "$L/d/e/b"
	ln "$L/a" "$L/gone"
	ln "$L/a" "$L/moved/c"
	echo other >"$L/o1"
	ln "$L/o1" "$L/quiet/o2"
	# One name of these goes, and nothing is brought up.
	echo three >"$L/t1"
	ln "$L/t1" "$L/t2"
	ln "$L/t1" "$L/quiet/t3"
	echo lone >"$L/lone"
	ln "$L/lone" "$L/quiet/lone2"
}

change() {
	echo up >>"$M/a"
	chmod 600 "$M/a"
	rm "$M/gone" "$M/t1"
	mv "$M/moved" "$M/new"
	# Both of its upper names go; only one in a lower layer is left.
	echo up >>"$M/lone"
	rm "$M/lone"
}

# attributes NAME: of the mount on $M, as the tool's JSON has them
attributes() {
	python3 -c 'import json, os, sys
for dir, subs, files in os.walk(sys.argv[1]):
    for f in files:
        path = os.path.join(dir, f)
        st = os.lstat(path)
        print(os.path.relpath(path, sys.argv[1]), oct(st.st_mode & 0o7777), st.st_size, st.st_nlink)' "$M" | sort
}

listed() {
	python3 -c 'import json, sys
for line in map(json.loads, open(sys.argv[1])):
    if line.get("kind") == "file":
        print(line["path"], oct(line["mode"]), line["size"], line["links"])' "$T/out" | sort
}

# remember: what the mount shows
remember() {
	attributes >"$T/shown"
	rm -rf "$T/was"
	cp -a "$M" "$T/was"
}

# told ARGUMENT...: what each tool tells of the stack, while $T/shown has what the mount shows
told() {
	prog=$ls
	tool 0 -R -j "$@"
	json
	listed | diff "$T/shown" - || fail "plyfs-ls $* lists others than the mount"
	tool 0 -R "$@"
	prints "0      - d/e/b"
	prints "1      - quiet/o2"
	tool 0 -H "$@" d/e/b
	eq "b" "0      - b  (the name is in layer 1)
1      - b  (hidden: the file was brought up by another of its names)" "$(cat "$T/out")"
	prog=$diff
	tool 1 -v "$@"
	eq "changes" "M a (data, size, mode, time)
M d/e/b (data, size, mode, time)
D gone
D lone
D moved/
R new/ <- moved/
M new/c (data, size, mode, time)
M quiet/lone2 (data, size, time)
D t1" "$(sed -E 's, \(time\)$,,; s,(<- moved/) \(.*,\1,' "$T/out")"
	tool 1 -p "$@" d/e
	eq "lines" 1 "$(grep -c '^M d/e/b$' "$T/out")"
	tool 0 "$@" quiet/o2
	prog=$du
	tool 0 -j --apparent-size "$@"
	# The upper has the two files, one of which has no name there; of the layer they are hidden. The kernel brings
	# up what loses a name, too.
	eq "usage" "$([ -n "${kernel:-}" ] && echo 5017 0 3 5017 5011 4 || echo 5011 0 2 5017 5005 4)" "$(python3 -c 'import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
print(*(row[key] for row in rows[:2] for key in ("bytes", "hidden_bytes", "files")))' "$T/out")"
}

# Merged, they are one file with the names that the mount shows.
merged() {
	prog=$merge
	rm -rf "$T/merged"
	tool 0 --base "$@" "$T/merged"
	same "$T/was" "$T/merged"
	eq "one file" "3" "$(stat -c %h "$T/merged/a")"
	eq "all of it" "$(stat -c %i "$T/merged/a")" "$(stat -c %i "$T/merged/d/e/b")"
	eq "alone" 1 "$(stat -c %h "$T/merged/quiet/lone2")"
}

of_plyfs() {
	fresh
	lower_tree
	up
	change
	remember
	grep -q "^d/e/b 0o600 5003 3$" "$T/shown" || fail "no index: $(cat "$T/shown")"
	told -m "$M"
	down
	merged -l "$L" -u "$U" -w "$W"
	told -l "$L" -u "$U" -w "$W"
	told -o "lowerdir=$L,upperdir=$U,workdir=$W"
}

of_the_kernel() {
	local kernel=index=on,redirect_dir=on
	need_root
	fresh
	lower_tree
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,$kernel"
	change
	remember
	umount "$M"
	merged -l "$L" -u "$U" -w "$W"
	told -l "$L" -u "$U" -w "$W"
	fresh
	lower_tree
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,$kernel,nfs_export=on"
	change
	remember
	umount "$M"
	merged -l "$L" -u "$U" -w "$W"
	told -l "$L" -u "$U" -w "$W"
}

# The data of a file that is only metadata is at each of its names below.
without_data() {
	need_root
	fresh
	lower_tree
	overlay "lowerdir=$L,upperdir=$U,workdir=$W,index=on,metacopy=on,redirect_dir=on"
	chmod 600 "$M/o1"
	umount "$M"
	prog=$diff
	tool 1 -v -l "$L" -u "$U" -w "$W"
	prints "M o1 (mode)"
	prints "M quiet/o2 (mode)"
	prog=$du
	tool 0 -j -l "$L" -u "$U" -w "$W"
	eq "hidden" 0 "$(python3 -c 'import json, sys; print(sum(json.loads(l)["hidden_bytes"] for l in open(sys.argv[1])))' "$T/out")"
}

# Only who says where it is, and whose stack it is, gets what it says.
not_followed() {
	local args=(-l "$L" -u "$U")
	fresh
	lower_tree
	up
	change
	down
	prog=$ls
	tool 0 -R "${args[@]}"
	prints "1      - d/e/b"
	says "without its work directory (-w)"
	tool 0 -q -R "${args[@]}"
	eq "said with -q" "" "$(cat "$T/err")"
	tool 0 -R -o "lowerdir=$L,upperdir=$U,workdir=$W,index=off"
	prints "1      - d/e/b"
	eq "said with index=off" "" "$(cat "$T/err")"
	cp -a "$L" "$T/other"
	tool 0 -R -l "$T/other" -u "$U" -w "$W"
	prints "1      - d/e/b"
	says "belongs to another stack"
	mount_at "$M" "lowerdir=$L,upperdir=$U,workdir=$W,index=off" || fail "no mount"
	tool 0 -R -m "$M"
	prints "1      - d/e/b"
	down
	prog=$diff
	tool 0 --layers=1 -l "$L:$T/other" -u "$U" -w "$W"
	tool 2 -l "$L" -u "$U" -w "$T/none"
	says "cannot read the index"
	fresh
	echo f >"$L/f"
	up
	echo up >>"$M/f"
	down
	tool 1 -l "$L" -u "$U"
	eq "said where there is none" "" "$(cat "$T/err")"
}

# Entries are only names until the layer's own inode says so: what is planted leads nowhere else.
hostile() {
	local entry
	fresh
	lower_tree
	up
	echo up >>"$M/a"
	down
	entry=$(ls "$W/index")
	rm "$W/index/$entry" "$U/a"
	ln -s "$T" "$W/index/$entry"
	prog=$ls
	tool 0 -R -l "$L" -u "$U" -w "$W"
	prints "1      - d/e/b"
	rm "$W/index/$entry"
	mkdir "$W/index/$entry"
	touch "$W/index/$entry/f" "$W/index/"$'\e[2J' "$W/index/#1"
	tool 0 -R -l "$L" -u "$U" -w "$W"
	prints "1      - d/e/b"
	nothing_raw
}

need python3
check "the index of a mount by plyfs" of_plyfs
check "the index of a mount by the kernel, for NFS too" of_the_kernel
check "a file in it that is only metadata" without_data
check "it is not followed where it is not known, not wanted, or another stack's" not_followed
check "what is planted in it leads nowhere" hostile
finish
