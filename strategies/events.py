"""What an event of the market or of the account changes: quotes, fills, reports, funding, gaps.

Each is taken over once, whatever the order and number of its arrivals; what follows from it is
planned later. Engine thread only. Errors of all: StoreError, with nothing taken over.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from core.model import (
    FeedEnd,
    FeedGap,
    Fill,
    FundingPayment,
    MarketEvent,
    Order,
    PositionTold,
    Quote,
    StopBot,
)
from strategies import adopting, guards
from strategies.grid_state import TRIM_SLOT
from strategies.perp_grid import cells_to_wake
from strategies.session import Session

LIQUIDATION = "liquidation"
"""How the ids begin by which every client names orders that the exchange made: ADL's too."""


def take(session: Session, event: MarketEvent) -> None:
    """Take one event of the market or the account."""
    match event:
        case Quote():
            take_quote(session, event)
        case Fill():
            take_fill(session, event)
        case Order():
            session.desk.report(event)
            _watch_others(session, event)
            session.dirty = True
        case FundingPayment():
            take_funding(session, event)
        case PositionTold():
            if session.book.grid is not None:
                session.positions.take(event, session.ours, session.clock.monotonic())
        case FeedGap():
            session.log("feed_gap", reason=event.reason)
            session.synced = False
        case FeedEnd():
            session.stop_request = session.stop_request or StopBot(reason=event.reason)


def _watch_others(session: Session, order: Order) -> None:
    """Know which orders of others rest on the symbol, between two looks at all of them."""
    if order.client_order_id.startswith(LIQUIDATION):
        session.desk.wants_backfill = True  # not every liquidation is told as a fill
        session.desk.wants_position = True
    if order.status.is_terminal:
        session.foreign.discard(order.client_order_id)
    elif not session.desk.ids.owns(order.client_order_id):
        session.foreign.add(order.client_order_id)


def take_quote(session: Session, quote: Quote) -> None:
    """Take a price: cells may wake, the boundary may be crossed."""
    session.quote = quote
    session.wants_snapshot = True
    grid = session.book.grid
    if grid is None:
        return
    session.equity.sample(quote, grid)
    if session.synced and session.settings.has_stops:
        guards.judge_stops(session, quote)
    quiet, watched = session.quiet, session.watch
    guards.judge_boundary(session, quote)  # by the mark, which moves where the last price is quiet
    if quiet is not None and quiet[0] < quote.last < quiet[1] and session.watch is watched:
        return
    waking = cells_to_wake(grid, quote.last)
    if waking:
        # No order of these cells leaves but after a commit that takes this one along: none of
        # them has rested, so no id is kept ready for their entries.
        session.record(("wake", {"cells": list(waking)}), time=quote.time, lazy=True)
    session.dirty = True


def take_fill(session: Session, fill: Fill) -> None:
    """Take one fill, once: its order and its cell move on in one transaction."""
    order = session.desk.filled(fill)
    if order is None and adopting.is_lost(session, fill.client_order_id):
        session.lost.add(fill.client_order_id)
        session.reconcile_within(0.0)
        return
    if order is None and not _closes_from_outside(session, fill):
        return
    if not session.ledger.take_fill(fill, order):
        return
    if order is not None:
        session.desk.settle(order)
        if order.slot == TRIM_SLOT:
            session.trim = None  # how much is left to trim is the exchange's to say
            session.desk.wants_position = True
        _take_price_of(session, fill)
        session.balance_is_old = True
    else:
        words = f"closed from outside: {fill.side.value} {fill.quantity} at {fill.price}"
        session.alert(words, "critical")
    session.book_changed()


def take_funding(session: Session, payment: FundingPayment) -> None:
    """Book a funding payment, once."""
    if session.book.grid is not None and session.ledger.take_funding(payment):
        session.wants_snapshot = True


def _take_price_of(session: Session, fill: Fill) -> None:
    """A fill of a resting order is a trade at its price, often told before the quote is.

    With the price of before, room would go to the next order for that moment (GRID.md P1).
    """
    quote = session.quote
    if quote is not None and fill.is_maker and fill.time >= quote.time:
        take_quote(session, replace(quote, last=fill.price, time=fill.time))


def _closes_from_outside(session: Session, fill: Fill) -> bool:
    """Tell whether a fill without an order of ours changes our lots (a liquidation)."""
    return session.book.grid is not None and fill.client_order_id.startswith(LIQUIDATION)


def trigger_reached(session: Session, trigger: Decimal) -> bool:
    """Tell whether the price has reached the trigger since the first look at it."""
    assert session.quote is not None
    last = session.quote.last
    is_above = last > trigger
    if session.trigger_above is None:
        session.trigger_above = is_above
    return last == trigger or is_above is not session.trigger_above
