"""How long `daemon_manager start` takes until every bot is healthy, for one instance and for five.

    .venv/bin/python benchmarks/start_to_healthy.py [--runs 7]

Wall time is the command's, from exec to its return. Processor time is read when it has returned:
the bot's own, which is what "ready in 0.6 s of CPU" means, and the supervisor's. Floors: the least
supervisor with the least http child (`floor_supervisor.py`), and Flask-SocketIO on cheroot started
bare (`floor_page.py`), from exec to its first answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from rig import (
    HERE,
    Fleet,
    Row,
    arguments,
    cpu_s,
    environment,
    fleet,
    free_port,
    get,
    process,
    show,
    until,
    warm_up,
)


def ours(one: Fleet, names: list[str]) -> tuple[float, list[float], list[float]]:
    """Start, read and stop; wall ms, CPU ms of each bot, CPU ms of each supervisor."""
    began = time.perf_counter()
    one.start(*names)
    wall = time.perf_counter() - began
    bots = [cpu_s(one.bot(name)) * 1000 for name in names]
    supervisors = [cpu_s(one.supervisor(name)) * 1000 for name in names]
    one.stop()
    return wall * 1000, bots, supervisors


def least_supervisor(count: int) -> float:
    """Wall ms of the floor for `count` children."""
    ports = [str(free_port()) for _ in range(count)]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / "floor_supervisor.py"), *ports],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment(),
    )
    wall = time.perf_counter() - began
    for line in done.stdout.splitlines():
        for pid in json.loads(line):
            os.kill(pid, signal.SIGKILL)
    return wall * 1000


def bare_page() -> tuple[float, float]:
    """Wall and CPU ms of a bare page, to its first answer."""
    port = free_port()
    began = time.perf_counter()
    with process(sys.executable, HERE / "floor_page.py", str(port)) as page:
        until("the bare page answers", lambda: get(port, "/health"), 0.005)
        return (time.perf_counter() - began) * 1000, cpu_s(page.pid) * 1000


def main() -> None:
    runs = arguments(__doc__, 7).runs
    warm_up()
    names = [f"bench_{number}" for number in range(5)]
    rows = []
    pages = [bare_page() for _ in range(runs)]
    page_cpu = [cpu for _, cpu in pages]
    with fleet() as one:
        for name in names:
            one.write(name)
        for count in (1, 5):
            floor = [least_supervisor(count) for _ in range(runs)]
            taken = [ours(one, names[:count]) for _ in range(runs)]
            many = f"{count} instance{'s' if count > 1 else ''}"
            rows += [
                Row(
                    name=f"start to healthy, {many}, wall",
                    ours=[wall for wall, _, _ in taken],
                    floor=floor,
                    floor_name="stdlib supervisor and http child",
                ),
                Row(
                    name=f"CPU of a bot until ready, {many}",
                    ours=[cpu for _, bots, _ in taken for cpu in bots],
                    floor=page_cpu,
                    floor_name="bare Flask-SocketIO on cheroot",
                    aim=600,
                ),
                Row(
                    name=f"CPU of a supervisor, {many}",
                    ours=[cpu for _, _, sups in taken for cpu in sups],
                ),
            ]
    rows.append(Row(name="(a bare page to its first answer, wall)", ours=[w for w, _ in pages]))
    show("start to healthy", rows)


if __name__ == "__main__":
    main()
