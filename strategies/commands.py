"""What a user may ask of a running engine: adjust, its preview, pause and resume.

Runs on the engine thread. A refusal names every reason and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from core.errors import ConfigError
from core.model import (
    ZERO,
    AdjustGrid,
    CommandResult,
    Instrument,
    LotsPolicy,
    Order,
    Outcome,
    RunState,
    Side,
)
from strategies import journal, planning
from strategies.adjust import same_grid
from strategies.desired import desired_orders
from strategies.grid_math import level_prices, plain
from strategies.grid_state import Carried, DesiredOrder, GridSpec, GridState, Leg, entry_price
from strategies.journal import Book, PendingAdjust
from strategies.lots import quantity_of
from strategies.reconcile import match_survivors
from strategies.risk import WorstCase, liquidation_faults, worst_case
from strategies.session import Session
from strategies.settings import build_spec, spec_faults, spec_warnings

MAX_LEVELS = 1000
"""As in a config file: more would neither fit an exchange's order limit nor a page."""


def pause(session: Session, *, paused: bool) -> CommandResult:
    """Stop or resume entries; a repeat changes nothing."""
    if session.state not in (RunState.RUNNING, RunState.PAUSED):
        return _not_running(session)
    if session.book.paused != paused:
        session.record(("pause" if paused else "resume", {}))
        session.state = RunState.PAUSED if paused else RunState.RUNNING
    words = "entries are paused, exits stay" if paused else "entries are on"
    return CommandResult(outcome=Outcome.DONE, message=words, data={"paused": paused})


def begin_adjust(session: Session, command: AdjustGrid) -> CommandResult | None:
    """Validate, then store the plan; None: it is under way and is answered when it is done."""
    grid = session.book.grid
    if session.state not in (RunState.RUNNING, RunState.PAUSED) or grid is None:
        return _not_running(session)
    if session.book.pending is not None:
        return CommandResult(
            outcome=Outcome.NOT_RUNNING, message="another adjust is being carried out; ask again"
        )
    if not session.synced or session.frozen or session.instrument is None:
        reasons = "; ".join(session.frozen.values()) or "not synchronised with the exchange"
        fails = not session.synced or {"exchange", "database"} & session.frozen.keys()
        return CommandResult(
            outcome=Outcome.REFUSED if fails else Outcome.NOT_RUNNING,
            message=f"not now, the old grid stands: {reasons}",
        )
    if command.lower is None and command.upper is None and command.grid_num is None:
        return _invalid("nothing to adjust: give grid_lower_price, grid_upper_price or grid_num")
    spec, faults = _adjusted_spec(session, grid.spec, command)
    if spec is None:
        return _invalid("; ".join(faults))
    if same_grid(spec, grid.spec):
        return _done(spec, "this range is in force already; nothing changed")
    pending = PendingAdjust(
        spec=spec,
        lots=command.lots,
        fee=session.instrument.maker_fee,
        lot_minimum=lot_minimum(spec, session.instrument),
    )
    candidate = applied(session, pending)
    faults = candidate_faults(session, candidate)
    if faults:
        return _invalid("; ".join(faults))
    if command.dry_run:
        return _preview(session, spec, candidate)
    session.record(("adjust_begin", journal.encode_pending(pending)))
    return None


def candidate_faults(session: Session, candidate: Book) -> tuple[str, ...]:
    """Name why a grid that could be laid out must not be: no room to open, or a liquidation."""
    grid = grid_of(candidate)
    wanted = planning.desired(session, candidate)
    room = any(order.leg is Leg.ENTRY for order in wanted)
    is_full = all(cell.lot for cell in grid.cells)  # its exits open it again
    if not room and not is_full and not session.book.paused:
        words = (
            f"no opening order would be possible in {plain(grid.spec.lower)} to "
            f"{plain(grid.spec.upper)} at the price {plain(_price(session))} and max_position "
            f"{session.settings.max_position}; choose a range that leaves room"
        )
        return (words,)
    if session.settings.allow_liquidation_in_range:
        return ()
    return liquidation_faults_of(session, grid)


def adjust_to_config(session: Session) -> str:
    """Start an adjust to the config file's own range. Errors: ConfigError; nothing changed then.

    The size of an order is the grid's own unless the file gives one (GRID.md 2).
    """
    grid, instrument, quote = session.book.grid, session.instrument, session.quote
    assert grid is not None
    assert instrument is not None
    assert quote is not None
    request = session.settings.grid
    if request.quantity is None:
        request = replace(request, quantity=grid.spec.quantity)
    try:
        spec = build_spec(request, quote.last, instrument)
    except ValueError as error:
        raise ConfigError(f"strategy_config: {error}") from error
    sides = {side for side, _ in grid.lots()}
    only = {"long": Side.BUY, "short": Side.SELL}.get(spec.kind.value)
    if only is not None and sides - {only}:
        raise ConfigError(
            f"strategy_config.grid_type: was {spec.kind.value}, but lots of the other side are "
            "open; close them first or keep the grid_type"
        )
    source = {"source": session.settings.grid.fingerprint()}
    if same_grid(spec, grid.spec):
        session.record(("source", source))
        return "the same grid"
    pending = PendingAdjust(
        spec=spec,
        lots=LotsPolicy.CARRY,
        fee=instrument.maker_fee,
        lot_minimum=lot_minimum(spec, instrument),
    )
    session.record(("source", source), ("adjust_begin", journal.encode_pending(pending)))
    return "adjusting"


def adjusted(session: Session) -> CommandResult:
    """Answer for an adjust that is stored and whose orders rest on the exchange."""
    grid = session.book.grid
    assert grid is not None
    orders = len(session.desk.working)
    return _done(grid.spec, f"the grid was moved; {orders} orders rest on the exchange")


