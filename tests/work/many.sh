#!/bin/bash
# 100,000 entries (a third of that in a short run): eight processes walk them at a time, and one rm -rf removes them.
# timeout: 600
. "$(dirname "$0")/lib.sh"

export IN_EACH=120
[ -z "${PLY_LONG:-}" ] || IN_EACH=390

# Half in the layer, a part of that hidden, and a part above.
entries() {
	py "$1" <<'P'
os.chdir(sys.argv[1])
for d in range(250):
    os.makedirs(f"srv/many/{d % 10}/{d}")
    for i in range(int(os.environ["IN_EACH"])):
        os.close(os.open(f"srv/many/{d % 10}/{d}/file-{i}", os.O_CREAT | os.O_WRONLY, 0o644))
P
}

work() {
	cd "$1/srv" || exit 1
	"$PY" -c '
import os
first = int(os.environ["IN_EACH"])
for d in range(0, 250, 5):
    for i in range(first, first + 50):
        os.close(os.open(f"many/{d % 10}/{d}/file-{i}", os.O_CREAT | os.O_WRONLY, 0o644))
'
	rm many/3/*/file-1?
	seq 8 | xargs -P 8 -I{} sh -c 'find many -printf "%p %y %m %U\n" | sort | sha256sum'
	seq 8 | xargs -P 8 -I{} sh -c 'find many/{} -type f -print0 | xargs -0 cat | wc -c'
	find many | wc -l
	chmod -R o-r many/5 && chown -R 3:4 many/6
	find many -perm 640 -o -uid 3 | wc -l
	rm -rf many
	ls
	mkdir many && ls many
}

walks() { compared entries work; }

holds "eight finds see the same, and one rm -rf removes it all" walks 500
finish
