#!/bin/bash
# The command line: what a good mount program says, does, and leaves behind.
. "$(dirname "$0")/lib.sh"

tells() {
	local word
	for word in --help -h; do
		"$PLYFS" $word >"$D/out" 2>"$D/err" || fail "$word: exit status $?"
		eq "stderr of $word" "" "$(cat "$D/err")"
		grep -qi usage "$D/out" || fail "$word does not tell the usage"
	done
	for word in lowerdir upperdir workdir -f -d --version; do
		grep -q -- "$word" "$D/out" || fail "--help does not tell of $word"
	done
	for word in --version -V; do
		"$PLYFS" $word >"$D/out" 2>"$D/err" || fail "$word: exit status $?"
		head -n 1 "$D/out" | grep -qE '^plyfs: version [0-9]' || fail "$word: $(cat "$D/out")"
	done
}

foreground() {
	touch "$L/f"
	local signal pid
	for signal in TERM HUP; do
		"$PLYFS" -f -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" >"$D/log" 2>&1 &
		pid=$!
		mounted || fail "no mount: $(cat "$D/log")"
		eq "names" f "$(ls "$M")"
		kill -0 $pid || fail "it is not in the foreground"
		kill -$signal $pid
		gone $pid || fail "SIG$signal does not end it"
		wait $pid
		eq "exit status after SIG$signal" 0 $?
		! mountpoint -q "$M" || fail "still mounted after SIG$signal"
	done
}

mounted() {
	local i
	for ((i = 0; i < 500; i++)); do
		! mountpoint -q "$M" || return 0
		sleep 0.02
	done
	return 1
}

interrupted() {
	touch "$L/f"
	py "$PLYFS" "lowerdir=$L,upperdir=$U,workdir=$W" "$M" <<'P'
program, options, at = sys.argv[1:]
server = subprocess.Popen([program, "-f", "-o", options, at], stdin=subprocess.DEVNULL,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
for _ in range(500):
    if os.path.ismount(at):
        break
    time.sleep(0.02)
spit(f"{at}/g", "written")
server.send_signal(signal.SIGINT)
eq("exit status", 0, server.wait(30))
eq("still mounted", False, os.path.ismount(at))
P
	eq "what was written" written "$(cat "$U/g")"
}

# It returns when the mount answers, not before; and lets go of the caller's descriptors and directory.
background() {
	mkdir "$L/d"
	touch "$L/d/f"
	local i said dir
	for i in {1..10}; do
		said=$(timeout -k 1 20 "$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" 2>&1 </dev/null && ls "$M/d") ||
			fail "mount $i: $said"
		eq "at once, mount $i" f "$said"
		down
	done
	mkdir "$D/cwd"
	dir=$D/cwd
	(cd "$dir" && exec "$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" </dev/null) || fail "mount"
	local pid
	pid=$(server)
	eq "its directory" / "$(readlink "/proc/$pid/cwd")"
	eq "its standard descriptors" /dev/null "$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" | sort -u)"
	eq "its session" "$pid" "$(ps -o sid= -p "$pid" | tr -d ' ')"
	kill -TERM "$pid"
	gone "$pid" || fail "SIGTERM does not end it"
	! mountpoint -q "$M" || fail "still mounted after SIGTERM"
}

spellings() {
	touch "$L/f"
	mkdir "$D/l2"
	touch "$D/l2/g"
	local stack="lowerdir=$L:$D/l2,upperdir=$U,workdir=$W"
	try() { # ARGUMENT...
		"$PLYFS" "$@" "$M" >"$D/out" 2>&1 </dev/null || fail "$*: $(cat "$D/out")"
		eq "names with $*" "f g" "$(names "$M")"
		down
	}
	try -o "$stack"
	eq "what it says" "" "$(cat "$D/out")"
	try "-o$stack"
	try -o "lowerdir=$L:$D/l2" -o "upperdir=$U" -o "workdir=$W"
	try -o "$stack,"
	try -o ",,$stack"
	try -o "rw,nodev,nosuid,suid,dev,exec,noatime,$stack"
	try -o "$stack,context=\"system_u:object_r:container_file_t:s0:c1,c2\""
	try -o "$stack,xino=off,metacopy=on,index=off,redirect_dir=off,volatile"
	try -o "$stack,fsync=0,threaded=1,fast_ino=1,noacl,static_nlink,timeout=1,writeback=0"
	try overlay -o "$stack"
	"$PLYFS" "$M" -o "$stack" </dev/null || fail "options behind the mountpoint"
	down
	try -o "lowerdir+=$L,lowerdir+=$D/l2,upperdir=$U,workdir=$W"
}

