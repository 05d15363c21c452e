"""What the simulated exchange remembers and tells: orders, fills, refusals, events. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from core.model import ZERO, Fill, FundingPayment, OrderRequest, OrderStatus, Side, TimeInForce

USER = "USER"
LIQUIDATION = "LIQUIDATION"


class Why(enum.Enum):
    """Why a request is refused; each protocol has its own code for it."""

    SYMBOL = "symbol"
    BOOK_POST_ONLY = "book_post_only"
    BOOK_CLOSED = "book_closed"
    PRICE_MISSING = "price_missing"
    PRICE_TICK = "price_tick"
    PRICE_LOW = "price_low"
    PRICE_HIGH = "price_high"
    BAND_LOW = "band_low"  # below the allowed factor of the last price
    BAND_HIGH = "band_high"
    QUANTITY_MISSING = "quantity_missing"
    QUANTITY_STEP = "quantity_step"
    QUANTITY_ZERO = "quantity_zero"
    QUANTITY_LOW = "quantity_low"
    QUANTITY_HIGH = "quantity_high"
    NOTIONAL = "notional"
    POST_ONLY = "post_only"
    REDUCE_ONLY = "reduce_only"
    MARGIN = "margin"
    DUPLICATE_ID = "duplicate_id"
    TOO_MANY_ORDERS = "too_many_orders"
    NOT_FOUND = "not_found"
    LEVERAGE = "leverage"
    TRIGGERS_NOW = "triggers_now"
    TOO_MANY_TRIGGERS = "too_many_triggers"


class Refused(Exception):
    """The exchange refuses; nothing changed."""

    def __init__(self, why: Why, text: str = "") -> None:
        super().__init__(text or why.value)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When a conditional order enters the book. `share` of the position in place of a quantity.

    With `callback`, a fraction, it trails: the price that is reached only begins the watch, and the
    order enters when the price has come back by that fraction from the best one since.
    """

    price: Decimal
    is_above: bool  # it is reached when the price comes to or above it; else to or below
    share: Decimal | None = None
    callback: Decimal | None = None

    def is_reached(self, last: Decimal) -> bool:
        return last >= self.price if self.is_above else last <= self.price


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A stop loss or take profit attached to an order: it waits once that has filled."""

    trigger: Trigger
    limit: Decimal | None  # None: at the market
    by: str | None  # which price triggers it, as the client said


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An order as asked for. `price` None: a market order; `tif` GTC, IOC or FOK.

    `expires_crossing`: post-only that would take is accepted and EXPIRED, in place of refused.
    """

    symbol: str
    side: Side
    price: Decimal | None
    quantity: Decimal | None
    quote_quantity: Decimal | None = None
    tif: str = "GTC"
    post_only: bool = False
    reduce_only: bool = False
    client_id: str | None = None
    expires_crossing: bool = False
    trigger: Trigger | None = None
    exits: tuple[Exit, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class SimOrder:
    """An order as the exchange knows it. `number` is the exchange's id; times in microseconds."""

    number: int
    symbol: str
    side: Side
    price: Decimal | None  # None: a market order
    quantity: Decimal
    quote_quantity: Decimal | None
    tif: str
    post_only: bool
    reduce_only: bool
    client_id: str | None
    created_us: int
    updated_us: int
    extra: Mapping[str, Any]
    filled: Decimal = ZERO
    filled_quote: Decimal = ZERO
    status: OrderStatus = OrderStatus.NEW
    reason: str = ""
    origin: str = USER
    trigger: Trigger | None = None
    exits: tuple[Exit, ...] = ()  # to be placed when it has filled
    related: int | None = None  # the order whose exit this is
    is_waiting: bool = False  # for its trigger
    triggered_us: int | None = None
    best: Decimal | None = None  # what a trailing order has seen since its watch began

    @property
    def left(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def average(self) -> Decimal | None:
        return self.filled_quote / self.filled if self.filled else None

    @property
    def is_open(self) -> bool:
        return not self.status.is_terminal

    def is_due(self, last: Decimal) -> bool:
        """Whether a conditional order enters the book now; a trailing one remembers the price."""
        trigger = self.trigger
        if trigger is None:
            return False
        if trigger.callback is None:
            return trigger.is_reached(last)
        if self.best is None:
            self.best = last if trigger.is_reached(last) else None
            return False
        if trigger.is_above:  # a sale follows the price up
            self.best = max(self.best, last)
            return last <= self.best * (1 - trigger.callback)
        self.best = min(self.best, last)
        return last >= self.best * (1 + trigger.callback)


def new_order(
    number: int, draft: Draft, quantity: Decimal, now_us: int, origin: str = USER
) -> SimOrder:
    return SimOrder(
        number=number,
        symbol=draft.symbol,
        side=draft.side,
        price=draft.price,
        quantity=quantity,
        quote_quantity=draft.quote_quantity,
        tif=draft.tif,
        post_only=draft.post_only,
        reduce_only=draft.reduce_only,
        client_id=draft.client_id,
        created_us=now_us,
        updated_us=now_us,
        extra=draft.extra,
        origin=origin,
        trigger=draft.trigger,
        exits=draft.exits,
    )


def exits_of(order: SimOrder) -> list[Draft]:
    """The exits of an order that has ended, for what it filled; none when it filled nothing."""
    if not order.filled:
        return []
    return [
        Draft(
            symbol=order.symbol,
            side=order.side.opposite,
            price=exit.limit,
            quantity=order.filled,
            reduce_only=True,
            trigger=exit.trigger,
            extra={
                "reduce_only": True,
                "trigger_by": exit.by,
                "trigger_quantity": str(order.filled),
            },
        )
        for exit in order.exits
    ]


def trade_of(
    number: int,
    price: Decimal,
    quantity: Decimal,
    time_us: int,
    buyer_is_maker: bool,
    owner: int = 0,
    is_buy: bool = True,
) -> Trade:
    """A public trade; `owner`, the order of ours in it, 0 for none, bought or sold."""
    return Trade(
        number=number,
        price=price,
        quantity=quantity,
        time_us=time_us,
        buyer_is_maker=buyer_is_maker,
        buyer=owner if is_buy else 0,
        seller=0 if is_buy else owner,
    )


def liquidation_of(number: int, engine: Fill, now_us: int) -> SimOrder:
    """The order of a liquidation's fill: nobody sent it."""
    draft = Draft(
        symbol=engine.symbol,
        side=engine.side,
        price=None,
        quantity=engine.quantity,
        tif="IOC",
        reduce_only=True,
    )
    order = new_order(number, draft, engine.quantity, now_us, LIQUIDATION)
    order.reason = "Liquidation"
    return order


def request_of(order: SimOrder, last: Decimal) -> OrderRequest:
    """The order in the engine's words: its number is the engine's client order id."""
    is_now = order.price is None or order.tif != "GTC"
    return OrderRequest(
        client_order_id=str(order.number),
        symbol=order.symbol,
        side=order.side,
        price=last if order.price is None else order.price,
        quantity=order.quantity,
        post_only=order.post_only,
        reduce_only=order.reduce_only,
        time_in_force=TimeInForce.IOC if is_now else TimeInForce.GTC,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimFill:
    """A fill, the order it is of, what it realized without the fee, when in microseconds."""

    fill: Fill
    number: int  # the trade id
    order: SimOrder
    realized: Decimal
    time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A public trade. An order number is 0 when it is somebody else's."""

    number: int
    price: Decimal
    quantity: Decimal
    time_us: int
    buyer_is_maker: bool
    buyer: int = 0
    seller: int = 0


# Events: what happened, in order. An order is told as it is at that moment. ---------------------


class OrderChange(enum.Enum):
    WAITING = "waiting"  # a conditional order was accepted; ACCEPTED follows when it is triggered
    ACCEPTED = "accepted"
    FILLED = "filled"
    SHRUNK = "shrunk"  # a reduce-only order, by what the position no longer covers
    CANCELED = "canceled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class OrderEvent:
    change: OrderChange
    order: SimOrder
    fill: SimFill | None = None


@dataclass(frozen=True, slots=True)
class PositionEvent:
    """A position changed by a fill. `change`: opened, adjusted, closed."""

    symbol: str
    change: str


@dataclass(frozen=True, slots=True)
class FundingEvent:
    payment: FundingPayment


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """Money moved into the account, or out of it (negative)."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class LeverageEvent:
    symbol: str
    leverage: int


@dataclass(frozen=True, slots=True)
class TradeEvent:
    symbol: str
    trade: Trade


@dataclass(frozen=True, slots=True)
class BookEvent:
    """The price or the own orders in the book of a symbol changed."""

    symbol: str
    is_price: bool


Event = (
    OrderEvent
    | PositionEvent
    | FundingEvent
    | TransferEvent
    | LeverageEvent
    | TradeEvent
    | BookEvent
)


def position_event(symbol: str, before: Decimal, after: Decimal) -> PositionEvent:
    """What a fill did to a position."""
    if after == 0:
        return PositionEvent(symbol, "closed")
    is_new = before == 0 or (before > 0) != (after > 0)
    return PositionEvent(symbol, "opened" if is_new else "adjusted")
