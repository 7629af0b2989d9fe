#!/bin/bash
# Metadata-only copies: what needs no data copies none, the data follows, and the upper is plain after an unmount.
. "$(dirname "$0")/lib.sh"
need_root

# marks DIR: the files below that say their data is elsewhere
marks() {
	getfattr -Rhd -m '^trusted\.overlay\.(metacopy|redirect)$' -- "$1" 2>/dev/null | grep -c '^trusted'
}

blocks() { stat -c %b "$1"; }

little() {
	head -c 30M /dev/urandom >"$L/big"
	cp "$L/big" "$L/second"
	sync -f "$L" # which settles how many blocks it has
	up
	chmod 600 "$M/big"
	chown 7:8 "$M/big"
	touch -d '2001-02-03 04:05:06 UTC' "$M/big"
	setfattr -n user.x -v y "$M/big"
	mv "$M/big" "$M/moved"
	ln "$M/moved" "$M/linked"
	[ "$(blocks "$U/moved")" -lt 100 ] || fail "data was copied: $(blocks "$U/moved") blocks"
	eq "what is shown" "600 7 8 31457280 2 981173106 $(blocks "$L/big")" "$(stat -c '%a %u %g %s %h %Y %b' "$M/linked")"
	cmp "$M/linked" "$L/big" || fail "the data"
	echo more >>"$M/moved"
	[ "$(blocks "$U/moved")" -ge 61440 ] || fail "a write copied no data"
	cmp -n 31457280 "$M/linked" "$L/big" || fail "the data after a write"
	eq "its end" more "$(tail -c 5 "$M/linked")"
	truncate -s 5 "$M/second"
	chmod 600 "$M/second"
	: >"$M/second"
	again
	eq "sizes after a remount" "31457285 0" "$(stat -c %s "$M/moved" "$M/second" | xargs)"
	eq "marks" 0 "$(marks "$U")"
}

# What the sources say of most changes: made to files of layers, and then looked at by the kernel.
plain() {
	local i
	for i in {1..200}; do echo "content $i" >"$L/f$i"; done
	mkdir "$L/d"
	cp "$L"/f1* "$L/d"
	up
	chmod 600 "$M"/f*
	chown -R 5:6 "$M/d"
	for i in 5 15 25; do mv "$M/f$i" "$M/d/f$i.moved"; done
	for i in 6 16 26; do echo more >>"$M/f$i"; done
	for i in 7 17 27; do ln "$M/f$i" "$M/d/link$i"; done
	rm "$M"/f1?
	tree_of "$M" >"$D/ours"
	down
	eq "marks after an unmount" 0 "$(marks "$U")"
	eq "what is left in the work directory" "work" "$(names "$W" | sed 's/ work.#wh//')"
	in_kernel
	tree_of "$M" >"$D/kernels"
	umount "$M"
	diff "$D/ours" "$D/kernels" || fail "the kernel sees (>) something else"
}

background() {
	local i
	for i in {1..50}; do echo "content $i" >"$L/f$i"; done
	start_counted "lowerdir=$L,upperdir=$U,workdir=$W"
	chmod 600 "$M"/f*
	[ "$(counted unsettled)" = 50 ] || fail "unsettled: $(counted unsettled)"
	[ "$(marks "$U")" = 50 ] || fail "marks: $(marks "$U")"
	for ((i = 0; i < 300; i++)); do
		[ "$(counted unsettled)" != 0 ] || break
		sleep 0.1
	done
	eq "unsettled" 0 "$(counted unsettled)"
	eq "marks" 0 "$(marks "$U")"
	cmp "$U/f50" "$L/f50" || fail "the data is not in the upper"
	down
}

# fsync settles what was written, at once.
synced() {
	echo low >"$L/f"
	up
	py "$M/f" <<'P'
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.write(fd, b"more\n")
os.fsync(fd)
P
	eq "marks" 0 "$(marks "$U")"
	eq "on disk" "low more" "$(xargs <"$U/f")"
}

# The next mount waits for the data of the last one.
waiting() {
	local i
	for i in {1..30}; do head -c 5M /dev/urandom >"$L/f$i"; done
	up
	chmod 600 "$M"/f*
	umount "$M"
	up
	eq "modes" 600 "$(stat -c %a "$M"/f* | sort -u)"
	cmp "$M/f30" "$L/f30" || fail "the data"
	eq "marks" 0 "$(marks "$U")"
}

