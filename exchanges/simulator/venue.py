"""The exchange behind both protocols: one account, its orders, the markets. No I/O, no clock.

Every call happens at a moment, `now_us` (Unix microseconds, never going back), and is carried out
whole. What happened is told to `tell` in order, an order as it is at that moment, before the call
returns. Matching, margin, funding and liquidation are the shared engine's (`exchanges.matching`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal

from core.errors import Rejected, RejectReason
from core.model import ZERO, Fill, Order, OrderRequest, OrderStatus, Side, TimeInForce
from exchanges.admission import LIQUIDATION_PREFIX, Rules
from exchanges.changes import Changes
from exchanges.margin_account import Account, apply_trade, open_account
from exchanges.matching import Market
from exchanges.simulator.faults import Faults
from exchanges.simulator.limits import Listing, check
from exchanges.simulator.past import Past
from exchanges.simulator.portfolio import Portfolio
from exchanges.simulator.records import (
    LIQUIDATION,
    BookEvent,
    Draft,
    Event,
    FundingEvent,
    LeverageEvent,
    OrderChange,
    OrderEvent,
    PositionEvent,
    Refused,
    SimFill,
    SimOrder,
    Trade,
    TradeEvent,
    Why,
)
from exchanges.simulator.tape import Tape

FIRST_ORDER = 28_400_000_001  # ids as long as the real ones: over 32 bits
FIRST_TRADE = 9_700_001
MAX_LEVERAGE = 125

_REASONS = {
    RejectReason.POST_ONLY: Why.POST_ONLY,
    RejectReason.PRECISION: Why.PRICE_TICK,
    RejectReason.NOTIONAL: Why.NOTIONAL,
    RejectReason.MARGIN: Why.MARGIN,
    RejectReason.REDUCE_ONLY: Why.REDUCE_ONLY,
}


class Venue:
    """See the module docstring."""

    def __init__(
        self,
        listings: Iterable[Listing],
        *,
        balance: Decimal,
        leverage: int,
        price: Decimal,
        faults: Faults,
        seed: int,
        now_us: int,
    ) -> None:
        self.listings = {listing.symbol: listing for listing in listings}
        self.tell: Callable[[Event], None] = lambda _event: None
        self.now_us = now_us
        self.orders: dict[int, SimOrder] = {}
        self.fills: list[SimFill] = []
        self.funding: list[FundingEvent] = []
        self._faults = faults
        self._by_client: dict[tuple[str, str], SimOrder] = {}  # the latest one with this id
        self._open: dict[str, dict[int, SimOrder]] = {symbol: {} for symbol in self.listings}
        self._order_no = FIRST_ORDER
        self._trade_no = FIRST_TRADE
        self.markets: dict[str, Market] = {}
        self.tapes: dict[str, Tape] = {}
        self._booked: dict[str, Account] = {}  # each symbol's account, fill by fill
        for symbol, listing in self.listings.items():
            instrument = listing.instrument
            start = instrument.round_price(price)
            rules = Rules(instrument=instrument, leverage=Decimal(leverage))
            account = open_account(balance)
            self.markets[symbol] = Market(rules, account, last=start, time_ms=now_us // 1000)
            past = Past(
                seed=seed,
                symbol=symbol,
                end_price=start,
                tick=instrument.tick_size,
                now_ms=now_us // 1000,
            )
            self.tapes[symbol] = Tape(past, now_us // 1000)
            self._booked[symbol] = open_account(ZERO)
        self.portfolio = Portfolio(balance, self.markets)

    # What it is now -------------------------------------------------------------------------

    def market(self, symbol: str) -> Market:
        """Errors: Refused (SYMBOL)."""
        market = self.markets.get(symbol)
        if market is None:
            raise Refused(Why.SYMBOL, symbol)
        return market

    def open_orders(self, symbol: str | None = None) -> list[SimOrder]:
        """What rests, oldest first."""
        if symbol is not None:
            self.market(symbol)
            return list(self._open[symbol].values())
        found = [order for orders in self._open.values() for order in orders.values()]
        return sorted(found, key=lambda order: order.number)

    def find(self, symbol: str, *, number: int | None, client_id: str | None) -> SimOrder:
        """One order by its id, else by client id. Errors: Refused (SYMBOL, NOT_FOUND)."""
        self.market(symbol)
        if number is not None:
            order = self.orders.get(number)
        else:
            order = self._by_client.get((symbol, client_id or ""))
        if order is None or order.symbol != symbol:
            raise Refused(Why.NOT_FOUND)
        return order

    # What changes it ------------------------------------------------------------------------

    def place(self, draft: Draft) -> SimOrder:
        """Accept an order. Errors: Refused; nothing changed."""
        self.market(draft.symbol)
        listing = self.listings[draft.symbol]
        market = self.portfolio.lend(draft.symbol, for_order=True)
        market.time_ms = self.now_us // 1000
        check(draft, listing, market.last)
        quantity = draft.quantity
        if quantity is None:
            assert draft.quote_quantity is not None
            quantity = listing.instrument.floor_quantity(draft.quote_quantity / market.last)
            check(replace(draft, quantity=quantity), listing, market.last)
        resting = self._open[draft.symbol]
        key = (draft.symbol, draft.client_id or "")
        known = self._by_client.get(key) if draft.client_id is not None else None
        if known is not None and known.is_open:
            raise Refused(Why.DUPLICATE_ID)
        most = listing.instrument.max_open_orders
        if most is not None and len(resting) >= most:
            raise Refused(Why.TOO_MANY_ORDERS)
        order = SimOrder(
            number=self._order_no,
            symbol=draft.symbol,
            side=draft.side,
            price=draft.price,
            quantity=quantity,
            quote_quantity=draft.quote_quantity,
            tif=draft.tif,
            post_only=draft.post_only,
            reduce_only=draft.reduce_only,
            client_id=draft.client_id,
            created_us=self.now_us,
            updated_us=self.now_us,
            extra=draft.extra,
        )
        changes = Changes()
        placed = market.place(self._request(order, market), changes, self._taker(order, market))
        if isinstance(placed, Rejected) and not (
            placed.reason is RejectReason.POST_ONLY and draft.expires_crossing
        ):
            raise Refused(_REASONS.get(placed.reason, Why.MARGIN), str(placed))
        self._order_no += 1
        self.orders[order.number] = order
        if order.client_id is not None:
            self._by_client[key] = order
        self.tell(OrderEvent(OrderChange.ACCEPTED, order))
        if isinstance(placed, Rejected):
            self._end(order, OrderStatus.EXPIRED, "PostOnlyTaker")
            return order
        resting[order.number] = order
        self._take(changes)
        if placed.status is OrderStatus.EXPIRED and order.is_open:
            self._end(order, OrderStatus.EXPIRED, _unfilled(order))
        self.tell(BookEvent(order.symbol, is_price=False))
        return order

    def cancel(self, order: SimOrder) -> SimOrder:
        """End a resting order. Errors: Refused (NOT_FOUND)."""
        if not order.is_open:
            raise Refused(Why.NOT_FOUND)
        market = self.markets[order.symbol]
        market.time_ms = self.now_us // 1000
        if market.cancel(str(order.number), Changes()) is None:
            raise Refused(Why.NOT_FOUND)
        self._end(order, OrderStatus.CANCELED, "")
        self.tell(BookEvent(order.symbol, is_price=False))
        return order

    def move(self, symbol: str, price: Decimal) -> None:
        """Walk the price in a straight line, rounded to the tick. Errors: Refused (SYMBOL)."""
        instrument = self.market(symbol).rules.instrument
        target = max(instrument.round_price(price), instrument.tick_size)
        market = self.portfolio.lend(symbol, for_order=False)
        market.time_ms = self.now_us // 1000
        before = market.last
        changes = Changes()
        market.refill(target, changes, self._part)
        while (stop := market.next_stop(target)) is not None:
            market.fill(stop, changes, self._part)
        market.last = target
        tape = self.tapes[symbol]
        tape.price(target, market.time_ms)
        if target != before and not changes.fills:
            self._trade(symbol, target, instrument.min_quantity * 100, target < before)
        self._take(changes)
        self.tell(BookEvent(symbol, is_price=True))

    def fill_on(self, symbol: str) -> None:
        """Fill whole what was filled in part and still stands at or beyond the price."""
        market = self.portfolio.lend(symbol, for_order=False)
        if not market.book.touched:
            return
        market.time_ms = self.now_us // 1000
        changes = Changes()
        market.refill(market.last, changes)
        self._take(changes)
        self.tell(BookEvent(symbol, is_price=False))

    def waiting(self, symbol: str) -> bool:
        """Whether an order waits for its rest."""
        return bool(self.markets[symbol].book.touched)

    def fund(self, symbol: str, rate: Decimal) -> FundingEvent | None:
        """Apply one funding payment; None while flat. Errors: Refused (SYMBOL)."""
        self.market(symbol)
        market = self.portfolio.lend(symbol, for_order=False)
        changes = Changes()
        market.fund(self.now_us // 1000, rate, changes)
        for payment in changes.funding:
            booked = self._booked[symbol]
            self._booked[symbol] = replace(booked, funding=booked.funding + payment.amount)
            event = FundingEvent(payment)
            self.funding.append(event)
            self.tell(event)
            return event
        return None

    def set_leverage(self, symbol: str, leverage: int) -> None:
        """Errors: Refused (SYMBOL, LEVERAGE; MARGIN when what is held needs more)."""
        market = self.market(symbol)
        if not 1 <= leverage <= MAX_LEVERAGE:
            raise Refused(Why.LEVERAGE)
        was = market.rules
        market.rules = replace(was, leverage=Decimal(leverage))
        if leverage < was.leverage and self.portfolio.margin > self.portfolio.equity:
            market.rules = was
            raise Refused(Why.MARGIN)
        self.tell(LeverageEvent(symbol, leverage))

    # Helpers --------------------------------------------------------------------------------

    def _request(self, order: SimOrder, market: Market) -> OrderRequest:
        is_now = order.price is None or order.tif != "GTC"
        return OrderRequest(
            client_order_id=str(order.number),
            symbol=order.symbol,
            side=order.side,
            price=market.last if order.price is None else order.price,
            quantity=order.quantity,
            post_only=order.post_only,
            reduce_only=order.reduce_only,
            time_in_force=TimeInForce.IOC if is_now else TimeInForce.GTC,
        )

    def _taker(self, order: SimOrder, market: Market) -> Callable[[Order], Decimal] | None:
        """A market order and FOK fill whole; what else takes may fill in part."""
        if order.price is None or order.tif == "FOK":
            return None
        return lambda engine: self._faults.part_of(engine, market.rules.instrument)

    def _part(self, engine: Order) -> Decimal:
        return self._faults.part_of(engine, self.markets[engine.symbol].rules.instrument)

    def _take(self, changes: Changes) -> None:
        """Book what the engine did, in order, and tell it."""
        for event in changes.events:
            if isinstance(event, Fill):
                self._book_fill(event)
            elif isinstance(event, Order):
                reason = "ReduceOnlyNotReduced" if "reduce" in event.reason else "Liquidation"
                self._end(self.orders[int(event.client_order_id)], OrderStatus.EXPIRED, reason)

    def _book_fill(self, engine: Fill) -> None:
        order = self._order_of(engine)
        booked = self._booked[engine.symbol]
        after = apply_trade(booked, engine.side, engine.price, engine.quantity, engine.fee)
        self._booked[engine.symbol] = after
        order.filled += engine.quantity
        order.filled_quote += engine.quantity * engine.price
        order.updated_us = self.now_us
        is_done = order.filled == order.quantity
        order.status = OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED
        if is_done:
            self._open[order.symbol].pop(order.number, None)
        number = self._trade_no
        fill = replace(
            engine,
            trade_id=str(number),
            venue_order_id=str(order.number),
            client_order_id=order.client_id or "",
        )
        known = SimFill(
            fill=fill,
            number=number,
            order=order,
            realized=after.realized - booked.realized,
            time_us=self.now_us,
        )
        self.fills.append(known)
        is_buy = fill.side is Side.BUY
        self._trade(
            fill.symbol, fill.price, fill.quantity, is_buy == fill.is_maker, order.number, is_buy
        )
        self.tell(OrderEvent(OrderChange.FILLED, order, known))
        if after.position == 0:
            change = "closed"
        elif booked.position == 0 or (booked.position > 0) != (after.position > 0):
            change = "opened"
        else:
            change = "adjusted"
        self.tell(PositionEvent(fill.symbol, change))

    def _order_of(self, engine: Fill) -> SimOrder:
        """The order of a fill; a liquidation's is made here: nobody sent it."""
        if not engine.client_order_id.startswith(LIQUIDATION_PREFIX):
            return self.orders[int(engine.client_order_id)]
        order = SimOrder(
            number=self._order_no,
            symbol=engine.symbol,
            side=engine.side,
            price=None,
            quantity=engine.quantity,
            quote_quantity=None,
            tif="IOC",
            post_only=False,
            reduce_only=True,
            client_id=None,
            created_us=self.now_us,
            updated_us=self.now_us,
            extra={},
            reason="Liquidation",
            origin=LIQUIDATION,
        )
        self._order_no += 1
        self.orders[order.number] = order
        self.tell(OrderEvent(OrderChange.ACCEPTED, order))
        return order

    def _trade(
        self,
        symbol: str,
        price: Decimal,
        quantity: Decimal,
        buyer_is_maker: bool,
        number: int = 0,
        is_buy: bool = True,
    ) -> None:
        trade = Trade(
            number=self._trade_no,
            price=price,
            quantity=quantity,
            time_us=self.now_us,
            buyer_is_maker=buyer_is_maker,
            buyer=number if is_buy else 0,
            seller=0 if is_buy else number,
        )
        self._trade_no += 1
        self.tapes[symbol].trade(trade)
        self.tell(TradeEvent(symbol, trade))

    def _end(self, order: SimOrder, status: OrderStatus, reason: str) -> None:
        order.status = status
        order.reason = reason
        order.updated_us = self.now_us
        self._open[order.symbol].pop(order.number, None)
        change = OrderChange.CANCELED if status is OrderStatus.CANCELED else OrderChange.EXPIRED
        self.tell(OrderEvent(change, order))


def _unfilled(order: SimOrder) -> str:
    return "FillOrKill" if order.tif == "FOK" else "ImmediateOrCancel"
