#!/bin/bash
# After an unmount the kernel's overlayfs over the same directories shows the same tree, and the reverse.
. "$(dirname "$0")/lib.sh"
need_root

compare() { # [LOWERDIR]
	tree_of "$M" >"$D/ours"
	down
	in_kernel "$@"
	tree_of "$M" >"$D/kernels"
	umount "$M"
	diff "$D/ours" "$D/kernels" || fail "the kernel sees (>) something else"
}

changed_sample() {
	sample "$L"
	up
	change "$M"
	compare
}

many_layers() {
	local i
	for i in 1 2 3; do
		mkdir -p "$D/l$i/d/e" "$D/l$i/only$i/x"
		echo $i | tee "$D/l$i/d/f$i" "$D/l$i/d/e/all" >"$D/l$i/only$i/x/f"
	done
	mknod "$D/l2/d/f3" c 0 0
	setfattr -n trusted.overlay.opaque -v y "$D/l1/d/e"
	up "$D/l1:$D/l2:$D/l3"
	rm -r "$M/only2"
	mkdir "$M/only2"
	rm -r "$M/only3/x"
	echo x >"$M/only3/x"
	mv "$M/only1" "$M/moved"
	echo more >>"$M/d/e/all"
	mkdir -p "$M/a/b/c"
	ln "$M/d/f1" "$M/a/b/f1"
	ln -s c "$M/a/b/link"
	setfattr -n user.x -v y "$M/a/b"
	setfattr -n trusted.x -v y "$M/a/b"
	compare "$D/l1:$D/l2:$D/l3"
}

# What a user calls by overlay's own names inside the mount is kept for the user, one level deeper on disk; or it
# is refused.
escaped() {
	mkdir "$L/low"
	touch "$L/low/f"
	up
	mkdir "$M/d"
	setfattr -n trusted.overlay.opaque -v y "$M/low" 2>/dev/null
	setfattr -n user.overlay.opaque -v y "$M/low" 2>/dev/null
	setfattr -n trusted.overlay.x -v y "$M/d" 2>/dev/null
	again
	eq "names" "d low low/f" "$(names "$M")"
	# The kernel hides a level only in the space that it uses.
	tree_of "$M" | grep -v '^user.overlay' >"$D/ours"
	down
	in_kernel
	tree_of "$M" | grep -v '^user.overlay' >"$D/kernels"
	diff "$D/ours" "$D/kernels" || fail "the kernel sees (>) something else"
}

kernel_first() {
	sample "$L"
	in_kernel
	change "$M"
	tree_of "$M" >"$D/kernels"
	umount "$M"
	up
	tree_of "$M" >"$D/ours"
	diff "$D/kernels" "$D/ours" || fail "plyfs sees (>) something else"
	rm -r "${M:?}/etc" "$M/deep"
	mkdir "$M/etc"
	echo x >"$M/etc/x"
	compare
}

# Back and forth on one upper, with changes each time.
in_turns() {
	sample "$L"
	cp -a "$L" "$D/want"
	local turn
	for turn in 1 2 3 4; do
		if [ $((turn % 2)) = 1 ]; then up; else in_kernel; fi
		for at in "$M" "$D/want"; do
			(
				cd "$at" || exit 1
				echo "turn $turn" >>etc/passwd
				echo "turn $turn" >"many/file-00$turn"
				rm -r "many/file-01$turn" "deep/turn-$((turn - 1))" 2>/dev/null
				mkdir -p "deep/turn-$turn/sub"
				mv "many/file-02$turn" "deep/turn-$turn/sub"
				[ $turn != 2 ] || rm -r etc/conf.d
				[ $turn != 3 ] || mkdir etc/conf.d
				find . -newermt 2010-01-01 -exec touch -h -d '2011-12-13 14:15:16 UTC' {} +
				touch -d '2011-12-13 14:15:16 UTC' .
			)
		done
		same "$D/want" "$M"
		if [ $((turn % 2)) = 1 ]; then down; else umount "$M"; fi
	done
}

# A stack that was unmounted has nothing in it that the kernel would complain about.
clean() {
	sample "$L"
	up
	change "$M"
	echo big >"$M/new"
	down
	eq "stray names in the upper" "" "$(find "$U" -name '.wh.*' -o -name '*.tmp')"
	eq "left in the work directory" "" "$(find "$W" -mindepth 2 ! -type d ! -type c)"
	in_kernel
	umount "$M"
}

# The kernel with index=on goes on where plyfs stopped, on the same layers only, and the reverse.
index_belongs() {
	echo one >"$L/a"
	ln "$L/a" "$L/b"
	mkdir "$D/other" "$D/upper" "$D/work"
	ln "$L/a" "$D/other/c"
	up
	echo two >"$M/a"
	down
	mount -t overlay overlay -o "lowerdir=$L,upperdir=$U,workdir=$W,index=on" "$M"
	eq "the other name, in the kernel" two "$(cat "$M/b")"
	umount "$M"
	! mount -t overlay overlay -o "lowerdir=$D/other,upperdir=$U,workdir=$W,index=on" "$M" 2>/dev/null ||
		fail "the kernel takes other layers"
	mount -t overlay overlay -o "lowerdir=$L,upperdir=$D/upper,workdir=$D/work,index=on" "$M"
	echo three >"$M/a"
	umount "$M"
	! "$PLYFS" -o "lowerdir=$D/other,upperdir=$D/upper,workdir=$D/work" "$M" 2>"$D/said" ||
		fail "plyfs takes other layers"
	grep -q "other lower layers" "$D/said" || fail "$(cat "$D/said")"
	"$PLYFS" -o "lowerdir=$L,upperdir=$D/upper,workdir=$D/work" "$M"
	eq "the other name, in plyfs" three "$(cat "$M/b")"
	umount "$M"
}

# Nobody goes on with what a volatile mount left but who knows that the machine has not been restarted since.
volatile_uppers() {
	local mark=$W/work/incompat/volatile/dirty
	up "$L" volatile
	echo x >"$M/new"
	again
	eq "in the same boot" x "$(cat "$M/new")"
	down
	! mount -t overlay overlay -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" 2>/dev/null ||
		fail "the kernel takes a volatile upper of plyfs"
	tr '\000-\377' '\001-\377\000' <"$mark" >"$D/other" && cp "$D/other" "$mark"
	! "$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" 2>"$D/said" || fail "after another boot it is mounted"
	grep -q "remove '$W/work/incompat'" "$D/said" || fail "$(cat "$D/said")"
	rm -r "$W/work/incompat"
	mount -t overlay overlay -o "lowerdir=$L,upperdir=$U,workdir=$W,volatile" "$M"
	umount "$M"
	! "$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" 2>"$D/said" || fail "plyfs takes a volatile upper of the kernel"
	grep -q "may be incomplete" "$D/said" || fail "$(cat "$D/said")"
	# As container engines do, whose mounts are all volatile.
	rm -r "$W/work/incompat/volatile"
	up "$L" volatile
	eq "names" new "$(names "$M")"
	down
	up
	down
	in_kernel
	umount "$M"
}

holds "what volatile mounts leave is refused, by the kernel as here" volatile_uppers
holds "the kernel shows the same after all sorts of changes" changed_sample
holds "the kernel shows the same of many layers" many_layers
holds "overlay's own names cannot be forged from inside" escaped
holds "plyfs shows the same of what the kernel wrote" kernel_first
holds "plyfs and the kernel can take turns on one upper" in_turns
holds "an unmounted upper is plain" clean
holds "an index of hard links belongs to its layers, in the kernel as here" index_belongs
finish