unknown() {
	touch "$L/f"
	"$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W,no_such_option=7,nonsense" "$M" >"$D/out" 2>"$D/err" </dev/null ||
		fail "exit status $?"
	eq "names" f "$(names "$M")"
	grep -q no_such_option "$D/err" && grep -q nonsense "$D/err" || fail "they are not named: $(cat "$D/err")"
	down
	"$PLYFS" --no-such-flag -o "lowerdir=$L" "$M" >"$D/out" 2>"$D/err" </dev/null || fail "exit status $? for an unknown flag"
	grep -q no-such-flag "$D/err" || fail "the flag is not named: $(cat "$D/err")"
}

errors() {
	touch "$D/file"
	mkdir -p "$U/in" "$W/in" "$D/m2"
	local good="upperdir=$U,workdir=$W"
	refused "lowerdir=$D/none,$good" "$D/none" "no such"
	refused "lowerdir=$L:$D/none2,$good" "$D/none2"
	refused "lowerdir=$D/file,$good" "$D/file" "directory"
	refused "$good" lowerdir
	refused "lowerdir=,$good" lowerdir
	refused "lowerdir=$L,upperdir=$D/none,workdir=$W" "$D/none"
	refused "lowerdir=$L,upperdir=$D/file,workdir=$W" "$D/file"
	refused "lowerdir=$L,upperdir=$U,workdir=$D/none" "$D/none"
	refused "lowerdir=$L,upperdir=$U,workdir=$D/file" "$D/file"
	refused "lowerdir=$L,upperdir=$U" workdir
	refused "lowerdir=$L,upperdir=$U,workdir=$U" "$U"
	refused "lowerdir=$L,upperdir=$U,workdir=$U/in" "$U"
	refused "lowerdir=$L,upperdir=$W/in,workdir=$W" "$W"
	refused "lowerdir=$L,$good,timeout=never" timeout
	refused "lowerdir=$L,$good,writeback=perhaps" writeback
	refused "lowerdir=$L,$good,redirect_dir=perhaps" "auto|on|copy"
	refused "lowerdir=$L,$good,whiteout=perhaps" "auto|char"
	refused "lowerdir=$L,$good,xattrs=perhaps" "auto|trusted"
	refused "lowerdir=$L,$good,xattrs=none,whiteout=xattr" "mark removed names"
	eq "traces in the upper" "in" "$(names "$U")"
	M=$D/none refused "lowerdir=$L,$good" "$D/none"
	M=$D/file refused "lowerdir=$L,$good" "$D/file"
	"$PLYFS" -o "lowerdir=$L,$good" >"$D/out" 2>"$D/err" </dev/null
	eq "exit status without a mountpoint" 1 $?
	grep -qi mountpoint "$D/err" || fail "without a mountpoint: $(cat "$D/err")"
	"$PLYFS" >"$D/out" 2>"$D/err" </dev/null
	eq "exit status without anything" 1 $?
}

