"""The rules of the simulated exchange: fills, fees, margin, funding, liquidation. Pure.

Values in, values out: no clock, file, socket, thread or database. A `Market` is one account on one
instrument; who cannot store a change works on a `copy()` and drops it. Every change lands in a
`Changes`: what has to be stored, and what has to be told.

**The path.** Price moves on straight lines. The nearest price with a resting order in the way is a
`Stop`: all orders at that exact price fill, in order of arrival, and the last price is that price.
The rest of the line is walked afterwards, past orders that were placed meanwhile too.

**Fills.** By `touch` (default) an order at exactly the price fills: a BUY when the path comes to
or below its price, a SELL to or above. By `through` only when the path goes beyond it by at least
one tick. Whole quantity, at its own limit price, as maker; fee = quantity x price x rate, never
rounded.

**Parts.** With `take`, which says how much of an order fills now, the rest of a maker or of a GTC
taker waits as touched: `refill`, before the next move, fills it on at its own price when the move
goes its way, and lets it rest when the price leaves it. The rest of an IOC is EXPIRED.

**Placing.** BUY at or above the last price, SELL at or below it, is marketable: it takes at the
last price, not at its limit, as taker; with `slippage` at a price worse by that fraction, rounded
to the tick away from it, never beyond its limit. IOC that is not marketable is EXPIRED at once.
What is refused, and why, is in `admission`.

**Reduce-only.** When the position shrinks below the sum of its reduce-only orders, the newest are
EXPIRED, whole, until the sum fits: an order never opens or flips, and changes its quantity only
where the rules say `shrinks`: then the last of them keeps what fits.

**Liquidation.** At the first tick where equity is no more than notional x (maintenance rate +
liquidation fee): every order is EXPIRED and the whole position is closed at that price for the
liquidation fee, as an order and a fill with the client order id `liquidation-<number>`. Orders that
lie nearer on the path fill first, and move it.

**Funding.** - position x last price x rate, on the wallet; nothing while flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

from core.errors import Rejected
from core.model import (
    ZERO,
    Fill,
    FundingPayment,
    Order,
    OrderRequest,
    OrderStatus,
    Position,
    Quote,
    Side,
    TimeInForce,
)
from exchanges.admission import (
    LIQUIDATION_PREFIX,
    exposure,
    is_marketable,
    refusal,
    taking_price,
)
from exchanges.admission import Rules as Rules  # a market is made of them
from exchanges.book import Book
from exchanges.changes import Changes, Stop, moment
from exchanges.margin_account import (
    EXACT,
    Account,
    apply_funding,
    apply_trade,
    liquidation_price,
)

Take = Callable[[Order], Decimal]  # how much fills now; 0 < taken <= what is left


class Market:
    """One account, its resting orders and the last price of one instrument. Change a `copy()`."""

    __slots__ = (
        "_beyond",
        "_order_no",
        "_trade_no",
        "account",
        "book",
        "last",
        "liquidation",
        "rules",
        "time_ms",
    )

    def __init__(
        self,
        rules: Rules,
        account: Account,
        orders: Iterable[Order] = (),
        *,
        last: Decimal,
        time_ms: int,
        order_no: int = 0,
        trade_no: int = 0,
    ) -> None:
        self.rules = rules
        self.account = account
        self.book = Book(orders)
        self.last = last
        self.time_ms = time_ms
        self._order_no = order_no
        self._trade_no = trade_no
        self._beyond = rules.instrument.tick_size if rules.fill_through else ZERO
        self.liquidation = liquidation_price(account, rules.instrument)

    def copy(self) -> Market:
        other = Market.__new__(Market)
        other.rules = self.rules
        other.account = self.account
        other.book = self.book.copy()
        other.last = self.last
        other.time_ms = self.time_ms
        other._order_no = self._order_no
        other._trade_no = self._trade_no
        other._beyond = self._beyond
        other.liquidation = self.liquidation
        return other

    def to_doc(self) -> dict[str, Any]:
        """Everything but the resting orders, as JSON types."""
        return {
            **self.account.to_doc(),
            "last": str(self.last),
            "time_ms": self.time_ms,
            "order_no": self._order_no,
            "trade_no": self._trade_no,
        }

    @classmethod
    def from_doc(cls, rules: Rules, doc: Mapping[str, Any], orders: Iterable[Order]) -> Market:
        return cls(
            rules,
            Account.from_doc(doc),
            sorted(orders, key=lambda order: int((order.venue_order_id or "P0")[1:])),
            last=Decimal(doc["last"]),
            time_ms=int(doc["time_ms"]),
            order_no=int(doc["order_no"]),
            trade_no=int(doc["trade_no"]),
        )

    # What it is now -------------------------------------------------------------------------

    def quote(self) -> Quote:
        """The market now: one price for all four."""
        price = self.last
        return Quote(
            symbol=self.rules.instrument.symbol,
            bid=price,
            ask=price,
            last=price,
            mark=price,
            time=moment(self.time_ms),
        )

    def position(self) -> Position:
        return Position(
            symbol=self.rules.instrument.symbol,
            quantity=self.account.position,
            entry_price=self.account.entry_price,
            liquidation_price=self.liquidation,
        )

    def available(self) -> Decimal:
        """Equity that is not initial margin, never below zero."""
        used = exposure(self.account, self.book, self.last) / self.rules.leverage
        return max(ZERO, self.account.equity(self.last) - used)

    def next_stop(self, target: Decimal) -> Stop | None:
        """The first interruption on the line from the last price to `target`; None: none."""
        last, book = self.last, self.book
        stop: Stop | None = None
        if target < last:
            bids = book.bids
            if bids and bids[-1] - self._beyond >= target:
                stop = Stop(bids[-1], Side.BUY)
        elif target > last:
            asks = book.asks
            if asks and asks[0] + self._beyond <= target:
                stop = Stop(asks[0], Side.SELL)
        limit = self.liquidation
        if limit is None:
            return stop
        if self.account.position > 0:
            if last <= limit:
                return Stop(last, None)
            if target <= limit and (stop is None or stop.price < limit):
                return Stop(limit, None)
        else:
            if last >= limit:
                return Stop(last, None)
            if target >= limit and (stop is None or stop.price > limit):
                return Stop(limit, None)
        return stop

    # What changes it ------------------------------------------------------------------------

    def place(
        self, request: OrderRequest, out: Changes, take: Take | None = None
    ) -> Order | Rejected:
        """Accept or refuse one order; a refused one leaves no trace."""
        refused = refusal(request, self.rules, self.account, self.book, self.last)
        if refused is not None:
            return refused
        self._order_no += 1
        now = moment(self.time_ms)
        order = Order(
            client_order_id=request.client_order_id,
            venue_order_id=f"P{self._order_no}",
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
        if is_marketable(request, self.last):
            rate = self.rules.instrument.taker_fee
            price = taking_price(request, self.rules, self.last)
            part = order.quantity if take is None else take(order)
            filled = self._execute(order, part, price, rate, out, is_maker=False)
            if not filled.status.is_terminal:
                filled = self._leave(filled, out)
            self._expire_excess(out)
            return filled
        if request.time_in_force is TimeInForce.IOC:
            order = replace(order, status=OrderStatus.EXPIRED, reason="IOC did not cross")
        else:
            self.book.add(order)
        out.orders[order.client_order_id] = order
        return order

    def cancel(self, client_order_id: str, out: Changes) -> Order | None:
        """End a resting order; None when none rests under this id."""
        order = self.book.orders.get(client_order_id)
        if order is None:
            return None
        return self._end(order, OrderStatus.CANCELED, "", out)

    def fill(self, stop: Stop, out: Changes, take: Take | None = None) -> None:
        """Carry out one stop: move to its price, fill its orders (or liquidate)."""
        self.last = stop.price
        if stop.side is None:
            self._liquidate(out)
            return
        for order in self.book.level(stop.side, stop.price):
            now = self.book.orders.get(order.client_order_id)
            if now is not None:  # not expired by the fill before it; it may have shrunk
                self._fill_resting(now, out, take)

    def refill(self, target: Decimal, out: Changes, take: Take | None = None) -> None:
        """Fill on what was filled in part, as far as the move to `target` goes its way."""
        for key in tuple(self.book.touched):
            if (order := self.book.orders.get(key)) is None:
                continue  # expired by the fill before it
            if order.price >= target if order.side is Side.BUY else order.price <= target:
                self._fill_resting(order, out, take)
            else:
                self.book.rest(order)

    def fund(self, time_ms: int, rate: Decimal, out: Changes) -> None:
        """Pay funding for the stamp `time_ms` at the last price; nothing while flat."""
        position = self.account.position
        if position == 0:
            return
        with localcontext(EXACT):
            amount = -(position * self.last * rate)
        self.account = apply_funding(self.account, amount)
        self.liquidation = liquidation_price(self.account, self.rules.instrument)
        payment = FundingPayment(
            symbol=self.rules.instrument.symbol,
            time=moment(time_ms),
            rate=rate,
            mark_price=self.last,
            position=position,
            amount=amount,
        )
        out.funding.append(payment)
        out.events.append(payment)

    # Helpers --------------------------------------------------------------------------------

    def _fill_resting(self, order: Order, out: Changes, take: Take | None) -> None:
        rate = self.rules.instrument.maker_fee
        left = order.quantity - order.filled_qty
        part = left if take is None else take(order)
        if part >= left:
            self.book.remove(order)
        filled = self._execute(order, part, order.price, rate, out, is_maker=True)
        if part < left:
            self.book.touch(filled)
        self._expire_excess(out)

    def _leave(self, order: Order, out: Changes) -> Order:
        """What becomes of the rest of a taker that filled in part."""
        if order.time_in_force is TimeInForce.IOC:
            order = replace(order, status=OrderStatus.EXPIRED, reason="IOC filled in part")
            out.orders[order.client_order_id] = order
        else:
            self.book.add(order)
            self.book.touch(order)
        return order

    def _execute(
        self,
        order: Order,
        part: Decimal,
        price: Decimal,
        rate: Decimal,
        out: Changes,
        is_maker: bool,
    ) -> Order:
        instrument = self.rules.instrument
        with localcontext(EXACT):
            fee = part * price * rate
        self.account = apply_trade(self.account, order.side, price, part, fee)
        self.liquidation = liquidation_price(self.account, instrument)
        self._trade_no += 1
        now = moment(self.time_ms)
        fill = Fill(
            trade_id=f"T{self._trade_no}",
            venue_order_id=order.venue_order_id or "",
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            price=price,
            quantity=part,
            fee=fee,
            fee_asset=instrument.quote_asset,
            is_maker=is_maker,
            time=now,
        )
        done = order.filled_qty + part
        status = OrderStatus.FILLED if done == order.quantity else OrderStatus.PARTIALLY_FILLED
        filled = replace(order, status=status, filled_qty=done, updated_at=now)
        out.orders[order.client_order_id] = filled
        out.fills.append(fill)
        out.events.append(fill)
        return filled

    def _expire_excess(self, out: Changes) -> None:
        """End, or shrink, the newest reduce-only orders that the position no longer covers."""
        for side in Side:
            closable = max(ZERO, -self.account.position * side.sign)
            excess = self.book.reducing(side) - closable
            for order in self.book.excess(side, closable):
                left = order.quantity - order.filled_qty
                if self.rules.shrinks and left > excess:
                    cut = replace(order, quantity=order.quantity - excess)
                    self.book.orders[order.client_order_id] = cut
                    out.orders[order.client_order_id] = cut
                    out.events.append(cut)
                    break
                ended = self._end(order, OrderStatus.EXPIRED, "nothing left to reduce", out)
                out.events.append(ended)
                excess -= left

    def _liquidate(self, out: Changes) -> None:
        for order in tuple(self.book.orders.values()):
            out.events.append(self._end(order, OrderStatus.EXPIRED, "liquidation", out))
        self._order_no += 1
        now = moment(self.time_ms)
        order = Order(
            client_order_id=f"{LIQUIDATION_PREFIX}{self._order_no}",
            venue_order_id=f"P{self._order_no}",
            symbol=self.rules.instrument.symbol,
            side=Side.SELL if self.account.position > 0 else Side.BUY,
            price=self.last,
            quantity=abs(self.account.position),
            status=OrderStatus.NEW,
            created_at=now,
            updated_at=now,
            reduce_only=True,
            time_in_force=TimeInForce.IOC,
            reason="liquidation",
        )
        rate = self.rules.instrument.liquidation_fee
        self._execute(order, order.quantity, self.last, rate, out, is_maker=False)

    def _end(self, order: Order, status: OrderStatus, reason: str, out: Changes) -> Order:
        self.book.remove(order)
        ended = replace(order, status=status, updated_at=moment(self.time_ms), reason=reason)
        out.orders[order.client_order_id] = ended
        return ended
