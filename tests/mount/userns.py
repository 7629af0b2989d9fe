"""userns.py UID MAP COMMAND...: the command, as root of a user namespace of its own.

UID is who makes the namespace, as seen outside; MAP is what it has for users and groups, the lines of
uid_map separated by commas. Exit status 77: there are no user namespaces here.
"""
import ctypes
import os
import sys

PR_SET_DUMPABLE, CLONE_NEWNS, CLONE_NEWUSER = 4, 0x20000, 0x10000000


def become(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def main(uid, ids, *command):
    libc = ctypes.CDLL(None)
    inside, outside = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        if int(uid):
            become(int(uid))
            libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or nobody may write the maps
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS):
            os._exit(77)
        os.write(inside[1], b".")
        os.read(outside[0], 1)
        become(0)
        os.execvp(command[0], command)
    os.read(inside[0], 1)
    for kind in "ug":
        with open(f"/proc/{pid}/{kind}id_map", "w") as f:
            f.write(ids.replace(",", "\n") + "\n")
    os.write(outside[1], b".")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main(*sys.argv[1:])
