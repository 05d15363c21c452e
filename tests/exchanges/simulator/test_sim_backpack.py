"""Backpack over real HTTP: signatures, windows, every error, orders through their life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sim_world import SOL, BackpackSim, running

pytestmark = pytest.mark.slow  # each starts a process

ORDER = "/api/v1/order"
LIMIT = {"symbol": SOL, "side": "Bid", "orderType": "Limit", "price": "140", "quantity": "1"}


@pytest.fixture(scope="module")
def shared() -> Iterator[BackpackSim]:
    """For what leaves no trace: refusals and public answers."""
    with running("backpack") as sim:
        yield sim


@pytest.fixture
def sim() -> Iterator[BackpackSim]:
    with running("backpack") as sim:
        yield sim


def order(**changes: Any) -> dict[str, Any]:
    merged = {**LIMIT, **changes}
    return {name: value for name, value in merged.items() if value is not None}


REFUSED = [
    # what is sent, status, code, a part of the message
    (order(symbol="DOGE_USDC_PERP"), 400, "INVALID_SYMBOL", "symbol"),
    (order(symbol=None), 400, "INVALID_CLIENT_REQUEST", "symbol"),
    (order(side="Buy"), 400, "INVALID_CLIENT_REQUEST", "Side"),
    (order(side=None), 400, "INVALID_CLIENT_REQUEST", "side"),
    (order(orderType="Stop"), 400, "INVALID_CLIENT_REQUEST", "OrderTypeEnum"),
    (order(timeInForce="GTX"), 400, "INVALID_CLIENT_REQUEST", "TimeInForce"),
    (order(selfTradePrevention="No"), 400, "INVALID_CLIENT_REQUEST", "SelfTradePrevention"),
    (order(price=None), 400, "INVALID_CLIENT_REQUEST", "price"),
    (order(price="abc"), 400, "INVALID_CLIENT_REQUEST", "price"),
    (order(price="-1"), 400, "INVALID_CLIENT_REQUEST", "price"),
    (order(price="140.001"), 400, "INVALID_CLIENT_REQUEST", "Price decimal too long"),
    (order(price="0"), 400, "INVALID_PRICE", "below"),
    (order(price="2000000"), 400, "INVALID_PRICE", "above"),
    (order(price="1"), 400, "INVALID_PRICE", "too far from the last active price"),
    (order(price="9999"), 400, "INVALID_PRICE", "too far from the last active price"),
    (order(quantity=None), 400, "INVALID_CLIENT_REQUEST", "quantity"),
    (order(quantity="0.0001"), 400, "INVALID_CLIENT_REQUEST", "Quantity decimal too long"),
    (order(quantity="0"), 400, "INVALID_CLIENT_REQUEST", "below the minimum allowed value"),
    (order(quantity="1" + "0" * 12), 400, "INVALID_QUANTITY", "above"),
    (order(quantity="1e3"), 400, "INVALID_CLIENT_REQUEST", "quantity"),
    (order(price=" 140"), 400, "INVALID_CLIENT_REQUEST", "price"),
    (order(triggerPrice="160.001", triggerQuantity="1"), 400, "INVALID_CLIENT_REQUEST", "too long"),
    (order(quantity="NaN"), 400, "INVALID_CLIENT_REQUEST", "quantity"),
    (order(quantity="10000"), 400, "INSUFFICIENT_MARGIN", "margin"),
    (order(price="150", postOnly=True), 400, "INVALID_ORDER", "immediately match and take"),
    (order(postOnly=True, timeInForce="IOC"), 400, "INVALID_ORDER", "Post only"),
    (order(postOnly="maybe"), 400, "INVALID_CLIENT_REQUEST", "postOnly"),
    (order(reduceOnly=True), 400, "INVALID_ORDER", "not reduced"),
    (order(clientId=2**32), 400, "INVALID_CLIENT_REQUEST", "clientId"),
    (order(clientId=-1), 400, "INVALID_CLIENT_REQUEST", "clientId"),
    (order(clientId="a"), 400, "INVALID_CLIENT_REQUEST", "clientId"),
    (order(triggerPrice="1"), 400, "INVALID_CLIENT_REQUEST", "or neither"),
    (order(triggerPrice="160", triggerQuantity="0%"), 400, "INVALID_CLIENT_REQUEST", "Quantity"),
    (order(stopLossTriggerPrice="141"), 400, "INVALID_PRICE", "stopLossTriggerPrice"),
    (order(takeProfitTriggerPrice="139"), 400, "INVALID_PRICE", "takeProfitTriggerPrice"),
    (order(takeProfitTriggerPrice="150.001"), 400, "INVALID_CLIENT_REQUEST", "too long"),
    (order(stopLossLimitPrice="130"), 400, "INVALID_CLIENT_REQUEST", "stopLossTriggerPrice"),
    ([LIMIT], 400, "INVALID_CLIENT_REQUEST", "object"),
]


@pytest.mark.parametrize(("sent", "status", "code", "words"), REFUSED)
def test_refused_orders_leave_no_trace(
    shared: BackpackSim, sent: Any, status: int, code: str, words: str
) -> None:
    """Each limit has the exchange's own code and words; nothing was accepted."""
    got, answer, _ = shared.call("POST", ORDER, "orderExecute", sent)
    assert (got, answer["code"]) == (status, code), answer
    assert words in answer["message"]
    assert shared.account()["orders"] == []


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.mark.parametrize(
    ("arguments", "status", "code", "message"),
    [
        ({"timestamp": now_ms() - 3_600_000}, 400, "INVALID_CLIENT_REQUEST", "Request has expired"),
        ({"timestamp": now_ms() + 3_600_000}, 400, "INVALID_CLIENT_REQUEST", "Invalid timestamp"),
        ({"window": 60_001}, 400, "INVALID_CLIENT_REQUEST", "Invalid window"),
        ({"window": 0}, 400, "INVALID_CLIENT_REQUEST", "Invalid window"),
        ({"change": {"X-API-Key": "A" * 43 + "="}}, 401, "UNAUTHORIZED", "Unauthorized"),
        ({"change": {"X-API-Key": ""}}, 401, "UNAUTHORIZED", "Unauthorized"),
        ({"change": {"X-Signature": "A" * 86 + "=="}}, 400, "INVALID_CLIENT_REQUEST", "signature"),
        ({"change": {"X-Signature": "ab"}}, 400, "INVALID_CLIENT_REQUEST", "X-Signature header"),
        ({"change": {"X-Signature": "%%"}}, 400, "INVALID_CLIENT_REQUEST", "X-Signature header"),
        ({"change": {"X-Timestamp": "now"}}, 400, "INVALID_CLIENT_REQUEST", "Invalid timestamp"),
        ({"change": {"X-Window": "6000"}}, 400, "INVALID_CLIENT_REQUEST", "Invalid signature"),
    ],
)
def test_bad_credentials_and_times_are_refused(
    shared: BackpackSim, arguments: dict[str, Any], status: int, code: str, message: str
) -> None:
    got, answer, _ = shared.call("GET", "/api/v1/capital", "balanceQuery", **arguments)
    assert (got, answer["code"]) == (status, code), answer
    assert message in answer["message"]


