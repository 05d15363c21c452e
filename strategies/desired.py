"""The orders a grid wants at a price, derived from what its cells hold (GRID.md 1, 4, 5), pure.

A cell that has not changed wants what it wanted: its orders are kept in the spec's memo, by the
identity of the cell, so that a fill costs the work of one cell and not of the whole grid.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from decimal import Decimal

from core.model import GridType, Instrument, Side, TimeInForce
from strategies.grid_state import (
    Cell,
    DesiredOrder,
    GridState,
    Leg,
    OrderMemo,
    slot_of,
)
from strategies.lots import Lot, quantity_of

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
    memo = _memo(state, instrument)
    wanted = _exits(state, price, instrument, memo)
    wanted.extend(_closings(state, price, instrument, slippage_cap))
    if not entries:
        return tuple(wanted)
    if state.initial > 0:
        wanted.append(_initial_order(state, price, instrument, slippage_cap))
    for side in (Side.BUY, Side.SELL):
        wanted.extend(_entries(state, side, price, instrument, max_position, resting, memo))
    return tuple(wanted)


def is_passed(side: Side, level: Decimal, price: Decimal) -> bool:
    """Tell whether the market is already at or beyond an order's level, so that it would take."""
    return price >= level if side is Side.SELL else price <= level


# One cell's orders ------------------------------------------------------------------------------


def _memo(state: GridState, instrument: Instrument) -> OrderMemo:
    """Give the memo of the state's spec, emptied when it is of other rules or another version."""
    memo = state.spec.memo
    if memo.instrument is not instrument or memo.version != state.version:
        memo.begin(instrument, state)
    return memo


def _exit_of(
    slot: str, leg: Leg, side: Side, at: Decimal, lot: Lot, instrument: Instrument, kind: GridType
) -> DesiredOrder | None:
    """The closing order of a lot; None while the lot is too small for one."""
    quantity = quantity_of(lot)
    if not instrument.is_tradable(quantity, at):
        return None
    return DesiredOrder(
        slot=slot,
        leg=leg,
        side=side.opposite,
        price=instrument.round_price(at),
        quantity=quantity,
        post_only=False,
        reduce_only=kind is not GridType.NEUTRAL,
    )


def _cell_exit(state: GridState, i: int, cell: Cell, instrument: Instrument) -> DesiredOrder | None:
    if not cell.lot:
        return None
    at = state.spec.levels[i + 1 if cell.side is Side.BUY else i]
    slot = slot_of(state.version, Leg.EXIT, i)
    return _exit_of(slot, Leg.EXIT, cell.side, at, cell.lot, instrument, state.spec.kind)


def _cell_entry(
    state: GridState, i: int, cell: Cell, instrument: Instrument
) -> DesiredOrder | None:
    """The opening order of a cell with all the room it wants; None: it wants none."""
    if not cell.awake:
        return None
    levels, quantity = state.spec.levels, state.spec.quantity
    buying = cell.side is Side.BUY
    at, exit_at = (levels[i], levels[i + 1]) if buying else (levels[i + 1], levels[i])
    held = quantity_of(cell.lot)
    dust = held > 0 and not instrument.is_tradable(held, exit_at)
    want = quantity if dust else quantity - held
    # A whole order was found tradable when the grid was validated, at its lowest level.
    if want <= 0 or (want != quantity and not instrument.is_tradable(want, at)):
        return None
    return DesiredOrder(
        slot=slot_of(state.version, Leg.ENTRY, i),
        leg=Leg.ENTRY,
        side=cell.side,
        price=at,
        quantity=want,
        post_only=True,
        reduce_only=False,
        keep_smaller=held > 0,
    )


# The whole grid's -------------------------------------------------------------------------------


