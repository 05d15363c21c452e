"""From a fill on the stream to the order that answers it, in parts, inside one bot.

The real engine, client, feed and durable ledger in this process, against the simulator over real
HTTP and WebSocket. It starts where the frame has been read and ends where the order's request has
been handed to the socket; what the exchange takes is not in it. The parts, one after another:

    read      the frame is parsed and put into the engine's inbox
    wake      the engine takes it out
    book      the fill is in the ledger (committed, not yet synced), the state moved on
    plan      what follows from it is decided
    write     the order is in the database, under an id that is on the disk
    send      the budget is asked, the request signed, built and handed to the socket, body and all

Run: .venv-test/bin/python benchmarks/live_reaction.py [--fills 200]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "exchanges")]

import urllib3.connection  # noqa: E402
from simulated import Simulator, simulator, wait_until  # noqa: E402

from cli.bot_wiring import Parts, build  # noqa: E402
from core.model import Fill, StopBot  # noqa: E402
from exchanges.budget import Budget  # noqa: E402
from exchanges.feed import StreamFeed  # noqa: E402
from strategies import events  # noqa: E402
from strategies.order_desk import OrderDesk  # noqa: E402

PARTS = ("read", "wake", "book", "plan", "write", "send")
PACE_S = 0.15
"""Between two fills: faster, and what is measured is the wait for Aster's 300 orders in 10 s."""

SWITCH_S = 0.001
"""As `cli.bot` sets it for a live bot."""


class Watch:
    """Stamps the moments of one reaction; each is the end of a part."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ends: dict[str, float] = {}
        self.rows: list[list[float]] = []
        self.engine: threading.Thread | None = None

    def begin(self, at: float) -> None:
        self.began, self.ends = at, {}

    def end(self, part: str) -> None:
        """Take the first end of each part, in their order, on the engine's thread."""
        if self.began is None or part in self.ends or PARTS[len(self.ends)] != part:
            return
        if part != "read" and threading.current_thread() is not self.engine:
            return
        self.ends[part] = time.perf_counter()
        if len(self.ends) == len(PARTS):
            moments = [self.began, *self.ends.values()]
            spans = [b - a for a, b in itertools.pairwise(moments)]
            self.rows.append([*spans, moments[-1] - moments[0]])
            self.began = None


def watch_parts(watch: Watch) -> None:
    """Put stamps around what a reaction passes through."""
    read_at = [0.0]

    def around(
        owner: Any, name: str, before: Callable[..., None], after: Callable[[], None]
    ) -> None:
        inner = getattr(owner, name)

        def outer(*args: Any, **options: Any) -> Any:
            before(*args)
            result = inner(*args, **options)
            after()
            return result

        setattr(owner, name, outer)

    def nothing(*_: Any) -> None:
        pass

    def stamp(*_: Any) -> None:
        read_at[0] = time.perf_counter()

    def told(_feed: Any, event: Any) -> None:
        if isinstance(event, Fill):
            watch.begin(read_at[0])
            watch.end("read")

    around(StreamFeed, "_take", stamp, nothing)
    around(StreamFeed, "_tell", told, nothing)
    around(events, "take_fill", lambda *_: watch.end("wake"), lambda: watch.end("book"))
    around(OrderDesk, "place", lambda _, wanted: watch.end("plan") if wanted else None, nothing)
    around(Budget, "take", lambda *_: watch.end("write"), nothing)
    around(urllib3.connection.HTTPConnection, "request", nothing, lambda: watch.end("send"))


def main() -> None:
    parser = argparse.ArgumentParser(description="a fill on the stream to the order on the wire")
    parser.add_argument("--fills", type=int, default=200)
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_S)
    watch = Watch()
    watch_parts(watch)
    for protocol in ("backpack", "aster"):
        with simulator(protocol) as sim, tempfile.TemporaryDirectory() as folder:
            _react(sim, Path(folder), watch, options.fills)
    load = os.getloadavg()[0]
    print(f"load {load:.1f} on {os.cpu_count()} processors")


def _react(sim: Simulator, root: Path, watch: Watch, fills: int) -> None:
    parts = _bot(sim, root)
    watch.engine = threading.Thread(target=parts.engine.run)
    watch.rows = []
    pace = threading.Event()
    watch.engine.start()
    try:
        wait_until(lambda: _resting(sim) == 20, "the grid rests")
        for i in range(fills):
            pace.wait(PACE_S)
            sim.price("148.9" if i % 2 == 0 else "150.1")
            wait_until(
                lambda n=i + 1: len(sim.ledger()["fills"]) >= n and _resting(sim) == 20,
                "the fill is answered",
            )
    finally:
        parts.engine.inbox.post_command(StopBot(reason="the benchmark is over"))
        watch.engine.join()
        parts.close()
    print(f"{sim.protocol}: {len(watch.rows)} fills, ms")
    for name, spans in zip((*PARTS, "all"), zip(*watch.rows, strict=True), strict=True):
        _print(name, spans)
    without = [row[-1] - row[PARTS.index("write")] for row in watch.rows]
    _print("but write", without)


def _print(name: str, spans: Any) -> None:
    ordered = sorted(spans)
    p99 = ordered[max(0, int(len(ordered) * 0.99) - 1)]
    figures = (ordered[0], statistics.median(ordered), p99)
    words = zip(("min", "p50", "p99"), figures, strict=True)
    print(f"  {name:<10} " + "   ".join(f"{word} {at * 1000:6.2f}" for word, at in words))


def _bot(sim: Simulator, root: Path) -> Parts:
    for folder in ("logs", "database"):
        (root / folder).mkdir(parents=True)
    return build(
        sim.config("bench_01", {"grid_num": 21, "max_position": 20, "interval": 60}),
        db_path=root / "database" / "bench_01.db",
        root=root,
        started_at=datetime.now(UTC),
        log=lambda *_, **__: None,
        publish=lambda _: None,
        beat=lambda *_: None,
    )


def _resting(sim: Simulator) -> int:
    return sum(o["status"] in ("NEW", "PARTIALLY_FILLED") for o in sim.ledger()["orders"])


if __name__ == "__main__":
    main()
