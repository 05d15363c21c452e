"""The paper exchange: `ExchangeClient` and pulled `Feed` in one object, over a store of its own.

It carries out what `matching` decides on the path that a price source gives, and keeps account,
orders, id counters and feed place in a `PaperStore`, so that it outlives its bot as an exchange
does. One thread only, the engine's. Rules it keeps:

- **Committed, then told.** A change is made on a copy of the market and stored together with the
  feed's place; only then does the copy become the market and the reply or event leave. If storing
  fails, nothing has happened and the call is Retryable. What was stored and not told when a process
  died is found by `fetch_fills`.
- **One step a poll.** `poll` walks to the next stop on the line (its fills and a quote) or to the
  next vertex (a quote), and leaves the rest for the next poll, so that orders placed in answer to
  a fill take part in the rest of the line. How often it is polled changes no fill.
- **Time is simulated.** A vertex is due when `speed` x the monotonic time since the start has
  reached it; 0: at once. Between vertices time stands still; stamps never depend on the wall clock,
  except for the synthetic feed's beginning and its jump after an absence.
- **Cheap when nothing happens.** A walk without a fill stores nothing but its place, about once a
  second; a crash walks that part again, with the same orders, to the same result.
- **It coalesces on request.** With `set_wake_range` quotes strictly inside the range, or at the
  price before, are dropped but for the last one of a poll; fills and funding are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from core.errors import (
    ConfigError,
    ExchangeError,
    Rejected,
    RejectReason,
    Retryable,
)
from core.model import (
    Balance,
    FeedEnd,
    Fill,
    FundingPayment,
    Instrument,
    MarketEvent,
    Order,
    OrderRequest,
    Position,
    Quote,
)
from core.ports import Clock, PaperStore
from exchanges.changes import EPOCH, Changes, moment
from exchanges.margin_account import open_account
from exchanges.matching import Market, Rules
from exchanges.paper_books import PaperBooks
from exchanges.price_feed import Place, PriceSource, Vertex

SAVE_PLACE_EVERY_S = 1.0
VERTICES_PER_POLL = 2_000  # a few milliseconds of work, so that commands are not kept waiting
_NEVER_MS = 1 << 62
_LOWEST, _HIGHEST = Decimal("-Infinity"), Decimal("Infinity")


class PaperExchange:
    """A simulated exchange with one account and one instrument, and its price feed."""

    name = "paper"

    def __init__(
        self,
        *,
        rules: Rules,
        balance: Decimal,
        speed: Decimal,
        source: PriceSource,
        store: PaperStore,
        clock: Clock,
    ) -> None:
        """Take up the stored account, or open one with `balance`.

        Errors: ConfigError when a new account's price source cannot be read (an existing
        account's is first read by `start` or `poll`, so that its orders can be cancelled without);
        StoreError.
        """
        self._rules = rules
        self._speed = float(speed)
        self._source = source
        self._clock = clock
        self._outbox: list[MarketEvent] = []
        self._wake: tuple[Decimal, Decimal] | None = None
        self._target: Vertex | None = None
        self._anchor: tuple[float, int] | None = None  # monotonic, pace: fixed by the first poll
        self._is_open = False
        self._ended = False
        self._heard_at: float | None = None
        self._failing = False
        self._saved_at: float | None = None
        self._unsaved = False
        self._place: Place | None = None
        books, self._saved_feed = PaperBooks.load(rules, store)
        if books is None:
            source.open(None, self._now_ms())
            self._is_open = True
            first = source.beginning
            market = Market(rules, open_account(balance), last=first.price, time_ms=first.time_ms)
            books = PaperBooks(market, store)
            self._unsaved = True
        self._books = books

    # ExchangeClient -------------------------------------------------------------------------

    def fetch_instrument(self, symbol: str) -> Instrument:
        self._check(symbol)
        return self._rules.instrument

    def fetch_quote(self, symbol: str) -> Quote:
        self._check(symbol)
        return self._books.market.quote()

    def fetch_open_orders(self, symbol: str) -> tuple[Order, ...]:
        self._check(symbol)
        return tuple(self._books.market.book.orders.values())

    def fetch_order(self, symbol: str, client_order_id: str) -> Order | None:
        self._check(symbol)
        return self._books.order(client_order_id)

    def fetch_fills(self, symbol: str, since: datetime | None) -> tuple[Fill, ...]:
        self._check(symbol)
        return self._books.fills(since)

    def fetch_funding(self, symbol: str, since: datetime | None) -> tuple[FundingPayment, ...]:
        self._check(symbol)
        return self._books.funding(since)

    def fetch_position(self, symbol: str) -> Position:
        self._check(symbol)
        return self._books.market.position()

    def fetch_balance(self) -> Balance:
        market = self._books.market
        return Balance(
            asset=self._rules.instrument.quote_asset,
            wallet=market.account.wallet,
            equity=market.account.equity(market.last),
            available=market.available(),
        )

    def place_orders(self, requests: Sequence[OrderRequest]) -> tuple[Order | ExchangeError, ...]:
        draft, changes = self._books.market.copy(), Changes()
        outcomes: list[Order | ExchangeError] = []
        try:
            outcomes.extend(self._accept(draft, request, changes) for request in requests)
        except Retryable as error:  # an id could not be looked up: nothing was stored yet
            return (error,) * len(requests)
        return self._conclude(draft, changes, outcomes)

    def cancel_orders(self, orders: Sequence[Order]) -> tuple[Order | ExchangeError, ...]:
        draft, changes = self._books.market.copy(), Changes()
        outcomes: list[Order | ExchangeError] = []
        try:
            outcomes.extend(self._cancel(draft, order, changes) for order in orders)
        except Retryable as error:
            return (error,) * len(orders)
        return self._conclude(draft, changes, outcomes)

    def close(self) -> None:
        self.stop()

    # Feed -----------------------------------------------------------------------------------

    def start(self, post: Callable[[MarketEvent], None]) -> None:  # noqa: ARG002 - a pulled feed
        """Open the price source where the account stands. Errors: ConfigError."""
        self._open()

    def stop(self) -> None:
        """Store the place and let go of the price source; the next `poll` takes it up again."""
        if self._unsaved:
            self._commit(self._books.market, Changes(), self._place)
        if self._is_open:
            self._source.close()
            self._saved_feed = self._source.save(self._place)
            self._is_open = False
            self._target = None
            self._anchor = None

    def poll(self) -> Sequence[MarketEvent]:
        """Take the next step. Errors: Retryable (nothing was walked); ConfigError (bad data)."""
        now = self._clock.monotonic()
        try:
            events = self._step(now)
        except Retryable:
            self._failing = True
            raise
        self._failing = False
        self._heard_at = now
        return events

    def next_due(self) -> float | None:
        if self._outbox:
            return self._clock.monotonic()
        if self._ended:
            return None
        target, anchor = self._target, self._anchor
        if target is None or anchor is None or self._speed == 0:
            return self._clock.monotonic()
        return anchor[0] + (target.pace_ms - anchor[1]) / 1000 / self._speed

    def age_s(self) -> float | None:
        """0 while it works: this exchange is in touch between two prices as well."""
        if self._heard_at is None:
            return None
        return self._clock.monotonic() - self._heard_at if self._failing else 0.0

    def set_wake_range(self, low: Decimal | None, high: Decimal | None) -> None:
        """Drop quotes strictly between `low` and `high`; one None: no bound, both: drop none."""
        if low is None and high is None:
            self._wake = None
        else:
            self._wake = (
                _LOWEST if low is None else low,
                _HIGHEST if high is None else high,
            )

    # The walk -------------------------------------------------------------------------------

    def _step(self, now: float) -> Sequence[MarketEvent]:
        if self._outbox:
            events, self._outbox = self._outbox, []
            return events
        self._open()
        if self._unsaved and (self._saved_at is None or now - self._saved_at >= SAVE_PLACE_EVERY_S):
            self._commit(self._books.market, Changes(), self._place)
        due_ms = self._due_ms(now)
        left = VERTICES_PER_POLL
        moved = False
        while left > 0:
            if self._target is None:
                if self._wake is not None:
                    count = self._skip(due_ms, left)
                    moved = moved or count > 0
                    left -= count
                    if left <= 0:
                        break
                self._target = self._source.next()
            target = self._target
            if target is None:
                return self._end(moved)
            if target.pace_ms > due_ms:
                if self._anchor is None:
                    self._anchor = (now, target.pace_ms)
                    due_ms = target.pace_ms
                else:
                    break
            stop = self._books.market.next_stop(target.price)
            if stop is not None:
                draft, changes = self._books.market.copy(), Changes()
                draft.time_ms = target.time_ms
                draft.fill(stop, changes)
                self._commit(draft, changes, self._place)
                return (*changes.events, draft.quote())
            if target.funding:
                return self._reach_with_funding(target)
            market = self._books.market
            is_coalesced = self._wake is not None and (
                target.price == market.last or self._is_inside(target.price)
            )
            market.last = target.price
            market.time_ms = target.time_ms
            self._place = target.place
            self._target = None
            self._unsaved = True
            if not is_coalesced:
                return (market.quote(),)
            moved = True
            left -= 1
        return (self._books.market.quote(),) if moved else ()

    def _skip(self, due_ms: int, left: int) -> int:
        """Pass what neither an order, the liquidation nor the wake range is near; how much."""
        market = self._books.market
        if not self._is_inside(market.last):
            return 0
        assert self._wake is not None
        low, high = self._wake
        bids, asks, liquidation = market.book.bids, market.book.asks, market.liquidation
        if bids:
            low = max(low, bids[-1])
        if asks:
            high = min(high, asks[0])
        if liquidation is not None:
            if market.account.position > 0:
                low = max(low, liquidation)
            else:
                high = min(high, liquidation)
        if not low < market.last < high:
            return 0
        passed, count = self._source.skip(low, high, due_ms, left)
        if passed is not None:
            market.last = passed.price
            market.time_ms = passed.time_ms
            self._place = passed.place
            self._unsaved = True
        return count

    def _reach_with_funding(self, target: Vertex) -> Sequence[MarketEvent]:
        draft, changes = self._books.market.copy(), Changes()
        draft.last = target.price
        draft.time_ms = target.time_ms
        for stamp, rate in target.funding:
            draft.fund(stamp, rate, changes)
        self._commit(draft, changes, target.place)
        self._target = None
        return (*changes.events, draft.quote())

    def _end(self, moved: bool) -> Sequence[MarketEvent]:
        if self._unsaved:
            self._commit(self._books.market, Changes(), self._place)
        quotes = (self._books.market.quote(),) if moved else ()
        if self._ended:
            return quotes
        self._ended = True
        last = moment(self._books.market.time_ms).isoformat()
        return (*quotes, FeedEnd(reason=f"the {self._source.kind} feed ended at {last}"))

    def _is_inside(self, price: Decimal) -> bool:
        return self._wake is not None and self._wake[0] < price < self._wake[1]

    def _due_ms(self, now: float) -> int:
        if self._speed == 0:
            return _NEVER_MS
        if self._anchor is None:
            return -1  # fixed by the first target: it is due at once
        return self._anchor[1] + int((now - self._anchor[0]) * self._speed * 1000)

    # Helpers --------------------------------------------------------------------------------

    def _is_known(self, draft: Market, client_order_id: str, changes: Changes) -> bool:
        return (
            client_order_id in changes.orders
            or client_order_id in draft.book.orders
            or self._books.order(client_order_id) is not None
        )

    def _accept(
        self, draft: Market, request: OrderRequest, changes: Changes
    ) -> Order | ExchangeError:
        client_order_id = request.client_order_id
        if self._is_known(draft, client_order_id, changes):
            return Rejected(RejectReason.DUPLICATE_ID, f"{client_order_id}: was used before")
        return draft.place(request, changes)

    def _cancel(self, draft: Market, order: Order, changes: Changes) -> Order | ExchangeError:
        client_order_id = order.client_order_id
        ended = draft.cancel(client_order_id, changes)
        if ended is None:
            ended = changes.orders.get(client_order_id) or self._books.order(client_order_id)
        if ended is None:
            return Rejected(RejectReason.NOT_FOUND, f"{client_order_id}: no such order")
        return ended

    def _conclude(
        self, draft: Market, changes: Changes, outcomes: list[Order | ExchangeError]
    ) -> tuple[Order | ExchangeError, ...]:
        """Store the batch; if that fails, none of it happened."""
        if not changes.orders:
            return tuple(outcomes)
        try:
            self._commit(draft, changes, self._place)
        except Retryable as error:
            return tuple(error if isinstance(outcome, Order) else outcome for outcome in outcomes)
        self._outbox.extend(changes.events)
        return tuple(
            changes.orders.get(outcome.client_order_id, outcome)
            if isinstance(outcome, Order)
            else outcome
            for outcome in outcomes
        )

    def _commit(self, draft: Market, changes: Changes, place: Place | None) -> None:
        feed = self._source.save(place) if self._is_open else self._saved_feed
        self._books.commit(draft, changes, feed)
        self._place = place
        self._saved_at = self._clock.monotonic()
        self._unsaved = False

    def _open(self) -> None:
        if self._is_open:
            return
        saved = self._saved_feed
        if saved is not None and saved["kind"] != self._source.kind:
            raise ConfigError(
                f"exchange_config.paper.feed: was {self._source.kind!r}, expected "
                f"{saved['kind']!r}, with which this instance's paper account was opened; "
                "use another instance_id or db_path for a new account"
            )
        self._place = self._source.open(saved, self._now_ms())
        self._is_open = True

    def _check(self, symbol: str) -> None:
        traded = self._rules.instrument.symbol
        if symbol != traded:
            raise ConfigError(f"symbol: was {symbol!r}, expected {traded!r}, the one traded here")

    def _now_ms(self) -> int:
        return (self._clock.now() - EPOCH) // timedelta(milliseconds=1)
