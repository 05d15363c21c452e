"""What the real exchanges have in common: batches, ids seen, and when an absence is a proof.

`BackpackClient` and `AsterClient` are `ExchangeClient`s over these parts. Used by the engine
thread; `name_of` may be called from the feed's. Rules it keeps:

- Each request has an outcome of its own. After an answer that says to stop (no access, too many
  requests, silence) the rest of a list is not sent.
- **An order counts as never arrived** only when the exchange shows it neither resting nor in its
  history nor by a fill, asked after the request's own validity had ended on the exchange's clock.
  A request of an earlier process was signed before this one asked for the time.
- Fills and payments are complete: page by page to the end, each once, oldest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import TypeGuard

from core.errors import (
    AuthError,
    ExchangeError,
    NotYet,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
    UnknownSymbol,
)
from core.market_state import NOT_LISTED, MarketReport
from core.model import Order, OrderRequest, OrderStatus, TimeInForce
from exchanges.transport import RestSession
from exchanges.wire import WINDOW_MS, WireError, batches, from_ms, to_ms

SETTLE_MS = 2000
"""How much later than the last possible arrival an order must be visible: histories lag."""

SWEEP_MS = 900
"""How long one look at all recent orders serves look-ups: twenty in a row cost three requests."""

SENT_SLACK_MS = 60_000
"""How much earlier than the end of its validity a request was sent, at most."""

HISTORY_SLACK_MS = 60_000
"""How far two clocks may be apart, and how late a history may be."""

MAX_NAMES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a config wants of the account. `leverage` None: as the account has it.

    `may_change`: what concerns our symbol alone may be set; `allow_account_changes`: also what
    concerns the whole account. A check changes nothing.
    """

    leverage: Decimal | None = None
    may_change: bool = True
    allow_account_changes: bool = False


@dataclass(slots=True)
class Sweep:
    """All orders that rest or are recent, asked for at `asked_ms` on the exchange's clock.

    `complete_from`: every order made since then is in it. `filled`: client ids that have fills in
    the last hour; None: not asked yet.
    """

    asked_ms: int
    complete_from: datetime
    orders: dict[str, Order]
    filled: frozenset[str] | None = None


