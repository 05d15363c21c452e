"""Backpack's replies, read into our own values; the stream's frames are `backpack_frames`'. Pure.

Source: as `backpack_wire`. Odd but true: REST stamps orders in ms and history in ISO text without
a zone (UTC); order history words its client id as a number, fill
history as a text; both sides of a depth answer ascend, so the best bid is its last.
"""

from __future__ import annotations

from decimal import Decimal

from core.errors import RejectReason
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
    Side,
    TimeInForce,
)
from exchanges.wire import (
    BookTop,
    Fields,
    WireError,
    from_iso,
    from_ms,
    from_us,
    load_json,
    objects,
    to_decimal,
)

BASIS_POINT = Decimal("0.0001")

_SIDES = {"Bid": Side.BUY, "Ask": Side.SELL}
_STATUSES = {
    "New": OrderStatus.NEW,
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELED,
    "Canceled": OrderStatus.CANCELED,
    "Expired": OrderStatus.EXPIRED,
    "TriggerPending": OrderStatus.NEW,
    "Triggered": OrderStatus.NEW,
    "TriggerFailed": OrderStatus.REJECTED,
}
END_REASONS = {
    "AccountTradingSuspended": RejectReason.MARKET,
    "InsufficientFunds": RejectReason.MARGIN,
    "InsufficientMargin": RejectReason.MARGIN,
    "InvalidPrice": RejectReason.OTHER,
    "Liquidation": RejectReason.MARKET,
    "NegativeEquity": RejectReason.MARKET,
    "PositionLimit": RejectReason.MARGIN,
    "PostOnlyMode": RejectReason.MARKET,
    "PriceOutOfBounds": RejectReason.OTHER,  # tried again in a while, not in the next moment
    "ReduceOnlyNotReduced": RejectReason.REDUCE_ONLY,
    "UserPermissions": RejectReason.MARKET,
}
"""Expiry reasons of orders that ended at once, by what they mean for the next one."""

DEFAULT_MAINTENANCE = Decimal("0.0125")  # where a market names no function of its own


def status_of(word: str) -> OrderStatus:
    """Translate a state; an unknown word counts as open, so that the order is asked about again."""
    return _STATUSES.get(word, OrderStatus.NEW)


def side_of(fields: Fields, name: str) -> Side:
    word = fields.text(name)
    if word not in _SIDES:
        raise WireError(f"{fields.what}: {name}: was {word[:20]!r}, expected Bid or Ask")
    return _SIDES[word]


def unnamed(venue_order_id: str) -> str:
    """Name an order that carries no client id, so that two of them are two."""
    return f"venue:{venue_order_id}"


# REST -----------------------------------------------------------------------------------------


def read_order(fields: Fields) -> Order:
    """Read an order of any kind, resting, answered or from the history."""
    venue_id = fields.text("id")
    created = fields.raw("createdAt")
    what = f"{fields.what}: createdAt"
    if isinstance(created, str) and not created.isdigit():
        moment = from_iso(created, what)
    else:
        moment = from_ms(int(to_decimal(created, what)))
    return Order(
        client_order_id=fields.optional_text("clientId") or unnamed(venue_id),
        symbol=fields.text("symbol"),
        side=side_of(fields, "side"),
        price=fields.optional_decimal("price") or ZERO,
        quantity=fields.optional_decimal("quantity") or ZERO,
        status=status_of(fields.text("status")),
        created_at=moment,
        updated_at=moment,
        venue_order_id=venue_id,
        filled_qty=fields.optional_decimal("executedQuantity") or ZERO,
        post_only=fields.flag("postOnly"),
        reduce_only=fields.flag("reduceOnly"),
        time_in_force=time_in_force(fields.optional_text("timeInForce")),
        reason=fields.optional_text("expiryReason"),
    )


def time_in_force(word: str) -> TimeInForce:
    return TimeInForce.IOC if word in ("IOC", "FOK") else TimeInForce.GTC


def read_instrument(market: Fields, account: Fields) -> Instrument:
    """Read limits from a market and fees, given in basis points, from the account."""
    price, quantity = market.object("filters").object("price"), market.object("filters")
    quantity = quantity.object("quantity")
    maintenance = DEFAULT_MAINTENANCE
    if market.has("mmfFunction"):
        maintenance = market.object("mmfFunction").decimal("base")
    return Instrument(
        symbol=market.text("symbol"),
        base_asset=market.text("baseSymbol"),
        quote_asset=market.text("quoteSymbol"),
        tick_size=price.decimal("tickSize"),
        lot_size=quantity.decimal("stepSize"),
        min_quantity=quantity.decimal("minQuantity"),
        min_notional=ZERO,  # there is no such filter
        maker_fee=account.decimal("futuresMakerFee") * BASIS_POINT,
        taker_fee=account.decimal("futuresTakerFee") * BASIS_POINT,
        max_quantity=quantity.optional_decimal("maxQuantity"),
        maintenance_rate=maintenance,
    )


def is_perpetual(market: Fields) -> bool:
    return market.optional_text("marketType", "PERP") in ("PERP", "IPERP")


_STATES = {
    "Open": MarketState.OPEN,
    "LimitOnly": MarketState.OPEN,  # all our orders are limit orders
    "PostOnly": MarketState.POST_ONLY,
    "CancelOnly": MarketState.CANCEL_ONLY,
}


def takes_exits(market: Fields) -> bool:
    """Tell whether the book takes any order of ours now."""
    return _book_state(market).takes_exits


