"""Aster over real HTTP: signatures, windows, every error, orders through their life."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sim_world import SOLUSDT, AsterSim, running, wait_until

from exchanges.simulator.aster_unserved import REFUSED

pytestmark = pytest.mark.slow  # each starts a process

ORDER = "/fapi/v1/order"
LIMIT = {
    "symbol": SOLUSDT,
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "price": "140",
    "quantity": "1",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[AsterSim]:
    """For what leaves no trace: refusals and public answers."""
    with running("aster") as sim:
        yield sim


@pytest.fixture
def sim() -> Iterator[AsterSim]:
    with running("aster") as sim:
        yield sim


def order(**changes: Any) -> dict[str, str]:
    merged = {**LIMIT, **changes}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (order(symbol="DOGEUSDT"), -1121),
        (order(symbol=None), -1102),
        (order(side="LONG"), -1117),
        (order(side=None), -1102),
        (order(type="ICEBERG"), -1116),
        (order(type=None), -1102),
        (order(timeInForce="DAY"), -1115),
        (order(timeInForce=None), -1102),
        (order(price=None), -1102),
        (order(quantity=None), -1102),
        (order(price="abc"), -1100),
        (order(price="-1"), -4001),
        (order(quantity="-1"), -4003),
        (order(quantity="0"), -4003),
        (order(price="140.005"), -4014),
        (order(price="140.000000001"), -1111),
        (order(price="0"), -4013),
        (order(price="2000000"), -4002),
        (order(price="200"), -4016),
        (order(side="SELL", price="100"), -4024),
        (order(quantity="0.0005"), -4023),
        (order(quantity="2000000"), -4005),
        (order(quantity="0.01"), -4164),
        (order(quantity="10000"), -2019),
        (order(reduceOnly="true"), -2022),
        (order(reduceOnly="perhaps"), -1130),
        (order(newClientOrderId="a" * 37), -4015),
        (order(newClientOrderId="a b"), -4015),
        (order(newClientOrderId=""), -4015),
        (order(positionSide="LONG"), -4061),
        (order(positionSide="UP"), -4060),
        (order(newOrderRespType="FULL"), -1130),
        (order(type="STOP_MARKET"), -1102),
        (order(type="STOP_MARKET", stopPrice="130"), -2021),
        (order(type="STOP", side="SELL", stopPrice="160"), -2021),
        (order(type="TAKE_PROFIT_MARKET", stopPrice="155"), -2021),
        (order(type="TAKE_PROFIT", side="SELL", stopPrice="145"), -2021),
        (order(type="STOP_MARKET", stopPrice="160", closePosition="true"), -1128),
        (order(type="STOP_MARKET", stopPrice="160.005"), -4014),
        (order(type="STOP_MARKET", stopPrice="0"), -4013),
        (order(type="STOP_MARKET", stopPrice="160", workingType="LAST"), -1130),
        (order(closePosition="true"), -4136),
        (order(price="1e2"), -1100),
        (order(price=" 140"), -1100),
        (order(quantity="+1"), -1100),
        (order(type="TRAILING_STOP_MARKET"), -1102),
        (order(type="TRAILING_STOP_MARKET", callbackRate="0.05"), -2007),
        (order(type="TRAILING_STOP_MARKET", callbackRate="6"), -2007),
        (order(type="TRAILING_STOP_MARKET", callbackRate="1", activationPrice="151"), -2021),
    ],
)
def test_refused_orders_leave_no_trace(shared: AsterSim, sent: dict[str, str], code: int) -> None:
    """Each limit has the exchange's own code; nothing was accepted."""
    status, answer, _ = shared.call("POST", ORDER, sent)
    assert (status, answer["code"]) == (400, code), answer
    assert set(answer) == {"code", "msg"}
    assert shared.account()["orders"] == []


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"timestamp": now_ms() - 3_600_000}, 400, -1021),
        ({"timestamp": now_ms() + 3_600_000}, 400, -1021),
        ({"fields": {"recvWindow": "60001"}}, 400, -1130),
        ({"signature": "00" * 32}, 400, -1022),
        ({"signature": ""}, 400, -1102),
        ({"change": {"X-MBX-APIKEY": ""}}, 401, -2014),
        ({"change": {"X-MBX-APIKEY": "nobody"}}, 401, -2015),
    ],
)
def test_bad_credentials_and_times_are_refused(
    shared: AsterSim, arguments: dict[str, Any], status: int, code: int
) -> None:
    got, answer, _ = shared.call("GET", "/fapi/v2/balance", **arguments)
    assert (got, answer["code"]) == (status, code), answer


