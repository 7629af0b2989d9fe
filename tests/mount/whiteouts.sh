#!/bin/bash
# Whiteouts and opaque directories: every form is read, and what is written is what the kernel reads.
. "$(dirname "$0")/lib.sh"

absent() {
	local f
	for f; do
		[ ! -e "$M/$f" ] && [ ! -L "$M/$f" ] || fail "$f shows"
	done
}

device_and_aufs() {
	local bottom=$D/bottom f
	mkdir -p "$bottom/sub" "$bottom"/gone{,2,3} "$L/sub"
	for f in a b c test sub/test sub/x sub/y gone/f gone2/f gone3/f; do echo low >"$bottom/$f"; done
	mknod "$L/a" c 0 0
	mknod "$L/gone" c 0 0
	touch "$L/.wh.b" "$L/.wh.test" "$L/sub/.wh.x" "$L/.wh.gone2" "$L/.wh.never"
	ln -s nowhere "$L/.wh.gone3" # of whatever type it is
	mknod "$U/c" c 0 0
	up "$L:$bottom"
	# by name first, before the directory was ever listed
	absent a b c test gone gone/f gone2 gone2/f gone3 sub/x .wh.b .wh.never sub/.wh.x
	eq "names" "sub sub/test sub/y" "$(names "$M")"
	echo n >"$M/a"
	echo n >"$M/b"
	mkdir "$M/gone2"
	touch "$M/sub/x"
	again
	eq "made again" "a b gone2 sub sub/test sub/x sub/y" "$(names "$M")"
}

by_xattr() {
	need_root
	local bottom=$D/bottom space
	for space in trusted user; do
		mkdir -p "$bottom/$space/deep" "$L/$space/deep"
		touch "$bottom/$space"/{gone,stay,full,plain} "$bottom/$space/deep/gone" "$L/$space"/{gone,plain} "$L/$space/deep/gone"
		echo full >"$L/$space/full"
		setfattr -n $space.overlay.opaque -v x "$L/$space" "$L/$space/deep"
		setfattr -n $space.overlay.whiteout -v y "$L/$space/gone" "$L/$space/deep/gone"
		# a file with content is none, whatever it says
		setfattr -n $space.overlay.whiteout -v y "$L/$space/full"
	done
	up "$L:$bottom"
	for space in trusted user; do
		absent $space/gone $space/deep/gone
		eq "$space: names" "deep full plain stay" "$(names "$M/$space")"
	done
	touch "$M/user/gone"
	eq "made again" "deep full gone plain stay" "$(names "$M/user")"
	again
	eq "after a remount" "deep full gone plain stay" "$(names "$M/user")"
}

opaque() {
	need_root
	local bottom=$D/bottom d
	for d in d1 d2 d3 d4 d5; do
		mkdir -p "$bottom/$d/s/t" "$L/$d/s/t"
		echo low | tee "$bottom/$d/old" "$bottom/$d/s/old" >"$bottom/$d/s/t/old"
		echo new >"$L/$d/s/t/new"
	done
	setfattr -n trusted.overlay.opaque -v y "$L/d1"
	setfattr -n user.overlay.opaque -v y "$L/d2"
	setfattr -n user.fuseoverlayfs.opaque -v y "$L/d3"
	touch "$L/d4/.wh..wh..opq"
	touch "$L/d5/.wh..wh.plnk" "$L/d5/.wh..wh.aufs" # AUFS's own: no whiteouts, and not to be seen
	up "$L:$bottom"
	for d in d1 d2 d3 d4; do
		absent $d/s/t/old $d/.wh..wh..opq
		ls "$M/$d" "$M/$d/s" >"$D/out"
		absent $d/s/t/old
		eq "names of $d" "s s/t s/t/new" "$(names "$M/$d")"
		eq "marks to be seen on $d" "" "$(getfattr -d -m 'overlay|fuseoverlayfs' "$M/$d")"
	done
	eq "names of d5" "old s s/old s/t s/t/new s/t/old" "$(names "$M/d5")"
	touch "$M/d1/upper" "$M/d4/s/upper"
	again
	eq "d1 with an upper" "s s/t s/t/new upper" "$(names "$M/d1")"
	eq "d4 with an upper" "s s/t s/t/new s/upper" "$(names "$M/d4")"
}

