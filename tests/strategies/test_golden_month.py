"""GRID.md's golden month: the real engine over a real month of minutes, to the printed digits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from cli.replay import Replayed, replay
from core.model import GridMode, GridType, Instrument
from exchanges.matching import Rules
from exchanges.paper_memory import MemoryPaperStore
from exchanges.price_feed import CandleSource, read_funding
from strategies.settings import EngineSettings, GridRequest

D = Decimal
DATA = Path(os.environ.get("GRID_DATA", Path(__file__).parents[3] / "shared/market_data"))
MONTH = DATA / "btc_perp_1m_2022-01.csv"
FUNDING = DATA / "funding_btcusdt_binance_8h_2020_2023.csv"
CENT = D("0.01")

pytestmark = pytest.mark.skipif(
    not (MONTH.exists() and FUNDING.exists()),
    reason=f"no market data in {DATA}; set GRID_DATA to the folder that has it",
)

NEUTRAL, LONG = GridType.NEUTRAL, GridType.LONG
ARITHMETIC, GEOMETRIC = GridMode.ARITHMETIC, GridMode.GEOMETRIC


@dataclass(frozen=True)
class Row:
    """One row of the table; `figures`: position, grid, trend, unrealized, open fees, funding,
    equity change. `tick` None: unrounded, figures to the cent."""

    kind: GridType
    mode: GridMode
    tick: str | None
    open_initial: bool
    fills: int
    closed: int
    figures: str

    def __str__(self) -> str:
        start = "-initial" if self.open_initial else ""
        return f"{self.kind.value}{start}-{self.mode.value}-{self.tick or 'unrounded'}"


FAST = [
    Row(
        NEUTRAL, ARITHMETIC, "1", False, 786, 380,
        "2.6 11029.17164 0 -9861.10 22.01510 -232.5927220450 913.4638179550",
    ),
]  # fmt: skip
SLOW = [
    Row(
        LONG, ARITHMETIC, "1", False, 781, 375,
        "3.1 10885.51862 0 -14130.00 26.72328 -333.43548355 -3604.64014355",
    ),
    Row(
        NEUTRAL, ARITHMETIC, None, False, 782, 378,
        "2.60 10970.71 0.00 -9861.11 22.02 -232.59 855.00",
    ),
    Row(
        NEUTRAL, GEOMETRIC, None, False, 792, 384,
        "2.40 10871.96 0.00 -8406.64 20.18 -198.76 2246.38",
    ),
    Row(
        LONG, ARITHMETIC, None, True, 782, 378,
        "3.10 10970.79 381.32 -14129.93 26.72 -339.06 -3143.60",
    ),
    Row(
        NEUTRAL, GEOMETRIC, "1", False, 794, 385,
        "2.4 10897.60282 0 -8406.70 20.18246 -198.7550679050 2271.9652920950",
    ),
    Row(
        LONG, ARITHMETIC, "1", True, 786, 380,
        "3.1 11029.24792 381.40 -14130.00 26.72328 -339.05872355 -3085.13408355",
    ),
]  # fmt: skip


def run(row: Row) -> Replayed:
    tick, lot = (row.tick, "0.001") if row.tick else ("1e-8", "1e-8")
    instrument = Instrument(
        symbol="BTCUSDT",
        base_asset="BTC",
        quote_asset="USDT",
        tick_size=D(tick),
        lot_size=D(lot),
        min_quantity=D(lot),
        min_notional=D(0),
        maker_fee=D("0.0002"),
        taker_fee=D("0.0002"),
    )
    settings = EngineSettings(
        instance_id="month",
        exchange="paper",
        mode="paper",
        symbol="BTCUSDT",
        interval_s=1e12,
        grid=GridRequest(
            lower=D(33000),
            upper=D(48000),
            num=50,
            mode=row.mode,
            kind=row.kind,
            quantity=D("0.1"),
            max_position=None,
            open_initial=row.open_initial,
        ),
    )
    source = CandleSource(MONTH, read_funding(FUNDING, "BTCUSDT"))
    rules = Rules(instrument=instrument, leverage=D(10))
    return replay(settings, rules, source, MemoryPaperStore(), D(100_000), fast=False)


@pytest.mark.parametrize(
    "row", [*FAST, *(pytest.param(row, marks=pytest.mark.slow) for row in SLOW)], ids=str
)
def test_golden_month(row: Row) -> None:
    """Every printed figure comes out of the engine, and the identity of GRID.md 6 is exact."""
    result = run(row)
    pnl, totals = result.pnl, result.grid.totals
    got: tuple[Decimal, ...] = (
        result.grid.position,
        pnl.grid,
        pnl.trend,
        pnl.unrealized,
        pnl.open_fees,
        pnl.funding,
        result.equity_change,
    )
    if row.tick is None:
        got = tuple(figure.quantize(CENT) for figure in got)

    assert result.start_price == 46319
    assert (totals.fills, totals.closed_cells) == (row.fills, row.closed)
    assert got == tuple(map(D, row.figures.split()))
    assert totals.stray_fills == 0
    assert len(result.fills) == totals.fills + totals.initial_fills
    assert result.equity_change == pnl.total


@pytest.mark.slow
def test_a_replay_is_the_same_every_time() -> None:
    """I12: two runs over the same prices give the same grid and the same fills, bit for bit."""
    first, second = run(FAST[0]), run(FAST[0])
    assert first.grid == second.grid
    assert first.fills == second.fills
