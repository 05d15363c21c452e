"""Small fakes that keep the contracts of core/ports.py: a clock to turn and a scripted exchange.

`FakeExchange` is ExchangeClient and pulled Feed in one. Its rules: one price for everything; a
resting order fills at its own price when the price comes to it; post-only, reduce-only, tick and
lot are judged as a venue judges them; the account is netted one-way by exact arithmetic, so that
its equity is an oracle. What it can do wrong is scripted by the test: errors before or after
acceptance, lost cancel races, partial fills, fills told late, twice, out of order or never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from core.errors import ExchangeError, Rejected, RejectReason
from core.model import (
    ZERO,
    Balance,
    Fill,
    FundingPayment,
    Instrument,
    MarketEvent,
    Order,
    OrderRequest,
    OrderStatus,
    Position,
    Quote,
    Side,
    TimeInForce,
)
from exchanges.margin_account import apply_funding, apply_trade, open_account

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class CrashError(BaseException):
    """The process dies here: nothing of ours catches it."""


class FakeClock:
    """A clock that stands until it is turned; both of its faces move together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return 1000.0 + self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request. `arrives`: the exchange carries it out all the same."""

    error: ExchangeError | CrashError
    arrives: bool = False


class FakeExchange:
    """One account on one instrument, scripted by the test; see the module docstring."""

    name = "fake"

    def __init__(self, instrument: Instrument, price: Decimal, clock: FakeClock) -> None:
        self.instrument = instrument
        self.last = price
        self.clock = clock
        self.account = open_account(Decimal(1_000_000))
        self.start_equity = self.account.equity(price)
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.payments: list[FundingPayment] = []
        self.outbox: deque[MarketEvent] = deque()
        self.held: list[Fill] = []
        self.requests: list[str] = []
        self.place_faults: deque[Fault | None] = deque()
        self.cancel_faults: deque[Fault | None] = deque()
        self.fetch_faults: deque[ExchangeError | None] = deque()
        self.before_cancel: Callable[[], None] | None = None
        self.on_place: Callable[[OrderRequest], None] | None = None
        self.on_call: Callable[[str], None] | None = None
        self.deliver: Callable[[Fill], str] = _at_once
        self.margin_is_short = False
        self.ioc_liquidity: Decimal | None = None
        self.is_pushing = False
        self.wake_range: tuple[Decimal | None, Decimal | None] = (None, None)
        self._post: Callable[[MarketEvent], None] | None = None

    # What the test does -------------------------------------------------------------------------

    @property
    def open(self) -> list[Order]:
        """Every order that rests, oldest first."""
        return [order for order in self.orders.values() if not order.status.is_terminal]

    @property
    def position(self) -> Decimal:
        return self.account.position

    @property
    def equity_change(self) -> Decimal:
        return self.account.equity(self.last) - self.start_equity

    def walk(self, price: Decimal | int | str) -> Iterator[None]:
        """Move the price, stopping after the fills at each level in the way and at the end."""
        target = Decimal(price)
        while (stop := self._next_stop(target)) is not None:
            self.last = stop[0].price
            for order in stop:
                current = self.orders[order.client_order_id]
                if not current.status.is_terminal:
                    self.fill(current.client_order_id)
            self.tell(self.quote())
            yield
        self.last = target
        self.tell(self.quote())
        yield

    def jump(self, price: Decimal | int | str) -> None:
        """Move the price through every level in the way before anybody can react."""
        for _ in self.walk(price):
            pass

    def fill(self, client_order_id: str, quantity: Decimal | None = None) -> Fill:
        """Fill a resting order at its price, whole or in part, as maker."""
        order = self.orders[client_order_id]
        return self._execute(order, order.price, quantity or order.leaves_qty, is_maker=True)

    def pay_funding(self, rate: str) -> FundingPayment:
        """Pay funding on what is held now, and tell it."""
        amount = -self.position * self.last * Decimal(rate)
        self.account = apply_funding(self.account, amount)
        payment = FundingPayment(
            symbol=self.instrument.symbol,
            time=self.clock.now(),
            rate=Decimal(rate),
            mark_price=self.last,
            position=self.position,
            amount=amount,
        )
        self.payments.append(payment)
        self.tell(payment)
        return payment

    def release(self) -> None:
        """Tell every fill that was held back, the newest first."""
        while self.held:
            self.tell(self.held.pop())

    def tell(self, event: MarketEvent) -> None:
        if self.is_pushing and self._post is not None:
            self._post(event)
        else:
            self.outbox.append(event)

    def add_foreign(self, side: Side, price: Decimal | int, client_order_id: str = "hand-1") -> str:
        """Let an order rest that this bot has not sent."""
        request = OrderRequest(
            client_order_id=client_order_id,
            symbol=self.instrument.symbol,
            side=side,
            price=Decimal(price),
            quantity=Decimal(1),
            post_only=False,
            reduce_only=False,
        )
        self._accept(request)
        return client_order_id

    def end(self, client_order_id: str, status: OrderStatus = OrderStatus.EXPIRED) -> Order:
        """End an order without anybody's asking, untold."""
        ended = replace(self.orders[client_order_id], status=status, updated_at=self.clock.now())
        self.orders[client_order_id] = ended
        return ended

    def quote(self) -> Quote:
        return Quote(
            symbol=self.instrument.symbol,
            bid=self.last,
            ask=self.last,
            last=self.last,
            mark=self.last,
            time=self.clock.now(),
        )

    # ExchangeClient -----------------------------------------------------------------------------

    def fetch_instrument(self, symbol: str) -> Instrument:
        self._fetch("instrument")
        return self.instrument

    def fetch_quote(self, symbol: str) -> Quote:
        self._fetch("quote")
        return self.quote()

    def fetch_open_orders(self, symbol: str) -> tuple[Order, ...]:
        self._fetch("open_orders")
        return tuple(self.open)

    def fetch_order(self, symbol: str, client_order_id: str) -> Order | None:
        self._fetch("order")
        return self.orders.get(client_order_id)

    def fetch_fills(self, symbol: str, since: datetime | None) -> tuple[Fill, ...]:
        self._fetch("fills")
        return tuple(fill for fill in self.fills if since is None or fill.time >= since)

    def fetch_funding(self, symbol: str, since: datetime | None) -> tuple[FundingPayment, ...]:
        self._fetch("funding")
        return tuple(p for p in self.payments if since is None or p.time >= since)

    def fetch_position(self, symbol: str) -> Position:
        self._fetch("position")
        return Position(symbol=symbol, quantity=self.position, entry_price=self.account.entry_price)

    def fetch_balance(self) -> Balance:
        self._fetch("balance")
        equity = self.account.equity(self.last)
        return Balance(
            asset=self.instrument.quote_asset,
            wallet=self.account.wallet,
            equity=equity,
            available=equity,
        )

    def place_orders(self, requests: Sequence[OrderRequest]) -> tuple[Order | ExchangeError, ...]:
        self._called("place")
        outcomes = tuple(map(self._place, requests))
        self._called("placed")
        return outcomes

    def cancel_orders(self, orders: Sequence[Order]) -> tuple[Order | ExchangeError, ...]:
        self._called("cancel")
        if self.before_cancel is not None:
            race, self.before_cancel = self.before_cancel, None
            race()
        outcomes = tuple(map(self._cancel, orders))
        self._called("canceled")
        return outcomes

    def close(self) -> None:
        pass

    # Feed ---------------------------------------------------------------------------------------

    def start(self, post: Callable[[MarketEvent], None]) -> None:
        self._post = post

    def stop(self) -> None:
        self._post = None

    def poll(self) -> Sequence[MarketEvent]:
        return (self.outbox.popleft(),) if self.outbox else ()

    def next_due(self) -> float | None:
        return self.clock.monotonic() if self.outbox else None

    def set_wake_range(self, low: Decimal | None, high: Decimal | None) -> None:
        self.wake_range = (low, high)

    def age_s(self) -> float | None:
        return 0.0

    # How it works -------------------------------------------------------------------------------

    def _called(self, what: str) -> None:
        if self.on_call is not None:
            self.on_call(what)

    def _fetch(self, what: str) -> None:
        self._called(what)
        fault = self.fetch_faults.popleft() if self.fetch_faults else None
        if fault is not None:
            raise fault

    def _next_stop(self, target: Decimal) -> list[Order] | None:
        """The orders at the nearest price in the way; None: the way is free."""
        crossed = [
            order
            for order in self.open
            if (order.price >= target if order.side is Side.BUY else order.price <= target)
        ]
        if not crossed:
            return None
        nearest = min(crossed, key=lambda order: abs(order.price - self.last)).price
        return [order for order in crossed if order.price == nearest]

    def _is_marketable(self, side: Side, price: Decimal) -> bool:
        return price >= self.last if side is Side.BUY else price <= self.last

    def _place(self, request: OrderRequest) -> Order | ExchangeError:
        self.requests.append(
            f"{request.side.value} {request.price}" + (" reduce" if request.reduce_only else "")
        )
        if self.on_place is not None:
            self.on_place(request)
        fault = self.place_faults.popleft() if self.place_faults else None
        if fault is not None:
            if fault.arrives:
                self._accept(request)
            if isinstance(fault.error, CrashError):
                raise fault.error
            return fault.error
        return self._accept(request)

    def _accept(self, request: OrderRequest) -> Order | ExchangeError:
        refusal = self._refusal(request)
        if refusal is not None:
            return Rejected(refusal, f"{request.client_order_id}: {refusal.value}")
        now = self.clock.now()
        order = Order(
            client_order_id=request.client_order_id,
            venue_order_id=f"V{len(self.orders) + 1}",
            symbol=request.symbol,
            side=request.side,
            price=request.price,
            quantity=request.quantity,
            status=OrderStatus.NEW,
            created_at=now,
            updated_at=now,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            time_in_force=request.time_in_force,
        )
        self.orders[order.client_order_id] = order
        takes = self._is_marketable(request.side, request.price)
        if takes:
            quantity = order.quantity
            if request.time_in_force is TimeInForce.IOC and self.ioc_liquidity is not None:
                quantity = min(quantity, self.ioc_liquidity)
            if quantity > 0:
                self._execute(order, self.last, quantity, is_maker=False)
        order = self.orders[order.client_order_id]
        if request.time_in_force is TimeInForce.IOC and not order.status.is_terminal:
            order = self.end(order.client_order_id)
        return order

    def _refusal(self, request: OrderRequest) -> RejectReason | None:
        if request.client_order_id in self.orders:
            return RejectReason.DUPLICATE_ID
        instrument = self.instrument
        if request.price <= 0 or request.price % instrument.tick_size:
            return RejectReason.PRECISION
        if request.quantity < instrument.min_quantity or request.quantity % instrument.lot_size:
            return RejectReason.PRECISION
        if not request.reduce_only and request.quantity * request.price < instrument.min_notional:
            return RejectReason.NOTIONAL
        if request.reduce_only:
            reducing = request.quantity + sum(
                o.leaves_qty for o in self.open if o.reduce_only and o.side is request.side
            )
            if reducing > max(ZERO, -request.side.sign * self.position):
                return RejectReason.REDUCE_ONLY
        elif self.margin_is_short:
            return RejectReason.MARGIN
        if request.post_only and self._is_marketable(request.side, request.price):
            return RejectReason.POST_ONLY
        return None

    def _cancel(self, order: Order) -> Order | ExchangeError:
        self.requests.append(f"cancel {order.side.value} {order.price}")
        fault = self.cancel_faults.popleft() if self.cancel_faults else None
        known = self.orders.get(order.client_order_id)
        if fault is None or fault.arrives:
            if known is not None and not known.status.is_terminal:
                known = self.end(order.client_order_id, OrderStatus.CANCELED)
            elif fault is None:
                known = None if known is None or known.status is not OrderStatus.FILLED else known
        if fault is not None:
            if isinstance(fault.error, CrashError):
                raise fault.error
            return fault.error
        if known is None:
            return Rejected(RejectReason.NOT_FOUND, f"{order.client_order_id}: does not rest")
        return known

    def _execute(self, order: Order, price: Decimal, quantity: Decimal, *, is_maker: bool) -> Fill:
        instrument = self.instrument
        fee = quantity * price * (instrument.maker_fee if is_maker else instrument.taker_fee)
        self.account = apply_trade(self.account, order.side, price, quantity, fee)
        done = order.filled_qty + quantity
        status = OrderStatus.FILLED if done == order.quantity else OrderStatus.PARTIALLY_FILLED
        self.orders[order.client_order_id] = replace(
            order, filled_qty=done, status=status, updated_at=self.clock.now()
        )
        fill = Fill(
            trade_id=f"T{len(self.fills) + 1}",
            venue_order_id=order.venue_order_id or "",
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            price=price,
            quantity=quantity,
            fee=fee,
            fee_asset=instrument.quote_asset,
            is_maker=is_maker,
            time=self.clock.now(),
        )
        self.fills.append(fill)
        match self.deliver(fill):
            case "now":
                self.tell(fill)
            case "twice":
                self.tell(fill)
                self.tell(fill)
            case "late":
                self.held.append(fill)
            case "hidden":
                pass
            case other:
                raise AssertionError(f"no such delivery: {other}")
        return fill


def _at_once(fill: Fill) -> str:
    return "now"