kept() {
	head -c 1M /dev/urandom >"$L/f"
	up "$L" metacopy=on
	chmod 600 "$M/f"
	mv "$M/f" "$M/g"
	again
	cmp "$M/g" "$L/f" || fail "the data after a remount"
	down
	[ "$(blocks "$U/g")" -lt 100 ] || fail "the data was copied"
	[ "$(marks "$U")" = 2 ] || fail "marks: $(marks "$U")"
	mount -t overlay overlay -o "lowerdir=$L,upperdir=$U,workdir=$W,metacopy=on,redirect_dir=on" "$M" || skip "the kernel has no metacopy"
	eq "in the kernel" "600 1048576" "$(stat -c '%a %s' "$M/g")"
	cmp "$M/g" "$L/f" || fail "the data in the kernel"
	umount "$M"
}

# of_kernel: the kernel writes metadata-only files and moved directories; they are read, and made plain
of_kernel() {
	mkdir "$L/d" "$D/middle"
	head -c 1M /dev/urandom >"$L/f"
	cp "$L/f" "$L/d/in"
	cp "$L/f" "$L/twice"
	mount -t overlay overlay -o "lowerdir=$L,upperdir=$D/middle,workdir=$W,metacopy=on,redirect_dir=on" "$M" || skip "the kernel has no metacopy"
	chmod 640 "$M/twice"
	umount "$M"
	mount -t overlay overlay -o "lowerdir=$D/middle:$L,upperdir=$U,workdir=$W,metacopy=on,redirect_dir=on" "$M" || skip "the kernel has no metacopy"
	chmod 600 "$M/f" "$M/twice"
	mv "$M/f" "$M/g"
	mv "$M/d" "$M/e"
	chmod 600 "$M/e/in"
	umount "$M"
	up "$D/middle:$L"
	for f in g e/in twice; do
		eq "$f" "600 1048576" "$(stat -c '%a %s' "$M/$f")"
		cmp "$M/$f" "$L/f" || fail "the data of $f"
	done
	again
	for f in g e/in twice; do cmp "$U/$f" "$L/f" || fail "$f is not plain after an unmount"; done
}

# Files of a layer that have their data in layers with nothing but data.
data_only() {
	mkdir -p "$D/data/ab" "$D/more" "$L/d"
	head -c 100000 /dev/urandom >"$D/data/ab/blob"
	echo small >"$D/more/other"
	truncate -s 100000 "$L/d/f"
	truncate -s 6 "$L/g"
	setfattr -n trusted.overlay.metacopy "$L/d/f" && setfattr -n trusted.overlay.redirect -v /ab/blob "$L/d/f"
	setfattr -n trusted.overlay.metacopy "$L/g" && setfattr -n trusted.overlay.redirect -v /other "$L/g"
	chmod 640 "$L/d/f"
	up "$L::$D/data::$D/more"
	eq "names" "d d/f g" "$(names "$M")"
	eq "attributes" "640 100000" "$(stat -c '%a %s' "$M/d/f")"
	cmp "$M/d/f" "$D/data/ab/blob" || fail "the data"
	chmod 600 "$M/d/f"
	mv "$M/d" "$M/e"
	echo more >>"$M/g"
	cmp "$M/e/f" "$D/data/ab/blob" || fail "the data after chmod and mv"
	again
	cmp "$M/e/f" "$D/data/ab/blob" || fail "the data after a remount"
	eq "what was written" "small more" "$(xargs <"$M/g")"
	down
	cmp "$U/e/f" "$D/data/ab/blob" || fail "the upper is not plain"
	mount -t overlay overlay -o "ro,lowerdir=$L::$D/data::$D/more,metacopy=on,redirect_dir=follow" "$M" || skip "the kernel has no data-only layers"
	cmp "$M/d/f" "$D/data/ab/blob" || fail "the kernel sees other data"
	umount "$M"
}

# A file whose data is in no layer can be seen and removed, but not read.
lost() {
	truncate -s 1000 "$U/f"
	setfattr -n trusted.overlay.metacopy "$U/f"
	up
	[ -f "$M/f" ] || fail "it is not shown"
	cat "$M/f" >"$D/out" 2>&1 && fail "it can be read"
	grep -q 'Input/output' "$D/out" || fail "$(cat "$D/out")"
	rm "$M/f" || fail "it cannot be removed"
}

holds "chmod, chown, mv, ln and the like copy no data; a write does" little
holds "after an unmount everything is plain" plain
holds "the data follows in the background" background
holds "fsync settles a file at once" synced
holds "a mount waits for what the one before has to bring up" waiting
holds "metacopy=on leaves the data below, as the kernel does" kept
holds "what the kernel wrote with metacopy=on is read, and made plain" of_kernel
holds "data-only layers are read, and nothing but data" data_only
holds "a file without data can be removed" lost
finish
