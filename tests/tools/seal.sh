#!/bin/bash
# plyfs-seal: a manifest says all of a layer, is the same wherever the layer lies, and each change is found by it.
# timeout: 300
. "$(dirname "$0")/libtools.sh"

prog=$BUILD/plyfs-seal
S=$T/layer

# layer [DIR]: one of everything
layer() {
	local d=${1:-$S}
	rm -rf "$d" "$d.seal"
	mkdir -p "$d/dir/sub" "$d/dir-2"
	echo data >"$d/dir/f"
	echo more >"$d/g"
	echo twin >"$d/dir/a"
	ln "$d/dir/a" "$d/b"
	ln -s "to where" "$d/s"
	mkfifo "$d/p"
	setfattr -n user.name -v value "$d/g"
	find "$d" -depth -exec touch -hd '2020-02-02 02:02:02.123456789 UTC' {} +
}

# finds LINE...: the layer does not match, and just these lines are printed before the summary
finds() {
	tool 1 --verify "$S"
	eq "found" "$(printf '%s\n' "$@")" "$(sed '$d' "$T/out")"
}

# alone COMMAND LINE...: what the command does to the layer, the time of its directory put back, is just that
alone() {
	local command=$1
	shift
	layer
	tool 0 "$S"
	(cd "$S" && eval "$command") || fail "$command"
	touch -d '2020-02-02 02:02:02.123456789 UTC' "$S"
	finds "$@"
}

changes() {
	alone 'chmod 600 g' 'changed  g: mode'
	alone 'touch g' 'changed  g: mtime'
	alone 'touch -d "2020-02-02 02:02:02.123456788 UTC" g' 'changed  g: mtime'
	alone 'touch dir/sub' 'changed  dir/sub: mtime'
	alone 'cp -p g t; echo less >g; touch -r t g; rm t' 'changed  g: data'
	alone 'cp -p g t; echo >>g; touch -r t g; rm t' 'changed  g: size, data'
	alone 'setfattr -n user.name -v other g' 'changed  g: xattr:user.name'
	alone 'setfattr -x user.name g' 'changed  g: xattr:user.name'
	alone 'setfattr -n user.more -v "" dir' 'changed  dir: xattr:user.more'
	alone 'ln -sfn "to there" s; touch -hd "2020-02-02 02:02:02.123456789 UTC" s' 'changed  s: target'
	alone 'touch -h s' 'changed  s: mtime'
	alone 'rm g' 'missing  g'
	alone 'rm -r dir-2; mkdir dir-3' 'missing  dir-2' 'added    dir-3'
	alone 'mv g dir-2/g; touch -d "2020-02-02 02:02:02.123456789 UTC" dir-2' 'added    dir-2/g' 'missing  g'
	alone 'rm p; mkdir p' 'changed  p: type'
	alone 'cp -p b t; mv t b' 'changed  dir/a: link'
	alone 'chmod 700 .' 'changed  .: mode'
	alone 'rm -r dir; mkdir dir; touch -d "2020-02-02 02:02:02.123456789 UTC" dir' \
		'missing  dir/a' 'missing  dir/f' 'missing  dir/sub'
	alone 'rm b' 'missing  b' 'changed  dir/a: link'
	alone 'ln g dir-2/h; touch -d "2020-02-02 02:02:02.123456789 UTC" dir-2' 'added    dir-2/h' 'changed  g: link'
}

privileged_changes() {
	need_root
	alone 'chown 1 g' 'changed  g: owner'
	alone 'chown :1 dir' 'changed  dir: owner'
	alone 'chown -h 1 s' 'changed  s: owner'
	alone 'mknod g2 c 0 0' 'added    g2'
	alone 'rm g; mknod g c 0 0' 'changed  g: type'
	alone 'setfattr -n trusted.overlay.opaque -v y dir' 'changed  dir: xattr:trusted.overlay.opaque'
	alone 'setfacl -m u:1:r g' 'changed  g: xattr:system.posix_acl_access'
	alone 'setcap cap_net_raw+ep g' 'changed  g: xattr:security.capability'
	layer
	mknod "$S/n" c 1 3
	tool 0 "$S"
	rm "$S/n"
	mknod "$S/n" c 1 5
	tool 1 --verify --no-dir-mtime "$S"
	prints "changed  n: mtime, device"
}