def test_another_timestamp_than_the_signed_one_is_refused(shared: BackpackSim) -> None:
    other = {"X-Timestamp": str(now_ms() - 1)}
    _, answer, _ = shared.call("GET", "/api/v1/capital", "balanceQuery", change=other)
    assert answer["message"] == "Invalid signature"


def test_window_defaults_to_5000_without_its_header(shared: BackpackSim) -> None:
    assert shared.call("GET", "/api/v1/capital", "balanceQuery", window=None)[0] == 200
    late = now_ms() - 5_500
    assert (
        shared.call("GET", "/api/v1/capital", "balanceQuery", window=None, timestamp=late)[0] == 400
    )
    assert (
        shared.call("GET", "/api/v1/capital", "balanceQuery", window=60_000, timestamp=late)[0]
        == 200
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "RESOURCE_NOT_FOUND"),
        ("PUT", "/api/v1/order", 405, "INVALID_CLIENT_REQUEST"),
        ("GET", "/api/v1/ticker", 400, "INVALID_CLIENT_REQUEST"),
        ("GET", "/api/v1/ticker?symbol=X", 400, "INVALID_SYMBOL"),
        ("GET", f"/api/v1/depth?symbol={SOL}&limit=7", 400, "INVALID_CLIENT_REQUEST"),
        (
            "GET",
            f"/api/v1/klines?symbol={SOL}&interval=7m&startTime=1",
            400,
            "INVALID_CLIENT_REQUEST",
        ),
        ("GET", f"/api/v1/klines?symbol={SOL}&interval=1m", 400, "INVALID_CLIENT_REQUEST"),
        ("GET", f"/api/v1/trades?symbol={SOL}&limit=0", 400, "INVALID_CLIENT_REQUEST"),
    ],
)
def test_bad_public_requests(
    shared: BackpackSim, method: str, path: str, status: int, code: str
) -> None:
    got, answer, _ = shared.http(method, path)
    assert (got, answer["code"]) == (status, code), answer


