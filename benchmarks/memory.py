"""What a supervisor and a bot weigh: RSS and PSS, beside processes that do nothing.

    .venv/bin/python benchmarks/memory.py [--runs 3]

Run it from an environment without extras: what is merely installed is imported by libraries that
find it. PSS shares each page among those who map it, so it depends on what else runs; supervisors
started by one command share their parent's pages. The bot has served its page and its API once.
"""

from __future__ import annotations

import sys
import time
import urllib.request

from rig import (
    HERE,
    Fleet,
    Row,
    arguments,
    fleet,
    free_port,
    get,
    memory_mb,
    process,
    show,
    until,
    warm_up,
)

SETTLE_S = 1.0
WAIT = "import sys; print('up', flush=True); sys.stdin.read()"
STDLIB = "import json, os, select, signal, socket, fcntl, subprocess, pathlib, logging, psutil; "

Memory = tuple[float, float]


def waiting(code: str) -> Memory:
    """RSS and PSS of an interpreter that has run `code` and waits."""
    with process(sys.executable, "-c", code + WAIT, stdin=-1, stdout=-1) as one:
        assert one.stdout is not None
        one.stdout.readline()
        return memory_mb(one.pid)


def bare_page() -> Memory:
    port = free_port()
    with process(sys.executable, HERE / "floor_page.py", str(port)) as page:
        until("the bare page answers", lambda: get(port, "/health"))
        return memory_mb(page.pid)


def visit(one: Fleet, name: str) -> None:
    """Do what a browser does with a page, once."""
    for path in ("/", "/metrics"):
        urllib.request.urlopen(f"http://127.0.0.1:{one.ports[name]}{path}").read()
    for path in ("/health", "/api/status", "/api/grid", "/api/orders", "/api/fills", "/api/pnl"):
        one.get(name, path)


def main() -> None:
    runs = arguments(__doc__, 3).runs
    warm_up()
    names = [f"bench_{number}" for number in range(5)]
    alone: list[Memory] = []
    five: list[Memory] = []
    plain: list[Memory] = []
    visited: list[Memory] = []
    with fleet() as one:
        for name in names:
            one.write(name)
        for _ in range(runs):
            one.start(names[0])
            time.sleep(SETTLE_S)
            alone.append(memory_mb(one.supervisor(names[0])))
            plain.append(memory_mb(one.bot(names[0])))
            visit(one, names[0])
            visited.append(memory_mb(one.bot(names[0])))
            one.stop()
            one.start(*names)
            time.sleep(SETTLE_S)
            five += [memory_mb(one.supervisor(name)) for name in names]
            one.stop()
    bare = [waiting("") for _ in range(runs)]
    stdlib = [waiting(STDLIB) for _ in range(runs)]
    page = [bare_page() for _ in range(runs)]

    def row(
        name: str,
        ours: list[Memory],
        floor_name: str,
        floor: list[Memory],
        aim: float | None = None,
    ) -> list[Row]:
        return [
            Row(
                name=f"{name}, {kind}",
                ours=[each[index] for each in ours],
                floor=[each[index] for each in floor],
                floor_name=floor_name,
                unit="MB",
                aim=aim if index == 0 else None,
            )
            for index, kind in enumerate(("RSS", "PSS"))
        ]

    show(
        "memory",
        [
            *row("one supervisor alone", alone, "stdlib and psutil", stdlib, aim=20),
            *row("each of five supervisors", five, "stdlib and psutil", stdlib, aim=20),
            *row("one bot, ready", plain, "bare Flask-SocketIO on cheroot", page, aim=60),
            *row("one bot, its page visited", visited, "the same", page, aim=60),
            *row("(stdlib and psutil)", stdlib, "bare interpreter", bare),
        ],
    )


if __name__ == "__main__":
    main()
