"""Backpack's wire against its vectors and sample replies."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from exchanges_values import order, request
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from spec_data import body, fixture_names, needs_specs, section, vectors, wire_text

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
from core.market_state import MarketState
from core.model import Fill, Order, OrderStatus, PositionTold, Side
from exchanges import backpack_frames
from exchanges import backpack_replies as replies
from exchanges import backpack_wire as wire
from exchanges.wire import (
    BookTop,
    Call,
    Fields,
    MarkPrice,
    Signing,
    StreamRefused,
    TimestampRefused,
    WireError,
    load_json,
    objects,
)

pytestmark = needs_specs

SEED = base64.b64encode(bytes(range(32))).decode()


def keys() -> wire.BackpackKeys:
    key = section("backpack")["key"]
    return wire.BackpackKeys(key["api_key_base64_public_key"], key["secret_base64_32_byte_seed"])


def by_id(items: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(item, id=item["id"].split("/", 1)[1]) for item in items]


def fields(name: str) -> Fields:
    return Fields(name, load_json(wire_text("backpack", name), name))


# Signing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", by_id(vectors("backpack")))
def test_every_vector_is_signed_as_documented(vector: dict[str, Any]) -> None:
    """Text and signature are those of the vector."""
    params = vector.get("params", {})
    text = wire.signing_text(vector["instruction"], params, vector["timestamp"], vector["window"])
    assert text == vector["expected_signing_string"]
    assert keys().sign(text) == vector["expected_signature"]


@pytest.mark.parametrize(
    "vector", by_id([v for v in vectors("backpack") if "expected_headers" in v])
)
def test_every_vector_is_built_with_its_headers(vector: dict[str, Any]) -> None:
    """The request carries the vector's headers, and the body's values are what was signed."""
    call = Call(
        method=vector["method"],
        path=vector["path"],
        params=vector["params"],
        instruction=vector["instruction"],
    )
    sent = wire.build(call, keys(), vector["timestamp"], vector["window"])
    assert {k: v for k, v in sent.headers.items() if k.startswith("X-")} == vector[
        "expected_headers"
    ]
    if call.method == "GET":
        assert sent.body is None
        assert sent.target.startswith(vector["path"])
    else:
        assert sent.body is not None
        assert json.loads(sent.body) == vector["params"]


def test_the_subscribe_frame_is_the_vectors() -> None:
    """A private subscription is signed without the stream names."""
    vector = next(v for v in vectors("backpack") if v["id"].endswith("ws_private_subscribe"))
    frame = wire.subscribe_frame(vector["streams"], keys(), vector["timestamp"], vector["window"])
    assert json.loads(frame) == vector["expected_frame"]


@pytest.mark.parametrize("vector", by_id(vectors("backpack", "negative")))
def test_no_negative_vector_is_ours(vector: dict[str, Any]) -> None:
    """A signature over a wrong text never verifies against the text that we sign."""
    params = vector.get("params")
    if params is None:  # the batch of two
        batch = next(v for v in vectors("backpack") if v["id"].endswith("batch_two_limit_orders"))
        params, vector = batch["params"], {**batch, **vector}
    text = wire.signing_text("orderExecute", params, vector["timestamp"], vector["window"])
    assert text != vector["signed_text"]
    public = VerifyKey(base64.b64decode(keys().api_key))
    public.verify(vector["signed_text"].encode(), base64.b64decode(vector["signature"]))
    with pytest.raises(BadSignatureError):
        public.verify(text.encode(), base64.b64decode(vector["signature"]))


def test_values_that_would_sign_differently_are_refused() -> None:
    """A float and a None never reach the signed text; a percent sign stays as it is."""
    for value in (1e-05, None, Decimal("1.5")):
        with pytest.raises(TypeError):
            wire.signing_text("orderExecute", {"price": value}, 1, 5000)
    text = wire.signing_text("orderExecute", {"triggerQuantity": "80%"}, 1, 5000)
    assert "triggerQuantity=80%&" in text


@pytest.mark.parametrize(
    ("api_key", "secret"),
    [("", SEED), ("short", SEED), ("%%%", SEED), (SEED, "c2hvcnQ="), (SEED, SEED)],
)
def test_a_key_that_is_none_is_named_and_never_shown(api_key: str, secret: str) -> None:
    """A malformed pair, or one that does not belong together, is a config error without the key."""
    with pytest.raises(ConfigError) as caught:
        wire.BackpackKeys(api_key, secret)
    assert "exchange_config." in str(caught.value)
    assert SEED not in str(caught.value)


# Calls ----------------------------------------------------------------------------------------


def test_an_order_is_written_as_text() -> None:
    """Prices and quantities are plain decimals without trailing zeros; the id is a number."""
    params = wire.order_params(
        request("123456789", price="141.0500", quantity="1E+1", post_only=True, reduce_only=True)
    )
    assert params == {
        "symbol": "SOL_USDC_PERP",
        "side": "Bid",
        "orderType": "Limit",
        "price": "141.05",
        "quantity": "10",
        "timeInForce": "GTC",
        "clientId": 123456789,
        "postOnly": True,
        "reduceOnly": True,
    }
    for bad in ("bp-1", "4294967296", "-1", "１"):
        with pytest.raises(Rejected):
            wire.order_params(request(bad))


def test_a_cancel_names_exactly_one_id() -> None:
    """By the exchange's id where it is known, else by ours."""
    assert wire.cancel_one(order("7", venue_id="99")).params == {
        "symbol": "SOL_USDC_PERP",
        "orderId": "99",
    }
    assert wire.cancel_one(order("7", venue_id=None)).params == {
        "symbol": "SOL_USDC_PERP",
        "clientId": 7,
    }
    assert wire.cancel_one(order("7")).is_write


