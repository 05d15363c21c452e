"""Money moved in and out of the account while a live bot trades, as a real process."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exchanges"))
from simulated import needs_simulator, simulator, wait_until
from test_live_bot import Desk, supervised

pytestmark = [pytest.mark.slow, needs_simulator]

D = Decimal


@pytest.fixture(params=["backpack", "aster"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with simulator(request.param) as sim:
        yield Desk(sim, tmp_path)


def test_a_transfer_is_neither_profit_nor_a_difference(desk: Desk) -> None:
    """A deposit and a withdrawal with a lot open: the balance follows, nothing else moves."""
    sim = desk.sim
    with supervised(desk):
        url = desk.status("live_01")["web_url"].rstrip("/")

        def page() -> dict[str, Any]:
            with urllib.request.urlopen(f"{url}/api/status", timeout=20) as answer:
                return dict(json.load(answer))

        sim.price("148.5")
        wait_until(lambda: page()["fills"] == 1, "a lot is held")
        sim.control("funding", symbol=sim.symbol, rate="0.0001")
        wait_until(lambda: D(page()["pnl"]["funding"]), "funding is booked")
        for amount in ("5000.25", "-70000", "12"):
            before = page()
            sim.control("transfer", amount=amount)
            due = D(before["balance"]["wallet"]) + D(amount)
            wait_until(lambda due=due: D(page()["balance"]["wallet"]) == due, "the balance follows")
            after = page()
            assert after["pnl"] == before["pnl"]
            assert after["alerts"] == before["alerts"]
            assert after["entries_frozen"] is None
            assert after["position"] == before["position"]
        audit = desk.command_line("instance_cli", "audit", "live_01", "--json")
        assert audit.returncode == 0, audit.stdout
        sim.price(150)
        wait_until(lambda: page()["closed_cells"] == 1, "it trades on")
        wait_until(lambda: page()["open_orders"] == 20, "whole again")
        (told,) = sim.ledger()["balances"]
        total = D(page()["pnl"]["total"])
        moved = D("5000.25") - 70000 + 12
        assert D(told["equity"]) == D(told["initial"]) + moved + total
    again = desk.command_line("instance_cli", "audit", "live_01")
    assert again.returncode == 0, again.stdout + again.stderr
