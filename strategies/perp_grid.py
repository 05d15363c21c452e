"""The perp grid: how it is seeded and how a fill changes its state (GRID.md 1-3), pure.

State is the quantity held per cell. Orders are derived from it: `strategies.desired` says which
should rest, `strategies.reconcile` compares them with those that do. A cell keeps its side for
life (only an adjust changes it); the hole in the grid is derived, never stored.

    buy cell i:   entry BUY@L_i for q - lot,      exit SELL@L_i+1 for its (long) lot
    sell cell i:  entry SELL@L_i+1 for q - lot,   exit BUY@L_i for its (short) lot
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from core.model import (
    ZERO,
    Fill,
    GridType,
    Side,
)
from strategies.grid_math import nearest_level
from strategies.grid_state import (
    Carried,
    Cell,
    GridSpec,
    GridState,
    Leg,
    parse_slot,
)
from strategies.lots import (
    Booked,
    Lot,
    Part,
    book_interval,
    book_trend,
    fees_of,
    quantity_of,
    take,
)

# Seeding ----------------------------------------------------------------------------------------


def seed(spec: GridSpec, price: Decimal) -> tuple[Cell, ...]:
    """Lay out the cells at `price` without any lot (GRID.md 2): lowest cell first."""
    h = nearest_level(spec.levels, price, spec.kind)
    count = spec.num - 1
    if spec.kind is GridType.NEUTRAL:
        return tuple(Cell(side=Side.BUY if i < h else Side.SELL) for i in range(count))
    if spec.kind is GridType.LONG:
        return tuple(Cell(side=Side.BUY, awake=i < h or i == 0) for i in range(count))
    return tuple(Cell(side=Side.SELL, awake=i >= h or i == count - 1) for i in range(count))


def new_grid(
    spec: GridSpec, price: Decimal, *, open_initial: bool, max_position: Decimal | None
) -> GridState:
    """Start a grid at `price`; with `open_initial` it wants its first lots at the market."""
    spec = replace(spec)  # a memo of its own: another price gives the cells other sides
    cells = seed(spec, price)
    h = nearest_level(spec.levels, price, spec.kind)
    initial = ZERO
    if open_initial and spec.kind is not GridType.NEUTRAL:
        count = len(cells) - h if spec.kind is GridType.LONG else h
        initial = spec.quantity * count
        if max_position is not None:
            whole = (max_position // spec.quantity) * spec.quantity
            initial = min(initial, whole)
    if initial <= 0:
        return GridState(spec=spec, cells=cells)
    cells = tuple(
        replace(cell, awake=cell.awake and (i < h if spec.kind is GridType.LONG else i >= h))
        for i, cell in enumerate(cells)
    )
    return GridState(spec=spec, cells=cells, initial=initial)


def cells_to_wake(state: GridState, price: Decimal) -> tuple[int, ...]:
    """Name the cells, DORMANT by their kind, that a trade at `price` wakes; lowest first."""
    if state.spec.kind is GridType.NEUTRAL or state.initial > 0:
        return ()
    levels = state.spec.levels
    if state.spec.kind is GridType.LONG:
        return tuple(
            i for i, cell in enumerate(state.cells) if not cell.awake and price >= levels[i + 1]
        )
    return tuple(i for i, cell in enumerate(state.cells) if not cell.awake and price <= levels[i])


def wake(state: GridState, indices: Iterable[int]) -> GridState:
    """Let these cells trade."""
    cells = list(state.cells)
    for i in indices:
        cells[i] = replace(cells[i], awake=True)
    return replace(state, cells=tuple(cells))


def end_initial(state: GridState) -> GridState:
    """The initial entry has ended; what it did not get stays DORMANT, but for the outer cell."""
    last = 0 if state.spec.kind is GridType.LONG else len(state.cells) - 1
    return wake(replace(state, initial=ZERO), (last,))


# Fills ------------------------------------------------------------------------------------------


def on_fill(state: GridState, fill: Fill, slot: str, seq: int) -> GridState:
    """Advance the cell that `slot` names by one fill; the caller has made sure it is a new one.

    A fill that fits no cell (its order was given up, or it is more than the lot) is carried as a
    lot of its own, so that the position always equals the lots (I1).
    """
    place = parse_slot(slot, state.version)
    part = Part(quantity=fill.quantity, price=fill.price, fee=fill.fee, seq=seq)
    totals = state.totals
    is_initial = place is not None and place[0] is Leg.INITIAL
    state = replace(
        state,
        totals=replace(
            totals,
            fees=totals.fees + fill.fee,
            fills=totals.fills + (not is_initial),
            initial_fills=totals.initial_fills + is_initial,
        ),
    )
    if place is None:
        return _stray(state, fill.side, part)
    leg, index = place
    if leg is Leg.INITIAL:
        return _spread_initial(state, fill.side, part)
    if leg in (Leg.CARRIED, Leg.CLOSING):
        return _close_carried(state, fill.side, index, part, at_market=leg is Leg.CLOSING)
    if index >= len(state.cells):
        return _stray(state, fill.side, part)
    cell = state.cells[index]
    if leg is Leg.ENTRY and fill.side is cell.side:
        return _with_cell(state, index, replace(cell, awake=True, lot=(*cell.lot, part)))
    if leg is Leg.EXIT and fill.side is not cell.side and cell.lot:
        levels = state.spec.levels
        rest, booked, over = _close(cell.lot, cell.side, levels[index], levels[index + 1], part)
        state = _book(state, booked, cell_closed=not rest)
        state = _with_cell(state, index, replace(cell, awake=True, lot=rest))
        return state if over is None else _stray(state, fill.side, over)
    return _stray(state, fill.side, part)


def _close(
    lot: Lot, side: Side, lower: Decimal, upper: Decimal, part: Part
) -> tuple[Lot, Booked, Part | None]:
    """Close `part.quantity` of a lot; gives the rest, the booking, what was over the lot."""
    closed, rest = take(lot, part.quantity)
    quantity = quantity_of(closed)
    if quantity == part.quantity:
        return rest, book_interval(closed, side, lower, upper, part.price, part.fee), None
    (own,), (over,) = take((part,), quantity)
    return rest, book_interval(closed, side, lower, upper, part.price, own.fee), over


def _close_carried(
    state: GridState, side: Side, id_: int, part: Part, *, at_market: bool
) -> GridState:
    """Close a carried lot, by its own exit or, given up by an adjust, at the market: all trend."""
    carried = next((c for c in state.carried if c.id == id_ and c.side is not side), None)
    if carried is None:
        return _stray(state, side, part)
    rest, booked, over = _close(carried.lot, carried.side, carried.lower, carried.upper, part)
    if at_market:
        booked = replace(booked, grid=ZERO, trend=booked.grid + booked.trend)
    state = _book(state, booked, cell_closed=not rest and not at_market)
    kept = tuple(
        replace(c, lot=rest) if c.id == id_ else c for c in state.carried if c.id != id_ or rest
    )
    state = replace(state, carried=kept)
    return state if over is None else _stray(state, side, over)


def _spread_initial(state: GridState, side: Side, part: Part) -> GridState:
    """Give the initial entry's fill to the cells nearest the price, the last maybe partly."""
    quantity = state.spec.quantity
    indices = [
        i
        for i, cell in enumerate(state.cells)
        if cell.side is side and (not cell.awake or cell.lot) and quantity_of(cell.lot) < quantity
    ]
    if state.spec.kind is GridType.SHORT:
        indices.reverse()
    cells = list(state.cells)
    rest: Lot = (part,)
    for i in indices:
        piece, rest = take(rest, quantity - quantity_of(cells[i].lot))
        cells[i] = replace(cells[i], awake=True, lot=(*cells[i].lot, *piece))
        if not rest:
            break
    state = replace(state, cells=tuple(cells), initial=max(ZERO, state.initial - part.quantity))
    return state if not rest else _stray(state, side, rest[0])