def test_body_that_is_no_json_is_refused(shared: BackpackSim) -> None:
    status, answer, _ = shared.http("POST", ORDER, b"{")
    assert (status, answer["code"]) == (400, "INVALID_CLIENT_REQUEST")


def test_an_order_is_found_by_either_id_while_it_rests(sim: BackpackSim) -> None:
    """GET knows resting orders only; a cancel that comes too late says so."""
    _, placed = sim.place("Bid", "140", clientId=4294967295)
    assert (placed["status"], placed["clientId"]) == ("New", 4294967295)
    for name in ({"orderId": placed["id"]}, {"clientId": "4294967295"}):
        status, found, _ = sim.call("GET", ORDER, "orderQuery", {"symbol": SOL, **name})
        assert (status, found["id"]) == (200, placed["id"])
    both = {"symbol": SOL, "orderId": placed["id"], "clientId": "4294967295"}
    assert sim.call("GET", ORDER, "orderQuery", both)[0] == 400
    assert sim.call("GET", ORDER, "orderQuery", {"symbol": SOL})[0] == 400
    gone = {"symbol": SOL, "clientId": 4294967295}
    status, cancelled, _ = sim.call("DELETE", ORDER, "orderCancel", gone)
    assert (status, cancelled["status"]) == (200, "Cancelled")
    status, answer, _ = sim.call("DELETE", ORDER, "orderCancel", gone)
    expected = {"code": "INVALID_CLIENT_REQUEST", "message": "Order not found"}
    assert (status, answer) == (400, expected)
    status, answer, _ = sim.call(
        "GET", ORDER, "orderQuery", {"symbol": SOL, "clientId": "4294967295"}
    )
    assert (status, answer["code"]) == (404, "RESOURCE_NOT_FOUND")


def test_a_client_id_serves_one_open_order(sim: BackpackSim) -> None:
    """A second order with the id of one that rests is refused; when that has ended, it may come."""
    assert sim.place("Bid", "140", clientId=5)[0] == 200
    status, answer = sim.place("Bid", "141", clientId=5)
    assert (status, answer["message"]) == (400, "Duplicate clientId")
    sim.call("DELETE", ORDER, "orderCancel", {"symbol": SOL, "clientId": 5})
    assert sim.place("Bid", "141", clientId=5)[0] == 200


def test_a_batch_answers_each_order_in_its_place(sim: BackpackSim) -> None:
    batch = [order(clientId=1), order(price="150", postOnly=True), order(clientId=3, price="139")]
    status, answers, _ = sim.call("POST", "/api/v1/orders", "orderExecute", batch)
    assert status == 200
    assert [answer["operation"] for answer in answers] == ["Ok", "Err", "Ok"]
    assert answers[1]["code"] == "INVALID_ORDER"
    assert [a["id"] for a in sim.call("GET", "/api/v1/orders", "orderQueryAll")[1]] == [
        answers[0]["id"],
        answers[2]["id"],
    ]
    too_many = [order() for _ in range(51)]
    assert sim.call("POST", "/api/v1/orders", "orderExecute", too_many)[0] == 400
    status, ended, _ = sim.call("DELETE", "/api/v1/orders", "orderCancelAll", {"symbol": SOL})
    assert [item["status"] for item in ended] == ["Cancelled", "Cancelled"]


