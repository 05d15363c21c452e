"""Aster's wire against its vectors and sample replies, both envelopes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
from exchanges_values import order, request
from spec_data import body, fixture_names, needs_specs, vectors, wire_text

from core.errors import (
    AuthError,
    ConfigError,
    ExchangeError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
)
from core.market_state import MarketState
from core.model import Fill, Order, OrderStatus, Side, TimeInForce
from exchanges import aster_replies as replies
from exchanges import aster_wire as wire
from exchanges.wire import (
    BookTop,
    Call,
    Fields,
    MarkPrice,
    StreamExpired,
    StreamRefused,
    TimestampRefused,
    WireError,
    load_json,
    objects,
)

pytestmark = needs_specs

HMAC = vectors("aster_hmac")
V3 = vectors("aster_v3")
NOW_MS = 1750793021519


def by_id(items: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(item, id=item["id"].split("/", 1)[1]) for item in items]


def keys_of(vector: dict[str, Any]) -> wire.HmacKeys:
    return wire.HmacKeys(vector["apiKey"], vector["secret"])


def fields(name: str) -> Fields:
    return Fields(name, load_json(wire_text("aster", name), name))


# HMAC -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", by_id([v for v in HMAC if "expected_signature" in v]))
def test_every_hmac_vector(vector: dict[str, Any]) -> None:
    """The signature is over the text exactly as sent, encoded or not."""
    assert keys_of(vector).sign(vector["totalParams"]) == vector["expected_signature"]


def test_the_documents_own_example() -> None:
    """The printed signature is that of the order hashed, and the mixed example has no `&`."""
    vector = HMAC[0]
    keys, computed = keys_of(vector), vector["computed"]
    assert keys.sign(vector["totalParams"]) == vector["document_signature"]
    query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC"
    form = "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943"
    assert keys.sign(query + form) == computed["mixed_no_ampersand"]
    assert keys.sign(f"{query}&{form}") == computed["mixed_with_ampersand"]


@pytest.mark.parametrize(
    "vector", by_id([v for v in HMAC if v.get("auth") == "api_key_header_only"])
)
def test_a_listen_key_call_carries_the_key_alone(vector: dict[str, Any]) -> None:
    """No timestamp and no signature: as both public connectors send it."""
    sent = wire.build(wire.listen_key(vector["method"]), keys_of(vector), NOW_MS * 1000)
    assert sent.method == vector["method"]
    assert sent.target == vector["path"]
    assert sent.headers["X-MBX-APIKEY"] == vector["apiKey"]
    assert sent.body == b""


def test_a_signed_request_ends_with_its_signature() -> None:
    """GET in the query, the others in a form body; what is hashed is what is sent."""
    keys = keys_of(HMAC[1])
    call = wire.query("/fapi/v1/openOrders", {"symbol": "SOLUSDT"}, weight=1)
    sent = wire.build(call, keys, NOW_MS * 1000)
    path, query = sent.target.split("?")
    text, signature = query.rsplit("&signature=", 1)
    assert path == "/fapi/v1/openOrders"
    assert sent.body is None
    assert text == f"symbol=SOLUSDT&recvWindow=5000&timestamp={NOW_MS}"
    assert keys.sign(text) == signature
    many = wire.place_many([request("bp-1", symbol="SOLUSDT"), request("bp-2", symbol="SOLUSDT")])
    sent = wire.build(many, keys, NOW_MS * 1000)
    assert sent.body is not None
    text, signature = sent.body.decode().rsplit("&signature=", 1)
    assert keys.sign(text) == signature
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    orders = json.loads(dict(parse_qsl(text))["batchOrders"])
    assert [o["newClientOrderId"] for o in orders] == ["bp-1", "bp-2"]


@pytest.mark.parametrize(("api_key", "secret"), [("", "a" * 64), ("a" * 64, "x y"), ("é" * 64, "")])
def test_a_key_that_is_none_is_named_and_never_shown(api_key: str, secret: str) -> None:
    """A malformed key is a config error that does not repeat it."""
    with pytest.raises(ConfigError, match="exchange_config") as caught:
        wire.read_keys(api_key, secret)
    assert "x y" not in str(caught.value)


# V3 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", by_id(V3))
def test_every_v3_vector(vector: dict[str, Any]) -> None:
    """Message and signature of the wallet are those of the vector, in any letter case."""
    keys = wire.read_keys(vector["user"], vector["private_key_throwaway"])
    call = Call(
        method=vector["method"],
        path=vector["path"].replace("/v3/", "/v1/"),
        params=vector["params"],
    )
    sent = keys.envelope(call, int(vector["nonce_microseconds"]), 5000)
    text = (
        sent.target.split("?", 1)[1] if vector["method"] == "GET" else (sent.body or b"").decode()
    )
    message, signature = text.rsplit("&signature=", 1)
    assert message == vector["signed_msg"]
    assert signature.lower() == vector["expected_signature"].lower()
    assert sent.target.split("?", 1)[0] == vector["path"]
    assert "X-MBX-APIKEY" not in sent.headers


def test_a_nonce_is_never_used_twice() -> None:
    """Two requests of one microsecond differ, and a clock that steps back does not matter."""
    keys = wire.read_keys(V3[0]["user"], V3[0]["private_key_throwaway"])
    call = wire.query("/fapi/v2/balance", weight=5)
    nonces = [
        int(dict(parse_qsl(keys.envelope(call, at, 5000).target.split("?")[1]))["nonce"])
        for at in (1000, 1000, 5)
    ]
    assert nonces == [1000, 1001, 1002]


def test_the_wallet_library_is_loaded_only_when_used() -> None:
    """An HMAC key does not load eth-account."""
    code = (
        "import sys; from exchanges.aster_wire import read_keys; read_keys('a'*64, 'b'*64); "
        "sys.exit('eth_account' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wallet_key_that_is_none_is_never_shown() -> None:
    """The private key is named, not repeated."""
    with pytest.raises(ConfigError, match="secret_key") as caught:
        wire.read_keys("0x" + "1" * 40, "0x1234secret")
    assert "1234secret" not in str(caught.value)


# Calls ----------------------------------------------------------------------------------------


def test_an_order_is_written_as_text() -> None:
    """Post-only is GTX; reduce-only is a text; zeros at the end are dropped."""
    params = wire.order_params(
        request("bp-1", symbol="SOLUSDT", price="141.0500", post_only=True, reduce_only=True)
    )
    assert params == {
        "symbol": "SOLUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTX",
        "quantity": "1.2",
        "price": "141.05",
        "newClientOrderId": "bp-1",
        "newOrderRespType": "RESULT",
        "reduceOnly": "true",
    }
    assert wire.order_params(request("a", ioc=True))["timeInForce"] == "IOC"
    for bad in ("", "a" * 37, "a b", "ä"):
        with pytest.raises(Rejected):
            wire.order_params(request(bad))


def test_what_a_batch_costs() -> None:
    """A batch weighs 5 and counts as its orders; a cancel list is one request."""
    batch = wire.place_many([request(f"a-{i}") for i in range(5)])
    assert dict(batch.charges) == {"weight": 5, "orders": 5, "orders_10s": 5}
    assert batch.is_write
    cancel = wire.cancel_many("SOLUSDT", [order("a-1", venue_id="7"), order("a-2", venue_id="8")])
    assert cancel.params == {"symbol": "SOLUSDT", "orderIdList": [7, 8]}
    assert b"orderIdList=%5B7%2C8%5D" in (wire.build(cancel, keys_of(HMAC[1]), 1).body or b"")
    mixed = wire.cancel_many("SOLUSDT", [order("a-1"), order("a-2", venue_id=None)])
    assert mixed.params == {"symbol": "SOLUSDT", "origClientOrderIdList": ["a-1", "a-2"]}


# Replies --------------------------------------------------------------------------------------


def order_list(data: Any) -> list[Order]:
    return [replies.read_order(f) for f in objects("orders", data)]


def instrument(info: Any) -> Any:
    market = replies.find_symbol("SOLUSDT", Fields("exchangeInfo", info))
    assert market is not None
    return replies.read_instrument(market, fields("commissionRate"), None)


READERS: dict[str, Any] = {
    "allOrders": order_list,
    "balance_v2": lambda data: replies.read_balance("USDT", data),
    "batchOrders_delete_mixed": lambda data: [
        replies.is_error(f) or replies.read_order(f) for f in objects("batch", data)
    ],
    "batchOrders_post_mixed": lambda data: [
        wire.item_error(f) if replies.is_error(f) else replies.read_order(f)
        for f in objects("batch", data)
    ],
    "exchangeInfo": instrument,
    "income": lambda data: replies.read_funding(next(objects("income", data)), Decimal(0)),
    "leverageBracket": lambda data: replies.read_maintenance(data, "SOLUSDT"),
    "openOrders": order_list,
    "openOrders_empty": order_list,
    "positionRisk_flat": lambda data: replies.read_position("SOLUSDT", data),
    "positionRisk_hedge": lambda data: replies.read_position("SOLUSDT", data),
    "positionRisk_oneway": lambda data: replies.read_position("SOLUSDT", data),
    "ticker_bookTicker": lambda data: replies.read_book_top(Fields("book", data)),
    "userTrades": lambda data: [replies.read_fill(f, "x") for f in objects("trades", data)],
}
for _name in (
    "openOrder",
    "order_delete",
    "order_get",
    "order_post_gtx_expired_result",
    "order_post_limit_ack",
    "order_post_market_result",
):
    READERS[_name] = lambda data: replies.read_order(Fields("order", data))


@pytest.mark.parametrize("name", fixture_names("aster", streams=False))
def test_every_sample_reply_is_read(name: str) -> None:
    """Samples that the bot reads become values, unknown fields ignored; the others are JSON."""
    data = load_json(wire_text("aster", name), name)
    if name in READERS:
        assert READERS[name](data) is not None
        READERS[name](_with_unknown_fields(data))


def _with_unknown_fields(data: Any) -> Any:
    if isinstance(data, list):
        return [_with_unknown_fields(item) if isinstance(item, dict) else item for item in data]
    return {**data, "brandNew": {"a": [1]}, "another": None}


@pytest.mark.parametrize(
    ("name", "reader", "needed"),
    [
        (
            "order_get",
            replies.read_order,
            ("orderId", "clientOrderId", "symbol", "side", "price", "origQty", "status"),
        ),
        (
            "userTrades",
            lambda f: replies.read_fill(f, "x"),
            ("id", "orderId", "symbol", "side", "price", "qty", "commission", "time"),
        ),
        ("income", lambda f: replies.read_funding(f, Decimal(0)), ("symbol", "income", "time")),
    ],
)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_a_missing_field_is_named(
    name: str, reader: Any, needed: tuple[str, ...], how: str
) -> None:
    """A required field that is missing is an error that names it, never a default."""
    data = body("aster", name)
    row = data[0] if isinstance(data, list) else data
    for missing in needed:
        broken = {k: v for k, v in row.items() if k != missing}
        if how == "null":
            broken[missing] = None
        with pytest.raises(WireError, match=rf"\b{missing} is missing"):
            reader(Fields(name, broken))


def test_an_order_is_read_to_the_digit() -> None:
    """Every field of ours comes from its field of theirs; an average price may be missing."""
    data = body("aster", "order_delete")
    data.pop("avgPrice")
    seen = replies.read_order(Fields("order", data))
    assert (seen.client_order_id, seen.venue_order_id) == ("grid-1", "22542179")
    assert (seen.side, seen.status, seen.post_only) == (Side.BUY, OrderStatus.CANCELED, True)
    assert (str(seen.price), str(seen.quantity)) == ("141.0500", "1.20")
    assert seen.updated_at == datetime(2025, 6, 24, 19, 23, 41, 530000, tzinfo=UTC)
    assert seen.time_in_force is TimeInForce.GTC


@pytest.mark.parametrize(
    "change",
    [
        {"clientOrderId": "autoclose-123"},
        {"clientOrderId": "adl_autoclose"},
        {"clientOrderId": "settlement_autoclose-9"},
        {"clientOrderId": "web_x", "origType": "LIQUIDATION"},
    ],
)
def test_an_order_that_the_exchange_made_is_named_so(change: dict[str, str]) -> None:
    """Liquidation, ADL and settlement: by the id, or by the type."""
    forced = {**body("aster", "order_get"), **change}
    seen = replies.read_order(Fields("o", forced))
    assert seen.client_order_id == f"liquidation:{seen.venue_order_id}"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("TRADING", MarketState.OPEN),
        ("PRE_SETTLE", MarketState.CLOSING),
        ("SETTLING", MarketState.CLOSED),
        ("CLOSE", MarketState.CLOSED),
        ("PENDING_TRADING", MarketState.CLOSED),
        ("SOMETHING_NEW", MarketState.CLOSED),
    ],
)
def test_each_status_of_a_symbol_is_read(status: str, expected: MarketState) -> None:
    """What is not known to trade is closed."""
    report = replies.read_market_state(Fields("market", {"status": status}))
    assert (report.state, report.told) == (expected, status)


def test_a_fee_is_a_cost_whatever_its_sign() -> None:
    """The sign of a commission is not documented."""
    row = body("aster", "userTrades")[0]
    for commission in ("0.01692600", "-0.01692600"):
        fill = replies.read_fill(Fields("t", {**row, "commission": commission}), "grid-1")
        assert fill.fee == Decimal("0.01692600")
    assert (fill.trade_id, fill.client_order_id, fill.is_maker) == ("698759", "grid-1", True)


def test_limits_come_from_filters_not_from_precisions() -> None:
    """The tick has no zeros at its end, the minimum notional is 5, orders are at most 200."""
    found = instrument(body("aster", "exchangeInfo"))
    assert (str(found.tick_size), str(found.lot_size)) == ("0.01", "0.01")
    assert (found.min_notional, found.max_open_orders) == (Decimal(5), 200)
    assert found.maker_fee == Decimal("0.0001")
    assert found.maintenance_rate == Decimal("0.025")
    assert replies.read_maintenance(body("aster", "leverageBracket"), "SOLUSDT") == Decimal(
        "0.0065"
    )
    one = body("aster", "leverageBracket")[0]
    assert replies.read_maintenance(one, "SOLUSDT") == Decimal("0.0065")
    info = Fields("info", body("aster", "exchangeInfo"))
    assert replies.find_symbol("NOPEUSDT", info) is None
    market = next(
        objects("m", [{**body("aster", "exchangeInfo")["symbols"][0], "status": "CLOSE"}])
    )
    assert replies.read_market_state(market).words.startswith("the market is closed (CLOSE)")


def test_positions_are_signed_and_summed() -> None:
    """One-way has one row, hedge has two; none at all is an error, for flat ones are listed."""
    assert replies.read_position(
        "SOLUSDT", body("aster", "positionRisk_oneway")
    ).quantity == Decimal("1.20")
    flat = replies.read_position("SOLUSDT", body("aster", "positionRisk_flat"))
    assert (flat.quantity, flat.entry_price, flat.liquidation_price) == (0, None, None)
    assert replies.read_position(
        "SOLUSDT", body("aster", "positionRisk_hedge")
    ).quantity == Decimal("0.40")
    with pytest.raises(WireError):
        replies.read_position("SOLUSDT", [])


def test_margin_in_use() -> None:
    """Position and orders as the exchange sums them, both sides of a hedge together."""
    data = body("aster", "account_v4")
    assert replies.read_used_margin(Fields("account", data)) == {"SOLUSDT": Decimal("33.85439562")}
    data["positions"] *= 2
    assert replies.read_used_margin(Fields("account", data))["SOLUSDT"] == Decimal("67.70879124")


# Streams --------------------------------------------------------------------------------------


def frames(name: str) -> list[Any]:
    return list(replies.read_frame(wire_text("aster", name)))


@pytest.mark.parametrize("name", fixture_names("aster", streams=True))
def test_every_sample_frame_is_read_bare_and_wrapped(name: str) -> None:
    """No frame breaks the reader, on `/ws` or on `/stream`."""
    found = frames(name)
    if name.startswith("ws_ORDER_TRADE") or name in ("ws_bookTicker", "ws_markPriceUpdate"):
        assert found
    data = body("aster", name)
    other = data["data"] if "stream" in data else {"stream": "x", "data": data}
    if not name.startswith(("ws_client", "ws_subscribe", "ws_list", "ws_error")):
        assert list(replies.read_frame(json.dumps(other))) == found


def test_order_frames_become_fill_and_order() -> None:
    """A trade gives its fill, then the state after it; other events the state alone."""
    fill, seen = frames("ws_ORDER_TRADE_UPDATE_filled")
    assert isinstance(fill, Fill)
    assert isinstance(seen, Order)
    assert (fill.trade_id, str(fill.quantity), str(fill.fee)) == ("698759", "0.80", "0.01128400")
    assert (seen.status, str(seen.filled_qty)) == (OrderStatus.FILLED, "1.20")
    (expired,) = frames("ws_ORDER_TRADE_UPDATE_expired_gtx")
    assert (expired.status, expired.post_only) == (OrderStatus.EXPIRED, True)
    (gone,) = frames("ws_listenKeyExpired")
    assert isinstance(gone, StreamExpired)
    (refused,) = frames("ws_error")
    assert isinstance(refused, StreamRefused)
    (top,) = frames("ws_bookTicker")
    assert isinstance(top, BookTop)
    assert (str(top.bid), str(top.ask)) == ("141.0500", "141.0700")
    (mark,) = frames("ws_markPriceUpdate")
    assert isinstance(mark, MarkPrice)


def test_position_frames() -> None:
    """One-way positions alone; a payment on a crossed position tells of none."""
    (told,) = frames("ws_ACCOUNT_UPDATE_order")
    assert (told.symbol, str(told.quantity)) == ("SOLUSDT", "1.20")
    assert told.time == datetime(2025, 6, 24, 19, 23, 43, 430000, tzinfo=UTC)
    assert frames("ws_ACCOUNT_UPDATE_funding") == []
    data = body("aster", "ws_ACCOUNT_UPDATE_order")
    row = data["a"]["P"][0]
    data["a"]["P"] = [row | {"ps": "LONG"}, row | {"pa": "-0.4"}]
    assert [str(e.quantity) for e in replies.read_frame(json.dumps(data))] == ["-0.4"]  # type: ignore[union-attr]


# Errors ---------------------------------------------------------------------------------------


def read(status: int, code: int, message: str, *, is_write: bool = True) -> ExchangeError:
    text = json.dumps({"code": code, "msg": message})
    return wire.read_error(status, text, is_write=is_write, retry_after_s=None, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, -1021, "Timestamp for this request is outside of the recvWindow.", TimestampRefused),
        (400, -4225, "Nonce Expired", TimestampRefused),
        (400, -1022, "Signature for this request is not valid.", AuthError),
        (401, -2014, "API-key format invalid.", AuthError),
        (401, -2015, "Invalid API-key, IP, or permissions for action.", AuthError),
        (429, -1003, "Too many requests", Retryable),
        (429, -1015, "Too many new orders", Retryable),
        (403, 0, "<html>WAF</html>", Retryable),
        (503, -1007, "Timeout waiting; execution status unknown.", OutcomeUnknown),
        (503, 0, "", OutcomeUnknown),
        (400, -1006, "Unexpected response", OutcomeUnknown),
        (400, -5022, "PostOnly order could not be placed", RejectReason.POST_ONLY),
        (400, -2021, "Order would immediately trigger.", RejectReason.POST_ONLY),
        (400, -2010, "Order would immediately match and take.", RejectReason.POST_ONLY),
        (400, -1111, "Precision is over the maximum", RejectReason.PRECISION),
        (400, -4014, "Price not increased by tick size.", RejectReason.PRECISION),
        (400, -4164, "Order's notional must be no smaller than 5.0", RejectReason.NOTIONAL),
        (400, -2019, "Margin is insufficient.", RejectReason.MARGIN),
        (400, -2022, "ReduceOnly Order is rejected.", RejectReason.REDUCE_ONLY),
        (400, -2023, "User in liquidation mode now.", RejectReason.MARKET),
        (400, -4087, "User can only place reduce only order", RejectReason.MARKET),
        (400, -4088, "User can not place order currently", RejectReason.MARKET),
        (400, -4140, "Invalid symbol status for opening position", RejectReason.MARKET),
        (400, -4141, "Symbol is closed", RejectReason.MARKET),
        (400, -2025, "Reach max open order limit.", RejectReason.TOO_MANY_ORDERS),
        (400, -2013, "Order does not exist.", RejectReason.NOT_FOUND),
        (400, -2011, "Unknown order sent.", RejectReason.NOT_FOUND),
        (400, -4116, "ClientOrderId is duplicated", RejectReason.DUPLICATE_ID),
        (400, -2010, "Duplicate order sent.", RejectReason.DUPLICATE_ID),
        (400, -4016, "Price is higher than mark price multiplier cap.", RejectReason.OTHER),
        (400, -9999, "never seen", RejectReason.OTHER),
    ],
)
def test_errors_say_whose_move_it_is(
    status: int, code: int, message: str, expected: type[ExchangeError] | RejectReason
) -> None:
    """Each documented refusal has its kind."""
    error = read(status, code, message)
    if isinstance(expected, RejectReason):
        assert isinstance(error, Rejected)
        assert error.reason is expected
    else:
        assert type(error) is expected


def test_a_ban_ends_when_the_exchange_says() -> None:
    """418 names the moment in ms; without it, and without Retry-After, the least ban is meant."""
    error = read(418, -1003, f"Way too many requests; IP banned until {NOW_MS + 120_000}. Please")
    assert isinstance(error, Retryable)
    assert error.retry_after_s == 120.0
    assert isinstance(read(418, 0, ""), Retryable)
    assert isinstance(read(503, -1007, "timeout", is_write=False), Retryable)


def test_every_sample_error_has_a_kind() -> None:
    """The samples of the facts are all understood: none of them is 'other' but by its rule."""
    for sample in body("aster", "errors"):
        wire.read_error(
            sample["http_status"],
            json.dumps(sample["body"]),
            is_write=True,
            retry_after_s=None,
            now_ms=NOW_MS,
        )
