#!/bin/bash
# plyfs-snapshot: an upper becomes a layer, which shows the same wherever it is stacked.
. "$(dirname "$0")/lib.sh"
need_root

made_layer() {
	sample "$L"
	echo linked >"$L/first"
	up
	change "$M"
	echo new >"$M/new"
	ln "$M/new" "$M/deep/new-too"
	rm -r "$M/many"
	mkdir "$M/many"
	touch "$M/many/fresh"
	tree_of "$M" >"$D/tree"
	down
	local was
	was=$(mark "$U")
	timeout -k 1 60 "$snapshot" "$U" "$D/layer" >"$D/out" 2>&1 </dev/null || fail "plyfs-snapshot: $(cat "$D/out")"
	eq "the upper" "$was" "$(mark "$U")"
}

# shows LAYERS: mounted read-only and with a fresh upper they show what was seen
shows() {
	mount_at "$M" "lowerdir=$1" || fail "no mount: $(cat "$T/mount.log")"
	diff "$D/tree" <(tree_of "$M") || fail "$1 shows (>) something else"
	down
	mkdir "$D/upper2" "$D/work2"
	touch -r "$D/layer" "$D/upper2"
	mount_at "$M" "lowerdir=$1,upperdir=$D/upper2,workdir=$D/work2" || fail "no mount: $(cat "$T/mount.log")"
	diff "$D/tree" <(tree_of "$M") || fail "$1 below an upper shows (>) something else"
	local layer
	layer=$(mark "$D/layer")
	echo x >>"$M/new"
	eq "links after a copy-up" "2 2" "$(words stat -c %h "$M/new" "$M/deep/new-too")"
	rm -r "${M:?}/etc"
	touch "$M/new2"
	down
	eq "the layer" "$layer" "$(mark "$D/layer")"
}

same_tree() {
	made_layer
	shows "$D/layer:$L"
}

upper_goes_on() {
	made_layer
	up
	diff "$D/tree" <(tree_of "$M") || fail "the upper shows (>) something else"
	echo later >"$M/later"
	again
	eq "what came later" later "$(cat "$M/later")"
	down
	eq "in the layer" "" "$(find "$D/layer" -name later)"
	shows "$D/layer:$L"
}

kept() {
	mkdir "$L/d" "$L/e"
	touch "$L"/d/{a,b,c} "$L/e/x"
	up
	truncate -s 64M "$M/sparse"
	echo x | dd of="$M/sparse" bs=1M seek=30 conv=notrunc status=none
	rm "$M"/d/{a,b}
	rm -r "$M/e"
	mkdir "$M/e"
	cp /bin/true "$M/cap"
	setcap cap_net_raw=ep "$M/cap"
	setfattr -n user.x -v y "$M/cap"
	setfattr -n trusted.x -v y "$M/cap"
	setfacl -m u:77:r "$M/cap"
	touch -d '1999-01-02 03:04:05.678901234' "$M/cap"
	down
	"$snapshot" "$U" "$D/layer" >"$D/out" 2>&1 </dev/null || fail "plyfs-snapshot: $(cat "$D/out")"
	[ "$(stat -c %b "$D/layer/sparse")" -lt 2048 ] || fail "the holes are filled"
	eq "whiteouts" "character special file" "$(stat -c %F "$D"/layer/d/{a,b} | sort -u)"
	eq "opaque" y "$(getfattr --absolute-names --only-values -n trusted.overlay.opaque "$D/layer/e")"
	alike "attributes" "$(cd "$U" && stat -c '%a %u:%g %.9Y' cap && getfattr -d -m - -e hex cap)" \
		"$(cd "$D/layer" && stat -c '%a %u:%g %.9Y' cap && getfattr -d -m - -e hex cap)"
	mount -t overlay overlay -o "ro,lowerdir=$D/layer:$L" "$M" || skip "the kernel does not mount an overlay here"
	eq "in the kernel" "cap d d/c e sparse" "$(names "$M")"
}

refusals() {
	touch "$L/f"
	up
	echo x >"$M/g"
	"$snapshot" "$U" "$D/layer" >"$D/out" 2>&1 </dev/null
	eq "exit status for a mounted upper" 3 $?
	grep -qF "$U" "$D/out" || fail "the message does not name it: $(cat "$D/out")"
	[ ! -e "$D/layer" ] || fail "something was made"
	eq "the mount goes on" x "$(cat "$M/g")"
	down
	mkdir "$D/full" "$D/empty"
	touch "$D/full/f"
	"$snapshot" "$U" "$D/full" >"$D/out" 2>&1 </dev/null && fail "a directory that is not empty was taken"
	eq "what is in it" f "$(names "$D/full")"
	"$snapshot" "$U" "$U/layer" >"$D/out" 2>&1 </dev/null && fail "a layer inside the upper was made"
	"$snapshot" "$D/none" "$D/layer" >"$D/out" 2>&1 </dev/null && fail "an upper that is not there was taken"
	"$snapshot" "$U" "$D/empty" >"$D/out" 2>&1 </dev/null || fail "an empty directory was refused: $(cat "$D/out")"
	eq "the layer" g "$(names "$D/empty")"
}

# Layer upon layer, as builds do it.
chain() {
	local i stack=$L
	echo 0 >"$L/count"
	mkdir "$L/d"
	for i in {1..8}; do
		rm -rf "$U" "$W"
		mkdir "$U" "$W"
		mount_at "$M" "lowerdir=$stack,upperdir=$U,workdir=$W" || fail "no mount: $(cat "$T/mount.log")"
		echo $i >>"$M/count"
		touch "$M/d/$i"
		[ $((i % 3)) != 0 ] || { rm -r "$M/d" && mkdir "$M/d"; }
		down
		"$snapshot" "$U" "$D/layer$i" >"$D/out" 2>&1 </dev/null || fail "plyfs-snapshot: $(cat "$D/out")"
		stack=$D/layer$i:$stack
	done
	mount_at "$M" "lowerdir=$stack" || fail "no mount: $(cat "$T/mount.log")"
	eq "names" "count d d/7 d/8" "$(names "$M")"
	eq "content" "0 1 2 3 4 5 6 7 8" "$(words cat "$M/count")"
}

holds "a snapshot shows the same tree, as the top layer of any stack" same_tree
holds "the upper goes on as before, apart from its snapshot" upper_goes_on
holds "holes, whiteouts, opaque marks, xattrs and times are kept" kept
holds "a mounted upper, a full directory and nonsense are refused" refusals
holds "snapshots stack up" chain
finish
