"""The boundary actions that move the grid, `trail` and `adjust_range` (GRID.md 8).

A confirmed breach begins an adjust of the grid's own; it is stored and carried out as a user's.
What cannot be done (the hourly limit, levels that cannot be, no room, a liquidation inside the new
range, a kind that does not trail that way) acts as `stop_only`: entries stop, exits stay, and it
is tried again. Engine thread only.
"""

from __future__ import annotations

from datetime import timedelta

from core.model import LotsPolicy
from strategies import commands, journal
from strategies.boundary import Zone
from strategies.following import recent_moves, recentred, shifted, step_of
from strategies.journal import Move, PendingAdjust
from strategies.session import Session
from strategies.settings import spec_faults

RETRY = timedelta(seconds=10)
"""Market time between two tries of a move that was refused."""

MOVES = {"trail": Move.TRAIL, "adjust_range": Move.ADJUST_RANGE}


def follow(session: Session) -> None:
    """Begin the next move if the price has left the range. Errors: StoreError."""
    book, quote = session.book, session.quote
    if not session.settings.moves_at_boundary or quote is None or book.grid is None:
        return
    if book.zone is Zone.INSIDE:
        session.move_refused = ""
        return
    if book.pending is not None or book.paused or session.frozen or book.grid.initial > 0:
        return
    limit = session.settings.boundary_moves_per_hour
    moves = recent_moves(book.moves, quote.time)
    if len(moves) >= limit:
        again = moves[-limit] + timedelta(hours=1)
        _refuse(session, f"{limit} moves within an hour, the next one at {again:%H:%M:%S} UTC")
        return
    if session.move_retry_at is not None and quote.time < session.move_retry_at:
        return
    try:
        pending = _next_move(session)
    except ValueError as error:
        session.move_retry_at = quote.time + RETRY
        _refuse(session, str(error).replace("\n", "; "))
        return
    session.move_refused, session.move_retry_at = "", None
    session.adjust_touched = False
    session.record(("adjust_begin", journal.encode_pending(pending)), time=quote.time)


def aborted(session: Session) -> None:
    """The exchange refused before anything was cancelled: try again after a pause."""
    if session.settings.moves_at_boundary and session.quote is not None:
        session.move_retry_at = session.quote.time + RETRY


def _next_move(session: Session) -> PendingAdjust:
    """Lay the next move out and judge it as a user's. Errors: ValueError, one reason a line."""
    grid, instrument, quote = session.book.grid, session.instrument, session.quote
    assert grid is not None
    assert instrument is not None
    assert quote is not None
    zone, step = session.book.zone, 0
    if session.settings.boundary_action == "trail":
        step = step_of(grid.spec.kind, zone)
        if step == 0:
            way = "up" if zone is Zone.ABOVE else "down"
            raise ValueError(f"a {grid.spec.kind.value} grid does not trail {way}")
        spec = shifted(grid.spec, step, instrument)
    else:
        spec = recentred(grid.spec, quote.last, instrument)
    faults = spec_faults(spec, session.settings.max_position, instrument)
    if faults:
        raise ValueError("\n".join(faults))
    pending = PendingAdjust(
        spec=spec,
        lots=LotsPolicy.CARRY,
        fee=instrument.maker_fee,
        lot_minimum=commands.lot_minimum(spec, instrument),
        move=MOVES[session.settings.boundary_action],
        step=step,
    )
    faults = commands.candidate_faults(session, commands.applied(session, pending))
    if faults:
        raise ValueError("\n".join(faults))
    return pending


def _refuse(session: Session, reason: str) -> None:
    """Act as `stop_only`; the alert is given once a reason."""
    if session.move_refused != reason:
        session.alert(
            f"the price is {session.book.zone.value} the range and the grid stays: entries stop, "
            f"exits stay: {reason}"
        )
        session.dirty = True
    session.move_refused = reason
