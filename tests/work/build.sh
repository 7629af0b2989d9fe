#!/bin/bash
# A C build: what make finds built in a layer it leaves, what is older than its sources it builds, with the same result.
# timeout: 600
. "$(dirname "$0")/lib.sh"
need gcc make pkg-config

# plyfs's own lowest rooms, built.
objects() { find fs/base fs/layer -name '*.c' | sort | sed 's#\(.*\)\.c$#build/obj/\1.o#'; }
make_objects() { objects | xargs make -s -j2 CFLAGS=-O0 BUILD=build DEBUG= SANITIZE= "$@"; }

sources() {
	mkdir -p "$1/srv/plyfs" && cp -r "$top/fs" "$top/tools" "$top/Makefile" "$1/srv/plyfs" && cd "$1/srv/plyfs" || return 1
	make_objects >"$D/make" 2>&1
}

# make writes the flags anew if it must: that file's time is its own business.
LEAVE_OUT='.*\.d'

builds() {
	cd "$1/srv/plyfs" || exit 1
	make_objects -n | grep -c -- "-c -o"
	touch fs/layer/format.h
	make_objects -n | grep -c -- "-c -o"
	run make_objects
	make_objects -n | grep -c -- "-c -o"
	run make clean
	run make_objects
	mapfile -t all < <(objects)
	run gcc -r -o all.o "${all[@]}"
	echo 'int main(void) { return 42; }' >main.c
	gcc -o main main.c && ./main
	echo "$?"
}

build() { compared sources builds; }

holds "a build in a layer is continued, and done anew" build 500
finish