def test_signed_request_without_timestamp(shared: AsterSim) -> None:
    status, answer, _ = shared.http(
        "GET", "/fapi/v2/balance?signature=00", None, {"X-MBX-APIKEY": shared.api_key}
    )
    assert (status, answer["code"]) == (400, -1102)


def test_window_is_5000_unless_told(shared: AsterSim) -> None:
    late = now_ms() - 5_500
    assert shared.call("GET", "/fapi/v2/balance", timestamp=late)[1]["code"] == -1021
    told = {"recvWindow": "60000"}
    assert shared.call("GET", "/fapi/v2/balance", told, timestamp=late)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/fapi/v1/nothing", 404, -5000),
        ("GET", "/", 404, -5000),
        ("PATCH", "/fapi/v1/order", 405, -1000),
        ("GET", "/fapi/v1/depth", 400, -1102),
        ("GET", "/fapi/v1/depth?symbol=X", 400, -1121),
        ("GET", f"/fapi/v1/depth?symbol={SOLUSDT}&limit=7", 400, -1130),
        ("GET", f"/fapi/v1/klines?symbol={SOLUSDT}&interval=7m", 400, -1120),
        ("GET", f"/fapi/v1/klines?symbol={SOLUSDT}", 400, -1102),
        ("GET", f"/fapi/v1/trades?symbol={SOLUSDT}&limit=0", 400, -1130),
        ("POST", "/fapi/v1/listenKey", 401, -2014),
    ],
)
def test_bad_public_requests(
    shared: AsterSim, method: str, path: str, status: int, code: int
) -> None:
    got, answer, _ = shared.http(method, path)
    assert (got, answer["code"]) == (status, code), answer


