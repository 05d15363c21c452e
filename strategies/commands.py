"""What a user may ask of a running engine: adjust, its preview, pause and resume.

Runs on the engine thread. A refusal names every reason and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

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
from strategies import journal, planner
from strategies.adjust import same_grid
from strategies.desired import desired_orders
from strategies.grid_math import level_prices, plain
from strategies.grid_state import Carried, DesiredOrder, GridSpec, GridState, Leg, entry_price
from strategies.journal import Book, PendingAdjust
from strategies.lots import quantity_of
from strategies.reconcile import match_survivors
from strategies.risk import WorstCase, liquidation_faults, worst_case
from strategies.settings import build_spec, spec_faults, spec_warnings

if TYPE_CHECKING:
    from strategies.engine import Engine

MAX_LEVELS = 1000
"""As in a config file: more would neither fit an exchange's order limit nor a page."""


def pause(engine: Engine, *, paused: bool) -> CommandResult:
    """Stop or resume entries; a repeat changes nothing."""
    if engine.state not in (RunState.RUNNING, RunState.PAUSED):
        return _not_running(engine)
    if engine.book.paused != paused:
        engine.record(("pause" if paused else "resume", {}))
        engine.state = RunState.PAUSED if paused else RunState.RUNNING
    words = "entries are paused, exits stay" if paused else "entries are on"
    return CommandResult(outcome=Outcome.DONE, message=words, data={"paused": paused})


def begin_adjust(engine: Engine, command: AdjustGrid) -> CommandResult | None:
    """Validate, then store the plan; None: it is under way and is answered when it is done."""
    grid = engine.book.grid
    if engine.state not in (RunState.RUNNING, RunState.PAUSED) or grid is None:
        return _not_running(engine)
    if engine.book.pending is not None:
        return CommandResult(
            outcome=Outcome.NOT_RUNNING, message="another adjust is being carried out; ask again"
        )
    if not engine.synced or engine.frozen or engine.instrument is None:
        reasons = "; ".join(engine.frozen.values()) or "not synchronised with the exchange"
        return CommandResult(outcome=Outcome.NOT_RUNNING, message=f"not now: {reasons}")
    if command.lower is None and command.upper is None and command.grid_num is None:
        return _invalid("nothing to adjust: give grid_lower_price, grid_upper_price or grid_num")
    spec, faults = _adjusted_spec(engine, grid.spec, command)
    if spec is None:
        return _invalid("; ".join(faults))
    if same_grid(spec, grid.spec):
        return _done(spec, "this range is in force already; nothing changed")
    pending = PendingAdjust(
        spec=spec,
        lots=command.lots,
        fee=engine.instrument.maker_fee,
        lot_minimum=lot_minimum(spec, engine.instrument),
    )
    candidate = applied(engine, pending)
    faults = candidate_faults(engine, candidate)
    if faults:
        return _invalid("; ".join(faults))
    if command.dry_run:
        return _preview(engine, spec, candidate)
    engine.record(("adjust_begin", journal.encode_pending(pending)))
    return None


def candidate_faults(engine: Engine, candidate: Book) -> tuple[str, ...]:
    """Name why a grid that could be laid out must not be: no room to open, or a liquidation."""
    grid = grid_of(candidate)
    wanted = planner.desired(engine, candidate)
    room = any(order.leg is Leg.ENTRY for order in wanted)
    is_full = all(cell.lot for cell in grid.cells)  # its exits open it again
    if not room and not is_full and not engine.book.paused:
        words = (
            f"no opening order would be possible in {plain(grid.spec.lower)} to "
            f"{plain(grid.spec.upper)} at the price {plain(_price(engine))} and max_position "
            f"{engine.settings.max_position}; choose a range that leaves room"
        )
        return (words,)
    if engine.settings.allow_liquidation_in_range:
        return ()
    return liquidation_faults_of(engine, grid)


def adjust_to_config(engine: Engine) -> str:
    """Start an adjust to the config file's own range. Errors: ConfigError; nothing changed then."""
    grid, instrument, quote = engine.book.grid, engine.instrument, engine.quote
    assert grid is not None
    assert instrument is not None
    assert quote is not None
    try:
        spec = build_spec(engine.settings.grid, quote.last, instrument)
    except ValueError as error:
        raise ConfigError(f"strategy_config: {error}") from error
    sides = {side for side, _ in grid.lots()}
    only = {"long": Side.BUY, "short": Side.SELL}.get(spec.kind.value)
    if only is not None and sides - {only}:
        raise ConfigError(
            f"strategy_config.grid_type: was {spec.kind.value}, but lots of the other side are "
            "open; close them first or keep the grid_type"
        )
    source = {"source": engine.settings.grid.fingerprint()}
    if same_grid(spec, grid.spec):
        engine.record(("source", source))
        return "the same grid"
    pending = PendingAdjust(
        spec=spec,
        lots=LotsPolicy.CARRY,
        fee=instrument.maker_fee,
        lot_minimum=lot_minimum(spec, instrument),
    )
    engine.record(("source", source), ("adjust_begin", journal.encode_pending(pending)))
    return "adjusting"


