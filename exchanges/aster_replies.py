"""Aster's replies and stream frames, read into our own values. Pure.

Source: as `aster_wire`. Odd but true: trades carry no client id (they are joined by order id); the
sign of a commission is not documented (`aster_fees` reads it); a frame comes bare on `/ws`
and wrapped in `{"stream", "data"}` on `/stream`; an order may be missing its average price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from core.market_state import MarketReport, MarketState
from core.model import (
    ZERO,
    Balance,
    Fill,
    FundingPayment,
    Instrument,
    Order,
    OrderStatus,
    Position,
    PositionTold,
    Side,
    TimeInForce,
)
from exchanges.aster_fees import FeeOf, as_cost
from exchanges.wire import (
    BookTop,
    Fields,
    MarkPrice,
    StreamEvent,
    StreamExpired,
    StreamRefused,
    WireError,
    from_ms,
    load_json,
    objects,
)

_STATUSES = {
    "NEW": OrderStatus.NEW,
    "NEW_INSURANCE": OrderStatus.NEW,
    "NEW_ADL": OrderStatus.NEW,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "CANCELLED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
}
_SYSTEM_IDS = ("autoclose-", "adl_autoclose", "settlement_autoclose")
PERCENT = Decimal("0.01")


def status_of(word: str) -> OrderStatus:
    """Translate a state; an unknown word counts as open, so that the order is asked about again."""
    return _STATUSES.get(word, OrderStatus.NEW)


def side_of(fields: Fields, name: str) -> Side:
    word = fields.text(name)
    try:
        return Side(word)
    except ValueError:
        raise WireError(f"{fields.what}: {name}: was {word[:20]!r}, expected BUY or SELL") from None


def client_id_of(text: str, venue_order_id: str, kind: str) -> str:
    """Give our word for orders that the exchange itself made: liquidation, ADL, settlement."""
    is_theirs = text.startswith(_SYSTEM_IDS) or kind == "LIQUIDATION"
    return f"liquidation:{venue_order_id}" if is_theirs else text


# REST -----------------------------------------------------------------------------------------


def is_error(fields: Fields) -> bool:
    """Tell whether an item of a batch is `{code, msg}` in an order's place."""
    return fields.has("code") and not fields.has("orderId")


def read_order(fields: Fields) -> Order:
    """Read an order of any state."""
    venue_id = fields.text("orderId")
    updated = from_ms(fields.integer("updateTime"))
    tif = fields.optional_text("timeInForce")
    return Order(
        client_order_id=client_id_of(
            fields.text("clientOrderId"), venue_id, fields.optional_text("origType")
        ),
        symbol=fields.text("symbol"),
        side=side_of(fields, "side"),
        price=fields.decimal("price"),
        quantity=fields.decimal("origQty"),
        status=status_of(fields.text("status")),
        created_at=from_ms(fields.integer("time")) if fields.has("time") else updated,
        updated_at=updated,
        venue_order_id=venue_id,
        filled_qty=fields.decimal("executedQty"),
        post_only=tif == "GTX",
        reduce_only=fields.flag("reduceOnly"),
        time_in_force=TimeInForce.IOC if tif in ("IOC", "FOK") else TimeInForce.GTC,
    )


def find_symbol(symbol: str, info: Fields) -> Fields | None:
    """Find a symbol in exchangeInfo; None: there is none of that name."""
    for fields in info.objects("symbols"):
        if fields.text("symbol") == symbol:
            return fields
    return None


def is_perpetual(market: Fields) -> bool:
    return market.optional_text("contractType", "PERPETUAL") in ("", "PERPETUAL")


_STATES = {"TRADING": MarketState.OPEN, "PRE_SETTLE": MarketState.CLOSING}


def read_market_state(market: Fields) -> MarketReport:
    """Read a symbol's status; what is not known to trade is closed."""
    word = market.text("status")
    return MarketReport(state=_STATES.get(word, MarketState.CLOSED), told=word)


