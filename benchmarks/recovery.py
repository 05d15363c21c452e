"""How long a killed bot is away: SIGKILL to its new process, and to healthy again.

    .venv/bin/python benchmarks/recovery.py [--runs 12]

`restart_delay` is 0. Between kills the bot trades for a moment, so there are orders and fills to
come back to. Floors: for the new process, a 20-line parent that waits and forks and executes a bare
interpreter (`floor_parent.py`); for healthy again, the same bot started bare on the same ledger,
from exec to its first healthy answer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from rig import (
    CHECKOUT,
    HERE,
    Fleet,
    Row,
    arguments,
    environment,
    fleet,
    process,
    show,
    until,
    wait_healthy,
    warm_up,
)

NAME = "bench_recovery"
BETWEEN_S = 0.5


def kill_once(one: Fleet) -> tuple[float, float]:
    """Kill the bot; ms to its new process, ms to healthy again."""
    old = one.bot(NAME)
    began = time.perf_counter()
    os.kill(old, signal.SIGKILL)
    new = until("a new process", lambda: (pid := one.bot(NAME)) != old and pid, 0.0005)
    appeared = time.perf_counter()
    wait_healthy(one.ports[NAME], new)
    healthy = time.perf_counter()
    return (appeared - began) * 1000, (healthy - began) * 1000


def bare_parent(runs: int) -> list[float]:
    """Ms from SIGKILL to the next fork of the least parent."""
    times = []
    with process(sys.executable, HERE / "floor_parent.py", stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            for _ in range(runs):
                assert parent.stdout.readline() == "up\n"
                began = time.perf_counter()
                os.kill(pid, signal.SIGKILL)
                pid = int(parent.stdout.readline())
                times.append((time.perf_counter() - began) * 1000)
            assert parent.stdout.readline() == "up\n"
        finally:
            parent.kill()  # first, or it would start another one
            parent.wait()
            os.kill(pid, signal.SIGKILL)
    return times


def bare_bot(one: Fleet, runs: int) -> list[float]:
    """Ms from exec of run.py to its first healthy answer, on the ledger that the kills left."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        with process(
            sys.executable,
            CHECKOUT / "run.py",
            "--config",
            NAME,
            env=environment(GRID_ROOT=str(one.root)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as bot:
            wait_healthy(one.ports[NAME], bot.pid)
            times.append((time.perf_counter() - began) * 1000)
    return times


def main() -> None:
    runs = arguments(__doc__, 12).runs
    warm_up()
    parent = bare_parent(runs)
    with fleet() as one:
        one.write(NAME, paper={"speed": 60})
        one.start(NAME)
        taken = []
        for _ in range(runs):
            time.sleep(BETWEEN_S)
            taken.append(kill_once(one))
        one.stop()
        bot = bare_bot(one, runs)
    show(
        "recovery from SIGKILL",
        [
            Row(
                name="to its new process",
                ours=[appeared for appeared, _ in taken],
                floor=parent,
                floor_name="waiting parent, bare interpreter",
            ),
            Row(
                name="to healthy again",
                ours=[healthy for _, healthy in taken],
                floor=bot,
                floor_name="the bot started bare",
            ),
        ],
    )


if __name__ == "__main__":
    main()
