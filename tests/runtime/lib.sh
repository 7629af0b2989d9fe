# What the scripts of tests/runtime share, on top of tests/lib.sh: a machine of the script's own for container
# runtimes, stores with the mount program of one's choice, an image, and listings of images.
# shellcheck shell=bash

# In a mount and a pid namespace: when the script ends, however it does, the containers, the servers and the mounts end.
if [ -z "${PLY_INSIDE:-}" ]; then
	[ "$(id -u)" = 0 ] || {
		echo "needs root"
		exit 77
	}
	PLY_INSIDE=1 exec unshare -m -p --fork --kill-child --mount-proc --propagation private bash "$0" "$@"
fi

# shellcheck source=tests/lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib.sh"
need podman buildah skopeo crun fusermount3

PLYFS=$(realpath -m "$PLYFS")
began=$(date +%s)
export HOME=$T/home TZ=UTC PYTHONDONTWRITEBYTECODE=1
unset XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME DBUS_SESSION_BUS_ADDRESS
chmod 755 "$T"
mkdir "$HOME"

# Everybody may mount by FUSE. crun wants nothing but version 2 of the control groups, even where it makes none.
mknod -m 666 "$T/fuse" c 10 229
echo user_allow_other >"$T/fuse.conf"
mount --bind "$T/fuse" /dev/fuse || skip "no bind mounts"
[ ! -e /etc/fuse.conf ] || mount --bind "$T/fuse.conf" /etc/fuse.conf
mount -t cgroup2 cgroup2 /sys/fs/cgroup || skip "no cgroup2"

# The root is shared with other runs, and only ever read.
root=$(timeout -k 5 900 "$top/tests/work/mkroot" 2>"$T/mkroot.log" </dev/null) || skip "no Debian root: $(tail -n 1 "$T/mkroot.log")"

# store NAME [PROGRAM]: from now on podman, buildah and skopeo use the store of that name, made if it is not there,
# with that mount program; without one, with the kernel's overlayfs; with `vfs`, with copies of whole trees.
store() {
	S=$T/$1
	export CONTAINERS_STORAGE_CONF=$S/storage.conf CONTAINERS_CONF=$S/containers.conf
	export CONTAINERS_REGISTRIES_CONF=$S/registries.conf
	[ ! -e "$S" ] || return 0
	mkdir "$S" "$S/tmp" "$S/net"
	local driver=overlay program=${2:-}
	[ "$program" != vfs ] || driver=vfs program=''
	cat >"$S/storage.conf" <<-E
		[storage]
		driver = "$driver"
		graphroot = "$S/graph"
		rootless_storage_path = "$S/graph"
		runroot = "$S/run"
		[storage.options.overlay]
	E
	[ -z "$program" ] || echo "mount_program = \"$program\"" >>"$S/storage.conf"
	# The limits are such as anybody may set.
	cat >"$S/containers.conf" <<-E
		[containers]
		cgroups = "disabled"
		netns = "none"
		default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		lock_type = "file"
		runtime = "crun"
		tmp_dir = "$S/run/libpod"
		static_dir = "$S/graph/libpod"
		volume_path = "$S/graph/volumes"
		image_copy_tmp_dir = "$S/tmp"
		[network]
		network_config_dir = "$S/net"
	E
	: >"$S/registries.conf"
}

# What podman and the like are started by: nothing for root.
as=()

# user [SUBIDS]: from now on as user 4242, who has these subordinate ids (FIRST:NUMBER). He is there for this script alone:
# the files that name him are seen in its mount namespace only.
user() {
	local id=4242 file
	need setpriv
	! getent passwd $id >/dev/null || skip "user $id is somebody"
	for file in passwd group subuid subgid; do
		cat /etc/$file >"$T/$file" 2>/dev/null
		case $file in
		passwd) echo "plytest:x:$id:$id::$HOME:/bin/bash" ;;
		group) echo "plytest:x:$id:" ;;
		*) [ $# = 0 ] || echo "plytest:$1" ;;
		esac >>"$T/$file"
		[ -e /etc/$file ] || skip "no /etc/$file"
		mount --bind "$T/$file" /etc/$file || skip "no bind mounts"
	done
	mkdir -m 700 "$T/xdg" "$T/tmp"
	chown -R $id:$id "$HOME" "$T/xdg" "$T/tmp"
	as=(setpriv --reuid "$id" --regid "$id" --init-groups env -C "$HOME" XDG_RUNTIME_DIR="$T/xdg" TMPDIR="$T/tmp" USER=plytest)
}

