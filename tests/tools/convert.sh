#!/bin/bash
# plyfs-convert: a layer shows the same in any form of marks, at any moment on the way, or is refused as it is.
# timeout: 1200
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-convert
found=1 trouble=2 busy=3
forms=(overlay-trusted overlay-user "overlay-user --whiteouts=xattr" "overlay-trusted --whiteouts=xattr" aufs fuse-overlayfs)

# to FORM LAYER [OUT]: the form may have options
to() {
	local form=$1
	shift
	# shellcheck disable=SC2086
	tool 0 --to $form "$@"
}

# layers SEED [WORD]: a stack of 4, in $T/g1 to g4
layers() {
	grow "$1" 4 ${2:+"$2"}
	mount_at "$M" "lowerdir=$grown" || fail "no mount"
	tree_of "$M" >"$T/wanted"
	down
}

# shows [OPTIONS]: what the layers show is as it was, by plyfs; with options, by overlayfs
shows() {
	if [ -n "${1:-}" ]; then
		overlay "lowerdir=$grown,$1"
	else
		mount_at "$M" "lowerdir=$grown" || fail "no mount: $(cat "$T/mount.log")"
	fi
	seen >"$T/seen"
	down
	seen_in "$T/wanted" | diff - "$T/seen" >"$T/differences" || fail "it shows something else: $(head -n 20 "$T/differences")"
}

seen() {
	tree_of "$M" | seen_in -
}

# Link counts of names that whiteouts hide differ from reader to reader.
seen_in() {
	sed -E 's/^(.* [a-ce-z] [0-7]+ [0-9]+:[0-9]+ [0-9.]+) [0-9]+ /\1 /' "$1" | grep -v "^# file: .*overlay"
}

# raw DIR [FORM]: what stands on disk; of whiteouts no more than that. Forms that are not of overlayfs leave marks but
# opaque and whiteout in the space where they find them.
raw() {
	python3 - "$1" "${2:-overlay}" <<-'END'
		import os, re, stat, sys
		top, form = sys.argv[1:]
		def plain(name):
		    m = re.fullmatch(r"(trusted|user).overlay\.(origin|impure|nlink|upper|uuid|protattr)", name)
		    return m[2] if m and not form.startswith("overlay") else name
		def attrs(path):
		    return sorted((plain(n), os.getxattr(path, n, follow_symlinks=False)) for n in os.listxattr(path, follow_symlinks=False))
		for dir, dirs, files in os.walk(top):
		    for name in sorted(dirs + files) + ["."]:
		        path = os.path.join(dir, name)
		        st = os.lstat(path)
		        a = attrs(path)
		        is_white = stat.S_ISCHR(st.st_mode) and st.st_rdev == 0 or name.startswith(".wh.") or \
		            any(n.endswith(".overlay.whiteout") for n, _ in a)
		        rest = () if is_white else (oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns,
		            st.st_nlink if stat.S_ISREG(st.st_mode) else 0, st.st_size if stat.S_ISREG(st.st_mode) else 0)
		        print(os.path.relpath(path, top), stat.S_IFMT(st.st_mode), a, *rest)
	END
}

there_and_back() {
	need_root
	local seed one other i
	for seed in 61 ${PLY_LONG:+62 70}; do
		layers $seed norename
		for one in "${forms[@]}"; do
			for i in 1 2 3 4; do to "$one" "$T/g$i"; done
			shows
			for i in 1 2 3 4; do raw "$T/g$i" "$one" >"$T/raw$i"; done
			for other in "${forms[@]}"; do
				for i in 1 2 3 4; do
					to "$other" "$T/g$i"
					to "$other" -j "$T/g$i"
					grep -q '"whiteouts":0,"opaques":0,"marks":0' "$T/out" || fail "$other: not done at once: $(cat "$T/out")"
					to "$one" "$T/g$i"
					raw "$T/g$i" "$one" | diff "$T/raw$i" - >"$T/differences" ||
						fail "$one to $other and back: $(head "$T/differences")"
				done
			done
		done
	done
}

