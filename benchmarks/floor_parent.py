"""The floor of a recovery: a parent that waits, and starts its child again when it ends.

python benchmarks/floor_parent.py      prints "PID" at each fork; the child prints "up" when it runs
"""

import os
import sys

CHILD = "import os, time; os.write(1, b'up\\n'); time.sleep(3600)"


def main() -> None:
    while True:
        pid = os.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", CHILD])
        os.write(1, f"{pid}\n".encode())
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
