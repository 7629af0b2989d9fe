#!/bin/bash
# Fifos, sockets and devices: they are opened by whoever opens them, never by the server.
. "$(dirname "$0")/lib.sh"
need_root

look() { (cd "$M" && stat -c '%n %F %a %u %t:%T' -- * | tr '\n' ';'); }

changed() {
	mkfifo "$L/p"
	mknod "$L/c" c 1 3
	mknod "$L/b" b 7 200
	py "$L/s" <<'P'
import socket
socket.socket(socket.AF_UNIX).bind(sys.argv[1])
P
	up
	getfattr -d -m - "$M"/{b,c,p,s} >"$D/out" 2>&1 || fail "xattrs: $(cat "$D/out")"
	chmod 604 "$M"/{p,c,b,s}
	chown 7 "$M"/{p,c}
	touch -d 2001-01-01 "$M/s"
	mv "$M/b" "$M/b2"
	local want='b2 block special file 604 0 7:c8;c character special file 604 7 1:3;p fifo 604 7 0:0;s socket 604 0 0:0;'
	eq "nodes" "$want" "$(look)"
	sync -f "$M"
	echo 2 >/proc/sys/vm/drop_caches
	eq "nodes without caches" "$want" "$(look)"
	ln "$M/p" "$M/p2"
	rm "$M/p"
	mkfifo "$M/p"
	rm "$M/p2"
	chmod 604 "$M/p"
	chown 7 "$M/p"
	again
	eq "nodes after a remount" "$want" "$(look)"
}

made() {
	mkdir "$L/d"
	up
	cd "$M/d" || exit 1
	mkfifo p
	mknod null c 1 3
	mknod disk b 7 200
	py . <<'P'
import socket
socket.socket(socket.AF_UNIX).bind("s")
P
	eq "types" "block special file;character special file;fifo;socket;" "$(stat -c %F disk null p s | tr '\n' ';')"
	eq "numbers" "7:c8 1:3" "$(stat -c %t:%T disk null | tr '\n' ' ' | sed 's/ $//')"
	cd "$D" || exit 1
	again
	eq "types after a remount" "block special file;character special file;fifo;socket;" "$(cd "$M/d" && stat -c %F disk null p s | tr '\n' ';')"
}

fifos() {
	mkfifo "$L/low"
	up
	mkfifo "$M/new"
	local p
	for p in low new; do
		echo through >"$M/$p" &
		eq "through $p" through "$(timeout -k 1 10 cat "$M/$p")"
		wait $!
	done
	chmod 600 "$M/low"
	echo again >"$M/low" &
	eq "through low, copied up" again "$(timeout -k 1 10 cat "$M/low")"
	wait $!
	cp -a "$M/low" "$M/copy"
	eq "a copy" fifo "$(stat -c %F "$M/copy")"
}

sockets() {
	up
	py "$M" <<'P'
import socket
os.chdir(sys.argv[1])
server = socket.socket(socket.AF_UNIX)
server.bind("s")
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("s")
client.sendall(b"hello")
eq("through a socket", b"hello", server.accept()[0].recv(10))
os.rename("s", "t")
socket.socket(socket.AF_UNIX).connect("t")
os.unlink("t")
fails("connect to a removed one", "ENOENT", socket.socket(socket.AF_UNIX).connect, "t")
P
}

devices() {
	mknod -m 666 "$L/zero" c 1 5
	up "$L" dev
	eq "four zeros" "00000000" "$(head -c 4 "$M/zero" 2>/dev/null | od -An -tx1 | tr -d ' ' || echo refused)"
	mknod -m 666 "$M/null" c 1 3
	echo x >"$M/null" || fail "writing to a device that was made in the mount"
}

holds "they keep type, number and owner through every change" changed
holds "they can be made" made
holds "data goes through fifos" fifos
holds "sockets connect" sockets
holds "devices can be used on a mount with dev" devices
finish
