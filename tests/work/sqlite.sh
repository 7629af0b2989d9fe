#!/bin/bash
# sqlite: a layer's database in WAL mode, with readers in other processes beside the writer.
# timeout: 600
. "$(dirname "$0")/lib.sh"
need sqlite3

database() {
	mkdir "$1/srv" && sqlite3 "$1/srv/db" 'create table t(i integer primary key, b blob);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
		insert into t select i, zeroblob(300) from n;'
}

work() {
	cd "$1/srv" || exit 1
	"$PY" - <<'P'
import os, sqlite3, sys

def connect():
    c = sqlite3.connect("db", timeout=60)
    c.execute("pragma mmap_size=67108864")
    return c

w = connect()
print(w.execute("pragma journal_mode=wal").fetchone())
w.execute("create table log(k integer)")
w.commit()

def read(number):
    """Every state that it sees is one that was committed: as many rows are gone as the log says."""
    while True:
        r = connect()
        for _ in range(20):
            r.execute("begin")
            rows = r.execute("select count(*) from t").fetchone()[0]
            done = r.execute("select count(*) from log").fetchone()[0]
            r.execute("commit")
            if rows != 20000 - done:
                print(f"{rows} rows after {done} commits")
                os._exit(1)
            if done == 30:
                os._exit(0)
        r.close()

pids = []
for number in range(3):
    if (pid := os.fork()) == 0:
        read(number)
    pids.append(pid)
for k in range(30):
    w.executemany("update t set b=? where i=?", [(b"%d-%d" % (k, i) * 30, i) for i in range(k + 1, 20000, 41)])
    w.execute("delete from t where i=?", (1000 + k,))
    w.execute("insert into log values(?)", (k,))
    w.commit()
    if k % 10 == 7:
        w.execute("pragma wal_checkpoint(truncate)")
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
w.execute("vacuum")
print(w.execute("pragma integrity_check").fetchone())
w.close()
P
	ls
	sqlite3 db 'pragma integrity_check; select count(*), sum(length(b)) from t;'
	sqlite3 db .dump | sha256sum
	sqlite3 db 'pragma journal_mode=delete; create index x on t(b); drop table log;'
}

# The file's own counters depend on who read when.
LEAVE_OUT='\./db'

wal() { compared database work; }

holds "a writer and three readers of a layer's database see whole commits" wal 400
finish
