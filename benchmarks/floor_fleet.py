"""The floor of a fleet: a supervisor process for each child, all forked from one Python process.

python benchmarks/floor_fleet.py SCRIPT NAME [NAME ...]

A supervisor starts its child, waits, and starts it anew. No log, no lock, no config, no health, no
limit, no listing.
"""

import contextlib
import gc
import os
import signal
import sys


def spawn(script: str, name: str) -> int:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.execv(script, [script, name])
    return pid


def supervise(script: str, name: str) -> None:
    """Be the supervisor of one child; never returns."""
    child = 0

    def stop(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        child = spawn(script, name)
        os.waitpid(child, 0)


def main() -> None:
    script, *names = sys.argv[1:]
    gc.freeze()
    supervisors = []
    for name in names:
        pid = os.fork()
        if pid == 0:
            supervise(script, name)
        supervisors.append(pid)

    def stop(*_: object) -> None:
        for pid in supervisors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in supervisors:
            os.waitpid(pid, 0)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
