"""The end of a run: the write gate is shut, orders are cancelled, and it is proved (I9).

Runs on the engine thread after the loop; nothing is placed any more but the close of a position
that the user asked for.
"""

from __future__ import annotations

from decimal import Decimal

from core.errors import AuthError, ExchangeError, Retryable, StoreError
from core.model import Order, RunState, Side, StopBot, TimeInForce
from strategies import sync
from strategies.desired import taking_price
from strategies.grid_state import DesiredOrder, Leg
from strategies.ledger import CLOSE_SLOT
from strategies.session import Session

CANCEL_ROUNDS = 5
CANCEL_PAUSE_S = 0.2
LONGEST_PAUSE_S = 4.0
"""At most 16 s between five rounds: within the 30 s that a supervisor waits before it kills."""

CLOSE_ROUNDS = 6
"""At most 3 s of pauses: a look, a close, its fill, and room for a fault or two."""


def shut_down(session: Session, request: StopBot) -> int:
    """End the run as asked; gives how many of our orders could not be proved cancelled."""
    session.state = RunState.STOPPING
    session.log(
        "stopping",
        reason=request.reason,
        keep_orders=request.keep_orders,
        close_positions=request.close_positions,
    )
    session.publish_now()
    left = 0
    if not request.keep_orders or request.close_positions:
        left = _cancel_all(session)
        if request.close_positions:
            _close_position(session)
    try:
        session.ledger.checkpoint()
    except StoreError as error:
        session.alert(f"the last checkpoint could not be written: {error}")
    session.orders_left = left
    session.state = RunState.STOPPED
    session.publish_now()
    session.inbox.refuse_all()
    return left


def _cancel_all(session: Session) -> int:
    """Cancel until the exchange shows no order of ours; at most a few rounds."""
    mine: list[Order] = []
    proved, pause_s = False, CANCEL_PAUSE_S
    for attempt in range(CANCEL_ROUNDS):
        if attempt:
            session.wait(pause_s)
        pause_s = CANCEL_PAUSE_S * (attempt + 1)
        try:
            mine = [
                order
                for order in session.client.fetch_open_orders(session.settings.symbol)
                if session.desk.ids.owns(order.client_order_id)
            ]
            if not mine:
                proved = True
                break
            for outcome in session.client.cancel_orders(mine):
                if isinstance(outcome, ExchangeError):
                    session.log("cancel_failed", error=str(outcome))
                    pause_s = max(pause_s, _retry_after(outcome))
        except AuthError:
            raise
        except ExchangeError as error:
            session.log("cancel_all_failed", error=str(error))
            pause_s = max(pause_s, _retry_after(error))
    try:
        sync.backfill(session)
        for order in list(session.desk.by_id.values()):
            session.desk.look_up(order)
    except (ExchangeError, StoreError) as error:
        session.alert(f"the ledger could not be brought up to date at the end: {error}")
    if proved:
        return 0
    session.alert(f"{len(mine)} orders of ours could not be proved cancelled", "critical")
    return max(1, len(mine))


def _retry_after(error: ExchangeError) -> float:
    """How long the exchange wants to be left alone, within our patience."""
    wanted = error.retry_after_s if isinstance(error, Retryable) else 0.0
    return min(LONGEST_PAUSE_S, wanted)


def _close_position(session: Session) -> None:
    """Close what we hold with reduce-only orders until the exchange says it is gone.

    The lots that are left are booked as closed only when every fill is in the ledger: a position
    that is gone because orders filled unheard is theirs to book, not the mark's.
    """
    session.position_left = True
    fault = ""
    for attempt in range(CLOSE_ROUNDS):
        if attempt:
            session.wait(CANCEL_PAUSE_S * attempt)
        try:
            if _is_closed(session, is_last=attempt == CLOSE_ROUNDS - 1):
                session.log("position_closed")
                session.position_left = False
                return
            fault = "" if session.position is None else f"{session.position.quantity} is left"
        except (ExchangeError, StoreError) as error:
            fault = str(error)
            session.log("close_failed", error=fault)
    session.alert(f"the position could not be closed: {fault}", "critical")


def _is_closed(session: Session, *, is_last: bool) -> bool:
    """Take one look and one step; True once the exchange says 0 and the ledger has it booked."""
    quote, desk = session.quote, session.desk
    if session.book.grid is None:
        return True  # no grid was ever laid out: nothing that is held is ours
    if quote is None or session.instrument is None:
        raise Retryable("nothing is known of the market yet")
    for order in list(desk.by_id.values()):
        desk.look_up(order)  # a close of unknown outcome is not sent beside another
    sync.backfill(session)
    session.position = session.client.fetch_position(session.settings.symbol)
    held = session.position.quantity - session.book.base
    if held != 0:
        if not desk.by_id:
            desk.place([_closing_order(session, held)])
            sync.backfill(session)
        return False
    if sync.lacks_fills(session) and not is_last:
        sync.backfill_all(session)
        return False
    if any(True for _ in session.book.grid.lots()):
        # What nets to zero is worth the same at any price; a hand's close is not known better.
        session.record(("settle", {"price": str(quote.mark)}))
    return True


def _closing_order(session: Session, held: Decimal) -> DesiredOrder:
    quote, instrument = session.client.fetch_quote(session.settings.symbol), session.instrument
    assert instrument is not None
    side = Side.SELL if held > 0 else Side.BUY
    return DesiredOrder(
        slot=CLOSE_SLOT,
        leg=Leg.EXIT,
        side=side,
        price=taking_price(side, quote.last, instrument, session.settings.slippage_cap),
        quantity=abs(held),
        post_only=False,
        reduce_only=True,
        time_in_force=TimeInForce.IOC,
    )