def _stray(state: GridState, side: Side, part: Part, *, count: bool = True) -> GridState:
    """Carry a fill that no cell expects, closing it one interval from where it was made."""
    levels = state.spec.levels
    step = (levels[-1] - levels[0]) / (len(levels) - 1)
    above = next((level for level in levels if level > part.price), part.price + step)
    below = next((level for level in reversed(levels) if level < part.price), part.price - step)
    lower, upper = (part.price, above) if side is Side.BUY else (below, part.price)
    carried = Carried(id=state.next_carried, side=side, lower=lower, upper=upper, lot=(part,))
    return replace(
        state,
        carried=(*state.carried, carried),
        next_carried=state.next_carried + 1,
        totals=replace(state.totals, stray_fills=state.totals.stray_fills + count),
    )


def _with_cell(state: GridState, index: int, cell: Cell) -> GridState:
    return replace(state, cells=(*state.cells[:index], cell, *state.cells[index + 1 :]))


def _book(state: GridState, booked: Booked, *, cell_closed: bool) -> GridState:
    totals = state.totals
    return replace(
        state,
        totals=replace(
            totals,
            grid=totals.grid + booked.grid,
            trend=totals.trend + booked.trend,
            closed_cells=totals.closed_cells + cell_closed,
        ),
    )


