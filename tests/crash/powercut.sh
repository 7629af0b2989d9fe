#!/bin/bash
# The power is cut while a file system holds upper and work, on a disk that records. Whatever the disk has written since
# its last flush: each file is old or new, whole, and what was synced is there.
# powercut.sh KIND SEED CUTS: those only, on that file system; 0: at each flush.
# timeout: 900
if [ -z "${POWERCUT:-}" ] && [ "$(id -u)" = 0 ]; then
	# Another boot id is to be shown, and only here.
	POWERCUT=1 exec unshare --mount --propagation private "$0" "$@"
fi
. "$(dirname "$(readlink -f "$0")")/../mount/lib.sh"
need_root

RECORDER=$BUILD/tests/recorder
case $RECORDER in /*) ;; *) RECORDER=$top/$RECORDER ;; esac
BOOT=/proc/sys/kernel/random/boot_id

powercut() {
	/usr/bin/python3 "$top/tests/crash/powercut.py" "$@" || exit
}

# format KIND IMAGE
format() {
	case $1 in
	ext4) truncate -s 192M "$2" && mkfs.ext4 -q -E lazy_itable_init=0,nodiscard "$2" ;;
	xfs) truncate -s 320M "$2" && mkfs.xfs -q -K "$2" ;;
	btrfs) truncate -s 256M "$2" && mkfs.btrfs -q -K "$2" ;;
	esac >"$D/mkfs.log" 2>&1 || fail "mkfs: $(tail -n 1 "$D/mkfs.log")"
}

# start_disk: a loop device $disk over the recorder's image
start_disk() {
	local i
	cp --sparse=always "$D/image" "$D/base"
	mkdir "$D/recorder" "$D/fs" "$D/after"
	"$RECORDER" "$D/image" "$D/log" "$D/recorder" &
	recorder=$!
	for ((i = 0; i < 500; i++)); do
		! mountpoint -q "$D/recorder" || break
		sleep 0.02
	done
	disk=$(losetup -f --show --direct-io=on "$D/recorder/image") || skip "no loop devices"
}

stop_disk() {
	umount "$D/fs" && umount "$D/recorder" || fail "the disk is still used"
	wait "$recorder"
}

# work SEED OPERATIONS
work() {
	powercut work "$M" "$D/recorder/count" "$D/state" "$1" "$2"
}

# record SEED: the workload, with all that the server does about it by itself
record() {
	start_disk
	mount "$disk" "$D/fs" || skip "the file system cannot be mounted"
	losetup -d "$disk" # once it is unmounted
	U=$D/fs/upper W=$D/fs/work
	mkdir "$U" "$W"
	sync -f "$U"
	powercut layer "$L" "$D/recorder/count" "$D/state"
	up
	work "${1}1" 80
	# The server settles what was brought up.
	sleep 7
	work "${1}2" 60
	again
	work "${1}3" 40
	down
	sync -f "$U"
	powercut promise "$D/recorder/count" "$D/state"
	stop_disk
}

# after_cuts: $cuts of them, in what workload $seed left on a disk with file system $kind
after_cuts() {
	local rc
	format "$kind" "$D/image"
	record "$seed"
	cat /proc/sys/kernel/random/uuid >"$D/boot"
	mount --bind "$D/boot" $BOOT
	(powercut cuts "$D" "$kind" "$seed" "$cuts")
	rc=$?
	umount $BOOT
	return $rc
}

# cut_on KIND SEED CUTS [SECONDS]
cut_on() {
	need "mkfs.$1"
	kind=$1 seed=$2 cuts=$3
	holds "$1, workload $2: after a power cut all is old or new, and what was synced is there" after_cuts "${4:-300}"
}

if [ $# = 3 ]; then
	cut_on "$@"
elif [ -n "${PLY_LONG:-}" ]; then
	for workload in 1 2 3 4; do
		for on in ext4 xfs btrfs; do
			cut_on $on $workload 150 900
			cut_on $on $((workload + 4)) 0 900
		done
	done
else
	cut_on ext4 1 15
	cut_on xfs 2 12
	cut_on btrfs 3 12
fi
finish