def test_a_call_without_a_key_is_not_signed() -> None:
    """Public calls carry no key at all."""
    sent = wire.build(wire.public("/api/v1/depth", {"symbol": "A", "limit": "5"}), None, 1)
    assert sent.target == "/api/v1/depth?symbol=A&limit=5"
    assert dict(sent.headers) == {}
    with pytest.raises(ConfigError):
        wire.build(wire.query("/api/v1/orders", "orderQueryAll"), None, 1)
    assert wire.public("/x").signing is Signing.NONE


# Replies --------------------------------------------------------------------------------------

READERS: dict[str, Any] = {
    "account": lambda data: replies.read_instrument(fields("market"), Fields("account", data)),
    "capital_collateral": lambda data: replies.read_balance("USDC", Fields("collateral", data)),
    "depth": lambda data: replies.read_depth("SOL_USDC_PERP", Fields("depth", data)),
    "fills": lambda data: [replies.read_fill(f) for f in objects("fills", data)],
    "funding_history": lambda data: [replies.read_funding(f) for f in objects("funding", data)],
    "markPrices": lambda data: replies.read_mark("SOL_USDC_PERP", data),
    "market": lambda data: replies.read_instrument(Fields("market", data), fields("account")),
    "markets": lambda data: [
        replies.read_instrument(f, fields("account")) for f in objects("markets", data)
    ],
    "orders_post_batch_mixed": lambda data: replies.read_batch(json.dumps(data), 2, "batch"),
    "position_404": lambda data: wire.read_error(
        404, json.dumps(data), is_write=False, retry_after_s=None, now_ms=0
    ),
    "position_empty": lambda data: replies.read_position("SOL_USDC_PERP", data),
    "position_long": lambda data: replies.read_position("SOL_USDC_PERP", data),
    "position_short": lambda data: replies.read_position("SOL_USDC_PERP", data),
}
for _name in ("order_delete", "order_get", "order_post_ioc_expired", "order_post_limit_new"):
    READERS[_name] = lambda data: replies.read_order(Fields("order", data))
for _name in ("order_post_limit_partially_filled", "order_post_market_filled"):
    READERS[_name] = lambda data: replies.read_order(Fields("order", data))
for _name in ("order_history", "orders_delete", "orders_get", "orders_get_empty"):
    READERS[_name] = lambda data: [replies.read_order(f) for f in objects("orders", data)]


@pytest.mark.parametrize("name", fixture_names("backpack", streams=False))
def test_every_sample_reply_is_read(name: str) -> None:
    """Samples that the bot reads become values, unknown fields ignored; the others are JSON."""
    text = wire_text("backpack", name)
    if name in ("ping", "time"):
        assert text  # plain text on the wire
        return
    data = load_json(text, name)
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
        ("order_get", replies.read_order, ("id", "symbol", "side", "status", "createdAt")),
        (
            "fills",
            replies.read_fill,
            ("orderId", "symbol", "side", "price", "quantity", "fee", "feeSymbol", "timestamp"),
        ),
        ("funding_history", replies.read_funding, ("quantity", "fundingRate", "symbol")),
    ],
)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_a_missing_field_is_named(
    name: str, reader: Any, needed: tuple[str, ...], how: str
) -> None:
    """A required field that is missing is an error that names it, never a default."""
    data = body("backpack", name)
    row = data[0] if isinstance(data, list) else data
    for missing in needed:
        broken = {k: v for k, v in row.items() if k != missing}
        if how == "null":
            broken[missing] = None
        with pytest.raises(WireError, match=rf"\b{missing} is missing"):
            reader(Fields(name, broken))


