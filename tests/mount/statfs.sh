#!/bin/bash
# statfs(2): the numbers of the file system that is written to.
. "$(dirname "$0")/lib.sh"
need_root

numbers() {
	fs_of ext4 "$D/fs"
	U=$D/fs/upper W=$D/fs/work
	mkdir "$L/d"
	up
	eq "size, inodes, name length" "$(stat -f -c '%b*%S %c' "$U") 255" "$(stat -f -c '%b*%S %c %l' "$M/d")"
	head -c 4M /dev/urandom >"$M/d/f"
	sync -f "$M/d/f"
	local upper mount
	upper=$(stat -f -c %a "$U") mount=$(stat -f -c %a "$M")
	[ $((upper - mount)) -ge -16 ] && [ $((upper - mount)) -le 16 ] || fail "$mount blocks free; the upper has $upper"
	df "$M" | grep -q "$M" || fail "df does not show it"
}

read_only() {
	fs_of ext4 "$D/fs"
	L=$D/fs/lower
	touch "$L/f"
	mount_at "$M" "lowerdir=$L" || fail "no mount: $(cat "$T/mount.log")"
	eq "size" "$(stat -f -c '%b*%S' "$L")" "$(stat -f -c '%b*%S' "$M")"
	df "$M" >"$D/out" || fail "df"
}

holds "a writable mount has the numbers of its upper" numbers
holds "a read-only mount has those of its top layer" read_only
finish
