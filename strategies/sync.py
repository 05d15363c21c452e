"""Bringing state and exchange together: at a start, after every gap, and at every interval.

Nothing is placed before this has succeeded once (FAILURES 17, 20). Each step only takes evidence
over: what was taken before an error stays right. Engine thread only.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from core.errors import ConfigError, ExchangeError, Rejected, RejectReason
from core.model import Order, Side
from strategies import commands, events, journal
from strategies.grid_state import TRIM_SLOT, DesiredOrder, Leg
from strategies.perp_grid import new_grid
from strategies.risk import trim_quantity
from strategies.settings import build_spec

if TYPE_CHECKING:
    from strategies.engine import Engine

FILL_OVERLAP = timedelta(seconds=1)
"""Fills of one instant may become visible apart: look this far back, known ones are no-ops."""

LOST_FILL_WINDOW = timedelta(hours=1)
"""How far back a fill is looked for that an order lacks: within one page of any venue."""

MISMATCH_RETRY_S = 5.0


def synchronise(engine: Engine) -> bool:
    """Make the state complete before anything is placed; False while it must still wait.

    Errors: ExchangeError, StoreError, ConfigError for a grid that cannot be traded.
    """
    if "database" in engine.frozen:
        engine.load()  # what could not be written is not there: take up from what is
    if engine.instrument is None:
        engine.instrument = engine.client.fetch_instrument(engine.settings.symbol)
    events.take_quote(engine, engine.client.fetch_quote(engine.settings.symbol))
    reconcile(engine)
    if engine.book.grid is None and not _seed(engine):
        return False
    _follow_config(engine)
    engine.thaw("database")
    return True


def reconcile(engine: Engine) -> None:
    """Compare orders, fills, funding, position and balance with the exchange's own.

    Errors: ExchangeError, StoreError.
    """
    symbol, desk = engine.settings.symbol, engine.desk
    open_now = {o.client_order_id: o for o in engine.client.fetch_open_orders(symbol)}
    for order in list(desk.by_id.values()):
        seen = open_now.get(order.client_order_id)
        if seen is not None:
            desk.report(seen)
        else:
            desk.look_up(order)  # absent from open orders is a question (I7)
    backfill(engine)
    for order in open_now.values():
        _end_stray(engine, order)
    for payment in engine.client.fetch_funding(symbol, engine.store.last_funding_time()):
        events.take_funding(engine, payment)
    engine.position = engine.client.fetch_position(symbol)
    engine.balance = engine.client.fetch_balance()
    engine.reconciled()
    _check_position(engine)


def _end_stray(engine: Engine, order: Order) -> None:
    """Cancel an order that is ours by its id but not by the ledger; nothing goes on beside it.

    Errors: ExchangeError when it could not be cancelled.
    """
    desk, client_id = engine.desk, order.client_order_id
    if not desk.ids.owns(client_id) or client_id in desk.by_id:
        return
    if engine.store.load_order(client_id) is not None:
        seen = engine.client.fetch_order(order.symbol, client_id)
        if seen is None or seen.status.is_terminal:
            return  # it ended between the two looks
    engine.alert(f"canceling order {client_id}: ours, but not in the ledger")
    for outcome in engine.client.cancel_orders([order]):
        if isinstance(outcome, Rejected) and outcome.reason is RejectReason.NOT_FOUND:
            continue
        if isinstance(outcome, ExchangeError):
            raise outcome


def refresh_balance(engine: Engine) -> None:
    """Fetch the balance again after fills. Errors: ExchangeError."""
    engine.balance = engine.client.fetch_balance()
    engine.position = engine.client.fetch_position(engine.settings.symbol)
    engine.balance_fetched()


def backfill(engine: Engine) -> None:
    """Fetch the fills since the last one we have; every one is taken once.

    An older one that the stream never told is looked for as soon as an order is short of fills.
    """
    engine.desk.wants_backfill = False
    last = engine.store.last_fill_time()
    _take_fills(engine, None if last is None else last - FILL_OVERLAP)
    if engine.desk.lacks_fills and last is not None:
        _take_fills(engine, last - LOST_FILL_WINDOW)


def backfill_all(engine: Engine) -> None:
    """Fetch every fill since the grid began; for a ledger that does not add up. As `backfill`."""
    _take_fills(engine, engine.book.seeded_at)


def lacks_fills(engine: Engine) -> bool:
    """Tell whether the ledger does not make the position that the exchange has told last."""
    is_short = engine.position is not None and engine.position.quantity != _ours(engine)
    return is_short or engine.desk.lacks_fills


def _take_fills(engine: Engine, since: datetime | None) -> None:
    for fill in engine.client.fetch_fills(engine.settings.symbol, since):
        events.take_fill(engine, fill)


def _check_position(engine: Engine) -> None:
    """I1: the exchange's position equals the lots; a mismatch freezes entries.

    Before it is believed, the fills are read again, the first time from the grid's first day on.
    """
    book = engine.book
    if book.grid is None or engine.position is None:
        return
    if lacks_fills(engine):
        since = engine.store.last_fill_time()
        if since is not None:
            since -= LOST_FILL_WINDOW
        _take_fills(engine, since if "position" in engine.frozen else book.seeded_at)
        engine.position = engine.client.fetch_position(engine.settings.symbol)
    engine.trim = _trim(engine)
    if engine.position.quantity == _ours(engine):
        engine.thaw("position")
        return
    words = f"the exchange holds {engine.position.quantity}, the ledger {_ours(engine)}"
    engine.freeze("position", f"position mismatch, entries frozen: {words}", words)
    engine.reconcile_within(MISMATCH_RETRY_S)


def _trim(engine: Engine) -> DesiredOrder | None:
    """The order that takes off what a hand's trade has put on above the limit (GRID.md 5).

    Reduce-only and near the touch, never at any price: it is laid anew at each look.
    """
    grid, quote, instrument = engine.book.grid, engine.quote, engine.instrument
    assert grid is not None
    assert engine.position is not None
    if quote is None or instrument is None:
        return None
    held = engine.position.quantity - engine.book.base
    excess = trim_quantity(held, grid.position, engine.settings.max_position)
    quantity = instrument.floor_quantity(abs(excess))
    side = Side.SELL if excess > 0 else Side.BUY
    price = quote.ask if side is Side.SELL else quote.bid
    if not instrument.is_tradable(quantity, price):
        return None
    if engine.trim is None:
        engine.alert(
            f"the exchange holds {held}, above max_position {engine.settings.max_position}: "
            f"{side.value} {quantity} reduce-only near {price}"
        )
    return DesiredOrder(
        slot=TRIM_SLOT,
        leg=Leg.CLOSING,
        side=side,
        price=price,
        quantity=quantity,
        post_only=False,
        reduce_only=True,
    )


def _ours(engine: Engine) -> Decimal:
    assert engine.book.grid is not None
    return engine.book.base + engine.book.grid.position


def _seed(engine: Engine) -> bool:
    """Lay out the first grid at the present price; False while the trigger is not reached."""
    quote, instrument = engine.quote, engine.instrument
    assert quote is not None
    assert instrument is not None
    request, price = engine.settings.grid, quote.last
    trigger = request.trigger_price
    if trigger is not None and not events.trigger_reached(engine, trigger):
        return False
    try:
        spec = build_spec(request, price, instrument)
    except ValueError as error:
        raise ConfigError(f"strategy_config: {error}") from error
    assert engine.position is not None
    if not engine.settings.allow_liquidation_in_range:
        candidate = new_grid(
            spec, price, open_initial=request.open_initial, max_position=request.max_position
        )
        faults = commands.liquidation_faults_of(engine, candidate)
        if faults:
            raise ConfigError("strategy_config: " + "; ".join(faults))
    engine.ledger.record(
        quote.time,
        (
            "seed",
            {
                "spec": journal.encode_spec(spec),
                "price": str(price),
                "open_initial": request.open_initial,
                "max_position": (
                    None if request.max_position is None else str(request.max_position)
                ),
                "base": str(engine.position.quantity),
                "source": request.fingerprint(),
            },
        ),
    )
    engine.log(
        "grid_seeded",
        price=price,
        lower=spec.lower,
        upper=spec.upper,
        levels=spec.num,
        quantity=spec.quantity,
    )
    return True


def _follow_config(engine: Engine) -> None:
    """An adjusted range ends when the config file's own range changes (GRID.md 7)."""
    source = engine.settings.grid.fingerprint()
    book = engine.book
    if book.grid is None or book.source == source or book.pending is not None:
        return
    result = commands.adjust_to_config(engine)
    engine.log("config_range_changed", old=book.source, new=source, result=result)