# own: the present store is the user's
own() {
	chown -R 4242:4242 "$S"
}

# end_user: podman leaves a process that holds the user's name space
end_user() {
	kill "$(cat "$T/xdg/libpod/tmp/pause.pid" "$S/run/libpod/pause.pid" 2>/dev/null | head -n 1)" || fail "no pause process"
}

# small_root DIR: busybox and the links that shells need
small_root() {
	local name
	need busybox
	mkdir -p "$1/"{bin,etc,tmp,lib}
	cp "$(command -v busybox)" "$1/bin/busybox"
	for name in sh ls cat rm ln mkdir mv sleep touch find sort stat id chown chmod grep; do ln "$1/bin/busybox" "$1/bin/$name"; done
	echo root:x:0:0::/:/bin/sh >"$1/etc/passwd"
}

# run COMMAND...: quietly; what it says if it fails ends the part
run() {
	local said
	said=$(timeout -k 5 300 "${as[@]}" "$@" 2>&1 </dev/null) || fail "$*: $(tail -n 5 <<<"$said")"
}

# says COMMAND...: what it prints, or the part fails
says() {
	local said
	said=$(timeout -k 5 300 "${as[@]}" "$@" 2>"$T/stderr" </dev/null) || fail "$*: $said $(tail -n 5 "$T/stderr")" >&2
	echo "$said"
}

# base_image: localhost/base is the Debian root, with the few packages
base_image() {
	[ -e "$T/root.tar" ] || tar -C "$root" --exclude=./var/cache/debs/many -cf "$T/root.tar" . || fail "tar"
	run podman import -q "$T/root.tar" localhost/base
}

