#!/bin/bash
# The progress line: on a terminal from a second on, out of the way of everything else, and gone in the end.
# timeout: 300
. "$(dirname "$0")/libtools.sh"

# slow COMMAND...: each listing of a directory takes 100 ms (by itself, as the shells of a terminal have no arrays of ours)
slow() {
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -qq -o /dev/null -e trace=getdents64 -e inject=getdents64:delay_enter=100000 "$@"
}
export -f slow

# terminal COMMAND...: on a terminal; what came is in $T/out, what is to be seen in the end in $T/screen
terminal() {
	python3 tests/tools/terminal.py "$T/screen" bash -c 'slow "$@"' - "$@" >"$T/out"
}

line="entries ([0-9]*/s), .*[0-9]:[0-9][0-9]"

stack() {
	local i
	fresh
	for i in {1..5}; do
		mkdir -p "$L/d$i/sub" "$U/d$i"
		echo below >"$L/d$i/f"
		echo above >"$U/d$i/f"
	done
	rm -rf "$T/new" "$T/second"
}

# shows WHAT STATUS PROGRAM ARGUMENT...: a line that begins so comes, and nothing of it stays
shows() {
	local what=$1 wanted=$2 got
	shift 2
	terminal "$@"
	got=$?
	eq "status of $1" "$wanted" $got
	grep -q "$what: [0-9]* $line" "$T/out" || fail "$1: no progress line: $(cat -v "$T/out")"
	! grep -q "$line" "$T/screen" || fail "$1: it stays: $(cat "$T/screen")"
}

# In spite of the line, the same is to be seen as without it.
unspoilt() {
	stack
	"$BUILD/plyfs-diff" -v -l "$L" -u "$U" >"$T/wanted"
	shows comparing 1 "$BUILD/plyfs-diff" -v -l "$L" -u "$U"
	diff "$T/wanted" "$T/screen" || fail "another text"
	mkdir "$U/x" && mknod "$U/x/nothing" c 0 0
	setfattr -n user.overlay.redirect -v /no "$U/d5"
	"$BUILD/plyfs-check" -l "$L" -u "$U" >"$T/wanted"
	shows checking 4 "$BUILD/plyfs-check" -l "$L" -u "$U"
	diff "$T/wanted" "$T/screen" || fail "another text"
}

others() {
	stack
	shows "counting [a-z ]*" 0 "$BUILD/plyfs-du" -l "$L" -u "$U"
	shows listing 0 "$BUILD/plyfs-ls" -R -l "$L" -u "$U"
	eq "names" 15 "$(grep -c ' d[0-9]' "$T/screen")"
	cp -a "$U" "$T/marked" && mknod "$T/marked/d1/gone" c 0 0
	shows comparing 0 "$BUILD/plyfs-vacuum" -v -l "$L" -u "$U"
	eq "kept" 5 "$(grep -c '^kept .*/f.: ' "$T/screen")"
	shows looking 1 "$BUILD/plyfs-convert" -n --to=aufs "$T/marked"
	shows merging 0 "$BUILD/plyfs-merge" -l "$L" -u "$U" "$T/new"
	rm -rf "$T/new"
	cp -a "$U" "$T/marked" && mknod "$T/marked/d1/gone" c 0 0
	shows comparing 0 "$BUILD/plyfs-vacuum" -v -l "$L" -u "$U"
	eq "kept" 5 "$(grep -c '^kept .*/f.: ' "$T/screen")"
	shows merging 0 "$BUILD/plyfs-merge" -v -l "$L" -u "$U" "$T/new"
	eq "entries named" 15 "$(grep -c '^\(file     \|directory\) d' "$T/screen")"
	shows copying 0 "$BUILD/plyfs-snapshot" "$U" "$T/second"
	shows reading 0 "$BUILD/plyfs-seal" -o "$T/seal" "$L"
	shows looking 0 "$BUILD/plyfs-seal" --verify --fast -o "$T/seal" "$L"
}

# Of an error, too, the words stand alone.
error() {
	local status
	stack
	mkdir "$U/e"
	echo x >"$U/e/f"
	setfattr -n user.overlay.metacopy "$U/e/f"
	terminal "$BUILD/plyfs-snapshot" "$U" "$T/new"
	status=$?
	eq "status" 2 $status
	eq "lines" 1 "$(grep -c . "$T/screen")"
	grep -q "^plyfs-snapshot: cannot copy 'e/f': " "$T/screen" || fail "$(cat "$T/screen")"
}

silent() {
	stack
	terminal "$BUILD/plyfs-diff" -q -l "$L" -u "$U"
	! grep -q "$line" "$T/out" || fail "with -q: $(cat "$T/out")"
	terminal bash -c '"$@" | cat' - "$BUILD/plyfs-diff" -l "$L" -u "$U"
	! grep -q "$line" "$T/out" || fail "into a pipe: $(cat "$T/out")"
	terminal bash -c '"$@" >/dev/null' - "$BUILD/plyfs-diff" -l "$L" -u "$U"
	grep -q "$line" "$T/out" || fail "not with the results elsewhere"
	slow "$BUILD/plyfs-diff" -l "$L" -u "$U" >"$T/out" 2>"$T/err"
	eq "said, no terminal" "" "$(cat "$T/err")"
	slow "$BUILD/plyfs-diff" --progress -l "$L" -u "$U" >"$T/out" 2>"$T/err"
	grep -q "$line" "$T/err" || fail "not with --progress: $(cat "$T/err")"
	eq "results" 5 "$(grep -c '^M' "$T/out")"
	slow "$BUILD/plyfs-snapshot" --progress "$U" "$T/new" >"$T/out" 2>"$T/err"
	grep -q "$line" "$T/err" || fail "not with --progress: $(cat "$T/err")"
	! grep -q $'\e' "$T/err" || fail "a terminal's language"
}

quick() {
	stack
	python3 tests/tools/terminal.py "$T/screen" "$BUILD/plyfs-diff" -l "$L" -u "$U" >"$T/out"
	! grep -q "$line" "$T/out" || fail "$(cat "$T/out")"
}

need strace python3 setfattr
need_root
check "it comes in the midst of results, which stay as they are" unspoilt
check "copying and counting show it, and clear it" others
check "an error stands alone" error
check "-q, a pipe and a file are spared, --progress shows it everywhere" silent
check "what is quick shows none" quick
finish
