#!/bin/bash
# An upper and a work directory belong to one mount at a time.
. "$(dirname "$0")/lib.sh"

second_refused() {
	echo x >"$L/f"
	mkdir "$D/mnt2" "$D/work2" "$D/upper2"
	up
	local first=$M
	M=$D/mnt2
	refused "lowerdir=$L,upperdir=$U,workdir=$D/work2" "$U"
	refused "lowerdir=$L,upperdir=$D/upper2,workdir=$W" "$W"
	refused "lowerdir=$L,upperdir=$U,workdir=$W"
	ln -s "$U" "$D/link"
	refused "lowerdir=$L,upperdir=$D/link,workdir=$D/work2"
	grep -qiE 'use|busy|mount' "$D/err" || fail "the message does not say why: $(cat "$D/err")"
	M=$first
	echo y >>"$M/f"
	eq "the first mount goes on" $'x\ny' "$(cat "$M/f")"
	again
	eq "mounted again" $'x\ny' "$(cat "$M/f")"
}

layers_shared() {
	echo x >"$L/f"
	mkdir "$D/mnt2" "$D/upper2" "$D/work2"
	up
	mount_at "$D/mnt2" "lowerdir=$L,upperdir=$D/upper2,workdir=$D/work2" || fail "a second mount over the same layers"
	echo 1 >>"$M/f"
	echo 2 >>"$D/mnt2/f"
	eq "each its own" "x 1 x 2" "$(words cat "$M/f" "$D/mnt2/f")"
	down "$D/mnt2"
}

after_a_kill() {
	need_root
	echo x >"$L/f"
	up
	echo y >>"$M/f"
	sync -f "$M"
	local pid
	pid=$(server)
	kill -9 "$pid"
	gone "$pid" || fail "the server does not die"
	umount -l "$M"
	up
	eq "content" $'x\ny' "$(cat "$M/f")"
}

holds "a second mount over an upper or work directory is refused" second_refused
holds "mounts share layers" layers_shared
holds "a lock does not outlive its server" after_a_kill
finish