class RestClient:
    """The common half of a client for one symbol of one account."""

    name = ""
    batch_size = 1
    end_reasons: Mapping[str, RejectReason] = MappingProxyType({})
    """Why an order ended at once, in the exchange's words, where that is told."""

    def __init__(
        self, session: RestSession, *, symbol: str, terms: Terms, history_from: datetime | None
    ) -> None:
        """`history_from`: nothing on the exchange is older than this and ours (None: unknown)."""
        self.session = session
        self.symbol = symbol
        self.terms = terms
        self._history_from = history_from
        self._names: dict[str, str] = {}  # client id by the exchange's own
        self._venue_ids: dict[str, str] = {}  # and back
        self._valid_until: dict[str, int] = {}  # ms on the exchange's clock, of requests sent
        self._first_ask: int | None = None
        self._sweep: Sweep | None = None

    def close(self) -> None:
        self.session.close()

    def fetch_market_state(self, symbol: str) -> MarketReport:
        """Say whether the book takes orders; a symbol that is not listed any more is closed.

        Errors: ExchangeError.
        """
        try:
            return self._market_report(symbol)
        except UnknownSymbol:
            return NOT_LISTED

    def _market_report(self, symbol: str) -> MarketReport:
        """Errors: ExchangeError, UnknownSymbol."""
        raise NotImplementedError

    def account_words(self) -> tuple[str, ...]:
        """Say how the account stands, for a reader. Errors: ExchangeError."""
        raise NotImplementedError

    def fetch_used_margin(self) -> Mapping[str, Decimal]:
        """Tell what each symbol's position and orders hold back of the account's initial margin.

        Quote currency; a symbol without either may be missing. Errors: ExchangeError.
        """
        raise NotImplementedError

    def fetch_history(
        self, symbol: str, since: datetime
    ) -> tuple[dict[str, Order], datetime, datetime]:
        """List orders of any state made since then, by client id, from a bounded number of pages.

        Gives also between which times it is whole; newer ones may not be there yet. Errors:
        ExchangeError.
        """
        now_ms = self.session.now_ms()
        rows, whole_from = self._past_orders(symbol, to_ms(since), now_ms)
        orders: dict[str, Order] = {}
        for order in sorted(rows, key=lambda row: row.created_at):
            orders[order.client_order_id] = order  # the newest of its id
        slack = timedelta(milliseconds=HISTORY_SLACK_MS)
        return orders, max(since, whole_from) + slack, from_ms(now_ms) - slack

    def _past_orders(
        self, symbol: str, since_ms: int, now_ms: int
    ) -> tuple[Sequence[Order], datetime]:
        """Fetch a bounded number of pages; gives since when they are complete."""
        raise NotImplementedError

    def name_of(self, venue_order_id: str) -> str | None:
        """Tell the client id of an order that was seen before."""
        return self._names.get(venue_order_id)

    def see(self, order: Order) -> Order:
        """Remember an order's two names."""
        venue_id = order.venue_order_id
        if venue_id is not None and self._names.get(venue_id) != order.client_order_id:
            if len(self._names) >= MAX_NAMES:
                old = next(iter(self._names))
                self._venue_ids.pop(self._names.pop(old), None)
            self._names[venue_id] = order.client_order_id
            self._venue_ids[order.client_order_id] = venue_id
        return order

    def floor_ms(self, since: datetime | None) -> int:
        """Give the time from which to ask; what is older than our ledger is not ours."""
        moments = [m for m in (since, self._history_from) if m is not None]
        return to_ms(max(moments)) if moments else 0

    # Placing ------------------------------------------------------------------------------------

    def place_orders(self, requests: Sequence[OrderRequest]) -> tuple[Order | ExchangeError, ...]:
        self._sweep = None
        outcomes: dict[str, Order | ExchangeError] = {}
        sendable: list[OrderRequest] = []
        for request in requests:
            try:
                self._check_request(request)
            except Rejected as error:
                outcomes[request.client_order_id] = error
            else:
                sendable.append(request)
        stopped: ExchangeError | None = None
        for batch in batches(sendable, self.batch_size):
            if stopped is None:
                results = self._place_batch(batch)
                stopped = next((o for o in results if is_stop(o)), None)
            else:
                results = [self.session.not_sent(stopped)] * len(batch)
            for request, result in zip(batch, results, strict=True):
                outcomes[request.client_order_id] = self._placed(request, result)
        return tuple(outcomes[request.client_order_id] for request in requests)

    def _check_request(self, request: OrderRequest) -> None:
        """Refuse what cannot be written down. Errors: Rejected."""
        raise NotImplementedError

    def _send_batch(self, batch: Sequence[OrderRequest]) -> Sequence[Order | ExchangeError]:
        """Send one batch. Errors: ExchangeError for all of it; WireError: an unreadable answer."""
        raise NotImplementedError

    def _place_batch(self, batch: Sequence[OrderRequest]) -> Sequence[Order | ExchangeError]:
        try:
            now = self.session.now_ms()
        except ExchangeError as error:
            return [error] * len(batch)
        for request in batch:
            self._valid_until[request.client_order_id] = now + 2 * WINDOW_MS
            self._venue_ids.pop(request.client_order_id, None)  # of an order that had it before
        try:
            return self._send_batch(batch)
        except WireError as error:
            return [OutcomeUnknown(str(error))] * len(batch)
        except ExchangeError as error:
            return [error] * len(batch)
        finally:
            # It was signed before now, whatever it waited for.
            until = self.session.server.now_ms() + WINDOW_MS
            for request in batch:
                self._valid_until[request.client_order_id] = until

    def _placed(
        self, request: OrderRequest, result: Order | ExchangeError
    ) -> Order | ExchangeError:
        """Take one result for its request: an order that ended at once may be a refusal."""
        client_id = request.client_order_id
        if isinstance(result, OutcomeUnknown):
            return result
        if isinstance(result, ExchangeError):
            if not (isinstance(result, Rejected) and result.reason is RejectReason.DUPLICATE_ID):
                self._valid_until.pop(client_id, None)
            return result
        if result.client_order_id not in (client_id, f"venue:{result.venue_order_id}"):
            return OutcomeUnknown(
                f"the answer for order {client_id} is about {result.client_order_id}"
            )
        order = self.see(replace(result, client_order_id=client_id))
        self._valid_until.pop(client_id, None)
        if order.status.is_terminal and order.filled_qty == 0:
            if order.status is OrderStatus.REJECTED:
                return Rejected(RejectReason.OTHER, order.reason or "the order was rejected")
            words = order.reason or order.status.value
            reason = self.end_reasons.get(order.reason)
            if reason is not None:
                return Rejected(reason, f"it ended at once: {words}")
            if request.post_only:
                return Rejected(RejectReason.POST_ONLY, f"it would have taken: {words}")
            if request.time_in_force is not TimeInForce.IOC:
                return Rejected(RejectReason.OTHER, f"it ended at once: {words}")
        return order

    # Looking up ---------------------------------------------------------------------------------

    def fetch_order(self, symbol: str, client_order_id: str) -> Order | None:
        """Look an order up among all recent ones, then by itself, as deep as the history goes.

        Errors: NotYet while it may still arrive, or its fills are there and it is not.
        """
        if not self._can_exist(client_order_id):
            return None
        sweep = self._swept(symbol)
        found, asked = sweep.orders.get(client_order_id), sweep.asked_ms
        sent_ms = self._valid_until.get(client_order_id)
        if found is None and (
            sent_ms is None or from_ms(sent_ms - SENT_SLACK_MS) < sweep.complete_from
        ):
            asked = self.session.now_ms()
            found = self._search(symbol, client_order_id)
        if found is not None:
            return self.see(found)
        if sweep.filled is None:
            sweep.filled = self._filled_since(symbol, sweep.asked_ms - 3_600_000)
        if client_order_id in sweep.filled:
            raise NotYet(f"order {client_order_id} has fills, but is in no history yet")
        self._absent(client_order_id, asked)
        return None

    def _swept(self, symbol: str) -> Sweep:
        """Give a look at all recent orders that is at most a moment old."""
        now = self.session.now_ms()
        if self._first_ask is None:
            self._first_ask = now
        if self._sweep is None or now - self._sweep.asked_ms > SWEEP_MS:
            resting = self.fetch_open_orders(symbol)  # first: what ends meanwhile is in the past
            past, complete_from = self._recent(symbol, now)
            orders = {order.client_order_id: self.see(order) for order in (*resting, *past)}
            self._sweep = Sweep(asked_ms=now, complete_from=complete_from, orders=orders)
        return self._sweep

    def _can_exist(self, client_order_id: str) -> bool:
        """Tell whether the exchange could know such an id."""
        raise NotImplementedError

    def _recent(self, symbol: str, now_ms: int) -> tuple[Sequence[Order], datetime]:
        """Fetch one page of recent orders of any state, and since when they are complete."""
        raise NotImplementedError

    def _search(self, symbol: str, client_order_id: str) -> Order | None:
        """Look for one order however old."""
        raise NotImplementedError

    def _filled_since(self, symbol: str, since_ms: int) -> frozenset[str]:
        """Name the orders that have fills since then."""
        raise NotImplementedError

    def fetch_open_orders(self, symbol: str) -> tuple[Order, ...]:
        raise NotImplementedError

    def _absent(self, client_order_id: str, asked_ms: int) -> None:
        """Take it that the exchange showed no such order when asked at `asked_ms`.

        Errors: NotYet when that proves nothing yet.
        """
        assert self._first_ask is not None
        valid = self._valid_until.get(client_order_id, self._first_ask + WINDOW_MS)
        left = valid + SETTLE_MS - asked_ms
        if left >= 0:
            raise NotYet(
                f"order {client_order_id} is not there, but may still arrive", left / 1000 + 0.05
            )
        self._valid_until.pop(client_order_id, None)

    # Cancelling ---------------------------------------------------------------------------------

    def cancelled(self, order: Order, result: Order | ExchangeError) -> Order | ExchangeError:
        """Take a cancel's answer: an order that still rests after it is to be looked up."""
        if isinstance(result, WireError):
            return OutcomeUnknown(str(result))
        if isinstance(result, ExchangeError):
            return result
        if not result.status.is_terminal:
            return OutcomeUnknown(f"the cancel of {order.client_order_id} is not carried out yet")
        return self.see(replace(result, client_order_id=order.client_order_id))


def is_stop(outcome: Order | ExchangeError) -> TypeGuard[ExchangeError]:
    """Tell whether nothing more should be sent after this."""
    return isinstance(outcome, (AuthError, Retryable, OutcomeUnknown))


def unknown_symbol(exchange: str, symbol: str, hint: str = "") -> UnknownSymbol:
    """Say that a symbol is not traded there."""
    return UnknownSymbol(
        f"strategy_config.symbol: was {symbol!r}, expected a perpetual that {exchange} trades{hint}"
    )
