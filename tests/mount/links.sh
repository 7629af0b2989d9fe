#!/bin/bash
# Hard links: all names of a file are one file, and its link count is the number of its names.
. "$(dirname "$0")/lib.sh"

links() { stat -c %h "$@" | tr '\n' ' '; }

lower_pair() {
	mkdir "$L/d"
	echo one >"$L/a"
	ln "$L/a" "$L/d/b"
}

one_file() {
	lower_pair
	up
	cat "$M/a" "$M/d/b" >"$D/out"
	echo two >>"$M/a"
	eq "content by the other name" $'one\ntwo' "$(cat "$M/d/b")"
	eq "inodes" "$(stat -c %i "$M/a")" "$(stat -c %i "$M/d/b")"
	eq "link counts" "2 2 " "$(links "$M/a" "$M/d/b")"
	chmod 600 "$M/d/b"
	eq "mode by the first name" 600 "$(stat -c %a "$M/a")"
	rm "$M/a"
	echo three >>"$M/d/b"
	eq "content by the name that is left" $'one\ntwo\nthree' "$(cat "$M/d/b")"
	eq "link count of it" "1 " "$(links "$M/d/b")"
}

# Layers that share inodes by other names: one index entry stands for all of them, so they are one file from the start.
across_layers() {
	mkdir -p "$D/l2/d" "$L/d"
	local name
	echo one >"$L/a"
	for name in "$L/d/b" "$D/l2/c" "$D/l2/d/e" "$D/l2/d/f"; do ln "$L/a" "$name"; done
	echo other >"$L/same"
	ln "$L/same" "$D/l2/same"
	ln "$L/same" "$D/l2/deep"
	up "$L:$D/l2" "${1:-}"
	eq "content of one name" one "$(cat "$M/c")"
	echo two >>"$M/a"
	eq "by names known and new" "one two one two one two" "$(words cat "$M/c" "$M/d/b" "$M/d/e")"
	echo three >>"$M/d/e"
	echo four >>"$M/a"
	echo five >>"$M/c"
	eq "written by three names" "one two three four five" "$(words cat "$M/d/b")"
	eq "link counts" "5 5 5 " "$(links "$M/a" "$M/c" "$M/d/f")"
	eq "inodes" 1 "$(find "$M" -links 5 -printf '%i\n' | sort -u | wc -l)"
	mv "$M/d/f" "$M/moved"
	rm "$M/a" "$M/d/b"
	rm "$M/d/e"
	echo six >>"$M/moved"
	eq "when the first layer's names are gone" "one two three four five six 2" "$(words cat "$M/c" - <<<"$(stat -c %h "$M/c")")"
	chmod 600 "$M/deep"
	eq "mode by the name in both layers" 600 "$(stat -c %a "$M/same")"
	rm "$M/same"
	again
	eq "names after a remount" "c d deep moved" "$(names "$M")"
	eq "after a remount" "one two three four five six other 600" "$(words cat "$M/c" "$M/deep" - <<<"$(stat -c %a "$M/deep")")"
	eq "link counts after it" "2 2 " "$(links "$M/c" "$M/moved")"
}

across_changing_layers() { across_layers timeout=0; }

# The first name that is seen may be the one in the lower layer, and all may be read before anything is written.
across_layers_read() {
	mkdir "$D/l2"
	echo one >"$D/l2/b"
	ln "$D/l2/b" "$L/a"
	up "$L:$D/l2" timeout=0
	eq "both" "one one" "$(words cat "$M/b" "$M/a")"
	exec 7<"$M/b" 8<"$M/a"
	sleep 0.1
	eq "once more" "one one" "$(words cat "$M/a" "$M/b")"
	echo two >>"$M/a"
	eq "by the descriptors" "one two one two" "$(words cat - /dev/fd/8 <&7)"
	exec 7<&- 8<&-
	snap --rotate "$D/rotated"
	eq "after a rotation" "one two one two" "$(words cat "$M/b" "$M/a")"
	echo three >>"$M/b"
	eq "and a write" "one two three" "$(words cat "$M/a")"
}

remounted() {
	lower_pair
	up
	echo two >>"$M/a"
	again
	eq "contents" "one two / one two" "$(words cat "$M/a" - "$M/d/b" <<<"/")"
	eq "link counts" "2 2 " "$(links "$M/a" "$M/d/b")"
	eq "inodes" "$(stat -c %i "$M/a")" "$(stat -c %i "$M/d/b")"
}

counts() {
	mkdir "$L/x" "$L/y"
	echo 1 >"$L/x/a"
	ln "$L/x/a" "$L/y/b"
	up
	eq "a lower file, before its second name was seen" "2 " "$(links "$M/x/a")"
	eq "by the second name" "2 " "$(links "$M/y/b")"
	echo 2 >"$M/f"
	ln "$M/f" "$M/x/g"
	eq "after ln" "2 2 " "$(links "$M/f" "$M/x/g")"
	ln "$M/f" "$M/h"
	rm "$M/x/g"
	eq "after ln and rm" "2 2 " "$(links "$M/f" "$M/h")"
	mv "$M/h" "$M/y/h"
	eq "after mv" "2 2 " "$(links "$M/f" "$M/y/h")"
	echo other >"$M/o"
	mv "$M/o" "$M/f"
	eq "after a rename over one name" "1 1 " "$(links "$M/f" "$M/y/h")"
	again
	eq "after a remount" "1 1 2 2 " "$(links "$M/f" "$M/y/h" "$M/x/a" "$M/y/b")"
}

