#!/bin/bash
# What all tools have in common: help and man page say the same, wrong options are refused, JSON is what the man page says,
# -q is quiet, nothing raw comes to a terminal, and a signal leaves nothing half done.
# timeout: 600
. "$(dirname "$0")/libtools.sh"

names=$(cd tools && echo plyfs-*.c | sed 's/\.c//g; s/plyfs-//g')

# usage_status NAME: of a wrong command line
usage_status() {
	[ "$1" = check ] && echo 16 || echo 2
}

# each FUNCTION: for every tool, with $name and $prog
each() {
	for name in $names; do
		prog=$BUILD/plyfs-$name
		"$1"
	done
}

# Options, one a line: of --help in $T/out, or of a man page.
options_of_help() {
	sed -n 's/^  \{1,5\}\(-.*\)/\1/p' "$T/out" | sed 's/  .*//' | grep -oE -- '(^|[ ,])--?[A-Za-z0-9][A-Za-z0-9-]*' | tr -d ' ,' | sort -u
}

options_of_page() {
	sed -n '/^# OPTIONS/,/^# [^O]/p' "docs/plyfs-$name.1.scd" | grep '^\*-' | grep -v 'does not apply' |
		grep -oE -- '\*--?[A-Za-z0-9][A-Za-z0-9-]*\*' | tr -d '*' | sort -u
}

helps() {
	local option
	tool 0 --help
	eq "$name: on stderr" "" "$(cat "$T/err")"
	grep -q "^usage: plyfs-$name " "$T/out" || fail "$name: no usage"
	diff <(options_of_help) <(options_of_page) >"$T/differs" || fail "$name: options of help and man page: $(cat "$T/differs")"
	for option in -n -j -0 -q -v --progress; do
		if options_of_help | grep -qx -- "$option"; then
			! grep -q "^\*$option\* .*does not apply" "docs/plyfs-$name.1.scd" || fail "$name: $option does apply"
		else
			grep -q "\*$option\*.* does not apply" "docs/plyfs-$name.1.scd" || fail "$name: nothing about $option in the man page"
		fi
	done
	tool 0 --version
	[[ $(cat "$T/out") =~ ^plyfs-$name\ [0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "$name: $(cat "$T/out")"
}

refuses() {
	tool "$(usage_status "$name")" --no-such-option
	eq "$name: on stdout" "" "$(cat "$T/out")"
	grep -q "^usage: plyfs-$name " "$T/err" || fail "$name: no usage"
	tool "$(usage_status "$name")"
	says "usage: plyfs-$name "
	tool 0 --help
	! options_of_help | grep -qx -- -0 || tool "$(usage_status "$name")" -j -0 .
}

# accepts: the common options, each before --help, which would not be reached otherwise
accepts() {
	local option
	for option in -n -j -0 -q -v --progress; do
		tool 0 --help
		options_of_help | grep -qx -- "$option" || continue
		[ "$name$option" != stat-n ] || option=-n1
		tool 0 "$option" --help
	done
}

# A stack in which each of them finds something, with a hostile name in each place.
evil=$'e\e[31m\nvil'
stack() {
	fresh
	rm -rf "$T/target" "$T/L.seal"
	mkdir -p "$T/more$evil"
	mkdir -p "$L/d" "$L/$evil" "$U/d" "$U/$evil"
	echo below >"$L/d/$evil"
	echo below >"$L/$evil/f"
	echo same >"$L/same$evil"
	cp -a "$L/same$evil" "$U"
	cp -a "$L/$evil/." "$U/$evil"
	echo above, and longer >"$U/d/$evil"
	mknod "$U/nothing$evil" c 0 0
	"$BUILD/plyfs-seal" -q -o "$T/L.seal" "$L" >/dev/null || fail "no seal"
	touch "$L/added$evil"
}

# asks_mount: $name is of those that only know mounts
asks_mount() { [[ $name =~ ^(stat|add)$ ]]; }

# of_stack NAME: arguments in $args, and the status in $wanted, with which the tool runs on the stack
of_stack() {
	wanted=1
	case $1 in
	check) args=(-l "$L" -u "$U" -w "$W") wanted=4 ;;
	convert) args=(-n --to=overlay-user --whiteouts=xattr "$U") ;;
	diff) args=(-v -l "$L" -u "$U") ;;
	du) args=(--unchanged --shared --largest=9 -l "$L" -u "$U") wanted=0 ;;
	ls) args=(-R -H --long -l "$L" -u "$U") wanted=0 ;;
	merge) args=(-l "$L" -u "$U" "$T/target") wanted=0 ;;
	seal) args=(--verify -o "$T/L.seal" "$L") ;;
	snapshot) args=("$U" "$T/target") wanted=0 ;;
	stat) args=("$M") wanted=0 ;;
	add) args=(-m "$M" "$T/more$evil") wanted=0 ;;
	vacuum) args=(-v -l "$L" -u "$U" -w "$W") ;;
	*) fail "no arguments for plyfs-$1" ;;
	esac
	! asks_mount || up
}

# documented: the members of all objects in $T/out are in the man page, by name
documented() {
	python3 -c 'import json, re, sys
page = open(sys.argv[2]).read()
words = set(re.findall(r"_(\w+)_", page)) | set(re.findall(r"\"(\w+)\"", page)) | {"type"}
for line in open(sys.argv[1]):
    entry = json.loads(line)
    assert isinstance(entry, dict), line
    unknown = [key for key in entry if key not in words]
    assert not unknown, f"{unknown} of {line}"
if sys.argv[3] != "stat":
    assert entry.get("type") == "summary", f"the last is {line}"' "$T/out" "docs/plyfs-$name.1.scd" "$name" ||
		fail "plyfs-$name -j: $(cat "$T/out")"
}

