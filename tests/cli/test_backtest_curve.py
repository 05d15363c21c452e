"""The equity curve and what is derived from it, against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from backtest_world import MINUTE_MS, START_MS, D, wave, write_candles, write_config, write_funding

from cli.backtesting.curve import Curve, to_ms, trace
from cli.backtesting.run import Run, finish
from cli.backtesting.setup import Assumptions, prepare, run
from core.config_load import load
from exchanges.candles import Candles
from exchanges.price_feed import CandleSource, read_funding

pytestmark = pytest.mark.slow


def finished(
    root: Path,
    rows: list[tuple[int, ...]],
    stamps: list[int] | None = None,
    fees: tuple[str, str] = ("0", "0"),
    assumptions: Assumptions | None = None,
    **grid: object,
) -> Run:
    name = write_config(root, paper={"maker_fee": fees[0], "taker_fee": fees[1]}, **grid)
    data = write_candles(root / "c.csv", rows)  # type: ignore[arg-type]  # four prices each
    rates = read_funding(write_funding(root / "f.csv", stamps), "BTCUSDT") if stamps else ()
    setup = prepare(load(name, root).config, assumptions or Assumptions())
    candles = Candles.read(data)
    source = CandleSource(candles, rates)
    replayed = run(setup, source, with_points=True)
    return finish(setup, replayed, candles, rates, data=str(data), funding=None, config="bt.json")


def test_the_curve_follows_the_closes(tmp_path: Path) -> None:
    """Two lots bought at 104 and 103, one sold at 104: equity, parts and position at each close."""
    found = finished(tmp_path, [(105, 105, 103, 103), (103, 104, 103, 104), (104, 104, 102, 102)])
    curve = found.curve
    assert curve.position == [2, 1, 3]
    assert curve.grid == [0, 1, 1]
    assert curve.unrealized == [-1, 0, -2 - 1 + 0]
    assert curve.equity == [-1, 1, -2]
    assert curve.times_ms == [START_MS + i * MINUTE_MS for i in range(3)]


def test_the_last_equity_is_the_accounting(tmp_path: Path) -> None:
    """Whatever happened in between, funding in gaps and at odd stamps included."""
    stamps = [START_MS - 1, START_MS, START_MS + 7 * MINUTE_MS + 59_999, START_MS + 10**9]
    found = finished(tmp_path, wave(200), stamps, grid_type="short", open_initial=True)
    assert found.curve.equity[-1] == found.replayed.equity_change == found.replayed.pnl.total
    assert found.curve.funding[-1] == found.replayed.pnl.funding != 0
    for i in range(len(found.curve)):
        curve = found.curve
        parts = curve.grid[i] + curve.trend[i] + curve.unrealized[i] - curve.open_fees[i]
        assert parts + curve.funding[i] == curve.equity[i]


@pytest.mark.parametrize("kind", ["neutral", "long", "short"])
@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"boundary_action": "stop_only"},
        {"boundary_action": "emergency_close"},
        {"boundary_action": "adjust_range"},
        {"boundary_action": "trail"},
        {"stop_loss": 20},
        {"take_profit": 10},
        {"max_position": 3},
    ],
    ids=str,
)
def test_the_accounts_agree_whatever_happens(
    tmp_path: Path, kind: str, through: bool, rules: dict[str, object]
) -> None:
    """Out of the range and back, with every rule: the exchange's equity, the ledger's parts and the
    end of the curve are the same to the last digit."""
    rows = [*wave(40), *wave(40, low=85, high=125), *wave(20)]
    found = finished(
        tmp_path,
        rows,
        [START_MS + 20 * MINUTE_MS * i for i in range(5)],
        fees=("0.0002", "0.0005"),
        assumptions=Assumptions(through=through, slippage=D("0.003")),
        grid_type=kind,
        open_initial=kind != "neutral",
        **rules,
    )
    assert found.replayed.equity_change == found.replayed.pnl.total == found.curve.equity[-1]
    assert found.curve.position[-1] == found.replayed.grid.position
    if found.replayed.ended_by is not None:
        assert found.replayed.grid.position == 0


def test_drawdown_is_judged_at_the_extremes(tmp_path: Path) -> None:
    """A candle that closes where it opened has fallen to its low meanwhile; the peak is before."""
    rows = [(105, 105, 104, 105), (105, 105, 101, 105), (105, 105, 105, 105)]
    found = finished(tmp_path, rows)
    # 104 is bought and sold at 105: +1. Then 104..101 are bought: at 101 they are 0+1+2+3 down.
    deepest = found.curve.deepest
    assert deepest.amount == 6
    assert deepest.percent == Decimal(6) / 100_001 * 100
    assert found.curve.drawdown == [0, 6, 0]
    assert (deepest.peak_ms - START_MS) // MINUTE_MS == 0
    assert (deepest.trough_ms - START_MS) // MINUTE_MS == 1
    assert found.curve.equity == [1, 5, 5]


def test_a_rise_alone_has_no_drawdown(tmp_path: Path) -> None:
    """A long grid that holds from the start and only gains."""
    rows = [(105, 106, 105, 106), (106, 109, 106, 109)]
    found = finished(tmp_path, rows, grid_type="long", open_initial=True)
    assert found.curve.deepest.amount == 0
    assert found.curve.equity[-1] > 0


def test_figures_by_hand(tmp_path: Path) -> None:
    """Time in range, exposure, margin, yearly rates and holding."""
    rows = [(105, 105, 103, 103), (103, 104, 103, 104), (104, 112, 104, 112), (112, 112, 111, 111)]
    found = finished(tmp_path, rows, max_position=5)
    figures = found.figures
    assert figures.notional == 5 * 105
    assert figures.invested == D("52.50")  # at 10 times leverage
    assert figures.in_range == 50
    assert figures.days.quantize(D("1e-9")) == (D(4) / 1440).quantize(D("1e-9"))
    change, margin_days = found.replayed.equity_change, D("52.5") * 4 / 1440
    assert figures.total_apr == (change * 36500 / margin_days).quantize(D("0.01"))
    assert figures.grid_apr == (found.replayed.pnl.grid * 36500 / margin_days).quantize(D("0.01"))
    assert figures.held.quantity == 5
    assert figures.held.equity_change == 5 * (111 - 105)
    assert figures.most_held == max(abs(q) for q in found.curve.position)


def test_holding_pays_funding_like_the_grid(tmp_path: Path) -> None:
    """At the close of the candle that has the stamp; not before the first, not after the last."""
    stamps = [START_MS - 1, START_MS + 1, START_MS + MINUTE_MS, START_MS + 3 * MINUTE_MS]
    rows = [(105, 105, 103, 103), (103, 104, 103, 104), (104, 104, 104, 104)]
    found = finished(tmp_path, rows, stamps, max_position=5)
    assert found.figures.held.funding == -5 * (103 + 104) * D("0.0001")


def test_a_curve_needs_no_points(tmp_path: Path) -> None:
    """Before anything is booked equity stands still, whatever the price does."""
    found = finished(tmp_path, wave(10))
    source = CandleSource(tmp_path / "c.csv", preload=True)
    curve = trace(source, replace(found.replayed, points=()), D(1000))
    assert isinstance(curve, Curve)
    assert set(curve.equity) == {0}
    assert len(curve) == 10


@pytest.mark.parametrize("ms", [0, 1, START_MS, START_MS + 59_999])
def test_moments_are_exact(ms: int) -> None:
    """Unix milliseconds survive."""
    assert (
        to_ms(datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)) == ms
    )