def read_instrument(market: Fields, fees: Fields, maintenance_rate: Decimal | None) -> Instrument:
    """Read limits from exchangeInfo's filters and fees from commissionRate.

    `maintenance_rate` is of the first leverage bracket; None: the symbol's own percentage.
    """
    filters = {item.text("filterType"): item for item in market.objects("filters")}

    def of(name: str) -> Fields:
        if name not in filters:
            raise WireError(f"{market.what}: filters: {name} is missing")
        return filters[name]

    lot, most = of("LOT_SIZE"), filters.get("MAX_NUM_ORDERS")
    notional = filters.get("MIN_NOTIONAL")
    if maintenance_rate is None:
        maintenance_rate = market.decimal("maintMarginPercent") * PERCENT
    return Instrument(
        symbol=market.text("symbol"),
        base_asset=market.text("baseAsset"),
        quote_asset=market.text("quoteAsset"),
        tick_size=_trimmed(of("PRICE_FILTER").decimal("tickSize")),
        lot_size=_trimmed(lot.decimal("stepSize")),
        min_quantity=_trimmed(lot.decimal("minQty")),
        min_notional=ZERO if notional is None else notional.decimal("notional"),
        maker_fee=fees.decimal("makerCommissionRate"),
        taker_fee=fees.decimal("takerCommissionRate"),
        max_quantity=lot.optional_decimal("maxQty"),
        maintenance_rate=maintenance_rate,
        liquidation_fee=market.optional_decimal("liquidationFee") or ZERO,
        max_open_orders=(most.integer("limit") or None) if most is not None else None,
    )


def _trimmed(value: Decimal) -> Decimal:
    """Drop the zeros of `0.0100`: prices rounded to it would carry them."""
    normal = value.normalize()
    return normal.quantize(Decimal(1)) if normal == normal.to_integral_value() else normal


def read_maintenance(reply: object, symbol: str) -> Decimal | None:
    """Find the first bracket's rate; the reply is a list, or one object with a symbol."""
    rows = reply if isinstance(reply, list) else [reply]
    for fields in objects("leverage brackets", rows):
        if fields.optional_text("symbol", symbol) == symbol:
            rates = [bracket.decimal("maintMarginRatio") for bracket in fields.objects("brackets")]
            return min(rates, default=None)
    return None


def read_book_top(fields: Fields) -> BookTop:
    """Read a bookTicker answer; an empty side has the price of the other."""
    bid = fields.optional_decimal("bidPrice") or ZERO
    ask = fields.optional_decimal("askPrice") or ZERO
    if not bid and not ask:
        raise WireError(f"{fields.what}: both sides are empty")
    return BookTop(
        symbol=fields.text("symbol"),
        bid=bid or ask,
        ask=ask or bid,
        time=from_ms(fields.integer("time")),
    )


def read_positions(symbol: str, rows: object) -> list[Fields]:
    """Give the rows of a symbol. Errors: WireError when there is none: flat ones have a row too."""
    found = [f for f in objects("positions", rows) if f.text("symbol") == symbol]
    if not found:
        raise WireError(f"positions: none of {symbol}")
    return found


def read_position(symbol: str, rows: object) -> Position:
    """Read the signed holding, summed over the rows."""
    found = read_positions(symbol, rows)
    quantity = sum((fields.decimal("positionAmt") for fields in found), ZERO)
    if quantity == 0:
        return Position(symbol=symbol, quantity=ZERO)
    held = next(fields for fields in found if fields.decimal("positionAmt") != 0)
    return Position(
        symbol=symbol,
        quantity=quantity,
        entry_price=held.decimal("entryPrice"),
        liquidation_price=held.optional_decimal("liquidationPrice") or None,
    )


def read_balance(asset: str, rows: object) -> Balance:
    """Read the quote asset's row."""
    for fields in objects("balances", rows):
        if fields.text("asset") == asset:
            wallet = fields.decimal("balance")
            unrealized = fields.optional_decimal("crossUnPnl") or ZERO
            return Balance(
                asset=asset,
                wallet=wallet,
                equity=wallet + unrealized,
                available=fields.decimal("availableBalance"),
            )
    return Balance(asset=asset, wallet=ZERO, equity=ZERO, available=ZERO)


def read_used_margin(account: Fields) -> dict[str, Decimal]:
    """Read the initial margin of each symbol's position and orders, summed over its rows."""
    used: dict[str, Decimal] = {}
    for fields in account.objects("positions"):
        symbol = fields.text("symbol")
        used[symbol] = used.get(symbol, ZERO) + fields.decimal("initialMargin")
    return used


def read_fill(fields: Fields, client_order_id: str, fee_of: FeeOf = as_cost) -> Fill:
    """Read a row of userTrades; the client id comes from the order it names."""
    venue_id = fields.text("orderId")
    return Fill(
        trade_id=fields.text("id"),
        venue_order_id=venue_id,
        client_order_id=client_order_id,
        symbol=fields.text("symbol"),
        side=side_of(fields, "side"),
        price=fields.decimal("price"),
        quantity=fields.decimal("qty"),
        fee=fee_of(fields.decimal("commission"), fields.flag("maker")),
        fee_asset=fields.text("commissionAsset"),
        is_maker=fields.flag("maker"),
        time=from_ms(fields.integer("time")),
    )


