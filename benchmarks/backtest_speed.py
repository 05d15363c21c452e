"""How fast a backtest is: candles and trades a second, whether `seconds` is honest, a sweep.

    .venv/bin/python benchmarks/backtest_speed.py [--runs 5]

Input: btc_perp_1m_2022-01.csv, 45,031 minutes of BTC, its funding rates, and some trades of a
day, in ../shared/market_data or GRID_DATA. The grid is GRID.md's golden month: 50 levels, neutral,
full ledger. All in one process and one run:

- The replay without the engine, and with it, compared to the last digit.
- Floors: the next-crossing skip alone (which candle is the first to leave an interval, again),
  and a plain cell ledger of our own in floats, without ids, lots, funding or proofs.
- Honesty: what the command takes over twenty copies of the file less what it takes over one, by the
  wall and in CPU, reading and everything else included, beside the same of its `seconds`.
- A sweep of 100 grids in a pool of one process a core, file read once.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path

from rig import DATA, MONTH, Row, arguments, fleet, show, warm_up

from cli.replay import Replayed, replay
from core.model import GridMode, GridType, Instrument
from exchanges.candles import Candles
from exchanges.matching import Rules
from exchanges.paper_memory import MemoryPaperStore
from exchanges.price_feed import CandleSource, read_funding
from exchanges.trade_file import Trades, TradeSource
from strategies.settings import EngineSettings, GridRequest

FUNDING = DATA / "funding_btcusdt_binance_8h_2020_2023.csv"
TRADES = DATA / "btcusdt_perp_trades_2024-08-08.csv"
COPIES = 20
D = Decimal

RULES = Rules(
    instrument=Instrument(
        symbol="BTCUSDT",
        base_asset="BTC",
        quote_asset="USDT",
        tick_size=D(1),
        lot_size=D("0.001"),
        min_quantity=D("0.001"),
        min_notional=D(0),
        maker_fee=D("0.0002"),
        taker_fee=D("0.0002"),
    ),
    leverage=D(10),
)
GRID = GridRequest(
    lower=D(33000),
    upper=D(48000),
    num=50,
    mode=GridMode.ARITHMETIC,
    kind=GridType.NEUTRAL,
    quantity=D("0.1"),
    max_position=None,
)
TRADE_GRID = replace(GRID, lower=D(61400), upper=D(62674), num=50)  # as narrow as its fees allow
CONFIG = {
    "symbol": "BTCUSDT",
    "grid_lower_price": 33000,
    "grid_upper_price": 48000,
    "grid_num": 50,
    "quantity": "0.1",
    "max_position": 100,
}
PAPER = {"tick_size": 1, "lot_size": 0.001, "min_notional": 0, "taker_fee": 0.0002}


def run(grid: GridRequest, source: CandleSource | TradeSource, *, fast: bool) -> Replayed:
    settings = EngineSettings(
        instance_id="bench",
        exchange="paper",
        mode="paper",
        symbol="BTCUSDT",
        interval_s=1e12,
        grid=grid,
    )
    result = replay(settings, RULES, source, MemoryPaperStore(), D(100_000), fast=fast)
    assert bool(result.why_engine) is not fast, result.why_engine
    return result


def skip_alone(candles: Candles, width: int) -> int:
    """Count how often the price leaves an interval of `width` units around where it last did."""
    low, high = candles.opens[0] - width, candles.opens[0] + width
    left = 0
    for lowest, highest in zip(candles.lows, candles.highs, strict=True):
        if low < lowest and highest < high:
            continue
        middle = low if lowest <= low else high
        low, high = middle - width, middle + width
        left += 1
    return left


def plain_ledger(candles: list[tuple[float, float, float, float]], levels: list[float]) -> int:
    """The least grid: an interval between two levels, fills counted, a gain summed in floats."""
    fills, gain, fee = 0, 0.0, 0.0
    price = candles[0][0]
    hole = min(range(len(levels)), key=lambda i: abs(levels[i] - price))
    held: dict[int, float] = {}
    last = len(levels) - 1
    for opened, high, low, close in candles:
        below = levels[hole - 1] if hole else 0.0
        above = levels[hole + 1] if hole < last else 1e99
        if below < low and high < above:
            continue
        path = (opened, low, high, close) if close >= opened else (opened, high, low, close)
        for target in path:
            while hole and levels[hole - 1] >= target:
                hole -= 1
                fills += 1
                fee += 0.1 * levels[hole] * 0.0002
                gain += 0.1 * held.pop(hole, 0.0)
                held[hole] = levels[hole + 1] - levels[hole]
            while hole < last and levels[hole + 1] <= target:
                hole += 1
                fills += 1
                fee += 0.1 * levels[hole] * 0.0002
                gain += 0.1 * held.pop(hole - 1, 0.0)
    return fills


def timed(count: int, runs: int, work: Callable[[], object]) -> list[float]:
    """Rows a second of CPU, so that other work on the machine counts less."""
    rates = []
    for _ in range(runs):
        began = time.process_time()
        work()
        rates.append(count / (time.process_time() - began))
    return rates


def copies(path: Path, count: int) -> None:
    """Write the month `count` times, one after the other."""
    with MONTH.open(newline="") as file:
        header, *rows = csv.reader(file)
    span = int(rows[-1][0]) - int(rows[0][0]) + 60_000
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for number in range(count):
            writer.writerows([[int(row[0]) + number * span, *row[1:]] for row in rows])


@dataclass(slots=True)
class Command:
    """One size of file, run by the command again and again: seconds of each kind, one a run."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)


