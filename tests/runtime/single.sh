#!/bin/bash
# podman as a plain user without subordinate ids: all is his, and whoever else owns something in an image is not kept.
# timeout: 200
. "$(dirname "$0")/lib.sh"

image() {
	small_root "$T/box"
	mkdir "$T/box/etc/d"
	touch "$T/box/etc/d/a"
	echo theirs >"$T/box/etc/theirs"
	chown 5:6 "$T/box/etc/theirs"
	chmod 640 "$T/box/etc/theirs"
	tar -C "$T/box" -cf "$T/box.tar" .
	run podman import -q "$T/box.tar" localhost/box
	eq "ids" "0 4242 1" "$(says podman unshare cat /proc/self/uid_map | xargs)"
}

# shellcheck disable=SC2016 # for the shell in the container
works() {
	eq "in a container" "plyfs fuse.plyfs 0:0:640 theirs more n 2 not permitted" "$(says podman run --name changed localhost/box sh -ec '
		grep " / " /proc/mounts | { read -r source at type rest; echo "$source $type"; }
		echo more >>/etc/theirs; stat -c %u:%g:%a /etc/theirs; cat /etc/theirs
		rm -r /etc/d; mkdir /etc/d; touch /etc/d/n; ls /etc/d
		ln /etc/theirs /etc/linked; stat -c %h /etc/theirs
		chown 7:8 /etc/linked 2>/dev/null || echo not permitted' | words cat)"
	eq "the difference" "A /etc/d/n A /etc/linked C /etc C /etc/d C /etc/theirs D /etc/d/a" \
		"$(says podman diff changed | grep -v "/etc/\(hosts\|hostname\|mtab\)" | grep etc | sort | words cat)"
	run podman commit -q changed localhost/done
	eq "in a container of the commit" "/etc/d/n theirs more 2" "$(says podman run --rm localhost/done sh -ec \
		'ls -d /etc/d/*; cat /etc/theirs; stat -c %h /etc/linked' | words cat)"
	no_containers
	run podman rmi -fa
	end_user
	eq "what others own in the store" "" "$(find "$S/graph" ! -uid 4242)"
}

user
store user "$PLYFS"
echo 'ignore_chown_errors = "true"' >>"$S/storage.conf"
own
check "an image is imported" image
check "a container changes it, and is committed" works
finish
