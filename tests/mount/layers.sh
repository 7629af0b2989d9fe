#!/bin/bash
# Stacks: many layers, odd paths to them, and layers that lie in each other's way.
. "$(dirname "$0")/lib.sh"

odd_paths() {
	local n=0 x d e
	for x in 'co:lon' 'com,ma' 'sp ace' $'new\nline' 'back\slash' 'eq=ual' 'ünï"q' "quo'te" '-dash' 'a::b,,c'; do
		n=$((n + 1))
		d="$D/$x"
		mkdir -p "$d"/{l,u,w,l2}
		echo $n >"$d/l/f"
		echo $n >"$d/l2/g"
		e=${d//\\/\\\\}
		e=${e//:/\\:}
		e=${e//,/\\,}
		mount_at "$M" "lowerdir=$e/l:$e/l2,upperdir=$e/u,workdir=$e/w" || fail "$(printf %q "$x"): $(cat "$T/mount.log")"
		eq "contents of $x" "$n"$'\n'"$n" "$(cat "$M/f" "$M/g")"
		echo w >"$M/f"
		down
		eq "the upper of $x" w "$(cat "$d/u/f")"
	done
}

relative() {
	mkdir -p here/l2 here/u here/w there
	echo 1 >"$L/one"
	echo 2 >here/l2/two
	ln -s "$L" link-to-l
	ln -s here link-to-here
	ln -s ../here/u there/u
	up link-to-l:there/../link-to-here/l2/.
	eq "symlinks, dots and dot-dots" "one two" "$(names "$M")"
	down
	(
		cd here || exit 1
		"$PLYFS" -o lowerdir=l2:../lower,upperdir=../there/u,workdir=./w ../mnt </dev/null
	) || fail "relative paths"
	eq "relative paths" "one two" "$(names "$M")"
	echo 3 >"$M/three"
	umount "$M"
	mv link-to-l was-a-link # the layer is what the path meant when it was mounted
	up was-a-link:here/l2
	rm was-a-link
	ln -s nowhere was-a-link
	eq "after the link was changed" "one two" "$(names "$M")"
	eq "the upper of a relative mount" "three" "$(names here/u)"
}

twice() {
	mkdir -p "$L/d" "$D/l2"
	echo f >"$L/d/f"
	mknod "$D/l2/d" c 0 0 || touch "$D/l2/.wh.d"
	up "$L:$L"
	eq "names" "d d/f" "$(names "$M")"
	echo more >>"$M/d/f"
	eq "number of both" "$(stat -c %i "$M/d/f")" "$(find "$M/d" -name f -printf '%i\n')"
	rm -r "$M/d"
	eq "removed" "" "$(names "$M")"
	again
	eq "removed, after a remount" "" "$(names "$M")"
	down
	rm -r "$U" && mkdir "$U"
	up "$L:$D/l2:$L"
	eq "names, with a whiteout between them" "d d/f" "$(names "$M")"
	down
	up "$D/l2:$L:$L"
	eq "names, with a whiteout above them" "" "$(names "$M")"
}

inside_another() {
	mkdir -p "$L/inner/d"
	echo f >"$L/inner/d/f"
	echo g >"$L/g"
	up "$L/inner:$L"
	eq "names" "d d/f g inner inner/d inner/d/f" "$(names "$M")"
	echo more >>"$M/d/f"
	# Whether that is the same file now or another one, nobody can say; but it is there.
	eq "the other place of the same file" f "$(head -n 1 "$M/inner/d/f")"
}

two_hundred() {
	local i lower='' base=$D/a-long-directory-name-to-make-the-options-long
	mkdir -p "$base"/{1..200}/d
	for i in {1..200}; do
		echo $i >"$base/$i/d/f$i"
		echo $i >"$base/$i/top"
		lower=$lower:$base/$i
	done
	mknod "$base/100/d/f150" c 0 0 || touch "$base/100/d/.wh.f150"
	up "${lower#:}"
	[ ! -e "$M/d/f150" ] || fail "f150 shows"
	eq "names" 199 "$(ls "$M/d" | wc -l)"
	eq "the topmost wins" 1 "$(cat "$M/top")"
	eq "the deepest" 200 "$(cat "$M/d/f200")"
	echo x >>"$M/d/f200"
	rm "$M/d/f199"
	eq "names after changes" 198 "$(ls "$M/d" | wc -l)"
	down
	eq "copied up" $'200\nx' "$(cat "$U/d/f200")"
}

a_thousand() {
	local i lower=''
	mkdir -p "$D"/x/{1..1000}/d/e
	for i in {1..1000}; do
		echo $i >"$D/x/$i/d/e/f$((i % 700))"
		lower=$lower:$D/x/$i
	done
	up "${lower#:}"
	eq "names" 700 "$(ls "$M/d/e" | wc -l)"
	eq "contents" "1 699 700" "$(words cat "$M"/d/e/{f1,f699,f0})"
	stat "$M/d/e/none" >"$D/out" 2>&1 && fail "a name that is nowhere is there"
	echo x >>"$M/d/e/f300"
	again
	eq "copied up" $'300\nx' "$(cat "$M/d/e/f300")"
	(ulimit -n 1024 && again) || exit
	eq "with few descriptors" 700 "$(ls "$M/d/e" | wc -l)"
}

submount() {
	need_root
	mkdir -p "$L/sub/d" "$D/l2/sub"
	echo hidden >"$L/sub/hidden"
	echo other >"$D/l2/sub/other"
	mount -t tmpfs tmpfs "$L/sub" || skip "no tmpfs"
	echo in >"$L/sub/in"
	mkdir "$L/sub/dir"
	seen=$(mark "$L")
	up "$L:$D/l2"
	# What is mounted inside a layer may be seen or not, but it is one or the other, and nothing breaks.
	case $(names "$M") in
	"sub sub/dir sub/in sub/other") echo more >>"$M/sub/in" && mkdir "$M/sub/dir/new" ;;
	"sub sub/d sub/hidden sub/other") echo more >>"$M/sub/hidden" && mkdir "$M/sub/d/new" ;;
	*) fail "names: $(names "$M")" ;;
	esac
	eq "written" "more" "$(cat "$M"/sub/{in,hidden} 2>/dev/null | tail -n 1)"
	rm -r "$M/sub"
	again
	eq "after a remount" "" "$(names "$M")"
}

