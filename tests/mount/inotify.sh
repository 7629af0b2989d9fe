#!/bin/bash
# inotify: a watch that was set on a lower file hears what happens to it.
. "$(dirname "$0")/lib.sh"

hears() {
	mkdir "$L/d"
	echo 1 >"$L/d/f"
	up
	py "$M/d" <<'P'
MODIFY, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
os.chdir(sys.argv[1])
watch = libc.inotify_init1(os.O_NONBLOCK)
the_file = libc.inotify_add_watch(watch, b"f", MODIFY)
libc.inotify_add_watch(watch, b".", MODIFY | MOVED_FROM | MOVED_TO | CREATE | DELETE)
append("f", "2\n")
spit("n", "")
os.rename("n", "m")
os.unlink("m")
append("f", "3\n")
got = []
end = time.monotonic() + 5
while time.monotonic() < end and len(got) < 8:
    try:
        events = os.read(watch, 65536)
    except BlockingIOError:
        time.sleep(0.05)
        continue
    while events:
        which, mask, _, length = struct.unpack("iIII", events[:16])
        got.append((which == the_file, mask & 0xfff))
        events = events[16 + length:]
eq("modifications of the file", 2, got.count((True, MODIFY)))
eq("events in the directory", [MODIFY, CREATE, MOVED_FROM, MOVED_TO, DELETE, MODIFY],
   [mask for of_file, mask in got if not of_file])
P
}

holds "a watch hears writes, names that come, move and go" hears
finish
