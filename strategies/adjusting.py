"""Carrying out a hot adjust: cancel what has no place, await, commit, answer (GRID.md 7).

The plan was stored before the first cancel, so a crash anywhere resumes it. A fill in between only
means a new look: the candidate grid is derived anew each time. Engine thread only.
"""

from __future__ import annotations

from core.errors import ExchangeError
from core.model import CommandResult, Outcome
from strategies import commands, journal, moving, planning, sync
from strategies.boundary import Zone, zone_of
from strategies.grid_state import Leg
from strategies.journal import PendingAdjust
from strategies.reconcile import match_survivors
from strategies.session import Session

ROUNDS = 8
"""Looks in one go: a cancel that answers at once needs two, a lost race one more."""


def advance(session: Session) -> bool:
    """Bring a pending adjust forward; True when no adjust is pending any more."""
    for _ in range(ROUNDS):
        if session.book.pending is None:
            return True
        quote = session.quote
        assert quote is not None
        terms = _terms(session, session.book.pending)
        candidate = journal.apply(session.book, "adjust", terms, 0, quote.time)
        slots, lost = match_survivors(
            planning.desired(session, candidate), session.desk.working.values()
        )
        if not lost:
            _commit(session, terms, slots)
            return True
        fresh = [o for o in lost if o.client_order_id not in session.desk.cancelling]
        if not fresh:
            return False  # awaiting the ends of what was asked for
        is_first = not session.desk.cancelling and not session.adjust_touched
        faults = session.desk.cancel(fresh)
        if is_first and len(faults) == len(fresh) and not session.desk.cancelling:
            _abort(session, faults[0])
            return True
        session.adjust_touched = True
        if session.desk.wants_backfill:
            sync.backfill(session)
    return False


def _terms(session: Session, pending: PendingAdjust) -> dict[str, str]:
    """The price of this moment, and the zone it has in the new range, for the journal.

    A trailing grid that is still behind stays outside, so that the next index follows at once.
    """
    quote = session.quote
    assert quote is not None
    levels, zone = pending.spec.levels, Zone.INSIDE
    if pending.step:
        tolerance = session.settings.boundary_tolerance
        zone = zone_of(Zone.INSIDE, quote.mark, levels[0], levels[-1], tolerance)
    return {"price": str(quote.last), "zone": zone.value}


def _commit(session: Session, terms: dict[str, str], slots: dict[str, str]) -> None:
    """Put the new grid in force: the journal entry and the survivors' slots in one transaction."""
    ledger, quote = session.ledger, session.quote
    assert quote is not None
    with session.store.transaction():
        book = ledger.write(ledger.book, "adjust", terms, quote.time)
        session.desk.reslot(slots)
    session.desk.resloted(slots)
    ledger.take(book)
    session.grid_replaced()
    grid = ledger.grid
    assert grid is not None
    session.log(
        "grid_adjusted",
        lower=grid.spec.lower,
        upper=grid.spec.upper,
        levels=grid.spec.num,
        kept=len(slots),
        carried=len(grid.carried),
    )


def _abort(session: Session, error: ExchangeError) -> None:
    """The exchange refused before anything was cancelled: the old grid stands."""
    session.record(("adjust_abort", {"reason": str(error)[:200]}))
    moving.aborted(session)
    session.answer_adjust(
        CommandResult(
            outcome=Outcome.REFUSED,
            message=f"the exchange refused to cancel orders, the old grid stands: {error}",
        )
    )


def answer_when_done(session: Session) -> None:
    """Answer the asker once the new grid is stored and its orders are on the exchange."""
    if (
        session.inbox.adjusting is None
        or session.book.pending is not None
        or not session.desk.is_settled
    ):
        return
    is_done = planning.plan(session).is_empty
    if is_done and not any(order.leg is Leg.CLOSING for order in session.last_desired):
        session.answer_adjust(commands.adjusted(session))