def adjusted(engine: Engine) -> CommandResult:
    """Answer for an adjust that is stored and whose orders rest on the exchange."""
    grid = engine.book.grid
    assert grid is not None
    orders = len(engine.desk.working)
    return _done(grid.spec, f"the grid was moved; {orders} orders rest on the exchange")


def _adjusted_spec(
    engine: Engine, now: GridSpec, command: AdjustGrid
) -> tuple[GridSpec | None, tuple[str, ...]]:
    assert engine.instrument is not None
    lower = now.lower if command.lower is None else command.lower
    upper = now.upper if command.upper is None else command.upper
    num = now.num if command.grid_num is None else command.grid_num
    if num > MAX_LEVELS:
        return None, (f"grid_num was {num}, expected at most {MAX_LEVELS}",)
    try:
        levels = level_prices(lower, upper, num, now.mode, engine.instrument)
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
    faults = spec_faults(spec, engine.settings.max_position, engine.instrument)
    return (None, faults) if faults else (spec, ())


def lot_minimum(spec: GridSpec, instrument: Instrument) -> Decimal:
    """The smallest lot that can be closed on its own anywhere in this grid (GRID.md 3, 7)."""
    return max(instrument.min_quantity, instrument.min_notional / spec.levels[0])


def worst_case_of(engine: Engine, grid: GridState) -> WorstCase:
    """Find where a grid's orders could lead to liquidation, with all of the balance as margin."""
    assert engine.instrument is not None
    assert engine.quote is not None
    wanted = desired_orders(
        grid, engine.quote.last, engine.instrument, max_position=engine.settings.max_position
    )
    margin = ZERO if engine.balance is None else engine.balance.wallet
    return worst_case(grid.position, entry_price(grid), margin, wanted, engine.instrument)


def liquidation_faults_of(engine: Engine, grid: GridState) -> tuple[str, ...]:
    """Say whether a grid could be liquidated inside its own range."""
    levels = grid.spec.levels
    return liquidation_faults(worst_case_of(engine, grid), levels[0], levels[-1])


def grid_of(book: Book) -> GridState:
    """The grid of a book that has one."""
    assert book.grid is not None
    return book.grid


def applied(engine: Engine, pending: PendingAdjust) -> Book:
    """Give the book as the adjust would leave it at the present price."""
    now = engine.clock.now()
    book = journal.apply(engine.book, "adjust_begin", journal.encode_pending(pending), 0, now)
    return journal.apply(book, "adjust", {"price": str(_price(engine))}, 0, now)


def _price(engine: Engine) -> Decimal:
    assert engine.quote is not None
    return engine.quote.last


def _preview(engine: Engine, spec: GridSpec, candidate: Book) -> CommandResult:
    """Say what an adjust would do, in orders and lots, without doing it."""
    assert engine.instrument is not None
    assert candidate.grid is not None
    wanted = planner.desired(engine, candidate)
    worst = worst_case_of(engine, candidate.grid)
    working = list(engine.desk.working.values())
    slots, lost = match_survivors(wanted, working)
    kept = [order for order in working if order.client_order_id in slots]
    used = set(slots.values())
    placed = [want for want in wanted if want.slot not in used]
    grid = candidate.grid
    with_order = {want.slot for want in wanted}
    dormant = [
        i
        for i in range(len(grid.cells))
        if not {f"{grid.version}.e{i}", f"{grid.version}.x{i}"} & with_order
    ]
    closed = [carried for carried in grid.carried if carried.closing]
    carried_on = [carried for carried in grid.carried if not carried.closing]
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
                "falling": _price_or_none(worst.falling, engine.instrument),
                "rising": _price_or_none(worst.rising, engine.instrument),
            },
            "warnings": list(spec_warnings(spec.levels, engine.instrument)),
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


def _not_running(engine: Engine) -> CommandResult:
    return CommandResult(
        outcome=Outcome.NOT_RUNNING, message=f"the bot is {engine.state.value}, not running"
    )
