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
	eq "traces in the upper" "in" "$(names "$U")"
	mkdir -p "$D/home/work/mine"
	touch "$D/home/work/mine/precious"
	refused "lowerdir=$L,upperdir=$U,workdir=$D/home" "$D/home" "not empty"
	chmod 700 "$D/home/work"
	refused "lowerdir=$L,upperdir=$U,workdir=$D/home" "$D/home" "not empty"
	eq "what was in the directory called work" "work work/mine work/mine/precious" "$(names "$D/home")"
	M=$D/none refused "lowerdir=$L,$good" "$D/none"
	M=$D/file refused "lowerdir=$L,$good" "$D/file"
	"$PLYFS" -o "lowerdir=$L,$good" >"$D/out" 2>"$D/err" </dev/null
	eq "exit status without a mountpoint" 1 $?
	grep -qi mountpoint "$D/err" || fail "without a mountpoint: $(cat "$D/err")"
	"$PLYFS" >"$D/out" 2>"$D/err" </dev/null
	eq "exit status without anything" 1 $?
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

holds "help and version" tells
holds "in the foreground until a signal ends it, with a clean unmount" foreground
holds "SIGINT unmounts, and nothing is lost" interrupted
holds "in the background once the mount answers, free of its caller" background
holds "options in every spelling that callers use" spellings
holds "unknown options are named, and no reason to stop" unknown
holds "each error is a sentence that names the path, with status 1 and no mount" errors
holds "unsuitable file systems and missing rights are refused" file_system_errors
holds "a dead mount on the mountpoint is named, or mounted over" dead_mountpoint
holds "the mount table tells source and type" in_mount_table
holds "mount.fuse3 mounts it, as for a line of fstab" by_mount
finish