def test_an_order_is_read_to_the_digit() -> None:
    """Every field of ours comes from its field of theirs."""
    seen = replies.read_order(fields("order_post_limit_partially_filled"))
    assert (seen.client_order_id, seen.venue_order_id) == ("123456790", "28563667733")
    assert (seen.side, seen.status) == (Side.BUY, OrderStatus.PARTIALLY_FILLED)
    assert (str(seen.price), str(seen.quantity), str(seen.filled_qty)) == ("141.05", "1.20", "0.40")
    assert seen.created_at == datetime(2025, 6, 24, 19, 23, 41, 530000, tzinfo=UTC)
    past = list(objects("orders", load_json(wire_text("backpack", "order_history"), "o")))
    assert replies.read_order(past[1]).reason == "PostOnlyTaker"
    assert replies.read_order(past[0]).created_at.tzinfo is UTC
    market = replies.read_order(fields("order_post_market_filled"))
    assert market.client_order_id == "venue:28563667790"


def test_a_fill_is_read_to_the_digit() -> None:
    """The client id of the history is a text, its time is UTC without saying so."""
    fill = replies.read_fill(next(objects("f", load_json(wire_text("backpack", "fills"), "f"))))
    assert (fill.trade_id, fill.client_order_id, str(fill.fee)) == (
        "9748827",
        "123456789",
        "0.033852",
    )
    assert fill.is_maker
    assert fill.time == datetime(2025, 6, 24, 19, 23, 41, 402000, tzinfo=UTC)
    row = body("backpack", "fills")[0]
    forced = replies.read_fill(Fields("f", {**row, "systemOrderType": "LiquidatePositionOnBook"}))
    assert forced.client_order_id == "liquidation:28563667732"


def test_position_is_the_net_quantity() -> None:
    """The exposure counts resting orders and is no position; flat has no row, or a zero."""
    long = replies.read_position("SOL_USDC_PERP", body("backpack", "position_long"))
    assert (str(long.quantity), str(long.entry_price)) == ("1.20", "141.05")
    assert long.liquidation_price is None  # "0" says that there is none
    short = replies.read_position("SOL_USDC_PERP", body("backpack", "position_short"))
    assert str(short.quantity) == "-0.01"
    assert replies.read_position("BTC_USDC_PERP", body("backpack", "position_long")).quantity == 0


def test_instrument_fees_are_basis_points() -> None:
    """`2` in the account is 0.0002."""
    found = replies.read_instrument(fields("market"), fields("account"))
    assert (str(found.tick_size), str(found.lot_size)) == ("0.01", "0.01")
    assert (found.maker_fee, found.taker_fee) == (Decimal("0.0002"), Decimal("0.0005"))
    assert found.min_notional == 0
    assert replies.is_perpetual(fields("market"))
    assert replies.takes_exits(fields("market"))
    for word in ("CancelOnly", "Closed", "Unheard"):
        closed = Fields("m", {**body("backpack", "market"), "orderBookState": word})
        assert not replies.takes_exits(closed)


def test_depth_is_sorted_by_us() -> None:
    """The best bid is the highest, wherever it stands; an empty level does not count."""
    top = replies.read_depth("SOL_USDC_PERP", fields("depth"))
    assert (str(top.bid), str(top.ask)) == ("141.05", "141.07")
    data = {**body("backpack", "depth"), "bids": [["141.05", "0"], ["141.02", "1"]]}
    assert str(replies.read_depth("S", Fields("d", data)).bid) == "141.02"
    empty = {**body("backpack", "depth"), "bids": [], "asks": []}
    with pytest.raises(WireError):
        replies.read_depth("S", Fields("d", empty))


@pytest.mark.parametrize("text", ["", "<html>", "[1", "NaN", '{"a": Infinity}', "[" * 100_000])
def test_what_is_no_json_is_a_wire_error(text: str) -> None:
    """Hostile or broken text is one kind of error."""
    with pytest.raises(WireError):
        load_json(text, "reply")


def test_numbers_never_become_floats() -> None:
    """A number in a reply keeps its digits; what is none is refused."""
    exact = Fields("r", load_json('{"p": 0.1000000000000000000000000001, "q": 7}', "r"))
    assert exact.decimal("p") == Decimal("0.1000000000000000000000000001")
    assert exact.integer("q") == 7
    for bad in ('{"p": "NaN"}', '{"p": "Infinity"}', '{"p": "x"}', '{"p": true}', '{"p": {}}'):
        with pytest.raises(WireError, match="p: was"):
            Fields("r", load_json(bad, "r")).decimal("p")