def test_query_and_body_are_both_signed_and_the_query_wins(sim: AsterSim) -> None:
    """Parameters may be in either; every answer tells how much of the limits is used."""
    assert sim.call("POST", ORDER, order(newClientOrderId="q"), in_query=True)[0] == 200
    status, _, headers = sim.call("POST", ORDER, order(newClientOrderId="b"))
    assert status == 200
    assert int(headers["x-mbx-used-weight-1m"]) >= 1
    assert headers["x-mbx-order-count-10s"] in ("1", "2")


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v4"])
def test_public_routes_answer_under_every_version(shared: AsterSim, version: str) -> None:
    status, answer, _ = shared.http("GET", f"/fapi/{version}/exchangeInfo")
    assert status == 200
    filters = {entry["filterType"]: entry for entry in answer["symbols"][0]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.0100"
    assert filters["LOT_SIZE"]["stepSize"] == "0.001"
    assert filters["MIN_NOTIONAL"]["notional"] == "5"


def test_an_order_is_found_by_either_id_in_any_state(sim: AsterSim) -> None:
    _, placed = sim.place("BUY", "140", newClientOrderId="grid:1")
    by_name = {"symbol": SOLUSDT, "origClientOrderId": "grid:1"}
    by_number = {"symbol": SOLUSDT, "orderId": str(placed["orderId"])}
    for name in (by_name, by_number):
        assert sim.call("GET", ORDER, name)[1]["orderId"] == placed["orderId"]
        assert sim.call("GET", "/fapi/v1/openOrder", name)[1]["orderId"] == placed["orderId"]
    assert sim.call("GET", ORDER, {"symbol": SOLUSDT})[1]["code"] == -1102
    assert sim.call("DELETE", ORDER, by_name)[1]["status"] == "CANCELED"
    assert sim.call("DELETE", ORDER, by_name)[1] == {"code": -2011, "msg": "Unknown order sent."}
    assert sim.call("GET", ORDER, by_name)[1]["status"] == "CANCELED"
    assert sim.call("GET", "/fapi/v1/openOrder", by_name)[1]["code"] == -2013
    other = {"symbol": SOLUSDT, "origClientOrderId": "grid:2"}
    assert sim.call("GET", ORDER, other)[1] == {"code": -2013, "msg": "Order does not exist."}


def test_a_client_id_serves_one_open_order(sim: AsterSim) -> None:
    assert sim.place("BUY", "140", newClientOrderId="x")[0] == 200
    assert sim.place("BUY", "141", newClientOrderId="x")[1]["code"] == -4116
    sim.call("DELETE", "/fapi/v1/allOpenOrders", {"symbol": SOLUSDT})
    assert sim.place("BUY", "141", newClientOrderId="x")[0] == 200


def test_batches_answer_each_order_in_its_place(sim: AsterSim) -> None:
    batch = [order(newClientOrderId="1"), order(quantity="0.001"), order(newClientOrderId="3")]
    status, answers, _ = sim.call(
        "POST", "/fapi/v1/batchOrders", {"batchOrders": json.dumps(batch)}
    )
    assert status == 200
    assert [answer.get("code") for answer in answers] == [None, -4164, None]
    six = {"batchOrders": json.dumps([order()] * 6)}
    assert sim.call("POST", "/fapi/v1/batchOrders", six)[1]["code"] == -4082
    numbers = {"symbol": SOLUSDT, "orderIdList": f"[{answers[0]['orderId']},17]"}
    status, ended, _ = sim.call("DELETE", "/fapi/v1/batchOrders", numbers)
    assert status == 200
    assert [item.get("status", item.get("code")) for item in ended] == ["CANCELED", -2011]
    names = {"symbol": SOLUSDT, "origClientOrderIdList": '["3"]'}
    assert sim.call("DELETE", "/fapi/v1/batchOrders", names)[1][0]["status"] == "CANCELED"
    eleven = {"symbol": SOLUSDT, "orderIdList": json.dumps(list(range(11)))}
    assert sim.call("DELETE", "/fapi/v1/batchOrders", eleven)[1]["code"] == -4082


@pytest.mark.parametrize(
    ("changes", "status", "filled"),
    [
        ({"type": "MARKET", "price": None, "timeInForce": None}, "FILLED", "1"),
        ({"price": "150"}, "FILLED", "1"),
        ({"price": "149.99"}, "NEW", "0"),
        ({"price": "149.99", "timeInForce": "IOC"}, "EXPIRED", "0"),
        ({"price": "150.5", "timeInForce": "IOC"}, "FILLED", "1"),
        ({"price": "149.99", "timeInForce": "FOK"}, "EXPIRED", "0"),
        ({"price": "149.99", "timeInForce": "GTX"}, "NEW", "0"),
        ({"price": "150", "timeInForce": "GTX"}, "EXPIRED", "0"),
        ({"price": "150", "timeInForce": "RPI"}, "EXPIRED", "0"),
        ({"price": "149.99", "timeInForce": "HIDDEN"}, "NEW", "0"),
    ],
)
def test_kinds_of_orders(sim: AsterSim, changes: dict[str, Any], status: str, filled: str) -> None:
    """RESULT tells how it ended; ACK tells of the acceptance alone."""
    result = sim.call("POST", ORDER, order(newOrderRespType="RESULT", **changes))[1]
    assert (result["status"], result["executedQty"]) == (status, filled)
    if filled == "1":
        assert result["avgPrice"] == "150"
    ack = sim.call("POST", ORDER, order(**changes))[1]
    assert (ack["status"], ack["executedQty"], ack["avgPrice"]) == ("NEW", "0", "0.00000")
    named = {"symbol": SOLUSDT, "orderId": str(ack["orderId"])}
    assert sim.call("GET", ORDER, named)[1]["status"] == status


@pytest.mark.parametrize(
    ("side", "kind", "trigger", "not_yet", "reached"),
    [
        ("BUY", "STOP_MARKET", "155", "154.99", "155"),
        ("SELL", "STOP_MARKET", "145", "145.01", "144"),
        ("BUY", "TAKE_PROFIT_MARKET", "145", "145.01", "145"),
        ("SELL", "TAKE_PROFIT_MARKET", "155", "154.99", "156"),
    ],
)
def test_a_conditional_order_waits_for_its_trigger(
    sim: AsterSim, side: str, kind: str, trigger: str, not_yet: str, reached: str
) -> None:
    """Open with its own type until the price comes there; then it takes at the price."""
    ears = sim.listen(f"/ws/{sim.listen_key()}")
    fields = {"symbol": SOLUSDT, "side": side, "type": kind, "quantity": "2"}
    named = {**fields, "stopPrice": trigger, "newClientOrderId": "c"}
    placed = sim.call("POST", ORDER, named)[1]
    assert (placed["status"], placed["type"], placed["stopPrice"]) == ("NEW", kind, trigger)
    sim.price(not_yet, SOLUSDT)
    assert sim.call("GET", "/fapi/v1/openOrders")[1][0]["type"] == kind
    sim.price(reached, SOLUSDT)
    told = ears.until(lambda f: f.get("o", {}).get("X") == "FILLED")["o"]
    assert (told["o"], told["ot"], told["L"]) == ("MARKET", kind, reached)
    assert sim.call("GET", "/fapi/v1/openOrders")[1] == []


def test_a_trailing_stop_follows_the_best_price(sim: AsterSim) -> None:
    """From its activation price on; it sells when the price is 1 % below the highest since."""
    ears = sim.listen(f"/ws/{sim.listen_key()}")
    trail = {"symbol": SOLUSDT, "side": "SELL", "type": "TRAILING_STOP_MARKET", "quantity": "2"}
    trail |= {"activationPrice": "155", "callbackRate": "1"}
    placed = sim.call("POST", ORDER, trail)[1]
    assert (placed["status"], placed["type"]) == ("NEW", "TRAILING_STOP_MARKET")
    assert (placed["activatePrice"], placed["priceRate"]) == ("155", "1")
    for price in ("140", "155", "160", "158.41", "159"):
        sim.price(price, SOLUSDT)
    assert len(sim.call("GET", "/fapi/v1/openOrders")[1]) == 1
    sim.price("158.4", SOLUSDT)
    told = ears.until(lambda f: f.get("o", {}).get("X") == "FILLED")["o"]
    assert (told["ot"], told["L"], told["AP"], told["cr"]) == (trail["type"], "158.4", "155", "1")
    assert sim.call("GET", "/fapi/v1/openOrders")[1] == []


def test_a_trailing_stop_without_activation_begins_at_once(sim: AsterSim) -> None:
    trail = {"symbol": SOLUSDT, "side": "BUY", "type": "TRAILING_STOP_MARKET", "quantity": "2"}
    assert sim.call("POST", ORDER, {**trail, "callbackRate": "2"})[0] == 200
    for price, position in (("145", "0"), ("147.89", "0"), ("147.9", "2")):
        sim.price(price, SOLUSDT)
        assert sim.account()["positions"][0]["quantity"] == position


def test_a_hidden_order_rests_and_fills_without_being_shown(sim: AsterSim) -> None:
    shown = sim.http("GET", f"/fapi/v1/depth?symbol={SOLUSDT}")[1]["bids"]
    sim.place("BUY", "149.99", "5", timeInForce="HIDDEN")
    assert sim.http("GET", f"/fapi/v1/depth?symbol={SOLUSDT}")[1]["bids"] == shown
    sim.price("149.99", SOLUSDT)
    assert sim.account()["positions"][0]["quantity"] == "5"


def test_close_position_takes_what_is_held(sim: AsterSim) -> None:
    """The whole position when it is triggered; nothing when it is gone by then."""
    sim.place("BUY", None, "3")
    stop = {"symbol": SOLUSDT, "side": "SELL", "type": "STOP_MARKET", "closePosition": "true"}
    sim.call("POST", ORDER, {**stop, "stopPrice": "145"})
    sim.call("POST", ORDER, {**stop, "stopPrice": "144"})
    sim.place("BUY", None, "1")
    sim.price("144.5", SOLUSDT)
    assert sim.account()["positions"][0]["quantity"] == "0"
    sim.price("144", SOLUSDT)
    statuses = [order["status"] for order in sim.account()["orders"]]
    assert statuses == ["FILLED", "FILLED", "EXPIRED", "FILLED"]


def test_the_limit_of_conditional_orders(sim: AsterSim) -> None:
    stop = {"symbol": SOLUSDT, "side": "SELL", "type": "STOP_MARKET", "quantity": "1"}
    for index in range(10):
        assert sim.call("POST", ORDER, {**stop, "stopPrice": str(140 - index)})[0] == 200
    assert sim.call("POST", ORDER, {**stop, "stopPrice": "100"})[1]["code"] == -4045
    sim.call("DELETE", "/fapi/v1/allOpenOrders", {"symbol": SOLUSDT})
    assert sim.call("GET", "/fapi/v1/openOrders")[1] == []


def test_the_limit_of_open_orders(sim: AsterSim) -> None:
    """As many as exchangeInfo says, 200, and not one more."""
    for index in range(40):
        batch = [order(price=f"{130 + index * 0.1:.2f}", quantity="0.1")] * 5
        sim.call("POST", "/fapi/v1/batchOrders", {"batchOrders": json.dumps(batch)})
    assert sim.place("BUY", "140")[1]["code"] == -2025
    assert len(sim.call("GET", "/fapi/v1/openOrders")[1]) == 200


def test_modes_leverage_and_their_refusals(sim: AsterSim) -> None:
    call = sim.call
    assert (
        call("POST", "/fapi/v1/leverage", {"symbol": SOLUSDT, "leverage": "5"})[1]["leverage"] == 5
    )
    bad = {"symbol": SOLUSDT, "leverage": "126"}
    assert call("POST", "/fapi/v1/leverage", bad)[1]["code"] == -4028
    risk = call("GET", "/fapi/v2/positionRisk", {"symbol": SOLUSDT})[1][0]
    assert (risk["leverage"], risk["marginType"], risk["positionSide"]) == ("5", "cross", "BOTH")
    crossed = {"symbol": SOLUSDT, "marginType": "CROSSED"}
    isolated = {"symbol": SOLUSDT, "marginType": "ISOLATED"}
    assert call("POST", "/fapi/v1/marginType", crossed)[1]["code"] == -4046
    assert call("POST", "/fapi/v1/marginType", isolated)[1] == {"code": 200, "msg": "success"}
    one_way, hedge = {"dualSidePosition": "false"}, {"dualSidePosition": "true"}
    assert call("POST", "/fapi/v1/positionSide/dual", one_way)[1]["code"] == -4059
    sim.place("BUY", "140")
    assert call("POST", "/fapi/v1/positionSide/dual", hedge)[1]["code"] == -4067
    assert call("POST", "/fapi/v1/marginType", crossed)[1]["code"] == -4047
    call("DELETE", "/fapi/v1/allOpenOrders", {"symbol": SOLUSDT})
    sim.place("BUY", None)
    assert call("POST", "/fapi/v1/positionSide/dual", hedge)[1]["code"] == -4068
    assert call("POST", "/fapi/v1/marginType", crossed)[1]["code"] == -4048
    sim.place("SELL", None, reduceOnly="true")
    assert call("POST", "/fapi/v1/positionSide/dual", hedge)[1]["code"] == 200
    assert call("GET", "/fapi/v1/positionSide/dual")[1] == {"dualSidePosition": True}
    assert sim.place("BUY", "140")[1]["code"] == -4061
    assert call("GET", "/fapi/v1/multiAssetsMargin")[1] == {"multiAssetsMargin": False}


def test_cancel_all_answers_with_a_text_code(sim: AsterSim) -> None:
    sim.place("BUY", "140")
    answer = sim.call("DELETE", "/fapi/v1/allOpenOrders", {"symbol": SOLUSDT})[1]
    assert answer["code"] == "200"
    assert sim.call("GET", "/fapi/v1/openOrders")[1] == []


def test_the_countdown_cancels_unless_it_is_renewed_or_stopped(sim: AsterSim) -> None:
    sim.place("BUY", "140", newClientOrderId="kept")
    path = "/fapi/v1/countdownCancelAll"
    sim.call("POST", path, {"symbol": SOLUSDT, "countdownTime": "100"})
    answer = sim.call("POST", path, {"symbol": SOLUSDT, "countdownTime": "600000"})[1]
    assert answer == {"symbol": SOLUSDT, "countdownTime": "600000"}
    sim.call("POST", path, {"symbol": SOLUSDT, "countdownTime": "0"})
    assert len(sim.call("GET", "/fapi/v1/openOrders")[1]) == 1
    sim.call("POST", path, {"symbol": SOLUSDT, "countdownTime": "100"})
    wait_until("the countdown", lambda: sim.call("GET", "/fapi/v1/openOrders")[1] == [])


def test_histories_and_income(sim: AsterSim) -> None:
    for _ in range(3):
        sim.place("BUY", None, "1")
    sim.place("SELL", None, "3", reduceOnly="true")
    trades = sim.call("GET", "/fapi/v1/userTrades", {"symbol": SOLUSDT})[1]
    assert [trade["qty"] for trade in trades] == ["1", "1", "1", "3"]
    later = {"symbol": SOLUSDT, "fromId": str(trades[2]["id"])}
    assert sim.call("GET", "/fapi/v1/userTrades", later)[1] == trades[2:]
    assert (
        sim.call("GET", "/fapi/v1/userTrades", {"symbol": SOLUSDT, "limit": "1"})[1] == trades[3:]
    )
    since = {"symbol": SOLUSDT, "startTime": str(trades[0]["time"])}
    assert sim.call("GET", "/fapi/v1/userTrades", {**since, "limit": "2"})[1] == trades[:2]
    assert sim.call("GET", "/fapi/v1/userTrades", {**since, "fromId": "1"})[1]["code"] == -1128
    long = {"symbol": SOLUSDT, "startTime": "1", "endTime": str(8 * 86_400_000)}
    assert sim.call("GET", "/fapi/v1/userTrades", long)[1]["code"] == -1127
    sim.place("BUY", None, "1")
    sim.control("funding", {"symbol": SOLUSDT, "rate": "-0.001"})
    funding = sim.call("GET", "/fapi/v1/income", {"incomeType": "FUNDING_FEE"})[1]
    assert [(row["income"], row["asset"]) for row in funding] == [("0.15", "USDT")]
    fees = sim.call("GET", "/fapi/v1/income", {"incomeType": "COMMISSION"})[1]
    assert [row["income"] for row in fees] == ["-0.075", "-0.075", "-0.075", "-0.225", "-0.075"]


def test_listen_key_life() -> None:
    """The same key while it lives; gone keys are -1125; a neglected one expires, and says so."""
    with running("aster", "--listen-key-life", "2") as sim:
        key = sim.listen_key()
        assert sim.listen_key() == key
        head = {"X-MBX-APIKEY": sim.api_key}
        assert sim.http("PUT", "/fapi/v1/listenKey", None, head)[:2] == (200, {})
        assert sim.http("PUT", "/fapi/v1/listenKey?listenKey=x", None, head)[1]["code"] == -1125
        ears = sim.listen(f"/ws/{key}")
        ears.until(lambda frame: frame.get("e") == "listenKeyExpired")
        assert sim.http("PUT", "/fapi/v1/listenKey", None, head)[1]["code"] == -1125
        second = sim.listen_key()
        assert second != key
        assert sim.http("DELETE", "/fapi/v1/listenKey", None, head)[:2] == (200, {})
        assert sim.http("DELETE", "/fapi/v1/listenKey", None, head)[1]["code"] == -1125
        ears.close()


def test_what_is_not_simulated_is_refused_by_its_code(sim: AsterSim) -> None:
    """Documented operations have an answer in the exchange's words, no missing path."""
    margin = {"symbol": SOLUSDT, "amount": "10", "type": "1"}
    assert sim.call("POST", "/fapi/v1/positionMargin", margin)[1]["code"] == -4054
    sim.place("BUY", None, "1")
    assert sim.call("POST", "/fapi/v3/positionMargin", margin)[1]["code"] == -1020
    for amount in ("", "0"):
        changed = {**margin, "amount": amount}
        assert sim.call("POST", "/fapi/v1/positionMargin", changed)[1]["code"] == -4055
    for method, name in REFUSED:
        status, answer, _ = sim.call(method, f"/fapi/v3{name}", {"symbol": SOLUSDT})
        assert (status, answer["code"]) == (400, -1020), name
    assert sim.call("POST", "/fapi/v3/noop")[1] == {"code": 200, "msg": "success"}
    moved = {"asset": "USDT", "amount": "1", "kindType": "SPOT_FUTURE"}
    assert sim.call("POST", "/api/v3/asset/wallet/transfer", moved)[1]["code"] == -1020
    assert sim.call("POST", "/fapi/v1/nothing")[0] == 404
