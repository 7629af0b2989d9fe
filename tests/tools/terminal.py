"""terminal.py SCREEN PROGRAM ARGUMENT...: runs the program on a terminal of its own, and ends with its status.

What it writes goes to stdout as it came; SCREEN gets what is on the terminal in the end, for returns,
newlines and backspaces alone: who sends more sees it there.
"""
import os
import pty
import sys


def screen(data):
    lines, column = [[]], 0
    for byte in data:
        if byte == 13:
            column = 0
        elif byte == 10:
            lines.append([])
            column = 0
        elif byte == 8:
            column = max(0, column - 1)
        else:
            line = lines[-1]
            line.extend([32] * (column + 1 - len(line)))
            line[column] = byte
            column += 1
    return b"\n".join(bytes(line).rstrip() for line in lines)


pid, master = pty.fork()
if not pid:
    os.execvp(sys.argv[2], sys.argv[2:])
data = b""
while True:
    try:
        piece = os.read(master, 65536)
    except OSError:  # nobody has the other end any more
        break
    if not piece:
        break
    data += piece
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
with open(sys.argv[1], "wb") as out:
    out.write(screen(data))
os.write(1, data)
sys.exit(status)
