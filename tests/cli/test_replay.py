"""A replay is the bot itself on past prices: what it reports, and where it starts and ends."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cli.replay import ReplayClock, Replayed, ReplayIds, replay
from core.errors import ConfigError
from core.model import GridMode, GridType, Instrument
from exchanges.matching import Rules
from exchanges.paper_memory import MemoryPaperStore
from exchanges.price_feed import CandleSource
from strategies.settings import EngineSettings, GridRequest

D = Decimal
HEADER = "timestamp_ms,open,high,low,close,volume"
START_MS = 1_640_995_200_000

INSTRUMENT = Instrument(
    symbol="BTCUSDT",
    base_asset="BTC",
    quote_asset="USDT",
    tick_size=D(1),
    lot_size=D("0.001"),
    min_quantity=D("0.001"),
    min_notional=D(0),
    maker_fee=D("0.0002"),
    taker_fee=D("0.0002"),
)


def candles(path: Path, *rows: str) -> Path:
    """Minutes of `open high low close`."""
    lines = [HEADER]
    for i, row in enumerate(rows):
        lines.append(",".join([str(START_MS + i * 60_000), *row.split(), "1"]))
    path.write_text("\n".join(lines) + "\n")
    return path


def run(path: Path, *, rates: tuple[tuple[int, Decimal], ...] = (), **grid: object) -> Replayed:
    values: dict[str, object] = {
        "lower": D(100),
        "upper": D(110),
        "num": 11,
        "mode": GridMode.ARITHMETIC,
        "kind": GridType.NEUTRAL,
        "quantity": D(1),
        "max_position": None,
    }
    request = GridRequest(**{**values, **grid})  # type: ignore[arg-type]  # a table of fields
    settings = EngineSettings(
        instance_id="t",
        exchange="paper",
        mode="paper",
        symbol="BTCUSDT",
        interval_s=1e12,
        grid=request,
    )
    rules = Rules(instrument=INSTRUMENT, leverage=D(10))
    source = CandleSource(path, rates)
    return replay(settings, rules, source, MemoryPaperStore(), D(10_000), with_points=True)


def test_a_replay_tells_where_it_began_and_ended(tmp_path: Path) -> None:
    """The first and the last price of the data, the position left open, the fills in order."""
    path = candles(tmp_path / "c.csv", "105 105 103 104", "104 108 104 107")
    result = run(path)
    assert (result.start_price, result.last_price) == (D(105), D(107))
    fills = [f"{fill.side.value} {fill.price}" for fill in result.fills]
    assert fills == [
        "BUY 104", "BUY 103", "SELL 104", "SELL 105", "SELL 106", "SELL 107", "SELL 108", "BUY 107",
    ]  # fmt: skip
    assert result.grid.totals.closed_cells == 3
    assert result.equity_change == result.pnl.total
    assert result.seconds >= 0


def test_a_replay_books_funding_at_its_stamps(tmp_path: Path) -> None:
    """-position x price x rate at the close of the candle that has the stamp."""
    path = candles(tmp_path / "c.csv", "105 105 103 103", "103 103 103 103", "103 103 103 103")
    result = run(path, rates=((START_MS + 60_000, D("0.001")),))
    assert result.grid.position == 2
    assert result.pnl.funding == -2 * 103 * D("0.001")
    assert result.equity_change == result.pnl.total


def test_a_replay_books_funding_at_its_first_stamp(tmp_path: Path) -> None:
    """Data that begins at a funding stamp, as days do: the account pays, so the ledger books."""
    path = candles(tmp_path / "c.csv", "105 105 103 103", "103 103 103 103")
    result = run(path, rates=((START_MS, D("0.001")),))
    assert result.pnl.funding == -2 * 103 * D("0.001")
    assert result.equity_change == result.pnl.total


def test_a_replay_waits_for_its_trigger(tmp_path: Path) -> None:
    """Nothing fills before the price has been at the trigger."""
    path = candles(tmp_path / "c.csv", "105 105 101 101", "101 103 101 103", "103 103 102 102")
    result = run(path, trigger_price=D(101))
    assert result.start_price == 105
    assert result.fills[0].price == 102


def test_a_trigger_that_is_never_reached_is_said(tmp_path: Path) -> None:
    """The replay ends with the data and names the trigger, rather than run for ever."""
    path = candles(tmp_path / "c.csv", "105 106 104 105", "105 106 104 105")
    with pytest.raises(ConfigError, match=r"trigger_price: was 90"):
        run(path, trigger_price=D(90))


def test_a_grid_that_cannot_trade_is_refused(tmp_path: Path) -> None:
    """The reasons are the bot's own."""
    path = candles(tmp_path / "c.csv", "105 106 104 105")
    with pytest.raises(ConfigError, match="fall on the same price"):
        run(path, num=30)


def test_time_stands_still_between_prices() -> None:
    """The replay's clock tells the data's time and never makes anything due by itself."""
    clock = ReplayClock()
    assert clock.monotonic() == clock.monotonic() == 0.0
    assert clock.now().year == 1970
    ids = ReplayIds()
    assert ids.owns(ids.make(7))
    assert not ids.owns("hand-1")


def test_the_ledger_is_told_after_each_booking(tmp_path: Path) -> None:
    """Each point's figures are exact; the last one at the last price is the replay's accounting."""
    path = candles(tmp_path / "c.csv", "105 105 103 103", "103 105 103 104")
    replayed = run(path, rates=((START_MS + 60_000, D("0.001")),))
    seen = [(point.position, point.grid + point.trend) for point in replayed.points]
    assert seen[0] == (0, 0)
    assert [position for position, _ in seen][-1] == replayed.grid.position
    assert len(seen) == 1 + len(replayed.fills) + 1
    assert replayed.points[-1].pnl(replayed.last_price) == replayed.pnl
    assert replayed.points[-1].funding != 0
