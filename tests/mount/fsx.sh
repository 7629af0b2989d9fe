#!/bin/bash
# Data of files that begin in a layer, changed by every means in random order, is what a model in memory says.
# timeout: 900
. "$(dirname "$0")/lib.sh"

fsx() {
	/usr/bin/python3 "$top/tests/mount/fsx.py" "$@" </dev/null || exit
}

# rounds SEED ROUNDS OPERATIONS [OPTIONS]: each with an upper of its own, and half of its operations after a remount
rounds() {
	local i
	fsx make "$L"
	for ((i = 0; i < $2; i++)); do
		rm -rf "${U:?}" "${W:?}" "${D:?}/state"
		mkdir -p "$U" "$W"
		up "$L" "${4:-}"
		fsx run "$M" "$D/state" $((1000 * $1 + i)) $(($3 / 2))
		[ $((i % 2)) = 0 ] || again
		fsx check "$M" "$D/state"
		fsx run "$M" "$D/state" $((1000 * $1 + i + 500)) $(($3 / 2))
		again
		fsx check "$M" "$D/state"
		down
	done
}

# on KIND: layers on a file system of that kind
on() {
	fs_of "$1" "$D/fs"
	L=$D/fs/lower U=$D/fs/upper W=$D/fs/work
}

more=${PLY_LONG:+30}
more=${more:-1}
short() { rounds 1 $((more * 40)) 600; }
long() { rounds 2 "$more" 20000; }
written_through() { rounds 3 $((more * 10)) 1000 writeback=0; }
shared() {
	on xfs
	rounds 4 $((more * 20)) 1000
}
from_disk() {
	on tmpfs
	L=$D/lower
	export PLY_NO_ZERO_RANGE=1
	rounds 5 $((more * 20)) 1000
}
model() {
	fsx make "$U"
	fsx run "$U" "$D/state" 1 2000
	fsx check "$U" "$D/state"
}

holds "the model is that of a plain file system" model
holds "random operations, most of them on files of the layer" short $((300 * more))
holds "random operations, most of them on files of the upper" long $((300 * more))
holds "random operations without a writeback cache" written_through $((300 * more))
holds "random operations where copies share their data" shared $((300 * more))
holds "random operations with an upper on another file system than the layer" from_disk $((300 * more))
finish
