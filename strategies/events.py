"""What an event of the market or of the account changes: quotes, fills, reports, funding, gaps.

Each is taken over once, whatever the order and number of its arrivals; what follows from it is
planned later. Engine thread only. Errors of all: StoreError, with nothing taken over.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from core.model import FeedEnd, FeedGap, Fill, FundingPayment, MarketEvent, Order, Quote, StopBot
from strategies import guards
from strategies.grid_state import TRIM_SLOT
from strategies.perp_grid import cells_to_wake

if TYPE_CHECKING:
    from strategies.engine import Engine


def take(engine: Engine, event: MarketEvent) -> None:
    """Take one event of the market or the account."""
    match event:
        case Quote():
            take_quote(engine, event)
        case Fill():
            take_fill(engine, event)
        case Order():
            engine.desk.report(event)
            engine.dirty = True
        case FundingPayment():
            take_funding(engine, event)
        case FeedGap():
            engine.log("feed_gap", reason=event.reason)
            engine.synced = False
        case FeedEnd():
            engine.stop_request = engine.stop_request or StopBot(reason=event.reason)


def take_quote(engine: Engine, quote: Quote) -> None:
    """Take a price: cells may wake, the boundary may be crossed."""
    engine.quote = quote
    engine.wants_snapshot = True
    grid = engine.book.grid
    if grid is None:
        return
    engine.equity.sample(quote, grid)
    if engine.synced and guards.has_stops(engine):
        guards.judge_stops(engine, quote)
    quiet, watched = engine.quiet, engine.watch
    guards.judge_boundary(engine, quote)  # by the mark, which moves where the last price is quiet
    if quiet is not None and quiet[0] < quote.last < quiet[1] and engine.watch is watched:
        return
    waking = cells_to_wake(grid, quote.last)
    if waking:
        engine.record(("wake", {"cells": list(waking)}), time=quote.time)
    engine.dirty = True


def take_fill(engine: Engine, fill: Fill) -> None:
    """Take one fill, once: its order and its cell move on in one transaction."""
    order = engine.desk.filled(fill)
    if order is None and not _closes_from_outside(engine, fill):
        return
    if not engine.ledger.take_fill(fill, order):
        return
    if order is not None:
        engine.desk.settle(order)
        if order.slot == TRIM_SLOT:
            engine.trim = None  # how much is left to trim is the exchange's to say
            engine.desk.wants_position = True
        _take_price_of(engine, fill)
        engine.balance_is_old = True
    else:
        engine.alert(f"closed from outside: {fill.side.value} {fill.quantity} at {fill.price}")
    engine.book_changed()


def take_funding(engine: Engine, payment: FundingPayment) -> None:
    """Book a funding payment, once."""
    if engine.book.grid is not None and engine.ledger.take_funding(payment):
        engine.wants_snapshot = True


def _take_price_of(engine: Engine, fill: Fill) -> None:
    """A fill of a resting order is a trade at its price, often told before the quote is.

    With the price of before, room would go to the next order for that moment (GRID.md P1).
    """
    quote = engine.quote
    if quote is not None and fill.is_maker and fill.time >= quote.time:
        take_quote(engine, replace(quote, last=fill.price, time=fill.time))


def _closes_from_outside(engine: Engine, fill: Fill) -> bool:
    """Tell whether a fill without an order of ours changes our lots (a liquidation)."""
    return engine.book.grid is not None and fill.client_order_id.startswith("liquidation")


def trigger_reached(engine: Engine, trigger: Decimal) -> bool:
    """Tell whether the price has reached the trigger since the first look at it."""
    assert engine.quote is not None
    last = engine.quote.last
    is_above = last > trigger
    if engine.trigger_above is None:
        engine.trigger_above = is_above
    return last == trigger or is_above is not engine.trigger_above
