"""The equity of a replay along the price's own path, exactly: its parts, its position, drawdown.

Equity between two bookings moves with the price alone, so it is known at every corner of every
candle from the ledger's points. A candle has four corners, in the order in which the exchange
walked them (`price_feed`): open, low, high, close, or open, high, low, close. Drawdown is judged at
all four, so at the extremes, not at the closes alone; the series that are drawn are the closes'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from cli.replay import LedgerPoint, Replayed
from core.model import ZERO
from exchanges.price_files import FileSource

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = LedgerPoint(
    time=EPOCH,
    position=ZERO,
    cost=ZERO,
    grid=ZERO,
    trend=ZERO,
    fees=ZERO,
    open_fees=ZERO,
    funding=ZERO,
)


def to_ms(time: datetime) -> int:
    """Turn a UTC moment into Unix milliseconds."""
    return (time - EPOCH) // timedelta(milliseconds=1)


@dataclass(slots=True)
class Drawdown:
    """The deepest fall of the equity from a peak before it. Amounts in the quote currency.

    `percent` is of the account's equity at that peak, the balance included.
    """

    amount: Decimal = ZERO
    percent: Decimal = ZERO
    peak_ms: int = 0
    trough_ms: int = 0


@dataclass(slots=True)
class Curve:
    """One value a candle, at its close; all but `position` (base) in the quote currency.

    `drawdown` is the candle's deepest, not its close's. `equity` is its change since the start.
    """

    times_ms: list[int] = field(default_factory=list)
    low: list[Decimal] = field(default_factory=list)
    high: list[Decimal] = field(default_factory=list)
    close: list[Decimal] = field(default_factory=list)
    equity: list[Decimal] = field(default_factory=list)
    grid: list[Decimal] = field(default_factory=list)
    trend: list[Decimal] = field(default_factory=list)
    unrealized: list[Decimal] = field(default_factory=list)
    open_fees: list[Decimal] = field(default_factory=list)
    funding: list[Decimal] = field(default_factory=list)
    position: list[Decimal] = field(default_factory=list)
    drawdown: list[Decimal] = field(default_factory=list)
    deepest: Drawdown = field(default_factory=Drawdown)

    def __len__(self) -> int:
        return len(self.times_ms)

    def note(
        self,
        time_ms: int,
        prices: Sequence[Decimal],
        point: LedgerPoint,
        equity: Decimal,
        drawdown: Decimal,
    ) -> None:
        """Append one candle: its four prices, and the ledger at the last of them."""
        close = prices[-1]
        self.times_ms.append(time_ms)
        self.low.append(min(prices))
        self.high.append(max(prices))
        self.close.append(close)
        self.equity.append(equity)
        self.grid.append(point.grid)
        self.trend.append(point.trend)
        self.unrealized.append(point.position * close - point.cost)
        self.open_fees.append(point.open_fees)
        self.funding.append(point.funding)
        self.position.append(point.position)
        self.drawdown.append(drawdown)


def trace(source: FileSource, replayed: Replayed, balance: Decimal) -> Curve:
    """Walk the same candles once more beside the ledger's points; ends where the replay ended.

    `source` is walked from its beginning. A candle within which a stop closed everything is walked
    to its end: nothing moves any more. Errors: ConfigError of its candles.
    """
    curve, ledger = Curve(), _Ledger(replayed.points)
    until = to_ms(replayed.ended_at) if replayed.ended_by is not None else 1 << 62
    peak, peak_ms, worst = ZERO, 0, ZERO
    prices: list[Decimal] = []
    source.open(None, 0)
    while (vertex := source.next()) is not None and (prices or vertex.time_ms <= until):
        due_ms = max(vertex.time_ms, vertex.funding[-1][0] if vertex.funding else 0)
        ledger.go_to(due_ms, has_funding=bool(vertex.funding))
        equity = ledger.fixed + ledger.point.position * vertex.price
        if equity > peak or (not prices and not curve.times_ms):
            peak, peak_ms = max(equity, peak), vertex.time_ms
        fall = peak - equity
        worst = max(worst, fall)
        if fall > curve.deepest.amount:
            curve.deepest = Drawdown(
                amount=fall,
                percent=fall / (balance + peak) * 100,
                peak_ms=peak_ms,
                trough_ms=vertex.time_ms,
            )
        prices.append(vertex.price)
        if len(prices) == source.corners:
            curve.note(vertex.place[1], prices, ledger.point, equity, worst)
            worst = ZERO
            prices.clear()
    source.close()
    return curve


class _Ledger:
    """The point of the ledger that is in force, going forward."""

    def __init__(self, points: Sequence[LedgerPoint]) -> None:
        self._points = points
        self._next = 0
        self.point = _NOTHING
        self.fixed = ZERO  # equity less position x price

    def go_to(self, time_ms: int, *, has_funding: bool) -> None:
        """Take the points booked until then; a funding payment only where funding is due.

        It is booked at its candle's close, with the time of its stamp, which may be earlier.
        """
        points = self._points
        while self._next < len(points):
            point = points[self._next]
            is_funding = point.funding != self.point.funding
            if to_ms(point.time) > time_ms or (is_funding and not has_funding):
                return
            self._take(point)

    def _take(self, point: LedgerPoint) -> None:
        self._next += 1
        self.point = point
        self.fixed = point.grid + point.trend - point.cost - point.open_fees + point.funding