copies() {
	need_root
	local form i
	layers 63 norename
	for form in "${forms[@]}"; do
		for i in 1 2 3 4; do
			raw "$T/g$i" >"$T/before"
			rm -rf "$T/out$i"
			to "$form" "$T/g$i" "$T/out$i"
			raw "$T/g$i" | diff "$T/before" - || fail "the layer has changed"
			to "$form" "$T/g$i"
			diff <(raw "$T/g$i") <(raw "$T/out$i") >"$T/differences" || fail "in place and copied differ: $(head "$T/differences")"
		done
	done
}

# Redirects and data below: between the two spaces, and no further.
everything() {
	need_root
	local kernel=redirect_dir=on,metacopy=on i seed
	for seed in 64 65; do
		layers $seed
		for i in 1 2 3 4; do to overlay-user "$T/g$i"; done
		[ -z "$(find "$T"/g? -print0 | xargs -0 getfattr -hd -m trusted.overlay.redirect 2>/dev/null)" ] || fail "trusted marks"
		shows
		for i in 1 2 3 4; do to overlay-trusted "$T/g$i"; done
		shows
		shows redirect_dir=on,metacopy=on
	done
}

by_overlayfs() {
	need_root
	local i seed
	for seed in 66 67; do
		layers $seed norename
		for i in 1 2 3 4; do to aufs "$T/g$i"; done
		shows
		for i in 1 2 3 4; do to overlay-trusted "$T/g$i"; done
		shows redirect_dir=off
		for i in 1 2 3 4; do to "overlay-trusted --whiteouts=xattr" "$T/g$i"; done
		shows redirect_dir=off
		for i in 1 2 3 4; do to overlay-user "$T/g$i"; done
		shows userxattr
		for i in 1 2 3 4; do to "overlay-user --whiteouts=xattr" "$T/g$i"; done
		shows userxattr
	done
}

by_fuse_overlayfs() {
	need_root
	need fuse-overlayfs
	local i
	layers 68 norename
	for i in 1 2 3 4; do to fuse-overlayfs "$T/g$i"; done
	fuse-overlayfs -o "lowerdir=$grown" "$M" || fail "no fuse-overlayfs"
	(cd "$M" && find . -printf '%p %y %m %U:%G %l\n' | sort) >"$T/seen"
	umount "$M"
	mount_at "$M" "lowerdir=$grown" || fail "no mount"
	(cd "$M" && find . -printf '%p %y %m %U:%G %l\n' | sort) | diff - "$T/seen" || fail "fuse-overlayfs shows something else"
	down
}

# as_wanted: the inner mount shows the names that $T/names has; unmounts both
as_wanted() {
	(cd "$T/inner" && find . -type d -printf '%p d %m %U:%G %T@\n' -o -printf '%p %y %m %U:%G %T@ %s %l\n' | sort) >"$T/seen"
	down "$T/inner"
	down
	diff "$T/names" "$T/seen" >"$T/differences" || fail "another tree within: $(head -n 20 "$T/differences")"
}

# A layer within an overlay: the outer one takes one level of escapes off, and shows the marks.
nested() {
	need_root
	local i inner=
	layers 69 norename
	fresh
	rm -rf "$T/up"
	mkdir "$T/up" "$T/inner"
	for i in 4 3 2 1; do
		to "overlay-trusted --nested" "$T/g$i" "$L/n$i"
		inner=$inner:$M/n$i
	done
	sed -E 's/^(.* [a-ce-z] [0-7]+ [0-9]+:[0-9]+ [0-9.]+) [0-9]+ /\1 /' "$T/wanted" | grep '^\./\|^\. ' | sort >"$T/names"
	overlay "lowerdir=$L:$T/up"
	mount -t overlay overlay -o "lowerdir=${inner#:},redirect_dir=off" "$T/inner" || fail "no inner overlay"
	as_wanted
	overlay "lowerdir=$L:$T/up,userxattr"
	mount -t overlay overlay -o "lowerdir=${inner#:},userxattr" "$T/inner" || fail "no inner overlay"
	as_wanted
	mount_at "$M" "lowerdir=$L:$T/up" || fail "no mount"
	mount_at "$T/inner" "lowerdir=${inner#:}" || fail "no inner mount"
	as_wanted
	mkdir "$T/deeper"
	setfattr -n trusted.overlay.overlay.opaque -v y "$T/deeper"
	to "overlay-trusted --nested" "$T/deeper" "$T/deepest"
	eq "escaped once more" y "$(getfattr --only-values -n trusted.overlay.overlay.overlay.opaque "$T/deepest" 2>/dev/null)"
}

