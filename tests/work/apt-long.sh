#!/bin/bash
# A build machine is installed into a root: a hundred packages, and what they bring works.
# timeout: 1800
# only: check-all
. "$(dirname "$0")/lib.sh"

whole_root() { cp -a "$root/." "$1"; }

LEAVE_OUT='\./(var/log/.*|var/cache/(ldconfig|apt|debconf|man)/.*|var/lib/(apt|git|man-db)/.*|root/.*|etc/(shadow|gshadow|passwd|group)-?|.*\.pyc|usr/share/mime/.*|srv/repo/.*)'

install() {
	run in_root "$1" sh -c 'apt-get install -q -y --allow-downgrades /var/cache/debs/many/*.deb'
	in_root "$1" dpkg --audit
	run in_root "$1" sh -c 'dpkg --verify | grep -v ...........c'
	in_root "$1" sh -c '
		set -e
		cd /srv
		printf "#include <stdio.h>\nint main(void) { return puts(\"built\") < 0; }\n" >m.c
		printf "m: m.c\n\tgcc -O1 -o m m.c\n" >Makefile
		make -s && ./m && make -q
		git init -q repo && cd repo && cp -r /usr/lib/python3/dist-packages . 2>/dev/null || true
		git add . && git -c user.name=x -c user.email=x@x commit -q -m one && git status --porcelain && git fsck
		python3 -m venv --without-pip /srv/venv && /srv/venv/bin/python -c "print(6 * 7)"
		sqlite3 db "pragma journal_mode=wal; create table t(x); insert into t values(1); select * from t"
		rsync -aHX /usr/share/ /srv/share/ && rsync -aHXn --itemize-changes --delete /usr/share/ /srv/share/
		rm -rf /srv/share /srv/venv'
	run in_root "$1" apt-get purge -q -y --autoremove gcc man-db vim-tiny
	in_root "$1" sh -c 'dpkg --audit; dpkg -l | sha256sum; find / -xdev -name "*.dpkg-*"'
}

packages() { compared whole_root install .; }

holds "a hundred packages are installed, used and removed" packages 1500
finish
