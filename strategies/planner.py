"""From the book to requests: derive the wanted orders, compare, send the difference.

A plan is made only where something can have changed it: after an event of our own, or when the
price has left the range in which a new plan would equal the last one. Engine thread only.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from core.model import Side
from strategies import adjusting, guards, moving, sync
from strategies.boundary import Zone
from strategies.desired import desired_orders, turning_prices
from strategies.grid_state import DesiredOrder, Leg
from strategies.journal import Book
from strategies.reconcile import Exposure, Plan, is_initial, plan_orders

if TYPE_CHECKING:
    from strategies.engine import Engine

MAX_ROUNDS = 12
"""Rounds of plan and send in one step; what is left goes on in the next."""


def plan_and_send(engine: Engine) -> None:
    """Plan and send until nothing is left to send now, or for a bounded number of rounds."""
    for _ in range(MAX_ROUNDS):
        now = engine.clock.monotonic()
        if engine.stop_request is not None or not engine.synced or now < engine.desk.hold_until:
            return
        moving.follow(engine)
        if engine.book.pending is not None:
            if adjusting.advance(engine):
                continue  # a trailing grid may be an index further on by now
            # An order's end, a fill or a look-up brings the next look; a hold its own end.
            engine.dirty = engine.clock.monotonic() < engine.desk.hold_until
            break
        _end_initial(engine)
        due = plan(engine)
        if due.is_empty:
            engine.dirty = False
            _find_quiet_range(engine)
            break
        engine.desk.send(due)
        if engine.desk.wants_backfill:
            sync.backfill(engine)
        engine.publish_soon()
    adjusting.answer_when_done(engine)


def plan(engine: Engine) -> Plan:
    """Say what would be sent now."""
    assert engine.quote is not None
    assert engine.instrument is not None
    wanted = desired(engine, engine.book)
    if engine.trim is not None:
        wanted = (engine.trim, *wanted)
    engine.last_desired = wanted
    now = engine.clock.monotonic()
    blocked = engine.desk.blocked(now)
    if engine.frozen or now < engine.desk.entries_hold_until:
        blocked |= {order.slot for order in wanted if order.leg in (Leg.ENTRY, Leg.INITIAL)}
    return plan_orders(
        wanted,
        engine.desk.working,
        frozenset(engine.desk.cancelling),
        engine.quote.last,
        engine.instrument,
        _exposure(engine),
        blocked,
    )


def desired(engine: Engine, book: Book) -> tuple[DesiredOrder, ...]:
    """Derive the orders that should rest for a book at the present price."""
    assert engine.quote is not None
    assert engine.instrument is not None
    assert book.grid is not None
    return desired_orders(
        book.grid,
        engine.quote.last,
        engine.instrument,
        max_position=engine.settings.max_position,
        entries=not (book.paused or guards.stops_entries(engine, book)),
        resting=engine.desk.resting(),
        slippage_cap=engine.settings.slippage_cap,
    )


def _exposure(engine: Engine) -> Exposure:
    grid = engine.book.grid
    assert grid is not None
    return Exposure(
        held_long=grid.held(Side.BUY),
        held_short=grid.held(Side.SELL),
        max_position=engine.settings.max_position,
    )


def _end_initial(engine: Engine) -> None:
    """The initial entry is sent once: when its order has ended, what is missing stays so."""
    grid = engine.book.grid
    if grid is None or grid.initial == 0:
        return
    if any(is_initial(slot) for slot in engine.desk.working):
        return
    if engine.desk.initial_ended or grid.totals.initial_fills:
        engine.record(("initial_end", {}))


def _find_quiet_range(engine: Engine) -> None:
    """Find the prices between which a new plan would equal this one."""
    grid, quote = engine.book.grid, engine.quote
    assert grid is not None
    assert quote is not None
    follows = moving.is_moving(engine) and engine.book.zone is not Zone.INSIDE
    if follows or engine.desk.blocked_until or engine.watch.candidate is not None:
        engine.quiet = None
        engine.feed.set_wake_range(None, None)
        return
    prices = turning_prices(grid, engine.last_desired, engine.desk.working)
    if engine.settings.boundary_action != "none":
        tolerance = engine.settings.boundary_tolerance
        lower, upper = grid.spec.levels[0], grid.spec.levels[-1]
        prices |= {lower, upper, lower * (1 - tolerance), upper * (1 + tolerance)}
    below = max((p for p in prices if p <= quote.last), default=Decimal(0))
    above = min((p for p in prices if p >= quote.last), default=Decimal("Infinity"))
    engine.quiet = (below, above)
    if guards.has_stops(engine):
        engine.feed.set_wake_range(None, None)  # any price may pass a stop
    else:
        engine.feed.set_wake_range(below, above)
