"""Hot adjust: another grid for the same lots, previewed and applied by one function (GRID.md 7).

Pure. Lots are carried, never re-invented: their fills, cost and fees stay, the position stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from core.model import ZERO, LotsPolicy, Side
from strategies.grid_state import Carried, Cell, GridSpec, GridState
from strategies.lots import Lot, book_trend, break_even, quantity_of, take
from strategies.perp_grid import seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A lot with the two levels of the cell it last had; `minimum` is what an order must have."""

    side: Side
    lower: Decimal
    upper: Decimal
    lot: Lot
    closing: bool = False


def holdings_of(state: GridState) -> tuple[Holding, ...]:
    """List every lot of the grid, carried ones too."""
    levels = state.spec.levels
    cells = [
        Holding(side=cell.side, lower=levels[i], upper=levels[i + 1], lot=cell.lot)
        for i, cell in enumerate(state.cells)
        if cell.lot
    ]
    carried = [
        Holding(side=c.side, lower=c.lower, upper=c.upper, lot=c.lot, closing=c.closing)
        for c in state.carried
    ]
    return (*cells, *carried)


def regrid(
    state: GridState,
    spec: GridSpec,
    price: Decimal,
    lots: LotsPolicy,
    fee: Decimal,
    lot_minimum: Decimal,
) -> GridState:
    """Lay the lots of `state` over a new grid at `price`.

    `fee` is the maker rate (for break-even), `lot_minimum` the smallest quantity that can have
    an order of its own: a smaller lot takes no cell and is carried. Position before = after.
    """
    spec = replace(spec)  # a memo of its own: at each look the price may give other sides
    cells = list(seed(spec, price))
    taken: set[int] = set()
    left: list[Holding] = []
    holdings = holdings_of(state)
    for side in (Side.BUY, Side.SELL):
        own = [h for h in holdings if h.side is side]
        own.sort(key=lambda h: (side.sign * break_even(h.lot, side, fee), h.lot[0].seq))
        for holding in own:
            index = None
            if quantity_of(holding.lot) >= lot_minimum and not holding.closing:
                index = _cell_for(holding, spec, price, taken, fee)
                if index is None and lots is LotsPolicy.REDISTRIBUTE:
                    index = _any_cell_for(side, spec, price, taken)
            if index is None:
                left.append(holding)
                continue
            taken.add(index)
            cells[index] = Cell(side=side, awake=True, lot=holding.lot)
    next_id = state.next_carried
    carried = []
    for holding in left:
        closing = lots is LotsPolicy.CLOSE and quantity_of(holding.lot) >= lot_minimum
        carried.append(
            Carried(
                id=next_id,
                side=holding.side,
                lower=holding.lower,
                upper=holding.upper,
                lot=holding.lot,
                closing=closing or holding.closing,
            )
        )
        next_id += 1
    moved = replace(
        state,
        spec=spec,
        cells=tuple(cells),
        version=state.version + 1,
        carried=tuple(carried),
        next_carried=next_id,
        initial=ZERO,
    )
    return _net_pairs(moved, price)


def _cell_for(
    holding: Holding, spec: GridSpec, price: Decimal, taken: set[int], fee: Decimal
) -> int | None:
    """Find the cell that closes this lot without a loss, nearest its break-even."""
    at = break_even(holding.lot, holding.side, fee)
    levels = spec.levels
    indices = range(spec.num - 1)
    if holding.side is Side.BUY:
        return next(
            (
                i
                for i in indices
                if i not in taken and levels[i + 1] >= at and levels[i + 1] > price
            ),
            None,
        )
    return next(
        (i for i in reversed(indices) if i not in taken and levels[i] <= at and levels[i] < price),
        None,
    )


def _any_cell_for(side: Side, spec: GridSpec, price: Decimal, taken: set[int]) -> int | None:
    """Find the free cell farthest in the money, whatever the break-even (`redistribute`)."""
    levels = spec.levels
    indices = range(spec.num - 1)
    if side is Side.BUY:
        return next(
            (i for i in reversed(indices) if i not in taken and levels[i + 1] > price), None
        )
    return next((i for i in indices if i not in taken and levels[i] < price), None)


def _net_pairs(state: GridState, price: Decimal) -> GridState:
    """Close carried long against carried short lots in the ledger at `price`, into trend."""
    longs = [c for c in state.carried if c.side is Side.BUY]
    shorts = [c for c in state.carried if c.side is Side.SELL]
    totals = state.totals
    while longs and shorts:
        long, short = longs[0], shorts[0]
        quantity = min(quantity_of(long.lot), quantity_of(short.lot))
        for side, queue in ((Side.BUY, longs), (Side.SELL, shorts)):
            closed, rest = take(queue[0].lot, quantity)
            booked = book_trend(closed, side, price, ZERO)
            totals = replace(totals, trend=totals.trend + booked.trend)
            if rest:
                queue[0] = replace(queue[0], lot=rest)
            else:
                queue.pop(0)
    return replace(state, carried=(*longs, *shorts), totals=totals)


def same_grid(one: GridSpec, other: GridSpec) -> bool:
    """Tell whether two specs lay out the same grid, so that an adjust changes nothing."""
    return (one.levels, one.kind, one.mode, one.quantity) == (
        other.levels,
        other.kind,
        other.mode,
        other.quantity,
    )
