"""What live trading costs in requests and in time, against the simulator over real HTTP.

Prints, for both exchanges: the requests to seed and to move a grid of 100 levels, those of one
cell's shift, those of an idle minute; and the time from a fill on the exchange to the order that
answers it, as the exchange stamps both (it includes stream, engine, database and HTTP).

Run: .venv-test/bin/python benchmarks/live_requests.py
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "exchanges")]

from simulated import Simulator, order_request, simulator, wait_until  # noqa: E402

from core.model import Order, Side  # noqa: E402

FLOOR = {"backpack": (5, 105), "aster": (20, 30)}
"""Batches of 20 and single cancels; batches of 5 and cancels by ten: what the exchanges allow."""

REACTIONS = 200


def main() -> None:
    for protocol in ("backpack", "aster"):
        with simulator(protocol) as sim, tempfile.TemporaryDirectory() as folder:
            _requests(sim, Path(folder))
        with simulator(protocol) as sim, tempfile.TemporaryDirectory() as folder:
            _reactions(sim, Path(folder))


def _requests(sim: Simulator, root: Path) -> None:
    live = sim.open(root)
    count = [0]

    def attempt() -> None:
        count[0] += 1

    live.client.fetch_instrument(sim.symbol)
    live.rest.session.on_attempt = attempt

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
    try:
        wait_until(lambda: len(_resting(sim)) == 20, "the grid rests")
        for i in range(REACTIONS):
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
