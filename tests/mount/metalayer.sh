#!/bin/bash
# A file that is metadata only shows its data also where its upper has become a layer, whatever its inode occupies.
. "$(dirname "$0")/../lib.sh"
need_root
need setfattr
mkdir -p "$T/u2" "$T/w2"

# make SIZE: a lower file of that size, moved in an upper without its data; there are xattrs beside, so that ext4 needs a
# block for them
make() {
	rm -rf "${L:?}"/* "${U:?}"/* "${W:?}"/*
	mkdir -p "$L/from" "$L/to"
	head -c "$1" /dev/zero | tr '\0' x >"$L/from/file"
	setfattr -n user.big -v "$(printf %01000d 0)" "$L/from/file"
	up "$L" metacopy=on
	mv "$M/from/file" "$M/to/file"
	down
	[ -z "$(tr -d '\0' <"$U/to/file")" ] || fail "the upper has the data"
}

seen() {
	local size=$1 got
	make "$size"
	mount_at "$M" "lowerdir=$U:$L,upperdir=$T/u2,workdir=$T/w2" || fail "no mount"
	got=$(tr -d '\0' <"$M/to/file" | wc -c)
	down
	eq "bytes of data" "$size" "$got"
}

for size in 1 512 4096 5000 65536; do
	check "a layer's file of $size bytes" seen "$size"
done
finish
