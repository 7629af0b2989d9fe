#!/bin/bash
# rsync: from the mount and into it, with everything that it can keep.
# timeout: 600
. "$(dirname "$0")/lib.sh"
need rsync

extras() {
	mkdir "$1/srv"
	sample "$1/srv/sample"
	(cd "$1/srv/sample" && ln etc/passwd etc/passwd2 && ln etc/passwd deep/passwd3)
}

both_ways() {
	local out=$D/out
	rm -rf "$out"
	run rsync -aHAX --numeric-ids "$root/usr/" "$1/srv/usr/"
	rsync -aHAXni --numeric-ids --delete "$root/usr/" "$1/srv/usr/"
	run rsync -aHAX --numeric-ids "$1/srv/sample/" "$out/"
	rsync -aHAXnic --numeric-ids --delete "$1/srv/sample/" "$out/"
	# Back onto the layer's files, with some of them changed.
	echo more >>"$out/etc/passwd"
	rm -r "$out/many" "$out/deep/a"
	mkdir "$out/many"
	run rsync -aHAX --numeric-ids --delete "$out/" "$1/srv/sample/"
	rsync -aHAXnic --numeric-ids --delete "$out/" "$1/srv/sample/"
	run rsync -aHAX --inplace --no-whole-file -I "$root/etc/" "$1/srv/usr/share/"
	stat -c '%n %h' "$1/srv/sample/etc/passwd"* | sed 's#.*/##'
	run rsync -a --delete "$1/srv/sample/empty/" "$1/srv/usr/"
}

# A whole system, seen through the mount.
whole() {
	L=$root
	up "$root"
	touch -r "$root" "$M"
	mkdir "$D/copy"
	rsync -aHAX --numeric-ids "$M/" "$D/copy/" || fail "rsync"
	eq "differences" "" "$(rsync -aHAXnic --numeric-ids --delete "$root/" "$D/copy/")"
}

directions() { compared extras both_ways; }

holds "a tree is copied in, out, and back over itself" directions 300
holds "a whole root comes out of the mount as it is" whole 300
finish