def _exits(
    state: GridState, price: Decimal, instrument: Instrument, memo: OrderMemo
) -> list[DesiredOrder]:
    found: list[DesiredOrder] = []
    kept = memo.exits
    for i, cell in enumerate(state.cells):
        if not cell.lot:
            continue
        known = kept[i]
        if known is None or known[0] is not cell:
            known = kept[i] = (cell, _cell_exit(state, i, cell, instrument))
        if known[1] is not None:
            found.append(known[1])
    for carried in state.carried:
        if carried.closing:
            continue
        slot = slot_of(0, Leg.CARRIED, carried.id)
        at = carried.upper if carried.side is Side.BUY else carried.lower
        order = _exit_of(
            slot, Leg.CARRIED, carried.side, at, carried.lot, instrument, state.spec.kind
        )
        if order is not None:
            found.append(order)
    found.sort(key=lambda order: not is_passed(order.side, order.price, price))
    return found


def _closings(
    state: GridState, price: Decimal, instrument: Instrument, slippage_cap: Decimal
) -> list[DesiredOrder]:
    """The closes at the market of the lots that an adjust gave up, each IOC with a cap."""
    found = []
    for carried in state.carried:
        quantity = quantity_of(carried.lot)
        if not carried.closing or not instrument.is_tradable(quantity, price):
            continue
        found.append(
            DesiredOrder(
                slot=slot_of(0, Leg.CLOSING, carried.id),
                leg=Leg.CLOSING,
                side=carried.side.opposite,
                price=taking_price(carried.side.opposite, price, instrument, slippage_cap),
                quantity=quantity,
                post_only=False,
                reduce_only=state.spec.kind is not GridType.NEUTRAL,
                time_in_force=TimeInForce.IOC,
            )
        )
    return found


def taking_price(
    side: Side, price: Decimal, instrument: Instrument, slippage_cap: Decimal
) -> Decimal:
    """The limit of an order that takes: at most `slippage_cap` (a fraction) worse than `price`."""
    limit = price * (1 + side.sign * slippage_cap)
    return instrument.price_up(limit) if side is Side.BUY else instrument.price_down(limit)


def _entries(
    state: GridState,
    side: Side,
    price: Decimal,
    instrument: Instrument,
    max_position: Decimal | None,
    resting: Resting,
    memo: OrderMemo,
) -> list[DesiredOrder]:
    """Give room to the opening orders of one side, nearest the price first (GRID.md 5)."""
    buying = side is Side.BUY
    room = None if max_position is None else max_position - state.held(side)
    if state.initial > 0 and room is not None and _initial_side(state) is side:
        room -= state.initial
    cells, kept = state.cells, memo.entries
    found: list[DesiredOrder] = []
    for i in memo.buy_cells if buying else memo.sell_cells:
        if room is not None and room <= 0:
            break
        cell = cells[i]
        known = kept[i]
        if known is None or known[0] is not cell:
            known = kept[i] = (cell, _cell_entry(state, i, cell, instrument))
        order = known[1]
        if order is None:
            continue
        at = order.price
        if (price <= at if buying else price >= at) and (side, at) not in resting:
            continue
        if room is not None:
            if order.quantity > room:
                part = instrument.floor_quantity(room)
                if not instrument.is_tradable(part, at):
                    continue
                order = order.of_quantity(part)
            room -= order.quantity
        found.append(order)
    return found


def _initial_side(state: GridState) -> Side:
    return Side.BUY if state.spec.kind is GridType.LONG else Side.SELL


def _initial_order(
    state: GridState, price: Decimal, instrument: Instrument, slippage_cap: Decimal
) -> DesiredOrder:
    side = _initial_side(state)
    return DesiredOrder(
        slot=slot_of(state.version, Leg.INITIAL),
        leg=Leg.INITIAL,
        side=side,
        price=taking_price(side, price, instrument, slippage_cap),
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
    levels, quantity = state.spec.levels, state.spec.quantity
    found = {order.price for order in desired if order.slot not in placed}
    prefix = slot_of(state.version, Leg.ENTRY, 0)[:-1]
    upward = state.spec.kind is GridType.LONG
    for i, cell in enumerate(state.cells):
        if not cell.awake:
            found.add(levels[i + 1] if upward else levels[i])
        elif cell.lot and quantity_of(cell.lot) >= quantity:
            continue
        elif f"{prefix}{i}" not in placed:
            found.add(levels[i] if cell.side is Side.BUY else levels[i + 1])
    return found