# In a container: packages, users, owners, links, and directories that come and go.
work() {
	cat <<-'E'
		set -eu
		test "$(cut -d. -f1 /etc/debian_version)" -ge 12
		dpkg -i /var/cache/debs/few/*.deb >/tmp/dpkg.log 2>&1 || { tail -n 5 /tmp/dpkg.log; exit 1; }
		hello; sqlite3 :memory: "select 6 * 7"; dpkg --verify
		useradd -m -u 1234 joe; groupadd -g 1300 team; usermod -aG team joe
		mkdir -p /srv/data/deep; echo data >/srv/data/deep/file
		ln /srv/data/deep/file /srv/hard; ln -s file /srv/data/deep/soft; mkfifo -m 640 /srv/fifo
		chown -R joe:team /srv/data /usr/share/common-licenses; chown -h 7:8 /srv/data/deep/soft
		chmod 4644 /srv/hard; chmod 2775 /srv/data
		touch -d "2001-02-03 04:05:06 UTC" /srv/hard /etc/issue
		echo more >>/etc/issue.net; rm /etc/motd /usr/bin/tac
		rm -rf /usr/share/doc; mkdir /usr/share/doc; echo anew >/usr/share/doc/n
		rm -rf /usr/share/zoneinfo; echo file >/usr/share/zoneinfo
		mv /usr/share/locale /usr/share/tongues
		su joe -c "echo mine >~/mine"
	E
}

# looks: in a container of what came of it: says what `looks_right` wants
looks() {
	cat <<-'E'
		set -eu
		stat -c "%n %a %u:%g %h %s" /srv/hard /srv/fifo /srv/data /home/joe/mine
		stat -c "%n %Y" /srv/hard /etc/issue
		cat /srv/hard /etc/issue.net /usr/share/doc/n /usr/share/zoneinfo
		ls /usr/share/doc
		ls -d /etc/motd /usr/bin/tac /usr/share/locale 2>/dev/null || :
		ls -d /usr/share/tongues/de
		dpkg --verify coreutils perl-base libc-bin hello | grep -Ev "missing +(/usr/share/(doc|locale)|/usr/bin/tac)" || :
		hello
	E
}

looks_right() {
	cat <<-E
		/srv/hard 4644 1234:1300 2 5
		/srv/fifo 640 0:0 1 0
		/srv/data 2775 1234:1300 3 4096
		/home/joe/mine 644 1234:1234 1 5
		/srv/hard 981173106
		/etc/issue 981173106
		data
		$(cat "$root/etc/issue.net")
		more
		anew
		file
		n
		/usr/share/tongues/de
		Hello, world!
	E
}

# built COMMAND...: that, with a tag and a directory behind it, builds localhost/built of localhost/base in two stages
built() {
	mkdir -p "$S/context/in"
	echo copied >"$S/context/in/file"
	touch -d 2002-02-02 "$S/context/in/file"
	cat >"$S/context/Containerfile" <<-'E'
		FROM localhost/base AS tools
		RUN mkdir -p /out/bin && cp /usr/bin/env /out/bin/tool && chmod 4755 /out/bin/tool && ln /out/bin/tool /out/bin/other
		RUN rm -rf /usr/share/doc && echo x >/out/x && chown 1000:1001 /out/x && touch -d "2001-01-01 UTC" /out/x
		FROM localhost/base
		COPY --from=tools /out /opt
		COPY in /srv
		RUN dpkg -i /var/cache/debs/few/hello_*.deb >/dev/null && useradd -m joe && rm -r /usr/share/doc && mkdir /usr/share/doc
		RUN touch /usr/share/doc/n && mv /usr/share/locale /usr/share/tongues && rm /opt/x && mkfifo /opt/x
		RUN chown -R joe: /usr/share/common-licenses && setpriv --reuid joe --regid joe --clear-groups touch /home/joe/mine && rm -r /var/cache/debs
	E
	run "$@" -t localhost/built "$S/context"
}

built_looks() {
	cat <<-'E'
		stat -c "%n %a %u:%g %h" /opt/bin/tool /opt/x /home/joe/mine /srv/file
		stat -c "%n %a %u:%g" /usr/share/common-licenses
		find /opt /usr/share/doc /usr/share/tongues/de -maxdepth 1 | sort
		ls -d /usr/share/locale /var/cache/debs 2>/dev/null || :
		cat /srv/file; hello
	E
}

built_right() {
	cat <<-'E'
		/opt/bin/tool 4755 0:0 2
		/opt/x 644 0:0 1
		/home/joe/mine 644 1000:1000 1
		/srv/file 644 0:0 1
		/usr/share/common-licenses 755 1000:1000
		/opt
		/opt/bin
		/opt/x
		/usr/share/doc
		/usr/share/doc/n
		/usr/share/tongues/de
		/usr/share/tongues/de/LC_MESSAGES
		/usr/share/tongues/de/LC_TIME
		copied
		Hello, world!
	E
}

# listing IMAGE: all that is in the image, as its layers have it. Times are told of what is older than the script.
listing() {
	local dir
	dir=$(mktemp -d -p "$T")
	chmod 777 "$dir"
	run skopeo copy -q --dest-decompress "containers-storage:$1" "dir:$dir/image"
	/usr/bin/python3 "$top/tests/runtime/layers.py" "$dir/image" "$began" >"$dir/list" || fail "layers.py"
	# Logs and caches have times in them.
	grep -Ev '^(var/log|var/cache/ldconfig|run|tmp|root)(/| )' "$dir/list"
	rm -r "$dir"
}

# in_use: the mounts of containers of the store
in_use() {
	awk -v s="$S/" 'index($5, s) == 1 && $5 ~ "/merged$" { print $5 }' /proc/self/mountinfo
}

# no_containers: they are removed, and then no mount is left, and no server
no_containers() {
	local pid
	run podman rm -fa -t 0
	eq "mounts of the store" "" "$(in_use)"
	for pid in $(pgrep -f "^[^ ]*(plyfs|fuse-overlayfs) .*$S/"); do
		gone "$pid" 20 || fail "a server still runs: $(tr '\0' ' ' <"/proc/$pid/cmdline" | tail -c 300)"
	done
}
