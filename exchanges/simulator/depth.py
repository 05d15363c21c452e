"""The order book as the public sees it: made-up liquidity around the price, and our orders. Pure.

Best bid and ask are one tick below and above the last price, so that nothing quoted can be hit
without reaching it; sizes follow from the price alone, so that an unmoved level stays as it was.
Every change has a number; a `Chain` is one stream's place in their sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from core.model import Side
from exchanges.matching import Market

LEVELS = 20  # made up on each side
FIRST_UPDATE = 1_504_999_671

Side_ = dict[Decimal, Decimal]
"""Quantity by price."""


@dataclass(slots=True)
class View:
    """Both sides, quantity by price, best first."""

    bids: Side_
    asks: Side_

    @property
    def best_bid(self) -> tuple[Decimal, Decimal]:
        return next(iter(self.bids.items()))

    @property
    def best_ask(self) -> tuple[Decimal, Decimal]:
        return next(iter(self.asks.items()))


def view(market: Market, is_hidden: Callable[[str], bool] = lambda _number: False) -> View:
    """`is_hidden`: of the orders in the book, by their number, which are not shown."""
    tick, lot = market.rules.instrument.tick_size, market.rules.instrument.lot_size
    last = int(market.last / tick)
    bids: Side_ = {n * tick: _size(n, lot) for n in range(last - 1, last - 1 - LEVELS, -1) if n > 0}
    asks: Side_ = {n * tick: _size(n, lot) for n in range(last + 1, last + 1 + LEVELS)}
    if not bids:  # the price is the lowest tick
        bids[tick] = _size(1, lot)
    if market.book.orders:
        for order in market.book.orders.values():
            if is_hidden(order.client_order_id):
                continue
            side = bids if order.side is Side.BUY else asks
            left = order.quantity - order.filled_qty
            side[order.price] = side.get(order.price, Decimal(0)) + left
        bids = dict(sorted(bids.items(), reverse=True))
        asks = dict(sorted(asks.items()))
    return View(bids, asks)


def _size(ticks: int, lot: Decimal) -> Decimal:
    return (ticks * 2_654_435_761 % 90_000 + 10_000) * lot


@dataclass(frozen=True, slots=True)
class Step:
    """What changed since the step before: update ids `first` to `last`, `previous` before them."""

    first: int
    last: int
    previous: int
    bids: Side_  # quantity 0: the level is gone
    asks: Side_


@dataclass(slots=True)
class Chain:
    """A sequence of steps without a gap. Until it is begun, it has no step."""

    last: int | None = None
    shown: View = field(default_factory=lambda: View({}, {}))

    def begin(self, now: View, number: int) -> None:
        self.last, self.shown = number, now

    def step(self, now: View, number: int) -> Step | None:
        """The step to `now`, the best levels if nothing else changed; None: it is there already."""
        before, shown = self.last, self.shown
        if before is None or number == before:
            return None
        self.begin(now, number)
        bids, asks = _changed(shown.bids, now.bids), _changed(shown.asks, now.asks)
        if not bids and not asks:
            bids, asks = dict([now.best_bid]), dict([now.best_ask])
        return Step(before + 1, number, before, bids, asks)


def _changed(before: Mapping[Decimal, Decimal], after: Side_) -> Side_:
    changed = {price: size for price, size in after.items() if before.get(price) != size}
    changed.update({price: Decimal(0) for price in before if price not in after})
    return changed
