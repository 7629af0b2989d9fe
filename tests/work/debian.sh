#!/bin/bash
# Real work on a mount over a real Debian root, and the same on a plain copy of it: both must look alike afterwards.
# timeout: 900
# shellcheck source=tests/lib.sh disable=SC2154
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
need_root
need debootstrap git gcc make sqlite3 rsync python3 tar

PY=/usr/bin/python3
tarball=$("$top/tests/work/mkroot.sh" 2>"$T/mkroot.log") || fail "no Debian root: $(tail -n 3 "$T/mkroot.log")"
deb=${tarball%/*}/hello.deb
P=$T/plain
mkdir "$P" "$T/home"
export HOME=$T/home GIT_CONFIG_NOSYSTEM=1 TZ=UTC
tar --xattrs --xattrs-include='*' --acls --numeric-owner -C "$L" -xf "$tarball" || fail "cannot unpack the root"
cp -a "$L/." "$P"

# on_both FUNCTION: runs it for the plain directory and for the mount, and compares what it prints
on_both() {
	local a b
	a=$("$1" "$P" 2>&1 </dev/null) || fail "on a plain directory: $(tail -n 3 <<<"$a")"
	b=$("$1" "$M" 2>&1 </dev/null) || fail "on the mount: $(tail -n 3 <<<"$b")"
	[ "$a" = "$b" ] || fail "differs: $(diff <(echo "$a") <(echo "$b") | head -n 6)"
}

# content DIR: names, types, modes, owners, links, sizes and data, without times
content() {
	(
		cd "$1" || exit 1
		find . -type d -printf '%p d %m %U:%G\n' -o -printf '%p %y %m %U:%G %n %s %l\n' | sort
		find . -type f -print0 | sort -z | xargs -0r sha256sum
	)
}

in_root() {
	local root=$1
	shift
	timeout -k 5 120 chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

packages() {
	cp "$deb" "$1/tmp/hello.deb"
	in_root "$1" dpkg -i /tmp/hello.deb >/dev/null && in_root "$1" hello && in_root "$1" dpkg --verify hello &&
		in_root "$1" dpkg -r hello >/dev/null && rm "$1/tmp/hello.deb" && in_root "$1" dpkg --audit &&
		content "$1/usr/bin" && content "$1/etc"
}

users() {
	in_root "$1" useradd -m -u 1234 joe && in_root "$1" groupadd -g 1300 team && in_root "$1" usermod -aG team joe &&
		in_root "$1" chown -R joe:team /var/mail && in_root "$1" su joe -c 'touch ~/mine && stat -c %U:%a ~/mine' &&
		in_root "$1" userdel -r joe 2>/dev/null
	in_root "$1" ldconfig && stat -c '%a %u:%g' "$1/var/mail" "$1/etc/passwd" "$1/etc/shadow"
}

make_repo() {
	git init -q "$T/repo" && cp -r /usr/include/linux "$T/repo/" && cd "$T/repo" || return 1
	git config user.name tests && git config user.email tests@localhost
	git add . && git commit -qm one && git tag one && git rm -rq linux/netfilter && echo x >linux/new.h &&
		git add . && git commit -qm two
}

git_work() {
	local at=$1/srv/clone
	git clone -q "$T/repo" "$at" && cd "$at" && git status --porcelain && git checkout -q one && git status --porcelain &&
		git mv linux/fuse.h linux/moved.h && git stash -q && git checkout -q master && git gc -q && git fsck --strict &&
		git status --porcelain && rm -rf .git && content .
}

c_build() {
	local at=$1/srv/c i
	mkdir "$at" && cd "$at" || return 1
	for ((i = 0; i < 60; i++)); do printf 'int f%d(int x) { return x + %d; }\n' "$i" "$i" >"f$i.c"; done
	printf 'int f7(int);\nint main(void) { return f7(35) != 42; }\n' >main.c
	printf 'OBJ = $(patsubst %%.c,%%.o,$(wildcard *.c))\nprog: $(OBJ)\n\tgcc -o $@ $(OBJ)\n%%.o: %%.c\n\tgcc -c -o $@ $<\n' >Makefile
	make -s -j2 && ./prog && make -q && touch f7.c && ! make -q && make -s && content . | grep -v prog
}

compile_python() {
	cp -a /usr/lib/python3.11/json /usr/lib/python3.11/email "$1/srv/" && "$PY" -m compileall -qf "$1/srv/json" "$1/srv/email" &&
		[ "$("$PY" -m compileall "$1/srv/json" | grep -c Compiling)" = 0 ] && find "$1/srv/json" -printf '%P\n' | sort
}

database() {
	local db=$1/srv/db reader
	sqlite3 "$db" 'pragma journal_mode=wal; create table t(i integer primary key, s text);' || return 1
	(for ((i = 0; i < 40; i++)); do sqlite3 -cmd '.timeout 9000' "$db" 'select count(*) from t' >/dev/null || exit 1; done) &
	reader=$!
	for ((i = 0; i < 200; i++)); do echo "insert into t(s) values('row $i');"; done | sqlite3 -cmd '.timeout 9000' "$db" || return 1
	wait $reader && sqlite3 "$db" 'pragma integrity_check; select count(*), max(s) from t;'
}

copies() {
	local out=$T/out
	rm -rf "$out" && rsync -aHAX "$1/usr/" "$out/" && rsync -aHAXn --itemize-changes --delete "$1/usr/" "$out/" &&
		rsync -aHAX "$out/share/" "$1/srv/share/" && rsync -aHAXn --itemize-changes --delete "$out/share/" "$1/srv/share/" &&
		tar --xattrs --acls -C "$1" -cf "$T/a.tar" etc && mkdir "$1/srv/x" &&
		tar --xattrs --acls -C "$1/srv/x" -xf "$T/a.tar" && tar --xattrs --acls -C "$1/srv/x" --compare -f "$T/a.tar" &&
		(cd "$1/srv/x" && find . -printf '%p %y %m %U:%G %n %l\n' | sort)
}

many() {
	local at=$1/srv/many i
	"$PY" -c '
import os, sys
for d in range(100):
    os.makedirs(f"{sys.argv[1]}/{d}")
    for i in range(999): os.close(os.open(f"{sys.argv[1]}/{d}/file-{i}", os.O_CREAT, 0o644))
' "$at" || return 1
	seq 8 | xargs -P 8 -I{} sh -c "find '$at' | wc -l" && rm -rf "$at" && ls "$1/srv"
}

whole_tree() {
	# ldconfig keeps inode numbers and times in its cache.
	local gone=(usr/share srv var/cache/ldconfig)
	(cd "$P" && rm -rf "${gone[@]}") && (cd "$M" && rm -rf "${gone[@]}") || fail "rm -rf"
	again
	[ "$(content "$P")" = "$(content "$M")" ] || fail "the trees differ: $(diff <(content "$P") <(content "$M") | head -n 4)"
	down
	mount -t overlay overlay -o "ro,lowerdir=$U:$L" "$M" || fail "the kernel's overlayfs does not mount the layers"
	[ "$(content "$P")" = "$(content "$M")" ] || fail "the kernel sees other: $(diff <(content "$P") <(content "$M") | head -n 4)"
	umount "$M"
}

make_repo || fail "cannot make a repository"
cd "$T" || exit 1
up "$L" dev,suid
check "packages are installed and removed" on_both packages
check "users, groups and their files" on_both users
check "git clones, checks out, moves and packs" on_both git_work
check "a C program is built, and make knows what is new" on_both c_build
check "Python compiles once" on_both compile_python
check "a database with a reader beside" on_both database
check "rsync and tar, both ways" on_both copies
check "100,000 entries made, walked by eight and removed" on_both many
check "the whole tree after a remount, and as the kernel sees it" whole_tree
finish