# marked: a layer with marks of all forms
marked() {
	rm -rf "$T/g1" "$T/g2"
	mkdir -p "$T/g1"/{d,e,f,x}/sub "$T/g2"/{d,e,f,g,x}/sub "$T/g1/g"
	touch "$T/g1"/{a,b,c} "$T/g1"/{d,e,f,x}/low "$T/g2/new" "$T/g2/x/low"
	mknod "$T/g2/a" c 0 0
	touch "$T/g2/.wh.b" "$T/g2/.wh.c" "$T/g2/e/.wh..wh..opq" "$T/g2/.wh.f" "$T/g2/.wh.new"
	setfattr -n trusted.overlay.opaque -v y "$T/g2/d"
	setfattr -n trusted.overlay.opaque -v x "$T/g2/x"
	setfattr -n user.overlay.opaque -v y "$T/g2/x"
	setfattr -n trusted.overlay.whiteout -v y "$T/g2/x/low"
	setfattr -n user.overlay.origin -v 0x00fb "$T/g2/new"
	find "$T/g1" "$T/g2" -exec touch -hd 2001-01-01 {} +
	grown=$T/g2:$T/g1
}

mixed() {
	need_root
	local form
	for form in "${forms[@]}"; do
		marked
		mount_at "$M" "lowerdir=$grown" || fail "no mount"
		tree_of "$M" >"$T/wanted"
		down
		# shellcheck disable=SC2086
		tool $found -n --to $form "$T/g2"
		marked
		to "$form" "$T/g2"
		shows
		eq "$form: time" 978307200 "$(stat -c %Y "$T/g2")"
		[ "$form" = aufs ] || eq "$form: .wh. files" "" "$(find "$T/g2" -name '.wh.*')"
		[ "$form" != aufs ] || eq "others" "" "$(find "$T/g2" -type c)$(getfattr -Rhd -m 'overlay.(opaque|whiteout)' "$T/g2" 2>/dev/null)"
	done
}

# refused TEXT PATH FORM: with these words, and nothing changes
refused() {
	raw "$T/g2" >"$T/before"
	# shellcheck disable=SC2086
	tool $trouble --to $3 "$T/g2"
	says "$1"
	says "'$2'"
	raw "$T/g2" | diff "$T/before" - || fail "it changed something"
}

refusals() {
	need_root
	local long
	long=$(printf 'n%.0s' {1..252})
	marked
	mknod "$T/g2/d/$long" c 0 0
	refused "more than 251 bytes" "d/$long" aufs
	marked
	mknod "$T/g2/d/${long#n}" c 0 0
	to aufs "$T/g2"
	[ -e "$T/g2/d/.wh.${long#n}" ] || fail "251 bytes are too many"
	marked
	setfattr -n trusted.overlay.redirect -v /e "$T/g2/x"
	refused "renamed directory" x aufs
	refused "renamed directory" x fuse-overlayfs
	marked
	setfattr -n user.overlay.metacopy "$T/g2/new"
	refused "data is in a layer below" new aufs
	marked
	echo text >"$T/g2/.wh.diary"
	refused "a user's file" .wh.diary overlay-trusted
	rm "$T/g2/.wh.diary"
	mkdir "$T/g2/.wh.dir"
	refused "a user's file" .wh.dir aufs
	marked
	touch "$T/g2/d/unannounced" "$T/g2/g/unannounced"
	setfattr -n trusted.overlay.whiteout -v y "$T/g2/g/unannounced"
	refused "announces none" g/unannounced "overlay-trusted --whiteouts=xattr"
	tool $trouble --to nothing "$T/g2"
	tool $trouble "$T/g2"
	tool $trouble --to aufs --nested "$T/g2" "$T/x"
	tool $trouble --to overlay-user --nested "$T/g2"
	tool $trouble --to aufs "$T/g2" "$T/g1"
	tool $trouble --to aufs "$T/g2" "$T/g2/in"
}