def test_a_short_batch_answer_is_an_error() -> None:
    """One result a request, or nothing can be told."""
    with pytest.raises(WireError, match="expected 3"):
        replies.read_batch(wire_text("backpack", "orders_post_batch_mixed"), 3, "batch")


def test_margin_in_use() -> None:
    """A position: exposure at its own fraction; orders alone: the dearer side, at the leverage.

    338.532 x 0.02; of BTC 1.2 x 141.05 bid against 0.8 x 142.5 asked, of ETH reduce-only alone.
    """
    orders = body("backpack", "orders_get")
    others = [{**row, "symbol": "BTC_USDC_PERP"} for row in orders]
    reducing = {**orders[0], "symbol": "ETH_USDC_PERP", "reduceOnly": True}
    held = body("backpack", "position_long")
    used = replies.read_used_margin(held, [*orders, *others, reducing], Decimal(10))
    assert used == {
        "SOL_USDC_PERP": Decimal("6.77064"),
        "BTC_USDC_PERP": Decimal("16.926"),
    }
    assert replies.read_used_margin([], [], Decimal(10)) == {}
    with pytest.raises(WireError, match="imf"):
        replies.read_used_margin([{**held[0], "imf": None}], [], Decimal(10))


# Streams --------------------------------------------------------------------------------------


def frames(name: str) -> list[Any]:
    return list(backpack_frames.read_frame(wire_text("backpack", name), lambda _: None))


@pytest.mark.parametrize("name", fixture_names("backpack", streams=True))
def test_every_sample_frame_is_read(name: str) -> None:
    """No frame breaks the reader; those we live by become events."""
    found = frames(name)
    if name in ("ws_bookTicker", "ws_markPrice") or name.startswith("ws_orderUpdate"):
        assert found
    if name.startswith("ws_client"):
        assert not found


def test_order_frames_become_fill_and_order() -> None:
    """A fill comes before the state after it; a null trade id is no fill."""
    fill, seen = frames("ws_orderUpdate_fill_partial")
    assert isinstance(fill, Fill)
    assert isinstance(seen, Order)
    assert (fill.trade_id, str(fill.quantity), str(fill.fee)) == ("9748827", "0.40", "0.011284")
    assert (seen.client_order_id, str(seen.filled_qty)) == ("123456789", "0.40")
    assert fill.time.microsecond == 430211
    (accepted,) = frames("ws_orderUpdate_accepted")
    assert accepted.status is OrderStatus.NEW
    (ended,) = frames("ws_orderUpdate_expired")
    assert (ended.status, ended.reason) == (OrderStatus.EXPIRED, "PostOnlyTaker")
    # A captured fill had no client id: it is found by the exchange's own.
    text = wire_text("backpack", "ws_orderUpdate_market_taker_fill")
    named = list(backpack_frames.read_frame(text, {"28563667790": "42"}.get))
    assert [event.client_order_id for event in named] == ["42", "42"]  # type: ignore[union-attr]
    forced = text.replace('"USER"', '"LIQUIDATION_AUTOCLOSE"')
    assert "liquidation:" in backpack_frames.read_frame(forced, lambda _: None)[0].client_order_id  # type: ignore[index]


def test_position_frames() -> None:
    """The signed net quantity, in events and in the snapshot; never what open orders add to it."""
    told = [
        frames(f"ws_positionUpdate_{name}")[0]
        for name in ("snapshot", "opened", "adjusted", "closed")
    ]
    assert [str(event.quantity) for event in told] == ["0.40", "0.40", "1.20", "0"]
    assert all(isinstance(event, PositionTold) for event in told)
    assert told[2].time.microsecond == 432210
    assert told[0].symbol == "SOL_USDC_PERP"


def test_price_frames() -> None:
    """Book and mark carry price and time; an error frame carries words."""
    (top,) = frames("ws_bookTicker")
    assert isinstance(top, BookTop)
    assert (str(top.bid), str(top.ask)) == ("141.05", "141.07")
    (mark,) = frames("ws_markPrice")
    assert isinstance(mark, MarkPrice)
    assert str(mark.price) == "141.05998175"
    (refused,) = frames("ws_error_invalid_stream")
    assert refused == StreamRefused(reason="4006 Invalid stream")


# Errors ---------------------------------------------------------------------------------------


