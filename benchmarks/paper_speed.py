"""How fast the paper exchange walks a candle file, beside its floor: reading the same file.

    python benchmarks/paper_speed.py [CSV]

Floor: the csv module and five Decimals a row, nothing else. The rates are
candles a second of CPU, the best of five runs.
"""

from __future__ import annotations

import csv
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from core.model import FeedEnd, Instrument
from exchanges.candle_file import read_candles
from exchanges.matching import Rules
from exchanges.paper import PaperExchange
from exchanges.paper_memory import MemoryPaperStore
from exchanges.price_feed import CandleSource
from exchanges.synthetic_feed import SyntheticSource

DATA = Path(os.environ.get("GRID_DATA", Path(__file__).parents[2] / "shared/market_data"))
SYMBOL = "BTC_USDC_PERP"
INSTRUMENT = Instrument(
    symbol=SYMBOL,
    base_asset="BTC",
    quote_asset="USDC",
    tick_size=Decimal(1),
    lot_size=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(5),
    maker_fee=Decimal("0.0002"),
    taker_fee=Decimal("0.0005"),
)


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def floor(path: Path) -> int:
    count = 0
    with path.open(newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for row in reader:
            int(row[0]), *map(Decimal, row[1:5])
            count += 1
    return count


def checked(path: Path) -> int:
    return sum(1 for _ in read_candles(path))


def replay(path: Path, *, coalesced: bool) -> int:
    exchange = PaperExchange(
        rules=Rules(instrument=INSTRUMENT, leverage=Decimal(10)),
        balance=Decimal(100_000),
        speed=Decimal(0),
        source=CandleSource(path),
        store=MemoryPaperStore(),
        clock=RealClock(),
    )
    if coalesced:
        exchange.set_wake_range(Decimal(1), None)
    while True:
        events = exchange.poll()
        if events and isinstance(events[-1], FeedEnd):
            exchange.close()
            return 0


def synthetic(steps: int) -> None:
    source = SyntheticSource(
        seed=7,
        start_price=Decimal(150),
        tick_size=Decimal("0.01"),
        volatility=Decimal("0.0005"),
        band=Decimal("0.067"),
        funding_rate=Decimal("0.0001"),
    )
    source.open(None, 0)
    for _ in range(steps):
        source.next()


def best_of(work: Callable[[], object], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "btc_perp_1m_2022-01.csv"
    if not path.exists():
        sys.exit(f"{path}: not there; name a candle file, or set GRID_DATA to the data's folder")
    rows = floor(path)
    bare = best_of(lambda: floor(path))
    print(f"{'floor: csv and Decimals':26} {rows / bare:10,.0f} candles/s")
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, work in (
        ("rows checked", lambda: checked(path)),
        ("poll, a quote a vertex", lambda: replay(path, coalesced=False)),
        ("poll, quotes coalesced", lambda: replay(path, coalesced=True)),
    ):
        seconds = best_of(work)
        print(f"{name:26} {rows / seconds:10,.0f} candles/s   {seconds / bare:5.1f} x floor")
    steps = 100_000
    print(f"{'synthetic feed':26} {steps / best_of(lambda: synthetic(steps)):10,.0f} steps/s")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss
    print(f"peak memory grown by {grown} kB over {rows} rows")


if __name__ == "__main__":
    main()
