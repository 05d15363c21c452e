"""The public record of one symbol: trades, candles, the last day. Pure.

Before the simulator started, the symbol has a made-up past (`past`), so that a client that asks for
older candles gets some; it ends at the price with which the simulator began.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from exchanges.simulator.past import Bar, Past, merge
from exchanges.simulator.records import Trade

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
KEPT_TRADES = 1_000  # what a reply can hold at most


@dataclass(frozen=True, slots=True)
class Candle:
    """`end_ms` is the first moment after it."""

    start_ms: int
    end_ms: int
    bar: Bar


class Tape:
    """Fed with every price and trade, in order of time."""

    def __init__(self, past: Past, now_ms: int) -> None:
        self._past = past
        self._first = now_ms // MINUTE_MS
        self.last = past.end_price
        self._minutes: dict[int, Bar] = {self._first: Bar.flat(self.last)}
        self._latest = self._first
        self.trades: deque[Trade] = deque(maxlen=KEPT_TRADES)

    def price(self, price: Decimal, now_ms: int) -> None:
        """The price moved."""
        bar = self._minute_now(now_ms)
        bar.high = max(bar.high, price)
        bar.low = min(bar.low, price)
        bar.close = price
        self.last = price

    def trade(self, trade: Trade) -> None:
        bar = self._minute_now(trade.time_us // 1000)
        bar.volume += trade.quantity
        bar.quote_volume += trade.quantity * trade.price
        bar.trades += 1
        self.trades.append(trade)

    def candles(self, interval: str, start_ms: int, end_ms: int, limit: int) -> list[Candle]:
        """Candles that begin from `start_ms` to `end_ms`, oldest first, the first `limit`.

        `end_ms` is not after now. Minutes in which nothing happened are there, and flat.
        """
        self._minute_now(end_ms)
        found: list[Candle] = []
        start = self._past.first_start(interval, max(start_ms, self._past.listed_ms))
        while start <= end_ms and len(found) < limit:
            end = self._past.next_start(interval, start)
            bar = self._bar(start, end)
            if bar is not None:
                found.append(Candle(start, end, bar))
            start = end
        return found

    def candle_at(self, interval: str, now_ms: int) -> Candle:
        """The candle that is being drawn."""
        start = self._past.start_of(interval, now_ms)
        end = self._past.next_start(interval, start)
        self._minute_now(now_ms)
        bar = self._bar(start, end)
        assert bar is not None
        return Candle(start, end, bar)

    def day(self, now_ms: int, days: int = 1) -> Bar:
        """The last 24 hours, or some days, rounded to whole hours."""
        self._minute_now(now_ms)
        start = now_ms // HOUR_MS * HOUR_MS - days * DAY_MS + HOUR_MS
        bar = self._bar(start, start + days * DAY_MS)
        assert bar is not None
        return bar

    def _bar(self, start_ms: int, end_ms: int) -> Bar | None:
        first, after = start_ms // MINUTE_MS, end_ms // MINUTE_MS
        bars = self._past.bars(first, min(after, self._first)) if first < self._first else []
        if after > self._first:
            bars += self._lived(max(first, self._first), min(after, self._latest + 1))
        return merge(bars) if bars else None

    def _lived(self, first: int, after: int) -> list[Bar]:
        if after - first > len(self._minutes):
            return [bar for minute, bar in self._minutes.items() if first <= minute < after]
        return [self._minutes[m] for m in range(first, after) if m in self._minutes]

    def _minute_now(self, now_ms: int) -> Bar:
        minute = max(now_ms // MINUTE_MS, self._latest)
        for quiet in range(self._latest + 1, minute + 1):
            self._minutes[quiet] = Bar.flat(self.last)
        self._latest = minute
        return self._minutes[minute]