def read_funding(fields: Fields, rate: Decimal | None) -> FundingPayment:
    """Read a row of income; what was held and the price then are not told."""
    return FundingPayment(
        symbol=fields.text("symbol"),
        time=from_ms(fields.integer("time")),
        rate=rate,
        mark_price=None,
        position=None,
        amount=fields.decimal("income"),
    )


def rate_at(rates: Sequence[tuple[int, Decimal]], stamp: int) -> Decimal | None:
    """Find the rate in force at a payment; None when it is not told."""
    before = [rate for at, rate in rates if at <= stamp + 1000]
    return before[-1] if before else None


# Streams --------------------------------------------------------------------------------------


def read_frame(text: str, fee_of: FeeOf = as_cost) -> Iterable[StreamEvent]:
    """Read one frame, bare or wrapped; one that is not ours gives nothing. Errors: WireError."""
    frame = Fields("frame", load_json(text, "frame"))
    if frame.has("stream") and frame.has("data"):
        frame = Fields(frame.text("stream"), frame.raw("data"))
    if frame.has("code") and frame.has("msg"):
        return (StreamRefused(reason=f"{frame.text('code')} {frame.text('msg')}"[:200]),)
    if frame.has("error"):
        return (StreamRefused(reason=str(frame.raw("error"))[:200]),)
    match frame.optional_text("e"):
        case "bookTicker":
            return _book_top(frame)
        case "markPriceUpdate":
            return (
                MarkPrice(
                    symbol=frame.text("s"),
                    price=frame.decimal("p"),
                    time=from_ms(frame.integer("E")),
                ),
            )
        case "ORDER_TRADE_UPDATE":
            return _order_update(frame, fee_of)
        case "ACCOUNT_UPDATE":
            return _account_update(frame)
        case "listenKeyExpired":
            return (StreamExpired(reason="the listen key has expired"),)
    return ()


def _book_top(frame: Fields) -> tuple[StreamEvent, ...]:
    bid, ask = frame.decimal("b"), frame.decimal("a")
    if not bid and not ask:
        return ()
    moment = from_ms(frame.integer("T" if frame.has("T") else "E"))
    return (BookTop(symbol=frame.text("s"), bid=bid or ask, ask=ask or bid, time=moment),)


def _account_update(frame: Fields) -> tuple[StreamEvent, ...]:
    """Read the one-way positions that an event tells of; what moved a balance alone has none."""
    data = frame.object("a")
    if not data.has("P"):
        return ()
    moment = from_ms(frame.integer("T" if frame.has("T") else "E"))
    return tuple(
        PositionTold(symbol=row.text("s"), quantity=row.decimal("pa"), time=moment)
        for row in data.objects("P")
        if row.optional_text("ps", "BOTH") == "BOTH"
    )


def _order_update(frame: Fields, fee_of: FeeOf) -> tuple[StreamEvent, ...]:
    """Read an order event: its fill, if it tells of one, and the order's state after it."""
    data = frame.object("o")
    venue_id = data.text("i")
    moment = from_ms(data.integer("T") if data.has("T") else frame.integer("E"))
    tif = data.optional_text("f")
    side = side_of(data, "S")
    order = Order(
        client_order_id=client_id_of(data.text("c"), venue_id, data.optional_text("ot")),
        symbol=data.text("s"),
        side=side,
        price=data.optional_decimal("p") or ZERO,
        quantity=data.decimal("q"),
        status=status_of(data.text("X")),
        created_at=moment,
        updated_at=moment,
        venue_order_id=venue_id,
        filled_qty=data.optional_decimal("z") or ZERO,
        post_only=tif == "GTX",
        reduce_only=data.flag("R"),
        time_in_force=TimeInForce.IOC if tif in ("IOC", "FOK") else TimeInForce.GTC,
    )
    last = data.optional_decimal("l") or ZERO
    if last == 0 or not data.optional_decimal("t"):
        return (order,)
    fill = Fill(
        trade_id=data.text("t"),
        venue_order_id=venue_id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=side,
        price=data.decimal("L"),
        quantity=last,
        fee=fee_of(data.optional_decimal("n") or ZERO, data.flag("m")),
        fee_asset=data.optional_text("N"),
        is_maker=data.flag("m"),
        time=moment,
    )
    return (fill, order)