def read(status: int, code: str, message: str, *, is_write: bool = True) -> ExchangeError:
    text = json.dumps({"code": code, "message": message})
    return wire.read_error(status, text, is_write=is_write, retry_after_s=None, now_ms=0)


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, "INVALID_CLIENT_REQUEST", "Invalid signature", AuthError),
        (400, "INVALID_CLIENT_REQUEST", "Invalid X-Signature header", AuthError),
        (401, "UNAUTHORIZED", "Unauthorized", AuthError),
        (400, "INVALID_CLIENT_REQUEST", "Request has expired", TimestampRefused),
        (400, "INVALID_CLIENT_REQUEST", "Invalid timestamp", TimestampRefused),
        (429, "TOO_MANY_REQUESTS", "Too many requests", Retryable),
        (503, "MAINTENANCE", "System under maintenance", Unavailable),
        (400, "TRADING_PAUSED", "paused", RejectReason.MARKET),
        (400, "ACCOUNT_LIQUIDATING", "wait", RejectReason.MARKET),
        (400, "INVALID_ORDER", "Order book is in post only mode", RejectReason.MARKET),
        (503, "SERVER_ERROR", "Unknown error, please check your request", OutcomeUnknown),
        (500, "", "", OutcomeUnknown),
        (400, "INVALID_ORDER", "Order would immediately match and take", RejectReason.POST_ONLY),
        (400, "INVALID_CLIENT_REQUEST", "Quantity decimal too long", RejectReason.PRECISION),
        (400, "INVALID_CLIENT_REQUEST", "Price decimal too long", RejectReason.PRECISION),
        (
            400,
            "INVALID_CLIENT_REQUEST",
            "Quantity is below the minimum allowed value",
            RejectReason.NOTIONAL,
        ),
        (400, "INVALID_CLIENT_REQUEST", "Order not found", RejectReason.NOT_FOUND),
        (404, "RESOURCE_NOT_FOUND", "Not Found", RejectReason.NOT_FOUND),
        (400, "INSUFFICIENT_MARGIN", "Insufficient margin", RejectReason.MARGIN),
        (400, "ORDER_LIMIT", "too many", RejectReason.TOO_MANY_ORDERS),
        (400, "INVALID_PRICE", "Price is too far from the last active price", RejectReason.OTHER),
        (400, "SOMETHING_NEW", "never seen", RejectReason.OTHER),
    ],
)
def test_errors_say_whose_move_it_is(
    status: int, code: str, message: str, expected: type[ExchangeError] | RejectReason
) -> None:
    """Each documented refusal has its kind."""
    error = read(status, code, message)
    if isinstance(expected, RejectReason):
        assert isinstance(error, Rejected)
        assert error.reason is expected
    else:
        assert type(error) is expected


def test_a_read_that_failed_may_be_repeated() -> None:
    """A 5xx of a read changes nothing there; with HTML too, and the page is cut."""
    assert isinstance(read(503, "SERVER_ERROR", "x", is_write=False), Retryable)
    page = "<html>" + "x" * 5000
    error = wire.read_error(502, page, is_write=False, retry_after_s=7.0, now_ms=0)
    assert isinstance(error, Retryable)
    assert error.retry_after_s == 7.0
    assert len(str(error)) < 300


def test_every_sample_error_has_a_kind() -> None:
    """The samples of the facts are all understood."""
    for sample in body("backpack", "errors"):
        wire.read_error(
            sample["http_status"],
            json.dumps(sample["body"]),
            is_write=True,
            retry_after_s=None,
            now_ms=0,
        )


def test_a_pause_of_trading_stops_a_read_for_a_while() -> None:
    """Of an order it is a refusal; of a read it says that nothing can be asked now."""
    assert type(read(400, "TRADING_PAUSED", "paused", is_write=False)) is Unavailable


@pytest.mark.parametrize(
    ("system", "status", "word", "expected"),
    [
        ("Ok", "Open", "Open", MarketState.OPEN),
        ("Ok", "LimitOnly", "LimitOnly", MarketState.OPEN),
        ("Ok", "PostOnly", "PostOnly", MarketState.POST_ONLY),
        ("Ok", "CancelOnly", "CancelOnly", MarketState.CANCEL_ONLY),
        ("Ok", "Closed", "Closed", MarketState.CLOSED),
        ("Ok", "SomethingNew", "SomethingNew", MarketState.CLOSED),
        ("Maintenance", "Open", "Maintenance", MarketState.MAINTENANCE),
    ],
)
def test_each_state_of_the_book_is_read(
    system: str, status: str, word: str, expected: MarketState
) -> None:
    """The exchange's own maintenance goes before the book's state."""
    report = replies.read_market_state(
        Fields("status", {"status": system}), Fields("market", {"orderBookState": status})
    )
    assert (report.state, report.told) == (expected, word)
