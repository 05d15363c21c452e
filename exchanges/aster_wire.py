"""Aster's wire: keys, both kinds of signature, calls, and what its errors mean. Pure.

Source: Aster futures documents V1 and V3, 2026-06. Two envelopes carry the same calls:

- **HMAC** (keys made before 2026-03): the hex HMAC-SHA256 over the query or form body exactly as
  it is sent, with `timestamp` and `recvWindow`, the signature last; the key in a header.
- **V3** (an API wallet): paths `/fapi/v3/...`; `nonce`, `user` and `signer` before the parameters,
  the whole text signed as EIP-712 by the wallet's key (`aster_v3`). No header, no window.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import urlencode

from core.errors import (
    AuthError,
    ConfigError,
    ExchangeError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
)
from core.model import Order, OrderRequest, TimeInForce
from exchanges.aster_form import encoded, wrapped
from exchanges.wire import (
    WINDOW_MS,
    Call,
    Fields,
    HttpRequest,
    Limit,
    Signing,
    TimestampRefused,
    WireError,
    load_json,
    plain,
)

BASE_URL = "https://fapi.asterdex.com"
WS_URL = "wss://fstream.asterdex.com"

MAX_BATCH = 5  # documented: batchOrders
MAX_CANCEL_BATCH = 10  # documented: orderIdList
PAGE = 1000  # documented maximum of userTrades, income and allOrders
HISTORY_WINDOW_MS = 7 * 24 * 3600 * 1000 - 1  # documented: below 7 days

LIMITS = (
    Limit(name="weight", count=2400, period_s=60.0, per_account=False),
    Limit(name="orders", count=1200, period_s=60.0, per_account=True),
    Limit(name="orders_10s", count=300, period_s=10.0, per_account=True),
)
"""exchangeInfo of 2026-01: weight for each address, orders for each account."""

THROTTLED_S = 10.0
BANNED_S = 120.0  # documented: a ban lasts from 2 minutes to 3 days
BLOCKED_S = 60.0  # 403: their firewall

_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")


class AsterKeys(Protocol):
    """What can sign: an HMAC key or an API wallet."""

    @property
    def account(self) -> str:
        """Name the account, for buckets and locks; no secret."""
        ...

    def envelope(self, call: Call, timestamp_us: int, window: int) -> HttpRequest: ...


class HmacKeys:
    """A key and a secret as Aster showed them before 2026-03."""

    def __init__(self, api_key: str, secret_key: str) -> None:
        """Take the pair. Errors: ConfigError naming what is wrong, never the secret itself."""
        for name, text in (("api_key", api_key), ("secret_key", secret_key)):
            if not re.fullmatch(r"[A-Za-z0-9]{16,128}", text):
                raise ConfigError(
                    f"exchange_config.{name}: is no Aster key ({len(text)} characters), expected "
                    "the letters and digits that Aster shows, or a wallet address as api_key "
                    "with the API wallet's private key as secret_key"
                )
        self.account = api_key
        self._secret = secret_key.encode()

    def sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def envelope(self, call: Call, timestamp_us: int, window: int) -> HttpRequest:
        headers = {"X-MBX-APIKEY": self.account}
        text = encoded(call)
        if call.signing is Signing.SIGNED:
            stamps = urlencode({"recvWindow": window, "timestamp": timestamp_us // 1000})
            text = f"{text}&{stamps}" if text else stamps
            text = f"{text}&signature={self.sign(text)}"
        return wrapped(call.method, call.path, text, headers)


def read_keys(api_key: str, secret_key: str) -> AsterKeys:
    """Tell by their form which kind of keys these are. Errors: ConfigError."""
    if re.fullmatch(r"0x[0-9a-fA-F]{40}", api_key):
        from exchanges.aster_v3 import WalletKeys

        return WalletKeys(api_key, secret_key)
    return HmacKeys(api_key, secret_key)


# Building -------------------------------------------------------------------------------------


def build(
    call: Call, keys: AsterKeys | None, timestamp_us: int, window: int = WINDOW_MS
) -> HttpRequest:
    """Turn a call into a request that is valid from `timestamp_us` for `window` milliseconds."""
    if call.signing is Signing.NONE:
        return wrapped(call.method, call.path, encoded(call), {})
    if keys is None:
        raise ConfigError("exchange_config.api_key: not set, expected a key for this call")
    return keys.envelope(call, timestamp_us, window)


# Calls ----------------------------------------------------------------------------------------


def public(path: str, params: Mapping[str, object] | None = None, *, weight: int = 1) -> Call:
    """Ask for what needs no key."""
    return Call(
        method="GET",
        path=path,
        params=params or {},
        signing=Signing.NONE,
        charges={"weight": weight},
    )


def query(path: str, params: Mapping[str, object] | None = None, *, weight: int) -> Call:
    """Ask for what belongs to the account."""
    return Call(method="GET", path=path, params=params or {}, charges={"weight": weight})


def write(
    method: str, path: str, params: Mapping[str, object], *, weight: int = 1, orders: int = 0
) -> Call:
    """Change something of the account."""
    charges = {"weight": weight}
    if orders:
        charges |= {"orders": orders, "orders_10s": orders}
    return Call(method=method, path=path, params=params, charges=charges, is_write=True)


def listen_key(method: str) -> Call:
    """Make (POST) or extend (PUT) the key of the user stream; it may be repeated freely."""
    return Call(
        method=method, path="/fapi/v1/listenKey", signing=Signing.KEY, charges={"weight": 1}
    )


def place_one(request: OrderRequest) -> Call:
    return write("POST", "/fapi/v1/order", order_params(request), orders=1)


def place_many(requests: Sequence[OrderRequest]) -> Call:
    params = {"batchOrders": [order_params(request) for request in requests]}
    return write("POST", "/fapi/v1/batchOrders", params, weight=5, orders=len(requests))


def cancel_one(order: Order) -> Call:
    params: dict[str, object] = {"symbol": order.symbol}
    if order.venue_order_id is not None:
        params["orderId"] = order.venue_order_id
    else:
        params["origClientOrderId"] = order.client_order_id
    return write("DELETE", "/fapi/v1/order", params)


def cancel_many(symbol: str, orders: Sequence[Order]) -> Call:
    params: dict[str, object] = {"symbol": symbol}
    ids = [order.venue_order_id for order in orders]
    if all(venue_id is not None and venue_id.isdigit() for venue_id in ids):
        params["orderIdList"] = [int(venue_id) for venue_id in ids if venue_id is not None]
    else:
        params["origClientOrderIdList"] = [order.client_order_id for order in orders]
    return write("DELETE", "/fapi/v1/batchOrders", params)


def countdown(symbol: str, seconds: float) -> Call:
    params = {"symbol": symbol, "countdownTime": round(seconds * 1000)}
    return write("POST", "/fapi/v1/countdownCancelAll", params, weight=10)


def order_params(request: OrderRequest) -> dict[str, object]:
    """Write an order as Aster takes it. Errors: Rejected for a client id of another form."""
    if _CLIENT_ID.fullmatch(request.client_order_id) is None:
        raise Rejected(
            RejectReason.OTHER,
            f"client order id {request.client_order_id!r}: Aster takes 1 to 36 of .A-Z:/a-z0-9_-",
        )
    ioc = request.time_in_force is TimeInForce.IOC
    params: dict[str, object] = {
        "symbol": request.symbol,
        "side": request.side.value,
        "type": "LIMIT",
        "timeInForce": "GTX" if request.post_only else "IOC" if ioc else "GTC",
        "quantity": plain(request.quantity),
        "price": plain(request.price),
        "newClientOrderId": request.client_order_id,
        "newOrderRespType": "RESULT",  # so that an order that ended at once says so
    }
    if request.reduce_only:
        params["reduceOnly"] = "true"
    return params


# Errors ---------------------------------------------------------------------------------------

_UNKNOWN_CODES = (-1000, -1001, -1006, -1007, -1016)
_THROTTLE_CODES = (-1003, -1015)
_KEY_CODES = (-1002, -1022, -2014, -2015)
_TIME_CODES = (-1021, -4225)
_REASONS = {
    -1111: RejectReason.PRECISION,
    -2011: RejectReason.NOT_FOUND,
    -2013: RejectReason.NOT_FOUND,
    -2018: RejectReason.MARGIN,
    -2019: RejectReason.MARGIN,
    -2021: RejectReason.POST_ONLY,
    -2022: RejectReason.REDUCE_ONLY,
    -2023: RejectReason.MARKET,  # the account is being liquidated
    -2025: RejectReason.TOO_MANY_ORDERS,
    -2027: RejectReason.MARGIN,
    -2028: RejectReason.MARGIN,
    -4001: RejectReason.PRECISION,
    -4002: RejectReason.PRECISION,
    -4003: RejectReason.PRECISION,
    -4004: RejectReason.PRECISION,
    -4005: RejectReason.PRECISION,
    -4006: RejectReason.PRECISION,
    -4007: RejectReason.PRECISION,
    -4013: RejectReason.PRECISION,
    -4014: RejectReason.PRECISION,
    -4023: RejectReason.PRECISION,
    -4045: RejectReason.TOO_MANY_ORDERS,
    -4087: RejectReason.MARKET,  # only reduce-only orders
    -4088: RejectReason.MARKET,  # no orders at all
    -4140: RejectReason.MARKET,  # no new positions
    -4141: RejectReason.MARKET,  # the symbol is closed
    -4116: RejectReason.DUPLICATE_ID,  # seen at exchanges of the same ancestry
    -4118: RejectReason.REDUCE_ONLY,
    -4164: RejectReason.NOTIONAL,
    -5022: RejectReason.POST_ONLY,
    -5076: RejectReason.NOTIONAL,
}
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")


def read_error(
    status: int, text: str, *, is_write: bool, retry_after_s: float | None, now_ms: int
) -> ExchangeError:
    """Say what a refusal means and whose move it is; `now_ms` is the exchange's clock."""
    code, message = _code_and_message(text)
    words = f"{code} {message}".strip() if code else f"HTTP {status} {message}".strip()
    if status in (418, 429) or code in _THROTTLE_CODES:
        delay = BANNED_S if status == 418 else THROTTLED_S
        until = _BANNED_UNTIL.search(message)
        if until is not None:
            delay = max(1.0, (int(until.group(1)) - now_ms) / 1000)
        return Retryable(words, delay if retry_after_s is None else max(retry_after_s, 0.0))
    if status == 403 and not code:
        return Retryable(words, BLOCKED_S if retry_after_s is None else retry_after_s)
    return error_of(code, words, message=message, status=status, is_write=is_write)