# A whiteout or an opaque directory in the middle, with directories above and below it.
in_the_middle() {
	mkdir -p "$D"/l{1,2,3}/{d,e,f}
	touch "$D"/l3/{d,e,f}/bottom "$D"/l1/{d,e}/top
	rmdir "$D/l1/f" "$D/l2/d" "$D/l2/e"
	touch "$D/l2/.wh.d"
	mknod "$D/l2/e" c 0 0
	rmdir "$D/l2/f"
	echo file >"$D/l2/f"
	mkdir "$U/d" "$U/e"
	touch "$U/d/upper" "$U/e/upper"
	up "$D/l1:$D/l2:$D/l3"
	eq "names" "d d/top d/upper e e/top e/upper f" "$(names "$M")"
	eq "a file that hides a directory" file "$(cat "$M/f")"
}

# One stack with all forms on top of each other, taken away and made again.
all_forms() {
	need_root
	local i
	mkdir -p "$D"/l{1,2,3,4,5}/d
	for i in 1 2 3 4 5; do touch "$D/l5/d/f$i"; done
	touch "$D/l4/d/.wh.f1"
	mknod "$D/l4/d/f2" c 0 0
	setfattr -n user.overlay.opaque -v x "$D/l4/d"
	touch "$D"/l4/d/f{3,4}
	setfattr -n user.overlay.whiteout -v "" "$D"/l4/d/f{3,4}
	echo back >"$D/l3/d/f1"
	echo back >"$D/l3/d/f2"
	echo back >"$D/l3/d/f3"
	touch "$D/l2/d/.wh.f1"
	mknod "$D/l2/d/f3" c 0 0
	echo again >"$D/l1/d/f1"
	up "$D/l1:$D/l2:$D/l3:$D/l4:$D/l5"
	eq "names" "d d/f1 d/f2 d/f5" "$(names "$M")"
	eq "contents" "again back" "$(words cat "$M"/d/f[12])"
}

# A user's file whose name looks like a whiteout is a file.
odd_names() {
	mkdir "$L/d"
	touch "$L/d/wh.x" "$L/d/x"
	mknod "$L/d/null" c 1 3
	mknod "$L/d/odd" c 0 5
	up
	eq "names" "null odd wh.x x" "$(names "$M/d")"
	py "$M" <<'P'
os.chdir(sys.argv[1])
spit("d/.wh.x", "")
eq("what was made is there", True, os.path.exists("d/.wh.x") and os.path.exists("d/x"))
e = err(os.mknod, "d/zero", stat.S_IFCHR | 0o600, os.makedev(0, 0))
eq("mknod of what would be a whiteout", "EPERM", ename(e))
eq("the directory still lists", True, "x" in os.listdir("d"))
P
}

