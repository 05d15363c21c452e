"""The perp grid: how a fill changes its state, and the orders it wants (GRID.md 1-6), pure.

State is the quantity held per cell. Orders are derived from it: `desired_orders` says which
should rest, `strategies.reconcile` compares them with those that do. A cell keeps its side for
life (only an adjust changes it); the hole in the grid is derived, never stored.

    buy cell i:   entry BUY@L_i for q - lot,      exit SELL@L_i+1 for its (long) lot
    sell cell i:  entry SELL@L_i+1 for q - lot,   exit BUY@L_i for its (short) lot
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from decimal import Decimal

from core.model import (
    ZERO,
    Fill,
    GridType,
    Instrument,
    Side,
    TimeInForce,
)
from strategies.grid_math import nearest_level
from strategies.grid_state import (
    Carried,
    Cell,
    DesiredOrder,
    GridSpec,
    GridState,
    Leg,
    parse_slot,
    slot_of,
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
    if leg is Leg.CARRIED:
        return _close_carried(state, fill.side, index, part)
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


def _close_carried(state: GridState, side: Side, id_: int, part: Part) -> GridState:
    carried = next((c for c in state.carried if c.id == id_ and c.side is not side), None)
    if carried is None:
        return _stray(state, side, part)
    rest, booked, over = _close(carried.lot, carried.side, carried.lower, carried.upper, part)
    state = _book(state, booked, cell_closed=not rest)
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


# Orders wanted ----------------------------------------------------------------------------------

Resting = frozenset[tuple[Side, Decimal]]


def desired_orders(
    state: GridState,
    price: Decimal,
    instrument: Instrument,
    *,
    max_position: Decimal | None,
    entries: bool = True,
    resting: Resting = frozenset(),
    slippage_cap: Decimal = Decimal("0.005"),
) -> tuple[DesiredOrder, ...]:
    """Say which orders should rest at `price`: exits first, then entries nearest the price first.

    `resting` are (side, price) of our live orders: a resting entry stays wanted although the
    price is at its level. `entries` False wants exits alone. `max_position` None: no limit.
    """
    wanted = _exits(state, price, instrument)
    if not entries:
        return tuple(wanted)
    if state.initial > 0:
        wanted.append(_initial_order(state, price, instrument, slippage_cap))
    for side in (Side.BUY, Side.SELL):
        wanted.extend(_entries(state, side, price, instrument, max_position, resting))
    return tuple(wanted)


def _exits(state: GridState, price: Decimal, instrument: Instrument) -> list[DesiredOrder]:
    levels = state.spec.levels
    reduce_only = state.spec.kind is not GridType.NEUTRAL
    found: list[DesiredOrder] = []
    places: list[tuple[str, Leg, Side, Decimal, Decimal, Lot]] = [
        (
            slot_of(state.version, Leg.EXIT, i),
            Leg.EXIT,
            cell.side,
            levels[i],
            levels[i + 1],
            cell.lot,
        )
        for i, cell in enumerate(state.cells)
        if cell.lot
    ]
    places += [
        (slot_of(0, Leg.CARRIED, c.id), Leg.CARRIED, c.side, c.lower, c.upper, c.lot)
        for c in state.carried
    ]
    for slot, leg, side, lower, upper, lot in places:
        at = upper if side is Side.BUY else lower
        quantity = quantity_of(lot)
        if instrument.is_tradable(quantity, at):
            found.append(
                DesiredOrder(
                    slot=slot,
                    leg=leg,
                    side=side.opposite,
                    price=instrument.round_price(at),
                    quantity=quantity,
                    post_only=False,
                    reduce_only=reduce_only,
                )
            )
    found.sort(key=lambda order: not is_passed(order.side, order.price, price))
    return found


def is_passed(side: Side, level: Decimal, price: Decimal) -> bool:
    """Tell whether the market is already at or beyond an order's level, so that it would take."""
    return price >= level if side is Side.SELL else price <= level


def _entries(
    state: GridState,
    side: Side,
    price: Decimal,
    instrument: Instrument,
    max_position: Decimal | None,
    resting: Resting,
) -> list[DesiredOrder]:
    """Give room to the opening orders of one side, nearest the price first (GRID.md 5)."""
    levels, quantity = state.spec.levels, state.spec.quantity
    buying = side is Side.BUY
    room = None if max_position is None else max_position - state.held(side)
    if state.initial > 0 and room is not None and _initial_side(state) is side:
        room -= state.initial
    indices = range(len(state.cells))
    found: list[DesiredOrder] = []
    for i in reversed(indices) if buying else indices:
        if room is not None and room <= 0:
            break
        cell = state.cells[i]
        if cell.side is not side or not cell.awake:
            continue
        at = levels[i] if buying else levels[i + 1]
        if is_passed(side, at, price) and (side, at) not in resting:
            continue
        held = quantity_of(cell.lot)
        exit_at = levels[i + 1] if buying else levels[i]
        dust = held > 0 and not instrument.is_tradable(held, exit_at)
        want = quantity if dust else quantity - held
        if want <= 0:
            continue
        if room is not None and want > room:
            want = instrument.floor_quantity(room)
        # A whole order was found tradable when the grid was validated, at its lowest level.
        if want != quantity and not instrument.is_tradable(want, at):
            continue
        found.append(
            DesiredOrder(
                slot=slot_of(state.version, Leg.ENTRY, i),
                leg=Leg.ENTRY,
                side=side,
                price=at,
                quantity=want,
                post_only=True,
                reduce_only=False,
                keep_smaller=held > 0,
            )
        )
        if room is not None:
            room -= want
    return found


def _initial_side(state: GridState) -> Side:
    return Side.BUY if state.spec.kind is GridType.LONG else Side.SELL


def _initial_order(
    state: GridState, price: Decimal, instrument: Instrument, slippage_cap: Decimal
) -> DesiredOrder:
    side = _initial_side(state)
    limit = price * (1 + side.sign * slippage_cap)
    return DesiredOrder(
        slot=slot_of(state.version, Leg.INITIAL),
        leg=Leg.INITIAL,
        side=side,
        price=instrument.price_up(limit) if side is Side.BUY else instrument.price_down(limit),
        quantity=state.initial,
        post_only=False,
        reduce_only=False,
        keep_smaller=True,
        time_in_force=TimeInForce.IOC,
    )


def turning_prices(
    state: GridState, desired: Iterable[DesiredOrder], placed: Container[str]
) -> set[Decimal]:
    """Name the prices at which the wanted orders could change without any fill.

    Between two of them a new plan equals the last one: cells wake there, an entry that does not
    rest (`placed` has the slots that do) could rest there, an exit that waits is passed there.
    """
    levels, found = state.spec.levels, set()
    upward = state.spec.kind is GridType.LONG
    for i, cell in enumerate(state.cells):
        buying = cell.side is Side.BUY
        if not cell.awake:
            found.add(levels[i + 1] if upward else levels[i])
        elif (
            quantity_of(cell.lot) < state.spec.quantity
            and slot_of(state.version, Leg.ENTRY, i) not in placed
        ):
            found.add(levels[i] if buying else levels[i + 1])
    found.update(order.price for order in desired if order.slot not in placed)
    return found
