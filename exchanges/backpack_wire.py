"""Backpack's wire: keys, the signed text, calls, and what its errors mean. Pure.

Source: Backpack Exchange API, OpenAPI document of 2025-11 and 2026-08, and its support pages. Words
of the exchange (`Bid`, `orderId`, ...) stay in here and in `backpack_replies`.

The signed text is `instruction=NAME&` + the parameters sorted by name + `&timestamp=T&window=W`; a
batch repeats instruction and parameters for every order. Values are signed as they are sent, not
percent-encoded, booleans in lower case; decimals are texts. DELETE and PATCH carry a JSON body.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from core.errors import (
    AuthError,
    ConfigError,
    ExchangeError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
    Unavailable,
)
from core.model import Order, OrderRequest, Side, TimeInForce
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

if TYPE_CHECKING:
    from nacl.signing import SigningKey

BASE_URL = "https://api.backpack.exchange"
WS_URL = "wss://ws.backpack.exchange"

MAX_BATCH = 20  # not documented; public clients use 20 and 50
PAGE = 1000  # documented maximum of the history calls

LIMITS = (
    Limit(name="requests", count=2000, period_s=60.0, per_account=True),
    Limit(name="candles", count=30, period_s=60.0, per_account=True),
)
"""Support pages: 2000 requests a minute for each sub-account, 30 of candles and trades."""

THROTTLED_S = 10.0  # a 429 without Retry-After: no figure is documented
MAINTENANCE_S = 15.0

SIDES = {Side.BUY: "Bid", Side.SELL: "Ask"}

ParamSets = Mapping[str, object] | Sequence[Mapping[str, object]]


class BackpackKeys:
    """An Ed25519 key pair as Backpack shows it: two Base64 texts of 32 bytes."""

    def __init__(self, api_key: str, secret_key: str) -> None:
        """Read the pair. Errors: ConfigError naming what is wrong, never the secret itself."""
        from nacl.signing import SigningKey

        public = _decode("exchange_config.api_key", api_key, (32,))
        seed = _decode("exchange_config.secret_key", secret_key, (32, 64))[:32]
        self._key: SigningKey = SigningKey(seed)
        if bytes(self._key.verify_key) != public:
            raise ConfigError(
                "exchange_config.api_key: does not belong to exchange_config.secret_key, "
                "expected the public key of that secret: copy both from the same API key"
            )
        self.api_key = base64.b64encode(public).decode()

    def sign(self, text: str) -> str:
        return base64.b64encode(self._key.sign(text.encode()).signature).decode()


def _decode(name: str, text: str, sizes: tuple[int, ...]) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) not in sizes:
        raise ConfigError(
            f"{name}: is no Backpack key ({len(text)} characters), expected the Base64 text of "
            "32 bytes (44 characters) that Backpack shows when the key is made"
        )
    return value


# Signing and building -------------------------------------------------------------------------


def signing_text(instruction: str, params: ParamSets, timestamp: int, window: int) -> str:
    """Write the text that is signed."""
    sets = [params] if isinstance(params, Mapping) else list(params)
    parts = []
    for one in sets:
        pairs = [f"{name}={_rendered(one[name])}" for name in sorted(one)]
        parts.append("&".join((f"instruction={instruction}", *pairs)))
    return "&".join((*parts, f"timestamp={timestamp}", f"window={window}"))


def _rendered(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise TypeError(f"a parameter must be text, a whole number or a boolean, not {type(value)}")


def build(
    call: Call, keys: BackpackKeys | None, timestamp: int, window: int = WINDOW_MS
) -> HttpRequest:
    """Turn a call into a request that is valid from `timestamp` for `window` milliseconds."""
    headers: dict[str, str] = {}
    target, body = call.path, None
    if call.method == "GET":
        assert isinstance(call.params, Mapping)
        if call.params:
            query = {name: _rendered(value) for name, value in call.params.items()}
            target = f"{call.path}?{urlencode(query)}"
    else:
        body = json.dumps(call.params, separators=(",", ":")).encode()
        headers["Content-Type"] = "application/json; charset=utf-8"
    if call.signing is Signing.SIGNED:
        if keys is None:
            raise ConfigError("exchange_config.api_key: not set, expected a key for this call")
        text = signing_text(call.instruction, call.params, timestamp, window)
        headers |= {
            "X-API-Key": keys.api_key,
            "X-Signature": keys.sign(text),
            "X-Timestamp": str(timestamp),
            "X-Window": str(window),
        }
    return HttpRequest(method=call.method, target=target, headers=headers, body=body)


def subscribe_frame(
    streams: Sequence[str], keys: BackpackKeys | None, timestamp: int, window: int = WINDOW_MS
) -> str:
    """Write a SUBSCRIBE frame; with keys it may name private streams."""
    frame: dict[str, object] = {"method": "SUBSCRIBE", "params": list(streams)}
    if keys is not None:
        signature = keys.sign(signing_text("subscribe", {}, timestamp, window))
        frame["signature"] = [keys.api_key, signature, str(timestamp), str(window)]
    return json.dumps(frame, separators=(",", ":"))


# Calls ----------------------------------------------------------------------------------------

_ONE = {"requests": 1}


def public(path: str, params: Mapping[str, object] | None = None, **charges: int) -> Call:
    """Ask for what needs no key."""
    return Call(
        method="GET",
        path=path,
        params=params or {},
        signing=Signing.NONE,
        charges=charges or _ONE,
    )


def query(path: str, instruction: str, params: Mapping[str, object] | None = None) -> Call:
    """Ask for what belongs to the account."""
    return Call(method="GET", path=path, params=params or {}, instruction=instruction, charges=_ONE)


def place_one(request: OrderRequest) -> Call:
    return _write("POST", "/api/v1/order", "orderExecute", order_params(request))


def place_many(requests: Sequence[OrderRequest]) -> Call:
    return _write("POST", "/api/v1/orders", "orderExecute", [order_params(r) for r in requests])


def cancel_one(order: Order) -> Call:
    params: dict[str, object] = {"symbol": order.symbol}
    if order.venue_order_id is not None:
        params["orderId"] = order.venue_order_id
    else:
        params["clientId"] = int(order.client_order_id)
    return _write("DELETE", "/api/v1/order", "orderCancel", params)


def set_leverage(limit: str) -> Call:
    return _write("PATCH", "/api/v1/account", "accountUpdate", {"leverageLimit": limit})


def _write(method: str, path: str, instruction: str, params: ParamSets) -> Call:
    return Call(
        method=method,
        path=path,
        params=params,
        instruction=instruction,
        charges=_ONE,
        is_write=True,
    )


def order_params(request: OrderRequest) -> dict[str, object]:
    """Write an order as Backpack takes it. Errors: Rejected for a client id that is no uint32."""
    client_id = request.client_order_id
    if not (client_id.isascii() and client_id.isdigit() and int(client_id) < 1 << 32):
        raise Rejected(
            RejectReason.OTHER, f"client order id {client_id!r}: Backpack takes a uint32 only"
        )
    params: dict[str, object] = {
        "symbol": request.symbol,
        "side": SIDES[request.side],
        "orderType": "Limit",
        "price": plain(request.price),
        "quantity": plain(request.quantity),
        "timeInForce": "IOC" if request.time_in_force is TimeInForce.IOC else "GTC",
        "clientId": int(client_id),
    }
    if request.post_only:
        params["postOnly"] = True
    if request.reduce_only:
        params["reduceOnly"] = True
    return params


# Errors ---------------------------------------------------------------------------------------

_REASONS = {
    "INSUFFICIENT_FUNDS": RejectReason.MARGIN,
    "INSUFFICIENT_MARGIN": RejectReason.MARGIN,
    "MAX_LEVERAGE_REACHED": RejectReason.MARGIN,
    "POSITION_LIMIT": RejectReason.MARGIN,
    "BORROW_LIMIT": RejectReason.MARGIN,
    "ACCOUNT_LIQUIDATING": RejectReason.MARKET,
    "TRADING_PAUSED": RejectReason.MARKET,
    "INVALID_QUANTITY": RejectReason.PRECISION,
    "ORDER_LIMIT": RejectReason.TOO_MANY_ORDERS,
    "RESOURCE_NOT_FOUND": RejectReason.NOT_FOUND,
}

_WORDS = (
    ("post only mode", RejectReason.MARKET),  # of the book, before the order's own
    ("postonlymode", RejectReason.MARKET),
    ("cancel only", RejectReason.MARKET),
    ("immediately match", RejectReason.POST_ONLY),
    ("post only", RejectReason.POST_ONLY),
    ("postonly", RejectReason.POST_ONLY),
    ("decimal too long", RejectReason.PRECISION),
    ("below the minimum", RejectReason.NOTIONAL),
    ("order not found", RejectReason.NOT_FOUND),
    ("reduce only", RejectReason.REDUCE_ONLY),
    ("reduceonly", RejectReason.REDUCE_ONLY),
    ("reduce-only", RejectReason.REDUCE_ONLY),
    ("duplicate", RejectReason.DUPLICATE_ID),
    ("already exists", RejectReason.DUPLICATE_ID),
    ("insufficient margin", RejectReason.MARGIN),
)

_KEY_WORDS = ("invalid signature", "x-signature", "x-api-key", "api key", "unauthorized")
_TIME_WORDS = ("request has expired", "invalid timestamp", "x-timestamp")
_UNKNOWN_CODES = ("SERVER_ERROR", "TIMEOUT")
_PAUSE_CODES = ("MAINTENANCE", "TRADING_PAUSED", "TOO_EARLY")


def read_error(
    status: int, text: str, *, is_write: bool, retry_after_s: float | None, now_ms: int
) -> ExchangeError:
    """Say what a refusal means and whose move it is. `now_ms` is unused: no stamp is in here."""
    del now_ms
    code, message = _code_and_message(text)
    return error_of(
        code,
        message or f"HTTP {status}",
        status=status,
        is_write=is_write,
        retry_after_s=retry_after_s,
    )


def error_of(
    code: str,
    message: str,
    *,
    status: int = 400,
    is_write: bool = True,
    retry_after_s: float | None = None,
) -> ExchangeError:
    """The same for one item of a batch, whose HTTP status says nothing."""
    words = f"{code} {message}".strip()
    lowered = message.lower()
    if status == 429 or code == "TOO_MANY_REQUESTS":
        return Retryable(words, THROTTLED_S if retry_after_s is None else retry_after_s)
    if code in _PAUSE_CODES and not (is_write and code == "TRADING_PAUSED"):
        return Unavailable(words, MAINTENANCE_S if retry_after_s is None else retry_after_s)
    if any(known in lowered for known in _TIME_WORDS):
        return TimestampRefused(words)
    if (
        status in (401, 403)
        or code in ("UNAUTHORIZED", "FORBIDDEN", "INVALID_SIGNATURE", "ACCOUNT_DEACTIVATED")
        or any(known in lowered for known in _KEY_WORDS)
    ):
        return AuthError(words)
    if status >= 500 or code in _UNKNOWN_CODES:
        if is_write:
            return OutcomeUnknown(words)
        return Retryable(words, 1.0 if retry_after_s is None else retry_after_s)
    for known, reason in _WORDS:
        if known in lowered:
            return Rejected(reason, words)
    if status == 404:
        return Rejected(RejectReason.NOT_FOUND, words)
    return Rejected(_REASONS.get(code, RejectReason.OTHER), words)


def _code_and_message(text: str) -> tuple[str, str]:
    try:
        fields = Fields("error", load_json(text, "error"))
        return fields.optional_text("code"), fields.optional_text("message")
    except WireError:
        return "", " ".join(text.split())[:200]