json_is_documented() {
	stack
	of_stack "$name"
	tool "$wanted" -j "${args[@]}"
	documented
	[ "$(wc -l <"$T/out")" -gt 1 ] || [[ $name =~ ^(merge|snapshot|stat|add)$ ]] || fail "$name finds nothing: $(cat "$T/out")"
	! mountpoint -q "$M" || umount "$M"
}

# hostile: names are escaped, or with -0 what they are
hostile() {
	stack
	of_stack "$name"
	tool "$wanted" "${args[@]}"
	nothing_raw
	! grep -q '^vil' "$T/out" "$T/err" || fail "$name: a name in two lines: $(cat "$T/out" "$T/err")"
	! asks_mount || {
		umount "$M"
		return
	}
	rm -rf "$T/target"
	python3 tests/tools/terminal.py "$T/screen" "$prog" --progress "${args[@]}" >"$T/out"
	: >"$T/err"
	tr -d '\r\b' <"$T/out" >"$T/plain" && mv "$T/plain" "$T/out"
	nothing_raw
	tool 0 --help
	options_of_help | grep -qx -- -0 || return 0
	rm -rf "$T/target"
	"$prog" -0 "${args[@]}" >"$T/out" 2>"$T/err"
	[[ $name =~ ^(du|merge)$ ]] || grep -qz "$(printf 'e\e\[31m')" "$T/out" || fail "$name: -0 does not print names as they are"
	[ "$name" = merge ] || [ "$(tr -cd '\0' <"$T/out" | wc -c)" -ge 1 ] || fail "$name: -0 prints no NUL"
}

# quiet: a plain user is told what cannot be seen, unless he does not want to
quiet() {
	stack
	chown -R 12345 "$T"
	of_stack "$name"
	! asks_mount || {
		umount "$M"
		return
	}
	as_user "$prog" "${args[@]}" >"$T/out" 2>"$T/err"
	[[ $name =~ ^(snapshot)$ ]] || grep -q "note: .*trusted" "$T/err" || fail "$name: no note: $(cat "$T/err")"
	rm -rf "$T/target"
	as_user "$prog" -q "${args[@]//-v/-q}" >"$T/out" 2>"$T/err"
	! grep -q "note:" "$T/err" || fail "$name -q: $(cat "$T/err")"
}

everything() {
	find "$T" -mindepth 1 ! -name out ! -name err ! -name before ! -name after -printf '%P %y %m %s %T@\n' | sort
}

# At each of the first listings of a directory, and at one that is read.
interrupted() {
	local call status
	stack
	of_stack "$name"
	! asks_mount || {
		umount "$M"
		return
	}
	for call in getdents64:signal=INT:when=1 getdents64:signal=INT:when=4 statx:signal=TERM:when=5; do
		everything >"$T/before"
		# In a shell of its own, which says what ended the tool.
		# shellcheck disable=SC2016
		bash -c '"$@"; exit $?' - "${traced[@]}" -f -o /dev/null -e trace="${call%%:*}" -e inject="$call" "$prog" "${args[@]}" >"$T/out" 2>"$T/err"
		status=$?
		[ $status = 130 ] || [ $status = 143 ] || fail "$name: status $status at $call: $(cat "$T/err")"
		everything >"$T/after"
		diff "$T/before" "$T/after" || fail "$name: left behind at $call"
	done
}

# unreadable: an error at any listing of xattrs is told of; what has them is not taken for something without
unreadable() {
	local n status errors=0
	stack
	mkdir "$U/by-xattr" "$L/by-xattr"
	touch "$L/by-xattr/gone" "$U/by-xattr/gone"
	setfattr -n trusted.overlay.opaque -v x "$U/by-xattr"
	setfattr -n trusted.overlay.whiteout -v y "$U/by-xattr/gone"
	of_stack "$name"
	! asks_mount || {
		umount "$M"
		return
	}
	"$prog" "${args[@]}" >"$T/out" 2>"$T/err"
	for ((n = 1; n <= 30; n++)); do
		rm -rf "$T/target"
		with_killer FAIL_AT=$n "$prog" "${args[@]}" >"$T/failed-out" 2>"$T/failed-err"
		status=$?
		if cmp -s "$T/err" "$T/failed-err" && [ $status = "$wanted" ]; then
			diff "$T/out" "$T/failed-out" || fail "$name: other words and no error, at listing $n"
		else
			grep -q 'Input/output error' "$T/failed-err" || fail "$name: no error at listing $n: $status, $(cat "$T/failed-err")"
			errors=$((errors + 1))
		fi
	done
	[ $errors != 0 ] || fail "$name reads no xattrs"
}

need python3 strace
need_root
check "help and man page name the same options; versions" each helps
check "a wrong option is refused with a usage line" each refuses
check "the common options" each accepts
check "JSON: objects, members that the man page names, a summary at the end" each json_is_documented
check "hostile names are escaped, and with -0 as they are" each hostile
check "notes, and none with -q" each quiet
check "an xattr that cannot be read is told of" each unreadable
check "a signal leaves all as it was" each interrupted
finish
