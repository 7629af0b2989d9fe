#!/bin/bash
# Python: what was compiled once stays so, whatever happens to a layer's files but a change of their content.
# timeout: 600
. "$(dirname "$0")/lib.sh"

library() {
	mkdir "$1/srv" && cp -a "$root"/usr/lib/python3.* "$1/srv/lib" && find "$1/srv/lib" -name __pycache__ -prune -exec rm -r {} + &&
		cd "$1/srv" && "$PY" -m compileall -q lib/json lib/email
}

LEAVE_OUT='.*/test/.*'

compiled() { "$PY" -m compileall "$@" 2>&1 | grep -c '^Compiling'; }

work() {
	unset PYTHONDONTWRITEBYTECODE
	cd "$1/srv" || exit 1
	echo "of a layer, again: $(compiled lib/json lib/email)"
	echo "all: $(compiled lib)"
	echo "again: $(compiled lib)"
	chmod 600 lib/json/*.py lib/email/*.py
	chown 1:1 lib/csv.py
	mv lib/logging lib/logged && mv lib/logged lib/logging
	echo "after chmod, chown and mv: $(compiled lib)"
	echo 'x = 42' >>lib/csv.py && touch -d '2020-01-01' lib/csv.py
	echo "after an edit: $(compiled lib)"
	cd lib && "$PY" -S -v -c 'import json, email.message' 2>&1 | grep -cE 'wrote|stale'
	find . -name '*.pyc' | wc -l
}

compiles() {
	compared library work
	up "$D/layer:$root"
	cd "$M/srv" || exit 1
	eq "compiled after a remount" 0 "$(compiled lib)"
	cd "$D" || exit 1
}

holds "compileall compiles once, also after chmod, mv and a remount" compiles 400
finish