# Names that go before anything else is done to the file, in one mount and in several.
counts_of_removed() {
	mkdir "$L/x" "$L/y"
	echo 1 >"$L/x/a"
	ln "$L/x/a" "$L/x/b"
	ln "$L/x/a" "$L/y/c"
	ln "$L/x/a" "$L/y/d"
	up
	rm "$M/x/a"
	eq "after rm" "3 3 3 " "$(links "$M"/x/b "$M"/y/c "$M"/y/d)"
	again
	eq "after rm and a remount" "3 3 3 " "$(links "$M"/y/d "$M"/y/c "$M"/x/b)"
	echo other >"$M/o"
	mv "$M/o" "$M/y/c"
	eq "after a rename over a name" "2 2 " "$(links "$M"/x/b "$M"/y/d)"
	again
	rm -r "$M/x"
	eq "after its directory went" "1 " "$(links "$M"/y/d)"
	again
	eq "after all that" "1 1 " "$(links "$M"/y/d "$M"/y/c)"
	echo 2 >>"$M/y/d"
	eq "after a write" "1 " "$(links "$M"/y/d)"
	rm "$M/y/d"
	again
	eq "names" "c" "$(find "$M" -name '[abcd]' -printf '%f\n')"
}

link_of_lower() {
	echo low >"$L/f"
	mkfifo "$L/p"
	ln -s target "$L/s"
	mkdir "$L/d"
	up
	ln "$M/f" "$M/d/f2"
	ln "$M/p" "$M/d/p2"
	ln -P "$M/s" "$M/d/s2"
	eq "link counts" "2 2 2 2 2 2 " "$(links "$M"/f "$M"/d/f2 "$M"/p "$M"/d/p2 "$M"/s "$M"/d/s2)"
	echo more >>"$M/f"
	eq "the new name" $'low\nmore' "$(cat "$M/d/f2")"
	again
	eq "link counts after a remount" "2 2 2 2 2 2 " \
		"$(links "$M"/f "$M"/d/f2 "$M"/p "$M"/d/p2 "$M"/s "$M"/d/s2)"
	eq "inodes" "$(stat -c %i "$M"/{f,p,s})" "$(stat -c %i "$M"/d/{f,p,s}2)"
	eq "the new name after a remount" $'low\nmore' "$(cat "$M/d/f2")"
	py "$M" <<'P'
os.chdir(sys.argv[1])
fails("link of a directory", "EPERM", os.link, "d", "d2")
fails("link to a name that is there", "EEXIST", os.link, "f", "p")
fails("link of nothing", "ENOENT", os.link, "none", "g")
P
}

thousand_names() {
	up
	py "$M" "$U" <<'P'
os.chdir(sys.argv[1])
spit("f", "x")
os.mkdir("d")
for i in range(1000):
    os.link("f", f"d/{i}")
eq("link count", 1001, os.stat("f").st_nlink)
for i in range(0, 1000, 2):
    os.unlink(f"d/{i}")
append("d/999", "y")
eq("link count", 501, os.stat("d/1").st_nlink)
eq("content", "xy", slurp("f"))
eq("inodes", 1, len({os.stat(f"d/{i}").st_ino for i in range(1, 1000, 2)} | {os.stat("f").st_ino}))
P
	again
	eq "after a remount" "501 " "$(links "$M/d/777")"
}

unseen_name() {
	local i
	for i in 1 2; do
		echo old >"$L/a$i"
		ln "$L/a$i" "$L/b$i"
	done
	up
	py "$M" <<'P'
os.chdir(sys.argv[1])
with open("a1", "r+") as f:
    os.unlink("a1")
    f.write("new")
fd = os.open("a2", os.O_RDWR)
os.unlink("a2")
name_it(fd, "c2")
os.write(fd, b"new")
eq("link count", 2, os.fstat(fd).st_nlink)
os.close(fd)
P
	eq "contents" "new new new" "$(words cat "$M/b1" "$M/b2" "$M/c2")"
	again
	eq "contents after a remount" "new new new" "$(words cat "$M/b1" "$M/b2" "$M/c2")"
	eq "link counts" "1 2 2 " "$(links "$M/b1" "$M/b2" "$M/c2")"
}

directory_counts() {
	mkdir -p "$L/d/a" "$U/d/b"
	up
	mkdir "$M/d/c"
	rmdir "$M/d/a"
	# A directory has 2 and one for each directory in it, or 1, which says that nobody counts.
	case $(links "$M/d") in 1\ | 4\ ) ;; *) fail "a directory with two directories in it has $(links "$M/d")" ;; esac
	find "$M" -name c | grep -q . || fail "find does not see d/c"
}

holds "the names of a lower file stay one file at a copy-up" one_file
holds "the names of a lower file stay one file after a remount" remounted
holds "names of one inode in two layers are one file" across_layers
holds "names of one inode in two layers are one file where layers may change" across_changing_layers
holds "names of one inode in two layers are one file when they were read before" across_layers_read
holds "the link count is the number of names" counts
holds "names that were removed before anything else count no more" counts_of_removed
holds "a lower file can be linked, of every type" link_of_lower
holds "a file that is open without a name changes by the names that nobody looked at" unseen_name
holds "a file can have a thousand names" thousand_names
holds "link counts of directories do not mislead find" directory_counts
finish
