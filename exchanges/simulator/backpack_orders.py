"""A Backpack order payload in, a `Draft` out, or the exchange's refusal. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from core.model import Side
from exchanges.simulator.backpack_auth import BackpackError, bad_request
from exchanges.simulator.limits import Listing
from exchanges.simulator.records import Draft, Exit, Refused, Trigger, Why
from exchanges.simulator.text import plain, wire_figure

Kind = TypeVar("Kind")

SIDES = {"Bid": Side.BUY, "Ask": Side.SELL}
MAX_BATCH = 50  # the highest figure that any public client uses; the document names none
MAX_CLIENT_ID = 2**32 - 1
_EXITS = ("stopLoss", "takeProfit")
_TRIGGERS = {name: name for name in ("MarkPrice", "LastPrice", "IndexPrice")}  # one price here

REFUSALS: dict[Why, tuple[str, str]] = {
    Why.SYMBOL: ("INVALID_SYMBOL", "Invalid symbol"),
    Why.PRICE_MISSING: ("INVALID_CLIENT_REQUEST", "Limit orders must have a price"),
    Why.PRICE_TICK: ("INVALID_CLIENT_REQUEST", "Price decimal too long"),
    Why.PRICE_LOW: ("INVALID_PRICE", "Price is below the minimum allowed value"),
    Why.PRICE_HIGH: ("INVALID_PRICE", "Price is above the maximum allowed value"),
    Why.BAND_LOW: ("INVALID_PRICE", "Price is too far from the last active price"),
    Why.BAND_HIGH: ("INVALID_PRICE", "Price is too far from the last active price"),
    Why.QUANTITY_MISSING: ("INVALID_CLIENT_REQUEST", "Must specify a quantity"),
    Why.QUANTITY_STEP: ("INVALID_CLIENT_REQUEST", "Quantity decimal too long"),
    Why.QUANTITY_ZERO: (
        "INVALID_CLIENT_REQUEST",
        "Quantity is below the minimum allowed value",
    ),
    Why.QUANTITY_LOW: (
        "INVALID_CLIENT_REQUEST",
        "Quantity is below the minimum allowed value",
    ),
    Why.QUANTITY_HIGH: ("INVALID_QUANTITY", "Quantity is above the maximum allowed value"),
    Why.NOTIONAL: ("INVALID_QUANTITY", "Order value is below the minimum"),
    Why.POST_ONLY: ("INVALID_ORDER", "Order would immediately match and take"),
    Why.BOOK_POST_ONLY: ("INVALID_ORDER", "Order book is in post only mode"),
    Why.BOOK_CLOSED: ("TRADING_PAUSED", "Trading is paused"),
    Why.REDUCE_ONLY: ("INVALID_ORDER", "Reduce only order not reduced"),
    Why.MARGIN: ("INSUFFICIENT_MARGIN", "Insufficient margin"),
    Why.DUPLICATE_ID: ("INVALID_CLIENT_REQUEST", "Duplicate clientId"),
    Why.TOO_MANY_ORDERS: ("ORDER_LIMIT", "Too many open orders"),
    Why.NOT_FOUND: ("INVALID_CLIENT_REQUEST", "Order not found"),
    Why.TRIGGERS_NOW: ("INVALID_ORDER", "Order would trigger immediately"),
    Why.TOO_MANY_TRIGGERS: ("ORDER_LIMIT", "Too many open trigger orders"),
    Why.LEVERAGE: ("MAX_LEVERAGE_REACHED", "Invalid leverage limit"),
}


def refusal(refused: Refused) -> BackpackError:
    code, message = REFUSALS[refused.why]
    return BackpackError(400, code, message)


def draft_of(
    payload: Mapping[str, Any],
    listings: Mapping[str, Listing],
    last_of: Callable[[str], Decimal],
) -> Draft:
    """Errors: BackpackError. `last_of`: the last price of a symbol, which a trigger lies beyond."""
    symbol = symbol_of(payload, listings)
    side = _choice(payload, "side", "Side", SIDES)
    kind = _choice(payload, "orderType", "OrderTypeEnum", {"Limit": "Limit", "Market": "Market"})
    tif = _choice(
        payload, "timeInForce", "TimeInForce", {x: x for x in ("GTC", "IOC", "FOK")}, "GTC"
    )
    known_stp = ("RejectTaker", "RejectMaker", "RejectBoth", "Allow")
    stp = _choice(
        payload,
        "selfTradePrevention",
        "SelfTradePrevention",
        {x: x for x in known_stp},
        "RejectTaker",
    )
    trigger, trigger_quantity = _trigger(payload, last_of(symbol))
    price = figure(payload, "price")
    is_post_only = _flag(payload, "postOnly")
    if kind == "Limit" and price is None:
        raise refusal(Refused(Why.PRICE_MISSING))
    if (kind == "Market" and is_post_only) or (is_post_only and tif != "GTC"):
        raise bad_request("Post only orders must be GTC limit orders", "INVALID_ORDER")
    return Draft(
        symbol=symbol,
        side=side,
        price=price if kind == "Limit" else None,
        quantity=figure(payload, "quantity") if trigger is None else trigger_quantity,
        quote_quantity=figure(payload, "quoteQuantity"),
        tif=tif,
        post_only=is_post_only,
        reduce_only=_flag(payload, "reduceOnly"),
        client_id=client_id(payload),
        trigger=trigger,
        exits=_exits(payload, side, price if price is not None else last_of(symbol)),
        extra={
            "stp": stp,
            "reduce_only": payload.get("reduceOnly"),
            "trigger_by": payload.get("triggerBy"),
            "trigger_quantity": payload.get("triggerQuantity"),
            "exits": {
                name: None if payload.get(name) is None else str(payload[name])
                for exit_ in _EXITS
                for name in (f"{exit_}TriggerPrice", f"{exit_}LimitPrice", f"{exit_}TriggerBy")
            },
        },
    )


def _trigger(
    payload: Mapping[str, Any], last: Decimal
) -> tuple[Trigger, Decimal | None] | tuple[None, None]:
    """The trigger and its quantity; a quantity such as `80%` is a share of the position."""
    price = figure(payload, "triggerPrice")
    text = payload.get("triggerQuantity")
    if (price is None) != (text is None):
        raise bad_request("Must specify both `triggerPrice` and `triggerQuantity` or neither")
    if price is None:
        return None, None
    if not (isinstance(text, str) and text.endswith("%")):
        return Trigger(price=price, is_above=price > last), figure(payload, "triggerQuantity")
    percent = wire_figure(text[:-1])
    if percent is None or not 0 < percent <= 100:
        raise bad_request('parse request payload error: failed to parse "triggerQuantity"')
    return Trigger(price=price, is_above=price > last, share=percent / 100), None


def _exits(payload: Mapping[str, Any], side: Side, entry: Decimal) -> tuple[Exit, ...]:
    """The stop loss on the side of `entry` that loses, the take profit on the other."""
    found = []
    for name in _EXITS:
        price, limit = figure(payload, f"{name}TriggerPrice"), figure(payload, f"{name}LimitPrice")
        by = payload.get(f"{name}TriggerBy")
        if price is None and (limit is not None or by is not None):
            raise bad_request(f"Must specify `{name}TriggerPrice`")
        if by is not None:
            _choice(payload, f"{name}TriggerBy", "TriggerBy", _TRIGGERS)
        if price is None:
            continue
        is_above = (side is Side.BUY) == (name == "takeProfit")
        if price == entry or (price > entry) != is_above:
            raise bad_request(f"Invalid {name}TriggerPrice", "INVALID_PRICE")
        found.append(Exit(trigger=Trigger(price=price, is_above=is_above), limit=limit, by=by))
    return tuple(found)


def symbol_of(payload: Mapping[str, Any], listings: Mapping[str, Listing]) -> str:
    """Errors: BackpackError."""
    symbol = payload.get("symbol")
    if symbol is None:
        raise bad_request('parse request payload error: missing field "symbol"')
    if not isinstance(symbol, str) or symbol not in listings:
        raise refusal(Refused(Why.SYMBOL))
    return symbol


def client_id(payload: Mapping[str, Any]) -> str | None:
    """A uint32, as a number or as text. Errors: BackpackError."""
    value = payload.get("clientId")
    if value is None:
        return None
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit():
        raise bad_request('parse request payload error: failed to parse "clientId"')
    if len(text) > 10 or int(text) > MAX_CLIENT_ID:
        raise bad_request('parse request payload error: failed to parse "clientId": too large')
    return str(int(text))


def order_id(payload: Mapping[str, Any]) -> int | None:
    """Errors: BackpackError."""
    value = payload.get("orderId")
    if value is None:
        return None
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise bad_request('parse request payload error: failed to parse "orderId"')
    return int(text)


def figure(payload: Mapping[str, Any], name: str) -> Decimal | None:
    """A positive or zero decimal, as text or as a number. Errors: BackpackError."""
    value = payload.get(name)
    if value is None:
        return None
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    parsed = wire_figure(str(value)) if is_text else None
    if parsed is None or parsed < 0 or len(plain(parsed)) > 40:
        raise bad_request(f'parse request payload error: failed to parse "{name}"')
    return parsed


def _choice(
    payload: Mapping[str, Any],
    name: str,
    kind: str,
    known: Mapping[str, Kind],
    default: str | None = None,
) -> Kind:
    value = payload.get(name)
    if value is None:
        value = default
    if value is None:
        raise bad_request(f'parse request payload error: missing field "{name}"')
    if not isinstance(value, str) or value not in known:
        raise bad_request(
            f'parse request payload error: failed to parse "{kind}": unknown value {value!r}'
        )
    return known[value]


def _flag(payload: Mapping[str, Any], name: str) -> bool:
    value = payload.get(name)
    if value is None or value is False or value in ("false", "False"):
        return False
    if value is True or value in ("true", "True"):
        return True
    raise bad_request(f'parse request payload error: failed to parse "{name}"')