# In a root of its own, so that a server which takes it for a work directory harms nothing else.
root_as_work() {
	need_root
	need unshare chroot
	local at=$D/root dir
	mkdir -p "$at"/{usr,dev,proc,low,up,mnt,other,work/main}
	echo precious | tee "$at/work/main/file" >"$at/work/letter"
	cp "$PLYFS" "$at/plyfs"
	for dir in bin lib lib32 lib64 sbin; do [ ! -L "/$dir" ] || ln -s "$(readlink "/$dir")" "$at/$dir"; done
	cat >"$at/try" <<-'END'
		cd / && [ -x /plyfs ] && [ -f /work/letter ] || exit 5
		! timeout 20 /plyfs -o lowerdir=/low,upperdir=/up,workdir=/ /mnt || exit 6
		! timeout 20 /plyfs -o lowerdir=/low,upperdir=/up,workdir=/up/.. /mnt || exit 7
		! timeout 20 /plyfs -o lowerdir=/low,upperdir=/,workdir=/other /mnt || exit 8
	END
	# shellcheck disable=SC2016 # $0 is the inner shell's
	unshare -m --propagation private sh -ec '
		mount --bind /usr "$0/usr"
		mount --bind /dev "$0/dev"
		mount -t proc proc "$0/proc"
		exec chroot "$0" /bin/sh /try' "$at" >"$D/out" 2>&1 || fail "status $?: $(cat "$D/out")"
	eq "what is said" 3 "$(grep -c "within each other" "$D/out")"
	eq "what is there" "letter main main/file" "$(names "$at/work")"
}

