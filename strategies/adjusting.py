"""Carrying out a hot adjust: cancel what has no place, await, commit, answer (GRID.md 7).

The plan was stored before the first cancel, so a crash anywhere resumes it. A fill in between only
means a new look: the candidate grid is derived anew each time. Engine thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ExchangeError
from core.model import CommandResult, Outcome
from strategies import commands, journal, moving, planner, sync
from strategies.boundary import Zone, zone_of
from strategies.grid_state import Leg
from strategies.journal import PendingAdjust
from strategies.reconcile import match_survivors

if TYPE_CHECKING:
    from strategies.engine import Engine

ROUNDS = 8
"""Looks in one go: a cancel that answers at once needs two, a lost race one more."""


def advance(engine: Engine) -> bool:
    """Bring a pending adjust forward; True when no adjust is pending any more."""
    for _ in range(ROUNDS):
        if engine.book.pending is None:
            return True
        quote = engine.quote
        assert quote is not None
        terms = _terms(engine, engine.book.pending)
        candidate = journal.apply(engine.book, "adjust", terms, 0, quote.time)
        slots, lost = match_survivors(
            planner.desired(engine, candidate), engine.desk.working.values()
        )
        if not lost:
            _commit(engine, terms, slots)
            return True
        fresh = [o for o in lost if o.client_order_id not in engine.desk.cancelling]
        if not fresh:
            return False  # awaiting the ends of what was asked for
        is_first = not engine.desk.cancelling and not engine.adjust_touched
        faults = engine.desk.cancel(fresh)
        if is_first and len(faults) == len(fresh) and not engine.desk.cancelling:
            _abort(engine, faults[0])
            return True
        engine.adjust_touched = True
        if engine.desk.wants_backfill:
            sync.backfill(engine)
    return False


def _terms(engine: Engine, pending: PendingAdjust) -> dict[str, str]:
    """The price of this moment, and the zone it has in the new range, for the journal.

    A trailing grid that is still behind stays outside, so that the next index follows at once.
    """
    quote = engine.quote
    assert quote is not None
    levels, zone = pending.spec.levels, Zone.INSIDE
    if pending.step:
        tolerance = engine.settings.boundary_tolerance
        zone = zone_of(Zone.INSIDE, quote.mark, levels[0], levels[-1], tolerance)
    return {"price": str(quote.last), "zone": zone.value}


def _commit(engine: Engine, terms: dict[str, str], slots: dict[str, str]) -> None:
    """Put the new grid in force: the journal entry and the survivors' slots in one transaction."""
    ledger, quote = engine.ledger, engine.quote
    assert quote is not None
    with engine.store.transaction():
        book = ledger.write(ledger.book, "adjust", terms, quote.time)
        engine.desk.reslot(slots)
    engine.desk.resloted(slots)
    ledger.take(book)
    engine.grid_replaced()
    grid = ledger.grid
    assert grid is not None
    engine.log(
        "grid_adjusted",
        lower=grid.spec.lower,
        upper=grid.spec.upper,
        levels=grid.spec.num,
        kept=len(slots),
        carried=len(grid.carried),
    )


def _abort(engine: Engine, error: ExchangeError) -> None:
    """The exchange refused before anything was cancelled: the old grid stands."""
    engine.record(("adjust_abort", {"reason": str(error)[:200]}))
    moving.aborted(engine)
    engine.answer_adjust(
        CommandResult(
            outcome=Outcome.REFUSED,
            message=f"the exchange refused to cancel orders, the old grid stands: {error}",
        )
    )


def answer_when_done(engine: Engine) -> None:
    """Answer the asker once the new grid is stored and its orders are on the exchange."""
    if (
        engine.inbox.adjusting is None
        or engine.book.pending is not None
        or not engine.desk.is_settled
    ):
        return
    is_done = planner.plan(engine).is_empty
    if is_done and not any(order.leg is Leg.CLOSING for order in engine.last_desired):
        engine.answer_adjust(commands.adjusted(engine))
