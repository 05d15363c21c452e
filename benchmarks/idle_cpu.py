"""What a fleet costs while nothing is asked of it: processor time and wake-ups.

    .venv/bin/python benchmarks/idle_cpu.py [--runs 1] [--seconds 30]

A bot on the synthetic feed at speed 1 (one price a second) and one at speed 60, each with its
supervisor, over the same seconds; nobody looks at their pages. A wake-up is a voluntary context
switch of any of the process's threads. Floor: an interpreter that sleeps.
"""

from __future__ import annotations

import argparse
import sys
import time

from rig import Fleet, Row, fine_cpu_s, fleet, process, show, wake_ups, warm_up

SETTLE_S = 3.0
SPEEDS = (1, 60)


def measure(one: Fleet, seconds: float) -> dict[str, tuple[float, float]]:
    """CPU ms and wake-ups, each per second, of every process by its name."""
    with process(sys.executable, "-c", "import time; time.sleep(3600)") as sleeper:
        pids = {"floor": sleeper.pid}
        for speed in SPEEDS:
            pids[f"bot at speed {speed}"] = one.bot(f"bench_{speed}")
            pids[f"its supervisor ({speed})"] = one.supervisor(f"bench_{speed}")
        time.sleep(SETTLE_S)
        before = {name: (fine_cpu_s(pid), wake_ups(pid)) for name, pid in pids.items()}
        began = time.monotonic()
        time.sleep(seconds)
        after = {name: (fine_cpu_s(pid), wake_ups(pid)) for name, pid in pids.items()}
        elapsed = time.monotonic() - began
    return {
        name: (
            (after[name][0] - before[name][0]) * 1000 / elapsed,
            (after[name][1] - before[name][1]) / elapsed,
        )
        for name in pids
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    warm_up()
    with fleet() as one:
        for speed in SPEEDS:
            one.write(f"bench_{speed}", paper={"speed": speed})
        one.start(*(f"bench_{speed}" for speed in SPEEDS))
        found = [measure(one, asked.seconds) for _ in range(asked.runs)]
    rows = []
    for name in found[0]:
        if name != "floor":
            for index, (what, unit) in enumerate((("CPU", "ms/s"), ("wake-ups", "/s"))):
                rows.append(
                    Row(
                        name=f"{name}, {what}",
                        ours=[each[name][index] for each in found],
                        floor=[each["floor"][index] for each in found],
                        floor_name="a sleeping interpreter",
                        unit=unit,
                    )
                )
    show(f"idle for {asked.seconds:g} s (1 ms/s is 0.1 % of a processor)", rows)


if __name__ == "__main__":
    main()