# Cut off anywhere, options mean no mount, or the one that is left of them; and whatever directory a cut path then leads
# to, what lies there stays. In a root of its own, as above.
cut_off() {
	need_root
	need unshare chroot
	local at=$D/root dir
	mkdir -p "$at"/{usr,dev,proc,mnt,"lo,w"/sub,lo,up/per/diff,"w/or k/mine"}
	for dir in / /w "/w/or k" /lo /up; do
		mkdir -p "$at$dir/work/main"
		echo precious | tee "$at$dir/letter" >"$at$dir/work/main/file"
	done
	cp "$PLYFS" "$at/plyfs"
	for dir in bin lib lib32 lib64 sbin; do [ ! -L "/$dir" ] || ln -s "$(readlink "/$dir")" "$at/$dir"; done
	cat >"$at/try" <<-'END'
		cd / && [ -x /plyfs ] && [ -f /work/main/file ] || exit 5
		all='lowerdir="/lo,w":/lo,upperdir=/up/per/diff,workdir="/w/or k/mine",context="a,b",uidmapping=:0:1000:1:1:100000:65536,timeout=1.5,volatile'
		more='lowerdir=/lo\,w/sub:/lo,workdir=/w/or k/mine,upperdir=/up/per/diff'
		cut() {
			for ((n = 1; n <= ${#1}; n++)); do
				options=${1:0:n}
				timeout 20 /plyfs -o "$options" /mnt >/said 2>&1
				rc=$?
				if grep -q " /mnt " /proc/mounts; then
					[ $rc = 0 ] || exit 6
					echo "mounted: $options"
					umount /mnt
				else
					[ $rc = 1 ] && [ -s /said ] || exit 7
				fi
			done
		}
		cut "$all"
		cut "$more"
		rm -r /said
		[ -z "$(ls -A /mnt)" ]
	END
	(cd "$at" && find . -path ./usr -prune -o -name letter -print -o -name main -print -o -path '*/main/*' -print | sort) >"$D/before"
	# shellcheck disable=SC2016 # $0 is the inner shell's
	unshare -m --propagation private sh -ec '
		mount --bind /usr "$0/usr"
		mount --bind /dev "$0/dev"
		mount -t proc proc "$0/proc"
		exec chroot "$0" /bin/bash /try' "$at" >"$D/out" 2>&1 || fail "status $?: $(tail -n 3 "$D/out")"
	grep -q '^mounted: .*volatile$' "$D/out" || fail "the whole is not mounted: $(tail -n 3 "$D/out")"
	! grep -E '^mounted: .*(upperdir=[^,]*$|workdir="[^"]*$|context="[^"]*$)' "$D/out" | grep -v '/mine,upperdir=/up' ||
		fail "half options are mounted"
	! grep -E '^mounted: .*upperdir=.*workdir="?(/w/?|/|/w/or k/?)("|$)' "$D/out" || fail "another directory is taken for the work directory"
	diff "$D/before" <(cd "$at" && find . -path ./usr -prune -o -name letter -print -o -name main -print -o -path '*/main/*' -print | sort) ||
		fail "something is gone (<)"
}

# A slip, and there is another directory named work: nothing is removed from it.
others_work() {
	mkdir -p "$W/work/main"
	echo precious >"$W/work/main/file"
	refused "lowerdir=$L,upperdir=$U,workdir=$W" "$W/work"
	eq "what is there" "work work/main work/main/file" "$(names "$W")"
}

file_system_errors() {
	need_root
	fs_of tmpfs "$D/fs"
	refused "lowerdir=$L,upperdir=$U,workdir=$D/fs/work" "$D/fs/work"
	mount -o remount,ro "$D/fs"
	refused "lowerdir=$L,upperdir=$D/fs/upper,workdir=$D/fs/work" "$D/fs" "read-only"
	refused "lowerdir=$L,upperdir=/proc/self,workdir=/proc/self/fd" /proc
	chmod 755 "$D"
	as 1000 "$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" >"$D/out" 2>"$D/err" </dev/null
	eq "exit status for a user who may not" 1 $?
	[ -s "$D/err" ] || fail "nothing is said"
}

# Over what a dead server left it says so, or mounts all the same; but it does not wait for the dead.
dead_mountpoint() {
	need_root
	touch "$L/f"
	up
	local pid rc
	pid=$(server)
	kill -9 "$pid"
	gone "$pid"
	timeout -k 1 30 "$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M" >"$D/out" 2>"$D/err" </dev/null
	rc=$?
	if [ $rc = 0 ]; then
		eq "names" f "$(names "$M")"
		down
	else
		eq "exit status" 1 $rc
		grep -qF "$M" "$D/err" || fail "the message does not name it: $(cat "$D/err")"
	fi
	umount -l "$M"
	up
}

# by_type SCRIPT: with plyfs where mount(8) looks for programs, seen by nobody else
by_type() {
	cp "$PLYFS" "$D/plyfs"
	export D M
	# shellcheck disable=SC2016
	unshare -m --propagation private bash -c '
		mount -t tmpfs tmpfs /usr/local/bin && cp "$D/plyfs" /usr/local/bin || exit
		eval "$1"' - "$1"
}

# It would be another mount, on top.
no_remount() {
	refused "lowerdir=$L,remount,ro" remount
	need_root
	need mount.fuse3
	touch "$L/f"
	echo "plyfs $M fuse.plyfs lowerdir=$L 0 0" >"$D/fstab"
	by_type '
		mount -T "$D/fstab" "$M" || exit
		! mount -T "$D/fstab" -o remount,noexec "$M" 2>"$D/said" || echo remounted
		grep -q remount "$D/said" || echo unsaid
		umount "$M" && ! mountpoint -q "$M" || echo twice' >"$D/out" 2>&1 </dev/null || fail "mount: $(cat "$D/out")"
	eq "what is wrong" "" "$(cat "$D/out" 2>&1)"
}

in_mount_table() {
	touch "$L/f"
	up "$L" fsname=mine
	local line
	line=$(grep -F " $M " /proc/self/mountinfo)
	case $line in *" - fuse.plyfs mine "*) ;; *) fail "mount table: $line" ;; esac
	down
	up
	line=$(grep -F " $M " /proc/self/mountinfo)
	case $line in *" - fuse.plyfs "*) ;; *) fail "mount table: $line" ;; esac
	case $line in *default_permissions*) ;; *) fail "no default_permissions: $line" ;; esac
}

by_mount() {
	need_root
	need mount.fuse3
	touch "$L/f"
	mount.fuse3 "$PLYFS#source" "$M" \
		-o "rw,lowerdir=$L,upperdir=$U,workdir=$W,nofail,noauto,user,x-systemd.automount,_netdev" \
		>"$D/out" 2>&1 </dev/null || fail "mount.fuse3: $(cat "$D/out")"
	eq "names" f "$(names "$M")"
	eq "what it says" "" "$(cat "$D/out")"
}

