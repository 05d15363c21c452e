"""What live trading costs in requests and in time, against the simulator over real HTTP.

Prints, for both exchanges: the requests to seed and to move a grid of 100 levels, those of one
cell's shift, those of an idle minute of one bot and of ten on one host (grids rest, nothing fills,
streams stand; counted over two minutes); and the time from a fill on the exchange to the order that
answers it, as the exchange stamps both: it includes stream, engine, database and HTTP. The same in
parts and inside the bot alone: live_reaction.py.

Run: .venv-test/bin/python benchmarks/live_requests.py
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "exchanges")]

from simulated import Simulator, order_request, simulator, wait_until  # noqa: E402

from cli.bot_wiring import Parts, build  # noqa: E402
from core.config import parse  # noqa: E402
from core.model import Order, Side, StopBot  # noqa: E402

FLOOR = {"backpack": (5, 105), "aster": (20, 30)}
"""Batches of 20 and single cancels; batches of 5 and cancels by ten: what the exchanges allow."""

REACTIONS = 200
PACE_S = 0.15
"""Between two fills: faster, and it is the wait for Aster's 300 orders in 10 s that is measured."""

IDLE_S = 120.0
SYMBOL_NAMES = {"backpack": "{}_USDC_PERP", "aster": "{}USDT"}


def main() -> None:
    for protocol in ("backpack", "aster"):
        with simulator(protocol) as sim, tempfile.TemporaryDirectory() as folder:
            _requests(sim, Path(folder))
        with simulator(protocol) as sim, tempfile.TemporaryDirectory() as folder:
            _reactions(sim, Path(folder))
    with contextlib.ExitStack() as stack:
        flocks = [_flock(stack, p, n) for p in ("backpack", "aster") for n in (1, 10)]
        before = [flock.count for flock in flocks]
        threading.Event().wait(IDLE_S)
        for flock, count in zip(flocks, before, strict=True):
            each = (flock.count - count) / (IDLE_S / 60) / flock.bots
            print(
                f"{flock.protocol}: {flock.bots} idle, {each:.1f} requests a minute each; "
                f"{', '.join(flock.use())}"
            )


@dataclass(slots=True)
class Flock:
    """Bots of one host on one account, each with a symbol of its own."""

    protocol: str
    bots: int
    parts: list[Parts]
    count: int = 0

    def attempted(self) -> None:
        self.count += 1

    def use(self) -> list[str]:
        return [f"{k}: {v}" for k, v in self.parts[0].opened.budget_words().items()]


def _flock(stack: contextlib.ExitStack, protocol: str, bots: int) -> Flock:
    """Start so many bots in this process and wait until their grids rest."""
    names = SYMBOL_NAMES[protocol]
    symbols = [names.format(f"A{i}") for i in range(bots)]
    options = [word for symbol in symbols for word in ("--symbol", symbol)]
    sim = stack.enter_context(simulator(protocol, *options))
    root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for folder in ("logs", "database"):
        (root / folder).mkdir(parents=True)
    flock = Flock(protocol, bots, [])
    for i, symbol in enumerate(symbols):
        document = sim.document(f"idle_{i:02}")
        document["metadata"]["symbol"] = symbol
        parts = build(
            parse(document, stem=f"idle_{i:02}")[0],
            db_path=root / "database" / f"{i}.db",
            root=root,
            started_at=datetime.now(UTC),
            log=lambda *_, **__: None,
            publish=lambda _: None,
            beat=lambda *_: None,
        )
        assert parts.opened.session is not None
        parts.opened.session.on_attempt = flock.attempted
        flock.parts.append(parts)
        engine = threading.Thread(target=parts.engine.run)
        engine.start()
        stack.callback(_end, parts, engine)
    wait_until(lambda: len(_resting(sim)) == 20 * bots, f"{bots} grids rest")
    return flock


def _end(parts: Parts, engine: threading.Thread) -> None:
    parts.engine.inbox.post_command(StopBot(reason="the benchmark is over"))
    engine.join()
    parts.close()


def _requests(sim: Simulator, root: Path) -> None:
    live = sim.open(root)
    count = [0]

    def attempt(longest_s: float) -> None:
        count[0] += longest_s == 0  # over

    live.client.fetch_instrument(sim.symbol)
    live.rest.session.on_wait = attempt

    def counted(work: object) -> int:
        count[0] = 0
        assert callable(work)
        work()
        return count[0]

    def place(first: int, many: int) -> list[Order]:
        levels = [Decimal(149) - Decimal(i) / 10 for i in range(many)]
        requests = [
            order_request(sim, first + i, Side.BUY, level, "0.1") for i, level in enumerate(levels)
        ]
        return [o for o in live.client.place_orders(requests) if isinstance(o, Order)]

    resting: list[Order] = []
    seeded = counted(lambda: resting.extend(place(1, 100)))

    def move() -> None:
        live.client.cancel_orders(resting)
        resting[:] = place(1001, 100)

    moved = counted(move)

    def shift() -> None:
        live.client.cancel_orders(resting[:1])
        place(2001, 2)

    shifted = counted(shift)
    print(
        f"{sim.protocol}: seed 100 levels {seeded} requests, move {moved}, shift by a cell "
        f"{shifted}; floor {FLOOR[sim.protocol]}"
    )
    live.client.close()


def _reactions(sim: Simulator, root: Path) -> None:
    """Walk the price over one level to and fro; take the time from each fill to its answer."""
    for folder in ("config/active", "logs", "database"):
        (root / folder).mkdir(parents=True)
    document = sim.document("bench_01", {"grid_num": 21, "max_position": 20, "interval": 60})
    document["daemon_config"] = {}
    config = root / "config" / "active" / "bench_01.json"
    config.write_text(json.dumps(document))
    environment = {**os.environ, "GRID_ROOT": str(root), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "run.py"), "--config", str(config), "--no-web"]
    with (root / "log").open("wb") as log:
        bot = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    pace = threading.Event()
    try:
        wait_until(lambda: len(_resting(sim)) == 20, "the grid rests")
        for i in range(REACTIONS):
            pace.wait(PACE_S)
            sim.price("148.9" if i % 2 == 0 else "150.1")
            fills = i + 1
            wait_until(
                lambda n=fills: len(sim.ledger()["fills"]) >= n and len(_resting(sim)) == 20,
                "the fill is answered",
            )
    finally:
        bot.send_signal(signal.SIGTERM)
        bot.wait(60)
    ledger = sim.ledger()
    placed = sorted(datetime.fromisoformat(order["time"]) for order in ledger["orders"])
    waits = []
    for fill in ledger["fills"]:
        at = datetime.fromisoformat(fill["time"])
        later = [stamp for stamp in placed if stamp >= at]
        if later:
            waits.append((later[0] - at).total_seconds() * 1000)
    waits.sort()
    if waits:
        p99 = waits[int(len(waits) * 0.99) - 1]
        print(
            f"{sim.protocol}: fill to the order that answers it p50 {statistics.median(waits):.1f} "
            f"ms, p99 {p99:.1f} ms over {len(waits)} fills"
        )


def _resting(sim: Simulator) -> list[object]:
    return [o for o in sim.ledger()["orders"] if o["status"] in ("NEW", "PARTIALLY_FILLED")]


if __name__ == "__main__":
    main()
