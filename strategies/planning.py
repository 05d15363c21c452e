"""What would be sent now: the orders that a book wants, compared with those that work.

It reads the session and sends nothing; `planner` carries it out. Engine thread only.
"""

from __future__ import annotations

from core.model import Side
from strategies.boundary import Zone
from strategies.desired import desired_orders
from strategies.grid_state import DesiredOrder, Leg
from strategies.journal import Book
from strategies.reconcile import Exposure, Plan, plan_orders
from strategies.session import Session


def plan(session: Session) -> Plan:
    """Say what would be sent now."""
    assert session.quote is not None
    assert session.instrument is not None
    wanted = desired(session, session.book)
    if session.trim is not None:
        wanted = (session.trim, *wanted)
    session.last_desired = wanted
    now = session.clock.monotonic()
    blocked = session.desk.blocked(now)
    if session.frozen or now < session.desk.entries_hold_until:
        blocked |= {order.slot for order in wanted if order.leg in (Leg.ENTRY, Leg.INITIAL)}
    if not session.market.state.takes_exits:
        blocked |= {order.slot for order in wanted}
    return plan_orders(
        wanted,
        session.desk.working,
        frozenset(session.desk.cancelling),
        session.quote.last,
        session.instrument,
        _exposure(session),
        blocked,
    )


def desired(session: Session, book: Book) -> tuple[DesiredOrder, ...]:
    """Derive the orders that should rest for a book at the present price."""
    assert session.quote is not None
    assert session.instrument is not None
    assert book.grid is not None
    return desired_orders(
        book.grid,
        session.quote.last,
        session.instrument,
        max_position=session.settings.max_position,
        entries=not (book.paused or _stops_entries(session, book)),
        resting=session.desk.resting(),
        slippage_cap=session.settings.slippage_cap,
    )


def _exposure(session: Session) -> Exposure:
    grid = session.book.grid
    assert grid is not None
    return Exposure(
        held_long=grid.held(Side.BUY),
        held_short=grid.held(Side.SELL),
        max_position=session.settings.max_position,
    )


def _stops_entries(session: Session, book: Book) -> bool:
    """Tell whether the boundary keeps entries out, for the zone that a book has."""
    action = session.settings.boundary_action
    if action == "none" or book.zone is Zone.INSIDE:
        return False
    return bool(session.move_refused) if session.settings.moves_at_boundary else True
