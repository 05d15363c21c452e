"""What the bots of one account may still take of its margin, all of them together. Pure.

    remaining(bot) = max(0, worst(bot) − used(bot))
    it fits when     Σ remaining(bot) <= available

`worst`: the initial margin of the bot's fuller side, every cell that can hold full up to
`max_position`, at its leverage. `used`: what the exchange holds back for the bot's symbol already,
its position and its open orders. `available` is the exchange's own figure, equity less all that is
used: whatever is held already is in `used` and missing in `available`, so that nothing is counted
twice. A loss that the positions may make on the way is in neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from core.model import ZERO, Side
from strategies.grid_math import cells_of
from strategies.grid_state import GridState
from strategies.lots import quantity_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one bot needs at its worst and has already; quote currency, both unsigned."""

    instance_id: str
    symbol: str
    worst: Decimal
    used: Decimal = ZERO

    @property
    def remaining(self) -> Decimal:
        return max(ZERO, self.worst - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How an account is shared: what our own symbol uses already, and the others on it.

    `unknown`: bots on it of which nothing could be told, in words; never counted as nothing.
    """

    used: Decimal = ZERO
    others: tuple[Demand, ...] = ()
    unknown: tuple[str, ...] = ()


ALONE = Sharing()


def remaining_of(others: Iterable[Demand]) -> Decimal:
    """Sum what other bots may still take."""
    return sum((demand.remaining for demand in others), ZERO)


def full_margin(grid: GridState, max_position: Decimal | None, leverage: Decimal) -> Decimal:
    """Give the margin of a grid in force when its fuller side is full (quote currency).

    A cell counts for its whole order or for its lot, whichever is more, and a carried lot for
    itself; up to the limit the dearest are taken.
    """
    return max(_side_cost(grid, side, max_position) for side in Side) / leverage


def used_margin(grid: GridState, base: Decimal, symbol_used: Decimal, leverage: Decimal) -> Decimal:
    """Give what a bot itself uses of the margin that its symbol holds back.

    `base` is the position that was there before it (signed): its share, at the grid's highest
    level, is somebody else's.
    """
    return max(ZERO, symbol_used - abs(base) * grid.spec.levels[-1] / leverage)


def _side_cost(grid: GridState, side: Side, limit: Decimal | None) -> Decimal:
    end = 0 if side is Side.BUY else 1
    places = [
        (bounds[end], max(grid.spec.quantity, quantity_of(cell.lot)))
        for bounds, cell in zip(cells_of(grid.spec.levels), grid.cells, strict=True)
        if cell.side is side
    ]
    places += [
        ((carried.lower, carried.upper)[end], quantity_of(carried.lot))
        for carried in grid.carried
        if carried.side is side
    ]
    held, cost = ZERO, ZERO
    for price, quantity in sorted(places, reverse=True):
        part = quantity if limit is None else min(quantity, limit - held)
        if part <= 0:
            break
        held, cost = held + part, cost + part * price
    return cost
