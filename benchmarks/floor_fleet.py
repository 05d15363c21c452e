"""The floor of a fleet: one process that forks all children, and forks one anew when it ends.

python benchmarks/floor_fleet.py SCRIPT NAME [NAME ...]

No log, no lock, no config, no health, no limit.
"""

import contextlib
import os
import signal
import sys


def spawn(script: str, name: str) -> int:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.execv(script, [script, name])
    return pid


def main() -> None:
    script, *names = sys.argv[1:]
    running = {spawn(script, name): name for name in names}

    def stop(*_: object) -> None:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        pid, _ = os.wait()
        name = running.pop(pid)
        running[spawn(script, name)] = name


if __name__ == "__main__":
    main()
