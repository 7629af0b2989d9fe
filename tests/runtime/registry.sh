#!/bin/bash
# Images go to a registry and come back, and are the same.
# only: check-all
# timeout: 300
. "$(dirname "$0")/lib.sh"
need docker-registry

# Any free port; one that is taken in the meantime makes the registry fail at once.
port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
at=127.0.0.1:$port

registry() {
	local i
	printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: "%s"}\n' \
		"$T/registry" "$at" >"$T/registry.yml"
	docker-registry serve "$T/registry.yml" >"$T/registry.log" 2>&1 </dev/null &
	for ((i = 0; i < 500; i++)); do
		! (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
		sleep 0.02
	done
	skip "the registry does not start: $(tail -n 1 "$T/registry.log")"
}

by_skopeo() {
	base_image
	run podman run --name changed localhost/base bash -c "$(work)"
	run podman commit -q changed localhost/done
	listing localhost/done >"$T/pushed"
	run skopeo copy -q --dest-tls-verify=false containers-storage:localhost/done "docker://$at/t/done:1"
	store other "$PLYFS"
	run skopeo copy -q --src-tls-verify=false "docker://$at/t/done:1" containers-storage:localhost/pulled
	diff "$T/pushed" <(listing localhost/pulled) || fail "what comes back is not what went there"
	eq "in what came back" "$(looks_right)" "$(says podman run --rm localhost/pulled bash -c "$(looks)")"
	no_containers
}

# Changed again where it came to, and sent back.
by_podman() {
	store other
	run podman run --name more localhost/pulled sh -c 'rm -r /srv && mkdir /srv && echo more >/srv/more && mv /usr/share/tongues /usr/share/locale'
	run podman commit -q more localhost/more
	run podman push -q --tls-verify=false localhost/more "$at/t/more:1"
	store plyfs
	run podman pull -q --tls-verify=false "$at/t/more:1"
	eq "in what came back" "more /usr/share/locale/de" "$(says podman run --rm "$at/t/more:1" sh -c \
		'ls /srv; ls -d /usr/share/tongues /usr/share/locale/de 2>/dev/null || :' | words cat)"
	no_containers
}

registry
store plyfs "$PLYFS"
check "skopeo pushes and pulls: the image is the same, and runs" by_skopeo
check "podman commits on top, pushes and pulls" by_podman
kill %1
wait
finish
