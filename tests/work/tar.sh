#!/bin/bash
# tar: packs what the mount shows, and unpacks into it.
# timeout: 600
. "$(dirname "$0")/lib.sh"
need tar

OPTIONS=(--format=pax '--pax-option=delete=atime,delete=ctime' --xattrs --xattrs-include='*' --acls --numeric-owner --sort=name)

extras() {
	mkdir "$1/srv"
	sample "$1/srv/sample"
	rm "$1/srv/sample/dev/socket" # no archive holds one
	(cd "$1/srv/sample" && ln etc/passwd etc/passwd2)
}

both_ways() {
	cd "$1/srv" || exit 1
	tar "${OPTIONS[@]}" -C sample -cf "$D/sample.tar" .
	sha256sum <"$D/sample.tar"
	mkdir unpacked
	run tar "${OPTIONS[@]}" -C unpacked -xpf "$D/sample.tar"
	run tar "${OPTIONS[@]}" -C unpacked --compare -f "$D/sample.tar"
	# Over what is there: files of the layer give way to those of the archive.
	run tar "${OPTIONS[@]}" -C sample -xpf "$D/sample.tar" --overwrite
	chmod 4755 sample/bin/set-id # lost on any file system: tar chowns what it found with the right mode
	run tar "${OPTIONS[@]}" -C sample --compare -f "$D/sample.tar"
	run tar "${OPTIONS[@]}" -C sample -xpf "$D/sample.tar" --recursive-unlink --unlink-first
	run tar "${OPTIONS[@]}" -C sample --compare -f "$D/sample.tar"
	tar "${OPTIONS[@]}" -C unpacked -cf - . | sha256sum
}

# A whole system: out of the mount, and into another directory of it.
whole() {
	L=$root
	tar "${OPTIONS[@]}" -C "$root" -cf "$D/root.tar" .
	up "$root"
	touch -r "$root" "$M"
	tar "${OPTIONS[@]}" -C "$M" -cf "$D/mount.tar" . || fail "tar c"
	cmp "$D/root.tar" "$D/mount.tar" || fail "the archives differ"
	mkdir "$M/srv/copy"
	tar "${OPTIONS[@]}" -C "$M/srv/copy" -xpf "$D/root.tar" || fail "tar x"
	tar "${OPTIONS[@]}" -C "$M/srv/copy" --compare -f "$D/root.tar" || fail "the unpacked tree differs"
	again
	tar "${OPTIONS[@]}" -C "$M/srv/copy" --compare -f "$D/root.tar" || fail "the unpacked tree differs after a remount"
}

directions() { compared extras both_ways; }

holds "an archive is made of a layer, unpacked beside it and over it" directions 300
holds "a whole root goes out and in" whole 400
finish
