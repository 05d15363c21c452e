"""What ends or narrows a run by price or profit: the boundary and the stops (GRID.md 8).

Judged on the mark price, whatever the plan finds quiet. Engine thread only.
"""

from __future__ import annotations

from core.model import Quote, StopBot
from strategies.boundary import Zone, judge
from strategies.session import Session


def judge_boundary(session: Session, quote: Quote) -> None:
    """Follow the mark over the bounds and back, once it is confirmed. Errors: StoreError."""
    action = session.settings.boundary_action
    if action == "none" or session.book.grid is None:
        return
    levels = session.book.grid.spec.levels
    tolerance = session.settings.boundary_tolerance
    session.watch = judge(
        session.watch,
        quote.mark,
        levels[0],
        levels[-1],
        tolerance,
        quote.time,
        session.settings.boundary_confirm_s,
    )
    zone = session.watch.zone
    if zone is session.book.zone:
        return
    session.record(("zone", {"zone": zone.value}), time=quote.time)
    if action == "emergency_close":
        if zone is not Zone.INSIDE:
            end_and_close(session, f"the price is {zone.value} the range")
    elif session.settings.moves_at_boundary:
        session.log("range_left" if zone is not Zone.INSIDE else "range_entered", zone=zone.value)
    elif zone is Zone.INSIDE:
        session.alert("the price is back inside the range: entries resume", "info")
    else:
        session.alert(f"the price is {zone.value} the range: entries stop, exits stay")


def judge_stops(session: Session, quote: Quote) -> None:
    """End the run when the total, less what leaving would cost, passes a stop."""
    settings, grid = session.settings, session.book.grid
    if grid is None or session.instrument is None or session.stop_request is not None:
        return
    exit_rate = session.instrument.taker_fee + settings.slippage_cap
    value = session.figures().total - abs(grid.position) * quote.mark * exit_rate
    if settings.stop_loss is not None and value <= -settings.stop_loss:
        end_and_close(session, f"stop_loss: the total after the exit would be {value:.8g}")
    elif settings.take_profit is not None and value >= settings.take_profit:
        end_and_close(session, f"take_profit: the total after the exit would be {value:.8g}")


def resume(session: Session) -> None:
    """After a synchronisation: go on with an end that a crash interrupted."""
    if session.quote is not None and session.settings.has_stops:
        judge_stops(session, session.quote)
    closes = session.settings.boundary_action == "emergency_close"
    if closes and session.book.zone is not Zone.INSIDE:
        end_and_close(session, "the price had left the range when the bot was interrupted")


def end_and_close(session: Session, reason: str) -> None:
    """End for good: every order cancelled, the position closed and proved gone."""
    session.alert(f"closing everything: {reason}", "critical")
    session.stop_request = session.stop_request or StopBot(close_positions=True, reason=reason)