unchanged() {
	layer
	tool 0 "$S"
	eq "printed" "sha256:$(head -n -1 "$S.seal" | sha256sum | cut -d' ' -f1)" "$(cat "$T/out")"
	eq "last line" "seal $(cat "$T/out")" "$(tail -n 1 "$S.seal")"
	cp "$T/out" "$T/wanted"
	tool 0 --verify "$S/"
	cmp "$T/wanted" "$T/out" || fail "another seal"
	tool 0 -q --verify "$S"
	eq "said with -q" "" "$(cat "$T/out" "$T/err")"
	mv "$S.seal" "$T/elsewhere"
	tool 2 --verify "$S"
	tool 0 --verify -o "$T/elsewhere" "$S"
	eq "in the layer" "" "$(find "$S" -name '*seal*')"
}

fast() {
	layer
	tool 0 "$S"
	touch -r "$S/g" "$T/time"
	echo less >"$S/g"
	touch -r "$T/time" "$S/g"
	"${traced[@]}" -e trace=openat -o "$T/trace" "$prog" --fast --verify "$S" >"$T/out" 2>&1 || fail "it sees data"
	grep -q '"dir-2"' "$T/trace" || fail "no trace"
	! grep -q '"g"' "$T/trace" || fail "it opens a file"
	tool 1 --verify "$S"
	tool 0 --fast "$S"
	! grep -q 'sha256=' "$S.seal" || fail "it has digests"
	echo more >"$S/g"
	touch -r "$T/time" "$S/g"
	tool 0 --verify "$S"
	says "data is not compared"
	touch "$S/g"
	finds 'changed  g: mtime'
}

verity() {
	local size name wanted sizes="1 4095 4096 4097 8192 524287 524288 524289 67108863 67108864 67108865"
	layer
	for size in $sizes; do
		head -c $size /dev/zero | tr '\0' x >"$S/$size"
	done
	tool 0 --verity "$S"
	grep -q '^plyfs-manifest 1 data=verity ' "$S.seal" || fail "$(head -n 1 "$S.seal")"
	: >"$S/0"
	tool 0 --verity "$S"
	for name in 0 g $sizes; do
		wanted=$(fsverity digest --compact "$S/$name")
		grep -q "^$name .* verity=$wanted" "$S.seal" || fail "of $name: $(grep "^$name " "$S.seal"), not $wanted"
	done
	tool 0 --verify "$S"
	touch -r "$S/4097" "$T/time"
	printf y | dd of="$S/4097" bs=1 seek=4096 conv=notrunc status=none
	touch -r "$T/time" "$S/4097"
	finds 'changed  4097: data'
	tool 0 --verify --fast "$S"
	tool 2 --verity --verify "$S"
	tool 2 --verity --fast "$S"
}

dir_mtime() {
	layer
	tool 0 "$S"
	touch "$S/dir" "$S"
	finds 'changed  .: mtime' 'changed  dir: mtime'
	tool 0 --verify --no-dir-mtime "$S"
	tool 0 --no-dir-mtime "$S"
	touch "$S/dir"
	tool 0 --verify "$S"
	touch "$S/g"
	finds 'changed  g: mtime'
}

# The layer lies on another file system, is made in another order, is sealed in another locale under another umask.
anywhere() {
	need_root
	local dir fs
	layer
	mknod "$S/gone" c 0 0
	mknod "$S/dir/gone" c 0 0
	printf 'x' >"$S/"$'\xff'
	touch "$S/é" "$S/Z" "$S/.a" "$S/dir/"{1..200}
	touch -d '1960-01-01 00:00:00.5 UTC' "$S/old"
	setfattr -n trusted.overlay.opaque -v y "$S/dir-2"
	setfattr -n user.a -v 1 "$S/g"
	touch -d '2020-02-02 02:02:02.123456789 UTC' "$S" "$S/dir"
	tool 0 "$S"
	for fs in "mkfs.ext4 -q -I 256" "mkfs.xfs -q" "mkfs.btrfs -q" tmpfs; do
		dir=$T/fs
		mkdir -p "$dir"
		if [ "$fs" = tmpfs ]; then
			mount -t tmpfs tmpfs "$dir"
		else
			# shellcheck disable=SC2086
			loopfs "$dir" 400M $fs
		fi
		mkdir "$dir/layer"
		(cd "$S" && find . -mindepth 1 | shuf --random-source=<(yes) >"$T/order")
		rsync -aHAXS --super "$S/" "$dir/layer/" || fail "rsync to $fs"
		! [ "$fs" = tmpfs ] || setfattr -n user.a -v 1 "$dir/layer/g" 2>/dev/null || {
			umount "$dir"
			continue
		}
		(umask 077 && LC_ALL=C "$prog" "$dir/layer" >/dev/null) || fail "on $fs"
		diff "$S.seal" "$dir/layer.seal" || fail "another manifest on $fs"
		umount "$dir"
	done
}

