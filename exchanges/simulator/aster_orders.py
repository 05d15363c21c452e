"""An Aster order's parameters in, a `Draft` out, or the exchange's refusal. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from core.model import Side
from exchanges.simulator.aster_auth import AsterError, missing
from exchanges.simulator.limits import Listing
from exchanges.simulator.records import Draft, Refused, Trigger, Why
from exchanges.simulator.text import wire_figure

MAX_BATCH = 5
MAX_CANCELS = 10
MAX_DECIMALS = 8
CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}\Z")
TRAILING = "TRAILING_STOP_MARKET"
_TYPES = (
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    TRAILING,
)
# HIDDEN rests without being shown; RPI and GTX never take.
TIMES_IN_FORCE = {
    "GTC": "GTC",
    "IOC": "IOC",
    "FOK": "FOK",
    "GTX": "GTC",
    "HIDDEN": "GTC",
    "RPI": "GTC",
}
CALLBACKS = (Decimal("0.1"), Decimal(5))  # percent

REFUSALS: dict[Why, tuple[int, str]] = {
    Why.SYMBOL: (-1121, "Invalid symbol."),
    Why.PRICE_MISSING: (
        -1102,
        "Mandatory parameter 'price' was not sent, was empty/null, or malformed.",
    ),
    Why.PRICE_TICK: (-4014, "Price not increased by tick size."),
    Why.PRICE_LOW: (-4013, "Price less than min price."),
    Why.PRICE_HIGH: (-4002, "Price greater than max price."),
    Why.BAND_LOW: (-4024, "Price is lower than mark price multiplier floor."),
    Why.BAND_HIGH: (-4016, "Price is higher than mark price multiplier cap."),
    Why.QUANTITY_MISSING: (
        -1102,
        "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed.",
    ),
    Why.QUANTITY_STEP: (-4023, "Qty not increased by step size."),
    Why.QUANTITY_ZERO: (-4003, "Quantity less than zero."),
    Why.QUANTITY_LOW: (-4004, "Quantity less than min quantity."),
    Why.QUANTITY_HIGH: (-4005, "Quantity greater than max quantity."),
    Why.NOTIONAL: (
        -4164,
        "Order's notional must be no smaller than 5.0 (unless you choose reduce only)",
    ),
    Why.POST_ONLY: (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected.",
    ),
    Why.BOOK_POST_ONLY: (-4088, "User can not place order currently."),
    Why.BOOK_CLOSED: (-4141, "Symbol is closed."),
    Why.REDUCE_ONLY: (-2022, "ReduceOnly Order is rejected."),
    Why.MARGIN: (-2019, "Margin is insufficient."),
    Why.DUPLICATE_ID: (-4116, "ClientOrderId is duplicated."),
    Why.TOO_MANY_ORDERS: (-2025, "Reach max open order limit."),
    Why.NOT_FOUND: (-2013, "Order does not exist."),
    Why.TRIGGERS_NOW: (-2021, "Order would immediately trigger."),
    Why.TOO_MANY_TRIGGERS: (-4045, "Reach max stop order limit."),
    Why.LEVERAGE: (-4028, "Leverage is not valid"),
}


def refusal(refused: Refused) -> AsterError:
    return AsterError(*REFUSALS[refused.why])


def draft_of(
    params: Mapping[str, str],
    listings: Mapping[str, Listing],
    last_of: Callable[[str], Decimal],
    *,
    is_hedged: bool,
) -> Draft:
    """Errors: AsterError. `last_of`: the last price of a symbol, where a trailing order begins."""
    symbol = symbol_of(params, listings)
    side = _one_of(params, "side", ("BUY", "SELL"), AsterError(-1117, "Invalid side."))
    kind = _one_of(params, "type", _TYPES, AsterError(-1116, "Invalid orderType."))
    trigger = None
    if kind == TRAILING:
        trigger = _trail(params, Side[side], last_of(symbol))
    elif kind not in ("LIMIT", "MARKET"):
        trigger = _trigger(params, kind, Side[side])
    elif _flag(params, "closePosition"):
        raise AsterError(-4136, "Target strategy invalid for orderType, closePosition true")
    working_type = _one_of(
        params,
        "workingType",
        ("CONTRACT_PRICE", "MARK_PRICE"),
        _bad("workingType"),
        "CONTRACT_PRICE",
    )
    position_side = params.get("positionSide") or "BOTH"
    if position_side not in ("BOTH", "LONG", "SHORT"):
        raise AsterError(-4060, "Invalid position side.")
    if (position_side == "BOTH") == is_hedged:
        raise AsterError(-4061, "Order's position side does not match user's setting.")
    if is_hedged:
        raise AsterError(-1020, "This operation is not supported: no hedge mode here.")
    quantity = figure(params, "quantity")
    price: Decimal | None = None
    tif = "GTC"
    if not kind.endswith("MARKET"):
        tif_error = AsterError(-1115, "Invalid timeInForce.")
        default = None if trigger is None else "GTC"
        tif = _one_of(params, "timeInForce", tuple(TIMES_IN_FORCE), tif_error, default)
        price = figure(params, "price")
        if price is None:
            raise refusal(Refused(Why.PRICE_MISSING))
    if quantity is None and (trigger is None or trigger.share is None):
        raise refusal(Refused(Why.QUANTITY_MISSING))
    client_id = params.get("newClientOrderId")
    if client_id is not None and not CLIENT_ID.match(client_id):
        raise AsterError(-4015, "Client order id is not valid.")
    _one_of(params, "newOrderRespType", ("ACK", "RESULT"), _bad("newOrderRespType"), "ACK")
    return Draft(
        symbol=symbol,
        side=Side[side],
        price=price,
        quantity=quantity,
        tif=TIMES_IN_FORCE[tif],
        post_only=tif in ("GTX", "RPI"),
        reduce_only=_flag(params, "reduceOnly"),
        client_id=client_id,
        expires_crossing=True,
        trigger=trigger,
        extra={
            "tif": tif,
            "type": kind,
            "working_type": working_type,
            "price_protect": _flag(params, "priceProtect"),
        },
    )


def _trigger(params: Mapping[str, str], kind: str, side: Side) -> Trigger:
    """A stop is reached from the side that loses, a take-profit from the other."""
    price = figure(params, "stopPrice")
    if price is None:
        raise missing("stopPrice")
    closes = _flag(params, "closePosition")
    if closes and (params.get("quantity") or _flag(params, "reduceOnly")):
        raise AsterError(-1128, "Combination of optional parameters invalid.")
    if closes and not kind.endswith("MARKET"):
        raise AsterError(-4136, "Target strategy invalid for orderType, closePosition true")
    is_above = (side is Side.BUY) == kind.startswith("STOP")
    return Trigger(price=price, is_above=is_above, share=Decimal(1) if closes else None)


def _trail(params: Mapping[str, str], side: Side, last: Decimal) -> Trigger:
    """A sale watches from the activation price upwards, a purchase downwards; else from now on."""
    rate = figure(params, "callbackRate")
    if rate is None:
        raise missing("callbackRate")
    if not CALLBACKS[0] <= rate <= CALLBACKS[1]:
        raise AsterError(-2007, "Invalid callBack rate.")
    if _flag(params, "closePosition"):
        raise AsterError(-4136, "Target strategy invalid for orderType, closePosition true")
    price = figure(params, "activationPrice")
    if price is None:
        price = last
    elif price == last or (price > last) != (side is Side.SELL):
        raise refusal(Refused(Why.TRIGGERS_NOW))
    return Trigger(price=price, is_above=side is Side.SELL, callback=rate / 100)


def symbol_of(params: Mapping[str, str], listings: Mapping[str, Listing]) -> str:
    """Errors: AsterError."""
    symbol = params.get("symbol")
    if not symbol:
        raise missing("symbol")
    if symbol not in listings:
        raise refusal(Refused(Why.SYMBOL))
    return symbol


def figure(params: Mapping[str, str], name: str) -> Decimal | None:
    """Errors: AsterError."""
    text = params.get(name)
    if text is None or text == "":
        return None
    value = wire_figure(text)
    if value is None:
        raise AsterError(-1100, f"Illegal characters found in parameter '{name}'.")
    if value < 0:
        raise AsterError(
            *(
                (-4001, "Price less than 0.")
                if name == "price"
                else (-4003, "Quantity less than zero.")
            )
        )
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MAX_DECIMALS:
        raise AsterError(-1111, "Precision is over the maximum defined for this asset.")
    return value


def whole(params: Mapping[str, str], name: str) -> int | None:
    """Errors: AsterError."""
    text = params.get(name)
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise AsterError(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(text)


def _one_of(
    params: Mapping[str, str],
    name: str,
    known: tuple[str, ...],
    error: AsterError,
    default: str | None = None,
) -> str:
    value = params.get(name) or default
    if value is None:
        raise missing(name)
    if value not in known:
        raise error
    return value


def _flag(params: Mapping[str, str], name: str) -> bool:
    value = (params.get(name) or "false").lower()
    if value not in ("true", "false"):
        raise _bad(name)
    return value == "true"


def _bad(name: str) -> AsterError:
    return AsterError(-1130, f"Data sent for parameter '{name}' is not valid.")
