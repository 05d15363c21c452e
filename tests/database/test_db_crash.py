"""SIGKILL at any moment: what was committed is there, what was not is not, nothing in between."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from core.model import OrderStatus
from database.db import Database
from database.paper_store import PaperDatabase

WRITER = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
from database_values import a_fill, an_order
from core.model import OrderStatus
from database.db import Database
from database.paper_store import PaperDatabase

store = Database(sys.argv[1], durable=sys.argv[2] == "durable")
paper = PaperDatabase(store if sys.argv[3] == "borrowed" else sys.argv[1])
store.bind_instance("crash_01")
while True:
    now = datetime.now(UTC)
    with store.transaction():
        number = store.reserve_order_numbers(1)
        order = an_order(number, slot=f"entry:{number}")
        store.save_order(order)
    print("intent", number, flush=True)
    filled = replace(order, status=OrderStatus.FILLED, filled_qty=order.quantity)
    fill = a_fill(number, client_order_id=order.client_order_id, time=now)
    paper.commit({"last": number}, [filled], [fill])
    print("exchange", number, flush=True)
    with store.transaction():
        store.insert_fill(fill, order.slot)
        seq = store.append_event("fill", {"trade_id": fill.trade_id, "pad": "x" * 3000}, now)
        store.save_order(filled)
        if number % 7 == 0:
            store.save_checkpoint(seq, {"fills": seq})
    print("fill", number, flush=True)
    if number % 50 == 0:
        store.prune(now)
"""


def run_and_kill(path: Path, lines: int, durable: str, connection: str) -> dict[str, int]:
    """Let it write until it has reported `lines` commits, SIGKILL it, return the last of each."""
    command = [sys.executable, "-c", WRITER, str(path), durable, connection]
    told: dict[str, int] = {}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parent)},
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        for _ in range(lines):
            line = writer.stdout.readline()
            assert line, writer.stderr.read()
            kind, number = line.split()
            told[kind] = int(number)
        writer.kill()
        for line in writer.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):  # what it had committed and told before the signal reached it
                kind, number = line.split()
                told[kind] = int(number)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("durable", ["durable", "normal"])
@pytest.mark.parametrize("connection", ["borrowed", "own"])
def test_a_writer_killed_again_and_again_leaves_a_consistent_ledger(
    tmp_path: Path, durable: str, connection: str
) -> None:
    """Each reopening also passes the checks of a start: every page, the journal without a gap."""
    path = tmp_path / "x.db"
    chance = random.Random(f"{durable} {connection}")
    highest = 0
    for _ in range(6):
        told = run_and_kill(path, chance.randrange(1, 400), durable, connection)
        highest = max(highest, *told.values())
        store = Database(path)
        store.bind_instance("crash_01")
        fills = [fill.trade_id for fill in store.load_fills(100_000)]
        events = list(store.events_after(0))
        assert [seq for seq, *_ in events] == list(range(1, len(fills) + 1))
        assert [payload["trade_id"] for _, _, payload, _ in events] == fills
        assert len(set(fills)) == len(fills) == store.fill_count()
        checkpoint = store.load_checkpoint()
        assert checkpoint is None or checkpoint[0] == checkpoint[1]["fills"] <= len(events)
        for trade_id in fills:
            order = store.load_order(f"gf-{trade_id[1:]}")
            assert order is not None
            assert order.status is OrderStatus.FILLED
        # What it told as committed is there.
        assert store.load_order(f"gf-{told['intent']}") is not None
        if "fill" in told:
            assert f"t{told['fill']}" in fills
        paper = PaperDatabase(path)
        there = [fill.trade_id for fill in paper.load_fills(None)]
        if "exchange" in told:
            assert f"t{told['exchange']}" in there
        assert set(fills) <= set(there)  # never a fill that the exchange does not have
        account = paper.load_account()
        assert account is None or f"t{account['last']}" in there
        paper.close()
        # No number that ever left is given out again.
        assert store.reserve_order_numbers(1) > highest
        for order in store.live_orders():
            assert order.status is OrderStatus.PENDING
        store.close()
    assert highest > 50