# By mount(8) itself, which finds the program by the type and hands over what stands in fstab.
by_fstab() {
	need_root
	need mount.fuse3
	touch "$L/f"
	echo "source $M fuse.plyfs lowerdir=$L,upperdir=$U,workdir=$W,noauto,nofail,_netdev,x-systemd.requires-mounts-for=/srv,user,rw 0 0" >"$D/fstab"
	by_type '
		mount -t fuse.plyfs anything "$M" -o "$(cut -d" " -f4 "$D/fstab")" && ls "$M" && umount "$M"
		for i in {1..100}; do
			mount -T "$D/fstab" "$M" 2>"$D/again" && break
			grep -q "in use" "$D/again" || exit
		done
		ls "$M" && findmnt -no FSTYPE "$M" && umount "$M"' >"$D/out" 2>&1 </dev/null || fail "mount: $(cat "$D/out" "$D/again")"
	eq "names and type" "f f fuse.plyfs" "$(xargs <"$D/out")"
}

# containerd's snapshotter: mount.fuse3 with one -o after the other
by_snapshotter() {
	need_root
	need mount.fuse3
	touch "$L/f"
	mkdir "$D/bin" "$D/l2"
	ln -s "$PLYFS" "$D/bin/fuse-overlayfs"
	PATH=$D/bin:$PATH mount.fuse3 overlay "$M" -o "workdir=$W" -o "upperdir=$U" -o "lowerdir=$L:$D/l2" \
		-o uidmapping=0:1000:10,gidmapping=0:1000:10 -t fuse-overlayfs >"$D/out" 2>&1 </dev/null ||
		fail "mount.fuse3: $(cat "$D/out")"
	eq "names and owner" "f 1000:1000" "$(ls "$M") $(stat -c %u:%g "$M/f")"
	eq "its type" fuse.fuse-overlayfs "$(findmnt -no FSTYPE "$M")"
	down
	# How it finds out whether it may work at all: two layers are mounted, and unmounted until nothing is.
	PATH=$D/bin:$PATH mount.fuse3 overlay "$M" -o "lowerdir=$L:$D/l2" -t fuse-overlayfs >"$D/out" 2>&1 </dev/null || fail "mount.fuse3: $(cat "$D/out")"
	eq "names" f "$(names "$M")"
	py "$M" <<'P'
at = sys.argv[1].encode()
eq("the first unmount", 0, libc.umount2(at, 0))
eq("the second", -1, libc.umount2(at, 0))
eq("why", errno.EINVAL, ctypes.get_errno())
P
}

# Whoever mounted already hands over the descriptor of the device.
by_descriptor() {
	need_root
	touch "$L/f"
	py "$PLYFS" "lowerdir=$L,upperdir=$U,workdir=$W" "$M" <<'P'
program, options, at = sys.argv[1:]
fd = os.open("/dev/fuse", os.O_RDWR)
data = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
if libc.mount(b"plyfs", at.encode(), b"fuse.plyfs", 6, data.encode()):
    raise OSError(ctypes.get_errno(), "mount")
done = subprocess.run([program, "-o", options, f"/dev/fd/{fd}"], stdin=subprocess.DEVNULL, pass_fds=[fd], timeout=30)
os.close(fd)
eq("exit status", 0, done.returncode)
eq("names", ["f"], os.listdir(at))
spit(f"{at}/g", "written")
libc.umount2(at.encode(), 0)
P
	eq "what was written" written "$(cat "$U/g")"
}