def close_outside(state: GridState, fill: Fill, seq: int) -> GridState:
    """Close lots by a fill that is not of their own closing orders (a liquidation, a hand's trade).

    Opposite lots are closed oldest first, all of it into trend; what is over is a lot of its own.
    """
    fee = fill.fee
    part = Part(quantity=fill.quantity, price=fill.price, fee=fee, seq=seq)
    totals = replace(
        state.totals, fees=state.totals.fees + fee, stray_fills=state.totals.stray_fills + 1
    )
    state = replace(state, totals=totals)
    cells, carried = list(state.cells), list(state.carried)
    places = [
        (c.lot[0].seq, True, i) for i, c in enumerate(cells) if c.lot and c.side is not fill.side
    ]
    places += [(c.lot[0].seq, False, i) for i, c in enumerate(carried) if c.side is not fill.side]
    rest: Lot = (part,)
    for _, in_cell, i in sorted(places):
        if not rest:
            break
        held = cells[i].lot if in_cell else carried[i].lot
        own, rest = take(rest, quantity_of(held))
        closed, left = take(held, quantity_of(own))
        booked = book_trend(closed, fill.side.opposite, fill.price, fees_of(own))
        state = _book(state, booked, cell_closed=False)
        if in_cell:
            cells[i] = replace(cells[i], lot=left)
        else:
            carried[i] = replace(carried[i], lot=left)
    state = replace(state, cells=tuple(cells), carried=tuple(c for c in carried if c.lot))
    return state if not rest else _stray(state, fill.side, rest[0], count=False)


def add_trim(state: GridState, fill: Fill) -> GridState:
    """Book a fill that took off what was never of this grid: its fee is ours, its lots are not."""
    totals = state.totals
    return replace(
        state,
        totals=replace(
            totals,
            trend=totals.trend - fill.fee,
            fees=totals.fees + fill.fee,
            stray_fills=totals.stray_fills + 1,
        ),
    )


def settle(state: GridState, price: Decimal) -> GridState:
    """Book every lot that is left as closed at `price` (the position is gone), all into trend."""
    totals = state.totals
    for side, lot in state.lots():
        totals = replace(totals, trend=totals.trend + book_trend(lot, side, price, ZERO).trend)
    cells = tuple(replace(cell, lot=()) for cell in state.cells)
    return replace(state, cells=cells, carried=(), totals=totals)


def add_funding(state: GridState, amount: Decimal) -> GridState:
    """Book one funding payment; > 0 was received."""
    totals = state.totals
    return replace(state, totals=replace(totals, funding=totals.funding + amount))
