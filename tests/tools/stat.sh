#!/bin/bash
# plyfs-stat: what a running mount tells; and the other tools' -m, which ask it for its stack.
# timeout: 120
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-stat

# field EXPRESSION: of the JSON object in $T/out, as d
field() {
	python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
print(eval(sys.argv[2]))' "$T/out" "$1"
}

stacked() {
	fresh
	echo low >"$L/a"
	up
	echo up >>"$M/a"
	mkdir "$M/d"
}

numbers() {
	stacked
	tool 0 "$M"
	prints "layer 0        upper $U"
	prints "layer 1        lower $L"
	grep -q '^copy-ups  *1, ' "$T/out" || fail "copy-ups: $(cat "$T/out")"
	tool 0 -j "$M"
	json
	eq "layers" "[(0, 'upper', '$U'), (1, 'lower', '$L')]" "$(field "[(l['layer'], l['role'], l['path']) for l in d['layers']]")"
	eq "MKDIR" 1 "$(field "d['requests']['MKDIR']")"
	eq "states" "True False False" "$(field "d['writeback'], d['readonly'], d['frozen']" | tr -d '(),')"
	: >"$M/e"
	: >"$M/f"
	tool 0 -j "$M"
	eq "MKNOD" 2 "$(field "d['requests']['MKNOD']")"
	down
}

watched() {
	stacked
	(
		sleep 0.5
		mkdir "$M/later"
	) &
	tool 0 -w 1 -n 2 -j "$M"
	wait
	eq "intervals" 2 "$(wc -l <"$T/out")"
	[ "$(python3 -c 'import json, sys
print(sum(json.loads(line)["requests"] for line in open(sys.argv[1])))' "$T/out")" -ge 2 ] || fail "requests: $(cat "$T/out")"
	tool 0 -w 1 -n 1 "$M"
	eq "heading and a line" 2 "$(wc -l <"$T/out")"
	down
}

names() {
	fresh
	mkdir -p "$L/d" "$T/base/d"
	echo low >"$L/d/a"
	echo low >"$T/base/d/b"
	echo low >"$T/base/gone"
	up "$L:$T/base" redirect_dir=on
	rm "$M/gone"
	mv "$M/d" "$M/moved"
	echo mark >"$M/.wh.mine"
	tool 0 "$M" moved moved/b
	prints "name           moved"
	prints "type           directory"
	prints "inode          $(stat -c %i "$M/moved")"
	prints "state          upper"
	prints "layer 0        upper $U/moved"
	prints "layer 1        lower $L/d"
	prints "layer 2        lower $T/base/d"
	prints "layer 2        lower $T/base/d/b"
	chmod 600 "$M/moved/a"
	tool 0 -j "$M" moved/a .wh.mine /
	json
	eq "a" "metadata only [(0, 'inode', '$U/moved/a'), (1, 'data', '$L/d/a')]" "$(head -n 1 "$T/out" | parts)"
	eq "a name like a mark" "upper [(0, 'inode', '$U/$(names_like_marks)')]" "$(sed -n 2p "$T/out" | parts)"
	eq "the root" "upper [(0, 'inode', '$U'), (1, 'inode', '$L'), (2, 'inode', '$T/base')]" "$(tail -n 1 "$T/out" | parts)"
	tool 2 "$M" gone moved/a
	says "'gone'"
	says "hidden by the whiteout $U/gone in layer 0"
	prints "name           moved/a"
	tool 2 "$M" nowhere
	says "No such file"
	tool 2 "$M" moved/../moved
	says "may not have '..'"
	tool 2 -w 1 -n 1 "$M" moved
	down
	rm -rf "$T/base"
}

parts() {
	python3 -c 'import json, sys
d = json.load(sys.stdin)
print(d["state"], [(p["layer"], p["what"], p["path"]) for p in d["parts"]])'
}

names_like_marks() { (cd "$U" && echo .[a-z]*); }

# What the mount has collected, and has not given to the upper yet, is seen by those who ask it.
asked_for_its_stack() {
	local layer=$T/layer
	stacked
	"$BUILD/plyfs-snapshot" -q -m "$M" --rotate "$layer" || fail "no snapshot"
	echo more >"$M/new"
	echo again >>"$M/a"
	prog=$BUILD/plyfs-diff tool 1 -v -m "$M"
	prints "A new"
	grep -q '^M a' "$T/out" || fail "$(cat "$T/out")"
	eq "notes" "" "$(cat "$T/err")"
	prog=$BUILD/plyfs-ls tool 0 -m "$M"
	grep -q '^1 .* d$' "$T/out" || fail "$(cat "$T/out")"
	prog=$BUILD/plyfs-du tool 0 -j -m "$M"
	eq "layers of du" 4 "$(wc -l <"$T/out")"
	prog=$BUILD/plyfs-check tool 0 -q -m "$M"
	prog=$BUILD/plyfs-merge tool 3 -m "$M" "$T/merged"
	down
	rm -rf "$layer"
}

refused() {
	fresh
	tool 2 "$L"
	says "not the root of a plyfs mount"
	tool 2 "$T/nowhere"
	tool 2
	tool 2 -n 3 "$L"
	prog=$BUILD/plyfs-diff tool 2 -m "$L"
	says "not the root of a plyfs mount"
	stacked
	chmod 711 "$T"
	as_user "$prog" "$M" >"$T/out" 2>"$T/err" && fail "a stranger was answered"
	says "only root and who mounted it may"
	tool 2 "$M/d"
	says "not the root of a plyfs mount"
	tool 2 "$M/a"
	down
}

check "layers, memory and requests" numbers
check "intervals" watched
check "names and the layers that they come from" names
check "diff, ls, du and check ask a mount for its stack" asked_for_its_stack
check "what is no mount, and who may not ask" refused
finish