in_use() {
	need_root
	fresh
	up
	tool $busy --to aufs "$U"
	says "unmount it first"
	down
}

# from FORM: the layer in that form, or as it is
from() {
	marked
	[ "$1" = mixed ] || to "$1" "$T/g2"
}

# Killed at any of its changes the layer reads the same, directories' times left out; the next run finishes.
killed() {
	need_root
	local from to n
	while IFS=, read -r from to; do
		from "$from"
		mount_at "$M" "lowerdir=$grown" || fail "no mount"
		tree_of "$M" | sed '/ d /s/[^ ]*$//' >"$T/wanted"
		down
		for ((n = 1; ; n++)); do
			from "$from"
			# shellcheck disable=SC2086
			killed_at $n "$prog" --to $to "$T/g2" && break
			mount_at "$M" "lowerdir=$grown" || fail "no mount"
			tree_of "$M" | sed '/ d /s/[^ ]*$//' | diff "$T/wanted" - >"$T/differences" ||
				fail "$from to $to, killed at $n: $(head "$T/differences")"
			down
			to "$to" "$T/g2"
			to "$to" -j "$T/g2"
			grep -q '"whiteouts":0,"opaques":0,"marks":0' "$T/out" || fail "$from to $to, killed at $n: $(cat "$T/out")"
			[ -z "$(find "$T/g2" -name '*plyfs-convert*')" ] || fail "something is left"
		done
		[ $n -gt 15 ] || fail "$from to $to: only $n calls"
	done <<-'END'
		mixed,overlay-trusted
		mixed,aufs
		mixed,overlay-user --whiteouts=xattr
		overlay-trusted,aufs
		aufs,overlay-user
		overlay-user,overlay-trusted --whiteouts=xattr
		overlay-trusted --whiteouts=xattr,overlay-user --whiteouts=xattr
		overlay-user --whiteouts=xattr,fuse-overlayfs
	END
}

interrupted() {
	need_root
	fresh
	mkdir "$U/d"
	python3 - "$U/d" 20000 <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		os.mknod("0", 0o20000, 0)
		for i in range(1, int(sys.argv[2])):
		    os.link("0", str(i))
	END
	touch -d 2001-01-01 "$U/d"
	set -m
	"$prog" -q --to aufs "$U" 2>"$T/err" &
	local pid=$! status
	set +m
	until [ "$(stat -c %Y "$U/d")" != 978307200 ]; do kill -0 $pid 2>/dev/null || break; done
	kill -INT $pid 2>/dev/null
	wait $pid 2>/dev/null
	status=$?
	[ $status = 0 ] || {
		eq "status" 130 $status
		says "interrupted"
	}
	eq "the directory's time" 978307200 "$(stat -c %Y "$U/d")"
	eq "whiteouts" 20000 "$(find "$U/d" ! -type d | sed 's,.*/,,; s/^\.wh\.//' | sort -u | wc -l)"
	to aufs "$U"
	eq "whiteouts" 20000 "$(find "$U/d" -name '.wh.*' | wc -l)"
}