@pytest.mark.parametrize(
    ("changes", "status", "filled"),
    [
        ({"orderType": "Market", "price": None}, "Filled", "1"),
        ({"price": "151"}, "Filled", "1"),
        ({"price": "150"}, "Filled", "1"),
        ({"price": "149.99"}, "New", "0"),
        ({"price": "149.99", "timeInForce": "IOC"}, "Expired", "0"),
        ({"price": "150", "timeInForce": "IOC"}, "Filled", "1"),
        ({"price": "149.99", "timeInForce": "FOK"}, "Expired", "0"),
        ({"price": "150", "timeInForce": "FOK"}, "Filled", "1"),
        (
            {"orderType": "Market", "price": None, "quantity": None, "quoteQuantity": "150"},
            "Filled",
            "1",
        ),
    ],
)
def test_kinds_of_orders(
    sim: BackpackSim, changes: dict[str, Any], status: str, filled: str
) -> None:
    """What takes fills at the last price, 150, at once; the answer is final."""
    got, answer, _ = sim.call("POST", ORDER, "orderExecute", order(**changes))
    assert got == 200, answer
    assert (answer["status"], answer["executedQuantity"]) == (status, filled)
    if filled == "1":
        assert answer["executedQuoteQuantity"] == "150"


def test_a_conditional_order_waits_for_its_trigger(sim: BackpackSim) -> None:
    """Pending until the price comes there; then an order as any other; it can be cancelled."""
    sim.place("Bid", None, "4")
    stop = order(side="Ask", orderType="Market", price=None, quantity=None, clientId=8)
    stop |= {"triggerPrice": "145", "triggerQuantity": "50%", "reduceOnly": True}
    _, placed, _ = sim.call("POST", ORDER, "orderExecute", stop)
    assert (placed["status"], placed["triggerPrice"]) == ("TriggerPending", "145")
    other = order(clientId=9, triggerPrice="155", triggerQuantity="1", price="154")
    assert sim.call("POST", ORDER, "orderExecute", other)[1]["status"] == "TriggerPending"
    _, account, _ = sim.call("GET", "/api/v1/account", "accountQuery")
    assert (account["limitOrders"], account["triggerOrders"]) == (0, 2)
    sim.price("145.01", SOL)
    assert len(sim.account()["fills"]) == 1
    sim.price("145", SOL)
    assert sim.account()["positions"][0]["quantity"] == "2"
    assert sim.account()["fills"][1]["price"] == "145"
    conditional = {"symbol": SOL, "orderType": "ConditionalOrder"}
    _, ended, _ = sim.call("DELETE", "/api/v1/orders", "orderCancelAll", conditional)
    assert [item["clientId"] for item in ended] == [9]
    sim.price("160", SOL)
    assert len(sim.account()["fills"]) == 2


@pytest.mark.parametrize(("goes_to", "gained"), [("160", "20"), ("135", "-5")])
def test_attached_exits_wait_for_the_fill_and_end_each_other(
    sim: BackpackSim, goes_to: str, gained: str
) -> None:
    """A stop loss and a take profit of what was filled, reduce-only; the first one takes."""
    exits = {"stopLossTriggerPrice": "135", "takeProfitTriggerPrice": "160"}
    placed = sim.place("Bid", "140", "2", **exits)[1]
    assert {name: placed[name] for name in exits} == exits
    assert len(sim.call("GET", "/api/v1/orders", "orderQueryAll")[1]) == 1
    sim.price("140", SOL)
    waiting = sim.call("GET", "/api/v1/orders", "orderQueryAll")[1]
    assert [(o["side"], o["status"], o["triggerPrice"]) for o in waiting] == [
        ("Ask", "TriggerPending", "135"),
        ("Ask", "TriggerPending", "160"),
    ]
    assert {o["relatedOrderId"] for o in waiting} == {placed["id"]}
    sim.price(goes_to, SOL)
    assert sim.call("GET", "/api/v1/orders", "orderQueryAll")[1] == []
    account = sim.account()
    assert account["positions"][0]["quantity"] == "0"
    assert [order["status"] for order in account["orders"]].count("CANCELED") == 1
    row = sim.call("GET", "/wapi/v1/history/position", "positionHistoryQueryAll")[1][0]
    assert row["cumulativePnlRealized"] == str(Decimal(gained) * 2)


def test_exits_of_an_order_that_never_filled_never_wait(sim: BackpackSim) -> None:
    sim.place("Bid", "140", "2", clientId=1, stopLossTriggerPrice="135")
    sim.call("DELETE", "/api/v1/order", "orderCancel", {"symbol": SOL, "clientId": 1})
    assert sim.call("GET", "/api/v1/orders", "orderQueryAll")[1] == []