def commands(runs: int, count: int) -> tuple[Command, Command]:
    """Run the command over the month, and over many copies of it."""
    single, many = Command(), Command()
    with tempfile.TemporaryDirectory() as folder, fleet() as one:
        one.write("bench_bt", paper=PAPER, **CONFIG)
        copied = Path(folder) / "copies.csv"
        copies(copied, COPIES)
        for _ in range(runs):
            for seen, file, number in ((single, MONTH, 1), (many, copied, COPIES)):
                words = ("backtest", "--config", "bench_bt", "--data", str(file), "--json")
                began, used = time.perf_counter(), _children_s()
                report = json.loads(one.run("instance_cli", *words))
                seen.wall.append(time.perf_counter() - began)
                seen.cpu.append(_children_s() - used)
                seen.told.append(report["seconds"])
                assert report["candles"] == number * count
    return single, many


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def less_one(single: list[float], many: list[float], count: int) -> list[float]:
    """Candles a second of what the copies took more than the one file."""
    more = (COPIES - 1) * count
    return [more / (b - a) for a, b in zip(single, many, strict=True)]


_candles: Candles | None = None  # of the pool's parent: its children have it without a copy


def one_grid(number: int) -> int:
    """A grid of a sweep: ten level counts by ten ranges."""
    assert _candles is not None
    num, width = 10 + number % 10 * 10, 2000 * (1 + number // 10)
    grid = replace(GRID, num=num, lower=D(42_000 - width // 2), upper=D(42_000 + width // 2))
    return len(run(grid, CandleSource(_candles), fast=True).fills)


def sweep() -> float:
    """100 grids over the month, reading included; seconds."""
    global _candles
    began = time.perf_counter()
    _candles = Candles.read(MONTH)
    context = get_context("fork")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        assert sum(pool.map(one_grid, range(100), chunksize=5)) > 0
    return time.perf_counter() - began


def main() -> None:
    runs = arguments(__doc__, 5).runs
    if not all(path.exists() for path in (MONTH, FUNDING, TRADES)):
        print(f"skipped: no market data at {DATA}; set GRID_DATA to its folder")
        return
    warm_up()
    candles = Candles.read(MONTH)
    count = len(candles)
    reading = timed(count, runs, lambda: Candles.read(MONTH))
    source = CandleSource(candles, read_funding(FUNDING, "BTCUSDT"))
    short, engine = run(GRID, source, fast=True), run(GRID, source, fast=False)
    assert short.fills == engine.fills
    assert short.grid == engine.grid
    assert short.equity_change == engine.equity_change
    floats = [(float(c.open), float(c.high), float(c.low), float(c.close)) for c in candles]
    levels = [float(level) for level in short.grid.spec.levels]
    assert plain_ledger(floats, levels) == len(short.fills)
    width = int(levels[1] - levels[0]) * 10**candles.digits
    skip = timed(count, runs, lambda: skip_alone(candles, width))
    plain = timed(count, runs, lambda: plain_ledger(floats, levels))
    fast = timed(count, runs, lambda: run(GRID, source, fast=True))
    slow = timed(count, max(1, runs // 2), lambda: run(GRID, source, fast=False))
    trades = Trades.read(TRADES)
    tape = TradeSource(trades)
    quick = run(TRADE_GRID, tape, fast=True)
    assert quick.fills == run(TRADE_GRID, tape, fast=False).fills
    single, many = commands(runs, count)
    sweeps = [sweep() for _ in range(max(1, runs // 2))]

    def row(
        name: str, rates: list[float], floor: Sequence[float] = (), floor_name: str = ""
    ) -> Row:
        return Row(
            name=name,
            ours=rates,
            unit="/s",
            floor=floor,
            floor_name=floor_name,
            more_is_better=True,
        )

    show(
        f"a month of BTC, {count:,} candles, {len(short.fills)} fills; candles a second of CPU",
        [
            row("without the engine", fast, plain, "plain cell ledger in floats"),
            row("the same", fast, skip, "skip alone"),
            row("the engine", slow, plain, "plain cell ledger in floats"),
            row("reading the file", reading),
        ],
    )
    wall, cpu, told = (
        less_one(one, more, count)
        for one, more in (
            (single.wall, many.wall),
            (single.cpu, many.cpu),
            (single.told, many.told),
        )
    )
    show(
        f"instance_cli backtest over {COPIES} copies less one; candles a second",
        [
            row("wall time: reading, run, all", wall, told, "by its `seconds`"),
            row("CPU: reading, run, all", cpu, told, "by its `seconds`"),
            Row(name="one file, the whole command", ours=single.wall, unit="s"),
            Row(name="sweep of 100 grids, all cores, wall", ours=sweeps, unit="s", aim=10),
        ],
    )
    show(
        f"{len(trades):,} trades, {len(quick.fills)} fills; trades a second of CPU",
        [
            row(
                "without the engine",
                timed(len(trades), runs, lambda: run(TRADE_GRID, tape, fast=True)),
            ),
            row("the engine", timed(len(trades), runs, lambda: run(TRADE_GRID, tape, fast=False))),
        ],
    )


if __name__ == "__main__":
    main()