hostile() {
	need_root
	marked
	local form
	mkdir "$T/outside"
	touch "$T/outside/.wh.x"
	setfattr -n trusted.overlay.opaque -v y "$T/outside"
	ln -s "$T/outside" "$T/g2/link"
	touch "$T/g2/.wh..wh.name.own" "$T/g2/.wh..wh..wh.name.hidden"
	touch "$T/g2/.wh."$'new\nline\e[2J'
	mknod "$T/g2/null" c 1 3
	mkfifo "$T/g2/fifo"
	head -c 60000 /dev/urandom >"$T/value"
	python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.big", b"v" * 3500)' "$T/g2/new"
	setfattr -h -n trusted.overlay.origin -v 0x00fb "$T/g2/link"
	for form in "${forms[@]}"; do
		to "$form" -v "$T/g2"
		nothing_raw
		[ -f "$T/g2/.wh..wh.name.own" ] || fail "$form: a user's .wh.own has gone"
		[ "$form" = aufs ] || [ -e "$T/g2/.wh..wh.name.hidden" ] || fail "$form: the whiteout of a user's .wh.hidden has gone"
	done
	[ -e "$T/outside/.wh.x" ] || fail "it followed a link"
	eq "outside" y "$(getfattr --only-values -n trusted.overlay.opaque "$T/outside" 2>/dev/null)"
	fresh
	python3 - "$U" 1500 <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		for i in range(int(sys.argv[2])):
		    os.mkdir("directory")
		    os.chdir("directory")
		os.mknod("gone", 0o20000, 0)
	END
	to aufs "$U"
	grep -q '^1 whiteouts' "$T/out" || fail "$(cat "$T/out")"
	loopfs "$T/fs" 300M mkfs.xfs -q
	mkdir -p "$T/fs/l"
	touch "$T/fs/l/f" "$T/fs/l/.wh.x"
	python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.big", b"v" * 65536)' "$T/fs/l/f"
	to overlay-user "$T/fs/l" "$T/fs/out"
	eq "its size" 65536 "$(getfattr --only-values -n user.big "$T/fs/out/f" 2>/dev/null | wc -c)"
	umount "$T/fs"
}

plain_user() {
	need_root
	fresh
	mkdir -p "$U/d/e"
	touch "$U/d/.wh.a" "$U/d/e/.wh..wh..opq" "$U/d/f"
	setfattr -n user.overlay.redirect -v /x "$U/d"
	chmod 500 "$U/d" "$U/d/e"
	chmod 000 "$U/d/f"
	chown -R 12345:12345 "$U"
	as_user "$prog" --to overlay-user "$U" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
	says "trusted"
	eq "a" 0:0 "$(stat -c %t:%T "$U/d/a")"
	eq "modes" "500 500 0" "$(words stat -c %a "$U/d" "$U/d/e" "$U/d/f")"
	eq "e" y "$(getfattr --only-values -n user.overlay.opaque "$U/d/e" 2>/dev/null)"
	as_user "$prog" --to overlay-user --whiteouts=xattr "$U" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
	as_user "$prog" --to overlay-trusted "$U" >"$T/out" 2>"$T/err"
	eq "status" $trouble $?
	says "no permission to write marks in the trusted space"
}

words_with_layer() {
	tool 0 --help
	! grep -q lower "$T/out" || fail "a stack: $(cat "$T/out")"
	tool 0 --version
	tool $trouble --no-such-option "$L"
	tool $trouble --to aufs
	tool $trouble -l "$L" --to aufs "$U"
	tool $trouble -j -0 --to aufs "$U"
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr python3
check "there and back is nothing, for all pairs of forms" there_and_back
check "a copy is as what is made in place" copies
check "redirects and data below change their space" everything
check "overlayfs shows the same" by_overlayfs
check "so does fuse-overlayfs" by_fuse_overlayfs
check "a layer for storing in an overlay" nested
check "marks of all forms, mixed" mixed
check "what a form cannot say is refused" refusals
check "a mounted upper is refused" in_use
check "killed at any moment it leaves the layer as it was" killed
check "an interrupted run keeps the directories' times" interrupted
check "symlinks, odd names, deep trees, large attributes" hostile
check "a plain user's layer" plain_user
check "help, version, usage" words_with_layer
finish
