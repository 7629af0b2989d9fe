#!/bin/bash
# A mount without an upper: all can be read, nothing written, and the layers do not notice.
. "$(dirname "$0")/lib.sh"

lowers() {
	mkdir -p "$L/d" "$D/l2/d/sub" "$D/l3/d"
	echo 1 >"$L/d/one"
	echo 2 >"$D/l2/d/sub/two"
	echo 3 | tee "$D/l3/d/one" >"$D/l3/d/three"
	touch "$D/l3/d/gone"
	touch "$L/d/.wh.gone"
	ln -s one "$L/d/link"
	setfattr -n user.x -v y "$L/d/one"
	seen=$(mark "$L" "$D/l2" "$D/l3")
}

mount_only() {
	mount_at "$M" "$1" || fail "no mount: $(cat "$T/mount.log")"
}

stack() {
	lowers
	mount_only "lowerdir=$L:$D/l2:$D/l3"
	eq "names" "d d/link d/one d/sub d/sub/two d/three" "$(names "$M")"
	eq "contents" "1 1 2 3" "$(words cat "$M"/d/{link,one,sub/two,three})"
	eq "xattr" y "$(getfattr --absolute-names --only-values -n user.x "$M/d/one")"
	refuses_all
	down
	eq "layers" "$seen" "$(mark "$L" "$D/l2" "$D/l3")"
	seen=''
}

refuses_all() {
	py "$M" <<'P'
os.chdir(sys.argv[1])
for what, *call in (
        ("create", os.open, "new", os.O_CREAT | os.O_WRONLY), ("create in a directory", os.open, "d/new", os.O_CREAT | os.O_WRONLY),
        ("open for writing", os.open, "d/one", os.O_WRONLY), ("open for both", os.open, "d/one", os.O_RDWR),
        ("O_TRUNC", os.open, "d/one", os.O_TRUNC), ("O_TMPFILE", os.open, ".", os.O_TMPFILE | os.O_RDWR),
        ("mkdir", os.mkdir, "new"), ("mknod", os.mknod, "new"), ("symlink", os.symlink, "x", "new"),
        ("link", os.link, "d/one", "new"), ("unlink", os.unlink, "d/one"), ("rmdir", os.rmdir, "d/sub"),
        ("rename", os.rename, "d/one", "d/uno"), ("rename of a directory", os.rename, "d", "e"), ("chmod", os.chmod, "d/one", 0o600),
        ("chown", os.chown, "d/one", 1, 1), ("utimes", os.utime, "d/one"), ("truncate", os.truncate, "d/one", 0),
        ("setxattr", os.setxattr, "d/one", "user.x", b"z"), ("removexattr", os.removexattr, "d/one", "user.x")):
    fails(what, "EROFS", *call)
fails("what is not there", "ENOENT", os.stat, "none")
P
}

one_layer() {
	lowers
	mount_only "lowerdir=$L"
	eq "names" "d d/link d/one" "$(names "$M")"
	echo x 2>/dev/null >"$M/d/one" && fail "it can be written"
	down
	seen=''
}

# With an upper, read-only by option: what the upper has shows, and nothing is done to it.
upper_read_only() {
	lowers
	seen=''
	up
	echo up >>"$M/d/one"
	rm "$M/d/link"
	ln -s two "$M/d/link"
	mkdir "$M/d/sub"
	down
	local was
	was=$(find "$U" -printf '%p %y %i %m %U:%G %n %s %T@ %l\n' | sort)
	mount_only "lowerdir=$L:$D/l2:$D/l3,upperdir=$U,workdir=$W,ro"
	eq "content" $'1\nup' "$(cat "$M/d/one")"
	refuses_all
	down
	alike "the upper" "$was" "$(find "$U" -printf '%p %y %i %m %U:%G %n %s %T@ %l\n' | sort)"
}

access_times() {
	lowers
	touch -a -d 1999-01-01 "$L/d/one" "$L/d" "$L"
	touch -ah -d 1999-01-01 "$L/d/link"
	local way
	for way in "lowerdir=$L" "lowerdir=$L,upperdir=$U,workdir=$W"; do
		mount_only "$way"
		ls -lR "$M" >"$D/out"
		cat "$M/d/one" "$M/d/link" >"$D/out"
		getfattr -R -d "$M" >"$D/out"
		echo x >"$M/d/new" 2>/dev/null
		down
	done
	eq "access times of the layer" "1999" "$(find "$L" ! -name '.wh.*' -printf '%AY\n' | sort -u)"
	seen=''
}

holds "a stack of layers is read, and every change refused with EROFS" stack
holds "one layer alone can be mounted" one_layer
holds "an upper can be mounted read-only" upper_read_only
holds "reading leaves no trace in a layer" access_times
finish
