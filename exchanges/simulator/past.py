"""A made-up past for a symbol: the same seed draws the same candles, any time. Pure.

The price at minute m is the price at the end, moved by noise of four periods (a day, an hour, five
minutes, one minute), in whole parts per million; each is a line between hashed corners, so that any
minute is known without the ones before it. A candle opens where the one before it closed. Beyond
an hour a candle is drawn from hourly corners only: the extremes of single minutes are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b

from core.model import ZERO

MINUTE_MS = 60_000
DAY_MS = 86_400_000
WEEK_OFFSET_MS = 4 * DAY_MS  # 1970-01-01 was a Thursday; weeks begin on Monday
LISTED_MS = 1_672_531_200_000  # 2023-01-01
MILLION = 1_000_000
_NOISE = (
    (1_440, 30_000),
    (60, 5_000),
    (5, 1_200),
    (1, 250),
)  # period in minutes, parts per million

INTERVALS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
    "1M": 0,  # by the calendar
}


@dataclass(slots=True)
class Bar:
    """Prices and volume of a stretch of time."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    quote_volume: Decimal = ZERO
    trades: int = 0

    @classmethod
    def flat(cls, price: Decimal) -> Bar:
        return cls(price, price, price, price)


def merge(bars: list[Bar]) -> Bar:
    """One bar of several, oldest first. Range: at least one."""
    return Bar(
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum((bar.volume for bar in bars), ZERO),
        sum((bar.quote_volume for bar in bars), ZERO),
        sum(bar.trades for bar in bars),
    )


class Past:
    """The minutes of one symbol before `now_ms`."""

    def __init__(self, seed: int, symbol: str, end_price: Decimal, tick: Decimal, now_ms: int):
        self._key = f"{seed} {symbol}".encode()
        self._tick = tick
        self._end_ticks = int(end_price / tick)
        self.end_price = self._end_ticks * tick
        self._corners: dict[tuple[int, int], int] = {}
        self.listed_ms = LISTED_MS
        self._shift = self._noise(now_ms // MINUTE_MS)

    def bars(self, first: int, after: int) -> list[Bar]:
        """The minutes from `first` up to `after`, each; by the hour when they are many."""
        if after - first > 60:
            return [self._bar(m, min(60, after - m)) for m in range(first, after, 60)]
        return [self._bar(m, 1) for m in range(first, after)]

    # Where candles begin ----------------------------------------------------------------------

    def start_of(self, interval: str, time_ms: int) -> int:
        if interval == "1M":
            moment = datetime.fromtimestamp(time_ms / 1000, UTC)
            return _month_ms(moment.year, moment.month)
        length = INTERVALS[interval]
        offset = WEEK_OFFSET_MS if interval == "1w" else 0
        return (time_ms - offset) // length * length + offset

    def first_start(self, interval: str, time_ms: int) -> int:
        """The first beginning at or after `time_ms`."""
        start = self.start_of(interval, time_ms)
        return start if start == time_ms else self.next_start(interval, start)

    def next_start(self, interval: str, start_ms: int) -> int:
        if interval == "1M":
            moment = datetime.fromtimestamp(start_ms / 1000, UTC)
            return _month_ms(moment.year + moment.month // 12, moment.month % 12 + 1)
        return start_ms + INTERVALS[interval]

    # Helpers ----------------------------------------------------------------------------------

    def _bar(self, minute: int, count: int) -> Bar:
        opening, closing = self._ticks(minute), self._ticks(minute + count)
        bits = self._hash(minute, count)
        high = max(opening, closing) + bits % 4
        low = max(1, min(opening, closing) - (bits >> 8) % 4)
        volume = Decimal((bits >> 16) % 90_000 + 10_000).scaleb(-3) * count
        close = closing * self._tick
        return Bar(
            opening * self._tick,
            high * self._tick,
            low * self._tick,
            close,
            volume,
            volume * close,
            int((bits >> 40) % 50 + 1) * count,
        )

    def _ticks(self, minute: int) -> int:
        moved = self._end_ticks * (MILLION + self._noise(minute) - self._shift) // MILLION
        return max(1, moved)

    def _noise(self, minute: int) -> int:
        total = 0
        for period, size in _NOISE:
            index, part = divmod(minute, period)
            left, right = self._corner(period, index, size), self._corner(period, index + 1, size)
            total += left + (right - left) * part // period
        return total

    def _corner(self, period: int, index: int, size: int) -> int:
        if period == 1:
            return self._hash(index, 0) % (2 * size + 1) - size
        known = self._corners.get((period, index))
        if known is None:
            known = self._hash(index, period) % (2 * size + 1) - size
            self._corners[period, index] = known
        return known

    def _hash(self, index: int, kind: int) -> int:
        text = b"%b %d %d" % (self._key, index, kind)
        return int.from_bytes(blake2b(text, digest_size=8).digest())


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
