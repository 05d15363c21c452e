"""Walk a price path and note which orders of a whole-fill grid it fills, in integers. Pure.

It is right where every order fills whole and is answered before price moves on, nothing limits
the orders, and nothing but price changes them. Then a grid is one number, the hole:

- Each awake cell has exactly one order: cell i a BUY@L_i, or a SELL@L_i+1. A fill turns one into
  the other, and price moves on lines, so that all awake cells below some level buy and all from it
  up sell. That level is the hole. A fill at a level makes that level the hole.
- What can happen next is a BUY at the level below the hole, or a SELL at the level above it.
- The awake cells are `bottom` to `top` - 1. All of a neutral grid are. In a long grid those above
  sleep and wake at a corner of the path at or above their upper level, which lies above every exit:
  the grid is flat then. A short grid mirrors that.
- The outer cell of a long grid whose price lies at or below it is awake, but its order is not sent
  before a corner lies above its level: here it counts as asleep (`top` 0). A short grid mirrors
  that too (`bottom` at the last level).

Prices are in the track's units, levels are thresholds in them, so that nothing is rounded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from exchanges.track import Rates, Track, ceil_units, floor_units

BUY, SELL, WAKE, FUND = range(4)

Event = tuple[int, int, int, int]
"""Row, corner, what, level: BUY and SELL fill at that level; WAKE: the new `top` (long) or `bottom`
(short); FUND: which of the track's dues falls due."""

_NEVER = 1 << 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The levels as thresholds in a track's units, one entry a level, lowest first.

    A BUY at a level fills at a price <= `buys_at`, a SELL at one >= `sells_at`. `floors` and
    `ceilings`: the level itself, rounded to whole units.
    """

    floors: Sequence[int]
    ceilings: Sequence[int]
    buys_at: Sequence[int]
    sells_at: Sequence[int]

    @classmethod
    def of(cls, levels: Sequence[Decimal], digits: int, beyond: Decimal) -> Lines:
        """`beyond`: how far the price must go beyond an order's own to fill it (quote currency)."""
        floors = [floor_units(level, digits) for level in levels]
        ceilings = [ceil_units(level, digits) for level in levels]
        return cls(
            floors=floors,
            ceilings=ceilings,
            buys_at=[floor_units(level - beyond, digits) for level in levels] if beyond else floors,
            sells_at=[ceil_units(level + beyond, digits) for level in levels]
            if beyond
            else ceilings,
        )


@dataclass(slots=True, kw_only=True)
class Walk:
    """A walk over a track: where the grid stands, and everything that happened (`events`)."""

    track: Track
    lines: Lines
    hole: int
    bottom: int
    top: int
    events: list[Event] = field(default_factory=list)
    low_stop: int = 0
    high_stop: int = 0

    def run(self, row: int, corner: int, dues: Sequence[tuple[int, Rates]]) -> None:
        """Walk from a corner to the end of the track; `dues` are what the track says of funding."""
        self._set_stops()
        last = len(self.track.lows) - 1
        self._visit(row, corner)
        begin = row + 1
        # What is due at a row's last corner is paid before a grid begins there.
        first = row if corner < len(self.track.corners(row)) else begin
        for number, (end, _) in enumerate(dues):
            if end < first:
                continue
            self._scan(begin, end + 1)
            begin = max(begin, end + 1)
            self.events.append((end, -1, FUND, number))
        self._scan(begin, last + 1)

    def _scan(self, begin: int, end: int) -> None:
        """Pass rows in which nothing can happen; visit the others."""
        lows, highs = self.track.lows[begin:end], self.track.highs[begin:end]
        low_stop, high_stop = self.low_stop, self.high_stop
        for row, low, high in zip(range(begin, end), lows, highs, strict=True):
            if low_stop < low and high < high_stop:
                continue
            self._visit(row, 0)
            low_stop, high_stop = self.low_stop, self.high_stop

    def _visit(self, row: int, first: int) -> None:
        """Pass the corners of one row from `first` on."""
        buys_at, sells_at, events = self.lines.buys_at, self.lines.sells_at, self.events
        hole, bottom, top = self.hole, self.bottom, self.top
        for corner, price in enumerate(self.track.corners(row)):
            if corner < first:
                continue
            while hole > bottom and price <= buys_at[hole - 1]:
                hole -= 1
                events.append((row, corner, BUY, hole))
            while hole < top and price >= sells_at[hole + 1]:
                hole += 1
                events.append((row, corner, SELL, hole))
            if hole == top < len(buys_at) - 1 and price >= self._wakes_above(top):
                hole = top = self._top_at(price)
                events.append((row, corner, WAKE, top))
            elif hole == bottom > 0 and price <= self._wakes_below(bottom):
                hole = bottom = self._bottom_at(price)
                events.append((row, corner, WAKE, bottom))
        self.hole, self.bottom, self.top = hole, bottom, top
        self._set_stops()

    def _set_stops(self) -> None:
        """Find the prices strictly between which nothing can happen."""
        hole, bottom, top = self.hole, self.bottom, self.top
        count = len(self.lines.floors) - 1
        self.low_stop, self.high_stop = -1, _NEVER
        if hole > bottom:
            self.low_stop = self.lines.buys_at[hole - 1]
        elif bottom > 0:
            self.low_stop = self._wakes_below(bottom)
        if hole < top:
            self.high_stop = self.lines.sells_at[hole + 1]
        elif top < count:
            self.high_stop = self._wakes_above(top)

    def _wakes_above(self, top: int) -> int:
        """The least price at which another cell of a long grid has an order."""
        return self.lines.ceilings[top + 1] if top else self.lines.floors[0] + 1

    def _wakes_below(self, bottom: int) -> int:
        """The greatest price at which another cell of a short grid has an order."""
        last = len(self.lines.floors) - 1
        return self.lines.floors[bottom - 1] if bottom < last else self.lines.ceilings[last] - 1

    def _top_at(self, price: int) -> int:
        return max(1, bisect_right(self.lines.ceilings, price) - 1)

    def _bottom_at(self, price: int) -> int:
        last = len(self.lines.floors) - 1
        return min(last - 1, bisect_left(self.lines.floors, price))
