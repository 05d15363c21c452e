"""What ends or narrows a run by price or profit: the boundary and the stops (GRID.md 8).

Judged on the mark price, whatever the plan finds quiet. Engine thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.model import Quote, StopBot
from strategies import moving
from strategies.boundary import Zone, judge
from strategies.journal import Book

if TYPE_CHECKING:
    from strategies.engine import Engine


def has_stops(engine: Engine) -> bool:
    """Tell whether any price may end the run by profit or loss."""
    return engine.settings.stop_loss is not None or engine.settings.take_profit is not None


def judge_boundary(engine: Engine, quote: Quote) -> None:
    """Follow the mark over the bounds and back, once it is confirmed. Errors: StoreError."""
    action = engine.settings.boundary_action
    if action == "none" or engine.book.grid is None:
        return
    levels = engine.book.grid.spec.levels
    tolerance = engine.settings.boundary_tolerance
    engine.watch = judge(
        engine.watch,
        quote.mark,
        levels[0],
        levels[-1],
        tolerance,
        quote.time,
        engine.settings.boundary_confirm_s,
    )
    zone = engine.watch.zone
    if zone is engine.book.zone:
        return
    engine.record(("zone", {"zone": zone.value}), time=quote.time)
    if action == "emergency_close":
        if zone is not Zone.INSIDE:
            end_and_close(engine, f"the price is {zone.value} the range")
    elif moving.is_moving(engine):
        engine.log("range_left" if zone is not Zone.INSIDE else "range_entered", zone=zone.value)
    elif zone is Zone.INSIDE:
        engine.alert("the price is back inside the range: entries resume")
    else:
        engine.alert(f"the price is {zone.value} the range: entries stop, exits stay")


def stops_entries(engine: Engine, book: Book) -> bool:
    """Tell whether the boundary keeps entries out, for the zone that a book has."""
    action = engine.settings.boundary_action
    if action == "none" or book.zone is Zone.INSIDE:
        return False
    return bool(engine.move_refused) if moving.is_moving(engine) else True


def judge_stops(engine: Engine, quote: Quote) -> None:
    """End the run when the total, less what leaving would cost, passes a stop."""
    settings, grid = engine.settings, engine.book.grid
    if grid is None or engine.instrument is None or engine.stop_request is not None:
        return
    exit_rate = engine.instrument.taker_fee + settings.slippage_cap
    value = engine.figures().total - abs(grid.position) * quote.mark * exit_rate
    if settings.stop_loss is not None and value <= -settings.stop_loss:
        end_and_close(engine, f"stop_loss: the total after the exit would be {value:.8g}")
    elif settings.take_profit is not None and value >= settings.take_profit:
        end_and_close(engine, f"take_profit: the total after the exit would be {value:.8g}")


def resume(engine: Engine) -> None:
    """After a synchronisation: go on with an end that a crash interrupted."""
    if engine.quote is not None and has_stops(engine):
        judge_stops(engine, engine.quote)
    closes = engine.settings.boundary_action == "emergency_close"
    if closes and engine.book.zone is not Zone.INSIDE:
        end_and_close(engine, "the price had left the range when the bot was interrupted")


def end_and_close(engine: Engine, reason: str) -> None:
    """End for good: every order cancelled, the position closed and proved gone."""
    engine.alert(f"closing everything: {reason}")
    engine.stop_request = engine.stop_request or StopBot(close_positions=True, reason=reason)