# whiteouts that are one inode, as plyfs makes them, or several
whiteouts() {
	need_root
	layer
	mkdir "$S/w"
	mknod "$S/w/1" c 0 0
	mknod -m 600 "$S/w/2" c 0 0
	touch -d '2020-02-02 02:02:02 UTC' "$S/w"
	tool 0 "$S"
	ln -f "$S/w/1" "$S/w/2"
	touch -d '2020-02-02 02:02:02 UTC' "$S/w"
	touch -hd '2021-02-02 02:02:02 UTC' "$S/w/1"
	tool 0 --verify "$S"
	ln "$S/g" "$T/outside" # a name that is not in the layer
	tool 0 --verify "$S"
	rm "$T/outside"
}

hostile() {
	local name
	layer
	for name in $'new\nline type=file' 'a b=c' '\x41' '\' $'\e[31m' $'\xff\xfe' 'seal sha256:0' '-n' 'é' '=' ' '; do
		echo "$name" >"$S/$name"
		mkdir "$S/d$name"
		ln -s -- "$name" "$S/d$name/$name"
	done
	tool 0 -v "$S"
	nothing_raw
	! LC_ALL=C grep -q '[^ -~]' "$S.seal" || fail "not ASCII"
	eq "lines" "$(find "$S" -printf . | wc -c)" "$(($(wc -l <"$S.seal") - 2))"
	tool 0 --verify "$S"
	find "$S" -name $'*[\n\e\xff]*' -exec touch -hd '2001-01-01' {} +
	tool 1 --verify "$S"
	nothing_raw
	grep -qF 'changed  new\x0aline type=file: mtime' "$T/out" || fail "$(cat "$T/out")"
	tool 1 -j --verify "$S"
	json
	rm -rf "${S:?}"/*
	tool 1 -j --verify "$S"
	json
}

broken() {
	local how
	layer
	tool 0 "$S"
	cp "$S.seal" "$T/good"
	for how in 's/mode=0755/mode=0700/' '$d' '3d' '1d' 's/plyfs-manifest 1/plyfs-manifest 2/' '$s/$/ /' '1,$d'; do
		sed "$how" "$T/good" >"$S.seal"
		tool 2 --verify "$S"
		says "not whole"
	done
	# Sealed again, so that its digest is right, but no manifest.
	for how in '$d;3{h;d};4G' '$d;s/ type=/ kind=/' '$d;s/trusted=[a-z]*/trusted=maybe/' '$d;2{s/.*//}' '2,$d'; do
		sed "$how" "$T/good" >"$T/text"
		{ cat "$T/text" && echo "seal sha256:$(sha256sum <"$T/text" | cut -d' ' -f1)"; } >"$S.seal"
		tool 2 --verify "$S"
		says "not whole"
	done
	head -c 300 "$T/good" >"$S.seal"
	tool 2 --verify "$S"
	rm "$S.seal"
	mkdir "$S.seal"
	tool 2 --verify "$S"
	tool 2 "$S"
	says "not a file"
	rmdir "$S.seal"
}

place() {
	layer
	tool 2 -o "$S/dir/x" "$S"
	says "within the layer"
	(cd "$S" && tool 2 .) || exit
	tool 2 "$S/dir/.."
	tool 2 "$S/g"
	tool 2 "$S/nothing"
	tool 0 -n "$S"
	[ ! -e "$S.seal" ] || fail "-n writes"
	cp "$T/out" "$T/wanted"
	tool 0 "$S"
	cmp "$T/wanted" "$T/out" || fail "-n: another seal"
	chmod 600 "$S/g"
	tool 0 "$S"
	! cmp -s "$T/wanted" "$T/out" || fail "the same seal"
	tool 0 --verify "$S"
	tool 0 -j "$S"
	json
	eq "left behind" "" "$(find "$T" -name '.*plyfs-*')"
}

interrupted() {
	local signal status
	layer
	echo old >"$S.seal"
	for signal in INT TERM; do
		"${traced[@]}" -o /dev/null -e trace=readlinkat -e inject=readlinkat:signal=$signal:when=1 \
			"$prog" "$S" >"$T/out" 2>"$T/err"
		status=$?
		eq "status after SIG$signal" $((128 + $(kill -l $signal))) $status
		says "interrupted"
		eq "the seal" old "$(cat "$S.seal")"
		eq "left behind" "" "$(find "$T" -name '.*plyfs-*')"
	done
	# Nor does a full disk, or one that fails.
	for call in pwrite64:error=ENOSPC fsync:error=EIO pread64:error=EIO; do
		"${traced[@]}" -o /dev/null -e trace=${call%%:*} -e inject="$call" "$prog" "$S" >"$T/out" 2>"$T/err" &&
			fail "it does not see $call"
		eq "printed after $call" "" "$(cat "$T/out")"
		eq "the seal" old "$(cat "$S.seal")"
		eq "left behind" "" "$(find "$T" -name '.*plyfs-*')"
	done
}

in_use() {
	need_root
	fresh
	echo x >"$L/f"
	up
	tool 3 "$U"
	says "unmount it first"
	tool 0 "$L"
	down
	tool 0 "$U"
	tool 0 --verify "$U"
	rm -f "$U.seal" "$L.seal"
}

changing() {
	local pid
	layer
	head -c 8000000 /dev/urandom >"$S/zz"
	# -D: the process is the tool, and the tracer its child
	"${traced[@]}" -D -o /dev/null -e trace=pread64 -e inject=pread64:delay_enter=50000 "$prog" "$S" >"$T/out" 2>"$T/err" &
	pid=$!
	until [ -n "$(find /proc/$pid/fd -lname "$S/zz" 2>/dev/null)" ]; do
		kill -0 $pid 2>/dev/null || fail "it ended too early: $(cat "$T/err")"
	done
	echo >>"$S/zz"
	wait $pid && fail "it is sealed"
	says "changed meanwhile"
	[ ! -e "$S.seal" ] || fail "there is a seal"
}

plain_user() {
	need_root
	mkdir -p "$T/mine"
	layer "$T/mine/layer"
	setfattr -n trusted.overlay.opaque -v y "$T/mine/layer/dir-2"
	mkdir "$T/mine/layer/closed"
	echo x >"$T/mine/layer/closed/f"
	chmod 0 "$T/mine/layer/closed/f" "$T/mine/layer/closed"
	chown -R 12345 "$T/mine"
	as_user "$prog" "$T/mine/layer" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
	says "trusted space"
	grep -q '^closed/f .* sha256=73cb3858' "$T/mine/layer.seal" || fail "not read: $(cat "$T/mine/layer.seal")"
	eq "modes" "0 0" "$(words stat -c %a "$T/mine/layer/closed" "$T/mine/layer/closed/f")"
	as_user "$prog" --verify "$T/mine/layer" >"$T/out" 2>"$T/err" || fail "$(cat "$T/out" "$T/err")"
	tool 0 --verify "$T/mine/layer"
	says "made without privilege"
	tool 0 "$T/mine/layer"
	grep -q 'xattr:trusted.overlay.opaque=79$' "$T/mine/layer.seal" || fail "no marks: $(cat "$T/mine/layer.seal")"
	as_user "$prog" --verify "$T/mine/layer" >"$T/out" 2>"$T/err" || fail "$(cat "$T/out" "$T/err")"
	says "are not compared"
	chown 0 "$T/mine/layer/g"
	chmod 600 "$T/mine/layer/g"
	as_user "$prog" -o "$T/mine/other" "$T/mine/layer" >"$T/out" 2>"$T/err"
	eq "status" 2 $?
	says "'g': Permission denied"
	[ ! -e "$T/mine/other" ] || fail "there is a seal"
}

deep() {
	layer
	deepen "$S" 2000
	tool 0 "$S"
	tool 0 --verify "$S"
}

# What plyfs made is sealed, and a copy of it by plyfs-snapshot has the same seal.
of_a_mount() {
	need_root
	grow 51 2
	rm -rf "$T/copy"
	"$BUILD/plyfs-snapshot" -q "$T/g1" "$T/copy" || fail "snapshot"
	tool 0 "$T/g1"
	cp "$T/out" "$T/wanted"
	tool 0 "$T/copy"
	cmp "$T/wanted" "$T/out" || fail "the copy: $(diff "$T/g1.seal" "$T/copy.seal")"
	tool 0 "$T/g2"
	tool 0 --verify "$T/g2"
}

words_of_all() {
	tool 0 --help
	grep -q '^usage: plyfs-seal' "$T/out" || fail "$(cat "$T/out")"
	tool 0 --version
	tool 2 --no-such-option "$S"
	says "usage:"
	tool 2
	tool 2 "$S" "$S"
}

# dumps LINE...: what composefs is told of the layer, a line each
dumps() {
	tool 0 --composefs "$S"
	printf '%s\n' "${@//\\\\/\\}" | diff - "$T/out" || fail "another dump (>)"
}

composefs() {
	need_root
	rm -rf "$S"
	mkdir -p "$S/a dir/sub" "$S/=x"
	printf 'small\n=\\' >"$S/a dir/f"
	printf '%s' - >"$S/dash"
	: >"$S/empty"
	head -c 65 /dev/zero >"$S/big"
	chown 5:6 "$S/big"
	chmod 4755 "$S/big"
	ln "$S/big" "$S/a dir/also"
	ln "$S/big" "$S/z"
	ln -s -- - "$S/link"
	ln -s 'to a\b' "$S/link2"
	mkfifo "$S/fifo"
	mknod "$S/dev" b 259 300
	mknod "$S/gone" c 0 0
	touch "$S/.wh.aufs"
	setfattr -n trusted.overlay.opaque -v y "$S/a dir/sub"
	setfattr -n user.a=b -v 0x00203d5c7e80 "$S/empty"
	find "$S" -depth -exec touch -hd '2020-02-02 02:02:02.000000009 UTC' {} +
	local t=1580608922.000000009 digest
	digest=$(fsverity digest --compact "$S/big" 2>/dev/null || fsverity digest "$S/big" | sed 's/^sha256:\([0-9a-f]*\).*/\1/')
	digest=${digest#sha256:}
	dumps "/ 0 40755 1 0 0 0 $t - - -" \
		"/.wh.aufs 0 100644 1 0 0 0 $t - - -" \
		"/\\x3dx 0 40755 1 0 0 0 $t - - -" \
		"/a\\x20dir 0 40755 1 0 0 0 $t - - -" \
		"/a\\x20dir/also 65 104755 3 5 6 0 $t ${digest:0:2}/${digest:2} - $digest" \
		"/a\\x20dir/f 8 100644 1 0 0 0 $t - small\\x0a\\x3d\\x5c -" \
		"/a\\x20dir/sub 0 40755 1 0 0 0 $t - - - trusted.overlay.opaque=y" \
		"/big 65 @104755 3 5 6 0 $t /a\\x20dir/also - -" \
		"/dash 1 100644 1 0 0 0 $t - \\x2d -" \
		"/dev 0 60644 1 0 0 $(python3 -c 'import os; print(os.makedev(259, 300))') $t - - -" \
		"/empty 0 100644 1 0 0 0 $t - - - user.a\\x3db=\\x00\\x20\\x3d\\x5c~\\x80" \
		"/fifo 0 10644 1 0 0 0 $t - - -" \
		"/gone 0 20000 1 0 0 0 0.0 - - -" \
		"/link 1 120777 1 0 0 0 $t \\x2d - -" \
		"/link2 6 120777 1 0 0 0 $t to\\x20a\\x5cb - -" \
		"/z 65 @104755 3 5 6 0 $t /a\\x20dir/also - -"
	cp "$T/out" "$T/dump"
	tool 0 --composefs -o "$T/file" "$S"
	cmp "$T/file" "$T/dump"
	eq "stdout" "" "$(cat "$T/out")"
	tool 2 --composefs -o "$S/file" "$S"
	tool 2 --composefs --fast "$S"
	setfattr -n trusted.overlay.metacopy "$S/dash"
	tool 2 --composefs -o "$T/file" "$S"
	says "'dash': its data is in a layer below"
	cmp "$T/file" "$T/dump"
	rm "$S/dash"
	if command -v mkcomposefs >/dev/null; then
		mkcomposefs --from-file "$T/file" "$T/image" || fail "mkcomposefs does not take it"
	fi
}

[ -x "$prog" ] || fail "there is no $prog"
need setfattr setfacl setcap python3 strace rsync fsverity
check "what is as it was matches" unchanged
check "each change alone is found and named" changes
check "each change that takes privilege, too" privileged_changes
check "without data: metadata and sizes" fast
check "digests as fs-verity has them" verity
check "without times of directories" dir_mtime
check "a layer in the words of composefs" composefs
check "the same manifest on every file system, in every locale" anywhere
check "whiteouts are just that" whiteouts
check "hostile names" hostile
check "a broken manifest is none" broken
check "where the manifest lies" place
check "an interrupted or failed seal leaves nothing" interrupted
check "an upper in use is refused" in_use
check "a file that changes while it is read" changing
check "a plain user's layers" plain_user
check "any depth" deep
check "a layer and its copy" of_a_mount
check "help, version, usage" words_of_all
finish
