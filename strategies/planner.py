"""From the book to requests: what is planned is sent, until nothing is left to send.

A plan is made only where something can have changed it: after an event of our own, or when the
price has left the range in which a new plan would equal the last one. Engine thread only.
"""

from __future__ import annotations

from decimal import Decimal

from strategies import adjusting, moving, planning, sync
from strategies.boundary import Zone
from strategies.desired import turning_prices
from strategies.reconcile import is_initial
from strategies.session import Session
from strategies.standby import answers

MAX_ROUNDS = 12
"""Rounds of plan and send in one step; what is left goes on in the next."""


def plan_and_send(session: Session) -> None:
    """Plan and send until nothing is left to send now, or for a bounded number of rounds."""
    for _ in range(MAX_ROUNDS):
        now = session.clock.monotonic()
        if session.stop_request is not None or not session.synced or now < session.desk.hold_until:
            return
        if session.quote is None:  # a closed book has no price: the first one brings the next look
            session.dirty = False
            break
        moving.follow(session)
        if session.book.pending is not None:
            if adjusting.advance(session):
                continue  # a trailing grid may be an index further on by now
            # An order's end, a fill or a look-up brings the next look; a hold its own end.
            session.dirty = session.clock.monotonic() < session.desk.hold_until
            break
        _end_initial(session)
        due = planning.plan(session)
        if due.is_empty:
            session.dirty = False
            _find_quiet_range(session)
            _keep_answers_ready(session)
            break
        session.desk.send(due)
        if session.desk.wants_backfill:
            sync.backfill(session)
        session.publish_soon()
    adjusting.answer_when_done(session)


def _end_initial(session: Session) -> None:
    """The initial entry is sent once: when its order has ended, what is missing stays so."""
    grid = session.book.grid
    if grid is None or grid.initial == 0:
        return
    if any(is_initial(slot) for slot in session.desk.working):
        return
    if session.desk.initial_ended or grid.totals.initial_fills:
        session.record(("initial_end", {}))


def _keep_answers_ready(session: Session) -> None:
    """With nothing left to send, see to the ids of the orders that may be wanted next."""
    standby = session.desk.standby
    if standby is not None and session.quote is not None:
        standby.fill_up(answers(session.desk.working.values(), session.quote.last))


def _find_quiet_range(session: Session) -> None:
    """Find the prices between which a new plan would equal this one."""
    grid, quote = session.book.grid, session.quote
    assert grid is not None
    assert quote is not None
    follows = session.settings.moves_at_boundary and session.book.zone is not Zone.INSIDE
    if follows or session.desk.blocked_until or session.watch.candidate is not None:
        session.quiet = None
        session.feed.set_wake_range(None, None)
        return
    prices = turning_prices(grid, session.last_desired, session.desk.working)
    if session.settings.boundary_action != "none":
        tolerance = session.settings.boundary_tolerance
        lower, upper = grid.spec.levels[0], grid.spec.levels[-1]
        prices |= {lower, upper, lower * (1 - tolerance), upper * (1 + tolerance)}
    below = max((p for p in prices if p <= quote.last), default=Decimal(0))
    above = min((p for p in prices if p >= quote.last), default=Decimal("Infinity"))
    session.quiet = (below, above)
    if session.settings.has_stops:
        session.feed.set_wake_range(None, None)  # any price may pass a stop
    else:
        session.feed.set_wake_range(below, above)
