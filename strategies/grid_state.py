"""The grid as values: cells, lots, totals, the slots of its orders, and its figures. Pure.

State is the quantity held per cell; everything else is derived from it. A slot names the place an
order serves: `3.e7` the entry of cell 7 in grid version 3, `3.x7` its exit, `k4` the exit of
carried lot 4, `c4` its close at the market, `3.i` the initial entry.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from core.model import ZERO, GridMode, GridType, Instrument, PnL, Side, TimeInForce
from strategies.grid_math import Levels
from strategies.lots import Lot, cost_of, fees_of, quantity_of


class Leg(enum.Enum):
    """What an order does for its cell."""

    ENTRY = "entry"
    EXIT = "exit"
    CARRIED = "carried"
    CLOSING = "closing"
    INITIAL = "initial"


@dataclass(slots=True)
class OrderMemo:
    """What was derived before, by cell index: the cell it is of, and the order (None: none).

    It never changes a result, only its cost: what is of another cell, by identity, is not used.
    Whoever lays out cells gives them a spec with a memo of its own (`dataclasses.replace`), for
    the sides of a grid's cells stand as long as its memo.
    """

    instrument: Instrument | None = None
    version: int = 0
    exits: list[tuple[Cell, DesiredOrder | None] | None] = field(default_factory=list)
    entries: list[tuple[Cell, DesiredOrder | None] | None] = field(default_factory=list)
    buy_cells: tuple[int, ...] = ()  # highest first: nearest the price first
    sell_cells: tuple[int, ...] = ()  # lowest first
    state: GridState | None = None  # whose totals these are
    held_long: Decimal = ZERO
    held_short: Decimal = ZERO

    def begin(self, instrument: Instrument, state: GridState) -> None:
        """Forget the orders: they were of other rules, or of another version of the grid."""
        count = len(state.cells)
        self.instrument, self.version = instrument, state.version
        self.exits, self.entries = [None] * count, [None] * count
        sides = [cell.side for cell in state.cells]
        self.buy_cells = tuple(i for i in reversed(range(count)) if sides[i] is Side.BUY)
        self.sell_cells = tuple(i for i in range(count) if sides[i] is Side.SELL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a trailing grid began: its own bounds then, and the index of its lowest level now."""

    lower: Decimal
    upper: Decimal
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSpec:
    """A grid in force: its range, its levels and the quantity of one order (base currency).

    `origin` is None while the grid stands where it was laid out.
    """

    lower: Decimal
    upper: Decimal
    mode: GridMode
    kind: GridType
    quantity: Decimal
    levels: Levels
    origin: Origin | None = None
    memo: OrderMemo = field(default_factory=OrderMemo, init=False, repr=False, compare=False)

    @property
    def num(self) -> int:
        """How many levels; one more than cells."""
        return len(self.levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One gap: its side, its lot, and whether it is awake (False: DORMANT by its kind)."""

    side: Side
    awake: bool = True
    lot: Lot = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A lot without a cell: it keeps the two levels of its last one, and its close ends it.

    `closing`: it is being closed at the market, by an adjust that gave it up.
    """

    id: int
    side: Side
    lower: Decimal
    upper: Decimal
    lot: Lot
    closing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Everything booked so far, quote currency. `fees` is all that was ever paid."""

    grid: Decimal = ZERO
    trend: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    closed_cells: int = 0
    fills: int = 0
    initial_fills: int = 0
    stray_fills: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GridState:
    """The whole strategy state, a fold over the journal; `initial` is still to be opened."""

    spec: GridSpec
    cells: tuple[Cell, ...]
    version: int = 1
    carried: tuple[Carried, ...] = ()
    next_carried: int = 1
    initial: Decimal = ZERO
    totals: Totals = Totals()

    @property
    def position(self) -> Decimal:
        """The signed sum of all lots."""
        return self.held(Side.BUY) - self.held(Side.SELL)

    def held(self, side: Side) -> Decimal:
        """Quantity of all lots opened by `side` (BUY: long lots), unsigned."""
        memo = self.spec.memo
        if memo.state is not self:
            totals = {Side.BUY: ZERO, Side.SELL: ZERO}
            for lot_side, lot in self.lots():
                totals[lot_side] += quantity_of(lot)
            memo.state, memo.held_long, memo.held_short = self, totals[Side.BUY], totals[Side.SELL]
        return memo.held_long if side is Side.BUY else memo.held_short

    def lots(self) -> Iterable[tuple[Side, Lot]]:
        """All lots that are not empty, with the side that opened them."""
        for cell in self.cells:
            if cell.lot:
                yield cell.side, cell.lot
        for carried in self.carried:
            yield carried.side, carried.lot


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredOrder:
    """An order that should rest. `keep_smaller`: one of less quantity keeps its place meanwhile."""

    slot: str
    leg: Leg
    side: Side
    price: Decimal
    quantity: Decimal
    post_only: bool
    reduce_only: bool
    keep_smaller: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC

    def of_quantity(self, quantity: Decimal) -> DesiredOrder:
        """The same order for another quantity."""
        return replace(self, quantity=quantity)


# Slots

_SLOT = re.compile(r"(?:(?P<version>\d+)\.)?(?P<leg>[exikc])(?P<index>\d*)")
_LEGS = {
    "e": Leg.ENTRY,
    "x": Leg.EXIT,
    "k": Leg.CARRIED,
    "c": Leg.CLOSING,
    "i": Leg.INITIAL,
}


TRIM_SLOT = "trim"
"""The slot of an order that takes off what a hand's trade has put on above `max_position`."""


def slot_of(version: int, leg: Leg, index: int = 0) -> str:
    """Write the slot of a leg; `index` is the cell, or the carried lot's id."""
    match leg:
        case Leg.ENTRY:
            return f"{version}.e{index}"
        case Leg.EXIT:
            return f"{version}.x{index}"
        case Leg.CARRIED:
            return f"k{index}"
        case Leg.CLOSING:
            return f"c{index}"
        case Leg.INITIAL:
            return f"{version}.i"


def parse_slot(slot: str, version: int) -> tuple[Leg, int] | None:
    """Read a slot of this grid version; None for one of another version or of nobody."""
    found = _SLOT.fullmatch(slot)
    if found is None:
        return None
    if found["version"] is not None and int(found["version"]) != version:
        return None
    return _LEGS[found["leg"]], int(found["index"] or 0)


# Figures ----------------------------------------------------------------------------------------


def pnl(state: GridState, mark: Decimal | None) -> PnL:
    """Give the accounting of GRID.md 6 at `mark` (None: nothing is open yet, or no price)."""
    totals = state.totals
    unrealized = open_fees = ZERO
    for side, lot in state.lots():
        open_fees += fees_of(lot)
        if mark is not None:
            unrealized += side.sign * (quantity_of(lot) * mark - cost_of(lot))
    return PnL(
        grid=totals.grid,
        trend=totals.trend,
        unrealized=unrealized,
        fees=totals.fees,
        open_fees=open_fees,
        funding=totals.funding,
    )


def entry_price(state: GridState) -> Decimal | None:
    """Average entry price of what is held, for display; None when flat."""
    position = state.position
    if position == 0:
        return None
    side = Side.BUY if position > 0 else Side.SELL
    lots = [lot for lot_side, lot in state.lots() if lot_side is side]
    return sum((cost_of(lot) for lot in lots), ZERO) / sum((quantity_of(x) for x in lots), ZERO)