def test_reduce_only_never_flips(sim: BackpackSim) -> None:
    sim.place("Bid", None, "2")
    assert sim.place("Ask", "160", "3", reduceOnly=True)[0] == 400
    assert sim.place("Ask", "160", "2", reduceOnly=True)[0] == 200
    sim.place("Ask", None, "2")
    assert sim.account()["orders"][1]["status"] == "EXPIRED"
    _, history, _ = sim.call("GET", "/wapi/v1/history/orders", "orderHistoryQueryAll")
    assert history[1]["expiryReason"] == "ReduceOnlyNotReduced"
    assert sim.call("GET", "/api/v1/position", "positionQuery")[1] == []


def test_account_wide_leverage_is_patched_and_bounds_orders(sim: BackpackSim) -> None:
    status, answer, headers = sim.call(
        "PATCH", "/api/v1/account", "accountUpdate", {"leverageLimit": "2", "autoLend": True}
    )
    assert (status, answer, headers["content-length"]) == (200, "", "0")
    _, account, _ = sim.call("GET", "/api/v1/account", "accountQuery")
    assert (account["leverageLimit"], account["autoLend"]) == ("2", True)
    assert sim.place("Bid", "150", "1334")[1]["code"] == "INSUFFICIENT_MARGIN"
    assert sim.place("Bid", "149", "1334")[0] == 200
    bad = {"leverageLimit": "1000"}
    assert sim.call("PATCH", "/api/v1/account", "accountUpdate", bad)[0] == 400


def test_histories_page_and_filter(sim: BackpackSim) -> None:
    for _ in range(5):
        sim.place("Bid", None, "0.1", clientId=9)
    path, name = "/wapi/v1/history/fills", "fillHistoryQueryAll"
    status, rows, headers = sim.call("GET", path, name, {"limit": "2", "offset": "1"})
    assert status == 200
    assert (headers["x-total"], headers["x-page-count"], headers["x-page-size"]) == ("5", "3", "2")
    every = sim.call("GET", path, name)[1]
    assert rows == every[1:3]
    assert [row["tradeId"] for row in every] == sorted((r["tradeId"] for r in every), reverse=True)
    upward = sim.call("GET", path, name, {"sortDirection": "Asc"})[1]
    assert upward == every[::-1]
    assert every[0]["clientId"] == "9"
    one = sim.call("GET", path, name, {"orderId": every[0]["orderId"]})[1]
    assert one == every[:1]
    assert sim.call("GET", path, name, {"to": "1000"})[1] == []
    assert sim.call("GET", path, name, {"symbol": SOL, "from": "1000"})[1] == every
    assert sim.call("GET", path, name, {"limit": "1001"})[0] == 400


def test_funding_and_liquidation_reach_the_histories(sim: BackpackSim) -> None:
    sim.place("Bid", None, "6000")
    sim.control("funding", {"symbol": SOL, "rate": "0.0001"})
    _, paid, _ = sim.call("GET", "/wapi/v1/history/funding", "fundingHistoryQueryAll")
    assert (paid[0]["quantity"], paid[0]["fundingRate"]) == ("-90", "0.0001")
    sim.price("130", SOL)
    _, fills, _ = sim.call("GET", "/wapi/v1/history/fills", "fillHistoryQueryAll")
    assert fills[0]["systemOrderType"] == "LiquidatePositionOnBook"
    only_ours = {"fillType": "User"}
    assert len(sim.call("GET", "/wapi/v1/history/fills", "fillHistoryQueryAll", only_ours)[1]) == 1
    assert sim.account()["positions"][0]["quantity"] == "0"


def test_candles_of_any_time_are_whole_and_join(sim: BackpackSim) -> None:
    """Each opens where the one before closed; the last is the one that is being drawn."""
    start = int(time.time()) - 7_200
    query = f"/api/v1/klines?symbol={SOL}&interval=1m&startTime={start}"
    _, candles, _ = sim.http("GET", query)
    assert len(candles) in (120, 121)
    for before, after in pairwise(candles):
        assert before["end"] == after["start"]
        assert before["close"] == after["open"]
    assert candles[-1]["close"] == "150"
    _, old, _ = sim.http("GET", f"/api/v1/klines?symbol={SOL}&interval=1d&startTime=1700000000")
    assert len(old) > 700