mountpoint_in_a_layer() {
	need_root
	mkdir -p "$L/a/mnt/under" "$L/b"
	echo f >"$L/a/f"
	M=$L/a/mnt
	up
	timeout -k 1 20 find "$M" >"$D/out" 2>&1 || fail "find: $(tail -n 1 "$D/out")"
	eq "content by the mount" f "$(timeout -k 1 10 cat "$M/a/f")"
	# The place where it is mounted: what the layer has there, or nothing, but no waiting for itself.
	timeout -k 1 10 stat "$M/a/mnt" >"$D/out" 2>&1
	[ $? -lt 124 ] || fail "stat of the mountpoint within itself hangs"
	timeout -k 1 20 sh -c 'cd "$0" && echo x >>a/f && mkdir a/new && mv b c && rm -r a' "$M" || fail "writing"
	timeout -k 1 20 ls -R "$M" >"$D/out" || fail "listing"
	timeout -k 1 20 umount "$M" || fail "umount"
}

mountpoint_is_a_layer() {
	need_root
	echo f >"$L/f"
	M=$L
	up
	eq "content" f "$(timeout -k 1 10 cat "$M/f")"
	timeout -k 1 10 sh -c 'echo x >>"$0/f" && echo new >"$0/new"' "$M" || fail "writing"
	eq "names" "f new" "$(timeout -k 1 10 ls "$M" | tr '\n' ' ' | sed 's/ $//')"
	timeout -k 1 20 umount "$M" || fail "umount"
	eq "the layer" "f" "$(names "$L")"
}

types_differ() {
	mkdir -p "$L/file-on-dir.d" "$D/l2"/{dir-on-dir,file-on-dir} "$L/dir-on-dir" "$L/dir-on-file"
	echo low | tee "$D/l2/dir-on-dir/low" "$D/l2/dir-on-file" >"$D/l2/file-on-dir/low"
	echo top >"$L/file-on-dir"
	ln -s dir-on-dir "$L/link-on-dir"
	mkdir "$D/l2/link-on-dir"
	touch "$D/l2/link-on-dir/x" "$L/dir-on-file/top"
	up "$L:$D/l2"
	eq "names" "dir-on-dir dir-on-dir/low dir-on-file dir-on-file/top file-on-dir file-on-dir.d link-on-dir" "$(names "$M")"
	rm -r "$M/file-on-dir" "$M/dir-on-file" "$M/link-on-dir"
	again
	eq "nothing comes back" "dir-on-dir dir-on-dir/low file-on-dir.d" "$(names "$M")"
}

holds "layers may have any character in their paths" odd_paths
holds "symlinks and relative paths lead to layers" relative
holds "the same layer can be there twice" twice
holds "a layer can lie inside another" inside_another
holds "200 layers with long paths merge in order" two_hundred
holds "1000 layers merge, with 1024 descriptors, too" a_thousand
holds "something mounted inside a layer breaks nothing" submount
holds "a mountpoint below a layer does not hang" mountpoint_in_a_layer
holds "a mountpoint that is a layer does not hang" mountpoint_is_a_layer
holds "a file hides a directory below it, and the reverse" types_differ
finish
