"""The main job on real input: a supervised replay of a month of BTC, at full speed."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest
from fleet import Fleet, wait_for
from test_fleet import total_of

from database.db import Database
from strategies.grid_state import pnl
from strategies.ledger import Ledger

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("GRID_DATA", Path(__file__).parents[3] / "shared" / "market_data"))
MONTH = DATA / "btc_perp_1m_2022-01.csv"
FUNDING = DATA / "funding_btcusdt_binance_8h_2020_2023.csv"


@pytest.mark.skipif(not MONTH.exists(), reason=f"no market data at {DATA} (set GRID_DATA)")
def test_a_month_is_replayed_under_a_supervisor_with_the_page_alive(fleet: Fleet) -> None:
    """Every snapshot adds up while 45,031 candles pass; the ledger ends as the golden vector."""
    feed = {
        "feed": "csv",
        "file": str(MONTH),
        "funding_file": str(FUNDING),
        "speed": 0,
        "tick_size": 1,
        "lot_size": 0.001,
        "min_notional": 0,
        "taker_fee": 0.0002,
    }
    fleet.write(
        "btc_month",
        feed=feed,
        symbol="BTCUSDT",
        grid_lower_price=33000,
        grid_upper_price=48000,
        grid_num=50,
        quantity="0.1",
        max_position=100,
    )
    fleet.start("btc_month")
    seen: list[int] = []

    def ended() -> bool:
        try:
            status = fleet.get("btc_month", "/api/status")
        except OSError:
            return bool(fleet.record("btc_month")["state"] == "EXITED")
        assert Decimal(status["pnl"]["total"]) == total_of(status["pnl"])
        seen.append(status["fills"])
        return False

    wait_for("the end of the data", ended, 120)
    assert len(seen) > 3, "the page answered while the replay ran"
    assert seen == sorted(seen)
    store = Database(fleet.root / "database" / "btc_month.db")
    ledger = Ledger(store)
    ledger.load()
    grid = ledger.grid
    assert grid is not None
    figures = pnl(grid, Decimal(38544))  # the month's last close
    assert (grid.totals.fills, grid.totals.closed_cells) == (786, 380)
    assert grid.position == Decimal("2.6")
    assert figures.grid == Decimal("11029.17164")
    assert figures.unrealized == Decimal("-9861.10")
    assert figures.open_fees == Decimal("22.01510")
    assert figures.funding == Decimal("-232.5927220450")
    assert figures.total == Decimal("913.4638179550")
    assert store.live_orders() == ()
    store.close()
    audited = fleet.run("instance_cli", "audit", "btc_month")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "786 fills" in audited.stdout
