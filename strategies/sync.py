"""Bringing state and exchange together: at a start, after every gap, and at every interval.

Nothing is placed before this has succeeded once (FAILURES 17, 20). Each step only takes evidence
over: what was taken before an error stays right. Engine thread only.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from core.errors import (
    AuthError,
    ConfigError,
    ExchangeError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
)
from core.model import Order, Side
from strategies import adopting, commands, events, journal, known_instrument
from strategies.grid_state import TRIM_SLOT, DesiredOrder, Leg
from strategies.perp_grid import new_grid
from strategies.risk import trim_quantity
from strategies.session import Session
from strategies.settings import build_spec

FILL_OVERLAP = timedelta(seconds=1)
"""Fills of one instant may become visible apart: look this far back, known ones are no-ops."""

LOST_FILL_WINDOW = timedelta(hours=1)
"""How far back a fill is looked for that an order lacks: within one page of any venue."""

MISMATCH_RETRY_S = 5.0

STRAY_LOOKS = 2
"""In how many looks of a run strays are cancelled: what a former run has left is gone by then."""


def synchronise(session: Session) -> bool:
    """Make the state complete before anything is placed; False while it must still wait.

    Errors: ExchangeError, StoreError, ConfigError for a grid that cannot be traded.
    """
    if "database" in session.frozen:
        session.load()  # what could not be written is not there: take up from what is
    if session.instrument is None:
        session.instrument = known_instrument.fetch_instrument(session)
    _take_price(session)
    reconcile(session)
    if session.book.grid is None and not _seed(session):
        return False
    if session.quote is not None:
        _follow_config(session)
    session.thaw("database")
    return True


def _take_price(session: Session) -> None:
    """Ask for the price. Errors: ExchangeError; not for a grid on a book that has none any more.

    What is held there is settled by the exchange: its fills and its position are taken over, and
    nothing is planned without a price.
    """
    try:
        quote = session.client.fetch_quote(session.settings.symbol)
    except (AuthError, Retryable, OutcomeUnknown):
        raise
    except ExchangeError as error:
        if session.market.state.takes_exits or session.book.grid is None:
            raise
        session.log("no_price", error=str(error))
        return
    events.take_quote(session, quote)


def reconcile(session: Session) -> None:
    """Compare orders, fills, funding, position and balance with the exchange's own.

    Errors: ExchangeError, StoreError.
    """
    symbol, desk = session.settings.symbol, session.desk
    before = dict(desk.by_id)
    open_now = {o.client_order_id: o for o in session.client.fetch_open_orders(symbol)}
    for order in list(desk.by_id.values()):
        seen = open_now.get(order.client_order_id)
        if seen is not None:
            desk.report(seen)
        else:
            desk.look_up(order)  # absent from open orders is a question (I7)
    session.dirty |= desk.by_id != before  # what ended unheard is to be laid again
    session.foreign = {client_id for client_id in open_now if not desk.ids.owns(client_id)}
    backfill(session)
    adopting.adopt_lost(session, open_now, lambda: backfill(session))
    _end_strays(session, [order for order in open_now.values() if _is_stray(session, order)])
    for payment in session.client.fetch_funding(symbol, session.store.last_funding_time()):
        events.take_funding(session, payment)
    session.position = session.client.fetch_position(symbol)
    session.balance = session.client.fetch_balance()
    session.reconciled()
    _check_position(session)


def _is_stray(session: Session, order: Order) -> bool:
    """Tell whether an order is ours by its id but not by the ledger. Errors: ExchangeError."""
    desk, client_id = session.desk, order.client_order_id
    if not desk.ids.owns(client_id) or client_id in desk.by_id:
        return False
    if session.store.load_order(client_id) is None:
        return True
    seen = session.client.fetch_order(order.symbol, client_id)
    return seen is not None and not seen.status.is_terminal  # else it ended between the two looks


def _end_strays(session: Session, strays: list[Order]) -> None:
    """Cancel what is ours by its id but not by the ledger; nothing goes on beside it.

    When such orders keep appearing, a second bot of this id trades on the account, perhaps from
    another machine (FAILURES 36): two that cancel each other's orders would never end, so this
    one freezes and says so. Errors: ExchangeError when one could not be cancelled.
    """
    if not strays:
        session.thaw("twin")
        return
    session.stray_looks += 1
    names = ", ".join(order.client_order_id for order in strays[:3])
    if session.stray_looks > STRAY_LOOKS:
        words = f"orders that look like ours keep appearing ({names})"
        session.freeze(
            "twin",
            f"{words}: does a second bot run as {session.settings.instance_id}, perhaps on another "
            "machine? entries are frozen; stop one of the two",
            words,
        )
        return
    session.alert(f"canceling {names}: ours by the id, but not in the ledger")
    for outcome in session.client.cancel_orders(strays):
        if isinstance(outcome, Rejected) and outcome.reason is RejectReason.NOT_FOUND:
            continue
        if isinstance(outcome, ExchangeError):
            raise outcome


def refresh_balance(session: Session) -> None:
    """Fetch the balance again after fills. Errors: ExchangeError."""
    session.balance = session.client.fetch_balance()
    session.position = session.client.fetch_position(session.settings.symbol)
    session.balance_fetched()


def backfill(session: Session) -> None:
    """Fetch the fills since the last one we have; every one is taken once.

    An older one that the stream never told is looked for as soon as an order is short of fills.
    """
    session.desk.wants_backfill = False
    last = session.store.last_fill_time()
    _take_fills(session, None if last is None else last - FILL_OVERLAP)
    if session.desk.lacks_fills and last is not None:
        _take_fills(session, last - LOST_FILL_WINDOW)


def backfill_all(session: Session) -> None:
    """Fetch every fill since the grid began; for a ledger that does not add up. As `backfill`."""
    _take_fills(session, session.book.seeded_at)


def lacks_fills(session: Session) -> bool:
    """Tell whether the ledger does not make the position that the exchange has told last."""
    is_short = session.position is not None and session.position.quantity != session.ours
    return is_short or session.desk.lacks_fills


def _take_fills(session: Session, since: datetime | None) -> None:
    for fill in session.client.fetch_fills(session.settings.symbol, since):
        events.take_fill(session, fill)


def _check_position(session: Session) -> None:
    """I1: the exchange's position equals the lots; a mismatch freezes entries.

    Before it is believed, the fills are read again, the first time from the grid's first day on.
    """
    book = session.book
    if book.grid is None or session.position is None:
        return
    if lacks_fills(session):
        since = session.store.last_fill_time()
        if since is not None:
            since -= LOST_FILL_WINDOW
        _take_fills(session, since if "position" in session.frozen else book.seeded_at)
        session.position = session.client.fetch_position(session.settings.symbol)
    session.trim = _trim(session)
    if session.position.quantity == session.ours:
        session.thaw("position")
        return
    words = f"the exchange holds {session.position.quantity}, the ledger {session.ours}"
    session.freeze("position", f"position mismatch, entries frozen: {words}", words)
    session.reconcile_within(MISMATCH_RETRY_S)


def _trim(session: Session) -> DesiredOrder | None:
    """The order that takes off what a hand's trade has put on above the limit (GRID.md 5).

    Reduce-only and near the touch, never at any price: it is laid anew at each look.
    """
    grid, quote, instrument = session.book.grid, session.quote, session.instrument
    assert grid is not None
    assert session.position is not None
    if quote is None or instrument is None:
        return None
    held = session.position.quantity - session.book.base
    excess = trim_quantity(held, grid.position, session.settings.max_position)
    quantity = instrument.floor_quantity(abs(excess))
    side = Side.SELL if excess > 0 else Side.BUY
    price = quote.ask if side is Side.SELL else quote.bid
    if not instrument.is_tradable(quantity, price):
        return None
    if session.trim is None:
        session.alert(
            f"the exchange holds {held}, above max_position {session.settings.max_position}: "
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


def _seed(session: Session) -> bool:
    """Lay out the first grid at the present price; False while the trigger is not reached."""
    quote, instrument = session.quote, session.instrument
    assert quote is not None
    assert instrument is not None
    request, price = session.settings.grid, quote.last
    trigger = request.trigger_price
    if trigger is not None and not events.trigger_reached(session, trigger):
        return False
    try:
        spec = build_spec(request, price, instrument)
    except ValueError as error:
        raise ConfigError(f"strategy_config: {error}") from error
    assert session.position is not None
    if not session.settings.allow_liquidation_in_range:
        candidate = new_grid(
            spec, price, open_initial=request.open_initial, max_position=request.max_position
        )
        faults = commands.liquidation_faults_of(session, candidate)
        if faults:
            raise ConfigError("strategy_config: " + "; ".join(faults))
    session.ledger.record(
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
                "base": str(session.position.quantity),
                "source": request.fingerprint(),
            },
        ),
    )
    session.log(
        "grid_seeded",
        price=price,
        lower=spec.lower,
        upper=spec.upper,
        levels=spec.num,
        quantity=spec.quantity,
    )
    return True


def _follow_config(session: Session) -> None:
    """An adjusted range ends when the config file's own range changes (GRID.md 7)."""
    source = session.settings.grid.fingerprint()
    book = session.book
    if book.grid is None or book.source == source or book.pending is not None:
        return
    result = commands.adjust_to_config(session)
    session.log("config_range_changed", old=book.source, new=source, result=result)
