# Helpers for the tests of the programs that take a stack. Source this instead of tests/lib.sh.
# shellcheck shell=bash disable=SC2034
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

: "${prog:=}" # the program that is tested: set by each test

# tool WANTED-STATUS ARGUMENT...: runs $prog; what it says is in $T/out and $T/err
tool() {
	local wanted=$1 got
	shift
	"$prog" "$@" >"$T/out" 2>"$T/err" </dev/null
	got=$?
	[ $got = "$wanted" ] || fail "${prog##*/} $*: exit status $got, not $wanted: $(cat "$T/out" "$T/err")"
}

# says TEXT: the last run said so on stderr; prints TEXT: on stdout, as a whole line
says() {
	grep -qF -- "$1" "$T/err" || fail "not said: '$1' but: $(cat "$T/err")"
}

prints() {
	grep -qxF -- "$1" "$T/out" || fail "not printed: '$1' but: $(cat "$T/out")"
}

prints_not() {
	! grep -qF -- "$1" "$T/out" || fail "printed: '$1': $(cat "$T/out")"
}

# a sanitizer cannot look for leaks in what is traced
traced=(env "ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0" strace -qq)

# fresh: an empty stack
fresh() {
	! mountpoint -q "$M" || umount "$M"
	rm -rf "$L" "$U" "$W"
	mkdir "$L" "$U" "$W"
}

# overlay OPTIONS: the kernel's overlayfs on $M
overlay() {
	mount -t overlay overlay -o "$1" "$M" || fail "no overlayfs: $1"
}

# with_killer VARIABLE=N COMMAND...: see killer.c
with_killer() {
	[ -e "$T/killer.so" ] || "${CC:-cc}" -D_GNU_SOURCE -shared -fPIC -o "$T/killer.so" "$(dirname "${BASH_SOURCE[0]}")/killer.c" -ldl ||
		fail "the killer cannot be compiled"
	# shellcheck disable=SC2016
	env ASAN_OPTIONS=verify_asan_link_order=0 "$1" bash -c 'so=$1; shift; LD_PRELOAD=$so "$@"; exit $?' - "$T/killer.so" "${@:2}"
}

# killed_at N COMMAND...: killed when it comes to its Nth call that changes something; true if it ended well before that
killed_at() {
	local n=$1 status
	shift
	with_killer KILL_AT="$n" "$@" >"$T/killed" 2>&1
	status=$?
	[ $status = 0 ] || [ $status = 137 ] || fail "killed at $n: status $status: $(cat "$T/killed")"
	return $status
}

# json: every line of $T/out is an object
json() {
	python3 -c 'import json, sys
for line in open(sys.argv[1]):
    assert isinstance(json.loads(line), dict)' "$T/out" || fail "no JSON: $(cat "$T/out")"
}

# as_user COMMAND...
as_user() {
	setpriv --reuid 12345 --regid 12345 --clear-groups "$@"
}

# nothing_raw: neither output has control characters
nothing_raw() {
	! cat "$T/out" "$T/err" | LC_ALL=C grep -q $'[\001-\010\013-\037\177]' || fail "raw control characters"
}

# deepen DIR DEPTH: so many directories in one another, and a file in the last
deepen() {
	python3 - "$1" "$2" <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		for i in range(int(sys.argv[2])):
		    os.mkdir("directory")
		    os.chdir("directory")
		open("end", "w")
	END
}

# play DIR SEED COUNT: random changes of a tree
play() {
	python3 "$(dirname "${BASH_SOURCE[0]}")/play.py" "$@" || fail "play $*"
}

# grow SEED COUNT [WORD]...: layers $T/g1 (at the bottom) to $T/gCOUNT, each the upper of random changes; $grown has
# them as a lowerdir. With the kernel's overlayfs where $kernel is set.
grow() {
	local seed=$1 count=$2 i
	shift 2
	rm -rf "$T"/g[0-9]*
	mkdir "$T/g1"
	play "$T/g1" "$seed" 150
	grown=$T/g1
	for ((i = 2; i <= count; i++)); do
		rm -rf "$W"
		mkdir "$T/g$i" "$W"
		if [ -n "${kernel:-}" ]; then
			overlay "lowerdir=$grown,upperdir=$T/g$i,workdir=$W,$kernel"
		else
			mount_at "$M" "lowerdir=$grown,upperdir=$T/g$i,workdir=$W" || fail "no mount: $(cat "$T/mount.log")"
		fi
		play "$M" $((seed * 100 + i)) 80 "$@"
		down
		grown=$T/g$i:$grown
	done
}