def _book_state(market: Fields) -> MarketState:
    return _STATES.get(market.optional_text("orderBookState", "Open"), MarketState.CLOSED)


def read_market_state(status: Fields, market: Fields) -> MarketReport:
    """Read the exchange's state and the book's; a word that is not known is a closed book."""
    if status.optional_text("status", "Ok") == "Maintenance":
        told = status.optional_text("message") or "Maintenance"
        return MarketReport(state=MarketState.MAINTENANCE, told=told)
    word = market.optional_text("orderBookState", "Open")
    return MarketReport(state=_book_state(market), told=word)


def read_depth(symbol: str, fields: Fields) -> BookTop:
    """Read the best bid and ask, whatever the order of the rows."""
    bids = _prices(fields, "bids")
    asks = _prices(fields, "asks")
    if not bids and not asks:
        raise WireError(f"depth of {symbol}: both sides are empty")
    bid = max(bids) if bids else min(asks)
    ask = min(asks) if asks else bid
    moment = from_us(fields.integer("timestamp"))
    return BookTop(symbol=symbol, bid=bid, ask=ask, time=moment)


def _prices(fields: Fields, name: str) -> list[Decimal]:
    rows = fields.raw(name)
    if not isinstance(rows, list):
        raise WireError(f"{fields.what}: {name}: expected a list")
    prices = []
    for row in rows:
        if not isinstance(row, list) or len(row) < 2:
            raise WireError(f"{fields.what}: {name}: expected rows of price and quantity")
        if to_decimal(row[1], f"{fields.what}: {name}") > 0:
            prices.append(to_decimal(row[0], f"{fields.what}: {name}"))
    return prices


def read_mark(symbol: str, rows: object) -> Decimal:
    """Find a symbol's mark price in the list of them."""
    for fields in objects("mark prices", rows):
        if fields.text("symbol") == symbol:
            return fields.decimal("markPrice")
    raise WireError(f"mark prices: none of {symbol}")


def read_position(symbol: str, rows: object) -> Position:
    """Read the signed holding; no row is a flat position."""
    for fields in objects("positions", rows):
        if fields.text("symbol") != symbol:
            continue
        quantity = fields.decimal("netQuantity")
        if quantity == 0:
            break
        liquidation = fields.optional_decimal("estLiquidationPrice")
        return Position(
            symbol=symbol,
            quantity=quantity,
            entry_price=fields.decimal("entryPrice"),
            liquidation_price=liquidation or None,
        )
    return Position(symbol=symbol, quantity=ZERO)


def read_balance(asset: str, fields: Fields) -> Balance:
    """Read the account's collateral: what is lent out counts, unlike in `capital`."""
    equity = fields.decimal("netEquity")
    unrealized = fields.optional_decimal("pnlUnrealized") or ZERO
    return Balance(
        asset=asset,
        wallet=equity - unrealized,
        equity=equity,
        available=fields.decimal("netEquityAvailable"),
    )


def read_used_margin(positions: object, orders: object, leverage: Decimal) -> dict[str, Decimal]:
    """Read the initial margin that each symbol's position and orders hold back.

    A position's row has its exposure, the orders that raise it included, and its margin fraction.
    A symbol with orders alone has no row: the dearer side of them at the account's leverage.
    """
    used = {
        fields.text("symbol"): fields.decimal("netExposureNotional") * fields.decimal("imf")
        for fields in objects("positions", positions)
    }
    resting: dict[str, dict[Side, Decimal]] = {}
    for fields in objects("orders", orders):
        order = read_order(fields)
        if not order.reduce_only:
            sides = resting.setdefault(order.symbol, dict.fromkeys(Side, ZERO))
            sides[order.side] += order.price * order.leaves_qty
    return {symbol: max(sides.values()) / leverage for symbol, sides in resting.items()} | used


def read_fill(fields: Fields) -> Fill:
    """Read a row of the fill history. A fill that the exchange itself caused says so in its id."""
    venue_id = fields.text("orderId")
    stamp = fields.text("timestamp")
    system = fields.optional_text("systemOrderType")
    return Fill(
        trade_id=fields.optional_text("tradeId") or f"{venue_id}@{stamp}",
        venue_order_id=venue_id,
        client_order_id=(
            f"liquidation:{venue_id}"
            if system
            else fields.optional_text("clientId") or unnamed(venue_id)
        ),
        symbol=fields.text("symbol"),
        side=side_of(fields, "side"),
        price=fields.decimal("price"),
        quantity=fields.decimal("quantity"),
        fee=fields.decimal("fee"),
        fee_asset=fields.text("feeSymbol"),
        is_maker=fields.flag("isMaker"),
        time=from_iso(stamp, f"{fields.what}: timestamp"),
    )


def read_funding(fields: Fields) -> FundingPayment:
    """Read a funding payment; what was held and the price then are not told."""
    return FundingPayment(
        symbol=fields.text("symbol"),
        time=from_iso(fields.text("intervalEndTimestamp"), f"{fields.what}: intervalEndTimestamp"),
        rate=fields.decimal("fundingRate"),
        mark_price=None,
        position=None,
        amount=fields.decimal("quantity"),
    )


def read_batch(text: str, count: int, what: str) -> list[Fields]:
    """Read a batch answer: one object a request, in order. Errors: WireError, also when short."""
    items = list(objects(what, load_json(text, what)))
    if len(items) != count:
        raise WireError(f"{what}: was {len(items)} results, expected {count}")
    return items
