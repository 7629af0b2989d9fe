#!/bin/bash
# Without privilege: in a user namespace, and as a plain user by way of fusermount3.
. "$(dirname "$0")/lib.sh"
need_root

as_on_a_plain_directory() {
	up
	cd "$M" || exit 1
	sed -i s/hello/HELLO/ h.txt || fail "sed -i"
	eq "after sed -i" HELLO "$(cat h.txt)"
	cp ro copy || fail "cp of a read-only file"
	eq "the copy" "ro 444" "$(cat copy) $(stat -c %a copy)"
	chmod u+w ro && echo w >>ro || fail "chmod and write of a read-only lower file"
	mv ro2 ro4 || fail "mv of a read-only lower file"
	rm -f ro4 || fail "rm of it"
	mkdir -m 555 new555 || fail "mkdir of mode 0555"
	eq "its mode" 555 "$(stat -c %a new555)"
	mkdir blind
	chmod a-rw blind
	rmdir blind || fail "rmdir of a directory of mode 0111"
	touch none
	chmod 0 none
	chmod 600 none || fail "chmod of a file of mode 0"
	sed -i s/x/X/ d/f || fail "sed -i in a private directory"
	touch -d 2001-01-01 ro3 || fail "touch of a read-only lower file"
	setfattr -n user.x -v y h.txt || fail "setfattr"
	ln h.txt h2 || fail "ln"
	mkfifo p || fail "mkfifo"
	chmod 700 rodir
	rm -r rodir new555 || fail "rm -r"
	py "$M" <<'P'
os.chdir(sys.argv[1])
fd = os.open("c", os.O_RDWR | os.O_CREAT, 0)
os.write(fd, b"abc")
os.ftruncate(fd, 2)
os.fchmod(fd, 0o400)
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
name_it(fd, "t")
P
	eq "names" "c copy d d/f h.txt h2 none p ro ro3 t" "$(names .)"
	mkdir rodir || fail "mkdir over a deleted directory"
	cd "$D" || exit 1
	again
	eq "names after a remount" "c copy d d/f h.txt h2 none p ro ro3 rodir t" "$(names "$M")"
	eq "contents after a remount" "ab|ro X HELLO ro w ro" "$(cd "$M" && cat c && echo "|$(words cat copy d/f h.txt ro ro3)")"
	eq "owners" "$(id -u):$(id -g)" "$(find "$M" -printf '%U:%G\n' | sort -u)"
	eq "modes" "400 444 700 664" "$(cd "$M" && words stat -c %a c copy d h.txt)"
	down
}

in_namespace() { in_user_namespace as_on_a_plain_directory; }

plain_user() { by_fusermount as_on_a_plain_directory; }

# With a range of subordinate ids everything that root does in a container works.
id_range() {
	for_users
	chown -R 100000:100000 "$L" "$U" "$W" "$M"
	seen=$(mark "$L")
	owners() {
		up
		cd "$M" || exit 1
		chown 5:6 h.txt || fail "chown"
		touch new && chown 7:8 new || fail "chown of a new file"
		mkdir -m 1777 tmp
		setpriv --reuid 1234 --regid 1234 --clear-groups sh -c 'cat h.txt && echo x >tmp/mine' >"$D/out" || fail "as another user"
		cp -a h.txt copy || fail "cp -a"
		cd "$D" || exit 1
		again
		eq "owners" "5:6 5:6 7:8 1234:1234" "$(cd "$M" && words stat -c %u:%g h.txt copy new tmp/mine)"
		down
	}
	private /usr/bin/python3 "$top/tests/mount/userns.py" 0 "0 100000 65536" bash -c "$(declare -f)
		seen=- failures=0
		owners" || exit
	eq "owners on disk" "100005:100006" "$(stat -c %u:%g "$U/h.txt")"
}

# What a mount in a user namespace wrote is read by any other stack.
marks_last() {
	for_users
	mkdir "$L/gone"
	echo x >"$L/gone/x"
	chown -R 1000:1000 "$L/gone"
	seen=$(mark "$L")
	deletes() {
		up
		rm -r "$M/gone" "$M/ro" || fail "rm"
		mkdir "$M/gone"
		touch "$M/gone/new"
		again
		eq "gone" "new" "$(ls "$M/gone")"
		down
	}
	run_as_user deletes unshare -Urm --propagation private
	up
	eq "by root" "new" "$(ls "$M/gone")"
	[ ! -e "$M/ro" ] || fail "root sees what was deleted"
	rm -r "$M/gone"
	down
	run_as_user user_sees unshare -Urm --propagation private
}

user_sees() {
	up
	[ ! -e "$M/gone" ] || fail "a user sees what root deleted"
	[ ! -e "$M/ro" ] || fail "a user sees what he deleted"
	down
}

holds "in a user namespace the owner works as on a plain directory" in_namespace
holds "a plain user works as on a plain directory" plain_user
holds "deletions are seen by other users' mounts of the same stack" marks_last
holds "a range of ids can be used" id_range
finish