def error_of(
    code: int, words: str, *, message: str = "", status: int = 400, is_write: bool = True
) -> ExchangeError:
    """The same for one item of a batch, whose HTTP status says nothing."""
    if code in _TIME_CODES:
        return TimestampRefused(words)
    if code in _KEY_CODES or status == 401:
        return AuthError(words)
    if code in _THROTTLE_CODES:
        return Retryable(words, THROTTLED_S)
    if code in _UNKNOWN_CODES or status >= 500:
        return OutcomeUnknown(words) if is_write else Retryable(words)
    if code == -1112:
        return Retryable(words, 1.0)
    lowered = (message or words).lower()
    if code == -2010:
        if "immediately match" in lowered or "post only" in lowered:
            return Rejected(RejectReason.POST_ONLY, words)
        if "duplicate" in lowered:
            return Rejected(RejectReason.DUPLICATE_ID, words)
    if "duplicate" in lowered and code not in _REASONS:
        return Rejected(RejectReason.DUPLICATE_ID, words)
    return Rejected(_REASONS.get(code, RejectReason.OTHER), words)


def item_error(fields: Fields) -> ExchangeError:
    """Read a `{code, msg}` that stands in an order's place."""
    code, message = fields.integer("code"), fields.optional_text("msg")
    return error_of(code, f"{code} {message}".strip(), message=message)


def _code_and_message(text: str) -> tuple[int, str]:
    try:
        fields = Fields("error", load_json(text, "error"))
        code = fields.integer("code") if fields.has("code") else 0
        return code, fields.optional_text("msg")
    except WireError:
        return 0, " ".join(text.split())[:200]