# As containers-storage does it: links with random names, in one string that is longer than a page.
many_layers() {
	local i stack=''
	py "$D" <<'P'
os.chdir(sys.argv[1])
os.mkdir("l")
for i in range(500):
    os.makedirs(f"layers/{i}/diff/d")
    spit(f"layers/{i}/diff/d/{i}", f"{i}\n")
    spit(f"layers/{i}/diff/top", f"{i}\n")
    os.symlink(f"../layers/{i}/diff", f"l/{i:026}")
P
	for ((i = 0; i < 500; i++)); do stack+=$(printf ':%s/l/%026d' "$D" $i); done
	[ ${#stack} -gt 20000 ] || fail "only ${#stack} bytes of options"
	up "${stack#:}" volatile,
	eq "names of all" 500 "$(ls "$M/d" | wc -l)"
	eq "the top" 0 "$(cat "$M/top")"
	echo new >"$M/d/499"
	rm "$M/d/498"
	again
	eq "changed at the bottom" "new 499" "$(cat "$M/d/499") $(ls "$M/d" | wc -l)"
}

# Strings with no good path in them: whatever they are taken for, nothing of the machine is a layer or a work directory.
garbled() {
	refused "lowerdir=\"$L" quote
	refused "lowerdir=$L:\"$L" quote
	refused "lowerdir=$L,context=\"a,b" quote
	refused "lowerdir=$L,uidmapping=0:0:1:0:1:1" overlap
	refused "lowerdir=$L,uidmapping=4000000000:4000000000:4000000000" uidmapping
	refused "lowerdir=$L,uidmapping=0:99999999999999999999:1" uidmapping
	refused "lowerdir=$L,upperdir=$U,workd" workdir
	refused "lowerdir=$L,upperdir=$U,workdir=" workdir
	py "$PLYFS" "$M" <<'P'
program, at = sys.argv[1:]
for text in ["a" * 100000, "a," * 50000, "\\" * 100001, "lowerdir=" + "x:" * 50000, "lowerdir=" + ":" * 100000,
             'lowerdir="' + "x" * 100000, "uidmapping=" + ":1:1:1" * 16000, "timeout=" + "9" * 100000]:
    done = subprocess.run([program] + ["-o", text] * 11 + [at], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    eq(f"exit status with {text[:20]}", 1, done.returncode)
    eq("mounted", False, os.path.ismount(at))
    if not done.stderr or len(done.stderr.splitlines()[-1]) > 5000:
        fail(f"with {text[:20]}: {len(done.stderr)} bytes are said")
P
}

# Programs that look for fuse-overlayfs by name find it by the alias, and a version that they can read.
alias() {
	need make
	make -C "$top" -s install-alias BUILD="$BUILD" DESTDIR="$D/root" PREFIX=/usr >"$D/out" 2>&1 || fail "install-alias: $(tail -n 3 "$D/out")"
	local prog=$D/root/usr/bin/fuse-overlayfs line
	line=$("$prog" --version | head -n 1)
	[[ $line =~ ^fuse-overlayfs:\ version\ 1\.([0-9]+)$ ]] && [ "${BASH_REMATCH[1]}" -ge 10 ] || fail "version: $line"
	"$prog" --version | grep -q '^plyfs: version [0-9.]*$' || fail "it does not tell its own version"
	"$prog" --version | grep -q '^FUSE library version' || fail "it does not tell the library's version"
	touch "$L/f"
	"$prog" -o "lowerdir=$L,upperdir=$U,workdir=$W," "$M" </dev/null || fail "mount by the alias"
	eq "names" f "$(names "$M")"
	down
	make -C "$top" -s uninstall BUILD="$BUILD" DESTDIR="$D/root" PREFIX=/usr >"$D/out" 2>&1 || fail "uninstall: $(tail -n 3 "$D/out")"
	eq "left" "" "$(find "$D/root" ! -type d)"
}

holds "help and version" tells
holds "in the foreground until a signal ends it, with a clean unmount" foreground
holds "SIGINT unmounts, and nothing is lost" interrupted
holds "in the background once the mount answers, free of its caller" background
holds "options in every spelling that callers use" spellings
holds "unknown options are named, and no reason to stop" unknown
holds "each error is a sentence that names the path, with status 1 and no mount" errors
holds "the root is no work directory" root_as_work
holds "options that are cut off anywhere do no harm" cut_off
holds "a directory named work that a mount has not made is left alone" others_work
holds "unsuitable file systems and missing rights are refused" file_system_errors
holds "a dead mount on the mountpoint is named, or mounted over" dead_mountpoint
holds "options of a mount are not changed by another on top" no_remount
holds "the mount table tells source and type" in_mount_table
holds "mount.fuse3 mounts it, as for a line of fstab" by_mount
holds "mount(8) mounts it, by type and by fstab" by_fstab
holds "containerd's snapshotter mounts it" by_snapshotter
holds "a descriptor that is mounted already is served" by_descriptor
holds "500 layers in a string of more than a page" many_layers
holds "garbled options are refused in a sentence" garbled
holds "the alias is found and believed" alias
finish
