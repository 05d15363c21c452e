"""Price files of either kind, told apart by their header: candles or trades."""

from __future__ import annotations

from pathlib import Path

from exchanges.candles import Candles
from exchanges.price_feed import CandleSource
from exchanges.track import Rates
from exchanges.trade_file import Trades, TradeSource, is_trade_file

History = Candles | Trades
"""A whole file in memory: read once, it may be replayed any number of times, in parts too."""

FileSource = CandleSource | TradeSource


def read_history(path: Path) -> History:
    """Read a whole file. Errors: ConfigError naming file, line and value."""
    return Trades.read(path) if is_trade_file(path) else Candles.read(path)


def source_of(history: History, funding: Rates = ()) -> FileSource:
    """Make a path of what was read."""
    if isinstance(history, Trades):
        return TradeSource(history, funding)
    return CandleSource(history, funding)


def file_source(path: Path, funding: Rates = (), *, preload: bool = False) -> FileSource:
    """Make a path of a file, which is read as a stream unless it is to be read whole first."""
    if is_trade_file(path):
        return TradeSource(path, funding, preload=preload)
    return CandleSource(path, funding, preload=preload)