def _adjusted_spec(
    session: Session, now: GridSpec, command: AdjustGrid
) -> tuple[GridSpec | None, tuple[str, ...]]:
    assert session.instrument is not None
    lower = now.lower if command.lower is None else command.lower
    upper = now.upper if command.upper is None else command.upper
    num = now.num if command.grid_num is None else command.grid_num
    if num > MAX_LEVELS:
        return None, (f"grid_num was {num}, expected at most {MAX_LEVELS}",)
    try:
        levels = level_prices(lower, upper, num, now.mode, session.instrument)
    except ValueError as error:
        return None, (str(error),)
    spec = GridSpec(
        lower=lower,
        upper=upper,
        mode=now.mode,
        kind=now.kind,
        quantity=now.quantity,
        levels=levels,
    )
    faults = spec_faults(spec, session.settings.max_position, session.instrument)
    return (None, faults) if faults else (spec, ())


def lot_minimum(spec: GridSpec, instrument: Instrument) -> Decimal:
    """The smallest lot that can be closed on its own anywhere in this grid (GRID.md 3, 7)."""
    return max(instrument.min_quantity, instrument.min_notional / spec.levels[0])


def worst_case_of(session: Session, grid: GridState) -> WorstCase:
    """Find where a grid's orders could lead to liquidation, with all of the balance as margin."""
    assert session.instrument is not None
    assert session.quote is not None
    wanted = desired_orders(
        grid, session.quote.last, session.instrument, max_position=session.settings.max_position
    )
    margin = ZERO if session.balance is None else session.balance.wallet
    return worst_case(grid.position, entry_price(grid), margin, wanted, session.instrument)


def liquidation_faults_of(session: Session, grid: GridState) -> tuple[str, ...]:
    """Say whether a grid could be liquidated inside its own range."""
    levels = grid.spec.levels
    return liquidation_faults(worst_case_of(session, grid), levels[0], levels[-1])


def grid_of(book: Book) -> GridState:
    """The grid of a book that has one."""
    assert book.grid is not None
    return book.grid


def applied(session: Session, pending: PendingAdjust) -> Book:
    """Give the book as the adjust would leave it at the present price."""
    now = session.clock.now()
    book = journal.apply(session.book, "adjust_begin", journal.encode_pending(pending), 0, now)
    return journal.apply(book, "adjust", {"price": str(_price(session))}, 0, now)


def _price(session: Session) -> Decimal:
    assert session.quote is not None
    return session.quote.last


def _preview(session: Session, spec: GridSpec, candidate: Book) -> CommandResult:
    """Say what an adjust would do, in orders and lots, without doing it.

    Lots that it closes at the market count as closed: the orders are those of afterwards.
    """
    assert session.instrument is not None
    planned = grid_of(candidate)
    closed = [carried for carried in planned.carried if carried.closing]
    carried_on = [carried for carried in planned.carried if not carried.closing]
    grid = replace(planned, carried=tuple(carried_on))
    wanted = planning.desired(session, replace(candidate, grid=grid))
    worst = worst_case_of(session, grid)
    working = list(session.desk.working.values())
    slots, lost = match_survivors(wanted, working)
    kept = [order for order in working if order.client_order_id in slots]
    used = set(slots.values())
    placed = [want for want in wanted if want.slot not in used]
    with_order = {want.slot for want in wanted}
    dormant = [
        i
        for i in range(len(grid.cells))
        if not {f"{grid.version}.e{i}", f"{grid.version}.x{i}"} & with_order
    ]
    words = f"; {len(closed)} lots closed at the market" if closed else ""
    result = _done(
        spec,
        f"preview: {len(kept)} orders kept, {len(lost)} cancelled, {len(placed)} placed; "
        f"{len(carried_on)} lots carried outside the grid{words}",
    )
    return CommandResult(
        outcome=Outcome.DONE,
        message=result.message,
        data={
            **result.data,
            "dry_run": True,
            "kept": _orders(kept),
            "cancelled": _orders(lost),
            "placed": _orders(placed),
            "dormant_cells": dormant,
            "carried": [_lot_words(carried) for carried in carried_on],
            "closed": [_lot_words(carried) for carried in closed],
            "position": plain(grid.position),
            "worst_case": {
                "falling": _price_or_none(worst.falling, session.instrument),
                "rising": _price_or_none(worst.rising, session.instrument),
            },
            "warnings": list(spec_warnings(spec.levels, session.instrument)),
        },
    )


def _lot_words(carried: Carried) -> dict[str, str]:
    return {
        "side": carried.side.value,
        "quantity": plain(quantity_of(carried.lot)),
        "lower": plain(carried.lower),
        "upper": plain(carried.upper),
    }


def _price_or_none(price: Decimal | None, instrument: Instrument) -> str | None:
    return None if price is None else plain(instrument.round_price(price))


def _orders(orders: Iterable[Order | DesiredOrder]) -> list[dict[str, str]]:
    return [
        {
            "side": order.side.value,
            "price": plain(order.price),
            "quantity": plain(
                order.quantity - order.filled_qty if isinstance(order, Order) else order.quantity
            ),
        }
        for order in sorted(orders, key=lambda order: order.price)
    ]


def _done(spec: GridSpec, message: str) -> CommandResult:
    return CommandResult(
        outcome=Outcome.DONE,
        message=message,
        data={
            "grid_lower_price": spec.lower,
            "grid_upper_price": spec.upper,
            "grid_num": spec.num,
        },
    )


def _invalid(message: str) -> CommandResult:
    return CommandResult(outcome=Outcome.INVALID, message=message)


def _not_running(session: Session) -> CommandResult:
    return CommandResult(
        outcome=Outcome.NOT_RUNNING, message=f"the bot is {session.state.value}, not running"
    )
