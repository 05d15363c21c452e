"""The exchange behind both protocols: one account, its orders, the markets. No I/O, no clock.

Every call happens at a moment, `now_us` (Unix microseconds, never going back), and is carried out
whole. What happened is told to `tell` in order, an order as it is at that moment, before the call
returns. Matching, margin, funding and liquidation are the shared engine's (`exchanges.matching`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from core.errors import Rejected, RejectReason
from core.model import ZERO, Fill, Order, OrderStatus, Side
from exchanges.admission import LIQUIDATION_PREFIX, Rules
from exchanges.changes import Changes
from exchanges.margin_account import Account, apply_trade, open_account
from exchanges.matching import Market
from exchanges.simulator.faults import Faults
from exchanges.simulator.limits import Listing, check
from exchanges.simulator.past import Past
from exchanges.simulator.portfolio import Portfolio
from exchanges.simulator.reasons import EXPIRED, REFUSED, unfilled
from exchanges.simulator.records import (
    BookEvent,
    Draft,
    Event,
    FundingEvent,
    LeverageEvent,
    OrderChange,
    OrderEvent,
    Refused,
    SimFill,
    SimOrder,
    Trade,
    TradeEvent,
    Why,
    exits_of,
    liquidation_of,
    new_order,
    position_event,
    request_of,
    trade_of,
)
from exchanges.simulator.tape import Tape

FIRST_ORDER = 28_400_000_001  # ids as long as the real ones: over 32 bits
FIRST_TRADE = 9_700_001
MAX_LEVERAGE = 125
MAX_WAITING = 10  # conditional orders: Aster's MAX_NUM_ALGO_ORDERS


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
        shrinks: bool = False,
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
        self._waiting: dict[int, SimOrder] = {}  # conditional orders before their trigger
        self._ended: list[SimOrder] = []  # whose exits are not placed yet
        self._order_no = FIRST_ORDER
        self._trade_no = FIRST_TRADE
        self.markets: dict[str, Market] = {}
        self.tapes: dict[str, Tape] = {}
        self._booked: dict[str, Account] = {}  # each symbol's account, fill by fill
        for symbol, listing in self.listings.items():
            instrument, now_ms = listing.instrument, now_us // 1000
            start = instrument.round_price(price)
            rules = Rules(instrument=instrument, leverage=Decimal(leverage), shrinks=shrinks)
            self.markets[symbol] = Market(rules, open_account(balance), last=start, time_ms=now_ms)
            self.tapes[symbol] = Tape(
                Past(seed, symbol, start, instrument.tick_size, now_ms), now_ms
            )
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
        every = (order for orders in self._open.values() for order in orders.values())
        return sorted(every, key=lambda order: order.number)

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
        self._check_room(draft)
        order = new_order(self._order_no, draft, quantity, self.now_us)
        changes = Changes()
        placed = market.place(request_of(order, market.last), changes, self._taker(order, market))
        if isinstance(placed, Rejected) and not (
            placed.reason is RejectReason.POST_ONLY and draft.expires_crossing
        ):
            raise Refused(REFUSED.get(placed.reason, Why.MARGIN), str(placed))
        self._remember(order)
        self._enter(order, placed, changes)
        return order

    def wait(self, draft: Draft, related: int | None = None) -> SimOrder:
        """Accept a conditional order, which enters the book when its trigger is reached.

        `related`: the order whose exit it is. Errors: Refused; nothing changed.
        """
        last = self.market(draft.symbol).last
        assert draft.trigger is not None
        is_whole = draft.trigger.share is not None  # its quantity is known when it is triggered
        lot = self.listings[draft.symbol].instrument.lot_size
        wish = replace(draft, quantity=lot, reduce_only=True) if is_whole else draft
        check(wish, self.listings[draft.symbol], last)
        order = new_order(self._order_no, draft, draft.quantity or ZERO, self.now_us)
        if order.is_due(last):  # a trailing one never is: its watch begins here
            raise Refused(Why.TRIGGERS_NOW)
        if related is None and len(self._waiting) >= MAX_WAITING:
            raise Refused(Why.TOO_MANY_TRIGGERS)
        self._check_room(draft)
        order.is_waiting, order.related = True, related
        self._waiting[order.number] = order
        self._remember(order)
        self.tell(OrderEvent(OrderChange.WAITING, order))
        return order

    def cancel(self, order: SimOrder) -> SimOrder:
        """End a resting order. Errors: Refused (NOT_FOUND)."""
        if not order.is_open:
            raise Refused(Why.NOT_FOUND)
        if not order.is_waiting:
            market = self.markets[order.symbol]
            market.time_ms = self.now_us // 1000
            if market.cancel(str(order.number), Changes()) is None:
                raise Refused(Why.NOT_FOUND)
        self._end(order, OrderStatus.CANCELED, "")
        self._place_exits()
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
            size, is_down = instrument.min_quantity * 100, target < before
            self._publish(symbol, trade_of(self._trade_no, target, size, self.now_us, is_down))
        self._take(changes)
        self._place_exits()
        for order in tuple(self._waiting.values()):
            if order.is_waiting and order.symbol == symbol and order.is_due(target):
                self._trigger(order)
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
        self._place_exits()
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

    def _check_room(self, draft: Draft) -> None:
        """Errors: Refused for a client id in use, or one order too many."""
        known = self._by_client.get((draft.symbol, draft.client_id or ""))
        if known is not None and known.is_open:
            raise Refused(Why.DUPLICATE_ID)
        most = self.listings[draft.symbol].instrument.max_open_orders
        if most is not None and len(self._open[draft.symbol]) >= most:
            raise Refused(Why.TOO_MANY_ORDERS)

    def _remember(self, order: SimOrder) -> None:
        self._order_no += 1
        self.orders[order.number] = order
        self._open[order.symbol][order.number] = order
        if order.client_id is not None:
            self._by_client[order.symbol, order.client_id] = order

    def _enter(self, order: SimOrder, placed: Order | Rejected, changes: Changes) -> None:
        """Tell what became of an order that was given to the engine."""
        self.tell(OrderEvent(OrderChange.ACCEPTED, order))
        if isinstance(placed, Rejected):
            self._end(order, OrderStatus.EXPIRED, EXPIRED.get(placed.reason, "Unknown"))
            return
        self._take(changes)
        if placed.status is OrderStatus.EXPIRED and order.is_open:
            self._end(order, OrderStatus.EXPIRED, unfilled(order))
        self._place_exits()
        self.tell(BookEvent(order.symbol, is_price=False))

    def _trigger(self, order: SimOrder) -> None:
        """A conditional order enters the book, or expires when it may not; its twin ends."""
        del self._waiting[order.number]
        order.is_waiting = False
        order.triggered_us = self.now_us
        for other in tuple(self._waiting.values()):
            if order.related is not None and other.related == order.related:
                self._end(other, OrderStatus.CANCELED, "")
        market = self.portfolio.lend(order.symbol, for_order=True)
        assert order.trigger is not None
        if order.trigger.share is not None:
            closable = max(ZERO, -market.account.position * order.side.sign)
            share = closable * order.trigger.share
            order.quantity = market.rules.instrument.floor_quantity(share)
            if order.quantity == 0:
                self._end(order, OrderStatus.EXPIRED, "StopWithoutPosition")
                return
        changes = Changes()
        placed = market.place(request_of(order, market.last), changes, self._taker(order, market))
        self._enter(order, placed, changes)

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
            elif isinstance(event, Order) and not event.status.is_terminal:
                order = self.orders[int(event.client_order_id)]
                order.quantity, order.updated_us = event.quantity, self.now_us
                self.tell(OrderEvent(OrderChange.SHRUNK, order))
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
            self._ended.append(order)
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
        is_maker = is_buy == fill.is_maker  # the buyer
        trade = trade_of(
            number, fill.price, fill.quantity, self.now_us, is_maker, order.number, is_buy
        )
        self._publish(fill.symbol, trade)
        self.tell(OrderEvent(OrderChange.FILLED, order, known))
        self.tell(position_event(fill.symbol, booked.position, after.position))

    def _order_of(self, engine: Fill) -> SimOrder:
        """The order of a fill; a liquidation's is made here: nobody sent it."""
        if not engine.client_order_id.startswith(LIQUIDATION_PREFIX):
            return self.orders[int(engine.client_order_id)]
        order = liquidation_of(self._order_no, engine, self.now_us)
        self._remember(order)
        self.tell(OrderEvent(OrderChange.ACCEPTED, order))
        return order

    def _publish(self, symbol: str, trade: Trade) -> None:
        self._trade_no += 1
        self.tapes[symbol].trade(trade)
        self.tell(TradeEvent(symbol, trade))

    def _place_exits(self) -> None:
        """Let the stop losses and take profits wait whose orders have ended."""
        while self._ended:
            parent = self._ended.pop(0)
            for draft in exits_of(parent):
                try:
                    self.wait(draft, parent.number)
                except Refused as refused:
                    if refused.why is Why.TRIGGERS_NOW:  # the price is beyond it: it takes now
                        with suppress(Refused):
                            self.place(replace(draft, trigger=None, price=None))

    def _end(self, order: SimOrder, status: OrderStatus, reason: str) -> None:
        order.status = status
        order.reason = reason
        order.updated_us = self.now_us
        order.is_waiting = False
        self._waiting.pop(order.number, None)
        self._open[order.symbol].pop(order.number, None)
        self._ended.append(order)
        change = OrderChange.CANCELED if status is OrderStatus.CANCELED else OrderChange.EXPIRED
        self.tell(OrderEvent(change, order))