# They are files of every type, go through every operation, and hide nothing; also as a layer, and where whiteouts
# have that form themselves.
names_of_marks() {
	local form got
	for form in auto aufs; do
		rm -rf "$U" "$W" "$D/l2" && mkdir "$U" "$W"
		rm -rf "${L:?}"/* && mkdir "$L/d"
		touch "$L/d/x" "$L/d/y" "$L/.wh.z"
		up "$L" whiteout=$form
		py "$M" <<'P'
os.chdir(sys.argv[1])
os.mkdir("store")
spit("d/.wh.x", "one")
spit("store/.wh.f", "two")
os.mkdir("store/.wh.dir")
spit("store/.wh.dir/.wh..wh..opq", "")
os.symlink("x", "store/.wh.sym")
os.link("d/.wh.x", "d/.wh.hard")
os.mkfifo("store/.wh.")
spit("store/.wh..wh.name.f", "three")
os.mkdir("store/.wh..wh.plnk")
spit("store/.wh.old", "")
os.rename("store/.wh.old", "store/.wh.new")
os.rename("store/.wh.new", "store/new")
spit("store/.wh.gone", "")
os.unlink("store/.wh.gone")
spit(".wh.z", "no whiteout")
spit("store/.wh." + "n" * 242, "")
fails("too long a name", "EPERM", spit, "store/.wh." + "n" * 243, "")
fails("one that is there", "EEXIST", os.mkdir, "store/.wh.dir")
fails("one that is not", "ENOENT", os.stat, "store/.wh.gone")
fails("a full directory", "ENOTEMPTY", os.rmdir, "store/.wh.dir")
os.unlink("store/.wh." + "n" * 242)
P
		got=".wh.z d d/.wh.hard d/.wh.x d/x d/y store store/.wh. store/.wh..wh.name.f store/.wh..wh.plnk
			store/.wh.dir store/.wh.dir/.wh..wh..opq store/.wh.f store/.wh.sym store/new"
		eq "names with whiteout=$form" "$(xargs <<<"$got")" "$(names "$M")"
		again
		eq "names after a remount" "$(xargs <<<"$got")" "$(names "$M")"
		eq "contents" "oneonetwothree" "$(cat "$M/d/.wh.hard" "$M/d/.wh.x" "$M/store/.wh.f" "$M/store/.wh..wh.name.f")"
		down
		# It is a layer now.
		mv "$U" "$D/l2" && rm -rf "$W" && mkdir "$U" "$W"
		up "$D/l2:$L" whiteout=$form
		eq "names as a layer" "$(xargs <<<"$got")" "$(names "$M")"
		rm "$M/d/.wh.x" "$M/store/.wh.f" && rm -r "$M/store/.wh.dir" && mkdir "$M/store/.wh.dir" || fail "removing"
		got=$(xargs <<<"$got" | sed 's| d/.wh.x | |; s| store/.wh.dir/.wh..wh..opq store/.wh.f | |')
		eq "names after removing" "$got" "$(names "$M")"
		again
		eq "names after removing and a remount" "$got" "$(names "$M")"
		down
	done
	seen=''
}

# A store of layers in a mount, as of a container engine in a container: marks in it are marks for a mount of it.
layers_in_a_mount() {
	mkdir "$D"/{p1,p2,p3,p,l}
	mount_at "$D/p" "lowerdir=$D/p1,upperdir=$D/p2,workdir=$D/p3" || fail "no mount: $(cat "$T/mount.log")"
	mkdir -p "$D/p"/{top/d,base/d,base/gone,u,w}
	touch "$D/p/base/d/below" "$D/p/base/f" "$D/p/base/gone/g" "$D/p/top/.wh.f" "$D/p/top/.wh.gone" "$D/p/top/d/.wh..wh..opq" "$D/p/top/d/n"
	U=$D/p/u W=$D/p/w
	up "$D/p/top:$D/p/base"
	eq "names" "d d/n" "$(names "$M")"
	touch "$M/f"
	rm "$M/d/n"
	again
	eq "names after changes" "d f" "$(names "$M")"
	down
	down "$D/p"
}

over_a_whiteout() {
	need_root
	chmod 777 "$L" "$U"
	local f look='%n:%F:%u'
	for f in sym hard dir fifo file dev ren tmp sock; do echo low >"$L/$f"; done
	echo h >"$L/src"
	up
	rm "$M"/{sym,hard,dir,fifo,file,dev,ren,tmp,sock}
	as 1000 sh -c 'cd "$0" && ln -s nowhere sym && mkdir dir && mkfifo fifo && echo new >file && echo r >r0 && mv r0 ren' "$M" ||
		fail "as a plain user"
	ln "$M/src" "$M/hard"
	mknod "$M/dev" c 1 3
	py "$M" <<'P'
os.chdir(sys.argv[1])
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o644)
name_it(fd, "tmp")
import socket
socket.socket(socket.AF_UNIX).bind("sock")
P
	local want='dev:character special file:0 dir:directory:1000 fifo:fifo:1000 file:regular file:1000
		hard:regular file:0 ren:regular file:1000 sock:socket:0 src:regular file:0 sym:symbolic link:1000
		tmp:regular file:0'
	objects() { (cd "$M" && stat -c "$look" -- *) | sed 's/regular empty/regular/' | tr '\n' ' '; }
	eq "objects" "$(echo $want) " "$(objects)"
	again
	eq "objects after a remount" "$(echo $want) " "$(objects)"
	eq "content" new "$(cat "$M/file")"
	eq "listing" "" "$(ls -A "$M/dir")"
}

# Written whiteouts are names of one 0:0 device, and only where there is something to hide.
written() {
	need_root
	mkdir -p "$L/d" "$L/all"
	touch "$L"/d/{1..50} "$L"/all/{1..9}
	up
	touch "$M/new" "$M/d/new"
	rm "$M/new" "$M/d/new" "$M"/d/{1..49}
	rm -r "$M/all"
	rm "$M/d/50"
	down
	eq "what is in the upper" "all d $(seq -f d/%.0f 50 | sort | tr '\n' ' ' | sed 's/ $//')" "$(names "$U")"
	eq "types and numbers" "character special file 0:0" "$(stat -c '%F %t:%T' "$U/all" "$U"/d/* | sort -u)"
	eq "inodes" 1 "$(stat -c %i "$U/all" "$U"/d/* | sort -u | wc -l)"
	[ "$(find "$W" -type f | wc -l)" = 0 ] || fail "files are left in the work directory"
}

# Whatever is chosen to write, a mount without the option reads it.
every_way() {
	need_root
	local how
	for how in whiteout=char whiteout=xattr whiteout=aufs xattrs=trusted xattrs=user xattrs=none userxattr; do
		rm -rf "$L" "$U" "$W"
		mkdir -p "$L"/{d/sub,e,f} "$U" "$W"
		touch "$L"/{d/old,d/sub/old,e/old,f/gone,f/stay,file}
		seen=''
		up "$L" "$how"
		rm -r "$M/d" "$M/f/gone" "$M/file"
		mkdir -p "$M/d/sub"
		rm "$M/e/old"
		rmdir "$M/e"
		mkdir "$M/file"
		eq "names with $how" "d d/sub f f/stay file" "$(names "$M")"
		again
		eq "names with $how, again" "d d/sub f f/stay file" "$(names "$M")"
		down
		up
		eq "names of what was written with $how" "d d/sub f f/stay file" "$(names "$M")"
		down
		case $how in
		whiteout=char) eq "the whiteout" "character special file" "$(stat -c %F "$U/e")" ;;
		whiteout=xattr) eq "the whiteout" "regular empty file" "$(stat -c %F "$U/e")" ;;
		whiteout=aufs) eq "the whiteout" "regular empty file" "$(stat -c %F "$U/.wh.e")" ;;
		*user*) eq "the mark" y "$(getfattr --absolute-names --only-values -n user.overlay.opaque "$U/d")" ;;
		esac
	done
}

kernel_opaque() {
	need_root
	mkdir -p "$L/d/sub" "$L/e"
	touch "$L/d/old" "$L/d/sub/old" "$L/e/old"
	up
	rm -r "$M/d"
	mkdir -p "$M/d/sub"
	touch "$M/d/sub/new"
	rm -r "$M/e"
	mkdir "$M/fresh"
	down
	case $(getfattr --absolute-names --only-values -n trusted.overlay.opaque "$U/d" 2>&1) in y*) ;; *) fail "d is not opaque to the kernel" ;; esac
	eq "the upper" "d d/sub d/sub/new e fresh" "$(names "$U")"
	in_kernel
	eq "the kernel's view" "d d/sub d/sub/new fresh" "$(names "$M")"
}

holds "0:0 devices and .wh. names hide their name below, and no other" device_and_aufs
holds "whiteouts by xattr hide their name in a marked directory" by_xattr
holds "every form of opaque directory hides all below it" opaque
holds "a whiteout between two directories cuts them apart" in_the_middle
holds "all forms mix in one stack" all_forms
holds "what only looks like a whiteout is none" odd_names
holds "names like those of whiteouts are names" names_of_marks
holds "layers that are kept in a mount" layers_in_a_mount
holds "every type of file can be made over a whiteout, and belongs to its maker" over_a_whiteout
holds "written whiteouts are names of one 0:0 device, where there is something to hide" written
holds "written opaque directories are the kernel's" kernel_opaque
holds "every way to mark deletions works, and is read without being asked for" every_way
finish
